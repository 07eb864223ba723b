//! The console's words for a missing value do not become facts.

use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::support::{assert_fields, map};

fn alert(blocks: Value) -> Value {
    map(Stream::Alerts, &blocks)
}

fn activity(number: u32, data: Value) -> Value {
    map(Stream::Activities, &json!({"activityType": number, "createdAt": "2026-03-01T10:20:30Z", "data": data}))
}

#[test]
fn an_alert_without_a_file_has_no_file() {
    let target = json!({"tgtFileCreatedAt": "1970-01-01T00:00:00Z", "tgtFileModifiedAt": "2026-01-01T00:00:00Z",
        "tgtFileIsSigned": "signed"});
    let event = alert(json!({"targetProcessInfo": target}));
    assert_fields(
        &event,
        &[
            ("file", Value::Null),
            ("sentinel_one.alert.target_process_info.tgt_file_is_signed", json!("signed")),
            ("sentinel_one.alert.target_process_info.tgt_file_modified_at", json!("2026-01-01T00:00:00Z")),
        ],
    );
    let mut with_path = target.clone();
    with_path["tgtFilePath"] = json!("C:\\x.exe");
    assert_fields(
        &alert(json!({"targetProcessInfo": with_path})),
        &[
            ("file.path", json!("C:\\x.exe")),
            ("file.code_signature.exists", json!(true)),
            ("file.created", Value::Null),
            ("file.mtime", json!("2026-01-01T00:00:00Z")),
        ],
    );
}

#[test]
fn the_beginning_of_1970_is_no_date() {
    for time in
        [json!("1970-01-01T00:00:00Z"), json!("1970-01-01T01:00:00+01:00"), json!("0001-01-01T00:00:00Z"), json!(0)]
    {
        let event = alert(json!({"alertInfo": {"createdAt": time, "reportedAt": "2026-01-01T00:00:00Z"},
            "sourceProcessInfo": {"name": "a", "pidStarttime": time}}));
        assert_fields(
            &event,
            &[
                ("@timestamp", json!("2026-01-01T00:00:00Z")),
                ("event.created", Value::Null),
                ("process.start", Value::Null),
                ("sentinel_one.alert.source_process_info.pid_starttime", time.clone()),
                ("error", Value::Null),
            ],
        );
    }
}

#[test]
fn port_0_the_unspecified_address_and_rule_minus_1_are_left_out() {
    let event = alert(json!({"alertInfo": {"srcIp": "0.0.0.0", "srcPort": "0", "dstIp": "::", "dstPort": 0},
        "ruleInfo": {"id": "-1", "name": "r"}}));
    assert_fields(
        &event,
        &[
            ("source", Value::Null),
            ("destination", Value::Null),
            ("related", Value::Null),
            ("rule.id", Value::Null),
            ("rule.name", json!("r")),
            ("sentinel_one.alert.alert_info.src_port", json!("0")),
            ("sentinel_one.alert.rule_info.id", json!("-1")),
        ],
    );
    let event = activity(5126, json!({"ruleId": -1, "ruleName": "allow"}));
    assert_fields(
        &event,
        &[("rule", json!({"name": "allow"})), ("sentinel_one.activity.data.flattened.ruleId", json!(-1))],
    );
}

#[test]
fn unknown_machines_are_not_named() {
    let event = map(
        Stream::Agents,
        &json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "N/A", "domain": "unknown",
            "machineType": "unknown", "serialNumber": "None", "modelName": "N/A", "osUsername": "None", "osName": "unknown",
            "osRevision": "N/A", "osType": "unknown"}),
    );
    assert_fields(
        &event,
        &[
            ("host", json!({"id": "9"})),
            ("device", Value::Null),
            ("user", Value::Null),
            ("related", Value::Null),
            ("sentinel_one.agent.computer_name", json!("N/A")),
            ("sentinel_one.agent.os_username", json!("None")),
        ],
    );
    let workgroup =
        map(Stream::Agents, &json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "domain": "WORKGROUP"}));
    assert_fields(&workgroup, &[("host.domain", Value::Null), ("sentinel_one.agent.domain", json!("WORKGROUP"))]);
}

#[test]
fn an_unknown_file_is_no_file() {
    let file = json!({"name": "Unknown file", "path": "\\\\Unknown device\\Unknown file"});
    let event = map(Stream::UnifiedAlerts, &json!({"id": "1", "process": {"file": file}}));
    assert_fields(&event, &[("file", Value::Null), ("sentinel_one.unified_alert.process.file", file)]);
    let event = activity(19, json!({"filePath": "\\Unknown device\\Unknown file", "fileDisplayName": "Unknown file"}));
    assert_fields(&event, &[("file", Value::Null)]);
}

#[test]
fn an_operating_system_belongs_to_a_host() {
    let exclusion = activity(3016, json!({"osFamily": "windows", "value": "C:\\Windows\\system32\\diskshadow.exe"}));
    assert_fields(
        &exclusion,
        &[
            ("host", Value::Null),
            (
                "file",
                json!({"path": "C:\\Windows\\system32\\diskshadow.exe", "extension": "exe", "name": "diskshadow.exe"}),
            ),
            ("sentinel_one.activity.data.flattened", json!({"osFamily": "windows"})),
        ],
    );
    let of_agent = activity(5126, json!({"osType": "windows", "computerName": "web-1"}));
    assert_fields(
        &of_agent,
        &[("host", json!({"name": "web-1", "hostname": "web-1", "os": {"type": "windows", "family": "windows"}}))],
    );
}
