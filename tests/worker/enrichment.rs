//! Threats with their notes and their timeline inside, at a bounded cost.

use std::collections::BTreeMap;

use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};

use crate::support::harness::Harness;

async fn once(harness: &Harness, schema: &str) -> BTreeMap<String, Value> {
    let sink = json!({
        "name": schema, "type": "file", "path": harness.path(&format!("{schema}.ndjson")), "envelope": true,
    });
    harness.put_changed(
        "acme",
        json!({
            "streams": { "activities": null, "threats": { "since": "30d", "include": ["timeline", "notes"] } },
            "transform": { "schema": schema, "keep_original": true, "labels": {} }, "sinks": [sink],
        }),
    );
    let done = harness.once(&[]).await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let text = std::fs::read_to_string(harness.path(&format!("{schema}.ndjson"))).unwrap();
    let event = |line: &str| -> (String, Value) {
        let envelope: Value = serde_json::from_str(line).unwrap();
        (envelope["id"].as_str().unwrap().to_owned(), envelope["record"].clone())
    };
    text.lines().map(event).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_and_timeline_are_inside_the_threats_event() {
    let harness = Harness::new(|setup| setup.threats = 60).await;
    let raw = once(&harness, "raw").await;
    assert_eq!(
        raw.keys().cloned().collect::<std::collections::BTreeSet<_>>(),
        harness.owed(Kind::Threats),
        "identities"
    );
    let count = |path: &str| harness.console().request_log().iter().filter(|seen| seen.path.ends_with(path)).count();
    assert_eq!((count("/notes"), count("/timeline")), (60, 60), "one request each");
    let with_notes = raw.values().filter(|event| event["_enrichment"]["notesCount"] == 2).count();
    assert!(with_notes > 0 && raw.values().all(|event| event["_enrichment"]["timelineCount"].as_u64() > Some(0)));

    let ecs = once(&harness, "ecs").await;
    for (id, event) in &ecs {
        let own = &event["sentinel_one"]["threat"];
        let raw = &raw[id]["_enrichment"];
        let timeline = own["timeline"].as_array().unwrap();
        assert_eq!(own["timeline_count"], raw["timelineCount"]);
        assert_eq!(timeline[0]["description"]["primary"], "Threat detected");
        assert!(timeline[0]["activity_type"].is_u64() && timeline[0].get("threat_id").is_none(), "{timeline:?}");
        let times: Vec<_> = timeline.iter().map(|item| item["created_at"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
        if raw["notesCount"] == 2 {
            assert_eq!(own["notes"][0]["text"], "Mine.");
            assert_eq!(
                (&own["notes"][1]["text"], &own["notes"][1]["edited"]),
                (&json!("Looked into it."), &json!(false))
            );
            assert!(event["related"]["user"].as_array().unwrap().contains(&json!("Amira Haddad")));
        }
        let original: Value = serde_json::from_str(event["event"]["original"].as_str().unwrap()).unwrap();
        assert!(original.get("_enrichment").is_none() && own.get("_enrichment").is_none());
    }
}
