//! The account, site or group that a request was limited to.

use compact_str::CompactString;

/// The account, site or group that records were requested for, if the records do not name their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub level: Level,
    pub id: CompactString,
    /// Known only if the console was asked for it.
    pub name: Option<CompactString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Account,
    Site,
    Group,
}

impl Level {
    /// Returns the query parameter that narrows a request to ids of this level.
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Account => "accountIds",
            Self::Site => "siteIds",
            Self::Group => "groupIds",
        }
    }
}
