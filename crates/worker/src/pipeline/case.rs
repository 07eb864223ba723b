//! The `tests:` of a pipeline file: a record, and the event that it has to become.

use std::collections::BTreeMap;

use s1_forwarder_record::Stream;
use s1_forwarder_settings::SettingKind;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// One entry of `tests:`. `check` runs it. Hashes have a key of their own, so that a test needs no secret.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the result of the test is listed under.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub name: String,
    /// Stream of the record.
    pub stream: Stream,
    /// Sink whose schema and program are used; default: those of `transform`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub sink: Option<String>,
    /// The record, as the console returns it.
    #[schemars(extend("title" = "object"))]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub record: Value,
    /// Dotted paths of the event and their values; `null` for a field that must not exist.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub expect: BTreeMap<String, Value>,
    /// Texts that must be nowhere in the event, such as a name that is redacted.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub absent: Vec<String>,
    /// True if the event must be dropped.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub dropped: bool,
}
