use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::used_secrets::UsedSecrets;
use crate::settings::{Proxy, Tls};

/// `oauth2:` of a sink whose token endpoint is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenEndpointSettings {
    /// Certificates for the token endpoint; those of the sink do not apply to it.
    pub tls: Tls,
    /// Proxy for the token endpoint; default: the sink's.
    pub proxy: Option<Proxy>,
}

pub(crate) struct TokenRequest {
    pub(crate) url: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) form: String,
    /// The secrets in `headers` and `form`.
    pub(crate) used: UsedSecrets,
}

impl TokenRequest {
    /// `used` are the secrets in `params`.
    pub(crate) fn new<'a>(
        url: Endpoint,
        params: impl IntoIterator<Item = (&'a str, &'a str)>,
        used: impl IntoIterator<Item = SecretString>,
    ) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        let mut secrets = UsedSecrets::default();
        used.into_iter().for_each(|secret| secrets.push(secret));
        Self { url, headers, form, used: secrets }
    }
}
