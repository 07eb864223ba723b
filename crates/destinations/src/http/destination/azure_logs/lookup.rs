//! Asks a Log Analytics workspace which events it has, by the column `EventId`.
//!
//! An answer with an `error` next to its tables has status 200, and its tables are not read then.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use s1_forwarder_engine::sink::lookup::{Inconclusive, Listed, Lookup};
use s1_forwarder_record::{Identity, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Endpoint;
use crate::http::lookup::{AN_IDENTITY, LookupClient, by_status, of_spelling, refuse_unnamed, spellings};
use crate::http::transport::exchange::Response;

/// The most identities of one question: 80 KB of text at most.
const MAX_IDENTITIES: usize = 2_000;
/// The most events of one list; each is about 80 bytes of an answer.
const MAX_LISTED: usize = 5_000;

#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) client: LookupClient,
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

impl Table {
    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
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
    /// Returns code and message, followed by code and message of the inner error.
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
    /// The identity as it is stored.
    id: String,
    identity: Identity,
    copies: u32,
    time: Option<Timestamp>,
}

impl Workspace {
    /// Returns the condition for the events of the lane.
    fn of_lane(&self) -> String {
        let Self { pipeline, stream, .. } = self;
        format!("Pipeline == {} and Stream == \"{stream}\"", json!(pipeline))
    }

    /// Returns the events in a table that fulfil a condition, each once.
    async fn found(&self, table: &str, condition: &str, most: usize) -> Result<Vec<Found>, Inconclusive> {
        let query = format!(
            "{table} | where {condition} | summarize n = count(), t = min(EventTime) by EventId | take {}",
            most + 1
        );
        let found = proof(&self.ask(&query).await?, table)?;
        if found.len() > most {
            return Err(Inconclusive::TooLarge(format!("{table}: more than {most} events are in one answer")));
        }
        Ok(found)
    }

    async fn ask(&self, query: &str) -> Result<Response, Inconclusive> {
        let question = json!({ "query": query }).to_string();
        self.client.post(&self.url, "application/json", question).await
    }

    /// Returns the place of each found event in `identities`, and the number of its copies. `spelled` are the
    /// identities as they are asked for.
    async fn of_identities(
        &self,
        table: &str,
        condition: &str,
        spelled: &[String],
        identities: &[Identity],
    ) -> Result<Vec<(usize, u32)>, Inconclusive> {
        let condition = format!("{condition} (\"{}\")", spelled.join("\",\""));
        // A spelling may be in lower case, in upper case, or in both.
        let found = self.found(table, &condition, 3 * identities.len()).await?;
        let place = |found: Found| Some((identities.binary_search(&found.identity).ok()?, found.copies));
        let foreign = || Inconclusive::NoProof(format!("{table} returned an event that was not requested"));
        found.into_iter().map(|found| place(found).ok_or_else(foreign)).collect()
    }
}

/// Returns the result of an answer about everything that the query has to look at.
fn table_of(response: &Response, table: &str) -> Result<Table, Inconclusive> {
    let view = response.view(0);
    let inconclusive = |reason: &str| Inconclusive::NoProof(view.excerpt(&format!("{table}: {reason}")));
    if response.status == StatusCode::BAD_REQUEST
        && let Ok(Answer { error: Some(error), .. }) = serde_json::from_slice(&response.body)
    {
        return Err(inconclusive(&if error.is_unknown_name() {
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
        Err(error) if error.is_eof() => return Err(Inconclusive::TooLarge(format!("{table}: the answer breaks off"))),
        Err(_) => return Err(inconclusive("the answer is none of a query")),
    };
    if let Some(error) = error {
        return Err(inconclusive(&format!("the answer has a part of the result alone: {}", error.text())));
    }
    let result = tables.into_iter().find(|table| table.name == "PrimaryResult");
    result.ok_or_else(|| inconclusive("the answer has no result"))
}

/// Returns the events of an answer.
fn proof(response: &Response, table: &str) -> Result<Vec<Found>, Inconclusive> {
    let view = response.view(0);
    let inconclusive = |reason: &str| Inconclusive::NoProof(view.excerpt(&format!("{table}: {reason}")));
    let result = table_of(response, table)?;
    let (Some(id), Some(count)) = (result.column("EventId"), result.column("n")) else {
        return Err(inconclusive("the answer lacks a requested column"));
    };
    let time = result.column("t");
    let event = |row: &Vec<Value>| {
        let id = row.get(id)?.as_str()?;
        Some(Found {
            id: id.to_owned(),
            identity: of_spelling(id)?,
            copies: u32::try_from(row.get(count)?.as_u64()?).ok()?,
            time: time.and_then(|time| Timestamp::parse(row.get(time)?.as_str()?).ok()),
        })
    };
    let foreign = || inconclusive("the answer has a row without identity or count");
    result.rows.iter().map(|row| event(row).ok_or_else(foreign)).collect()
}

#[async_trait]
impl Lookup for Workspace {
    fn target_text(&self) -> String {
        format!("table `{}` at {}, by `EventId`", self.table, self.url)
    }

    fn max_identities_per_query(&self) -> usize {
        MAX_IDENTITIES
    }

    fn visible_after(&self) -> Duration {
        self.visible_after
    }

    async fn occurrences(&self, identities: &[Identity]) -> Result<Vec<u32>, Inconclusive> {
        let mut copies = vec![0; identities.len()];
        let [own, _] = spellings(identities);
        let condition = format!("{} and EventId in", self.of_lane());
        for (place, count) in self.of_identities(&self.table, &condition, &own, identities).await? {
            if let Some(copies) = copies.get_mut(place) {
                *copies += count;
            }
        }
        Ok(copies)
    }

    fn max_listed(&self) -> usize {
        MAX_LISTED
    }

    async fn list(&self, window: Range<Timestamp>) -> Result<Vec<Listed>, Inconclusive> {
        let Range { start, end } = window;
        let of_lane = self.of_lane();
        let condition = format!("{of_lane} and EventTime >= datetime({start}) and EventTime < datetime({end})");
        let found = self.found(&self.table, &condition, MAX_LISTED).await?;
        // The question by identity finds no other spelling.
        let found = found.into_iter().filter(|found| found.id == found.identity.to_string());
        let listed = |Found { identity, copies, time, .. }| Some(Listed { identity, time: time?, occurrences: copies });
        Ok(found.filter_map(listed).collect())
    }

    /// A transformation may have emptied or changed the identity of an event that is there. It may have emptied
    /// pipeline and stream too. Another table may have rows of other sources, and lack these columns.
    async fn check_findable(&self) -> Result<(), Inconclusive> {
        let Self { table, pipeline, stream, elsewhere, .. } = self;
        let pipeline = json!(pipeline);
        let own =
            format!("(isempty(Pipeline) or Pipeline == {pipeline}) and (isempty(Stream) or Stream == \"{stream}\")");
        let of_other = format!(
            "column_ifexists(\"Pipeline\", \"\") == {pipeline} and column_ifexists(\"Stream\", \"\") == \"{stream}\""
        );
        let others = elsewhere.iter().map(|table| (table, &of_other));
        for (table, of_lane) in [(table, &own)].into_iter().chain(others) {
            let unnamed = format!("not(EventId matches regex @\"{AN_IDENTITY}\")");
            let query = format!("{table} | where {of_lane} | where {unnamed} | summarize n = count()");
            let result = table_of(&self.ask(&query).await?, table)?;
            let uncounted = || Inconclusive::NoProof(format!("{table}: events without an identity are not counted"));
            let count = result.column("n").ok_or_else(uncounted)?;
            let [row] = result.rows.as_slice() else { return Err(uncounted()) };
            let number = row.get(count).and_then(Value::as_u64).ok_or_else(uncounted)?;
            refuse_unnamed(number, &format!("table `{table}`"), "EventId")?;
        }
        Ok(())
    }

    /// Looks in all tables for each spelling of the identities, whatever the pipeline: a transformation may have
    /// changed both.
    async fn find_outside_target(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Inconclusive> {
        let mut places = vec![None; identities.len()];
        let changed = format!("`{}` (table), with another pipeline, stream or spelling", self.table);
        let others = self.elsewhere.iter().map(|table| (table, format!("`{table}` (table)")));
        for (table, text) in [(&self.table, changed)].into_iter().chain(others) {
            for spelled in spellings(identities) {
                for (place, _) in self.of_identities(table, "EventId in~", &spelled, identities).await? {
                    if let Some(place) = places.get_mut(place) {
                        *place = Some(text.clone());
                    }
                }
            }
        }
        Ok(places)
    }
}
