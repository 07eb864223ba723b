//! Parts of every page: one HTML document without scripts and without external resources. `maud` escapes all texts.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use maud::{DOCTYPE, Markup, PreEscaped, html};
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

/// A whole page.
pub(super) struct Document<'a> {
    pub title: &'a str,
    /// Seconds after which the browser loads the page again.
    pub refresh: Option<u16>,
    /// The id of the element with the content that a reader looks for, and the words of the link to it.
    pub skip: (&'static str, &'static str),
    pub body: Markup,
}

impl Document<'_> {
    pub fn into_string(self) -> String {
        let Self { title, refresh, skip: (target, words), body } = self;
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width,initial-scale=1";
                    @if let Some(seconds) = refresh {
                        meta http-equiv="refresh" content=(seconds);
                    }
                    link rel="icon" href=(ICON);
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href={ "#" (target) } { (words) }
                    (body)
                }
            }
        };
        document.into_string()
    }
}

/// A table whose columns have no links.
pub(super) fn table(caption: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        table {
            caption { (caption) }
            thead { tr { @for column in columns { th scope="col" { (column) } } } }
            tbody { (rows) }
        }
    }
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
pub(super) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)).into(),
        None => text.into(),
    }
}

/// The day of an RFC 3339 time, or a word instead of a time.
pub(super) fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}

/// A time as "… ago" or "in …", with the full time as tooltip; else `otherwise`.
pub(super) fn relative_time(text: Option<&str>, now: Timestamp, otherwise: &str) -> Markup {
    let time = text.and_then(|text| Timestamp::parse(text).ok());
    let (Some(text), Some(time)) = (text, time) else { return html! { (otherwise) } };
    html! {
        time datetime=(text) title=(text) {
            @if time > now { "in " (HumanDuration(time.since(now))) } @else { (HumanDuration(now.since(time))) " ago" }
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
