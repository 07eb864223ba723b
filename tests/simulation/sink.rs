//! The sink and the store of dead letters: they take, refuse, lose answers, and remember what they did.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::BoxFuture;
use s1_forwarder::dead_letters::{DeadLetter, DeadLetterError, DeadLetterStore};
use s1_forwarder::failure::Failure;
use s1_forwarder::record::{Identity, Stream, Timestamp, Version as Versions};
use s1_forwarder::sink::{Attempt, Batch, Event, Limits, Outcome, ProbeResult, RefusedEvent, Sink, WarningReason};
use tokio::time::sleep;

use crate::model::Version;
use crate::plan::{Behaviour, open};
use crate::shared::{LaneSimulation, Point, Simulation, about, lock};

/// The lane's destination, as one incarnation of the lane sees it.
#[derive(Clone)]
pub struct Destination {
    pub simulation: Arc<Simulation>,
    pub lane: Arc<LaneSimulation>,
    pub incarnation: usize,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Destination {} of incarnation {}", self.lane.index, self.incarnation)
    }
}

/// What the sink does with a batch.
struct Reply {
    /// Places of the events that it takes.
    taken: Vec<usize>,
    /// Whether the answer names them.
    reported: bool,
    outcome: Outcome,
    takes: Duration,
}

impl Reply {
    fn none(outcome: Outcome) -> Self {
        Self { taken: Vec::new(), reported: true, outcome, takes: Duration::ZERO }
    }
}

/// An attempt under way: when it is dropped, the lane died, and what was on the wire may have arrived or not.
struct OnTheWire<'a> {
    at: &'a Destination,
    may_arrive: Vec<Version>,
    arrived: Vec<Version>,
    done: bool,
    coin: bool,
}

impl Drop for OnTheWire<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if self.coin {
            for version in std::mem::take(&mut self.may_arrive) {
                self.at.take(&version);
                self.arrived.push(version);
            }
        }
        self.at.simulation.note(format_args!("{:?}: cut, {} arrived", self.at, self.arrived.len()));
        let mut ledger = lock(&self.at.lane.ledger);
        for version in &self.arrived {
            ledger.cut(self.incarnation(), version.key);
        }
    }
}

impl OnTheWire<'_> {
    fn incarnation(&self) -> usize {
        self.at.incarnation
    }
}

fn refusal(index: usize, reason: &str) -> RefusedEvent {
    RefusedEvent { index, status: "400".to_owned(), reason: reason.to_owned() }
}

fn unavailable(reason: &str, after: Option<Duration>) -> Outcome {
    Outcome::Failed(Failure::transient_after(reason, after))
}

impl Destination {
    fn take(&self, version: &Version) {
        let judged = lock(&self.lane.ledger).take(self.incarnation, version);
        self.report(judged);
    }

    fn report(&self, judged: Result<(), String>) {
        if let Err(broken) = judged {
            self.simulation.violation(format!("lane {}: {broken}", self.lane.index));
        }
    }

    /// The version of the record that the event with this id and identity is of.
    fn version(&self, record_id: &str, identity: Identity) -> Option<Version> {
        let model = &self.simulation.model;
        let plan = &self.lane.plan;
        match plan.stream {
            Stream::Agents if plan.snapshot => {
                model.in_snapshot(record_id, identity, plan.interval, self.simulation.now())
            }
            stream if stream.description().version == Versions::Constant => {
                model.version(record_id.parse().unwrap_or(0))
            }
            _ => model.version(identity.key()),
        }
    }

    fn versions(&self, batch: &Batch) -> Vec<Version> {
        let known = |event: Event<'_>| {
            let version = self.version(event.record_id, event.identity);
            match &version {
                None => self.simulation.violation(format!("event {} was never a record", event.record_id)),
                Some(version) if version.is_marker() => self.check_marker(version, event.body),
                Some(_) => {}
            }
            version
        };
        let versions: Vec<_> = batch.events().filter_map(known).collect();
        if let Some(excluded) = versions.iter().find(|version| self.lane.plan.leaves_out(version)) {
            self.simulation.violation(format!("excluded, but sent: {excluded:?}"));
        }
        if batch.len() > self.lane.plan.events {
            self.simulation.violation(format!(
                "a batch of {} events where {} are allowed",
                batch.len(),
                self.lane.plan.events
            ));
        }
        versions
    }

    /// The event that ends a snapshot comes when all the others are settled, and says how many they are.
    fn check_marker(&self, marker: &Version, body: &[u8]) {
        let plan = &self.lane.plan;
        let time = Timestamp::from_micros(marker.changed);
        let reported: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let ledger = lock(&self.lane.ledger);
        let owed = self.simulation.model.owed(plan, ledger.since().unwrap_or_default(), time);
        let unsettled = owed.iter().find(|version| !ledger.is_settled(version.key)).cloned();
        let settled = ledger.settled_in_snapshot(marker.changed);
        drop(ledger);
        if let Some(version) = unsettled {
            self.simulation.violation(format!("snapshot {time} is reported as complete without {version:?}"));
        }
        if reported["snapshot"]["records"] != settled || reported["snapshot"]["time"] != time.to_string() {
            self.simulation.violation(format!("{settled} are settled of snapshot {time}, reported is {reported}"));
        }
    }

    fn behaviour(&self) -> Option<Behaviour> {
        let plan = &self.lane.plan;
        if plan.dead_for_ever {
            return Some(Behaviour::Dead);
        }
        if self.simulation.is_calm() { None } else { open(&plan.moods, self.simulation.at()).copied() }
    }

    fn judge(&self, versions: &[Version], random: &mut Rng) -> Reply {
        let plan = &self.lane.plan;
        let mut dice = |chance: f64| !self.simulation.is_calm() && random.f64() < chance;
        if let Some(behaviour) = self.behaviour() {
            let takes = if behaviour == Behaviour::Silent { Duration::from_secs(20) } else { Duration::ZERO };
            let outcome = match behaviour {
                Behaviour::Dead | Behaviour::Silent => unavailable("dead", None),
                Behaviour::Throttled(after) => unavailable("throttled", Some(after)),
                Behaviour::Unauthorized => Outcome::unauthorized("401"),
                Behaviour::Misconfigured => Outcome::misconfigured("no such index"),
                Behaviour::RefusesAll if plan.itemised => {
                    let refused = (0..versions.len()).map(|place| refusal(place, "no such field")).collect();
                    Outcome::Partial { refused, retry: Vec::new(), retry_after: None, warnings: Vec::new() }
                }
                Behaviour::RefusesAll => Outcome::Refused("no such field".to_owned()),
            };
            return Reply { takes, ..Reply::none(outcome) };
        }
        if dice(plan.refuse) {
            let after = dice(0.3).then_some(Duration::from_secs(3));
            return Reply::none(unavailable("503", after));
        }
        if versions.len() > plan.max_events {
            return Reply::none(Outcome::TooLarge("413".to_owned()));
        }
        let poison: Vec<usize> = (0..versions.len()).filter(|place| versions[*place].is_poison(plan)).collect();
        let good: Vec<usize> = (0..versions.len()).filter(|place| !poison.contains(place)).collect();
        if !plan.itemised && !poison.is_empty() {
            return Reply::none(Outcome::Refused("bad field".to_owned()));
        }
        if dice(plan.lose) {
            // All of it arrived, or the first part of it.
            let count = if dice(0.5) { good.len() } else { random.usize(0..=good.len()) };
            let outcome = unavailable("connection lost", None);
            return Reply { taken: good[..count].to_vec(), reported: false, outcome, takes: Duration::ZERO };
        }
        let retry: Vec<usize> =
            if dice(plan.partial) { good.iter().copied().filter(|_| random.bool()).collect() } else { Vec::new() };
        let taken = good.iter().copied().filter(|place| !retry.contains(place)).collect();
        let refused: Vec<_> = poison.into_iter().map(|place| refusal(place, "bad field")).collect();
        let outcome = match refused.is_empty() && retry.is_empty() {
            true if random.f64() < plan.warn => Outcome::warned(WarningReason::Message, "slow down"),
            true => Outcome::Delivered,
            false => Outcome::Partial {
                refused,
                retry,
                retry_after: random.bool().then_some(Duration::from_secs(1)),
                warnings: Vec::new(),
            },
        };
        Reply { taken, reported: true, outcome, takes: Duration::ZERO }
    }

    /// What the lane is about to learn enters the ledger.
    fn record_reply(&self, versions: &[Version], reply: &Reply) {
        let mut ledger = lock(&self.lane.ledger);
        let in_order = self.lane.plan.concurrency == 1 && self.lane.plan.partial == 0.0;
        for place in &reply.taken {
            if reply.reported {
                let judged = ledger.acknowledge(self.incarnation, &versions[*place], in_order);
                drop(ledger);
                self.report(judged);
                ledger = lock(&self.lane.ledger);
            } else {
                ledger.lose(self.incarnation, versions[*place].key);
            }
        }
        match &reply.outcome {
            Outcome::Refused(_) | Outcome::TooLarge(_) if versions.len() == 1 => ledger.refuse(versions[0].key),
            Outcome::Partial { refused, .. } => {
                refused.iter().for_each(|refusal| ledger.refuse(versions[refusal.index].key));
            }
            _ => {}
        }
    }
}

impl Sink for Destination {
    fn limits(&self) -> Limits {
        let plan = &self.lane.plan;
        Limits {
            events: plan.events,
            bytes: plan.bytes,
            event_bytes: plan.event_bytes,
            copies: plan.copies,
            ..Limits::NONE
        }
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let mut random = self.lane.fork_random();
            let versions = self.versions(batch);
            self.simulation.note(format_args!("{self:?}: {} events sent", versions.len()));
            self.simulation.reach(Point::SendBegins, Some(self.lane.index)).await;
            let reply = self.judge(&versions, &mut random);
            let taken: Vec<_> = reply.taken.iter().map(|place| versions[*place].clone()).collect();
            let coin = random.bool();
            let mut wire = OnTheWire { at: self, may_arrive: taken, arrived: Vec::new(), done: false, coin };
            let there = about(&mut random, self.lane.plan.latency);
            let back = about(&mut random, self.lane.plan.latency);
            sleep(there + reply.takes).await;
            for version in std::mem::take(&mut wire.may_arrive) {
                self.take(&version);
                wire.arrived.push(version);
            }
            self.simulation.reach(Point::SinkTook, Some(self.lane.index)).await;
            sleep(back).await;
            self.simulation.reach(Point::SinkAnswers, Some(self.lane.index)).await;
            self.record_reply(&versions, &reply);
            wire.done = true;
            let taken = reply.taken.len();
            let reported = reply.reported;
            let outcome = reply.outcome;
            self.simulation.note(format_args!("{self:?}: {taken} accepted, reported {reported}: {outcome:?}"));
            Attempt::new(outcome, batch.body_bytes() as u64, "sim")
        })
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        Box::pin(async { ProbeResult::Verified(String::new()) })
    }
}

/// Dead letters on their way into the store: whether they got there when the lane died is for the coin to say.
struct DeadLetterWrite<'a> {
    at: &'a Destination,
    versions: Vec<Version>,
    kept: bool,
    done: bool,
    coin: bool,
}

impl DeadLetterWrite<'_> {
    fn keep(&mut self) {
        self.kept = true;
        for version in &self.versions {
            let judged = lock(&self.at.lane.ledger).keep(self.at.incarnation, version);
            self.at.report(judged);
        }
    }

    fn unknown(&self, reported: bool) {
        let mut ledger = lock(&self.at.lane.ledger);
        self.versions.iter().for_each(|version| ledger.kept_unknown(self.at.incarnation, version.key, reported));
    }
}

impl Drop for DeadLetterWrite<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if !self.kept && self.coin {
            self.keep();
        }
        if self.kept {
            self.unknown(false);
        }
    }
}

impl DeadLetterStore for Destination {
    fn keep<'a>(&'a self, dead_letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        Box::pin(async move {
            let mut random = self.lane.fork_random();
            let mut versions = Vec::new();
            for letter in dead_letters {
                let Some(version) = self.version(letter.record_id, letter.identity) else { continue };
                if letter.event.len() > self.lane.plan.event_bytes {
                    lock(&self.lane.ledger).refuse(version.key);
                }
                versions.push(version);
            }
            self.simulation.note(format_args!("{self:?}: {} dead letters", versions.len()));
            let fails = !self.simulation.is_calm() && random.f64() < self.simulation.plan.store.dead_letters_fail;
            let applied = !fails || random.f64() < self.simulation.plan.store.applied;
            let mut keeping = DeadLetterWrite { at: self, versions, kept: false, done: false, coin: random.bool() };
            sleep(about(&mut random, self.simulation.plan.store.latency)).await;
            if applied {
                keeping.keep();
            }
            self.simulation.reach(Point::LetterKept, Some(self.lane.index)).await;
            keeping.done = true;
            if fails {
                if applied {
                    keeping.unknown(true);
                }
                let source = std::io::Error::other("no space left");
                return Err(DeadLetterError::Io { place: "memory".to_owned(), source });
            }
            Ok(())
        })
    }
}
