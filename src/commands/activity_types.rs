//! `activity-types`: activity types of a console that the mapping table does not have.

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
/// s1_forwarder_unknown_activity_types_total. The command pulls and delivers no records.
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
struct ActivityTypes {
    data: Vec<ActivityType>,
}

/// Requests the console's activity types and prints the unknown ones.
///
/// # Errors
/// If the file is invalid, or the console does not respond.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pipeline = args.one.load().await?;
    let client = Client::connect(&pipeline.console, &Limiters::default(), Clock::System)?;
    let body = client.object("activities/types").await?;
    let ActivityTypes { data } =
        serde_json::from_slice(&body).context("the console's response is not a list of activity types")?;
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
