//! Each destination for tests: how it judges a response, and how it frames a batch.

use std::sync::Arc;

use s1_forwarder_engine::transform::Schema;

use super::destination::{Destination, DestinationType};
use super::sample::Sample;
use super::transport::body::body_of;
use crate::SinkContext;
use crate::common_keys::Common;

/// Returns the samples of one type, for events of this schema.
#[allow(clippy::unwrap_used, reason = "only tests call it")]
pub(super) fn samples<T: DestinationType>(schema: Schema) -> Vec<Sample> {
    let sample = |keys: &&str| -> Sample {
        let labels = [("customer", "acme"), ("event_id", "x"), ("stream", "y")];
        let context = SinkContext {
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            schema,
            ..SinkContext::sample()
        };
        let settings: T = serde_json::from_str(keys).unwrap();
        let parts = settings.parts(&context, &Common::default().http()).unwrap();
        let address = Arc::new(parts.addresses.into_iter().next().unwrap());
        let framed = address.clone();
        (
            Box::new(move |response| address.destination.judge(response)),
            Box::new(move |batch| body_of(&framed.destination, batch)),
        )
    };
    T::sample_settings().iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt;

    use proptest::prelude::*;
    use s1_forwarder_engine::sink::Batch;
    use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

    use super::*;
    use crate::settings::TypeSettings;
    use s1_forwarder_record::{Identity, Stream, Timestamp};

    #[test]
    fn each_type_that_speaks_http_has_samples() {
        let sampled: BTreeSet<_> = TypeSettings::samples(Schema::Ecs).into_iter().map(|(name, _)| name).collect();
        let others = ["kafka", "syslog", "file", "stdout"];
        let types = crate::settings::types().iter().copied().filter(|name| !others.contains(name));
        assert_eq!(sampled, types.collect());
    }

    /// A JSON value whose objects have each name once, also those in its texts.
    struct Unique;

    impl<'de> Deserialize<'de> for Unique {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Unique)
        }
    }

    impl<'de> Visitor<'de> for Unique {
        type Value = Self;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("JSON")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
            let mut names = BTreeSet::new();
            while let Some((name, Unique)) = map.next_entry::<String, Unique>()? {
                if !names.insert(name.clone()) {
                    return Err(A::Error::custom(format!("`{name}` occurs twice")));
                }
            }
            Ok(self)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
            while list.next_element::<Unique>()?.is_some() {}
            Ok(self)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self, E> {
            let is_object = text.starts_with('{');
            let read = || serde_json::from_str::<Unique>(text).map_err(|error| E::custom(format!("{error}: {text}")));
            if is_object { read() } else { Ok(self) }
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_unit<E>(self) -> Result<Self, E> {
            Ok(self)
        }
    }

    /// Names that sinks write, and others.
    fn name() -> impl Strategy<Value = String> {
        let written = [
            "@timestamp",
            "data_stream",
            "event_id",
            "pipeline",
            "stream",
            "label.customer",
            "label.event_id",
            "error_message",
            "event_time",
            "message",
            "timestamp",
            "service",
            "hostname",
            "ddtags",
            "status",
            "error",
            "id",
            "record",
            "labels",
            "event",
            "fields",
            "time",
            "host",
            "TimeGenerated",
            "EventId",
            "rawstring",
            "ecs",
        ];
        prop_oneof![4 => prop::sample::select(written.to_vec()).prop_map(str::to_owned), 1 => "[@-~ ]{0,6}"]
    }

    fn event() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i32>().prop_map(Into::into),
            "[a-z,:\"]{0,8}".prop_map(Into::into),
            prop::collection::btree_map(name(), any::<bool>(), 0..3).prop_map(|inner| serde_json::json!(inner)),
        ];
        prop::collection::btree_map(name(), leaf, 0..8).prop_map(|members| serde_json::json!(members))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// A `remap` may set any name. Elasticsearch refuses a document with a name that occurs twice.
        #[test]
        fn no_sink_writes_a_name_twice(
            events in prop::collection::vec((event(), prop::option::of(prop::bool::ANY), prop::bool::ANY), 1..3),
        ) {
            let mut batch = Batch::new(Stream::Threats);
            for (event, time, has_error) in &events {
                let time = time.map(|is_old| if is_old { Timestamp::from_micros(1) } else { Timestamp::now() });
                batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), time, |out| {
                    out.extend_from_slice(event.to_string().as_bytes());
                    has_error.then(|| "why".into())
                });
            }
            for schema in [Schema::Ecs, Schema::Ocsf, Schema::Raw] {
                for (name, (_, body)) in TypeSettings::samples(schema) {
                    let body = body(&batch);
                    let is_protobuf = name == "otlp" && body.first() == Some(&0x0a);
                    if is_protobuf {
                        continue;
                    }
                    for value in serde_json::Deserializer::from_slice(&body).into_iter::<Unique>() {
                        let problem = value.err().map(|error| error.to_string());
                        prop_assert_eq!(problem, None, "{} {:?}: {}", name, schema, String::from_utf8_lossy(&body));
                    }
                }
            }
        }
    }

    #[test]
    fn the_own_value_of_an_event_holds() {
        let own =
            r#"{"@timestamp":"x","data_stream":{"namespace":"prod"},"event_id":7,"pipeline":"own","stream":null}"#;
        let mut batch = Batch::new(Stream::Threats);
        batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), None, |out| {
            out.extend_from_slice(own.as_bytes());
            None
        });
        let mut seen = BTreeMap::new();
        for (name, (_, body)) in TypeSettings::samples(Schema::Ocsf) {
            let body = String::from_utf8(body(&batch)).unwrap_or_default();
            // A type may have forms in which an event is text.
            *seen.entry(name).or_insert(false) |= body.contains(&own[1..own.len() - 1]);
        }
        assert!(seen["elasticsearch"] && seen["http"] && seen["splunk_hec"], "{seen:?}");
    }
}
