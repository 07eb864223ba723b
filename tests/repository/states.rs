//! docs/troubleshooting.md explains each state of a lane.

use std::collections::BTreeMap;
use std::fs;

use s1_forwarder::failure::{Failure, FailureKind, Side};
use s1_forwarder::telemetry::{LaneState, LaneStateKind, Misconfiguration};

use super::reference_docs::{alerts, root};

/// Each state, with each of its reasons.
fn states() -> Vec<LaneState> {
    use LaneStateKind::{Done, Misconfigured, Renamed, Running, Starting};
    let failures = FailureKind::ALL.iter().map(|kind| Failure::new(*kind, ""));
    let failing = failures.flat_map(|failure| [Side::Console, Side::Sink].map(|side| LaneState::of(side, &failure)));
    let others = [Starting, Running, Renamed, Misconfigured(Misconfiguration::TooManyOrphans), Done];
    failing.chain(others.map(LaneState::from)).collect()
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
    names.sort_unstable();
    names.dedup();
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
