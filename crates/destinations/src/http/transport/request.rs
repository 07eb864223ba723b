//! The sink of a lane that delivers over HTTP: one attempt for a batch.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hmac::Mac;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use s1_forwarder_engine::sink::{
    Attempt, AttemptStatus, Batch, Limits, MaskedRequest, NoRequest, Outcome, ProbeResult, Sink,
};
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::{Misconfigured, Transient, Unauthorized};
use s1_forwarder_record::Timestamp;
use s1_forwarder_settings::{HttpSettings, UsedProxy};
use sha2::{Digest, Sha256};

use super::body::{Body, EncodeError, content_encoding, encode, framing_bytes};
use super::client::SinkClient;
use super::endpoint::Endpoint;
use super::exchange::{ErrorKind, RequestError};
use super::response::ResponseView;
use super::size_limiter::SizeLimiter;
use crate::common_keys::Common;
use crate::failover::Failover;
use crate::http::auth::AuthError;
use crate::http::auth::signature::Signed;
use crate::http::auth::used_secrets::UsedSecrets;
use crate::http::destination::{Address, Destination, Parts};
use crate::sink_type::{Compression, SinkDefaults};
use crate::{BuildError, SinkContext};

/// The sink of one lane.
#[derive(Debug)]
pub(crate) struct HttpSink<D> {
    addresses: Failover<Address<D>>,
    client: SinkClient,
    limits: Limits,
    compression: Compression,
    size: SizeLimiter,
}

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> Self {
        let reason = error.to_string();
        let (outcome, status) = match error {
            EncodeError::Compress(_) => (Outcome::retry_later(reason), "compress".into()),
            EncodeError::TooLarge { .. } => (Outcome::TooLarge(reason), AttemptStatus::TooLarge),
        };
        Self { outcome, status, kind: ErrorKind::Unsent }
    }
}

impl<D: Destination> HttpSink<D> {
    pub(crate) fn new(
        parts: Parts<D>,
        http: HttpSettings,
        common: &Common,
        defaults: &SinkDefaults,
        context: &SinkContext,
    ) -> Result<Self, BuildError> {
        let Parts { auth, headers, addresses } = parts;
        // Each lane begins with another address, so that lanes share them.
        let addresses = Failover::new(addresses, &(&context.lane.pipeline, context.lane.stream.name()));
        Ok(Self {
            limits: Limits { framing: framing_bytes(&addresses.in_use().destination), ..common.limits(defaults) },
            compression: common.compression(defaults),
            client: SinkClient::new(http, auth, headers, context)?,
            addresses,
            size: SizeLimiter::default(),
        })
    }

    /// Makes one attempt, and a second one if the credentials were refused and new ones are available.
    async fn attempt(&self, batch: &Batch) -> Attempt {
        let limit = self.size.limit();
        if batch.len() > limit {
            return too_large(format!("{} events: requests have at most {limit} for a while", batch.len()));
        }
        if batch.len() > 1 && self.size.is_too_large(batch.body_bytes()) {
            return too_large(format!("{} bytes: the destination refused a request of this size", batch.body_bytes()));
        }
        let mut used = UsedSecrets::default();
        let first = self.attempt_once(batch, &mut used).await;
        let is_refused = first.outcome.failure_kind() == Some(Unauthorized);
        // After a 403 the credentials are valid and lack a permission.
        let are_invalid = first.status == AttemptStatus::Http(StatusCode::UNAUTHORIZED);
        if is_refused && self.client.renew(&used, are_invalid).await {
            return self.attempt_once(batch, &mut UsedSecrets::default()).await;
        }
        first
    }

    async fn attempt_once(&self, batch: &Batch, used: &mut UsedSecrets) -> Attempt {
        let (index, Address { endpoint, destination, is_prepared }) = self.addresses.current();
        if !is_prepared.load(Ordering::Relaxed) {
            match destination.prepare(&self.client).await {
                Ok(is_ready) => is_prepared.store(is_ready, Ordering::Relaxed),
                Err(outcome) => return Attempt::unsent(name_address(outcome, endpoint), "unprepared"),
            }
        }
        let (Body { bytes: body, event_bytes }, headers) = match self.request(destination, batch, used).await {
            Ok(request) => request,
            Err(error) => return Attempt::unsent(error.outcome, error.status),
        };
        let bytes = body.len() as u64;
        let max_bytes = destination.max_response_bytes();
        let exchange = self.client.exchange(Method::POST, endpoint.url(), headers, body.into(), max_bytes, used);
        let (outcome, status, is_unavailable) = match destination.send(exchange.boxed()).await {
            Ok(response) => {
                let view = response.view(batch.len());
                let outcome = self.learn(destination.judge(&view), &view, batch);
                let outcome = destination.confirm(outcome, view, &self.client).await;
                let outcome = name_address(response.scrub(outcome), endpoint);
                (outcome, AttemptStatus::Http(response.status), response.status.is_server_error())
            }
            Err(error) => {
                let is_unavailable = error.kind != ErrorKind::Unsent;
                (self.judge_error(&error, batch), error.status, is_unavailable)
            }
        };
        if is_unavailable {
            self.addresses.leave(index);
        }
        Attempt { outcome, bytes, event_bytes, status }
    }

    /// Learns from a response about the size of requests. Returns `outcome`, or a request to halve the batch.
    fn learn(&self, outcome: Outcome, response: &ResponseView<'_>, batch: &Batch) -> Outcome {
        if response.status == StatusCode::GATEWAY_TIMEOUT {
            return self.halve_if(self.size.timed_out(response.events), outcome);
        }
        self.size.answered();
        match &outcome {
            Outcome::Failed(Failure { kind: Misconfigured, .. }) if response.status.is_success() => {
                self.size.not_understood()
            }
            Outcome::RefusedSome { .. } => self.size.partly_refused(),
            Outcome::TooLarge(_) => self.size.refused_size(batch.len(), batch.body_bytes()),
            _ if response.status.is_success() => self.size.understood(),
            _ => {}
        }
        outcome
    }

    fn judge_error(&self, error: &RequestError, batch: &Batch) -> Outcome {
        let halves = match error.kind {
            ErrorKind::TimedOut => self.size.timed_out(batch.len()),
            ErrorKind::ConnectionLost => self.size.connection_lost(batch.len()),
            ErrorKind::Unsent | ErrorKind::NotConnected => false,
        };
        self.halve_if(halves, error.outcome.clone())
    }

    fn halve_if(&self, halves: bool, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Failed(Failure { kind: Transient, reason, .. }) if halves => Outcome::TooLarge(reason),
            outcome => outcome,
        }
    }

    async fn request(
        &self,
        destination: &D,
        batch: &Batch,
        used: &mut UsedSecrets,
    ) -> Result<(Body, HeaderMap), RequestError> {
        let id = batch_id(batch);
        let seconds = Timestamp::now().seconds();
        let signer = self.client.signer();
        let mut signature = None;
        if let Some(signer) = signer {
            let (started, secret) = signer.begin(&id, seconds).map_err(AuthError::Secret)?;
            used.push(secret);
            signature = Some(started);
        }
        let signs_uncompressed = signer.is_some_and(|signer| signer.signed == Signed::Body);
        let over_uncompressed = if signs_uncompressed { signature.as_mut() } else { None };
        let body = encode(destination, batch, self.compression, &self.limits, over_uncompressed).await?;

        let mut headers = self.headers(destination, &id);
        if let (Some(signer), Some(mut signature)) = (signer, signature) {
            if !signs_uncompressed {
                signature.update(&body.bytes);
            }
            signer.finish(signature, &id, seconds, &mut headers);
        }
        Ok((body, headers))
    }

    /// Returns the headers that describe a batch.
    fn headers(&self, destination: &D, id: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(destination.content_type()));
        if let Some(encoding) = content_encoding(self.compression) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Ok(value) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static("idempotency-key"), value);
        }
        headers
    }

    async fn masked_request(&self, batch: &Batch) -> Result<MaskedRequest, NoRequest> {
        let Address { endpoint, destination, .. } = self.addresses.in_use();
        // The limit of the body is one of the compressed body.
        let limits = Limits { wire_bytes: usize::MAX, ..self.limits };
        let body = encode(destination, batch, Compression::None, &limits, None).await;
        let body = body.map_err(|error| match error {
            EncodeError::TooLarge { .. } => NoRequest::TooLarge(error.to_string()),
            EncodeError::Compress(_) => NoRequest::Other(error.to_string()),
        })?;
        let body = body.bytes;
        let id = batch_id(batch);
        let mut headers = self.headers(destination, &id);
        self.client.mask(&mut headers);
        if let Some(signer) = self.client.signer() {
            signer.mask(&id, Timestamp::now().seconds(), &mut headers);
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(MaskedRequest { method: Method::POST, url: self.client.masked_address(endpoint), headers, body })
    }
}

/// Adds host and path to the reasons that a lane reports. Those of dead letters have none.
fn name_address(outcome: Outcome, endpoint: &Endpoint) -> Outcome {
    let named = |reason: String| format!("{}: {reason}", endpoint.with_path());
    match outcome {
        Outcome::Failed(failure @ Failure { kind: Transient | Unauthorized | Misconfigured, .. }) => {
            Outcome::Failed(failure.map_reason(named))
        }
        Outcome::Busy(reason) => Outcome::Busy(named(reason)),
        other => other,
    }
}

/// Returns an attempt that sent nothing, since the batch has to be halved first.
fn too_large(reason: String) -> Attempt {
    Attempt::unsent(Outcome::TooLarge(reason), AttemptStatus::TooLarge)
}

/// Returns an id made from the identities of the events, so that a receiver recognises a batch that is sent again.
fn batch_id(batch: &Batch) -> String {
    let mut hash = Sha256::new();
    for event in batch.events() {
        hash.update(event.identity.hex());
    }
    format!("msg_{}", hex::encode(&hash.finalize()[..16]))
}

impl<D: Destination> Sink for HttpSink<D> {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        self.attempt(batch).boxed()
    }

    fn dry_run<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Option<ProbeResult>> {
        self.addresses.in_use().destination.dry_run(batch, &self.client)
    }

    fn render_request<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<MaskedRequest, NoRequest>> {
        self.masked_request(batch).boxed()
    }

    fn proxies(&self) -> Vec<UsedProxy> {
        let mut proxies = Vec::new();
        for proxy in self.addresses.all().iter().filter_map(|address| self.client.proxy(address.endpoint.url())) {
            if !proxies.contains(&proxy) {
                proxies.push(proxy);
            }
        }
        proxies
    }

    /// Probes every address. Fails if one probe fails.
    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        async {
            let probes = self
                .addresses
                .all()
                .iter()
                .map(|Address { endpoint, destination, .. }| destination.probe(endpoint, &self.client));
            let probes = futures_util::future::join_all(probes).await;
            probes.into_iter().reduce(ProbeResult::and).unwrap_or_else(|| ProbeResult::Failed("no address".to_owned()))
        }
        .boxed()
    }
}
