//! Asks a Log Analytics workspace which events it has, by the column `EventId`.
//!
//! An answer with an `error` next to its tables has status 200, and its tables are not read then.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use s1_forwarder_engine::sink::lookup::{Listed, Lookup, Unproven};
use s1_forwarder_record::{Identity, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Endpoint;
use crate::http::lookup::{Questions, by_status};
use crate::http::transport::exchange::Response;

/// The most identities of one question: 70 KB of text.
const MAX_IDENTITIES: usize = 2_000;
/// The most events of one list; each is about 80 bytes of an answer.
const MAX_LISTED: usize = 5_000;

#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) questions: Questions,
    /// The address of the queries.
    pub(super) url: Endpoint,
    pub(super) table: String,
    pub(super) pipeline: String,
    pub(super) stream: &'static str,
    pub(super) visible_after: Duration,
    /// Other tables where events may be.
    pub(super) elsewhere: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    tables: Vec<Table>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    innererror: Option<Box<Failure>>,
}

impl Failure {
    /// Code and message, followed by those of the inner error.
    fn text(&self) -> String {
        let Self { code, message, innererror } = self;
        let inner = innererror.as_ref().map_or_else(String::new, |inner| format!(": {}", inner.text()));
        format!("{code}: {message}{inner}")
    }

    fn is_unknown_name(&self) -> bool {
        let text = self.text();
        ["SEM0100", "Failed to resolve"].iter().any(|sign| text.contains(sign))
    }
}

/// An event of an answer.
struct Found {
    identity: Identity,
    copies: u32,
    time: Option<Timestamp>,
}

impl Workspace {
    /// The lane's events in a table that fulfil a condition, each once.
    fn query(&self, table: &str, condition: &str, most: usize) -> Value {
        let Self { pipeline, stream, .. } = self;
        let pipeline = json!(pipeline);
        json!({ "query": format!(
            "{table} | where {condition} | where Pipeline == {pipeline} and Stream == \"{stream}\" \
             | summarize n = count(), t = min(EventTime) by EventId | take {}",
            most + 1
        ) })
    }

    async fn found(&self, table: &str, condition: &str, most: usize) -> Result<Vec<Found>, Unproven> {
        let query = self.query(table, condition, most).to_string();
        let response = self.questions.post(&self.url, "application/json", query).await?;
        let found = proof(&response, table)?;
        if found.len() > most {
            return Err(Unproven::TooLarge(format!("{table}: more than {most} events are in one answer")));
        }
        Ok(found)
    }

    async fn of_identities(&self, table: &str, identities: &[Identity]) -> Result<Vec<(usize, u32)>, Unproven> {
        let ids: Vec<String> = identities.iter().map(|identity| format!("\"{identity}\"")).collect();
        let condition = format!("EventId in ({})", ids.join(","));
        let found = self.found(table, &condition, identities.len()).await?;
        let place = |found: Found| Some((identities.binary_search(&found.identity).ok()?, found.copies));
        let foreign = || Unproven::NoProof(format!("{table} answers with an event that nobody asked for"));
        found.into_iter().map(|found| place(found).ok_or_else(foreign)).collect()
    }
}

/// The events of an answer about all that the query has to look at.
fn proof(response: &Response, table: &str) -> Result<Vec<Found>, Unproven> {
    let view = response.view(0);
    let unproven = |reason: &str| Unproven::NoProof(view.excerpt(&format!("{table}: {reason}")));
    if response.status == StatusCode::BAD_REQUEST
        && let Ok(Answer { error: Some(error), .. }) = serde_json::from_slice(&response.body)
    {
        return Err(unproven(&if error.is_unknown_name() {
            format!("there is no such table, or it lacks a column of the forwarder: {}", error.text())
        } else {
            error.text()
        }));
    }
    if response.status != StatusCode::OK {
        return Err(by_status(&view));
    }
    let Answer { tables, error } = match serde_json::from_slice(&response.body) {
        Ok(answer) => answer,
        Err(error) if error.is_eof() => return Err(Unproven::TooLarge(format!("{table}: the answer breaks off"))),
        Err(_) => return Err(unproven("the answer is none of a query")),
    };
    if let Some(error) = error {
        return Err(unproven(&format!("the answer has a part of the result alone: {}", error.text())));
    }
    let result = tables.iter().find(|table| table.name == "PrimaryResult");
    let result = result.ok_or_else(|| unproven("the answer has no result"))?;
    let column = |name: &str| result.columns.iter().position(|column| column.name == name);
    let (Some(id), Some(count)) = (column("EventId"), column("n")) else {
        return Err(unproven("the answer lacks a column that was asked for"));
    };
    let time = column("t");
    let event = |row: &Vec<Value>| {
        Some(Found {
            identity: row.get(id)?.as_str()?.parse().ok()?,
            copies: u32::try_from(row.get(count)?.as_u64()?).ok()?,
            time: time.and_then(|time| Timestamp::parse(row.get(time)?.as_str()?).ok()),
        })
    };
    let foreign = || unproven("the answer has a row without identity or count");
    result.rows.iter().map(|row| event(row).ok_or_else(foreign)).collect()
}

#[async_trait]
impl Lookup for Workspace {
    fn target_text(&self) -> String {
        format!("table `{}` at {}, by `EventId`", self.table, self.url)
    }

    fn most(&self) -> usize {
        MAX_IDENTITIES
    }

    fn visible_after(&self) -> Duration {
        self.visible_after
    }

    async fn copies(&self, identities: &[Identity]) -> Result<Vec<u32>, Unproven> {
        let mut copies = vec![0; identities.len()];
        for (place, count) in self.of_identities(&self.table, identities).await? {
            if let Some(copies) = copies.get_mut(place) {
                *copies += count;
            }
        }
        Ok(copies)
    }

    fn most_listed(&self) -> usize {
        MAX_LISTED
    }

    async fn list(&self, window: Range<Timestamp>) -> Result<Vec<Listed>, Unproven> {
        let Range { start, end } = window;
        let condition = format!("EventTime >= datetime({start}) and EventTime < datetime({end})");
        let found = self.found(&self.table, &condition, MAX_LISTED).await?;
        let listed = |Found { identity, copies, time }| Some(Listed { identity, time: time?, copies });
        Ok(found.into_iter().filter_map(listed).collect())
    }

    async fn elsewhere(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Unproven> {
        let mut places = vec![None; identities.len()];
        for table in &self.elsewhere {
            for (place, _) in self.of_identities(table, identities).await? {
                if let Some(place) = places.get_mut(place) {
                    *place = Some(format!("`{table}` (table)"));
                }
            }
        }
        Ok(places)
    }
}
