//! The stored form of [`Usage`]: the layout's number, then columns of numbers, compressed.

use std::collections::BTreeMap;

use s1_forwarder_record::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BUCKETS, Counts, DAY, DAYS_WITH_LATENCY, LatencyBuckets, Usage, hour_of};

/// Version of the stored form, which comes first. Each change of the following bytes needs another version, and a file
/// in `tests/data`.
const VERSION: u64 = 2;
const FIRST_VERSION: u64 = 1;
/// In the first layout, a comparison was late if it was made more than 26 hours after the hour.
const FIRST_LATE: u32 = 27;
/// Most bytes of the stored form. A fuller one loses the latencies of its oldest days.
pub(super) const MAX_BYTES: usize = 12_000;
/// Most bytes of the columns. More cannot have been written.
const MAX_COLUMNS: usize = 1 << 20;
const LEVEL: i32 = 9;
/// Hours are before the year 3883, and days too.
const HOURS_END: u32 = 1 << 24;
/// Days that lose their latencies at a time.
const THINNED: usize = 2;
/// Old days that share one time of comparison, if the stored form is full.
const BLURRED_DAYS: u32 = 32;

/// The bytes are not a usage of this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Truncated or altered.
    #[error("the usage is damaged; stop the worker and remove it: s1-forwarder state delete --usage LANE")]
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
}

/// Follows [`Columns`].
#[derive(Serialize, Deserialize)]
struct Comparisons {
    /// Hours that were compared, and how many hours later: mostly as many as for the hour before.
    hours: Vec<u32>,
    after: Vec<i32>,
    missing: Vec<(u32, u64)>,
    merged: Vec<(u64, u64)>,
}

/// The comparisons in the first layout.
#[derive(Deserialize)]
struct FirstComparisons {
    /// For each day, one bit for each hour that was compared.
    verified: Vec<(u32, u32)>,
    /// Hours that were compared late.
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
                latency: LatencyBuckets(std::array::from_fn(|bucket| number(&self.latency[bucket]))),
            };
        }
        Ok(rows)
    }
}

impl Usage {
    /// Returns the stored form, of at most 12,000 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_once();
        let mut thinned = self.clone();
        while bytes.len() > MAX_BYTES && thinned.thin() {
            bytes = thinned.encode_once();
        }
        bytes
    }

    /// Removes the counts that are missed least. Returns false if nothing is left to remove.
    fn thin(&mut self) -> bool {
        self.blur() || self.thin_latencies()
    }

    /// Blurs the times of comparisons: all hours of a day get the delay of the hour that was compared latest after
    /// itself. So do all hours of a group of days that is long ago. Returns false if nothing changed.
    fn blur(&mut self) -> bool {
        let with_latency = (hour_of(self.until) / DAY).saturating_sub(DAYS_WITH_LATENCY - 1);
        let group = |hour: u32| {
            let day = hour / DAY;
            if day < with_latency { day / BLURRED_DAYS } else { day }
        };
        let mut longest: BTreeMap<u32, u32> = BTreeMap::new();
        for (hour, at) in &self.verified {
            let longest = longest.entry(group(*hour)).or_default();
            *longest = at.saturating_sub(*hour).max(*longest);
        }
        let mut is_thinner = false;
        for (hour, at) in &mut self.verified {
            let last = hour + longest.get(&group(*hour)).copied().unwrap_or_default();
            is_thinner |= std::mem::replace(at, last) != last;
        }
        is_thinner
    }

    /// Removes the latencies of the oldest days that have some; false if none has.
    fn thin_latencies(&mut self) -> bool {
        let with = self.days.values_mut().filter(|counts| counts.latency != LatencyBuckets::default());
        let mut is_thinner = false;
        for counts in with.take(THINNED) {
            counts.latency = LatencyBuckets::default();
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
        let Self { since, until, is_open, gaps, hours, days_until, days, verified, missing, write, merged } = self;
        let columns = Columns {
            since: since.micros(),
            until: until.micros(),
            is_open: *is_open,
            gaps: gaps.iter().map(|gap| (gap.0.micros(), gap.1.micros())).collect(),
            write: *write,
            days_until: *days_until,
            hours: Table::of(hours),
            days: Table::of(days),
        };
        let comparisons = Comparisons {
            hours: differences(verified.keys()),
            after: signed_differences(verified.iter().map(|(hour, at)| at.saturating_sub(*hour))),
            missing: pairs(missing),
            merged: merged.clone(),
        };
        postcard::to_stdvec(&(columns, comparisons)).unwrap_or_default()
    }

    /// Decodes the stored form.
    ///
    /// # Errors
    /// If it is damaged, or a newer release wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self, UsageError> {
        let (version, compressed): (u64, _) = postcard::take_from_bytes(bytes).map_err(|_| UsageError::Damaged)?;
        if version > VERSION {
            return Err(UsageError::Newer(version));
        }
        let columns = zstd::bulk::decompress(compressed, MAX_COLUMNS).map_err(|_| UsageError::Damaged)?;
        let (columns, rest): (Columns, _) = postcard::take_from_bytes(&columns).map_err(|_| UsageError::Damaged)?;
        let Columns { since, until, is_open, gaps, write, days_until, hours, days } = columns;
        let (verified, missing, merged) = match version {
            VERSION => {
                let Comparisons { hours, after, missing, merged } = all_of(rest)?;
                let hours = sums(hours.into_iter())?;
                let after = signed_sums(after.into_iter())?;
                if hours.len() != after.len() {
                    return Err(UsageError::Damaged);
                }
                let verified = hours.into_iter().zip(after).map(|(hour, after)| (hour, hour + after));
                (verified.collect(), missing, merged)
            }
            FIRST_VERSION => {
                let FirstComparisons { verified, verified_late, missing } = all_of(rest)?;
                (first_verified(verified, verified_late)?, missing, Vec::new())
            }
            _ => return Err(UsageError::Damaged),
        };
        let time = Timestamp::from_micros;
        if days_until.max(hour_of(time(until))) >= HOURS_END {
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
            missing: of_pairs(missing)?,
            write,
            merged,
        })
    }
}

fn all_of<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, UsageError> {
    match postcard::take_from_bytes(bytes) {
        Ok((read, [])) => Ok(read),
        _ => Err(UsageError::Damaged),
    }
}

/// Returns the comparisons of the first layout. It kept only whether a comparison was late, and no time. A late
/// comparison gets a time later than others.
fn first_verified(bits: Vec<(u32, u32)>, late: Vec<(u32, u32)>) -> Result<BTreeMap<u32, u32>, UsageError> {
    let bits = of_pairs(bits)?;
    let late = of_pairs(late)?;
    if bits.values().chain(late.values()).any(|bits| *bits >= 1 << DAY) {
        return Err(UsageError::Damaged);
    }
    let has = |bits: &u32, hour: u32| bits & 1 << hour != 0;
    let mut verified = BTreeMap::new();
    for (day, bits) in &bits {
        for hour in (0..DAY).filter(|hour| has(bits, *hour)) {
            let is_late = late.get(day).is_some_and(|late| has(late, hour));
            let hour = day * DAY + hour;
            verified.insert(hour, if is_late { hour + FIRST_LATE } else { hour });
        }
    }
    Ok(verified)
}

/// Returns the pairs of a map, with differences of keys instead of keys.
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

fn signed_differences(numbers: impl Iterator<Item = u32>) -> Vec<i32> {
    let mut previous = 0;
    numbers.map(|number| number.wrapping_sub(std::mem::replace(&mut previous, number)).cast_signed()).collect()
}

fn signed_sums(differences: impl Iterator<Item = i32>) -> Result<Vec<u32>, UsageError> {
    let mut sum = 0_u32;
    differences
        .map(|difference| {
            sum = sum.checked_add_signed(difference).filter(|sum| *sum < HOURS_END).ok_or(UsageError::Damaged)?;
            Ok(sum)
        })
        .collect()
}

/// Returns the numbers of which these are the differences.
fn sums(differences: impl Iterator<Item = u32>) -> Result<Vec<u32>, UsageError> {
    let mut sum = 0_u32;
    differences
        .map(|difference| {
            sum = sum.checked_add(difference).filter(|sum| *sum < HOURS_END).ok_or(UsageError::Damaged)?;
            Ok(sum)
        })
        .collect()
}
