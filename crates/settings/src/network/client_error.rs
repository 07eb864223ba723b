//! The error of an HTTP client that cannot be built from its settings.

use std::fmt;
use std::path::PathBuf;

use super::request_error::innermost_cause;

/// An HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot read the {role} {}: {source}", path.display())]
    Unreadable { role: Role, path: PathBuf, source: std::io::Error },
    /// The file has no PEM section of the expected kind.
    #[error("the {role} {} holds no {} in PEM form: {reason}", path.display(), role.content())]
    NotPem {
        role: Role,
        path: PathBuf,
        /// The parser's message.
        reason: String,
    },
    #[error("`cert_file` and `key_file` belong together: the {0} is missing")]
    Incomplete(Role),
    #[error(
        "the certificate {} has X.509 version 1, which TLS does not use: make it again with extensions, which makes it \
         version 3, such as `subjectAltName` in the -extfile of `openssl x509 -req`", .0.display()
    )]
    CertificateVersion(PathBuf),
    /// The key does not belong to the certificate, or is of a kind that TLS does not use.
    #[error("the key_file {} does not fit the cert_file {}: {reason}", key.display(), cert.display())]
    Mismatch {
        cert: PathBuf,
        key: PathBuf,
        /// The TLS library's message.
        reason: String,
    },
    #[error("`pin_sha256` excludes `ca_file`: the server's certificate is trusted by its fingerprint or by its issuer")]
    PinAndAuthority,
    /// The client library failed, for example because the system has no root certificates.
    #[error("cannot set up the HTTP client: {0}")]
    Build(String),
}

/// A key of `tls:`, or of the listener's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Ca,
    ClientCa,
    Cert,
    Key,
}

impl Role {
    fn content(self) -> &'static str {
        match self {
            Self::Ca | Self::ClientCa | Self::Cert => "certificate",
            Self::Key => "private key",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ca => "ca_file",
            Self::ClientCa => "client_ca_file",
            Self::Cert => "cert_file",
            Self::Key => "key_file",
        })
    }
}

/// Returns the error with the innermost cause: the text of the error itself is just "builder error".
pub(crate) fn build_error(error: reqwest::Error) -> ClientError {
    ClientError::Build(innermost_cause(&error))
}
