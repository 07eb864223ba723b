//! Requests for tokens, and for what a token is made from.

use std::sync::Arc;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use s1_forwarder_engine::sink::Outcome;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::{Misconfigured, Transient, Unauthorized};
use s1_forwarder_settings::{
    ClientError, HttpSettings, KnownSecrets, LOCAL_REQUEST_WAY, Proxy, RequestWay, Tls, local_client,
};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::renewable::Issued;
use super::token_error::TokenError;
use super::token_response::TokenResponse;
use crate::http::transport::endpoint::Endpoint;
use crate::http::transport::exchange::exchange;
use crate::http::transport::response::ResponseView;

/// `oauth2:` of a sink whose token endpoint is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenEndpointSettings {
    /// Certificates for the token endpoint; those of the sink do not apply to it.
    pub tls: Tls,
    /// Proxy for the token endpoint; default: the sink's.
    pub proxy: Option<Proxy>,
}

/// How the server of a [`TokenRequest`] is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Connection<'a> {
    /// The server is reached with these certificates, and through this proxy.
    Settings(&'a HttpSettings),
    /// The server is on this machine or its link, as the metadata servers of clouds are. Requests never go through a
    /// proxy.
    Local,
}

impl<'a> Connection<'a> {
    fn client(self) -> Result<Arc<reqwest::Client>, ClientError> {
        match self {
            Self::Settings(settings) => settings.client(),
            Self::Local => local_client().map(Arc::new),
        }
    }

    fn way(self) -> RequestWay<'a> {
        match self {
            Self::Settings(settings) => settings.way(),
            Self::Local => LOCAL_REQUEST_WAY,
        }
    }
}

/// The outcome of a response that is not a success.
type Judge = fn(&ResponseView<'_>) -> Outcome;

pub(crate) struct TokenRequest {
    method: Method,
    pub(crate) url: Endpoint,
    headers: HeaderMap,
    pub(crate) body: String,
    /// The secrets in `headers` and `body`.
    used: KnownSecrets,
    judge: Judge,
}

impl TokenRequest {
    fn new(method: Method, url: Endpoint) -> Self {
        let headers = HeaderMap::new();
        Self { method, url, headers, body: String::new(), used: KnownSecrets::default(), judge: by_status }
    }

    pub(crate) fn get(url: Endpoint) -> Self {
        Self::new(Method::GET, url)
    }

    pub(crate) fn put(url: Endpoint) -> Self {
        Self::new(Method::PUT, url)
    }

    /// Posts a form. `used` are the secrets in `params`.
    pub(crate) fn form<'a>(
        url: Endpoint,
        params: impl IntoIterator<Item = (&'a str, &'a str)>,
        used: impl IntoIterator<Item = SecretString>,
    ) -> Self {
        let mut request = Self::new(Method::POST, url)
            .with_header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .with_header(ACCEPT, HeaderValue::from_static("application/json"));
        request.body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        request.used.extend(used);
        request
    }

    /// Posts a JSON text without secrets.
    pub(crate) fn json(url: Endpoint, body: String) -> Self {
        let json = HeaderValue::from_static("application/json");
        Self { body, ..Self::new(Method::POST, url).with_header(CONTENT_TYPE, json) }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a header made of `prefix` and a secret.
    ///
    /// # Errors
    /// If no header can carry the secret.
    pub(crate) fn with_secret(
        mut self,
        name: HeaderName,
        prefix: &str,
        secret: &SecretString,
    ) -> Result<Self, TokenError> {
        let text = format!("{prefix}{}", secret.expose_secret());
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            let reason = format!("the secret for `{name}` holds characters that no header can carry");
            TokenError { outcome: Outcome::Failed(Failure::secret_unreadable(reason)) }
        })?;
        value.set_sensitive(true);
        self.used.push(secret.clone());
        Ok(self.with_header(name, value))
    }

    /// Adds `Authorization: Basic …`.
    pub(crate) fn with_basic(self, pair: SecretString) -> Result<Self, TokenError> {
        self.with_secret(AUTHORIZATION, "Basic ", &pair)
    }

    /// Replaces the rule by which refusals are judged.
    pub(crate) fn judged_by(mut self, judge: Judge) -> Self {
        self.judge = judge;
        self
    }

    /// Changes the headers, for a signature.
    pub(crate) fn sign<E>(
        mut self,
        sign: impl FnOnce(&Method, &url::Url, &mut HeaderMap, &[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        sign(&self.method, self.url.url(), &mut self.headers, self.body.as_bytes())?;
        Ok(self)
    }

    /// Sends the request for an OAuth 2.0 token.
    pub(crate) async fn token(self, connection: Connection<'_>) -> Result<Issued<SecretString>, TokenError> {
        self.json_value::<TokenResponse>(connection, "an `access_token`").await.map(TokenResponse::into_issued)
    }

    /// Sends the request, and reads the response as JSON. `expected` is what it should hold.
    pub(crate) async fn json_value<T: DeserializeOwned>(
        self,
        connection: Connection<'_>,
        expected: &str,
    ) -> Result<T, TokenError> {
        self.read(connection, expected, |body| serde_json::from_slice(body).ok()).await
    }

    /// Sends the request, and reads the response with `parse`. Errors show nothing of a success, which may hold a
    /// token.
    pub(crate) async fn read<T>(
        self,
        connection: Connection<'_>,
        expected: &str,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, TokenError> {
        let Self { method, url, headers, body, used, judge } = self;
        let failed = |outcome| TokenError { outcome: name_endpoint(&url, outcome) };
        let way = connection.way();
        let mut secrets = used;
        secrets.extend(way.secrets());
        // Each time, since the certificates may have been renewed on disk.
        let client = connection.client().map_err(|error| match error {
            ClientError::Unreadable { .. } => TokenError::unreadable(&error),
            error => TokenError::refused(error.to_string()),
        })?;
        if let Connection::Settings(settings) = connection {
            settings.may_reach(url.url()).map_err(|error| TokenError::refused(error.to_string()))?;
        }
        let request = client.request(method, url.url().clone()).headers(headers).body(body);
        let response = exchange(request, &way, 64 * 1024, secrets).await.map_err(|error| failed(error.outcome))?;
        if !response.status.is_success() {
            return Err(failed(response.scrub(judge(&response.view(0)))));
        }
        parse(&response.body).ok_or_else(|| failed(Outcome::misconfigured(format!("answers without {expected}"))))
    }
}

fn by_status(response: &ResponseView<'_>) -> Outcome {
    match response.by_status_anywhere() {
        // `invalid_client` and similar errors have the status 400 or 401.
        Outcome::Refused(reason) => Outcome::unauthorized(reason),
        other => other,
    }
}

/// Judges a response of Azure's metadata server. The statuses 404 and 410 mean that the server is being updated.
pub(crate) fn by_status_of_azure(response: &ResponseView<'_>) -> Outcome {
    match response.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => response.retry_later(),
        _ => by_status(response),
    }
}

/// Adds the token endpoint to the reason: the operator would look at the sink's own address first.
fn name_endpoint(url: &Endpoint, outcome: Outcome) -> Outcome {
    let prefix = format!("token endpoint {url}: ");
    match outcome {
        Outcome::Failed(failure @ Failure { kind: Transient | Unauthorized | Misconfigured, .. }) => {
            Outcome::Failed(failure.map_reason(|reason| prefix + &reason))
        }
        Outcome::TooLarge(reason) | Outcome::Refused(reason) => Outcome::misconfigured(prefix + &reason),
        other => other,
    }
}
