//! The status page and the page of `report` in a real browser: what they show, that they need no scripts, and what
//! their content policies refuse.
//!
//! `S1_FORWARDER_SCREENSHOTS=1` writes the pictures in docs/images.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::checkpoint::CheckpointBackend;
use s1_forwarder::pipeline;
use s1_forwarder::record::{LaneId, Stream, Timestamp};
use s1_forwarder::server::Server;
use s1_forwarder::state::FileStore;
use s1_forwarder::telemetry::{FileStatus, LaneState, LaneStateKind, PipelineState, SkipReason, Telemetry};
use s1_forwarder::usage::{CountedTime, Delta, Usage};
use s1_forwarder::worker::CommandFlags;

use crate::support::cache::{or_skip, run, servers_wanted};
use crate::support::process::{Process, program};

const BROWSERS: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

fn browser() -> Result<(PathBuf, PathBuf), String> {
    servers_wanted()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).flat_map(|directory| BROWSERS.map(|name| directory.join(name)));
    let chromium = programs.find(|program| program.is_file()).ok_or("no Chromium is installed")?;
    Ok((chromium, test_servers::puppeteer()?))
}

const FILE: &str = "console:\n  url: https://usea1-bolt.sentinelone.net\n  token: { file: /run/secrets/bolt/token }\n\
                    streams: { threats: {}, activities: {}, agents: {} }\n\
                    sinks:\n- { type: splunk_hec, name: siem, url: 'https://splunk.example:8088', token: { env: HEC } }\n";

/// A worker in the twelfth hour of its life, with what goes wrong.
fn busy_worker(directory: &Path, server: &Server) -> Arc<Telemetry> {
    let telemetry = Arc::new(Telemetry::new());
    let now = Timestamp::now();
    let names = ["acme", "bolt", "cedar", "delta", "ember", "fjord", "grove", "haven", "iris", "juno"];
    let streams = [Stream::Threats, Stream::Activities, Stream::Agents];
    let mut lanes = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        for stream in streams {
            lanes.push((index as u64, telemetry.start_lane(&LaneId::new(name, stream, "siem"))));
        }
        let state = if name == "juno" { PipelineState::Paused } else { PipelineState::Running };
        let problem =
            (name == "cedar").then(|| "12:5: streams.activites: unknown key; did you mean `activities`?".to_owned());
        let status = FileStatus {
            pipeline: name.to_owned(),
            state,
            shard: None,
            problem,
            warnings: Vec::new(),
            generation: None,
        };
        telemetry.set_file(&PathBuf::from(format!("pipelines/{name}.yaml")), status);
    }
    for step in (0..150_u32).rev() {
        let time = now.minus(Duration::from_mins(5) * step);
        for (index, lane) in &lanes {
            let wave = u64::from(step % 40 + 10) * (index + 1) * 20;
            lane.pull.records.add(wave + 7);
            lane.send.delivered.add(wave);
            lane.skip_records(SkipReason::Duplicate, 7);
            let lag = if lane.id.pipeline == "bolt" && step < 30 {
                u64::from(30 - step) * 300
            } else {
                20 + u64::from(step % 9)
            };
            lane.set_complete_until(time.minus(Duration::from_secs(lag)));
            lane.succeeded(time);
            lane.show(time, LaneStateKind::Running.into());
        }
        telemetry.sample_rates(time);
    }
    for (_, lane) in &lanes {
        lane.set_next_attempt(Some(now.plus(Duration::from_secs(40))));
        let state = match (lane.id.pipeline.as_str(), lane.id.stream) {
            ("bolt", Stream::Threats) => LaneState::new(
                LaneStateKind::ConsoleRefused,
                "the console answered 403 Forbidden: 4030010: Insufficient permissions: <img src=x onerror=alert(1)>",
            ),
            ("bolt", _) => {
                LaneState::new(LaneStateKind::SinkFailing, "cannot connect to splunk.example:8088: Connection refused")
            }
            ("delta", Stream::Agents) => LaneState::new(LaneStateKind::SinkRefused, "401 Unauthorized: invalid token"),
            ("ember", Stream::Threats) => {
                LaneState::new(LaneStateKind::Stopped, "cannot write state/lanes: No space left on device")
            }
            _ => continue,
        };
        lane.show(now, state);
        lane.send.dead_letters.add(3);
    }
    for (index, name) in names.into_iter().enumerate() {
        telemetry.set_token_expiry(name, Some(now.plus(Duration::from_secs(86_400 * (9 + 40 * index as u64)))));
    }
    let file = directory.join("bolt.yaml");
    std::fs::write(&file, FILE).unwrap();
    let loaded = pipeline::load(&[file], &pipeline::FileOptions::default());
    let bolt = loaded.pipelines.first().unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let bolt = bolt.clone();
    server.worker().set(CommandFlags::default(), move |_| Some(bolt.effective()));
    telemetry.health().set_files_read();
    telemetry.health().set_state_store(Ok(()));
    telemetry
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_the_pages_as_they_are_meant() {
    let Some((chromium, puppeteer)) = or_skip("browser", browser()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", server.address());
    let telemetry = busy_worker(directory.path(), &server);
    let served = tokio::spawn(server.serve(telemetry, std::future::pending()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut node = Command::new("node");
    node.arg(root.join("tests/browser/page.mjs")).arg(chromium).arg(puppeteer).arg(&url);
    look(node).await;
    served.abort();
}

/// Runs a script that complains about what it sees.
async fn look(mut node: Command) {
    if std::env::var("S1_FORWARDER_SCREENSHOTS").as_deref() == Ok("1") {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
        std::fs::create_dir_all(&images).unwrap();
        node.arg(images);
    }
    let looked = tokio::task::spawn_blocking(move || run(&mut node, &std::env::temp_dir())).await.unwrap();
    let said = looked.unwrap_or_else(|complaints| panic!("{complaints}"));
    assert!(said.contains("no complaints"), "{said}");
}

/// The month of a provider with fifty customers, and one more that cannot be read.
async fn month_of_customers(directory: &Path) -> usize {
    const HOUR: Duration = Duration::from_hours(1);
    let store = FileStore::open(&directory.join("state")).unwrap();
    let now = Timestamp::now();
    let mut lanes = 0;
    for customer in 0..50_u32 {
        for (place, stream) in ["activities", "threats", "alerts"].into_iter().enumerate() {
            let mut usage = Usage::default();
            for hour in (0..40 * 24_u32).rev().step_by(5) {
                let until = now.minus(HOUR * hour);
                let mut delta = Delta::default();
                let counts = delta.at(until);
                counts.events = u64::from((customer + 1) * (hour % 97)) * [900, 3, 1][place];
                counts.bytes = counts.events * 1_387;
                counts.silent_minutes = u64::from(customer % 7 == 3 && hour < 60) * 60;
                counts.failing_minutes = u64::from(customer % 11 == 5 && hour % 100 == 0) * 17;
                (0..40).for_each(|second| counts.latency.add(Duration::from_secs(second * u64::from(customer + 1))));
                if place == 0 {
                    delta.verify(s1_forwarder::usage::hour_of(until), 0, until);
                }
                usage.add(
                    &delta,
                    CountedTime { from: until, until, is_over: customer % 13 != 12, write: (hour.into(), 0) },
                );
            }
            let key = format!("customer-{customer:02}/{stream}/siem+usage").parse().unwrap();
            store.commit(&key, usage.encode().into()).await.unwrap();
            lanes += 1;
        }
    }
    let hostile = "a-customer-whose-name-is-quite-long/activities/a-destination+usage";
    store.commit(&hostile.parse().unwrap(), b"<script>alert(1)</script>".to_vec().into()).await.unwrap();
    lanes + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_a_report_as_it_is_meant() {
    let Some((chromium, puppeteer)) = or_skip("browser", browser()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let lanes = month_of_customers(directory.path()).await;
    let arguments = ["report", "--from", "30d", "--to", "now", "--format", "html"];
    let exit = Process::spawn(program(directory.path(), &arguments)).exit().await;
    assert!(exit.code == Some(1) && exit.stderr.contains("newer release"), "{}", exit.stderr);
    let file = directory.path().join("report.html");
    std::fs::write(&file, exit.stdout).unwrap();
    let mut node = Command::new("node");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/report.mjs");
    node.arg(script).arg(chromium).arg(puppeteer).arg(file).arg(lanes.to_string());
    look(node).await;
}
