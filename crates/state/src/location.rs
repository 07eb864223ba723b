//! The values of `--state` and `--dead-letters`, and how the stores that they name are opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use s1_forwarder_engine::checkpoint::{StateError, Store, StoredPart};
use s1_forwarder_settings::{SHELL_PATH_ADVICE, is_namespace, is_shell_path};
use sha2::{Digest, Sha256};

use super::FileStore;

/// Location of a store: the value of `--state`, and of `--dead-letters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// `file:DIR`: one process owns the directory.
    File(PathBuf),
    /// `kubernetes:[NAMESPACE]`; without a namespace the worker's own.
    Kubernetes(Option<String>),
    /// `kafka://BROKERS/TOPIC`.
    #[cfg(feature = "kafka")]
    Kafka(s1_forwarder_kafka::KafkaLocation),
}

/// Purpose for which a store is opened.
#[derive(Debug, Clone, Copy)]
pub enum Access<'a> {
    /// Takes no lock.
    Read,
    /// `owner` names this process, and is unique over restarts too.
    Write { owner: &'a str },
}

/// The text is not a [`StoreLocation`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error(
        "write it as file:DIR, for example file:/var/lib/s1-forwarder, as kubernetes:[NAMESPACE], or as kafka://BROKERS/TOPIC"
    )]
    Form,
    #[error("{}", SHELL_PATH_ADVICE)]
    ForAShell,
    /// This build is without the feature that the location needs.
    #[error("this program was built without {0}")]
    NotBuilt(&'static str),
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] s1_forwarder_kafka::KafkaLocationError),
}

impl FromStr for StoreLocation {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", directory)) if is_shell_path(directory) => Err(LocationError::ForAShell),
            Some(("file", directory)) if !directory.is_empty() => Ok(Self::File(directory.into())),
            Some(("kubernetes", _)) if cfg!(not(feature = "kubernetes")) => Err(LocationError::NotBuilt("Kubernetes")),
            Some(("kubernetes", namespace)) if namespace.is_empty() || is_namespace(namespace) => {
                Ok(Self::Kubernetes((!namespace.is_empty()).then(|| namespace.to_owned())))
            }
            #[cfg(feature = "kafka")]
            Some(("kafka", place)) => Ok(Self::Kafka(place.parse()?)),
            #[cfg(not(feature = "kafka"))]
            Some(("kafka", _)) => Err(LocationError::NotBuilt("Kafka")),
            _ => Err(LocationError::Form),
        }
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(directory) => write!(formatter, "file:{}", directory.display()),
            Self::Kubernetes(namespace) => write!(formatter, "kubernetes:{}", namespace.as_deref().unwrap_or("")),
            #[cfg(feature = "kafka")]
            Self::Kafka(location) => location.fmt(formatter),
        }
    }
}

impl StoreLocation {
    /// Opens the store. The names of its objects begin with `instance`. An `area`, a relative path, has names and a
    /// lock of its own, for a command that runs next to the worker.
    ///
    /// # Errors
    /// If it cannot be used, or another process has its lock.
    pub async fn open(
        &self,
        instance: &str,
        access: Access<'_>,
        area: Option<&Path>,
    ) -> Result<Arc<dyn Store>, StateError> {
        let area_instance = area.map(|area| area_instance(instance, area));
        let instance = area_instance.as_deref().unwrap_or(instance);
        match self {
            Self::File(directory) => {
                let directory = area.map_or_else(|| directory.clone(), |area| directory.join(area));
                Ok(Arc::new(match access {
                    Access::Write { .. } => super::file::blocking(move || FileStore::open(&directory)).await?,
                    Access::Read => FileStore::open_read_only(&directory),
                }))
            }
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(namespace) => {
                let kubernetes = s1_forwarder_settings::kubernetes::Kubernetes::connect(namespace.as_deref()).await;
                let kubernetes = kubernetes.map_err(|error| StateError::failed(self.to_string(), error))?;
                let owner = if let Access::Write { owner } = access { owner } else { "" };
                Ok(Arc::new(super::KubernetesStore::new(&kubernetes, instance, owner)))
            }
            #[cfg(not(feature = "kubernetes"))]
            Self::Kubernetes(_) => {
                let _ = instance;
                Err(StateError::NotBuilt(self.to_string()))
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(location) => {
                let prefix = area.map_or_else(String::new, |_| format!("{instance}!"));
                Ok(Arc::new(super::KafkaStore::new(location.clone(), instance, 0, prefix)))
            }
        }
    }

    /// Removes the area that [`Self::open`] opened as `store`. The holder of the area's lock removes the lock.
    ///
    /// # Errors
    /// If a part of the area cannot be removed.
    pub async fn remove_area(&self, area: &Path, store: &dyn Store) -> Result<(), StateError> {
        let mut keys = store.list_all().await?;
        keys.retain(|key| key.part != StoredPart::Lock);
        for key in keys {
            store.delete(&key).await?;
        }
        let Self::File(directory) = self else { return Ok(()) };
        let path = directory.join(area);
        let removed = tokio::fs::remove_dir_all(&path).await;
        removed.map_err(|source| StateError::Io { action: "remove", path, source })
    }

    /// Returns a store for the lanes of one shard, if a writer needs an identity that workers must not share; else
    /// `None`.
    pub fn of_shard(&self, instance: &str, shard: u32) -> Option<Arc<dyn Store>> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(location) => {
                Some(Arc::new(super::KafkaStore::new(location.clone(), instance, shard, String::new())))
            }
            _ => {
                let _ = (instance, shard);
                None
            }
        }
    }
}

/// Returns the instance name of an area.
fn area_instance(instance: &str, area: &Path) -> String {
    let digest = Sha256::digest(area.as_os_str().as_encoded_bytes());
    format!("{instance}-{}", hex::encode(&digest[..5]))
}

/// Returns the name of this process in shared stores. It is the host's name (in Kubernetes the pod's), and a random
/// number, since another process may have run there before.
pub fn process_identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    format!("{}_{:08x}", host.unwrap_or_else(|| "localhost".to_owned()), fastrand::u32(..))
}
