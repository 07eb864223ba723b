//! The result of the comparison with a destination.

use std::collections::BTreeMap;

use s1_forwarder_engine::checkpoint::ledger::Hour;
use s1_forwarder_record::{Identity, LaneId, Timestamp};
use serde::{Serialize, Serializer};

use super::owed_reader::Owed;

/// The result for one lane.
#[derive(Debug, Serialize)]
pub struct DestinationReport {
    #[serde(serialize_with = "as_text")]
    pub lane: LaneId,
    /// The target that was asked, where it is, and by which field.
    pub asked: Option<String>,
    /// Number of questions to the destination.
    pub questions: u64,
    /// The compared hours, by the creation of their records.
    #[serde(serialize_with = "as_list")]
    pub hours: BTreeMap<Hour, HourRow>,
    /// Parts of the requested time that could not be compared, and why.
    pub not_judged: Vec<String>,
    /// Events of which nothing is claimed, and that may be missing. They are not there, and may be dead letters, too
    /// old, or after the end of a list. Or the lane should have read them and has not, or neither the console nor the
    /// ledger names them any more.
    pub doubted: u64,
    /// Why no answer is a proof. If set, no hour was compared.
    pub unseen: Option<String>,
    /// Numbers of events that are not in the target, by the place where they are.
    pub elsewhere: BTreeMap<String, u64>,
    /// The result of a repair. `None` if no repair was asked for, or no event was missing.
    pub returned: Option<RepairReport>,
}

/// The result of a repair.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// Events that were delivered again, and are there.
    pub repaired: u64,
    /// Events that were delivered again, and are not visible yet.
    pub not_visible: u64,
    /// Events that the destination refused: they are dead letters now.
    pub dead_letters: u64,
    /// Events that are there now, before the repair has sent them: they are not sent.
    pub found_meanwhile: u64,
    /// Events that a repair of the last day has sent, and that are not there: they are not sent again.
    pub vanished_again: u64,
    /// Records that the console did not show any more.
    pub gone: u64,
    /// Why nothing, or not all, was sent.
    pub refused: Option<String>,
}

/// The records that were created in an hour. `owed` = `present` + `missing` + `elsewhere`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct HourRow {
    /// Records that the lane had to deliver.
    pub owed: u64,
    /// Records that the ledger accounts for. `None` if it has no sum for the hour.
    pub accounted: Option<u64>,
    /// Owed identities that are there.
    pub present: u64,
    /// Owed identities that are not there.
    pub missing: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Owed identities that are outside the target alone.
    pub elsewhere: u64,
    /// Records that the settings exclude.
    pub excluded: u64,
    /// Records that are dead letters, and not there.
    pub dead_letters: u64,
    /// Records that the console has meanwhile removed, or replaced by a newer version, and that are not there.
    pub gone: u64,
    /// Whether the destination has exactly what the ledger calls delivered, so that no record was asked for. Then
    /// `excluded` has the dead letters too.
    pub by_sums: bool,
    /// Some of the missing events.
    pub examples: Vec<MissingEvent>,
}

/// A record that is not at its destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingEvent {
    #[serde(serialize_with = "as_text")]
    pub identity: Identity,
    /// The record's id at the console.
    pub record: String,
}

impl MissingEvent {
    pub fn of(owed: &Owed) -> Self {
        Self { identity: owed.identity, record: owed.id.to_string() }
    }
}

impl HourRow {
    /// Returns whether the hour has nothing to report.
    pub fn is_usual(&self) -> bool {
        let Self { missing, duplicates, elsewhere, gone, .. } = self;
        [missing, duplicates, elsewhere, gone].into_iter().all(|count| *count == 0)
    }

    /// How many records the console shows beyond those that the ledger has, if some are missing. Only the ledger of a
    /// repair without a destination will have them.
    pub fn never_accounted(&self) -> u64 {
        let shown = self.owed + self.excluded + self.dead_letters;
        let accounted = self.accounted.filter(|_| self.missing > 0).unwrap_or(shown);
        shown.saturating_sub(accounted)
    }

    /// The sum of two rows, without examples.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            owed: self.owed + other.owed,
            accounted: self.accounted.zip(other.accounted).map(|(one, other)| one + other),
            present: self.present + other.present,
            missing: self.missing + other.missing,
            duplicates: self.duplicates + other.duplicates,
            elsewhere: self.elsewhere + other.elsewhere,
            excluded: self.excluded + other.excluded,
            dead_letters: self.dead_letters + other.dead_letters,
            gone: self.gone + other.gone,
            by_sums: self.by_sums && other.by_sums,
            examples: Vec::new(),
        }
    }
}

impl DestinationReport {
    pub fn of(lane: LaneId) -> Self {
        Self {
            lane,
            asked: None,
            questions: 0,
            hours: BTreeMap::new(),
            not_judged: Vec::new(),
            doubted: 0,
            unseen: None,
            elsewhere: BTreeMap::new(),
            returned: None,
        }
    }

    /// Nothing was compared, for this reason.
    pub fn not_judged(lane: LaneId, reason: String) -> Self {
        Self { not_judged: vec![reason], ..Self::of(lane) }
    }

    pub fn missing(&self) -> u64 {
        self.hours.values().map(|row| row.missing).sum()
    }
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

/// Each hour with the time that it begins.
fn as_list<S: Serializer>(hours: &BTreeMap<Hour, HourRow>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        hour: String,
        #[serde(flatten)]
        row: &'a HourRow,
    }
    let text = |time: Timestamp| time.to_string();
    serializer.collect_seq(hours.iter().map(|(hour, row)| Row { hour: text(hour.start()), row }))
}
