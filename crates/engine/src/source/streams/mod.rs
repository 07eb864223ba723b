//! Facts about a stream that only the source knows: when and how the console is asked for its records.

pub(super) mod agents;
pub(super) mod alerts;
mod own;
pub(super) mod pull_description;
pub(super) mod unified_alerts;
pub(super) mod vulnerabilities;

pub use self::agents::{AgentMode, Agents};
pub use self::alerts::Alerts;
pub use self::own::{
    ActivityFilter, ActivityInclude, AgentSettings, Enrichment, StreamOptions, ThreatInclude, UnifiedAlertFilter,
    VOLATILE_AGENT_KEYS,
};
pub use self::unified_alerts::{UnifiedAlertView, UnifiedAlerts};
pub use self::vulnerabilities::{FindingSeverity, Vulnerabilities};
use s1_forwarder_record::Stream;

use super::position::MAIN_PASS;
use super::protocols::Protocol;
use super::settings::description_of;
use super::{Pass, PassKeys, PassKind, PullSettings, Request, SilentAfter, TimeField};
use crate::console::{Endpoint, ListOrder};

/// Returns whether the console may require requests for one scope at a time. A lane then has a position for each scope.
pub fn is_by_scope(stream: Stream) -> bool {
    description_of(stream).protocol.is_by_scope()
}

impl PullSettings {
    /// Returns the pull of a stream with default settings.
    pub fn of(stream: Stream) -> Self {
        let description = description_of(stream);
        Self {
            stream,
            interval: description.interval,
            since: description.since,
            overlap: description.overlap,
            silent_after: SilentAfter::Auto,
            scope: None,
            filters: Vec::new(),
            own: (description.own)(),
            window: None,
            named_by: None,
        }
    }

    /// Returns the protocol by which the console is asked for these records.
    pub(super) fn protocol(&self) -> &'static dyn Protocol {
        description_of(self.stream).protocol
    }

    /// Returns whether the records come in the order of the time by which they are asked for.
    pub fn is_ordered(&self) -> bool {
        self.protocol().is_ordered()
    }

    /// Returns the passes over the stream. The main pass, which reads new records, is the first.
    pub fn passes(&self) -> Vec<Pass> {
        let ListOrder { sort_by, time_filter } = self.list_order();
        let main = Pass {
            name: MAIN_PASS.into(),
            sort_by,
            time_filter,
            by: self.by(),
            every: self.interval,
            late_window: self.overlap,
            keys: PassKeys::Versions,
            kind: PassKind::New,
        };
        if self.window.is_some() { vec![main] } else { (description_of(self.stream).passes)(self, main) }
    }

    /// Returns the endpoint, which has path and parameters of the requests.
    pub(super) fn endpoint(&self) -> &'static Endpoint {
        Endpoint::of(self.stream)
    }

    /// Returns the sort order and the filter of the list of these records.
    pub(super) fn list_order(&self) -> ListOrder {
        if self.is_by_creation() { self.endpoint().by_creation() } else { self.endpoint().order }
    }

    /// Returns the time by which the console is asked for these records. Without a filter by creation, it is the time
    /// of the order.
    pub(super) fn by(&self) -> TimeField {
        if self.is_by_creation() && self.endpoint().created.is_some() { TimeField::Creation } else { TimeField::Order }
    }

    /// Returns whether this is a window by the time of creation. Snapshots are read by that time, so their windows are
    /// too.
    fn is_by_creation(&self) -> bool {
        let is_always = self.is_snapshot() || description_of(self.stream).windows_by_creation;
        self.window.is_some_and(|window| is_always || window.time == TimeField::Creation)
    }
}

impl Request {
    /// Requests one record of a stream, or none, to learn whether the token may read the stream, and the console's
    /// time.
    pub fn probe(stream: Stream, max_bytes: usize) -> Self {
        description_of(stream).protocol.probe(stream, max_bytes)
    }
}
