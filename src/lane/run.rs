use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::LaneBudget;
use super::agenda::Agenda;
use super::checkpoints::{self, Checkpoints, Keeping};
use super::map::{Growth, MapStage, Mapped};
use super::pull::{PullEnd, PullStage, Pulled};
use super::saver;
use super::send::{SendEnd, SendStage, report};
use super::sizing::Sizing;
use super::standing::Standing;
use crate::console::{Client, ConsoleError, Endpoint};
use crate::record::{Clock, Identity, Timestamp};
use crate::sink::Limits;
use crate::sink::deliver::{Delivery, Halt};
use crate::source::{By, Checkpoint, Pass, Position, Pull, Since, Track};
use crate::state::ledger::Ledger;
use crate::state::{LaneId, Store};
use crate::telemetry::LaneState;
use crate::transform::{self, Mapper, Origin, Schema};

/// Pages that wait between source and transform.
const PAGES: usize = 2;
/// Batches that wait between transform and sink.
const BATCHES: usize = 1;

/// How long a lane rests before it tries again what was refused, in the words of `sentinelone/api.md` section 5.
const AFTER_UNAUTHORIZED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
const AFTER_FORBIDDEN: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(3600));
const AFTER_HALT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
/// The sink is in order; the store of dead letters may be there again soon.
const AFTER_LETTERS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
const AFTER_BREAK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// One stream of one pipeline going to one sink, with all that it needs.
#[derive(Debug)]
pub struct Lane {
    /// Its name.
    pub id: LaneId,
    /// Access to the console.
    pub client: Arc<Client>,
    /// What is pulled, and how often.
    pub pull: Arc<Pull>,
    /// `since` as the pipeline file has it.
    pub since_text: String,
    /// How records are mapped, save for the schema.
    pub transform: Arc<transform::Settings>,
    /// What they are mapped into.
    pub schema: Schema,
    /// Delivers batches, counts and reports.
    pub delivery: Arc<Delivery>,
    /// What a batch may hold.
    pub limits: Limits,
    /// How long an event may wait for its batch to fill.
    pub flush: Duration,
    /// Batches sent beyond the acknowledged prefix.
    pub concurrency: usize,
    /// Where checkpoints are kept.
    pub store: Arc<dyn Store>,
    /// `--checkpoint-interval`.
    pub checkpoint_interval: Duration,
    /// Where bytes are reserved.
    pub budget: LaneBudget,
    /// The time of day.
    pub clock: Clock,
    /// Decides over waits.
    pub random: fastrand::Rng,
    /// Wait before the first poll.
    pub first_poll_after: Duration,
    /// End when everything up to the start is delivered.
    pub once: bool,
    /// Records that need not be delivered, as a ledger has them: only a repair has them.
    pub known: Option<Arc<HashSet<Identity>>>,
}

/// What a lane keeps from poll to poll.
struct Course {
    standing: Standing,
    saver: Checkpoints,
    sizing: Arc<Mutex<Sizing>>,
    rests: Rests,
    agenda: Agenda,
}

/// Why a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneEnd {
    /// It was asked to stop, and what was in flight is delivered and stored.
    Drained,
    /// `once`: everything up to the start is delivered and stored.
    Complete,
    /// `once`: the console refuses, and trying again soon would not help.
    Refused,
    /// Another process writes the lane's checkpoint now; this one wrote nothing more.
    Superseded,
}

/// What follows a session.
enum Next {
    End(LaneEnd),
    Rest(Duration),
    Poll,
    NotDue(Timestamp),
}

impl Lane {
    /// Runs until it is asked to stop, or, with `once`, has caught up.
    pub fn run(self, stop: CancellationToken) -> impl Future<Output = LaneEnd> + Send + 'static {
        // In a box, since a future that is given a large value has room for it twice.
        Box::new(self).go_on(stop)
    }

    async fn go_on(mut self: Box<Self>, stop: CancellationToken) -> LaneEnd {
        let meter = self.delivery.meter.clone();
        let mut again = false;
        let end = loop {
            let Some(course) = stop.run_until_cancelled(Box::pin(self.open(again))).await else {
                break LaneEnd::Drained;
            };
            match self.poll_for_ever(course, &stop).await {
                // Whoever keeps the standing with the events tells when it may go on, and from where.
                LaneEnd::Superseded if matches!(self.keeping(), Keeping::Sink(_)) => {
                    meter.lane.give_back_open();
                    (self.first_poll_after, again) = (Duration::ZERO, true);
                }
                end => break end,
            }
        };
        if !matches!(end, LaneEnd::Superseded | LaneEnd::Refused) {
            meter.done();
        }
        end
    }

    fn course(&mut self, standing: Standing) -> Box<Course> {
        let (keeping, random) = (self.keeping(), self.random.fork());
        Box::new(Course {
            agenda: self.agenda(&standing.checkpoint.position),
            standing,
            saver: Checkpoints::new(keeping, &self.store, &self.id, &self.delivery, self.checkpoint_interval, random),
            sizing: Arc::new(Mutex::new(Sizing::new(Endpoint::of(self.id.stream).max_limit))),
            rests: Rests::default(),
        })
    }

    async fn poll_for_ever(&mut self, mut course: Box<Course>, stop: &CancellationToken) -> LaneEnd {
        loop {
            let Some((pass, next_poll)) = course.agenda.next() else {
                course.saver.flush(&mut course.standing).await;
                return LaneEnd::Complete;
            };
            let rested = stop.run_until_cancelled(course.rest_until(next_poll)).await;
            if course.saver.is_superseded() {
                return LaneEnd::Superseded;
            }
            if rested.is_none() {
                course.saver.flush(&mut course.standing).await;
                return LaneEnd::Drained;
            }
            let begun = Instant::now();
            // What only a poll needs lies in boxes: a lane sleeps most of the time, and there are tens of thousands.
            let end = Box::pin(self.session(&mut course, pass, stop)).await;
            if !matches!(end, SendEnd::Settled(PullEnd::Complete(_) | PullEnd::NotDue(_))) {
                self.delivery.meter.lane.give_back_open();
            }
            match self.after(end, &mut course.rests, stop).await {
                Next::End(LaneEnd::Superseded) => return LaneEnd::Superseded,
                Next::End(end) => {
                    course.saver.flush(&mut course.standing).await;
                    return end;
                }
                Next::Rest(rest) => {
                    course.agenda.rest(rest);
                    // The rest may be long, and what was settled before it must not be sent again if it ends in a kill.
                    stop.run_until_cancelled(course.saver.flush(&mut course.standing)).await;
                }
                Next::Poll => course.agenda.done(pass, begun, &course.standing.checkpoint.position, self.once),
                Next::NotDue(start) => {
                    let position = &course.standing.checkpoint.position;
                    course.agenda.not_due(pass, start, position, self.once);
                }
            }
        }
    }

    /// One poll of one pass, delivered.
    async fn session(&mut self, course: &mut Course, pass: usize, stop: &CancellationToken) -> SendEnd {
        let meter = self.delivery.meter.clone();
        let (pages, mut pages_out) = mpsc::channel::<Box<Pulled>>(PAGES);
        let (batches, batches_out) = mpsc::channel::<Box<Mapped>>(BATCHES);
        let pull = PullStage {
            client: self.client.clone(),
            pull: self.pull.clone(),
            meter: meter.clone(),
            budget: self.budget.clone(),
            stop: stop.child_token(),
            random: self.random.fork(),
            sizing: course.sizing.clone(),
            known: self.known.clone(),
        };
        let (id, client, transform, schema) = (&self.id, &self.client, &self.transform, self.schema);
        let (limits, flush, budget) = (self.limits, self.flush, &self.budget);
        let map = || MapStage {
            mapper: Mapper::new(transform, schema, Origin::of(&id.pipeline, client.host(), id.stream)),
            stream: id.stream,
            limits,
            flush,
            meter,
            budget: budget.clone(),
            growth: Growth::default(),
        };
        let position = course.standing.checkpoint.position.clone();
        let send = SendStage {
            lane: &self.id,
            delivery: &self.delivery,
            concurrency: self.concurrency,
            pull: &self.pull,
            passes: self.pull.passes(),
            probing: course.rests.sink != Rest::default(),
            budget: &self.budget,
            standing: &mut course.standing,
            saver: &mut course.saver,
            random: &mut self.random,
        };
        let mut mapping = JoinSet::new();
        // Most polls bring nothing, so what maps, in a task of its own, is made when there is something to map.
        let begin_mapping = async {
            match pages_out.recv().await.map(|pulled| *pulled) {
                Some(Pulled::Page(page, reservation)) => {
                    mapping.spawn(map().run((page, reservation), pages_out, batches));
                }
                Some(Pulled::End(end)) => {
                    let _ = batches.send(Box::new(Mapped::End(end))).await;
                }
                None => {}
            }
        };
        let before_sending = async {
            tokio::join!(pull.run(position, pass, pages), begin_mapping);
            std::future::pending::<Infallible>().await
        };
        let end = tokio::select! {
            biased;
            end = send.run(batches_out) => end,
            never = before_sending => match never {},
        };
        // It has ended, or nobody is there to hear it. Its counters must stand still before the books are closed.
        mapping.shutdown().await;
        end
    }

    async fn after(&mut self, end: SendEnd, rests: &mut Rests, stop: &CancellationToken) -> Next {
        match end {
            SendEnd::Settled(end @ (PullEnd::Complete(_) | PullEnd::NotDue(_))) => {
                *rests = Rests::default();
                self.delivery.meter.sink_trouble(None);
                if let PullEnd::NotDue(start) = end { Next::NotDue(start) } else { Next::Poll }
            }
            SendEnd::Settled(PullEnd::Stopped) => Next::End(LaneEnd::Drained),
            SendEnd::Settled(PullEnd::Refused(error)) => {
                let window =
                    if matches!(error, ConsoleError::Unauthorized(_)) { AFTER_UNAUTHORIZED } else { AFTER_FORBIDDEN };
                let Some(reason) = stop.run_until_cancelled(Box::pin(self.explain(error))).await else {
                    return Next::Rest(Duration::ZERO);
                };
                self.delivery.meter.console_trouble(Some(LaneState::ConsoleRefused(reason)));
                if self.once && window == AFTER_FORBIDDEN {
                    return Next::End(LaneEnd::Refused);
                }
                Next::Rest(rests.console.next(window, &mut self.random))
            }
            SendEnd::Refusing => {
                if self.budget.is_proven() {
                    rests.sink = Rest::default();
                }
                self.budget.set_proven(false);
                let retry = self.delivery.retry;
                let rest = rests.sink.next((retry.initial.0, retry.max.0), &mut self.random);
                Next::Rest(rest.max(self.delivery.throttle.held_for()))
            }
            SendEnd::Halted(halt) => {
                self.budget.set_proven(false);
                let window = if matches!(halt, Halt::DeadLetters(_)) { AFTER_LETTERS } else { AFTER_HALT };
                let state = match halt {
                    Halt::Superseded(reason) => {
                        self.delivery.meter.superseded(&reason);
                        return Next::End(LaneEnd::Superseded);
                    }
                    Halt::DeadLetters(reason) => LaneState::Stopped(reason),
                    other => LaneState::SinkRefused(other.to_string()),
                };
                self.delivery.meter.sink_trouble(Some(state));
                Next::Rest(rests.sink.next(window, &mut self.random))
            }
            SendEnd::Superseded => Next::End(LaneEnd::Superseded),
            SendEnd::Broken => {
                let reason = "an error of this program: a stage of the lane broke; it goes on from the checkpoint";
                self.delivery.meter.sink_trouble(Some(LaneState::Stopped(reason.to_owned())));
                Next::Rest(rests.sink.next(AFTER_BREAK, &mut self.random))
            }
        }
    }

    /// When each pass is polled first: the one that brings what is new as told, others when their last poll is as old as
    /// it may be.
    fn agenda(&self, position: &Position) -> Agenda {
        let now = self.clock.now();
        let wait = |(index, pass): (usize, &Pass)| {
            let complete = position.track(index).and_then(Track::complete);
            // A scope of findings that was never read is as new as the first.
            let never = if pass.chain.is_some() { Duration::ZERO } else { pass.every };
            let due = complete.map_or(never, |complete| pass.every.saturating_sub(now.since(complete)));
            if index == 0 || self.once { self.first_poll_after } else { due.max(self.first_poll_after) }
        };
        let passes = self.pull.passes();
        Agenda::new(passes.iter().enumerate().map(|pass| (pass.1.every, wait(pass))))
    }

    /// A refused token may have expired or have been revoked; the console can tell.
    async fn explain(&self, error: ConsoleError) -> String {
        let ConsoleError::Unauthorized(reason) = &error else { return error.to_string() };
        match self.client.token_expiry().await {
            Ok(Some(expiry)) if expiry <= self.clock.now() => format!("{reason}; the token expired at {expiry}"),
            _ => format!("{reason}; the token is wrong, revoked or expired"),
        }
    }

    /// The lane's checkpoint, or a new one that begins at `since`; in the store before anything is pulled.
    async fn open(&mut self, mut failed: bool) -> Box<Course> {
        let mut waits = saver::waits(&mut self.random);
        loop {
            match self.try_open().await {
                Ok(standing) => {
                    if failed {
                        self.delivery.meter.store_trouble(None);
                    }
                    report(&self.delivery.meter.lane, &standing.checkpoint.position);
                    return self.course(standing);
                }
                Err(reason) => {
                    failed = true;
                    self.delivery.meter.store_trouble(Some(LaneState::Stopped(reason)));
                    sleep(waits.wait()).await;
                }
            }
        }
    }

    /// A pull beside the lane that a worker runs leaves that one's checkpoint alone, and delivers at least once.
    fn keeping(&self) -> Keeping {
        match self.delivery.sink.commits() {
            Some(_) if self.pull.window.is_none() => Keeping::Sink(self.delivery.sink.clone()),
            _ => Keeping::Store(self.store.clone()),
        }
    }

    async fn try_open(&self) -> Result<Standing, String> {
        let stored = checkpoints::open(&self.keeping(), &self.store, &self.id).await?;
        let (host, scope) = (self.client.host().to_owned(), self.client.scope());
        let asked = format!("{scope}{}", self.pull.narrowed_by());
        // A backfill is checked by its count; what a repair delivers is told by identity.
        let is_backfill = self.pull.window.is_some_and(|window| window.by == By::Order);
        let journals = self.keeping().keeps_journals() && !is_backfill;
        let LaneId { pipeline, stream, sink } = &self.id;
        let Some(bytes) = stored else {
            let since_resolved = resolve(self.pull.since, self.clock.now());
            let mut position = Position::starting_at(since_resolved);
            position.align(&self.pull.passes());
            let checkpoint =
                Checkpoint { host, scope, since: self.since_text.clone(), since_resolved, position, settled: 0 };
            let standing = Standing { checkpoint, ledger: Ledger::begin(since_resolved, asked, journals) };
            self.keeping().save(&self.id, &standing).await.map_err(|error| error.to_string())?;
            if self.pull.window.is_none() {
                info!(%pipeline, %stream, %sink, since = %since_resolved, "a new lane begins at `since`");
            }
            return Ok(standing);
        };
        let Standing { mut checkpoint, mut ledger } = Standing::decode(&bytes).map_err(|error| error.to_string())?;
        checkpoint.position.align(&self.pull.passes());
        if checkpoint.host != host {
            info!(%pipeline, %stream, %sink, was = %checkpoint.host, is = %host, "another console: the time is kept, the keys are forgotten");
            checkpoint.position.forget_keys();
            checkpoint.host = host;
            ledger.begin_anew(checkpoint.position.bound(), asked.clone(), journals);
        }
        if checkpoint.scope != scope {
            info!(%pipeline, %stream, %sink, was = %checkpoint.scope, is = %scope, "another scope: what it adds is not fetched back; `backfill` does that");
            checkpoint.scope = scope;
        }
        if checkpoint.since != self.since_text {
            info!(%pipeline, %stream, %sink, was = %checkpoint.since, is = %self.since_text, "`since` was resolved at the first start; the edit is ignored");
        }
        if journals {
            ledger.keep_identities(self.clock.now());
        }
        if ledger.asked() != asked || ledger.has_journals() != journals {
            let from = checkpoint.position.newest();
            info!(%pipeline, %stream, %sink, %from, "the console is asked for something else, or the store keeps something else: the ledger begins anew");
            ledger.begin_anew(from, asked, journals);
        }
        Ok(Standing { checkpoint, ledger })
    }
}

fn resolve(since: Since, now: Timestamp) -> Timestamp {
    match since {
        Since::Ago(period) => now.minus(period.0),
        Since::At(time) => time,
        Since::Now => now,
        Since::Beginning => Timestamp::default(),
    }
}

impl Course {
    /// Sleeps until the next poll, while checkpoints that are due are written; or until the lane is another process's.
    async fn rest_until(&mut self, next_poll: Instant) {
        while !self.saver.is_superseded() {
            tokio::select! {
                biased;
                () = sleep_until(next_poll) => return,
                () = self.saver.work(&mut self.standing, false) => {}
            }
        }
    }
}

/// Rests between sessions, longer while the same end refuses.
#[derive(Default)]
struct Rests {
    console: Rest,
    sink: Rest,
}

#[derive(Default, PartialEq, Eq)]
struct Rest(u32);

impl Rest {
    /// Doubles from the first to the last of `window`; the later half of each is random, so that lanes come apart.
    fn next(&mut self, (first, last): (Duration, Duration), random: &mut fastrand::Rng) -> Duration {
        let rest = first.saturating_mul(1 << self.0.min(16)).min(last);
        self.0 += 1;
        rest.mul_f64(0.5 + random.f64() / 2.0)
    }
}
