//! Classifies failed requests to the console.

use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use s1_forwarder_failure::Failure;
use s1_forwarder_record::{Stream, Timestamp, parse_page};
use s1_forwarder_settings::{KnownSecrets, retry_after};
use serde::de::IgnoredAny;

use super::advice;
use super::transport::{Response, TransportError, TruncatedBody};

/// A request without a usable response. The texts contain no secrets: only status, code, title and detail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// May succeed later: no connection, timeout, 429, 5xx, HTML instead of JSON, a truncated body, 200 with errors.
    #[error("{reason}")]
    Transient {
        reason: String,
        /// Delay that `Retry-After` asks for.
        retry_after: Option<Duration>,
        /// Whether the request timed out: a smaller page may succeed.
        timed_out: bool,
    },
    /// The response is larger than the memory reserved for it.
    #[error("{0}")]
    TooLarge(TruncatedBody),
    /// 401: the token is missing, malformed, revoked or expired.
    #[error("{0}")]
    Unauthorized(String),
    /// There is no token to send: its file or environment variable cannot be read. The console was not asked.
    #[error("{0}")]
    NoToken(String),
    /// 403: the token may not read this stream, or this scope.
    #[error("{0}")]
    Forbidden(String),
    /// 404 or 501: the console does not have this stream.
    #[error("{0}")]
    Missing(String),
    /// A request with a cursor was refused as such (400, 404, 410, 412), or cursors lead to the same page again and
    /// again. The poll must start again at its position.
    #[error("{0}")]
    BadCursor(String),
    /// 400 and other statuses: the request itself is invalid.
    #[error("{0}")]
    BadRequest(String),
}

impl ConsoleError {
    /// Returns what the operator has to change so that the token can read this stream, unless the text says it.
    /// `has_answered`: the console has shown the stream before. `has_scope`: the pipeline names accounts, sites or
    /// groups.
    pub fn advice(&self, stream: Stream, has_answered: bool, has_scope: bool) -> Option<String> {
        match self {
            Self::Forbidden(reason) | Self::Missing(reason) if advice::is_from_elsewhere(reason) => None,
            Self::Forbidden(_) => Some(advice::of_permission(stream)),
            Self::Missing(_) => Some(advice::of_missing(has_answered, has_scope).to_owned()),
            _ => None,
        }
    }

    /// Returns the error without advice about the console's address, for a stream that the console has shown before.
    /// The address was right then, even if no console writes such a body.
    #[must_use]
    pub fn of_known_stream(self) -> Self {
        match self {
            Self::Missing(reason) => Self::Missing(advice::without_address(reason)),
            Self::Forbidden(reason) => Self::Forbidden(advice::with_firewall(reason)),
            other => other,
        }
    }

    /// Returns a transient failure without `Retry-After`.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), retry_after: None, timed_out: false }
    }

    /// Classifies a status other than 200. `with_cursor`: the request had a cursor.
    pub(super) fn from_status(response: &Response, secrets: &KnownSecrets, now: Timestamp, with_cursor: bool) -> Self {
        let Response { status, headers, body } = response;
        // A console refuses in JSON. Another answer is from something before it, or from another server. An empty body
        // may be a console's refusal of the token.
        let is_refusal = matches!(status.as_u16(), 400..=407 | 409..=424 | 501);
        let says_nothing = body.is_empty() && !matches!(status.as_u16(), 403 | 404 | 501);
        let is_foreign = is_refusal && !says_nothing && serde_json::from_slice::<IgnoredAny>(body).is_err();
        let advice = if is_foreign { Some(advice::of_foreign_body(body)) } else { advice::of_status(*status) };
        let reason = format!("{}{}", describe(*status, body, secrets), advice::suffix(advice));
        let now = UNIX_EPOCH + Duration::from_micros(now.micros().try_into().unwrap_or_default());
        match status.as_u16() {
            // The cursor is missing, gone or not as it was. If it is the stream, the next request says so.
            400 | 404 | 410 | 412 if with_cursor => Self::BadCursor(reason),
            401 => Self::Unauthorized(reason),
            403 => Self::Forbidden(reason),
            404 | 501 => Self::Missing(reason),
            408 | 425 | 429 | 500..=599 => Self::Transient {
                reason,
                retry_after: retry_after(headers, now),
                timed_out: *status == StatusCode::GATEWAY_TIMEOUT,
            },
            _ => Self::BadRequest(reason),
        }
    }
}

impl ConsoleError {
    /// Returns the error without these secrets in its text.
    pub(super) fn without(self, secrets: &KnownSecrets) -> Self {
        let scrub = |reason: String| secrets.scrub(&reason);
        match self {
            Self::Transient { reason, retry_after, timed_out } => {
                Self::Transient { reason: scrub(reason), retry_after, timed_out }
            }
            // The text of this error is the program's own.
            Self::TooLarge(body) => Self::TooLarge(body),
            Self::Unauthorized(reason) => Self::Unauthorized(scrub(reason)),
            Self::NoToken(reason) => Self::NoToken(scrub(reason)),
            Self::Forbidden(reason) => Self::Forbidden(scrub(reason)),
            Self::Missing(reason) => Self::Missing(scrub(reason)),
            Self::BadCursor(reason) => Self::BadCursor(scrub(reason)),
            Self::BadRequest(reason) => Self::BadRequest(scrub(reason)),
        }
    }
}

impl From<ConsoleError> for Failure {
    fn from(error: ConsoleError) -> Self {
        let reason = error.to_string();
        match error {
            ConsoleError::Transient { retry_after, .. } => Self::transient_after(reason, retry_after),
            ConsoleError::TooLarge(_) | ConsoleError::BadCursor(_) => Self::transient(reason),
            ConsoleError::Unauthorized(_) => Self::unauthorized(reason),
            ConsoleError::NoToken(_) => Self::secret_unreadable(reason),
            ConsoleError::Forbidden(_) | ConsoleError::Missing(_) | ConsoleError::BadRequest(_) => {
                Self::misconfigured(reason)
            }
        }
    }
}

impl From<TransportError> for ConsoleError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::TooLarge(body) => Self::TooLarge(body),
            TransportError::Timeout(_) => {
                Self::Transient { reason: error.to_string(), retry_after: None, timed_out: true }
            }
            TransportError::Connect(_) | TransportError::Broken(_) => Self::transient(error.to_string()),
        }
    }
}

/// Returns the status, and the first error of a JSON body.
fn describe(status: StatusCode, body: &[u8], secrets: &KnownSecrets) -> String {
    let page = parse_page(body).ok();
    match page.as_ref().and_then(|page| page.errors.first()) {
        Some(error) => format!("the console answered {status}: {}", secrets.excerpt(&error.to_string())),
        None => format!("the console answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};
    use s1_forwarder_failure::FailureKind;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_445_412_480_000_000);

    fn classify(status: u16, retry_after: Option<&str>, body: &str, with_cursor: bool) -> ConsoleError {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        let body = body.to_owned().into();
        let response = Response { status: StatusCode::from_u16(status).unwrap(), headers, body };
        ConsoleError::from_status(&response, &KnownSecrets::default(), NOW, with_cursor)
    }

    #[test]
    fn statuses_are_classified() {
        let json = r#"{"errors":[{"code":4030010,"title":"Insufficient permissions","detail":"User does not have required permissions."}]}"#;
        let html = "<html><head><title>429 Too Many Requests</title></head></html>";
        for status in [400, 404, 410, 412] {
            assert!(matches!(classify(status, None, json, true), ConsoleError::BadCursor(_)), "{status}");
        }
        for status in [400, 410, 412] {
            assert!(matches!(classify(status, None, json, false), ConsoleError::BadRequest(_)), "{status}");
        }
        assert!(matches!(classify(401, None, json, true), ConsoleError::Unauthorized(_)));
        assert!(matches!(classify(404, None, "404 page not found", false), ConsoleError::Missing(_)));
        assert!(matches!(classify(501, None, json, false), ConsoleError::Missing(_)));
        assert!(matches!(classify(302, None, "", false), ConsoleError::BadRequest(_)));
        for status in [429, 500, 502, 503, 504] {
            assert!(
                matches!(classify(status, None, html, false), ConsoleError::Transient { retry_after: None, .. }),
                "{status}"
            );
        }
        let ConsoleError::Forbidden(reason) = classify(403, None, json, false) else { panic!("403") };
        assert_eq!(
            reason,
            "the console answered 403 Forbidden: 4030010: Insufficient permissions: User does not have required permissions."
        );
    }

    /// A proxy, or a console whose module is gone, answers in plain text.
    #[test]
    fn a_stream_that_was_shown_before_is_gone_whatever_the_body_says() {
        for body in ["404 page not found", r#"{"errors":[]}"#, ""] {
            let error = classify(404, None, body, false).of_known_stream();
            let advice = error.advice(Stream::Threats, true, false).unwrap_or_default();
            let text = format!("{error}; {advice}");
            assert_eq!(
                text,
                "the console answered 404 Not Found; the console had this stream before: ask its operator"
            );
        }
        let refused = classify(403, None, "<html>blocked</html>", false).of_known_stream();
        let advice = refused.advice(Stream::Threats, true, false).unwrap_or_default();
        let text = format!("{refused}; {advice}");
        assert!(text.contains("a proxy or firewall may refuse this") && text.contains("Endpoint Threats"), "{text}");
        assert!(!text.contains("console.url"), "{text}");
        let unknown = classify(404, None, "404 page not found", false);
        assert!(unknown.advice(Stream::Threats, false, false).is_none() && unknown.to_string().contains("console.url"));
    }

    /// A lane acts on the class alone.
    #[test]
    fn each_error_has_the_class_that_sinks_and_stores_use() {
        let class = |status, with_cursor| {
            let failure = Failure::from(classify(status, Some("7"), "", with_cursor));
            (failure.kind, failure.retry_after)
        };
        assert_eq!(class(429, false), (FailureKind::Transient, Some(Duration::from_secs(7))));
        assert_eq!(class(404, true), (FailureKind::Transient, None));
        assert_eq!(class(401, false), (FailureKind::Unauthorized, None));
        for status in [400, 403, 404, 501] {
            assert_eq!(class(status, false), (FailureKind::Misconfigured, None), "{status}");
        }
    }

    #[test]
    fn a_reason_is_short_and_on_one_line() {
        let json = format!(r#"{{"errors":[{{"title":"first\nsecond","detail":"{}"}}]}}"#, "x".repeat(60_000));
        let reason = classify(403, None, &json, false).to_string();
        assert!(reason.starts_with("the console answered 403 Forbidden: first second: xxx"), "{reason}");
        assert!(reason.len() < 300, "{} bytes", reason.len());
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        for (value, expected) in [("7", 7), ("Wed, 21 Oct 2015 07:28:30 GMT", 30), ("86400", 600)] {
            let error = classify(429, Some(value), "", false);
            let ConsoleError::Transient { retry_after, .. } = error else { panic!("{error}") };
            assert_eq!(retry_after, Some(Duration::from_secs(expected)), "{value}");
        }
        assert!(matches!(classify(429, Some("soon"), "", false), ConsoleError::Transient { retry_after: None, .. }));
    }
}
