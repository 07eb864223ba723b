//! Maps records to events: to ECS or OCSF with labels, or to the record's own bytes. Events are written into the output
//! buffer.

mod common;
mod copy;
pub mod coverage;
mod ecs;
mod fnv;
mod json;
mod mapping;
mod ocsf;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::ecs::Ecs;
use self::mapping::check;
pub use self::mapping::{MapError, Mapped, Origin, Snapshot};
use self::ocsf::Ocsf;
use crate::record::{Identity, Scope, compact};
pub use crate::settings::Schema;

/// `transform:` of a pipeline file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransformSettings {
    /// Schema of the events. A sink can override it.
    pub schema: Schema,
    /// Keep the record in `event.original` or `raw_data`, which makes events 1.7 to 1.9 times as large. Without it,
    /// what has no field in the schema is still below `sentinel_one` or `unmapped`. Default false.
    pub keep_original: Option<bool>,
    /// Labels of every event, written as `labels.NAME` or into `metadata.labels`.
    pub labels: BTreeMap<String, String>,
}

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
}

#[derive(Debug, Clone)]
enum Kind {
    Ecs(Box<Ecs>),
    Ocsf(Box<Ocsf>),
    Raw,
}

impl Mapper {
    /// `schema` is the sink's, or else that of `settings`.
    pub fn new(settings: &TransformSettings, schema: Schema, origin: Origin) -> Self {
        let keep_original = settings.keep_original.unwrap_or(false);
        let kind = match schema {
            Schema::Ecs => Kind::Ecs(Box::new(Ecs::new(&origin, &settings.labels, keep_original))),
            Schema::Ocsf => Kind::Ocsf(Box::new(Ocsf::new(&origin, &settings.labels, keep_original))),
            Schema::Raw => Kind::Raw,
        };
        Self { kind }
    }

    /// Sets the scope of the records that follow, for streams whose records do not contain it.
    pub fn set_scope(&mut self, scope: Option<Arc<Scope>>) {
        match &mut self.kind {
            Kind::Ecs(ecs) => ecs.scope = scope,
            Kind::Ocsf(ocsf) => ocsf.scope = scope,
            Kind::Raw => {}
        }
    }

    /// Appends exactly one event to `out`, without a line break in or after it.
    ///
    /// # Errors
    /// When the record cannot be mapped. The appended event is then an error event that contains the record.
    pub fn map(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<Mapped, MapError> {
        self.map_enriched(record, None, None, out)
    }

    /// As [`Self::map`], with the identity of the record if it is known already, and with `enrichment`, a JSON object
    /// that was fetched for the record. With schema `raw` it becomes the record's last key, `_enrichment`.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn map_enriched(
        &mut self,
        record: &[u8],
        identity: Option<Identity>,
        enrichment: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Mapped, MapError> {
        match &mut self.kind {
            Kind::Ecs(ecs) => {
                let start = out.len();
                let identity = identity.unwrap_or_else(|| ecs.identity(record));
                ecs.map(record, identity, enrichment, out).map_err(|reason| {
                    out.truncate(start);
                    ecs.map_error(record, identity, &reason, out);
                    MapError(reason)
                })
            }
            Kind::Ocsf(ocsf) => {
                let start = out.len();
                let identity = identity.unwrap_or_else(|| ocsf.identity(record));
                ocsf.map(record, identity, enrichment, out).map_err(|reason| {
                    out.truncate(start);
                    ocsf.map_error(record, identity, &reason, out);
                    MapError(reason)
                })
            }
            Kind::Raw => {
                out.extend_from_slice(&compact(record));
                check(record).map_err(MapError)?;
                if let Some(enrichment) = enrichment
                    && let Some(end) = out.iter().rposition(|byte| *byte == b'}')
                {
                    out.truncate(end);
                    out.extend_from_slice(b",\"_enrichment\":");
                    out.extend_from_slice(enrichment);
                    out.push(b'}');
                }
                Ok(Mapped::default())
            }
        }
    }

    /// Appends the event that reports a complete snapshot. With schema `raw` it is an object with the single key
    /// `snapshot`.
    pub fn map_snapshot(&mut self, snapshot: Snapshot, identity: Identity, out: &mut Vec<u8>) {
        let Snapshot { time, records } = snapshot;
        match &mut self.kind {
            Kind::Ecs(ecs) => ecs.map_snapshot(snapshot, identity, out),
            Kind::Ocsf(ocsf) => ocsf.map_snapshot(snapshot, identity, out),
            Kind::Raw => {
                out.extend_from_slice(format!(r#"{{"snapshot":{{"time":"{time}","records":{records}}}}}"#).as_bytes());
            }
        }
    }
}
