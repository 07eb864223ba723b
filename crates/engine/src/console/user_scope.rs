//! The scope of a token's user. Requests of a pipeline that names no ids read this scope: another customer's token
//! reads another customer's records.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::SecretRedactor;

#[derive(Deserialize)]
struct Envelope {
    data: Option<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    scope: Option<String>,
    #[serde(default)]
    scope_roles: Vec<Role>,
}

#[derive(Deserialize)]
struct Role {
    id: Option<String>,
    name: Option<String>,
}

/// Scope whose records a token reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserScope {
    /// Level and ids, such as `account 225494730938493804`.
    pub ids: String,
    /// Level, ids and the names that the console gives, for people.
    pub text: String,
}

impl UserScope {
    /// Returns a scope of which only [`Self::ids`] is known.
    pub fn of_ids(ids: &str) -> Self {
        Self { ids: ids.to_owned(), text: ids.to_owned() }
    }

    /// Returns whether the user sees everything that a user with these ids sees: the same level, and each id.
    pub fn has_all(&self, ids: &str) -> bool {
        let ((level, own), (other_level, others)) = (level_and_ids(&self.ids), level_and_ids(ids));
        level == other_level && own.is_superset(&others)
    }

    /// Returns whether the user sees something that a user with these ids sees: the same level, and at least one id.
    pub fn shares(&self, ids: &str) -> bool {
        let ((level, own), (other_level, others)) = (level_and_ids(&self.ids), level_and_ids(ids));
        level == other_level && !own.is_disjoint(&others)
    }

    /// Returns the scope in the answer about a user; `None` if the console does not report it.
    pub(super) fn read(answer: &[u8], redactor: &SecretRedactor) -> Option<Self> {
        let User { scope, scope_roles } = serde_json::from_slice::<Envelope>(answer).ok()?.data?;
        let level = scope?;
        let mut roles: Vec<(String, Option<String>)> =
            scope_roles.into_iter().filter_map(|role| Some((role.id?, role.name))).collect();
        roles.sort_unstable();
        let ids = roles.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ");
        let named = roles.iter().map(|(id, name)| match name {
            Some(name) => format!("{id} ({name})"),
            None => id.clone(),
        });
        let text = named.collect::<Vec<_>>().join(", ");
        let shown = |list: &str| redactor.scrub(format!("{level} {list}").trim_end());
        Some(Self { ids: shown(&ids), text: shown(&text) })
    }
}

/// Splits [`UserScope::ids`] into level and ids. A level without ids has one empty id.
fn level_and_ids(text: &str) -> (&str, BTreeSet<&str>) {
    let (level, ids) = text.split_once(' ').unwrap_or((text, ""));
    (level, ids.split(", ").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_share_what_both_name_of_one_level() {
        for (ids, other, shares, has_all) in [
            ("account 1", "account 1", true, true),
            ("account 1, 2", "account 2, 3", true, false),
            ("account 1, 2, 3", "account 2, 3", true, true),
            ("account 1", "account 12", false, false),
            ("account 1", "site 1", false, false),
            ("tenant", "tenant", true, true),
            ("tenant", "account 1", false, false),
        ] {
            let scope = UserScope::of_ids(ids);
            assert_eq!((scope.shares(other), scope.has_all(other)), (shares, has_all), "{ids}, {other}");
        }
    }
}
