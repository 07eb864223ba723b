//! A real OpenTelemetry collector with receivers for Splunk HEC, OTLP, Loki and Datadog; what they got is read from
//! files.

#![allow(clippy::disallowed_methods, reason = "a real process keeps real time, and nobody else is on its thread")]

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cache::or_skip;
use super::ports;

const RECEIVERS: [&str; 4] = ["splunk_hec", "otlp", "loki", "datadog"];

/// Name of the file with the spans.
const TRACES: &str = "traces";

/// A span as the collector understood it.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "not every test that shares this file reads spans")]
pub struct CollectedSpan {
    pub resource: BTreeMap<String, Value>,
    pub name: String,
    pub attributes: BTreeMap<String, Value>,
    pub error: String,
    /// Nanoseconds.
    pub took: u64,
}

/// A running collector; it ends when it is dropped.
pub struct Collector {
    ports: BTreeMap<&'static str, u16>,
    directory: tempfile::TempDir,
    process: Child,
}

/// A log record as the collector understood it.
#[derive(Debug, Clone)]
pub struct Record {
    pub resource: BTreeMap<String, Value>,
    pub attributes: BTreeMap<String, Value>,
    pub body: Value,
    pub severity: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
}

impl Record {
    /// The text of an attribute, "" where there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Collector {
    /// Returns the collector for all tests that run at the same time; `None` if Go is missing.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Collector>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(collector) = shared.upgrade() {
            return Some(collector);
        }
        let collector = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&collector);
        Some(collector)
    }

    fn start() -> Option<Self> {
        let program = or_skip("OpenTelemetry collector", test_servers::collector())?;
        let directory = tempfile::tempdir().unwrap();
        let ports: BTreeMap<_, _> = RECEIVERS.into_iter().map(|receiver| (receiver, ports::free())).collect();
        std::fs::write(directory.path().join("config.yaml"), config(&ports, directory.path())).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(["--config", "file:config.yaml"]).current_dir(directory.path()).stdin(Stdio::null());
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut collector = Self { ports, directory, process };
        let deadline = Instant::now() + Duration::from_mins(1);
        while collector.ports.values().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            let ended = collector.process.try_wait().unwrap().is_some();
            assert!(!ended && Instant::now() < deadline, "the collector does not start: {}", collector.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(collector)
    }

    /// The address of a receiver, without a path.
    pub fn url(&self, receiver: &str) -> String {
        format!("http://127.0.0.1:{}", self.ports[receiver])
    }

    /// The records of a receiver whose body contains `mark`, once there are `count` of them.
    pub fn records(&self, receiver: &str, mark: &str, count: usize) -> Vec<Record> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let text = std::fs::read_to_string(out(self.directory.path(), receiver)).unwrap_or_default();
            // The last line may be half written.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let mut records: Vec<Record> = whole.lines().flat_map(read).collect();
            records.retain(|record| record.body.to_string().contains(mark));
            if records.len() >= count {
                return records;
            }
            assert!(Instant::now() < deadline, "{} of {count} records: {}", records.len(), self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The spans whose attribute `pipeline` is this, once there is one.
    #[allow(dead_code, reason = "not every test that shares this file reads spans")]
    pub fn spans(&self, pipeline: &str) -> Vec<CollectedSpan> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let text = std::fs::read_to_string(out(self.directory.path(), TRACES)).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let mut spans: Vec<CollectedSpan> = whole.lines().flat_map(read_spans).collect();
            spans.retain(|span| span.attributes["pipeline"] == pipeline);
            if !spans.is_empty() {
                return spans;
            }
            assert!(Instant::now() < deadline, "no span of {pipeline}: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

fn out(directory: &Path, receiver: &str) -> PathBuf {
    directory.join(format!("{receiver}.ndjson"))
}

fn config(ports: &BTreeMap<&str, u16>, directory: &Path) -> String {
    let endpoint = |receiver| format!("endpoint: 127.0.0.1:{}", ports[receiver]);
    let mut config = format!(
        "receivers:\n  splunk_hec: {{ {} }}\n  otlp: {{ protocols: {{ http: {{ {} }} }} }}\n  \
         loki: {{ protocols: {{ http: {{ {} }} }}, use_incoming_timestamp: true }}\n  datadog: {{ {} }}\nexporters:\n",
        endpoint("splunk_hec"),
        endpoint("otlp"),
        endpoint("loki"),
        endpoint("datadog"),
    );
    for receiver in RECEIVERS {
        config += &format!("  file/{receiver}: {{ path: {:?}, flush_interval: 100ms }}\n", out(directory, receiver));
    }
    config += &format!("  file/{TRACES}: {{ path: {:?}, flush_interval: 100ms }}\n", out(directory, TRACES));
    config += "service:\n  telemetry: { metrics: { level: none } }\n  pipelines:\n";
    config += &format!("    traces: {{ receivers: [otlp], exporters: [file/{TRACES}] }}\n");
    for receiver in RECEIVERS {
        config += &format!("    logs/{receiver}: {{ receivers: [{receiver}], exporters: [file/{receiver}] }}\n");
    }
    config
}

/// The records of one line, which is one export in OTLP's JSON.
fn read(line: &str) -> Vec<Record> {
    let export: Value = serde_json::from_str(line).unwrap();
    let mut records = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for resource_logs in list(&export["resourceLogs"]) {
        let resource = attributes(&resource_logs["resource"]["attributes"]);
        for record in list(&resource_logs["scopeLogs"]).iter().flat_map(|scope| list(&scope["logRecords"])) {
            records.push(Record {
                resource: resource.clone(),
                attributes: attributes(&record["attributes"]),
                body: value(&record["body"]),
                severity: record["severityNumber"].as_u64().unwrap_or_default(),
                time: record["timeUnixNano"].as_str().map_or(0, |text| text.parse().unwrap()),
            });
        }
    }
    records
}

fn read_spans(line: &str) -> Vec<CollectedSpan> {
    let export: Value = serde_json::from_str(line).unwrap();
    let mut spans = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for resource_spans in list(&export["resourceSpans"]) {
        let resource = attributes(&resource_spans["resource"]["attributes"]);
        for span in list(&resource_spans["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
            spans.push(CollectedSpan {
                resource: resource.clone(),
                name: span["name"].as_str().unwrap_or_default().to_owned(),
                attributes: attributes(&span["attributes"]),
                error: span["status"]["message"].as_str().unwrap_or_default().to_owned(),
                took: nanoseconds(&span["endTimeUnixNano"]).saturating_sub(nanoseconds(&span["startTimeUnixNano"])),
            });
        }
    }
    spans
}

fn nanoseconds(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn attributes(list: &Value) -> BTreeMap<String, Value> {
    let pairs = list.as_array().into_iter().flatten();
    pairs.map(|pair| (pair["key"].as_str().unwrap().to_owned(), value(&pair["value"]))).collect()
}

/// An `AnyValue` as plain JSON.
fn value(any: &Value) -> Value {
    let Some((kind, inner)) = any.as_object().and_then(|any| any.iter().next()) else { return Value::Null };
    match kind.as_str() {
        "kvlistValue" => attributes(&inner["values"]).into_iter().collect(),
        "arrayValue" => inner["values"].as_array().into_iter().flatten().map(value).collect(),
        "intValue" => inner.as_str().map_or(inner.clone(), |text| text.parse::<i64>().unwrap().into()),
        _ => inner.clone(),
    }
}
