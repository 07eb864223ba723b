use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::{Period, Proxy, Tls};

/// What makes one HTTP client differ from another: lanes with equal settings share a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpSettings {
    /// See [`Tls`].
    pub tls: Tls,
    /// Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY of the environment.
    pub proxy: Option<Proxy>,
    /// Time-out of one whole request.
    pub timeout: Period,
}

/// A client could not be built: an unreadable CA file, a key that does not fit its certificate.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of `tls:` cannot be read.
    #[error("cannot read the {role} {}: {source}", path.display())]
    Unreadable {
        /// `ca_file`, `cert_file` or `key_file`.
        role: Role,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of `tls:` holds something else than PEM of its kind.
    #[error("the {role} {} holds no {} in PEM form: {reason}", path.display(), role.content())]
    NotPem {
        /// `ca_file`, `cert_file` or `key_file`.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// One of `cert_file` and `key_file` without the other.
    #[error("`cert_file` and `key_file` belong together: the {0} is missing")]
    Incomplete(Role),
    /// Certificate and key do not belong together, or the key is of a kind that TLS has no use for.
    #[error("the key_file {} does not fit the cert_file {}: {reason}", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library said.
        reason: String,
    },
    /// The TLS library refused the whole, for example because the system has no roots.
    #[error("cannot set up the HTTP client: {0}")]
    Build(String),
}

/// The part that a file of `tls:` plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `ca_file`.
    Ca,
    /// `cert_file`.
    Cert,
    /// `key_file`.
    Key,
}

impl Role {
    fn content(self) -> &'static str {
        match self {
            Self::Ca | Self::Cert => "certificate",
            Self::Key => "private key",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ca => "ca_file",
            Self::Cert => "cert_file",
            Self::Key => "key_file",
        })
    }
}

/// A handshake that takes longer will not succeed; the rest of the time-out is left to the request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the usual 60 s between polls, so that a quiet lane keeps its connection and saves the handshake.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Many lanes may lead to one sink's host, while consoles need one or two connections.
const IDLE_PER_HOST: usize = 32;

/// A client and the contents of the files that it was built from.
struct Shared {
    files: [u8; 32],
    client: reqwest::Client,
}

static CLIENTS: OnceLock<Mutex<HashMap<HttpSettings, Shared>>> = OnceLock::new();

/// Names the cryptography that TLS uses in this process; later calls change nothing.
pub fn install_crypto_provider() {
    // The error only says that another part of the process was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl HttpSettings {
    /// The client for these settings; equal settings get the same one (a `reqwest::Client` is a handle to a shared pool),
    /// a new one when the contents of the `tls:` files changed.
    /// Redirects are not followed, answers are not decompressed (callers ask for gzip themselves and cap what they inflate).
    ///
    /// # Errors
    /// When a file of `tls:` cannot be read or is not what it should be.
    pub fn client(&self) -> Result<reqwest::Client, ClientError> {
        let material = Material::read(&self.tls)?;
        let mut clients = CLIENTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = clients.get(self).filter(|shared| shared.files == material.fingerprint) {
            return Ok(shared.client.clone());
        }
        let client = self.build(&material)?;
        clients.insert(self.clone(), Shared { files: material.fingerprint, client: client.clone() });
        Ok(client)
    }

    fn build(&self, material: &Material) -> Result<reqwest::Client, ClientError> {
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("s1-forwarder/", env!("CARGO_PKG_VERSION")))
            .timeout(self.timeout.0)
            .connect_timeout(self.timeout.0.min(CONNECT_TIMEOUT))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .redirect(reqwest::redirect::Policy::none())
            // What may be sent again is decided by those who know what was in the request.
            .retry(reqwest::retry::never())
            .referer(false);
        if let Some((path, pem)) = &material.ca {
            builder = builder.tls_certs_only(authorities(path, pem)?);
        }
        if let (Some((cert_path, cert)), Some((key_path, key))) = (&material.cert, &material.key) {
            builder = builder.identity(identity(cert_path, cert, key_path, key)?);
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.url().clone()).map_err(build_error)?);
        }
        builder.build().map_err(build_error)
    }
}

/// The error's chain of causes: its own text is just "builder error".
fn build_error(error: reqwest::Error) -> ClientError {
    let innermost = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).last();
    ClientError::Build(innermost.map_or_else(String::new, ToString::to_string))
}

type PemFile = Option<(PathBuf, Vec<u8>)>;

/// The files of `tls:` as they are now.
struct Material {
    ca: PemFile,
    cert: PemFile,
    key: PemFile,
    fingerprint: [u8; 32],
}

impl Material {
    fn read(tls: &Tls) -> Result<Self, ClientError> {
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => return Err(ClientError::Incomplete(Role::Key)),
            (None, Some(_)) => return Err(ClientError::Incomplete(Role::Cert)),
            _ => {}
        }
        let read = |role, path: &Option<PathBuf>| -> Result<PemFile, ClientError> {
            let Some(path) = path else { return Ok(None) };
            match std::fs::read(path) {
                Ok(contents) => Ok(Some((path.clone(), contents))),
                Err(source) => Err(ClientError::Unreadable { role, path: path.clone(), source }),
            }
        };
        let (ca, cert, key) =
            (read(Role::Ca, &tls.ca_file)?, read(Role::Cert, &tls.cert_file)?, read(Role::Key, &tls.key_file)?);
        let mut hash = Sha256::new();
        for (_, contents) in [&ca, &cert, &key].into_iter().flatten() {
            hash.update((contents.len() as u64).to_be_bytes());
            hash.update(contents);
        }
        Ok(Self { ca, cert, key, fingerprint: hash.finalize().into() })
    }
}

fn certificates(role: Role, path: &Path, contents: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let not_pem = |reason: String| ClientError::NotPem { role, path: path.to_owned(), reason };
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(contents).collect();
    match found {
        Ok(found) if found.is_empty() => Err(not_pem("no BEGIN CERTIFICATE section".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(not_pem(error.to_string())),
    }
}

fn authorities(path: &Path, contents: &[u8]) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let not_pem = |reason: String| ClientError::NotPem { role: Role::Ca, path: path.to_owned(), reason };
    let mut store = RootCertStore::empty();
    let mut authorities = Vec::new();
    for certificate in certificates(Role::Ca, path, contents)? {
        authorities.push(reqwest::Certificate::from_der(&certificate).map_err(|error| not_pem(error.to_string()))?);
        store.add(certificate).map_err(|error| not_pem(error.to_string()))?;
    }
    Ok(authorities)
}

fn identity(cert_path: &Path, cert: &[u8], key_path: &Path, key: &[u8]) -> Result<reqwest::Identity, ClientError> {
    let chain = certificates(Role::Cert, cert_path, cert)?;
    let private = PrivateKeyDer::from_pem_slice(key).map_err(|error| ClientError::NotPem {
        role: Role::Key,
        path: key_path.to_owned(),
        // The reader's own words could quote a line of the file.
        reason: match error {
            pem::Error::NoItemsFound => "no BEGIN … PRIVATE KEY section".to_owned(),
            _ => "it is damaged".to_owned(),
        },
    })?;
    let mismatch =
        |reason: String| ClientError::Mismatch { cert: cert_path.to_owned(), key: key_path.to_owned(), reason };
    CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider())
        .map_err(|error| mismatch(error.to_string()))?;
    reqwest::Identity::from_pem(&[cert, b"\n", key].concat()).map_err(|error| mismatch(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(tls: Tls) -> HttpSettings {
        HttpSettings { tls, proxy: None, timeout: Period(Duration::from_secs(30)) }
    }

    #[test]
    fn equal_settings_share_a_client() {
        let (one, two) = (settings(Tls::default()), settings(Tls::default()));
        one.client().unwrap();
        two.client().unwrap();
        let clients = CLIENTS.get().unwrap().lock().unwrap();
        assert_eq!(clients.keys().filter(|key| **key == one).count(), 1);
    }

    #[test]
    fn each_unusable_file_has_its_own_message() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "no pem at all").unwrap();
        let missing = directory.path().join("missing.pem");
        let key = directory.path().join("key.pem");
        std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\ncanary!!\n-----END PRIVATE KEY-----\n").unwrap();
        for (tls, part) in [
            (Tls { ca_file: Some(missing.clone()), ..Tls::default() }, "cannot read the ca_file"),
            (Tls { ca_file: Some(empty.clone()), ..Tls::default() }, "holds no certificate in PEM form"),
            (Tls { cert_file: Some(empty.clone()), ..Tls::default() }, "the key_file is missing"),
            (Tls { key_file: Some(empty.clone()), ..Tls::default() }, "the cert_file is missing"),
            (Tls { cert_file: Some(empty), key_file: Some(key), ..Tls::default() }, "the cert_file"),
        ] {
            let error = settings(tls).client().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(error.to_string().contains(part) && !text.contains("canary"), "{text}");
        }
    }
}
