//! `check` and `preview --as-sent` for sinks with the destination's own SentinelOne content.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::double::{Contract, Double, Received, Reply};
use crate::support::google_secops::{KEY, SecOps};
use crate::support::harness::Harness;

/// A cluster with the assets of Elastic's integration, whose pipeline for activities fails.
struct Cluster;

impl Contract for Cluster {
    fn answer(&mut self, request: &Received) -> Reply {
        let dataset =
            ["threat", "activity"].into_iter().find(|name| request.path.contains(&format!("sentinel_one.{name}-")));
        let dataset = dataset.unwrap_or_default();
        match request.path.as_str() {
            "/" => Reply::new(200, r#"{"version":{"number":"9.2.0"}}"#),
            path if path.ends_with("/_settings/index.default_pipeline") => {
                let pipeline = format!("logs-sentinel_one.{dataset}-2.8.2");
                let index = json!({ "settings": { "index": { "default_pipeline": pipeline } } });
                Reply::new(200, json!({ "index": index }).to_string())
            }
            path if path.ends_with("/_simulate") => {
                let mut source = request.json().unwrap()["docs"][0]["_source"].clone();
                let record: Value = serde_json::from_str(source["message"].as_str().unwrap()).unwrap();
                assert!(record["id"].is_string() && record.get("activityType").is_some() == (dataset == "activity"));
                if dataset == "activity" {
                    source["event"]["kind"] = json!("pipeline_error");
                    source["error"] = json!({ "message": ["field [x] not present"] });
                }
                Reply::new(200, json!({ "docs": [{ "doc": { "_source": source } }] }).to_string())
            }
            _ => Reply::new(404, ""),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_proves_each_stream_with_its_newest_record() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 20)).await;
    let cluster = Double::start(Cluster).await;
    let mut pipeline = harness.pipeline(json!({ "streams": { "activities": {}, "threats": {} } }));
    pipeline["sinks"] = json!([{ "type": "elasticsearch", "url": cluster.url(), "content": "integration" }]);
    harness.put("acme", &pipeline);
    let exit = harness.command(&["check", "--pipelines", "pipelines", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{}{}", exit.stdout, exit.stderr));
    let findings = report["pipelines"][0]["findings"].as_array().unwrap();
    let findings: BTreeMap<&str, &Value> =
        findings.iter().map(|finding| (finding["subject"].as_str().unwrap(), finding)).collect();
    let threats = findings["sink elasticsearch (threats)"];
    assert_eq!(threats["check"], "verified", "{threats}");
    assert!(threats["detail"].as_str().unwrap().contains("reads the newest record"), "{threats}");
    let activities = findings["sink elasticsearch (activities)"];
    assert_eq!((exit.code, &activities["check"]), (Some(1), &json!("failed")), "{activities}");
    assert!(activities["detail"].as_str().unwrap().contains("field [x] not present"), "{activities}");
    assert!(cluster.requests().iter().all(|request| !request.path.ends_with("/_bulk")), "nothing is delivered");
}

/// The token service of Azure and a data collection rule without the stream of threats.
struct Rule;

impl Contract for Rule {
    fn answer(&mut self, request: &Received) -> Reply {
        match request.path.as_str() {
            path if path.ends_with("/token") => Reply::new(200, r#"{"access_token":"t","expires_in":3599}"#),
            path if path.contains("/streams/Custom-SentinelOneThreats_API") => {
                Reply::new(400, r#"{"error":{"code":"InvalidStream","message":"no such stream"}}"#)
            }
            path if path.contains("/streams/Custom-SentinelOneActivities_CL") => Reply::new(204, ""),
            _ => Reply::new(404, ""),
        }
    }
}

/// Each stream has a stream of its own in a rule, and a log type of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_asks_for_each_stream_of_a_rule_and_each_log_type() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 20)).await;
    let rule = Double::start(Rule).await;
    let secops = Double::start(SecOps::default()).await;
    harness.write("client", "s");
    harness.write("account", KEY);
    let mut pipeline = harness.pipeline(json!({ "streams": { "activities": {}, "threats": {} } }));
    pipeline["sinks"] = json!([
        { "type": "azure_logs", "url": rule.url(), "dcr_immutable_id": "dcr-1", "tenant_id": "t", "client_id": "c",
          "client_secret": { "file": harness.path("client") }, "authority": rule.url(), "content": "integration" },
        { "type": "google_secops", "url": secops.url(), "token_url": format!("{}/token", secops.url()), "project": "p",
          "location": "eu", "instance": "i", "service_account": { "file": harness.path("account") } },
    ]);
    harness.put("acme", &pipeline);
    let exit = harness.command(&["check", "--pipelines", "pipelines", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{}{}", exit.stdout, exit.stderr));
    let findings = report["pipelines"][0]["findings"].as_array().unwrap();
    let found: BTreeMap<&str, &str> = findings
        .iter()
        .map(|finding| (finding["subject"].as_str().unwrap(), finding["check"].as_str().unwrap()))
        .filter(|(subject, _)| subject.starts_with("sink "))
        .collect();
    let expected = [
        ("sink azure_logs (activities)", "verified"),
        ("sink azure_logs (threats)", "failed"),
        ("sink google_secops (activities)", "verified"),
        ("sink google_secops (threats)", "verified"),
    ];
    assert_eq!(found, expected.into(), "{report:#}");
    let asked: BTreeSet<String> = secops.requests().into_iter().map(|request| request.path).collect();
    for log_type in ["SENTINELONE_ACTIVITY", "SENTINELONE_ALERT"] {
        assert!(asked.iter().any(|path| path.contains(&format!("/logTypes/{log_type}"))), "{asked:?}");
    }
}

/// A request as it was printed: its first line, headers and body.
fn requests(text: &str) -> Vec<(String, BTreeMap<String, String>, String)> {
    let mut requests = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(first) = lines.next() {
        let mut headers = BTreeMap::new();
        while let Some(line) = lines.next().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            headers.insert(name.to_owned(), value.to_owned());
        }
        let mut body = Vec::new();
        while let Some(line) = lines.next().filter(|line| !line.is_empty()) {
            body.push(line);
        }
        requests.push((first.to_owned(), headers, body.join("\n")));
    }
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_shown_as_they_would_be_sent_and_nobody_is_asked() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (50, 50)).await;
    let absent = json!({ "file": harness.path("absent") });
    let url = harness.sink.url();
    let mut pipeline = harness.pipeline(json!({
        "streams": { "activities": {}, "threats": {} }, "transform": { "schema": "ecs", "labels": { "site": "{site.name}" } },
    }));
    pipeline["sinks"] = json!([
        { "type": "splunk_hec", "url": url, "token": absent, "content": "integration", "batch": { "events": 4 },
          "headers": { "X-Gateway": absent }, "tls": { "ca_file": harness.path("absent") } },
        { "type": "sekoia", "url": url, "intake_key": absent },
        { "type": "sumo", "url": format!("{url}/c4nary/x?key=c4nary"), "code": absent, "source_category": "{label.site}" },
        { "type": "azure_logs", "url": url, "dcr_immutable_id": "dcr-1", "tenant_id": "t", "client_id": "c",
          "client_secret": absent, "authority": url, "content": "integration",
          "oauth2": { "tls": { "ca_file": harness.path("absent") } } },
        { "type": "http", "url": url, "auth": { "type": "hmac", "secret": absent } },
        { "type": "elasticsearch", "url": format!("{url}/base"), "content": "integration",
          "auth": { "type": "basic", "user": "u", "password": absent } },
        { "type": "http", "name": "failing", "url": url, "schema": "raw", "envelope": true,
          "remap": ".count = to_int!(.threatInfo.threatName)" },
        { "type": "stdout" },
    ]);
    harness.put("acme", &pipeline);
    let preview = async |sink: &str, stream: &str| {
        let arguments =
            ["preview", "pipelines/acme.yaml", "--stream", stream, "--sink", sink, "--as-sent", "--limit", "6"];
        harness.command(&[&arguments[..], &["--requests-per-second", "100"]].concat()).await
    };
    let show = async |sink: &str| {
        let exit = preview(sink, "threats").await;
        assert_eq!(exit.code, Some(0), "{sink}: {}", exit.stderr);
        assert!(!exit.stdout.contains("c4nary"), "{}", exit.stdout);
        requests(&exit.stdout)
    };

    let splunk = show("splunk_hec").await;
    assert_eq!(splunk.len(), 2, "four events, and two");
    let (first, headers, body) = &splunk[0];
    assert_eq!(*first, format!("POST {url}/services/collector/event"));
    for (name, value) in [
        ("authorization", "Splunk ***"),
        ("content-encoding", "gzip"),
        ("content-type", "application/json"),
        ("x-gateway", "***"),
        ("x-s1-forwarder-pipeline", "acme"),
        ("x-s1-forwarder-stream", "threats"),
    ] {
        assert_eq!(headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(headers["idempotency-key"].starts_with("msg_"), "{headers:?}");
    let event: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
    assert!(event["event"]["threatInfo"].is_object() && event["fields"]["siteName"].is_string(), "{event}");
    assert_eq!((&event["sourcetype"], body.lines().count()), (&json!("sentinelone:channel:threats"), 4));

    let sekoia = show("sekoia").await;
    let events: Value = serde_json::from_str(&sekoia[0].2).unwrap();
    assert_eq!((&sekoia[0].1["x-sekoiaio-intake-key"], &events[0]["intake_key"]), (&"***".to_owned(), &json!("***")));

    let sumo = show("sumo").await;
    assert!(sumo.iter().all(|(first, ..)| *first == format!("POST {url}/***/***?***")), "{sumo:?}");
    let sites: std::collections::BTreeSet<&str> =
        sumo.iter().map(|(_, headers, _)| headers["x-sumo-category"].as_str()).collect();
    assert!(!sites.is_empty() && !sites.contains("unknown"), "each event's own label: {sites:?}");

    let azure = show("azure_logs").await;
    let expected = "/dataCollectionRules/dcr-1/streams/Custom-SentinelOneThreats_API?api-version=2023-01-01";
    assert_eq!(
        (azure[0].0.as_str(), azure[0].1["authorization"].as_str()),
        (format!("POST {url}{expected}").as_str(), "Bearer ***")
    );
    let rows: Value = serde_json::from_str(&azure[0].2).unwrap();
    assert!(rows[0]["threatInfo"].is_string(), "{rows}");

    let http = show("http").await;
    assert_eq!(http[0].1["webhook-signature"], "***");
    let failing = show("failing").await;
    let events: Vec<Value> = failing[0].2.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 6);
    for event in &events {
        assert!(event["error"].as_str().unwrap().starts_with("remap: remap: function call error"), "{event}");
    }
    let elastic = show("elasticsearch").await;
    assert!(elastic[0].0.starts_with(&format!("POST {url}/***/logs-sentinel_one.threat-default/_bulk?filter_path=")));
    assert_eq!((elastic[0].1["authorization"].as_str(), elastic[0].2.lines().count()), ("Basic ***", 12));

    // A record as text is longer than it was: what was meant for one request is sent in halves.
    pipeline["sinks"][5]["batch"] = json!({ "bytes": elastic[0].2.len() - 1 });
    harness.put("acme", &pipeline);
    let halves: Vec<_> = show("elasticsearch").await.iter().map(|(.., body)| body.lines().count()).collect();
    assert_eq!((elastic.len(), halves), (1, vec![6, 6]));

    let stdout = preview("stdout", "threats").await;
    assert!(stdout.code == Some(1) && stdout.stderr.contains("no HTTP requests"), "{}", stdout.stderr);
    let missing = preview("nobody", "threats").await;
    assert!(missing.stderr.contains("no sink `nobody`"), "{}", missing.stderr);
    assert!(harness.sink.requests().is_empty() && !harness.path("state").exists(), "nobody was asked");
}
