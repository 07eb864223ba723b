//! What the console returns: streams, times, identities, and typed, borrowed records.
//!
//! A record is the console's own JSON object. It is never turned into a tree of owned values: the rooms above read it
//! through the borrowed views of this room.

mod clock;
mod facts;
mod identity;
mod json;
mod page;
mod stream;
mod time;
mod value;

pub use clock::Clock;
pub use facts::{Facts, compact, facts};
pub use identity::Identity;
pub use json::{JsonError, MAX_DEPTH, Reader};
pub use page::{ApiError, Page, PageError, parse_page};
pub use stream::Stream;
pub use time::{Timestamp, TimestampError};
pub use value::{Elements, Entries, Kind, Value};
