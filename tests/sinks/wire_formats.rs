//! How requests to each SIEM look on the wire; what their answers mean is tested with each sink.

use s1_forwarder::destinations::{SharedSinkResources, SinkContext};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Outcome, ProbeResult};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, sink, sink_in};
use crate::support::double::FaultRule;
use crate::support::receiver::{Receiver, Rules};

fn says(status: u16, body: &'static str) -> FaultRule {
    FaultRule::answer(status, body)
}

#[tokio::test]
async fn splunk_hec_gets_objects_and_its_token() {
    let receiver = Receiver::start(Rules::default()).await;
    receiver.script([says(200, r#"{"text":"Success","code":0}"#), says(400, r#"{"text":"No data","code":5}"#)]);
    let base = receiver.input().replace("/in", "/");
    let lane = sink(json!({ "type": "splunk_hec", "url": base, "token": "t0ken", "index": "edr" }));
    assert_eq!(lane.send(&batch(0..2)).await.outcome, Outcome::Delivered);
    assert!(matches!(lane.probe().await, ProbeResult::Verified(_)));

    let seen = &receiver.requests()[0];
    assert_eq!(seen.path, "/services/collector/event");
    assert_eq!(seen.header("authorization"), "Splunk t0ken");
    assert_eq!(seen.header("content-encoding"), "gzip");
    let events: Vec<Value> = seen.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((events.len(), &events[1]["event"]["id"]), (2, &json!("1")));
    assert_eq!(events[0]["time"], json!(1_789_547_400.123));
    assert_eq!(receiver.requests()[1].body, "", "a probe delivers nothing");
}

#[tokio::test]
async fn elasticsearch_gets_documents_under_their_identities() {
    let receiver = Receiver::start(Rules::default()).await;
    receiver.script([says(200, r#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":409}}]}"#)]);
    let keys =
        json!({ "type": "elasticsearch", "url": receiver.input(), "api_key": "aWQ6a2V5", "manage_templates": false });
    let sent = batch(0..2);
    assert_eq!(sink(keys).send(&sent).await.outcome, Outcome::Delivered);
    let seen = &receiver.requests()[0];
    assert_eq!(seen.path, "/in/logs-sentinel_one.activities-default/_bulk");
    assert!(seen.query.starts_with("filter_path="), "{}", seen.query);
    assert_eq!(seen.header("authorization"), "ApiKey aWQ6a2V5");
    assert_eq!(seen.header("content-type"), "application/x-ndjson");
    let mut lines = seen.body.lines();
    for event in sent.events() {
        assert_eq!(lines.next().unwrap(), format!(r#"{{"create":{{"_id":"{}"}}}}"#, event.identity));
        let document = lines.next().unwrap();
        let body = std::str::from_utf8(event.body).unwrap();
        assert!(document.starts_with(r#"{"event":{"ingested":"20"#), "{document}");
        assert!(document.contains(r#""},"data_stream":{"#) && document.ends_with(&body[1..]), "{document}");
    }
    assert!(seen.body.ends_with('\n') && lines.next().is_none());
}

#[tokio::test]
async fn elasticsearch_gets_raw_records_as_text() {
    let receiver = Receiver::start(Rules::default()).await;
    let context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Activities) };
    let auth = json!({ "type": "basic", "user": "u", "password": "p" });
    let keys = json!({ "type": "elasticsearch", "url": receiver.input(), "auth": auth, "manage_templates": false });
    let sent = batch(0..1);
    sink_in(keys, &context).send(&sent).await;
    let document: Value = serde_json::from_str(receiver.requests()[0].body.lines().nth(1).unwrap()).unwrap();
    let event = sent.event(0).unwrap();
    assert_eq!(document["message"].as_str().unwrap().as_bytes(), event.body);
    assert_eq!(document["@timestamp"], "2026-09-16T08:30:00.123456Z");
    assert_eq!(document["event"]["id"], event.identity.to_string());
    assert_eq!(document["event"]["dataset"], "sentinel_one.activity");
    assert_eq!(document["labels"], json!({ "customer": "acme-eu" }));
}

/// What knows hosts by their names does not know one with a port. What identifies a record has it.
#[tokio::test]
async fn fields_of_hosts_have_the_console_without_its_port() {
    let url = "https://siem.example";
    let otlp = |hostname: &str| format!(r#"{{"key":"host.name","value":{{"stringValue":"{hostname}"}}}}"#);
    for (console_host, hostname) in [("console.corp:8443", "console.corp"), ("[2001:db8::1]:8443", "2001:db8::1")] {
        for (keys, field) in [
            (json!({ "type": "splunk_hec", "token": "t" }), format!(r#""host":"{hostname}""#)),
            (json!({ "type": "datadog", "api_key": "k" }), format!(r#""hostname":"{hostname}""#)),
            (json!({ "type": "sumo" }), format!(r#"("x-sumo-host", "{hostname}")"#)),
            (json!({ "type": "otlp", "encoding": "json" }), otlp(hostname)),
            (json!({ "type": "elasticsearch", "schema": "raw" }), format!(r#""hostname":"{hostname}""#)),
        ] {
            let schema = if keys["schema"] == "raw" { Schema::Raw } else { Schema::Ecs };
            let shared = SharedSinkResources::default().with_masked_secrets();
            let console_host = console_host.to_owned();
            let context = SinkContext { console_host, schema, shared, ..context(Stream::Activities) };
            let mut keys = keys;
            (keys["url"], keys["compression"]) = (json!(url), json!("none"));
            let request = sink_in(keys.clone(), &context).render_request(&batch(0..1)).await.unwrap();
            let sent = format!("{:?} {}", request.headers, String::from_utf8(request.body).unwrap());
            assert!(sent.contains(&field) && !sent.contains("8443"), "{keys}: {sent}");
        }
    }
}
