//! Whether anything is missing: told hour by hour, repaired, and never twice.

use std::collections::BTreeSet;
use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind, print_time, system_clock};
use serde_json::json;

use super::process::Exit;
use super::world::World;

const HOUR: i64 = 3_600_000_000;

/// The beginning of the hour that lies so many hours back.
fn hour(back: i64) -> i64 {
    (system_clock() / HOUR - back) * HOUR
}

/// A number of the table: the row of a stream, the column by its place.
fn number(exit: &Exit, stream: &str, column: usize) -> u64 {
    let row = exit.stdout.lines().find(|line| line.trim_start().starts_with(&format!("acme/{stream}/siem"))).unwrap();
    row.split_whitespace().nth(column).unwrap().parse().unwrap_or_else(|_| panic!("{}", exit.stdout))
}

const CONSOLE: usize = 2;
const ACCOUNTED: usize = 3;
const MISSING: usize = 4;
const REPAIRED: usize = 5;
const PURGED: usize = 6;

async fn world() -> World {
    let world = World::new(|setup| {
        (setup.activities, setup.threats, setup.span) = (2_000, 300, Duration::from_secs(8 * 86_400));
    })
    .await;
    let streams = json!({
        "activities": { "interval": "300ms", "since": "10d", "exclude_types": [27, 2] },
        "threats": { "interval": "300ms", "since": "10d" },
    });
    world.put_changed("acme", json!({ "streams": streams }));
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_and_verify_says_so_beside_a_worker_under_faults() {
    let world = world().await;
    world.sink.rule(|rules| rules.event_bytes = Some(100_000));
    world.console().generate_oversized(Kind::Activities, hour(3), 150_000);
    let mut worker = world.worker();
    for stream in ["activities", "threats"] {
        worker.lane(&format!("acme/{stream}/siem"), |lane| lane["up"] == true && lane["lag_seconds"].is_number()).await;
    }
    world.delivered(&[Kind::Threats]).await;
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 1).await;
    // It goes over the whole again after a change of what the console shows: what is filtered or dead counts as well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.console().set_faults(Faults::preset("server-errors").unwrap().and(Faults::preset("rate-limit").unwrap()));
    let exit = world.verify(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for (stream, at_least) in [("activities", 1_000), ("threats", 30)] {
        let [console, accounted] = [CONSOLE, ACCOUNTED].map(|column| number(&exit, stream, column));
        assert!(console == accounted && console > at_least, "{}", exit.stdout);
        assert_eq!((number(&exit, stream, MISSING), number(&exit, stream, PURGED)), (0, 0), "{}", exit.stdout);
    }
    assert!(exit.stdout.contains("not judged"), "the hour under way is not judged: {}", exit.stdout);

    // What the console has no more is a note and no failure.
    world.console().set_faults(Faults::default());
    let recent = |id: &u64| {
        let record = world.console().record(Kind::Activities, *id).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let created = record["createdAt"].as_str().unwrap().to_owned();
        created > print_time(hour(40)) && created < print_time(hour(2))
    };
    let ids = world.console().ids(Kind::Activities);
    // An hour may end between the two.
    let to = hour(2);
    let judge = async || world.verify_until(to, &["--stream", "activities"]).await;
    let before = number(&judge().await, "activities", CONSOLE);
    ids.iter().filter(|id| recent(id)).take(5).for_each(|id| assert!(world.console().remove(Kind::Activities, *id)));
    let exit = judge().await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let purged = number(&exit, "activities", PURGED);
    assert!(purged > 0 && before - number(&exit, "activities", CONSOLE) == purged, "{}", exit.stdout);
    assert!(!exit.stdout.contains("threats"), "{}", exit.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_too_late_is_found_and_repaired_once() {
    let world = world().await;
    assert_eq!(world.once(&[]).await.code, Some(0));
    let before = world.sink.ledger().counts();
    let mut late = world.appear_late(Kind::Activities, hour(5) + 17 * 60_000_000, 3);
    late.extend(world.appear_late(Kind::Threats, hour(7) + 60_000_000, 2));
    let old = world.appear_late(Kind::Activities, hour(100) + 60_000_000, 1);
    // Lanes run on and do not come by there again.
    let mut worker = world.worker();
    worker.lane("acme/activities/siem", |lane| lane["up"] == true).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(late.iter().chain(&old).all(|id| !world.sink.ledger().counts().contains_key(id)));

    super::process::until("the worker shows by itself what is missing of the last day", async || {
        (worker.metrics().await.sum("ledger_missing_records", &[("stream", "activities")]) == 3).then_some(())
    })
    .await;
    worker.logged(&["came too late to be delivered"]).await;

    let exit = world.verify(&[]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    // Filtered ones are missing too: the lane never saw them.
    let (missing, threats) = (number(&exit, "activities", MISSING), number(&exit, "threats", MISSING));
    assert!(missing >= 4 && threats == 2, "{}", exit.stdout);
    assert!(exit.stdout.contains("--repair delivers them"), "{}", exit.stdout);
    let named = |id: &String| exit.stdout.contains(id);
    let pulled = late.iter().filter(|id| named(id)).count();
    assert!(pulled >= 3, "they are named: {}", exit.stdout);
    assert_eq!(world.sink.ledger().counts(), before, "verify alone delivers nothing");

    let exit = world.verify(&["--repair"]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("--repair --resend delivers the whole hour again"), "{}", exit.stdout);
    assert_eq!(
        number(&exit, "threats", REPAIRED),
        2,
        "{}{} {}",
        exit.stdout,
        exit.stderr,
        world.sink.ledger().counts().len() - before.len()
    );

    let counts = world.sink.ledger().counts();
    let arrived: BTreeSet<String> = counts.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
    assert!(arrived.is_subset(&late) && arrived.len() >= 2, "{arrived:?} {late:?}");
    assert!(counts.values().all(|count| *count == 1), "what was delivered was delivered again");

    let exit = world.verify(&["--repair", "--resend"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let repeated = world.sink.ledger().counts().values().filter(|count| **count > 1).count();
    assert!(repeated < 60, "{repeated} came again: more than one hour");

    let exit = world.verify(&[]).await;
    assert_eq!(exit.code, Some(0), "what was repaired is accounted for: {}{}", exit.stdout, exit.stderr);
    let count = |column| number(&exit, "activities", column);
    assert!(count(MISSING) == 0 && count(PURGED) == 0 && count(CONSOLE) == count(ACCOUNTED), "{}", exit.stdout);
    worker.kill().await;
    let mut worker = world.worker();
    super::process::until("a worker knows of the repairs", async || {
        let metrics = worker.metrics().await;
        let verified = metrics.samples("ledger_verified_timestamp_seconds").next().is_some();
        verified.then(|| metrics.sum("ledger_missing_records", &[]))
    })
    .await;
    assert_eq!(worker.metrics().await.sum("ledger_missing_records", &[]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_judged_is_said() {
    let world = world().await;
    let exit = world.verify(&[]).await;
    assert!(exit.code == Some(1) && exit.stderr.contains("has no checkpoint"), "{}", exit.stderr);
    world.sink.misbehave(1, super::once::failing().into_iter().map(|(_, fault)| (1.0, fault)).take(1).collect());
    assert_eq!(world.once(&["--once-timeout", "2s"]).await.code, Some(1));
    // A lane that has not come by has nothing missing.
    let exit = world.verify(&["--stream", "threats"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("the lane is not past it yet"), "{}", exit.stdout);
    let usage = world
        .command(&["verify", "pipelines/acme.yaml", "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"])
        .await;
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
    assert_eq!(world.verify(&["--sink", "none"]).await.code, Some(2));
    assert_eq!(world.verify(&["--resend"]).await.code, Some(2));
}

/// As in files: what a lane delivered of the last two days is told by identity, across starts and another store.
#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_are_remembered_in_a_kafka_topic_too() {
    let Some(broker) = tokio::task::spawn_blocking(crate::support::kafka::Broker::shared).await.unwrap() else {
        return;
    };
    let world = world().await;
    let state = format!("kafka://{}/ledgers-{:08x}", broker.address(), fastrand::u32(..));
    let flags = ["--state", state.as_str(), "--dead-letters", "file:dead"];
    assert_eq!(world.once(&flags).await.code, Some(0));
    let journals = async || {
        let exported = world.command(&["state", "export", "--state", &state]).await;
        assert_eq!(exported.code, Some(0), "{}", exported.stderr);
        exported.stdout.matches("\"kind\":\"journal\"").count()
    };
    assert!(journals().await > 0, "two days hold more than fits beside a checkpoint");

    let mut late = world.appear_late(Kind::Activities, hour(5) + 17 * 60_000_000, 3);
    late.extend(world.appear_late(Kind::Threats, hour(7) + 60_000_000, 2));
    assert_eq!(world.once(&flags).await.code, Some(0));
    let before = world.sink.ledger().counts();
    let exit = world.verify(&flags).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(number(&exit, "threats", MISSING), 2, "{}", exit.stdout);
    assert!(late.iter().filter(|id| exit.stdout.contains(*id)).count() >= 3, "they are named: {}", exit.stdout);
    assert_eq!(world.sink.ledger().counts(), before, "verify alone delivers nothing");

    let exit = world.verify(&[&flags[..], &["--repair"]].concat()).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let counts = world.sink.ledger().counts();
    let arrived: BTreeSet<String> = counts.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
    assert!(arrived.is_subset(&late) && arrived.len() >= 2, "{arrived:?} {late:?}");
    assert!(counts.values().all(|count| *count == 1), "what was delivered was delivered again");
    let exit = world.verify(&flags).await;
    assert_eq!(exit.code, Some(0), "the repair is remembered: {}{}", exit.stdout, exit.stderr);

    // A renamed lane takes its journal along, a removed one leaves none.
    let kept = journals().await;
    for arguments in [&["rename", "acme", "globex"][..], &["delete", "globex/threats/siem"]] {
        let exit = world.command(&[&["state"], arguments, &["--state", &state]].concat()).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(journals().await > 0 && journals().await <= kept, "{arguments:?}");
    }
    let exit = world.command(&["state", "delete", "globex/activities/siem", "--state", &state]).await;
    assert_eq!((exit.code, journals().await), (Some(0), 0), "{}", exit.stderr);
}
