//! Writes an event as a document.

use std::io::Write;

use serde_json::json;

use crate::settings::Schema;
use crate::sink::http::event_time::time_or_now;
use crate::sink::http::framing::{Merged, write_body_as_string};
use crate::sink::{Event, SinkContext};

/// What the documents of one lane have in addition to their events.
#[derive(Debug)]
pub(super) struct Documents {
    /// The value of `data_stream` if the name has type, dataset and namespace; else empty.
    data_stream: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// The event is a document with an `@timestamp`.
    Whole,
    /// The event has no `@timestamp`, which data streams require.
    WithTime,
    /// `schema: raw`: what is between the identity and the text of the record.
    Raw(String),
}

impl Documents {
    pub(super) fn new(data_stream: &str, context: &SinkContext) -> Self {
        let form = match context.schema {
            Schema::Ecs => Form::Whole,
            Schema::Ocsf => Form::WithTime,
            Schema::Raw => Form::Raw(format!(
                r#","module":"sentinel_one","dataset":"sentinel_one.{}"}},"observer":{{"vendor":"SentinelOne","hostname":{}}},"labels":{},"message":"#,
                context.stream.singular(),
                json!(context.console_host),
                json!(context.labels)
            )),
        };
        Self { data_stream: parts(data_stream), form }
    }

    pub(super) fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let body: &[u8] = if matches!(self.form, Form::Raw(_)) { b"{}" } else { event.body };
        let mut document = Merged::begin(body, out);
        if !self.data_stream.is_empty() {
            document.member("data_stream", |out| out.extend_from_slice(self.data_stream.as_bytes()));
        }
        match &self.form {
            Form::Raw(origin) => write_raw(origin, event, &mut document),
            Form::WithTime => document.member("@timestamp", |out| write_time(event, out)),
            Form::Whole => {}
        }
        document.end();
    }
}

/// The record as text, with its origin.
fn write_raw(origin: &str, event: Event<'_>, document: &mut Merged<'_>) {
    document.member("@timestamp", |out| write_time(event, out));
    // Writing into a Vec cannot fail.
    if let Some(error) = event.error {
        document.member("error", |out| _ = write!(out, r#"{{"message":{}}}"#, json!(error)));
    }
    document.member("event", |out| {
        let kind = if event.error.is_some() { r#","kind":"pipeline_error""# } else { "" };
        let _ = write!(out, r#"{{"id":"{}"{kind}"#, event.identity);
        out.extend_from_slice(origin.as_bytes());
        write_body_as_string(event, out);
    });
}

fn write_time(event: Event<'_>, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = write!(out, r#""{}""#, time_or_now(event));
}

/// Names such as `logs-sentinel_one.threats-default` consist of type, dataset and namespace. Index templates for such
/// names define the three fields as constants.
fn parts(data_stream: &str) -> String {
    let parts: Vec<&str> = data_stream.split('-').collect();
    match parts.as_slice() {
        [kind, dataset, namespace] if parts.iter().all(|part| !part.is_empty()) => {
            json!({ "type": kind, "dataset": dataset, "namespace": namespace }).to_string()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::record::{Identity, Stream, Timestamp};
    use crate::sink::{Batch, SharedSinkResources};

    fn document(data_stream: &str, schema: Schema, error: Option<&str>) -> Value {
        let context = SinkContext {
            pipeline: "acme".to_owned(),
            stream: Stream::Threats,
            sink: "siem".to_owned(),
            shard: 0,
            console_host: "acme.sentinelone.net".to_owned(),
            console: None,
            labels: BTreeMap::new(),
            console_labels: Default::default(),
            schema,
            schema_name: "",
            shared: SharedSinkResources::default(),
        };
        let mut batch = Batch::new(Stream::Threats);
        let time = Some(Timestamp::from_micros(1_789_547_400_123_456));
        batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), time, |out| {
            out.extend_from_slice(br#"{"@timestamp": "x"}"#);
            error.map(Into::into)
        });
        let mut out = Vec::new();
        Documents::new(data_stream, &context).write(batch.event(0).unwrap(), &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn documents_have_the_parts_of_the_data_streams_name() {
        let document = |name| document(name, Schema::Ecs, None);
        let expected = json!({ "type": "logs", "dataset": "sentinel_one.threats", "namespace": "acme" });
        assert_eq!(document("logs-sentinel_one.threats-acme"), json!({ "data_stream": expected, "@timestamp": "x" }));
        for name in ["s1", "logs-s1", "logs-s1-", "logs-s1-acme-eu"] {
            assert_eq!(document(name), json!({ "@timestamp": "x" }), "{name}");
        }
    }

    #[test]
    fn an_ocsf_event_gets_the_time_that_data_streams_require() {
        let context = document("logs-a-b", Schema::Ocsf, None);
        assert_eq!(context["data_stream"]["dataset"], "a");
        assert_eq!(context["@timestamp"], "x", "the event of this test has one of its own");
        let mut out = Vec::new();
        let mut batch = Batch::new(Stream::Threats);
        let time = Some(Timestamp::from_micros(1_789_547_400_123_456));
        batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), time, |out| {
            out.extend_from_slice(br#"{"class_uid":2004}"#);
            None
        });
        let documents = Documents { data_stream: String::new(), form: Form::WithTime };
        documents.write(batch.event(0).unwrap(), &mut out);
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document, json!({ "@timestamp": "2026-09-16T08:30:00.123456Z", "class_uid": 2004 }));
    }

    #[test]
    fn raw_records_are_text_with_a_timestamp() {
        let good = document("s1", Schema::Raw, None);
        assert_eq!(good["@timestamp"], "2026-09-16T08:30:00.123456Z");
        assert_eq!(good["message"], r#"{"@timestamp": "x"}"#);
        assert_eq!((good["event"].get("kind"), good.get("error")), (None, None));
        let bad = document("s1", Schema::Raw, Some("no threat"));
        assert_eq!((&bad["event"]["kind"], &bad["error"]["message"]), (&json!("pipeline_error"), &json!("no threat")));
    }
}
