//! What a lane has accounted for, so that it can be compared with what the console has.
//!
//! A ledger is stored in the same write as the checkpoint that covers it, so that a lane that goes back to its checkpoint
//! goes back to the ledger of that moment. It sums up records by the hour in which they were created (count and xor of
//! their identities, for ninety days), and remembers the identities of the last 48 hours.
//!
//! What a checkpoint holds of it stays small however busy the lane is: where the store keeps journals, older sums and all
//! but the last few identities go there, and the checkpoint says how far the journal counts. A journal is written before
//! the checkpoint that refers to it; what a crash leaves behind its end is written over.

mod books;
mod hour;
mod journal;

use std::collections::BTreeMap;

pub use books::Books;
pub use hour::Hour;

use self::journal::Journal;
pub use crate::record::Append;
use crate::record::varint::{Malformed, Reader, put, put_bytes, put_signed};
use crate::record::{Identity, Stream, Timestamp};

const VERSION: u64 = 1;
/// How long sums are kept.
const SUM_HOURS: u32 = 90 * 24;
/// How long identities are kept.
const IDENTITY_HOURS: u32 = 48;
/// So many sums lie in the checkpoint at most, where there is a journal; the newest stay when the others leave.
const MOST_SUMS: usize = 72;
const NEWEST_SUMS: usize = 24;
/// So many identities lie in the checkpoint before they go to the journal together.
const MOST_RECENT: usize = 256;
/// Segments of identities (of 1 MiB) that a lane keeps at most: some thirteen million.
const MOST_SEGMENTS: usize = 256;

/// A lane's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// How often it began anew.
    generation: u64,
    since: Timestamp,
    asked: String,
    /// Sums that are not in the journal yet; an hour may be in both.
    sums: BTreeMap<Hour, Sum>,
    old_sums: Journal,
    /// Identities that are not in the journal yet.
    recent: Vec<(Hour, Identity)>,
    identities: Journal,
    /// The first hour all of whose identities are kept; none where the store keeps no journals.
    kept_from: Option<Hour>,
    next_segment: u64,
    /// Segments that nothing refers to any more.
    released: Vec<u64>,
}

/// Records of one hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// Their identities, xored.
    pub xor: [u8; 16],
}

/// What of a stream's records can be accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounting {
    /// Records never change: all of an hour can be counted, and each has one identity.
    Records,
    /// Records change: of each id it is remembered that it was delivered at least once.
    Ids,
    /// Nothing: records have no time of creation that the console could be asked about.
    Nothing,
}

/// The bytes are no ledger that this release understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Cut or altered.
    #[error("the ledger is damaged")]
    Damaged,
    /// Written by a newer release.
    #[error("the ledger was written by a newer release (layout {0}, this one reads {VERSION}); use that release")]
    Newer(u64),
}

impl From<Malformed> for LedgerError {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

impl Accounting {
    /// What can be accounted for of `stream`.
    pub const fn of(stream: Stream) -> Self {
        match stream {
            Stream::Activities => Self::Records,
            Stream::Threats | Stream::Agents | Stream::Alerts | Stream::UnifiedAlerts => Self::Ids,
            Stream::Groups | Stream::Vulnerabilities => Self::Nothing,
        }
    }
}

impl Sum {
    /// One more record.
    pub fn add(&mut self, identity: Identity) {
        self.merge(&Self { count: 1, xor: identity.bytes() });
    }

    /// All records of another sum.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.xor.iter_mut().zip(other.xor).for_each(|(mine, other)| *mine ^= other);
    }
}

impl Ledger {
    /// An empty ledger: everything created from `since` on will be in it. `asked` is what the console is asked for, which
    /// decides what it counts; `journals` whether the store keeps them.
    pub fn begin(since: Timestamp, asked: String, journals: bool) -> Self {
        Self {
            generation: 0,
            since,
            asked,
            sums: BTreeMap::new(),
            old_sums: Journal::default(),
            recent: Vec::new(),
            identities: Journal::default(),
            kept_from: journals.then(|| Hour::from(since)),
            next_segment: 0,
            released: Vec::new(),
        }
    }

    /// Empties the ledger: everything created from `since` on will be in it.
    pub fn begin_anew(&mut self, since: Timestamp, asked: String, journals: bool) {
        let mut released = std::mem::take(&mut self.released);
        released.extend(self.old_sums.segments().chain(self.identities.segments()).map(|segment| segment.number));
        let (generation, next_segment) = (self.generation + 1, self.next_segment);
        *self = Self { generation, next_segment, released, ..Self::begin(since, asked, journals) };
    }

    /// How often it began anew: what completes a ledger completes none that begins after it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The time from which on every record created is in it, once it was delivered.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What the console is asked for.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// The first hour whose identities are all kept at `now`; none where none are.
    pub fn kept_from(&self, now: Timestamp) -> Option<Hour> {
        self.kept_from.map(|from| from.max(first_kept(now, IDENTITY_HOURS)))
    }

    /// True when its identities are kept in journals.
    pub fn has_journals(&self) -> bool {
        self.kept_from.is_some()
    }

    /// From now on its identities are kept: the store did not keep journals before.
    pub fn keep_identities(&mut self, now: Timestamp) {
        self.kept_from.get_or_insert(Hour::from(now));
    }

    /// True when `created` is of an hour whose identities are kept.
    pub fn remembers(&self, created: Timestamp, now: Timestamp) -> bool {
        self.kept_from.is_some() && Hour::of(created).is_some_and(|hour| hour >= first_kept(now, IDENTITY_HOURS))
    }

    /// One more record of its hour was delivered, filtered, dropped or dead-lettered.
    pub fn count(&mut self, created: Timestamp, identity: Identity) {
        if let Some(hour) = Hour::of(created) {
            self.sums.entry(hour).or_default().add(identity);
        }
    }

    /// Remembers an identity, where identities are kept and the record is young enough.
    pub fn remember(&mut self, created: Timestamp, identity: Identity, now: Timestamp) {
        if self.remembers(created, now)
            && let Some(hour) = Hour::of(created)
        {
            self.recent.push((hour, identity));
        }
    }

    /// Lets go of what is too old and hands out what is to be written to the journal before the checkpoint.
    pub fn spill(&mut self, now: Timestamp) -> Vec<Append> {
        let (first_sum, first_identity) = (first_kept(now, SUM_HOURS), first_kept(now, IDENTITY_HOURS));
        self.sums = self.sums.split_off(&first_sum);
        let mut appends = Vec::new();
        if self.kept_from.is_none() {
            return appends;
        }
        self.released.extend(self.old_sums.expire(first_sum));
        self.released.extend(self.identities.expire(first_identity));
        if self.sums.len() > MOST_SUMS {
            let newest = self.sums.keys().nth_back(NEWEST_SUMS - 1).copied().unwrap_or(first_sum);
            let staying = self.sums.split_off(&newest);
            let leaving = std::mem::replace(&mut self.sums, staying);
            appends.push(self.old_sums.append(newest.minus(1), books::sums(&leaving), &mut self.next_segment));
        }
        if self.recent.len() > MOST_RECENT {
            let leaving = std::mem::take(&mut self.recent);
            let newest = leaving.iter().map(|(hour, _)| *hour).max().unwrap_or(first_identity);
            appends.push(self.identities.append(newest, books::identities(&leaving), &mut self.next_segment));
        }
        while self.identities.len() > MOST_SEGMENTS
            && let Some(gone) = self.identities.drop_oldest()
        {
            self.kept_from = self.kept_from.max(Some(gone.newest.plus(1)));
            self.released.push(gone.number);
        }
        appends
    }

    /// Segments that no checkpoint refers to, once this ledger is stored.
    pub fn released(&self) -> &[u64] {
        &self.released
    }

    /// `segments` are gone.
    pub fn forget_released(&mut self, segments: &[u64]) {
        self.released.retain(|segment| !segments.contains(segment));
    }

    /// As bytes: version; generation; since; what the console is asked for; next segment; 0, or 1 and the first hour whose identities
    /// are kept; released segments; sums (difference to the hour before, count, xor); identities (hour, 16 bytes); the
    /// journal of sums and that of identities (segments with number, length, newest hour).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.sums.len() * 20 + self.recent.len() * 20);
        put(&mut out, VERSION);
        put(&mut out, self.generation);
        put_signed(&mut out, self.since.micros());
        put_bytes(&mut out, self.asked.as_bytes());
        put(&mut out, self.next_segment);
        put(&mut out, u64::from(self.kept_from.is_some()));
        if let Some(hour) = self.kept_from {
            put(&mut out, u64::from(hour.0));
        }
        put(&mut out, self.released.len() as u64);
        self.released.iter().for_each(|segment| put(&mut out, *segment));
        put(&mut out, self.sums.len() as u64);
        let mut previous = 0;
        for (hour, sum) in &self.sums {
            put(&mut out, u64::from(hour.0 - previous));
            previous = hour.0;
            put(&mut out, sum.count);
            out.extend_from_slice(&sum.xor);
        }
        put(&mut out, self.recent.len() as u64);
        out.extend_from_slice(&books::identities(&self.recent));
        self.old_sums.encode(&mut out);
        self.identities.encode(&mut out);
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are cut, altered, or of a newer layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        let mut reader = Reader(bytes);
        match reader.number()? {
            VERSION => {}
            newer if newer > VERSION => return Err(LedgerError::Newer(newer)),
            _ => return Err(LedgerError::Damaged),
        }
        let generation = reader.number()?;
        let (since, asked) = (Timestamp::from_micros(reader.signed()?), reader.text()?);
        let next_segment = reader.number()?;
        let kept_from = if reader.number()? == 0 { None } else { Some(journal::hour(&mut reader)?) };
        let mut released = Vec::new();
        for _ in 0..reader.number()? {
            released.push(reader.number()?);
        }
        let (mut sums, mut hour) = (BTreeMap::new(), Hour(0));
        for _ in 0..reader.number()? {
            hour = hour.plus(journal::hour(&mut reader)?.0);
            sums.insert(hour, Sum { count: reader.number()?, xor: *reader.array()? });
        }
        let mut recent = Vec::new();
        for _ in 0..reader.number()? {
            recent.push(books::identity(reader.array()?));
        }
        let (old_sums, identities) = (Journal::decode(&mut reader)?, Journal::decode(&mut reader)?);
        reader.end()?;
        Ok(Self { generation, since, asked, sums, old_sums, recent, identities, kept_from, next_segment, released })
    }
}

fn first_kept(now: Timestamp, hours: u32) -> Hour {
    Hour::of(now).unwrap_or(Hour(0)).minus(hours)
}

#[cfg(test)]
mod tests;
