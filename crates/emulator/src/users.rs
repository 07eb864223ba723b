//! Users and their tokens.

use bytes::Bytes;
use serde_json::{Value, json};

use super::console::State;
use super::http::Answer;
use super::kind::Kind;
use super::time;
use super::token::{Scope, Token};

impl State {
    pub(super) fn token_details(&self, body: &Bytes) -> Answer {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(secret) = request["data"]["apiToken"].as_str() else {
            return Answer::invalid("data: apiToken: Missing data for required field.");
        };
        match self.tokens.iter().find(|token| token.secret == secret && !token.revoked) {
            Some(token) => Answer::object(details(token)),
            None if self.quirks.unknown_token_is_400 => Answer::invalid("apiToken: Invalid token."),
            None => Answer::unauthorized(),
        }
    }

    pub(super) fn token_details_of(&self, user: &str, token: &Token) -> Answer {
        match user.parse::<u64>() {
            Ok(user) if user == token.user => Answer::object(details(token)),
            Ok(user) if self.table(Kind::Users).find(user).is_some() => Answer::forbidden(None),
            _ => Answer::not_found(),
        }
    }

    pub(super) fn user(&self, token: &Token) -> Answer {
        let mut user: Value = self
            .table(Kind::Users)
            .find(token.user)
            .and_then(|row| serde_json::from_slice(&row.body).ok())
            .unwrap_or_else(|| json!({ "id": token.user.to_string() }));
        let name_of = |kind: Kind, id: u64| {
            let row = self.table(kind).find(id);
            row.and_then(|row| serde_json::from_slice::<Value>(&row.body).ok()).map(|record| record["name"].clone())
        };
        let role = |kind: Kind, id: &u64| {
            json!({ "id": id.to_string(), "name": name_of(kind, *id), "roleId": "225494730938495555", "roleName": "Viewer",
                "roles": ["Viewer"] })
        };
        user["scope"] = json!(token.scope.level());
        user["scopeRoles"] = match &token.scope {
            Scope::Global => json!([]),
            Scope::Accounts(accounts) => accounts.iter().map(|id| role(Kind::Accounts, id)).collect(),
            Scope::Sites(sites) => sites.iter().map(|id| role(Kind::Sites, id)).collect(),
        };
        user["apiToken"] = details(token);
        Answer::object(user)
    }
}

fn details(token: &Token) -> Value {
    // The token of a service user "without expiry" has an expiry date in the far future.
    let expires = token.expires.min(time::parse("2999-12-31T00:00:00Z").unwrap_or(i64::MAX));
    json!({ "createdAt": time::print(token.created), "expiresAt": time::print(expires) })
}
