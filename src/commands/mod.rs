//! The command line: one file per subcommand. Only this module prints and uses `anyhow`.
//!
//! Exit codes: 0 done; 1 a failure at run time; 2 wrong usage, or none of the pipeline files can run.

mod cluster;
mod one_file;
mod output;
mod pretty;
mod process;
#[cfg(feature = "traces")]
mod traces;
#[cfg(not(feature = "traces"))]
#[path = "no_traces.rs"]
mod traces;
mod unmapped;
mod variables;
mod worker_args;

pub mod activity_types;
pub mod backfill;
pub mod check;
pub mod dead_letters;
pub mod demo;
pub mod emulate;
pub mod init;
pub mod map;
pub mod preview;
pub mod report;
pub mod retry;
pub mod run;
pub mod schema;
pub mod shell;
pub mod state;
pub mod status;
pub mod verify;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::install_crypto_provider;
use crate::state::StoreLocation;
use crate::telemetry::init_logs;

pub use cluster::ClusterArgs;
pub use one_file::{OneFileArgs, WindowArgs};
use output::{note, print_line};
pub use process::{
    DeliveryArgs, FileArgs, LogArgs, ProcessArgs, RateArgs, StateArgs, TimeoutArgs, location_of_dead_letters,
};
pub use variables::{Commands, VARIABLES};

/// Wrong usage that the parser of flags cannot detect. The process ends with 2 instead of 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ArgumentError(pub String);

/// Checks that the state exists, for commands that have nothing to do in a new state.
///
/// # Errors
/// If there is no such directory.
fn must_exist(state: &StoreLocation) -> Result<(), ArgumentError> {
    match state {
        StoreLocation::File(directory) if !directory.is_dir() => {
            let directory = directory.display();
            Err(ArgumentError(format!("there is no directory {directory} (use --state file:DIR for another)")))
        }
        _ => Ok(()),
    }
}

/// Time for blocking calls to finish when the process ends.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// A thread for blocking calls ends after this time without one. The threads take turns. With tokio's ten seconds, one
/// call in ten seconds for each keeps all of them, and their number only grows while many lanes write checkpoints.
const IDLE_THREAD: Duration = Duration::from_millis(200);

/// The values of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Exit code for wrong usage, and if none of the pipeline files can run.
pub const USAGE: u8 = 2;

/// Forwards SentinelOne security records to Kafka and HTTP SIEMs.
///
/// One YAML file per customer describes one pipeline: a SentinelOne console, the streams to pull from it, how records
/// are mapped (ECS, OCSF or raw), and the sinks that receive them. One worker runs thousands of pipelines.
#[derive(Debug, Parser)]
#[command(
    name = "s1-forwarder",
    version,
    max_term_width = 120,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Start here:\n  s1-forwarder demo --for 30s                   see the whole program work, without any setup\n  \
                  s1-forwarder init pipelines/acme.yaml         write a pipeline file, from questions\n  \
                  s1-forwarder check --pipelines pipelines      validate files and test credentials\n  \
                  s1-forwarder run --pipelines pipelines        run the pipelines; changed files are reloaded\n\n\
                  Exit codes: 0 done; 1 a failure at run time; 2 wrong usage, or none of the pipeline files can run."
)]
struct Cli {
    #[command(flatten)]
    logs: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Check(check::Args),
    Init(init::Args),
    Backfill(Box<backfill::Args>),
    #[command(name = "dead-letters")]
    DeadLetters(Box<dead_letters::Args>),
    State(state::Args),
    Status(status::Args),
    Retry(retry::Args),
    Report(report::Args),
    Verify(Box<verify::Args>),
    Emulate(emulate::Args),
    Map(map::Args),
    Preview(preview::Args),
    ActivityTypes(activity_types::Args),
    Schema(schema::Args),
    Completions(shell::CompletionArgs),
    Man(shell::ManArgs),
    Demo(demo::Args),
}

impl Command {
    /// Returns the default of `--log-level`.
    fn log_level(&self) -> &'static str {
        match self {
            Self::Run(_) => "info",
            // On a terminal, a progress bar replaces the log lines.
            Self::Backfill(_) | Self::Verify(_) if !stderr().is_terminal() => "info",
            _ => "warn",
        }
    }
}

/// Returns the definition of the command line.
pub fn definition() -> clap::Command {
    definition_without(None)
}

/// Returns the definition of the command line without one of the environment variables.
fn definition_without(variable: Option<&str>) -> clap::Command {
    variables::assign(Cli::command(), variable)
}

/// Runs the whole program: parses the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    let matches = match definition().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return variables::report(error),
    };
    let Cli { logs, command } = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return variables::report(error),
    };
    install_crypto_provider();
    prevent_core_dumps();
    let level = logs.log_level.as_deref().unwrap_or(command.log_level());
    if let Err(error) = init_logs(logs.log_format, level) {
        note(format!("error: {error}"));
        return ExitCode::from(USAGE);
    }
    let ignored = match variables::Ignored::find(&matches) {
        Ok(ignored) => ignored,
        Err(error) => {
            note(format!("error: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_keep_alive(IDLE_THREAD).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            note(format!("error: cannot start the threads of the program: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.spawn_blocking(|| ignored.warn());
    let result = runtime.block_on(dispatch(command));
    // A blocked write to a pipe must not delay the end of the process.
    runtime.shutdown_timeout(LAST_WRITES);
    match result {
        Ok(code) => code,
        Err(error) => {
            note(format!("error: {}", with_causes(&error)));
            if error.is::<ArgumentError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Prevents core dumps, which would hold the tokens of all customers. The limit of one byte, unlike zero, also holds
/// where the system pipes core dumps to a program (core(5)).
fn prevent_core_dumps() {
    let Rlimit { current, maximum } = getrlimit(Resource::Core);
    let one = Some(maximum.map_or(1, |maximum| maximum.min(1)));
    if current != one {
        // A lower limit is always granted.
        let _ = setrlimit(Resource::Core, Rlimit { current: one, maximum });
    }
}

/// Returns an error followed by its causes. A cause that the text contains already is not repeated.
fn with_causes(error: &anyhow::Error) -> String {
    let causes = error.chain().skip(1).map(ToString::to_string);
    causes.fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(*args).await,
        Command::Check(args) => check::run(args).await,
        Command::Init(args) => init::run(args).await,
        Command::Backfill(args) => backfill::run(*args).await,
        Command::DeadLetters(args) => dead_letters::run(*args).await,
        Command::Preview(args) => preview::run(args).await,
        Command::State(args) => state::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Retry(args) => retry::run(args).await,
        Command::Report(args) => report::run(args).await,
        Command::Verify(args) => verify::run(*args).await,
        Command::Emulate(args) => emulate::run(args).await,
        Command::ActivityTypes(args) => activity_types::run(args).await,
        Command::Map(args) => tokio::task::block_in_place(|| map::run(&args)),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Demo(args) => demo::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::definition().debug_assert();
    }
}
