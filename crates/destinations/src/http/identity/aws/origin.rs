//! The origin of AWS credentials: settings, environment, web identity, container, or instance.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use s1_forwarder_settings::Secret;
use secrecy::SecretString;
use serde::Deserialize;

use super::credentials::{AwsCredentials, issued};
use super::settings::Aws;
use super::sts::{SESSION, assume_with_web_identity};
use crate::http::auth::renewable::Issued;
use crate::http::auth::token_error::TokenError;
use crate::http::auth::token_request::{Connection, TokenRequest};
use crate::http::identity::environment::Environment;
use crate::http::transport::endpoint::Endpoint;
use crate::http::transport::url_part::path_segment;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Access key of the settings or the environment.
    Key { id: String, secret: Secret, session_token: Option<Secret> },
    /// A role that is assumed with the token in a file, such as the token of a Kubernetes service account.
    WebIdentity { token: PathBuf, role_arn: String, session: String },
    /// The credentials server of ECS tasks and of EKS pods.
    Container { url: Endpoint, token: Option<Secret> },
    /// The instance metadata service of EC2, version 2.
    Instance(Endpoint),
}

const CONTAINER: &str = "http://169.254.170.2";
const INSTANCE: &str = "http://169.254.169.254";
const INSTANCE_IPV6: &str = "http://[fd00:ec2::254]";

/// Servers of credentials that are asked without TLS, in addition to the servers of this machine.
const CONTAINERS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// A key without an end is read again after this time: its file may have been replaced.
const KEY_LIFETIME: Duration = Duration::from_mins(5);

/// How long a token of the instance metadata service is valid. One token serves for one renewal.
const METADATA_SECONDS: &str = "60";

const NO_INSTANCE: &str = "the environment has no credentials of AWS (AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, \
                           AWS_CONTAINER_CREDENTIALS_FULL_URI), so those of an EC2 instance with an instance profile \
                           are used; in a container on one, its metadata hop limit must be at least 2";

impl Origin {
    /// Finds the credentials in the order of the AWS SDKs. The error says what is wrong with the environment.
    pub(super) fn new(settings: &Aws, ambient: &Environment) -> Result<Self, String> {
        let literal = |name| ambient.variable(name).map(Secret::Literal);
        if let (Some(id), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) {
            return Ok(Self::Key { id: id.clone(), secret: secret.clone(), session_token: None });
        }
        if let Some(id) = ambient.variable("AWS_ACCESS_KEY_ID") {
            let secret = literal("AWS_SECRET_ACCESS_KEY");
            let secret = secret.ok_or("AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY")?;
            return Ok(Self::Key { id, secret, session_token: literal("AWS_SESSION_TOKEN") });
        }
        if let Some(token) = ambient.variable("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let role_arn = ambient.variable("AWS_ROLE_ARN");
            let role_arn = role_arn.ok_or("AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN")?;
            let session = ambient.variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION.to_owned());
            return Ok(Self::WebIdentity { token: token.into(), role_arn, session });
        }
        let container = match ambient.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            Some(path) => Some(format!("{CONTAINER}{path}").parse().map_err(|error| format!("{path}: {error}"))?),
            None => ambient.url("AWS_CONTAINER_CREDENTIALS_FULL_URI")?,
        };
        if let Some(url) = container {
            if !may_send_secret(&url) {
                return Err(format!(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI is {url}, which is neither https nor a server of this machine"
                ));
            }
            let file = ambient.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
            let token = file.map(|file| Secret::File(file.into()));
            return Ok(Self::Container { url, token: token.or_else(|| literal("AWS_CONTAINER_AUTHORIZATION_TOKEN")) });
        }
        if ambient.variable("AWS_EC2_METADATA_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Err(
                "the environment has no credentials of AWS, and AWS_EC2_METADATA_DISABLED forbids the credentials of \
                 an instance; give `access_key_id` and `secret_access_key`, or set AWS_ACCESS_KEY_ID"
                    .to_owned(),
            );
        }
        let mode = ambient.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
        let is_ipv6 = mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let default = if is_ipv6 { INSTANCE_IPV6 } else { INSTANCE };
        Ok(Self::Instance(ambient.url_or("AWS_EC2_METADATA_SERVICE_ENDPOINT", default)?))
    }

    pub(super) async fn fetch(
        &self,
        sts: &Endpoint,
        connection: Connection<'_>,
    ) -> Result<Issued<AwsCredentials>, TokenError> {
        match self {
            Self::Key { id, secret, session_token } => {
                let credentials = AwsCredentials {
                    access_key_id: id.clone(),
                    secret_access_key: read(secret)?,
                    session_token: session_token.as_ref().map(read).transpose()?,
                };
                Ok(Issued { value: credentials, lifetime: KEY_LIFETIME })
            }
            Self::WebIdentity { token, role_arn, session } => {
                let token = read(&Secret::File(token.clone().into()))?;
                assume_with_web_identity(role_arn, session, &token, sts, connection).await
            }
            Self::Container { url, token } => {
                let mut request = TokenRequest::get(url.clone());
                if let Some(token) = token {
                    request = request.with_secret(AUTHORIZATION, "", &read(token)?)?;
                }
                credentials(request).await.map_err(|error| {
                    error.with_hint("give the task or the pod a role, as ECS and EKS do by their agent")
                })
            }
            Self::Instance(endpoint) => of_instance(endpoint).await.map_err(|error| error.with_hint(NO_INSTANCE)),
        }
    }
}

fn read(secret: &Secret) -> Result<SecretString, TokenError> {
    secret.read().map_err(|error| TokenError::unreadable(&error))
}

/// Asks for a token, for the name of the instance's role, and for its credentials.
async fn of_instance(endpoint: &Endpoint) -> Result<Issued<AwsCredentials>, TokenError> {
    const CREDENTIALS: &str = "latest/meta-data/iam/security-credentials/";
    let text = |body: &[u8]| {
        let line = std::str::from_utf8(body).ok()?.lines().next()?.trim();
        (!line.is_empty()).then(|| line.to_owned())
    };
    let seconds = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
    let token = TokenRequest::put(endpoint.join("latest/api/token"))
        .with_header(seconds, HeaderValue::from_static(METADATA_SECONDS))
        .read(Connection::Local, "a metadata token", text)
        .await?;
    let token = SecretString::from(token);
    let get = |path: &str| {
        let name = HeaderName::from_static("x-aws-ec2-metadata-token");
        TokenRequest::get(endpoint.join(path)).with_secret(name, "", &token)
    };
    let role = get(CREDENTIALS)?.read(Connection::Local, "the name of a role", text).await?;
    credentials(get(&format!("{CREDENTIALS}{}", path_segment(&role)))?).await
}

/// The answer of a metadata server.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

async fn credentials(request: TokenRequest) -> Result<Issued<AwsCredentials>, TokenError> {
    let read = |body: &[u8]| {
        let document: Document = serde_json::from_slice(body).ok()?;
        let credentials = AwsCredentials {
            access_key_id: document.access_key_id,
            secret_access_key: document.secret_access_key.into(),
            session_token: Some(document.token.into()),
        };
        issued(credentials, Some(&document.expiration), SystemTime::now())
    };
    request.read(Connection::Local, "`AccessKeyId`, `SecretAccessKey`, `Token` and `Expiration`", read).await
}

/// Returns whether the connection is encrypted or stays on this machine and its link.
fn may_send_secret(url: &Endpoint) -> bool {
    let host = url.url().host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    let is_known = address.is_some_and(|address| CONTAINERS.contains(&address.to_string().as_str()));
    url.url().scheme() == "https" || is_loopback || is_known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(variables: &[(&str, &str)]) -> Result<Origin, String> {
        let settings = serde_json::from_str(r#"{ "region": "eu-west-1" }"#).unwrap();
        Origin::new(&settings, &Environment::of(variables.iter().copied()))
    }

    #[test]
    fn credentials_come_from_the_first_place_that_the_environment_names() {
        const KEY: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
        const WEB: [(&str, &str); 2] = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")];
        const POD: [(&str, &str); 1] = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials")];
        assert!(matches!(origin(&[&KEY[..], &WEB, &POD].concat()), Ok(Origin::Key { .. })));
        assert!(matches!(origin(&[&WEB[..], &POD].concat()), Ok(Origin::WebIdentity { .. })));
        assert!(matches!(origin(&POD), Ok(Origin::Container { .. })));
        assert!(matches!(origin(&[]), Ok(Origin::Instance(endpoint)) if endpoint.to_string() == INSTANCE));
        let task = origin(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x")]);
        assert!(
            matches!(task, Ok(Origin::Container { url, .. }) if url.url().as_str() == format!("{CONTAINER}/v2/credentials/x"))
        );
        for (variables, part) in [
            (&KEY[..1], "without AWS_SECRET_ACCESS_KEY"),
            (&WEB[..1], "without AWS_ROLE_ARN"),
            (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/x")], "neither https"),
            (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "x")], "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            (&[("AWS_EC2_METADATA_DISABLED", "true")], "AWS_EC2_METADATA_DISABLED"),
        ] {
            let error = origin(variables).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn tokens_go_to_this_machine_its_link_and_over_tls_only() {
        for (url, expected) in [
            ("https://example.com/x", true),
            ("http://localhost:1/x", true),
            ("http://127.0.0.1/x", true),
            ("http://[::1]/x", true),
            ("http://169.254.170.2/x", true),
            ("http://[fd00:ec2::23]/x", true),
            ("http://169.254.169.254/x", false),
            ("http://10.0.0.1/x", false),
        ] {
            assert_eq!(may_send_secret(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
