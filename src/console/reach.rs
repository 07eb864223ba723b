use std::net::IpAddr;

use http::{StatusCode, header};

use super::ConsoleSettings;
use crate::settings::describe_request_error;

/// A response from a console's address.
#[derive(Debug)]
pub struct Reached {
    /// What the console's name resolves to on this host. Empty if only a proxy can resolve it.
    pub addresses: Vec<IpAddr>,
    /// What the response is instead of a console's, such as a web page.
    pub odd: Option<&'static str>,
}

/// Tests whether anything responds at the console's address. No token is sent: each response is good, since some
/// deployments hide the endpoint.
///
/// # Errors
/// What prevents a connection.
pub async fn reach(settings: &ConsoleSettings) -> Result<Reached, String> {
    let client = settings.http().client().map_err(|error| error.to_string())?;
    let url = settings.url.with("/web/api/v2.1/system/status", None);
    let response = client.get(url).send().await.map_err(|error| describe_request_error(&error))?;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_page = kind.starts_with("text/html");
    let odd = match response.status() {
        StatusCode::NOT_FOUND => Some("404 for what every console has"),
        status if status.is_success() && is_page => Some("a web page instead of an answer of the API"),
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
