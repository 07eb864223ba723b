//! The command line: one file per subcommand. The only room that prints, and the only one with `anyhow`.
//!
//! Exit codes: 0 done; 1 something failed at run time; 2 wrong usage, or pipeline files of which none could be run.

mod cluster;
mod one_file;
mod pretty;
mod process;

pub mod activity_types;
pub mod backfill;
pub mod check;
pub mod dead_letters;
pub mod demo;
pub mod emulate;
pub mod map;
pub mod preview;
pub mod run;
pub mod state;
pub mod status;
pub mod verify;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::settings::install_crypto_provider;
use crate::telemetry::init_logs;

pub use cluster::ClusterArgs;
pub use one_file::{OneFileArgs, WindowArgs};
pub use process::{DeliveryArgs, FileArgs, LogArgs, ProcessArgs, RateArgs, StateArgs};

/// Wrong usage that the parser of flags cannot see: ends the process with 2 instead of 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// How long blocking calls under way may take at the end.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// The exit code of wrong usage and of pipeline files of which none could be run.
pub const USAGE: u8 = 2;

/// Forwards SentinelOne security records to Kafka and HTTP SIEMs.
///
/// One YAML file per customer describes one pipeline: a SentinelOne console, the streams to pull from it, how records are
/// mapped (ECS or raw), and the sinks that they go to. One worker runs thousands of them.
#[derive(Debug, Parser)]
#[command(
    name = "s1-forwarder",
    version,
    max_term_width = 120,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Start here:\n  s1-forwarder demo --for 30s                   everything at work, nothing needed\n  \
                  s1-forwarder check --pipelines pipelines      are my files and credentials good?\n  \
                  s1-forwarder run --pipelines pipelines        run them; edit the files while it runs\n\n\
                  Exit codes: 0 done; 1 something failed at run time; 2 wrong usage, or pipeline files of which none could be run."
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
    Backfill(backfill::Args),
    #[command(name = "dead-letters")]
    DeadLetters(Box<dead_letters::Args>),
    State(state::Args),
    Status(status::Args),
    Verify(Box<verify::Args>),
    Emulate(emulate::Args),
    Map(map::Args),
    Preview(preview::Args),
    ActivityTypes(activity_types::Args),
    Demo(demo::Demo),
}

impl Command {
    /// What is logged unless the user says otherwise: a worker's life, and of other commands what went wrong.
    fn log_level(&self) -> &'static str {
        match self {
            Self::Run(_) => "info",
            // A terminal shows a bar instead.
            Self::Backfill(_) | Self::Verify(_) if !stderr().is_terminal() => "info",
            _ => "warn",
        }
    }
}

/// The whole program: parses the command line, runs the command, maps what came of it to an exit code.
pub fn main() -> ExitCode {
    // Ends the process by itself, with 2, when the usage is wrong.
    let Cli { logs, command } = Cli::parse();
    install_crypto_provider();
    let level = logs.log_level.as_deref().unwrap_or(command.log_level());
    if let Err(error) = init_logs(logs.log_format, level) {
        eprintln!("error: {error}");
        return ExitCode::from(USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the threads of the program: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(dispatch(command));
    // A write that a stuck pipe holds up must not hold up the end.
    runtime.shutdown_timeout(LAST_WRITES);
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", in_full(&error));
            if error.is::<UsageError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// An error and its causes; those that the error tells of itself are not told again.
fn in_full(error: &anyhow::Error) -> String {
    let causes = error.chain().skip(1).map(ToString::to_string);
    causes.fold(error.to_string(), |told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
}

/// Prints on standard output. A reader that has seen enough (`| head`) is no error.
fn say(text: impl std::fmt::Display) -> std::io::Result<()> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(*args).await,
        Command::Check(args) => check::run(args).await,
        Command::Backfill(args) => backfill::run(args).await,
        Command::DeadLetters(args) => dead_letters::run(*args).await,
        Command::Preview(args) => preview::run(args).await,
        Command::State(args) => state::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Verify(args) => verify::run(*args).await,
        Command::Emulate(args) => emulate::run(args).await,
        Command::ActivityTypes(args) => activity_types::run(args).await,
        Command::Map(args) => tokio::task::block_in_place(|| map::run(&args)),
        Command::Demo(args) => demo::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::Cli::command().debug_assert();
    }
}
