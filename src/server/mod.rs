//! The HTTP endpoints of a worker (`design.md` section 5): metrics, health, the status page and its JSON.
//!
//! All it knows comes from [`Telemetry`], which holds no settings: no secret can get here.

mod lanes;
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

pub use lanes::{Cluster, File, Lane, LastError, Status};

use crate::record::Timestamp;
use crate::telemetry::Telemetry;

/// How long answers under way may take once the server is told to end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How often the runtime's turning is noted and the averages on the status page move.
const BEAT: Duration = Duration::from_secs(2);

/// An address bound for the HTTP endpoints; requests are answered once [`Server::serve`] runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds `listen` (`HOST:PORT`; port 0 takes a free one).
    ///
    /// # Errors
    /// When the address is none, or cannot be bound.
    pub async fn bind(listen: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is done.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn serve(
        self,
        telemetry: Arc<Telemetry>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let shutdown = shutdown.shared();
        let beats = beat(telemetry.clone());
        let serving =
            axum::serve(self.listener, router(telemetry)).with_graceful_shutdown(shutdown.clone()).into_future();
        tokio::select! {
            served = serving => served,
            never = beats => match never {},
            // A client that reads slowly must not keep the process.
            () = shutdown.then(|()| sleep(LAST_ANSWERS)) => Ok(()),
        }
    }
}

async fn beat(telemetry: Arc<Telemetry>) -> Infallible {
    loop {
        telemetry.health().beat();
        telemetry.sample_rates(Timestamp::now());
        sleep(BEAT).await;
    }
}

type Shared = State<Arc<Telemetry>>;

fn router(telemetry: Arc<Telemetry>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/v1/lanes", get(lanes))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .layer(map_response(harmless))
        .with_state(telemetry)
}

async fn metrics(State(telemetry): Shared) -> impl IntoResponse {
    let pieces = telemetry.exposition(Timestamp::now()).map(Ok::<_, Infallible>);
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, Body::from_stream(stream::iter(pieces)))
}

async fn livez(State(telemetry): Shared) -> impl IntoResponse {
    problems(telemetry.health().stuck().into_iter().collect())
}

async fn readyz(State(telemetry): Shared) -> impl IntoResponse {
    problems(telemetry.health().not_ready())
}

fn problems(problems: Vec<String>) -> (StatusCode, String) {
    if problems.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")
}

async fn lanes(State(telemetry): Shared) -> impl IntoResponse {
    Json(Status::of(&telemetry.snapshot(), Timestamp::now()))
}

#[derive(Deserialize)]
struct PageQuery {
    /// Seconds after which the browser asks again.
    refresh: Option<u16>,
}

async fn page(State(telemetry): Shared, Query(query): Query<PageQuery>) -> impl IntoResponse {
    let now = Timestamp::now();
    Html(page::render(&Status::of(&telemetry.snapshot(), now), &telemetry.health().not_ready(), query.refresh, now))
}

/// The page runs no script, loads nothing and is never framed or kept, whatever text gets into it.
async fn harmless(mut response: Response) -> Response {
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
