//! However many events a lane owes, comparing them takes the memory of a part of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use s1_forwarder::emulator::{Kind, print_time, system_clock};
use s1_forwarder::record::{Identity, Stream};
use serde_json::json;

use crate::support::completeness::hour;
use crate::support::harness::{Harness, setting};
use crate::support::process::{Process, program};
use crate::support::verify_destination::{lanes, listed, sum};

const MIB: u64 = 1 << 20;
/// Beyond what the program takes for few events.
const ALLOWED: u64 = 64 * MIB;
/// The hours in which they were created: each has more than are in memory together.
const HOURS: i64 = 10;
const FIRST_ID: i64 = 1_000_000_000_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes many minutes: .ci/run nightly"]
async fn ten_million_owed_events_take_little_memory() {
    let few = peak(1_000).await;
    let owed = setting("S1_FORWARDER_OWED", 10_000_000) as i64;
    let many = peak(owed).await;
    println!("{owed} owed events: peak {} MiB, of few {} MiB", many / MIB, few / MIB);
    assert!(many <= few + ALLOWED, "{} MiB are too much: few take {}", many / MIB, few / MIB);
}

/// The most memory of `verify --present` over `count` events, a few of which are not in the list.
async fn peak(count: i64) -> u64 {
    let harness = Harness::new(|setup| {
        setup.activities = 100;
        setup.span = Duration::from_hours(1);
    })
    .await;
    harness.put_changed("acme", json!({}));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    // What the console shows only now is owed as well.
    let mut list = BufWriter::new(File::create(harness.path("present")).unwrap());
    let host = harness.server.address().to_string();
    let [from, to] = [hour(5 + HOURS), hour(5)];
    let mut missing = BTreeSet::new();
    for number in 0..count {
        let id = (FIRST_ID + number).to_string();
        let created = print_time(from + (to - from) * number / count);
        let record = json!({ "id": id, "createdAt": created, "updatedAt": created, "activityType": 27 });
        harness.console().insert(Kind::Activities, record.to_string().as_bytes()).unwrap();
        let identity = Identity::of(&host, Stream::Activities, &id, "").to_string();
        if number % (count / 3) == count / 4 {
            missing.insert(identity);
        } else {
            writeln!(list, "{identity}").unwrap();
        }
    }
    list.flush().unwrap();
    let [from, to] = [from, to].map(print_time);
    let arguments = ["verify", "pipelines/acme.yaml", "--from", &from, "--to", &to, "--requests-per-second", "1000"];
    let more = ["--present", "present", "--format", "json", "--list", "list"];
    let started_at = system_clock();
    let process = Process::spawn(program(harness.root(), &[&arguments[..], &more].concat()));
    let (exit, peak) = process.exit_with_peak().await;
    println!("{count} owed events: {} s, {} MiB", (system_clock() - started_at) / 1_000_000, peak / MIB);
    let lane = &lanes(&exit)[0];
    assert_eq!(listed(&harness.path("list")), missing, "{lane}");
    assert_eq!((sum(lane, "owed"), sum(lane, "missing")), (count as u64, 3), "{lane}");
    peak
}
