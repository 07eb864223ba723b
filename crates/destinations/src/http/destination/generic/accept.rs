//! `accept:` of the sink `http`: what a receiver's success says about the events.

use std::borrow::Cow;
use std::str::FromStr;

use s1_forwarder_engine::sink::{Outcome, WarningReason};
use s1_forwarder_failure::Failure;
use s1_forwarder_settings::SettingKind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::BuildError;
use crate::http::ResponseView;

/// Which successes mean that the receiver accepted the events. A success with an empty body does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Accept {
    /// Statuses that count as accepted; default: every 2xx.
    pub statuses: Vec<u16>,
    /// JSON pointer into the body, such as `/failed`. The number there must be 0.
    pub zero: Option<Pointer>,
    /// JSON pointer into the body, such as `/errors`. The list there must be empty.
    pub empty: Option<Pointer>,
    /// The receiver leaves `zero` and `empty` out of the body, or gives null, if it accepted everything.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub optional: bool,
}

/// A place in a JSON document (RFC 6901), but not the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pointer(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a JSON pointer such as `/failed` or `/result/errors`")]
pub struct PointerError;

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.starts_with('/') { Ok(Self(text.to_owned())) } else { Err(PointerError) }
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Pointer {
    fn schema_name() -> Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "JSON pointer",
            "x-kind": SettingKind::Text,
            "description": "A place in a JSON document, such as `/failed`.",
            "type": "string",
            "pattern": "^/",
        })
    }
}

impl Accept {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        match self.statuses.iter().find(|status| !(200..=299).contains(*status)) {
            Some(status) => Err(BuildError::value("accept.statuses", format!("{status} is no success: give 2xx only"))),
            None => Ok(()),
        }
    }

    /// Returns whether the body of a success is read.
    pub(crate) fn reads_body(&self) -> bool {
        self.zero.is_some() || self.empty.is_some()
    }

    /// Returns the outcome of a response with a status of 2xx.
    pub(crate) fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        let status = response.status.as_u16();
        if !self.statuses.is_empty() && !self.statuses.contains(&status) {
            return if response.is_html() {
                Outcome::misconfigured(response.html_reason())
            } else {
                Outcome::Refused(format!("{} (not among `accept.statuses`)", response.reason()))
            };
        }
        if !self.reads_body() {
            return if response.is_page() { page() } else { Outcome::Delivered };
        }
        if response.body.trim_ascii().is_empty() {
            return Outcome::Delivered;
        }
        let body: Value = serde_json::from_slice(without_mark(response.body)).unwrap_or_default();
        let number = self.found(self.zero.as_ref(), "accept.zero", "number", as_number, &body, response);
        let list = self.found(self.empty.as_ref(), "accept.empty", "list", as_length, &body, response);
        match (number, list) {
            (Err(refusal), _) | (_, Err(refusal)) => refusal,
            (Ok(()), Ok(())) => Outcome::Delivered,
        }
    }

    /// Fails with the outcome if the value at `pointer` is missing, not of this kind, or not 0.
    fn found(
        &self,
        pointer: Option<&Pointer>,
        key: &str,
        kind: &str,
        read: fn(&Value) -> Option<f64>,
        body: &Value,
        response: &ResponseView<'_>,
    ) -> Result<(), Outcome> {
        let Some(Pointer(pointer)) = pointer else { return Ok(()) };
        let value = body.pointer(pointer).filter(|value| !value.is_null());
        let problem = match value {
            _ if !body.is_object() => "the body of the answer is no JSON object".to_owned(),
            None if self.optional => return Ok(()),
            None => format!("the answer has no `{pointer}`"),
            Some(value) => match read(value) {
                Some(0.0) => return Ok(()),
                Some(_) => {
                    return Err(Outcome::Refused(format!(
                        "`{pointer}` of the answer is not 0 or empty: {}",
                        response.reason()
                    )));
                }
                None => format!("`{pointer}` of the answer is no {kind}"),
            },
        };
        Err(Outcome::Failed(Failure::refused_all(format!(
            "{problem}; check `{key}: {pointer}`: {}",
            response.reason()
        ))))
    }
}

/// Returns the body without a byte order mark, which some receivers write before JSON.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Reads a number. Some receivers write numbers of 64 bits as text.
fn as_number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn as_length(value: &Value) -> Option<f64> {
    value.as_array().map(|list| list.len() as f64)
}

/// Names under which receivers report, in a success, events that they did not accept.
const FAILURES: [&str; 4] = ["failed", "errors", "failures", "invalid"];

/// Returns the outcome of a success if the sink has no `accept`. The answer may say that the receiver did not accept
/// events. What the receiver means by it is unknown, so nothing is sent again.
pub(crate) fn judge_unknown(response: &ResponseView<'_>) -> Outcome {
    if response.is_page() {
        return page();
    }
    let body: Value = serde_json::from_slice(without_mark(response.body)).unwrap_or_default();
    match FAILURES.iter().find(|name| body.get(**name).is_some_and(says_something)) {
        // The text has no value of the answer: it is logged again when it changes.
        Some(name) => Outcome::warned(
            WarningReason::Failures,
            format!(
                "the receiver answers with a success whose `{name}` is not 0 or empty: if it does not accept such \
                 batches, say so with `accept`"
            ),
        ),
        None => Outcome::Delivered,
    }
}

/// Returns the outcome of a success with a page of HTML: a warning, since a receiver may answer so.
fn page() -> Outcome {
    Outcome::warned(
        WarningReason::Page,
        "the answer is a success and a page of HTML, like the pages of logins and proxies: if the receiver does not \
         accept events with it, correct `url`, or have `accept` read its answers",
    )
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.as_str(), "" | "0" | "false"),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::transport::response::judged_by;
    use s1_forwarder_settings::KnownSecrets;

    fn judged(accept: Value, status: u16, body: &str) -> String {
        let accept: Accept = serde_json::from_value(accept).unwrap();
        judged_by(|response| accept.judge(response), status, body, 4)
    }

    /// Answers of receivers as their contracts have them.
    #[test]
    fn each_success_has_its_outcome() {
        for (accept, status, body, expected) in [
            // Graylog: 202 without a body.
            (json!({ "statuses": [202] }), 202, "", "Delivered"),
            (json!({ "statuses": [202] }), 200, "", "Refused"),
            (json!({ "statuses": [202] }), 200, "<html>a login page</html>", "Misconfigured"),
            (json!({}), 200, "anything", "Delivered"),
            // Cribl and HEC.
            (json!({ "zero": "/code" }), 200, r#"{"text":"Success","code":0}"#, "Delivered"),
            (json!({ "zero": "/code" }), 200, r#"{"text":"Server is busy","code":9}"#, "Refused"),
            (json!({ "zero": "/code" }), 200, "\u{feff}{\"code\":0}", "Delivered"),
            (json!({ "zero": "/code" }), 200, "", "Delivered"),
            (json!({ "zero": "/code" }), 200, " \n", "Delivered"),
            (json!({ "zero": "/code" }), 200, "{}", "RefusedAll"),
            (json!({ "zero": "/code" }), 200, "<html>a login page</html>", "RefusedAll"),
            (json!({ "zero": "/code" }), 200, "[0]", "RefusedAll"),
            (json!({ "zero": "/code" }), 200, r#"{"code":[]}"#, "RefusedAll"),
            // LogScale answers with `{}` too.
            (json!({ "zero": "/code", "optional": true }), 200, "{}", "Delivered"),
            (json!({ "zero": "/code", "optional": true }), 200, "ok", "RefusedAll"),
            // Datadog.
            (json!({ "empty": "/errors" }), 202, r#"{"errors":[]}"#, "Delivered"),
            (json!({ "empty": "/errors" }), 202, r#"{"errors":[{"status":"400"}]}"#, "Refused"),
            (json!({ "empty": "/errors" }), 202, r#"{"errors":null}"#, "RefusedAll"),
            (json!({ "empty": "/errors", "optional": true }), 202, r#"{"errors":null}"#, "Delivered"),
            // Elasticsearch: a boolean is no list.
            (json!({ "empty": "/errors" }), 200, r#"{"took":30,"errors":false,"items":[]}"#, "RefusedAll"),
            // OTLP writes numbers of 64 bits as text, and leaves the field out.
            (
                json!({ "zero": "/partialSuccess/rejectedLogRecords", "optional": true }),
                200,
                r#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#,
                "Refused",
            ),
            (json!({ "zero": "/partialSuccess/rejectedLogRecords", "optional": true }), 200, "{}", "Delivered"),
            (json!({ "zero": "/failed", "empty": "/errors" }), 200, r#"{"failed":0,"errors":[]}"#, "Delivered"),
            (json!({ "zero": "/failed", "empty": "/errors" }), 200, r#"{"failed":0,"errors":[1]}"#, "Refused"),
            (json!({ "zero": "/failed", "empty": "/errors" }), 200, r#"{"failed":0}"#, "RefusedAll"),
        ] {
            assert_eq!(judged(accept.clone(), status, body), expected, "{accept} {status} {body}");
        }
    }

    #[test]
    fn the_pointer_that_is_missing_is_named() {
        let accept = Accept { zero: Some("/result/failed".parse().unwrap()), ..Accept::default() };
        let status = http::StatusCode::OK;
        let headers = http::HeaderMap::new();
        let outcome = accept.judge(&ResponseView {
            status,
            headers: &headers,
            body: br#"{"failed":0}"#,
            secrets: &Default::default(),
            events: 4,
        });
        let text = r#"the answer has no `/result/failed`; check `accept.zero: /result/failed`: 200 OK: {"failed":0}"#;
        assert_eq!(outcome, Outcome::Failed(Failure::refused_all(text)));
    }

    #[test]
    fn settings_are_checked() {
        assert!(serde_json::from_value::<Accept>(json!({ "zero": "failed" })).is_err());
        assert!(serde_json::from_value::<Accept>(json!({ "zeros": "/failed" })).is_err());
        let error = Accept { statuses: vec![204, 404], ..Accept::default() }.check().unwrap_err().to_string();
        assert!(error.contains("404 is no success"), "{error}");
    }

    #[test]
    fn a_success_of_the_type_of_a_page_is_a_warning_if_it_is_one() {
        for (content_type, body, expected) in [
            ("text/html; charset=utf-8", "<head><title>Log in</title>", "page"),
            ("Text/HTML", "<form>", "page"),
            ("text/html", "ok", "Delivered"),
            ("text/html", "", "Delivered"),
            ("text/xml", "<form>", "Delivered"),
        ] {
            let headers = http::HeaderMap::from_iter([(http::header::CONTENT_TYPE, content_type.parse().unwrap())]);
            let response = ResponseView {
                status: http::StatusCode::OK,
                headers: &headers,
                body: body.as_bytes(),
                secrets: &KnownSecrets::default(),
                events: 4,
            };
            assert_eq!(
                s1_forwarder_engine::sink::in_words(judge_unknown(&response)),
                expected,
                "{content_type} {body}"
            );
            // An operator who names statuses may not know that a login page answers with them, too.
            let named = Accept { statuses: vec![200], ..Accept::default() };
            assert_eq!(s1_forwarder_engine::sink::in_words(named.judge(&response)), expected, "{content_type} {body}");
        }
    }

    #[test]
    fn a_success_that_reports_failures_is_a_warning() {
        for (body, expected) in [
            (r#"{"failed":3,"accepted":7}"#, "failures"),
            (r#"{"errors":true}"#, "failures"),
            (r#"{"errors":[{"status":"400"}]}"#, "failures"),
            (r#"{"failures":{"0":"no"}}"#, "failures"),
            (r#"{"invalid":"3"}"#, "failures"),
            (r#"{"failed":0,"errors":[],"failures":{},"invalid":""}"#, "Delivered"),
            (r#"{"failed":"0","errors":false,"failures":null,"invalid":0.0}"#, "Delivered"),
            (r#"{"result":{"failed":3}}"#, "Delivered"),
            (r#"[{"failed":3}]"#, "Delivered"),
            ("failed", "Delivered"),
            ("", "Delivered"),
            ("\u{feff}\n<!DOCTYPE html><title>Log in</title>", "page"),
            ("<HTML lang=en>", "page"),
            ("<ok/>", "Delivered"),
        ] {
            assert_eq!(judged_by(judge_unknown, 200, body, 4), expected, "{body}");
        }
    }
}
