//! Routes requests by path.

use http::header::{AUTHORIZATION, DATE, HeaderName, SERVER, VARY};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::console::State;
use super::faults::Fault;
use super::http::{Answer, BASE, Request};
use super::kind::Kind;
use super::query::Query;
use super::time;
use super::token::{self, Scope, Token};
use super::unified;

/// The console's list of activity types.
const ACTIVITY_TYPES: &str = include_str!("activity_types.csv");

impl State {
    /// Answers a request. The caller has created the live records.
    pub fn answer(&mut self, request: &Request, now: i64) -> Answer {
        let mut injected = Vec::new();
        let mut answer = self.route(request, now, &mut injected);
        let offset = injected.iter().find_map(|fault| match fault {
            Fault::WrongDate(seconds) => Some(*seconds),
            _ => None,
        });
        let date = now.saturating_add(offset.unwrap_or(0).saturating_mul(time::SECOND));
        answer = answer
            .with(DATE, &time::print_http(date))
            .with(SERVER, "nginx")
            .with(VARY, "origin")
            .with(HeaderName::from_static("x-rqid"), &self.random.uuid());
        if !self.quirks.gzip {
            answer.transmission.uncompressed = true;
        }
        answer
    }

    fn route(&mut self, request: &Request, now: i64, injected: &mut Vec<Fault>) -> Answer {
        let Some(path) = request.path.strip_prefix(BASE) else { return unknown_path() };
        let path = path.trim_end_matches('/');
        if path == "/system/status" {
            return Answer::object(json!({ "health": "ok" }));
        }
        // Needs no permission and also answers for expired tokens, which distinguishes them from revoked ones.
        if path == "/users/api-token-details" && request.method == Method::POST {
            return self.token_details(&request.body);
        }
        let token = match self.token(request, now) {
            Some(token) => token,
            None => return Answer::unauthorized(),
        };
        if !self.injector.within_rate(&token.secret, now) {
            return Answer::html(StatusCode::TOO_MANY_REQUESTS);
        }
        if path == unified::PATH && request.method == Method::POST {
            return self.unified_alerts(request, &token, now, injected);
        }
        if request.method != Method::GET || path == unified::PATH {
            return Answer::not_found();
        }
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.path() == path) {
            return self.list(kind, request, &token, now, injected);
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            ["system", "info"] => Answer::object(json!({
                "version": "S-24.1.5", "build": "277", "patch": "1", "release": "24.1", "latestAgentVersion": "24.1.5.277",
            })),
            ["user"] => self.user(&token),
            ["users", user, "api-token-details"] => self.token_details_of(user, &token),
            ["activities", "types"] => self.permission_error(Kind::Activities, &token).unwrap_or_else(activity_types),
            ["agents", "count"] => self.permission_error(Kind::Agents, &token).unwrap_or_else(|| {
                match Query::read(Kind::Agents, &request.query, &self.quirks) {
                    Ok(query) => Answer::object(json!({ "total": self.count_matching(Kind::Agents, &query, &token) })),
                    Err(refused) => *refused,
                }
            }),
            ["threats", threat, "timeline"] => self.threat_details(threat, request, &token, true),
            ["threats", threat, "notes"] => self.threat_details(threat, request, &token, false),
            ["sites" | "accounts" | "groups", id] => self.one(parts[0], id, &token),
            _ => unknown_path(),
        }
    }

    /// Returns the token of a request if it is valid. Missing, malformed, unknown, revoked and expired tokens are
    /// treated alike.
    fn token(&self, request: &Request, now: i64) -> Option<Token> {
        let accepts_bearer = request.path.ends_with(unified::PATH);
        let secret = request.header(AUTHORIZATION).and_then(|header| token::secret_of(header, accepts_bearer))?;
        let token = self.tokens.iter().find(|token| token.secret == secret)?;
        (!token.revoked && now < token.expires).then(|| token.clone())
    }

    /// Returns the error if the token may not read this kind of record, or if the console lacks the kind.
    pub(super) fn permission_error(&self, kind: Kind, token: &Token) -> Option<Answer> {
        let faults = &self.injector.faults;
        if faults.missing.contains(&kind) {
            return Some(Answer::not_found());
        }
        let is_above = kind.description().special.above_sites && matches!(token.scope, Scope::Sites(_));
        let refused = is_above && !self.quirks.accounts_empty_for_sites
            || faults.forbidden.contains(&kind)
            || token.forbidden.contains(&kind);
        refused.then(|| Answer::forbidden(Some("User does not have required permissions.")))
    }

    fn one(&self, list: &str, id: &str, token: &Token) -> Answer {
        let kind = match list {
            "sites" => Kind::Sites,
            "accounts" => Kind::Accounts,
            _ => Kind::Groups,
        };
        if let Some(refused) = self.permission_error(kind, token) {
            return refused;
        }
        let row = id.parse().ok().and_then(|id| self.table(kind).find(id));
        match row.filter(|row| token.scope.covers(kind, row.account, row.site)) {
            Some(row) => Answer::object(serde_json::from_slice(&row.body).unwrap_or_default()),
            None => Answer::not_found(),
        }
    }
}

fn unknown_path() -> Answer {
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
            // Some types have no text on consoles either.
            let template = if action.is_empty() { String::new() } else { format!("{action}: {{{{ username }}}}") };
            Some(json!({ "id": id, "action": action, "descriptionTemplate": template }))
        })
        .collect();
    Answer::object(Value::from(types))
}
