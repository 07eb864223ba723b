//! Tokens for OAUTHBEARER. librdkafka requests them on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::kafka::Tokens;
use crate::settings::HttpSettings;
use crate::sink::common::Common;
use crate::sink::http::{ClientCredentials, Grant, TokenSource};
use crate::sink::{BuildError, SinkContext};

/// Source of the tokens for one sink's brokers.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    source: Arc<TokenSource>,
    /// librdkafka logs it as the principal.
    client_id: String,
    /// The last token that a producer received.
    given: Arc<Mutex<Option<SecretString>>>,
}

impl Bearer {
    pub(crate) fn new(
        settings: &ClientCredentials,
        common: &Common,
        context: &SinkContext,
    ) -> Result<Self, BuildError> {
        // `tls` applies to the brokers only. `oauth` has its own for the token endpoint.
        let http = HttpSettings { tls: Default::default(), proxy: None, ..common.http() };
        let source = context.shared.tokens.source(Grant::Client(settings.clone()), &http)?;
        Ok(Self { client_id: settings.client_id.clone(), source, given: Arc::default() })
    }

    /// Discards the last token after brokers refused it. True if there was one.
    pub(crate) async fn discard(&self) -> bool {
        let given = self.given.lock().take();
        if let Some(token) = &given {
            self.source.discard(token).await;
        }
        given.is_some()
    }
}

impl Tokens for Bearer {
    fn token(&self, runtime: &Handle) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let (sender, receiver) = oneshot::channel();
        let source = self.source.clone();
        // In a task: a runtime that shuts down drops the task, which closes the channel.
        runtime.spawn(async move { sender.send(source.token_with_expiry().await) });
        let fetched = receiver.blocking_recv().map_err(|_| "the worker is shutting down")?;
        let (token, expires_at) = fetched.map_err(|error| error.outcome.reason().unwrap_or("no token").to_owned())?;
        *self.given.lock() = Some(token.clone());
        Ok(OAuthToken {
            token: token.expose_secret().to_owned(),
            principal_name: self.client_id.clone(),
            lifetime_ms: wall_clock(expires_at),
        })
    }

    fn key(&self) -> String {
        format!("{:p}", Arc::as_ptr(&self.source))
    }
}

/// Converts to milliseconds since 1970.
fn wall_clock(moment: Instant) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // librdkafka refuses an expired token before it uses it.
    let left = moment.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    i64::try_from((now + left).as_millis()).unwrap_or(i64::MAX)
}
