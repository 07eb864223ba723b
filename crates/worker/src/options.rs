//! The options of a worker, from the command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, absolute};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::{StateError, Store};
use s1_forwarder_engine::console::Transport;
use s1_forwarder_engine::dead_letters::DeadLetters;
use s1_forwarder_record::{Clock, LaneId};
use s1_forwarder_settings::quoted;
use s1_forwarder_state::{Access, StoreLocation, dead_letters, process_identity};
use s1_forwarder_telemetry::RetryCommand;
use tokio_util::sync::CancellationToken;

use super::area_lock::{AreaLock, LockedArea};
use super::cluster;
use crate::pipeline;

/// Settings of a worker process, from the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--pipelines`.
    pub pipelines: Vec<pipeline::Location>,
    pub files: pipeline::FileOptions,
    /// `--state`.
    pub state: StoreLocation,
    /// `--instance`.
    pub instance: String,
    /// How workers share the pipelines; `None` if this worker runs all of them.
    pub cluster: Option<cluster::ClusterSettings>,
    /// Name of this process in stores that several processes use.
    pub process_name: String,
    /// `--lease`.
    pub lease: Duration,
    /// `--renamed-wait`; `None` is indefinitely.
    pub renamed_wait: Option<Duration>,
    /// Maximum of bytes in flight over all lanes.
    pub memory_budget: usize,
    /// Maximum of records that the lanes of one pipeline remember.
    pub remembered_max: u64,
    /// Minimum time between two checkpoints of one lane.
    pub checkpoint_interval: Duration,
    /// `--dead-letters`. The default is next to the state.
    pub dead_letters: Option<StoreLocation>,
    /// Maximum of bytes of dead letters.
    pub dead_letters_max: u64,
    /// `--accept-refusals`: any number of refused events of these lanes become dead letters.
    pub accept_refusals: Vec<LaneId>,
    /// Time in which events in flight must be delivered at the end.
    pub shutdown_timeout: Duration,
    pub clock: Clock,
    /// Seed of all random waits.
    pub seed: u64,
    /// Address at which this process serves its status. `None` if it does not.
    pub listening: Option<SocketAddr>,
    /// Replaces HTTP in tests and in the simulation.
    pub transport: Option<Arc<dyn Transport>>,
}

/// The flags of commands that use the same files and stores as this process, each after a blank.
#[derive(Debug, Clone, Default)]
pub struct CommandFlags {
    /// Flags for the reading of pipeline files.
    pub files: String,
    pub state: String,
    pub dead_letters: String,
}

/// Default of `--remembered-max`.
pub const REMEMBERED_MAX: u64 = 1_000_000;

/// Default of `--listen`, and of `--url` of the commands that ask a worker.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9598";

/// Default directory of dead letters in the state directory. With Kafka, the end of the topic's name.
const DEAD_LETTERS: &str = "dead-letters";

impl Options {
    /// Returns the flags of a command that uses the same state as this process.
    pub fn state_flags(&self) -> String {
        let state = quoted(&match &self.state {
            StoreLocation::File(directory) => {
                StoreLocation::File(absolute(directory).unwrap_or_else(|_| directory.clone())).to_string()
            }
            other => other.to_string(),
        });
        let instance = if self.instance == Self::default().instance {
            String::new()
        } else {
            format!(" --instance {}", self.instance)
        };
        format!(" --state {state}{instance}")
    }

    /// Returns the flags of a command that reads pipeline files as this process does.
    pub fn file_flags(&self) -> String {
        let defaults = self.files.defaults.as_ref().map(|file| absolute(file).unwrap_or_else(|_| file.clone()));
        defaults.map_or(String::new(), |file| format!(" --defaults {}", quoted(&file.display().to_string())))
    }

    /// Returns the flag of a command that uses the same dead letters, in addition to [`Self::state_flags`].
    pub fn dead_letter_flags(&self) -> String {
        self.dead_letters.as_ref().map_or(String::new(), dead_letters::flag)
    }

    pub(super) fn command_flags(&self) -> CommandFlags {
        CommandFlags { files: self.file_flags(), state: self.state_flags(), dead_letters: self.dead_letter_flags() }
    }

    /// Returns the command that retries a lane; `None` if it cannot reach this process through its state.
    pub(super) fn retry_command(&self) -> Option<RetryCommand> {
        let StoreLocation::File(_) = self.state else { return None };
        let after_lane = format!("{}{}", self.state_flags(), self.url_flag());
        Some(RetryCommand { before_lane: "s1-forwarder retry ", after_lane })
    }

    /// Returns the flag with which a command asks this process. Empty if the command does so by default.
    fn url_flag(&self) -> String {
        let Some(mut address) = self.listening else { return String::new() };
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let address = address.to_string();
        if address == DEFAULT_LISTEN { String::new() } else { format!(" --url {address}") }
    }

    /// Opens the state, or an area of it, for writing.
    pub(super) async fn open_state(&self, area: Option<&Path>) -> Result<Arc<dyn Store>, StateError> {
        self.state.open(&self.instance, Access::Write { owner: &self.process_name }, area).await
    }

    /// Acquires the lock of an area that was opened for writing. Opening a directory has locked it already. Returns
    /// `None` if `stop` ends the wait for another process.
    pub(super) async fn lock_area(
        &self,
        store: &Arc<dyn Store>,
        path: &Path,
        pipeline: &str,
        stop: &CancellationToken,
    ) -> Result<Option<AreaLock>, StateError> {
        if let StoreLocation::File(_) = self.state {
            return Ok(Some(AreaLock::without_entry()));
        }
        let owner = format!("{} (process id {})", self.process_name, std::process::id());
        let area = LockedArea { store: store.clone(), path: path.to_owned(), pipeline: pipeline.to_owned(), owner };
        AreaLock::acquire(area, stop).await
    }

    /// Opens the state, or an area of it, for reading.
    pub(super) async fn read_state(&self, area: Option<&Path>) -> Result<Arc<dyn Store>, StateError> {
        self.state.open(&self.instance, Access::Read, area).await
    }

    /// Returns the location of dead letters: the configured one, else next to the state.
    pub fn dead_letters(&self) -> Option<StoreLocation> {
        let default = || match &self.state {
            StoreLocation::File(directory) => Some(StoreLocation::File(directory.join(DEAD_LETTERS))),
            StoreLocation::Kubernetes(_) => Some(self.state.clone()),
            #[cfg(feature = "kafka")]
            StoreLocation::Kafka(location) => location.with_suffix(DEAD_LETTERS).map(StoreLocation::Kafka),
        };
        self.dead_letters.clone().or_else(default)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pipelines: Vec::new(),
            files: pipeline::FileOptions::default(),
            state: StoreLocation::File("state".into()),
            instance: "s1-forwarder".to_owned(),
            cluster: None,
            lease: Duration::from_secs(15),
            renamed_wait: None,
            process_name: process_identity(),
            memory_budget: 512 << 20,
            remembered_max: REMEMBERED_MAX,
            checkpoint_interval: Duration::ZERO,
            dead_letters: None,
            dead_letters_max: DeadLetters::DEFAULT_MAX,
            shutdown_timeout: Duration::from_secs(25),
            clock: Clock::System,
            seed: fastrand::u64(..),
            listening: None,
            transport: None,
            accept_refusals: Vec::new(),
        }
    }
}

#[cfg(all(test, feature = "kafka", feature = "kubernetes"))]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_are_next_to_the_state_unless_a_flag_says_otherwise() {
        let kafka = "kafka://a:9092,b:9092/s1-state?security.protocol=ssl&ssl.ca.location=%2Fca.pem";
        for (state, expected) in [
            ("file:/var/lib/state", "file:/var/lib/state/dead-letters"),
            ("kubernetes:", "kubernetes:"),
            ("kubernetes:siem", "kubernetes:siem"),
            (kafka, &kafka.replace("s1-state", "s1-state-dead-letters")),
        ] {
            let default = Options { state: state.parse().unwrap(), ..Options::default() };
            assert_eq!(default.dead_letters(), Some(expected.parse().unwrap()), "{state}");
            let flag: StoreLocation = "file:elsewhere".parse().unwrap();
            let elsewhere = Options { dead_letters: Some(flag.clone()), ..default };
            assert_eq!(elsewhere.dead_letters(), Some(flag), "{state}");
        }
        // Brokers refuse a longer name.
        let long = format!("kafka://a:9092/{}", "t".repeat(240));
        let options = Options { state: long.parse().unwrap(), ..Options::default() };
        assert_eq!(options.dead_letters(), None);
    }
}
