//! The keys of `auth: { type: aws }`.

use s1_forwarder_settings::{Proxy, Secret, SettingKind, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BuildError;
use crate::http::transport::url_part::host_label;

/// `auth: { type: aws, … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// Region of the destination, such as `eu-west-1`; default: `AWS_REGION` of the environment.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub region: Option<String>,
    /// Service that requests are signed for: `es` is OpenSearch Service, `aoss` OpenSearch Serverless.
    #[serde(default = "es")]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub service: String,
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
    /// Proxy for the Security Token Service; default: the sink's.
    pub proxy: Option<Proxy>,
}

fn es() -> String {
    "es".to_owned()
}

impl Aws {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if let Some(region) = &self.region {
            host_label("auth.region", region, "`eu-west-1`")?;
        }
        host_label("auth.service", &self.service, "`es`")?;
        match (&self.access_key_id, &self.secret_access_key) {
            (Some(_), None) => Err(BuildError::value("auth.access_key_id", "needs `secret_access_key`")),
            (None, Some(_)) => Err(BuildError::value("auth.secret_access_key", "needs `access_key_id`")),
            _ if self.external_id.is_some() && self.role_arn.is_none() => {
                Err(BuildError::value("auth.external_id", "needs `role_arn`: it is for a role that is assumed"))
            }
            _ => Ok(()),
        }
    }
}
