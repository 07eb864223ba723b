//! A console that says what it is told to say, one answer after the other, so that answers come together that the emulator
//! would rarely give together; and a poll that asks it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use s1_forwarder::console::{Client, ConsoleError, Cut, Request, Response, Transport, TransportError};
use s1_forwarder::record::{Stream, Timestamp};
use s1_forwarder::source::{Mark, Page, Poll, Position, Pull, Since};
use s1_forwarder::telemetry::Meter;
use serde_json::json;

use crate::world::{START, World};

/// A console that gives these answers in this order, and keeps what it was asked.
#[derive(Debug, Default)]
pub struct Script {
    pub answers: Mutex<VecDeque<String>>,
    pub asked: Mutex<Vec<String>>,
}

impl Transport for Script {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            let query = request.url.split_once('?').map_or("", |(_, query)| query).to_owned();
            self.asked.lock().unwrap().push(request.body.map_or(query, |body| String::from_utf8(body).unwrap()));
            // A question that is not in the script ends the test.
            let answer = self.answers.lock().unwrap().pop_front().unwrap();
            if answer.len() > request.max_bytes {
                return Err(TransportError::TooLarge(Cut::of(answer.as_bytes(), request.max_bytes)));
            }
            Ok(Response { status: StatusCode::OK, headers: HeaderMap::new(), body: answer.into() })
        })
    }
}

/// A poll that starts at [`START`], and the console that it asks.
pub struct Talk {
    pub world: World,
    pub script: Arc<Script>,
    pub client: Arc<Client>,
    pub meter: Meter,
    pub poll: Poll,
}

impl Talk {
    pub fn new(pull: Pull, position: impl FnOnce(&mut Position, &Pull)) -> Self {
        Self::of_pass(pull, 0, position)
    }

    /// A poll of the stream's `pass`-th pass, of a lane that had come as far as `position` says.
    pub fn of_pass(pull: Pull, pass: usize, position: impl FnOnce(&mut Position, &Pull)) -> Self {
        let (world, script) = (World::new(|_| {}), Arc::new(Script::default()));
        let client = Arc::new(world.client(script.clone(), "siem"));
        let meter = Meter::start(&world.telemetry, "acme", pull.stream, "siem", "memory", world.clock);
        let mut begun = Position::starting_at(Timestamp::default());
        begun.align(&pull.passes());
        position(&mut begun, &pull);
        let poll = Poll::new(client.clone(), meter.clone(), Arc::new(pull), begun, pass, START).unwrap();
        Self { world, script, client, meter, poll }
    }

    /// What the poll makes of the console's next answer.
    pub async fn hears(&mut self, answer: String) -> Result<Page, ConsoleError> {
        self.hears_all([answer]).await
    }

    /// The same where it asks several times.
    pub async fn hears_all<const N: usize>(&mut self, answers: [String; N]) -> Result<Page, ConsoleError> {
        self.script.answers.lock().unwrap().extend(answers);
        let page = self.poll.next(self.client.turn().await, 100, MOST).await;
        assert!(self.script.answers.lock().unwrap().is_empty(), "it did not ask");
        page
    }

    /// An answer comes that is too large, and the record in it alone is.
    pub async fn meets(&mut self, answer: &str, then: &[String]) -> Result<Option<Page>, ConsoleError> {
        let error = self.hears(answer.to_owned()).await.unwrap_err();
        let ConsoleError::TooLarge(cut) = error else { panic!("{error}") };
        self.script.answers.lock().unwrap().extend(then.iter().cloned());
        let stepped = self.poll.step_over(&cut).await;
        assert!(self.script.answers.lock().unwrap().is_empty(), "it did not ask");
        stepped
    }

    /// As `hears`, of an answer that is a page of the list.
    pub async fn reads(&mut self, records: &[String], next: Option<&str>) -> Page {
        self.hears(page(records, next)).await.unwrap()
    }

    pub fn asked_last(&self) -> String {
        self.script.asked.lock().unwrap().last().unwrap().clone()
    }

    pub fn asked_for_a_count(&self) -> bool {
        self.asked_last().contains("countOnly=true")
    }

    pub fn late(&self) -> bool {
        self.world.telemetry.clone().exposition(START).any(|text| text.contains("arrival_delay_seconds_count"))
    }
}

/// Largest answer that is read.
pub const MOST: usize = 4_000;

pub fn no_history(_: &mut Position, _: &Pull) {}

/// All of a stream, from the beginning.
pub fn all(stream: Stream) -> Pull {
    Pull { since: Since::Beginning, ..Pull::of(stream) }
}

pub fn activities() -> Pull {
    all(Stream::Activities)
}

/// All findings of these sites, which are read one after the other.
pub fn findings_of(sites: &[&str]) -> Pull {
    let settings = json!({ "url": "https://console.example", "token": "t", "sites": sites });
    all(Stream::Vulnerabilities).through(&serde_json::from_value(settings).unwrap())
}

pub fn page(records: &[String], next: Option<&str>) -> String {
    let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    format!(r#"{{"data":[{}],"pagination":{{"nextCursor":{next}}}}}"#, records.join(","))
}

pub const NULL: &str = r#"{"data":null,"pagination":{"nextCursor":null}}"#;

pub fn counted(count: u64) -> String {
    format!(r#"{{"data":[],"pagination":{{"totalItems":{count},"nextCursor":null}}}}"#)
}

pub fn ago(seconds: u64) -> Timestamp {
    START.minus(Duration::from_secs(seconds))
}

pub fn activity(id: u64, at: Timestamp) -> String {
    format!(r#"{{"id":"{id}","activityType":5,"createdAt":"{at}"}}"#)
}

pub fn alert(id: u64, created: Timestamp, status: &str) -> String {
    format!(
        r#"{{"alertInfo":{{"alertId":"{id}","createdAt":"{created}","updatedAt":"{created}","incidentStatus":"{status}"}}}}"#
    )
}

pub fn ids(page: &Page) -> Vec<&str> {
    page.records.iter().map(|record| record.id.as_str()).collect()
}

pub fn mark(id: u64, at: Timestamp) -> Mark {
    Mark { id, version: id, content: None, time: at, created: Some(at) }
}

pub fn finding(id: u64) -> String {
    format!(r#"{{"id":"{id}","status":"Detected","detectionDate":"{}"}}"#, ago(60))
}

/// The same activity or finding, and larger than an answer may be.
pub fn large(record: &str) -> String {
    record.replace("}", &format!(r#","filler":"{}"}}"#, "x".repeat(2 * MOST)))
}

pub fn unified(id: &str, more: &str, next: Option<&str>) -> String {
    let node = format!(r#"{{"id":"{id}","createdAt":"{0}","updatedAt":"{0}","detectedAt":"{0}"{more}}}"#, ago(60));
    let (has_next, end) = (next.is_some(), next.unwrap_or_default());
    format!(
        r#"{{"data":{{"alerts":{{"totalCount":1,"pageInfo":{{"hasNextPage":{has_next},"endCursor":"{end}"}},"edges":[{{"cursor":"x","node":{node}}}]}}}}}}"#
    )
}
