//! Asks a search head which events it has, by the indexed field `event_id`.
//!
//! A search answers with status 200 before it has run. The sign that an answer is incomplete comes later: a message
//! between its rows, or a stream that ends before the last row.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use s1_forwarder_engine::sink::lookup::{Inconclusive, Listed, Lookup, Retention};
use s1_forwarder_record::{Identity, Timestamp};
use serde::Deserialize;
use serde_json::json;
use url::form_urlencoded::Serializer;

use crate::http::Endpoint;
use crate::http::lookup::{AN_IDENTITY, LookupClient, by_status, of_spelling, refuse_unnamed, spellings};
use crate::http::transport::exchange::Response;

/// The most identities of one question: the text of a search has a limit.
const MAX_IDENTITIES: usize = 500;
/// The most events of one list; each is about 130 bytes of an answer.
const MAX_LISTED: usize = 4_000;
/// Later than any event: without it, a search ends now.
const END_OF_TIME: &str = "4102444800";
/// Paths for exports. Splunk before 9.0.1 has only the first.
const EXPORTS: [&str; 2] = ["services/search/jobs/export", "services/search/v2/jobs/export"];
/// A role that may delete events could remove them, and `verify` would report these as missing.
const TOO_MUCH: [&str; 2] = ["delete_by_keyword", "admin_all_objects"];

#[derive(Debug)]
pub(super) struct SearchHead {
    pub(super) client: LookupClient,
    pub(super) base: Endpoint,
    pub(super) index: String,
    pub(super) pipeline: String,
    pub(super) stream: &'static str,
    pub(super) visible_after: Duration,
    /// Other indexes where events may be.
    pub(super) elsewhere: Vec<String>,
}

/// One line of an answer.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    preview: bool,
    #[serde(default)]
    lastrow: bool,
    result: Option<Row>,
    #[serde(default)]
    messages: Vec<Message>,
}

/// All values are texts.
#[derive(Deserialize)]
struct Row {
    /// Empty in a row that counts events without an identity.
    #[serde(default)]
    event_id: String,
    count: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    index: String,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    text: String,
}

impl Message {
    /// Returns whether the message may say that the answer is one of a part: all types but the two that say how it was
    /// made. A search that has run for too long is finalized.
    fn is_of_part(&self) -> bool {
        let is_harmless = ["DEBUG", "INFO"].iter().any(|kind| self.kind.eq_ignore_ascii_case(kind));
        !is_harmless || self.text.contains("finalized")
    }
}

impl SearchHead {
    /// Returns the condition for the events of the lane.
    fn of_lane(&self) -> String {
        let Self { pipeline, stream, .. } = self;
        format!("pipeline={} stream={stream}", json!(pipeline))
    }

    async fn answer(&self, search: &str, from: &str, to: &str) -> Result<Vec<Row>, Inconclusive> {
        let form = Serializer::new(String::new())
            .append_pair("search", search)
            .append_pair("earliest_time", from)
            .append_pair("latest_time", to)
            .append_pair("output_mode", "json")
            .append_pair("preview", "false")
            .finish();
        let [first, second] = EXPORTS;
        let post = async |path: &str| {
            self.client.post(&self.base.join(path), "application/x-www-form-urlencoded", form.clone()).await
        };
        let mut response = post(second).await?;
        if response.status == StatusCode::NOT_FOUND {
            response = post(first).await?;
        }
        proof(&response)
    }

    async fn rows(&self, search: &str, from: &str, to: &str) -> Result<Vec<(Identity, u32, Row)>, Inconclusive> {
        let row = |row: Row| {
            let identity = of_spelling(&row.event_id)?;
            Some((identity, row.count.parse().ok()?, row))
        };
        let foreign =
            || Inconclusive::NoProof("the search answers with a row that has no identity or count".to_owned());
        self.answer(search, from, to).await?.into_iter().map(|found| row(found).ok_or_else(foreign)).collect()
    }

    /// Returns all indexes where events may be.
    fn indexes(&self) -> Vec<String> {
        [&self.index].into_iter().chain(&self.elsewhere).cloned().collect()
    }

    /// Returns the place of each found event in `identities`, the number of its copies, and its index if `by` names it.
    /// `spelled` are the identities as they are asked for.
    async fn found(
        &self,
        indexes: &[String],
        condition: &str,
        spelled: &[String],
        by: &str,
        identities: &[Identity],
    ) -> Result<Vec<(usize, u32, String)>, Inconclusive> {
        let condition = format!("{condition} event_id IN (\"{}\")", spelled.join("\",\""));
        let rows = self.rows(&search("count", indexes, condition.trim_start(), by), "0", END_OF_TIME).await?;
        let place = |(identity, count, row): (Identity, u32, Row)| {
            let place = identities.binary_search(&identity).ok()?;
            Some((place, count, row.index))
        };
        let foreign = || Inconclusive::NoProof("the search returned an event that was not requested".to_owned());
        rows.into_iter().map(|row| place(row).ok_or_else(foreign)).collect()
    }

    async fn refuse_too_much(&self) -> Result<(), Inconclusive> {
        #[derive(Deserialize)]
        struct Context {
            entry: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            content: Content,
        }
        #[derive(Deserialize)]
        struct Content {
            #[serde(default)]
            capabilities: Vec<String>,
        }
        let url = self.base.join("services/authentication/current-context").with_query("output_mode", "json");
        let response = self.client.get(&url).await?;
        // Whether the token is good the search says.
        let Ok(Context { entry }) = serde_json::from_slice(&response.body) else { return Ok(()) };
        let mut capabilities = entry.iter().flat_map(|entry| &entry.content.capabilities);
        match capabilities.find(|capability| TOO_MUCH.contains(&capability.as_str())) {
            Some(capability) => Err(Inconclusive::NoProof(format!(
                "the token of `verify` has the capability `{capability}`: give it one that may only search"
            ))),
            None => Ok(()),
        }
    }
}

/// Counts the events in these indexes that fulfil a condition, `by` these fields.
fn search(aggregates: &str, indexes: &[String], condition: &str, by: &str) -> String {
    let indexes = any_of(indexes);
    format!("| tstats include_reduced_buckets=t {aggregates} where ({indexes}) {condition} by {by}")
}

/// Counts the events in these indexes that fulfil a condition, in one row.
fn count_events(indexes: &[String], condition: &str) -> String {
    format!("| tstats include_reduced_buckets=t count where ({}) {condition}", any_of(indexes))
}

fn any_of(indexes: &[String]) -> String {
    let indexes: Vec<String> = indexes.iter().map(|index| format!("index={}", json!(index))).collect();
    indexes.join(" OR ")
}

fn uncounted() -> Inconclusive {
    Inconclusive::NoProof("the search does not count the events without an identity".to_owned())
}

/// Returns the rows of an answer about everything that the search has to look at.
fn proof(response: &Response) -> Result<Vec<Row>, Inconclusive> {
    let view = response.view(0);
    if response.status != StatusCode::OK {
        return Err(by_status(&view));
    }
    let inconclusive = |reason: &str| Err(Inconclusive::NoProof(reason.to_owned()));
    let mut rows = Vec::new();
    let mut is_whole = false;
    for line in serde_json::Deserializer::from_slice(&response.body).into_iter::<Line>() {
        let Ok(Line { preview, lastrow, result, messages }) = line else {
            return inconclusive("the answer of the search breaks off, or is none of a search");
        };
        if let Some(Message { kind, text }) = messages.iter().find(|message| message.is_of_part()) {
            return Err(Inconclusive::NoProof(view.excerpt(&format!("the search says {kind}: {text}"))));
        }
        // The row is of a search that still runs.
        if preview {
            continue;
        }
        is_whole |= lastrow;
        rows.extend(result);
    }
    if is_whole { Ok(rows) } else { inconclusive("the answer of the search ends before its last row") }
}

/// Returns whole seconds since 1970, the form that a search accepts.
fn seconds(time: Timestamp) -> String {
    time.seconds().to_string()
}

#[async_trait]
impl Lookup for SearchHead {
    fn target_text(&self) -> String {
        format!("index `{}` at {}, by `event_id`", self.index, self.base)
    }

    fn max_identities_per_query(&self) -> usize {
        MAX_IDENTITIES
    }

    fn visible_after(&self) -> Duration {
        self.visible_after
    }

    async fn retention(&self, _patience: Duration) -> Result<Retention, Inconclusive> {
        self.refuse_too_much().await?;
        Ok(Retention::Unknown)
    }

    async fn occurrences(&self, identities: &[Identity]) -> Result<Vec<u32>, Inconclusive> {
        let mut copies = vec![0; identities.len()];
        let [own, _] = spellings(identities);
        let indexes = std::slice::from_ref(&self.index);
        for (place, count, _) in self.found(indexes, &self.of_lane(), &own, "event_id", identities).await? {
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
        let indexes = std::slice::from_ref(&self.index);
        let search = search("count min(_time) as time", indexes, &self.of_lane(), "event_id");
        // Bounds are whole seconds, and the last one is not searched.
        let to = seconds(window.end.plus(Duration::from_micros(999_999)));
        let rows = self.rows(&search, &seconds(window.start), &to).await?;
        if rows.len() > MAX_LISTED {
            return Err(Inconclusive::TooLarge(format!("{} events are more than one list may have", rows.len())));
        }
        // The question by identity finds upper case, and no hyphens.
        let rows =
            rows.into_iter().filter(|(identity, _, row)| row.event_id.eq_ignore_ascii_case(&identity.to_string()));
        // A time without fraction is sufficient for its hour.
        let listed = |(identity, copies, row): (Identity, u32, Row)| {
            let seconds: i64 = row.time.split('.').next()?.parse().ok()?;
            Some(Listed {
                identity,
                time: Timestamp::from_micros(seconds.checked_mul(1_000_000)?),
                occurrences: copies,
            })
        };
        Ok(rows.filter_map(listed).collect())
    }

    /// An ingest rule may have removed or changed the identity of an event that is there. A count `by event_id` has no
    /// event without the field, so these events are counted separately.
    async fn check_findable(&self) -> Result<(), Inconclusive> {
        let of_lane = self.of_lane();
        let indexes = self.indexes();
        let without = count_events(&indexes, &format!("{of_lane} NOT event_id=*"));
        let by_identity = search("count", &indexes, &of_lane, "event_id");
        let changed =
            format!("{by_identity} | eval n=if(match(event_id, \"{AN_IDENTITY}\"), 0, count) | stats sum(n) as count");
        let mut unnamed = 0_u64;
        for search in [without, changed] {
            let rows = self.answer(&search, "0", END_OF_TIME).await?;
            let [Row { count, .. }] = rows.as_slice() else { return Err(uncounted()) };
            unnamed = unnamed.saturating_add(count.parse().map_err(|_| uncounted())?);
        }
        refuse_unnamed(unnamed, &format!("index `{}`", indexes.join("`, `")), "event_id")
    }

    /// Looks in all indexes for each spelling of the identities, whatever the pipeline: an ingest rule may have changed
    /// both.
    async fn find_outside_target(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Inconclusive> {
        let mut places = vec![None; identities.len()];
        let indexes = self.indexes();
        for spelled in spellings(identities) {
            for (place, _, index) in self.found(&indexes, "", &spelled, "event_id index", identities).await? {
                let changed = if index == self.index { ", with another pipeline, stream or spelling" } else { "" };
                if let Some(place) = places.get_mut(place) {
                    *place = Some(format!("`{index}` (index){changed}"));
                }
            }
        }
        Ok(places)
    }
}
