//! Compares what a console has with what a lane's ledger accounts for, hour by hour, beside a running worker; and repairs.

mod audit;
mod shelf;
mod watch;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Options;
use super::keeper::{Apart, Keeper, Kept};
use super::shared::{ComposeError, Shared};
use super::spec::LaneSpec;
use crate::console::ConsoleError;
use crate::lane::{LaneEnd, StandingError};
use crate::pipeline::Pipeline;
use crate::record::{Identity, Stream, Timestamp};
use crate::settings::ClientError;
use crate::sink::Deadline;
use crate::state::ledger::{Accounting, Hour};
use crate::state::{LaneId, StateError};
use crate::telemetry::{Meter, Telemetry};

use audit::{Auditor, window};
use shelf::{Account, Live, Shelf};

pub use watch::watch_ledgers;

/// What differs is shown with so many names.
const NAMED: usize = 20;

/// What is compared.
#[derive(Debug, Clone)]
pub struct Verify {
    /// The customer's file.
    pub pipeline: Arc<Pipeline>,
    /// This stream; all when there is none.
    pub stream: Option<Stream>,
    /// This sink; all when there is none.
    pub sink: Option<String>,
    /// From the first whole hour after this.
    pub from: Timestamp,
    /// Up to the last whole hour before this.
    pub to: Timestamp,
    /// Deliver what is missing.
    pub repair: bool,
    /// Where the ledger does not say what is missing, deliver the whole hour again.
    pub resend: bool,
    /// Given up after so long without progress.
    pub patience: Duration,
}

/// What came of one lane.
#[derive(Debug)]
pub struct VerifyReport {
    /// The lane.
    pub lane: LaneId,
    /// Hours that were judged.
    pub hours: u64,
    /// What of the time asked for was not judged, and why.
    pub not_judged: Vec<String>,
    /// Records that the console counts in these hours.
    pub counted: u64,
    /// Records that the lane accounts for.
    pub accounted: u64,
    /// Records that the lane accounts for, and the console has no more.
    pub purged: u64,
    /// Hours in which the console has what the lane does not account for.
    pub differing: Vec<Differing>,
}

/// An hour in which records are missing.
#[derive(Debug)]
pub struct Differing {
    /// The hour of their creation.
    pub hour: Hour,
    /// How many are missing.
    pub missing: u64,
    /// Some of them, with their ids at the console; none where the ledger does not remember identities.
    pub named: Vec<(Identity, String)>,
    /// What came of the repair.
    pub repair: Repair,
}

/// What came of a repair.
#[derive(Debug, PartialEq, Eq)]
pub enum Repair {
    /// Not asked for.
    NotAsked,
    /// So many records were delivered, and nothing is missing any more.
    Done(u64),
    /// The ledger does not say which records are missing: only the whole hour can be delivered again.
    NeedsResend,
    /// Something is missing still.
    Failed(String),
}

/// A comparison cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The live state, or the area of repairs.
    #[error(transparent)]
    State(#[from] StateError),
    /// A checkpoint.
    #[error(transparent)]
    Standing(#[from] StandingError),
    /// TLS files of the console.
    #[error("console: {0}")]
    Client(#[from] ClientError),
    /// The lane's settings.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The console refuses, or fails for too long.
    #[error("console: {0}")]
    Console(#[from] ConsoleError),
    /// The file has no such lane.
    #[error("{0}")]
    NoLane(String),
    /// The lane has never run.
    #[error("lane {0} has no checkpoint in this state: it has delivered nothing yet")]
    NoCheckpoint(LaneId),
}

/// How far a comparison has come, for whoever watches it.
#[derive(Debug, Default)]
pub struct Audited {
    /// Hours to be judged, as far as it is known.
    pub total: AtomicU64,
    /// Hours that were.
    pub done: AtomicU64,
}

impl Verify {
    /// Where repairs are remembered.
    fn area(&self) -> PathBuf {
        area(&self.pipeline.name)
    }
}

/// Where the repairs of a pipeline are remembered in the state.
pub fn area(pipeline: &str) -> PathBuf {
    Path::new("verify").join(pipeline)
}

/// Compares lane by lane. `stop` ends it early.
///
/// # Errors
/// When the state or the console cannot be used. What differs is in the reports.
pub async fn run_verify(
    verify: Verify,
    options: Options,
    audited: Arc<Audited>,
    stop: CancellationToken,
) -> Result<Vec<VerifyReport>, VerifyError> {
    let specs = specs(&verify)?;
    let live = options.state.look_at(&options.instance).await?;
    let repairs = options.state.open_area(&verify.area(), &options.instance, &options.identity).await?;
    let telemetry = Arc::new(Telemetry::new());
    let shared = Shared::over(repairs.clone(), options, telemetry.clone());
    let mut reports = Vec::new();
    for spec in specs {
        let client = shared.client(&spec.id.pipeline, &spec.console)?;
        let (id, kind) = (&spec.id, spec.sink.kind.name());
        let meter = Meter::detached(&telemetry, &id.pipeline, id.stream, &id.sink, kind, shared.clock());
        let live = Live::of(&shared, &spec, live.clone())?;
        let shelf = Shelf { lane: id.clone(), live, repairs: repairs.clone() };
        let auditor = Auditor::new(client, meter, &spec.pull, id.clone(), verify.patience, shared.fork_random());
        let job =
            Job { verify: &verify, spec: spec.clone(), shared: shared.clone(), shelf, auditor, audited: &audited };
        match stop.run_until_cancelled(job.run(&stop)).await {
            Some(report) => reports.push(report?),
            None => break,
        }
    }
    Ok(reports)
}

/// The lanes that are compared, a paused pipeline's too.
fn specs(verify: &Verify) -> Result<Vec<Arc<LaneSpec>>, VerifyError> {
    let Verify { pipeline, stream, sink, .. } = verify;
    let mut specs = LaneSpec::of(&Pipeline { enabled: true, ..(**pipeline).clone() });
    specs.retain(|spec| stream.is_none_or(|stream| spec.id.stream == stream));
    specs.retain(|spec| sink.as_ref().is_none_or(|sink| spec.id.sink == *sink));
    if specs.is_empty() {
        return Err(VerifyError::NoLane(format!("{} has no such lane", pipeline.path.display())));
    }
    Ok(specs)
}

/// The comparison of one lane.
struct Job<'a> {
    verify: &'a Verify,
    spec: Arc<LaneSpec>,
    shared: Arc<Shared>,
    shelf: Shelf,
    auditor: Auditor,
    audited: &'a Audited,
}

impl Job<'_> {
    async fn run(mut self, stop: &CancellationToken) -> Result<VerifyReport, VerifyError> {
        let mut report = VerifyReport {
            lane: self.spec.id.clone(),
            hours: 0,
            not_judged: Vec::new(),
            counted: 0,
            accounted: 0,
            purged: 0,
            differing: Vec::new(),
        };
        if Accounting::of(self.spec.id.stream) == Accounting::Nothing {
            report
                .not_judged
                .push("records of this stream cannot be accounted for by the hour of their creation".into());
            return Ok(report);
        }
        let account = self.shelf.account(Hour(0)..Hour(0)).await?;
        let hours = self.judged(&account, &mut report.not_judged);
        self.audited.total.fetch_add(u64::from(hours.end.0.saturating_sub(hours.start.0)), Ordering::Relaxed);
        let account = self.shelf.account(hours.clone()).await?;
        for hour in (hours.start.0..hours.end.0).map(Hour) {
            self.hour(hour, &account, &mut report, stop).await?;
            self.audited.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(report)
    }

    /// The hours that can be judged of those asked for.
    fn judged(&self, account: &Account, not_judged: &mut Vec<String>) -> std::ops::Range<Hour> {
        let (now, overlap) = (self.shared.clock().now(), self.spec.pull.overlap);
        let asked = Hour::from(self.verify.from)..Hour::of(self.verify.to).unwrap_or(Hour(0));
        let judged = account.judged(self.spec.id.stream, overlap, now);
        let hours = asked.start.max(judged.start)..asked.end.min(judged.end);
        if asked.start < hours.start.min(asked.end) {
            not_judged.push(format!("before {}: the ledger does not reach back so far", hours.start.min(asked.end)));
        }
        if hours.end < asked.end {
            let from = hours.end.max(asked.start);
            not_judged
                .push(format!("from {from} on: not over, not closed by `overlap`, or the lane is not past it yet"));
        }
        if hours.start < hours.end { hours } else { asked.start..asked.start }
    }

    async fn hour(
        &mut self,
        hour: Hour,
        account: &Account,
        report: &mut VerifyReport,
        stop: &CancellationToken,
    ) -> Result<(), VerifyError> {
        let stream = self.spec.id.stream;
        let expected = account.expected(stream, hour);
        let counted = self.auditor.count(hour).await?;
        report.hours += 1;
        report.counted += counted;
        report.accounted += expected;
        if counted <= expected {
            report.purged += expected - counted;
            return Ok(());
        }
        let Some(mut differing) = self.confirm(hour).await? else { return Ok(()) };
        if self.verify.repair {
            differing.repair = self.repair(hour, differing.named.is_empty(), stop).await?;
        }
        report.differing.push(differing);
        Ok(())
    }

    async fn confirm(&mut self, hour: Hour) -> Result<Option<Differing>, VerifyError> {
        let now = self.shared.clock().now();
        confirm(&mut self.shelf, &mut self.auditor, self.spec.id.stream, hour, now).await
    }

    /// Pulls `hour` again and delivers what the ledger lacks; all of it where the ledger does not say what it lacks.
    async fn repair(&mut self, hour: Hour, whole: bool, stop: &CancellationToken) -> Result<Repair, VerifyError> {
        if whole && !self.verify.resend {
            return Ok(Repair::NeedsResend);
        }
        let account = self.shelf.account(hour..hour.plus(1)).await?;
        let known = account.books.identities.get(&hour).filter(|_| !whole).cloned();
        let (LaneId { pipeline, stream, sink }, telemetry) = (&self.spec.id, &self.shared.telemetry);
        let kind = self.spec.sink.kind.name();
        let meter = Meter::detached(telemetry, pipeline, *stream, sink, kind, self.shared.clock());
        let id = self.shelf.next_repair(&account, hour, whole).await?;
        let spec = LaneSpec { pull: Arc::new(self.spec.pull.within(window(hour))), ..(*self.spec).clone() };
        let keeper = Box::new(Keeper {
            spec: Arc::new(spec),
            shared: self.shared.clone(),
            stop: stop.child_token(),
            cut: CancellationToken::new(),
            deadline: Deadline::default(),
            shard: 0,
            start_after: Duration::ZERO,
            first_poll_after: Duration::ZERO,
            once: Some(self.verify.patience),
            apart: Some(Apart { id, meter: meter.clone(), known: known.map(Arc::new), proven: false }),
        });
        let kept = tokio::spawn(keeper.run(None)).await;
        let lane = &meter.lane;
        let delivered = lane.delivered.load(Ordering::Relaxed) + lane.dead_letters.load(Ordering::Relaxed);
        Ok(match kept {
            Ok(Kept::Ended(LaneEnd::Complete)) => match self.confirm(hour).await? {
                None => Repair::Done(delivered),
                Some(differing) => Repair::Failed(format!("{} are missing still", differing.missing)),
            },
            Ok(_) => Repair::Failed(lane.last_error().map_or("it was stopped".to_owned(), |(_, error)| error)),
            Err(panic) => Repair::Failed(format!("an error of this program: {panic}")),
        })
    }
}

/// Whether something is missing in `hour`: by the records themselves, against the ledger as it is after they were read.
async fn confirm(
    shelf: &mut Shelf,
    auditor: &mut Auditor,
    stream: Stream,
    hour: Hour,
    now: Timestamp,
) -> Result<Option<Differing>, VerifyError> {
    let before = shelf.account(hour..hour.plus(1)).await?;
    let none = HashSet::new();
    let known = before.books.identities.get(&hour).unwrap_or(&none);
    let mut shown = auditor.read(hour, known, before.settled_until(stream)).await?;
    let after = shelf.account(hour..hour.plus(1)).await?;
    let repair = Repair::NotAsked;
    if after.remembers(hour, now) {
        let known = after.books.identities.get(&hour).unwrap_or(&none);
        shown.unknown.retain(|(identity, _)| !known.contains(identity));
        let missing = shown.unknown.len() as u64;
        shown.unknown.truncate(NAMED);
        return Ok((missing > 0).then_some(Differing { hour, missing, named: shown.unknown, repair }));
    }
    let missing = shown.sum.count.saturating_sub(after.expected(stream, hour));
    Ok((missing > 0).then_some(Differing { hour, missing, named: Vec::new(), repair }))
}
