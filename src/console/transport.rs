//! Carries requests to a console: over HTTP, or directly to an emulator in tests.

use std::fmt::{Debug, Display};
use std::time::Duration;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::settings::{ClientError, HttpSettings, RenewableClient, describe_request_error, is_html, is_tls_error};

/// Limit for the body of a status other than 200, in bytes.
const ERROR_BODY_BYTES: usize = 64 * 1024;
/// The maximum of gzip.
const WINDOW_BITS: u8 = 15;
/// Space for the output of one call that decompresses, in bytes.
const INFLATED: usize = 32 * 1024;
/// A body that grows gets so many times its space: it is copied each time.
const GROWTH: usize = 4;

/// One request to a console.
#[derive(Debug)]
pub struct Request {
    /// With query.
    pub url: Url,
    pub token: SecretString,
    /// JSON. With a body the request is a POST, else a GET.
    pub body: Option<Vec<u8>>,
    /// For the whole exchange.
    pub timeout: Duration,
    /// Limit for the body, after decompression.
    pub max_bytes: usize,
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Decompressed.
    pub body: Bytes,
}

/// No complete response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Name resolution, route or TLS failed.
    #[error("{0}")]
    Connect(String),
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// The connection ended within the response.
    #[error("{0}")]
    Broken(String),
    #[error("{0}")]
    TooLarge(TruncatedBody),
}

/// The beginning of a body that exceeds the request's limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is larger than {max_bytes} bytes")]
pub struct TruncatedBody {
    pub max_bytes: usize,
    /// At most 65 KiB: enough for a record of 64 KiB and the JSON before it.
    pub beginning: Bytes,
}

impl TruncatedBody {
    const MAX_KEPT: usize = 65 * 1024;

    /// Keeps the beginning of `body`, the part that was read before the limit was exceeded.
    pub fn of(body: &[u8], max_bytes: usize) -> Self {
        let kept = body.len().min(Self::MAX_KEPT).min(max_bytes);
        Self { max_bytes, beginning: Bytes::copy_from_slice(&body[..kept]) }
    }
}

pub trait Transport: Send + Sync + Debug {
    /// Sends one request and reads the response. Dropping the future cancels the exchange.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;
}

/// Over HTTP or HTTPS. Lanes with the same TLS settings share a client.
#[derive(Debug)]
pub struct HttpTransport(RenewableClient);

impl HttpTransport {
    /// # Errors
    /// If a file of `tls:` cannot be read or is invalid.
    pub fn new(settings: HttpSettings) -> Result<Self, ClientError> {
        RenewableClient::new(settings).map(Self)
    }

    async fn exchange(&self, request: Request) -> Result<Response, TransportError> {
        let fail = |error: reqwest::Error| {
            if error.is_connect() || is_tls_error(&error) {
                self.0.renew();
            }
            classify(&error, request.timeout)
        };
        let mut authorization = HeaderValue::try_from(format!("ApiToken {}", request.token.expose_secret()))
            .map_err(|_| TransportError::Connect("the token has characters that a header cannot contain".to_owned()))?;
        authorization.set_sensitive(true);
        // A resolver does not see an address in place of a name.
        self.0.settings().may_reach(&request.url).map_err(|error| TransportError::Connect(error.to_string()))?;
        let client = self.0.get();
        let mut builder = match request.body {
            Some(body) => client.post(request.url).header(header::CONTENT_TYPE, "application/json").body(body),
            None => client.get(request.url),
        };
        builder = builder
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "gzip")
            .timeout(request.timeout);
        let mut answer = builder.send().await.map_err(fail)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        if status != StatusCode::OK {
            // The status must not be lost if the body is too large or the connection breaks.
            let body = error_body(&mut answer, &headers).await;
            if status.is_client_error() && is_html(&body) {
                self.0.renew();
            }
            return Ok(Response { status, headers, body });
        }
        let mut body = Body::new(&headers, request.max_bytes);
        while let Some(chunk) = answer.chunk().await.map_err(fail)? {
            body.push(&chunk)?;
        }
        Ok(Response { status, headers, body: body.finish()? })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.exchange(request))
    }
}

/// The body of a status other than 200; empty if it is too large.
async fn error_body(answer: &mut reqwest::Response, headers: &HeaderMap) -> Bytes {
    let mut body = Body::new(headers, ERROR_BODY_BYTES);
    while let Ok(Some(chunk)) = answer.chunk().await {
        if body.push(&chunk).is_err() {
            return Bytes::new();
        }
    }
    body.finish().unwrap_or_default()
}

fn classify(error: &reqwest::Error, timeout: Duration) -> TransportError {
    if error.is_timeout() {
        TransportError::Timeout(timeout)
    } else if error.is_connect() {
        TransportError::Connect(describe_request_error(error))
    } else {
        TransportError::Broken(describe_request_error(error))
    }
}

/// A body while it arrives: decompressed if needed, and limited in size.
struct Body {
    bytes: Vec<u8>,
    /// Without the space for more at the end of `bytes`.
    length: usize,
    max_bytes: usize,
    /// Of a body with gzip.
    inflater: Option<Inflater>,
}

struct Inflater {
    stream: Decompress,
    /// The gzip member is at its end; another one may follow it.
    is_at_end: bool,
}

impl Body {
    fn new(headers: &HeaderMap, max_bytes: usize) -> Self {
        let gzip =
            headers.get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let inflater = gzip.then(|| Inflater { stream: Decompress::new_gzip(WINDOW_BITS), is_at_end: false });
        Self { bytes: Vec::new(), length: 0, max_bytes, inflater }
    }

    fn push(&mut self, mut chunk: &[u8]) -> Result<(), TransportError> {
        let Some(Inflater { stream, is_at_end }) = &mut self.inflater else {
            self.bytes.extend_from_slice(chunk);
            self.length = self.bytes.len();
            return check(&self.bytes, self.max_bytes);
        };
        while !chunk.is_empty() {
            if *is_at_end {
                *stream = Decompress::new_gzip(WINDOW_BITS);
            }
            if self.length == self.bytes.len() {
                // One byte more than the limit shows that it is exceeded.
                let most = self.max_bytes.saturating_add(1);
                let wanted = most.min(self.length.saturating_add(INFLATED));
                if wanted > self.bytes.capacity() {
                    let space = most.min(wanted.saturating_mul(GROWTH));
                    self.bytes.reserve_exact(space - self.length);
                }
                self.bytes.resize(wanted, 0);
            }
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status =
                stream.decompress(chunk, &mut self.bytes[self.length..], FlushDecompress::None).map_err(broken_off)?;
            let (read, written) = (stream.total_in() - before_in, stream.total_out() - before_out);
            *is_at_end = status == Status::StreamEnd;
            if read == 0 && written == 0 && !*is_at_end {
                return Err(broken_off("its compressed data leads nowhere"));
            }
            chunk = &chunk[read as usize..];
            self.length += written as usize;
            check(&self.bytes[..self.length], self.max_bytes)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Bytes, TransportError> {
        if let Some(Inflater { is_at_end: false, .. }) = self.inflater {
            return Err(broken_off("unexpected end of file"));
        }
        self.bytes.truncate(self.length);
        Ok(self.bytes.into())
    }
}

fn check(bytes: &[u8], max_bytes: usize) -> Result<(), TransportError> {
    if bytes.len() <= max_bytes { Ok(()) } else { Err(TransportError::TooLarge(TruncatedBody::of(bytes, max_bytes))) }
}

fn broken_off(reason: impl Display) -> TransportError {
    TransportError::Broken(format!("the answer broke off: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn read(gzipped: bool, max_bytes: usize, sent: &[u8]) -> Result<Bytes, TransportError> {
        let mut headers = HeaderMap::new();
        if gzipped {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut body = Body::new(&headers, max_bytes);
        sent.chunks(7).try_for_each(|chunk| body.push(chunk))?;
        body.finish()
    }

    #[tokio::test]
    async fn a_tenants_console_is_at_a_public_address() {
        let timeout = Duration::from_secs(5);
        let of = |public_only| HttpSettings {
            tls: crate::settings::Tls::default(),
            proxy: None,
            timeout: crate::settings::Period(timeout),
            public_only,
        };
        for (public_only, expected) in [(true, "is not a public address"), (false, "Connection refused")] {
            let transport = HttpTransport::new(of(public_only)).unwrap();
            let (url, token) = ("http://127.0.0.1:1/web/api".parse().unwrap(), SecretString::from("token"));
            let request = Request { url, token, body: None, timeout, max_bytes: 1 };
            let error = transport.send(request).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_size_limit_applies_after_decompression() {
        let plain = vec![b'x'; 10_000];
        assert_eq!(read(false, 10_000, &plain).unwrap(), plain);
        assert_eq!(read(true, 10_000, &gzip(&plain)).unwrap(), plain);
        let too_large = TransportError::TooLarge(TruncatedBody::of(&plain, 9_999));
        assert_eq!(read(false, 9_999, &plain), Err(too_large.clone()));
        assert_eq!(read(true, 9_999, &gzip(&plain)), Err(too_large), "compressed, the body is below the limit");
    }

    #[test]
    fn gzip_members_may_follow_one_another_and_nothing_else() {
        let (one, other) = (gzip(&vec![b'x'; 100_000]), gzip(b"yz"));
        let both = read(true, 100_002, &[&*one, &*other].concat()).unwrap();
        assert_eq!((both.len(), &both[99_998..]), (100_002, &b"xxyz"[..]));
        assert!(matches!(read(true, 200_000, &[&*one, b"no gzip member"].concat()), Err(TransportError::Broken(_))));
        assert!(matches!(read(true, 200_000, b""), Err(TransportError::Broken(_))));
    }

    /// Each of these is read to its end, as a body or as an error.
    #[test]
    fn an_altered_gzip_body_never_keeps_the_reader() {
        let mut random = fastrand::Rng::with_seed(11);
        let whole = gzip(&(0..3_000).map(|_| random.alphanumeric() as u8).collect::<Vec<_>>());
        for _ in 0..2_000 {
            let mut altered = whole.clone();
            (0..random.usize(1..4)).for_each(|_| altered[random.usize(..whole.len())] = random.u8(..));
            if let Ok(body) = read(true, 100_000, &altered) {
                assert!(body.len() <= 100_000);
            }
        }
    }

    #[test]
    fn a_truncated_gzip_body_is_an_error() {
        let whole = gzip(&vec![b'x'; 10_000]);
        for length in 1..whole.len() {
            assert!(matches!(read(true, 20_000, &whole[..length]), Err(TransportError::Broken(_))), "{length} bytes");
        }
    }
}
