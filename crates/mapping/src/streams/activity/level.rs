//! The level of the console that an activity is about.

use s1_forwarder_record::Value;

use crate::common::words::Words;

/// An activity of an account is about no site, one of a site about no group: names of these in `data` are of something
/// else. Names outside of `data` are of what the activity is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeLevel {
    /// Accounts, and the level above them.
    Account,
    Site,
    Group,
}

pub const SCOPE_LEVELS: Words<ScopeLevel> = Words {
    field: "group.name",
    rows: &[
        ("global", ScopeLevel::Account),
        ("tenant", ScopeLevel::Account),
        ("account", ScopeLevel::Account),
        ("site", ScopeLevel::Site),
        ("group", ScopeLevel::Group),
    ],
};

impl ScopeLevel {
    /// Reads `scopeLevel`. Of an unknown level, every name counts.
    pub fn of(level: Value<'_>) -> Self {
        SCOPE_LEVELS.of(level).unwrap_or(Self::Group)
    }

    /// Returns the name of a site in `data`, if the activity can be about one.
    pub fn site(self, name: Value<'_>) -> Value<'_> {
        if self == Self::Account { Value::default() } else { name }
    }

    /// Returns the name of a group in `data`, if the activity can be about one.
    pub fn group(self, name: Value<'_>) -> Value<'_> {
        if self == Self::Group { name } else { Value::default() }
    }
}
