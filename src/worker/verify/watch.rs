//! A worker's own look at its ledgers: the last day of each lane whose records can be counted, hour by hour as they close.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::audit::Auditor;
use super::shelf::{Account, Live, Shelf};
use super::{VerifyError, area, confirm};
use crate::record::Timestamp;
use crate::state::LaneId;
use crate::state::ledger::{Accounting, Hour};
use crate::telemetry::{Meter, Missing};
use crate::worker::shared::Shared;
use crate::worker::spec::LaneSpec;

/// After the start, once lanes may have come by.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// While nothing could be judged yet.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// An hour closes every hour.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// So many hours are looked at: what comes late comes within a day, if at all.
const HOURS: u32 = 24;
/// How long a console may fail before the look is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of looking at a lane's ledger.
enum Look {
    /// Hours were judged: another closes every hour.
    Judged,
    /// There was none to judge, and there will be none before this.
    NotBefore(Timestamp),
}

/// Compares these lanes of a pipeline with their console every hour, until `stop`. `starting` lanes in all start with it: of ten
/// thousand pipelines not all read their ledgers at once.
pub async fn watch_ledgers(shared: Arc<Shared>, specs: Vec<Arc<LaneSpec>>, starting: usize, stop: CancellationToken) {
    stop.run_until_cancelled(watch(&shared, specs, starting)).await;
}

async fn watch(shared: &Shared, mut specs: Vec<Arc<LaneSpec>>, starting: usize) {
    specs.retain(|spec| Accounting::of(spec.id.stream) == Accounting::Records);
    if specs.is_empty() {
        return;
    }
    let first = FIRST_LOOK.mul_f64(1.0 + shared.fork_random().f64());
    sleep(first + shared.first_poll_after(starting, LOOK_AGAIN)).await;
    loop {
        let mut rest = LOOK_EVERY;
        for spec in &specs {
            // In a box, so that the task is small while it sleeps.
            rest = rest.min(match Box::pin(look(shared, spec)).await {
                Ok(Look::Judged) => LOOK_EVERY,
                // A look reads the lane's checkpoint, and tens of thousands of lanes may have nothing to show for long.
                Ok(Look::NotBefore(time)) => time.since(shared.clock().now()).max(LOOK_AGAIN),
                Err(error) => {
                    debug!(lane = %spec.id, %error, "the ledger could not be compared with the console");
                    LOOK_AGAIN
                }
            });
        }
        sleep(rest.mul_f64(0.9 + shared.fork_random().f64() / 5.0)).await;
    }
}

/// Judges the hours that can be: what is missing is told and shown then.
async fn look(shared: &Shared, spec: &LaneSpec) -> Result<Look, VerifyError> {
    let (id, kind) = (&spec.id, spec.sink.kind.name());
    let Some(lane) = shared.telemetry.lane(&id.pipeline, id.stream, &id.sink) else {
        return Ok(Look::NotBefore(shared.clock().now()));
    };
    let (live, now) = (Live::of(shared, spec, shared.store())?, shared.clock().now());
    let judged = Account::of_lane(&live, id, Hour(0)..Hour(0)).await?.judged(id.stream, spec.pull.overlap, now);
    let hours = judged.start.max(judged.end.minus(HOURS))..judged.end;
    if hours.start >= hours.end {
        return Ok(Look::NotBefore(hours.start.end().plus(spec.pull.overlap)));
    }
    let until = hours.end.start();
    let account = Account::of_lane(&live, id, hours.clone()).await?;
    let client = shared.client(&id.pipeline, &spec.console)?;
    let meter = Meter::over(lane.beside().into(), &shared.telemetry, kind, shared.clock());
    let mut auditor = Auditor::new(client, meter, &spec.pull, id.clone(), PATIENCE, shared.fork_random())
        .within(shared.budget.lane());
    let mut records = 0;
    let mut shelf = None;
    for hour in (hours.start.0..hours.end.0).map(Hour) {
        let count = auditor.count(hour).await?;
        if count <= account.expected(id.stream, hour) {
            continue;
        }
        // Repairs are rare, and looking for them means a list of all: not for ten thousand lanes that lack nothing.
        let shelf = match &mut shelf {
            Some(shelf) => shelf,
            None => shelf.insert(open_shelf(shared, id, live.clone()).await?),
        };
        if count > shelf.account(hour..hour.plus(1)).await?.expected(id.stream, hour)
            && let Some(differing) = confirm(shelf, &mut auditor, id.stream, hour, shared.clock().now()).await?
        {
            records += differing.missing;
        }
    }
    let before = lane.set_missing(Missing { records, until });
    if records > 0 && before.is_none_or(|before| before.records != records) {
        warn!(
            pipeline = %id.pipeline, stream = %id.stream, sink = %id.sink, records,
            "the console has records that came too late to be delivered; `verify --repair` delivers them"
        );
    }
    Ok(Look::Judged)
}

async fn open_shelf(shared: &Shared, lane: &LaneId, live: Live) -> Result<Shelf, VerifyError> {
    let options = &shared.options;
    let repairs = options.state.look_at_area(&area(&lane.pipeline), &options.instance).await?;
    Ok(Shelf { lane: lane.clone(), live, repairs })
}
