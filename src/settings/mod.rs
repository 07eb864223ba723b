//! What settings are made of: secrets, sizes, periods, ids, schemas, TLS. The rooms above compose their own settings from these.

mod id;
mod period;
mod schema;
mod secret;
mod size;
mod tls;

pub use id::Id;
pub use period::Period;
pub use schema::Schema;
pub use secret::{Credential, Secret, SecretError};
pub use size::ByteSize;
pub use tls::{ClientError, HttpSettings, Tls};
