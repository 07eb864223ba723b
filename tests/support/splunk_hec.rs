//! A Splunk HTTP Event Collector as its contract has it: tokens, indexes, channels, codes with the index of the first
//! bad event, indexer acknowledgement, health, limits. It can be slow to acknowledge, forget, restart, and be busy.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::double::{Contract, Double, Received, Refusal, Reply};

/// How the collector is set up; may change while it runs.
#[derive(Debug, Clone)]
pub struct Hec {
    /// Tokens, and whether each is enabled.
    pub tokens: BTreeMap<String, bool>,
    /// Indexes that the tokens may write to; any when empty.
    pub indexes: BTreeSet<String>,
    /// Whether tokens have indexer acknowledgement.
    pub acks: bool,
    /// Times that the collector must be asked before it acknowledges.
    pub ack_after: u32,
    /// Acknowledgements of the next requests that are never given.
    pub lose_acks: u32,
    /// Whether a load balancer answers the query for acknowledgements, with a page.
    pub ack_page: bool,
    /// Most bytes of a request after decompression.
    pub max_content_length: usize,
    /// Requests that are worked on at a time; more are answered with 429, code 26.
    pub bears: usize,
    /// How long the work on a request takes.
    pub takes: Duration,
    /// The numbers of events after which the next requests are answered: 503, code 9, with the index of the first not
    /// taken.
    pub busy_after: VecDeque<usize>,
    /// Code in the answer of the health page, whose status is the one of that code.
    pub health: u16,
    /// Success is answered with this code: 0, or 24 for a queue that fills.
    pub success: u16,
    /// Number of requests in progress at each request with events, itself included.
    pub parallel: Vec<usize>,
    pub in_progress: usize,
    pub channels: HashMap<String, Channel>,
}

impl Default for Hec {
    fn default() -> Self {
        Self {
            tokens: BTreeMap::from([("t0ken".to_owned(), true)]),
            indexes: BTreeSet::new(),
            acks: false,
            ack_after: 0,
            lose_acks: 0,
            ack_page: false,
            max_content_length: 838_860_800,
            bears: usize::MAX,
            takes: Duration::ZERO,
            busy_after: VecDeque::new(),
            health: 17,
            success: 0,
            parallel: Vec::new(),
            in_progress: 0,
            channels: HashMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Channel {
    next: u64,
    /// Times that each number is yet to be asked for; never for what is lost.
    pending: BTreeMap<u64, Option<u32>>,
}

/// A running collector.
pub type Collector = Double<Hec>;

impl Contract for Hec {
    fn admit(&mut self, request: &Received) -> Result<(), Reply> {
        if !delivers(request) {
            return Ok(());
        }
        self.authorize(request)?;
        if self.acks { channel(request).map(drop).map_err(Reply::from) } else { Ok(()) }
    }

    fn max_body_bytes(&self) -> usize {
        self.max_content_length
    }

    fn undecodable(&self, (status, _): Refusal) -> Reply {
        ErrorBody::code(if status == 400 { 6 } else { status }).into()
    }

    fn answer(&mut self, request: &Received) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            (_, "/services/collector/health") => ErrorBody::code(self.health).into(),
            ("POST", "/services/collector/ack") => self.acknowledge(request).unwrap_or_else(Reply::from),
            _ if delivers(request) => self.accept(request),
            (_, path) if path.starts_with("/services/collector") => ErrorBody::code(405).into(),
            _ => ErrorBody::code(404).into(),
        }
    }

    fn finished(&mut self) {
        self.in_progress -= 1;
    }
}

fn delivers(request: &Received) -> bool {
    let paths = ["/services/collector/event", "/services/collector", "/services/collector/raw"];
    request.method == "POST" && paths.contains(&request.path.as_str())
}

fn query(request: &Received) -> HashMap<String, String> {
    url::form_urlencoded::parse(request.query.as_bytes()).into_owned().collect()
}

/// A status, a code, and the numbers with it.
#[derive(Debug)]
struct ErrorBody {
    status: u16,
    code: u16,
    invalid: Option<usize>,
    ack_id: Option<u64>,
}

impl ErrorBody {
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

impl From<ErrorBody> for Reply {
    fn from(body: ErrorBody) -> Self {
        Self::new(body.status, body.body())
    }
}

fn channel(request: &Received) -> Result<String, ErrorBody> {
    let header = Some(request.header("x-splunk-request-channel").to_owned()).filter(|channel| !channel.is_empty());
    let channel = header.or_else(|| query(request).remove("channel")).ok_or_else(|| ErrorBody::code(10))?;
    let parts: Vec<usize> = channel.split('-').map(str::len).collect();
    if parts == [8, 4, 4, 4, 12] { Ok(channel) } else { Err(ErrorBody::code(11)) }
}

impl Hec {
    /// The indexers restart: numbers count from zero, what waited is forgotten.
    pub fn restart(&mut self) {
        self.channels.clear();
    }

    fn authorize(&self, request: &Received) -> Result<(), ErrorBody> {
        let value = request.header("authorization");
        if value.is_empty() {
            return Err(ErrorBody::code(2));
        }
        match value.strip_prefix("Splunk ").map(|token| self.tokens.get(token)) {
            None => Err(ErrorBody::code(3)),
            Some(None) => Err(ErrorBody::code(4)),
            Some(Some(false)) => Err(ErrorBody::code(1)),
            Some(Some(true)) => Ok(()),
        }
    }

    fn acknowledge(&mut self, request: &Received) -> Result<Reply, ErrorBody> {
        self.authorize(request)?;
        if self.ack_page {
            return Ok(Reply::new(200, "<html>load balancer</html>"));
        }
        let channel = channel(request)?;
        if !self.acks {
            return Err(ErrorBody::code(14));
        }
        let asked = request.json().unwrap();
        let channel = self.channels.entry(channel).or_default();
        let mut acks = serde_json::Map::new();
        for id in asked["acks"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()) {
            let safe = match channel.pending.get_mut(&id) {
                Some(Some(0)) => {
                    // Reported once and then forgotten.
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
        Ok(Reply::new(200, json!({ "acks": acks }).to_string()))
    }

    fn accept(&mut self, request: &Received) -> Reply {
        if request.bytes.is_empty() {
            return ErrorBody::code(5).into();
        }
        self.parallel.push(self.in_progress + 1);
        if self.in_progress >= self.bears {
            return ErrorBody::code(26).into();
        }
        // Work without a duration gets no turn of the scheduler between the number and the response that carries it.
        let work = Some(self.takes).filter(|takes| !takes.is_zero());
        self.in_progress += usize::from(work.is_some());
        let is_raw = request.path.ends_with("raw");
        let (mut events, mut body) =
            if is_raw { lines(&request.bytes, &query(request), self) } else { objects(&request.bytes, self) };
        if let Some(busy_after) = self.busy_after.pop_front() {
            events.truncate(busy_after);
            body = ErrorBody { invalid: Some(busy_after), ..ErrorBody::code(9) };
        }
        if self.acks && !events.is_empty() {
            let is_lost = self.lose_acks > 0;
            self.lose_acks = self.lose_acks.saturating_sub(1);
            let channel = self.channels.entry(channel(request).unwrap()).or_default();
            body.ack_id = Some(channel.next);
            channel.pending.insert(channel.next, (!is_lost).then_some(self.ack_after));
            channel.next += 1;
        }
        Reply { work, ..Reply::from(body).accepting(events) }
    }
}

/// Each line is an event.
fn lines(plain: &[u8], query: &HashMap<String, String>, setup: &Hec) -> (Vec<Value>, ErrorBody) {
    if query.get("index").is_some_and(|index| !setup.indexes.is_empty() && !setup.indexes.contains(index)) {
        return (Vec::new(), ErrorBody::code(7));
    }
    let text = String::from_utf8(plain.to_vec()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect();
    (events, ErrorBody::code(setup.success))
}

/// The events before the first bad one, and what is said about that.
fn objects(plain: &[u8], setup: &Hec) -> (Vec<Value>, ErrorBody) {
    let mut events = Vec::new();
    for object in serde_json::Deserializer::from_slice(plain).into_iter::<Value>() {
        let code = match &object {
            Err(_) => 6,
            Ok(object) => check(object, setup),
        };
        if code != 0 {
            let invalid = Some(events.len());
            return (events, ErrorBody { invalid, ..ErrorBody::code(code) });
        }
        events.extend(object);
    }
    (events, ErrorBody::code(setup.success))
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
