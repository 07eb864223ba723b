//! Decides when to scan the pipeline files again: on notification, and every ten seconds. Network mounts and the
//! targets of symlinks send no notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use s1_forwarder_settings::ask_file_system;
use tokio::time::{Instant, MissedTickBehavior};

use super::location::Namespaces;
use super::pending::{Pending, Scan};
#[cfg(feature = "kubernetes")]
use super::resource_watch::ResourceWatch;
use super::resources::Resources;
use super::sources::is_pipeline_file;

const RESCAN: Duration = Duration::from_secs(10);

/// Waits for changes of pipeline files.
#[derive(Debug)]
pub struct Watch {
    pending: Arc<Pending>,
    directories: Arc<Mutex<Directories>>,
    rescan: tokio::time::Interval,
    resources: Option<Resources>,
    #[cfg(feature = "kubernetes")]
    resource_watch: Option<ResourceWatch>,
}

/// The directories of the pipeline files.
#[derive(Debug)]
struct Directories {
    watcher: Option<RecommendedWatcher>,
    /// Paths whose directories could not be watched yet: they do not exist, or their file system does not answer.
    unwatched: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches `paths` (files or directories) and the defaults file. Without notifications, only the regular scans
    /// remain. Waits for a file system as [`read_file`](s1_forwarder_settings::read_file) does.
    pub fn new(paths: &[PathBuf], defaults: Option<&Path>) -> Self {
        let pending = Arc::new(Pending::default());
        let unwatched = paths.iter().cloned().chain(defaults.map(Path::to_owned)).collect();
        let mut rescan = tokio::time::interval_at(Instant::now() + RESCAN, RESCAN);
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let names = Names::new(paths);
        let notified = Arc::clone(&pending);
        let watcher = notify::recommended_watcher(move |event| names.add_event(event, &notified))
            .inspect_err(
                |error| tracing::warn!(%error, "no notifications of changed files: they are checked every 10s"),
            )
            .ok();
        let mut directories = Directories { watcher, unwatched };
        directories.watch();
        Self {
            pending,
            directories: Arc::new(Mutex::new(directories)),
            rescan,
            resources: None,
            #[cfg(feature = "kubernetes")]
            resource_watch: None,
        }
    }

    /// Also watches resources, and stores what is found in `resources`.
    #[cfg_attr(not(feature = "kubernetes"), allow(unused_variables, reason = "there are none"))]
    pub(super) fn watch_resources(&mut self, namespaces: Vec<Namespaces>, resources: &Resources) {
        #[cfg(feature = "kubernetes")]
        if !namespaces.is_empty() {
            self.resources = Some(resources.clone());
            self.resource_watch = Some(ResourceWatch::start(namespaces, resources, &self.pending));
        }
    }

    /// Returns the `Pipeline` resources; `None` if there are none to watch.
    pub fn resources(&self) -> Option<Resources> {
        self.resources.clone()
    }

    /// Waits until the API server has answered or refused the first listing of resources.
    pub async fn first_listing(&mut self) {
        #[cfg(feature = "kubernetes")]
        if let Some(resource_watch) = &mut self.resource_watch {
            resource_watch.first_listing().await;
        }
    }

    /// Waits until files may have changed, and until the notifications pause. [`Files::rescan`](super::Files::rescan)
    /// finds out whether contents changed. Cancel-safe.
    pub async fn changed(&mut self) -> Scan {
        if self.pending.is_waiting() {
            // An earlier call was cancelled while it waited for the pause.
            return self.pending.take_after_pause().await;
        }
        tokio::select! {
            () = self.pending.added() => self.pending.take_after_pause().await,
            _ = self.rescan.tick() => {
                self.watch_new_directories();
                Scan::All
            }
        }
    }

    /// Does not wait for it: the file system may not answer.
    fn watch_new_directories(&self) {
        let has_some = self.directories.try_lock().is_some_and(|directories| !directories.unwatched.is_empty());
        if has_some {
            let directories = self.directories.clone();
            tokio::task::spawn_blocking(move || directories.lock().watch());
        }
    }
}

impl Directories {
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut watched = BTreeSet::new();
        self.unwatched.retain(|path| {
            let result = directory_of(path).map_err(notify::Error::io).and_then(|directory| {
                if !watched.contains(&directory) {
                    watcher.watch(&directory, RecursiveMode::NonRecursive)?;
                    watched.insert(directory);
                }
                Ok(())
            });
            result
                .inspect_err(|error| tracing::debug!(path = %path.display(), %error, "it cannot be watched yet"))
                .is_err()
        });
    }
}

/// Returns the directory to watch for a path. A single file is watched through its directory, since another file may
/// replace it.
fn directory_of(path: &Path) -> io::Result<PathBuf> {
    if ask_file_system(path, |path| Ok(path.is_dir()))? {
        return Ok(path.to_owned());
    }
    Ok(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned())
}

/// Maps the absolute directories in events to the paths of `--pipelines`.
struct Names(BTreeMap<PathBuf, PathBuf>);

impl Names {
    fn new(paths: &[PathBuf]) -> Self {
        let absolute = |path: &PathBuf| Some((std::env::current_dir().ok()?.join(path), path.clone()));
        Self(paths.iter().filter_map(absolute).collect())
    }

    /// Returns the file that changed. `None` if more than this file may have changed, as with `..data`, a defaults file
    /// or a directory.
    fn of(&self, event: &Path) -> Option<PathBuf> {
        let name = event.file_name().filter(|name| is_pipeline_file(name))?;
        Some(self.0.get(event.parent()?)?.join(name))
    }

    fn add_event(&self, event: notify::Result<notify::Event>, pending: &Pending) {
        let paths = match event {
            // A read is an event too. Scans would cause further scans.
            Ok(event) if is_read(event.kind) => return,
            Ok(event) if event.need_rescan() || event.paths.is_empty() => None,
            Ok(event) => event.paths.iter().map(|path| self.of(path)).collect::<Option<BTreeSet<_>>>(),
            Err(_) => None,
        };
        pending.add(paths);
    }
}

fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
