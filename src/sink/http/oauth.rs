//! OAuth 2.0 client credentials: one token for all sinks with the same client, fetched by one of them at a time.

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
}

/// The tokens of the process, shared by endpoint, client and scope.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    sources: Mutex<Vec<Weak<TokenSource>>>,
}

impl Tokens {
    /// The source for these settings; it lives as long as a sink holds it.
    pub(crate) fn source(
        &self,
        settings: &ClientCredentials,
        http: &HttpSettings,
    ) -> Result<Arc<TokenSource>, BuildError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|source| source.strong_count() > 0);
        let equal = |source: &Arc<TokenSource>| source.settings == *settings && source.http == *http;
        if let Some(source) = sources.iter().filter_map(Weak::upgrade).find(equal) {
            return Ok(source);
        }
        let source = Arc::new(TokenSource {
            settings: settings.clone(),
            http: http.clone(),
            client: http.client()?,
            secret: Credential::new(settings.client_secret.clone()),
            kept: tokio::sync::Mutex::default(),
        });
        sources.push(Arc::downgrade(&source));
        Ok(source)
    }
}

/// One client at one token endpoint.
#[derive(Debug)]
pub(crate) struct TokenSource {
    settings: ClientCredentials,
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
        let (headers, form) = self.request(&secret);
        let url = self.settings.token_url.url();
        let answer = exchange(&self.client, Method::POST, url, headers, form.into(), 64 * 1024).await;
        let mut reply = answer.map_err(|Failure { outcome, .. }| TokenError { outcome: self.named(outcome) })?;
        Used::of(secret).scrub(&mut reply.body);
        let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
        if !answer.status.is_success() {
            let outcome = match answer.by_status() {
                // `invalid_client` and its like come with 400 as well as with 401.
                Outcome::Refused(reason) | Outcome::Unauthorized(reason) => Outcome::Unauthorized(reason),
                other => other,
            };
            return Err(TokenError { outcome: self.named(outcome) });
        }
        match serde_json::from_slice::<TokenAnswer>(&reply.body) {
            Ok(answer) => Ok(Token::new(answer)),
            // The body may hold a token, so nothing of it is shown.
            Err(_) => Err(TokenError {
                outcome: self.named(Outcome::Misconfigured("answers without an `access_token`".to_owned())),
            }),
        }
    }

    fn request(&self, secret: &SecretString) -> (HeaderMap, String) {
        let ClientCredentials { client_id, scope, params, credentials, .. } = &self.settings;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        match credentials {
            CredentialsIn::Body => {
                form.append_pair("client_id", client_id).append_pair("client_secret", secret.expose_secret());
            }
            CredentialsIn::Basic => {
                let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encode(client_id), encode(secret.expose_secret()));
                let value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(pair)));
                headers.extend(value.ok().map(|mut value| {
                    value.set_sensitive(true);
                    (AUTHORIZATION, value)
                }));
            }
        }
        form.extend_pairs(scope.iter().map(|scope| ("scope", scope))).extend_pairs(params);
        (headers, form.finish())
    }

    /// Says whose answer it was: the operator looks at the sink's address first.
    fn named(&self, outcome: Outcome) -> Outcome {
        let from = format!("token endpoint {}: ", self.settings.token_url);
        match outcome {
            Outcome::RetryLater { reason, after } => Outcome::RetryLater { reason: from + &reason, after },
            Outcome::Unauthorized(reason) => Outcome::Unauthorized(from + &reason),
            Outcome::Misconfigured(reason) | Outcome::TooLarge(reason) | Outcome::Refused(reason) => {
                Outcome::Misconfigured(from + &reason)
            }
            settled => settled,
        }
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
