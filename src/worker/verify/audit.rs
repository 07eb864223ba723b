//! What the console has of one hour, counted and pulled.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::console::{Client, ConsoleError};
use crate::lane::LaneBudget;
use crate::record::{Identity, Timestamp};
use crate::settings::FullJitter;
use crate::source::{By, Poll, Position, Pull, Record, Window};
use crate::state::LaneId;
use crate::state::ledger::{Accounting, Hour, Sum};
use crate::telemetry::Meter;
use crate::worker::backfill::{TRUSTED_COUNT, count_in_parts};

/// Waits while the console does not answer.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Largest answer that is read, and records in it, before a page is made smaller.
const PAGE_BYTES: usize = 16 << 20;
const SMALL_PAGE_BYTES: usize = 1 << 20;
const PAGE_RECORDS: usize = 1000;

/// Asks a console about the hours of one lane.
pub struct Auditor {
    client: Arc<Client>,
    meter: Meter,
    pull: Arc<Pull>,
    lane: LaneId,
    patience: Duration,
    random: fastrand::Rng,
    page_bytes: usize,
    budget: Option<LaneBudget>,
}

/// What the console shows of an hour.
#[derive(Debug, Default)]
pub struct Shown {
    /// Count and identities of all of it.
    pub sum: Sum,
    /// Those that were not known.
    pub unknown: Vec<(Identity, String)>,
}

impl Auditor {
    /// `pull` is the lane's; what its settings leave out is accounted for, and so looked at too.
    pub fn new(
        client: Arc<Client>,
        meter: Meter,
        pull: &Pull,
        lane: LaneId,
        patience: Duration,
        random: fastrand::Rng,
    ) -> Self {
        let pull = Arc::new(Pull { exclude_types: Vec::new(), ..pull.clone() });
        Self { client, meter, pull, lane, patience, random, page_bytes: PAGE_BYTES, budget: None }
    }

    /// The same with smaller pages, each within bytes of a worker's budget.
    pub fn within(self, budget: LaneBudget) -> Self {
        Self { page_bytes: SMALL_PAGE_BYTES, budget: Some(budget), ..self }
    }

    /// How many records created in `hour` the console counts.
    pub async fn count(&mut self, hour: Hour) -> Result<u64, ConsoleError> {
        let mut patience = self.patience();
        loop {
            match self.try_count(window(hour)).await {
                Ok(count) => return Ok(count),
                Err(error) => patience.wait(error, &self.lane).await?,
            }
        }
    }

    async fn try_count(&self, window: Window) -> Result<u64, ConsoleError> {
        let known = self.pull.count(&self.client, window, &self.meter).await?;
        if known <= TRUSTED_COUNT {
            return Ok(known);
        }
        count_in_parts(window, known, |part| self.pull.count(&self.client, part, &self.meter)).await
    }

    /// Reads all records created in `hour`. Those of changing streams whose last change is later than `settled_until` are
    /// still to come, and are not unknown.
    pub async fn read(
        &mut self,
        hour: Hour,
        known: &HashSet<Identity>,
        settled_until: Timestamp,
    ) -> Result<Shown, ConsoleError> {
        let window = window(hour);
        let pull = Arc::new(self.pull.within(window));
        let position = Position::starting_at(window.from);
        let poll = Poll::new(self.client.clone(), self.meter.clone(), pull, position, 0, window.to);
        let Some(mut poll) = poll else { return Ok(Shown::default()) };
        let (mut shown, mut limit, mut patience) = (Shown::default(), PAGE_RECORDS, self.patience());
        loop {
            let _held = match &self.budget {
                Some(budget) => Some(budget.reserve(self.page_bytes).await),
                None => None,
            };
            let asked = match poll.next(self.client.turn().await, limit, self.page_bytes).await {
                Err(ConsoleError::TooLarge(_)) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                // What is too large to be pulled is read as far as its beginning goes.
                Err(ConsoleError::TooLarge(cut)) => poll.step_over(&cut).await,
                asked => asked.map(Some),
            };
            let page = match asked {
                Ok(Some(page)) => page,
                Ok(None) => continue,
                Err(ConsoleError::BadCursor(reason)) => {
                    patience.wait(ConsoleError::transient(reason), &self.lane).await?;
                    continue;
                }
                Err(error) => {
                    patience.wait(error, &self.lane).await?;
                    continue;
                }
            };
            patience = self.patience();
            for record in &page.records {
                let identity = self.accounted_as(record);
                shown.sum.add(identity);
                if record.mark.time <= settled_until && !known.contains(&identity) {
                    shown.unknown.push((identity, record.id.to_string()));
                }
            }
            if page.last {
                return Ok(shown);
            }
        }
    }

    /// The identity under which a ledger has the record.
    fn accounted_as(&self, record: &Record) -> Identity {
        match Accounting::of(self.lane.stream) {
            Accounting::Ids => Identity::of(self.client.host(), self.lane.stream, &record.id, ""),
            Accounting::Records | Accounting::Nothing => record.identity,
        }
    }

    fn patience(&mut self) -> Patience {
        let waits = FullJitter::new(WAITS.0, WAITS.1, self.random.fork());
        Patience { end: Instant::now() + self.patience, waits }
    }
}

/// Asks again while the console fails for now.
struct Patience {
    end: Instant,
    waits: FullJitter,
}

impl Patience {
    /// Waits after a failure that may pass; any other, and one too many, is handed on.
    async fn wait(&mut self, error: ConsoleError, lane: &LaneId) -> Result<(), ConsoleError> {
        match error {
            ConsoleError::Transient { reason, after, .. } if Instant::now() < self.end => {
                warn!(%lane, %reason, "the console does not answer; asked again");
                sleep(after.unwrap_or_default().max(self.waits.wait())).await;
                Ok(())
            }
            error => Err(error),
        }
    }
}

/// An hour by the time of creation.
pub fn window(hour: Hour) -> Window {
    Window { from: hour.start(), to: hour.end(), by: By::Creation }
}
