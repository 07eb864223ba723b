//! State that cannot be used: refused with its reason before anything is sent that could not be remembered.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use s1_forwarder::checkpoint::{CheckpointBackend, CheckpointKey, Store};
use s1_forwarder::emulator::{Kind, system_clock};
use s1_forwarder::lane::{InStore, LaneCheckpoint, copy_of};
use s1_forwarder::source::SourcePosition;
use s1_forwarder::state::FileStore;
use serde_json::json;

use crate::support::harness::Harness;
use crate::support::process::{Process, program, until};

const CHECKPOINT: &str = "state/lanes/acme/activities/siem.checkpoint";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_cannot_be_written_ends_the_start_with_1() {
    let harness = Harness::new(|setup| setup.activities = 10).await;
    harness.put_changed("acme", json!({}));
    // Below a file, and where no user may make a directory: also root cannot.
    for (state, reported) in
        [("file:token/state", "Not a directory"), ("file:/proc/s1-forwarder", "cannot create /proc/s1-forwarder")]
    {
        let exit = harness.once(&["--state", state]).await;
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        assert!(exit.stderr.contains(reported), "{}", exit.stderr);
        let exit = harness.worker_with(&["--state", state]).exit().await;
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        assert!(exit.stderr.contains(reported), "{}", exit.stderr);
    }
    assert!(harness.sink.requests().is_empty(), "nothing is sent");
    assert!(harness.console().request_log().is_empty(), "nothing is pulled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_user_has_prepared_in_the_state_is_not_written() {
    let harness = Harness::new(|setup| setup.activities = 10).await;
    harness.put_changed("acme", json!({}));
    fs::create_dir(harness.path("state")).unwrap();
    fs::set_permissions(harness.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("every user may write there"), "{}", exit.stderr);
    fs::set_permissions(harness.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    harness.write("foreign", "foreign");
    fs::create_dir_all(harness.path(CHECKPOINT).parent().unwrap()).unwrap();
    symlink(harness.path("foreign"), harness.path(CHECKPOINT).with_extension("new")).unwrap();
    let mut worker = harness.worker();
    let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
    assert!(lane["error"].as_str().unwrap().contains("a symbolic link is in its place"), "{lane}");
    assert_eq!(fs::read_to_string(harness.path("foreign")).unwrap(), "foreign");
    fs::remove_file(harness.path(CHECKPOINT).with_extension("new")).unwrap();
    harness.delivered(&[Kind::Activities]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_state_is_refused() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put_changed("acme", json!({}));
    let mut first = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    for arguments in [
        &["run", "--pipelines", "pipelines", "--listen", "127.0.0.1:0"][..],
        &["run", "--once", "--pipelines", "pipelines"],
        &["state", "delete", "acme/activities/siem"],
    ] {
        let second = harness.command(arguments).await;
        assert_eq!(second.code, Some(1), "{arguments:?}: {}{}", second.stdout, second.stderr);
        assert!(second.stderr.contains("is in use by another process"), "{}", second.stderr);
        assert!(
            !second.stderr.contains("listening"),
            "a process without its state says nothing of the kind: {}",
            second.stderr
        );
    }
    harness.console().generate(Kind::Activities, system_clock());
    harness.delivered(&[Kind::Activities]).await;
    assert_eq!(first.get("/readyz").await.0, 200);
    first.signal("TERM").await;
    assert_eq!(first.exit().await.code, Some(0));
    let listed = harness.command(&["state", "delete", "acme/activities/siem"]).await;
    assert!(listed.code == Some(0) && listed.stdout.contains("acme/activities/siem"), "{}", listed.stdout);
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
}

/// A transactional sink has the checkpoint itself, and the store a copy, which yields to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_renamed_or_deleted_is_no_copy_any_more() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put_changed("acme", json!({}));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let store = || FileStore::open(&harness.path("state")).unwrap();
    let stored = async |name: &str| {
        let key: CheckpointKey = name.parse().unwrap();
        let bytes = store().load(&key).await.unwrap().unwrap();
        (InStore::of(Some(&bytes)) == InStore::Copy, LaneCheckpoint::decode(&bytes).unwrap())
    };
    let (_, checkpoint) = stored("acme/activities/siem").await;
    let put_copy = async |name: &str| {
        store().commit(&name.parse().unwrap(), copy_of(&checkpoint).into()).await.unwrap();
        assert!(stored(name).await.0);
    };

    put_copy("acme/activities/siem").await;
    let renamed = harness.command(&["state", "rename", "acme", "other"]).await;
    assert_eq!(renamed.code, Some(0), "{}", renamed.stderr);
    let (is_copy, renamed) = stored("other/activities/siem").await;
    assert_eq!((is_copy, renamed.position), (false, checkpoint.position.clone()));

    // The sink may be further than its copy, which must not count because a command was refused.
    put_copy("acme/activities/siem").await;
    assert_eq!(harness.command(&["state", "rename", "acme", "other"]).await.code, Some(1), "the name is taken");
    assert!(stored("acme/activities/siem").await.0);
    store().delete(&"acme/activities/siem".parse().unwrap()).await.unwrap();

    put_copy("other/activities/siem").await;
    let deleted = harness.command(&["state", "delete", "other"]).await;
    assert!(deleted.code == Some(0) && deleted.stdout.contains("starts at 2"), "{}{}", deleted.stdout, deleted.stderr);
    let (is_copy, deleted) = stored("other/activities/siem").await;
    assert_eq!((is_copy, deleted.position), (false, SourcePosition::starting_at(checkpoint.since_resolved)));
    assert_eq!(harness.command(&["state", "delete", "other"]).await.code, Some(0));
    assert!(harness.command(&["state", "list"]).await.stdout.contains("no checkpoints"));

    // It is not known where the lane began. So it is not said that it begins there again.
    let damaged = [&copy_of(&checkpoint)[..1], b"damaged"].concat();
    store().commit(&"other/activities/siem".parse().unwrap(), damaged.into()).await.unwrap();
    let deleted = harness.command(&["state", "delete", "other"]).await;
    let continues = "other/activities/siem continues from the checkpoint in its sink";
    assert!(deleted.code == Some(0) && deleted.stdout.contains(continues), "{}{}", deleted.stdout, deleted.stderr);
}

/// Checkpoints name customers, and dead letters hold whole events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_reads_state_and_dead_letters() {
    let harness = Harness::new(|setup| setup.activities = 60).await;
    harness.console().generate_oversized(Kind::Activities, system_clock() - 600_000_000, 150_000);
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.put_changed("acme", json!({}));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(harness.path("state/dead-letters/acme/activities.siem.ndjson").is_file(), "{}", exit.stdout);
    let mut left = vec![harness.path("state")];
    let mut files = 0;
    while let Some(path) = left.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, wanted, "{}", path.display());
        if metadata.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files += 1;
        }
    }
    assert!(files >= 3, "lock, checkpoint and dead letters: {files}");
}

/// Each file of the journal: those of the position, without which the lane cannot go on, and those of the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_damaged_part_of_a_journal_is_listed() {
    let harness = Harness::new(|setup| setup.activities = 3_000).await;
    // A position that remembers what was created in its overlap has a journal too.
    let mut pipeline = harness.pipeline(json!({ "streams": { "activities": { "overlap": "30d" } } }));
    let mut sinks = vec![pipeline["sinks"][0].clone(), pipeline["sinks"][0].clone()];
    // Its ledger is looked at first.
    sinks[0]["name"] = json!("other");
    pipeline["sinks"] = json!(sinks);
    harness.put("acme", &pipeline);
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let listed = harness.command(&["state", "list"]).await;
    assert_eq!((listed.code, &*listed.stderr), (Some(0), ""), "{}", listed.stdout);
    let mut found = Vec::new();
    let mut of_ledger = None;
    for file in fs::read_dir(harness.path("state/lanes/acme/activities/siem.journal")).unwrap() {
        let file = file.unwrap().path();
        let whole = fs::read(&file).unwrap();
        for damaged in [None, Some([&whole[..whole.len() - 1], b"\xa5"].concat())] {
            match damaged {
                None => fs::remove_file(&file).unwrap(),
                Some(damaged) => fs::write(&file, damaged).unwrap(),
            }
            let listed = harness.command(&["state", "list"]).await;
            assert!(listed.code == Some(1) && listed.stderr.contains("missing or damaged"), "{}", listed.stderr);
            found.push(listed.stdout.contains("unreadable"));
            assert_ne!(listed.stdout.contains("unreadable"), listed.stderr.contains("the lane does without it"));
            fs::write(&file, &whole).unwrap();
        }
        if found.last() == Some(&false) {
            of_ledger = Some(file);
        }
    }
    // A running worker says so, too. Of the other lane, all are gone.
    fs::remove_file(of_ledger.expect("a segment of the ledger")).unwrap();
    fs::remove_dir_all(harness.path("state/lanes/acme/activities/other.journal")).unwrap();
    let mut worker = harness.worker();
    worker.logged(&["segment", "of the ledger of lane acme/activities/siem", "the lane does without it"]).await;
    assert_eq!(worker.lane("acme/activities/siem", |lane| lane["state"] == "running").await["up"], true);
    // A lane that it has stopped does not do without it.
    let stopped = worker.lane("acme/activities/other", |lane| lane["state"] == "stopped").await;
    assert!(stopped["error"].as_str().unwrap().contains("delivers again what it delivered"), "{stopped}");
    assert!(!worker.log_text().contains("of the ledger of lane acme/activities/other"), "{}", worker.log_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_newer_checkpoint_stops_its_lane_alone() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (60, 40)).await;
    let streams = json!({ "activities": { "interval": "300ms" }, "threats": { "interval": "300ms", "since": "30d" } });
    harness.put_changed("acme", json!({ "streams": streams }));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let good = fs::read(harness.path(CHECKPOINT)).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 0xff;
    let mut newer = good.clone();
    newer[9] = 77;
    for (bytes, reported) in
        [(&damaged, "is damaged (its checksum is wrong)"), (&newer, "written by a newer release (format 77")]
    {
        fs::write(harness.path(CHECKPOINT), bytes).unwrap();
        let listed = harness.command(&["state", "list"]).await;
        assert_eq!(listed.code, Some(1), "{}", listed.stdout);
        let row = listed.stdout.lines().find(|row| row.contains("acme/activities/siem")).unwrap();
        assert!(row.ends_with(" unreadable") && row.len() < 60, "{row}");
        assert!(listed.stdout.contains("acme/threats/siem") && listed.stderr.contains(reported), "{}", listed.stderr);
        // Much longer than the test may take: only a person can correct this, so the lane is given up before.
        let refused = harness.once(&["--once-timeout", "1h"]).await;
        assert_eq!(refused.code, Some(1), "{}{}", refused.stdout, refused.stderr);
        let given_up = refused.stdout.lines().find(|row| row.contains("acme/activities/siem"));
        assert!(given_up.is_some_and(|row| row.contains("given up: ")), "{}", refused.stdout);
        let mut worker = harness.worker();
        let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
        let error = lane["error"].as_str().unwrap();
        assert!(error.contains(reported) && error.contains(CHECKPOINT), "{error}");
        let is_whole = error.contains("s1-forwarder state delete acme/activities/siem");
        assert_eq!(is_whole, bytes == &damaged, "the command that mends it: {error}");
        worker.logged(&["lane is failing", CHECKPOINT]).await;
        harness.console().generate(Kind::Threats, system_clock());
        harness.console().generate(Kind::Activities, system_clock());
        harness.delivered(&[Kind::Threats]).await;
        assert_eq!(&fs::read(harness.path(CHECKPOINT)).unwrap(), bytes, "it is left as it is");
        // Put back from a backup, it is taken without a restart.
        fs::write(harness.path(CHECKPOINT), &good).unwrap();
        harness.delivered(&[Kind::Activities]).await;
        worker.signal("TERM").await;
        assert_eq!(worker.exit().await.code, Some(0));
        fs::write(harness.path("good"), fs::read(harness.path(CHECKPOINT)).unwrap()).unwrap();
        let counts = harness.sink.ledger().counts();
        harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &counts);
    }
    // What the errors say to do works on what they are about.
    let usage = CHECKPOINT.replace("siem.checkpoint", "siem+usage.checkpoint");
    for (path, asked) in [(CHECKPOINT, &["state", "list"][..]), (&usage, &["report", "--from", "2d", "--to", "now"])] {
        fs::write(harness.path(path), &damaged[..20]).unwrap();
        let reported = harness.command(asked).await.stderr;
        let (_, command) = reported.trim_end().rsplit_once("s1-forwarder ").unwrap();
        assert!(command.contains(" acme/activities/siem --state file:/"), "{reported}");
        let deleted = harness.command(&command.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(deleted.code, Some(0), "{}{}", deleted.stdout, deleted.stderr);
        assert!(!harness.path(path).exists(), "{path}: {}", deleted.stdout);
    }
    assert_eq!(harness.once(&[]).await.code, Some(0), "the lane begins again");
}

/// Full while it runs. No file may be larger than one block: what a full disk does to a write, without a disk to fill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_sending_and_the_old_checkpoint_survives() {
    // All within the overlap, so that the checkpoint grows with each record.
    let harness = Harness::new(|setup| (setup.activities, setup.span) = (1_500, Duration::from_secs(200))).await;
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["batch"] = json!({ "events": 50, "timeout": "50ms" });
    harness.put("acme", &pipeline);
    let mut command = program(harness.root(), &[]);
    let shell = r#"trap "" XFSZ; ulimit -f 1; exec "$0" run --pipelines pipelines --listen 127.0.0.1:0"#;
    let binary = command.as_std().get_program().to_owned();
    command = {
        let mut limited = tokio::process::Command::new("sh");
        limited.arg("-c").arg(shell).arg(binary).current_dir(harness.root());
        limited.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        limited.stderr(std::process::Stdio::piped()).kill_on_drop(true);
        limited
    };
    let mut worker = Process::spawn(command);
    let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
    assert!(lane["error"].as_str().unwrap().contains("cannot write"), "{lane}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = harness.sink.ledger().counts().len();
    assert!(sent < 1_000, "{sent} events were sent that nobody could remember");
    worker.kill().await;

    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let arrived = harness.sink.ledger().counts();
    harness.assert_all_arrived(&[Kind::Activities], &arrived);
    let repeated = arrived.values().filter(|count| **count > 1).count();
    assert!(repeated <= sent && arrived.values().all(|count| *count <= 2), "{repeated} came twice");
}

/// A lane's directory that goes away under a running worker, as a mount can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_for_a_while_costs_nothing() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    let lane = harness.path("state/lanes/acme/activities");
    let aside = harness.path("aside");
    fs::rename(&lane, &aside).unwrap();
    fs::write(&lane, "in the way").unwrap();
    harness.console().generate(Kind::Activities, system_clock());
    let stopped = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
    assert!(stopped["error"].as_str().unwrap().contains("state/lanes/acme/activities"), "{stopped}");
    let sent = harness.sink.requests().len();
    harness.console().generate(Kind::Activities, system_clock());
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(harness.sink.requests().len(), sent, "what could not be remembered is not sent");
    fs::remove_file(&lane).unwrap();
    fs::rename(&aside, &lane).unwrap();
    harness.delivered(&[Kind::Activities]).await;
    until("the lane runs again", async || {
        worker.lanes().await["acme/activities/siem"]["up"].as_bool().filter(|up| *up)
    })
    .await;
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
}
