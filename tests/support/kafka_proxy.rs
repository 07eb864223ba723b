//! A proxy between Kafka's clients and a broker, which holds a request of a transaction on its way and delivers it
//! later: a middlebox that keeps a half-open connection, or a broker that stalls with the request in its queue.
//!
//! Written from the protocol's guide (<https://kafka.apache.org/protocol>): frames of a length and a message, which
//! begins with the request's key, version and correlation id. Answers begin with the correlation id.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, decode_request_header_from_buffer};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

/// The error that a forged answer has: UNKNOWN_SERVER_ERROR. The client aborts its transaction.
const FORGED: i16 = -1;
/// How long the events of a transaction may take to arrive after the request for its checkpoint.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// A running proxy; it ends when it is dropped.
pub struct KafkaProxy {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// The broker's port, once it runs.
    broker: OnceLock<u16>,
    scripts: Mutex<Vec<Arc<Script>>>,
}

impl Drop for KafkaProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KafkaProxy {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Some(broker) = serving.broker.get() else { continue };
                let Ok(broker) = TcpStream::connect(("127.0.0.1", *broker)).await else { continue };
                client.set_nodelay(true).unwrap();
                broker.set_nodelay(true).unwrap();
                tokio::spawn(serve(client, broker, serving.clone()));
            }
        });
        Self { port, shared, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads to the broker at this port from now on.
    pub fn lead_to(&self, broker: u16) {
        self.shared.broker.set(broker).unwrap();
    }

    /// Adds a script for the requests of transactional ids that begin with `instance` and `-`.
    pub fn script(&self, instance: &str, checkpoint_topic: &str) -> Arc<Script> {
        let script = Arc::new(Script {
            prefix: format!("{instance}-"),
            checkpoint_topic: checkpoint_topic.to_owned(),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        self.shared.scripts.lock().push(script.clone());
        script
    }
}

/// A request that may be held on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    Commit,
    /// The end of a transaction that the proxy has the client abort.
    Abort,
    AddPartitions,
    Produce,
    InitProducerId,
}

/// The fate of a transaction's request for the partition of its checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Forward,
    /// An error as answer, so that the client aborts.
    Refuse,
    /// No answer, and the connection ends.
    Drop,
}

/// The transactions of one shared id. The quarantine's are left alone.
pub struct Script {
    prefix: String,
    checkpoint_topic: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The next request of this kind is held, and its connection ends.
    armed: Option<Late>,
    held: Option<Held>,
    /// Whether a request that ends a transaction was answered since.
    is_repeated: bool,
    /// Whether the open transaction has a partition for events; some of its events are stored.
    has_events: bool,
    has_stored: bool,
    /// Whether the next transaction with events is refused its checkpoint.
    refuses: bool,
    /// The answer to the late request.
    late: Option<i16>,
    verdict: Option<Verdict>,
    /// Commits that were answered with success.
    commits: usize,
}

/// A request that has not reached the broker yet.
struct Held {
    kind: Late,
    broker: OwnedWriteHalf,
    frame: Bytes,
    answer: oneshot::Receiver<i16>,
}

impl Script {
    /// Holds the next request of this kind.
    pub fn arm(&self, kind: Late) {
        *self.state.lock() = State { armed: Some(kind), commits: self.commits(), ..State::default() };
    }

    /// Waits until the late request was delivered: the events of the next transaction are stored, and its checkpoint's
    /// partition was not asked for yet. Returns the error code of the answer; the transaction waits for a verdict.
    pub async fn late(&self) -> i16 {
        self.wait(|state| state.late).await
    }

    /// Waits until a request is held. The client repeats it on another connection.
    pub async fn held(&self) {
        self.wait(|state| state.held.as_ref().map(drop)).await;
    }

    pub fn judge(&self, verdict: Verdict) {
        self.state.lock().verdict = Some(verdict);
        self.changed.notify_waiters();
    }

    /// The client aborts its next transaction with events. Returns when it does.
    pub async fn refuse_next(&self) {
        self.state.lock().refuses = true;
        self.wait(|state| (!state.refuses).then_some(())).await;
    }

    /// Commits that were answered with success.
    pub fn commits(&self) -> usize {
        self.state.lock().commits
    }

    async fn wait<T>(&self, found: impl Fn(&State) -> Option<T>) -> T {
        super::process::until("the proxy has seen what it waits for", async || found(&self.state.lock())).await
    }

    fn is_of(&self, id: &str) -> bool {
        id.starts_with(&self.prefix) && !id.ends_with("-q")
    }
}

/// A request whose answer means something.
enum Asked {
    EndTxn(Arc<Script>, bool),
    Events(Arc<Script>),
    /// The request was held.
    Late(oneshot::Sender<i16>),
}

struct Pending {
    key: ApiKey,
    version: i16,
    asked: Asked,
}

/// A connection's way to the client. None after the proxy has ended it.
type Client = Arc<tokio::sync::Mutex<Option<OwnedWriteHalf>>>;
type Requests = Arc<Mutex<HashMap<i32, Pending>>>;

async fn serve(client: TcpStream, broker: TcpStream, shared: Arc<Shared>) {
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let to_client: Client = Arc::new(tokio::sync::Mutex::new(Some(to_client)));
    let pending = Requests::default();
    tokio::spawn(answers(from_broker, to_client.clone(), pending.clone()));
    requests(from_client, to_broker, to_client, pending, shared).await;
}

async fn read_frame(stream: &mut OwnedReadHalf) -> Option<Bytes> {
    let length = stream.read_u32().await.ok()?;
    let mut frame = BytesMut::zeroed(length as usize);
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame.freeze())
}

async fn write_frame(stream: &mut OwnedWriteHalf, frame: &[u8]) -> std::io::Result<()> {
    let mut whole = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
    whole.extend_from_slice(frame);
    stream.write_all(&whole).await
}

async fn answers(mut broker: OwnedReadHalf, client: Client, pending: Requests) {
    while let Some(frame) = read_frame(&mut broker).await {
        let correlation = frame.clone().get_i32();
        let asked = pending.lock().remove(&correlation);
        if let Some(Pending { key, version, asked }) = asked {
            let mut body = frame.clone();
            ResponseHeader::decode(&mut body, key.response_header_version(version)).unwrap();
            answered(asked, error_of(key, version, &mut body));
        }
        if let Some(client) = client.lock().await.as_mut() {
            let _ = write_frame(client, &frame).await;
        }
    }
    *client.lock().await = None;
}

fn error_of(key: ApiKey, version: i16, body: &mut Bytes) -> i16 {
    match key {
        ApiKey::EndTxn => EndTxnResponse::decode(body, version).unwrap().error_code,
        ApiKey::InitProducerId => InitProducerIdResponse::decode(body, version).unwrap().error_code,
        ApiKey::AddPartitionsToTxn => {
            let answer = AddPartitionsToTxnResponse::decode(body, version).unwrap();
            answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        }
        ApiKey::Produce => {
            ProduceResponse::decode(body, version).unwrap().responses[0].partition_responses[0].error_code
        }
        other => panic!("{other:?}"),
    }
}

fn answered(asked: Asked, code: i16) {
    match asked {
        Asked::Late(answer) => {
            let _ = answer.send(code);
        }
        Asked::Events(script) => script.state.lock().has_stored |= code == 0,
        Asked::EndTxn(script, is_commit) => {
            let mut state = script.state.lock();
            state.is_repeated |= state.held.is_some();
            state.commits += usize::from(is_commit && code == 0);
        }
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut broker: OwnedWriteHalf,
    to_client: Client,
    pending: Requests,
    shared: Arc<Shared>,
) {
    while let Some(frame) = read_frame(&mut client).await {
        let request = Request::parse(&frame, &shared);
        if let Some(request) = &request {
            if let Some(kind) = request.to_be_held() {
                let (sender, answer) = oneshot::channel();
                request.expect(&pending, Asked::Late(sender));
                *to_client.lock().await = None;
                let mut state = request.script.state.lock();
                state.armed = None;
                state.held = Some(Held { kind, broker, frame, answer });
                return;
            }
            match request.verdict().await {
                Verdict::Forward => request.forwarded(&pending),
                Verdict::Drop => break,
                Verdict::Refuse => {
                    let answer = request.refusal();
                    if let Some(client) = to_client.lock().await.as_mut() {
                        let _ = write_frame(client, &answer).await;
                    }
                    continue;
                }
            }
        }
        if write_frame(&mut broker, &frame).await.is_err() {
            break;
        }
    }
    *to_client.lock().await = None;
}

/// A request of a script's id.
struct Request {
    script: Arc<Script>,
    correlation: i32,
    version: i16,
    what: What,
}

enum What {
    EndTxn { is_commit: bool },
    AddPartitions(AddPartitionsToTxnRequest),
    Produce { has_events: bool },
    InitProducerId,
}

impl Request {
    fn parse(frame: &Bytes, shared: &Shared) -> Option<Self> {
        let mut body = frame.clone();
        let key = ApiKey::try_from(body.clone().get_i16()).ok()?;
        if ![ApiKey::EndTxn, ApiKey::AddPartitionsToTxn, ApiKey::Produce, ApiKey::InitProducerId].contains(&key) {
            return None;
        }
        let header = decode_request_header_from_buffer(&mut body).unwrap();
        let version = header.request_api_version;
        let script_of = |id: &str| shared.scripts.lock().iter().find(|script| script.is_of(id)).cloned();
        let (script, what) = match key {
            ApiKey::EndTxn => {
                let request = EndTxnRequest::decode(&mut body, version).unwrap();
                (script_of(&request.transactional_id)?, What::EndTxn { is_commit: request.committed })
            }
            ApiKey::AddPartitionsToTxn => {
                let request = AddPartitionsToTxnRequest::decode(&mut body, version).unwrap();
                (script_of(&request.v3_and_below_transactional_id)?, What::AddPartitions(request))
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut body, version).unwrap();
                let script = script_of(&request.transactional_id?)?;
                let is_event = |name: &str| name != script.checkpoint_topic;
                let has_events = request.topic_data.iter().any(|topic| is_event(&topic.name));
                (script, What::Produce { has_events })
            }
            _ => {
                let request = InitProducerIdRequest::decode(&mut body, version).unwrap();
                (script_of(&request.transactional_id?)?, What::InitProducerId)
            }
        };
        Some(Self { script, correlation: header.correlation_id, version, what })
    }

    fn key(&self) -> ApiKey {
        match self.what {
            What::EndTxn { .. } => ApiKey::EndTxn,
            What::AddPartitions(_) => ApiKey::AddPartitionsToTxn,
            What::Produce { .. } => ApiKey::Produce,
            What::InitProducerId => ApiKey::InitProducerId,
        }
    }

    fn expect(&self, pending: &Requests, asked: Asked) {
        pending.lock().insert(self.correlation, Pending { key: self.key(), version: self.version, asked });
    }

    fn to_be_held(&self) -> Option<Late> {
        let state = self.script.state.lock();
        let kind = state.armed?;
        let is_it = match (&self.what, kind) {
            (What::EndTxn { is_commit }, Late::Commit) => *is_commit && state.has_events,
            (What::EndTxn { is_commit }, Late::Abort) => !is_commit,
            (What::AddPartitions(_), Late::AddPartitions) => self.adds_events(),
            (What::Produce { has_events }, Late::Produce) => *has_events,
            (What::InitProducerId, Late::InitProducerId) => true,
            _ => false,
        };
        is_it.then_some(kind)
    }

    fn adds_events(&self) -> bool {
        let What::AddPartitions(request) = &self.what else { return false };
        request.v3_and_below_topics.iter().any(|topic| *topic.name != *self.script.checkpoint_topic)
    }

    /// Waits while the late request is delivered before this one.
    async fn verdict(&self) -> Verdict {
        let script = &self.script;
        if !matches!(self.what, What::AddPartitions(_)) || self.adds_events() {
            return Verdict::Forward;
        }
        {
            let mut state = script.state.lock();
            if !state.has_events {
                return Verdict::Forward;
            }
            if state.refuses || state.armed == Some(Late::Abort) {
                state.refuses = false;
                return Verdict::Refuse;
            }
            if state.held.is_none() || !state.is_repeated {
                return Verdict::Forward;
            }
        }
        let stored = async {
            while !script.state.lock().has_stored {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(EVENTS_TIMEOUT, stored).await.is_err() {
            return Verdict::Forward;
        }
        let Some(mut held) = script.state.lock().held.take() else { return Verdict::Forward };
        write_frame(&mut held.broker, &held.frame).await.unwrap();
        let code = held.answer.await.unwrap();
        println!("{}: a late {:?} was answered with {code}", script.prefix, held.kind);
        script.state.lock().late = Some(code);
        loop {
            let changed = script.changed.notified();
            if let Some(verdict) = script.state.lock().verdict {
                return verdict;
            }
            changed.await;
        }
    }

    fn forwarded(&self, pending: &Requests) {
        let mut state = self.script.state.lock();
        match &self.what {
            What::EndTxn { is_commit } => {
                (state.has_events, state.has_stored) = (false, false);
                self.expect(pending, Asked::EndTxn(self.script.clone(), *is_commit));
            }
            What::AddPartitions(_) => state.has_events |= self.adds_events(),
            What::Produce { has_events: true } => self.expect(pending, Asked::Events(self.script.clone())),
            What::Produce { .. } => {}
            What::InitProducerId => (state.has_events, state.has_stored) = (false, false),
        }
    }

    /// An answer with an error for each partition.
    fn refusal(&self) -> BytesMut {
        let What::AddPartitions(request) = &self.what else { panic!("only partitions are refused") };
        let topics = request.v3_and_below_topics.iter().map(|topic| {
            let partition = |index: &i32| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*index)
                    .with_partition_error_code(FORGED)
            };
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(topic.partitions.iter().map(partition).collect())
        });
        let mut answer = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(self.correlation);
        header.encode(&mut answer, self.key().response_header_version(self.version)).unwrap();
        let body = AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect());
        body.encode(&mut answer, self.version).unwrap();
        answer
    }
}
