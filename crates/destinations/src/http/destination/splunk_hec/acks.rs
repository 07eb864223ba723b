//! Indexer acknowledgement: events count as delivered when the indexers have them. The collector reports that when it
//! is asked for the id of a request.
//!
//! Ids count per channel and indexer. An id that is issued again means one of two things: the collector was restarted,
//! or two indexers answer at one URL. An acknowledgement may then be for another request with the same id, so all
//! pending requests are sent again. A request whose response is lost may have an id that is pending, with the same
//! consequence. For the same reason the collector is only asked while no request is under way: each id that it has
//! issued is known then.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use s1_forwarder_engine::sink::Outcome;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::{Transient, Unauthorized};
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::judge::{ResponseBody, advised};
use crate::BuildError;
use crate::http::transport::exchange::{ErrorKind, RequestError, Response};
use crate::http::{Endpoint, SinkClient};

/// `acknowledgement:` of a collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acknowledgement {
    /// A UUID that is used by nothing else; default: a random one for each lane and start.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub channel: Option<String>,
    /// How often to ask (1s).
    pub interval: Period,
    /// Events that are not acknowledged in this time are sent again (5m).
    pub timeout: Period,
}

impl Default for Acknowledgement {
    fn default() -> Self {
        let interval = Period(Duration::from_secs(1));
        let timeout = Period(Duration::from_mins(5));
        Self { channel: None, interval, timeout }
    }
}

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
    requests: Mutex<Requests>,
    /// Held for reading by each request under way, and for writing by the task that asks.
    under_way: tokio::sync::RwLock<()>,
    /// When the collector was last asked. The task that holds the lock asks for all ids.
    last_query: tokio::sync::Mutex<Option<Instant>>,
    /// Whether the token has no acknowledgement. The log says so once.
    unsupported: AtomicBool,
}

#[derive(Debug, Default)]
struct Requests {
    pending: BTreeMap<u64, oneshot::Sender<()>>,
    /// Receivers of requests whose response is known and that do not wait for an acknowledgement yet.
    registered: BTreeMap<u64, PendingRequest>,
    /// The ids that were issued since the collector's start, up to the last `REMEMBERED`.
    issued: BTreeSet<u64>,
}

/// Resolves when the request is acknowledged; fails when no acknowledgement can be trusted.
pub(super) type PendingRequest = oneshot::Receiver<()>;

/// More than there can be requests under way, whose ids may become known in another order.
const REMEMBERED: usize = 4_096;

impl Requests {
    fn register(&mut self, id: u64) {
        self.pending.retain(|_, sender| !sender.is_closed());
        let oldest = if self.issued.len() >= REMEMBERED { self.issued.first().copied() } else { None };
        if self.issued.contains(&id) || oldest.is_some_and(|oldest| id < oldest) {
            self.issued.clear();
            if !self.pending.is_empty() {
                self.distrust();
                return;
            }
        }
        self.issued.insert(id);
        if self.issued.len() > REMEMBERED {
            self.issued.pop_first();
        }
        let (sender, receiver) = oneshot::channel();
        self.pending.insert(id, sender);
        self.registered.insert(id, receiver);
    }

    /// Lets no acknowledgement count for the requests so far.
    fn distrust(&mut self) {
        self.pending.clear();
    }
}

/// Name of the query in error texts.
const QUERY: &str = "the query for acknowledgements";

#[derive(Deserialize)]
struct AckResponse {
    acks: BTreeMap<u64, bool>,
}

impl Acknowledgement {
    /// Returns the channel of a lane: the configured one, or a random UUID.
    pub(super) fn channel(&self) -> Result<String, BuildError> {
        for (key, period) in [("interval", self.interval), ("timeout", self.timeout)] {
            if period.0.is_zero() {
                let problem = "0 would ask without a pause, or send everything again";
                return Err(BuildError::value(format!("acknowledgement.{key}"), problem));
            }
        }
        let Some(channel) = &self.channel else { return Ok(random_channel()) };
        let parts: Vec<usize> = channel.split('-').map(str::len).collect();
        let hex = channel.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if parts == [8, 4, 4, 4, 12] && hex { Ok(channel.clone()) } else { Err(invalid_channel()) }
    }
}

/// Returns a random UUID of version 4, variant 1.
fn random_channel() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
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
            requests: Mutex::default(),
            under_way: tokio::sync::RwLock::default(),
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

    /// Sends a request with events, and registers the id in its response.
    pub(super) async fn track(
        &self,
        request: impl Future<Output = Result<Response, RequestError>>,
    ) -> Result<Response, RequestError> {
        let _under_way = self.under_way.read().await;
        let mut unknown = UnknownId { acks: self, is_known: false };
        let result = request.await;
        match &result {
            Ok(response) => {
                if let Some(id) = ResponseBody::of(&response.view(0)).and_then(|body| body.ack_id) {
                    self.requests.lock().register(id);
                }
                unknown.is_known = true;
            }
            Err(error) => unknown.is_known = matches!(error.kind, ErrorKind::Unsent | ErrorKind::NotConnected),
        }
        result
    }

    /// Removes the request with this id and returns it. `None` if the collector issued the id twice.
    pub(super) fn pending_request(&self, id: u64) -> Option<PendingRequest> {
        self.requests.lock().registered.remove(&id)
    }

    /// Waits for the acknowledgement of the request with this id.
    pub(super) async fn wait_for(&self, id: u64, pending: Option<PendingRequest>, client: &SinkClient) -> AckStatus {
        const UNTRUSTED: &str = "the collector issued an acknowledgement id twice, or a response was lost";
        let Some(mut acknowledged) = pending else { return AckStatus::Unknown(UNTRUSTED.to_owned()) };
        let give_up_at = Instant::now() + self.timeout;
        loop {
            if Instant::now() >= give_up_at {
                self.requests.lock().pending.remove(&id);
                return AckStatus::Unknown(format!("not acknowledged within {} s", self.timeout.as_secs()));
            }
            tokio::select! {
                result = &mut acknowledged => return match result {
                    Ok(()) => AckStatus::Acknowledged,
                    Err(_) => AckStatus::Unknown(UNTRUSTED.to_owned()),
                },
                () = sleep(self.interval) => {}
            }
            // One task asks for all pending requests.
            let Ok(mut last_query) = self.last_query.try_lock() else { continue };
            if last_query.is_none_or(|at| at.elapsed() >= self.interval) {
                let _none_under_way = self.under_way.write().await;
                if let Err(refusal) = self.query(client).await {
                    return AckStatus::QueryRefused(refusal);
                }
                *last_query = Some(Instant::now());
            }
        }
    }

    async fn query(&self, client: &SinkClient) -> Result<(), Outcome> {
        let ids: Vec<u64> = self.requests.lock().pending.keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let body = Bytes::from(serde_json::json!({ "acks": ids }).to_string());
        // Without a response the query is repeated, until the timeout of the pending requests.
        let Ok(response) = client.send(Method::POST, self.endpoint.url(), HeaderMap::new(), body).await else {
            return Ok(());
        };
        if let Ok(AckResponse { acks }) = serde_json::from_slice(&response.body) {
            let pending = &mut self.requests.lock().pending;
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
                let pending = std::mem::take(&mut self.requests.lock().pending);
                pending.into_values().for_each(|sender| {
                    let _ = sender.send(());
                });
                Ok(())
            }
            (_, Outcome::Failed(Failure { kind: Unauthorized, reason, .. })) => {
                Err(Outcome::unauthorized(format!("{QUERY}: {reason}")))
            }
            (_, Outcome::Failed(Failure { kind: Transient, .. })) => Ok(()),
            (Some(code), _) => Err(Outcome::misconfigured(format!("{QUERY}: {}", advised(code, view.reason())))),
            (None, _) => Err(Outcome::misconfigured(format!(
                "{QUERY} is not answered as a HEC does ({}): let `/services/collector/ack` through to the collector that \
                 got the events, or remove `acknowledgement`",
                view.reason()
            ))),
        }
    }
}

/// A request under way. Without a response its id stays unknown.
struct UnknownId<'a> {
    acks: &'a Acks,
    is_known: bool,
}

impl Drop for UnknownId<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.acks.requests.lock().distrust();
        }
    }
}
