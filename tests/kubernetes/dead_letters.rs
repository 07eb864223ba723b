//! `--dead-letters kubernetes:`, with the rights of a worker: kept before the checkpoint moves, one Secret for each
//! pipeline, shown, sent again, removed; and what becomes of lanes whose dead letters cannot be kept.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use s1_forwarder::dead_letters::{DeadLetter, DeadLetterError, DeadLetterStore};
use s1_forwarder::emulator::{Kind, system_clock};
use s1_forwarder::record::{Identity, LaneId, Stream, Timestamp};
use s1_forwarder::settings::kubernetes::Kubernetes as Access;
use s1_forwarder::state::dead_letters::SecretStore;
use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::kubernetes::{Kubernetes, Tenant};
use crate::support::process::{Exit, until};

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
    async fn store(&self) -> SecretStore {
        let access = Access { client: self.tenant.client().await, namespace: self.tenant.name.clone() };
        SecretStore::connected(&access, INSTANCE)
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

fn lane(pipeline: &str) -> LaneId {
    LaneId::new(pipeline, Stream::Activities, "siem")
}

/// A dead letter of a lane, by the id of its record.
fn letter<'a>(lane: &'a LaneId, id: &'a str, event: &'a str) -> DeadLetter<'a> {
    DeadLetter {
        time: Timestamp::now(),
        lane,
        identity: Identity::of("host", lane.stream, id, ""),
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

/// As when a worker that lost a shard still writes, its successor writes too, and an operator purges: all of them
/// change one Secret, and each change is made to what the others have left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_and_a_purge_that_write_at_once_lose_no_letter_and_keep_none_twice() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let one = installation.store().await;
    let other = installation.store().await;
    let keep = async |store: &SecretStore, ids: std::ops::Range<u32>, status: &str| {
        for id in ids {
            store.keep(&[DeadLetter { status, ..letter(&lane("acme"), &id.to_string(), "{}") }]).await.unwrap();
        }
    };
    keep(&one, 0..6, "old").await;
    let purge = async || {
        let mut removed = 0;
        while removed < 6 {
            let purged = installation.command(&["purge", "--status", "old", "--limit", "2"]).await;
            assert_eq!(purged.code, Some(0), "{}", purged.stderr);
            removed += purged.stdout.split(' ').next().unwrap().parse::<u32>().unwrap();
        }
        assert_eq!(removed, 6);
    };
    tokio::join!(keep(&one, 10..30, "new"), keep(&other, 30..50, "new"), purge());
    let records: BTreeSet<String> =
        installation.listed(&[]).await.iter().map(|letter| letter["record_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(records, (10..50).map(|id| id.to_string()).collect());
    // Both keep what the other one has kept too.
    tokio::join!(keep(&one, 10..30, "again"), keep(&other, 20..40, "again"));
    assert_eq!(identities(&installation.listed(&[]).await).len(), 40);
    assert_eq!(installation.secrets().await.len(), 1);
    let usage = one.usage().await.unwrap().unwrap();
    assert_eq!(usage.lanes, [("acme/activities/siem".parse().unwrap(), 40)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_with_a_full_secret_leaves_room_for_the_others() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let one = installation.store().await;
    let other = installation.store().await;
    // What compresses well takes little.
    let tidy = json!({ "text": "x".repeat(2 << 20) }).to_string();
    one.keep(&[letter(&lane("noisy"), "tidy", &tidy)]).await.unwrap();
    let mut kept = 0;
    let full = loop {
        let id = kept.to_string();
        let event = random_event(100_000);
        match one.keep(&[letter(&lane("noisy"), &id, &event)]).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, DeadLetterError::SecretFull { pipeline, .. } if pipeline == "noisy"), "{full}");
    assert!(full.to_string().contains("replay or purge them"), "{full}");
    assert!((6..=7).contains(&kept), "{kept} fit into 700 KiB");
    let usage = one.usage().await.unwrap().unwrap();
    let (_, used, most) = usage.pipelines.iter().find(|(name, ..)| name == "noisy").unwrap();
    assert!((600_000..=*most).contains(used) && *most == 700 << 10, "{usage:?}");
    assert_eq!(installation.listed(&["--pipeline", "noisy"]).await.len(), kept + 1);
    let sizes: Vec<usize> = installation.secrets().await.iter().map(size).collect();
    assert!(sizes.len() == 1 && sizes[0] as u64 == *used, "{sizes:?}");

    // A worker that has not seen the Secret before is refused too; and another pipeline has a Secret of its own.
    let again = other.keep(&[letter(&lane("noisy"), "more", &random_event(200_000))]).await;
    assert!(matches!(again, Err(DeadLetterError::SecretFull { .. })), "{again:?}");
    other.keep(&[letter(&lane("quiet"), "1", &random_event(500_000))]).await.unwrap();
    let purged = installation.command(&["purge", "--pipeline", "noisy"]).await;
    assert_eq!(purged.stdout, format!("{} dead letters removed\n", kept + 1));
    one.keep(&[letter(&lane("noisy"), "last", &random_event(200_000))]).await.unwrap();
    assert_eq!(installation.listed(&[]).await.len(), 2);
}

fn size(secret: &Secret) -> usize {
    secret.data.iter().flatten().map(|(_, value)| value.0.len()).sum()
}

/// Damaged, of a newer release, or another program's: named with what to do, never overwritten, and no other pipeline
/// is concerned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_cannot_be_read_is_reported_and_stops_nothing_else() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let namespace = &installation.tenant.name;
    let store = installation.store().await;
    let secrets: Api<Secret> = Api::namespaced(kubernetes.admin().await, namespace);
    store.keep(&[letter(&lane("acme"), "1", "{}")]).await.unwrap();
    store.keep(&[letter(&lane("globex"), "2", "{}")]).await.unwrap();
    let of_acme = |secret: &Secret| secret.annotations()["s1-forwarder/pipeline"] == "acme";
    let well = installation.secrets().await.into_iter().find(of_acme).unwrap();
    let name = well.name_any();
    let damaged = |secret: &mut Secret| {
        let bytes = secret.data.as_mut().unwrap().values_mut().next().unwrap();
        let middle = bytes.0.len() / 2;
        bytes.0[middle] ^= 0x55;
    };
    let newer = |secret: &mut Secret| {
        secret.annotations_mut().insert("s1-forwarder/version".to_owned(), "2".to_owned());
    };
    let foreign = |secret: &mut Secret| secret.annotations_mut().clear();
    let empty = |secret: &mut Secret| secret.data = None;
    // With the number of dead letters that the annotations still tell.
    for (spoil, words, counted) in [
        (&damaged as &dyn Fn(&mut Secret), "is damaged or not of this program: ", 2),
        (&newer, "has version 2, which a newer release has written", 1),
        (&foreign, "it has no version", 1),
        (&empty, "it has no dead letters", 2),
    ] {
        let mut spoilt = well.clone();
        spoil(&mut spoilt);
        spoilt.metadata.resource_version = None;
        let written = secrets.replace(&name, &PostParams::default(), &spoilt).await.unwrap();
        let refused = store.keep(&[letter(&lane("acme"), "3", "{}")]).await.unwrap_err().to_string();
        assert!(refused.contains(words) && refused.contains(&format!("{namespace}/{name}")), "{refused}");
        assert_eq!(secrets.get(&name).await.unwrap().resource_version(), written.resource_version(), "{words}");
        let exit = installation.command(&["list", "--format", "json"]).await;
        assert_eq!((exit.code, exit.stdout.lines().count()), (Some(1), 1), "{words}: {}", exit.stdout);
        assert!(exit.stderr.contains(words), "{}", exit.stderr);
        assert_eq!(store.usage().await.unwrap().unwrap().lanes.values().sum::<u64>(), counted, "{words}");
    }
    secrets.delete(&name, &DeleteParams::default()).await.unwrap();
    store.keep(&[letter(&lane("acme"), "3", "{}")]).await.unwrap();
    assert_eq!(installation.command(&["purge", "--all"]).await.stdout, "2 dead letters removed\n");
}

/// Chains of Secrets as builds before the first release wrote them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_an_earlier_build_are_refused_with_the_command_that_exports_them() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let namespace = &installation.tenant.name;
    let secrets: Api<Secret> = Api::namespaced(kubernetes.admin().await, namespace);
    installation.store().await.keep(&[letter(&lane("acme"), "1", "{}")]).await.unwrap();
    let mut chained = installation.secrets().await.remove(0);
    let name = chained.name_any();
    secrets.delete(&name, &DeleteParams::default()).await.unwrap();
    chained.metadata.resource_version = None;
    chained.metadata.uid = None;
    chained.metadata.name = Some(format!("{name}-00000003"));
    for key in ["version", "lanes"] {
        chained.annotations_mut().remove(&format!("s1-forwarder/{key}"));
    }
    secrets.create(&PostParams::default(), &chained).await.unwrap();

    let export = format!("s1-forwarder dead-letters list --format json --dead-letters kubernetes:{namespace}");
    for command in [&["list"][..], &["purge", "--all"], &REPLAY] {
        installation.harness.put_changed("acme", json!({}));
        let exit = installation.command(command).await;
        assert!(exit.code == Some(1) && exit.stderr.contains(&export), "{command:?}: {}", exit.stderr);
    }
    // A lane that would keep one stops, and says the same.
    let refused = installation.store().await.keep(&[letter(&lane("globex"), "2", "{}")]).await.unwrap_err();
    assert!(refused.to_string().contains(&export), "{refused}");
    assert_eq!(installation.secrets().await.len(), 1);
    // Once they are gone, it goes on.
    secrets.delete(&chained.name_any(), &DeleteParams::default()).await.unwrap();
    installation.store().await.keep(&[letter(&lane("globex"), "2", "{}")]).await.unwrap();
    assert_eq!(installation.listed(&[]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_secret_stops_the_lanes_of_its_pipeline_only() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let installation = Installation::new(&kubernetes).await;
    let store = installation.store().await;
    let mut filled = 0;
    for bytes in [200_000, 10_000, 100] {
        while store.keep(&[letter(&lane("acme"), &filled.to_string(), &random_event(bytes))]).await.is_ok() {
            filled += 1;
        }
    }
    let harness = &installation.harness;
    harness.console().generate_oversized(Kind::Activities, system_clock(), 600_000);
    for name in ["acme", "globex"] {
        harness.put_changed(name, json!({}));
    }
    let mut worker = harness.worker_with(&["--dead-letters", "kubernetes:"]);
    let is_stopped = |lane: &Value| lane["state"] == "stopped" && lane["dead_letters_stored"] == filled;
    let lane = worker.lane("acme/activities/siem", is_stopped).await;
    let error = lane["error"].as_str().unwrap();
    assert!(error.contains("the dead letters of acme in kubernetes:") && error.contains("purge"), "{lane}");
    assert_eq!(lane["dead_letters"], 0, "{lane}");
    let lane = worker.lane("globex/activities/siem", |lane| lane["up"] == true && lane["dead_letters"] == 1).await;
    assert_eq!(lane["dead_letters_stored"], 1);
    let metrics = worker.metrics().await.0;
    for (metric, least) in [("bytes", 715_000.0), ("max_bytes", 716_800.0)] {
        let name = format!("s1_forwarder_dead_letter_{metric}{{pipeline=\"acme\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("a sample");
        assert!((least..=716_800.0).contains(&value.parse::<f64>().unwrap()), "{metric} {value}");
    }
    assert!(!metrics.contains("s1_forwarder_dead_letter_max_bytes{pipeline=\"\"}"), "{metrics}");
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
