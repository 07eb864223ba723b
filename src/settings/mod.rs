//! What settings are made of: secrets, sizes, periods, ids, TLS. The rooms above compose their own settings from these.

mod backoff;
mod id;
mod period;
mod secret;
mod size;
mod tls;

pub use backoff::FullJitter;
pub use id::Id;
pub use period::Period;
pub use secret::{Credential, Secret, SecretError};
pub use size::ByteSize;
pub use tls::{ClientError, HttpSettings, Tls};
