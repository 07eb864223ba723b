//! Where the leaves of a record went: the account behind the promise that nothing of a record vanishes.
//!
//! This is for reports and tests, not for the way of a record: it reads record and event into trees.

use std::collections::HashSet;

use serde_json::Value;

use super::copy::{is_secret, snake_case_into};
use crate::record::Stream;

/// Leaves of records, by where they were found in the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Leaves that say something: no `null`, no empty text, list or object.
    pub leaves: u64,
    /// Whole in a field of ECS.
    pub ecs: u64,
    /// In the vendor namespace.
    pub vendor: u64,
    /// Left out because they are secrets.
    pub dropped: u64,
    /// Paths of those that were found nowhere.
    pub lost: Vec<String>,
}

impl Coverage {
    /// Adds a record and the event that was made of it.
    pub fn add(&mut self, stream: Stream, record: &Value, event: &Value) {
        let vendor = event.get("sentinel_one").and_then(|vendor| vendor.get(stream.singular())).unwrap_or(&Value::Null);
        let mut own_paths = HashSet::new();
        let mut vendor_texts = HashSet::new();
        each_leaf(vendor, &mut Vec::new(), &mut |path, text| {
            own_paths.insert((path.join("\n"), text.clone()));
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
            if stream == Stream::Vulnerabilities && says_nothing_new(record, path, &text) {
                return;
            }
            self.leaves += 1;
            if path.iter().any(|key| is_secret(key)) {
                self.dropped += 1;
            } else if own_paths.contains(&(own_path(stream, path), text.clone())) {
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

/// Findings say `Not Defined` where there is nothing, and name and version of an application once more as one text.
fn says_nothing_new(finding: &Value, path: &[String], text: &str) -> bool {
    let part = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
    match path {
        [key] if key == "application" => text == format!("{} {}", part("applicationName"), part("applicationVersion")),
        _ => text.eq_ignore_ascii_case("not defined"),
    }
}

/// Where a leaf of the record is in the vendor namespace unless its names had to be told apart.
fn own_path(stream: Stream, path: &[String]) -> String {
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

/// Visits the scalars that say something; list indices are no part of the path.
fn each_leaf(value: &Value, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], String)) {
    match value {
        Value::Null => {}
        Value::Bool(truth) => visit(path, truth.to_string()),
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
    fn each_leaf_is_found_where_it_went() {
        let record = json!({"id": "7", "aB": [1, null, {"c": ""}], "registrationToken": "t", "gone": "x", "n": "n"});
        let event = json!({"event": {"id": "7", "original": "x"}, "sentinel_one": {"group": {"a_b": [1], "n_2": "n"}}});
        let mut coverage = Coverage::default();
        coverage.add(Stream::Groups, &record, &event);
        let expected = Coverage { leaves: 5, ecs: 1, vendor: 2, dropped: 1, lost: vec!["groups.gone".to_owned()] };
        assert_eq!(coverage, expected);
    }
}
