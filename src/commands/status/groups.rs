//! Lanes that fail with one cause, as one entry with the whole error.

use super::table::Style;
use crate::record::Timestamp;
use crate::server::LaneRow;
use crate::telemetry::HumanDuration;
use crate::visible::visible;

/// Lanes, or pipelines, that an entry names.
const MOST_NAMES: usize = 5;

/// Lanes that need an operator, with the same state and error.
#[derive(Debug)]
pub struct Group<'a> {
    lanes: Vec<&'a LaneRow>,
}

/// Groups of at least `least` lanes, the largest first, and the other lanes in their order.
pub fn of(lanes: &[LaneRow], least: usize) -> (Vec<Group<'_>>, Vec<&LaneRow>) {
    let mut failing: Vec<&LaneRow> =
        lanes.iter().filter(|lane| lane.needs_attention() && lane.error.is_some()).collect();
    failing.sort_by_key(|lane| (&lane.state, &lane.error, lane.name()));
    let chunks = failing.chunk_by(|one, other| (&one.state, &one.error) == (&other.state, &other.error));
    let mut groups: Vec<Group<'_>> =
        chunks.filter(|chunk| chunk.len() >= least).map(|chunk| Group { lanes: chunk.to_vec() }).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.lanes.len()));
    let is_grouped = |lane: &LaneRow| {
        let cause = (&lane.state, &lane.error);
        groups.iter().filter_map(|group| group.lanes.first()).any(|first| (&first.state, &first.error) == cause)
    };
    let others = lanes.iter().filter(|lane| !is_grouped(lane)).collect();
    (groups, others)
}

pub fn render(groups: &[Group<'_>], now: Timestamp, style: Style) -> String {
    groups.iter().map(|group| group.render(now, style)).collect::<Vec<_>>().join("\n")
}

impl Group<'_> {
    fn render(&self, now: Timestamp, style: Style) -> String {
        let Some(first) = self.lanes.first() else { return String::new() };
        let state = style.coloured(&first.state.replace('_', " "), first.up);
        let mut lines = format!("{}: {state}{}\n", self.title(), self.times(now));
        for line in wrapped(&visible(first.error.as_deref().unwrap_or_default()), style.width.map(|width| width - 2)) {
            lines.push_str(&format!("  {line}\n"));
        }
        let names = self.names();
        if self.lanes.len() > 1 {
            for line in wrapped(&format!("lanes: {names}"), style.width.map(|width| width - 2)) {
                lines.push_str(&format!("  {line}\n"));
            }
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

    /// Since when the first lane fails, and when the next attempt of any is.
    fn times(&self, now: Timestamp) -> String {
        let earliest = |of: &dyn Fn(&LaneRow) -> Option<&String>| {
            self.lanes.iter().filter_map(|lane| Timestamp::parse(of(lane)?).ok()).min()
        };
        let since = earliest(&|lane| lane.failing_since.as_ref());
        let next = earliest(&|lane| lane.next_attempt.as_ref());
        let since = since.map_or(String::new(), |since| format!(" for {}", HumanDuration(now.since(since))));
        let next = next.map_or(String::new(), |next| format!(", next attempt in {}", HumanDuration(next.since(now))));
        since + &next
    }

    fn names(&self) -> String {
        let shown: Vec<String> = self.lanes.iter().take(MOST_NAMES).map(|lane| lane.name()).collect();
        let more = self.lanes.len().saturating_sub(MOST_NAMES);
        let more = if more == 0 { String::new() } else { format!(" and {more} more (--all shows them)") };
        shown.join(", ") + &more
    }

    /// The command that ends the wait of these lanes.
    fn retry(&self) -> Option<String> {
        let command = self.lanes.iter().find_map(|lane| Some((lane, lane.retry.as_ref()?)));
        let (lane, command) = command?;
        if self.lanes.iter().any(|other| other.pipeline != lane.pipeline) {
            return Some(command.replacen(&lane.name(), "--failing", 1));
        }
        lane.retry_of(self.lanes.len())
    }
}

/// The words of a text in lines of at most `width` characters. A longer word has a line of its own.
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
}
