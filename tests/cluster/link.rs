//! The way from one worker to the API server, which can be cut as networks are: nothing is refused, nothing comes
//! through.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A running link; it ends when it is dropped.
pub struct Link {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, cut) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(join(client, server, cut.clone()));
            }
        });
        Self { address, is_cut, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing comes through, in no direction, and no error is returned.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn join(client: TcpStream, server: SocketAddr, mut cut: watch::Receiver<bool>) {
    let _ = cut.wait_for(|is_cut| !is_cut).await;
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    let (read, write) = client.into_split();
    let (up_read, up_write) = upstream.into_split();
    let one = tokio::spawn(copy(read, up_write, cut.clone()));
    let other = tokio::spawn(copy(up_read, write, cut));
    let _ = tokio::join!(one, other);
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        // What was lost on the way is sent again by TCP when the way is there again.
        if cut.wait_for(|is_cut| !is_cut).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), to.shutdown()).await;
}
