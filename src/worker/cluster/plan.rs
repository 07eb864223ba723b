//! What a worker does about shards: which calls to the API server it makes, and what follows from the answers.
//!
//! Pure: time is passed in, calls are handed out and their answers handed back, nothing waits. The rules:
//!
//! - A lease that is held is renewed every third of its time. What may be delivered ends two thirds after the *sending* of
//!   the last renewal that succeeded, so that it ends well before anybody else takes the shard.
//! - Somebody else's lease has expired when it was not seen to change for its whole time. Clocks are not compared, and who
//!   could not look for as long has seen nothing: the time begins anew.
//! - Every write names the version that was read: whoever comes second fails.
//! - A write that came to nothing is made again a twelfth of the lease after it was sent, at the earliest: an API server that
//!   refuses at once, as one that is away or overloaded does, is not asked without pause.
//! - Each worker has a heartbeat of its own. Shards are divided evenly among those whose heartbeats change; who has most
//!   keeps the odd ones. Who has more than its part gives up what is over; what is free is taken by those who have less.
//!   A shard whose holder is within its part never moves.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The part of the lease from one try of a write to the next, where an answer that says nothing came sooner.
const PAUSE: u32 = 12;

/// A moment of this worker's own, steady clock.
pub type Moment = Duration;

/// After so many lease times without a change, what a dead worker left of its heartbeat is removed.
const BURIED_AFTER: u32 = 10;

/// A lease as the API server showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whose it is.
    pub holder: Option<String>,
    /// Changes with every write.
    pub version: String,
    /// How long it lasts without a change.
    pub lasts: Duration,
}

/// All leases of an installation, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// By number.
    pub shards: BTreeMap<u32, Seen>,
    /// Heartbeats by the name of the worker.
    pub workers: BTreeMap<String, Seen>,
}

/// A call to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// All leases.
    List,
    /// Writes the own heartbeat; without a version it is created.
    Beat(Option<String>),
    /// Removes a heartbeat: the own one at the end, or that of a worker long dead.
    Bury(String, String),
    /// Writes the own name into a free lease; without a version it is created.
    Take(u32, Option<String>),
    /// Renews a lease that is held.
    Renew(u32, String),
    /// Takes the own name out of a lease.
    Release(u32, String),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To `List`.
    Listed(Listing),
    /// It was written; the new version.
    Written(String),
    /// It is gone, as it should be.
    Removed,
    /// Something else was written since that version; what is there now, if anything.
    Conflict(Option<Seen>),
    /// No answer, or none that helps: whether the call was carried out is not known.
    Unknown,
}

/// What follows for the lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The shard is this worker's, and its lanes may deliver until then.
    Acquired {
        /// The shard.
        shard: u32,
        /// When delivering ends unless the lease is renewed.
        until: Moment,
        /// For how long nobody had it, as far as this worker saw.
        vacant: Duration,
    },
    /// Its lanes may deliver until then.
    Renewed(u32, Moment),
    /// Its lanes are to drain; [`Plan::drained`] follows.
    GiveUp(u32),
    /// It was given back.
    Released(u32),
    /// It is somebody else's: its lanes are to end at once.
    Lost(u32),
}

/// The shards of one worker.
#[derive(Debug)]
pub struct Plan {
    me: String,
    shards: u32,
    lease: Duration,
    seen_shards: BTreeMap<u32, Watched>,
    seen_workers: BTreeMap<String, Watched>,
    held: BTreeMap<u32, Held>,
    /// Shards of which a `Take` is under way.
    taking: BTreeSet<u32>,
    beat: Beat,
    list: Looking,
    leaving: bool,
}

/// A lease, and when it was last seen to change.
#[derive(Debug)]
struct Watched {
    seen: Seen,
    changed: Moment,
}

impl Watched {
    fn has_expired(&self, now: Moment) -> bool {
        now.saturating_sub(self.changed) > self.seen.lasts
    }
}

#[derive(Debug)]
struct Held {
    version: String,
    /// When the last renewal that succeeded was sent.
    sent: Moment,
    /// A call on it is under way.
    busy: bool,
    /// No call before.
    rests_until: Moment,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// Its lanes drain.
    GivingUp,
    /// They have ended.
    Drained,
}

#[derive(Debug, Default)]
struct Beat {
    version: Option<String>,
    due: Moment,
    busy: bool,
    /// No call before.
    rests_until: Moment,
    /// When the first one was written.
    since: Option<Moment>,
}

/// Asking for all leases.
#[derive(Debug, Default)]
struct Looking {
    due: Moment,
    busy: bool,
    /// When leases were seen last.
    answered: Moment,
}

impl Plan {
    /// A worker that knows nothing yet. `me` must be unique over restarts.
    pub fn new(me: &str, shards: u32, lease: Duration) -> Self {
        Self {
            me: me.to_owned(),
            shards,
            lease,
            seen_shards: BTreeMap::new(),
            seen_workers: BTreeMap::new(),
            held: BTreeMap::new(),
            taking: BTreeSet::new(),
            beat: Beat::default(),
            list: Looking::default(),
            leaving: false,
        }
    }

    /// The calls to make now. To be asked several times in a third of the lease, and after each answer.
    pub fn calls(&mut self, now: Moment) -> Vec<Call> {
        let mut calls = Vec::new();
        let third = self.lease / 3;
        if !self.beat.busy && now >= self.beat.rests_until && (self.leaving || now >= self.beat.due) {
            match (&self.beat.version, self.leaving) {
                (Some(version), true) => calls.push(Call::Bury(self.me.clone(), version.clone())),
                (version, false) => calls.push(Call::Beat(version.clone())),
                (None, true) => {}
            }
            self.beat.busy = !calls.is_empty();
        }
        if !self.leaving && !self.list.busy && now >= self.list.due {
            (self.list.due, self.list.busy) = (now + third, true);
            calls.push(Call::List);
        }
        for (shard, held) in self.held.iter_mut().filter(|(_, held)| !held.busy && now >= held.rests_until) {
            let due = now >= held.sent + third;
            match held.phase {
                Phase::Drained => calls.push(Call::Release(*shard, held.version.clone())),
                Phase::Working | Phase::GivingUp if due => calls.push(Call::Renew(*shard, held.version.clone())),
                Phase::Working | Phase::GivingUp => continue,
            }
            held.busy = true;
        }
        calls
    }

    /// What follows from an answer: further calls, and events. `sent` is when the call was sent, `now` when the answer came.
    pub fn answered(&mut self, call: Call, sent: Moment, now: Moment, answer: Answer) -> (Vec<Call>, Vec<Event>) {
        if matches!(answer, Answer::Unknown | Answer::Conflict(None)) {
            self.rest(&call, sent + self.lease / PAUSE);
        }
        match call {
            Call::List => return self.listed(sent, now, answer),
            Call::Beat(_) => self.beaten(sent, answer),
            Call::Bury(worker, _) => self.buried(&worker, answer),
            Call::Take(shard, _) => return (Vec::new(), self.taken(shard, sent, now, answer)),
            Call::Renew(shard, _) => return (Vec::new(), self.renewed(shard, sent, answer)),
            Call::Release(shard, _) => return (Vec::new(), self.released(shard, answer)),
        }
        (Vec::new(), Vec::new())
    }

    fn rest(&mut self, call: &Call, until: Moment) {
        match call {
            Call::Beat(_) => self.beat.rests_until = until,
            Call::Bury(worker, _) if *worker == self.me => self.beat.rests_until = until,
            Call::Renew(shard, _) | Call::Release(shard, _) => {
                if let Some(held) = self.held.get_mut(shard) {
                    held.rests_until = until;
                }
            }
            // Made again after the next listing, which has a pace of its own.
            Call::List | Call::Bury(..) | Call::Take(..) => {}
        }
    }

    /// Something may have become free: look soon.
    pub fn wake(&mut self, now: Moment) {
        self.list.due = self.list.due.min(now);
    }

    /// The lanes of a shard have ended, after [`Event::GiveUp`] or [`Self::leave`].
    pub fn drained(&mut self, shard: u32) {
        if let Some(held) = self.held.get_mut(&shard) {
            held.phase = Phase::Drained;
        }
    }

    /// The worker ends: it takes nothing more, and its shards are to drain.
    pub fn leave(&mut self) -> Vec<Event> {
        self.leaving = true;
        self.give_up(self.shards as usize)
    }

    /// Nothing is left to give back.
    pub fn has_left(&self) -> bool {
        self.leaving && self.held.is_empty() && self.taking.is_empty() && self.beat.version.is_none() && !self.beat.busy
    }

    /// When delivering for a shard ends, where it is held.
    #[cfg(test)]
    pub fn deadline(&self, shard: u32) -> Option<Moment> {
        self.held.get(&shard).map(|held| self.until(held.sent))
    }

    /// Shards that this worker has.
    pub fn held(&self) -> impl Iterator<Item = u32> {
        self.held.keys().copied()
    }

    /// Who holds which shard, as far as was seen; of its own shards a worker knows for certain.
    pub fn holders(&self, now: Moment) -> BTreeMap<u32, &str> {
        // One that has expired may be of a living worker, whose call to take it came through and the answer did not.
        let valid = self.seen_shards.iter().filter(|(_, watched)| !watched.has_expired(now));
        let seen = valid.filter_map(|(shard, watched)| {
            let holder = watched.seen.holder.as_deref().filter(|holder| *holder != self.me)?;
            Some((*shard, holder))
        });
        seen.chain(self.held.keys().map(|shard| (*shard, self.me.as_str()))).collect()
    }

    /// Workers whose heartbeats change, this one among them.
    pub fn members(&self, now: Moment) -> Vec<&str> {
        let alive = self.seen_workers.iter().filter(|(_, watched)| !watched.has_expired(now));
        let others = alive.map(|(name, _)| name.as_str()).filter(|name| *name != self.me);
        others.chain((!self.leaving).then_some(self.me.as_str())).collect()
    }

    fn until(&self, sent: Moment) -> Moment {
        sent + self.lease - self.lease / 3
    }

    fn beaten(&mut self, sent: Moment, answer: Answer) {
        self.beat.busy = false;
        match answer {
            Answer::Written(version) => {
                self.beat.version = Some(version);
                self.beat.due = sent + self.lease / 3;
                self.beat.since.get_or_insert(sent);
            }
            // Somebody buried this worker, or an answer was lost.
            Answer::Conflict(there) => self.beat.version = there.map(|seen| seen.version),
            _ => {}
        }
    }

    fn buried(&mut self, worker: &str, answer: Answer) {
        if worker != self.me {
            return;
        }
        self.beat.busy = false;
        match answer {
            Answer::Removed | Answer::Conflict(None) => self.beat.version = None,
            Answer::Conflict(Some(seen)) => self.beat.version = Some(seen.version),
            _ => {}
        }
    }

    fn taken(&mut self, shard: u32, sent: Moment, now: Moment, answer: Answer) -> Vec<Event> {
        self.taking.remove(&shard);
        let Answer::Written(version) = answer else { return Vec::new() };
        let vacant = self.seen_shards.get(&shard).map_or(Duration::ZERO, |seen| now.saturating_sub(seen.changed));
        let rests_until = Moment::ZERO;
        self.held.insert(shard, Held { version, sent, busy: false, rests_until, phase: Phase::Working });
        let mut events = vec![Event::Acquired { shard, until: self.until(sent), vacant }];
        if self.leaving {
            events.extend(self.give_up(1));
        }
        events
    }

    fn renewed(&mut self, shard: u32, sent: Moment, answer: Answer) -> Vec<Event> {
        let until = self.until(sent);
        let Some(held) = self.held.get_mut(&shard) else { return Vec::new() };
        held.busy = false;
        match answer {
            Answer::Written(version) => {
                (held.version, held.sent) = (version, sent);
                vec![Event::Renewed(shard, until)]
            }
            Answer::Conflict(Some(seen)) if seen.holder.as_deref() == Some(&self.me) => {
                // An earlier renewal was written and its answer lost. When it was sent is not known any more.
                held.version = seen.version;
                Vec::new()
            }
            Answer::Conflict(_) => {
                self.held.remove(&shard);
                vec![Event::Lost(shard)]
            }
            _ => Vec::new(),
        }
    }

    fn released(&mut self, shard: u32, answer: Answer) -> Vec<Event> {
        let Some(held) = self.held.get_mut(&shard) else { return Vec::new() };
        held.busy = false;
        match answer {
            Answer::Conflict(Some(seen)) if seen.holder.as_deref() == Some(&self.me) => {
                held.version = seen.version;
                Vec::new()
            }
            Answer::Written(_) | Answer::Conflict(_) => {
                self.held.remove(&shard);
                vec![Event::Released(shard)]
            }
            _ => Vec::new(),
        }
    }

    fn listed(&mut self, sent: Moment, now: Moment, answer: Answer) -> (Vec<Call>, Vec<Event>) {
        self.list.busy = false;
        let Answer::Listed(listing) = answer else { return (Vec::new(), Vec::new()) };
        if now.saturating_sub(self.list.answered) > self.lease {
            // The API server was away for all, perhaps: whoever is there first must not take everything.
            let seen = self.seen_shards.values_mut().chain(self.seen_workers.values_mut());
            seen.for_each(|watched| watched.changed = now);
        }
        self.list.answered = now;
        watch(&mut self.seen_shards, listing.shards, now);
        watch(&mut self.seen_workers, listing.workers, now);
        // Workers that start together see each other before one of them takes everything.
        let is_known = self.beat.since.is_some_and(|since| sent >= since + self.lease / 3);
        if self.leaving || !is_known {
            return (Vec::new(), Vec::new());
        }
        let quota = self.quota(now);
        let mine = self.held.values().filter(|held| held.phase == Phase::Working).count() + self.taking.len();
        let events = self.give_up(mine.saturating_sub(quota));
        let mut calls = self.take(quota.saturating_sub(mine), now);
        calls.extend(self.bury(now));
        (calls, events)
    }

    /// How many shards are this worker's part.
    fn quota(&self, now: Moment) -> usize {
        let members = self.members(now);
        let holders = self.holders(now);
        let has = |name: &str| holders.values().filter(|holder| **holder == name).count();
        let mine = (has(&self.me), self.me.as_str());
        let before = members.iter().map(|name| (has(name), *name));
        let rank = before.filter(|other| other.0 > mine.0 || (other.0 == mine.0 && other.1 < mine.1)).count();
        let (shards, workers) = (self.shards as usize, members.len().max(1));
        shards / workers + usize::from(rank < shards % workers)
    }

    /// `count` shards that are not given up yet begin to drain.
    fn give_up(&mut self, count: usize) -> Vec<Event> {
        let working = self.held.iter_mut().rev().filter(|(_, held)| held.phase == Phase::Working);
        let given = working.take(count).map(|(shard, held)| {
            held.phase = Phase::GivingUp;
            Event::GiveUp(*shard)
        });
        given.collect()
    }

    fn take(&mut self, count: usize, now: Moment) -> Vec<Call> {
        let mut free: Vec<u32> = (0..self.shards).filter(|shard| self.is_free(*shard, now)).collect();
        // Each worker begins elsewhere, so that they do not all reach for the same.
        free.sort_by_key(|shard| {
            let mut hasher = DefaultHasher::new();
            (&self.me, shard).hash(&mut hasher);
            hasher.finish()
        });
        free.truncate(count);
        self.taking.extend(&free);
        let version = |shard| self.seen_shards.get(shard).map(|watched| watched.seen.version.clone());
        free.iter().map(|shard| Call::Take(*shard, version(shard))).collect()
    }

    fn is_free(&self, shard: u32, now: Moment) -> bool {
        if self.held.contains_key(&shard) || self.taking.contains(&shard) {
            return false;
        }
        let Some(watched) = self.seen_shards.get(&shard) else { return true };
        match &watched.seen.holder {
            None => true,
            // Taken by a call whose answer was lost.
            Some(holder) if *holder == self.me => true,
            Some(_) => watched.has_expired(now),
        }
    }

    fn bury(&mut self, now: Moment) -> Vec<Call> {
        let dead = self.seen_workers.iter().filter(|(name, watched)| {
            **name != self.me && now.saturating_sub(watched.changed) > watched.seen.lasts * BURIED_AFTER
        });
        dead.map(|(name, watched)| Call::Bury(name.clone(), watched.seen.version.clone())).collect()
    }
}

/// Takes over what was seen, and notes what changed.
fn watch<K: Ord>(known: &mut BTreeMap<K, Watched>, seen: BTreeMap<K, Seen>, now: Moment) {
    known.retain(|name, _| seen.contains_key(name));
    for (name, seen) in seen {
        match known.get_mut(&name) {
            Some(watched) if watched.seen.version == seen.version => {}
            Some(watched) => *watched = Watched { seen, changed: now },
            None => {
                known.insert(name, Watched { seen, changed: now });
            }
        }
    }
}

#[cfg(test)]
mod tests;
