//! Stores events that a sink refused permanently, with the reason, so that they can be sent again.

mod dead_letter;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_record::LaneId;
use s1_forwarder_telemetry::LaneMetrics;

pub use dead_letter::{DeadLetter, DeadLetterError, DeadLetterStore, StoreFill};

use stored::Stored;

/// Stores the dead letters of all lanes.
#[derive(Debug)]
pub struct DeadLetters {
    store: Option<Arc<dyn DeadLetterStore>>,
    /// The flags with which a command finds the store.
    flags: String,
    stored: Mutex<Stored>,
}

impl DeadLetters {
    /// Default of `--dead-letters-max`, in bytes.
    pub const DEFAULT_MAX: u64 = 1 << 30;

    /// Keeps dead letters in `store`. `flags` are the flags with which a command finds the store, each after a blank.
    pub fn in_store(store: impl DeadLetterStore + 'static, flags: impl Into<String>) -> Self {
        Self { store: Some(Arc::new(store)), flags: flags.into(), stored: Mutex::default() }
    }

    /// Keeps no dead letters: a refused event stops its lane.
    pub fn disabled() -> Self {
        Self { store: None, flags: String::new(), stored: Mutex::default() }
    }

    /// Returns the flags with which a command finds the store, each after a blank. Empty if there is no store.
    pub fn flags(&self) -> &str {
        &self.flags
    }

    /// Stores `dead_letters` durably, in their order. If there is no room for all, the first ones are stored.
    ///
    /// # Errors
    /// If there is no store, it is full, or writing fails; with the number of dead letters that are stored.
    pub async fn keep(&self, dead_letters: &[DeadLetter<'_>]) -> Result<(), (usize, DeadLetterError)> {
        let Some(store) = &self.store else { return Err((0, DeadLetterError::Disabled)) };
        let mut rest = dead_letters;
        let mut tried = rest.len();
        while let Some((part, others)) = rest.split_at_checked(tried.min(rest.len())).filter(|_| !rest.is_empty()) {
            match store.keep(part).await {
                Ok(()) => {
                    self.stored.lock().keep(part.iter().map(|letter| letter.lane.clone()));
                    rest = others;
                }
                Err(error) if error.is_full() && part.len() > 1 => tried = part.len() / 2,
                Err(error) => return Err((dead_letters.len() - rest.len(), error)),
            }
        }
        Ok(())
    }

    /// Reads the fill level of the store, which other processes also change. Returns `None` if there is no store, or if
    /// the store does not know its level.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn measure(&self) -> Result<Option<StoreFill>, DeadLetterError> {
        let Some(store) = &self.store else { return Ok(None) };
        self.stored.lock().begin();
        let usage = store.usage().await?;
        if let Some(usage) = &usage {
            self.stored.lock().end(&usage.lanes);
        }
        Ok(usage)
    }

    /// Returns the time between two measurements.
    pub fn measure_interval(&self) -> Duration {
        self.store.as_ref().map_or(Duration::MAX, |store| store.measure_interval())
    }

    /// Sets the number of stored dead letters that the lane reports: the last measurement, and dead letters kept since
    /// then.
    pub fn show(&self, metrics: &LaneMetrics) {
        // The number is set under the lock: an older number must not replace a newer one.
        let stored = self.stored.lock();
        metrics.set_dead_letters_stored(stored.of(&metrics.id));
    }

    /// Returns the command that lists all dead letters.
    pub fn list_command(&self) -> String {
        format!("s1-forwarder dead-letters list{}", self.flags)
    }

    /// Returns the command that lists the dead letters of a lane.
    pub fn list_command_for(&self, metrics: &LaneMetrics) -> String {
        let LaneId { pipeline, stream, sink } = &metrics.id;
        format!("{} --pipeline {pipeline} --stream {stream} --sink {sink}", self.list_command())
    }
}

#[cfg(test)]
mod tests {
    use s1_forwarder_record::Stream;

    use super::*;

    #[tokio::test]
    async fn without_a_store_every_dead_letter_is_refused() {
        let lane = LaneId::new("acme", Stream::Threats, "siem");
        assert!(matches!(
            DeadLetters::disabled().keep(&[DeadLetter::sample(&lane, b"{}")]).await,
            Err((0, DeadLetterError::Disabled))
        ));
    }
}
