//! Regularly compares the ledgers of a worker's lanes with the consoles, for the last day of each lane.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::CheckpointBackend;
use s1_forwarder_engine::checkpoint::ledger::{Accounting, Hour};
use s1_forwarder_record::{LaneId, Timestamp};
use s1_forwarder_state::StoreLocation;
use s1_forwarder_telemetry::{LaneMetrics, LaneStateKind, Meter, Verification};
use tracing::{Instrument, debug, warn};

use super::completeness::CompletenessChecker;
use super::error::VerifyError;
use super::ledger_reader::{Account, LedgerKind, LedgerReader, check_segments, live_backend};
use super::{Confirmed, confirm, repairs_area};
use crate::lanes::spec::LaneSpec;
use crate::shared::Shared;

/// Wait before the first check.
pub const FIRST_CHECK: Duration = Duration::from_secs(5);
/// Wait before the next check while no hour can be compared.
const RETRY_INTERVAL: Duration = Duration::from_mins(1);
const CHECK_INTERVAL: Duration = Duration::from_hours(1);
/// Number of hours that are compared. Late records are expected within a day.
const HOURS: u32 = 24;
/// A check is given up if the console fails for this long.
const CONSOLE_TIMEOUT: Duration = Duration::from_mins(5);

/// The result of a check of one lane.
enum Check {
    Done {
        /// Time when another hour can be compared.
        next_hour: Timestamp,
    },
    /// No hour can be compared before this time.
    NotBefore(Timestamp),
}

impl Check {
    /// Returns the wait before the next check. `has_repairs`: the lane asks the operator for a repair, until it has
    /// compared that time itself.
    fn wait(self, has_repairs: bool, now: Timestamp) -> Duration {
        match self {
            Self::Done { next_hour } if has_repairs => next_hour.since(now).clamp(RETRY_INTERVAL, CHECK_INTERVAL),
            Self::Done { .. } => CHECK_INTERVAL,
            // A check reads the checkpoint, and tens of thousands of lanes may have nothing to compare for long.
            Self::NotBefore(time) => time.since(now).max(RETRY_INTERVAL),
        }
    }
}

/// Compares these lanes of a pipeline with their console. Returns the wait before the next time.
///
/// The first time, the ledgers are read to their ends, since a comparison reads the last hours only. A store of objects
/// would have to ask for each.
pub async fn check_ledgers(shared: Arc<Shared>, lanes: Vec<Arc<LaneSpec>>, is_first: bool) -> Duration {
    let reads_all = is_first && matches!(shared.options.state, StoreLocation::File(_));
    let mut pause = CHECK_INTERVAL;
    for spec in lanes.iter().filter(|spec| Accounting::of(spec.id.stream) == Accounting::Records) {
        let span = spec.span();
        let wait = match check(&shared, spec, reads_all).instrument(span.clone()).await {
            Ok(check) => check.wait(has_repairs(&shared, spec), shared.options.clock.now()),
            // The lane says itself that its journal is damaged, and does not do without it.
            Err(VerifyError::Ledger { .. }) if is_stopped(&shared, spec) => CHECK_INTERVAL,
            Err(error @ VerifyError::Ledger { .. }) => {
                span.in_scope(|| warn!("{error}"));
                CHECK_INTERVAL
            }
            Err(error) => {
                span.in_scope(|| debug!(%error, "the ledger could not be compared with the console"));
                RETRY_INTERVAL
            }
        };
        pause = pause.min(wait);
    }
    pause.mul_f64(0.9 + shared.lane_builder.fork_random().f64() / 5.0)
}

fn metrics_of(shared: &Shared, spec: &LaneSpec) -> Option<Arc<LaneMetrics>> {
    shared.telemetry.lane(&spec.id)
}

fn has_repairs(shared: &Shared, spec: &LaneSpec) -> bool {
    metrics_of(shared, spec).is_some_and(|lane| !lane.repairs().is_empty())
}

fn is_stopped(shared: &Shared, spec: &LaneSpec) -> bool {
    metrics_of(shared, spec).is_some_and(|lane| lane.state().kind == LaneStateKind::Stopped)
}

/// Compares the hours that can be compared, and reports missing records.
async fn check(shared: &Shared, spec: &LaneSpec, reads_all: bool) -> Result<Check, VerifyError> {
    let id = &spec.id;
    let kind = spec.sink.type_settings.name();
    let Some(lane) = metrics_of(shared, spec) else {
        return Ok(Check::NotBefore(shared.options.clock.now()));
    };
    let live = live_backend(shared, spec, shared.stores.main())?;
    if reads_all {
        check_segments(&*live, id).await?;
    }
    let now = shared.options.clock.now();
    let account = Account::sums_of_lane(&*live, id, Hour(0)..Hour(0)).await?;
    let comparable = account.comparable_hours(id.stream, spec.pull.overlap, now);
    let hours = comparable.start.max(comparable.end.minus(HOURS))..comparable.end;
    let settled_after = spec.pull.settles_after();
    if hours.start >= hours.end {
        return Ok(Check::NotBefore(hours.start.plus(1).start().plus(settled_after)));
    }
    let until = hours.end.start();
    // Counts are compared. A busy lane has hundreds of megabytes of identities.
    let account = Account::sums_of_lane(&*live, id, hours.clone()).await?;
    let client = shared.lane_builder.client(&id.pipeline, &spec.console)?;
    let meter =
        Meter::with_metrics(lane.sharing_console_requests().into(), &shared.telemetry, kind, shared.options.clock);
    let random = shared.lane_builder.fork_random();
    let checker = CompletenessChecker::new(client, meter, &spec.pull, id.clone(), CONSOLE_TIMEOUT, random);
    let mut checker = checker.with_budget(shared.lane_builder.budget.lane());
    let mut records = 0;
    let mut ledger = None;
    for hour in (hours.start.0..hours.end.0).map(Hour) {
        let hours = hour..hour.plus(1);
        let count = checker.count(hours.clone()).await?;
        let mut missing = 0;
        let expected = account.expected(id.stream, &hours);
        if count < expected {
            // Records that the console has removed may hide others that are missing: `verify` can tell.
            continue;
        }
        if count > expected {
            // Repairs are rare, and finding them requires a listing. Most lanes lack nothing and do not need it.
            let ledger = match &mut ledger {
                Some(ledger) => ledger,
                None => ledger.insert(ledger_with_repairs(shared, id, live.clone()).await?),
            };
            if count > ledger.account(hours.clone()).await?.expected(id.stream, &hours) {
                match confirm(ledger, &mut checker, &account, hours, shared.options.clock.now()).await? {
                    Confirmed::Complete => {}
                    Confirmed::Incomplete(incomplete) => missing = incomplete.missing,
                    // The next check compares it, if it is not too old.
                    Confirmed::NotJudged => continue,
                }
            }
        }
        lane.usage.verify(hour.0, missing, shared.options.clock.now());
        records += missing;
    }
    let previous = lane.set_verification(Verification { missing_records: records, until });
    if records > 0 && previous.is_none_or(|previous| previous.missing_records != records) {
        warn!(records, "the console has records that came too late to be delivered: `verify --repair` delivers them");
    }
    Ok(Check::Done { next_hour: hours.end.plus(1).start().plus(settled_after) })
}

async fn ledger_with_repairs(
    shared: &Shared,
    lane: &LaneId,
    live: Arc<dyn CheckpointBackend>,
) -> Result<LedgerReader, VerifyError> {
    let repairs = shared.options.read_state(Some(&repairs_area(&lane.pipeline))).await?;
    Ok(LedgerReader { lane: lane.clone(), which: LedgerKind::Current, live, repairs, replays: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hour that the text names is the next that is compared.
    #[test]
    fn a_lane_that_tells_of_a_repair_compares_the_next_hour_as_soon_as_it_can() {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let done = |seconds| Check::Done { next_hour: now.plus(Duration::from_secs(seconds)) };
        assert_eq!(done(600).wait(true, now), Duration::from_mins(10));
        assert_eq!(done(600).wait(false, now), CHECK_INTERVAL);
        assert_eq!(done(0).wait(true, now), RETRY_INTERVAL);
        assert_eq!(done(7_200).wait(true, now), CHECK_INTERVAL);
        assert_eq!(Check::NotBefore(now).wait(true, now), RETRY_INTERVAL);
    }
}
