use compact_str::CompactString;

/// The account, site or group that records were asked for by, where they do not tell themselves whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// What it is.
    pub level: Level,
    /// The console's id of it.
    pub id: CompactString,
    /// Its name, where the console was asked for it.
    pub name: Option<CompactString>,
}

/// What a scope is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// An account.
    Account,
    /// A site.
    Site,
    /// A group of endpoints.
    Group,
}

impl Level {
    /// The name of the parameter that narrows a request to it.
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Account => "accountIds",
            Self::Site => "siteIds",
            Self::Group => "groupIds",
        }
    }
}
