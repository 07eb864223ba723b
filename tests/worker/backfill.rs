//! A window pulled again next to a running worker: whole, once, and over any kill.

use std::collections::BTreeSet;
use std::time::Duration;

use s1_forwarder::emulator::{Console, Kind, RecordVersion, Scope, print_time, system_clock};
use serde_json::json;

use crate::support::double::FaultRule;
use crate::support::harness::{Destination, Harness, setting};
use crate::support::process::{Exit, PATIENCE, Process, program, until, until_within};

const DAY: i64 = 86_400_000_000;
/// Enough requests a second that the machine is the limit.
const FAST: [&str; 2] = ["--requests-per-second", "1000"];

/// The window of all that was there when the console began, and its flags.
struct Window {
    from: i64,
    to: i64,
}

impl Window {
    fn of(console: &Console) -> Self {
        let created = |version: &RecordVersion| version.created;
        let first = console.visible_versions(Kind::Activities, &Scope::Global).iter().map(created).min().unwrap();
        Self { from: first - DAY, to: system_clock() }
    }

    fn flags(&self) -> [String; 4] {
        ["--from".to_owned(), print_time(self.from), "--to".to_owned(), print_time(self.to)]
    }
}

fn backfill(harness: &Harness, window: &Window, more: &[&str]) -> Process {
    let flags = window.flags();
    let mut arguments = vec!["backfill", "pipelines/acme.yaml", "--stream", "activities"];
    arguments.extend(flags.iter().map(String::as_str));
    Process::spawn(program(harness.root(), &[&arguments[..], &FAST, more].concat()))
}

async fn terminate(process: Process) -> Exit {
    process.signal("TERM").await;
    process.exit().await
}

/// What the window holds.
fn owed(harness: &Harness, window: &Window) -> BTreeSet<String> {
    let within = |at: i64| window.from <= at && at < window.to;
    let versions = harness.console().visible_versions(Kind::Activities, &Scope::Global);
    let versions: Vec<_> = versions.into_iter().filter(|version| within(version.created)).collect();
    harness.identities(Kind::Activities, &versions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_that_is_killed_three_times_ends_with_every_record() {
    let activities = setting("S1_FORWARDER_BACKFILL", 6_000);
    let harness = Harness::new(|setup| setup.activities = activities).await;
    let window = Window::of(harness.console());
    // Hidden ones are asked for here, so that nothing of what the console has is left out.
    let version = |id| RecordVersion { id, created: 0, updated: 0 };
    let history: Vec<_> = harness.console().ids(Kind::Activities).into_iter().map(version).collect();
    let history = harness.identities(Kind::Activities, &history);
    assert_eq!(history.len(), activities);
    let batch = activities.div_ceil(60);
    let concurrency = 2;
    let kills = 3;
    let mut sink = harness.sink.settings();
    sink["batch"] = json!({ "events": batch, "timeout": "50ms" });
    sink["concurrency"] = json!(concurrency);
    let streams = json!({ "activities": { "interval": "200ms", "since": "now", "include_hidden": true } });
    harness.put_changed("acme", json!({ "streams": streams, "sinks": [sink] }));
    // The sink is slow, as in tests/worker/kill.rs: a disk that is slower than the sink would leave more unwritten than
    // is in flight.
    harness.sink.misbehave(5, vec![(1.0, FaultRule::Slow(Duration::from_millis(150)))]);
    let live = harness.worker();
    live.logged(&["a new lane begins"]).await;
    harness.console().set_rate(20.0, system_clock());

    let settled = || harness.sink.ledger().counts().len();
    for kill in 1..=kills {
        let running = backfill(&harness, &window, &["--parallel", "4"]);
        let enough = activities * kill / 5;
        until_within(5 * PATIENCE, "a part of the window is delivered", async || (settled() >= enough).then_some(()))
            .await;
        running.kill().await;
    }
    assert!(settled() < activities, "the kills came too late to mean anything");
    let done = backfill(&harness, &window, &[]).exit().await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let expected = format!("{activities} delivered; complete: the console counts {activities}");
    assert!(done.stdout.contains(&expected), "{}", done.stdout);
    assert!(!harness.path("state/backfill/acme/activities").read_dir().unwrap().any(|_| true), "nothing is left");

    let arrived = harness.sink.ledger().counts();
    assert!(history.iter().all(|id| arrived.contains_key(id)));
    let repeated: u32 = history.iter().map(|id| arrived[id] - 1).sum();
    // In flight, and acknowledged while the checkpoint before was being written.
    let bound = kills * 4 * 2 * concurrency * batch;
    println!("{activities} records, {kills} kills, {repeated} came again (at most {bound})");
    assert!(repeated as usize <= bound, "{repeated} came again, more than {bound}");

    // The worker next to it went on with its own.
    harness.console().set_rate(0.0, system_clock());
    let since = |id: &String| !history.contains(id);
    let new: BTreeSet<_> = harness.owed(Kind::Activities).into_iter().filter(since).collect();
    until("the live records are delivered", async || {
        let arrived = harness.sink.ledger().counts();
        new.iter().all(|id| arrived.contains_key(id)).then_some(())
    })
    .await;
    assert!(!new.is_empty());
    let live = terminate(live).await;
    assert_eq!(live.code, Some(0), "{}", live.stderr);
    assert!(!live.stderr.contains("failing"), "{}", live.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_a_backfill_so_that_it_goes_on_and_repeats_nothing() {
    let harness = Harness::new(|setup| setup.activities = 9_000).await;
    let window = Window::of(harness.console());
    let mut sink = harness.sink.settings();
    sink["batch"] = json!({ "events": 200, "timeout": "50ms" });
    harness.put_changed("acme", json!({ "sinks": [sink] }));
    harness.sink.misbehave(1, vec![(1.0, FaultRule::Slow(Duration::from_millis(100)))]);
    let running = backfill(&harness, &window, &["--parallel", "2"]);
    until("something is delivered", async || (harness.sink.ledger().counts().len() > 2_000).then_some(())).await;
    // Time for another process to come and go.
    harness.sink.misbehave(1, vec![(1.0, FaultRule::Slow(Duration::from_secs(2)))]);

    let second = backfill(&harness, &window, &[]).exit().await;
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("in use by another process"), "{}", second.stderr);

    let stopped = terminate(running).await;
    assert_eq!(stopped.code, Some(1), "{}{}", stopped.stdout, stopped.stderr);
    assert!(stopped.stdout.contains("same command again to continue"), "{}", stopped.stdout);
    harness.sink.misbehave(1, Vec::new());
    let before = harness.sink.ledger().counts().len();
    assert!(before < 9_000);
    let done = backfill(&harness, &window, &[]).exit().await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let arrived = harness.sink.ledger().counts();
    assert_eq!(arrived.keys().cloned().collect::<BTreeSet<_>>(), owed(&harness, &window));
    assert!(arrived.values().all(|count| *count == 1), "a drained backfill repeats nothing");
    // What is done is done: the same command pulls the window again.
    assert_eq!(backfill(&harness, &window, &[]).exit().await.code, Some(0));
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_came_late_is_missed_by_the_count_and_pulled_by_the_next_run() {
    let harness = Harness::new(|setup| setup.activities = 6_000).await;
    let window = Window::of(harness.console());
    let mut sink = harness.sink.settings();
    sink["batch"] = json!({ "events": 200, "timeout": "50ms" });
    harness.put_changed("acme", json!({ "sinks": [sink] }));
    harness.sink.misbehave(1, vec![(1.0, FaultRule::Slow(Duration::from_millis(500)))]);
    let running = backfill(&harness, &window, &["--parallel", "1"]);
    until("the first slice is done", async || (harness.sink.ledger().counts().len() > 3_500).then_some(())).await;
    terminate(running).await;
    let created = |version: &RecordVersion| version.created;
    let first = harness.console().visible_versions(Kind::Activities, &Scope::Global).iter().map(created).min().unwrap();
    harness.console().generate(Kind::Activities, first + 1_000);

    let short = backfill(&harness, &window, &[]).exit().await;
    assert_eq!(short.code, Some(1), "{}{}", short.stdout, short.stderr);
    let there = owed(&harness, &window).len();
    let reported = format!("{} delivered; NOT complete: the console counts {there}", there - 1);
    assert!(short.stdout.contains(&reported), "{}", short.stdout);
    let mended = backfill(&harness, &window, &[]).exit().await;
    assert_eq!(mended.code, Some(0), "{}{}", mended.stdout, mended.stderr);
    assert_eq!(harness.sink.ledger().counts().keys().cloned().collect::<BTreeSet<_>>(), owed(&harness, &window));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sink_is_filled_by_itself_and_filters_hold() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (1_500, 300)).await;
    let window = Window::of(harness.console());
    let mut second = harness.sink.settings();
    second["name"] = json!("copy");
    second["type"] = json!("file");
    for key in ["url", "retry"] {
        second.as_object_mut().unwrap().remove(key);
    }
    second["path"] = json!(harness.path("copy.ndjson"));
    let first: serde_json::Value = {
        let id = harness.console().ids(Kind::Activities)[0];
        serde_json::from_slice(&harness.console().record(Kind::Activities, id).unwrap()).unwrap()
    };
    let excluded = &first["activityType"];
    harness.put_changed(
        "acme",
        json!({
            "enabled": false, "sinks": [harness.sink.settings(), second],
            "streams": { "activities": { "exclude_types": [excluded] }, "threats": {} },
        }),
    );
    let both = backfill(&harness, &window, &[]).exit().await;
    assert_eq!(both.code, Some(0), "{}{}", both.stdout, both.stderr);
    let kept = harness.sink.ledger().counts().len();
    assert!(kept > 0 && kept < 1_500, "{kept}");
    let lines = std::fs::read_to_string(harness.path("copy.ndjson")).unwrap().lines().count();
    assert_eq!(lines, kept, "the other sink has as much");
    assert_eq!(both.stdout.matches("complete: the console counts").count(), 2, "{}", both.stdout);

    let one = backfill(&harness, &window, &["--sink", "copy"]).exit().await;
    assert_eq!((one.code, one.stdout.lines().count()), (Some(0), 1), "{}{}", one.stdout, one.stderr);
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_usage_is_reported_and_ends_with_2() {
    let harness = Harness::new(|setup| setup.activities = 10).await;
    harness.put_changed("acme", json!({}));
    let cases: [(&str, &str, &str, &[&str], &str); 6] = [
        ("activities", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", &[], "must be before"),
        ("activities", "2026-01-01T00:00:00", "2026-01-02T00:00:00Z", &[], "with its zone"),
        ("threats", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", &[], "accepts the stream threats"),
        ("activities", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", &["--sink", "other"], "no sink `other`"),
        ("nothing", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", &[], "nothing"),
        ("activities", "2126-01-01T00:00:00Z", "2126-01-02T00:00:00Z", &[], "in the future"),
    ];
    for (stream, from, to, more, reported) in cases {
        let arguments = ["backfill", "pipelines/acme.yaml", "--stream", stream, "--from", from, "--to", to];
        let exit = harness.command(&[&arguments[..], more].concat()).await;
        assert_eq!(exit.code, Some(2), "{stream} {from} {to}: {}", exit.stderr);
        assert!(exit.stderr.contains(reported), "{}", exit.stderr);
    }
}

/// Agents that are sent as snapshots are named by the snapshot that is the last one before the window's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_of_snapshots_are_named_as_the_snapshot_names_them() {
    let harness = Harness::new(|setup| setup.agents = 120).await;
    let agents = json!({ "mode": "snapshot", "interval": "365d" });
    harness.put_changed("acme", json!({ "streams": { "activities": null, "agents": agents } }));
    let live = harness.once(&[]).await;
    assert_eq!(live.code, Some(0), "{}", live.stderr);
    let snapshot = harness.sink.ledger().counts();
    let owed = harness.console().visible_versions(Kind::Agents, &Scope::Global).len();
    assert_eq!(snapshot.len(), owed);

    let window = async |command: &str, days: i64, flags: &[&str]| {
        let from = print_time(system_clock() - days * DAY);
        let to = print_time(system_clock());
        let arguments = [command, "pipelines/acme.yaml", "--stream", "agents", "--from", &from, "--to", &to];
        let done = harness.command(&[&arguments[..], &FAST, flags].concat()).await;
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        harness.sink.ledger().counts()
    };
    let arrived = window("backfill", 1000, &[]).await;
    assert!(arrived.values().all(|count| *count == 2), "each came once more, under the same name: {}", arrived.len());
    assert_eq!(arrived.len(), owed);

    // One that the snapshot did not show: a repair names it as a backfill does, which names the others as the snapshot
    // did.
    let shown = || harness.console().visible_versions(Kind::Agents, &Scope::Global).len();
    while shown() == owed {
        harness.console().generate(Kind::Agents, system_clock() - DAY / 8);
    }
    let arrived = window("verify", 1, &["--repair"]).await;
    assert_eq!(
        arrived.values().filter(|count| **count == 1).count(),
        1,
        "the repair brings what is missing, and no more"
    );
    let arrived = window("backfill", 1000, &[]).await;
    assert_eq!(arrived.len(), shown(), "under the same names");
}
