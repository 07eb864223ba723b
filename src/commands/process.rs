//! Flags that several commands share (`design.md` section 2), each also an environment variable `S1_FORWARDER_…`.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args};

use crate::pipeline;
use crate::record::Timestamp;
use crate::settings::{ByteSize, Period};
use crate::sink::dead_letters;
use crate::state::Location;
use crate::telemetry::LogFormat;
use crate::worker::Options;

/// Which pipeline files.
#[derive(Debug, Clone, Args)]
pub struct FileArgs {
    /// Pipeline files, or directories of them, or kubernetes:[NAMESPACE/]label=SELECTOR
    ///
    /// A directory is read one level deep: *.yaml and *.yml, names beginning with a dot skipped, symlinks followed. In the last
    /// form, the same keys of all ConfigMaps and Secrets whose labels match, found and followed through the API: those of the
    /// namespace that is named, else of the one that the kubeconfig or the pod's service account names.
    #[arg(long, required = true, num_args = 1.., value_name = "PATH", env = "S1_FORWARDER_PIPELINES")]
    pub pipelines: Vec<pipeline::Location>,

    /// A YAML file with the keys that all pipelines inherit
    ///
    /// It has the keys of a pipeline file, save `name`. Mappings are merged key by key, and what a pipeline says itself wins;
    /// lists (`sinks` among them) are not merged: a pipeline that has its own gets none of the defaults'. Relative
    /// `{ file }` paths in it are relative to it.
    #[arg(long, value_name = "FILE", env = "S1_FORWARDER_DEFAULTS")]
    pub defaults: Option<PathBuf>,
}

/// Where checkpoints are.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// Where checkpoints are kept: `file:DIR`, `kubernetes:[NAMESPACE]` or `kafka://BROKERS/TOPIC`
    ///
    /// A relative DIR is relative to the working directory; one process owns it at a time. In Kubernetes they are ConfigMaps
    /// of the namespace that is named, else of the one that the kubeconfig or the pod's service account names. In Kafka they are
    /// records of a compacted topic, which is made if need be; librdkafka's settings may follow a `?`, a value
    /// `file:PATH` is read from there.
    #[arg(
        long = "state",
        value_name = "STORE", value_parser = unshown::<Location>(),
        default_value = "file:state",
        env = "S1_FORWARDER_STATE",
        global = true
    )]
    pub state: Location,

    /// What the names of Kubernetes objects and of Kafka transactions begin with: two installations on one cluster differ here
    #[arg(
        long,
        value_name = "NAME",
        default_value = "s1-forwarder",
        value_parser = instance,
        env = "S1_FORWARDER_INSTANCE",
        global = true
    )]
    pub instance: String,
}

/// How fast a command asks consoles that a worker may be asking too.
#[derive(Debug, Clone, Copy, Args)]
pub struct RateArgs {
    /// Requests a second to the console; a worker beside has its own limit, and the console sees the sum
    #[arg(long, value_name = "N", default_value = "2", value_parser = rate, env = "S1_FORWARDER_REQUESTS_PER_SECOND")]
    pub requests_per_second: f64,
}

/// How the process logs.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// How logs are written to standard error [default: text on a terminal, else json]
    #[arg(long, value_name = "FORMAT", global = true, env = "S1_FORWARDER_LOG_FORMAT", help_heading = "Logs")]
    pub log_format: Option<LogFormat>,

    /// What is logged: error, warn, info, debug, trace, or parts such as info,s1_forwarder=debug [default: info for run]
    #[arg(long, value_name = "LEVEL", global = true, env = "S1_FORWARDER_LOG_LEVEL", help_heading = "Logs")]
    pub log_level: Option<String>,
}

/// Settings of a worker as a whole; what belongs to one customer stands in the pipeline file.
#[derive(Debug, Clone, Args)]
pub struct ProcessArgs {
    /// See [`DeliveryArgs`].
    #[command(flatten)]
    pub delivery: DeliveryArgs,

    /// Address of /metrics, /livez, /readyz and the status page; port 0 takes a free one [default: 127.0.0.1:9598]
    ///
    /// With --once there is none unless it is given, so that a job can run beside a worker.
    #[arg(long, value_name = "HOST:PORT", env = "S1_FORWARDER_LISTEN")]
    pub listen: Option<String>,

    /// How long checkpoints may be collected before they are written [default: 5s for kubernetes, else 0s]
    ///
    /// 0s writes each at once. After a kill, what was delivered since the last write is delivered again.
    #[arg(long, value_name = "PERIOD", env = "S1_FORWARDER_CHECKPOINT_INTERVAL")]
    checkpoint_interval: Option<Period>,
}

/// What every command that delivers is told.
#[derive(Debug, Clone, Args)]
pub struct DeliveryArgs {
    #[command(flatten)]
    state: StateArgs,

    /// Most bytes in flight over all lanes, librdkafka's queue included
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = budget, env = "S1_FORWARDER_MEMORY_BUDGET")]
    pub memory_budget: ByteSize,

    /// Where events are kept that a sink refuses for good: `file:DIR` or `kafka://BROKERS/TOPIC` [default: dead-letters in the
    /// state's directory]
    ///
    /// In Kafka they are records of a compacted topic, which is made if need be; librdkafka's settings may follow a `?`, as in
    /// --state.
    #[arg(long, value_name = "STORE", value_parser = unshown::<dead_letters::Location>(), env = "S1_FORWARDER_DEAD_LETTERS")]
    dead_letters: Option<dead_letters::Location>,

    /// Most bytes of dead letters; when they are full, a lane that needs one stops rather than lose it
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "S1_FORWARDER_DEAD_LETTERS_MAX")]
    pub dead_letters_max: ByteSize,

    /// How long after SIGTERM what is in flight may take to be delivered; the rest is sent again by the next start
    #[arg(long, value_name = "PERIOD", default_value = "25s", env = "S1_FORWARDER_SHUTDOWN_TIMEOUT")]
    pub shutdown_timeout: Period,
}

impl ProcessArgs {
    /// How long checkpoints may be collected.
    pub fn checkpoint_interval(&self) -> Duration {
        self.checkpoint_interval.map_or_else(|| self.delivery.checkpoint_interval(), |period| period.0)
    }
}

impl DeliveryArgs {
    /// What a worker, or whatever delivers beside one, is made with.
    pub fn options(&self) -> Options {
        Options {
            state: self.state.state.clone(),
            instance: self.state.instance.clone(),
            memory_budget: usize::try_from(self.memory_budget.0).unwrap_or(usize::MAX),
            checkpoint_interval: self.checkpoint_interval(),
            dead_letters: self.dead_letters.clone(),
            dead_letters_max: self.dead_letters_max.0,
            shutdown_timeout: self.shutdown_timeout.0,
            ..Options::default()
        }
    }

    fn checkpoint_interval(&self) -> Duration {
        match self.state.state {
            // Each write is a request to the API server and a disk sync of etcd.
            Location::Kubernetes(_) => Duration::from_secs(5),
            _ => Duration::ZERO,
        }
    }
}

/// Labels of Kubernetes end at 63 characters, and names of objects add to it.
const LONGEST_INSTANCE: usize = 40;

fn instance(text: &str) -> Result<String, String> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let dashed = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > LONGEST_INSTANCE || dashed || !text.bytes().all(inside) {
        return Err(format!("lower-case letters, digits, and inside also `-`, at most {LONGEST_INSTANCE}"));
    }
    Ok(text.to_owned())
}

/// Less would not hold one answer of a console and one batch.
const SMALLEST_BUDGET: u64 = 16 << 20;

fn budget(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error: crate::settings::ByteSizeError| error.to_string())?;
    if size.0 < SMALLEST_BUDGET {
        return Err(format!("at least {} are needed", ByteSize(SMALLEST_BUDGET)));
    }
    Ok(size)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("write a number of requests a second, such as 2 or 0.5".to_owned()),
    }
}

/// A time as flags take it.
pub fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|_| "write a time with its zone, such as 2026-01-31T00:00:00Z".to_owned())
}

/// Reads a flag that may hold a password: what is wrong with it is told without it.
#[derive(Debug, Clone)]
struct Unshown<T>(PhantomData<fn() -> T>);

fn unshown<T>() -> Unshown<T> {
    Unshown(PhantomData)
}

impl<T: FromStr<Err: Display> + Clone + Send + Sync + 'static> TypedValueParser for Unshown<T> {
    type Value = T;

    fn parse_ref(&self, command: &clap::Command, flag: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        value.to_string_lossy().parse().map_err(|error| {
            let flag = flag.map(Arg::to_string).unwrap_or_default();
            let told = format!("invalid value for '{flag}': {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, told).with_cmd(command)
        })
    }
}
