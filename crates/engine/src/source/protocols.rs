//! How consoles are asked for records: there are three ways.

mod alerts;
mod findings;
mod list;
mod protocol;

pub use self::alerts::Alerts;
pub use self::findings::FindingLists;
pub use self::list::List;
pub use self::protocol::Protocol;
