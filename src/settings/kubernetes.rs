use std::collections::BTreeMap;
use std::time::Duration;

use kube::{Client, Config, Error};

/// How long one call to the API server may take: it answers in milliseconds, or is not there.
const CALL: Duration = Duration::from_secs(10);

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const PROGRAM: &str = "s1-forwarder";
const INSTANCE: &str = "app.kubernetes.io/instance";
const KIND: &str = "s1-forwarder/kind";

/// A namespace of a Kubernetes cluster, and access to it.
#[derive(Clone)]
pub struct Kubernetes {
    /// Talks to the API server.
    pub client: Client,
    /// Where this program's objects are.
    pub namespace: String,
}

/// A call to the API server that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Neither a kubeconfig nor a pod's service account tells where the API server is.
    #[error("no access to a Kubernetes cluster: {0}")]
    Access(String),
    /// The API server answered so.
    #[error("the API server says {code}: {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// Its own words.
        message: String,
    },
    /// It did not answer, or not in a way that can be read.
    #[error("the API server: {0}")]
    Unreachable(String),
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Kubernetes").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Kubernetes {
    /// With the kubeconfig that `KUBECONFIG` or the home directory has, else with the pod's service account. Without a
    /// namespace: the one that this configuration names.
    ///
    /// # Errors
    /// When there is no such configuration. The API server is not asked yet.
    pub async fn connect(namespace: Option<&str>) -> Result<Self, KubernetesError> {
        let access = |error: &dyn std::error::Error| KubernetesError::Access(chain(error));
        let mut config = Config::infer().await.map_err(|error| access(&error))?;
        config.connect_timeout = Some(CALL);
        config.write_timeout = Some(CALL);
        // Whether and when to try again is decided by whoever asked.
        config.default_retry = false;
        let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).map_err(|error| access(&error))?;
        Ok(Self { client, namespace })
    }
}

impl KubernetesError {
    /// The answer to a call, which may take no longer than calls do.
    ///
    /// # Errors
    /// What the call's own error means.
    pub async fn of<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Self> {
        Self::within(CALL, call).await
    }

    /// The same with less patience.
    ///
    /// # Errors
    /// What the call's own error means.
    pub async fn within<T>(patience: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Self> {
        match tokio::time::timeout(patience, call).await {
            Ok(answer) => answer.map_err(Self::from),
            Err(_) => Err(Self::Unreachable(format!("no answer within {} ms", patience.as_millis()))),
        }
    }

    /// The object changed since it was read, or is there already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// The same may succeed later. Refusals too: an API server that has just begun does not know yet who may do what.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Access(_))
    }

    /// There is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
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

/// An error and what it came from, each said once.
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

/// The labels of every object of an installation. `kind` says what it is for, and is what they are listed by.
pub fn object_labels(instance: &str, kind: &str) -> BTreeMap<String, String> {
    let labels = [(MANAGED_BY, PROGRAM), (INSTANCE, instance), (KIND, kind)];
    labels.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// The label selector of all objects of a kind.
pub fn selector(instance: &str, kind: &str) -> String {
    format!("{MANAGED_BY}={PROGRAM},{INSTANCE}={instance},{KIND}={kind}")
}
