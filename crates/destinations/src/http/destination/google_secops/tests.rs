use s1_forwarder_engine::sink::Batch;
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::Transient;
use s1_forwarder_record::{Identity, Stream};

use super::*;
use crate::http::destination::judged;
use crate::http::transport::body::body_of;

fn context() -> SinkContext {
    SinkContext {
        labels: [("customer", "acme"), ("stream", "x")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        schema: Schema::Raw,
        schema_name: "raw",
        ..SinkContext::sample()
    }
}

fn destination(more: serde_json::Value) -> GoogleSecops {
    let mut keys = json!({ "project": "p", "location": "europe-west2", "instance": "i", "service_account": "{}" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings: GoogleSecopsSettings = serde_json::from_value(keys).unwrap();
    let log_type = settings.log_type(&context()).unwrap();
    GoogleSecops { log_type, open: settings.body_start().unwrap(), log_end: settings.log_end(&context()) }
}

#[test]
fn each_response_has_its_outcome() {
    let secops = destination(json!({}));
    for (status, body, expected) in [
        (200, "{}", "Delivered"),
        (200, "", "Delivered"),
        (200, "<html>a login page</html>", "Misconfigured"),
        (400, r#"{"error":{"code":400,"message":"invalid UTF-8","status":"INVALID_ARGUMENT"}}"#, "Refused"),
        (400, r#"{"error":{"code":400,"message":"Unknown log type","status":"INVALID_ARGUMENT"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":400,"message":"unrecognized log type"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":400,"message":"Invalid log type: X"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":400,"message":"Log type not found"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":400,"message":"Unknown forwarder"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":400,"message":"entry 7: log type SENTINELONE_ALERT has no field x"}}"#, "Refused"),
        (400, r#"{"error":{"code":400,"message":"Request payload size exceeds the limit"}}"#, "TooLarge"),
        (400, "<html>", "Misconfigured"),
        (400, "", "Misconfigured"),
        (401, r#"{"error":{"code":401,"message":"x","status":"UNAUTHENTICATED"}}"#, "Unauthorized"),
        (403, r#"{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED"}}"#, "Unauthorized"),
        (404, r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#, "Misconfigured"),
        (413, "<html>", "TooLarge"),
        (429, r#"{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}"#, "Transient"),
        (429, r#"{"error":{"code":429,"message":"received message larger than max (2 vs. 1)"}}"#, "TooLarge"),
        (500, r#"{"error":{"code":500,"message":"x","status":"INTERNAL"}}"#, "Transient"),
        (503, "", "Transient"),
        (302, "", "Misconfigured"),
    ] {
        assert_eq!(judged(&secops, status, body), expected, "{status} {body}");
    }
}

#[test]
fn a_429_without_retry_after_waits_a_minute() {
    let secops = destination(json!({}));
    for (headers, waits) in [
        (HeaderMap::new(), 60),
        (HeaderMap::from_iter([(http::header::RETRY_AFTER, http::HeaderValue::from_static("7"))]), 7),
    ] {
        let response = ResponseView {
            status: http::StatusCode::TOO_MANY_REQUESTS,
            headers: &headers,
            body: b"",
            secrets: &Default::default(),
            events: 1,
        };
        let outcome = secops.judge(&response);
        assert!(
            matches!(&outcome, Outcome::Failed(Failure { kind: Transient, retry_after, .. }) if *retry_after == Some(Duration::from_secs(waits))),
            "{outcome:?}"
        );
    }
}

#[test]
fn the_url_names_the_instance_and_the_log_type() {
    for (more, expected) in [
        (
            json!({}),
            "https://chronicle.europe-west2.rep.googleapis.com/v1alpha/projects/p/locations/europe-west2/instances/i/logTypes/SENTINELONE_ALERT/logs:import",
        ),
        (
            json!({ "url": "http://h:1/", "project": "example.com:p", "log_type": "S1_{stream}", "api_version": "v1" }),
            "http://h:1/v1/projects/example.com:p/locations/europe-west2/instances/i/logTypes/S1_threats/logs:import",
        ),
    ] {
        assert_eq!(destination(more).log_type.join("logs:import").url().as_str(), expected);
    }
}

#[test]
fn logs_are_base64_with_their_times_and_labels() {
    let mut batch = Batch::new(Stream::Threats);
    let identity = Identity::of("h", Stream::Threats, "1", "");
    let ahead = Timestamp::now().plus(Duration::from_hours(1));
    for (body, time) in [("{\"id\": 1}", Timestamp::from_micros(1_789_547_400_123_456)), ("{}", ahead)] {
        batch.push_with("1", identity, Some(time), |out| {
            out.extend_from_slice(body.as_bytes());
            None
        });
    }
    let secops = destination(json!({ "forwarder": "f", "namespace": "n" }));
    let body: serde_json::Value = serde_json::from_slice(&body_of(&secops, &batch)).unwrap();
    let source = &body["inlineSource"];
    assert_eq!(source["forwarder"], "projects/p/locations/europe-west2/instances/i/forwarders/f");
    let log = &source["logs"][0];
    assert_eq!(BASE64_STANDARD.decode(log["data"].as_str().unwrap()).unwrap(), b"{\"id\": 1}");
    assert_eq!(
        (&log["logEntryTime"], &log["environmentNamespace"]),
        (&json!("2026-09-16T08:30:00.123456Z"), &json!("n"))
    );
    let labels = json!({
        "event_id": { "value": identity.to_string() }, "pipeline": { "value": "acme" }, "stream": { "value": "threats" },
        "customer": { "value": "acme" },
    });
    assert_eq!(log["labels"], labels);
    let log = &source["logs"][1];
    let time = |name: &str| Timestamp::parse(log[name].as_str().unwrap()).unwrap();
    assert!(time("collectionTime") > time("logEntryTime"));
}
