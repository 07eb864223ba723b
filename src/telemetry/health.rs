use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A runtime that has not turned for so long is stuck: nothing in this program blocks for a second.
const STUCK: Duration = Duration::from_secs(30);

/// What `/livez` and `/readyz` answer from. The worker feeds it; consoles and sinks have no say in it, since a restart or
/// a withdrawn address would not make them better.
#[derive(Debug)]
pub struct Health {
    files_read: AtomicBool,
    draining: AtomicBool,
    state_store: Mutex<Result<(), String>>,
    api_server: Mutex<Result<(), String>>,
    last_beat: Mutex<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive; not ready until the files were read and the state store was reached.
    pub fn new() -> Self {
        Self {
            files_read: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            state_store: Mutex::new(Err("not opened yet".to_owned())),
            api_server: Mutex::new(Ok(())),
            last_beat: Mutex::new(Instant::now()),
        }
    }

    /// The pipeline files were read for the first time, valid or not.
    pub fn files_read(&self) {
        self.files_read.store(true, Ordering::Relaxed);
    }

    /// Shutdown began.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The state store answered, or why it did not.
    pub fn state_store(&self, reached: Result<(), String>) {
        *self.state_store.lock().unwrap_or_else(PoisonError::into_inner) = reached;
    }

    /// The API server that workers share pipelines by answered, or why it did not.
    pub fn api_server(&self, reached: Result<(), String>) {
        *self.api_server.lock().unwrap_or_else(PoisonError::into_inner) = reached;
    }

    /// The runtime turns.
    pub fn beat(&self) {
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Why the process should be restarted, if it should.
    pub fn stuck(&self) -> Option<String> {
        let silent = self.last_beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        (silent > STUCK).then(|| format!("the runtime has not turned for {} s", silent.as_secs()))
    }

    /// What the process is not ready for yet, or no more.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.files_read.load(Ordering::Relaxed) {
            reasons.push("the pipeline files were not read yet".to_owned());
        }
        for (what, reached) in [("state store", &self.state_store), ("API server", &self.api_server)] {
            if let Err(reason) = &*reached.lock().unwrap_or_else(PoisonError::into_inner) {
                reasons.push(format!("{what}: {reason}"));
            }
        }
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("shutting down: delivering what is in flight".to_owned());
        }
        reasons
    }
}
