//! The reasons of warnings of sinks about events that they accept.

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
    /// Returns the value of the label `reason`.
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
