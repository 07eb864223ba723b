//! What comes after the mapping: `drop`, `remap`, `redact`, and the secrets of the console.

#[cfg(feature = "remap")]
mod programs;
mod redaction;
#[cfg(feature = "remap")]
mod versions;

use std::sync::Arc;

use s1_forwarder::record::Stream;
use s1_forwarder::transform::{Origin, RedactionKeys, Schema, Steps, TransformSettings, Transformed, Transformer};
use serde_json::Value;

const HOST: &str = "console.example.com";

pub fn settings(yaml: &str) -> TransformSettings {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

pub fn transformer(settings: &TransformSettings, schema: Schema, stream: Stream) -> Transformer {
    let steps = Steps::new(settings, schema, None, RedactionKeys::Configured).unwrap_or_else(|error| panic!("{error}"));
    let origin = Origin { pipeline: "acme".to_owned(), console_host: HOST.to_owned(), stream };
    Transformer::new(settings, schema, origin).with_steps(steps.map(Arc::new)).with_ocsf_version(settings.ocsf_version)
}

/// The event of an activity, with what mapping it has shown.
pub fn run(yaml: &str, schema: Schema, record: &Value) -> (Option<Value>, Transformed) {
    let mut out = b"before".to_vec();
    let mapped = transformer(&settings(yaml), schema, Stream::Activities).map(record.to_string().as_bytes(), &mut out);
    assert_eq!(&out[..6], b"before");
    let event = out.get(6..).filter(|event| !event.is_empty());
    (event.map(|event| serde_json::from_slice(event).unwrap()), mapped.unwrap())
}

/// `observer.hostname` is a host; links lead to the console's own port.
#[test]
fn the_observer_is_the_console_without_its_port() {
    for (host, hostname) in [("console.corp:8443", "console.corp"), ("[2001:db8::1]:8443", "2001:db8::1")] {
        for stream in [Stream::Activities, Stream::UnifiedAlerts] {
            let origin = Origin::of("acme", host, stream);
            let mut event = Vec::new();
            Transformer::new(&settings("{}"), Schema::Ecs, origin).map(br#"{"id":"7"}"#, &mut event).unwrap();
            let event: Value = serde_json::from_slice(&event).unwrap();
            assert_eq!(event["observer"]["hostname"], hostname, "{event}");
            let url = event["event"]["url"].as_str();
            assert_eq!(url.is_some(), stream == Stream::UnifiedAlerts);
            assert!(url.is_none_or(|url| url.starts_with(&format!("https://{host}/"))), "{url:?}");
        }
    }
}
