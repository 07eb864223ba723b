//! The URL that an HTTP sink posts to. It keeps the secrets of path and query out of logs and errors.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use s1_forwarder_settings::{SettingKind, has_two_schemes};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

use crate::BuildError;

/// The URL that a sink posts to. Only scheme, host and port are printed, since webhooks have secrets in path and query.
/// In errors the part of the path that the sink itself appended is printed too.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    url: Url,
    /// The part that the sink appended to the configured path.
    appended: String,
    /// Bytes of the configured query. The sink appends to it.
    own_query: usize,
}

impl Endpoint {
    /// Returns the complete URL, which may hold secrets.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns host and path for an error text; `…` stands for the configured part of the path.
    pub fn with_path(&self) -> String {
        let path = self.url.path();
        let configured = path.strip_suffix(&self.appended).unwrap_or(path);
        let hidden = if matches!(configured, "" | "/") { "" } else { "/…" };
        format!("{self}{hidden}{}", self.appended)
    }

    /// Returns the URL with `***` in place of the configured path and query, which may hold secrets.
    pub fn masked(&self) -> String {
        let path = self.with_path().replacen('…', "***", 1);
        let query = self.url.query().unwrap_or_default();
        let appended = query.get(self.own_query..).unwrap_or_default().trim_start_matches('&');
        let own = if self.own_query > 0 { "***" } else { "" };
        match (own, appended) {
            ("", "") => path,
            (own, "") => format!("{path}?{own}"),
            ("", appended) => format!("{path}?{appended}"),
            (own, appended) => format!("{path}?{own}&{appended}"),
        }
    }

    /// Appends `path`, which has no leading slash, to the URL's own path unless that ends with it.
    pub fn join(&self, path: &str) -> Self {
        let own = self.url.path().trim_end_matches('/');
        let is_there = own.strip_suffix(path).and_then(|base| base.strip_suffix('/'));
        let base = is_there.unwrap_or(own);
        let mut url = self.url.clone();
        url.set_path(&format!("{base}/{path}"));
        // The appended part has the escapes of the URL.
        let added = url.path().get(base.len()..).unwrap_or_default();
        let before = if is_there.is_some() { "" } else { self.appended.as_str() };
        let appended = format!("{before}{added}");
        Self { url, appended, own_query: self.own_query }
    }

    /// Removes `part` and everything after it from the path: users give URLs with and without it.
    pub fn up_to(&self, part: &str) -> Self {
        let mut url = self.url.clone();
        let mut own_query = self.own_query;
        if let Some((before, _)) = self.url.path().split_once(part) {
            url.set_path(before);
            url.set_query(None);
            own_query = 0;
        }
        Self { url, appended: String::new(), own_query }
    }

    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.url.scheme(), self.url.host_str().unwrap_or_default())?;
        self.url.port().map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Endpoint({self}/…)")
    }
}

/// Returns the addresses of a sink, which has either `url` or `urls`.
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
    /// The text cannot be parsed as a URL.
    #[error("expected a URL such as https://HOST/PATH")]
    NotUrl,
    /// The scheme is neither http nor https, or the URL has no host.
    #[error("expected a URL that begins with https:// or http://")]
    Scheme,
    /// The text has `https://` twice.
    #[error("the URL begins twice; write https:// once")]
    BeginsTwice,
    /// The URL has a user name or a password.
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
        if has_two_schemes(&url) {
            return Err(EndpointError::BeginsTwice);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Credentials);
        }
        let own_query = url.query().map_or(0, str::len);
        Ok(Self { url, appended: String::new(), own_query })
    }
}

/// Writes the endpoint without path and query, as in all output.
impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_short = self.url.path() == "/" && self.url.query().is_none();
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
            "x-kind": SettingKind::Address,
            "description": "An http or https URL, without user name and password.",
            "type": "string",
            "pattern": "^\\s*[hH][tT][tT][pP][sS]?://",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_part_of_the_path_that_is_no_secret() {
        let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
        for (endpoint, shown) in [
            (
                endpoint("https://splunk.example:8088").join("services/collector").join("event"),
                "https://splunk.example:8088/services/collector/event",
            ),
            (
                endpoint("https://splunk.example/services/collector/event")
                    .up_to("/services/collector")
                    .join("services/collector"),
                "https://splunk.example/services/collector",
            ),
            (endpoint("https://h/CANARY").join("v1/logs").with_query("token", "CANARY"), "https://h/…/v1/logs"),
            (endpoint("https://h/CANARY/v1/logs").join("v1/logs"), "https://h/…/v1/logs"),
            (endpoint("https://h/v1/logs/").join("v1/logs"), "https://h/v1/logs"),
            (endpoint("https://h/in/CANARY?key=CANARY"), "https://h/…"),
            (endpoint("https://h"), "https://h"),
            (endpoint("https://h/").join("logs-a b-c/_bulk"), "https://h/logs-a%20b-c/_bulk"),
        ] {
            assert_eq!(endpoint.with_path(), shown);
        }
    }

    #[test]
    fn a_masked_url_has_what_the_sink_appended() {
        let parsed = |text: &str| text.parse::<Endpoint>().unwrap();
        for (endpoint, shown) in [
            (
                parsed("https://h:1").join("logs-a/_bulk").with_query("pipeline", "p"),
                "https://h:1/logs-a/_bulk?pipeline=p",
            ),
            (parsed("https://h/CANARY?key=CANARY").join("v1").with_query("a", "b"), "https://h/***/v1?***&a=b"),
            (parsed("https://h/in/CANARY?key=CANARY"), "https://h/***?***"),
            (parsed("https://h/x/services/collector?t=CANARY").up_to("/services").join("ack"), "https://h/***/ack"),
        ] {
            assert_eq!(endpoint.masked(), shown);
        }
    }

    /// The parser of URLs takes the first two for `https://10.0.0.1/`.
    #[test]
    fn an_address_has_two_slashes() {
        for text in ["https:10.0.0.1", "https:/10.0.0.1", "10.0.0.1", ""] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::NotUrl), "{text}");
        }
        assert!(" https://siem.example/x ".parse::<Endpoint>().is_ok());
        let twice = "https://http://siem.example/x".parse::<Endpoint>();
        assert_eq!(twice, Err(EndpointError::BeginsTwice));
        assert_eq!("ftp://siem.example".parse::<Endpoint>(), Err(EndpointError::Scheme));
    }
}
