//! Lanes over the emulated console and in-memory sinks, under paused time: what they deliver, and when.

#![allow(clippy::unwrap_used)]

#[path = "lanes/commits.rs"]
mod commits;
#[path = "lanes/enrichment.rs"]
mod enrichment;
#[path = "lanes/isolation.rs"]
mod isolation;
#[path = "lanes/oversized.rs"]
mod oversized;
#[path = "lanes/pages.rs"]
mod pages;
#[path = "lanes/polling.rs"]
mod polling;
#[path = "lanes/questions.rs"]
mod questions;
#[path = "lanes/script.rs"]
mod script;
#[path = "lanes/sinks.rs"]
mod sinks;
#[path = "lanes/streams.rs"]
mod streams;
#[path = "lanes/windows.rs"]
mod windows;
#[path = "lanes/world.rs"]
mod world;
