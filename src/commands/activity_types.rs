//! `activity-types`: what a console may send that the mapping has no row for.

use std::process::ExitCode;

use anyhow::Context;
use comfy_table::{Table, presets};
use serde::Deserialize;

use super::OneFileArgs;
use crate::console::{Client, Limiters};
use crate::record::Clock;
use crate::transform::knows_activity_type;

/// List the activity types that the console of a pipeline knows and the mapping table does not
///
/// Activities of such a type are mapped by the rule for unknown types and counted in
/// s1_forwarder_unknown_activities_total. Nothing is pulled and nothing is delivered.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    one: OneFileArgs,
}

/// An entry of `/activities/types`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActivityType {
    id: u32,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    description_template: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Vec<ActivityType>,
}

/// Asks the console, and prints what the table lacks.
///
/// # Errors
/// When the file is invalid, or the console does not answer.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pipeline = args.one.load()?;
    let client = Client::connect(&pipeline.console, &Limiters::default(), Clock::System)?;
    let body = client.object("activities/types").await?;
    let Answer { data } =
        serde_json::from_slice(&body).context("the console's answer is not a list of activity types")?;
    let total = data.len();
    let mut unknown: Vec<_> = data.into_iter().filter(|kind| !knows_activity_type(kind.id)).collect();
    unknown.sort_by_key(|kind| kind.id);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["TYPE", "ACTION", "DESCRIPTION"]);
    for kind in &unknown {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        table.add_row([kind.id.to_string(), text(&kind.action), text(&kind.description_template)]);
    }
    if !unknown.is_empty() {
        println!("{table}");
    }
    println!("{} of the console's {total} activity types have no row in the mapping table", unknown.len());
    Ok(ExitCode::SUCCESS)
}
