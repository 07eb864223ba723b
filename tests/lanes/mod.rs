//! Lanes over the emulated console and in-memory sinks, under paused time: what they deliver, and when.

mod clocks;
mod commits;
mod contract;
mod counting_store;
mod damage;
mod dead_letters;
mod enrichment;
mod findings;
pub mod harness;
mod hour;
mod isolation;
mod layouts;
mod oversized;
mod pages;
mod polling;
#[cfg(feature = "remap")]
mod programs;
mod questions;
mod remembered;
mod requests;
mod script;
mod sinks;
mod streams;
mod tail;
mod windows;
