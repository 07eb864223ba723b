use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// `/livez` fails if the runtime made no progress for this time. Nothing in this program blocks for a second.
const STUCK: Duration = Duration::from_secs(30);

/// State behind `/livez` and `/readyz`, set by the worker. It does not depend on consoles and sinks: a restart, or a
/// removed endpoint, would not help them.
#[derive(Debug)]
pub struct Health {
    files_read: AtomicBool,
    draining: AtomicBool,
    state_store: Mutex<Result<(), String>>,
    api_server: Mutex<Result<(), String>>,
    last_heartbeat: Mutex<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive, but not ready until the pipeline files are read and the state store is reached.
    pub fn new() -> Self {
        Self {
            files_read: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            state_store: Mutex::new(Err("not opened yet".to_owned())),
            api_server: Mutex::new(Ok(())),
            last_heartbeat: Mutex::new(Instant::now()),
        }
    }

    /// The pipeline files have been read once, valid or not.
    pub fn set_files_read(&self) {
        self.files_read.store(true, Ordering::Relaxed);
    }

    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Sets whether the state store responds; else why not.
    pub fn set_state_store(&self, reached: Result<(), String>) {
        *self.state_store.lock() = reached;
    }

    /// Sets whether the Kubernetes API server responds; else why not.
    pub fn set_api_server(&self, reached: Result<(), String>) {
        *self.api_server.lock() = reached;
    }

    /// The runtime makes progress.
    pub fn heartbeat(&self) {
        *self.last_heartbeat.lock() = Instant::now();
    }

    /// Why the process should be restarted; `None` while it is alive.
    pub fn stuck(&self) -> Option<String> {
        let silent = self.last_heartbeat.lock().elapsed();
        (silent > STUCK).then(|| format!("the runtime has made no progress for {} s", silent.as_secs()))
    }

    /// Reasons why the process is not ready; empty if it is.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.files_read.load(Ordering::Relaxed) {
            reasons.push("the pipeline files have not been read yet".to_owned());
        }
        for (what, reached) in [("state store", &self.state_store), ("API server", &self.api_server)] {
            if let Err(reason) = &*reached.lock() {
                reasons.push(format!("{what}: {reason}"));
            }
        }
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("shutting down: delivering what is in flight".to_owned());
        }
        reasons
    }
}
