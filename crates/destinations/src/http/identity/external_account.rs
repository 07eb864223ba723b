//! Workload identity federation of Google Cloud. The token of another identity provider is exchanged for a token of
//! Google (RFC 8693), which may then impersonate a service account.

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use s1_forwarder_record::Timestamp;
use s1_forwarder_settings::Secret;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::auth::renewable::Issued;
use crate::http::auth::token_error::TokenError;
use crate::http::auth::token_request::{Connection, TokenEndpointSettings, TokenRequest};
use crate::http::transport::endpoint::Endpoint;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalAccount {
    /// The configuration that `gcloud iam workload-identity-pools create-cred-config` writes, a JSON object.
    pub(crate) configuration: Secret,
    pub(crate) scope: &'static str,
    /// Replaces the configuration's `token_url`.
    pub(crate) token_url: Option<Endpoint>,
    pub(crate) endpoint: TokenEndpointSettings,
}

/// The keys of a configuration that are used.
#[derive(Deserialize)]
struct Configuration {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    #[serde(default)]
    service_account_impersonation: Impersonation,
    credential_source: Source,
}

#[derive(Deserialize, Default)]
struct Impersonation {
    token_lifetime_seconds: Option<u32>,
}

/// The place of the other identity provider's token: a file or a URL.
#[derive(Deserialize)]
struct Source {
    file: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    format: Format,
}

/// How a token is written in its source.
#[derive(Deserialize, Default)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Format {
    #[default]
    Text,
    Json {
        subject_token_field_name: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

/// Google's default, in seconds.
const LIFETIME: u32 = 3_600;

impl ExternalAccount {
    /// Errors contain nothing of the configuration but its addresses.
    pub(crate) async fn fetch(
        &self,
        configuration: &SecretString,
        connection: Connection<'_>,
    ) -> Result<Issued<SecretString>, TokenError> {
        let configuration = Configuration::read(configuration.expose_secret()).map_err(TokenError::refused)?;
        let token_url = match &self.token_url {
            Some(url) => url.clone(),
            None => endpoint("token_url", &configuration.token_url)?,
        };
        let subject = configuration.credential_source.read(connection).await?;
        let exchanged = configuration.exchange(token_url, &subject, self.scope).token(connection).await?;
        let Some(url) = &configuration.service_account_impersonation_url else { return Ok(exchanged) };
        let url = endpoint("service_account_impersonation_url", url)?;
        let lifetime = configuration.service_account_impersonation.token_lifetime_seconds.unwrap_or(LIFETIME);
        let body = json!({ "scope": [self.scope], "lifetime": format!("{lifetime}s") });
        let request = TokenRequest::json(url, body.to_string());
        let request = request.with_secret(AUTHORIZATION, "Bearer ", &exchanged.value)?;
        let impersonated: Impersonated =
            request.json_value(connection, "an `accessToken` and an `expireTime`").await.map_err(|error| {
                error.with_hint("the identity needs the role Workload Identity User on the account")
            })?;
        let expires_at = Timestamp::parse(&impersonated.expire_time)
            .map_err(|_| TokenError::refused("the impersonated token has an `expireTime` that is not a time"))?;
        Ok(Issued { value: impersonated.access_token.into(), lifetime: expires_at.since(Timestamp::now()) })
    }
}

impl Configuration {
    fn read(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text)
            .map_err(|_| "the `external_account` is not a JSON object as gcloud writes it".to_owned())?;
        match json["type"].as_str() {
            Some("external_account") => {}
            Some("service_account") => return Err("this is a key: give it as `service_account`".to_owned()),
            _ => return Err("the `external_account` is not of the type `external_account`".to_owned()),
        }
        let source = &json["credential_source"];
        if source["environment_id"].is_string() || source["executable"].is_object() || source["certificate"].is_object()
        {
            return Err("the `external_account` takes its token from AWS, a program or a certificate, which is not \
                        supported; use a token in a file or at a URL"
                .to_owned());
        }
        serde_json::from_value(json).map_err(|_| {
            "the `external_account` lacks `audience`, `subject_token_type`, `token_url` or `credential_source`"
                .to_owned()
        })
    }

    /// Asks for the scope of Google's token. A service account is impersonated with the same.
    fn exchange(&self, token_url: Endpoint, subject: &SecretString, scope: &str) -> TokenRequest {
        let params = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", self.audience.as_str()),
            ("scope", scope),
            ("subject_token_type", self.subject_token_type.as_str()),
            ("subject_token", subject.expose_secret()),
        ];
        TokenRequest::form(token_url, params, [subject.clone()])
    }
}

impl Source {
    /// Reads the token. Each call reads it again, since its issuer replaces it before it expires.
    async fn read(&self, connection: Connection<'_>) -> Result<SecretString, TokenError> {
        const EXPECTED: &str = "the token that `credential_source.format` describes";
        match (&self.file, &self.url) {
            (Some(file), None) => {
                let document = Secret::File(file.as_str().into()).read_document();
                let document = document.map_err(|error| TokenError::unreadable(&error))?;
                let token = self.format.read(document.expose_secret().as_bytes());
                token.ok_or_else(|| TokenError::refused(format!("the file {file} does not hold {EXPECTED}")))
            }
            (None, Some(url)) => {
                let url = endpoint("credential_source.url", url)?;
                let connection = if is_local(&url) { Connection::Local } else { connection };
                let mut request = TokenRequest::get(url);
                for (name, value) in &self.headers {
                    let header = (name.parse::<HeaderName>(), HeaderValue::from_str(value));
                    let (Ok(name), Ok(_)) = header else {
                        let reason = "`credential_source.headers` of the `external_account` are no headers";
                        return Err(TokenError::refused(reason));
                    };
                    request = request.with_secret(name, "", &value.as_str().into())?;
                }
                request.read(connection, EXPECTED, |body| self.format.read(body)).await
            }
            _ => Err(TokenError::refused("`credential_source` of the `external_account` needs `file` or `url`")),
        }
    }
}

impl Format {
    fn read(&self, document: &[u8]) -> Option<SecretString> {
        let text = std::str::from_utf8(document).ok()?.trim();
        let token = match self {
            Self::Text => text.to_owned(),
            Self::Json { subject_token_field_name } => {
                let json: Value = serde_json::from_str(text).ok()?;
                json.get(subject_token_field_name)?.as_str()?.to_owned()
            }
        };
        (!token.is_empty()).then(|| token.into())
    }
}

fn endpoint(key: &str, url: &str) -> Result<Endpoint, TokenError> {
    url.parse().map_err(|error| TokenError::refused(format!("`{key}` of the `external_account`: {error}")))
}

/// Returns whether the address is one of this machine or its link.
fn is_local(url: &Endpoint) -> bool {
    match url.url().host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(url::Host::Ipv6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(source: Value) -> Value {
        json!({
            "type": "external_account", "audience": "//iam", "subject_token_type": "jwt",
            "token_url": "https://sts.example/v1/token", "credential_source": source,
        })
    }

    #[test]
    fn configurations_that_cannot_be_used_are_refused_without_quoting_them() {
        let aws = configuration(json!({ "environment_id": "aws1", "url": "canary" }));
        let program = configuration(json!({ "executable": { "command": "canary" } }));
        for (text, part) in [
            ("canary".to_owned(), "not a JSON object"),
            (r#"{"type":"service_account","private_key":"canary"}"#.to_owned(), "give it as `service_account`"),
            (r#"{"type":"authorized_user","x":"canary"}"#.to_owned(), "not of the type"),
            (r#"{"type":"external_account","audience":"canary"}"#.to_owned(), "lacks `audience`"),
            (aws.to_string(), "not supported"),
            (program.to_string(), "not supported"),
        ] {
            let error = Configuration::read(&text).err().unwrap();
            assert!(error.contains(part) && !error.contains("canary"), "{error}");
        }
        assert!(Configuration::read(&configuration(json!({ "file": "/token" })).to_string()).is_ok());
    }

    #[test]
    fn tokens_are_texts_or_fields() {
        let format = |format: Value, document: &str| {
            let format: Format = serde_json::from_value(format).unwrap();
            format.read(document.as_bytes()).map(|token| token.expose_secret().to_owned())
        };
        let json = json!({ "type": "json", "subject_token_field_name": "t" });
        assert_eq!(format(json!({ "type": "text" }), " abc\n").as_deref(), Some("abc"));
        assert_eq!(format(json!({ "type": "text" }), "\n"), None);
        assert_eq!(format(json.clone(), r#"{"t":"abc"}"#).as_deref(), Some("abc"));
        assert_eq!(format(json.clone(), r#"{"u":"abc"}"#), None);
        assert_eq!(format(json, "abc"), None);
    }
}
