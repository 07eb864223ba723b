//! The surroundings of the program in a test: a directory, an emulated console, a receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Console, Faults, Kind, RecordVersion, Scope, Server, Setup, print_time, system_clock};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::process::{Exit, Process, program};
use super::receiver::{Receiver, Rules};

/// The destination of events, in tests that hold for every kind of sink.
pub trait Destination {
    /// Returns the entry of the destination in `sinks:`.
    fn settings(&self) -> Value;
    /// Returns how often each identity arrived.
    async fn arrived(&self) -> BTreeMap<String, u32>;
    /// Returns how often each identity was accepted without an answer that said so.
    async fn unanswered(&self) -> BTreeMap<String, u32>;
}

impl Destination for Receiver {
    fn settings(&self) -> Value {
        json!({
            "name": "siem", "type": "http", "url": self.input(), "envelope": true,
            "batch": { "timeout": "50ms" }, "retry": { "initial": "10ms", "max": "200ms" },
        })
    }

    async fn arrived(&self) -> BTreeMap<String, u32> {
        self.ledger().counts()
    }

    async fn unanswered(&self) -> BTreeMap<String, u32> {
        self.ledger().unanswered()
    }
}

/// A directory with the console's token in it, a console, and a receiver.
pub struct Harness {
    directory: tempfile::TempDir,
    pub server: Server,
    pub sink: Receiver,
    /// Configuration by which the harness's processes find the API server; `None` if they need none.
    pub kubeconfig: Option<PathBuf>,
}

impl Harness {
    pub async fn new(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new(system_clock());
        change(&mut setup);
        let console = tokio::task::spawn_blocking(move || Arc::new(Console::new(&setup))).await.unwrap();
        let server = Server::start(console, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let harness = Self { directory, server, sink: receiver().await, kubeconfig: None };
        fs::create_dir_all(harness.path("pipelines/secrets")).unwrap();
        harness.write("token", Setup::TOKEN);
        harness
    }

    pub fn console(&self) -> &Console {
        self.server.console()
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A pipeline from this console to this receiver, raw and in envelopes, with `changes` merged into it.
    pub fn pipeline(&self, changes: Value) -> Value {
        let mut pipeline = json!({
            "console": {
                "url": self.server.url(), "token": { "file": self.path("token") }, "requests_per_second": 1000,
            },
            "streams": { "activities": { "interval": "500ms", "since": "30d" } },
            "transform": { "schema": "raw" },
            "sinks": [self.sink.settings()],
        });
        merge(&mut pipeline, changes);
        pipeline
    }

    /// Puts a pipeline into the directory that the worker reads. JSON is YAML.
    pub fn put(&self, name: &str, pipeline: &Value) {
        self.write(&format!("pipelines/{name}.yaml"), &format!("{pipeline:#}\n"));
    }

    /// Puts a pipeline with `changes` to what is usual.
    pub fn put_changed(&self, name: &str, changes: Value) {
        self.put(name, &self.pipeline(changes));
    }

    /// A pipeline file that is shipped, with this console instead of its own, and `replaced` by what is this test's.
    /// The token is where the file expects it; an editor has ended its line.
    pub fn shipped(&self, name: &str, replaced: &[(&str, &str)]) -> String {
        self.write("pipelines/secrets/acme.token", &format!("{}\n", Setup::TOKEN));
        let mut text = fs::read_to_string(format!("pipelines/{name}.yaml")).unwrap();
        let console = self.server.url();
        for (from, to) in [("https://usea1-acme.sentinelone.net", console.as_str())].iter().chain(replaced) {
            assert!(text.contains(from), "{name} does not name {from}");
            text = text.replace(from, to);
        }
        text
    }

    /// A worker over the directory of pipelines.
    pub fn worker(&self) -> Process {
        self.worker_with(&[])
    }

    /// A worker with more flags.
    pub fn worker_with(&self, flags: &[&str]) -> Process {
        let arguments = ["run", "--pipelines", "pipelines", "--listen", "127.0.0.1:0"];
        self.process(&[&arguments[..], flags].concat())
    }

    /// `run --once` to its end.
    pub async fn once(&self, flags: &[&str]) -> Exit {
        let arguments = ["run", "--once", "--pipelines", "pipelines"];
        self.process(&[&arguments[..], flags].concat()).exit().await
    }

    /// Any other command to its end.
    pub async fn command(&self, arguments: &[&str]) -> Exit {
        self.process(arguments).exit().await
    }

    fn process(&self, arguments: &[&str]) -> Process {
        let mut command = program(self.root(), arguments);
        command.envs(self.kubeconfig.iter().map(|path| ("KUBECONFIG", path)));
        Process::spawn(command)
    }

    /// `verify` of the last nine days.
    pub async fn verify(&self, flags: &[&str]) -> Exit {
        self.verify_until(system_clock(), flags).await
    }

    /// `verify` from nine days ago to an earlier moment.
    pub async fn verify_until(&self, to: i64, flags: &[&str]) -> Exit {
        self.verifying(to, flags).exit().await
    }

    /// A `verify` that runs until it ends or is killed.
    pub fn verifying(&self, to: i64, flags: &[&str]) -> Process {
        let from = print_time(system_clock() - 9 * 86_400_000_000);
        let to = print_time(to);
        let arguments = ["verify", "pipelines/acme.yaml", "--from", &from, "--to", &to];
        self.process(&[&arguments[..], &["--requests-per-second", "1000"], flags].concat())
    }

    /// Records that become visible long after their time; those that the console's list does not show are left out.
    pub fn appear_late(&self, kind: Kind, at: i64, count: usize) -> BTreeSet<String> {
        let before = self.owed(kind);
        while self.owed(kind).difference(&before).count() < count {
            self.console().generate(kind, at);
        }
        self.owed(kind).difference(&before).cloned().collect()
    }

    /// The identities of all that a console's list shows of a kind: what is owed.
    pub fn owed(&self, kind: Kind) -> BTreeSet<String> {
        self.identities(kind, &self.console().visible_versions(kind, &Scope::Global))
    }

    /// The identities of versions that newer ones have replaced: they may have been delivered, and need not.
    pub fn past(&self, kind: Kind) -> BTreeSet<String> {
        self.identities(kind, &self.console().replaced_versions(kind))
    }

    /// Asserts that all events owed now arrived, and no others but those that were owed once.
    pub fn assert_all_arrived(&self, kinds: &[Kind], arrived: &BTreeMap<String, u32>) {
        let all = |of: fn(&Self, Kind) -> BTreeSet<String>| kinds.iter().flat_map(|kind| of(self, *kind)).collect();
        let owed: BTreeSet<String> = all(Self::owed);
        let past: BTreeSet<String> = all(Self::past);
        let missing: Vec<_> = owed.iter().filter(|id| !arrived.contains_key(*id)).collect();
        let strange: Vec<_> = arrived.keys().filter(|id| !owed.contains(*id) && !past.contains(*id)).collect();
        assert!(missing.is_empty(), "{} of {} are missing: {:?} …", missing.len(), owed.len(), missing[0]);
        assert!(strange.is_empty(), "{} were never there: {:?} …", strange.len(), strange[0]);
    }

    pub fn identities(&self, kind: Kind, versions: &[RecordVersion]) -> BTreeSet<String> {
        let host = self.server.address().to_string();
        versions.iter().map(|version| identity(&host, kind, version)).collect()
    }

    /// Waits until the receiver has taken all that is owed of these kinds.
    pub async fn delivered(&self, kinds: &[Kind]) {
        super::process::until("everything is delivered", async || {
            let arrived = self.sink.ledger().counts();
            let owed = kinds.iter().flat_map(|kind| self.owed(*kind)).all(|id| arrived.contains_key(&id));
            owed.then_some(())
        })
        .await;
    }
}

pub async fn receiver() -> Receiver {
    Receiver::start(Rules::default()).await
}

/// The identity of an event (docs/delivery.md), computed without the program's code.
pub fn identity(host: &str, kind: Kind, version: &RecordVersion) -> String {
    let (stream, tail) = match kind {
        Kind::Activities => ("activities", String::new()),
        Kind::Threats => ("threats", print_time(version.updated)),
        other => unreachable!("{other:?} are not pulled here"),
    };
    let digest = Sha256::digest(format!("{host}\n{stream}\n{}\n{tail}", version.id));
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Mappings are merged key by key, a null takes a key out, anything else replaces what is there.
pub fn merge(into: &mut Value, changes: Value) {
    let Value::Object(changes) = changes else {
        *into = changes;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, change) in changes {
        if change.is_null() {
            into.as_object_mut().unwrap().remove(&key);
        } else {
            merge(into.as_object_mut().unwrap().entry(key).or_insert(Value::Null), change);
        }
    }
}

/// `name` from the environment, for a run that does more.
pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Runs `run --once` twice: first while records arrive late and change as they are read, then over what that left.
/// Returns how many events came again because an answer was lost; no others may.
pub async fn everything_arrives(harness: &Harness, destination: &impl Destination) -> u32 {
    let streams = json!({ "activities": { "since": "30d" }, "threats": { "since": "beginning" } });
    let mut sink = destination.settings();
    sink["batch"] = json!({ "events": 100, "timeout": "200ms" });
    let mut pipeline = harness.pipeline(json!({ "streams": streams }));
    pipeline["sinks"] = Value::Array(vec![sink]);
    harness.put("acme", &pipeline);
    let at_start = harness.owed(Kind::Activities);
    harness.console().set_faults(Faults::preset("all").unwrap());

    // A small budget means small pages, and thus many requests for faults to strike.
    let exit = harness.once(&["--memory-budget", "16MiB"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for lane in ["acme/activities/siem", "acme/threats/siem"] {
        let row = exit.stdout.lines().find(|row| row.contains(lane)).unwrap_or_else(|| panic!("{}", exit.stdout));
        assert!(row.trim_end().ends_with("complete"), "{row}");
    }
    let arrived = destination.arrived().await;
    assert!(at_start.iter().all(|id| arrived.contains_key(id)), "the first run left activities out");

    // Records that came late or changed behind the reader are within the overlap of the next run.
    harness.console().set_faults(Faults::default());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);

    let arrived = destination.arrived().await;
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
    let repeated = assert_repeats(&arrived, &destination.unanswered().await);
    println!(
        "{} activities and {} versions of threats arrived, {repeated} events again after a lost answer",
        harness.owed(Kind::Activities).len(),
        arrived.len() - harness.owed(Kind::Activities).len(),
    );
    repeated
}

/// Each identity came once, and once more for each time that its answer was lost. How often is returned.
fn assert_repeats(arrived: &BTreeMap<String, u32>, unanswered: &BTreeMap<String, u32>) -> u32 {
    for (id, count) in arrived {
        let lost = unanswered.get(id).copied().unwrap_or_default();
        assert_eq!(*count, 1 + lost, "{id} came {count} times, {lost} answers to it were lost");
    }
    unanswered.values().sum()
}
