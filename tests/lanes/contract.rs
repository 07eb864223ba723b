//! What each stream is to the console and to the store, as one text: its requests, what identifies its records, its
//! checkpoint and when its lane is judged. A refactoring leaves the text as it is.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder::checkpoint::ledger::Accounting;
use s1_forwarder::console::scripted::{ScriptedTransport, dated};
use s1_forwarder::console::{Client, Endpoint, Response};
use s1_forwarder::record::{Fact, Key, LaneId, Stream};
use s1_forwarder::settings::Period;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{
    Action, ConsoleHabits, LatestRecords, Poll, PullSettings, Request, Rhythm, SilentAfter, Since, SourcePosition,
    StreamSettings, TimeField, Window,
};
use s1_forwarder::telemetry::Meter;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::harness::{LaneHarness, START};
use super::script::{activity, ago, alert, all, counted, finding, findings_of, page, unified};

/// More than the console accepts, so that the limit of the stream shows.
const MANY: usize = 10_000;
const MAX_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl Asked {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// A console whose lists have two pages of one record each.
fn console(asked: Arc<Asked>, harness: &LaneHarness) -> ScriptedTransport {
    let clock = harness.clock;
    ScriptedTransport::new(move |request| {
        let path = request.url.path().trim_start_matches("/web/api/v2.1/").to_owned();
        let query = request.url.query().unwrap_or_default().to_owned();
        let variables = request.body.as_ref().map(|body| {
            let body: Value = serde_json::from_slice(body).unwrap();
            let is_brief = !body["query"].as_str().unwrap().contains("analystVerdict");
            format!("brief={is_brief} {}", body["variables"])
        });
        let question = variables.unwrap_or(query);
        let is_first = !question.contains("page-2");
        let next = is_first.then_some("page-2");
        let body = if path.contains("graphql") {
            unified(if is_first { "1" } else { "2" }, "", next)
        } else if question.contains("countOnly") {
            counted(2)
        } else {
            let id = if is_first { 1 } else { 2 };
            let record = match path.as_str() {
                "activities" => activity(id, ago(60)),
                "cloud-detection/alerts" => alert(id, ago(60), "Unresolved"),
                "application-management/risks" => finding(id),
                path => format!(
                    r#"{{"id":"{id}","createdAt":"{0}","updatedAt":"{0}"{1},"threatInfo":{{"updatedAt":"{0}"}}}}"#,
                    ago(60),
                    own_times(path)
                ),
            };
            page(&[record], next)
        };
        asked.0.lock().push(format!("{path} {}", question.replace("%3A", ":")));
        let response = Response { status: http::StatusCode::OK, headers: dated(clock.now()), body: body.into() };
        std::future::ready(Ok(response))
    })
}

/// The times of the stream with this path that others have not.
fn own_times(path: &str) -> String {
    let stream = Stream::ALL.into_iter().find(|stream| Endpoint::of(*stream).path == path);
    let keys = stream.map_or(&[][..], |stream| stream.description().keys);
    let names = keys.iter().filter_map(|key| match key {
        Key::Value("createdAt" | "updatedAt", _) => None,
        Key::Value(name, Fact::Created | Fact::Updated) => Some(*name),
        _ => None,
    });
    names.map(|name| format!(r#","{name}":"{}""#, ago(60))).collect()
}

async fn poll(client: &Client, meter: &Meter, pull: &PullSettings, pass: usize, text: &mut String) {
    let passes = pull.passes();
    let mut position = SourcePosition::starting_at(ago(7_200));
    position.add_passes(&passes);
    let mut poll =
        Poll::new(client, meter.clone(), Arc::new(pull.clone()), &position, pass, START, ConsoleHabits::default())
            .unwrap();
    for _ in 0..40 {
        match poll.next_action() {
            Action::Ask(request) => {
                let pause = request.pause();
                let answer = request.with_size(MANY, MAX_BYTES).send(client, client.permit().await, None).await;
                if !pause.is_zero() {
                    writeln!(text, "  after {pause:?}").unwrap();
                }
                poll.answered(answer, client.latest_time()).unwrap();
            }
            Action::Emit(page) => {
                for record in page.records {
                    let s1_forwarder::source::PulledRecord { id, identity, time, record_key: key, .. } = record;
                    let has_version = key.version != key.id;
                    writeln!(text, "  record {id} {identity} {time:?} {:?} version={has_version}", key.created)
                        .unwrap();
                }
            }
            Action::Done(context, end) => {
                writeln!(text, "  {end:?} {context:?}").unwrap();
                return;
            }
        }
    }
    panic!("the poll does not end");
}

/// What is asked of the console for these settings.
async fn requests(name: &str, pull: &PullSettings, text: &mut String) {
    let harness = LaneHarness::new(|_| {});
    let asked = Arc::new(Asked::default());
    let client = Arc::new(harness.client(Arc::new(console(asked.clone(), &harness)), "siem"));
    let meter = Meter::start(&harness.telemetry, &LaneId::new("acme", pull.stream, "siem"), "memory", harness.clock);
    writeln!(text, "\n=== {name}").unwrap();
    let show = |what: &str, text: &mut String| {
        writeln!(text, "{what}").unwrap();
        asked.take().iter().for_each(|asked| writeln!(text, "  {asked}").unwrap());
    };
    for (number, pass) in pull.passes().iter().enumerate() {
        writeln!(text, "{pass:?}").unwrap();
        poll(&client, &meter, pull, number, text).await;
        show("poll", text);
    }
    for by in [TimeField::Order, TimeField::Creation] {
        let window = Window { from: ago(7_200), to: ago(3_600), time: by };
        poll(&client, &meter, &pull.within(window), 0, text).await;
        show(&format!("backfill {by:?}"), text);
        let count = pull.count(&client, window, Some(&meter)).await.unwrap();
        show(&format!("count {by:?}: {count}"), text);
    }
    let mut latest = LatestRecords::new(client.clone(), pull.clone(), 5);
    while latest.next(MAX_BYTES, |_, _| {}).await.unwrap() {}
    show("latest", text);
    _ = Request::probe(pull.stream, MAX_BYTES).send(&client, client.permit().await, None).await.unwrap();
    show("probe", text);
    writeln!(text, "ledger asks {:?}", pull.narrowed_by()).unwrap();
}

/// The stream that these settings name.
fn set(settings: Value) -> PullSettings {
    let settings: StreamSettings = serde_json::from_value(settings).unwrap();
    PullSettings { since: Since::Beginning, ..settings.pulls().remove(0) }
}

/// What does not depend on settings.
fn nature(stream: Stream, text: &mut String) {
    let pull = PullSettings::of(stream);
    let by_hand = PullSettings { silent_after: SilentAfter::Period(Period(Duration::from_mins(1))), ..pull.clone() };
    let rhythm = Rhythm::default();
    writeln!(text, "every {:?} {:?} {:?}", pull.interval, pull.since, pull.overlap).unwrap();
    writeln!(text, "own {:?}, slow {}", pull.own, Endpoint::of(stream).is_slow).unwrap();
    writeln!(text, "permission {}", Endpoint::permission(stream)).unwrap();
    writeln!(text, "silent {:?} {:?}", rhythm.threshold(&pull), rhythm.threshold(&by_hand)).unwrap();
    writeln!(text, "accounting {:?}, singular {}", Accounting::of(stream), stream.singular()).unwrap();
}

/// What a lane stores that has delivered the console's records.
async fn checkpoint(pull: PullSettings, text: &mut String) {
    let harness = LaneHarness::new(|_| {});
    let sink = MemorySink::accepting(harness.clock);
    let stream = pull.stream;
    let mut lane = harness.lane(pull, "siem", sink.clone());
    lane.client = Arc::new(harness.client(Arc::new(console(Arc::default(), &harness)), "siem"));
    let end = harness.run_once(lane).await;
    let mut stored = harness.checkpoint(stream, "siem").unwrap();
    // The directory has another name in each run.
    stored.dead_letters.flags = Box::default();
    let digest = hex::encode(&Sha256::digest(stored.encode())[..8]);
    writeln!(text, "{end:?}: delivered {} stored {digest}", sink.accepted().len()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_stream_asks_and_stores_what_it_always_did() {
    let mut text = String::new();
    let sites = findings_of(&["100000000000000007", "100000000000000008"]);
    let harness = LaneHarness::new(|_| {});
    for stream in Stream::ALL {
        requests(stream.name(), &all(stream), &mut text).await;
        nature(stream, &mut text);
        checkpoint(harness.pull(stream), &mut text).await;
    }
    let snapshot = json!({ "agents": { "mode": "snapshot", "marker": true } });
    checkpoint(PullSettings { interval: Duration::from_secs(30), ..set(snapshot.clone()) }, &mut text).await;
    for (name, pull) in [
        (
            "activities of types",
            set(json!({ "activities": { "types": [5, 27], "exclude_types": [27], "include_hidden": true } })),
        ),
        ("decommissioned agents", set(json!({ "agents": { "include_decommissioned": true } }))),
        ("snapshots of agents", set(snapshot)),
        ("alerts without lookback", set(json!({ "alerts": { "lookback": "0s" } }))),
        ("unified alerts of a view", set(json!({ "unified_alerts": { "products": ["EDR"], "view": "identity" } }))),
        (
            "open vulnerabilities",
            set(json!({ "vulnerabilities": { "severities": ["high"], "include_removed": false } })),
        ),
        ("vulnerabilities of two sites", sites),
    ] {
        requests(name, &pull, &mut text).await;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/streams.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (number, (is, was)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, was, "tests/data/streams.txt:{}", number + 1);
    }
    assert_eq!(text.len(), expected.len());
}
