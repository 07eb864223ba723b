//! The task that renews this worker's leases, and acquires and releases shards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::sink::{Deadline, Until, suspended};
use s1_forwarder_failure::catch_panic::resume_panic_of;
use s1_forwarder_settings::kubernetes::{Kubernetes, KubernetesError};
use s1_forwarder_telemetry::{ClusterView, Telemetry};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::api_health::{ApiHealth, HealthTransition};
use super::leases::{Leases, agreed_shards};
use super::membership::{Drained, Membership, ShardChange};
use super::plan::{Answer, Call, LeaseChange, LeasePlanner, MonotonicTime};
use super::settings::{ClusterError, ClusterSettings};

/// See [`join`](super::join).
///
/// # Errors
/// If the API server does not answer or refuses, or if the workers have agreed on another number of shards.
pub async fn join(
    settings: &ClusterSettings,
    instance: &str,
    worker: &str,
    telemetry: Arc<Telemetry>,
) -> Result<Membership, ClusterError> {
    let kubernetes = Kubernetes::connect(settings.namespace.as_deref()).await?;
    let (agreed, object) = agreed_shards(&kubernetes, instance, settings.shards).await?;
    if agreed != settings.shards {
        return Err(ClusterError::Shards { agreed, asked: settings.shards, object });
    }
    // Per shard, the channel has at most one change of each kind.
    let (changes_in, changes) = mpsc::channel(settings.shards as usize * 3 + 1);
    let (drained, drained_out) = mpsc::channel(settings.shards as usize + 1);
    let leave = CancellationToken::new();
    let member = Member {
        leases: Arc::new(Leases::new(&kubernetes, instance, worker, settings)),
        plan: LeasePlanner::new(worker, settings.shards, settings.lease),
        lease: settings.lease,
        started: Instant::now(),
        suspended: suspended(),
        worker: worker.to_owned(),
        shards: settings.shards,
        calls: JoinSet::new(),
        deadlines: BTreeMap::new(),
        draining: BTreeMap::new(),
        api_health: ApiHealth::new(settings.lease / 3),
        changes: changes_in,
        telemetry,
    };
    let task = AbortOnDropHandle::new(tokio::spawn(member.run(drained_out, leave.clone())));
    Ok(Membership { shards: settings.shards, changes, drained, leave, _task: task })
}

/// The task behind a [`Membership`].
struct Member {
    leases: Arc<Leases>,
    plan: LeasePlanner,
    lease: Duration,
    started: Instant,
    /// [`suspended`] at the time `started`.
    suspended: Duration,
    /// The name of this worker.
    worker: String,
    shards: u32,
    calls: JoinSet<(Call, MonotonicTime, Result<Answer, KubernetesError>)>,
    /// The time at which the deliveries for each shard must end.
    deadlines: BTreeMap<u32, watch::Sender<Until>>,
    /// When each draining shard started to drain.
    draining: BTreeMap<u32, MonotonicTime>,
    api_health: ApiHealth,
    changes: mpsc::Sender<ShardChange>,
    telemetry: Arc<Telemetry>,
}

impl Member {
    async fn run(mut self, mut drained: mpsc::Receiver<Drained>, leave: CancellationToken) {
        let leases = self.leases.clone();
        let _watch = AbortOnDropHandle::new(tokio::spawn(async move { leases.watch().await }));
        let mut freed = self.leases.freed();
        let mut tick = interval(self.lease / 12);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaving = false;
        while !self.plan.has_left() {
            tokio::select! {
                Some(done) = self.calls.join_next() => match done {
                    Ok((call, sent, answer)) => self.on_answer(call, sent, answer).await,
                    Err(error) => resume_panic_of(error),
                },
                Some(Drained(shard)) = drained.recv() => self.plan.drained(shard),
                Ok(()) = freed.changed() => {
                    let now = self.now();
                    self.plan.list_soon(now);
                }
                () = leave.cancelled(), if !leaving => {
                    leaving = true;
                    let events = self.plan.leave();
                    self.apply_events(events).await;
                }
                _ = tick.tick() => {}
            }
            let now = self.now();
            self.plan.calls(now).into_iter().for_each(|call| self.send(call));
        }
        self.publish();
    }

    /// Goes on while the machine is suspended, as the leases of other workers do.
    fn now(&self) -> MonotonicTime {
        self.started.elapsed() + suspended().saturating_sub(self.suspended)
    }

    fn until(&self, time: MonotonicTime) -> Until {
        Until::after(time.saturating_sub(self.now()))
    }

    fn send(&mut self, call: Call) {
        // A renewal is sent after a third of the lease, and deliveries end after two thirds. One without an answer
        // leaves time for another one. A late listing is better than none.
        let timeout = if call == Call::List { self.lease } else { self.lease / 6 };
        let leases = self.leases.clone();
        let sent = self.now();
        self.calls.spawn(async move {
            let answer = leases.send(&call, timeout).await;
            (call, sent, answer)
        });
    }

    async fn on_answer(&mut self, call: Call, sent: MonotonicTime, answer: Result<Answer, KubernetesError>) {
        if matches!(call, Call::Renew(..)) {
            self.telemetry.process().count_lease_renewal(matches!(answer, Ok(Answer::Written(_))));
        }
        let is_listing = matches!(call, Call::List);
        let answer = answer.unwrap_or_else(|error| {
            if let Some(HealthTransition::Unavailable) = self.api_health.on_failure(&call, self.now()) {
                warn!(%error, "the API server does not answer: lanes run until their leases expire");
                self.telemetry.health().set_api_server(Err(error.to_string()));
            }
            Answer::Unknown
        });
        if answer != Answer::Unknown
            && let Some(HealthTransition::Available { after, failures }) = self.api_health.on_success(&call, self.now())
        {
            info!(?after, failures, "the API server answers again");
            self.telemetry.health().set_api_server(Ok(()));
        }
        let (calls, events) = self.plan.on_answer(call, sent, self.now(), answer);
        calls.into_iter().for_each(|call| self.send(call));
        let has_changed = is_listing || events.iter().any(|event| !matches!(event, LeaseChange::Renewed(..)));
        self.apply_events(events).await;
        if has_changed {
            self.publish();
        }
    }

    async fn apply_events(&mut self, events: Vec<LeaseChange>) {
        for event in events {
            let change = match event {
                LeaseChange::Acquired { shard, until, vacant } => {
                    info!(shard, "shard acquired");
                    self.telemetry.process().observe_shard_handover("acquire", vacant);
                    let (deadline, until) = watch::channel(self.until(until));
                    self.deadlines.insert(shard, deadline);
                    ShardChange::Acquired(shard, Deadline::new(until))
                }
                LeaseChange::Renewed(shard, until) => {
                    if let Some(deadline) = self.deadlines.get(&shard) {
                        deadline.send_replace(self.until(until));
                    }
                    continue;
                }
                LeaseChange::Drain(shard) => {
                    self.draining.insert(shard, self.now());
                    ShardChange::Drain(shard)
                }
                LeaseChange::Released(shard) => {
                    self.deadlines.remove(&shard);
                    if let Some(since) = self.draining.remove(&shard) {
                        self.telemetry.process().observe_shard_handover("release", self.now().saturating_sub(since));
                    }
                    info!(shard, "shard released");
                    continue;
                }
                LeaseChange::Lost(shard) => {
                    if let Some(deadline) = self.deadlines.remove(&shard) {
                        deadline.send_replace(Until::now());
                    }
                    self.draining.remove(&shard);
                    self.telemetry.process().count_lease_loss();
                    warn!(shard, "shard lost: another worker has its lease");
                    ShardChange::Lost(shard)
                }
            };
            // Fails if the worker has ended without leaving the cluster.
            let _ = self.changes.send(change).await;
        }
    }

    /// Updates the status page and the metrics.
    fn publish(&self) {
        let now = self.now();
        let members = self.plan.members(now).into_iter().map(str::to_owned);
        let mut workers: BTreeMap<String, BTreeSet<u32>> = members.map(|name| (name, BTreeSet::new())).collect();
        for (shard, holder) in self.plan.holders(now) {
            workers.entry(holder.to_owned()).or_default().insert(shard);
        }
        // While leases cannot be renewed, their lanes deliver nothing: no worker has these shards.
        let is_renewed = |shard: &u32| self.plan.deadline(*shard).is_some_and(|until| until > now);
        self.telemetry.process().set_shards(self.plan.owned().filter(is_renewed).count(), self.shards);
        self.telemetry.set_cluster(ClusterView {
            worker: self.worker.clone(),
            shards: self.shards,
            workers,
            addresses: self.leases.addresses(),
        });
    }
}
