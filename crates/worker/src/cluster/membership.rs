//! The shards of this worker, as the supervisor sees them.

use s1_forwarder_engine::console;
use s1_forwarder_engine::sink::Deadline;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A change of this worker's shards, for the supervisor.
#[derive(Debug)]
pub enum ShardChange {
    /// This worker has the shard. Its lanes may deliver until the deadline, which renewals of the lease extend.
    Acquired(u32, Deadline),
    /// The lanes of the shard have to drain. The supervisor answers with [`Drained`].
    Drain(u32),
    /// The lanes of the shard have to end at once.
    Lost(u32),
}

/// All lanes of the shard have ended.
#[derive(Debug)]
pub struct Drained(pub u32);

/// The membership of this worker.
#[derive(Debug)]
pub struct Membership {
    /// Number of shards.
    pub shards: u32,
    /// Closed when the worker has left and released its leases.
    pub changes: mpsc::Receiver<ShardChange>,
    /// For the answer to [`ShardChange::Drain`].
    pub drained: mpsc::Sender<Drained>,
    pub(super) leave: CancellationToken,
    pub(super) _task: AbortOnDropHandle<()>,
}

impl Membership {
    /// Acquires no more shards, and drains all shards of this worker.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// Returns the shard of a pipeline with these settings. Pipelines with the same console and token share a request
    /// limit, so they must be in one shard.
    pub fn shard_of(&self, settings: &console::ConsoleSettings) -> u32 {
        let text = format!("{}\n{}", settings.url.host(), settings.token.first().reference());
        shard_of_text(&text, self.shards)
    }
}

/// Returns one of `shards` for a text, the same for each worker.
pub fn shard_of_text(text: &str, shards: u32) -> u32 {
    let digest = Sha256::digest(text);
    let number = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    u32::try_from(number % u64::from(shards.max(1))).unwrap_or_default()
}
