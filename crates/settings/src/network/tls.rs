//! The key `tls` of a console or a sink, and the certificates that it names.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::client_error::{ClientError, Role};
use super::pin::Fingerprint;
use super::pin::PinnedCertificates;
use crate::files::file_path::FilePath;
use crate::files::read_file::read_file;
use crate::values::kind::SettingKind;
use crate::values::secret::SECRET_REF;
use crate::values::secret_object::SecretObject;

/// Most bytes of a file: more than the root certificates of any system have.
const MAX_TLS_FILE: usize = 1024 * 1024;

/// `tls:` of a console or a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-kind" = SettingKind::Trust))]
pub struct Tls {
    /// PEM file with the trusted certificate authorities; default: the system's.
    pub ca_file: Option<TlsFile>,
    /// SHA-256 fingerprints of server certificates, instead of authorities: for a server whose certificate no authority
    /// vouches for. A server with one of these certificates is trusted, whatever its name and dates.
    pub pin_sha256: Vec<Fingerprint>,
    /// PEM file with the client certificate and its chain.
    pub cert_file: Option<TlsFile>,
    /// PEM file with the key of the client certificate.
    pub key_file: Option<TlsFile>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read or is invalid.
    pub fn check(&self) -> Result<(), ClientError> {
        tls_client(self).map(drop)
    }
}

/// Place of a certificate or a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TlsFile {
    Path(FilePath),
    /// A key of a Secret in Kubernetes.
    Object(Box<SecretObject>),
}

impl TlsFile {
    /// Reads the contents of a file or Secret.
    ///
    /// # Errors
    /// If it cannot be read, or is larger than `max` bytes.
    pub(crate) fn read(&self, max: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Path(path) => path.read(max),
            Self::Object(object) => object.read().map_err(io::Error::other),
        }
    }

    /// Returns the path, or the text in its place in messages.
    pub(crate) fn place(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.path().to_owned(),
            Self::Object(object) => format!("Secret {object}").into(),
        }
    }
}

impl From<PathBuf> for TlsFile {
    fn from(path: PathBuf) -> Self {
        Self::Path(path.into())
    }
}

impl Serialize for TlsFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Path(path) => path.serialize(serializer),
            Self::Object(object) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(SECRET_REF, &object.to_string())?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for TlsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TlsFileVisitor)
    }
}

struct TlsFileVisitor;

impl<'de> Visitor<'de> for TlsFileVisitor {
    type Value = TlsFile;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<TlsFile, E> {
        Ok(TlsFile::Path(FilePath::of_setting(path.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TlsFile, A::Error> {
        let first = map.next_entry::<String, String>()?;
        match first.filter(|(key, _)| key == SECRET_REF) {
            Some((_, object)) if map.next_key::<de::IgnoredAny>()?.is_none() => {
                Ok(TlsFile::Object(Box::new(object.parse().map_err(de::Error::custom)?)))
            }
            _ => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }
}

impl JsonSchema for TlsFile {
    fn schema_name() -> Cow<'static, str> {
        "TlsFile".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        FilePath::json_schema(generator)
    }
}

/// Returns the TLS library's settings for connections that do not carry HTTP. The files are read now.
///
/// # Errors
/// If a file of `tls:` cannot be read or is invalid.
pub(crate) fn tls_client(tls: &Tls) -> Result<ClientConfig, ClientError> {
    let files = TlsFiles::read(tls)?;
    let roots = match &files.ca {
        Some((path, pem)) => Some(roots(Role::Ca, path, certificates(Role::Ca, path, pem)?)?),
        None => None,
    };
    tls_config(&tls.pin_sha256, roots, files.identity()?)
}

/// Returns the TLS client of PEM texts: trusted authorities, and a client certificate with its key. Without
/// authorities, the client trusts the system's authorities.
///
/// # Errors
/// If a text is no PEM, or certificate and key differ.
pub fn tls_client_of(authorities: Option<&str>, identity: Option<(&str, &str)>) -> Result<ClientConfig, ClientError> {
    let place = Path::new("(in memory)");
    let roots = match authorities {
        Some(pem) => Some(roots(Role::Ca, place, certificates(Role::Ca, place, pem.as_bytes())?)?),
        None => None,
    };
    let identity = match identity {
        Some((chain, key)) => Some(Identity::read(place, chain.as_bytes(), place, key.as_bytes())?),
        None => None,
    };
    tls_config(&[], roots, identity)
}

/// Trusts servers by their fingerprints, or by `roots` if there are none, or by the system's authorities.
pub(crate) fn tls_config(
    pins: &[Fingerprint],
    roots: Option<RootCertStore>,
    identity: Option<Identity>,
) -> Result<ClientConfig, ClientError> {
    let failed = |error: rustls::Error| ClientError::Build(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)?;
    let builder = match roots {
        _ if !pins.is_empty() => {
            let verifier = PinnedCertificates::new(pins.to_vec(), algorithms);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.with_platform_verifier().map_err(failed)?,
    };
    match identity {
        Some(Identity { chain, key, .. }) => builder.with_client_auth_cert(chain, key).map_err(failed),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// A client certificate, in the form of either library.
pub(crate) struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub reqwest: reqwest::Identity,
}

pub(crate) fn read_pem(role: Role, path: &Path) -> Result<Vec<u8>, ClientError> {
    read_file(path, MAX_TLS_FILE).map_err(|source| ClientError::Unreadable { role, path: path.to_owned(), source })
}

type PemFile = Option<(PathBuf, Vec<u8>)>;

/// The current contents of the `tls:` files.
pub(crate) struct TlsFiles {
    pub ca: PemFile,
    cert: PemFile,
    key: PemFile,
    pub fingerprint: [u8; 32],
}

impl TlsFiles {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// If a file cannot be read, if certificate or key is given without the other, or if there are an authority and
    /// pins.
    pub fn read(tls: &Tls) -> Result<Self, ClientError> {
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => return Err(ClientError::Incomplete(Role::Key)),
            (None, Some(_)) => return Err(ClientError::Incomplete(Role::Cert)),
            _ if tls.ca_file.is_some() && !tls.pin_sha256.is_empty() => return Err(ClientError::PinAndAuthority),
            _ => {}
        }
        let read = |role, file: &Option<TlsFile>| -> Result<PemFile, ClientError> {
            let Some(file) = file else { return Ok(None) };
            match file.read(MAX_TLS_FILE) {
                Ok(contents) => Ok(Some((file.place(), contents))),
                Err(source) => Err(ClientError::Unreadable { role, path: file.place(), source }),
            }
        };
        let ca = read(Role::Ca, &tls.ca_file)?;
        let cert = read(Role::Cert, &tls.cert_file)?;
        let key = read(Role::Key, &tls.key_file)?;
        let mut hash = Sha256::new();
        for (_, contents) in [&ca, &cert, &key].into_iter().flatten() {
            hash.update((contents.len() as u64).to_be_bytes());
            hash.update(contents);
        }
        Ok(Self { ca, cert, key, fingerprint: hash.finalize().into() })
    }

    /// Returns the client certificate, if there is one.
    ///
    /// # Errors
    /// As [`Identity::read`].
    pub fn identity(&self) -> Result<Option<Identity>, ClientError> {
        match (&self.cert, &self.key) {
            (Some((cert_path, cert)), Some((key_path, key))) => {
                Identity::read(cert_path, cert, key_path, key).map(Some)
            }
            _ => Ok(None),
        }
    }
}

pub(crate) fn certificates(
    role: Role,
    path: &Path,
    contents: &[u8],
) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let not_pem = |reason: String| ClientError::NotPem { role, path: path.to_owned(), reason };
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(contents).collect();
    match found {
        Ok(found) if found.is_empty() => Err(not_pem("no BEGIN CERTIFICATE section".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(not_pem(error.to_string())),
    }
}

/// Returns the certificates of a file, each of which can be an authority.
pub(crate) fn roots(
    role: Role,
    path: &Path,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let not_pem = |reason: String| ClientError::NotPem { role, path: path.to_owned(), reason };
        roots.add(certificate).map_err(|error| not_pem(error.to_string()))?;
    }
    Ok(roots)
}

pub(crate) fn authorities(path: &Path, contents: &[u8]) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let certificates = certificates(Role::Ca, path, contents)?;
    roots(Role::Ca, path, certificates.clone())?;
    let not_pem = |error: reqwest::Error| ClientError::NotPem {
        role: Role::Ca,
        path: path.to_owned(),
        reason: error.to_string(),
    };
    certificates.iter().map(|certificate| reqwest::Certificate::from_der(certificate).map_err(not_pem)).collect()
}

impl Identity {
    /// Parses a certificate chain in PEM and its key.
    ///
    /// # Errors
    /// If certificate or key is not PEM, or the two do not match.
    pub fn read(cert_path: &Path, cert: &[u8], key_path: &Path, key: &[u8]) -> Result<Self, ClientError> {
        let chain = certificates(Role::Cert, cert_path, cert)?;
        let private = PrivateKeyDer::from_pem_slice(key).map_err(|error| ClientError::NotPem {
            role: Role::Key,
            path: key_path.to_owned(),
            // The parser's own message could quote a line of the file.
            reason: match error {
                pem::Error::NoItemsFound => "no BEGIN … PRIVATE KEY section".to_owned(),
                _ => "it is damaged".to_owned(),
            },
        })?;
        let mismatch =
            |reason: String| ClientError::Mismatch { cert: cert_path.to_owned(), key: key_path.to_owned(), reason };
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain.clone(), private.clone_key(), &provider).map_err(|error| {
            let reason = error.to_string();
            // The library names the cause in its text only.
            let is_version = reason.contains("UnsupportedCertVersion");
            if is_version { ClientError::CertificateVersion(cert_path.to_owned()) } else { mismatch(reason) }
        })?;
        let reqwest = reqwest::Identity::from_pem(&[cert, b"\n", key].concat());
        let reqwest = reqwest.map_err(|error| mismatch(error.to_string()))?;
        Ok(Self { chain, key: private, reqwest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl x509 -req` makes such a certificate without extensions. The key is not to blame.
    #[test]
    fn a_client_certificate_of_version_1_is_named() {
        let certificate = include_bytes!("../../../../tests/data/tls/version-1.pem");
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let read = Identity::read(Path::new("cli.pem"), certificate, Path::new("cli.key"), key.as_bytes());
        let error = read.err().unwrap().to_string();
        assert!(error.contains("cli.pem has X.509 version 1") && !error.contains("key"), "{error}");
    }
}
