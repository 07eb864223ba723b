//! Functions for what public content reads: paths of records, and rows of docs/integrations.md.

use std::collections::BTreeSet;

use serde_json::Value;

/// The values at a path of names with dots; of a list those of each element. Empty texts and null are none.
pub fn values<'a>(record: &'a Value, path: &str) -> Vec<&'a Value> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let inner = if name.is_empty() { Some(record) } else { record.get(name) };
    let elements = match inner {
        None => Vec::new(),
        Some(Value::Array(elements)) => elements.iter().collect(),
        Some(one) => vec![one],
    };
    let is_set = |value: &&Value| !value.is_null() && value.as_str() != Some("");
    match rest {
        None => elements.into_iter().filter(is_set).collect(),
        Some(rest) => elements.into_iter().flat_map(|element| values(element, rest)).collect(),
    }
}

/// Whether there is a value at the path, or at one of paths that a bar separates.
pub fn has(record: &Value, paths: &str) -> bool {
    paths.split('|').any(|path| !values(record, path).is_empty())
}

/// The text, or the number as text, at a path.
pub fn text(record: &Value, path: &str) -> String {
    let found = values(record, path);
    found.first().map_or(String::new(), |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// The tables of this section of docs/integrations.md have these rows and no other. A row that gives nothing says
/// `nothing:` and why.
pub fn promises(section: &str, rows: &[(&str, bool)]) {
    let page = include_str!("../../docs/integrations.md");
    let (_, rest) = page.split_once(&format!("\n{section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let level = section.split_once(' ').unwrap().0;
    let end =
        rest.lines().position(|line| line.starts_with('#') && line.split_once(' ').unwrap().0.len() <= level.len());
    let lines: Vec<&str> = rest.lines().take(end.unwrap_or(usize::MAX)).collect();
    let is_row = |index: &usize| {
        lines[*index].starts_with("| ")
            && !lines[*index].starts_with("| ---")
            && !lines.get(index + 1).is_some_and(|next| next.starts_with("| ---"))
    };
    let cells = |index: usize| lines[index].trim_matches(['|', ' ']).split_once(" | ").unwrap();
    let promised = (0..lines.len()).filter(is_row).map(cells);
    let promised: BTreeSet<(&str, bool)> =
        promised.map(|(item, gives)| (item, !gives.starts_with("nothing:"))).collect();
    assert_eq!(promised, rows.iter().copied().collect(), "{section}");
}
