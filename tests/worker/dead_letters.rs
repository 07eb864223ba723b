//! Permanently refused events: shown, sent again, removed, next to a running worker.

use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::{Value, json};

use crate::support::double::FaultRule;
use crate::support::harness::Harness;
use crate::support::process::{Process, program, until};

const FILE: &str = "state/dead-letters/acme/activities.siem.ndjson";

/// A console with records of which `poison` are larger than the receiver takes.
async fn world_with(poison: usize) -> Harness {
    let harness = Harness::new(|setup| setup.activities = 300).await;
    for minutes in 0..poison as i64 {
        harness.console().generate_oversized(Kind::Activities, system_clock() - (minutes + 10) * 60_000_000, 150_000);
    }
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.put_changed("acme", json!({}));
    harness
}

async fn listed(harness: &Harness, filter: &[&str]) -> Vec<Value> {
    let exit = harness.command(&[&["dead-letters", "list", "--format", "json"], filter].concat()).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    exit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_replayed_and_purged_next_to_a_worker() {
    let harness = world_with(5).await;
    let mut worker = harness.worker();
    let good = harness.owed(Kind::Activities).len() - 5;
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 5 && lane["delivered"] == good).await;

    let dead_letters = listed(&harness, &[]).await;
    assert_eq!(dead_letters.len(), 5);
    for (flag, value, found) in [
        ("--pipeline", "acme", 5),
        ("--stream", "activities", 5),
        ("--stream", "threats", 0),
        ("--sink", "siem", 5),
        ("--since", "2020-01-01T00:00:00Z", 5),
        ("--until", "2020-01-01T00:00:00Z", 0),
        ("--status", "400", 5),
        ("--status", "413", 0),
        ("--reason", "too long", 5),
        ("--reason", "too short", 0),
        ("--limit", "2", 2),
    ] {
        assert_eq!(listed(&harness, &[flag, value]).await.len(), found, "{flag} {value}");
    }
    let table = harness.command(&["dead-letters", "list", "--limit", "1"]).await.stdout;
    assert!(table.contains("acme/activities/siem") && table.contains("400") && table.lines().count() == 2, "{table}");

    let grouped = harness.command(&["dead-letters", "list", "--group"]).await.stdout;
    let row = grouped.lines().nth(1).unwrap_or_default();
    assert!(row.contains("acme/activities/siem") && row.contains(" 400 ") && row.contains(" 5 "), "{grouped}");
    assert_eq!(grouped.matches("acme/activities/siem").count(), 1, "one cause: {grouped}");

    // Refused again: kept again, none lost, none twice.
    let replay = ["dead-letters", "replay", "--pipelines", "pipelines"];
    let exit = harness.command(&[&replay[..], &["--limit", "2"]].concat()).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "0 delivered, 2 refused again\n"), "{}", exit.stderr);
    assert_eq!(listed(&harness, &[]).await.len(), 5);

    // A sink that takes nothing is given up, and its dead letters stay.
    harness.sink.misbehave(1, vec![(1.0, FaultRule::answer(503, "later"))]);
    let exit = harness.command(&[&replay[..], &["--once-timeout", "1s"]].concat()).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stderr.contains("503"), "{}", exit.stderr);
    assert_eq!(listed(&harness, &[]).await.len(), 5);
    harness.sink.misbehave(1, vec![]);

    harness.sink.contract(|rules| rules.event_bytes = None);
    let exit = harness.command(&[&replay[..], &["--limit", "3"]].concat()).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "3 delivered, 0 refused again\n"), "{}", exit.stderr);
    assert_eq!(listed(&harness, &[]).await.len(), 2);
    let counts = harness.sink.ledger().counts();
    assert!(counts.len() == good + 3 && counts.values().all(|count| *count == 1));

    let exit = harness.command(&["dead-letters", "purge"]).await;
    assert!(exit.code == Some(2) && exit.stderr.contains("--all"), "{}", exit.stderr);
    let exit = harness.command(&["dead-letters", "purge", "--limit", "1"]).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "1 dead letters removed\n"), "{}", exit.stderr);
    assert_eq!(listed(&harness, &[]).await.len(), 1);

    // The worker goes on keeping dead letters in the same place.
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.console().generate_oversized(Kind::Activities, system_clock(), 150_000);
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 6).await;
    assert_eq!(listed(&harness, &[]).await.len(), 2);
    let exit = harness.command(&["dead-letters", "purge", "--all"]).await;
    assert_eq!(exit.stdout, "2 dead letters removed\n");
    assert!(!harness.path(FILE).exists());
    assert_eq!(harness.command(&["dead-letters", "list"]).await.stdout, "no dead letters\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_exist_is_named() {
    let harness = Harness::new(|setup| setup.activities = 1).await;
    let typo = harness.command(&["dead-letters", "list", "--state", "file:sate"]).await;
    assert!(typo.code == Some(2) && typo.stderr.contains("there is no directory sate"), "{}", typo.stderr);
    std::fs::create_dir(harness.path("state")).unwrap();
    let none = harness.command(&["dead-letters", "list"]).await;
    assert!(
        none.code == Some(0) && none.stdout.contains("there is no directory state/dead-letters"),
        "{}",
        none.stdout
    );
}

/// A typing mistake must not look like good news.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_nothing_knows_is_an_error_and_one_without_dead_letters_is_none() {
    let harness = world_with(2).await;
    harness.put_changed("quiet", json!({ "streams": { "activities": null, "threats": { "since": "30d" } } }));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let quiet = harness.command(&["dead-letters", "list", "--pipeline", "quiet"]).await;
    assert_eq!(
        (quiet.code, quiet.stdout.as_str()),
        (Some(0), "none of the 2 dead letters matches\n"),
        "{}",
        quiet.stderr
    );
    for command in ["list", "purge"] {
        let typo = harness.command(&["dead-letters", command, "--pipeline", "nope"]).await;
        assert_eq!((typo.code, typo.stdout.as_str()), (Some(1), ""), "{command}");
        let expected = "no pipeline `nope`: it has no dead letters in state/dead-letters, and no checkpoints in \
                        file:state; known: acme, quiet";
        assert!(typo.stderr.contains(expected), "{}", typo.stderr);
    }
    for command in [&["list"][..], &["purge"], &["replay", "--pipelines", "pipelines"]] {
        for (filter, name, said) in [
            ("--pipeline", "quite", "no pipeline `quite`"),
            ("--pipeline", "quite", "did you mean `quiet`?"),
            ("--sink", "nope", "no sink `nope`"),
            ("--sink", "nope", "known: siem"),
            ("--sink", "seim", "did you mean `siem`?"),
        ] {
            let typo = harness.command(&[&["dead-letters"], command, &[filter, name]].concat()).await;
            assert!(typo.code == Some(1) && typo.stderr.contains(said), "{command:?} {name}: {}", typo.stderr);
        }
    }
    let window = ["--stream", "activities", "--from", "1d", "--to", "now", "--sink", "seim"];
    let backfill = harness.command(&[&["backfill", "pipelines/acme.yaml"], &window[..]].concat()).await;
    assert!(backfill.code == Some(2) && backfill.stderr.contains("did you mean `siem`?"), "{}", backfill.stderr);
    let verify = harness.command(&[&["verify", "pipelines/acme.yaml"], &window[..]].concat()).await;
    assert!(verify.stderr.contains("did you mean `siem`?"), "{}", verify.stderr);
    assert_eq!(listed(&harness, &["--pipeline", "acme"]).await.len(), 2);
}

/// A stored event was changed: it is reported, and not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_dead_letter_is_reported_and_not_sent() {
    let harness = world_with(2).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let arrived = harness.sink.ledger().counts().len();
    let text = std::fs::read_to_string(harness.path(FILE)).unwrap();
    let altered = text.replacen("\"activityType\"", "\"activitytype\"", 1);
    assert_ne!(altered, text);
    std::fs::write(harness.path(FILE), altered).unwrap();
    let list = harness.command(&["dead-letters", "list", "--format", "json"]).await;
    assert_eq!((list.code, list.stdout.lines().count()), (Some(1), 1), "{}", list.stdout);
    let expected = "activities.siem.ndjson, line 1: its checksum is wrong";
    assert!(list.stderr.contains(expected), "{}", list.stderr);
    harness.sink.contract(|rules| rules.event_bytes = None);
    let replay = harness.command(&["dead-letters", "replay", "--pipelines", "pipelines"]).await;
    assert_eq!((replay.code, replay.stdout.as_str()), (Some(1), "1 delivered, 0 refused again\n"), "{}", replay.stderr);
    assert!(replay.stderr.contains(expected), "{}", replay.stderr);
    assert_eq!(harness.sink.ledger().counts().len(), arrived + 1);
    assert_eq!(std::fs::read_to_string(harness.path(FILE)).unwrap().lines().count(), 1, "it is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_killed_loses_no_letter() {
    let harness = world_with(9).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let dead_letters = listed(&harness, &[]).await;
    assert_eq!(dead_letters.len(), 9);
    let good = harness.owed(Kind::Activities).len() - 9;
    assert_eq!(harness.sink.ledger().counts().len(), good);
    harness.sink.contract(|rules| rules.event_bytes = None);
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["batch"] = json!({ "events": 1 });
    harness.put("acme", &pipeline);
    harness.sink.misbehave(1, vec![(1.0, FaultRule::Slow(Duration::from_millis(200)))]);
    let replay = ["dead-letters", "replay", "--pipelines", "pipelines"];
    let killed = Process::spawn(program(harness.root(), &replay));
    until("some are sent", async || (harness.sink.ledger().counts().len() > good + 2).then_some(())).await;
    // One command at a time takes dead letters out; this one has time to say so.
    harness.sink.misbehave(1, vec![(1.0, FaultRule::Slow(Duration::from_secs(5)))]);
    let second = harness.command(&replay).await;
    assert!(second.code == Some(1) && second.stderr.contains("another command"), "{}", second.stderr);
    killed.kill().await;
    assert!(!listed(&harness, &[]).await.is_empty(), "it was killed too late");

    harness.sink.misbehave(1, vec![]);
    assert_eq!(harness.command(&replay).await.code, Some(0));
    assert!(listed(&harness, &[]).await.is_empty());
    let counts = harness.sink.ledger().counts();
    let lost = dead_letters.iter().filter(|letter| !counts.contains_key(letter["identity"].as_str().unwrap())).count();
    assert_eq!((counts.len(), lost), (good + 9, 0));
}

/// A receiver that refuses everything stops the lane, until a command says that the events are to blame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_accepted_for_one_run_by_command() {
    let harness = Harness::new(|setup| setup.activities = 40).await;
    harness.sink.contract(|rules| rules.event_bytes = Some(10));
    harness.put_changed("acme", json!({}));
    let refused = harness.once(&["--once-timeout", "2s"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("--accept-refusals"), "{}", refused.stderr);
    assert_eq!(listed(&harness, &[]).await.len(), 0);
    let other = harness.once(&["--once-timeout", "2s", "--accept-refusals", "acme/threats/siem"]).await;
    assert_eq!(other.code, Some(1), "of another lane");
    assert!(
        other.stderr.contains("no pipeline has it now") && other.stderr.contains("acme/threats/siem"),
        "it says so"
    );
    let accepted = harness.once(&["--accept-refusals", "acme/activities/siem"]).await;
    assert_eq!(accepted.code, Some(0), "{}", accepted.stderr);
    let all = harness.owed(Kind::Activities).len();
    assert_eq!(listed(&harness, &[]).await.len(), all);

    // A replay gives up, too.
    let replay = ["dead-letters", "replay", "--pipelines", "pipelines"];
    let refused = harness.command(&replay).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("--accept-refusals"), "{}", refused.stderr);
    // It gives up after twenty, which it has tried.
    assert_eq!(refused.stdout, format!("0 delivered, 20 refused again, {} not accepted, and kept\n", all - 20));
    assert_eq!(listed(&harness, &[]).await.len(), all);
    let accepted = harness.command(&[&replay[..], &["--accept-refusals", "acme/activities/siem"]].concat()).await;
    let refused_again = format!("0 delivered, {all} refused again\n");
    assert_eq!((accepted.code, accepted.stdout), (Some(0), refused_again), "{}", accepted.stderr);
    assert_eq!(listed(&harness, &[]).await.len(), all);
}

/// How full the store is, as a worker finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_of_the_store_is_a_metric() {
    let harness = world_with(3).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let size = std::fs::metadata(harness.path(FILE)).unwrap().len();
    assert!(size > 450_000);
    let mut worker = harness.worker_with(&["--dead-letters-max", "1MiB"]);
    until("the store is measured", async || {
        let metrics = worker.metrics().await.0;
        let bytes = format!("s1_forwarder_dead_letter_bytes{{pipeline=\"\"}} {size}\n");
        let own = format!("s1_forwarder_dead_letter_bytes{{pipeline=\"acme\"}} {size}\n");
        let max = "s1_forwarder_dead_letter_max_bytes{pipeline=\"\"} 1048576\n";
        let share = "s1_forwarder_dead_letter_max_bytes{pipeline=\"acme\"} 524288\n";
        [bytes.as_str(), &own, max, share].iter().all(|line| metrics.contains(line)).then_some(())
    })
    .await;
}

/// Reported by summary, log, API and metrics: also what an earlier process has stored, and when another one removes
/// some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_told_after_a_restart_and_until_it_is_removed() {
    let harness = world_with(3).await;
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["batch"] = json!({ "events": 1 });
    harness.put("acme", &pipeline);
    let once = harness.once(&[]).await;
    assert_eq!(once.code, Some(0));
    assert!(once.stdout.contains(" 3 (3 new)  complete"), "{}", once.stdout);
    // The first one at once, the others at the end.
    let log = once.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let reported =
        log.filter(|line| line["message"].as_str().is_some_and(|text| text.contains("stored as dead letters")));
    assert_eq!(reported.map(|line| line["count"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2], "{}", once.stderr);
    let directory = harness.path("state/dead-letters").display().to_string();
    let list = format!("s1-forwarder dead-letters list --dead-letters file:{directory}");
    assert!(once.stdout.contains(&format!("\n3 dead letters are stored; to list them: {list}\n")), "{}", once.stdout);
    assert!(
        once.stderr.contains(&format!("{list} --pipeline acme --stream activities --sink siem")),
        "{}",
        once.stderr
    );
    let again = harness.once(&[]).await;
    assert!(again.stdout.contains(" 3 (0 new)  complete"), "{}", again.stdout);

    let mut worker = harness.worker();
    let line: Value = serde_json::from_str(&worker.logged(&["\"dead letters are stored\""]).await).unwrap();
    assert_eq!((&line["level"], &line["stored"], &line["list"]), (&json!("INFO"), &json!(3), &json!(list)));
    let lane = "acme/activities/siem";
    worker.lane(lane, |lane| lane["dead_letters_stored"] == 3 && lane["dead_letters"] == 0).await;
    let metrics = worker.metrics().await;
    assert_eq!((metrics.sum("dead_letters_stored", &[]), metrics.sum("dead_letters_total", &[])), (3, 0));

    harness.console().generate_oversized(Kind::Activities, system_clock(), 150_000);
    worker.lane(lane, |lane| lane["dead_letters_stored"] == 4 && lane["dead_letters"] == 1).await;
    let line = worker.logged(&["they are stored as dead letters"]).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let newest = listed(&harness, &[]).await.pop().unwrap();
    assert_eq!((&line["level"], &line["count"], &line["record_id"]), (&json!("WARN"), &json!(1), &newest["record_id"]));
    assert_eq!((&line["pipeline"], &line["reason"]), (&json!("acme"), &newest["reason"]));
    // The command that it names lists them.
    let command = line["list"].as_str().unwrap().strip_prefix("s1-forwarder ").unwrap().to_owned();
    let exit = harness.command(&command.split(' ').collect::<Vec<_>>()).await;
    assert_eq!((exit.code, exit.stdout.lines().count()), (Some(0), 5), "{}{}", exit.stdout, exit.stderr);

    // Other processes remove some; the worker notices.
    assert_eq!(harness.command(&["dead-letters", "purge", "--limit", "1"]).await.code, Some(0));
    worker.lane(lane, |lane| lane["dead_letters_stored"] == 3).await;
    harness.sink.contract(|rules| rules.event_bytes = None);
    let replay = harness.command(&["dead-letters", "replay", "--pipelines", "pipelines"]).await;
    assert_eq!(replay.stdout, "3 delivered, 0 refused again\n", "{}", replay.stderr);
    worker.lane(lane, |lane| lane["dead_letters_stored"] == 0 && lane["dead_letters"] == 1).await;
    assert_eq!(worker.metrics().await.sum("dead_letters_stored", &[]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_without_a_lane_do_not_use_up_the_limit_of_a_replay() {
    let harness = world_with(2).await;
    harness.put_changed("globex", json!({}));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    assert_eq!(listed(&harness, &[]).await.len(), 4);
    std::fs::remove_file(harness.path("pipelines/acme.yaml")).unwrap();
    harness.sink.contract(|rules| rules.event_bytes = None);
    let replay = ["dead-letters", "replay", "--pipelines", "pipelines", "--limit", "2"];
    let exit = harness.command(&replay).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(1), "2 delivered, 0 refused again\n"), "{}", exit.stderr);
    assert!(exit.stderr.contains("acme/activities/siem: no pipeline of this name"), "{}", exit.stderr);
    assert_eq!(listed(&harness, &["--pipeline", "acme"]).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_lanes_that_are_gone_stay() {
    let harness = world_with(2).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["name"] = json!("other");
    harness.put("acme", &pipeline);
    let exit = harness.command(&["dead-letters", "replay", "--pipelines", "pipelines"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    assert!(exit.stderr.contains("acme/activities/siem: the pipeline has no lane of this name"), "{}", exit.stderr);
    assert_eq!(listed(&harness, &[]).await.len(), 2);
}

/// The disk of the dead letters is full: no file may be larger than 64 KiB, which checkpoints are not and a letter
/// would be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_lane_rather_than_lose_a_letter() {
    let harness = world_with(1).await;
    let binary = program(harness.root(), &[]).as_std().get_program().to_owned();
    let mut limited = tokio::process::Command::new("bash");
    let shell = r#"trap "" XFSZ; ulimit -f 64; exec "$0" run --pipelines pipelines --listen 127.0.0.1:0"#;
    limited.arg("-c").arg(shell).arg(binary).current_dir(harness.root());
    limited.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    limited.stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let mut worker = Process::spawn(limited);
    let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
    assert!(lane["error"].as_str().unwrap().contains("cannot store dead letters in"), "{lane}");
    assert_eq!(lane["dead_letters"], 0, "{lane}");
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    assert!(listed(&harness, &[]).await.is_empty(), "half a letter is none");

    assert_eq!(harness.once(&[]).await.code, Some(0));
    assert_eq!(listed(&harness, &[]).await.len(), 1);
    let counts = harness.sink.ledger().counts();
    assert_eq!(counts.len(), harness.owed(Kind::Activities).len() - 1);
    assert!(counts.values().all(|count| *count == 1), "something came twice");
}
