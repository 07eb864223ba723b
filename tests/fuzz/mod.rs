//! Fuzzing: what comes from outside must not bring the program down, whatever it is. One test for each kind of input.
//!
//! Inputs are mutations of seeds, made with a seeded random number generator. An input with a new kind of result is
//! kept as another seed, in place of coverage, which stable Rust cannot measure. An input that panics, takes too long,
//! or breaks a rule of its target is written to `tests/data/fuzz/TARGET`, and tried first from then on.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `S1_FORWARDER_FUZZ_INPUTS` | 2000 | inputs for each target; 0: without end |
//! | `S1_FORWARDER_FUZZ_SECONDS` | | seconds for each target, instead of a number |
//! | `S1_FORWARDER_FUZZ_SEED` | 1 | seed of the random numbers |
//! | `S1_FORWARDER_FUZZ_TARGET` | all | the only target, such as `pages` |
//!
//! It is part of the library's own tests, since most parsers are not public. `just fuzz` runs it without end.

#![allow(clippy::disallowed_methods, reason = "fuzzing is bounded by real time, and watched by a thread of its own")]

mod bodies;
mod files;
mod judges;
mod listener;
mod mutate;
mod records;
mod stores;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use mutate::Mutator;

/// An input that takes longer is a finding: the worker has thousands of lanes.
const SLOW: Duration = Duration::from_secs(5);
/// An input that takes longer never ends.
const ENDLESS: Duration = Duration::from_mins(1);
/// Inputs with new results that are kept as seeds, besides the first ones.
const MAX_KEPT: usize = 4_000;

/// What is tried: the seeds, and words that inputs of this kind are made of.
struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    words: &'static [&'static str],
    /// Bytes at the beginning that select what is done with the rest.
    header: usize,
}

/// The bound of a run.
enum Bound {
    Inputs(u64),
    Time(Duration),
    None,
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn bound() -> Bound {
    match (variable("S1_FORWARDER_FUZZ_SECONDS"), variable("S1_FORWARDER_FUZZ_INPUTS")) {
        (Some(seconds), _) => Bound::Time(Duration::from_secs(seconds)),
        (None, Some(0)) => Bound::None,
        (None, Some(inputs)) => Bound::Inputs(inputs),
        (None, None) => Bound::Inputs(2_000),
    }
}

/// What this thread has computed so far: other programs must not make an input look slow.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

impl Target {
    fn directory(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz").join(self.name)
    }

    /// Writes an input that found something, and returns where.
    fn keep(&self, input: &[u8]) -> PathBuf {
        let path = self.directory().join(hex::encode(&Sha256::digest(input)[..8]));
        std::fs::create_dir_all(self.directory()).unwrap();
        std::fs::write(&path, input).unwrap();
        path
    }

    /// The inputs that found something.
    fn kept(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(self.directory()) else { return Vec::new() };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// Tries the inputs that found something, the seeds, and mutations of them. `check` panics if a rule is broken, and
    /// returns a text that differs where the program took another path.
    fn run(mut self, check: impl Fn(&[u8]) -> String) {
        let only = std::env::var("S1_FORWARDER_FUZZ_TARGET").unwrap_or_default();
        if !only.is_empty() && only != self.name {
            return;
        }
        let seed = variable("S1_FORWARDER_FUZZ_SEED").unwrap_or(1);
        let current = Arc::new(Mutex::new((Instant::now(), Vec::new())));
        let watch = Watch::start(&self, current.clone());
        let mut count = 0_u64;
        let mut slowest = (Duration::ZERO, Vec::new());
        let started_at = Instant::now();
        let mut results = HashSet::new();
        let mut attempt = |target: &Self, input: &[u8]| -> bool {
            count += 1;
            let started = Instant::now();
            let before = processor_time();
            {
                let mut current = current.lock();
                current.0 = started;
                current.1.clear();
                current.1.extend_from_slice(input);
            }
            let result = catch_unwind(AssertUnwindSafe(|| check(input)));
            let took = processor_time().saturating_sub(before);
            if took > slowest.0 {
                slowest = (took, input.to_vec());
            }
            match result {
                Err(_) => panic!("{}: input {count} of seed {seed}: {}", target.name, target.keep(input).display()),
                Ok(_) if took > SLOW => panic!("{}: {took:?} for {}", target.name, target.keep(input).display()),
                Ok(result) => results.insert(result),
            }
        };
        for input in self.kept().iter().chain(&self.seeds.clone()) {
            attempt(&self, input);
        }
        let first = self.seeds.len();
        let bound = bound();
        let mut mutator = Mutator::new(seed, self.words, self.header);
        let mut made = 0_u64;
        loop {
            let goes_on = match bound {
                Bound::Inputs(inputs) => made < inputs,
                Bound::Time(time) => !made.is_multiple_of(64) || started_at.elapsed() < time,
                Bound::None => true,
            };
            if !goes_on {
                break;
            }
            made += 1;
            let input = mutator.input(&self.seeds);
            if attempt(&self, &input) {
                if self.seeds.len() >= first + MAX_KEPT {
                    let replaced = first + mutator.below(MAX_KEPT);
                    self.seeds.swap_remove(replaced);
                }
                self.seeds.push(input);
            }
        }
        drop(watch);
        println!(
            "fuzz {}: {count} inputs with seed {seed} in {:.0?}, {} kinds of results, slowest {:.1?} for {:.60}",
            self.name,
            started_at.elapsed(),
            results.len(),
            slowest.0,
            format!("{:?}", String::from_utf8_lossy(&slowest.1)),
        );
    }
}

/// Ends the process if an input never ends: a test cannot be stopped from outside.
struct Watch(Arc<Mutex<(Instant, Vec<u8>)>>, Arc<Mutex<bool>>);

impl Watch {
    fn start(target: &Target, current: Arc<Mutex<(Instant, Vec<u8>)>>) -> Self {
        let ended = Arc::new(Mutex::new(false));
        let watch = Self(current.clone(), ended.clone());
        let target = Target { name: target.name, seeds: Vec::new(), words: &[], header: 0 };
        std::thread::spawn(move || {
            while !*ended.lock() {
                std::thread::sleep(Duration::from_secs(1));
                let (since, input) = &*current.lock();
                if since.elapsed() > ENDLESS && !*ended.lock() {
                    eprintln!("{}: this never ends: {}", target.name, target.keep(input).display());
                    std::process::abort();
                }
            }
        });
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.1.lock() = true;
        drop(self.0.lock());
    }
}

/// A result without what differs from input to input: numbers and quoted texts.
fn outline(text: &str) -> String {
    let mut outline = String::new();
    for (index, part) in text.split(['`', '"']).enumerate() {
        if index % 2 == 0 {
            outline.extend(part.chars().filter(|letter| letter.is_ascii() && !letter.is_ascii_digit()).take(120));
        }
    }
    outline
}

/// What is shown of the words of others: short, and without control characters.
fn assert_shown(text: &str) {
    assert!(text.chars().count() <= 600, "{} characters: {text}", text.chars().count());
    assert!(!text.contains(char::is_control), "{text:?}");
}
