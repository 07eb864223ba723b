//! A system that does not do what the worker asks of it: what needs it waits, and nothing else; or another worker takes
//! over.

use serde_json::json;

use crate::support::harness::Harness;
use crate::support::process::{Process, until};
use crate::support::silent::Silent;

const ARGUMENTS: [&str; 5] = ["run", "--listen", "127.0.0.1:0", "--pipelines", "pipelines"];
/// Threads of a worker with a few pipelines.
const MAX_THREADS: u64 = 64;
/// Threads that look up new names, and names that are not answered.
const LOOKUPS: u64 = 160;

async fn delivers(worker: &mut Process, pipeline: &str) {
    let before = worker.metrics().await.sum("events_delivered_total", &[("pipeline", pipeline)]);
    until("more is delivered", async || {
        let now = worker.metrics().await.sum("events_delivered_total", &[("pipeline", pipeline)]);
        (now > before).then_some(())
    })
    .await;
}

async fn ends(worker: Process) {
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}

/// Two pipeline files on the file system, one of them behind a symbolic link next to others, and pipelines with a token
/// and a sink there.
fn put_pipelines(harness: &Harness, mount: &Silent) {
    std::fs::create_dir(mount.path("pipelines")).unwrap();
    std::fs::copy(harness.path("token"), mount.path("token")).unwrap();
    std::fs::write(mount.path("pipelines/there.yaml"), harness.pipeline(json!({})).to_string()).unwrap();
    std::fs::write(mount.path("linked.yaml"), harness.pipeline(json!({})).to_string()).unwrap();
    std::os::unix::fs::symlink(mount.path("linked.yaml"), harness.path("pipelines/linked.yaml")).unwrap();
    harness.put_changed("token-there", json!({ "console": { "token": { "file": mount.path("token") } } }));
    let file = json!({ "type": "file", "name": "file", "path": mount.path("out/{stream}.ndjson") });
    harness.put_changed("sink-there", json!({ "sinks": [file] }));
    harness.put_changed("acme", json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_file_system_at_the_start_costs_what_is_on_it() {
    let harness = Harness::new(|setup| (setup.activities, setup.rate) = (50, 20.0)).await;
    let mount = Silent::new(harness.root());
    put_pipelines(&harness, &mount);
    mount.begin();
    let there = mount.path("pipelines");
    let mut worker = mount.process(harness.root(), &[&ARGUMENTS[..], &[there.to_str().unwrap()]].concat());
    delivers(&mut worker, "acme").await;
    let lane = worker.lane("token-there/activities/siem", |lane| !lane["error"].is_null()).await;
    assert!(lane["error"].as_str().unwrap().contains("does not answer"), "{lane}");
    worker.logged(&["mount/pipelines", "does not answer"]).await;
    worker.logged(&["linked.yaml", "does not answer"]).await;
    assert_eq!(worker.get("/livez").await.0, 200);
    assert!(worker.kernel_count("Threads") < MAX_THREADS, "{} threads", worker.kernel_count("Threads"));
    delivers(&mut worker, "acme").await;

    mount.end();
    for pipeline in ["there", "linked", "token-there", "sink-there"] {
        delivers(&mut worker, pipeline).await;
    }
    ends(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_dies_stops_no_pipeline_that_runs() {
    let harness = Harness::new(|setup| (setup.activities, setup.rate) = (50, 20.0)).await;
    let mount = Silent::new(harness.root());
    put_pipelines(&harness, &mount);
    let there = mount.path("pipelines");
    let mut worker = mount.process(harness.root(), &[&ARGUMENTS[..], &[there.to_str().unwrap()]].concat());
    for pipeline in ["there", "linked", "token-there", "sink-there"] {
        delivers(&mut worker, pipeline).await;
    }
    mount.begin();
    worker.logged(&["mount/pipelines", "does not answer"]).await;
    harness.put_changed("later", json!({}));
    for pipeline in ["acme", "there", "linked", "token-there", "later"] {
        delivers(&mut worker, pipeline).await;
    }
    assert_eq!(worker.get("/livez").await.0, 200);
    assert!(worker.kernel_count("Threads") < MAX_THREADS, "{} threads", worker.kernel_count("Threads"));
    ends(worker).await;
}

/// More names than the runtime has threads for such calls, next to a name that was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_not_answered_leave_threads_for_everything_else() {
    let harness = Harness::new(|setup| (setup.activities, setup.rate) = (50, 20.0)).await;
    let names = Silent::new(harness.root());
    let console = json!({ "url": harness.server.url().replace("127.0.0.1", "localhost") });
    harness.put_changed("acme", json!({ "console": console }));
    let mut worker = names.process(harness.root(), &ARGUMENTS);
    delivers(&mut worker, "acme").await;
    names.begin();
    for number in 0..600 {
        let console = json!({ "url": format!("https://console-{number}.silent.test") });
        harness.put_changed(&format!("silent-{number}"), json!({ "console": console }));
    }
    let lane = worker.lane("silent-7/activities/siem", |lane| !lane["error"].is_null()).await;
    assert_eq!(lane["state"], "console_failing", "{lane}");
    until("many lookups wait", async || (worker.kernel_count("Threads") > LOOKUPS).then_some(())).await;
    // A file of events is written by such a thread, too.
    let file = json!({ "type": "file", "name": "file", "path": harness.path("out/{stream}.ndjson") });
    harness.put_changed("later", json!({ "console": console, "sinks": [file] }));
    for pipeline in ["acme", "later"] {
        delivers(&mut worker, pipeline).await;
    }
    assert_eq!(worker.get("/livez").await.0, 200);
    assert!(worker.kernel_count("Threads") < LOOKUPS + MAX_THREADS, "{} threads", worker.kernel_count("Threads"));
    ends(worker).await;
}

/// The supervisor cannot start its next scan then, and panics: it cannot know what else it would miss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_its_supervisor_ends_with_1() {
    let harness = Harness::new(|setup| (setup.activities, setup.rate) = (50, 20.0)).await;
    harness.put_changed("acme", json!({}));
    let system = Silent::new(harness.root());
    let mut worker = system.process_without_threads(harness.root(), &ARGUMENTS);
    delivers(&mut worker, "acme").await;
    system.begin();
    let exit = worker.exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("the supervisor panicked"), "{}", exit.stderr);
}
