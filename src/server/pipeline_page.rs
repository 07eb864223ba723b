//! The page of one pipeline.

use std::cmp::Reverse;

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::chart::chart;
use super::details::{Incident, PipelineDetails, advice};
use super::html::{
    Document, day, error_row, lag, lane_state, relative_time, shortened, state_class, table, without_fraction,
};
use super::lanes::LaneRow;
use crate::record::Timestamp;
use crate::telemetry::{HumanDuration, without_numbers};

/// The columns of the lanes.
const COLUMNS: [&str; 14] = [
    "Stream",
    "Sink",
    "State",
    "Lag",
    "Last success",
    "Newest record",
    "Next attempt",
    "Events/s",
    "Sink answers in",
    "Today",
    "Yesterday",
    "Delivered",
    "Skipped",
    "Dead letters",
];
/// Rows of a table.
const MAX_ROWS: usize = 200;
/// Characters of a text.
const MAX_TEXT: usize = 2_000;

pub(super) fn render(details: &PipelineDetails, refresh: Option<u16>, now: Timestamp) -> String {
    let name = &details.pipeline;
    let link = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let body = html! {
        header {
            nav aria-label="Views" {
                a href="../" { "all pipelines" }
                a href={ "../api/v1/pipelines/" (link) } { "this page as JSON" }
                @if refresh.is_some() {
                    a href="?" { "stop refreshing" }
                } @else {
                    a href="?refresh=5" { "refresh every 5 s" }
                }
            }
            h1 { (name) }
            p {
                "at " time { (without_fraction(&details.time)) }
                @if let Some(worker) = &details.worker { ", on worker " (worker) }
            }
            (summary(details, now))
        }
        main {
            (files(details))
            (lanes(&details.lanes, now))
            (errors(details, now))
            h2 { "The last hours" }
            (chart(
                "Events delivered per second",
                &details.history,
                |point| Some(point.delivered_per_second),
                |rate| format!("{rate:.1}/s"),
            ))
            (chart(
                "Largest lag",
                &details.history,
                |point| point.lag_seconds,
                |lag| HumanDuration::of_seconds(f64::from(lag)).to_string(),
            ))
            (verification(details))
            (dead_letters(details))
            (settings(&details.settings))
        }
    };
    let title = format!("{name} – s1-forwarder");
    let without_lanes = details.files.iter().filter(|file| file.runs_nothing()).count();
    let failing = details.lanes.iter().filter(|lane| !lane.up).count() + without_lanes;
    Document { title: &title, failing, refresh, skip: ("errors", "Skip to the errors"), body }.into_string()
}

fn summary(details: &PipelineDetails, now: Timestamp) -> Markup {
    let lanes = &details.lanes;
    let up = lanes.iter().filter(|lane| lane.up).count();
    let delivered: f64 = lanes.iter().fold(0.0, |sum, lane| sum + lane.delivered_per_second);
    let expires = lanes.iter().find_map(|lane| lane.token_expires.as_deref());
    let expires_soon = expires
        .and_then(|text| Timestamp::parse(text).ok())
        .is_some_and(|time| time.since(now).as_secs() < 14 * 86_400);
    html! {
        ul.cards {
            li { b class=(if up == lanes.len() { "up" } else { "down" }) { (up) " of " (lanes.len()) } "lanes up" }
            li { b { (format_args!("{delivered:.1}")) } "events/s delivered" }
            @if let Some(lag) = lanes.iter().filter_map(|lane| lane.lag_seconds).max_by(f64::total_cmp) {
                li { b { (HumanDuration::of_seconds(lag)) } "largest lag" }
            }
            li { b { (sum_of_dead_letters(lanes)) } "dead letters" }
            li { b.down[expires_soon] { @match expires { Some(expires) => (day(expires, now)), None => "unknown" } } "API token expires" }
        }
    }
}

fn sum_of_dead_letters(lanes: &[LaneRow]) -> u64 {
    lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.shown_dead_letters()))
}

fn files(details: &PipelineDetails) -> Markup {
    html! {
        @for file in &details.files {
            @let (state, consequence) = file.consequence();
            p {
                "File " code { (file.file) } ": "
                span class=(if file.problem.is_some() { "down" } else { "soft" }) { (state) } " "
                (shortened(file.problem.as_deref().unwrap_or_default(), MAX_TEXT)) (consequence)
                @if let (true, Some(worker)) = (details.lanes.is_empty(), &file.worker) {
                    " Worker " (worker) " runs it and did not answer."
                }
            }
            @for warning in file.warnings.iter().take(MAX_ROWS) {
                p { span.soft { "warning" } " " (shortened(warning, MAX_TEXT)) }
            }
        }
    }
}

fn errors(details: &PipelineDetails, now: Timestamp) -> Markup {
    let PipelineDetails { errors, commands, .. } = details;
    let causes = causes(errors);
    let what_to_do = |error: &Incident| {
        let advice = advice(&error.state, &error.text);
        advice
            .replace("`check`", &format!("`{}`", commands.check))
            .replace("`preview`", &format!("`{}`", commands.preview))
    };
    let rows = html! {
        @for Cause { newest: error, count, streams } in causes.iter().take(MAX_ROWS) {
            tr {
                th scope="row" {
                    (relative_time(Some(&error.time), now, ""))
                    @if *count > 1 { ", " (count) " times" }
                }
                td data-label="Lane" { (streams.join(", ")) "/" (error.sink) }
                td data-label="State" { (error.state.replace('_', " ")) }
                td.e data-label="Error" { span { (shortened(&error.text, MAX_TEXT)) } }
                td.e data-label="What to do" { span { (code(&what_to_do(error))) } }
            }
        }
    };
    html! {
        h2 #errors { "Recent errors" }
        @if errors.is_empty() {
            p { "None since the worker started the lanes." }
        } @else {
            (table("The newest first", &["Time", "Lane", "State", "Error", "What to do"], &rows))
        }
    }
}

/// Errors of one sink and state whose texts differ in numbers only.
struct Cause<'a> {
    newest: &'a Incident,
    /// Number of times that lanes had the error.
    count: u32,
    streams: Vec<&'a str>,
}

/// Groups errors by cause. `errors` and the result begin with the newest.
fn causes(errors: &[Incident]) -> Vec<Cause<'_>> {
    let mut causes: Vec<(String, Cause<'_>)> = Vec::new();
    for error in errors {
        let text = without_numbers(&error.text);
        let is_same = |(known, cause): &&mut (String, Cause<'_>)| {
            *known == text && cause.newest.state == error.state && cause.newest.sink == error.sink
        };
        match causes.iter_mut().find(is_same) {
            Some((_, cause)) => {
                cause.count = cause.count.saturating_add(error.count);
                if !cause.streams.contains(&&*error.stream) {
                    cause.streams.push(&error.stream);
                }
            }
            None => causes.push((text, Cause { newest: error, count: error.count, streams: vec![&error.stream] })),
        }
    }
    causes.into_iter().map(|(_, cause)| cause).collect()
}

/// Returns the markup of a text whose commands are between back quotes.
fn code(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Returns the table of the lanes, the most urgent first.
fn lanes(lanes: &[LaneRow], now: Timestamp) -> Markup {
    let mut sorted: Vec<&LaneRow> = lanes.iter().collect();
    sorted.sort_by_key(|lane| Reverse(lane.urgency()));
    html! {
        h2 { "Lanes" }
        @if lanes.is_empty() {
            p { "No lane of this pipeline runs here." }
        } @else {
            div.wide {
                table.lanes {
                    caption { "By stream and sink" }
                    thead { tr { @for column in COLUMNS { th scope="col" { (column) } } } }
                    @for lane in sorted.into_iter().take(MAX_ROWS) { (lane_row(lane, now)) }
                }
            }
        }
    }
}

fn lane_row(lane: &LaneRow, now: Timestamp) -> Markup {
    let skipped = lane.skipped.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let [today, yesterday] = lane.describe_days();
    let next = if lane.request_limit_wait.is_some() || lane.state == "renamed" { "–" } else { "now" };
    html! {
        tbody {
            tr {
                th.name scope="row" { span { (lane.stream) } }
                td.name data-label="Sink" { span { (lane.sink) } }
                td data-label="State" { (lane_state(lane, now)) }
                td.n data-label="Lag" { (lag(lane.lag_seconds)) }
                td.t data-label="Last success" { (relative_time(lane.last_success.as_deref(), now, "never")) }
                td.t data-label="Newest record" { (relative_time(lane.newest_record.as_deref(), now, "–")) }
                td.t data-label="Next attempt" { (relative_time(lane.next_attempt.as_deref(), now, next)) }
                td.n data-label="Events/s" { (format_args!("{:.1}", lane.delivered_per_second)) }
                td.n data-label="Sink answers in" {
                    @match lane.sink_latency_seconds {
                        Some(seconds) => (answers_in(seconds)),
                        None => "–",
                    }
                }
                td.n data-label="Today" { (today) }
                td.n data-label="Yesterday" { (yesterday) }
                td.n data-label="Delivered" { (lane.delivered) }
                td.n data-label="Skipped" { (skipped) }
                td.n data-label="Dead letters" { (lane.shown_dead_letters()) }
            }
            (error_row(lane, 1, COLUMNS.len(), now))
        }
    }
}

fn answers_in(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1_000.0) } else { format!("{seconds:.1} s") }
}

fn verification(details: &PipelineDetails) -> Markup {
    let compared: Vec<_> = details.lanes.iter().filter_map(|lane| Some((lane, lane.verified.as_ref()?))).collect();
    let rows = html! {
        @for (lane, verified) in compared.iter().take(MAX_ROWS) {
            tr {
                th scope="row" { (lane.stream) "/" (lane.sink) }
                td.n data-label="Missing" {
                    span class=(state_class("", verified.missing_records == 0)) { (verified.missing_records) }
                }
                td data-label="Up to" { (verified.until) }
            }
        }
    };
    html! {
        h2 { "Compared with the console" }
        @if compared.is_empty() {
            p {
                "Not compared yet. The worker compares each complete day; to compare now: "
                code { (details.commands.verify) }
            }
        } @else {
            (table("Records of the last complete day", &["Lane", "Missing", "Up to"], &rows))
        }
    }
}

fn dead_letters(details: &PipelineDetails) -> Markup {
    html! {
        h2 { "Dead letters" }
        p {
            @if !details.lanes.is_empty() { (sum_of_dead_letters(&details.lanes)) " are stored. " }
            "To show them: " code { (details.commands.list_dead_letters) }
        }
        p { "To send them again: " code { (details.commands.replay_dead_letters) } }
    }
}

fn settings(settings: &[(String, String)]) -> Markup {
    let rows = html! {
        @for (key, value) in settings.iter().take(MAX_ROWS) {
            tr {
                th scope="row" { code { (key) } }
                td.e { code { (shortened(value, MAX_TEXT)) } }
            }
        }
    };
    html! {
        h2 { "Settings" }
        @if settings.is_empty() {
            p { "Not known here." }
        } @else {
            (table("As they apply: defaults are filled in, secrets are not shown", &["Key", "Value"], &rows))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_sink_answers_in_more_than_nothing() {
        assert_eq!([0.004, 0.25, 20.04].map(answers_in), ["4 ms", "250 ms", "20.0 s"]);
    }

    #[test]
    fn errors_that_differ_in_numbers_are_one_row() {
        let error = |time: &str, stream: &'static str, sink: &str, text: &str| Incident {
            time: time.to_owned(),
            stream: stream.into(),
            sink: sink.to_owned(),
            state: "sink_refused".into(),
            text: text.to_owned(),
            count: 2,
        };
        let errors = [
            error("2026-11-28T12:00:03Z", "threats", "siem", "the sink refused 112 events in a row"),
            error("2026-11-28T12:00:02Z", "activities", "siem", "the sink refused 108 events in a row"),
            error("2026-11-28T12:00:01Z", "threats", "siem", "the sink refused 92 events in a row"),
            error("2026-11-28T12:00:00Z", "threats", "other", "the sink refused 92 events in a row"),
        ];
        let causes = causes(&errors);
        let shown: Vec<_> =
            causes.iter().map(|cause| (&*cause.newest.time, cause.count, cause.streams.join(" "))).collect();
        let first = ("2026-11-28T12:00:03Z", 6, "threats activities".to_owned());
        assert_eq!(shown, [first, ("2026-11-28T12:00:00Z", 2, "threats".to_owned())]);
    }
}
