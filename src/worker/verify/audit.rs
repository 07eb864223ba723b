//! What the console has of one hour, counted and pulled.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::console::{Client, ConsoleError};
use crate::record::{Identity, Timestamp};
use crate::settings::FullJitter;
use crate::source::{By, Poll, Position, Pull, Record, Window};
use crate::state::LaneId;
use crate::state::ledger::{Accounting, Hour, Sum};
use crate::telemetry::Meter;
use crate::worker::backfill::count_in_parts;

/// Waits while the console does not answer.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Largest answer that is read, and records in it, before a page is made smaller.
const PAGE_BYTES: usize = 16 << 20;
const PAGE_RECORDS: usize = 1000;

/// Asks a console about the hours of one lane.
pub struct Auditor {
    client: Arc<Client>,
    meter: Meter,
    pull: Arc<Pull>,
    lane: LaneId,
    patience: Duration,
    random: fastrand::Rng,
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
        Self { client, meter, pull, lane, patience, random }
    }

    /// How many records created in `hour` the console counts.
    pub async fn count(&mut self, hour: Hour) -> Result<u64, ConsoleError> {
        let (client, pull, meter) = (self.client.clone(), self.pull.clone(), self.meter.clone());
        self.patiently(async || {
            let known = pull.count(&client, window(hour), &meter).await?;
            count_in_parts(window(hour), known, |part| pull.count(&client, part, &meter)).await
        })
        .await
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
        let (client, mut limit) = (self.client.clone(), PAGE_RECORDS);
        let mut shown = Shown::default();
        loop {
            let page = self
                .patiently(async || match poll.next(client.turn().await, limit, PAGE_BYTES).await {
                    Err(ConsoleError::TooLarge(_)) if limit > 1 => {
                        limit /= 2;
                        Err(ConsoleError::transient("the answer is too large: a smaller one is asked for"))
                    }
                    Err(ConsoleError::BadCursor(reason)) => Err(ConsoleError::transient(reason)),
                    answer => answer,
                })
                .await?;
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

    /// Asks again while the console fails for now.
    async fn patiently<T>(
        &mut self,
        mut attempt: impl AsyncFnMut() -> Result<T, ConsoleError>,
    ) -> Result<T, ConsoleError> {
        let begun = Instant::now();
        let mut waits = FullJitter::new(WAITS.0, WAITS.1, self.random.fork());
        loop {
            match attempt().await {
                Err(ConsoleError::Transient { reason, after, .. }) if begun.elapsed() < self.patience => {
                    warn!(lane = %self.lane, %reason, "the console does not answer; asked again");
                    sleep(after.unwrap_or_default().max(waits.wait())).await;
                }
                answer => return answer,
            }
        }
    }
}

/// An hour by the time of creation.
pub fn window(hour: Hour) -> Window {
    Window { from: hour.start(), to: hour.end(), by: By::Creation }
}
