//! A dead sink stalls only its own lane.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::record::Stream;
use s1_forwarder::sink::Outcome;
use tokio::time::sleep;

use crate::world::{MemorySink, World};

/// Lets `healthy` lanes and `dead` ones run for a minute; returns what the healthy ones delivered.
async fn delivered_by_healthy_lanes(healthy: usize, dead: usize) -> usize {
    let mut world = World::new(|setup| setup.activities = 60_000);
    world.budget = s1_forwarder::lane::Budget::new(128 << 20);
    let mut running = Vec::new();
    for lane in 0..dead {
        // Half of them refuse, half of them never answer.
        let mut sink =
            MemorySink::new(world.clock, |_, _| Some(Outcome::RetryLater { reason: "dead".to_owned(), after: None }));
        if lane % 2 == 0 {
            Arc::get_mut(&mut sink).unwrap().delay = Duration::from_secs(30);
        }
        running.push(world.start(world.lane(world.pull(Stream::Activities), &format!("dead-{lane}"), sink)));
    }
    let sinks: Vec<_> = (0..healthy).map(|_| MemorySink::new(world.clock, |_, _| None)).collect();
    for (lane, sink) in sinks.iter().enumerate() {
        running.push(world.start(world.lane(world.pull(Stream::Activities), &format!("healthy-{lane}"), sink.clone())));
    }
    sleep(Duration::from_millis(1_500)).await;
    let delivered = sinks.iter().map(|sink| sink.total()).sum();
    running.iter().for_each(|lane| lane.task.abort());
    delivered
}

#[tokio::test(start_paused = true)]
async fn ninety_dead_sinks_of_a_hundred_do_not_slow_the_other_ten() {
    let alone = delivered_by_healthy_lanes(10, 0).await;
    let beside_the_dead = delivered_by_healthy_lanes(10, 90).await;
    println!("ten lanes alone: {alone} events; beside ninety dead sinks: {beside_the_dead}");
    assert!(alone < 600_000, "the time must be too short to deliver everything, or there is nothing to compare");
    assert!(beside_the_dead as f64 >= alone as f64 * 0.95, "{beside_the_dead} of {alone}");
}
