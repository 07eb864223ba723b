//! Collects the files and resources that have to be scanned again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Editors and copies write a file in several steps. A scan waits until there was no notification for this long.
const QUIET: Duration = Duration::from_millis(200);
/// Maximum of that wait.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The files to check for changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    All,
    /// Paths as [`Files`](super::Files) has them.
    Paths(BTreeSet<PathBuf>),
}

/// The files to check, collected until the next scan.
#[derive(Debug, Default)]
pub(super) struct Pending {
    scan: Mutex<Option<Scan>>,
    added: Notify,
}

impl Pending {
    /// Adds paths that may have changed. Without paths, any file may have changed.
    pub fn add(&self, paths: Option<BTreeSet<PathBuf>>) {
        let mut scan = self.scan.lock();
        *scan = Some(match (scan.take(), paths) {
            (None, Some(paths)) => Scan::Paths(paths),
            (Some(Scan::Paths(mut before)), Some(paths)) => {
                before.extend(paths);
                Scan::Paths(before)
            }
            _ => Scan::All,
        });
        drop(scan);
        self.added.notify_one();
    }

    pub async fn added(&self) {
        self.added.notified().await;
    }

    pub fn is_waiting(&self) -> bool {
        self.scan.lock().is_some()
    }

    /// Waits until the notifications pause.
    pub async fn take_after_pause(&self) -> Scan {
        let deadline = Instant::now() + MAX_WAIT;
        while Instant::now() < deadline && tokio::time::timeout(QUIET, self.added.notified()).await.is_ok() {}
        self.scan.lock().take().unwrap_or(Scan::All)
    }
}
