//! Compares the records of a console with a lane's ledger, hour by hour (day by day where the ledger has only that),
//! next to a running worker, and delivers missing ones.

mod completeness;
mod destination;
mod error;
mod former_spec;
pub(super) mod ledger_reader;
mod ledgers;

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use s1_forwarder_engine::checkpoint::ledger::{Accounting, Hour};
use s1_forwarder_engine::checkpoint::{CheckpointKey, StoredPart};
use s1_forwarder_engine::lane::{LaneCheckpoint, LaneEnd};
use s1_forwarder_engine::source::{PullSettings, RecordFilter};
use s1_forwarder_failure::catch_panic::caught;
use s1_forwarder_record::{Identity, LaneId, Stream, Timestamp};
use s1_forwarder_settings::ClientError;
use s1_forwarder_telemetry::usage::Delta;
use s1_forwarder_telemetry::{Counter, Meter, Telemetry};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Options;
use super::area_lock::AreaLock;
use super::shared::Shared;
use super::usage::CommandUsage;
use crate::lanes::runner::{DetachedLane, LaneRunner};
use crate::lanes::spec::LaneSpec;
use crate::pipeline::{Pipeline, instead};

pub use destination::{
    DestinationReport, HourRow, IdentityList, LookupSource, MissingEvent, RepairLimit, RepairReport, VerifyDestination,
    run_verify_destination,
};
pub use error::VerifyError;
pub use ledger_reader::{check_segments, live_backend};
pub use ledgers::{FIRST_CHECK, check_ledgers};

use completeness::{CompletenessChecker, window};
use former_spec::lane_that_asked;
use ledger_reader::{Account, LedgerKind, LedgerReader};

/// Maximum number of missing records that are listed per hour.
const MAX_EXAMPLES: usize = 20;

/// The hours of lanes that are compared.
#[derive(Debug, Clone)]
pub struct Selected {
    pub pipeline: Arc<Pipeline>,
    /// `None` for all streams.
    pub stream: Option<Stream>,
    /// `None` for all sinks.
    pub sink: Option<String>,
    /// The first hour is the first whole one from this time on.
    pub from: Timestamp,
    /// The last hour is the last whole one before this time.
    pub to: Timestamp,
    /// A console, a destination or a repair without progress for this long is given up.
    pub once_timeout: Duration,
}

/// The settings of a comparison with the ledger.
#[derive(Debug, Clone)]
pub struct Verify {
    pub selected: Selected,
    /// Whether missing records are delivered.
    pub repair: bool,
    /// Whether the whole hour is delivered again if the ledger does not say which records are missing.
    pub resend: bool,
}

/// The result for one lane: `counted` + `purged` = `accounted` + all that is missing.
#[derive(Debug)]
pub struct VerifyReport {
    pub lane: LaneId,
    /// Number of hours that were compared.
    pub hours: u64,
    /// Parts of the requested time that could not be compared, and why.
    pub not_judged: Vec<String>,
    /// Whether the lane had not stored yet that it is past the first of these hours.
    pub is_too_early: bool,
    /// The part that was compared with the former ledger, and the settings that it was made under.
    pub former: Option<String>,
    /// The console's count of the hours.
    pub counted: u64,
    /// Records in the lane's ledger.
    pub accounted: u64,
    /// Records in the lane's ledger that the sink has acknowledged, of the hours that have such sums.
    pub delivered: u64,
    /// The number of compared hours that have none.
    pub without_delivered: u64,
    /// Records in the lane's ledger that the console has no more.
    pub purged: u64,
    pub incomplete: Vec<IncompleteHours>,
}

/// An hour, or a day, for which the console has records that are not in the lane's ledger.
#[derive(Debug)]
pub struct IncompleteHours {
    /// The hours in which the records were created.
    pub hours: Range<Hour>,
    /// Number of missing records.
    pub missing: u64,
    /// Some of the missing records, with their ids at the console. Empty if the ledger has no identities for the hour.
    pub examples: Vec<(Identity, String)>,
    pub repair: RepairResult,
}

/// The result of a repair.
#[derive(Debug, PartialEq, Eq)]
pub enum RepairResult {
    NotRequested,
    /// No record is missing any more. The number counts the delivered records.
    Done(u64),
    /// The ledger does not say which records are missing. Only the whole hour can be delivered again.
    NeedsResend,
    /// Records are still missing, for this reason.
    Failed(String),
}

/// Counters of a running comparison, for the display of its progress.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    /// Number of hours to compare in the lanes that were started.
    pub total: AtomicU64,
    /// Number of compared hours.
    pub done: AtomicU64,
}

/// The area in the state with the checkpoints of a pipeline's repairs.
pub fn repairs_area(pipeline: &str) -> PathBuf {
    Path::new("verify").join(pipeline)
}

/// Returns the area in the state for the events that replays of a pipeline's dead letters have delivered.
pub fn replays_area(pipeline: &str) -> PathBuf {
    Path::new("replays").join(pipeline)
}

/// Compares one lane after the other. `stop` ends the comparison early.
///
/// # Errors
/// If the state or the console cannot be used.
pub async fn run_verify(
    verify: Verify,
    options: Options,
    progress: Arc<VerifyProgress>,
    stop: CancellationToken,
) -> Result<Vec<VerifyReport>, VerifyError> {
    let usage = CommandUsage::new(&options);
    let reports = verify_lanes(verify, options, progress, &usage, stop).await;
    // Also after an error.
    usage.write().await;
    reports
}

async fn verify_lanes(
    verify: Verify,
    options: Options,
    progress: Arc<VerifyProgress>,
    usage: &CommandUsage,
    stop: CancellationToken,
) -> Result<Vec<VerifyReport>, VerifyError> {
    let specs = verify.selected.specs()?;
    let live = options.read_state(None).await?;
    let pipeline = &verify.selected.pipeline.name;
    let area = repairs_area(pipeline);
    let repairs = options.open_state(Some(&area)).await?;
    let replays = options.read_state(Some(&replays_area(pipeline))).await?;
    let lock = if verify.repair {
        options.lock_area(&repairs, &area, pipeline, &stop).await?
    } else {
        Some(AreaLock::without_entry())
    };
    let Some(lock) = lock else { return Ok(Vec::new()) };
    let telemetry = Arc::new(Telemetry::new());
    let shared = Shared::with_store(repairs.clone(), options, telemetry.clone());
    let verifying = async {
        let mut reports = Vec::new();
        for spec in specs {
            let checker = checker(&shared, &verify.selected, &spec)?;
            let live = live_backend(&shared, &spec, live.clone())?;
            let lane = spec.id.clone();
            let replays = Some(replays.clone());
            let ledger = LedgerReader { lane, which: LedgerKind::Current, live, repairs: repairs.clone(), replays };
            let shared = shared.clone();
            let span = spec.span();
            let job = Job {
                verify: &verify,
                spec,
                shared,
                ledger,
                checker,
                other_settings: false,
                progress: &progress,
                usage,
            };
            match stop.run_until_cancelled(job.run(&stop).instrument(span)).await {
                Some(report) => reports.push(report?),
                None => break,
            }
        }
        Ok(reports)
    };
    lock.hold(verifying).await
}

impl Selected {
    /// The lanes to compare. The pipeline may be paused.
    fn specs(&self) -> Result<Vec<Arc<LaneSpec>>, VerifyError> {
        let Self { pipeline, stream, sink, .. } = self;
        let mut specs = LaneSpec::of(&Pipeline { enabled: true, ..(**pipeline).clone() });
        specs.retain(|spec| stream.is_none_or(|stream| spec.id.stream == stream));
        let file = pipeline.path.display();
        if let (true, Some(stream)) = (specs.is_empty(), stream) {
            return Err(VerifyError::NoLane(format!("{file} has no sink that accepts the stream {stream}")));
        }
        if let Some(sink) = sink {
            let sinks: BTreeSet<String> = specs.iter().map(|spec| spec.id.sink.clone()).collect();
            specs.retain(|spec| spec.id.sink == *sink);
            if specs.is_empty() {
                let instead = instead(sink, sinks.iter().map(String::as_str));
                return Err(VerifyError::NoLane(format!("{file} has no such lane with the sink `{sink}`; {instead}")));
            }
        }
        Ok(specs)
    }
}

/// Returns why nothing is compared. The console's name is a part of each identity, so under another name no delivered
/// event is found. `None` if the name is the same.
fn of_another_console(spec: &LaneSpec, checkpoint: &LaneCheckpoint) -> Option<String> {
    let (host, before) = (spec.console.url.host(), &*checkpoint.host);
    (host != before).then(|| {
        format!(
            "the lane has delivered under the console's name `{before}`, and the file has `{host}`: each identity would \
             be another one; write `{before}` again, or start the worker with `{host}`, and what is created after that \
             is judged"
        )
    })
}

fn checker(shared: &Shared, selected: &Selected, spec: &LaneSpec) -> Result<CompletenessChecker, ClientError> {
    let id = &spec.id;
    let client = shared.lane_builder.client(&id.pipeline, &spec.console)?;
    let kind = spec.sink.type_settings.name();
    let meter = Meter::detached(&shared.telemetry, id, kind, shared.options.clock);
    let random = shared.lane_builder.fork_random();
    Ok(CompletenessChecker::new(client, meter, &spec.pull, id.clone(), selected.once_timeout, random))
}

/// The comparison of one of a lane's ledgers.
struct Job<'a> {
    verify: &'a Verify,
    /// The spec as it was when the ledger was made.
    spec: Arc<LaneSpec>,
    shared: Arc<Shared>,
    ledger: LedgerReader,
    checker: CompletenessChecker,
    /// Whether the lane pulls something else now.
    other_settings: bool,
    progress: &'a VerifyProgress,
    usage: &'a CommandUsage,
}

impl Job<'_> {
    async fn run(mut self, stop: &CancellationToken) -> Result<VerifyReport, VerifyError> {
        let mut report = VerifyReport {
            lane: self.spec.id.clone(),
            hours: 0,
            not_judged: Vec::new(),
            is_too_early: false,
            former: None,
            counted: 0,
            accounted: 0,
            delivered: 0,
            without_delivered: 0,
            purged: 0,
            incomplete: Vec::new(),
        };
        if Accounting::of(self.spec.id.stream) == Accounting::Nothing {
            report.not_judged.push("the ledger of this stream has no hours of creation".into());
            return Ok(report);
        }
        let account = self.ledger.account(Hour(0)..Hour(0)).await?;
        let requested = Hour::from(self.verify.selected.from)..Hour::of(self.verify.selected.to).unwrap_or(Hour(0));
        let mut start = requested.start;
        if let Some((former, hours)) = self.of_former(&account, &requested)? {
            if start < hours.start {
                report.not_judged.push(format!("before {}: the former ledger starts later", hours.start));
            }
            start = hours.end;
            former.compare_former(hours, &mut report, stop).await?;
        }
        if let Some(reason) = of_another_console(&self.spec, &account.checkpoint) {
            report.not_judged.push(reason);
            return Ok(report);
        }
        let hours = self.comparable_hours(&account, start..requested.end, &mut report);
        self.compare_all(hours, &mut report, stop).await?;
        Ok(report)
    }

    /// The comparison of the lane's former ledger, and the requested hours that it has; `None` if it has none of them.
    fn of_former(
        &self,
        account: &Account,
        requested: &Range<Hour>,
    ) -> Result<Option<(Self, Range<Hour>)>, VerifyError> {
        let Some(former) = &account.checkpoint.former else { return Ok(None) };
        let comparable = account.hours_of_former(self.spec.id.stream, self.shared.options.clock.now());
        let hours = requested.start.max(comparable.start)..requested.end.min(comparable.end);
        let client = self.shared.lane_builder.client(&self.spec.id.pipeline, &self.spec.console)?;
        let asked_then = former.ledger().filter();
        if hours.is_empty() || former.host() != client.host() {
            return Ok(None);
        }
        let Some(spec) = lane_that_asked(&self.spec, asked_then) else { return Ok(None) };
        let other_settings = self.spec.pull.asked(&client) != asked_then;
        let job = Job {
            checker: checker(&self.shared, &self.verify.selected, &spec)?,
            spec: Arc::new(spec),
            shared: self.shared.clone(),
            ledger: LedgerReader { which: LedgerKind::Former, ..self.ledger.clone() },
            other_settings,
            ..*self
        };
        Ok(Some((job, hours)))
    }

    async fn compare_former(
        mut self,
        hours: Range<Hour>,
        report: &mut VerifyReport,
        stop: &CancellationToken,
    ) -> Result<(), VerifyError> {
        let Range { start, end } = hours;
        match self.compare_all(hours, report, stop).await {
            // For example, the token no longer sees the scope.
            Err(VerifyError::Console(error)) if self.other_settings => {
                report.not_judged.push(format!("from {start} to {end}: for the settings at that time: {error}"));
            }
            compared => compared?,
        }
        let client = self.shared.lane_builder.client(&self.spec.id.pipeline, &self.spec.console)?;
        let asked = self.spec.pull.asked(&client);
        let asked = if asked.is_empty() { "everything that the token can read" } else { asked.trim_start_matches('&') };
        report.former = Some(format!("from {start} to {end}: {asked}"));
        Ok(())
    }

    async fn compare_all(
        &mut self,
        hours: Range<Hour>,
        report: &mut VerifyReport,
        stop: &CancellationToken,
    ) -> Result<(), VerifyError> {
        self.progress.total.fetch_add(u64::from(hours.end.0.saturating_sub(hours.start.0)), Ordering::Relaxed);
        let account = self.ledger.account(hours.clone()).await?;
        let mut next = hours.start;
        while next < hours.end {
            let days_until = account.ledger().days_until();
            let end = if next < days_until { next.day().plus(24) } else { next.plus(1) };
            if next < days_until && (next != next.day() || end > hours.end) {
                let end = end.min(hours.end);
                report.not_judged.push(format!("from {next} to {end}: the ledger has only whole days this long ago"));
            } else {
                if let Some(missing) = self.compare(next..end, &account, report, stop).await? {
                    self.remember(next..end, missing);
                }
                self.usage.write_if_due().await;
            }
            self.progress.done.fetch_add(u64::from(end.0 - next.0), Ordering::Relaxed);
            next = end;
        }
        Ok(())
    }

    /// The part of the requested hours that can be compared with the present ledger.
    fn comparable_hours(&self, account: &Account, requested: Range<Hour>, report: &mut VerifyReport) -> Range<Hour> {
        let now = self.shared.options.clock.now();
        let overlap = self.spec.pull.overlap;
        let comparable = account.comparable_hours(self.spec.id.stream, overlap, now);
        let hours = requested.start.max(comparable.start)..requested.end.min(comparable.end);
        let starts = hours.start.min(requested.end);
        if requested.start < starts {
            report.not_judged.push(match report.former {
                None => format!("before {starts}: the ledger starts later"),
                Some(_) => format!("from {} to {starts}: the lane's settings changed then", requested.start),
            });
        }
        if hours.end < requested.end {
            let from = hours.end.max(requested.start);
            report.not_judged.push(format!("from {from} on: within `overlap`, or the lane is not past it yet"));
            report.is_too_early = from == requested.start;
        }
        if hours.start < hours.end { hours } else { requested.start..requested.start }
    }

    /// For `report`: these hours were compared, and `missing` records are missing. Of a day it is not known in which
    /// hour.
    fn remember(&self, hours: Range<Hour>, missing: u64) {
        let mut compared = Delta::default();
        let now = self.shared.options.clock.now();
        (hours.start.0..hours.end.0).for_each(|hour| compared.verify(hour, 0, now));
        compared.verify(hours.start.0, missing, now);
        self.usage.add(self.spec.id.clone(), StoredPart::Usage, &compared);
    }

    /// Returns the number of records that are missing afterwards; `None` if that is not known.
    async fn compare(
        &mut self,
        hours: Range<Hour>,
        account: &Account,
        report: &mut VerifyReport,
        stop: &CancellationToken,
    ) -> Result<Option<u64>, VerifyError> {
        let stream = self.spec.id.stream;
        let expected = account.expected(stream, &hours);
        let counted = self.checker.count(hours.clone()).await?;
        // Records that the console has removed hide as many that are missing, and only identities tell them apart.
        let has_identities = account.remembers(hours.start, self.shared.options.clock.now());
        let is_known = counted >= expected || has_identities;
        let needs_look = match Accounting::of(stream) {
            Accounting::Ids => counted > 0,
            Accounting::Records | Accounting::Nothing => counted != expected && is_known,
        };
        let confirmed = if needs_look { self.confirm(&hours, account).await? } else { Confirmed::Complete };
        let missing = match &confirmed {
            Confirmed::Complete => 0,
            Confirmed::Incomplete(incomplete) => incomplete.missing,
            Confirmed::NotJudged => {
                let Range { start, end } = hours;
                report.not_judged.push(format!("from {start} to {end}: {SUMMED_UP}"));
                return Ok(None);
            }
        };
        report.hours += u64::from(hours.end.0 - hours.start.0);
        report.counted += counted;
        let Columns { accounted, purged } = Columns::of(counted, expected, missing);
        report.accounted += accounted;
        report.purged += purged;
        for hour in (hours.start.0..hours.end.0).map(Hour) {
            match account.delivered(hour) {
                Some(sum) => report.delivered += sum.count,
                None => report.without_delivered += 1,
            }
        }
        let Confirmed::Incomplete(mut incomplete) = confirmed else { return Ok(is_known.then_some(0)) };
        if self.verify.repair {
            incomplete.repair = if self.other_settings {
                RepairResult::Failed(OTHER_SETTINGS.to_owned())
            } else {
                self.repair_all(&hours, account, incomplete.examples.is_empty(), stop).await?
            };
        }
        let missing = if let RepairResult::Done(_) = incomplete.repair { 0 } else { incomplete.missing };
        report.incomplete.push(incomplete);
        Ok(Some(missing))
    }

    async fn confirm(&mut self, hours: &Range<Hour>, account: &Account) -> Result<Confirmed, VerifyError> {
        let now = self.shared.options.clock.now();
        confirm(&mut self.ledger, &mut self.checker, account, hours.clone(), now).await
    }

    /// Pulls `hours` again, one after the other, and delivers the missing records, or all records if `whole`.
    async fn repair_all(
        &mut self,
        hours: &Range<Hour>,
        account: &Account,
        whole: bool,
        stop: &CancellationToken,
    ) -> Result<RepairResult, VerifyError> {
        if whole && !self.verify.resend {
            return Ok(RepairResult::NeedsResend);
        }
        let mut delivered = 0;
        for hour in (hours.start.0..hours.end.0).map(Hour) {
            match self.repair(hour, whole, stop).await? {
                Ok(records) => delivered += records,
                Err(reason) => return Ok(RepairResult::Failed(reason)),
            }
        }
        Ok(match self.confirm(hours, account).await? {
            Confirmed::Complete => RepairResult::Done(delivered),
            Confirmed::Incomplete(incomplete) => {
                RepairResult::Failed(format!("{} records are still missing", incomplete.missing))
            }
            Confirmed::NotJudged => {
                RepairResult::Failed(format!("{delivered} records were delivered, but {SUMMED_UP}"))
            }
        })
    }

    /// The number of delivered records, or why the repair has failed.
    async fn repair(
        &mut self,
        hour: Hour,
        whole: bool,
        stop: &CancellationToken,
    ) -> Result<Result<u64, String>, VerifyError> {
        let account = self.ledger.account(hour..hour.plus(1)).await?;
        let known = if whole { None } else { account.totals.identities.get(&hour).cloned() };
        let key = self.ledger.next_repair(&account, hour, whole).await?;
        let delivery = Redelivery {
            shared: &self.shared,
            spec: &self.spec,
            pull: self.spec.pull.within(window(&(hour..hour.plus(1)))),
            key,
            wanted: known.map(|known| RecordFilter::AllBut(Arc::new(known))),
            timeout: self.verify.selected.once_timeout,
        };
        let sent = delivery.run(self.usage, stop).await;
        Ok(sent.map(|Redelivered { delivered, dead_letters }| delivered + dead_letters))
    }
}

/// Numbers of records that were delivered again.
#[derive(Debug, Clone, Copy, Default)]
struct Redelivered {
    delivered: u64,
    /// Records that the destination refused.
    dead_letters: u64,
}

/// Delivers records again, next to a worker.
struct Redelivery<'a> {
    shared: &'a Arc<Shared>,
    spec: &'a LaneSpec,
    /// The pull of a window.
    pull: PullSettings,
    key: CheckpointKey,
    /// `None` if all records of the window are wanted.
    wanted: Option<RecordFilter>,
    /// Time without progress after which the redelivery is given up.
    timeout: Duration,
}

impl Redelivery<'_> {
    /// Delivers the records. Returns their numbers, or why not all were delivered.
    async fn run(self, usage: &CommandUsage, stop: &CancellationToken) -> Result<Redelivered, String> {
        let Self { shared, spec, pull, key, wanted, timeout } = self;
        let kind = spec.sink.type_settings.name();
        let meter = Meter::detached(&shared.telemetry, &spec.id, kind, shared.options.clock);
        let spec = LaneSpec { pull: Arc::new(pull), ..spec.clone() };
        let lane = DetachedLane { key, meter: meter.clone(), wanted, sink_proven: false };
        let runner = LaneRunner::of(Arc::new(spec), shared.clone(), stop.child_token()).detached(timeout, lane);
        let exit = caught(AbortOnDropHandle::new(tokio::spawn(Box::new(runner).run(None)))).await;
        let metrics = &meter.metrics;
        usage.take(metrics, StoredPart::Usage);
        let [delivered, dead_letters] = [&metrics.send.delivered, &metrics.send.dead_letters].map(Counter::get);
        match exit {
            Ok(LaneEnd::Complete) => Ok(Redelivered { delivered, dead_letters }),
            Ok(_) => Err(metrics.last_error().map_or("stopped".to_owned(), |(_, error)| error)),
            Err(panic) => Err(format!("internal error: {panic}")),
        }
    }
}

const SUMMED_UP: &str = "the lane has summed up the day meanwhile, or begun another ledger; run `verify` again";
const OTHER_SETTINGS: &str =
    "the lane pulls something else now; `backfill` with the settings at that time delivers them";

/// Numbers of records of some hours, for the report: console + purged = accounted + missing.
#[derive(Debug)]
struct Columns {
    accounted: u64,
    purged: u64,
}

impl Columns {
    /// Makes the columns from numbers of records: `counted` by the console, `expected` by the ledger before that, and
    /// `missing` in the ledger afterwards.
    fn of(counted: u64, expected: u64, missing: u64) -> Self {
        // Records that are neither expected nor missing were delivered meanwhile.
        let delivered = counted.saturating_sub(expected + missing);
        Self { accounted: expected + delivered, purged: (expected + missing).saturating_sub(counted) }
    }
}

/// The result of a second look at hours.
#[derive(Debug)]
enum Confirmed {
    /// No record is missing.
    Complete,
    Incomplete(IncompleteHours),
    /// The ledger has changed meanwhile.
    NotJudged,
}

impl Confirmed {
    fn of(hours: Range<Hour>, missing: u64, examples: Vec<(Identity, String)>) -> Self {
        match missing {
            0 => Self::Complete,
            _ => Self::Incomplete(IncompleteHours { hours, missing, examples, repair: RepairResult::NotRequested }),
        }
    }
}

/// Reads the records of `hours`, and compares them with the ledger as it is afterwards. The ledger must still be the
/// ledger of `account`. `hours` is one hour, or a day of which the ledger has one count.
async fn confirm(
    ledger: &mut LedgerReader,
    checker: &mut CompletenessChecker,
    account: &Account,
    hours: Range<Hour>,
    now: Timestamp,
) -> Result<Confirmed, VerifyError> {
    let stream = ledger.lane.stream;
    let before = ledger.account(hours.clone()).await?;
    let none = HashSet::new();
    let known = before.totals.identities.get(&hours.start).unwrap_or(&none);
    let mut records = checker.read(hours.clone(), known, before.settled_until(stream)).await?;
    let after = ledger.account(hours.clone()).await?;
    let is_other = |read: &Account| read.ledger().generation() != account.ledger().generation();
    let is_summed_up = before.ledger().days_until() <= hours.start && hours.start < after.ledger().days_until();
    if is_summed_up || is_other(&before) || is_other(&after) {
        return Ok(Confirmed::NotJudged);
    }
    if after.remembers(hours.start, now) {
        let known = after.totals.identities.get(&hours.start).unwrap_or(&none);
        records.unknown.retain(|record| !known.contains(&record.key));
        let missing = records.unknown.len() as u64;
        let examples = records.unknown.into_iter().take(MAX_EXAMPLES).map(|record| (record.identity, record.id));
        return Ok(Confirmed::of(hours, missing, examples.collect()));
    }
    let missing = records.sum.count.saturating_sub(after.expected(stream, &hours));
    Ok(Confirmed::of(hours, missing, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_any_hour_add_up() {
        for counted in 0..8 {
            for expected in 0..8 {
                for missing in 0..=counted {
                    let Columns { accounted, purged } = Columns::of(counted, expected, missing);
                    assert_eq!(counted + purged, accounted + missing, "{counted} {expected} {missing}");
                    assert!(accounted >= expected && (accounted == expected || purged == 0));
                }
            }
        }
    }
}
