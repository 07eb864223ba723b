//! Stores of dead letters: a directory, Secrets in Kubernetes, a Kafka topic.

mod files;
#[cfg(feature = "kubernetes")]
mod gzip;
mod line;
mod location;
#[cfg(feature = "kubernetes")]
mod secrets;
mod shares;
#[cfg(feature = "kafka")]
mod topic;

pub use files::{files, read};
pub use line::StoredDeadLetter;
pub use location::{DeadLetterPartition, flag, flags, lock, open, partitions};
#[cfg(feature = "kubernetes")]
pub use secrets::SecretStore;

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};

    use super::files::{lock, remove};
    use super::*;
    use crate::StoreLocation;
    use s1_forwarder_engine::dead_letters::{DeadLetter, DeadLetterError, DeadLetters};
    use s1_forwarder_engine::sink::append::{Readers, append_lines};
    use s1_forwarder_record::{LaneId, Stream, Timestamp};

    fn lane(pipeline: &str) -> LaneId {
        LaneId::new(pipeline, Stream::Threats, "siem")
    }

    fn dead_letter<'a>(lane: &'a LaneId, event: &'a [u8]) -> DeadLetter<'a> {
        DeadLetter {
            time: Timestamp::from_micros(1_700_000_000_123_456),
            event_time: Some(Timestamp::from_micros(1_700_000_000_000_001)),
            error: Some("why not mapped"),
            reason: "line\nbreaks \"and\" quotes",
            ..DeadLetter::sample(lane, event)
        }
    }

    fn in_directory(path: impl Into<PathBuf>, max: u64) -> DeadLetters {
        open(StoreLocation::File(path.into()), "", max)
    }

    fn all(directory: &Path) -> Vec<StoredDeadLetter> {
        files(directory).unwrap().iter().flat_map(|path| read(path).unwrap()).map(|read| read.unwrap().1).collect()
    }

    #[tokio::test]
    async fn dead_letters_are_read_back_byte_for_byte() {
        let directory = tempfile::tempdir().unwrap();
        let store = in_directory(directory.path().join("dead"), DeadLetters::DEFAULT_MAX);
        let events: [&[u8]; 5] = [b"{\"a\": 1.0}", b" {} ", b"{\"cut", b"\xff\x00", b"two\nlines"];
        let acme = lane("acme");
        let dead_letters: Vec<_> = events.iter().map(|event| dead_letter(&acme, event)).collect();
        store.keep(&dead_letters).await.unwrap();
        store.keep(&[dead_letter(&lane("other"), b"{}")]).await.unwrap();

        let stored = all(&directory.path().join("dead"));
        let bytes: Vec<_> = stored.iter().map(|stored| stored.event.as_slice()).collect();
        assert_eq!(bytes, [&events[..], &[b"{}"]].concat());
        assert_eq!(stored[0].reason, "line\nbreaks \"and\" quotes");
        assert_eq!(stored[0].identity, dead_letters[0].identity);
        assert_eq!(
            (stored[0].event_time, stored[0].error.as_deref()),
            (dead_letters[0].event_time, dead_letters[0].error)
        );
        assert_eq!((stored[0].time, stored[5].lane.pipeline.as_str()), (dead_letters[0].time, "other"));
    }

    #[tokio::test]
    async fn an_incomplete_last_line_is_skipped_and_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let store = in_directory(directory.path(), DeadLetters::DEFAULT_MAX);
        store.keep(&[dead_letter(&lane("acme"), b"1")]).await.unwrap();
        let path = directory.path().join("acme/threats.siem.ndjson");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"v\":1,\"time").unwrap();
        assert_eq!(all(directory.path()).len(), 1);
        store.keep(&[dead_letter(&lane("acme"), b"2")]).await.unwrap();
        assert_eq!(all(directory.path()).iter().map(|stored| stored.event.clone()).collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[tokio::test]
    async fn a_full_share_refuses_until_dead_letters_are_removed_and_leaves_room_for_other_pipelines() {
        let directory = tempfile::tempdir().unwrap();
        let mut line = Vec::new();
        line::write_line(&dead_letter(&lane("acme"), b"{}"), &mut line);
        // The store has room for two and a half dead letters of a pipeline alone.
        let max = line.len() as u64 * 5;
        let store = in_directory(directory.path(), max);
        store.keep(&[dead_letter(&lane("acme"), b"{}")]).await.unwrap();
        let acme = lane("acme");
        let more = [dead_letter(&acme, b"{}"), dead_letter(&acme, b"{}")];
        let refused = store.keep(&more).await;
        assert!(
            matches!(&refused, Err((1, DeadLetterError::ShareFull { pipeline, share, .. })) if pipeline == "acme" && *share == max / 2),
            "{refused:?}"
        );
        assert_eq!(all(directory.path()).len(), 2, "what has room is stored");
        assert!(store.keep(&more[..1]).await.is_err());
        store.keep(&[dead_letter(&lane("beta"), b"{}")]).await.unwrap();
        let usage = store.measure().await.unwrap().unwrap();
        let size = line.len() as u64;
        let pipelines = [("acme".to_owned(), 2 * size, 2 * size), ("beta".to_owned(), size, 3 * size / 2)];
        assert_eq!((usage.bytes, usage.pipelines), (3 * size, pipelines.to_vec()));
        // Another process removes some dead letters.
        std::fs::remove_dir_all(directory.path().join("acme")).unwrap();
        store.keep(&more).await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_written_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "not a directory").unwrap();
        let store = in_directory(path, DeadLetters::DEFAULT_MAX);
        assert!(matches!(store.keep(&[dead_letter(&lane("acme"), b"{}")]).await, Err((0, DeadLetterError::Io { .. }))));
    }

    #[tokio::test]
    async fn removal_leaves_other_and_new_dead_letters() {
        let directory = tempfile::tempdir().unwrap();
        let store = in_directory(directory.path(), DeadLetters::DEFAULT_MAX);
        let path = directory.path().join("acme/threats.siem.ndjson");
        for event in [b"1", b"2", b"3", b"4"] {
            store.keep(&[dead_letter(&lane("acme"), event)]).await.unwrap();
        }
        let read: Vec<_> = read(&path).unwrap().map(Result::unwrap).collect();
        let to_remove = read.iter().filter(|(_, stored)| stored.event != b"2").map(|(number, _)| *number).collect();
        store.keep(&[dead_letter(&lane("acme"), b"5")]).await.unwrap();
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
        line::write_line(&dead_letter(&lane("acme"), b"{}"), &mut lines);
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

/// Reads and writes of the fuzzing.
#[cfg(any(test, feature = "testing"))]
pub mod fuzzed {
    #[cfg(feature = "kubernetes")]
    pub use super::gzip::{append, compress, decompress, lines};
    pub use super::line::{parse_line, write_line};
}
