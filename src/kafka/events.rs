//! What librdkafka tells beside its reports.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The same trouble is logged again after this.
const LOG_EVERY: Duration = Duration::from_secs(30);
/// An event of librdkafka older than this explains nothing any more.
const RECENT: Duration = Duration::from_secs(90);

/// Where tokens for OAUTHBEARER come from.
pub(crate) trait Tokens: Debug + Send + Sync {
    /// A token, asked for on a thread that may block; `runtime` does the fetching.
    ///
    /// # Errors
    /// In words that hold no secret.
    fn token(&self, runtime: &Handle) -> Result<OAuthToken, Box<dyn std::error::Error>>;
}

/// Listens to what librdkafka tells about brokers, and fetches tokens when it asks for them.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    brokers: Arc<str>,
    tokens: Option<Arc<dyn Tokens>>,
    /// Where tokens are fetched.
    runtime: Handle,
    recent: Arc<Mutex<Recent>>,
}

#[derive(Debug, Default)]
struct Recent {
    error: Option<(Instant, BrokerError)>,
    logged_at: Option<Instant>,
}

/// Trouble with brokers, which no report names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerError {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) reason: String,
}

impl Events {
    /// For a client of these brokers. Tokens are fetched on the runtime that this is called on.
    pub(crate) fn new(brokers: &str, tokens: Option<Arc<dyn Tokens>>) -> Self {
        Self { brokers: brokers.into(), tokens, runtime: Handle::current(), recent: Arc::default() }
    }

    /// The last trouble, unless it is long ago.
    pub(crate) fn recent(&self) -> Option<BrokerError> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.error.as_ref().filter(|(at, _)| at.elapsed() < RECENT).map(|(_, error)| error.clone())
    }

    /// Something was delivered: what was before is over.
    pub(crate) fn forget(&self) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).error = None;
    }
}

impl ClientContext for Events {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        match &self.tokens {
            Some(tokens) => tokens.token(&self.runtime),
            None => Err("OAUTHBEARER wants `oauth`, where tokens come from".into()),
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes as an error event or a report; this is for those who look closer.
        tracing::debug!(target: "librdkafka", brokers = %self.brokers, ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if code == RDKafkaErrorCode::PartitionEOF {
            // Who reads hears of it where it is waited for.
            return;
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" follows the cause and says less.
        let covered = code == RDKafkaErrorCode::AllBrokersDown && recent.error.is_some();
        if !covered {
            recent.error = Some((Instant::now(), BrokerError { code, reason: reason.to_owned() }));
        }
        if recent.logged_at.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            recent.logged_at = Some(Instant::now());
            drop(recent);
            tracing::warn!(brokers = %self.brokers, ?code, reason, "trouble with Kafka brokers");
        }
    }
}

impl ConsumerContext for Events {}
