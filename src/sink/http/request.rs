//! Sending, once for all destinations.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hmac::Mac;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use sha2::{Digest, Sha256};
use url::Url;

use super::auth::{AuthError, Authenticator, Used};
use super::body::{EncodeError, content_encoding, encode, framing};
use super::oauth::TokenError;
use super::signature::Signed;
use super::{Answer, Destination, Endpoint, Parts};
use crate::record::Timestamp;
use crate::settings::{HttpSettings, Proxy};
use crate::sink::settings::{Common, Compression, Defaults};
use crate::sink::{Attempt, Batch, BuildError, Context, Limits, Outcome, Probe, Sink, TOO_LARGE};

/// Most bytes that are read of an answer to a probe: some list hundreds of things.
const PROBE_BYTES: usize = 1 << 20;

/// A destination and what it takes to talk to it: the sink of one lane.
#[derive(Debug)]
pub(crate) struct HttpSink<D> {
    destination: D,
    endpoint: Endpoint,
    requests: Requests,
    limits: Limits,
    compression: Compression,
    /// Requests in a row whose connection was lost while they were sent.
    cut: AtomicU32,
}

/// Requests with the sink's credentials and headers.
#[derive(Debug)]
pub(crate) struct Requests {
    settings: HttpSettings,
    client: Mutex<reqwest::Client>,
    /// A list takes a fourth of the memory that a map takes, and there may be ten thousand.
    headers: Box<[(HeaderName, HeaderValue)]>,
    auth: Authenticator,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why nothing came back, or not the whole.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    pub(crate) label: String,
    /// The connection was lost after it had been made.
    cut: bool,
    /// No connection could be made, or the two ends did not trust each other.
    unreached: bool,
}

impl Requests {
    /// `headers` are sent with every request, those that name the lane are added.
    pub(crate) fn new(
        settings: HttpSettings,
        auth: Authenticator,
        mut headers: HeaderMap,
        context: &Context,
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

    /// A request without a body, for probes; see [`ask_with`](Self::ask_with).
    pub(crate) async fn ask(&self, method: Method, url: &Url, headers: HeaderMap) -> Result<Reply, Failure> {
        self.ask_with(method, url, headers, Bytes::new()).await
    }

    /// A POST that delivers nothing, for probes; see [`ask_with`](Self::ask_with).
    pub(crate) async fn post(
        &self,
        url: &Url,
        content_type: &'static str,
        body: &'static [u8],
    ) -> Result<Reply, Failure> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        self.ask_with(Method::POST, url, headers, Bytes::from_static(body)).await
    }

    /// One request with credentials. A refusal for want of credentials is tried once more with newer ones.
    pub(crate) async fn ask_with(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, Failure> {
        let mut used = Used::default();
        let first = self.exchange(method.clone(), url, headers.clone(), body.clone(), PROBE_BYTES, &mut used).await;
        let refused = first.as_ref().is_ok_and(|reply| matches!(reply.status.as_u16(), 401 | 403));
        if refused && self.auth.renew(&used).await {
            return self.exchange(method, url, headers, body, PROBE_BYTES, &mut Used::default()).await;
        }
        first
    }

    /// Posts nothing, to those that look at credentials before they look for events.
    pub(crate) async fn probe_by_nothing(&self, endpoint: &Endpoint) -> Probe {
        let reply = match self.ask(Method::POST, endpoint.url(), HeaderMap::new()).await {
            Ok(reply) => reply,
            Err(failure) => return failure.into_probe(),
        };
        let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
        match answer.by_status() {
            Outcome::Unauthorized(_) if self.auth.signer().is_some() => {
                Probe::Reached(format!("{endpoint} asks for a signature, which only events have"))
            }
            Outcome::Unauthorized(reason) => Probe::Failed(format!("{endpoint}: credentials refused: {reason}")),
            Outcome::Misconfigured(reason) => Probe::Failed(format!("{endpoint}: {reason}; check `url`")),
            Outcome::RetryLater { reason, .. } => Probe::Failed(format!("{endpoint}: not now: {reason}")),
            _ if answer.is_page() => {
                Probe::Failed(format!("{endpoint}: answers with a page ({}); check `url`", answer.reason()))
            }
            _ => Probe::Verified(format!("{endpoint} takes the credentials")),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
        answer_bytes: usize,
        used: &mut Used,
    ) -> Result<Reply, Failure> {
        headers.extend(self.headers.iter().cloned());
        self.auth.apply(&mut headers, used).await?;
        self.settings.proxy.iter().flat_map(Proxy::secrets).for_each(|secret| used.push(secret));
        let url = self.auth.address(url, used)?;
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut reply = exchange(&client, method, &url, headers, body, answer_bytes).await;
        match &mut reply {
            Ok(reply) => used.scrub(&mut reply.body),
            Err(failure) if failure.unreached => self.renew_client(),
            Err(_) => {}
        }
        reply
    }

    /// Certificates are renewed on disk; a client keeps those that it was made with.
    fn renew_client(&self) {
        if let Ok(client) = self.settings.client() {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
        }
    }
}

/// One request. Reads the answer up to `answer_bytes`; an answer of success that breaks off before is no answer.
pub(crate) async fn exchange(
    client: &reqwest::Client,
    method: Method,
    url: &Url,
    headers: HeaderMap,
    body: Bytes,
    answer_bytes: usize,
) -> Result<Reply, Failure> {
    let mut response = client.request(method, url.clone()).headers(headers).body(body).send().await?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while body.len() < answer_bytes {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(answer_bytes - body.len())]),
            Ok(None) => break,
            // The status alone says what a refusal means.
            Err(_) if !status.is_success() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Reply { status, headers, body })
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let label = match &error {
            error if error.is_timeout() => "timeout",
            // A client certificate may be refused when the request is on its way already.
            error if is_tls(error) => "tls",
            error if error.is_connect() => "connect",
            _ => "connection",
        };
        let (cut, unreached) = (label == "connection", label == "tls" || error.is_connect());
        // The URL may hold secrets, and the causes below it say what happened.
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause in their own text.
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            cause = error.source();
        }
        Self { outcome: Outcome::RetryLater { reason, after: None }, label: label.to_owned(), cut, unreached }
    }
}

/// True when TLS is among the causes of an error.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    // What an I/O error wraps is not its source.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|error| is_tls(error)) || error.source().is_some_and(is_tls)
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        let (outcome, label) = match error {
            AuthError::Secret(error) => (Outcome::Unauthorized(error.to_string()), "secret"),
            AuthError::Unfit(name) => {
                (Outcome::Unauthorized(format!("the secret for `{name}` holds what no header can carry")), "secret")
            }
            AuthError::Token(TokenError { outcome }) => (outcome, "token"),
        };
        Self { outcome, label: label.to_owned(), cut: false, unreached: false }
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        let reason = error.to_string();
        let (outcome, label) = match error {
            EncodeError::Compress(_) => (Outcome::RetryLater { reason, after: None }, "compress"),
            EncodeError::TooLarge { .. } => (Outcome::TooLarge(reason), TOO_LARGE),
        };
        Self { outcome, label: label.to_owned(), cut: false, unreached: false }
    }
}

impl Failure {
    /// What is wrong, as a probe tells it.
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
        context: &Context,
    ) -> Result<Self, BuildError> {
        let Parts { auth, headers, endpoint, destination } = parts;
        Ok(Self {
            limits: Limits { framing: framing(&destination), ..common.limits(defaults) },
            compression: common.compression(defaults),
            requests: Requests::new(http, auth, headers, context)?,
            destination,
            endpoint,
            cut: AtomicU32::new(0),
        })
    }

    async fn attempt(&self, batch: &Batch) -> Attempt {
        let mut used = Used::default();
        let first = self.once(batch, &mut used).await;
        if matches!(first.outcome, Outcome::Unauthorized(_)) && self.requests.auth.renew(&used).await {
            return self.once(batch, &mut Used::default()).await;
        }
        first
    }

    async fn once(&self, batch: &Batch, used: &mut Used) -> Attempt {
        let (body, headers) = match self.request(batch, used).await {
            Ok(request) => request,
            Err(failure) => return Attempt { outcome: failure.outcome, bytes: 0, status: failure.label },
        };
        let bytes = body.len() as u64;
        let url = self.endpoint.url();
        let limit = self.destination.answer_bytes();
        let reply = self.requests.exchange(Method::POST, url, headers, body.into(), limit, used).await;
        let (outcome, status) = match reply {
            Ok(reply) => {
                self.cut.store(0, Ordering::Relaxed);
                let answer =
                    Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: batch.len() };
                let outcome = self.destination.judge(&answer);
                let outcome = self.destination.confirm(outcome, answer, &self.requests).await;
                (outcome, reply.status.as_u16().to_string())
            }
            Err(failure) => (self.after_failure(&failure, batch), failure.label),
        };
        Attempt { outcome, bytes, status }
    }

    /// A server or proxy that finds a body too large may close the connection before its answer can be read.
    fn after_failure(&self, failure: &Failure, batch: &Batch) -> Outcome {
        let cut = if failure.cut { self.cut.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        match &failure.outcome {
            Outcome::RetryLater { reason, .. } if cut > 2 && batch.len() > 1 => Outcome::TooLarge(reason.clone()),
            outcome => outcome.clone(),
        }
    }

    async fn request(&self, batch: &Batch, used: &mut Used) -> Result<(Vec<u8>, HeaderMap), Failure> {
        let id = batch_id(batch);
        let seconds = Timestamp::now().seconds();
        let signer = self.requests.auth.signer();
        let mut signature = None;
        if let Some(signer) = signer {
            let (begun, secret) = signer.begin(&id, seconds).map_err(AuthError::Secret)?;
            used.push(secret);
            signature = Some(begun);
        }
        let over_plain = signer.is_some_and(|signer| signer.signed == Signed::Body);
        let plain = signature.as_mut().filter(|_| over_plain);
        let body = encode(&self.destination, batch, self.compression, &self.limits, plain).await?;

        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.destination.content_type()));
        if let Some(encoding) = content_encoding(self.compression) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(HeaderName::from_static("idempotency-key"), value);
        }
        if let (Some(signer), Some(mut signature)) = (signer, signature) {
            if !over_plain {
                signature.update(&body);
            }
            signer.finish(signature, &id, seconds, &mut headers);
        }
        Ok((body, headers))
    }
}

/// Names a batch by what is in it, so that a receiver knows it again when it is sent again.
fn batch_id(batch: &Batch) -> String {
    let mut hash = Sha256::new();
    for event in batch.events() {
        hash.update(event.identity.to_string().as_bytes());
    }
    hash.finalize()[..16].iter().fold("msg_".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

impl<D: Destination> Sink for HttpSink<D> {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        self.attempt(batch).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        self.destination.probe(&self.requests)
    }
}
