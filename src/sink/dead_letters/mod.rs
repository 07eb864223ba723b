//! Stores events that a sink refused permanently, with the reason, so that they can be sent again.

mod dead_letter;
mod files;
#[cfg(feature = "kubernetes")]
mod gzip;
mod line;
mod location;
#[cfg(feature = "kubernetes")]
mod secrets;
mod shares;
mod stored;
#[cfg(feature = "kafka")]
mod topic;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stored::Stored;

use crate::checkpoint::LaneId;
use crate::telemetry::LaneMetrics;

pub use dead_letter::{DeadLetter, DeadLetterError, DeadLetterStore, Usage};
pub use files::{files, read};
pub use line::StoredDeadLetter;
pub use location::{DeadLetterPartition, Location, LocationError};
#[cfg(feature = "kubernetes")]
pub use secrets::SecretStore;

/// Stores the dead letters of all lanes.
#[derive(Debug)]
pub struct DeadLetters {
    store: Option<Arc<dyn DeadLetterStore>>,
    /// The flags with which a command finds the store.
    flags: String,
    stored: Mutex<Stored>,
}

impl DeadLetters {
    /// Default of `--dead-letters-max`, in bytes.
    pub const DEFAULT_MAX: u64 = 1 << 30;

    /// A store in the directory `path` with at most `max` bytes. The first dead letter creates the directory.
    pub fn directory(path: impl Into<PathBuf>, max: u64) -> Self {
        let path = path.into();
        let flags = Location::Directory(path.clone()).flags("");
        Self { flags, ..Self::in_store(files::Directory::new(path, max)) }
    }

    /// A store in `location`. A directory or a topic has at most `max` bytes. The names of Secrets begin with
    /// `instance`.
    pub fn at(location: Location, instance: &str, max: u64) -> Self {
        let flags = location.flags(instance);
        let store = match location {
            Location::Directory(path) => Self::directory(path, max),
            #[cfg(feature = "kubernetes")]
            Location::Kubernetes(namespace) => Self::in_store(SecretStore::new(namespace, instance)),
            #[cfg(feature = "kafka")]
            Location::Topic(location) => Self::in_store(topic::Topic::new(location, max)),
        };
        Self { flags, ..store }
    }

    pub fn in_store(store: impl DeadLetterStore + 'static) -> Self {
        Self { store: Some(Arc::new(store)), flags: String::new(), stored: Mutex::default() }
    }

    /// No store: a refused event stops its lane.
    pub fn disabled() -> Self {
        Self { store: None, flags: String::new(), stored: Mutex::default() }
    }

    /// Stores `dead_letters` durably, in their order. Of those that have no room together, the first ones are stored.
    ///
    /// # Errors
    /// If there is no store, it is full, or writing fails; with the number of dead letters that are stored.
    pub async fn keep(&self, dead_letters: &[DeadLetter<'_>]) -> Result<(), (usize, DeadLetterError)> {
        let Some(store) = &self.store else { return Err((0, DeadLetterError::Disabled)) };
        let mut rest = dead_letters;
        let mut tried = rest.len();
        while let Some((part, others)) = rest.split_at_checked(tried.min(rest.len())).filter(|_| !rest.is_empty()) {
            match store.keep(part).await {
                Ok(()) => {
                    self.stored.lock().keep(part.iter().map(|letter| LaneId {
                        pipeline: letter.pipeline.to_owned(),
                        stream: letter.stream,
                        sink: letter.sink.to_owned(),
                    }));
                    rest = others;
                }
                Err(error) if error.is_full() && part.len() > 1 => tried = part.len() / 2,
                Err(error) => return Err((dead_letters.len() - rest.len(), error)),
            }
        }
        Ok(())
    }

    /// Reads what the store has, which other processes also change. `None` if there is no store, or it does not know.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn measure(&self) -> Result<Option<Usage>, DeadLetterError> {
        let Some(store) = &self.store else { return Ok(None) };
        self.stored.lock().begin();
        let usage = store.usage().await?;
        if let Some(usage) = &usage {
            self.stored.lock().end(&usage.lanes);
        }
        Ok(usage)
    }

    /// Time between two measurements.
    pub fn measure_interval(&self) -> Duration {
        self.store.as_ref().map_or(Duration::MAX, |store| store.measure_interval())
    }

    /// Sets what the lane reports as stored: the last measurement, and what was kept since.
    pub fn show(&self, lane: &LaneMetrics) {
        let id = LaneId { pipeline: lane.pipeline.clone(), stream: lane.stream, sink: lane.sink.clone() };
        // Under the lock: an older number must not replace a newer one.
        let stored = self.stored.lock();
        lane.set_dead_letters_stored(stored.of(&id));
    }

    /// The command that lists all dead letters.
    pub fn list_command(&self) -> String {
        format!("s1-forwarder dead-letters list{}", self.flags)
    }

    /// The command that lists the dead letters of a lane.
    pub fn list_command_for(&self, lane: &LaneMetrics) -> String {
        let LaneMetrics { pipeline, stream, sink, .. } = lane;
        format!("{} --pipeline {pipeline} --stream {stream} --sink {sink}", self.list_command())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{self, Write};
    use std::path::Path;

    use super::files::{lock, remove};
    use super::*;
    use crate::record::Timestamp;
    use crate::sink::append::{Readers, append_lines};

    fn dead_letter<'a>(pipeline: &'a str, event: &'a [u8]) -> DeadLetter<'a> {
        DeadLetter {
            time: Timestamp::from_micros(1_700_000_000_123_456),
            event_time: Some(Timestamp::from_micros(1_700_000_000_000_001)),
            error: Some("why not mapped"),
            reason: "line\nbreaks \"and\" quotes",
            ..DeadLetter::sample(pipeline, event)
        }
    }

    fn all(directory: &Path) -> Vec<StoredDeadLetter> {
        files(directory).unwrap().iter().flat_map(|path| read(path).unwrap()).map(|read| read.unwrap().1).collect()
    }

    #[tokio::test]
    async fn dead_letters_are_read_back_byte_for_byte() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path().join("dead"), DeadLetters::DEFAULT_MAX);
        let events: [&[u8]; 5] = [b"{\"a\": 1.0}", b" {} ", b"{\"cut", b"\xff\x00", b"two\nlines"];
        let dead_letters: Vec<_> = events.iter().map(|event| dead_letter("acme", event)).collect();
        store.keep(&dead_letters).await.unwrap();
        store.keep(&[dead_letter("other", b"{}")]).await.unwrap();

        let stored = all(&directory.path().join("dead"));
        let bytes: Vec<_> = stored.iter().map(|stored| stored.event.as_slice()).collect();
        assert_eq!(bytes, [&events[..], &[b"{}"]].concat());
        assert_eq!(stored[0].reason, "line\nbreaks \"and\" quotes");
        assert_eq!(stored[0].identity, dead_letters[0].identity);
        assert_eq!(
            (stored[0].event_time, stored[0].error.as_deref()),
            (dead_letters[0].event_time, dead_letters[0].error)
        );
        assert_eq!((stored[0].time, stored[5].pipeline.as_str()), (dead_letters[0].time, "other"));
    }

    #[tokio::test]
    async fn an_incomplete_last_line_is_skipped_and_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path(), DeadLetters::DEFAULT_MAX);
        store.keep(&[dead_letter("acme", b"1")]).await.unwrap();
        let path = directory.path().join("acme/threats.siem.ndjson");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"v\":1,\"time").unwrap();
        assert_eq!(all(directory.path()).len(), 1);
        store.keep(&[dead_letter("acme", b"2")]).await.unwrap();
        assert_eq!(all(directory.path()).iter().map(|stored| stored.event.clone()).collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[tokio::test]
    async fn a_full_share_refuses_until_dead_letters_are_removed_and_leaves_room_for_other_pipelines() {
        let directory = tempfile::tempdir().unwrap();
        let mut line = Vec::new();
        line::write_line(&dead_letter("acme", b"{}"), &mut line);
        // Room for two and a half of a pipeline alone.
        let max = line.len() as u64 * 5;
        let store = DeadLetters::directory(directory.path(), max);
        store.keep(&[dead_letter("acme", b"{}")]).await.unwrap();
        let more = [dead_letter("acme", b"{}"), dead_letter("acme", b"{}")];
        let refused = store.keep(&more).await;
        assert!(
            matches!(&refused, Err((1, DeadLetterError::ShareFull { pipeline, share, .. })) if pipeline == "acme" && *share == max / 2),
            "{refused:?}"
        );
        assert_eq!(all(directory.path()).len(), 2, "what has room is stored");
        assert!(store.keep(&more[..1]).await.is_err());
        store.keep(&[dead_letter("beta", b"{}")]).await.unwrap();
        let usage = store.measure().await.unwrap().unwrap();
        let size = line.len() as u64;
        let pipelines = [("acme".to_owned(), 2 * size, 2 * size), ("beta".to_owned(), size, 3 * size / 2)];
        assert_eq!((usage.bytes, usage.pipelines), (3 * size, pipelines.to_vec()));
        // Another process removes some.
        std::fs::remove_dir_all(directory.path().join("acme")).unwrap();
        store.keep(&more).await.unwrap();
    }

    #[tokio::test]
    async fn without_a_store_every_dead_letter_is_refused() {
        assert!(matches!(
            DeadLetters::disabled().keep(&[dead_letter("acme", b"{}")]).await,
            Err((0, DeadLetterError::Disabled))
        ));
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_written_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "not a directory").unwrap();
        let store = DeadLetters::directory(path, DeadLetters::DEFAULT_MAX);
        assert!(matches!(store.keep(&[dead_letter("acme", b"{}")]).await, Err((0, DeadLetterError::Io { .. }))));
    }

    #[tokio::test]
    async fn removal_leaves_other_and_new_dead_letters() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path(), DeadLetters::DEFAULT_MAX);
        let path = directory.path().join("acme/threats.siem.ndjson");
        for event in [b"1", b"2", b"3", b"4"] {
            store.keep(&[dead_letter("acme", event)]).await.unwrap();
        }
        let read: Vec<_> = read(&path).unwrap().map(Result::unwrap).collect();
        let to_remove = read.iter().filter(|(_, stored)| stored.event != b"2").map(|(number, _)| *number).collect();
        store.keep(&[dead_letter("acme", b"5")]).await.unwrap();
        let guard = lock(directory.path()).unwrap();
        assert_eq!(lock(directory.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        remove(&path, &to_remove).unwrap();
        drop(guard);
        assert_eq!(all(directory.path()).iter().map(|stored| stored.event.clone()).collect::<Vec<_>>(), [b"2", b"5"]);
        remove(&path, &[0, 1].into()).unwrap();
        assert!(!path.exists(), "an empty file is removed");
    }

    /// Appending and removal at the same time lose nothing.
    #[test]
    fn dead_letters_are_appended_while_others_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme/threats.siem.ndjson");
        let mut lines = Vec::new();
        let total = 400;
        line::write_line(&dead_letter("acme", b"{}"), &mut lines);
        let removed = std::thread::scope(|scope| {
            let writer = scope
                .spawn(|| (0..total).for_each(|_| append_lines(&path.clone().into(), &lines, Readers::Owner).unwrap()));
            let mut removed = 0;
            while !writer.is_finished() {
                if path.exists() {
                    removed += remove(&path, &[0].into()).unwrap();
                }
            }
            removed
        });
        let left = if path.exists() { read(&path).unwrap().count() } else { 0 };
        assert_eq!((removed + left, removed > 10), (total, true), "{removed} were removed");
    }
}

/// What the fuzzing reads and writes.
#[cfg(test)]
pub(crate) mod fuzzed {
    #[cfg(feature = "kubernetes")]
    pub(crate) use super::gzip::{append, compress, decompress, lines};
    pub(crate) use super::line::{parse_line, write_line};
}
