//! `activity-types`: activity types of a console that the mapping table does not have.

use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;

use super::output::{Table, print_lines};
use super::{OneFileArgs, print_line};
use crate::console::{Client, Limiters, SecretRedactor};
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

/// Instead of an empty text. Consoles list some types without any.
const NO_TEXT: &str = "(the console gives no text)";

impl ActivityType {
    fn action(&self, redactor: &SecretRedactor) -> String {
        let action = redactor.excerpt(self.action.as_deref().unwrap_or_default());
        if action.is_empty() { "–".to_owned() } else { action }
    }

    /// Returns the template, with `<username>` for `{{ username }}`.
    fn description(&self, redactor: &SecretRedactor) -> String {
        let template = redactor.excerpt(self.description_template.as_deref().unwrap_or_default());
        let mut words = String::new();
        let mut description = String::new();
        let mut rest = template.as_str();
        while let Some((before, after)) = rest.split_once("{{")
            && let Some((name, after)) = after.split_once("}}")
        {
            words.push_str(before);
            description.push_str(&format!("{before}<{}>", name.split('|').next().unwrap_or_default().trim()));
            rest = after;
        }
        words.push_str(rest);
        description.push_str(rest);
        if words.contains(char::is_alphanumeric) { description } else { NO_TEXT.to_owned() }
    }
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
    let ActivityTypes { data } = serde_json::from_slice(&body)
        .map_err(|error| client.redactor().unreadable(&error))
        .context("the console's response is not a list of activity types")?;
    let total = data.len();
    let mut unknown: Vec<_> = data.into_iter().filter(|kind| !knows_activity_type(kind.id)).collect();
    unknown.sort_by_key(|kind| kind.id);
    let mut table = Table::new(&["TYPE", "ACTION", "DESCRIPTION"]);
    for kind in &unknown {
        table.add_row([kind.id.to_string(), kind.action(client.redactor()), kind.description(client.redactor())]);
    }
    if !unknown.is_empty() {
        print_lines(table)?;
    }
    print_line(format!("{} of the console's {total} activity types have no row in the mapping table", unknown.len()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(action: &str, template: &str) -> [String; 2] {
        let kind =
            ActivityType { id: 1, action: Some(action.to_owned()), description_template: Some(template.to_owned()) };
        let redactor = SecretRedactor::default();
        [kind.action(&redactor), kind.description(&redactor)]
    }

    #[test]
    fn a_type_is_described_as_far_as_the_console_does() {
        let template = "The user {{ username }} changed {{ expiration | datetime}}.";
        assert_eq!(row("Changed", template), ["Changed", "The user <username> changed <expiration>."]);
        for empty in ["", ": {{ username }}", "{{ a }} {{ b }}"] {
            assert_eq!(row(" ", empty), ["–", NO_TEXT], "{empty}");
        }
        assert_eq!(row("a", "open {{ username"), ["a", "open {{ username"]);
        let hostile = row("\x1b]0;title\x07", "\x1b[2J\nforged {{ \x1b[31m }}");
        assert!(!hostile.concat().contains(char::is_control), "{hostile:?}");
    }
}
