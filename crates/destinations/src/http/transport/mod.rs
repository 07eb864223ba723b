//! The parts of a request that all destinations share: encoding, limits, sending, and the general meaning of an answer.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod exchange;
pub(crate) mod framing;
pub(crate) mod request;
pub(crate) mod response;
mod size_limiter;
pub(crate) mod url_part;
