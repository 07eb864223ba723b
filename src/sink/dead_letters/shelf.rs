//! A store of dead letters for whoever looks at it and takes letters out.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

#[cfg(feature = "kafka")]
use super::topic::TopicDrawer;
use super::{Kept, files};
#[cfg(feature = "kafka")]
use crate::kafka::KafkaLocation;

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
#[error("write it as file:DIR, for example file:/var/lib/dead-letters, or as kafka://BROKERS/TOPIC")]
pub struct LocationError;

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", directory)) if !directory.is_empty() => Ok(Self::Directory(directory.into())),
            #[cfg(feature = "kafka")]
            Some(("kafka", place)) => place.parse().map(Self::Topic).map_err(|_| LocationError),
            _ => Err(LocationError),
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
    /// Held by the one command that takes letters out of a directory; none where there is none yet. A topic has no lock.
    ///
    /// # Errors
    /// When another process has it, or the directory cannot be used.
    pub fn lock(&self) -> io::Result<Option<File>> {
        match self {
            Self::Directory(directory) if directory.is_dir() => files::lock(directory).map(Some),
            _ => Ok(None),
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
