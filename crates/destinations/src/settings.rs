//! `sinks:` of a pipeline file: the list of types, each with its own keys next to the [common ones](Common).

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use s1_forwarder_engine::sink::Sink;
use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::transform::{OcsfVersion, Schema, TransformSettings, schema_name};
use s1_forwarder_record::{LaneId, Stream};
use s1_forwarder_settings::{ByteSize, Period};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{BuildError, DestinationHasher, DestinationId, SharedSinkResources, SinkContext};

pub use super::common_keys::{BatchSettings, Common};
pub use super::sink_type::{Compression, SinkDefaults, SinkProperties, SinkType};

/// One entry of `sinks:`.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkSettings {
    /// Keys that all sinks have.
    pub common: Common,
    /// Keys of the type.
    pub type_settings: TypeSettings,
}

/// Generates from one list of types: the enum of their settings, their names and examples, and the lookups by name.
/// Other names of a destination follow the name of its type.
macro_rules! types {
    ($($(#[$attribute:meta])* $name:literal $(| $other:literal)* => $variant:ident($settings:ty),)*) => {
        /// The types of sinks (`type:`), each with its own keys.
        #[derive(Debug, Clone, PartialEq)]
        pub enum TypeSettings {
            $($(#[$attribute])* #[doc = concat!("`type: ", $name, "`")] $variant(Box<$settings>),)*
        }

        const TYPES: &[&str] = &[$($(#[$attribute])* $name,)*];

        const EXAMPLES: &[(&str, &str)] = &[
            $($(#[$attribute])* ($name, include_str!(concat!("../../../pipelines/", $name, ".yaml"))),)*
        ];

        /// Other names of destinations, next to the type that delivers there.
        const OTHER_NAMES: &[(&str, &[&str])] = &[$($(#[$attribute])* ($name, &[$($other),*]),)*];

        impl TypeSettings {
            /// Reads the type's own keys. Pipeline files use a deserializer that knows the place of each key.
            ///
            /// # Errors
            /// If the type is unknown or a key is invalid.
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

            /// Returns the type's own keys, without literal secrets.
            fn own_keys(&self) -> Value {
                let keys = match self {
                    $($(#[$attribute])* Self::$variant(settings) => serde_json::to_value(settings),)*
                };
                // Settings are made of texts, numbers, lists and maps with texts as keys.
                keys.unwrap_or_default()
            }

            /// Returns the type's defaults for the keys that every sink has.
            pub fn defaults(&self) -> SinkDefaults {
                self.as_sink_type().defaults()
            }

            /// Returns the value of `type:`.
            pub fn name(&self) -> &'static str {
                match self {
                    $($(#[$attribute])* Self::$variant(_) => $name,)*
                }
            }

            /// Returns the samples of each type that speaks HTTP, for tests.
            #[cfg(any(test, feature = "testing"))]
            pub fn samples(schema: Schema) -> Vec<(&'static str, super::http::Sample)> {
                let mut samples = Vec::new();
                $($(#[$attribute])* {
                    samples.extend(<$settings>::samples(schema).into_iter().map(|sample| ($name, sample)));
                })*
                samples
            }

            /// Returns the settings as the trait object that describes their type.
            pub fn as_sink_type(&self) -> &dyn SinkType {
                match self {
                    $($(#[$attribute])* Self::$variant(settings) => settings.as_ref(),)*
                }
            }
        }
    };
}

types! {
    #[cfg(feature = "kafka")]
    "kafka" | "redpanda" | "confluent" | "event_hubs" | "azure_event_hubs" | "msk"
        => Kafka(super::kafka::KafkaSettings),
    "http" | "https" | "webhook" | "rest" => Http(super::http::destination::generic::GenericSettings),
    "splunk_hec" | "splunk" | "hec" | "http_event_collector"
        => SplunkHec(super::http::destination::splunk_hec::SplunkHecSettings),
    "elasticsearch" | "opensearch" | "open_search" | "elastic" | "elastic_cloud"
        => Elasticsearch(super::http::destination::elasticsearch::ElasticsearchSettings),
    "azure_logs" | "sentinel" | "azure_sentinel" | "microsoft_sentinel" | "log_analytics" | "azure_monitor"
        => AzureLogs(super::http::destination::azure_logs::AzureLogsSettings),
    "google_secops" | "chronicle" | "google_chronicle" | "secops" | "google_security_operations"
        => GoogleSecops(super::http::destination::google_secops::GoogleSecopsSettings),
    "sekoia" => Sekoia(super::http::destination::sekoia::SekoiaSettings),
    "datadog" => Datadog(super::http::destination::datadog::DatadogSettings),
    "otlp" | "opentelemetry" | "otel" => Otlp(super::http::destination::otlp::OtlpSettings),
    "loki" | "grafana" | "grafana_loki" => Loki(super::http::destination::loki::LokiSettings),
    "sumo" | "sumologic" | "sumo_logic" => Sumo(super::http::destination::sumo::SumoSettings),
    "logscale" | "humio" | "falcon_logscale" | "ngsiem" | "falcon_next_gen_siem"
        => Logscale(super::http::destination::logscale::LogscaleSettings),
    "panther" => Panther(super::http::destination::panther::PantherSettings),
    "syslog" | "cef" | "rfc3164" | "rfc5424" | "rsyslog" | "syslog_ng" | "qradar" | "arcsight" | "logrhythm" | "wazuh"
        => Syslog(super::syslog::SyslogSettings),
    "file" => File(super::file::FileSettings),
    "stdout" => Stdout(super::stdout::StdoutSettings),
}

/// Returns all values that `type:` may have.
pub fn types() -> &'static [&'static str] {
    TYPES
}

/// Returns the example of a type, a whole pipeline file.
pub fn example(type_name: &str) -> Option<&'static str> {
    let (_, example) = EXAMPLES.iter().find(|(name, _)| *name == type_name)?;
    Some(example)
}

/// Returns the type that a name of `type:` probably means.
pub fn intended_type(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase().replace(['-', ' '], "_");
    let (intended, _) = OTHER_NAMES.iter().find(|(_, others)| others.contains(&name.as_str()))?;
    Some(intended)
}

/// Returns the JSON Schema of one entry of `sinks:` with this type: the common and its own keys, without references.
pub fn schema(type_name: &str) -> Option<Value> {
    let mut generator =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut entry = TypeSettings::schema(type_name, &mut generator)?.to_value();
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

/// `serde` cannot both flatten and refuse unknown keys, so the keys are distributed here.
impl<'de> Deserialize<'de> for SinkSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut own = Map::deserialize(deserializer)?;
        let type_name = match own.remove("type") {
            Some(Value::String(name)) => name,
            Some(_) => return Err(D::Error::custom("`type` of a sink must be a text")),
            None => return Err(D::Error::custom(format!("a sink needs a `type`: {}", TYPES.join(", ")))),
        };
        let common: Map<_, _> = COMMON_KEYS.iter().filter_map(|key| own.remove_entry(key)).collect();
        let common = serde_json::from_value(Value::Object(common)).map_err(D::Error::custom)?;
        let type_settings = TypeSettings::read(&type_name, Value::Object(own)).map_err(D::Error::custom)?;
        Ok(Self { common, type_settings })
    }
}

impl SinkSettings {
    /// Returns `name`, or else the type.
    pub fn name(&self) -> &str {
        self.common.name.as_deref().unwrap_or(self.type_settings.name())
    }

    /// Returns whether records of `stream` are sent to this sink.
    pub fn accepts(&self, stream: Stream) -> bool {
        self.common.streams.as_ref().is_none_or(|streams| streams.contains(&stream))
    }

    /// Returns the schema of the sink's events; `default` is the pipeline's schema.
    pub fn schema(&self, default: Schema) -> Schema {
        let sink_type = self.type_settings.as_sink_type();
        let own = sink_type.implied_schema().or(self.common.schema);
        own.or(sink_type.default_schema()).unwrap_or(default)
    }

    /// Returns the OCSF version of the sink's events, if they are OCSF; `default` is the pipeline's version.
    pub fn ocsf_version(&self, default: OcsfVersion) -> OcsfVersion {
        self.common.ocsf_version.unwrap_or(default)
    }

    /// Returns the context of a lane to this sink that maps as `transform` says. The lane is in the first shard, and
    /// has no access to the console at `console_host`.
    pub fn context(
        &self,
        lane: LaneId,
        transform: &TransformSettings,
        console_host: &str,
        shared: SharedSinkResources,
    ) -> SinkContext {
        let schema = self.schema(transform.schema);
        let (labels, console_labels) = transform.sample_labels();
        SinkContext {
            lane,
            shard: 0,
            console_host: console_host.to_owned(),
            console: None,
            labels,
            console_labels,
            schema,
            schema_name: schema_name(schema, self.ocsf_version(transform.ocsf_version)),
            shared,
        }
    }

    /// Returns the maximum number of concurrent deliveries.
    pub fn concurrency(&self) -> usize {
        let defaults = self.type_settings.as_sink_type().defaults();
        self.common.concurrency.map_or(defaults.concurrency, super::common_keys::count).min(defaults.concurrency_max)
    }

    /// Returns how long an event waits for its batch to fill.
    pub fn batch_timeout(&self) -> Duration {
        self.common.batch.timeout.map_or(self.type_settings.as_sink_type().defaults().batch_timeout, |period| period.0)
    }

    /// Returns all keys with the values that apply, defaults included, without literal secrets.
    pub fn effective(&self) -> Value {
        let defaults = self.type_settings.as_sink_type().defaults();
        let limits = self.common.limits(&defaults);
        let number = |count: usize| NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX));
        let common = Common {
            name: Some(self.name().to_owned()),
            batch: BatchSettings {
                events: number(limits.events),
                bytes: Some(ByteSize(limits.bytes as u64)),
                timeout: Some(Period(self.batch_timeout())),
            },
            compression: Some(self.common.compression(&defaults)),
            concurrency: number(self.concurrency()),
            ..self.common.clone()
        };
        let mut keys = json!({ "type": self.type_settings.name() });
        for part in [serde_json::to_value(common).unwrap_or_default(), self.type_settings.own_keys()] {
            if let (Value::Object(keys), Value::Object(part)) = (&mut keys, part) {
                keys.extend(part);
            }
        }
        keys
    }

    /// Returns a hash of where the events of one lane arrive, for comparison with other lanes.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn process_destination_id(
        &self,
        context: &SinkContext,
        hasher: &DestinationHasher,
    ) -> Result<DestinationId, BuildError> {
        self.hash(context, hasher, None)
    }

    /// Returns a number that identifies where the events of one lane arrive, and the name that they have there. The
    /// number is equal in all processes. It is stored, so no secret enters it.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn stored_destination_hash(&self, context: &SinkContext) -> Result<u64, BuildError> {
        Ok(self.hash(context, &DestinationHasher::of_stored(), Some(&context.lane.pipeline))?.number())
    }

    fn hash(
        &self,
        context: &SinkContext,
        hasher: &DestinationHasher,
        pipeline: Option<&str>,
    ) -> Result<DestinationId, BuildError> {
        let mut hash = hasher.begin();
        hash.text("type", self.type_settings.name());
        if let Some(pipeline) = pipeline {
            hash.text("pipeline", pipeline);
        }
        self.type_settings.as_sink_type().describe_destination(context, &mut hash)?;
        Ok(hash.finish())
    }

    /// Returns advice about settings if the destination gets no identity, else `None`. `default` is the schema of the
    /// pipeline.
    pub fn without_identity(&self, default: Schema) -> Option<&'static str> {
        self.type_settings.as_sink_type().without_identity(self.schema(default))
    }

    /// Reads the events of one lane back; `None` if that is not made for the type.
    ///
    /// # Errors
    /// If the settings have no credentials for it, or the place of an event depends on the event.
    pub fn lookup(&self, context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        self.type_settings.as_sink_type().lookup(&self.common, context)
    }

    /// Builds the sink of one lane for events that all have the labels of `context`.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub(crate) fn build_with_fixed_labels(&self, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let sink_type = self.type_settings.as_sink_type();
        let own_schema = self.common.schema.filter(|schema| *schema != Schema::Raw);
        if let (Some(_), Some(schema)) = (sink_type.integration(), own_schema) {
            let problem = format!(
                "`{}` excludes `content: integration`: the destination's integration reads the console's own records",
                schema.name()
            );
            return Err(BuildError::value("schema", problem));
        }
        sink_type.check_streams(&[context.lane.stream])?;
        let known = sink_type.defaults().compressions;
        if let Some(compression) = self.common.compression.filter(|compression| !known.contains(compression)) {
            return Err(BuildError::Compression { type_name: self.type_settings.name(), compression, known });
        }
        sink_type.build(&self.common, context)
    }
}
