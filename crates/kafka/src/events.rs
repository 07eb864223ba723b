//! librdkafka's reports about brokers, in addition to the delivery reports.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use s1_forwarder_record::visible::visible;
use s1_forwarder_settings::KnownSecrets;
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::end_txn::Counts;

/// Minimum interval between two log lines about brokers.
const LOG_EVERY: Duration = Duration::from_secs(30);
/// A broker error older than this no longer explains a failure.
const RECENT: Duration = Duration::from_secs(90);

/// Fetches tokens for OAUTHBEARER.
pub trait Tokens: Debug + Send + Sync {
    /// Fetches a token on `runtime`. Called on a thread that may block.
    ///
    /// # Errors
    /// If no token can be fetched. The text contains no secrets.
    fn token(&self, runtime: &Handle) -> Result<OAuthToken, Box<dyn std::error::Error>>;

    /// Identifies the source until it is dropped.
    fn key(&self) -> String;
}

/// Receives librdkafka's broker errors, and fetches tokens when it asks for them.
#[derive(Debug, Clone)]
pub struct ClientReports {
    brokers: Arc<str>,
    pub(super) tokens: Option<Arc<dyn Tokens>>,
    /// Runs the token requests.
    runtime: Handle,
    /// Secrets that the brokers are sent, and may repeat.
    secrets: Arc<KnownSecrets>,
    /// The last token.
    token: Arc<Mutex<Option<SecretString>>>,
    recent: Arc<Mutex<Recent>>,
    /// Receives the statistics of a transactional producer. Other clients emit none.
    pub(super) statistics: Option<watch::Sender<Counts>>,
}

#[derive(Debug, Default)]
struct Recent {
    error: Option<(Instant, BrokerError)>,
    logged_at: Option<Instant>,
}

/// A broker error that no delivery report contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerError {
    pub code: RDKafkaErrorCode,
    pub reason: String,
}

impl ClientReports {
    /// Token requests run on the caller's runtime.
    pub fn new(brokers: &str, tokens: Option<Arc<dyn Tokens>>, secrets: KnownSecrets) -> Self {
        Self {
            brokers: brokers.into(),
            tokens,
            runtime: Handle::current(),
            secrets: Arc::new(secrets),
            token: Arc::default(),
            recent: Arc::default(),
            statistics: None,
        }
    }

    /// Returns a text of librdkafka, which may quote a broker, without secrets.
    pub(super) fn cleaned(&self, text: &str) -> String {
        let mut known = (*self.secrets).clone();
        known.extend(self.token.lock().clone());
        visible(&known.scrub(text)).into_owned()
    }

    /// Returns the last broker error of the past 90 seconds.
    pub fn recent(&self) -> Option<BrokerError> {
        let recent = self.recent.lock();
        recent.error.as_ref().filter(|(at, _)| at.elapsed() < RECENT).map(|(_, error)| error.clone())
    }

    /// Returns what explains `code`, the code of a call: the last broker error, or what may be wrong if brokers say
    /// nothing.
    pub fn cause(&self, code: RDKafkaErrorCode) -> Option<BrokerError> {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, MessageTimedOut, OperationTimedOut};
        let is_silence = matches!(code, AllBrokersDown | BrokerTransportFailure | MessageTimedOut | OperationTimedOut);
        let silent = || BrokerError { code, reason: format!("{}{NO_ANSWER}", self.brokers) };
        self.recent().or_else(|| is_silence.then(silent))
    }

    /// Clears the last error after a delivery.
    pub fn forget(&self) {
        self.recent.lock().error = None;
    }
}

impl ClientContext for ClientReports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let tokens = self.tokens.as_ref().ok_or("OAUTHBEARER wants `oauth` or `auth`, where tokens come from")?;
        let token = tokens.token(&self.runtime)?;
        *self.token.lock() = Some(token.token.as_str().into());
        Ok(token)
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let (Some(receiver), Some(counts)) = (&self.statistics, Counts::parse(statistics)) {
            receiver.send_replace(counts);
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // For debugging only: errors and delivery reports arrive through other callbacks.
        if tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
            let message = self.cleaned(message);
            tracing::debug!(target: "librdkafka", brokers = %self.brokers, severity = ?level, facility, "{message}");
        }
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        let mut code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if code == RDKafkaErrorCode::PartitionEOF {
            // `Topic::scan` handles it.
            return;
        }
        // librdkafka calls this a transport error if the certificate arrives during the first step of the handshake.
        if code == RDKafkaErrorCode::BrokerTransportFailure && reason.contains("certificate verify failed") {
            code = RDKafkaErrorCode::SSL;
        }
        let mut reason = format!("{}{}", self.cleaned(reason), advice(reason));
        if code == RDKafkaErrorCode::AllBrokersDown {
            // Other reasons begin with the broker's address.
            reason = format!("{}: {reason}", self.brokers);
        }
        let mut recent = self.recent.lock();
        // "All brokers are down" follows the cause and contains less.
        let is_redundant = code == RDKafkaErrorCode::AllBrokersDown && recent.error.is_some();
        if !is_redundant {
            recent.error = Some((Instant::now(), BrokerError { code, reason: reason.clone() }));
        }
        if recent.logged_at.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            recent.logged_at = Some(Instant::now());
            drop(recent);
            tracing::warn!(brokers = %self.brokers, ?code, reason, "the Kafka brokers reported an error");
        }
    }
}

impl ConsumerContext for ClientReports {}

const NO_ANSWER: &str = "; does `brokers` name Kafka's listener, and does it want TLS (`options: { security.protocol: \
                         SSL }`)?";

/// Advice on what to change, by a part of librdkafka's text.
const ADVICE: [(&str, &str); 7] = [
    ("brokers are down", NO_ANSWER),
    // This size is four bytes of an answer in HTTP.
    ("Invalid response size", "; the port speaks another protocol: does `brokers` name Kafka's listener?"),
    ("Connection refused", "; nothing listens there: is `brokers` right, and does the broker run?"),
    ("Failed to resolve", "; is the host name in `brokers` spelt right, and does this machine's name server know it?"),
    ("certificate verify failed", "; name the authority's certificate in `tls.ca_file`"),
    ("connecting to a SSL listener", "; if so, set `options: { security.protocol: SSL }` or `SASL_SSL`"),
    ("connecting to a PLAINTEXT", "; if so, set `options: { security.protocol: PLAINTEXT }` or `SASL_PLAINTEXT`"),
];

fn advice(reason: &str) -> &'static str {
    ADVICE.iter().find(|(part, _)| reason.contains(part)).map_or("", |(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::*;

    #[tokio::test]
    async fn an_untrusted_certificate_is_a_tls_error_in_each_step_of_the_handshake() {
        let code_of = |code, reason: &str| {
            let events = ClientReports::new("broker", None, KnownSecrets::default());
            events.error(RdKafkaError::Global(code), reason);
            events.recent().map(|error| error.code)
        };
        let first = "ssl://broker/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 3ms)";
        let later =
            "ssl://broker/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed";
        assert_eq!(code_of(Code::BrokerTransportFailure, first), Some(Code::SSL));
        assert_eq!(code_of(Code::SSL, later), Some(Code::SSL));
        let refused = "ssl://broker/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused";
        assert_eq!(code_of(Code::BrokerTransportFailure, refused), Some(Code::BrokerTransportFailure));
    }

    #[tokio::test]
    async fn a_broker_error_says_what_to_change() {
        let reason_of = |reason: &str| {
            let events = ClientReports::new("broker", None, KnownSecrets::default());
            events.error(RdKafkaError::Global(Code::BrokerTransportFailure), reason);
            events.recent().unwrap().reason
        };
        for (part, advice) in ADVICE {
            let reason = format!("broker:9092/bootstrap: {part} (after 3ms in state CONNECT)");
            assert_eq!(reason_of(&reason), format!("{reason}{advice}"));
        }
        assert_eq!(reason_of("anything else"), "anything else");
    }
}
