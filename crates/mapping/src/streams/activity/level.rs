//! The level of the console that an activity is about.

use s1_forwarder_record::Value;

use crate::common::word::Word;

/// An activity of an account is about no site, one of a site about no group: names of these in `data` are of something
/// else. Names outside of `data` are of what the activity is about.
#[derive(Debug, Clone, Copy)]
pub struct ScopeLevel {
    has_site: bool,
    has_group: bool,
}

impl ScopeLevel {
    /// Reads `scopeLevel`.
    pub fn of(level: Value<'_>) -> Self {
        let level = Word::of_value(level);
        let has_site = !matches!(level.as_str(), "global" | "tenant" | "account");
        Self { has_site, has_group: has_site && level.as_str() != "site" }
    }

    /// The name of a site in `data`, if the activity can be about one.
    pub fn site(self, name: Value<'_>) -> Value<'_> {
        if self.has_site { name } else { Value::default() }
    }

    /// As [`Self::site`], for a group.
    pub fn group(self, name: Value<'_>) -> Value<'_> {
        if self.has_group { name } else { Value::default() }
    }
}
