use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use proptest::prelude::*;
use s1_forwarder_record::{Identity, Level, Scope, Stream, Timestamp};

use super::*;
use crate::checkpoint::{CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange, StateError};
use crate::lane::lane_checkpoint::LaneCheckpoint;
use crate::lane::pending_batch::PendingBatch;
use crate::source::{AgentSettings, Pass, PollContext, PullSettings, RecordKey, StreamOptions};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
const MAX_BYTES: u64 = 16 << 10;

fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

fn assert_bytes_a_batch(records: &str, figures: &[u64]) {
    println!("| {records}: bytes that a batch of 1,000 writes | ≤ {MAX_BYTES} | {figures:?} |");
    assert!(figures.iter().all(|bytes| *bytes <= MAX_BYTES), "{records}: {figures:?}");
}

type Segments = BTreeMap<u64, Vec<u8>>;

/// A store that keeps journals, and counts what is written.
#[derive(Debug, Default)]
struct Store {
    /// The checkpoint, and the segments of its journal.
    stored: Mutex<(Vec<u8>, Segments)>,
    bytes: Mutex<u64>,
}

#[async_trait]
impl CheckpointBackend for Store {
    async fn load(&self, _: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        Ok(Some(self.stored.lock().0.clone()))
    }

    async fn commit(&self, _: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        let CheckpointUpdate { checkpoint, journal: JournalChange { appends, released } } = update;
        *self.bytes.lock() += checkpoint.len() as u64;
        let mut stored = self.stored.lock();
        for Append { segment, offset, bytes } in appends {
            *self.bytes.lock() += bytes.len() as u64;
            let segment = stored.1.entry(segment).or_default();
            segment.truncate(usize::try_from(offset).unwrap());
            assert_eq!(segment.len() as u64, offset, "a gap");
            segment.extend(bytes);
        }
        stored.1.retain(|segment, _| !released.contains(segment));
        stored.0 = checkpoint;
        Ok(released)
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    async fn read_journal(&self, _: &CheckpointKey, segment: u64) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.stored.lock().1.get(&segment).cloned())
    }
}

/// A lane whose batches are settled and stored one after the other.
struct Lane {
    checkpoint: LaneCheckpoint,
    passes: Vec<Pass>,
    stream: Stream,
    store: Store,
    random: fastrand::Rng,
    batches: u64,
}

impl Lane {
    fn new(pull: &PullSettings, since: Timestamp) -> Self {
        let passes = pull.passes();
        let mut position = SourcePosition::starting_at(since);
        position.add_passes(&passes);
        let ledger = Ledger::begin(since, String::new(), true);
        let checkpoint =
            LaneCheckpoint::begin("console.example".into(), "".into(), "1d".into(), since, position, ledger);
        let store = Store::default();
        let random = fastrand::Rng::with_seed(7);
        Self { checkpoint, passes, stream: pull.stream, store, random, batches: 0 }
    }

    fn key(&self) -> CheckpointKey {
        format!("acme/{}/siem", self.stream).parse().unwrap()
    }

    /// Returns an id as consoles make them: the milliseconds, and 22 more bits.
    fn id(&mut self, created: Timestamp) -> u64 {
        (u64::try_from(created.millis()).unwrap() - 1_288_834_974_657) << 22 | self.random.u64(..1 << 22)
    }

    fn record(&mut self, id: u64, time: Timestamp, created: Timestamp) -> RecordKey {
        let version = if self.stream == Stream::Activities { id } else { self.random.u64(..) };
        RecordKey { id, version, content: None, time, created: Some(created) }
    }

    fn settle(&mut self, context: PollContext, records: &[RecordKey], at: Timestamp) {
        let pending = PendingBatch { context, ..PendingBatch::new(self.stream) };
        let identity = |key: &RecordKey| Identity::of("console.example", Stream::Activities, &key.id.to_string(), "");
        let records = records.iter().map(|key| (key, identity(key), true));
        self.checkpoint.account(&self.passes, &pending, records, at);
    }

    /// Settles a batch of an ordered poll, and stores the checkpoint.
    async fn acknowledge(&mut self, context: PollContext, records: &[RecordKey]) {
        self.settle(context, records, context.start);
        if let Some(last) = records.last() {
            self.checkpoint.position.advance(&self.passes, context, last.time);
        }
        self.store(context.start).await;
        self.batches += 1;
    }

    /// Settles a batch that a transactional sink commits in two parts, as `lane/send.rs` does. A lane that is killed
    /// after either part finds what was committed.
    async fn commit_in_two(&mut self, context: PollContext, records: &[RecordKey], at: Timestamp) {
        let first = self.journal_change(at);
        let before = self.checkpoint.clone();
        for settled in [records.len() / 3, records.len()] {
            self.checkpoint = before.clone();
            self.settle(context, &records[..settled], at);
            let mut journal = first.clone();
            journal.appends.append(&mut self.checkpoint.take_appends(at));
            self.commit(journal).await;
            self.assert_stored().await;
        }
    }

    async fn store(&mut self, at: Timestamp) {
        let journal = self.journal_change(at);
        self.commit(journal).await;
    }

    fn journal_change(&mut self, at: Timestamp) -> JournalChange {
        let appends = self.checkpoint.take_appends(at);
        JournalChange { appends, released: self.checkpoint.ledger.released().to_vec() }
    }

    async fn commit(&mut self, journal: JournalChange) {
        let update = CheckpointUpdate { checkpoint: self.checkpoint.encode(), journal };
        let removed = self.store.commit(&self.key(), update).await.unwrap();
        self.checkpoint.ledger.forget_released(&removed);
    }

    async fn stored(&self) -> Result<LaneCheckpoint, StateError> {
        let bytes = self.store.load(&self.key()).await?.unwrap();
        let mut checkpoint = LaneCheckpoint::decode(&bytes).unwrap();
        checkpoint.load(&self.store, &self.key()).await?;
        // The store has removed these segments meanwhile.
        let stored: Vec<u64> = self.store.stored.lock().1.keys().copied().collect();
        let removed: Vec<u64> =
            checkpoint.ledger.released().iter().copied().filter(|segment| !stored.contains(segment)).collect();
        checkpoint.ledger.forget_released(&removed);
        Ok(checkpoint)
    }

    /// Returns the bytes that a batch has written on average since the last call.
    fn bytes_a_batch(&mut self) -> u64 {
        std::mem::take(&mut *self.store.bytes.lock()) / std::mem::take(&mut self.batches).max(1)
    }

    /// Stores the checkpoint once more, and checks that it reads back unchanged. Returns [`Self::bytes_a_batch`].
    async fn stored_bytes_a_batch(&mut self, at: Timestamp) -> u64 {
        self.store(at).await;
        self.assert_stored().await;
        self.bytes_a_batch()
    }

    async fn assert_stored(&self) {
        let mut stored = self.stored().await.unwrap();
        stored.position.add_passes(&self.passes);
        // The changes that are to be stored next are not compared.
        stored.position = stored.position.for_poll();
        let mut expected = self.checkpoint.clone();
        expected.position = expected.position.for_poll();
        assert!(stored == expected, "another checkpoint comes back");
        let needed = self.checkpoint.journal(&self.store, &self.key()).await.unwrap().into_keys();
        let needed: BTreeSet<u64> = needed.chain(self.checkpoint.ledger.released().iter().copied()).collect();
        assert!(self.store.stored.lock().1.keys().eq(&needed), "segments stay that nothing refers to or will remove");
    }
}

/// A thousand activities a second, half an hour of polls: five to seven and a half minutes of keys.
#[tokio::test]
async fn a_busy_lane_writes_what_is_new() {
    let mut lane = Lane::new(&PullSettings::of(Stream::Activities), now());
    let mut figures = Vec::new();
    for poll in 1..=60_u32 {
        let start = now().plus(30 * SECOND * poll);
        let closes = poll % 5 == 0;
        let context = PollContext { start, leaves_open: !closes, ..PollContext::default() };
        for second in 1..=30 {
            let begin = start.minus(SECOND * (31 - second));
            let records: Vec<RecordKey> = (0..1000)
                .map(|milli| {
                    let time = begin.plus(Duration::from_millis(milli));
                    let id = lane.id(time);
                    lane.record(id, time, time)
                })
                .collect();
            lane.acknowledge(context, &records).await;
        }
        lane.checkpoint.position.finish(&lane.passes, context, false);
        if poll % 15 == 0 {
            figures.push(lane.stored_bytes_a_batch(start).await);
        }
    }
    assert!(lane.checkpoint.position.key_count() > 280_000);
    assert_bytes_a_batch("activities", &figures);
    let kept: usize = lane.store.stored.lock().1.values().map(Vec::len).sum();
    assert!(kept < 100 << 20, "{kept} bytes of journal");
}

/// A hundred thousand agents: first all agents, and then agents that changed.
#[tokio::test]
async fn a_lane_of_many_agents_writes_what_is_new() {
    let mut lane = Lane::new(&PullSettings::of(Stream::Agents), Timestamp::default());
    let ids: Vec<u64> = (0..100_000_u32)
        .map(|_| {
            let age = DAY * lane.random.u32(1..1500);
            lane.id(now().minus(age))
        })
        .collect();
    let mut figures = Vec::new();
    for poll in 0..61_u32 {
        let begin = now().plus(900 * SECOND * poll);
        let start = now().plus(900 * SECOND * (poll + 1));
        let changed = if poll == 0 { 100_000 } else { 20_000 };
        let context = PollContext { start, ..PollContext::default() };
        for batch in 0..changed / 1000 {
            let records: Vec<RecordKey> = (0..1000)
                .map(|place| {
                    let at = f64::from(batch * 1000 + place) / f64::from(changed);
                    let time = begin.plus((900 * SECOND).mul_f64(at));
                    let id = if poll == 0 {
                        ids[(batch * 1000 + place) as usize]
                    } else {
                        ids[lane.random.usize(..100_000)]
                    };
                    let content = Some(lane.random.u64(..1 << 40));
                    RecordKey { content, ..lane.record(id, time, now().minus(100 * DAY)) }
                })
                .collect();
            lane.acknowledge(context, &records).await;
        }
        lane.checkpoint.position.finish(&lane.passes, context, false);
        if poll % 60 == 0 {
            figures.push(lane.stored_bytes_a_batch(start).await);
        }
    }
    assert_eq!(lane.checkpoint.position.content_count(), 100_000);
    assert_bytes_a_batch("agents", &figures);
}

/// Nothing but changes of the same agents, for three days.
#[tokio::test]
async fn a_journal_of_what_the_position_has_forgotten_does_not_grow() {
    let mut lane = Lane::new(&PullSettings::of(Stream::Agents), Timestamp::default());
    for poll in 1..=300_u32 {
        let start = now().plus(900 * SECOND * poll);
        let context = PollContext { start, ..PollContext::default() };
        let records: Vec<RecordKey> = (0..200)
            .map(|id| RecordKey { content: Some(lane.random.u64(..1 << 40)), ..lane.record(id, start, now()) })
            .collect();
        lane.acknowledge(context, &records).await;
        lane.checkpoint.position.finish(&lane.passes, context, false);
    }
    lane.stored_bytes_a_batch(now().plus(3 * DAY)).await;
    let kept: usize = lane.store.stored.lock().1.values().map(Vec::len).sum();
    assert!(kept < 2 * MIN_BYTES as usize, "{kept} bytes of journal");
}

/// A hundred thousand alerts of seven days; then new alerts, and changes of the first ones.
#[tokio::test]
async fn a_lane_with_a_week_of_alerts_writes_what_is_new() {
    let mut lane = Lane::new(&PullSettings::of(Stream::Alerts), now().minus(7 * DAY));
    let mut alerts = Vec::new();
    let mut figures = Vec::new();
    let context = PollContext { start: now(), ..PollContext::default() };
    for batch in 0..100_u32 {
        let records: Vec<RecordKey> = (0..1000)
            .map(|place| {
                let time = now().minus((7 * DAY).mul_f64(1.0 - f64::from(batch * 1000 + place) / 100_000.0));
                let id = lane.id(time);
                alerts.push((id, time));
                lane.record(id, time, time)
            })
            .collect();
        lane.acknowledge(context, &records).await;
    }
    lane.checkpoint.position.finish(&lane.passes, context, false);
    figures.push(lane.stored_bytes_a_batch(now()).await);
    for poll in 1..=100_u32 {
        let start = now().plus(600 * SECOND * poll);
        let context = PollContext { pass: 1, start, ..PollContext::default() };
        let records: Vec<RecordKey> = (0..1000)
            .map(|place| {
                if place % 2 == 0 {
                    let time = start.minus(Duration::from_millis(600 * (1000 - place)));
                    let id = lane.id(time);
                    alerts.push((id, time));
                }
                let (id, time) = if place % 2 == 0 {
                    alerts[alerts.len() - 1]
                } else {
                    alerts[lane.random.usize(alerts.len() - 90_000..alerts.len())]
                };
                lane.record(id, time, time)
            })
            .collect();
        lane.settle(context, &records, start);
        lane.checkpoint.position.finish(&lane.passes, context, false);
        lane.store(start).await;
        lane.batches += 1;
        if poll % 50 == 0 {
            lane.assert_stored().await;
            figures.push(lane.bytes_a_batch());
        }
    }
    assert!(lane.checkpoint.position.key_count() > 80_000);
    assert_bytes_a_batch("alerts", &figures);
}

/// A hundred sites, each with a thousand findings that changed since its last window.
#[tokio::test]
async fn a_lane_of_many_scopes_writes_what_is_new() {
    let scope = |number: u64| Scope {
        level: Level::Site,
        id: (2_254_947_309_384_938_000 + number).to_string().into(),
        name: None,
    };
    let scopes = (0..100).map(|number| std::sync::Arc::new(scope(number))).collect();
    let pull = PullSettings::of(Stream::Vulnerabilities).with_found_scopes(scopes);
    let mut lane = Lane::new(&pull, now().minus(DAY));
    assert_eq!(lane.passes.len(), 101, "the last one is that of everything");
    let mut figures = Vec::new();
    for round in 0..3_u32 {
        for pass in 0..100 {
            let start = now().plus(21_600 * SECOND * round + SECOND * u32::try_from(pass).unwrap());
            let context = PollContext { pass, start, ..PollContext::default() };
            let mut records: Vec<RecordKey> = (0..1000)
                .map(|_| {
                    let age = DAY * lane.random.u32(1..1500);
                    let id = lane.id(now().minus(age));
                    lane.record(id, start, start)
                })
                .collect();
            records.sort_unstable_by_key(|key| key.id);
            lane.acknowledge(context, &records).await;
            lane.checkpoint.position.finish(&lane.passes, context, false);
        }
        lane.store(now()).await;
        lane.assert_stored().await;
        figures.push(lane.bytes_a_batch());
    }
    assert_bytes_a_batch("findings", &figures);
}

/// The first pass has left the time of the alert that changes; the second one has not.
#[tokio::test]
async fn an_alert_that_changes_twice_between_two_writes_is_stored_as_it_was_last() {
    let mut lane = Lane::new(&PullSettings::of(Stream::Alerts), now().minus(7 * DAY));
    let context = |pass, start| PollContext { pass, start, ..PollContext::default() };
    let old = now().minus(3600 * SECOND);
    let records: Vec<RecordKey> = (0..200).map(|id| lane.record(id, old, old)).collect();
    lane.acknowledge(context(0, now()), &records).await;
    lane.checkpoint.position.finish(&lane.passes, context(0, now()), false);
    lane.store(now()).await;
    let later = now().plus(600 * SECOND);
    for (pass, id, time) in [(1, 0, old), (0, 1_000, now()), (1, 1_000, now())] {
        let record = lane.record(id, time, time);
        lane.settle(context(pass, later), &[record], later);
        if pass == 0 {
            lane.checkpoint.position.finish(&lane.passes, context(0, later), false);
        }
    }
    lane.store(later).await;
    lane.assert_stored().await;
}

/// If a lane accepted a damaged journal, it would deliver again the records that it does not know any more.
#[tokio::test]
async fn a_damaged_journal_is_refused_and_one_that_is_longer_is_not() {
    let mut lane = Lane::new(&PullSettings::of(Stream::Alerts), now());
    let context = PollContext { start: now().plus(60 * SECOND), ..PollContext::default() };
    for batch in 0..3 {
        let records: Vec<RecordKey> =
            (0..100).map(|id| lane.record(batch * 100 + id, now().plus(SECOND), now().plus(SECOND))).collect();
        lane.acknowledge(context, &records).await;
    }
    lane.assert_stored().await;
    let (segment, bytes) =
        lane.store.stored.lock().1.first_key_value().map(|(key, bytes)| (*key, bytes.clone())).unwrap();
    let set = |bytes: Option<Vec<u8>>| {
        let journal = &mut lane.store.stored.lock().1;
        match bytes {
            Some(bytes) => journal.insert(segment, bytes),
            None => journal.remove(&segment),
        };
    };
    // A crash left more bytes than any checkpoint refers to.
    set(Some([&bytes[..], &[1, 2, 3]].concat()));
    lane.assert_stored().await;
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for damaged in [None, Some(Vec::new()), Some(bytes[..bytes.len() - 1].to_vec()), Some(flipped)] {
        set(damaged);
        let error = lane.stored().await.unwrap_err();
        assert!(matches!(error, StateError::Journal { .. }), "{error}");
    }
}

/// A step of a lane between two writes.
#[derive(Debug, Clone)]
enum Step {
    Take {
        pass: usize,
        records: Vec<(u8, u8, u64)>,
        in_two: bool,
    },
    Finish {
        pass: usize,
        open: bool,
    },
    Wait(u32),
    ForgetKeys,
    Lookback(bool),
    /// The console has this number of scopes of findings now; zero if it accepts a poll of all of them.
    Scopes(usize),
    Restart,
    Store,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let records = prop::collection::vec((any::<u8>(), any::<u8>(), any::<u64>()), 0..120);
    let step = prop_oneof![
        8 => (0..2_usize, records, any::<bool>())
            .prop_map(|(pass, records, in_two)| Step::Take { pass, records, in_two }),
        3 => (0..2_usize, any::<bool>()).prop_map(|(pass, open)| Step::Finish { pass, open }),
        2 => prop_oneof![9 => 0..60_u32, 1 => 0..4000_u32].prop_map(Step::Wait),
        1 => Just(Step::ForgetKeys),
        1 => any::<bool>().prop_map(Step::Lookback),
        1 => (0..4_usize).prop_map(Step::Scopes),
        3 => Just(Step::Restart),
        6 => Just(Step::Store),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// A restart finds what was stored, whatever changes in whatever order.
    #[test]
    fn what_is_stored_comes_back(steps in steps(), kind in 0..5_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let streams = [Stream::Alerts, Stream::Agents, Stream::Vulnerabilities, Stream::UnifiedAlerts, Stream::Agents];
        let stream = streams[kind];
        let mut pull = PullSettings { overlap: 30 * SECOND, ..PullSettings::of(stream) };
        if kind == 4 {
            pull.own = StreamOptions::Agents(AgentSettings { snapshot: true, ..AgentSettings::default() });
        }
        if stream == Stream::Alerts {
            pull.own = StreamOptions::Alerts(3600 * SECOND);
        }
        let mut lane = Lane::new(&pull, now().minus(SECOND));
        let mut at = now();
        let poll = |pass: usize, at: Timestamp, passes: &[Pass]| {
            let snapshot = (kind == 4).then(|| at.aligned_to(60 * SECOND));
            PollContext { pass: pass.min(passes.len() - 1), start: at, snapshot, ..PollContext::default() }
        };
        for step in steps {
            match step {
                Step::Take { pass, records, in_two } => {
                    let context = poll(pass, at, &lane.passes);
                    let records: Vec<RecordKey> = records.iter().map(|(id, second, version)| {
                        let time = match stream {
                            Stream::Vulnerabilities => at,
                            // An alert keeps its time when it changes.
                            Stream::Alerts | Stream::UnifiedAlerts => now().plus(SECOND * u32::from(*id)),
                            _ => now().plus(SECOND * u32::from(*second)),
                        };
                        let content = (stream == Stream::Agents).then_some(version & ((1 << 40) - 1));
                        let created = time.minus(SECOND * u32::from(stream == Stream::UnifiedAlerts));
                        RecordKey { id: u64::from(*id), version: *version, content, time, created: Some(created) }
                    }).collect();
                    if in_two {
                        runtime.block_on(lane.commit_in_two(context, &records, at));
                    } else {
                        lane.settle(context, &records, at);
                    }
                }
                Step::Finish { pass, open } => {
                    let context = PollContext { leaves_open: open, ..poll(pass, at, &lane.passes) };
                    lane.checkpoint.position.finish(&lane.passes, context, false);
                }
                Step::Wait(seconds) => at = at.plus(SECOND * seconds),
                Step::ForgetKeys => lane.checkpoint.position.forget_keys(),
                Step::Lookback(on) if stream == Stream::Alerts => {
                    pull.own = StreamOptions::Alerts(if on { 3600 * SECOND } else { Duration::ZERO });
                    lane.passes = pull.passes();
                    lane.checkpoint.position.add_passes(&lane.passes);
                    lane.checkpoint.position.forget_others(&lane.passes);
                }
                Step::Scopes(count) if stream == Stream::Vulnerabilities => {
                    let scope = |id: usize| Scope { level: Level::Site, id: id.to_string().into(), name: None };
                    pull = pull.with_found_scopes((0..count).map(|id| Arc::new(scope(id))).collect());
                    lane.passes = pull.passes();
                    lane.checkpoint.position.add_passes(&lane.passes);
                    lane.checkpoint.position.forget_others(&lane.passes);
                }
                Step::Lookback(_) | Step::Scopes(_) => {}
                Step::Restart => {
                    runtime.block_on(lane.store(at));
                    lane.checkpoint = runtime.block_on(lane.stored()).unwrap();
                    lane.checkpoint.position.add_passes(&lane.passes);
                }
                Step::Store => runtime.block_on(lane.store(at)),
            }
        }
        runtime.block_on(lane.store(at));
        runtime.block_on(lane.assert_stored());
    }
}
