//! `sinks:` of a pipeline file: the keys that every sink has, and the list of types with keys of their own.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::{BuildError, Context, Limits, Sink};
use crate::record::Stream;
use crate::settings::{ByteSize, Period, Proxy, Schema, Tls};

/// One entry of `sinks:`: what all sinks have, and what the named type has besides.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Keys that every sink has.
    pub common: Common,
    /// The keys of its type.
    pub kind: Kind,
}

/// What holds for a type of sink where the pipeline file is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// See [`Limits`].
    pub limits: Limits,
    /// How long an event waits for its batch to fill.
    pub flush: Duration,
    /// Batches sent beyond the acknowledged prefix.
    pub concurrency: usize,
    /// The most that may be set: 1 where batches in flight together would break an order that was promised.
    pub concurrency_max: usize,
    /// What the destination understands, the default first.
    pub compressions: &'static [Compression],
}

/// What a type of sink says about itself.
pub trait SinkType {
    /// What holds where the pipeline file is silent.
    fn defaults(&self) -> Defaults;

    /// Whether its sinks are [`super::Commits`].
    fn keeps_checkpoints(&self) -> bool {
        false
    }

    /// The sink of one lane. Opens no connection, so that it also serves to validate settings.
    ///
    /// # Errors
    /// When the settings contradict themselves or name what does not exist.
    fn build(&self, common: &Common, context: &Context) -> Result<Arc<dyn Sink>, BuildError>;
}

/// Writes the list of types once: the enum of their settings, their names, and the ways from a name to them.
macro_rules! types {
    ($($(#[$attribute:meta])* $name:literal => $variant:ident($settings:ty),)*) => {
        /// The types of sinks (`type:`), each with its own keys.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Kind {
            $($(#[$attribute])* #[doc = concat!("`type: ", $name, "`")] $variant(Box<$settings>),)*
        }

        const TYPES: &[&str] = &[$($(#[$attribute])* $name,)*];

        impl Kind {
            /// Reads the type's own keys, from any source: pipeline files are read by one that knows the place of each.
            ///
            /// # Errors
            /// When the type is unknown or its keys are refused.
            pub fn read<'de, D: Deserializer<'de>>(type_name: &str, own_keys: D) -> Result<Self, D::Error> {
                match type_name {
                    $($(#[$attribute])* $name => Deserialize::deserialize(own_keys).map(Box::new).map(Self::$variant),)*
                    _ => Err(D::Error::custom(unknown_type(type_name))),
                }
            }

            fn schema(type_name: &str, generator: &mut SchemaGenerator) -> Option<schemars::Schema> {
                match type_name {
                    $($(#[$attribute])* $name => Some(generator.root_schema_for::<$settings>()),)*
                    _ => None,
                }
            }

            /// The value of `type:`.
            pub fn name(&self) -> &'static str {
                match self {
                    $($(#[$attribute])* Self::$variant(_) => $name,)*
                }
            }

            fn as_type(&self) -> &dyn SinkType {
                match self {
                    $($(#[$attribute])* Self::$variant(settings) => settings.as_ref(),)*
                }
            }
        }
    };
}

types! {
    #[cfg(feature = "kafka")]
    "kafka" => Kafka(super::kafka::Settings),
    "http" => Http(super::http::generic::Settings),
    "splunk_hec" => SplunkHec(super::http::splunk_hec::Settings),
    "elasticsearch" => Elasticsearch(super::http::elasticsearch::Settings),
    "azure_logs" => AzureLogs(super::http::azure_logs::Settings),
    "google_secops" => GoogleSecops(super::http::google_secops::Settings),
    "sekoia" => Sekoia(super::http::sekoia::Settings),
    "datadog" => Datadog(super::http::datadog::Settings),
    "otlp" => Otlp(super::http::otlp::Settings),
    "loki" => Loki(super::http::loki::Settings),
    "sumo" => Sumo(super::http::sumo::Settings),
    "logscale" => Logscale(super::http::logscale::Settings),
    "panther" => Panther(super::http::panther::Settings),
    "file" => File(super::file::Settings),
    "stdout" => Stdout(super::stdout::Settings),
}

/// The values of `type:`.
pub fn types() -> &'static [&'static str] {
    TYPES
}

/// JSON Schema of one entry of `sinks:` of this type: common keys and its own, no others, without references.
pub fn schema(type_name: &str) -> Option<Value> {
    let mut generator =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut entry = Kind::schema(type_name, &mut generator)?.to_value();
    let mut properties = generator.root_schema_for::<Common>().to_value();
    let entry_map = entry.as_object_mut()?;
    entry_map.remove("$schema");
    let mut merged = Map::new();
    merged.insert("type".to_owned(), json!({ "const": type_name }));
    merged.append(properties.get_mut("properties")?.as_object_mut()?);
    if let Some(own) = entry_map.get_mut("properties").and_then(Value::as_object_mut) {
        merged.append(own);
    }
    let mut required = vec![json!("type")];
    if let Some(own) = entry_map.get("required").and_then(Value::as_array) {
        required.extend(own.iter().cloned());
    }
    entry_map.insert("properties".to_owned(), Value::Object(merged));
    entry_map.insert("required".to_owned(), Value::Array(required));
    entry_map.insert("additionalProperties".to_owned(), Value::Bool(false));
    Some(entry)
}

fn unknown_type(type_name: &str) -> String {
    format!("unknown sink type `{type_name}`; the types are {}", TYPES.join(", "))
}

static COMMON_KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let schema = schemars::schema_for!(Common);
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
});

/// serde cannot both flatten and refuse unknown keys, so the keys are dealt out by hand.
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut own = Map::deserialize(deserializer)?;
        let type_name = match own.remove("type") {
            Some(Value::String(name)) => name,
            Some(_) => return Err(D::Error::custom("`type` of a sink must be a text")),
            None => return Err(D::Error::custom(format!("a sink needs a `type`: {}", TYPES.join(", ")))),
        };
        let common: Map<_, _> = COMMON_KEYS.iter().filter_map(|key| own.remove_entry(key)).collect();
        let common = serde_json::from_value(Value::Object(common)).map_err(D::Error::custom)?;
        let kind = Kind::read(&type_name, Value::Object(own)).map_err(D::Error::custom)?;
        Ok(Self { common, kind })
    }
}

impl Settings {
    /// `name`, else the type.
    pub fn name(&self) -> &str {
        self.common.name.as_deref().unwrap_or(self.kind.name())
    }

    /// True when records of `stream` go to this sink.
    pub fn takes(&self, stream: Stream) -> bool {
        self.common.streams.as_ref().is_none_or(|streams| streams.contains(&stream))
    }

    /// Batches sent beyond the acknowledged prefix.
    pub fn concurrency(&self) -> usize {
        let defaults = self.kind.as_type().defaults();
        self.common.concurrency.map_or(defaults.concurrency, count).min(defaults.concurrency_max)
    }

    /// Whether checkpoints are committed with the events, by the sink.
    pub fn keeps_checkpoints(&self) -> bool {
        self.kind.as_type().keeps_checkpoints()
    }

    /// How long an event may wait for its batch to fill.
    pub fn batch_timeout(&self) -> Duration {
        self.common.batch.timeout.map_or(self.kind.as_type().defaults().flush, |period| period.0)
    }

    /// The sink of one lane. Opens no connection, so that it also serves to validate settings.
    ///
    /// # Errors
    /// When the settings contradict themselves or name what does not exist.
    pub fn build(&self, context: &Context) -> Result<Arc<dyn Sink>, BuildError> {
        let kind = self.kind.as_type();
        let known = kind.defaults().compressions;
        if let Some(compression) = self.common.compression.filter(|compression| !known.contains(compression)) {
            return Err(BuildError::Compression { type_name: self.kind.name(), compression, known });
        }
        kind.build(&self.common, context)
    }
}

fn count(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).unwrap_or(usize::MAX)
}

/// Keys that every sink has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Common {
    /// Unique in the pipeline; default: the type.
    pub name: Option<String>,
    /// Streams that go to this sink; default: all of the pipeline.
    pub streams: Option<Vec<Stream>>,
    /// Overrides `transform.schema`.
    pub schema: Option<Schema>,
    /// How events are cut into batches.
    pub batch: BatchSettings,
    /// Compression of request bodies; default by sink.
    pub compression: Option<Compression>,
    /// How long to wait between tries.
    pub retry: RetrySettings,
    /// Batches sent beyond the acknowledged prefix; default by sink.
    pub concurrency: Option<NonZeroU32>,
    /// Time-out of one request (30s).
    pub timeout: Option<Period>,
    /// Proxy for this sink; default: the environment's.
    pub proxy: Option<Proxy>,
    /// See [`Tls`].
    pub tls: Tls,
}

impl Common {
    /// `timeout`, else 30 s.
    pub fn timeout(&self) -> Period {
        self.timeout.unwrap_or(Period(Duration::from_secs(30)))
    }

    /// The type's limits, with what `batch` says in their place.
    pub fn limits(&self, defaults: &Defaults) -> Limits {
        let Limits { events, bytes, most_events, most_bytes, wire_bytes, .. } = defaults.limits;
        let asked = self.batch.bytes.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX).max(1));
        let bytes = asked.unwrap_or(bytes).min(most_bytes);
        Limits {
            events: self.batch.events.map_or(events, count).min(most_events),
            bytes: if self.compression(defaults) == Compression::None { bytes.min(wire_bytes) } else { bytes },
            ..defaults.limits
        }
    }

    /// `compression`, else the type's own.
    pub fn compression(&self, defaults: &Defaults) -> Compression {
        self.compression.or(defaults.compressions.first().copied()).unwrap_or(Compression::None)
    }
}

/// `batch:`; each key defaults by sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Most events in a batch.
    pub events: Option<NonZeroU32>,
    /// Most bytes of events in a batch, before compression.
    pub bytes: Option<ByteSize>,
    /// How long an event may wait for its batch to fill.
    pub timeout: Option<Period>,
}

/// Compression of request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    None,
    /// gzip, level 1.
    Gzip,
    /// Zstandard, level 1.
    Zstd,
}

/// `retry:`: the window of exponential back-off with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Upper bound of the first wait.
    pub initial: Period,
    /// Upper bound of every wait.
    pub max: Period,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { initial: Period(Duration::from_millis(500)), max: Period(Duration::from_secs(60)) }
    }
}
