//! Parts that the tests of `verify` share, against files and against Kafka.

use std::time::Duration;

use s1_forwarder::emulator::system_clock;
use serde_json::json;

use super::harness::Harness;
use super::process::Exit;

pub const HOUR: i64 = 3_600_000_000;

/// The beginning of the hour that is `back` hours ago.
pub fn hour(back: i64) -> i64 {
    (system_clock() / HOUR - back) * HOUR
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
        setup.span = Duration::from_secs(8 * 86_400);
    })
    .await;
    let streams = json!({
        "activities": { "interval": "300ms", "since": "10d", "exclude_types": [27, 2] },
        "threats": { "interval": "300ms", "since": "10d" },
    });
    harness.put_changed("acme", json!({ "streams": streams }));
    harness
}
