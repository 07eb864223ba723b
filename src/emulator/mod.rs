//! A SentinelOne management console that runs anywhere: for `emulate`, `demo`, tests, benches and the simulation.
//!
//! It is written from the console's published contract and shares no code with the client in `console/`, so that one
//! misreading of the API cannot hide in both. Three layers:
//!
//! - [`Console`] answers a [`Request`] with an [`Answer`] at a given moment: no sockets, no clock of its own, everything
//!   decided by its seed. Simulations call it directly.
//! - [`Server`] puts it behind a real socket and carries out how an answer travels: slowly, in part, or not at all.
//! - Around it: records are put in ([`Console::insert`], [`Console::update`], [`Setup`]), faults are switched
//!   ([`Faults`], [`Quirks`]), and the truth is asked for ([`Console::truth`]) to compare a forwarder's output with.
//!
//! ```
//! use s1_forwarder::emulator::{Console, Request, Setup};
//!
//! let now = 1_767_225_600_000_000;
//! let console = Console::new(&Setup { activities: 25, ..Setup::new(now) });
//! let answer = console.answer(&Request::get("/activities?limit=10&sortBy=createdAt", Setup::TOKEN), now);
//! assert_eq!(answer.status, 200);
//! ```

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
mod server;
mod setup;
mod store;
mod time;
mod timeline;
mod token;
mod truth;
mod unified;
mod users;

pub use console::Console;
pub use faults::{Fault, Faults, Mishap, RetryAfter, UnknownPreset};
pub use generate::FIRST_USER;
pub use http::{Answer, Request, Travel};
pub use kind::Kind;
pub use quirks::{LastPage, OutOfScope, Quirks, UnknownParameters};
pub use server::Server;
pub use setup::Setup;
pub use store::RecordError;
pub use time::{print as print_time, system_clock};
pub use token::{Scope, Token};
pub use truth::{Seen, Version};

/// The path of the API version that is served.
pub const BASE: &str = "/web/api/v2.1";
