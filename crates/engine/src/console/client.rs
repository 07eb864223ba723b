//! The client of one console. It sends the requests of all lanes of a pipeline and classifies the answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s1_forwarder_record::{Clock, Timestamp};
use s1_forwarder_settings::{ClientError, Id, SecretError};
use s1_forwarder_telemetry::{LaneMetrics, Meter};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tracing::info;
use url::Url;

use super::settings::DEFAULT_TIMEOUT;
use super::tokens::Tokens;
use super::trials::{MAX_WAIT, OtherScope, TokenVerdict};
use super::unified_alert_fields::UnknownFields;
use super::{
    ConsoleError, ConsoleSettings, ConsoleUrl, Endpoint, HttpTransport, LaneShare, Limiter, Limiters, Request,
    Response, SecretRedactor, Transport, TransportError, UserScope, advice,
};

/// Timeout of a list of findings, for which consoles need longer.
const FINDINGS_TIMEOUT: Duration = Duration::from_mins(1);
const ROOT: &str = "/web/api/v2.1/";
/// Initial capacity for a query, in bytes: more than the usual query has.
const QUERY_BYTES: usize = 256;
/// Longest URL, in bytes, that the HTTP client takes.
const MAX_URL: usize = 65_534;
/// Limit for responses that are not pages of records, in bytes.
const SMALL_RESPONSE: usize = 1024 * 1024;
/// All characters except the unreserved ones of RFC 3986: cursors contain `%`, `=` and `+`, which must arrive
/// unchanged.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Time after which a console that seemed to be behind is asked for its time again: one of its nodes may have been
/// wrong.
const CLOCK_AGE: Duration = Duration::from_mins(5);

/// Time for which a console's statement about itself counts as unchanged, and time for which it is not asked after it
/// made none.
const SYSTEM_AGE: Duration = Duration::from_hours(24);
const SYSTEM_UNKNOWN_AGE: Duration = Duration::from_hours(1);
/// Minimum time between two trials of another token that the console refused too, while a token is refused.
const NEW_TOKEN_AGE: Duration = Duration::from_secs(20);

/// Timeout of `system/info`. Mapping waits for its answer.
const SYSTEM_TIMEOUT: Duration = Duration::from_secs(10);

/// One pipeline's access to its console.
#[derive(Debug)]
pub struct Client {
    transport: Arc<dyn Transport>,
    url: ConsoleUrl,
    tokens: Arc<Tokens>,
    pub(super) redactor: SecretRedactor,
    pub(super) scope: Box<[(&'static str, String)]>,
    pub(super) unknown_fields: UnknownFields,
    /// See [`Client::keep_scope`].
    kept_scope: Mutex<Option<UserScope>>,
    /// The last answer about the user of a token.
    user_scope: tokio::sync::Mutex<Option<KnownUserScope>>,
    limiter: Limiter,
    timeout: Duration,
    findings_timeout: Duration,
    clock: Clock,
    server_clock: Mutex<Option<ServerClock>>,
    /// The last answer about the console itself, and when it has to be asked for again.
    system: tokio::sync::Mutex<Option<(System, Instant)>>,
    /// The console's time when its clock and the local one came too far apart, and when that was.
    apart_since: Mutex<Option<(Timestamp, Instant)>>,
}

/// Scope of the user of the token in use, as the console last reported it.
#[derive(Debug)]
struct KnownUserScope {
    /// Value of [`Client::token_changes`] at that time.
    token_changes: u64,
    at: Instant,
    scope: Option<UserScope>,
}

/// Facts that a console reports about itself, as far as they are known.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct System {
    /// Release, such as `S-25.1.4#19`.
    pub release: Option<String>,
    pub build: Option<String>,
}

/// Permission from the console's rate limiter to send one request.
#[derive(Debug)]
pub struct RequestPermit(());

#[cfg(any(test, feature = "testing"))]
impl RequestPermit {
    /// Returns a permit without a rate limit.
    pub fn unlimited() -> Self {
        Self(())
    }
}

/// Narrowing of a request for a list to the scope that the pipeline names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeFilter {
    /// All accounts, sites and groups of the pipeline.
    Pipeline,
    /// The first scope of the narrowest level: some endpoints accept only one.
    First,
    /// None: the request names its scope itself, or is about one record.
    None,
}

/// One request, without its token.
#[derive(Debug, Clone)]
pub(super) struct ApiCall<'a> {
    pub url: &'a Url,
    /// JSON body. With a body the request is a POST.
    pub body: Option<Vec<u8>>,
    /// Whether the token is sent in the body, to ask the console about it.
    pub token_in_body: bool,
    pub max_bytes: usize,
    pub with_cursor: bool,
    pub timeout: Duration,
}

/// The console's time in its last response.
#[derive(Debug, Clone, Copy)]
struct ServerClock {
    date: Timestamp,
    at: Instant,
}

/// A change of the difference between the console's clock and this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockChange {
    /// The clocks are too far apart from now on.
    Apart,
    /// The clocks agree again. `since` was the console's time when they came apart. `jump` is how much further the
    /// console's clock has moved since then than the time that passed.
    Agree { since: Timestamp, jump: Duration },
}

impl Client {
    /// Returns a client over HTTP, at the rate that `limiters` allow for this console and token.
    ///
    /// # Errors
    /// If the TLS files of the settings cannot be used.
    pub fn connect(settings: &ConsoleSettings, limiters: &Limiters, clock: Clock) -> Result<Self, ClientError> {
        let transport = HttpTransport::new(settings.http())?;
        Ok(Self::new(settings, Arc::new(transport), limiters.join_for(settings), clock))
    }

    /// Returns a client over `transport`. `limiter` must be the one for this console and token.
    pub fn new(settings: &ConsoleSettings, transport: Arc<dyn Transport>, limiter: Limiter, clock: Clock) -> Self {
        let csv = |ids: &[Id]| ids.iter().map(Id::as_str).collect::<Vec<_>>().join(",");
        let scope = [
            ("accountIds", csv(&settings.accounts)),
            ("siteIds", csv(&settings.sites)),
            ("groupIds", csv(&settings.groups)),
        ];
        let tokens = Arc::new(Tokens::new(&settings.token));
        let proxy_secrets = settings.http().way().secrets().into_iter().collect();
        Self {
            transport,
            url: settings.url.clone(),
            redactor: SecretRedactor::new(tokens.clone(), proxy_secrets),
            tokens,
            scope: scope.into_iter().filter(|(_, ids)| !ids.is_empty()).collect(),
            unknown_fields: UnknownFields::default(),
            kept_scope: Mutex::default(),
            user_scope: tokio::sync::Mutex::default(),
            limiter,
            timeout: settings.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.0),
            findings_timeout: settings.timeout.map_or(FINDINGS_TIMEOUT, |timeout| timeout.0),
            clock,
            server_clock: Mutex::new(None),
            system: tokio::sync::Mutex::default(),
            apart_since: Mutex::default(),
        }
    }

    /// Returns the host as it appears in identities.
    pub fn host(&self) -> &str {
        self.url.host()
    }

    /// Returns the accounts, sites and groups that requests are narrowed to, as text for checkpoints.
    pub fn scope(&self) -> String {
        self.scope.iter().map(|(name, ids)| format!("{name}={ids}")).collect::<Vec<_>>().join("&")
    }

    /// Returns the time by the console's clock: the last `Date` header plus the time since. The header has whole
    /// seconds, rounded down, so the result is never later than the console's time. Returns `None` before the first
    /// response.
    pub fn time(&self) -> Option<Timestamp> {
        let clock = *self.server_clock.lock();
        clock.map(|clock| clock.date.plus(clock.at.elapsed()))
    }

    /// Returns whether the console reported its time within `CLOCK_AGE`.
    pub fn has_said_time_lately(&self) -> bool {
        self.server_clock.lock().is_some_and(|clock| clock.at.elapsed() < CLOCK_AGE)
    }

    /// Returns the later of the console's time and the local time.
    pub fn latest_time(&self) -> Timestamp {
        let local = self.clock.now();
        self.time().map_or(local, |console| console.max(local))
    }

    /// Records the console's time, and whether its clock and the local one are too far apart. Returns what has changed.
    pub fn record_clocks(&self, theirs: Timestamp, are_apart: bool) -> Option<ClockChange> {
        let mut apart_since = self.apart_since.lock();
        match (*apart_since, are_apart) {
            (None, true) => {
                *apart_since = Some((theirs, Instant::now()));
                Some(ClockChange::Apart)
            }
            (Some((since, at)), false) => {
                *apart_since = None;
                Some(ClockChange::Agree { since, jump: theirs.since(since).saturating_sub(at.elapsed()) })
            }
            _ => None,
        }
    }

    /// Returns the local clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Waits until the rate limiter allows a request. Reserve memory afterwards: a waiting request must not reserve
    /// any.
    pub async fn permit(&self) -> RequestPermit {
        self.limiter.ready().await;
        RequestPermit(())
    }

    /// Waits for a permit on behalf of a lane, which shows that it waits.
    pub async fn permit_for(&self, metrics: &LaneMetrics) -> RequestPermit {
        let _wait = metrics.begin_limit_wait(self.clock.now(), self.limiter.lanes());
        self.permit().await
    }

    /// Counts a lane that shares the request limit, until the returned share is dropped.
    pub fn join_lane(&self) -> LaneShare {
        self.limiter.join_lane()
    }

    /// Requests a list, narrowed by `scope`, and returns the body of a 200. Failures are not retried, with one
    /// exception: if the console refuses the token, the client reads it again and retries if it changed. Then it tries
    /// the second token, if there is one.
    ///
    /// # Errors
    /// If the console fails or refuses: see [`ConsoleError`].
    pub async fn list(
        &self,
        permit: RequestPermit,
        path: &str,
        query: &[(&str, &str)],
        scope: ScopeFilter,
        max_bytes: usize,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let mut pipeline = self.scope.iter().map(|(name, ids)| (*name, ids.as_str()));
        let scope: Vec<(&str, &str)> = match scope {
            ScopeFilter::Pipeline => pipeline.collect(),
            ScopeFilter::First => pipeline
                .next_back()
                .map(|(name, ids)| (name, ids.split(',').next().unwrap_or_default()))
                .into_iter()
                .collect(),
            ScopeFilter::None => Vec::new(),
        };
        let url = self.url_of(path, query.iter().copied().chain(scope));
        let with_cursor = query.iter().any(|(name, _)| *name == "cursor");
        let timeout = if Endpoint::is_slow(path) { self.findings_timeout } else { self.timeout };
        self.request(permit, ApiCall { max_bytes, with_cursor, timeout, ..self.call(&url) }, meter).await
    }

    /// Requests a single object, such as `system/status` or `user`.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn object(&self, path: &str) -> Result<Bytes, ConsoleError> {
        let permit = self.permit().await;
        let url = self.url_of(path, std::iter::empty());
        self.request(permit, self.call(&url), None).await
    }

    /// Returns the scope of the user of the token in use; `None` if the console does not report it. Asks the console
    /// again after a change of the token, and after `max_age`.
    ///
    /// # Errors
    /// If the console does not answer, or refuses the token.
    pub async fn user_scope(&self, max_age: Duration) -> Result<Option<UserScope>, ConsoleError> {
        let mut known = self.user_scope.lock().await;
        let is_current =
            |known: &&KnownUserScope| known.token_changes == self.token_changes() && known.at.elapsed() < max_age;
        if let Some(known) = known.as_ref().filter(is_current) {
            return Ok(known.scope.clone());
        }
        let at = Instant::now();
        let scope = match self.object("user").await {
            Ok(answer) => UserScope::read(&answer, &self.redactor),
            Err(ConsoleError::Forbidden(_) | ConsoleError::Missing(_) | ConsoleError::BadRequest(_)) => None,
            Err(failure) => return Err(failure),
        };
        *known = Some(KnownUserScope { token_changes: self.token_changes(), at, scope: scope.clone() });
        Ok(scope)
    }

    /// Keeps the scope: from now on, requests that name no ids use no new token whose user has another scope.
    pub fn keep_scope(&self, scope: UserScope) {
        *self.kept_scope.lock() = Some(scope);
    }

    /// Returns the scope that [`Self::keep_scope`] has kept.
    pub fn kept_scope(&self) -> Option<UserScope> {
        self.kept_scope.lock().clone()
    }

    /// Returns whether requests name accounts, sites or groups. Otherwise, they read what the token's user may see.
    pub fn names_ids(&self) -> bool {
        !self.scope.is_empty()
    }

    /// Returns the token's expiry time; `None` if the console does not report it.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn token_expiry(&self) -> Result<Option<Timestamp>, ConsoleError> {
        let url = self.token_details();
        let call = ApiCall { token_in_body: true, ..self.call(&url) };
        let answer = self.request(self.permit().await, call, None).await?;
        expiry_in(&answer)
    }

    /// Returns what the console reports about itself. The client asks once a day, or an hour after an answer without a
    /// release.
    pub async fn system(&self) -> System {
        let mut known = self.system.lock().await;
        if let Some((system, _)) = known.as_ref().filter(|(_, until)| Instant::now() < *until) {
            return system.clone();
        }
        let asked = tokio::time::timeout(SYSTEM_TIMEOUT, self.ask_system()).await;
        let system = asked.ok().flatten().unwrap_or_default();
        let age = if system.release.is_some() { SYSTEM_AGE } else { SYSTEM_UNKNOWN_AGE };
        *known = Some((system.clone(), Instant::now() + age));
        system
    }

    async fn ask_system(&self) -> Option<System> {
        #[derive(serde::Deserialize)]
        struct Envelope {
            data: Option<System>,
        }
        let answer = self.object("system/info").await.ok()?;
        let envelope: Envelope = serde_json::from_slice(&answer).ok()?;
        let System { release, build } = envelope.data?;
        let [release, build] =
            [release, build].map(|text| text.map(|text| self.redactor.excerpt(&text)).filter(|text| !text.is_empty()));
        Some(System { release, build })
    }

    /// Returns the redactor that removes secrets from the console's texts, for errors and logs.
    pub fn redactor(&self) -> &SecretRedactor {
        &self.redactor
    }

    /// Returns a GET request with a small response.
    pub(super) fn call<'a>(&self, url: &'a Url) -> ApiCall<'a> {
        let body = None;
        let token_in_body = false;
        let with_cursor = false;
        ApiCall { url, body, token_in_body, max_bytes: SMALL_RESPONSE, with_cursor, timeout: self.timeout }
    }

    pub(super) fn url_of<'a>(&self, path: &str, query: impl Iterator<Item = (&'a str, &'a str)>) -> Url {
        let mut text = String::with_capacity(QUERY_BYTES);
        for (name, value) in query {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.extend(utf8_percent_encode(value, ESCAPED));
        }
        self.url.with(&format!("{ROOT}{path}"), Some(&*text).filter(|text| !text.is_empty()))
    }

    /// Returns the index of the token in use, from 0.
    pub fn token_in_use(&self) -> usize {
        self.tokens.in_use()
    }

    /// Returns how often requests began to use another token.
    pub fn token_changes(&self) -> u64 {
        self.tokens.changes()
    }

    /// Waits until [`Self::token_changes`] is no longer `changes`.
    pub async fn token_changed_since(&self, changes: u64) {
        self.tokens.changed_since(changes).await;
    }

    /// Reads the token in use again from its file or Secret. Returns it if it has changed.
    ///
    /// # Errors
    /// If the token cannot be read.
    pub fn changed_token(&self) -> Result<Option<SecretString>, SecretError> {
        self.tokens.changed(self.tokens.in_use())
    }

    /// Asks the console about a token in place of the one in use. If the console accepts it, and its user shares the
    /// scope of [`Self::keep_scope`], requests use it from now on. After a refusal, the console is asked again an hour
    /// later.
    pub async fn try_token(&self, token: &SecretString) -> TokenVerdict {
        self.try_at(self.tokens.in_use(), token, MAX_WAIT).await.unwrap_or(TokenVerdict::Unknown)
    }

    /// Asks the console about a token in place of the one at `index`, unless a verdict is younger than `max_age`.
    ///
    /// # Errors
    /// As [`Self::other_scope`].
    async fn try_at(
        &self,
        index: usize,
        token: &SecretString,
        max_age: Duration,
    ) -> Result<TokenVerdict, ConsoleError> {
        let url = self.token_details();
        let call = ApiCall { token_in_body: true, ..self.call(&url) };
        let ask = async {
            self.limiter.ready().await;
            match self.attempt(token, &call, None).await {
                Ok(answer) => match expiry_in(&answer) {
                    // The console reports the expiry of an expired token, and refuses each list.
                    Ok(Some(expiry)) if expiry <= self.clock.now() => TokenVerdict::Refused,
                    Ok(_) => TokenVerdict::Accepted,
                    Err(_) => TokenVerdict::Unknown,
                },
                Err(ConsoleError::Unauthorized(reason)) if !advice::is_from_elsewhere(&reason) => TokenVerdict::Refused,
                Err(_) => TokenVerdict::Unknown,
            }
        };
        let verdict = self.limiter.trials().verdict(token, max_age, ask).await;
        if verdict == TokenVerdict::Refused {
            return Ok(verdict);
        }
        if let Some(scopes) = self.other_scope(token).await? {
            return Ok(TokenVerdict::OtherScope(scopes));
        }
        if verdict == TokenVerdict::Accepted {
            self.tokens.replace(index, token.clone());
        }
        Ok(verdict)
    }

    /// Returns the scope of a token's user if it shares nothing with the scope of [`Self::keep_scope`], or if the
    /// console does not report it. Returns `None` if the scopes share something, if requests name ids, or if no scope
    /// was kept.
    ///
    /// # Errors
    /// If the console fails transiently, which says nothing about the token.
    async fn other_scope(&self, token: &SecretString) -> Result<Option<OtherScope>, ConsoleError> {
        let Some(former) = self.kept_scope().filter(|_| !self.names_ids()) else { return Ok(None) };
        self.limiter.ready().await;
        let url = self.url_of("user", std::iter::empty());
        let answer = self.attempt(token, &self.call(&url), None).await;
        let new = match answer.map(|answer| UserScope::read(&answer, &self.redactor)) {
            Ok(Some(new)) if new.shares(&former.ids) => return Ok(None),
            Ok(Some(new)) => new.text,
            Ok(None) => "not known (the console does not say it)".to_owned(),
            Err(error @ ConsoleError::Transient { .. }) => return Err(error),
            Err(error) => format!("not known ({error}; the token's role has to view its own user)"),
        };
        Ok(Some(OtherScope { new, former: former.text }))
    }

    fn token_details(&self) -> Url {
        self.url_of("users/api-token-details", std::iter::empty())
    }

    pub(super) async fn request(
        &self,
        _permit: RequestPermit,
        call: ApiCall<'_>,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        check_length(&call)?;
        let mut refused: Option<ConsoleError> = None;
        for index in self.tokens.indexes() {
            if refused.is_some() {
                self.limiter.ready().await;
            }
            match self.attempt_with_reload(index, &call, meter).await {
                Err(error @ (ConsoleError::Unauthorized(_) | ConsoleError::NoToken(_))) => {
                    refused.get_or_insert(error);
                }
                // A transient failure does not show whether the console accepts the token.
                failure @ Err(ConsoleError::Transient { .. }) => return failure,
                answer => {
                    if let Some(refusal) = &refused {
                        // These may be another customer's records. Boxed: few requests use another token.
                        if let Ok(token) = self.tokens.get(index)
                            && let Some(scopes) = Box::pin(self.other_scope(&token)).await?
                        {
                            refused = Some(not_used(refusal, "other", &scopes));
                            continue;
                        }
                        self.tokens.switch_to(index, self.host());
                    }
                    return answer;
                }
            }
        }
        Err(refused.unwrap_or_else(|| ConsoleError::NoToken("there is no token".to_owned())))
    }

    /// Makes one attempt with the token at `index`. Makes a second one if the console refuses the token, and accepts a
    /// new one that the file has now.
    async fn attempt_with_reload(
        &self,
        index: usize,
        call: &ApiCall<'_>,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let unreadable = |error: SecretError| ConsoleError::NoToken(error.to_string());
        let used = self.tokens.get(index).map_err(unreadable)?;
        let first = self.attempt(&used, call, meter).await;
        if !matches!(first, Err(ConsoleError::Unauthorized(_) | ConsoleError::Forbidden(_))) {
            return first;
        }
        let mut token = self.tokens.get(index).map_err(unreadable)?;
        // Another lane may have replaced the token already.
        if token.expose_secret() == used.expose_secret() {
            let Some(changed) = self.tokens.changed(index).map_err(unreadable)? else { return first };
            // Boxed: few requests wait for the trial.
            match (Box::pin(self.try_at(index, &changed, NEW_TOKEN_AGE)).await?, &first) {
                (TokenVerdict::Accepted, _) => {}
                // The former token is refused anyway.
                (TokenVerdict::Unknown, Err(ConsoleError::Unauthorized(_))) => {
                    self.tokens.replace(index, changed.clone());
                }
                (TokenVerdict::OtherScope(scopes), Err(refusal @ ConsoleError::Unauthorized(_))) => {
                    return Err(not_used(refusal, "new", &scopes));
                }
                _ => return first,
            }
            if index == self.tokens.in_use() {
                info!(console = self.host(), "the API token in use was refused; using the new one of its source");
            }
            token = changed;
        }
        self.limiter.ready().await;
        self.attempt(&token, call, meter).await
    }

    async fn attempt(
        &self,
        token: &SecretString,
        call: &ApiCall<'_>,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let details = || serde_json::json!({ "data": { "apiToken": token.expose_secret() } }).to_string().into_bytes();
        let body = if call.token_in_body { Some(details()) } else { call.body.clone() };
        let started_at = Instant::now();
        let ApiCall { max_bytes, with_cursor, timeout, .. } = *call;
        let request = Request { url: call.url.clone(), token: token.clone(), body, timeout, max_bytes };
        let outcome = self.transport.send(request).await;
        if let Some(meter) = meter {
            meter.console_request(status_label(&outcome), started_at.elapsed());
        }
        if let Err(TransportError::TooLarge(cut)) = &outcome {
            self.observe_date(cut.date.as_ref());
        }
        let response = outcome.map_err(|error| ConsoleError::from(error).without(&self.redactor.known_with(token)))?;
        self.observe_date(response.headers.get(header::DATE));
        if response.status != StatusCode::OK {
            let secrets = self.redactor.known_with(token);
            let error = ConsoleError::from_status(&response, &secrets, self.clock.now(), with_cursor);
            return Err(match error.without(&secrets) {
                // Consoles differ in how they report an unknown token.
                ConsoleError::BadRequest(reason) if call.token_in_body && !advice::is_from_elsewhere(&reason) => {
                    ConsoleError::Unauthorized(reason)
                }
                error => error,
            });
        }
        Ok(without_byte_order_mark(response.body))
    }

    fn observe_date(&self, date: Option<&HeaderValue>) {
        if let Some(date) =
            date.and_then(|value| value.to_str().ok()).and_then(|text| httpdate::parse_http_date(text).ok())
        {
            let clock = ServerClock { date: date.into(), at: Instant::now() };
            *self.server_clock.lock() = Some(clock);
        }
    }
}

/// Returns the refusal of the token in use, with the reason why another token is not used in its place.
fn not_used(refusal: &ConsoleError, which: &str, OtherScope { new, former }: &OtherScope) -> ConsoleError {
    ConsoleError::Unauthorized(format!(
        "{refusal}; the {which} token is not used: its user's scope is {new}; the former token's user had {former}; \
         put a token of the former scope there, or, if this is meant, name the ids in the file"
    ))
}

/// Reads the expiry time in the answer about a token; `None` if the console does not report it.
///
/// # Errors
/// If the answer is no console's.
fn expiry_in(answer: &[u8]) -> Result<Option<Timestamp>, ConsoleError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Details {
        expires_at: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Envelope {
        data: Option<Details>,
    }
    let envelope: Envelope = serde_json::from_slice(answer).map_err(|_| {
        let advice = advice::of_foreign_body(answer);
        ConsoleError::transient(format!("the answer about the token has an unexpected form; {advice}"))
    })?;
    Ok(envelope.data.and_then(|details| Timestamp::parse(&details.expires_at?).ok()))
}

/// Refuses a URL that is too long: a console may give a cursor that no request can carry.
fn check_length(call: &ApiCall<'_>) -> Result<(), ConsoleError> {
    let length = call.url.as_str().len();
    if length <= MAX_URL {
        return Ok(());
    }
    let path = call.url.path();
    let what = format!("the next request for {path} would have a URL of {length} bytes; the maximum is {MAX_URL}");
    Err(if call.with_cursor {
        ConsoleError::BadCursor(format!(
            "{what}: the console gave a cursor that is too long; does something on the way change its answers?"
        ))
    } else {
        ConsoleError::BadRequest(format!("{what}: name fewer accounts, sites or groups"))
    })
}

/// Removes a byte order mark before JSON, which RFC 8259 lets a reader ignore.
fn without_byte_order_mark(mut body: Bytes) -> Bytes {
    if body.starts_with(BYTE_ORDER_MARK) {
        body.advance(BYTE_ORDER_MARK.len());
    }
    body
}

/// Returns the label `status` of `console_requests_total`.
fn status_label(outcome: &Result<Response, TransportError>) -> &str {
    match outcome {
        Ok(response) => response.status.as_str(),
        Err(TransportError::Connect(_)) => "connect",
        Err(TransportError::Timeout(_)) => "timeout",
        Err(TransportError::Broken(_)) => "broken",
        Err(TransportError::TooLarge(_)) => "too_large",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http::HeaderMap;

    use super::*;
    use crate::console::Limiters;
    use crate::console::scripted::ScriptedTransport;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_behind_has_jumped_when_it_is_right_again() {
        let settings = serde_json::from_str(r#"{"url": "https://console.example", "token": "t"}"#).unwrap();
        let transport = ScriptedTransport::new(|_| std::future::pending());
        let limiter = Limiters::default().join_for(&settings);
        let client = Client::new(&settings, Arc::new(transport), limiter, Clock::System);
        let hours = |count: u64| Timestamp::default().plus(Duration::from_secs(3_600 * count));
        for (since, until, jump) in [(7, 11, 3), (10, 11, 0), (13, 11, 0)] {
            assert_eq!(client.record_clocks(hours(since), true), Some(ClockChange::Apart));
            tokio::time::advance(Duration::from_hours(1)).await;
            assert_eq!(client.record_clocks(hours(since + 1), true), None);
            let agree = ClockChange::Agree { since: hours(since), jump: Duration::from_secs(3_600 * jump) };
            assert_eq!(client.record_clocks(hours(until), false), Some(agree));
            assert_eq!(client.record_clocks(hours(until), false), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_release_is_asked_for_once_a_day_and_after_a_refusal_once_an_hour() {
        let asked = Arc::new(Mutex::new(0));
        let may_know = Arc::new(AtomicBool::new(true));
        let transport = {
            let asked = asked.clone();
            let may_know = may_know.clone();
            ScriptedTransport::new(move |_| {
                *asked.lock() += 1;
                let (status, body) = if may_know.load(Ordering::Relaxed) {
                    (StatusCode::OK, r#"{"data":{"release":"S-25.1.4#19"}}"#)
                } else {
                    (StatusCode::FORBIDDEN, r#"{"errors":[{"code":4030010,"title":"Forbidden"}]}"#)
                };
                std::future::ready(Ok(Response { status, headers: HeaderMap::new(), body: body.into() }))
            })
        };
        let settings = serde_json::from_str(r#"{"url": "https://console.example", "token": "t"}"#).unwrap();
        let limiter = Limiters::default().join_for(&settings);
        let client = Client::new(&settings, Arc::new(transport), limiter, Clock::System);
        let minute = Duration::from_mins(1);
        for (wait, known, requests) in [
            (Duration::ZERO, true, 1),
            (SYSTEM_AGE - minute, true, 1),
            (minute, true, 2),
            (SYSTEM_AGE, false, 3),
            (SYSTEM_UNKNOWN_AGE - minute, false, 3),
            (minute, false, 4),
        ] {
            tokio::time::advance(wait).await;
            may_know.store(known, Ordering::Relaxed);
            assert_eq!(client.system().await.release.as_deref(), known.then_some("S-25.1.4#19"));
            assert_eq!(*asked.lock(), requests);
        }
    }
}
