//! Sending requests, shared by all destinations.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hmac::Mac;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use url::Url;

use super::auth::{AuthError, Authenticator, UsedSecrets};
use super::body::{EncodeError, content_encoding, encode, framing_bytes};
use super::oauth::TokenError;
use super::signature::Signed;
use super::{Destination, Endpoint, Parts, ResponseView};
use crate::record::Timestamp;
use crate::settings::{HttpSettings, Proxy};
use crate::sink::common::{Common, Compression, Defaults};
use crate::sink::{Attempt, Batch, BuildError, Limits, Outcome, Probe, Sink, SinkContext, TOO_LARGE};

/// Maximum number of bytes that are read of a response to a probe: Elasticsearch may list hundreds of index templates.
const MAX_PROBE_BYTES: usize = 1 << 20;

/// The lost connections in a row after which a batch of several events is sent in halves.
const LOST_CONNECTIONS: u32 = 3;

/// The sink of one lane.
#[derive(Debug)]
pub(crate) struct HttpSink<D> {
    destination: D,
    endpoint: Endpoint,
    client: SinkClient,
    limits: Limits,
    compression: Compression,
    /// Requests in a row whose connection was lost while they were sent.
    lost_connections: AtomicU32,
}

/// Sends requests with the sink's credentials and headers.
#[derive(Debug)]
pub(crate) struct SinkClient {
    settings: HttpSettings,
    client: Mutex<reqwest::Client>,
    /// A list, since a map takes four times the memory and a worker may have ten thousand lanes.
    headers: Box<[(HeaderName, HeaderValue)]>,
    auth: Authenticator,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// `events` is the number of events in the request.
    pub(crate) fn view(&self, events: usize) -> ResponseView<'_> {
        ResponseView { status: self.status, headers: &self.headers, body: &self.body, events }
    }
}

/// A request that was not sent, or got no complete response.
#[derive(Debug)]
pub(crate) struct RequestError {
    pub(crate) outcome: Outcome,
    pub(crate) label: String,
    /// The connection was lost after it had been established.
    connection_lost: bool,
    /// No connection was established, or the TLS handshake failed.
    not_connected: bool,
}

impl SinkClient {
    /// Sends `headers` with every request, and two more with the names of pipeline and stream.
    pub(crate) fn new(
        settings: HttpSettings,
        auth: Authenticator,
        mut headers: HeaderMap,
        context: &SinkContext,
    ) -> Result<Self, BuildError> {
        let client = Mutex::new(settings.client()?);
        for (name, text) in
            [("x-s1-forwarder-pipeline", context.pipeline.as_str()), ("x-s1-forwarder-stream", context.stream.name())]
        {
            let value = HeaderValue::from_str(text)
                .map_err(|_| BuildError::value("name", "not a pipeline name that a header can carry"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Self { settings, client, headers, auth })
    }

    /// A request without a body; see [`send`](Self::send).
    pub(crate) async fn send_empty(&self, method: Method, url: &Url) -> Result<Response, RequestError> {
        self.send(method, url, HeaderMap::new(), Bytes::new()).await
    }

    /// A POST; see [`send`](Self::send).
    pub(crate) async fn post(
        &self,
        url: &Url,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Response, RequestError> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        self.send(Method::POST, url, headers, body).await
    }

    /// One request with credentials. If they are refused and new ones are available, it is sent once more.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, RequestError> {
        let mut used = UsedSecrets::default();
        let first = self.exchange(method.clone(), url, headers.clone(), body.clone(), MAX_PROBE_BYTES, &mut used).await;
        let refused = first.as_ref().is_ok_and(|response| matches!(response.status.as_u16(), 401 | 403));
        if refused && self.auth.renew(&used).await {
            return self.exchange(method, url, headers, body, MAX_PROBE_BYTES, &mut UsedSecrets::default()).await;
        }
        first
    }

    /// Probes with a POST that delivers nothing; `judge` reads the response.
    pub(crate) async fn probe_with_post(
        &self,
        endpoint: &Endpoint,
        content_type: &'static str,
        body: &'static [u8],
        judge: impl FnOnce(&ResponseView<'_>) -> Probe,
    ) -> Probe {
        let result = self.post(endpoint.url(), content_type, Bytes::from_static(body)).await;
        result.map_or_else(RequestError::into_probe, |response| judge(&response.view(0)))
    }

    /// Probes with a request without a body; `judge` reads the response.
    pub(crate) async fn probe_with_empty(
        &self,
        method: Method,
        endpoint: &Endpoint,
        judge: impl FnOnce(&ResponseView<'_>) -> Probe,
    ) -> Probe {
        let result = self.send_empty(method, endpoint.url()).await;
        result.map_or_else(RequestError::into_probe, |response| judge(&response.view(0)))
    }

    /// Probes with a POST without a body, for destinations that check credentials before the body.
    pub(crate) async fn probe_with_empty_post(&self, endpoint: &Endpoint) -> Probe {
        let judge = |response: &ResponseView<'_>| match response.by_status() {
            Outcome::Unauthorized(_) if self.auth.signer().is_some() => {
                Probe::Reached(format!("{endpoint} asks for a signature, which only events have"))
            }
            Outcome::Unauthorized(reason) => Probe::Failed(format!("{endpoint}: credentials refused: {reason}")),
            Outcome::Misconfigured(reason) => Probe::Failed(format!("{endpoint}: {reason}; check `url`")),
            Outcome::RetryLater { reason, .. } => Probe::Failed(format!("{endpoint}: unavailable: {reason}")),
            _ if response.is_html() => Probe::Failed(format!("{endpoint}: {}", response.html_reason())),
            _ => Probe::Verified(format!("{endpoint} accepts the credentials")),
        };
        self.probe_with_empty(Method::POST, endpoint, judge).await
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
        max_bytes: usize,
        used: &mut UsedSecrets,
    ) -> Result<Response, RequestError> {
        headers.extend(self.headers.iter().cloned());
        self.auth.apply(&mut headers, used).await?;
        self.settings.proxy.iter().flat_map(Proxy::secrets).for_each(|secret| used.push(secret));
        let url = self.auth.address(url, used)?;
        let client = self.client.lock().clone();
        let mut result = exchange(&client, method, &url, headers, body, max_bytes).await;
        match &mut result {
            Ok(response) => used.scrub(&mut response.body),
            Err(error) if error.not_connected => self.renew_client(),
            Err(_) => {}
        }
        result
    }

    /// Reads the certificates again, which may have been renewed on disk: a client does not do so by itself.
    fn renew_client(&self) {
        if let Ok(client) = self.settings.client() {
            *self.client.lock() = client;
        }
    }
}

/// Sends one request and reads at most `max_bytes` of the response's body. A success whose body ends early is an error.
pub(crate) async fn exchange(
    client: &reqwest::Client,
    method: Method,
    url: &Url,
    headers: HeaderMap,
    body: Bytes,
    max_bytes: usize,
) -> Result<Response, RequestError> {
    let mut response = client.request(method, url.clone()).headers(headers).body(body).send().await?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while body.len() < max_bytes {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(max_bytes - body.len())]),
            Ok(None) => break,
            // For a refusal the status is sufficient.
            Err(_) if !status.is_success() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Response { status, headers, body })
}

impl From<reqwest::Error> for RequestError {
    fn from(error: reqwest::Error) -> Self {
        let label = match &error {
            error if error.is_timeout() => "timeout",
            // A server may refuse the client certificate after the request was sent.
            error if is_tls(error) => "tls",
            error if error.is_connect() => "connect",
            _ => "connection",
        };
        let (connection_lost, not_connected) = (label == "connection", label == "tls" || error.is_connect());
        // The URL may hold secrets. The causes say what happened.
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors include the text of their cause.
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            cause = error.source();
        }
        Self {
            outcome: Outcome::RetryLater { reason, after: None },
            label: label.to_owned(),
            connection_lost,
            not_connected,
        }
    }
}

/// True if TLS is among the causes of an error.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    // The error that an I/O error wraps is not its source.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|error| is_tls(error)) || error.source().is_some_and(is_tls)
}

impl From<AuthError> for RequestError {
    fn from(error: AuthError) -> Self {
        let (outcome, label) = match error {
            AuthError::Secret(error) => (Outcome::Unauthorized(error.to_string()), "secret"),
            AuthError::InvalidHeaderValue(name) => (
                Outcome::Unauthorized(format!("the secret for `{name}` holds characters that no header can carry")),
                "secret",
            ),
            AuthError::Token(TokenError { outcome }) => (outcome, "token"),
        };
        Self { outcome, label: label.to_owned(), connection_lost: false, not_connected: false }
    }
}

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> Self {
        let reason = error.to_string();
        let (outcome, label) = match error {
            EncodeError::Compress(_) => (Outcome::RetryLater { reason, after: None }, "compress"),
            EncodeError::TooLarge { .. } => (Outcome::TooLarge(reason), TOO_LARGE),
        };
        Self { outcome, label: label.to_owned(), connection_lost: false, not_connected: false }
    }
}

impl RequestError {
    pub(crate) fn into_probe(self) -> Probe {
        Probe::Failed(self.outcome.reason().map_or(self.label, str::to_owned))
    }
}

impl<D: Destination> HttpSink<D> {
    pub(super) fn new(
        parts: Parts<D>,
        http: HttpSettings,
        common: &Common,
        defaults: &Defaults,
        context: &SinkContext,
    ) -> Result<Self, BuildError> {
        let Parts { auth, headers, endpoint, destination } = parts;
        Ok(Self {
            limits: Limits { framing: framing_bytes(&destination), ..common.limits(defaults) },
            compression: common.compression(defaults),
            client: SinkClient::new(http, auth, headers, context)?,
            destination,
            endpoint,
            lost_connections: AtomicU32::new(0),
        })
    }

    /// One attempt, and a second one if the credentials were refused and new ones are available.
    async fn attempt(&self, batch: &Batch) -> Attempt {
        let mut used = UsedSecrets::default();
        let first = self.attempt_once(batch, &mut used).await;
        if matches!(first.outcome, Outcome::Unauthorized(_)) && self.client.auth.renew(&used).await {
            return self.attempt_once(batch, &mut UsedSecrets::default()).await;
        }
        first
    }

    async fn attempt_once(&self, batch: &Batch, used: &mut UsedSecrets) -> Attempt {
        let (body, headers) = match self.request(batch, used).await {
            Ok(request) => request,
            Err(error) => return Attempt { outcome: error.outcome, bytes: 0, status: error.label },
        };
        let bytes = body.len() as u64;
        let url = self.endpoint.url();
        let max_bytes = self.destination.max_response_bytes();
        let result = self.client.exchange(Method::POST, url, headers, body.into(), max_bytes, used).await;
        let (outcome, status) = match result {
            Ok(response) => {
                self.lost_connections.store(0, Ordering::Relaxed);
                let view = response.view(batch.len());
                let outcome = self.destination.judge(&view);
                let outcome = self.destination.confirm(outcome, view, &self.client).await;
                (outcome, response.status.as_u16().to_string())
            }
            Err(error) => (self.judge_error(&error, batch), error.label),
        };
        Attempt { outcome, bytes, status }
    }

    /// Repeated loss of the connection counts as "too large": a server or proxy may close the connection on a large
    /// body before its response can be read.
    fn judge_error(&self, error: &RequestError, batch: &Batch) -> Outcome {
        let lost = if error.connection_lost { self.lost_connections.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        match &error.outcome {
            Outcome::RetryLater { reason, .. } if lost >= LOST_CONNECTIONS && batch.len() > 1 => {
                Outcome::TooLarge(reason.clone())
            }
            outcome => outcome.clone(),
        }
    }

    async fn request(&self, batch: &Batch, used: &mut UsedSecrets) -> Result<(Vec<u8>, HeaderMap), RequestError> {
        let id = batch_id(batch);
        let seconds = Timestamp::now().seconds();
        let signer = self.client.auth.signer();
        let mut signature = None;
        if let Some(signer) = signer {
            let (started, secret) = signer.begin(&id, seconds).map_err(AuthError::Secret)?;
            used.push(secret);
            signature = Some(started);
        }
        let signs_uncompressed = signer.is_some_and(|signer| signer.signed == Signed::Body);
        let over_uncompressed = signature.as_mut().filter(|_| signs_uncompressed);
        let body = encode(&self.destination, batch, self.compression, &self.limits, over_uncompressed).await?;

        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.destination.content_type()));
        if let Some(encoding) = content_encoding(self.compression) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(HeaderName::from_static("idempotency-key"), value);
        }
        if let (Some(signer), Some(mut signature)) = (signer, signature) {
            if !signs_uncompressed {
                signature.update(&body);
            }
            signer.finish(signature, &id, seconds, &mut headers);
        }
        Ok((body, headers))
    }
}

/// An id made from the identities of the events, so that a receiver recognises a batch that is sent again.
fn batch_id(batch: &Batch) -> String {
    let mut hash = Sha256::new();
    for event in batch.events() {
        hash.update(event.identity.to_string().as_bytes());
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

    fn probe(&self) -> BoxFuture<'_, Probe> {
        self.destination.probe(&self.endpoint, &self.client)
    }
}
