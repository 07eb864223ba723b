//! librdkafka's settings: the sink's defaults, overridden by the user's `options`.

use std::collections::BTreeMap;
use std::time::Duration;

use s1_forwarder_kafka::{is_broker, options};
use s1_forwarder_settings::{Credential, Period, Secret, SecretError, Tls, TlsFile};
use sha2::{Digest, Sha256};

use super::settings::{Delivery, KafkaSettings};
use super::text::Text;
use crate::BuildError;
use crate::common_keys::Common;
use crate::compression::Compression;

#[derive(Debug)]
pub(crate) struct Options {
    defaults: BTreeMap<&'static str, String>,
    given: BTreeMap<String, Credential>,
    /// A topic that is unknown for longer counts as missing.
    pub(crate) propagation: Duration,
}

/// Longest time that librdkafka itself waits for an unknown topic. The sink applies a longer time of the user, so that
/// the lane reports the unknown topic early.
const PROPAGATION: Duration = Duration::from_secs(5);
const OAUTHBEARER: &str = "OAUTHBEARER";
const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";
/// Time for the rest of a transaction after a message has used its whole timeout.
const TRANSACTION_MARGIN: Duration = Duration::from_secs(30);
const PROPAGATION_KEY: &str = "topic.metadata.propagation.max.ms";

/// Keys that the sink has under other names.
const REFUSED: [(&str, &str); 2] =
    [("bootstrap.servers", "name the brokers in `brokers`"), ("metadata.broker.list", "name the brokers in `brokers`")];

impl Options {
    pub(crate) fn new(settings: &KafkaSettings, common: &Common, compression: Compression) -> Result<Self, BuildError> {
        if settings.brokers.iter().all(|broker| broker.trim().is_empty()) {
            return Err(BuildError::value("brokers", "name at least one, as HOST:PORT"));
        }
        let has_scheme = |broker: &&String| {
            let scheme = broker.split_once("://").map(|(scheme, _)| scheme.trim().to_ascii_lowercase());
            scheme.is_some_and(|scheme| !["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].contains(&&*scheme))
        };
        if let Some(broker) = settings.brokers.iter().find(has_scheme) {
            let problem = format!("`{broker}`: write HOST:PORT; TLS is `options: {{ security.protocol: SSL }}`");
            return Err(BuildError::value("brokers", problem));
        }
        let mut addresses =
            settings.brokers.iter().flat_map(|brokers| brokers.split(',')).filter(|one| !one.trim().is_empty());
        if let Some(broker) = addresses.find(|broker| !is_broker(broker)) {
            return Err(BuildError::value("brokers", format!("`{broker}`: write HOST:PORT, with a number as port")));
        }
        if common.proxy.is_some() {
            return Err(BuildError::value("proxy", "Kafka has no proxies"));
        }
        if !common.tls.pin_sha256.is_empty() {
            let problem = "brokers are verified by an authority; name it in `ca_file`";
            return Err(BuildError::value("tls.pin_sha256", problem));
        }
        let given = settings.options.iter().map(|(key, Text(secret))| (key.as_str(), secret));
        options::check(given, &REFUSED)
            .map_err(|found| BuildError::value(format!("options.{}", found.key), found.problem))?;
        let mechanism = settings.literal("sasl.mechanism").or(settings.literal("sasl.mechanisms"));
        if settings.oauth.is_some() && settings.auth.is_some() {
            return Err(BuildError::value("auth", "excludes `oauth`: tokens come from one of them"));
        }
        if settings.has_tokens() && mechanism.is_some_and(|mechanism| mechanism != OAUTHBEARER) {
            let key = if settings.oauth.is_some() { "oauth" } else { "auth" };
            return Err(BuildError::value(key, "excludes another `sasl.mechanism`"));
        }
        if !settings.has_tokens() && mechanism == Some(OAUTHBEARER) {
            return Err(BuildError::value(
                "options.sasl.mechanism",
                "OAUTHBEARER wants `oauth` or `auth`, where tokens come from",
            ));
        }
        let mut defaults = default_options(settings, common, compression);
        if settings.delivery == Delivery::ExactlyOnce {
            defaults.insert(TRANSACTION_TIMEOUT, transaction_timeout(settings, common)?);
        }
        let propagation = settings.literal(PROPAGATION_KEY).and_then(|text| text.parse().ok());
        let propagation = propagation.map(Duration::from_millis);
        let given = settings.options.iter().filter(|(key, _)| *key != PROPAGATION_KEY);
        let waited = propagation.unwrap_or(PROPAGATION).min(PROPAGATION);
        defaults.insert(PROPAGATION_KEY, waited.as_millis().to_string());
        let given = given.map(|(key, Text(secret))| (key.clone(), options::credential(key, secret)));
        Ok(Self {
            defaults,
            given: tls_files(common).chain(given).collect(),
            propagation: propagation.unwrap_or(Duration::from_secs(30)),
        })
    }

    /// Returns all settings with secrets read.
    pub(crate) fn resolve(&self) -> Result<BTreeMap<String, String>, SecretError> {
        options::resolve(self.defaults.iter().map(|(key, value)| (*key, value.as_str())), &self.given)
    }

    /// Hashes the settings and `extra`. Secrets count by their reference, so a rotated password does not change the
    /// hash.
    pub(crate) fn fingerprint(&self, extra: &[&str]) -> String {
        let defaults = self.defaults.iter().map(|(key, value)| (*key, value.clone()));
        let given = self.given.iter().map(|(key, credential)| (key.as_str(), credential.reference()));
        let all: BTreeMap<_, _> = defaults.chain(given).collect();
        let mut hash = Sha256::new();
        for text in all.iter().flat_map(|(key, value)| [*key, value.as_str()]).chain(extra.iter().copied()) {
            hash.update(format!("{}:{text}", text.len()));
        }
        hex::encode(&hash.finalize()[..8])
    }

    /// Reads the secrets again. True if one has changed.
    pub(crate) fn reload(&self) -> bool {
        // Not `any`, which would stop at the first changed secret.
        self.given.values().filter(|credential| credential.reload().unwrap_or(false)).count() > 0
    }
}

/// Returns the time after which a message counts as not delivered. Within it, librdkafka's own retries repeat nothing.
/// After it, a message in flight may have arrived, so `at_least_once` waits long. A transaction that is aborted repeats
/// nothing, and all its lanes wait for its slowest message.
fn message_timeout(settings: &KafkaSettings, common: &Common) -> Duration {
    let default = match settings.delivery {
        Delivery::AtLeastOnce => Duration::from_mins(5),
        Delivery::ExactlyOnce => Duration::from_secs(30),
    };
    common.timeout.map_or(default, |Period(timeout)| timeout)
}

/// Returns the brokers' timeout of a transaction in milliseconds. It exceeds the timeout of a message, so that a late
/// message aborts its transaction but does not end its producer.
fn transaction_timeout(settings: &KafkaSettings, common: &Common) -> Result<String, BuildError> {
    if settings.literal("enable.idempotence") == Some("false") {
        return Err(BuildError::value("options.enable.idempotence", "`delivery: exactly_once` needs it"));
    }
    let number = |key: &str| settings.literal(key).and_then(|text| text.trim().parse::<u128>().ok());
    let message = number("message.timeout.ms").or(number("delivery.timeout.ms"));
    let message = message.unwrap_or(message_timeout(settings, common).as_millis());
    if message == 0 {
        let problem = "0 means indefinitely, and a transaction cannot last that long";
        return Err(BuildError::value("options.message.timeout.ms", problem));
    }
    let given = number(TRANSACTION_TIMEOUT);
    if given.is_some_and(|transaction| transaction <= message) {
        let problem = format!("a transaction must last longer than a message may take ({message} ms, see `timeout`)");
        return Err(BuildError::value(format!("options.{TRANSACTION_TIMEOUT}"), problem));
    }
    Ok(given.unwrap_or(message + TRANSACTION_MARGIN.as_millis()).to_string())
}

/// Returns the files of `tls:` by the options for their contents. Producers with different contents are different
/// producers.
fn tls_files(common: &Common) -> impl Iterator<Item = (String, Credential)> {
    let Tls { ca_file, cert_file, key_file, .. } = &common.tls;
    let files = [(ca_file, "ssl.ca.pem"), (cert_file, "ssl.certificate.pem"), (key_file, "ssl.key.pem")];
    files.into_iter().filter_map(|(file, option)| {
        let contents = match file.as_ref()? {
            TlsFile::Path(path) => Secret::File(path.clone()),
            TlsFile::Object(object) => Secret::Object(object.clone()),
        };
        Some((option.to_owned(), Credential::document(contents)))
    })
}

/// Returns the defaults, which the user may override.
fn default_options(
    settings: &KafkaSettings,
    common: &Common,
    compression: Compression,
) -> BTreeMap<&'static str, String> {
    let compression = match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    let mut defaults = BTreeMap::from([
        ("bootstrap.servers", settings.brokers.iter().map(|broker| broker.trim()).collect::<Vec<_>>().join(",")),
        ("client.id", "s1-forwarder".to_owned()),
        ("acks", "all".to_owned()),
        ("compression.type", compression.to_owned()),
        ("linger.ms", "20".to_owned()),
        // The lane retries a message that was not delivered in time.
        ("message.timeout.ms", message_timeout(settings, common).as_millis().to_string()),
        // The memory budget bounds the messages of running deliveries. This bounds the messages of cancelled
        // deliveries.
        ("queue.buffering.max.messages", "1000000".to_owned()),
        ("queue.buffering.max.kbytes", (256 * 1024).to_string()),
        // Searches the usual paths for the system's certificate authorities.
        ("ssl.ca.location", "probe".to_owned()),
        // Cloud load balancers drop idle connections.
        ("socket.keepalive.enable", "true".to_owned()),
    ]);
    if settings.literal("enable.idempotence") == Some("false") {
        // Without idempotence, a message in flight may overtake a retry.
        defaults.insert("max.in.flight.requests.per.connection", "1".to_owned());
    } else {
        defaults.insert("enable.idempotence", "true".to_owned());
    }
    if settings.has_tokens() {
        defaults.insert("sasl.mechanism", OAUTHBEARER.to_owned());
    }
    // Any holder of a token may use it, so it is encrypted unless the user configures otherwise.
    if common.tls != Tls::default() || settings.has_tokens() {
        let sasl = settings.has_tokens() || settings.options.keys().any(|key| key.starts_with("sasl."));
        defaults.insert("security.protocol", if sasl { "sasl_ssl" } else { "ssl" }.to_owned());
    }
    defaults
}
