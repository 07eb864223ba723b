use std::io::Read;
use std::path::Path;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::record::{LaneId, Stream};
use crate::telemetry::{FileStatus, HealthPart, LaneState, LaneStateKind, PipelineState, ProcessHealth, Silence};
use crate::worker::CommandFlags;

struct Running {
    base: String,
    client: reqwest::Client,
    telemetry: Arc<Telemetry>,
    worker: Arc<WorkerView>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        Self::serve(Arc::new(Telemetry::new())).await
    }

    async fn serve(telemetry: Arc<Telemetry>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        assert_ne!(server.address().port(), 0);
        let base = format!("http://{}", server.address());
        let worker = server.worker();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.serve(telemetry.clone(), async {
            let _ = stopped.await;
        }));
        Self { base, client: reqwest::Client::builder().no_proxy().build().unwrap(), telemetry, worker, stop, served }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
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
    let lane = running.telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    lane.show(Timestamp::now(), LaneState::new(LaneStateKind::SinkFailing, "connection refused"));
    assert_eq!(running.get("/readyz").await.0, 200);

    running.telemetry.health().set_state_store(Err("disk full".to_owned()));
    assert_eq!(running.get("/readyz").await, (503, "state store: disk full\n".to_owned()));
    running.telemetry.health().set_state_store(Ok(()));
    running.telemetry.health().set_draining();
    assert_eq!(running.get("/readyz").await.0, 503);
    assert_eq!(running.get("/livez").await.0, 200);
}

#[tokio::test]
async fn a_page_from_elsewhere_reads_nothing_of_this_machine_by_another_name() {
    let running = Running::start().await;
    let port = running.base.rsplit_once(':').unwrap().1;
    let status = async |path: &str, host: &str| {
        let response = running.client.get(format!("{}{path}", running.base)).header("host", host).send().await.unwrap();
        response.status().as_u16()
    };
    for path in ["/", "/metrics", "/api/v1/lanes", "/livez", "/nothing"] {
        for host in ["evil.example", "evil.example:9598", "127.0.0.1.evil.example", "localhost.evil.example", "", "a@b"]
        {
            assert_eq!(status(path, host).await, 421, "{path} {host}");
        }
    }
    for host in [&format!("localhost:{port}"), "LOCALHOST", "127.0.0.1", "[::1]:9598", "10.0.0.1"] {
        assert_eq!(status("/metrics", host).await, 200, "{host}");
    }
}

#[test]
fn an_address_for_others_and_one_with_credentials_answer_to_every_name() {
    for fuzzed in [Fuzzed::with(None, false), Fuzzed::with(Some("token"), true)] {
        let answer = fuzzed.answer(b"GET /livez HTTP/1.1\r\nHost: workers.example\r\nConnection: close\r\n\r\n");
        assert!(!answer.starts_with(b"HTTP/1.1 421"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn probes_tell_strangers_no_more_than_the_status() {
    // The worker's files have not been read, and its state store is not open.
    let fuzzed = Fuzzed::new(Some("token"));
    let ask = |header: &str| {
        let request = format!("GET /readyz HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n");
        let answer = String::from_utf8(fuzzed.answer(request.as_bytes())).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    assert_eq!(ask(""), "not ok\n");
    assert_eq!(ask("Authorization: Bearer other\r\n"), "not ok\n");
    assert!(ask("Authorization: Bearer token\r\n").contains("state store: not opened yet"));
}

/// Otherwise the kubelet's connections would take the places of others.
#[test]
fn a_probe_closes_its_connection() {
    let fuzzed = Fuzzed::new(None);
    for (path, closes) in [("/livez", true), ("/readyz", true), ("/metrics", false)] {
        let answer = fuzzed.answer(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        let head = String::from_utf8(answer).unwrap().to_lowercase();
        let head = head.split_once("\r\n\r\n").unwrap().0.to_owned();
        assert_eq!(head.contains("connection: close"), closes, "{path}: {head}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_part_is_reported() {
    let health = ProcessHealth::new();
    let after = async |seconds: u64| {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        health.stuck().unwrap_or_default()
    };
    assert_eq!(after(1).await, "");
    assert_eq!(after(30).await, "the runtime has made no progress for 31 s");
    // A part that never began, such as the supervisor of a worker that waits for its state, is not missed.
    health.heartbeat(HealthPart::Runtime);
    assert_eq!(after(0).await, "");

    health.heartbeat(HealthPart::Supervisor);
    tokio::time::advance(Duration::from_secs(40)).await;
    health.heartbeat(HealthPart::Runtime);
    assert_eq!(after(0).await, "");
    tokio::time::advance(Duration::from_secs(15)).await;
    health.heartbeat(HealthPart::Runtime);
    assert_eq!(after(6).await, "the supervisor has made no progress for 61 s");
    health.set_draining();
    assert_eq!(after(0).await, "");
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let running = Running::start().await;
    running.telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
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
    (0..100).for_each(|number| {
        drop(running.telemetry.start_lane(&LaneId::new(format!("p{number}"), Stream::Threats, "bus")))
    });
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
    for path in ["/", "/metrics", "/livez", "/readyz", "/api/v1/lanes", "/pipelines/x", "/api/v1/pipelines/x"] {
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
    let lane = running.telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    running.telemetry.set_file(Path::new("dir/acme.yaml"), FileStatus::of_test("acme", PipelineState::Running, None));
    running.telemetry.set_token_expiry("acme", Some(Timestamp::parse("2030-01-31T00:00:00Z").unwrap()));
    let now = Timestamp::now();
    lane.pull.records.add(12);
    lane.skip_records(crate::telemetry::SkipReason::Duplicate, 5);
    lane.set_complete_until(now.minus(Duration::from_mins(1)));
    lane.show(now, LaneState::new(LaneStateKind::ConsoleRefused, "401 Unauthorized"));

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

    running.telemetry.set_token_expiry("acme", Some(Timestamp::parse("2999-12-31T00:00:00Z").unwrap()));
    let (_, text) = running.get("/api/v1/lanes").await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["lanes"][0]["token_expires"], "never");
    for path in ["/", "/pipelines/acme"] {
        let (_, page) = running.get(path).await;
        assert!(page.contains("never") && !page.contains("2999"), "{path}: {page}");
        let now = page.split_once("<time>").unwrap().1.split_once("</time>").unwrap().0;
        assert!(now.ends_with('Z') && !now.contains('.'), "{path}: {now}");
    }
}

#[tokio::test]
async fn the_page_shows_lanes_and_the_problems_of_files() {
    let running = Running::start().await;
    let telemetry = &running.telemetry;
    telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    let failing = telemetry.start_lane(&LaneId::new("bolt", Stream::Activities, "siem"));
    failing.show(Timestamp::now(), LaneState::new(LaneStateKind::SinkFailing, "503 Service Unavailable"));
    telemetry.set_file(Path::new("acme.yaml"), FileStatus::of_test("acme", PipelineState::Running, None));
    telemetry.set_file(
        Path::new("bolt.yaml"),
        FileStatus::of_test("bolt", PipelineState::Running, Some("line 3: unknown key `stream`")),
    );
    telemetry.set_file(Path::new("cold.yaml"), FileStatus::of_test("cold", PipelineState::Paused, None));
    telemetry
        .set_file(Path::new("dead.yaml"), FileStatus::of_test("dead", PipelineState::NotStarted, Some("empty file")));
    telemetry.set_file(
        Path::new("gone.yaml"),
        FileStatus::of_test("gone", PipelineState::Removed, Some("its file is gone")),
    );

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
        "<a class=\"skip\" href=\"#pipelines\">",
        "<title>(3) s1-forwarder</title>",
        "2 pipelines do not run, since their files are invalid or gone",
        "<h2>Pipeline files to look at</h2>",
        "<td data-label=\"State\" class=\"down\">removed</td><td class=\"e\" data-label=\"Problem\">its file is gone</td>",
        "aria-sort=\"descending\"><a href=",
        "not ready: the pipeline files have not been read yet",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    assert!(!page.contains("acme.yaml"), "a file without problems is not listed");
    assert!(!page.contains("<script") && !page.contains("src="), "{page}");
    assert!(!running.get("/").await.1.contains("http-equiv"));
}

const HOSTILE: &str = "<script>alert('x')</script>\" onload=\"&";
const ESCAPED: &str = "&lt;script&gt;alert('x')&lt;/script&gt;&quot; onload=&quot;&amp;";

#[tokio::test]
async fn outside_text_is_escaped() {
    let running = Running::start().await;
    for pipeline in [HOSTILE, &format!("{HOSTILE}2")] {
        let lane = running.telemetry.start_lane(&LaneId::new(pipeline, Stream::Threats, HOSTILE));
        lane.show(Timestamp::now(), LaneState::new(LaneStateKind::Stopped, HOSTILE));
    }
    running.telemetry.set_file(
        std::path::Path::new(HOSTILE),
        FileStatus::of_test(HOSTILE, PipelineState::NotStarted, Some(HOSTILE)),
    );
    running.worker.set(CommandFlags::default(), |_| Some(vec![(HOSTILE.to_owned(), HOSTILE.to_owned())]));
    let encoded: String =
        url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect::<String>().replace('+', "%20");
    for (path, times) in [("/".to_owned(), 10), (format!("/pipelines/{encoded}"), 12)] {
        let response = running.client.get(format!("{}{path}", running.base)).send().await.unwrap();
        let page = response.text().await.unwrap();
        assert!(!page.contains("<script") && !page.contains("onload=\""), "{page}");
        assert_eq!(page.matches(ESCAPED).count(), times, "{page}");
    }
    // A filter comes back in the form.
    let page = running.get(&format!("/?pipeline={encoded}&sink={encoded}")).await.1;
    assert!(!page.contains("<script") && !page.contains("onload=\""), "{page}");
    assert!(page.contains(&format!("name=\"pipeline\" value=\"{ESCAPED}\"")), "{page}");
    // Names are quoted in metrics: text outside of quotes belongs to the format.
    for line in running.get("/metrics").await.1.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let unescaped = series.replace(r"\\", "").replace(r#"\""#, "");
        let outside: String = unescaped.split('"').step_by(2).collect();
        let is_format = |byte: u8| byte.is_ascii_alphanumeric() || b"_{}=,".contains(&byte);
        assert!(outside.bytes().all(is_format) && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn the_browser_may_load_nothing_but_the_style_of_the_page() {
    let running = Running::start().await;
    let response = running.client.get(&running.base).send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let page = response.text().await.unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).unwrap();
    let hash = <base64::engine::GeneralPurpose as base64::Engine>::encode(
        &base64::engine::general_purpose::STANDARD,
        <sha2::Sha256 as sha2::Digest>::digest(style),
    );
    assert!(policy.contains(&hash), "the browser would refuse the page's style: {policy}");
    assert!(!page.contains(" style=") && !page.contains("<script"), "{page}");
}

#[tokio::test]
async fn lanes_are_filtered_sorted_and_paged() {
    let running = Running::start().await;
    let now = Timestamp::now();
    for number in 0..30_u32 {
        let stream = if number % 2 == 0 { Stream::Threats } else { Stream::Agents };
        let lane = running.telemetry.start_lane(&LaneId::new(format!("p{number:02}"), stream, "bus"));
        lane.set_complete_until(now.minus(Duration::from_secs(u64::from(number) * 100)));
        let error = "503".to_owned();
        let failing = LaneState::new(LaneStateKind::SinkFailing, error);
        lane.show(now, if number % 10 == 0 { failing } else { LaneStateKind::Running.into() });
    }
    let names = async |query: &str| {
        let (status, text) = running.get(&format!("/api/v1/lanes{query}")).await;
        assert_eq!(status, 200, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let lanes = json["lanes"].as_array().unwrap().iter().map(|lane| lane["pipeline"].as_str().unwrap().to_owned());
        (lanes.collect::<Vec<_>>(), json["matching"].as_u64().unwrap())
    };
    let (all, matching) = names("").await;
    assert_eq!((all.len(), matching, &*all[0], &*all[29]), (30, 30, "p00", "p29"));
    assert_eq!(names("?state=failing").await.0, ["p00", "p10", "p20"]);
    assert_eq!(names("?state=sink_failing&sort=lag&order=asc").await.0, ["p00", "p10", "p20"]);
    assert_eq!(names("?sort=state&limit=4").await, (["p20", "p10", "p00", "p29"].map(str::to_owned).into(), 30));
    assert_eq!(names("?stream=agent&limit=2&page=3").await, (["p09", "p11"].map(str::to_owned).into(), 15));
    assert_eq!(names("?pipeline=P1&sink=bus&order=desc&limit=1").await, (["p19".to_owned()].into(), 10));
    assert_eq!(names("?pipeline=nobody").await, (Vec::new(), 0));
    assert_eq!(names("?limit=10&page=9").await, (Vec::new(), 30));

    let (status, text) = running.get("/api/v1/lanes?sort=size").await;
    assert!(status == 400 && text.starts_with("sort: expected one of"), "{status} {text}");
    // Unknown states are refused on the page too, and empty fields of the form are no filter.
    assert_eq!(running.get("/?state=broken").await.0, 400);
    let page = running.get("/?pipeline=&state=&sort=lag&limit=20").await.1;
    assert!(page.contains("Pipelines 1 to 20 of 30") && page.contains("Page 1 of 2"), "{page}");
    assert!(page.find("p29").unwrap() < page.find("p28").unwrap(), "the largest lag first");
    assert!(page.contains("rel=\"next\"") && !page.contains("rel=\"prev\""), "{page}");
}

/// A page of a worker with ten thousand failing lanes has a bounded size, and is made in a bounded time.
#[tokio::test]
async fn ten_thousand_lanes_stay_quick_and_small() {
    let running = Running::start().await;
    let now = Timestamp::now();
    let error = "<&> the console answered 503 Service Unavailable; ".repeat(40);
    for number in 0..2_500 {
        let name = format!("pipeline-with-a-name-{number}");
        // Every other one has an error of its own.
        let error = if number % 2 == 0 { format!("{number} {error}") } else { error.clone() };
        for stream in [Stream::Threats, Stream::Activities, Stream::Agents, Stream::Alerts] {
            let lane = running.telemetry.start_lane(&LaneId::new(&name, stream, "siem"));
            lane.show(now, LaneState::new(LaneStateKind::ConsoleFailing, error.clone()));
        }
        running.telemetry.set_file(
            Path::new(&format!("{name}.yaml")),
            FileStatus::of_test(&name, PipelineState::Running, Some(&error)),
        );
    }
    for (path, most) in [
        ("/", 400),
        ("/?limit=500&page=3", 1_500),
        ("/?limit=10000", 1_500),
        ("/pipelines/pipeline-with-a-name-7", 100),
        ("/api/v1/pipelines?limit=100&files=none", 1_500),
    ] {
        let started_at = Instant::now();
        let (status, page) = running.get(path).await;
        let took = started_at.elapsed();
        println!("{path}: {} KB in {took:?}", page.len() / 1024);
        assert_eq!(status, 200);
        assert!(page.len() < most * 1024, "{path}: {} bytes", page.len());
        // A build for tests on a busy machine; a release takes a tenth of it.
        assert!(took < Duration::from_secs(3), "{path}: {took:?}");
    }
}

#[tokio::test]
async fn a_pipeline_has_a_page() {
    // The history comes before the server, which samples too.
    let telemetry = Arc::new(Telemetry::new());
    let start = Timestamp::now().minus(Duration::from_mins(5) * 19);
    let lane = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    telemetry.set_file(Path::new("acme.yaml"), FileStatus::of_test("acme", PipelineState::Running, None));
    telemetry.set_token_expiry("acme", Some(Timestamp::parse("2030-01-31T00:00:00Z").unwrap()));
    for (second, text) in [(1, "first error"), (2, "second error"), (3, "second error")] {
        let time = start.plus(Duration::from_secs(second));
        lane.show(time, LaneState::new(LaneStateKind::ConsoleRefused, text));
        lane.show(time, LaneStateKind::Running.into());
    }
    lane.set_verification(crate::telemetry::Verification { missing_records: 3, until: start });
    for step in 0..20_u32 {
        lane.send.delivered.add(600);
        let now = start.plus(Duration::from_mins(5) * step);
        lane.set_complete_until(now.minus(Duration::from_secs(90)));
        telemetry.sample_rates(now);
    }
    let flags = CommandFlags {
        files: " --defaults /d.yaml".to_owned(),
        state: " --state file:/s".to_owned(),
        dead_letters: " --dead-letters file:/l".to_owned(),
    };
    let file = std::path::absolute("acme.yaml").unwrap().display().to_string();
    let running = Running::serve(telemetry.clone()).await;
    running.worker.set(flags, |_| None);
    let (status, page) = running.get("/pipelines/acme").await;
    assert_eq!(status, 200);
    for part in [
        "first error",
        "second error",
        ", 2 times",
        &format!("<code>s1-forwarder check {file} --defaults /d.yaml</code>"),
        "<code>s1-forwarder dead-letters list --pipeline acme --state file:/s --dead-letters file:/l</code>",
        "Events delivered per second: now 2.0/s, at most 2.0/s",
        "Largest lag: now 1 min 30 s, at most 1 min 30 s",
        "2030-01-31",
        "acme.yaml",
        "<span class=\"down\">3</span>",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    assert_eq!(page.matches("<svg role=\"img\"").count(), 2);
    let json: serde_json::Value = serde_json::from_str(&running.get("/api/v1/pipelines/acme").await.1).unwrap();
    assert_eq!(json["errors"].as_array().unwrap().len(), 2, "the same error again is counted: {json}");
    assert_eq!((&json["errors"][0]["count"], json["history"].as_array().unwrap().len()), (&2.into(), 19));
    assert_eq!(running.get("/pipelines/acm").await.0, 404);

    // A lane that restarts keeps the history, a pipeline that is gone does not.
    telemetry.end_lane(&lane);
    telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "bus"));
    assert_eq!(telemetry.history("acme").len(), 19);
    telemetry.end_lane(&lane);
    telemetry.sample_rates(Timestamp::now().plus(Duration::from_mins(10)));
    assert!(telemetry.history("acme").is_empty());
}

#[tokio::test]
async fn a_pipeline_is_one_row_with_its_worst_lane() {
    let running = Running::start().await;
    let now = Timestamp::now();
    let lane = |pipeline: &str, stream, state| {
        let lane = running.telemetry.start_lane(&LaneId::new(pipeline, stream, "siem"));
        lane.send.delivered.add(10);
        lane.show(now, state);
    };
    lane("acme", Stream::Threats, LaneStateKind::Running.into());
    lane("acme", Stream::Agents, LaneStateKind::Running.into());
    let (status, page) = running.get("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("2 up") && page.contains("<title>s1-forwarder</title>"), "{page}");
    assert!(!page.contains("class=\"error\""), "what has no value takes no room: {page}");

    let token = || LaneState::new(LaneStateKind::ConsoleRefused, "403 Token disabled");
    lane("zeta", Stream::Threats, LaneStateKind::Running.into());
    lane("zeta", Stream::Activities, LaneState::new(LaneStateKind::SinkFailing, "503 busy"));
    lane("zeta", Stream::Agents, token());
    lane("zeta", Stream::Alerts, token());
    let page = running.get("/").await.1;
    assert!(page.find("pipelines/zeta").unwrap() < page.find("pipelines/acme").unwrap(), "failing first: {page}");
    for part in
        ["3 of 4 failing", "console refused", "2 lanes: 403 Token disabled", "class=\"error\"", "Pipelines 1 to 2 of 2"]
    {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    assert_eq!(page.matches("<tr>").count(), 3, "the head and two pipelines: {page}");
    assert!(!page.contains("503 busy"), "the pipeline's page has the other lane: {page}");
    assert!(running.get("/pipelines/zeta").await.1.contains("503 busy"));

    let json: serde_json::Value = serde_json::from_str(&running.get("/api/v1/pipelines?sort=state").await.1).unwrap();
    let row = &json["pipelines"][0];
    assert_eq!((&row["pipeline"], &row["lanes"], &row["up"]), (&"zeta".into(), &4.into(), &1.into()));
    assert_eq!((&row["equal_errors"], &row["delivered"]), (&2.into(), &40.into()));
    assert_eq!((&row["worst"]["stream"], &json["matching"]), (&"agents".into(), &2.into()));
    assert_eq!(json["lanes"].as_array().map(Vec::len), Some(0));
    // A filter chooses lanes, and rows are their sums.
    let failing = running.get("/api/v1/pipelines?state=sink_failing").await.1;
    let json: serde_json::Value = serde_json::from_str(&failing).unwrap();
    let row = &json["pipelines"][0];
    assert_eq!((&json["matching"], &row["lanes"], &row["delivered"]), (&1.into(), &1.into(), &10.into()));
}

#[tokio::test]
async fn equal_errors_of_several_pipelines_are_shown_once() {
    let running = Running::start().await;
    let now = Timestamp::now();
    for number in 0..8_u64 {
        for stream in [Stream::Threats, Stream::Agents] {
            let lane = running.telemetry.start_lane(&LaneId::new(format!("p{number}"), stream, "siem"));
            let error = if number < 7 { "cannot connect to siem:8088".to_owned() } else { "its own error".to_owned() };
            let ago = Duration::from_secs(60 * (number + 1));
            lane.show(now.minus(ago), LaneState::new(LaneStateKind::SinkFailing, error));
        }
    }
    let page = running.get("/").await.1;
    let (groups, _) = page.split_once("id=\"pipelines\"").unwrap();
    assert!(groups.contains("14 lanes") && groups.contains("cannot connect to siem:8088"), "{groups}");
    assert!(groups.contains("p4</a>") && groups.contains(" and 2 more") && !groups.contains("p5"), "{groups}");
    assert!(
        groups.contains(">7 min 0 s</time>") || groups.contains(">7 min 1 s</time>"),
        "the first of them: {groups}"
    );
    assert!(!groups.contains("its own error"), "one pipeline's error is in its row: {groups}");
    let json: serde_json::Value = serde_json::from_str(&running.get("/api/v1/pipelines").await.1).unwrap();
    let errors = json["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["lanes"], &errors[0]["pipelines"]), (2, &14.into(), &7.into()));
}

#[tokio::test]
async fn a_failing_lane_says_for_how_long_and_when_it_tried_last() {
    let running = Running::start().await;
    let now = Timestamp::now();
    let ago = |seconds| now.minus(Duration::from_secs(seconds));
    let lane = running.telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "siem"));
    let failing = || LaneState::new(LaneStateKind::SinkFailing, "503 Service Unavailable");
    // Another error of the same outage does not begin it again.
    lane.show(ago(700), LaneState::new(LaneStateKind::SinkFailing, "connection refused"));
    lane.show(ago(600), failing());
    lane.failed_again(ago(58));
    for path in ["/", "/pipelines/acme"] {
        let page = running.get(path).await.1;
        let text: String = page.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
        assert!(text.contains("failing for 11 min, last tried 5") && text.contains(" s ago"), "{path}: {text}");
    }
    let lanes = async || -> serde_json::Value {
        let json: serde_json::Value = serde_json::from_str(&running.get("/api/v1/lanes").await.1).unwrap();
        json["lanes"][0].clone()
    };
    let shown = lanes().await;
    assert_eq!(shown["failing_since"], ago(700).to_string());
    assert_eq!(shown["last_error"]["time"], ago(58).to_string());
    lane.show(now, LaneStateKind::Running.into());
    assert_eq!(lanes().await["failing_since"], serde_json::Value::Null);
    assert!(!running.get("/").await.1.contains("503 Service Unavailable"), "it is over");
}

#[tokio::test]
async fn a_lane_that_waits_for_the_request_limit_says_so() {
    let running = Running::start().await;
    let lane = running.telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "siem"));
    let shared = Arc::new(std::sync::atomic::AtomicUsize::new(1));
    let wait = lane.begin_limit_wait(Timestamp::now().minus(Duration::from_secs(5)), shared.clone());
    // Others join while it waits.
    shared.store(334, std::sync::atomic::Ordering::Relaxed);
    for path in ["/", "/pipelines/acme"] {
        let page = running.get(path).await.1;
        assert!(page.contains("waits for the request limit (334 lanes share it)"), "{page}");
    }
    let json: serde_json::Value = serde_json::from_str(&running.get("/api/v1/lanes").await.1).unwrap();
    assert_eq!(json["lanes"][0]["request_limit_wait"]["lanes"], 334);
    drop(wait);
    assert!(!running.get("/").await.1.contains("waits for"));
    let _short = lane.begin_limit_wait(Timestamp::now(), shared);
    assert!(!running.get("/").await.1.contains("waits for"), "every request waits a little");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_a_warning_of_a_lane_that_goes_on() {
    let running = Running::start().await;
    let lane = running.telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "siem"));
    lane.clocks.set_console_ahead(-172_800);
    let text = "is 2 d 0 h behind this machine's";
    let status = async || serde_json::from_str::<serde_json::Value>(&running.get("/api/v1/lanes").await.1).unwrap();
    let json = status().await;
    assert!(json["lanes"][0]["warnings"][0].as_str().unwrap().contains(text), "{json}");
    assert_eq!(json["summary"]["warned"], 1);
    assert!(running.get("/pipelines/acme").await.1.contains("is 2 d 0 h behind this machine"));
    // One that waits has it as its error.
    lane.show(Timestamp::now(), LaneState::new(LaneStateKind::WaitingForClock, "the console's clock is wrong"));
    assert_eq!(status().await["lanes"][0]["warnings"], serde_json::json!([]));
}

/// Lanes with a problem come before lanes without one, also if the lanes go on.
#[tokio::test]
async fn lanes_with_a_warning_come_after_failing_and_silent_ones_and_before_the_others() {
    let running = Running::start().await;
    let now = Timestamp::now();
    let lane = |pipeline: &str, lag: u64, state| {
        let lane = running.telemetry.start_lane(&LaneId::new(pipeline, Stream::Threats, "siem"));
        lane.set_complete_until(now.minus(Duration::from_secs(lag)));
        lane.show(now, state);
        lane
    };
    lane("behind", 90_000, LaneStateKind::Running.into());
    lane("warned", 5, LaneStateKind::Running.into()).clocks.set_console_ahead(-172_800);
    lane("silent", 1, LaneStateKind::Running.into()).set_silence(Silence::Silent);
    lane("starts", 2, LaneStateKind::Starting.into());
    lane("failing", 0, LaneState::new(LaneStateKind::SinkFailing, "503"));
    lane("renamed", 0, LaneState::new(LaneStateKind::Renamed, "run: s1-forwarder state rename"));
    let page = running.get("/").await.1;
    let place = |name: &str| page.find(&format!("<a href=\"pipelines/{name}\">")).unwrap();
    let order = ["failing", "renamed", "silent", "warned", "starts", "behind"];
    assert!(order.map(place).is_sorted(), "{page}");
    let card = "<a href=\"?state=warned&amp;sort=state&amp;limit=100#pipelines\">with a warning</a>";
    assert!(page.contains(&format!("<b class=\"soft\">1</b>{card}")), "{page}");
    assert!(page.contains("1 up, 1 with a warning"), "the row: {page}");
    for path in ["/api/v1/pipelines", "/api/v1/lanes"] {
        let json: serde_json::Value =
            serde_json::from_str(&running.get(&format!("{path}?state=warned")).await.1).unwrap();
        assert_eq!(json["matching"], 1, "{json}");
    }
    let page = running.get("/?state=warned").await.1;
    assert!(page.contains("<option value=\"warned\" selected>") && !page.contains("pipelines/behind"), "{page}");
}

/// A damaged record of one lane does not hide what the others did.
#[tokio::test]
async fn the_events_of_a_pipeline_are_at_least_those_of_the_lanes_that_are_known() {
    let running = Running::start().await;
    let now = Timestamp::now();
    let lanes = [Stream::Threats, Stream::Agents]
        .map(|stream| running.telemetry.start_lane(&LaneId::new("acme", stream, "siem")));
    let row = async || -> serde_json::Value {
        let json: serde_json::Value = serde_json::from_str(&running.get("/api/v1/pipelines").await.1).unwrap();
        let row = &json["pipelines"][0];
        serde_json::json!([row["events_today"], row["today_has_gap"]])
    };
    assert_eq!(row().await, serde_json::json!([null, true]));
    for lane in &lanes {
        lane.usage.begin(now, 0, 0.0);
        lane.usage.count(now, &crate::usage::Counts { events: 7, ..Default::default() });
    }
    lanes[0].usage.set_stored(&crate::usage::Usage::default(), now);
    assert_eq!(row().await, serde_json::json!([7, true]));
    assert!(running.get("/").await.1.contains("≥ 7"));
    lanes[1].usage.set_unreadable(now);
    assert_eq!(row().await, serde_json::json!([14, true]));
    lanes[1].usage.set_stored(&crate::usage::Usage::default(), now);
    assert_eq!(row().await, serde_json::json!([14, false]));
}

/// Lanes whose errors differ in numbers, or in the lane that a command names, have one cause.
#[tokio::test]
async fn refusals_of_different_numbers_of_events_are_one_error() {
    let running = Running::start().await;
    for (pipeline, events) in [("acme", 155), ("bolt", 97)] {
        let lane = running.telemetry.start_lane(&LaneId::new(pipeline, Stream::Threats, "siem"));
        let error = format!(
            "the sink refused {events} events in a row and accepted none: {} --accept-refusals {pipeline}/threats/siem",
            "400 ".repeat(100)
        );
        lane.show(Timestamp::now(), LaneState::new(LaneStateKind::SinkRefused, error));
    }
    let json: serde_json::Value = serde_json::from_str(&running.get("/api/v1/pipelines").await.1).unwrap();
    let errors = json["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["lanes"]), (1, &2.into()), "{json}");
    let page = running.get("/").await.1;
    assert!(page.contains("… --accept-refusals PIPELINE/STREAM/SINK"), "{page}");
    assert!(page.contains("… --accept-refusals bolt/threats/siem"), "the row of the pipeline: {page}");
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_delay_the_shutdown() {
    let running = Running::start().await;
    for lane in 0..2_000 {
        running.telemetry.start_lane(&LaneId::new(format!("pipeline-{lane}"), Stream::Threats, "bus"));
    }
    let slow = running.client.get(format!("{}/metrics", running.base)).send().await.unwrap();
    running.stop.send(()).unwrap();
    let started = Instant::now();
    running.served.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    drop(slow);
}

/// A listener without sockets, for the fuzzing.
pub(crate) struct Fuzzed {
    runtime: tokio::runtime::Runtime,
    router: Router,
    _lane: Arc<crate::telemetry::LaneMetrics>,
}

impl Fuzzed {
    /// Creates an application with one lane, whose pages ask for `token`.
    pub fn new(token: Option<&str>) -> Self {
        Self::with(token, false)
    }

    fn with(token: Option<&str>, is_local: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let telemetry = Arc::new(Telemetry::new());
        let lane = telemetry.start_lane(&LaneId::new("c4nary-pipeline", Stream::Threats, "siem"));
        let tokens = token.map(|token| <sha2::Sha256 as sha2::Digest>::digest(token).into()).into_iter().collect();
        let web = Arc::new(WebConfig::with_tokens(tokens));
        let router = router(Arc::new(App::new(telemetry, Arc::default(), web, is_local)));
        Self { runtime, router, _lane: lane }
    }

    /// Returns the answer to a client that sends this request and then waits for the end.
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let serving = tokio::spawn(listener::exchange(server, self.router.clone()));
            // The server may have closed it already.
            let _ = client.write_all(request).await;
            let _ = client.shutdown().await;
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            drop(client);
            serving.await.unwrap();
            answer
        })
    }
}
