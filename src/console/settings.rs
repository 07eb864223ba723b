use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConsoleUrl;
use crate::settings::{Id, Period, Proxy, Secrets, Tls};

/// `console:` of a pipeline file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Base URL of the console: the host is what counts.
    pub url: ConsoleUrl,
    /// API token. Of two in a list the second is used when the first is refused, and the first again when that one is.
    pub token: Secrets,
    /// Account ids that narrow the token's scope.
    #[serde(default)]
    pub accounts: Vec<Id>,
    /// Site ids that narrow the token's scope.
    #[serde(default)]
    pub sites: Vec<Id>,
    /// Group ids that narrow the token's scope.
    #[serde(default)]
    pub groups: Vec<Id>,
    /// Requests a second to this host with this token, shared by all pipelines that use both; the smallest given holds. Default 5.
    pub requests_per_second: Option<f64>,
    /// Time-out of one request; default 30s.
    pub timeout: Option<Period>,
    /// Proxy for the console; default: the environment's.
    pub proxy: Option<Proxy>,
    /// See [`Tls`].
    #[serde(default)]
    pub tls: Tls,
}
