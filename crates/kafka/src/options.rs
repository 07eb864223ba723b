//! librdkafka's settings that a user gives: the `options` of a sink, and the options of an address.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError as RdKafkaError;
use s1_forwarder_settings::{Credential, Secret, SecretError};
use secrecy::ExposeSecret;

/// Settings that would break a guarantee or load code, each with the reason or an alternative.
const REFUSED: [(&str, &str); 7] = [
    ("transactional.id", "transactions come with `delivery: exactly_once`, and `--instance` names them"),
    ("delivery.report.only.error", "the forwarder waits for every report"),
    ("sasl.oauthbearer.method", "tokens come with `oauth` of a sink"),
    ("plugin.library.paths", "it loads code into this process"),
    ("ssl.engine.location", "it loads code into this process"),
    ("ssl.providers", "it loads code into this process"),
    ("sasl.kerberos.kinit.cmd", "it runs a command"),
];
/// Settings that could disable the verification of brokers, each with the only accepted value.
const VERIFIED: [(&str, &str); 2] =
    [("enable.ssl.certificate.verification", "true"), ("ssl.endpoint.identification.algorithm", "https")];

/// An invalid setting. The text contains no value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOption {
    pub key: String,
    pub problem: String,
}

/// Checks the names, and the values that are not read from a file or variable. `refused` are more keys that may not be
/// given here, each with an alternative.
///
/// # Errors
/// [`InvalidOption`] for the first option that is reserved, weakens delivery or verification, or that librdkafka does
/// not accept.
pub fn check<'a>(
    given: impl IntoIterator<Item = (&'a str, &'a Secret)>,
    refused: &[(&str, &str)],
) -> Result<(), InvalidOption> {
    for (key, secret) in given {
        let invalid = |problem: &str| InvalidOption { key: key.to_owned(), problem: problem.to_owned() };
        if let Some((_, advice)) = REFUSED.iter().chain(refused).find(|(refused, _)| *refused == key) {
            return Err(invalid(advice));
        }
        let literal = match secret {
            Secret::Literal(text) => Some(text.trim()),
            _ => None,
        };
        if matches!(key, "acks" | "request.required.acks") && !matches!(literal, Some("all" | "-1")) {
            return Err(invalid("an event counts as delivered once all replicas have it; remove this option"));
        }
        if VERIFIED.iter().any(|(verified, only)| *verified == key && literal != Some(only)) {
            return Err(invalid(
                "brokers are always verified; name a private authority in `ca_file` or `ssl.ca.location`",
            ));
        }
        if let Some(text) = literal {
            let set = ClientConfig::new().set(key, text).create_native_config();
            set.map_err(|error| match error {
                RdKafkaError::ClientConfig(_, problem, ..) => invalid(&with_own_name(&problem, key)),
                _ => invalid("librdkafka does not accept it"),
            })?;
        }
    }
    Ok(())
}

/// Returns the problem of an option under the name that was given. librdkafka knows the option under another name, too,
/// and reports under that.
fn with_own_name(problem: &str, key: &str) -> String {
    const BEFORE: &str = "configuration property \"";
    let parts = problem.split_once(BEFORE).and_then(|(before, rest)| Some((before, rest.split_once('"')?.1)));
    parts.map_or_else(|| problem.to_owned(), |(before, after)| format!("{before}{BEFORE}{key}\"{after}"))
}

/// Returns a value in use. Only certificates and keys have several lines.
pub fn credential(key: &str, secret: &Secret) -> Credential {
    if key.ends_with(".pem") { Credential::document(secret.clone()) } else { Credential::new(secret.clone()) }
}

/// Returns all settings of a client, with secrets read: the defaults, overridden by the given options.
///
/// # Errors
/// If a secret cannot be read.
pub fn resolve<'a>(
    defaults: impl IntoIterator<Item = (&'a str, &'a str)>,
    given: &BTreeMap<String, Credential>,
) -> Result<BTreeMap<String, String>, SecretError> {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let mut resolved: BTreeMap<_, _> = defaults.into_iter().map(owned).collect();
    if given.contains_key("ssl.ca.pem") {
        // The system's authorities would be trusted in addition.
        resolved.remove("ssl.ca.location");
    }
    for (key, credential) in given {
        resolved.insert(key.clone(), credential.get()?.expose_secret().to_owned());
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_and_keys_have_several_lines_and_passwords_have_one() {
        let secret = Secret::Literal("-----BEGIN\nEND-----".to_owned());
        for key in ["ssl.key.pem", "ssl.certificate.pem", "ssl.ca.pem"] {
            assert!(credential(key, &secret).get().unwrap().expose_secret().contains('\n'), "{key}");
        }
        assert!(matches!(credential("sasl.password", &secret).get(), Err(SecretError::ControlCharacter(_))));
    }

    #[test]
    fn an_authority_that_is_given_replaces_those_of_the_system() {
        let options = |key: &str| BTreeMap::from([(key.to_owned(), Credential::new(Secret::Literal("x".to_owned())))]);
        let defaults = [("ssl.ca.location", "probe"), ("acks", "all")];
        assert_eq!(
            resolve(defaults, &options("ssl.ca.pem")).unwrap().keys().collect::<Vec<_>>(),
            ["acks", "ssl.ca.pem"]
        );
        assert_eq!(resolve(defaults, &options("client.id")).unwrap()["ssl.ca.location"], "probe");
    }

    #[test]
    fn what_would_break_a_promise_is_refused_by_name() {
        let problem = |key: &'static str, secret: Secret| check([(key, &secret)], &[("client.id", "ours")]).err();
        let literal = |text: &str| Secret::Literal(text.to_owned());
        for (key, secret, part) in [
            ("client.id", literal("x"), "ours"),
            ("transactional.id", literal("x"), "--instance"),
            ("plugin.library.paths", literal("/tmp/x.so"), "loads code"),
            ("ssl.providers", Secret::Env("X".into()), "loads code"),
            ("acks", literal("1"), "all replicas"),
            ("acks", Secret::Env("X".into()), "all replicas"),
            ("enable.ssl.certificate.verification", literal("false"), "always verified"),
            ("ssl.endpoint.identification.algorithm", Secret::Env("X".into()), "always verified"),
            ("no.such.option", literal("1"), "No such configuration property"),
            ("linger.ms", literal("abc"), "for configuration property \"linger.ms\""),
            ("linger.ms", literal("canary"), "Invalid value"),
        ] {
            let invalid = problem(key, secret).unwrap_or_else(|| panic!("{key} is accepted"));
            assert!(invalid.key == key && invalid.problem.contains(part), "{invalid:?}");
            assert!(!invalid.problem.contains("canary"), "{invalid:?}");
        }
        for (key, value) in [("acks", "all"), ("enable.ssl.certificate.verification", "true"), ("linger.ms", " 7 ")] {
            assert_eq!(problem(key, literal(value)), None, "{key}");
        }
    }
}
