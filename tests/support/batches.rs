use std::collections::BTreeMap;
use std::sync::Arc;

use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::settings::Schema;
use s1_forwarder::sink::{Batch, SharedSinkResources, Sink, SinkContext, SinkSettings};

/// The context of a lane of the pipeline `acme`.
pub fn context(stream: Stream) -> SinkContext {
    SinkContext {
        pipeline: "acme".to_owned(),
        stream,
        sink: "siem".to_owned(),
        shard: 0,
        console_host: "usea1-acme.sentinelone.net".to_owned(),
        console: None,
        labels: BTreeMap::from([("customer".to_owned(), "acme-eu".to_owned())]),
        console_labels: Default::default(),
        schema: Schema::Ecs,
        schema_name: "ecs-9.4.0",
        shared: SharedSinkResources::default(),
    }
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
