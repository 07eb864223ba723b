//! Which path answers what.

use http::header::{AUTHORIZATION, DATE, HeaderName, SERVER, VARY};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::console::State;
use super::faults::Mishap;
use super::http::{Answer, Request};
use super::kind::Kind;
use super::query::Query;
use super::time;
use super::token::{self, Scope, Token};

/// What the activity types mean, from the console's own list.
const ACTIVITY_TYPES: &str = include_str!("activity_types.csv");

impl State {
    /// Answers a request; live records have appeared already.
    pub fn answer(&mut self, request: &Request, now: i64) -> Answer {
        let mut struck = Vec::new();
        let mut answer = self.route(request, now, &mut struck);
        let off = struck.iter().find_map(|mishap| match mishap {
            Mishap::WrongDate(seconds) => Some(*seconds),
            _ => None,
        });
        let date = now.saturating_add(off.unwrap_or(0).saturating_mul(time::SECOND));
        answer = answer
            .with(DATE, &time::print_http(date))
            .with(SERVER, "nginx")
            .with(VARY, "origin")
            .with(HeaderName::from_static("x-rqid"), &self.random.uuid());
        if !self.quirks.gzip {
            answer.travel.never_compressed = true;
        }
        answer
    }

    fn route(&mut self, request: &Request, now: i64, struck: &mut Vec<Mishap>) -> Answer {
        let Some(path) = request.path.strip_prefix(super::BASE) else { return not_here() };
        let path = path.trim_end_matches('/');
        if path == "/system/status" {
            return Answer::object(json!({ "health": "ok" }));
        }
        // It needs no permission, and answers for expired tokens too: that is how they are told from revoked ones.
        if path == "/users/api-token-details" && request.method == Method::POST {
            return self.token_details(&request.body);
        }
        let token = match self.token(request, now) {
            Some(token) => token,
            None => return Answer::unauthorized(),
        };
        if !self.trouble.within_rate(&token.secret, now) {
            return Answer::html(StatusCode::TOO_MANY_REQUESTS);
        }
        if path == Kind::UnifiedAlerts.path() && request.method == Method::POST {
            return self.unified_alerts(request, &token, now, struck);
        }
        if request.method != Method::GET || path == Kind::UnifiedAlerts.path() {
            return Answer::not_found();
        }
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.path() == path) {
            return self.list(kind, request, &token, now, struck);
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            ["system", "info"] => Answer::object(json!({
                "version": "S-24.1.5", "build": "277", "patch": "1", "release": "24.1", "latestAgentVersion": "24.1.5.277",
            })),
            ["user"] => self.user(&token),
            ["users", user, "api-token-details"] => self.token_details_of(user, &token),
            ["activities", "types"] => self.permitted(Kind::Activities, &token).unwrap_or_else(activity_types),
            ["agents", "count"] => self.permitted(Kind::Agents, &token).unwrap_or_else(|| {
                match Query::read(Kind::Agents, &request.query, &self.quirks) {
                    Ok(query) => Answer::object(json!({ "total": self.counted(Kind::Agents, &query, &token) })),
                    Err(refused) => *refused,
                }
            }),
            ["threats", threat, "timeline"] => self.of_threat(threat, request, &token, true),
            ["threats", threat, "notes"] => self.of_threat(threat, request, &token, false),
            ["sites" | "accounts" | "groups", id] => self.one(parts[0], id, &token),
            _ => not_here(),
        }
    }

    /// The token of a request, when it is good: missing, malformed, unknown, revoked and expired ones look alike.
    fn token(&self, request: &Request, now: i64) -> Option<Token> {
        let takes_bearer = request.path.ends_with(Kind::UnifiedAlerts.path());
        let secret = request.header(AUTHORIZATION).and_then(|header| token::secret_of(header, takes_bearer))?;
        let token = self.tokens.iter().find(|token| token.secret == secret)?;
        (!token.revoked && now < token.expires).then(|| token.clone())
    }

    /// None when the token may read this kind of record here.
    pub(super) fn permitted(&self, kind: Kind, token: &Token) -> Option<Answer> {
        let faults = &self.trouble.faults;
        if faults.missing.contains(&kind) {
            return Some(Answer::not_found());
        }
        let no_accounts = kind == Kind::Accounts && matches!(token.scope, Scope::Sites(_));
        let refused = faults.forbidden.contains(&kind) || token.forbidden.contains(&kind) || no_accounts;
        refused.then(|| Answer::forbidden(Some("User does not have required permissions.")))
    }

    fn one(&self, list: &str, id: &str, token: &Token) -> Answer {
        let kind = match list {
            "sites" => Kind::Sites,
            "accounts" => Kind::Accounts,
            _ => Kind::Groups,
        };
        if let Some(refused) = self.permitted(kind, token) {
            return refused;
        }
        let row = id.parse().ok().and_then(|id| self.table(kind).find(id));
        match row.filter(|row| token.scope.covers(kind, row.account, row.site)) {
            Some(row) => Answer::object(serde_json::from_slice(&row.body).unwrap_or_default()),
            None => Answer::not_found(),
        }
    }
}

fn not_here() -> Answer {
    Answer::of(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n")
}

fn activity_types() -> Answer {
    let types: Vec<Value> = ACTIVITY_TYPES
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(','))
        .filter_map(|(id, action)| {
            let action = action.trim_matches('"');
            let id: u32 = id.parse().ok()?;
            Some(json!({ "id": id, "action": action, "descriptionTemplate": format!("{action}: {{{{ username }}}}") }))
        })
        .collect();
    Answer::object(Value::from(types))
}
