//! What only the source knows of a stream: when and how the console is asked for its records.

pub(super) mod agents;
pub(super) mod alerts;
mod own;
pub(super) mod pulled;
pub(super) mod unified_alerts;
pub(super) mod vulnerabilities;

pub use self::agents::{Agents, Mode};
pub use self::alerts::Alerts;
pub use self::own::{ActivityFilter, ActivityInclude, Addition, AgentPull, AlertFilter, Include, Own, VOLATILE};
pub use self::unified_alerts::{AlertView, UnifiedAlerts};
pub use self::vulnerabilities::{FindingSeverity, Vulnerabilities};
use s1_forwarder_record::Stream;

use super::position::MAIN;
use super::protocols::Protocol;
use super::settings::pulled;
use super::{By, Pass, PassKeys, Pull, Reading, Request, SilentAfter};
use crate::console::{Endpoint, ListOrder};

/// Whether the console may want one scope of a stream to be asked for at a time, so that a lane has a position for each
/// scope.
pub fn is_by_scope(stream: Stream) -> bool {
    pulled(stream).protocol.is_by_scope()
}

impl Pull {
    /// A stream with nothing but defaults.
    pub fn of(stream: Stream) -> Self {
        let pulled = pulled(stream);
        Self {
            stream,
            interval: pulled.interval,
            since: pulled.since,
            overlap: pulled.overlap,
            silent_after: SilentAfter::Auto,
            scope: None,
            filters: Vec::new(),
            own: (pulled.own)(),
            window: None,
            named_by: None,
        }
    }

    /// How the console is asked for these records.
    pub(super) fn protocol(&self) -> &'static dyn Protocol {
        pulled(self.stream).protocol
    }

    /// Whether the records come in the order of the time that they are asked for by.
    pub fn is_ordered(&self) -> bool {
        self.protocol().is_ordered()
    }

    /// The passes over the stream, the one that brings what is new first.
    pub fn passes(&self) -> Vec<Pass> {
        let ListOrder { sort_by, time_filter } = self.list_order();
        let main = Pass {
            name: MAIN.into(),
            sort_by,
            time_filter,
            by: self.by(),
            every: self.interval,
            reach: self.overlap,
            keys: PassKeys::Versions,
            reading: Reading::New,
        };
        if self.window.is_some() { vec![main] } else { (pulled(self.stream).passes)(self, main) }
    }

    /// Path and parameters of the requests.
    pub(super) fn endpoint(&self) -> &'static Endpoint {
        Endpoint::of(self.stream)
    }

    /// How the list of these records is sorted and filtered.
    pub(super) fn list_order(&self) -> ListOrder {
        if self.is_by_creation() { self.endpoint().by_creation() } else { self.endpoint().order }
    }

    /// The time by which the console is asked for these records, where it can be asked by both.
    pub(super) fn by(&self) -> By {
        if self.is_by_creation() && self.endpoint().created.is_some() { By::Creation } else { By::Order }
    }

    /// Snapshots are read by the time of creation, so that their windows are too.
    fn is_by_creation(&self) -> bool {
        let is_always = self.is_snapshot() || pulled(self.stream).windows_by_creation;
        self.window.is_some_and(|window| is_always || window.by == By::Creation)
    }
}

impl Request {
    /// One record of a stream, or none: whether the token may read it, and the console's time.
    pub fn probe(stream: Stream, max_bytes: usize) -> Self {
        pulled(stream).protocol.probe(stream, max_bytes)
    }
}
