//! A syslog receiver, written from RFC 6587 and RFC 5424: it takes octet-counted messages and those that end with a
//! line feed, and dies in the ways that receivers do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// What the receiver does with the connections that it accepts from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Reads,
    /// Waits so long after each 100 KB.
    ReadsSlowly(Duration),
    /// Accepts connections and never reads from them.
    Stops,
    /// Takes everything, keeps nothing, and closes the connection so long after the first bytes.
    DropsAndCloses(Duration),
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

    /// Its kernel takes little that is not read.
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

    /// Waits until so many connections were accepted.
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
