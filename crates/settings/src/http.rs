use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use sha2::{Digest, Sha256};
use url::Url;

use super::pin::PinnedCertificates;
use super::proxy::ProxyVariables;
use super::reachable::{NotReachable, Reach, Resolver};
use super::read_file::read_file;
use super::request_error::innermost_cause;
use super::{Fingerprint, Period, Proxies, Proxy, RequestWay, Tls, TlsFile};

/// The settings of an HTTP client. Equal settings share a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpSettings {
    pub tls: Tls,
    /// Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY of the environment.
    pub proxy: Option<Proxy>,
    /// Timeout of a complete request.
    pub timeout: Period,
    /// Where requests may go.
    pub reach: Reach,
}

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

/// A slower handshake will not succeed. The rest of the timeout is for the request.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the usual 60 s between polls, so that a quiet lane keeps its connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Larger than the root certificates of any system.
const MAX_TLS_FILE: usize = 1024 * 1024;
/// Many lanes may use one sink's host. Consoles need one or two connections.
const IDLE_PER_HOST: usize = 32;

/// The clients that were asked for last are kept without a user: those of token endpoints, which are asked once an
/// hour, and those of lanes that start again. A client takes 200 KB, so a file that is edited again and again must not
/// leave one for each of its former settings.
const RECENT: usize = 16;

/// The clients that are in use, and a few more.
#[derive(Default)]
struct Clients {
    by_settings: HashMap<HttpSettings, SharedClient>,
    /// The newest last.
    recent: VecDeque<Arc<reqwest::Client>>,
}

struct SharedClient {
    /// A hash of the `tls:` files that the client was built from.
    files: [u8; 32],
    client: Weak<reqwest::Client>,
}

static CLIENTS: LazyLock<Mutex<Clients>> = LazyLock::new(Mutex::default);

impl Clients {
    fn get(&mut self, settings: &HttpSettings, files: &TlsFiles) -> Result<Arc<reqwest::Client>, ClientError> {
        let known = self.by_settings.get(settings).filter(|shared| shared.files == files.fingerprint);
        let client = match known.and_then(|shared| shared.client.upgrade()) {
            Some(client) => client,
            None => {
                let client = Arc::new(settings.build(files)?);
                // Only when the map would grow: the search takes time proportional to the number of clients.
                if self.by_settings.len() == self.by_settings.capacity() {
                    self.by_settings.retain(|_, shared| shared.client.strong_count() > 0);
                }
                let shared = SharedClient { files: files.fingerprint, client: Arc::downgrade(&client) };
                self.by_settings.insert(settings.clone(), shared);
                client
            }
        };
        self.recent.retain(|recent| !Arc::ptr_eq(recent, &client));
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(client.clone());
        Ok(client)
    }
}

/// Selects the cryptography provider of TLS for this process. Later calls have no effect.
pub fn install_crypto_provider() {
    // An error means that a provider was installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl HttpSettings {
    /// The client for these settings. Equal settings get one client, until the contents of the `tls:` files change. It
    /// is gone soon after its last user: keep what this returns, and not only a clone of the client. It does not follow
    /// redirects, and does not decompress responses: callers request gzip and limit the inflated size.
    ///
    /// # Errors
    /// If a file of `tls:` cannot be read or is invalid.
    pub fn client(&self) -> Result<Arc<reqwest::Client>, ClientError> {
        let files = TlsFiles::read(&self.tls)?;
        CLIENTS.lock().get(self, &files)
    }

    /// How the client's requests travel.
    pub fn way(&self) -> RequestWay<'_> {
        let proxies = self.proxy.as_ref().map_or(Proxies::Environment, Proxies::Key);
        RequestWay { proxies, timeout: self.timeout.0 }
    }

    /// Whether a request may go there. An address in place of a name is not resolved, so that nothing else sees it.
    ///
    /// # Errors
    /// If the settings are a tenant's, and may not reach the address.
    pub fn may_reach(&self, url: &Url) -> Result<(), NotReachable> {
        self.reach.check(url)?;
        let host = url.host_str().unwrap_or_default();
        if self.operators_proxies().iter().any(|proxy| proxy == host) && self.way().proxy(url).is_none() {
            return Err(NotReachable::Proxy { host: host.to_owned() });
        }
        Ok(())
    }

    /// The hosts of the proxies that a tenant's settings use and the operator names.
    fn operators_proxies(&self) -> Vec<String> {
        match (&self.reach, &self.proxy) {
            (Reach::Everywhere, _) | (Reach::Tenant { is_operators_proxy: false, .. }, Some(_)) => Vec::new(),
            (_, Some(proxy)) => proxy.url().host_str().map(str::to_owned).into_iter().collect(),
            (_, None) => ProxyVariables::of_environment().hosts(),
        }
    }

    fn build(&self, files: &TlsFiles) -> Result<reqwest::Client, ClientError> {
        let mut builder = common_builder()
            .timeout(self.timeout.0)
            .connect_timeout(self.timeout.0.min(CONNECT_TIMEOUT))
            .pool_max_idle_per_host(IDLE_PER_HOST);
        if let Some((path, pem)) = &files.ca {
            builder = builder.tls_certs_only(authorities(path, pem)?);
        }
        builder = match files.identity()? {
            identity if !self.tls.pin_sha256.is_empty() => {
                let mut config = tls_config(&self.tls.pin_sha256, None, identity)?;
                config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
                builder.tls_backend_preconfigured(config)
            }
            Some(identity) => builder.identity(identity.reqwest),
            None => builder,
        };
        builder =
            builder.dns_resolver(Arc::new(Resolver { reach: self.reach.clone(), proxies: self.operators_proxies() }));
        let variables = ProxyVariables::of_environment();
        builder = match &self.proxy {
            Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy.url().clone()).map_err(build_error)?),
            None if variables.is_empty() => builder,
            // The client itself would read NO_PROXY in a way of its own.
            None => builder.proxy(reqwest::Proxy::custom(|url| variables.url_for(url))),
        };
        builder.build().map_err(build_error)
    }
}

/// The TLS library's settings for connections that do not carry HTTP. The files are read now.
///
/// # Errors
/// If a file of `tls:` cannot be read or is invalid.
pub(super) fn tls_client(tls: &Tls) -> Result<ClientConfig, ClientError> {
    let files = TlsFiles::read(tls)?;
    let roots = match &files.ca {
        Some((path, pem)) => Some(roots(Role::Ca, path, certificates(Role::Ca, path, pem)?)?),
        None => None,
    };
    tls_config(&tls.pin_sha256, roots, files.identity()?)
}

/// The TLS client of PEM texts: trusted authorities, without which those of the system are trusted, and a client
/// certificate with its key.
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

/// Trusts servers by their fingerprints, else by `roots`, else by the system's authorities.
fn tls_config(
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

/// Metadata servers answer at once. Where there is none, nobody answers.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How the requests of [`local_client`] travel.
pub const LOCAL_WAY: RequestWay<'static> = RequestWay { proxies: Proxies::None, timeout: LOCAL_TIMEOUT };

/// The client for servers on this machine and its link, such as the metadata servers of clouds. It uses no proxy.
///
/// # Errors
/// If the system has no root certificates.
pub fn local_client() -> Result<reqwest::Client, ClientError> {
    static CLIENT: Mutex<Option<reqwest::Client>> = Mutex::new(None);
    let mut client = CLIENT.lock();
    if let Some(client) = &*client {
        return Ok(client.clone());
    }
    let builder = common_builder().dns_resolver(Arc::new(Resolver { reach: Reach::Everywhere, proxies: Vec::new() }));
    let built = builder.timeout(LOCAL_TIMEOUT).no_proxy().build().map_err(build_error)?;
    *client = Some(built.clone());
    Ok(built)
}

/// What all clients have in common. They send a request again by themselves only if the server says that it has not
/// processed it, as with HTTP/2 before a planned close (GOAWAY without an error). Callers decide about other failures.
pub(super) fn common_builder() -> reqwest::ClientBuilder {
    install_crypto_provider();
    reqwest::Client::builder()
        .user_agent(concat!("s1-forwarder/", env!("CARGO_PKG_VERSION")))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
}

/// A client certificate, in the form of either library.
pub(super) struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    reqwest: reqwest::Identity,
}

/// The innermost cause: the text of the error itself is just "builder error".
pub(super) fn build_error(error: reqwest::Error) -> ClientError {
    ClientError::Build(innermost_cause(&error))
}

pub(super) fn read_pem(role: Role, path: &Path) -> Result<Vec<u8>, ClientError> {
    read_file(path, MAX_TLS_FILE).map_err(|source| ClientError::Unreadable { role, path: path.to_owned(), source })
}

type PemFile = Option<(PathBuf, Vec<u8>)>;

/// The current contents of the `tls:` files.
struct TlsFiles {
    ca: PemFile,
    cert: PemFile,
    key: PemFile,
    fingerprint: [u8; 32],
}

impl TlsFiles {
    fn read(tls: &Tls) -> Result<Self, ClientError> {
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

    /// The client certificate, if there is one.
    fn identity(&self) -> Result<Option<Identity>, ClientError> {
        match (&self.cert, &self.key) {
            (Some((cert_path, cert)), Some((key_path, key))) => {
                Identity::read(cert_path, cert, key_path, key).map(Some)
            }
            _ => Ok(None),
        }
    }
}

pub(super) fn certificates(
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

/// The certificates of a file, each of which can be an authority.
pub(super) fn roots(
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

fn authorities(path: &Path, contents: &[u8]) -> Result<Vec<reqwest::Certificate>, ClientError> {
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
    use super::super::PrivateDestinations;
    use super::*;

    fn settings(tls: Tls) -> HttpSettings {
        HttpSettings { tls, proxy: None, timeout: Period(Duration::from_secs(30)), reach: Reach::Everywhere }
    }

    /// What `openssl x509 -req` makes without extensions. The key is not to blame.
    #[test]
    fn a_client_certificate_of_version_1_is_named() {
        let certificate = include_bytes!("../../../tests/data/tls/version-1.pem");
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let read = Identity::read(Path::new("cli.pem"), certificate, Path::new("cli.key"), key.as_bytes());
        let error = read.err().unwrap().to_string();
        assert!(error.contains("cli.pem has X.509 version 1") && !error.contains("key"), "{error}");
    }

    /// The `token_uri` of a service account's key may name such an address, and no check of the file has seen it.
    #[test]
    fn a_tenants_request_does_not_go_to_a_private_address() {
        let own = settings(Tls::default());
        let reach = Reach::Tenant { private: PrivateDestinations::default(), is_operators_proxy: false };
        let tenants = HttpSettings { reach, ..own.clone() };
        for text in ["http://169.254.169.254/x", "https:10.0.0.1", "http://[::1]:80/", "http://2130706433/"] {
            let url = text.parse().unwrap();
            assert_eq!(own.may_reach(&url), Ok(()), "{text}");
            let refused = tenants.may_reach(&url).unwrap_err().to_string();
            assert!(refused.contains("not a public address"), "{text}: {refused}");
        }
        for text in ["https://8.8.8.8/", "https://siem.example/"] {
            assert_eq!(tenants.may_reach(&text.parse().unwrap()), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_tenants_own_proxy_is_no_proxy_of_the_operator() {
        let tenants = |is_operators_proxy| HttpSettings {
            proxy: Some("http://Proxy.example:3128".parse().unwrap()),
            reach: Reach::Tenant { private: PrivateDestinations::default(), is_operators_proxy },
            ..settings(Tls::default())
        };
        assert_eq!(tenants(true).operators_proxies(), ["proxy.example"]);
        assert_eq!(tenants(false).operators_proxies(), <[&str; 0]>::default());
        let operators = HttpSettings { reach: Reach::Everywhere, ..tenants(true) };
        assert_eq!(operators.operators_proxies(), <[&str; 0]>::default(), "all names are resolved alike");
        // Everything goes through it.
        assert_eq!(tenants(true).may_reach(&"https://proxy.example/".parse().unwrap()), Ok(()));
    }

    #[test]
    fn equal_settings_share_a_client() {
        let [one, two] =
            [settings(Tls::default()), settings(Tls::default())].map(|settings| settings.client().unwrap());
        assert!(Arc::ptr_eq(&one, &two));
    }

    /// A tenant may edit a file each second.
    #[test]
    fn clients_of_settings_that_are_gone_are_gone_too() {
        let with_timeout =
            |seconds| HttpSettings { timeout: Period(Duration::from_secs(seconds)), ..settings(Tls::default()) };
        let mut clients = Clients::default();
        let mut get = |seconds| {
            let settings = with_timeout(seconds);
            clients.get(&settings, &TlsFiles::read(&settings.tls).unwrap()).unwrap()
        };
        let used = get(1);
        let built: Vec<_> = (2..200).map(|seconds| Arc::downgrade(&get(seconds))).collect();
        let kept = built.iter().filter(|client| client.strong_count() > 0).count();
        assert_eq!(kept, RECENT);
        assert!(Arc::ptr_eq(&used, &get(1)), "it is in use");
        assert!(built[197].upgrade().is_some_and(|newest| Arc::ptr_eq(&newest, &get(199))));
        assert!(clients.by_settings.len() < 100, "{}", clients.by_settings.len());
    }

    #[test]
    fn each_unusable_file_has_its_own_message() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "no pem at all").unwrap();
        let missing = directory.path().join("missing.pem");
        let key = directory.path().join("key.pem");
        std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\ncanary!!\n-----END PRIVATE KEY-----\n").unwrap();
        let pin = "ab".repeat(32).parse().unwrap();
        for (tls, part) in [
            (Tls { ca_file: Some(missing.clone().into()), ..Tls::default() }, "cannot read the ca_file"),
            (Tls { ca_file: Some(empty.clone().into()), ..Tls::default() }, "holds no certificate in PEM form"),
            (Tls { cert_file: Some(empty.clone().into()), ..Tls::default() }, "the key_file is missing"),
            (Tls { key_file: Some(empty.clone().into()), ..Tls::default() }, "the cert_file is missing"),
            (
                Tls { ca_file: Some(empty.clone().into()), pin_sha256: vec![pin], ..Tls::default() },
                "`pin_sha256` excludes `ca_file`",
            ),
            (Tls { cert_file: Some(empty.into()), key_file: Some(key.into()), ..Tls::default() }, "the cert_file"),
        ] {
            let error = settings(tls).client().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(error.to_string().contains(part) && !text.contains("canary"), "{text}");
        }
    }
}
