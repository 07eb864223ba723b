use super::*;

fn name(state: &LaneState) -> String {
    state.reason().unwrap_or_else(|| state.name()).to_owned()
}

/// The state for each failure, in the columns of [`Side::ALL`], and of a lane that is halted.
#[test]
fn the_state_follows_from_the_side_and_the_failure() {
    let expected = "
        Transient        stopped          stopped stopped console_failing   sink_failing     stopped stopped
        Unauthorized     stopped          stopped stopped console_refused   sink_refused     stopped stopped
        SecretUnreadable SecretUnreadable stopped stopped SecretUnreadable  SecretUnreadable stopped SecretUnreadable
        RefusedAll       RefusedAll       stopped stopped RefusedAll        RefusedAll       stopped RefusedAll
        ProgramFailed    ProgramFailed    stopped stopped ProgramFailed     ProgramFailed    stopped ProgramFailed
        ProgramOverran   ProgramOverran   stopped stopped ProgramOverran    ProgramOverran   stopped ProgramOverran
        Misconfigured    stopped          stopped stopped console_refused   sink_refused     stopped stopped
        Full             stopped          stopped stopped stopped           stopped          stopped stopped
        Clock            stopped          stopped stopped waiting_for_clock sink_failing     stopped stopped
        Superseded       stopped          stopped stopped stopped           stopped          stopped stopped";
    let expected: Vec<Vec<_>> = expected.trim().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(expected.len(), FailureKind::ALL.len());
    for (kind, expected) in FailureKind::ALL.iter().zip(expected) {
        let failure = Failure::new(*kind, "");
        let mut row = vec![kind.name().to_owned()];
        row.extend(Side::ALL.iter().map(|side| name(&LaneState::of(*side, &failure))));
        row.push(name(&LaneChange::Halted(failure).failing_state().unwrap()));
        assert_eq!(row, expected);
    }
}

fn failed(side: Side) -> LaneChange {
    LaneChange::Failed(side, Failure::transient(format!("{side:?}")))
}

fn refused() -> Failure {
    Failure::unauthorized("401")
}

/// A lane's state is checked after each of several changes in a row.
#[test]
fn a_lane_shows_the_most_severe_of_what_fails() {
    use LaneChange::{
        CheckpointStored, ConsoleAnswers, FindsOrphans, Halted, LaneBegins, LaneEnds, SinkAccepts, WaitsForRename,
    };
    let text = || "reason".to_owned();
    let halted = || Halted(Failure::transient("panic"));
    let rows: [(Vec<LaneChange>, &str); 21] = [
        (vec![], "starting"),
        // A claim that succeeds ends its failure; a lane that never failed is not running for it.
        (vec![CheckpointStored], "starting"),
        (vec![failed(Side::Claim), CheckpointStored], "running"),
        (vec![ConsoleAnswers(None)], "running"),
        (vec![SinkAccepts], "running"),
        // Store, sink, console: each is shown until it is over.
        (vec![failed(Side::Console), failed(Side::Sink), failed(Side::Store)], "stopped"),
        (vec![failed(Side::Console), failed(Side::Sink), failed(Side::Store), CheckpointStored], "sink_failing"),
        (
            vec![failed(Side::Console), failed(Side::Sink), failed(Side::Store), CheckpointStored, SinkAccepts],
            "console_failing",
        ),
        (
            vec![failed(Side::Console), failed(Side::Sink), failed(Side::Store), SinkAccepts, ConsoleAnswers(None)],
            "stopped",
        ),
        (vec![failed(Side::Sink), ConsoleAnswers(None)], "sink_failing"),
        // An accepted event ends what kept events from being settled.
        (vec![failed(Side::DeadLetters), SinkAccepts], "running"),
        (vec![halted(), SinkAccepts], "running"),
        (vec![halted(), CheckpointStored], "stopped"),
        // The failure of another pass stays, whatever this one gets.
        (vec![failed(Side::Console), ConsoleAnswers(Some(refused()))], "console_refused"),
        (vec![ConsoleAnswers(Some(refused())), ConsoleAnswers(None)], "running"),
        // A lane that begins again has neither failed nor succeeded.
        (vec![failed(Side::Store), failed(Side::Sink), failed(Side::Console), LaneBegins], "starting"),
        (vec![SinkAccepts, LaneBegins], "starting"),
        (vec![WaitsForRename(text())], "renamed"),
        (vec![WaitsForRename(text()), LaneBegins], "starting"),
        (vec![FindsOrphans(text())], "TooManyOrphans"),
        (vec![failed(Side::Sink), LaneEnds], "done"),
    ];
    for (events, expected) in rows {
        let mut shown = Shown::default();
        for event in &events {
            shown.add(event.clone());
        }
        assert_eq!(name(&shown.state()), expected, "{events:?}");
    }
}

#[test]
fn what_is_known_already_is_nothing_new() {
    let mut shown = Shown::default();
    assert!(!shown.add(LaneChange::CheckpointStored));
    assert!(shown.add(LaneChange::ConsoleAnswers(Some(refused()))));
    assert!(!shown.add(LaneChange::ConsoleAnswers(Some(refused()))));
    assert!(shown.add(LaneChange::ConsoleAnswers(None)) && shown.add(LaneChange::ConsoleAnswers(None)));
}

#[test]
fn the_console_takes_the_token_unless_its_last_answer_says_otherwise() {
    let mut shown = Shown::default();
    let mut after = |event| {
        shown.add(event);
        shown.token_problem()
    };
    assert_eq!(after(LaneChange::Failed(Side::Console, refused())), Some(TokenProblem::Refused));
    // The sink says nothing of it.
    assert_eq!(after(failed(Side::Sink)), Some(TokenProblem::Refused));
    assert_eq!(after(failed(Side::Console)), None);
    let unreadable = Failure::secret_unreadable("");
    assert_eq!(after(LaneChange::Failed(Side::Console, unreadable.clone())), Some(TokenProblem::Unreadable));
    assert_eq!(after(LaneChange::ConsoleAnswers(None)), None);
    assert_eq!(after(LaneChange::Failed(Side::Sink, unreadable)), None);
}
