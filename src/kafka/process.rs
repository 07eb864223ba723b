//! The transactional ids that this process holds or held, and the claims of other processes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::record::Claim;
use super::session::Session;

/// A claim that has not changed for this long has expired.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout for producers to release their ids when the process ends.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The name of this process in the topic. Containers often have equal process ids, so a random number is part of the
/// name.
pub(crate) static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} process {} ({:08x})", host.trim(), std::process::id(), fastrand::u32(..))
});

/// Shared by all transactional ids of the process.
#[derive(Debug, Default)]
pub(super) struct ProcessIds {
    known: Mutex<Known>,
    pub(super) tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Known {
    /// The last session of each id.
    sessions: HashMap<String, Weak<Session>>,
    /// Ids and lanes that this process has held. If another process holds one now, this process waits for it.
    held: HashSet<String>,
    /// The last claim of each id of another process, and the time of its last change.
    claims: HashMap<String, (Claim, Instant)>,
}

impl ProcessIds {
    pub(super) fn opened(&self, id: &str, session: &Arc<Session>) {
        let mut known = self.known.lock();
        known.sessions.retain(|_, session| session.strong_count() > 0);
        known.sessions.insert(id.to_owned(), Arc::downgrade(session));
        known.held.insert(id.to_owned());
    }

    /// Returns the session of this id until the session ends.
    pub(super) fn session(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.known.lock().sessions.get(id).and_then(Weak::upgrade);
        session.filter(|session| session.end().is_none())
    }

    pub(super) fn hold(&self, lane: &str) {
        self.known.lock().held.insert(lane.to_owned());
    }

    pub(super) fn has_held(&self, name: &str) -> bool {
        self.known.lock().held.contains(name)
    }

    /// Forgets the held ids and lanes that begin with `prefix`.
    pub(super) fn forget_held(&self, prefix: &str) {
        self.known.lock().held.retain(|name| !name.starts_with(prefix));
    }

    /// Returns the other process that holds `id`, if its claim is not released and has not expired.
    pub(super) fn holder(&self, id: &str, claim: Option<&Claim>) -> Option<String> {
        let claim = claim.filter(|claim| !claim.released && claim.process != *PROCESS)?;
        let mut known = self.known.lock();
        let seen = known.claims.entry(id.to_owned()).or_insert_with(|| (claim.clone(), Instant::now()));
        if seen.0 != *claim {
            *seen = (claim.clone(), Instant::now());
        }
        (seen.1.elapsed() < CLAIM_TIMEOUT).then(|| claim.process.clone())
    }

    /// Waits until unused producers have released their ids.
    pub(super) async fn close(&self) {
        self.tasks.close();
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, self.tasks.wait()).await;
    }
}
