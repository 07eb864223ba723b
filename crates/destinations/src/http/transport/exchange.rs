//! One request and its response, without credentials.

use http::{HeaderMap, StatusCode};
use s1_forwarder_engine::sink::{AttemptStatus, Outcome, ProbeResult};
use s1_forwarder_settings::{
    KnownSecrets, RequestWay, describe_proxy_refusal, describe_request_error, is_closed_by_plan, is_tls_error,
};

use super::response::ResponseView;

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The secrets of the request, which no text of the response may show.
    pub(crate) secrets: KnownSecrets,
}

impl Response {
    /// `events` is the number of events in the request.
    pub(crate) fn view(&self, events: usize) -> ResponseView<'_> {
        ResponseView { status: self.status, headers: &self.headers, body: &self.body, secrets: &self.secrets, events }
    }
}

impl Response {
    /// Removes the secrets of the request from the texts of the outcome.
    pub(crate) fn scrub(&self, outcome: Outcome) -> Outcome {
        outcome.map_texts(|text| self.secrets.scrub(&text))
    }
}

/// A request that was not sent, or got no complete response.
#[derive(Debug)]
pub(crate) struct RequestError {
    pub(crate) outcome: Outcome,
    pub(crate) status: AttemptStatus,
    pub(crate) kind: ErrorKind,
}

/// The failure of a request that got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The request was not sent.
    Unsent,
    /// No connection was established, or the TLS handshake failed.
    NotConnected,
    /// The connection was lost after it had been established.
    ConnectionLost,
    /// The connection was established, and the response did not arrive in time.
    TimedOut,
}

/// Sends one request over `way`, the client's, and reads at most `max_bytes` of the response's body. A success whose
/// body ends early is an error. `secrets` are the secrets of the request.
pub(crate) async fn exchange(
    request: reqwest::RequestBuilder,
    way: &RequestWay<'_>,
    max_bytes: usize,
    secrets: KnownSecrets,
) -> Result<Response, RequestError> {
    let failed = |error| RequestError::of(&error, way, &secrets);
    let again = request.try_clone();
    let mut response = match (request.send().await, again) {
        // On a new connection, and once: the server may have stopped, or may fail on this request.
        (Err(error), Some(again)) if is_closed_by_plan(&error) => again.send().await,
        (answer, _) => answer,
    }
    .map_err(failed)?;
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let outcome = Outcome::misconfigured(describe_proxy_refusal(response.url(), way));
        return Err(RequestError { outcome, status: AttemptStatus::Http(status), kind: ErrorKind::NotConnected });
    }
    let mut body = Vec::new();
    while body.len() < max_bytes {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(max_bytes - body.len())]),
            Ok(None) => break,
            // A refusal needs no body: its status is sufficient.
            Err(_) if !status.is_success() => break,
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Response { status, headers, body, secrets })
}

impl RequestError {
    fn of(error: &reqwest::Error, way: &RequestWay<'_>, secrets: &KnownSecrets) -> Self {
        let (status, kind) = match error {
            error if error.is_timeout() => ("timeout", ErrorKind::TimedOut),
            error if is_tls_error(error) => ("tls", ErrorKind::NotConnected),
            error if error.is_connect() => ("connect", ErrorKind::NotConnected),
            _ => ("connection", ErrorKind::ConnectionLost),
        };
        let kind = if error.is_connect() { ErrorKind::NotConnected } else { kind };
        let reason = secrets.scrub(&describe_request_error(error, way).to_string());
        Self { outcome: Outcome::retry_later(reason), status: status.into(), kind }
    }

    pub(crate) fn into_probe(self) -> ProbeResult {
        ProbeResult::Failed(self.outcome.reason().unwrap_or(self.status.label()).to_owned())
    }
}
