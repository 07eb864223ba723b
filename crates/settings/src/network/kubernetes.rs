//! The calls to the API server of Kubernetes, and the labels of the objects that the program makes.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Error};
use s1_forwarder_failure::Failure;
use url::Url;

use super::no_proxy::NoProxy;
use super::proxy::{Proxy, ProxyError};

/// Timeout of one call to the API server, which normally answers in milliseconds.
const CALL: Duration = Duration::from_secs(10);

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const PROGRAM: &str = "s1-forwarder";
/// Label of the installation. It is not `app.kubernetes.io/instance`: by that label Argo CD takes objects for its own,
/// and prunes them.
const INSTANCE: &str = "s1-forwarder/instance";
const KIND: &str = "s1-forwarder/kind";

#[derive(Clone)]
pub struct Kubernetes {
    pub client: Client,
    /// The namespace of this program's objects.
    pub namespace: String,
}

/// A failed call to the API server.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// There is no kubeconfig and no service account of a pod.
    #[error("no access to a Kubernetes cluster: {0}")]
    Access(String),
    /// The API server answered with an error.
    #[error("the API server answered {code}: {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        message: String,
    },
    /// No response, or one that cannot be parsed.
    #[error("the API server: {0}")]
    Unreachable(String),
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Kubernetes").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Kubernetes {
    /// Uses the kubeconfig of `KUBECONFIG` or the home directory, else the service account of the pod. The default
    /// namespace is the one in that configuration.
    ///
    /// # Errors
    /// If there is no such configuration. No request is sent yet.
    pub async fn connect(namespace: Option<&str>) -> Result<Self, KubernetesError> {
        let access = |error: &dyn std::error::Error| KubernetesError::Access(chain(error));
        let of_kubeconfig = of_kubeconfig().await;
        let of_kubeconfig = of_kubeconfig.map_err(|error| {
            KubernetesError::Access(format!("`proxy-url` of the kubeconfig, or HTTPS_PROXY: {error}"))
        })?;
        let mut config = match of_kubeconfig {
            Some(config) => config,
            None => Config::infer().await.map_err(|error| access(&error))?,
        };
        config.connect_timeout = Some(CALL);
        config.write_timeout = Some(CALL);
        // Callers decide whether and when to try again.
        config.default_retry = false;
        let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).map_err(|error| access(&error))?;
        Ok(Self { client, namespace })
    }

    /// Returns whether the namespace exists. False only if the API server says that there is no such namespace: workers
    /// have no right to ask.
    pub async fn has_namespace(&self) -> bool {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        !matches!(KubernetesError::of(namespaces.get_opt(&self.namespace)).await, Ok(None))
    }
}

/// Reads the kubeconfig of `KUBECONFIG` or the home directory. Returns `None` if there is no usable one: `infer` then
/// looks for the service account of a pod, and says what is wrong with either.
async fn of_kubeconfig() -> Result<Option<Config>, ProxyError> {
    let Ok(kubeconfig) = Kubeconfig::read() else { return Ok(None) };
    let named = named_proxy(&kubeconfig);
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let Ok(mut config) = config else { return Ok(None) };
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let environment = variable("HTTPS_PROXY").or_else(|| variable("https_proxy"));
    let exceptions = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
    config.proxy_url = proxy_to(&config.cluster_url, named.as_deref(), environment.as_deref(), &exceptions)?;
    Ok(Some(config))
}

/// Returns `proxy-url` of the current context's cluster.
fn named_proxy(kubeconfig: &Kubeconfig) -> Option<String> {
    let context = kubeconfig.contexts.iter().find(|context| Some(&context.name) == kubeconfig.current_context.as_ref());
    let name = &context?.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == *name)?;
    cluster.cluster.as_ref()?.proxy_url.clone().filter(|text| !text.is_empty())
}

/// Returns the proxy to an API server as kubectl chooses it: the kubeconfig's proxy, or else the environment's, unless
/// `NO_PROXY` has the API server. kube, in contrast, looks in `NO_PROXY` for the proxy itself.
fn proxy_to(
    server: &Uri,
    named: Option<&str>,
    environment: Option<&str>,
    exceptions: &str,
) -> Result<Option<Uri>, ProxyError> {
    let is_excepted = Url::parse(&server.to_string()).is_ok_and(|url| NoProxy::parse(exceptions).contains(&url));
    let of_environment = if is_excepted { None } else { environment };
    let Some(text) = named.or(of_environment) else { return Ok(None) };
    let proxy: Proxy = text.parse()?;
    proxy.url().as_str().parse().map(Some).map_err(|_| ProxyError)
}

impl KubernetesError {
    /// Awaits a call, at most for its default timeout.
    ///
    /// # Errors
    /// If the call fails, or takes too long.
    pub async fn of<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Self> {
        Self::within(CALL, call).await
    }

    /// Awaits a call, at most for `timeout`.
    ///
    /// # Errors
    /// If the call fails, or takes too long.
    pub async fn within<T>(timeout: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Self> {
        match tokio::time::timeout(timeout, call).await {
            Ok(answer) => answer.map_err(Self::from),
            Err(_) => Err(Self::no_answer(timeout)),
        }
    }

    pub fn no_answer(timeout: Duration) -> Self {
        Self::Unreachable(format!("no answer within {} ms", timeout.as_millis()))
    }

    /// Returns whether the object changed after it was read, or exists already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// Returns whether the call may succeed later. That includes refusals: an API server that just started does not
    /// know all roles yet.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Access(_))
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }
}

impl From<KubernetesError> for Failure {
    fn from(error: KubernetesError) -> Self {
        let reason = error.to_string();
        match error {
            KubernetesError::Access(_) => Self::misconfigured(reason),
            KubernetesError::Refused { code: 401, .. } => Self::unauthorized(reason),
            _ => Self::transient(reason),
        }
    }
}

impl From<Error> for KubernetesError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(status) => Self::Refused { code: status.code, message: status.message },
            other => Self::Unreachable(chain(&other)),
        }
    }
}

/// Returns the texts of an error and its causes, without repetitions.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// Returns the labels of all objects of an installation. Objects are listed by `kind`.
pub fn object_labels(instance: &str, kind: &str) -> BTreeMap<String, String> {
    let labels = [(MANAGED_BY, PROGRAM), (INSTANCE, instance), (KIND, kind)];
    labels.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// Returns the label selector for all objects of a kind.
pub fn selector(instance: &str, kind: &str) -> String {
    format!("{MANAGED_BY}={PROGRAM},{INSTANCE}={instance},{KIND}={kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_leads_to_the_api_servers_that_no_proxy_does_not_have() {
        let server = |text: &'static str| Uri::from_static(text);
        let near = server("https://10.1.2.3:6443");
        let far = server("https://api.cloud.example");
        let environment = Some("proxy.corp.example:3128");
        let chosen = |server: &Uri, named: Option<&str>, exceptions: &str| {
            proxy_to(server, named, environment, exceptions).unwrap().map(|proxy| proxy.to_string())
        };
        let proxy = Some("http://proxy.corp.example:3128/".to_owned());
        assert_eq!(chosen(&far, None, ""), proxy);
        assert_eq!(chosen(&near, None, ""), proxy);
        for exceptions in ["10.0.0.0/8", "localhost, 10.1.2.3,", "*"] {
            assert_eq!(chosen(&near, None, exceptions), None, "{exceptions}");
        }
        assert_eq!(chosen(&far, None, ".cloud.example"), None);
        // The proxy is in the network that needs none.
        assert_eq!(chosen(&far, None, ".corp.example,10.0.0.0/8"), proxy);
        // kubectl asks neither variable where the kubeconfig names a proxy.
        assert_eq!(
            chosen(&near, Some("https://user:canary@other:3128"), "*").as_deref(),
            Some("https://user:canary@other:3128/")
        );
        assert_eq!(proxy_to(&near, None, None, "").unwrap(), None);
        let error = proxy_to(&near, Some("socks5://user:canary@other"), None, "").unwrap_err().to_string();
        assert!(error.contains("http://HOST:PORT") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn the_proxy_of_a_kubeconfig_is_that_of_the_current_cluster() {
        let kubeconfig = Kubeconfig::from_yaml(
            "
apiVersion: v1
kind: Config
current-context: b
clusters:
  - { name: one, cluster: { server: 'https://one', proxy-url: 'http://proxy-one:3128' } }
  - { name: two, cluster: { server: 'https://two', proxy-url: 'http://proxy-two:3128' } }
contexts:
  - { name: a, context: { cluster: one, user: u } }
  - { name: b, context: { cluster: two, user: u } }
",
        );
        let mut kubeconfig = kubeconfig.unwrap();
        assert_eq!(named_proxy(&kubeconfig).as_deref(), Some("http://proxy-two:3128"));
        kubeconfig.current_context = None;
        assert_eq!(named_proxy(&kubeconfig), None);
    }
}

/// A test double: an API server that keeps objects by their names, whatever their kind.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, reason = "only tests call it")]
pub mod double {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use axum::extract::State;
    use axum::http::{Method, StatusCode, Uri};
    use axum::{Json, Router};
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    pub struct ApiServer {
        pub kubernetes: Kubernetes,
        pub objects: Arc<Mutex<BTreeMap<String, Value>>>,
        _server: AbortOnDropHandle<std::io::Result<()>>,
    }

    pub fn name(object: &Value) -> String {
        object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    }

    async fn answer(
        State(objects): State<Arc<Mutex<BTreeMap<String, Value>>>>,
        method: Method,
        uri: Uri,
        body: String,
    ) -> (StatusCode, Json<Value>) {
        let named = uri.path().rsplit('/').next().unwrap_or_default();
        if method == Method::DELETE {
            let status = if objects.lock().remove(named).is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            return (status, Json(json!({ "kind": "Status", "code": status.as_u16(), "reason": "NotFound" })));
        }
        if method != Method::GET {
            let written: Value = serde_json::from_str(&body).unwrap();
            objects.lock().insert(name(&written), written.clone());
            return (StatusCode::OK, Json(written));
        }
        if named == "secrets" {
            let items: Vec<Value> = objects.lock().values().cloned().collect();
            return (
                StatusCode::OK,
                Json(json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items })),
            );
        }
        let found = objects.lock().get(named).cloned();
        let missing = || json!({ "kind": "Status", "code": 404, "reason": "NotFound" });
        let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        (status, Json(found.unwrap_or_else(missing)))
    }

    impl ApiServer {
        pub async fn with(objects: Vec<Value>) -> Self {
            let objects: BTreeMap<_, _> = objects.into_iter().map(|object| (name(&object), object)).collect();
            let objects = Arc::new(Mutex::new(objects));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let app = Router::new().fallback(answer).with_state(objects.clone());
            let server = tokio::spawn(async move { axum::serve(listener, app).await });
            let client = Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
            let kubernetes = Kubernetes { client, namespace: "default".to_owned() };
            Self { kubernetes, objects, _server: AbortOnDropHandle::new(server) }
        }
    }
}
