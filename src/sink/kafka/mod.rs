//! `type: kafka`: one message an event.
//!
//! Lanes share producers: one per set of broker settings in the process, closed when nobody uses it. librdkafka does the
//! batching, compressing and sending; what its reports mean is decided in `reports`.

mod bearer;
mod options;
mod producer;
mod reports;
mod text;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

pub(crate) use producer::Producers;

use super::http::ClientCredentials;
use super::settings::{Common, Compression, Defaults, SinkType};
use super::{Attempt, Batch, BuildError, Commits, Context, Event, Limits, Outcome, Probe, Sink};
use crate::kafka::Sent;
use crate::settings::{Schema, Secret};
use bearer::Bearer;
use options::Options;
use producer::{Handed, Producer, Record};
use reports::{Report, Tolerance};
pub use text::Text;
use transactions::Transactions;

/// `type: kafka`: one message an event, keyed by the record, so that versions of one record stay in order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Brokers to begin with, as `HOST:PORT`.
    #[schemars(length(min = 1))]
    pub brokers: Vec<String>,
    /// Topic; `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    pub topic: String,
    /// How often an event may arrive.
    #[serde(default)]
    pub delivery: Delivery,
    /// Compacted topic for the checkpoints of `exactly_once`, on these brokers; made where it does not exist.
    pub checkpoint_topic: Option<String>,
    /// Time stamp of the messages.
    #[serde(default)]
    pub timestamp: MessageTime,
    /// OAUTHBEARER with tokens from OAuth 2.0 client credentials. librdkafka cannot fetch them here: its `sasl.oauthbearer.*`
    /// options do nothing.
    pub oauth: Option<ClientCredentials>,
    /// Handed to librdkafka under its own names; each value may be a secret.
    #[serde(default)]
    pub options: BTreeMap<String, Text>,
}

/// `delivery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Repeated only where an acknowledgement was lost.
    #[default]
    AtLeastOnce,
    /// Events and checkpoint in one transaction: a read-committed consumer sees each version of a record once.
    ExactlyOnce,
}

/// `timestamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageTime {
    /// When the message was produced, so that a backlog does not fall to the topic's retention at once.
    #[default]
    Now,
    /// The event's own time.
    Event,
}

const DEFAULTS: Defaults = Defaults {
    limits: Limits { events: 1_000, bytes: 5 << 20, copies: 2, ..Limits::NONE },
    flush: Duration::from_secs(1),
    // librdkafka keeps several requests in flight by itself. Of two batches of ours, the second could arrive while the
    // first fails and is sent again: versions of one record would change places.
    concurrency: 1,
    concurrency_max: 1,
    compressions: &[Compression::Zstd, Compression::Gzip, Compression::None],
};

/// Producers that fail for good one after the other are a matter of the cluster, and not to be rebuilt for ever.
const FATAL_MAX: u32 = 5;
/// How long to wait for room in librdkafka's queue.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

impl SinkType for Settings {
    fn defaults(&self) -> Defaults {
        DEFAULTS
    }

    fn keeps_checkpoints(&self) -> bool {
        self.delivery == Delivery::ExactlyOnce
    }

    fn build(&self, common: &Common, context: &Context) -> Result<Arc<dyn Sink>, BuildError> {
        let topic = context.fill("topic", &self.topic)?;
        check_topic("topic", &topic)?;
        let checkpoint_topic = transactions::checkpoint_topic(self)?;
        if checkpoint_topic == Some(topic.as_str()) {
            return Err(BuildError::value(
                "checkpoint_topic",
                "events go to this topic, and it keeps but the last of each key",
            ));
        }
        let options = Options::new(self, common, common.compression(&DEFAULTS))?;
        let bearer = self.oauth.as_ref().map(|oauth| Bearer::new(oauth, common, context)).transpose()?;
        let headers = fixed_headers(context);
        let mut limits = common.limits(&DEFAULTS);
        let transactions = checkpoint_topic.map(|topic| {
            let oauth = self.oauth.as_ref().map(|oauth| format!("{oauth:?}")).unwrap_or_default();
            limits = transactions::limits(limits, self, &headers);
            Transactions::new(topic, &options.fingerprint(&[topic, &oauth]), context)
        });
        Ok(Arc::new(Kafka {
            headers,
            key_prefix: format!("{}/{}/", context.console_host, context.stream),
            tolerance: Tolerance::new(options.propagation()),
            options,
            bearer,
            topic,
            timestamp: self.timestamp,
            raw: context.schema == Schema::Raw,
            limits,
            transactions,
            producers: context.shared.producers.clone(),
            turn: tokio::sync::Mutex::default(),
            fatal: AtomicU32::new(0),
            refused: AtomicBool::new(false),
        }))
    }
}

/// The sink of one lane.
#[derive(Debug)]
struct Kafka {
    options: Options,
    /// Where tokens for the brokers come from.
    bearer: Option<Bearer>,
    topic: String,
    timestamp: MessageTime,
    raw: bool,
    key_prefix: String,
    headers: Vec<(String, String)>,
    limits: Limits,
    producers: Arc<Producers>,
    /// With `delivery: exactly_once`.
    transactions: Option<Transactions>,
    tolerance: Tolerance,
    /// Held while a batch is handed to librdkafka, so that batches do not mix.
    turn: tokio::sync::Mutex<()>,
    /// Producers in a row that failed for good.
    fatal: AtomicU32,
    /// The last batch was refused by the cluster.
    refused: AtomicBool,
}

fn check_topic(key: &'static str, topic: &str) -> Result<(), BuildError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(legal) {
        let problem = format!("`{topic}` cannot be a topic: up to 249 letters, digits, `.`, `_` and `-`");
        return Err(BuildError::value(key, problem));
    }
    Ok(())
}

impl Settings {
    /// An option that is no secret.
    fn literal(&self, key: &str) -> Option<&str> {
        match self.options.get(key) {
            Some(Text(Secret::Literal(text))) => Some(text.as_str()),
            _ => None,
        }
    }
}

/// The headers that all messages of a lane have.
fn fixed_headers(context: &Context) -> Vec<(String, String)> {
    let fixed = [
        ("pipeline", context.pipeline.as_str()),
        ("stream", context.stream.name()),
        ("host", context.console_host.as_str()),
        ("schema", context.schema_name),
        ("content-type", "application/json"),
    ];
    let labels = context.labels.iter().map(|(name, value)| (format!("label.{name}"), value.clone()));
    fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).chain(labels).collect()
}

impl Kafka {
    async fn attempt(&self, batch: &Batch) -> Attempt {
        let first = self.once(batch).await;
        if matches!(first.outcome, Outcome::Unauthorized(_)) && self.renew().await {
            return self.once(batch).await;
        }
        first
    }

    /// Credentials may have been rotated; with other ones it is another producer. True when there are other ones.
    async fn renew(&self) -> bool {
        let reloaded = self.options.reload();
        let Ok(producer) = self.producer().await else { return reloaded };
        // A producer keeps a token until it is old, so with one that was refused it makes way for a new one.
        let refused = self.give_up_token().await;
        if refused {
            self.producers.close(&producer);
        }
        reloaded || refused
    }

    /// True when there was a token.
    async fn give_up_token(&self) -> bool {
        match &self.bearer {
            Some(bearer) => bearer.give_up().await,
            None => false,
        }
    }

    /// The same for those that make their producers themselves.
    async fn renewed(&self) -> bool {
        let reloaded = self.options.reload();
        self.give_up_token().await || reloaded
    }

    async fn once(&self, batch: &Batch) -> Attempt {
        let producer = match self.producer().await {
            Ok(producer) => producer,
            Err((outcome, status)) => return Attempt { outcome, bytes: 0, status: status.to_owned() },
        };
        if self.refused.swap(false, Ordering::Relaxed) {
            // librdkafka holds on to what it was told about a topic until it asks again, which may be minutes later.
            let _ = self.partitions(&producer).await;
        }
        let (reports, bytes) = self.produce(&producer, batch).await;
        if reports.contains(&Report::Delivered) {
            producer.events().forget();
            self.tolerance.forget();
            self.fatal.store(0, Ordering::Relaxed);
        }
        let broker_error = producer.events().recent();
        let status = reports::status(&reports);
        let mut outcome = reports::outcome(batch, &reports, broker_error.as_ref(), &self.tolerance, Instant::now());
        if let Some((code, reason)) = producer.fatal_error() {
            self.producers.close(&producer);
            let times = self.fatal.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(topic = self.topic, error = ?code, reason, times, "the Kafka producer failed for good and is made anew");
            if let Some(stop) = reports::fatal_outcome(code, &reason, times >= FATAL_MAX)
                && !matches!(outcome, Outcome::Partial { .. })
            {
                outcome = stop;
            }
        }
        self.refused.store(matches!(outcome, Outcome::Misconfigured(_)), Ordering::Relaxed);
        Attempt { outcome, bytes, status }
    }

    async fn producer(&self) -> Result<Arc<Producer>, (Outcome, &'static str)> {
        let config = self.options.resolve().map_err(|error| (Outcome::Unauthorized(error.to_string()), "secret"))?;
        let made = self.producers.get(config, self.bearer.clone()).await;
        made.map_err(|reason| {
            (Outcome::Misconfigured(format!("no Kafka producer with these options: {reason}")), "options")
        })
    }

    /// Hands the events over and waits for what becomes of each. When this is dropped in between, what has not left yet is
    /// taken back: another worker may deliver newer versions of the same records by the time that brokers are there again.
    async fn produce(&self, producer: &Producer, batch: &Batch) -> (Vec<Report>, u64) {
        let mut reports = vec![Report::Failed(RDKafkaErrorCode::PurgeQueue); batch.len()];
        let turn = self.turn.lock().await;
        let dropped = scopeguard::guard(producer, Producer::purge);
        #[expect(clippy::result_large_err, reason = "the record is given back to be sent again")]
        let (sent, bytes) = self.hand_over(batch, |record| producer.send(record)).await;
        drop(turn);
        for (index, code) in sent.refused {
            reports[index] = Report::RefusedLocally(code);
        }
        for (index, report) in sent.waiting {
            reports[index] = match report.await {
                Ok(Ok(_)) => Report::Delivered,
                Ok(Err((error, _))) => Report::of_delivery(&error),
                // The producer was closed under the message.
                Err(_) => Report::Failed(RDKafkaErrorCode::PurgeQueue),
            };
        }
        scopeguard::ScopeGuard::into_inner(dropped);
        (reports, bytes)
    }

    /// Hands the events over in order; their bytes.
    async fn hand_over(&self, batch: &Batch, send: impl for<'a> Fn(Record<'a>) -> Handed<'a>) -> (Sent, u64) {
        let mut sent = Sent { waiting: Vec::with_capacity(batch.len()), refused: Vec::new() };
        let mut bytes = 0;
        for (index, event) in batch.events().enumerate() {
            let key = self.key(event);
            bytes += (key.len() + event.body.len()) as u64;
            let mut record = FutureRecord::to(&self.topic).key(&key).payload(event.body).headers(self.headers(event));
            if self.timestamp == MessageTime::Event {
                record.timestamp = event.time.map(|time| time.millis());
            }
            loop {
                match send(record) {
                    Ok(report) => sent.waiting.push((index, report)),
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                        record = refused;
                        tokio::time::sleep(QUEUE_FULL_WAIT).await;
                        continue;
                    }
                    Err((error, _)) => {
                        sent.refused.push((index, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)));
                    }
                }
                break;
            }
        }
        (sent, bytes)
    }

    /// A record without id has nothing to stay in order with, and should not go where all others without id go.
    fn key(&self, event: Event<'_>) -> String {
        match event.record_id {
            "" => format!("{}{}", self.key_prefix, event.identity),
            id => format!("{}{id}", self.key_prefix),
        }
    }

    fn headers(&self, event: Event<'_>) -> OwnedHeaders {
        let insert = |headers: OwnedHeaders, key: &str, value: &str| headers.insert(Header { key, value: Some(value) });
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len() + 3);
        headers = insert(headers, "id", &event.identity.to_string());
        if let Some(time) = event.time {
            headers = insert(headers, "event_time", &time.to_string());
        }
        // A mapped event says itself what went wrong.
        if let Some(error) = event.error.filter(|_| self.raw) {
            headers = insert(headers, "error", error);
        }
        self.headers.iter().fold(headers, |headers, (key, value)| insert(headers, key, value))
    }

    async fn look(&self) -> Probe {
        let producer = match self.producer().await {
            Ok(producer) => producer,
            Err((Outcome::Unauthorized(reason) | Outcome::Misconfigured(reason), _)) => return Probe::Failed(reason),
            Err((outcome, _)) => return Probe::Failed(format!("{outcome:?}")),
        };
        let found = match self.partitions(&producer).await {
            Ok(partitions) => format!("topic `{}` with {partitions} partitions", self.topic),
            Err(error) => return reports::probe(&self.topic, error, producer.events().recent().as_ref()),
        };
        let Some(transactions) = &self.transactions else { return Probe::Verified(found) };
        match self.probe_transactions(transactions).await {
            Ok(more) => Probe::Verified(format!("{found}, {more}")),
            Err(trouble) => Probe::Failed(trouble.to_string()),
        }
    }

    /// Asks the brokers about the topic, on a thread that may block.
    async fn partitions(&self, producer: &Arc<Producer>) -> Result<usize, RDKafkaErrorCode> {
        let (producer, topic) = (producer.clone(), self.topic.clone());
        let found = tokio::task::spawn_blocking(move || producer.partitions(&topic, PROBE_TIMEOUT)).await;
        found.unwrap_or(Err(RDKafkaErrorCode::Unknown))
    }
}

impl Sink for Kafka {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        self.attempt(batch).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        self.look().boxed()
    }

    fn commits(&self) -> Option<&dyn Commits> {
        self.transactions.is_some().then_some(self)
    }
}
