//! Parts of every page: one HTML document without scripts and without external resources. `maud` escapes all texts.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::lanes::{ACCEPT_REFUSALS, LaneRow};
use crate::record::Timestamp;
use crate::telemetry::HumanDuration;
use crate::visible::visible_lines;

const STYLE: &str = include_str!("style.css");
/// Without an icon in the page, browsers ask for `/favicon.ico`.
const GREEN_DOT: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Ccircle \
                         cx='4' cy='4' r='3' fill='%232da44e'/%3E%3C/svg%3E";
const RED_DOT: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Ccircle cx='4' \
                       cy='4' r='3' fill='%23cf222e'/%3E%3C/svg%3E";

/// Forbids the browser to run scripts, and to load anything but the style and the icon of the page itself. It also
/// forbids to send a form elsewhere, and to show the page in a frame.
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
    /// Number of failing lanes, and of pipelines that do not run because of their files. The title begins with it, so
    /// that it can be read in the browser's tab.
    pub failing: usize,
    /// Seconds after which the browser loads the page again.
    pub refresh: Option<u16>,
    /// The id of the element with the content that a reader looks for, and the words of the link to it.
    pub skip: (&'static str, &'static str),
    pub body: Markup,
}

impl Document<'_> {
    pub fn into_string(self) -> String {
        let Self { title, failing, refresh, skip: (target, words), body } = self;
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width,initial-scale=1";
                    @if let Some(seconds) = refresh {
                        meta http-equiv="refresh" content=(seconds);
                    }
                    link rel="icon" href=(if failing == 0 { GREEN_DOT } else { RED_DOT });
                    title { @if failing > 0 { "(" (failing) ") " } (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href={ "#" (target) } { (words) }
                    (body)
                }
            }
        };
        // Texts of files and consoles may have characters that hide others.
        visible_lines(&document.into_string()).into_owned()
    }
}

/// Returns a table whose columns have no links.
pub(super) fn table(caption: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        table {
            caption { (caption) }
            thead { tr { @for column in columns { th scope="col" { (column) } } } }
            tbody { (rows) }
        }
    }
}

/// Returns the CSS class of a state's text.
pub(super) fn state_class(state: &str, up: bool) -> &'static str {
    match state {
        "starting" | "renamed" | "done" => "soft",
        _ if up => "up",
        _ => "down",
    }
}

const DAY: Duration = Duration::from_hours(24);

/// Characters of an error in a row. The list of the last errors has the whole text.
const MAX_ERROR: usize = 300;

/// Returns the state of a lane, or what it waits for, and whether its console is silent.
pub(super) fn lane_state(lane: &LaneRow, now: Timestamp) -> Markup {
    html! {
        @match lane.describe_wait() {
            Some(wait) => span.soft { (wait) },
            None => span class=(state_class(&lane.state, lane.up)) { (lane.state.replace('_', " ")) },
        }
        @if let Some(silence) = lane.describe_silence(now) { ", " span.soft { (silence) } }
    }
}

/// Returns a second row with the error of a lane, how long it has lasted, and when the lane tried last and tries next.
/// `count` lanes have the error.
pub(super) fn error_row(lane: &LaneRow, count: usize, columns: usize, now: Timestamp) -> Markup {
    let tried = lane.last_error.as_ref().filter(|last| lane.error.as_ref() == Some(&last.text));
    let next = lane.next_attempt.as_deref();
    let next = next.filter(|next| Timestamp::parse(next).is_ok_and(|next| next > now));
    html! {
        @if let Some(error) = &lane.error {
            tr.error {
                td.e colspan=(columns) {
                    @if count > 1 { (count) " lanes: " }
                    (cut_before_command(error, MAX_ERROR)) " "
                    // A renamed lane has a text and does not fail.
                    @if !lane.up {
                        span.soft {
                            "failing for " (elapsed(lane.failing_since.as_deref(), now))
                            @if let Some(tried) = tried { ", last tried " (relative_time(Some(&tried.time), now, "")) }
                            @if next.is_some() { ", next " (relative_time(next, now, "")) }
                            @if let Some(command) = lane.retry_of(count) { "; to try now: " code { (command) } }
                        }
                    }
                }
            }
        }
        @for problem in lane.problems() {
            tr.error { td.e colspan=(columns) { (cut_before_command(&problem, MAX_ERROR)) } }
        }
    }
}

/// Returns the time that has passed since `since`, with the full time as tooltip.
pub(super) fn elapsed(since: Option<&str>, now: Timestamp) -> Markup {
    let time = since.and_then(|since| Timestamp::parse(since).ok());
    let (Some(since), Some(time)) = (since, time) else { return html! { "an unknown time" } };
    html! { time.unbroken datetime=(since) title=(since) { (HumanDuration(now.since(time))) } }
}

pub(super) fn lag(seconds: Option<f64>) -> Markup {
    html! { @if let Some(seconds) = seconds { (HumanDuration::of_seconds(seconds)) } @else { "–" } }
}

/// Returns the first characters of a text that may be long.
pub(super) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)).into(),
        None => text.into(),
    }
}

/// Returns the beginning of a text, and the whole command at its end.
pub(super) fn cut_before_command(text: &str, most: usize) -> Cow<'_, str> {
    let command = text.rfind("s1-forwarder ").or_else(|| text.rfind(ACCEPT_REFUSALS));
    match command.map(|at| text.split_at(at)) {
        Some((text, command)) if text.chars().count() > most => format!("{} {command}", shortened(text, most)).into(),
        Some(_) => text.into(),
        None => shortened(text, most),
    }
}

/// Returns the day of an RFC 3339 time, or a word instead of a time. Within a day of `now`, returns the time until
/// then, or since then.
pub(super) fn day(text: &str, now: Timestamp) -> Markup {
    let is_near = |time: Timestamp| time.since(now).max(now.since(time)) < DAY;
    if Timestamp::parse(text).is_ok_and(is_near) {
        return relative_time(Some(text), now, "");
    }
    html! { (text.get(..10).unwrap_or(text)) }
}

/// Returns a time in UTC without the part after the second.
pub(super) fn without_fraction(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// Returns a time as "… ago" or "in …", with the full time as tooltip; else `otherwise`.
pub(super) fn relative_time(text: Option<&str>, now: Timestamp, otherwise: &str) -> Markup {
    let time = text.and_then(|text| Timestamp::parse(text).ok());
    let (Some(text), Some(time)) = (text, time) else { return html! { (otherwise) } };
    html! {
        time datetime=(text) title=(text) {
            @if time > now {
                "in " span.unbroken { (HumanDuration(time.since(now))) }
            } @else {
                span.unbroken { (HumanDuration(now.since(time))) } " ago"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_within_a_day_is_shown_by_how_long_it_is_until_then() {
        let now = Timestamp::parse("2026-11-30T09:00:00Z").unwrap();
        let shown = |text: &str| {
            let markup = day(text, now).into_string();
            markup.split('<').filter_map(|part| Some(part.split_once('>')?.1)).collect::<String>()
        };
        assert_eq!(shown("2026-11-30T09:03:00Z"), "in 3 min 0 s");
        assert_eq!(shown("2026-11-30T08:57:00Z"), "3 min 0 s ago");
        assert_eq!((day("2026-12-01T09:00:00Z", now).0, day("never", now).0), ("2026-12-01".into(), "never".into()));
    }

    #[test]
    fn a_command_at_the_end_of_a_text_is_shown_whole() {
        let command = "s1-forwarder state delete acme/threats/siem --state file:/var/lib/s1-forwarder/state";
        let text = |length: usize| format!("{}; {command}", "x".repeat(length));
        assert_eq!(cut_before_command(&text(10), 20), text(10));
        assert_eq!(cut_before_command(&text(40), 20), format!("{}… {command}", "x".repeat(20)));
        assert_eq!(cut_before_command(&"x".repeat(40), 20), format!("{}…", "x".repeat(20)));
    }
}
