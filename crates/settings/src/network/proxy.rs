//! The proxy of a client, from settings or from the environment.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::no_proxy::NoProxy;
use crate::values::kind::SettingKind;

/// The variables that name a proxy. The first one of a pair hides the second one.
const HTTP_PROXY: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS_PROXY: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const ALL_PROXY: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
const PROXY_VARIABLES: [[&str; 2]; 3] = [HTTP_PROXY, HTTPS_PROXY, ALL_PROXY];

/// The URL of a proxy: `http://HOST:PORT` or `https://…`, optionally with user name and password. Printing omits both.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy(Box<url::Url>);

/// The text is not the URL of a proxy. Quotes nothing of the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a proxy; write it as http://HOST:PORT or https://HOST:PORT")]
pub struct ProxyError;

/// Returns whether a URL begins with a scheme twice, as in `https://https://HOST`: its host is then called `https`.
pub fn has_two_schemes(url: &url::Url) -> bool {
    matches!(url.host_str(), Some("http" | "https")) && url.path().starts_with("//")
}

impl Proxy {
    /// Returns the complete URL with the password, for the HTTP client only.
    pub(crate) fn url(&self) -> &url::Url {
        &self.0
    }

    /// Returns the password, and its form in the header: a proxy that refuses them may repeat either.
    pub fn secrets(&self) -> Vec<SecretString> {
        let Some(password) = self.0.password() else { return Vec::new() };
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = decoded(self.0.username());
        let password = decoded(password);
        let header = BASE64_STANDARD.encode(format!("{user}:{password}"));
        vec![SecretString::from(password), SecretString::from(header)]
    }
}

/// Returns the [secrets](Proxy::secrets) of every proxy that the process's environment names. The environment does not
/// change.
pub(crate) fn secrets_of_environment() -> Vec<SecretString> {
    static SECRETS: LazyLock<Vec<SecretString>> = LazyLock::new(|| {
        let values = PROXY_VARIABLES.into_iter().flatten().filter_map(|name| std::env::var(name).ok());
        values.filter_map(|value| value.parse::<Proxy>().ok()).flat_map(|proxy| proxy.secrets()).collect()
    });
    SECRETS.clone()
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let with_scheme = if text.contains("://") { Cow::Borrowed(text) } else { Cow::Owned(format!("http://{text}")) };
        let url = url::Url::parse(&with_scheme).map_err(|_| ProxyError)?;
        let usable = !has_two_schemes(&url)
            && matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty());
        if usable { Ok(Self(Box::new(url))) } else { Err(ProxyError) }
    }
}

/// Prints the URL without user name and password.
impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({self})")
    }
}

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProxyVisitor)
    }
}

struct ProxyVisitor;

impl de::Visitor<'_> for ProxyVisitor {
    type Value = Proxy;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the address of a proxy, such as http://proxy.example:3128")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Proxy, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for Proxy {
    fn schema_name() -> Cow<'static, str> {
        "Proxy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "proxy URL",
            "x-kind": SettingKind::Proxy,
            "type": "string",
            "description": "Address of a proxy: http://HOST:PORT.",
        })
    }
}

/// The proxy that a request goes through. Printing names the setting that says so, and no user name or password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedProxy {
    /// Scheme, host and port.
    address: String,
    /// Environment variable that names the proxy; `None` for the key `proxy`.
    variable: Option<&'static str>,
}

impl UsedProxy {
    pub(crate) fn of_key(proxy: &Proxy) -> Self {
        Self { address: proxy.to_string(), variable: None }
    }

    /// Returns what the HTTP client takes from the process's environment for this URL.
    pub(crate) fn of_environment(url: &url::Url) -> Option<Self> {
        Some(ProxyVariables::of_environment().find(url)?.used())
    }

    /// Returns what to change if the proxy is the wrong one.
    pub(crate) fn advice(&self) -> String {
        match self.variable {
            Some(name) => format!("correct {name}, or except the host in NO_PROXY"),
            None => "correct `proxy`".to_owned(),
        }
    }
}

/// Written as `http://proxy.example:3128 (HTTPS_PROXY)`.
impl fmt::Display for UsedProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(name) => write!(formatter, "{} ({name})", self.address),
            None => write!(formatter, "{} (`proxy`)", self.address),
        }
    }
}

/// The proxies that environment variables name.
#[derive(Clone)]
pub(crate) struct ProxyVariables {
    /// The proxies for one scheme come first.
    proxies: Vec<NamedProxy>,
    exceptions: NoProxy,
}

#[derive(Clone)]
pub(crate) struct NamedProxy {
    variable: &'static str,
    /// Scheme of the requests; `None` for all schemes.
    scheme: Option<&'static str>,
    /// URL with the password.
    url: url::Url,
}

impl ProxyVariables {
    /// Returns the variables, read once: the environment of a process does not change.
    pub fn of_environment() -> &'static Self {
        static VARIABLES: LazyLock<ProxyVariables> =
            LazyLock::new(|| ProxyVariables::read(|name| std::env::var(name).ok()));
        &VARIABLES
    }

    /// Reads the variables. The first variable of each pair hides the second one, even if it is empty.
    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        // Web servers set this variable for programs whose HTTP_PROXY could come from a request.
        if variable("REQUEST_METHOD").is_some() {
            return Self { proxies: Vec::new(), exceptions: NoProxy::default() };
        }
        let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, variable(name)?)));
        let of_schemes = [(HTTP_PROXY, Some("http")), (HTTPS_PROXY, Some("https")), (ALL_PROXY, None)];
        let proxies = of_schemes.into_iter().filter_map(|(names, scheme)| {
            let (variable, value) = first(names)?;
            Some(NamedProxy { variable, scheme, url: proxy_url(&value)? })
        });
        let exceptions = first(NO_PROXY).map(|(_, hosts)| NoProxy::parse(&hosts)).unwrap_or_default();
        Self { proxies: proxies.collect(), exceptions }
    }

    pub fn is_empty(&self) -> bool {
        self.proxies.is_empty()
    }

    /// Returns the proxy for this URL, unless `NO_PROXY` has its host.
    fn find(&self, url: &url::Url) -> Option<&NamedProxy> {
        if self.exceptions.contains(url) { None } else { self.for_scheme(url.scheme()) }
    }

    /// Returns the proxy's URL as the HTTP client wants it, with the password.
    pub fn url_for(&self, url: &url::Url) -> Option<url::Url> {
        Some(self.find(url)?.url.clone())
    }

    fn for_scheme(&self, scheme: &str) -> Option<&NamedProxy> {
        self.proxies.iter().find(|proxy| proxy.scheme.is_none_or(|only| only == scheme))
    }

    /// Returns the hosts of all proxies, whatever is excepted.
    pub fn hosts(&self) -> Vec<String> {
        let used = ["http", "https"].into_iter().filter_map(|scheme| self.for_scheme(scheme));
        used.filter_map(|proxy| Some(proxy.url.host_str()?.to_owned())).collect()
    }
}

impl NamedProxy {
    fn used(&self) -> UsedProxy {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let address = format!("{}://{}{port}", self.url.scheme(), self.url.host_str().unwrap_or_default());
        UsedProxy { address, variable: Some(self.variable) }
    }
}

/// Reads the URL in a variable. An empty value is none.
fn proxy_url(value: &str) -> Option<url::Url> {
    let with_scheme = if value.contains("://") { Cow::Borrowed(value) } else { Cow::Owned(format!("http://{value}")) };
    let url = url::Url::parse(&with_scheme).ok()?;
    let is_known = matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h");
    Some(url).filter(|url| is_known && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_that_leads_to_a_proxy_is_named_and_its_password_is_not() {
        let used = |url: &str, variables: &[(&str, &str)]| {
            let find =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
            ProxyVariables::read(find).find(&url.parse().unwrap()).map(|proxy| proxy.used().to_string())
        };
        let https = ("HTTPS_PROXY", "http://user:canary@127.0.0.1:2");
        let all = ("all_proxy", "proxy.example:3128");
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(used("https://acme.example/x", &[https, all]), found("http://127.0.0.1:2 (HTTPS_PROXY)"));
        assert_eq!(used("http://acme.example/x", &[https, all]), found("http://proxy.example:3128 (all_proxy)"));
        assert_eq!(used("http://[::1]:80/", &[("http_proxy", "https://p")]), found("https://p (http_proxy)"));
        assert_eq!(used("http://acme.example/x", &[https]), None);
        assert_eq!(used("https://acme.example/x", &[https, ("no_proxy", "example")]), None);
        assert_eq!(used("https://acme.example/x", &[https, ("REQUEST_METHOD", "GET")]), None);
        // An empty variable is no proxy, and hides the variable in lower case.
        let hidden = ("https_proxy", "http://hidden");
        assert_eq!(used("https://acme.example/x", &[("HTTPS_PROXY", ""), hidden]), None);
    }

    #[test]
    fn the_hosts_of_all_proxies_are_known_whatever_is_excepted() {
        let hosts = |variables: &[(&str, &str)]| {
            let find =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
            ProxyVariables::read(find).hosts()
        };
        let https = ("HTTPS_PROXY", "http://user:canary@Proxy.example:3128");
        assert_eq!(
            hosts(&[https, ("all_proxy", "other.example"), ("NO_PROXY", "*")]),
            ["other.example", "proxy.example"]
        );
        assert_eq!(hosts(&[https]), ["proxy.example"]);
        assert_eq!(hosts(&[]), <[&str; 0]>::default());
    }

    #[test]
    fn a_password_in_the_address_is_used_but_never_printed() {
        let proxy: Proxy = "http://user:canary@proxy.example:3128".parse().unwrap();
        assert_eq!(proxy.url().password(), Some("canary"));
        let printed = format!("{proxy} {proxy:?} {}", serde_json::to_string(&proxy).unwrap());
        assert!(printed.contains("http://proxy.example:3128") && !printed.contains("canary"), "{printed}");
        assert!("http://http://proxy.example:3128".parse::<Proxy>().is_err());
        let error = serde_json::from_str::<Proxy>("\"ftp://user:canary@h\"").unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }
}
