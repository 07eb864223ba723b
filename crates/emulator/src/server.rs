//! Serves the console on a socket.

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

/// Limit for request bodies, in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// A console that listens on a socket. Dropping it closes the socket.
pub struct Server {
    address: SocketAddr,
    console: Arc<Console>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Returns the console's time in microseconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

impl Server {
    /// Listens on `address` (port 0 selects a free one) with the system clock.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn start(console: Arc<Console>, address: SocketAddr) -> io::Result<Self> {
        Self::start_with_clock(console, address, time::system_clock).await
    }

    /// Starts as [`Self::start`] does, with another clock, which returns microseconds since 1970.
    ///
    /// # Errors
    /// If the address cannot be bound.
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
            .into_make_service_with_connect_info::<ResetHandle>();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let end = async { drop(stopped.await) };
            if let Err(error) = axum::serve(ResettableListener(listener), service).with_graceful_shutdown(end).await {
                tracing::warn!(%error, "emulator stopped serving");
            }
        });
        Ok(Self { address, console, stop: Some(stop), task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URL for a pipeline file.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn console(&self) -> &Arc<Console> {
        &self.console
    }

    /// Closes the socket and waits up to a second for pending answers.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if tokio::time::timeout(Duration::from_secs(1), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn answer(
    State((console, clock)): State<(Arc<Console>, Clock)>,
    ConnectInfo(connection): ConnectInfo<ResetHandle>,
    request: axum::extract::Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_REQUEST).await else { return too_large() };
    let request = Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    let answer = console.answer(&request, clock());
    tokio::time::sleep(answer.transmission.delay).await;
    if answer.transmission.dropped {
        connection.reset();
    }
    into_response(answer)
}

fn too_large() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

fn into_response(answer: Answer) -> Response<Body> {
    let length = answer.body.len();
    let sent = answer.transmission.truncate_after.map_or(length, |limit| limit.min(length));
    let body = if sent == length && answer.transmission.body_duration.is_zero() {
        Body::from(answer.body)
    } else {
        in_chunks(answer.body.slice(..sent), sent < length, answer.transmission.body_duration)
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Sends the body in chunks with pauses. If it is truncated, an error after the last chunk ends the connection.
fn in_chunks(body: Bytes, truncated: bool, duration: Duration) -> Body {
    const CHUNKS: usize = 10;
    let size = (body.len() / CHUNKS).max(1);
    let pause = duration / u32::try_from(CHUNKS).unwrap_or(1);
    Body::from_stream(stream::unfold((body, truncated), move |(mut body, truncated)| async move {
        if body.is_empty() {
            return truncated.then(|| (Err(io::Error::from(io::ErrorKind::ConnectionReset)), (body, false)));
        }
        tokio::time::sleep(pause).await;
        let chunk = body.split_to(size.min(body.len()));
        Some((Ok(chunk), (body, truncated)))
    }))
}

/// Resets a connection before the status line is written.
#[derive(Clone, Default)]
struct ResetHandle(Arc<AtomicBool>);

impl ResetHandle {
    fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Connected<IncomingStream<'_, ResettableListener>> for ResetHandle {
    fn connect_info(stream: IncomingStream<'_, ResettableListener>) -> Self {
        stream.io().reset_handle.clone()
    }
}

/// Accepts connections that can be reset.
struct ResettableListener(TcpListener);

impl Listener for ResettableListener {
    type Io = ResettableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Otherwise small answers would wait for acknowledgements.
        drop(stream.set_nodelay(true));
        (ResettableStream { stream, reset_handle: ResetHandle::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

struct ResettableStream {
    stream: TcpStream,
    reset_handle: ResetHandle,
}

impl AsyncRead for ResettableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.reset_handle.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.reset_handle.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reset_handle.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
