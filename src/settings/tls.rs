use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// `tls: { ca_file, cert_file, key_file }` of a console or a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the only authorities to trust; default: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client certificate's key.
    pub key_file: Option<PathBuf>,
}

/// What makes one HTTP client differ from another: lanes with equal settings share a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// See [`Tls`].
    pub tls: Tls,
    /// `http://…`, `https://…`; default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY of the environment.
    pub proxy: Option<String>,
    /// Time-out of one whole request.
    pub timeout: Period,
}

impl HttpSettings {
    /// The client for these settings; equal settings get the same one (a `reqwest::Client` is a handle to a shared pool).
    /// Redirects are not followed, answers are not decompressed (callers ask for gzip themselves and cap what they inflate).
    pub fn client(&self) -> Result<reqwest::Client, ClientError> {
        unimplemented!()
    }
}

/// A client could not be built: an unreadable CA file, a key that does not fit its certificate.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {}
