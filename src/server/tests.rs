use std::io::Read;
use std::path::Path;

use reqwest::Method;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::record::Stream;
use crate::telemetry::{Activity, FileStatus, Health, LaneState};

struct Running {
    base: String,
    client: reqwest::Client,
    telemetry: Arc<Telemetry>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        assert_ne!(server.address().port(), 0);
        let base = format!("http://{}", server.address());
        let telemetry = Arc::new(Telemetry::new());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.serve(telemetry.clone(), async {
            let _ = stopped.await;
        }));
        Self { base, client: reqwest::Client::builder().no_proxy().build().unwrap(), telemetry, stop, served }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

fn file(pipeline: &str, activity: Activity, problem: Option<&str>) -> FileStatus {
    FileStatus { pipeline: pipeline.to_owned(), activity, shard: None, problem: problem.map(str::to_owned) }
}

#[tokio::test]
async fn ready_needs_files_and_state_and_ends_with_draining() {
    let running = Running::start().await;
    assert_eq!(running.get("/livez").await, (200, "ok\n".to_owned()));
    let (status, why) = running.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("files have not been read yet") && why.contains("state store: not opened yet"), "{why}");

    running.telemetry.health().set_files_read();
    running.telemetry.health().set_state_store(Ok(()));
    assert_eq!(running.get("/readyz").await, (200, "ok\n".to_owned()));

    // A dead console and a dead sink do not make a worker unready.
    let lane = running.telemetry.start_lane("acme", Stream::Threats, "bus");
    lane.set_state(Timestamp::now(), LaneState::SinkFailing("connection refused".to_owned()));
    assert_eq!(running.get("/readyz").await.0, 200);

    running.telemetry.health().set_state_store(Err("disk full".to_owned()));
    assert_eq!(running.get("/readyz").await, (503, "state store: disk full\n".to_owned()));
    running.telemetry.health().set_state_store(Ok(()));
    running.telemetry.health().set_draining();
    assert_eq!(running.get("/readyz").await.0, 503);
    assert_eq!(running.get("/livez").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_runtime_is_reported() {
    let health = Health::new();
    assert_eq!(health.stuck(), None);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(health.stuck().is_some());
    health.heartbeat();
    assert_eq!(health.stuck(), None);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let running = Running::start().await;
    running.telemetry.start_lane("acme", Stream::Threats, "bus");
    let response = running.client.get(format!("{}/metrics", running.base)).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    assert!(text.contains("\ns1_forwarder_lane_up{pipeline=\"acme\",stream=\"threats\",sink=\"bus\"} 1\n"), "{text}");
    assert!(text.contains("s1_forwarder_build_info{"), "{text}");
    assert!(text.ends_with('\n'));
}

#[tokio::test]
async fn a_scrape_is_compressed_when_asked_for() {
    let running = Running::start().await;
    (0..100).for_each(|number| drop(running.telemetry.start_lane(&format!("p{number}"), Stream::Threats, "bus")));
    let (_, plain) = running.get("/metrics").await;
    let url = format!("{}/metrics", running.base);
    let response = running.client.get(url).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let compressed = response.bytes().await.unwrap();
    assert!(compressed.len() * 5 < plain.len(), "{} of {}", compressed.len(), plain.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&compressed[..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("pipeline=\"p99\""), "{text}");
}

#[tokio::test]
async fn unknown_paths_and_other_methods_are_refused() {
    let running = Running::start().await;
    for path in ["/metric", "/api/v1", "/api/v1/lanes/x", "/../etc/passwd", "//"] {
        assert_eq!(running.get(path).await.0, 404, "{path}");
    }
    for path in ["/", "/metrics", "/livez", "/readyz", "/api/v1/lanes"] {
        let status = async |method: Method| {
            running.client.request(method, format!("{}{path}", running.base)).send().await.unwrap().status().as_u16()
        };
        assert_eq!(status(Method::POST).await, 405, "{path}");
        assert_eq!(status(Method::DELETE).await, 405, "{path}");
        assert_eq!(status(Method::HEAD).await, running.get(path).await.0, "{path}");
    }
}

#[tokio::test]
async fn lanes_as_json() {
    let running = Running::start().await;
    let lane = running.telemetry.start_lane("acme", Stream::Threats, "bus");
    running.telemetry.set_file(Path::new("dir/acme.yaml"), file("acme", Activity::Running, None));
    running.telemetry.set_token_expiry("acme", Some(Timestamp::parse("2030-01-31T00:00:00Z").unwrap()));
    let now = Timestamp::now();
    lane.pulled.fetch_add(12, std::sync::atomic::Ordering::Relaxed);
    lane.skip_records(crate::telemetry::SkipReason::Duplicate, 5);
    lane.set_complete_until(now.minus(Duration::from_secs(60)));
    lane.set_state(now, LaneState::ConsoleRefused("401 Unauthorized".to_owned()));

    let (status, text) = running.get("/api/v1/lanes").await;
    assert_eq!(status, 200);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["files"][0]["file"], "dir/acme.yaml");
    assert_eq!(json["files"][0]["state"], "running");
    assert_eq!(json["files"][0]["problem"], serde_json::Value::Null);
    let lane = &json["lanes"][0];
    assert_eq!((&lane["pipeline"], &lane["stream"], &lane["sink"]), (&"acme".into(), &"threats".into(), &"bus".into()));
    assert_eq!((&lane["state"], &lane["up"]), (&"console_refused".into(), &false.into()));
    assert_eq!(lane["error"], "401 Unauthorized");
    assert_eq!(lane["last_error"]["text"], "401 Unauthorized");
    assert_eq!(lane["last_success"], serde_json::Value::Null);
    assert_eq!((&lane["pulled"], &lane["skipped"]["duplicate"]), (&12.into(), &5.into()));
    assert!(lane["lag_seconds"].as_f64().unwrap() >= 60.0, "{lane}");
    assert_eq!(lane["token_expires"], "2030-01-31T00:00:00.000000Z");
}

#[tokio::test]
async fn the_page_shows_lanes_and_the_problems_of_files() {
    let running = Running::start().await;
    let telemetry = &running.telemetry;
    telemetry.start_lane("acme", Stream::Threats, "bus");
    let failing = telemetry.start_lane("bolt", Stream::Activities, "siem");
    failing.set_state(Timestamp::now(), LaneState::SinkFailing("503 Service Unavailable".to_owned()));
    telemetry.set_file(Path::new("acme.yaml"), file("acme", Activity::Running, None));
    telemetry.set_file(Path::new("bolt.yaml"), file("bolt", Activity::Running, Some("line 3: unknown key `stream`")));
    telemetry.set_file(Path::new("cold.yaml"), file("cold", Activity::Paused, None));
    telemetry.set_file(Path::new("dead.yaml"), file("dead", Activity::NotStarted, Some("empty file")));

    let (status, page) = running.get("/?refresh=5").await;
    assert_eq!(status, 200);
    for part in [
        "1 lanes up, 1 failing",
        "503 Service Unavailable",
        "sink failing",
        "line 3: unknown key `stream` — The last good version keeps running; a restart would not start this pipeline.",
        "Paused by its file; its checkpoints are kept.",
        "empty file — Not running; a restart would not start this pipeline.",
        "http-equiv=\"refresh\" content=\"5\"",
        "not ready: the pipeline files have not been read yet",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    assert!(!page.contains("acme.yaml"), "a file without problems is not listed");
    assert!(!page.contains("<script") && !page.contains("src="), "{page}");
    assert!(!running.get("/").await.1.contains("http-equiv"));
}

#[tokio::test]
async fn outside_text_is_escaped() {
    let running = Running::start().await;
    let hostile = "<script>alert('x')</script>\" onload=\"&";
    let lane = running.telemetry.start_lane(hostile, Stream::Threats, hostile);
    lane.set_state(Timestamp::now(), LaneState::Stopped(hostile.to_owned()));
    running.telemetry.set_file(Path::new(hostile), file(hostile, Activity::NotStarted, Some(hostile)));
    let response = running.client.get(&running.base).send().await.unwrap();
    assert!(response.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let page = response.text().await.unwrap();
    let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;&amp;";
    assert!(!page.contains("<script") && !page.contains("onload=\""), "{page}");
    assert_eq!(page.matches(escaped).count(), 6, "{page}");
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_delay_the_shutdown() {
    let running = Running::start().await;
    for lane in 0..2_000 {
        running.telemetry.start_lane(&format!("pipeline-{lane}"), Stream::Threats, "bus");
    }
    let slow = running.client.get(format!("{}/metrics", running.base)).send().await.unwrap();
    running.stop.send(()).unwrap();
    let started = Instant::now();
    running.served.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    drop(slow);
}
