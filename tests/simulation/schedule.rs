//! One schedule from its seed to its verdict.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use s1_forwarder::record::Timestamp;
use tokio::time::{Instant, sleep, timeout};

use crate::plan::{SimulationPlan, open};
use crate::process::Process;
use crate::shared::{Armed, Point, Simulation, about, lock};

/// Longest time that calm may need to settle everything: a stream that was forbidden is tried again after an hour.
const SETTLES_WITHIN: Duration = Duration::from_hours(4);
/// In calm fault_periods something still happens now and then.
const SIGN_OF_LIFE: Duration = Duration::from_mins(10);
/// Bytes over the budget that may be held for each lane: an event that outgrew its record is counted when it is there.
const SLACK: usize = 64 << 10;

/// What came of a schedule.
#[derive(Debug)]
pub struct SeedResult {
    pub hash: u64,
    pub violations: Vec<String>,
    pub records: usize,
    pub repeats: usize,
    pub over_budget: usize,
    /// What lanes showed, if that is recorded.
    pub shown: String,
}

/// Runs the schedule of `seed` under paused time.
pub fn run(seed: u64, print: bool, records_shown: bool) -> SeedResult {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let simulation = Simulation::new(SimulationPlan::of(seed), print, records_shown);
        if print {
            println!(
                "{:#?}\n{:#?}",
                simulation.plan,
                simulation.lanes.iter().map(|lane| &lane.plan).collect::<Vec<_>>()
            );
        }
        play(&simulation).await;
        let (hash, violations) = simulation.result();
        let sum =
            |of: fn(&crate::ledger::Ledger) -> usize| simulation.lanes.iter().map(|lane| of(&lock(&lane.ledger))).sum();
        let over_budget = simulation.most_used.load(Ordering::Relaxed).saturating_sub(simulation.plan.budget);
        SeedResult {
            hash,
            violations,
            records: sum(|ledger| ledger.taken),
            repeats: sum(|ledger| ledger.repeats),
            over_budget,
            shown: simulation.take_shown(),
        }
    })
}

async fn play(simulation: &Arc<Simulation>) {
    let mut random = simulation.plan.random.clone();
    let model = tokio::spawn(unfold(simulation.clone(), random.fork()));
    let fault_periods = tokio::spawn(change_weather(simulation.clone()));
    let mut process = Process::start(simulation);
    let active = simulation.plan.active;
    let mut blows: Vec<_> = (0..simulation.plan.blows).map(|_| active.mul_f64(random.f64())).collect();
    blows.sort_unstable();
    for blow in blows {
        sleep(blow.saturating_sub(simulation.at())).await;
        process = strike(simulation, process, &mut random).await;
    }
    sleep(active.saturating_sub(simulation.at())).await;
    model.abort();
    fault_periods.abort();
    simulation.model.console.set_faults(s1_forwarder::emulator::Faults::default());
    simulation.calm.store(true, Ordering::Relaxed);
    let calm_since = simulation.now();
    simulation.note(format_args!("calm from here on"));

    settle(simulation, &mut process, calm_since).await;
    for _ in 0..2 {
        // Time for repeats to come.
        sleep(simulation.plan.interval * 2).await;
        process.stop().await;
        process = Process::start(simulation);
    }
    process.kill().await;
    check_end(simulation, calm_since);
    for lane in simulation.lanes.iter().filter(|lane| !lane.plan.dead_for_ever) {
        if let Some(wrong) = crate::accounts::wrong(simulation, lane, calm_since).await {
            simulation.violation(format!("the ledger of lane {}: {wrong}", lane.index));
        }
    }
}

/// Things happen to the console's records.
async fn unfold(simulation: Arc<Simulation>, mut random: Rng) {
    let typical = simulation.plan.active / u32::try_from(simulation.plan.births).unwrap_or(1);
    loop {
        sleep(about(&mut random, typical)).await;
        simulation.model.happen(simulation.now());
    }
}

/// The console's faults come and go.
async fn change_weather(simulation: Arc<Simulation>) {
    let plan = &simulation.plan.console;
    let mut changes: Vec<_> = plan.fault_periods.iter().flat_map(|window| [window.from, window.to]).collect();
    changes.push(Duration::ZERO);
    changes.sort_unstable();
    for change in changes {
        sleep(change.saturating_sub(simulation.at())).await;
        let faults = open(&plan.fault_periods, simulation.at()).unwrap_or(&plan.faults);
        simulation.note(format_args!("the console's faults: {:?}", faults.rules));
        simulation.model.console.set_faults(faults.clone());
    }
}

/// A kill or a stop, of one lane or of all, and a new start.
async fn strike(simulation: &Arc<Simulation>, mut process: Process, random: &mut Rng) -> Process {
    let lane = random.usize(..simulation.lanes.len());
    let all = random.bool();
    let choice = if simulation.plan.gentle { 3 } else { random.u32(..5) };
    match choice {
        0 => {}
        1 => {
            if let Some(switch) = process.switch(lane) {
                switch.after(random.u64(1..200));
            }
        }
        2 | 4 => {
            if let Some(switch) = process.switch(lane) {
                let point = Point::ALL[random.usize(..Point::ALL.len())];
                *lock(&simulation.armed) = Some(Armed { point, lane, left: random.u32(1..8), switch });
            }
        }
        _ if all => process.stop().await,
        _ => process.stop_lane(lane).await,
    }
    if choice != 3 {
        let patience = about(random, simulation.plan.interval);
        let _ = timeout(patience, async {
            while choice != 0 && !process.has_dead() {
                sleep(Duration::from_millis(200)).await;
            }
        })
        .await;
        // The armed lane alone dies at its step; whatever else dies, dies now.
        let victim = (0..simulation.lanes.len()).find(|lane| process.is_dead(*lane)).unwrap_or(lane);
        if all {
            process.kill().await
        } else {
            process.kill_lane(victim).await
        }
        *lock(&simulation.armed) = None;
    }
    if random.bool() {
        let downtime = simulation.plan.interval.mul_f64(random.f64() * 3.0);
        sleep(downtime.min(simulation.plan.active.saturating_sub(simulation.at()))).await;
    }
    if all {
        return Process::start(simulation);
    }
    process.start_missing();
    process
}

/// Waits until everything owed has arrived.
async fn settle(simulation: &Arc<Simulation>, process: &mut Process, calm_since: Timestamp) {
    let started_at = Instant::now();
    let skew = Duration::from_secs(simulation.plan.skew.unsigned_abs());
    let mut sign = SIGN_OF_LIFE;
    while started_at.elapsed() < SETTLES_WITHIN + skew * 2 {
        if process.has_dead() {
            simulation.violation("a lane ended by itself".to_owned());
            return;
        }
        if missing(simulation, calm_since).is_empty() {
            return;
        }
        sleep(simulation.plan.interval.min(Duration::from_mins(1))).await;
        if started_at.elapsed() > sign {
            sign += SIGN_OF_LIFE;
            process.restart_stopped().await;
            simulation.model.greet(simulation.now());
        }
    }
}

/// What is owed of the time before calm and has not arrived, or is left out and not yet passed, lane by lane.
fn missing(simulation: &Simulation, calm_since: Timestamp) -> Vec<String> {
    let mut missing = Vec::new();
    for lane in simulation.lanes.iter().filter(|lane| !lane.plan.dead_for_ever) {
        let ledger = lock(&lane.ledger);
        let (Some(since), Some(due)) = (ledger.since(), ledger.due(calm_since)) else {
            missing.push(format!("lane {} has no checkpoint, or no snapshot since", lane.index));
            continue;
        };
        for version in simulation.model.accountable(&lane.plan, since, due) {
            let is_done =
                if lane.plan.leaves_out(&version) { ledger.has_read(&version) } else { ledger.is_settled(version.key) };
            if !is_done {
                missing.push(format!("lane {} owes {version:?}", lane.index));
            }
        }
    }
    missing
}

fn check_end(simulation: &Simulation, calm_since: Timestamp) {
    let missing = missing(simulation, calm_since);
    if let Some(first) = missing.first() {
        simulation.violation(format!("{} events did not arrive; {first}", missing.len()));
    }
    for lane in simulation.lanes.iter().filter(|lane| !lane.plan.dead_for_ever) {
        let ledger = lock(&lane.ledger);
        let due = ledger.due(calm_since).unwrap_or_default();
        let refused = simulation.model.owed(&lane.plan, ledger.since().unwrap_or_default(), due);
        let refused = refused.into_iter().filter(|version| version.is_poison(&lane.plan));
        let lost: Vec<_> = refused.filter(|version| !ledger.is_letter(version.key)).collect();
        drop(ledger);
        if !lost.is_empty() {
            simulation.violation(format!("lane {}: refused, but not among the dead letters: {lost:?}", lane.index));
        }
    }
    let most = simulation.most_used.load(Ordering::Relaxed);
    let allowed = simulation.plan.budget + SLACK * simulation.lanes.len();
    if most > allowed {
        simulation.violation(format!("{most} bytes were held of a budget of {}", simulation.plan.budget));
    }
}
