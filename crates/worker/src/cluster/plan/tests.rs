//! Simulates workers and an API server without a network. Calls take any time and answers are lost. Workers freeze,
//! lose the connection, crash, join and leave.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(1250);
/// A caller's timeout for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Incident {
    Tick,
    /// The call receive_call at the server, whether or not its sender still waits.
    CallArrives(u64, Call),
    /// The caller receives the answer, or its timeout passes.
    CallEnds(u64),
    /// The lanes of the shard have ended.
    Drained(u32),
}

struct PendingCall {
    call: Call,
    sent: MonotonicTime,
    answer: Answer,
}

struct Worker {
    name: String,
    plan: LeasePlanner,
    until: BTreeMap<u32, MonotonicTime>,
    pending: BTreeMap<u64, PendingCall>,
    frozen_until: MonotonicTime,
    disconnected_until: MonotonicTime,
    crashed: bool,
}

struct Simulation {
    shards: u32,
    now: MonotonicTime,
    random: Rng,
    /// Maximum latency of calls and answers.
    latency: Duration,
    /// Lost answers per thousand.
    losses: u32,
    /// If set, the server answers every call at once with this.
    refuses: Option<Answer>,
    /// Number of calls sent.
    calls: usize,
    /// Maximum time to drain a shard.
    drain: Duration,
    next: u64,
    version: u64,
    stored: Listing,
    workers: Vec<Worker>,
    queue: BinaryHeap<Reverse<(MonotonicTime, u64, usize)>>,
    incidents: BTreeMap<u64, Incident>,
    acquired: usize,
}

impl Simulation {
    fn new(shards: u32, seed: u64) -> Self {
        Self {
            shards,
            now: MonotonicTime::ZERO,
            random: Rng::with_seed(seed),
            latency: Duration::from_millis(50),
            losses: 0,
            refuses: None,
            calls: 0,
            drain: Duration::from_millis(200),
            next: 0,
            version: 0,
            stored: Listing::default(),
            workers: Vec::new(),
            queue: BinaryHeap::new(),
            incidents: BTreeMap::new(),
            acquired: 0,
        }
    }

    fn join(&mut self) {
        let index = self.workers.len();
        let name = format!("worker-{index}");
        let plan = LeasePlanner::new(&name, self.shards, LEASE);
        let until = BTreeMap::new();
        let pending = BTreeMap::new();
        let [frozen_until, disconnected_until] = [MonotonicTime::ZERO; 2];
        self.workers.push(Worker { name, plan, until, pending, frozen_until, disconnected_until, crashed: false });
        self.at(self.now, index, Incident::Tick);
    }

    fn at(&mut self, when: MonotonicTime, worker: usize, incident: Incident) {
        self.next += 1;
        self.incidents.insert(self.next, incident);
        self.queue.push(Reverse((when, self.next, worker)));
    }

    fn random_up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64().powi(2))
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((when, id, worker))) = self.queue.peek().cloned().filter(|next| next.0.0 <= end) {
            self.queue.pop();
            let incident = self.incidents.remove(&id).unwrap();
            self.now = when;
            self.run_incident(worker, incident);
            self.check();
        }
        self.now = end;
    }

    fn run_incident(&mut self, index: usize, incident: Incident) {
        if let Incident::CallArrives(id, call) = incident {
            return self.receive_call(index, id, &call);
        }
        let worker = &mut self.workers[index];
        if worker.crashed {
            return;
        }
        if worker.frozen_until > self.now {
            let then = worker.frozen_until;
            return self.at(then, index, incident);
        }
        let (calls, events) = match incident {
            Incident::Tick => {
                self.at(self.now + TICK, index, Incident::Tick);
                (Vec::new(), Vec::new())
            }
            Incident::CallEnds(id) => match worker.pending.remove(&id) {
                Some(PendingCall { call, sent, answer }) => worker.plan.on_answer(call, sent, self.now, answer),
                None => return,
            },
            Incident::Drained(shard) => {
                // The lanes deliver nothing more, even if the lease still allows it.
                worker.until.remove(&shard);
                worker.plan.drained(shard);
                (Vec::new(), Vec::new())
            }
            Incident::CallArrives(..) => unreachable!(),
        };
        self.apply_events(index, events);
        let more = self.workers[index].plan.calls(self.now);
        calls.into_iter().chain(more).for_each(|call| self.send(index, call));
    }

    fn apply_events(&mut self, index: usize, events: Vec<LeaseChange>) {
        for event in events {
            let worker = &mut self.workers[index];
            match event {
                LeaseChange::Acquired { shard, until, .. } => {
                    self.acquired += 1;
                    worker.until.insert(shard, until);
                }
                LeaseChange::Renewed(shard, until) => {
                    worker.until.entry(shard).and_modify(|deadline| *deadline = until);
                }
                LeaseChange::Drain(shard) => {
                    let after = self.random_up_to(self.drain);
                    self.at(self.now + after, index, Incident::Drained(shard));
                }
                LeaseChange::Released(shard) | LeaseChange::Lost(shard) => {
                    worker.until.remove(&shard);
                }
            }
            let worker = &self.workers[index];
            let reported: Vec<_> = worker.until.iter().map(|(shard, until)| (*shard, Some(*until))).collect();
            assert!(reported.iter().all(|(shard, until)| worker.plan.deadline(*shard) == *until), "wrong deadline");
        }
    }

    fn send(&mut self, index: usize, call: Call) {
        self.calls += 1;
        let id = self.next + 1;
        let delay = self.random_up_to(self.latency);
        let sent = self.now;
        let is_disconnected = self.workers[index].disconnected_until > self.now;
        let answer = self.refuses.clone().unwrap_or(Answer::Unknown);
        self.workers[index].pending.insert(id, PendingCall { call: call.clone(), sent, answer });
        if self.refuses.is_some() {
            return self.at(sent + Duration::from_millis(1), index, Incident::CallEnds(id));
        }
        if is_disconnected {
            self.next += 1;
        } else {
            self.at(sent + delay, index, Incident::CallArrives(id, call));
        }
        self.at(sent + CALL_TIMEOUT, index, Incident::CallEnds(id));
    }

    fn receive_call(&mut self, index: usize, id: u64, call: &Call) {
        let name = self.workers[index].name.clone();
        let answer = self.execute(&name, call);
        let back = self.random_up_to(self.latency);
        let is_lost = self.random.u32(..1000) < self.losses || self.workers[index].disconnected_until > self.now;
        if let Some(pending) = self.workers[index].pending.get_mut(&id)
            && !is_lost
        {
            pending.answer = answer;
            self.at(self.now + back, index, Incident::CallEnds(id));
        }
    }

    fn execute(&mut self, name: &str, call: &Call) -> Answer {
        self.version += 1;
        let version = self.version.to_string();
        let write = |current: Option<&LeaseRecord>, expected: Option<&String>, holder: Option<&str>| {
            if current.map(|record| &record.version) != expected {
                return Err(Answer::Conflict(current.cloned()));
            }
            Ok(LeaseRecord { holder: holder.map(str::to_owned), version: version.clone(), duration: LEASE })
        };
        let shards = &mut self.stored.shards;
        let workers = &mut self.stored.workers;
        let written = match call {
            Call::List => return Answer::Listed(self.stored.clone()),
            Call::DeleteHeartbeat(worker, version) => match workers.get(worker) {
                Some(record) if record.version != *version => return Answer::Conflict(Some(record.clone())),
                _ => {
                    workers.remove(worker);
                    return Answer::Deleted;
                }
            },
            Call::Heartbeat(version) => write(workers.get(name), version.as_ref(), Some(name)).map(|record| {
                workers.insert(name.to_owned(), record);
            }),
            Call::Acquire(shard, version) => write(shards.get(shard), version.as_ref(), Some(name)).map(|record| {
                shards.insert(*shard, record);
            }),
            Call::Renew(shard, version) => write(shards.get(shard), Some(version), Some(name)).map(|record| {
                shards.insert(*shard, record);
            }),
            Call::Release(shard, version) => write(shards.get(shard), Some(version), None).map(|record| {
                shards.insert(*shard, record);
            }),
        };
        written.map_or_else(|conflict| conflict, |()| Answer::Written(version))
    }

    /// Checks that at most one worker may deliver for a shard, crashed and frozen workers included.
    fn check(&self) {
        for shard in 0..self.shards {
            let may = |worker: &&Worker| worker.until.get(&shard).is_some_and(|until| *until > self.now);
            let may: Vec<_> = self.workers.iter().filter(may).map(|worker| &worker.name).collect();
            assert!(may.len() <= 1, "{may:?} may deliver for shard {shard} at {:?}", self.now);
        }
    }

    fn counts(&self) -> Vec<usize> {
        let working = self.workers.iter().filter(|worker| !worker.crashed && !worker.plan.leaving);
        working.map(|worker| worker.until.values().filter(|until| **until > self.now).count()).collect()
    }

    fn assert_even(&self) {
        let counts = self.counts();
        let all = counts.iter().sum::<usize>();
        let owned = || self.workers.iter().map(|worker| (&worker.name, worker.crashed, &worker.plan.owned));
        let owned = || owned().collect::<Vec<_>>();
        assert_eq!(all, self.shards as usize, "{counts:?} at {:?}: {:?} {:?}", self.now, self.stored, owned());
        let least = counts.iter().min().unwrap();
        let most = counts.iter().max().unwrap();
        assert!(most - least <= 1, "{counts:?}");
    }

    /// Causes one random failure, or none.
    fn disturb(&mut self) {
        let count = self.workers.len();
        let index = self.random.usize(..count);
        let alive = self.workers.iter().filter(|worker| !worker.crashed && !worker.plan.leaving).count();
        let time = self.random_up_to(LEASE * 4);
        let now = self.now;
        match self.random.u32(..7) {
            0 => self.workers[index].frozen_until = now + time,
            1 => self.workers[index].disconnected_until = now + time,
            2 => self.workers.iter_mut().for_each(|worker| worker.disconnected_until = now + time),
            3 if alive > 1 => self.workers[index].crashed = true,
            4 if alive > 1 => {
                let events = self.workers[index].plan.leave();
                self.apply_events(index, events);
            }
            5 if alive < 6 => self.join(),
            _ => {}
        }
    }
}

fn cases() -> u32 {
    std::env::var("S1_FORWARDER_CLUSTER_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_shard_ever_has_two_workers_and_in_the_end_all_are_shared_evenly(
        seed in any::<u64>(),
        shards in 1..24_u32,
        workers in 1..5_usize,
        latency in 1..20_000_u64,
        losses in 0..300_u32,
    ) {
        let mut simulation = Simulation::new(shards, seed);
        (0..workers).for_each(|_| simulation.join());
        simulation.latency = Duration::from_millis(latency);
        simulation.losses = losses;
        simulation.drain = LEASE * 2;
        for _ in 0..20 {
            let time = simulation.random_up_to(LEASE * 2);
            simulation.run_for(time);
            simulation.disturb();
        }
        simulation.latency = Duration::from_millis(50);
        simulation.losses = 0;
        simulation.drain = Duration::from_millis(200);
        let now = simulation.now;
        for worker in &mut simulation.workers {
            worker.disconnected_until = now;
            worker.frozen_until = worker.frozen_until.min(now);
        }
        simulation.run_for(LEASE * 12);
        simulation.assert_even();
        // Heartbeats of dead workers are deleted, and no shard moves.
        simulation.run_for(LEASE * (DELETE_HEARTBEAT_AFTER + 2));
        let acquired = simulation.acquired;
        let alive = simulation.counts().len();
        prop_assert_eq!(simulation.stored.workers.len(), alive);
        simulation.run_for(LEASE * 20);
        prop_assert_eq!(simulation.acquired, acquired);
        simulation.assert_even();
    }

    #[test]
    fn a_worker_that_joins_or_leaves_moves_at_most_its_quota(seed in any::<u64>(), shards in 1..40_u32, workers in 1..6_usize) {
        let mut simulation = Simulation::new(shards, seed);
        (0..workers).for_each(|_| simulation.join());
        simulation.run_for(LEASE * 3);
        simulation.assert_even();
        // At the start no shard is acquired twice.
        prop_assert_eq!(simulation.acquired, shards as usize);

        simulation.join();
        simulation.run_for(LEASE * 4);
        simulation.assert_even();
        let part = (shards as usize).div_ceil(workers + 1);
        let moved = simulation.acquired - shards as usize;
        prop_assert!(moved <= part, "{} moved for a part of {}", moved, part);

        let before = simulation.acquired;
        let gone = simulation.random.usize(..workers);
        let events = simulation.workers[gone].plan.leave();
        simulation.apply_events(gone, events);
        simulation.run_for(LEASE * 4);
        simulation.assert_even();
        prop_assert!(simulation.acquired - before <= part, "{} moved for a part of {}", simulation.acquired - before, part);
        prop_assert!(simulation.workers[gone].plan.has_left());
    }
}

#[test]
fn a_dead_workers_shards_are_acquired_after_its_lease_and_not_before() {
    let mut simulation = Simulation::new(8, 1);
    (0..2).for_each(|_| simulation.join());
    simulation.run_for(LEASE * 3);
    let started_at = simulation.now;
    let before = simulation.acquired;
    simulation.workers[0].crashed = true;
    simulation.run_for(LEASE - LEASE / 3 - TICK);
    assert_eq!(simulation.acquired, before, "acquired too early");
    while simulation.counts() != [8] {
        simulation.run_for(TICK);
        assert!(simulation.now - started_at < LEASE + LEASE / 3 + TICK * 2, "{:?}", simulation.counts());
    }
}

#[test]
fn workers_without_the_api_server_stop_in_time_and_continue_with_the_same_shards() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(8, seed);
        for _ in 0..3 {
            simulation.join();
            // The workers list and renew at different times, so that some have seen the last writes of the others.
            let later = simulation.random_up_to(LEASE);
            simulation.run_for(later);
        }
        simulation.run_for(LEASE * 6);
        let before = simulation.acquired;
        let now = simulation.now;
        // The workers reach the API server again at different times.
        for worker in &mut simulation.workers {
            let later = Duration::from_millis(simulation.random.u64(..10_000));
            worker.disconnected_until = now + LEASE * 4 + later;
        }
        simulation.run_for(LEASE * 2 / 3 + TICK);
        assert_eq!(simulation.counts(), [0, 0, 0]);
        simulation.run_for(LEASE * 6);
        simulation.assert_even();
        assert_eq!(simulation.acquired, before, "a shard moved");
    }
}

/// Either it is unavailable or overloaded, or a gateway in front of it does not know the path.
#[test]
fn an_api_server_that_refuses_at_once_does_not_get_calls_without_pause() {
    for answer in [Answer::Unknown, Answer::Conflict(None)] {
        let mut simulation = Simulation::new(8, 1);
        (0..2).for_each(|_| simulation.join());
        simulation.run_for(LEASE * 3);
        simulation.assert_even();
        simulation.refuses = Some(answer.clone());
        // One worker leaves, and tries to release its shards.
        let events = simulation.workers[0].plan.leave();
        simulation.apply_events(0, events);
        let calls = simulation.calls;
        let leases = 4;
        simulation.run_for(LEASE * leases);
        // One call per shard, and per worker a heartbeat and a listing.
        let most = (8 + 2 * 2) * (leases * RETRY_DIVISOR + 1) as usize;
        assert!(
            simulation.calls - calls <= most,
            "{} calls after {answer:?}, {most} at most",
            simulation.calls - calls
        );
        simulation.refuses = None;
        simulation.run_for(LEASE * 4);
        simulation.assert_even();
        assert!(simulation.workers[0].plan.has_left());
    }
}
