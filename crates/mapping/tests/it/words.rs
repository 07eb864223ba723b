//! Checks what the manuals say about the console's words, with records that have these words.

use s1_forwarder_mapping::{Schema, word_tables};
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::support::{at, map_to};

/// Returns the rows of the table of this field whose first word is `first`.
fn rows(schema: Schema, field: &str, first: &str) -> Vec<(&'static str, String)> {
    let mut tables = word_tables(schema).into_iter();
    let table = tables.find(|(name, rows)| *name == field && rows.first().is_some_and(|(word, _)| *word == first));
    table.unwrap_or_else(|| panic!("no table of {field} that begins with {first}")).1
}

/// Returns the event of a record with this word in place of `WORD`.
fn event(schema: Schema, stream: Stream, record: &Value, word: &str) -> Value {
    let text = record.to_string().replace("WORD", word.trim_matches('*'));
    map_to(schema, stream, &serde_json::from_str(&text).unwrap())
}

/// Returns a value as the manual prints it.
fn print(value: Option<&Value>) -> String {
    match value {
        None => "no".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(elements)) => {
            elements.iter().map(|element| print(Some(element))).collect::<Vec<_>>().join(", ")
        }
        Some(value) => value.to_string(),
    }
}

/// A row may have a remark after the value of the field.
#[test]
fn a_word_becomes_what_its_row_says() {
    let threat = |info: Value| json!({"id": "1", "threatInfo": info});
    let file = json!({"fileDisplayName": "a.exe", "fileVerificationType": "WORD"});
    let report = json!({"id": "1", "threatInfo": {"mitigationStatus": "mitigated"},
        "mitigationStatus": [{"action": "WORD", "status": "success"}]});
    let signed = json!({"targetProcessInfo": {"tgtFilePath": "/a", "tgtFileIsSigned": "WORD"}});
    let indicator = json!({"alertInfo": {"tiIndicatorType": "WORD", "tiIndicatorValue": "192.0.2.1"}});
    let tactic = json!({"id": "1", "indicators": [{"tactics": [{"name": "WORD", "techniques": [{"name": "T1059"}]}]}]});
    let ecs = [
        ("host.os.type", "windows", Stream::Agents, json!({"id": "1", "osType": "WORD"}), "/host/os/type"),
        ("host.architecture", "x86_64", Stream::Agents, json!({"id": "1", "osArch": "WORD"}), "/host/architecture"),
        (
            "host.architecture",
            "intel",
            Stream::Agents,
            json!({"id": "1", "osArch": "64 bit", "cpuId": "A WORD (R)"}),
            "/host/architecture",
        ),
        (
            "threat.indicator.confidence",
            "malicious",
            Stream::Threats,
            threat(json!({"confidenceLevel": "WORD"})),
            "/threat/indicator/confidence",
        ),
        (
            "network.direction",
            "inbound",
            Stream::Alerts,
            json!({"alertInfo": {"netEventDirection": "WORD"}}),
            "/network/direction",
        ),
        (
            "network.transport",
            "tcp*",
            Stream::Alerts,
            json!({"alertInfo": {"eventType": "WORD"}}),
            "/network/transport",
        ),
        ("event.severity", "info", Stream::Alerts, json!({"ruleInfo": {"severity": "WORD"}}), "/event/severity"),
        (
            "event.severity",
            "malicious",
            Stream::Threats,
            threat(json!({"confidenceLevel": "WORD", "mitigationStatus": "mitigated"})),
            "/event/severity",
        ),
        ("event.outcome", "mitigated", Stream::Threats, threat(json!({"mitigationStatus": "WORD"})), "/event/outcome"),
        ("event.category", "exploit", Stream::Threats, threat(json!({"classification": "WORD"})), "/event/category"),
        ("threat.indicator.type", "ip", Stream::Alerts, indicator, "/threat/indicator/type"),
        ("file.code_signature.exists", "signed", Stream::Alerts, signed, "/file/code_signature/exists"),
        (
            "file.code_signature.exists",
            "notsigned",
            Stream::Threats,
            threat(file.clone()),
            "/file/code_signature/exists",
        ),
        ("threat.tactic.name", "reconnaissance", Stream::Threats, tactic, "/threat/tactic/name"),
    ];
    let analytic = json!({"id": "1", "analytics": {"name": "a", "typeValue": "WORD"}});
    let engine = threat(json!({"detectionEngines": [{"key": "WORD", "title": "An engine"}]}));
    let ocsf = [
        ("status", "unresolved", Stream::Threats, threat(json!({"incidentStatus": "WORD"})), "/status"),
        ("confidence", "malicious", Stream::Threats, threat(json!({"confidenceLevel": "WORD"})), "/confidence"),
        ("finding_info.analytic.type", "rule", Stream::UnifiedAlerts, analytic, "/finding_info/analytic/type"),
        ("finding_info.analytic.type", "pre_execution", Stream::Threats, engine, "/finding_info/analytic/type"),
        (
            "resources[].role",
            "target",
            Stream::UnifiedAlerts,
            json!({"id": "1", "assets": [{"id": "2", "role": "WORD"}]}),
            "/resources/0/role",
        ),
        ("device.type", "endpoint", Stream::Agents, json!({"id": "1", "machineType": "WORD"}), "/device/type"),
        ("device.os.type", "windows", Stream::Agents, json!({"id": "1", "osType": "WORD"}), "/device/os/type"),
        (
            "device.os.cpu_bits",
            "64_bit",
            Stream::Agents,
            json!({"id": "1", "osName": "An OS", "osArch": "WORD"}),
            "/device/os/cpu_bits",
        ),
        (
            "device.os.cpu_bits",
            "x86_64",
            Stream::Agents,
            json!({"id": "1", "osName": "An OS", "osArch": "WORD"}),
            "/device/os/cpu_bits",
        ),
        (
            "device.hw_info.cpu_info_list[].cpu_architecture",
            "x86_64",
            Stream::Agents,
            json!({"id": "1", "osArch": "WORD"}),
            "/device/hw_info/cpu_info_list/0/cpu_architecture",
        ),
        (
            "device.hw_info.cpu_info_list[].cpu_architecture",
            "intel",
            Stream::Agents,
            json!({"id": "1", "osArch": "64 bit", "cpuId": "A WORD (R)"}),
            "/device/hw_info/cpu_info_list/0/cpu_architecture",
        ),
        (
            "peripheral_device.type",
            "*storage*",
            Stream::Activities,
            json!({"activityType": 5126, "agentId": "1", "data": {"deviceName": "a", "deviceClass": "USB WORD"}}),
            "/peripheral_device/type",
        ),
        (
            "finding_info.analytic.sensor_info_list[].sensor_layer",
            "edr",
            Stream::UnifiedAlerts,
            json!({"id": "1", "analytics": {"uid": "5"}, "detectionSource": {"product": "WORD"}}),
            "/finding_info/analytic/sensor_info_list/0/sensor_layer",
        ),
        ("severity", "info", Stream::Alerts, json!({"ruleInfo": {"severity": "WORD"}}), "/severity"),
        (
            "severity",
            "malicious",
            Stream::Threats,
            threat(json!({"confidenceLevel": "WORD", "mitigationStatus": "mitigated"})),
            "/severity",
        ),
        ("verdict", "undefined", Stream::Threats, threat(json!({"analystVerdict": "WORD"})), "/verdict"),
        ("disposition", "mitigated", Stream::Threats, threat(json!({"mitigationStatus": "WORD"})), "/disposition"),
        ("disposition", "quarantine", Stream::Threats, report, "/disposition"),
        (
            "malware[].classification_ids",
            "adware",
            Stream::Threats,
            threat(json!({"threatName": "a", "classification": "WORD"})),
            "/malware/0/classification_ids",
        ),
        (
            "evidences[].file.signatures[].state",
            "notsigned",
            Stream::Threats,
            threat(file),
            "/evidences/0/file/signatures/0/state",
        ),
    ];
    for (schema, cases) in [(Schema::Ecs, &ecs[..]), (Schema::Ocsf, &ocsf[..])] {
        for (field, first, stream, record, pointer) in cases {
            for (word, meaning) in rows(schema, field, first) {
                let event = event(schema, *stream, record, word);
                let value = print(event.pointer(pointer));
                assert!(meaning.starts_with(&value), "{field} is {value:?} for {word}, not {meaning:?}\n{event:#}");
            }
        }
    }
}

#[test]
fn an_asset_is_a_machine_as_its_row_says() {
    for (schema, field) in [(Schema::Ecs, "host"), (Schema::Ocsf, "device")] {
        let table = if schema == Schema::Ecs { "host" } else { "device.type" };
        for (word, meaning) in rows(schema, table, "endpoint") {
            let asset = json!({"id": "2", "name": "a", "category": "WORD", "primary": true});
            let event = event(schema, Stream::UnifiedAlerts, &json!({"id": "1", "assets": [asset]}), word);
            assert!(event.get(field).is_some(), "{word}: {meaning}\n{event:#}");
        }
    }
}

#[test]
fn the_id_of_a_detection_is_where_its_row_says() {
    let id = "1234567890123456789";
    let record = json!({"id": "1", "externalId": id, "storylineId": "s",
        "detectionSource": {"product": "WORD", "vendor": "SentinelOne"}});
    for (word, meaning) in rows(Schema::Ecs, "sentinel_one", "edr") {
        let event = event(Schema::Ecs, Stream::UnifiedAlerts, &record, word);
        assert_eq!(at(&event["sentinel_one"], meaning.trim_matches('`')), id, "{word}: {meaning}");
    }
    for (word, meaning) in rows(Schema::Ocsf, "metadata.correlation_uid", "edr") {
        let event = event(Schema::Ocsf, Stream::UnifiedAlerts, &record, word);
        let expected = if meaning.starts_with("the storyline") { "s" } else { id };
        assert_eq!(at(&event, "metadata.correlation_uid"), expected, "{word}: {meaning}");
    }
}
