//! What a release has stored, all later ones read: a lane goes on from each golden file of `tests/data/layouts`, and
//! delivers nothing twice.
//!
//! The folders are the layouts of checkpoints, each with the segments of the journal that its checkpoint refers to. The
//! files of a layout are of a lane of activities, those in folders below it of other lanes. What has a folder is never
//! written again, so that its files stay as they were. `UPDATE_GOLDEN=1` adds the files of a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, iter};

use s1_forwarder::checkpoint::encoding::CONTENT_HASH;
use s1_forwarder::checkpoint::ledger::{FormerLedger, Hour, Ledger};
use s1_forwarder::checkpoint::{Append, CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange};
use s1_forwarder::console::Response;
use s1_forwarder::console::scripted::{ScriptedTransport, dated};
use s1_forwarder::lane::{KeptDeadLetters, Lane, LaneCheckpoint, LaneEnd, Target, copy_of};
use s1_forwarder::record::{Clock, Identity, Stream, Timestamp, facts, stable_fields_hash};
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{PollContext, PullSettings, RecordKey, SourcePosition};
use s1_forwarder::state::FileStore;

use super::commits::CommittingSink;
use super::counting_store::CountingStore;
use super::harness::{LaneHarness, START};
use super::script::{counted, findings_of, page, snapshots};

/// The oldest layout that this release reads.
const OLDEST: u64 = 3;
/// The first layout with a former ledger and a place.
const FIRST_WITH_FORMER: u64 = 6;
/// The records that the former ledger counts, one an hour.
const FORMER: u64 = 30;
/// The first layout with sums of what was delivered.
const FIRST_WITH_DELIVERED: u64 = 7;
/// The first layout with the store of dead letters.
const FIRST_WITH_DEAD_LETTERS: u64 = 10;
/// The first layout with golden files of streams other than activities.
const FIRST_OF_OTHERS: u64 = 5;
/// The records that the lane of the golden files had delivered. One an hour first, so that sums go to the journal; then
/// many within `overlap`, so that the position goes there too.
const HOURLY: u64 = 100;
const DELIVERED: u64 = 600;
/// Records that the console shows in addition.
const MORE: u64 = 20;
/// How many of the delivered records the journal has as a whole, and how many with what has changed since.
const WHOLE: u64 = 540;
const CHANGED: u64 = 590;
/// With every third record after `WHOLE`, the lane delivered a change of the record that is this many before it.
const BEFORE: u64 = 400;

const HOST: &str = "console.example";
/// Findings are of one or the other in turn.
const SITES: [&str; 2] = ["1000000000000000001", "1000000000000000002"];

/// What is stored of a lane: its checkpoint, and the segments of its journal.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Golden {
    checkpoint: Vec<u8>,
    journal: BTreeMap<u64, Vec<u8>>,
}

impl Golden {
    fn apply(&mut self, appends: Vec<Append>) {
        for Append { segment, offset, bytes } in appends {
            let segment = self.journal.entry(segment).or_default();
            assert_eq!(segment.len() as u64, offset);
            segment.extend(bytes);
        }
    }

    fn update(&self) -> CheckpointUpdate {
        let segments = self.journal.iter();
        let appends = segments.map(|(segment, bytes)| Append { segment: *segment, offset: 0, bytes: bytes.clone() });
        let journal = JournalChange { appends: appends.collect(), released: Vec::new() };
        CheckpointUpdate { checkpoint: self.checkpoint.clone(), journal }
    }
}

fn time_of(id: u64) -> Timestamp {
    if id <= HOURLY {
        return START.minus(Duration::from_secs(3_600 * (HOURLY + 1 - id)));
    }
    START.minus(Duration::from_secs(250)).plus(Duration::from_millis(500) * u32::try_from(id - HOURLY).unwrap())
}

/// Whether the record was delivered. Each fifth one became a dead letter.
fn is_delivered(id: u64) -> bool {
    !id.is_multiple_of(5)
}

/// A record, with the keys that each stream reads.
fn record(id: u64, updated: Timestamp, status: &str) -> String {
    let created = time_of(id);
    format!(
        r#"{{"id":"{id}","activityType":5,"createdAt":"{created}","updatedAt":"{updated}","detectionDate":"{created}","status":"{status}","alertInfo":{{"createdAt":"{created}","incidentStatus":"{status}"}}}}"#
    )
}

/// A lane that has golden files.
#[derive(Debug, Clone)]
struct StoredLane {
    /// Below that of the layout.
    folder: &'static str,
    /// The oldest layout with its files.
    oldest: u64,
    pull: PullSettings,
}

fn stored_lanes() -> [StoredLane; 5] {
    let harness = LaneHarness::new(|_| {});
    let other = |folder, pull| StoredLane { folder, oldest: FIRST_OF_OTHERS, pull };
    let findings = findings_of(&SITES).own;
    [
        StoredLane { folder: "", oldest: OLDEST, pull: harness.pull(Stream::Activities) },
        // Two passes, both with the last version of each alert.
        other("alerts", harness.pull(Stream::Alerts)),
        // A pass for each site. A finding that has changed is remembered under another time.
        other("findings", PullSettings { own: findings, ..harness.pull(Stream::Vulnerabilities) }),
        // The content of each agent.
        other("agents", harness.pull(Stream::Agents)),
        other("snapshot", PullSettings { own: snapshots(false), ..harness.pull(Stream::Agents) }),
    ]
}

impl StoredLane {
    /// The time of the snapshot that the lane has begun.
    fn snapshot(&self) -> Option<Timestamp> {
        self.pull.is_snapshot().then(|| START.aligned_to(self.pull.interval))
    }

    /// Whether the lane delivered a change of another record with this one.
    fn has_change_with(&self, id: u64) -> bool {
        let has_changes = !self.pull.is_snapshot() && self.pull.stream != Stream::Activities;
        has_changes && (WHOLE + 1..=DELIVERED).contains(&id) && id.is_multiple_of(3)
    }

    /// The record of this id as it was delivered first, and the change that was delivered with it.
    fn delivered_with(&self, id: u64) -> impl Iterator<Item = String> {
        let change = self.has_change_with(id).then(|| record(id - BEFORE, time_of(id), "changed"));
        iter::once(record(id, time_of(id), "new")).chain(change)
    }

    /// The record as the console shows it last. The oldest agents have checked in meanwhile, which is no change.
    fn shown(&self, id: u64) -> String {
        let with = id + BEFORE;
        if self.has_change_with(with) {
            return record(id, time_of(with), "changed");
        }
        let has_checked_in = self.pull.drops_unchanged() && id <= HOURLY;
        record(id, if has_checked_in { START.plus(Duration::from_secs(20)) } else { time_of(id) }, "new")
    }

    /// What the lane remembers of a record that it delivered at this time.
    fn key_of(&self, record: &str, at: Timestamp) -> (RecordKey, Identity) {
        let pull = &self.pull;
        let record = record.as_bytes();
        let mut facts = facts(pull.stream, record);
        if let Some(snapshot) = self.snapshot() {
            facts.version = snapshot.seconds().to_string().into();
        }
        let identity = facts.identity(HOST, record);
        let id: u64 = facts.id.parse().unwrap();
        let version = if pull.stream == Stream::Activities { id } else { identity.key() };
        let content = pull.drops_unchanged().then(|| stable_fields_hash(record, pull.volatile()) & CONTENT_HASH);
        let time = if !pull.is_ordered() { at } else { facts.time.unwrap() };
        (RecordKey { id, version, content, time, created: facts.created }, identity)
    }

    fn identities(&self, records: impl Iterator<Item = String>) -> Vec<String> {
        records.map(|record| self.key_of(&record, START).1.to_string()).collect()
    }

    /// The identities of all that was delivered.
    fn delivered(&self) -> Vec<String> {
        self.identities((1..=DELIVERED).flat_map(|id| self.delivered_with(id)))
    }

    /// A checkpoint with something in each of its fields, whatever the stream, where the store keeps `journals` or not.
    fn sample(&self, journals: bool) -> (LaneCheckpoint, Golden) {
        let pull = &self.pull;
        let passes = pull.passes();
        let mut position = SourcePosition::starting_at(Timestamp::default());
        position.add_passes(&passes);
        let ledger = Ledger::begin(Timestamp::default(), pull.narrowed_by(), journals);
        let since = pull.since.to_string().into();
        let mut checkpoint =
            LaneCheckpoint::begin(HOST.into(), "".into(), since, Timestamp::default(), position, ledger);
        checkpoint.sink_type = "memory".into();
        checkpoint.tenant = "acme".into();
        checkpoint.target = Target { hash: 77, since: time_of(FORMER) };
        checkpoint.user = "account 7".into();
        checkpoint.dead_letters = KeptDeadLetters {
            flags: " --dead-letters file:/dead".into(),
            last: Some((Identity::of(HOST, pull.stream, "1", ""), time_of(FORMER))),
            last_elsewhere: Some((Identity::of(HOST, pull.stream, "2", ""), time_of(1))),
        };
        for id in 1..=FORMER {
            let (_, identity) = self.key_of(&record(id, time_of(id), "new"), time_of(id));
            checkpoint.ledger.count(time_of(id), identity);
            if is_delivered(id) {
                checkpoint.ledger.deliver(time_of(id), identity);
            }
        }
        let before = checkpoint.ledger.restart(Timestamp::default(), pull.narrowed_by(), journals);
        checkpoint.former = Some(Box::new(FormerLedger::new(HOST.into(), time_of(FORMER), before)));
        let mut golden = Golden::default();
        let context = PollContext { start: START, snapshot: self.snapshot(), ..PollContext::default() };
        let finish = |position: &mut SourcePosition, start| {
            // A snapshot is left unfinished.
            for pass in (0..passes.len()).filter(|_| !pull.is_snapshot()) {
                position.finish(&passes, PollContext { pass, start, ..context }, false);
            }
        };
        for id in 1..=DELIVERED {
            let context = PollContext { pass: usize::try_from(id).unwrap() % passes.len(), ..context };
            for record in self.delivered_with(id) {
                let (record_key, identity) = self.key_of(&record, time_of(id));
                let created = record_key.created.unwrap();
                assert!(checkpoint.position.settle(&passes, context).remember(&record_key));
                checkpoint.ledger.count(created, identity);
                if is_delivered(id) {
                    checkpoint.ledger.deliver(created, identity);
                }
                checkpoint.ledger.remember(created, record_key.id, START);
                checkpoint.settled += 1;
            }
            if [WHOLE, CHANGED].contains(&id) {
                if id == WHOLE {
                    finish(&mut checkpoint.position, START.minus(Duration::from_secs(1)));
                }
                golden.apply(checkpoint.take_appends(START));
            }
        }
        finish(&mut checkpoint.position, START);
        let mut observed = checkpoint.rhythm.begin_poll(pull);
        observed.add(time_of(DELIVERED), START);
        checkpoint.rhythm.complete(&observed, START, true);
        golden.apply(checkpoint.take_appends(START));
        golden.checkpoint = checkpoint.encode();
        (checkpoint, golden)
    }

    fn folder(&self, layout: u64) -> PathBuf {
        folder(layout).join(self.folder)
    }

    fn read(&self, layout: u64) -> Golden {
        let mut golden = Golden::default();
        for entry in fs::read_dir(self.folder(layout)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match name.strip_prefix("journal-") {
                Some(segment) => _ = golden.journal.insert(segment.parse().unwrap(), fs::read(&path).unwrap()),
                None if name == "checkpoint" => golden.checkpoint = fs::read(&path).unwrap(),
                None => {}
            }
        }
        golden
    }

    fn write(&self, layout: u64, golden: &Golden, copy: &[u8], without_journal: &[u8]) {
        let folder = self.folder(layout);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("checkpoint"), &golden.checkpoint).unwrap();
        fs::write(folder.join("copy"), copy).unwrap();
        fs::write(folder.join("without-journal"), without_journal).unwrap();
        for (segment, bytes) in &golden.journal {
            fs::write(folder.join(format!("journal-{segment}")), bytes).unwrap();
        }
    }

    /// A console with all records.
    fn console(&self, clock: Clock) -> ScriptedTransport {
        let stream = self.pull.stream;
        let snapshot = self.pull.is_snapshot();
        let listed = |id: u64| {
            let record = self.shown(id);
            let facts = facts(stream, record.as_bytes());
            let time = if snapshot { facts.created } else { facts.time };
            (time.unwrap(), usize::try_from(id).unwrap(), record.clone())
        };
        let mut records: Vec<(Timestamp, usize, String)> = (1..=DELIVERED + MORE).map(listed).collect();
        records.sort();
        ScriptedTransport::new(move |request| {
            let query: BTreeMap<String, String> = request.url.query_pairs().into_owned().collect();
            let bound = |end: &str| {
                let time = query.iter().find(|(name, _)| name.ends_with(end));
                time.map(|(_, time)| Timestamp::parse(time).unwrap())
            };
            let is_asked = |(time, id, _): &&(Timestamp, usize, String)| {
                bound("__gte").is_none_or(|from| *time >= from)
                    && bound("__lte").is_none_or(|to| *time <= to)
                    && bound("__lt").is_none_or(|to| *time < to)
                    && query.get("siteIds").is_none_or(|site| site == SITES[id % SITES.len()])
            };
            let shown: Vec<&String> = records.iter().filter(is_asked).map(|(.., record)| record).collect();
            let limit = query.get("limit").map_or(1_000, |limit| limit.parse().unwrap());
            let skip = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
            let body = if request.url.path().ends_with("/user") {
                r#"{"data":{"scope":"account","scopeRoles":[{"id":"7"}]}}"#.to_owned()
            } else if query.contains_key("countOnly") {
                counted(shown.len() as u64)
            } else {
                let records: Vec<String> = shown.iter().skip(skip).take(limit).copied().cloned().collect();
                let next = Some(skip + limit).filter(|next| *next < shown.len()).map(|next| next.to_string());
                page(&records, next.as_deref())
            };
            let response = Response { status: http::StatusCode::OK, headers: dated(clock.now()), body: body.into() };
            std::future::ready(Ok(response))
        })
    }
}

fn folder(layout: u64) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/layouts").join(layout.to_string())
}

fn newest_layout() -> u64 {
    u64::from(stored_lanes()[0].sample(true).1.checkpoint[0])
}

struct Later {
    stored: StoredLane,
    harness: LaneHarness,
    plain: Arc<MemorySink>,
}

impl Later {
    /// A minute after the golden files were written.
    async fn begin(stored: StoredLane) -> Self {
        let harness = LaneHarness::new(|_| {});
        tokio::time::sleep(Duration::from_mins(1)).await;
        let plain = MemorySink::accepting(harness.clock);
        Self { stored, harness, plain }
    }

    fn lane(&self, sink: Arc<dyn s1_forwarder::sink::Sink>) -> Lane {
        let mut lane = self.harness.lane(self.stored.pull.clone(), "siem", sink);
        lane.client = Arc::new(self.harness.client(Arc::new(self.stored.console(self.harness.clock)), "siem"));
        lane.concurrency = 1;
        lane
    }

    /// A lane with this store delivers what is new, and accounts for all that was ever delivered. What it goes on from
    /// may have a former ledger, which it keeps.
    async fn goes_on(&self, store: Arc<dyn CheckpointBackend>, keeps_sums: bool, layout: u64, of: &str) {
        let has_former = keeps_sums && layout >= FIRST_WITH_FORMER;
        let lane = Lane { store: store.clone(), ..self.lane(self.plain.clone()) };
        let key = lane.key.clone();
        assert_eq!(self.harness.run_once(lane).await, LaneEnd::Complete, "{of}");
        let mut taken: Vec<String> =
            self.plain.accepted().drain(..).map(|(identity, ..)| identity.to_string()).collect();
        let mut expected = self.stored.identities((DELIVERED + 1..=DELIVERED + MORE).map(|id| self.stored.shown(id)));
        taken.sort();
        expected.sort();
        assert_eq!(taken, expected, "{of}");
        let mut stored = LaneCheckpoint::decode(&store.load(&key).await.unwrap().unwrap()).unwrap();
        stored.load(&*store, &key).await.unwrap();
        let settled = self.stored.delivered().len() as u64 + MORE;
        assert_eq!(stored.settled, settled, "{of}");
        let totals = stored.ledger.totals(&*store, &key, Hour(0)..Hour(u32::MAX)).await.unwrap();
        let counted = totals.sums.values().map(|sum| sum.count).chain(totals.days.values().copied()).sum::<u64>();
        let is_counted = keeps_sums && self.stored.pull.stream == Stream::Activities;
        assert!(!is_counted || counted == settled, "{of}: {counted} are in the ledger");
        if is_counted && stored.ledger.has_journals() {
            let delivered = totals.delivered.values().map(|sum| sum.count).sum::<u64>();
            let (from, before) = match layout {
                FIRST_WITH_DELIVERED.. => (Hour(0), (1..=DELIVERED).filter(|id| is_delivered(*id)).count() as u64),
                _ => (Hour::from(self.harness.clock.now()), 0),
            };
            assert_eq!((stored.ledger.delivered_from(), delivered), (Some(from), before + MORE), "{of}");
        }
        // The lane has another store of dead letters now.
        let former = Identity::of(HOST, self.stored.pull.stream, "1", "");
        let last_elsewhere = (layout >= FIRST_WITH_DEAD_LETTERS).then(|| (former, time_of(FORMER)));
        let KeptDeadLetters { last, last_elsewhere: found, .. } = stored.dead_letters;
        assert_eq!((last, found), (None, last_elsewhere), "{of}");
        assert_eq!(stored.former.is_some(), has_former, "{of}");
        if let Some(former) = &stored.former {
            let totals = former.ledger().sums(&*store, &key, Hour(0)..Hour(u32::MAX)).await.unwrap();
            let counted = totals.sums.values().map(|sum| sum.count).chain(totals.days.into_values()).sum::<u64>();
            assert_eq!((counted, former.until()), (FORMER, time_of(FORMER)), "{of}");
            let has_delivered = stored.ledger.has_journals() && layout >= FIRST_WITH_DELIVERED;
            let expected = if has_delivered { (1..=FORMER).filter(|id| is_delivered(*id)).count() as u64 } else { 0 };
            let delivered = totals.delivered.values().map(|sum| sum.count).sum::<u64>();
            assert_eq!(delivered, expected, "{of}");
        }
        let known: usize = totals.identities.values().map(|identities| identities.len()).sum();
        assert!(!stored.ledger.has_journals() || !keeps_sums || known > 500, "{of}: {known} identities are known");
    }
}

fn key(lane: &Lane) -> CheckpointKey {
    lane.key.clone()
}

#[test]
fn the_newest_layout_is_that_of_its_golden_files() {
    let layout = newest_layout();
    for stored in stored_lanes() {
        let (checkpoint, golden) = stored.sample(true);
        let without_journal = stored.sample(false).1.checkpoint;
        let folder = stored.folder(layout);
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !folder.exists() {
            stored.write(layout, &golden, &copy_of(&checkpoint), &without_journal);
        }
        let other = "another layout needs another number, its fields at the end, and defaults for what older ones lack";
        assert!(stored.read(layout) == golden, "{folder:?}: {other}");
        assert!(fs::read(folder.join("copy")).unwrap() == copy_of(&checkpoint), "{folder:?}: {other}");
        assert!(fs::read(folder.join("without-journal")).unwrap() == without_journal, "{folder:?}: {other}");

        let mut read = LaneCheckpoint::decode(&golden.checkpoint).unwrap();
        let last = read.position.key_count();
        assert!((1..=50).contains(&last), "{folder:?}: the checkpoint has {last} keys, the journal the others");
        assert!(read.read_position(&golden.journal), "{folder:?}");
        assert!(read.position.for_poll() == checkpoint.position.for_poll(), "{folder:?}: another position comes back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_goes_on_from_each_layout_and_delivers_nothing_twice() {
    for stored in stored_lanes() {
        let later = Later::begin(stored).await;
        let stored = &later.stored;
        for layout in stored.oldest..=newest_layout() {
            let golden = stored.read(layout);
            let of = format!("layout {layout} {}", stored.folder);
            assert!(golden.journal.len() >= 3, "{of}: position, sums and identities are in the journal");
            let directory = tempfile::tempdir().unwrap();
            let files = Arc::new(FileStore::open(directory.path()).unwrap());
            files.commit(&key(&later.lane(later.plain.clone())), golden.update()).await.unwrap();
            later.goes_on(files, true, layout, &format!("{of} in files")).await;

            let whole = fs::read(stored.folder(layout).join("without-journal")).unwrap();
            let memory = later.harness.store.clone();
            memory.checkpoints().insert(key(&later.lane(later.plain.clone())), whole);
            later.goes_on(memory, true, layout, &format!("{of} in a store without journals")).await;

            let copied = Arc::new(CountingStore::default());
            copied.0.lock().unwrap().checkpoint = Some(fs::read(stored.folder(layout).join("copy")).unwrap());
            later.goes_on(copied, false, layout, &format!("{of}: the copy, the sink keeps no checkpoint now")).await;
        }
    }
}

/// What a release that wrote these files has left on disk. Those of Kubernetes and Kafka hold the same checkpoint, as
/// tests next to these stores check.
#[tokio::test(start_paused = true)]
async fn a_lane_goes_on_from_the_files_of_an_earlier_release() {
    let [stored, ..] = stored_lanes();
    let golden = stored.folder(5);
    let later = Later::begin(stored).await;
    let directory = tempfile::tempdir().unwrap();
    let lanes = directory.path().join("lanes/acme/activities");
    fs::create_dir_all(lanes.join("siem.journal")).unwrap();
    fs::copy(golden.join("../stores/envelope-1"), lanes.join("siem.checkpoint")).unwrap();
    for segment in 0..3 {
        let from = golden.join(format!("journal-{segment}"));
        fs::copy(from, lanes.join(format!("siem.journal/{segment}"))).unwrap();
    }
    later.goes_on(Arc::new(FileStore::open(directory.path()).unwrap()), true, 5, "files").await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_with_checkpoints_goes_on_from_each_layout_and_commits_nothing_twice() {
    for stored in stored_lanes() {
        let later = Later::begin(stored).await;
        let stored = &later.stored;
        let layouts = stored.oldest..=newest_layout();
        for (layout, has_checkpoint) in layouts.flat_map(|layout| [(layout, true), (layout, false)]) {
            let golden = stored.read(layout);
            let sink = Arc::new(CommittingSink::default());
            let taken = stored.delivered();
            let all = taken.len() + usize::try_from(MORE).unwrap();
            let before = has_checkpoint.then_some(&golden.checkpoint);
            sink.begin_with(taken, before, if has_checkpoint { &golden.journal } else { &NOTHING });
            let copy = fs::read(stored.folder(layout).join("copy")).unwrap();
            later.harness.store.checkpoints().insert(key(&later.lane(sink.clone())), copy);
            later.harness.run_once(later.lane(sink.clone())).await;
            let when = format!("layout {layout} {}, the sink has a checkpoint: {has_checkpoint}", stored.folder);
            sink.assert_exactly_once(all, &when);
        }
    }
}

static NOTHING: BTreeMap<u64, Vec<u8>> = BTreeMap::new();

/// Each layout has its own folder, and none was removed.
#[test]
fn each_layout_has_its_golden_files() {
    let folders = fs::read_dir(folder(0).parent().unwrap()).unwrap();
    let layouts: BTreeSet<u64> =
        folders.filter_map(|entry| entry.unwrap().file_name().to_str().and_then(|name| name.parse().ok())).collect();
    assert_eq!(layouts, (OLDEST..=newest_layout()).collect());
}
