//! `auth: { type: aws_msk_iam, … }` of a Kafka sink: MSK takes a presigned request of the action
//! `kafka-cluster:Connect` as the token of OAUTHBEARER.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s1_forwarder_settings::{Proxy, Secret, SettingKind, Tls};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::credentials::AwsCredentials;
use super::settings::Aws;
use super::sign::{Scope, presign};
use super::{AwsSource, Found};
use crate::http::auth::token_error::TokenError;

/// The name of MSK's service in signatures.
const SERVICE: &str = "kafka-cluster";
/// How long MSK accepts a token at most.
const LIFETIME: Duration = Duration::from_mins(15);

/// `auth: { type: aws_msk_iam, … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsMskIam {
    /// Region of the cluster, such as `eu-west-1`; default: `AWS_REGION` of the environment.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub region: Option<String>,
    /// Access key, instead of the credentials that AWS gives to the worker.
    #[schemars(extend("x-kind" = SettingKind::InsteadOfWorkerIdentity))]
    pub access_key_id: Option<String>,
    /// Secret of the access key.
    pub secret_access_key: Option<Secret>,
    /// ARN of a role to assume with these credentials.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub role_arn: Option<String>,
    /// External id that the role asks for.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub external_id: Option<String>,
    /// Certificates for the Security Token Service; those of the sink do not apply to it.
    #[serde(default)]
    pub tls: Tls,
    /// Proxy for the Security Token Service; default: the environment's.
    pub proxy: Option<Proxy>,
}

impl AwsMskIam {
    pub(crate) fn credentials(&self) -> Aws {
        let Self { region, access_key_id, secret_access_key, role_arn, external_id, tls, proxy } = self.clone();
        let service = SERVICE.to_owned();
        Aws { region, service, access_key_id, secret_access_key, role_arn, external_id, tls, proxy }
    }
}

impl AwsSource {
    /// Returns a token for MSK, when it expires, and the credentials that it was made with.
    pub(crate) async fn msk_token(&self) -> Result<(SecretString, Instant, AwsCredentials), TokenError> {
        let (credentials, valid_until) = self.credentials.get(|| self.fetch()).await?;
        let Found { region, .. } = self.found()?;
        let token = token(&credentials, &Scope { region, service: SERVICE, time: self.time() })?;
        Ok((token, valid_until.min(Instant::now() + LIFETIME), credentials))
    }
}

fn token(credentials: &AwsCredentials, scope: &Scope<'_>) -> Result<SecretString, TokenError> {
    // Neither does MSK resolve the name nor does anybody send the request: only its signature counts.
    let url = format!("https://kafka.{}.amazonaws.com/?Action=kafka-cluster%3AConnect", scope.region);
    let url: Url = url.parse().map_err(|_| TokenError::refused("`auth.region` is not the name of a region"))?;
    let mut url = presign(credentials, scope, url, LIFETIME)?;
    // Not signed, as in the signers of AWS.
    url.push_str(concat!("&User-Agent=s1-forwarder%2F", env!("CARGO_PKG_VERSION")));
    Ok(URL_SAFE_NO_PAD.encode(url).into())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use secrecy::ExposeSecret;

    use super::*;

    /// The URLs are those that `SigV4QueryAuth` of botocore 1.44.8 makes for the same credentials and time.
    #[test]
    fn a_token_is_the_presigned_request_of_botocore() {
        let signed = |session_token: Option<&str>| {
            let credentials = AwsCredentials {
                access_key_id: "AKIDEXAMPLE".to_owned(),
                secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
                session_token: session_token.map(Into::into),
            };
            let time = UNIX_EPOCH + Duration::from_secs(1_772_360_430);
            let scope = Scope { region: "eu-central-1", service: SERVICE, time };
            let token = token(&credentials, &scope).unwrap();
            String::from_utf8(URL_SAFE_NO_PAD.decode(token.expose_secret()).unwrap()).unwrap()
        };
        let common = "https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect\
                      &X-Amz-Algorithm=AWS4-HMAC-SHA256\
                      &X-Amz-Credential=AKIDEXAMPLE%2F20260301%2Feu-central-1%2Fkafka-cluster%2Faws4_request\
                      &X-Amz-Date=20260301T102030Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host";
        let agent = concat!("&User-Agent=s1-forwarder%2F", env!("CARGO_PKG_VERSION"));
        for (session_token, rest) in [
            (None, "&X-Amz-Signature=c3d978749320f89dc92457335dfd7728d847f5e0ac2ec31038d6b607998a660c"),
            (
                Some("a+token/with=signs"),
                "&X-Amz-Security-Token=a%2Btoken%2Fwith%3Dsigns\
                 &X-Amz-Signature=fb0164c8cd203c636c159a8a99e22963b5565782dc547d06740d6f13e3d6f6f2",
            ),
        ] {
            assert_eq!(signed(session_token), format!("{common}{rest}{agent}"));
        }
    }
}
