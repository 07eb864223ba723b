//! A console with scripted responses, one after the other, so that answers come together that the emulator
//! would rarely give together; and a poll that asks it.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::console::scripted::ResponseQueue;
use s1_forwarder::console::{Client, ConsoleError};
use s1_forwarder::record::{LaneId, Stream, Timestamp};
use s1_forwarder::source::{
    Action, ActivityFilter, AgentSettings, ConsoleHabits, Poll, PullSettings, PulledPage, RecordKey, Since,
    SourcePosition, StreamOptions,
};
use s1_forwarder::telemetry::Meter;
use serde_json::json;

use super::harness::{LaneHarness, START};

/// A poll that starts at [`START`], and the console that it asks.
pub struct Talk {
    pub harness: LaneHarness,
    pub script: Arc<ResponseQueue>,
    pub client: Arc<Client>,
    pub meter: Meter,
    pub poll: Poll,
}

/// What the poll emitted, and whether that was its end.
#[derive(Debug)]
pub struct Emitted {
    pub page: PulledPage,
    pub last: bool,
}

impl std::ops::Deref for Emitted {
    type Target = PulledPage;

    fn deref(&self) -> &PulledPage {
        &self.page
    }
}

impl Talk {
    pub fn new(pull: PullSettings, position: impl FnOnce(&mut SourcePosition, &PullSettings)) -> Self {
        Self::of_pass(pull, 0, position)
    }

    /// A poll of the stream's `pass`-th pass, of a lane that had come as far as `position` says.
    pub fn of_pass(pull: PullSettings, pass: usize, position: impl FnOnce(&mut SourcePosition, &PullSettings)) -> Self {
        let harness = LaneHarness::new(|_| {});
        let script = Arc::new(ResponseQueue::default());
        let client = Arc::new(harness.client(Arc::new(script.transport()), "siem"));
        let meter =
            Meter::start(&harness.telemetry, &LaneId::new("acme", pull.stream, "siem"), "memory", harness.clock);
        let mut first = SourcePosition::starting_at(Timestamp::default());
        first.add_passes(&pull.passes());
        position(&mut first, &pull);
        let poll =
            Poll::new(&client, meter.clone(), Arc::new(pull), &first, pass, START, ConsoleHabits::default()).unwrap();
        Self { harness, script, client, meter, poll }
    }

    /// What the poll makes of the console's next answer.
    pub async fn hears(&mut self, answer: String) -> Result<Emitted, ConsoleError> {
        self.hears_all([answer]).await
    }

    /// What the poll makes of several answers, where it asks several times.
    pub async fn hears_all<const N: usize>(&mut self, answers: [String; N]) -> Result<Emitted, ConsoleError> {
        answers.into_iter().for_each(|answer| self.script.push(answer));
        Ok(self.emits().await?.unwrap())
    }

    /// Asks until the poll emits a page, fails, or no answer is left.
    pub async fn emits(&mut self) -> Result<Option<Emitted>, ConsoleError> {
        let emitted = loop {
            let request = match self.poll.next_action() {
                Action::Ask(_) if self.script.is_empty() => return Ok(None),
                Action::Ask(request) => request,
                Action::Emit(page) => break page,
                Action::Done(..) => panic!("the poll has ended"),
            };
            let answer = request.with_size(100, MAX_BYTES).send(&self.client, self.client.permit().await, None).await;
            if let Err(error) = self.poll.answered(answer, self.client.latest_time()) {
                assert!(self.script.is_empty(), "it did not ask");
                return Err(error);
            }
        };
        assert!(self.script.is_empty(), "it did not ask");
        let last = matches!(self.poll.next_action(), Action::Done(..));
        Ok(Some(Emitted { page: emitted, last }))
    }

    /// An answer comes that is too large, and the record in it alone is.
    pub async fn meets(&mut self, answer: &str, then: &[String]) -> Result<Option<Emitted>, ConsoleError> {
        self.script.push(answer.to_owned());
        then.iter().for_each(|answer| self.script.push(answer.clone()));
        self.emits().await
    }

    /// The console counts `count` records, which confirms the end of the list and ends the poll.
    pub async fn confirms(&mut self, count: u64) {
        self.script.push(counted(count));
        let Action::Ask(request) = self.poll.next_action() else { panic!("it does not ask") };
        let answer = request.send(&self.client, self.client.permit().await, None).await;
        self.poll.answered(answer, self.client.latest_time()).unwrap();
        assert!(self.asked_for_a_count() && matches!(self.poll.next_action(), Action::Done(..)));
    }

    /// How long the poll waits before it asks next.
    pub fn pause(&mut self) -> Duration {
        let Action::Ask(request) = self.poll.next_action() else { panic!("it does not ask") };
        request.pause()
    }

    /// What the poll makes of an answer that is a page of the list.
    pub async fn reads(&mut self, records: &[String], next: Option<&str>) -> Emitted {
        self.hears(page(records, next)).await.unwrap()
    }

    pub fn asked_last(&self) -> String {
        self.script.requests().pop().unwrap()
    }

    pub fn asked_for_a_count(&self) -> bool {
        self.asked_last().contains("countOnly=true")
    }

    pub fn late(&self) -> bool {
        self.harness.telemetry.clone().exposition(START).any(|text| text.contains("arrival_delay_seconds_count"))
    }
}

/// Largest answer that is read.
pub const MAX_BYTES: usize = 4_000;

pub fn no_history(_: &mut SourcePosition, _: &PullSettings) {}

/// All of a stream, from the beginning.
pub fn all(stream: Stream) -> PullSettings {
    PullSettings { since: Since::Beginning, ..PullSettings::of(stream) }
}

pub fn activities() -> PullSettings {
    all(Stream::Activities)
}

/// The parameter for hidden activities.
pub fn hidden() -> (&'static str, String) {
    ("includeHidden", "true".to_owned())
}

/// Agents as full inventories.
pub fn snapshots(marker: bool) -> StreamOptions {
    StreamOptions::Agents(AgentSettings { snapshot: true, marker, ..AgentSettings::default() })
}

/// Activities of these types, all when empty, but for the others.
pub fn of_types(types: Vec<u32>, exclude_types: Vec<u32>) -> StreamOptions {
    StreamOptions::Activities(ActivityFilter { types, exclude_types, with_threats: false })
}

/// All findings of these sites, which are read one after the other.
pub fn findings_of(sites: &[&str]) -> PullSettings {
    let settings = json!({ "url": "https://console.example", "token": "t", "sites": sites });
    all(Stream::Vulnerabilities).with_scopes(&serde_json::from_value(settings).unwrap())
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

pub fn ids(page: &Emitted) -> Vec<&str> {
    page.records.iter().map(|record| record.id.as_str()).collect()
}

pub fn record_key(id: u64, at: Timestamp) -> RecordKey {
    RecordKey { id, version: id, content: None, time: at, created: Some(at) }
}

pub fn finding(id: u64) -> String {
    format!(r#"{{"id":"{id}","status":"Detected","detectionDate":"{}"}}"#, ago(60))
}

/// The activity or finding `record`, made larger than an answer may be.
pub fn large(record: &str) -> String {
    record.replace("}", &format!(r#","filler":"{}"}}"#, "x".repeat(2 * MAX_BYTES)))
}

pub fn unified(id: &str, more: &str, next: Option<&str>) -> String {
    let node = format!(r#"{{"id":"{id}","createdAt":"{0}","updatedAt":"{0}","detectedAt":"{0}"{more}}}"#, ago(60));
    let has_next = next.is_some();
    let end = next.unwrap_or_default();
    format!(
        r#"{{"data":{{"alerts":{{"totalCount":1,"pageInfo":{{"hasNextPage":{has_next},"endCursor":"{end}"}},"edges":[{{"cursor":"x","node":{node}}}]}}}}}}"#
    )
}
