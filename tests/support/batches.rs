use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use s1_forwarder::destinations::{SinkContext, SinkSettings};
use s1_forwarder::emulator::{Console, Kind, Setup};
use s1_forwarder::record::{Identity, LaneId, Stream, Timestamp, facts};
use s1_forwarder::sink::{Batch, Outcome, Sink};
use s1_forwarder::transform::{Origin, Schema, TransformSettings, Transformer};

use super::double::{Contract, Double};

/// The console's host.
pub const HOST: &str = "usea1-acme.sentinelone.net";

/// The emulator's name of a stream.
pub fn kind_of(stream: Stream) -> Kind {
    let name = format!("{stream:?}");
    Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap_or_else(|| panic!("no records of {stream}"))
}

/// The context of a lane of the pipeline `acme`.
pub fn context(stream: Stream) -> SinkContext {
    SinkContext { lane: LaneId::new("acme", stream, "siem"), ..SinkContext::sample() }
}

/// The context of a lane that delivers raw activities.
pub fn raw_context() -> SinkContext {
    SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Activities) }
}

/// A sink from its keys, for the stream `activities`.
pub fn sink(keys: serde_json::Value) -> Arc<dyn Sink> {
    sink_in(keys, &context(Stream::Activities))
}

/// A sink from its keys.
pub fn sink_in(keys: serde_json::Value, context: &SinkContext) -> Arc<dyn Sink> {
    settings(keys).build(context).unwrap()
}

/// Settings from keys.
pub fn settings(keys: serde_json::Value) -> SinkSettings {
    serde_json::from_value(keys).unwrap()
}

/// The error of a sink that cannot be built from these keys.
pub fn build_error(keys: serde_json::Value) -> String {
    settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string()
}

/// `keys` and `more` in one object.
pub fn with(mut keys: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

/// The counts of a ledger after one event of each id.
pub fn once(ids: Range<u32>) -> BTreeMap<String, u32> {
    ids.map(|id| (id.to_string(), 1)).collect()
}

/// Activities with these ids and a body of some hundred bytes.
pub fn batch(ids: Range<u32>) -> Batch {
    let mut batch = Batch::new(Stream::Activities);
    for id in ids {
        push(&mut batch, &id.to_string(), "the quick brown fox jumps over the lazy dog");
    }
    batch
}

/// Adds an event of this time as the mapping begins it: with `@timestamp`.
pub fn push_at(batch: &mut Batch, id: &str, time: Timestamp) {
    let identity = Identity::of("usea1-acme.sentinelone.net", batch.stream(), id, "");
    batch.push_with(id, identity, Some(time), |out| {
        out.extend_from_slice(format!(r#"{{"@timestamp":"{time}","id":"{id}"}}"#).as_bytes());
        None
    });
}

/// Adds an event with this id and text.
pub fn push(batch: &mut Batch, id: &str, text: &str) {
    push_text_at(batch, id, text, Timestamp::from_micros(1_789_547_400_123_456));
}

/// Adds an event with this id and text, of this time.
pub fn push_text_at(batch: &mut Batch, id: &str, text: &str, time: Timestamp) {
    let identity = Identity::of("usea1-acme.sentinelone.net", batch.stream(), id, "");
    let body = serde_json::json!({ "id": id, "primaryDescription": text }).to_string();
    batch.push_with(id, identity, Some(time), |out| {
        out.extend_from_slice(body.as_bytes());
        None
    });
}

/// Records of the emulated console as it sends them, but for its secrets.
pub fn raw_records(stream: Stream) -> Batch {
    raw_records_of(stream, 40, &[])
}

/// This many records of a kind, and then those given.
pub fn raw_records_of(stream: Stream, count: usize, more: &[serde_json::Value]) -> Batch {
    let console = Console::new(&Setup {
        activities: count,
        threats: count,
        agents: count.min(300),
        alerts: count,
        unified_alerts: count,
        vulnerabilities: count,
        ..Setup::new(1_767_225_600_000_000)
    });
    let kind = kind_of(stream);
    let origin = Origin { pipeline: "acme".to_owned(), console_host: HOST.to_owned(), stream };
    let mut transformer = Transformer::new(&TransformSettings::default(), Schema::Raw, origin).with_raw_embedded(true);
    let mut batch = Batch::new(stream);
    let emulated = console.ids(kind).into_iter().map(|id| console.record(kind, id).unwrap());
    for record in emulated.chain(more.iter().map(|record| record.to_string().into_bytes())) {
        let facts = facts(stream, &record);
        batch.push_with(&facts.id, facts.identity(HOST, &record), facts.time, |out| {
            transformer.map(&record, out).unwrap();
            None
        });
    }
    assert!(batch.len() >= 3, "{stream}");
    batch
}

/// Asserts that what `lane` delivers arrives once, whole and in the limits. What is larger than they are is not sent.
pub async fn holds_its_limits(intake: &Double<impl Contract>, lane: &dyn Sink, event_bytes: usize) {
    assert_eq!(lane.send(&batch(0..100)).await.outcome, Outcome::Delivered);
    assert_eq!(intake.ledger().counts(), once(0..100));
    let before = intake.requests().len();
    let mut large = Batch::new(Stream::Activities);
    push(&mut large, "large", &"x".repeat(event_bytes));
    let attempt = lane.send(&large).await;
    assert_eq!((attempt.outcome.name().as_str(), attempt.status.label()), ("TooLarge", "too_large"));
    assert_eq!(intake.requests().len(), before, "what is too large is not sent");
}
