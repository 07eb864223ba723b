//! The keys that all sinks have, and the defaults of a type.

use std::num::NonZeroU32;
use std::time::Duration;

use s1_forwarder_engine::sink::Limits;
use s1_forwarder_engine::transform::{OcsfVersion, Schema};
use s1_forwarder_record::Stream;
use s1_forwarder_settings::{AddressPolicy, ByteSize, HttpSettings, Period, Proxy, RetrySettings, SettingKind, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compression::Compression;

/// Defaults of a type of sink, and what bounds the values that a user gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkDefaults {
    pub limits: Limits,
    /// How long an event waits for its batch to fill.
    pub batch_timeout: Duration,
    /// Maximum number of concurrent deliveries.
    pub concurrency: usize,
    /// Maximum of `concurrency`: 1 if concurrent batches would break a guaranteed order.
    pub concurrency_max: usize,
    /// Supported compressions, the default first.
    pub compressions: &'static [Compression],
}

pub(super) fn count(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).unwrap_or(usize::MAX)
}

const DEFAULT_TIMEOUT: Period = Period(Duration::from_secs(30));

/// Keys that all sinks have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Common {
    /// Unique in the pipeline; default: the type.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub name: Option<String>,
    /// Streams that are sent to this sink; default: all of the pipeline.
    pub streams: Option<Vec<Stream>>,
    /// Overrides `transform.schema`.
    pub schema: Option<Schema>,
    /// Overrides `transform.ocsf_version`.
    pub ocsf_version: Option<OcsfVersion>,
    /// Overrides `transform.remap`. An empty program changes nothing.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub remap: Option<String>,
    /// Limits of a batch.
    pub batch: BatchSettings,
    /// Compression of request bodies; default by type.
    pub compression: Option<Compression>,
    /// Waits between attempts.
    pub retry: RetrySettings,
    /// Maximum number of batches in flight; default by type.
    #[schemars(extend("x-kind" = SettingKind::Concurrency))]
    pub concurrency: Option<NonZeroU32>,
    /// Timeout of one request; `kafka` has defaults of its own.
    #[schemars(extend("default" = DEFAULT_TIMEOUT))]
    pub timeout: Option<Period>,
    /// Proxy for this sink; default: the environment's.
    pub proxy: Option<Proxy>,
    /// Certificates of this sink.
    pub tls: Tls,
    /// The addresses that the sink's requests may go to.
    #[serde(skip)]
    pub address_policy: AddressPolicy,
}

impl Common {
    pub(super) fn http(&self) -> HttpSettings {
        let tls = self.tls.clone();
        let proxy = self.proxy.clone();
        HttpSettings { tls, proxy, timeout: self.timeout(), address_policy: self.address_policy.clone() }
    }

    pub fn timeout(&self) -> Period {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Returns the limits of the type, overridden by the settings of `batch`.
    pub fn limits(&self, defaults: &SinkDefaults) -> Limits {
        let Limits { events, bytes, max_events, max_bytes, wire_bytes, .. } = defaults.limits;
        let asked = self.batch.bytes.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX).max(1));
        let bytes = asked.unwrap_or(bytes).min(max_bytes);
        Limits {
            events: self.batch.events.map_or(events, count).min(max_events),
            bytes: if self.compression(defaults) == Compression::None { bytes.min(wire_bytes) } else { bytes },
            ..defaults.limits
        }
    }

    pub fn compression(&self, defaults: &SinkDefaults) -> Compression {
        self.compression.or(defaults.compressions.first().copied()).unwrap_or(Compression::None)
    }
}

/// `batch:`; the defaults depend on the type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Maximum number of events in a batch.
    pub events: Option<NonZeroU32>,
    /// Maximum size of a batch before compression.
    pub bytes: Option<ByteSize>,
    /// How long an event waits for its batch to fill. The end of a poll sends what there is, so a time above the
    /// stream's `interval` has no effect.
    pub timeout: Option<Period>,
}
