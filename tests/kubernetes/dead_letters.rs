//! `--dead-letters kubernetes:`, with the rights of a worker: kept before the checkpoint moves, shared fairly, shown,
//! sent again, removed; and what becomes of lanes whose dead letters cannot be kept.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use s1_forwarder::emulator::{Kind, system_clock};
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::settings::kubernetes::Kubernetes as Access;
use s1_forwarder::sink::dead_letters::{DeadLetter, DeadLetterError, DeadLetterStore, SecretStore};
use serde_json::{Value, json};

use crate::support::double::FaultRule;
use crate::support::harness::Harness;
use crate::support::kubernetes::{Kubernetes, Tenant};
use crate::support::process::{Exit, Process, program, until};

const INSTANCE: &str = "s1-forwarder";
const REPLAY: [&str; 3] = ["replay", "--pipelines", "pipelines"];

/// A harness whose dead letters are in a namespace.
struct Installation<'a> {
    harness: Harness,
    tenant: Tenant<'a>,
    kubernetes: &'a Kubernetes,
}

impl<'a> Installation<'a> {
    async fn new(kubernetes: &'a Kubernetes) -> Self {
        let tenant = kubernetes.tenant().await;
        let mut harness = Harness::new(|setup| setup.activities = 30).await;
        harness.kubeconfig = Some(tenant.kubeconfig());
        harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
        Self { harness, tenant, kubernetes }
    }

    /// One more record that the receiver refuses.
    fn poison(&self) {
        self.harness.console().generate_oversized(Kind::Activities, system_clock(), 150_000);
    }

    /// The store as one more worker has it.
    async fn store(&self, max: u64) -> SecretStore {
        let access = Access { client: self.tenant.client().await, namespace: self.tenant.name.clone() };
        SecretStore::connected(&access, INSTANCE, max)
    }

    async fn command(&self, arguments: &[&str]) -> Exit {
        self.harness.command(&[&["dead-letters"], arguments, &["--state", "kubernetes:"]].concat()).await
    }

    async fn listed(&self, filter: &[&str]) -> Vec<Value> {
        let exit = self.command(&[&["list", "--format", "json"], filter].concat()).await;
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""));
        exit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn secrets(&self) -> Vec<Secret> {
        let secrets: Api<Secret> = Api::namespaced(self.kubernetes.admin().await, &self.tenant.name);
        secrets.list(&ListParams::default()).await.unwrap().items
    }

    /// Every activity has arrived once or is a dead letter, none is both.
    async fn assert_nothing_lost(&self) {
        let counts = self.harness.sink.ledger().counts();
        assert!(counts.values().all(|count| *count == 1), "something came twice");
        let arrived: BTreeSet<String> = counts.into_keys().collect();
        let dead_letters = identities(&self.listed(&[]).await);
        assert!(arrived.is_disjoint(&dead_letters));
        assert_eq!(&arrived | &dead_letters, self.harness.owed(Kind::Activities));
    }
}

/// The identities of dead letters, none of which is there twice.
fn identities(dead_letters: &[Value]) -> BTreeSet<String> {
    let identities: BTreeSet<String> =
        dead_letters.iter().map(|letter| letter["identity"].as_str().unwrap().to_owned()).collect();
    assert_eq!(identities.len(), dead_letters.len(), "a dead letter is there twice");
    identities
}

/// A dead letter of a pipeline, by the id of its record.
fn letter<'a>(pipeline: &'a str, id: &'a str, event: &'a str) -> DeadLetter<'a> {
    DeadLetter {
        time: Timestamp::now(),
        pipeline,
        stream: Stream::Activities,
        sink: "siem",
        identity: Identity::of("host", Stream::Activities, id, ""),
        record_id: id,
        status: "400",
        reason: "refused",
        event_time: None,
        error: None,
        labels: None,
        truncated: false,
        event: event.as_bytes(),
    }
}

/// An event that compression makes little smaller.
fn random_event(bytes: usize) -> String {
    let random: Vec<u8> = (0..bytes).map(|_| fastrand::u8(..)).collect();
    json!({ "random": BASE64_STANDARD.encode(random) }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_in_secrets_are_listed_replayed_and_purged_next_to_a_worker() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let harness = &installation.harness;
    (0..4).for_each(|_| installation.poison());
    harness.put_changed("acme", json!({}));
    assert_eq!(installation.command(&["list"]).await.stdout, "no dead letters\n");
    // They are next to the checkpoints, unless a flag says otherwise.
    let flags = ["--state", "kubernetes:", "--shards", "2", "--lease", "2s", "--checkpoint-interval", "0s"];
    let mut worker = harness.worker_with(&flags);
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 4).await;
    let good = harness.owed(Kind::Activities).len() - 4;
    until("the others arrive", async || (harness.sink.ledger().counts().len() == good).then_some(())).await;
    installation.assert_nothing_lost().await;
    for (flag, value, found) in
        [("--pipeline", "acme", 4), ("--stream", "threats", 0), ("--status", "400", 4), ("--limit", "2", 2)]
    {
        assert_eq!(installation.listed(&[flag, value]).await.len(), found, "{flag} {value}");
    }

    // Refused again: kept again with the new reason, none lost, none twice.
    let exit = installation.command(&[&REPLAY[..], &["--limit", "2"]].concat()).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "0 delivered, 2 refused again\n"), "{}", exit.stderr);
    installation.assert_nothing_lost().await;
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    assert_eq!(installation.listed(&[]).await.len(), 4, "they survive the worker");

    harness.sink.contract(|rules| rules.event_bytes = None);
    let exit = installation.command(&[&REPLAY[..], &["--limit", "2"]].concat()).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "2 delivered, 0 refused again\n"), "{}", exit.stderr);
    installation.assert_nothing_lost().await;
    let exit = installation.command(&["purge", "--limit", "1"]).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "1 dead letters removed\n"), "{}", exit.stderr);
    assert_eq!(installation.listed(&[]).await.len(), 1);

    // A worker goes on keeping dead letters in the same place.
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    let mut worker = harness.worker_with(&flags);
    installation.poison();
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 1).await;
    assert_eq!(installation.listed(&[]).await.len(), 2);
    // The pipeline goes; its dead letters stay.
    std::fs::remove_file(harness.path("pipelines/acme.yaml")).unwrap();
    until("the lane has ended", async || worker.lanes().await.is_empty().then_some(())).await;
    assert_eq!(installation.listed(&["--pipeline", "acme"]).await.len(), 2);
    let other = ["list", "--instance", "other"];
    assert_eq!(installation.command(&other).await.stdout, "no dead letters\n", "they belong to an installation");
    assert_eq!(installation.command(&["purge", "--all"]).await.stdout, "2 dead letters removed\n");
    assert_eq!(installation.secrets().await.len(), 0, "no Secret is left behind");
}

/// As when a lane moves to another worker while the first one still writes, or dies before its checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_write_at_once_lose_no_letter_and_keep_none_twice() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let (one, other) = (installation.store(4 << 20).await, installation.store(4 << 20).await);
    let ids: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    let keep = async |store: &SecretStore, ids: &[String]| {
        for id in ids {
            store.keep(&[letter("acme", id, "{}")]).await.unwrap();
        }
    };
    tokio::join!(keep(&one, &ids[..6]), keep(&other, &ids[6..]));
    assert_eq!(installation.listed(&[]).await.len(), 12);
    tokio::join!(keep(&one, &ids[3..9]), keep(&other, &ids[..6]));
    assert_eq!(identities(&installation.listed(&[]).await).len(), 12);
    assert_eq!(installation.secrets().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_with_a_full_share_leaves_room_for_the_others() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let max = 64 << 10;
    let (one, other) = (installation.store(max).await, installation.store(max).await);
    // What compresses well takes little.
    one.keep(&[letter("tidy", "0", &json!({ "text": "x".repeat(200 << 10) }).to_string())]).await.unwrap();
    let mut kept = 0;
    let full = loop {
        let (id, event) = (format!("noisy {kept}"), random_event(1_000));
        match one.keep(&[letter("noisy", &id, &event)]).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, DeadLetterError::ShareFull { pipeline, .. } if pipeline == "noisy"), "{full}");
    let usage = one.usage().await.unwrap().unwrap();
    let (_, used, share) = usage.pipelines.iter().find(|(name, ..)| name == "noisy").unwrap();
    assert!((20..30).contains(&kept) && used <= share && *share <= max / 2, "{kept}: {usage:?}");
    assert_eq!(installation.listed(&["--pipeline", "noisy"]).await.len(), kept);

    // The same for a worker that has not seen it before; and another pipeline finds room.
    let again = other.keep(&[letter("noisy", "more", &random_event(4_000))]).await;
    assert!(matches!(again, Err(DeadLetterError::ShareFull { .. })), "{again:?}");
    for number in 0..5 {
        other.keep(&[letter("quiet", &number.to_string(), &random_event(1_000))]).await.unwrap();
    }
    assert_eq!(installation.command(&["purge", "--pipeline", "noisy"]).await.code, Some(0));
    one.keep(&[letter("noisy", "last", &random_event(1_000))]).await.unwrap();
    assert_eq!(installation.listed(&[]).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_a_secret_is_in_several() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let store = installation.store(4 << 20).await;
    let large = random_event(1_300_000);
    store.keep(&[letter("acme", "large", &large)]).await.unwrap();
    let events: Vec<(String, String)> = (0..8).map(|number| (number.to_string(), random_event(50_000))).collect();
    let dead_letters: Vec<_> = events.iter().map(|(id, event)| letter("acme", id, event)).collect();
    store.keep(&dead_letters).await.unwrap();
    let listed = installation.listed(&[]).await;
    assert_eq!(identities(&listed).len(), 9);
    assert_eq!(listed[0]["event"].to_string(), large, "it is whole again");
    let order: String = listed[1..].iter().fold(String::new(), |mut order, letter| {
        let _ = write!(order, "{}", letter["record_id"].as_str().unwrap());
        order
    });
    assert_eq!(order, "01234567");
    let sizes: Vec<usize> = installation.secrets().await.into_iter().map(|secret| size(&secret)).collect();
    assert!(sizes.len() >= 7 && sizes.iter().all(|size| *size <= 256 << 10), "{sizes:?}");
    assert_eq!(installation.command(&["purge", "--all"]).await.stdout, "9 dead letters removed\n");
    assert_eq!(installation.secrets().await.len(), 0);
}

fn size(secret: &Secret) -> usize {
    secret.data.iter().flatten().map(|(_, value)| value.0.len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_secret_is_reported_and_stops_nothing_else() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let store = installation.store(4 << 20).await;
    store.keep(&[letter("acme", "lost", "{}")]).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(kubernetes.admin().await, &installation.tenant.name);
    let mut damaged = installation.secrets().await.remove(0);
    let name = damaged.name_any();
    let bytes = damaged.data.as_mut().unwrap().values_mut().next().unwrap();
    let middle = bytes.0.len() / 2;
    bytes.0[middle] ^= 0x55;
    secrets.replace(&name, &PostParams::default(), &damaged).await.unwrap();

    store.keep(&[letter("acme", "1", "{}")]).await.unwrap();
    store.keep(&[letter("globex", "2", "{}")]).await.unwrap();
    let exit = installation.command(&["list", "--format", "json"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(exit.stdout.lines().count(), 2, "{}", exit.stdout);
    let reported = format!("the Secret {}/{name} is damaged: ", installation.tenant.name);
    assert!(exit.stderr.contains(&reported) && exit.stderr.contains("delete secret"), "{}", exit.stderr);
    assert_eq!(installation.command(&["purge", "--all"]).await.stdout, "2 dead letters removed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_share_stops_the_lanes_of_its_pipeline_only() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let store = installation.store(4 << 20).await;
    let mut filled = 0;
    for bytes in [250_000, 10_000, 100] {
        while store.keep(&[letter("acme", &filled.to_string(), &random_event(bytes))]).await.is_ok() {
            filled += 1;
        }
    }
    let harness = &installation.harness;
    harness.console().generate_oversized(Kind::Activities, system_clock(), 600_000);
    for name in ["acme", "globex"] {
        harness.put_changed(name, json!({}));
    }
    let mut worker = harness.worker_with(&["--dead-letters", "kubernetes:"]);
    let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
    assert!(lane["error"].as_str().unwrap().contains("the dead letters of acme in kubernetes:"), "{lane}");
    assert_eq!(lane["dead_letters"], 0, "{lane}");
    worker.lane("globex/activities/siem", |lane| lane["up"] == true && lane["dead_letters"] == 1).await;
    let metrics = worker.metrics().await.0;
    for (metric, least, most) in [("bytes", 1.9, 2.1), ("max_bytes", 1.9, 2.1)] {
        let name = format!("s1_forwarder_dead_letter_{metric}{{pipeline=\"acme\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("a sample");
        let mebibytes = value.parse::<f64>().unwrap() / f64::from(1 << 20);
        assert!((least..most).contains(&mebibytes), "{metric} {mebibytes}");
    }
    assert!(metrics.contains("s1_forwarder_dead_letter_max_bytes{pipeline=\"\"} 4194304\n"), "{metrics}");
    let purged = installation.command(&["purge", "--pipeline", "acme"]).await;
    assert_eq!(purged.stdout, format!("{filled} dead letters removed\n"));
    worker.lane("acme/activities/siem", |lane| lane["up"] == true && lane["dead_letters"] == 1).await;
    assert_eq!(installation.listed(&[]).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_waits_for_the_api_server_and_goes_on() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let harness = &installation.harness;
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker_with(&["--dead-letters", "kubernetes:"]);
    worker.lane("acme/activities/siem", |lane| lane["last_success"].is_string()).await;
    kubernetes.stop_api();
    installation.poison();
    let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
    assert!(lane["error"].as_str().unwrap().contains("cannot store dead letters in kubernetes:"), "{lane}");
    assert_eq!(lane["dead_letters"], 0, "{lane}");
    kubernetes.start_api().await;
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 1 && lane["up"] == true).await;
    installation.assert_nothing_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_at_a_time_removes_dead_letters_from_secrets() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let harness = &installation.harness;
    harness.put_changed("acme", json!({}));
    installation.store(4 << 20).await.keep(&[letter("acme", "1", "{}")]).await.unwrap();
    harness.sink.misbehave(1, vec![(1.0, FaultRule::answer(503, "later"))]);
    let begin = async || {
        let before = harness.sink.requests().len();
        let arguments = [&["dead-letters"], &REPLAY[..], &["--dead-letters", "kubernetes:"]].concat();
        let mut command = program(harness.root(), &arguments);
        command.env("KUBECONFIG", installation.tenant.kubeconfig());
        let replay = Process::spawn(command);
        until("dead letters are sent", async || (harness.sink.requests().len() > before).then_some(())).await;
        replay
    };
    let killed = begin().await;
    let refused = installation.command(&["purge", "--all"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("another command is removing"), "{}", refused.stderr);
    killed.kill().await;
    // Its lease expires.
    let second = begin().await;
    assert_eq!(installation.listed(&[]).await.len(), 1, "a command that only reads needs no lock");
    harness.sink.misbehave(1, Vec::new());
    let exit = second.exit().await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "1 delivered, 0 refused again\n"), "{}", exit.stderr);
    let begun = tokio::time::Instant::now();
    assert_eq!(installation.command(&["purge", "--all"]).await.stdout, "0 dead letters removed\n");
    assert!(begun.elapsed().as_secs() < 10, "the second one has released it");
}
