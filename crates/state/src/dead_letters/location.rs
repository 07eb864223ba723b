//! The location of a store of dead letters, to read it and remove from it.

use std::collections::BTreeSet;
use std::path::{PathBuf, absolute};
use std::str::FromStr;
use std::{fmt, io};

use s1_forwarder_engine::sink::dead_letters::DeadLetters;
#[cfg(feature = "kafka")]
use s1_forwarder_kafka::{KafkaLocation, KafkaLocationError};
#[cfg(feature = "kubernetes")]
use s1_forwarder_settings::is_namespace;
#[cfg(feature = "kubernetes")]
use s1_forwarder_settings::kubernetes::Kubernetes;
use s1_forwarder_settings::{FOR_A_SHELL, is_for_a_shell};

#[cfg(feature = "kubernetes")]
use super::secrets::{SecretPartition, SecretStore};
#[cfg(feature = "kafka")]
use super::topic::{self, TopicPartition};
use super::{StoredDeadLetter, files};

/// The value of `--dead-letters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `file:DIR`.
    Directory(PathBuf),
    /// `kubernetes:[NAMESPACE]`; without a namespace the worker's own.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Option<String>),
    /// `kafka://BROKERS/TOPIC`.
    #[cfg(feature = "kafka")]
    Topic(KafkaLocation),
}

/// The text is not a [`Location`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error(
        "write it as file:DIR, for example file:/var/lib/dead-letters, as kubernetes:[NAMESPACE], or as \
         kafka://BROKERS/TOPIC"
    )]
    Form,
    #[error("{}", FOR_A_SHELL)]
    ForAShell,
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] KafkaLocationError),
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", directory)) if is_for_a_shell(directory) => Err(LocationError::ForAShell),
            Some(("file", directory)) if !directory.is_empty() => Ok(Self::Directory(directory.into())),
            #[cfg(feature = "kubernetes")]
            Some(("kubernetes", "")) => Ok(Self::Kubernetes(None)),
            #[cfg(feature = "kubernetes")]
            Some(("kubernetes", namespace)) if is_namespace(namespace) => {
                Ok(Self::Kubernetes(Some(namespace.to_owned())))
            }
            #[cfg(feature = "kafka")]
            Some(("kafka", place)) => Ok(Self::Topic(place.parse()?)),
            _ => Err(LocationError::Form),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(formatter),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(namespace) => write!(formatter, "kubernetes:{}", namespace.as_deref().unwrap_or_default()),
            #[cfg(feature = "kafka")]
            Self::Topic(location) => location.fmt(formatter),
        }
    }
}

impl Location {
    /// The store. A directory or a topic has at most `max` bytes; the first dead letter creates the directory. The
    /// names of Secrets begin with `instance`.
    pub fn open(self, instance: &str, max: u64) -> DeadLetters {
        let flags = self.flags(instance);
        match self {
            Self::Directory(path) => DeadLetters::in_store(files::Directory::new(path, max), flags),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(namespace) => DeadLetters::in_store(SecretStore::new(namespace, instance), flags),
            #[cfg(feature = "kafka")]
            Self::Topic(location) => DeadLetters::in_store(topic::Topic::new(location, max), flags),
        }
    }

    /// The flags with which a command finds the store, each after a blank. Options of a topic are left out, since they
    /// may be secrets.
    #[cfg_attr(not(feature = "kubernetes"), expect(unused_variables, reason = "only Secrets have names"))]
    fn flags(&self, instance: &str) -> String {
        let flag = self.flag();
        match self {
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(_) => format!("{flag} --instance {instance}"),
            _ => flag,
        }
    }

    /// The flag `--dead-letters`, which is valid in any directory, after a blank.
    pub fn flag(&self) -> String {
        match self {
            Self::Directory(directory) => {
                let directory = absolute(directory).unwrap_or_else(|_| directory.clone());
                format!(" --dead-letters {}", quoted(&format!("file:{}", directory.display())))
            }
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(_) => format!(" --dead-letters {self}"),
            #[cfg(feature = "kafka")]
            Self::Topic(_) => format!(" --dead-letters {self}"),
        }
    }

    /// Locks the store for the removal of dead letters, until the guard is dropped. `None` if the store does not exist
    /// yet. Secrets are not locked: each change names the version that was read.
    ///
    /// # Errors
    /// If another process has locked it, or the store cannot be used.
    pub async fn lock(&self) -> io::Result<Option<Box<dyn Send>>> {
        match self {
            Self::Directory(directory) if directory.is_dir() => {
                files::lock(directory).map(|lock| Some(Box::new(lock) as Box<dyn Send>))
            }
            Self::Directory(_) => Ok(None),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(_) => Ok(None),
            #[cfg(feature = "kafka")]
            Self::Topic(location) => topic::lock(location).await,
        }
    }

    /// The partitions of the store, with the dead letters that it has now.
    ///
    /// # Errors
    /// If the store cannot be read.
    #[cfg_attr(not(feature = "kubernetes"), expect(unused_variables, reason = "only objects have names"))]
    pub async fn partitions(&self, instance: &str) -> io::Result<Vec<DeadLetterPartition>> {
        match self {
            Self::Directory(directory) => {
                let files = files::files(directory)?.into_iter();
                Ok(files.map(files::FilePartition::new).map(DeadLetterPartition::File).collect())
            }
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(namespace) => {
                let kubernetes = connect(namespace.as_deref()).await?;
                let pipelines = SecretPartition::all(&kubernetes, instance).await?;
                Ok(pipelines.into_iter().map(DeadLetterPartition::Secrets).collect())
            }
            #[cfg(feature = "kafka")]
            Self::Topic(location) => Ok(vec![DeadLetterPartition::Topic(TopicPartition::open(location).await?)]),
        }
    }
}

#[cfg(feature = "kubernetes")]
async fn connect(namespace: Option<&str>) -> io::Result<Kubernetes> {
    Kubernetes::connect(namespace).await.map_err(io::Error::other)
}

/// The text as one word of a shell.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+=@%,".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
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
    /// The next dead letter and its number.
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

    /// Removes the dead letters with these numbers and returns how many. The caller holds what [`Location::lock`]
    /// returned.
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
