//! The file of `--web-config`: TLS and authentication of the listener, in the manner of Prometheus' web configuration.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tracing::{info, warn};

use super::access::{Access, TokenHash};
use crate::pipeline::{Problem, read_settings};
use crate::settings::{
    ClientCertificates, ClientError, Proxies, RequestWay, Secret, SecretError, ServerTls, ServerTlsFiles,
    describe_request_error, peer_client_builder,
};

/// Interval at which the file, and the files that it names, are read again.
const RELOAD: Duration = Duration::from_secs(10);
/// Timeout of another worker, which is then shown without an answer.
pub(super) const PEER_TIMEOUT: Duration = Duration::from_secs(3);
/// A check of a password with this cost takes some seconds.
const MAX_COST: u32 = 16;

/// The file of `--web-config` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid { problems: Vec<Problem> },
    #[error("{}: {reason}", path.display())]
    Contradiction { path: PathBuf, reason: String },
    #[error("{}: tls_server_config: {source}", path.display())]
    Tls { path: PathBuf, source: ClientError },
    #[error("{}: bearer_tokens: {source}", path.display())]
    Token { path: PathBuf, source: SecretError },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    tls_server_config: Option<TlsSettings>,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
    #[serde(default)]
    bearer_tokens: Vec<Token>,
    #[serde(default)]
    peers: Option<Peers>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSettings {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    client_auth_type: ClientAuth,
    #[serde(default)]
    min_version: Version,
}

/// The values of Prometheus, which are Go's. The values for certificates that are not verified are left out: they are
/// of no use.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
enum Version {
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// A token: one of the two keys is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peers {
    ca_file: PathBuf,
    server_name: String,
}

/// The contents of the file.
pub(super) struct Loaded {
    pub tls: Option<Arc<ServerConfig>>,
    pub access: Access,
    pub peers: PeerClient,
    /// Changes with the contents of the file and of the files that it names.
    fingerprint: [u8; 32],
}

/// Sends requests to other workers of the same configuration.
#[derive(Debug, Clone)]
pub struct PeerClient {
    client: reqwest::Client,
    scheme: &'static str,
    token: Option<HeaderValue>,
    proxies: Proxies<'static>,
}

impl PeerClient {
    /// Creates the client of a command, with a bearer token.
    pub fn new(client: reqwest::Client, token: Option<&SecretString>) -> Self {
        let token = token.and_then(|token| bearer(token.expose_secret()));
        Self { client, scheme: "http", token, proxies: Proxies::Environment }
    }

    /// Returns `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If the client fails.
    pub async fn get(&self, url: &str, timeout: Duration) -> Result<reqwest::Response, reqwest::Error> {
        let mut request = self.client.get(url).timeout(timeout);
        if let Some(token) = &self.token {
            request = request.header(reqwest::header::AUTHORIZATION, token.clone());
        }
        request.send().await
    }

    /// Explains an error of a request with this timeout.
    pub fn describe(&self, error: &reqwest::Error, timeout: Duration) -> String {
        describe_request_error(error, &RequestWay { proxies: self.proxies, timeout }).what
    }

    /// Requests a page of another worker.
    pub(super) async fn ask(&self, address: &str, path: &str) -> Result<reqwest::Response, reqwest::Error> {
        self.get(&format!("{}://{address}{path}", self.scheme), PEER_TIMEOUT).await
    }
}

impl Loaded {
    /// Makes a configuration without TLS and without authentication.
    fn open() -> Result<Self, ClientError> {
        Ok(Self {
            tls: None,
            access: Access::new(BTreeMap::new(), Vec::new()),
            peers: PeerClient { client: plain_client()?, scheme: "http", token: None, proxies: Proxies::None },
            fingerprint: [0; 32],
        })
    }

    /// Blocks while files are read.
    fn read(path: &Path) -> Result<Self, WebConfigError> {
        let (settings, bytes) =
            read_settings::<Settings>(path).map_err(|problems| WebConfigError::Invalid { problems })?;
        let contradiction = |reason: String| WebConfigError::Contradiction { path: path.to_owned(), reason };
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut hash = Sha256::new();
        hash.update(&bytes);
        for (user, password) in &settings.basic_auth_users {
            check_hash(password).map_err(|reason| contradiction(format!("basic_auth_users: {user}: {reason}")))?;
        }
        let mut tokens = Vec::new();
        let mut own_token = None;
        for token in &settings.bearer_tokens {
            let digest = match token {
                Token { file: Some(file), sha256: None } => {
                    let failed = |source| WebConfigError::Token { path: path.to_owned(), source };
                    let secret = Secret::File(directory.join(file).into()).read().map_err(failed)?;
                    if own_token.is_none() {
                        own_token = bearer(secret.expose_secret());
                    }
                    Sha256::digest(secret.expose_secret()).into()
                }
                Token { file: None, sha256: Some(text) } => token_hash(text).map_err(contradiction)?,
                _ => return Err(contradiction("bearer_tokens: each has either `file` or `sha256`".to_owned())),
            };
            hash.update(digest);
            tokens.push(digest);
        }
        let failed = |source| WebConfigError::Tls { path: path.to_owned(), source };
        let tls = match settings.tls_server_config {
            Some(tls) => {
                let files = tls_files(tls, settings.peers, directory).map_err(contradiction)?;
                Some(ServerTls::read(&files).map_err(failed)?)
            }
            None if settings.peers.is_some() => {
                return Err(contradiction("peers: it has a meaning only with tls_server_config".to_owned()));
            }
            None => None,
        };
        let client = match &tls {
            Some(tls) => {
                hash.update(tls.fingerprint);
                tls.peer_client(peer_client_builder()).map_err(failed)?
            }
            None => plain_client().map_err(failed)?,
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Self {
            tls: tls.map(|tls| tls.server),
            access: Access::new(settings.basic_auth_users, tokens),
            peers: PeerClient { client, scheme, token: own_token, proxies: Proxies::None },
            fingerprint: hash.finalize().into(),
        })
    }
}

/// Creates a client without TLS, which needs no root certificates.
fn plain_client() -> Result<reqwest::Client, ClientError> {
    peer_client_builder().tls_certs_only([]).build().map_err(|error| ClientError::Build(error.to_string()))
}

fn tls_files(tls: TlsSettings, peers: Option<Peers>, directory: &Path) -> Result<ServerTlsFiles, String> {
    let clients = match (tls.client_ca_file, tls.client_auth_type) {
        (None, ClientAuth::NoClientCert) => None,
        (Some(file), ClientAuth::VerifyClientCertIfGiven) => Some((directory.join(file), ClientCertificates::Optional)),
        (Some(file), ClientAuth::RequireAndVerifyClientCert) => {
            Some((directory.join(file), ClientCertificates::Required))
        }
        (Some(_), ClientAuth::NoClientCert) => {
            return Err("tls_server_config: client_ca_file needs a client_auth_type, such as \
                        RequireAndVerifyClientCert"
                .to_owned());
        }
        (None, _) => return Err("tls_server_config: client_auth_type needs a client_ca_file".to_owned()),
    };
    let peers = match peers {
        None => None,
        Some(Peers { ca_file, server_name }) => match ServerName::try_from(server_name) {
            Ok(name) => Some((directory.join(ca_file), name)),
            Err(_) => return Err("peers: server_name is not a host name".to_owned()),
        },
    };
    Ok(ServerTlsFiles {
        cert: directory.join(tls.cert_file),
        key: directory.join(tls.key_file),
        clients,
        only_tls_1_3: tls.min_version == Version::Tls13,
        peers,
    })
}

/// Checks that a text is a bcrypt hash of an acceptable cost. The error never shows the text: it may be the password
/// itself.
fn check_hash(text: &str) -> Result<(), String> {
    let parts = bcrypt::HashParts::from_str(text)
        .map_err(|_| "its value is not a bcrypt hash ($2b$…), such as `htpasswd -nBC 10 USER` prints".to_owned())?;
    if parts.get_cost() > MAX_COST {
        return Err(format!("the cost of its bcrypt hash is above {MAX_COST}: each check would take seconds"));
    }
    Ok(())
}

fn token_hash(text: &str) -> Result<TokenHash, String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text.trim(), &mut hash)
        .map_err(|_| "bearer_tokens: sha256 is not the SHA-256 of a token: 64 hex digits".to_owned())?;
    Ok(hash)
}

/// Returns the header `Authorization`. `None` cannot happen: the secret holds no control characters.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The configuration of a listener. It follows its files.
pub struct WebConfig {
    path: Option<PathBuf>,
    current: RwLock<Arc<Loaded>>,
}

impl WebConfig {
    /// Returns a listener without TLS and authentication.
    ///
    /// # Errors
    /// If the client library fails.
    pub fn open() -> Result<Self, ClientError> {
        Ok(Self { path: None, current: RwLock::new(Arc::new(Loaded::open()?)) })
    }

    /// Reads the file of `--web-config`. Blocks while it does.
    ///
    /// # Errors
    /// If the file, or one that it names, cannot be used.
    pub fn read(path: &Path) -> Result<Self, WebConfigError> {
        Ok(Self { path: Some(path.to_owned()), current: RwLock::new(Arc::new(Loaded::read(path)?)) })
    }

    /// Makes a configuration with the hashes of bearer tokens, and without a file.
    #[cfg(test)]
    pub(super) fn with_tokens(tokens: Vec<TokenHash>) -> Self {
        let loaded = Loaded { access: Access::new(BTreeMap::new(), tokens), ..Loaded::open().unwrap() };
        Self { path: None, current: RwLock::new(Arc::new(loaded)) }
    }

    pub(super) fn current(&self) -> Arc<Loaded> {
        self.current.read().clone()
    }

    /// Requests to workers with this configuration.
    pub fn peers(&self) -> PeerClient {
        self.current().peers.clone()
    }

    /// Reads the files again and again. While they cannot be used, their last contents hold.
    pub(super) async fn follow(self: Arc<Self>) -> Infallible {
        let Some(path) = self.path.clone() else { return std::future::pending().await };
        let mut problem = None;
        loop {
            sleep(RELOAD).await;
            let file = path.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || Loaded::read(&file)).await else { continue };
            match read {
                Ok(read) => {
                    problem = None;
                    if read.fingerprint != self.current().fingerprint {
                        *self.current.write() = Arc::new(read);
                        info!(file = %path.display(), "the web configuration was read again");
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    if problem.as_ref() != Some(&text) {
                        warn!(error = %text, "the web configuration cannot be used; the last one stays");
                        problem = Some(text);
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for WebConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WebConfig").field("path", &self.path).finish_non_exhaustive()
    }
}
