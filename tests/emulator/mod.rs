//! The emulated console keeps to the contract of the SentinelOne API, over real HTTP.

mod client;

mod access;
mod faults;
mod filters;
mod paging;
mod records;
mod risks;
mod time;
mod unified;
