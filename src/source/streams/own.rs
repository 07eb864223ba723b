use std::time::Duration;

use super::agents::AgentPull;
use super::unified_alerts::AlertFilter;
use crate::source::Findings;
use crate::source::settings::{ActivityFilter, Include};

/// What the settings of one stream say, and those of no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    Nothing,
    /// Lists to fetch for each threat in addition to its record, sorted.
    Threats(Vec<Include>),
    Activities(ActivityFilter),
    Agents(AgentPull),
    /// How long after their creation alerts are read again.
    Alerts(Duration),
    UnifiedAlerts(AlertFilter),
    Vulnerabilities(Findings),
}

impl Own {
    /// The filters that narrow a list.
    pub(in crate::source) fn filters(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Nothing | Self::Threats(_) | Self::Agents(_) | Self::Alerts(_) => Vec::new(),
            Self::Activities(activities) => activities.filters().into_iter().collect(),
            Self::UnifiedAlerts(alerts) => alerts.filters(),
            Self::Vulnerabilities(findings) => findings.filters().into_iter().collect(),
        }
    }
}
