//! The scope of a token's user. It is what requests read where the pipeline names no ids: another customer's token
//! reads another customer's records.

use secrecy::SecretString;
use serde::Deserialize;

use super::{Client, ConsoleError, TokenVerdict};

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

impl Client {
    /// The scope of the user of the token in use; `None` if the console does not say.
    ///
    /// # Errors
    /// As [`Client::object`].
    pub async fn user_scope(&self) -> Result<Option<UserScope>, ConsoleError> {
        let answer = self.object("user").await?;
        Ok(self.read_user(&answer))
    }

    /// Requests that name no ids use no new token whose user has another scope from now on.
    pub fn keep_scope(&self, scope: UserScope) {
        *self.kept_scope.lock() = Some(scope);
    }

    /// The verdict about a token whose user has another scope than [`Self::keep_scope`] says. `None` if it has the
    /// same, if requests name ids, or if the console does not say.
    pub(super) async fn other_scope(&self, token: &SecretString) -> Option<TokenVerdict> {
        if !self.scope.is_empty() {
            return None;
        }
        let former = self.kept_scope.lock().clone()?;
        self.permit().await;
        let url = self.url_of("user", std::iter::empty());
        let answer = self.attempt(token, &self.call(&url), None).await.ok()?;
        let new = self.read_user(&answer).filter(|new| new.ids != former.ids)?;
        Some(TokenVerdict::OtherScope { new: new.text, former: former.text })
    }

    fn read_user(&self, answer: &[u8]) -> Option<UserScope> {
        let User { scope, scope_roles } = serde_json::from_slice::<Envelope>(answer).ok()?.data?;
        let level = scope?;
        let mut roles: Vec<(String, Option<String>)> =
            scope_roles.into_iter().filter_map(|role| Some((role.id?, role.name))).collect();
        roles.sort_unstable();
        let ids = roles.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ");
        let names = roles.iter().map(|(id, name)| match name {
            Some(name) => format!("{id} ({name})"),
            None => id.clone(),
        });
        let text = names.collect::<Vec<_>>().join(", ");
        let shown = |list: &str| self.redactor().scrub(format!("{level} {list}").trim_end());
        Some(UserScope { ids: shown(&ids), text: shown(&text) })
    }
}
