//! What belongs to one threat: its timeline and its notes.

use http::StatusCode;
use serde_json::{Value, json};

use super::console::State;
use super::http::{Answer, Request};
use super::kind::Kind;
use super::query::Query;
use super::store::Row;
use super::token::Token;

impl State {
    /// A threat's timeline (activities without names of sites and accounts) or its notes.
    pub(super) fn of_threat(&self, threat: &str, request: &Request, token: &Token, timeline: bool) -> Answer {
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
