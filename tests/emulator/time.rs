//! Records that appear and change as time goes.

use std::time::Duration;

use s1_forwarder::emulator::{Console, Fault, Faults, Kind, RecordVersion, Request, Scope, Setup};

use super::client::{NOW, SECOND};

fn versions(console: &Console) -> Vec<Vec<RecordVersion>> {
    Kind::ALL.into_iter().map(|kind| console.visible_versions(kind, &Scope::Global)).collect()
}

#[test]
fn what_a_console_holds_at_a_moment_does_not_depend_on_who_asked_before() {
    let late = (0.2, Duration::from_mins(1));
    let setup = Setup { activities: 100, threats: 20, agents: 20, alerts: 20, rate: 5.0, late, ..Setup::new(NOW) };
    let once = Console::new(&setup);
    let often = Console::new(&setup);
    let before = versions(&once);
    once.advance(NOW + 600 * SECOND);
    for second in 0..=600 {
        // A request takes random numbers too: they are not those of the records.
        often.answer(&Request::get("/threats?limit=3", Setup::TOKEN), NOW + second * SECOND);
    }
    assert_eq!(versions(&once), versions(&often));
    let new = once.count(Kind::Activities) - 100;
    assert!((1_800..3_200).contains(&new), "{new} new activities in ten minutes at five events a second");
    let known = &before[Kind::Threats as usize];
    let changed =
        once.visible_versions(Kind::Threats, &Scope::Global).iter().filter(|version| !known.contains(version)).count();
    assert!(changed > 10, "threats appear and change: {changed}");
    assert!(once.replaced_versions(Kind::Agents).len() > 100, "agents check in");
    assert!(once.count(Kind::Agents) > 20, "agents are installed");
    for kind in [Kind::Alerts, Kind::Groups] {
        assert!(!once.replaced_versions(kind).is_empty(), "{kind:?} change");
    }
    assert!(versions(&once).concat().iter().all(|version| version.created <= NOW + 600 * SECOND));
}

#[test]
fn everything_follows_from_the_seed() {
    let setup = Setup { activities: 300, threats: 50, agents: 20, alerts: 20, rate: 2.0, ..Setup::new(NOW) };
    let faulty = |seed| {
        let console = Console::new(&Setup { seed, ..setup.clone() });
        console.set_faults(Faults::preset("all").unwrap().merge(Faults::default().with(Fault::WrongDate(9), 0.1)));
        let answers = (0..200).map(|n| {
            let target = format!("/threats?limit=50&sortBy=updatedAt&skip={}", n % 7);
            let answer = console.answer(&Request::get(&target, Setup::TOKEN), NOW + n * SECOND);
            (answer.status, answer.headers, answer.body, answer.transmission)
        });
        answers.collect::<Vec<_>>()
    };
    assert!(faulty(3) == faulty(3));
    assert!(faulty(3) != faulty(4));
}
