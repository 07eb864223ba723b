//! The bytes that a TCP connection's peer has not acknowledged: the send queues of this process's network, which the
//! kernel lists in `/proc/self/net/tcp` and `tcp6`. All connections share one reading a second.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// The longest time between two readings while a connection waits, and the shortest.
const PERIOD: Duration = Duration::from_secs(1);

static LAST: Mutex<Option<Arc<Reading>>> = Mutex::const_new(None);

/// Local address and peer of a connection.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// The addresses and ports of both ends. A scope, which only one side may know, is not part of it.
type Key = ((IpAddr, u16), (IpAddr, u16));

fn key((local, peer): Ends) -> Key {
    ((local.ip(), local.port()), (peer.ip(), peer.port()))
}

/// The send queues at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    started_at: Instant,
    /// The bytes in the queue of each connection; `None` where they could not be read.
    queues: Option<HashMap<Key, u32>>,
}

/// The part of a connection's output that the peer's kernel has not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// This system lists no send queues: what was written counts as acknowledged.
    Unlisted,
    /// The list of queues cannot be read now, or does not contain the connection.
    Unknown,
    Bytes(u32),
}

impl Reading {
    /// Returns the bytes that were written before this reading and are not acknowledged.
    pub fn queue(&self, ends: Ends) -> Queue {
        match &self.queues {
            Some(queues) => queues.get(&key(ends)).map_or(Queue::Unknown, |bytes| Queue::Bytes(*bytes)),
            None if is_known() => Queue::Unknown,
            None => Queue::Unlisted,
        }
    }
}

/// Returns whether this system lists send queues. A list counts even if it cannot be opened now for want of file
/// descriptors.
pub(super) fn is_known() -> bool {
    cfg!(target_os = "linux") && std::path::Path::new("/proc/self/net/tcp").exists()
}

/// Returns a reading that began after the call.
pub(super) async fn next_reading() -> Arc<Reading> {
    let asked = Instant::now();
    let mut last = LAST.lock().await;
    if let Some(reading) = &*last {
        if reading.started_at > asked {
            return reading.clone();
        }
        sleep_until(reading.started_at + PERIOD).await;
    }
    let started_at = Instant::now();
    // The kernel writes the list while it is read, which takes long with many connections.
    let queues = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    let reading = Arc::new(Reading { started_at, queues });
    *last = Some(reading.clone());
    reading
}

#[cfg(target_os = "linux")]
fn read() -> Option<HashMap<Key, u32>> {
    let v4 = procfs::net::tcp().ok()?;
    let v6 = match procfs::net::tcp6() {
        Ok(v6) => v6,
        // A kernel without IPv6.
        Err(procfs::ProcError::NotFound(_)) => Vec::new(),
        Err(_) => return None,
    };
    let queues = v4.into_iter().chain(v6);
    Some(queues.map(|entry| (key((entry.local_address, entry.remote_address)), entry.tx_queue)).collect())
}

#[cfg(not(target_os = "linux"))]
fn read() -> Option<HashMap<Key, u32>> {
    None
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_queue_is_drained_when_the_peer_has_acknowledged_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let ends = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let (mut peer, _) = listener.accept().await.unwrap();
        stream.write_all(b"small").await.unwrap();
        assert_eq!(next_reading().await.queue(ends), Queue::Bytes(0), "the peer's kernel has it");
        let nobody = (SocketAddr::from(([127, 0, 0, 1], 1)), ends.1);
        assert_eq!(next_reading().await.queue(nobody), Queue::Unknown);
        let unread = Reading { started_at: Instant::now(), queues: None };
        assert_eq!(unread.queue(ends), Queue::Unknown, "it may have something");
        // More than both kernels buffer while the peer does not read.
        let sent = tokio::spawn(async move { (stream.write_all(&vec![0; 64 << 20]).await, stream) });
        tokio::time::timeout(Duration::from_secs(30), async {
            while next_reading().await.queue(ends) == Queue::Bytes(0) {}
        })
        .await
        .unwrap();
        let mut bytes = vec![0; 5 + (64 << 20)];
        peer.read_exact(&mut bytes).await.unwrap();
        let (written, _stream) = sent.await.unwrap();
        written.unwrap();
        tokio::time::timeout(Duration::from_secs(30), async {
            while next_reading().await.queue(ends) != Queue::Bytes(0) {}
        })
        .await
        .unwrap();
    }
}
