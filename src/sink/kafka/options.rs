//! librdkafka's settings: ours, and above them what the user gives.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use sha2::{Digest, Sha256};

use super::{Delivery, Settings, Text};
use crate::settings::{Credential, Secret, SecretError};
use crate::sink::BuildError;
use crate::sink::settings::{Common, Compression};

/// What the settings of a sink amount to.
#[derive(Debug)]
pub(crate) struct Options {
    ours: BTreeMap<&'static str, String>,
    given: BTreeMap<String, Credential>,
    propagation: Duration,
}

/// librdkafka's own patience with a topic that it does not find. The longer one that the user may set is ours, so that
/// the lane says early what it is waiting for.
const PROPAGATION: Duration = Duration::from_secs(5);
const OAUTHBEARER: &str = "OAUTHBEARER";
const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";
/// What remains for the rest of a transaction when a message takes as long as it may.
const TRANSACTION_MARGIN: Duration = Duration::from_secs(30);
const PROPAGATION_KEY: &str = "topic.metadata.propagation.max.ms";

/// Keys that would take away what the sink promises, and what to do instead.
const REFUSED: [(&str, &str); 5] = [
    ("bootstrap.servers", "name the brokers in `brokers`"),
    ("metadata.broker.list", "name the brokers in `brokers`"),
    ("transactional.id", "transactions come with `delivery: exactly_once`"),
    ("delivery.report.only.error", "the forwarder waits for every report"),
    ("sasl.oauthbearer.method", "tokens come with `oauth`"),
];
/// Keys that would let anybody answer as the broker, with their only value.
const VERIFIED: [(&str, &str); 2] =
    [("enable.ssl.certificate.verification", "true"), ("ssl.endpoint.identification.algorithm", "https")];

impl Options {
    pub(crate) fn new(settings: &Settings, common: &Common, compression: Compression) -> Result<Self, BuildError> {
        if settings.brokers.iter().all(|broker| broker.trim().is_empty()) {
            return Err(BuildError::value("brokers", "name at least one, as HOST:PORT"));
        }
        if common.proxy.is_some() {
            return Err(BuildError::value("proxy", "Kafka has no proxies"));
        }
        let literal = |key: &str| match settings.options.get(key) {
            Some(Text(Secret::Literal(text))) => Some(text.as_str()),
            _ => None,
        };
        for (key, advice) in REFUSED {
            if settings.options.contains_key(key) {
                return Err(BuildError::value(format!("options.{key}"), advice));
            }
        }
        for key in ["acks", "request.required.acks"] {
            if literal(key).is_some_and(|acks| !matches!(acks, "all" | "-1")) {
                let problem = "an event counts as delivered once all replicas have it; leave it away";
                return Err(BuildError::value(format!("options.{key}"), problem));
            }
        }
        for (key, only) in VERIFIED {
            if settings.options.contains_key(key) && literal(key) != Some(only) {
                let problem = "brokers are always verified; name a private authority in `tls: { ca_file: … }`";
                return Err(BuildError::value(format!("options.{key}"), problem));
            }
        }
        let mechanism = literal("sasl.mechanism").or(literal("sasl.mechanisms"));
        if settings.oauth.is_some() && mechanism.is_some_and(|mechanism| mechanism != OAUTHBEARER) {
            return Err(BuildError::value("oauth", "excludes another `sasl.mechanism`"));
        }
        if settings.oauth.is_none() && mechanism == Some(OAUTHBEARER) {
            return Err(BuildError::value(
                "options.sasl.mechanism",
                "OAUTHBEARER wants `oauth`, where tokens come from",
            ));
        }
        let mut ours = ours(settings, common, compression);
        if settings.delivery == Delivery::ExactlyOnce {
            ours.insert(TRANSACTION_TIMEOUT, transaction_timeout(common, &literal)?);
        }
        let propagation = literal(PROPAGATION_KEY).and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let given = settings.options.iter().filter(|(key, _)| *key != PROPAGATION_KEY);
        let waited = propagation.unwrap_or(PROPAGATION).min(PROPAGATION);
        ours.insert(PROPAGATION_KEY, waited.as_millis().to_string());
        let options = Self {
            ours,
            given: given.map(|(key, Text(secret))| (key.clone(), Credential::new(secret.clone()))).collect(),
            propagation: propagation.unwrap_or(Duration::from_secs(30)),
        };
        options.check(settings)?;
        Ok(options)
    }

    /// Lets librdkafka look at each key and value that is known by now.
    fn check(&self, settings: &Settings) -> Result<(), BuildError> {
        let mut config = ClientConfig::new();
        for (key, value) in &self.ours {
            config.set(*key, value);
        }
        for (key, Text(secret)) in &settings.options {
            if let Secret::Literal(text) = secret {
                config.set(key, text.trim());
            }
        }
        match config.create_native_config() {
            Ok(_) => Ok(()),
            // The value, which is the last part, may be a secret.
            Err(KafkaError::ClientConfig(_, problem, key, _)) => {
                Err(BuildError::value(format!("options.{key}"), problem))
            }
            Err(_) => Err(BuildError::value("options", "librdkafka does not take them")),
        }
    }

    /// How long a topic may be unknown before it counts as missing.
    pub(crate) fn propagation(&self) -> Duration {
        self.propagation
    }

    /// All settings with their secrets read.
    pub(crate) fn resolve(&self) -> Result<BTreeMap<String, String>, SecretError> {
        use secrecy::ExposeSecret;
        let mut resolved: BTreeMap<_, _> =
            self.ours.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        for (key, credential) in &self.given {
            resolved.insert(key.clone(), credential.get()?.expose_secret().to_owned());
        }
        Ok(resolved)
    }

    /// A hash of the settings, with secrets by their reference: a password that is rotated is no other set.
    pub(crate) fn fingerprint(&self, beside: &[&str]) -> String {
        let ours = self.ours.iter().map(|(key, value)| (*key, value.clone()));
        let given = self.given.iter().map(|(key, credential)| (key.as_str(), credential.reference()));
        let all: BTreeMap<_, _> = ours.chain(given).collect();
        let mut hash = Sha256::new();
        for text in all.iter().flat_map(|(key, value)| [*key, value.as_str()]).chain(beside.iter().copied()) {
            hash.update(format!("{}:{text}", text.len()));
        }
        hash.finalize()[..8].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// Reads the secrets again; true when one changed.
    pub(crate) fn reload(&self) -> bool {
        // Not `any`: all of them are to be read.
        self.given.values().filter(|credential| credential.reload().unwrap_or(false)).count() > 0
    }
}

/// How long brokers keep a transaction open: longer than a message may take, so that one that is late ends its transaction
/// and not its producer.
fn transaction_timeout<'a>(common: &Common, literal: &impl Fn(&str) -> Option<&'a str>) -> Result<String, BuildError> {
    if literal("enable.idempotence") == Some("false") {
        return Err(BuildError::value("options.enable.idempotence", "`delivery: exactly_once` needs it"));
    }
    let number = |key: &str| literal(key).and_then(|text| text.trim().parse::<u128>().ok());
    let message = number("message.timeout.ms").or(number("delivery.timeout.ms"));
    let message = message.unwrap_or(common.timeout().0.as_millis());
    let given = number(TRANSACTION_TIMEOUT);
    if given.is_some_and(|transaction| transaction <= message) {
        let problem = format!("a transaction must last longer than a message may take ({message} ms, see `timeout`)");
        return Err(BuildError::value(format!("options.{TRANSACTION_TIMEOUT}"), problem));
    }
    Ok(given.unwrap_or(message + TRANSACTION_MARGIN.as_millis()).to_string())
}

/// What is set unless the user sets it otherwise.
fn ours(settings: &Settings, common: &Common, compression: Compression) -> BTreeMap<&'static str, String> {
    let compression = match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    let mut ours = BTreeMap::from([
        ("bootstrap.servers", settings.brokers.iter().map(|broker| broker.trim()).collect::<Vec<_>>().join(",")),
        ("client.id", "s1-forwarder".to_owned()),
        ("acks", "all".to_owned()),
        ("compression.type", compression.to_owned()),
        ("linger.ms", "20".to_owned()),
        // A message that cannot be delivered comes back to the lane, which is where patience lives.
        ("message.timeout.ms", common.timeout().0.as_millis().to_string()),
        // The memory budget bounds what lanes hand over; this is for what they gave up waiting for.
        ("queue.buffering.max.messages", "1000000".to_owned()),
        ("queue.buffering.max.kbytes", (256 * 1024).to_string()),
        // The system's authorities, wherever this system has them.
        ("ssl.ca.location", "probe".to_owned()),
        // Load balancers of clouds drop connections that are silent.
        ("socket.keepalive.enable", "true".to_owned()),
    ]);
    let off = |value: Option<&Text>| matches!(value, Some(Text(Secret::Literal(text))) if text == "false");
    if off(settings.options.get("enable.idempotence")) {
        // Without it, a retry may overtake what is in flight.
        ours.insert("max.in.flight.requests.per.connection", "1".to_owned());
    } else {
        ours.insert("enable.idempotence", "true".to_owned());
    }
    let tls = [
        ("ssl.ca.location", &common.tls.ca_file),
        ("ssl.certificate.location", &common.tls.cert_file),
        ("ssl.key.location", &common.tls.key_file),
    ];
    for (key, file) in tls {
        ours.extend(file.iter().map(|file| (key, file.display().to_string())));
    }
    if settings.oauth.is_some() {
        ours.insert("sasl.mechanism", OAUTHBEARER.to_owned());
    }
    // A token is for whoever has it: never in the clear, unless the user says so.
    if common.tls != crate::settings::Tls::default() || settings.oauth.is_some() {
        let sasl = settings.oauth.is_some() || settings.options.keys().any(|key| key.starts_with("sasl."));
        ours.insert("security.protocol", if sasl { "sasl_ssl" } else { "ssl" }.to_owned());
    }
    ours
}
