//! TLS of the listener, and of the requests that workers send each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};

use super::client_error::{ClientError, Role, build_error};
use super::http::common_builder;
use super::pin::{Fingerprint, PinnedCertificates};
use super::tls::{Identity, certificates, read_pem, roots};

/// The files of a listener's TLS.
#[derive(Debug, Clone)]
pub struct ServerTlsFiles {
    /// The certificate and its chain.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Authorities of clients' certificates.
    pub clients: Option<(PathBuf, ClientCertificates)>,
    /// Whether TLS 1.2 is refused.
    pub only_tls_1_3: bool,
    /// The authority of other workers' certificates, and the name in these. Without it, other workers have to present
    /// the same certificate as this one.
    pub peers: Option<(PathBuf, ServerName<'static>)>,
}

/// Whether clients have to present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    Optional,
    Required,
}

/// TLS settings that were read from the files.
pub struct ServerTls {
    pub server: Arc<ServerConfig>,
    peers: ClientConfig,
    /// Hash that changes with the contents of the files.
    pub fingerprint: [u8; 32],
}

impl ServerTls {
    /// Reads the files, and makes the TLS configuration.
    ///
    /// # Errors
    /// If a file cannot be read or is invalid.
    pub fn read(files: &ServerTlsFiles) -> Result<Self, ClientError> {
        let failed = |error: rustls::Error| ClientError::Build(error.to_string());
        let mut hash = Sha256::new();
        let mut read = |role, path: &Path| -> Result<Vec<u8>, ClientError> {
            let contents = read_pem(role, path)?;
            hash.update((contents.len() as u64).to_be_bytes());
            hash.update(&contents);
            Ok(contents)
        };
        let cert = read(Role::Cert, &files.cert)?;
        let key = read(Role::Key, &files.key)?;
        let identity = Identity::read(&files.cert, &cert, &files.key, &key)?;
        let mut authorities = |role, path: &Path| roots(role, path, certificates(role, path, &read(role, path)?)?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());

        let versions: &[_] = if files.only_tls_1_3 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(versions).map_err(failed)?;
        let builder = match &files.clients {
            None => builder.with_no_client_auth(),
            Some((path, wanted)) => {
                let roots = authorities(Role::ClientCa, path)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                let verifier = match wanted {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    ClientCertificates::Required => verifier,
                };
                builder
                    .with_client_cert_verifier(verifier.build().map_err(|error| ClientError::Build(error.to_string()))?)
            }
        };
        let server = builder.with_single_cert(identity.chain.clone(), identity.key.clone_key()).map_err(failed)?;

        let verifier: Arc<dyn ServerCertVerifier> = match &files.peers {
            None => {
                let own = identity.chain.first().map(Fingerprint::of).into_iter().collect();
                Arc::new(PinnedCertificates::new(own, provider.signature_verification_algorithms))
            }
            Some((path, name)) => {
                let roots = authorities(Role::Ca, path)?;
                Arc::new(Named::new(name.clone(), roots, &provider)?)
            }
        };
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut peers = match files.clients {
            Some(_) => builder.with_client_auth_cert(identity.chain, identity.key).map_err(failed)?,
            None => builder.with_no_client_auth(),
        };
        peers.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { server: Arc::new(server), peers, fingerprint: hash.finalize().into() })
    }

    /// Prepares the client for requests to other workers.
    ///
    /// # Errors
    /// If the client library fails.
    pub fn peer_client(&self, builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ClientError> {
        builder.tls_backend_preconfigured(self.peers.clone()).build().map_err(build_error)
    }
}

/// Returns the beginning of a client for requests to other workers. The workers are on one network: a proxy for
/// consoles and sinks does not know their addresses.
pub fn peer_client_builder() -> reqwest::ClientBuilder {
    common_builder().no_proxy()
}

/// Accepts certificates for one name, at whatever address the worker is: no certificate has the address of its pod.
#[derive(Debug)]
struct Named {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl Named {
    fn new(
        name: ServerName<'static>,
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, ClientError> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Self { name, inner: inner.map_err(|error| ClientError::Build(error.to_string()))? })
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
