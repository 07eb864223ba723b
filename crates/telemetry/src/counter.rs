//! A count that any task may raise.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count of one lane, or of a command. It only grows, and orders no other memory accesses.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
