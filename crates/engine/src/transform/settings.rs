//! `transform:` of a pipeline file.

use std::collections::BTreeSet;

use s1_forwarder_mapping::{Labels, MappingSettings, OcsfVersion, Schema, UNKNOWN, labels_from_console};
use s1_forwarder_settings::SettingKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::redaction::Redaction;

/// `transform:` of a pipeline file. A record is mapped; then come `drop`, `remap` and `redact`, in this
/// order, and `ocsf_version` last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransformSettings {
    /// Schema of the events. A sink can override it.
    pub schema: Schema,
    /// Version of events with `schema: ocsf`: 1.9.0 (default), or 1.3.0 for readers that know no newer one. Programs,
    /// `redact` and tests see the event of 1.9.0 either way. A sink can override it.
    pub ocsf_version: OcsfVersion,
    /// Keep the record in `event.original` or `raw_data`, which makes events 1.7 to 1.9 times as large. Without it,
    /// what has no field in the schema is still below `sentinel_one` or `unmapped`. Default false.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub keep_original: Option<bool>,
    /// Labels of every event, written as `labels.NAME` or into `metadata.labels`. `{account.name}`, `{account.id}`, and
    /// the same of `site` and `group` are replaced by what the record names, or by `unknown`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub labels: Labels,
    /// Values that no sink gets: dotted paths of the event and of the record, through lists too. They are removed,
    /// replaced or hashed.
    pub redact: Vec<Redaction>,
    /// Let licence keys, registration tokens and passphrases of the console through, in `event.original`, `raw_data`
    /// and raw events. By default `[redacted]` replaces them there, and mapped fields never have them.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub keep_console_secrets: bool,
    /// Conditions in VRL: an event is dropped if one of them is true, such as `.event.action == "user-logged-in"`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub drop: Vec<String>,
    /// A program in VRL that changes each event; `abort` drops it. A sink can override it.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub remap: Option<String>,
    /// What becomes of an event on which a program of `drop` or `remap` fails or reaches a limit: `deliver` (default)
    /// forwards it as it was mapped, with a tag; `dead_letter` keeps it in that form as a dead letter; `stop` stops the
    /// lane before it, until the file changes.
    pub on_error: OnError,
}

/// `on_error:` of `transform`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The event is forwarded as it was mapped, with a tag.
    #[default]
    Deliver,
    /// The event becomes a dead letter, as it was mapped.
    DeadLetter,
    /// The lane stops before the event, until its file changes.
    Stop,
}

impl OnError {
    /// Returns a text for the operator about what becomes of the event.
    pub fn consequence(self) -> &'static str {
        match self {
            Self::Deliver => "it is forwarded as it was mapped",
            Self::DeadLetter => "it becomes a dead letter",
            Self::Stop => "the lane stops before it",
        }
    }
}

impl TransformSettings {
    /// Returns the settings of the mapping itself. `schema` is the sink's schema, or else the schema of these settings.
    pub(super) fn mapping(&self, schema: Schema) -> MappingSettings {
        MappingSettings {
            schema,
            labels: self.labels.clone(),
            keep_original: self.keep_original.unwrap_or(false),
            keep_console_secrets: self.keep_console_secrets,
        }
    }

    /// Returns the labels as they may be in an event, and the names of the labels whose values come from the console.
    pub fn sample_labels(&self) -> (Labels, BTreeSet<String>) {
        let console_labels: BTreeSet<_> = labels_from_console(&self.labels).cloned().collect();
        let sample = |(name, value): (&String, &String)| {
            let value = if console_labels.contains(name) { UNKNOWN.to_owned() } else { value.clone() };
            (name.clone(), value)
        };
        (self.labels.iter().map(sample).collect(), console_labels)
    }
}
