//! What a release has stored, all later ones read: a lane goes on from each golden file of `tests/data/layouts`, and
//! delivers nothing twice.
//!
//! The folders are the layouts of checkpoints, each with the segments of the journal that its checkpoint refers to. A
//! layout that has a folder is never written again, so that its files stay as they were. `UPDATE_GOLDEN=1` adds the
//! files of a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use s1_forwarder::checkpoint::ledger::{Hour, Ledger};
use s1_forwarder::checkpoint::{Append, CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange};
use s1_forwarder::console::Response;
use s1_forwarder::console::scripted::ScriptedTransport;
use s1_forwarder::lane::{Lane, LaneCheckpoint, LaneEnd, copy_of};
use s1_forwarder::record::{Identity, Stream, Timestamp, facts};
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{PollContext, Pull, SourcePosition};
use s1_forwarder::state::FileStore;

use super::commits::CommittingSink;
use super::counting_store::CountingStore;
use super::harness::{LaneHarness, START};
use super::script::{activity, counted, page, record_key};

/// The oldest layout that this release reads.
const OLDEST: u64 = 3;
/// The activities that the lane of the golden files had delivered. One an hour first, so that sums go to the journal;
/// then many within `overlap`, so that the position goes there too.
const HOURLY: u64 = 100;
const DELIVERED: u64 = 600;
/// Those that the console shows in addition.
const MORE: u64 = 20;
/// How many of the delivered activities the journal has as a whole, and how many with what has changed since.
const WHOLE: u64 = 540;
const CHANGED: u64 = 590;

const HOST: &str = "console.example";

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
        let journal = JournalChange { appends: appends.collect(), dropped: Vec::new() };
        CheckpointUpdate { checkpoint: self.checkpoint.clone(), journal }
    }
}

fn time_of(id: u64) -> Timestamp {
    if id <= HOURLY {
        return START.minus(Duration::from_secs(3_600 * (HOURLY + 1 - id)));
    }
    START.minus(Duration::from_secs(250)).plus(Duration::from_millis(500) * u32::try_from(id - HOURLY).unwrap())
}

fn identity(id: u64) -> Identity {
    let record = activity(id, time_of(id));
    facts(Stream::Activities, record.as_bytes()).identity(HOST, record.as_bytes())
}

fn identities(ids: impl Iterator<Item = u64>) -> Vec<String> {
    ids.map(|id| identity(id).to_string()).collect()
}

/// A checkpoint with something in each of its fields, where the store keeps `journals` or not.
fn sample(pull: &Pull, journals: bool) -> (LaneCheckpoint, Golden) {
    let passes = pull.passes();
    let mut position = SourcePosition::starting_at(Timestamp::default());
    position.follow(&passes);
    let ledger = Ledger::begin(Timestamp::default(), pull.narrowed_by(), journals);
    let since = pull.since.to_string().into();
    let mut checkpoint = LaneCheckpoint::begin(HOST.into(), "".into(), since, Timestamp::default(), position, ledger);
    checkpoint.sink_type = "memory".into();
    let mut golden = Golden::default();
    let context = PollContext { start: START, ..PollContext::default() };
    for id in 1..=DELIVERED {
        let time = time_of(id);
        checkpoint.position.settle(&passes, context).take(&record_key(id, time));
        checkpoint.ledger.count(time, identity(id));
        checkpoint.ledger.remember(time, id, START);
        checkpoint.settled += 1;
        if [WHOLE, CHANGED].contains(&id) {
            if id == WHOLE {
                let start = START.minus(Duration::from_secs(1));
                checkpoint.position.finish(&passes, PollContext { start, ..context }, false);
            }
            golden.apply(checkpoint.take_appends(START));
        }
    }
    checkpoint.position.finish(&passes, context, false);
    let mut heard = checkpoint.rhythm.listen(pull);
    heard.see(time_of(DELIVERED), START);
    checkpoint.rhythm.complete(&heard, START, true);
    golden.apply(checkpoint.take_appends(START));
    golden.checkpoint = checkpoint.encode();
    (checkpoint, golden)
}

fn folder(layout: u64) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/layouts").join(layout.to_string())
}

fn read(layout: u64) -> Golden {
    let mut golden = Golden::default();
    for entry in fs::read_dir(folder(layout)).unwrap() {
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

fn write(layout: u64, golden: &Golden, copy: &[u8], without_journal: &[u8]) {
    let folder = folder(layout);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("checkpoint"), &golden.checkpoint).unwrap();
    fs::write(folder.join("copy"), copy).unwrap();
    fs::write(folder.join("without-journal"), without_journal).unwrap();
    for (segment, bytes) in &golden.journal {
        fs::write(folder.join(format!("journal-{segment}")), bytes).unwrap();
    }
}

fn newest_layout(pull: &Pull) -> u64 {
    u64::from(sample(pull, true).1.checkpoint[0])
}

/// A console with all activities up to this one.
fn console(newest: u64) -> ScriptedTransport {
    ScriptedTransport::new(move |request| {
        let url = request.url;
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let bound = |name: &str| query.get(name).map(|time| Timestamp::parse(time).unwrap());
        let is_asked = |id: &u64| {
            let time = time_of(*id);
            bound("createdAt__gte").is_none_or(|from| time >= from)
                && bound("createdAt__lte").is_none_or(|to| time <= to)
                && bound("createdAt__lt").is_none_or(|to| time < to)
        };
        let shown: Vec<u64> = (1..=newest).filter(is_asked).collect();
        let limit = query.get("limit").map_or(1_000, |limit| limit.parse().unwrap());
        let skip = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let body = if query.contains_key("countOnly") {
            counted(shown.len() as u64)
        } else {
            let records = shown.iter().skip(skip).take(limit).map(|id| activity(*id, time_of(*id))).collect::<Vec<_>>();
            let next = Some(skip + limit).filter(|next| *next < shown.len()).map(|next| next.to_string());
            page(&records, next.as_deref())
        };
        std::future::ready(Ok(Response { status: http::StatusCode::OK, headers: HeaderMap::new(), body: body.into() }))
    })
}

struct Later {
    harness: LaneHarness,
    plain: Arc<MemorySink>,
}

impl Later {
    /// A minute after the golden files were written.
    async fn begin() -> Self {
        let harness = LaneHarness::new(|_| {});
        tokio::time::sleep(Duration::from_secs(60)).await;
        let plain = MemorySink::accepting(harness.clock);
        Self { harness, plain }
    }

    fn lane(&self, sink: Arc<dyn s1_forwarder::sink::Sink>) -> Lane {
        let mut lane = self.harness.lane(self.harness.pull(Stream::Activities), "siem", sink);
        lane.client = Arc::new(self.harness.client(Arc::new(console(DELIVERED + MORE)), "siem"));
        lane.concurrency = 1;
        lane
    }

    /// A lane with this store delivers what is new, and accounts for all that was ever delivered.
    async fn goes_on(&self, store: Arc<dyn CheckpointBackend>, keeps_sums: bool, of: &str) {
        let lane = Lane { store: store.clone(), ..self.lane(self.plain.clone()) };
        let key = lane.key.clone();
        assert_eq!(self.harness.run_once(lane).await, LaneEnd::Complete, "{of}");
        let mut taken: Vec<String> =
            self.plain.accepted().drain(..).map(|(identity, ..)| identity.to_string()).collect();
        let mut expected = identities(DELIVERED + 1..=DELIVERED + MORE);
        taken.sort();
        expected.sort();
        assert_eq!(taken, expected, "{of}");
        let mut stored = LaneCheckpoint::decode(&store.load(&key).await.unwrap().unwrap()).unwrap();
        stored.load(&*store, &key).await.unwrap();
        assert_eq!(stored.settled, DELIVERED + MORE, "{of}");
        let totals = stored.ledger.totals(&*store, &key, Hour(0)..Hour(u32::MAX)).await.unwrap();
        let counted = totals.sums.values().map(|sum| sum.count).chain(totals.days.values().copied()).sum::<u64>();
        assert!(!keeps_sums || counted == DELIVERED + MORE, "{of}: {counted} are in the ledger");
        let known: usize = totals.identities.values().map(|identities| identities.len()).sum();
        assert!(!stored.ledger.has_journals() || !keeps_sums || known > 500, "{of}: {known} identities are known");
    }
}

fn key(lane: &Lane) -> CheckpointKey {
    lane.key.clone()
}

#[test]
fn the_newest_layout_is_that_of_its_golden_files() {
    let pull = LaneHarness::new(|_| {}).pull(Stream::Activities);
    let (checkpoint, golden) = sample(&pull, true);
    let without_journal = sample(&pull, false).1.checkpoint;
    let layout = newest_layout(&pull);
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !folder(layout).exists() {
        write(layout, &golden, &copy_of(&checkpoint), &without_journal);
    }
    let other = "another layout needs another number, its fields at the end, and defaults for what older ones lack";
    assert!(read(layout) == golden, "{other}");
    assert!(fs::read(folder(layout).join("copy")).unwrap() == copy_of(&checkpoint), "{other}");
    assert!(fs::read(folder(layout).join("without-journal")).unwrap() == without_journal, "{other}");
}

#[tokio::test(start_paused = true)]
async fn a_lane_goes_on_from_each_layout_and_delivers_nothing_twice() {
    let later = Later::begin().await;
    for layout in OLDEST..=newest_layout(&later.harness.pull(Stream::Activities)) {
        let golden = read(layout);
        assert!(golden.journal.len() >= 3, "position, sums and identities are in the journal");
        let directory = tempfile::tempdir().unwrap();
        let files = Arc::new(FileStore::open(directory.path()).unwrap());
        files.commit(&key(&later.lane(later.plain.clone())), golden.update()).await.unwrap();
        later.goes_on(files, true, &format!("layout {layout} in files")).await;

        let whole = fs::read(folder(layout).join("without-journal")).unwrap();
        let memory = later.harness.store.clone();
        memory.checkpoints().insert(key(&later.lane(later.plain.clone())), whole);
        later.goes_on(memory, true, &format!("layout {layout} in a store without journals")).await;

        let copied = Arc::new(CountingStore::default());
        copied.0.lock().unwrap().checkpoint = Some(fs::read(folder(layout).join("copy")).unwrap());
        later.goes_on(copied, false, &format!("the copy of layout {layout}, the sink keeps no checkpoint now")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_with_checkpoints_goes_on_from_each_layout_and_commits_nothing_twice() {
    let later = Later::begin().await;
    for layout in OLDEST..=newest_layout(&later.harness.pull(Stream::Activities)) {
        let golden = read(layout);
        for has_checkpoint in [true, false] {
            let sink = Arc::new(CommittingSink::default());
            let before = has_checkpoint.then_some(&golden.checkpoint);
            sink.begin_with(identities(1..=DELIVERED), before, if has_checkpoint { &golden.journal } else { &NOTHING });
            let copy = fs::read(folder(layout).join("copy")).unwrap();
            later.harness.store.checkpoints().insert(key(&later.lane(sink.clone())), copy);
            later.harness.run_once(later.lane(sink.clone())).await;
            let when = format!("layout {layout}, the sink has a checkpoint: {has_checkpoint}");
            sink.assert_exactly_once(usize::try_from(DELIVERED + MORE).unwrap(), &when);
        }
    }
}

static NOTHING: BTreeMap<u64, Vec<u8>> = BTreeMap::new();

/// Each layout has its own folder, and nobody has removed one.
#[test]
fn each_layout_has_its_golden_files() {
    let folders = fs::read_dir(folder(0).parent().unwrap()).unwrap();
    let layouts: BTreeSet<u64> =
        folders.filter_map(|entry| entry.unwrap().file_name().to_str().and_then(|name| name.parse().ok())).collect();
    let newest = newest_layout(&LaneHarness::new(|_| {}).pull(Stream::Activities));
    assert_eq!(layouts, (OLDEST..=newest).collect());
}
