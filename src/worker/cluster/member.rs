use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::leases::{Leases, agreed_shards};
use super::plan::{Answer, Call, Event, Moment, Plan};
use super::reach::{Reach, Told};
use super::{Change, Cluster, ClusterError, Drained, Settings};
use crate::settings::kubernetes::{Kubernetes, KubernetesError};
use crate::sink::Deadline;
use crate::telemetry::{ClusterView, Telemetry};

/// Joins the others.
pub async fn join(
    settings: &Settings,
    instance: &str,
    me: &str,
    telemetry: Arc<Telemetry>,
) -> Result<Cluster, ClusterError> {
    let kubernetes = Kubernetes::connect(settings.namespace.as_deref()).await?;
    let (agreed, object) = agreed_shards(&kubernetes, instance, settings.shards).await?;
    if agreed != settings.shards {
        return Err(ClusterError::Shards { agreed, asked: settings.shards, object });
    }
    // A shard has at most one change of each kind that the supervisor has not heard of.
    let (tell, changes) = mpsc::channel(settings.shards as usize * 3 + 1);
    let (drained, hear) = mpsc::channel(settings.shards as usize + 1);
    let leave = CancellationToken::new();
    let member = Member {
        leases: Arc::new(Leases::new(&kubernetes, instance, me, settings.lease)),
        plan: Plan::new(me, settings.shards, settings.lease),
        lease: settings.lease,
        begun: Instant::now(),
        me: me.to_owned(),
        shards: settings.shards,
        calls: JoinSet::new(),
        until: BTreeMap::new(),
        giving_up: BTreeMap::new(),
        reach: Reach::new(settings.lease / 3),
        tell,
        telemetry,
    };
    let task = AbortOnDropHandle::new(tokio::spawn(member.run(hear, leave.clone())));
    Ok(Cluster { shards: settings.shards, changes, drained, leave, _task: task })
}

/// The task behind a [`Cluster`].
struct Member {
    leases: Arc<Leases>,
    plan: Plan,
    lease: Duration,
    begun: Instant,
    me: String,
    shards: u32,
    calls: JoinSet<(Call, Moment, Result<Answer, KubernetesError>)>,
    /// Until when the lanes of each shard may deliver.
    until: BTreeMap<u32, watch::Sender<Instant>>,
    /// Since when a shard drains.
    giving_up: BTreeMap<u32, Moment>,
    /// Whether the API server answers.
    reach: Reach,
    tell: mpsc::Sender<Change>,
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
                    Ok((call, sent, answer)) => self.answered(call, sent, answer).await,
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                Some(Drained(shard)) = drained.recv() => self.plan.drained(shard),
                Ok(()) = freed.changed() => {
                    let now = self.now();
                    self.plan.wake(now);
                }
                () = leave.cancelled(), if !leaving => {
                    leaving = true;
                    let events = self.plan.leave();
                    self.follow(events).await;
                }
                _ = tick.tick() => {}
            }
            let now = self.now();
            self.plan.calls(now).into_iter().for_each(|call| self.launch(call));
        }
        self.show();
    }

    fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    fn launch(&mut self, call: Call) {
        // A renewal that hangs must leave time for another one; a listing that comes late is better than none.
        let patience = if call == Call::List { self.lease } else { self.lease / 3 };
        let (leases, sent) = (self.leases.clone(), self.now());
        self.calls.spawn(async move {
            let answer = leases.make(&call, patience).await;
            (call, sent, answer)
        });
    }

    async fn answered(&mut self, call: Call, sent: Moment, answer: Result<Answer, KubernetesError>) {
        if matches!(call, Call::Renew(..)) {
            self.telemetry.process().lease_renewed(matches!(answer, Ok(Answer::Written(_))));
        }
        let is_listing = matches!(call, Call::List);
        let answer = answer.unwrap_or_else(|error| {
            if let Some(Told::Away) = self.reach.failed(&call, self.now()) {
                warn!(%error, "no word from the API server: work goes on as long as the leases last");
                self.telemetry.health().api_server(Err(error.to_string()));
            }
            Answer::Unknown
        });
        if answer != Answer::Unknown
            && let Some(Told::Back { after, failures }) = self.reach.answered(&call, self.now())
        {
            info!(?after, failures, "the API server answers again");
            self.telemetry.health().api_server(Ok(()));
        }
        let (calls, events) = self.plan.answered(call, sent, self.now(), answer);
        calls.into_iter().for_each(|call| self.launch(call));
        let is_news = is_listing || events.iter().any(|event| !matches!(event, Event::Renewed(..)));
        self.follow(events).await;
        if is_news {
            self.show();
        }
    }

    async fn follow(&mut self, events: Vec<Event>) {
        for event in events {
            let change = match event {
                Event::Acquired { shard, until, vacant } => {
                    info!(shard, "shard acquired");
                    self.telemetry.process().hand_over_took("take", vacant);
                    let (renew, until) = watch::channel(self.begun + until);
                    self.until.insert(shard, renew);
                    Change::Acquired(shard, Deadline::following(until))
                }
                Event::Renewed(shard, until) => {
                    if let Some(renew) = self.until.get(&shard) {
                        renew.send_replace(self.begun + until);
                    }
                    continue;
                }
                Event::GiveUp(shard) => {
                    self.giving_up.insert(shard, self.now());
                    Change::GiveUp(shard)
                }
                Event::Released(shard) => {
                    self.until.remove(&shard);
                    if let Some(since) = self.giving_up.remove(&shard) {
                        self.telemetry.process().hand_over_took("give", self.now().saturating_sub(since));
                    }
                    info!(shard, "shard released");
                    continue;
                }
                Event::Lost(shard) => {
                    if let Some(renew) = self.until.remove(&shard) {
                        renew.send_replace(Instant::now());
                    }
                    self.giving_up.remove(&shard);
                    self.telemetry.process().lease_lost();
                    warn!(shard, "shard lost: another worker has its lease");
                    Change::Lost(shard)
                }
            };
            // Nobody listens when the worker has ended without leaving.
            let _ = self.tell.send(change).await;
        }
    }

    /// What pages and metrics say.
    fn show(&self) {
        let now = self.now();
        let members = self.plan.members(now).into_iter().map(str::to_owned);
        let mut workers: BTreeMap<String, BTreeSet<u32>> = members.map(|name| (name, BTreeSet::new())).collect();
        for (shard, holder) in self.plan.holders(now) {
            workers.entry(holder.to_owned()).or_default().insert(shard);
        }
        self.telemetry.process().shards_held(self.plan.held().count());
        self.telemetry.set_cluster(ClusterView { worker: self.me.clone(), shards: self.shards, workers });
    }
}
