//! What one lane's sink, dead letters and store saw, and whether the promises allow it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use s1_forwarder::checkpoint::encoding::VERSION_HASH;
use s1_forwarder::lane::LaneCheckpoint;
use s1_forwarder::record::{Stream, Timestamp};
use s1_forwarder::source::SnapshotStage;
use tokio::time::Instant;

use crate::model::Version;
use crate::plan::LanePlan;

/// One run of the lane, from its start to its end or death.
#[derive(Debug)]
pub struct Incarnation {
    end: Option<End>,
    /// Start of the last write that is in the store, and whether the last attempt failed.
    saved: Option<Duration>,
    save_failed: bool,
    /// What later incarnations repeated of this one though its checkpoint should have covered it, batches in flight
    /// aside.
    repeated: usize,
    /// Acknowledged versions of each record, to see their order.
    newest: HashMap<u64, i64>,
    pub acknowledged: u64,
    pub dead_letters: u64,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// What was acknowledged before the moment must be in the checkpoint.
    Killed {
        covered_until: Option<Duration>,
    },
    Orderly,
}

/// What became of an event when it was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliveryState {
    /// On the wire.
    Sent,
    /// Accepted, and the lane learned it.
    Acknowledged(Duration),
    /// Kept as a dead letter.
    Kept(Duration),
    /// Accepted (or kept), and the lane learned the opposite.
    Lost,
    /// Accepted, and the lane died before it learned it.
    Cut,
}

/// Whether a lane sends again what was settled, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restates {
    Never,
    /// A sweep finds what it finds, and the window after it begins a day before it.
    FirstSweep,
    Sweeps,
}

#[derive(Debug)]
pub struct Ledger {
    pub incarnations: Vec<Incarnation>,
    last: HashMap<u64, (usize, DeliveryState)>,
    settled: HashSet<u64>,
    /// Settled versions, as passes remember the last version of a record.
    settled_short: HashSet<u64>,
    refused: HashSet<u64>,
    dead_letters: HashSet<u64>,
    pub stored: Option<Vec<u8>>,
    /// Segments of the lane's journal.
    pub journal: BTreeMap<u64, Vec<u8>>,
    checkpoint: Option<LaneCheckpoint>,
    in_flight: usize,
    /// Whether each poll is an inventory of its own.
    snapshots: bool,
    restates: Restates,
    /// The last snapshot that was complete.
    done: Option<Timestamp>,
    /// When the first complete poll was stored, by the console's clock.
    complete: Option<Timestamp>,
    /// Settled events by the moment of their change: agents by the snapshot that shows them.
    settled_at: HashMap<i64, u64>,
    /// Records of which something was settled.
    settled_ids: HashSet<u64>,
    started_at: Instant,
    pub taken: usize,
    pub repeats: usize,
}

impl Ledger {
    pub fn new(plan: &LanePlan) -> Self {
        let restates = match plan.resync {
            _ if plan.stream != Stream::Vulnerabilities => Restates::Never,
            None => Restates::FirstSweep,
            Some(_) => Restates::Sweeps,
        };
        Self {
            snapshots: plan.snapshot,
            restates,
            done: None,
            complete: None,
            settled_at: HashMap::new(),
            settled_ids: HashSet::new(),
            incarnations: Vec::new(),
            last: HashMap::new(),
            settled: HashSet::new(),
            settled_short: HashSet::new(),
            refused: HashSet::new(),
            dead_letters: HashSet::new(),
            stored: None,
            journal: BTreeMap::new(),
            checkpoint: None,
            // Events that may be beyond the acknowledged prefix.
            in_flight: plan.concurrency * plan.events,
            started_at: Instant::now(),
            taken: 0,
            repeats: 0,
        }
    }

    pub fn begin(&mut self) -> usize {
        self.incarnations.push(Incarnation {
            end: None,
            saved: None,
            save_failed: false,
            repeated: 0,
            newest: HashMap::new(),
            acknowledged: 0,
            dead_letters: 0,
        });
        self.incarnations.len() - 1
    }

    /// The lane ended by itself: nothing of what it did may be repeated.
    pub fn end_orderly(&mut self, incarnation: usize) {
        self.incarnations[incarnation].end = Some(End::Orderly);
    }

    /// The lane was killed now. `freshness`: a store that works has everything that is older.
    pub fn end_killed(&mut self, incarnation: usize, freshness: Duration) {
        let now = self.started_at.elapsed();
        let incarnation = &mut self.incarnations[incarnation];
        let covered_until = match (incarnation.saved, incarnation.save_failed) {
            (saved, true) => saved,
            (saved, false) => saved.max(Some(now.saturating_sub(freshness))),
        };
        incarnation.end = Some(End::Killed { covered_until });
    }

    /// The sink takes an event.
    pub fn take(&mut self, incarnation: usize, version: &Version) -> Result<(), String> {
        self.taken += 1;
        let before = self.last.insert(version.key, (incarnation, DeliveryState::Sent));
        self.judge(incarnation, before, version)
    }

    /// A dead letter is kept.
    pub fn keep(&mut self, incarnation: usize, version: &Version) -> Result<(), String> {
        let before = self.last.insert(version.key, (incarnation, DeliveryState::Kept(self.started_at.elapsed())));
        self.settle(version);
        self.dead_letters.insert(version.key);
        self.incarnations[incarnation].dead_letters += 1;
        if !self.refused.contains(&version.key) {
            return Err(format!("{version:?} is a dead letter, but was not refused"));
        }
        self.judge(incarnation, before, version)
    }

    fn settle(&mut self, version: &Version) {
        self.settled_short.insert(version.key & VERSION_HASH);
        if self.settled.insert(version.key) && !version.is_marker() {
            *self.settled_at.entry(version.changed).or_default() += 1;
            self.settled_ids.insert(version.id);
        }
    }

    /// A dead letter was kept, but the lane learned the opposite, or nothing.
    pub fn kept_unknown(&mut self, incarnation: usize, key: u64, reported: bool) {
        self.incarnations[incarnation].dead_letters -= 1;
        self.last.insert(key, (incarnation, if reported { DeliveryState::Lost } else { DeliveryState::Cut }));
    }

    /// Promises 3 and 6: who may send an event again that came before.
    fn judge(
        &mut self,
        incarnation: usize,
        before: Option<(usize, DeliveryState)>,
        version: &Version,
    ) -> Result<(), String> {
        let Some((earlier, delivery_state)) = before else { return Ok(()) };
        self.repeats += 1;
        let is_restated = match self.restates {
            Restates::Never => false,
            Restates::FirstSweep => self.complete.is_none_or(|complete| version.visible <= complete.micros()),
            Restates::Sweeps => true,
        };
        if delivery_state == DeliveryState::Lost || is_restated {
            return Ok(());
        }
        let allowed = self.in_flight;
        let life_before = &mut self.incarnations[earlier];
        let covered_until = match life_before.end {
            Some(End::Killed { covered_until }) if earlier < incarnation => covered_until,
            end => {
                return Err(format!(
                    "{version:?} came twice: {delivery_state:?} in incarnation {earlier} ({end:?}), sent again in \
                     incarnation {incarnation}",
                ));
            }
        };
        match delivery_state {
            DeliveryState::Acknowledged(at) | DeliveryState::Kept(at)
                if covered_until.is_none_or(|until| at >= until) =>
            {
                return Ok(());
            }
            _ => life_before.repeated += 1,
        }
        if life_before.repeated > allowed {
            let repeated = life_before.repeated;
            return Err(format!(
                "{repeated} events of incarnation {earlier} came again after its kill, {allowed} were in flight at most; the last is {version:?}: {delivery_state:?}"
            ));
        }
        Ok(())
    }

    /// The lane learns that the sink accepted the event. `in_order`: versions must not overtake each other.
    pub fn acknowledge(&mut self, incarnation: usize, version: &Version, in_order: bool) -> Result<(), String> {
        self.last.insert(version.key, (incarnation, DeliveryState::Acknowledged(self.started_at.elapsed())));
        self.settle(version);
        let incarnation = &mut self.incarnations[incarnation];
        incarnation.acknowledged += 1;
        let newest = incarnation.newest.insert(version.id, version.changed);
        match newest {
            Some(newest) if in_order && newest > version.changed => {
                Err(format!("{version:?} came after a newer version"))
            }
            _ => Ok(()),
        }
    }

    /// The lane learns that the sink did not accept the event, though it did.
    pub fn lose(&mut self, incarnation: usize, key: u64) {
        self.last.insert(key, (incarnation, DeliveryState::Lost));
    }

    /// The lane died before the answer.
    pub fn cut(&mut self, incarnation: usize, key: u64) {
        self.last.insert(key, (incarnation, DeliveryState::Cut));
    }

    /// The lane learns that the sink refuses this one event permanently.
    pub fn refuse(&mut self, key: u64) {
        self.refused.insert(key);
    }

    /// A write reaches the store. What it says must be true (promise 1).
    pub fn store(
        &mut self,
        incarnation: usize,
        started_at: Instant,
        now: Timestamp,
        bytes: &[u8],
        owed: impl FnOnce(Timestamp, Timestamp) -> Vec<Version>,
        left_out: impl Fn(u64) -> bool,
    ) -> Result<(), String> {
        self.incarnations[incarnation].saved = Some(started_at.duration_since(self.started_at));
        self.incarnations[incarnation].save_failed = false;
        let mut checkpoint = LaneCheckpoint::decode(bytes).map_err(|error| error.to_string())?;
        if !checkpoint.read_position(&self.journal) {
            return Err("the store does not have the journal that a checkpoint refers to".to_owned());
        }
        let before = self.checkpoint.replace(checkpoint.clone());
        self.stored = Some(bytes.to_vec());
        if checkpoint.position.complete().is_some() {
            self.complete.get_or_insert(now);
        }
        let position = &checkpoint.position;
        let snapshot = position.read_snapshot();
        // What every pass has left behind is never read again, nor is a snapshot whose records are settled.
        let bound = if self.snapshots {
            snapshot.map(|snapshot| snapshot.time)
        } else {
            position.pass_positions().map(|(_, pass_position)| pass_position.bound).min()
        };
        if let Some(snapshot) = snapshot {
            let settled = self.settled_in_snapshot(snapshot.time.micros());
            if snapshot.stage == SnapshotStage::Done {
                self.done = Some(snapshot.time);
            }
            if snapshot.settled != settled {
                return Err(format!(
                    "{} are counted of snapshot {}, {settled} settled",
                    snapshot.settled, snapshot.time
                ));
            }
        }
        if let Some(before) = before {
            if before.since_resolved != checkpoint.since_resolved {
                return Err(format!("since moved from {} to {}", before.since_resolved, checkpoint.since_resolved));
            }
            for ((name, before), (_, now)) in before.position.pass_positions().zip(checkpoint.position.pass_positions())
            {
                let old = before.snapshot;
                let new = now.snapshot;
                if old.map(|snapshot| snapshot.time) > new.map(|snapshot| snapshot.time) {
                    return Err(format!("snapshot {new:?} comes after {old:?}"));
                }
                let starts_again = old.map(|snapshot| snapshot.time) != new.map(|snapshot| snapshot.time);
                if before.bound > now.bound && !starts_again {
                    return Err(format!("the bound of {name} moved back from {} to {}", before.bound, now.bound));
                }
            }
        }
        for versions in checkpoint.position.pass_positions().flat_map(|(_, pass_position)| pass_position.versions()) {
            let is_settled = |key: &u64| self.settled.contains(key) || self.settled_short.contains(key);
            if let Some(key) = versions.iter().find(|key| !is_settled(key) && !left_out(**key)) {
                return Err(format!("key {key} is in the store, but its event is not settled"));
            }
        }
        let Some(bound) = bound else { return Ok(()) };
        let lost = owed(checkpoint.since_resolved, bound).into_iter().find(|version| !self.is_settled(version.key));
        lost.map_or(Ok(()), |version| {
            Err(format!("the stored bound {bound} has passed {version:?}, which is not settled"))
        })
    }

    pub fn save_failed(&mut self, incarnation: usize) {
        self.incarnations[incarnation].save_failed = true;
    }

    pub fn since(&self) -> Option<Timestamp> {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.since_resolved)
    }

    /// How many agents are settled of the snapshot of this time.
    pub fn settled_in_snapshot(&self, time: i64) -> u64 {
        self.settled_at.get(&time).copied().unwrap_or_default()
    }

    /// Up to when the lane must have settled all that it owes of the time before `calm_since`; none where it has not
    /// got there.
    pub fn due(&self, calm_since: Timestamp) -> Option<Timestamp> {
        if self.snapshots { self.done.filter(|done| *done >= calm_since) } else { Some(calm_since) }
    }

    pub fn has_settled(&self, id: u64) -> bool {
        self.settled_ids.contains(&id)
    }

    pub fn is_settled(&self, key: u64) -> bool {
        self.settled.contains(&key)
    }

    /// Whether the stored checkpoint is behind a version that leaves no other trace.
    pub fn has_read(&self, version: &Version) -> bool {
        self.checkpoint.iter().flat_map(|checkpoint| checkpoint.position.pass_positions()).any(|(_, pass_position)| {
            pass_position.bound.micros() > version.time
                || pass_position.versions().any(|keys| keys.contains(&version.key))
        })
    }

    /// Whether the sink has accepted the event when it was sent last, and the lane learned it.
    pub fn is_delivered(&self, key: u64) -> bool {
        matches!(self.last.get(&key), Some((_, DeliveryState::Acknowledged(_))))
    }

    pub fn is_letter(&self, key: u64) -> bool {
        self.dead_letters.contains(&key)
    }
}
