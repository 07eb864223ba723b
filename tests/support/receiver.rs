//! A receiver of JSON over HTTP as its operator would run it: it checks framing, sizes, encoding and credentials for
//! real, keeps a ledger of what it took, and misbehaves where a test tells it to.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::ledger::Ledger;

/// What the receiver does with one request instead of the right thing.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers so and takes nothing.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: &'static str },
    /// Takes the events and answers so.
    TakeAndAnswer { status: u16, body: &'static str },
    /// Takes the events and closes the connection without an answer.
    TakeAndReset,
    /// Closes the connection before the body is read.
    Reset,
    /// Takes the events and never answers.
    TakeAndHang,
    /// Answers 413 before it reads the body, and closes.
    EarlyTooLarge,
    /// Takes the events; the answer's body breaks off in the middle.
    TakeAndCutAnswer,
    /// Repeats the credentials it got in a refusal with this status, as some proxies do.
    EchoCredentials(u16),
    /// Takes the events and answers after a while.
    Slow(Duration),
    /// Takes the events after a while, if the sender is there still.
    Late(Duration),
}

/// What the receiver insists on.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Values of `Authorization` that are good; any when empty.
    pub authorization: BTreeSet<String>,
    /// A header that must have this value.
    pub header: Option<(&'static str, String)>,
    /// The key of a signature in this header.
    pub signature: Option<(Signed, &'static [u8])>,
    /// Most bytes of a request on the wire.
    pub wire_bytes: Option<usize>,
    /// Most bytes of a request decompressed.
    pub plain_bytes: Option<usize>,
    /// Most bytes of an event.
    pub event_bytes: Option<usize>,
    /// Does not remember bodies: for tests with more events than fit into memory.
    pub forgets_bodies: bool,
    /// What the receiver is, when it is not just any receiver of JSON.
    pub contract: Option<Contract>,
}

/// How one kind of destination reads a request.
#[derive(Debug, Clone, Copy)]
pub struct Contract {
    /// The events of a decompressed body that are taken, and the refusal where not all are.
    pub read: fn(&Seen, &[u8]) -> Taken,
    /// Status and body when all are taken.
    pub taken: (u16, &'static str),
}

/// Which signature is expected, and over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    StandardWebhooks,
    GithubOverPlain,
    GithubOverWire,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub wire_bytes: usize,
    /// The body, decompressed.
    pub body: String,
    pub status: u16,
}

impl Seen {
    /// A header's text, "" where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Default)]
struct Inner {
    rules: Mutex<Rules>,
    faults: Mutex<VecDeque<Fault>>,
    moods: Mutex<Moods>,
    seen: Mutex<Vec<Seen>>,
    ledger: Ledger,
}

/// Faults that happen by chance, decided by a seed.
#[derive(Default)]
struct Moods {
    random: fastrand::Rng,
    faults: Vec<(f64, Fault)>,
}

impl Moods {
    fn strike(&mut self) -> Option<Fault> {
        let Self { random, faults } = self;
        faults.iter().find(|(chance, _)| random.f64() < *chance).map(|(_, fault)| fault.clone())
    }
}

/// A running receiver; it ends when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Listens on a free port of this machine.
    pub async fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner { rules: Mutex::new(rules), ..Inner::default() });
        let app = axum::Router::new().fallback(receive).with_state(inner.clone());
        let service = app.into_make_service_with_connect_info::<Connection>();
        let task = tokio::spawn(async move { axum::serve(Breakable(listener), service).await.unwrap() });
        Self { address, inner, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address without a path.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address with a path.
    pub fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    /// What happens to the next requests, one each.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inner.faults.lock().unwrap().extend(faults);
    }

    /// What happens from now on to requests that nothing was scripted for, each with its chance; nothing when empty.
    pub fn misbehave(&self, seed: u64, faults: Vec<(f64, Fault)>) {
        *self.inner.moods.lock().unwrap() = Moods { random: fastrand::Rng::with_seed(seed), faults };
    }

    /// Changes the rules.
    pub fn rule(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.inner.rules.lock().unwrap());
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// What it took.
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }
}

async fn receive(
    State(inner): State<Arc<Inner>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let scripted = inner.faults.lock().unwrap().pop_front();
    let fault = scripted.or_else(|| inner.moods.lock().unwrap().strike());
    let (parts, body) = request.into_parts();
    let mut seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        wire_bytes: 0,
        body: String::new(),
        status: 0,
    };
    match fault {
        Some(Fault::EarlyTooLarge) => {
            seen.status = 413;
            inner.seen.lock().unwrap().push(seen);
            return answer(413, &[("connection", "close".to_owned())], "");
        }
        Some(Fault::Reset) => {
            inner.seen.lock().unwrap().push(seen);
            connection.0.store(true, Ordering::SeqCst);
            return answer(500, &[], "");
        }
        _ => {}
    }
    if let Some(Fault::Late(pause)) = fault {
        tokio::time::sleep(pause).await;
    }
    let wire = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    seen.wire_bytes = wire.len();
    let rules = inner.rules.lock().unwrap().clone();
    let (events, taken) = match check(&mut seen, &wire, &rules) {
        Ok(taken) => taken,
        Err(refusal) => (Vec::new(), Err(refusal)),
    };
    let mut take = |status: u16| {
        seen.status = status;
        events.iter().for_each(|event| inner.ledger.enter(event));
        if rules.forgets_bodies {
            seen.body.clear();
        }
        inner.seen.lock().unwrap().push(seen.clone());
    };
    let unanswered = || events.iter().for_each(|event| inner.ledger.leave_unanswered(event));
    match fault {
        None | Some(Fault::EarlyTooLarge | Fault::Reset | Fault::Slow(_) | Fault::Late(_)) => match &taken {
            Ok(()) => {
                let (status, body) = rules.contract.map_or((200, "{}"), |contract| contract.taken);
                take(status);
                if let Some(Fault::Slow(pause)) = fault {
                    tokio::time::sleep(pause).await;
                }
                answer(status, &[], body)
            }
            Err((status, reason)) => {
                take(*status);
                answer(*status, &[], reason)
            }
        },
        Some(Fault::Answer { status, headers, body }) => {
            seen.status = status;
            inner.seen.lock().unwrap().push(seen);
            answer(status, &headers, body)
        }
        Some(Fault::TakeAndAnswer { status, body }) => {
            take(status);
            if status >= 300 {
                unanswered();
            }
            answer(status, &[], body)
        }
        Some(Fault::TakeAndReset) => {
            take(0);
            unanswered();
            connection.0.store(true, Ordering::SeqCst);
            answer(200, &[], "")
        }
        Some(Fault::TakeAndHang) => {
            take(0);
            unanswered();
            std::future::pending().await
        }
        Some(Fault::TakeAndCutAnswer) => {
            take(200);
            unanswered();
            let chunks = [Ok(Bytes::from_static(b"{\"half\":")), Err(io::Error::other("cut"))];
            Response::new(Body::from_stream(futures_util::stream::iter(chunks)))
        }
        Some(Fault::EchoCredentials(status)) => {
            seen.status = status;
            let sent = ["authorization", "x-key", "proxy-authorization"].map(|name| seen.header(name)).join(" ");
            let echo = format!("you sent {sent}{}", decoded(seen.header("authorization")));
            inner.seen.lock().unwrap().push(seen);
            answer(status, &[], &echo)
        }
    }
}

/// User and password, as a server sees them that is too talkative.
fn decoded(authorization: &str) -> String {
    let basic = authorization.strip_prefix("Basic ").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    basic.map(|basic| format!(", that is {}", String::from_utf8_lossy(&basic))).unwrap_or_default()
}

pub fn answer(status: u16, headers: &[(&'static str, String)], body: &str) -> Response {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    response
}

pub type Refusal = (u16, &'static str);
/// The events that are taken, and the refusal where those are not all.
pub type Taken = (Vec<Value>, Result<(), Refusal>);

/// Everything a strict receiver looks at, in the order in which it does.
fn check(seen: &mut Seen, wire: &[u8], rules: &Rules) -> Result<Taken, Refusal> {
    if !rules.authorization.is_empty() && !rules.authorization.contains(seen.header("authorization")) {
        return Err((401, "bad credentials"));
    }
    if let Some((name, value)) = &rules.header
        && seen.header(name) != value
    {
        return Err((403, "bad header"));
    }
    if seen.method != "POST" {
        return Err((405, "POST only"));
    }
    if rules.wire_bytes.is_some_and(|limit| wire.len() > limit) {
        return Err((413, "too many bytes"));
    }
    // One byte more than allowed is enough to refuse what would inflate without end.
    let limit = rules.plain_bytes.unwrap_or(256 << 20) as u64 + 1;
    let mut plain = Vec::new();
    let read = match seen.header("content-encoding") {
        "" => wire.take(limit).read_to_end(&mut plain),
        "gzip" => flate2::read::MultiGzDecoder::new(wire).take(limit).read_to_end(&mut plain),
        "zstd" => zstd::stream::read::Decoder::new(wire).unwrap().take(limit).read_to_end(&mut plain),
        _ => return Err((415, "unknown encoding")),
    };
    read.map_err(|_| (400, "damaged encoding"))?;
    if plain.len() as u64 >= limit {
        return Err((413, "too many bytes decompressed"));
    }
    if let Some((signed, key)) = rules.signature {
        check_signature(seen, signed, key, wire, &plain)?;
    }
    if let Some(contract) = rules.contract {
        seen.body = String::from_utf8_lossy(&plain).into_owned();
        return Ok((contract.read)(seen, &plain));
    }
    seen.body = String::from_utf8(plain).map_err(|_| (400, "not UTF-8"))?;
    let events = match seen.header("content-type") {
        "application/x-ndjson" => lines(&seen.body)?,
        "application/json" => serde_json::from_str(&seen.body).map_err(|_| (400, "not a JSON array"))?,
        _ => return Err((415, "unknown type")),
    };
    if events.is_empty() {
        return Err((406, "empty"));
    }
    if rules.event_bytes.is_some_and(|limit| events.iter().any(|event| event.to_string().len() > limit)) {
        return Err((400, "an event is too long"));
    }
    Ok((events, Ok(())))
}

fn lines(body: &str) -> Result<Vec<Value>, Refusal> {
    if !body.ends_with('\n') {
        return Err((400, "the last line does not end"));
    }
    body.lines().map(|line| serde_json::from_str(line).map_err(|_| (400, "a line is no JSON"))).collect()
}

fn check_signature(seen: &Seen, signed: Signed, key: &[u8], wire: &[u8], plain: &[u8]) -> Result<(), Refusal> {
    let expected = match signed {
        Signed::StandardWebhooks => {
            let (id, timestamp) = (seen.header("webhook-id"), seen.header("webhook-timestamp"));
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let sent: u64 = timestamp.parse().map_err(|_| (401, "no timestamp"))?;
            if now.abs_diff(sent) > 300 || id.is_empty() {
                return Err((401, "too old"));
            }
            let text = [id.as_bytes(), b".", timestamp.as_bytes(), b".", plain].concat();
            ("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(hmac_sha256(key, &text))))
        }
        Signed::GithubOverPlain => ("x-hub-signature-256", format!("sha256={}", hex(&hmac_sha256(key, plain)))),
        Signed::GithubOverWire => ("x-hub-signature-256", format!("sha256={}", hex(&hmac_sha256(key, wire)))),
    };
    if seen.header(expected.0) == expected.1 { Ok(()) } else { Err((401, "bad signature")) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2104 by hand, so that it does not agree with the program by being the same code.
pub fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    block.resize(64, 0);
    let pad = |with: u8| -> Vec<u8> { block.iter().map(|byte| byte ^ with).collect() };
    let inner = Sha256::digest([pad(0x36).as_slice(), text].concat());
    Sha256::digest([pad(0x5c).as_slice(), &inner].concat()).to_vec()
}

/// Set to break the connection that a request came on.
#[derive(Clone)]
pub struct Connection(pub Arc<AtomicBool>);

impl Connected<IncomingStream<'_, Breakable>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Breakable>) -> Self {
        Self(stream.io().broken.clone())
    }
}

/// A listener whose connections can be broken from within a handler.
pub struct Breakable(pub TcpListener);

pub struct BreakableStream {
    stream: TcpStream,
    broken: Arc<AtomicBool>,
}

impl Listener for Breakable {
    type Io = BreakableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = self.0.accept().await.unwrap();
        (BreakableStream { stream, broken: Arc::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl BreakableStream {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::SeqCst) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for BreakableStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for BreakableStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
