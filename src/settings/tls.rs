use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fingerprint;

/// `tls:` of a console or a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the trusted certificate authorities; default: the system's.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 fingerprints of server certificates, instead of authorities: for a server whose certificate no authority
    /// vouches for. A server with one of these certificates is trusted, whatever its name and dates.
    pub pin_sha256: Vec<Fingerprint>,
    /// PEM file with the client certificate and its chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of the client certificate.
    pub key_file: Option<PathBuf>,
}
