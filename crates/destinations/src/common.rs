//! The keys that all sinks have, and what each type of sink says of itself.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::sink::{Limits, Sink};
use s1_forwarder_engine::transform::{OcsfVersion, Schema};
use s1_forwarder_record::Stream;
use s1_forwarder_settings::{AddressPolicy, ByteSize, HttpSettings, Period, Proxy, RetrySettings, SettingKind, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::integration::Content;
use super::{BuildError, DestinationHash, SinkContext};

pub use super::compression::Compression;

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

/// Advice where raw events have no identity: the schemas whose events have it.
pub(super) const MAPPED: &str = "`schema: ecs` and `schema: ocsf` have it in the event";
/// The same advice for sinks that also have an envelope.
pub(super) const ADD_ENVELOPE: &str =
    "`envelope: true` adds it, and `schema: ecs` and `schema: ocsf` have it in the event";

/// The settings of one type of sink: what generic code asks a type, and how a sink is built from them.
pub trait SinkType {
    fn defaults(&self) -> SinkDefaults;

    /// Whether the sinks are [`s1_forwarder_engine::sink::TransactionalSink`]s.
    fn keeps_checkpoints(&self) -> bool {
        false
    }

    /// Whether the sinks write raw events into JSON of their own, where one that is not JSON would break its batch. The
    /// other sinks send the bytes that the console returned.
    fn embeds_raw(&self) -> bool;

    /// Whether a batch must not have events with different labels.
    fn separates_labels(&self) -> bool {
        true
    }

    /// The schema of the sink's events, whatever `schema` says; `None` if it is that of `schema`.
    fn implied_schema(&self) -> Option<Schema> {
        (self.content() == Content::Integration).then_some(Schema::Raw)
    }

    /// The schema of a sink without `schema`; `None`: that of the pipeline.
    fn default_schema(&self) -> Option<Schema> {
        None
    }

    /// Returns a statement about what reads OCSF at the destination; `None` unless that knows only versions older than
    /// the newest one.
    fn older_ocsf_reader(&self) -> Option<&'static str> {
        None
    }

    /// Returns whose names and framing the events have: the forwarder's or the integration's.
    fn content(&self) -> Content {
        Content::Forwarder
    }

    /// Whether the lanes of a sink differ in what [`Sink::probe`] can find.
    fn probes_each_stream(&self) -> bool {
        false
    }

    /// Checks that the destination has a place for the records of these streams.
    ///
    /// # Errors
    /// With the streams that it does not know.
    fn check_streams(&self, _streams: &[Stream]) -> Result<(), BuildError> {
        Ok(())
    }

    /// Says what decides where the events of one lane arrive: address, and index, topic, token, … Nothing that only
    /// changes how they arrive, such as framing, metadata, or credentials of an account that does not choose the place.
    ///
    /// # Errors
    /// As [`Self::build`].
    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError>;

    /// The sink of one lane. Opens no connection, so that it can also validate settings.
    ///
    /// # Errors
    /// If the settings contradict each other or refer to something that does not exist.
    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError>;

    /// Whether the sink writes the console's own notifications: see
    /// [`PullSettings::for_sink`](s1_forwarder_engine::source::PullSettings::for_sink).
    fn notifies(&self) -> bool {
        false
    }

    /// Returns advice about settings if events of this schema have no identity at the destination. Without one, nothing
    /// tells whether an event is still there.
    fn without_identity(&self, _schema: Schema) -> Option<&'static str> {
        None
    }

    /// Reads the events of one lane back. `None` if that is not made for the type. Opens no connection.
    ///
    /// # Errors
    /// As [`Self::build`], and if the settings have no credentials for it.
    fn lookup(&self, _common: &Common, _context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        Ok(None)
    }
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

    /// The type's limits, with those of `batch`.
    pub fn limits(&self, defaults: &SinkDefaults) -> Limits {
        let Limits { events, bytes, most_events, most_bytes, wire_bytes, .. } = defaults.limits;
        let asked = self.batch.bytes.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX).max(1));
        let bytes = asked.unwrap_or(bytes).min(most_bytes);
        Limits {
            events: self.batch.events.map_or(events, count).min(most_events),
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
