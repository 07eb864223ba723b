use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A console's base URL, reduced to scheme and authority: people paste `https://host/dashboard`, `host/` or spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", title = "URL")]
pub struct ConsoleUrl {
    base: Box<str>,
    host: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleUrlError {
    /// Neither a host name nor an http or https URL.
    #[error(
        "`{0}` is not the address of a console; write it as https://HOST, for example https://usea1-acme.sentinelone.net"
    )]
    NotAConsole(String),
    /// The URL has a user name or a password.
    #[error("the console's address must not hold a user name or password; the API token goes into `token`")]
    Credentials,
}

impl ConsoleUrl {
    /// Keeps the scheme (https if there is none) and the authority of `text`.
    ///
    /// # Errors
    /// When `text` has no host, or has credentials.
    pub fn parse(text: &str) -> Result<Self, ConsoleUrlError> {
        // The message repeats the text, and the part before an `@` may be a password.
        let refused = || match text.contains('@') {
            true => ConsoleUrlError::Credentials,
            false => ConsoleUrlError::NotAConsole(text.to_owned()),
        };
        let trimmed = text.trim();
        let with_scheme = if trimmed.contains("://") { trimmed.to_owned() } else { format!("https://{trimmed}") };
        let url = url::Url::parse(&with_scheme).map_err(|_| refused())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConsoleUrlError::Credentials);
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused());
        }
        let name = url.host_str().filter(|name| !name.is_empty() && !name.contains('%')).ok_or_else(refused)?;
        let host = match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        Ok(Self { base: format!("{}://{host}", url.scheme()).into(), host: host.into() })
    }

    /// `https://host` without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The host in lower case, with its port if that is not the scheme's default: the form used in identities.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for ConsoleUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.base)
    }
}

impl Serialize for ConsoleUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.base)
    }
}

impl<'de> Deserialize<'de> for ConsoleUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasted_addresses_are_reduced_to_their_authority() {
        for pasted in
            ["host.example", " https://host.example/ ", "HOST.example/dashboard?x=1#y", "https://host.example:443"]
        {
            let url = ConsoleUrl::parse(pasted).unwrap();
            assert_eq!((url.base(), url.host()), ("https://host.example", "host.example"), "{pasted}");
        }
        let local = ConsoleUrl::parse("http://127.0.0.1:8080/web/api/v2.1").unwrap();
        assert_eq!((local.base(), local.host()), ("http://127.0.0.1:8080", "127.0.0.1:8080"));
    }

    #[test]
    fn texts_without_a_usable_host_are_rejected() {
        for text in ["", "   ", "ftp://host", "https://", "https://user:secret@host"] {
            let error = ConsoleUrl::parse(text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
