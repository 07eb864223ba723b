//! `delivery: exactly_once`: a batch and the checkpoint that covers it in one transaction, with those of other lanes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use super::bearer::Bearer;
use super::reports::{self, Report};
use super::{Delivery, Kafka, Settings};
use crate::kafka::{Abort, Blame, CHECKPOINT, Connect, Lane, Owner, Owners, Tokens, Trouble, Verdict, is_refusal};
use crate::sink::{Attempt, Batch, BuildError, Commits, Context, Covering, Limits, Outcome, Unsaved};

/// How long a lane whose records were refused stays alone after the last refusal: each return that comes too early costs
/// others a transaction.
const QUARANTINE: Duration = Duration::from_secs(60);
/// What a message has beside its value and its fixed headers: key, id, time, framing.
const BESIDE: usize = 2 * 1024;
/// librdkafka's `message.max.bytes`.
const LARGEST_MESSAGE: usize = 1_000_000;

/// The transactional side of one lane's sink.
#[derive(Debug)]
pub(super) struct Transactions {
    owner: Arc<Owner>,
    owners: Arc<Owners>,
    topic: String,
    /// The lane's name.
    name: String,
    lane: Mutex<Option<Arc<Lane>>>,
    quarantined_until: Mutex<Option<Instant>>,
}

/// The topic for checkpoints, where there has to be one.
pub(super) fn checkpoint_topic(settings: &Settings) -> Result<Option<&str>, BuildError> {
    if settings.delivery == Delivery::AtLeastOnce {
        return Ok(None);
    }
    let Some(topic) = settings.checkpoint_topic.as_deref() else {
        let problem = "`delivery: exactly_once` needs a topic on these brokers for the lanes' checkpoints";
        return Err(BuildError::value("checkpoint_topic", problem));
    };
    super::check_topic("checkpoint_topic", topic)?;
    Ok(Some(topic))
}

impl Transactions {
    pub(super) fn new(topic: &str, set: &str, context: &Context) -> Self {
        let owners = context.shared.owners.clone();
        Self {
            owner: owners.get(set, context.shard, topic),
            owners,
            topic: topic.to_owned(),
            name: format!("{}/{}/{}", context.pipeline, context.stream, context.sink),
            lane: Mutex::new(None),
            quarantined_until: Mutex::new(None),
        }
    }

    fn lane(&self) -> Result<Arc<Lane>, Trouble> {
        let lane = self.lock_lane().clone();
        lane.ok_or_else(|| Trouble::Superseded("the lane's checkpoint was not read".to_owned()))
    }

    fn lock_lane(&self) -> MutexGuard<'_, Option<Arc<Lane>>> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_quarantined(&self) -> bool {
        self.lock_quarantine().is_some()
    }

    /// The lane's records were refused: until a while after the last refusal it is alone.
    fn quarantine(&self, code: Code) {
        if self.lock_quarantine().replace(Instant::now() + QUARANTINE).is_none() {
            tracing::warn!(lane = self.name, error = ?code, "refused: the lane is alone in its transactions for now");
        }
    }

    fn delivered(&self) {
        let mut until = self.lock_quarantine();
        if until.is_some_and(|until| until <= Instant::now()) {
            *until = None;
            tracing::info!(lane = self.name, "the lane shares transactions again");
        }
    }

    fn lock_quarantine(&self) -> MutexGuard<'_, Option<Instant>> {
        self.quarantined_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Larger events are refused before they are handed over: within a transaction, that would abort it.
pub(super) fn limits(limits: Limits, settings: &Settings, headers: &[(String, String)]) -> Limits {
    let given = settings.literal("message.max.bytes").or(settings.literal("message.copy.max.bytes"));
    let largest = given.and_then(|text| text.trim().parse().ok()).unwrap_or(LARGEST_MESSAGE);
    let beside = BESIDE + headers.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    Limits { event_bytes: limits.event_bytes.min(largest.saturating_sub(beside)), ..limits }
}

fn outcome_of(trouble: Trouble) -> Outcome {
    match trouble {
        Trouble::Passing(reason) => Outcome::RetryLater { reason, after: None },
        Trouble::Superseded(reason) => Outcome::Superseded(reason),
        Trouble::Forbidden(reason) => Outcome::Misconfigured(reason),
        Trouble::Unauthorized(reason) => Outcome::Unauthorized(reason),
    }
}

impl Kafka {
    fn connect(&self) -> Result<Connect, Trouble> {
        let config = self.options.resolve().map_err(|error| Trouble::Unauthorized(error.to_string()))?;
        let tokens = self.bearer.clone().map(|bearer: Bearer| Arc::new(bearer) as Arc<dyn Tokens>);
        Ok(Connect { config, tokens })
    }

    async fn take_over(&self, transactions: &Transactions) -> Result<Option<Vec<u8>>, Trouble> {
        *transactions.lock_lane() = None;
        let (lane, checkpoint) = transactions.owner.open(&self.connect()?, &transactions.name).await?;
        *transactions.lock_lane() = Some(Arc::new(lane));
        Ok(checkpoint)
    }

    async fn transact(&self, transactions: &Transactions, batch: &Batch, covering: &Covering) -> Attempt {
        let attempt = |outcome, status: &str| Attempt { outcome, bytes: 0, status: status.to_owned() };
        // One of those in an aborted transaction was why: once alone, each shows whether it was.
        let mut suspect = false;
        loop {
            let alone = suspect || transactions.is_quarantined();
            let seated = async {
                let lane = transactions.lane()?;
                let seat = lane.seat(alone).await?;
                Ok((lane, seat))
            };
            let (lane, seat) = match seated.await {
                Ok(seated) => seated,
                Err(trouble) => return attempt(outcome_of(trouble), "superseded"),
            };
            #[expect(clippy::result_large_err, reason = "the record is given back to be sent again")]
            let (sent, bytes) = self.hand_over(batch, |record| seat.producer().send_result(record)).await;
            let Covering { checkpoint, journal } = covering.clone();
            match lane.commit(seat, sent, checkpoint, journal).await {
                Verdict::Committed => {
                    self.tolerance.forget();
                    transactions.delivered();
                    return Attempt { outcome: Outcome::Delivered, bytes, status: "ok".to_owned() };
                }
                Verdict::Over(trouble) => return attempt(outcome_of(trouble), "superseded"),
                Verdict::Aborted(abort) => match abort.blame {
                    Blame::Others => {}
                    Blame::Somebody if !alone => suspect = true,
                    Blame::Own | Blame::Somebody => {
                        transactions.quarantine(abort.code);
                        let reports = reports_of(batch, &abort);
                        let outcome = self.refused(batch, &abort, &reports, transactions);
                        return attempt(outcome, &reports::status(&reports));
                    }
                    Blame::Nobody => {
                        let reason = format!("the transaction was aborted: {}", abort.code);
                        return attempt(Outcome::RetryLater { reason, after: None }, &format!("{:?}", abort.code));
                    }
                },
            }
        }
    }

    /// Nothing was taken, and something of this lane is why.
    fn refused(&self, batch: &Batch, abort: &Abort, reports: &[Report], transactions: &Transactions) -> Outcome {
        let checkpoint = abort.reports.iter().find_map(|(index, code)| (*index == CHECKPOINT).then_some(*code)?);
        if let Some(code) = checkpoint.filter(|code| is_refusal(*code)) {
            return Outcome::Misconfigured(format!("checkpoint topic `{}`: {code}", transactions.topic));
        }
        match reports::outcome(batch, reports, None, &self.tolerance, Instant::now()) {
            // With nothing in it, the checkpoint alone was refused.
            Outcome::Delivered => Outcome::RetryLater { reason: abort.code.to_string(), after: None },
            outcome => outcome,
        }
    }

    pub(super) async fn probe_transactions(&self, transactions: &Transactions) -> Result<String, Trouble> {
        crate::kafka::probe(&self.connect()?, &transactions.topic, &transactions.owners.idle_id()).await
    }
}

/// What became of each event of an aborted transaction: what arrived was taken back.
fn reports_of(batch: &Batch, abort: &Abort) -> Vec<Report> {
    let own = abort.reports.iter().any(|(_, code)| code.is_some_and(is_refusal));
    // Where no report names a reason, it is the transaction's.
    let otherwise = if own || !is_refusal(abort.code) { Code::PurgeQueue } else { abort.code };
    let mut reports = vec![Report::Failed(otherwise); batch.len()];
    for (index, code) in &abort.reports {
        if let (Some(report), Some(code)) = (reports.get_mut(*index), code.filter(|code| is_refusal(*code))) {
            *report = Report::Failed(code);
        }
    }
    reports
}

impl Commits for Kafka {
    fn open(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        async {
            let Some(transactions) = &self.transactions else { return Ok(None) };
            let taken = match self.take_over(transactions).await {
                Err(Trouble::Unauthorized(_)) if self.renewed().await => self.take_over(transactions).await,
                other => other,
            };
            taken.map_err(|trouble| trouble.to_string())
        }
        .boxed()
    }

    fn commit<'a>(&'a self, batch: &'a Batch, covering: &'a Covering) -> BoxFuture<'a, Attempt> {
        async move {
            match &self.transactions {
                Some(transactions) => self.transact(transactions, batch, covering).await,
                None => self.attempt(batch).await,
            }
        }
        .boxed()
    }

    fn save<'a>(&'a self, covering: &'a Covering) -> BoxFuture<'a, Result<(), Unsaved>> {
        async move {
            let Some(transactions) = &self.transactions else { return Ok(()) };
            let Covering { checkpoint, journal } = covering.clone();
            let save = async { transactions.lane()?.save(&self.connect()?, checkpoint, journal).await };
            save.await.map_err(|trouble| match trouble {
                Trouble::Superseded(reason) => Unsaved::Superseded(reason),
                other => Unsaved::Later(other.to_string()),
            })
        }
        .boxed()
    }

    fn look_at(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        async {
            let Some(Transactions { owner, name, .. }) = &self.transactions else { return Ok(None) };
            let read = async { owner.look_at(&self.connect()?, name).await };
            read.await.map_err(|trouble| trouble.to_string())
        }
        .boxed()
    }

    fn read_journal(&self, segment: u64) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        async move {
            let Some(Transactions { owner, name, .. }) = &self.transactions else { return Ok(None) };
            let read = async { owner.segment(&self.connect()?, name, segment).await };
            read.await.map_err(|trouble| trouble.to_string())
        }
        .boxed()
    }

    fn enter(&self) -> Box<dyn Send> {
        match &self.transactions {
            Some(transactions) => Box::new(transactions.owner.enter()),
            None => Box::new(()),
        }
    }
}
