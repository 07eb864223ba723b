//! Flags that several commands share.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args};

use super::ArgumentError;
use crate::dead_letters::DeadLetters;
use crate::pipeline;
use crate::record::Timestamp;
use crate::settings::{ByteSize, Period, PrivateDestination};
use crate::state::StoreLocation;
use crate::telemetry::LogFormat;
use crate::worker::{Options, REMEMBERED_MAX};

#[derive(Debug, Clone, Args)]
pub struct FileArgs {
    /// As --pipelines, and instead of it
    #[arg(value_name = "PATH")]
    paths: Vec<pipeline::Location>,

    /// Pipeline files, directories with pipeline files, or kubernetes-resources:[NAMESPACE|*]
    ///
    /// A directory is read one level deep: *.yaml and *.yml. Names that begin with a dot are skipped, symlinks are
    /// followed. With kubernetes-resources:, each Pipeline resource of the namespace, or of all with *, is a pipeline.
    /// NAMESPACE defaults to that of the kubeconfig or of the pod's service account.
    #[arg(
        long,
        required_unless_present = "paths",
        num_args = 1..,
        value_name = "PATH"
    )]
    pipelines: Vec<pipeline::Location>,

    #[command(flatten)]
    pub options: FileOptionArgs,
}

/// How pipeline files are read.
#[derive(Debug, Clone, Default, Args)]
pub struct FileOptionArgs {
    /// A YAML file with keys that all pipelines inherit
    ///
    /// It has the keys of a pipeline file, except `name`. Mappings are merged key by key, and the pipeline's own value
    /// takes precedence. Lists, such as `sinks`, are not merged: a pipeline's own list replaces the default. Relative
    /// `{ file }` paths are relative to this file.
    #[arg(long, value_name = "FILE")]
    defaults: Option<PathBuf>,

    /// The pipeline files are from others than the operator: restrict what they may name
    ///
    /// Their secrets come from --secrets-dir and --env-allow, their other files from --files-dir, and they reach public
    /// addresses only. Pipeline resources are always restricted so. See docs/security.md.
    #[arg(long, help_heading = TENANTS)]
    tenant_files: bool,

    /// Tenants' files may name secrets in files below this directory
    ///
    /// DIR contains {pipeline}, the file's name without extension, or {directory}, the name of the directory with the
    /// file: each tenant has a directory of its own. Links in it are followed if they are relative and do not leave it.
    #[arg(long, value_name = "DIR", value_parser = own_directory, help_heading = TENANTS)]
    secrets_dir: Option<PathBuf>,

    /// Tenants' files may name secrets in environment variables that begin with this
    ///
    /// {pipeline} and {directory} as in --secrets-dir, in upper case and with two underscores for `-`: with
    /// TENANT_{pipeline}_, acme-eu may name TENANT_ACME__EU_TOKEN. Without them each tenant may read all of these
    /// variables. Those of the worker, of clouds, of clusters and of proxies are never allowed.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', value_parser = own_prefix, help_heading = TENANTS)]
    env_allow: Vec<String>,

    /// Tenants' files may name `file` sinks and the files of `tls:` below this directory
    ///
    /// {pipeline} or {directory} as in --secrets-dir; for a resource NAMESPACE.NAME, or its namespace.
    #[arg(long, value_name = "DIR", value_parser = own_directory, help_heading = TENANTS)]
    files_dir: Option<PathBuf>,

    /// Tenants' files may name addresses of this network, such as 10.20.0.0/16; without a value, any private address
    ///
    /// Addresses where clouds give out credentials, as all of the link's are, need a network of their own:
    /// 169.254.170.0/24. Kafka sinks are allowed only without a value, since the addresses of brokers cannot be looked
    /// at.
    #[arg(
        long,
        value_name = "NETWORK",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_delimiter = ',',
        help_heading = TENANTS
    )]
    allow_private_destinations: Vec<PrivateDestination>,
}

const TENANTS: &str = "Pipeline files of tenants";

/// Parses the directory of a tenant. One directory for all tenants would give each the secrets and files of the others.
fn own_directory(text: &str) -> Result<PathBuf, String> {
    if !pipeline::PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder)) {
        let directory = text.trim_end_matches('/');
        return Err(format!(
            "all tenants would share it: write {directory}/{{pipeline}} (the file's name) or {directory}/{{directory}} \
             (the name of its directory)"
        ));
    }
    Ok(text.into())
}

/// Parses the prefix of tenants' variables.
fn own_prefix(text: &str) -> Result<String, String> {
    match pipeline::is_own_prefix(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(own) => Err(format!("one tenant's prefix could begin another's: write {own}")),
    }
}

impl FileOptionArgs {
    pub fn get(&self) -> pipeline::FileOptions {
        pipeline::FileOptions {
            defaults: self.defaults.clone(),
            tenants: pipeline::TenantRules {
                for_files: self.tenant_files,
                secrets_dir: self.secrets_dir.clone(),
                env_prefixes: self.env_allow.clone(),
                files_dir: self.files_dir.clone(),
                private: self.allow_private_destinations.iter().copied().collect(),
            },
        }
    }
}

impl FileArgs {
    /// Says why there is no pipeline file: where it was looked for, and what is there instead.
    pub fn explain_no_files(&self) -> String {
        let defaults = self.options.defaults.as_deref();
        let places: Vec<String> = self.locations().iter().map(|location| location.explain_empty(defaults)).collect();
        format!("no pipeline files found: {}", places.join("; "))
    }

    /// Flags for tenants' files that restrict nothing, since no file is a tenant's.
    pub fn without_effect(&self) -> Option<String> {
        let options = &self.options;
        let has_resources =
            self.locations().iter().any(|location| matches!(location, pipeline::Location::Resources(_)));
        if options.tenant_files || has_resources {
            return None;
        }
        let flags = [
            ("--secrets-dir", options.secrets_dir.is_some()),
            ("--env-allow", !options.env_allow.is_empty()),
            ("--files-dir", options.files_dir.is_some()),
            ("--allow-private-destinations", !options.allow_private_destinations.is_empty()),
        ];
        let given: Vec<&str> = flags.into_iter().filter_map(|(flag, is_given)| is_given.then_some(flag)).collect();
        (!given.is_empty()).then(|| {
            format!(
                "{} without effect: the pipeline files are the operator's own, and not restricted; with --tenant-files \
                 they are",
                given.join(", ")
            )
        })
    }

    /// Returns the arguments for one file, without defaults.
    pub(super) fn of_file(file: PathBuf) -> Self {
        Self { paths: vec![file.into()], pipelines: Vec::new(), options: FileOptionArgs::default() }
    }

    /// Returns the places of the pipeline files.
    pub fn locations(&self) -> &[pipeline::Location] {
        // `--pipelines` may come from the environment, so paths that are given take precedence.
        if self.paths.is_empty() { &self.pipelines } else { &self.paths }
    }
}

#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// Where checkpoints are stored: `file:DIR`, `kubernetes:[NAMESPACE]` or `kafka://BROKERS/TOPIC`
    ///
    /// With file:, a relative DIR is relative to the working directory, and one process owns it at a time. With
    /// kubernetes:, checkpoints are ConfigMaps; NAMESPACE defaults to that of the kubeconfig or of the pod's service
    /// account. With kafka:, they are records of a compacted topic, which is created if it does not exist. librdkafka
    /// settings may follow a `?`; a value `file:PATH` is read from that file.
    #[arg(
        long = "state",
        value_name = "STORE", value_parser = hidden_value::<StoreLocation>(),
        default_value = "file:state",
        global = true
    )]
    pub state: StoreLocation,

    /// Prefix of the names of Kubernetes objects and Kafka transactional ids; must differ between installations on one
    /// cluster
    #[arg(
        long,
        value_name = "NAME",
        default_value = "s1-forwarder",
        value_parser = instance,
        global = true
    )]
    pub instance: String,
}

impl StateArgs {
    /// Returns the flags of a command that uses the same state.
    pub fn flags(&self) -> String {
        let Self { state, instance } = self.clone();
        Options { state, instance, ..Options::default() }.state_flags()
    }
}

/// A limit of its own for a command that runs next to a worker.
#[derive(Debug, Clone, Copy, Args)]
pub struct RateArgs {
    /// Requests per second to the console; a running worker has its own limit, and the console receives the sum
    #[arg(long, value_name = "N", default_value = "2", value_parser = rate)]
    pub requests_per_second: f64,
}

/// When to give up, for commands that end by themselves.
#[derive(Debug, Clone, Copy, Args)]
pub struct TimeoutArgs {
    /// Give up after this time without progress; with `run` only a lane, and only with --once
    #[arg(long, value_name = "PERIOD", default_value = "5m")]
    pub once_timeout: Period,
}

#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Format of the logs on standard error [default: text on a terminal, else json]
    #[arg(long, value_name = "FORMAT", global = true, help_heading = "Logs")]
    pub log_format: Option<LogFormat>,

    /// error, warn, info, debug, trace, or directives such as info,s1_forwarder=debug [default: info for run, else
    /// warn]
    #[arg(long, value_name = "LEVEL", global = true, help_heading = "Logs")]
    pub log_level: Option<String>,
}

/// Settings of a whole worker. Settings of one customer are in the pipeline file.
#[derive(Debug, Clone, Args)]
pub struct ProcessArgs {
    #[command(flatten)]
    pub delivery: DeliveryArgs,

    /// Address of /metrics, /livez, /readyz and the status page; port 0 chooses a free port [default: 127.0.0.1:9598]
    ///
    /// With --once there is no default: a job can run next to a worker.
    #[arg(long, value_name = "HOST:PORT", value_parser = listen)]
    pub listen: Option<String>,

    /// A second address, with /livez and /readyz alone, without TLS and authentication: for the kubelet
    #[arg(long, value_name = "HOST:PORT", value_parser = listen)]
    pub listen_probes: Option<String>,

    /// A YAML file with TLS and authentication of the HTTP endpoints, in the manner of Prometheus' web configuration
    ///
    /// It and the files that it names are read again every 10 s. /livez and /readyz need no credentials. See
    /// docs/security.md.
    #[arg(long, value_name = "FILE")]
    pub web_config: Option<PathBuf>,

    /// Minimum time between two writes of a lane's checkpoint [default: 5s with --state kubernetes:, else 0s]
    ///
    /// With 0s, each checkpoint is written immediately. After a kill, events delivered since the last write are
    /// delivered again.
    #[arg(long, value_name = "PERIOD")]
    checkpoint_interval: Option<Period>,
}

/// Settings of every command that delivers.
#[derive(Debug, Clone, Args)]
pub struct DeliveryArgs {
    #[command(flatten)]
    state: StateArgs,

    /// Maximum of bytes in flight over all lanes, including librdkafka's queue
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = budget)]
    pub memory_budget: ByteSize,

    /// Maximum of records that the lanes of one pipeline remember to avoid duplicates; a lane that has reached it
    /// stops, and loses and repeats nothing [default: 1000000; 300000 with --state kubernetes:]
    ///
    /// A record takes about 32 bytes of memory, and 4 of each checkpoint, or 15 where contents are compared. All
    /// pipelines together may take half as much as --memory-budget in addition to it; then those with 200000 records
    /// stop.
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1_000..))]
    pub remembered_max: Option<u64>,

    /// Where dead letters are stored, which are events that a sink refuses permanently: `file:DIR`,
    /// `kubernetes:[NAMESPACE]` or `kafka://BROKERS/TOPIC` [default: dead-letters in the state's directory; kubernetes:
    /// with --state kubernetes:; with --state kafka:, the topic TOPIC-dead-letters with the same settings]
    ///
    /// With kubernetes:, each pipeline has one Secret of at most 700 KiB after compression; NAMESPACE defaults to that
    /// of the kubeconfig or of the pod's service account. With kafka:, they are records of a compacted topic, which is
    /// created if it does not exist. librdkafka settings may follow a `?`, as in --state.
    #[arg(long, value_name = "STORE", value_parser = hidden_value::<StoreLocation>())]
    dead_letters: Option<StoreLocation>,

    /// Maximum of bytes of dead letters in files or in Kafka; if the store is full, a lane with a new dead letter stops
    /// and loses nothing
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub dead_letters_max: ByteSize,

    /// Time after SIGTERM to deliver what is in flight; the next start delivers the rest
    #[arg(long, value_name = "PERIOD", default_value = "25s")]
    pub shutdown_timeout: Period,
}

/// With a smaller limit, a store of dead letters is full after a few.
const MIN_USEFUL: u64 = 1 << 20;

impl ProcessArgs {
    /// Returns warnings about flags that do nothing together with the others, or not what they seem to. `once` is `run
    /// --once`.
    pub fn without_effect(&self, once: bool) -> Vec<String> {
        let location = self.delivery.options().ok().and_then(|options| options.dead_letters());
        let limit = location.and_then(|location| self.delivery.without_effect(&location));
        let of_server =
            [("--web-config", self.web_config.is_some()), ("--listen-probes", self.listen_probes.is_some())];
        let of_server = of_server.into_iter().filter(|(_, is_given)| *is_given && once && self.listen.is_none());
        let of_server =
            of_server.map(|(flag, _)| format!("{flag} without effect: with --once nothing listens without --listen"));
        limit.into_iter().chain(of_server).collect()
    }

    pub fn checkpoint_interval(&self) -> Duration {
        self.checkpoint_interval.map_or_else(|| self.delivery.checkpoint_interval(), |period| period.0)
    }
}

/// Returns the place where dead letters are stored. No command that delivers starts without one.
///
/// # Errors
/// If the state has no place for dead letters next to it.
pub fn location_of_dead_letters(options: &Options) -> Result<StoreLocation, ArgumentError> {
    options.dead_letters().ok_or_else(|| {
        ArgumentError(format!(
            "--state {} leaves no place for dead letters: a topic has them in one whose name ends with -dead-letters, and \
             names have at most 249 characters; use a shorter name, or name a place with --dead-letters (file:DIR, \
             kubernetes:, or kafka://BROKERS/TOPIC)",
            options.state
        ))
    })
}

impl DeliveryArgs {
    /// Returns the options of a worker, or of a command that delivers next to one.
    ///
    /// # Errors
    /// If there is no place for dead letters.
    pub fn options(&self) -> Result<Options, ArgumentError> {
        let options = Options {
            state: self.state.state.clone(),
            instance: self.state.instance.clone(),
            memory_budget: usize::try_from(self.memory_budget.0).unwrap_or(usize::MAX),
            remembered_max: self.remembered_max(),
            checkpoint_interval: self.checkpoint_interval(),
            dead_letters: self.dead_letters.clone(),
            dead_letters_max: self.dead_letters_max.0,
            shutdown_timeout: self.shutdown_timeout.0,
            ..Options::default()
        };
        location_of_dead_letters(&options)?;
        Ok(options)
    }

    /// Returns a warning if the limit of dead letters has no effect, or leaves no room for dead letters.
    fn without_effect(&self, location: &StoreLocation) -> Option<String> {
        let max = self.dead_letters_max.0;
        match location {
            StoreLocation::Kubernetes(_) if max != DeadLetters::DEFAULT_MAX => Some(format!(
                "--dead-letters-max without effect: in {location} each pipeline has one Secret of at most 700 KiB"
            )),
            StoreLocation::Kubernetes(_) => None,
            _ if max < MIN_USEFUL => Some(format!(
                "--dead-letters-max {} has hardly room for an event: a pipeline may have half of it, and a lane with a \
                 dead letter that exceeds it stops",
                self.dead_letters_max
            )),
            _ => None,
        }
    }

    fn remembered_max(&self) -> u64 {
        self.remembered_max.unwrap_or(match self.state.state {
            // Each write carries all of these records to etcd.
            StoreLocation::Kubernetes(_) => 300_000,
            _ => REMEMBERED_MAX,
        })
    }

    fn checkpoint_interval(&self) -> Duration {
        match self.state.state {
            // Each write is a request to the API server and a disk synchronisation in etcd.
            StoreLocation::Kubernetes(_) => Duration::from_secs(5),
            _ => Duration::ZERO,
        }
    }
}

/// A Kubernetes label has at most 63 characters, and the names of objects append to this prefix.
const MAX_INSTANCE: usize = 40;

fn instance(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let has_outer_dash = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > MAX_INSTANCE || has_outer_dash || !text.bytes().all(is_allowed) {
        return Err(format!("write lower-case letters, digits and inner `-`, at most {MAX_INSTANCE}"));
    }
    Ok(text.to_owned())
}

/// Room for one response of a console and one batch.
const MIN_BUDGET: u64 = 16 << 20;

fn budget(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error: crate::settings::ByteSizeError| error.to_string())?;
    if size.0 < MIN_BUDGET {
        return Err(format!("the minimum is {}", ByteSize(MIN_BUDGET)));
    }
    Ok(size)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("write a number of requests per second, such as 2 or 0.5".to_owned()),
    }
}

/// Parses a time in a flag: with its zone, a day in UTC, a period before now, or `now`.
///
/// # Errors
/// If the text is none of these. The error names them.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    if text == "now" {
        return Ok(now);
    }
    Timestamp::parse_or_day(text).or_else(|_| text.parse::<Period>().map(|period| now.minus(period.0))).map_err(|_| {
        "write a time with its zone (2026-01-31T00:00:00Z), a day in UTC (2026-01-31), a period before now (7d), or now"
            .to_owned()
    })
}

/// Parses the address of `--listen` or `--advertise`.
pub(super) fn listen(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("write HOST:PORT, such as 127.0.0.1:9598, or 0.0.0.0:9598 for all addresses".to_owned()),
    }
}

/// Parses a flag that may contain a password: an error does not repeat the value.
#[derive(Debug, Clone)]
struct HiddenValueParser<T>(PhantomData<fn() -> T>);

fn hidden_value<T>() -> HiddenValueParser<T> {
    HiddenValueParser(PhantomData)
}

impl<T: FromStr<Err: Display> + Clone + Send + Sync + 'static> TypedValueParser for HiddenValueParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &clap::Command, flag: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        value.to_string_lossy().parse().map_err(|error| {
            let flag = flag.map(Arg::to_string).unwrap_or_default();
            let message = format!("invalid value for '{flag}': {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}
