//! Checks whether the token sees the accounts, sites and groups that the settings name. A console answers a request for
//! an id that the token does not see like one for an id without records.

use std::sync::Arc;

use s1_forwarder_record::{Level, Scope};
use s1_forwarder_settings::Id;

use super::scope_list::visible_scopes;
use crate::console::{Client, ConsoleError, ConsoleSettings};

/// The ids of one level, compared with what the token sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenScope {
    /// The token sees all of them.
    All(Vec<Arc<Scope>>),
    /// The ids that the token does not see, and what to do.
    Lacks(String),
    /// The reason why that is not known.
    Unknown(String),
}

/// Returns the settings that name scopes, each with its key, level and ids.
pub fn named_scopes(settings: &ConsoleSettings) -> impl Iterator<Item = (&'static str, Level, &[Id])> {
    let all = [
        ("accounts", Level::Account, &*settings.accounts),
        ("sites", Level::Site, &*settings.sites),
        ("groups", Level::Group, &*settings.groups),
    ];
    all.into_iter().filter(|(.., ids)| !ids.is_empty())
}

/// Scopes of one level that a token sees.
#[derive(Debug, Clone)]
pub enum VisibleScopes {
    Scopes(Vec<Arc<Scope>>),
    /// See [`SeenScope::Unknown`].
    Unknown {
        reason: String,
        /// Whether the console may answer otherwise in a while.
        may_pass: bool,
    },
}

impl VisibleScopes {
    /// Asks the console which scopes of `level` the token sees, within the rate limit. `name` is the level's key in the
    /// settings.
    pub async fn of(client: &Client, name: &str, level: Level) -> Self {
        let unknown = |reason: String| Self::Unknown { reason, may_pass: false };
        match visible_scopes(client, level).await {
            Ok(Some(seen)) if seen.is_empty() && level == Level::Account => {
                unknown("the console lists no accounts for it".to_owned())
            }
            Ok(Some(seen)) => Self::Scopes(seen),
            Ok(None) => unknown("the console lists too many".to_owned()),
            Err(error @ ConsoleError::Forbidden(_)) => unknown(format!("its role may not list {name} ({error})")),
            Err(error) => Self::Unknown { reason: error.to_string(), may_pass: true },
        }
    }
}

impl SeenScope {
    /// Compares the ids with the scopes that the token sees. `name` is the ids' key in the settings.
    pub fn of(name: &str, ids: &[Id], visible: &VisibleScopes) -> Self {
        match visible {
            VisibleScopes::Scopes(seen) => Self::compare(name, ids, seen),
            VisibleScopes::Unknown { reason, .. } => Self::Unknown(reason.clone()),
        }
    }

    fn compare(name: &str, ids: &[Id], seen: &[Arc<Scope>]) -> Self {
        let find = |id: &Id| seen.iter().find(|scope| *scope.id == *id.as_str());
        let missing: Vec<&str> = ids.iter().filter(|id| find(id).is_none()).map(Id::as_str).collect();
        if missing.is_empty() {
            return Self::All(ids.iter().filter_map(find).cloned().collect());
        }
        Self::Lacks(format!(
            "the token does not see {}: correct `console.{name}`, or give the token's user access; the console sends nothing \
             of what the token does not see",
            missing.join(", ")
        ))
    }
}
