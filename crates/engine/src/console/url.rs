//! The base URL of a console.

use std::fmt;
use std::sync::Arc;

use s1_forwarder_settings::{SettingKind, has_two_schemes};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// A console's base URL, reduced to scheme and authority: people paste `https://host/dashboard`, `host/` or spaces.
/// Shared, since each of ten thousand lanes has it twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", title = "URL", extend("x-kind" = SettingKind::Address))]
pub struct ConsoleUrl(Arc<Url>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleUrlError {
    /// Neither a host name nor an http or https URL.
    #[error(
        "`{0}` is not the address of a console; write it as https://HOST, for example https://usea1-acme.sentinelone.net"
    )]
    NotAConsole(String),
    /// The address has `https://` twice.
    #[error("the console's address begins twice; write https:// once, as in https://usea1-acme.sentinelone.net")]
    BeginsTwice,
    /// The URL has a user name or a password.
    #[error("the console's address must not hold a user name or password; the API token goes into `token`")]
    Credentials,
}

impl ConsoleUrl {
    /// Keeps the scheme (https if there is none) and the authority of `text`.
    ///
    /// # Errors
    /// If `text` has no host, or has credentials.
    pub fn parse(text: &str) -> Result<Self, ConsoleUrlError> {
        // The message repeats the text, and the part before an `@` may be a password.
        let refused = || {
            if text.contains('@') {
                ConsoleUrlError::Credentials
            } else {
                ConsoleUrlError::NotAConsole(text.to_owned())
            }
        };
        let trimmed = text.trim();
        let with_scheme = if trimmed.contains("://") { trimmed.to_owned() } else { format!("https://{trimmed}") };
        let mut url = Url::parse(&with_scheme).map_err(|_| refused())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConsoleUrlError::Credentials);
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused());
        }
        if has_two_schemes(&url) {
            return Err(ConsoleUrlError::BeginsTwice);
        }
        if url.host_str().is_none_or(|name| name.is_empty() || name.contains('%')) {
            return Err(refused());
        }
        url.set_path("");
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self(Arc::new(url)))
    }

    /// Returns `https://host` without a path.
    pub fn base(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// Returns the host in lower case, with its port if it is not the scheme's default: the form used in identities.
    pub fn host(&self) -> &str {
        self.0.authority()
    }

    /// Returns the URL of a path on the console.
    pub fn with(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = Url::clone(&self.0);
        url.set_path(path);
        url.set_query(query);
        url
    }
}

impl fmt::Display for ConsoleUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.base())
    }
}

impl Serialize for ConsoleUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.base())
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
        let escaped = local.with("/web/api/v2.1/threats", Some("cursor=a%2Bb%3D%25&ids=1%2C2"));
        assert_eq!(escaped.as_str(), "http://127.0.0.1:8080/web/api/v2.1/threats?cursor=a%2Bb%3D%25&ids=1%2C2");
        assert_eq!(local.with("/web", None).as_str(), "http://127.0.0.1:8080/web");
    }

    #[test]
    fn a_scheme_that_stands_there_twice_is_no_host() {
        for text in ["https://https://host.example", "https://http://host.example"] {
            assert_eq!(ConsoleUrl::parse(text), Err(ConsoleUrlError::BeginsTwice), "{text}");
        }
        assert_eq!(ConsoleUrl::parse("https://https.example//x").unwrap().host(), "https.example");
    }

    #[test]
    fn texts_without_a_usable_host_are_rejected() {
        for text in ["", "   ", "ftp://host", "https://", "https://user:secret@host"] {
            let error = ConsoleUrl::parse(text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
