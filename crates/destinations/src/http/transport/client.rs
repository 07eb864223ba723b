//! Sends requests with credentials, headers and certificates.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use s1_forwarder_engine::sink::{Outcome, ProbeResult};
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::{Misconfigured, Transient, Unauthorized};
use s1_forwarder_settings::{HttpSettings, NotReachable, RenewableClient, UsedProxy};
use url::Url;

use super::endpoint::Endpoint;
use super::exchange::{ErrorKind, RequestError, Response, exchange};
use super::response::ResponseView;
use crate::http::auth::signature::Signer;
use crate::http::auth::token_error::TokenError;
use crate::http::auth::used_secrets::UsedSecrets;
use crate::http::auth::{AuthError, Authenticator};
use crate::{BuildError, SinkContext};

/// Maximum number of bytes that are read of a response to a probe: Elasticsearch may list hundreds of index templates.
const MAX_PROBE_BYTES: usize = 1 << 20;

/// Sends requests with the sink's credentials and headers.
#[derive(Debug)]
pub(crate) struct SinkClient {
    client: RenewableClient,
    /// A list, since a map takes four times the memory and a worker may have ten thousand lanes.
    headers: Box<[(HeaderName, HeaderValue)]>,
    auth: Authenticator,
}

impl SinkClient {
    /// Sends `headers` with every request, and two more with the names of pipeline and stream.
    pub(crate) fn new(
        settings: HttpSettings,
        auth: Authenticator,
        mut headers: HeaderMap,
        context: &SinkContext,
    ) -> Result<Self, BuildError> {
        let client = RenewableClient::new(settings)?;
        for (name, text) in [
            ("x-s1-forwarder-pipeline", context.lane.pipeline.as_str()),
            ("x-s1-forwarder-stream", context.lane.stream.name()),
        ] {
            let value = HeaderValue::from_str(text)
                .map_err(|_| BuildError::value("name", "not a pipeline name that a header can carry"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Self { client, headers, auth })
    }

    /// Sends a request without a body; see [`send`](Self::send).
    pub(crate) async fn send_empty(&self, method: Method, url: &Url) -> Result<Response, RequestError> {
        self.send(method, url, HeaderMap::new(), Bytes::new()).await
    }

    /// Sends a POST; see [`send`](Self::send).
    pub(crate) async fn post(
        &self,
        url: &Url,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Response, RequestError> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        self.send(Method::POST, url, headers, body).await
    }

    /// Sends one request with credentials. If the server refuses them and new ones are available, sends it once more.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, RequestError> {
        let mut used = UsedSecrets::default();
        let first = self.exchange(method.clone(), url, headers.clone(), body.clone(), MAX_PROBE_BYTES, &mut used).await;
        let status = first.as_ref().map(|response| response.status).unwrap_or_default();
        let is_refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if is_refused && self.auth.renew(&used, status == StatusCode::UNAUTHORIZED).await {
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
        judge: impl FnOnce(&ResponseView<'_>) -> ProbeResult,
    ) -> ProbeResult {
        let result = self.post(endpoint.url(), content_type, Bytes::from_static(body)).await;
        result.map_or_else(RequestError::into_probe, |response| judge(&response.view(0)))
    }

    /// Probes with a request without a body; `judge` reads the response.
    pub(crate) async fn probe_with_empty(
        &self,
        method: Method,
        endpoint: &Endpoint,
        judge: impl FnOnce(&ResponseView<'_>) -> ProbeResult,
    ) -> ProbeResult {
        let result = self.send_empty(method, endpoint.url()).await;
        result.map_or_else(RequestError::into_probe, |response| judge(&response.view(0)))
    }

    /// Probes with a POST without a body, for destinations that check credentials before the body.
    pub(crate) async fn probe_with_empty_post(&self, endpoint: &Endpoint) -> ProbeResult {
        let judge = |response: &ResponseView<'_>| match response.by_status() {
            Outcome::Failed(Failure { kind: Unauthorized, .. }) if self.auth.signer().is_some() => {
                ProbeResult::Reached(format!("{endpoint} asks for a signature, which only events have"))
            }
            Outcome::Failed(Failure { kind: Unauthorized, reason, .. }) => {
                ProbeResult::Failed(format!("{endpoint}: credentials refused: {reason}"))
            }
            Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) => {
                ProbeResult::Failed(format!("{endpoint}: {reason}"))
            }
            Outcome::Failed(Failure { kind: Transient, reason, .. }) => {
                ProbeResult::Failed(format!("{endpoint}: unavailable: {reason}"))
            }
            Outcome::Refused(reason) => ProbeResult::refused_without_events(endpoint, &reason),
            _ if response.is_html() => ProbeResult::Failed(format!("{endpoint}: {}", response.html_reason())),
            _ => ProbeResult::Verified(format!("{endpoint} {}", self.accepts())),
        };
        self.probe_with_empty(Method::POST, endpoint, judge).await
    }

    /// Returns what a response that is not a refusal says about the credentials.
    pub(crate) fn accepts(&self) -> &'static str {
        if self.auth.has_credentials() { "accepts the credentials" } else { "accepts requests without credentials" }
    }

    /// Adds the headers of all requests, with `***` for credentials, which are not read.
    pub(crate) fn mask(&self, headers: &mut HeaderMap) {
        headers.extend(self.headers.iter().cloned());
        self.auth.mask(headers);
    }

    pub(crate) fn masked_address(&self, endpoint: &Endpoint) -> String {
        self.auth.masked_address(endpoint)
    }

    /// Returns the proxy that a request for this URL goes through.
    pub(crate) fn proxy(&self, url: &Url) -> Option<UsedProxy> {
        self.client.settings().way().proxy(url)
    }

    pub(crate) fn signer(&self) -> Option<&Signer> {
        self.auth.signer()
    }

    /// See [`Authenticator::renew`].
    pub(crate) async fn renew(&self, used: &UsedSecrets, is_invalid: bool) -> bool {
        self.auth.renew(used, is_invalid).await
    }

    pub(crate) async fn exchange(
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
        let way = self.client.settings().way();
        used.known.extend(way.secrets());
        let url = self.auth.address(url, used)?;
        self.auth.sign(&method, &url, &mut headers, &body, used).await?;
        self.client.settings().may_reach(&url)?;
        let request = self.client.get().request(method, url).headers(headers).body(body);
        let result = exchange(request, &way, max_bytes, std::mem::take(&mut used.known)).await;
        match &result {
            Ok(response) => self.auth.observe(response, used),
            Err(error) if error.kind == ErrorKind::NotConnected => self.client.renew(),
            Err(_) => {}
        }
        if result.as_ref().is_ok_and(|response| response.status.is_client_error() && response.view(0).is_html()) {
            self.client.renew();
        }
        result
    }
}

impl From<NotReachable> for RequestError {
    fn from(error: NotReachable) -> Self {
        let outcome = Outcome::misconfigured(error.to_string());
        Self { outcome, status: "address".into(), kind: ErrorKind::Unsent }
    }
}

impl From<AuthError> for RequestError {
    fn from(error: AuthError) -> Self {
        let (outcome, status) = match error {
            AuthError::Secret(error) => (Outcome::Failed(Failure::secret_unreadable(error.to_string())), "secret"),
            AuthError::InvalidHeaderValue(name) => {
                let reason = format!("the secret for `{name}` holds characters that no header can carry");
                (Outcome::Failed(Failure::secret_unreadable(reason)), "secret")
            }
            AuthError::Token(TokenError { outcome }) => (outcome, "token"),
        };
        Self { outcome, status: status.into(), kind: ErrorKind::Unsent }
    }
}
