//! What doubles of simple intakes share: a server that hands each request, decompressed, to the contract of one
//! destination, keeps a ledger of what that took, and answers as a test says instead.

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;

use super::ledger::Ledger;
use super::receiver::{Seen, answer};

/// Events and the answer's body; or status and body of a refusal.
pub type Taken = Result<(Vec<Value>, &'static str), (u16, &'static str)>;

/// What a destination makes of a request. It sees everything but the method, which must be POST.
pub type Contract = Box<dyn Fn(&Seen) -> Taken + Send + Sync>;

struct Inner {
    contract: Contract,
    /// Status, body, and whether the events are taken all the same.
    script: Mutex<VecDeque<(u16, &'static str, bool)>>,
    seen: Mutex<Vec<Seen>>,
    events: Mutex<Vec<Value>>,
    ledger: Ledger,
}

/// A running intake; it ends when it is dropped.
pub struct Intake {
    address: SocketAddr,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Intake {
    /// Listens on a free port of this machine.
    pub async fn start(contract: Contract) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            contract,
            script: Mutex::default(),
            seen: Mutex::default(),
            events: Mutex::default(),
            ledger: Ledger::default(),
        });
        let app = axum::Router::new().fallback(serve).with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner, task }
    }

    /// Its address without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request is answered so; its events are taken if `take`.
    pub fn script(&self, status: u16, body: &'static str, take: bool) {
        self.inner.script.lock().unwrap().push_back((status, body, take));
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// All events that it took.
    pub fn events(&self) -> Vec<Value> {
        self.inner.events.lock().unwrap().clone()
    }

    /// How often it took each event.
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }
}

async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let wire = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let mut seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        wire_bytes: wire.len(),
        body: String::new(),
        status: 0,
    };
    let scripted = inner.script.lock().unwrap().pop_front();
    let taken = match decompress(&seen, &wire) {
        _ if seen.method != "POST" => Err((405, "")),
        Err(refusal) => Err(refusal),
        Ok(body) => {
            seen.body = body;
            (inner.contract)(&seen)
        }
    };
    if let (Ok((events, _)), true) = (&taken, scripted.is_none_or(|(.., take)| take)) {
        events.iter().for_each(|event| inner.ledger.enter(event));
        inner.events.lock().unwrap().extend(events.iter().cloned());
    }
    let (status, body) = match (scripted, taken) {
        (Some((status, body, _)), _) => (status, body),
        (None, Ok((_, body))) => (200, body),
        (None, Err(refusal)) => refusal,
    };
    seen.status = status;
    inner.seen.lock().unwrap().push(seen);
    answer(status, &[], body)
}

fn decompress(seen: &Seen, wire: &[u8]) -> Result<String, (u16, &'static str)> {
    let mut plain = Vec::new();
    let read = match seen.header("content-encoding") {
        "" => wire.take(64 << 20).read_to_end(&mut plain).map(drop),
        "gzip" => flate2::read::MultiGzDecoder::new(wire).take(64 << 20).read_to_end(&mut plain).map(drop),
        "zstd" => zstd::stream::read::Decoder::new(wire).unwrap().take(64 << 20).read_to_end(&mut plain).map(drop),
        _ => return Err((415, "unknown encoding")),
    };
    read.map_err(|_| (400, "damaged encoding"))?;
    String::from_utf8(plain).map_err(|_| (400, "not UTF-8"))
}

/// One JSON value a line; the last line ends too.
pub fn lines(body: &str) -> Result<Vec<Value>, (u16, &'static str)> {
    if !body.is_empty() && !body.ends_with('\n') {
        return Err((400, "the last line does not end"));
    }
    body.lines().map(|line| serde_json::from_str(line).map_err(|_| (400, "a line is no JSON"))).collect()
}
