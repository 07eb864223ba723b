//! What workers ask of the API server, as it counts itself, compared with what docs/scaling.md computes.
//!
//! That page says how to repeat it at its size.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Console, Server, Setup, system_clock};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::harness::{ClusterHarness, LEASE, PATIENCE, SHARDS, to};
use crate::support::harness::setting;
use crate::support::kubernetes::Kubernetes;
use crate::support::process::until_within;

/// Lanes that find nothing write their first checkpoint between one of these and two after they began.
const IDLE_INTERVAL: Duration = Duration::from_mins(10);
/// Longer measurements are about idle lanes' checkpoints too.
const LONG: Duration = Duration::from_mins(1);
/// The kernel counts a process's time in these.
const TICKS: f64 = 100.0;

/// What was counted at a moment.
struct Counts {
    at: Instant,
    requests: BTreeMap<String, f64>,
    /// Seconds of processor time: the API server, etcd, and a worker on average.
    cpu: [f64; 3],
}

impl Counts {
    async fn now(harness: &ClusterHarness<'_>) -> Self {
        let [api_server, etcd] = harness.kubernetes.processes().map(cpu);
        let workers: f64 = harness.workers.values().map(|worker| cpu(worker.process.id())).sum();
        let requests = harness.requests().await;
        Self { at: Instant::now(), requests, cpu: [api_server, etcd, workers / harness.workers.len() as f64] }
    }

    /// Requests of a kind since `before`.
    fn since(&self, before: &Self, what: &str) -> f64 {
        let count = |counts: &Self| counts.requests.get(what).copied().unwrap_or_default();
        count(self) - count(before)
    }

    /// And in a second.
    fn rate(&self, before: &Self, what: &str) -> f64 {
        self.since(before, what) / (self.at - before.at).as_secs_f64()
    }

    fn print(&self, before: &Self, what: &str) {
        let took = self.at - before.at;
        let [api_server, etcd, worker] = [0, 1, 2].map(|who| (self.cpu[who] - before.cpu[who]) / took.as_secs_f64());
        println!(
            "{what} ({:.1} s): CPU API server {api_server:.2}, etcd {etcd:.2}, a worker {worker:.3}",
            took.as_secs_f64()
        );
        for what in self.requests.keys().filter(|what| self.since(before, what) > 0.0) {
            println!("  {what}: {}, {:.1}/s", self.since(before, what), self.rate(before, what));
        }
    }
}

fn cpu(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // After the name: the state is the third field, user and system time are the fourteenth and fifteenth.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS
}

/// Waits until every lane has asked its console, in a worker that is there.
async fn all_ask(harness: &mut ClusterHarness<'_>, lanes: usize) {
    let started_at = Instant::now();
    loop {
        let mut asked = 0;
        for worker in harness.workers.values_mut() {
            let metrics = worker.process.metrics().await;
            asked += metrics.samples("last_success_timestamp_seconds").filter(|(_, at)| *at > 0.0).count();
        }
        if asked == lanes {
            return;
        }
        assert!(started_at.elapsed() < harness.patience, "{asked} of {lanes} lanes have asked");
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_on_the_api_server_is_what_the_docs_compute() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let lanes = setting("S1_FORWARDER_CLUSTER_PIPELINES", 60);
    let workers = setting("S1_FORWARDER_CLUSTER_WORKERS", 3);
    let busy = setting("S1_FORWARDER_CLUSTER_BUSY", lanes / 20);
    let seconds = setting("S1_FORWARDER_CLUSTER_LEASE", LEASE.as_secs() as usize);
    let watched = Duration::from_secs(setting("S1_FORWARDER_CLUSTER_WATCH", 8) as u64);
    let lease = seconds as f64;
    let interval = seconds as f64 / 3.0;

    let quiet = tokio::task::spawn_blocking(|| Arc::new(Console::new(&Setup::new(system_clock())))).await.unwrap();
    let quiet = Server::start(quiet, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let every = |period: f64| json!({ "activities": { "interval": format!("{period}s"), "since": "now" } });
    let mut harness = ClusterHarness::with(&kubernetes, lanes, |number, name, receiver| {
        if number < busy {
            json!({ "streams": every(interval), "sinks": [to(receiver, name)] })
        } else {
            json!({ "console": { "url": quiet.url() }, "streams": every(4.0 * lease), "sinks": [to(receiver, name)] })
        }
    })
    .await;
    let flags =
        ["--state", "kubernetes:", "--lease", &format!("{seconds}s"), "--checkpoint-interval", &format!("{interval}s")];
    harness.flags = flags.map(str::to_owned).to_vec();
    harness.patience = PATIENCE.mul_f64(4.0);
    harness.set_rate(1.0);
    println!(
        "{workers} workers, {lanes} lanes, {busy} of them busy, {SHARDS} shards, lease {lease} s, checkpoints every {interval} s"
    );

    let started_at = Instant::now();
    let start = Counts { at: started_at, requests: harness.requests().await, cpu: [0.0; 3] };
    for _ in 0..workers {
        harness.add().await;
    }
    harness.even().await;
    println!("even after {:.1} s", started_at.elapsed().as_secs_f64());
    all_ask(&mut harness, lanes).await;
    Counts::now(&harness).await.print(&start, "until all lanes have asked");

    let before = Counts::now(&harness).await;
    sleep(watched).await;
    let after = Counts::now(&harness).await;
    let saved = busy as f64 / interval;
    after.print(&before, "with busy lanes");
    println!("  computed: PUT configmaps {saved:.1}/s");
    let least = saved * 0.2;
    let most = saved * 1.2 + lanes as f64 / IDLE_INTERVAL.as_secs_f64();
    let written = after.rate(&before, "PUT configmaps");
    assert!((least..=most).contains(&written), "{written} checkpoints a second, not {least} to {most}");

    // What was delivered last is in a checkpoint soon; then time passes and holds nothing.
    harness.set_rate(0.0);
    sleep(Duration::from_secs_f64(6.0 * interval)).await;
    if watched >= LONG {
        sleep_until(started_at + IDLE_INTERVAL + LONG).await;
    }
    let before = Counts::now(&harness).await;
    sleep(watched).await;
    let after = Counts::now(&harness).await;
    after.print(&before, "in peace");
    let rounds = 3.0 / lease;
    let idle = if watched >= LONG { lanes as f64 / IDLE_INTERVAL.as_secs_f64() } else { 0.0 };
    let computed = [
        ("PUT leases", (SHARDS + workers) as f64 * rounds),
        ("LIST leases", 2.0 * workers as f64 * rounds),
        ("PUT configmaps", idle),
    ];
    for (what, rate) in computed {
        println!("  computed: {what} {rate:.1}/s");
        let measured = after.rate(&before, what);
        assert!(measured <= rate * 1.5, "{what}: {measured}/s");
    }
    // No checkpoint, but a dry run of each worker every 30 s: whether it may write.
    let dry_runs = workers as f64 * (watched.as_secs_f64() / 30.0 + 1.0);
    assert!(after.since(&before, "POST configmaps") <= dry_runs);
    // Each is a look at the name of every checkpoint: a worker does that when it starts, to find renamed lanes.
    assert_eq!(after.since(&before, "LIST configmaps"), 0.0);
    let listed = after.since(&start, "LIST configmaps");
    assert!(listed <= (workers * (1 + lanes / 500)) as f64, "{listed} lists of checkpoints");
    let peak = harness.workers.values().map(|worker| worker.process.peak_rss() >> 20).max();
    println!("peak memory of a worker: {} MiB", peak.unwrap());

    // One goes: what it had moves, and nothing else.
    let name = harness.workers.keys().next().unwrap().clone();
    let leaving = harness.remove(&name);
    let before = Counts::now(&harness).await;
    leaving.process.signal("TERM").await;
    assert_eq!(leaving.process.exit().await.code, Some(0));
    harness.even().await;
    println!("even again after {:.1} s", before.at.elapsed().as_secs_f64());
    until_within(harness.patience, "all pipelines run", async || {
        let mut running = 0;
        for worker in harness.workers.values_mut() {
            running += worker.process.metrics().await.sum("pipelines", &[("state", "running")]);
        }
        (running == lanes as u64).then_some(())
    })
    .await;
    all_ask(&mut harness, lanes).await;
    Counts::now(&harness).await.print(&before, "one worker less");
    for worker in harness.workers.values_mut() {
        assert_eq!(worker.process.metrics().await.sum("checkpoint_conflicts_total", &[]), 0, "{}", worker.name);
    }
    assert!(
        harness.workers.values().all(|worker| !worker.process.log_text().contains("shard lost")),
        "{}",
        harness.logs("shard")
    );
}
