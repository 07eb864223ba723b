//! OAuth 2.0 client credentials.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use s1_forwarder_settings::{Proxy, Secret, SettingKind, Tls};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::token_error::TokenError;
use super::token_request::TokenRequest;
use crate::http::transport::endpoint::Endpoint;

/// `auth: { type: oauth2, … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentials {
    /// Token endpoint.
    pub token_url: Endpoint,
    /// Client id.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub client_id: String,
    /// Client secret.
    pub client_secret: Secret,
    /// Requested scope.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub scope: Option<String>,
    /// Further parameters of the token request, such as `audience`.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub params: BTreeMap<String, String>,
    /// How the client id and secret are sent.
    #[serde(default)]
    pub credentials: CredentialsIn,
    /// Certificates for the token endpoint; those of the sink do not apply to it.
    #[serde(default)]
    pub tls: Tls,
    /// Proxy for the token endpoint; default: the sink's.
    pub proxy: Option<Proxy>,
}

/// How a token request carries the client's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialsIn {
    /// In the form, as `client_id` and `client_secret`.
    #[default]
    Body,
    /// As user name and password of basic authentication.
    Basic,
    /// As a signed assertion (RFC 7523), such as the service account token that Kubernetes renews in a file.
    Assertion,
}

impl ClientCredentials {
    pub(crate) fn request(&self, secret: &SecretString) -> Result<TokenRequest, TokenError> {
        const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let text = secret.expose_secret();
        let id = ("client_id", self.client_id.as_str());
        let mut params = vec![("grant_type", "client_credentials")];
        match self.credentials {
            CredentialsIn::Body => params.extend([id, ("client_secret", text)]),
            CredentialsIn::Assertion => {
                params.extend([id, ("client_assertion_type", ASSERTION), ("client_assertion", text)]);
            }
            CredentialsIn::Basic => {}
        }
        params.extend(self.scope.iter().map(|scope| ("scope", scope.as_str())));
        params.extend(self.params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let request = TokenRequest::form(self.token_url.clone(), params, [secret.clone()]);
        if self.credentials != CredentialsIn::Basic {
            return Ok(request);
        }
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = BASE64_STANDARD.encode(format!("{}:{}", encode(&self.client_id), encode(text)));
        request.with_basic(pair.into())
    }
}
