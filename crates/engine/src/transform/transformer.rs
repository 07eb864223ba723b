//! The mapping with the user's steps after it.

use std::borrow::Cow;
use std::sync::Arc;

use s1_forwarder_mapping::{
    self as mapping, CompleteSnapshot, Labeler, Labels, MapError, OcsfVersion, Origin, REDACTED, Schema, to_ocsf_1_3,
};
use s1_forwarder_record::{Identity, Scope};

use super::settings::TransformSettings;
use super::steps::Steps;
use super::transformed::Transformed;

/// Maps the records of one lane, and applies its steps.
#[derive(Debug, Clone)]
pub struct Transformer {
    mapping: mapping::Mapper,
    steps: Option<Arc<Steps>>,
    schema: Schema,
    ocsf_version: OcsfVersion,
}

impl Transformer {
    /// Returns a transformer that only maps. The steps that `settings` has after the mapping are compiled apart, and
    /// given to [`Self::with_steps`]. `schema` is the sink's schema, or else the schema of `settings`.
    pub fn new(settings: &TransformSettings, schema: Schema, origin: Origin) -> Self {
        Self {
            mapping: mapping::Mapper::new(&settings.mapping(schema), origin),
            steps: None,
            schema,
            ocsf_version: OcsfVersion::V1_9,
        }
    }

    /// Uses the labels of `labeler`, which the transformers of a lane share.
    pub fn with_labeler(self, labeler: Option<Arc<Labeler>>) -> Self {
        Self { mapping: self.mapping.with_labeler(labeler), ..self }
    }

    /// Makes each raw event a JSON value if `embeds_raw` is set. Its sink writes it into JSON of its own, where bytes
    /// that are not JSON would break the whole batch.
    pub fn with_raw_embedded(self, embeds_raw: bool) -> Self {
        Self { mapping: self.mapping.with_raw_embedded(embeds_raw), ..self }
    }

    /// Applies `steps` to each event.
    pub fn with_steps(self, steps: Option<Arc<Steps>>) -> Self {
        Self { mapping: self.mapping.with_raw_read(steps.is_some()), steps, ..self }
    }

    /// Converts OCSF events to this version, after all steps were applied to the newest version.
    pub fn with_ocsf_version(self, ocsf_version: OcsfVersion) -> Self {
        Self { ocsf_version, ..self }
    }

    /// Returns the result of [`s1_forwarder_mapping::Mapper::has_other_labels`].
    pub fn has_other_labels(&self) -> bool {
        self.mapping.has_other_labels()
    }

    /// Returns the labels of the last event, if events differ in them.
    pub fn labels(&self) -> Option<&Arc<Labels>> {
        self.mapping.labels()
    }

    /// Returns the paths of `redact` that no event has had so far.
    pub fn unmatched_redactions(&self) -> Vec<String> {
        self.steps.iter().flat_map(|steps| steps.unmatched_redactions()).map(str::to_owned).collect()
    }

    /// Returns the bytes of a truncated record, without secrets. With redactions, returns none of the bytes: the paths
    /// in a truncated record are unknown.
    pub fn truncated<'a>(&mut self, record: &'a [u8]) -> Cow<'a, [u8]> {
        let shown = self.mapping.truncated(record);
        if self.steps.as_ref().is_some_and(|steps| steps.redacts()) {
            return Cow::Owned(format!("\"{REDACTED}\"").into_bytes());
        }
        shown
    }

    /// Sets the scope of the records that follow, for streams whose records do not contain it.
    pub fn set_scope(&mut self, scope: Option<Arc<Scope>>) {
        self.mapping.set_scope(scope);
    }

    /// Appends exactly one event to `out`, without a line break in or after it. Appends no event if
    /// [`Transformed::dropped`] says so. A record that is not JSON is repaired first, but raw bytes only if a step or
    /// the sink has to read them.
    ///
    /// # Errors
    /// If the record cannot be mapped. The appended event is then an error event that contains the record.
    pub fn map(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<Transformed, MapError> {
        self.transform(record, None, None, out)
    }

    /// Maps a record as [`Self::map`] does, with its identity if it is known already. `enrichment` is a JSON object
    /// that was fetched for the record. With schema `raw`, it becomes the record's last key, `_enrichment`.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn transform(
        &mut self,
        record: &[u8],
        identity: Option<Identity>,
        enrichment: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Transformed, MapError> {
        let start = out.len();
        let mut result = self.mapping.map_record(record, identity, enrichment, out).map(Transformed::from);
        if let Some(steps) = &self.steps {
            match &mut result {
                Ok(mapped) => steps.apply(out, start, mapped),
                Err(_) => steps.redact(out, start),
            }
        }
        // A program runs once more on an event that is withheld.
        let is_withheld = |mapped: &Transformed| mapped.dropped.is_some() || mapped.withheld().is_some();
        if !result.as_ref().is_ok_and(is_withheld) {
            to_version(self.schema, self.ocsf_version, out, start);
        }
        result
    }

    /// Appends the event that reports a complete snapshot. With schema `raw`, it is an object with the single key
    /// `snapshot`. The user's steps are not applied to it.
    pub fn map_snapshot(&mut self, snapshot: CompleteSnapshot, identity: Identity, out: &mut Vec<u8>) {
        let start = out.len();
        self.mapping.map_snapshot(snapshot, identity, out);
        to_version(self.schema, self.ocsf_version, out, start);
    }
}

/// Replaces the finished event that begins at `start` by its form in this version.
pub fn to_version(schema: Schema, ocsf_version: OcsfVersion, out: &mut Vec<u8>, start: usize) {
    if schema == Schema::Ocsf && ocsf_version == OcsfVersion::V1_3 {
        to_ocsf_1_3(out, start);
    }
}
