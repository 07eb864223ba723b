//! Operations on the dead letters at a location.

use std::collections::BTreeSet;
use std::io;
use std::path::absolute;

use s1_forwarder_engine::dead_letters::DeadLetters;
#[cfg(feature = "kubernetes")]
use s1_forwarder_settings::kubernetes::Kubernetes;
use s1_forwarder_settings::quoted;

#[cfg(feature = "kubernetes")]
use super::secrets::{SecretPartition, SecretStore};
#[cfg(feature = "kafka")]
use super::topic::{self, TopicPartition};
use super::{StoredDeadLetter, files};
use crate::StoreLocation;

/// Opens the store. A directory or a topic has at most `max` bytes; the first dead letter creates the directory. The
/// names of Secrets begin with `instance`.
pub fn open(location: StoreLocation, instance: &str, max: u64) -> DeadLetters {
    let flags = flags(&location, instance);
    match location {
        StoreLocation::File(path) => DeadLetters::in_store(files::DirectoryStore::new(path, max), flags),
        #[cfg(feature = "kubernetes")]
        StoreLocation::Kubernetes(namespace) => DeadLetters::in_store(SecretStore::new(namespace, instance), flags),
        #[cfg(not(feature = "kubernetes"))]
        StoreLocation::Kubernetes(_) => DeadLetters::disabled(),
        #[cfg(feature = "kafka")]
        StoreLocation::Kafka(location) => DeadLetters::in_store(topic::TopicStore::new(location, max), flags),
    }
}

/// Returns the flags with which a command in any directory finds the store, each after a blank.
pub fn flags(location: &StoreLocation, instance: &str) -> String {
    let flag = flag(location);
    match location {
        StoreLocation::Kubernetes(_) => format!("{flag} --instance {instance}"),
        _ => flag,
    }
}

/// Returns the flag `--dead-letters`, which is valid in any directory, after a blank. Options of a topic are left out,
/// since they may be secrets.
pub fn flag(location: &StoreLocation) -> String {
    match location {
        StoreLocation::File(directory) => {
            let directory = absolute(directory).unwrap_or_else(|_| directory.clone());
            format!(" --dead-letters {}", quoted(&format!("file:{}", directory.display())))
        }
        other => format!(" --dead-letters {other}"),
    }
}

/// Locks the store for the removal of dead letters, until the guard is dropped. `None` if the store does not exist yet.
/// Secrets are not locked: each change names the version that was read.
///
/// # Errors
/// If another process has locked it, or the store cannot be used.
pub async fn lock(location: &StoreLocation) -> io::Result<Option<Box<dyn Send>>> {
    match location {
        StoreLocation::File(directory) if directory.is_dir() => {
            files::lock(directory).map(|lock| Some(Box::new(lock) as Box<dyn Send>))
        }
        StoreLocation::File(_) | StoreLocation::Kubernetes(_) => Ok(None),
        #[cfg(feature = "kafka")]
        StoreLocation::Kafka(location) => topic::lock(location).await,
    }
}

/// Returns the partitions of the store, with the dead letters that it has now.
///
/// # Errors
/// If the store cannot be read.
#[cfg_attr(not(feature = "kubernetes"), expect(unused_variables, reason = "only objects have names"))]
pub async fn partitions(location: &StoreLocation, instance: &str) -> io::Result<Vec<DeadLetterPartition>> {
    match location {
        StoreLocation::File(directory) => {
            let files = files::files(directory)?.into_iter();
            Ok(files.map(files::FilePartition::new).map(DeadLetterPartition::File).collect())
        }
        #[cfg(feature = "kubernetes")]
        StoreLocation::Kubernetes(namespace) => {
            let kubernetes = connect(namespace.as_deref()).await?;
            let pipelines = SecretPartition::all(&kubernetes, instance).await?;
            Ok(pipelines.into_iter().map(DeadLetterPartition::Secrets).collect())
        }
        #[cfg(not(feature = "kubernetes"))]
        StoreLocation::Kubernetes(_) => Err(io::ErrorKind::Unsupported.into()),
        #[cfg(feature = "kafka")]
        StoreLocation::Kafka(location) => Ok(vec![DeadLetterPartition::Topic(TopicPartition::open(location).await?)]),
    }
}

#[cfg(feature = "kubernetes")]
async fn connect(namespace: Option<&str>) -> io::Result<Kubernetes> {
    Kubernetes::connect(namespace).await.map_err(io::Error::other)
}

/// A part of a store. Each of its dead letters has a number.
#[derive(Debug)]
pub enum DeadLetterPartition {
    /// The dead letters of one lane.
    File(files::FilePartition),
    /// The dead letters of one pipeline.
    #[cfg(feature = "kubernetes")]
    Secrets(SecretPartition),
    /// The dead letters of all lanes.
    #[cfg(feature = "kafka")]
    Topic(TopicPartition),
}

impl DeadLetterPartition {
    /// Returns the next dead letter and its number.
    ///
    /// # Errors
    /// If it cannot be read. After [`io::ErrorKind::InvalidData`] (damaged, or of a newer version) others may follow.
    pub async fn next(&mut self) -> Option<io::Result<(u64, StoredDeadLetter)>> {
        match self {
            Self::File(file) => file.next(),
            #[cfg(feature = "kubernetes")]
            Self::Secrets(secrets) => secrets.next().await,
            #[cfg(feature = "kafka")]
            Self::Topic(topic) => topic.next().await,
        }
    }

    /// Removes the dead letters with these numbers and returns how many. The caller holds what [`lock`] returned.
    ///
    /// # Errors
    /// If they were not removed, or the result is unknown.
    pub async fn remove(&mut self, numbers: &BTreeSet<u64>) -> io::Result<usize> {
        match self {
            Self::File(file) => file.remove(numbers),
            #[cfg(feature = "kubernetes")]
            Self::Secrets(secrets) => secrets.remove(numbers).await,
            #[cfg(feature = "kafka")]
            Self::Topic(topic) => topic.remove(numbers).await,
        }
    }
}
