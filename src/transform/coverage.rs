//! Checks that a mapping loses no value: counts where each leaf of a record is in its event.
//!
//! This is for reports and tests only: it parses records and events into trees.

use std::collections::HashSet;

use serde_json::Value;

use super::copy::{is_secret, snake_case_into};
use crate::record::Stream;

/// Counts of the leaves (scalars) of records, by where they are in the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// All leaves except `null` and "".
    pub leaves: u64,
    /// Unchanged in an ECS field.
    pub ecs: u64,
    /// In the vendor namespace.
    pub vendor: u64,
    /// Left out because they are secret.
    pub dropped: u64,
    /// Paths of the leaves that are not in the event.
    pub lost: Vec<String>,
}

impl Coverage {
    /// Adds a record and its event.
    pub fn add(&mut self, stream: Stream, record: &Value, event: &Value) {
        let vendor = event.get("sentinel_one").and_then(|vendor| vendor.get(stream.singular())).unwrap_or(&Value::Null);
        let mut vendor_paths = HashSet::new();
        let mut vendor_texts = HashSet::new();
        each_leaf(vendor, &mut Vec::new(), &mut |path, text| {
            vendor_paths.insert((path.join("\n"), text.clone()));
            vendor_texts.insert(text);
        });
        let mut ecs = HashSet::new();
        for (name, value) in event.as_object().into_iter().flatten().filter(|(name, _)| *name != "sentinel_one") {
            each_leaf(value, &mut vec![name.clone()], &mut |path, text| {
                if path != ["event", "original"] {
                    ecs.insert(text);
                }
            });
        }
        each_leaf(record, &mut Vec::new(), &mut |path, text| {
            if stream == Stream::Vulnerabilities && is_redundant(record, path, &text) {
                return;
            }
            self.leaves += 1;
            if path.iter().any(|key| is_secret(key)) {
                self.dropped += 1;
            } else if vendor_paths.contains(&(vendor_path(stream, path), text.clone())) {
                self.vendor += 1;
            } else if ecs.contains(&text) {
                self.ecs += 1;
            } else if vendor_texts.contains(&text) {
                self.vendor += 1;
            } else {
                self.lost.push(format!("{}.{}", stream.name(), path.join(".")));
            }
        });
    }
}

/// Findings have `Not Defined` for missing values, and repeat name and version of an application in one text.
fn is_redundant(finding: &Value, path: &[String], text: &str) -> bool {
    let part = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
    match path {
        [key] if key == "application" => text == format!("{} {}", part("applicationName"), part("applicationVersion")),
        _ => text.eq_ignore_ascii_case("not defined"),
    }
}

/// The path of a leaf in the vendor namespace, unless a name on it was changed to be unique.
fn vendor_path(stream: Stream, path: &[String]) -> String {
    let snake = |key: &String| {
        let mut name = Vec::new();
        snake_case_into(&mut name, key.as_bytes());
        String::from_utf8(name).unwrap_or_default()
    };
    match path {
        [data, keys @ ..] if stream == Stream::Activities && data == "data" => {
            format!("data\nflattened\n{}", keys.join("\n"))
        }
        _ => path.iter().map(snake).collect::<Vec<_>>().join("\n"),
    }
}

/// Visits scalars except `null` and "". List indices are not part of the path.
fn each_leaf(value: &Value, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], String)) {
    match value {
        Value::Null => {}
        Value::Bool(boolean) => visit(path, boolean.to_string()),
        Value::Number(number) => visit(path, number.to_string()),
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => visit(path, text.clone()),
        Value::Array(elements) => elements.iter().for_each(|element| each_leaf(element, path, visit)),
        Value::Object(entries) => {
            for (key, value) in entries {
                path.push(key.clone());
                each_leaf(value, path, visit);
                path.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_are_counted_by_where_they_are() {
        let record = json!({"id": "7", "aB": [1, null, {"c": ""}], "registrationToken": "t", "gone": "x", "n": "n"});
        let event = json!({"event": {"id": "7", "original": "x"}, "sentinel_one": {"group": {"a_b": [1], "n_2": "n"}}});
        let mut coverage = Coverage::default();
        coverage.add(Stream::Groups, &record, &event);
        let expected = Coverage { leaves: 5, ecs: 1, vendor: 2, dropped: 1, lost: vec!["groups.gone".to_owned()] };
        assert_eq!(coverage, expected);
    }
}
