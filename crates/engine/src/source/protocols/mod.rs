//! The three ways to ask consoles for records.

mod findings;
mod list;
mod protocol;
mod unified_alerts;

pub use self::findings::FindingLists;
pub use self::list::List;
pub use self::protocol::Protocol;
pub use self::unified_alerts::UnifiedAlertList;
