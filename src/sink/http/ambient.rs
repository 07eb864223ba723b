//! The identity that a cloud gives to the worker: by environment variables, files that these name, and metadata
//! servers. Sinks use it by this module alone.

use std::fmt;
use std::sync::Arc;

use super::aws::{Aws, AwsGrant};
use super::azure_identity::{ManagedIdentity, workload_identity};
use super::endpoint::Endpoint;
use super::external_account::ExternalAccount;
use super::google_metadata::GoogleMetadata;
use super::token_request::TokenEndpointSettings;
use super::token_source::Grant;
use crate::settings::Secret;

/// The environment of the worker.
#[derive(Clone)]
pub struct Ambient {
    variable: Arc<dyn Fn(&str) -> Option<String> + Send + Sync>,
}

impl Default for Ambient {
    /// The environment of this process.
    fn default() -> Self {
        Self { variable: Arc::new(|name| std::env::var(name).ok()) }
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ambient")
    }
}

impl Ambient {
    /// An environment with these variables alone.
    pub fn of(variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        let variables: std::collections::BTreeMap<String, String> =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variable: Arc::new(move |name| variables.get(name).cloned()) }
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }

    /// A variable with a URL.
    pub(super) fn url(&self, name: &str) -> Result<Option<Endpoint>, String> {
        let url = self.variable(name).map(|url| url.parse());
        url.transpose().map_err(|error| format!("the environment variable {name}: {error}"))
    }

    /// A variable with a URL, or its default.
    pub(super) fn url_or(&self, name: &str, default: &str) -> Result<Endpoint, String> {
        match self.url(name)? {
            Some(url) => Ok(url),
            None => default.parse().map_err(|error| format!("{default}: {error}")),
        }
    }

    /// The managed identity of Azure; `client_id` selects a user-assigned one.
    pub(crate) fn managed_identity(&self, scope: &str, client_id: Option<&str>) -> Grant {
        ManagedIdentity::new(self, scope, client_id).map_or_else(Grant::Unavailable, Grant::ManagedIdentity)
    }

    /// The workload identity of a pod in Azure. The arguments replace parts of it.
    pub(crate) fn workload_identity(
        &self,
        tenant_id: Option<&str>,
        client_id: Option<&str>,
        authority: Option<Endpoint>,
        addresses: (&str, &str),
        endpoint: TokenEndpointSettings,
    ) -> Grant {
        workload_identity(self, tenant_id, client_id, authority, addresses, endpoint)
            .map_or_else(Grant::Unavailable, Grant::Client)
    }

    /// The service account of Google's metadata server.
    pub(crate) fn google_metadata(&self, scope: &str) -> Grant {
        GoogleMetadata::new(self, scope).map_or_else(Grant::Unavailable, Grant::GoogleMetadata)
    }

    /// A configuration of Google's workload identity federation, which names files and addresses of the worker.
    pub(crate) fn external_account(
        &self,
        configuration: Secret,
        scope: &'static str,
        token_url: Option<Endpoint>,
        endpoint: TokenEndpointSettings,
    ) -> Grant {
        Grant::ExternalAccount(ExternalAccount { configuration, scope, token_url, endpoint })
    }

    /// The credentials of AWS.
    pub(crate) fn aws(&self, settings: &Aws) -> AwsGrant {
        AwsGrant::new(settings, self)
    }
}
