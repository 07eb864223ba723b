//! Settings of an index that decide when, and whether, its documents are found.

use std::time::Duration;

use s1_forwarder_engine::sink::lookup::Inconclusive;
use serde_json::Value;

pub(super) const REFRESH: &str = "index.refresh_interval";
pub(super) const CREATED: &str = "index.creation_date";
/// A search pipeline may change a question, and may leave hits out of the answer.
pub(super) const SEARCH_PIPELINE: &str = "index.search.default_pipeline";
/// The search pipeline that is none.
const NO_PIPELINE: &str = "_none";
/// Set where an index is frozen, as Elasticsearch 7 can: a question about the whole target leaves it out.
pub(super) const FROZEN: &str = "index.search.throttled";
/// How replicas get documents.
pub(super) const REPLICATION: &str = "index.replication.type";

/// Returns the interval, unless it is longer than `most`: a document is found only after a refresh, whatever was
/// acknowledged.
pub(super) fn refuse_rare_refresh(index: &str, interval: &str, most: Duration) -> Result<Duration, Inconclusive> {
    if let Some(interval) = refresh_interval(interval).filter(|interval| *interval <= most) {
        return Ok(interval);
    }
    Err(Inconclusive::NoProof(format!(
        "`{index}` has the {REFRESH} {interval}, and a document is found only after a refresh: refresh it and set an \
         interval, or set `verify.settle` to more than the interval"
    )))
}

/// Fails if a setting of an index hides documents from each search.
pub(super) fn refuse_hiding(name: &str, index: &Value) -> Result<(), Inconclusive> {
    if let Some(pipeline) = text(index, SEARCH_PIPELINE).filter(|pipeline| *pipeline != NO_PIPELINE) {
        return Err(Inconclusive::NoProof(format!(
            "`{name}` has the {SEARCH_PIPELINE} `{pipeline}`, which may leave documents out of an answer"
        )));
    }
    if text(index, FROZEN) == Some("true") {
        return Err(Inconclusive::NoProof(format!("`{name}` is frozen, and searches leave it out: unfreeze it")));
    }
    Ok(())
}

/// Returns a setting of an index.
pub(super) fn text<'v>(index: &'v Value, name: &str) -> Option<&'v str> {
    index.get("settings")?.get(name)?.as_str()
}

/// Returns how long a document may take to be found; `None` if the setting does not say.
pub(super) fn refresh_interval(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let factor = match unit {
        // A plain number is one of milliseconds.
        "ms" | "" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        // Smaller units.
        "micros" | "nanos" => return Some(Duration::from_micros(number)),
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_interval_is_read() {
        for (text, expected) in [("1s", Some(1_000)), ("500ms", Some(500)), ("2m", Some(120_000)), ("-1", None)] {
            assert_eq!(refresh_interval(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
