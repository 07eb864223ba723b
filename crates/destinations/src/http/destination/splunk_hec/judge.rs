//! Reads Splunk's response (HTTP Event Collector). The code decides, since the texts differ between versions.

use s1_forwarder_engine::sink::{Outcome, WarningReason};
use serde::Deserialize;

use crate::http::ResponseView;

#[derive(Deserialize)]
pub(super) struct ResponseBody {
    pub(super) code: u16,
    /// Index of the refused event, from zero. The events before it were accepted.
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
    /// Id for the query whether the indexers have the events.
    #[serde(rename = "ackId")]
    pub(super) ack_id: Option<u64>,
}

impl ResponseBody {
    pub(super) fn of(response: &ResponseView<'_>) -> Option<Self> {
        serde_json::from_slice(response.body).ok()
    }
}

/// The destination in error texts.
pub(super) const HEC: &str = "a HEC";

pub(super) fn judge(response: &ResponseView<'_>) -> Outcome {
    let Some(ResponseBody { code, invalid, .. }) = ResponseBody::of(response) else {
        return match response.by_status() {
            Outcome::Delivered => response.unexpected(HEC),
            other => response.expect_refusal(other, "code", HEC),
        };
    };
    let invalid = invalid.filter(|index| *index < response.events);
    match (code, invalid) {
        (0, _) => Outcome::Delivered,
        (24 | 25, _) => Outcome::SlowDown(response.reason()),
        (1..=4 | 21 | 22, _) => Outcome::unauthorized(response.reason()),
        (6 | 12 | 13 | 15, Some(index)) => Outcome::Partial {
            refused: vec![response.refusal(index, response.reason())],
            retry: (index + 1..response.events).collect(),
            retry_after: None,
            warnings: Vec::new(),
        },
        (6 | 12 | 13 | 15, None) => Outcome::Refused(response.reason()),
        (8 | 9 | 18..=20 | 23 | 26 | 27, Some(index)) if index > 0 => Outcome::Partial {
            refused: Vec::new(),
            retry: (index..response.events).collect(),
            retry_after: response.retry_after(),
            warnings: Vec::new(),
        },
        (8 | 9 | 18..=20 | 23 | 26 | 27, _) => response.retry_later(),
        (5 | 7 | 10 | 11 | 14 | 16 | 28, _) => Outcome::misconfigured(advised(code, response.reason())),
        // The code repeats the status, or is unknown.
        _ => match response.by_status() {
            Outcome::Delivered => Outcome::warned(WarningReason::UnknownCode, response.reason()),
            other => other,
        },
    }
}

/// Returns `reason` with advice for the code.
pub(super) fn advised(code: u16, reason: String) -> String {
    let advice = match code {
        1..=4 | 21 | 22 => "check `token`, and that it is enabled",
        7 => "check that the index exists and that the token may write to it",
        10 | 28 => "the token requires indexer acknowledgement: add `acknowledgement: {}`, or disable it for the token",
        11 => "the collector refuses `acknowledgement.channel`",
        14 => "the token has no indexer acknowledgement: remove `acknowledgement`",
        404 => "no HEC at this URL: check `url`, and that HEC is enabled",
        _ => return reason,
    };
    format!("{reason}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::transport::response::judged_by;

    #[test]
    fn each_code_has_its_outcome() {
        for (status, body, expected) in [
            (200, r#"{"text":"Success","code":0}"#, "Delivered"),
            (200, r#"{"text":"Success","code":0,"ackId":7}"#, "Delivered"),
            (403, r#"{"text":"Token disabled","code":1}"#, "Unauthorized"),
            (401, r#"{"text":"Token is required","code":2}"#, "Unauthorized"),
            (401, r#"{"text":"Invalid authorization","code":3}"#, "Unauthorized"),
            (403, r#"{"text":"Invalid token","code":4}"#, "Unauthorized"),
            (400, r#"{"text":"No data","code":5}"#, "Misconfigured"),
            (400, "Bad Request", "Misconfigured"),
            (400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#, "refused [1] retry [2, 3]"),
            (400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#, "refused [3] retry []"),
            (400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":4}"#, "Refused"),
            (400, r#"{"text":"Invalid data format","code":6}"#, "Refused"),
            (400, r#"{"text":"Incorrect index","code":7,"invalid-event-number":0}"#, "Misconfigured"),
            (500, r#"{"text":"Internal server error","code":8}"#, "Transient"),
            (503, r#"{"text":"Server is busy","code":9}"#, "Transient"),
            (503, r#"{"text":"Server is busy","code":9,"invalid-event-number":0}"#, "Transient"),
            (503, r#"{"text":"Server is busy","code":9,"invalid-event-number":2}"#, "refused [] retry [2, 3]"),
            (400, r#"{"text":"Data channel is missing","code":10}"#, "Misconfigured"),
            (400, r#"{"text":"Invalid data channel","code":11}"#, "Misconfigured"),
            (
                400,
                r#"{"text":"Event field is required","code":12,"invalid-event-number":0}"#,
                "refused [0] retry [1, 2, 3]",
            ),
            (
                400,
                r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":2}"#,
                "refused [2] retry [3]",
            ),
            (400, r#"{"text":"ACK is disabled","code":14}"#, "Misconfigured"),
            (
                400,
                r#"{"text":"Error in handling indexed fields","code":15,"invalid-event-number":0}"#,
                "refused [0] retry [1, 2, 3]",
            ),
            (400, r#"{"text":"Query string authorization is not enabled","code":16}"#, "Misconfigured"),
            (200, r#"{"text":"HEC is healthy","code":17}"#, "unknown_code"),
            (503, r#"{"text":"HEC is unhealthy, queues are full","code":18}"#, "Transient"),
            (503, r#"{"text":"HEC is unhealthy, ack service unavailable","code":19}"#, "Transient"),
            (503, r#"{"text":"HEC is unhealthy, queues are full, ack service unavailable","code":20}"#, "Transient"),
            (400, r#"{"text":"Invalid token","code":21}"#, "Unauthorized"),
            (400, r#"{"text":"Token disabled","code":22}"#, "Unauthorized"),
            (503, r#"{"text":"Server is shutting down","code":23}"#, "Transient"),
            (200, r#"{"text":"HEC queue is approaching its capacity limit","code":24}"#, "SlowDown"),
            (200, r#"{"text":"HEC ACK is approaching its capacity limit","code":25}"#, "SlowDown"),
            (429, r#"{"text":"HEC queue is at capacity","code":26}"#, "Transient"),
            (429, r#"{"text":"HEC ACK channel is at capacity","code":27}"#, "Transient"),
            (400, r#"{"text":"Data channel is missing","code":28}"#, "Misconfigured"),
            (404, r#"{"text":"Not Found","code":404}"#, "Misconfigured"),
            (405, r#"{"text":"Method Not Allowed","code":405}"#, "Misconfigured"),
            (413, r#"{"text":"Content Too Large","code":413}"#, "TooLarge"),
            (415, r#"{"text":"Unsupported Media Type","code":415}"#, "Misconfigured"),
            (200, r#"{"text":"newer than this","code":99}"#, "unknown_code"),
            (400, r#"{"text":"newer than this","code":99}"#, "Refused"),
            (504, "<html>Gateway Timeout</html>", "Transient"),
            (401, "", "Unauthorized"),
            (413, "<html>too large for the proxy</html>", "TooLarge"),
            (502, "<html>Bad Gateway</html>", "Transient"),
            (503, "", "Transient"),
            (403, "", "Unauthorized"),
            (302, "", "Misconfigured"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (200, "", "Misconfigured"),
        ] {
            assert_eq!(judged_by(judge, status, body, 4), expected, "{status} {body}");
        }
    }
}
