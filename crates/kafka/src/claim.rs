//! The claims of processes on transactional ids, in the checkpoint topic: key `@ID`, an empty value, and the headers
//! `process`, `beat` and `state`.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::headers::{RecordHeaders, headers};
use super::send::Message;
use super::topic::Topic;

/// Time after which a claim that has not changed has expired.
const CLAIM_TIMEOUT: Duration = Duration::from_mins(1);

/// The name of this process in the topic. Containers often have equal process ids, so a random number is part of the
/// name.
pub static PROCESS_NAME: LazyLock<String> = LazyLock::new(|| {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} process {} ({:08x})", host.trim(), std::process::id(), fastrand::u32(..))
});

/// Returns the key of the claim on `id`.
pub(super) fn claim_key(id: &str) -> String {
    format!("@{id}")
}

/// The holder of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    process: String,
    /// Changes while the process runs.
    beat: u64,
    released: bool,
}

impl Claim {
    pub(super) fn of(headers: &RecordHeaders) -> Self {
        let released = headers.text("state") != "held";
        Self { process: headers.text("process"), beat: headers.number("beat"), released }
    }
}

/// This process's claim on an id.
#[derive(Debug, Clone)]
pub(super) struct OwnClaim {
    pub(super) id: String,
    pub(super) topic: String,
    pub(super) partitions: i32,
}

impl OwnClaim {
    /// Returns the record that renews or releases the claim.
    pub(super) fn message(&self, beat: u64, released: bool) -> Message {
        let key = claim_key(&self.id);
        let headers = headers(&[
            ("process", &PROCESS_NAME),
            ("beat", &beat.to_string()),
            ("state", if released { "released" } else { "held" }),
        ]);
        let partition = Topic::partition_of(&key, self.partitions);
        Message { topic: self.topic.clone(), partition, key, value: Some(Vec::new()), headers: Some(headers) }
    }
}

/// Ids and lanes that this process has held, and the claims of other processes.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Ids and lanes that this process has held. If another process holds one now, this process waits for it.
    held: Mutex<HashSet<String>>,
    /// The last claim of each id of another process, and the time of its last change.
    claims: Mutex<HashMap<String, (Claim, Instant)>>,
}

impl Holders {
    pub(super) fn hold(&self, name: &str) {
        self.held.lock().insert(name.to_owned());
    }

    pub(super) fn has_held(&self, name: &str) -> bool {
        self.held.lock().contains(name)
    }

    /// Forgets the held ids and lanes that begin with `prefix`.
    pub(super) fn forget(&self, prefix: &str) {
        self.held.lock().retain(|name| !name.starts_with(prefix));
    }

    /// Returns the other process that holds `id`, if its claim is not released and has not expired.
    pub(super) fn other_holder(&self, id: &str, claim: Option<&Claim>) -> Option<String> {
        let claim = claim.filter(|claim| !claim.released && claim.process != *PROCESS_NAME)?;
        let mut claims = self.claims.lock();
        let seen = claims.entry(id.to_owned()).or_insert_with(|| (claim.clone(), Instant::now()));
        if seen.0 != *claim {
            *seen = (claim.clone(), Instant::now());
        }
        (seen.1.elapsed() < CLAIM_TIMEOUT).then(|| claim.process.clone())
    }
}
