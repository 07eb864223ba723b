//! The service account of a virtual machine, a pod or a job in Google Cloud, by its metadata server.

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::environment::Environment;
use crate::http::auth::renewable::Issued;
use crate::http::auth::token_error::TokenError;
use crate::http::auth::token_request::{Connection, TokenRequest};
use crate::http::transport::endpoint::Endpoint;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GoogleMetadata {
    url: Endpoint,
}

const HOST: &str = "metadata.google.internal";

impl GoogleMetadata {
    /// Fails with a text that says what is wrong with the environment.
    pub(crate) fn new(ambient: &Environment, scope: &str) -> Result<Self, String> {
        const VARIABLE: &str = "GCE_METADATA_HOST";
        let host = ambient.variable(VARIABLE).unwrap_or_else(|| HOST.to_owned());
        let host: Endpoint = format!("http://{host}").parse().map_err(|error| format!("{VARIABLE}: {error}"))?;
        let token = host.join("computeMetadata/v1/instance/service-accounts/default/token");
        Ok(Self { url: token.with_query("scopes", scope) })
    }

    pub(crate) async fn fetch(&self) -> Result<Issued<SecretString>, TokenError> {
        let flavor = HeaderName::from_static("metadata-flavor");
        let request = TokenRequest::get(self.url.clone()).with_header(flavor, HeaderValue::from_static("Google"));
        request.token(Connection::Local).await.map_err(|error| {
            error.with_hint("`metadata_server` needs a machine or a pod in Google Cloud with a service account")
        })
    }
}
