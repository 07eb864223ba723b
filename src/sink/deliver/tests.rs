use std::sync::atomic::AtomicBool;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::record::{Identity, Stream};
use crate::sink::dead_letters::{DeadLetterError, LetterStore};
use crate::sink::{Commits, Limits, Probe, Unsaved};
use crate::telemetry::Telemetry;

/// Answers as the script says, then takes everything; remembers what was sent, and with which checkpoint.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<Outcome>>,
    sent: Mutex<Vec<(String, Option<Vec<u8>>)>>,
    commits: bool,
}

impl Script {
    fn answer(&self, batch: &Batch, checkpoint: Option<&[u8]>) -> Attempt {
        let names: Vec<&str> = batch.events().map(|event| event.record_id).collect();
        self.sent.lock().unwrap().push((names.join(" "), checkpoint.map(<[u8]>::to_vec)));
        let outcome = self.answers.lock().unwrap().pop_front().unwrap_or(Outcome::Delivered);
        let status = if matches!(outcome, Outcome::TooLarge(_)) { TOO_LARGE } else { "scripted" };
        Attempt { outcome, bytes: 1, status: status.to_owned() }
    }
}

impl Sink for Script {
    fn limits(&self) -> Limits {
        Limits::NONE
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        async { self.answer(batch, None) }.boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        async { Probe::Verified(String::new()) }.boxed()
    }

    fn commits(&self) -> Option<&dyn Commits> {
        self.commits.then_some(self)
    }
}

impl Commits for Script {
    fn open(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        async { Ok(None) }.boxed()
    }

    fn commit<'a>(&'a self, batch: &'a Batch, covering: &'a Covering) -> BoxFuture<'a, Attempt> {
        async { self.answer(batch, Some(&covering.checkpoint)) }.boxed()
    }

    fn look_at(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        async { Ok(None) }.boxed()
    }

    fn read_journal(&self, _segment: u64) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        async { Ok(None) }.boxed()
    }

    fn save<'a>(&'a self, _covering: &'a Covering) -> BoxFuture<'a, Result<(), Unsaved>> {
        async { Ok(()) }.boxed()
    }

    fn enter(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

/// Names what it kept; none while it is full.
#[derive(Debug, Clone, Default)]
struct Letters(Arc<Mutex<Vec<String>>>, Arc<AtomicBool>);

impl LetterStore for Letters {
    fn keep<'a>(&'a self, letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        if self.1.load(Ordering::Relaxed) {
            return async { Err(DeadLetterError::Full { place: "here".to_owned(), max: 0 }) }.boxed();
        }
        self.0.lock().unwrap().extend(letters.iter().map(|letter| letter.record_id.to_owned()));
        async { Ok(()) }.boxed()
    }
}

struct Case {
    sink: Arc<Script>,
    letters: Letters,
    delivery: Delivery,
}

/// What is to be seen after a batch of that many events.
struct Seen {
    result: Result<(), Halt>,
    settled: Vec<usize>,
    waited: Duration,
}

impl Case {
    fn new(answers: impl IntoIterator<Item = Outcome>, commits: bool) -> Self {
        let answers = Mutex::new(answers.into_iter().collect());
        let sink = Arc::new(Script { answers, commits, ..Script::default() });
        let (clock, letters) = (Clock::System, Letters::default());
        let delivery = Delivery {
            sink: sink.clone(),
            retry: RetrySettings::default(),
            dead_letters: Arc::new(DeadLetters::in_store(letters.clone())),
            meter: Meter::start(&Arc::new(Telemetry::new()), "acme", Stream::Activities, "siem", "test", clock),
            clock,
            health: Health::default(),
            throttle: Throttle::new(1),
            deadline: Deadline::default(),
        };
        Self { sink, letters, delivery }
    }

    async fn deliver(&self, events: usize, companion: Option<Companion<'_>>) -> Seen {
        let mut batch = Batch::new(Stream::Activities);
        for event in 0..events {
            let id = event.to_string();
            let identity = Identity::of("console.example", Stream::Activities, &id, "");
            batch.push_with(&id, identity, None, |body| {
                body.extend_from_slice(b"{}");
                None
            });
        }
        let (settled, begun) = (Settled::none_of(events), Instant::now());
        let (random, stop) = (fastrand::Rng::with_seed(7), CancellationToken::new());
        let result = self.delivery.deliver(&batch, &settled, random, companion, &stop).await;
        Seen { result, settled: settled.indices(true), waited: begun.elapsed() }
    }

    fn sent(&self) -> Vec<String> {
        self.sink.sent.lock().unwrap().iter().map(|(names, _)| names.clone()).collect()
    }

    fn kept(&self) -> Vec<String> {
        self.letters.0.lock().unwrap().clone()
    }

    /// Delivered, dead letters: as the metrics have them.
    fn counted(&self) -> (u64, u64) {
        let lane = &self.delivery.meter.lane;
        (lane.delivered.load(Ordering::Relaxed), lane.dead_letters.load(Ordering::Relaxed))
    }
}

fn partial(rejected: &[usize], retry: &[usize], after: Option<u64>) -> Outcome {
    let rejected = rejected.iter().map(|index| (*index, "no".to_owned())).collect();
    Outcome::Partial { rejected, retry: retry.to_vec(), after: after.map(Duration::from_secs) }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_told_apart_is_kept_whole_and_counted_once() {
    let reason = "eleven".to_owned();
    let case = Case::new([Outcome::RefusedSome { count: 11, reason }], false);
    let seen = case.deliver(12, None).await;
    assert_eq!((seen.result, seen.settled.len(), case.kept().len()), (Ok(()), 12, 12), "one of them was accepted");
    assert_eq!(case.counted(), (1, 11));
}

#[tokio::test(start_paused = true)]
async fn eleven_refused_of_twelve_are_no_misconfiguration_but_eleven_of_eleven_are() {
    let refused: Vec<usize> = (1..12).collect();
    let case = Case::new([partial(&refused, &[], None)], false);
    let seen = case.deliver(12, None).await;
    assert_eq!((seen.result, seen.settled.len(), case.counted()), (Ok(()), 12, (1, 11)));

    let case = Case::new([partial(&(0..11).collect::<Vec<_>>(), &[], None)], false);
    let seen = case.deliver(11, None).await;
    assert!(matches!(seen.result, Err(Halt::Misconfigured(_))));
    assert_eq!((seen.settled, case.kept()), (Vec::new(), Vec::new()), "nothing was given up");
}

#[tokio::test(start_paused = true)]
async fn refusals_in_a_row_are_counted_over_batches_until_one_is_taken() {
    let all = |events: usize| partial(&(0..events).collect::<Vec<_>>(), &[], None);
    let case = Case::new([all(6), Outcome::Delivered, all(6), all(3), all(1)], false);
    for (events, is_fine) in [(6, true), (1, true), (6, true), (3, true), (1, false)] {
        assert_eq!(case.deliver(events, None).await.result.is_ok(), is_fine);
    }
    assert_eq!(case.counted(), (1, 15));
}

/// The same events, however often they are refused, say no more of the sink.
#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_no_letters_makes_no_misconfiguration_of_its_lane() {
    let all = || partial(&[0, 1, 2], &[], None);
    let case = Case::new((0..7).map(|_| all()), false);
    case.letters.1.store(true, Ordering::Relaxed);
    for _ in 0..6 {
        let seen = case.deliver(3, None).await;
        assert!(matches!(seen.result, Err(Halt::DeadLetters(_))) && seen.settled.is_empty(), "{:?}", seen.result);
    }
    case.letters.1.store(false, Ordering::Relaxed);
    assert_eq!(case.deliver(3, None).await.result, Ok(()));
    assert_eq!((case.counted(), case.kept().len()), ((0, 3), 3));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_now_waits_and_what_was_not_tried_does_not() {
    let case = Case::new([partial(&[1], &[2, 3], None)], false);
    let seen = case.deliver(4, None).await;
    assert_eq!((seen.result, seen.waited), (Ok(()), Duration::ZERO));
    assert_eq!((case.sent(), case.kept()), (vec!["0 1 2 3".to_owned(), "2 3".to_owned()], vec!["1".to_owned()]));
    assert_eq!((case.counted(), seen.settled), ((3, 1), vec![0, 1, 2, 3]));

    // Not so where the sink saw all of it; and what takes a part of it takes something.
    for (rejected, again, is_refusing) in
        [(&[][..], &[0, 1, 2, 3][..], true), (&[], &[1], false), (&[0], &[1, 3], false), (&[2], &[1, 3], false)]
    {
        let case = Case::new([partial(rejected, again, None)], false);
        let health = case.delivery.health.watch();
        let looks = async {
            tokio::task::yield_now().await;
            health.borrow().is_some()
        };
        let (seen, refuses) = tokio::join!(case.deliver(4, None), looks);
        assert!(!seen.waited.is_zero() && seen.result.is_ok(), "what is refused for now is not sent in a hot loop");
        assert_eq!(refuses, is_refusing, "{rejected:?} {again:?}");
    }

    let case = Case::new([partial(&[], &[1], Some(5))], false);
    assert!(case.deliver(2, None).await.waited >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_goes_with_each_attempt_and_once_more_with_what_the_dead_letters_have() {
    let settled = |settled: &[usize]| Covering {
        checkpoint: settled.iter().map(|index| *index as u8).collect(),
        ..Covering::default()
    };
    let case = Case::new([], true);
    assert_eq!(case.deliver(2, Some(&settled)).await.result, Ok(()));
    assert_eq!(*case.sink.sent.lock().unwrap(), [("0 1".to_owned(), Some(vec![0, 1]))]);

    let case = Case::new([partial(&[1], &[2], None)], true);
    assert_eq!(case.deliver(3, Some(&settled)).await.result, Ok(()));
    let sent = case.sink.sent.lock().unwrap().clone();
    let attempts = [("0 1 2", vec![0, 1, 2]), ("2", vec![0, 2]), ("", vec![0, 1, 2])];
    assert_eq!(sent, attempts.map(|(names, checkpoint)| (names.to_owned(), Some(checkpoint))));
    assert_eq!(case.kept(), ["1"]);
}

/// The sink of each: refuses whatever it is sent.
#[tokio::test(start_paused = true)]
async fn what_is_refused_one_by_one_says_something_of_the_sink_and_what_is_too_large_does_not() {
    let many = |outcome: fn(String) -> Outcome| (0..23).map(move |_| outcome("no".to_owned()));
    let case = Case::new(many(Outcome::Refused), false);
    let seen = case.deliver(12, None).await;
    assert!(matches!(seen.result, Err(Halt::Misconfigured(_))));
    assert_eq!((seen.settled.len(), case.kept().len(), case.sent().len()), (0, 0, 23));

    let case = Case::new(many(Outcome::TooLarge), false);
    let seen = case.deliver(12, None).await;
    assert_eq!((seen.result, seen.settled.len(), case.kept().len()), (Ok(()), 12, 12));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_refuses_for_now_is_known_to_and_one_that_answers_as_well() {
    let later = || Outcome::RetryLater { reason: "busy".to_owned(), after: Some(Duration::from_secs(60)) };
    let refused = Outcome::Refused("no".to_owned());
    let case = Case::new([later(), refused], false);
    let health = case.delivery.health.watch();
    let begun = Instant::now();
    let delivery = case.deliver(1, None);
    let looks = async {
        sleep(Duration::from_secs(59)).await;
        *health.borrow()
    };
    let (seen, since) = tokio::join!(delivery, looks);
    assert_eq!((since, seen.result, case.kept().len()), (Some(begun), Ok(()), 1));
    assert!(seen.waited >= Duration::from_secs(60) && health.borrow().is_none());

    case.delivery.health.refuses();
    case.delivery.health.forget();
    assert!(health.borrow().is_none());
}

/// Another worker may have the lane by now.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_behind_the_deadline_until_it_moves_on() {
    let (renew, until) = watch::channel(Instant::now());
    let mut case = Case::new([], false);
    case.delivery.deadline = Deadline::following(until);
    let renewal = async {
        sleep(Duration::from_secs(30)).await;
        assert!(case.sent().is_empty());
        renew.send(Instant::now() + Duration::from_secs(10)).unwrap();
    };
    let (seen, ()) = tokio::join!(case.deliver(2, None), renewal);
    assert_eq!((seen.result, seen.waited, case.sent().len()), (Ok(()), Duration::from_secs(30), 1));
}
