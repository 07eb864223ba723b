use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use serde::de::IgnoredAny;

use crate::sink::Outcome;

/// A server that asks for more patience than this is asked again all the same.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// As much of an answer as an operator wants to read.
const REASON_CHARACTERS: usize = 200;

/// What a server said.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The beginning of its body.
    pub body: &'a [u8],
    /// Events in the request that it answers.
    pub events: usize,
}

impl Answer<'_> {
    /// `Retry-After` in either form, 10 minutes at most. A date is compared with the answer's own `Date`: the clocks may differ.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.header(&RETRY_AFTER)?.trim();
        let wait = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let until = httpdate::parse_http_date(text).ok()?;
                let now = self.header(&DATE).and_then(|date| httpdate::parse_http_date(date).ok());
                until.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or_default()
            }
        };
        Some(wait.min(RETRY_AFTER_MAX))
    }

    /// True for HTML: it comes from a proxy or a login, never from what takes events.
    pub fn is_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// Status and first words, for the operator. Never trusted: control characters and line breaks become blanks.
    pub fn reason(&self) -> String {
        self.quote(self.body)
    }

    /// The status and the first words of `said`, which was found in the answer; as [`reason`](Self::reason).
    pub fn quote(&self, said: &[u8]) -> String {
        let status = match self.status.canonical_reason() {
            Some(reason) => format!("{} {reason}", self.status.as_u16()),
            None => self.status.as_u16().to_string(),
        };
        let text = String::from_utf8_lossy(said);
        let words: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return status;
        }
        let said: String = words.join(" ").chars().take(REASON_CHARACTERS).collect();
        format!("{status}: {said}")
    }

    /// The outcome of a destination that has nothing of its own to say about this status.
    pub fn by_status(&self) -> Outcome {
        match self.status.as_u16() {
            200..=299 => Outcome::Delivered,
            300..=399 => Outcome::Misconfigured(self.redirect()),
            400 | 422 => Outcome::Refused(self.reason()),
            401 | 403 => Outcome::Unauthorized(self.reason()),
            408 | 425 | 429 | 500..=599 => self.retry_later(),
            413 => Outcome::TooLarge(self.reason()),
            _ => Outcome::Misconfigured(self.reason()),
        }
    }

    /// [`by_status`](Self::by_status) of a destination that answers success without words or in JSON: a page for people is
    /// none of its answers.
    pub fn taken_by(&self, destination: &str) -> Outcome {
        match self.by_status() {
            Outcome::Delivered if !self.body.is_empty() && serde_json::from_slice::<IgnoredAny>(self.body).is_err() => {
                Outcome::Misconfigured(format!(
                    "does not answer as {destination} does ({}); check `url`",
                    self.reason()
                ))
            }
            outcome => outcome,
        }
    }

    /// The same bytes later, not before the server's own time.
    pub fn retry_later(&self) -> Outcome {
        Outcome::RetryLater { reason: self.reason(), after: self.retry_after() }
    }

    /// A redirect is not followed: it mostly leads to a login page, which would answer 200.
    fn redirect(&self) -> String {
        let target = self.header(&LOCATION).and_then(|location| url::Url::parse(location).ok());
        let host = target.as_ref().and_then(url::Url::host_str).map(|host| format!(" to {host}")).unwrap_or_default();
        format!("{}: redirects{host}, which is not followed; put the final address into `url`", self.status.as_u16())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The first word of what a destination makes of an answer to four events; for a partial one what is in it.
#[cfg(test)]
pub(super) fn judged(destination: &impl super::Destination, status: u16, body: impl AsRef<[u8]>) -> String {
    let (status, headers) = (StatusCode::from_u16(status).unwrap_or_default(), HeaderMap::new());
    crate::sink::in_words(destination.judge(&Answer { status, headers: &headers, body: body.as_ref(), events: 4 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        let date = (DATE, "Fri, 20 Nov 2026 06:30:00 GMT");
        for (pairs, seconds) in [
            (vec![], None),
            (vec![(RETRY_AFTER, "7")], Some(7)),
            (vec![(RETRY_AFTER, " 0 ")], Some(0)),
            (vec![(RETRY_AFTER, "86400")], Some(600)),
            (vec![(RETRY_AFTER, "Fri, 20 Nov 2026 06:30:42 GMT"), date.clone()], Some(42)),
            (vec![(RETRY_AFTER, "Fri, 20 Nov 2026 06:29:00 GMT"), date.clone()], Some(0)),
            (vec![(RETRY_AFTER, "Fri, 20 Nov 2099 06:30:00 GMT")], Some(600)),
            (vec![(RETRY_AFTER, "soon")], None),
            (vec![(RETRY_AFTER, "-1")], None),
        ] {
            let headers = headers(&pairs);
            let answer = Answer { status: StatusCode::SERVICE_UNAVAILABLE, headers: &headers, body: b"", events: 1 };
            assert_eq!(answer.retry_after(), seconds.map(Duration::from_secs), "{pairs:?}");
        }
    }

    #[test]
    fn reasons_are_short_and_on_one_line() {
        let headers = HeaderMap::new();
        let body = format!("<html>\r\n\x1b[31m <b>Bad</b>\tGateway{}</html>", "x".repeat(1_000));
        let answer = Answer { status: StatusCode::BAD_GATEWAY, headers: &headers, body: body.as_bytes(), events: 1 };
        let reason = answer.reason();
        assert!(reason.starts_with("502 Bad Gateway: <html> [31m <b>Bad</b> Gatewayxxx"), "{reason}");
        assert!(reason.len() < 240 && !reason.contains(char::is_control), "{reason}");
    }
}
