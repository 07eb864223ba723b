//! Accepts connections, and bounds what a client can hold: connections, time and memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Limits of a listener. A client that would exceed one takes the place of the oldest connection that has sent no
/// complete request; if there is none, it is disconnected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address.
    pub connections_per_address: usize,
    /// Time until the head of a request has arrived, counted from the end of the last one.
    pub head: Duration,
    /// Time for all requests of a connection. A client that reads slowly holds the response in memory.
    pub connection: Duration,
}

/// A Prometheus, a kubelet and some browsers have one or two connections each.
pub(super) const LIMITS: Limits = Limits {
    connections: 256,
    connections_per_address: 32,
    head: Duration::from_secs(10),
    connection: Duration::from_secs(300),
};

/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;
/// Wait after an error of the listener, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// The address that a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client(pub IpAddr);

/// Serves `router` until `shutdown` completes; then until the responses that were begun are sent. `tls` is asked for
/// each connection, so that a new certificate holds for the next one.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: impl Fn() -> Option<Arc<ServerConfig>>,
    shutdown: impl Future<Output = ()>,
) {
    let open = Arc::new(Open::default());
    let graceful = GracefulShutdown::new();
    let accept = async {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    sleep(AFTER_ERROR).await;
                    continue;
                }
            };
            let Some(place) = open.enter(peer.ip(), limits).map(Arc::new) else { continue };
            let router = router.clone();
            let tls = tls();
            let watcher = graceful.watcher();
            let client = Client(peer.ip());
            let seen = place.clone();
            let gives_way = place.gives_way.clone();
            let served = async move {
                // What went wrong with a client is of no interest.
                match tls {
                    None => {
                        let connection = connection(stream, client, router, limits, watcher, Some(seen));
                        let _ = timeout(limits.connection, connection).await;
                    }
                    Some(config) => {
                        let handshake = TlsAcceptor::from(config).accept(stream);
                        if let Ok(Ok(stream)) = timeout(limits.head, handshake).await {
                            let connection = connection(stream, client, router, limits, watcher, Some(seen));
                            let _ = timeout(limits.connection, connection).await;
                        }
                    }
                }
            };
            tokio::spawn(async move {
                gives_way.run_until_cancelled(served).await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: Client,
    router: Router,
    limits: Limits,
    watcher: Watcher,
    place: Option<Arc<Place>>,
) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD);
    // The fuzzing sends all it has, and then reads.
    builder.half_close(cfg!(test));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        place.iter().for_each(|place| place.keep());
        request.extensions_mut().insert(client);
        router.call(request)
    });
    watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await
}

/// One connection, for the fuzzing.
#[cfg(test)]
pub(super) async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    // Without it, the connection would end.
    let graceful = GracefulShutdown::new();
    let client = Client(IpAddr::from([127, 0, 0, 1]));
    let _ = connection(stream, client, router, LIMITS, graceful.watcher(), None).await;
}

/// The open connections.
#[derive(Debug, Default)]
struct Open(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    /// The oldest first.
    by_number: BTreeMap<u64, Connection>,
    /// No number is used twice: a connection that had to give way still has its place for a moment.
    next: u64,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    /// Ends it for the sake of another one; `None` from its first complete request on.
    gives_way: Option<CancellationToken>,
}

impl Open {
    /// `None` if there are too many.
    fn enter(self: &Arc<Self>, address: IpAddr, limits: Limits) -> Option<Place> {
        let mut connections = self.0.lock();
        let open = &mut connections.by_number;
        let is_crowded =
            open.values().filter(|other| other.address == address).count() >= limits.connections_per_address;
        if is_crowded || open.len() >= limits.connections {
            let mut waiting = open.iter().filter(|(_, other)| other.address == address || !is_crowded);
            let (oldest, token) = waiting.find_map(|(number, other)| Some((*number, other.gives_way.clone()?)))?;
            open.remove(&oldest);
            token.cancel();
        }
        let gives_way = CancellationToken::new();
        let number = connections.next;
        connections.next += 1;
        connections.by_number.insert(number, Connection { address, gives_way: Some(gives_way.clone()) });
        Some(Place { number, gives_way, open: self.clone() })
    }
}

/// One of the connections, until it is dropped.
#[derive(Debug)]
struct Place {
    number: u64,
    gives_way: CancellationToken,
    open: Arc<Open>,
}

impl Place {
    /// A complete request has arrived.
    fn keep(&self) {
        if let Some(connection) = self.open.0.lock().by_number.get_mut(&self.number) {
            connection.gives_way = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.0.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;

    async fn start(limits: Limits) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "hello"));
        tokio::spawn(serve(listener, router, limits, || None, std::future::pending()));
        address
    }

    /// What comes back until the server closes the connection.
    async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may have closed it already.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    const WHOLE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn a_head_that_does_not_end_is_not_waited_for() {
        let address = start(Limits { head: Duration::from_millis(300), ..LIMITS }).await;
        let begun = Instant::now();
        assert!(!exchange(address, b"GET / HTTP/1.1\r\nHost: x\r\n").await.contains("200"));
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        let answer = exchange(address, long.as_bytes()).await;
        assert!(!answer.contains("200"), "{answer}");
        assert!(exchange(address, WHOLE).await.ends_with("hello"));
    }

    /// A proxy and the listener behind it must see the same requests in the same bytes.
    #[tokio::test]
    async fn bytes_that_can_be_read_as_two_kinds_of_requests_are_refused() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let router = Router::new().fallback(move |request: Request<axum::body::Body>| {
            record.lock().push(request.uri().path().to_owned());
            async {
                let _ = axum::body::to_bytes(request.into_body(), 1 << 20).await;
                "hello"
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router, LIMITS, || None, std::future::pending()));
        let inner = "GET /inner HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let size = inner.len();
        for (head, is_inner_seen) in [
            // A whole request, and the next one after it.
            ("Content-Length: 0\r\n\r\n".to_owned(), true),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), true),
            // The body of a request.
            (format!("Connection: close\r\nContent-Length: {size}\r\n\r\n"), false),
            // Two lengths, or none that can be read.
            (format!("Content-Length: 0\r\nContent-Length: {size}\r\n\r\n"), false),
            (format!("Content-Length: {size}, 0\r\n\r\n"), false),
            ("Content-Length: +0\r\n\r\n".to_owned(), false),
            ("Content-Length: 0x0\r\n\r\n".to_owned(), false),
            ("Content-Length : 0\r\n\r\n".to_owned(), false),
            ("Content-Length: 18446744073709551616\r\n\r\n".to_owned(), false),
            ("Transfer-Encoding: identity\r\n\r\n0\r\n\r\n".to_owned(), false),
            ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(), false),
            ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(), false),
            ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(), false),
            ("Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n".to_owned(), false),
            ("Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n".to_owned(), false),
        ] {
            seen.lock().clear();
            let answer =
                exchange(address, format!("POST /outer HTTP/1.1\r\nHost: x\r\n{head}{inner}").as_bytes()).await;
            let has_inner = seen.lock().iter().any(|path| path == "/inner");
            assert_eq!(has_inner, is_inner_seen, "{head:?}: {:?} {answer}", seen.lock());
        }
    }

    #[tokio::test]
    async fn one_address_holds_so_many_connections_and_others_have_room() {
        let address = start(Limits { connections_per_address: 2, ..LIMITS }).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = [0; 17];
            stream.read_exact(&mut answer).await.unwrap();
            held.push(stream);
        }
        assert_eq!(exchange(address, WHOLE).await, "");
        drop(held);
        while !exchange(address, WHOLE).await.ends_with("hello") {
            tokio::task::yield_now().await;
        }
        let open = Arc::new(Open::default());
        let limits = Limits { connections: 3, connections_per_address: 2, ..LIMITS };
        let [one, other] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let enter = |address| open.enter(address, limits).inspect(Place::keep);
        let held = [enter(one), enter(one)];
        assert!(enter(one).is_none());
        let third = enter(other);
        assert!(third.is_some() && enter(other).is_none(), "in all");
        drop((held, third));
        assert!(open.0.lock().by_number.is_empty());
    }

    #[test]
    fn the_oldest_without_a_request_gives_way_to_its_address_or_to_all() {
        let open = Arc::new(Open::default());
        let limits = Limits { connections: 4, connections_per_address: 2, ..LIMITS };
        let [one, other, third] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let enter = |address| open.enter(address, limits);
        let held = [enter(other), enter(one), enter(one), enter(other)].map(Option::unwrap);
        let ended = || held.iter().map(|place| place.gives_way.is_cancelled()).collect::<Vec<_>>();
        // Its own address has too many.
        let fifth = enter(one).unwrap();
        assert_eq!(ended(), [false, true, false, false]);
        // There are too many in all. The first one has sent a request.
        held[0].keep();
        let sixth = enter(third).unwrap();
        assert_eq!(ended(), [false, true, true, false]);
        [&held[3], &fifth, &sixth].into_iter().for_each(Place::keep);
        assert!(enter(third).is_none());
        assert_eq!(open.0.lock().by_number.len(), 4);
        drop((held, fifth, sixth));
        assert!(open.0.lock().by_number.is_empty());
        // The newest may be the one that gives way. Its end must not free the place of its successor.
        let kept = enter(one).unwrap();
        kept.keep();
        let newest = enter(one).unwrap();
        let _successor = enter(one).unwrap();
        assert!(newest.gives_way.is_cancelled());
        drop(newest);
        assert_eq!(open.0.lock().by_number.len(), 2);
    }

    #[tokio::test]
    async fn half_open_connections_do_not_keep_others_out() {
        let long = Duration::from_secs(600);
        let address = start(Limits { head: long, connection: long, ..LIMITS }).await;
        let mut kept = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        kept.write_all(request).await.unwrap();
        let mut answer = [0; 17];
        kept.read_exact(&mut answer).await.unwrap();
        let mut half_open = Vec::new();
        for number in 0..150 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n").await.unwrap();
            }
            half_open.push(stream);
        }
        for _ in 0..3 {
            assert!(exchange(address, WHOLE).await.ends_with("hello"));
        }
        // The first one had to go, without an answer.
        let mut rest = Vec::new();
        let _ = half_open[0].read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{rest:?}");
        // Who has sent a request is not ended for others.
        let mut rest = [0; 1024];
        while !rest.windows(5).any(|part| part == b"hello") {
            assert!(kept.read(&mut rest).await.unwrap() > 0);
        }
        kept.write_all(WHOLE).await.unwrap();
        let mut again = String::new();
        kept.read_to_string(&mut again).await.unwrap();
        assert!(again.starts_with("HTTP/1.1 200") && again.ends_with("hello"), "{again}");
    }
}
