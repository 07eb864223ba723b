//! OAuth 2.0 tokens: one for all sinks with the same client, fetched by one of them at a time.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use super::auth::Used;
use super::request::{Failure, exchange};
use super::service_account::ServiceAccount;
use super::{Answer, Endpoint};
use crate::settings::{Credential, HttpSettings, Secret};
use crate::sink::{BuildError, Outcome};

/// `auth: { type: oauth2, … }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentials {
    /// Where tokens are fetched.
    pub token_url: Endpoint,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// The scope asked for.
    pub scope: Option<String>,
    /// Further parameters of the token request, such as `audience`.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// How the client's id and secret are sent.
    #[serde(default)]
    pub credentials: CredentialsIn,
}

/// Where a token request carries the client's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialsIn {
    /// In the form, as `client_id` and `client_secret`.
    #[default]
    Body,
    /// As user name and password.
    Basic,
    /// The secret is a signed assertion (RFC 7523), such as the service account token that Kubernetes renews in a file.
    Assertion,
}

/// How a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    Client(ClientCredentials),
    ServiceAccount(ServiceAccount),
}

/// What is posted to a token endpoint.
pub(crate) struct TokenRequest {
    pub(crate) url: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) form: String,
    /// What the request proves itself with, to keep it out of what is told about it.
    pub(crate) used: Used,
}

/// The tokens of the process, shared by endpoint, client and scope.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    sources: Mutex<Vec<Weak<TokenSource>>>,
}

impl Tokens {
    /// The source for these settings; it lives as long as a sink holds it.
    pub(crate) fn source(&self, grant: Grant, http: &HttpSettings) -> Result<Arc<TokenSource>, BuildError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|source| source.strong_count() > 0);
        let equal = |source: &Arc<TokenSource>| source.grant == grant && source.http == *http;
        if let Some(source) = sources.iter().filter_map(Weak::upgrade).find(equal) {
            return Ok(source);
        }
        let source = Arc::new(TokenSource {
            secret: grant.credential(),
            grant,
            http: http.clone(),
            client: http.client()?,
            kept: tokio::sync::Mutex::default(),
        });
        sources.push(Arc::downgrade(&source));
        Ok(source)
    }
}

/// One client at one token endpoint.
#[derive(Debug)]
pub(crate) struct TokenSource {
    grant: Grant,
    http: HttpSettings,
    client: reqwest::Client,
    secret: Credential,
    /// Held while a token is fetched, so that the others wait for that one.
    kept: tokio::sync::Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    /// Those who waited while this happened share it instead of asking once more each.
    failure: Option<(Instant, TokenError)>,
}

#[derive(Debug)]
struct Token {
    text: SecretString,
    renew_at: Instant,
    expires_at: Instant,
}

/// Why there is no token.
#[derive(Debug, Clone)]
pub(crate) struct TokenError {
    pub(crate) outcome: Outcome,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<Seconds>,
}

/// A number; some servers write it as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

/// What a token without `expires_in` is given.
const UNKNOWN_LIFE: f64 = 300.0;

impl TokenSource {
    /// A token that is good now.
    pub(crate) async fn token(&self) -> Result<SecretString, TokenError> {
        Ok(self.living_token().await?.0)
    }

    /// A token that is good now, and when it ends.
    pub(crate) async fn living_token(&self) -> Result<(SecretString, Instant), TokenError> {
        let asked_at = Instant::now();
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        if let Some(token) = kept.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok((token.text.clone(), token.expires_at));
        }
        if let Some((_, error)) = kept.failure.as_ref().filter(|(failed_at, _)| asked_at < *failed_at) {
            return Err(error.clone());
        }
        match self.fetch().await {
            Ok(token) => {
                let living = (token.text.clone(), token.expires_at);
                *kept = Kept { token: Some(token), failure: None };
                Ok(living)
            }
            Err(error) => {
                kept.failure = Some((Instant::now(), error.clone()));
                // A token endpoint that fails for now does no harm while the old token lives.
                let old = kept.token.as_ref().filter(|token| now < token.expires_at);
                old.map(|token| (token.text.clone(), token.expires_at)).ok_or(error)
            }
        }
    }

    /// Forgets `token`, which was refused, unless another one has taken its place already.
    pub(crate) async fn give_up(&self, token: &SecretString) {
        let mut kept = self.kept.lock().await;
        if kept.token.as_ref().is_some_and(|kept| kept.text.expose_secret() == token.expose_secret()) {
            kept.token = None;
        }
    }

    async fn fetch(&self) -> Result<Token, TokenError> {
        let first = self.ask().await;
        match first {
            // The client's secret may have been rotated.
            Err(TokenError { outcome: Outcome::Unauthorized(_) }) if self.secret.reload().unwrap_or(false) => {
                self.ask().await
            }
            other => other,
        }
    }

    async fn ask(&self) -> Result<Token, TokenError> {
        let refused = |reason: String| TokenError { outcome: Outcome::Unauthorized(reason) };
        let secret = self.secret.get().map_err(|error| refused(error.to_string()))?;
        let TokenRequest { url, headers, form, used } = self.grant.request(&secret).map_err(refused)?;
        let told = |outcome| TokenError { outcome: named(&url, outcome) };
        let answer = exchange(&self.client, Method::POST, url.url(), headers, form.into(), 64 * 1024).await;
        let mut reply = answer.map_err(|Failure { outcome, .. }| told(outcome))?;
        used.scrub(&mut reply.body);
        let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
        if !answer.status.is_success() {
            return Err(told(match answer.by_status() {
                // `invalid_client` and its like come with 400 as well as with 401.
                Outcome::Refused(reason) | Outcome::Unauthorized(reason) => Outcome::Unauthorized(reason),
                other => other,
            }));
        }
        // The body may hold a token, so nothing of it is shown.
        let answer = serde_json::from_slice::<TokenAnswer>(&reply.body)
            .map_err(|_| told(Outcome::Misconfigured("answers without an `access_token`".to_owned())))?;
        Ok(Token::new(answer))
    }
}

/// Says whose answer it was: the operator looks at the sink's address first.
fn named(url: &Endpoint, outcome: Outcome) -> Outcome {
    let from = format!("token endpoint {url}: ");
    match outcome {
        Outcome::RetryLater { reason, after } => Outcome::RetryLater { reason: from + &reason, after },
        Outcome::Unauthorized(reason) => Outcome::Unauthorized(from + &reason),
        Outcome::Misconfigured(reason) | Outcome::TooLarge(reason) | Outcome::Refused(reason) => {
            Outcome::Misconfigured(from + &reason)
        }
        settled => settled,
    }
}

impl Grant {
    fn credential(&self) -> Credential {
        match self {
            Self::Client(client) => Credential::new(client.client_secret.clone()),
            Self::ServiceAccount(account) => Credential::document(account.key.clone()),
        }
    }

    fn request(&self, secret: &SecretString) -> Result<TokenRequest, String> {
        match self {
            Self::Client(client) => Ok(client.request(secret)),
            Self::ServiceAccount(account) => account.request(secret),
        }
    }
}

impl TokenRequest {
    /// A form of these parameters.
    pub(crate) fn new<'a>(
        url: Endpoint,
        params: impl IntoIterator<Item = (&'a str, &'a str)>,
        used: impl IntoIterator<Item = SecretString>,
    ) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        let mut secrets = Used::default();
        used.into_iter().for_each(|secret| secrets.push(secret));
        Self { url, headers, form, used: secrets }
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
    fn new(answer: TokenAnswer) -> Self {
        let seconds = match answer.expires_in {
            Some(Seconds::Number(seconds)) => seconds,
            Some(Seconds::Text(text)) => text.parse().unwrap_or(UNKNOWN_LIFE),
            None => UNKNOWN_LIFE,
        };
        let life = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs_f64(UNKNOWN_LIFE));
        // Many processes that started together should not renew together.
        let jitter = RandomState::new().hash_one(0_u8) % 1_000;
        let now = Instant::now();
        let fresh = life.mul_f64(0.8 - 0.1 * jitter as f64 / 1_000.0);
        Self {
            text: answer.access_token.into(),
            renew_at: now.checked_add(fresh).unwrap_or(now),
            expires_at: now.checked_add(life).unwrap_or(now),
        }
    }
}
