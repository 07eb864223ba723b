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
    /// The name in pipeline files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
            Self::Raw => "raw",
        }
    }
}
