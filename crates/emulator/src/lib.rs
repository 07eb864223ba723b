//! An emulated SentinelOne management console, for `emulate`, `demo`, tests, benches and the simulation.
//!
//! It is written from the published API documentation and shares no code with the client
//! (`crates/engine/src/console/`), so that the two do not misunderstand the API in the same way. It has three layers:
//!
//! - [`Console`] answers a [`Request`] with an [`Answer`] at a given time. It has no sockets and no clock, and its seed
//!   decides everything random. The simulation calls it directly.
//! - [`Server`] serves it on a socket. It transmits each answer as described by its [`Transmission`]: slowly, in part,
//!   or not at all.
//! - Tests add and change records ([`Console::insert`], [`Console::update`], [`Setup`]) and set faults ([`Faults`],
//!   [`Quirks`]). They compare the output of a forwarder with [`Console::visible_versions`].
//!
//! ```
//! use s1_forwarder_emulator::{Console, Request, Setup};
//!
//! let now = 1_767_225_600_000_000;
//! let console = Console::new(&Setup { activities: 25, ..Setup::new(now) });
//! let answer = console.answer(&Request::get("/activities?limit=10&sortBy=createdAt", Setup::TOKEN), now);
//! assert_eq!(answer.status, 200);
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod console;
mod cursor;
mod endpoints;
mod faults;
mod generate;
mod http;
mod kind;
mod list;
mod live;
mod page;
mod query;
mod quirks;
mod random;
mod risks;
#[cfg(feature = "server")]
mod server;
mod setup;
mod store;
mod time;
mod timeline;
mod token;
mod unified;
mod users;

pub use console::{Console, LoggedRequest};
pub use faults::{Fault, FaultRule, Faults, RetryAfter, UnknownPreset};
pub use http::{Answer, BASE, Request, Transmission};
pub use kind::Kind;
pub use quirks::{Counts, LastPage, OutOfScope, Quirks, UnknownParameters};
#[cfg(feature = "server")]
pub use server::Server;
pub use setup::Setup;
pub use store::{RecordError, RecordVersion};
pub use time::{print as print_time, system_clock};
pub use token::{FIRST_USER, Scope, Token};
