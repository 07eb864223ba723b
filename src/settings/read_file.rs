//! Reads files that others name: pipeline files, tokens, certificates. The file may be a pipe, a device, or on a file
//! system that does not answer.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

/// A file system that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

static HANGING: LazyLock<Mutex<Hanging>> = LazyLock::new(Mutex::default);

/// What did not answer in time.
#[derive(Debug, Default)]
struct Hanging {
    /// Paths whose last call has not ended yet. Each has one thread.
    paths: HashSet<PathBuf>,
    /// Directories, and until when the other files in them are not tried: thousands of files of one dead mount would
    /// each take the whole timeout.
    directories: HashMap<PathBuf, Instant>,
}

impl Hanging {
    fn has(&self, path: &Path, directory: &Path, now: Instant) -> bool {
        self.paths.contains(path) || self.directories.get(directory).is_some_and(|until| now < *until)
    }

    fn add(&mut self, path: &Path, directory: &Path, now: Instant, patience: Duration) {
        self.paths.insert(path.to_owned());
        self.directories.retain(|_, until| now < *until);
        self.directories.insert(directory.to_owned(), now + patience);
    }
}

/// Reads a regular file of at most `max` bytes. It waits at most 5 s for the file system and can be called on a thread
/// of the runtime, whose other tasks go on.
///
/// # Errors
/// Those of the system; `InvalidInput` if it is no regular file, `FileTooLarge`, or `TimedOut`.
pub fn read_file(path: &Path, max: usize) -> Result<Vec<u8>> {
    let file = path.to_owned();
    within(PATIENCE, path, path.parent().unwrap_or(path), move || read_regular(&file, max))
}

/// Calls `ask`, which asks about the file or directory `path`, as [`read_file`] reads a file.
///
/// # Errors
/// Those of `ask`, or `TimedOut`.
pub fn ask_file_system<T: Send + 'static>(path: &Path, ask: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    within(PATIENCE, path, path, ask)
}

/// The error for what is neither a file nor a symbolic link to one.
pub fn not_a_regular_file() -> Error {
    Error::new(ErrorKind::InvalidInput, "it is not a regular file")
}

fn read_regular(path: &Path, max: usize) -> Result<Vec<u8>> {
    // Without the flag, opening a pipe waits for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(not_a_regular_file());
    }
    let mut bytes = Vec::new();
    // One byte more shows that the file is too large, without reading all of it.
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

/// Runs `read` in a thread of its own. While an earlier read of `path` hangs, later ones fail at once, so that the
/// threads do not add up.
fn within<T: Send + 'static>(
    patience: Duration,
    path: &Path,
    directory: &Path,
    read: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let silent = || Error::new(ErrorKind::TimedOut, "the file system does not answer");
    if HANGING.lock().has(path, directory, Instant::now()) {
        return Err(silent());
    }
    // Without a buffer: what is sent has been received, or the receiver is gone.
    let (send, receive) = sync_channel(0);
    let owned = path.to_owned();
    std::thread::Builder::new().name("read-file".to_owned()).spawn(move || {
        // Fails after the timeout. The path is marked then.
        if send.send(read()).is_err() {
            HANGING.lock().paths.remove(&owned);
        }
    })?;
    match off_the_runtime(|| receive.recv_timeout(patience)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            // Before the receiver is dropped, which lets the thread remove the mark.
            HANGING.lock().add(path, directory, Instant::now(), patience);
            Err(silent())
        }
        Err(RecvTimeoutError::Disconnected) => Err(Error::other("the thread that read it panicked")),
    }
}

/// Lets the other tasks of a runtime thread continue on another one.
pub(super) fn off_the_runtime<T>(wait: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read_and_only_so_much() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "12345678").unwrap();
        assert_eq!(read_file(&file, 8).unwrap(), b"12345678");
        assert_eq!(read_file(&file, 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for other in [&pipe, Path::new("/dev/zero"), directory.path()] {
            assert_eq!(read_file(other, 8).unwrap_err().kind(), ErrorKind::InvalidInput, "{}", other.display());
        }
        let missing = read_file(&directory.path().join("missing"), 8).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_file_system_that_hangs_holds_up_one_task_and_one_thread() {
        let (path, directory) = (Path::new("dead mount/file"), Path::new("dead mount"));
        let (end, ended) = sync_channel::<()>(1);
        let reading = tokio::spawn(async {
            within(Duration::from_millis(200), path, directory, move || {
                ended.recv().ok();
                Ok(())
            })
        });
        // The runtime has one thread: this task only runs if the reading one does not keep it.
        let turned = tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
        turned.await.unwrap();
        assert!(!reading.is_finished());
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        let fails_at_once = |path: &Path| {
            let again =
                within(Duration::from_secs(60), path, directory, || -> Result<()> { panic!("no second thread") });
            assert_eq!(again.unwrap_err().kind(), ErrorKind::TimedOut);
        };
        fails_at_once(path);
        // So does another file of the directory, for a while.
        let other = Path::new("dead mount/other");
        fails_at_once(other);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(within(Duration::from_secs(60), other, directory, || Ok(7)).unwrap(), 7);
        fails_at_once(path);
        end.send(()).unwrap();
        while HANGING.lock().paths.contains(path) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(within(Duration::from_secs(60), path, directory, || Ok(7)).unwrap(), 7);
    }
}
