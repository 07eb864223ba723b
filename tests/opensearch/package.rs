//! `content: integration` through Elastic's ingest pipelines, in a real node that calls itself Elasticsearch. The
//! pipelines are those of the package as far as they can fail: ids, moves onto fields, and constants of the mapping.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::Response;
use s1_forwarder::destinations::SinkContext;
use s1_forwarder::emulator::{Kind, Scope};
use s1_forwarder::record::Stream;
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::batches::{context, raw_records, settings};
use crate::support::double::answer;
use crate::support::harness::Harness;
use crate::support::opensearch::OpenSearch;

/// What the package has for a stream.
struct Package {
    stream: Stream,
    kind: Kind,
    dataset: &'static str,
    event_kind: &'static str,
    /// Parts of the document's id. With none, that of the sender stays.
    id: &'static [&'static str],
    /// From the record, to the document. The package copies some of these, which cannot fail.
    moves: &'static [(&'static str, &'static str)],
    /// Fields that its rules and Kibana's response actions read.
    read: &'static [&'static str],
}

const PACKAGES: [Package; 7] = [
    Package {
        stream: Stream::Threats,
        kind: Kind::Threats,
        dataset: "threat",
        event_kind: "alert",
        id: &["threatInfo.createdAt", "threatInfo.updatedAt", "id"],
        moves: &[
            ("agentDetectionInfo.agentLastLoggedInUserMail", "user.email"),
            ("agentDetectionInfo.agentLastLoggedInUserName", "user.name"),
            ("agentDetectionInfo.agentUuid", "sentinel_one.threat.detection.agent.uuid"),
            ("agentDetectionInfo.siteId", "sentinel_one.site.id"),
            ("agentDetectionInfo.siteName", "sentinel_one.site.name"),
            ("agentRealtimeInfo.accountName", "sentinel_one.account.name"),
            ("agentRealtimeInfo.agentComputerName", "host.name"),
            ("agentRealtimeInfo.agentDomain", "host.domain"),
            ("agentRealtimeInfo.agentId", "sentinel_one.threat.agent.id"),
            ("agentRealtimeInfo.agentOsName", "host.os.name"),
            ("agentRealtimeInfo.agentOsType", "host.os.type"),
            ("agentRealtimeInfo.agentVersion", "observer.version"),
            ("threatInfo.confidenceLevel", "sentinel_one.threat.confidence_level"),
        ],
        read: &["sentinel_one.threat.agent.id", "sentinel_one.threat.confidence_level"],
    },
    Package {
        stream: Stream::Activities,
        kind: Kind::Activities,
        dataset: "activity",
        event_kind: "event",
        id: &["createdAt", "updatedAt", "id"],
        moves: &[
            ("hash", "process.hash.sha1"),
            ("osFamily", "observer.os.family"),
            ("agentUpdatedVersion", "observer.version"),
            ("groupId", "user.group.id"),
            ("groupName", "user.group.name"),
            ("userId", "user.id"),
            ("agentId", "sentinel_one.activity.agent.id"),
            ("activityType", "sentinel_one.activity.type"),
            ("primaryDescription", "message"),
            ("id", "event.id"),
            ("siteId", "sentinel_one.site.id"),
            ("siteName", "sentinel_one.site.name"),
            ("data.username", "user.full_name"),
        ],
        read: &["sentinel_one.activity.type", "message"],
    },
    Package {
        stream: Stream::Agents,
        kind: Kind::Agents,
        dataset: "agent",
        event_kind: "event",
        id: &[],
        moves: &[
            ("accountName", "sentinel_one.account.name"),
            ("agentVersion", "observer.version"),
            ("computerName", "host.name"),
            ("domain", "host.domain"),
            ("externalIp", "host.ip"),
            ("groupId", "group.id"),
            ("groupName", "group.name"),
            ("id", "sentinel_one.agent.agent.id"),
            ("networkInterfaces", "sentinel_one.agent.network_interfaces"),
            ("networkStatus", "sentinel_one.agent.network_status"),
            ("osName", "host.os.name"),
            ("osRevision", "host.os.version"),
            ("osType", "host.os.type"),
            ("osUsername", "user.name"),
            ("uuid", "sentinel_one.agent.uuid"),
            ("tags.sentinelone", "sentinel_one.agent.tags"),
        ],
        read: &["sentinel_one.agent.agent.id"],
    },
    Package {
        stream: Stream::Alerts,
        kind: Kind::Alerts,
        dataset: "alert",
        event_kind: "event",
        id: &["alertInfo.createdAt", "alertInfo.updatedAt", "alertInfo.alertId"],
        moves: &[
            ("agentDetectionInfo.machineType", "host.type"),
            ("agentDetectionInfo.name", "host.name"),
            ("agentDetectionInfo.osFamily", "host.os.family"),
            ("agentDetectionInfo.osName", "host.os.name"),
            ("agentDetectionInfo.osRevision", "host.os.version"),
            ("agentDetectionInfo.uuid", "observer.serial_number"),
            ("agentDetectionInfo.version", "observer.version"),
            ("agentRealtimeInfo.id", "sentinel_one.alert.agent.id"),
            ("alertInfo.alertId", "event.id"),
            ("alertInfo.dnsRequest", "dns.question.name"),
            ("alertInfo.loginAccountDomain", "user.domain"),
            ("alertInfo.loginsUserName", "user.name"),
            ("alertInfo.modulePath", "dll.path"),
            ("alertInfo.registryKeyPath", "registry.key"),
            ("alertInfo.registryPath", "registry.path"),
            ("containerInfo.id", "container.id"),
            ("kubernetesInfo.cluster", "orchestrator.cluster.name"),
            ("ruleInfo.description", "rule.description"),
            ("ruleInfo.id", "rule.id"),
            ("ruleInfo.name", "rule.name"),
            ("sourceParentProcessInfo.commandline", "process.parent.command_line"),
            ("sourceParentProcessInfo.name", "process.parent.name"),
            ("sourceProcessInfo.commandline", "process.command_line"),
            ("sourceProcessInfo.fileHashMd5", "process.hash.md5"),
        ],
        read: &["sentinel_one.alert.agent.id", "rule.name"],
    },
    Package {
        stream: Stream::Groups,
        kind: Kind::Groups,
        dataset: "group",
        event_kind: "event",
        id: &["createdAt", "updatedAt", "id"],
        moves: &[
            ("creator", "user.full_name"),
            ("creatorId", "sentinel_one.group.creator.id"),
            ("id", "group.id"),
            ("name", "group.name"),
            ("rank", "sentinel_one.group.rank"),
            ("siteId", "sentinel_one.site.id"),
            ("type", "sentinel_one.group.type"),
        ],
        read: &["group.id", "group.name"],
    },
    Package {
        stream: Stream::UnifiedAlerts,
        kind: Kind::UnifiedAlerts,
        dataset: "unified_alert",
        event_kind: "alert",
        id: &["updatedAt", "detectedAt", "id", "externalId"],
        moves: &[
            ("name", "message"),
            ("id", "event.id"),
            ("createdAt", "event.created"),
            ("firstSeenAt", "event.start"),
            ("lastSeenAt", "event.end"),
            ("realTime.scope.site.name", "sentinel_one.site.name"),
            ("realTime.scope.account.name", "sentinel_one.account.name"),
            ("realTime.scope.group.name", "group.name"),
            ("classification", "sentinel_one.threat_classification.name"),
            ("process.cmdLine", "process.command_line"),
            ("process.parentName", "process.parent.name"),
            ("process.file.name", "file.name"),
            ("process.file.path", "file.path"),
            ("process.file.sha1", "file.hash.sha1"),
            ("detectionTime.attacker.host", "source.domain"),
            ("detectionTime.attacker.ip", "source.ip"),
            ("detectionTime.targetUser.domain", "user.domain"),
            ("detectionTime.targetUser.name", "user.name"),
            ("severity", "sentinel_one.unified_alert.severity"),
            ("assets", "sentinel_one.unified_alert.assets"),
        ],
        read: &["event.id", "message"],
    },
    Package {
        stream: Stream::Vulnerabilities,
        kind: Kind::Vulnerabilities,
        dataset: "application_risk",
        event_kind: "state",
        id: &[],
        moves: &[
            ("applicationName", "package.name"),
            ("applicationVersion", "package.version"),
            ("baseScore", "vulnerability.score.base"),
            ("cveId", "vulnerability.id"),
            ("cvssVersion", "vulnerability.score.version"),
            ("detectionDate", "event.created"),
            ("endpointId", "host.id"),
            ("endpointName", "resource.name"),
            ("endpointType", "host.type"),
            ("id", "event.id"),
            ("markedBy", "host.name"),
            ("osType", "host.os.type"),
            ("publishedDate", "vulnerability.package.published_date"),
            ("reason", "event.reason"),
            ("severity", "sentinel_one.application_risk.severity"),
            ("status", "sentinel_one.application_risk.status"),
        ],
        read: &["host.id", "vulnerability.id"],
    },
];

impl Package {
    fn data_stream(&self) -> String {
        format!("logs-sentinel_one.{}-default", self.dataset)
    }

    fn pipeline_name(&self) -> String {
        format!("logs-sentinel_one.{}-2.8.2", self.dataset)
    }

    fn pipeline(&self) -> Value {
        let mut processors = vec![
            json!({ "set": { "field": "event.kind", "value": self.event_kind } }),
            json!({ "rename": { "field": "message", "target_field": "event.original" } }),
            json!({ "json": { "field": "event.original", "target_field": "json" } }),
        ];
        if !self.id.is_empty() {
            // The package hashes them. The processor of this node mixes up documents that it reads at the same time.
            let id: Vec<String> = self.id.iter().map(|name| format!("{{{{{{json.{name}}}}}}}")).collect();
            processors.push(json!({ "set": { "field": "_id", "value": id.join("|") } }));
        }
        processors.extend(self.moves.iter().map(|(from, to)| {
            json!({ "rename": { "field": format!("json.{from}"), "target_field": to, "ignore_missing": true } })
        }));
        processors.push(json!({ "remove": { "field": "json" } }));
        let failed = [
            json!({ "set": { "field": "event.kind", "value": "pipeline_error" } }),
            json!({ "append": { "field": "error.message", "value": "{{{_ingest.on_failure_message}}}" } }),
        ];
        json!({ "processors": processors, "on_failure": failed })
    }

    /// Another value of a constant is refused.
    fn template(&self) -> Value {
        let constant = |value: &str| json!({ "type": "constant_keyword", "value": value });
        let dataset = format!("sentinel_one.{}", self.dataset);
        let data_stream =
            json!({ "type": constant("logs"), "dataset": constant(&dataset), "namespace": constant("default") });
        let event = json!({ "module": constant("sentinel_one"), "dataset": constant(&dataset) });
        json!({
            "index_patterns": [format!("logs-sentinel_one.{}-*", self.dataset)],
            "data_stream": {},
            // Before the forwarder's own template, which other tests install.
            "priority": 200,
            "template": {
                "settings": { "index": { "default_pipeline": self.pipeline_name(), "number_of_replicas": 0 } },
                "mappings": {
                    "dynamic": false,
                    "properties": {
                        "@timestamp": { "type": "date" },
                        "data_stream": { "properties": data_stream },
                        "event": { "properties": event },
                    },
                },
            },
        })
    }

    async fn install(&self, node: &OpenSearch) {
        let name = self.pipeline_name();
        for (path, body) in [
            (format!("_ingest/pipeline/{name}"), self.pipeline()),
            (format!("_index_template/{name}"), self.template()),
        ] {
            let (status, answer) = node.ask("PUT", &path, &body).await;
            assert_eq!(status, 200, "{answer}");
        }
    }
}

/// The node under another name: the sink sends no records to OpenSearch. It notes what became of each document.
struct Elasticsearch {
    node: String,
    client: reqwest::Client,
    /// How many documents of a data stream had a status.
    statuses: Mutex<BTreeMap<(String, u64), usize>>,
}

impl Elasticsearch {
    /// Starts a front of `node`, and returns its address, too.
    async fn start(node: &OpenSearch) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let front = Arc::new(Self { node: node.url(), client, statuses: Mutex::default() });
        let app = axum::Router::new().fallback(pass).with_state(front.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (front, url)
    }

    fn note(&self, data_stream: &str, bulk: &Value) {
        let mut statuses = self.statuses.lock().unwrap();
        for item in bulk["items"].as_array().into_iter().flatten() {
            let status = item["create"]["status"].as_u64().unwrap();
            *statuses.entry((data_stream.to_owned(), status)).or_default() += 1;
        }
    }
}

async fn pass(State(front): State<Arc<Elasticsearch>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/" {
        return answer(200, &[], r#"{"version":{"number":"9.2.0"},"tagline":"You Know, for Search"}"#);
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut passed = front.client.request(parts.method, format!("{}{}", front.node, parts.uri)).body(body);
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        if let Some(value) = parts.headers.get(&name) {
            passed = passed.header(name, value);
        }
    }
    let response = passed.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    if let Some(data_stream) = parts.uri.path().strip_suffix("/_bulk") {
        front.note(data_stream.trim_start_matches('/'), &serde_json::from_str(&text).unwrap());
    }
    answer(status, &[("content-type", "application/json".to_owned())], &text)
}

fn at<'a>(document: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(document, |value, name| &value[name])
}

/// All records of all streams arrive without an error, under the ids of the package's pipelines or, where these set
/// none, of the forwarder. With a new state they are sent again, and each is a duplicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elastics_pipelines_read_every_record_and_know_it_again() {
    let Some(node) = OpenSearch::shared().await else { return };
    for package in &PACKAGES {
        package.install(&node).await;
    }
    let (elasticsearch, url) = Elasticsearch::start(&node).await;
    let harness = Harness::new(|setup| {
        setup.activities = 200;
        setup.threats = 60;
        setup.agents = 30;
        setup.alerts = 60;
        setup.unified_alerts = 40;
        setup.vulnerabilities = 40;
    })
    .await;
    let streams: serde_json::Map<_, _> = PACKAGES
        .iter()
        .map(|package| {
            let has_since = package.stream != Stream::Vulnerabilities;
            let keys = if has_since { json!({ "since": "beginning" }) } else { json!({}) };
            (package.stream.name().to_owned(), keys)
        })
        .collect();
    let mut pipeline = harness.pipeline(json!({ "transform": { "labels": { "customer": "acme-eu" } } }));
    pipeline["streams"] = json!(streams);
    // Nothing is sent twice because a busy machine makes data streams slowly.
    pipeline["sinks"] = json!([{ "type": "elasticsearch", "url": url, "content": "integration", "timeout": "120s" }]);
    harness.put("acme", &pipeline);

    let checked = harness.command(&["check", "--pipelines", "pipelines", "--format", "json"]).await;
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let owed: BTreeMap<&str, usize> = PACKAGES
        .iter()
        .map(|package| (package.dataset, harness.console().visible_versions(package.kind, &Scope::Global).len()))
        .collect();
    for (state, status) in [("first", 201), ("second", 409)] {
        let exit = harness.once(&["--state", &format!("file:{state}")]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let found = std::mem::take(&mut *elasticsearch.statuses.lock().unwrap());
        println!("{state}: {found:?}");
        let expected =
            PACKAGES.iter().map(|package| ((package.data_stream(), status), owed[package.dataset])).collect();
        assert_eq!(found, expected, "{state}");
    }
    for package in &PACKAGES {
        let Package { dataset, moves, .. } = package;
        let proven = format!("the pipeline `{}` reads the newest record", package.pipeline_name());
        assert!(checked.stdout.contains(&proven), "{}", checked.stdout);
        let name = package.data_stream();
        assert_eq!(node.count(&name).await, owed[dataset] as u64, "{dataset}");
        let (_, answer) = node.ask("POST", &format!("{name}/_search?size=1000"), &Value::Null).await;
        for hit in answer["hits"]["hits"].as_array().unwrap() {
            let document = &hit["_source"];
            assert_eq!((&document["event"]["kind"], document.get("error")), (&json!(package.event_kind), None));
            let record: Value = serde_json::from_str(document["event"]["original"].as_str().unwrap()).unwrap();
            for (from, to) in *moves {
                assert_eq!(at(document, to), at(&record, from), "{dataset}: {to}");
            }
            for field in package.read {
                assert!(!at(document, field).is_null(), "{dataset} has no {field}: {document}");
            }
            // What dashboards and rules select by, and what is the forwarder's, is left as it was.
            let data_stream =
                json!({ "type": "logs", "dataset": format!("sentinel_one.{dataset}"), "namespace": "default" });
            assert_eq!(document["data_stream"], data_stream);
            assert_eq!(document["tags"], json!(["forwarded", format!("sentinel_one-{dataset}")]));
            assert_eq!(document["labels"]["customer"], "acme-eu");
            let is_own_id = document["labels"]["s1_identity"] == hit["_id"];
            assert_eq!(is_own_id, package.id.is_empty(), "{dataset}: {hit}");
        }
    }
    // The raw form has an `event.id`, onto which no alert's id can be moved.
    let alerts = PACKAGES.iter().find(|package| package.stream == Stream::Alerts).unwrap();
    let body = json!({ "docs": raw_documents(alerts.stream).await });
    let (_, answer) = node.ask("POST", &format!("_ingest/pipeline/{}/_simulate", alerts.pipeline_name()), &body).await;
    let simulated = answer["docs"].as_array().unwrap();
    let fails = |document: &Value| document["doc"]["_source"]["event"]["kind"] == "pipeline_error";
    assert!(!simulated.is_empty() && simulated.iter().all(fails));
}

/// The documents that the sink sends with `schema: raw`.
async fn raw_documents(stream: Stream) -> Vec<Value> {
    let keys = json!({ "type": "elasticsearch", "url": "https://h", "schema": "raw" });
    let context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(stream) };
    let request = settings(keys).build(&context).unwrap().render_request(&raw_records(stream)).await.unwrap();
    let text = String::from_utf8(request.body).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.chunks(2).map(|pair| json!({ "_id": pair[0]["create"]["_id"], "_source": pair[1] })).collect()
}
