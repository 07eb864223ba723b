//! Which path answers what.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, DATE, HeaderName, RETRY_AFTER, SERVER, VARY};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::console::State;
use super::faults::{Mishap, RetryAfter};
use super::http::{Answer, Request};
use super::kind::Kind;
use super::page::{self, Search};
use super::query::Query;
use super::quirks::OutOfScope;
use super::store::{IdColumn, Row};
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
        let token = match self.token(request, now) {
            Some(token) => token,
            None => return Answer::unauthorized(),
        };
        if !self.trouble.within_rate(&token.secret, now) {
            return Answer::html(StatusCode::TOO_MANY_REQUESTS);
        }
        if request.method == Method::POST {
            return match path {
                "/users/api-token-details" => self.token_details(&request.body),
                _ => Answer::not_found(),
            };
        }
        if request.method != Method::GET {
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
        let secret = request.header(AUTHORIZATION).and_then(token::secret_of)?;
        let token = self.tokens.iter().find(|token| token.secret == secret)?;
        (!token.revoked && now < token.expires).then(|| token.clone())
    }

    /// None when the token may read this kind of record here.
    fn permitted(&self, kind: Kind, token: &Token) -> Option<Answer> {
        let faults = &self.trouble.faults;
        if faults.missing.contains(&kind) {
            return Some(Answer::not_found());
        }
        let no_accounts = kind == Kind::Accounts && matches!(token.scope, Scope::Sites(_));
        let refused = faults.forbidden.contains(&kind) || token.forbidden.contains(&kind) || no_accounts;
        refused.then(|| Answer::forbidden(Some("User does not have required permissions.")))
    }

    fn list(&mut self, kind: Kind, request: &Request, token: &Token, now: i64, struck: &mut Vec<Mishap>) -> Answer {
        if let Some(refused) = self.permitted(kind, token) {
            return refused;
        }
        let query = match Query::read(kind, &request.query, &self.quirks) {
            Ok(query) => query,
            Err(refused) => return *refused,
        };
        *struck = self.trouble.strike(&token.secret, kind.path(), kind, query.cursor.is_some());
        let mishaps = &*struck;
        if let Some(instead) = mishaps.iter().find_map(|mishap| instead(*mishap, now)) {
            return instead;
        }
        if self.quirks.out_of_scope == OutOfScope::Forbidden && self.asks_beyond(&query, token) {
            return Answer::forbidden(Some(
                "User scope level is account. Please provide a valid account ID or site ID.",
            ));
        }
        for mishap in mishaps {
            if let Mishap::LateArrival(most) = mishap {
                let most = i64::try_from(most.as_micros()).unwrap_or(i64::MAX);
                let at = now - self.random.within(0..most.max(1));
                self.appear(Kind::Activities, at, at);
            }
        }
        let mut answer = self.page(kind, &query, token, request, mishaps);
        for mishap in mishaps {
            match mishap {
                Mishap::SlowAnswer(delay) => answer.travel.delay = *delay,
                Mishap::SlowBody(takes) => answer.travel.body_takes = *takes,
                Mishap::Truncated => {
                    answer.travel.cut_after = Some(self.random.below(answer.body.len() as u64) as usize)
                }
                Mishap::ChangedWhilePaged if matches!(kind, Kind::Threats | Kind::Agents | Kind::Alerts) => {
                    self.change_any(kind, now);
                }
                _ => {}
            }
        }
        answer
    }

    fn page(&mut self, kind: Kind, query: &Query, token: &Token, request: &Request, mishaps: &[Mishap]) -> Answer {
        let mut limit = query.limit;
        if kind == Kind::Alerts && request.query.contains("disablePagination=true") {
            limit = usize::MAX / 2;
        }
        if mishaps.contains(&Mishap::ShortPage) && limit > 1 {
            limit = 1 + self.random.below(limit as u64 - 1) as usize;
        }
        let visible = |row: &Row| token.scope.covers(kind, row.account, row.site);
        let search = Search { kind, table: self.table(kind), query, visible: &visible };
        let page = if query.count_only { page::Page::default() } else { search.page(limit) };
        let total = if query.skip_count || (query.cursor.is_some() && self.quirks.total_on_first_page_only) {
            0
        } else {
            search.count(token.scope == Scope::Global).min(self.quirks.total_cap.unwrap_or(u64::MAX))
        };
        let mut pagination = json!({ "totalItems": total });
        let next = match mishaps.contains(&Mishap::RepeatedCursor) {
            true => url::form_urlencoded::parse(request.query.as_bytes())
                .find(|(name, _)| name == "cursor")
                .map(|(_, value)| Value::from(value.into_owned())),
            false => search.next_cursor(&page, &self.quirks),
        };
        if let Some(next) = next {
            pagination["nextCursor"] = next;
        }
        if mishaps.contains(&Mishap::NullData) {
            return Answer::json(StatusCode::OK, &json!({ "data": null, "pagination": pagination }));
        }
        let mut body = page::write(kind, &page.rows, &pagination, self.quirks.errors_null);
        if mishaps.contains(&Mishap::HarmlessErrors) && !self.quirks.errors_null {
            body.pop();
            body.extend_from_slice(br#","errors":[{}]}"#);
        }
        Answer::of(StatusCode::OK, "application/json", body)
    }

    fn counted(&self, kind: Kind, query: &Query, token: &Token) -> u64 {
        let visible = |row: &Row| token.scope.covers(kind, row.account, row.site);
        Search { kind, table: self.table(kind), query, visible: &visible }.count(token.scope == Scope::Global)
    }

    /// Whether a scope filter names something that the token cannot see.
    fn asks_beyond(&self, query: &Query, token: &Token) -> bool {
        let kinds =
            [(IdColumn::Account, Kind::Accounts), (IdColumn::Site, Kind::Sites), (IdColumn::Group, Kind::Groups)];
        query.conditions.ids.iter().any(|(column, ids)| {
            let Some((_, kind)) = kinds.iter().find(|(scope, _)| scope == column) else { return false };
            let seen = |id: &u64| {
                self.table(*kind).find(*id).is_some_and(|row| match (&token.scope, kind) {
                    // The account of a site is not below it, but naming it asks for nothing more.
                    (Scope::Sites(sites), Kind::Accounts) => {
                        self.table(Kind::Sites).rows().any(|site| sites.contains(&site.id) && site.account == row.id)
                    }
                    (scope, kind) => scope.covers(*kind, row.account, row.site),
                })
            };
            !ids.iter().all(seen)
        })
    }

    fn token_details(&self, body: &Bytes) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(secret) = asked["data"]["apiToken"].as_str() else {
            return Answer::invalid("data: apiToken: Missing data for required field.");
        };
        match self.tokens.iter().find(|token| token.secret == secret && !token.revoked) {
            Some(token) => Answer::object(details(token)),
            None if self.quirks.unknown_token_is_400 => Answer::invalid("apiToken: Invalid token."),
            None => Answer::unauthorized(),
        }
    }

    fn token_details_of(&self, user: &str, token: &Token) -> Answer {
        match user.parse::<u64>() {
            Ok(user) if user == token.user => Answer::object(details(token)),
            Ok(user) if self.table(Kind::Users).find(user).is_some() => Answer::forbidden(None),
            _ => Answer::not_found(),
        }
    }

    fn user(&self, token: &Token) -> Answer {
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

    /// A threat's timeline (activities without names of sites and accounts) or its notes.
    fn of_threat(&self, threat: &str, request: &Request, token: &Token, timeline: bool) -> Answer {
        if let Some(refused) = self.permitted(Kind::Threats, token) {
            return refused;
        }
        let threat = threat.parse().ok().and_then(|id| self.table(Kind::Threats).find(id));
        let Some(threat) = threat.filter(|row| token.scope.covers(Kind::Threats, row.account, row.site)) else {
            return Answer::not_found();
        };
        if let Err(refused) = Query::read(Kind::Activities, &request.query, &self.quirks) {
            return *refused;
        }
        let record: Value = serde_json::from_slice(&threat.body).unwrap_or_default();
        let items = if timeline { timeline_of(threat, &record) } else { notes_of(threat, &record) };
        let total = items.len();
        Answer::json(
            StatusCode::OK,
            &json!({ "data": items, "pagination": { "nextCursor": null, "totalItems": total }, "errors": null }),
        )
    }
}

/// What is answered instead of a page.
fn instead(mishap: Mishap, now: i64) -> Option<Answer> {
    Some(match mishap {
        Mishap::Unauthorized => Answer::unauthorized(),
        Mishap::Forbidden => Answer::forbidden(None),
        Mishap::NotFound => Answer::not_found(),
        Mishap::TooManyRequests(wait) => {
            let answer = Answer::html(StatusCode::TOO_MANY_REQUESTS);
            match wait {
                RetryAfter::Absent => answer,
                RetryAfter::Seconds(seconds) => answer.with(RETRY_AFTER, &seconds.to_string()),
                RetryAfter::Date(seconds) => {
                    answer.with(RETRY_AFTER, &time::print_http(now + i64::from(seconds) * time::SECOND))
                }
            }
        }
        Mishap::InternalError => Answer::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            5_000_010,
            "Internal server error",
            Some("Server could not process the request."),
        ),
        Mishap::NotSupported => Answer::error(StatusCode::NOT_IMPLEMENTED, 5_010_010, "Not supported", None),
        Mishap::BadGateway => Answer::of(StatusCode::BAD_GATEWAY, "text/plain", "Bad Gateway"),
        Mishap::Unavailable => Answer::html(StatusCode::SERVICE_UNAVAILABLE),
        Mishap::GatewayTimeout => Answer::html(StatusCode::GATEWAY_TIMEOUT),
        Mishap::ErrorsInside => Answer::json(
            StatusCode::OK,
            &json!({ "data": [], "pagination": { "nextCursor": null, "totalItems": 0 }, "errors": [{ "code": 5_000_010,
                "title": "Internal server error", "detail": "Server could not process the request." }] }),
        ),
        Mishap::HtmlPage => Answer::html(StatusCode::OK),
        Mishap::Dropped => {
            let mut answer = Answer::of(StatusCode::OK, "application/json", "");
            answer.travel.dropped = true;
            answer
        }
        Mishap::RefusedCursor => Answer::invalid("Invalid cursor value received"),
        Mishap::HarmlessErrors
        | Mishap::NullData
        | Mishap::Truncated
        | Mishap::SlowAnswer(_)
        | Mishap::SlowBody(_)
        | Mishap::RepeatedCursor
        | Mishap::ShortPage
        | Mishap::WrongDate(_)
        | Mishap::LateArrival(_)
        | Mishap::ChangedWhilePaged => return None,
    })
}

fn not_here() -> Answer {
    Answer::of(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n")
}

fn details(token: &Token) -> Value {
    // A token "without expiry" of a service user ends in a far year.
    let expires = token.expires.min(time::parse("2999-12-31T00:00:00Z").unwrap_or(i64::MAX));
    json!({ "createdAt": time::print(token.created), "expiresAt": time::print(expires) })
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

fn timeline_of(threat: &Row, record: &Value) -> Vec<Value> {
    let item = |place: u64, kind: u32, text: &str, at: &Value| {
        json!({
            "id": (threat.id + place).to_string(), "activityType": kind, "primaryDescription": text,
            "secondaryDescription": record["threatInfo"]["filePath"], "hash": record["threatInfo"]["sha1"],
            "createdAt": at, "updatedAt": at, "accountId": record["agentDetectionInfo"]["accountId"],
            "siteId": record["agentDetectionInfo"]["siteId"], "groupId": record["agentDetectionInfo"]["groupId"],
            "agentId": record["agentRealtimeInfo"]["agentId"], "agentUpdatedVersion": null,
            "osFamily": record["agentRealtimeInfo"]["agentOsType"], "threatId": threat.id.to_string(), "userId": null,
            "data": { "computerName": record["agentRealtimeInfo"]["agentComputerName"], "username": null },
        })
    };
    let mut items = vec![item(1, 19, "Threat detected", &record["threatInfo"]["createdAt"])];
    let mitigations = record["mitigationStatus"].as_array().into_iter().flatten();
    items.extend(mitigations.zip(2..).map(|(one, place)| item(place, 2001, "Threat mitigated", &one["lastUpdate"])));
    items
}

fn notes_of(threat: &Row, record: &Value) -> Vec<Value> {
    if record["threatInfo"]["analystVerdict"] == "undefined" {
        return Vec::new();
    }
    let at = &record["threatInfo"]["updatedAt"];
    vec![json!({
        "id": (threat.id + 1).to_string(), "text": "Looked into it.", "createdAt": at, "updatedAt": at,
        "creator": "Amira Haddad", "creatorId": super::FIRST_USER.to_string(), "edited": false,
    })]
}

impl Answer {
    /// The answer as the client wants it: gzip when asked for and worth it.
    pub(super) fn compressed(mut self, request: &Request) -> Self {
        let asked = request
            .header(ACCEPT_ENCODING)
            .is_some_and(|accepted| accepted.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip")));
        if !asked || self.travel.never_compressed || self.body.len() < 1024 {
            return self;
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(self.body.len() / 4), Compression::fast());
        if let Ok(body) = encoder.write_all(&self.body).and_then(|()| encoder.finish()) {
            if let Some(cut) = &mut self.travel.cut_after {
                // Cut at the same share of the body.
                *cut = *cut * body.len() / self.body.len();
            }
            self.body = Bytes::from(body);
            self = self.with(CONTENT_ENCODING, "gzip");
        }
        self
    }
}
