//! The counters, times and the state of one lane. Lanes write them; metrics, the API and the pages read them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use compact_str::CompactString;
use parking_lot::Mutex;
use s1_forwarder_record::{LaneId, Timestamp};
use smallvec::SmallVec;

use super::compared_clocks::ComparedClocks;
use super::counter::Counter;
use super::label_counts::{CountedLabels, LabelCount, LabelCounts};
use super::metrics::label;
use super::notices::Notices;
use super::recent_latency::RecentLatency;
use super::shown::{LaneState, StateName, TokenProblem};
use super::silence::Silence;
use super::sink_warnings::{SinkWarnings, replace_if_different};
use super::state_history::{RecentError, StateHistory};
use crate::usage::LaneUsage;

/// A failing lane that waits longer than this for its next attempt names the command that ends the wait.
const LONG_WAIT: Duration = Duration::from_mins(2);
/// See [`LaneMetrics::add_repair`].
const MAX_REPAIRS: usize = 4;

/// Why a record needs no delivery (label `reason` of `records_skipped_total`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// Excluded by the stream's settings, such as `exclude_types`, or by a condition of `transform.drop`.
    Filtered,
    /// Already delivered, and read again in the overlap.
    Duplicate,
    /// Only fields listed in `volatile` changed.
    Unchanged,
    /// Dropped by `abort` in `remap`.
    Remap,
}

impl SkipReason {
    pub const ALL: [Self; 4] = [Self::Filtered, Self::Duplicate, Self::Unchanged, Self::Remap];

    /// Returns the reason in words, for tables and summaries.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Duplicate => "already delivered",
            Self::Unchanged => "unchanged",
            Self::Remap => "dropped by remap",
        }
    }

    /// Returns the label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Duplicate => "duplicate",
            Self::Unchanged => "unchanged",
            Self::Remap => "remap",
        }
    }
}

/// Returns the skipped records for a table cell: the total, and the reasons if it is not zero. An example is
/// `57 (50 already delivered, 7 filtered)`. `counts` are labels with their counts.
pub fn describe_skipped<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    fn words(label: &str) -> &str {
        SkipReason::ALL.into_iter().find(|reason| reason.label() == label).map_or(label, |reason| reason.words())
    }
    match counts.as_slice() {
        [] => "0".to_owned(),
        [(label, count)] => format!("{count} ({})", words(label)),
        counts => {
            let total: u64 = counts.iter().map(|(_, count)| count).sum();
            let parts: Vec<_> = counts.iter().map(|(label, count)| format!("{count} {}", words(label))).collect();
            format!("{total} ({})", parts.join(", "))
        }
    }
}

/// Requests by status. There are few statuses, so a short list is enough; its lock is held for nanoseconds. Most lanes
/// have a single status.
#[derive(Debug, Default)]
pub struct StatusCounts(Mutex<SmallVec<[(CompactString, u64); 1]>>);

impl StatusCounts {
    pub fn count(&self, status: &str) {
        let mut counts = self.0.lock();
        match counts.iter_mut().find(|(known, _)| known == status) {
            Some((_, count)) => *count += 1,
            None => counts.push((status.into(), 1)),
        }
    }

    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock();
        counts.iter().map(|(status, count)| (status.to_string(), *count)).collect()
    }

    /// Calls `visit` with each status and its count, under the lock.
    pub fn for_each(&self, mut visit: impl FnMut(&str, u64)) {
        let counts = self.0.lock();
        counts.iter().for_each(|(status, count)| visit(status, *count));
    }
}

/// Result of comparing a lane's ledger with the console's counts for the last complete day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// Records created on that day that the console counts and the lane does not account for.
    pub missing_records: u64,
    /// End of that day.
    pub until: Timestamp,
}

/// The probable problems of a lane that does not fail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneWarnings {
    /// Another pipeline's lane that sends the same records to the same place.
    pub duplicate_of: Option<Arc<str>>,
    /// The part of the scope that the token does not see, and what to do.
    pub unseen: Option<Arc<str>>,
}

impl LaneWarnings {
    /// Returns the warnings in words.
    pub fn texts(&self) -> Vec<String> {
        let duplicate = self.duplicate_of.as_ref().map(|of| format!("duplicate of {of}"));
        duplicate.into_iter().chain(self.unseen.as_ref().map(|text| text.to_string())).collect()
    }
}

/// The counts of the pull stage.
#[derive(Debug, Default)]
pub struct PullCounts {
    /// Records that the console has returned, skipped records included.
    pub records: Counter,
    /// Records that were pulled, not delivered, and will be pulled again.
    pub requeued: Counter,
    /// Number of times that the console counted no records of a period of which it had shown some.
    pub vanished: Counter,
    /// Requests to the console.
    pub requests: Arc<StatusCounts>,
}

/// The counts of the map stage. They count records, except for `program_errors`, which counts failures of programs.
#[derive(Debug, Default)]
pub struct MapCounts {
    pub errors: Counter,
    pub repaired: Counter,
    pub program_errors: Counter,
    pub unknown_types: Counter,
}

/// The counts of the send stage: events, and bytes of delivered events.
#[derive(Debug, Default)]
pub struct SendCounts {
    pub delivered: Counter,
    /// Bytes as they were sent.
    pub bytes: Counter,
    /// Bytes of accepted events as the destination counts them.
    pub event_bytes: Counter,
    pub dead_letters: Counter,
    /// Requests to the sink.
    pub requests: StatusCounts,
}

/// Counters that are zero on most lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RareCount {
    /// Records that exceeded a bound.
    Overflowed,
    /// Records for which not all could be fetched that `include` names.
    NotEnriched,
    /// Records whose labels from the console have the value `other`.
    LabelledOther,
    /// Records with a time that names no zone.
    WithoutZone,
    /// Records that the console counted and did not show, not even when it was asked again.
    NotShown,
    /// Events on which the user's program took too long.
    RemapOverruns,
}

impl RareCount {
    const NUMBER: usize = Self::RemapOverruns as usize + 1;
}

/// A time that any task may set. It is not known at first.
#[derive(Debug)]
struct SharedTime(AtomicI64);

impl Default for SharedTime {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl SharedTime {
    fn set(&self, time: Option<Timestamp>) {
        self.0.store(time.map_or(i64::MIN, Timestamp::micros), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Timestamp> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros != i64::MIN).then(|| Timestamp::from_micros(micros))
    }
}

/// The command that makes a lane's next attempt now, as the texts before and after the lane's name.
#[derive(Debug)]
pub struct RetryCommand {
    pub before_lane: &'static str,
    pub after_lane: String,
}

impl RetryCommand {
    fn for_lane(&self, lane: &LaneId) -> String {
        let Self { before_lane, after_lane } = self;
        format!("{before_lane}{lane}{after_lane}")
    }
}

/// Counters and state of one lane. All methods may be called from any task.
#[derive(Debug)]
pub struct LaneMetrics {
    pub id: LaneId,
    /// See [`Self::set_retry_command`].
    retry_command: OnceLock<Arc<RetryCommand>>,
    /// The three labels as a scrape shows them. They are formatted once, since they are most of a scrape's text.
    labels: Box<str>,
    pub pull: PullCounts,
    pub map: MapCounts,
    pub send: SendCounts,
    /// See [`Self::dead_letters_stored`]. The largest number if it is unknown.
    dead_letters_stored: AtomicU64,
    /// Events that the log has not reported yet.
    pub(super) notices: Notices,
    /// Boxed: few lanes have any of it.
    rare: Mutex<Option<Box<Rare>>>,
    /// The lane's counts by hour that are not stored yet.
    pub usage: LaneUsage,
    pub(super) sink_latency: RecentLatency,
    skipped: [Counter; 4],
    complete_until: SharedTime,
    /// [`Self::complete_until`] when the lane began to poll.
    opened_from: SharedTime,
    /// See [`Self::had_settled`].
    had_settled: OnceLock<bool>,
    newest_record: SharedTime,
    silence: Mutex<Silence>,
    /// Boxed: few lanes read snapshots.
    snapshot: Mutex<Option<Box<(Timestamp, u64)>>>,
    last_success: SharedTime,
    next_attempt: SharedTime,
    pub clocks: ComparedClocks,
    /// Boxed: there is none before the first day has passed.
    verification: Mutex<Option<Box<Verification>>>,
    history: Mutex<StateHistory>,
    /// Boxed: few lanes wait.
    limit_wait: Mutex<Option<Box<LimitWait>>>,
}

/// Data that few of the tens of thousands of lanes have.
#[derive(Debug, Default)]
struct Rare {
    sink_warnings: SinkWarnings,
    /// The text of the last failure of the user's program, and its time.
    remap_error: String,
    remap_failed_at: Timestamp,
    /// The earliest and the latest record that was forwarded although the program failed on it.
    unchanged_records: Option<(Timestamp, Timestamp)>,
    /// By [`RareCount`].
    counts: [u64; RareCount::NUMBER],
    label_counts: LabelCounts,
    warnings: LaneWarnings,
    /// The last few repairs that an operator has still to do.
    repairs: Vec<RepairText>,
}

/// A repair that an operator has still to do, for records that did not come.
#[derive(Debug)]
struct RepairText {
    /// The reason, and the command.
    text: Arc<str>,
    /// A comparison of the lane with the console up to this time says which records are missing. `None` if no
    /// comparison does.
    compared_at: Option<Timestamp>,
}

impl LaneMetrics {
    /// Creates the metrics of a lane: all counters are zero, and the state is `Starting`.
    pub fn new(id: &LaneId) -> Self {
        let mut labels = String::new();
        for (name, text) in [("pipeline", &*id.pipeline), ("stream", id.stream.name()), ("sink", &*id.sink)] {
            label(&mut labels, name, text);
        }
        Self {
            id: id.clone(),
            retry_command: OnceLock::new(),
            labels: labels.into(),
            pull: PullCounts::default(),
            map: MapCounts::default(),
            send: SendCounts::default(),
            dead_letters_stored: AtomicU64::new(u64::MAX),
            notices: Notices::default(),
            rare: Mutex::default(),
            usage: LaneUsage::default(),
            sink_latency: RecentLatency::default(),
            skipped: Default::default(),
            complete_until: SharedTime::default(),
            opened_from: SharedTime::default(),
            had_settled: OnceLock::new(),
            newest_record: SharedTime::default(),
            silence: Mutex::new(Silence::Unpolled),
            snapshot: Mutex::new(None),
            last_success: SharedTime::default(),
            next_attempt: SharedTime::default(),
            clocks: ComparedClocks::default(),
            verification: Mutex::new(None),
            history: Mutex::default(),
            limit_wait: Mutex::new(None),
        }
    }

    /// Sets the command that makes the lane's next attempt now. To be called once, if a command reaches this process.
    pub fn set_retry_command(&self, command: Arc<RetryCommand>) {
        let _ = self.retry_command.set(command);
    }

    /// Returns the mean duration in seconds of the requests to the sink that ended in the last minute. `None` if none
    /// did.
    pub fn sink_latency(&self, now: Timestamp) -> Option<f64> {
        self.sink_latency.requests(now).mean()
    }

    /// Returns the command that starts the lane's next attempt now, if the lane fails and waits long for that attempt.
    pub fn retry_command_while_waiting(&self, now: Timestamp) -> Option<String> {
        let is_long = |next: Timestamp| next.since(now) > LONG_WAIT;
        let waits = !self.state().is_up() && self.next_attempt().is_some_and(is_long);
        if waits { self.retry_command() } else { None }
    }

    /// See [`Self::set_retry_command`]. `None` if no command reaches this process.
    pub(super) fn retry_command(&self) -> Option<String> {
        Some(self.retry_command.get()?.for_lane(&self.id))
    }

    /// Returns the labels `pipeline`, `stream` and `sink` as a scrape shows them, each followed by a comma.
    pub(super) fn labels(&self) -> &str {
        &self.labels
    }

    /// Creates new counters for the same lane that share the requests to the console. Verification uses them: its
    /// requests count as the lane's, the records in its responses do not.
    pub fn sharing_console_requests(&self) -> Self {
        let pull = PullCounts { requests: self.pull.requests.clone(), ..PullCounts::default() };
        Self { pull, ..Self::new(&self.id) }
    }

    pub fn skip_records(&self, reason: SkipReason, count: u64) {
        self.skipped[reason as usize].add(count);
    }

    /// Returns the number of skipped records, the sum over all reasons.
    pub fn skipped_total(&self) -> u64 {
        self.skipped_by_reason().map(|(_, count)| count).sum()
    }

    /// Returns the label of each reason and its number of skipped records.
    pub fn skipped_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SkipReason::ALL.into_iter().map(|reason| (reason.label(), self.skipped(reason)))
    }

    pub fn skipped(&self, reason: SkipReason) -> u64 {
        self.skipped[reason as usize].get()
    }

    /// Counts all records in flight as requeued. Call it when the lane has discarded its unsent records: the next poll
    /// pulls them again.
    pub fn requeue_in_flight(&self) {
        let counters = [&self.send.delivered, &self.send.dead_letters, &self.pull.requeued];
        let accounted: u64 = counters.map(Counter::get).iter().sum();
        let pulled = self.pull.records.get();
        let in_flight = pulled.saturating_sub(accounted + self.skipped_total());
        self.pull.requeued.add(in_flight);
    }

    /// Returns how many dead letters of this lane are stored now, including those of earlier processes. `None` while
    /// that is unknown.
    pub fn dead_letters_stored(&self) -> Option<u64> {
        Some(self.dead_letters_stored.load(Ordering::Relaxed)).filter(|stored| *stored != u64::MAX)
    }

    /// See [`Self::dead_letters_stored`].
    pub fn set_dead_letters_stored(&self, stored: Option<u64>) {
        self.dead_letters_stored.store(stored.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts a batch that the sink accepted with a warning. Returns true if the text changed, which is worth a log
    /// line.
    pub fn sink_warned(&self, reason: &'static str, text: &str, now: Timestamp) -> bool {
        self.rare.lock().get_or_insert_default().sink_warnings.add(reason, text, now)
    }

    /// Returns the number of batches that the sink accepted with a warning, by reason.
    pub fn sink_warnings(&self) -> BTreeMap<&'static str, u64> {
        self.rare.lock().as_ref().map(|rare| rare.sink_warnings.counts().collect()).unwrap_or_default()
    }

    /// Returns the time and the text of the sink's last warning.
    pub fn last_sink_warning(&self) -> Option<(Timestamp, String)> {
        self.rare.lock().as_ref()?.sink_warnings.last()
    }

    /// Counts an event on which the user's program failed.
    pub(super) fn remap_failed(&self, now: Timestamp, reason: &str, overran: bool) {
        self.map.program_errors.add(1);
        let mut rare = self.rare.lock();
        let rare = rare.get_or_insert_default();
        rare.counts[RareCount::RemapOverruns as usize] += u64::from(overran);
        replace_if_different(&mut rare.remap_error, reason);
        rare.remap_failed_at = now;
    }

    pub fn add_rare(&self, what: RareCount, count: u64) {
        self.rare.lock().get_or_insert_default().counts[what as usize] += count;
    }

    pub fn rare(&self, what: RareCount) -> u64 {
        self.rare.lock().as_ref().map_or(0, |rare| rare.counts[what as usize])
    }

    /// Counts delivered events by the value of a label.
    pub fn count_label(&self, labels: &CountedLabels, name: &str, value: &str, count: LabelCount) {
        self.rare.lock().get_or_insert_default().label_counts.add(labels, name, value, count);
    }

    /// Forgets the counts by label. Otherwise the counts of a lane that has ended would take the room of other lanes.
    pub(super) fn forget_label_counts(&self, labels: &CountedLabels) {
        if let Some(rare) = self.rare.lock().as_mut() {
            rare.label_counts.clear(labels);
        }
    }

    /// Calls `visit` with each label, value and count, under the lock.
    pub fn for_each_label_count(&self, visit: impl FnMut(&str, &str, LabelCount)) {
        if let Some(rare) = self.rare.lock().as_ref() {
            rare.label_counts.for_each(visit);
        }
    }

    /// Returns the time and the reason of the last failure of the user's program.
    pub fn last_remap_error(&self) -> Option<(Timestamp, String)> {
        let rare = self.rare.lock();
        let rare = rare.as_ref().filter(|rare| !rare.remap_error.is_empty())?;
        Some((rare.remap_failed_at, rare.remap_error.clone()))
    }

    /// Notes that the event of a record of this time was forwarded as it was mapped: the user's program failed on it.
    pub fn forwarded_unchanged(&self, record: Timestamp) {
        let mut rare = self.rare.lock();
        let known = &mut rare.get_or_insert_default().unchanged_records;
        let (first, last) = known.unwrap_or((record, record));
        *known = Some((first.min(record), last.max(record)));
    }

    /// Returns the times of the earliest and the latest record of [`Self::forwarded_unchanged`].
    pub fn unchanged_records(&self) -> Option<(Timestamp, Timestamp)> {
        self.rare.lock().as_ref()?.unchanged_records
    }

    /// Sets the probable problems of the lane, although it does not fail.
    pub fn set_warnings(&self, warnings: LaneWarnings) {
        let mut rare = self.rare.lock();
        if rare.is_some() || warnings != LaneWarnings::default() {
            rare.get_or_insert_default().warnings = warnings;
        }
    }

    /// See [`Self::set_warnings`].
    pub fn warnings(&self) -> LaneWarnings {
        self.rare.lock().as_ref().map(|rare| rare.warnings.clone()).unwrap_or_default()
    }

    /// Adds a warning: records up to `until` did not come, and do not come by themselves. `text` says why, with the
    /// command that delivers them. It is shown until this process ends, or until the lane has compared that time with
    /// the console. `until` is `None` if the lane does not compare it.
    pub fn add_repair(&self, text: String, until: Option<Timestamp>) {
        let mut rare = self.rare.lock();
        let repairs = &mut rare.get_or_insert_default().repairs;
        repairs.retain(|known| *known.text != *text);
        if repairs.len() >= MAX_REPAIRS {
            repairs.remove(0);
        }
        repairs.push(RepairText { text: text.into(), compared_at: until });
    }

    /// See [`Self::add_repair`].
    pub fn repairs(&self) -> Vec<Arc<str>> {
        let compared = self.verification().map(|verification| verification.until);
        let is_open =
            |repair: &&RepairText| repair.compared_at.is_none_or(|until| compared.is_none_or(|at| at < until));
        let rare = self.rare.lock();
        rare.iter().flat_map(|rare| &rare.repairs).filter(is_open).map(|repair| repair.text.clone()).collect()
    }

    /// Sets the time up to which the lane is complete. It is the start of the last poll that reached its end and whose
    /// records are all delivered. Without such a poll, it is the watermark.
    pub fn set_complete_until(&self, time: Timestamp) {
        self.complete_until.set(Some(time));
    }

    /// See [`Self::set_complete_until`]; `None` before the first checkpoint.
    pub fn complete_until(&self) -> Option<Timestamp> {
        self.complete_until.get()
    }

    /// Notes that the lane begins to poll from its checkpoint, which has the number of `settled` records.
    pub fn set_opened(&self, settled: u64) {
        self.had_settled.get_or_init(|| settled > 0);
        self.opened_from.set(self.complete_until.get());
    }

    /// Returns [`Self::complete_until`] at the last [`Self::set_opened`]. `None` for a new lane.
    pub fn opened_from(&self) -> Option<Timestamp> {
        self.opened_from.get()
    }

    /// Returns whether records were settled before this process opened the lane for the first time.
    pub fn had_settled(&self) -> bool {
        self.had_settled.get().copied().unwrap_or_default()
    }

    /// Sets the time of the newest record that the console has shown in a complete poll.
    pub fn set_newest_record(&self, time: Option<Timestamp>) {
        self.newest_record.set(time);
    }

    /// See [`Self::set_newest_record`].
    pub fn newest_record(&self) -> Option<Timestamp> {
        self.newest_record.get()
    }

    /// Sets what a complete poll has shown, or that the lane begins, or begins again.
    pub fn set_silence(&self, silence: Silence) {
        *self.silence.lock() = silence;
    }

    pub fn silence(&self) -> Silence {
        *self.silence.lock()
    }

    /// Notes that the snapshot identified by `time` is complete and has `records` records.
    pub fn set_snapshot(&self, time: Timestamp, records: u64) {
        *self.snapshot.lock() = Some(Box::new((time, records)));
    }

    /// Returns the last complete snapshot: its time and its number of records.
    pub fn snapshot(&self) -> Option<(Timestamp, u64)> {
        self.snapshot.lock().as_deref().copied()
    }

    /// Sets the result of a comparison, and returns the previous one.
    pub fn set_verification(&self, verification: Verification) -> Option<Verification> {
        self.verification.lock().replace(Box::new(verification)).map(|previous| *previous)
    }

    /// Returns the last comparison; `None` before the first one.
    pub fn verification(&self) -> Option<Verification> {
        self.verification.lock().as_deref().copied()
    }

    /// Returns `lag_seconds` at `now`; `None` before the first checkpoint, and before the end of a first pass that
    /// begins in 1970. The lag is computed on demand, since a stored value would not grow while a lane is stalled.
    pub fn lag(&self, now: Timestamp) -> Option<Duration> {
        self.lag_since().map(|time| now.since(time))
    }

    /// Returns the time that [`Self::lag`] counts from.
    pub fn lag_since(&self) -> Option<Timestamp> {
        self.complete_until().filter(|time| time.micros() > 0)
    }

    /// Notes that a poll or a delivery ended without an error at `now`.
    pub fn succeeded(&self, now: Timestamp) {
        self.last_success.set(Some(now));
    }

    /// See [`Self::succeeded`].
    pub fn last_success(&self) -> Option<Timestamp> {
        self.last_success.get()
    }

    /// Sets the state in tests of pages that show a lane. Elsewhere, [`Meter::report`](super::Meter::report) decides
    /// the state.
    #[cfg(any(test, feature = "testing"))]
    pub fn show(&self, now: Timestamp, state: LaneState) {
        self.set_state(now, state);
    }

    /// Changes the state. Returns true if the kind of state changed, which is worth a log line.
    pub(super) fn set_state(&self, now: Timestamp, state: LaneState) -> bool {
        self.history.lock().set(now, state)
    }

    /// Returns since when the lane fails without a break, whatever its errors were, as far as this process knows.
    pub fn failing_since(&self) -> Option<Timestamp> {
        self.history.lock().failing_since()
    }

    /// See [`StateHistory::take_reminder`].
    pub(super) fn take_reminder(&self, now: Timestamp, every: Duration) -> Option<(Timestamp, u64)> {
        self.history.lock().take_reminder(now, every)
    }

    /// Notes that the lane tried again at `now`, and got the same error as before.
    pub fn failed_again(&self, now: Timestamp) {
        self.history.lock().failed_again(now);
    }

    /// Notes that the lane waits for its turn within the request limit that `lanes` lanes share, until the guard is
    /// dropped.
    pub fn begin_limit_wait(&self, now: Timestamp, lanes: Arc<AtomicUsize>) -> LimitWaitGuard<'_> {
        *self.limit_wait.lock() = Some(Box::new(LimitWait { since: now, lanes }));
        LimitWaitGuard(self)
    }

    /// Returns since when the lane waits for its turn within the request limit, and how many lanes share this limit.
    /// `None` in the first seconds: every request waits a little.
    pub fn limit_wait(&self, now: Timestamp) -> Option<(Timestamp, usize)> {
        let wait = self.limit_wait.lock();
        let wait = wait.as_ref().filter(|wait| now.since(wait.since) >= MIN_LIMIT_WAIT)?;
        Some((wait.since, wait.lanes.load(Ordering::Relaxed)))
    }

    pub fn state(&self) -> LaneState {
        self.history.lock().state.clone()
    }

    /// Returns the name of the state. A list of thousands of lanes does not need the error.
    pub fn state_name(&self) -> StateName<'static> {
        self.history.lock().state.state_name()
    }

    /// Calls `read` with the error of a failing lane, under the lock: errors of thousands of lanes are not copied.
    pub fn read_error<T>(&self, read: impl FnOnce(&str) -> T) -> Option<T> {
        self.history.lock().state.error().map(read)
    }

    pub fn set_token_problem(&self, problem: Option<TokenProblem>) {
        self.history.lock().token_problem = problem;
    }

    /// Returns why the lane has no token that its console accepts. `None` if the console accepts it, as far as the lane
    /// knows.
    pub fn token_problem(&self) -> Option<TokenProblem> {
        self.history.lock().token_problem
    }

    /// Returns the last error and when it occurred.
    pub fn last_error(&self) -> Option<(Timestamp, String)> {
        self.history.lock().errors.last().map(|error| (error.time, error.text.to_string()))
    }

    /// Returns the last errors, the oldest first.
    pub fn recent_errors(&self) -> Vec<RecentError> {
        self.history.lock().errors.clone()
    }

    /// Sets when the lane asks its console next. `None` while it does so, and before the first time.
    pub fn set_next_attempt(&self, time: Option<Timestamp>) {
        self.next_attempt.set(time);
    }

    /// See [`Self::set_next_attempt`].
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.next_attempt.get()
    }
}

/// A shorter wait is not shown.
const MIN_LIMIT_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct LimitWait {
    since: Timestamp,
    /// Lanes that share the limit now.
    lanes: Arc<AtomicUsize>,
}

/// See [`LaneMetrics::begin_limit_wait`].
#[derive(Debug)]
pub struct LimitWaitGuard<'a>(&'a LaneMetrics);

impl Drop for LimitWaitGuard<'_> {
    fn drop(&mut self) {
        *self.0.limit_wait.lock() = None;
    }
}
