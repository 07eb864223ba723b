//! The settings of a pipeline as they apply, for people: defaults filled in, secrets masked.

use s1_forwarder_settings::{Period, SECRET_REF};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Pipeline;

impl Pipeline {
    /// Returns the effective settings: keys with dots, and their values. A secret shows where it comes from; a literal
    /// secret is `***`. A key that is neither set nor has a default is left out.
    pub fn effective(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        let mut add = |key: &str, value: Value| flatten(key, &value, &mut rows);
        add("name", json!(self.name));
        add("renamed_from", json!(self.renamed_from));
        add("enabled", json!(self.enabled));
        add("console", value_of(&self.console.effective()));
        add("streams", self.effective_streams());
        add("transform", value_of(&*self.transform));
        for sink in &self.sinks {
            add(&format!("sinks[{}]", sink.name()), sink.effective());
        }
        rows
    }

    fn effective_streams(&self) -> Value {
        let mut streams = value_of(&*self.streams);
        for pull in &self.pulls {
            let Some(keys) = streams.get_mut(pull.stream.name()).and_then(Value::as_object_mut) else { continue };
            let period = |period| value_of(&Period(period));
            let mut applies = |key: &str, value: Value| keys.insert(key.to_owned(), value);
            applies("interval", period(pull.interval));
            applies("overlap", period(pull.overlap));
            applies("since", value_of(&pull.since));
            applies("silent_after", value_of(&pull.silent_after));
            if let Some(lookback) = pull.lookback() {
                applies("lookback", period(lookback));
            }
            if let Some(findings) = pull.findings() {
                applies("resync", period(findings.resync));
                applies("include_removed", json!(findings.include_removed));
            }
        }
        streams
    }
}

fn value_of(settings: &impl Serialize) -> Value {
    // Settings are made of texts, numbers, lists and maps with texts as keys.
    serde_json::to_value(settings).unwrap_or_default()
}

fn flatten(key: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(map) if is_secret_source(map) => {
            let parts = map.iter().map(|(name, value)| format!("{name}: {}", text(value)));
            rows.push((key.to_owned(), format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))));
        }
        Value::Object(map) => {
            for (name, value) in map {
                flatten(&format!("{key}.{name}"), value, rows);
            }
        }
        Value::Array(elements) if elements.is_empty() => {}
        Value::Array(elements) if elements.iter().any(|element| element.is_object() && !is_source(element)) => {
            for (index, element) in elements.iter().enumerate() {
                flatten(&format!("{key}[{index}]"), element, rows);
            }
        }
        value => rows.push((key.to_owned(), text(value))),
    }
}

fn is_source(value: &Value) -> bool {
    value.as_object().is_some_and(is_secret_source)
}

fn is_secret_source(map: &Map<String, Value>) -> bool {
    map.len() == 1 && ["file", "env", SECRET_REF].iter().any(|source| map.contains_key(*source))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(elements) => {
            let elements = elements.iter().map(|element| match element {
                Value::Object(map) => map.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect(),
                other => text(other),
            });
            elements.collect::<Vec<String>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::{FileOptions, load};

    #[test]
    fn defaults_are_filled_in_and_secrets_are_masked() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acme.yaml");
        let text = "console: { url: 'https://acme.example/x', token: literal-console-token }\n\
                    streams: { activities: {}, alerts: { interval: 2m } }\n\
                    sinks:\n\
                    - { type: splunk_hec, url: 'https://siem.example/hook/secret-path', token: { env: HEC_TOKEN }, \
                        headers: { x-key: header-secret } }\n\
                    - { type: http, name: hook, url: 'https://hook.example', auth: { type: bearer, token: bearer-secret } }\n";
        std::fs::write(&file, text).unwrap();
        let loaded = load(&[file], &FileOptions::default());
        let pipeline = loaded.pipelines.first().unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let rows = pipeline.effective();
        let value = |key: &str| {
            rows.iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("{key} in {rows:#?}")).1.as_str()
        };
        assert_eq!(value("console.token"), "***");
        assert_eq!(value("console.requests_per_second"), "5.0");
        assert_eq!(value("console.timeout"), "30s");
        assert_eq!((value("streams.activities.interval"), value("streams.activities.since")), ("30s", "1d"));
        assert_eq!((value("streams.alerts.interval"), value("streams.alerts.lookback")), ("2m", "7d"));
        assert_eq!(value("sinks[splunk_hec].url"), "https://siem.example/…");
        assert_eq!(value("sinks[splunk_hec].token"), "{ env: HEC_TOKEN }");
        assert_eq!(value("sinks[splunk_hec].compression"), "gzip");
        assert_eq!((value("sinks[hook].batch.events"), value("sinks[hook].concurrency")), ("1000", "4"));
        let all = format!("{rows:?}");
        for secret in ["literal-console-token", "secret-path", "header-secret", "bearer-secret"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }
}
