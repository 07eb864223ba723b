//! Checkpoints as objects, with the rights of a worker.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use s1_forwarder::checkpoint::{CheckpointBackend, CheckpointKey, StateError, Store};
use s1_forwarder::record::{LaneId, Stream};
use s1_forwarder::settings::kubernetes::Kubernetes as Access;
use s1_forwarder::state::KubernetesStore;

use crate::support::kubernetes::{Kubernetes, Tenant};

async fn store(tenant: &Tenant<'_>, owner: &str) -> KubernetesStore {
    let access = Access { client: tenant.client().await, namespace: tenant.name.clone() };
    KubernetesStore::new(&access, "s1-forwarder", owner)
}

async fn objects(tenant: &Tenant<'_>, kind: &str) -> usize {
    let maps: Api<ConfigMap> = Api::namespaced(tenant.client().await, &tenant.name);
    maps.list(&ListParams::default().labels(&format!("s1-forwarder/kind={kind}"))).await.unwrap().items.len()
}

fn lane(sink: &str) -> CheckpointKey {
    LaneId::new("acme_1", Stream::Threats, sink).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lost_a_checkpoint_cannot_overwrite_the_next_owners() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let first = store(&tenant, "first").await;
    let second = store(&tenant, "second").await;
    let lane = lane("siem");
    assert_eq!(first.claim(&lane).await.unwrap(), None);
    first.commit(&lane, b"one".to_vec().into()).await.unwrap();
    first.commit(&lane, b"two".to_vec().into()).await.unwrap();
    assert_eq!(second.load(&lane).await.unwrap().as_deref(), Some(&b"two"[..]), "looking takes nothing away");
    first.commit(&lane, b"three".to_vec().into()).await.unwrap();

    assert_eq!(second.claim(&lane).await.unwrap().as_deref(), Some(&b"three"[..]));
    let refused = first.commit(&lane, b"four".to_vec().into()).await.unwrap_err();
    assert!(matches!(&refused, StateError::Conflict { owner, .. } if owner == "second"), "{refused}");
    let refused = first.commit(&lane, b"four".to_vec().into()).await.unwrap_err();
    assert!(matches!(refused, StateError::Conflict { .. }), "and not on a second try either: {refused}");
    second.commit(&lane, b"five".to_vec().into()).await.unwrap();
    assert_eq!(second.load(&lane).await.unwrap().as_deref(), Some(&b"five"[..]));
    // A worker that does not know of the checkpoint may not begin again either.
    let third = store(&tenant, "third").await;
    assert!(matches!(third.commit(&lane, b"zero".to_vec().into()).await, Err(StateError::Conflict { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_checkpoint_is_cut_and_its_old_parts_go() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let first = store(&tenant, "first").await;
    let second = store(&tenant, "second").await;
    let lane = lane("siem");
    let large = |byte: u8| vec![byte; 900 << 10];
    first.commit(&lane, large(1).into()).await.unwrap();
    first.commit(&lane, large(2).into()).await.unwrap();
    assert_eq!(objects(&tenant, "checkpoint-chunk").await, 4);
    assert_eq!(second.claim(&lane).await.unwrap(), Some(large(2)));
    assert!(matches!(first.commit(&lane, large(3).into()).await, Err(StateError::Conflict { .. })));
    second.commit(&lane, large(4).into()).await.unwrap();
    assert_eq!(second.load(&lane).await.unwrap(), Some(large(4)));
    second.commit(&lane, b"small".to_vec().into()).await.unwrap();
    assert_eq!(second.load(&lane).await.unwrap().as_deref(), Some(&b"small"[..]));
    // What the first one wrote in vain is left for an hour: it might have been the next owner's.
    assert_eq!(objects(&tenant, "checkpoint-chunk").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_are_listed_renamed_and_deleted() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let store = store(&tenant, "first").await;
    let one = lane("siem");
    let other = lane("bus");
    store.commit(&one, b"one".to_vec().into()).await.unwrap();
    store.commit(&other, vec![7; 600 << 10].into()).await.unwrap();
    assert_eq!(store.list().await.unwrap(), [other.clone(), one.clone()]);
    assert!(matches!(store.rename(&one, &other).await, Err(StateError::Exists(_))));
    store.delete(&one).await.unwrap();
    store.rename(&other, &one).await.unwrap();
    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.load(&one).await.unwrap(), Some(vec![7; 600 << 10]));
    store.delete(&one).await.unwrap();
    assert!(matches!(store.delete(&one).await, Err(StateError::Unknown(_))));
    assert_eq!(objects(&tenant, "checkpoint-chunk").await, 0);
}
