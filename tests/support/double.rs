//! What the doubles of all destinations have in common: they unpack and keep requests, and misbehave where a test tells
//! them to. What a destination demands and answers is its [`Contract`].

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;

use super::receiver::{Breakable, Connection, answer};

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub wire_bytes: usize,
    /// Decompressed.
    pub body: Vec<u8>,
}

impl Asked {
    /// A header's text, "" where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// What a destination answers.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A destination by its contract.
pub trait Contract: Send + 'static {
    /// Looks at a request, takes what is in it, and answers.
    fn answer(&mut self, asked: &Asked) -> Reply;

    /// True for requests that deliver events; scripted faults happen to these alone.
    fn delivers(&self, asked: &Asked) -> bool;
}

/// What happens to one delivery instead of the right thing.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers so and takes nothing.
    Answer(Reply),
    /// Takes the events and answers so.
    TakeAndAnswer(Reply),
    /// Takes the events and closes the connection without an answer.
    TakeAndReset,
    /// Closes the connection and takes nothing.
    Reset,
}

struct Inner<C> {
    contract: C,
    faults: VecDeque<Fault>,
    asked: Vec<(Asked, u16)>,
}

/// A running double; it ends when it is dropped.
pub struct Double<C> {
    address: SocketAddr,
    inner: Arc<Mutex<Inner<C>>>,
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
        let inner = Arc::new(Mutex::new(Inner { contract, faults: VecDeque::new(), asked: Vec::new() }));
        let app = axum::Router::new().fallback(receive::<C>).with_state(inner.clone());
        let service = app.into_make_service_with_connect_info::<Connection>();
        let task = tokio::spawn(async move { axum::serve(Breakable(listener), service).await.unwrap() });
        Self { address, inner, task }
    }

    /// Its address without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Looks at what it took, or changes what it demands.
    pub fn contract<R>(&self, with: impl FnOnce(&mut C) -> R) -> R {
        with(&mut self.inner.lock().unwrap().contract)
    }

    /// What happens to the next deliveries, one each.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inner.lock().unwrap().faults.extend(faults);
    }

    /// The deliveries so far, each with the status that it was answered with.
    pub fn deliveries(&self) -> Vec<(Asked, u16)> {
        let inner = self.inner.lock().unwrap();
        inner.asked.iter().filter(|(asked, _)| inner.contract.delivers(asked)).cloned().collect()
    }
}

async fn receive<C: Contract>(
    State(inner): State<Arc<Mutex<Inner<C>>>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let wire = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let mut asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        wire_bytes: wire.len(),
        body: Vec::new(),
    };
    match asked.header("content-encoding").to_owned().as_str() {
        "" => asked.body = wire.to_vec(),
        "gzip" if flate2::read::MultiGzDecoder::new(&wire[..]).read_to_end(&mut asked.body).is_ok() => {}
        "gzip" => return answer(400, &[], "damaged encoding"),
        _ => return answer(415, &[], "unknown encoding"),
    }
    let mut inner = inner.lock().unwrap();
    let fault = if inner.contract.delivers(&asked) { inner.faults.pop_front() } else { None };
    let mut lost = false;
    let reply = match fault {
        None => inner.contract.answer(&asked),
        Some(Fault::Answer(reply)) => reply,
        Some(Fault::TakeAndAnswer(reply)) => {
            inner.contract.answer(&asked);
            reply
        }
        Some(Fault::TakeAndReset) => {
            lost = true;
            inner.contract.answer(&asked)
        }
        Some(Fault::Reset) => {
            lost = true;
            Reply::new(500, "")
        }
    };
    connection.0.fetch_or(lost, Ordering::SeqCst);
    inner.asked.push((asked, reply.status));
    answer(reply.status, &reply.headers, &reply.body)
}
