//! Pipeline files: what is read, what is refused and in which words, and what a change of files means for what runs.

#![allow(clippy::unwrap_used, reason = "a test may end in a panic")]

#[path = "files/golden.rs"]
mod golden;
#[path = "files/reading.rs"]
mod reading;
#[path = "files/reload.rs"]
mod reload;
#[path = "files/secrets.rs"]
mod secrets;
