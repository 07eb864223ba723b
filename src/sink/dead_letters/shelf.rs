//! A store of dead letters for whoever looks at it and takes letters out.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

#[cfg(feature = "kafka")]
use super::topic::{self, TopicDrawer};
use super::{Kept, files};
#[cfg(feature = "kafka")]
use crate::kafka::{KafkaLocation, KafkaLocationError};

/// Where dead letters are kept, as `--dead-letters` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `file:DIR`.
    Directory(PathBuf),
    /// `kafka://BROKERS/TOPIC`.
    #[cfg(feature = "kafka")]
    Topic(KafkaLocation),
}

/// The text names no store of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It is of no kind that there is.
    #[error("write it as file:DIR, for example file:/var/lib/dead-letters, or as kafka://BROKERS/TOPIC")]
    Form,
    /// It is no address of a topic.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] KafkaLocationError),
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", directory)) if !directory.is_empty() => Ok(Self::Directory(directory.into())),
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
            #[cfg(feature = "kafka")]
            Self::Topic(location) => location.fmt(formatter),
        }
    }
}

impl Location {
    /// Held by the one command that takes letters out; nothing where there are none yet.
    ///
    /// # Errors
    /// When another process has it, or the store cannot be used.
    pub async fn lock(&self) -> io::Result<Option<Box<dyn Send>>> {
        match self {
            Self::Directory(directory) if directory.is_dir() => {
                files::lock(directory).map(|lock| Some(Box::new(lock) as Box<dyn Send>))
            }
            Self::Directory(_) => Ok(None),
            #[cfg(feature = "kafka")]
            Self::Topic(location) => topic::lock(location).await,
        }
    }

    /// All letters, as they are now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn drawers(&self) -> io::Result<Vec<Drawer>> {
        match self {
            Self::Directory(directory) => {
                let files = files::files(directory)?.into_iter();
                Ok(files.map(files::FileDrawer::new).map(Drawer::File).collect())
            }
            #[cfg(feature = "kafka")]
            Self::Topic(location) => Ok(vec![Drawer::Topic(TopicDrawer::open(location).await?)]),
        }
    }
}

/// A part of a store: a file, or a topic. Its letters come one by one, each with a number.
#[derive(Debug)]
pub enum Drawer {
    /// Of one lane.
    File(files::FileDrawer),
    /// Of all lanes.
    #[cfg(feature = "kafka")]
    Topic(TopicDrawer),
}

impl Drawer {
    /// The next letter.
    ///
    /// # Errors
    /// When it cannot be read; with [`io::ErrorKind::InvalidData`] it is damaged or of a newer version, and others follow.
    pub async fn next(&mut self) -> Option<io::Result<(u64, Kept)>> {
        match self {
            Self::File(file) => file.next(),
            #[cfg(feature = "kafka")]
            Self::Topic(topic) => topic.next().await,
        }
    }

    /// Takes the letters with these numbers out for good; whoever calls holds [`Location::lock`]. Gives how many they were.
    ///
    /// # Errors
    /// When they cannot be taken out, or it is not known.
    pub async fn take_out(&mut self, letters: &BTreeSet<u64>) -> io::Result<usize> {
        match self {
            Self::File(file) => file.take_out(letters),
            #[cfg(feature = "kafka")]
            Self::Topic(topic) => topic.take_out(letters).await,
        }
    }
}
