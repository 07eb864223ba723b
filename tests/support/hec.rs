//! A Splunk HTTP Event Collector as its contract has it: tokens, indexes, channels, codes with the index of the first bad
//! event, indexer acknowledgement, health, limits. It can be slow to acknowledge, forget, restart, and be busy.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::ledger::Ledger;

/// How the collector is set up; may change while it runs.
#[derive(Debug, Clone)]
pub struct Hec {
    /// Tokens, and whether each is enabled.
    pub tokens: BTreeMap<String, bool>,
    /// Indexes that the tokens may write to; any when empty.
    pub indexes: BTreeSet<String>,
    /// Tokens have indexer acknowledgement.
    pub acks: bool,
    /// Times that the collector must be asked before it acknowledges.
    pub ack_after: u32,
    /// Acknowledgements of the next requests that are never given.
    pub lose_acks: u32,
    /// Most bytes of a request after decompression.
    pub max_content_length: usize,
    /// Requests that are worked on at a time; more are answered with 429, code 26.
    pub bears: usize,
    /// How long the work on a request takes.
    pub takes: Duration,
    /// The next requests are answered after so many events: 503, code 9, with the index of the first not taken.
    pub busy_after: VecDeque<usize>,
    /// What the health page says, beside the status of that code.
    pub health: u16,
    /// Success is answered with this code: 0, or 24 for a queue that fills.
    pub success: u16,
}

impl Default for Hec {
    fn default() -> Self {
        Self {
            tokens: BTreeMap::from([("t0ken".to_owned(), true)]),
            indexes: BTreeSet::new(),
            acks: false,
            ack_after: 0,
            lose_acks: 0,
            max_content_length: 838_860_800,
            bears: usize::MAX,
            takes: Duration::ZERO,
            busy_after: VecDeque::new(),
            health: 17,
            success: 0,
        }
    }
}

#[derive(Default)]
struct Channel {
    next: u64,
    /// Times that each number is yet to be asked for; never for what is lost.
    pending: BTreeMap<u64, Option<u32>>,
}

struct Inner {
    setup: Mutex<Hec>,
    channels: Mutex<HashMap<String, Channel>>,
    parallel: Mutex<(usize, Vec<usize>)>,
    events: Mutex<Vec<Value>>,
    requests: Mutex<Vec<(String, u16)>>,
    ledger: Ledger,
}

/// A running collector; it ends when it is dropped.
pub struct Collector {
    address: SocketAddr,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// Listens on a free port of this machine.
    pub async fn start(setup: Hec) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            setup: Mutex::new(setup),
            channels: Mutex::default(),
            parallel: Mutex::default(),
            events: Mutex::default(),
            requests: Mutex::default(),
            ledger: Ledger::default(),
        });
        let app = axum::Router::new()
            .fallback(serve)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner, task }
    }

    /// Its address without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it is set up.
    pub fn set(&self, change: impl FnOnce(&mut Hec)) {
        change(&mut self.inner.setup.lock().unwrap());
    }

    /// The indexers start anew: numbers count from zero, what waited is forgotten.
    pub fn restart(&self) {
        self.inner.channels.lock().unwrap().clear();
    }

    /// Objects (or lines, as texts) that were indexed, in order.
    pub fn events(&self) -> Vec<Value> {
        self.inner.events.lock().unwrap().clone()
    }

    /// Paths and statuses of all requests.
    pub fn requests(&self) -> Vec<(String, u16)> {
        self.inner.requests.lock().unwrap().clone()
    }

    /// For each request with events, how many were worked on with it.
    pub fn parallel(&self) -> Vec<usize> {
        self.inner.parallel.lock().unwrap().1.clone()
    }

    /// What it took.
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }
}

/// A status, a code, and the numbers beside it.
struct Said {
    status: u16,
    code: u16,
    invalid: Option<usize>,
    ack_id: Option<u64>,
}

impl Said {
    fn code(code: u16) -> Self {
        let status = match code {
            0 | 17 | 24 | 25 => 200,
            2 | 3 => 401,
            1 | 4 => 403,
            8 => 500,
            9 | 18..=20 | 23 => 503,
            26 | 27 => 429,
            404 | 405 | 413 | 415 => code,
            _ => 400,
        };
        Self { status, code, invalid: None, ack_id: None }
    }

    fn body(&self) -> String {
        // The order of the keys is the collector's own.
        let mut body = format!(r#"{{"text":"as the collector says","code":{}"#, self.code);
        if let Some(invalid) = self.invalid {
            body += &format!(r#","invalid-event-number":{invalid}"#);
        }
        if let Some(ack_id) = self.ack_id {
            body += &format!(r#","ackId":{ack_id}"#);
        }
        body + "}"
    }
}

async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let wire = axum::body::to_bytes(body, 1 << 30).await.unwrap();
    let path = parts.uri.path().to_owned();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let (status, body) = match (parts.method.as_str(), path.as_str()) {
        (_, "/services/collector/health") => {
            let said = Said::code(inner.setup.lock().unwrap().health);
            (said.status, said.body())
        }
        ("POST", "/services/collector/ack") => acknowledge(&inner, &parts.headers, &query, &wire),
        ("POST", "/services/collector/event" | "/services/collector" | "/services/collector/raw") => {
            let said = take(&inner, &parts.headers, &query, &wire, path.ends_with("raw")).await;
            (said.status, said.body())
        }
        (_, path) => {
            let said = Said::code(if path.starts_with("/services/collector") { 405 } else { 404 });
            (said.status, said.body())
        }
    };
    inner.requests.lock().unwrap().push((path, status));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn authorize(setup: &Hec, headers: &HeaderMap) -> Result<(), Said> {
    let Some(value) = headers.get("authorization") else { return Err(Said::code(2)) };
    let Some(token) = value.to_str().unwrap().strip_prefix("Splunk ") else { return Err(Said::code(3)) };
    match setup.tokens.get(token) {
        None => Err(Said::code(4)),
        Some(false) => Err(Said::code(1)),
        Some(true) => Ok(()),
    }
}

fn channel(headers: &HeaderMap, query: &HashMap<String, String>) -> Result<String, Said> {
    let header = headers.get("x-splunk-request-channel").map(|value| value.to_str().unwrap().to_owned());
    let channel = header.or_else(|| query.get("channel").cloned()).ok_or_else(|| Said::code(10))?;
    let parts: Vec<usize> = channel.split('-').map(str::len).collect();
    if parts == [8, 4, 4, 4, 12] { Ok(channel) } else { Err(Said::code(11)) }
}

fn acknowledge(inner: &Inner, headers: &HeaderMap, query: &HashMap<String, String>, body: &[u8]) -> (u16, String) {
    let setup = inner.setup.lock().unwrap().clone();
    let checked = authorize(&setup, headers).and_then(|()| {
        let channel = channel(headers, query)?;
        if setup.acks { Ok(channel) } else { Err(Said::code(14)) }
    });
    let channel = match checked {
        Ok(channel) => channel,
        Err(said) => return (said.status, said.body()),
    };
    let asked: Value = serde_json::from_slice(body).unwrap();
    let mut channels = inner.channels.lock().unwrap();
    let channel = channels.entry(channel).or_default();
    let mut acks = serde_json::Map::new();
    for id in asked["acks"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()) {
        let safe = match channel.pending.get_mut(&id) {
            Some(Some(0)) => {
                // Told once and then forgotten.
                channel.pending.remove(&id);
                true
            }
            Some(Some(more)) => {
                *more -= 1;
                false
            }
            Some(None) | None => false,
        };
        acks.insert(id.to_string(), json!(safe));
    }
    (200, json!({ "acks": acks }).to_string())
}

async fn take(inner: &Inner, headers: &HeaderMap, query: &HashMap<String, String>, wire: &[u8], raw: bool) -> Said {
    let setup = inner.setup.lock().unwrap().clone();
    if let Err(said) = authorize(&setup, headers) {
        return said;
    }
    let channel = match (setup.acks, channel(headers, query)) {
        (true, Err(said)) => return said,
        (true, Ok(channel)) => Some(channel),
        (false, _) => None,
    };
    let mut plain = Vec::new();
    let limit = setup.max_content_length as u64 + 1;
    let read = match headers.get("content-encoding").map(|value| value.to_str().unwrap()) {
        None => wire.take(limit).read_to_end(&mut plain),
        Some("gzip") => flate2::read::MultiGzDecoder::new(wire).take(limit).read_to_end(&mut plain),
        Some(_) => return Said::code(415),
    };
    if read.is_err() {
        return Said::code(6);
    }
    if plain.len() > setup.max_content_length {
        return Said::code(413);
    }
    if plain.is_empty() {
        return Said::code(5);
    }
    let _working = match Working::begin(inner, setup.bears) {
        Some(working) => working,
        None => return Said::code(26),
    };
    tokio::time::sleep(setup.takes).await;
    let (mut events, mut said) = if raw { lines(&plain, query, &setup) } else { objects(&plain, &setup) };
    if let Some(busy_after) = inner.setup.lock().unwrap().busy_after.pop_front() {
        events.truncate(busy_after);
        said = Said { invalid: Some(busy_after), ..Said::code(9) };
    }
    events.iter().for_each(|event| inner.ledger.enter(event));
    let took_some = !events.is_empty();
    inner.events.lock().unwrap().extend(events);
    if let Some(channel) = channel.filter(|_| took_some) {
        let lost = {
            let mut setup = inner.setup.lock().unwrap();
            let lost = setup.lose_acks > 0;
            setup.lose_acks = setup.lose_acks.saturating_sub(1);
            lost
        };
        let mut channels = inner.channels.lock().unwrap();
        let channel = channels.entry(channel).or_default();
        said.ack_id = Some(channel.next);
        channel.pending.insert(channel.next, (!lost).then_some(setup.ack_after));
        channel.next += 1;
    }
    said
}

/// A request that is worked on.
struct Working<'a>(&'a Inner);

impl<'a> Working<'a> {
    fn begin(inner: &'a Inner, bears: usize) -> Option<Self> {
        let mut parallel = inner.parallel.lock().unwrap();
        let now = parallel.0 + 1;
        parallel.1.push(now);
        if now > bears {
            return None;
        }
        parallel.0 = now;
        Some(Self(inner))
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.parallel.lock().unwrap().0 -= 1;
    }
}

/// Each line is an event.
fn lines(plain: &[u8], query: &HashMap<String, String>, setup: &Hec) -> (Vec<Value>, Said) {
    if query.get("index").is_some_and(|index| !setup.indexes.is_empty() && !setup.indexes.contains(index)) {
        return (Vec::new(), Said::code(7));
    }
    let text = String::from_utf8(plain.to_vec()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect();
    (events, Said::code(setup.success))
}

/// The events before the first bad one, and what is said about that.
fn objects(plain: &[u8], setup: &Hec) -> (Vec<Value>, Said) {
    let mut events = Vec::new();
    for object in serde_json::Deserializer::from_slice(plain).into_iter::<Value>() {
        let code = match &object {
            Err(_) => 6,
            Ok(object) => check(object, setup),
        };
        if code != 0 {
            let invalid = Some(events.len());
            return (events, Said { invalid, ..Said::code(code) });
        }
        events.extend(object);
    }
    (events, Said::code(setup.success))
}

fn check(object: &Value, setup: &Hec) -> u16 {
    let Some(object) = object.as_object() else { return 6 };
    const KEYS: [&str; 7] = ["time", "host", "source", "sourcetype", "index", "event", "fields"];
    if object.keys().any(|key| !KEYS.contains(&key.as_str())) {
        return 6;
    }
    match object.get("event") {
        None => return 12,
        Some(Value::Null) => return 12,
        Some(Value::String(text)) if text.is_empty() => return 13,
        Some(_) => {}
    }
    if object.get("index").is_some_and(|index| {
        !setup.indexes.is_empty() && !index.as_str().is_some_and(|index| setup.indexes.contains(index))
    }) {
        return 7;
    }
    let flat = |value: &Value| match value {
        Value::String(_) | Value::Number(_) => true,
        Value::Array(values) => values.iter().all(Value::is_string),
        _ => false,
    };
    match object.get("fields") {
        None => 0,
        Some(Value::Object(fields)) if fields.values().all(flat) => 0,
        Some(_) => 15,
    }
}
