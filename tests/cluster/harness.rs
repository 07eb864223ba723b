//! A console, a SIEM, an API server, many pipelines, and workers that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use s1_forwarder::emulator::{Console, Kind, Scope, Server, Setup, system_clock};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::link::Link;
use super::receiver::Receiver;
use crate::support::kubernetes::{Kubernetes, Tenant};
use crate::support::process::{Process, program, until_within};

pub const SHARDS: usize = 64;
/// Long enough that the API server answers in time on a machine that is busy.
pub const LEASE: Duration = Duration::from_secs(6);
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// How long anything may take that depends on leases, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A worker with a way of its own to the API server.
pub struct Worker {
    pub name: String,
    pub process: Process,
    pub link: Link,
}

pub struct ClusterHarness<'a> {
    directory: tempfile::TempDir,
    server: Server,
    pub receiver: Receiver,
    pub kubernetes: &'a Kubernetes,
    pub tenant: Tenant<'a>,
    pub workers: BTreeMap<String, Worker>,
    /// What those logged that were stopped.
    stopped: Vec<Value>,
    /// Where checkpoints are, and how workers share the pipelines.
    pub flags: Vec<String>,
    pub shards: usize,
    /// How long anything may take that depends on leases.
    pub patience: Duration,
    pipelines: usize,
    started: usize,
}

impl<'a> ClusterHarness<'a> {
    /// Every pipeline leads to the receiver, which learns the worker of each event.
    pub async fn new(kubernetes: &'a Kubernetes, pipelines: usize) -> Self {
        Self::with(kubernetes, pipelines, |_, name, receiver| json!({ "sinks": [to(receiver, name)] })).await
    }

    /// Each pipeline is made so from its number and its name; its token and what it does not say is added.
    pub async fn with(
        kubernetes: &'a Kubernetes,
        pipelines: usize,
        pipeline: impl Fn(usize, &str, &Receiver) -> Value,
    ) -> Self {
        let setup = Setup { activities: 20, rate: 1.0, ..Setup::new(system_clock()) };
        let console = tokio::task::spawn_blocking(move || Arc::new(Console::new(&setup))).await.unwrap();
        let server = Server::start(console, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let receiver = Receiver::start().await;
        let tenant = kubernetes.tenant().await;
        let directory = tempfile::tempdir().unwrap();
        let lease = lease();
        let flags = ["--state", "kubernetes:", "--lease", &lease, "--checkpoint-interval", "1s"];
        let harness = Self {
            directory,
            server,
            receiver,
            kubernetes,
            tenant,
            workers: BTreeMap::new(),
            stopped: Vec::new(),
            flags: flags.map(str::to_owned).to_vec(),
            shards: SHARDS,
            patience: PATIENCE,
            pipelines,
            started: 0,
        };
        harness.write_pipelines(pipeline);
        harness
    }

    /// Each has a token of its own, and with it a place of its own among the shards.
    fn write_pipelines(&self, pipeline: impl Fn(usize, &str, &Receiver) -> Value) {
        for folder in ["pipelines", "tokens"] {
            fs::create_dir(self.path(folder)).unwrap();
        }
        let defaults = json!({
            "console": { "url": self.server.url(), "requests_per_second": 100 },
            "streams": { "activities": { "interval": "3s", "since": "30d" } },
            "transform": { "schema": "raw" },
        });
        fs::write(self.path("defaults.yaml"), defaults.to_string()).unwrap();
        for (number, name) in self.names().into_iter().enumerate() {
            fs::write(self.path("tokens").join(&name), Setup::TOKEN).unwrap();
            let mut pipeline = pipeline(number, &name, &self.receiver);
            pipeline["console"]["token"] = json!({ "file": self.path("tokens").join(&name) });
            fs::write(self.path("pipelines").join(format!("{name}.yaml")), pipeline.to_string()).unwrap();
        }
    }

    pub fn names(&self) -> Vec<String> {
        (0..self.pipelines).map(|number| format!("customer-{number:03}")).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts one more worker, and returns its name.
    pub async fn add(&mut self) -> String {
        self.started += 1;
        let name = format!("worker-{}", self.started);
        let link = Link::to(self.kubernetes.address()).await;
        let mut command = program(
            self.directory.path(),
            &["run", "--pipelines", "pipelines", "--defaults", "defaults.yaml", "--listen", "127.0.0.1:0"],
        );
        command.args(["--dead-letters", "file:dead-letters"]).args(&self.flags);
        command.env("HOSTNAME", &name).env("KUBECONFIG", self.tenant.kubeconfig_through(link.address()));
        let process = Process::spawn(command);
        self.workers.insert(name.clone(), Worker { name: name.clone(), process, link });
        name
    }

    pub fn worker(&mut self, name: &str) -> &mut Worker {
        self.workers.get_mut(name).unwrap()
    }

    pub fn remove(&mut self, name: &str) -> Worker {
        self.workers.remove(name).unwrap()
    }

    /// Who holds which shard, as the API server says.
    pub async fn holders(&self) -> BTreeMap<String, String> {
        let leases: Api<Lease> = Api::namespaced(self.kubernetes.admin().await, &self.tenant.name);
        let mut holders = BTreeMap::new();
        for lease in leases.list(&ListParams::default().labels("s1-forwarder/kind=shard")).await.unwrap() {
            let name = lease.name_any();
            if let Some(holder) = lease.spec.and_then(|spec| spec.holder_identity) {
                holders.insert(name, holder.split('_').next().unwrap().to_owned());
            }
        }
        holders
    }

    /// What the API server was asked so far, by verb and kind of object.
    pub async fn requests(&self) -> BTreeMap<String, f64> {
        let metrics = self.kubernetes.admin().await;
        let asked = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let text = metrics.request_text(asked).await.unwrap();
        let mut counts = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| line.split_once(&format!("{name}=\""))?.1.split('"').next();
            if let (Some(verb), Some(resource @ ("leases" | "configmaps"))) = (label("verb"), label("resource")) {
                let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
                *counts.entry(format!("{verb} {resource}")).or_default() += count;
            }
        }
        counts
    }

    /// Ends a worker with SIGTERM.
    pub async fn stop(&mut self, name: &str) {
        let worker = self.remove(name);
        worker.process.signal("TERM").await;
        let exit = worker.process.exit().await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        self.stopped.extend(exit.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }

    /// What the workers that are there logged about a pipeline, and about shards in general.
    pub fn logs(&self, pipeline: &str) -> String {
        let mut lines = Vec::new();
        for worker in self.workers.values() {
            let log = worker.process.log_text();
            let reported = log
                .lines()
                .filter(|line| line.contains(pipeline) || line.contains("shard lost") || line.contains("API server"));
            lines.extend(reported.map(|line| format!("{}: {line}", worker.name)));
        }
        lines.join("\n")
    }

    /// When one of the workers could not renew its leases in time for the first time since `from`, if ever.
    pub fn cut_off_since(&self, from: Instant) -> Option<Instant> {
        let running = self.workers.values().flat_map(|worker| worker.process.log());
        let lines = running.chain(self.stopped.iter().cloned());
        let cut_off = lines.filter(|line| {
            let line = line.to_string();
            line.contains("could not be renewed in time") || line.contains("shard lost")
        });
        let times = cut_off.filter_map(|line| {
            let time: jiff::Timestamp = line["timestamp"].as_str()?.parse().ok()?;
            Instant::now().checked_sub(jiff::Timestamp::now().duration_since(time).unsigned_abs())
        });
        times.filter(|time| *time >= from).min()
    }

    /// Waits until the workers that there are hold all shards, none of them more than one more than another.
    pub async fn even(&self) {
        let mut last = BTreeMap::new();
        let is_even = |holders: &BTreeMap<String, String>| {
            let shards_of = |name| holders.values().filter(|holder| *holder == name).count();
            let counts: Vec<usize> = self.workers.keys().map(shards_of).collect();
            let spread = counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
            counts.iter().sum::<usize>() == self.shards && spread <= 1
        };
        let started = Instant::now();
        while !is_even(&last) {
            assert!(started.elapsed() < self.patience, "never even: {last:?}\n{}", self.logs("shard"));
            tokio::time::sleep(Duration::from_millis(100)).await;
            last = self.holders().await;
        }
    }

    /// The pipelines that this worker runs, as it says itself.
    pub async fn pipelines_of(&mut self, name: &str) -> BTreeSet<String> {
        let lanes = self.worker(name).process.lanes().await;
        lanes.keys().map(|lane| lane.split('/').next().unwrap().to_owned()).collect()
    }

    /// Waits until each of these pipelines has delivered after `from`, by a worker other than `not_by`; when the last
    /// did.
    pub async fn delivered(&self, pipelines: &BTreeSet<String>, from: Instant, not_by: &str) -> Instant {
        let mut missing = pipelines.clone();
        let mut done = from;
        until_within(PATIENCE, "all pipelines deliver again", async || {
            for (name, arrival) in self.receiver.last() {
                if arrival.at > from && arrival.worker != not_by && missing.remove(&name) {
                    done = done.max(arrival.at);
                }
            }
            missing.is_empty().then_some(())
        })
        .await;
        done
    }

    /// How many records appear in a second from now on.
    pub fn set_rate(&self, rate: f64) {
        self.server.console().set_rate(rate, system_clock());
    }

    /// Nothing more appears: the identities of all that is owed to each pipeline.
    pub fn owed(&self) -> BTreeSet<String> {
        self.set_rate(0.0);
        let host = self.server.address().to_string();
        let expected = self.server.console().visible_versions(Kind::Activities, &Scope::Global);
        expected.iter().map(|version| identity(&host, version.id)).collect()
    }

    /// Nothing more appears; waits until every pipeline has delivered everything, and counts what it has not.
    pub async fn lost(&self) -> usize {
        let owed = self.owed();
        let started = Instant::now();
        loop {
            let missing = |name: &String| owed.difference(&self.receiver.records(name)).count();
            let lost: usize = self.names().iter().map(missing).sum();
            if lost == 0 || started.elapsed() > PATIENCE {
                return lost;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// [`LEASE`] as a flag says it.
pub fn lease() -> String {
    format!("{}s", LEASE.as_secs())
}

/// A sink that tells the receiver which worker brings what.
pub fn to(receiver: &Receiver, pipeline: &str) -> Value {
    json!({
        "name": "siem", "type": "http", "url": format!("{}/{pipeline}", receiver.url()), "envelope": true,
        "compression": "none", "headers": { "X-Worker": { "env": "HOSTNAME" } },
        "batch": { "timeout": "50ms" }, "retry": { "initial": "10ms", "max": "1s" },
    })
}

/// The identity of an activity (docs/delivery.md), computed without the program's code.
fn identity(host: &str, id: u64) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{host}\nactivities\n{id}\n"));
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
