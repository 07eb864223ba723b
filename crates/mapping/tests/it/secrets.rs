//! The console's secrets in records that their events contain.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::json;

use super::support::mapper_to;

/// Such a record is mapped twice, which must not hide what is new in it.
#[test]
fn an_event_with_its_record_has_no_secret_and_says_what_is_new() {
    for (schema, stream) in [Schema::Ecs, Schema::Ocsf].into_iter().flat_map(|schema| Stream::ALL.map(|s| (schema, s)))
    {
        for secret in [
            json!({ "id": "1", "new": 1, "passphrase": "hidden" }),
            json!({ "id": "1", "new": { "list": [{ "a": 1, "LicenseKey": "hidden" }] } }),
        ] {
            let mut mapper = mapper_to(schema, stream, true);
            let mut out = Vec::new();
            let mapped = mapper.map(secret.to_string().as_bytes(), &mut out).unwrap();
            let event = String::from_utf8(out).unwrap();
            assert!(event.contains("[redacted]") && !event.contains("hidden"), "{schema:?} {stream}: {event}");
            assert!(mapped.drifted, "{schema:?} {stream}: {secret}");
            let again = mapper.map(secret.to_string().as_bytes(), &mut Vec::new()).unwrap();
            assert!(again.unknown_leaves > 0 && !again.drifted, "{schema:?} {stream}: {secret}");
        }
    }
}
