use std::collections::BTreeMap;
use std::time::Duration;

use kube::{Client, Config, Error};

use crate::failure::Failure;

/// Timeout of one call to the API server, which normally answers in milliseconds.
const CALL: Duration = Duration::from_secs(10);

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const PROGRAM: &str = "s1-forwarder";
/// Not `app.kubernetes.io/instance`: by that label Argo CD takes objects for its own, and prunes them.
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
        let mut config = Config::infer().await.map_err(|error| access(&error))?;
        config.connect_timeout = Some(CALL);
        config.write_timeout = Some(CALL);
        // Callers decide whether and when to try again.
        config.default_retry = false;
        let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).map_err(|error| access(&error))?;
        Ok(Self { client, namespace })
    }
}

impl KubernetesError {
    /// Awaits a call, at most for its default timeout.
    ///
    /// # Errors
    /// The error of the call, or the timeout.
    pub async fn of<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Self> {
        Self::within(CALL, call).await
    }

    /// Awaits a call, at most for `timeout`.
    ///
    /// # Errors
    /// The error of the call, or the timeout.
    pub async fn within<T>(timeout: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Self> {
        match tokio::time::timeout(timeout, call).await {
            Ok(answer) => answer.map_err(Self::from),
            Err(_) => Err(Self::no_answer(timeout)),
        }
    }

    pub fn no_answer(timeout: Duration) -> Self {
        Self::Unreachable(format!("no answer within {} ms", timeout.as_millis()))
    }

    /// The object changed after it was read, or exists already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// The call may succeed later. That includes refusals: an API server that just started does not know all roles yet.
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
            KubernetesError::Access(_) => Self::Misconfigured(reason),
            KubernetesError::Refused { code: 401, .. } => Self::Unauthorized(reason),
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

/// The texts of an error and its causes, without repetitions.
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

/// The labels of all objects of an installation. Objects are listed by `kind`.
pub fn object_labels(instance: &str, kind: &str) -> BTreeMap<String, String> {
    let labels = [(MANAGED_BY, PROGRAM), (INSTANCE, instance), (KIND, kind)];
    labels.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// The label selector for all objects of a kind.
pub fn selector(instance: &str, kind: &str) -> String {
    format!("{MANAGED_BY}={PROGRAM},{INSTANCE}={instance},{KIND}={kind}")
}
