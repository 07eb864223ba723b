use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use s1_forwarder_record::{Clock, Identity, LaneId, Stream, Timestamp};
use s1_forwarder_settings::RetrySettings;
use s1_forwarder_telemetry::{Meter, Telemetry};
use tokio::sync::watch;

use super::refusal::AFTER_DEAD_LETTERS;
use super::throttle::Throttle;
use super::*;
use crate::checkpoint::{CheckpointBackend, CheckpointKey, StateError};
use crate::dead_letters::{DeadLetter, DeadLetterError, DeadLetterStore, DeadLetters};
use crate::sink::{Deadline, Limits, ProbeResult, Sink, Until};

/// Returns the scripted answers, then accepts everything. Records the sent events and their checkpoints.
#[derive(Debug, Default)]
struct Script {
    answers: std::sync::Mutex<VecDeque<Outcome>>,
    sent: std::sync::Mutex<Vec<(String, Option<Vec<u8>>)>>,
    /// The status of every answer; empty for `scripted`.
    status: std::sync::Mutex<&'static str>,
    /// Whether a request has events with the same labels only.
    separates_labels: AtomicBool,
    /// Whether the labels of every third event are the same.
    has_labels: AtomicBool,
    /// A request with one of these events is answered with 500; each request, if there is `*`.
    bad: std::sync::Mutex<Vec<&'static str>>,
    /// `Retry-After` of these answers.
    bad_for: std::sync::Mutex<Option<Duration>>,
}

impl Script {
    fn answer(&self, batch: &Batch, checkpoint: Option<&[u8]>) -> Attempt {
        let names: Vec<&str> = batch.events().map(|event| event.record_id).collect();
        if self.bad.lock().unwrap().iter().any(|bad| *bad == "*" || names.contains(bad)) {
            self.sent.lock().unwrap().push((names.join(" "), None));
            let outcome = Outcome::Failed(Failure::transient_after("500 oops", *self.bad_for.lock().unwrap()));
            return Attempt::new(outcome, 1, AttemptStatus::of_label("500"));
        }
        self.sent.lock().unwrap().push((names.join(" "), checkpoint.map(<[u8]>::to_vec)));
        let outcome = self.answers.lock().unwrap().pop_front().unwrap_or(Outcome::Delivered);
        let status = match (&outcome, *self.status.lock().unwrap()) {
            (Outcome::TooLarge(_), _) => AttemptStatus::TooLarge,
            (_, "") => "scripted".into(),
            (_, status) => AttemptStatus::of_label(status),
        };
        Attempt::new(outcome, 1, status)
    }
}

impl Sink for Script {
    fn limits(&self) -> Limits {
        Limits::NONE
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        async { self.answer(batch, None) }.boxed()
    }

    fn separates_labels(&self) -> bool {
        self.separates_labels.load(Ordering::Relaxed)
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        async { ProbeResult::Verified(String::new()) }.boxed()
    }

    fn as_transactional(self: Arc<Self>) -> Option<Arc<dyn TransactionalSink>> {
        Some(self)
    }
}

#[async_trait]
impl CheckpointBackend for Script {
    async fn load(&self, _: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    async fn commit(&self, _: &CheckpointKey, _: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        Ok(Vec::new())
    }
}

impl TransactionalSink for Script {
    fn commit_batch<'a>(&'a self, batch: &'a Batch, update: CheckpointUpdate) -> BoxFuture<'a, Attempt> {
        async move { self.answer(batch, Some(&update.checkpoint)) }.boxed()
    }

    fn announce_sender(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

/// Records the ids of stored dead letters. Stores nothing while it is full, and no more than a number, if there is one.
#[derive(Debug, Clone, Default)]
struct MemoryStore(Arc<std::sync::Mutex<Vec<String>>>, Arc<AtomicBool>, Arc<std::sync::Mutex<Option<usize>>>);

impl DeadLetterStore for MemoryStore {
    fn keep<'a>(&'a self, dead_letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        if self.1.load(Ordering::Relaxed) {
            let full = std::io::ErrorKind::StorageFull.into();
            return async { Err(DeadLetterError::Io { place: "memory".to_owned(), source: full }) }.boxed();
        }
        let mut stored = self.0.lock().unwrap();
        if self.2.lock().unwrap().is_some_and(|max| stored.len() + dead_letters.len() > max) {
            let place = "memory".to_owned();
            let pipeline = "acme".to_owned();
            return async { Err(DeadLetterError::ShareFull { place, pipeline, share: 0, max: 0 }) }.boxed();
        }
        stored.extend(dead_letters.iter().map(|dead_letter| dead_letter.record_id.to_owned()));
        async { Ok(()) }.boxed()
    }
}

struct Case {
    sink: Arc<Script>,
    store: MemoryStore,
    delivery: Delivery,
}

struct DeliveryResult {
    result: Result<(), DeliveryError>,
    committed: Option<Vec<usize>>,
    settled: Vec<usize>,
    waited: Duration,
}

impl Case {
    fn new(answers: impl IntoIterator<Item = Outcome>) -> Self {
        let answers = std::sync::Mutex::new(answers.into_iter().collect());
        let sink = Arc::new(Script { answers, ..Script::default() });
        let clock = Clock::System;
        let store = MemoryStore::default();
        let delivery = Delivery {
            sink: sink.clone(),
            retry: RetrySettings::default(),
            dead_letters: Arc::new(DeadLetters::in_store(store.clone(), "")),
            meter: Meter::start(
                &Arc::new(Telemetry::new()),
                &LaneId::new("acme", Stream::Activities, "siem"),
                "test",
                clock,
            ),
            clock,
            health: SinkHealth::default(),
            throttle: Throttle::new(1),
            deadline: Deadline::default(),
        };
        Self { sink, store, delivery }
    }

    async fn deliver(&self, events: usize, update: Option<fn(&[usize]) -> CheckpointUpdate>) -> DeliveryResult {
        let ids: Vec<usize> = (0..events).collect();
        self.deliver_ids(&ids, update, &CancellationToken::new()).await
    }

    async fn deliver_ids(
        &self,
        ids: &[usize],
        update: Option<fn(&[usize]) -> CheckpointUpdate>,
        stop: &CancellationToken,
    ) -> DeliveryResult {
        let mut batch = Batch::new(Stream::Activities);
        for event in ids {
            let id = event.to_string();
            let identity = Identity::of("console.example", Stream::Activities, &id, "");
            batch.push_with(&id, identity, None, |body| {
                body.extend_from_slice(b"{}");
                None
            });
            if self.sink.separates_labels() || self.sink.has_labels.load(Ordering::Relaxed) {
                let site = [("site".to_owned(), (event % 3).to_string())];
                batch.label_last(Arc::new(site.into_iter().collect()));
            }
        }
        let transaction = update.as_ref().map(|update| Transaction { sink: self.sink.clone(), update });
        let fates = Fates::none_of(ids.len());
        let started_at = Instant::now();
        let random = fastrand::Rng::with_seed(7);
        let result = self.delivery.deliver(&batch, &fates, random, transaction.as_ref(), stop).await;
        let committed = result.as_ref().ok().cloned().flatten();
        DeliveryResult { result: result.map(drop), committed, settled: fates.settled(), waited: started_at.elapsed() }
    }

    /// Runs a session of a lane whose sink has failed before. It sends the first fifty events that are left, and ends
    /// at the first refusal. Then waits a minute.
    async fn session(&self, left: &mut Vec<usize>) {
        let health = &self.delivery.health;
        let stop = CancellationToken::new();
        let watching = async {
            while health.answers().refusing_since.is_none() {
                health.changed().await;
            }
            stop.cancel();
            std::future::pending::<()>().await;
        };
        health.clear_refusing();
        let ids = left[..left.len().min(50)].to_vec();
        let seen = tokio::select! {
            seen = self.deliver_ids(&ids, None, &stop) => seen,
            () = watching => unreachable!(),
        };
        let settled: Vec<usize> = seen.settled.iter().map(|index| ids[*index]).collect();
        left.retain(|id| !settled.contains(id));
        sleep(Duration::from_mins(1)).await;
    }

    fn sent(&self) -> Vec<String> {
        self.sink.sent.lock().unwrap().iter().map(|(names, _)| names.clone()).collect()
    }

    fn stored(&self) -> Vec<String> {
        self.store.0.lock().unwrap().clone()
    }

    /// Returns the numbers of delivered events and of dead letters in the metrics.
    fn counted(&self) -> (u64, u64) {
        let metrics = &self.delivery.meter.metrics;
        (metrics.send.delivered.get(), metrics.send.dead_letters.get())
    }
}

fn partial(refused: &[usize], retry: &[usize], after: Option<u64>) -> Outcome {
    let refusal = |index: &usize| RefusedEvent { index: *index, status: "400".to_owned(), reason: "no".to_owned() };
    let refused = refused.iter().map(refusal).collect();
    Outcome::Partial {
        refused,
        retry: retry.to_vec(),
        retry_after: after.map(Duration::from_secs),
        warnings: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_unnamed_refusals_is_stored_whole_and_counted_once() {
    let reason = "eleven".to_owned();
    let case = Case::new([Outcome::RefusedSome { count: 11, reason }]);
    let seen = case.deliver(12, None).await;
    assert_eq!((seen.result, seen.settled.len(), case.stored().len()), (Ok(()), 12, 12), "one of them was accepted");
    assert_eq!(case.counted(), (1, 11));
}

#[tokio::test(start_paused = true)]
async fn events_with_the_same_labels_are_sent_together_where_a_request_has_one_set_of_labels() {
    let case = Case::new([]);
    case.sink.separates_labels.store(true, Ordering::Relaxed);
    let seen = case.deliver(8, None).await;
    assert_eq!((seen.result, seen.settled.len(), case.counted()), (Ok(()), 8, (8, 0)));
    assert_eq!(case.sent(), ["0 3 6", "1 4 7", "2 5"]);
}

/// `--metrics-label` counts the delivered events: each value has its own events, and each event counts once.
#[tokio::test(start_paused = true)]
async fn events_of_a_partly_refused_batch_count_by_their_own_labels() {
    let some = Outcome::RefusedSome { count: 3, reason: "no".to_owned() };
    for (answers, separates, expected) in [
        // 0, 3 and 6 are of site 0. One is refused, one is sent again and accepted, and one is sent again and refused.
        (vec![partial(&[0, 4], &[1, 3], None), partial(&[0], &[], None)], false, [("0", 2), ("1", 1), ("2", 2)]),
        (vec![partial(&[0], &[2], None)], true, [("0", 2), ("1", 3), ("2", 2)]),
        // Which events were accepted is unknown.
        (vec![some], true, [("0", 0), ("1", 3), ("2", 2)]),
    ] {
        let mut case = Case::new(answers);
        case.sink.separates_labels.store(separates, Ordering::Relaxed);
        case.sink.has_labels.store(true, Ordering::Relaxed);
        let telemetry = Arc::new(Telemetry::new().counting_labels(vec!["site".to_owned()]));
        case.delivery.meter =
            Meter::start(&telemetry, &LaneId::new("acme", Stream::Activities, "siem"), "test", Clock::System);
        let seen = case.deliver(8, None).await;
        assert_eq!((seen.result, seen.settled.len()), (Ok(()), 8));
        let mut counts = std::collections::BTreeMap::new();
        case.delivery.meter.metrics.for_each_label_count(|_, value, count| {
            assert_eq!(count.bytes, 2 * count.events);
            counts.insert(value.to_owned(), count.events);
        });
        let expected = expected.into_iter().filter(|(_, events)| *events > 0);
        assert_eq!(counts, expected.map(|(value, events)| (value.to_owned(), events)).collect(), "{separates}");
        assert_eq!(counts.values().sum::<u64>(), case.counted().0);
    }
}

#[tokio::test(start_paused = true)]
async fn warnings_are_counted_and_the_events_are_delivered() {
    let warning = |reason, text: &str| Warning { reason, text: text.to_owned() };
    let stored = || warning(WarningReason::FailureStore, "failure store");
    let dropped = || warning(WarningReason::Noop, "dropped");
    let mut partly = partial(&[], &[1], None);
    if let Outcome::Partial { warnings, .. } = &mut partly {
        warnings.push(dropped());
    }
    let case = Case::new([
        Outcome::DeliveredWithWarnings(vec![stored(), dropped()]),
        Outcome::DeliveredWithWarnings(vec![stored()]),
        Outcome::SlowDown("queues".to_owned()),
        partly,
    ]);
    for _ in 0..4 {
        assert_eq!(case.deliver(2, None).await.result, Ok(()));
    }
    let metrics = &case.delivery.meter.metrics;
    let counts = [("noop", 2), ("failure_store", 2), ("slow_down", 1)];
    assert_eq!((case.counted(), metrics.sink_warnings()), ((8, 0), counts.into()));
    let (now, reason) = (Timestamp::now(), "noop");
    let again = ["dropped", "other"].map(|text| metrics.sink_warned(reason, text, now));
    assert_eq!(again, [false, true], "a new text is worth a line, whatever other reasons have occurred between");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_a_misconfiguration_only_if_no_event_was_accepted() {
    let refused: Vec<usize> = (1..12).collect();
    let case = Case::new([partial(&refused, &[], None)]);
    let seen = case.deliver(12, None).await;
    assert_eq!((seen.result, seen.settled.len(), case.counted()), (Ok(()), 12, (1, 11)));

    let case = Case::new([partial(&(0..11).collect::<Vec<_>>(), &[], None)]);
    let seen = case.deliver(11, None).await;
    assert!(matches!(seen.result, Err(DeliveryError::Sink(Failure { kind: FailureKind::RefusedAll, .. }))));
    assert_eq!((seen.settled, case.stored()), (Vec::new(), Vec::new()), "no event became a dead letter");
}

#[tokio::test(start_paused = true)]
async fn refusals_in_a_row_are_counted_over_batches_until_one_is_accepted() {
    let all = |events: usize| partial(&(0..events).collect::<Vec<_>>(), &[], None);
    let case = Case::new([all(6), Outcome::Delivered, all(6), all(3), all(1)]);
    for (events, is_fine) in [(6, true), (1, true), (6, true), (3, true), (1, false)] {
        assert_eq!(case.deliver(events, None).await.result.is_ok(), is_fine);
    }
    assert_eq!(case.counted(), (1, 15));
}

/// Repeated refusals of the same events count once.
#[tokio::test(start_paused = true)]
async fn a_full_dead_letter_store_does_not_make_the_lane_misconfigured() {
    let all = || partial(&[0, 1, 2], &[], None);
    let case = Case::new((0..7).map(|_| all()));
    case.store.1.store(true, Ordering::Relaxed);
    for _ in 0..6 {
        let seen = case.deliver(3, None).await;
        assert!(
            matches!(
                seen.result,
                Err(DeliveryError::DeadLetters(Failure {
                    kind: FailureKind::Transient,
                    retry_after: Some(AFTER_DEAD_LETTERS),
                    ..
                }))
            ) && seen.settled.is_empty(),
            "{:?}",
            seen.result
        );
    }
    case.store.1.store(false, Ordering::Relaxed);
    assert_eq!(case.deliver(3, None).await.result, Ok(()));
    assert_eq!((case.counted(), case.stored().len()), ((0, 3), 3));
}

/// The sink accepted other events. The rest of the batch, refused again, does not make the sink misconfigured.
#[tokio::test(start_paused = true)]
async fn dead_letters_that_have_room_are_stored_and_the_others_wait_for_room() {
    let refused: Vec<usize> = (1..60).collect();
    let refuses = |events: usize| partial(&(0..events).collect::<Vec<_>>(), &[], None);
    let one_by_one = (0..300).map(|_| Outcome::Refused("no".to_owned()));
    let case = Case::new([partial(&refused, &[], None), refuses(49)].into_iter().chain(one_by_one));
    let mut left: Vec<usize> = (0..60).collect();
    for (room, expected) in [(Some(10), 49), (Some(10), 49), (Some(10), 49), (None, 0)] {
        *case.store.2.lock().unwrap() = room;
        let seen = case.deliver_ids(&left, None, &CancellationToken::new()).await;
        let is_full =
            matches!(&seen.result, Err(DeliveryError::DeadLetters(Failure { kind: FailureKind::Transient, .. })));
        assert!(is_full || room.is_none() && seen.result == Ok(()), "{:?}", seen.result);
        let settled: Vec<usize> = seen.settled.iter().map(|index| left[*index]).collect();
        left.retain(|id| !settled.contains(id));
        assert_eq!((left.len(), case.stored().len()), (expected, 59 - expected));
    }
    assert_eq!(case.counted(), (1, 59));
    assert!(case.delivery.health.unstored().is_empty());
}

#[tokio::test(start_paused = true)]
async fn temporarily_refused_events_wait_and_untried_events_do_not() {
    let case = Case::new([partial(&[1], &[2, 3], None)]);
    let seen = case.deliver(4, None).await;
    assert_eq!((seen.result, seen.waited), (Ok(()), Duration::ZERO));
    assert_eq!((case.sent(), case.stored()), (vec!["0 1 2 3".to_owned(), "2 3".to_owned()], vec!["1".to_owned()]));
    assert_eq!((case.counted(), seen.settled), ((3, 1), vec![0, 1, 2, 3]));

    // The delivery waits if the sink tried all events. A sink that settles some of them is not refusing.
    for (refused, again, is_refusing) in
        [(&[][..], &[0, 1, 2, 3][..], true), (&[], &[1], false), (&[0], &[1, 3], false), (&[2], &[1, 3], false)]
    {
        let case = Case::new([partial(refused, again, None)]);
        let health = &case.delivery.health;
        let observation = async {
            tokio::task::yield_now().await;
            health.answers().refusing_since.is_some()
        };
        let (seen, refuses) = tokio::join!(case.deliver(4, None), observation);
        assert!(!seen.waited.is_zero() && seen.result.is_ok(), "temporarily refused events are not sent in a hot loop");
        assert_eq!(refuses, is_refusing, "{refused:?} {again:?}");
    }

    let case = Case::new([partial(&[], &[1], Some(5))]);
    assert!(case.deliver(2, None).await.waited >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_commits_a_checkpoint_and_so_do_stored_dead_letters() {
    let settled: fn(&[usize]) -> CheckpointUpdate =
        |settled| settled.iter().map(|index| *index as u8).collect::<Vec<u8>>().into();
    let case = Case::new([]);
    assert_eq!(case.deliver(2, Some(settled)).await.committed, Some(vec![0, 1]));
    assert_eq!(*case.sink.sent.lock().unwrap(), [("0 1".to_owned(), Some(vec![0, 1]))]);

    let case = Case::new([partial(&[1], &[2], None)]);
    assert_eq!(case.deliver(3, Some(settled)).await.committed, Some(vec![0, 1, 2]));
    let sent = case.sink.sent.lock().unwrap().clone();
    let attempts = [("0 1 2", vec![0, 1, 2]), ("2", vec![0, 2]), ("", vec![0, 1, 2])];
    assert_eq!(sent, attempts.map(|(names, checkpoint)| (names.to_owned(), Some(checkpoint))));
    assert_eq!(case.stored(), ["1"]);

    let case = Case::new([]);
    assert_eq!(case.deliver(2, None).await.committed, None);
}

/// A sink that refuses every event is misconfigured, and one that finds every event too large is not.
#[tokio::test(start_paused = true)]
async fn refused_events_count_towards_a_misconfiguration_and_oversized_events_do_not() {
    let many = |outcome: fn(String) -> Outcome| (0..23).map(move |_| outcome("no".to_owned()));
    let case = Case::new(many(Outcome::Refused));
    let seen = case.deliver(12, None).await;
    assert!(matches!(seen.result, Err(DeliveryError::Sink(Failure { kind: FailureKind::RefusedAll, .. }))));
    // Two less than each event and each part: the last two are not sent together.
    assert_eq!((seen.settled.len(), case.stored().len(), case.sent().len()), (0, 0, 22));

    let case = Case::new(many(Outcome::TooLarge));
    let seen = case.deliver(12, None).await;
    assert_eq!((seen.result, seen.settled.len(), case.stored().len()), (Ok(()), 12, 12));
}

/// The request as a whole is refused, so the first events and some of the others are enough to know.
#[tokio::test(start_paused = true)]
async fn a_refused_request_does_not_cost_a_request_for_each_event() {
    let case = Case::new((0..4_000).map(|_| Outcome::Refused("no such pipeline".to_owned())));
    let seen = case.deliver(2_000, None).await;
    assert!(matches!(seen.result, Err(DeliveryError::Sink(Failure { kind: FailureKind::RefusedAll, .. }))));
    let sent = case.sent();
    assert!(sent.len() < 50 && case.stored().is_empty(), "{} requests", sent.len());
    assert!(sent.contains(&"1999".to_owned()), "one of them was the last event: {sent:?}");
}

/// The request is not to blame, so no event is tried before its turn.
#[tokio::test(start_paused = true)]
async fn a_sink_that_accepts_some_events_gets_the_others_in_order() {
    let refused = || Outcome::Refused("no".to_owned());
    let answers = [refused(), Outcome::Delivered].into_iter().chain((0..120).map(|_| refused()));
    let case = Case::new(answers);
    assert_eq!(case.deliver(100, None).await.result, Ok(()));
    let alone: Vec<usize> = case.sent().iter().filter_map(|names| names.parse().ok()).collect();
    assert!(alone.iter().copied().eq(50..100), "{alone:?}");
    assert_eq!(case.stored().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_are_accepted_by_command_become_dead_letters_in_any_number() {
    let mut case = Case::new((0..60).map(|_| Outcome::Refused("no".to_owned())));
    case.delivery.health = SinkHealth::new(true);
    for _ in 0..2 {
        assert_eq!(case.deliver(15, None).await.result, Ok(()));
    }
    assert_eq!((case.stored().len(), case.counted()), (30, (0, 30)));
}

/// A command without the flag does not name it.
#[tokio::test(start_paused = true)]
async fn an_error_names_the_flag_only_if_the_command_has_it() {
    for has_flag in [true, false] {
        let health = || if has_flag { SinkHealth::default() } else { SinkHealth::default().without_flag() };
        let mut case = Case::new((0..60).map(|_| Outcome::Refused("no".to_owned())));
        case.delivery.health = health();
        let error = format!("{:?}", case.deliver(15, None).await.result);
        assert!(error.contains("no event of this batch became a dead letter"), "{error}");
        assert_eq!(error.contains("if the events are to blame, start again"), has_flag, "{error}");
        assert_eq!(error.contains("--accept-refusals"), has_flag, "{error}");

        let mut case = blocked("200");
        case.delivery.health = health();
        let seen = tokio::time::timeout(Duration::from_hours(2), case.deliver(4, None)).await;
        assert!(seen.is_err() && state(&case).contains("record 2 alone has failed"), "{}", state(&case));
        assert_eq!(state(&case).contains("if the record is to blame, start again"), has_flag, "{}", state(&case));
        assert_eq!(state(&case).contains("--accept-refusals"), has_flag, "{}", state(&case));
    }
}

#[tokio::test(start_paused = true)]
async fn health_reports_a_temporary_refusal_until_the_sink_answers() {
    let later = || Outcome::Failed(Failure::transient_after("busy", Some(Duration::from_mins(1))));
    let refused = Outcome::Refused("no".to_owned());
    let case = Case::new([later(), refused]);
    let health = &case.delivery.health;
    let started_at = Instant::now();
    let delivery = case.deliver(1, None);
    let observation = async {
        sleep(Duration::from_secs(59)).await;
        health.answers().refusing_since
    };
    let (seen, since) = tokio::join!(delivery, observation);
    assert_eq!((since, seen.result, case.stored().len()), (Some(started_at), Ok(()), 1));
    assert!(seen.waited >= Duration::from_mins(1) && health.answers().refusing_since.is_none());

    case.delivery.health.set_refusing(Instant::now());
    case.delivery.health.clear_refusing();
    assert!(health.answers().refusing_since.is_none());
}

/// Returns a case with a batch of four. Its last two events fail indefinitely with this status, after the others were
/// accepted.
fn blocked(status: &'static str) -> Case {
    let later = || Outcome::retry_later("500 illegal_state_exception: why");
    let case = Case::new(std::iter::once(partial(&[], &[2, 3], None)).chain((0..10_000).map(|_| later())));
    *case.sink.status.lock().unwrap() = status;
    case
}

fn state(case: &Case) -> String {
    format!("{:?}", case.delivery.meter.metrics.state())
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_alone_is_named_after_an_hour_and_not_dropped() {
    // If the request failed as a whole, the sink may be down since it accepted others.
    for (status, is_named) in [("200", true), ("500", false), ("503", false), ("429", false), ("timeout", false)] {
        let case = blocked(status);
        let delivery = tokio::time::timeout(Duration::from_hours(2), case.deliver(4, None));
        let early = async {
            sleep(Duration::from_secs(3_500)).await;
            (state(&case), case.sent().last().cloned())
        };
        let (seen, (before, sent)) = tokio::join!(delivery, early);
        assert!(seen.is_err() && case.stored().is_empty(), "{status}");
        assert!(before.contains("illegal_state") && !before.contains("record"), "{before}");
        assert_eq!(sent.as_deref(), Some("2 3"), "{status}: too early to halve");
        let named = "record 2 alone has failed for";
        assert_eq!(state(&case).contains(named) && state(&case).contains("--accept-refusals"), is_named, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_alone_is_a_dead_letter_if_refusals_are_accepted() {
    let mut case = blocked("200");
    case.delivery.health = SinkHealth::new(true);
    let seen = case.deliver(4, None).await;
    assert_eq!((seen.result, case.stored(), case.counted()), (Ok(()), vec!["2".to_owned(), "3".to_owned()], (2, 2)));
    assert!((120..600).contains(&seen.waited.as_secs()), "{:?}", seen.waited);
}

/// The sink answers 500 to each request with such a record. A session ends long before the hour is over.
#[tokio::test(start_paused = true)]
async fn a_record_for_which_each_request_fails_is_found_over_many_sessions() {
    for (bad, named) in [
        (vec!["0"], "record 0 alone"),
        (vec!["24"], "record 24 alone"),
        (vec!["25"], "record 25 alone"),
        (vec!["49"], "record 49 alone"),
        // One in each half: no half is accepted.
        (vec!["3", "40"], "record 3 alone"),
        (vec!["0", "1", "48", "49"], "record 0 alone"),
    ] {
        let case = Case::new([]);
        *case.sink.bad.lock().unwrap() = bad.clone();
        let mut left: Vec<usize> = (0..60).collect();
        for _ in 0..59 {
            case.session(&mut left).await;
            assert!(left.len() == 60 && state(&case).contains("500 oops"), "too early: {}", state(&case));
        }
        for _ in 0..20 {
            case.session(&mut left).await;
        }
        assert!(state(&case).contains(named), "{bad:?}: {}", state(&case));
        assert!(case.stored().is_empty() && left.contains(&bad[0].parse().unwrap()), "nothing is dropped");
        if bad.len() == 1 {
            assert_eq!(left.len(), 1, "the others are delivered: {left:?}");
            // Other events in one batch with the record pass it, and the record stays named.
            left.extend(100..120);
            case.session(&mut left).await;
            assert!(left.len() == 1 && state(&case).contains(named), "{left:?} {}", state(&case));
            // The destination works again.
            case.sink.bad.lock().unwrap().clear();
            case.session(&mut left).await;
            assert!(left.is_empty() && state(&case).contains("kind: Running"), "{}", state(&case));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_record_for_which_requests_fail_is_a_dead_letter_if_refusals_are_accepted() {
    // A session gives up long before that time is over, and tries the same event first in the next one.
    for retry_after in [None, Some(Duration::from_mins(2))] {
        let mut case = Case::new([]);
        case.delivery.health = SinkHealth::new(true);
        *case.sink.bad.lock().unwrap() = vec!["3", "40"];
        *case.sink.bad_for.lock().unwrap() = retry_after;
        let mut left: Vec<usize> = (0..60).collect();
        for _ in 0..120 {
            case.session(&mut left).await;
        }
        // After an event was found the sink has to accept others: it may be down.
        left.extend(100..110);
        for _ in 0..6 {
            case.session(&mut left).await;
        }
        let mut stored = case.stored();
        stored.sort();
        let expected = (0, vec!["3".to_owned(), "40".to_owned()], (68, 2));
        assert_eq!((left.len(), stored, case.counted()), expected, "{retry_after:?}");
    }
}

/// A cluster under pressure accepts other batches, and answers 200 with 429 for each document of this one.
#[tokio::test(start_paused = true)]
async fn a_sink_that_is_busy_blames_no_event_and_drops_none() {
    for accepts in [false, true] {
        let busy = || Outcome::Busy("429 es_rejected_execution_exception: full".to_owned());
        let answers = std::iter::once(partial(&[], &[2, 3], None)).chain((0..10_000).map(|_| busy()));
        let mut case = Case::new(answers);
        case.delivery.health = SinkHealth::new(accepts);
        *case.sink.status.lock().unwrap() = "200";
        let seen = tokio::time::timeout(Duration::from_hours(2), case.deliver(4, None)).await;
        assert!(seen.is_err() && case.stored().is_empty(), "{accepts}: {:?}", case.stored());
        assert!(state(&case).contains("429 es_rejected") && !state(&case).contains("record"), "{}", state(&case));
        assert!(case.sent()[1..].iter().all(|names| names == "2 3"), "no smaller requests");
    }
}

/// The sink is up for one request in an outage.
#[tokio::test(start_paused = true)]
async fn one_request_that_is_accepted_in_an_outage_makes_no_dead_letter() {
    let mut case = Case::new([]);
    case.delivery.health = SinkHealth::new(true);
    *case.sink.bad.lock().unwrap() = vec!["*"];
    let mut left: Vec<usize> = (0..8).collect();
    for _ in 0..10 {
        case.session(&mut left).await;
    }
    *case.sink.bad.lock().unwrap() = vec!["7"];
    case.session(&mut left).await;
    *case.sink.bad.lock().unwrap() = vec!["*"];
    for _ in 0..30 {
        case.session(&mut left).await;
    }
    assert!(case.stored().is_empty() && left.contains(&7), "{:?} {left:?}", case.stored());
}

/// The sink goes down after the record was found.
#[tokio::test(start_paused = true)]
async fn what_fails_in_an_outage_is_no_dead_letter_even_if_it_is_to_blame() {
    let mut case = Case::new([]);
    case.delivery.health = SinkHealth::new(true);
    let event = Identity::of("console.example", Stream::Activities, "0", "");
    let started_at = Instant::now();
    let patience = Duration::from_mins(2);
    let failed = |after| {
        case.delivery.health.blocked().attempt_failed(
            &[event],
            AnswerSubject::Events,
            true,
            started_at + after,
            patience,
        )
    };
    assert_eq!((failed(Duration::ZERO), failed(patience)), (None, Some(event)));
    let down = || Outcome::retry_later("503");
    *case.sink.status.lock().unwrap() = "503";
    case.sink.answers.lock().unwrap().extend((0..20).map(|_| down()));
    assert_eq!(case.deliver(1, None).await.result, Ok(()));
    assert_eq!((case.stored().len(), case.sent().len(), case.counted()), (0, 21, (1, 0)));
}

/// A sink that is down costs no more requests than without a search, loses nothing, and gets whole batches afterwards.
#[tokio::test(start_paused = true)]
async fn an_outage_drops_nothing_and_leaves_no_small_batches() {
    for accepts in [false, true] {
        let mut case = Case::new([]);
        case.delivery.health = SinkHealth::new(accepts);
        case.sink.bad.lock().unwrap().push("*");
        let mut left: Vec<usize> = (0..200).collect();
        for _ in 0..400 {
            case.session(&mut left).await;
        }
        assert_eq!((case.sent().len(), left.len(), case.stored().len()), (400, 200, 0), "one request a session");
        assert!(!state(&case).contains("record"), "{}", state(&case));
        case.sink.bad.lock().unwrap().clear();
        let before = case.sent().len();
        while !left.is_empty() {
            case.session(&mut left).await;
        }
        let sizes: Vec<usize> = case.sent()[before..].iter().map(|names| names.split(' ').count()).collect();
        // A part of the first batch may be sent apart.
        assert!(sizes.len() <= 6 && sizes.ends_with(&[50, 50, 50]), "{sizes:?}");
    }
}

/// Another worker may have the lane after the deadline.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_the_deadline_until_it_is_renewed() {
    let (renew, until) = watch::channel(Until::now());
    let mut case = Case::new([]);
    case.delivery.deadline = Deadline::new(until);
    let renewal = async {
        sleep(Duration::from_secs(30)).await;
        assert!(case.sent().is_empty());
        renew.send(Until::after(Duration::from_secs(10))).unwrap();
    };
    let (seen, ()) = tokio::join!(case.deliver(2, None), renewal);
    assert_eq!((seen.result, seen.waited, case.sent().len()), (Ok(()), Duration::from_secs(30), 1));
}
