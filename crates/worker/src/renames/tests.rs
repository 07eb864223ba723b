use std::path::PathBuf;

use s1_forwarder_engine::checkpoint::ledger::Ledger;
use s1_forwarder_engine::checkpoint::{CheckpointBackend, CheckpointKey, MemoryStore};
use s1_forwarder_engine::source::SourcePosition;
use s1_forwarder_record::{Clock, LaneId, Timestamp};
use s1_forwarder_state::{FileStore, StoreLocation};
use s1_forwarder_telemetry::usage::{CountedTime, Delta, Usage};
use s1_forwarder_telemetry::{LaneState, LaneStateKind, Telemetry};
use tokio::time::timeout;

use super::*;
use crate::options::Options;
use crate::pipeline::{self, FileOptions};
use crate::shared::Shared;
use crate::usage::usage_area;

const LEASE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_mins(1);
const SCOPE: &str = "accountIds=225494730938493804";

/// A worker with a store in memory, and the pipeline `corp` whose lane is about to begin.
struct Fixture {
    store: Arc<MemoryStore>,
    shared: Arc<Shared>,
    pipeline: Arc<Pipeline>,
    meter: Meter,
}

impl Fixture {
    /// Creates a lane without a checkpoint. `more` are keys of the pipeline file.
    fn new(renamed_wait: Option<Duration>, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "console: {{ url: 'https://acme.example', token: none, accounts: ['225494730938493804'] }}\nstreams: {{ threats: {{}} }}\n\
             sinks: [{{ type: http, name: siem, url: 'https://siem.example' }}]\n{more}\n"
        );
        let file = directory.path().join("corp.yaml");
        std::fs::write(&file, text).unwrap();
        let loaded = pipeline::load(&[file], &FileOptions::default());
        let [pipeline] = &loaded.pipelines[..] else { panic!("{:?}", loaded.problems) };
        let store = Arc::<MemoryStore>::default();
        let options = Options {
            state: StoreLocation::File(PathBuf::from("/var/lib/s1 forwarder")),
            instance: "emea".to_owned(),
            lease: LEASE,
            renamed_wait,
            ..Options::default()
        };
        let shared = Shared::with_store(store.clone(), options, Arc::new(Telemetry::new()));
        let meter = Meter::detached(
            &shared.telemetry,
            &LaneId::new("corp", s1_forwarder_record::Stream::Threats, "siem"),
            "http",
            Clock::System,
        );
        let fixture = Self { store, shared, pipeline: pipeline.clone(), meter };
        fixture.set_files(&["corp"]);
        fixture
    }

    /// Makes the pipeline a tenant's.
    fn of_tenant(mut self, tenant: &str) -> Self {
        self.pipeline = Arc::new(Pipeline { tenant: Some(tenant.into()), ..(*self.pipeline).clone() });
        self.set_files(&["corp"]);
        self
    }

    fn set_files(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let pipelines = || std::iter::once(&self.pipeline);
        self.shared.renames.set_files(names, pipelines(), pipelines());
    }

    /// Returns whether `corp/threats/siem` may begin within the time.
    async fn begins_within(&self, time: Duration) -> bool {
        timeout(time, self.begin(false)).await.is_ok_and(|begins| begins)
    }

    async fn begin(&self, once: bool) -> bool {
        let spec = LaneSpec::of(&self.pipeline).remove(0);
        let lane =
            Beginning { spec: &spec, lane_builder: &self.shared.lane_builder, meter: &self.meter, shard: 0, once };
        self.shared.renames.begin(lane).await.is_some()
    }

    fn text(&self) -> String {
        match self.meter.metrics.state() {
            LaneState { kind: LaneStateKind::Renamed, error: Some(text) } => text,
            other => panic!("{other:?}"),
        }
    }
}

fn key(name: &str) -> CheckpointKey {
    name.parse().unwrap()
}

/// Returns a checkpoint that was written at `second`.
fn checkpoint(host: &str, scope: &str, sink_type: &str, second: i64) -> Vec<u8> {
    checkpoint_of("", host, scope, sink_type, second)
}

/// Returns a checkpoint of a tenant.
fn checkpoint_of(tenant: &str, host: &str, scope: &str, sink_type: &str, second: i64) -> Vec<u8> {
    let time = Timestamp::from_micros(1_790_000_000_000_000 + second * 1_000_000);
    let ledger = Ledger::begin(time, String::new(), false);
    let position = SourcePosition::starting_at(time);
    let mut checkpoint = LaneCheckpoint::begin(host.into(), scope.into(), "1d".into(), time, position, ledger);
    checkpoint.sink_type = sink_type.into();
    checkpoint.tenant = tenant.into();
    checkpoint.encode()
}

impl Fixture {
    async fn put(&self, name: &str, bytes: Vec<u8>) {
        self.store.commit(&key(name), bytes.into()).await.unwrap();
    }

    async fn put_fitting(&self, name: &str, second: i64) {
        self.put(name, checkpoint("acme.example", SCOPE, "http", second)).await;
    }

    /// Writes the checkpoint every ten seconds, as a lane that delivers.
    async fn run_elsewhere(&self, name: &str, time: Duration) {
        for second in 0..time.as_secs() as i64 / 10 {
            sleep(Duration::from_secs(10)).await;
            self.put_fitting(name, second).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_renamed_pipeline_waits_for_state_rename_and_says_so() {
    let fixture = Fixture::new(None, "");
    fixture.put_fitting("acme/threats/siem", 0).await;
    assert!(!fixture.begins_within(LEASE).await);
    let command = "s1-forwarder state rename acme corp --state 'file:/var/lib/s1 forwarder' --instance emea";
    let text = fixture.text();
    assert!(text.contains("(its worker may still run), ") && text.ends_with(command), "{text}");
    assert!(fixture.meter.metrics.state().is_up());
    assert!(!fixture.begins_within(1_000 * MINUTE).await);
    assert!(fixture.text().ends_with(command), "{}", fixture.text());
    let renamed = async {
        sleep(MINUTE).await;
        fixture.store.rename(&key("acme/threats/siem"), &key("corp/threats/siem")).await.unwrap();
    };
    let (begins, ()) = tokio::join!(fixture.begins_within(3 * MINUTE), renamed);
    assert!(begins);
    assert_eq!(fixture.meter.metrics.state().kind, LaneStateKind::Starting);
}

#[tokio::test(start_paused = true)]
async fn only_a_checkpoint_of_the_same_records_and_of_a_pipeline_without_a_file_counts() {
    let fits = || checkpoint("acme.example", SCOPE, "http", 0);
    for (name, bytes, waits) in [
        ("acme/threats/siem", fits(), true),
        ("acme/threats/other", fits(), true),
        ("acme/threats/siem", checkpoint("acme.example", SCOPE, "", 0), true),
        ("corp/threats/other", fits(), false),
        ("file/threats/siem", fits(), false),
        ("acme/activities/siem", fits(), false),
        ("acme/threats/siem", checkpoint("globex.example", SCOPE, "http", 0), false),
        ("acme/threats/siem", checkpoint("acme.example", "", "http", 0), false),
        ("acme/threats/siem", checkpoint("acme.example", SCOPE, "kafka", 0), false),
        ("acme/threats/siem", b"damaged".to_vec(), false),
        ("acme/threats/siem+plan", fits(), false),
    ] {
        let fixture = Fixture::new(None, "");
        fixture.set_files(&["corp", "file"]);
        fixture.put(name, bytes).await;
        assert_eq!(fixture.begins_within(MINUTE).await, !waits, "{name}");
        if waits {
            let short = name.ends_with("/siem");
            let command = if short { "rename acme corp " } else { "rename acme/threats/other corp/threats/siem " };
            assert!(fixture.text().contains(command), "{}", fixture.text());
        }
        // One with a checkpoint of its own goes on, whatever else there is.
        fixture.put_fitting("corp/threats/siem", 0).await;
        assert!(fixture.begins_within(Duration::ZERO).await, "{name}");
    }
}

/// Another installation on the same store has such a checkpoint. This installation has nothing to do with the lanes of
/// the other one.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_still_moves_after_ten_minutes_is_another_installations() {
    let fixture = Fixture::new(None, "");
    fixture.put_fitting("acme/threats/siem", -1).await;
    let started_at = Instant::now();
    let elsewhere = fixture.run_elsewhere("acme/threats/siem", 20 * MINUTE);
    let lane = async {
        assert!(fixture.begin(false).await);
        started_at.elapsed()
    };
    let (took, ()) = tokio::join!(lane, elsewhere);
    assert!(took >= 10 * MINUTE && took <= 11 * MINUTE, "{took:?}");
}

/// As while a new ConfigMap reaches one worker after the other.
#[tokio::test(start_paused = true)]
async fn while_another_worker_runs_the_old_name_nothing_begins() {
    for (source, wait) in [("", Some(5 * MINUTE)), ("renamed_from: acme", None)] {
        let fixture = Fixture::new(wait, source);
        fixture.put_fitting("acme/threats/siem", -1).await;
        let started_at = Instant::now();
        let rolling = fixture.run_elsewhere("acme/threats/siem", 2 * MINUTE);
        let lane = async {
            assert!(fixture.begin(false).await);
            started_at.elapsed()
        };
        let (took, ()) = tokio::join!(lane, rolling);
        let least = 2 * MINUTE + 2 * LEASE + wait.unwrap_or_default();
        assert!(took >= least && took <= least + LEASE, "{took:?}");
        let checkpoints = fixture.store.checkpoints();
        let names: Vec<String> = checkpoints.keys().map(ToString::to_string).collect();
        // `renamed_from` takes the last position with it.
        let (name, last) = match source {
            "" => ("acme/threats/siem", 11),
            _ => ("corp/threats/siem", 11),
        };
        assert_eq!(names, [name]);
        assert_eq!(checkpoints[&key(name)], checkpoint("acme.example", SCOPE, "http", last));
    }
}

#[tokio::test(start_paused = true)]
async fn renamed_from_waits_until_the_old_file_is_gone_and_its_lanes_have_ended() {
    let fixture = Fixture::new(Some(Duration::ZERO), "renamed_from: acme");
    fixture.put("acme/threats/siem", checkpoint("elsewhere.example", "", "kafka", 0)).await;
    fixture.set_files(&["acme", "corp"]);
    let old = key("acme/threats/siem").lane;
    fixture.shared.renames.known.lock().set_running(&old, true);
    // The old lane moves its checkpoint meanwhile, which does not make it another installation's.
    let moves = fixture.run_elsewhere("acme/threats/siem", 20 * MINUTE);
    let (begins, ()) = tokio::join!(fixture.begins_within(60 * MINUTE), moves);
    assert!(!begins);
    assert!(fixture.text().contains("has a pipeline file"), "{}", fixture.text());
    fixture.set_files(&["corp"]);
    assert!(!fixture.begins_within(60 * MINUTE).await, "it drains");
    drop(Running { renames: &fixture.shared.renames, lane: &old });
    assert!(fixture.begins_within(3 * LEASE).await);
    assert!(fixture.store.checkpoints().contains_key(&key("corp/threats/siem")));
    // Only once: what is put there again is not taken.
    fixture.put_fitting("acme/threats/siem", 7).await;
    assert!(fixture.begins_within(Duration::ZERO).await);
    assert!(fixture.store.checkpoints().contains_key(&key("acme/threats/siem")));
}

#[tokio::test(start_paused = true)]
async fn run_once_gives_up_but_takes_what_renamed_from_names() {
    let fixture = Fixture::new(Some(Duration::ZERO), "");
    fixture.put_fitting("acme/threats/siem", 0).await;
    let started_at = Instant::now();
    assert!(!fixture.begin(true).await);
    assert_eq!(started_at.elapsed(), Duration::ZERO);
    let (_, error) = fixture.meter.metrics.last_error().unwrap();
    assert!(error.contains("state rename acme corp"), "{error}");

    let fixture = Fixture::new(None, "renamed_from: acme");
    fixture.put_fitting("acme/threats/siem", 0).await;
    assert!(fixture.begin(true).await);
    assert!(fixture.store.checkpoints().contains_key(&key("corp/threats/siem")));
    let fixture = Fixture::new(None, "renamed_from: acme");
    fixture.put_fitting("acme/threats/siem", 0).await;
    fixture.set_files(&["acme", "corp"]);
    assert!(!fixture.begin(true).await);
}

/// `state rename` next to a worker that still runs the old name: its lane must not begin at `since` either.
#[tokio::test(start_paused = true)]
async fn a_lane_that_loses_its_checkpoint_to_another_name_waits() {
    let fixture = Fixture::new(None, "");
    fixture.put_fitting("corp/threats/siem", 0).await;
    assert!(fixture.begins_within(Duration::ZERO).await);
    fixture.store.rename(&key("corp/threats/siem"), &key("new/threats/siem")).await.unwrap();
    fixture.shared.renames.forget_listing().await;
    assert!(!fixture.begins_within(MINUTE).await);
    assert!(fixture.text().contains("state rename new corp"), "{}", fixture.text());
}

#[tokio::test(start_paused = true)]
async fn lanes_that_run_are_not_renamed() {
    let fixture = Fixture::new(None, "");
    fixture.put_fitting("acme/threats/siem", 0).await;
    let renames = &fixture.shared.renames;
    let lanes = ["acme/threats/siem", "corp/threats/siem"].map(|name| key(name).lane);
    let [old, new] = &lanes;
    let rename = async || {
        let renaming = rename_checkpoint(&*fixture.store, &fixture.shared.options, old, new);
        renames.rename(old, new, renaming).await
    };
    for lane in &lanes {
        renames.known.lock().set_running(lane, true);
        let refused = rename().await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("lane {lane} runs in this worker")), "{refused}");
        renames.known.lock().set_running(lane, false);
    }
    rename().await.unwrap();
    assert!(rename().await.unwrap_err().to_string().contains("already has a checkpoint"));
}

/// The process crashed between any two steps of the rename.
#[tokio::test]
async fn a_rename_that_is_repeated_counts_what_the_lane_did_once() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let options = Options { state: StoreLocation::File(state.clone()), ..Options::default() };
    let store = FileStore::open(&state).unwrap();
    let [old, new] = ["acme/threats/siem+usage", "corp/threats/siem+usage"].map(key);
    let now = Timestamp::from_micros(1_790_000_000_000_000);
    let usage = |events, write| {
        let mut delta = Delta::default();
        delta.at(now).events = events;
        let mut usage = Usage::default();
        usage.add(&delta, CountedTime { from: now, until: now, is_over: true, write });
        usage.encode()
    };
    store.commit(&old.lane.clone().into(), vec![1].into()).await.unwrap();
    for (events, has_new) in [(5, false), (12, true)] {
        if has_new {
            store.commit(&new, usage(7, (2, 2)).into()).await.unwrap();
        }
        for repeated in 0..4_u64 {
            store.commit(&old, usage(5, (1, 1)).into()).await.unwrap();
            rename_checkpoint(&store, &options, &old.lane, &new.lane).await.unwrap();
            let mut renamed = Usage::decode(&store.load(&new).await.unwrap().unwrap()).unwrap();
            assert_eq!(renamed.events_of_day(now, 0), events + repeated, "repeated: {repeated}");
            assert_eq!(store.load(&old).await.unwrap(), None);
            // A worker runs the new name before the call is repeated.
            let mut delta = Delta::default();
            delta.at(now).events = 1;
            renamed.add(&delta, CountedTime { from: now, until: now, is_over: false, write: (4, repeated) });
            store.commit(&new, renamed.encode().into()).await.unwrap();
        }
    }
    // The last step is about what commands did.
    let by_commands = options.open_state(Some(usage_area())).await.unwrap();
    by_commands.commit(&old, usage(5, (3, 3)).into()).await.unwrap();
    by_commands.close().await;
    drop(by_commands);
    rename_checkpoint(&store, &options, &old.lane, &new.lane).await.unwrap();
    let by_commands = options.open_state(Some(usage_area())).await.unwrap();
    assert_eq!(by_commands.list_all().await.unwrap(), [new]);
}

/// Lanes that have a checkpoint do not depend on the list.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_to_list_stops_new_lanes_only() {
    let fixture = Fixture::new(None, "");
    fixture.store.set_unlisted(true);
    assert!(!fixture.begins_within(MINUTE).await);
    let state = fixture.meter.metrics.state();
    let LaneState { kind: LaneStateKind::Stopped, error: Some(text) } = state else { panic!("{state:?}") };
    assert!(text.contains("cannot list memory"), "{text}");
    let started_at = Instant::now();
    assert!(!fixture.begin(true).await, "it is given up");
    assert!(started_at.elapsed() < MINUTE);
    let listed = async {
        sleep(MINUTE).await;
        fixture.store.set_unlisted(false);
    };
    let (begins, ()) = tokio::join!(fixture.begins_within(2 * MINUTE), listed);
    assert!(begins && fixture.meter.metrics.state().is_up());

    let fixture = Fixture::new(None, "");
    fixture.store.set_unlisted(true);
    fixture.put_fitting("corp/threats/siem", 0).await;
    assert!(fixture.begins_within(Duration::ZERO).await);
}

#[tokio::test(start_paused = true)]
async fn of_several_checkpoints_the_one_that_has_come_furthest_is_named() {
    let fixture = Fixture::new(None, "");
    fixture.put_fitting("aaa/threats/siem", 0).await;
    fixture.put_fitting("zzz/threats/siem", 100).await;
    assert!(!fixture.begins_within(LEASE).await);
    let text = fixture.text();
    assert!(text.contains("state rename zzz corp ") && text.contains("than 1 more that fit"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_gets_no_name_for_which_the_file_has_no_lane() {
    let fixture = Fixture::new(None, "");
    fixture.put_fitting("acme/threats/http", 0).await;
    let [from, to] = ["acme/threats/http", "corp/threats/http"].map(|name| key(name).lane);
    let renamed = fixture.shared.renames.rename(&from, &to, async { panic!("it was tried") }).await;
    let reason = renamed.unwrap_err().to_string();
    assert!(reason.contains("the file of `corp` has no lane corp/threats/http"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_waits_for_checkpoints_of_its_own_place_only_and_hears_of_no_others() {
    for (own, others, waits) in [
        (Some("acme"), "acme", true),
        (Some("acme"), "globex", false),
        // The other checkpoint is the operator's, or of an earlier release.
        (Some("acme"), "", false),
        (None, "globex", true),
    ] {
        let fixture = Fixture::new(None, "");
        let fixture = if let Some(own) = own { fixture.of_tenant(own) } else { fixture };
        fixture.put("acme/threats/siem", checkpoint_of(others, "acme.example", SCOPE, "http", 0)).await;
        // This checkpoint has come further, and does not count.
        fixture.put("other/threats/siem", checkpoint_of("another", "acme.example", SCOPE, "http", -1)).await;
        assert_eq!(fixture.begins_within(MINUTE).await, !waits, "{own:?} {others}");
        if waits {
            let text = fixture.text();
            assert_eq!(text.contains("/var/lib"), own.is_none(), "{text}");
            assert_eq!(text.contains("`renamed_from: acme`"), own.is_some(), "{text}");
            assert_eq!(text.contains("1 more that fit"), own.is_none(), "{text}");
            assert!(text.contains("s1-forwarder state rename acme corp"), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_takes_over_checkpoints_of_its_own_place_only() {
    for (source, takes) in [
        (checkpoint_of("acme", "acme.example", SCOPE, "http", 0), true),
        (checkpoint_of("globex", "acme.example", SCOPE, "http", 0), false),
        (checkpoint_of("", "acme.example", SCOPE, "http", 0), false),
        (b"damaged".to_vec(), false),
    ] {
        let fixture = Fixture::new(None, "renamed_from: acme").of_tenant("acme");
        fixture.put("acme/threats/siem", source).await;
        // Even if another tenant has a file of this name: that would be said to this one.
        fixture.set_files(if takes { &["corp"] } else { &["acme", "corp"] });
        assert!(fixture.begins_within(3 * LEASE).await, "takes: {takes}");
        assert_eq!(fixture.store.checkpoints().contains_key(&key("acme/threats/siem")), !takes);
    }
}

#[tokio::test(start_paused = true)]
async fn new_lanes_of_a_tenant_with_too_many_orphans_do_not_begin() {
    let put = async |fixture: &Fixture, tenant: &str, count: usize| {
        for number in 0..count {
            // The checkpoints are of another console, so that no lane waits for them.
            let bytes = checkpoint_of(tenant, "other.example", SCOPE, "http", 0);
            fixture.put(&format!("{tenant}-{number}/threats/siem"), bytes).await;
        }
    };
    let fixture = Fixture::new(None, "").of_tenant("acme");
    put(&fixture, "acme", 1_000).await;
    put(&fixture, "globex", 1_000).await;
    assert!(fixture.begins_within(Duration::ZERO).await);
    assert_eq!(fixture.shared.renames.count_orphans(), 2_000);

    // A lane that its file no longer has belongs to no file either.
    let fixture = Fixture::new(None, "").of_tenant("acme");
    put(&fixture, "acme", 1_000).await;
    fixture.put("corp/threats/gone", checkpoint_of("acme", "other.example", SCOPE, "http", 0)).await;
    assert!(!fixture.begins_within(10 * MINUTE).await);
    let state = fixture.meter.metrics.state();
    assert_eq!(state.reason(), Some("TooManyOrphans"), "{state:?}");
    let text = state.error().unwrap();
    assert!(text.starts_with("1001 checkpoints of this namespace, directory or file"), "{text}");
    assert!(!fixture.begin(true).await, "with --once it is given up");
    let removed = async {
        sleep(MINUTE).await;
        fixture.store.delete(&key("acme-7/threats/siem")).await.unwrap();
    };
    let (begins, ()) = tokio::join!(fixture.begins_within(4 * MINUTE), removed);
    assert!(begins && fixture.meter.metrics.state().is_up());
    assert_eq!(fixture.shared.renames.count_orphans(), 1_000);

    // Lanes that have begun go on, and other tenants and the operator have nothing to do with it.
    for (tenant, lane) in [("acme", "corp/threats/siem"), ("globex", ""), ("", "")] {
        let fixture = Fixture::new(None, "");
        let fixture = if tenant.is_empty() { fixture } else { fixture.of_tenant(tenant) };
        put(&fixture, "acme", 1_001).await;
        if !lane.is_empty() {
            fixture.put(lane, checkpoint_of("acme", "acme.example", SCOPE, "http", 0)).await;
        }
        assert!(fixture.begins_within(Duration::ZERO).await, "{tenant}");
    }
}
