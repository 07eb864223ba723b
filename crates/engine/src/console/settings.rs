//! The keys of `console:` in a pipeline file.

use std::time::Duration;

use s1_forwarder_settings::{AddressPolicy, HttpSettings, Id, Period, Proxy, Secrets, SettingKind, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConsoleUrl;

/// Timeout of one request if the pipeline file sets none.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests per second if the pipeline file sets no rate.
const DEFAULT_REQUESTS_PER_SECOND: f64 = 5.0;

/// `console:` of a pipeline file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSettings {
    /// Base URL of the console. Only scheme, host and port are used.
    pub url: ConsoleUrl,
    /// API token, or a list of two. If the console refuses the one in use, the other one is used.
    pub token: Secrets,
    /// Account ids that narrow the token's scope.
    #[serde(default)]
    pub accounts: Box<[Id]>,
    /// Site ids that narrow the token's scope.
    #[serde(default)]
    pub sites: Box<[Id]>,
    /// Group ids that narrow the token's scope.
    #[serde(default)]
    pub groups: Box<[Id]>,
    /// Limit for this host and token. All pipelines of the process that use both share it: the smallest value applies.
    #[schemars(extend("default" = DEFAULT_REQUESTS_PER_SECOND, "unit" = "requests per second", "minimum" = 0.001, "maximum" = 1000, "x-kind" = SettingKind::RequestRate))]
    pub requests_per_second: Option<f64>,
    /// Timeout of one request.
    #[schemars(extend("default" = Period(DEFAULT_TIMEOUT)))]
    pub timeout: Option<Period>,
    /// Proxy for the console. Default: the environment's.
    pub proxy: Option<Proxy>,
    /// Certificate authorities and client certificate for the connection.
    #[serde(default)]
    pub tls: Tls,
    /// Where requests may go.
    #[serde(skip)]
    pub address_policy: AddressPolicy,
}

impl ConsoleSettings {
    /// Returns the requests per second that this pipeline allows.
    pub fn rate(&self) -> f64 {
        self.requests_per_second.unwrap_or(DEFAULT_REQUESTS_PER_SECOND)
    }

    /// Returns these settings with the defaults that apply.
    pub fn effective(&self) -> Self {
        Self {
            requests_per_second: Some(self.rate()),
            timeout: Some(self.timeout.unwrap_or(Period(DEFAULT_TIMEOUT))),
            ..self.clone()
        }
    }

    pub(super) fn http(&self) -> HttpSettings {
        let timeout = self.timeout.unwrap_or(Period(DEFAULT_TIMEOUT));
        HttpSettings {
            tls: self.tls.clone(),
            proxy: self.proxy.clone(),
            timeout,
            address_policy: self.address_policy.clone(),
        }
    }
}
