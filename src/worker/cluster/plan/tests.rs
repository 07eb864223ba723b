//! Workers and an API server in a world without a network, where calls take any time, answers are lost, and workers
//! freeze, are cut off, come and go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(1250);
/// The caller's patience with one call.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Happening {
    Tick,
    /// The call arrives at the server, whether or not its sender still waits.
    Arrives(u64, Call),
    /// The caller hears of it, or gives up waiting.
    Ends(u64),
    /// The lanes of the shard have ended.
    Drained(u32),
}

struct Under {
    call: Call,
    sent: Moment,
    answer: Answer,
}

struct Worker {
    name: String,
    plan: Plan,
    until: BTreeMap<u32, Moment>,
    under: BTreeMap<u64, Under>,
    frozen_until: Moment,
    cut_off_until: Moment,
    crashed: bool,
}

struct World {
    shards: u32,
    now: Moment,
    random: Rng,
    /// How long things take at most, and how often answers are lost, in a thousand.
    latency: Duration,
    losses: u32,
    /// The server answers at once, and always so.
    refuses: Option<Answer>,
    /// How many calls were made.
    calls: usize,
    drain: Duration,
    next: u64,
    version: u64,
    there: Listing,
    workers: Vec<Worker>,
    queue: BinaryHeap<Reverse<(Moment, u64, usize)>>,
    happenings: BTreeMap<u64, Happening>,
    acquired: usize,
}

impl World {
    fn new(shards: u32, seed: u64) -> Self {
        Self {
            shards,
            now: Moment::ZERO,
            random: Rng::with_seed(seed),
            latency: Duration::from_millis(50),
            losses: 0,
            refuses: None,
            calls: 0,
            drain: Duration::from_millis(200),
            next: 0,
            version: 0,
            there: Listing::default(),
            workers: Vec::new(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            acquired: 0,
        }
    }

    fn join(&mut self) {
        let index = self.workers.len();
        let name = format!("worker-{index}");
        let plan = Plan::new(&name, self.shards, LEASE);
        let (until, under) = (BTreeMap::new(), BTreeMap::new());
        let [frozen_until, cut_off_until] = [Moment::ZERO; 2];
        self.workers.push(Worker { name, plan, until, under, frozen_until, cut_off_until, crashed: false });
        self.at(self.now, index, Happening::Tick);
    }

    fn at(&mut self, when: Moment, worker: usize, happening: Happening) {
        self.next += 1;
        self.happenings.insert(self.next, happening);
        self.queue.push(Reverse((when, self.next, worker)));
    }

    fn some(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64().powi(2))
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((when, id, worker))) = self.queue.peek().cloned().filter(|next| next.0.0 <= end) {
            self.queue.pop();
            let happening = self.happenings.remove(&id).unwrap();
            self.now = when;
            self.happens(worker, happening);
            self.check();
        }
        self.now = end;
    }

    fn happens(&mut self, index: usize, happening: Happening) {
        if let Happening::Arrives(id, call) = happening {
            return self.arrives(index, id, &call);
        }
        let worker = &mut self.workers[index];
        if worker.crashed {
            return;
        }
        if worker.frozen_until > self.now {
            let then = worker.frozen_until;
            return self.at(then, index, happening);
        }
        let (calls, events) = match happening {
            Happening::Tick => {
                self.at(self.now + TICK, index, Happening::Tick);
                (Vec::new(), Vec::new())
            }
            Happening::Ends(id) => match worker.under.remove(&id) {
                Some(Under { call, sent, answer }) => worker.plan.answered(call, sent, self.now, answer),
                None => return,
            },
            Happening::Drained(shard) => {
                // Nothing is delivered any more, whatever the lease says.
                worker.until.remove(&shard);
                worker.plan.drained(shard);
                (Vec::new(), Vec::new())
            }
            Happening::Arrives(..) => unreachable!(),
        };
        self.follow(index, events);
        let more = self.workers[index].plan.calls(self.now);
        calls.into_iter().chain(more).for_each(|call| self.send(index, call));
    }

    fn follow(&mut self, index: usize, events: Vec<Event>) {
        for event in events {
            let worker = &mut self.workers[index];
            match event {
                Event::Acquired { shard, until, .. } => {
                    self.acquired += 1;
                    worker.until.insert(shard, until);
                }
                Event::Renewed(shard, until) => {
                    worker.until.entry(shard).and_modify(|deadline| *deadline = until);
                }
                Event::GiveUp(shard) => {
                    let after = self.some(self.drain);
                    self.at(self.now + after, index, Happening::Drained(shard));
                }
                Event::Released(shard) | Event::Lost(shard) => {
                    worker.until.remove(&shard);
                }
            }
            let worker = &self.workers[index];
            let told: Vec<_> = worker.until.iter().map(|(shard, until)| (*shard, Some(*until))).collect();
            assert!(told.iter().all(|(shard, until)| worker.plan.deadline(*shard) == *until), "told otherwise");
        }
    }

    fn send(&mut self, index: usize, call: Call) {
        self.calls += 1;
        let id = self.next + 1;
        let there = self.some(self.latency);
        let sent = self.now;
        let is_cut_off = self.workers[index].cut_off_until > self.now;
        let answer = self.refuses.clone().unwrap_or(Answer::Unknown);
        self.workers[index].under.insert(id, Under { call: call.clone(), sent, answer });
        if self.refuses.is_some() {
            return self.at(sent + Duration::from_millis(1), index, Happening::Ends(id));
        }
        if is_cut_off {
            self.next += 1;
        } else {
            self.at(sent + there, index, Happening::Arrives(id, call));
        }
        self.at(sent + PATIENCE, index, Happening::Ends(id));
    }

    fn arrives(&mut self, index: usize, id: u64, call: &Call) {
        let name = self.workers[index].name.clone();
        let answer = self.carry_out(&name, call);
        let back = self.some(self.latency);
        let is_lost = self.random.u32(..1000) < self.losses || self.workers[index].cut_off_until > self.now;
        if let Some(under) = self.workers[index].under.get_mut(&id).filter(|_| !is_lost) {
            under.answer = answer;
            self.at(self.now + back, index, Happening::Ends(id));
        }
    }

    fn carry_out(&mut self, name: &str, call: &Call) -> Answer {
        self.version += 1;
        let version = self.version.to_string();
        let write = |place: Option<&Seen>, expected: Option<&String>, holder: Option<&str>| {
            if place.map(|seen| &seen.version) != expected {
                return Err(Answer::Conflict(place.cloned()));
            }
            Ok(Seen { holder: holder.map(str::to_owned), version: version.clone(), lasts: LEASE })
        };
        let (shards, workers) = (&mut self.there.shards, &mut self.there.workers);
        let written = match call {
            Call::List => return Answer::Listed(self.there.clone()),
            Call::Bury(worker, version) => match workers.get(worker) {
                Some(seen) if seen.version != *version => return Answer::Conflict(Some(seen.clone())),
                _ => {
                    workers.remove(worker);
                    return Answer::Removed;
                }
            },
            Call::Beat(version) => write(workers.get(name), version.as_ref(), Some(name)).map(|seen| {
                workers.insert(name.to_owned(), seen);
            }),
            Call::Take(shard, version) => write(shards.get(shard), version.as_ref(), Some(name)).map(|seen| {
                shards.insert(*shard, seen);
            }),
            Call::Renew(shard, version) => write(shards.get(shard), Some(version), Some(name)).map(|seen| {
                shards.insert(*shard, seen);
            }),
            Call::Release(shard, version) => write(shards.get(shard), Some(version), None).map(|seen| {
                shards.insert(*shard, seen);
            }),
        };
        written.map_or_else(|conflict| conflict, |()| Answer::Written(version))
    }

    /// Never two who may deliver, dead and frozen ones included.
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
        let held = || self.workers.iter().map(|worker| (&worker.name, worker.crashed, &worker.plan.held));
        let held = || held().collect::<Vec<_>>();
        assert_eq!(all, self.shards as usize, "{counts:?} at {:?}: {:?} {:?}", self.now, self.there, held());
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "{counts:?}");
    }

    /// One of the things that go wrong, or nothing.
    fn disturb(&mut self) {
        let count = self.workers.len();
        let index = self.random.usize(..count);
        let alive = self.workers.iter().filter(|worker| !worker.crashed && !worker.plan.leaving).count();
        let time = self.some(LEASE * 4);
        let now = self.now;
        match self.random.u32(..7) {
            0 => self.workers[index].frozen_until = now + time,
            1 => self.workers[index].cut_off_until = now + time,
            2 => self.workers.iter_mut().for_each(|worker| worker.cut_off_until = now + time),
            3 if alive > 1 => self.workers[index].crashed = true,
            4 if alive > 1 => {
                let events = self.workers[index].plan.leave();
                self.follow(index, events);
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
    fn whatever_happens_no_shard_has_two_workers_and_in_the_end_all_are_shared_evenly(
        seed in any::<u64>(),
        shards in 1..24_u32,
        workers in 1..5_usize,
        latency in 1..20_000_u64,
        losses in 0..300_u32,
    ) {
        let mut world = World::new(shards, seed);
        (0..workers).for_each(|_| world.join());
        (world.latency, world.losses, world.drain) = (Duration::from_millis(latency), losses, LEASE * 2);
        for _ in 0..20 {
            let time = world.some(LEASE * 2);
            world.run_for(time);
            world.disturb();
        }
        (world.latency, world.losses, world.drain) = (Duration::from_millis(50), 0, Duration::from_millis(200));
        let now = world.now;
        for worker in &mut world.workers {
            worker.cut_off_until = now;
            worker.frozen_until = worker.frozen_until.min(now);
        }
        world.run_for(LEASE * 12);
        world.assert_even();
        // What was left behind is cleared away, and nothing moves any more.
        world.run_for(LEASE * (BURIED_AFTER + 2));
        let (acquired, alive) = (world.acquired, world.counts().len());
        prop_assert_eq!(world.there.workers.len(), alive);
        world.run_for(LEASE * 20);
        prop_assert_eq!(world.acquired, acquired);
        world.assert_even();
    }

    #[test]
    fn who_comes_or_goes_moves_no_more_than_its_part(seed in any::<u64>(), shards in 1..40_u32, workers in 1..6_usize) {
        let mut world = World::new(shards, seed);
        (0..workers).for_each(|_| world.join());
        world.run_for(LEASE * 3);
        world.assert_even();
        // At the start nothing moves twice.
        prop_assert_eq!(world.acquired, shards as usize);

        world.join();
        world.run_for(LEASE * 4);
        world.assert_even();
        let part = (shards as usize).div_ceil(workers + 1);
        let moved = world.acquired - shards as usize;
        prop_assert!(moved <= part, "{} moved for a part of {}", moved, part);

        let before = world.acquired;
        let gone = world.random.usize(..workers);
        let events = world.workers[gone].plan.leave();
        world.follow(gone, events);
        world.run_for(LEASE * 4);
        world.assert_even();
        prop_assert!(world.acquired - before <= part, "{} moved for a part of {}", world.acquired - before, part);
        prop_assert!(world.workers[gone].plan.has_left());
    }
}

#[test]
fn a_dead_workers_shards_are_taken_after_its_lease_and_not_before() {
    let mut world = World::new(8, 1);
    (0..2).for_each(|_| world.join());
    world.run_for(LEASE * 3);
    let (begun, before) = (world.now, world.acquired);
    world.workers[0].crashed = true;
    world.run_for(LEASE - LEASE / 3 - TICK);
    assert_eq!(world.acquired, before, "taken too early");
    while world.counts() != [8] {
        world.run_for(TICK);
        assert!(world.now - begun < LEASE + LEASE / 3 + TICK * 2, "{:?}", world.counts());
    }
}

#[test]
fn workers_without_the_api_server_stop_in_time_and_go_on_with_the_same_shards() {
    for seed in 0..20 {
        let mut world = World::new(8, seed);
        for _ in 0..3 {
            world.join();
            // Each looks and renews at moments of its own, so that some saw the others' last writes.
            let later = world.some(LEASE);
            world.run_for(later);
        }
        world.run_for(LEASE * 6);
        let before = world.acquired;
        let now = world.now;
        // Not all find it again at the same moment.
        for worker in &mut world.workers {
            let later = Duration::from_millis(world.random.u64(..10_000));
            worker.cut_off_until = now + LEASE * 4 + later;
        }
        world.run_for(LEASE * 2 / 3 + TICK);
        assert_eq!(world.counts(), [0, 0, 0]);
        world.run_for(LEASE * 6);
        world.assert_even();
        assert_eq!(world.acquired, before, "a shard moved");
    }
}

/// One that is away or overloaded; and a gateway in front of it that knows no such path.
#[test]
fn an_api_server_that_refuses_at_once_is_not_asked_without_pause() {
    for answer in [Answer::Unknown, Answer::Conflict(None)] {
        let mut world = World::new(8, 1);
        (0..2).for_each(|_| world.join());
        world.run_for(LEASE * 3);
        world.assert_even();
        world.refuses = Some(answer.clone());
        // One goes, and wants to give back what it has.
        let events = world.workers[0].plan.leave();
        world.follow(0, events);
        let calls = world.calls;
        let leases = 4;
        world.run_for(LEASE * leases);
        // Of each shard, and of each worker a heartbeat and a listing.
        let most = (8 + 2 * 2) * (leases * PAUSE + 1) as usize;
        assert!(world.calls - calls <= most, "{} calls after {answer:?}, {most} at most", world.calls - calls);
        world.refuses = None;
        world.run_for(LEASE * 4);
        world.assert_even();
        assert!(world.workers[0].plan.has_left());
    }
}
