//! Parses brokers and a topic from a command-line flag.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError as RdKafkaError;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::Connect;
use crate::failure::Failure;
use crate::settings::Secret;

/// Defaults, which options of the address override. A late message aborts its transaction but does not end the
/// producer, since `message.timeout.ms` is below `transaction.timeout.ms`.
const DEFAULTS: [(&str, &str); 8] = [
    ("client.id", "s1-forwarder"),
    ("acks", "all"),
    ("compression.type", "zstd"),
    ("linger.ms", "5"),
    ("message.timeout.ms", "30000"),
    ("transaction.timeout.ms", "60000"),
    ("ssl.ca.location", "probe"),
    ("socket.keepalive.enable", "true"),
];
/// Keys that an address must not set.
const REFUSED: [&str; 4] = ["bootstrap.servers", "metadata.broker.list", "transactional.id", "enable.idempotence"];

/// `kafka://BROKERS/TOPIC?OPTIONS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLocation {
    brokers: String,
    pub(crate) topic: String,
    /// librdkafka's settings. A value may be a secret.
    options: BTreeMap<String, Secret>,
}

/// An invalid address. Its text contains no values, since they may be secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaLocationError {
    /// Brokers or topic are missing.
    #[error(
        "write it as kafka://HOST:PORT,HOST:PORT/TOPIC, with librdkafka's settings after a `?`, such as ?security.protocol=ssl&sasl.password=file:/run/secrets/password"
    )]
    Form,
    /// One of the settings after the `?` is invalid.
    #[error("option `{option}`: {problem}")]
    Option { option: String, problem: String },
}

impl FromStr for KafkaLocation {
    type Err = KafkaLocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("//").ok_or(KafkaLocationError::Form)?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (brokers, topic) = place.split_once('/').ok_or(KafkaLocationError::Form)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if brokers.split(',').any(str::is_empty) || topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) {
            return Err(KafkaLocationError::Form);
        }
        let option = |option: &str| {
            let invalid = |option: &str, problem: &str| KafkaLocationError::Option {
                option: option.to_owned(),
                problem: problem.to_owned(),
            };
            let (key, value) = option.split_once('=').ok_or_else(|| invalid(option, "write it as NAME=VALUE"))?;
            if REFUSED.contains(&key) {
                return Err(invalid(key, "this program sets it by itself"));
            }
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            let secret = match value.strip_prefix("file:") {
                Some(path) => Secret::File(path.into()),
                None => {
                    // librdkafka validates the name and the value.
                    let checked = ClientConfig::new().set(key, &value).create_native_config();
                    checked.map_err(|error| match error {
                        RdKafkaError::ClientConfig(_, problem, ..) => invalid(key, &problem),
                        _ => invalid(key, "librdkafka does not accept it"),
                    })?;
                    Secret::Literal(value)
                }
            };
            Ok((key.to_owned(), secret))
        };
        let options = options.split('&').filter(|option| !option.is_empty()).map(option).collect::<Result<_, _>>()?;
        Ok(Self { brokers: brokers.to_owned(), topic: topic.to_owned(), options })
    }
}

impl fmt::Display for KafkaLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kafka://{}/{}", self.brokers, self.topic)
    }
}

impl KafkaLocation {
    /// Returns the settings of a client, with secrets read.
    pub(crate) fn connect(&self) -> Result<Connect, Failure> {
        let mut config: BTreeMap<_, _> =
            DEFAULTS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        config.insert("bootstrap.servers".to_owned(), self.brokers.clone());
        for (key, secret) in &self.options {
            let value = secret.read().map_err(|error| Failure::Unauthorized(error.to_string()))?;
            config.insert(key.clone(), value.expose_secret().to_owned());
        }
        Ok(Connect::new(config, None))
    }

    /// Hashes the settings for the transactional id. A rotated password does not change the hash.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("state {self}"));
        for (key, secret) in &self.options {
            hash.update(format!(" {}:{key}={}", key.len(), secret.reference()));
        }
        hex::encode(&hash.finalize()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_contains_brokers_topic_and_options() {
        let location: KafkaLocation =
            "//a:9092,b:9092/checkpoints?security.protocol=ssl&sasl.password=file:/run/p&client.id=a%26b"
                .parse()
                .unwrap();
        assert_eq!((location.brokers.as_str(), location.topic.as_str()), ("a:9092,b:9092", "checkpoints"));
        assert_eq!(location.options["sasl.password"], Secret::File("/run/p".into()));
        assert_eq!(location.options["client.id"], Secret::Literal("a&b".to_owned()));
        assert_eq!(
            location.to_string(),
            "kafka://a:9092,b:9092/checkpoints",
            "values may be secrets and are not shown"
        );
        for wrong in ["a:9092/t", "//a:9092", "//a:9092/", "///t", "//a:1/two/parts"] {
            assert_eq!(wrong.parse::<KafkaLocation>(), Err(KafkaLocationError::Form), "{wrong}");
        }
    }

    #[test]
    fn an_error_names_the_invalid_option_without_its_value() {
        for (wrong, expected) in [
            ("client.id=x&transactional.id=mine", "option `transactional.id`: this program sets it by itself"),
            ("security.protocol", "option `security.protocol`: write it as NAME=VALUE"),
            (
                "client.id=x&sasl.pasword=s3cret",
                "option `sasl.pasword`: No such configuration property: \"sasl.pasword\"",
            ),
            ("acks=s3cret", "option `acks`: Invalid value"),
        ] {
            let error = format!("//a:1/t?{wrong}").parse::<KafkaLocation>().unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains("s3cret"), "{error}");
        }
    }
}
