//! What the console returns: streams, times, identities, and typed, borrowed records.
//!
//! A record is the console's own JSON object. It is never turned into a tree of owned values: the rooms above read it
//! through the borrowed views of this room.

mod clock;
mod identity;
mod stream;
mod time;

pub use clock::Clock;
pub use identity::Identity;
pub use stream::Stream;
pub use time::{Timestamp, TimestampError};
