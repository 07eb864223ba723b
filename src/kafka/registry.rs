//! The transactional ids of the process, and what it knows of those of others.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::owner::Owner;
use super::record::Claim;

/// A process that has said nothing for so long does not hold its id any more.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the producers may take to give up their ids at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Names the process in what others read. The number at the end tells apart those of containers, which all have the same
/// process id.
pub(crate) static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} process {} ({:08x})", host.trim(), std::process::id(), fastrand::u32(..))
});

/// The transactional ids that this process holds or held.
#[derive(Debug)]
pub(crate) struct Owners {
    instance: String,
    known: Mutex<Known>,
    pub(super) tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Known {
    owners: HashMap<String, Weak<Owner>>,
    /// Ids and lanes that this process has held: it takes those once, and does not fight for them.
    held: HashSet<String>,
    /// The last claim seen of each id of others, and since when it is the same.
    claims: HashMap<String, (Claim, Instant)>,
}

impl Owners {
    /// For a process of the installation `instance`.
    pub(crate) fn new(instance: &str) -> Arc<Self> {
        Arc::new(Self { instance: instance.to_owned(), known: Mutex::default(), tasks: TaskTracker::new() })
    }

    /// The owner of the id for `set` (a hash of broker settings) and `shard`, whose checkpoints are in `topic`.
    pub(crate) fn get(self: &Arc<Self>, set: &str, shard: u32, topic: &str) -> Arc<Owner> {
        let id = format!("{}-{shard}-{set}", self.instance);
        let mut known = self.lock();
        if let Some(owner) = known.owners.get(&id).and_then(Weak::upgrade) {
            return owner;
        }
        let owner = Arc::new(Owner::new(self.clone(), id.clone(), topic.to_owned()));
        known.owners.retain(|_, owner| owner.strong_count() > 0);
        known.owners.insert(id, Arc::downgrade(&owner));
        owner
    }

    /// The owner of this id, if it lives in this process.
    pub(super) fn living(&self, id: &str) -> Option<Arc<Owner>> {
        self.lock().owners.get(id).and_then(Weak::upgrade)
    }

    /// Remembers that this process has held an id or a lane.
    pub(super) fn hold(&self, name: &str) {
        self.lock().held.insert(name.to_owned());
    }

    pub(super) fn has_held(&self, name: &str) -> bool {
        self.lock().held.contains(name)
    }

    /// This process has the shard again by its lease: whoever had its ids meanwhile has them no more.
    pub(crate) fn acquired(&self, shard: u32) {
        let ids = format!("{}-{shard}-", self.instance);
        self.lock().held.retain(|name| !name.starts_with(&ids));
    }

    /// The other process that holds `id`, as far as its claim tells: it was renewed since we have been watching.
    pub(super) fn holder(&self, id: &str, claim: Option<&Claim>) -> Option<String> {
        let claim = claim.filter(|claim| !claim.released && claim.process != *PROCESS)?;
        let mut known = self.lock();
        let seen = known.claims.entry(id.to_owned()).or_insert_with(|| (claim.clone(), Instant::now()));
        if seen.0 != *claim {
            *seen = (claim.clone(), Instant::now());
        }
        (seen.1.elapsed() < SILENCE).then(|| claim.process.clone())
    }

    /// An id of this installation that nobody commits under.
    pub(crate) fn idle_id(&self) -> String {
        format!("{}-check", self.instance)
    }

    /// Waits until the producers that nobody uses any more have given up their ids, but not for long.
    pub(crate) async fn close(&self) {
        self.tasks.close();
        let _ = tokio::time::timeout(FAREWELL, self.tasks.wait()).await;
    }

    /// Ids that are held now.
    pub(crate) fn count(&self) -> usize {
        let owners: Vec<_> = self.lock().owners.values().filter_map(Weak::upgrade).collect();
        owners.iter().filter(|owner| owner.is_open()).count()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
