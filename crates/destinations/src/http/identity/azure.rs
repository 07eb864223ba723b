//! Identities that Azure gives to what runs in it: managed identities, and the workload identity of a Kubernetes pod.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use s1_forwarder_settings::Secret;
use secrecy::SecretString;

use super::environment::Environment;
use crate::http::auth::oauth::{ClientCredentials, CredentialsIn};
use crate::http::auth::renewable::Issued;
use crate::http::auth::token_error::TokenError;
use crate::http::auth::token_request::{Connection, TokenEndpointSettings, TokenRequest, by_status_of_azure};
use crate::http::transport::endpoint::Endpoint;
use crate::http::transport::url_part::path_segment;

/// The managed identity of a virtual machine or of an App Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManagedIdentity {
    server: Server,
    /// Address of the token endpoint, with the query.
    url: Endpoint,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Server {
    /// App Service, Functions and Container Apps. The secret proves that the request comes from the app.
    AppService(Secret),
    /// The Instance Metadata Service of virtual machines.
    Instance,
}

const INSTANCE: &str = "http://169.254.169.254";

impl ManagedIdentity {
    /// `client_id` selects a user-assigned identity. The error says what is wrong with the environment.
    pub(crate) fn new(ambient: &Environment, scope: &str, client_id: Option<&str>) -> Result<Self, String> {
        let (server, url) = match (ambient.url("IDENTITY_ENDPOINT")?, ambient.variable("IDENTITY_HEADER")) {
            (Some(url), Some(header)) => {
                (Server::AppService(Secret::Literal(header)), url.with_query("api-version", "2019-08-01"))
            }
            (Some(_), None) => {
                return Err("IDENTITY_ENDPOINT is set without IDENTITY_HEADER, as on servers of Azure Arc, which are \
                            not supported; use `client_secret` or `federated_token`"
                    .to_owned());
            }
            (None, _) => {
                let host = ambient.url_or("AZURE_POD_IDENTITY_AUTHORITY_HOST", INSTANCE)?;
                (Server::Instance, host.join("metadata/identity/oauth2/token").with_query("api-version", "2018-02-01"))
            }
        };
        let mut url = url.with_query("resource", scope.strip_suffix("/.default").unwrap_or(scope));
        if let Some(client_id) = client_id {
            url = url.with_query("client_id", client_id);
        }
        Ok(Self { server, url })
    }

    pub(crate) async fn fetch(&self) -> Result<Issued<SecretString>, TokenError> {
        let request = TokenRequest::get(self.url.clone()).judged_by(by_status_of_azure);
        let (request, hint) = match &self.server {
            Server::AppService(header) => {
                let header = header.read().map_err(|error| TokenError::unreadable(&error))?;
                let request = request.with_secret(HeaderName::from_static("x-identity-header"), "", &header)?;
                (request, "assign a managed identity to the app")
            }
            Server::Instance => {
                let metadata = HeaderName::from_static("metadata");
                let request = request.with_header(metadata, HeaderValue::from_static("true"));
                (request, "`managed_identity` needs a virtual machine in Azure with a managed identity")
            }
        };
        request.token(Connection::Local).await.map_err(|error| error.with_hint(hint))
    }
}

/// Returns the credentials that the workload identity webhook of Kubernetes puts into the environment. Arguments that
/// are set replace parts of them.
pub(crate) fn workload_identity(
    ambient: &Environment,
    tenant_id: Option<&str>,
    client_id: Option<&str>,
    authority: Option<Endpoint>,
    (login, scope): (&str, &str),
    endpoint: TokenEndpointSettings,
) -> Result<ClientCredentials, String> {
    let setting_or_variable =
        |value: Option<&str>, name| match value.map(str::to_owned).or_else(|| ambient.variable(name)) {
            Some(value) => Ok(value),
            None => Err(format!(
                "the environment variable {name} is not set; label the pod `azure.workload.identity/use: \"true\"` and \
             annotate its service account, so that the workload identity webhook sets it"
            )),
        };
    let tenant_id = setting_or_variable(tenant_id, "AZURE_TENANT_ID")?;
    let authority = match authority {
        Some(authority) => authority,
        None => ambient.url_or("AZURE_AUTHORITY_HOST", login)?,
    };
    Ok(ClientCredentials {
        token_url: token_url(&authority, &tenant_id),
        client_id: setting_or_variable(client_id, "AZURE_CLIENT_ID")?,
        client_secret: Secret::File(setting_or_variable(None, "AZURE_FEDERATED_TOKEN_FILE")?.into()),
        scope: Some(scope.to_owned()),
        params: BTreeMap::new(),
        credentials: CredentialsIn::Assertion,
        tls: endpoint.tls,
        proxy: endpoint.proxy,
    })
}

/// Returns the token endpoint of a tenant.
pub(crate) fn token_url(authority: &Endpoint, tenant_id: &str) -> Endpoint {
    authority.join(&format!("{}/oauth2/v2.0/token", path_segment(tenant_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambient(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().copied())
    }

    const SCOPE: &str = "https://monitor.azure.com//.default";
    const LOGIN: (&str, &str) = ("https://login.microsoftonline.com", SCOPE);

    #[test]
    fn a_managed_identity_is_asked_for_where_the_environment_says() {
        let url = |variables: &[_], client_id| {
            let identity = ManagedIdentity::new(&ambient(variables), SCOPE, client_id);
            identity.map(|identity| identity.url.url().to_string())
        };
        let instance = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01\
                        &resource=https%3A%2F%2Fmonitor.azure.com%2F";
        assert_eq!(url(&[], None).unwrap(), instance);
        assert_eq!(url(&[], Some("c")).unwrap(), format!("{instance}&client_id=c"));
        assert_eq!(
            url(&[("IDENTITY_ENDPOINT", "http://127.0.0.1:8081/msi/token"), ("IDENTITY_HEADER", "h")], None).unwrap(),
            "http://127.0.0.1:8081/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fmonitor.azure.com%2F"
        );
        assert!(url(&[("IDENTITY_ENDPOINT", "http://h/x")], None).unwrap_err().contains("Azure Arc"));
        assert!(url(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "h")], None).unwrap_err().contains("expected a URL"));
    }

    #[test]
    fn a_workload_identity_is_that_of_the_environment_unless_the_settings_name_another() {
        let all = [
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
            ("AZURE_AUTHORITY_HOST", "https://login.example/"),
        ];
        let identity = |variables: &[_], tenant, client| {
            workload_identity(&ambient(variables), tenant, client, None, LOGIN, Default::default())
        };
        let client = identity(&all, None, None).unwrap();
        assert_eq!(client.token_url.url().as_str(), "https://login.example/t/oauth2/v2.0/token");
        assert_eq!((client.client_id.as_str(), client.client_secret), ("c", Secret::File("/token".into())));
        let client = identity(&all[..3], Some("other"), Some("app")).unwrap();
        assert_eq!(client.token_url.url().as_str(), "https://login.microsoftonline.com/other/oauth2/v2.0/token");
        assert_eq!(client.client_id, "app");
        for missing in 0..3 {
            let mut some = all.to_vec();
            let (name, _) = some.remove(missing);
            let error = identity(&some, None, None).unwrap_err();
            assert!(error.contains(name) && error.contains("webhook"), "{error}");
        }
    }
}
