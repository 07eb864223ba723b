//! Indexer acknowledgement: events count as delivered when the indexers have them. The collector reports that when it
//! is asked for the id of a request.
//!
//! Ids count per channel and indexer. An id that is issued again while it is still pending means one of two things: the
//! collector was restarted, or two indexers answer at one URL. Acknowledgements are ambiguous then, so all pending
//! requests are sent again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::super::{Endpoint, SinkClient};
use super::Acknowledgement;
use super::judge::{ResponseBody, advised};
use crate::sink::{BuildError, Outcome};

/// The result for events that the collector accepted.
#[derive(Debug)]
pub(super) enum AckStatus {
    Acknowledged,
    /// No acknowledgement will come, for this reason.
    Unknown(String),
    /// The collector refuses the query.
    QueryRefused(Outcome),
}

/// The pending requests of one channel.
#[derive(Debug)]
pub(super) struct Acks {
    endpoint: Endpoint,
    interval: Duration,
    timeout: Duration,
    pending: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    /// When the collector was last asked. The task that holds the lock asks for all ids.
    last_query: tokio::sync::Mutex<Option<Instant>>,
    /// The token has no acknowledgement, and the log says so.
    unsupported: AtomicBool,
}

#[derive(Deserialize)]
struct AckResponse {
    acks: BTreeMap<u64, bool>,
}

/// The channel of a lane: the configured one, or a random UUID.
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
    if parts == [8, 4, 4, 4, 12] && hex { Ok(channel.clone()) } else { Err(invalid_channel()) }
}

pub(super) fn invalid_channel() -> BuildError {
    BuildError::value("acknowledgement.channel", "expected a UUID such as 123e4567-e89b-42d3-a456-426614174000")
}

impl Acks {
    pub(super) fn new(endpoint: Endpoint, settings: &Acknowledgement) -> Self {
        Self {
            endpoint,
            interval: settings.interval.0,
            timeout: settings.timeout.0,
            pending: Mutex::default(),
            last_query: tokio::sync::Mutex::new(None),
            unsupported: AtomicBool::new(false),
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Warns once that the token has no acknowledgement.
    pub(super) fn warn_unsupported(&self) {
        if !self.unsupported.swap(true, Ordering::Relaxed) {
            tracing::warn!("the HEC token has no indexer acknowledgement: a success counts as a delivery");
        }
    }

    /// Waits for the acknowledgement of the request with this id.
    pub(super) async fn wait_for(&self, id: u64, client: &SinkClient) -> AckStatus {
        let mut acknowledged = self.register(id);
        let give_up_at = Instant::now() + self.timeout;
        loop {
            if Instant::now() >= give_up_at {
                self.pending.lock().remove(&id);
                return AckStatus::Unknown(format!("not acknowledged within {} s", self.timeout.as_secs()));
            }
            tokio::select! {
                result = &mut acknowledged => return match result {
                    Ok(()) => AckStatus::Acknowledged,
                    Err(_) => AckStatus::Unknown("the collector issued an acknowledgement id twice".to_owned()),
                },
                () = sleep(self.interval) => {}
            }
            // One task asks for all pending requests.
            let Ok(mut last_query) = self.last_query.try_lock() else { continue };
            if last_query.is_none_or(|at| at.elapsed() >= self.interval) {
                if let Err(refusal) = self.query(client).await {
                    return AckStatus::QueryRefused(refusal);
                }
                *last_query = Some(Instant::now());
            }
        }
    }

    /// Adds a request. If its id is pending already, all pending requests end without an acknowledgement.
    fn register(&self, id: u64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut pending = self.pending.lock();
        pending.retain(|_, sender| !sender.is_closed());
        if pending.insert(id, sender).is_some() {
            pending.clear();
        }
        receiver
    }

    async fn query(&self, client: &SinkClient) -> Result<(), Outcome> {
        let ids: Vec<u64> = self.pending.lock().keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let body = Bytes::from(serde_json::json!({ "acks": ids }).to_string());
        // Without a response the query is repeated, until the timeout of the pending requests.
        let Ok(response) = client.send(Method::POST, self.endpoint.url(), HeaderMap::new(), body).await else {
            return Ok(());
        };
        if let Ok(AckResponse { acks }) = serde_json::from_slice(&response.body) {
            let mut pending = self.pending.lock();
            for id in acks.into_iter().filter_map(|(id, indexed)| indexed.then_some(id)) {
                // The collector reports an id once. A closed receiver belongs to a cancelled delivery.
                let _ = pending.remove(&id).map(|sender| sender.send(()));
            }
            return Ok(());
        }
        let view = response.view(0);
        match (ResponseBody::of(&view).map(|body| body.code), view.by_status()) {
            (Some(14), _) => {
                self.warn_unsupported();
                let pending = std::mem::take(&mut *self.pending.lock());
                pending.into_values().for_each(|sender| {
                    let _ = sender.send(());
                });
                Ok(())
            }
            (_, Outcome::Unauthorized(reason)) => Err(Outcome::Unauthorized(reason)),
            (_, Outcome::RetryLater { .. }) => Ok(()),
            (code, _) => Err(Outcome::Misconfigured(advised(code.unwrap_or_default(), view.reason()))),
        }
    }
}
