//! Parts that the tests of `verify --destination` and `--present` share, whatever the destination.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use s1_forwarder::emulator::Kind;
use s1_forwarder::record::{Identity, Stream};
use serde_json::{Value, json};

use super::completeness::{HOUR, created_at, hour};
use super::harness::Harness;
use super::process::Exit;

/// A day of activities, delivered by this sink.
pub async fn delivered(mut sink: Value) -> Harness {
    let harness = Harness::new(|setup| {
        setup.activities = 1_500;
        setup.span = Duration::from_hours(24);
    })
    .await;
    sink["name"] = json!("siem");
    put(&harness, &sink);
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    harness
}

/// Gives the pipeline this sink.
pub fn put(harness: &Harness, sink: &Value) {
    harness.put_changed(
        "acme",
        json!({ "sinks": [sink], "transform": { "schema": "ecs" }, "streams": { "activities": { "since": "10d" } } }),
    );
}

/// Compares the events that are over an hour old.
pub async fn ask(harness: &Harness, flags: &[&str]) -> Exit {
    harness.verify_until(hour(1), &[&["--destination", "--format", "json"], flags].concat()).await
}

/// Compares as [`ask`] does, and returns the result of the only lane.
pub async fn ask_lane(harness: &Harness, flags: &[&str]) -> Value {
    lanes(&ask(harness, flags).await).remove(0)
}

/// The result as JSON: that of each lane, in the order of the streams.
pub fn lanes(exit: &Exit) -> Vec<Value> {
    let result: Value = serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{}{}", exit.stdout, exit.stderr));
    result["lanes"].as_array().unwrap().clone()
}

pub fn sum(lane: &Value, column: &str) -> u64 {
    lane["hours"].as_array().unwrap().iter().map(|row| row[column].as_u64().unwrap_or_default()).sum()
}

/// The identities of a `--list`.
pub fn listed(list: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(list).unwrap().lines().map(|line| line[..32].to_owned()).collect()
}

/// The identities of activities that were created between these hours before now.
pub fn settled(harness: &Harness, from: i64, to: i64) -> Vec<String> {
    settled_by_hour(harness, from, to).into_values().flatten().collect()
}

/// The identities that [`settled`] gives, by the hour of creation.
pub fn settled_by_hour(harness: &Harness, from: i64, to: i64) -> BTreeMap<i64, Vec<String>> {
    let host = harness.server.address().to_string();
    let mut hours: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for id in harness.console().ids(Kind::Activities) {
        let record = harness.console().record(Kind::Activities, id).unwrap();
        let created = created_at(&serde_json::from_slice(&record).unwrap());
        if (hour(from)..hour(to)).contains(&created) {
            let identity = Identity::of(&host, Stream::Activities, &id.to_string(), "");
            hours.entry(created.div_euclid(HOUR)).or_default().push(identity.to_string());
        }
    }
    hours
}
