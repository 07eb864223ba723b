//! The tests that need nothing but the program itself: `cargo test --test it`. Each module says what it holds;
//! `tests/README.md` says where a new test goes.

#![recursion_limit = "512"]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end in a panic")]

mod support;

mod cli;
mod emulator;
mod files;
mod growth;
mod lanes;
mod ocsf;
mod regressions;
mod repository;
mod sinks;
mod transform;
mod worker;
