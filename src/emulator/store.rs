//! One table per kind of record: the records' bytes, beside them the columns that requests sort and filter by.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kind::Kind;
use super::time;
use super::truth::Version;

/// A column of ids that lists of ids filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdColumn {
    Record,
    Account,
    Site,
    Group,
    Agent,
    Threat,
}

/// A record: its bytes as served, and what is read from them once. An id that it does not have is 0.
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
    /// An activity that only `includeHidden` shows.
    pub hidden: bool,
    /// An agent that is shown only when asked for.
    pub decommissioned: bool,
    /// A finding that is gone: shown only when asked for.
    pub removed: bool,
    /// An alert without `updatedAt`.
    pub undated: bool,
    pub body: Box<[u8]>,
}

/// The body is not a record of this kind.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON.
    #[error("not a record: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Without id or creation time it has no place in the table.
    #[error("a record needs `{0}`")]
    Missing(&'static str),
}

impl Row {
    /// Reads a record from outside: its bytes stay as they are.
    pub fn read(kind: Kind, body: &[u8]) -> Result<Self, RecordError> {
        Self::of(kind, &serde_json::from_slice(body)?, body.into())
    }

    /// Takes what is sorted and filtered by out of a record.
    pub fn of(kind: Kind, record: &Value, body: Box<[u8]>) -> Result<Self, RecordError> {
        let (times, id) = match kind {
            Kind::Threats => (&record["threatInfo"], &record["id"]),
            Kind::Alerts => (&record["alertInfo"], &record["alertInfo"]["alertId"]),
            _ => (record, &record["id"]),
        };
        let id = match kind {
            Kind::UnifiedAlerts => unified_id(id.as_str().unwrap_or_default()),
            _ => number(id),
        };
        if id == 0 {
            return Err(RecordError::Missing("id"));
        }
        let moment = |key: &str| times[key].as_str().and_then(time::parse);
        let creation = match kind {
            Kind::UnifiedAlerts => "detectedAt",
            Kind::Vulnerabilities => "detectionDate",
            _ => "createdAt",
        };
        let created = moment(creation).ok_or(RecordError::Missing(creation))?;
        let places = if matches!(kind, Kind::Threats | Kind::Alerts) { &record["agentDetectionInfo"] } else { record };
        let own = |own: Kind, scope: &str, place: &str| match kind {
            Kind::UnifiedAlerts => number(&record["realTime"]["scope"][scope]["id"]),
            kind if kind == own => id,
            _ => number(&places[place]),
        };
        let agent = match kind {
            Kind::Threats => &record["agentRealtimeInfo"]["agentId"],
            Kind::Vulnerabilities => &record["endpointId"],
            Kind::Agents => &Value::Null,
            _ => &record["agentId"],
        };
        Ok(Self {
            id,
            created,
            updated: moment("updatedAt").unwrap_or(created),
            account: own(Kind::Accounts, "account", "accountId"),
            site: own(Kind::Sites, "site", "siteId"),
            group: own(Kind::Groups, "group", "groupId"),
            agent: if kind == Kind::Agents { id } else { number(agent) },
            threat: if kind == Kind::Threats { id } else { number(&record["threatId"]) },
            activity_type: u32::try_from(number(&record["activityType"])).unwrap_or(0),
            hidden: false,
            decommissioned: record["isDecommissioned"] == true,
            removed: kind == Kind::Vulnerabilities && record["status"] == "Removed",
            undated: kind == Kind::UnifiedAlerts && moment("updatedAt").is_none(),
            body,
        })
    }

    pub fn version(&self) -> Version {
        Version { id: self.id, created: self.created, updated: self.updated }
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

/// A place in an index: sorted by value, then by id, as the cursors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub value: i64,
    pub id: u64,
    slot: u32,
}

/// The records of one kind with their indexes. Records that arrive in order cost next to nothing; one in the middle of
/// a million moves a few megabytes.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    free: Vec<u32>,
    ids: Vec<Entry>,
    created: Vec<Entry>,
    updated: Vec<Entry>,
    /// The slots of records that are not always shown: hidden activities, decommissioned agents, findings that are gone.
    aside: BTreeSet<u32>,
    /// The versions that newer ones have replaced.
    past: Vec<Version>,
}

/// The columns that have an index.
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

    /// The records that are not always shown.
    pub fn aside(&self) -> impl Iterator<Item = &Row> {
        self.aside.iter().map(|slot| &self.rows[*slot as usize])
    }

    /// Where a record of this table stands in an index.
    pub fn entry(&self, column: Indexed, row: &Row) -> Entry {
        let value = match column {
            Indexed::Id => id_value(row.id),
            Indexed::Created => row.created,
            Indexed::Updated => row.updated,
        };
        Entry { value, id: row.id, slot: self.slot(row.id).unwrap_or(u32::MAX) }
    }

    /// The versions that newer ones have replaced, the oldest first.
    pub fn past(&self) -> &[Version] {
        &self.past
    }

    /// Inserts a record, or replaces the one of this id.
    pub fn put(&mut self, row: Row) {
        if let Some(old) = self.find(row.id).map(Row::version) {
            self.remove(row.id);
            self.past.push(old);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            // More than four thousand million records fit no memory.
            u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
        });
        for (index, value) in
            [(&mut self.ids, id_value(row.id)), (&mut self.created, row.created), (&mut self.updated, row.updated)]
        {
            let entry = Entry { value, id: row.id, slot };
            if index.last().is_none_or(|last| *last < entry) {
                index.push(entry);
            } else {
                let place = index.partition_point(|other| *other < entry);
                index.insert(place, entry);
            }
        }
        if row.hidden || row.decommissioned || row.removed {
            self.aside.insert(slot);
        }
        if slot as usize == self.rows.len() {
            self.rows.push(row);
        } else {
            self.rows[slot as usize] = row;
        }
    }

    /// Takes a record out of the console.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        self.aside.remove(&slot);
        let row = &self.rows[slot as usize];
        for (index, value) in
            [(&mut self.ids, id_value(row.id)), (&mut self.created, row.created), (&mut self.updated, row.updated)]
        {
            if let Ok(place) = index.binary_search(&Entry { value, id, slot }) {
                index.remove(place);
            }
        }
        self.rows[slot as usize].body = Box::default();
        self.free.push(slot);
        true
    }

    fn slot(&self, id: u64) -> Option<u32> {
        let place = self.ids.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some(self.ids[place].slot)
    }
}

/// Ids as sort values: 19 digits fit.
pub(super) fn id_value(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// Ids are texts, sometimes numbers, "" or null.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// Unified alerts have UUIDs; the table keeps a hash of them. "" is no id.
pub(super) fn unified_id(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, hash) >> 1
}
