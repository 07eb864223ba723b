//! The bytes that a TCP connection's peer has not acknowledged: the send queues of this process's network, which the
//! kernel lists in `/proc/self/net/tcp` and `tcp6`. All connections share one reading a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// The longest time between two readings while a connection waits, and the shortest.
const PERIOD: Duration = Duration::from_secs(1);

static LAST: Mutex<Option<Arc<Reading>>> = Mutex::const_new(None);

/// Local address and peer of a connection.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// The send queues at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    begun: Instant,
    /// Connections with a queue that is not empty; `None` where the kernel does not say.
    waiting: Option<Vec<Ends>>,
}

impl Reading {
    /// Whether the peer's kernel has acknowledged everything that was written before this reading. Where that cannot be
    /// known, it counts as acknowledged.
    pub fn is_drained(&self, ends: Ends) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| !waiting.contains(&ends))
    }
}

/// Whether this system lists send queues.
pub(super) fn is_known() -> bool {
    cfg!(target_os = "linux")
}

/// A reading that began after the call.
pub(super) async fn next_reading() -> Arc<Reading> {
    let asked = Instant::now();
    let mut last = LAST.lock().await;
    if let Some(reading) = &*last {
        if reading.begun > asked {
            return reading.clone();
        }
        sleep_until(reading.begun + PERIOD).await;
    }
    let begun = Instant::now();
    // The kernel writes the list while it is read, which takes long with many connections.
    let waiting = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    let reading = Arc::new(Reading { begun, waiting });
    *last = Some(reading.clone());
    reading
}

#[cfg(target_os = "linux")]
fn read() -> Option<Vec<Ends>> {
    let v4 = procfs::net::tcp().ok()?;
    // A kernel without IPv6 has no such file.
    let v6 = procfs::net::tcp6().unwrap_or_default();
    let waiting = v4.into_iter().chain(v6).filter(|entry| entry.tx_queue > 0);
    Some(waiting.map(|entry| (entry.local_address, entry.remote_address)).collect())
}

#[cfg(not(target_os = "linux"))]
fn read() -> Option<Vec<Ends>> {
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
        assert!(next_reading().await.is_drained(ends), "the peer's kernel has it");
        // More than both kernels take while nobody reads.
        let sent = tokio::spawn(async move { (stream.write_all(&vec![0; 64 << 20]).await, stream) });
        tokio::time::timeout(Duration::from_secs(30), async { while next_reading().await.is_drained(ends) {} })
            .await
            .unwrap();
        let mut bytes = vec![0; 5 + (64 << 20)];
        peer.read_exact(&mut bytes).await.unwrap();
        let (written, _stream) = sent.await.unwrap();
        written.unwrap();
        tokio::time::timeout(Duration::from_secs(30), async { while !next_reading().await.is_drained(ends) {} })
            .await
            .unwrap();
    }
}
