//! Parses brokers and a topic from a command-line flag.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use s1_forwarder_failure::Failure;
use s1_forwarder_settings::Secret;
use sha2::{Digest, Sha256};

use super::{ClientSettings, options};

/// Defaults, which options of the address override.
const DEFAULTS: [(&str, &str); 6] = [
    ("client.id", "s1-forwarder"),
    ("acks", "all"),
    ("compression.type", "zstd"),
    ("linger.ms", "5"),
    ("ssl.ca.location", "probe"),
    ("socket.keepalive.enable", "true"),
];
/// Keys that an address must not set.
const REFUSED: [(&str, &str); 3] = [
    ("bootstrap.servers", "the brokers are written before the topic"),
    ("metadata.broker.list", "the brokers are written before the topic"),
    ("enable.idempotence", "this program sets it by itself"),
];

/// `kafka://BROKERS/TOPIC?OPTIONS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLocation {
    brokers: String,
    pub topic: String,
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

/// Returns whether brokers accept the name for a topic.
pub fn is_topic(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.chars().all(legal)
}

/// Returns whether a text can be the address of a broker. librdkafka makes 0 of a port that is no number.
pub fn is_broker(address: &str) -> bool {
    let address = address.split_once("://").map_or(address, |(_, address)| address).trim();
    let port = if address.ends_with(']') { None } else { address.rsplit_once(':') };
    !address.is_empty()
        && port.is_none_or(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

impl FromStr for KafkaLocation {
    type Err = KafkaLocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("//").ok_or(KafkaLocationError::Form)?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (brokers, topic) = place.split_once('/').ok_or(KafkaLocationError::Form)?;
        if !brokers.split(',').all(is_broker) || !is_topic(topic) {
            return Err(KafkaLocationError::Form);
        }
        let invalid = |option: &str, problem: &str| KafkaLocationError::Option {
            option: option.to_owned(),
            problem: problem.to_owned(),
        };
        let option = |(place, option): (usize, &str)| {
            // The error does not quote the text: it may be the end of a password.
            let number = format!("number {}", place + 1);
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| invalid(&number, "write it as NAME=VALUE, and `&` in a value as %26"))?;
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            let secret = match value.strip_prefix("file:") {
                Some(path) => Secret::File(path.into()),
                None => Secret::Literal(value),
            };
            Ok((key.to_owned(), secret))
        };
        let options = options.split('&').filter(|option| !option.is_empty()).enumerate().map(option);
        let options: BTreeMap<_, _> = options.collect::<Result<_, _>>()?;
        options::check(options.iter().map(|(key, secret)| (key.as_str(), secret)), &REFUSED)
            .map_err(|found| invalid(&found.key, &found.problem))?;
        Ok(Self { brokers: brokers.to_owned(), topic: topic.to_owned(), options })
    }
}

impl fmt::Display for KafkaLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kafka://{}/{}", self.brokers, self.topic)
    }
}

impl KafkaLocation {
    /// Returns a topic of the same brokers and settings whose name has this at its end. Returns `None` if the name is
    /// too long then.
    pub fn with_suffix(&self, suffix: &str) -> Option<Self> {
        let topic = format!("{}-{suffix}", self.topic);
        is_topic(&topic).then(|| Self { topic, ..self.clone() })
    }

    /// Returns the settings of a client, with secrets read. `defaults` are more defaults.
    ///
    /// # Errors
    /// [`Failure::secret_unreadable`] if a secret of the options cannot be read.
    pub fn client_settings(&self, defaults: &[(&str, &str)]) -> Result<ClientSettings, Failure> {
        let brokers = [("bootstrap.servers", self.brokers.as_str())];
        let defaults = DEFAULTS.iter().chain(defaults).chain(&brokers).copied();
        let credential = |(key, secret): (&String, &Secret)| (key.clone(), options::credential(key, secret));
        let given = self.options.iter().map(credential).collect();
        let config =
            options::resolve(defaults, &given).map_err(|error| Failure::secret_unreadable(error.to_string()))?;
        Ok(ClientSettings::new(config, None))
    }

    /// Hashes the settings for the transactional id. A rotated password does not change the hash.
    pub fn fingerprint(&self) -> String {
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
        for wrong in ["a:9092/t", "//a:9092", "//a:9092/", "///t", "//a:1/two/parts", "//a:x/t", "//a:0/t"] {
            assert_eq!(wrong.parse::<KafkaLocation>(), Err(KafkaLocationError::Form), "{wrong}");
        }
    }

    #[test]
    fn an_error_names_the_invalid_option_without_its_value() {
        for (wrong, expected) in [
            ("client.id=x&enable.idempotence=true", "option `enable.idempotence`: this program sets it by itself"),
            ("client.id=x&transactional.id=mine", "option `transactional.id`: transactions come with"),
            ("acks=1", "option `acks`: an event counts as delivered once all replicas have it"),
            ("client.id=x&s3cret", "option `number 2`: write it as NAME=VALUE"),
            (
                "client.id=x&sasl.pasword=s3cret",
                "option `sasl.pasword`: No such configuration property: \"sasl.pasword\"",
            ),
            ("linger.ms=s3cret", "option `linger.ms`: Invalid value"),
        ] {
            let error = format!("//a:1/t?{wrong}").parse::<KafkaLocation>().unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains("s3cret"), "{error}");
        }
    }
}
