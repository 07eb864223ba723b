//! Parts of every page: one HTML document without scripts and without external resources.

use std::fmt::{self, Display, Formatter, Write};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use crate::record::Timestamp;

const STYLE: &str = include_str!("style.css");
/// A green dot. Without an icon in the page, browsers ask for `/favicon.ico`.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Ccircle cx='4' \
                    cy='4' r='3' fill='%232da44e'/%3E%3C/svg%3E";

/// Forbids the browser to run scripts, to load anything but the style and the icon of the page itself, to send a form
/// elsewhere, and to show the page in a frame.
pub(super) static CONTENT_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri \
         'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// Everything before the content. `skip` is the id of the element with the content that a reader looks for.
pub(super) fn begin(page: &mut String, title: &str, refresh: Option<u16>, skip: (&str, &str)) -> fmt::Result {
    page.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    if let Some(seconds) = refresh {
        write!(page, "<meta http-equiv=\"refresh\" content=\"{seconds}\">")?;
    }
    write!(page, "<link rel=\"icon\" href=\"{ICON}\"><title>{}</title>", Escaped(title))?;
    write!(page, "<style>{STYLE}</style></head><body><a class=\"skip\" href=\"#{}\">{}</a>", skip.0, skip.1)
}

/// The head of a table.
pub(super) fn table(page: &mut String, caption: &str, columns: &[&str]) -> fmt::Result {
    write!(page, "<table><caption>{}</caption><thead><tr>", Escaped(caption))?;
    for column in columns {
        write!(page, "<th scope=\"col\">{column}</th>")?;
    }
    page.push_str("</tr></thead><tbody>");
    Ok(())
}

/// The class of a state's text.
pub(super) fn state_class(state: &str, up: bool) -> &'static str {
    match state {
        "starting" | "done" => "soft",
        _ if up => "up",
        _ => "down",
    }
}

/// The first characters of a text that may be long.
pub(super) fn cut(text: &str, most: usize) -> (&str, &'static str) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (text.get(..end).unwrap_or(text), "…"),
        None => (text, ""),
    }
}

/// The day of an RFC 3339 time, or a word instead of a time.
pub(super) fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}

/// A time as "… ago" or "in …", with the full time as tooltip; else `otherwise`.
pub(super) struct RelativeTime<'a> {
    pub text: Option<&'a str>,
    pub now: Timestamp,
    pub otherwise: &'static str,
}

impl Display for RelativeTime<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Some((text, time)) = self.text.and_then(|text| Some((text, Timestamp::parse(text).ok()?))) else {
            return formatter.write_str(self.otherwise);
        };
        write!(formatter, "<time datetime=\"{0}\" title=\"{0}\">", Escaped(text))?;
        if time > self.now {
            write!(formatter, "in {}</time>", HumanDuration(time.since(self.now)))
        } else {
            write!(formatter, "{} ago</time>", HumanDuration(self.now.since(time)))
        }
    }
}

/// A duration in its two largest units.
pub(super) struct HumanDuration(pub Duration);

impl HumanDuration {
    /// Of a number of seconds that may come from another worker.
    pub fn of_seconds(seconds: f64) -> Self {
        Self(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}

impl Display for HumanDuration {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..60 => write!(formatter, "{seconds} s"),
            seconds @ 60..3_600 => write!(formatter, "{} min {} s", seconds / 60, seconds % 60),
            seconds @ 3_600..86_400 => write!(formatter, "{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
            seconds => write!(formatter, "{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        }
    }
}

/// Text in HTML, in elements and in quoted attributes.
pub(super) struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}
