//! How many requests a day the streams cost that are read again and again: docs/streams.md has the figures.

use std::time::Duration;

use s1_forwarder::emulator::{Kind, Setup};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::memory::MemorySink;
use serde_json::json;
use tokio::time::sleep;

use super::harness::{LaneHarness, Running};
use super::script::all;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn requests(running: &Running) -> u64 {
    running.metrics.pull.requests.snapshot().values().sum()
}

/// The requests a day of a lane with default settings, observed for `time` after its first hour. `each_minute` is
/// called with the number of the minute, from the start on, half a minute after the polls.
async fn requests_a_day(
    stream: Stream,
    setup: impl FnOnce(&mut Setup),
    time: Duration,
    mut each_minute: impl FnMut(&LaneHarness, u32),
) -> f64 {
    let harness = LaneHarness::new(setup);
    let sink = MemorySink::accepting(harness.clock);
    let running = harness.start(harness.lane(all(stream), "siem", sink.clone()));
    let mut before = 0;
    for minute in 0..u32::try_from((HOUR + time).as_secs() / 60).unwrap() {
        if minute == 60 {
            before = requests(&running);
            assert!(sink.total() > 0, "the first run is over");
        }
        sleep(MINUTE / 2).await;
        each_minute(&harness, minute);
        sleep(MINUTE / 2).await;
    }
    let asked = requests(&running) - before;
    running.drain().await;
    asked as f64 * DAY.as_secs_f64() / time.as_secs_f64()
}

/// All agents check in every quarter of an hour; one alert a minute is new; a hundredth of the findings a day.
async fn figures(agents: usize, alerts: usize, findings: usize) -> [f64; 3] {
    let of_agents = requests_a_day(
        Stream::Agents,
        |setup| setup.agents = agents,
        2 * HOUR,
        |harness, minute| {
            let now = harness.clock.now();
            let ids = harness.console.ids(Kind::Agents);
            for id in ids.into_iter().skip(minute as usize % 15).step_by(15) {
                let active = json!(now.to_string());
                harness.console.update(Kind::Agents, id, now.micros(), |agent| agent["lastActiveDate"] = active);
            }
        },
    );
    let of_agents = of_agents.await;
    let of_alerts = requests_a_day(
        Stream::Alerts,
        |setup| (setup.alerts, setup.span) = (alerts, 6 * DAY),
        2 * HOUR,
        |harness, _| _ = harness.console.generate(Kind::Alerts, harness.clock.now().micros()),
    );
    let of_alerts = of_alerts.await;
    let of_findings = requests_a_day(
        Stream::Vulnerabilities,
        |setup| (setup.vulnerabilities, setup.agents, setup.span) = (findings, 100, 90 * DAY),
        7 * DAY,
        |harness, minute| {
            if minute % 1440 == 0 {
                let now = harness.clock.now().micros();
                (0..findings / 100).for_each(|_| _ = harness.console.generate(Kind::Vulnerabilities, now));
            }
        },
    );
    [of_agents, of_alerts, of_findings.await]
}

fn print(sizes: [usize; 3], figures: [f64; 3]) {
    for ((what, size), figure) in ["agents", "alerts", "findings"].into_iter().zip(sizes).zip(figures) {
        println!("| {size} {what} | {figure:.0} requests a day |");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_again_costs_as_many_requests_as_documented() {
    let sizes = [2_000, 1_000, 5_000];
    let [agents, alerts, findings] = figures(sizes[0], sizes[1], sizes[2]).await;
    print(sizes, [agents, alerts, findings]);
    // 96 polls of two pages; 1,440 polls, and 144 of all alerts; 4 windows, and a seventh of a sweep.
    assert!((96.0 * 2.0..=96.0 * 3.0).contains(&agents), "agents: {agents}");
    assert!((1_440.0..=1_440.0 + 144.0 * 3.0).contains(&alerts), "alerts: {alerts}");
    assert!((8.0..=20.0).contains(&findings), "findings: {findings}");
}

#[tokio::test(start_paused = true)]
#[ignore = "a benchmark: `just bench-requests`"]
async fn requests_a_day_for_ten_thousand_agents_and_alerts_and_a_hundred_thousand_findings() {
    let sizes = [10_000, 10_000, 100_000];
    print(sizes, figures(sizes[0], sizes[1], sizes[2]).await);
}
