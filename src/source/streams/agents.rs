use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pulled::Pulled;
use crate::console::ListOrder;
use crate::record::Stream;
use crate::settings::{Period, SettingKind};
use crate::source::position::SNAPSHOT;
use crate::source::protocols::List;
use crate::source::stream_settings::{sorted, stream_settings, text};
use crate::source::{By, Pass, Pull, Reading, SilentAfter, Since};

stream_settings! {
    /// `streams.agents`.
    Agents [
        "Time between polls, or between snapshots.",
        "Where the first run begins; in a snapshot, when the oldest agents were created.",
        change,
        own
    ]
    /// Changes as they come, or full inventories.
    mode: Mode,
    /// Keys of the record that change with every check-in of an agent: an agent in which nothing else changed is not
    /// sent again. An empty list turns this off, and every check-in is sent.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    volatile: Option<Vec<String>>,
    /// Also pull agents that were decommissioned.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    include_decommissioned: bool,
    /// With `mode: snapshot`: when a snapshot is complete, send an event that says so, with the number of agents.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    marker: bool,
}

/// `streams.agents.mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Agents that changed since the last poll; all of them the first time.
    #[default]
    Changes,
    /// All agents, at every interval.
    Snapshot,
}

impl Agents {
    pub(in crate::source) fn pull(&self) -> Pull {
        let usual = self.common();
        Pull {
            snapshot: self.mode == Mode::Snapshot,
            volatile: self.volatile.as_deref().map_or(usual.volatile, sorted),
            include_decommissioned: self.include_decommissioned,
            marker: self.marker,
            ..usual
        }
    }
}

/// What an agent's check-in moves by itself, sorted.
pub const VOLATILE: [&str; 4] =
    ["containerizedWorkloadCounts", "fullDiskScanLastUpdatedAt", "lastActiveDate", "updatedAt"];

pub(super) const PULLED: Pulled = Pulled {
    interval: Duration::from_secs(900),
    since: Since::Beginning,
    overlap: Duration::from_secs(300),
    protocol: &List,
    windows_by_creation: false,
    volatile: &VOLATILE,
    passes,
};

fn passes(pull: &Pull, main: Pass) -> Vec<Pass> {
    if !pull.snapshot {
        return vec![main];
    }
    let ListOrder { sort_by, time_filter } = pull.endpoint().by_creation();
    let reading = Reading::Snapshot;
    vec![Pass { name: SNAPSHOT.into(), sort_by, time_filter, by: By::Creation, reading, ..main }]
}
