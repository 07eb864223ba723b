//! Only one command at a time removes dead letters from Secrets: it holds a Lease.

#![expect(clippy::disallowed_types, reason = "dropping the lock waits for its task, which runs on another thread")]

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::settings::kubernetes::{Kubernetes, KubernetesError, object_labels};

const KIND: &str = "dead-letters-lock";
/// A command that has not renewed the Lease for this long was killed.
const EXPIRY: Duration = Duration::from_secs(12);
const RENEWAL: Duration = Duration::from_secs(2);
/// Time between two looks at the Lease of another command.
const POLL: Duration = Duration::from_millis(500);
/// Dropping the lock waits at most this long until the Lease is deleted.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Locked until this is dropped.
#[derive(Debug)]
pub struct Lock {
    release: Option<oneshot::Sender<()>>,
    released: Receiver<()>,
}

impl Drop for Lock {
    /// Waits: the next command would have to wait until the Lease of this one expires.
    fn drop(&mut self) {
        drop(self.release.take());
        let _ = self.released.recv_timeout(RELEASE_TIMEOUT);
    }
}

/// Acquires the lock of an installation. Waits until the Lease of a command that was killed expires. Whether it is
/// renewed shows that its command runs: clocks may differ.
///
/// # Errors
/// If another command has the lock, or the API server does not answer.
pub async fn lock(kubernetes: &Kubernetes, instance: &str) -> io::Result<Lock> {
    let api: Api<Lease> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let name = format!("{instance}-{KIND}");
    let spec = LeaseSpec {
        holder_identity: Some(format!("{:016x}", fastrand::u64(..))),
        lease_duration_seconds: i32::try_from(EXPIRY.as_secs()).ok(),
        ..LeaseSpec::default()
    };
    let metadata =
        ObjectMeta { name: Some(name.clone()), labels: Some(object_labels(instance, KIND)), ..ObjectMeta::default() };
    let wanted = Lease { metadata, spec: Some(spec) };
    let mut other: Option<(Option<String>, Instant)> = None;
    let held = loop {
        match KubernetesError::of(api.create(&PostParams::default(), &renewed(&wanted))).await {
            Ok(lease) => break lease,
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        let current = KubernetesError::of(api.get_opt(&name)).await.map_err(io::Error::other)?;
        let version = current.and_then(|lease| lease.resource_version());
        match &other {
            None => other = Some((version, Instant::now())),
            Some((first, _)) if version.is_some() && *first != version => {
                let text = "another command is removing dead letters from this store";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            Some((_, since)) if since.elapsed() >= EXPIRY => delete(&api, &name, version).await,
            Some(_) => {}
        }
        sleep(POLL).await;
    };
    let (release, mut asked) = oneshot::channel();
    let (done, released) = channel();
    tokio::spawn(async move { hold(&api, held, &mut asked, &done).await });
    Ok(Lock { release: Some(release), released })
}

/// Renews the Lease until the lock is dropped, then deletes it.
async fn hold(api: &Api<Lease>, mut held: Lease, dropped: &mut oneshot::Receiver<()>, done: &Sender<()>) {
    let name = held.name_any();
    while tokio::time::timeout(RENEWAL, &mut *dropped).await.is_err() {
        // The next renewal may succeed. If another command holds the Lease, removals still lose nothing.
        if let Ok(lease) = KubernetesError::of(api.replace(&name, &PostParams::default(), &renewed(&held))).await {
            held = lease;
        }
    }
    delete(api, &name, held.resource_version()).await;
    let _ = done.send(());
}

fn renewed(lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(jiff::Timestamp::now()));
    lease
}

/// Deletes this version. If that fails, the Lease expires.
async fn delete(api: &Api<Lease>, name: &str, version: Option<String>) {
    let preconditions = Preconditions { resource_version: version, uid: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let _ = KubernetesError::of(api.delete(name, &parameters)).await;
}
