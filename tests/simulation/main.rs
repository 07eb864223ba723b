//! Deterministic simulation: one seed decides everything that happens to a process and its surroundings, the real
//! source, lane, delivery and checkpoint code runs over them under paused time, and afterwards the promises of the
//! design are checked, each by what the console, the sinks and the store have seen. What is simulated and what is
//! checked is in `docs/dev/simulation.md`.
//!
//! `S1_FORWARDER_SEEDS` is the number of seeds; `S1_FORWARDER_SEED` replays one and prints its steps. The file
//! `S1_FORWARDER_SHOWN` gets what lanes showed with each seed: a change that is to change none of it is compared by it.

#![allow(clippy::unwrap_used)]

mod accounts;
mod console;
mod ledger;
mod model;
mod plan;
mod process;
mod schedule;
mod shared;
mod sink;
mod store;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use schedule::SeedResult;

const DEFAULT_SEEDS: u64 = 300;
/// Failing seeds that are enough to look at.
const ENOUGH: usize = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn broken_promises(seed: u64, print: bool, records_shown: bool) -> (Option<SeedResult>, Vec<String>) {
    match catch_unwind(AssertUnwindSafe(|| schedule::run(seed, print, records_shown))) {
        Ok(result) => {
            let violations = result.violations.clone();
            (Some(result), violations)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            (None, vec![format!("a panic: {}", text.unwrap_or("without words"))])
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn every_schedule_keeps_the_promises() {
    if let Some(seed) = number("S1_FORWARDER_SEED") {
        let (result, violations) = broken_promises(seed, true, false);
        println!("{result:#?}");
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        return;
    }
    let seeds = number("S1_FORWARDER_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let started_at = Instant::now();
    let next = AtomicU64::new(0);
    let failing = Mutex::new(Vec::new());
    let records = AtomicUsize::new(0);
    let repeats = AtomicUsize::new(0);
    let over_budget = AtomicUsize::new(0);
    let shown_file = std::env::var_os("S1_FORWARDER_SHOWN");
    let shown = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failing.lock().unwrap().len() >= ENOUGH {
                        return;
                    }
                    let (result, violations) = broken_promises(seed, false, shown_file.is_some());
                    if let Some(result) = result {
                        if shown_file.is_some() {
                            shown.lock().unwrap().insert(seed, result.shown);
                        }
                        records.fetch_add(result.records, Ordering::Relaxed);
                        repeats.fetch_add(result.repeats, Ordering::Relaxed);
                        over_budget.fetch_max(result.over_budget, Ordering::Relaxed);
                    }
                    if !violations.is_empty() {
                        failing.lock().unwrap().push((seed, violations));
                    }
                }
            });
        }
    });
    let tried = next.load(Ordering::Relaxed).min(seeds);
    println!(
        "{tried} seeds in {:.1} s: {} events taken, {} of them again; at most {} bytes over the budget",
        started_at.elapsed().as_secs_f64(),
        records.into_inner(),
        repeats.into_inner(),
        over_budget.into_inner()
    );
    if let Some(file) = shown_file {
        let lines = |(seed, shown): (u64, String)| format!("seed {seed}\n{shown}");
        let text: String = shown.into_inner().unwrap().into_iter().map(lines).collect();
        std::fs::write(file, text).unwrap();
    }
    let mut failing = failing.into_inner().unwrap();
    failing.sort();
    for (seed, violations) in &failing {
        println!("seed {seed}: {violations:#?}");
        println!("replay it with: S1_FORWARDER_SEED={seed} cargo test --test simulation every_schedule -- --nocapture");
    }
    assert!(failing.is_empty(), "{} of {tried} seeds failed, the first is {}", failing.len(), failing[0].0);
}

#[test]
fn the_same_seed_gives_the_same_schedule() {
    for seed in 0..25 {
        let one = schedule::run(seed, false, false);
        let two = schedule::run(seed, false, false);
        assert_eq!(one.hash, two.hash, "seed {seed}");
    }
}
