//! `POST /unifiedalerts/graphql`: queries for unified alerts, their notes and timelines.

mod filter;
mod graphql;
mod schema;

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Map, Value, json};

use self::filter::{Filter, FilterError};
use self::graphql::{Operation, Selection};
use self::schema::{Release, error, project};
use super::console::State;
use super::faults::Fault;
use super::http::{Answer, Request};
use super::kind::{Kind, at};
use super::list::error_answer;
use super::query::parse;
use super::store::{Row, unified_id};
use super::time;
use super::token::{FIRST_USER, Token};

/// Below `/web/api/v2.1`, like the paths of lists.
pub(super) const PATH: &str = Kind::UnifiedAlerts.path();

/// Largest accepted page.
const MAX_FIRST: i64 = 1000;
const DEFAULT_FIRST: i64 = 50;

impl State {
    /// Answers a query. GraphQL errors have the status 200.
    pub fn unified_alerts(&mut self, request: &Request, token: &Token, now: i64, injected: &mut Vec<Fault>) -> Answer {
        if let Some(error) = self.permission_error(Kind::UnifiedAlerts, token) {
            return error;
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return Answer::json(StatusCode::BAD_REQUEST, &json!({ "errors": [{ "message": "Invalid JSON" }] }));
        };
        let variables = &body["variables"];
        let operation = match graphql::parse(body["query"].as_str().unwrap_or_default(), variables) {
            Ok(operation) => operation,
            Err(message) => return error_response(vec![error(&message)]),
        };
        if operation.kind != "query" {
            return error_response(vec![error("this console is read only")]);
        }
        let release = Release { older: self.generator.is_older(), missing: &self.quirks.missing_alert_fields };
        let errors = release.errors(&operation);
        if !errors.is_empty() {
            return error_response(errors);
        }
        let with_cursor = variables["after"].is_string();
        *injected = self.injector.inject(&token.secret, PATH, Kind::UnifiedAlerts, with_cursor);
        for fault in injected.iter() {
            match fault {
                Fault::ErrorsOnly => {
                    return error_response(vec![
                        json!({ "message": "Internal Server Error(s) while executing query" }),
                    ]);
                }
                Fault::RefusedCursor => return error_response(vec![json!({ "message": "Invalid cursor" })]),
                Fault::NullData => return Answer::json(StatusCode::OK, &json!({ "data": { "alerts": null } })),
                other => {
                    if let Some(answer) = error_answer(*other, now) {
                        return answer;
                    }
                }
            }
        }
        let mut answer = match self.execute(&operation, token, injected) {
            Ok(body) => Answer::json(StatusCode::OK, &body),
            Err(FilterError::Rejected(message)) => return error_response(vec![json!({ "message": message })]),
            Err(FilterError::InvalidVariable(message)) => {
                return Answer::json(StatusCode::BAD_REQUEST, &json!({ "errors": [{ "message": message }] }));
            }
        };
        for fault in injected.iter() {
            match fault {
                Fault::SlowAnswer(delay) => answer.transmission.delay = *delay,
                Fault::SlowBody(duration) => answer.transmission.body_duration = *duration,
                Fault::Truncated => {
                    answer.transmission.truncate_after = Some(self.random.below(answer.body.len() as u64) as usize)
                }
                Fault::ChangedWhilePaged => self.change_any(Kind::UnifiedAlerts, now),
                _ => {}
            }
        }
        answer
    }

    fn execute(&mut self, operation: &Operation, token: &Token, faults: &[Fault]) -> Result<Value, FilterError> {
        let mut data = Map::new();
        for selection in &operation.selections {
            let Selection::Field { alias, name, arguments, selections } = selection else { continue };
            let value = match name.as_str() {
                "alerts" => self.alerts(arguments, selections, token, faults)?,
                "alertNotes" => project(&json!({ "data": notes(self.alert(arguments, token)) }), selections),
                "alertTimeline" => project(&timeline(self.alert(arguments, token)), selections),
                _ => Value::Null,
            };
            data.insert(alias.as_ref().unwrap_or(name).clone(), value);
        }
        let mut body = json!({ "data": data });
        if faults.contains(&Fault::ErrorsWithData) {
            body["errors"] = json!([{ "message": "Exception while fetching data (/alerts/edges[0]/node/assignee) : null",
                "path": ["alerts", "edges", 0, "node", "assignee"] }]);
        }
        Ok(body)
    }

    fn alerts(
        &mut self,
        arguments: &Map<String, Value>,
        selections: &[Selection],
        token: &Token,
        faults: &[Fault],
    ) -> Result<Value, FilterError> {
        let argument = |name: &str| arguments.get(name).unwrap_or(&Value::Null);
        let filters = Filter::read_all(argument("filters"), &self.quirks.missing_alert_filters)?;
        let sort = if argument("sort").is_null() {
            argument("sorts").get(0).unwrap_or(&Value::Null)
        } else {
            argument("sort")
        };
        let sort_path = filter::sort_path(sort["by"].as_str().unwrap_or("detectedAt"))?;
        let descending = sort["order"].as_str().unwrap_or("DESC") == "DESC";
        let scope = Scope::read(argument("scope"))?;
        let view = argument("viewType").as_str().unwrap_or("ALL");
        let mut first = argument("first").as_i64().unwrap_or(DEFAULT_FIRST);
        if !(1..=MAX_FIRST).contains(&first) {
            return Err(FilterError::Rejected(format!("first must be between 1 and {MAX_FIRST}")));
        }
        if faults.contains(&Fault::ShortPage) && first > 1 {
            first = 1 + self.random.below(first as u64 - 1) as i64;
        }
        let ends_early = faults.contains(&Fault::EarlyEnd);
        if ends_early {
            first = self.some_of(first as usize) as i64;
        }
        let query = {
            let mut hasher = DefaultHasher::new();
            (argument("filters").to_string(), sort.to_string(), argument("scope").to_string(), view).hash(&mut hasher);
            hasher.finish()
        };
        let after = match argument("after").as_str() {
            None => None,
            Some(text) => match read_cursor(text, query) {
                Some(key) => Some(key),
                None => {
                    return Err(FilterError::Rejected("Invalid cursor: it belongs to another query".to_owned()));
                }
            },
        };
        let mut rows: Vec<(SortKey, &Row)> = self
            .table(Kind::UnifiedAlerts)
            .rows()
            .filter(|row| token.scope.covers(Kind::UnifiedAlerts, row.account, row.site))
            .filter(|row| scope.covers(row) && Filter::all_match(&filters, row) && in_view(view, row))
            .map(|row| (sort_key(row, sort_path), row))
            .collect();
        rows.sort_unstable_by(|(one, _), (other, _)| if descending { other.cmp(one) } else { one.cmp(other) });
        let total = rows.len();
        let start = after
            .as_ref()
            .map_or(0, |after| rows.partition_point(|(key, _)| if descending { key >= after } else { key <= after }));
        let shown: Vec<&(SortKey, &Row)> = rows.iter().skip(start).take(first as usize).collect();
        let mut edges: Vec<Value> =
            shown.iter().map(|(key, row)| json!({ "cursor": write_cursor(key, query), "node": parse(row) })).collect();
        let repeated = faults.contains(&Fault::RepeatedCursor);
        let end = match argument("after").as_str() {
            Some(after) if repeated => Some(after.to_owned()),
            _ => shown.last().map(|(key, _)| write_cursor(key, query)),
        };
        let page_info = json!({
            "hasNextPage": !ends_early && start + shown.len() < total || repeated, "hasPreviousPage": start > 0,
            "startCursor": shown.first().map(|(key, _)| write_cursor(key, query)), "endCursor": end,
        });
        if self.quirks.null_edges {
            edges.push(Value::Null);
            edges.push(json!({ "cursor": end, "node": null }));
        }
        Ok(project(&json!({ "totalCount": total, "pageInfo": page_info, "edges": edges }), selections))
    }

    fn alert(&self, arguments: &Map<String, Value>, token: &Token) -> Option<Value> {
        let row = self.table(Kind::UnifiedAlerts).find(unified_id(arguments.get("alertId")?.as_str()?))?;
        token.scope.covers(Kind::UnifiedAlerts, row.account, row.site).then(|| parse(row))
    }
}

fn error_response(errors: Vec<Value>) -> Answer {
    Answer::json(StatusCode::OK, &json!({ "errors": errors, "data": null }))
}

/// The position of an alert in a sort order: missing values first, then by time and text, then by id.
type SortKey = (Option<i64>, String, u64);

fn sort_key(row: &Row, path: &str) -> SortKey {
    match path {
        "updatedAt" => ((!row.undated).then_some(row.updated), String::new(), row.id),
        "detectedAt" => (Some(row.created), String::new(), row.id),
        _ => {
            let record = parse(row);
            let text = at(&record, path).and_then(Value::as_str).unwrap_or_default();
            (time::parse(text), text.to_owned(), row.id)
        }
    }
}

fn write_cursor((time, text, id): &SortKey, query: u64) -> String {
    STANDARD.encode(json!([query, time, text, id]).to_string())
}

fn read_cursor(text: &str, query: u64) -> Option<SortKey> {
    let bytes = STANDARD.decode(text).ok()?;
    let (of, time, text, id): (u64, Option<i64>, String, u64) = serde_json::from_slice(&bytes).ok()?;
    (of == query).then_some((time, text, id))
}

/// The argument `scope`.
enum Scope {
    All,
    Accounts(Vec<u64>),
    Sites(Vec<u64>),
    Groups(Vec<u64>),
}

impl Scope {
    fn read(scope: &Value) -> Result<Self, FilterError> {
        if scope.is_null() {
            return Ok(Self::All);
        }
        let ids = scope["scopeIds"].as_array().into_iter().flatten();
        let ids = ids.filter_map(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok())).collect();
        match scope["scopeType"].as_str() {
            Some("ACCOUNT") => Ok(Self::Accounts(ids)),
            Some("SITE") => Ok(Self::Sites(ids)),
            Some("GROUP") => Ok(Self::Groups(ids)),
            other => Err(FilterError::InvalidVariable(format!(
                "Variable 'scope' has an invalid value: Invalid input for enum 'ScopeType'. No value found for name {other:?}"
            ))),
        }
    }

    fn covers(&self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::Accounts(ids) => ids.contains(&row.account),
            Self::Sites(ids) => ids.contains(&row.site),
            Self::Groups(ids) => ids.contains(&row.group),
        }
    }
}

/// Returns whether the view `viewType` contains an alert.
fn in_view(view: &str, row: &Row) -> bool {
    if view == "ALL" {
        return true;
    }
    let record = parse(row);
    let product = record["detectionSource"]["product"].as_str().unwrap_or_default();
    match view {
        "ENDPOINT" => matches!(product, "EDR" | "CWS" | "CWP"),
        "CUSTOM_ALERTS" | "STAR" => product == "STAR",
        "IDENTITY" => product == "Identity",
        "CLOUD" => matches!(product, "CWS" | "CWP"),
        "THIRD_PARTY" => record["detectionSource"]["vendor"] != "SentinelOne",
        _ => false,
    }
}

fn notes(alert: Option<Value>) -> Vec<Value> {
    let Some(alert) = alert.filter(|alert| alert["noteExists"] == true) else { return Vec::new() };
    vec![json!({
        "id": "1", "alertId": alert["id"], "text": "Looked into it.", "type": "PLAIN_TEXT", "createdAt": alert["createdAt"],
        "updatedAt": alert["updatedAt"],
        "createdBy": { "__typename": "UserNoteAuthor", "userId": FIRST_USER.to_string(), "email": "user0@acme.example",
            "fullName": "Amira Haddad" },
    })]
}

fn timeline(alert: Option<Value>) -> Value {
    let item = |alert: &Value| json!({ "createdAt": alert["detectedAt"], "eventType": "ACTIVITY", "eventText": "Alert created" });
    let edges: Vec<Value> = alert.iter().map(|alert| json!({ "cursor": "MQ==", "node": item(alert) })).collect();
    json!({ "pageInfo": { "hasNextPage": false, "endCursor": null, "hasPreviousPage": false, "startCursor": null }, "edges": edges })
}
