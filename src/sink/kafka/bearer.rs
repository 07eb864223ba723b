//! Tokens for OAUTHBEARER: librdkafka asks for one when it needs one, on a thread of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::client::OAuthToken;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::kafka::Tokens;
use crate::settings::HttpSettings;
use crate::sink::http::{ClientCredentials, Grant, TokenSource};
use crate::sink::settings::Common;
use crate::sink::{BuildError, Context};

/// Where the tokens for one sink's brokers come from.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    source: Arc<TokenSource>,
    /// The client, whom librdkafka names in its logs.
    client_id: String,
    /// The token that a producer was given last.
    given: Arc<Mutex<Option<SecretString>>>,
}

/// No token, in words that hold no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoToken(String);

impl Bearer {
    pub(crate) fn new(settings: &ClientCredentials, common: &Common, context: &Context) -> Result<Self, BuildError> {
        // `tls` is about the brokers; the token endpoint is somebody else, mostly with a public certificate.
        let http = HttpSettings { tls: Default::default(), proxy: None, timeout: common.timeout() };
        let source = context.shared.tokens.source(Grant::Client(settings.clone()), &http)?;
        Ok(Self { client_id: settings.client_id.clone(), source, given: Arc::default() })
    }

    /// Tells sources apart for as long as one is held.
    pub(crate) fn key(&self) -> String {
        format!("{:p}", Arc::as_ptr(&self.source))
    }

    /// Forgets the token that was given last: brokers refused it. True when there was one.
    pub(crate) async fn give_up(&self) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(token) = &given {
            self.source.give_up(token).await;
        }
        given.is_some()
    }
}

impl Tokens for Bearer {
    fn token(&self, runtime: &Handle) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let (sender, receiver) = oneshot::channel();
        let source = self.source.clone();
        // Not waited for in place: a runtime that ends takes the task along, and the channel says so.
        runtime.spawn(async move { sender.send(source.living_token().await) });
        let fetched = receiver.blocking_recv().map_err(|_| NoToken("the worker is ending".to_owned()))?;
        let (token, expires_at) =
            fetched.map_err(|error| NoToken(error.outcome.reason().unwrap_or("no token").to_owned()))?;
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(OAuthToken {
            token: token.expose_secret().to_owned(),
            principal_name: self.client_id.clone(),
            lifetime_ms: wall_clock(expires_at),
        })
    }
}

/// Milliseconds since 1970.
fn wall_clock(moment: Instant) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A token without any life left would be refused before it is tried.
    let left = moment.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    i64::try_from((now + left).as_millis()).unwrap_or(i64::MAX)
}
