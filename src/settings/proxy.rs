use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The URL of a proxy: `http://HOST:PORT` or `https://…`, optionally with user name and password. Printing omits both.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy(Box<url::Url>);

/// The text is not the URL of a proxy. Quotes nothing of the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a proxy; write it as http://HOST:PORT or https://HOST:PORT")]
pub struct ProxyError;

impl Proxy {
    /// The complete URL with the password, for the HTTP client only.
    pub(super) fn url(&self) -> &url::Url {
        &self.0
    }

    /// The password, and its form in the header: a proxy that refuses them may repeat either.
    pub fn secrets(&self) -> Vec<SecretString> {
        let Some(password) = self.0.password() else { return Vec::new() };
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = (decoded(self.0.username()), decoded(password));
        let header = BASE64_STANDARD.encode(format!("{user}:{password}"));
        vec![SecretString::from(password), SecretString::from(header)]
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let with_scheme = if text.contains("://") { Cow::Borrowed(text) } else { Cow::Owned(format!("http://{text}")) };
        let url = url::Url::parse(&with_scheme).map_err(|_| ProxyError)?;
        let usable = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
        if usable { Ok(Self(Box::new(url))) } else { Err(ProxyError) }
    }
}

/// Without user name and password.
impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({self})")
    }
}

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Proxy {
    fn schema_name() -> Cow<'static, str> {
        "Proxy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "proxy URL", "type": "string", "description": "Address of a proxy: http://HOST:PORT." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_address_is_used_but_never_printed() {
        let proxy: Proxy = "http://user:canary@proxy.example:3128".parse().unwrap();
        assert_eq!(proxy.url().password(), Some("canary"));
        let printed = format!("{proxy} {proxy:?} {}", serde_json::to_string(&proxy).unwrap());
        assert!(printed.contains("http://proxy.example:3128") && !printed.contains("canary"), "{printed}");
        let error = serde_json::from_str::<Proxy>("\"ftp://user:canary@h\"").unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }
}
