//! The shipped pipelines for destinations without a sink of their own, against what these destinations read.

use std::collections::BTreeMap;
#[cfg(feature = "remap")]
use std::collections::BTreeSet;

use s1_forwarder::emulator::{Kind, Scope};
use serde_json::{Value, json};

use crate::support::double::{Contract, Double, Received, Reply};
use crate::support::harness::Harness;
#[cfg(feature = "remap")]
use crate::support::public_content::{has, promises};

/// A destination that takes only what its content reads.
struct Recipe(fn(&Received) -> Result<Reply, String>);

impl Contract for Recipe {
    fn answer(&mut self, request: &Received) -> Reply {
        (self.0)(request).unwrap_or_else(|problem| Reply::new(422, problem))
    }

    fn delivers(&self, request: &Received) -> bool {
        request.method == "POST"
    }
}

fn lines(request: &Received) -> Vec<Value> {
    request.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ensure(holds: bool, what: &Value) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

/// The end of the path for agents, in Devo's recipe.
const AGENTS: &str = "/edr.sentinelone.agent.agents";

/// All records of the stream arrive through the shipped file, whose address and secrets are this test's.
async fn runs(
    name: &str,
    address: &str,
    secret: Option<&str>,
    recipe: fn(&Received) -> Result<Reply, String>,
) -> Vec<Received> {
    runs_with((40, 20, 20, 12), name, address, secret, recipe).await
}

/// With these numbers of activities, threats, alerts and agents.
async fn runs_with(
    counts: (usize, usize, usize, usize),
    name: &str,
    address: &str,
    secret: Option<&str>,
    recipe: fn(&Received) -> Result<Reply, String>,
) -> Vec<Received> {
    let harness = Harness::new(|setup| {
        (setup.activities, setup.threats, setup.alerts, setup.agents) = counts;
    })
    .await;
    let destination = Double::start(Recipe(recipe)).await;
    if let Some(secret) = secret {
        harness.write(&format!("pipelines/secrets/{secret}"), "c4nary");
    }
    let url = destination.url();
    let text =
        harness.shipped(name, &[(address, &url)]).replace("since: 1d", "since: 30d").replace("since: 7d", "since: 30d");
    harness.write(&format!("pipelines/{name}.yaml"), &text);
    let done = harness.once(&[]).await;
    assert_eq!(done.code, Some(0), "{name}: {}{}", done.stdout, done.stderr);
    let requests = destination.deliveries();
    assert!(requests.iter().all(|request| request.status < 300), "{name}: {requests:?}");
    // Agents that are gone are not pulled.
    let is_counted = |request: &&Received| !request.path.ends_with(AGENTS);
    let sent: usize = requests.iter().filter(is_counted).map(|request| request.body.lines().count()).sum();
    let has_alerts = text.contains("\n  alerts:");
    let count_of = |kind| harness.console().ids(kind).len();
    // Hidden activities are not returned.
    let activities = harness.console().visible_versions(Kind::Activities, &Scope::Global).len();
    let owed = count_of(Kind::Threats) + activities + if has_alerts { count_of(Kind::Alerts) } else { 0 };
    assert_eq!(sent, owed, "{name}");
    requests
}

/// What the modelling rules of the pack SentinelOne fill, by the type of the event, and the paths that they read it
/// from; a bar separates paths of which the first that has a value counts. The pack has no correlation rules.
/// Source: demisto/content, Packs/SentinelOne, modelling rules 2_11.
#[cfg(feature = "remap")]
const XSIAM: [(&str, &str); 3] = [
    (
        "Activity",
        "source.user.identifier=accountId source.user.username=data.byUser|data.lastLoggedInUserName \
         source.interface=data.interface source.ipv4=data.ipAddress event.id=activityUuid \
         source.agent.identifier=agentId source.agent.version=agentUpdatedVersion source.user.groups=groupName \
         session_context_id=id source.host.os_family=data.osType|osFamily source.host.hostname=data.computerName \
         event.description=description|primaryDescription alert.original_threat_id=threatId \
         source.user.employee_id=userId target.user.identifier=data.accountId target.user.username=data.username \
         target.user.groups=data.role",
    ),
    (
        "Threat",
        "source.user.identifier=agentDetectionInfo.accountId|agentRealtimeInfo.accountId \
         source.user.username=agentDetectionInfo.agentLastLoggedInUserName \
         source.user.domain=agentDetectionInfo.agentDomain source.ipv4=agentDetectionInfo.agentIpV4 \
         source.ipv6=agentDetectionInfo.agentIpV6 source.host.os=agentDetectionInfo.agentOsName \
         source.agent.identifier=agentDetectionInfo.agentUuid source.agent.version=agentDetectionInfo.agentVersion \
         source.host.ipv4_addresses=agentDetectionInfo.externalIp \
         source.user.groups=agentDetectionInfo.groupName|agentRealtimeInfo.groupName \
         source.host.hostname=agentRealtimeInfo.agentComputerName source.host.device_id=agentRealtimeInfo.agentId \
         observer.type=agentRealtimeInfo.agentMachineType source.host.os_family=agentRealtimeInfo.agentOsType \
         source.host.mac_addresses=agentRealtimeInfo.networkInterfaces.physical \
         source.location.region=agentRealtimeInfo.siteName source.process.container_id=containerInfo.id \
         alert.original_threat_id=id alert.description=indicators.description \
         alert.mitre_techniques=indicators.tactics.techniques.name observer.action=mitigationStatus.action \
         source.process.executable.path=threatInfo.filePath source.process.executable.md5=threatInfo.md5 \
         source.process.executable.sha256=threatInfo.sha256 alert.original_threat_name=threatInfo.threatName",
    ),
    (
        "Alert",
        "source.host.hostname=agentDetectionInfo.name source.host.os_family=agentDetectionInfo.osFamily \
         source.host.os=agentDetectionInfo.osName source.agent.identifier=agentDetectionInfo.uuid \
         source.agent.version=agentDetectionInfo.version alert.original_alert_id=alertInfo.alertId \
         network.dns.dns_resource_record.value=alertInfo.dnsResponse network.http.url=alertInfo.dnsRequest \
         target.ipv4=alertInfo.dstIp target.port=alertInfo.dstPort event.operation_sub_type=alertInfo.eventType \
         source.user.domain=alertInfo.loginAccountDomain source.user.identifier=alertInfo.loginAccountSid \
         logon.type=alertInfo.loginType source.user.username=sourceParentProcessInfo.user \
         source.ipv4=alertInfo.srcIp source.port=alertInfo.srcPort source.process.container_id=containerInfo.id \
         event.description=ruleInfo.description alert.severity=ruleInfo.severity \
         source.process.command_line=sourceProcessInfo.commandline \
         source.process.executable.md5=sourceProcessInfo.fileHashMd5 \
         source.process.executable.sha256=sourceProcessInfo.fileHashSha256 \
         source.process.executable.path=sourceProcessInfo.filePath source.process.name=sourceProcessInfo.name \
         source.process.pid=sourceProcessInfo.pid source.process.parent_id=sourceParentProcessInfo.pid \
         target.process.executable.sha256=targetProcessInfo.tgtFileHashSha256 \
         target.file.path=targetProcessInfo.tgtFilePath target.file_before.path=targetProcessInfo.tgtFileOldPath \
         target.process.command_line=targetProcessInfo.tgtProcCmdLine \
         target.process.executable.filename=targetProcessInfo.tgtProcName \
         target.process.integrity_level=targetProcessInfo.tgtProcIntegrityLevel \
         target.process.pid=targetProcessInfo.tgtProcPid",
    ),
];

/// The modelling rules of the pack tell records by `eventType`, and the collector reads `_time`.
#[cfg(feature = "remap")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cortex_xsiam_gets_records_with_their_type_and_time() {
    let address = "https://api-acme.xdr.eu.paloaltonetworks.com";
    let requests = runs_with((600, 200, 200, 120), "cortex_xsiam", address, Some("xsiam.key"), |request| {
        ensure(request.path == "/logs/v1/event" && request.header("authorization") == "c4nary", &json!(request.path))?;
        for record in lines(request) {
            let updated = match record["eventType"].as_str() {
                Some("Threat") => &record["threatInfo"]["updatedAt"],
                Some("Alert") => &record["alertInfo"]["updatedAt"],
                Some("Activity") if record["activityType"].is_number() => &record["updatedAt"],
                _ => &Value::Null,
            };
            ensure(updated.is_string() && record["_time"] == *updated, &record)?;
        }
        Ok(Reply::new(200, r#"{"error":"false"}"#))
    })
    .await;
    let records: Vec<Value> = requests.iter().flat_map(lines).collect();
    for (event_type, fields) in XSIAM {
        let modelled: Vec<&Value> = records.iter().filter(|record| record["eventType"] == event_type).collect();
        assert!(!modelled.is_empty(), "{event_type}");
        for field in fields.split_whitespace() {
            let (_, paths) = field.split_once('=').unwrap();
            // Each of the paths: the first hides what the others lack.
            for path in paths.split('|') {
                assert!(modelled.iter().any(|record| has(record, path)), "{event_type}: {field} without {path}");
            }
        }
    }
    promises("### Cortex XSIAM", &XSIAM.map(|(event_type, _)| (event_type, true)));
}

/// The conditions of its parsers are these words in the text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exabeam_gets_records_that_its_parser_takes() {
    runs("exabeam", "https://api.eu.exabeam.cloud", Some("exabeam.token"), |request| {
        ensure(request.header("authorization") == "Bearer c4nary", &json!(request.path))?;
        for line in request.body.lines() {
            let words: &[&str] = match line {
                threat if threat.contains("\"threatInfo\":") => {
                    &["\"classification\":", "\"threatName\":\"", "\"mitigationStatus\":", "\"engines\":"]
                }
                alert if alert.contains("\"alertInfo\":") => &["\"ruleInfo\":", "\"sourceProcessInfo\":"],
                _ => &["\"activityType\":", "\"activityUuid\":", "\"threatId\":"],
            };
            ensure(words.iter().all(|word| line.contains(word)), &json!(line))?;
        }
        Ok(Reply::new(200, ""))
    })
    .await;
}

/// A message a request; objects, lists and empty values are no values of GELF, and `_id` is not for senders.
#[cfg(feature = "remap")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graylog_gets_one_message_a_request() {
    let requests = runs("graylog", "https://graylog.example:12201", None, |request| {
        ensure(request.path == "/gelf" && lines(request).len() == 1, &json!(request.body))?;
        let message = &lines(request)[0];
        ensure(message["version"] == "1.1" && message["timestamp"].is_f64(), message)?;
        for (key, value) in message.as_object().unwrap() {
            let is_standard = ["version", "host", "short_message", "full_message", "timestamp"].contains(&key.as_str());
            let is_own = key.strip_prefix('_').is_some_and(|name| !name.is_empty() && name != "id");
            ensure((is_standard || is_own) && (value.is_string() || value.is_number()), message)?;
        }
        let record: Value = serde_json::from_str(message["full_message"].as_str().unwrap()).unwrap();
        let text = match message["_stream"].as_str() {
            Some("threats") => &record["threatInfo"]["threatName"],
            _ => &record["primaryDescription"],
        };
        ensure(message["short_message"] == *text && message["_record_id"] == record["id"], message)?;
        Ok(Reply::new(202, ""))
    })
    .await;
    let streams: BTreeSet<String> =
        requests.iter().flat_map(lines).map(|message| message["_stream"].as_str().unwrap().to_owned()).collect();
    assert_eq!(streams, ["activities".to_owned(), "threats".to_owned()].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devo_gets_each_stream_in_its_table() {
    let requests = runs("devo", "https://http-eu.devo.io", None, |request| {
        let table = request.path.strip_prefix("/stream/acme/token!TOKEN/usea1-acme/").unwrap_or_default();
        for record in lines(request) {
            let is_in_place = match table {
                "edr.sentinelone.agent.threats" => record["threatInfo"].is_object(),
                "edr.sentinelone.management.activities" => record["activityType"].is_number(),
                "edr.sentinelone.cloud_detection.alerts" => record["alertInfo"].is_object(),
                "edr.sentinelone.agent.agents" => record["computerName"].is_string(),
                _ => false,
            };
            ensure(is_in_place, &record)?;
        }
        Ok(Reply::new(200, ""))
    })
    .await;
    assert!(requests.iter().any(|request| request.path.ends_with(AGENTS)));
}

/// Lines without a valid time get that of the receipt, and long ones are skipped: neither is answered with an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victorialogs_gets_lines_with_time_and_message() {
    runs("victorialogs", "https://victorialogs.example:9428", None, |request| {
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
        ensure(request.path == "/insert/jsonline", &json!(request.path))?;
        for line in request.body.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let time = event[query["_time_field"].as_str()].as_str().unwrap_or_default();
            ensure(s1_forwarder::record::Timestamp::parse(time).is_ok() && line.len() < 256 * 1_024, &event)?;
            ensure(event[query["_msg_field"].as_str()].is_string(), &event)?;
            for field in query["_stream_fields"].split(',') {
                let value = field.split('.').fold(&event, |value, name| &value[name]);
                ensure(value.is_string(), &event)?;
            }
        }
        Ok(Reply::new(200, ""))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clickhouse_gets_rows_of_the_documented_table() {
    runs("clickhouse", "https://clickhouse.example:8443", Some("clickhouse.key"), |request| {
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
        ensure(
            request.header("x-clickhouse-user") == "s1" && request.header("x-clickhouse-key") == "c4nary",
            &json!("key"),
        )?;
        ensure(query["query"] == "INSERT INTO sentinelone FORMAT JSONEachRow", &json!(query))?;
        ensure(query["async_insert"] == "1" && query["wait_for_async_insert"] == "1", &json!(query))?;
        for row in lines(request) {
            let is_row = ["id", "pipeline", "stream"].iter().all(|column| row[*column].is_string());
            ensure(is_row && row["labels"].is_object() && row["record"].is_object(), &row)?;
            let columns = ["id", "labels", "pipeline", "record", "stream"];
            ensure(row.as_object().unwrap().keys().all(|key| columns.contains(&key.as_str())), &row)?;
        }
        Ok(Reply::new(200, ""))
    })
    .await;
}

/// Its HTTP Event Collector takes lines, with the parser in the query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_siem_gets_ocsf_events_and_the_name_of_a_parser() {
    runs("sentinelone-ai-siem", "https://ingest.us1.sentinelone.net", Some("ai-siem.key"), |request| {
        let is_addressed = request.path == "/services/collector/raw" && request.query == "sourcetype=json";
        ensure(is_addressed && request.header("authorization") == "Bearer c4nary", &json!(request.path))?;
        for event in lines(request) {
            ensure(event["class_uid"].is_number() && event["time"].is_number(), &event)?;
        }
        Ok(Reply::new(200, r#"{"text":"Success","code":0}"#))
    })
    .await;
}

/// The rules of docs/integrations.md find their fields, and no line is longer than the agent reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wazuh_gets_lines_with_the_fields_of_the_documented_rules() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.alerts) = (40, 60, 20)).await;
    let path = harness.path("wazuh.json");
    let path = path.to_str().unwrap();
    let text = harness.shipped("wazuh", &[("/var/log/s1-forwarder/wazuh.json", path)]);
    harness.write("pipelines/wazuh.yaml", &text.replace("since: 1d", "since: 30d").replace("since: 7d", "since: 30d"));
    let done = harness.once(&[]).await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let written = std::fs::read_to_string(path).unwrap();
    assert!(written.lines().all(|line| line.len() < 64 * 1_024));
    let events: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rules = include_str!("../../docs/integrations.md");
    let documented = rules.split("<field name=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let texts = rules.split("$(record").skip(1).filter_map(|rest| rest.split_once(')'));
    let texts = texts.map(|(name, _)| format!("record{name}"));
    let fields: Vec<String> = documented.map(|(name, _)| name.to_owned()).chain(texts).collect();
    assert!(fields.len() >= 8, "{fields:?}");
    for field in fields {
        let pointer = format!("/{}", field.replace('.', "/"));
        assert!(events.iter().any(|event| event.pointer(&pointer).is_some_and(Value::is_string)), "{field}");
    }
    let is_unmitigated = |event: &&Value| event["record"]["threatInfo"]["mitigationStatus"] == "not_mitigated";
    assert!(events.iter().any(|event| is_unmitigated(&event)));
}
