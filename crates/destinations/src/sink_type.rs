//! The properties of a type of sink, and how its sinks are built.

use std::sync::Arc;

use s1_forwarder_engine::sink::Sink;
use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::Stream;

use super::common_keys::Common;
use super::integration::Integration;
use super::{BuildError, DestinationHash, SinkContext};

pub use super::common_keys::SinkDefaults;
pub use super::compression::Compression;

/// Advice where raw events have no identity: the schemas whose events have it.
pub(super) const MAPPED: &str = "`schema: ecs` and `schema: ocsf` have it in the event";

/// Returns the same advice for sinks that also have an envelope; `None` if events have an identity.
pub(super) fn without_envelope(schema: Schema, has_envelope: bool) -> Option<&'static str> {
    (schema == Schema::Raw && !has_envelope)
        .then_some("`envelope: true` adds it, and `schema: ecs` and `schema: ocsf` have it in the event")
}

/// What generic code asks the settings of a type of sink.
pub trait SinkProperties {
    fn defaults(&self) -> SinkDefaults;

    /// Returns whether the sinks are [`s1_forwarder_engine::sink::TransactionalSink`]s.
    fn is_transactional(&self) -> bool {
        false
    }

    /// Returns whether the sinks write raw events into JSON of their own, where one that is not JSON would break its
    /// batch. The other sinks send the bytes that the console returned.
    fn embeds_raw(&self) -> bool;

    /// Returns whether a batch must not have events with different labels.
    fn separates_labels(&self) -> bool {
        true
    }

    /// Returns the schema that the sink's events have whatever the key `schema` says; `None` if the key decides.
    fn implied_schema(&self) -> Option<Schema> {
        self.integration().map(|_| Schema::Raw)
    }

    /// Returns the schema of a sink without the key `schema`; `None` for the pipeline's schema.
    fn default_schema(&self) -> Option<Schema> {
        None
    }

    /// Returns a statement about the reader of OCSF at the destination, if the reader knows only older versions than
    /// the newest one. Otherwise `None`.
    fn older_ocsf_reader(&self) -> Option<&'static str> {
        None
    }

    /// Returns the integration whose names and framing the events have; `None` if they have the forwarder's.
    fn integration(&self) -> Option<&'static Integration> {
        None
    }

    /// Returns whether the lanes of a sink differ in what [`Sink::probe`] can find.
    fn probes_each_stream(&self) -> bool {
        false
    }

    /// Checks that the destination has a place for the records of these streams.
    ///
    /// # Errors
    /// If the destination does not know a stream, with all unknown streams.
    fn check_streams(&self, streams: &[Stream]) -> Result<(), BuildError> {
        self.integration().map_or(Ok(()), |integration| integration.check(streams, ""))
    }

    /// Adds what decides where the events of one lane arrive, such as address, index, topic or token. Leaves out what
    /// only changes how they arrive: framing, metadata, or credentials of an account that does not choose the place.
    ///
    /// # Errors
    /// As [`SinkType::build`].
    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError>;

    /// Returns whether the sink writes the console's own notifications: see
    /// [`PullSettings::for_sink`](s1_forwarder_engine::source::PullSettings::for_sink).
    fn sends_console_notifications(&self) -> bool {
        false
    }

    /// Returns advice about settings if events of this schema have no identity at the destination. Without one, nothing
    /// tells whether an event is still there.
    fn without_identity(&self, _schema: Schema) -> Option<&'static str> {
        None
    }
}

/// The settings of a type of sink: its properties, and how a sink is built from them.
pub trait SinkType: SinkProperties {
    /// Builds the sink of one lane. Opens no connection, so that it can also validate settings.
    ///
    /// # Errors
    /// If the settings contradict each other or refer to something that does not exist.
    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError>;

    /// Reads the events of one lane back. `None` if that is not made for the type. Opens no connection.
    ///
    /// # Errors
    /// As [`Self::build`], and if the settings have no credentials for it.
    fn lookup(&self, _common: &Common, _context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        Ok(None)
    }

    /// Returns destinations for tests, one for each framing. Only types that speak HTTP have some.
    #[cfg(any(test, feature = "testing"))]
    fn samples(_schema: Schema) -> Vec<super::http::Sample>
    where
        Self: Sized,
    {
        Vec::new()
    }
}
