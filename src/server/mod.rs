//! The HTTP endpoints of a worker: metrics, health, the status page and its JSON.
//!
//! Their data comes from [`Telemetry`], which has no settings and so no secrets, and from a [`WorkerView`], which shows
//! none. All endpoints only read: no request changes anything.

mod access;
mod chart;
mod checks;
mod details;
mod fleet;
mod html;
mod lanes;
mod listener;
mod overview;
mod page;
mod pipeline_page;
mod query;
mod web_config;
mod worker_view;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures_util::{FutureExt, stream};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tracing::warn;

pub use details::{HistoryPoint, Incident, PipelineDetails};
pub use lanes::{
    ClusterRow, EqualErrors, FileRow, LaneRow, LastError, PipelineRow, RequestLimitWait, SourceProblem, Status,
    Summary, Verified, WorkerAnswer, cause_of, of_several,
};
pub use web_config::{PeerClient, WebConfig, WebConfigError};
pub use worker_view::WorkerView;

use checks::TooMany;
use fleet::Fleet;
use lanes::Rows;
use listener::{Client, LIMITS};
use query::{DEFAULT_ROWS, LaneQuery, MAX_ROWS, Parameters, Sort};

use crate::record::Timestamp;
use crate::telemetry::{HealthPart, Telemetry};

/// Time for open responses to finish after shutdown begins.
const LAST_RESPONSES: Duration = Duration::from_secs(1);

/// Interval of the runtime's heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Heartbeats for each sample of the averages, which take a minute to change: a worker has thousands of lanes.
const HEARTBEATS_FOR_SAMPLE: u32 = 5;

/// Addresses bound for the HTTP endpoints; requests are answered once [`Server::serve`] runs.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    probes: Option<TcpListener>,
    web: Arc<WebConfig>,
    worker: Arc<WorkerView>,
}

impl Server {
    /// Binds `listen` (`HOST:PORT`; with port 0, the system chooses a free port).
    ///
    /// # Errors
    /// If `listen` is not an address or cannot be bound.
    pub async fn bind(listen: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let web = Arc::new(WebConfig::open().map_err(io::Error::other)?);
        Ok(Self { listener, address, probes: None, web, worker: Arc::default() })
    }

    /// Binds another address for `/livez` and `/readyz` alone, without TLS.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub async fn with_probes(self, listen: &str) -> io::Result<Self> {
        Ok(Self { probes: Some(TcpListener::bind(listen).await?), ..self })
    }

    /// Sets TLS and authentication.
    #[must_use]
    pub fn with_web_config(self, web: WebConfig) -> Self {
        Self { web: Arc::new(web), ..self }
    }

    /// Returns what the pages show of the worker. It may be set later.
    pub fn worker(&self) -> Arc<WorkerView> {
        self.worker.clone()
    }

    /// Returns the bound address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the bound address of the probes, if they have their own.
    pub fn probes_address(&self) -> Option<SocketAddr> {
        self.probes.as_ref().and_then(|probes| probes.local_addr().ok())
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
        let app = Arc::new(App::new(telemetry, self.worker, self.web.clone(), self.address.ip().is_loopback()));
        let web = self.web.clone();
        let tls = move || web.current().tls.clone();
        let pages = listener::serve(self.listener, router(app.clone()), LIMITS, tls, shutdown.clone());
        let probes = async {
            match self.probes {
                Some(listener) => {
                    listener::serve(listener, finish(probes(app)), LIMITS, || None, shutdown.clone()).await
                }
                None => shutdown.clone().await,
            }
        };
        tokio::select! {
            _ = async { tokio::join!(pages, probes) } => Ok(()),
            never = heartbeats => match never {},
            never = self.web.follow() => match never {},
            // A client that reads slowly must not delay the end of the process.
            () = shutdown.clone().then(|()| sleep(LAST_RESPONSES)) => Ok(()),
        }
    }
}

async fn send_heartbeats(telemetry: Arc<Telemetry>) -> Infallible {
    loop {
        telemetry.sample_rates(Timestamp::now());
        for _ in 0..HEARTBEATS_FOR_SAMPLE {
            telemetry.health().heartbeat(HealthPart::Runtime);
            sleep(HEARTBEAT).await;
        }
    }
}

type AppState = State<Arc<App>>;

/// The state that all requests share.
struct App {
    telemetry: Arc<Telemetry>,
    worker: Arc<WorkerView>,
    fleet: Fleet,
    /// Permits for requests that look at all lanes: many readers must not take the memory and the time of the lanes.
    views: Semaphore,
    /// Permits for requests that wait for other workers. These permits are separate, since workers ask each other.
    fleet_views: Semaphore,
    web: Arc<WebConfig>,
    /// Whether only this machine reaches the pages.
    is_local: bool,
    /// Time when wrong credentials were logged last.
    last_refusal: Mutex<Option<Instant>>,
}

impl App {
    fn new(telemetry: Arc<Telemetry>, worker: Arc<WorkerView>, web: Arc<WebConfig>, is_local: bool) -> Self {
        Self {
            telemetry,
            worker,
            fleet: Fleet(web.clone()),
            views: Semaphore::new(CONCURRENT_VIEWS),
            fleet_views: Semaphore::new(CONCURRENT_VIEWS),
            web,
            is_local,
            last_refusal: Mutex::new(None),
        }
    }

    async fn status(&self, query: &LaneQuery, rows: Rows, all_workers: bool) -> Status {
        let permits = if all_workers { &self.fleet_views } else { &self.views };
        let _permit = permits.acquire().await;
        self.fleet.status(&self.telemetry, &self.worker.flags(), query, rows, all_workers).await
    }
}

/// Requests for lanes that are answered at the same time.
const CONCURRENT_VIEWS: usize = 4;

/// A client that tries passwords must not fill the log.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(10);

/// Returns the routes of the probes. The kubelet has no credentials, and cannot present a certificate. A connection is
/// for one probe, so that none holds a place until the next one.
fn probes(app: Arc<App>) -> Router {
    let close = |mut response: Response| {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        std::future::ready(response)
    };
    let probes = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz));
    probes.layer(map_response(close)).with_state(app)
}

fn router(app: Arc<App>) -> Router {
    let pages = Router::new()
        .route("/", get(page))
        .route("/pipelines/{name}", get(pipeline_page))
        .route("/metrics", get(metrics))
        .route("/api/v1/lanes", get(lanes))
        .route("/api/v1/pipelines", get(pipelines))
        .route("/api/v1/pipelines/{name}", get(pipeline))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .layer(from_fn_with_state(app.clone(), authenticate))
        .with_state(app.clone());
    finish(pages.merge(probes(app.clone())).layer(from_fn_with_state(app, refuse_other_names)))
}

/// Adds the parts that all responses have in common: compression, and headers that restrict the content. The default
/// level of compression would take more time for the metrics of ten thousand lanes than writing them does.
fn finish(router: Router) -> Router {
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    router.layer(map_response(restrict_content)).layer(compression)
}

/// Refuses requests under another name than this machine's names, if only this machine reaches the pages. A foreign
/// page can have its own name lead to this machine, and so read these pages (DNS rebinding). The browser sends that
/// name, and has no credentials for it if credentials are required. If other machines reach the address too, its names
/// are not known here.
async fn refuse_other_names(State(app): AppState, request: Request, next: Next) -> Response {
    let web = app.web.current();
    let is_protected = web.tls.is_some() || !web.access.is_open();
    if !app.is_local || is_protected || request.headers().get_all(header::HOST).iter().all(is_own_name) {
        return next.run(request).await;
    }
    let text = "this address answers to `localhost` and to IP addresses only: ask for one of them, or have the proxy \
                that you come through send one as the header Host\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// Returns whether this is a name of this machine that no DNS server can give to another machine.
fn is_own_name(host: &HeaderValue) -> bool {
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

async fn authenticate(
    State(app): AppState,
    Extension(Client(client)): Extension<Client>,
    request: Request,
    next: Next,
) -> Response {
    let web = app.web.current();
    let authorization = request.headers().get(header::AUTHORIZATION);
    let allowed = web.access.allows(client, authorization).await;
    let reason = match allowed {
        Ok(true) => return next.run(request).await,
        Ok(false) => "a request with wrong credentials was refused",
        Err(TooMany) => "a request was refused, since other passwords from its address wait for their check",
    };
    if authorization.is_some() {
        let mut last = app.last_refusal.lock();
        if last.is_none_or(|last| last.elapsed() >= REFUSAL_INTERVAL) {
            *last = Some(Instant::now());
            warn!(%client, path = request.uri().path(), "{reason}");
        }
    }
    if allowed == Err(TooMany) {
        let later = [(header::RETRY_AFTER, "1")];
        return (StatusCode::TOO_MANY_REQUESTS, later, "too many passwords from this address wait\n").into_response();
    }
    let mut response = (StatusCode::UNAUTHORIZED, "credentials are required\n").into_response();
    for challenge in web.access.challenges() {
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

async fn metrics(State(app): AppState) -> impl IntoResponse {
    let chunks = app.telemetry.clone().exposition(Timestamp::now()).map(Ok::<_, Infallible>);
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, Body::from_stream(stream::iter(chunks)))
}

async fn livez(State(app): AppState, Extension(client): Extension<Client>, headers: HeaderMap) -> impl IntoResponse {
    problems(&app, client, &headers, app.telemetry.health().stuck().into_iter().collect()).await
}

async fn readyz(State(app): AppState, Extension(client): Extension<Client>, headers: HeaderMap) -> impl IntoResponse {
    problems(&app, client, &headers, app.telemetry.health().not_ready()).await
}

/// Answers with the status for everybody, and with the problems for clients that may read the other pages.
async fn problems(
    app: &App,
    Client(client): Client,
    headers: &HeaderMap,
    problems: Vec<String>,
) -> (StatusCode, String) {
    if problems.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let allowed = app.web.current().access.allows(client, headers.get(header::AUTHORIZATION)).await;
    let text = if allowed == Ok(true) { problems.join("\n") } else { "not ok".to_owned() };
    (StatusCode::SERVICE_UNAVAILABLE, text + "\n")
}

async fn lanes(State(app): AppState, Query(parameters): Query<Parameters>) -> Response {
    list(&app, parameters, Rows::Lanes).await
}

async fn pipelines(State(app): AppState, Query(parameters): Query<Parameters>) -> Response {
    list(&app, parameters, Rows::Pipelines).await
}

async fn list(app: &App, parameters: Parameters, rows: Rows) -> Response {
    let query = match parameters.parse() {
        Ok(query) => query,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    Json(app.status(&query, rows, query.all_workers == Some(true)).await).into_response()
}

async fn page(State(app): AppState, Query(parameters): Query<Parameters>) -> Response {
    let mut query = match parameters.parse() {
        Ok(query) => query,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    query.limit = Some(query.limit.unwrap_or(DEFAULT_ROWS).min(MAX_ROWS));
    query.sort = query.sort.or(Some(Sort::State));
    let status = app.status(&query, Rows::Pipelines, query.all_workers != Some(false)).await;
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

/// Returns a pipeline, and the seconds after which the browser reloads its page.
async fn details(app: &App, name: &str, parameters: Parameters) -> Result<(PipelineDetails, Option<u16>), Response> {
    let query = parameters.parse().map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response())?;
    let details = if query.all_workers == Some(false) {
        let _permit = app.views.acquire().await;
        PipelineDetails::of(&app.telemetry, &app.worker, name, Timestamp::now())
    } else {
        let _permit = app.fleet_views.acquire().await;
        app.fleet.pipeline(&app.telemetry, &app.worker, name).await
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
pub(crate) mod tests;
