//! Indexer acknowledgement: events are taken when the indexers have them, which the collector tells on being asked.
//!
//! Numbers count per channel and indexer. One that comes twice while the first still waits means that the counting began
//! anew (a restart) or that two indexers answer under one address: neither can be told from the other then, and all that
//! wait are sent again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::super::{Answer, Endpoint, Requests};
use super::Acknowledgement;
use super::judge::{Said, advised};
use crate::record::Stream;
use crate::sink::{BuildError, Context, Outcome};

/// What became of events that the collector had taken.
#[derive(Debug)]
pub(super) enum Fate {
    /// The indexers have them.
    Taken,
    /// Nobody will say.
    Lost(String),
    /// The collector refuses to be asked.
    Stop(Outcome),
}

/// Those that wait in one channel.
#[derive(Debug)]
pub(super) struct Acks {
    endpoint: Endpoint,
    interval: Duration,
    timeout: Duration,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    /// When the collector was asked last; whoever holds this asks for all.
    asked: tokio::sync::Mutex<Option<Instant>>,
    /// The token does without, which was said in the log.
    missing: AtomicBool,
    pipeline: String,
    stream: Stream,
}

#[derive(Deserialize)]
struct Acked {
    acks: BTreeMap<u64, bool>,
}

/// The channel of a lane.
pub(super) fn channel(settings: &Acknowledgement) -> Result<String, BuildError> {
    let Some(channel) = &settings.channel else {
        // Version 4, variant 1.
        let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        let (a, rest) = hex.split_at(8);
        let (b, rest) = rest.split_at(4);
        let (c, rest) = rest.split_at(4);
        let (d, e) = rest.split_at(4);
        return Ok(format!("{a}-{b}-{c}-{d}-{e}"));
    };
    let parts: Vec<usize> = channel.split('-').map(str::len).collect();
    let hex = channel.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if parts == [8, 4, 4, 4, 12] && hex { Ok(channel.clone()) } else { Err(no_channel()) }
}

pub(super) fn no_channel() -> BuildError {
    BuildError::value("acknowledgement.channel", "expected a UUID such as 123e4567-e89b-42d3-a456-426614174000")
}

impl Acks {
    pub(super) fn new(endpoint: Endpoint, settings: &Acknowledgement, context: &Context) -> Self {
        Self {
            endpoint,
            interval: settings.interval.0,
            timeout: settings.timeout.0,
            waiting: Mutex::default(),
            asked: tokio::sync::Mutex::new(None),
            missing: AtomicBool::new(false),
            pipeline: context.pipeline.clone(),
            stream: context.stream,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The collector took events and gave no number: there is nothing to wait for.
    pub(super) fn are_missing(&self) {
        if !self.missing.swap(true, Ordering::Relaxed) {
            let Self { pipeline, stream, .. } = self;
            tracing::warn!(%pipeline, %stream, "the HEC token does without indexer acknowledgement: its answers are taken for deliveries");
        }
    }

    /// Waits until the events under this number are safe, or will not be.
    pub(super) async fn wait_for(&self, id: u64, requests: &Requests) -> Fate {
        let mut told = self.register(id);
        let give_up_at = Instant::now() + self.timeout;
        loop {
            if Instant::now() >= give_up_at {
                self.waiting().remove(&id);
                return Fate::Lost(format!("not acknowledged within {} s", self.timeout.as_secs()));
            }
            tokio::select! {
                told = &mut told => return match told {
                    Ok(()) => Fate::Taken,
                    Err(_) => Fate::Lost("the collector counts its acknowledgements anew".to_owned()),
                },
                () = sleep(self.interval) => {}
            }
            // One asks for all; the others hear of it.
            let Ok(mut asked) = self.asked.try_lock() else { continue };
            if asked.is_none_or(|asked| asked.elapsed() >= self.interval) {
                if let Err(stop) = self.ask(requests).await {
                    return Fate::Stop(stop);
                }
                *asked = Some(Instant::now());
            }
        }
    }

    fn register(&self, id: u64) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.retain(|_, tell| !tell.is_closed());
        if waiting.insert(id, tell).is_some() {
            waiting.clear();
        }
        told
    }

    async fn ask(&self, requests: &Requests) -> Result<(), Outcome> {
        let ids: Vec<u64> = self.waiting().keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let body = serde_json::json!({ "acks": ids }).to_string();
        // Whoever does not answer is asked again; in the end the events are sent again.
        let Ok(reply) = requests.ask_with(Method::POST, self.endpoint.url(), HeaderMap::new(), Bytes::from(body)).await
        else {
            return Ok(());
        };
        if let Ok(Acked { acks }) = serde_json::from_slice(&reply.body) {
            let mut waiting = self.waiting();
            for id in acks.into_iter().filter_map(|(id, safe)| safe.then_some(id)) {
                // An id is told once and then forgotten; who does not listen any more has been stopped.
                let _ = waiting.remove(&id).map(|tell| tell.send(()));
            }
            return Ok(());
        }
        let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
        match (Said::of(&answer).map(|said| said.code), answer.by_status()) {
            (Some(14), _) => {
                self.are_missing();
                let waiting = std::mem::take(&mut *self.waiting());
                waiting.into_values().for_each(|tell| {
                    let _ = tell.send(());
                });
                Ok(())
            }
            (_, Outcome::Unauthorized(reason)) => Err(Outcome::Unauthorized(reason)),
            (_, Outcome::RetryLater { .. }) => Ok(()),
            (code, _) => Err(Outcome::Misconfigured(advised(code.unwrap_or_default(), answer.reason()))),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
