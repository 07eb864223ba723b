//! Requests and answers, independent of sockets.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// The path of the API version that the emulator serves.
pub const BASE: &str = "/web/api/v2.1";

/// A request without a socket.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET or POST; other methods are answered with 404.
    pub method: Method,
    /// The path, `/web/api/v2.1/…`.
    pub path: String,
    /// The query of the URL, without `?`.
    pub query: String,
    /// Only `authorization` and `accept-encoding` are used.
    pub headers: HeaderMap,
    /// For POST.
    pub body: Bytes,
}

impl Request {
    /// Returns a GET request with a token. `target` is the path and query below `/web/api/v2.1`, such as
    /// `/threats?limit=10`.
    pub fn get(target: &str, token: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&format!("ApiToken {token}")) {
            headers.insert(http::header::AUTHORIZATION, value);
        }
        Self {
            method: Method::GET,
            path: format!("{}{path}", BASE),
            query: query.to_owned(),
            headers,
            body: Bytes::new(),
        }
    }

    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// An answer of the console, and how the server transmits it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The complete body, even if `transmission` sends only a part of it.
    pub body: Bytes,
    pub transmission: Transmission,
}

/// How an answer is transmitted. The default is at once and completely.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transmission {
    /// Delay before the first byte.
    pub delay: Duration,
    /// The time from the first to the last byte of the body.
    pub body_duration: Duration,
    /// The connection ends after this number of bytes of the body, before the announced length.
    pub truncate_after: Option<usize>,
    /// Whether the connection ends without an answer.
    pub dropped: bool,
    /// Whether the answer is never compressed.
    pub(super) uncompressed: bool,
}

impl Answer {
    pub(super) fn of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, body: body.into(), transmission: Transmission::default() }
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::of(status, "application/json", body.to_string())
    }

    pub(super) fn object(data: Value) -> Self {
        Self::json(StatusCode::OK, &json!({ "data": data, "errors": null }))
    }

    pub(super) fn error(status: StatusCode, code: u32, title: &str, detail: Option<&str>) -> Self {
        Self::json(status, &json!({ "errors": [{ "code": code, "detail": detail, "title": title }] }))
    }

    pub(super) fn invalid(detail: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, 4_000_010, "Validation Error", Some(detail))
    }

    pub(super) fn unauthorized() -> Self {
        Self::error(StatusCode::UNAUTHORIZED, 4_010_010, "Authentication Failed", None)
    }

    pub(super) fn forbidden(detail: Option<&str>) -> Self {
        Self::error(StatusCode::FORBIDDEN, 4_030_010, "Insufficient permissions", detail)
    }

    pub(super) fn not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, 4_040_010, "Requested resource was not found", Some(""))
    }

    /// Returns an answer of the proxy in front of the console, which sends HTML.
    pub(super) fn html(status: StatusCode) -> Self {
        let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
        let body = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        Self::of(status, "text/html", body)
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Compresses the answer if the client accepts gzip and the body is large enough.
    pub(super) fn compressed(mut self, request: &Request) -> Self {
        let accepts_gzip = request
            .header(ACCEPT_ENCODING)
            .is_some_and(|accepted| accepted.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip")));
        if !accepts_gzip || self.transmission.uncompressed || self.body.len() < 1024 {
            return self;
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(self.body.len() / 4), Compression::fast());
        if let Ok(body) = encoder.write_all(&self.body).and_then(|()| encoder.finish()) {
            if let Some(length) = &mut self.transmission.truncate_after {
                // Truncate the same fraction of the compressed body.
                *length = *length * body.len() / self.body.len();
            }
            self.body = Bytes::from(body);
            self = self.with(CONTENT_ENCODING, "gzip");
        }
        self
    }
}
