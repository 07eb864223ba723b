//! The part of JSON Schema that `schema.json` of each version in `data/ocsf` uses. It panics at an unknown keyword. The
//! library for JSON Schema is forty crates, which tests of the mapping need not wait for. `tests/ocsf/` of the program
//! compares the two on valid and on broken events.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use regex::Regex;
use s1_forwarder_record::Timestamp;
use serde_json::{Map, Value};

/// The definitions that `$ref` names, and the patterns in them.
pub struct JsonSchema {
    definitions: Value,
    patterns: HashMap<String, Regex>,
}

impl JsonSchema {
    pub fn new(definitions: Value) -> Self {
        let mut patterns = HashMap::new();
        compile_patterns(&definitions, &mut patterns);
        Self { definitions, patterns }
    }

    /// Returns the faults of `value`, each with its place.
    pub fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(schema, value, "", &mut faults);
        faults
    }

    fn is_valid(&self, schema: &Value, value: &Value) -> bool {
        self.faults(schema, value).is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
        for (keyword, wanted) in schema.as_object().unwrap() {
            self.keyword(schema, keyword, wanted, value, place, faults);
        }
    }

    fn keyword(
        &self,
        schema: &Value,
        keyword: &str,
        wanted: &Value,
        value: &Value,
        place: &str,
        faults: &mut Vec<String>,
    ) {
        let valid = |schema: &&Value| self.is_valid(schema, value);
        let is_fulfilled = match keyword {
            "$schema" | "$defs" | "title" | "then" => true,
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                return self.check(&self.definitions[name], value, place, faults);
            }
            "allOf" => return list(wanted).for_each(|schema| self.check(schema, value, place, faults)),
            "anyOf" => list(wanted).any(|schema| valid(&schema)),
            "oneOf" => list(wanted).filter(valid).count() == 1,
            "if" => {
                if self.is_valid(wanted, value) {
                    self.check(&schema["then"], value, place, faults);
                }
                return;
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = wanted.get(name) {
                        self.check(schema, value, &format!("{place}/{name}"), faults);
                    }
                }
                return;
            }
            "additionalProperties" => {
                assert!(wanted.is_boolean(), "a schema for additional properties");
                let known = schema["properties"].as_object();
                let is_known = |name: &String| known.is_some_and(|known| known.contains_key(name));
                let unknown: Vec<_> = names(value).filter(|name| wanted == false && !is_known(name)).collect();
                if !unknown.is_empty() {
                    faults.push(format!("{place}: Additional properties are not allowed: {unknown:?}"));
                }
                return;
            }
            "required" => {
                let missing = list(wanted).filter(|name| value.is_object() && value.get(text(name)).is_none());
                return faults.extend(missing.map(|name| format!("{place}: {name} is a required property")));
            }
            "items" => {
                for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(wanted, element, &format!("{place}/{index}"), faults);
                }
                return;
            }
            "contains" => value.as_array().is_none_or(|list| list.iter().any(|value| self.is_valid(wanted, value))),
            "type" => has_type(value, text(wanted)),
            "enum" => list(wanted).any(|wanted| wanted == value),
            "const" => wanted == value,
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|value| self.patterns[text(wanted)].is_match(value)),
            "format" => value.as_str().is_none_or(|value| has_format(value, text(wanted))),
            _ => panic!("the keyword {keyword} at {place}"),
        };
        if !is_fulfilled {
            faults.push(format!("{place}: {value} is against {keyword} {wanted}"));
        }
    }
}

fn compile_patterns(schema: &Value, patterns: &mut HashMap<String, Regex>) {
    match schema {
        Value::Object(entries) => {
            if let Some(Value::String(pattern)) = entries.get("pattern") {
                patterns.insert(pattern.clone(), Regex::new(pattern).unwrap());
            }
            entries.values().for_each(|schema| compile_patterns(schema, patterns));
        }
        Value::Array(schemas) => schemas.iter().for_each(|schema| compile_patterns(schema, patterns)),
        _ => {}
    }
}

fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().unwrap().iter()
}

fn names(value: &Value) -> impl Iterator<Item = &String> {
    value.as_object().into_iter().flat_map(Map::keys)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        _ => panic!("the type {wanted}"),
    }
}

fn has_format(text: &str, wanted: &str) -> bool {
    match wanted {
        "date-time" => Timestamp::parse(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        _ => panic!("the format {wanted}"),
    }
}
