//! `check`: validates pipeline files and tests their connections. Nothing is delivered.

mod cases;
mod connections;
mod console;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::task::spawn_blocking;

use super::output::{print_json, print_lines};
use super::{FileArgs, Format, USAGE, note};
use crate::pipeline;
use crate::worker::{Duplicate, OtherVersion, find_duplicates, find_other_versions};

pub use report::{Check, Finding, PipelineReport, Report};

/// Validate pipeline files and test their connections
///
/// First, all errors of all files are reported with their places. Then each console is tested: reachable, token valid
/// and when it expires, its owner and scope, whether it sees the accounts, sites and groups of the file, clock,
/// permission and number of records of each stream, rate limit. Each sink is `verified`, `reached, credentials not
/// testable` or `failed`. Nothing is delivered, and no state is read or written. The `tests`
/// of the files run too. A lane that sends the same records to the same place as a lane of another pipeline among the
/// files gets a warning.
///
/// Exit codes: 0 everything is valid; 1 a connection or a test failed; 2 a file is invalid, or there is none.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,

    /// Only validate the files and run their tests, without network; tokens are not read
    #[arg(long)]
    offline: bool,

    /// Also print the settings of each pipeline as they apply: with defaults, without secrets
    #[arg(long)]
    settings: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Args {
    /// Returns a check of one file.
    pub(super) fn of_file(file: PathBuf, offline: bool, format: Format) -> Self {
        Self { files: FileArgs::of_file(file), offline, settings: false, format }
    }
}

/// Runs `check`.
///
/// # Errors
/// If the result cannot be printed.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(warning) = args.files.without_effect() {
        note(format_args!("warning: {warning}"));
    }
    let options = args.files.options.get();
    let loaded = pipeline::read(args.files.locations(), &options).await;
    let tests = loaded.pipelines.iter().map(|pipeline| cases::run(pipeline, cases::MAX_TIME));
    let mut findings: Vec<Vec<Finding>> = tests.collect();
    if args.offline {
        for (findings, pipeline) in findings.iter_mut().zip(&loaded.pipelines) {
            findings.extend(connections::check_offline(pipeline));
        }
    } else {
        for (findings, mut online) in findings.iter_mut().zip(connections::check_all(&loaded.pipelines).await) {
            findings.append(&mut online);
        }
    }
    let pipelines = loaded.pipelines.clone();
    let reads_secrets = !args.offline;
    let find = move || {
        let duplicates = find_duplicates(&pipelines, &options.tenants, reads_secrets);
        (duplicates, find_other_versions(&pipelines, reads_secrets))
    };
    let (duplicates, other_versions) = spawn_blocking(find).await.unwrap_or_default();
    let mut add = |name: &String, finding: Finding| {
        let position = loaded.pipelines.binary_search_by(|pipeline| pipeline.name.cmp(name));
        if let Some(findings) = position.ok().and_then(|position| findings.get_mut(position)) {
            findings.push(finding);
        }
    };
    for (lane, Duplicate { of, .. }) in duplicates {
        add(&lane.pipeline, Finding::duplicate(&lane, &of));
    }
    for OtherVersion { pipeline, sink, of } in other_versions {
        add(&pipeline, Finding::other_version(&sink, &of));
    }
    let report = Report::new(&loaded, findings, args.offline, args.settings);
    match args.format {
        Format::Table => print_lines(report.table())?,
        Format::Json => print_json(&serde_json::to_string_pretty(&report)?)?,
    }
    if report.pipelines.is_empty() && loaded.problems.is_empty() {
        note(format_args!("error: {}", args.files.explain_no_files()));
    }
    Ok(if report.has_invalid_file() || report.pipelines.is_empty() {
        ExitCode::from(USAGE)
    } else if report.has_failure() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
