//! One table per kind of record, with the bodies and the columns that requests sort and filter by.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kind::{IdColumn, Kind, at};
use super::time;

/// One version of one record. Times are in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordVersion {
    pub id: u64,
    pub created: i64,
    /// The time of the last change.
    pub updated: i64,
}

/// A record: its body as served, and values read from it. Missing ids are 0.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub id: u64,
    pub created: i64,
    pub updated: i64,
    pub account: u64,
    pub site: u64,
    pub group: u64,
    pub agent: u64,
    pub threat: u64,
    pub activity_type: u32,
    /// Whether the record is an activity that is returned only with `includeHidden`.
    pub hidden: bool,
    /// Whether the record is a decommissioned agent, returned only on request.
    pub decommissioned: bool,
    /// Whether the record is a removed finding, returned only on request.
    pub removed: bool,
    /// Whether the record is an alert without `updatedAt`.
    pub undated: bool,
    pub body: Box<[u8]>,
}

/// The body is not a record of this kind.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("not a record: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The record has no id or no creation time.
    #[error("a record needs `{0}`")]
    Missing(&'static str),
}

impl Row {
    /// Reads a record; its bytes are kept as they are.
    ///
    /// # Errors
    /// If the body is not JSON, or as [`Self::from_record`].
    pub fn read(kind: Kind, body: &[u8]) -> Result<Self, RecordError> {
        Self::from_record(kind, &serde_json::from_slice(body)?, body.into())
    }

    /// Reads the columns of a record.
    ///
    /// # Errors
    /// If the record has no id or no creation time.
    pub fn from_record(kind: Kind, record: &Value, body: Box<[u8]>) -> Result<Self, RecordError> {
        let places = &kind.description().places;
        let value = |path: &str| at(record, path).unwrap_or(&Value::Null);
        let time = |path: &str| value(path).as_str().and_then(time::parse);
        let id = record_id(value(places.id));
        if id == 0 {
            return Err(RecordError::Missing("id"));
        }
        let created = time(places.created).ok_or(RecordError::Missing(places.created))?;
        let updated = places.updated.and_then(time);
        Ok(Self {
            id,
            created,
            updated: updated.unwrap_or(created),
            account: number(value(places.account)),
            site: number(value(places.site)),
            group: number(value(places.group)),
            agent: number(value(places.agent)),
            threat: number(value(places.threat)),
            activity_type: u32::try_from(number(&record["activityType"])).unwrap_or(0),
            hidden: false,
            decommissioned: record["isDecommissioned"] == true,
            removed: kind.filter("includeRemovals").is_some() && record["status"] == "Removed",
            undated: places.undated && updated.is_none(),
            body,
        })
    }

    pub fn version(&self) -> RecordVersion {
        RecordVersion { id: self.id, created: self.created, updated: self.updated }
    }

    pub fn id_of(&self, column: IdColumn) -> u64 {
        match column {
            IdColumn::Record => self.id,
            IdColumn::Account => self.account,
            IdColumn::Site => self.site,
            IdColumn::Group => self.group,
            IdColumn::Agent => self.agent,
            IdColumn::Threat => self.threat,
        }
    }
}

/// An entry of an index, which is sorted by value and then by id, like cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub value: i64,
    pub id: u64,
    slot: u32,
}

/// The records of one kind with their indexes. Appending in order is cheap; an insert into the middle of a million
/// records moves a few megabytes.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    free: Vec<u32>,
    ids: Vec<Entry>,
    created: Vec<Entry>,
    updated: Vec<Entry>,
    /// The slots of records that are returned only on request: hidden activities, decommissioned agents, removed
    /// findings.
    hidden_by_default: BTreeSet<u32>,
    replaced: Vec<RecordVersion>,
}

/// A column with an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexed {
    Id,
    Created,
    Updated,
}

impl Table {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn index(&self, column: Indexed) -> &[Entry] {
        match column {
            Indexed::Id => &self.ids,
            Indexed::Created => &self.created,
            Indexed::Updated => &self.updated,
        }
    }

    pub fn row(&self, entry: &Entry) -> &Row {
        &self.rows[entry.slot as usize]
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.ids.iter().map(|entry| self.row(entry))
    }

    pub fn find(&self, id: u64) -> Option<&Row> {
        self.slot(id).map(|slot| &self.rows[slot as usize])
    }

    /// Returns the records that are returned only on request.
    pub fn hidden_by_default(&self) -> impl Iterator<Item = &Row> {
        self.hidden_by_default.iter().map(|slot| &self.rows[*slot as usize])
    }

    /// Returns the index entry of a record of this table.
    pub fn entry(&self, column: Indexed, row: &Row) -> Entry {
        let value = match column {
            Indexed::Id => id_value(row.id),
            Indexed::Created => row.created,
            Indexed::Updated => row.updated,
        };
        Entry { value, id: row.id, slot: self.slot(row.id).unwrap_or(u32::MAX) }
    }

    /// Returns the versions that newer ones have replaced, the oldest first.
    pub fn replaced(&self) -> &[RecordVersion] {
        &self.replaced
    }

    /// Inserts a record, or replaces the one with the same id.
    pub fn put(&mut self, row: Row) {
        if let Some(old) = self.find(row.id).map(Row::version) {
            self.remove(row.id);
            self.replaced.push(old);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            // 2^32 records do not fit into memory.
            u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
        });
        for (index, value) in
            [(&mut self.ids, id_value(row.id)), (&mut self.created, row.created), (&mut self.updated, row.updated)]
        {
            let entry = Entry { value, id: row.id, slot };
            if index.last().is_none_or(|last| *last < entry) {
                index.push(entry);
            } else {
                let position = index.partition_point(|other| *other < entry);
                index.insert(position, entry);
            }
        }
        if row.hidden || row.decommissioned || row.removed {
            self.hidden_by_default.insert(slot);
        }
        if slot as usize == self.rows.len() {
            self.rows.push(row);
        } else {
            self.rows[slot as usize] = row;
        }
    }

    pub fn remove(&mut self, id: u64) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        self.hidden_by_default.remove(&slot);
        let row = &self.rows[slot as usize];
        for (index, value) in
            [(&mut self.ids, id_value(row.id)), (&mut self.created, row.created), (&mut self.updated, row.updated)]
        {
            if let Ok(position) = index.binary_search(&Entry { value, id, slot }) {
                index.remove(position);
            }
        }
        self.rows[slot as usize].body = Box::default();
        self.free.push(slot);
        true
    }

    fn slot(&self, id: u64) -> Option<u32> {
        let index = self.ids.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some(self.ids[index].slot)
    }
}

/// Returns an id as a sort value.
pub(super) fn id_value(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// Reads an id, which is a text or a number; 0 for "" and null.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// Returns the id of a record: a number, or a hash of a UUID; 0 for "" and null.
fn record_id(id: &Value) -> u64 {
    match number(id) {
        0 => unified_id(id.as_str().unwrap_or_default()),
        number => number,
    }
}

/// Returns the numeric id of a unified alert: a hash of its UUID, or 0 for "".
pub(super) fn unified_id(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, hash) >> 1
}
