//! Stepping over a record that alone is larger than may be held.
//!
//! The cursor comes after the record, so there is no way past it with cursors. A walk of its own begins at the time that was
//! read last (findings, which have none: at the beginning of their list) and goes record by record with `skip` until it meets
//! the record; the page behind it has a cursor again. The list may move meanwhile, so the record must still be in its place
//! when that page has come: else all begins anew, and what came before is told by its keys.
//!
//! Unified alerts cannot be skipped, but asked for in part: the same page with nothing but id and times has the cursor.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use compact_str::ToCompactString;
use tracing::warn;

use super::poll::{Page, Poll, Record, Walk};
use super::{By, Known};
use crate::console::{ConsoleError, Cut};
use crate::record::{Stream, facts};
use crate::telemetry::DropReason;

/// The console takes no larger `skip`.
const MOST: usize = 1000;
/// The console compares times at about 10 ms.
const PRECISION: Duration = Duration::from_millis(20);

/// Where a walk without cursors is.
#[derive(Debug)]
pub(super) struct Skip {
    /// Place in the list.
    at: usize,
    /// Beginning of the record there, once it was found to be too large.
    over: Option<Bytes>,
    /// Beginning of the record that it is to get past.
    wanted: Bytes,
}

impl Skip {
    /// What to ask for: how many records to skip, and how many to show at most.
    pub fn asks(&self, limit: usize) -> (usize, usize) {
        if self.over.is_some() { (self.at + 1, limit) } else { (self.at, 1) }
    }
}

impl Poll {
    /// A single record was larger than may be held. Gives what is known of it, when this was the first time that it came in
    /// its place; else the next calls of [`Poll::next`] look for its place.
    ///
    /// # Errors
    /// See [`ConsoleError`]: the next call of [`Poll::next`] meets the record again.
    pub async fn step_over(&mut self, cut: &Cut) -> Result<Option<Page>, ConsoleError> {
        match self.pull.stream {
            Stream::UnifiedAlerts => self.step_over_alert(cut).await.map(Some),
            _ => Ok(self.step_over_listed(cut)),
        }
    }

    /// The page of this one alert again, with no more of it than tells which it is and where the next page begins.
    async fn step_over_alert(&mut self, cut: &Cut) -> Result<Page, ConsoleError> {
        let answer = self.ask_briefly().await?;
        let page = self.read(&answer)?;
        let record = first_record(&cut.beginning, b"\"node\"");
        let Some(told) = page.records.first().filter(|told| is_of(&record, &facts(self.pull.stream, told).id)) else {
            return Err(ConsoleError::transient("the console's list moved while a record was stepped over"));
        };
        let next_cursor = page.next_cursor.as_deref().map(str::to_owned);
        let mut page = self.beginning_of(record, told, cut.max_bytes);
        page.last = self.follow(next_cursor.as_deref(), 1);
        Ok(page)
    }

    fn step_over_listed(&mut self, cut: &Cut) -> Option<Page> {
        let record = first_record(&cut.beginning, b"\"data\"");
        let Some(skip) = &mut self.walk.skip else {
            self.step_from_newest(record);
            return None;
        };
        // Right behind one that is too large lies another.
        skip.at += usize::from(skip.over.is_some());
        let is_wanted = is_same(&record, &skip.wanted);
        skip.over = Some(record.clone());
        let page = self.beginning_of(record.clone(), &record, cut.max_bytes);
        // One of the same time that was stepped over before: with a cursor from here the walk would meet the wanted one, and
        // begin anew in front of this one, for ever.
        if !is_wanted
            && page.records.is_empty()
            && let Some(skip) = &mut self.walk.skip
        {
            (skip.at, skip.over) = (skip.at + 1, None);
            return None;
        }
        Some(page)
    }

    /// Begins a walk without cursors, shortly before what was read last, to find the `wanted` record.
    fn step_from_newest(&mut self, wanted: Bytes) {
        let from = if self.ordered { self.newest.minus(PRECISION).max(self.walk.from) } else { self.walk.from };
        self.walk = Walk::from(from);
        self.walk.skip = Some(Skip { at: 0, over: None, wanted });
    }

    /// A page came while there was no cursor. True when it belongs to the walk as any other: the record is behind.
    pub(super) async fn has_passed(&mut self, shown: usize, is_last: bool) -> Result<bool, ConsoleError> {
        let Some(skip) = &mut self.walk.skip else { return Ok(true) };
        let Some(over) = skip.over.clone() else {
            skip.at += shown;
            if skip.at > MOST {
                let (wanted, before) = (skip.wanted.clone(), self.walk.from);
                self.step_from_newest(wanted);
                if self.walk.from > before {
                    return Ok(false);
                }
                return Err(ConsoleError::transient(format!(
                    "a record is too large for --memory-budget, and more than {MOST} come before it that cannot be left out"
                )));
            }
            if shown == 0 || is_last {
                // It has moved, and comes with the next poll.
                self.restart();
            }
            return Ok(false);
        };
        let at = skip.at;
        match self.ask_at(at, over.len()).await {
            Err(ConsoleError::TooLarge(cut)) if is_same(&first_record(&cut.beginning, b"\"data\""), &over) => {
                self.walk.skip = None;
                Ok(true)
            }
            Ok(_) | Err(ConsoleError::TooLarge(_)) => {
                self.restart();
                Err(ConsoleError::transient("the console's list moved while a record was stepped over"))
            }
            Err(error) => Err(error),
        }
    }

    /// What is known of a record of which only the beginning was read; `told` is what tells which it is.
    fn beginning_of(&mut self, body: Bytes, told: &[u8], max_bytes: usize) -> Page {
        let mut facts = facts(self.pull.stream, told);
        if let Some(snapshot) = self.round.snapshot {
            facts.version = snapshot.seconds().to_string().into();
        }
        let pass = self.passes[self.round.pass].clone();
        let time = match pass.by {
            By::Order => facts.time,
            By::Creation => facts.created,
        };
        let identity = facts.identity(self.client.host(), told);
        let mark = self.mark(&facts, identity);
        let id = facts.record_id(told).to_compact_string();
        self.walk.shown.insert(mark.version);
        // A sweep leaves no keys.
        let is_again = self.chain.is_some() && self.handed_out.insert(mark.id, mark.version) == Some(mark.version);
        let known = match self.position.knows(&pass, self.round, &mark, time.is_some()) {
            _ if is_again => Known::Taken,
            known => known,
        };
        let outside = self.pull.window.is_some_and(|window| !window.holds(time));
        self.meter.lane.pulled.fetch_add(1, Ordering::Relaxed);
        let record =
            Record { range: 0..body.len(), id, identity, time: facts.time, order: time, mark, enrichment: None };
        let mut records = Vec::new();
        if outside {
            self.meter.lane.drop_events(DropReason::Filtered, 1);
        } else if known == Known::Taken {
            self.meter.lane.drop_events(DropReason::Duplicate, 1);
        } else {
            let lane = &self.meter.lane;
            warn!(
                pipeline = %lane.pipeline, stream = %lane.stream, sink = %lane.sink, record = %record.id,
                "a record is larger than {} bytes, all that --memory-budget leaves for one: it becomes a dead letter, of which \
                 the beginning is kept", max_bytes
            );
            self.position.take(&self.passes, self.round, &record.mark);
            records.push(record);
        }
        Page { records, cut: true, shown: 1, ..self.empty_page(body, false) }
    }
}

/// What is there of the first record of an answer, which comes behind `key`.
fn first_record(answer: &Bytes, key: &[u8]) -> Bytes {
    let behind = memchr::memmem::find(answer, key).map_or(0, |at| at + key.len());
    let open = answer[behind..].iter().position(|byte| *byte == b'{').map_or(answer.len(), |at| behind + at);
    answer.slice(open..)
}

/// Whether this is the beginning of the record with this id.
fn is_of(beginning: &[u8], id: &str) -> bool {
    !id.is_empty() && memchr::memmem::find(beginning, id.as_bytes()).is_some()
}

/// Whether two beginnings are of the same record: the frame before it may be of another length.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let shared = one.len().min(other.len());
    shared > 0 && one[..shared] == other[..shared]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_record_is_found_in_that_of_an_answer() {
        let first = |text: &'static str| first_record(&Bytes::from_static(text.as_bytes()), b"\"data\"");
        assert_eq!(first(r#"{"data" : [ {"id":"1","x":"aaa"#), r#"{"id":"1","x":"aaa"#);
        assert_eq!(first(r#"{"pagination":{"nextCursor":"a"},"data":[{"id":"#), r#"{"id":"#);
        assert_eq!(first(r#"{"data":["#), "");
        assert_eq!(first(""), "");
    }

    /// A list that moved shows another record in its place: to step over that one would lose it.
    #[test]
    fn a_record_is_told_by_its_beginning_and_an_alert_by_its_id() {
        let record = br#"{"id":"17","name":"aaaaaa"#;
        assert!(is_same(record, record) && is_same(record, &record[..12]) && is_same(&record[..12], record));
        assert!(!is_same(record, br#"{"id":"18","name":"aaaaaa"#));
        assert!(!is_same(record, b"") && !is_same(b"", record), "nothing is known of it");
        assert!(is_of(record, "17") && !is_of(record, "18"));
        assert!(!is_of(record, ""), "an alert without an id is none in particular");
    }
}
