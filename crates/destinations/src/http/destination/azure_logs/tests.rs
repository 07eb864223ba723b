use http::StatusCode;
use s1_forwarder_engine::sink::Batch;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::{Misconfigured, Transient, Unauthorized};
use s1_forwarder_record::{Identity, Stream, Timestamp};

use super::*;
use crate::http::destination::judged;
use crate::http::transport::body::body_of;

fn context(schema: Schema) -> SinkContext {
    SinkContext {
        schema,
        schema_name: if schema == Schema::Raw { "raw" } else { "ecs-9.4.0" },
        ..SinkContext::sample()
    }
}

fn destination(schema: Schema) -> AzureLogs {
    AzureLogs { form: Form::Own(Row::new(&context(schema))), is_shortened: AtomicBool::new(false) }
}

#[test]
fn each_response_has_its_outcome() {
    let azure = destination(Schema::Ecs);
    for (status, body, expected) in [
        (204, "", "Delivered"),
        (200, "", "Delivered"),
        (200, "<html>a login page</html>", "Misconfigured"),
        (400, r#"{"error":{"code":"InvalidStream","message":"Stream is not found"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":"InvalidStreamName","message":"x"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":"UnsupportedApiVersion","message":"x"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":"InvalidApiVersion","message":"x"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":"MissingApiVersionParameter","message":"x"}}"#, "Misconfigured"),
        (400, r#"{"error":{"code":"InvalidPayload","message":"not JSON"}}"#, "Refused"),
        (400, "<html>Bad Request</html>", "Misconfigured"),
        (400, r#"{"message":"Bad Request"}"#, "Misconfigured"),
        (401, r#"{"error":{"code":"InvalidToken","message":"expired"}}"#, "Unauthorized"),
        (403, r#"{"error":{"code":"OperationFailed","message":"no role"}}"#, "Unauthorized"),
        (404, r#"{"error":{"code":"NotFound","message":"rule"}}"#, "Misconfigured"),
        (413, "", "TooLarge"),
        (429, r#"{"error":{"code":"TooManyRequests","message":"x"}}"#, "Transient"),
        (500, "", "Transient"),
        (502, "<html>Bad Gateway</html>", "Transient"),
        (503, r#"{"error":{"code":"ServiceUnavailable","message":"x"}}"#, "Transient"),
        (302, "", "Misconfigured"),
    ] {
        assert_eq!(judged(&azure, status, body), expected, "{status} {body}");
    }
}

#[test]
fn the_error_code_is_read_from_the_header_and_retry_after_is_kept() {
    let azure = destination(Schema::Ecs);
    let headers = HeaderMap::from_iter([
        (http::HeaderName::from_static("x-ms-error-code"), http::HeaderValue::from_static("InvalidStream")),
        (http::header::RETRY_AFTER, http::HeaderValue::from_static("42")),
    ]);
    let secrets = Default::default();
    let response = |status| ResponseView { status, headers: &headers, body: b"", secrets: &secrets, events: 1 };
    assert_eq!(azure.judge(&response(StatusCode::BAD_REQUEST)).failure_kind(), Some(Misconfigured));
    let throttled = azure.judge(&response(StatusCode::TOO_MANY_REQUESTS));
    let waits = Some(Duration::from_secs(42));
    assert!(
        matches!(&throttled, Outcome::Failed(Failure { kind: Transient, retry_after, .. }) if *retry_after == waits),
        "{throttled:?}"
    );
    assert!(
        matches!(azure.judge(&response(StatusCode::FORBIDDEN)), Outcome::Failed(Failure { kind: Unauthorized, reason, .. }) if reason.contains("30 minutes"))
    );
}

fn row(azure: &AzureLogs, body: &str, error: Option<&str>) -> serde_json::Value {
    let mut batch = Batch::new(Stream::Threats);
    let identity = Identity::of("h", Stream::Threats, "1", "");
    for _ in 0..2 {
        batch.push_with("1", identity, Some(Timestamp::from_micros(1_789_547_400_123_456)), |out| {
            out.extend_from_slice(body.as_bytes());
            error.map(Into::into)
        });
    }
    let mut rows: Vec<serde_json::Value> = serde_json::from_slice(&body_of(azure, &batch)).unwrap();
    assert_eq!((rows.len(), &rows[0]["EventId"]), (2, &json!(identity.to_string())));
    rows.remove(0)
}

#[test]
fn mapped_events_are_objects_and_raw_ones_text() {
    let mapped = row(&destination(Schema::Ecs), r#"{"id":1}"#, None);
    assert_eq!(mapped["TimeGenerated"], "2026-09-16T08:30:00.123456Z");
    assert_eq!(mapped["EventTime"], mapped["TimeGenerated"]);
    assert_eq!((&mapped["Event"], &mapped["Labels"]), (&json!({ "id": 1 }), &json!({ "customer": "acme-eu" })));
    assert_eq!(
        (&mapped["Pipeline"], &mapped["Stream"], &mapped["Schema"]),
        (&json!("acme"), &json!("threats"), &json!("ecs-9.4.0"))
    );
    assert_eq!(mapped.get("RawEvent"), None);

    let raw = row(&destination(Schema::Raw), r#"{"id": 1.0}"#, Some("not a threat"));
    assert_eq!((&raw["RawEvent"], &raw["Error"]), (&json!(r#"{"id": 1.0}"#), &json!("not a threat")));
    assert_eq!(raw.get("Event"), None);
}

/// The text continues in the next column.
#[test]
fn no_column_exceeds_the_limit_of_the_table() {
    let body = json!({ "text": "ä".repeat(70_000) }).to_string();
    for schema in [Schema::Ecs, Schema::Raw] {
        let row = row(&destination(schema), &body, None);
        let columns = ["RawEvent", "RawEvent2", "RawEvent3"].map(|name| row[name].as_str().unwrap().to_owned());
        assert!(columns.iter().all(|column| column.len() <= COLUMN_BYTES) && row.get("RawEvent4").is_none());
        assert_eq!(columns.concat(), body);
        assert_eq!(row.get("Event"), None);
    }
}

#[test]
fn each_cloud_has_its_login_service_and_scope() {
    for (cloud, login, scope) in [
        ("public", "https://login.microsoftonline.com", "https://monitor.azure.com//.default"),
        ("us_government", "https://login.microsoftonline.us", "https://monitor.azure.us//.default"),
        ("china", "https://login.chinacloudapi.cn", "https://monitor.azure.cn//.default"),
    ] {
        let keys = json!({
            "url": "https://dce.example", "dcr_immutable_id": "dcr-1", "tenant_id": "t.example", "client_id": "c",
            "client_secret": "s", "cloud": cloud,
        });
        let settings: AzureLogsSettings = serde_json::from_value(keys).unwrap();
        let Ok(Grant::Client(credentials)) = settings.grant(&Ambient::default()) else { panic!("no client") };
        assert_eq!(credentials.token_url.url().as_str(), format!("{login}/t.example/oauth2/v2.0/token"));
        assert_eq!(credentials.scope.as_deref(), Some(scope));
    }
}

#[test]
fn a_sink_has_exactly_one_kind_of_credentials_and_what_these_need() {
    for (more, part) in [
        (json!({}), "exactly one of"),
        (json!({ "client_secret": "s", "managed_identity": true }), "exactly one of"),
        (json!({ "managed_identity": true, "workload_identity": true }), "exactly one of"),
        (json!({ "client_secret": "s", "client_id": "c" }), "`tenant_id`: is missing"),
        (json!({ "federated_token": "t", "tenant_id": "t" }), "`client_id`: is missing"),
        (json!({ "managed_identity": true, "tenant_id": "t" }), "has its own tenant"),
    ] {
        let mut keys = json!({ "url": "https://dce.example", "dcr_immutable_id": "dcr-1" });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: AzureLogsSettings = serde_json::from_value(keys).unwrap();
        let error = settings.grant(&Ambient::default()).unwrap_err().to_string();
        assert!(error.contains(part), "{more}: {error}");
    }
}
