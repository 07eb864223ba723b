//! The metrics of a running worker: all there, and adding up.

use s1_forwarder::emulator::{Faults, Kind, system_clock};
use serde_json::{Value, json};

use super::once::failing;
use crate::support::harness::Harness;
use crate::support::process::{Metrics, Process, until};

/// The documented metrics, except those of expiring tokens and of late records.
const NAMES: [&str; 17] = [
    "records_pulled_total",
    "events_delivered_total",
    "records_skipped_total",
    "dead_letters_total",
    "map_errors_total",
    "remap_errors_total",
    "delivered_bytes_total",
    "lag_seconds",
    "last_success_timestamp_seconds",
    "lane_up",
    "console_requests_total",
    "console_request_duration_seconds_count",
    "sink_requests_total",
    "sink_request_duration_seconds_count",
    "in_flight_bytes",
    "pipelines",
    "build_info",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_balance_when_everything_is_quiet() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (800, 200, 20.0)).await;
    let streams = json!({
        "activities": { "interval": "300ms", "exclude_types": [27, 2] },
        "threats": { "interval": "300ms", "since": "30d" },
    });
    harness.put_changed("acme", json!({ "streams": streams }));
    let mut token = s1_forwarder::emulator::Token::new(s1_forwarder::emulator::Setup::TOKEN);
    token.expires = system_clock() + 30 * 86_400_000_000;
    harness.console().set_token(token);
    harness.console().set_faults(Faults::preset("server-errors").unwrap().merge(Faults::preset("late").unwrap()));
    harness.sink.misbehave(7, failing());
    // One event of all is poison: whatever batch it is in is refused.
    harness.sink.contract(|rules| rules.event_bytes = Some(200_000));
    let time = system_clock() - 60_000_000;
    let oversized = harness.console().generate_oversized(Kind::Activities, time, 250_000);
    harness.console().update(Kind::Activities, oversized, time, |record| record["activityType"] = json!(19));
    let mut worker = harness.worker();
    until("the worker is at work under faults", async || {
        (harness.sink.ledger().counts().len() > 900 && worker.metrics().await.sum("dead_letters_total", &[]) == 1)
            .then_some(())
    })
    .await;

    harness.console().set_rate(0.0, system_clock());
    harness.console().set_faults(Faults::default());
    harness.sink.misbehave(0, vec![]);
    // A poll begins every 300 ms, and a scrape in the middle of a page sees its records pulled and not yet skipped.
    let metrics = until("nothing is in flight, and what was pulled is settled", async || {
        let metrics = worker.metrics().await;
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        let later = worker.metrics().await;
        let still = ["events_delivered_total", "dead_letters_total"]
            .iter()
            .all(|name| metrics.sum(name, &[]) == later.sum(name, &[]));
        let quiet = later.sum("in_flight_bytes", &[]) == 0;
        let balanced = |stream| is_balanced(&later, &[("pipeline", "acme"), ("stream", stream), ("sink", "siem")]);
        // The first check of the token begins some seconds after the start.
        let is_token_known = later.samples("token_expiry_timestamp_seconds").next().is_some();
        (still && quiet && is_token_known && ["activities", "threats"].into_iter().all(balanced)).then_some(later)
    })
    .await;

    for name in NAMES.into_iter().chain(["token_expiry_timestamp_seconds", "arrival_delay_seconds_count"]) {
        assert!(metrics.samples(name).next().is_some(), "{name} is missing\n{}", metrics.0);
    }
    for (kind, stream) in [(Kind::Activities, "activities"), (Kind::Threats, "threats")] {
        let lane = [("pipeline", "acme"), ("stream", stream), ("sink", "siem")];
        let count = |name: &str| metrics.sum(name, &lane);
        assert!(count("records_skipped_total") > 0, "the overlap was never read again");
        assert_eq!(
            metrics.samples("lane_up").filter(|(labels, _)| labels.contains(stream)).map(|s| s.1).sum::<f64>(),
            1.0
        );
        // What was taken without an answer is counted once, by the answer that came.
        let owed_or_past = &harness.owed(kind) | &harness.past(kind);
        let arrived = harness.sink.ledger().counts().into_keys().filter(|id| owed_or_past.contains(id)).count();
        assert_eq!(count("events_delivered_total"), arrived as u64, "{stream}");
    }
    let wire: usize =
        harness.sink.requests().iter().filter(|seen| seen.status == 200).map(|seen| seen.wire_bytes).sum();
    let lost = harness.sink.ledger().unanswered().len();
    assert!(
        lost > 0 && metrics.sum("delivered_bytes_total", &[]) <= wire as u64,
        "bytes are counted when they are acknowledged"
    );
    assert_eq!(metrics.sum("dead_letters_total", &[]), 1);
    assert!(metrics.sum("records_skipped_total", &[("reason", "filtered")]) > 0);
    // No sink refused for long and no lane was stopped: a record that is requeued here would be unaccounted for.
    assert_eq!(metrics.sum("records_requeued_total", &[]), 0);
    assert_eq!(metrics.sum("pipelines", &[("state", "running")]), 1);
    let asked = metrics.sum("console_requests_total", &[("pipeline", "acme")]);
    assert!(asked > metrics.sum("console_requests_total", &[("status", "200")]), "the console never failed");
    assert_eq!(asked, metrics.sum("console_request_duration_seconds_count", &[]));
    assert_eq!(
        metrics.sum("sink_requests_total", &[]),
        metrics.sum("sink_request_duration_seconds_count", &[("type", "http")])
    );
}

/// pulled = delivered + skipped + requeued + dead letters.
fn is_balanced(metrics: &Metrics, labels: &[(&str, &str)]) -> bool {
    let pulled = metrics.sum("records_pulled_total", labels);
    let settled = ["events_delivered_total", "records_skipped_total", "records_requeued_total", "dead_letters_total"]
        .map(|name| metrics.sum(name, labels));
    let balanced = pulled == settled.into_iter().sum::<u64>();
    if !balanced {
        eprintln!("{labels:?}: pulled {pulled}; delivered, skipped, requeued and dead letters {settled:?}");
    }
    balanced
}

/// A worker that has delivered the activities of a console that answers each request with these records, and its
/// metrics then.
async fn delivered(harness: &Harness, records: &[Value]) -> (Process, Metrics) {
    delivered_with(harness, records, json!({ "schema": "ecs" })).await
}

async fn delivered_with(harness: &Harness, records: &[Value], transform: Value) -> (Process, Metrics) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let pagination = json!({ "nextCursor": null, "totalItems": records.len() });
    let page = json!({ "data": records, "pagination": pagination }).to_string();
    let app = axum::Router::new().fallback(async move || page.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    // One poll: this console shows the same records whatever the time that it is asked for.
    let streams = json!({ "activities": { "since": "2026-01-01", "interval": "1h" } });
    harness.put_changed("acme", json!({ "console": { "url": url }, "streams": streams, "transform": transform }));
    let mut worker = harness.worker();
    let metrics = until("all are delivered", async || {
        let metrics = worker.metrics().await;
        (metrics.sum("events_delivered_total", &[]) == records.len() as u64).then_some(metrics)
    })
    .await;
    (worker, metrics)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_without_a_zone_are_counted() {
    let harness = Harness::new(|_| {}).await;
    let record = |(number, zone): (usize, &str)| {
        let created = format!("2026-01-31T00:00:0{number}{zone}");
        json!({ "id": number.to_string(), "activityType": 27, "createdAt": created })
    };
    let records: Vec<_> = ["Z", "", "+02:00", ""].into_iter().enumerate().map(record).collect();
    let (_worker, metrics) = delivered(&harness, &records).await;
    assert_eq!(metrics.sum("times_without_zone_total", &[("pipeline", "acme"), ("stream", "activities")]), 2);
}

/// One record is in bounds, and two are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_exceed_a_bound_are_counted_and_delivered() {
    let harness = Harness::new(|_| {}).await;
    let record = |number: u64| {
        let created = format!("2026-01-31T00:00:0{number}.000000Z");
        let list: Vec<_> = (0..9_999 + number).collect();
        json!({ "id": number.to_string(), "activityType": 27, "createdAt": created, "data": { "list": list } })
    };
    let (worker, metrics) = delivered(&harness, &[1, 2, 3].map(record)).await;
    assert_eq!(metrics.sum("overflowed_records_total", &[("pipeline", "acme"), ("stream", "activities")]), 2);
    let lines = worker
        .log()
        .into_iter()
        .filter(|line| line["message"].as_str().unwrap_or_default().contains("too many levels"));
    let counts: Vec<_> =
        lines.map(|line| (line["level"].clone(), line["count"].clone(), line["record_id"].clone())).collect();
    assert_eq!(counts, [(json!("WARN"), json!(1), json!("2"))], "the other one is in the line of the next minute");
}

/// A lane keeps the labels of 1,000 sites.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_whose_labels_are_too_many_are_counted_and_shown() {
    let harness = Harness::new(|_| {}).await;
    let record = |number: u64| {
        let created = "2026-01-31T00:00:00.000000Z";
        json!({ "id": number.to_string(), "activityType": 27, "createdAt": created, "siteName": format!("site {number}") })
    };
    let records: Vec<_> = (0..1_003).map(record).collect();
    let (mut worker, metrics) =
        delivered_with(&harness, &records, json!({ "labels": { "site": "{site.name}" } })).await;
    assert_eq!(metrics.sum("records_with_other_labels_total", &[("pipeline", "acme"), ("stream", "activities")]), 3);
    let line = worker.logged(&["the console names more different labels than a lane keeps"]).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["count"]), (&json!("WARN"), &json!(1)), "the others are in the next line");
    let lane = worker.lane("acme/activities/siem", |lane| lane["up"] == true).await;
    let warning = "3 records have the label `other`";
    assert!(lane["warnings"][0].as_str().is_some_and(|text| text.starts_with(warning)), "{lane}");
    assert!(worker.get("/pipelines/acme").await.1.contains(warning));
}

/// A console of a newer release: two unknown fields, one of them in `data`, and keys that are data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_no_mapping_knows_are_counted_and_named_once() {
    let harness = Harness::new(|_| {}).await;
    let record = |number: u64| {
        let data = json!({ "username": "jane", "brandNew": { "deep": number }, "byId": { (4_711_000_000 + number).to_string(): "x" } });
        let created = format!("2026-01-31T00:00:0{number}.000000Z");
        json!({ "id": number.to_string(), "activityType": 27, "createdAt": created, "data": data, "alsoNew": "secret" })
    };
    let records: Vec<_> = (1..4).map(record).collect();
    let (worker, metrics) = delivered(&harness, &records).await;
    assert_eq!(metrics.sum("unmapped_fields_total", &[("stream", "activities")]), 9);
    assert_eq!(metrics.sum("unmapped_fields_total", &[]), 9);
    let lines = worker
        .log()
        .into_iter()
        .filter(|line| line["message"].as_str().unwrap_or_default().contains("no mapping knows"));
    let mut named: Vec<String> = lines
        .map(|line| {
            assert_eq!(
                (&line["pipeline"], &line["stream"], &line["level"]),
                (&"acme".into(), &"activities".into(), &"INFO".into())
            );
            line["path"].as_str().unwrap().to_owned()
        })
        .collect();
    named.sort();
    assert_eq!(named, ["alsoNew", "data.brandNew.deep", "data.byId.*"]);
    assert!(!worker.log_text().contains("secret\""), "{}", worker.log_text());
}
