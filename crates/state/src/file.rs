//! The state store in a directory: one file for each checkpoint and each segment of a journal.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use s1_forwarder_engine::checkpoint::{Append, CheckpointBackend, CheckpointKey, CheckpointUpdate, StateError, Store};
use s1_forwarder_engine::weak_cache::WeakCache;
use s1_forwarder_failure::catch_panic::result_of;
use s1_forwarder_record::Stream;
use s1_forwarder_settings::{
    check_private_directory, create_private_directories, explain_symbolic_link, private_file, read_file,
};
use tokio::sync::Semaphore;

use super::envelope;

/// Most bytes of a file: a checkpoint of a hundred thousand agents has 1.5 MB.
const MAX_BYTES: usize = 256 << 20;
const LOCK: &str = "lock";
/// File that is written and removed to see whether files can be written.
const PROBE: &str = "probe";
const LANES: &str = "lanes";
const SUFFIX: &str = ".checkpoint";
const JOURNAL_SUFFIX: &str = ".journal";

/// `--state file:DIR`: `DIR/lanes/PIPELINE/STREAM/SINK.checkpoint`, and a lock that one process holds.
///
/// A checkpoint is written to a new file, synced, renamed over the old one, and the directory is synced. After a crash
/// either the old or the new one is there, whole. `SINK.journal/SEGMENT` is the lane's journal.
#[derive(Debug)]
pub struct FileStore {
    lanes: PathBuf,
    /// Lock file, which is locked for as long as the store lives; `None` if the store only reads.
    _lock: Option<File>,
    /// The turn of each checkpoint that is being read or written.
    turns: WeakCache<PathBuf, Turn>,
}

type Turn = tokio::sync::Mutex<()>;

impl FileStore {
    /// Creates the directory if it does not exist, and locks it.
    ///
    /// # Errors
    /// If the directory cannot be used, another user could have prepared it, or another process holds the lock.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let lanes = directory.join(LANES);
        for existing in [directory, &lanes] {
            check_private_directory(existing).map_err(io("use", existing))?;
        }
        create_private_directories(&lanes).map_err(io("create", &lanes))?;
        sync_directory(directory)?;
        let path = directory.join(LOCK);
        let lock = private_file()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(explain_symbolic_link)
            .map_err(io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { lanes, _lock: Some(lock), turns: WeakCache::default() }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked(directory.to_owned())),
            Err(TryLockError::Error(source)) => Err(io("lock", &path)(source)),
        }
    }

    /// Returns a store for reading next to the process that owns the state. It takes no lock and creates nothing. The
    /// files that it reads are whole, since checkpoints are replaced and never written in place.
    pub fn open_read_only(directory: &Path) -> Self {
        Self { lanes: directory.join(LANES), _lock: None, turns: WeakCache::default() }
    }

    /// Runs file calls after those on the same path that were begun before. A write outlives a lane that does not wait
    /// for it: it must not replace what the lane's next start reads or writes.
    async fn in_turn<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let turn = self.turns.get_or_insert_with(path.to_owned(), Arc::default).lock_owned().await;
        let done = blocking(move || (work(), turn).0).await;
        // An unused turn is forgotten: a worker writes ten thousand paths.
        self.turns.forget_unused(path);
        done
    }

    fn path(&self, key: &CheckpointKey) -> PathBuf {
        self.named(key, SUFFIX)
    }

    fn journal(&self, key: &CheckpointKey) -> PathBuf {
        self.named(key, JOURNAL_SUFFIX)
    }

    fn named(&self, CheckpointKey { lane, part }: &CheckpointKey, suffix: &str) -> PathBuf {
        self.lanes.join(&lane.pipeline).join(lane.stream.name()).join(format!("{}{part}{suffix}", lane.sink))
    }
}

#[async_trait]
impl CheckpointBackend for FileStore {
    async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path(key);
        self.in_turn(&path.clone(), move || match read(&path)? {
            Some(sealed) => envelope::open(&sealed, &path.display().to_string()).map(Some),
            None => Ok(None),
        })
        .await
    }

    /// Writes the journal first, then the checkpoint that refers to it. Then it removes the dropped segments.
    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        let path = self.path(key);
        let directory = self.journal(key);
        self.in_turn(&path.clone(), move || {
            update.journal.appends.iter().try_for_each(|append| append_durably(&directory, append))?;
            write_durably(&path, &envelope::seal(&update.checkpoint))?;
            let mut removed = update.journal.released;
            removed.retain(|segment| remove(&directory.join(segment.to_string()), fs::remove_file).is_ok());
            Ok(removed)
        })
        .await
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    async fn read_journal(&self, key: &CheckpointKey, segment: u64) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.journal(key).join(segment.to_string());
        blocking(move || read(&path)).await
    }
}

#[async_trait]
impl Store for FileStore {
    async fn check_access(&self) -> Result<(), StateError> {
        let path = self.lanes.with_file_name(PROBE);
        blocking(move || {
            let mut file = private_file()
                .create(true)
                .write(true)
                .truncate(true)
                .open(&path)
                .map_err(explain_symbolic_link)
                .map_err(io("create", &path))?;
            file.write_all(PROBE.as_bytes()).and_then(|()| file.sync_data()).map_err(io("write", &path))?;
            remove(&path, fs::remove_file)
        })
        .await
    }

    async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError> {
        let root = self.lanes.clone();
        blocking(move || list(&root)).await
    }

    async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError> {
        let old_journal = self.journal(from);
        let new_journal = self.journal(to);
        let old = self.path(from);
        let new = self.path(to);
        let from = from.clone();
        let to = to.clone();
        // A lane that was aborted may still write.
        self.in_turn(&old.clone(), move || {
            if !old.exists() {
                return Err(StateError::Unknown(from));
            }
            if new.exists() {
                return Err(StateError::Exists(to));
            }
            let parent = create_parent(&new)?;
            if old_journal.exists() {
                // The journal is moved before the checkpoint, which alone makes the journal count. A crash in between
                // repeats this.
                remove(&new_journal, fs::remove_dir_all)?;
                fs::rename(&old_journal, &new_journal).map_err(io("rename", &old_journal))?;
            }
            fs::rename(&old, &new).map_err(io("rename", &old))?;
            sync_directory(&parent)?;
            old.parent().map_or(Ok(()), sync_directory)
        })
        .await
    }

    async fn delete(&self, key: &CheckpointKey) -> Result<(), StateError> {
        let path = self.path(key);
        let journal = self.journal(key);
        let key = key.clone();
        blocking(move || match fs::remove_file(&path) {
            Ok(()) => {
                remove(&journal, fs::remove_dir_all)?;
                path.parent().map_or(Ok(()), sync_directory)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StateError::Unknown(key)),
            Err(error) => Err(io("remove", &path)(error)),
        })
        .await
    }
}

/// Reads a file; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match read_file(path, MAX_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", path)(error)),
    }
}

fn append_durably(directory: &Path, append: &Append) -> Result<(), StateError> {
    let path = directory.join(append.segment.to_string());
    let parent = create_parent(&path)?;
    let is_new = !path.exists();
    let mut file = private_file()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(explain_symbolic_link)
        .map_err(io("open", &path))?;
    file.set_len(append.offset)
        .and_then(|()| file.seek(SeekFrom::End(0)))
        .and_then(|_| file.write_all(&append.bytes))
        .and_then(|()| file.sync_data())
        .map_err(io("write", &path))?;
    if is_new { sync_directory(&parent) } else { Ok(()) }
}

/// Removes a path. A path that is gone already counts as removed.
fn remove<'a>(path: &'a Path, by: impl FnOnce(&'a Path) -> std::io::Result<()>) -> Result<(), StateError> {
    match by(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Threads that wait for the disk at a time. One for each of a thousand new lanes would take more memory, for stacks
/// and allocator caches, than the lanes.
static DISK: Semaphore = Semaphore::const_new(16);

/// Runs file calls, which block, on a thread for them.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    // This is a task of its own: a caller that is not polled when its turn comes would hold up the others.
    let done = tokio::spawn(async move {
        // The semaphore is never closed, so this always yields a permit. The thread returns it.
        let turn = DISK.acquire().await.ok();
        result_of(tokio::task::spawn_blocking(move || (work(), turn).0)).await
    });
    result_of(done).await
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let parent = create_parent(path)?;
    let new = path.with_extension("new");
    let mut file = private_file()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&new)
        .map_err(explain_symbolic_link)
        .map_err(io("create", &new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", &new))?;
    fs::rename(&new, path).map_err(io("replace", path))?;
    sync_directory(&parent)
}

fn create_parent(path: &Path) -> Result<PathBuf, StateError> {
    let parent = path.parent().unwrap_or(Path::new(".")).to_owned();
    if !parent.is_dir() {
        create_private_directories(&parent).map_err(io("create", &parent))?;
        // The entry of the new directory must survive a crash too.
        parent.ancestors().skip(1).take(2).try_for_each(sync_directory)?;
    }
    Ok(parent)
}

fn sync_directory(directory: &Path) -> Result<(), StateError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(io("sync", directory))
}

fn list(root: &Path) -> Result<Vec<CheckpointKey>, StateError> {
    let mut keys = Vec::new();
    if !root.exists() {
        return Ok(keys);
    }
    for (pipeline, directory) in entries(root)? {
        // Another program's file, such as a file manager's, is no pipeline.
        if !directory.is_dir() {
            continue;
        }
        for (stream, directory) in entries(&directory)? {
            let Ok(stream) = stream.parse::<Stream>() else { continue };
            for (file, _) in entries(&directory)? {
                let name = file.strip_suffix(SUFFIX).map(|sink| format!("{pipeline}/{stream}/{sink}"));
                keys.extend(name.and_then(|name| name.parse::<CheckpointKey>().ok()));
            }
        }
    }
    keys.sort();
    Ok(keys)
}

fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, StateError> {
    let read = fs::read_dir(directory).map_err(io("read", directory))?;
    read.map(|entry| {
        let entry = entry.map_err(io("read", directory))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    })
    .collect()
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StateError + use<> {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s1_forwarder_engine::checkpoint::JournalChange;
    use s1_forwarder_record::LaneId;

    fn lane(sink: &str) -> CheckpointKey {
        LaneId::new("acme", Stream::Threats, sink).into()
    }

    fn appending(segment: u64, offset: u64, bytes: &str) -> CheckpointUpdate {
        let appends = vec![Append { segment, offset, bytes: bytes.into() }];
        CheckpointUpdate { checkpoint: bytes.into(), journal: JournalChange { appends, released: Vec::new() } }
    }

    fn dropping(segment: u64) -> CheckpointUpdate {
        let journal = JournalChange { appends: Vec::new(), released: vec![segment] };
        CheckpointUpdate { checkpoint: Vec::new(), journal }
    }

    #[tokio::test]
    async fn a_checkpoint_comes_back_as_it_was_saved() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        assert_eq!(store.load(&lane("bus")).await.unwrap(), None);
        store.commit(&lane("bus"), b"first".to_vec().into()).await.unwrap();
        store.commit(&lane("bus"), b"second".to_vec().into()).await.unwrap();
        assert_eq!(store.load(&lane("bus")).await.unwrap().as_deref(), Some(&b"second"[..]));
        assert_eq!(store.list().await.unwrap(), [lane("bus")]);

        store.rename(&lane("bus"), &lane("siem")).await.unwrap();
        assert_eq!(store.load(&lane("siem")).await.unwrap().as_deref(), Some(&b"second"[..]));
        assert!(matches!(store.rename(&lane("bus"), &lane("x")).await, Err(StateError::Unknown(_))));
        store.delete(&lane("siem")).await.unwrap();
        assert!(store.list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_damaged_or_newer_checkpoint_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        store.commit(&lane("bus"), b"payload".to_vec().into()).await.unwrap();
        let path = store.path(&lane("bus"));
        let whole = fs::read(&path).unwrap();

        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = store.load(&lane("bus")).await.unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "cut at {cut}: {error}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            let error = store.load(&lane("bus")).await.unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. } | StateError::Newer { .. }), "bit {bit}: {error}");
        }

        let mut newer = whole;
        newer[9] = 2;
        fs::write(&path, &newer).unwrap();
        assert!(matches!(store.load(&lane("bus")).await, Err(StateError::Newer { version: 2, .. })));
    }

    /// An unreadable checkpoint must not look like a new lane.
    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_and_what_is_not_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        assert!(matches!(store.delete(&lane("bus")).await, Err(StateError::Unknown(of)) if of == lane("bus")));
        assert_eq!(store.read_journal(&lane("bus"), 0).await.unwrap(), None);
        assert_eq!(store.commit(&lane("siem"), dropping(0)).await.unwrap(), [0], "it is gone already");

        fs::create_dir_all(store.path(&lane("bus"))).unwrap();
        fs::create_dir_all(store.journal(&lane("bus")).join("0")).unwrap();
        let is_io = |result: Result<(), StateError>| matches!(result, Err(StateError::Io { .. }));
        assert!(is_io(store.load(&lane("bus")).await.map(drop)));
        assert!(is_io(store.commit(&lane("bus"), Vec::new().into()).await.map(drop)));
        assert!(is_io(store.delete(&lane("bus")).await));
        assert!(is_io(store.read_journal(&lane("bus"), 0).await.map(drop)));
        fs::create_dir_all(store.journal(&lane("siem")).join("0")).unwrap();
        assert_eq!(store.commit(&lane("siem"), dropping(0)).await.unwrap(), [0; 0], "it stays for the next commit");
    }

    #[tokio::test]
    async fn a_lane_takes_no_name_that_another_has_and_its_journal_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        for sink in ["bus", "siem"] {
            store.commit(&lane(sink), appending(0, 0, sink)).await.unwrap();
        }
        assert!(
            matches!(store.rename(&lane("bus"), &lane("siem")).await, Err(StateError::Exists(of)) if of == lane("siem"))
        );
        assert_eq!(store.load(&lane("siem")).await.unwrap().as_deref(), Some(&b"siem"[..]));

        // A crash between the two renames of an earlier try has left this journal.
        store.commit(&lane("new"), appending(0, 0, "left")).await.unwrap();
        fs::remove_file(store.path(&lane("new"))).unwrap();
        store.rename(&lane("bus"), &lane("new")).await.unwrap();
        assert_eq!(store.read_journal(&lane("new"), 0).await.unwrap().as_deref(), Some(&b"bus"[..]));
        store.delete(&lane("siem")).await.unwrap();
        assert_eq!(store.read_journal(&lane("siem"), 0).await.unwrap(), None);
        assert_eq!(store.list().await.unwrap(), [lane("new")]);
    }

    /// A crash may leave a journal longer than its checkpoint says. The surplus is overwritten.
    #[tokio::test]
    async fn a_journal_is_continued_where_its_checkpoint_says() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        for (offset, bytes, whole) in [(0, "abc", "abc"), (3, "def", "abcdef"), (3, "x", "abcx")] {
            store.commit(&lane("bus"), appending(7, offset, bytes)).await.unwrap();
            assert_eq!(store.read_journal(&lane("bus"), 7).await.unwrap().as_deref(), Some(whole.as_bytes()));
        }
    }

    #[test]
    fn one_process_owns_the_state() {
        let directory = tempfile::tempdir().unwrap();
        let first = FileStore::open(directory.path()).unwrap();
        assert!(matches!(FileStore::open(directory.path()), Err(StateError::Locked(_))));
        drop(first);
        FileStore::open(directory.path()).unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_is_not_reached() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let store = FileStore::open(&state).unwrap();
        store.check_access().await.unwrap();
        assert!(!state.join(PROBE).exists());
        std::fs::rename(&state, directory.path().join("away")).unwrap();
        let error = store.check_access().await.unwrap_err().to_string();
        assert!(error.starts_with("cannot create ") && error.contains("No such file"), "{error}");
        std::fs::rename(directory.path().join("away"), &state).unwrap();
        store.check_access().await.unwrap();
    }

    /// A lane that is cut off while the disk hangs, and starts again, must not be overtaken by its last write.
    #[tokio::test]
    async fn a_write_that_nobody_waits_for_comes_before_what_follows() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        let path = directory.path().join("checkpoint");
        let (release, hangs) = std::sync::mpsc::channel::<()>();
        let written = path.clone();
        let mut write = Box::pin(store.in_turn(&path, move || {
            let _ = hangs.recv();
            fs::write(&written, "old").map_err(io("write", &written))
        }));
        assert!(futures_util::poll!(&mut write).is_pending());
        drop(write);
        let seen = path.clone();
        let other = directory.path().join("other");
        let mut next = Box::pin(store.in_turn(&path, move || read(&seen)));
        assert!(futures_util::poll!(&mut next).is_pending());
        store.in_turn(&other, || Ok(())).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(futures_util::poll!(&mut next).is_pending(), "it waits for the write");
        release.send(()).unwrap();
        assert_eq!(next.await.unwrap().as_deref(), Some(&b"old"[..]));
    }
}
