//! Compares what a lane owes with what its destination has, by identity.
//!
//! The owed events come from the console, as it is now. Only an answer that is a proof changes a number. Nothing is
//! claimed of a destination that shows no event of the lane at all: the credential or the target is then probably
//! wrong.

mod dead_letters;
mod end;
mod identity_list;
mod judgement;
mod owed_reader;
mod repair;
mod report;
mod target_reader;
mod truncation;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_engine::checkpoint::Store;
use s1_forwarder_engine::checkpoint::ledger::{Accounting, Hour, MAX_UNSTORED, Sum};
use s1_forwarder_engine::lane::{KeptDeadLetters, LaneCheckpoint};
use s1_forwarder_engine::sink::lookup::{Lookup, Retention};
use s1_forwarder_engine::source::{PassKeys, PullSettings, Since};
use s1_forwarder_engine::transform::{Origin, RedactionKeys, Transformer};
use s1_forwarder_record::{Identity, LaneId, Timestamp};
use s1_forwarder_telemetry::Telemetry;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::completeness::window;
use super::ledger_reader::{Account, LedgerKind, LedgerReader, live_backend};
use super::{Selected, VerifyError, VerifyProgress, checker, of_another_console, repairs_area, replays_area};
use crate::Options;
use crate::area_lock::AreaLock;
use crate::lanes::spec::LaneSpec;
use crate::pipeline::Pipeline;
use crate::shared::Shared;
use crate::usage::CommandUsage;

pub use identity_list::IdentityList;
pub use repair::RepairLimit;
pub use report::{DestinationReport, HourRow, MissingEvent, RepairReport};

use dead_letters::{DAY, LaneDeadLetters};
use end::End;
use judgement::{Candidate, HourSums, Judgement, SENT_WITHIN};
use owed_reader::{Changes, Owed, OwedReader, PART, PartRecords};
use repair::{DestinationRepair, LaneRepair};
use target_reader::{HasAll, TargetReader};
use truncation::{full_hours, is_cut};

/// The clocks of console, destination and this machine may differ by this.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_hours(1);

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
    let pipeline = &selected.pipeline.name;
    let area = repairs_area(pipeline);
    let store = match repair {
        Some(_) => options.open_state(Some(&area)).await?,
        None => options.read_state(Some(&area)).await?,
    };
    let replays = options.read_state(Some(&replays_area(pipeline))).await?;
    let lock = match repair {
        // No other process repairs meanwhile.
        Some(_) => options.lock_area(&store, &area, pipeline, stop).await?,
        None => Some(AreaLock::without_entry()),
    };
    let Some(lock) = lock else { return Ok(Vec::new()) };
    let shared = Shared::with_store(store.clone(), options, Arc::new(Telemetry::new()));
    let comparing = async {
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
            let report = DestinationReport::of(spec.id.clone());
            let comparison = LaneComparison {
                owed: OwedReader::new(checker, transformer(&selected.pipeline, &spec)?),
                target: TargetReader::new(lookup, selected.once_timeout),
                judgement: Judgement::new(report, repair.is_some()),
                live: live.clone(),
                kept_dead_letters: KeptDeadLetters::default(),
                has_sums: false,
                dead_letters: None,
                uncompared: Vec::new(),
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
            let target = shared
                .lane_builder
                .stored_destination_hash(&comparison.spec)
                .map_err(|error| VerifyError::NoLane(error.to_string()))?;
            let judging = async {
                let mut account = ledger.sums(Hour(0)..Hour(u32::MAX)).await?;
                account.checkpoint.target.set(target, shared.options.clock.now());
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
                let repair =
                    DestinationRepair { shared: &shared, store: &*store, selected: &selected, usage, most, total };
                report.returned = Some(repair.run(report, returning, stop).instrument(span).await?);
            }
        }
        Ok(reports)
    };
    lock.hold(comparing).await
}

/// Returns the number of missing records that the lane never read: by their ids if the ledger has ids, or by count. A
/// count may include records that the console has removed. Only `verify --repair` without a destination enters these
/// records in the ledger.
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
        never_read += if account.remembers(hour, now) {
            keys.iter().filter(is_unknown).count() as u64
        } else {
            report.hours.get(&hour).map_or(0, HourRow::never_accounted)
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
    if !spec.has_programs() {
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
    owed: OwedReader,
    target: TargetReader,
    judgement: Judgement,
    /// The worker's state.
    live: Arc<dyn Store>,
    /// Where the worker keeps the lane's dead letters.
    kept_dead_letters: KeptDeadLetters,
    /// Whether the ledger has the sums of delivered records of all hours that are compared.
    has_sums: bool,
    /// `None` if they were not needed yet.
    dead_letters: Option<LaneDeadLetters>,
    /// Parts of hours that were read, and not compared yet: one question is about many.
    uncompared: Vec<(Hour, HourPart)>,
    list: &'a mut Option<BufWriter<File>>,
    progress: &'a VerifyProgress,
}

/// The result for one lane, and what a repair needs to know.
struct Judged {
    report: DestinationReport,
    missing: Option<Vec<Candidate>>,
    lookup: Arc<dyn Lookup>,
}

/// What is known of an hour, or of a part of it, before its events are asked for.
enum HourPart {
    Records(PartRecords),
    /// The whole hour is at the destination: no event of it is asked for.
    Agreed(HasAll),
}

impl LaneComparison<'_> {
    async fn run(mut self, account: &Account) -> Result<Judged, VerifyError> {
        let reason =
            of_another_console(&self.spec, &account.checkpoint).or_else(|| self.cannot_be_judged().map(str::to_owned));
        if let Some(reason) = reason {
            let mut report = self.judgement.report;
            report.not_judged.push(reason);
            return Ok(Judged { report, missing: None, lookup: self.target.lookup });
        }
        let judged = self.judge(account).await;
        let Judgement { mut report, mut missing, .. } = self.judgement;
        report.asked = Some(self.target.lookup.target_text());
        report.questions = self.target.questions;
        match judged {
            Ok(()) => {}
            Err(End::Unseen(reason)) => {
                report.hours.clear();
                report.elsewhere.clear();
                report.unseen = Some(reason);
                missing = None;
            }
            Err(End::Failed(error)) => return Err(error),
        }
        Ok(Judged { report, missing, lookup: self.target.lookup })
    }

    /// Returns why it is not known which versions of the stream's records the lane owes. `None` if it is known.
    fn cannot_be_judged(&self) -> Option<&'static str> {
        let LaneSpec { id, pull, .. } = &*self.spec;
        match id.stream {
            stream if Accounting::of(stream) == Accounting::Nothing => Some("the stream has no hours of creation"),
            _ if changes_silently(pull) => Some("a record that changes after `lookback` is not delivered again"),
            _ if pull.is_snapshot() => Some("an event of a snapshot has the time of the snapshot in its identity"),
            _ if pull.drops_unchanged() => Some("a version in which nothing of interest changed is not delivered"),
            _ if pull.addition().is_some() && self.owed.may_drop() => {
                Some("`drop` and `remap` may depend on what is fetched in addition (`include`)")
            }
            _ => None,
        }
    }

    async fn judge(&mut self, account: &Account) -> Result<(), End> {
        let stream = self.spec.id.stream;
        self.kept_dead_letters = account.checkpoint.dead_letters.clone();
        let (mut hours, mut not_judged) = self.hours(account, &Retention::Everything);
        let mut retention = Retention::Everything;
        // A target that the lane has not delivered to may not exist.
        if !hours.is_empty() {
            retention = self.target.retention().await?;
            (hours, not_judged) = self.hours(account, &retention);
        }
        self.judgement.may_lack_beginning = match retention {
            Retention::Unknown => true,
            // The alias may have been made by hand for the lane, or after the lane had sent events to another target.
            Retention::Alias(created) => self
                .started_at(&account.checkpoint)
                .is_some_and(|started_at| started_at <= created.plus(MAX_CLOCK_DIFFERENCE)),
            Retention::Everything | Retention::Since(_) | Retention::From(..) => false,
        };
        self.judgement.report.not_judged.extend(not_judged);
        self.progress.total.fetch_add(u64::from(hours.end.0 - hours.start.0), Ordering::Relaxed);
        if Accounting::of(stream) == Accounting::Ids {
            let settled = self.target.settled_at(self.shared.options.clock.now());
            self.owed.changes = Some(Changes {
                until: account.settled_until(stream).min(settled),
                read_until: account.checkpoint.position.complete_until(),
                // The position of an idle lane is stored later.
                due_until: settled.minus(self.spec.pull.settles_after() + MAX_UNSTORED),
            });
        }
        self.judgement.ledger = (hours.start.0..hours.end.0)
            .map(Hour)
            .filter_map(|hour| {
                let accounted = account.totals.sums.get(&hour).copied().unwrap_or_default();
                Some((hour, HourSums { accounted, delivered: account.delivered(hour)? }))
            })
            .collect();
        self.has_sums = self.judgement.ledger.len() as u64 == u64::from(hours.end.0 - hours.start.0);
        let (agreeing, listed_until) = self.target.agreeing(hours.clone(), |hour| account.delivered(hour)).await?;
        self.judgement.listed_until = listed_until;
        for hour in (hours.start.0..hours.end.0).map(Hour) {
            match agreeing.get(&hour) {
                Some(has_all) => self.uncompared.push((hour, HourPart::Agreed(*has_all))),
                None => self.read(hour).await?,
            }
            self.progress.done.fetch_add(1, Ordering::Relaxed);
        }
        self.compare().await?;
        for (hour, row) in &mut self.judgement.report.hours {
            let has_sum = *hour >= account.ledger().days_until();
            if has_sum && Accounting::of(stream) == Accounting::Records {
                let accounted = account.expected(stream, &(*hour..hour.plus(1)));
                row.accounted = Some(accounted);
                if row.by_sums {
                    row.excluded = accounted.saturating_sub(row.owed);
                }
            }
        }
        self.confirm().await?;
        if let Some(Changes { until, .. }) = self.owed.changes {
            self.judgement.leave_changed(until);
        }
        let Judgement { owed, present, .. } = self.judgement;
        if present == 0 && owed > 0 {
            return Err(End::Unseen(format!(
                "{owed} events are owed, and not one of them is to be seen in {}: look at the target, and at what the \
                 credential may read",
                self.target.lookup.target_text()
            )));
        }
        self.judgement.finish(self.shared.options.dead_letters().is_some());
        Ok(())
    }

    /// Returns when the lane began to deliver to its target, as far as its checkpoint knows.
    fn started_at(&self, checkpoint: &LaneCheckpoint) -> Option<Timestamp> {
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
    fn hours(&self, account: &Account, retention: &Retention) -> (Range<Hour>, Vec<String>) {
        let now = self.shared.options.clock.now();
        let requested = Hour::from(self.selected.from)..Hour::of(self.selected.to).unwrap_or(Hour(0));
        let started_at = self.started_at(&account.checkpoint);
        let mut not_judged = Vec::new();
        let mut start = requested.start;
        let since = Hour::from(account.ledger().since());
        if start < since {
            start = since.min(requested.end);
            not_judged.push(format!("before {start}: the ledger starts later"));
        }
        let target_since = account.checkpoint.target.since;
        let judged_from = if target_since > Timestamp::default() {
            Hour::from(target_since.plus(MAX_CLOCK_DIFFERENCE))
        } else {
            Hour(0)
        };
        if judged_from > start {
            start = judged_from.min(requested.end);
            not_judged.push(format!(
                "before {start}: until {target_since} the lane delivered to another target, or under another name"
            ));
        }
        let kept_from = match retention {
            Retention::From(time, reason) => Some((*time, reason.as_str())),
            Retention::Since(created) | Retention::Alias(created)
                if started_at.is_none_or(|started_at| started_at.plus(SENT_WITHIN) < *created) =>
            {
                Some((
                    created.plus(SENT_WITHIN),
                    "the target may have been made after the lane began, and what was sent earlier went to another one then",
                ))
            }
            Retention::Since(_) | Retention::Alias(_) | Retention::Everything | Retention::Unknown => None,
        };
        if let Some((time, reason)) = kept_from
            && start < Hour::from(time)
        {
            start = Hour::from(time).min(requested.end);
            not_judged.push(format!("before {start}: {reason}"));
        }
        let closed = account.closed_hour(self.spec.id.stream, self.spec.pull.overlap, now);
        let settled = Hour::of(self.target.settled_at(now)).unwrap_or(Hour(0));
        let end = requested.end.min(closed).min(settled).max(start);
        if end < requested.end {
            let reason = if settled < closed {
                "an event that was acknowledged then may not have been searchable yet"
            } else {
                "within `overlap`, or the lane is not past it yet"
            };
            not_judged.push(format!("from {end} on: {reason}"));
        }
        (start..end, not_judged)
    }

    /// Reads the records of an hour, and compares them when there are enough for a question.
    async fn read(&mut self, hour: Hour) -> Result<(), End> {
        let mut open = vec![window(&(hour..hour.plus(1)))];
        while let Some(records) = self.owed.next_part(hour, &mut open).await? {
            self.uncompared.push((hour, HourPart::Records(records)));
            if self.uncompared_records().count() >= self.target.lookup.max_identities_per_query() {
                self.compare().await?;
            }
        }
        Ok(())
    }

    fn uncompared_records(&self) -> impl Iterator<Item = &Owed> {
        self.uncompared.iter().flat_map(|(_, part)| match part {
            HourPart::Records(records) => records.owed.as_slice(),
            HourPart::Agreed(_) => &[],
        })
    }

    /// Asks for the records of all parts that were read.
    async fn compare(&mut self) -> Result<(), End> {
        let mut asked: Vec<Identity> = self.uncompared_records().map(|owed| owed.identity).collect();
        asked.sort_unstable();
        asked.dedup();
        let copies = self.target.occurrences(&asked).await?;
        if self.target.lookup.is_given() && is_cut(&copies) {
            return Err(End::Unseen(format!(
                "{}; the events that it lacks are next to each other in the order of their identities: it may have been \
                 sorted, and cut",
                self.target.lookup.target_text()
            )));
        }
        let copies: HashMap<Identity, u32> = asked.into_iter().zip(copies).collect();
        for (hour, part) in mem::take(&mut self.uncompared) {
            match part {
                HourPart::Records(records) => self.compare_part(hour, records, &copies).await?,
                HourPart::Agreed(has_all) => self.judgement.add_agreed(hour, has_all),
            }
        }
        if self.judgement.candidates() >= PART && self.judgement.present > 0 {
            self.confirm().await?;
            self.judgement.end_beginning();
        }
        if self.judgement.candidates() >= 2 * PART {
            return Err(End::Unseen(format!("not one of the first {} events is to be seen", self.judgement.owed)));
        }
        Ok(())
    }

    async fn compare_part(
        &mut self,
        hour: Hour,
        records: PartRecords,
        copies: &HashMap<Identity, u32>,
    ) -> Result<(), End> {
        let copies_of = |owed: &Owed| copies.get(&owed.identity).copied().unwrap_or_default();
        let PartRecords { owed, excluded, changed, overdue } = records;
        self.judgement.changed += changed;
        self.judgement.overdue += overdue;
        let number = owed.len() as u64;
        let (there, absent): (Vec<Owed>, Vec<Owed>) = owed.into_iter().partition(|owed| copies_of(owed) > 0);
        self.target.has_shown(there.iter().max_by_key(|owed| owed.created).map(|owed| owed.identity));
        let part = HourRow {
            owed: number,
            present: there.len() as u64,
            duplicates: there.iter().map(|owed| u64::from(copies_of(owed) - 1)).sum(),
            excluded: excluded.count,
            ..HourRow::default()
        };
        self.judgement.add_part(hour, &part);
        self.judgement.add_not_owed(hour, &excluded);
        let absent = absent.into_iter().map(|owed| Candidate { owed, hour }).collect();
        let absent = self.without_dead_letters(absent).await?;
        let there: Vec<Timestamp> = there.iter().map(|owed| owed.created).collect();
        self.judgement.add_candidates(&there, absent);
        Ok(())
    }

    /// Counts the candidates that are dead letters, and returns the others. A replay delivers an event before it
    /// removes the dead letter, so the destination is asked again for the others after this. `candidates` are sorted.
    async fn without_dead_letters(&mut self, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, End> {
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let dead_letters = self.dead_letters().await?;
        let mut dead = dead_letters.occurrences(&identities(&candidates))?;
        let are_stale = dead_letters.are_stale;
        for (candidate, copies) in candidates.iter().zip(&mut dead) {
            if are_stale && self.judgement.has_delivered_all(candidate.hour) {
                *copies = 0;
            }
        }
        for (Candidate { owed, hour }, _) in candidates.iter().zip(&dead).filter(|(_, copies)| **copies > 0) {
            let mut dead_letter = Sum::default();
            dead_letter.add(owed.identity);
            self.judgement.add_not_owed(*hour, &dead_letter);
        }
        Ok(self.judgement.count_found(candidates, &dead, |row, _| {
            row.owed -= 1;
            row.dead_letters += 1;
        }))
    }

    /// Asks once more for the events that were not found, after they had time to become visible. Finds out why the rest
    /// is not there.
    async fn confirm(&mut self) -> Result<(), End> {
        let mut candidates = self.judgement.take_candidates();
        if candidates.is_empty() {
            return Ok(());
        }
        self.target.refresh().await?;
        candidates = self.without_present(candidates).await?;
        self.target.refuse_listed(&identities(&candidates))?;
        let gone = self.gone(&candidates).await?;
        candidates = self.judgement.count_found(candidates, &gone, |row, _| {
            row.owed -= 1;
            row.gone += 1;
        });
        let places = self.find_outside_target(&candidates).await?;
        // An event may have moved from such a place to the target meanwhile.
        candidates = self.without_present(candidates).await?;
        let found = candidates.into_iter().map(|candidate| {
            let place = places.get(&candidate.owed.identity).cloned();
            (candidate, place)
        });
        let found: Vec<(Candidate, Option<String>)> = found.collect();
        let absent = found.iter().filter(|(_, place)| place.is_none());
        let lacking = absent.map(|(candidate, _)| candidate.hour).collect();
        let is_given = self.target.lookup.is_given();
        if is_given && let Some((full, most)) = full_hours(&self.judgement.report.hours, &lacking) {
            return Err(End::Unseen(format!(
                "{}; hours that lack events and have exactly {most} of them: {full}, and no hour has more: the answer \
                 of each hour may have been truncated there; ask without a limit, or for another window",
                self.target.lookup.target_text()
            )));
        }
        let found = self.judgement.without_doubtful(found, is_given);
        // The target may have been replaced while it was asked.
        if !found.is_empty() && self.target.lookup.as_of().is_none() {
            self.target.retention().await?;
        }
        let missing = self.judgement.add_absent(found);
        if let Some(list) = self.list.as_mut() {
            let lane = &self.spec.id;
            for Candidate { owed: Owed { identity, id, .. }, hour } in missing {
                writeln!(list, "{identity} {id} {lane} {hour}").map_err(VerifyError::List)?;
            }
        }
        Ok(())
    }

    /// Counts the candidates that are at the destination now, and returns the others. `candidates` are sorted.
    async fn without_present(&mut self, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, End> {
        let copies = self.target.occurrences_with_known(&identities(&candidates)).await?;
        Ok(self.judgement.count_found(candidates, &copies, |row, copies| {
            row.present += 1;
            row.duplicates += u64::from(copies - 1);
        }))
    }

    /// Returns where the candidates are that are outside the target, as far as that can be seen.
    async fn find_outside_target(&mut self, candidates: &[Candidate]) -> Result<HashMap<Identity, String>, End> {
        let identities = identities(candidates);
        let places = self.target.find_outside_target(&identities).await?;
        let dead_letters = self.dead_letters().await?;
        let mut of_former_lanes = dead_letters.places(&identities)?;
        let are_stale = dead_letters.are_stale;
        for (candidate, place) in candidates.iter().zip(&mut of_former_lanes) {
            if are_stale && self.judgement.has_delivered_all(candidate.hour) {
                *place = None;
            }
        }
        let placed = places.into_iter().zip(of_former_lanes).map(|(place, other)| place.or(other));
        Ok(identities.into_iter().zip(placed).filter_map(|(identity, place)| Some((identity, place?))).collect())
    }

    /// The dead letters of the lane.
    async fn dead_letters(&mut self) -> Result<&mut LaneDeadLetters, End> {
        let dead_letters = match self.dead_letters.take() {
            Some(dead_letters) => dead_letters,
            None => {
                let Self { shared, spec, live, selected, kept_dead_letters, has_sums, .. } = self;
                // A day that is over has one count for all of its hours.
                let since = selected.from.minus(DAY);
                let mut dead_letters =
                    LaneDeadLetters::read(&shared.options, &spec.id, kept_dead_letters, &**live, since, *has_sums)
                        .await?;
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
        let mut ids: BTreeMap<Hour, Vec<CompactString>> = BTreeMap::new();
        for Candidate { owed, hour } in candidates {
            ids.entry(*hour).or_default().push(owed.id.clone());
        }
        let identities = identities(candidates);
        let owed = self.owed.still_owed(&identities.iter().copied().collect(), &ids).await?;
        Ok(identities.iter().map(|identity| u32::from(!owed.contains(identity))).collect())
    }
}

fn identities(candidates: &[Candidate]) -> Vec<Identity> {
    candidates.iter().map(|candidate| candidate.owed.identity).collect()
}

/// A change of a record moves no time that the lane asks by.
fn changes_silently(pull: &PullSettings) -> bool {
    pull.passes().iter().any(|pass| pass.keys == PassKeys::Latest)
}
