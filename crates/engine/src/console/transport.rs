//! Carries requests to a console: over HTTP, or directly to an emulator in tests.

use std::fmt::{Debug, Display};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use s1_forwarder_settings::{
    ClientError, HttpSettings, Period, RenewableClient, RequestWay, describe_proxy_refusal, describe_request_error,
    is_closed_by_plan, is_html, is_lost_before_answer, is_tls_error,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Limit for the body of a status other than 200, in bytes.
const ERROR_BODY_BYTES: usize = 64 * 1024;
/// Size of the window in bits, the maximum of gzip.
const WINDOW_BITS: u8 = 15;
/// Most bytes to which deflate expands a byte.
const MAX_INFLATED: usize = 1_032;

/// One request to a console.
#[derive(Debug)]
pub struct Request {
    /// URL with its query.
    pub url: Url,
    pub token: SecretString,
    /// JSON body. With a body the request is a POST, without one a GET.
    pub body: Option<Vec<u8>>,
    /// Timeout of the whole exchange.
    pub timeout: Duration,
    /// Limit for the body, after decompression.
    pub max_bytes: usize,
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Decompressed body.
    pub body: Bytes,
}

/// Failure of a request that got no complete response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Name resolution, route, proxy or TLS failed.
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Timeout(String),
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
    /// The header `Date` of the answer.
    pub date: Option<HeaderValue>,
}

impl TruncatedBody {
    const MAX_KEPT: usize = 65 * 1024;

    /// Keeps the beginning of `body`, the part that was read before the limit was exceeded.
    pub fn of(body: &[u8], max_bytes: usize) -> Self {
        let kept = body.len().min(Self::MAX_KEPT).min(max_bytes);
        Self { max_bytes, beginning: Bytes::copy_from_slice(&body[..kept]), date: None }
    }

    /// Takes the date from these headers of the answer.
    #[must_use]
    pub fn with_headers(self, headers: &HeaderMap) -> Self {
        Self { date: headers.get(header::DATE).cloned(), ..self }
    }
}

pub trait Transport: Send + Sync + Debug {
    /// Sends one request and reads the response, within the request's timeout. Dropping the future cancels the
    /// exchange.
    ///
    /// # Errors
    /// If no complete response arrived within the timeout, or its body is larger than the request allows.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;
}

/// Awaits `exchange` within the request's timeout, for transports that have no timeout.
///
/// # Errors
/// If `exchange` fails, or takes too long.
pub async fn within(
    timeout: Duration,
    exchange: impl Future<Output = Result<Response, TransportError>>,
) -> Result<Response, TransportError> {
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or_else(|_| Err(TransportError::Timeout(format!("no complete answer within {}", Period(timeout)))))
}

/// Transport over HTTP or HTTPS. Lanes with the same TLS settings share a client.
#[derive(Debug)]
pub struct HttpTransport {
    client: RenewableClient,
    /// Whether the console has answered, so that a connection may be one that it has closed meanwhile.
    has_answered: AtomicBool,
}

impl HttpTransport {
    /// Creates the transport.
    ///
    /// # Errors
    /// If a file of `tls:` cannot be read or is invalid.
    pub fn new(settings: HttpSettings) -> Result<Self, ClientError> {
        Ok(Self { client: RenewableClient::new(settings)?, has_answered: AtomicBool::new(false) })
    }

    async fn exchange(&self, request: Request) -> Result<Response, TransportError> {
        let way = RequestWay { timeout: request.timeout, ..self.client.settings().way() };
        let fail = |error: reqwest::Error| {
            if error.is_connect() || is_tls_error(&error) {
                self.client.renew();
            }
            classify(&error, &way)
        };
        let mut authorization = HeaderValue::try_from(format!("ApiToken {}", request.token.expose_secret()))
            .map_err(|_| TransportError::Connect("the token has characters that a header cannot contain".to_owned()))?;
        authorization.set_sensitive(true);
        // A resolver does not see an address that is in place of a name.
        self.client.settings().may_reach(&request.url).map_err(|error| TransportError::Connect(error.to_string()))?;
        let json = HeaderValue::from_static("application/json");
        let timeout = request.timeout;
        let method = if request.body.is_some() { Method::POST } else { Method::GET };
        let mut asked = reqwest::Request::new(method, request.url);
        let headers = asked.headers_mut();
        headers.insert(header::AUTHORIZATION, authorization);
        headers.insert(header::ACCEPT, json.clone());
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(body) = request.body {
            headers.insert(header::CONTENT_TYPE, json);
            *asked.body_mut() = Some(body.into());
        }
        // The client applies its own timeout to a request without one.
        if timeout != self.client.settings().timeout.0 {
            *asked.timeout_mut() = Some(timeout);
        }
        // All requests only read. A server may close an idle connection without a word, just when it is used again.
        let again = if self.has_answered.load(Ordering::Relaxed) { asked.try_clone() } else { None };
        let mut answer = match (self.client.get().execute(asked).await, again) {
            (Err(error), Some(again)) if is_lost_before_answer(&error) || is_closed_by_plan(&error) => {
                self.client.get().execute(again).await
            }
            (answer, _) => answer,
        }
        .map_err(fail)?;
        self.has_answered.store(true, Ordering::Relaxed);
        let status = answer.status();
        let headers = std::mem::take(answer.headers_mut());
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(TransportError::Connect(describe_proxy_refusal(answer.url(), &way)));
        }
        if status != StatusCode::OK {
            // The status must not be lost if the body is too large or the connection breaks.
            let body = error_body(&mut answer, &headers).await;
            if status.is_client_error() && is_html(&body) {
                self.client.renew();
            }
            return Ok(Response { status, headers, body });
        }
        let mut body = Body::new(&headers, request.max_bytes);
        let unread = |error| match error {
            TransportError::TooLarge(body) => TransportError::TooLarge(body.with_headers(&headers)),
            other => other,
        };
        while let Some(chunk) = answer.chunk().await.map_err(fail)? {
            body.push(&chunk).map_err(unread)?;
        }
        let body = body.finish().map_err(unread)?;
        Ok(Response { status, headers, body })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.exchange(request))
    }
}

/// Reads the body of a status other than 200; empty if it is too large.
async fn error_body(answer: &mut reqwest::Response, headers: &HeaderMap) -> Bytes {
    let mut body = Body::new(headers, ERROR_BODY_BYTES);
    while let Ok(Some(chunk)) = answer.chunk().await {
        if body.push(&chunk).is_err() {
            return Bytes::new();
        }
    }
    body.finish().unwrap_or_default()
}

fn classify(error: &reqwest::Error, way: &RequestWay<'_>) -> TransportError {
    let reason = describe_request_error(error, way).to_string();
    if error.is_connect() {
        TransportError::Connect(reason)
    } else if error.is_timeout() {
        TransportError::Timeout(reason)
    } else {
        TransportError::Broken(reason)
    }
}

/// A body while it arrives, limited in size.
struct Body {
    /// Bytes read so far, compressed if the body is gzip.
    bytes: Vec<u8>,
    is_gzip: bool,
    /// Limit for the body after decompression.
    max_bytes: usize,
}

impl Body {
    fn new(headers: &HeaderMap, max_bytes: usize) -> Self {
        let is_gzip =
            headers.get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { bytes: Vec::with_capacity(max_bytes.min(length.unwrap_or(0))), is_gzip, max_bytes }
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), TransportError> {
        self.bytes.extend_from_slice(chunk);
        if !self.is_gzip {
            return check(&self.bytes, self.max_bytes);
        }
        // Data that cannot be compressed takes up to nine bits a byte, and the member's frame.
        let most = self.max_bytes.saturating_add(self.max_bytes / 8).saturating_add(64);
        if self.bytes.len() <= most {
            return Ok(());
        }
        inflate(&self.bytes, self.max_bytes).and_then(|_| Err(broken_off("its compressed data leads nowhere")))
    }

    fn finish(self) -> Result<Bytes, TransportError> {
        let plain = if self.is_gzip { inflate(&self.bytes, self.max_bytes)? } else { self.bytes };
        Ok(plain.into())
    }
}

/// Decompresses a body as a whole: in pieces, each call would copy the last 32 KiB for the next one.
fn inflate(mut gzip: &[u8], max_bytes: usize) -> Result<Vec<u8>, TransportError> {
    // One byte more than the limit shows that it is exceeded.
    let most = max_bytes.saturating_add(1);
    // The last four bytes are the length of the last member. A body whose member has another length is refused, so that
    // no page has more space than twice its bytes.
    let said = gzip.last_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    let mut bytes = vec![0; said.min(gzip.len().saturating_mul(MAX_INFLATED)).clamp(1, most)];
    let mut length = 0;
    let mut member = Decompress::new_gzip(WINDOW_BITS);
    loop {
        let before_in = member.total_in();
        let before_out = member.total_out();
        let status = member.decompress(gzip, &mut bytes[length..], FlushDecompress::Finish).map_err(broken_off)?;
        gzip = &gzip[(member.total_in() - before_in) as usize..];
        length += (member.total_out() - before_out) as usize;
        check(&bytes[..length], max_bytes)?;
        match status {
            Status::StreamEnd if gzip.is_empty() => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            // Another member follows.
            Status::StreamEnd => member = Decompress::new_gzip(WINDOW_BITS),
            _ if length < bytes.len() => return Err(broken_off("unexpected end of file")),
            _ => {}
        }
        if length == bytes.len() {
            bytes.resize(length.saturating_mul(2).min(most), 0);
        }
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use s1_forwarder_settings::{AddressPolicy, PrivateDestinations, Tls};

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

    fn transport(timeout: Duration, address_policy: AddressPolicy) -> HttpTransport {
        let tls = Tls::default();
        let timeout = Period(timeout);
        HttpTransport::new(HttpSettings { tls, proxy: None, timeout, address_policy }).unwrap()
    }

    #[tokio::test]
    async fn a_tenants_console_is_at_a_public_address() {
        let timeout = Duration::from_secs(5);
        let tenants = AddressPolicy::Tenant { private: PrivateDestinations::default(), is_operators_proxy: false };
        for (address_policy, expected) in
            [(tenants, "is not a public address"), (AddressPolicy::Everywhere, "Connection refused")]
        {
            let transport = transport(timeout, address_policy);
            let url = "http://127.0.0.1:1/web/api".parse().unwrap();
            let token = SecretString::from("token");
            let request = Request { url, token, body: None, timeout, max_bytes: 1 };
            let error = transport.send(request).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn a_request_has_its_own_timeout_until_the_end_of_the_body() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", server.local_addr().unwrap()).parse().unwrap();
        // Half of a body, and then nothing.
        let serving = tokio::spawn(async move {
            let mut connections = Vec::new();
            loop {
                let (mut connection, _) = server.accept().await.unwrap();
                assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await.unwrap();
                connections.push(connection);
            }
        });
        let short = Duration::from_millis(200);
        let long = Duration::from_secs(30);
        for (of_client, of_request) in [(long, short), (short, long)] {
            let transport = transport(of_client, AddressPolicy::Everywhere);
            let token = SecretString::from("token");
            let request = Request { url: url.clone(), token, body: None, timeout: of_request, max_bytes: 8 };
            let answer = tokio::time::timeout(5 * short, transport.send(request)).await.ok();
            match answer.map(Result::unwrap_err) {
                Some(TransportError::Timeout(reason)) => {
                    assert!(of_request == short && reason.starts_with("no complete answer within 200ms"), "{reason}");
                }
                other => assert!(of_request == long && other.is_none(), "{other:?}"),
            }
        }
        serving.abort();
    }

    /// The server answers the first request of each connection, and closes the connection when the second one comes.
    #[tokio::test]
    async fn a_connection_that_was_closed_while_it_was_idle_fails_no_request() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", server.local_addr().unwrap()).parse().unwrap();
        let serving = tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((mut connection, _)) = server.accept().await {
                connections += 1;
                tokio::spawn(async move {
                    assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
                    // From the fourth connection on, nothing is answered at all.
                    if connections < 4 {
                        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                        let _ = connection.read(&mut [0; 1024]).await;
                    }
                });
            }
        });
        let timeout = Duration::from_secs(30);
        let transport = transport(timeout, AddressPolicy::Everywhere);
        let request =
            || Request { url: url.clone(), token: SecretString::from("token"), body: None, timeout, max_bytes: 8 };
        for _ in 0..3 {
            assert_eq!(transport.send(request()).await.unwrap().body, "{}");
        }
        let error = transport.send(request()).await.unwrap_err();
        assert!(matches!(error, TransportError::Broken(_) | TransportError::Connect(_)), "{error:?}");
        serving.abort();
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
    fn a_body_that_claims_another_length_is_read_to_its_end() {
        let plain = vec![b'x'; 300_000];
        for claimed in [0_u32, 1, 299_999, 300_001, u32::MAX] {
            let mut sent = gzip(&plain);
            let length = sent.len() - 4;
            sent[length..].copy_from_slice(&claimed.to_le_bytes());
            // The length is wrong, which a reader of gzip reports once it has read everything.
            let broken = read(true, 300_000, &sent).unwrap_err().to_string();
            assert!(broken.contains("incorrect length check"), "{claimed}: {broken}");
        }
        // The last of two members is the shorter one by far, or the longer one.
        for (first, last) in [(1, 300_000), (300_000, 1)] {
            let both = [gzip(&plain[..first]), gzip(&plain[..last])].concat();
            let read = inflate(&both, 300_001).unwrap();
            assert_eq!(read, vec![b'x'; first + last]);
            assert!(read.capacity() <= 2 * read.len(), "{}", read.capacity());
        }
        // Many members are empty.
        let empty = gzip(b"").repeat(1_000);
        assert!(matches!(read(true, 1_000, &empty), Err(TransportError::Broken(_))));
    }

    #[test]
    fn what_cannot_be_compressed_may_fill_the_limit() {
        let mut random = fastrand::Rng::with_seed(3);
        let plain: Vec<u8> = (0..100_000).map(|_| random.u8(..)).collect();
        let sent = gzip(&plain);
        assert!(sent.len() > plain.len());
        assert_eq!(read(true, 100_000, &sent).unwrap(), plain);
        let too_large = TransportError::TooLarge(TruncatedBody::of(&plain, 50_000));
        assert_eq!(read(true, 50_000, &sent), Err(too_large), "before all of it has arrived");
    }

    #[test]
    fn gzip_members_may_follow_one_another_and_nothing_else() {
        let one = gzip(&vec![b'x'; 100_000]);
        let other = gzip(b"yz");
        let both = read(true, 100_002, &[&*one, &*other].concat()).unwrap();
        assert_eq!((both.len(), &both[99_998..]), (100_002, &b"xxyz"[..]));
        assert!(matches!(read(true, 200_000, &[&*one, b"no gzip member"].concat()), Err(TransportError::Broken(_))));
        assert!(matches!(read(true, 200_000, b""), Err(TransportError::Broken(_))));
    }

    /// Each altered body is read to its end, as a body or as an error.
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
