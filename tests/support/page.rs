//! The code blocks of a page of docs, for tests that follow it literally.

use std::fs;

use super::harness::Harness;

/// The first block of this language below the heading, without its indentation.
pub fn block(page: &str, heading: &str, language: &str) -> String {
    let text = fs::read_to_string(format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{page}: {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let (before, rest) = section.split_once(&fence).unwrap_or_else(|| panic!("{page}: no block of {language}"));
    let indent = before.len() - before.trim_end_matches(' ').len();
    let lines = rest.lines().take_while(|line| line.trim() != "```");
    lines.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect()
}

/// Changes a text of the page in all places. It has to be there.
pub fn with(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replace(from, to)
    })
}

/// Runs the commands of the program among these lines, in this order.
pub async fn run_all(harness: &Harness, commands: &str) {
    let mut count = 0;
    for line in commands.lines() {
        let Some(arguments) = line.strip_prefix("s1-forwarder ") else { continue };
        let exit = harness.command(&arguments.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(exit.code, Some(0), "{line}: {}{}", exit.stdout, exit.stderr);
        count += 1;
    }
    assert!(count > 1, "{commands}");
}
