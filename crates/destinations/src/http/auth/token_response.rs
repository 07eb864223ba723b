//! Reads the response of an OAuth token endpoint.

use std::time::Duration;

use s1_forwarder_record::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;

use super::renewable::Issued;

/// A successful response of a token endpoint (RFC 6749, section 5.1).
#[derive(Deserialize)]
pub(crate) struct TokenResponse {
    access_token: String,
    /// Lifetime of the token in seconds.
    expires_in: Option<Number>,
    /// Seconds since 1970: what some endpoints of Azure send instead.
    expires_on: Option<Number>,
}

/// Some servers send a number, some a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(f64),
    Text(String),
}

impl Number {
    fn value(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// Assumed if the response does not say how long the token is valid.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);

impl TokenResponse {
    pub(crate) fn into_issued(self) -> Issued<SecretString> {
        let number = |number: &Option<Number>| number.as_ref().and_then(Number::value);
        let now = Timestamp::now().seconds() as f64;
        let seconds = number(&self.expires_in).or_else(|| Some(number(&self.expires_on)? - now));
        let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Issued { value: self.access_token.into(), lifetime: lifetime.unwrap_or(DEFAULT_LIFETIME) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_numbers_or_texts_or_the_time_of_the_end() {
        let soon = Timestamp::now().seconds() + 600;
        for (rest, expected) in [
            (r#","expires_in":3599"#.to_owned(), 3_599),
            (r#","expires_in":"3599","expires_on":"1""#.to_owned(), 3_599),
            (format!(r#","expires_on":"{soon}""#), 600),
            (format!(r#","expires_on":{soon}"#), 600),
            (r#","expires_in":"soon""#.to_owned(), 300),
            (r#","expires_on":"1""#.to_owned(), 300),
            (String::new(), 300),
        ] {
            let response: TokenResponse = serde_json::from_str(&format!(r#"{{"access_token":"t"{rest}}}"#)).unwrap();
            let lifetime = response.into_issued().lifetime.as_secs();
            assert!(lifetime.abs_diff(expected) <= 2, "{rest}: {lifetime}");
        }
    }
}
