//! `schema`: the JSON Schema of a pipeline file.

use std::process::ExitCode;

use super::print_line;
use crate::pipeline;

/// Print the JSON Schema of a pipeline file, for editors
///
/// Editors complete keys and mark mistakes with it: docs/editors.md says how. `check` finds the same mistakes, and
/// those that span several keys.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// # Errors
/// If the schema cannot be printed.
pub fn run(_: &Args) -> anyhow::Result<ExitCode> {
    print_line(serde_json::to_string_pretty(&pipeline::schema())?)?;
    Ok(ExitCode::SUCCESS)
}
