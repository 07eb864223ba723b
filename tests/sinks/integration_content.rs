//! `content: integration` against receivers that are written from what the destinations' own SentinelOne content reads.
//! Their tables stand here a second time, apart from the sinks'.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use s1_forwarder::destinations::SinkContext;
use s1_forwarder::destinations::integration::INTEGRATIONS;
use s1_forwarder::destinations::settings::types;
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Transient};
use s1_forwarder::record::{Stream, Timestamp, facts};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult, Sink};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{HOST, context, raw_records, settings};
use crate::support::deliver::deliver;
use crate::support::double::{Contract, Double, Received, Reply};
use crate::support::elasticsearch::Elastic;

/// A destination that answers a request without remembering any.
pub(super) struct Destination(pub(super) fn(&Received) -> Reply);

impl Contract for Destination {
    fn answer(&mut self, request: &Received) -> Reply {
        (self.0)(request)
    }

    fn delivers(&self, request: &Received) -> bool {
        request.method == "POST" && !request.path.contains("token")
    }
}

pub(super) fn integration(keys: Value, stream: Stream) -> Arc<dyn Sink> {
    let mut keys = keys;
    keys["content"] = json!("integration");
    let settings = settings(keys);
    let schema = settings.schema(Schema::Ecs);
    assert_eq!(schema, Schema::Raw);
    settings.build(&SinkContext { schema, schema_name: "raw", ..context(stream) }).unwrap()
}

fn record(event: &s1_forwarder::sink::Event<'_>) -> Value {
    serde_json::from_slice(event.body).unwrap()
}

/// Names of members, with those of the objects in them.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if inner.is_object() {
            paths(inner, &path, found);
        } else {
            found.insert(path);
        }
    }
}

// Elastic

/// Fields that the package's pipelines move parts of a record to: a move onto a field that is there fails, and the
/// document becomes a `pipeline_error`. `set` writes some of them, which would replace what is there.
const ELASTIC_OWNS: [&str; 40] = [
    "container.",
    "destination.",
    "dll.",
    "dns.",
    "ecs.",
    "error.",
    "event.action",
    "event.category",
    "event.created",
    "event.end",
    "event.id",
    "event.kind",
    "event.original",
    "event.outcome",
    "event.provider",
    "event.reason",
    "event.reference",
    "event.severity",
    "event.start",
    "event.type",
    "event.url",
    "file.",
    "group.",
    "host.",
    "json.",
    "network.",
    "observer.",
    "orchestrator.",
    "organization.",
    "os.",
    "process.",
    "registry.",
    "related.",
    "rule.",
    "sentinel_one.",
    "source.",
    "threat.",
    "url.",
    "user.",
    "vulnerability.",
];

pub(super) fn elasticsearch(request: &Received) -> Reply {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => Reply::new(200, r#"{"version":{"number":"9.2.0"}}"#),
        ("POST", path) if path.ends_with("/_bulk") => {
            let items = request.body.lines().count() / 2;
            let items: Vec<Value> = (0..items).map(|_| json!({ "create": { "status": 201 } })).collect();
            Reply::new(200, json!({ "errors": false, "items": items }).to_string())
        }
        _ => Reply::new(418, "the package's own templates are not the forwarder's business"),
    }
}

#[tokio::test]
async fn elastic_gets_what_its_own_collector_sends_and_labels() {
    for (stream, dataset) in [
        (Stream::Threats, "threat"),
        (Stream::Activities, "activity"),
        (Stream::Agents, "agent"),
        (Stream::Alerts, "alert"),
        (Stream::Groups, "group"),
        (Stream::UnifiedAlerts, "unified_alert"),
        (Stream::Vulnerabilities, "application_risk"),
    ] {
        let elastic = Double::start(Destination(elasticsearch)).await;
        let lane = integration(json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "k" }), stream);
        let sent = raw_records(stream);
        assert_eq!(deliver(lane, &sent).await.delivered, sent.len() as u64);
        let requests = elastic.requests();
        assert_eq!(requests.len(), 2, "only the cluster's name was asked for");
        assert_eq!(requests[1].path, format!("/logs-sentinel_one.{dataset}-default/_bulk"));
        let mut lines = requests[1].body.lines();
        for event in sent.events() {
            let action: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
            assert_eq!(action, json!({ "create": { "_id": event.identity.to_string() } }));
            let document: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
            let expected = json!({
                "@timestamp": event.time.unwrap().to_string(),
                "data_stream": { "type": "logs", "dataset": format!("sentinel_one.{dataset}"), "namespace": "default" },
                "event": { "module": "sentinel_one", "dataset": format!("sentinel_one.{dataset}") },
                "message": std::str::from_utf8(event.body).unwrap(),
                "labels": { "customer": "acme-eu", "pipeline": "acme", "s1_identity": event.identity.to_string() },
                "tags": ["forwarded", format!("sentinel_one-{dataset}")],
            });
            assert_eq!(document, expected);
            let mut found = BTreeSet::new();
            paths(&document, "", &mut found);
            let owned = |path: &&String| ELASTIC_OWNS.iter().any(|owned| format!("{path}.").starts_with(owned));
            assert_eq!(found.iter().find(owned), None);
        }
    }
}

#[tokio::test]
async fn elastic_takes_another_namespace_and_a_name_given_by_hand() {
    let elastic = Double::start(Destination(elasticsearch)).await;
    for (more, path, namespace) in [
        (json!({ "namespace": "{label.customer}" }), "", ""),
        (json!({ "namespace": "{pipeline}" }), "/logs-sentinel_one.threat-acme/_bulk", "acme"),
        (json!({ "data_stream": "logs-own.{stream}-x" }), "/logs-own.threats-x/_bulk", "x"),
        (json!({ "data_stream": "own" }), "/own/_bulk", ""),
    ] {
        let mut keys =
            json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "k", "content": "integration" });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if path.is_empty() {
            let error = settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string();
            assert!(error.contains("`namespace`: `acme-eu`: a hyphen"), "{error}");
            continue;
        }
        assert_eq!(
            integration(keys, Stream::Threats).send(&raw_records(Stream::Threats)).await.outcome,
            Outcome::Delivered
        );
        let request = elastic.requests().pop().unwrap();
        let document: Value = serde_json::from_str(request.body.lines().nth(1).unwrap()).unwrap();
        assert_eq!(
            (request.path.as_str(), document["data_stream"]["namespace"].as_str()),
            (path, Some(namespace).filter(|text| !text.is_empty()))
        );
    }
}

/// OpenSearch has no such package: its documents would be records as text, permanently.
#[tokio::test]
async fn opensearch_gets_nothing_and_is_named() {
    for product in [Elastic::opensearch(), Elastic::opensearch_in_compatibility_mode()] {
        let opensearch = Double::start(product).await;
        let keys = json!({ "type": "elasticsearch", "url": opensearch.url(), "api_key": "aWQ6a2V5" });
        let delivered = deliver(integration(keys.clone(), Stream::Threats), &raw_records(Stream::Threats)).await;
        let Err(Failure { kind: Misconfigured, reason, .. }) = &delivered.result else { panic!("{delivered:?}") };
        assert!(reason.contains("this is OpenSearch"), "{reason}");
        assert_eq!((delivered.dead_letters_counted, opensearch.deliveries().len()), (0, 0));
        let found = integration(keys, Stream::Threats).probe().await;
        assert!(matches!(&found, ProbeResult::Failed(reason) if reason.contains("this is OpenSearch")), "{found:?}");
    }
    // Without the key, there is no request.
    let opensearch = Double::start(Elastic::opensearch()).await;
    let plain =
        json!({ "type": "elasticsearch", "url": opensearch.url(), "api_key": "aWQ6a2V5", "manage_templates": false });
    let sent = crate::support::batches::batch(0..3);
    assert_eq!(deliver(crate::support::batches::sink(plain), &sent).await.delivered, 3);
}

/// A cluster that does not say what it is gets the documents later, or if the credentials may not ask, at once.
#[tokio::test]
async fn a_cluster_that_cannot_be_asked_is_no_opensearch() {
    let elastic = Double::start(Destination(|request| match request.method.as_str() {
        "GET" => Reply::new(503, ""),
        _ => elasticsearch(request),
    }))
    .await;
    let keys = json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "k" });
    let attempt = integration(keys, Stream::Threats).send(&raw_records(Stream::Threats)).await;
    assert!(attempt.outcome.failure_kind() == Some(Transient) && elastic.deliveries().is_empty(), "{attempt:?}");
    let elastic = Double::start(Destination(|request| match request.method.as_str() {
        "GET" => Reply::new(403, r#"{"error":{"type":"security_exception"}}"#),
        _ => elasticsearch(request),
    }))
    .await;
    let keys = json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "k" });
    assert_eq!(
        integration(keys, Stream::Threats).send(&raw_records(Stream::Threats)).await.outcome,
        Outcome::Delivered
    );
}

/// A cluster where the package's assets are installed: the data stream of threats exists, that of alerts would be made
/// by its template. Its pipeline fails for records with `broken` in them.
fn with_package(request: &Received) -> Reply {
    let pipeline = |name: &str| format!("logs-sentinel_one.{name}-2.8.2");
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/logs-sentinel_one.threat-default/_settings/index.default_pipeline") => {
            let index = |pipeline: String| json!({ "settings": { "index": { "default_pipeline": pipeline } } });
            let indices = json!({
                ".ds-logs-sentinel_one.threat-default-2026.01.01-000001": index("old".to_owned()),
                ".ds-logs-sentinel_one.threat-default-2026.02.01-000002": index(pipeline("threat")),
            });
            Reply::new(200, indices.to_string())
        }
        ("GET", path) if path.ends_with("/_settings/index.default_pipeline") => Reply::new(404, r#"{"status":404}"#),
        ("POST", "/_index_template/_simulate_index/logs-sentinel_one.alert-default") => {
            let settings = json!({ "index": { "default_pipeline": pipeline("alert") } });
            Reply::new(200, json!({ "template": { "settings": settings } }).to_string())
        }
        ("POST", path) if path.starts_with("/_index_template/_simulate_index/") => {
            Reply::new(200, r#"{"template":{"settings":{"index":{"number_of_shards":"1"}}}}"#)
        }
        ("POST", path) if path.ends_with("-2.8.2/_simulate") => {
            let body = request.json().unwrap();
            let docs = body["docs"].as_array().unwrap().iter().map(|doc| {
                let mut source = doc["_source"].clone();
                assert!(source["message"].is_string() && doc["_id"].is_string(), "{doc}");
                if source["message"].as_str().unwrap().contains("broken") {
                    source["event"]["kind"] = json!("pipeline_error");
                    source["error"] = json!({ "message": ["field [event.id] already exists"] });
                }
                json!({ "doc": { "_source": source } })
            });
            Reply::new(200, json!({ "docs": docs.collect::<Vec<_>>() }).to_string())
        }
        ("POST", "/_security/user/_has_privileges") => Reply::new(404, ""),
        _ => elasticsearch(request),
    }
}

fn newest(stream: Stream, text: &str) -> Batch {
    let mut batch = Batch::new(stream);
    let identity = facts(stream, text.as_bytes()).identity(HOST, text.as_bytes());
    batch.push_with("1", identity, None, |out| {
        out.extend_from_slice(text.as_bytes());
        None
    });
    batch
}

#[tokio::test]
async fn a_probe_proves_that_the_packages_pipeline_reads_the_newest_record() {
    let elastic = Double::start(Destination(with_package)).await;
    let lane = |stream| integration(json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "k" }), stream);
    for stream in [Stream::Threats, Stream::Alerts] {
        let found = lane(stream).probe().await;
        let part = format!("has the pipeline `logs-sentinel_one.{}-2.8.2`", stream.singular());
        assert!(matches!(&found, ProbeResult::Verified(text) if text.contains(&part)), "{found:?}");
        let good = lane(stream).dry_run(&newest(stream, r#"{"id":"1"}"#)).await.unwrap();
        assert!(matches!(&good, ProbeResult::Verified(text) if text.contains("reads the newest record")), "{good:?}");
        let bad = lane(stream).dry_run(&newest(stream, r#"{"id":"broken"}"#)).await.unwrap();
        let part = "cannot read the newest record: [\"field [event.id] already exists\"]";
        assert!(matches!(&bad, ProbeResult::Failed(text) if text.contains(part)), "{bad:?}");
    }
    let missing = lane(Stream::Groups).probe().await;
    assert!(
        matches!(&missing, ProbeResult::Failed(text) if text.contains("no ingest pipeline") && text.contains("install the assets")),
        "{missing:?}"
    );
    assert!(elastic.requests().iter().all(|request| !request.path.ends_with("/_bulk")), "nothing is delivered");
    // Other sinks pull no record for it.
    let sumo = integration(json!({ "type": "sumo", "url": elastic.url() }), Stream::Threats);
    assert_eq!(sumo.dry_run(&Batch::new(Stream::Threats)).await, None);
}

/// A key that may only write says nothing, and is not wrong.
#[tokio::test]
async fn a_key_that_may_not_look_is_no_failure() {
    let elastic = Double::start(Destination(|request| match request.path.as_str() {
        "/" => elasticsearch(request),
        _ => Reply::new(403, r#"{"error":{"type":"security_exception"}}"#),
    }))
    .await;
    let keys = json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "k" });
    let found = integration(keys, Stream::Threats).probe().await;
    assert!(matches!(&found, ProbeResult::Reached(text) if text.contains("not permitted to look")), "{found:?}");
    let elastic = Double::start(Destination(|request| {
        if request.path.ends_with("/_simulate") {
            Reply::new(403, r#"{"error":{"type":"security_exception"}}"#)
        } else {
            with_package(request)
        }
    }))
    .await;
    let keys = json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "k" });
    let lane = integration(keys, Stream::Threats);
    assert!(matches!(lane.probe().await, ProbeResult::Verified(_)));
    let found = lane.dry_run(&newest(Stream::Threats, "{}")).await.unwrap();
    assert!(matches!(&found, ProbeResult::Reached(text) if text.contains("not permitted to try")), "{found:?}");
    // A cluster that says neither what it is nor what the key may do.
    let unknown = Double::start(Destination(|request| match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => Reply::new(403, r#"{"error":{"type":"security_exception"}}"#),
        _ => with_package(request),
    }))
    .await;
    let keys = json!({ "type": "elasticsearch", "url": unknown.url(), "api_key": "k" });
    let found = integration(keys, Stream::Threats).probe().await;
    assert!(matches!(&found, ProbeResult::Reached(text) if text.contains("or OpenSearch, which has no")), "{found:?}");
}

// Splunk

/// A collector takes no blank event, and some say first that they do not know its index.
#[tokio::test]
async fn a_probe_of_splunk_names_an_index_that_is_refused_and_claims_no_other() {
    fn hec(request: &Received) -> Reply {
        let said = |code: u16, text: &str| Reply::new(400, json!({ "text": text, "code": code }).to_string());
        match request.json() {
            _ if request.method == "GET" => Reply::new(200, r#"{"text":"HEC is healthy","code":17}"#),
            None => said(5, "No data"),
            Some(event) if event["sourcetype"] != "sentinelone:channel:threats" => said(6, "Invalid data format"),
            Some(event) if event["index"] != "sentinelone" => said(7, "Incorrect index"),
            Some(event) if event["event"] == "" => said(13, "Event field cannot be blank"),
            Some(_) => Reply::new(200, r#"{"text":"Success","code":0}"#),
        }
    }
    let splunk = Double::start(Destination(hec)).await;
    let keys = |index| json!({ "type": "splunk_hec", "url": splunk.url(), "token": "t", "index": index });
    let good = integration(keys("sentinelone"), Stream::Threats).probe().await;
    assert!(
        matches!(&good, ProbeResult::Verified(text) if text.contains("only an event can show whether it may write to the index")),
        "{good:?}"
    );
    let bad = integration(keys("other"), Stream::Threats).probe().await;
    assert!(matches!(&bad, ProbeResult::Failed(text) if text.contains("Incorrect index")), "{bad:?}");
    assert!(splunk.requests().iter().all(|request| request.status == 400 || request.method == "GET"));
}

#[tokio::test]
async fn splunk_gets_the_apps_source_types_and_the_site() {
    let hec = Double::start(Destination(|_| Reply::new(200, r#"{"text":"Success","code":0}"#))).await;
    let site_of: fn(&Value) -> Option<&str> = |record| {
        [record, &record["agentRealtimeInfo"], &record["agentDetectionInfo"]]
            .into_iter()
            .find_map(|object| object["siteName"].as_str())
    };
    for (stream, source_type, has_site) in [
        (Stream::Threats, "threats", true),
        (Stream::Activities, "activities", true),
        (Stream::Agents, "agents", true),
        (Stream::Groups, "groups", false),
        (Stream::UnifiedAlerts, "uam_alerts", false),
        (Stream::Vulnerabilities, "application_management:risks", false),
    ] {
        let keys = json!({ "type": "splunk_hec", "url": hec.url(), "token": "t", "index": "sentinelone" });
        let sent = raw_records(stream);
        assert_eq!(integration(keys, stream).send(&sent).await.outcome, Outcome::Delivered);
        let request = hec.requests().pop().unwrap();
        let objects = serde_json::Deserializer::from_str(&request.body).into_iter::<Value>().map(Result::unwrap);
        let mut sites = 0;
        for (object, event) in objects.zip(sent.events()) {
            assert_eq!(object["sourcetype"], format!("sentinelone:channel:{source_type}"));
            assert_eq!((&object["event"], &object["index"]), (&record(&event), &json!("sentinelone")));
            let fields = &object["fields"];
            assert_eq!(fields.get("siteName").and_then(Value::as_str), site_of(&record(&event)), "{stream}");
            sites += usize::from(fields.get("siteName").is_some());
            assert_eq!(
                (&fields["event_id"], &fields["label.customer"]),
                (&json!(event.identity.to_string()), &json!("acme-eu"))
            );
        }
        assert_eq!(sites > 0, has_site, "{stream}");
    }
    let own = json!({ "type": "splunk_hec", "url": hec.url(), "token": "t", "sourcetype": "own:{stream}" });
    integration(own, Stream::Threats).send(&raw_records(Stream::Threats)).await;
    assert!(hec.requests().pop().unwrap().body.contains(r#""sourcetype":"own:threats""#), "a key by hand holds");
}

/// The app's search for assets looks back an hour by the time of events, and most agents have not changed in that time.
#[tokio::test]
async fn splunk_gets_all_agents_of_a_snapshot_with_the_time_of_the_snapshot() {
    let hec = Double::start(Destination(|_| Reply::new(200, r#"{"text":"Success","code":0}"#))).await;
    let mut sent = raw_records(Stream::Agents);
    let keys = || json!({ "type": "splunk_hec", "url": hec.url(), "token": "t" });
    let context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Agents) };
    let forwarder = settings(keys()).build(&context).unwrap();
    let times = async |sink: Arc<dyn Sink>, sent: &Batch| {
        assert_eq!(sink.send(sent).await.outcome, Outcome::Delivered);
        let body = hec.requests().pop().unwrap().body;
        let objects = serde_json::Deserializer::from_str(&body).into_iter::<Value>().map(Result::unwrap);
        objects.map(|object| object["time"].to_string()).collect::<BTreeSet<String>>()
    };
    let own = times(integration(keys(), Stream::Agents), &sent).await;
    assert!(own.len() > 1, "agents of `mode: changes` have the time of their last change");
    sent.set_snapshot(Some(Timestamp::from_micros(1_795_432_000_000_000)));
    let halves = [sent.select(0..1), sent.select(1..sent.len())];
    for half in &halves {
        assert_eq!(times(integration(keys(), Stream::Agents), half).await, ["1795432000.0".to_owned()].into());
    }
    assert_eq!(times(forwarder, &sent).await, own, "only the app asks for an inventory");
}

/// The order in which the record, and what is known of its agent, may name the site.
#[tokio::test]
async fn the_site_is_that_of_the_record_before_its_agents() {
    let hec = Double::start(Destination(|_| Reply::new(200, r#"{"text":"Success","code":0}"#))).await;
    for (record, site) in [
        (r#"{"agentDetectionInfo":{"siteName":"c"},"agentRealtimeInfo":{"siteName":"b"},"siteName":"a"}"#, Some("a")),
        (r#"{"agentDetectionInfo":{"siteName":"c"},"agentRealtimeInfo":{"siteName":"b \"é\""}}"#, Some("b \"é\"")),
        (r#"{"agentDetectionInfo":{"siteName":"c"},"agentRealtimeInfo":{"siteName":null}}"#, Some("c")),
        (r#"{"siteName":"","other":{"siteName":"x"}}"#, None),
        (r#"{"siteName":7}"#, None),
    ] {
        let keys = json!({ "type": "splunk_hec", "url": hec.url(), "token": "t" });
        integration(keys, Stream::Threats).send(&newest(Stream::Threats, record)).await;
        let object: Value = serde_json::from_str(&hec.requests().pop().unwrap().body).unwrap();
        assert_eq!(object["fields"].get("siteName").and_then(Value::as_str), site, "{record}");
    }
}

// Microsoft Sentinel

/// The columns of Microsoft's tables.
const COLUMNS: &str = include_str!("../data/azure-columns.txt");

/// The functions that the template uses, of those that a rule's transformation takes.
const FUNCTIONS: [&str; 6] = ["iff", "isnull", "parse_json", "tobool", "todatetime", "tostring"];

/// Stream of the rule, and what it declares: texts, times, booleans, numbers, and columns of any shape.
const MICROSOFT: [(Stream, &str, [&str; 5]); 6] = [
    (
        Stream::Activities,
        "Custom-SentinelOneActivities_CL",
        [
            "agentUpdatedVersion userId threatId primaryDescription secondaryDescription id groupId accountName data \
             agentId hash description activityUuid siteId siteName accountId osFamily groupName comments",
            "createdAt updatedAt",
            "",
            "activityType",
            "",
        ],
    ),
    (
        Stream::Agents,
        "Custom-SentinelOneAgents_CL",
        [
            "uuid mitigationMode networkStatus installerType mitigationModeSuspicious \
             lastLoggedInUserName osRevision osArch id computerName groupId rangerVersion accountName \
             scanStatus domain missingPermissions groupIp externalId machineType appsVulnerabilityStatus \
             locations externalIp locationType cpuId networkInterfaces activeDirectory rangerStatus \
             siteId agentVersion osUsername lastIpToMgmt siteName consoleMigrationStatus osType accountId \
             groupName osName licenseKey userActionsNeeded modelName operationalStateExpiration \
             remoteProfilingState",
            "createdAt lastActiveDate fullDiskScanLastUpdatedAt groupUpdatedAt registeredAt scanFinishedAt updatedAt \
             policyUpdatedAt scanStartedAt scanAbortedAt osStartTime",
            "isPendingUninstall inRemoteShellSession allowRemoteShell isActive threatRebootRequired isDecommissioned \
             isUninstalled encryptedApplications infected isUpToDate networkQuarantineEnabled",
            "totalMemory coreCount cpuCount activeThreats",
            "",
        ],
    ),
    (
        Stream::Groups,
        "Custom-SentinelOneGroups_CL",
        [
            "creator registrationToken isDefault totalAgents inherits name filterName type id creatorId siteId filterId",
            "createdAt updatedAt",
            "",
            "rank",
            "",
        ],
    ),
    (
        Stream::Threats,
        "Custom-SentinelOneThreats_API",
        ["threatInfo agentDetectionInfo agentRealtimeInfo indicators whiteningOptions id", "", "", "", ""],
    ),
    (
        Stream::Alerts,
        "Custom-SentinelOneAlerts_API",
        [
            "sourceProcessInfo alertInfo agentDetectionInfo ruleInfo containerInfo sourceParentProcessInfo \
             targetProcessInfo kubernetesInfo",
            "",
            "",
            "",
            "",
        ],
    ),
    (
        Stream::UnifiedAlerts,
        "Custom-SentinelOneAlertsV2_CL",
        [
            "id name description status severity analystVerdict externalId storylineId confidenceLevel classification",
            "detectedAt createdAt updatedAt",
            "",
            "",
            "attackSurfaces assets dataSources detectionSource assignee",
        ],
    ),
];

/// A value that the column takes.
fn fits(kind: usize, value: &Value) -> bool {
    match kind {
        0 => value.is_string(),
        1 => value.as_str().is_some_and(|text| Timestamp::parse(text).is_ok()),
        2 => value.is_boolean(),
        3 => value.is_number(),
        _ => true,
    }
}

/// Refuses what the service refuses, drops or cuts without an error.
fn microsoft(request: &Received) -> Reply {
    if request.path.ends_with("/oauth2/v2.0/token") {
        return Reply::new(200, r#"{"token_type":"Bearer","expires_in":3599,"access_token":"t"}"#);
    }
    let stream = request.path.rsplit('/').next().unwrap();
    let Some((_, _, columns)) = MICROSOFT.iter().find(|(_, name, _)| *name == stream) else {
        return Reply::new(400, r#"{"error":{"code":"InvalidStream","message":"unknown"}}"#);
    };
    let kinds: BTreeMap<&str, usize> = columns
        .iter()
        .enumerate()
        .flat_map(|(kind, names)| names.split_whitespace().map(move |name| (name, kind)))
        .collect();
    for row in request.json().unwrap().as_array().unwrap() {
        for (name, value) in row.as_object().unwrap() {
            let Some(kind) = kinds.get(name.as_str()) else {
                return Reply::new(400, format!("`{name}` is not declared: it would be dropped"));
            };
            if !fits(*kind, value) {
                return Reply::new(400, format!("`{name}` does not take {value}"));
            }
            if value.as_str().map_or_else(|| value.to_string().len(), str::len) > 64_000 {
                return Reply::new(400, format!("`{name}` is too long: it would be cut"));
            }
        }
    }
    Reply::new(204, "")
}

fn azure(azure: &Double<Destination>) -> Value {
    json!({
        "type": "azure_logs", "url": azure.url(), "dcr_immutable_id": "dcr-1", "tenant_id": "t", "client_id": "c",
        "client_secret": "s", "authority": azure.url(),
    })
}

#[tokio::test]
async fn microsoft_gets_all_columns_that_its_rules_declare() {
    let service = Double::start(Destination(microsoft)).await;
    for (stream, name, columns) in MICROSOFT {
        let sent = raw_records(stream);
        let delivered = deliver(integration(azure(&service), stream), &sent).await;
        assert_eq!((&delivered.result, delivered.dead_letters_counted), (&Ok(()), 0), "{:?}", delivered.dead_letters);
        let requests = service.deliveries();
        let rows = requests.iter().filter(|request| request.path.ends_with(&format!("/streams/{name}")));
        let rows: Vec<Value> = rows.flat_map(|request| request.json().unwrap().as_array().unwrap().clone()).collect();
        assert_eq!(rows.len(), sent.len(), "{stream}");
        let names: Vec<&str> = columns.iter().flat_map(|names| names.split_whitespace()).collect();
        for (row, event) in rows.iter().zip(sent.events()) {
            let mut record = record(&event);
            // Microsoft's function reads other names in `data` of an activity.
            if let Some(Value::Object(data)) = record.get_mut("data").filter(|_| stream == Stream::Activities) {
                for (alias, own) in [("userName", "username"), ("rulename", "ruleName")] {
                    if let Some(value) = data.get(own).filter(|value| !value.is_null()).cloned() {
                        data.entry(alias).or_insert(value);
                    }
                }
            }
            for name in &names {
                let expected = record.get(*name).filter(|value| !value.is_null());
                let is_same = match (row.get(*name), expected) {
                    (None, None) => true,
                    (Some(found), Some(expected)) if found == expected => true,
                    (Some(Value::String(text)), Some(expected)) => {
                        serde_json::from_str::<Value>(text).is_ok_and(|read| read == *expected)
                    }
                    _ => false,
                };
                assert!(is_same, "{stream} {name}: {:?} {expected:?}", row.get(*name));
            }
        }
        let known: BTreeSet<&str> = sent
            .events()
            .flat_map(|event| names.iter().copied().filter(move |name| record(&event).get(*name).is_some()))
            .collect();
        assert_eq!(known.len(), names.len(), "{stream}: the console has all of them: {known:?}");
    }
}

/// What a column has no room for is left out in whole parts, and the lane warns.
#[tokio::test]
async fn a_value_that_is_too_long_for_a_column_is_shortened_with_a_warning() {
    let service = Double::start(Destination(microsoft)).await;
    let indicators: Vec<Value> = (0..40).map(|id| json!({ "id": id, "description": "x".repeat(3_000) })).collect();
    let record = json!({ "id": "1", "threatInfo": { "threatId": "1" }, "indicators": indicators }).to_string();
    let batch = newest(Stream::Threats, &record);
    let lane = integration(azure(&service), Stream::Threats);
    let outcome = lane.send(&batch).await.outcome;
    assert!(
        matches!(&outcome, Outcome::DeliveredWithWarnings(warnings) if warnings[0].text.contains("64 KB")),
        "{outcome:?}"
    );
    let rows = service.deliveries().pop().unwrap().json().unwrap();
    let kept: Vec<Value> = serde_json::from_str(rows[0]["indicators"].as_str().unwrap()).unwrap();
    assert!((15..20).contains(&kept.len()), "{}", kept.len());
    assert_eq!(lane.send(&raw_records(Stream::Threats)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn microsoft_takes_a_stream_given_by_hand() {
    let service = Double::start(Destination(|request| {
        if request.path.ends_with("/Custom-own_threats") { Reply::new(204, "") } else { microsoft(request) }
    }))
    .await;
    let mut keys = azure(&service);
    keys["stream_name"] = json!("Custom-own_{stream}");
    assert_eq!(
        integration(keys, Stream::Threats).send(&raw_records(Stream::Threats)).await.outcome,
        Outcome::Delivered
    );
}

/// The shipped template declares what the sink sends, and its transformations read all of it.
#[tokio::test]
async fn the_template_for_azure_declares_what_is_sent() {
    let template: Value = serde_json::from_str(include_str!("../../deploy/azure/template.json")).unwrap();
    let resource = |name: &str| {
        let resources = template["resources"].as_array().unwrap().iter();
        resources.clone().find(|resource| resource["name"].as_str().unwrap().contains(name)).unwrap().clone()
    };
    let columns = |declared: &Value| -> BTreeMap<String, String> {
        let columns = declared["columns"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        columns.map(|column| (text(&column["name"]), text(&column["type"]))).collect()
    };
    let rule = &resource("s1-forwarder-sentinelone")["properties"];
    assert_eq!(rule["streamDeclarations"].as_object().unwrap().len(), MICROSOFT.len());
    for (stream, name, names) in MICROSOFT {
        let kinds = ["string", "datetime", "boolean", "real", "dynamic"];
        let expected = names
            .iter()
            .zip(kinds)
            .flat_map(|(names, kind)| names.split_whitespace().map(move |name| (name.to_owned(), kind.to_owned())));
        assert_eq!(columns(&rule["streamDeclarations"][name]), expected.collect(), "{stream}");
        let flow = rule["dataFlows"].as_array().unwrap().iter().find(|flow| flow["streams"] == json!([name])).unwrap();
        let table = name.replace("_API", "_CL");
        assert_eq!(flow["outputStream"], table, "{stream}");
        let transformation = flow["transformKql"].as_str().unwrap();
        let words: BTreeSet<&str> = transformation.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        assert!(words.contains("TimeGenerated"), "{stream}");
        for name in names.iter().flat_map(|names| names.split_whitespace()) {
            assert!(words.contains(name), "{stream}: {name} goes nowhere");
        }
        let columns = COLUMNS.lines().find_map(|line| line.strip_prefix(&format!("{} | ", &table["Custom-".len()..])));
        let (time, filled) = columns.unwrap_or_else(|| panic!("no columns of {table}")).split_once(" | ").unwrap();
        let (_, projected) = transformation.split_once("| project ").unwrap();
        let assigned = projected.split(", ").filter_map(|part| part.split_once(" = "));
        let mut assigned: BTreeSet<&str> = assigned.map(|(column, _)| column).collect();
        assert!(projected.starts_with(&format!("TimeGenerated = {time}, ")) && assigned.remove("TimeGenerated"));
        assert_eq!(assigned, filled.split(' ').collect(), "{stream}");
        let calls = transformation.match_indices('(').map(|(at, _)| transformation[..at].rsplit([' ', '(']).next());
        let unknown: Vec<&str> = calls.flatten().filter(|function| !FUNCTIONS.contains(function)).collect();
        assert!(unknown.is_empty(), "{stream}: rules take no {unknown:?}");
    }
    // The forwarder's own rows.
    let own = columns(&resource("s1-forwarder-own")["properties"]["streamDeclarations"]["Custom-SentinelOne"]);
    assert_eq!(own, columns(&resource("S1Forwarder_CL")["properties"]["schema"]));
    let service = Double::start(Destination(|request| {
        if request.path.ends_with("/token") { microsoft(request) } else { Reply::new(204, "") }
    }))
    .await;
    for schema in [Schema::Ecs, Schema::Raw] {
        let context = SinkContext { schema, ..context(Stream::Activities) };
        let lane = settings(azure(&service)).build(&context).unwrap();
        let sent = crate::support::batches::batch(0..3);
        assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
        let rows = service.deliveries().pop().unwrap();
        assert!(rows.path.ends_with("/streams/Custom-SentinelOne"));
        for name in rows.json().unwrap()[0].as_object().unwrap().keys() {
            assert!(own.contains_key(name), "{name} is not declared");
        }
    }
}

// Google SecOps

fn google(request: &Received) -> Reply {
    if request.path == "/token" {
        return Reply::new(200, r#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#);
    }
    let log_type = request.path.split("/logTypes/").nth(1).unwrap().strip_suffix("/logs:import").unwrap();
    let body = request.json().unwrap();
    for log in body["inlineSource"]["logs"].as_array().unwrap() {
        let data = BASE64_STANDARD.decode(log["data"].as_str().unwrap()).unwrap();
        let record: Value = serde_json::from_slice(&data).unwrap();
        let is_read = match log_type {
            "SENTINELONE_ALERT" => record["threatInfo"].is_object() || record["alertInfo"].is_object(),
            "SENTINELONE_ACTIVITY" => record["activityType"].is_number() && record["createdAt"].is_string(),
            _ => false,
        };
        if !is_read {
            return Reply::new(400, format!("{log_type} has no parser for {record}"));
        }
    }
    Reply::new(200, "{}")
}

#[tokio::test]
async fn google_gets_each_stream_under_the_log_type_whose_parser_reads_it() {
    let secops = Double::start(Destination(google)).await;
    for content in ["forwarder", "integration"] {
        for stream in [Stream::Threats, Stream::Alerts, Stream::Activities] {
            let keys = json!({
                "type": "google_secops", "url": secops.url(), "token_url": format!("{}/token", secops.url()),
                "project": "p", "location": "eu", "instance": "i", "content": content,
                "service_account": crate::support::google_secops::KEY,
            });
            let settings = settings(keys);
            let schema = settings.schema(Schema::Ecs);
            let lane = settings.build(&SinkContext { schema, ..context(stream) }).unwrap();
            assert_eq!((schema, lane.send(&raw_records(stream)).await.outcome), (Schema::Raw, Outcome::Delivered));
        }
    }
}

// Sekoia.io

/// The intake knows a record by its keys.
pub(super) fn sekoia(request: &Received) -> Reply {
    let body = request.json().unwrap();
    let events = body.as_array().unwrap();
    for event in events {
        let record: Value = serde_json::from_str(event["json"].as_str().unwrap()).unwrap();
        let is_known = ["threatInfo", "agentDetectionInfo", "agentRealtimeInfo", "indicators", "activityType"]
            .iter()
            .any(|key| record.get(*key).is_some());
        if !is_known || event["timestamp"].as_str().is_none() {
            return Reply::new(400, format!("unknown: {record}"));
        }
    }
    let ids: Vec<String> = (0..events.len()).map(|id| id.to_string()).collect();
    Reply::new(200, json!({ "event_ids": ids }).to_string())
}

#[tokio::test]
async fn sekoia_gets_records_that_its_format_recognises_with_their_time() {
    let intake = Double::start(Destination(sekoia)).await;
    for stream in [Stream::Threats, Stream::Activities] {
        let keys = json!({ "type": "sekoia", "url": intake.url(), "intake_key": "k" });
        assert_eq!(integration(keys, stream).send(&raw_records(stream)).await.outcome, Outcome::Delivered);
    }
}

// Panther

#[tokio::test]
async fn panther_gets_activities_at_the_root_of_each_line() {
    let source = Double::start(Destination(|_| Reply::new(200, ""))).await;
    let sent = raw_records(Stream::Activities);
    let keys = json!({ "type": "panther", "url": format!("{}/http/1", source.url()) });
    assert_eq!(integration(keys, Stream::Activities).send(&sent).await.outcome, Outcome::Delivered);
    let body = source.requests().pop().unwrap().body;
    for (line, event) in body.lines().zip(sent.events()) {
        // What the rules read.
        let read: Value = serde_json::from_str(line).unwrap();
        assert!(read["activityType"].is_number() && read["data"].is_object(), "{line}");
        assert_eq!(line.as_bytes(), event.body);
    }
}

// Datadog

#[tokio::test]
async fn datadog_gets_records_under_the_integrations_source_and_endpoint() {
    let intake = Double::start(Destination(|_| Reply::new(202, "{}"))).await;
    for (stream, endpoint) in
        [(Stream::Threats, "threats"), (Stream::Activities, "activities"), (Stream::Alerts, "cloud_detection_alerts")]
    {
        let sent = raw_records(stream);
        let keys = json!({ "type": "datadog", "url": intake.url(), "api_key": "k" });
        assert_eq!(integration(keys, stream).send(&sent).await.outcome, Outcome::Delivered);
        let logs = intake.requests().pop().unwrap().json().unwrap();
        for (log, event) in logs.as_array().unwrap().iter().zip(sent.events()) {
            assert_eq!((&log["ddsource"], &log["service"]), (&json!("sentinelone"), &json!("sentinelone")));
            let tags: BTreeSet<&str> = log["ddtags"].as_str().unwrap().split(',').collect();
            assert!(
                tags.contains(format!("endpoint:{endpoint}").as_str()) && tags.contains("customer:acme-eu"),
                "{tags:?}"
            );
            assert_eq!(log["message"].as_str().unwrap().as_bytes(), event.body);
            // The integration's pipeline makes these of the record.
            assert_eq!((log.get("evt"), log.get("severity"), log.get("title")), (None, None, None));
        }
    }
    let own = json!({ "type": "datadog", "url": intake.url(), "api_key": "k", "tags": { "endpoint": "own" } });
    integration(own, Stream::Alerts).send(&raw_records(Stream::Alerts)).await;
    assert!(intake.requests().pop().unwrap().body.contains("endpoint:own,"), "a key by hand holds");
}

// Sumo Logic

#[tokio::test]
async fn sumo_gets_records_of_one_category_with_what_cloud_siem_finds_its_mapping_by() {
    let source = Double::start(Destination(|_| Reply::new(200, ""))).await;
    let parser = "_parser=/Parsers/System/SentinelOne/SentinelOne MGMT API";
    let hints = "_siemVendor=SentinelOne,_siemProduct=MGMT API,_siemFormat=JSON,_siemEventID=alerts";
    for (stream, found_by) in
        [(Stream::Threats, parser), (Stream::Activities, parser), (Stream::Agents, parser), (Stream::Alerts, hints)]
    {
        let sent = raw_records(stream);
        let keys = json!({ "type": "sumo", "url": format!("{}/receiver", source.url()), "fields": { "team": "{label.customer}" } });
        assert_eq!(integration(keys, stream).send(&sent).await.outcome, Outcome::Delivered);
        let request = source.requests().pop().unwrap();
        assert_eq!(request.header("x-sumo-category"), "sentinelone");
        let fields: BTreeSet<&str> = request.header("x-sumo-fields").split(',').collect();
        let expected = ["_siemForward=true", "team=acme-eu"].into_iter().chain(found_by.split(','));
        assert_eq!(fields, expected.collect());
        // The app's queries find threats and agents by these words.
        let word = match stream {
            Stream::Threats => "threatInfo",
            Stream::Agents => "\"uuid\"",
            Stream::Alerts => "ruleInfo",
            _ => "activityType",
        };
        assert!(
            request
                .body
                .lines()
                .zip(sent.events())
                .all(|(line, event)| line.as_bytes() == event.body && line.contains(word))
        );
    }
    let own = json!({
        "type": "sumo", "url": format!("{}/receiver", source.url()), "source_category": "edr/{stream}",
        "fields": { "_parser": "own" },
    });
    integration(own, Stream::Threats).send(&raw_records(Stream::Threats)).await;
    let request = source.requests().pop().unwrap();
    assert_eq!(request.header("x-sumo-category"), "edr/threats");
    assert_eq!(request.header("x-sumo-fields"), "_parser=own,_siemForward=true");
}

// What is refused

/// The keys that each of these types needs.
fn needed(sink: &str) -> Value {
    let mut keys = match sink {
        "elasticsearch" => json!({ "url": "https://h" }),
        "splunk_hec" => json!({ "url": "https://h", "token": "t" }),
        "azure_logs" => json!({ "url": "https://h", "dcr_immutable_id": "dcr-1", "managed_identity": true }),
        "google_secops" => json!({ "project": "p", "location": "eu", "instance": "i", "metadata_server": true }),
        "sekoia" => json!({ "intake_key": "k" }),
        "datadog" => json!({ "api_key": "k" }),
        "syslog" => json!({ "address": "udp://h:514" }),
        _ => json!({ "url": "https://h/x" }),
    };
    keys["type"] = json!(sink);
    keys
}

fn refusal(keys: Value, stream: Stream) -> String {
    settings(keys).build(&context(stream)).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn streams_that_an_integration_does_not_know_are_refused() {
    let all: BTreeSet<Stream> = Stream::ALL.into();
    for (sink, known) in [
        ("elasticsearch", "threats activities agents alerts groups unified_alerts vulnerabilities"),
        ("splunk_hec", "threats activities agents groups unified_alerts vulnerabilities"),
        ("azure_logs", "activities agents groups threats alerts unified_alerts"),
        ("google_secops", "threats alerts activities"),
        ("sekoia", "threats activities"),
        ("panther", "activities"),
        ("datadog", "threats activities alerts"),
        ("sumo", "threats activities agents alerts"),
        ("syslog", "threats activities"),
    ] {
        let known: BTreeSet<Stream> = known.split_whitespace().map(|name| name.parse().unwrap()).collect();
        let mut keys = needed(sink);
        keys["content"] = json!("integration");
        for stream in &all {
            let refused = refusal(keys.clone(), *stream);
            assert_eq!(refused.is_empty(), known.contains(stream), "{sink} {stream}: {refused}");
            let is_clear = refused.contains(&format!("for {stream}: name the sink's `streams`"));
            assert!(refused.is_empty() || (is_clear && refused.starts_with("`streams`")), "{refused}");
        }
        let unknown: Vec<Stream> = all.difference(&known).copied().collect();
        assert_eq!(
            settings(keys).type_settings.as_sink_type().check_streams(&unknown).is_err(),
            !unknown.is_empty(),
            "{sink}"
        );
    }
    let listed: Vec<&str> = INTEGRATIONS.iter().map(|integration| integration.sink).collect();
    assert_eq!(listed.len(), 10);
}

/// The console has no line of CEF:0 for a unified alert.
#[test]
fn one_dialect_of_the_consoles_lines_has_unified_alerts() {
    let keys = |payload: &str| {
        let mut keys = needed("syslog");
        keys["content"] = json!("integration");
        keys["payload"] = json!(payload);
        keys
    };
    for stream in Stream::ALL {
        let refused = refusal(keys("cef2"), stream);
        let known = [Stream::Threats, Stream::Activities, Stream::UnifiedAlerts].contains(&stream);
        assert_eq!(refused.is_empty(), known, "{stream}: {refused}");
        let takes_new_only = settings(keys("cef2")).type_settings.as_sink_type().sends_console_notifications();
        assert!(
            takes_new_only && !settings(needed("syslog")).type_settings.as_sink_type().sends_console_notifications()
        );
    }
    let refused = refusal(keys("cef"), Stream::UnifiedAlerts);
    assert!(
        refused.ends_with("of threats, activities; `payload: cef2` has lines for unified_alerts, too"),
        "{refused}"
    );
}

#[test]
fn a_detection_is_notified_by_one_stream() {
    let keys = json!({ "type": "syslog", "address": "udp://h:514", "content": "integration" });
    let refused = settings(keys)
        .type_settings
        .as_sink_type()
        .check_streams(&[Stream::Threats, Stream::Activities])
        .unwrap_err()
        .to_string();
    assert!(
        refused.starts_with("`streams`: `threats` and `activities` exclude each other here: a detection"),
        "{refused}"
    );
}

#[test]
fn what_contradicts_an_integration_is_refused() {
    for (sink, more, part) in [
        ("elasticsearch", json!({ "schema": "ecs" }), "`schema`: `ecs` excludes `content: integration`"),
        ("sumo", json!({ "schema": "ocsf" }), "`schema`: `ocsf` excludes"),
        ("google_secops", json!({ "schema": "ecs" }), "`schema`: `ecs` excludes"),
        ("elasticsearch", json!({ "index": "i" }), "`index`: excludes `content: integration`"),
        ("elasticsearch", json!({ "namespace": "a", "data_stream": "d" }), "`namespace`: excludes `data_stream`"),
        ("elasticsearch", json!({ "namespace": "a", "content": "forwarder" }), "`namespace`: is for `content"),
        ("splunk_hec", json!({ "endpoint": "raw" }), "`endpoint`: `raw` excludes"),
        ("panther", json!({ "envelope": true }), "`envelope`: excludes"),
        ("sumo", json!({ "envelope": true }), "`envelope`: excludes"),
        ("splunk_hec", json!({ "schema": "raw" }), ""),
        ("syslog", json!({ "schema": "ecs" }), "`schema`: `ecs` excludes"),
        ("syslog", json!({ "payload": "json" }), "`payload`: `json` excludes `content: integration`"),
        ("syslog", json!({ "payload": "cef2", "content": "forwarder" }), "`payload`: `cef2` is a dialect"),
        ("syslog", json!({ "format": "sentinelone", "content": "forwarder" }), "`format`: `sentinelone` is the header"),
        ("syslog", json!({ "app_name": "other" }), "`app_name`: is `sentinel` with `format: sentinelone`"),
        ("syslog", json!({ "app_name": "other", "format": "rfc3164" }), ""),
        ("syslog", json!({ "payload": "cef2" }), ""),
    ] {
        let mut keys = needed(sink);
        keys["content"] = json!("integration");
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = refusal(keys, Stream::Activities);
        assert!(refused.contains(part) && refused.is_empty() == part.is_empty(), "{sink} {more}: {refused}");
    }
}

#[test]
fn the_types_that_have_the_key_are_those_of_the_table() {
    let listed: BTreeSet<&str> = INTEGRATIONS.iter().map(|integration| integration.sink).collect();
    for sink in types() {
        let schema = s1_forwarder::destinations::settings::schema(sink).unwrap();
        assert_eq!(schema["properties"]["content"].is_object(), listed.contains(sink), "{sink}");
    }
    for sink in listed {
        assert!(settings(needed(sink)).type_settings.as_sink_type().integration().is_none(), "{sink}");
    }
}
