//! `check`: are the files valid, do the consoles let us in, are the sinks there? Nothing is delivered.

mod online;
mod report;

use std::process::ExitCode;

use clap::ValueEnum;

use super::{FileArgs, USAGE, say};
use crate::pipeline;

pub use report::{Check, Finding, PipelineReport, Report};

/// Validate pipeline files and test their connections
///
/// First the files: every error of every file at once, with its place. Then each connection: console reachable, token valid
/// and when it expires, scope, permission for each stream; each sink `verified`, `reached, credentials not testable` or
/// `failed`. Nothing is delivered, and no state is touched.
///
/// Exit codes: 0 all is well; 1 a connection failed; 2 a file is invalid.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,

    /// Only validate the files: no network
    #[arg(long)]
    offline: bool,

    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object for programs.
    Json,
}

/// Checks, and prints what came of it on standard output.
///
/// # Errors
/// When the result cannot be printed.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let loaded = pipeline::read(&args.files.pipelines, args.files.defaults.as_deref()).await;
    let findings = if args.offline { Vec::new() } else { online::check_all(&loaded.pipelines).await };
    let report = Report::new(&loaded, findings, args.offline);
    match args.format {
        Format::Table => say(report.table())?,
        Format::Json => say(serde_json::to_string_pretty(&report)?)?,
    }
    Ok(if report.has_invalid_file() {
        ExitCode::from(USAGE)
    } else if report.has_failed_connection() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
