//! Maps records to events: to ECS or OCSF with labels, or to the record's own bytes. Events are written into the output
//! buffer in one pass. Nothing here does input or output.
//!
//! `streams` selects the parts (`parts`) of a record. Each schema has a file for each stream, which writes these parts.
//! `common` has the decisions that all schemas share.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bounds;
mod common;
mod copy;
pub mod coverage;
mod drift;
mod ecs;
mod fnv;
mod json;
mod keys;
mod labels;
mod mapping;
mod misfits;
mod names;
mod ocsf;
mod parts;
mod record;
mod schema;
mod secret_keys;
mod secrets;
mod streams;
mod template;
mod used;
mod writer;

use std::borrow::Cow;
use std::sync::Arc;

use s1_forwarder_record::{Identity, JsonError, Scope, facts, one_line, read_object, repair};

use self::bounds::Bounded;
pub use self::drift::{unknown_leaves, vendor_fields};
use self::ecs::Ecs;
pub use self::ecs::UNEXPECTED;
pub use self::json::write_text;
pub use self::keys::OVERFLOW;
pub use self::labels::{
    Labeler, Labelled, Labels, MAX_LABEL, OTHER, UNKNOWN, check as check_label, from_console as labels_from_console,
};
pub use self::mapping::{CompleteSnapshot, MapError, Mapped, Origin};
use self::mapping::{SchemaMapper, check};
use self::ocsf::Ocsf;
pub use self::ocsf::to_1_3 as to_ocsf_1_3;
use self::record::Record;
pub use self::schema::{OcsfVersion, Schema};
pub use self::secrets::REDACTED;
use self::streams::unread::UnreadFacts;
pub use self::template::{TextPart, Unclosed, text_parts};

/// Returns whether the table of activity types has this type. Other types are mapped by the rules for unknown types.
pub fn knows_activity_type(id: u32) -> bool {
    common::activity_types::find(id).is_some()
}

/// Returns the value of the Kafka header `schema`: `ecs-9.4.0`, `ocsf-1.9.0`, `ocsf-1.3.0`, `raw`.
pub const fn schema_name(schema: Schema, ocsf_version: OcsfVersion) -> &'static str {
    match (schema, ocsf_version) {
        (Schema::Ecs, _) => ecs::NAME,
        (Schema::Ocsf, OcsfVersion::V1_9) => ocsf::NAME,
        (Schema::Ocsf, OcsfVersion::V1_3) => ocsf::NAME_1_3,
        (Schema::Raw, _) => "raw",
    }
}

/// Returns the tables of the console's words, for the manual of a schema. Each table has a field, and the words with
/// their meanings in this field.
#[doc(hidden)]
pub fn word_tables(schema: Schema) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let tables = match schema {
        Schema::Ecs => ecs::word_tables(),
        Schema::Ocsf => ocsf::word_tables(),
        Schema::Raw => Vec::new(),
    };
    tables.into_iter().map(|table| (table.field, table.rows)).collect()
}

/// How records are mapped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MappingSettings {
    pub schema: Schema,
    /// Labels of every event. `{account.name}` and similar fields are replaced by the record's values.
    pub labels: Labels,
    /// Whether events contain the record.
    pub keep_original: bool,
    /// Whether the record in an event keeps the console's own secrets, such as registration tokens.
    pub keep_console_secrets: bool,
}

/// Maps the records of one lane.
#[derive(Debug, Clone)]
pub struct Mapper {
    kind: AnyMapper,
    /// Whether events contain the record.
    keeps_record: bool,
    /// Whether no secret of the console may be in an event.
    redacts_secrets: bool,
    /// Whether raw events have to be JSON values.
    embeds_raw: bool,
    /// Whether transforms read raw events, so that these are repaired.
    reads_raw: bool,
    labeler: Option<Arc<Labeler>>,
    /// The labels of the last event, if events differ in them.
    labelled: Option<Labelled>,
    scope: Option<Arc<Scope>>,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum AnyMapper {
    Ecs(Box<Ecs>),
    Ocsf(Box<Ocsf>),
    Raw,
}

impl AnyMapper {
    /// Returns the mapper of the schema; `None` if events are the records themselves.
    fn mapper(&mut self) -> Option<&mut dyn SchemaMapper> {
        match self {
            Self::Ecs(ecs) => Some(&mut **ecs),
            Self::Ocsf(ocsf) => Some(&mut **ocsf),
            Self::Raw => None,
        }
    }
}

impl Mapper {
    pub fn new(settings: &MappingSettings, origin: Origin) -> Self {
        let MappingSettings { schema, keep_original, .. } = *settings;
        let kind = match schema {
            Schema::Ecs => AnyMapper::Ecs(Box::new(Ecs::new(&origin, &settings.labels, keep_original))),
            Schema::Ocsf => AnyMapper::Ocsf(Box::new(Ocsf::new(&origin, &settings.labels, keep_original))),
            Schema::Raw => AnyMapper::Raw,
        };
        let keeps_record = keep_original || schema == Schema::Raw;
        Self {
            kind,
            keeps_record,
            redacts_secrets: !settings.keep_console_secrets,
            embeds_raw: false,
            reads_raw: false,
            labeler: Labeler::new(&settings.labels, origin.stream).map(Arc::new),
            labelled: None,
            scope: None,
            origin,
        }
    }

    /// Uses `labeler`, which the mappers of a lane share.
    pub fn with_labeler(self, labeler: Option<Arc<Labeler>>) -> Self {
        Self { labeler, ..self }
    }

    /// Returns the labels of the last event, if events differ in them.
    pub fn labels(&self) -> Option<&Arc<Labels>> {
        self.labelled.as_ref().map(|labelled| &labelled.labels)
    }

    /// Returns whether the labels of the last event have `other` in place of the console's texts, because the lane has
    /// too many different labels.
    pub fn has_other_labels(&self) -> bool {
        self.labelled.as_ref().is_some_and(|labelled| labelled.is_other)
    }

    fn label(&mut self, record: &[u8]) {
        let Some(labeler) = &self.labeler else { return };
        let labelled = labeler.label(record, self.scope.as_deref());
        if self.labels().is_some_and(|current| Arc::ptr_eq(current, &labelled.labels)) {
            return;
        }
        if let Some(mapper) = self.kind.mapper() {
            mapper.set_labels(&self.origin, &labelled.labels);
        }
        self.labelled = Some(labelled);
    }

    /// Returns the bytes of a truncated record, without secrets. A truncated record cannot be mapped: the values at its
    /// paths are uncertain.
    pub fn truncated<'a>(&mut self, record: &'a [u8]) -> Cow<'a, [u8]> {
        self.label(record);
        without_secrets(self.redacts_secrets, record)
    }

    /// Makes each raw event a JSON value if `embeds_raw` is set. The sink embeds it in other JSON, where bytes that are
    /// not JSON would break the whole batch.
    pub fn with_raw_embedded(self, embeds_raw: bool) -> Self {
        Self { embeds_raw, ..self }
    }

    /// Repairs raw events as mapped events if `reads_raw` is set, because transforms have to read them.
    pub fn with_raw_read(self, reads_raw: bool) -> Self {
        Self { reads_raw, ..self }
    }

    /// Sets the scope of the records that follow, for streams whose records do not contain it.
    pub fn set_scope(&mut self, scope: Option<Arc<Scope>>) {
        if let Some(mapper) = self.kind.mapper() {
            mapper.set_scope(scope.clone());
        }
        self.scope = scope;
    }

    /// Appends exactly one event to `out`, without a line break in or after it. A record that is not JSON is first
    /// repaired by [`repair`]; a raw record only if a transform reads it or the sink embeds it.
    ///
    /// # Errors
    /// If the record cannot be mapped. The appended event is then an error event that contains the record.
    pub fn map(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<Mapped, MapError> {
        self.map_record(record, None, None, out)
    }

    /// Maps a record as [`Self::map`] does, with its identity if the caller knows it. `enrichment` is a JSON object
    /// that the lane fetched for the record. With schema `raw` it becomes the record's last key, `_enrichment`.
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
        let stream = self.origin.stream;
        let redacts_secrets = self.redacts_secrets;
        let guards = self.keeps_record && redacts_secrets;
        let Some(mapper) = self.kind.mapper() else { return self.map_raw(record, enrichment, out) };
        let identity = identity.unwrap_or_else(|| facts(stream, record).identity(&self.origin.console_host, record));
        let mut map = |text: &[u8], out: &mut Vec<u8>| {
            secrets::guarded(guards, redacts_secrets, stream, text, out, |text, out| {
                let text = check(text)?;
                let mut read = |bounded: Option<&Bounded>| match bounded {
                    None => record::read(stream, text, |read| mapper.map(read, record, identity, enrichment, out)),
                    Some(Bounded { record: within, overflow }) => record::read(stream, within, |read| {
                        let read = Record { text, has_spaces: true, overflow: Some(overflow), ..*read };
                        mapper.map(&read, record, identity, enrichment, out).overflowed()
                    }),
                };
                match read(bounds::bounded(text).as_ref()) {
                    Err(JsonError::TooDeep(at)) => {
                        let bounded = bounds::truncated(text).ok_or(JsonError::TooDeep(at));
                        bounded.and_then(|bounded| read(Some(&bounded))).map_err(unreadable)
                    }
                    read => read.map_err(unreadable),
                }
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
        let known = UnreadFacts::of(stream, record);
        mapper.map_error(&without_secrets(redacts_secrets, record), &known, identity, &reason, out);
        Err(MapError(reason))
    }

    /// Appends the record itself. It is repaired first if a transform reads it or the sink embeds it. For a sink that
    /// embeds it, a record that cannot be repaired becomes a JSON string.
    fn map_raw(&self, record: &[u8], enrichment: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Mapped, MapError> {
        let is_read = self.embeds_raw || self.reads_raw;
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
    pub fn map_snapshot(&mut self, snapshot: CompleteSnapshot, identity: Identity, out: &mut Vec<u8>) {
        let CompleteSnapshot { time, records } = snapshot;
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

/// Returns the record, without secrets of the console if `redacts` is set.
fn without_secrets(redacts: bool, record: &[u8]) -> Cow<'_, [u8]> {
    if redacts { secrets::redact(record) } else { Cow::Borrowed(record) }
}
