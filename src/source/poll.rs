use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};

use super::window::comma_list;
use super::{Position, Pull};
use crate::console::{Client, ConsoleError, Endpoint, Turn};
use crate::record::{self, Identity, Stream, Timestamp, facts, parse_page};
use crate::telemetry::{DropReason, Meter};

/// After this many empty pages in a row that each name a next one, the list may be at its end.
const MAX_EMPTY_PAGES: usize = 5;
/// How often `data: null` is asked for again before the console's count decides whether there is nothing.
const NULL_TRIES: usize = 3;
/// How far behind the newest record of a poll another may come without the order being in doubt.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Keys that a poll keeps of its own reading before it forgets those that it should not meet again.
const MANY_KEYS: usize = 100_000;
/// A body of a count.
const COUNT_BYTES: usize = 64 * 1024;

/// One poll: everything in [bound, S] that the position has not seen, page by page.
///
/// Its own copy of the position remembers what this poll has handed out; the lane's checkpoint follows the sink.
#[derive(Debug)]
pub struct Poll {
    client: Arc<Client>,
    meter: Meter,
    pull: Arc<Pull>,
    endpoint: Endpoint,
    position: Position,
    start: Timestamp,
    pass: Pass,
    /// Every page so far was in ascending order, so that what was read says up to where everything was read.
    ordered: bool,
    newest: Timestamp,
    /// Where another pass may begin: everything before it was read, in order, and is not too young to come late.
    reached: Timestamp,
    null_answers: usize,
}

/// One walk along the console's cursors. A refused or repeated cursor ends it, and the next begins where this one got to.
#[derive(Debug)]
struct Pass {
    from: Timestamp,
    cursor: Option<String>,
    /// Hashes of the cursors followed.
    seen: HashSet<u64>,
    empty_pages: usize,
    /// Keys of the records shown, known and filtered ones included: pages may come twice under different cursors.
    shown: HashSet<u64>,
    found_new: bool,
    /// Whether this was the end is to be found out.
    in_doubt: bool,
}

/// The new records of one answer.
#[derive(Debug)]
pub struct Page {
    /// The answer; records are slices of it.
    pub body: Bytes,
    /// In the console's order.
    pub records: Vec<Record>,
    /// New ones that the settings leave out: to be accounted for, and not to be delivered.
    pub dropped: Vec<Dropped>,
    /// Whether the order can be relied on: only then does reading a record mean that all before it were read.
    pub ordered: bool,
    /// Start of the poll by the console's clock.
    pub start: Timestamp,
    /// Number of records in the answer, those dropped included.
    pub shown: usize,
    /// The poll reached its end with this answer.
    pub last: bool,
}

/// One record, with what a lane must know of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Place in [`Page::body`].
    pub range: Range<usize>,
    /// The console's id, or the content's where there is none.
    pub id: CompactString,
    /// See [`Identity`].
    pub identity: Identity,
    /// The record's own time, where it has one.
    pub time: Option<Timestamp>,
    /// Its time in the order of the poll.
    pub order: Option<Timestamp>,
    /// What the position and the ledger remember of it.
    pub mark: Mark,
}

/// What a position and a ledger remember of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where the position keeps it: its time in the order of the poll, or the start of the poll.
    pub place: Timestamp,
    /// What the position remembers.
    pub key: u64,
    /// When the source made the record.
    pub created: Option<Timestamp>,
}

/// A record that is not delivered and yet accounted for.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// As [`Record::id`].
    pub id: CompactString,
    /// See [`Identity`].
    pub identity: Identity,
    /// What the position and the ledger remember of it.
    pub mark: Mark,
}

impl Poll {
    /// A poll that starts at `start` by the console's clock and continues `position`.
    pub fn new(client: Arc<Client>, meter: Meter, pull: Arc<Pull>, position: Position, start: Timestamp) -> Self {
        let from = position.bound().whole_second();
        Self {
            endpoint: pull.endpoint(),
            newest: from,
            reached: from,
            client,
            meter,
            pull,
            position,
            start,
            pass: Pass::from(from),
            ordered: true,
            null_answers: 0,
        }
    }

    /// One request for the next page of at most `limit` records, its answer at most `max_bytes` long.
    ///
    /// # Errors
    /// See [`ConsoleError`]. Nothing was taken then, and the same call may be made again.
    pub async fn next(&mut self, turn: Turn, limit: usize, max_bytes: usize) -> Result<Page, ConsoleError> {
        if self.pass.in_doubt {
            return self.count(turn).await;
        }
        let body = match self.ask(turn, limit, max_bytes).await {
            Err(ConsoleError::BadCursor(reason)) => {
                self.restart();
                return Err(ConsoleError::BadCursor(reason));
            }
            answer => answer?,
        };
        let page = self.read(&body)?;
        if page.null_data {
            return self.null_answer();
        }
        self.null_answers = 0;
        let shown = page.records.len();
        let (records, dropped) = self.take(&body, &page.records);
        self.pass.found_new |= !records.is_empty();
        if self.ordered {
            self.reached = self.newest.minus(TOLERANCE).min(self.start.minus(self.pull.overlap)).max(self.reached);
            if self.position.key_count() > MANY_KEYS {
                // A pass that goes back in its list is told by these keys; but a long history must not fill the memory.
                self.position.advance(self.newest, self.start, self.pull.overlap);
            }
        }
        let last = self.follow(page.next_cursor.as_deref(), shown);
        Ok(Page { records, dropped, ordered: self.ordered, start: self.start, shown, last, body: body.clone() })
    }

    /// A page without errors in it.
    fn read<'a>(&self, body: &'a [u8]) -> Result<record::Page<'a>, ConsoleError> {
        let page = parse_page(body).map_err(|error| ConsoleError::transient(error.to_string()))?;
        let Some(error) = page.errors.first() else { return Ok(page) };
        let error = self.client.scrubbed(&error.to_string());
        Err(ConsoleError::transient(format!("the console answered 200 with an error: {error}")))
    }

    /// `data: null` may mean that there is nothing, or that something is wrong.
    fn null_answer(&mut self) -> Result<Page, ConsoleError> {
        self.null_answers += 1;
        if self.null_answers > NULL_TRIES {
            self.null_answers = 0;
            self.doubt();
        }
        Err(ConsoleError::transient("the console answered 200 with `data: null`"))
    }

    /// Whether this pass has come to the end of the list, which the console did not say clearly: its own count decides.
    async fn count(&mut self, turn: Turn) -> Result<Page, ConsoleError> {
        let body = self.request(turn, vec![("countOnly", "true")], COUNT_BYTES).await?;
        let page = self.read(&body)?;
        let shown = self.pass.shown.len() as u64;
        let is_end = match page.total_items {
            Some(count) => count <= shown,
            // A console that cannot count, and says once more that there is nothing.
            None => page.null_data && shown == 0,
        };
        if is_end {
            let (records, dropped, start) = (Vec::new(), Vec::new(), self.start);
            return Ok(Page {
                records,
                dropped,
                ordered: self.ordered,
                start,
                shown: 0,
                last: true,
                body: body.clone(),
            });
        }
        let Some(count) = page.total_items else {
            return Err(ConsoleError::transient("the console showed no clear end, and its count cannot be read"));
        };
        self.restart();
        Err(ConsoleError::transient(format!("the console counts {count} records, but showed only {shown}")))
    }

    async fn ask(&self, turn: Turn, limit: usize, max_bytes: usize) -> Result<Bytes, ConsoleError> {
        let limit = limit.clamp(1, self.endpoint.max_limit).to_string();
        let mut query = vec![
            ("limit", limit.as_str()),
            ("sortBy", self.endpoint.sort_by),
            ("sortOrder", "asc"),
            ("skipCount", "true"),
        ];
        if let Some(cursor) = &self.pass.cursor {
            query.push(("cursor", cursor));
        }
        self.request(turn, query, max_bytes).await
    }

    /// The poll's window and filters, and `query` before them.
    async fn request(&self, turn: Turn, mut query: Vec<(&str, &str)>, max_bytes: usize) -> Result<Bytes, ConsoleError> {
        let (from_name, to_name) =
            (format!("{}__gte", self.endpoint.time_filter), format!("{}__lte", self.endpoint.time_filter));
        let (from, to) = (self.pass.from.to_string(), self.start.to_string());
        let types = comma_list(&self.pull.types);
        query.extend([(from_name.as_str(), from.as_str()), (to_name.as_str(), to.as_str())]);
        self.pull.narrow(&types, &mut query);
        self.client.list(turn, self.endpoint.path, &query, max_bytes, Some(&self.meter)).await
    }

    /// Takes what the position has not seen.
    fn take(&mut self, body: &Bytes, shown: &[&[u8]]) -> (Vec<Record>, Vec<Dropped>) {
        let begin = body.as_ptr() as usize;
        let (mut records, mut dropped) = (Vec::with_capacity(shown.len()), Vec::new());
        let (mut duplicates, mut filtered) = (0, 0);
        for bytes in shown {
            let facts = facts(self.pull.stream, bytes);
            let order = self.pull.order(&facts);
            if let Some(time) = order {
                // The console compares, and may sort, at about 10 ms.
                self.ordered &= time.plus(TOLERANCE) >= self.newest;
                self.newest = self.newest.max(time);
            }
            let identity = facts.identity(self.client.host(), bytes);
            let key = match self.pull.stream {
                Stream::Activities => facts.id.parse().unwrap_or_else(|_| identity.key()),
                _ => identity.key(),
            };
            if self.pass.shown.len() < MANY_KEYS {
                self.pass.shown.insert(key);
            }
            if self.pull.window.is_some_and(|window| !window.holds(order)) {
                filtered += 1;
                continue;
            }
            // Without a time of its own a record is kept as long as can be, and looked for everywhere.
            let place = order.unwrap_or(self.start);
            let known = order.is_none() && self.position.has_anywhere(key);
            if known || !self.position.take(place, key) {
                duplicates += 1;
                continue;
            }
            let (id, mark) = (facts.record_id(bytes).to_compact_string(), Mark { place, key, created: facts.created });
            // Remembered as the others are, so that it is accounted for once.
            if facts.activity_type.is_some_and(|kind| self.pull.exclude_types.binary_search(&kind).is_ok()) {
                filtered += 1;
                dropped.push(Dropped { id, identity, mark });
                continue;
            }
            if order.is_some_and(|time| self.position.complete().is_some_and(|complete| time <= complete)) {
                self.meter.arrived_late(self.start.since(place));
            }
            let offset = bytes.as_ptr() as usize - begin;
            let range = offset..offset + bytes.len();
            records.push(Record { range, id, identity, time: facts.time, order, mark });
        }
        self.meter.lane.pulled.fetch_add(shown.len() as u64, Ordering::Relaxed);
        self.meter.lane.drop_events(DropReason::Duplicate, duplicates);
        self.meter.lane.drop_events(DropReason::Filtered, filtered);
        (records, dropped)
    }

    /// Moves to the next page; true when there is none.
    fn follow(&mut self, next_cursor: Option<&str>, shown: usize) -> bool {
        let Some(cursor) = next_cursor else { return true };
        self.pass.empty_pages = if shown == 0 { self.pass.empty_pages + 1 } else { 0 };
        if self.pass.empty_pages < MAX_EMPTY_PAGES && self.pass.seen.insert(hash(cursor)) {
            self.pass.cursor = Some(cursor.to_owned());
        } else {
            // The cursor came before (B3), or leads nowhere.
            self.doubt();
        }
        false
    }

    /// This may be the end, or not. If this pass found anything there may be more behind, and another pass from where it got
    /// to shows that. After one that found nothing the console is asked how many records there are.
    fn doubt(&mut self) {
        if self.pass.found_new || self.pass.shown.len() >= MANY_KEYS {
            self.restart();
        } else {
            self.pass.in_doubt = true;
        }
    }

    /// Begins another pass: where the order can be relied on, from what was read so far.
    fn restart(&mut self) {
        let from = self.pass.from.max(self.reached.whole_second());
        self.pass = Pass::from(from);
        self.newest = from;
    }
}

impl Pass {
    fn from(from: Timestamp) -> Self {
        let (cursor, seen, shown) = (None, HashSet::new(), HashSet::new());
        Self { from, cursor, seen, empty_pages: 0, shown, found_new: false, in_doubt: false }
    }
}

fn hash(cursor: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    cursor.hash(&mut hasher);
    hasher.finish()
}
