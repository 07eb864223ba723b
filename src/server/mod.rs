//! The HTTP endpoints of a worker: metrics, health, the status page and its JSON.
//!
//! Their data comes from [`Telemetry`], which has no settings and so no secrets.

mod chart;
mod details;
mod fleet;
mod html;
mod lanes;
mod page;
mod pipeline_page;
mod query;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{FutureExt, stream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tower_http::compression::CompressionLayer;

pub use details::{HistoryPoint, Incident, PipelineDetails};
pub use lanes::{Cluster, File, Lane, LastError, SourceProblem, Status, Summary, Verified, WorkerAnswer};

use fleet::Fleet;
use query::{DEFAULT_ROWS, LaneQuery, MOST_ROWS, Parameters, Sort};

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
        let serving =
            axum::serve(self.listener, router(telemetry)).with_graceful_shutdown(shutdown.clone()).into_future();
        tokio::select! {
            served = serving => served,
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

type AppState = State<Arc<App>>;

/// What the requests share.
struct App {
    telemetry: Arc<Telemetry>,
    fleet: Fleet,
    /// Permits for what looks at all lanes: many readers must not take the memory and the time of the lanes.
    views: Semaphore,
    /// The same for what waits for other workers. They have permits of their own, since workers ask each other.
    fleet_views: Semaphore,
}

impl App {
    async fn status(&self, query: &LaneQuery, all_workers: bool) -> Status {
        let permits = if all_workers { &self.fleet_views } else { &self.views };
        let _permit = permits.acquire().await;
        self.fleet.status(&self.telemetry, query, all_workers).await
    }
}

/// Requests for lanes that are answered at the same time.
const CONCURRENT_VIEWS: usize = 4;

fn router(telemetry: Arc<Telemetry>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/pipelines/{name}", get(pipeline_page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/v1/lanes", get(lanes))
        .route("/api/v1/pipelines/{name}", get(pipeline))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .layer(map_response(restrict_content))
        .layer(CompressionLayer::new())
        .with_state(Arc::new(App {
            telemetry,
            fleet: Fleet::new(),
            views: Semaphore::new(CONCURRENT_VIEWS),
            fleet_views: Semaphore::new(CONCURRENT_VIEWS),
        }))
}

async fn metrics(State(app): AppState) -> impl IntoResponse {
    let chunks = app.telemetry.clone().exposition(Timestamp::now()).map(Ok::<_, Infallible>);
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, Body::from_stream(stream::iter(chunks)))
}

async fn livez(State(app): AppState) -> impl IntoResponse {
    problems(app.telemetry.health().stuck().into_iter().collect())
}

async fn readyz(State(app): AppState) -> impl IntoResponse {
    problems(app.telemetry.health().not_ready())
}

fn problems(problems: Vec<String>) -> (StatusCode, String) {
    if problems.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n")
}

async fn lanes(State(app): AppState, Query(parameters): Query<Parameters>) -> Response {
    let query = match parameters.parse() {
        Ok(query) => query,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    Json(app.status(&query, query.all_workers == Some(true)).await).into_response()
}

async fn page(State(app): AppState, Query(parameters): Query<Parameters>) -> Response {
    let mut query = match parameters.parse() {
        Ok(query) => query,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    query.limit = Some(query.limit.unwrap_or(DEFAULT_ROWS).min(MOST_ROWS));
    query.sort = query.sort.or(Some(Sort::State));
    let status = app.status(&query, query.all_workers != Some(false)).await;
    Html(page::render(&status, &query, &app.telemetry.health().not_ready(), Timestamp::now())).into_response()
}

async fn pipeline(State(app): AppState, Path(name): Path<String>, Query(parameters): Query<Parameters>) -> Response {
    match details(&app, &name, parameters).await {
        Ok((details, _)) => Json(details).into_response(),
        Err(refusal) => refusal,
    }
}

async fn pipeline_page(
    State(app): AppState,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    match details(&app, &name, parameters).await {
        Ok((details, refresh)) => Html(pipeline_page::render(&details, refresh, Timestamp::now())).into_response(),
        Err(refusal) => refusal,
    }
}

/// A pipeline, and the seconds after which the browser reloads its page.
async fn details(app: &App, name: &str, parameters: Parameters) -> Result<(PipelineDetails, Option<u16>), Response> {
    let query = parameters.parse().map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response())?;
    let details = if query.all_workers == Some(false) {
        let _permit = app.views.acquire().await;
        PipelineDetails::of(&app.telemetry, name, Timestamp::now())
    } else {
        let _permit = app.fleet_views.acquire().await;
        app.fleet.pipeline(&app.telemetry, name).await
    };
    let unknown = || (StatusCode::NOT_FOUND, "no such pipeline\n").into_response();
    Ok((details.ok_or_else(unknown)?, query.refresh))
}

/// Headers that restrict what the browser does with the content, and forbid it to keep a copy.
async fn restrict_content(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, html::CONTENT_POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
