//! One walk along the cursors of a list, and where it ends.

use std::collections::{HashSet, hash_map};
use std::hash::{BuildHasher, BuildHasherDefault};
use std::time::Duration;

use s1_forwarder_record::Timestamp;

/// Number of pages in a row that show nothing more and yet name a next one, after which the list may be at its end.
const MAX_IDLE_PAGES: usize = 5;
/// Largest distance of a record behind the newest one of a poll that leaves the order beyond doubt.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Largest number of known records that a walk remembers to compare with the console's count. After more it begins
/// again.
const MANY_SHOWN: usize = 100_000;

/// One walk along the console's cursors.
#[derive(Debug)]
pub(super) struct Pager {
    pub from: Timestamp,
    pub cursor: Option<String>,
    /// Hashes of the cursors that were followed.
    followed: HashSet<u64>,
    /// Pages in a row that were empty, or had only records of the page before.
    idle_pages: usize,
    /// Keys of the records on the last page that had any.
    page_keys: Vec<u64>,
    /// Whether the last of the idle pages had records.
    repeats: bool,
    /// Keys of the records shown while none is new, filtered ones included: pages may come twice under different
    /// cursors.
    pub shown: HashSet<u64>,
    found_new: bool,
}

/// How far the poll has read, by the times of the records.
#[derive(Debug)]
pub(super) struct Progress {
    /// Whether every page so far was in ascending order: reading a record means that all records before it were read.
    pub ordered: bool,
    pub newest: Timestamp,
    /// Time at which another walk may begin: all records before it were read in order, and are too old to arrive late.
    pub restart_from: Timestamp,
}

/// Result of following the cursor of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Page,
    Nothing,
    /// The cursor was followed before, or one page too many in a row shows nothing more.
    Unclear,
}

impl Pager {
    pub fn from(from: Timestamp) -> Self {
        Self {
            from,
            cursor: None,
            followed: HashSet::new(),
            idle_pages: 0,
            page_keys: Vec::new(),
            repeats: false,
            shown: HashSet::new(),
            found_new: false,
        }
    }

    /// Returns the number of cursors that the walk has followed.
    pub fn followed_count(&self) -> usize {
        self.followed.len()
    }

    /// Moves past a page of records with these keys.
    pub fn advance(&mut self, next_cursor: Option<&str>, keys: Vec<u64>) -> Next {
        let Some(cursor) = next_cursor else { return Next::Nothing };
        let is_idle = keys.iter().all(|key| self.page_keys.contains(key));
        self.idle_pages = if is_idle { self.idle_pages + 1 } else { 0 };
        self.repeats = is_idle && !keys.is_empty();
        if !keys.is_empty() {
            self.page_keys = keys;
        }
        if self.idle_pages < MAX_IDLE_PAGES && self.followed.insert(hash(cursor)) {
            self.cursor = Some(cursor.to_owned());
            return Next::Page;
        }
        Next::Unclear
    }

    /// Returns whether the walk ended with pages that repeat under new cursors.
    pub fn repeats(&self) -> bool {
        self.repeats && self.idle_pages >= MAX_IDLE_PAGES
    }

    /// Returns a cursor that leads back to this page, in place of a cursor that the console did not give.
    pub fn lost_cursor(&mut self) -> String {
        let cursor = self.cursor.clone().unwrap_or_default();
        self.followed.insert(hash(&cursor));
        cursor
    }

    /// Notes that the console showed the record with this key.
    pub fn record_shown(&mut self, version: u64) {
        if !self.found_new && self.shown.len() < MANY_SHOWN {
            self.shown.insert(version);
        }
    }

    /// Notes that a record was new: the console's count will not be compared.
    pub fn found_new(&mut self) {
        self.found_new = true;
        self.shown = HashSet::new();
    }

    /// Returns whether another walk may find new records, from where this walk has got to.
    pub fn may_find_more(&self) -> bool {
        self.found_new || self.shown.len() >= MANY_SHOWN
    }
}

impl Progress {
    /// Notes that a record of this time was read.
    pub fn record_read(&mut self, time: Timestamp) {
        self.ordered &= time.plus(TOLERANCE) >= self.newest;
        self.newest = self.newest.max(time);
    }

    /// Notes that a page was read in order. Records after `late_from` may still arrive late.
    pub fn page_read(&mut self, late_from: Timestamp) {
        self.restart_from = self.newest.minus(TOLERANCE).min(late_from).max(self.restart_from);
    }
}

fn hash(cursor: &str) -> u64 {
    BuildHasherDefault::<hash_map::DefaultHasher>::default().hash_one(cursor)
}
