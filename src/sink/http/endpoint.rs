use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

use crate::sink::BuildError;

/// The URL that a sink posts to. Only scheme, host and port are printed, since webhooks have secrets in path and query.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Url);

impl Endpoint {
    /// The complete URL, which may hold secrets.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Appends `path`, which has no leading slash, to the URL's own path unless that ends with it.
    pub fn join(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        let own = url.path().trim_end_matches('/');
        let base = own.strip_suffix(path).and_then(|base| base.strip_suffix('/')).unwrap_or(own);
        let joined = format!("{base}/{path}");
        url.set_path(&joined);
        Self(url)
    }

    /// Removes `part` and everything after it from the path: users give URLs with and without it.
    pub fn up_to(&self, part: &str) -> Self {
        let mut url = self.0.clone();
        if let Some((before, _)) = self.0.path().split_once(part) {
            url.set_path(before);
            url.set_query(None);
        }
        Self(url)
    }

    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.0.query_pairs_mut().append_pair(name, value);
        self
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Endpoint({self}/…)")
    }
}

/// The addresses of a sink that has `url` or `urls`.
pub(crate) fn addresses<'a>(url: Option<&'a Endpoint>, urls: &'a [Endpoint]) -> Result<Vec<&'a Endpoint>, BuildError> {
    match (url, urls) {
        (Some(url), []) => Ok(vec![url]),
        (None, [_, ..]) => Ok(urls.iter().collect()),
        (Some(_), [_, ..]) => Err(BuildError::value("urls", "excludes `url`: give all addresses in `urls`")),
        (None, []) => Err(BuildError::value("url", "is missing: the sink needs `url`, or several `urls`")),
    }
}

/// A text that is not an [`Endpoint`]. Quotes nothing of the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It does not parse.
    #[error("expected a URL such as https://HOST/PATH")]
    NotUrl,
    /// It is neither http nor https, or has no host.
    #[error("expected a URL that begins with https:// or http://")]
    Scheme,
    /// It has a user name or a password.
    #[error("user name and password belong in the sink's credentials, not in the URL")]
    Credentials,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        // The parser would also take `https:HOST`, which is no address elsewhere.
        let text = text.trim();
        if text.split_once(':').is_none_or(|(_, rest)| !rest.starts_with("//")) {
            return Err(EndpointError::NotUrl);
        }
        let url = Url::parse(text).map_err(|_| EndpointError::NotUrl)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(EndpointError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Credentials);
        }
        Ok(Self(url))
    }
}

/// Without path and query, as in all output.
impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_short = self.0.path() == "/" && self.0.query().is_none();
        serializer.collect_str(&format_args!("{self}{}", if is_short { "" } else { "/…" }))
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "URL",
            "description": "An http or https URL, without user name and password.",
            "type": "string",
            "pattern": "^\\s*[hH][tT][tT][pP][sS]?://",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parser of URLs takes the first two for `https://10.0.0.1/`.
    #[test]
    fn an_address_has_two_slashes() {
        for text in ["https:10.0.0.1", "https:/10.0.0.1", "10.0.0.1", ""] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::NotUrl), "{text}");
        }
        assert!(" https://siem.example/x ".parse::<Endpoint>().is_ok());
        assert_eq!("ftp://siem.example".parse::<Endpoint>(), Err(EndpointError::Scheme));
    }
}
