//! Accepts connections, and bounds what a client can hold: connections, time and memory.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::checks::network;

/// Limits of a listener. A client that would exceed one takes the place of a connection without a request. That is the
/// longest idle one, or else the oldest that has sent none. If all are busy, the network with the most connections
/// loses its oldest one, so that a few addresses cannot keep all others out. A network that has as many connections as
/// it may gets no place of others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address, or from an IPv6 network of 64 bits.
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
    connection: Duration::from_mins(5),
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
                // Errors of a client's connection are ignored.
                match tls {
                    None => {
                        let connection = connection(stream, client, router, limits, watcher, seen);
                        let _ = timeout(limits.connection, connection).await;
                    }
                    Some(config) => {
                        let handshake = TlsAcceptor::from(config).accept(stream);
                        if let Ok(Ok(stream)) = timeout(limits.head, handshake).await {
                            let connection = connection(stream, client, router, limits, watcher, seen);
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
    place: Arc<Place>,
) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD);
    // The fuzzing sends all it has, and then reads.
    builder.half_close(cfg!(test));
    let router = TowerToHyperService::new(router);
    let stream = Watched { stream, place: place.clone() };
    let service = service_fn(move |mut request: Request<Incoming>| {
        place.set(Stage::Busy);
        request.extensions_mut().insert(client);
        let answer = router.call(request);
        let place = place.clone();
        async move { answer.await.map(|response| response.map(|body| Answer { body, place })) }
    });
    watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await
}

/// Serves one connection, for the fuzzing.
#[cfg(test)]
pub(super) async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    // The connection ends when this is dropped.
    let graceful = GracefulShutdown::new();
    let client = Client(IpAddr::from([127, 0, 0, 1]));
    let Some(place) = Arc::new(Open::default()).enter(client.0, LIMITS) else { return };
    let _ = connection(stream, client, router, LIMITS, graceful.watcher(), Arc::new(place)).await;
}

/// The body of a response, which hyper drops when it has read the whole body.
struct Answer {
    body: Body,
    place: Arc<Place>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.place.set(Stage::Answered);
    }
}

/// Sees when a response is sent: only then is its connection idle.
struct Watched<S> {
    stream: S,
    place: Arc<Place>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Notes that the response is sent: hyper flushes when it has written all it has of the response.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.place.sent();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The open connections.
#[derive(Debug, Default)]
struct Open(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    /// The oldest first.
    by_number: BTreeMap<u64, Connection>,
    /// The last number of a connection. No number is used twice: a connection that had to give way still has its place
    /// for a moment.
    next: u64,
}

#[derive(Debug)]
struct Connection {
    network: IpAddr,
    stage: Stage,
    /// Ends the connection for the sake of another one.
    gives_way: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The connection has sent no complete request.
    New,
    /// A request is being answered.
    Busy,
    /// hyper has all of the response, and sends it.
    Answered,
    /// The connection may send another request. The number orders idle connections by how long they have been idle.
    Idle(u64),
}

impl Connections {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn count(&self, network: IpAddr) -> usize {
        self.by_number.values().filter(|other| other.network == network).count()
    }

    /// Returns the number of the connection that gives way to a new one of `network`. `is_crowded` is true if the
    /// network has too many connections.
    fn victim(&self, network: IpAddr, is_crowded: bool) -> Option<u64> {
        let all = || self.by_number.iter().filter(|(_, other)| other.network == network || !is_crowded);
        let idle = all().filter_map(|(number, other)| match other.stage {
            Stage::Idle(since) => Some((since, *number)),
            _ => None,
        });
        let new = || all().find(|(_, other)| other.stage == Stage::New).map(|(number, _)| *number);
        let waiting = idle.min().map(|(_, number)| number).or_else(new);
        if waiting.is_some() || is_crowded {
            return waiting;
        }
        let counted = self.by_number.iter().map(|(number, other)| (self.count(other.network), *number));
        let (most, oldest) = counted.max_by_key(|(count, number)| (*count, std::cmp::Reverse(*number)))?;
        (most > self.count(network) + 1).then_some(oldest)
    }
}

impl Open {
    /// Returns the place of a new connection. `None` if there are too many.
    fn enter(self: &Arc<Self>, address: IpAddr, limits: Limits) -> Option<Place> {
        let network = network(address);
        let mut connections = self.0.lock();
        let is_crowded = connections.count(network) >= limits.connections_per_address;
        if is_crowded || connections.by_number.len() >= limits.connections {
            let victim = connections.victim(network, is_crowded)?;
            let victim = connections.by_number.remove(&victim)?;
            victim.gives_way.cancel();
        }
        let gives_way = CancellationToken::new();
        let number = connections.number();
        let connection = Connection { network, stage: Stage::New, gives_way: gives_way.clone() };
        connections.by_number.insert(number, connection);
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
    fn set(&self, stage: Stage) {
        if let Some(connection) = self.open.0.lock().by_number.get_mut(&self.number) {
            connection.stage = stage;
        }
    }

    /// Notes that the whole response is sent.
    fn sent(&self) {
        let mut connections = self.open.0.lock();
        let now = connections.number();
        if let Some(connection) = connections.by_number.get_mut(&self.number)
            && connection.stage == Stage::Answered
        {
            connection.stage = Stage::Idle(now);
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

    /// Sends a request, and returns the answer up to the end of the connection.
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
        let started_at = Instant::now();
        assert!(!exchange(address, b"GET / HTTP/1.1\r\nHost: x\r\n").await.contains("200"));
        assert!(started_at.elapsed() < Duration::from_secs(20), "{:?}", started_at.elapsed());
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

    /// Returns busy clients of one address, each with a request that is being answered.
    async fn busy(address: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
        let mut held = Vec::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            held.push(stream);
        }
        held
    }

    #[tokio::test]
    async fn one_address_holds_so_many_connections_and_others_have_room() {
        let answered = CancellationToken::new();
        let waits = answered.clone();
        let slow = get(async move || waits.cancelled_owned().await);
        let router = Router::new().route("/", get(async || "hello")).route("/slow", slow);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { connections_per_address: 2, ..LIMITS };
        tokio::spawn(serve(listener, router, limits, || None, std::future::pending()));
        let _held = busy(address, 2).await;
        while !exchange(address, WHOLE).await.is_empty() {
            tokio::task::yield_now().await;
        }
        answered.cancel();
        while !exchange(address, WHOLE).await.ends_with("hello") {
            tokio::task::yield_now().await;
        }
        let open = Arc::new(Open::default());
        let limits = Limits { connections: 3, connections_per_address: 2, ..LIMITS };
        let [one, other] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let enter = |address| open.enter(address, limits).inspect(|place| place.set(Stage::Busy));
        let held = [enter(one), enter(one)];
        assert!(enter(one).is_none());
        let third = enter(other);
        assert!(third.is_some() && enter(other).is_none(), "in all");
        drop((held, third));
        assert!(open.0.lock().by_number.is_empty());
    }

    /// Eight addresses, each with as many connections as it may have.
    #[test]
    fn a_few_addresses_keep_nobody_out_whatever_they_do() {
        for stage in [Stage::New, Stage::Busy, Stage::Answered, Stage::Idle(0)] {
            let open = Arc::new(Open::default());
            let enter = |address| open.enter(address, LIMITS).inspect(|place| place.set(stage));
            let v4 = |index: u32| IpAddr::from((0x0a00_0000_u32 + index).to_be_bytes());
            let held: Vec<_> = (0..256).map(|index| enter(v4(index / 32)).unwrap()).collect();
            let newcomers: Vec<_> = (100..110).map(|index| enter(v4(index)).unwrap()).collect();
            assert_eq!(held.iter().filter(|place| place.gives_way.is_cancelled()).count(), 10, "{stage:?}");
            assert!(newcomers.iter().all(|place| !place.gives_way.is_cancelled()), "{stage:?}");
        }
        // All addresses of an IPv6 network of 64 bits are one; IPv4 is itself in its IPv6 form.
        let open = Arc::new(Open::default());
        let limits = Limits { connections_per_address: 2, ..LIMITS };
        let enter =
            |address: &str| open.enter(address.parse().unwrap(), limits).inspect(|place| place.set(Stage::Busy));
        let held = [enter("2001:db8:1:2::1"), enter("2001:db8:1:2:ffff::1"), enter("10.0.0.1"), enter("10.0.0.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(enter("2001:db8:1:2::9").is_none() && enter("::ffff:10.0.0.1").is_none());
        assert!(enter("2001:db8:1:3::1").is_some() && enter("::ffff:10.0.0.2").is_some());
    }

    #[test]
    fn idle_connections_give_way_first_and_then_those_without_a_request() {
        let open = Arc::new(Open::default());
        let limits = Limits { connections: 4, connections_per_address: 3, ..LIMITS };
        let [one, other, third] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let enter = |address| open.enter(address, limits);
        let held = [enter(one), enter(other), enter(other), enter(one)].map(Option::unwrap);
        let answer = |place: &Place| {
            place.set(Stage::Busy);
            place.set(Stage::Answered);
            place.sent();
        };
        answer(&held[2]);
        answer(&held[1]);
        let ended = || held.iter().map(|place| place.gives_way.is_cancelled()).collect::<Vec<_>>();
        let fifth = enter(third).unwrap();
        assert_eq!(ended(), [false, false, true, false], "idle for the longest time");
        let sixth = enter(third).unwrap();
        assert_eq!(ended(), [false, true, true, false]);
        let seventh = enter(third).unwrap();
        assert_eq!(ended(), [true, true, true, false], "the oldest without a request");
        held[3].set(Stage::Busy);
        // The network of the new connection has as many as it may.
        let eighth = enter(third).unwrap();
        assert!(fifth.gives_way.is_cancelled() && !held[3].gives_way.is_cancelled());
        assert_eq!(open.0.lock().by_number.len(), 4);
        drop((held, fifth, sixth, seventh, eighth));
        assert!(open.0.lock().by_number.is_empty());
        // The newest may be the one that gives way. Its end must not free the place of its successor.
        let limits = Limits { connections_per_address: 1, ..limits };
        let newest = open.enter(one, limits).unwrap();
        let _successor = open.enter(one, limits).unwrap();
        assert!(newest.gives_way.is_cancelled());
        drop(newest);
        assert_eq!(open.0.lock().by_number.len(), 1);
    }

    /// A page that is being sent is not interrupted for others, however large it is.
    #[tokio::test]
    async fn a_connection_is_idle_when_its_response_is_sent() {
        const SIZE: usize = 32 << 20;
        let large = || {
            let chunks = (0..SIZE / 65_536).map(|_| Ok::<_, io::Error>(vec![b'x'; 65_536]));
            Body::from_stream(futures_util::stream::iter(chunks))
        };
        let router = Router::new().route("/", get(async || "hello")).route("/large", get(async move || large()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { connections_per_address: 2, ..LIMITS };
        tokio::spawn(serve(listener, router, limits, || None, std::future::pending()));
        let mut large = TcpStream::connect(address).await.unwrap();
        large.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 15];
        large.read_exact(&mut head).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..5 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = [0; 17];
            stream.read_exact(&mut answer).await.unwrap();
            idle.push(stream);
        }
        let mut read = 0;
        let mut part = vec![0; 1 << 16];
        while read < SIZE {
            let bytes = large.read(&mut part).await.unwrap();
            assert!(bytes > 0, "cut off after {read} bytes");
            read += bytes;
        }
    }

    #[tokio::test]
    async fn half_open_connections_do_not_keep_others_out() {
        let long = Duration::from_mins(10);
        let address = start(Limits { head: long, connection: long, ..LIMITS }).await;
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
    }
}
