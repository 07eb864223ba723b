//! Warnings of sinks about events that they accept.

use std::collections::BTreeMap;

use s1_forwarder_record::Timestamp;

/// The batches of a lane that its sink accepted with a warning since the process started, by the label `reason` of
/// `sink_warnings_total`.
#[derive(Debug, Default)]
pub(super) struct SinkWarnings(BTreeMap<&'static str, Reason>);

#[derive(Debug)]
struct Reason {
    batches: u64,
    /// The warning of the last batch.
    text: String,
    last: Timestamp,
}

impl SinkWarnings {
    /// Counts a batch. Returns true if the text differs from the text of the last batch with this reason.
    pub(super) fn add(&mut self, reason: &'static str, text: &str, now: Timestamp) -> bool {
        let known = self.0.entry(reason).or_insert(Reason { batches: 0, text: String::new(), last: now });
        known.batches += 1;
        known.last = now;
        replace_if_different(&mut known.text, text)
    }

    /// Returns the number of batches by reason.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(reason, known)| (*reason, known.batches))
    }

    /// Returns the time and the text of the last warning of any reason.
    pub(super) fn last(&self) -> Option<(Timestamp, String)> {
        let last = self.0.values().max_by_key(|reason| reason.last)?;
        Some((last.last, last.text.clone()))
    }
}

/// Returns whether `text` was different.
pub(super) fn replace_if_different(last: &mut String, text: &str) -> bool {
    let changed = *last != text;
    if changed {
        text.clone_into(last);
    }
    changed
}
