use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};

use super::{By, Keys, Known, Mark, Pass, Position, Pull, Round, Snapshot, Stage, Track};
use crate::console::{Client, ConsoleError, Endpoint, Turn};
use crate::record::{self, Facts, Identity, Stream, Timestamp, content_hash, facts, parse_page};
use crate::telemetry::{DropReason, Meter};

/// After this many empty pages in a row that each name a next one, the list may be at its end.
const MAX_EMPTY_PAGES: usize = 5;
/// How often `data: null` is asked for again before the console's count decides whether there is nothing.
const NULL_TRIES: usize = 3;
/// How far behind the newest record of a poll another may come without the order being in doubt.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Keys that a poll keeps of its own reading before it forgets those that it should not meet again.
const MANY_KEYS: usize = 100_000;
/// In place of the record's id, in the event that says that a snapshot is complete.
const MARKER_ID: &str = "snapshot";
/// A body of a count.
const COUNT_BYTES: usize = 64 * 1024;

/// One poll of one pass: everything in [bound, S] that the position has not seen, page by page.
///
/// Its own copy of the position remembers what this poll has handed out; the lane's checkpoint follows the sink.
#[derive(Debug)]
pub struct Poll {
    client: Arc<Client>,
    meter: Meter,
    pull: Arc<Pull>,
    endpoint: Endpoint,
    passes: Vec<Pass>,
    round: Round,
    position: Position,
    /// The version of each record that was handed out, where the last one taken is remembered: batches may be settled in
    /// any order, so a poll hands out one version of a record.
    handed_out: HashMap<u64, u64>,
    /// Identities that are accounted for, of a version or of an id.
    left_out: Option<Arc<HashSet<Identity>>>,
    walk: Walk,
    /// Every page so far was in ascending order, so that what was read says up to where everything was read.
    ordered: bool,
    newest: Timestamp,
    /// Where another walk may begin: everything before it was read, in order, and is not too young to come late.
    reached: Timestamp,
    null_answers: usize,
}

/// One walk along the console's cursors. A refused or repeated cursor ends it, and the next begins where this one got to.
#[derive(Debug)]
struct Walk {
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
    /// No page of the console's: its one record says that this snapshot is complete.
    pub marker: Option<Snapshot>,
    /// Whether the order can be relied on: only then does reading a record mean that all before it were read.
    pub ordered: bool,
    /// The poll.
    pub round: Round,
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
    /// A poll of the stream's `pass`-th pass that starts at `start` by the console's clock and continues `position`. None
    /// when there is nothing to do: a snapshot of this time is complete.
    pub fn new(
        client: Arc<Client>,
        meter: Meter,
        pull: Arc<Pull>,
        mut position: Position,
        pass: usize,
        start: Timestamp,
    ) -> Option<Self> {
        let passes = pull.passes();
        position.align(&passes);
        let snapshot = match passes.get(pass)? {
            pass_settings if pass_settings.snapshot => {
                Some(position.next_snapshot(pass, start, pass_settings.every)?)
            }
            _ => None,
        };
        let round = Round { pass, start, snapshot };
        position.enter(round);
        let from = position.track(pass)?.bound().whole_second();
        Some(Self {
            endpoint: Endpoint::of(pull.stream),
            newest: from,
            reached: from,
            client,
            meter,
            pull,
            passes,
            round,
            position,
            handed_out: HashMap::new(),
            left_out: None,
            walk: Walk::from(from),
            ordered: true,
            null_answers: 0,
        })
    }

    /// Records with these identities, of this version or (with an empty version) of any, are accounted for.
    pub fn leave_out(&mut self, accounted: Arc<HashSet<Identity>>) {
        self.left_out = Some(accounted);
    }

    /// What this poll is.
    pub fn round(&self) -> Round {
        self.round
    }

    fn pass(&self) -> &Pass {
        // `new` has looked.
        &self.passes[self.round.pass]
    }

    /// One request for the next page of at most `limit` records, its answer at most `max_bytes` long.
    ///
    /// # Errors
    /// See [`ConsoleError`]. Nothing was taken then, and the same call may be made again.
    pub async fn next(&mut self, turn: Turn, limit: usize, max_bytes: usize) -> Result<Page, ConsoleError> {
        if let Some(snapshot) = self.marking() {
            return Ok(self.marker(snapshot));
        }
        if self.walk.in_doubt {
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
        self.walk.found_new |= !records.is_empty();
        if self.ordered {
            let settled = self.round.start.minus(self.pass().reach);
            self.reached = self.newest.minus(TOLERANCE).min(settled).max(self.reached);
            if self.position.key_count() > MANY_KEYS {
                // A walk that goes back in its list is told by these keys; but a long history must not fill the memory.
                self.position.advance(&self.passes, self.round, self.newest);
            }
        }
        let last = self.follow(page.next_cursor.as_deref(), shown);
        let (round, ordered, marker) = (self.round, self.ordered, None);
        Ok(Page { records, dropped, marker, ordered, round, shown, last, body: body.clone() })
    }

    /// The snapshot of which nothing is left to do but to say that it is complete.
    fn marking(&self) -> Option<Snapshot> {
        let snapshot = self.position.track(self.round.pass)?.snapshot()?;
        (snapshot.stage == Stage::Marking).then_some(snapshot)
    }

    /// The page of the event that says that a snapshot is complete.
    fn marker(&self, snapshot: Snapshot) -> Page {
        self.meter.lane.pulled.fetch_add(1, Ordering::Relaxed);
        let (id, version) = (MARKER_ID.to_compact_string(), snapshot.time.seconds().to_string());
        let identity = Identity::of(self.client.host(), self.pull.stream, &id, &version);
        let time = snapshot.time;
        let mark = Mark { id: identity.key(), version: identity.key(), content: None, time, created: None };
        let record = Record { range: 0..0, id, identity, time: Some(time), order: None, mark };
        let (records, dropped, round) = (vec![record], Vec::new(), self.round);
        Page {
            body: Bytes::new(),
            records,
            dropped,
            marker: Some(snapshot),
            ordered: false,
            round,
            shown: 1,
            last: true,
        }
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

    /// Whether this walk has come to the end of the list, which the console did not say clearly: its own count decides.
    async fn count(&mut self, turn: Turn) -> Result<Page, ConsoleError> {
        let body = self.request(turn, vec![("countOnly", "true")], COUNT_BYTES).await?;
        let page = self.read(&body)?;
        let shown = self.walk.shown.len() as u64;
        let is_end = match page.total_items {
            Some(count) => count <= shown,
            // A console that cannot count, and says once more that there is nothing.
            None => page.null_data && shown == 0,
        };
        if is_end {
            let (records, dropped, ordered, round) = (Vec::new(), Vec::new(), self.ordered, self.round);
            return Ok(Page {
                records,
                dropped,
                marker: None,
                ordered,
                round,
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
            ("sortBy", self.pass().sort_by),
            ("sortOrder", "asc"),
            ("skipCount", "true"),
        ];
        if let Some(cursor) = &self.walk.cursor {
            query.push(("cursor", cursor));
        }
        self.request(turn, query, max_bytes).await
    }

    /// The poll's window and filters, and `query` before them.
    async fn request(&self, turn: Turn, mut query: Vec<(&str, &str)>, max_bytes: usize) -> Result<Bytes, ConsoleError> {
        let filter = self.pass().time_filter;
        let (from_name, to_name) = (format!("{filter}__gte"), format!("{filter}__lte"));
        let (from, to) = (self.walk.from.to_string(), self.round.start.to_string());
        let filters = self.pull.filters(&self.pull.types);
        query.extend([(from_name.as_str(), from.as_str()), (to_name.as_str(), to.as_str())]);
        query.extend(filters.iter().map(|(name, value)| (*name, value.as_str())));
        self.client.list(turn, self.endpoint.path, &query, max_bytes, Some(&self.meter)).await
    }

    /// Takes what the position has not seen.
    fn take(&mut self, body: &Bytes, shown: &[&[u8]]) -> (Vec<Record>, Vec<Dropped>) {
        let begin = body.as_ptr() as usize;
        let (mut records, mut dropped) = (Vec::with_capacity(shown.len()), Vec::new());
        let mut drops = [0; DropReason::ALL.len()];
        let (by, complete) = (self.pass().by, self.position.track(self.round.pass).and_then(Track::complete));
        for bytes in shown {
            let mut facts = facts(self.pull.stream, bytes);
            let order = match by {
                By::Order => facts.time,
                By::Creation => facts.created,
            };
            if let Some(time) = order {
                // The console compares, and may sort, at about 10 ms.
                self.ordered &= time.plus(TOLERANCE) >= self.newest;
                self.newest = self.newest.max(time);
            }
            if let Some(snapshot) = self.round.snapshot {
                facts.version = snapshot.seconds().to_string().into();
            }
            let identity = facts.identity(self.client.host(), bytes);
            let mut mark = self.mark(&facts, identity);
            if self.walk.shown.len() < MANY_KEYS {
                self.walk.shown.insert(mark.version);
            }
            let judged = match self.is_left_out(&facts, identity, bytes) {
                true => Err(DropReason::Duplicate),
                false => self.judge(&mut mark, bytes, order),
            };
            let known = match judged {
                Ok(known) => known,
                Err(reason) => {
                    drops[reason as usize] += 1;
                    continue;
                }
            };
            self.position.take(&self.passes, self.round, &mark);
            let id = facts.record_id(bytes).to_compact_string();
            // Remembered as the others are, so that it is accounted for once.
            if facts.activity_type.is_some_and(|kind| self.pull.exclude_types.binary_search(&kind).is_ok()) {
                drops[DropReason::Filtered as usize] += 1;
                dropped.push(Dropped { id, identity, mark });
                continue;
            }
            // Where passes look for changes, a record that comes again is not late.
            let is_late = |time| self.round.pass == 0 && known == Known::New && complete.is_some_and(|end| time <= end);
            if let Some(time) = order.filter(|time| is_late(*time)) {
                self.meter.arrived_late(self.round.start.since(time));
            }
            let offset = bytes.as_ptr() as usize - begin;
            let range = offset..offset + bytes.len();
            records.push(Record { range, id, identity, time: facts.time, order, mark });
        }
        self.meter.lane.pulled.fetch_add(shown.len() as u64, Ordering::Relaxed);
        DropReason::ALL.into_iter().zip(drops).for_each(|(reason, count)| self.meter.lane.drop_events(reason, count));
        (records, dropped)
    }

    /// What was known of a record that is to be taken, or why it is not.
    fn judge(&mut self, mark: &mut Mark, bytes: &[u8], order: Option<Timestamp>) -> Result<Known, DropReason> {
        if self.pull.window.is_some_and(|window| !window.holds(order)) {
            return Err(DropReason::Filtered);
        }
        let pass = &self.passes[self.round.pass];
        let known = self.position.knows(pass, self.round, mark, order.is_some());
        if known == Known::Taken {
            return Err(DropReason::Duplicate);
        }
        if self.pull.drops_unchanged() {
            mark.content = Some(content_hash(bytes, &self.pull.volatile));
        }
        if pass.keys == Keys::Latest || mark.content.is_some() {
            match self.handed_out.get(&mark.id) {
                Some(version) if *version == mark.version => return Err(DropReason::Duplicate),
                // Its turn comes with the next poll.
                Some(_) => return Err(DropReason::GivenBack),
                None if self.position.has_content(mark) => return Err(DropReason::Unchanged),
                None => self.handed_out.insert(mark.id, mark.version),
            };
        }
        Ok(known)
    }

    /// What the position would remember of a record. Without a time of its own it is kept as long as can be.
    fn mark(&self, facts: &Facts<'_>, identity: Identity) -> Mark {
        let id = facts.id.parse().unwrap_or_else(|_| self.named(&facts.id, identity).key());
        let version = if self.pull.stream == Stream::Activities { id } else { identity.key() };
        let start = self.round.start;
        Mark { id, version, content: None, time: facts.time.unwrap_or(start), created: facts.created }
    }

    fn is_left_out(&self, facts: &Facts<'_>, identity: Identity, record: &[u8]) -> bool {
        let Some(accounted) = &self.left_out else { return false };
        let any_version = || Identity::of(self.client.host(), self.pull.stream, &facts.record_id(record), "");
        accounted.contains(&identity) || accounted.contains(&any_version())
    }

    /// A record whose id is no number, whatever its version.
    fn named(&self, id: &str, identity: Identity) -> Identity {
        if id.is_empty() { identity } else { Identity::of(self.client.host(), self.pull.stream, id, "") }
    }

    /// Moves to the next page; true when there is none.
    fn follow(&mut self, next_cursor: Option<&str>, shown: usize) -> bool {
        let Some(cursor) = next_cursor else { return true };
        self.walk.empty_pages = if shown == 0 { self.walk.empty_pages + 1 } else { 0 };
        if self.walk.empty_pages < MAX_EMPTY_PAGES && self.walk.seen.insert(hash(cursor)) {
            self.walk.cursor = Some(cursor.to_owned());
        } else {
            // The cursor came before (B3), or leads nowhere.
            self.doubt();
        }
        false
    }

    /// This may be the end, or not. If this walk found anything there may be more behind, and another from where it got to
    /// shows that. After one that found nothing the console is asked how many records there are.
    fn doubt(&mut self) {
        if self.walk.found_new || self.walk.shown.len() >= MANY_KEYS {
            self.restart();
        } else {
            self.walk.in_doubt = true;
        }
    }

    /// Begins another walk: where the order can be relied on, from what was read so far.
    fn restart(&mut self) {
        let from = self.walk.from.max(self.reached.whole_second());
        self.walk = Walk::from(from);
        self.newest = from;
    }
}

impl Walk {
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
