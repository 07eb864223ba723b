//! Values of settings: secrets, sizes, periods, ids and names.

pub mod id;
pub mod identity_tokens;
pub mod kind;
pub mod known_secrets;
pub mod name;
pub mod own_variables;
pub mod period;
pub mod secret;
pub mod secret_object;
pub mod secrets;
pub mod size;
