//! The schemas of events, and the versions of OCSF.

use serde::{Deserialize, Serialize};

/// The schema of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Elastic Common Schema 9.4.
    #[default]
    Ecs,
    /// Open Cybersecurity Schema Framework 1.9.
    Ocsf,
    /// The record's own bytes, without line breaks between tokens.
    Raw,
}

impl Schema {
    /// Returns the name in pipeline files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
            Self::Raw => "raw",
        }
    }
}

/// The version of OCSF that events have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum OcsfVersion {
    /// OCSF 1.9.0.
    #[default]
    #[serde(rename = "1.9.0")]
    V1_9,
    /// OCSF 1.3.0, for readers that know no newer version.
    #[serde(rename = "1.3.0")]
    V1_3,
}

impl OcsfVersion {
    /// Returns the name in pipeline files, and in `metadata.version`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_9 => "1.9.0",
            Self::V1_3 => "1.3.0",
        }
    }
}
