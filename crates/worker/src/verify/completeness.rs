//! Counts and reads the records of one hour at the console.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_engine::checkpoint::ledger::{Accounting, Hour, Sum};
use s1_forwarder_engine::console::{Client, ConsoleError};
use s1_forwarder_engine::lane::LaneBudget;
use s1_forwarder_engine::source::{
    Action, ConsoleHabits, Poll, PullSettings, PulledPage, PulledRecord, SourcePosition, TimeField, Window,
};
use s1_forwarder_record::{Identity, LaneId, Stream, Timestamp};
use s1_forwarder_settings::FullJitter;
use s1_forwarder_telemetry::Meter;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::backfill::{TRUSTED_COUNT, count_in_parts};

/// First and longest wait between two attempts.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Maximum size of a response. A page that exceeds it is requested again with fewer records.
const PAGE_BYTES: usize = 16 << 20;
const SMALL_PAGE_BYTES: usize = 1 << 20;
const PAGE_RECORDS: usize = 1000;

pub struct CompletenessChecker {
    client: Arc<Client>,
    meter: Meter,
    pull: Arc<PullSettings>,
    lane: LaneId,
    timeout: Duration,
    random: fastrand::Rng,
    page_bytes: usize,
    budget: Option<LaneBudget>,
}

/// The console's records of an hour.
#[derive(Debug, Default)]
pub struct HourRecords {
    /// Sum over all records.
    pub sum: Sum,
    /// The records that were not known.
    pub unknown: Vec<UnknownRecord>,
}

#[derive(Debug)]
pub struct UnknownRecord {
    /// The number under which a ledger has the record.
    pub key: u64,
    pub identity: Identity,
    /// The record's id at the console.
    pub id: String,
}

impl CompletenessChecker {
    /// `pull` has the lane's settings. Records that its settings exclude are in the ledger, so they are compared too.
    /// Transient failures of the console are retried for `timeout`.
    pub fn new(
        client: Arc<Client>,
        meter: Meter,
        pull: &PullSettings,
        lane: LaneId,
        timeout: Duration,
        random: fastrand::Rng,
    ) -> Self {
        let pull = Arc::new(pull.without_exclusions());
        Self { client, meter, pull, lane, timeout, random, page_bytes: PAGE_BYTES, budget: None }
    }

    /// Limits the pages, and reserves their memory from a worker's budget.
    pub fn with_budget(self, budget: LaneBudget) -> Self {
        Self { page_bytes: SMALL_PAGE_BYTES, budget: Some(budget), ..self }
    }

    /// Makes the checker read only records that the lane owes: it does not owe those that its settings exclude.
    pub fn of_owed(self, pull: &Arc<PullSettings>) -> Self {
        Self { pull: pull.clone(), ..self }
    }

    /// The console's count of the records created in `hours`.
    ///
    /// # Errors
    /// If the console refuses, or fails for longer than the timeout.
    pub async fn count(&mut self, hours: Range<Hour>) -> Result<u64, ConsoleError> {
        let mut retry = self.retry_state();
        loop {
            match self.try_count(window(&hours)).await {
                Ok(count) => return Ok(count),
                Err(error) => retry.wait(error).await?,
            }
        }
    }

    async fn try_count(&self, window: Window) -> Result<u64, ConsoleError> {
        let known = self.pull.count(&self.client, window, Some(&self.meter)).await?;
        if known <= TRUSTED_COUNT {
            return Ok(known);
        }
        count_in_parts(window, known, |part| self.pull.count(&self.client, part, Some(&self.meter))).await
    }

    /// Reads all records created in `hours`. A record that changed later than `settled_until` is not unknown: the lane
    /// has yet to pull the change.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub async fn read(
        &mut self,
        hours: Range<Hour>,
        known: &HashSet<u64>,
        settled_until: Timestamp,
    ) -> Result<HourRecords, ConsoleError> {
        let mut records = HourRecords::default();
        let host = self.client.clone();
        let stream = self.lane.stream;
        self.pages(window(&hours), &[], |page| {
            for record in &page.records {
                let key = record.record_key.id;
                let identity = of_any_version(host.host(), stream, record);
                records.sum.add(identity);
                if record.record_key.time <= settled_until && !known.contains(&key) {
                    records.unknown.push(UnknownRecord { key, identity, id: record.id.to_string() });
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok(records)
    }

    /// Reads the records created in `window` page by page, until `visit` breaks; with `ids`, only these, as far as the
    /// console can be asked for them.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub async fn pages(
        &mut self,
        window: Window,
        ids: &[CompactString],
        mut visit: impl FnMut(&PulledPage) -> ControlFlow<()>,
    ) -> Result<(), ConsoleError> {
        let pull = Arc::new(self.pull.within(window).of_ids(ids));
        let position = SourcePosition::starting_at(window.from);
        let poll = Poll::new(&self.client, self.meter.clone(), pull, &position, 0, window.to, ConsoleHabits::default());
        let Ok(mut poll) = poll else { return Ok(()) };
        let mut limit = PAGE_RECORDS;
        let mut retry = self.retry_state();
        let mut reservation = None;
        loop {
            let request = match poll.next_action() {
                Action::Ask(request) => request,
                Action::Emit(page) => {
                    retry = self.retry_state();
                    if visit(&page).is_break() {
                        return Ok(());
                    }
                    continue;
                }
                Action::Done(..) => return Ok(()),
            };
            if request.is_page() {
                // Releases the previous page first: a lane without reservations never waits for its own limit.
                drop(reservation.take());
                if let Some(budget) = &self.budget {
                    reservation = Some(budget.reserve(self.page_bytes).await);
                }
            }
            let is_page = request.is_page();
            let request = request.with_size(limit, self.page_bytes);
            let answer = match request.send(&self.client, self.client.permit().await, Some(&self.meter)).await {
                Err(ConsoleError::TooLarge(_)) if is_page && limit > 1 => {
                    limit /= 2;
                    continue;
                }
                // Only the beginning of a record that is too large is read.
                answer => answer,
            };
            match poll.answered(answer, self.client.latest_time()) {
                Ok(()) => {}
                Err(ConsoleError::BadCursor(reason)) => {
                    retry.wait(ConsoleError::transient(reason)).await?;
                }
                Err(error) => retry.wait(error).await?,
            }
        }
    }

    fn retry_state(&mut self) -> RetryState {
        let waits = FullJitter::new(WAITS.0, WAITS.1, self.random.fork());
        RetryState { end: Instant::now() + self.timeout, waits }
    }
}

struct RetryState {
    end: Instant,
    waits: FullJitter,
}

impl RetryState {
    /// Waits after a transient error. Returns any other error, and every error after the timeout.
    async fn wait(&mut self, error: ConsoleError) -> Result<(), ConsoleError> {
        match error {
            ConsoleError::Transient { reason, retry_after, .. } if Instant::now() < self.end => {
                warn!(%reason, "a request to the console failed: retrying");
                sleep(self.waits.wait_at_least(retry_after)).await;
                Ok(())
            }
            error => Err(error),
        }
    }
}

/// The identity of the record, of any version where records change.
fn of_any_version(host: &str, stream: Stream, record: &PulledRecord) -> Identity {
    match Accounting::of(stream) {
        Accounting::Ids => Identity::of(host, stream, &record.id, ""),
        Accounting::Records | Accounting::Nothing => record.identity,
    }
}

/// The window of these hours, by the time of creation.
pub fn window(hours: &Range<Hour>) -> Window {
    Window { from: hours.start.start(), to: hours.end.start(), time: TimeField::Creation }
}

/// Splits a window into equal parts.
pub fn split(whole: Window, parts: u64) -> impl DoubleEndedIterator<Item = Window> {
    let parts = i64::try_from(parts).unwrap_or(i64::MAX).clamp(1, 3_600);
    let length = whole.to.micros() - whole.from.micros();
    let bound = move |part| Timestamp::from_micros(whole.from.micros() + length * part / parts);
    (0..parts).map(move |part| Window { from: bound(part), to: bound(part + 1), ..whole })
}
