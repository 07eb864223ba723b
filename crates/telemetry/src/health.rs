//! The state behind `/livez` and `/readyz`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A part of the process that makes progress at least every five seconds while it is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthPart {
    /// Tasks are run. Nothing in this program blocks for a second.
    Runtime,
    /// Files, shards and lanes are attended to. Ten thousand pipelines that start together take it some seconds.
    Supervisor,
}

impl HealthPart {
    /// Returns the time without progress of the part after which `/livez` fails.
    fn patience(self) -> Duration {
        match self {
            Self::Runtime => Duration::from_secs(30),
            Self::Supervisor => Duration::from_mins(1),
        }
    }
}

impl fmt::Display for HealthPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Runtime => "runtime",
            Self::Supervisor => "supervisor",
        })
    }
}

/// State behind `/livez` and `/readyz`, set by the worker. It does not depend on consoles and sinks: a restart, or a
/// removed endpoint, would not help them.
#[derive(Debug)]
pub struct ProcessHealth {
    files_read: AtomicBool,
    draining: AtomicBool,
    state_store: Mutex<Result<(), String>>,
    api_server: Mutex<Result<(), String>>,
    /// The last heartbeat of each part that must be alive now.
    heartbeats: Mutex<Vec<(HealthPart, Instant)>>,
}

impl Default for ProcessHealth {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessHealth {
    /// Creates the health of a process that is alive. It is ready when the pipeline files are read and the state store
    /// is reached.
    pub fn new() -> Self {
        Self {
            files_read: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            state_store: Mutex::new(Err("not opened yet".to_owned())),
            api_server: Mutex::new(Ok(())),
            heartbeats: Mutex::new(vec![(HealthPart::Runtime, Instant::now())]),
        }
    }

    /// Notes that the pipeline files have been read, valid or not. Returns true for the first time.
    pub fn set_files_read(&self) -> bool {
        !self.files_read.swap(true, Ordering::Relaxed)
    }

    /// Notes that the supervisor waits for the lanes from now on, for as long as the shutdown may take.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.heartbeats.lock().retain(|(part, _)| *part != HealthPart::Supervisor);
    }

    /// Sets whether the state store responds, and if not, the reason.
    pub fn set_state_store(&self, reached: Result<(), String>) {
        *self.state_store.lock() = reached;
    }

    /// Sets whether the Kubernetes API server responds, and if not, the reason.
    pub fn set_api_server(&self, reached: Result<(), String>) {
        *self.api_server.lock() = reached;
    }

    /// Notes that the part makes progress. From the first time on, the part has to do so again and again.
    pub fn heartbeat(&self, part: HealthPart) {
        let mut heartbeats = self.heartbeats.lock();
        heartbeats.retain(|(known, _)| *known != part);
        heartbeats.push((part, Instant::now()));
    }

    /// Returns why the process should be restarted. `None` while it is alive.
    pub fn stuck(&self) -> Option<String> {
        let heartbeats = self.heartbeats.lock();
        let (part, last) = heartbeats.iter().find(|(part, last)| last.elapsed() > part.patience())?;
        Some(format!("the {part} has made no progress for {} s", last.elapsed().as_secs()))
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
