//! Writes an event as a document.

use std::io::Write;

use s1_forwarder_engine::sink::Event;
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::{Timestamp, member};
use serde_json::json;

use crate::SinkContext;
use crate::http::event_time::time_or_now;
use crate::http::transport::framing::{Merged, write_body_as_string};

/// The members that a lane's documents have in addition to their events.
#[derive(Debug)]
pub(super) struct Documents {
    /// The value of `data_stream` if the name has type, dataset and namespace; else empty.
    data_stream: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// The event is a document with an `@timestamp`. Rules that run each minute look for `event.ingested`: an event
    /// that arrives long after its own time would raise no alert without it.
    Ecs,
    /// The event has no `@timestamp`, which data streams require.
    WithTime,
    /// `content: integration`: the text between the time and the identity, and the text between the identity and the
    /// record.
    Package(Package),
    /// `schema: raw`: the text between the identity and the text of the record.
    Raw(String),
}

/// The identity has no other place that the integration leaves alone.
const IDENTITY_LABEL: &str = "s1_identity";

#[derive(Debug)]
struct Package {
    before: String,
    after: String,
}

impl Package {
    fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = write!(out, r#"{{"@timestamp":"{}"#, time_or_now(event));
        out.extend_from_slice(self.before.as_bytes());
        let _ = write!(out, "{}", event.identity);
        out.extend_from_slice(self.after.as_bytes());
        write_body_as_string(event, out);
        out.push(b'}');
    }
}

impl Documents {
    pub(super) fn new(data_stream: &str, context: &SinkContext) -> Self {
        let form = match context.schema {
            Schema::Ecs => Form::Ecs,
            Schema::Ocsf => Form::WithTime,
            Schema::Raw => Form::Raw(format!(
                r#","module":"sentinel_one","dataset":"sentinel_one.{}"}},"observer":{{"vendor":"SentinelOne","hostname":{}}},"labels":{},"message":"#,
                context.lane.stream.singular(),
                json!(context.hostname()),
                json!(context.labels)
            )),
        };
        Self { data_stream: parts(data_stream), form }
    }

    /// Returns the form for the ingest pipeline of Elastic's integration. The pipeline moves parts of the record to
    /// names such as `event.id`, and fails if a name is in use. So the document has only `labels` and the members that
    /// the integration's own collector sends.
    pub(super) fn for_package(dataset: &str, data_stream: &str, context: &SinkContext) -> Self {
        let mut labels = context.labels.clone();
        labels.remove(IDENTITY_LABEL);
        labels.insert("pipeline".to_owned(), context.lane.pipeline.clone());
        let labels: String = labels.iter().map(|(name, value)| format!("{}:{},", json!(name), json!(value))).collect();
        let event = json!({ "module": "sentinel_one", "dataset": format!("sentinel_one.{dataset}") });
        let tags = json!(["forwarded", format!("sentinel_one-{dataset}")]);
        let before = format!(r#"","event":{event},"tags":{tags},"labels":{{{labels}"{IDENTITY_LABEL}":""#);
        let data_stream = parts(data_stream);
        let after = match data_stream.as_str() {
            "" => r#""},"message":"#.to_owned(),
            _ => format!(r#""}},"data_stream":{data_stream},"message":"#),
        };
        Self { data_stream, form: Form::Package(Package { before, after }) }
    }

    pub(super) fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        if let Form::Package(package) = &self.form {
            return package.write(event, out);
        }
        let start = out.len();
        let body: &[u8] = if matches!(self.form, Form::Raw(_)) { b"{}" } else { event.body };
        let mut document = Merged::begin(body, out);
        if !self.data_stream.is_empty() {
            document.member("data_stream", |out| out.extend_from_slice(self.data_stream.as_bytes()));
        }
        match &self.form {
            Form::Raw(origin) => write_raw(origin, event, &mut document),
            Form::WithTime => document.member("@timestamp", |out| write_time(event, out)),
            Form::Ecs | Form::Package(_) => {}
        }
        document.end();
        if let (Form::Ecs, Some(time)) = (&self.form, event.framed_at) {
            set_ingested(time, start, out);
        }
    }
}

/// Sets `event.ingested` in the document that begins at `start`, unless it has one already.
fn set_ingested(time: Timestamp, start: usize, out: &mut Vec<u8>) {
    let document = &out[start..];
    let event = member(document, "event");
    let (offset, text) = if event.is_empty() {
        let separator = if document == b"{}" { "" } else { "," };
        (1, format!(r#""event":{{"ingested":"{time}"}}{separator}"#))
    } else if event.starts_with(b"{") && member(event, "ingested").is_empty() {
        let separator = if event[1..].trim_ascii_start() == b"}" { "" } else { "," };
        let offset = event.as_ptr().addr() - document.as_ptr().addr() + 1;
        (offset, format!(r#""ingested":"{time}"{separator}"#))
    } else {
        return;
    };
    out.splice(start + offset..start + offset, text.into_bytes());
}

/// Writes the record as text, with its origin.
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
pub(super) fn parts(data_stream: &str) -> String {
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
    use s1_forwarder_engine::sink::Batch;
    use s1_forwarder_record::{Identity, Stream, Timestamp};

    fn document(data_stream: &str, schema: Schema, error: Option<&str>) -> Value {
        let context = SinkContext { labels: BTreeMap::new(), schema, ..SinkContext::sample() };
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

    #[test]
    fn an_ecs_document_has_the_time_of_its_first_request() {
        let documents = Documents { data_stream: r#"{"type":"logs"}"#.to_owned(), form: Form::Ecs };
        let time = Some(Timestamp::from_micros(1_789_547_400_123_456));
        for (body, expected) in [
            (
                r#"{"a":{"event":{}},"event":{"kind":"alert"},"z":1}"#,
                r#"{"data_stream":{"type":"logs"},"a":{"event":{}},"event":{TIME,"kind":"alert"},"z":1}"#,
            ),
            (r#"{"event":{ }}"#, r#"{"data_stream":{"type":"logs"},"event":{TIME }}"#),
            (
                r#"{"x":"\"event\":{","y":2}"#,
                r#"{"event":{TIME},"data_stream":{"type":"logs"},"x":"\"event\":{","y":2}"#,
            ),
            (r#"{"event":{"ingested":"own"}}"#, r#"{"data_stream":{"type":"logs"},"event":{"ingested":"own"}}"#),
            (r#"{"event":7}"#, r#"{"data_stream":{"type":"logs"},"event":7}"#),
        ] {
            let mut batch = Batch::new(Stream::Threats);
            batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), None, |out| {
                out.extend_from_slice(body.as_bytes());
                None
            });
            let mut out = b"before ".to_vec();
            documents.write(Event { framed_at: time, ..batch.event(0).unwrap() }, &mut out);
            let expected = expected.replace("TIME", r#""ingested":"2026-09-16T08:30:00.123456Z""#);
            assert_eq!(String::from_utf8(out).unwrap(), format!("before {expected}"));
        }
    }
}
