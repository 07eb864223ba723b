//! The consequences of failures. No other module of a lane decides what follows from a failure.

use s1_forwarder_failure::{Failure, FailureKind, Side};

use super::LaneEnd;
use super::backoff::ConsecutiveRefusals;
use crate::delivery::DeliveryError;

/// A failure that ended a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideFailure {
    pub side: Side,
    pub failure: Failure,
}

/// The failure of a checkpoint write that the writer does not try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStored {
    pub failure: Failure,
    /// The next step of the lane.
    pub exit: Exit,
}

/// The cause of a failed session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionFailure {
    /// A failed checkpoint write, whose consequence is known.
    NotStored(NotStored),
    /// A failure of one side. [`verdict`] returns its consequence.
    Side(SideFailure),
}

/// The properties of a lane that decide what follows from a failure.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FailurePolicy {
    /// Whether the lane ends when it has caught up, or when it cannot catch up.
    pub once: bool,
    /// Whether the lane's sink commits the checkpoint with the events. If it is unknown what was committed, the lane
    /// reads the checkpoint again.
    pub reopens: bool,
}

/// The next step of a lane after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The lane makes the same attempt again after a few seconds. After a session, the attempt is to store what was
    /// settled.
    Again,
    /// The lane stores what was settled, waits, and polls again.
    Pause(Pause),
    Exit(Exit),
}

/// How a lane gives up its state in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The lane reads its checkpoint again, and goes on from there.
    Reopen,
    /// The lane stores what was settled, and ends.
    End(LaneEnd),
    /// The lane ends without storing anything: nothing was read, the store refuses, or another process has the
    /// checkpoint.
    Leave(LaneEnd),
}

const REFUSED: Verdict = Verdict::Exit(Exit::End(LaneEnd::Refused));
const LEAVE_REFUSED: Verdict = Verdict::Exit(Exit::Leave(LaneEnd::Refused));
const LEAVE_TAKEN_OVER: Verdict = Verdict::Exit(Exit::Leave(LaneEnd::TakenOver));

/// The passes that wait after a failure, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The pass, for a minute: the console fails.
    PassFailing,
    /// All passes, until the next poll is due, or for a minute: an answer of the console may have another time.
    ClockWrong,
    /// The pass, for an hour: the console refuses it for more than the token.
    PassRefused,
    /// The pass, for as long as the lane runs.
    PassGivenUp,
    /// All passes, longer each time: the console refuses the token.
    TokenRefused,
    /// All passes, for as long as the sink's settings say.
    SinkFailing,
    /// All passes, longer each time.
    SinkRefusing,
    /// All passes, until the lane is asked to stop.
    UntilStopped,
}

impl From<DeliveryError> for SessionFailure {
    fn from(error: DeliveryError) -> Self {
        let failed = |side, failure| Self::Side(SideFailure { side, failure });
        match error {
            DeliveryError::Sink(failure) => failed(Side::Sink, failure),
            DeliveryError::DeadLetters(failure) => failed(Side::DeadLetters, failure),
        }
    }
}

impl From<SideFailure> for SessionFailure {
    fn from(failed: SideFailure) -> Self {
        Self::Side(failed)
    }
}

impl From<NotStored> for SessionFailure {
    fn from(not_stored: NotStored) -> Self {
        Self::NotStored(not_stored)
    }
}

/// Returns what the lane does after `failure` of `side`. `refusals` counts the refusals in a row before this failure.
pub fn verdict(side: Side, failure: &Failure, policy: FailurePolicy, refusals: ConsecutiveRefusals) -> Verdict {
    let is_last = policy.once && refusals.end_a_run_with(failure);
    match (side, failure.kind) {
        (Side::Claim, _) if is_last => LEAVE_REFUSED,
        // Nothing was read or sent, so that the lane can wait for any other process.
        (Side::Claim, _) => Verdict::Again,
        (_, FailureKind::Superseded) if policy.reopens => Verdict::Exit(Exit::Reopen),
        (_, FailureKind::Superseded) => LEAVE_TAKEN_OVER,
        (Side::Store, _) if is_last => LEAVE_REFUSED,
        (Side::Store | Side::Copy, _) => Verdict::Again,
        // Only a change of the pipeline file helps, and that starts another lane.
        (_, FailureKind::ProgramFailed | FailureKind::ProgramOverran) if policy.once => REFUSED,
        (_, FailureKind::ProgramFailed | FailureKind::ProgramOverran) => Verdict::Pause(Pause::UntilStopped),
        // The other passes may be complete nevertheless.
        (Side::Console, FailureKind::Misconfigured) if policy.once => Verdict::Pause(Pause::PassGivenUp),
        _ if is_last => REFUSED,
        (Side::Console, FailureKind::Misconfigured) => Verdict::Pause(Pause::PassRefused),
        (Side::Console, FailureKind::Unauthorized | FailureKind::SecretUnreadable) => {
            Verdict::Pause(Pause::TokenRefused)
        }
        (Side::Console, FailureKind::Clock) => Verdict::Pause(Pause::ClockWrong),
        (Side::Console, _) => Verdict::Pause(Pause::PassFailing),
        (Side::Sink | Side::DeadLetters, FailureKind::Transient) => Verdict::Pause(Pause::SinkFailing),
        (Side::Sink | Side::DeadLetters, _) => Verdict::Pause(Pause::SinkRefusing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: FailurePolicy = FailurePolicy { once: false, reopens: false };

    /// Returns the counter after this number of refusals in a row.
    fn after(refusals: usize) -> ConsecutiveRefusals {
        let mut counted = ConsecutiveRefusals::default();
        (0..refusals).for_each(|_| counted.count(&Failure::full("")));
        counted
    }

    /// Returns a line for each failure, with a column for each of [`Side::ALL`].
    fn table(mode: FailurePolicy, refusals: ConsecutiveRefusals) -> Vec<String> {
        let name = |verdict: Verdict| match verdict {
            Verdict::Again => "again".to_owned(),
            Verdict::Exit(Exit::Reopen) => "reopen".to_owned(),
            Verdict::Pause(pause) => format!("{pause:?}"),
            Verdict::Exit(Exit::End(end)) => format!("end:{end:?}"),
            Verdict::Exit(Exit::Leave(end)) => format!("leave:{end:?}"),
        };
        let line = |kind: &FailureKind| {
            let columns = Side::ALL.map(|side| name(verdict(side, &Failure::new(*kind, ""), mode, refusals)));
            format!("{} {}", kind.name(), columns.join(" "))
        };
        FailureKind::ALL.iter().map(line).collect()
    }

    fn assert_table(mode: FailurePolicy, refusals: usize, expected: &str) {
        let expected: Vec<String> =
            expected.trim().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(table(mode, after(refusals)), expected, "{mode:?} after {refusals} refusals");
    }

    /// A worker's lane tries again after any number of refusals, since an operator may correct the cause.
    #[test]
    fn a_lane_of_a_worker_goes_on_unless_another_process_has_it() {
        for refusals in [0, 2, 100] {
            assert_table(
                WORKER,
                refusals,
                "Transient        again         again           again           PassFailing     SinkFailing     SinkFailing
                 Unauthorized     again         again           again           TokenRefused    SinkRefusing    SinkRefusing
                 SecretUnreadable again         again           again           TokenRefused    SinkRefusing    SinkRefusing
                 RefusedAll       again         again           again           PassFailing     SinkRefusing    SinkRefusing
                 ProgramFailed    again         again           again           UntilStopped    UntilStopped    UntilStopped
                 ProgramOverran   again         again           again           UntilStopped    UntilStopped    UntilStopped
                 Misconfigured    again         again           again           PassRefused     SinkRefusing    SinkRefusing
                 Full             again         again           again           PassFailing     SinkRefusing    SinkRefusing
                 Clock            again         again           again           ClockWrong      SinkRefusing    SinkRefusing
                 Superseded       again         leave:TakenOver leave:TakenOver leave:TakenOver leave:TakenOver leave:TakenOver",
            );
        }
    }

    #[test]
    fn a_lane_that_runs_once_ends_when_its_program_failed_and_gives_up_what_the_console_refuses() {
        for refusals in [0, 1] {
            assert_table(
                FailurePolicy { once: true, ..WORKER },
                refusals,
                "Transient        again         again           again           PassFailing     SinkFailing     SinkFailing
                 Unauthorized     again         again           again           TokenRefused    SinkRefusing    SinkRefusing
                 SecretUnreadable again         again           again           TokenRefused    SinkRefusing    SinkRefusing
                 RefusedAll       again         again           again           PassFailing     SinkRefusing    SinkRefusing
                 ProgramFailed    again         again           again           end:Refused     end:Refused     end:Refused
                 ProgramOverran   again         again           again           end:Refused     end:Refused     end:Refused
                 Misconfigured    again         again           again           PassGivenUp     SinkRefusing    SinkRefusing
                 Full             again         again           again           PassFailing     SinkRefusing    SinkRefusing
                 Clock            again         again           again           ClockWrong      SinkRefusing    SinkRefusing
                 Superseded       again         leave:TakenOver leave:TakenOver leave:TakenOver leave:TakenOver leave:TakenOver",
            );
        }
    }

    #[test]
    fn the_third_refusal_in_a_row_ends_a_lane_that_runs_once() {
        for refusals in [2, 3] {
            assert_table(
                FailurePolicy { once: true, ..WORKER },
                refusals,
                "Transient        again         again           again           PassFailing     SinkFailing     SinkFailing
                 Unauthorized     leave:Refused leave:Refused   again           end:Refused     end:Refused     end:Refused
                 SecretUnreadable leave:Refused leave:Refused   again           end:Refused     end:Refused     end:Refused
                 RefusedAll       leave:Refused leave:Refused   again           end:Refused     end:Refused     end:Refused
                 ProgramFailed    leave:Refused leave:Refused   again           end:Refused     end:Refused     end:Refused
                 ProgramOverran   leave:Refused leave:Refused   again           end:Refused     end:Refused     end:Refused
                 Misconfigured    leave:Refused leave:Refused   again           PassGivenUp     end:Refused     end:Refused
                 Full             leave:Refused leave:Refused   again           end:Refused     end:Refused     end:Refused
                 Clock            again         again           again           ClockWrong      SinkRefusing    SinkRefusing
                 Superseded       again         leave:TakenOver leave:TakenOver leave:TakenOver leave:TakenOver leave:TakenOver",
            );
        }
    }

    /// Another process may have the lane, or it is unknown what the sink committed. The stored checkpoint says which.
    #[test]
    fn a_lane_whose_sink_commits_its_checkpoint_reads_it_again_and_does_not_end() {
        for once in [false, true] {
            for refusals in [0, 2].map(after) {
                let reopening = table(FailurePolicy { once, reopens: true }, refusals);
                let ending = table(FailurePolicy { once, reopens: false }, refusals);
                let expected: Vec<_> = ending.iter().map(|line| line.replace("leave:TakenOver", "reopen")).collect();
                assert_eq!(reopening, expected);
            }
        }
    }
}
