//! What lanes did, in the state: over stops, kills, other names and other stores; and `report`, which shows it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use s1_forwarder::checkpoint::{CheckpointBackend, CheckpointKey};
use s1_forwarder::emulator::{Kind, system_clock};
use s1_forwarder::record::Timestamp;
use s1_forwarder::state::FileStore;
use s1_forwarder::usage::{CountedTime, Delta, Usage};
use serde_json::{Value, json};

use crate::support::double::FaultRule;
use crate::support::harness::{Harness, setting};
use crate::support::process::{Exit, Process, program};

const LANE: &str = "acme/activities/siem";

async fn report_as(harness: &Harness, flags: &[&str]) -> Exit {
    harness.command(&[&["report", "--from", "2d", "--to", "now"], flags].concat()).await
}

/// The rows of the report for the last two days, by lane; those of backfills end with `!`.
pub async fn report(harness: &Harness, flags: &[&str]) -> BTreeMap<String, Value> {
    let exit = report_as(harness, &[&["--format", "json"], flags].concat()).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let schema: Value = serde_json::from_str(&fs::read_to_string("docs/report.schema.json").unwrap()).unwrap();
    let problems: Vec<_> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}\n{report:#}");
    let name = |row: &Value| {
        let [pipeline, stream, sink] = ["pipeline", "stream", "sink"].map(|key| row[key].as_str().unwrap().to_owned());
        format!("{pipeline}/{stream}/{sink}{}", if row["row"] == "backfill" { "!" } else { "" })
    };
    report["rows"].as_array().unwrap().iter().map(|row| (name(row), row.clone())).collect()
}

fn events(rows: &BTreeMap<String, Value>, lane: &str) -> Value {
    rows[lane]["counts"]["events"].clone()
}

async fn stop(worker: crate::support::process::Process) {
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lane_did_stays_over_stops_kills_names_and_stores() {
    const ACTIVITIES: usize = 60;
    let harness = Harness::new(|setup| setup.activities = ACTIVITIES).await;
    harness.put_changed("acme", json!({ "streams": { "activities": { "include_hidden": true } } }));
    let mut worker = harness.worker();
    let lane = worker.lane(LANE, |lane| lane["delivered"] == ACTIVITIES && lane["events_today"].is_u64()).await;
    assert_eq!(
        (&lane["events_today"], &lane["events_yesterday"]),
        (&json!(ACTIVITIES), &json!(0)),
        "or it is midnight"
    );
    stop(worker).await;
    let rows = report(&harness, &[]).await;
    assert_eq!(events(&rows, LANE), ACTIVITIES);
    let row = &rows[LANE];
    assert_eq!(row["not_known"][0]["reason"], "not_counted", "before the first start");
    assert_eq!(row["known_from"], row["not_known"][0]["to"]);

    // A kill loses what was not stored, and counts nothing twice. The report says since when it does not know.
    let mut worker = harness.worker();
    worker.lane(LANE, |lane| lane["events_today"] == ACTIVITIES).await;
    harness.console().generate(Kind::Activities, system_clock());
    worker.lane(LANE, |lane| lane["delivered"] == 1).await;
    worker.kill().await;
    assert_eq!(events(&report(&harness, &[]).await, LANE), ACTIVITIES);
    // Before the second in which `run --once` begins.
    harness.console().generate(Kind::Activities, system_clock() - 2_000_000);
    // Another schema and other filters are the same lane.
    harness.put_changed(
        "acme",
        json!({
            "streams": { "activities": { "include_hidden": true, "exclude_types": [99_999] } },
            "transform": { "schema": "ecs" },
        }),
    );
    let once = harness.once(&[]).await;
    assert_eq!(once.code, Some(0), "{}{}", once.stdout, once.stderr);
    // The kill may have come before the checkpoint of what was acknowledged: then it is delivered again.
    let arrived: u32 = harness.sink.ledger().counts().values().sum();
    let all = arrived as usize - 1;
    let rows = report(&harness, &[]).await;
    assert_eq!(events(&rows, LANE), all, "the one that was acknowledged before the kill is lost");

    // Another name, and another store. A lane that is deleted keeps what it did.
    let rename = harness.command(&["state", "rename", "acme", "corp"]).await;
    assert_eq!(rename.code, Some(0), "{}", rename.stderr);
    let export = harness.command(&["state", "export", "export"]).await;
    assert_eq!(export.code, Some(0), "{}", export.stderr);
    let import = harness.command(&["state", "import", "export", "--state", "file:other"]).await;
    assert_eq!(import.stdout, "1 checkpoints imported into file:other\n", "{}", import.stderr);
    let deleted = harness.command(&["state", "delete", "corp", "--state", "file:other"]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    for state in ["file:state", "file:other"] {
        let rows = report(&harness, &["--state", state]).await;
        assert_eq!(rows.len(), 1, "{state}: {rows:?}");
        assert_eq!(events(&rows, "corp/activities/siem"), all, "{state}");
    }
    let restored = harness.command(&["state", "import", "export", "--state", "file:other"]).await;
    assert!(restored.code == Some(0) && restored.stderr.contains("is unchanged in the store"), "{}", restored.stderr);
    assert_eq!(events(&report(&harness, &["--state", "file:other"]).await, "corp/activities/siem"), all);
    let deleted = harness.command(&["state", "delete", "corp", "--usage", "--state", "file:other"]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    let rows = report(&harness, &["--state", "file:other"]).await;
    assert_eq!(rows["corp/activities/siem"]["counts"], Value::Null, "its checkpoint is there");
}

/// Its events of today are there, and their number is not known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_whose_counts_are_damaged_or_removed_has_at_least_what_is_counted_since() {
    let harness = Harness::new(|setup| setup.activities = 60).await;
    harness.put_changed("acme", json!({ "streams": { "activities": { "include_hidden": true } } }));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let usage = harness.path("state/lanes/acme/activities/siem+usage.checkpoint");
    let mut bytes = fs::read(&usage).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&usage, bytes).unwrap();
    let at_least = |lane: &Value, events: u64| lane["today_has_gap"] == true && lane["events_today"] == events;
    let mut worker = harness.worker();
    let delete = "s1-forwarder state delete --usage acme/activities/siem --state file:";
    worker.logged(&["WARN", "what the lane did before cannot be read", delete]).await;
    harness.console().generate(Kind::Activities, system_clock());
    worker.lane(LANE, |lane| at_least(lane, 1)).await;
    stop(worker).await;

    let deleted = harness.command(&["state", "delete", "--usage", LANE]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    let mut worker = harness.worker();
    worker.lane(LANE, |lane| at_least(lane, 0)).await;
    harness.console().generate(Kind::Activities, system_clock());
    worker.lane(LANE, |lane| at_least(lane, 1)).await;
    let url = worker.url().await;
    let status = harness.command(&["status", "--url", &url]).await.stdout;
    assert!(status.contains(" ≥ 1 "), "{status}");
    stop(worker).await;
    for format in ["table", "html"] {
        let exit = report_as(&harness, &["--format", format]).await;
        assert!(exit.stdout.contains("≥ 1"), "{}{}", exit.stdout, exit.stderr);
    }
    // A lane that is gone leaves nothing.
    for flags in [&[][..], &["--usage"]] {
        let deleted = harness.command(&[&["state", "delete", LANE], flags].concat()).await;
        assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    }
    assert!(!usage.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_and_repairs_count_and_backfills_have_a_row_of_their_own() {
    const ACTIVITIES: usize = 60;
    let harness = Harness::new(|setup| setup.activities = ACTIVITIES).await;
    harness.put_changed("acme", json!({ "streams": { "activities": { "include_hidden": true, "since": "60d" } } }));
    harness.sink.misbehave(1, vec![(1.0, FaultRule::answer(400, "{\"error\":\"no\"}"))]);
    let refused = harness.once(&["--accept-refusals", LANE]).await;
    assert_eq!(refused.code, Some(0), "{}{}", refused.stdout, refused.stderr);
    let rows = report(&harness, &[]).await;
    let counts = |rows: &BTreeMap<String, Value>, lane: &str| {
        let counts = &rows[lane]["counts"];
        (counts["events"].as_u64().unwrap(), counts["dead_letters"].as_u64().unwrap())
    };
    let all = ACTIVITIES as u64;
    assert_eq!(counts(&rows, LANE), (0, all), "{refused:?}", refused = refused.stdout);

    harness.sink.misbehave(2, Vec::new());
    let replay = harness.command(&["dead-letters", "replay", "pipelines"]).await;
    assert_eq!(replay.code, Some(0), "{}{}", replay.stdout, replay.stderr);
    let rows = report(&harness, &[]).await;
    assert_eq!((counts(&rows, LANE), rows.len()), ((all, all), 1));

    // One record of an hour that `verify` compares is missing, and is then repaired.
    let hour = system_clock().div_euclid(3_600_000_000) * 3_600_000_000 - 5 * 3_600_000_000;
    assert_eq!(harness.appear_late(Kind::Activities, hour + 60_000_000, 1).len(), 1);
    let exit = harness.verify(&[]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    let compared = report(&harness, &[]).await[LANE]["completeness"].clone();
    assert_eq!(compared["missing_records"], 1, "{compared}");
    assert!(compared["verified_hours"].as_u64().is_some_and(|hours| hours > 40), "{compared}");
    let exit = harness.verify(&["--repair"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let rows = report(&harness, &[]).await;
    assert_eq!((counts(&rows, LANE), &rows[LANE]["completeness"]["missing_records"]), ((all + 1, all), &json!(0)));

    let backfill = ["backfill", "pipelines/acme.yaml", "--stream", "activities", "--from", "90d", "--to", "now"];
    let exit = harness.command(&[&backfill[..], &["--requests-per-second", "1000"]].concat()).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let rows = report(&harness, &[]).await;
    let backfilled = counts(&rows, &format!("{LANE}!"));
    assert_eq!(counts(&rows, LANE), (all + 1, all));
    assert_eq!(backfilled, (harness.sink.ledger().counts().len() as u64, 0));
    assert_eq!(rows[&format!("{LANE}!")]["completeness"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_a_table_a_sheet_and_a_page() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (60, 20)).await;
    let streams = json!({ "threats": { "interval": "500ms" }, "groups": { "interval": "15m" } });
    harness.put_changed("acme", json!({ "streams": streams }));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let table = report_as(&harness, &[]).await;
    let line = |name: &str| table.stdout.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
    assert!(line("acme/activities/siem").contains("not compared"), "{}{}", table.stdout, table.stderr);
    assert!(line("acme/groups/siem").contains("not verifiable"), "{}", table.stdout);
    assert!(line("acme/*/siem").contains(" 95 "), "sums: {}", table.stdout);
    assert!(
        table.stdout.contains("not known from") && table.stdout.contains("nothing was counted yet"),
        "{}",
        table.stdout
    );

    let sheet = report_as(&harness, &["--format", "csv"]).await;
    let rows: Vec<_> = sheet.stdout.split("\r\n").map(|row| row.trim_start_matches('\n')).collect();
    assert!(rows[0].starts_with("pipeline,stream,sink,row,events,event_bytes,"), "{}", sheet.stdout);
    assert!(rows[1].starts_with("\"acme\",\"threats\",\"siem\",\"lane\",20,"), "{}", sheet.stdout);
    assert_eq!(rows.iter().filter(|row| !row.is_empty()).count(), 4, "{}", sheet.stdout);

    let page = report_as(&harness, &["--format", "html"]).await;
    assert!(
        page.stdout.starts_with("<!DOCTYPE html>") && page.stdout.trim_end().ends_with("</html>"),
        "{}",
        page.stdout
    );
    assert!(!page.stdout.contains("<script") && !page.stdout.contains(" src="), "{}", page.stdout);
    assert_eq!(page.stdout.matches("<th scope=\"row\">acme</th>").count(), 3, "{}", page.stdout);

    // Only what is asked for; a name that nothing has is an error, and so is an empty window.
    harness.put_changed("other", json!({ "streams": { "threats": { "interval": "500ms" } } }));
    assert!(report(&harness, &["pipelines/acme.yaml"]).await.len() == 3);
    for (flags, expected) in [
        (&["--pipeline", "acne"][..], "the state has nothing of a pipeline `acne`"),
        (&["pipelines"], "the state has nothing of a pipeline `other`"),
    ] {
        let exit = report_as(&harness, flags).await;
        assert!(exit.code == Some(1) && exit.stderr.contains(expected), "{}{}", exit.stdout, exit.stderr);
    }
    let exit = harness.command(&["report", "--from", "1d", "--to", "2d"]).await;
    assert!(exit.code == Some(2) && exit.stderr.contains("must be before"), "{}", exit.stderr);
    let exit = report_as(&harness, &["--state", "file:nowhere"]).await;
    assert!(exit.code == Some(2) && exit.stderr.contains("there is no directory"), "{}", exit.stderr);

    // One that is damaged is named, and the others are shown.
    let usage = harness.path("state/lanes/acme/threats/siem+usage.checkpoint");
    let mut bytes = fs::read(&usage).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&usage, bytes).unwrap();
    let exit = report_as(&harness, &[]).await;
    assert!(exit.code == Some(1) && exit.stderr.contains("siem+usage.checkpoint is damaged"), "{}", exit.stderr);
    assert!(exit.stdout.contains("acme/activities/siem"), "{}", exit.stdout);
    // The lane runs without what cannot be read.
    assert_eq!(harness.once(&[]).await.code, Some(0));
}

/// A timer starts `run --once`, which takes less than a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_once_counts_the_minute_in_which_it_ends() {
    let harness = Harness::new(|setup| setup.activities = 5).await;
    harness.put_changed("acme", json!({ "streams": { "activities": { "include_hidden": true } } }));
    let failing = async || report(&harness, &[]).await[LANE]["counts"]["failing_minutes"].clone();
    assert_eq!(harness.once(&[]).await.code, Some(0));
    assert_eq!(failing().await, 0);
    harness.sink.misbehave(1, vec![(1.0, FaultRule::answer(503, "{}"))]);
    harness.console().generate(Kind::Activities, system_clock() - 2_000_000);
    for run in 1..3 {
        let exit = harness.once(&["--once-timeout", "1s"]).await;
        assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
        assert_eq!(failing().await, run);
    }
}

/// The most memory that a process had, in bytes, while it exists.
fn peak_of(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|peak| peak * 1024)
}

/// A month of many pipelines with four full lanes each. `S1_FORWARDER_REPORT_PIPELINES=1000` is the promised size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_of_many_pipelines_fits_in_memory() {
    const LANES: [&str; 4] = ["activities/siem", "threats/siem", "alerts/siem", "agents/siem"];
    let pipelines = setting("S1_FORWARDER_REPORT_PIPELINES", 10);
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(&directory.path().join("state")).unwrap();
    let now = Timestamp::now();
    let mut usage = Usage::default();
    for hour in (0..63 * 24_u32).rev() {
        let until = now.minus(Duration::from_hours(1) * hour);
        let mut delta = Delta::default();
        let counts = delta.at(until);
        counts.events = u64::from(hour) * 7_919 % 10_007;
        counts.bytes = counts.events * 811;
        (0..60).for_each(|seconds| counts.latency.add(Duration::from_secs(u64::from(hour) * seconds % 4_000)));
        usage.add(&delta, CountedTime { from: until, until, is_over: true, write: (1, 1) });
    }
    let bytes = usage.encode();
    for pipeline in 0..pipelines {
        for lane in LANES {
            let key: CheckpointKey = format!("customer-{pipeline:04}/{lane}+usage").parse().unwrap();
            store.commit(&key, bytes.clone().into()).await.unwrap();
        }
    }
    drop(store);
    for format in ["table", "csv", "json", "html"] {
        let started_at = tokio::time::Instant::now();
        let arguments = ["report", "--from", "30d", "--to", "now", "--format", format];
        let process = Process::spawn(program(directory.path(), &arguments));
        let id = process.id();
        let mut peak = 0;
        let ended = process.exit();
        tokio::pin!(ended);
        let exit = loop {
            tokio::select! {
                exit = &mut ended => break exit,
                () = tokio::time::sleep(Duration::from_millis(5)) => peak = peak_of(id).unwrap_or_default().max(peak),
            }
        };
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(exit.stdout.matches("customer-").count() >= pipelines * LANES.len(), "{}", exit.stdout.len());
        let seconds = started_at.elapsed().as_secs_f64();
        let megabytes = peak >> 20;
        println!("| report of {pipelines} pipelines, {format} | ≤ 256 MiB | {megabytes} MiB, {seconds:.1} s |");
        assert!(peak <= 256 << 20, "{megabytes} MiB");
    }
}
