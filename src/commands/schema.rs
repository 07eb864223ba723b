//! `schema`: the JSON Schema of a pipeline file.

use std::process::ExitCode;

use super::output::{print_json, print_lines};
use crate::pipeline;

/// Print the JSON Schema of a pipeline file, for editors
///
/// Editors complete keys and mark mistakes with it: docs/editors.md says how. `check` finds the same mistakes, and
/// those that span several keys.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the definition of the resource Pipeline, for `kubectl apply --server-side -f -`
    #[arg(long)]
    kubernetes: bool,
}

/// Runs `schema`.
///
/// # Errors
/// If the schema cannot be printed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.kubernetes {
        print_lines(pipeline::definition_text().trim_end())?;
    } else {
        print_json(&serde_json::to_string_pretty(&pipeline::schema())?)?;
    }
    Ok(ExitCode::SUCCESS)
}
