//! The timeline and the notes of a threat.

use http::StatusCode;
use serde_json::{Value, json};

use super::console::State;
use super::http::{Answer, Request};
use super::kind::Kind;
use super::quirks::{Quirks, UnknownParameters};
use super::store::Row;
use super::token::{FIRST_USER, Token};

impl State {
    /// Returns the timeline of a threat (activities without names of sites and accounts) or its notes.
    pub(super) fn threat_details(&self, threat: &str, request: &Request, token: &Token, timeline: bool) -> Answer {
        if let Some(refused) = self.permission_error(Kind::Threats, token) {
            return refused;
        }
        let threat = threat.parse().ok().and_then(|id| self.table(Kind::Threats).find(id));
        let Some(threat) = threat.filter(|row| token.scope.covers(Kind::Threats, row.account, row.site)) else {
            return Answer::not_found();
        };
        let record: Value = serde_json::from_slice(&threat.body).unwrap_or_default();
        let (items, parameters) =
            if timeline { (timeline_of(threat, &record), TIMELINE) } else { (notes_of(threat, &record), NOTES) };
        match Listing::read(&request.query, parameters, &self.quirks) {
            Ok(listing) => listing.answer(items),
            Err(detail) => Answer::invalid(&detail),
        }
    }
}

/// The sort keys and the filters of a list.
type Parameters = (&'static [&'static str], &'static [&'static str]);
const TIMELINE: Parameters = (
    &["createdAt", "activityType", "hash", "primaryDescription", "secondaryDescription"],
    &["activityTypes", "query", "accountIds", "siteIds", "groupIds", "tenant"],
);
const NOTES: Parameters = (&["createdAt", "updatedAt"], &["creator__like", "creatorId"]);

/// The parameters of a request for a short list, whose cursors are offsets.
struct Listing {
    limit: usize,
    skip: usize,
    sort: String,
    descending: bool,
    count_only: bool,
}

impl Listing {
    fn read(query: &str, (sorts, filters): Parameters, quirks: &Quirks) -> Result<Self, String> {
        let mut read = Self { limit: 10, skip: 0, sort: "createdAt".to_owned(), descending: false, count_only: false };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = |low: usize, high: usize| {
                let number = value.parse().ok().filter(|number| (low..=high).contains(number));
                number.ok_or_else(|| format!("{name}: Must be between {low} and {high}."))
            };
            match &*name {
                "limit" => read.limit = number(1, 1000)?,
                "skip" => read.skip = number(0, 1000)?,
                "cursor" => {
                    let offset = value.strip_prefix("offset-").and_then(|offset| offset.parse().ok());
                    read.skip = offset.ok_or("Invalid cursor value received")?;
                }
                "countOnly" => read.count_only = value.eq_ignore_ascii_case("true"),
                "skipCount" => {}
                "sortOrder" => read.descending = value == "desc",
                "sortBy" if sorts.contains(&&*value) => read.sort = value.into_owned(),
                "sortBy" => return Err(format!("sortBy: \"{value}\" is not a valid choice.")),
                name if filters.contains(&name) || quirks.unknown_parameters != UnknownParameters::Refused => {}
                name => return Err(format!("dict_values(['{name}']): Unknown field")),
            }
        }
        Ok(read)
    }

    fn answer(&self, mut items: Vec<Value>) -> Answer {
        let key = |item: &Value| (item[&self.sort].to_string(), item["id"].to_string());
        items.sort_by_key(key);
        if self.descending {
            items.reverse();
        }
        let total = items.len();
        let limit = if self.count_only { 0 } else { self.limit };
        let end = self.skip + self.limit;
        let next = (end < total && !self.count_only).then(|| format!("offset-{end}"));
        let shown: Vec<Value> = items.into_iter().skip(self.skip).take(limit).collect();
        Answer::json(
            StatusCode::OK,
            &json!({ "data": shown, "pagination": { "nextCursor": next, "totalItems": total }, "errors": null }),
        )
    }
}

fn timeline_of(threat: &Row, record: &Value) -> Vec<Value> {
    let item = |number: u64, kind: u32, text: &str, at: &Value| {
        json!({
            "id": (threat.id + number).to_string(), "activityType": kind, "primaryDescription": text,
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
    items.extend(mitigations.zip(2..).map(|(one, number)| item(number, 2001, "Threat mitigated", &one["lastUpdate"])));
    items
}

fn notes_of(threat: &Row, record: &Value) -> Vec<Value> {
    if record["threatInfo"]["analystVerdict"] == "undefined" {
        return Vec::new();
    }
    let note = |number: u64, text: &str, at: &Value| {
        json!({
            "id": (threat.id + number).to_string(), "text": text, "createdAt": at, "updatedAt": at,
            "creator": "Amira Haddad", "creatorId": FIRST_USER.to_string(), "edited": false,
        })
    };
    let info = &record["threatInfo"];
    vec![note(1, "Mine.", &info["createdAt"]), note(2, "Looked into it.", &info["updatedAt"])]
}
