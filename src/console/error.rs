//! What went wrong with a request, and what follows from it (`sentinelone/api.md` section 5 in short).

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::transport::{Cut, TransportError};
use crate::record::{Timestamp, parse_page};

/// Longest `Retry-After` that is honoured in full.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// A request that gave nothing usable. The texts hold no secrets: they are made of status, code, title and detail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// It may succeed later: no connection, time-out, 429, 5xx, HTML instead of JSON, a truncated body, 200 with errors.
    #[error("{reason}")]
    Transient {
        /// For the operator.
        reason: String,
        /// `Retry-After`, where given.
        after: Option<Duration>,
        /// The time-out passed: a smaller page may fit into it.
        timed_out: bool,
    },
    /// The answer is larger than was reserved for it.
    #[error("{0}")]
    TooLarge(Cut),
    /// 401: the token is missing, malformed, revoked or expired.
    #[error("{0}")]
    Unauthorized(String),
    /// 403: the token may not read this stream, or this scope.
    #[error("{0}")]
    Forbidden(String),
    /// 404, 501: the console does not have this stream.
    #[error("{0}")]
    Missing(String),
    /// 400 for a request with a cursor: the poll starts again from the position.
    #[error("{0}")]
    BadCursor(String),
    /// 400 and other refusals: the request itself is wrong.
    #[error("{0}")]
    BadRequest(String),
}

impl ConsoleError {
    /// A failure that carries no hint when to try again.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), after: None, timed_out: false }
    }

    /// Reduces a status other than 2xx. `with_cursor` says whether the request carried a cursor.
    pub(super) fn from_status(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        with_cursor: bool,
    ) -> Self {
        let reason = describe(status, body);
        match status.as_u16() {
            400 if with_cursor => Self::BadCursor(reason),
            401 => Self::Unauthorized(reason),
            403 => Self::Forbidden(reason),
            404 | 501 => Self::Missing(reason),
            408 | 425 | 429 | 500..=599 => Self::Transient {
                reason,
                after: retry_after(headers, now),
                timed_out: status == StatusCode::GATEWAY_TIMEOUT,
            },
            300..=399 => Self::BadRequest(format!("{reason}; is `console.url` the console's own address?")),
            _ => Self::BadRequest(reason),
        }
    }
}

impl From<TransportError> for ConsoleError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::TooLarge(cut) => Self::TooLarge(cut),
            TransportError::Timeout(_) => Self::Transient { reason: error.to_string(), after: None, timed_out: true },
            TransportError::Connect(_) | TransportError::Broken(_) => Self::transient(error.to_string()),
        }
    }
}

/// The status, and what the console said about it where it said so in JSON.
fn describe(status: StatusCode, body: &[u8]) -> String {
    let page = parse_page(body).ok();
    match page.as_ref().and_then(|page| page.errors.first()) {
        Some(error) => format!("the console answered {status}: {error}"),
        None => format!("the console answered {status}"),
    }
}

/// `Retry-After` in either form, capped.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Timestamp::from(httpdate::parse_http_date(text).ok()?).since(now),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_445_412_480_000_000);

    fn judge(status: u16, retry_after: Option<&str>, body: &str, with_cursor: bool) -> ConsoleError {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        ConsoleError::from_status(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), NOW, with_cursor)
    }

    #[test]
    fn every_row_of_the_error_table() {
        let json = r#"{"errors":[{"code":4030010,"title":"Insufficient permissions","detail":"User does not have required permissions."}]}"#;
        let html = "<html><head><title>429 Too Many Requests</title></head></html>";
        assert!(matches!(judge(400, None, json, true), ConsoleError::BadCursor(_)));
        assert!(matches!(judge(400, None, json, false), ConsoleError::BadRequest(_)));
        assert!(matches!(judge(401, None, json, true), ConsoleError::Unauthorized(_)));
        assert!(matches!(judge(404, None, "404 page not found", false), ConsoleError::Missing(_)));
        assert!(matches!(judge(501, None, json, false), ConsoleError::Missing(_)));
        assert!(matches!(judge(302, None, "", false), ConsoleError::BadRequest(_)));
        for status in [429, 500, 502, 503, 504] {
            assert!(
                matches!(judge(status, None, html, false), ConsoleError::Transient { after: None, .. }),
                "{status}"
            );
        }
        let ConsoleError::Forbidden(reason) = judge(403, None, json, false) else { panic!("403") };
        assert_eq!(
            reason,
            "the console answered 403 Forbidden: 4030010: Insufficient permissions: User does not have required permissions."
        );
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        for (value, expected) in [("7", 7), ("Wed, 21 Oct 2015 07:28:30 GMT", 30), ("86400", 600)] {
            let error = judge(429, Some(value), "", false);
            let ConsoleError::Transient { after, .. } = error else { panic!("{error}") };
            assert_eq!(after, Some(Duration::from_secs(expected)), "{value}");
        }
        assert!(matches!(judge(429, Some("soon"), "", false), ConsoleError::Transient { after: None, .. }));
    }
}
