//! Tests whether anything responds at a console's address. The command `check` uses it.

use std::net::IpAddr;

use http::{StatusCode, header};
use s1_forwarder_settings::{ClientError, RequestProblem, UsedProxy, describe_request_error};

use super::ConsoleSettings;

/// A response from a console's address.
#[derive(Debug)]
pub struct Reached {
    /// Addresses to which the console's name resolves on this host. Empty if only a proxy can resolve it.
    pub addresses: Vec<IpAddr>,
    /// Description of a response that is not a console's, such as a web page.
    pub odd: Option<&'static str>,
}

/// Nothing responded at the console's address.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Request(RequestProblem),
}

/// Returns the proxy that requests to the console go through.
pub fn proxy(settings: &ConsoleSettings) -> Option<UsedProxy> {
    settings.http().way().proxy(&settings.url.with("/", None))
}

/// Tests whether anything responds at the console's address. No token is sent. Any response counts, since some
/// deployments hide the endpoint.
///
/// # Errors
/// If no connection is possible, with the reason.
pub async fn reach(settings: &ConsoleSettings) -> Result<Reached, ReachError> {
    let http = settings.http();
    let client = http.client()?;
    let url = settings.url.with("/web/api/v2.1/system/status", None);
    let response = client.get(url).send().await;
    let response = response.map_err(|error| ReachError::Request(describe_request_error(&error, &http.way())))?;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_page = kind.starts_with("text/html");
    let odd = match response.status() {
        StatusCode::NOT_FOUND => Some("404 for what every console has"),
        StatusCode::BAD_REQUEST => Some("400 for what every console has"),
        status if is_page && (status.is_success() || status.is_client_error()) => {
            Some("a web page instead of an answer of the API")
        }
        _ => None,
    };
    let url = response.url();
    let addresses = match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => tokio::net::lookup_host((host, port)).await.ok(),
        _ => None,
    };
    let mut addresses: Vec<IpAddr> = addresses.into_iter().flatten().map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(Reached { addresses, odd })
}
