//! Sequences of polls of a model console with random records, faults and counts.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// A record of the model console.
#[derive(Debug, Clone)]
struct Shown {
    time: Timestamp,
    /// Time at which the console begins to show the record.
    visible: Timestamp,
    /// Time at which the console deletes the record. A deleted record may be delivered, but need not be.
    deleted: Option<Timestamp>,
    is_oversized: bool,
}

/// The console's behaviour instead of a good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    Failure,
    Null,
    RefusedCursor,
    /// A page ends with the cursor of its request.
    RepeatedCursor,
    EmptyPage,
    ShortPage,
    /// A page after the first is the last one and has this number of its records.
    EarlyEnd(usize),
    /// The lane stops and begins again from its position.
    Interruption,
}

/// Counts of the console in an interval of the open time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Exact,
    /// Wrong by this number.
    Off(i64),
    /// The number of records that were visible this number of seconds ago.
    Late(u64),
    Refused,
    Failing,
}

/// A console of activities. Their ids are their indices in `records`.
#[derive(Debug)]
struct Console {
    records: Vec<Shown>,
    /// One for each request. Later requests have no fault.
    faults: std::vec::IntoIter<Fault>,
    now: Timestamp,
    /// Time of the last deletions. The console deletes between polls: a record that was listed and is deleted before
    /// the count hides another one.
    deletes_until: Timestamp,
    requests: usize,
    counts: Counts,
}

impl Console {
    /// Returns the records of a window in the console's order: it sorts and compares by 10 ms.
    fn listed(&self, request: &Request) -> Vec<(i64, usize)> {
        let precise = |time: Timestamp| time.micros() / 10_000;
        let bound = |name| precise(Timestamp::parse(request.parameter(name).unwrap()).unwrap());
        let end = match request.parameter("createdAt__lt") {
            Some(_) => bound("createdAt__lt"),
            None => bound("createdAt__lte") + 1,
        };
        let window = bound("createdAt__gte")..end;
        let shown = self.records.iter().enumerate().filter(|(_, record)| {
            record.visible <= self.now && record.deleted.is_none_or(|deleted| self.deletes_until < deleted)
        });
        let mut listed: Vec<_> =
            shown.map(|(id, record)| (precise(record.time), id)).filter(|(time, _)| window.contains(time)).collect();
        listed.sort_unstable();
        listed
    }

    fn count_of_part(&mut self, request: &Request) -> Result<Bytes, ConsoleError> {
        let exact = self.listed(request).len() as u64;
        let count = match self.counts {
            Counts::Exact => exact,
            Counts::Off(by) => exact.saturating_add_signed(by),
            Counts::Late(seconds) => {
                let now = self.now;
                self.now = now.minus(Duration::from_secs(seconds));
                let late = self.listed(request).len() as u64;
                self.now = now;
                late
            }
            Counts::Refused => return Err(ConsoleError::BadRequest("countOnly".to_owned())),
            Counts::Failing => return Err(ConsoleError::transient("busy")),
        };
        Ok(format!(r#"{{"data":[],"pagination":{{"totalItems":{count}}}}}"#).into())
    }

    /// Answers a request. Returns `None` for an interruption.
    fn answer(&mut self, request: &Request) -> Option<Result<Bytes, ConsoleError>> {
        self.now = self.now.plus(Duration::from_secs(2));
        self.requests += 1;
        let fault = self.faults.next().unwrap_or(Fault::Nothing);
        if request.parameter("createdAt__lt").is_some() {
            return match fault {
                Fault::Interruption => None,
                Fault::Failure => Some(Err(ConsoleError::transient("busy"))),
                _ => Some(self.count_of_part(request)),
            };
        }
        let listed = self.listed(request);
        let cursor = request.parameter("cursor");
        let (_, limit, max_bytes) = request.outline();
        if request.parameter("countOnly").is_some() && !matches!(fault, Fault::Failure | Fault::Null) {
            return Some(Ok(format!(r#"{{"data":[],"pagination":{{"totalItems":{}}}}}"#, listed.len()).into()));
        }
        let skipped = match (cursor, request.parameter("skip")) {
            // A cursor contains the time and id of the record before it, and the number of the request.
            (Some(cursor), _) => {
                let mut parts = cursor.split('-').map(|part| part.parse::<i64>().unwrap());
                let after = (parts.next().unwrap(), parts.next().unwrap());
                listed.iter().filter(|(time, id)| (*time, *id as i64) <= after).count()
            }
            (None, skip) => skip.map_or(0, |skip| skip.parse().unwrap()),
        };
        let count = match fault {
            Fault::Failure => return Some(Err(ConsoleError::transient(StatusCode::BAD_GATEWAY.to_string()))),
            Fault::Null => return Some(Ok(r#"{"data":null,"pagination":{"nextCursor":null}}"#.into())),
            Fault::RefusedCursor if cursor.is_some() => {
                return Some(Err(ConsoleError::BadCursor("expired".to_owned())));
            }
            Fault::Interruption => return None,
            Fault::EmptyPage => 0,
            Fault::ShortPage => limit.min(1),
            Fault::EarlyEnd(shown) if cursor.is_some() => limit.min(shown),
            _ => limit,
        };
        let page: Vec<_> = listed.iter().skip(skipped).take(count).collect();
        let filler = |id: usize| if self.records[id].is_oversized { 2 * MAX_BYTES } else { 0 };
        let texts: Vec<_> =
            page.iter().map(|(_, id)| activity(*id as u64, self.records[*id].time, filler(*id))).collect();
        let next = match (page.last(), cursor) {
            (_, Some(_)) if matches!(fault, Fault::EarlyEnd(_)) => None,
            _ if skipped + page.len() >= listed.len() && fault != Fault::RepeatedCursor => None,
            (_, Some(cursor)) if fault == Fault::RepeatedCursor => Some(cursor.to_owned()),
            (Some((time, id)), _) => Some(format!("{time}-{id}-{}", self.requests)),
            (None, Some(cursor)) => Some(format!("{}-{}", cursor.rsplit_once('-').unwrap().0, self.requests)),
            (None, None) => Some(format!("0-0-{}", self.requests)),
        };
        let body = list(&texts, next.as_deref());
        Some(if body.len() > max_bytes {
            Err(ConsoleError::TooLarge(TruncatedBody::of(body.as_bytes(), max_bytes)))
        } else {
            Ok(body.into())
        })
    }
}

/// A lane: its position, and the number of deliveries of each record.
#[derive(Debug)]
struct Lane {
    pull: PullSettings,
    position: SourcePosition,
    habits: ConsoleHabits,
    delivered: HashMap<String, usize>,
}

impl Lane {
    /// Makes one poll that starts at `start`. Returns false if it was interrupted.
    fn poll(&mut self, console: &mut Console, start: Timestamp) -> Result<bool, TestCaseError> {
        let passes = self.pull.passes();
        let since = self.position.bound().whole_second();
        let mut poll = poll_knowing(self.habits, &self.pull, self.position.for_poll(), start);
        let mut limit = LIMIT;
        for _ in 0..MAX_REQUESTS {
            match poll.next_action() {
                Action::Ask(request) => {
                    let request = if request.is_page() { request.with_size(limit, MAX_BYTES) } else { request };
                    let end = request.parameter("createdAt__lte").or(request.parameter("createdAt__lt"));
                    let window =
                        [request.parameter("createdAt__gte"), end].map(|time| Timestamp::parse(time.unwrap()).unwrap());
                    prop_assert!(since <= window[0] && window[1] <= start, "{request:?} is not in [{since}, {start}]");
                    let Some(answer) = console.answer(&request) else { return Ok(false) };
                    if matches!(answer, Err(ConsoleError::TooLarge(_))) && limit > 1 && request.outline().2 == MAX_BYTES
                    {
                        limit = 1;
                        continue;
                    }
                    limit = if answer.is_ok() { LIMIT } else { limit };
                    let _ = poll.answered(answer, console.now);
                }
                Action::Emit(page) => self.deliver(&page),
                Action::Done(context, _) => {
                    self.position.finish(&passes, context, false);
                    self.habits = poll.habits();
                    return Ok(true);
                }
            }
        }
        Err(TestCaseError::fail("the poll does not end"))
    }

    /// Delivers a page to a sink that accepts everything.
    fn deliver(&mut self, page: &PulledPage) {
        let passes = self.pull.passes();
        for record in &page.records {
            *self.delivered.entry(record.id.to_string()).or_default() += 1;
            self.position.settle(&passes, page.context).remember(&record.record_key);
        }
        let newest = page.records.iter().filter_map(|record| record.order).max();
        if let Some(watermark) = newest
            && page.ordered
        {
            self.position.advance(&passes, page.context, watermark);
        }
    }
}

fn shown() -> impl Strategy<Value = Shown> {
    // A few groups of times in steps of 4 ms, so that many are equal. Late records arrive within the overlap.
    let time = (0u64..10, 0u64..8).prop_map(|(place, step)| place * 20_000_000 + step * 4_000);
    let late = prop_oneof![3 => Just(0u64), 1 => 0u64..200];
    let deleted = prop_oneof![4 => Just(None), 1 => (0u64..100).prop_map(Some)];
    (time, late, deleted, prop::bool::weighted(0.2)).prop_map(|(time, late, deleted, is_oversized)| {
        let time = begin().plus(Duration::from_micros(time));
        let visible = time.plus(Duration::from_secs(late));
        Shown {
            time,
            visible,
            deleted: deleted.map(|deleted| visible.plus(Duration::from_secs(deleted))),
            is_oversized,
        }
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::Nothing),
        1 => Just(Fault::Failure),
        1 => Just(Fault::Null),
        1 => Just(Fault::RefusedCursor),
        2 => Just(Fault::RepeatedCursor),
        1 => Just(Fault::EmptyPage),
        2 => Just(Fault::ShortPage),
        1 => (0..LIMIT).prop_map(Fault::EarlyEnd),
        1 => Just(Fault::Interruption),
    ]
}

fn counts() -> impl Strategy<Value = Counts> {
    prop_oneof![
        3 => Just(Counts::Exact),
        2 => prop_oneof![Just(-1i64), Just(1), Just(4), Just(-100)].prop_map(Counts::Off),
        2 => (1u64..400).prop_map(Counts::Late),
        1 => Just(Counts::Refused),
        1 => Just(Counts::Failing),
    ]
}

/// Keeps only the first list that ends too early, and none if the console counts too few records. If the list that is
/// read again ended early too, it would hide the first. So would a low count.
fn with_one_early_end(faults: Vec<Fault>, counts: Counts) -> Vec<Fault> {
    let mut is_possible = !matches!(counts, Counts::Off(..0) | Counts::Late(_));
    let kept = |fault| match fault {
        Fault::EarlyEnd(_) if !mem::take(&mut is_possible) => Fault::Nothing,
        fault => fault,
    };
    faults.into_iter().map(kept).collect()
}

/// Returns a configuration of 500 sequences, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(500, |cases| cases.parse().unwrap());
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// For all faults, interruptions and counts, wrong ones included, each record is emitted once. The bound never
    /// moves back, every poll ends, and every request is within [bound, start].
    #[test]
    fn a_sequence_of_polls_emits_each_record_once(
        records in prop::collection::vec(shown(), 0..30),
        faults in prop::collection::vec(fault(), 0..60),
        counts in counts(),
    ) {
        let pull = PullSettings { overlap: OVERLAP, ..PullSettings::of(Stream::Activities) };
        let mut position = SourcePosition::starting_at(begin());
        position.add_passes(&pull.passes());
        let mut lane = Lane { pull, position, habits: ConsoleHabits::default(), delivered: HashMap::new() };
        let faults = with_one_early_end(faults, counts);
        let mut console = Console { records, faults: faults.into_iter(), now: begin(), deletes_until: begin(), requests: 0, counts };
        let mut start = begin();
        loop {
            let bound = lane.position.bound();
            console.deletes_until = console.now;
            let is_complete = lane.poll(&mut console, start)?;
            prop_assert!(bound <= lane.position.bound(), "the bound moved back");
            if is_complete && start > begin().plus(ALL_CLOSED) {
                break;
            }
            start = start.plus(INTERVAL).max(console.now);
            console.now = start;
        }
        let expected = |(id, record): (usize, &Shown)| record.deleted.is_none().then(|| (id.to_string(), 1));
        let expected: BTreeMap<String, usize> = console.records.iter().enumerate().filter_map(expected).collect();
        let mut counts: BTreeMap<String, usize> = lane.delivered.into_iter().collect();
        counts.retain(|id, count| expected.contains_key(id) || *count > 1);
        prop_assert_eq!(counts, expected);
    }
}

/// The console counts the missing records, so the poll asks again after a second list ends before them. On the way it
/// steps over a large record, from which another walk begins.
#[test]
fn two_lists_that_end_too_early_around_a_large_record_lose_nothing() {
    const RECORDS: usize = 14;
    const REQUESTS: usize = 40;
    for large in (0..RECORDS).step_by(4) {
        for (first, second) in (0..REQUESTS).flat_map(|first| (first + 1..REQUESTS).map(move |second| (first, second)))
        {
            let records = (0..RECORDS).map(|at| {
                let time = begin().minus(Duration::from_secs(900 - at as u64));
                Shown { time, visible: time, deleted: None, is_oversized: at == large }
            });
            let mut faults = vec![Fault::Nothing; second + 1];
            faults[first] = Fault::EarlyEnd(1);
            faults[second] = Fault::EarlyEnd(0);
            let pull = PullSettings { overlap: OVERLAP, ..PullSettings::of(Stream::Activities) };
            let mut position = SourcePosition::starting_at(begin().minus(Duration::from_secs(1_000)));
            position.add_passes(&pull.passes());
            let mut lane = Lane { pull, position, habits: ConsoleHabits::default(), delivered: HashMap::new() };
            let mut console = Console {
                records: records.collect(),
                faults: faults.into_iter(),
                now: begin(),
                deletes_until: begin(),
                requests: 0,
                counts: Counts::Exact,
            };
            assert!(lane.poll(&mut console, begin()).unwrap());
            assert_eq!(lane.delivered.len(), RECORDS, "record {large}, requests {first} and {second}");
        }
    }
}
