//! Lists that end too early, and counts that say so or not.

use super::tail::{activities, position, second, steady};
use super::*;

/// A console of activities, one in each of these seconds, counted from [`begin`], in pages of [`PAGE`].
struct Console {
    seconds: std::ops::Range<i64>,
    /// The list ends after each of these numbers of requests with a cursor, with a page of this number of records.
    ends_after: Vec<(usize, usize)>,
    count: Box<dyn Fn(u64) -> Answer>,
    /// The requests with a cursor that the console refuses, by their numbers.
    refused: Vec<usize>,
    cursors: usize,
    /// Requests so far: counts with their ends, and the beginnings of lists.
    asked: Vec<String>,
}

const PAGE: usize = 10;

/// Returns the id of the record of a second, as in the position.
fn id(at: i64) -> u64 {
    (1_000_000 + (at + 5_000) * 10_000) as u64
}

fn total(count: u64) -> Answer {
    Ok(format!(r#"{{"data":[],"pagination":{{"totalItems":{count}}}}}"#).into())
}

impl Console {
    fn of(seconds: std::ops::Range<i64>) -> Self {
        Self {
            seconds,
            ends_after: Vec::new(),
            count: Box::new(total),
            refused: Vec::new(),
            cursors: 0,
            asked: Vec::new(),
        }
    }

    fn ending_early(mut self, cursors: usize, records: usize) -> Self {
        self.ends_after.push((cursors, records));
        self
    }

    fn counting(self, count: impl Fn(u64) -> Answer + 'static) -> Self {
        Self { count: Box::new(count), ..self }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let at = |name: &str| {
            let text = request.parameter(&format!("createdAt__{name}"))?;
            Some(Timestamp::parse(text).unwrap().seconds() - begin().seconds())
        };
        let from = at("gte").unwrap();
        if request.parameter("countOnly").is_some() {
            let to = at("lt").unwrap();
            self.asked.push(format!("count {from}..{to}"));
            return (self.count)(self.seconds.clone().filter(|second| (from..to).contains(second)).count() as u64);
        }
        let to = at("lte").unwrap();
        let listed: Vec<i64> = self.seconds.clone().filter(|second| (from..=to).contains(second)).collect();
        let skipped = match request.parameter("cursor") {
            None => {
                self.asked.push(format!("list from {from}"));
                0
            }
            Some(cursor) => {
                self.cursors += 1;
                if self.refused.contains(&self.cursors) {
                    return Err(ConsoleError::BadCursor("expired".to_owned()));
                }
                cursor.split('@').next().unwrap().parse().unwrap()
            }
        };
        let ends = self.ends_after.iter().find(|(cursors, _)| *cursors == self.cursors && skipped > 0);
        let size = ends.map_or(PAGE, |(_, records)| *records);
        let page: Vec<String> =
            listed.iter().skip(skipped).take(size).map(|at| activity(id(*at), second(*at), 0)).collect();
        let is_last = ends.is_some() || skipped + page.len() >= listed.len();
        let next = (!is_last).then(|| format!("{}@{from}", skipped + page.len()));
        Ok(list(&page, next.as_deref()).into())
    }

    /// Answers a poll to its end. Returns the number of records that it emits, and the requests that it makes.
    fn answer_all(&mut self, poll: &mut Poll) -> (usize, Vec<String>) {
        let mut emitted = 0;
        loop {
            match poll.next_action() {
                Action::Ask(request) => {
                    let answer = self.answer(&request);
                    let was_refused = matches!(answer, Err(ConsoleError::BadCursor(_)));
                    assert_eq!(poll.answered(answer, begin()).is_err(), was_refused);
                }
                Action::Emit(page) => emitted += page.records.len(),
                Action::Done(_, end) => {
                    assert_eq!(end, PollEnd::Complete);
                    return (emitted, mem::take(&mut self.asked));
                }
            }
        }
    }
}

fn new_lane(since: i64) -> Poll {
    poll(&activities(), SourcePosition::starting_at(second(since)), begin())
}

fn miscounted(poll: &Poll) -> bool {
    poll.habits().miscounted_at == Some(begin())
}

#[test]
fn the_end_of_a_list_of_several_pages_is_confirmed_by_one_count() {
    for (seconds, asks) in [
        (-9..0, vec!["list from -400"]),
        (-10..0, vec!["list from -400"]),
        (-11..0, vec!["list from -400", "count -400..-3"]),
        (-300..0, vec!["list from -400", "count -301..-3"]),
    ] {
        let records = seconds.clone().count();
        let mut poll = new_lane(-400);
        assert_eq!(
            Console::of(seconds).answer_all(&mut poll),
            (records, asks.iter().map(|text| text.to_string()).collect())
        );
        assert!(!miscounted(&poll));
    }
}

/// A list may end anywhere, with a page that is empty or short.
#[test]
fn a_list_that_ends_too_early_is_read_to_its_end() {
    for seconds in [-310..-10, -9_000..-8_000] {
        let records = seconds.clone().count();
        let some = if records > 500 { 13 } else { 1 };
        for (cursors, shown) in
            (1..records / PAGE).step_by(some).flat_map(|cursors| [(cursors, 0), (cursors, 1), (cursors, PAGE - 1)])
        {
            let mut poll = new_lane(-9_500);
            let mut console = Console::of(seconds.clone()).ending_early(cursors, shown);
            let (emitted, asked) = console.answer_all(&mut poll);
            assert_eq!(emitted, records, "after {cursors} with {shown}: {asked:?}");
            let counts = asked.iter().filter(|asked| asked.starts_with("count")).count();
            assert!(asked.len() == counts + 2 && counts <= 3, "after {cursors} with {shown}: {asked:?}");
            assert!(!miscounted(&poll));
        }
    }
}

/// A poll that ends too early moves the bound past records that it has not read.
#[test]
fn nothing_follows_a_list_until_its_end_is_confirmed() {
    // Records older than the overlap are read first, and then new ones.
    let mut poll = poll(&activities(), position(-700..-30, 1, -180), begin());
    let mut console = Console::of(-700..0).ending_early(3, 0);
    let (emitted, asked) = console.answer_all(&mut poll);
    assert_eq!(emitted, 30);
    let expected = [
        "count -299..-30",
        "list from -480",
        "count -480..-299",
        "count -480..-452",
        "list from -452",
        "list from -30",
        "count -30..-3",
    ];
    assert_eq!(asked, expected, "what a list lacked may be known, or not");

    // The console has deleted known records, as many as there are others that the list does not show.
    let mut poll = super::poll(&activities(), position(-700..-310, 1, -180), begin());
    let mut console = Console::of(-469..-299).ending_early(3, 0);
    let (emitted, asked) = console.answer_all(&mut poll);
    assert_eq!(emitted, 11, "{asked:?}");

    let mut console = Console::of(-700..0).ending_early(3, 0);
    console.seconds = -700..0;
    let mut poll = super::poll(&activities(), position(-700..-400, 1, -180), begin());
    let (emitted, asked) = console.answer_all(&mut poll);
    assert_eq!(emitted, 400, "{asked:?}");
}

/// The console may count records that it never shows. The poll finds that out by reading again, and loses no record and
/// no state.
#[test]
fn what_is_counted_and_never_shown_is_accepted_for_half_an_overlap() {
    let mut poll = new_lane(-400);
    let mut console = Console::of(-300..0).counting(|exact| total(exact + 7));
    let (emitted, asked) = console.answer_all(&mut poll);
    assert_eq!(emitted, 300);
    let lists = asked.iter().filter(|asked| asked.starts_with("list")).count();
    assert_eq!(lists, 2, "once more, and no more: {asked:?}");
    assert!(miscounted(&poll));
    assert_eq!(poll.intervals.not_shown, 7);

    for (at, counts) in [(0, false), (-149, false), (-150, true)] {
        let habits = ConsoleHabits { miscounted_at: Some(second(at)), ..ConsoleHabits::default() };
        let mut poll = poll_knowing(habits, &activities(), SourcePosition::starting_at(second(-400)), begin());
        let mut console = Console::of(-300..0).ending_early(4, 0);
        let (emitted, asked) = console.answer_all(&mut poll);
        assert_eq!(emitted, 300, "the end of a list is read again in place of a count");
        assert_eq!(asked.iter().any(|asked| asked.starts_with("count")), counts, "{at}: {asked:?}");
    }
}

/// A list of several pages that ends before the missing records proves nothing, unless all lists do so.
#[test]
fn a_list_that_ends_again_before_what_is_missing_is_read_again() {
    // A list has one page for each number: the records 1 to this number. The last page has no cursor.
    for (later_lists, records, not_shown) in [
        ([vec![2, 2], vec![2, 4], vec![1, 1], vec![6]].as_slice(), 6, 0),
        (&[vec![4]], 4, 2),
        (&[vec![2, 2], vec![2, 4], vec![1, 4], vec![2, 2]], 4, 2),
    ] {
        let mut poll = new_lane(-400);
        let mut lists = [vec![2, 4]].into_iter().chain(later_lists.iter().cloned());
        let mut pages = Vec::new().into_iter();
        let mut emitted = 0;
        loop {
            let request = match poll.next_action() {
                Action::Ask(request) => request,
                Action::Emit(page) => {
                    emitted += page.records.len();
                    continue;
                }
                Action::Done(..) => break,
            };
            let at = |name: &str| Timestamp::parse(request.parameter(&format!("createdAt__{name}")).unwrap()).unwrap();
            let answer = if request.parameter("countOnly").is_some() {
                let is_in_part = (at("gte")..at("lt")).contains(&second(-200));
                total(if is_in_part { 6 } else { 0 }).unwrap()
            } else {
                if request.parameter("cursor").is_none() {
                    pages = lists.next().unwrap().into_iter();
                }
                let shown: Vec<String> = (1..=pages.next().unwrap()).map(|id| activity(id, second(-200), 0)).collect();
                let cursor = pages.len().to_string();
                list(&shown, (pages.len() > 0).then_some(&*cursor)).into()
            };
            poll.answered(Ok(answer), begin()).unwrap();
        }
        assert_eq!((emitted, poll.intervals.not_shown), (records, not_shown), "{later_lists:?}");
        assert_eq!(lists.next(), None, "{later_lists:?}");
    }
}

#[test]
fn where_the_console_cannot_count_the_end_of_its_list_is_read_again() {
    let unreadable = || Ok(Bytes::from_static(br#"{"data":[],"pagination":{}}"#));
    let failures: [fn() -> Answer; 3] =
        [|| Err(ConsoleError::BadRequest("countOnly".to_owned())), || Err(ConsoleError::transient("busy")), unreadable];
    for failure in failures {
        // While time stays open, its rest is not asked for twice.
        for (seconds, ends_after, lists) in [
            (-900..-600, None, 2),
            (-900..-600, Some((4, 0)), 3),
            (-900..-600, Some((4, 3)), 3),
            (-300..0, Some((4, 0)), 2),
        ] {
            let mut poll = new_lane(-1_000);
            let ends_after = ends_after.into_iter().collect();
            let mut console = Console { ends_after, ..Console::of(seconds).counting(move |_| failure()) };
            let (emitted, asked) = console.answer_all(&mut poll);
            assert_eq!(emitted, 300, "{asked:?}");
            assert_eq!(asked.iter().filter(|asked| asked.starts_with("list")).count(), lists, "{asked:?}");
            assert!(!miscounted(&poll));
        }
    }
    let mut poll = new_lane(-400);
    let mut console = Console::of(-300..0);
    while asked(&mut poll).parameter("countOnly").is_none() {
        let answer = console.answer(&asked(&mut poll));
        poll.answered(answer, begin()).unwrap();
        if let Action::Emit(_) = poll.next_action() {}
    }
    let expired = ConsoleError::Unauthorized("expired".to_owned());
    assert_eq!(poll.answered(Err(expired.clone()), begin()), Err(expired));
    assert!(asked(&mut poll).parameter("countOnly").is_some(), "it is asked again with another token");
}

/// A list that ends too early twice is recognized by its count alone, which may fail now and then.
#[test]
fn a_count_that_fails_is_asked_for_again() {
    for second_end in 5..9 {
        let failures = std::cell::Cell::new(0);
        let count = move |exact| {
            failures.set(failures.get() + 1);
            if failures.get() <= COUNT_TRIES { Err(ConsoleError::transient("busy")) } else { total(exact) }
        };
        let mut poll = new_lane(-1_000);
        let mut console = Console::of(-900..-600).ending_early(4, 0).ending_early(second_end, 0).counting(count);
        let (emitted, asked) = console.answer_all(&mut poll);
        assert_eq!(emitted, 300, "{second_end}: {asked:?}");
    }
}

/// The keys of records that no late record can come before are forgotten while a list is read again.
#[test]
fn a_list_that_is_read_again_and_again_emits_no_record_twice() {
    for too_many in [1, 7, 300] {
        let mut poll = new_lane(-400);
        let counting = move |exact| total(if exact > 0 { exact + too_many } else { 0 });
        // Each refused cursor has the time that stays open read again.
        let mut console = Console { refused: vec![24, 28, 32], ..Console::of(-380..-250).counting(counting) };
        let (emitted, asked) = console.answer_all(&mut poll);
        assert_eq!(emitted, 130, "{too_many}: {asked:?}");
    }
}

/// Records that have changed are known under an earlier time: the count may hide what the list lacks.
#[test]
fn a_count_below_what_is_known_confirms_no_end() {
    let mut poll = new_lane(-400);
    let mut console = Console::of(-300..0).ending_early(28, 5).counting(|exact| total(exact.saturating_sub(20)));
    let (emitted, asked) = console.answer_all(&mut poll);
    assert_eq!(emitted, 300, "{asked:?}");
    assert!(!miscounted(&poll));
}

/// Alerts change without a new time, and agents are counted that are not sent.
#[test]
fn streams_that_no_count_describes_end_where_their_lists_do() {
    for (stream, is_counted) in [
        (Stream::Activities, true),
        (Stream::Threats, true),
        (Stream::Groups, true),
        (Stream::Agents, false),
        (Stream::Alerts, false),
        (Stream::Vulnerabilities, false),
    ] {
        let mut poll = first_poll(&PullSettings::of(stream));
        let record = |id: u64| {
            format!(
                r#"{{"id":"{id}","createdAt":"{0}","updatedAt":"{0}","threatInfo":{{"updatedAt":"{0}"}}}}"#,
                begin().minus(Duration::from_secs(9))
            )
        };
        emitted(&mut poll, &list(&[record(1)], Some("a")));
        emitted(&mut poll, &list(&[record(2)], None));
        let counts = match poll.next_action() {
            Action::Ask(request) => request.parameter("countOnly").is_some(),
            _ => false,
        };
        assert_eq!(counts, is_counted, "{stream}");
    }
    let mut poll = first_poll(&PullSettings::of(Stream::UnifiedAlerts));
    let page = |id, next: &str| {
        let node =
            format!(r#"{{"id":"{id}","detectedAt":"{0}","updatedAt":"{0}"}}"#, begin().minus(Duration::from_secs(9)));
        format!(r#"{{"data":{{"alerts":{{"pageInfo":{next},"edges":[{{"node":{node}}}]}}}}}}"#)
    };
    assert_eq!(emitted(&mut poll, &page("a", r#"{"hasNextPage":true,"endCursor":"x"}"#)), ["a"]);
    assert_eq!(emitted(&mut poll, &page("b", r#"{"hasNextPage":false}"#)), ["b"]);
    let (counting, limit, _) = asked(&mut poll).outline();
    assert!(counting.starts_with("true ") && counting.contains(r#""after":null"#) && limit == 1, "{counting}");
    let counted = r#"{"data":{"alerts":{"totalCount":2,"pageInfo":{"hasNextPage":true,"endCursor":"x"},"edges":[]}}}"#;
    poll.answered(Ok(counted.into()), begin()).unwrap();
    assert!(matches!(poll.next_action(), Action::Done(_, PollEnd::Complete)));
}

#[test]
fn a_steady_lane_of_short_lists_asks_no_more_than_before() {
    let mut poll = poll(&activities(), steady(), begin());
    let (emitted, asked) = Console::of(-400..-25).answer_all(&mut poll);
    assert_eq!((emitted, asked), (5, vec!["count -330..-30".to_owned(), "list from -30".to_owned()]));
}
