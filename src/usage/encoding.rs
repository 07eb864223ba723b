//! The stored form of [`Usage`]: the layout's number, then columns of numbers, compressed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BUCKETS, Counts, DAY, Latency, Usage, hour_of};
use crate::record::Timestamp;

/// Comes first. Each change of [`Columns`] needs another one, and a file in `tests/data`.
const VERSION: u64 = 1;
/// Of the stored form. A fuller one loses the latencies of its oldest days.
pub(super) const MAX_BYTES: usize = 12_000;
/// Of the columns. More cannot have been written.
const MAX_COLUMNS: usize = 1 << 20;
const LEVEL: i32 = 9;
/// Hours are before the year 3883, and days too.
const HOURS_END: u32 = 1 << 24;
/// Days that lose their latencies at a time.
const THINNED: usize = 4;

/// The bytes are not a usage of this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Truncated or altered.
    #[error("the usage is damaged; `state delete LANE --usage` removes it")]
    Damaged,
    /// Written by a newer release.
    #[error("the usage was written by a newer release (layout {0}, this one reads {VERSION}); use that release")]
    Newer(u64),
}

/// Times are in microseconds, hours and days are differences to the one before.
#[derive(Serialize, Deserialize)]
struct Columns {
    since: i64,
    until: i64,
    is_open: bool,
    gaps: Vec<(i64, i64)>,
    write: (u64, u64),
    days_until: u32,
    hours: Table,
    days: Table,
    verified: Vec<(u32, u32)>,
    verified_late: Vec<(u32, u32)>,
    missing: Vec<(u32, u64)>,
}

/// Columns are compressed better than rows.
#[derive(Default, Serialize, Deserialize)]
struct Table {
    at: Vec<u32>,
    events: Vec<u64>,
    bytes: Vec<u64>,
    dead_letters: Vec<u64>,
    failing_minutes: Vec<u64>,
    silent_minutes: Vec<u64>,
    latency: [Vec<u64>; BUCKETS],
}

impl Table {
    fn of(rows: &BTreeMap<u32, Counts>) -> Self {
        let mut table = Self { at: differences(rows.keys()), ..Self::default() };
        for counts in rows.values() {
            let Counts { events, bytes, dead_letters, failing_minutes, silent_minutes, latency } = counts;
            table.events.push(*events);
            table.bytes.push(*bytes);
            table.dead_letters.push(*dead_letters);
            table.failing_minutes.push(*failing_minutes);
            table.silent_minutes.push(*silent_minutes);
            table.latency.iter_mut().zip(latency.0).for_each(|(column, count)| column.push(count));
        }
        table
    }

    fn rows(self) -> Result<BTreeMap<u32, Counts>, UsageError> {
        let at = sums(self.at.into_iter())?;
        let columns = [&self.events, &self.bytes, &self.dead_letters, &self.failing_minutes, &self.silent_minutes];
        if columns.into_iter().chain(&self.latency).any(|column| column.len() != at.len()) {
            return Err(UsageError::Damaged);
        }
        let mut rows: BTreeMap<u32, Counts> = at.iter().map(|at| (*at, Counts::default())).collect();
        if rows.len() != at.len() {
            return Err(UsageError::Damaged);
        }
        for (row, counts) in rows.values_mut().enumerate() {
            let number = |column: &[u64]| column.get(row).copied().unwrap_or_default();
            *counts = Counts {
                events: number(&self.events),
                bytes: number(&self.bytes),
                dead_letters: number(&self.dead_letters),
                failing_minutes: number(&self.failing_minutes),
                silent_minutes: number(&self.silent_minutes),
                latency: Latency(std::array::from_fn(|bucket| number(&self.latency[bucket]))),
            };
        }
        Ok(rows)
    }
}

impl Usage {
    /// The stored form, of at most 12,000 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_once();
        let mut thinned = self.clone();
        while bytes.len() > MAX_BYTES && thinned.thin() {
            bytes = thinned.encode_once();
        }
        bytes
    }

    /// Removes the latencies of the oldest days that have some; false if none has.
    fn thin(&mut self) -> bool {
        let with = self.days.values_mut().filter(|counts| counts.latency != Latency::default());
        let mut is_thinner = false;
        for counts in with.take(THINNED) {
            counts.latency = Latency::default();
            is_thinner = true;
        }
        is_thinner
    }

    fn encode_once(&self) -> Vec<u8> {
        // A `Vec` accepts every byte, and all of it can be serialized.
        let mut out = postcard::to_stdvec(&VERSION).unwrap_or_default();
        let columns = self.columns();
        out.extend(zstd::bulk::compress(&columns, LEVEL).unwrap_or_default());
        out
    }

    pub(super) fn columns(&self) -> Vec<u8> {
        let Self { since, until, is_open, gaps, hours, days_until, days, verified, verified_late, missing, write } =
            self;
        let columns = Columns {
            since: since.micros(),
            until: until.micros(),
            is_open: *is_open,
            gaps: gaps.iter().map(|gap| (gap.0.micros(), gap.1.micros())).collect(),
            write: *write,
            days_until: *days_until,
            hours: Table::of(hours),
            days: Table::of(days),
            verified: pairs(verified),
            verified_late: pairs(verified_late),
            missing: pairs(missing),
        };
        postcard::to_stdvec(&columns).unwrap_or_default()
    }

    /// From the stored form.
    ///
    /// # Errors
    /// If it is damaged, or a newer release wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self, UsageError> {
        let (version, compressed): (u64, _) = postcard::take_from_bytes(bytes).map_err(|_| UsageError::Damaged)?;
        match version {
            VERSION => {}
            0 => return Err(UsageError::Damaged),
            newer => return Err(UsageError::Newer(newer)),
        }
        let columns = zstd::bulk::decompress(compressed, MAX_COLUMNS).map_err(|_| UsageError::Damaged)?;
        let (columns, rest): (Columns, _) = postcard::take_from_bytes(&columns).map_err(|_| UsageError::Damaged)?;
        if !rest.is_empty() {
            return Err(UsageError::Damaged);
        }
        let Columns { since, until, is_open, gaps, write, days_until, hours, days, .. } = columns;
        let time = Timestamp::from_micros;
        let verified = of_pairs(columns.verified)?;
        let verified_late = of_pairs(columns.verified_late)?;
        let has_bits = |bits: &u32| *bits < 1 << DAY;
        let is_possible = verified.values().chain(verified_late.values()).all(has_bits)
            && days_until.max(hour_of(time(until))) < HOURS_END;
        if !is_possible {
            return Err(UsageError::Damaged);
        }
        Ok(Self {
            since: time(since),
            until: time(until),
            is_open,
            gaps: gaps.into_iter().map(|gap| (time(gap.0), time(gap.1))).collect(),
            hours: hours.rows()?,
            days_until,
            days: days.rows()?,
            verified,
            verified_late,
            missing: of_pairs(columns.missing)?,
            write,
        })
    }
}

/// A map whose keys are differences.
fn pairs<T: Copy>(map: &BTreeMap<u32, T>) -> Vec<(u32, T)> {
    differences(map.keys()).into_iter().zip(map.values().copied()).collect()
}

fn of_pairs<T>(pairs: Vec<(u32, T)>) -> Result<BTreeMap<u32, T>, UsageError> {
    let (keys, values): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    Ok(sums(keys.into_iter())?.into_iter().zip(values).collect())
}

fn differences<'a>(numbers: impl Iterator<Item = &'a u32>) -> Vec<u32> {
    let mut previous = 0;
    numbers.map(|number| number - std::mem::replace(&mut previous, *number)).collect()
}

/// The numbers of which these are the differences.
fn sums(differences: impl Iterator<Item = u32>) -> Result<Vec<u32>, UsageError> {
    let mut sum = 0_u32;
    differences
        .map(|difference| {
            sum = sum.checked_add(difference).filter(|sum| *sum < HOURS_END).ok_or(UsageError::Damaged)?;
            Ok(sum)
        })
        .collect()
}
