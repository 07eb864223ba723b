//! The console behind a real socket.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, State};
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::console::Console;
use super::http::{Answer, Request};
use super::time;

/// The largest request body that is read: those of real requests are tiny.
const LARGEST_REQUEST: usize = 1 << 20;

/// A console that listens on a socket. Dropping it closes the socket.
pub struct Server {
    address: SocketAddr,
    console: Arc<Console>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Tells the console's time in microseconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

impl Server {
    /// Listens on `address` (port 0 takes a free one) under the system clock.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(console: Arc<Console>, address: SocketAddr) -> io::Result<Self> {
        Self::start_with_clock(console, address, time::system_clock).await
    }

    /// The same under another clock, which tells microseconds since 1970.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_with_clock(
        console: Arc<Console>,
        address: SocketAddr,
        clock: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let clock: Clock = Arc::new(clock);
        let service = Router::new()
            .fallback(answer)
            .with_state((Arc::clone(&console), clock))
            .into_make_service_with_connect_info::<Scissors>();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let end = async { drop(stopped.await) };
            if let Err(error) = axum::serve(Wires(listener), service).with_graceful_shutdown(end).await {
                tracing::warn!(%error, "emulator stopped serving");
            }
        });
        Ok(Self { address, console, stop: Some(stop), task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL to put into a pipeline file.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The console behind it.
    pub fn console(&self) -> &Arc<Console> {
        &self.console
    }

    /// Closes the socket, lets answers under way finish for a second, and ends.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if tokio::time::timeout(Duration::from_secs(1), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn answer(
    State((console, clock)): State<(Arc<Console>, Clock)>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: axum::extract::Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_REQUEST).await else { return refused() };
    let request = Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    let answer = console.answer(&request, clock());
    tokio::time::sleep(answer.travel.delay).await;
    if answer.travel.dropped {
        scissors.cut();
    }
    sent(answer)
}

fn refused() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

fn sent(answer: Answer) -> Response<Body> {
    let whole = answer.body.len();
    let arrives = answer.travel.cut_after.map_or(whole, |cut| cut.min(whole));
    let body = if arrives == whole && answer.travel.body_takes.is_zero() {
        Body::from(answer.body)
    } else {
        in_pieces(answer.body.slice(..arrives), arrives < whole, answer.travel.body_takes)
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(whole));
    response
}

/// The body in pieces with pauses between them; when it is cut, the last piece is an error that ends the connection.
fn in_pieces(body: Bytes, cut: bool, takes: Duration) -> Body {
    const PIECES: usize = 10;
    let size = (body.len() / PIECES).max(1);
    let pause = takes / u32::try_from(PIECES).unwrap_or(1);
    Body::from_stream(stream::unfold((body, cut), move |(mut body, cut)| async move {
        if body.is_empty() {
            return cut.then(|| (Err(io::Error::from(io::ErrorKind::ConnectionReset)), (body, false)));
        }
        tokio::time::sleep(pause).await;
        let piece = body.split_to(size.min(body.len()));
        Some((Ok(piece), (body, cut)))
    }))
}

/// Cuts a connection, so that not even a status line is written.
#[derive(Clone, Default)]
struct Scissors(Arc<AtomicBool>);

impl Scissors {
    fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Connected<IncomingStream<'_, Wires>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.io().scissors.clone()
    }
}

/// Accepts connections that can be cut.
struct Wires(TcpListener);

impl Listener for Wires {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Small answers would wait for acknowledgements otherwise.
        drop(stream.set_nodelay(true));
        (Wire { stream, scissors: Scissors::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection that can be cut.
struct Wire {
    stream: TcpStream,
    scissors: Scissors,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.scissors.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.scissors.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.scissors.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
