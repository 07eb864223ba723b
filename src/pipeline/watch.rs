//! When to look at the pipeline files again: on notification, and every ten seconds for what notifies nobody (network mounts,
//! the targets of symlinks).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

#[cfg(feature = "kubernetes")]
use super::labelled::Following;
use super::location::Labelled;
use super::objects::Objects;
use super::sources::is_pipeline_file;

/// Which files to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// All: nobody knows what changed.
    All,
    /// These, with the names that [`Files`](super::Files) has for them.
    Paths(BTreeSet<PathBuf>),
}

const RESCAN: Duration = Duration::from_secs(10);
/// An editor or a copy writes a file in several steps: wait until nothing has moved for this long.
const QUIET: Duration = Duration::from_millis(200);
/// But under steady changes not longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits for changes of pipeline files.
#[derive(Debug)]
pub struct Watch {
    pending: Arc<Pending>,
    watcher: Option<RecommendedWatcher>,
    /// Directories to watch that are not watched yet, since they are not there.
    unwatched: Vec<PathBuf>,
    rescan: tokio::time::Interval,
    #[cfg(feature = "kubernetes")]
    following: Option<Following>,
}

/// What to look at, collected until somebody looks.
#[derive(Debug, Default)]
pub(super) struct Pending {
    scan: Mutex<Option<Scan>>,
    arrived: Notify,
}

impl Watch {
    /// Begins to watch `paths` (files or directories) and the defaults file. Where notification is not to be had, the
    /// rescan remains.
    pub fn new(paths: &[PathBuf], defaults: Option<&Path>) -> Self {
        let pending = Arc::new(Pending::default());
        let mut directories: Vec<PathBuf> = paths.iter().map(|path| directory_of(path)).collect();
        directories.extend(defaults.map(directory_of));
        directories.sort();
        directories.dedup();
        let mut rescan = tokio::time::interval_at(Instant::now() + RESCAN, RESCAN);
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let names = Names::new(paths);
        let heard = Arc::clone(&pending);
        let watcher = notify::recommended_watcher(move |event| heard.hear(event, &names))
            .inspect_err(
                |error| tracing::warn!(%error, "no notification of changed files; they are looked at every 10s"),
            )
            .ok();
        let mut watch = Self {
            pending,
            watcher,
            unwatched: directories,
            rescan,
            #[cfg(feature = "kubernetes")]
            following: None,
        };
        watch.begin();
        watch
    }

    /// Begins to watch `labelled` too, and to fill `objects` with what is found.
    #[cfg_attr(not(feature = "kubernetes"), allow(unused_variables, reason = "there are none"))]
    pub(super) fn follow(&mut self, labelled: Vec<Labelled>, objects: &Objects) {
        #[cfg(feature = "kubernetes")]
        if !labelled.is_empty() {
            self.following = Some(Following::begin(labelled, objects, &self.pending));
        }
    }

    /// Waits until what is not a file was asked for once, and was answered or not.
    pub async fn answered(&mut self) {
        #[cfg(feature = "kubernetes")]
        if let Some(following) = &mut self.following {
            following.answered().await;
        }
    }

    /// Waits until something may have changed, and a moment longer until it has settled. What is returned says only where
    /// to look: whether contents changed is for [`Files::rescan`](super::Files::rescan) to find out. Cancel-safe.
    pub async fn changed(&mut self) -> Scan {
        if self.pending.is_waiting() {
            // Somebody began to wait for it to settle, and left.
            return self.pending.settled().await;
        }
        tokio::select! {
            () = self.pending.arrived.notified() => self.pending.settled().await,
            _ = self.rescan.tick() => {
                self.begin();
                Scan::All
            }
        }
    }

    fn begin(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        self.unwatched.retain(|directory| match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => false,
            Err(error) => {
                tracing::debug!(path = %directory.display(), %error, "not watched yet");
                true
            }
        });
    }
}

/// A single file is watched through its directory, since it may be replaced by another of its name.
fn directory_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// From the absolute directories in events back to the paths as they were given.
struct Names(BTreeMap<PathBuf, PathBuf>);

impl Names {
    fn new(paths: &[PathBuf]) -> Self {
        let directories = paths.iter().filter(|path| path.is_dir());
        Self(directories.filter_map(|path| Some((std::env::current_dir().ok()?.join(path), path.clone()))).collect())
    }

    /// Only regular names in a directory can be looked at alone: `..data`, a defaults file, a directory may mean anything.
    fn of(&self, event: &Path) -> Option<PathBuf> {
        let name = event.file_name().filter(|name| is_pipeline_file(name))?;
        Some(self.0.get(event.parent()?)?.join(name))
    }
}

impl Pending {
    fn hear(&self, event: notify::Result<notify::Event>, names: &Names) {
        let heard = match event {
            // Reading a file is an event too, and would make us read it for ever.
            Ok(event) if is_read(event.kind) => return,
            Ok(event) if event.need_rescan() || event.paths.is_empty() => None,
            Ok(event) => event.paths.iter().map(|path| names.of(path)).collect::<Option<BTreeSet<_>>>(),
            Err(_) => None,
        };
        self.add(heard);
    }

    /// These may have changed; without paths, anything.
    pub fn add(&self, paths: Option<BTreeSet<PathBuf>>) {
        let mut scan = self.scan.lock().unwrap_or_else(PoisonError::into_inner);
        *scan = Some(match (scan.take(), paths) {
            (None, Some(paths)) => Scan::Paths(paths),
            (Some(Scan::Paths(mut before)), Some(paths)) => {
                before.extend(paths);
                Scan::Paths(before)
            }
            _ => Scan::All,
        });
        drop(scan);
        self.arrived.notify_one();
    }

    fn is_waiting(&self) -> bool {
        self.scan.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    async fn settled(&self) -> Scan {
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience && tokio::time::timeout(QUIET, self.arrived.notified()).await.is_ok() {}
        self.scan.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(Scan::All)
    }
}

fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
