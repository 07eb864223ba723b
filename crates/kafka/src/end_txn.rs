//! Detects that librdkafka sent EndTxn, the request that ends a transaction, more than once.
//!
//! If a connection fails before the answer, librdkafka sends the request again. A broker may still get the first copy
//! later. This copy has the producer's current epoch, so it ends the transaction that is open then. The result is a
//! commit without the checkpoint, or an abort whose events are lost. Only a new initialisation of the id makes the
//! brokers refuse the copy.
//!
//! librdkafka waits for `retry.backoff.ms` before it sends a request again. So a call that takes less than half of that
//! repeated nothing. After a longer call, librdkafka's statistics show what was sent.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Interval of librdkafka's statistics, in milliseconds.
const STATISTICS_INTERVAL: (&str, &str) = ("statistics.interval.ms", "1000");
/// Time after a call without statistics, after which the request counts as repeated.
const STATISTICS_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings that bound librdkafka's wait before it repeats a request, with its defaults in milliseconds. It takes
/// the smaller one, with a jitter of a fifth.
const BACKOFF: [(&str, u64); 2] = [("retry.backoff.ms", 100), ("retry.backoff.max.ms", 1_000)];
/// Lower values of these settings are raised: a call is often slower than half of them.
const MIN_BACKOFF: u64 = 100;

/// Counts of librdkafka since it made the producer, over the brokers that were sent EndTxn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Time from the producer's creation to these statistics.
    age: Duration,
    /// EndTxn requests that were sent.
    sent: u64,
    /// Connections that ended, and requests that timed out. Each may leave a request without an answer.
    lost: u64,
}

impl Counts {
    /// Reads librdkafka's statistics (its STATISTICS.md). Returns `None` if they have another form.
    pub(super) fn parse(statistics: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Statistics {
            /// Age of the producer, in microseconds.
            age: u64,
            brokers: HashMap<String, Broker>,
        }
        #[derive(Deserialize)]
        struct Broker {
            disconnects: u64,
            req_timeouts: u64,
            req: Requests,
        }
        #[derive(Deserialize)]
        struct Requests {
            /// Number of EndTxn requests. Absent while it is 0.
            #[serde(rename = "EndTxn", default)]
            end_txn: u64,
        }
        let statistics: Statistics = serde_json::from_slice(statistics).ok()?;
        // In practice this is one: librdkafka has a handle for the coordinator of transactions, and never removes it.
        let coordinators = statistics.brokers.values().filter(|broker| broker.req.end_txn > 0);
        Some(Self {
            age: Duration::from_micros(statistics.age),
            sent: coordinators.clone().map(|broker| broker.req.end_txn).sum(),
            lost: coordinators.map(|broker| broker.disconnects + broker.req_timeouts).sum(),
        })
    }
}

fn given(config: &BTreeMap<String, String>, key: &str) -> Option<u64> {
    config.get(key)?.trim().parse().ok()
}

/// Returns the settings that are used, in milliseconds. librdkafka also reads other forms of numbers, such as `5ms` or
/// `0x5`: for these, the default is used.
fn backoff(config: &BTreeMap<String, String>) -> [(&'static str, u64); 2] {
    BACKOFF.map(|(key, default)| (key, given(config, key).unwrap_or(default).max(MIN_BACKOFF)))
}

/// Returns the settings for which the user's value is not used, with the value that is.
pub(super) fn replaced(config: &BTreeMap<String, String>) -> impl Iterator<Item = (&'static str, u64)> {
    backoff(config).into_iter().filter(|(key, used)| config.contains_key(*key) && given(config, key) != Some(*used))
}

/// Watches how one producer ends its transactions.
#[derive(Debug)]
pub(super) struct EndTxn {
    statistics: watch::Receiver<Counts>,
    /// Time that is not later than the creation of the producer.
    created_at: Instant,
    /// Limit for a call: a faster one repeats no request.
    limit: Duration,
    /// The counts at some time before the calls for the last transaction, and the commits since then.
    base: Counts,
    commits: u64,
    /// Duration of the calls for the last transaction, and their end.
    took: Duration,
    ended_at: Instant,
}

impl EndTxn {
    /// Prepares to watch a producer. Call this before the producer is made. librdkafka's statistics go to `statistics`.
    pub(super) fn new(config: &BTreeMap<String, String>, statistics: watch::Receiver<Counts>) -> Self {
        let backoff = backoff(config).into_iter().map(|(_, used)| used).min();
        let limit = Duration::from_millis(backoff.unwrap_or(MIN_BACKOFF)) / 2;
        let now = Instant::now();
        Self {
            statistics,
            created_at: now,
            limit,
            base: Counts::default(),
            commits: 0,
            took: Duration::ZERO,
            ended_at: now,
        }
    }

    /// Returns the producer's settings that this needs.
    pub(super) fn settings(config: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
        let (interval, often) = STATISTICS_INTERVAL;
        let backoff = backoff(config).into_iter().map(|(key, used)| (key, used.to_string()));
        backoff.chain([(interval, often.to_owned())]).collect()
    }

    /// Prepares for the end of a transaction. Call this before the first call that may end it.
    pub(super) fn start(&mut self) {
        self.took = Duration::ZERO;
        let latest = *self.statistics.borrow_and_update();
        // The transaction is open, and every earlier one has ended: these statistics count all requests for the earlier
        // ones.
        if self.is_after_the_last_call(&latest) {
            self.base = latest;
            self.commits = 0;
        }
    }

    /// Adds the time of a call that commits or aborts, until the transaction has ended.
    pub(super) fn called(&mut self, took: Duration) {
        self.took += took;
        self.ended_at = Instant::now();
    }

    /// Counts a commit that has sent a request. An abort may have sent none.
    pub(super) fn committed(&mut self) {
        self.commits += 1;
    }

    fn is_after_the_last_call(&self, counts: &Counts) -> bool {
        self.created_at + counts.age >= self.ended_at
    }

    /// Returns the reason if EndTxn was sent more than once for the last transaction, or may have been.
    pub(super) async fn repeated(&mut self, was_committed: bool) -> Option<String> {
        if self.took < self.limit {
            return None;
        }
        let created_at = self.created_at;
        let ended_at = self.ended_at;
        let next = self.statistics.wait_for(|counts| created_at + counts.age >= ended_at);
        let counts = match timeout(STATISTICS_TIMEOUT, next).await {
            Ok(Ok(counts)) => *counts,
            _ => return Some(format!("EndTxn took {:?}, and may have been sent twice", self.took)),
        };
        let expected = self.base.sent + self.commits + u64::from(!was_committed);
        let is_repeated = counts.sent > expected && counts.lost > self.base.lost;
        (self.base, self.commits) = (counts, 0);
        is_repeated.then(|| "EndTxn was sent again, since a connection had failed before the answer".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(50);

    fn options(given: &[(&str, &str)]) -> BTreeMap<String, String> {
        given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    struct Watched {
        end_txn: EndTxn,
        statistics: watch::Sender<Counts>,
    }

    impl Watched {
        fn new() -> Self {
            let (statistics, receiver) = watch::channel(Counts::default());
            Self { end_txn: EndTxn::new(&options(&[]), receiver), statistics }
        }

        /// Emits statistics as librdkafka does.
        fn emit(&self, sent: u64, lost: u64) {
            let age = self.end_txn.created_at.elapsed();
            self.statistics.send_replace(Counts { age, sent, lost });
        }

        fn commit(&mut self, took: Duration) {
            self.end_txn.start();
            self.end_txn.called(took);
            self.end_txn.committed();
        }

        fn abort(&mut self, took: Duration) {
            self.end_txn.start();
            self.end_txn.called(took);
        }
    }

    #[test]
    fn the_counts_are_those_of_the_brokers_that_were_sent_endtxn() {
        let statistics = br#"{
            "name": "s1-forwarder#producer-1", "ts": 5016483227792, "age": 9060000, "replyq": 0, "tx": 17,
            "brokers": {
                "127.0.0.1:9092/1": {
                    "source": "learned", "txretries": 3, "req_timeouts": 7, "disconnects": 5,
                    "req": { "Produce": 12, "Metadata": 2, "AddPartitionsToTxn": 0 }
                },
                "TxnCoordinator": {
                    "source": "logical", "txretries": 1, "req_timeouts": 2, "disconnects": 1,
                    "req": { "Produce": 0, "AddPartitionsToTxn": 4, "EndTxn": 3 }
                }
            }
        }"#;
        let age = Duration::from_micros(9_060_000);
        assert_eq!(Counts::parse(statistics), Some(Counts { age, sent: 3, lost: 3 }));
        assert_eq!(Counts::parse(b"{}"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_call_waits_for_no_statistics() {
        let mut watched = Watched::new();
        watched.commit(SLOW - Duration::from_nanos(1));
        assert_eq!(watched.end_txn.repeated(true).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_without_statistics_counts_as_repeated() {
        let mut watched = Watched::new();
        watched.emit(0, 0);
        tokio::time::advance(SLOW).await;
        watched.commit(SLOW);
        assert!(watched.end_txn.repeated(true).await.unwrap().contains("may have been sent twice"));
    }

    #[tokio::test]
    async fn a_slow_call_is_repeated_if_more_requests_were_sent_and_one_had_no_answer() {
        for (sent, lost, is_repeated) in [(3, 0, false), (4, 0, false), (3, 1, false), (4, 1, true)] {
            let mut watched = Watched::new();
            watched.commit(Duration::ZERO);
            watched.commit(Duration::ZERO);
            watched.commit(SLOW);
            watched.emit(sent, lost);
            assert_eq!(watched.end_txn.repeated(true).await.is_some(), is_repeated, "{sent} {lost}");
        }
    }

    #[tokio::test]
    async fn what_an_earlier_call_lost_ends_no_later_session() {
        let mut watched = Watched::new();
        watched.commit(SLOW);
        watched.emit(2, 0);
        assert_eq!(watched.end_txn.repeated(true).await, None, "the brokers have answered both");
        watched.emit(2, 1);
        watched.commit(SLOW);
        watched.emit(3, 1);
        assert_eq!(watched.end_txn.repeated(true).await, None);
    }

    /// An abort may have sent no request. If it counted as one, a repeated request would not be noticed.
    #[tokio::test]
    async fn an_abort_hides_no_repeated_request() {
        let mut watched = Watched::new();
        watched.emit(0, 0);
        watched.abort(Duration::ZERO);
        watched.commit(SLOW);
        watched.emit(2, 1);
        assert!(watched.end_txn.repeated(true).await.is_some());
        watched.abort(SLOW);
        watched.emit(4, 2);
        assert!(watched.end_txn.repeated(false).await.is_some());
    }

    #[test]
    fn a_low_backoff_is_raised() {
        let limit = |given: &[(&str, &str)]| EndTxn::new(&options(given), watch::channel(Counts::default()).1).limit;
        let replaced = |given: &[(&str, &str)]| replaced(&options(given)).collect::<Vec<_>>();
        assert_eq!(limit(&[]), SLOW);
        assert_eq!(limit(&[("retry.backoff.ms", "400")]), 4 * SLOW);
        assert_eq!(limit(&[("retry.backoff.ms", "400"), ("retry.backoff.max.ms", "200")]), 2 * SLOW);
        for text in [" 5", "5ms", "0x5", "5.0"] {
            let given = [("retry.backoff.ms", text)];
            assert_eq!((limit(&given), replaced(&given)), (SLOW, vec![("retry.backoff.ms", 100)]), "{text}");
            let settings = EndTxn::settings(&options(&given));
            assert!(settings.contains(&("retry.backoff.ms", "100".to_owned())), "{settings:?}");
        }
        assert_eq!(replaced(&[("retry.backoff.ms", "100")]), []);
        assert_eq!(replaced(&[("retry.backoff.max.ms", "99")]), [("retry.backoff.max.ms", 100)]);
    }
}
