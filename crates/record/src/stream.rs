use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One kind of record, pulled from one endpoint of the console. See docs/streams.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Threats, by `threatInfo.updatedAt`.
    Threats,
    /// The activity log, by `createdAt`; append-only.
    Activities,
    /// Agents (endpoints), by `updatedAt`.
    Agents,
    /// STAR custom alerts, by `alertInfo.createdAt`.
    Alerts,
    /// Endpoint groups, by `updatedAt`.
    Groups,
    /// Unified alerts (GraphQL), by `updatedAt`.
    UnifiedAlerts,
    /// Application findings, in closed windows of their update date.
    Vulnerabilities,
}

impl Stream {
    /// Every stream, in the order in which they are documented.
    pub const ALL: [Self; 7] = [
        Self::Threats,
        Self::Activities,
        Self::Agents,
        Self::Alerts,
        Self::Groups,
        Self::UnifiedAlerts,
        Self::Vulnerabilities,
    ];

    /// The name in pipeline files, metrics, topics and checkpoints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threats => "threats",
            Self::Activities => "activities",
            Self::Agents => "agents",
            Self::Alerts => "alerts",
            Self::Groups => "groups",
            Self::UnifiedAlerts => "unified_alerts",
            Self::Vulnerabilities => "vulnerabilities",
        }
    }

    /// The singular word that mapped events use (`sentinel_one.threat`, `event.dataset`).
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Threats => "threat",
            Self::Activities => "activity",
            Self::Agents => "agent",
            Self::Alerts => "alert",
            Self::Groups => "group",
            Self::UnifiedAlerts => "unified_alert",
            Self::Vulnerabilities => "vulnerability",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "unknown stream `{0}`; the streams are threats, activities, agents, alerts, groups, unified_alerts, vulnerabilities"
)]
pub struct UnknownStream(String);

impl FromStr for Stream {
    type Err = UnknownStream;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|stream| stream.name() == name).ok_or_else(|| UnknownStream(name.to_owned()))
    }
}
