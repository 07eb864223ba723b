//! How the requests of a client reach their server: directly or through a proxy.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::proxy::Proxy;
use super::proxy::{UsedProxy, secrets_of_environment};

/// Timeout of a handshake: a slower one will not succeed. The rest of the timeout is for the request.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How the requests of a client travel.
#[derive(Debug, Clone, Copy)]
pub struct RequestWay<'a> {
    pub proxies: Proxies<'a>,
    /// Timeout of a complete request.
    pub timeout: Duration,
}

/// Source of a client's proxy.
#[derive(Debug, Clone, Copy)]
pub enum Proxies<'a> {
    None,
    Environment,
    /// `proxy` of the settings.
    Key(&'a Proxy),
}

impl RequestWay<'_> {
    /// Returns the proxy that a request for this URL goes through.
    pub fn proxy(&self, url: &Url) -> Option<UsedProxy> {
        match self.proxies {
            Proxies::None => None,
            Proxies::Environment => UsedProxy::of_environment(url),
            Proxies::Key(proxy) => Some(UsedProxy::of_key(proxy)),
        }
    }

    /// Returns the secrets that a request may hold for its proxy.
    pub fn secrets(&self) -> Vec<SecretString> {
        match self.proxies {
            Proxies::None => Vec::new(),
            Proxies::Environment => secrets_of_environment(),
            Proxies::Key(proxy) => proxy.secrets(),
        }
    }
}
