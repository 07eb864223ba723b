//! Decides which calls to the API server a worker makes for its shards, and what follows from the answers.
//!
//! The planner does no I/O. Its caller passes the time, sends the calls, and passes their answers. The rules:
//!
//! - A worker renews each of its leases after a third of the lease time. Deliveries end two thirds of the lease time
//!   after the last successful renewal was *sent*, so that they end well before another worker acquires the shard.
//! - A lease of another worker has expired if it was not seen to change for its whole lease time. Clocks are not
//!   compared. A worker that saw no listing for as long starts to count again.
//! - Every write names the version that was read. Of two workers that write, the second gets a conflict.
//! - A write that failed is sent again after a twelfth of the lease time at the earliest. An API server that refuses at
//!   once, because it is unavailable or overloaded, does not get calls without pause.
//! - Each worker has a heartbeat, which is a lease too. Shards are divided evenly among the workers whose heartbeats
//!   change. The remainder stays with the workers that have the most shards. A worker above its quota releases the
//!   excess. Workers below their quota acquire free shards. A shard of a worker within its quota never moves.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// A failed write is sent again after the lease time divided by this.
const RETRY_DIVISOR: u32 = 12;

/// Time since a fixed point, by this worker's monotonic clock.
pub type MonotonicTime = Duration;

/// A dead worker's heartbeat is deleted after this many lease times without a change.
const DELETE_HEARTBEAT_AFTER: u32 = 10;

/// A lease as the API server returned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// `None` if the lease is free.
    pub holder: Option<String>,
    /// Changes with every write.
    pub version: String,
    /// The lease expires if it does not change for this long.
    pub duration: Duration,
}

/// All leases of an installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub shards: BTreeMap<u32, LeaseRecord>,
    /// Heartbeats, by the name of the worker.
    pub workers: BTreeMap<String, LeaseRecord>,
}

/// A call to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Lists all leases.
    List,
    /// Writes this worker's heartbeat; without a version, creates it.
    Heartbeat(Option<String>),
    /// Deletes a heartbeat: this worker's own at the end, or a dead worker's.
    DeleteHeartbeat(String, String),
    /// Writes this worker's name into a free lease; without a version, creates the lease.
    Acquire(u32, Option<String>),
    /// Renews a lease of this worker.
    Renew(u32, String),
    /// Removes this worker's name from a lease.
    Release(u32, String),
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The answer to [`Call::List`].
    Listed(Listing),
    /// The lease was written, and has this version.
    Written(String),
    Deleted,
    /// The lease has another version than the call named; the current record, if the lease exists.
    Conflict(Option<LeaseRecord>),
    /// No usable answer. The server may have executed the call.
    Unknown,
}

/// A change of a shard, after which lanes have to act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    /// This worker has the shard.
    Acquired {
        shard: u32,
        /// Deliveries must end at this time, unless the lease is renewed.
        until: MonotonicTime,
        /// How long the shard had no worker, as far as this worker saw.
        vacant: Duration,
    },
    /// The lanes of the shard may deliver until this time.
    Renewed(u32, MonotonicTime),
    /// The lanes of the shard have to drain. The caller then calls [`LeasePlanner::drained`].
    Drain(u32),
    /// This worker has released the shard.
    Released(u32),
    /// Another worker has the shard. Its lanes have to end at once.
    Lost(u32),
}

/// The state of one worker.
#[derive(Debug)]
pub struct LeasePlanner {
    /// The name of this worker.
    worker: String,
    shards: u32,
    lease: Duration,
    observed_shards: BTreeMap<u32, ObservedLease>,
    observed_workers: BTreeMap<String, ObservedLease>,
    owned: BTreeMap<u32, OwnedLease>,
    /// Shards with a pending [`Call::Acquire`].
    acquiring: BTreeSet<u32>,
    heartbeat: Heartbeat,
    listing: ListingState,
    leaving: bool,
}

/// A lease, and when this worker last saw it change.
#[derive(Debug)]
struct ObservedLease {
    record: LeaseRecord,
    changed_at: MonotonicTime,
}

impl ObservedLease {
    fn has_expired(&self, now: MonotonicTime) -> bool {
        now.saturating_sub(self.changed_at) > self.record.duration
    }
}

/// The lease of a shard that this worker has.
#[derive(Debug)]
struct OwnedLease {
    version: String,
    /// When the last successful renewal was sent.
    renewed_at: MonotonicTime,
    /// Whether a call for this lease is pending.
    pending: bool,
    /// The next call must not be sent before.
    retry_at: MonotonicTime,
    state: ShardState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShardState {
    Active,
    /// The lanes are draining.
    Draining,
    /// The lanes have ended.
    Drained,
}

#[derive(Debug, Default)]
struct Heartbeat {
    version: Option<String>,
    due: MonotonicTime,
    pending: bool,
    /// The next call must not be sent before.
    retry_at: MonotonicTime,
    /// When the first heartbeat was sent.
    since: Option<MonotonicTime>,
}

#[derive(Debug, Default)]
struct ListingState {
    due: MonotonicTime,
    pending: bool,
    answered_at: MonotonicTime,
}

impl LeasePlanner {
    /// Creates the plan of a worker without shards. The name of the `worker` must be different after a restart.
    pub fn new(worker: &str, shards: u32, lease: Duration) -> Self {
        Self {
            worker: worker.to_owned(),
            shards,
            lease,
            observed_shards: BTreeMap::new(),
            observed_workers: BTreeMap::new(),
            owned: BTreeMap::new(),
            acquiring: BTreeSet::new(),
            heartbeat: Heartbeat::default(),
            listing: ListingState::default(),
            leaving: false,
        }
    }

    /// Returns the calls to send now. The caller asks several times in a third of the lease time, and after each
    /// answer.
    pub fn calls(&mut self, now: MonotonicTime) -> Vec<Call> {
        let mut calls = Vec::new();
        let third = self.lease / 3;
        let heartbeat = &mut self.heartbeat;
        if !heartbeat.pending && now >= heartbeat.retry_at && (self.leaving || now >= heartbeat.due) {
            match (&heartbeat.version, self.leaving) {
                (Some(version), true) => calls.push(Call::DeleteHeartbeat(self.worker.clone(), version.clone())),
                (version, false) => calls.push(Call::Heartbeat(version.clone())),
                (None, true) => {}
            }
            heartbeat.pending = !calls.is_empty();
        }
        if !self.leaving && !self.listing.pending && now >= self.listing.due {
            self.listing.due = now + third;
            self.listing.pending = true;
            calls.push(Call::List);
        }
        for (shard, lease) in self.owned.iter_mut().filter(|(_, lease)| !lease.pending && now >= lease.retry_at) {
            let due = now >= lease.renewed_at + third;
            match lease.state {
                ShardState::Drained => calls.push(Call::Release(*shard, lease.version.clone())),
                ShardState::Active | ShardState::Draining if due => {
                    calls.push(Call::Renew(*shard, lease.version.clone()));
                }
                ShardState::Active | ShardState::Draining => continue,
            }
            lease.pending = true;
        }
        calls
    }

    /// Returns the further calls, and the events, that follow from an answer. `sent` is when the call was sent, `now`
    /// when the answer came.
    pub fn on_answer(
        &mut self,
        call: Call,
        sent: MonotonicTime,
        now: MonotonicTime,
        answer: Answer,
    ) -> (Vec<Call>, Vec<LeaseChange>) {
        if matches!(answer, Answer::Unknown | Answer::Conflict(None)) {
            self.set_retry_at(&call, sent + self.lease / RETRY_DIVISOR);
        }
        match call {
            Call::List => return self.on_list(sent, now, answer),
            Call::Heartbeat(_) => self.on_heartbeat(sent, answer),
            Call::DeleteHeartbeat(worker, _) => self.on_delete_heartbeat(&worker, answer),
            Call::Acquire(shard, _) => return (Vec::new(), self.on_acquire(shard, sent, now, answer)),
            Call::Renew(shard, _) => return (Vec::new(), self.on_renew(shard, sent, answer)),
            Call::Release(shard, _) => return (Vec::new(), self.on_release(shard, answer)),
        }
        (Vec::new(), Vec::new())
    }

    fn set_retry_at(&mut self, call: &Call, retry_at: MonotonicTime) {
        match call {
            Call::Heartbeat(_) => self.heartbeat.retry_at = retry_at,
            Call::DeleteHeartbeat(worker, _) if *worker == self.worker => self.heartbeat.retry_at = retry_at,
            Call::Renew(shard, _) | Call::Release(shard, _) => {
                if let Some(lease) = self.owned.get_mut(shard) {
                    lease.retry_at = retry_at;
                }
            }
            // Listings have a fixed interval. The other calls are repeated after the next listing.
            Call::List | Call::DeleteHeartbeat(..) | Call::Acquire(..) => {}
        }
    }

    /// Makes the next listing due: a lease may be free.
    pub fn list_soon(&mut self, now: MonotonicTime) {
        self.listing.due = self.listing.due.min(now);
    }

    /// Notes that the lanes of a shard have ended, after [`LeaseChange::Drain`].
    pub fn drained(&mut self, shard: u32) {
        if let Some(lease) = self.owned.get_mut(&shard) {
            lease.state = ShardState::Drained;
        }
    }

    /// This worker ends: it acquires nothing more, and its shards drain.
    pub fn leave(&mut self) -> Vec<LeaseChange> {
        self.leaving = true;
        self.drain(self.shards as usize)
    }

    /// Returns whether all leases of this worker are released.
    pub fn has_left(&self) -> bool {
        let has_heartbeat = self.heartbeat.version.is_some() || self.heartbeat.pending;
        self.leaving && self.owned.is_empty() && self.acquiring.is_empty() && !has_heartbeat
    }

    /// Returns the time at which deliveries for a shard of this worker must end.
    pub fn deadline(&self, shard: u32) -> Option<MonotonicTime> {
        self.owned.get(&shard).map(|lease| self.delivery_deadline(lease.renewed_at))
    }

    /// Returns the shards of this worker.
    pub fn owned(&self) -> impl Iterator<Item = u32> {
        self.owned.keys().copied()
    }

    /// Returns the worker of each shard: exact for this worker, and as the last listing shows it for others.
    pub fn holders(&self, now: MonotonicTime) -> BTreeMap<u32, &str> {
        // Left out if expired: the record may name this worker, if the answer to its `Acquire` was lost.
        let valid = self.observed_shards.iter().filter(|(_, observed)| !observed.has_expired(now));
        let others = valid.filter_map(|(shard, observed)| {
            let holder = observed.record.holder.as_deref().filter(|holder| *holder != self.worker)?;
            Some((*shard, holder))
        });
        others.chain(self.owned.keys().map(|shard| (*shard, self.worker.as_str()))).collect()
    }

    /// This worker, and the others whose heartbeats change.
    pub fn members(&self, now: MonotonicTime) -> Vec<&str> {
        let alive = self.observed_workers.iter().filter(|(_, observed)| !observed.has_expired(now));
        let others = alive.map(|(name, _)| name.as_str()).filter(|name| *name != self.worker);
        others.chain((!self.leaving).then_some(self.worker.as_str())).collect()
    }

    fn delivery_deadline(&self, renewed_at: MonotonicTime) -> MonotonicTime {
        renewed_at + self.lease - self.lease / 3
    }

    fn on_heartbeat(&mut self, sent: MonotonicTime, answer: Answer) {
        self.heartbeat.pending = false;
        match answer {
            Answer::Written(version) => {
                self.heartbeat.version = Some(version);
                self.heartbeat.due = sent + self.lease / 3;
                self.heartbeat.since.get_or_insert(sent);
            }
            // Another worker deleted the heartbeat, or an earlier answer was lost.
            Answer::Conflict(current) => self.heartbeat.version = current.map(|record| record.version),
            _ => {}
        }
    }

    fn on_delete_heartbeat(&mut self, worker: &str, answer: Answer) {
        if worker != self.worker {
            return;
        }
        self.heartbeat.pending = false;
        match answer {
            Answer::Deleted | Answer::Conflict(None) => self.heartbeat.version = None,
            Answer::Conflict(Some(record)) => self.heartbeat.version = Some(record.version),
            _ => {}
        }
    }

    fn on_acquire(&mut self, shard: u32, sent: MonotonicTime, now: MonotonicTime, answer: Answer) -> Vec<LeaseChange> {
        self.acquiring.remove(&shard);
        let Answer::Written(version) = answer else { return Vec::new() };
        let observed = self.observed_shards.get(&shard);
        let vacant = observed.map_or(Duration::ZERO, |observed| now.saturating_sub(observed.changed_at));
        let retry_at = MonotonicTime::ZERO;
        let state = ShardState::Active;
        self.owned.insert(shard, OwnedLease { version, renewed_at: sent, pending: false, retry_at, state });
        let mut events = vec![LeaseChange::Acquired { shard, until: self.delivery_deadline(sent), vacant }];
        if self.leaving {
            events.extend(self.drain(1));
        }
        events
    }

    fn on_renew(&mut self, shard: u32, sent: MonotonicTime, answer: Answer) -> Vec<LeaseChange> {
        let until = self.delivery_deadline(sent);
        let Some(lease) = self.owned.get_mut(&shard) else { return Vec::new() };
        lease.pending = false;
        match answer {
            Answer::Written(version) => {
                lease.version = version;
                lease.renewed_at = sent;
                vec![LeaseChange::Renewed(shard, until)]
            }
            Answer::Conflict(Some(record)) if record.holder.as_deref() == Some(&self.worker) => {
                // The server executed an earlier renewal, and its answer was lost. Its time is not known, so the
                // deadline stays.
                lease.version = record.version;
                Vec::new()
            }
            Answer::Conflict(_) => {
                self.owned.remove(&shard);
                vec![LeaseChange::Lost(shard)]
            }
            _ => Vec::new(),
        }
    }

    fn on_release(&mut self, shard: u32, answer: Answer) -> Vec<LeaseChange> {
        let Some(lease) = self.owned.get_mut(&shard) else { return Vec::new() };
        lease.pending = false;
        match answer {
            Answer::Conflict(Some(record)) if record.holder.as_deref() == Some(&self.worker) => {
                lease.version = record.version;
                Vec::new()
            }
            Answer::Written(_) | Answer::Conflict(_) => {
                self.owned.remove(&shard);
                vec![LeaseChange::Released(shard)]
            }
            _ => Vec::new(),
        }
    }

    fn on_list(&mut self, sent: MonotonicTime, now: MonotonicTime, answer: Answer) -> (Vec<Call>, Vec<LeaseChange>) {
        self.listing.pending = false;
        let Answer::Listed(listing) = answer else { return (Vec::new(), Vec::new()) };
        if now.saturating_sub(self.listing.answered_at) > self.lease {
            // The API server may have been unavailable to all workers. The first one that reaches it must not acquire
            // everything.
            let observed = self.observed_shards.values_mut().chain(self.observed_workers.values_mut());
            observed.for_each(|observed| observed.changed_at = now);
        }
        self.listing.answered_at = now;
        observe(&mut self.observed_shards, listing.shards, now);
        observe(&mut self.observed_workers, listing.workers, now);
        // Workers that start together see each other's heartbeats before one of them acquires everything.
        let is_known = self.heartbeat.since.is_some_and(|since| sent >= since + self.lease / 3);
        if self.leaving || !is_known {
            return (Vec::new(), Vec::new());
        }
        let quota = self.quota(now);
        let active = self.owned.values().filter(|lease| lease.state == ShardState::Active).count();
        let own = active + self.acquiring.len();
        let events = self.drain(own.saturating_sub(quota));
        let mut calls = self.acquire(quota.saturating_sub(own), now);
        calls.extend(self.delete_expired_heartbeats(now));
        (calls, events)
    }

    /// Returns the number of shards that this worker should have.
    fn quota(&self, now: MonotonicTime) -> usize {
        let members = self.members(now);
        let holders = self.holders(now);
        let count = |name: &str| holders.values().filter(|holder| **holder == name).count();
        let own = (count(&self.worker), self.worker.as_str());
        let counts = members.iter().map(|name| (count(name), *name));
        let rank = counts.filter(|other| other.0 > own.0 || (other.0 == own.0 && other.1 < own.1)).count();
        let shards = self.shards as usize;
        let workers = members.len().max(1);
        shards / workers + usize::from(rank < shards % workers)
    }

    /// Starts to drain `count` of the active shards.
    fn drain(&mut self, count: usize) -> Vec<LeaseChange> {
        let active = self.owned.iter_mut().rev().filter(|(_, lease)| lease.state == ShardState::Active);
        let drained = active.take(count).map(|(shard, lease)| {
            lease.state = ShardState::Draining;
            LeaseChange::Drain(*shard)
        });
        drained.collect()
    }

    fn acquire(&mut self, count: usize, now: MonotonicTime) -> Vec<Call> {
        let mut free: Vec<u32> = (0..self.shards).filter(|shard| self.is_free(*shard, now)).collect();
        // Each worker has another order, so that they do not all try the same shards.
        free.sort_by_key(|shard| {
            let mut hasher = DefaultHasher::new();
            (&self.worker, shard).hash(&mut hasher);
            hasher.finish()
        });
        free.truncate(count);
        self.acquiring.extend(&free);
        let version = |shard| self.observed_shards.get(shard).map(|observed| observed.record.version.clone());
        free.iter().map(|shard| Call::Acquire(*shard, version(shard))).collect()
    }

    fn is_free(&self, shard: u32, now: MonotonicTime) -> bool {
        if self.owned.contains_key(&shard) || self.acquiring.contains(&shard) {
            return false;
        }
        let Some(observed) = self.observed_shards.get(&shard) else { return true };
        match &observed.record.holder {
            None => true,
            // The answer to this worker's `Acquire` was lost.
            Some(holder) if *holder == self.worker => true,
            Some(_) => observed.has_expired(now),
        }
    }

    fn delete_expired_heartbeats(&mut self, now: MonotonicTime) -> Vec<Call> {
        let dead = self.observed_workers.iter().filter(|(name, observed)| {
            let unchanged_for = now.saturating_sub(observed.changed_at);
            **name != self.worker && unchanged_for > observed.record.duration * DELETE_HEARTBEAT_AFTER
        });
        dead.map(|(name, observed)| Call::DeleteHeartbeat(name.clone(), observed.record.version.clone())).collect()
    }
}

/// Updates `observed` from a listing, and notes which leases changed.
fn observe<K: Ord>(observed: &mut BTreeMap<K, ObservedLease>, listed: BTreeMap<K, LeaseRecord>, now: MonotonicTime) {
    observed.retain(|name, _| listed.contains_key(name));
    for (name, record) in listed {
        match observed.get_mut(&name) {
            Some(known) if known.record.version == record.version => {}
            Some(known) => *known = ObservedLease { record, changed_at: now },
            None => {
                observed.insert(name, ObservedLease { record, changed_at: now });
            }
        }
    }
}

#[cfg(test)]
mod tests;
