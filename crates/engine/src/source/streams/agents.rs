//! How agents are pulled: by change or as a snapshot.

use std::time::Duration;

use s1_forwarder_record::Stream;
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pull_description::PullDescription;
use super::{AgentSettings, StreamOptions};
use crate::console::ListOrder;
use crate::source::position::SNAPSHOT;
use crate::source::protocols::List;
use crate::source::settings::stream_settings::{sorted, stream_settings, text};
use crate::source::{Pass, PassKind, PullSettings, SilentAfter, Since, TimeField};

stream_settings! {
    /// `streams.agents`.
    Agents [
        "Time between polls, or between snapshots.",
        "Where the first run begins; in a snapshot, when the oldest agents were created.",
        change,
        own
    ]
    /// Changes as they come, or full inventories.
    mode: AgentMode,
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
pub enum AgentMode {
    /// Agents that changed since the last poll; all of them the first time.
    #[default]
    Changes,
    /// All agents, at every interval.
    Snapshot,
}

impl Agents {
    pub(in crate::source) fn pull(&self) -> PullSettings {
        let own = AgentSettings {
            snapshot: self.mode == AgentMode::Snapshot,
            volatile: self.volatile.as_deref().map_or_else(|| AgentSettings::default().volatile, sorted),
            marker: self.marker,
        };
        let decommissioned = ("isDecommissioned", "True,False".to_owned());
        let filters = self.include_decommissioned.then_some(decommissioned).into_iter().collect();
        PullSettings { filters, own: StreamOptions::Agents(own), ..self.common() }
    }
}

impl PullSettings {
    fn agents(&self) -> Option<&AgentSettings> {
        if let StreamOptions::Agents(agents) = &self.own { Some(agents) } else { None }
    }

    /// Returns [`AgentSettings::snapshot`]; false for other streams.
    pub fn is_snapshot(&self) -> bool {
        self.agents().is_some_and(|agents| agents.snapshot)
    }

    /// Returns [`AgentSettings::marker`]; false for other streams.
    pub fn has_marker(&self) -> bool {
        self.agents().is_some_and(|agents| agents.marker)
    }

    /// Returns [`AgentSettings::volatile`]; empty for other streams.
    pub fn volatile(&self) -> &[String] {
        self.agents().map_or(&[], |agents| &agents.volatile)
    }
}

pub(in crate::source) const DESCRIPTION: PullDescription = PullDescription {
    interval: Duration::from_mins(15),
    since: Since::Beginning,
    overlap: Duration::from_mins(5),
    protocol: &List,
    windows_by_creation: false,
    own: || StreamOptions::Agents(AgentSettings::default()),
    passes,
};

fn passes(pull: &PullSettings, main: Pass) -> Vec<Pass> {
    if !pull.is_snapshot() {
        return vec![main];
    }
    let ListOrder { sort_by, time_filter } = pull.endpoint().by_creation();
    let kind = PassKind::Snapshot;
    vec![Pass { name: SNAPSHOT.into(), sort_by, time_filter, by: TimeField::Creation, kind, ..main }]
}
