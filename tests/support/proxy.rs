//! An HTTP proxy that leads everybody to one server, whatever address they ask for, and remembers what that was.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A running proxy; it ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Leads to `server`; `authorization` is what it wants in `Proxy-Authorization`.
    pub async fn start(server: SocketAddr, authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, server, authorization, seen.clone()));
            }
        });
        Self { address, asked, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first words of all requests: a method and an address.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, server: SocketAddr, authorization: Option<&str>, asked: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let first = head.lines().next().unwrap();
    asked.lock().unwrap().push(first.rsplit_once(' ').unwrap().0.to_owned());
    let lower = head.to_ascii_lowercase();
    let known = |expected: &str| lower.contains(&format!("proxy-authorization: {}\r\n", expected.to_ascii_lowercase()));
    if authorization.is_some_and(|expected| !known(expected)) {
        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
        return;
    }
    let mut upstream = TcpStream::connect(server).await.unwrap();
    if first.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    } else {
        upstream.write_all(head.as_bytes()).await.unwrap();
    }
    let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
}
