//! What `content: integration` sends, through the moves of Elastic's ingest pipelines on a real node. The node
//! simulates them, since it takes no pipeline of its own. The moves are those that can fail: a field that is there
//! already.

use std::collections::BTreeSet;

use s1_forwarder::record::Stream;
use s1_forwarder::settings::Schema;
use s1_forwarder::sink::SinkContext;
use serde_json::{Value, json};

use crate::support::batches::{context, raw_records, settings};
use crate::support::opensearch::OpenSearch;

/// Kind of event, parts of the document's id, and the moves: from the record, to the document.
type Moves = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const THREAT: Moves = (
    "alert",
    &["threatInfo.createdAt", "threatInfo.updatedAt", "id"],
    &[
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
        ("agentRealtimeInfo.agentVersion", "observer.version"),
    ],
);

const ACTIVITY: Moves = (
    "event",
    &["createdAt", "updatedAt", "id"],
    &[
        ("hash", "process.hash.sha1"),
        ("osFamily", "observer.os.family"),
        ("agentUpdatedVersion", "observer.version"),
        ("groupId", "user.group.id"),
        ("groupName", "user.group.name"),
        ("userId", "user.id"),
        ("agentId", "sentinel_one.activity.agent.id"),
        ("primaryDescription", "message"),
        ("id", "sentinel_one.activity.id"),
        ("siteId", "sentinel_one.site.id"),
        ("siteName", "sentinel_one.site.name"),
        ("data.username", "user.full_name"),
    ],
);

const ALERT: Moves = (
    "event",
    &["alertInfo.createdAt", "alertInfo.updatedAt", "alertInfo.alertId"],
    &[
        ("agentDetectionInfo.machineType", "host.type"),
        ("agentDetectionInfo.name", "host.name"),
        ("agentDetectionInfo.osFamily", "host.os.family"),
        ("agentDetectionInfo.osName", "host.os.name"),
        ("agentDetectionInfo.osRevision", "host.os.version"),
        ("agentDetectionInfo.uuid", "observer.serial_number"),
        ("agentDetectionInfo.version", "observer.version"),
        ("alertInfo.alertId", "event.id"),
        ("alertInfo.dnsRequest", "dns.question.name"),
        ("alertInfo.loginsUserName", "user.name"),
        ("alertInfo.modulePath", "dll.path"),
        ("alertInfo.registryPath", "registry.path"),
        ("containerInfo.id", "container.id"),
        ("ruleInfo.description", "rule.description"),
        ("ruleInfo.id", "rule.id"),
        ("ruleInfo.name", "rule.name"),
        ("sourceParentProcessInfo.commandline", "process.parent.command_line"),
        ("sourceParentProcessInfo.name", "process.parent.name"),
        ("sourceProcessInfo.commandline", "process.command_line"),
        ("sourceProcessInfo.fileHashMd5", "process.hash.md5"),
    ],
);

fn pipeline((kind, id, moves): Moves) -> Value {
    let id: Vec<String> = id.iter().map(|name| format!("json.{name}")).collect();
    let mut processors = vec![
        json!({ "set": { "field": "event.kind", "value": kind } }),
        json!({ "rename": { "field": "message", "target_field": "event.original" } }),
        json!({ "json": { "field": "event.original", "target_field": "json" } }),
        json!({ "fingerprint": { "fields": id, "target_field": "_id", "ignore_missing": true } }),
    ];
    processors.extend(moves.iter().map(|(from, to)| {
        json!({ "rename": { "field": format!("json.{from}"), "target_field": to, "ignore_missing": true } })
    }));
    processors.push(json!({ "remove": { "field": "json" } }));
    let failed = [
        json!({ "set": { "field": "event.kind", "value": "pipeline_error" } }),
        json!({ "append": { "field": "error.message", "value": "{{{_ingest.on_failure_message}}}" } }),
    ];
    json!({ "processors": processors, "on_failure": failed })
}

/// The documents that the sink would send, with their ids.
async fn documents(stream: Stream, content: &str) -> Vec<Value> {
    let keys = json!({ "type": "elasticsearch", "url": "https://h", "content": content, "schema": "raw" });
    let context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(stream) };
    let request = settings(keys).build(&context).unwrap().masked(&raw_records(stream)).await.unwrap();
    let text = String::from_utf8(request.body).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.chunks(2).map(|pair| json!({ "_id": pair[0]["create"]["_id"], "_source": pair[1] })).collect()
}

#[tokio::test]
async fn the_moves_of_elastics_pipelines_fail_for_no_record() {
    let Some(node) = OpenSearch::shared().await else { return };
    let simulate = async |moves: Moves, documents: &[Value]| -> Vec<Value> {
        let body = json!({ "pipeline": pipeline(moves), "docs": documents });
        let (status, answer) = node.ask("POST", "_ingest/pipeline/_simulate", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["docs"].as_array().unwrap().clone()
    };
    for (stream, moves) in [(Stream::Threats, THREAT), (Stream::Activities, ACTIVITY), (Stream::Alerts, ALERT)] {
        let sent = documents(stream, "integration").await;
        let stored = simulate(moves, &sent).await;
        let mut ids = BTreeSet::new();
        for (document, sent) in stored.iter().zip(&sent) {
            let source = &document["doc"]["_source"];
            assert_eq!((&source["event"]["kind"], source.get("error")), (&json!(moves.0), None), "{stream}: {source}");
            // What dashboards and rules select by, and what is ours, is left as it was.
            for name in ["data_stream", "labels", "tags"] {
                assert_eq!(source[name], sent["_source"][name], "{stream}");
            }
            ids.insert(document["doc"]["_id"].as_str().unwrap().to_owned());
        }
        assert_eq!((ids.len(), stored.len()), (sent.len(), sent.len()), "{stream}");
    }
    // The raw form has an `event.id`, onto which no alert's id can be moved.
    let raw = documents(Stream::Alerts, "forwarder").await;
    let stored = simulate(ALERT, &raw).await;
    assert!(stored.iter().all(|document| document["doc"]["_source"]["event"]["kind"] == "pipeline_error"));
}
