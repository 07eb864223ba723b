//! `redact:` of a pipeline file.

use std::borrow::Cow;
use std::fmt;

use s1_forwarder_settings::{Secret, SettingKind};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// One entry of `redact:`, a path alone or `{ path, with, key, everywhere }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redaction {
    /// Dotted path of the values.
    pub path: String,
    /// Treatment of the values.
    pub with: With,
    /// The key of the hashes.
    pub key: Option<Secret>,
    /// Whether the values are also replaced wherever else they are in the event.
    pub everywhere: bool,
}

/// What is done with a redacted value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum With {
    /// It is removed with its key.
    #[default]
    Remove,
    /// `[redacted]` replaces it.
    Replace,
    /// The first 32 hex digits of its HMAC-SHA256 replace it, so that equal values stay equal.
    Hash,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Dotted path of the values.
    #[schemars(regex(pattern = r"^[^.$]"))]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    path: String,
    /// `remove` (default), `replace` (by `[redacted]`), or `hash`, which needs `key`.
    #[serde(default)]
    with: With,
    /// The key of the hashes, at least 16 bytes.
    key: Option<Secret>,
    /// Replace the values that are found at `path` in all other texts of the event too, where they occur as words.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    everywhere: bool,
}

impl<'de> Deserialize<'de> for Redaction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

/// Visitor of an entry, in place of `untagged`, which would lose the places of the values.
struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Redaction;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a path or { path: …, with: remove|replace|hash, key: …, everywhere: … }")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Redaction, E> {
        Ok(Redaction { path: path.to_owned(), with: With::Remove, key: None, everywhere: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Redaction, A::Error> {
        let Entry { path, with, key, everywhere } = Entry::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Redaction { path, with, key, everywhere })
    }
}

impl JsonSchema for Redaction {
    fn schema_name() -> Cow<'static, str> {
        "Redaction".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let path = json_schema!({ "type": "string", "pattern": "^[^.$]", "x-kind": SettingKind::Text });
        json_schema!({ "title": "path or object", "anyOf": [path, Entry::json_schema(generator)] })
    }
}
