//! HTTP clients with TLS, proxies, pins and a resolver, the texts of their errors, and calls to Kubernetes.

pub mod address_policy;
pub mod backoff;
pub mod client_error;
pub mod dial;
pub mod http;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod no_proxy;
pub mod pin;
pub mod proxy;
pub mod renewable_client;
pub mod request_error;
pub mod request_way;
pub mod resolver;
pub mod retry_after;
pub mod server_tls;
pub mod tls;
