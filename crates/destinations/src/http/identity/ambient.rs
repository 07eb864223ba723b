//! The identity that a cloud gives to the worker: by environment variables, files that these name, and metadata
//! servers. Sinks use it by this module alone.

use s1_forwarder_settings::Secret;

use super::aws::{Aws, AwsGrant};
use super::azure::{ManagedIdentity, workload_identity};
use super::environment::Environment;
use super::external_account::ExternalAccount;
use super::google_metadata::GoogleMetadata;
use crate::http::auth::token_request::TokenEndpointSettings;
use crate::http::auth::token_source::Grant;
use crate::http::transport::endpoint::Endpoint;

/// The identity of the worker.
#[derive(Debug, Clone, Default)]
pub struct Ambient(Environment);

impl Ambient {
    /// Returns the identity in an environment with these variables alone.
    pub fn of(variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        Self(Environment::of(variables))
    }

    /// Returns the managed identity of Azure; `client_id` selects a user-assigned one.
    pub(crate) fn managed_identity(&self, scope: &str, client_id: Option<&str>) -> Grant {
        ManagedIdentity::new(&self.0, scope, client_id).map_or_else(Grant::Unavailable, Grant::ManagedIdentity)
    }

    /// Returns the workload identity of a pod in Azure. Arguments replace parts of it.
    pub(crate) fn workload_identity(
        &self,
        tenant_id: Option<&str>,
        client_id: Option<&str>,
        authority: Option<Endpoint>,
        addresses: (&str, &str),
        endpoint: TokenEndpointSettings,
    ) -> Grant {
        workload_identity(&self.0, tenant_id, client_id, authority, addresses, endpoint)
            .map_or_else(Grant::Unavailable, Grant::Client)
    }

    /// Returns the service account of Google's metadata server.
    pub(crate) fn google_metadata(&self, scope: &str) -> Grant {
        GoogleMetadata::new(&self.0, scope).map_or_else(Grant::Unavailable, Grant::GoogleMetadata)
    }

    /// Returns the identity of a configuration for Google's workload identity federation. The configuration names files
    /// and addresses of the worker.
    pub(crate) fn external_account(
        &self,
        configuration: Secret,
        scope: &'static str,
        token_url: Option<Endpoint>,
        endpoint: TokenEndpointSettings,
    ) -> Grant {
        Grant::ExternalAccount(ExternalAccount { configuration, scope, token_url, endpoint })
    }

    /// Returns the credentials of AWS.
    pub(crate) fn aws(&self, settings: &Aws) -> AwsGrant {
        AwsGrant::new(settings, &self.0)
    }
}
