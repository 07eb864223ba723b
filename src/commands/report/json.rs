//! The report for programs: one JSON object by docs/report.schema.json.

use serde_json::{Value, json};

use super::output::Output;
use super::rows::{Completeness, Row, Window};
use crate::usage::LatencyBound;

/// Grows when a program that reads the report has to change.
const VERSION: u32 = 1;

#[derive(Default)]
pub struct Json {
    has_rows: bool,
}

impl Output for Json {
    fn begin(&mut self, window: &Window) -> String {
        let [made, from, to] = [window.now, window.from, window.to].map(|time| json!(time.to_string()));
        format!("{{\"version\":{VERSION},\"made\":{made},\"from\":{from},\"to\":{to},\"rows\":[\n")
    }

    fn row(&mut self, row: &Row) -> String {
        let comma = if std::mem::replace(&mut self.has_rows, true) { "," } else { "" };
        format!("{comma}{}\n", value(row))
    }

    fn end(&mut self, _: &Window) -> String {
        "]}\n".to_owned()
    }
}

fn value(row: &Row) -> Value {
    let [median, p95, p99] = row.percentiles().map(|bound| match bound {
        None => Value::Null,
        Some(LatencyBound::UpTo(seconds)) => json!({ "at_most_seconds": seconds }),
        Some(LatencyBound::Over) => json!({ "more_than_seconds": 86_400 }),
    });
    let counts = row.counts().map(|counts| {
        json!({
            "events": counts.events,
            "event_bytes": counts.bytes,
            "dead_letters": counts.dead_letters,
            "failing_minutes": counts.failing_minutes,
            "silent_minutes": row.silent_minutes(),
            "latency": { "measured": counts.latency.measured(), "median": median, "p95": p95, "p99": p99 },
        })
    });
    let completeness = match row.completeness() {
        Completeness::NotVerifiable => json!("not_verifiable"),
        Completeness::Unknown => Value::Null,
        Completeness::Verified { hours, missing } => {
            json!({ "hours": row.hours, "verified_hours": hours, "missing_records": missing })
        }
    };
    let not_known: Vec<Value> = row
        .not_known
        .iter()
        .map(|part| json!({ "from": part.from.to_string(), "to": part.to.to_string(), "reason": part.reason.name() }))
        .collect();
    json!({
        "pipeline": row.id.pipeline,
        "stream": row.id.stream.name(),
        "sink": row.id.sink,
        "row": if row.is_backfill { "backfill" } else { "lane" },
        "counts": counts,
        "completeness": completeness,
        "known_from": row.known.map(|known| known.0.to_string()),
        "known_until": row.known.map(|known| known.1.to_string()),
        "not_known": not_known,
        "problem": row.problem,
    })
}
