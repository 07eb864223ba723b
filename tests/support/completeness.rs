//! Parts that the tests of `verify` share, against files and against Kafka.

use std::sync::LazyLock;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use s1_forwarder::record::Timestamp;
use serde_json::{Value, json};

use super::harness::Harness;
use super::process::Exit;

pub const HOUR: i64 = 3_600_000_000;

/// The hour in which this process began. A test would mean two hours by one number if the hour changed meanwhile.
static FIRST_HOUR: LazyLock<i64> = LazyLock::new(|| system_clock() / HOUR);

/// The beginning of the hour that is `back` hours ago.
pub fn hour(back: i64) -> i64 {
    (*FIRST_HOUR - back) * HOUR
}

/// The ids of the activities that were created between these times, in microseconds.
pub fn created_between(harness: &Harness, from: i64, to: i64) -> Vec<u64> {
    let created = |id: &u64| {
        let record = harness.console().record(Kind::Activities, *id).unwrap();
        created_at(&serde_json::from_slice(&record).unwrap())
    };
    let ids = harness.console().ids(Kind::Activities).into_iter();
    ids.filter(|id| (from..to).contains(&created(id))).collect()
}

/// When this record was created, in microseconds. The texts have no order: some have no fraction.
pub fn created_at(record: &Value) -> i64 {
    Timestamp::parse(record["createdAt"].as_str().unwrap()).unwrap().micros()
}

/// A number of the table: the row of a stream, the column by its place.
pub fn number(exit: &Exit, stream: &str, column: usize) -> u64 {
    let row = exit.stdout.lines().find(|line| line.trim_start().starts_with(&format!("acme/{stream}/siem"))).unwrap();
    row.split_whitespace().nth(column).unwrap().parse().unwrap_or_else(|_| panic!("{}", exit.stdout))
}

pub const HOURS: usize = 1;
pub const CONSOLE: usize = 2;
pub const ACCOUNTED: usize = 3;
pub const DELIVERED: usize = 4;
pub const MISSING: usize = 5;
pub const REPAIRED: usize = 6;
pub const PURGED: usize = 7;

pub async fn two_streams() -> Harness {
    let harness = Harness::new(|setup| {
        setup.activities = 2_000;
        setup.threats = 300;
        setup.span = Duration::from_hours(192);
    })
    .await;
    let streams = json!({
        "activities": { "interval": "300ms", "since": "10d", "exclude_types": [27, 2] },
        "threats": { "interval": "300ms", "since": "10d" },
    });
    harness.put_changed("acme", json!({ "streams": streams }));
    harness
}
