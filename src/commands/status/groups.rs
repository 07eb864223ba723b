//! Lanes with one cause, as one entry with the whole text.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::table::Style;
use crate::record::Timestamp;
use crate::server::{LaneRow, cause_of, of_several};
use crate::telemetry::HumanDuration;
use crate::visible::visible;

/// Lanes, or pipelines, that an entry names.
const MAX_NAMES: usize = 5;

/// Lanes with the same state and cause.
#[derive(Debug)]
pub struct Group<'a> {
    lanes: Vec<&'a LaneRow>,
}

/// Groups of at least `least` lanes, failing ones and then the largest first, and the other lanes in their order.
pub fn of(lanes: &[LaneRow], least: usize) -> (Vec<Group<'_>>, Vec<&LaneRow>) {
    let mut by_cause: BTreeMap<_, Vec<&LaneRow>> = BTreeMap::new();
    for lane in lanes {
        if (lane.needs_attention() && lane.error.is_some()) || !lane.warnings.is_empty() {
            by_cause.entry(cause(lane)).or_default().push(lane);
        }
    }
    by_cause.retain(|_, lanes| lanes.len() >= least);
    let others = lanes.iter().filter(|lane| !by_cause.contains_key(&cause(lane))).collect();
    let mut groups: Vec<Group<'_>> = by_cause.into_values().map(|lanes| Group { lanes }).collect();
    groups.iter_mut().for_each(|group| group.lanes.sort_by_key(|lane| lane.name()));
    groups.sort_by_key(|group| {
        let is_failing = group.lanes.first().is_some_and(|lane| lane.needs_attention());
        (!is_failing, Reverse(group.lanes.len()))
    });
    (groups, others)
}

/// Returns the texts of the lane's error and its other problems.
fn texts(lane: &LaneRow) -> impl Iterator<Item = String> {
    lane.error.clone().into_iter().chain(lane.problems())
}

fn cause(lane: &LaneRow) -> (&str, Vec<String>) {
    (&lane.state, texts(lane).map(|text| cause_of(&text)).collect())
}

pub fn render(groups: &[Group<'_>], now: Timestamp, style: Style) -> String {
    groups.iter().map(|group| group.render(now, style)).collect::<Vec<_>>().join("\n")
}

impl Group<'_> {
    fn render(&self, now: Timestamp, style: Style) -> String {
        let Some(first) = self.lanes.first() else { return String::new() };
        let state = style.coloured(&first.state.replace('_', " "), first.up);
        let mut lines = format!("{}: {state}{}\n", self.title(), self.times(now));
        let width = style.width.map(|width| width.saturating_sub(2));
        let mut paragraphs: Vec<String> = texts(first).collect();
        if self.lanes.len() > 1 {
            paragraphs.iter_mut().for_each(|text| *text = of_several(text).into_owned());
            paragraphs.push(format!("lanes{}: {}", self.whose_numbers(first), self.names()));
        }
        for line in paragraphs.iter().flat_map(|text| wrapped(&visible(text), width)) {
            lines.push_str(&format!("  {line}\n"));
        }
        if let Some(command) = self.retry() {
            lines.push_str(&format!("  to try now:\n    {command}\n"));
        }
        lines
    }

    fn title(&self) -> String {
        let mut pipelines: Vec<&str> = self.lanes.iter().map(|lane| lane.pipeline.as_str()).collect();
        pipelines.dedup();
        match (self.lanes.as_slice(), pipelines.as_slice()) {
            ([lane], _) => lane.name(),
            (lanes, [pipeline]) => format!("{} lanes of {pipeline}", lanes.len()),
            (lanes, pipelines) => format!("{} lanes of {} pipelines", lanes.len(), pipelines.len()),
        }
    }

    /// Says so where the texts of the others have other numbers.
    fn whose_numbers(&self, first: &LaneRow) -> &'static str {
        let shown = |lane| texts(lane).map(|text| of_several(&text).into_owned()).collect::<Vec<_>>();
        let is_equal = self.lanes.iter().all(|lane| shown(lane) == shown(first));
        if is_equal { "" } else { " (the numbers above are the first lane's)" }
    }

    /// Says since when the first lane fails, and when the next attempt of any failing lane is.
    fn times(&self, now: Timestamp) -> String {
        let earliest = |of: &dyn Fn(&LaneRow) -> Option<&String>| {
            self.lanes.iter().filter_map(|lane| Timestamp::parse(of(lane)?).ok()).min()
        };
        let since = earliest(&|lane| lane.failing_since.as_ref());
        let next = earliest(&|lane| lane.next_attempt.as_ref().filter(|_| !lane.up));
        let since = since.map_or(String::new(), |since| format!(" for {}", HumanDuration(now.since(since))));
        let next = next.map_or(String::new(), |next| format!(", next attempt in {}", HumanDuration(next.since(now))));
        since + &next
    }

    fn names(&self) -> String {
        let shown: Vec<String> = self.lanes.iter().take(MAX_NAMES).map(|lane| lane.name()).collect();
        let more = self.lanes.len().saturating_sub(MAX_NAMES);
        let more = if more == 0 { String::new() } else { format!(" and {more} more (--all shows them)") };
        shown.join(", ") + &more
    }

    /// Returns the command that ends the wait of these lanes.
    fn retry(&self) -> Option<String> {
        let command = self.lanes.iter().find_map(|lane| Some((lane, lane.retry.as_ref()?)));
        let (lane, command) = command?;
        if self.lanes.iter().any(|other| other.pipeline != lane.pipeline) {
            return Some(command.replacen(&lane.name(), "--failing", 1));
        }
        lane.retry_of(self.lanes.len())
    }
}

/// Returns the words of a text in lines of at most `width` characters. A longer word has a line of its own.
fn wrapped(text: &str, width: Option<usize>) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
            } else if line.chars().count() + 1 + word.chars().count() <= width {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::lane;
    use super::*;
    use serde_json::json;

    const PLAIN: Style = Style { width: Some(80), coloured: false };

    #[test]
    fn lanes_with_one_cause_are_one_entry_with_the_whole_error() {
        let error = format!("503 Service Unavailable: {} the end", "the SIEM is down ".repeat(20));
        let mut lanes: Vec<LaneRow> = (0..300)
            .map(|number| {
                let pipeline = format!("cust{number:03}");
                let retry = format!("s1-forwarder retry {pipeline}/activities/siem --state file:/state");
                lane(json!({
                    "pipeline": pipeline, "state": "sink_failing", "up": false, "error": error,
                    "failing_since": "2026-09-21T13:00:00Z", "retry": retry,
                }))
            })
            .collect();
        lanes.push(lane(json!({ "pipeline": "other", "state": "console_refused", "up": false, "error": "403" })));
        lanes.push(lane(json!({})));
        let now = Timestamp::parse("2026-09-21T13:15:00Z").unwrap();
        let (groups, rows) = of(&lanes, 2);
        assert_eq!((groups.len(), rows.len()), (1, 2), "a cause of one lane is in its row");
        let text = render(&groups, now, PLAIN);
        assert!(text.starts_with("300 lanes of 300 pipelines: sink failing for 15 min"), "{text}");
        assert!(text.contains("the end\n") && text.lines().count() < 16, "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("cust004/activities/siem and 295 more (--all shows them)"), "{text}");
        assert!(text.ends_with("\n    s1-forwarder retry --failing --state file:/state\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let (groups, rows) = of(&lanes, 1);
        assert_eq!((groups.len(), rows.len()), (2, 1));
        let text = render(&groups, now, PLAIN);
        assert!(text.contains("\n\nother/activities/siem: console refused"), "{text}");
    }
    #[test]
    fn lanes_whose_errors_differ_in_numbers_are_one_entry() {
        let refused = |pipeline: &str, events: u32, site: &str| {
            let error = format!(
                "the sink refused {events} events in a row: index {site}; start again with --accept-refusals \
                 {pipeline}/activities/siem"
            );
            lane(json!({ "pipeline": pipeline, "state": "misconfigured", "up": false, "error": error }))
        };
        let lanes = [refused("a", 155, "s1"), refused("b", 97, "s1"), refused("c", 97, "s2")];
        let (groups, _) = of(&lanes, 1);
        assert_eq!(groups.len(), 2, "digits in a name stay");
        let text = render(&groups, Timestamp::parse("2026-09-21T13:15:00Z").unwrap(), PLAIN);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("2 lanes of 2 pipelines: misconfigured, ") && words.contains("refused 155 events"),
            "{text}"
        );
        assert!(
            words.contains("--accept-refusals PIPELINE/STREAM/SINK lanes (the numbers above are the first"),
            "{text}"
        );
        assert!(words.contains("--accept-refusals c/activities/siem"), "whole where it is one lane: {text}");
    }

    #[test]
    fn lanes_with_one_warning_are_one_entry_after_the_failing_ones() {
        let warned = |pipeline: &str, text: &str| lane(json!({ "pipeline": pipeline, "warnings": [text] }));
        let failing = lane(json!({ "state": "console_refused", "up": false, "error": "403", "warnings": ["old"] }));
        let lanes = [warned("b", "the token does not see 7"), warned("c", "the token does not see 7"), failing];
        let (groups, rows) = of(&lanes, 1);
        assert_eq!((groups.len(), rows.len()), (2, 0));
        let text = render(&groups, Timestamp::parse("2026-09-21T13:15:00Z").unwrap(), PLAIN);
        assert!(text.starts_with("acme/activities/siem: console refused"), "{text}");
        assert!(text.contains("\n  403\n  old\n"), "a failing lane may have a warning too: {text}");
        assert!(
            text.ends_with(
                "2 lanes of 2 pipelines: running\n  the token does not see 7\n  lanes: b/activities/siem, \
                                c/activities/siem\n"
            ),
            "{text}"
        );
    }
}
