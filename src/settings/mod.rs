//! What settings are made of: secrets, sizes, periods, ids, schemas, TLS. The rooms above compose their own settings from these.

mod backoff;
mod http;
mod id;
#[cfg(feature = "kubernetes")]
/// Access to a Kubernetes API server, and how this program's objects are labelled.
pub mod kubernetes;
mod name;
mod period;
mod proxy;
mod schema;
mod secret;
mod secrets;
mod size;
mod tls;

pub use backoff::FullJitter;
pub use http::{ClientError, HttpSettings, Role, install_crypto_provider};
pub use id::{Id, IdError};
pub use name::{NameError, check_name};
pub use period::{Period, PeriodError};
pub use proxy::{Proxy, ProxyError};
pub use schema::Schema;
pub use secret::{Credential, Secret, SecretError, scrub};
pub use secrets::Secrets;
pub use size::{ByteSize, ByteSizeError};
pub use tls::Tls;
