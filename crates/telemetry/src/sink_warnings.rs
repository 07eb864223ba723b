//! Warnings of sinks about events that they accept.

use std::collections::BTreeMap;

use s1_forwarder_record::Timestamp;

/// Why a sink accepted a batch with a warning (label `reason` of `sink_warnings_total`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WarningReason {
    /// elasticsearch: an ingest pipeline dropped documents.
    Noop,
    /// elasticsearch: documents went into another index.
    Rerouted,
    /// elasticsearch: documents went into the failure store.
    FailureStore,
    /// splunk_hec: a queue is nearly full.
    SlowDown,
    /// splunk_hec, logscale: a success has a code that the program does not know.
    UnknownCode,
    /// otlp: a success has a message.
    Message,
    /// azure_logs: values were truncated to the length of a column.
    Shortened,
    /// http: the answer names failures.
    Failures,
    /// http: the answer is a page of HTML.
    Page,
    /// sekoia: the answer has more ids than there were events.
    SurplusIds,
}

impl WarningReason {
    pub const ALL: [Self; 10] = [
        Self::Noop,
        Self::Rerouted,
        Self::FailureStore,
        Self::SlowDown,
        Self::UnknownCode,
        Self::Message,
        Self::Shortened,
        Self::Failures,
        Self::Page,
        Self::SurplusIds,
    ];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Rerouted => "rerouted",
            Self::FailureStore => "failure_store",
            Self::SlowDown => "slow_down",
            Self::UnknownCode => "unknown_code",
            Self::Message => "message",
            Self::Shortened => "shortened",
            Self::Failures => "failures",
            Self::Page => "page",
            Self::SurplusIds => "surplus_ids",
        }
    }
}

/// The batches of a lane that its sink accepted with a warning, since the process started.
#[derive(Debug, Default)]
pub(super) struct SinkWarnings(BTreeMap<WarningReason, Reason>);

#[derive(Debug)]
struct Reason {
    batches: u64,
    /// The warning of the last batch.
    text: String,
    last: Timestamp,
}

impl SinkWarnings {
    /// Counts a batch. Returns true if the text is not that of the last one with this reason.
    pub(super) fn add(&mut self, reason: WarningReason, text: &str, now: Timestamp) -> bool {
        let known = self.0.entry(reason).or_insert(Reason { batches: 0, text: String::new(), last: now });
        known.batches += 1;
        known.last = now;
        replace_if_different(&mut known.text, text)
    }

    /// The number of batches by reason.
    pub(super) fn counts(&self) -> impl Iterator<Item = (WarningReason, u64)> {
        self.0.iter().map(|(reason, known)| (*reason, known.batches))
    }

    /// The time and the text of the last warning of any reason.
    pub(super) fn last(&self) -> Option<(Timestamp, String)> {
        let last = self.0.values().max_by_key(|reason| reason.last)?;
        Some((last.last, last.text.clone()))
    }
}

/// True if `text` was different.
pub(super) fn replace_if_different(last: &mut String, text: &str) -> bool {
    let changed = *last != text;
    if changed {
        text.clone_into(last);
    }
    changed
}
