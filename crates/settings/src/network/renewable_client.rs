//! An HTTP client whose certificates are read again when a connection fails because of them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::client_error::ClientError;
use super::http::HttpSettings;

/// An HTTP client whose certificates may be replaced on disk: a client does not read them again by itself.
#[derive(Debug)]
pub struct RenewableClient {
    settings: HttpSettings,
    client: Mutex<Arc<reqwest::Client>>,
    renewed_at: Mutex<Option<Instant>>,
}

/// Shortest time between two reads of the certificates: a server can make each request fail.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

impl RenewableClient {
    /// Makes the first client.
    ///
    /// # Errors
    /// As [`HttpSettings::client`].
    pub fn new(settings: HttpSettings) -> Result<Self, ClientError> {
        let client = Mutex::new(settings.client()?);
        Ok(Self { settings, client, renewed_at: Mutex::new(None) })
    }

    pub fn settings(&self) -> &HttpSettings {
        &self.settings
    }

    /// Returns the client with the certificates that were read last.
    pub fn get(&self) -> reqwest::Client {
        reqwest::Client::clone(&self.client.lock())
    }

    /// Reads the certificates again. Call it when the server does not accept them, or the client not the server's.
    /// Unusable files leave the client as it is.
    pub fn renew(&self) {
        {
            let mut renewed_at = self.renewed_at.lock();
            if renewed_at.is_some_and(|last| last.elapsed() < MIN_INTERVAL) {
                return;
            }
            *renewed_at = Some(Instant::now());
        }
        if let Ok(client) = self.settings.client() {
            *self.client.lock() = client;
        }
    }
}

/// Returns whether a body is HTML. HTML comes from a proxy or a login page, never from an API. Some proxies answer a
/// missing or expired client certificate in this way.
pub fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Returns whether the body answers a request without TLS to a port that requires TLS: of Go, nginx, Tomcat and Apache.
pub fn wants_tls(body: &[u8]) -> bool {
    const TEXTS: [&str; 4] = [
        "HTTP request to an HTTPS server",
        "plain HTTP request was sent to HTTPS port",
        "combination of host and port requires TLS",
        "plain HTTP to an SSL-enabled server port",
    ];
    TEXTS.iter().any(|text| memchr::memmem::find(body, text.as_bytes()).is_some())
}
