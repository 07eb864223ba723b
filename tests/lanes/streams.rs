//! Streams that change, are read in several passes, or as a whole: agents, alerts, groups.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, Quirks, Scope, Setup, Token};
use s1_forwarder::lane::LaneEnd;
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{AgentSettings, PullSettings, Since, SnapshotStage, StreamOptions};
use s1_forwarder::telemetry::SkipReason;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::harness::{LaneHarness, Running, START, assert_counts_balance};
use super::script::snapshots;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn sink(harness: &LaneHarness) -> std::sync::Arc<MemorySink> {
    MemorySink::accepting(harness.clock)
}

fn start(harness: &LaneHarness, pull: PullSettings, sink: &std::sync::Arc<MemorySink>) -> Running {
    harness.start(harness.lane(pull, "siem", sink.clone()))
}

/// How often the record of this id was delivered.
fn times(sink: &MemorySink, id: u64) -> usize {
    sink.accepted().iter().filter(|(_, taken, _)| *taken == id.to_string()).count()
}

/// Edits a record and leaves its times alone.
fn edit(harness: &LaneHarness, kind: Kind, id: u64, change: impl FnOnce(&mut Value)) {
    let mut record: Value = serde_json::from_slice(&harness.console.record(kind, id).unwrap()).unwrap();
    change(&mut record);
    harness.console.insert(kind, record.to_string().as_bytes()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_stream_is_drained_from_a_console_with_faults() {
    for (kind, stream) in
        [(Kind::Agents, Stream::Agents), (Kind::Alerts, Stream::Alerts), (Kind::Groups, Stream::Groups)]
    {
        for faults in ["none", "cursors", "short-pages", "server-errors", "clock"] {
            let faults = Faults::preset(faults).unwrap();
            let harness = LaneHarness::new(|setup| (setup.agents, setup.alerts) = (1_200, 1_200));
            harness.console.set_faults(faults);
            let sink = sink(&harness);
            let mut lane = harness.lane(harness.pull(stream), "siem", sink.clone());
            lane.once = true;
            let running = harness.start(lane);
            assert_eq!(running.task.await.unwrap(), LaneEnd::Complete);
            let owed = harness.owed(kind);
            let counts = sink.counts();
            assert_eq!(counts.keys().collect::<Vec<_>>(), owed.keys().collect::<Vec<_>>(), "{stream}");
            assert!(counts.values().all(|count| *count == 1), "{stream}");
            assert_counts_balance(&running.metrics);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_only_checked_in_is_not_sent_again() {
    let harness = LaneHarness::new(|setup| setup.agents = 50);
    let sink = sink(&harness);
    let agents = harness.console.ids(Kind::Agents);
    let listed: Vec<u64> = harness.owed(Kind::Agents).into_values().collect();
    let check_in = |minute: u32, change: &dyn Fn(&mut Value)| {
        let now = START.plus(minute * MINUTE);
        for id in &listed {
            harness.console.update(Kind::Agents, *id, now.micros(), |agent| {
                agent["lastActiveDate"] = json!(now.to_string());
                change(agent);
            });
        }
    };
    let mut running = start(&harness, harness.pull(Stream::Agents), &sink);
    sleep(2 * MINUTE).await;
    assert_eq!(sink.total(), listed.len(), "the first time all are sent");
    for minute in [3, 5, 7] {
        check_in(minute, &|_| {});
        sleep(2 * MINUTE).await;
        // What was remembered of the agents is in the checkpoint.
        running.drain().await;
        running = start(&harness, harness.pull(Stream::Agents), &sink);
    }
    assert_eq!(sink.total(), listed.len());
    // There, and back again: both are changes.
    let infected = |agent: &mut Value, infected: bool| {
        if agent["id"] == json!(listed[7].to_string()) {
            agent["infected"] = json!(infected);
        }
    };
    sleep(5 * MINUTE).await;
    for (minute, state) in [(15, true), (20, false), (25, true)] {
        check_in(minute, &|agent| infected(agent, state));
        sleep(5 * MINUTE).await;
    }
    let metrics = running.drain().await;
    let changes = times(&sink, listed[7]);
    assert_eq!(sink.total(), listed.len() + changes - 1, "no other agent changed");
    assert!((3..=4).contains(&changes), "{changes}");
    assert!(metrics.skipped(SkipReason::Unchanged) >= 3 * (listed.len() as u64 - 1));
    assert_counts_balance(&metrics);
    assert_eq!(agents.len(), 50);
    let checkpoint = harness.checkpoint(Stream::Agents, "siem").unwrap();
    assert_eq!(checkpoint.position.content_count(), listed.len());
}

#[tokio::test(start_paused = true)]
async fn without_volatile_keys_every_check_in_is_sent() {
    let harness = LaneHarness::new(|setup| setup.agents = 10);
    let sink = sink(&harness);
    let pull = PullSettings {
        own: StreamOptions::Agents(AgentSettings { volatile: Vec::new(), ..AgentSettings::default() }),
        ..harness.pull(Stream::Agents)
    };
    let running = start(&harness, pull, &sink);
    sleep(MINUTE).await;
    let listed = sink.total();
    let id = *harness.owed(Kind::Agents).values().next().unwrap();
    for _ in 0..3 {
        harness.console.update(Kind::Agents, id, harness.clock.now().micros(), |_| {});
        sleep(MINUTE).await;
    }
    let metrics = running.drain().await;
    assert_eq!(sink.total(), listed + 3);
    assert_eq!(metrics.skipped(SkipReason::Unchanged), 0);
    assert_eq!(harness.checkpoint(Stream::Agents, "siem").unwrap().position.content_count(), 0);
}

/// Each mode has a position of its own; what is known of the agents stays.
#[tokio::test(start_paused = true)]
async fn a_lane_may_change_its_mode_and_change_back() {
    let harness = LaneHarness::new(|setup| setup.agents = 60);
    let sink = sink(&harness);
    let changes = harness.pull(Stream::Agents);
    let snapshot = PullSettings { own: snapshots(false), ..changes.clone() };
    let listed = harness.owed(Kind::Agents).len();
    for (round, (pull, wanted)) in
        [(&changes, listed), (&snapshot, 2 * listed), (&changes, 2 * listed + 1)].into_iter().enumerate()
    {
        if round == 2 {
            let id = *harness.owed(Kind::Agents).values().next().unwrap();
            let now = harness.clock.now().micros();
            harness.console.update(Kind::Agents, id, now, |agent| agent["infected"] = json!("again"));
            sleep(MINUTE).await;
        }
        assert_eq!(harness.run_once(harness.lane(pull.clone(), "siem", sink.clone())).await, LaneEnd::Complete);
        assert_eq!((sink.total(), sink.counts().len()), (wanted, wanted), "{round}");
    }
}

#[tokio::test(start_paused = true)]
async fn decommissioned_agents_are_pulled_on_request() {
    let harness = LaneHarness::new(|setup| setup.agents = 200);
    let sinks = [sink(&harness), sink(&harness)];
    for (include, sink) in [false, true].into_iter().zip(&sinks) {
        let decommissioned = ("isDecommissioned", "True,False".to_owned());
        let filters = include.then_some(decommissioned).into_iter().collect();
        let pull = PullSettings { filters, ..harness.pull(Stream::Agents) };
        harness.run_once(harness.lane(pull, &format!("siem-{include}"), sink.clone())).await;
    }
    assert_eq!(sinks[1].total(), 200);
    assert!(sinks[0].total() < 200 && sinks[0].total() == harness.owed(Kind::Agents).len());
}

/// Machines that exist for a day would be remembered for years.
#[tokio::test(start_paused = true)]
async fn an_agent_that_is_gone_is_forgotten_and_one_that_checks_in_is_not() {
    let harness = LaneHarness::new(|setup| setup.agents = 20);
    let sink = sink(&harness);
    let pull = PullSettings { interval: DAY / 4, ..harness.pull(Stream::Agents) };
    let listed: Vec<u64> = harness.owed(Kind::Agents).into_values().collect();
    let (gone, there) = listed.split_at(5);
    let check_in = |agents: &[u64]| {
        let now = harness.clock.now();
        for id in agents {
            let active = |agent: &mut Value| agent["lastActiveDate"] = json!(now.to_string());
            harness.console.update(Kind::Agents, *id, now.micros(), active);
        }
    };
    let running = start(&harness, pull.clone(), &sink);
    for _ in 0..100 {
        sleep(DAY).await;
        check_in(there);
    }
    sleep(DAY).await;
    let metrics = running.drain().await;
    assert_counts_balance(&metrics);
    assert!(listed.iter().all(|id| times(&sink, *id) == 1), "a check-in is no change");
    let known = || harness.checkpoint(Stream::Agents, "siem").unwrap().position.content_count();
    assert_eq!(known(), there.len());

    // One of the removed agents comes back.
    let running = start(&harness, pull, &sink);
    check_in(&[gone[0], there[0]]);
    sleep(DAY).await;
    let metrics = running.drain().await;
    assert_counts_balance(&metrics);
    assert_eq!((times(&sink, gone[0]), times(&sink, there[0]), known()), (2, 1, there.len() + 1));
}

/// Older alerts would be remembered by both passes, and read again, for nothing.
#[tokio::test(start_paused = true)]
async fn the_second_pass_over_alerts_begins_where_their_lookback_does() {
    let harness = LaneHarness::new(|setup| (setup.alerts, setup.span) = (300, 200 * DAY));
    let pull = PullSettings {
        since: Since::At(START.minus(365 * DAY)),
        own: StreamOptions::Alerts(7 * DAY),
        ..harness.pull(Stream::Alerts)
    };
    let sink = sink(&harness);
    let running = start(&harness, pull.clone(), &sink);
    sleep(25 * MINUTE).await;
    running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (300, 300));
    let position = harness.checkpoint(Stream::Alerts, "siem").unwrap().position;
    assert!(position.key_count() < 40, "{} keys", position.key_count());
    let asked = harness.console.request_log();
    let from = |query: &str| Timestamp::parse(query.split("createdAt__gte=").nth(1)?.get(..27)?.trim()).ok();
    let far = asked.iter().filter(|seen| {
        let query = seen.query.replace("%3A", ":");
        !query.contains("cursor=") && from(&query).is_some_and(|from| from < START.minus(8 * DAY))
    });
    assert_eq!(far.count(), 1, "the history is read once");
}

#[tokio::test(start_paused = true)]
async fn a_second_pass_that_the_console_refuses_does_not_stop_the_first() {
    let harness = LaneHarness::new(|setup| setup.unified_alerts = 20);
    let quirks = Quirks { missing_alert_filters: vec!["detectedAt".to_owned()], ..Quirks::default() };
    harness.console.set_quirks(quirks);
    let sink = sink(&harness);
    let running = start(&harness, harness.pull(Stream::UnifiedAlerts), &sink);
    sleep(40 * MINUTE).await;
    let state = running.metrics.state();
    assert!(state.error().is_some_and(|error| error.starts_with("net: ")), "{state:?}");
    let id = harness.console.ids(Kind::UnifiedAlerts)[0];
    let before = sink.total();
    harness.console.change_randomly(Kind::UnifiedAlerts, id, harness.clock.now().micros());
    sleep(2 * MINUTE).await;
    assert_eq!(sink.total(), before + 1, "changes still arrive");
    assert!(!running.metrics.state().is_up(), "and the failure is still reported");
    harness.console.set_quirks(Quirks::default());
    sleep(65 * MINUTE).await;
    assert!(running.metrics.state().is_up());
    let metrics = running.drain().await;
    assert_counts_balance(&metrics);
}

/// The console's own lines say of an alert that it is new, and nothing of its changes.
#[tokio::test(start_paused = true)]
async fn a_lane_of_new_alerts_takes_each_of_them_once_and_counts_its_changes_as_filtered() {
    let harness = LaneHarness::new(|setup| (setup.unified_alerts, setup.span) = (60, 20 * DAY));
    let console = &harness.console;
    let recent = console.generate(Kind::UnifiedAlerts, START.minus(10 * MINUTE).micros());
    let sink = sink(&harness);
    let pull = PullSettings { since: Since::At(START.minus(10 * DAY)), ..harness.pull(Stream::UnifiedAlerts) };
    let pull = Arc::unwrap_or_clone(Arc::new(pull).for_sink(true));
    let detected = |id: u64| {
        let alert: Value = serde_json::from_slice(&console.record(Kind::UnifiedAlerts, id).unwrap()).unwrap();
        Timestamp::parse(alert["detectedAt"].as_str().unwrap()).unwrap()
    };
    let change = |id: u64| {
        let set = |alert: &mut Value| alert["status"] = json!(format!("IN_PROGRESS {}", harness.clock.now()));
        assert!(console.update(Kind::UnifiedAlerts, id, harness.clock.now().micros(), set));
    };
    let is_owed = |id: &u64| detected(*id) >= START.minus(10 * DAY);
    let first = |ids: Vec<u64>| ids.into_iter().min_by_key(|id| detected(*id)).unwrap();
    let owed_ids: Vec<u64> = console.ids(Kind::UnifiedAlerts).into_iter().filter(is_owed).collect();
    let mut owed = owed_ids.len();
    let earlier = first(console.ids(Kind::UnifiedAlerts));
    assert!((10..50).contains(&owed) && !is_owed(&earlier), "{owed}");
    // Detected before `since`, and changed after it.
    change(earlier);
    let running = start(&harness, pull.clone(), &sink);
    sleep(20 * MINUTE).await;
    let filtered = running.metrics.skipped(SkipReason::Filtered);
    assert_eq!((sink.total(), sink.counts().len()), (owed, owed));
    assert!(filtered > 0, "alerts that are older than the lane");

    // One that both passes know, and one that neither shows any more.
    let old = first(owed_ids);
    assert!(detected(old) < START.minus(2 * DAY));
    for id in [recent, old] {
        change(id);
        sleep(20 * MINUTE).await;
    }
    assert_eq!((sink.total(), running.metrics.skipped(SkipReason::Filtered)), (owed, filtered + 2));

    // A new one, one that became visible hours late and was never updated, and a change of the first before a restart.
    let new = console.generate(Kind::UnifiedAlerts, harness.clock.now().micros());
    let late = console.generate(Kind::UnifiedAlerts, harness.clock.now().minus(180 * MINUTE).micros());
    edit(&harness, Kind::UnifiedAlerts, late, |alert| alert["updatedAt"] = Value::Null);
    sleep(20 * MINUTE).await;
    owed += 2;
    assert_eq!(sink.total(), owed);
    let metrics = running.drain().await;
    assert_counts_balance(&metrics);
    for id in [new, late] {
        change(id);
    }
    let running = start(&harness, pull, &sink);
    sleep(20 * MINUTE).await;
    assert_eq!((sink.total(), sink.counts().len()), (owed, owed), "what a lane remembers of them is stored");
    let metrics = running.drain().await;
    assert_counts_balance(&metrics);
    assert_eq!(metrics.skipped(SkipReason::Filtered), filtered + 4);
}

#[tokio::test(start_paused = true)]
async fn what_analysts_make_of_an_alert_arrives_once_for_each_version() {
    let harness = LaneHarness::new(|setup| {
        setup.alerts = 30;
        setup.span = 20 * DAY;
    });
    // An alert of yesterday, far outside the overlap.
    let yesterday = harness.console.generate(Kind::Alerts, START.minus(DAY).micros());
    let sink = sink(&harness);
    let pull = PullSettings { own: StreamOptions::Alerts(7 * DAY), ..harness.pull(Stream::Alerts) };
    let running = start(&harness, pull.clone(), &sink);
    sleep(12 * MINUTE).await;
    assert_eq!(sink.total(), 31);
    let set = |status: &str| {
        edit(&harness, Kind::Alerts, yesterday, |alert| alert["alertInfo"]["incidentStatus"] = json!(status));
    };
    // Back to what it was under one `updatedAt`: as a set of versions, the last would be taken for the first.
    for (turn, status) in ["IN_PROGRESS", "RESOLVED", "IN_PROGRESS"].into_iter().enumerate() {
        set(status);
        sleep(11 * MINUTE).await;
        assert_eq!(times(&sink, yesterday), 2 + turn, "{status}");
    }
    // Over a restart.
    running.drain().await;
    let running = start(&harness, pull, &sink);
    sleep(25 * MINUTE).await;
    assert_eq!(times(&sink, yesterday), 4);
    set("RESOLVED");
    sleep(11 * MINUTE).await;
    assert_eq!(times(&sink, yesterday), 5);
    // Eight days later it is no longer looked at.
    sleep(8 * DAY).await;
    set("UNRESOLVED");
    sleep(30 * MINUTE).await;
    let metrics = running.drain().await;
    assert_eq!((times(&sink, yesterday), sink.total()), (5, 35));
    assert_counts_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_changes_at_once_arrives_again_before_the_lookback() {
    let harness = LaneHarness::new(|_| {});
    let sink = sink(&harness);
    let running = start(&harness, harness.pull(Stream::Alerts), &sink);
    sleep(MINUTE).await;
    let id = harness.console.generate(Kind::Alerts, harness.clock.now().micros());
    sleep(MINUTE).await;
    assert_eq!(times(&sink, id), 1);
    harness.console.change_randomly(Kind::Alerts, id, harness.clock.now().micros());
    sleep(MINUTE).await;
    assert_eq!(times(&sink, id), 2, "within the overlap of its creation every poll sees it");
    running.drain().await;
}

/// In flight together they could be settled in the wrong order, and the older one be remembered as the last.
#[tokio::test(start_paused = true)]
async fn a_poll_sends_one_version_of_an_alert_and_the_next_poll_the_other() {
    let mut harness = LaneHarness::new(|setup| setup.alerts = 1);
    harness.console_delay = Duration::from_secs(5);
    let sink = sink(&harness);
    let running = start(&harness, harness.pull(Stream::Alerts), &sink);
    sleep(Duration::from_secs(25)).await;
    let now = harness.clock.now();
    let first = harness.console.generate(Kind::Alerts, now.micros());
    for place in 1..1_500 {
        harness.console.generate(Kind::Alerts, now.micros() + place * 1_000);
    }
    let faults = Faults { max_consecutive: 1, ..Faults::default() };
    harness.console.set_faults(faults.with(Fault::RefusedCursor, 1.0));
    // The poll has read its first page, is refused the second, and will read the first again.
    sleep(Duration::from_secs(17)).await;
    edit(&harness, Kind::Alerts, first, |alert| alert["alertInfo"]["incidentStatus"] = json!("RESOLVED"));
    sleep(Duration::from_secs(13)).await;
    assert_eq!((times(&sink, first), running.metrics.pull.requeued.get()), (1, 1));
    harness.console.set_faults(Faults::default());
    sleep(3 * MINUTE).await;
    let metrics = running.drain().await;
    assert_eq!((times(&sink, first), sink.total()), (2, 1 + 1_500 + 1));
    assert_counts_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_missing_endpoint_is_reported_once_and_does_not_hold_up_a_run() {
    let harness = LaneHarness::new(|setup| setup.activities = 20);
    harness.console.set_faults(Faults { missing: vec![Kind::Alerts], ..Faults::default() });
    let alerts = sink(&harness);
    let activities = sink(&harness);
    let missing = start(&harness, harness.pull(Stream::Alerts), &alerts);
    let there = harness.start(harness.lane(harness.pull(Stream::Activities), "other", activities.clone()));
    sleep(6 * 60 * MINUTE).await;
    assert_eq!(activities.total(), 20);
    assert!(!missing.metrics.state().is_up() && there.metrics.state().is_up());
    let asked: u64 = missing.metrics.pull.requests.snapshot().values().sum();
    assert!((2..=26).contains(&asked), "each of the two passes probes about hourly: {asked}");
    missing.drain().await;
    there.drain().await;
    let lane = harness.lane(harness.pull(Stream::Alerts), "siem", alerts);
    let started_at = harness.clock.now();
    assert_eq!(harness.run_once(lane).await, LaneEnd::Refused);
    assert!(harness.clock.now().since(started_at) < MINUTE);
}

/// Identities of the marker events taken.
fn markers(sink: &MemorySink) -> Vec<(Identity, Timestamp)> {
    let taken = sink.accepted();
    taken.iter().filter(|(_, id, _)| id == "snapshot").map(|(identity, _, at)| (*identity, *at)).collect()
}

fn snapshot_identities(ids: impl IntoIterator<Item = u64>, time: Timestamp) -> BTreeSet<String> {
    let version = time.seconds().to_string();
    let identity_of = |id: u64| Identity::of("console.example", Stream::Agents, &id.to_string(), &version).to_string();
    ids.into_iter().map(identity_of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_every_agent_under_one_time_and_a_restart_continues_it() {
    let harness = LaneHarness::new(|setup| setup.agents = 1_000);
    let mut sink = sink(&harness);
    // So slow that a snapshot takes minutes.
    std::sync::Arc::get_mut(&mut sink).unwrap().delay = Duration::from_secs(20);
    let hour = 60 * MINUTE;
    let pull = PullSettings { own: snapshots(true), interval: hour, ..harness.pull(Stream::Agents) };
    let first = START.aligned_to(hour);
    let one_at_a_time = || {
        let mut lane = harness.lane(pull.clone(), "siem", sink.clone());
        lane.concurrency = 1;
        harness.start(lane)
    };
    let killed = one_at_a_time();
    sleep(70 * Duration::from_secs(1)).await;
    killed.task.abort();
    let _ = killed.task.await;
    let before = sink.total();
    assert!(before > 0 && before < 900, "{before}");
    // The next hour has begun, and still it is the same snapshot.
    sleep(hour).await;
    let running = one_at_a_time();
    sleep(20 * MINUTE).await;
    let listed: Vec<u64> = harness.owed(Kind::Agents).into_values().collect();
    let counts = sink.counts();
    let marker = markers(&sink);
    let [(marker_identity, _)] = marker[..] else { panic!("{marker:?}") };
    let mut wanted = snapshot_identities(listed.iter().copied(), first);
    assert!(wanted.insert(marker_identity.to_string()));
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    assert!(counts.values().all(|count| *count == 1));
    let last = sink.accepted().last().unwrap().clone();
    assert_eq!(last.1, "snapshot", "the marker comes after all the others");
    let metrics = running.metrics.clone();
    assert_eq!(metrics.snapshot(), Some((first, listed.len() as u64)));
    let stored = harness.checkpoint(Stream::Agents, "siem").unwrap().position.first().unwrap().snapshot.unwrap();
    assert_eq!((stored.time, stored.stage), (first, SnapshotStage::Done), "a kill now would repeat nothing");
    assert_counts_balance(&metrics);

    // The next one is everything again, and has another time.
    let newcomer = harness.console.generate(Kind::Agents, harness.clock.now().micros());
    sleep(hour).await;
    let metrics = running.drain().await;
    let (second, records) = metrics.snapshot().unwrap();
    assert!(second > first && second == second.aligned_to(hour));
    assert_eq!(records, listed.len() as u64 + 1);
    let wanted = snapshot_identities(listed.iter().copied().chain([newcomer]), second);
    let counts = sink.counts();
    assert!(wanted.iter().all(|identity| counts.get(identity) == Some(&1)));
    assert_eq!(sink.total(), 2 * listed.len() + 1 + 2);
    assert_eq!(markers(&sink).len(), 2);

    // A run that comes too early finds nothing to do.
    let mut lane = harness.lane(pull, "siem", sink.clone());
    lane.once = true;
    let pulled = metrics.pull.records.get();
    let early = harness.start(lane);
    assert_eq!(early.task.await.unwrap(), LaneEnd::Complete);
    assert_eq!(early.metrics.pull.records.get(), pulled);
}

#[tokio::test(start_paused = true)]
async fn groups_are_asked_for_three_hundred_at_a_time_and_their_changes_arrive() {
    let harness = LaneHarness::new(|_| {});
    let first = harness.console.ids(Kind::Groups)[0];
    for _ in 0..700 {
        harness.console.generate(Kind::Groups, START.minus(DAY).micros());
    }
    let sink = sink(&harness);
    let running = start(&harness, harness.pull(Stream::Groups), &sink);
    sleep(MINUTE).await;
    let all = harness.console.count(Kind::Groups);
    assert_eq!((sink.total(), sink.counts().len()), (all, all));
    harness.console.change_randomly(Kind::Groups, first, harness.clock.now().micros());
    sleep(MINUTE).await;
    running.drain().await;
    assert_eq!((times(&sink, first), sink.total()), (2, all + 1));
    let limits: BTreeSet<String> = harness.console.request_log().iter().map(|seen| seen.query.clone()).collect();
    assert!(limits.iter().any(|query| query.contains("limit=300&")), "{limits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_finding_that_is_again_what_it_was_arrives_again() {
    let harness = LaneHarness::new(|_| {});
    let found = harness.console.generate(Kind::Vulnerabilities, START.minus(MINUTE * 30).micros());
    let pull = PullSettings {
        interval: MINUTE * 15,
        since: Since::At(START.minus(DAY)),
        ..PullSettings::of(Stream::Vulnerabilities)
    };
    let sink = sink(&harness);
    let running = start(&harness, pull, &sink);
    sleep(MINUTE).await;
    for (turn, status) in ["Patched", "Active", "Patched", "Active"].into_iter().enumerate() {
        assert_eq!(times(&sink, found), 1 + turn, "before {status}");
        let now = harness.clock.now().micros();
        harness.console.update(Kind::Vulnerabilities, found, now, |finding| finding["status"] = status.into());
        sleep(MINUTE * 16).await;
    }
    let metrics = running.drain().await;
    assert_eq!(times(&sink, found), 5);
    assert_counts_balance(&metrics);
}

/// A finding has no time of its own to be remembered by, and the time of its poll may be reported wrong.
#[tokio::test(start_paused = true)]
async fn a_finding_that_was_read_under_a_clock_an_hour_behind_does_not_come_again() {
    let harness = LaneHarness::new(|_| {});
    let before = |minutes: u32| START.minus(MINUTE * minutes);
    // Listed by its detection, which is in the first window; its change is in later windows.
    let detected = harness.console.generate(Kind::Vulnerabilities, before(90).micros());
    harness
        .console
        .update(Kind::Vulnerabilities, detected, before(5).micros(), |finding| finding["status"] = "Patched".into());
    let pull = PullSettings {
        interval: MINUTE * 15,
        since: Since::At(before(120)),
        overlap: MINUTE * 75,
        ..PullSettings::of(Stream::Vulnerabilities)
    };
    harness.console.set_faults(Faults::default().with(Fault::WrongDate(-3600), 1.0));
    let sink = sink(&harness);
    let running = start(&harness, pull, &sink);
    sleep(MINUTE).await;
    assert_eq!(times(&sink, detected), 1);
    harness.console.set_faults(Faults::default());
    sleep(MINUTE * 180).await;
    running.drain().await;
    assert_eq!(times(&sink, detected), 1);
}

#[tokio::test(start_paused = true)]
async fn a_finding_that_was_read_under_a_clock_years_ahead_is_not_remembered_for_years() {
    let harness = LaneHarness::new(|_| {});
    let pull = PullSettings {
        interval: MINUTE * 15,
        since: Since::At(START.minus(DAY)),
        ..PullSettings::of(Stream::Vulnerabilities)
    };
    let sink = sink(&harness);
    let running = start(&harness, pull, &sink);
    sleep(MINUTE).await;
    // A lane does not begin under such a clock.
    harness.console.set_faults(Faults::default().with(Fault::WrongDate(5 * 365 * 86_400), 1.0));
    let detected = harness.console.generate(Kind::Vulnerabilities, harness.clock.now().micros());
    sleep(MINUTE * 20).await;
    assert_eq!(times(&sink, detected), 1);
    let keys =
        |harness: &LaneHarness| harness.checkpoint(Stream::Vulnerabilities, "siem").unwrap().position.key_count();
    assert_eq!(keys(&harness), 1);
    sleep(DAY * 2).await;
    running.drain().await;
    assert_eq!((keys(&harness), times(&sink, detected)), (0, 1));
}

/// Where the console wants one scope at a time they are read one after the other, and one without licence is passed
/// over. A refusal that does not speak of scopes is none of these.
#[tokio::test(start_paused = true)]
async fn findings_are_read_scope_by_scope_where_the_console_says_so() {
    for refused in [false, true] {
        let harness = LaneHarness::new(|setup| (setup.vulnerabilities, setup.agents) = (400, 60));
        let sites = harness.console.ids(Kind::Sites);
        let quirks = Quirks { unlicensed_sites: vec![sites[1]], risks_require_one_scope: true, ..Quirks::default() };
        harness.console.set_quirks(quirks);
        harness.console.set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(sites[1..4].to_vec())));
        if refused {
            harness.console.set_faults(Faults { forbidden: vec![Kind::Vulnerabilities], ..Faults::default() });
        }
        let sink = sink(&harness);
        let pull = PullSettings { since: Since::Beginning, ..PullSettings::of(Stream::Vulnerabilities) };
        let end = harness.run_once(harness.lane(pull, "siem", sink.clone())).await;
        let scopes = harness.console.visible_versions(Kind::Vulnerabilities, &Scope::Sites(sites[2..4].to_vec()));
        let open: BTreeSet<String> = scopes.iter().map(|version| version.id.to_string()).collect();
        let taken: Vec<String> = sink.accepted().iter().map(|(_, id, _)| id.clone()).collect();
        let asked_for_scopes = harness.console.request_log().iter().any(|seen| seen.path.ends_with("/accounts"));
        if refused {
            assert_eq!((end, taken.len(), asked_for_scopes), (LaneEnd::Refused, 0, false));
        } else {
            assert_eq!((end, taken.len(), asked_for_scopes), (LaneEnd::Complete, open.len(), true));
            assert!(!open.is_empty() && taken.into_iter().collect::<BTreeSet<_>>() == open);
        }
    }
}
