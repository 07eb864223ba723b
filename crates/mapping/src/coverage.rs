//! Checks that a mapping loses no value: finds and counts each leaf of a record in its event.
//!
//! This is for reports and tests only: it parses records and events into trees.

use std::collections::HashSet;

use s1_forwarder_record::{Escaped, Stream};
use serde_json::Value;

use super::Schema;
use super::common::date::{self, Date};
use super::common::hash::hash;
use super::copy::snake_case_into;
use super::ecs::UNEXPECTED;
use super::keys::OVERFLOW;
use super::ocsf;
use super::secret_keys::is_secret;

/// Counts of the leaves (scalars) of records, by their place in the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// All leaves except `null` and "".
    pub leaves: u64,
    /// Leaves in a field of the schema. In OCSF, a time counts with its milliseconds, and a word with its caption.
    pub mapped: u64,
    /// Leaves in `sentinel_one.*` or `unmapped`.
    pub vendor: u64,
    /// Leaves that are left out because they are secret.
    pub dropped: u64,
    /// Paths of the leaves that are not in the event.
    pub lost: Vec<String>,
}

impl Coverage {
    /// Adds a record and its event.
    pub fn add(&mut self, schema: Schema, stream: Stream, record: &Value, event: &Value) {
        let event = EventLeaves::of(schema, stream, event);
        each_leaf(record, &mut Vec::new(), &mut |path, text| {
            if stream == Stream::Vulnerabilities && is_redundant(record, path, &text) {
                return;
            }
            self.leaves += 1;
            if path.iter().any(|key| is_secret(key)) {
                self.dropped += 1;
            } else if event.vendor_paths.contains(&(vendor_path(schema, stream, path), text.clone())) {
                self.vendor += 1;
            } else if event.has(schema, path, &text) {
                self.mapped += 1;
            } else if event.vendor_texts.contains(&text) {
                self.vendor += 1;
            } else {
                self.lost.push(format!("{}.{}", stream.name(), path.join(".")));
            }
        });
    }
}

/// The leaves of an event.
#[derive(Default)]
struct EventLeaves {
    vendor_paths: HashSet<(String, String)>,
    vendor_texts: HashSet<String>,
    texts: HashSet<String>,
    /// In OCSF: texts in lower case without separators.
    words: HashSet<String>,
}

impl EventLeaves {
    fn of(schema: Schema, stream: Stream, event: &Value) -> Self {
        let mut places = Self::default();
        let (name, vendor, original): (_, _, &[&str]) = match schema {
            Schema::Ocsf => ("unmapped", event.get("unmapped"), &["raw_data"]),
            _ => {
                let vendor = event.get("sentinel_one").and_then(|vendor| vendor.get(stream.singular()));
                ("sentinel_one", vendor, &["event", "original"])
            }
        };
        let vendor = vendor.unwrap_or(&Value::Null);
        let unexpected = vendor.get(UNEXPECTED).filter(|_| schema == Schema::Ecs).and_then(Value::as_str);
        let unexpected = unexpected.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let overflow = vendor.get(OVERFLOW).and_then(Value::as_str);
        let overflow = overflow.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        for vendor in [vendor, &unexpected, &overflow] {
            each_leaf(vendor, &mut Vec::new(), &mut |path, text| {
                places.vendor_paths.insert((path.join("\n"), text.clone()));
                places.vendor_texts.insert(text);
            });
        }
        for (name, value) in event.as_object().into_iter().flatten().filter(|(key, _)| *key != name) {
            each_leaf(value, &mut vec![name.clone()], &mut |path, text| {
                if path != original {
                    places.words.insert(word(&text));
                    places.texts.insert(text);
                }
            });
        }
        each_account(event, &mut |name, domain| {
            places.texts.insert(format!("{domain}\\{name}"));
            places.texts.insert(format!("{name}@{domain}"));
        });
        places
    }

    fn has(&self, schema: Schema, path: &[String], text: &str) -> bool {
        let is_lower_case = || hash(Escaped::plain(text)).is_some() && self.texts.contains(&text.to_ascii_lowercase());
        if self.texts.contains(text) || is_lower_case() {
            return true;
        }
        if schema != Schema::Ocsf {
            return false;
        }
        let key = path.last().map(String::as_str).unwrap_or_default();
        let time = match date::read(text) {
            Date::At(time) => Some(time.millis().to_string()),
            _ => None,
        };
        time.is_some_and(|time| self.texts.contains(&time))
            || ocsf::caption(key, text).is_some_and(|caption| self.texts.contains(caption))
            || (IN_WORDS.contains(&key) && self.words.contains(&word(text)))
    }
}

/// Keys whose words OCSF spells differently: `in_progress`, `In Progress`.
const IN_WORDS: [&str; 9] = [
    "incidentStatus",
    "analystVerdict",
    "severity",
    "status",
    "machineType",
    "agentMachineType",
    "origagentmachinetype",
    "endpointType",
    "fileExtension",
];

fn word(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '_' | '-' | '.')).flat_map(char::to_lowercase).collect()
}

/// Visits the name and the domain of each user.
fn each_account(value: &Value, visit: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(entries) => {
            let text = |key: &str| entries.get(key).and_then(Value::as_str);
            if let (Some(name), Some(domain)) = (text("name"), text("domain")) {
                visit(name, domain);
            }
            entries.values().for_each(|value| each_account(value, visit));
        }
        Value::Array(elements) => elements.iter().for_each(|element| each_account(element, visit)),
        _ => {}
    }
}

/// Returns whether a leaf of a finding may be missing from the event. Findings have `Not Defined` for missing values,
/// and repeat the name and the version of an application in one text.
fn is_redundant(finding: &Value, path: &[String], text: &str) -> bool {
    let part = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
    match path {
        [key] if key == "application" => text == format!("{} {}", part("applicationName"), part("applicationVersion")),
        _ => text.eq_ignore_ascii_case("not defined"),
    }
}

/// Returns the path of a leaf in the vendor namespace. The path is wrong if the writer changed a name to make it
/// unique.
fn vendor_path(schema: Schema, stream: Stream, path: &[String]) -> String {
    if schema == Schema::Ocsf {
        return path.join("\n");
    }
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
        coverage.add(Schema::Ecs, Stream::Groups, &record, &event);
        let expected = Coverage { leaves: 5, mapped: 1, vendor: 2, dropped: 1, lost: vec!["groups.gone".to_owned()] };
        assert_eq!(coverage, expected);
    }

    #[test]
    fn a_hash_counts_in_lower_case() {
        let hash = "a".repeat(40);
        let record = json!({"sha1": hash.to_uppercase(), "name": "ABC"});
        let event = json!({"file": {"hash": {"sha1": hash}, "name": "abc"}, "unmapped": {}});
        for schema in [Schema::Ecs, Schema::Ocsf] {
            let mut coverage = Coverage::default();
            coverage.add(schema, Stream::Groups, &record, &event);
            assert_eq!((coverage.mapped, coverage.lost), (1, vec!["groups.name".to_owned()]));
        }
    }

    #[test]
    fn times_words_and_users_count_in_the_form_of_ocsf() {
        let record = json!({
            "a": "2026-01-01T00:00:00.123456Z", "user": "ACME\\jane", "status": "in_progress", "confidenceLevel": "malicious",
            "other": "in_progress", "gone": "2026-01-01T00:00:00.124Z", "kept": "x"
        });
        let event = json!({
            "time": 1_767_225_600_123_i64, "actor": {"user": {"name": "jane", "domain": "ACME"}}, "status": "In Progress",
            "confidence": "High", "raw_data": "2026-01-01T00:00:00.124Z", "unmapped": {"kept": "x"}
        });
        let mut coverage = Coverage::default();
        coverage.add(Schema::Ocsf, Stream::Groups, &record, &event);
        let lost = ["groups.gone", "groups.other"].map(str::to_owned).to_vec();
        assert_eq!(coverage, Coverage { leaves: 7, mapped: 4, vendor: 1, dropped: 0, lost });
    }
}
