//! The settings that only one stream has.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::Findings;

/// Settings that only one stream has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamOptions {
    Nothing,
    /// Lists to fetch for each threat in addition to its record, sorted.
    Threats(Vec<ThreatInclude>),
    Activities(ActivityFilter),
    Agents(AgentSettings),
    /// Time after their creation for which alerts are read again.
    Alerts(Duration),
    UnifiedAlerts(UnifiedAlertFilter),
    Vulnerabilities(Findings),
}

impl StreamOptions {
    /// Returns the filters that narrow a list.
    pub(in crate::source) fn filters(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Nothing | Self::Threats(_) | Self::Agents(_) | Self::Alerts(_) => Vec::new(),
            Self::Activities(activities) => activities.filters().into_iter().collect(),
            Self::UnifiedAlerts(alerts) => alerts.filters(),
            Self::Vulnerabilities(findings) => findings.filters().into_iter().collect(),
        }
    }
}

/// `streams.threats.include`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThreatInclude {
    /// What analysts wrote about the threat: the newest 100 notes.
    Notes,
    /// What happened to the threat: the newest 200 items.
    Timeline,
}

impl ThreatInclude {
    /// Returns the name in settings, paths and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notes => "notes",
            Self::Timeline => "timeline",
        }
    }

    /// Returns the largest number of items that are kept.
    pub const fn limit(self) -> usize {
        match self {
            Self::Notes => 100,
            Self::Timeline => 200,
        }
    }
}

/// `streams.activities.include`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivityInclude {
    /// What does not change of the threat that the activity is about, such as its hashes, engines and storyline.
    Threat,
}

/// Which activities are pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivityFilter {
    /// Types that are dropped, sorted.
    pub exclude_types: Vec<u32>,
    /// Types to pull, all when empty, sorted.
    pub types: Vec<u32>,
    /// Whether the threats that activities are about are fetched, too.
    pub with_threats: bool,
}

/// Data that is fetched in addition to the records of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrichment<'a> {
    /// These lists of each threat.
    Lists(&'a [ThreatInclude]),
    /// The threat of each activity.
    Threats,
}

impl ActivityFilter {
    fn filters(&self) -> Option<(&'static str, String)> {
        let types = || self.types.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        (!self.types.is_empty()).then(|| ("activityTypes", types()))
    }

    /// Returns a filter of the types that the console lists and the program drops; `None` if there are none.
    pub(in crate::source) fn excluded(&self) -> Option<Self> {
        let is_pulled = |kind: &u32| self.types.is_empty() || self.types.contains(kind);
        let types: Vec<u32> = self.exclude_types.iter().copied().filter(is_pulled).collect();
        (!types.is_empty()).then(|| Self { types, ..self.clone() })
    }
}

/// How agents are pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// Whether each poll is a full inventory.
    pub snapshot: bool,
    /// Keys of an agent that do not count when they alone changed, sorted.
    pub volatile: Vec<String>,
    /// Whether a complete snapshot is followed by an event that says so.
    pub marker: bool,
}

impl Default for AgentSettings {
    fn default() -> Self {
        let volatile = VOLATILE_AGENT_KEYS.map(str::to_owned).to_vec();
        Self { snapshot: false, volatile, marker: false }
    }
}

/// Keys of an agent that its check-ins change by themselves, sorted.
pub const VOLATILE_AGENT_KEYS: [&str; 4] =
    ["containerizedWorkloadCounts", "fullDiskScanLastUpdatedAt", "lastActiveDate", "updatedAt"];

/// Which unified alerts are pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnifiedAlertFilter {
    /// Products to pull; all if empty.
    pub products: Vec<String>,
    /// The console's view; `None` for all alerts.
    pub view: Option<&'static str>,
    /// Whether each alert is delivered once, when it is new, and no change of it is.
    pub new_only: bool,
}

impl UnifiedAlertFilter {
    fn filters(&self) -> Vec<(&'static str, String)> {
        let products = (!self.products.is_empty()).then(|| ("detectionProduct", self.products.join(",")));
        let view = self.view.map(|view| ("viewType", view.to_owned()));
        products.into_iter().chain(view).collect()
    }
}
