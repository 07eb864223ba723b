//! A syslog receiver, written from RFC 6587 and RFC 5424: it takes octet-counted messages and those that end with a
//! line feed, and dies in the ways that receivers do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder::record::Stream;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// The receiver's behaviour on the connections that it accepts from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Reads,
    /// Waits this time after each 100 KB.
    ReadsSlowly(Duration),
    /// Accepts connections and never reads from them.
    Stops,
    /// Takes everything, keeps nothing, and closes the connection this time after the first bytes.
    DropsAndCloses(Duration),
    /// Closes its own side at once, and goes on reading.
    ClosesItsSide,
}

/// A receiver on a port of its own, until it is dropped.
pub struct SyslogReceiver {
    address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    behaviour: Mutex<Behaviour>,
    messages: Mutex<Vec<String>>,
    connections: watch::Sender<usize>,
    is_paused: watch::Sender<bool>,
}

impl Drop for SyslogReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SyslogReceiver {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), behaviour).await
    }

    /// Starts a receiver whose kernel buffers few bytes that are not read.
    pub async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            behaviour: Mutex::new(behaviour),
            messages: Mutex::default(),
            connections: watch::Sender::new(0),
            is_paused: watch::Sender::new(false),
        });
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock() = behaviour;
    }

    /// Reads from no connection, or again from all of them, where its behaviour is to read.
    pub fn pause(&self, is_paused: bool) {
        self.state.is_paused.send_replace(is_paused);
    }

    /// The messages that were read, without frames.
    pub fn messages(&self) -> Vec<String> {
        self.state.messages.lock().clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        *self.state.connections.borrow()
    }

    /// Waits until this number of connections was accepted.
    pub async fn accepted(&self, connections: usize) {
        let mut watched = self.state.connections.subscribe();
        watched.wait_for(|count| *count >= connections).await.unwrap();
    }

    /// Ends as a process that is killed: unread bytes reset its connections.
    pub async fn kill(mut self) -> Vec<String> {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.messages()
    }
}

/// The connections end with this task.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        state.connections.send_modify(|count| *count += 1);
        let behaviour = *state.behaviour.lock();
        let state = state.clone();
        connections.spawn(async move {
            match behaviour {
                Behaviour::Reads => read(stream, &state, Duration::ZERO).await,
                Behaviour::ReadsSlowly(pause) => read(stream, &state, pause).await,
                Behaviour::Stops => {
                    std::future::pending::<()>().await;
                    drop(stream);
                }
                Behaviour::DropsAndCloses(after) => drop_and_close(stream, after).await,
                Behaviour::ClosesItsSide => {
                    let mut stream = stream;
                    stream.shutdown().await.unwrap();
                    read(stream, &state, Duration::ZERO).await;
                }
            }
        });
    }
}

async fn drop_and_close(mut stream: TcpStream, after: Duration) {
    let mut bytes = vec![0; 65_536];
    if stream.read(&mut bytes).await.unwrap() == 0 {
        return;
    }
    let _ = tokio::time::timeout(after, async { while stream.read(&mut bytes).await.unwrap() > 0 {} }).await;
}

async fn read(mut stream: TcpStream, state: &State, pause: Duration) {
    let mut pending = Vec::new();
    let mut unpaused = 0;
    let mut is_paused = state.is_paused.subscribe();
    loop {
        is_paused.wait_for(|is_paused| !is_paused).await.unwrap();
        // Little at a time: a pause holds at once.
        pending.reserve(16_384);
        let Ok(count @ 1..) = stream.read_buf(&mut pending).await else { return };
        unpaused += count;
        if unpaused >= 100_000 && !pause.is_zero() {
            unpaused = 0;
            tokio::time::sleep(pause).await;
        }
        while let Some((message, rest)) = next_message(&pending) {
            state.messages.lock().push(message);
            pending.drain(..rest);
        }
    }
}

/// The first whole message, and where the next one begins. Octet counting begins with a digit, a message with `<`.
pub fn next_message(bytes: &[u8]) -> Option<(String, usize)> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
    if bytes.first()?.is_ascii_digit() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let length: usize = text(&bytes[..space]).parse().unwrap();
        let end = space + 1 + length;
        return Some((text(bytes.get(space + 1..end)?), end));
    }
    assert_eq!(bytes[0], b'<', "a message begins with its priority");
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((text(&bytes[..end]), end + 1))
}

/// How often each identity arrived: that of the structured data.
pub fn arrived(messages: &[String]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for message in messages {
        let (_, rest) = message.split_once(" identity=\"").unwrap();
        *counts.entry(rest[..32].to_owned()).or_default() += 1;
    }
    counts
}

/// The extension of a CEF message as keys and values. A key is the word before an `=` that is not escaped.
pub fn extension(message: &str) -> BTreeMap<String, String> {
    let cef = &message[message.find("CEF:0|").unwrap()..];
    let mut parts = 0;
    let mut escaped = false;
    let start = cef.char_indices().find(|(_, character)| {
        parts += usize::from(*character == '|' && !escaped);
        escaped = *character == '\\' && !escaped;
        parts == 7
    });
    let text = &cef[start.unwrap().0 + 1..];
    let mut equals = Vec::new();
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if character == '=' && !escaped {
            equals.push(at);
        }
        escaped = character == '\\' && !escaped;
    }
    let mut values = BTreeMap::new();
    for (index, at) in equals.iter().enumerate() {
        let start = text[..*at].rfind(' ').map_or(0, |space| space + 1);
        let end = equals.get(index + 1).map_or(text.len(), |next| text[..*next].rfind(' ').unwrap());
        let value = unescaped(&text[at + 1..end]);
        assert_eq!(values.insert(text[start..*at].to_owned(), value), None, "a key stands twice");
    }
    values
}

fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let escaped = if character == '\\' { characters.next() } else { None };
        text.push(match escaped {
            None => character,
            Some('n') => '\n',
            Some('r') => '\r',
            Some(other) => other,
        });
    }
    text
}

/// The keys of CEF that all streams have, each with the fields that it is made from: the first one that is there. Typed
/// in a second time, apart from the sink's.
pub const CEF_KEYS: &str = "cat event.category, act event.action, outcome event.outcome, reason event.reason, \
    dvchost host.name, deviceExternalId host.id, deviceNtDomain host.domain, spt source.port, shost source.domain, \
    suser user.name, suid user.id, sntdom user.domain, spriv user.roles, sproc process.executable process.name, spid process.pid, \
    dpt destination.port, duser user.target.name, duid user.target.id, dpriv user.target.roles, \
    destinationDnsDomain dns.question.name, proto network.transport, fname file.name, filePath file.path, \
    fileHash file.hash.sha256 file.hash.sha1 file.hash.md5 process.hash.sha256 process.hash.sha1, fsize file.size, \
    request url.original, msg message, flexString1=Account organization.name organization.id";

/// The keys of a stream besides these, with their labels.
pub const CEF_KEYS_OF: [(Stream, &str); 5] = [
    (
        Stream::Threats,
        "dhost host.name, cs1=Threat_name sentinel_one.threat.name, \
         cs2=Classification sentinel_one.threat.threat_info.classification, \
         cs3=Mitigation_status sentinel_one.threat.threat_info.mitigation_status, \
         cs4=Site sentinel_one.threat.site.name sentinel_one.threat.site.id, cs5=Command_line process.command_line, \
         cs6=ATT&CK_techniques threat.technique.subtechnique.id threat.technique.id, \
         flexString2=Analyst_verdict sentinel_one.threat.threat_info.analyst_verdict",
    ),
    (
        Stream::Alerts,
        "dhost host.name, cs1=Rule rule.name, cs2=Event_type sentinel_one.alert.alert_info.event_type, \
         cs3=Incident_status sentinel_one.alert.alert_info.incident_status, \
         cs4=Site sentinel_one.alert.site.name sentinel_one.alert.site.id, \
         cs5=Command_line process.command_line, cs6=Parent_process process.parent.executable process.parent.name, \
         flexString2=Analyst_verdict sentinel_one.alert.alert_info.analyst_verdict",
    ),
    (
        Stream::UnifiedAlerts,
        "dhost host.name, cs1=Alert_name sentinel_one.unified_alert.name, \
         cs2=Classification sentinel_one.unified_alert.classification, cs3=Status sentinel_one.unified_alert.status, \
         cs4=Site sentinel_one.unified_alert.site.name sentinel_one.unified_alert.site.id, \
         cs5=Command_line process.command_line, \
         cs6=ATT&CK_techniques threat.technique.subtechnique.id threat.technique.id, \
         flexString2=Analyst_verdict sentinel_one.unified_alert.analyst_verdict",
    ),
    (
        Stream::Activities,
        "cs1=Activity_type event.code, cs2=Comments sentinel_one.activity.comments, cs3=Rule rule.name, \
         cs4=Site sentinel_one.activity.site.name sentinel_one.activity.site.id, \
         cs5=Command_line process.command_line, cs6=Group group.name, flexString2=Device device.model.name",
    ),
    (
        Stream::Agents,
        "cs1=Operating_system host.os.full host.os.name, cs2=Agent_version observer.version, \
         cs3=Network_status sentinel_one.agent.network_status, \
         cs4=Site sentinel_one.agent.site.name sentinel_one.agent.site.id, cs5=Group group.name, \
         cs6=Infected sentinel_one.agent.infected, flexString2=Operational_state sentinel_one.agent.operational_state",
    ),
];

/// The extension that an ECS event becomes, without `msg`.
pub fn extension_of(event: &Value, stream: Stream) -> BTreeMap<String, String> {
    let mut expected = BTreeMap::new();
    let own = CEF_KEYS_OF.iter().find(|(known, _)| *known == stream).map_or("", |(_, own)| own);
    for row in CEF_KEYS.split(", ").chain(own.split(", ")) {
        let Some((key, paths)) = row.trim().split_once(' ') else { continue };
        let Some(value) = paths.split_whitespace().find_map(|path| cef_text(at(event, path))) else { continue };
        let (key, label) = key.split_once('=').map_or((key, None), |(key, label)| (key, Some(label)));
        expected.insert(key.to_owned(), value);
        expected.extend(label.map(|label| (format!("{key}Label"), label.replace('_', " "))));
    }
    for (key, v6_key, label, path) in [
        ("dvc", "c6a1", "Device", "host.ip"),
        ("src", "c6a2", "Source", "source.ip"),
        ("dst", "c6a3", "Destination", "destination.ip"),
    ] {
        let Some(address) = first(at(event, path)) else { continue };
        if address.contains(':') {
            expected.insert(v6_key.to_owned(), address);
            expected.insert(format!("{v6_key}Label"), format!("{label} IPv6 Address"));
        } else {
            expected.insert(key.to_owned(), address);
        }
    }
    for (key, path) in [("rt", "@timestamp"), ("start", "event.start"), ("end", "event.end")] {
        let Some(time) = at(event, path).as_str() else { continue };
        let time: jiff::Timestamp = time.parse().unwrap();
        expected.insert(key.to_owned(), time.as_millisecond().to_string());
    }
    if let Some(mac) = first(at(event, "host.mac")) {
        expected.insert("dvcmac".to_owned(), mac.replace('-', ":"));
    }
    let direction = match at(event, "network.direction").as_str() {
        Some("inbound" | "ingress") => Some("0"),
        Some("outbound" | "egress") => Some("1"),
        _ => None,
    };
    expected.extend(direction.map(|direction| ("deviceDirection".to_owned(), direction.to_owned())));
    expected.remove("msg");
    expected
}

fn at<'a>(event: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(event, |value, key| &value[key])
}

/// A list has commas.
fn cef_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Array(values) => values.iter().filter_map(cef_text).collect::<Vec<_>>().join(","),
        Value::Null | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn first(value: &Value) -> Option<String> {
    match value {
        Value::Array(values) => values.first().and_then(cef_text),
        _ => cef_text(value),
    }
}
