//! What all destinations share of a request: encoding, limits, sending, and what an answer means in general.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod exchange;
pub(crate) mod framing;
pub(crate) mod request;
pub(crate) mod response;
mod size_limiter;
pub(crate) mod url_part;
