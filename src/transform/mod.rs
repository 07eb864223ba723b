//! Maps records to events: to ECS or OCSF with labels, or to the record's own bytes. Events are written into the output
//! buffer. What the user wants done to them comes after that (`steps.rs`).

mod common;
mod copy;
pub mod coverage;
mod ecs;
mod fnv;
mod json;
mod labels;
mod mapping;
#[cfg(not(feature = "remap"))]
mod no_remap;
mod ocsf;
mod redact;
mod redaction;
#[cfg(feature = "remap")]
mod remap;
mod schema_paths;
mod secrets;
mod settings;
mod steps;
mod tree;
mod words;

use std::borrow::Cow;
use std::sync::Arc;

use self::common::known::Known;
use self::ecs::Ecs;
pub use self::labels::{Labeler, OTHER, UNKNOWN, check as check_label};
pub use self::mapping::{Dropped, MapError, Mapped, Origin, Snapshot};
use self::mapping::{SchemaMapper, check};
use self::ocsf::Ocsf;
pub use self::redact::Keys;
pub use self::redaction::{Redaction, With};
pub use self::settings::TransformSettings;
pub use self::steps::{FAILED_TAG, OVERRAN_TAG, Steps, StepsError, check_program};
use crate::record::{Identity, JsonError, Scope, facts, one_line, read_object, repair};
use crate::settings::Labels;
pub use crate::settings::Schema;

/// Whether the table of activity types has this type. Other types are mapped by the rules for unknown types.
pub fn knows_activity_type(id: u32) -> bool {
    common::activity_types::find(id).is_some()
}

/// The value of the Kafka header `schema`: `ecs-9.4.0`, `ocsf-1.8.0`, `raw`.
pub const fn schema_name(schema: Schema) -> &'static str {
    match schema {
        Schema::Ecs => ecs::NAME,
        Schema::Ocsf => ocsf::NAME,
        Schema::Raw => "raw",
    }
}

/// Maps the records of one lane.
#[derive(Debug, Clone)]
pub struct Mapper {
    kind: Kind,
    /// Events contain the record.
    keeps_record: bool,
    /// No secret of the console may be in an event.
    redacts_secrets: bool,
    /// Raw events have to be JSON values.
    embeds_raw: bool,
    steps: Option<Arc<Steps>>,
    labeler: Option<Arc<Labeler>>,
    /// The labels of the last event, if events differ in them.
    labels: Option<Arc<Labels>>,
    scope: Option<Arc<Scope>>,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Kind {
    Ecs(Box<Ecs>),
    Ocsf(Box<Ocsf>),
    Raw,
}

impl Kind {
    /// `None` if events are the records themselves.
    fn mapper(&mut self) -> Option<&mut dyn SchemaMapper> {
        match self {
            Self::Ecs(ecs) => Some(&mut **ecs),
            Self::Ocsf(ocsf) => Some(&mut **ocsf),
            Self::Raw => None,
        }
    }
}

impl Mapper {
    /// Only maps: the steps that `settings` has after the mapping are compiled apart, and given to
    /// [`Self::with_steps`]. `schema` is the sink's, or else that of `settings`.
    pub fn new(settings: &TransformSettings, schema: Schema, origin: Origin) -> Self {
        let keep_original = settings.keep_original.unwrap_or(false);
        let kind = match schema {
            Schema::Ecs => Kind::Ecs(Box::new(Ecs::new(&origin, &settings.labels, keep_original))),
            Schema::Ocsf => Kind::Ocsf(Box::new(Ocsf::new(&origin, &settings.labels, keep_original))),
            Schema::Raw => Kind::Raw,
        };
        let keeps_record = keep_original || schema == Schema::Raw;
        Self {
            kind,
            keeps_record,
            redacts_secrets: !settings.keep_console_secrets,
            embeds_raw: false,
            steps: None,
            labeler: Labeler::new(&settings.labels, origin.stream).map(Arc::new),
            labels: None,
            scope: None,
            origin,
        }
    }

    /// Takes the labels from `labeler`, which the mappers of a lane share.
    pub fn with_labeler(self, labeler: Option<Arc<Labeler>>) -> Self {
        Self { labeler, ..self }
    }

    /// The labels of the last event, if events differ in them.
    pub fn labels(&self) -> Option<&Arc<Labels>> {
        self.labels.as_ref()
    }

    fn label(&mut self, record: &[u8]) {
        let Some(labeler) = &self.labeler else { return };
        let labels = labeler.label(record, self.scope.as_deref());
        if self.labels.as_ref().is_some_and(|current| Arc::ptr_eq(current, &labels)) {
            return;
        }
        if let Some(mapper) = self.kind.mapper() {
            mapper.set_labels(&self.origin, &labels);
        }
        self.labels = Some(labels);
    }

    /// What may be shown of a record that was cut off: nobody knows what is at a path of it.
    pub fn cut<'a>(&mut self, record: &'a [u8]) -> Cow<'a, [u8]> {
        self.label(record);
        if self.steps.as_ref().is_some_and(|steps| steps.redacts()) {
            return Cow::Owned(format!("\"{}\"", redact::REDACTED).into_bytes());
        }
        without_secrets(self.redacts_secrets, record)
    }

    /// With `embeds_raw`, each raw event is a JSON value: its sink writes it into JSON of its own, where bytes that are
    /// not JSON would break the whole batch.
    pub fn with_raw_embedded(self, embeds_raw: bool) -> Self {
        Self { embeds_raw, ..self }
    }

    /// Applies `steps` to each event.
    pub fn with_steps(self, steps: Option<Arc<Steps>>) -> Self {
        Self { steps, ..self }
    }

    /// The paths of `redact` that no event has had so far.
    pub fn unmatched_redactions(&self) -> Vec<String> {
        self.steps.iter().flat_map(|steps| steps.unmatched_redactions()).map(str::to_owned).collect()
    }

    /// Sets the scope of the records that follow, for streams whose records do not contain it.
    pub fn set_scope(&mut self, scope: Option<Arc<Scope>>) {
        if let Some(mapper) = self.kind.mapper() {
            mapper.set_scope(scope.clone());
        }
        self.scope = scope;
    }

    /// Appends exactly one event to `out`, without a line break in or after it; none if [`Mapped::dropped`] says so. A
    /// record that is not JSON is repaired first, as [`repair`] says, but raw bytes only if something has to read them.
    ///
    /// # Errors
    /// When the record cannot be mapped. The appended event is then an error event that contains the record.
    pub fn map(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<Mapped, MapError> {
        self.map_record(record, None, None, out)
    }

    /// As [`Self::map`], with the identity of the record if it is known already, and with `enrichment`, a JSON object
    /// that was fetched for the record. With schema `raw` it becomes the record's last key, `_enrichment`.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn map_record(
        &mut self,
        record: &[u8],
        identity: Option<Identity>,
        enrichment: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Mapped, MapError> {
        self.label(record);
        let start = out.len();
        let mut result = self.map_only(record, identity, enrichment, out);
        if let Some(steps) = &self.steps {
            match &mut result {
                Ok(mapped) => steps.apply(out, start, mapped),
                Err(_) => steps.redact(out, start),
            }
        }
        result
    }

    fn map_only(
        &mut self,
        record: &[u8],
        identity: Option<Identity>,
        enrichment: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Mapped, MapError> {
        let start = out.len();
        let stream = self.origin.stream;
        let redacts_secrets = self.redacts_secrets;
        let guards = self.keeps_record && redacts_secrets;
        let Some(mapper) = self.kind.mapper() else { return self.map_raw(record, enrichment, out) };
        let identity = identity.unwrap_or_else(|| facts(stream, record).identity(&self.origin.console_host, record));
        let mut map = |text: &[u8], out: &mut Vec<u8>| {
            secrets::guarded(guards, stream, text, out, |text, out| {
                mapper.map(check(text)?, record, identity, enrichment, out).map_err(unreadable)
            })
        };
        let reason = match map(record, out) {
            Ok(mapped) => return Ok(mapped),
            Err(reason) => reason,
        };
        out.truncate(start);
        if let Some(repaired) = repair(record)
            && let Ok(mapped) = map(repaired.as_bytes(), out)
        {
            return Ok(Mapped { repaired: true, ..mapped });
        }
        out.truncate(start);
        let known = Known::of(stream, record);
        mapper.map_error(&without_secrets(redacts_secrets, record), &known, identity, &reason, out);
        Err(MapError(reason))
    }

    /// Appends the record itself. If a step or JSON of its sink has to read it, it is repaired first. What cannot be
    /// repaired becomes a JSON string in such a sink.
    fn map_raw(&self, record: &[u8], enrichment: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Mapped, MapError> {
        let is_read = self.embeds_raw || self.steps.is_some();
        let checked =
            check(record).and_then(|text| if is_read { read_object(text).map_err(unreadable) } else { Ok(()) });
        let repaired = if is_read && checked.is_err() { repair(record) } else { None };
        let bytes = repaired.as_deref().map_or(record, str::as_bytes);
        let event = without_secrets(self.redacts_secrets, bytes);
        if let Err(problem) = checked
            && repaired.is_none()
        {
            if self.embeds_raw {
                // Writing into a Vec cannot fail.
                let _ = serde_json::to_writer(out, &String::from_utf8_lossy(&event));
            } else {
                out.extend_from_slice(&one_line(&event));
            }
            return Err(MapError(problem));
        }
        out.extend_from_slice(&one_line(&event));
        if let Some(enrichment) = enrichment
            && let Some(end) = out.iter().rposition(|byte| *byte == b'}')
        {
            out.truncate(end);
            out.extend_from_slice(b",\"_enrichment\":");
            out.extend_from_slice(&without_secrets(self.redacts_secrets, enrichment));
            out.push(b'}');
        }
        Ok(Mapped { repaired: repaired.is_some(), ..Mapped::default() })
    }

    /// Appends the event that reports a complete snapshot. With schema `raw` it is an object with the single key
    /// `snapshot`.
    pub fn map_snapshot(&mut self, snapshot: Snapshot, identity: Identity, out: &mut Vec<u8>) {
        let Snapshot { time, records } = snapshot;
        self.label(b"{}");
        match self.kind.mapper() {
            Some(mapper) => mapper.map_snapshot(snapshot, identity, out),
            None => {
                out.extend_from_slice(format!(r#"{{"snapshot":{{"time":"{time}","records":{records}}}}}"#).as_bytes());
            }
        }
    }
}

fn unreadable(error: JsonError) -> String {
    format!("the record cannot be read: {error}")
}

/// The record without secrets of the console, if `redacts` says so.
fn without_secrets(redacts: bool, record: &[u8]) -> Cow<'_, [u8]> {
    if redacts { secrets::redact(record) } else { Cow::Borrowed(record) }
}
