//! The settings of an HTTP client, and the clients that equal settings share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use url::Url;

use super::address_policy::{AddressPolicy, NotReachable, Resolver};
use super::client_error::{ClientError, build_error};
use super::proxy::Proxy;
use super::proxy::ProxyVariables;
use super::request_way::{CONNECT_TIMEOUT, Proxies, RequestWay};
use super::tls::{Tls, TlsFiles, authorities, tls_config};
use crate::values::period::Period;

/// The settings of an HTTP client. Equal settings share a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpSettings {
    pub tls: Tls,
    /// Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY of the environment.
    pub proxy: Option<Proxy>,
    /// Timeout of a complete request.
    pub timeout: Period,
    /// Where requests may go.
    pub address_policy: AddressPolicy,
}

/// Time for which an idle connection is kept: longer than the usual 60 s between polls, so that a quiet lane keeps its
/// connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Most idle connections to a host. Many lanes may use one sink's host. Consoles need one or two connections.
const IDLE_PER_HOST: usize = 32;

/// Number of clients that are kept without a user: the ones that were asked for last. These are clients of token
/// endpoints, which are asked once an hour, and of lanes that start again. A client takes 200 KB, so a file that is
/// edited again and again must not leave one for each of its former settings.
const RECENT: usize = 16;

/// The clients that are in use, and a few more.
#[derive(Default)]
struct Clients {
    by_settings: HashMap<HttpSettings, SharedClient>,
    /// Clients that were asked for last, with the newest last.
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
                // The map is cleaned only when it would grow: the search takes time proportional to the number of
                // clients.
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
    /// Returns the client for these settings. Equal settings get one client, until the contents of the `tls:` files
    /// change. The client is gone soon after its last user: keep what this returns, and not only a clone of the client.
    /// It does not follow redirects, and does not decompress responses: callers request gzip and limit the inflated
    /// size.
    ///
    /// # Errors
    /// If a file of `tls:` cannot be read or is invalid.
    pub fn client(&self) -> Result<Arc<reqwest::Client>, ClientError> {
        let files = TlsFiles::read(&self.tls)?;
        CLIENTS.lock().get(self, &files)
    }

    /// Returns how the client's requests travel.
    pub fn way(&self) -> RequestWay<'_> {
        let proxies = self.proxy.as_ref().map_or(Proxies::Environment, Proxies::Key);
        RequestWay { proxies, timeout: self.timeout.0 }
    }

    /// Checks that a request may go to `url`. An address in place of a name is not resolved, so that no other check
    /// sees it.
    ///
    /// # Errors
    /// If the settings are a tenant's, and may not reach the address.
    pub fn may_reach(&self, url: &Url) -> Result<(), NotReachable> {
        self.address_policy.check(url)?;
        let host = url.host_str().unwrap_or_default();
        if self.operators_proxies().iter().any(|proxy| proxy == host) && self.way().proxy(url).is_none() {
            return Err(NotReachable::Proxy { host: host.to_owned() });
        }
        Ok(())
    }

    /// Returns the hosts of the proxies that a tenant's settings use and the operator names.
    fn operators_proxies(&self) -> Vec<String> {
        match (&self.address_policy, &self.proxy) {
            (AddressPolicy::Everywhere, _) | (AddressPolicy::Tenant { is_operators_proxy: false, .. }, Some(_)) => {
                Vec::new()
            }
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
        builder = builder.dns_resolver(Arc::new(Resolver {
            address_policy: self.address_policy.clone(),
            proxies: self.operators_proxies(),
        }));
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

/// Timeout of requests to local servers. A metadata server answers at once. Without one, there is no answer.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How the requests of [`local_client`] travel.
pub const LOCAL_REQUEST_WAY: RequestWay<'static> = RequestWay { proxies: Proxies::None, timeout: LOCAL_TIMEOUT };

/// Returns the client for servers on this machine and its link, such as the metadata servers of clouds. It uses no
/// proxy.
///
/// # Errors
/// If the system has no root certificates.
pub fn local_client() -> Result<reqwest::Client, ClientError> {
    static CLIENT: Mutex<Option<reqwest::Client>> = Mutex::new(None);
    let mut client = CLIENT.lock();
    if let Some(client) = &*client {
        return Ok(client.clone());
    }
    let builder = common_builder()
        .dns_resolver(Arc::new(Resolver { address_policy: AddressPolicy::Everywhere, proxies: Vec::new() }));
    let built = builder.timeout(LOCAL_TIMEOUT).no_proxy().build().map_err(build_error)?;
    *client = Some(built.clone());
    Ok(built)
}

/// Returns a builder with what all clients have in common. They send a request again by themselves only if the server
/// says that it has not processed it. HTTP/2 says so before a planned close (GOAWAY without an error). Callers decide
/// about other failures.
pub(crate) fn common_builder() -> reqwest::ClientBuilder {
    install_crypto_provider();
    reqwest::Client::builder()
        .user_agent(concat!("s1-forwarder/", env!("CARGO_PKG_VERSION")))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::address_policy::PrivateDestinations;

    fn settings(tls: Tls) -> HttpSettings {
        HttpSettings {
            tls,
            proxy: None,
            timeout: Period(Duration::from_secs(30)),
            address_policy: AddressPolicy::Everywhere,
        }
    }

    /// The `token_uri` of a service account's key may name such an address, and no check of the file has seen it.
    #[test]
    fn a_tenants_request_does_not_go_to_a_private_address() {
        let own = settings(Tls::default());
        let address_policy =
            AddressPolicy::Tenant { private: PrivateDestinations::default(), is_operators_proxy: false };
        let tenants = HttpSettings { address_policy, ..own.clone() };
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
            address_policy: AddressPolicy::Tenant { private: PrivateDestinations::default(), is_operators_proxy },
            ..settings(Tls::default())
        };
        assert_eq!(tenants(true).operators_proxies(), ["proxy.example"]);
        assert_eq!(tenants(false).operators_proxies(), <[&str; 0]>::default());
        let operators = HttpSettings { address_policy: AddressPolicy::Everywhere, ..tenants(true) };
        assert_eq!(operators.operators_proxies(), <[&str; 0]>::default(), "all names are resolved alike");
        // Everything goes through the proxy.
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
