use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::time::Instant;

use super::tokens::Tokens;
use super::unified_alerts::Unknown;
use super::{
    AlertsQuery, ConsoleError, ConsoleUrl, Endpoint, HttpTransport, Limiter, Limiters, Request, Settings, Transport,
    TransportError,
};
use crate::record::{Clock, Stream, Timestamp};
use crate::settings::{ClientError, HttpSettings, Id, Period, Proxy, SecretError, scrub};
use crate::telemetry::Meter;

/// Time-out of one request where the pipeline file gives none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for lists of findings, which consoles take long to make.
const FINDINGS_TIMEOUT: Duration = Duration::from_secs(60);
const ROOT: &str = "/web/api/v2.1/";
/// What is read of answers that are no pages of records.
const SMALL_ANSWER: usize = 1024 * 1024;
/// Everything but what RFC 3986 never wants escaped: cursors hold `%`, `=` and `+`, which must arrive as they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One pipeline's access to its console.
#[derive(Debug)]
pub struct Client {
    transport: Arc<dyn Transport>,
    url: ConsoleUrl,
    tokens: Tokens,
    /// What answers may repeat besides the token.
    proxy_secrets: Vec<SecretString>,
    pub(super) scope: Vec<(&'static str, String)>,
    pub(super) unknown_fields: Unknown,
    limiter: Limiter,
    timeout: Duration,
    findings_timeout: Duration,
    clock: Clock,
    heard: Mutex<Option<Heard>>,
    skewed: AtomicBool,
}

/// A request's turn at the console's rate limiter.
#[derive(Debug)]
pub struct Turn(());

/// One request, whoever's turn it is, and with whatever token.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub url: &'a str,
    /// JSON: the request is a POST.
    pub body: Option<Vec<u8>>,
    /// The body is the token's own text: the question is what the console knows of it.
    pub about_token: bool,
    pub max_bytes: usize,
    pub with_cursor: bool,
    pub timeout: Duration,
}

/// The console's clock, as its last answer told it.
#[derive(Debug, Clone, Copy)]
struct Heard {
    date: Timestamp,
    at: Instant,
}

impl Client {
    /// Access over HTTP, at most as fast as `limiters` allow for this console and token.
    ///
    /// # Errors
    /// When the TLS files of the settings cannot be used.
    pub fn connect(settings: &Settings, limiters: &Limiters, clock: Clock) -> Result<Self, ClientError> {
        let (tls, proxy) = (settings.tls.clone(), settings.proxy.clone());
        let http = HttpSettings { tls, proxy, timeout: settings.timeout.unwrap_or(Period(DEFAULT_TIMEOUT)) };
        Ok(Self::new(settings, Arc::new(HttpTransport::new(http.client()?)), limiters.join_as(settings), clock))
    }

    /// `limiter` is the share of the limiter for this console and token.
    pub fn new(settings: &Settings, transport: Arc<dyn Transport>, limiter: Limiter, clock: Clock) -> Self {
        let csv = |ids: &[Id]| ids.iter().map(Id::as_str).collect::<Vec<_>>().join(",");
        let scope = [
            ("accountIds", csv(&settings.accounts)),
            ("siteIds", csv(&settings.sites)),
            ("groupIds", csv(&settings.groups)),
        ];
        Self {
            transport,
            url: settings.url.clone(),
            tokens: Tokens::new(&settings.token),
            proxy_secrets: settings.proxy.as_ref().map(Proxy::secrets).unwrap_or_default(),
            scope: scope.into_iter().filter(|(_, ids)| !ids.is_empty()).collect(),
            unknown_fields: Unknown::default(),
            limiter,
            timeout: settings.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.0),
            findings_timeout: settings.timeout.map_or(FINDINGS_TIMEOUT, |timeout| timeout.0),
            clock,
            heard: Mutex::new(None),
            skewed: AtomicBool::new(false),
        }
    }

    /// The host that identities are made of.
    pub fn host(&self) -> &str {
        self.url.host()
    }

    /// Accounts, sites and groups that are asked for, as text for checkpoints.
    pub fn scope(&self) -> String {
        self.scope.iter().map(|(name, ids)| format!("{name}={ids}")).collect::<Vec<_>>().join("&")
    }

    /// The time by the console's clock, never later than it: the last `Date` (whole seconds, cut) and the time since.
    /// None before the first answer.
    pub fn time(&self) -> Option<Timestamp> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|heard| heard.date.plus(heard.at.elapsed()))
    }

    /// Notes whether the console's clock and ours are too far apart; true when that is news.
    pub fn note_skew(&self, skewed: bool) -> bool {
        self.skewed.swap(skewed, Ordering::Relaxed) != skewed
    }

    /// Our own clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Waits for this request's turn. Bytes are reserved after that, so that nothing is held while waiting for others.
    pub async fn turn(&self) -> Turn {
        self.limiter.ready().await;
        Turn(())
    }

    /// One request for a list, narrowed to the pipeline's scope: one attempt, in its turn. Gives the body of
    /// a 200.
    ///
    /// # Errors
    /// See [`ConsoleError`]; a refused token is read again first, and tried again if it changed; then the other, if two are
    /// given.
    pub async fn list(
        &self,
        turn: Turn,
        path: &str,
        query: &[(&str, &str)],
        max_bytes: usize,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let scope = self.scope.iter().map(|(name, ids)| (*name, ids.as_str()));
        let url = self.address(path, query.iter().copied().chain(scope));
        let with_cursor = query.iter().any(|(name, _)| *name == "cursor");
        self.request(turn, Ask { max_bytes, with_cursor, ..self.ask(&url) }, meter).await
    }

    /// One request for a list of what belongs to one record: the pipeline's scope says nothing about it.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn beside(
        &self,
        turn: Turn,
        path: &str,
        query: &[(&str, &str)],
        max_bytes: usize,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let url = self.address(path, query.iter().copied());
        self.request(turn, Ask { max_bytes, ..self.ask(&url) }, meter).await
    }

    /// One request for a list of findings, narrowed to at most one scope, which is part of `query`.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn findings(
        &self,
        turn: Turn,
        query: &[(&str, &str)],
        max_bytes: usize,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let url = self.address(Endpoint::of(Stream::Vulnerabilities).path, query.iter().copied());
        let with_cursor = query.iter().any(|(name, _)| *name == "cursor");
        let timeout = self.findings_timeout;
        self.request(turn, Ask { max_bytes, with_cursor, timeout, ..self.ask(&url) }, meter).await
    }

    /// Some of the findings that the pipeline may see: of the first of its scopes, since no more can be asked for at once.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn some_findings(
        &self,
        turn: Turn,
        query: &[(&str, &str)],
        max_bytes: usize,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let scope = self.scope.last().map(|(name, ids)| (*name, ids.split(',').next().unwrap_or_default()));
        let query: Vec<_> = query.iter().copied().chain(scope).collect();
        self.findings(turn, &query, max_bytes, meter).await
    }

    /// One record of a stream, or none: whether it may be read, and the console's time.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn glance(
        &self,
        turn: Turn,
        stream: Stream,
        max_bytes: usize,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        match stream {
            Stream::UnifiedAlerts => {
                let query =
                    AlertsQuery { brief: true, first: 1, by: Endpoint::of(stream).sort_by, ..AlertsQuery::default() };
                self.unified_alerts(turn, &query, max_bytes, meter).await
            }
            Stream::Vulnerabilities => {
                self.some_findings(turn, &[("limit", "1"), ("skipCount", "true")], max_bytes, meter).await
            }
            _ => self.list(turn, Endpoint::of(stream).path, &[("limit", "1")], max_bytes, meter).await,
        }
    }

    /// One request for a single object, such as `system/status` or `user`.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn object(&self, path: &str) -> Result<Bytes, ConsoleError> {
        let (turn, url) = (self.turn().await, self.address(path, std::iter::empty()));
        self.request(turn, self.ask(&url), None).await
    }

    /// When the token expires, as the console says it. None where it does not say.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn token_expiry(&self) -> Result<Option<Timestamp>, ConsoleError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Details {
            expires_at: Option<String>,
        }
        #[derive(serde::Deserialize)]
        struct Envelope {
            data: Option<Details>,
        }
        let url = self.address("users/api-token-details", std::iter::empty());
        let ask = Ask { about_token: true, ..self.ask(&url) };
        let answer = self.request(self.turn().await, ask, None).await?;
        let envelope: Envelope = serde_json::from_slice(&answer)
            .map_err(|_| ConsoleError::transient("the answer about the token is not what it should be"))?;
        Ok(envelope.data.and_then(|details| Timestamp::parse(&details.expires_at?).ok()))
    }

    /// What the console said, without the secrets that it may have repeated: for errors that somebody reads.
    pub fn scrubbed(&self, text: &str) -> String {
        let mut text = text.as_bytes().to_vec();
        scrub(&mut text, self.tokens.known().iter().chain(&self.proxy_secrets));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A request for a small answer.
    pub(super) fn ask<'a>(&self, url: &'a str) -> Ask<'a> {
        let (body, about_token, with_cursor) = (None, false, false);
        Ask { url, body, about_token, max_bytes: SMALL_ANSWER, with_cursor, timeout: self.timeout }
    }

    pub(super) fn address<'a>(&self, path: &str, query: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let mut url = format!("{}{ROOT}{path}", self.url.base());
        for (index, (name, value)) in query.enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, ESCAPED));
        }
        url
    }

    /// Where the token in use stands among those given, from 0.
    pub fn token_in_use(&self) -> usize {
        self.tokens.in_use()
    }

    /// Sees every time that requests begin to carry another token.
    pub fn token_changes(&self) -> watch::Receiver<u64> {
        self.tokens.changes()
    }

    pub(super) async fn request(
        &self,
        _turn: Turn,
        ask: Ask<'_>,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let mut refused = None;
        for place in self.tokens.places() {
            if refused.is_some() {
                self.limiter.ready().await;
            }
            match self.attempt_with(place, &ask, meter).await {
                Err(ConsoleError::Unauthorized(reason)) => {
                    refused.get_or_insert(reason);
                }
                // Whether the console would have taken the token is not known.
                unclear @ Err(ConsoleError::Transient { .. }) => return unclear,
                answer => {
                    if refused.is_some() {
                        self.tokens.switch_to(place, self.host());
                    }
                    return answer;
                }
            }
        }
        Err(ConsoleError::Unauthorized(refused.unwrap_or_default()))
    }

    /// One attempt with the token at `place`, and another where it is refused and has been replaced in its file.
    async fn attempt_with(&self, place: usize, ask: &Ask<'_>, meter: Option<&Meter>) -> Result<Bytes, ConsoleError> {
        let unreadable = |error: SecretError| ConsoleError::Unauthorized(error.to_string());
        let used = self.tokens.get(place).map_err(unreadable)?;
        let first = self.attempt(&used, ask, meter).await;
        if !matches!(first, Err(ConsoleError::Unauthorized(_) | ConsoleError::Forbidden(_))) {
            return first;
        }
        // Another lane of the pipeline may have read the new token already: what counts is what this request used.
        let token = self.tokens.reload(place).map_err(unreadable)?;
        if token.expose_secret() == used.expose_secret() {
            return first;
        }
        self.limiter.ready().await;
        self.attempt(&token, ask, meter).await
    }

    async fn attempt(&self, token: &SecretString, ask: &Ask<'_>, meter: Option<&Meter>) -> Result<Bytes, ConsoleError> {
        let details = || serde_json::json!({ "data": { "apiToken": token.expose_secret() } }).to_string().into_bytes();
        let body = if ask.about_token { Some(details()) } else { ask.body.clone() };
        let begun = Instant::now();
        let Ask { max_bytes, with_cursor, timeout, .. } = *ask;
        let request = Request { url: ask.url.to_owned(), token: token.clone(), body, timeout, max_bytes };
        // The transport keeps the time-out too; this one also holds where there is no socket.
        let outcome = tokio::time::timeout(timeout, self.transport.send(request)).await;
        let outcome = outcome.unwrap_or(Err(TransportError::Timeout(timeout)));
        if let Some(meter) = meter {
            meter.console_request(&label(&outcome.as_ref().map(|response| response.status)), begun.elapsed());
        }
        let response = outcome?;
        self.hear(&response.headers);
        if response.status != StatusCode::OK {
            let mut body = response.body.to_vec();
            scrub(&mut body, std::iter::once(token).chain(&self.proxy_secrets));
            let now = self.clock.now();
            let error = ConsoleError::from_status(response.status, &response.headers, &body, now, with_cursor);
            return Err(match error {
                // Consoles differ in how they say that they do not know a token.
                ConsoleError::BadRequest(reason) if ask.about_token => ConsoleError::Unauthorized(reason),
                error => error,
            });
        }
        Ok(response.body)
    }

    fn hear(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
        if let Some(date) = date.and_then(|text| httpdate::parse_http_date(text).ok()) {
            let heard = Heard { date: date.into(), at: Instant::now() };
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        }
    }
}

/// The label `status` of `console_requests_total`.
fn label(outcome: &Result<StatusCode, &TransportError>) -> String {
    match outcome {
        Ok(status) => status.as_str().to_owned(),
        Err(TransportError::Connect(_)) => "connect".to_owned(),
        Err(TransportError::Timeout(_)) => "timeout".to_owned(),
        Err(TransportError::Broken(_)) => "broken".to_owned(),
        Err(TransportError::TooLarge(_)) => "too_large".to_owned(),
    }
}
