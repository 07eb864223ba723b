//! What consoles answer: pages, chains of pages with cursors, and errors.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{Target, assert_shown, outline};
use crate::console::scripted::ScriptedTransport;
use crate::console::{Client, ConsoleError, Limiters, RequestPermit, Response};
use crate::failure::{Failure, FailureKind};
use crate::record::{Clock, Identity, LaneId, Stream, Timestamp};
use crate::source::{Action, ConsoleHabits, Poll, PullSettings, SourcePosition};
use crate::telemetry::{Meter, Telemetry};

const TOKEN: &str = "c4nary-token";
const WORDS: &[&str] = &[
    "data",
    "pagination",
    "nextCursor",
    "totalItems",
    "errors",
    "code",
    "title",
    "detail",
    "id",
    "createdAt",
    "updatedAt",
    "threatInfo",
    "identifiedAt",
    "alertInfo",
    "pageInfo",
    "hasNextPage",
    "endCursor",
    "edges",
    "node",
    "totalCount",
    "alerts",
    "activityType",
    "27",
    "null",
    "a&b=c#d?e",
    "2026-09-21T14:13:20.000000Z",
    "2026-09-21T14:10:00Z",
];

/// When the poll starts.
const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// One record of each stream, as a real console has it.
pub(super) fn examples() -> Vec<(Stream, Value)> {
    let examples: Value = serde_json::from_str(include_str!("../../crates/mapping/tests/data/examples.json")).unwrap();
    let example = |stream: Stream| {
        examples.get(stream.name()).cloned().unwrap_or_else(|| panic!("no example of {}", stream.name()))
    };
    Stream::ALL.into_iter().map(|stream| (stream, example(stream))).collect()
}

/// A console with the responses of one input, and a client of it.
struct Console {
    client: Client,
    answer: Arc<Mutex<(StatusCode, HeaderMap, Bytes)>>,
    meters: Vec<Meter>,
    /// The client's timeouts need one.
    runtime: Runtime,
}

impl Console {
    fn new() -> Self {
        let answer = Arc::new(Mutex::new((StatusCode::OK, HeaderMap::new(), Bytes::new())));
        let settings = json!({ "url": "https://console.example", "token": TOKEN, "sites": ["225494730938493804"] });
        let settings = serde_json::from_value(settings).unwrap();
        let shared = answer.clone();
        let transport = ScriptedTransport::new(move |request| {
            let url = request.url;
            assert_eq!(url.host_str(), Some("console.example"), "{url}");
            assert!(url.path().starts_with("/web/api/v2.1/"), "{url}");
            assert!(url.fragment().is_none() && url.query_pairs().count() < 40, "{url}");
            let (status, headers, body) = shared.lock().clone();
            std::future::ready(Ok(Response { status, headers, body }))
        });
        let limiter = Limiters::default().join_for(&settings);
        let client = Client::new(&settings, Arc::new(transport), limiter, Clock::System);
        let telemetry = Arc::new(Telemetry::new());
        let meter = |stream| Meter::start(&telemetry, &LaneId::new("acme", stream, "siem"), "test", Clock::System);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { client, answer, meters: Stream::ALL.map(meter).into(), runtime }
    }

    fn send(
        &self,
        request: crate::source::Request,
        answer: (StatusCode, HeaderMap, Bytes),
    ) -> Result<Bytes, ConsoleError> {
        *self.answer.lock() = answer;
        let request = if request.is_page() { request.with_size(100, 1 << 20) } else { request };
        self.runtime.block_on(request.send(&self.client, RequestPermit::unlimited(), None))
    }

    fn poll(&self, stream: usize) -> Poll {
        let pull = PullSettings::of(Stream::ALL[stream]);
        let meter = self.meters[stream].clone();
        let position = SourcePosition::starting_at(START.minus(std::time::Duration::from_mins(5)));
        Poll::new(&self.client, meter, Arc::new(pull), &position, 0, START, ConsoleHabits::default()).unwrap()
    }

    /// Gives the answers to a poll, one after the other. Returns what became of them.
    fn drive(&self, stream: usize, answers: &[Bytes]) -> String {
        // An answer is followed by a page and by the next question.
        let most = 3 * answers.len() + 100;
        let mut poll = self.poll(stream);
        let mut answers = answers.iter();
        let mut result = String::new();
        for _ in 0..most {
            match poll.next_action() {
                Action::Ask(request) => {
                    result.push('?');
                    let Some(answer) = answers.next() else { return result };
                    let answer = self.send(request, (StatusCode::OK, HeaderMap::new(), answer.clone()));
                    if let Err(error) = poll.answered(answer, START) {
                        assert_error(&error);
                        result += &outline(&error.to_string());
                    }
                }
                Action::Emit(page) => {
                    assert!(page.records.len() <= 200_000);
                    for record in page.records.iter().chain(&page.excluded) {
                        assert!(record.id.len() <= 1 << 20, "{}", record.id.len());
                    }
                    result += match (page.records.len(), page.excluded.len()) {
                        (0, 0) => "none",
                        (0, _) => "excluded",
                        (1, _) => "one",
                        _ => "some",
                    };
                }
                Action::Done(..) => return result + ".",
            }
        }
        panic!("a poll without end: {result}");
    }
}

fn assert_error(error: &ConsoleError) {
    let text = error.to_string();
    assert_shown(&text);
    assert!(!text.contains(TOKEN), "{text}");
    if let Failure { kind: FailureKind::Transient, retry_after: Some(after), .. } = error.clone().into() {
        assert!(after.as_secs() <= 600, "{after:?}");
    }
}

fn page(stream: Stream, record: &Value, cursor: Option<&str>) -> Value {
    match stream {
        Stream::UnifiedAlerts => json!({ "data": { "alerts": {
            "totalCount": 2,
            "pageInfo": { "hasNextPage": cursor.is_some(), "endCursor": cursor },
            "edges": [{ "node": record, "cursor": "b" }],
        } } }),
        _ => json!({ "data": [record, record], "pagination": { "nextCursor": cursor, "totalItems": 2 } }),
    }
}

fn recent(mut record: Value) -> Value {
    // So that the poll, which asks for the last minutes, owes it.
    for key in ["createdAt", "updatedAt", "identifiedAt", "detectedAt", "detectionDate"] {
        if let Some(time) = record.get_mut(key) {
            *time = START.minus(std::time::Duration::from_mins(1)).to_string().into();
        }
    }
    record
        .as_object_mut()
        .unwrap()
        .values_mut()
        .filter(|value| value.is_object())
        .for_each(|inner| *inner = recent(inner.take()));
    record
}

fn number(stream: Stream) -> u8 {
    u8::try_from(Stream::ALL.iter().position(|other| *other == stream).unwrap()).unwrap()
}

fn seeds(make: impl Fn(Stream, &Value) -> Vec<Value>) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (stream, record) in examples() {
        for body in make(stream, &recent(record)) {
            seeds.push([&[number(stream)][..], body.to_string().as_bytes()].concat());
        }
    }
    seeds
}

#[test]
fn pages() {
    let console = Console::new();
    let seeds = seeds(|stream, record| vec![page(stream, record, None), page(stream, record, Some("next"))]);
    Target { name: "pages", seeds, words: WORDS, header: 1 }.run(|input| {
        let Some((stream, body)) = input.split_first() else { return String::new() };
        let body = Bytes::copy_from_slice(body);
        let stream = usize::from(*stream) % Stream::ALL.len();
        let result = console.drive(stream, &[body.clone(), body.clone()]);
        // A reader of the facts of each record, as the mapping gets it.
        if let Ok(page) = crate::record::parse_page(&body) {
            for record in page.records {
                let facts = crate::record::facts(Stream::ALL[stream], record);
                let _: Identity = facts.identity("console.example", record);
                let _ = facts.record_id(record);
                let _ = crate::record::one_line(record);
            }
        }
        result
    });
}

/// A list of answers, which a console gives one after the other, with cursors from one to the next.
#[test]
fn cursors() {
    let console = Console::new();
    let seeds = seeds(|stream, record| {
        let chain = |cursors: &[Option<&str>]| {
            cursors.iter().map(|cursor| page(stream, record, *cursor)).collect::<Vec<_>>().into()
        };
        vec![chain(&[Some("a"), Some("b"), None]), chain(&[Some("a"), Some("a"), Some("a")]), chain(&[Some(""), None])]
    });
    Target { name: "cursors", seeds, words: WORDS, header: 1 }.run(|input| {
        let Some((stream, body)) = input.split_first() else { return String::new() };
        let answers = match serde_json::from_slice(body) {
            Ok(Value::Array(answers)) => answers.iter().map(|answer| answer.to_string().into()).collect(),
            _ => vec![Bytes::copy_from_slice(body); 3],
        };
        console.drive(usize::from(*stream) % Stream::ALL.len(), &answers)
    });
}

const STATUSES: [u16; 16] = [400, 401, 403, 404, 408, 413, 418, 425, 429, 500, 501, 502, 503, 504, 302, 599];

/// What a console says with another status than 200. It may repeat the token.
#[test]
fn error_bodies() {
    let console = Console::new();
    let bodies = [
        r#"{"errors":[{"code":4030010,"title":"Insufficient permissions","detail":"User c4nary-token may not."}]}"#,
        r#"{"errors":[{"message":"Validation error","extensions":{"code":"BAD_USER_INPUT"}}],"data":null}"#,
        "<html><head><title>429 Too Many Requests</title></head></html>",
        "7\n{\"errors\":[\"c4nary-token\"]}",
        "Wed, 21 Oct 2026 07:28:30 GMT\n",
    ];
    let seeds = bodies.iter().enumerate().map(|(index, body)| {
        let header = [u8::try_from(index).unwrap(), 0];
        [&header[..], body.as_bytes()].concat()
    });
    Target { name: "error_bodies", seeds: seeds.collect(), words: WORDS, header: 2 }.run(|input| {
        let [status, stream, body @ ..] = input else { return String::new() };
        let status = StatusCode::from_u16(STATUSES[usize::from(*status) % STATUSES.len()]).unwrap();
        // The first line is also a header.
        let mut headers = HeaderMap::new();
        let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.insert(http::header::RETRY_AFTER, value.clone());
            headers.insert(http::header::DATE, value);
        }
        let mut poll = console.poll(usize::from(*stream) % Stream::ALL.len());
        let Action::Ask(request) = poll.next_action() else { panic!("a poll begins with a request") };
        let error = console.send(request, (status, headers, Bytes::copy_from_slice(body))).unwrap_err();
        assert_error(&error);
        let _ = poll.answered(Err(error.clone()), START);
        let _ = poll.next_action();
        outline(&format!("{status} {error}"))
    });
}
