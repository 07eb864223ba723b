//! Missing records: reported hour by hour, repaired, and never delivered twice.

use std::collections::BTreeSet;
use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind, print_time, system_clock};
use serde_json::{Value, json};

use super::usage::report;
use crate::support::completeness::{
    ACCOUNTED, CONSOLE, DELIVERED, HOURS, MISSING, PURGED, REPAIRED, created_at, created_between, hour, number,
    two_streams,
};
use crate::support::harness::Harness;

/// The token sees no such site.
const WRONG_SITE: u64 = 100_000_000_000_000_777;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_and_verify_says_so_next_to_a_worker_under_faults() {
    let harness = two_streams().await;
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.console().generate_oversized(Kind::Activities, hour(3), 150_000);
    let mut worker = harness.worker();
    for stream in ["activities", "threats"] {
        worker.lane(&format!("acme/{stream}/siem"), |lane| lane["up"] == true && lane["lag_seconds"].is_number()).await;
    }
    harness.delivered(&[Kind::Threats]).await;
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 1).await;
    // It goes over the whole again after a change of what the console shows: what is filtered or dead counts as well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    harness.console().set_faults(Faults::preset("server-errors").unwrap().merge(Faults::preset("rate-limit").unwrap()));
    let exit = harness.verify(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for (stream, at_least) in [("activities", 1_000), ("threats", 30)] {
        let [console, accounted] = [CONSOLE, ACCOUNTED].map(|column| number(&exit, stream, column));
        assert!(console == accounted && console > at_least, "{}", exit.stdout);
        assert_eq!((number(&exit, stream, MISSING), number(&exit, stream, PURGED)), (0, 0), "{}", exit.stdout);
    }
    assert!(exit.stdout.contains("not compared"), "the current hour is not compared: {}", exit.stdout);

    // What the console has no more is a note and no failure.
    harness.console().set_faults(Faults::default());
    let recent = created_between(&harness, hour(40), hour(2));
    let judge = async || harness.verify_until(hour(2), &["--stream", "activities"]).await;
    let before = number(&judge().await, "activities", CONSOLE);
    recent.iter().take(5).for_each(|id| assert!(harness.console().remove(Kind::Activities, *id)));
    let exit = judge().await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let purged = number(&exit, "activities", PURGED);
    assert!(purged > 0 && before - number(&exit, "activities", CONSOLE) == purged, "{}", exit.stdout);
    assert!(!exit.stdout.contains("threats"), "{}", exit.stdout);

    // A window without a whole hour proves nothing.
    let exit = harness.command(&["verify", "pipelines/acme.yaml", "--from", "30m", "--to", "now"]).await;
    assert!(exit.code == Some(1) && exit.stdout.contains("no hour was compared"), "{}{}", exit.stdout, exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_too_late_is_found_and_repaired_once() {
    let harness = two_streams().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let before = harness.sink.ledger().counts();
    let mut late = harness.appear_late(Kind::Activities, hour(5) + 17 * 60_000_000, 3);
    late.extend(harness.appear_late(Kind::Threats, hour(7) + 60_000_000, 2));
    let old = harness.appear_late(Kind::Activities, hour(100) + 60_000_000, 1);
    // Lanes run on and do not come by there again.
    let mut worker = harness.worker();
    worker.lane("acme/activities/siem", |lane| lane["up"] == true).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(late.iter().chain(&old).all(|id| !harness.sink.ledger().counts().contains_key(id)));

    crate::support::process::until("the worker shows by itself what is missing of the last day", async || {
        (worker.metrics().await.sum("verified_missing_records", &[("stream", "activities")]) == 3).then_some(())
    })
    .await;
    worker.logged(&["came too late to be delivered"]).await;
    // `report` says it too.
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let completeness = report(&harness, &[]).await["acme/activities/siem"]["completeness"].clone();
    assert_eq!(completeness["missing_records"], 3, "{completeness}");
    assert!(completeness["verified_hours"].as_u64().is_some_and(|hours| hours >= 22), "{completeness}");
    let worker = harness.worker();

    let exit = harness.verify(&[]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    // Filtered ones are missing too: the lane never saw them.
    let missing = number(&exit, "activities", MISSING);
    let threats = number(&exit, "threats", MISSING);
    assert!(exit.stdout.contains("compared with what the sinks have acknowledged"), "{}", exit.stdout);
    assert!(missing >= 4 && threats == 2, "{}", exit.stdout);
    assert!(exit.stdout.contains("--repair delivers them"), "{}", exit.stdout);
    let named = |id: &String| exit.stdout.contains(id);
    let pulled = late.iter().filter(|id| named(id)).count();
    assert!(pulled >= 3, "they are named: {}", exit.stdout);
    assert_eq!(harness.sink.ledger().counts(), before, "verify alone delivers nothing");

    let exit = harness.verify(&["--repair"]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("--repair --resend delivers the whole hour again"), "{}", exit.stdout);
    assert_eq!(
        number(&exit, "threats", REPAIRED),
        2,
        "{}{} {}",
        exit.stdout,
        exit.stderr,
        harness.sink.ledger().counts().len() - before.len()
    );

    let counts = harness.sink.ledger().counts();
    let arrived: BTreeSet<String> = counts.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
    assert!(arrived.is_subset(&late) && arrived.len() >= 2, "{arrived:?} {late:?}");
    assert!(counts.values().all(|count| *count == 1), "what was delivered was delivered again");

    let exit = harness.verify(&["--repair", "--resend"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let repeated = harness.sink.ledger().counts().values().filter(|count| **count > 1).count();
    assert!(repeated < 60, "{repeated} came again: more than one hour");

    let exit = harness.verify(&[]).await;
    assert_eq!(exit.code, Some(0), "what was repaired is accounted for: {}{}", exit.stdout, exit.stderr);
    let count = |column| number(&exit, "activities", column);
    assert!(count(MISSING) == 0 && count(PURGED) == 0 && count(CONSOLE) == count(ACCOUNTED), "{}", exit.stdout);
    worker.kill().await;
    let mut worker = harness.worker();
    crate::support::process::until("a worker knows of the repairs", async || {
        let metrics = worker.metrics().await;
        let verified = metrics.samples("verified_until_timestamp_seconds").next().is_some();
        verified.then(|| metrics.sum("verified_missing_records", &[]))
    })
    .await;
    assert_eq!(worker.metrics().await.sum("verified_missing_records", &[]), 0);

    // The repairs keep to the checkpoint when it gets another name.
    worker.kill().await;
    let file = harness.path("pipelines/acme.yaml");
    let mut pipeline: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    pipeline["name"] = "corp".into();
    harness.put("acme", &pipeline);
    assert_eq!(harness.command(&["state", "rename", "acme", "corp"]).await.code, Some(0));
    let exit = harness.verify(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("corp/activities/siem"), "{}", exit.stdout);
}

/// The console loses records of an hour, and others of it are missing: none hides another, and the columns add up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_the_console_lost_hide_none_that_are_missing() {
    let harness = two_streams().await;
    // Fewer are missing than the console has lost, more, and as many.
    let hours = [(6, 12, 5), (9, 12, 20), (12, 7, 7)].map(|(at, lost, late)| (hour(at) + 60_000_000, lost, late));
    let mut lost = Vec::new();
    for (at, count, _) in hours {
        lost.extend((0..count).map(|_| harness.console().generate(Kind::Threats, at)));
    }
    assert_eq!(harness.once(&[]).await.code, Some(0));
    for (at, _, late) in hours {
        harness.appear_late(Kind::Threats, at, late);
    }
    lost.iter().for_each(|id| assert!(harness.console().remove(Kind::Threats, *id)));
    let exit = harness.verify(&["--stream", "threats"]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    let count = |column| number(&exit, "threats", column);
    assert!(count(MISSING) == 32 && count(PURGED) == 31, "{}", exit.stdout);
    assert_eq!(count(CONSOLE) + count(PURGED), count(ACCOUNTED) + count(MISSING), "{}", exit.stdout);
}

/// A wrong scope that was set for a moment removes no evidence of the past, and neither does another scope afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hours_before_a_change_of_the_scope_are_judged_by_the_former_ledger() {
    let harness = two_streams().await;
    let streams = json!({ "activities": { "interval": "300ms", "since": "10d" } });
    let deliver = async |sites: &[u64]| {
        let sites: Vec<String> = sites.iter().map(u64::to_string).collect();
        harness.put_changed("acme", json!({ "streams": streams, "console": { "sites": sites } }));
        let exit = harness.once(&[]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    };
    let to = hour(2);
    let judge = async |flags: &[&str]| harness.verify_until(to, flags).await;
    deliver(&[]).await;
    let before = judge(&[]).await;
    let hours = number(&before, "activities", HOURS);
    assert!(hours > 7 * 24, "{}", before.stdout);

    deliver(&[WRONG_SITE]).await;
    deliver(&[]).await;
    let exit = judge(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let same = |column| assert_eq!(number(&exit, "activities", column), number(&before, "activities", column));
    [HOURS, CONSOLE, ACCOUNTED, MISSING].into_iter().for_each(same);
    assert!(exit.stdout.contains("by the settings at that time, from "), "{}", exit.stdout);

    // With the same settings what is missing there is delivered too.
    harness.appear_late(Kind::Activities, hour(50), 3);
    let exit = judge(&[]).await;
    assert_eq!((exit.code, number(&exit, "activities", MISSING)), (Some(1), 3), "{}{}", exit.stdout, exit.stderr);
    let exit = judge(&["--repair", "--resend"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let exit = judge(&[]).await;
    assert_eq!((exit.code, number(&exit, "activities", MISSING)), (Some(0), 0), "{}{}", exit.stdout, exit.stderr);

    deliver(&[super::scope::site(&harness)]).await;
    let narrower = judge(&[]).await;
    assert_eq!(narrower.code, Some(0), "{}{}", narrower.stdout, narrower.stderr);
    assert_eq!(number(&narrower, "activities", CONSOLE), number(&exit, "activities", CONSOLE), "{}", narrower.stdout);
    assert!(narrower.stdout.contains(": everything that the token can read"), "{}", narrower.stdout);
    harness.appear_late(Kind::Activities, hour(60), 2);
    let exit = judge(&["--repair", "--resend"]).await;
    assert_eq!((exit.code, number(&exit, "activities", MISSING)), (Some(1), 2), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("the lane pulls something else now"), "{}", exit.stdout);
}

/// A script must not take it for done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lane_of_which_no_hour_can_be_compared_yet_is_a_failure() {
    for (overlap, code) in [("1m", 0), ("20d", 1)] {
        let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 20)).await;
        let threats = json!({ "overlap": overlap, "since": "beginning" });
        harness.put_changed("acme", json!({ "streams": { "activities": {}, "threats": threats } }));
        assert_eq!(harness.once(&[]).await.code, Some(0));
        // Ids are known of two days.
        let from = print_time(system_clock() - 6 * 3_600_000_000);
        let arguments = ["verify", "pipelines/acme.yaml", "--from", &from, "--to", &print_time(system_clock())];
        let exit = harness.command(&arguments).await;
        assert_eq!(exit.code, Some(code), "{overlap}: {}{}", exit.stdout, exit.stderr);
        let says = "acme/threats/siem: no hour was compared: run `verify` again later";
        assert_eq!(exit.stdout.contains(says), code == 1, "{overlap}: {}", exit.stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_judged_is_said() {
    let harness = two_streams().await;
    let exit = harness.verify(&[]).await;
    assert!(exit.code == Some(2) && exit.stderr.contains("there is no directory state"), "{}", exit.stderr);
    assert!(!harness.path("state").exists(), "nothing is left behind");
    harness.sink.misbehave(1, super::once::failing().into_iter().map(|(_, fault)| (1.0, fault)).take(1).collect());
    assert_eq!(harness.once(&["--once-timeout", "2s"]).await.code, Some(1));
    // A lane that has not come by has nothing missing.
    let exit = harness.verify(&["--stream", "threats"]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("the lane is not past it yet"), "{}", exit.stdout);
    assert!(exit.stdout.contains("no hour was compared"), "{}", exit.stdout);
    let usage = harness
        .command(&["verify", "pipelines/acme.yaml", "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"])
        .await;
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
    assert_eq!(harness.verify(&["--sink", "none"]).await.code, Some(2));
    assert_eq!(harness.verify(&["--resend"]).await.code, Some(2));
}

/// The ledger knows what a sink has acknowledged: not what was excluded or refused, but what a replay or a repair
/// delivered later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_says_what_was_delivered_of_what_is_accounted_for() {
    let harness = two_streams().await;
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.console().generate_oversized(Kind::Activities, hour(30), 150_000);
    harness.console().generate_oversized(Kind::Activities, hour(3), 150_000);
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let to = hour(2);
    let is_compared = |event: &&Value| event["stream"] == "activities" && created_at(&event["record"]) < to;
    let acknowledged = || harness.sink.events().iter().filter(is_compared).count() as u64;
    let judge = async |flags: &[&str]| {
        let exit = harness.verify_until(to, &[&["--stream", "activities"], flags].concat()).await;
        let numbers = [ACCOUNTED, DELIVERED].map(|column| number(&exit, "activities", column));
        (numbers, exit.stdout)
    };
    let ([accounted, delivered], text) = judge(&[]).await;
    assert!(delivered == acknowledged() && delivered + 2 < accounted, "{} {text}", acknowledged());

    // One of two dead letters is delivered, and what becomes of the other changes nothing.
    harness.sink.contract(|rules| rules.event_bytes = None);
    let replay = harness.command(&["dead-letters", "replay", "--pipelines", "pipelines", "--limit", "1"]).await;
    assert_eq!(replay.stdout, "1 delivered, 0 refused again\n", "{}", replay.stderr);
    assert_eq!(harness.command(&["dead-letters", "purge", "--all"]).await.code, Some(0));
    let (numbers, text) = judge(&[]).await;
    assert!(numbers == [accounted, delivered + 1] && acknowledged() == delivered + 1, "{text}");

    let late = harness.appear_late(Kind::Activities, hour(5) + 17 * 60_000_000, 3).len() as u64;
    let repair = harness.verify_until(to, &["--stream", "activities", "--repair"]).await;
    // Records of excluded types are accounted for, and not delivered.
    let repaired = number(&repair, "activities", REPAIRED);
    assert!((1..=late).contains(&repaired), "{}", repair.stdout);
    let (numbers, text) = judge(&[]).await;
    assert!(numbers == [accounted + late, delivered + 1 + repaired] && acknowledged() == numbers[1], "{text}");

    // What is exported has all of it.
    assert_eq!(harness.command(&["state", "export", "exported"]).await.code, Some(0));
    let import = harness.command(&["state", "import", "exported", "--state", "file:other"]).await;
    assert_eq!(import.code, Some(0), "{}", import.stderr);
    assert_eq!(judge(&["--state", "file:other"]).await.0, numbers);
}
