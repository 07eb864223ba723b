//! What `delivery: exactly_once` costs: the same records to the same broker, with it and without, in one run.
//!
//! A measurement, and so run by itself: `just bench-exactly-once` with the optimized program. `S1_FORWARDER_LANES` and
//! `S1_FORWARDER_BENCH_RECORDS` (of each lane) can be set. Fails when less than 60 % of the throughput is left.

use serde_json::json;
use tokio::time::Instant;

use crate::support::harness::{Harness, setting};
use crate::support::kafka::Broker;

const MIN_RATIO: f64 = 0.6;
/// More than the least are made where too little was left.
const MIN_ROUNDS: usize = 2;
const MAX_ROUNDS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: `just bench-exactly-once`"]
async fn exactly_once_keeps_most_of_the_throughput() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::start).await.unwrap() else { return };
    let lanes = setting("S1_FORWARDER_LANES", 40);
    let records = setting("S1_FORWARDER_BENCH_RECORDS", 5_000);
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (records, records)).await;
    // One after the other, so that neither has the warmer caches, and the fastest of each: what else the machine does
    // only adds.
    let mut seconds = [f64::INFINITY; 2];
    for round in 0..MAX_ROUNDS {
        if round >= MIN_ROUNDS && seconds[0] / seconds[1] >= MIN_RATIO {
            break;
        }
        for (index, delivery) in ["at_least_once", "exactly_once"].into_iter().enumerate() {
            let name = format!("{delivery}-{round}");
            broker.create_topic(&name, 6, &[]).await;
            for lane in 0..lanes / 2 {
                let sink = json!({
                    "name": "bus", "type": "kafka", "brokers": [broker.address()], "topic": name,
                    "delivery": delivery, "checkpoint_topic": format!("{name}-checkpoints"), "compression": "zstd",
                });
                let streams = json!({ "activities": { "since": "beginning" }, "threats": { "since": "beginning" } });
                harness.put_changed(&format!("p{lane}"), json!({ "streams": streams, "sinks": [sink] }));
            }
            let started_at = Instant::now();
            let exit = harness.once(&["--state", &format!("file:{name}")]).await;
            assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
            let took = started_at.elapsed().as_secs_f64();
            let delivered = |row: &str| row.split_whitespace().nth(2).and_then(|count| count.parse::<usize>().ok());
            let delivered: usize = exit.stdout.lines().filter_map(delivered).sum();
            // The console never shows a few activities.
            assert!(delivered > lanes * records * 9 / 10, "{}", exit.stdout);
            println!("{delivery}: {} lanes, {:.0} events/s", lanes, delivered as f64 / took);
            seconds[index] = took.min(seconds[index]);
        }
    }
    let ratio = seconds[0] / seconds[1];
    println!("exactly_once has {:.0} % of the throughput of at_least_once", ratio * 100.0);
    assert!(ratio >= MIN_RATIO, "less than {:.0} % of the throughput is left", MIN_RATIO * 100.0);
}
