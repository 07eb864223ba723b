//! A placeholder neither joins unrelated events nor hides the value next to it.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::schema;
use super::support::{assert_fields, map, map_to};

/// Returns the event of a record. Fails if a field of ECS has a placeholder.
fn sound(stream: Stream, record: Value) -> Value {
    let event = map(stream, &record);
    let faults = schema::faults(&event);
    assert!(faults.is_empty(), "{faults:#?}\n{event:#}");
    event
}

fn threat(info: Value) -> Value {
    sound(Stream::Threats, json!({"id": "1", "threatInfo": info}))
}

fn alert(info: Value) -> Value {
    sound(Stream::Alerts, json!({"alertInfo": info, "sourceProcessInfo": {"user": "NT AUTHORITY\\SYSTEM"}}))
}

#[test]
fn placeholders_join_no_events() {
    let data = json!({"uuid": "N/A", "alertId": "N/A"});
    let event = sound(Stream::Activities, json!({"activityType": 5126, "threatId": "N/A", "data": data}));
    for path in ["agent.uuid", "alert.id", "threat.id"] {
        assert_fields(&event, &[(&format!("sentinel_one.{path}"), Value::Null)]);
    }
    let hit = json!({"rulename": "r", "alertid": "N/A", "origagentuuid": "N/A", "sourceprocessname": "a"});
    let event = sound(Stream::Activities, json!({"activityType": 3608, "data": hit}));
    assert_fields(&event, &[("sentinel_one.agent", Value::Null), ("sentinel_one.alert", Value::Null)]);
}

#[test]
fn a_placeholder_does_not_hide_the_value_of_the_detection() {
    let event = sound(
        Stream::Threats,
        json!({"id": "1", "agentRealtimeInfo": {"agentUuid": "N/A"}, "agentDetectionInfo": {"agentUuid": "u-1"}}),
    );
    assert_fields(&event, &[("sentinel_one.agent.uuid", json!("u-1"))]);
}

#[test]
fn an_unknown_path_names_no_process_and_a_root_has_no_name() {
    let dynamic =
        |path: &str| threat(json!({"detectionType": "dynamic", "fileExtensionType": "Executable", "filePath": path}));
    for path in ["\\Unknown device\\Unknown file", "N/A"] {
        let event = dynamic(path);
        assert_fields(
            &event,
            &[
                ("process", Value::Null),
                ("file", Value::Null),
                ("sentinel_one.threat.threat_info.file_path", json!(path)),
            ],
        );
    }
    let root = dynamic("C:\\");
    assert_fields(&root, &[("process.name", Value::Null), ("file.name", Value::Null), ("file.path", json!("C:\\"))]);
    for line in ["/", "/bin/"] {
        let event = sound(Stream::UnifiedAlerts, json!({"id": "1", "process": {"cmdLine": line}}));
        assert_fields(&event, &[("process", json!({"command_line": line}))]);
    }
}

#[test]
fn a_threat_without_path_name_and_hash_has_no_signature_and_is_about_no_file() {
    let unknown = json!({"detectionType": "static", "filePath": "N/A", "threatName": "N/A", "fileSize": 5,
        "fileVerificationType": "NotSigned"});
    let event = threat(unknown.clone());
    assert_fields(
        &event,
        &[("file", json!({"size": 5})), ("sentinel_one.threat.threat_info.file_verification_type", json!("NotSigned"))],
    );
    assert!(!event["event"]["category"].as_array().unwrap().contains(&json!("file")), "{event:#}");
    let mut hashed = unknown;
    hashed["md5"] = json!("d41d8cd98f00b204e9800998ecf8427e");
    assert_fields(&threat(hashed), &[("file.code_signature.exists", json!(false))]);
}

#[test]
fn a_login_from_no_known_address_has_the_address_of_the_connection() {
    for machine in ["N/A", "0.0.0.0", "ws-7"] {
        let event = alert(json!({"eventType": "WINLOGONATTEMPT", "loginsUserName": "jane", "srcIp": "10.1.1.1",
            "srcMachineIp": machine}));
        assert_fields(&event, &[("source.ip", json!("10.1.1.1")), ("error", Value::Null)]);
    }
    let event = alert(json!({"eventType": "WINLOGONATTEMPT", "loginsUserName": "jane", "srcIp": "10.1.1.1",
        "srcMachineIp": "10.2.2.2"}));
    assert_fields(&event, &[("source.ip", json!("10.2.2.2"))]);
}

#[test]
fn a_login_without_values_leaves_the_user_of_the_process() {
    for missing in ["N/A", "-"] {
        let event = alert(json!({"eventType": "FILEMODIFICATION", "loginsUserName": missing,
            "loginAccountDomain": missing, "loginAccountSid": missing}));
        assert_fields(&event, &[("user", json!({"name": "SYSTEM", "domain": "NT AUTHORITY"}))]);
        let event = alert(json!({"loginsUserName": missing, "loginAccountDomain": "-", "loginAccountSid": "S-1-5-18"}));
        assert_fields(&event, &[("user", json!({"id": "S-1-5-18"}))]);
    }
}

#[test]
fn an_unknown_target_leaves_the_user_of_the_process() {
    let alert = |target: Value| {
        let detection = json!({"targetUser": target});
        sound(
            Stream::UnifiedAlerts,
            json!({"id": "1", "process": {"username": "ACME\\eve"}, "detectionTime": detection}),
        )
    };
    let eve = json!({"name": "eve", "domain": "ACME"});
    for target in [
        json!({"name": "N/A", "domain": "N/A"}),
        json!({"name": "ACME\\eve", "domain": "ACME"}),
        json!({"name": "eve", "domain": "ACME"}),
    ] {
        assert_fields(&alert(target), &[("user", eve.clone()), ("related.user", json!(["eve"]))]);
    }
}

#[test]
fn an_address_in_the_place_of_a_name_is_an_address() {
    let alert = |attacker: Value, asset: &str| {
        let detection = json!({"attacker": attacker});
        let assets = json!([{"name": asset, "category": "Server", "primary": true}]);
        sound(Stream::UnifiedAlerts, json!({"id": "1", "detectionTime": detection, "assets": assets}))
    };
    let event = alert(json!({"ip": "FE80:0:0::1", "host": "10.0.0.1"}), "10.0.0.7");
    assert_fields(
        &event,
        &[
            ("source", json!({"address": "fe80::1", "ip": "fe80::1"})),
            ("related.ip", json!(["fe80::1", "10.0.0.1", "10.0.0.7"])),
            ("related.hosts", Value::Null),
            ("host.name", json!("10.0.0.7")),
        ],
    );
    let event = alert(json!({"ip": "0.0.0.0", "host": "10.0.0.1"}), "web-1");
    assert_fields(
        &event,
        &[("source", json!({"address": "10.0.0.1", "ip": "10.0.0.1"})), ("related.hosts", json!(["web-1"]))],
    );
    let event = alert(json!({"ip": "N/A", "host": "evil.example"}), "web-1");
    assert_fields(&event, &[("source", json!({"address": "evil.example", "domain": "evil.example"}))]);
}

#[test]
fn placeholders_relate_nothing() {
    let observables = json!([{"type": "HOSTNAME", "value": "unknown"}, {"type": "FILE_HASH", "value": "N/A"},
        {"type": "USERNAME", "value": "ACME\\bob"}, {"type": "USERNAME", "value": "bob"}]);
    let event = sound(
        Stream::UnifiedAlerts,
        json!({"id": "1", "assignee": {"fullName": "N/A", "email": "N/A"}, "assets": [{"name": "unknown"}],
            "observables": observables}),
    );
    assert_fields(&event, &[("related", json!({"user": ["bob"]}))]);
    let event = sound(Stream::Vulnerabilities, json!({"id": "1", "markedBy": "N/A"}));
    assert_fields(&event, &[("related", Value::Null)]);
}

#[test]
fn a_response_without_an_answer_has_no_answers() {
    for response in ["N/A", "-", "unknown", "NXDOMAIN"] {
        let event = alert(json!({"eventType": "DNS", "dnsRequest": "a.example", "dnsResponse": response}));
        assert_fields(
            &event,
            &[
                ("dns", json!({"question": {"name": "a.example"}})),
                ("related.hosts", json!(["a.example"])),
                ("sentinel_one.alert.alert_info.dns_response", json!(response)),
            ],
        );
    }
    let event = alert(json!({"eventType": "PROCESSCREATION", "dnsRequest": "N/A"}));
    assert_fields(&event, &[("network", Value::Null), ("dns", Value::Null)]);
}

#[test]
fn a_placeholder_is_no_registry_path_and_no_data() {
    let event = alert(json!({"eventType": "REGKEYCREATE", "registryKeyPath": "N/A", "registryPath": "MACHINE\\A\\B",
        "registryValue": "N/A"}));
    assert_fields(&event, &[("registry", json!({"hive": "HKLM", "path": "HKLM\\A\\B", "key": "A\\B"}))]);
    let event = alert(json!({"registryKeyPath": "N/A"}));
    assert_fields(&event, &[("registry", Value::Null)]);
}

#[test]
fn the_longer_of_two_registry_paths_has_the_name_of_the_value() {
    let event = alert(json!({"eventType": "REGVALUEMODIFIED", "registryKeyPath": "MACHINE\\X\\Run",
        "registryPath": "MACHINE\\X\\Run\\Evil", "registryValue": "e.exe"}));
    assert_fields(
        &event,
        &[
            ("registry.key", json!("X\\Run")),
            ("registry.value", json!("Evil")),
            ("registry.path", json!("HKLM\\X\\Run\\Evil")),
            ("sentinel_one.alert.alert_info.registry_key_path", json!("MACHINE\\X\\Run")),
        ],
    );
    let event = alert(json!({"eventType": "REGVALUEMODIFIED", "registryKeyPath": "MACHINE\\X\\Run",
        "registryPath": "MACHINE\\X\\Runner"}));
    assert_fields(&event, &[("registry.path", json!("HKLM\\X\\Run"))]);
}

#[test]
fn an_id_that_is_a_list_is_not_lost() {
    let event = map_to(Schema::Ocsf, Stream::Threats, &json!({"threatInfo": {"threatId": [7]}}));
    assert_fields(&event, &[("unmapped.threatInfo.threatId", json!([7]))]);
}

#[test]
fn a_placeholder_is_no_image_provider_label_or_tactic() {
    let event = sound(
        Stream::Threats,
        json!({"id": "1", "containerInfo": {"image": "N/A"},
            "indicators": [{"description": "N/A", "tactics": [{"name": "unknown", "techniques": []}]}]}),
    );
    assert_fields(&event, &[("container", Value::Null), ("threat.tactic", Value::Null), ("event.reason", Value::Null)]);
    let detected = json!({"cloud": {"cloudProvider": "N/A"}, "kubernetes": {"podName": "p", "podLabels": ["N/A"]}});
    let event = sound(
        Stream::UnifiedAlerts,
        json!({"id": "1", "assets": [{"name": "a"}], "detectionTime": {"assets": [detected]}}),
    );
    assert_fields(&event, &[("cloud", Value::Null), ("orchestrator.resource.label", Value::Null)]);
    let event = sound(Stream::Activities, json!({"activityType": 5232, "data": {"protocol": "-1"}}));
    assert_fields(&event, &[("network.transport", Value::Null)]);
}
