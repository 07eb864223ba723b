//! Compares what a lane owes with what its destination has, by identity.
//!
//! The owed events come from the console, as it is now. Only an answer that is a proof changes a number. Nothing is
//! claimed of a destination that shows no event of the lane at all: the credential or the target is then probably
//! wrong.

mod dead_letters;
mod given;
mod questions;
mod report;
mod returning;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_engine::checkpoint::ledger::{Accounting, Hour, Sum};
use s1_forwarder_engine::checkpoint::{LaneId, Store};
use s1_forwarder_engine::lane::LaneCheckpoint;
use s1_forwarder_engine::sink::lookup::{IdentitySorter, Kept, Listed, Lookup, SortedIdentities, Unproven};
use s1_forwarder_engine::source::{PassKeys, PullSettings, PulledPage, Since, Window};
use s1_forwarder_engine::transform::{Origin, RedactionKeys, Transformer};
use s1_forwarder_record::{Identity, Timestamp};
use s1_forwarder_telemetry::Telemetry;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, warn};

use super::completeness::{CompletenessChecker, window};
use super::ledger_reader::{Account, LedgerKind, LedgerReader, live_backend};
use super::{
    MAX_EXAMPLES, Selected, VerifyError, VerifyProgress, checker, of_another_console, repairs_area, replays_area,
};
use crate::Options;
use crate::pipeline::Pipeline;
use crate::shared::Shared;
use crate::spec::LaneSpec;
use crate::usage::CommandUsage;

pub use given::IdentityList;
pub use report::{DestinationReport, HourRow, MissingEvent, RepairReport};
pub use returning::RepairLimit;

use dead_letters::LaneDeadLetters;
use questions::{Candidate, IDS, Owed, in_parts, until_answered};
use returning::{DestinationRepair, LaneRepair, MAX_RETURNED};

/// The most records of a part of an hour, which are in memory together, and the most records that are asked about
/// again.
const PART: usize = 100_000;
/// A part is not made shorter than this.
const MIN_PART: i64 = 1_000_000;
/// Events are sent in the order of their creation, but for this.
const SENT_WITHIN: Duration = Duration::from_secs(3_600);
/// The clocks of console, destination and this machine may differ by this.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Limits of results are multiples of this.
const ROUND: u64 = 10;
/// Number of hours with an equal number of events that cannot be chance.
const FULL_HOURS: usize = 3;

/// The settings of a comparison with a destination.
#[derive(Debug)]
pub struct VerifyDestination {
    pub selected: Selected,
    pub ask: LookupSource,
    /// File for all missing events, one a line.
    pub list: Option<File>,
    /// The limit within which missing events are delivered again. `None` if none are.
    pub repair: Option<RepairLimit>,
}

/// The source that answers whether an event is at its destination.
#[derive(Debug, Clone)]
pub enum LookupSource {
    /// A list of identities.
    Given(Arc<IdentityList>),
    /// The destination of each lane.
    Destination,
}

/// Compares one lane after the other. `stop` ends the comparison early.
///
/// # Errors
/// If the state, the store of dead letters or the console cannot be used.
pub async fn run_verify_destination(
    verify: VerifyDestination,
    options: Options,
    progress: Arc<VerifyProgress>,
    stop: CancellationToken,
) -> Result<Vec<DestinationReport>, VerifyError> {
    let usage = CommandUsage::new(&options);
    let reports = verify_lanes(verify, options, &progress, &usage, &stop).await;
    // Also after an error.
    usage.write().await;
    reports
}

async fn verify_lanes(
    verify: VerifyDestination,
    options: Options,
    progress: &VerifyProgress,
    usage: &CommandUsage,
    stop: &CancellationToken,
) -> Result<Vec<DestinationReport>, VerifyError> {
    let VerifyDestination { selected, ask, list, repair } = verify;
    let specs = selected.specs()?;
    let live = options.read_state(None).await?;
    let repairs = repairs_area(&selected.pipeline.name);
    let store = match repair {
        // No other process repairs meanwhile.
        Some(_) => options.open_state(Some(&repairs)).await?,
        None => options.read_state(Some(&repairs)).await?,
    };
    let replays = options.read_state(Some(&replays_area(&selected.pipeline.name))).await?;
    let shared = Shared::with_store(store.clone(), options, Arc::new(Telemetry::new()));
    let mut list = list.map(BufWriter::new);
    let mut reports = Vec::new();
    let mut returns = Vec::new();
    for spec in specs {
        let span = spec.span();
        let lookup: Arc<dyn Lookup> = match &ask {
            LookupSource::Given(given) => given.clone(),
            LookupSource::Destination => match lookup(&shared, &spec) {
                Ok(lookup) => lookup,
                Err(reason) => {
                    reports.push(DestinationReport::not_judged(spec.id.clone(), reason));
                    continue;
                }
            },
        };
        let checker = checker(&shared, &selected, &spec)?.of_owed(&spec.pull);
        let comparison = LaneComparison {
            transformer: transformer(&selected.pipeline, &spec)?,
            report: DestinationReport::of(spec.id.clone()),
            lookup,
            checker,
            live: live.clone(),
            dead_letters: None,
            unasked: Vec::new(),
            candidates: Vec::new(),
            present: 0,
            owed: 0,
            leading: Leading::default(),
            absent_before: 0,
            may_lack_beginning: false,
            unacknowledged: BTreeMap::new(),
            left: BTreeSet::new(),
            known: None,
            listed: None,
            missing: repair.map(|_| Vec::new()),
            list: &mut list,
            shared: &shared,
            selected: &selected,
            progress,
            spec: spec.clone(),
        };
        let ledger = LedgerReader {
            lane: comparison.spec.id.clone(),
            which: LedgerKind::Current,
            live: live_backend(&shared, &comparison.spec, live.clone())?,
            repairs: store.clone(),
            replays: Some(replays.clone()),
        };
        let target =
            shared.lane_builder.target(&comparison.spec).map_err(|error| VerifyError::NoLane(error.to_string()))?;
        let judging = async {
            let mut account = ledger.sums(Hour(0)..Hour(u32::MAX)).await?;
            account.checkpoint.target.follow(target, shared.options.clock.now());
            comparison.run(&account).await
        };
        let judged = match stop.run_until_cancelled(judging.instrument(span)).await {
            Some(judged) => judged?,
            None => break,
        };
        if let Some(missing) = judged.missing.filter(|missing| !missing.is_empty()) {
            let never_read = never_read(&ledger, &judged.report, &missing, shared.options.clock.now()).await?;
            returns.push((reports.len(), LaneRepair { spec, missing, never_read, lookup: judged.lookup }));
        }
        reports.push(judged.report);
    }
    if let Some(list) = &mut list {
        list.flush().map_err(VerifyError::List)?;
    }
    if let Some(most) = repair {
        let total = reports.iter().map(DestinationReport::missing).sum();
        for (number, returning) in returns {
            let Some(report) = reports.get_mut(number) else { continue };
            let span = returning.spec.span();
            let repair = DestinationRepair { shared: &shared, store: &*store, selected: &selected, usage, most, total };
            report.returned = Some(repair.run(report, returning, stop).instrument(span).await?);
        }
    }
    Ok(reports)
}

/// How many of the missing records the lane has never read, as far as its ledger knows: by their ids where it has them,
/// since a count may be that of records which the console has removed. Only the ledger of a repair without a
/// destination will have them.
async fn never_read(
    ledger: &LedgerReader,
    report: &DestinationReport,
    missing: &[Candidate],
    now: Timestamp,
) -> Result<u64, VerifyError> {
    let mut of_hours: BTreeMap<Hour, Vec<u64>> = BTreeMap::new();
    missing.iter().for_each(|candidate| of_hours.entry(candidate.hour).or_default().push(candidate.owed.key));
    let mut never_read = 0;
    for (hour, keys) in of_hours {
        let account = ledger.account(hour..hour.plus(1)).await?;
        let known = account.totals.identities.get(&hour);
        let is_unknown = |key: &&u64| known.is_none_or(|known| !known.contains(*key));
        never_read += match account.remembers(hour, now) {
            true => keys.iter().filter(is_unknown).count() as u64,
            false => report.hours.get(&hour).map_or(0, HourRow::never_accounted),
        };
    }
    Ok(never_read)
}

/// Returns the lookup of a lane's destination, or why there is none.
fn lookup(shared: &Shared, spec: &LaneSpec) -> Result<Arc<dyn Lookup>, String> {
    match shared.lane_builder.lookup(spec) {
        Ok(Some(lookup)) => Ok(lookup),
        Ok(None) => {
            Err(format!("a sink of the type {} cannot be asked: give --present", spec.sink.type_settings.name()))
        }
        Err(error) => Err(format!("the destination cannot be asked: {error}")),
    }
}

/// Returns a transformer that finds the records that the settings drop. `None` if they drop none.
fn transformer(pipeline: &Pipeline, spec: &LaneSpec) -> Result<Option<Transformer>, VerifyError> {
    if spec.transform.drop.is_empty() && spec.transform.remap.is_none() && spec.sink.common.remap.is_none() {
        return Ok(None);
    }
    let LaneId { pipeline: name, stream, sink } = &spec.id;
    let origin = Origin::of(name, spec.console.url.host(), *stream);
    let transformer = pipeline.transformer(origin, Some(sink), None, RedactionKeys::Configured);
    let (transformer, _) = transformer.map_err(|error| VerifyError::NoLane(error.to_string()))?;
    Ok(Some(transformer))
}

/// The comparison of one lane.
struct LaneComparison<'a> {
    selected: &'a Selected,
    spec: Arc<LaneSpec>,
    shared: &'a Arc<Shared>,
    checker: CompletenessChecker,
    transformer: Option<Transformer>,
    lookup: Arc<dyn Lookup>,
    /// The worker's state.
    live: Arc<dyn Store>,
    /// `None` if they were not needed yet.
    dead_letters: Option<LaneDeadLetters>,
    report: DestinationReport,
    /// Parts of hours whose records were read. The destination has not been asked for their events yet.
    unasked: Vec<HourPart>,
    /// Events that were not found. The destination is asked for them once more.
    candidates: Vec<Candidate>,
    /// Numbers of identities in all hours so far.
    present: u64,
    owed: u64,
    /// The first events, which may have been removed because of their age, or sent to another target.
    leading: Leading,
    /// Owed events before the compared hours that are not there.
    absent_before: u64,
    /// True if the target may lack such first events.
    may_lack_beginning: bool,
    /// Accounted records that the sink has not acknowledged, of the hours in which the ledger knows that.
    unacknowledged: BTreeMap<Hour, u64>,
    /// Hours of which nothing is claimed, since their events may be absent for another reason.
    left: BTreeSet<Hour>,
    /// An event that the destination has shown.
    known: Option<Identity>,
    /// Identities that the destination has shown in lists by time.
    listed: Option<SortedIdentities>,
    /// Events that a repair has to deliver again. `None` if no repair may do so.
    missing: Option<Vec<Candidate>>,
    list: &'a mut Option<BufWriter<File>>,
    progress: &'a VerifyProgress,
}

/// The result for one lane, and what a repair needs to know.
struct Judged {
    report: DestinationReport,
    missing: Option<Vec<Candidate>>,
    lookup: Arc<dyn Lookup>,
}

/// A part of an hour.
struct HourPart {
    hour: Hour,
    records: PartRecords,
    /// Instead of records, if it is a whole hour that needs none.
    agreed: Option<HasAll>,
}

/// The events of an hour in which the destination's sum is that of the delivered events.
#[derive(Debug, Clone, Copy)]
struct HasAll {
    events: u64,
    duplicates: u64,
}

/// The records of a part of an hour.
#[derive(Default)]
struct PartRecords {
    owed: Vec<Owed>,
    excluded: u64,
}

/// The beginning of the window that the destination may have removed because of its age. An event that came late is
/// there whatever its age, so the beginning ends where more has come since than is absent.
#[derive(Default)]
struct Leading {
    /// The last event of the beginning.
    until: Option<Timestamp>,
    /// Events that are there after the beginning, less those that are not.
    there: u64,
}

impl Leading {
    /// Takes the next event, by creation.
    fn take(&mut self, is_there: bool, created: Timestamp) {
        if is_there {
            self.there = self.there.saturating_add(1);
            return;
        }
        self.there = self.there.saturating_sub(1);
        if self.there == 0 {
            self.until = Some(created);
        }
    }

    /// The first hour after the beginning. Events that were created shortly after others may have been sent before.
    fn judged_from(&self) -> Option<Hour> {
        Hour::of(self.until?.plus(SENT_WITHIN)).map(|hour| hour.plus(1))
    }
}

/// Why a lane's comparison ends early.
enum End {
    /// No answer is a proof.
    Unseen(String),
    Failed(VerifyError),
}

impl<T: Into<VerifyError>> From<T> for End {
    fn from(error: T) -> Self {
        Self::Failed(error.into())
    }
}

impl LaneComparison<'_> {
    async fn run(mut self, account: &Account) -> Result<Judged, VerifyError> {
        let reason =
            of_another_console(&self.spec, &account.checkpoint).or_else(|| self.cannot_be_judged().map(str::to_owned));
        if let Some(reason) = reason {
            self.report.not_judged.push(reason);
            return Ok(Judged { report: self.report, missing: None, lookup: self.lookup });
        }
        let judged = self.judge(account).await;
        self.report.asked = Some(self.lookup.target_text());
        match judged {
            Ok(()) => {}
            Err(End::Unseen(reason)) => {
                self.report.hours.clear();
                self.report.elsewhere.clear();
                self.report.unseen = Some(reason);
                self.missing = None;
            }
            Err(End::Failed(error)) => return Err(error),
        }
        Ok(Judged { report: self.report, missing: self.missing, lookup: self.lookup })
    }

    /// Returns why it is not known which versions of the stream's records the lane owes. `None` if it is known.
    fn cannot_be_judged(&self) -> Option<&'static str> {
        let LaneSpec { id, pull, .. } = &*self.spec;
        match id.stream {
            stream if Accounting::of(stream) == Accounting::Nothing => Some("the stream has no hours of creation"),
            _ if changes_silently(pull) => Some("a record that changes after `lookback` is not delivered again"),
            _ if pull.is_snapshot() => Some("an event of a snapshot has the time of the snapshot in its identity"),
            _ if pull.drops_unchanged() => Some("a version in which nothing of interest changed is not delivered"),
            _ if pull.addition().is_some() && self.transformer.is_some() => {
                Some("`drop` and `remap` may depend on what is fetched in addition (`include`)")
            }
            _ => None,
        }
    }

    async fn judge(&mut self, account: &Account) -> Result<(), End> {
        let (mut hours, mut not_judged) = self.hours(account, &Kept::Everything);
        let mut kept = Kept::Everything;
        // A target that the lane has not delivered to may not exist.
        if !hours.is_empty() {
            kept = self.kept().await?;
            (hours, not_judged) = self.hours(account, &kept);
        }
        self.may_lack_beginning = match kept {
            Kept::Unknown => true,
            // The alias may have been made by hand for the lane, or after the lane had sent events to another target.
            Kept::Alias(created) => {
                self.began(&account.checkpoint).is_some_and(|began| began <= created.plus(MAX_CLOCK_DIFFERENCE))
            }
            Kept::Everything | Kept::Since(_) | Kept::From(..) => false,
        };
        self.report.not_judged.extend(not_judged);
        self.progress.total.fetch_add(u64::from(hours.end.0 - hours.start.0), Ordering::Relaxed);
        let settled_until = account.settled_until(self.spec.id.stream).min(self.answers_settled_at());
        self.unacknowledged = (hours.start.0..hours.end.0)
            .map(Hour)
            .filter_map(|hour| {
                let accounted = account.expected(self.spec.id.stream, &(hour..hour.plus(1)));
                Some((hour, accounted.saturating_sub(account.delivered(hour)?.count)))
            })
            .collect();
        let agreeing = self.agreeing(account, hours.clone()).await?;
        for hour in (hours.start.0..hours.end.0).map(Hour) {
            match agreeing.get(&hour) {
                Some(agreed) => {
                    self.unasked.push(HourPart { hour, records: PartRecords::default(), agreed: Some(*agreed) });
                }
                None => self.judge_hour(hour, settled_until).await?,
            }
            self.progress.done.fetch_add(1, Ordering::Relaxed);
        }
        self.compare().await?;
        for (hour, row) in &mut self.report.hours {
            let has_sum = *hour >= account.ledger().days_until();
            if has_sum && Accounting::of(self.spec.id.stream) == Accounting::Records {
                let accounted = account.expected(self.spec.id.stream, &(*hour..hour.plus(1)));
                row.accounted = Some(accounted);
                if row.by_sums {
                    row.excluded = accounted.saturating_sub(row.owed);
                }
            }
        }
        self.confirm().await?;
        self.report.hours.retain(|hour, _| !self.left.contains(hour));
        if self.present == 0 && self.owed > 0 {
            let Self { owed, lookup, .. } = self;
            return Err(End::Unseen(format!(
                "{owed} events are owed, and not one of them is to be seen in {}: look at the target, and at what the \
                 credential may read",
                lookup.target_text()
            )));
        }
        if self.report.missing() > 0 && self.shared.options.dead_letters().is_none() {
            self.report.not_judged.push("dead letters: without --dead-letters they are missing, too".to_owned());
        }
        if let Some(from) = self.leading.judged_from() {
            let absent = self.absent_before;
            let reason = format!(
                "before {from}: {absent} of the oldest owed events are not there: retention? another index of an alias?"
            );
            self.report.not_judged.push(reason);
        }
        Ok(())
    }

    /// Returns the time before which all acknowledged events can be found.
    fn answers_settled_at(&self) -> Timestamp {
        let now = self.shared.options.clock.now();
        self.lookup.copied_at().unwrap_or(now).min(now).minus(self.lookup.visible_after())
    }

    /// Returns when the lane began to deliver to its target, as far as its checkpoint knows.
    fn began(&self, checkpoint: &LaneCheckpoint) -> Option<Timestamp> {
        let since = self.spec.pull.since;
        let is_same = *checkpoint.since == *since.to_string();
        let lane = match since {
            Since::Ago(period) if is_same => Some(checkpoint.since_resolved.plus(period.0)),
            Since::Now if is_same => Some(checkpoint.since_resolved),
            _ => None,
        };
        let target = Some(checkpoint.target.since).filter(|since| *since > Timestamp::default());
        lane.max(target)
    }

    /// The hours to compare, and why others are not.
    fn hours(&self, account: &Account, kept: &Kept) -> (Range<Hour>, Vec<String>) {
        let now = self.shared.options.clock.now();
        let requested = Hour::from(self.selected.from)..Hour::of(self.selected.to).unwrap_or(Hour(0));
        let began = self.began(&account.checkpoint);
        let mut not_judged = Vec::new();
        let mut start = requested.start;
        let since = Hour::from(account.ledger().since());
        if start < since {
            start = since.min(requested.end);
            not_judged.push(format!("before {start}: the ledger starts later"));
        }
        let target_since = account.checkpoint.target.since;
        let judged_from = match target_since > Timestamp::default() {
            true => Hour::from(target_since.plus(MAX_CLOCK_DIFFERENCE)),
            false => Hour(0),
        };
        if judged_from > start {
            start = judged_from.min(requested.end);
            not_judged.push(format!(
                "before {start}: until {target_since} the lane delivered to another target, or under another name"
            ));
        }
        let kept_from = match kept {
            Kept::From(time, reason) => Some((*time, reason.as_str())),
            Kept::Since(created) | Kept::Alias(created)
                if began.is_none_or(|began| began.plus(SENT_WITHIN) < *created) =>
            {
                Some((
                    created.plus(SENT_WITHIN),
                    "the target may have been made after the lane began, and what was sent earlier went to another one then",
                ))
            }
            Kept::Since(_) | Kept::Alias(_) | Kept::Everything | Kept::Unknown => None,
        };
        if let Some((time, reason)) = kept_from
            && start < Hour::from(time)
        {
            start = Hour::from(time).min(requested.end);
            not_judged.push(format!("before {start}: {reason}"));
        }
        let closed = account.closed_hour(self.spec.id.stream, self.spec.pull.overlap, now);
        let settled = Hour::of(self.answers_settled_at()).unwrap_or(Hour(0));
        let end = requested.end.min(closed).min(settled).max(start);
        if end < requested.end {
            let reason = match settled < closed {
                true => "an event that was acknowledged then may not have been to be found yet",
                false => "within `overlap`, or the lane is not past it yet",
            };
            not_judged.push(format!("from {end} on: {reason}"));
        }
        (start..end, not_judged)
    }

    /// Returns the hours of which the destination has exactly the delivered events: its list has the ledger's sum.
    /// These hours need neither the console nor a question for identities. Another sum proves nothing, since the time
    /// of an event may be in another hour than its creation.
    async fn agreeing(&mut self, account: &Account, hours: Range<Hour>) -> Result<BTreeMap<Hour, HasAll>, End> {
        let mut agreeing = BTreeMap::new();
        let mut sorter = IdentitySorter::default();
        let most = self.lookup.most_listed() as u64;
        let delivered = |hour: Hour| account.delivered(hour).filter(|sum| most > 0 && sum.count > 0);
        let mut next = hours.start;
        while next < hours.end {
            let first = next;
            next = next.plus(1);
            let Some(mut events) = delivered(first).map(|sum| sum.count) else { continue };
            // Small hours are asked for together.
            while next < hours.end && delivered(next).is_some_and(|sum| events + sum.count <= most) {
                events += delivered(next).map_or(0, |sum| sum.count);
                next = next.plus(1);
            }
            let Some(listed) = self.list(window(&(first..next)), events, &mut sorter).await? else { break };
            let agrees = |hour: &Hour| {
                let (sum, duplicates) = listed.get(hour).copied()?;
                let has_all = HasAll { events: sum.count, duplicates };
                (delivered(*hour) == Some(sum)).then_some((*hour, has_all))
            };
            agreeing.extend((first.0..next.0).map(Hour).filter_map(|hour| agrees(&hour)));
            // The target has other events too, or they have another time.
            if agreeing.is_empty() {
                break;
            }
        }
        self.listed = Some(sorter.finish().map_err(unsorted)?);
        Ok(agreeing)
    }

    /// Returns the sums of the destination's events, and the copies beyond the first. `None` if it gives no list. All
    /// listed identities go to `sorter`.
    async fn list(
        &mut self,
        whole: Window,
        events: u64,
        sorter: &mut IdentitySorter,
    ) -> Result<Option<BTreeMap<Hour, (Sum, u64)>>, End> {
        let most = self.lookup.most_listed() as u64;
        let count = if events <= most { 1 } else { events.div_ceil((most / 2).max(1)) };
        let mut sums: BTreeMap<Hour, (Sum, u64)> = BTreeMap::new();
        for part in split(whole, count) {
            let mut listed = match self.list_part(part).await {
                Ok(listed) => listed,
                Err(reason) => {
                    warn!(%reason, "the destination gives no list, and is asked by identity");
                    return Ok(None);
                }
            };
            listed.sort_unstable();
            self.known = listed.last().map(|listed| listed.identity).or(self.known);
            for same in listed.chunk_by(|one, other| one.identity == other.identity) {
                same.iter().take(1).try_for_each(|first| sorter.add(first.identity)).map_err(unsorted)?;
                let Some(hour) = same.first().and_then(|first| Hour::of(first.time)) else { continue };
                let copies: u64 = same.iter().map(|listed| u64::from(listed.copies)).sum();
                let (sum, duplicates) = sums.entry(hour).or_default();
                same.iter().take(1).for_each(|first| sum.add(first.identity));
                *duplicates += copies.saturating_sub(1);
            }
        }
        Ok(Some(sums))
    }

    async fn list_part(&mut self, part: Window) -> Result<Vec<Listed>, Unproven> {
        let Self { selected, lookup, report, .. } = self;
        until_answered(selected.once_timeout, async || {
            report.questions += 1;
            lookup.list(part.from..part.to).await
        })
        .await
    }

    /// Reads the records of an hour, and asks for them when there are enough for a question. An hour that has too many
    /// is read in parts, and a part in halves.
    async fn judge_hour(&mut self, hour: Hour, settled_until: Timestamp) -> Result<(), End> {
        let whole = window(&(hour..hour.plus(1)));
        let mut open = vec![whole];
        while let Some(part) = open.pop() {
            let Some(records) = self.read(part, settled_until).await? else {
                if part == whole {
                    let counted = self.checker.count(hour..hour.plus(1)).await?;
                    open.extend(parts(whole, counted).rev());
                    continue;
                }
                let middle = part.from.micros().midpoint(part.to.micros());
                if middle - part.from.micros() < MIN_PART / 2 {
                    let reason = format!("more than {PART} records were created in a second from {} on", part.from);
                    return Err(End::Unseen(reason));
                }
                let middle = Timestamp::from_micros(middle);
                open.extend([Window { from: middle, ..part }, Window { to: middle, ..part }]);
                continue;
            };
            self.unasked.push(HourPart { hour, records, agreed: None });
            let unasked: usize = self.unasked.iter().map(|part| part.records.owed.len()).sum();
            if unasked >= self.lookup.most() {
                self.compare().await?;
            }
        }
        Ok(())
    }

    /// `None` if the part has too many records.
    async fn read(&mut self, part: Window, settled_until: Timestamp) -> Result<Option<PartRecords>, VerifyError> {
        let mut records = PartRecords::default();
        let changes = Accounting::of(self.spec.id.stream) == Accounting::Ids;
        let transformer = &mut self.transformer;
        let mut event = Vec::new();
        let mut is_dropped = |page: &PulledPage, range: &Range<usize>, identity: Identity| {
            let (Some(transformer), false) = (transformer.as_mut(), page.is_truncated) else { return false };
            event.clear();
            let Some(record) = page.body.get(range.clone()) else { return false };
            let mapped = transformer.transform(record, Some(identity), None, &mut event);
            mapped.is_ok_and(|mapped| mapped.dropped.is_some() || mapped.withheld().is_some())
        };
        let visit = |page: &PulledPage| {
            records.excluded += page.excluded.len() as u64;
            for record in &page.records {
                // The lane has yet to pull the change, or the destination to show it.
                if changes && record.record_key.time > settled_until {
                    continue;
                }
                if is_dropped(page, &record.range, record.identity) {
                    records.excluded += 1;
                    continue;
                }
                let created = record.record_key.created.unwrap_or(record.record_key.time);
                let (identity, key) = (record.identity, record.record_key.id);
                records.owed.push(Owed { identity, id: record.id.clone(), key, created });
            }
            if records.owed.len() > PART { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.checker.pages(part, &[], visit).await?;
        if records.owed.len() > PART {
            return Ok(None);
        }
        records.owed.sort_unstable();
        records.owed.dedup();
        Ok(Some(records))
    }

    /// Asks for the records of all parts that were read.
    async fn compare(&mut self) -> Result<(), End> {
        let parts = std::mem::take(&mut self.unasked);
        let mut asked: Vec<Identity> =
            parts.iter().flat_map(|part| &part.records.owed).map(|owed| owed.identity).collect();
        asked.sort_unstable();
        asked.dedup();
        let copies = self.copies(&asked).await?;
        if self.lookup.is_given() && is_cut(&copies) {
            return Err(End::Unseen(format!(
                "{}; the events that it lacks are next to each other in the order of their identities: it may have been \
                 sorted, and cut",
                self.lookup.target_text()
            )));
        }
        let copies_of = |owed: &Owed| {
            let place = asked.binary_search(&owed.identity).ok();
            place.and_then(|place| copies.get(place)).copied().unwrap_or_default()
        };
        for HourPart { hour, records: PartRecords { owed, excluded }, agreed } in parts {
            if let Some(HasAll { events, duplicates }) = agreed {
                self.owed += events;
                self.present += events;
                self.leading.there = self.leading.there.saturating_add(events);
                let sums = HourRow { owed: events, present: events, duplicates, by_sums: true, ..HourRow::default() };
                self.report.hours.insert(hour, sums);
                continue;
            }
            let (there, absent): (Vec<Owed>, Vec<Owed>) = owed.into_iter().partition(|owed| copies_of(owed) > 0);
            self.known = there.iter().max_by_key(|owed| owed.created).map(|owed| owed.identity).or(self.known);
            let present = there.len() as u64;
            let row = self.report.hours.entry(hour).or_default();
            row.excluded += excluded;
            row.owed += present + absent.len() as u64;
            row.present += present;
            row.duplicates += there.iter().map(|owed| u64::from(copies_of(owed).saturating_sub(1))).sum::<u64>();
            self.owed += present + absent.len() as u64;
            self.present += present;
            let absent = absent.into_iter().map(|owed| Candidate { owed, hour }).collect();
            let absent = self.without_dead_letters(absent).await?;
            if self.may_lack_beginning {
                let there = there.iter().map(|owed| (owed.created, true));
                let mut by_creation: Vec<(Timestamp, bool)> =
                    there.chain(absent.iter().map(|candidate| (candidate.owed.created, false))).collect();
                by_creation.sort_unstable();
                by_creation.into_iter().for_each(|(created, is_there)| self.leading.take(is_there, created));
            }
            self.candidates.extend(absent);
            self.leave_beginning();
        }
        if self.candidates.len() >= PART && self.present > 0 {
            self.confirm().await?;
            // Events that are reported as missing stay reported.
            self.leading.there = u64::MAX / 2;
        }
        if self.candidates.len() >= 2 * PART {
            return Err(End::Unseen(format!("not one of the first {} events is to be seen", self.owed)));
        }
        Ok(())
    }

    /// Claims nothing of hours whose events may have been removed because of their age.
    fn leave_beginning(&mut self) {
        let Some(from) = self.leading.judged_from() else { return };
        self.report.hours.retain(|hour, _| *hour >= from);
        let before = self.candidates.len();
        self.candidates.retain(|candidate| candidate.hour >= from);
        let absent = (before - self.candidates.len()) as u64;
        self.absent_before += absent;
        self.report.doubted += absent;
    }

    /// Counts the candidates that are dead letters, and returns the others. A replay delivers an event before it
    /// removes the dead letter, so the destination is asked again for the others after this. `candidates` are sorted.
    async fn without_dead_letters(&mut self, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, End> {
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let identities: Vec<Identity> = candidates.iter().map(|candidate| candidate.owed.identity).collect();
        let dead = self.dead_letters().await?.copies(&identities)?;
        Ok(self.count_found(candidates, &dead, |row, _| {
            row.owed -= 1;
            row.dead_letters += 1;
        }))
    }

    /// Asks once more for the events that were not found, after they had time to become visible. Finds out why the rest
    /// is not there.
    async fn confirm(&mut self) -> Result<(), End> {
        let mut candidates = std::mem::take(&mut self.candidates);
        if candidates.is_empty() || self.present == 0 {
            return Ok(());
        }
        candidates.sort_unstable_by(|one, other| one.owed.cmp(&other.owed));
        self.refresh().await?;
        let identities: Vec<Identity> = candidates.iter().map(|candidate| candidate.owed.identity).collect();
        let copies = self.copies_with_known(&identities).await?;
        candidates = self.count_found(candidates, &copies, |row, copies| {
            row.present += 1;
            row.duplicates += u64::from(copies - 1);
        });
        self.refuse_listed(&candidates)?;
        let gone = self.gone(&candidates).await?;
        candidates = self.count_found(candidates, &gone, |row, _| {
            row.owed -= 1;
            row.gone += 1;
        });
        let places = self.elsewhere(&candidates).await?;
        let absent = candidates.iter().zip(&places).filter(|(_, place)| place.is_none());
        let lacking = absent.map(|(candidate, _)| candidate.hour).collect();
        if self.lookup.is_given()
            && let Some((full, most)) = full_hours(&self.report.hours, &lacking)
        {
            return Err(End::Unseen(format!(
                "{}; hours that lack events and have exactly {most} of them: {full}, and no hour has more: the answer \
                 of each hour may have been cut there; ask without a limit, or for another window",
                self.lookup.target_text()
            )));
        }
        let found = self.leave_doubtful(candidates.into_iter().zip(places).collect());
        // The target may have been replaced while it was asked.
        if !found.is_empty() && self.lookup.copied_at().is_none() {
            self.kept().await?;
        }
        for (candidate, place) in found {
            let row = self.report.hours.entry(candidate.hour).or_default();
            if let Some(place) = place {
                row.elsewhere += 1;
                *self.report.elsewhere.entry(place).or_default() += 1;
                continue;
            }
            row.missing += 1;
            if let Some(missing) = self.missing.as_mut().filter(|missing| missing.len() < MAX_RETURNED) {
                missing.push(candidate.clone());
            }
            let Candidate { owed: Owed { identity, id, .. }, hour } = candidate;
            let missing = MissingEvent { identity, record: id.to_string() };
            if let Some(list) = self.list.as_mut() {
                let lane = &self.spec.id;
                let line = writeln!(list, "{} {} {lane} {hour}", missing.identity, missing.record);
                line.map_err(VerifyError::List)?;
            }
            if row.examples.len() < MAX_EXAMPLES {
                row.examples.push(missing);
            }
        }
        Ok(())
    }

    /// Claims nothing of hours in which the ledger has more records that were not delivered than the settings exclude
    /// and dead letters were read: the others may be what is not there.
    fn leave_doubtful(&mut self, mut found: Vec<(Candidate, Option<String>)>) -> Vec<(Candidate, Option<String>)> {
        let mut lacking: BTreeMap<Hour, u64> = BTreeMap::new();
        for (candidate, _) in found.iter().filter(|(_, place)| place.is_none()) {
            *lacking.entry(candidate.hour).or_default() += 1;
        }
        let is_unexplained = |hour: &Hour| {
            let explained = self.report.hours.get(hour).map_or(0, |row| row.excluded + row.dead_letters);
            self.unacknowledged.get(hour).is_some_and(|unacknowledged| *unacknowledged > explained)
        };
        let unexplained: BTreeSet<Hour> = lacking.keys().copied().filter(is_unexplained).collect();
        if let Some(first) = unexplained.first() {
            let absent: u64 = unexplained.iter().filter_map(|hour| lacking.get(hour)).sum();
            self.report.doubted += absent;
            self.report.not_judged.push(format!(
                "{} hours, the first from {first}: {absent} events are not there, and the ledger has records that were \
                 neither delivered, nor are excluded now, nor are dead letters that were read: dead letters of another \
                 store? give the worker's --dead-letters",
                unexplained.len()
            ));
        }
        self.left.extend(unexplained);
        self.leave_end(&lacking);
        found.retain(|(candidate, _)| !self.left.contains(&candidate.hour));
        found
    }

    /// Claims nothing of the end of a list that may have ended early: the last hours that have no event, and the two
    /// before, since one of them may have been cut, and events may have been sent within an hour.
    fn leave_end(&mut self, lacking: &BTreeMap<Hour, u64>) {
        if !self.lookup.is_given() {
            return;
        }
        let rows = &self.report.hours;
        let is_empty = |(hour, row): &(&Hour, &HourRow)| lacking.get(hour) == Some(&row.owed);
        let empty = rows.iter().rev().filter(|(_, row)| row.owed > 0).take_while(is_empty).last();
        let Some(from) = empty.map(|(first, _)| first.minus(2)) else { return };
        let absent: u64 =
            lacking.range(from..).filter(|(hour, _)| !self.left.contains(hour)).map(|(_, count)| count).sum();
        self.left.extend(rows.range(from..).map(|(hour, _)| *hour));
        self.report.doubted += absent;
        self.report
            .not_judged
            .push(format!("from {from} on: {absent} of the newest owed events are not there: did the list end early?"));
    }

    /// Fails if a list by time has shown one of these events. An answer by identity that lacks it proves nothing about
    /// other events either.
    fn refuse_listed(&mut self, candidates: &[Candidate]) -> Result<(), End> {
        let Some(listed) = &mut self.listed else { return Ok(()) };
        let identities: Vec<Identity> = candidates.iter().map(|candidate| candidate.owed.identity).collect();
        let copies = listed.copies(&identities).map_err(unsorted)?;
        match identities.iter().zip(copies).find(|(_, copies)| *copies > 0) {
            Some((identity, _)) => Err(unseen(lacks(*identity))),
            None => Ok(()),
        }
    }

    /// Counts the candidates whose number is not zero, and returns the others.
    fn count_found(
        &mut self,
        candidates: Vec<Candidate>,
        counts: &[u32],
        count: impl Fn(&mut HourRow, u32),
    ) -> Vec<Candidate> {
        let mut open = Vec::new();
        for (candidate, found) in candidates.into_iter().zip(counts) {
            match found {
                0 => open.push(candidate),
                found => count(self.report.hours.entry(candidate.hour).or_default(), *found),
            }
        }
        open
    }

    /// Returns how often each identity is at the destination. `identities` are sorted.
    async fn copies(&mut self, identities: &[Identity]) -> Result<Vec<u32>, End> {
        let lookup = self.lookup.clone();
        self.ask(identities, async |identities: &[Identity]| lookup.copies(identities).await).await
    }

    /// Returns how often each identity is at the destination. Each answer must also show an event that is known to be
    /// there: clusters behind one address may differ.
    async fn copies_with_known(&mut self, identities: &[Identity]) -> Result<Vec<u32>, End> {
        let Some(known) = self.known.filter(|_| self.lookup.copied_at().is_none()) else {
            return self.copies(identities).await;
        };
        let lookup = self.lookup.clone();
        let asked = async |identities: &[Identity]| {
            let place = identities.binary_search(&known);
            let mut asked = identities.to_vec();
            if let Err(place) = place {
                asked.insert(place, known);
            }
            let mut copies = lookup.copies(&asked).await?;
            let (Ok(at) | Err(at)) = place;
            if copies.get(at).is_none_or(|copies| *copies == 0) {
                return Err(lacks(known));
            }
            if place.is_err() {
                copies.remove(at);
            }
            Ok(copies)
        };
        self.ask(identities, asked).await
    }

    async fn elsewhere(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<String>>, End> {
        let identities: Vec<Identity> = candidates.iter().map(|candidate| candidate.owed.identity).collect();
        let lookup = self.lookup.clone();
        let asked = async |identities: &[Identity]| lookup.elsewhere(identities).await;
        let places = self.ask(&identities, asked).await?;
        if candidates.is_empty() {
            return Ok(places);
        }
        let of_former_lanes = self.dead_letters().await?.places(&identities)?;
        Ok(places.into_iter().zip(of_former_lanes).map(|(place, other)| place.or(other)).collect())
    }

    /// Asks in questions of a size that the destination answers.
    async fn ask<T>(
        &mut self,
        identities: &[Identity],
        question: impl AsyncFn(&[Identity]) -> Result<Vec<T>, Unproven>,
    ) -> Result<Vec<T>, End> {
        let Self { selected, lookup, report, .. } = self;
        let asked = async |part: &[Identity]| {
            report.questions += 1;
            question(part).await
        };
        in_parts(lookup.most(), selected.once_timeout, identities, asked).await.map_err(unseen)
    }

    async fn kept(&self) -> Result<Kept, End> {
        let patience = self.selected.once_timeout;
        until_answered(patience, async || self.lookup.kept(patience).await).await.map_err(unseen)
    }

    /// Waits until answers can have all events that have been acknowledged by now.
    async fn refresh(&self) -> Result<(), End> {
        if self.lookup.copied_at().is_none() {
            sleep(self.lookup.visible_after()).await;
        }
        let patience = self.selected.once_timeout;
        until_answered(patience, async || self.lookup.refresh(patience).await).await.map_err(unseen)
    }

    /// The dead letters of the lane.
    async fn dead_letters(&mut self) -> Result<&mut LaneDeadLetters, End> {
        let dead_letters = match self.dead_letters.take() {
            Some(dead_letters) => dead_letters,
            None => {
                let Self { shared, spec, live, selected, .. } = self;
                // A day that is over has one count for all of its hours.
                let since = selected.from.minus(DAY);
                let mut dead_letters = LaneDeadLetters::read(&shared.options, &spec.id, &**live, since).await?;
                if let Some(reason) = dead_letters.doubt.take() {
                    return Err(End::Unseen(reason));
                }
                dead_letters
            }
        };
        Ok(self.dead_letters.insert(dead_letters))
    }

    /// Returns 1 for each record that the console no longer has, or has in another version, so that the lane does not
    /// owe it. 0 for other records.
    async fn gone(&mut self, candidates: &[Candidate]) -> Result<Vec<u32>, VerifyError> {
        let mut of_hours: BTreeMap<Hour, Vec<CompactString>> = BTreeMap::new();
        for Candidate { owed, hour } in candidates {
            of_hours.entry(*hour).or_default().push(owed.id.clone());
        }
        let asked: HashSet<Identity> = candidates.iter().map(|candidate| candidate.owed.identity).collect();
        let mut newest: HashSet<Identity> = HashSet::new();
        for (hour, ids) in of_hours {
            // Otherwise the console is asked for the whole hour.
            let most = if PullSettings::can_ask_for(&ids) { IDS } else { ids.len() };
            for ids in ids.chunks(most) {
                let mut shown = 0;
                let visit = |page: &PulledPage| {
                    shown += page.records.len();
                    newest.extend(owed_of(page, &asked));
                    ControlFlow::Continue(())
                };
                self.checker.pages(window(&(hour..hour.plus(1))), ids, visit).await?;
                // An answer without any of them contradicts the list that had them all: the list is asked for again.
                if shown == 0 {
                    let visit = |page: &PulledPage| {
                        newest.extend(owed_of(page, &asked));
                        ControlFlow::Continue(())
                    };
                    self.checker.pages(window(&(hour..hour.plus(1))), &[], visit).await?;
                }
            }
        }
        let is_gone = |candidate: &Candidate| u32::from(!newest.contains(&candidate.owed.identity));
        Ok(candidates.iter().map(is_gone).collect())
    }
}

fn owed_of(page: &PulledPage, asked: &HashSet<Identity>) -> impl Iterator<Item = Identity> {
    page.records.iter().map(|record| record.identity).filter(|identity| asked.contains(identity))
}

fn unseen(unproven: Unproven) -> End {
    End::Unseen(unproven.to_string())
}

fn unsorted(error: io::Error) -> End {
    End::Unseen(format!("a temporary file: {error}"))
}

/// Answers about one target do not contradict each other.
fn lacks(identity: Identity) -> Unproven {
    Unproven::NoProof(format!(
        "an answer lacks the event {identity}, which an earlier one had: do several clusters answer, or does the target \
         not find its own events by identity?"
    ))
}

/// True if the absent events are adjacent in the order of the identities, as in a sorted list that was truncated or
/// lost a page. Identities are hashes, so events that were really lost are scattered. `copies` are those of all events,
/// in this order.
fn is_cut(copies: &[u32]) -> bool {
    let runs =
        || copies.chunk_by(|one, other| (*one == 0) == (*other == 0)).filter(|run| run[0] == 0).map(<[u32]>::len);
    let all = copies.len() as f64;
    let absent: usize = runs().sum();
    let at_end = runs_at_ends(copies);
    // How many such runs there would be by chance.
    let expected = |places: f64, run: usize| places * (absent as f64 / all).powf(run as f64);
    let is_whole = at_end == absent && absent > 0 && expected(2.0, at_end) < 0.01;
    is_whole || expected(2.0, at_end) < 1e-4 || runs().any(|run| expected(all, run) < 1e-4)
}

/// The longer one of the runs of absent events at both ends.
fn runs_at_ends(copies: &[u32]) -> usize {
    let is_absent = |copies: &&u32| **copies == 0;
    copies.iter().take_while(is_absent).count().max(copies.iter().rev().take_while(is_absent).count())
}

/// Finds a list with one question an hour, each answer truncated at the same number: the hours that lack events have
/// that many, and no hour has more. Returns the number of these hours, and that of the events.
fn full_hours(hours: &BTreeMap<Hour, HourRow>, lacking: &BTreeSet<Hour>) -> Option<(usize, u64)> {
    let lines = |row: &HourRow| row.present + row.duplicates;
    let most = hours.values().map(lines).max().filter(|most| *most >= ROUND)?;
    let full = lacking.iter().filter(|hour| hours.get(hour).is_some_and(|row| lines(row) == most)).count();
    let are_all = full == lacking.len() && (full > 1 || full == 1 && most.is_multiple_of(ROUND));
    (full >= FULL_HOURS || are_all).then_some((full, most))
}

/// A change of a record moves no time that the lane asks by.
fn changes_silently(pull: &PullSettings) -> bool {
    pull.passes().iter().any(|pass| pass.keys == PassKeys::Latest)
}

/// Splits a window into equal parts with about half as many records as one may have.
fn parts(whole: Window, records: u64) -> impl DoubleEndedIterator<Item = Window> {
    split(whole, records.div_ceil(PART as u64 / 2).max(2))
}

/// Splits a window into equal parts.
fn split(whole: Window, parts: u64) -> impl DoubleEndedIterator<Item = Window> {
    let parts = i64::try_from(parts).unwrap_or(i64::MAX).clamp(1, 3_600);
    let length = whole.to.micros() - whole.from.micros();
    let bound = move |part| Timestamp::from_micros(whole.from.micros() + length * part / parts);
    (0..parts).map(move |part| Window { from: bound(part), to: bound(part + 1), ..whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lost events are scattered among the hashes. Events that a truncated sorted list lacks are not.
    #[test]
    fn a_list_that_was_sorted_and_cut_is_recognized() {
        let with_absent = |absent: &[usize]| {
            let mut copies = vec![1; 1_433];
            absent.iter().for_each(|at| copies[*at] = 0);
            is_cut(&copies)
        };
        let range = |from: usize, to: usize| (from..to).collect::<Vec<_>>();
        for (cut, expected) in [
            (range(1_432, 1_433), true),
            (range(0, 48), true),
            (range(700, 796), true),
            ([range(1_401, 1_433), vec![3, 500, 900]].concat(), true),
            (vec![], false),
            (vec![700], false),
            (vec![3, 500, 900], false),
            ((0..477).map(|third| third * 3 + 1).collect(), false),
            (range(0, 1_433), false),
        ] {
            assert_eq!(with_absent(&cut), expected, "{cut:?}");
        }
    }

    #[test]
    fn hours_that_end_at_the_same_number_may_have_been_cut() {
        // Events of each hour, and the hours that lack some.
        for (events, lacking, expected) in [
            (&[50, 12, 50, 7][..], &[0, 2][..], Some((2, 50))),
            (&[53, 12, 53, 53], &[0, 2], Some((2, 53))),
            (&[50, 12, 40], &[0], Some((1, 50))),
            (&[53, 53, 40], &[0], None),
            (&[51, 12, 50], &[0, 2], None),
            (&[50, 12, 51], &[0], None),
            // Another hour really lacks one.
            (&[53, 12, 53, 53], &[0, 1, 2], None),
            (&[53, 12, 53, 53], &[0, 1, 2, 3], Some((3, 53))),
            // An hour of a quiet lane.
            (&[3, 3, 3, 3], &[0, 1, 2], None),
            (&[20, 20], &[], None),
            (&[], &[], None),
        ] {
            let row = |(hour, events): (u32, &u64)| {
                (Hour(hour), HourRow { present: events - 1, duplicates: 1, ..HourRow::default() })
            };
            let hours = (0..).zip(events).map(row).collect();
            assert_eq!(
                full_hours(&hours, &lacking.iter().copied().map(Hour).collect()),
                expected,
                "{events:?} {lacking:?}"
            );
        }
    }

    #[test]
    fn an_event_that_came_late_ends_no_beginning() {
        // Each part: present and absent events, in this order.
        for (parts, expected) in [
            (&[(1, 0), (40, 1), (0, 30), (40, 0)][..], 0),
            (&[(0, 40), (0, 40), (40, 0), (38, 2)], 80),
            (&[(30, 10), (38, 2)], 0),
            // Late ones, also as all of a part.
            (&[(0, 40), (1, 39), (0, 40), (1, 0), (0, 40), (40, 0), (38, 2)], 161),
            (&[(1, 0), (0, 40), (2, 38), (0, 0), (40, 0), (39, 1)], 81),
            (&[(1, 0), (0, 1), (40, 0), (39, 1)], 2),
            (&[(0, 0), (0, 0)], 0),
        ] {
            let mut leading = Leading::default();
            let mut count = 0;
            for (present, absent) in parts {
                for is_there in (0..*present).map(|_| true).chain((0..*absent).map(|_| false)) {
                    count += 1;
                    leading.take(is_there, Timestamp::from_micros(count));
                }
            }
            assert_eq!(leading.until.map_or(0, Timestamp::micros), expected, "{parts:?}");
        }
        let at = |minutes: i64| Leading { until: Some(Timestamp::from_micros(minutes * 60_000_000)), there: 0 };
        assert_eq!(
            (at(0).judged_from(), at(59).judged_from(), at(60).judged_from()),
            (Some(Hour(2)), Some(Hour(2)), Some(Hour(3)))
        );
        assert_eq!(Leading::default().judged_from(), None);
    }
}
