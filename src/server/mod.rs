//! The HTTP endpoints of a worker: metrics, health, the status page and its JSON.
//!
//! Their data comes from [`Telemetry`], which has no settings and so no secrets.

mod lanes;
mod listener;
mod page;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{FutureExt, stream};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_http::compression::CompressionLayer;

pub use lanes::{Cluster, File, Lane, LastError, Status};

use crate::record::Timestamp;
use crate::telemetry::Telemetry;

/// Time for open responses to finish after shutdown begins.
const LAST_RESPONSES: Duration = Duration::from_secs(1);

/// Interval of the runtime's heartbeat and of the averages on the status page.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// An address bound for the HTTP endpoints; requests are answered once [`Server::serve`] runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds `listen` (`HOST:PORT`; with port 0, the system chooses a free port).
    ///
    /// # Errors
    /// If `listen` is not an address or cannot be bound.
    pub async fn bind(listen: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The bound address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves requests until `shutdown` completes.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        telemetry: Arc<Telemetry>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let shutdown = shutdown.shared();
        let heartbeats = send_heartbeats(telemetry.clone());
        let serving = listener::serve(self.listener, router(telemetry), listener::LIMITS, shutdown.clone());
        tokio::select! {
            () = serving => Ok(()),
            never = heartbeats => match never {},
            // A client that reads slowly must not delay the end of the process.
            () = shutdown.then(|()| sleep(LAST_RESPONSES)) => Ok(()),
        }
    }
}

async fn send_heartbeats(telemetry: Arc<Telemetry>) -> Infallible {
    loop {
        telemetry.health().heartbeat();
        telemetry.sample_rates(Timestamp::now());
        sleep(HEARTBEAT).await;
    }
}

type AppState = State<Arc<Telemetry>>;

fn router(telemetry: Arc<Telemetry>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/v1/lanes", get(lanes))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .layer(map_response(restrict_content))
        .layer(CompressionLayer::new())
        .with_state(telemetry)
}

async fn metrics(State(telemetry): AppState) -> impl IntoResponse {
    let chunks = telemetry.exposition(Timestamp::now()).map(Ok::<_, Infallible>);
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, Body::from_stream(stream::iter(chunks)))
}

async fn livez(State(telemetry): AppState) -> impl IntoResponse {
    problems(telemetry.health().stuck().into_iter().collect())
}

async fn readyz(State(telemetry): AppState) -> impl IntoResponse {
    problems(telemetry.health().not_ready())
}

fn problems(problems: Vec<String>) -> (StatusCode, String) {
    if problems.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")
}

async fn lanes(State(telemetry): AppState) -> impl IntoResponse {
    Json(Status::of(&telemetry.snapshot(), Timestamp::now()))
}

#[derive(Deserialize)]
struct PageQuery {
    /// Seconds after which the browser reloads the page.
    refresh: Option<u16>,
}

async fn page(State(telemetry): AppState, Query(query): Query<PageQuery>) -> impl IntoResponse {
    let now = Timestamp::now();
    Html(page::render(&Status::of(&telemetry.snapshot(), now), &telemetry.health().not_ready(), query.refresh, now))
}

/// Headers that forbid the browser to run scripts, to load anything, to show the page in a frame and to cache it.
async fn restrict_content(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
