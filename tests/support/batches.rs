use std::sync::Arc;

use s1_forwarder::destinations::{SinkContext, SinkSettings};
use s1_forwarder::emulator::{Console, Kind, Setup};
use s1_forwarder::record::{Identity, Stream, Timestamp, facts};
use s1_forwarder::sink::{Batch, Sink};
use s1_forwarder::transform::{Origin, Schema, TransformSettings, Transformer};

/// The console's host.
pub const HOST: &str = "usea1-acme.sentinelone.net";

/// The emulator's name of a stream.
pub fn kind_of(stream: Stream) -> Kind {
    let name = format!("{stream:?}");
    Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap_or_else(|| panic!("no records of {stream}"))
}

/// The context of a lane of the pipeline `acme`.
pub fn context(stream: Stream) -> SinkContext {
    SinkContext { stream, ..SinkContext::sample() }
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

/// Activities with these ids and a body of some hundred bytes.
pub fn batch(ids: std::ops::Range<u32>) -> Batch {
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
