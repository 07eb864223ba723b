//! The identities that clouds give a machine or a pod, and the tokens and credentials that they lead to.

pub(crate) mod ambient;
pub(crate) mod aws;
pub(crate) mod azure;
mod environment;
pub(crate) mod external_account;
pub(crate) mod google_metadata;
pub(crate) mod service_account;
