use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};

use super::chain::{After, Chain, PAUSE};
use super::recall::Recall;
use super::step::Skip;
use super::{By, Keys, Known, Mark, Pass, Position, Pull, Round, Snapshot, Stage, Track};
use crate::console::{Client, ConsoleError, Endpoint, Turn};
use crate::record::{Facts, Identity, Scope, Stream, Timestamp, content_hash, facts};
use crate::telemetry::{DropReason, Meter};

/// After this many empty pages in a row that each name a next one, the list may be at its end.
const MAX_EMPTY_PAGES: usize = 5;
/// How often `data: null` is asked for again before the console's count decides whether there is nothing.
const NULL_TRIES: usize = 3;
/// How far behind the newest record of a poll another may come without the order being in doubt.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Known records that are counted before a walk without a clear end is begun anew instead.
const MANY_SHOWN: usize = 100_000;
/// A poll's start is believed to be so far behind the time of what it shows at most.
const MOST_BEHIND: Duration = Duration::from_secs(24 * 3600);
/// In place of the record's id, in the event that says that a snapshot is complete.
const MARKER_ID: &str = "snapshot";

/// One poll of one pass: everything in [bound, S] that the position has not seen, page by page.
///
/// Its own copy of the position remembers what this poll has handed out; the lane's checkpoint follows the sink.
#[derive(Debug)]
pub struct Poll {
    pub(super) client: Arc<Client>,
    pub(super) meter: Meter,
    pub(super) pull: Arc<Pull>,
    pub(super) endpoint: Endpoint,
    pub(super) passes: Vec<Pass>,
    pub(super) round: Round,
    pub(super) position: Position,
    /// The version of each record that was handed out, where the last one taken is remembered: batches may be settled in
    /// any order, so a poll hands out one version of a record.
    pub(super) handed_out: HashMap<u64, u64>,
    /// Identities that are accounted for, of a version or of an id.
    pub(super) left_out: Option<Arc<HashSet<Identity>>>,
    pub(super) walk: Walk,
    /// The lists of a window of findings, one after the other.
    pub(super) chain: Option<Chain>,
    /// Every page so far was in ascending order, so that what was read says up to where everything was read.
    pub(super) ordered: bool,
    pub(super) newest: Timestamp,
    /// Where another walk may begin: everything before it was read, in order, and is not too young to come late.
    pub(super) reached: Timestamp,
    pub(super) null_answers: usize,
    pub(super) partial_answers: usize,
    pub(super) recall: Recall,
}

/// One walk along the console's cursors. A refused or repeated cursor ends it, and the next begins where this one got to.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) from: Timestamp,
    pub(super) cursor: Option<String>,
    /// Hashes of the cursors followed.
    pub(super) seen: HashSet<u64>,
    pub(super) empty_pages: usize,
    /// Keys of the records shown while none is new, filtered ones included: pages may come twice under different cursors.
    pub(super) shown: HashSet<u64>,
    pub(super) found_new: bool,
    /// Set while it goes without cursors, to get past a record that is too large.
    pub(super) skip: Option<Skip>,
    /// Whether this was the end is to be found out.
    pub(super) in_doubt: bool,
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
    /// There is but the beginning of one record, which was too large to be pulled.
    pub cut: bool,
    /// Whether the order can be relied on: only then does reading a record mean that all before it were read.
    pub ordered: bool,
    /// The poll.
    pub round: Round,
    /// Whose the records are, where they do not tell themselves.
    pub scope: Option<Arc<Scope>>,
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
    /// What was fetched beside it, as a JSON object.
    pub enrichment: Option<Bytes>,
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
        // One that goes on is read up to its time at least, whatever clock tells the time now.
        let start = snapshot.map_or(start, |time| time.max(start));
        let chain = match (&passes.get(pass)?.chain, &pull.findings) {
            (Some(scope), Some(findings)) => {
                let sweep = position.is_sweep_due(pass, start, findings.resync);
                Some((Chain::new(findings.clone(), scope.clone(), sweep), sweep))
            }
            // A closed window that is pulled once: all its lists are one, and nothing is remembered of it.
            (None, Some(findings)) => Some((Chain::detected(findings.clone()), true)),
            _ => None,
        };
        let sweep = chain.as_ref().is_some_and(|(_, sweep)| *sweep);
        let round = Round { pass, start, snapshot, sweep };
        position.enter(round);
        let from = position.track(pass)?.bound().whole_second();
        Some(Self {
            endpoint: Endpoint::of(pull.stream),
            newest: from,
            reached: from,
            client,
            meter,
            passes,
            round,
            position,
            handed_out: HashMap::new(),
            left_out: None,
            walk: Walk::from(from),
            chain: chain.map(|(chain, _)| chain),
            // Findings are listed by their ids, which say nothing of their times.
            ordered: pull.stream != Stream::Vulnerabilities,
            null_answers: 0,
            partial_answers: 0,
            recall: Recall::starting_at(from),
            pull,
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

    /// Keys that are remembered: what grows with the records that are read.
    pub fn key_count(&self) -> usize {
        self.position.key_count()
    }

    /// How long to wait before the next page.
    pub fn pause(&self) -> Duration {
        let is_within = self.walk.cursor.is_some() || self.walk.skip.is_some();
        if self.chain.is_some() && is_within { PAUSE } else { Duration::ZERO }
    }

    pub(super) fn pass(&self) -> &Pass {
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
            Err(error) if self.chain.is_some() => return self.refused_list(error).await,
            answer => answer?,
        };
        let page = self.read(&body)?;
        if page.null_data {
            return self.null_answer();
        }
        self.null_answers = 0;
        let shown = page.records.len();
        let passed = self.has_passed(shown, page.next_cursor.is_none()).await?;
        let (records, dropped) = self.take(&body, &page.records);
        if !records.is_empty() {
            // Where there is news, nobody counts.
            (self.walk.found_new, self.walk.shown) = (true, HashSet::new());
        }
        if self.ordered {
            let settled = self.round.start.minus(self.pass().reach);
            self.reached = self.newest.minus(TOLERANCE).min(settled).max(self.reached);
            if let Some(before) = self.recall.page(shown, self.newest) {
                self.position.advance(&self.passes, self.round, before);
            }
        }
        let next_cursor = page.next_cursor.map(Cow::into_owned);
        let scope = self.chain.as_ref().and_then(|chain| chain.scope().cloned());
        let last = passed && self.follow(next_cursor.as_deref(), shown) && !self.next_list();
        Ok(Page { records, dropped, scope, shown, ..self.empty_page(body.clone(), last) })
    }

    /// The snapshot of which nothing is left to do but to say that it is complete.
    fn marking(&self) -> Option<Snapshot> {
        let snapshot = self.position.track(self.round.pass)?.snapshot()?;
        (snapshot.stage == Stage::Marking).then_some(snapshot)
    }

    /// The page of the event that says that a snapshot is complete; empty when that was delivered before a kill.
    fn marker(&self, snapshot: Snapshot) -> Page {
        self.meter.lane.pulled.fetch_add(1, Ordering::Relaxed);
        let (id, version) = (MARKER_ID.to_compact_string(), snapshot.time.seconds().to_string());
        let identity = Identity::of(self.client.host(), self.pull.stream, &id, &version);
        let time = snapshot.time;
        let (key, start) = (identity.key(), self.round.start);
        let mark = Mark { id: key, version: key, content: None, time: start, created: None };
        let mut records =
            vec![Record { range: 0..0, id, identity, time: Some(time), order: None, mark, enrichment: None }];
        if self.position.knows(self.pass(), self.round, &mark, false) == Known::Taken {
            self.meter.lane.drop_events(DropReason::Duplicate, 1);
            records.clear();
        }
        Page { records, marker: Some(snapshot), ordered: false, shown: 1, ..self.empty_page(Bytes::new(), true) }
    }

    /// Goes on to the next list of a window of findings; false when there is none.
    fn next_list(&mut self) -> bool {
        let Some(chain) = &mut self.chain else { return false };
        let more = chain.advance();
        if more {
            self.restart();
        }
        more
    }

    /// What a refused list of findings means.
    async fn refused_list(&mut self, error: ConsoleError) -> Result<Page, ConsoleError> {
        let news = self.position.track(self.round.pass).is_none_or(|track| track.complete().is_none());
        let Some(chain) = &mut self.chain else { return Err(error) };
        let after = chain.refused(&self.client, error, news).await?;
        self.restart();
        Ok(self.empty_page(Bytes::new(), after == After::End))
    }

    pub(super) fn empty_page(&self, body: Bytes, last: bool) -> Page {
        let (records, dropped, ordered, round) = (Vec::new(), Vec::new(), self.ordered, self.round);
        Page { body, records, dropped, marker: None, cut: false, ordered, round, scope: None, shown: 0, last }
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
        let body = self.ask_count(turn).await?;
        let page = self.read(&body)?;
        let shown = self.walk.shown.len() as u64;
        let is_end = match page.total_items {
            Some(count) => count <= shown,
            // A console that cannot count, and says once more that there is nothing. A list of unified alerts that is empty
            // is not null: that is an answer that went wrong.
            None => page.null_data && shown == 0 && self.pull.stream != Stream::UnifiedAlerts,
        };
        if is_end {
            let last = !self.next_list();
            return Ok(self.empty_page(body.clone(), last));
        }
        let Some(count) = page.total_items else {
            return Err(ConsoleError::transient("the console showed no clear end, and its count cannot be read"));
        };
        self.restart();
        Err(ConsoleError::transient(format!("the console counts {count} records, but showed only {shown}")))
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
                // A finding has none.
                _ if self.chain.is_some() => None,
                By::Order => facts.time,
                By::Creation => facts.created,
            };
            if let Some(time) = order {
                // The console compares, and may sort, at about 10 ms.
                self.ordered &= time.plus(TOLERANCE) >= self.newest;
                self.newest = self.newest.max(time);
            }
            if let Some(snapshot) = self.round.snapshot.or(self.pull.named_by) {
                facts.version = snapshot.seconds().to_string().into();
            }
            let identity = facts.identity(self.client.host(), bytes);
            let mut mark = self.mark(&facts, identity);
            if !self.walk.found_new && self.walk.shown.len() < MANY_SHOWN {
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
            records.push(Record { range, id, identity, time: facts.time, order, mark, enrichment: None });
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
        if pass.keys == Keys::Latest || mark.content.is_some() || self.chain.is_some() {
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
    pub(super) fn mark(&self, facts: &Facts<'_>, identity: Identity) -> Mark {
        let id = facts.id.parse().unwrap_or_else(|_| self.named(&facts.id, identity).key());
        let version = if self.pull.stream == Stream::Activities { id } else { identity.key() };
        let start = self.round.start;
        if self.chain.is_some() {
            // The list may show a change that came after the start, and the next window but one will ask for it again: it is
            // remembered at the later of two clocks, of which one may be behind, and not for ever, as one may be years ahead.
            let ours = self.client.clock().now();
            let now = self.client.time().map_or(ours, |theirs| theirs.max(ours));
            let time = now.min(start.plus(MOST_BEHIND)).max(start);
            return Mark { id, version, content: None, time, created: facts.created };
        }
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
    pub(super) fn follow(&mut self, next_cursor: Option<&str>, shown: usize) -> bool {
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
        if self.walk.found_new || self.walk.shown.len() >= MANY_SHOWN {
            self.restart();
        } else {
            self.walk.in_doubt = true;
        }
    }

    /// Begins another walk: where the order can be relied on, from what was read so far.
    pub(super) fn restart(&mut self) {
        let from = self.walk.from.max(self.reached.whole_second());
        self.walk = Walk::from(from);
        self.newest = from;
    }
}

impl Walk {
    pub(super) fn from(from: Timestamp) -> Self {
        let (cursor, seen, shown) = (None, HashSet::new(), HashSet::new());
        Self { from, cursor, seen, empty_pages: 0, shown, found_new: false, skip: None, in_doubt: false }
    }
}

pub(super) fn hash(cursor: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    cursor.hash(&mut hasher);
    hasher.finish()
}
