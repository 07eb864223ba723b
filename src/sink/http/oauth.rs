//! OAuth 2.0 tokens. Sinks with equal settings share a token, and only one of them fetches it at a time.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::exchange::exchange;
use super::service_account::ServiceAccount;
use super::token_request::TokenRequest;
use crate::settings::{Credential, HttpSettings, Proxy, Secret, Tls, scrub};
use crate::sink::{BuildError, Outcome};

/// `auth: { type: oauth2, … }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentials {
    /// Token endpoint.
    pub token_url: Endpoint,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: Secret,
    /// Requested scope.
    pub scope: Option<String>,
    /// Further parameters of the token request, such as `audience`.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// How the client id and secret are sent.
    #[serde(default)]
    pub credentials: CredentialsIn,
    /// Certificates for the token endpoint; those of the sink do not apply to it.
    #[serde(default)]
    pub tls: Tls,
    /// Proxy for the token endpoint; default: the sink's.
    pub proxy: Option<Proxy>,
}

/// How a token request carries the client's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialsIn {
    /// In the form, as `client_id` and `client_secret`.
    #[default]
    Body,
    /// As user name and password of basic authentication.
    Basic,
    /// As a signed assertion (RFC 7523), such as the service account token that Kubernetes renews in a file.
    Assertion,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    Client(ClientCredentials),
    ServiceAccount(ServiceAccount),
}

/// All token sources of the process.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    sources: Mutex<Vec<Weak<TokenSource>>>,
}

impl Tokens {
    /// The source for these settings. It is dropped with the last sink that uses it. `http` are the sink's own
    /// settings, whose proxy and timeout apply to the token endpoint as well.
    pub(crate) fn source(&self, grant: Grant, http: &HttpSettings) -> Result<Arc<TokenSource>, BuildError> {
        let (tls, proxy) = grant.connection();
        let proxy = proxy.or(http.proxy.as_ref()).cloned();
        let http = HttpSettings { tls: tls.clone(), proxy, timeout: http.timeout };
        // Settings that no client can use are found here.
        http.client()?;
        let mut sources = self.sources.lock();
        sources.retain(|source| source.strong_count() > 0);
        let equal = |source: &Arc<TokenSource>| source.grant == grant && source.http == http;
        if let Some(source) = sources.iter().filter_map(Weak::upgrade).find(equal) {
            return Ok(source);
        }
        let source =
            Arc::new(TokenSource { secret: grant.credential(), grant, http, cached: tokio::sync::Mutex::default() });
        sources.push(Arc::downgrade(&source));
        Ok(source)
    }
}

#[derive(Debug)]
pub(crate) struct TokenSource {
    grant: Grant,
    http: HttpSettings,
    secret: Credential,
    /// Locked while a token is fetched: other sinks wait for the result.
    cached: tokio::sync::Mutex<CachedToken>,
}

#[derive(Debug, Default)]
struct CachedToken {
    token: Option<Token>,
    /// The last failure and its time. Sinks that waited during it get the same error instead of sending a request each.
    failure: Option<(Instant, TokenError)>,
}

#[derive(Debug)]
struct Token {
    text: SecretString,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Debug, Clone)]
pub(crate) struct TokenError {
    pub(crate) outcome: Outcome,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    expires_in: Option<Seconds>,
}

/// Some servers send a number, some a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

/// Assumed lifetime of a token without `expires_in`, in seconds.
const DEFAULT_LIFETIME: f64 = 300.0;

impl TokenSource {
    /// A valid token.
    pub(crate) async fn token(&self) -> Result<SecretString, TokenError> {
        Ok(self.token_with_expiry().await?.0)
    }

    /// A valid token, and when it expires.
    pub(crate) async fn token_with_expiry(&self) -> Result<(SecretString, Instant), TokenError> {
        let called_at = Instant::now();
        let mut cached = self.cached.lock().await;
        let now = Instant::now();
        if let Some(token) = cached.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok((token.text.clone(), token.expires_at));
        }
        if let Some((_, error)) = cached.failure.as_ref().filter(|(failed_at, _)| called_at < *failed_at) {
            return Err(error.clone());
        }
        match self.fetch().await {
            Ok(token) => {
                let valid = (token.text.clone(), token.expires_at);
                *cached = CachedToken { token: Some(token), failure: None };
                Ok(valid)
            }
            Err(error) => {
                cached.failure = Some((Instant::now(), error.clone()));
                // The old token is used until it expires.
                let old = cached.token.as_ref().filter(|token| now < token.expires_at);
                old.map(|token| (token.text.clone(), token.expires_at)).ok_or(error)
            }
        }
    }

    /// Discards `token`, which was refused, unless it has been replaced already.
    pub(crate) async fn discard(&self, token: &SecretString) {
        let mut cached = self.cached.lock().await;
        if cached.token.as_ref().is_some_and(|cached| cached.text.expose_secret() == token.expose_secret()) {
            cached.token = None;
        }
    }

    async fn fetch(&self) -> Result<Token, TokenError> {
        let first = self.request_token().await;
        match first {
            // The client's secret may have been rotated.
            Err(TokenError { outcome: Outcome::Unauthorized(_) }) if self.secret.reload().unwrap_or(false) => {
                self.request_token().await
            }
            other => other,
        }
    }

    async fn request_token(&self) -> Result<Token, TokenError> {
        let refused = |reason: String| TokenError { outcome: Outcome::Unauthorized(reason) };
        let secret = self.secret.get().map_err(|error| refused(error.to_string()))?;
        let TokenRequest { url, headers, form, used } = self.grant.request(&secret).map_err(refused)?;
        let failed = |outcome| TokenError { outcome: name_endpoint(&url, outcome) };
        // Each time, since the certificates may have been renewed on disk.
        let client = self.http.client().map_err(|error| refused(error.to_string()))?;
        let result = exchange(&client, Method::POST, url.url(), headers, form.into(), 64 * 1024).await;
        let mut response = result.map_err(|error| failed(error.outcome))?;
        used.scrub(&mut response.body);
        scrub(&mut response.body, &self.http.proxy.iter().flat_map(Proxy::secrets).collect::<Vec<_>>());
        if !response.status.is_success() {
            return Err(failed(match response.view(0).by_status() {
                // `invalid_client` and similar errors have the status 400 or 401.
                Outcome::Refused(reason) | Outcome::Unauthorized(reason) => Outcome::Unauthorized(reason),
                other => other,
            }));
        }
        // The body may hold a token: the error shows nothing of it.
        let token = serde_json::from_slice::<TokenResponse>(&response.body)
            .map_err(|_| failed(Outcome::Misconfigured("answers without an `access_token`".to_owned())))?;
        Ok(Token::new(token))
    }
}

/// Adds the token endpoint to the reason: the operator would look at the sink's own address first.
fn name_endpoint(url: &Endpoint, outcome: Outcome) -> Outcome {
    let prefix = format!("token endpoint {url}: ");
    match outcome {
        Outcome::RetryLater { reason, after } => Outcome::RetryLater { reason: prefix + &reason, after },
        Outcome::Unauthorized(reason) => Outcome::Unauthorized(prefix + &reason),
        Outcome::Misconfigured(reason) | Outcome::TooLarge(reason) | Outcome::Refused(reason) => {
            Outcome::Misconfigured(prefix + &reason)
        }
        other => other,
    }
}

impl Grant {
    fn credential(&self) -> Credential {
        match self {
            Self::Client(client) => Credential::new(client.client_secret.clone()),
            Self::ServiceAccount(account) => Credential::document(account.key.clone()),
        }
    }

    /// Certificates and proxy for the token endpoint.
    fn connection(&self) -> (&Tls, Option<&Proxy>) {
        match self {
            Self::Client(client) => (&client.tls, client.proxy.as_ref()),
            Self::ServiceAccount(account) => (&account.endpoint.tls, account.endpoint.proxy.as_ref()),
        }
    }

    fn request(&self, secret: &SecretString) -> Result<TokenRequest, String> {
        match self {
            Self::Client(client) => Ok(client.request(secret)),
            Self::ServiceAccount(account) => account.request(secret),
        }
    }
}

impl ClientCredentials {
    fn request(&self, secret: &SecretString) -> TokenRequest {
        const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let text = secret.expose_secret();
        let id = ("client_id", self.client_id.as_str());
        let mut params = vec![("grant_type", "client_credentials")];
        match self.credentials {
            CredentialsIn::Body => params.extend([id, ("client_secret", text)]),
            CredentialsIn::Assertion => {
                params.extend([id, ("client_assertion_type", ASSERTION), ("client_assertion", text)]);
            }
            CredentialsIn::Basic => {}
        }
        params.extend(self.scope.iter().map(|scope| ("scope", scope.as_str())));
        params.extend(self.params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut request = TokenRequest::new(self.token_url.clone(), params, [secret.clone()]);
        if self.credentials == CredentialsIn::Basic {
            let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = BASE64_STANDARD.encode(format!("{}:{}", encode(&self.client_id), encode(text)));
            if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {pair}")) {
                value.set_sensitive(true);
                request.headers.insert(AUTHORIZATION, value);
            }
            request.used.push(pair.into());
        }
        request
    }
}

impl Token {
    fn new(response: TokenResponse) -> Self {
        let seconds = match response.expires_in {
            Some(Seconds::Number(seconds)) => seconds,
            Some(Seconds::Text(text)) => text.parse().unwrap_or(DEFAULT_LIFETIME),
            None => DEFAULT_LIFETIME,
        };
        let lifetime = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs_f64(DEFAULT_LIFETIME));
        // Processes that started at the same time should not renew at the same time.
        let jitter = RandomState::new().hash_one(0_u8) % 1_000;
        let now = Instant::now();
        let fresh = lifetime.mul_f64(0.8 - 0.1 * jitter as f64 / 1_000.0);
        Self {
            text: response.access_token.into(),
            renew_at: now.checked_add(fresh).unwrap_or(now),
            expires_at: now.checked_add(lifetime).unwrap_or(now),
        }
    }
}
