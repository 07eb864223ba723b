//! What is known of a lane in a window.

use std::fmt;
use std::sync::Arc;

use crate::checkpoint::ledger::Accounting;
use crate::checkpoint::{CheckpointKey, Part};
use crate::record::Timestamp;
use crate::state::{LaneId, Store};
use crate::usage::{Counts, LatencyBound, Period, Usage};
use crate::worker::UsageStoreError;

#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
    /// When the report is made.
    pub now: Timestamp,
}

/// Which objects the state has of a lane.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stored {
    /// Of the worker's lane, and of commands next to it.
    lane: bool,
    usage: bool,
    command_usage: bool,
    backfill: bool,
}

impl Stored {
    pub fn add(&mut self, part: Part, is_of_command: bool) {
        match part {
            Part::BackfillUsage => self.backfill = true,
            Part::Usage if is_of_command => self.command_usage = true,
            Part::Usage => self.usage = true,
            _ => self.lane = true,
        }
    }
}

/// A lane, or all backfills of a lane.
#[derive(Debug)]
pub struct Row {
    pub id: LaneId,
    pub is_backfill: bool,
    /// Nothing if the state does not say what the lane did.
    pub period: Option<Period>,
    /// The whole hours of the window that have begun.
    pub hours: u64,
    /// The time of which something is known, within the window.
    pub known: Option<(Timestamp, Timestamp)>,
    pub not_known: Vec<NotKnown>,
    /// Why the lane cannot be read.
    pub problem: Option<String>,
}

/// A part of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotKnown {
    pub from: Timestamp,
    pub to: Timestamp,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotCounted,
    NotStored,
    Killed,
    PartOfDay,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotCounted => "not_counted",
            Self::NotStored => "not_stored",
            Self::Killed => "killed",
            Self::PartOfDay => "part_of_day",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NotCounted => "nothing was counted yet",
            Self::NotStored => "not stored yet, or the lane did not run",
            Self::Killed => "a worker ended without storing what it had counted, or no worker ran the lane",
            Self::PartOfDay => "only whole days are kept this long ago",
        }
    }
}

impl fmt::Display for NotKnown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "from {} to {}: {}", self.from, self.to, self.reason.words())
    }
}

/// How complete the records are that were created in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Records of this stream cannot be counted by their hour.
    NotVerifiable,
    /// The state does not say.
    Unknown,
    Verified {
        hours: u64,
        missing: u64,
    },
}

impl Row {
    pub fn lane(&self) -> String {
        if self.is_backfill { format!("{} (backfills)", self.id) } else { self.id.to_string() }
    }

    pub fn counts(&self) -> Option<&Counts> {
        self.period.as_ref().map(|period| &period.counts)
    }

    pub fn completeness(&self) -> Completeness {
        match &self.period {
            _ if Accounting::of(self.id.stream) == Accounting::Nothing => Completeness::NotVerifiable,
            Some(period) if !self.is_backfill => {
                Completeness::Verified { hours: period.verified_hours, missing: period.missing }
            }
            _ => Completeness::Unknown,
        }
    }

    /// Completeness in words.
    pub fn completeness_text(&self) -> String {
        match self.completeness() {
            Completeness::NotVerifiable => "not verifiable".to_owned(),
            Completeness::Unknown => "-".to_owned(),
            Completeness::Verified { hours: 0, .. } => "not compared".to_owned(),
            Completeness::Verified { hours, missing } => {
                format!("{hours} of {} h compared, {missing} missing", self.hours)
            }
        }
    }

    /// Median, 95th and 99th percentile.
    pub fn percentiles(&self) -> [Option<LatencyBound>; 3] {
        [500, 950, 990].map(|thousandths| self.counts().and_then(|counts| counts.latency.percentile(thousandths)))
    }
}

/// A percentile in words, such as `≤ 30 s`.
pub fn bound_text(bound: Option<LatencyBound>) -> String {
    match bound {
        None => "-".to_owned(),
        Some(LatencyBound::Over) => "> 1 d".to_owned(),
        Some(LatencyBound::UpTo(seconds)) => match seconds {
            0..60 => format!("≤ {seconds} s"),
            60..3_600 => format!("≤ {} min", seconds / 60),
            3_600..86_400 => format!("≤ {} h", seconds / 3_600),
            _ => format!("≤ {} d", seconds / 86_400),
        },
    }
}

/// The rows of a lane: its own, and one for its backfills if there were any.
pub async fn read(
    store: &Arc<dyn Store>,
    by_commands: &Arc<dyn Store>,
    id: LaneId,
    stored: Stored,
    window: Window,
) -> Vec<Row> {
    let mut rows = Vec::new();
    if stored.lane || stored.usage || stored.command_usage {
        rows.push(match lane(&**store, &**by_commands, &id, stored).await {
            Ok(usage) => of_lane(id.clone(), usage, window),
            Err(error) => unreadable(id.clone(), false, window, &error),
        });
    }
    if stored.backfill {
        let row = match load(&**by_commands, &id, Part::BackfillUsage).await {
            Ok(usage) => of_backfills(id, usage, window),
            Err(error) => unreadable(id, true, window, &error),
        };
        // A backfill of another time says nothing.
        let is_empty = row.counts().is_some_and(|counts| *counts == Counts::default());
        if !is_empty || !row.not_known.is_empty() {
            rows.push(row);
        }
    }
    rows
}

/// What the worker's lane did, with what commands did for it.
async fn lane(
    store: &dyn Store,
    by_commands: &dyn Store,
    id: &LaneId,
    stored: Stored,
) -> Result<Option<Usage>, UsageStoreError> {
    let mut usage = if stored.usage { load(store, id, Part::Usage).await? } else { None };
    if stored.command_usage
        && let Some(of_commands) = load(by_commands, id, Part::Usage).await?
    {
        usage.get_or_insert_default().add_counts(&of_commands);
    }
    Ok(usage)
}

async fn load(store: &dyn Store, id: &LaneId, part: Part) -> Result<Option<Usage>, UsageStoreError> {
    let bytes = store.load(&CheckpointKey { lane: id.clone(), part }).await?;
    Ok(bytes.map(|bytes| Usage::decode(&bytes)).transpose()?)
}

fn unreadable(id: LaneId, is_backfill: bool, window: Window, error: &UsageStoreError) -> Row {
    Row { problem: Some(error.to_string()), is_backfill, ..of_lane(id, None, window) }
}

fn of_lane(id: LaneId, usage: Option<Usage>, window: Window) -> Row {
    let Window { from, to, now } = window;
    let end = to.min(now);
    let hours = u64::try_from((end.seconds() - from.seconds()).max(0) / 3_600).unwrap_or_default();
    let known = usage.as_ref().and_then(|usage| usage.since().zip(usage.until()));
    let mut not_known = Vec::new();
    let mut add = |start: Timestamp, stop: Timestamp, reason| {
        if start < stop {
            not_known.push(NotKnown { from: start, to: stop, reason });
        }
    };
    let (since, until) = known.unwrap_or((end, end));
    add(from, since.min(end), Reason::NotCounted);
    add(until.max(from), end, Reason::NotStored);
    let period = usage.as_ref().map(|usage| usage.within(from, to));
    for gap in usage.iter().flat_map(|usage| usage.gaps(from, end)) {
        add(gap.0, gap.1, Reason::Killed);
    }
    for part in period.iter().flat_map(|period| &period.not_counted) {
        add(part.0, part.1, Reason::PartOfDay);
    }
    not_known.sort_by_key(|part| (part.from, part.to));
    let known = known.map(|(since, until)| (since.max(from), until.min(end))).filter(|known| known.0 < known.1);
    Row { id, is_backfill: false, period, hours, known, not_known, problem: None }
}

/// Nobody knows of backfills that a kill has ended when they were running: no time is named.
fn of_backfills(id: LaneId, usage: Option<Usage>, window: Window) -> Row {
    let mut row = of_lane(id, usage, window);
    row.not_known.retain(|part| part.reason == Reason::PartOfDay);
    Row { is_backfill: true, known: None, ..row }
}
