//! The sink and the store of dead letters: they take, refuse, lose answers, and remember what they did.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::BoxFuture;
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::sink::dead_letters::{DeadLetter, DeadLetterError, LetterStore};
use s1_forwarder::sink::{Attempt, Batch, Event, Limits, Outcome, Probe, Sink};
use tokio::time::sleep;

use crate::nature::Version;
use crate::plan::{Mood, open};
use crate::world::{LaneWorld, Point, World, about, lock};

/// The lane's destination, as one life of the lane sees it.
#[derive(Clone)]
pub struct Destination {
    pub world: Arc<World>,
    pub lane: Arc<LaneWorld>,
    pub life: usize,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Destination {} of life {}", self.lane.index, self.life)
    }
}

/// What the sink does with a batch.
struct Verdict {
    /// Places of the events that it takes.
    taken: Vec<usize>,
    /// The answer says so.
    told: bool,
    outcome: Outcome,
    takes: Duration,
}

impl Verdict {
    fn none(outcome: Outcome) -> Self {
        Self { taken: Vec::new(), told: true, outcome, takes: Duration::ZERO }
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
        self.at.world.note(format_args!("{:?}: cut, {} arrived", self.at, self.arrived.len()));
        let mut ledger = lock(&self.at.lane.ledger);
        for version in &self.arrived {
            ledger.cut(self.life(), version.key);
        }
    }
}

impl OnTheWire<'_> {
    fn life(&self) -> usize {
        self.at.life
    }
}

fn unavailable(reason: &str, after: Option<Duration>) -> Outcome {
    Outcome::RetryLater { reason: reason.to_owned(), after }
}

impl Destination {
    fn take(&self, version: &Version) {
        let judged = lock(&self.lane.ledger).take(self.life, version);
        self.report(judged);
    }

    fn report(&self, judged: Result<(), String>) {
        if let Err(broken) = judged {
            self.world.violation(format!("lane {}: {broken}", self.lane.index));
        }
    }

    /// Of which version of which record the event with this id and identity is.
    fn version(&self, record_id: &str, identity: Identity) -> Option<Version> {
        let (nature, plan) = (&self.world.nature, &self.lane.plan);
        match plan.stream {
            Stream::Agents if plan.snapshot => nature.in_snapshot(record_id, identity, plan.interval, self.world.now()),
            Stream::Activities => nature.version(record_id.parse().unwrap_or(0)),
            _ => nature.version(identity.key()),
        }
    }

    fn versions(&self, batch: &Batch) -> Vec<Version> {
        let known = |event: Event<'_>| {
            let version = self.version(event.record_id, event.identity);
            match &version {
                None => self.world.violation(format!("event {} was never a record", event.record_id)),
                Some(version) if version.is_marker() => self.check_marker(version, event.body),
                Some(_) => {}
            }
            version
        };
        let versions: Vec<_> = batch.events().filter_map(known).collect();
        if let Some(excluded) = versions.iter().find(|version| self.lane.plan.leaves_out(version)) {
            self.world.violation(format!("excluded, but sent: {excluded:?}"));
        }
        if batch.len() > self.lane.plan.events {
            self.world.violation(format!(
                "a batch of {} events where {} are allowed",
                batch.len(),
                self.lane.plan.events
            ));
        }
        versions
    }

    /// The event that ends a snapshot comes when all the others are settled, and says how many they are.
    fn check_marker(&self, marker: &Version, body: &[u8]) {
        let (plan, time) = (&self.lane.plan, Timestamp::from_micros(marker.changed));
        let told: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let ledger = lock(&self.lane.ledger);
        let owed = self.world.nature.owed(plan, ledger.since().unwrap_or_default(), time);
        let unsettled = owed.iter().find(|version| !ledger.is_settled(version.key)).cloned();
        let settled = ledger.settled_in_snapshot(marker.changed);
        drop(ledger);
        if let Some(version) = unsettled {
            self.world.violation(format!("snapshot {time} is told to be complete without {version:?}"));
        }
        if told["snapshot"]["records"] != settled || told["snapshot"]["time"] != time.to_string() {
            self.world.violation(format!("{settled} are settled of snapshot {time}, told is {told}"));
        }
    }

    fn mood(&self) -> Option<Mood> {
        let plan = &self.lane.plan;
        if plan.dead_for_ever {
            return Some(Mood::Dead);
        }
        if self.world.is_calm() { None } else { open(&plan.moods, self.world.at()).copied() }
    }

    fn judge(&self, versions: &[Version], random: &mut Rng) -> Verdict {
        let plan = &self.lane.plan;
        let mut dice = |chance: f64| !self.world.is_calm() && random.f64() < chance;
        if let Some(mood) = self.mood() {
            let takes = if mood == Mood::Silent { Duration::from_secs(20) } else { Duration::ZERO };
            let outcome = match mood {
                Mood::Dead | Mood::Silent => unavailable("dead", None),
                Mood::Throttled(after) => unavailable("throttled", Some(after)),
                Mood::Unauthorized => Outcome::Unauthorized("401".to_owned()),
                Mood::Misconfigured => Outcome::Misconfigured("no such index".to_owned()),
                Mood::RefusesAll if plan.itemised => {
                    let rejected = (0..versions.len()).map(|place| (place, "no such field".to_owned())).collect();
                    Outcome::Partial { rejected, retry: Vec::new(), after: None }
                }
                Mood::RefusesAll => Outcome::Refused("no such field".to_owned()),
            };
            return Verdict { takes, ..Verdict::none(outcome) };
        }
        if dice(plan.refuse) {
            let after = dice(0.3).then_some(Duration::from_secs(3));
            return Verdict::none(unavailable("503", after));
        }
        if versions.len() > plan.most_events {
            return Verdict::none(Outcome::TooLarge("413".to_owned()));
        }
        let poison: Vec<usize> = (0..versions.len()).filter(|place| versions[*place].is_poison(plan)).collect();
        let good: Vec<usize> = (0..versions.len()).filter(|place| !poison.contains(place)).collect();
        if !plan.itemised && !poison.is_empty() {
            return Verdict::none(Outcome::Refused("bad field".to_owned()));
        }
        if dice(plan.lose) {
            // All of it arrived, or the first part of it.
            let count = if dice(0.5) { good.len() } else { random.usize(0..=good.len()) };
            let outcome = unavailable("connection lost", None);
            return Verdict { taken: good[..count].to_vec(), told: false, outcome, takes: Duration::ZERO };
        }
        let retry: Vec<usize> =
            if dice(plan.partial) { good.iter().copied().filter(|_| random.bool()).collect() } else { Vec::new() };
        let taken = good.iter().copied().filter(|place| !retry.contains(place)).collect();
        let rejected: Vec<_> = poison.into_iter().map(|place| (place, "bad field".to_owned())).collect();
        let outcome = match rejected.is_empty() && retry.is_empty() {
            true if random.f64() < plan.warn => Outcome::DeliveredWithWarning("slow down".to_owned()),
            true => Outcome::Delivered,
            false => Outcome::Partial { rejected, retry, after: random.bool().then_some(Duration::from_secs(1)) },
        };
        Verdict { taken, told: true, outcome, takes: Duration::ZERO }
    }

    /// What the lane is about to be told enters the ledger.
    fn tell(&self, versions: &[Version], verdict: &Verdict) {
        let mut ledger = lock(&self.lane.ledger);
        let in_order = self.lane.plan.concurrency == 1 && self.lane.plan.partial == 0.0;
        for place in &verdict.taken {
            if verdict.told {
                let judged = ledger.acknowledge(self.life, &versions[*place], in_order);
                drop(ledger);
                self.report(judged);
                ledger = lock(&self.lane.ledger);
            } else {
                ledger.lose(self.life, versions[*place].key);
            }
        }
        match &verdict.outcome {
            Outcome::Refused(_) | Outcome::TooLarge(_) if versions.len() == 1 => ledger.refuse(versions[0].key),
            Outcome::Partial { rejected, .. } => {
                rejected.iter().for_each(|(place, _)| ledger.refuse(versions[*place].key));
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
            self.world.note(format_args!("{self:?}: {} events sent", versions.len()));
            self.world.reach(Point::SendBegins, Some(self.lane.index)).await;
            let verdict = self.judge(&versions, &mut random);
            let taken: Vec<_> = verdict.taken.iter().map(|place| versions[*place].clone()).collect();
            let coin = random.bool();
            let mut wire = OnTheWire { at: self, may_arrive: taken, arrived: Vec::new(), done: false, coin };
            let (there, back) =
                (about(&mut random, self.lane.plan.latency), about(&mut random, self.lane.plan.latency));
            sleep(there + verdict.takes).await;
            for version in std::mem::take(&mut wire.may_arrive) {
                self.take(&version);
                wire.arrived.push(version);
            }
            self.world.reach(Point::SinkTook, Some(self.lane.index)).await;
            sleep(back).await;
            self.world.reach(Point::SinkAnswers, Some(self.lane.index)).await;
            self.tell(&versions, &verdict);
            wire.done = true;
            let (taken, told, outcome) = (verdict.taken.len(), verdict.told, verdict.outcome);
            self.world.note(format_args!("{self:?}: {taken} taken, told {told}: {outcome:?}"));
            Attempt { outcome, bytes: batch.body_bytes() as u64, status: "sim".to_owned() }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        Box::pin(async { Probe::Verified(String::new()) })
    }
}

/// Letters on their way into the store: whether they got there when the lane died is for the coin to say.
struct Keeping<'a> {
    at: &'a Destination,
    versions: Vec<Version>,
    kept: bool,
    done: bool,
    coin: bool,
}

impl Keeping<'_> {
    fn keep(&mut self) {
        self.kept = true;
        for version in &self.versions {
            let judged = lock(&self.at.lane.ledger).keep(self.at.life, version);
            self.at.report(judged);
        }
    }

    fn unknown(&self, told: bool) {
        let mut ledger = lock(&self.at.lane.ledger);
        self.versions.iter().for_each(|version| ledger.kept_unknown(self.at.life, version.key, told));
    }
}

impl Drop for Keeping<'_> {
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

impl LetterStore for Destination {
    fn keep<'a>(&'a self, letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        Box::pin(async move {
            let mut random = self.lane.fork_random();
            let mut versions = Vec::new();
            for letter in letters {
                let Some(version) = self.version(letter.record_id, letter.identity) else { continue };
                if letter.event.len() > self.lane.plan.event_bytes {
                    lock(&self.lane.ledger).refuse(version.key);
                }
                versions.push(version);
            }
            self.world.note(format_args!("{self:?}: {} dead letters", versions.len()));
            let fails = !self.world.is_calm() && random.f64() < self.world.plan.store.letters_fail;
            let applied = !fails || random.f64() < self.world.plan.store.applied;
            let mut keeping = Keeping { at: self, versions, kept: false, done: false, coin: random.bool() };
            sleep(about(&mut random, self.world.plan.store.latency)).await;
            if applied {
                keeping.keep();
            }
            self.world.reach(Point::LetterKept, Some(self.lane.index)).await;
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
