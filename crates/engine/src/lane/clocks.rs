//! The two clocks that a lane depends on: its console's and this machine's. Either may be wrong.

use std::time::Duration;

use s1_forwarder_failure::Failure;
use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::HumanDuration;
use tracing::{info, warn};

use super::Lane;
use crate::checkpoint::ledger::repair_between;
use crate::console::{Client, ClockChange};

/// Difference up to which two clocks agree, however short the overlap is: `Date` has whole seconds, and an answer takes
/// time.
const MIN_SKEW: Duration = Duration::from_secs(5);
/// Largest difference of the clocks at which a new lane begins. At worst, the lane begins too early, never too late.
const MAX_SKEW_AT_BEGIN: Duration = DAY;
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// The times of both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    pub ours: Timestamp,
    /// `None` if the console has not said its time yet.
    pub theirs: Option<Timestamp>,
}

impl Clocks {
    pub fn of(client: &Client) -> Self {
        Self { ours: client.clock().now(), theirs: client.time() }
    }

    pub fn earlier(self) -> Timestamp {
        self.theirs.map_or(self.ours, |theirs| theirs.min(self.ours))
    }

    fn later(self) -> Timestamp {
        self.theirs.map_or(self.ours, |theirs| theirs.max(self.ours))
    }

    pub fn difference(self) -> Duration {
        self.later().since(self.earlier())
    }

    /// Returns whether the clocks differ by more than `overlap`, which a poll reads again anyway, and by more than
    /// `MIN_SKEW`.
    pub fn are_apart(self, overlap: Duration) -> bool {
        self.difference() > overlap.max(MIN_SKEW)
    }

    /// Returns how far the console's clock is behind ours; zero if it is not behind, or is unknown.
    pub fn behind(self) -> Duration {
        self.theirs.map_or(Duration::ZERO, |theirs| self.ours.since(theirs))
    }

    /// Returns the start time S of a poll: the console's time, or ours if the clocks are apart and ours is earlier. If
    /// the console's time is unknown, S is ours.
    pub fn start(self, overlap: Duration) -> Timestamp {
        if self.are_apart(overlap) { self.earlier() } else { self.theirs.unwrap_or(self.ours) }
    }

    /// Returns the time by which a new lane resolves `since`.
    ///
    /// # Errors
    /// [`Failure::clock`] while the console's time is unknown, or one of the clocks is surely wrong.
    pub fn beginning(self) -> Result<Timestamp, Failure> {
        if self.theirs.is_none() {
            return Err(Failure::clock(
                "the console's answers have no valid `Date`, and a new lane begins by the console's clock: let the \
                 proxies in between pass this header on",
            ));
        }
        if self.difference() > MAX_SKEW_AT_BEGIN {
            return Err(Failure::clock(format!(
                "{}; a new lane begins when they differ by less than a day",
                self.words()
            )));
        }
        Ok(self.earlier())
    }

    /// Returns a text that says how the clocks differ, and what to do.
    fn words(self) -> String {
        let difference = self.difference();
        // The difference is rounded to the unit in which it is shown.
        let whole = if difference < MINUTE {
            Duration::from_secs(1)
        } else if difference < DAY {
            MINUTE
        } else {
            HOUR
        };
        // The console's time has whole seconds. The text must not change from poll to poll.
        let difference =
            (Timestamp::default().plus(difference + whole / 2).aligned_to(whole)).since(Timestamp::default());
        let direction = if self.behind().is_zero() { "ahead of" } else { "behind" };
        format!(
            "the console's clock is {} {direction} this machine's: set the one that is wrong",
            HumanDuration(difference)
        )
    }
}

impl Lane {
    /// Returns whether the console's time is known well enough. If it seems to be behind ours, it has to be recent.
    /// Otherwise, if polls have nothing to ask for, no answer would correct it.
    pub(super) fn knows_time(&self) -> bool {
        let clocks = Clocks::of(&self.client);
        clocks.theirs.is_some()
            && (clocks.behind().is_zero() || !clocks.are_apart(self.pull.overlap) || self.client.has_said_time_lately())
    }

    /// Reports how the clocks differ.
    pub(super) fn compare_clocks(&self) {
        let Self { pull, client, .. } = self;
        let clocks = Clocks::of(client);
        let Clocks { ours, theirs: Some(theirs) } = clocks else { return };
        let meter = self.meter();
        meter.clocks_differ(ours, theirs);
        let skewed = clocks.are_apart(pull.overlap);
        match client.record_clocks(theirs, skewed) {
            Some(ClockChange::Apart) => warn!(
                console = %theirs, own = %ours,
                "the console's clock and this machine's differ by more than `overlap`: the earlier one is used"
            ),
            // A record with an earlier time than the position less `overlap` is not pulled.
            Some(ClockChange::Agree { since, jump }) if jump > pull.overlap => {
                let repair = repair_between(since, theirs, pull.settles_after(), &self.file, &self.state_flags);
                let text = format!(
                    "the console's clock and this machine's agree again; the console's was behind, and records with a time of \
                     then may be older than what lanes look back to; {repair}"
                );
                warn!("{text}");
                meter.metrics.add_repair(text, Some(theirs));
            }
            Some(ClockChange::Agree { .. }) => info!("the console's clock and this machine's agree again"),
            None => {}
        }
        meter.metrics.clocks.set_console_ahead(if skewed { theirs.seconds() - ours.seconds() } else { 0 });
    }

    /// Checks whether a poll that starts before `bound`, up to which the lane has read, may ask for nothing and wait. A
    /// bound that is a few seconds ahead is reached soon.
    ///
    /// # Errors
    /// [`Failure::clock`] if a clock or the bound is wrong.
    pub(super) fn may_wait_for(&self, bound: Timestamp) -> Result<(), Failure> {
        let clocks = Clocks::of(&self.client);
        let overlap = self.pull.overlap;
        if bound.since(clocks.later()) > overlap.max(MIN_SKEW) {
            return Err(Failure::clock(format!(
                "the lane's position is {bound}, later than the console's clock and this machine's: wait until then, or set \
                 the lane to the TIME up to which the destination has all records (older ones are not delivered): \
                 s1-forwarder state set {} --to TIME{}",
                self.key.lane, self.state_flags,
            )));
        }
        if clocks.are_apart(overlap) {
            return Err(Failure::clock(format!("{}; until then, the lane requests nothing", clocks.words())));
        }
        Ok(())
    }
}
