//! The level of the console that an activity is about.

use s1_forwarder_record::Value;

use crate::common::words::Words;

/// An activity of an account has no site, and an activity of a site has no group: such names in `data` belong to
/// another object. Names outside `data` belong to the subject of the activity.
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
    /// Reads `scopeLevel`. For an unknown level, every name counts.
    pub fn of(level: Value<'_>) -> Self {
        SCOPE_LEVELS.of(level).unwrap_or(Self::Group)
    }

    /// Returns the name of a site in `data`, if the activity can be about a site.
    pub fn site(self, name: Value<'_>) -> Value<'_> {
        if self == Self::Account { Value::default() } else { name }
    }

    /// Returns the name of a group in `data`, if the activity can be about a group.
    pub fn group(self, name: Value<'_>) -> Value<'_> {
        if self == Self::Group { name } else { Value::default() }
    }
}
