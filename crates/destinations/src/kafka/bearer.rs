//! Tokens for OAUTHBEARER. librdkafka requests them on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use s1_forwarder_kafka::Tokens;
use s1_forwarder_settings::HttpSettings;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::settings::{KafkaAuth, KafkaSettings};
use crate::common_keys::Common;
use crate::http::{AwsCredentials, AwsSource, Grant, TokenError, TokenSource};
use crate::{BuildError, SinkContext};

/// Source of the tokens for one sink's brokers.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    source: Source,
    /// librdkafka logs it as the principal.
    principal: String,
    /// The token or the AWS credentials that the last token for a producer was made from.
    given: Arc<Mutex<Option<Given>>>,
}

#[derive(Debug, Clone)]
enum Source {
    Endpoint(Arc<TokenSource>),
    Msk(Arc<AwsSource>),
}

#[derive(Debug, Clone)]
enum Given {
    Token(SecretString),
    Credentials(AwsCredentials),
}

impl Bearer {
    /// `None` if the sink supplies no tokens to the brokers.
    pub(crate) fn new(
        settings: &KafkaSettings,
        common: &Common,
        context: &SinkContext,
    ) -> Result<Option<Self>, BuildError> {
        // `tls` applies to the brokers only. Token endpoints have their own.
        let http = HttpSettings { tls: Default::default(), proxy: None, ..common.http() };
        let (source, principal) = match (&settings.oauth, &settings.auth) {
            (Some(oauth), _) => {
                let source = context.shared.tokens.source(Grant::Client(oauth.clone()), &http)?;
                (Source::Endpoint(source), oauth.client_id.clone())
            }
            (None, Some(KafkaAuth::AwsMskIam(msk))) => {
                let credentials = msk.credentials();
                credentials.check()?;
                let source = context.shared.tokens.aws(context.shared.ambient.aws(&credentials), &http)?;
                (Source::Msk(source), "aws_msk_iam".to_owned())
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Self { source, principal, given: Arc::default() }))
    }

    /// Discards the token or the credentials that the last token was made from, after brokers refused it. Returns
    /// whether there were any.
    pub(crate) async fn discard(&self) -> bool {
        let given = self.given.lock().take();
        match (&self.source, &given) {
            (Source::Endpoint(source), Some(Given::Token(token))) => source.discard(token).await,
            (Source::Msk(source), Some(Given::Credentials(credentials))) => source.discard(credentials).await,
            _ => {}
        }
        given.is_some()
    }
}

impl Source {
    /// Returns a token, the time at which it expires, and the token or the credentials that it was made from.
    async fn token(&self) -> Result<(SecretString, Instant, Given), TokenError> {
        match self {
            Self::Endpoint(source) => {
                let (token, expires_at) = source.token_with_expiry().await?;
                Ok((token.clone(), expires_at, Given::Token(token)))
            }
            Self::Msk(source) => {
                let (token, expires_at, credentials) = source.msk_token().await?;
                Ok((token, expires_at, Given::Credentials(credentials)))
            }
        }
    }
}

impl Tokens for Bearer {
    fn token(&self, runtime: &Handle) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let (sender, receiver) = oneshot::channel();
        let source = self.source.clone();
        // In a task: a runtime that shuts down drops the task, which closes the channel.
        runtime.spawn(async move { sender.send(source.token().await) });
        let fetched = receiver.blocking_recv().map_err(|_| "the worker is shutting down")?;
        let (token, expires_at, given) =
            fetched.map_err(|error| error.outcome.reason().unwrap_or("no token").to_owned())?;
        *self.given.lock() = Some(given);
        Ok(OAuthToken {
            token: token.expose_secret().to_owned(),
            principal_name: self.principal.clone(),
            lifetime_ms: wall_clock(expires_at),
        })
    }

    fn key(&self) -> String {
        match &self.source {
            Source::Endpoint(source) => format!("{:p}", Arc::as_ptr(source)),
            Source::Msk(source) => format!("{:p}", Arc::as_ptr(source)),
        }
    }
}

/// Converts to milliseconds since 1970.
fn wall_clock(moment: Instant) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // librdkafka refuses an expired token before it uses it.
    let left = moment.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    i64::try_from((now + left).as_millis()).unwrap_or(i64::MAX)
}
