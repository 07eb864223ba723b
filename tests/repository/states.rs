//! docs/troubleshooting.md explains each state of a lane.

use std::collections::BTreeMap;
use std::fs;

use s1_forwarder::failure::FailureKind;
use s1_forwarder::telemetry::{LaneState, Misconfiguration};

use super::reference_docs::{alerts, root};

/// One value of each state; the compiler refuses a state that is missing here.
fn states() -> Vec<LaneState> {
    let all = [
        LaneState::Starting,
        LaneState::Running,
        LaneState::ConsoleFailing(String::new()),
        LaneState::ConsoleRefused(String::new()),
        LaneState::SinkFailing(String::new()),
        LaneState::SinkRefused(String::new()),
        LaneState::Misconfigured(Misconfiguration::Failed(FailureKind::SecretUnreadable), String::new()),
        LaneState::Misconfigured(Misconfiguration::Failed(FailureKind::RefusedAll), String::new()),
        LaneState::Misconfigured(Misconfiguration::Failed(FailureKind::ProgramFailed), String::new()),
        LaneState::Misconfigured(Misconfiguration::Failed(FailureKind::ProgramOverran), String::new()),
        LaneState::Misconfigured(Misconfiguration::TooManyOrphans, String::new()),
        LaneState::Stopped(String::new()),
        LaneState::WaitingForClock(String::new()),
        LaneState::Renamed(String::new()),
        LaneState::Done,
    ];
    for state in &all {
        match state {
            LaneState::Starting
            | LaneState::Running
            | LaneState::ConsoleFailing(_)
            | LaneState::ConsoleRefused(_)
            | LaneState::SinkFailing(_)
            | LaneState::SinkRefused(_)
            | LaneState::Misconfigured(Misconfiguration::Failed(_) | Misconfiguration::TooManyOrphans, _)
            | LaneState::Stopped(_)
            | LaneState::WaitingForClock(_)
            | LaneState::Renamed(_)
            | LaneState::Done => {}
        }
    }
    all.into()
}

#[test]
fn the_table_of_states_has_each_with_its_value_alert_and_cure() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let (_, table) = page.split_once("| state | `lane_up` | alert | meaning | do |\n").unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = table
        .lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .map(|cells| (cells[0].trim_matches('`'), cells))
        .collect();
    let states = states();
    let mut names: Vec<&str> = states.iter().map(LaneState::name).collect();
    names.dedup();
    names.sort_unstable();
    assert_eq!(names, rows.keys().copied().collect::<Vec<_>>());
    let mut ordered = LaneState::NAMES;
    ordered.sort_unstable();
    assert_eq!(names, ordered);
    let alerts = alerts();
    for state in states {
        let row = &rows[state.name()];
        let [_, up, alert, meaning, cure] = row[..] else { panic!("{row:?}") };
        assert_eq!(up, if state.is_up() { "1" } else { "0" }, "{row:?}");
        let named = alerts.iter().any(|(name, _)| alert.contains(&format!("`{name}`")));
        assert!(named || (state.is_up() && alert == "none"), "{row:?}");
        assert!(state.reason().is_none_or(|reason| meaning.contains(&format!("`{reason}`"))), "{row:?}");
        assert!(state.is_up() || cure.contains("](#"), "{row:?}");
    }
}
