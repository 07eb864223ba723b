//! The data that the console returns: streams, times, identities, and typed, borrowed records.
//!
//! A record is the console's own JSON object. It is never parsed into a tree of owned values: other crates read it
//! through the borrowed views of this one. [`visible`] says how words of others are shown, and [`LaneId`] names a lane.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod activity;
pub mod agent;
pub mod alert;
pub mod block;
mod clock;
mod connection;
mod content;
mod cursor;
mod facts;
pub mod group;
mod hostname;
mod identity;
mod json;
mod lane_id;
mod name;
mod page;
mod repair;
mod scan;
mod scope;
mod split;
mod stream;
pub mod threat;
mod time;
pub mod unified_alert;
mod value;
pub mod visible;
pub mod vulnerability;
pub mod workload;

pub use clock::Clock;
pub use connection::{Connection, parse_connection};
pub use content::stable_fields_hash;
pub use cursor::Cursor;
pub use facts::{Facts, facts, for_each_entry, member, one_line};
pub use hostname::hostname;
pub use identity::{Identity, IdentityError};
pub use json::{JsonError, MAX_DEPTH, MAX_EVENT_DEPTH, Reader};
pub use lane_id::{LaneId, LaneIdError};
pub use name::{NameError, check_name};
pub use page::{Page, PageError, parse_page};
pub use repair::{read_object, repair};
pub use scan::{quotes_and_backslashes, string_end, string_stop, value_end};
pub use scope::{Level, Scope};
pub use split::{RawRecord, RecordSplitter, SplitError, SplitProblem};
pub use stream::{Accounting, Description, Fact, Frame, Frequency, Key, Owner, Path, SeverityKeys, Stream, Version};
pub use time::{Timestamp, TimestampError};
pub use value::{Elements, Entries, Escaped, Kind, Value};
