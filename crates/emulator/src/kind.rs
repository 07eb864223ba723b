//! The kinds of records, and the rules of the console's API for each.

use std::borrow::Cow;

use serde_json::Value;

pub use super::generate::Kind;
use super::generate::{Generator, NewRecord};
use super::setup::Setup;

/// Declares the kinds: a variant and its description.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident: $description:path,)+) => {
        /// A kind of record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Kind {
            pub const ALL: [Self; [$(stringify!($variant)),+].len()] = [$(Self::$variant),+];

            /// Returns the API's rules for this kind.
            pub(super) const fn description(self) -> &'static $crate::kind::Description {
                match self {
                    $(Self::$variant => &$description,)+
                }
            }
        }
    };
}

pub(super) use kinds;

/// The API's rules for a kind of records.
#[derive(Debug)]
pub struct Description {
    /// The path below `/web/api/v2.1`.
    pub path: &'static str,
    /// The largest `limit`.
    pub max_limit: usize,
    /// The table's name in cursors.
    pub table: &'static str,
    /// Values of `sortBy` next to `id`.
    pub sorts: &'static [(&'static str, Column)],
    /// Keys of the record that are values of `sortBy`.
    pub sort_keys: &'static [&'static str],
    /// Objects of the record whose keys are values of `sortBy`: `ruleInfoSeverity` is `ruleInfo.severity`.
    pub sort_objects: &'static [&'static str],
    /// Filters by time: `createdAt` of `createdAt__gte`.
    pub times: &'static [(&'static str, Column)],
    /// Whether filters by time have the operator `between`.
    pub has_between: bool,
    /// The other filters, in addition to filters by scope.
    pub filters: &'static [(&'static str, Filter)],
    pub places: Places,
    /// Number of records in the history, for a kind that only some consoles have. If the number is above 0, live
    /// records of this kind follow the history. None: every console has the kind.
    pub licensed: Option<fn(&Setup) -> usize>,
    /// Makes a record created at `at`, in its state at `now`. None: the console makes a record similar to an existing
    /// one.
    pub generate: Option<fn(&mut Generator, at: i64, now: i64) -> NewRecord>,
    /// Changes a record at this time in a random, realistic way. None: records do not change.
    pub change: Option<fn(&mut Generator, &mut Value, at: i64)>,
    /// Makes a record of at least `bytes` bytes. None: this kind has no large records.
    pub oversized: Option<fn(&mut Generator, at: i64, bytes: usize) -> NewRecord>,
    pub special: Special,
}

/// Returns the body of a record created at `created`, as the console shows it at `now`.
pub type Shown = fn(body: &[u8], created: i64, now: i64) -> Vec<u8>;

/// Rules of the API for only a few kinds.
#[derive(Debug)]
pub struct Special {
    /// The text of `data` before and after the records.
    pub around: (&'static str, &'static str),
    /// Whether records are listed by the licences of their sites, and a request names one scope at most.
    pub by_scope: bool,
    /// Whether records belong to the tenant: no scope leaves one out.
    pub of_tenant: bool,
    /// Whether a token of sites cannot list them.
    pub above_sites: bool,
    /// Changes the body of a record before it is shown. None: the console shows the stored body.
    pub shown: Option<Shown>,
    /// Makes a copy of a record differ from the original. None: only the id and the times differ.
    pub renew: Option<fn(&mut Generator, &mut Value)>,
}

impl Special {
    pub const NOTHING: Self =
        Self { around: ("[", "]"), by_scope: false, of_tenant: false, above_sites: false, shown: None, renew: None };
}

/// The dotted paths of a record's columns.
#[derive(Debug)]
pub struct Places {
    /// The id is a number as text, or a UUID.
    pub id: &'static str,
    pub created: &'static str,
    /// None: the console has this time, but does not show it.
    pub updated: Option<&'static str>,
    /// Whether times are in milliseconds instead of microseconds.
    pub in_millis: bool,
    /// Whether a record that never changed has no time of its change.
    pub undated: bool,
    pub account: &'static str,
    pub site: &'static str,
    pub group: &'static str,
    pub agent: &'static str,
    pub threat: &'static str,
}

impl Places {
    /// The places in most kinds.
    pub const USUAL: Self = Self {
        id: "id",
        created: "createdAt",
        updated: Some("updatedAt"),
        in_millis: false,
        undated: false,
        account: "accountId",
        site: "siteId",
        group: "groupId",
        agent: "agentId",
        threat: "threatId",
    };
}

/// An id of a record to which filters compare their lists of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdColumn {
    Record,
    Account,
    Site,
    Group,
    Agent,
    Threat,
}

/// The value that a list is sorted by or that a time filter compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Created,
    Updated,
    /// A time at this path.
    Time(Cow<'static, str>),
    /// Another value at this path, compared as text.
    Text(Cow<'static, str>),
}

/// The effect of a filter parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// A list of ids.
    Ids(IdColumn),
    /// A list of activity types.
    Types,
    /// The value at this path is one of a list of texts, ignoring case.
    AnyOf(&'static str),
    /// The value at this path is none of a list of texts, ignoring case.
    NoneOf(&'static str),
    /// The text at this path contains the value.
    Like(&'static str),
    /// The value at this path is a given boolean.
    Is(&'static str),
    /// A list of booleans for `isDecommissioned`.
    Decommissioned,
    /// Also returns hidden activities.
    IncludeHidden,
    /// Also returns removed findings.
    IncludeRemovals,
    /// Requests the whole tenant, which needs global scope.
    Tenant,
    /// The answer has all records.
    Unpaged,
    /// Accepted, but not implemented.
    Ignored,
}

impl Column {
    pub const fn time(path: &'static str) -> Self {
        Self::Time(Cow::Borrowed(path))
    }

    pub const fn text(path: &'static str) -> Self {
        Self::Text(Cow::Borrowed(path))
    }
}

impl Kind {
    /// Returns the path below `/web/api/v2.1`.
    pub const fn path(self) -> &'static str {
        self.description().path
    }

    /// Returns the largest `limit`.
    pub const fn max_limit(self) -> usize {
        self.description().max_limit
    }

    /// Returns the table's name in cursors.
    pub const fn table(self) -> &'static str {
        self.description().table
    }

    /// Returns the resolution of this kind's timestamps in microseconds.
    pub(super) const fn time_resolution(self) -> i64 {
        if self.description().places.in_millis { 1_000 } else { 1 }
    }

    /// Returns the column of a value of `sortBy`; `None` if the console does not accept it.
    pub(super) fn sort_column(self, name: &str) -> Option<Column> {
        let description = self.description();
        if name == "id" {
            return Some(Column::Id);
        }
        let own = find(description.sorts, name);
        let key = || description.sort_keys.iter().find(|key| **key == name).map(|key| Column::text(key));
        own.or_else(key).or_else(|| sort_of_object(description.sort_objects, name))
    }

    /// Returns the column of a time filter; `createdAt__gte` has the name `createdAt` and the operator `gte`.
    pub(super) fn time_column(self, name: &str, operator: &str) -> Option<Column> {
        let is_accepted = match operator {
            "gt" | "gte" | "lt" | "lte" => true,
            "between" => self.description().has_between,
            _ => false,
        };
        if is_accepted { find(self.description().times, name) } else { None }
    }

    /// Returns the effect of a filter parameter; `None` if the endpoint does not have it.
    pub(super) fn filter(self, name: &str) -> Option<Filter> {
        find(self.description().filters, name).or_else(|| find(SCOPE_FILTERS, name))
    }
}

/// Returns the value at a dotted path.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

fn find<T: Clone>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, entry)| entry.clone())
}

/// Returns the column of a `sortBy` value that joins an object and one of its keys.
fn sort_of_object(objects: &[&str], name: &str) -> Option<Column> {
    let object = objects.iter().find(|object| name.starts_with(**object))?;
    let key = name.strip_prefix(*object)?;
    let first = key.chars().next()?;
    Some(Column::Text(format!("{object}.{}{}", first.to_ascii_lowercase(), key.get(1..)?).into()))
}

const SCOPE_FILTERS: &[(&str, Filter)] = &[
    ("accountIds", Filter::Ids(IdColumn::Account)),
    ("siteIds", Filter::Ids(IdColumn::Site)),
    ("groupIds", Filter::Ids(IdColumn::Group)),
];

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// One file lists the parameters that a console accepts, so that a removed one shows. `UPDATE_GOLDEN=1` writes it.
    #[test]
    fn the_console_takes_what_the_file_says() {
        let mut text = String::new();
        for kind in Kind::ALL {
            let Description { path, max_limit, table, sorts, sort_keys, sort_objects, times, has_between, .. } =
                kind.description();
            let Description { filters, places, licensed, generate, change, oversized, special, .. } =
                kind.description();
            writeln!(text, "=== {kind:?}: {path}, limit {max_limit}, table {table}").unwrap();
            writeln!(text, "sorts {sorts:?} {sort_keys:?} {sort_objects:?}").unwrap();
            writeln!(text, "times {times:?}, between {has_between}").unwrap();
            for (name, filter) in *filters {
                writeln!(text, "filter {name} {filter:?}").unwrap();
            }
            writeln!(text, "{places:?}").unwrap();
            let functions = [licensed.is_some(), generate.is_some(), change.is_some(), oversized.is_some()];
            writeln!(text, "licensed, generate, change, oversized: {functions:?}").unwrap();
            let Special { around, by_scope, of_tenant, above_sites, shown, renew } = special;
            let functions = [shown.is_some(), renew.is_some()];
            writeln!(text, "around {around:?}, by_scope {by_scope}, of_tenant {of_tenant}, above_sites {above_sites}")
                .unwrap();
            writeln!(text, "shown, renew: {functions:?}").unwrap();
        }
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kinds.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&file).unwrap() == text,
            "kinds.txt differs: run with UPDATE_GOLDEN=1, and look"
        );
    }
}
