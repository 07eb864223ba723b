//! Events that a sink refused for good, kept with the reason so that they can be sent again.

mod files;
mod line;
mod shelf;
#[cfg(feature = "kafka")]
mod topic;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::record::{Identity, Stream, Timestamp};

pub use files::{files, read};
pub use line::Kept;
pub use shelf::{Drawer, Location, LocationError};

/// One refused event.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// When it was refused.
    pub time: Timestamp,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// Stream of the record.
    pub stream: Stream,
    /// Name of the sink.
    pub sink: &'a str,
    /// See [`Identity`].
    pub identity: Identity,
    /// The record's id at the console.
    pub record_id: &'a str,
    /// The sink's status (label of `sink_requests_total`).
    pub status: &'a str,
    /// The sink's reason.
    pub reason: &'a str,
    /// The event's own time, where it has one.
    pub event_time: Option<Timestamp>,
    /// Why the record could not be mapped, where that is so.
    pub error: Option<&'a str>,
    /// Only the beginning of the record is there: it was too large to be pulled.
    pub cut: bool,
    /// The event as it was sent.
    pub event: &'a [u8],
}

/// The store could not keep a dead letter; the lane stops rather than lose it.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is no store.
    #[error("no store for dead letters is set up; name one with --dead-letters")]
    Disabled,
    /// The store has reached its size.
    #[error("the dead letters in {place} have reached {max} bytes; replay or purge them, or raise --dead-letters-max")]
    Full {
        /// The store.
        place: String,
        /// Its size.
        max: u64,
    },
    /// The disk, or the brokers, do not take them.
    #[error("cannot keep dead letters in {place}: {source}")]
    Io {
        /// The store.
        place: String,
        /// Why.
        source: io::Error,
    },
}

/// Where dead letters are kept. Shared by all lanes.
#[derive(Debug)]
pub struct DeadLetters {
    store: Option<Arc<dyn LetterStore>>,
}

/// A store of dead letters.
pub trait LetterStore: Send + Sync + std::fmt::Debug {
    /// Keeps all of `letters` durably, or none of them counts as kept.
    fn keep<'a>(&'a self, letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>>;
}

impl DeadLetters {
    /// What `--dead-letters-max` is by default.
    pub const DEFAULT_MAX: u64 = 1 << 30;

    /// Keeps them in `path`, up to `max` bytes together. The directory is made when the first one comes.
    pub fn directory(path: impl Into<PathBuf>, max: u64) -> Self {
        Self::in_store(files::Directory::new(path.into(), max))
    }

    /// Keeps them in `location`, up to `max` bytes together.
    pub fn at(location: Location, max: u64) -> Self {
        match location {
            Location::Directory(path) => Self::directory(path, max),
            #[cfg(feature = "kafka")]
            Location::Topic(location) => Self::in_store(topic::Topic::new(location, max)),
        }
    }

    /// Keeps them in `store`.
    pub fn in_store(store: impl LetterStore + 'static) -> Self {
        Self { store: Some(Arc::new(store)) }
    }

    /// No store: whatever is refused stops its lane.
    pub fn disabled() -> Self {
        Self { store: None }
    }

    /// Keeps all of `letters` durably, or none of them counts as kept.
    ///
    /// # Errors
    /// When there is no store, when it is full, or when it does not take them.
    pub async fn keep(&self, letters: &[DeadLetter<'_>]) -> Result<(), DeadLetterError> {
        self.store.as_ref().ok_or(DeadLetterError::Disabled)?.keep(letters).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::Path;

    use super::files::{lock, remove};
    use super::*;
    use crate::sink::append::append_lines;

    fn letter<'a>(pipeline: &'a str, event: &'a [u8]) -> DeadLetter<'a> {
        DeadLetter {
            time: Timestamp::from_micros(1_700_000_000_123_456),
            pipeline,
            stream: Stream::Threats,
            sink: "siem",
            identity: Identity::of("host", Stream::Threats, "1", "2"),
            record_id: "1",
            status: "400",
            event_time: Some(Timestamp::from_micros(1_700_000_000_000_001)),
            error: Some("why not mapped"),
            cut: false,
            reason: "line\nbreaks \"and\" quotes",
            event,
        }
    }

    fn all(directory: &Path) -> Vec<Kept> {
        files(directory).unwrap().iter().flat_map(|path| read(path).unwrap()).map(|read| read.unwrap().1).collect()
    }

    #[tokio::test]
    async fn what_is_kept_is_read_back_byte_for_byte() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path().join("dead"), DeadLetters::DEFAULT_MAX);
        let events: [&[u8]; 5] = [b"{\"a\": 1.0}", b" {} ", b"{\"cut", b"\xff\x00", b"two\nlines"];
        let letters: Vec<_> = events.iter().map(|event| letter("acme", event)).collect();
        store.keep(&letters).await.unwrap();
        store.keep(&[letter("other", b"{}")]).await.unwrap();

        let kept = all(&directory.path().join("dead"));
        let bytes: Vec<_> = kept.iter().map(|kept| kept.event.as_slice()).collect();
        assert_eq!(bytes, [&events[..], &[b"{}"]].concat());
        assert_eq!(kept[0].reason, "line\nbreaks \"and\" quotes");
        assert_eq!(kept[0].identity, letters[0].identity);
        assert_eq!((kept[0].event_time, kept[0].error.as_deref()), (letters[0].event_time, letters[0].error));
        assert_eq!((kept[0].time, kept[5].pipeline.as_str()), (letters[0].time, "other"));
    }

    #[tokio::test]
    async fn a_torn_last_line_is_left_out_and_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path(), DeadLetters::DEFAULT_MAX);
        store.keep(&[letter("acme", b"1")]).await.unwrap();
        let path = directory.path().join("acme/threats.siem.ndjson");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"v\":1,\"time").unwrap();
        assert_eq!(all(directory.path()).len(), 1);
        store.keep(&[letter("acme", b"2")]).await.unwrap();
        assert_eq!(all(directory.path()).iter().map(|kept| kept.event.clone()).collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[tokio::test]
    async fn a_full_store_refuses_until_letters_are_taken_out() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path(), 600);
        store.keep(&[letter("acme", b"{}")]).await.unwrap();
        let more = [letter("acme", b"{}"), letter("acme", b"{}")];
        assert!(matches!(store.keep(&more).await, Err(DeadLetterError::Full { max: 600, .. })));
        assert_eq!(all(directory.path()).len(), 1);
        std::fs::remove_dir_all(directory.path().join("acme")).unwrap();
        store.keep(&more).await.unwrap();
    }

    #[tokio::test]
    async fn without_a_store_nothing_is_kept() {
        assert!(matches!(DeadLetters::disabled().keep(&[letter("acme", b"{}")]).await, Err(DeadLetterError::Disabled)));
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_written_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "not a directory").unwrap();
        let store = DeadLetters::directory(path, DeadLetters::DEFAULT_MAX);
        assert!(matches!(store.keep(&[letter("acme", b"{}")]).await, Err(DeadLetterError::Io { .. })));
    }

    #[tokio::test]
    async fn taking_letters_out_leaves_the_others_and_what_comes_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let store = DeadLetters::directory(directory.path(), DeadLetters::DEFAULT_MAX);
        let path = directory.path().join("acme/threats.siem.ndjson");
        for event in [b"1", b"2", b"3", b"4"] {
            store.keep(&[letter("acme", event)]).await.unwrap();
        }
        let read: Vec<_> = read(&path).unwrap().map(Result::unwrap).collect();
        let taken = read.iter().filter(|(_, kept)| kept.event != b"2").map(|(number, _)| *number).collect();
        store.keep(&[letter("acme", b"5")]).await.unwrap();
        let guard = lock(directory.path()).unwrap();
        assert_eq!(lock(directory.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        remove(&path, &taken).unwrap();
        drop(guard);
        assert_eq!(all(directory.path()).iter().map(|kept| kept.event.clone()).collect::<Vec<_>>(), [b"2", b"5"]);
        remove(&path, &[0, 1].into()).unwrap();
        assert!(!path.exists(), "an empty file is removed");
    }

    /// Appending and taking out at the same time: nothing is lost between the two.
    #[test]
    fn letters_are_kept_while_others_are_taken_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme/threats.siem.ndjson");
        let (mut lines, total) = (Vec::new(), 400);
        line::write_line(&letter("acme", b"{}"), &mut lines);
        let removed = std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..total).for_each(|_| append_lines(&path, &lines).unwrap()));
            let mut removed = 0;
            while !writer.is_finished() {
                if path.exists() {
                    removed += remove(&path, &[0].into()).unwrap();
                }
            }
            removed
        });
        let left = if path.exists() { read(&path).unwrap().count() } else { 0 };
        assert_eq!((removed + left, removed > 10), (total, true), "{removed} were taken out");
    }
}
