//! The scope of a token's user. It is what requests read where the pipeline names no ids: another customer's token
//! reads another customer's records.

use serde::Deserialize;

use super::Redactor;

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

/// Whose records a token reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserScope {
    /// Level and ids, such as `account 225494730938493804`.
    pub ids: String,
    /// Level, ids and the names that the console gives, for people.
    pub text: String,
}

impl UserScope {
    /// The scope in the answer about a user; `None` if the console does not say.
    pub(super) fn read(answer: &[u8], redactor: &Redactor) -> Option<Self> {
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
