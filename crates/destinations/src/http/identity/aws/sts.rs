//! Roles, assumed with the Security Token Service.

use std::time::SystemTime;

use http::HeaderValue;
use http::header::ACCEPT;
use s1_forwarder_engine::sink::Outcome;
use secrecy::{ExposeSecret, SecretString};

use super::credentials::{AwsCredentials, issued};
use super::sign::{Scope, sign};
use crate::http::auth::renewable::Issued;
use crate::http::auth::token_error::TokenError;
use crate::http::auth::token_request::{Connection, TokenRequest};
use crate::http::transport::endpoint::Endpoint;
use crate::http::transport::response::ResponseView;

/// Name of the session, where the environment has none. CloudTrail shows it.
pub(super) const SESSION: &str = "s1-forwarder";

/// A role that is assumed with other credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
}

impl Role {
    pub(super) async fn assume(
        &self,
        credentials: &AwsCredentials,
        scope: &Scope<'_>,
        sts: &Endpoint,
        connection: Connection<'_>,
    ) -> Result<Issued<AwsCredentials>, TokenError> {
        let mut params = vec![("Action", "AssumeRole"), ("RoleArn", &self.arn), ("RoleSessionName", SESSION)];
        params.extend(self.external_id.iter().map(|id| ("ExternalId", id.as_str())));
        // The secret key itself is not sent.
        let request = request(sts, params, credentials.session_token.clone());
        let request =
            request.sign(|method, url, headers, body| sign(credentials, scope, method, url, headers, body))?;
        let hint = "the trust policy of `role_arn` must allow these credentials to sts:AssumeRole";
        credentials_of(request, connection).await.map_err(|error| error.with_hint(hint))
    }
}

/// Assumes a role with the token of another identity provider, such as the token of a Kubernetes service account.
pub(super) async fn assume_with_web_identity(
    arn: &str,
    session: &str,
    token: &SecretString,
    sts: &Endpoint,
    connection: Connection<'_>,
) -> Result<Issued<AwsCredentials>, TokenError> {
    let params = vec![
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", arn),
        ("RoleSessionName", session),
        ("WebIdentityToken", token.expose_secret()),
    ];
    let hint = "the trust policy of AWS_ROLE_ARN must allow this service account to sts:AssumeRoleWithWebIdentity";
    let request = request(sts, params, Some(token.clone()));
    credentials_of(request, connection).await.map_err(|error| error.with_hint(hint))
}

fn request(sts: &Endpoint, mut params: Vec<(&str, &str)>, used: Option<SecretString>) -> TokenRequest {
    params.push(("Version", "2011-06-15"));
    TokenRequest::form(sts.clone(), params, used)
        .with_header(ACCEPT, HeaderValue::from_static("text/xml"))
        .judged_by(judge)
}

async fn credentials_of(
    request: TokenRequest,
    connection: Connection<'_>,
) -> Result<Issued<AwsCredentials>, TokenError> {
    request.read(connection, "`Credentials`", |body| read(std::str::from_utf8(body).ok()?)).await
}

fn read(xml: &str) -> Option<Issued<AwsCredentials>> {
    let credentials = AwsCredentials {
        access_key_id: element(xml, "AccessKeyId")?.to_owned(),
        secret_access_key: element(xml, "SecretAccessKey")?.into(),
        session_token: Some(element(xml, "SessionToken")?.into()),
    };
    issued(credentials, element(xml, "Expiration"), SystemTime::now())
}

/// Returns the text of the first element of this name. The elements that are read have no markup and no entities.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim())
}

/// Judges a response. A refusal has a code and a message in XML, most with the status 400 or 403.
fn judge(response: &ResponseView<'_>) -> Outcome {
    const LATER: [&str; 3] = ["Throttling", "IDPCommunicationError", "RequestLimitExceeded"];
    let xml = String::from_utf8_lossy(response.body);
    match element(&xml, "Code") {
        Some(code) if response.status.is_client_error() && !LATER.contains(&code) => {
            let message = element(&xml, "Message").unwrap_or_default();
            Outcome::unauthorized(response.quote(format!("{code}: {message}").as_bytes()))
        }
        Some(_) => response.retry_later(),
        None => response.by_status_anywhere(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::transport::response::judged_by;

    #[test]
    fn each_refusal_has_its_outcome() {
        let error = |code: &str| format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        for (status, body, expected) in [
            (400, error("ExpiredTokenException"), "Unauthorized"),
            (403, error("AccessDenied"), "Unauthorized"),
            (400, error("Throttling"), "Transient"),
            (400, error("IDPCommunicationError"), "Transient"),
            (503, error("ServiceUnavailable"), "Transient"),
            (400, "<html>a proxy</html>".to_owned(), "Misconfigured"),
            (502, "<html>Bad Gateway</html>".to_owned(), "Transient"),
        ] {
            assert_eq!(judged_by(judge, status, &body, 0), expected, "{status} {body}");
        }
    }

    #[test]
    fn credentials_are_complete_or_absent() {
        let xml = "<Credentials><SessionToken>t</SessionToken><SecretAccessKey>s</SecretAccessKey>\
                   <Expiration>2099-10-24T23:00:23Z</Expiration><AccessKeyId>a</AccessKeyId></Credentials>";
        let issued = read(xml).unwrap();
        assert!(issued.value.access_key_id == "a" && issued.lifetime.as_secs() > 3_600);
        for name in ["SessionToken", "SecretAccessKey", "AccessKeyId"] {
            assert!(read(&xml.replace(name, "Other")).is_none(), "{name}");
        }
    }
}
