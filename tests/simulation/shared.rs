//! What all parts of one schedule share: time, the log, and the hand that kills at a chosen step.

use std::fmt::{self, Write};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use fastrand::Rng;
use s1_forwarder::lane::Budget;
use s1_forwarder::record::{Clock, Timestamp};
use s1_forwarder::telemetry::LaneMetrics;
use tokio::time::Instant;

use crate::ledger::Ledger;
use crate::model::Model;
use crate::plan::{LanePlan, SimulationPlan};

/// A schedule with more steps than this does not end.
const MAX_STEPS: u64 = 1_000_000;

pub struct Simulation {
    pub plan: SimulationPlan,
    pub model: Model,
    pub lanes: Vec<Arc<LaneSimulation>>,
    pub started_at: Instant,
    /// The console's clock, the true one.
    pub clock: Clock,
    /// Whether nothing goes wrong any more.
    pub calm: AtomicBool,
    pub armed: Mutex<Option<Armed>>,
    /// The running process's budget, and the most that was seen in it.
    pub budget: Mutex<Option<Arc<Budget>>>,
    pub most_used: AtomicUsize,
    log: Mutex<Log>,
    /// A line for each change of what a lane shows, where they are asked for.
    shown: Option<Mutex<String>>,
    print: bool,
}

/// One lane's surroundings: they stay when the process dies.
pub struct LaneSimulation {
    pub index: usize,
    pub plan: LanePlan,
    pub ledger: Mutex<Ledger>,
    random: Mutex<Rng>,
}

/// Steps at which a process can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    Loaded,
    ConsoleAnswered,
    SendBegins,
    SinkTook,
    SinkAnswers,
    SaveBegins,
    SaveApplied,
    LetterKept,
}

impl Point {
    pub const ALL: [Self; 8] = [
        Self::Loaded,
        Self::ConsoleAnswered,
        Self::SendBegins,
        Self::SinkTook,
        Self::SinkAnswers,
        Self::SaveBegins,
        Self::SaveApplied,
        Self::LetterKept,
    ];
}

/// Kills at the step that comes for the `left`-th time.
#[derive(Debug)]
pub struct Armed {
    pub point: Point,
    pub lane: usize,
    pub left: u32,
    pub switch: Arc<Switch>,
}

/// Ends the lane that watches it, between any two of its polls.
#[derive(Debug)]
pub struct Switch {
    pub polls_left: AtomicU64,
    pub waker: Mutex<Option<Waker>>,
}

impl Default for Switch {
    fn default() -> Self {
        Self { polls_left: AtomicU64::new(u64::MAX), waker: Mutex::default() }
    }
}

impl Switch {
    pub fn after(&self, polls: u64) {
        self.polls_left.store(polls, Ordering::Relaxed);
        if polls == 0
            && let Some(waker) = lock(&self.waker).take()
        {
            waker.wake();
        }
    }
}

struct Log {
    hash: u64,
    steps: u64,
    violations: Vec<String>,
}

/// FNV-1a, fed by formatting.
struct Hash(u64);

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        Ok(())
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Simulation {
    pub fn new(mut plan: SimulationPlan, print: bool, records_shown: bool) -> Arc<Self> {
        let clock = Clock::simulated(plan.start);
        let random = plan.random.fork();
        let model = Model::new(&plan, random);
        let lanes = std::mem::take(&mut plan.lanes).into_iter().enumerate().map(|(index, lane)| {
            let ledger = Mutex::new(Ledger::new(&lane));
            Arc::new(LaneSimulation { index, plan: lane, ledger, random: Mutex::new(plan.random.fork()) })
        });
        let lanes = lanes.collect();
        Arc::new(Self {
            model,
            lanes,
            started_at: Instant::now(),
            clock,
            calm: AtomicBool::new(false),
            armed: Mutex::default(),
            budget: Mutex::default(),
            most_used: AtomicUsize::new(0),
            log: Mutex::new(Log { hash: 0xcbf2_9ce4_8422_2325, steps: 0, violations: Vec::new() }),
            shown: records_shown.then(Mutex::default),
            print,
            plan,
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Time since the begin.
    pub fn at(&self) -> Duration {
        self.started_at.elapsed()
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Enters a step: into the trace hash, and onto the terminal when the seed is replayed.
    pub fn note(&self, step: fmt::Arguments<'_>) {
        let at = self.at();
        if self.print {
            println!("{:>12.3} {step}", at.as_secs_f64());
        }
        if let Some(budget) = &*lock(&self.budget) {
            self.most_used.fetch_max(budget.used(), Ordering::Relaxed);
        }
        let mut log = lock(&self.log);
        let mut hash = Hash(log.hash);
        let _ = write!(hash, "{}{step}", at.as_millis());
        log.hash = hash.0;
        log.steps += 1;
        assert!(log.steps < MAX_STEPS, "the schedule does not end");
    }

    /// Records what a lane shows now: time, lane, state, reason, `lane_up`, next attempt, error.
    pub fn shows(&self, lane: usize, metrics: &LaneMetrics) {
        let Some(shown) = &self.shown else { return };
        let state = metrics.state();
        let next = metrics.next_attempt().map(|next| next.to_string());
        let _ = writeln!(
            lock(shown),
            "{:.3} lane {lane} {} {} up {} next {} {}",
            self.at().as_secs_f64(),
            state.name(),
            state.reason().unwrap_or("-"),
            u8::from(state.is_up()),
            next.as_deref().unwrap_or("-"),
            state.error().unwrap_or_default()
        );
    }

    /// The lines of [`Self::shows`].
    pub fn take_shown(&self) -> String {
        self.shown.as_ref().map(|shown| std::mem::take(&mut *lock(shown))).unwrap_or_default()
    }

    /// A promise was broken.
    pub fn violation(&self, what: String) {
        self.note(format_args!("VIOLATION {what}"));
        let mut log = lock(&self.log);
        if log.violations.len() < 10 {
            log.violations.push(format!("after {:.3} s: {what}", self.at().as_secs_f64()));
        }
    }

    /// The trace hash, and the broken promises.
    pub fn result(&self) -> (u64, Vec<String>) {
        let log = lock(&self.log);
        (log.hash, log.violations.clone())
    }

    /// A step at which a kill of `lane` may be due: then nothing of what called it goes on. Which lane asks the console
    /// cannot be reported there, and what it asked goes on until the lane is dead.
    pub async fn reach(&self, point: Point, lane: Option<usize>) {
        let kill = {
            let mut armed = lock(&self.armed);
            let is_due = |armed: &Armed| armed.point == point && lane.is_none_or(|lane| lane == armed.lane);
            match armed.as_mut().filter(|armed| is_due(armed)) {
                Some(waiting) if waiting.left <= 1 => armed.take(),
                Some(waiting) => {
                    waiting.left -= 1;
                    None
                }
                None => None,
            }
        };
        if let Some(armed) = kill {
            self.note(format_args!("lane {} is killed at {point:?}", armed.lane));
            armed.switch.after(0);
            if lane.is_some() {
                pending::<()>().await;
            }
        }
    }
}

impl LaneSimulation {
    pub fn fork_random(&self) -> Rng {
        lock(&self.random).fork()
    }
}

/// A moment between nothing and twice `typical`.
pub fn about(random: &mut Rng, typical: Duration) -> Duration {
    typical.mul_f64(random.f64() * 2.0)
}
