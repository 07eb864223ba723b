//! Secrets of Kubernetes that `Pipeline` resources name, read from the API server each time that a file would be read.

use std::fmt;
use std::str::FromStr;

use super::name::is_namespace;

/// A key of a Secret in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretObject {
    namespace: String,
    name: String,
    key: String,
}

/// The text is no `NAMESPACE/NAME/KEY`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name and the key of a Secret")]
pub struct SecretObjectError;

impl SecretObject {
    /// Names a key of a Secret. The parts become parts of a request's path, so nothing else may be in them.
    ///
    /// # Errors
    /// If Kubernetes allows no such namespace, name or key.
    pub fn new(namespace: &str, name: &str, key: &str) -> Result<Self, SecretObjectError> {
        let [namespace_is_valid, name_is_valid, key_is_valid] = [is_namespace(namespace), is_name(name), is_key(key)];
        if !(namespace_is_valid && name_is_valid && key_is_valid) {
            return Err(SecretObjectError);
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), key: key.to_owned() })
    }
}

/// Returns whether a name is a DNS subdomain.
fn is_name(name: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(is_end)
            && bytes.last().copied().is_some_and(is_end)
            && bytes.iter().all(|byte| is_end(*byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&key.len()) && key.bytes().all(is_allowed)
}

impl FromStr for SecretObject {
    type Err = SecretObjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [namespace, name, key] => Self::new(namespace, name, key),
            _ => Err(SecretObjectError),
        }
    }
}

impl fmt::Display for SecretObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.namespace, self.name, self.key)
    }
}

#[cfg(not(feature = "kubernetes"))]
impl SecretObject {
    /// Fails: this build has no access to Kubernetes.
    ///
    /// # Errors
    /// Always fails.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        Err("this program was built without Kubernetes".to_owned())
    }
}

#[cfg(feature = "kubernetes")]
mod read {
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::sync::{Arc, LazyLock};
    use std::time::Duration;

    use k8s_openapi::api::core::v1::Secret;
    use kube::Api;
    use parking_lot::Mutex;
    use tokio::sync::Semaphore;
    use tokio::sync::mpsc::{Receiver, Sender, channel};
    use tokio::time::{Instant, timeout};

    use super::SecretObject;
    use crate::files::file_system::wait_for;
    use crate::network::kubernetes::{Kubernetes, KubernetesError};

    /// Time for an answer of the API server.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Time after which only some callers wait for longer.
    const SOON: Duration = Duration::from_millis(500);
    /// Requests that wait for the thread. Each caller occupies a thread, of which there are fewer.
    const WAITING: usize = 1024;
    /// Concurrent calls. By default an API server executes 245 calls of all service accounts, and lets 300 of one
    /// account wait. It refuses further calls, also calls for leases.
    const CALLS: usize = 32;

    type Answer = Result<Vec<u8>, String>;

    struct Request {
        object: SecretObject,
        /// Time after which the caller no longer waits for the answer.
        deadline: Instant,
        answer: SyncSender<Answer>,
    }

    /// Requests to a thread with a runtime of its own: callers wait without `await`, as they do for a file.
    static READER: LazyLock<Result<Sender<Request>, String>> = LazyLock::new(|| {
        let (send, requests) = channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let thread = std::thread::Builder::new().name("read-secrets".to_owned());
        thread.spawn(move || runtime.block_on(serve(requests))).map_err(|error| error.to_string())?;
        Ok(send)
    });

    /// Time at which the API server last did not answer in time.
    static SILENT: Mutex<Option<Instant>> = Mutex::new(None);

    impl SecretObject {
        /// Reads the current value. It waits at most 5 s for the API server and can be called on a thread of the
        /// runtime, whose other tasks go on.
        ///
        /// # Errors
        /// If there is no such Secret or key, or the API server refuses or does not answer. The text names neither the
        /// Secret nor the key.
        pub fn read(&self) -> Result<Vec<u8>, String> {
            // Thousands of callers must not wait one after the other.
            if SILENT.lock().is_some_and(|since| since.elapsed() < PATIENCE) {
                return Err(no_answer());
            }
            let (answer, answered) = sync_channel(1);
            let reader = READER.as_ref().map_err(Clone::clone)?;
            let request = Request { object: self.clone(), deadline: Instant::now() + PATIENCE, answer };
            reader.try_send(request).map_err(|_| "too many Secrets are being read".to_owned())?;
            wait_for(&answered, PATIENCE, SOON).unwrap_or_else(|_| Err(no_answer()))
        }
    }

    fn no_answer() -> String {
        "the API server does not answer".to_owned()
    }

    async fn serve(mut requests: Receiver<Request>) {
        let calls = Arc::new(Semaphore::new(CALLS));
        let mut kubernetes = None;
        while let Some(Request { object, deadline, answer }) = requests.recv().await {
            let turn = Arc::clone(&calls).acquire_owned().await;
            if Instant::now() >= deadline {
                continue;
            }
            if kubernetes.is_none() {
                match Kubernetes::connect(None).await {
                    Ok(connected) => kubernetes = Some(connected),
                    // The caller may have given up.
                    Err(error) => _ = answer.send(Err(error.to_string())),
                }
            }
            let Some(Kubernetes { client, .. }) = &kubernetes else { continue };
            let secrets = Api::<Secret>::namespaced(client.clone(), &object.namespace);
            tokio::spawn(async move {
                let read = match timeout(PATIENCE, secrets.get_opt(&object.name)).await {
                    Ok(read) => value_of(read.map_err(KubernetesError::from), &object.key),
                    Err(_) => {
                        *SILENT.lock() = Some(Instant::now());
                        Err(no_answer())
                    }
                };
                let _ = answer.send(read);
                drop(turn);
            });
        }
    }

    fn value_of(read: Result<Option<Secret>, KubernetesError>, key: &str) -> Answer {
        let Some(secret) = read.map_err(|error| error.to_string())? else {
            return Err("there is no such Secret".to_owned());
        };
        let value = secret.data.and_then(|mut data| data.remove(key));
        value.map(|value| value.0).ok_or_else(|| "the Secret has no such key".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_kubernetes_become_part_of_a_request() {
        for valid in ["acme/token/token", "acme/a.b-c.d/ca.crt", "a-1/x/API_TOKEN"] {
            assert_eq!(valid.parse::<SecretObject>().unwrap().to_string(), valid);
        }
        for invalid in [
            "token",
            "acme/token",
            "acme/token/key/more",
            "acme//key",
            "acme/token/",
            "/token/key",
            "Acme/token/key",
            "acme/../key",
            "acme/..%2fother/key",
            "acme/token?watch=true/key",
            "acme/-token/key",
            "acme/to ken/key",
            "acme/token/k y",
        ] {
            assert_eq!(invalid.parse::<SecretObject>(), Err(SecretObjectError), "{invalid}");
        }
        assert!(SecretObject::new("acme", "../../other/secrets/token", "key").is_err());
    }
}
