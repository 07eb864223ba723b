//! The emulated console keeps to the contract of the SentinelOne API, over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test may end in a panic")]

mod client;

mod access;
mod faults;
mod filters;
mod paging;
mod records;
mod risks;
mod time;
mod unified;
