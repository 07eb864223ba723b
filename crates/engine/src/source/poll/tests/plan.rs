//! Plans of polls, by the pass, by what the lane had read before, by the clock and by what polls have learned.

use super::tail::{activities, position, second, steady};
use super::*;
use crate::source::{AgentSettings, Findings, StreamOptions, TimeField, Window};

const NOTHING: ConsoleHabits = ConsoleHabits { is_null_usual: false, miscounted_at: None };

/// Returns the position of a lane that has read nothing and begins at `since`.
fn new_lane(since: i64) -> SourcePosition {
    SourcePosition::starting_at(second(since))
}

/// Returns the position of a lane that owes everything.
fn owes_all() -> SourcePosition {
    SourcePosition::starting_at(Timestamp::default())
}

fn snapshots() -> PullSettings {
    PullSettings {
        own: StreamOptions::Agents(AgentSettings { snapshot: true, ..AgentSettings::default() }),
        interval: Duration::from_secs(100),
        ..PullSettings::of(Stream::Agents)
    }
}

/// Returns the position of a lane that has begun the snapshot of this time. It has finished this number of the
/// snapshot's stages: reading, and the marker.
fn snapshot(since: i64, time: i64, finished: usize) -> SourcePosition {
    let passes = snapshots().passes();
    let mut position = new_lane(since);
    position.add_passes(&passes);
    let context = PollContext { start: second(time), snapshot: Some(second(time)), ..PollContext::default() };
    position.settle(&passes, context);
    for _ in 0..finished {
        position.finish(&passes, context, true);
    }
    position
}

/// Returns the pull of all findings, with a sweep every 100 seconds.
fn findings() -> PullSettings {
    let findings = Findings { resync: Duration::from_secs(100), ..Findings::default() };
    PullSettings {
        own: StreamOptions::Vulnerabilities(findings),
        overlap: OVERLAP,
        ..PullSettings::of(Stream::Vulnerabilities)
    }
}

fn findings_of_sites() -> PullSettings {
    let scopes = ["7", "8"].map(|id| Arc::new(Scope { level: Level::Site, id: id.into(), name: None }));
    let pull = findings();
    let findings = Findings { scopes: scopes.into(), ..pull.findings().unwrap().clone() };
    PullSettings { own: StreamOptions::Vulnerabilities(findings), ..pull }
}

/// Returns the position of a lane of findings whose last sweep began at `swept`, and whose last complete poll began at
/// `complete`.
fn swept(swept: i64, complete: i64) -> SourcePosition {
    let passes = findings().passes();
    let mut position = owes_all();
    position.add_passes(&passes);
    for (start, sweep) in [(swept, true), (complete, swept == complete)] {
        position.finish(&passes, PollContext { start: second(start), sweep, ..PollContext::default() }, false);
    }
    position
}

/// Returns the position of a lane that knows one record, of 100 seconds ago. All passes have read everything up to 30
/// seconds ago.
fn read(pull: &PullSettings) -> SourcePosition {
    let passes = pull.passes();
    let mut position = new_lane(-5_000);
    position.add_passes(&passes);
    let context = PollContext { start: second(-30), ..PollContext::default() };
    let key = RecordKey { id: 7, version: 7, content: None, time: second(-100), created: Some(second(-100)) };
    position.settle(&passes, context).remember(&key);
    for pass in 0..passes.len() {
        position.finish(&passes, PollContext { pass, ..context }, false);
    }
    position
}

/// Returns the plan of a poll in words. Times are in seconds from [`begin`].
fn plan(pull: &PullSettings, position: SourcePosition, pass: usize, start: i64, habits: ConsoleHabits) -> String {
    let plan = match Plan::of(pull, &position, pass, second(start), habits) {
        Ok(plan) => plan,
        Err(NotDue::Complete) => return "nothing".to_owned(),
        Err(NotDue::Before(time)) => return format!("nothing before {}", time.seconds() - begin().seconds()),
    };
    let Plan { context, baseline, from, reads, .. } = plan;
    let at = |time: Timestamp| match time.seconds() {
        0 => "beginning".to_owned(),
        seconds => (seconds - begin().seconds()).to_string(),
    };
    let range = |TimeRange { from, to }| format!("{}..{}", at(from), at(to));
    let whole = range(TimeRange { from, to: context.start });
    let reads = match reads {
        ReadPlan::Marker(snapshot) => format!("marker of {}", at(snapshot.time)),
        ReadPlan::Everything => format!("all {whole}"),
        ReadPlan::Intervals(tail) => {
            let counts =
                tail.search.question().map(|interval| format!("counts {}, ", range(interval))).unwrap_or_default();
            let intervals: Vec<_> = tail.intervals(&baseline.pass_position).into_iter().map(range).collect();
            format!("{counts}reads {}", intervals.join(" and "))
        }
        ReadPlan::Findings(mut scan) => {
            let mut lists = Vec::new();
            loop {
                let query = scan.query(baseline.since, from, context.start);
                let has = |parameter: &str| query.iter().any(|(name, _)| *name == parameter);
                let filter = match (has("riskUpdatedDate__lte"), has("detectionDate__lte")) {
                    (true, false) => "changed",
                    (false, true) => "detected",
                    _ => "open",
                };
                let scope = scan.scope().map(|scope| format!("of {} ", scope.id)).unwrap_or_default();
                lists.push(format!("{scope}{filter}"));
                if !scan.advance() {
                    break;
                }
            }
            format!("findings {}, {whole}", lists.join(" and "))
        }
    };
    let snapshot = context.snapshot.map(|time| format!("snapshot {}: ", at(time))).unwrap_or_default();
    let sweep = if context.sweep { "sweep: " } else { "" };
    let bound = if context.leaves_open { ", bound stays" } else { "" };
    assert_eq!(context.pass, pass);
    format!("{snapshot}{sweep}{reads}{bound}")
}

#[test]
fn a_plan_follows_from_what_was_read_the_clock_and_what_was_learned() {
    let miscounted = |at| ConsoleHabits { miscounted_at: Some(second(at)), ..NOTHING };
    let threats = PullSettings { overlap: OVERLAP, ..PullSettings::of(Stream::Threats) };
    let agents = PullSettings { overlap: OVERLAP, ..PullSettings::of(Stream::Agents) };
    let whole_agents = PullSettings {
        own: StreamOptions::Agents(AgentSettings { volatile: Vec::new(), ..AgentSettings::default() }),
        ..agents.clone()
    };
    let alerts = PullSettings { overlap: OVERLAP, ..PullSettings::of(Stream::Alerts) };
    let unified = PullSettings { overlap: OVERLAP, ..PullSettings::of(Stream::UnifiedAlerts) };
    let window = Window { from: second(-200), to: second(-100), time: TimeField::Order };
    let in_window = PullSettings { window: Some(window), ..activities() };
    let sites = findings_of_sites();
    let rows = [
        // What is new, and what was read before.
        (plan(&activities(), new_lane(-300), 0, 0, NOTHING), "all -300..0"),
        (plan(&activities(), steady(), 0, 0, NOTHING), "counts -330..-30, reads -30..0, bound stays"),
        (
            plan(&activities(), position(-700..-30, 1, -180), 0, 0, NOTHING),
            "counts -299..-30, reads -480..-299 and -30..0",
        ),
        (plan(&activities(), position(-600..-400, 1, -30), 0, 0, NOTHING), "all -330..0"),
        (plan(&activities(), steady(), 0, 400, NOTHING), "all -330..400"),
        (plan(&activities(), steady(), 1, 0, NOTHING), "nothing"),
        // The console's clock was set back: behind the last poll, to the bound, behind the bound.
        (plan(&activities(), steady(), 0, -40, NOTHING), "all -330..-40"),
        (plan(&activities(), new_lane(-300), 0, -300, NOTHING), "all -300..-300"),
        (plan(&activities(), new_lane(-300), 0, -301, NOTHING), "nothing before -300"),
        // The console's counts were wrong: within half of the overlap, before that, and later by the clock of now.
        (plan(&activities(), steady(), 0, 0, miscounted(0)), "reads -30..0, bound stays"),
        (plan(&activities(), steady(), 0, 0, miscounted(-149)), "reads -30..0, bound stays"),
        (plan(&activities(), steady(), 0, 0, miscounted(-150)), "counts -330..-30, reads -30..0, bound stays"),
        (plan(&activities(), steady(), 0, 0, miscounted(1)), "counts -330..-30, reads -30..0, bound stays"),
        // Other streams. Not counted: versions of agents that are not sent, and what changes without a new time.
        (plan(&threats, read(&threats), 0, 0, NOTHING), "counts -330..-30, reads -30..0, bound stays"),
        (plan(&agents, read(&agents), 0, 0, NOTHING), "reads -30..0, bound stays"),
        (plan(&whole_agents, read(&whole_agents), 0, 0, NOTHING), "counts -330..-30, reads -30..0, bound stays"),
        (plan(&alerts, read(&alerts), 0, 0, NOTHING), "all -330..0"),
        (plan(&alerts, read(&alerts), 1, 0, NOTHING), "all -5000..0"),
        (plan(&alerts, new_lane(-700_000), 1, 0, NOTHING), "all -604800..0"),
        (plan(&unified, read(&unified), 0, 0, NOTHING), "counts -330..-30, reads -30..0, bound stays"),
        (plan(&unified, read(&unified), 1, 0, NOTHING), "all -5000..0"),
        (plan(&in_window, steady(), 0, 0, NOTHING), "all -330..0"),
        // Snapshots: the first, one that is being read, the same when a clock was set back, one without its marker, the
        // same with a clock before all that is owed, and one that is done.
        (plan(&snapshots(), new_lane(-300), 0, 50, NOTHING), "snapshot 0: all -300..50"),
        (plan(&snapshots(), snapshot(-300, 0, 0), 0, 120, NOTHING), "snapshot 0: all -300..120"),
        (plan(&snapshots(), snapshot(-300, 0, 0), 0, -50, NOTHING), "snapshot 0: all -300..0"),
        (plan(&snapshots(), snapshot(-300, 0, 1), 0, 120, NOTHING), "snapshot 0: marker of 0"),
        (plan(&snapshots(), snapshot(20, 0, 1), 0, 10, NOTHING), "snapshot 0: marker of 0"),
        (plan(&snapshots(), snapshot(-300, 0, 2), 0, 99, NOTHING), "nothing"),
        (plan(&snapshots(), snapshot(-300, 0, 2), 0, -1, NOTHING), "nothing before 0"),
        (plan(&snapshots(), snapshot(-300, 0, 2), 0, 100, NOTHING), "snapshot 100: all -300..100"),
        // Findings: a sweep first if all is owed, and again when it is time, but not two in a row.
        (plan(&findings(), owes_all(), 0, 0, NOTHING), "sweep: findings open, beginning..0"),
        (plan(&findings(), new_lane(-300), 0, 0, NOTHING), "findings changed and detected, -300..0"),
        (plan(&findings(), swept(-100, -50), 0, 0, NOTHING), "sweep: findings open, -350..0"),
        (plan(&findings(), swept(-99, -50), 0, 0, NOTHING), "findings changed and detected, -350..0"),
        (plan(&findings(), swept(-100, -100), 0, 0, NOTHING), "findings changed and detected, -86500..0"),
        (plan(&findings(), new_lane(-300), 0, -301, NOTHING), "nothing before -300"),
        (plan(&sites, new_lane(-300), 1, 0, NOTHING), "findings of 8 changed and of 8 detected, -300..0"),
        (plan(&sites, owes_all(), 0, 0, NOTHING), "sweep: findings of 7 open, beginning..0"),
        (
            plan(&sites.within(window), new_lane(-200), 0, -100, NOTHING),
            "sweep: findings of 7 detected and of 8 detected, -200..-100",
        ),
    ];
    let wrong: Vec<_> = rows.iter().filter(|(planned, expected)| planned != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
