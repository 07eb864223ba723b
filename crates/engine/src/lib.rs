//! Pulls records from a console, transforms them, and delivers each of them: what one lane does.
//!
//! A record passes these modules, in this order:
//!
//! - [`console`] sends one request within the rate limit and says what the answer's status means.
//! - [`source`] asks for everything between the lane's *position* and the start of the poll, page by page. It skips the
//!   records that the position has seen. Records are slices of the answer.
//! - [`transform`] has the event of a record written once, into the buffer of the batch that will carry it.
//! - [`delivery`] has a [`sink`] make one attempt for a batch, and retries, splits and dead-letters by its outcome.
//!   [`sink`] is the interface of destinations, and [`dead_letters`] that of the stores of refused events.
//! - [`lane`] joins these stages with bounded channels, within one memory budget. Settled events move its position.
//! - [`checkpoint`] says how the position and the ledger are stored as the lane's checkpoint: by a store, or by a sink
//!   together with the events.
//!
//! Destinations and stores are crates of their own: this one knows their traits.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod checkpoint;
pub mod console;
pub mod dead_letters;
pub mod delivery;
pub mod lane;
pub mod program_threads;
pub mod sink;
pub mod source;
pub mod transform;
pub mod weak_cache;
