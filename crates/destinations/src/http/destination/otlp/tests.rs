use s1_forwarder_failure::FailureKind;

use super::*;
use crate::http::destination::judged;

fn otlp(encoding: Encoding, retry_server_errors: bool) -> Otlp {
    let writer = Writer::new(encoding, &BTreeMap::new());
    Otlp { encoding, writer, retry_server_errors }
}

/// Returns an `ExportLogsServiceResponse` with this partial success.
fn response(rejected: i64, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    protobuf::message(1, &mut out, |out| {
        protobuf::number(1, rejected.cast_unsigned(), out);
        protobuf::bytes(2, message.as_bytes(), out);
    });
    out
}

#[test]
fn each_response_in_json_has_its_outcome() {
    for (status, body, expected) in [
        (200, "{}", "Delivered"),
        (200, "", "Delivered"),
        (202, "", "Delivered"),
        (204, "", "Delivered"),
        (200, r#"{"partialSuccess":{}}"#, "Delivered"),
        (200, r#"{"partialSuccess":null}"#, "Delivered"),
        (200, r#"{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"slow down"}}"#, "message"),
        (200, r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}"#, "RefusedSome"),
        (200, r#"{"partialSuccess":{"rejectedLogRecords":2}}"#, "RefusedSome"),
        (200, r#"{"partialSuccess":{"rejectedLogRecords":"4"}}"#, "refused [0, 1, 2, 3] retry []"),
        (200, r#"{"partialSuccess":{"rejectedLogRecords":"-1"}}"#, "Delivered"),
        (200, "<html>a login page</html>", "Misconfigured"),
        (302, "", "Misconfigured"),
        (400, r#"{"code":3,"message":"bad"}"#, "Refused"),
        (401, "", "Unauthorized"),
        (403, "", "Unauthorized"),
        (404, "", "Misconfigured"),
        (408, "", "Misconfigured"),
        (413, "", "TooLarge"),
        (415, "", "Misconfigured"),
        (429, "", "Transient"),
        (500, "", "Misconfigured"),
        (501, "", "Misconfigured"),
        (502, "<html>", "Transient"),
        (503, "", "Transient"),
        (504, "", "Transient"),
        (429, r#"{"code":8,"message":"received message larger than max (281827 vs. 100000)"}"#, "TooLarge"),
        (500, r#"{"code":8,"message":"trying to send message larger than max (5 vs. 4)"}"#, "TooLarge"),
        (503, "request body too large", "TooLarge"),
    ] {
        assert_eq!(judged(&otlp(Encoding::Json, false), status, body), expected, "{status} {body}");
    }
    for status in [408, 500, 501, 503] {
        assert_eq!(judged(&otlp(Encoding::Json, true), status, ""), "Transient", "{status}");
    }
}

#[test]
fn each_response_in_protobuf_has_its_outcome() {
    for (body, expected) in [
        (vec![], "Delivered"),
        (vec![0x0a, 0], "Delivered"),
        (response(0, "slow down"), "message"),
        (response(2, "too old"), "RefusedSome"),
        (response(9, ""), "refused [0, 1, 2, 3] retry []"),
        (response(-1, ""), "Delivered"),
        (b"<html>a login page</html>".to_vec(), "Misconfigured"),
    ] {
        assert_eq!(judged(&otlp(Encoding::Protobuf, false), 200, &body), expected, "{body:?}");
    }
}

#[test]
fn reasons_are_read_in_both_encodings() {
    let mut status = Vec::new();
    protobuf::number(1, 3, &mut status);
    protobuf::bytes(2, b"no such field", &mut status);
    let judged = |body: &[u8], content_type: &'static str| {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(content_type))]);
        let response = ResponseView {
            status: http::StatusCode::BAD_REQUEST,
            headers: &headers,
            body,
            secrets: &Default::default(),
            events: 4,
        };
        otlp(Encoding::Protobuf, false).judge(&response)
    };
    let refused = |reason: &str| Outcome::Refused(format!("400 Bad Request: {reason}"));
    assert_eq!(judged(&status, "application/x-protobuf"), refused("no such field"));
    assert_eq!(judged(br#"{"message":"bad"}"#, "application/json; charset=utf-8"), refused(r#"{"message":"bad"}"#));
    assert_eq!(judged(b"proxy", "text/plain"), refused("proxy"));
    assert_eq!(judged(b"<html>proxy</html>", "text/html").failure_kind(), Some(FailureKind::Misconfigured));
}
