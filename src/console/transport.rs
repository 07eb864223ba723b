//! How requests reach a console: over HTTP, or straight into an emulator.

use std::fmt::Debug;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};

/// What is read of an answer that is a refusal.
const REFUSAL_BYTES: usize = 64 * 1024;

/// One request to a console.
#[derive(Debug)]
pub struct Request {
    /// Scheme, authority, path and query.
    pub url: String,
    /// The API token.
    pub token: SecretString,
    /// JSON body: the request is a POST; without one it is a GET.
    pub body: Option<Vec<u8>>,
    /// Longest time for the whole exchange.
    pub timeout: Duration,
    /// Largest body that is read, after decompression.
    pub max_bytes: usize,
}

/// A console's answer, its body read and decompressed.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// No usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection: name, route, TLS.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The time-out passed.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// The connection ended in the middle of the answer.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// The body is larger than the request allows.
    #[error("{0}")]
    TooLarge(Cut),
}

/// What is kept of an answer that is larger than it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is larger than {max_bytes} bytes")]
pub struct Cut {
    /// What it might have had.
    pub max_bytes: usize,
    /// Its first 64 KiB, and what of its frame comes before the first record.
    pub beginning: Bytes,
}

impl Cut {
    const KEPT: usize = 65 * 1024;

    /// Keeps the beginning of what was read of an answer that may have had `max_bytes`.
    pub fn of(read: &[u8], max_bytes: usize) -> Self {
        let kept = read.len().min(Self::KEPT).min(max_bytes);
        Self { max_bytes, beginning: Bytes::copy_from_slice(&read[..kept]) }
    }
}

/// Carries requests to consoles.
pub trait Transport: Send + Sync + Debug {
    /// One exchange; dropping the future ends it.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;
}

/// HTTP or HTTPS, through a client that lanes with the same TLS settings share.
#[derive(Debug, Clone)]
pub struct HttpTransport(reqwest::Client);

impl HttpTransport {
    /// `client` must not follow redirects nor decompress.
    pub fn new(client: reqwest::Client) -> Self {
        Self(client)
    }

    async fn exchange(&self, request: Request) -> Result<Response, TransportError> {
        let fail = |error: reqwest::Error| classify(&error, request.timeout);
        let mut authorization = HeaderValue::try_from(format!("ApiToken {}", request.token.expose_secret()))
            .map_err(|_| TransportError::Connect("the token holds what cannot stand in a header".to_owned()))?;
        authorization.set_sensitive(true);
        let mut builder = match request.body {
            Some(body) => self.0.post(&request.url).header(header::CONTENT_TYPE, "application/json").body(body),
            None => self.0.get(&request.url),
        };
        builder = builder
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "gzip")
            .timeout(request.timeout);
        let mut answer = builder.send().await.map_err(fail)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        if status != StatusCode::OK {
            // The status is what counts, and must not be lost over a page of HTML or a connection that breaks.
            let body = beginning(&mut answer, &headers).await;
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

/// What arrives of a refusal's body, as far as it is worth reading.
async fn beginning(answer: &mut reqwest::Response, headers: &HeaderMap) -> Bytes {
    let mut body = Body::new(headers, REFUSAL_BYTES);
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
        TransportError::Connect(innermost(error))
    } else {
        TransportError::Broken(innermost(error))
    }
}

/// The cause at the bottom says what happened; the layers above it repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A body as it arrives: inflated if need be, and never larger than allowed.
enum Body {
    Plain(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
}

impl Body {
    fn new(headers: &HeaderMap, max_bytes: usize) -> Self {
        let capped = Capped { bytes: Vec::new(), max_bytes, over: false };
        let gzip =
            headers.get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
        if gzip { Self::Gzip(Box::new(MultiGzDecoder::new(capped))) } else { Self::Plain(capped) }
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), TransportError> {
        match self {
            Self::Plain(capped) => capped.write_all(chunk).map_err(|error| capped.explain(&error)),
            Self::Gzip(decoder) => decoder.write_all(chunk).map_err(|error| decoder.get_ref().explain(&error)),
        }
    }

    fn finish(self) -> Result<Bytes, TransportError> {
        match self {
            Self::Plain(capped) => Ok(capped.bytes.into()),
            Self::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(decoder.get_ref().explain(&error));
                }
                Ok(std::mem::take(&mut decoder.get_mut().bytes).into())
            }
        }
    }
}

/// A buffer that refuses to grow over its limit.
struct Capped {
    bytes: Vec<u8>,
    max_bytes: usize,
    over: bool,
}

impl Capped {
    fn explain(&self, error: &std::io::Error) -> TransportError {
        if self.over {
            TransportError::TooLarge(Cut::of(&self.bytes, self.max_bytes))
        } else {
            TransportError::Broken(error.to_string())
        }
    }
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max_bytes {
            self.over = true;
            self.bytes.extend_from_slice(&bytes[..self.max_bytes - self.bytes.len()]);
            return Err(std::io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn bodies_are_inflated_and_capped_after_inflation() {
        let plain = vec![b'x'; 10_000];
        assert_eq!(read(false, 10_000, &plain).unwrap(), plain);
        assert_eq!(read(true, 10_000, &gzip(&plain)).unwrap(), plain);
        let cut = TransportError::TooLarge(Cut::of(&plain, 9_999));
        assert_eq!(read(false, 9_999, &plain), Err(cut.clone()));
        assert_eq!(read(true, 9_999, &gzip(&plain)), Err(cut), "a bomb is small on the wire");
    }

    #[test]
    fn a_gzip_body_cut_in_the_middle_is_an_error() {
        let whole = gzip(&vec![b'x'; 10_000]);
        for cut in 1..whole.len() {
            assert!(matches!(read(true, 20_000, &whole[..cut]), Err(TransportError::Broken(_))), "cut at {cut}");
        }
    }
}
