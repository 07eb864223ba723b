//! What destinations answer.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Target, assert_shown, outline};
use crate::destinations::http::ResponseView;
use crate::destinations::settings::TypeSettings;
use crate::failure::Failure;
use crate::failure::FailureKind::{Misconfigured, Transient, Unauthorized};
use crate::sink::Outcome;
use crate::transform::Schema;

const STATUSES: [u16; 20] =
    [200, 201, 202, 204, 206, 207, 301, 302, 307, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503];

const WORDS: &[&str] = &[
    "text",
    "code",
    "items",
    "create",
    "status",
    "error",
    "errors",
    "type",
    "reason",
    "_id",
    "took",
    "event_ids",
    "invalid-event-number",
    "ackID",
    "acks",
    "message",
    "failure_store",
    "used",
    "partialSuccess",
    "rejectedLogRecords",
    "errorMessage",
    "access_token",
    "expires_in",
    "INVALID_ARGUMENT",
    "Unknown log type",
    "exceeds",
    "entry out of order",
    "<Error><Code>Throttling</Code><Message>x</Message></Error>",
    "too large",
    "-1",
    "1e400",
];

#[test]
fn judges_of_destinations() {
    let samples = TypeSettings::samples(Schema::Ecs).into_iter();
    let judges: Vec<_> = samples.map(|(name, (judge, _))| (name, judge)).collect();
    let bodies: &[&str] = &[
        "{}",
        "",
        "<html>a login page</html>",
        r#"{"text":"Success","code":0,"ackId":7}"#,
        r#"{"text":"Invalid data format","code":6,"invalid-event-number":2}"#,
        r#"{"took":30,"errors":true,"items":[{"create":{"_id":"1","status":201}},{"create":{"_id":"2","status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue"}}}]}"#,
        r#"{"took":1,"items":[{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"field","caused_by":{"type":"x","reason":"y"}}}},{"create":{"status":201,"failure_store":"used"}}]}"#,
        r#"{"event_ids":["a","b","c","d"]}"#,
        r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}"#,
        r#"{"error":{"code":400,"message":"Unknown log type","status":"INVALID_ARGUMENT"}}"#,
        r#"{"errors":[{"status":"400","title":"Bad Request","detail":"not an array"}]}"#,
        r#"{"error":{"code":"InvalidStream","message":"no such stream"}}"#,
        "\x0a\x06\x08\x02\x12\x02hi",
        "entry with timestamp 2026-01-01 ignored, reason: 'entry too far behind'",
    ];
    let count = u8::try_from(judges.len()).unwrap();
    let seeds = (0..count).flat_map(|judge| {
        bodies
            .iter()
            .flat_map(move |body| [0, 9].map(|status: u8| [&[judge, status, 2, 0][..], body.as_bytes()].concat()))
    });
    Target { name: "judges", seeds: seeds.collect(), words: WORDS, header: 4 }.run(|input| {
        let [judge, status, events, more, body @ ..] = input else { return String::new() };
        let (name, judge) = &judges[usize::from(*judge) % judges.len()];
        let status = StatusCode::from_u16(STATUSES[usize::from(*status) % STATUSES.len()]).unwrap();
        let mut headers = HeaderMap::new();
        // The body is a header, too.
        let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if let (1.., Ok(value)) = (more % 4, HeaderValue::from_bytes(line)) {
            headers.insert(http::header::RETRY_AFTER, value.clone());
            headers.insert(http::header::LOCATION, value.clone());
            headers.insert(http::header::CONTENT_TYPE, value);
        }
        let events = usize::from(*events).max(1);
        let outcome = judge(&ResponseView { status, headers: &headers, body, secrets: &Default::default(), events });
        let text = assert_outcome(&outcome, events);
        format!("{name} {status} {text}")
    });
}

/// What the lane relies on, whatever the destination says.
fn assert_outcome(outcome: &Outcome, events: usize) -> String {
    let check_wait = |retry_after: &Option<std::time::Duration>| {
        assert!(retry_after.is_none_or(|wait| wait.as_secs() <= 600), "{retry_after:?}");
    };
    match outcome {
        Outcome::Delivered => "delivered".to_owned(),
        Outcome::Partial { refused, retry, retry_after, warnings } => {
            check_wait(retry_after);
            warnings.iter().for_each(|warning| assert_shown(&warning.text));
            refused.iter().for_each(|refusal| assert_shown(&refusal.reason));
            let indices: Vec<usize> =
                refused.iter().map(|refusal| refusal.index).chain(retry.iter().copied()).collect();
            assert!(indices.iter().all(|index| *index < events), "{indices:?} of {events}");
            assert_eq!(indices.iter().collect::<BTreeSet<_>>().len(), indices.len(), "an event has one fate");
            assert!(retry.is_sorted(), "{retry:?}");
            format!("partial {} {}", refused.len().min(2), retry.len().min(2))
        }
        Outcome::RefusedSome { count, reason } => {
            assert_shown(reason);
            assert!((1..events).contains(count), "{count} of {events}");
            "some".to_owned()
        }
        Outcome::Failed(Failure { kind: Transient, reason, retry_after }) => {
            check_wait(retry_after);
            assert_shown(reason);
            outline(reason)
        }
        Outcome::DeliveredWithWarnings(warnings) => {
            warnings.iter().for_each(|warning| assert_shown(&warning.text));
            let reasons: Vec<_> = warnings.iter().map(|warning| warning.reason).collect();
            format!("warnings {reasons:?}")
        }
        Outcome::SlowDown(reason)
        | Outcome::TooLarge(reason)
        | Outcome::Refused(reason)
        | Outcome::Failed(Failure { kind: Unauthorized | Misconfigured, reason, .. }) => {
            assert_shown(reason);
            format!("{} {}", outcome.name(), outline(reason))
        }
        #[allow(unreachable_patterns, reason = "outcomes that no answer leads to")]
        other => format!("{other:?}"),
    }
}
