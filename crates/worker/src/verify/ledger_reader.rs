//! Reads the ledger of a lane, together with the ledgers of its repairs and replays.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::ledger::{Accounting, Hour, Ledger, LedgerTotals, Sum};
use s1_forwarder_engine::checkpoint::{CheckpointBackend, CheckpointKey, StateError, Store, StoredPart};
use s1_forwarder_engine::lane::LaneCheckpoint;
use s1_forwarder_record::{LaneId, Stream, Timestamp};

use super::completeness::window;
use super::error::VerifyError;
use crate::lanes::builder::BuildLaneError;
use crate::lanes::spec::LaneSpec;
use crate::shared::Shared;

/// Attempts to read checkpoint and journal: a running lane may change the journal between the two.
const MAX_RETRIES: usize = 5;
/// Sums are kept for 90 days. The oldest day is not used, because its hours may be removed meanwhile.
const SUM_HOURS: u32 = 89 * 24;

/// One of a lane's ledgers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerKind {
    Current,
    /// The one before it.
    Former,
}

#[derive(Clone)]
pub struct LedgerReader {
    pub lane: LaneId,
    pub which: LedgerKind,
    /// Stores the checkpoint of the worker's lane; only read here.
    pub live: Arc<dyn CheckpointBackend>,
    /// The area of the repairs.
    pub repairs: Arc<dyn Store>,
    /// The area of replayed events, for callers that ask for delivered events.
    pub replays: Option<Arc<dyn Store>>,
}

/// Returns the backend where the worker's lane of this spec stores its checkpoint: its sink if it is transactional,
/// else `store`.
///
/// # Errors
/// If the lane's sink cannot be built.
pub fn live_backend(
    shared: &Shared,
    spec: &LaneSpec,
    store: Arc<dyn Store>,
) -> Result<Arc<dyn CheckpointBackend>, BuildLaneError> {
    if spec.sink.type_settings.as_sink_type().is_transactional()
        && let Some(sink) = shared.lane_builder.sink(spec)?.as_transactional()
    {
        return Ok(sink);
    }
    Ok(store)
}

/// The accounted records of a lane in some hours.
pub struct Account {
    pub lane: LaneId,
    /// The lane's checkpoint, without repairs.
    pub checkpoint: LaneCheckpoint,
    pub which: LedgerKind,
    /// Sums and identities, including repairs, and replays where these were asked for.
    pub totals: LedgerTotals,
}

/// A repair of an hour.
struct StoredRepair {
    key: CheckpointKey,
    hour: Hour,
    /// Whether the whole hour was delivered again.
    whole: bool,
    number: u32,
    checkpoint: LaneCheckpoint,
}

/// What is read of a ledger.
#[derive(Debug, Clone, Copy)]
enum LedgerDetail {
    Sums,
    /// The sums and the identities, of which a busy lane has hundreds of megabytes.
    Identities,
}

impl LedgerDetail {
    async fn read(
        self,
        ledger: &Ledger,
        store: &dyn CheckpointBackend,
        key: &CheckpointKey,
        hours: Range<Hour>,
    ) -> Result<LedgerTotals, StateError> {
        match self {
            Self::Sums => ledger.sums(store, key, hours).await,
            Self::Identities => ledger.totals(store, key, hours).await,
        }
    }
}

impl LedgerReader {
    /// The accounted records of the lane and its repairs in `hours`.
    ///
    /// # Errors
    /// If a checkpoint or journal is missing or damaged, or its store cannot be read.
    pub async fn account(&self, hours: Range<Hour>) -> Result<Account, VerifyError> {
        self.read(hours, LedgerDetail::Identities).await
    }

    /// The accounted records without identities, of which a busy lane has hundreds of megabytes.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub async fn sums(&self, hours: Range<Hour>) -> Result<Account, VerifyError> {
        self.read(hours, LedgerDetail::Sums).await
    }

    async fn read(&self, hours: Range<Hour>, detail: LedgerDetail) -> Result<Account, VerifyError> {
        let mut account = Account::read(&*self.live, &self.lane, self.which, hours.clone(), detail).await?;
        let totals = &mut account.totals;
        let ledger = ledger(&account.checkpoint, self.which);
        let days_until = ledger.days_until();
        let mut replaced = BTreeSet::new();
        // The repaired hours, with their records, of days for which the ledger has one count.
        let mut repaired_days: BTreeMap<Hour, (u32, u64)> = BTreeMap::new();
        for repair in self.repairs_of(ledger.generation()).await? {
            let StoredRepair { key, hour, whole, checkpoint, .. } = repair;
            if !hours.contains(&hour) {
                continue;
            }
            // A repair has records of its hour only, which may be counted by the day.
            let of_day = hour.day()..hour.plus(1);
            let mut of_repair = detail.read(&checkpoint.ledger, &*self.repairs, &key, of_day).await?;
            for count in std::mem::take(&mut of_repair.days).into_values() {
                of_repair.sums.entry(hour).or_default().count += count;
            }
            // A complete repair of a whole hour replaces the earlier records of the hour.
            let complete = checkpoint.position.complete() == Some(window(&(hour..hour.plus(1))).to);
            if hour < days_until {
                if whole && complete && replaced.insert(hour) {
                    let (repaired, records) = repaired_days.entry(hour.day()).or_default();
                    *repaired += 1;
                    *records += of_repair.sums.get(&hour).map_or(0, |sum| sum.count);
                }
                continue;
            }
            if whole && complete && replaced.insert(hour) {
                totals.sums.remove(&hour);
                totals.delivered.remove(&hour);
            }
            if !whole || complete {
                totals.merge(of_repair);
            }
        }
        if let Some(replays) = &self.replays {
            let key = CheckpointKey {
                lane: self.lane.clone(),
                part: StoredPart::Replays { generation: ledger.generation() },
            };
            if let Some(bytes) = replays.load(&key).await? {
                let replayed = LaneCheckpoint::decode(&bytes)?;
                totals.merge(replayed.ledger.sums(&**replays, &key, hours).await?);
            }
        }
        // Nothing says which records of the day an hour's repair has replaced, unless all hours of the day were
        // repaired.
        totals.days.extend(
            repaired_days.into_iter().filter(|(_, (hours, _))| *hours == 24).map(|(day, (_, records))| (day, records)),
        );
        Ok(account)
    }

    /// The key of the next repair of `hour`.
    ///
    /// # Errors
    /// If the store of the repairs cannot be read.
    pub async fn next_repair(&self, account: &Account, hour: Hour, whole: bool) -> Result<CheckpointKey, VerifyError> {
        let generation = account.ledger().generation();
        let repairs = self.repairs_of(generation).await?;
        let last = repairs.iter().filter(|repair| repair.hour == hour).map(|repair| repair.number).max();
        let number = last.map_or(0, |last| last + 1);
        Ok(CheckpointKey { lane: self.lane.clone(), part: StoredPart::Repair { generation, hour, whole, number } })
    }

    /// The repairs of this generation of the ledger, in the order of hour and number.
    async fn repairs_of(&self, ledger: u64) -> Result<Vec<StoredRepair>, VerifyError> {
        let mut found = Vec::new();
        for key in self.repairs.list().await? {
            let StoredPart::Repair { generation, hour, whole, number } = key.part else { continue };
            if generation != ledger || key.lane != self.lane {
                continue;
            }
            if let Some(bytes) = self.repairs.load(&key).await? {
                found.push(StoredRepair { key, hour, whole, number, checkpoint: LaneCheckpoint::decode(&bytes)? });
            }
        }
        found.sort_by_key(|repair| (repair.hour, repair.number));
        Ok(found)
    }
}

/// Reads all segments of the lane's journals.
///
/// # Errors
/// [`VerifyError::Ledger`] if one is missing or damaged.
pub async fn check_segments(live: &dyn CheckpointBackend, lane: &LaneId) -> Result<(), VerifyError> {
    let key = CheckpointKey::from(lane.clone());
    let mut retries = 0;
    loop {
        let Some(bytes) = live.load(&key).await? else { return Ok(()) };
        match LaneCheckpoint::decode(&bytes)?.check_journal(live, &key).await {
            Ok(()) => return Ok(()),
            Err(error) => may_retry(error, &mut retries, lane)?,
        }
    }
}

/// Counts a retry if another attempt may read the journal: a running lane may have removed the segment meanwhile.
///
/// # Errors
/// If another attempt would not help.
fn may_retry(error: StateError, retries: &mut usize, lane: &LaneId) -> Result<(), VerifyError> {
    match error {
        StateError::Journal { .. } if *retries < MAX_RETRIES => {
            *retries += 1;
            Ok(())
        }
        StateError::Journal { segment, .. } => Err(VerifyError::Ledger { lane: lane.clone(), segment }),
        error => Err(error.into()),
    }
}

impl Account {
    /// The accounted records of `lane` in `hours`, without repairs and identities.
    ///
    /// # Errors
    /// If checkpoint or journal is missing or damaged, or its store cannot be read.
    pub async fn sums_of_lane(
        live: &dyn CheckpointBackend,
        lane: &LaneId,
        hours: Range<Hour>,
    ) -> Result<Self, VerifyError> {
        Self::read(live, lane, LedgerKind::Current, hours, LedgerDetail::Sums).await
    }

    async fn read(
        live: &dyn CheckpointBackend,
        lane: &LaneId,
        which: LedgerKind,
        hours: Range<Hour>,
        detail: LedgerDetail,
    ) -> Result<Self, VerifyError> {
        let key = CheckpointKey::from(lane.clone());
        let mut retries = 0;
        loop {
            let bytes = live.load(&key).await?;
            let checkpoint = LaneCheckpoint::decode(&bytes.ok_or_else(|| VerifyError::NoCheckpoint(lane.clone()))?)?;
            match detail.read(ledger(&checkpoint, which), live, &key, hours.clone()).await {
                Ok(totals) => return Ok(Self { lane: lane.clone(), checkpoint, which, totals }),
                // The journal of the position is not read here.
                Err(error) => may_retry(error, &mut retries, lane)?,
            }
        }
    }

    /// The number of accounted records of `hours`: one hour, or a day of which the ledger has one count.
    pub fn expected(&self, stream: Stream, hours: &Range<Hour>) -> u64 {
        let LedgerTotals { sums, days, identities, .. } = &self.totals;
        match Accounting::of(stream) {
            Accounting::Records if hours.start < self.ledger().days_until() => {
                days.get(&hours.start).copied().unwrap_or_default()
            }
            Accounting::Records => sums.range(hours.clone()).map(|(_, sum)| sum.count).sum(),
            Accounting::Ids | Accounting::Nothing => {
                identities.get(&hours.start).map_or(0, |identities| identities.len() as u64)
            }
        }
    }

    /// Returns the records of `hour` that the sink has acknowledged, including the records of repairs and replays.
    /// `None` where the ledger cannot say: the hour is not judged by sums.
    pub fn delivered(&self, hour: Hour) -> Option<Sum> {
        let is_counted = Accounting::of(self.lane.stream) == Accounting::Records;
        let from = self.ledger().delivered_from().filter(|from| is_counted && *from <= hour);
        from.map(|_| self.totals.delivered.get(&hour).copied().unwrap_or_default())
    }

    /// Returns whether the ledger still has all identities of `hour`.
    pub fn remembers(&self, hour: Hour, now: Timestamp) -> bool {
        self.ledger().kept_from(now).is_some_and(|from| from <= hour)
    }

    /// The lane has yet to pull changes that are later than this.
    pub fn settled_until(&self, stream: Stream) -> Timestamp {
        match Accounting::of(stream) {
            Accounting::Ids => {
                let position = &self.checkpoint.position;
                position.closed_until().or(position.complete()).unwrap_or_default()
            }
            Accounting::Records | Accounting::Nothing => Timestamp::from_micros(i64::MAX),
        }
    }

    /// The hours of creation that can be compared with the former ledger.
    pub fn hours_of_former(&self, stream: Stream, now: Timestamp) -> Range<Hour> {
        let former = self.checkpoint.former.as_ref().filter(|_| Accounting::of(stream) == Accounting::Records);
        let hours = former.map_or(Hour(0)..Hour(0), |former| former.hours(now));
        hours.start.max(oldest_sum(now))..hours.end
    }

    /// The hours of creation that can be compared: the ledger covers them, the lane is past them, and no further record
    /// is expected in them.
    pub fn comparable_hours(&self, stream: Stream, overlap: Duration, now: Timestamp) -> Range<Hour> {
        let ledger = self.ledger();
        let start = Hour::from(ledger.since());
        let start = match Accounting::of(stream) {
            Accounting::Records => start.max(oldest_sum(now)),
            Accounting::Ids => ledger.kept_from(now).map_or(Hour(u32::MAX), |from| from.max(start)),
            Accounting::Nothing => Hour(0),
        };
        start..self.closed_hour(stream, overlap, now).max(start)
    }

    /// Returns the first hour that is not closed. The lane is past all hours before it, and no further record is
    /// expected in them.
    pub fn closed_hour(&self, stream: Stream, overlap: Duration, now: Timestamp) -> Hour {
        let position = &self.checkpoint.position;
        let covered = match Accounting::of(stream) {
            Accounting::Records => Some(position.complete_until()),
            // Ordered by the time of the last change: records of the hour may come in any later part of a poll.
            Accounting::Ids => position.complete(),
            Accounting::Nothing => None,
        };
        // A lane that has closed a time has read the records that came late within `overlap`.
        let closed = covered.map(|covered| covered.min(now).minus(overlap));
        let closed = closed.map(|closed| position.closed_until().map_or(closed, |until| until.min(closed)));
        closed.and_then(Hour::of).unwrap_or(Hour(0))
    }

    pub fn ledger(&self) -> &Ledger {
        ledger(&self.checkpoint, self.which)
    }
}

fn oldest_sum(now: Timestamp) -> Hour {
    Hour::of(now).unwrap_or(Hour(0)).minus(SUM_HOURS)
}

/// Returns the ledger of this kind. Without a former ledger (any more), it is the present one, which has another
/// generation.
fn ledger(checkpoint: &LaneCheckpoint, which: LedgerKind) -> &Ledger {
    match (&checkpoint.former, which) {
        (Some(former), LedgerKind::Former) => former.ledger(),
        _ => &checkpoint.ledger,
    }
}
