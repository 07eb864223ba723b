//! Remembers over restarts which tenant's file had each name first. The names are an object in an area of the state.
//!
//! Without these names, a file of the same name in another directory would run when the first one is invalid or gone.
//! It would take over the first one's checkpoints, and its secrets where `--secrets-dir` has `{pipeline}`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError, Store};
use s1_forwarder_failure::catch_panic::result_of;
use s1_forwarder_record::{LaneId, Stream};
use s1_forwarder_state::Access;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tracing::{error, warn};

use super::options::Options;
use crate::pipeline::{self, Changes, FileOptions, Files, Loaded, Location, Owners, Scan};

const VERSION: u32 = 1;
/// Wait before the state is asked again.
const RETRY: Duration = Duration::from_secs(2);
/// Number of attempts to store names while other workers store theirs.
const ATTEMPTS: usize = 8;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    /// Paths by names of pipelines.
    files: Owners,
}

/// The stored owners of names.
#[derive(Debug)]
pub struct NameOwners {
    store: Arc<dyn Store>,
    /// The owners as they were last read or written; `None` before.
    known: parking_lot::Mutex<Option<Owners>>,
}

fn owners_area() -> &'static Path {
    Path::new("names")
}

fn key() -> CheckpointKey {
    LaneId::new("names", Stream::Activities, "files").into()
}

impl NameOwners {
    /// Opens the stored names. `None` if all files are the operator's.
    ///
    /// # Errors
    /// If the state cannot be used.
    pub async fn open(options: &Options) -> Result<Option<Self>, StateError> {
        if !options.files.tenants.for_files {
            return Ok(None);
        }
        Ok(Some(Self { store: options.open_state(Some(owners_area())).await?, known: parking_lot::Mutex::default() }))
    }

    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Passes the stored names to the files before these are read. Waits while the state does not answer: no file may
    /// run under the name of another one.
    pub async fn tell(&self, files: &mut Files) {
        if self.known.lock().is_some() && !files.has_refused_names() {
            return;
        }
        let mut logged = false;
        let owners = loop {
            match self.store.load(&key()).await.and_then(|bytes| decode(bytes.as_deref())) {
                Ok(owners) => break owners,
                Err(error) if !logged => {
                    logged = true;
                    error!(%error, "the names of tenants' files cannot be read from the state: no pipeline file is read until they can");
                }
                Err(_) => {}
            }
            sleep(RETRY).await;
        };
        *self.known.lock() = Some(owners.clone());
        files.set_owners(owners);
    }

    /// Stores the names that the files have now. Returns false if another worker has given a name to another file. The
    /// files then have the stored names, and have to be read again.
    pub async fn keep(&self, files: &mut Files) -> bool {
        if self.known.lock().as_ref() == Some(files.owners()) {
            return true;
        }
        for _ in 0..ATTEMPTS {
            match self.merge(files.owners()).await {
                Ok(owners) => {
                    let is_same = owners == *files.owners();
                    *self.known.lock() = Some(owners.clone());
                    files.set_owners(owners);
                    return is_same;
                }
                Err(StateError::Conflict { .. }) => {}
                Err(error) => {
                    warn!(%error, "the names of tenants' files cannot be stored: another file could have one of them after a restart");
                    return true;
                }
            }
        }
        true
    }

    /// Adds names to those that are stored. Names that are stored stay as they are, unless their file is in no
    /// directory that is read.
    async fn merge(&self, own: &Owners) -> Result<Owners, StateError> {
        let before = decode(self.store.claim(&key()).await?.as_deref())?;
        let known = self.known.lock().clone().unwrap_or_default();
        let mut owners = own.clone();
        for (name, path) in &before {
            // A name that this worker has read before and left out since is not kept.
            if known.get(name) != Some(path) {
                owners.insert(name.clone(), path.clone());
            }
        }
        if owners != before {
            self.store.commit(&key(), encode(&owners).into()).await?;
        }
        Ok(owners)
    }
}

/// Reads the pipeline files that have changed, in a thread: the file system may not answer.
pub async fn rescan(mut files: Files, scan: Scan, owners: Option<&NameOwners>) -> (Files, Changes) {
    let mut changes: Option<Changes> = None;
    loop {
        if let Some(owners) = owners {
            owners.tell(&mut files).await;
        }
        let scan = scan.clone();
        let scanned = tokio::task::spawn_blocking(move || {
            let changes = files.rescan(&scan);
            (files, changes)
        });
        let found;
        (files, found) = result_of(scanned).await;
        let all = match changes.take() {
            Some(before) => before.then(found),
            None => found,
        };
        match owners {
            Some(owners) if !owners.keep(&mut files).await => changes = Some(all),
            _ => return (files, all),
        }
    }
}

/// Reads all pipeline files once, as a worker does that owns the state.
///
/// # Errors
/// If the state cannot be used.
pub async fn read_files(options: &Options) -> Result<Loaded, StateError> {
    let owners = NameOwners::open(options).await?;
    let (files, mut watch) = pipeline::open(&options.pipelines, &options.files).await;
    watch.first_listing().await;
    let (files, _) = rescan(files, Scan::All, owners.as_ref()).await;
    if let Some(owners) = owners {
        owners.close().await;
    }
    Ok(files.loaded())
}

/// Reads the pipeline files next to a worker. The worker decides about names.
///
/// # Errors
/// If the state cannot be read.
pub async fn read_other_files(
    locations: &[Location],
    files: &FileOptions,
    options: &Options,
) -> Result<Loaded, StateError> {
    if !files.tenants.for_files {
        return Ok(pipeline::read(locations, files).await);
    }
    let (mut files, mut watch) = pipeline::open(locations, files).await;
    let store = options.read_state(Some(owners_area())).await?;
    files.set_owners(decode(store.load(&key()).await?.as_deref())?);
    watch.first_listing().await;
    Ok(rescan(files, Scan::All, None).await.0.loaded())
}

/// Removes the owner of a name, next to a running worker too. Returns the path of its file.
///
/// # Errors
/// If the state cannot be read or written.
pub async fn release_name(options: &Options, name: &str) -> Result<Option<std::path::PathBuf>, StateError> {
    // Without the lock of the area, which the worker has.
    let access = match options.state {
        s1_forwarder_state::StoreLocation::File(_) => Access::Read,
        _ => Access::Write { owner: &options.process_name },
    };
    let store = options.state.open(&options.instance, access, Some(owners_area())).await?;
    let mut owners = decode(store.claim(&key()).await?.as_deref())?;
    let released = owners.remove(name);
    if released.is_some() {
        store.commit(&key(), encode(&owners).into()).await?;
    }
    store.close().await;
    Ok(released)
}

fn encode(owners: &Owners) -> Vec<u8> {
    let stored = Stored { v: VERSION, files: owners.clone() };
    serde_json::to_vec(&stored).unwrap_or_default()
}

fn decode(bytes: Option<&[u8]>) -> Result<Owners, StateError> {
    let Some(bytes) = bytes else { return Ok(Owners::new()) };
    let damaged = |reason| StateError::Damaged { place: "the names of tenants' files".to_owned(), reason };
    match serde_json::from_slice::<Stored>(bytes) {
        Ok(stored) if stored.v <= VERSION => Ok(stored.files),
        Ok(_) => Err(damaged("a newer release wrote it")),
        Err(_) => Err(damaged("it is not what this program writes")),
    }
}
