use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use url::Url;

/// The address that a sink posts to. Webhooks have secrets in path and query, so only scheme and host are ever printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Url);

impl Endpoint {
    /// The whole address.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The address with `path` (without a slash before it) appended to its own.
    pub fn join(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        Self(url)
    }

    /// The address without `part` of its path and what follows it, where it has it: users paste either.
    pub fn up_to(&self, part: &str) -> Self {
        let mut url = self.0.clone();
        if let Some((before, _)) = self.0.path().split_once(part) {
            url.set_path(before);
            url.set_query(None);
        }
        Self(url)
    }

    /// The address with one more parameter.
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

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // No message repeats the text: there may be a secret in it.
        let url = Url::parse(text.trim()).map_err(|_| de::Error::custom("expected a URL such as https://HOST/PATH"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(de::Error::custom("expected a URL that begins with https:// or http://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(de::Error::custom(
                "user name and password do not belong into the URL but into the sink's credentials",
            ));
        }
        Ok(Self(url))
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An http or https URL, without user name and password.",
            "type": "string",
            "pattern": "^\\s*[hH][tT][tT][pP][sS]?://",
        })
    }
}
