use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::cluster;
use crate::console::Transport;
use crate::pipeline;
use crate::record::Clock;
use crate::sink::dead_letters::{self, DeadLetters};
use crate::state::{Location, process_identity};

/// What a worker is told on the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where pipeline files are.
    pub pipelines: Vec<pipeline::Location>,
    /// `--defaults`.
    pub defaults: Option<PathBuf>,
    /// `--state`.
    pub state: Location,
    /// `--instance`.
    pub instance: String,
    /// How workers share the pipelines; none when this one has them for itself.
    pub cluster: Option<cluster::Settings>,
    /// This process in what several share.
    pub identity: String,
    /// Bytes in flight over all lanes.
    pub memory_budget: usize,
    /// Checkpoints of one lane are written at most this often.
    pub checkpoint_interval: Duration,
    /// `--dead-letters`; default: `dead-letters` in the state directory, and none where that is none.
    pub dead_letters: Option<dead_letters::Location>,
    /// Most bytes of dead letters.
    pub dead_letters_max: u64,
    /// How long what is in flight may take to be delivered at the end.
    pub shutdown_timeout: Duration,
    /// The time of day.
    pub clock: Clock,
    /// Decides over waits.
    pub seed: u64,
    /// In the place of HTTP, for tests and the simulation.
    pub transport: Option<Arc<dyn Transport>>,
}

/// Where dead letters are kept in the state directory, unless another place is named.
const DEAD_LETTERS: &str = "dead-letters";

impl Options {
    /// Where dead letters are kept: as it is named, else beside a file state.
    pub fn dead_letters(&self) -> Option<dead_letters::Location> {
        let beside = || Some(dead_letters::Location::Directory(self.state.directory()?.join(DEAD_LETTERS)));
        self.dead_letters.clone().or_else(beside)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pipelines: Vec::new(),
            defaults: None,
            state: Location::File("state".into()),
            instance: "s1-forwarder".to_owned(),
            cluster: None,
            identity: process_identity(),
            memory_budget: 512 << 20,
            checkpoint_interval: Duration::ZERO,
            dead_letters: None,
            dead_letters_max: DeadLetters::DEFAULT_MAX,
            shutdown_timeout: Duration::from_secs(25),
            clock: Clock::System,
            seed: fastrand::u64(..),
            transport: None,
        }
    }
}
