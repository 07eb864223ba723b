//! The HTTP server behind the doubles of all destinations. It decompresses and records requests, counts accepted
//! events, and misbehaves where a test says so. What a destination demands and answers is its [`Contract`].

use std::borrow::Cow;
use std::collections::VecDeque;
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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::ledger::Ledger;
use super::spelling::Spelling;

/// A request that arrived.
#[derive(Debug, Clone, Default)]
pub struct Received {
    pub method: String,
    /// The path, without the query.
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub wire_bytes: usize,
    /// The body as it was sent.
    pub wire: Bytes,
    /// The decompressed body.
    pub bytes: Vec<u8>,
    /// The decompressed body as text.
    pub body: String,
    /// The status of the response; 0 where there was none.
    pub status: u16,
}

impl Received {
    /// A header's text, "" where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.bytes).ok()
    }
}

/// A refusal: status and body.
pub type Refusal = (u16, &'static str);

/// The response of a destination, and the events that it accepted with it.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Cow<'static, str>,
    pub accepted: Vec<Value>,
    /// The destination works on the request for this long. [`Contract::finished`] is called afterwards.
    pub work: Option<Duration>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn accepting(mut self, events: Vec<Value>) -> Self {
        self.accepted = events;
        self
    }
}

impl From<Refusal> for Reply {
    fn from((status, body): Refusal) -> Self {
        Self::new(status, body)
    }
}

/// 200 without a body for accepted events.
impl From<Result<Vec<Value>, Refusal>> for Reply {
    fn from(read: Result<Vec<Value>, Refusal>) -> Self {
        read.map_or_else(Self::from, |events| Self::new(200, "").accepting(events))
    }
}

/// How much the server remembers of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Everything,
    /// No bodies and no events, for tests with more events than fit into memory.
    Heads,
    Nothing,
}

/// A destination as its documentation describes it.
pub trait Contract: Send + 'static {
    /// Checks a decompressed request, keeps what it accepts, and responds.
    fn answer(&mut self, request: &Received) -> Reply;

    /// Refuses a request before its body is decompressed.
    fn admit(&mut self, _: &Received) -> Result<(), Reply> {
        Ok(())
    }

    /// The response to a body that cannot be decompressed (400), is too large then (413), or has an unknown encoding
    /// (415).
    fn undecodable(&self, refusal: Refusal) -> Reply {
        refusal.into()
    }

    fn encodings(&self) -> &'static [&'static str] {
        &["gzip"]
    }

    /// Most bytes of a decompressed body.
    fn max_body_bytes(&self) -> usize {
        256 << 20
    }

    /// Whether a request delivers events: faults happen to these alone.
    fn delivers(&self, _: &Received) -> bool {
        true
    }

    fn memory(&self) -> Memory {
        Memory::Everything
    }

    /// The work that a [`Reply`] asked for is done, or its sender is gone.
    fn finished(&mut self) {}
}

/// The fault of one delivery.
#[derive(Debug, Clone)]
pub enum FaultRule {
    /// Responds so and accepts nothing.
    Answer(Reply),
    /// Accepts the events and responds so.
    AcceptAndAnswer(Reply),
    /// Accepts the events and closes the connection without a response.
    AcceptAndReset,
    /// Accepts the events and never responds.
    AcceptAndHang,
    /// Accepts the events; the response's body breaks off in the middle.
    AcceptAndBreakOff,
    /// Closes the connection before the body is read.
    Reset,
    /// Responds 413 before the body is read, and closes the connection.
    EarlyTooLarge,
    /// Repeats the received credentials in a refusal with this status, as some proxies do.
    EchoCredentials(u16, Spelling),
    /// Accepts the events and responds after a pause; a refusal comes at once.
    Slow(Duration),
    /// Accepts the events after a pause, if the sender is still connected.
    Late(Duration),
}

impl FaultRule {
    /// A refusal with this status and body.
    pub fn answer(status: u16, body: &'static str) -> Self {
        Self::Answer(Reply::new(status, body))
    }

    fn is_early(&self) -> bool {
        matches!(self, Self::Reset | Self::EarlyTooLarge)
    }
}

struct Inner<C> {
    contract: C,
    script: VecDeque<FaultRule>,
    random: fastrand::Rng,
    chances: Vec<(f64, FaultRule)>,
    requests: Vec<Received>,
    events: Vec<Value>,
}

impl<C: Contract> Inner<C> {
    /// The fault that is decided before the body is read: a scripted one of that kind, or one by chance.
    fn early_fault(&mut self, request: &Received) -> Option<FaultRule> {
        match self.script.front() {
            _ if !self.contract.delivers(request) => None,
            Some(fault) if fault.is_early() => self.script.pop_front(),
            Some(_) => None,
            None => {
                let Self { random, chances, .. } = self;
                chances.iter().find(|(chance, _)| random.f64() < *chance).map(|(_, fault)| fault.clone())
            }
        }
    }

    fn remember(&mut self, request: &Received, events: &[Value]) {
        let mut request = request.clone();
        match self.contract.memory() {
            Memory::Nothing => return,
            Memory::Heads => (request.wire, request.bytes, request.body) = <_>::default(),
            Memory::Everything => self.events.extend(events.iter().cloned()),
        }
        self.requests.push(request);
    }
}

/// A running double; it ends when it is dropped.
pub struct Double<C> {
    address: SocketAddr,
    inner: Arc<Mutex<Inner<C>>>,
    ledger: Arc<Ledger>,
    task: tokio::task::JoinHandle<()>,
}

impl<C> Drop for Double<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C: Contract> Double<C> {
    /// Listens on a free port of this machine.
    pub async fn start(contract: C) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner {
            contract,
            script: VecDeque::new(),
            random: fastrand::Rng::with_seed(0),
            chances: Vec::new(),
            requests: Vec::new(),
            events: Vec::new(),
        }));
        let ledger = Arc::new(Ledger::default());
        let app = axum::Router::new().fallback(receive::<C>).with_state((inner.clone(), ledger.clone()));
        let service = app.into_make_service_with_connect_info::<Connection>();
        let task = tokio::spawn(async move { axum::serve(Breakable(listener), service).await.unwrap() });
        Self { address, inner, ledger, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Looks at the state of the contract, or changes its demands.
    pub fn contract<R>(&self, with: impl FnOnce(&mut C) -> R) -> R {
        with(&mut self.inner.lock().unwrap().contract)
    }

    /// Sets the faults of the next deliveries, one for each.
    pub fn script(&self, faults: impl IntoIterator<Item = FaultRule>) {
        self.inner.lock().unwrap().script.extend(faults);
    }

    /// Sets the faults of deliveries without a scripted fault, each with its chance; no faults if empty.
    pub fn misbehave(&self, seed: u64, chances: Vec<(f64, FaultRule)>) {
        let mut inner = self.inner.lock().unwrap();
        inner.random = fastrand::Rng::with_seed(seed);
        inner.chances = chances;
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.inner.lock().unwrap().requests.clone()
    }

    /// The requests so far that delivered events.
    pub fn deliveries(&self) -> Vec<Received> {
        let inner = self.inner.lock().unwrap();
        inner.requests.iter().filter(|request| inner.contract.delivers(request)).cloned().collect()
    }

    /// The accepted events, in order.
    pub fn events(&self) -> Vec<Value> {
        self.inner.lock().unwrap().events.clone()
    }

    /// How often each event was accepted.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

type DoubleState<C> = (Arc<Mutex<Inner<C>>>, Arc<Ledger>);

/// Tells the contract when the work on a request ends, however it ends.
struct Working<C: Contract>(Arc<Mutex<Inner<C>>>);

impl<C: Contract> Drop for Working<C> {
    fn drop(&mut self) {
        self.0.lock().unwrap().contract.finished();
    }
}

async fn receive<C: Contract>(
    State((inner, ledger)): State<DoubleState<C>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut request = Received {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        ..Received::default()
    };
    let mut fault = inner.lock().unwrap().early_fault(&request);
    match fault {
        Some(FaultRule::EarlyTooLarge) => {
            request.status = 413;
            inner.lock().unwrap().remember(&request, &[]);
            return answer(413, &[("connection", "close".to_owned())], "");
        }
        Some(FaultRule::Reset) => {
            inner.lock().unwrap().remember(&request, &[]);
            return connection.reset();
        }
        Some(FaultRule::Late(pause)) => tokio::time::sleep(pause).await,
        _ => {}
    }
    let wire = axum::body::to_bytes(body, 1 << 30).await.unwrap();
    request.wire_bytes = wire.len();
    request.wire = wire.clone();
    let (fault, mut reply) = {
        let mut inner = inner.lock().unwrap();
        let decoded = decode(&mut request, &wire, &inner.contract);
        if fault.is_none() && inner.contract.delivers(&request) {
            fault = inner.script.pop_front();
        }
        let reply = match &fault {
            Some(FaultRule::Answer(reply)) => reply.clone(),
            Some(FaultRule::EchoCredentials(status, spelling)) => Reply::new(*status, echo(&request, *spelling)),
            _ => judge(&mut inner.contract, &request, decoded),
        };
        (fault, reply)
    };
    if let Some(work) = reply.work {
        let _working = Working(inner.clone());
        tokio::time::sleep(work).await;
    }
    let events = std::mem::take(&mut reply.accepted);
    if let Some(FaultRule::AcceptAndAnswer(instead)) = &fault {
        reply = instead.clone();
    }
    let is_lost = match &fault {
        Some(FaultRule::AcceptAndReset | FaultRule::AcceptAndHang | FaultRule::AcceptAndBreakOff) => true,
        Some(FaultRule::AcceptAndAnswer(_)) => reply.status >= 300,
        _ => false,
    };
    request.status = match &fault {
        Some(FaultRule::AcceptAndReset | FaultRule::AcceptAndHang) => 0,
        _ => reply.status,
    };
    events.iter().for_each(|event| ledger.enter(event));
    if is_lost {
        events.iter().for_each(|event| ledger.leave_unanswered(event));
    }
    inner.lock().unwrap().remember(&request, &events);
    match fault {
        Some(FaultRule::AcceptAndReset) => return connection.reset(),
        Some(FaultRule::AcceptAndHang) => std::future::pending().await,
        Some(FaultRule::AcceptAndBreakOff) => {
            let chunks = [Ok(Bytes::from_static(b"{\"half\":")), Err(io::Error::other("broken off"))];
            return Response::new(Body::from_stream(futures_util::stream::iter(chunks)));
        }
        Some(FaultRule::Slow(pause)) if reply.status < 300 => tokio::time::sleep(pause).await,
        _ => {}
    }
    answer(reply.status, &reply.headers, &reply.body)
}

fn judge<C: Contract>(contract: &mut C, request: &Received, decoded: Result<(), Refusal>) -> Reply {
    if let Err(refusal) = contract.admit(request) {
        return refusal;
    }
    match decoded {
        Ok(()) => contract.answer(request),
        Err(refusal) => contract.undecodable(refusal),
    }
}

/// Decompresses a body; of one that is too large, no more than shows that.
fn decode<C: Contract>(request: &mut Received, wire: &[u8], contract: &C) -> Result<(), Refusal> {
    let encoding = request.header("content-encoding").to_owned();
    if !encoding.is_empty() && !contract.encodings().contains(&encoding.as_str()) {
        return Err((415, "unknown encoding"));
    }
    let limit = contract.max_body_bytes();
    let mut plain = Vec::new();
    let most = limit as u64 + 1;
    let read = match encoding.as_str() {
        "gzip" => flate2::read::MultiGzDecoder::new(wire).take(most).read_to_end(&mut plain),
        "zstd" => zstd::stream::read::Decoder::new(wire).unwrap().take(most).read_to_end(&mut plain),
        _ => wire.take(most).read_to_end(&mut plain),
    };
    read.map_err(|_| (400, "damaged encoding"))?;
    if plain.len() > limit {
        return Err((413, "too many bytes decompressed"));
    }
    request.body = String::from_utf8_lossy(&plain).into_owned();
    request.bytes = plain;
    Ok(())
}

/// The credentials of a request, user and password decoded too.
fn echo(request: &Received, spelling: Spelling) -> String {
    let headers = ["authorization", "x-key", "proxy-authorization"].map(|name| request.header(name));
    let sent = headers.map(|value| spelling.write(value)).join(" ");
    let encoded = request.header("authorization").strip_prefix("Basic ");
    let basic = encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    let decoded = basic.map(|basic| format!(", that is {}", spelling.write(&String::from_utf8_lossy(&basic))));
    format!("you sent {sent}{}", decoded.unwrap_or_default())
}

pub fn answer(status: u16, headers: &[(&'static str, String)], body: &str) -> Response {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    response
}

/// The admission of a destination that refuses every method but POST.
pub fn only_post(request: &Received) -> Result<(), Reply> {
    if request.method == "POST" { Ok(()) } else { Err(Reply::new(405, "")) }
}

/// One JSON value a line; the last line ends too.
pub fn lines(body: &str) -> Result<Vec<Value>, Refusal> {
    if !body.is_empty() && !body.ends_with('\n') {
        return Err((400, "the last line does not end"));
    }
    body.lines().map(|line| serde_json::from_str(line).map_err(|_| (400, "a line is no JSON"))).collect()
}

/// Set to break the connection of a request.
#[derive(Clone)]
struct Connection(Arc<AtomicBool>);

impl Connection {
    /// A response that is never sent.
    fn reset(&self) -> Response {
        self.0.store(true, Ordering::SeqCst);
        answer(500, &[], "")
    }
}

impl Connected<IncomingStream<'_, Breakable>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Breakable>) -> Self {
        Self(stream.io().broken.clone())
    }
}

/// A listener whose connections can be broken from within a handler.
struct Breakable(TcpListener);

struct BreakableStream {
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
