//! A response as the judge of a destination sees it, and the helpers that turn a status into an outcome.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use s1_forwarder_engine::sink::{Outcome, RefusedEvent};
use s1_forwarder_failure::{Failure, FailureKind};
use s1_forwarder_settings::{KnownSecrets, retry_after, wants_tls};
use serde::de::IgnoredAny;

/// A response of the destination, borrowed, with the beginning of its body.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    /// HTTP status.
    pub status: StatusCode,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// At most `max_response_bytes` of the body.
    pub body: &'a [u8],
    /// The secrets of the request, which no text may show.
    pub secrets: &'a KnownSecrets,
    /// Number of events in the request.
    pub events: usize,
}

impl ResponseView<'_> {
    /// See [`retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.headers, SystemTime::now())
    }

    /// See [`is_html`](s1_forwarder_settings::is_html).
    pub fn is_html(&self) -> bool {
        s1_forwarder_settings::is_html(self.body)
    }

    /// Returns whether the body is a page for people, as a login has it. Unlike [`is_html`](Self::is_html), it fits
    /// receivers that may answer with anything: XML, or `ok` with the type that a web framework gives to every text.
    pub fn is_page(&self) -> bool {
        let body = self.body.trim_ascii_start();
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii_start();
        let begins = |tag: &str| body.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()));
        let content_type = self.headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
        let is_typed = content_type.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"));
        begins("<!doctype html") || begins("<html") || (is_typed && body.contains(&b'<'))
    }

    /// Returns status and beginning of the body, for the operator. Control characters and line breaks become blanks.
    pub fn reason(&self) -> String {
        self.quote(self.body)
    }

    /// Returns the status and the beginning of `text`, a part of the response. Treats `text` as
    /// [`reason`](Self::reason) does.
    pub fn quote(&self, text: &[u8]) -> String {
        let status = match self.status.canonical_reason() {
            Some(reason) => format!("{} {reason}", self.status.as_u16()),
            None => self.status.as_u16().to_string(),
        };
        let text = self.excerpt(&String::from_utf8_lossy(text));
        if text.is_empty() { status } else { format!("{status}: {text}") }
    }

    /// Returns the beginning of `text`, a part of the response, on one line and without secrets.
    pub fn excerpt(&self, text: &str) -> String {
        self.secrets.excerpt(text)
    }

    /// Returns the outcome by status alone, for statuses that the destination does not define differently.
    pub fn by_status(&self) -> Outcome {
        match self.by_status_anywhere() {
            Outcome::Failed(Failure { kind: FailureKind::Misconfigured, reason, .. })
                if matches!(self.status.as_u16(), 404 | 405 | 410) =>
            {
                Outcome::misconfigured(format!("{reason}; check `url`"))
            }
            outcome => outcome,
        }
    }

    /// Returns the outcome by the status of a server whose address is not the sink's `url`.
    pub fn by_status_anywhere(&self) -> Outcome {
        match self.status.as_u16() {
            200..=299 => Outcome::Delivered,
            300..=399 => Outcome::misconfigured(self.redirect()),
            400 | 422 if wants_tls(self.body) => {
                Outcome::misconfigured(format!("{}; the port wants TLS: write https://", self.reason()))
            }
            // A proxy refuses the request, such as one without a valid client certificate.
            400 | 422 if self.is_html() => Outcome::misconfigured(self.html_reason()),
            400 | 422 => Outcome::Refused(self.reason()),
            401 | 403 => Outcome::unauthorized(self.reason()),
            408 | 425 | 429 | 500..=599 if self.names_size() => Outcome::TooLarge(self.reason()),
            408 | 425 | 429 | 500..=599 => self.retry_later(),
            413 => Outcome::TooLarge(self.reason()),
            _ => Outcome::misconfigured(self.reason()),
        }
    }

    /// Returns whether the body calls the request too large. Behind gRPC and in some gateways such a response is no
    /// 413, and the same bytes would be refused indefinitely. A response about a full memory or an exhausted quota also
    /// names sizes, but that condition passes.
    pub fn names_size(&self) -> bool {
        const SIZE: [&str; 4] = ["larger than max", "message larger than", "request size", "too large"];
        const PASSES: [&str; 5] = ["circuit_breaking", "data too large", "quota", "rate limit", "per second"];
        let body = String::from_utf8_lossy(self.body).to_lowercase();
        let names = |texts: &[&str]| texts.iter().any(|text| body.contains(text));
        names(&SIZE) && !names(&PASSES)
    }

    /// Returns the refusal of the event at `index`, with the status of the response. The destination will never accept
    /// the event.
    pub fn refusal(&self, index: usize, reason: String) -> RefusedEvent {
        RefusedEvent { index, status: self.status.as_u16().to_string(), reason }
    }

    /// Returns [`by_status`](Self::by_status) of a destination whose success has an empty or a JSON body. Any other
    /// body does not come from that destination.
    pub fn expect_json(&self, destination: &str) -> Outcome {
        match self.by_status() {
            Outcome::Delivered if !self.body.is_empty() && serde_json::from_slice::<IgnoredAny>(self.body).is_err() => {
                self.unexpected(destination)
            }
            outcome => outcome,
        }
    }

    /// Returns `outcome`, except for a refusal without `key`, which all refusals of `destination` have. Such a refusal
    /// comes from a proxy or gateway on the way, and says nothing of the events.
    pub fn expect_refusal(&self, outcome: Outcome, key: &str, destination: &str) -> Outcome {
        let is_own = || match serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(self.body) {
            Ok(body) => body.contains_key(key),
            // The beginning of a long one.
            Err(error) => error.is_eof() && !self.body.is_empty(),
        };
        match outcome {
            Outcome::Refused(_) if !is_own() => self.unexpected(destination),
            outcome => outcome,
        }
    }

    /// Returns [`by_status`](Self::by_status) of a destination whose success may have any body but HTML.
    pub fn expect_no_html(&self) -> Outcome {
        match self.by_status() {
            Outcome::Delivered if self.is_html() => Outcome::misconfigured(self.html_reason()),
            outcome => outcome,
        }
    }

    /// Returns the text for a response that [`is_html`](Self::is_html).
    pub fn html_reason(&self) -> String {
        format!("answers with a page ({}); check `url`", self.reason())
    }

    /// Returns the outcome of a success that `destination` would not give.
    pub fn unexpected(&self, destination: &str) -> Outcome {
        Outcome::misconfigured(not_from(destination, &self.reason()))
    }

    /// Returns a transient failure: the same bytes may be sent again after `Retry-After`.
    pub fn retry_later(&self) -> Outcome {
        Outcome::Failed(Failure::transient_after(self.reason(), self.retry_after()))
    }

    /// Describes a redirect, which is not followed: it usually leads to a login page, which would answer 200.
    fn redirect(&self) -> String {
        let location = self.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let target = location.and_then(|location| url::Url::parse(location).ok());
        let host = target.as_ref().and_then(url::Url::host_str).map(|host| format!(" to {}", self.excerpt(host)));
        let host = host.unwrap_or_default();
        format!("{}: redirects{host}, which is not followed; put the final address into `url`", self.status.as_u16())
    }
}

/// Returns the text for a response that `destination` would not give. `reason` quotes the response.
pub(crate) fn not_from(destination: &str, reason: &str) -> String {
    format!("does not answer as {destination} does ({reason}); check `url`")
}

/// Returns the first word of the outcome of a response, with the indices of a partial outcome.
#[cfg(test)]
pub(crate) fn judged_by(
    judge: impl Fn(&ResponseView<'_>) -> Outcome,
    status: u16,
    body: impl AsRef<[u8]>,
    events: usize,
) -> String {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    let headers = HeaderMap::new();
    s1_forwarder_engine::sink::in_words(judge(&ResponseView {
        status,
        headers: &headers,
        body: body.as_ref(),
        secrets: &KnownSecrets::default(),
        events,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_never_a_refusal_of_events() {
        let headers = HeaderMap::new();
        let page = b"<html><title>400 The SSL certificate error</title></html>";
        for (status, body, expected) in [
            (StatusCode::BAD_REQUEST, &page[..], "Misconfigured"),
            (StatusCode::UNPROCESSABLE_ENTITY, page, "Misconfigured"),
            (StatusCode::BAD_REQUEST, b"no such field", "Refused"),
            (StatusCode::PAYLOAD_TOO_LARGE, page, "TooLarge"),
            (StatusCode::BAD_GATEWAY, page, "Transient"),
        ] {
            let response =
                ResponseView { status, headers: &headers, body, secrets: &KnownSecrets::default(), events: 4 };
            assert_eq!(s1_forwarder_engine::sink::in_words(response.by_status()), expected, "{status}");
        }
    }

    #[test]
    fn a_size_error_is_recognised_whatever_its_status() {
        let outcome = |status, body: &str| judged_by(|response| response.by_status(), status, body, 4);
        for body in [
            "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (281827 vs. 100000)",
            "rpc error: code = ResourceExhausted desc = trying to send message larger than max (5000000 vs. 4194304)",
            r#"{"message":"Request size exceeded 1048576 bytes"}"#,
            "http: request body too large",
        ] {
            for status in [408, 429, 500, 502, 503] {
                assert_eq!(outcome(status, body), "TooLarge", "{status} {body}");
            }
        }
        for body in [
            "rpc error: code = ResourceExhausted desc = too many requests",
            r#"{"error":{"type":"circuit_breaking_exception","reason":"[parent] Data too large, data for [<http_request>]"}}"#,
            "Ingestion rate limit exceeded for user acme (limit: 1 bytes/sec), request size 5",
            r#"{"error":{"code":429,"message":"Quota exceeded: request size per minute"}}"#,
            "",
        ] {
            assert_eq!(outcome(429, body), "Transient", "{body}");
        }
    }

    #[test]
    fn reasons_are_short_and_on_one_line() {
        let headers = HeaderMap::new();
        let body = format!("<html>\r\n\x1b[31m <b>Bad</b>\tGateway{}</html>", "x".repeat(1_000));
        let response = ResponseView {
            status: StatusCode::BAD_GATEWAY,
            headers: &headers,
            body: body.as_bytes(),
            secrets: &KnownSecrets::default(),
            events: 1,
        };
        let reason = response.reason();
        assert!(reason.starts_with("502 Bad Gateway: <html> [31m <b>Bad</b> Gatewayxxx"), "{reason}");
        assert!(reason.len() < 240 && !reason.contains(char::is_control), "{reason}");
    }

    #[test]
    fn a_port_that_wants_tls_refuses_no_event() {
        for body in [
            "Client sent an HTTP request to an HTTPS server.\n",
            "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
            "Bad Request\nThis combination of host and port requires TLS.\n",
            "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br /></p>",
        ] {
            assert_eq!(judged_by(|response| response.by_status(), 400, body, 4), "Misconfigured", "{body}");
        }
        assert_eq!(judged_by(|response| response.by_status(), 400, "bad event", 4), "Refused");
    }

    #[test]
    fn a_refusal_in_another_form_comes_from_something_on_the_way() {
        let expect = |response: &ResponseView<'_>| response.expect_refusal(response.by_status(), "error", "X");
        for (body, expected) in [
            (r#"{"error":{"code":"InvalidPayload"}}"#, "Refused"),
            (r#"{"error":{"message":"it is cut o"#, "Refused"),
            (r#"{"message":"Bad Request"}"#, "Misconfigured"),
            ("Bad Request", "Misconfigured"),
            ("[]", "Misconfigured"),
            ("", "Misconfigured"),
        ] {
            assert_eq!(judged_by(expect, 400, body, 4), expected, "{body}");
        }
        assert_eq!(judged_by(expect, 503, "busy", 4), "Transient");
    }
}
