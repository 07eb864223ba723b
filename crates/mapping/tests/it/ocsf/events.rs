//! The contents of OCSF events: classes, states, profiles, identities, errors.

use s1_forwarder_mapping::{CompleteSnapshot, OcsfVersion, Schema, schema_name};
use s1_forwarder_record::{Identity, Level, Scope, Stream, Timestamp};
use serde_json::{Value, json};

use super::validity;
use crate::support::{HOST, assert_fields, at, map_to, mapper_to, read_event};

fn ocsf(stream: Stream, record: &Value) -> Value {
    let event = map_to(Schema::Ocsf, stream, record);
    assert_eq!(validity::faults(&event), Vec::<String>::new(), "{record}\n{event:#}");
    event
}

fn activity(number: u32, fields: Value, data: Value) -> Value {
    let mut record =
        json!({"id": "11", "activityType": number, "createdAt": "2026-03-01T10:20:30.123456Z", "data": data});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ocsf(Stream::Activities, &record)
}

#[test]
fn the_schema_has_a_name_with_its_version() {
    assert_eq!(schema_name(Schema::Ocsf, OcsfVersion::V1_9), "ocsf-1.9.0");
}

#[test]
fn the_classes_about_users_and_entities_have_the_address_of_the_user() {
    let address = "198.51.100.7";
    for (number, class, expected) in [
        (23, 3007, json!({"ip": address})),
        (27, 3002, json!({"ip": address})),
        (116, 3004, json!({"ip": address})),
        (37, 3007, json!({"ip": address})),
        (107, 3008, json!({"ip": address})),
        (71, 6007, Value::Null),
    ] {
        let data =
            json!({"byUser": "jane", "username": "bob", "roleName": "Admin", "siteName": "s", "ipAddress": address});
        let event = activity(number, json!({"userId": "7"}), data);
        assert_fields(&event, &[("class_uid", class.into()), ("src_endpoint", expected)]);
    }
}

#[test]
fn metadata_identifies_the_event_and_its_origin() {
    let record = json!({"id": "11", "activityType": 27, "createdAt": "2026-03-01T10:20:30.123999Z", "accountId": "5"});
    let event = ocsf(Stream::Activities, &record);
    let identity = Identity::of(HOST, Stream::Activities, "11", "").to_string();
    assert_fields(
        &event,
        &[
            ("metadata.uid", identity.into()),
            ("metadata.original_event_uid", "11".into()),
            ("metadata.product.vendor_name", "SentinelOne".into()),
            ("metadata.product.feature.name", "activities".into()),
            ("metadata.original_time", "2026-03-01T10:20:30.123999Z".into()),
            // Truncated, not rounded.
            (
                "metadata.loggers",
                json!([{"name": "SentinelOne", "product": {"vendor_name": "SentinelOne", "name": "Singularity"},
                    "logged_time": 1_772_360_430_123_i64}]),
            ),
            ("metadata.logged_time", Value::Null),
            ("time", 1_772_360_430_123_i64.into()),
            ("metadata.tenant_uid", "5".into()),
            ("metadata.event_code", "27".into()),
            ("metadata.labels", json!(["pipeline:acme-eu", "customer:acme"])),
            ("metadata.profiles", json!(["host"])),
            ("raw_data", Value::Null),
        ],
    );
    let mut out = Vec::new();
    mapper_to(Schema::Ocsf, Stream::Activities, true).map(record.to_string().as_bytes(), &mut out).unwrap();
    let event: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(event["raw_data"], record.to_string());
    assert!(event["metadata"]["processed_time"].as_i64().unwrap() > 1_772_360_430_123);
}

#[test]
fn a_record_that_cannot_be_mapped_is_a_base_event_with_its_text() {
    for stream in Stream::ALL {
        let mut out = Vec::new();
        mapper_to(Schema::Ocsf, stream, false).map(b"\"text\"", &mut out).unwrap_err();
        let event = read_event(&out);
        assert_eq!(validity::faults(&event), Vec::<String>::new(), "{event:#}");
        assert_fields(
            &event,
            &[
                ("class_uid", 0.into()),
                ("status", "Failure".into()),
                ("raw_data", "\"text\"".into()),
                ("status_detail", "the record is not a JSON object".into()),
            ],
        );
    }
}

#[test]
fn the_event_that_ends_a_snapshot_says_what_is_complete() {
    let time = Timestamp::parse("2026-01-31T06:00:00Z").unwrap();
    let mut out = Vec::new();
    let snapshot = CompleteSnapshot { time, records: 1_234 };
    mapper_to(Schema::Ocsf, Stream::Agents, true).map_snapshot(snapshot, Identity::from_bytes([7; 16]), &mut out);
    let event = read_event(&out);
    assert_eq!(validity::faults(&event), Vec::<String>::new(), "{event:#}");
    assert_fields(
        &event,
        &[
            ("activity_name", "snapshot-complete".into()),
            ("time", 1_769_839_200_000_i64.into()),
            ("metadata.uid", "07070707070707070707070707070707".into()),
            ("unmapped.snapshot.records", 1_234.into()),
        ],
    );
}

#[test]
fn an_activity_has_the_class_of_its_type_if_the_record_can_fill_it() {
    let of_agent = json!({"agentId": "12"});
    let user = json!({"userId": "13"});
    let cases = [
        (activity(27, user.clone(), json!({"username": "jane"})), 3002, 1),
        (activity(27, json!({}), json!({})), 0, 99),
        (activity(23, user.clone(), json!({"byUser": "jane", "username": "john"})), 3007, 1),
        (activity(25, json!({}), json!({"userId": "13", "byUser": "jane"})), 3007, 3),
        (activity(25, user.clone(), json!({"scopeName": "Acme"})), 3004, 4),
        (activity(88, user.clone(), json!({"byUser": "jane", "username": "john", "newValue": "on"})), 3007, 14),
        (activity(88, user.clone(), json!({"byUser": "jane", "username": "john", "newValue": false})), 3007, 15),
        (activity(88, user.clone(), json!({"byUser": "jane", "username": "john"})), 3007, 2),
        (activity(67, user.clone(), json!({"byUser": "jane", "username": "john", "newValue": "off"})), 3007, 13),
        (activity(37, user.clone(), json!({"byUser": "jane", "username": "john", "roleName": "Viewer"})), 3007, 16),
        (activity(113, user.clone(), json!({"username": "jane"})), 3007, 19),
        (activity(113, json!({}), json!({"scopeName": "Acme"})), 3004, 4),
        (activity(109, user.clone(), json!({"roleName": "Viewer"})), 3008, 3),
        (activity(109, user.clone(), json!({"scopeName": "Acme"})), 3004, 4),
        (activity(109, user.clone(), json!({})), 0, 99),
        (activity(25, user.clone(), json!({})), 0, 99),
        (activity(105, user.clone(), json!({"policyName": "p"})), 3004, 3),
        (activity(105, user.clone(), json!({})), 0, 99),
        (activity(2004, of_agent.clone(), json!({"filePath": "/opt/a"})), 7002, 1),
        (activity(2004, of_agent.clone(), json!({})), 7001, 1),
        (activity(2001, json!({"id": null}), json!({})), 0, 99),
        (activity(43, of_agent.clone(), json!({"newAgentVersion": "23.4"})), 6002, 8),
        (activity(90, of_agent.clone(), json!({})), 6007, 1),
        (activity(5232, json!({}), json!({"reportedRemoteHost": "192.0.2.1"})), 4001, 5),
        (activity(5232, json!({}), json!({})), 0, 99),
        (activity(5125, of_agent.clone(), json!({"deviceName": "Stick"})), 1010, 1),
        (activity(5126, of_agent.clone(), json!({"deviceName": "Stick", "eventType": "disconnected"})), 1010, 2),
        (activity(5125, of_agent.clone(), json!({})), 0, 99),
        (activity(19, json!({"threatId": "14"}), json!({})), 2004, 1),
        (activity(19, json!({}), json!({})), 0, 99),
        // Types that are not in the table: the keys of `data` decide.
        (activity(99_999, json!({"threatId": "14"}), json!({"confidenceLevel": "malicious"})), 2004, 1),
        (activity(99_999, json!({"threatId": "14"}), json!({})), 2004, 2),
        (activity(99_999, of_agent.clone(), json!({"deviceName": "Stick"})), 1010, 99),
        (activity(99_999, json!({}), json!({"remoteHost": "192.0.2.1"})), 4001, 99),
        (activity(99_999, json!({}), json!({"byUser": "jane", "username": "john"})), 3007, 2),
        (activity(99_999, of_agent, json!({})), 0, 99),
    ];
    for (event, class, number) in cases {
        assert_eq!((&event["class_uid"], &event["activity_id"]), (&json!(class), &json!(number)), "{event:#}");
    }
    assert_eq!(activity(99_999, json!({}), json!({}))["activity_name"], "activity-99999");
}

/// The class of each activity type, as chosen independently by a reader of the schema.
#[test]
fn each_activity_type_has_its_class() {
    let types: Vec<Vec<&str>> = include_str!("../../data/ocsf/1.9.0/activity-classes.csv")
        .lines()
        .skip(1)
        .map(|line| line.splitn(4, ',').collect())
        .collect();
    assert_eq!(types.len(), 422);
    let wrong: Vec<String> = types
        .into_iter()
        .filter_map(|cells| {
            let [number, class, activity_id, name] = cells[..] else { panic!("{cells:?}") };
            let number: u32 = number.parse().unwrap();
            let mut data = json!({"byUser": "jane", "username": "john", "computerName": "c", "filePath": "/opt/a",
                "deviceName": "Stick", "reportedRemoteHost": "192.0.2.1", "ipAddress": "198.51.100.7", "alertId": "15",
                "rulename": "r", "ruleName": "r", "roleName": "Viewer", "policyName": "p", "tagName": "t"});
            // A role of a user is assigned.
            if number == 37 {
                data.as_object_mut().unwrap().remove("roleName");
            }
            // The right is given, and not withdrawn.
            if number == 88 {
                data["newValue"] = json!("on");
            }
            let event = activity(number, json!({"userId": "13", "agentId": "12", "threatId": "14"}), data);
            let found =
                format!("{},{},{}", event["class_uid"], event["activity_id"], event["type_name"].as_str().unwrap());
            let expected = format!("{class},{activity_id},{name}");
            (found != expected).then(|| format!("{number}: {found} instead of {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_user_who_acted_is_the_actor_and_the_changed_one_is_the_user() {
    let event = activity(
        23,
        json!({"userId": "13"}),
        json!({"byUser": "jane", "username": "john@acme.example", "userId": "14"}),
    );
    assert_fields(
        &event,
        &[
            ("actor.user.name", "jane".into()),
            ("actor.user.uid", Value::Null),
            ("actor.user.type", "Unknown".into()),
            ("user.name", "john".into()),
            ("user.uid", "13".into()),
            ("user.email_addr", "john@acme.example".into()),
        ],
    );
    let event = activity(
        133,
        json!({"userId": "13"}),
        json!({"username": "jane", "ipAddress": "198.51.100.7", "reason": "wrong"}),
    );
    assert_fields(
        &event,
        &[
            ("user.name", "jane".into()),
            ("service.name", "SentinelOne Management Console".into()),
            ("src_endpoint.ip", "198.51.100.7".into()),
            ("status", "Failure".into()),
            ("status_detail", "wrong".into()),
        ],
    );
    assert_eq!(
        activity(90, json!({"agentId": "12"}), json!({}))["actor"],
        json!({"application": {"name": "SentinelOne"}})
    );
}

fn threat(info: Value) -> Value {
    let mut record = json!({
        "id": "1", "agentRealtimeInfo": {"agentId": "2"},
        "threatInfo": {"threatName": "a.exe", "createdAt": "2026-03-01T10:00:00Z", "updatedAt": "2026-03-01T10:00:20Z",
            "identifiedAt": "2026-03-01T09:59:59Z", "classification": "Trojan", "confidenceLevel": "malicious"}
    });
    record["threatInfo"].as_object_mut().unwrap().extend(info.as_object().unwrap().clone());
    ocsf(Stream::Threats, &record)
}

#[test]
fn a_threat_is_created_updated_and_closed() {
    let created = threat(json!({}));
    assert_fields(
        &created,
        &[
            ("activity_name", "Create".into()),
            ("metadata.original_time", "2026-03-01T10:00:00Z".into()),
            ("time", 1_772_359_200_000_i64.into()),
            ("start_time", 1_772_359_199_000_i64.into()),
        ],
    );
    let updated = threat(json!({"updatedAt": "2026-03-01T10:05:00Z"}));
    assert_fields(
        &updated,
        &[
            ("activity_name", "Update".into()),
            ("metadata.original_time", "2026-03-01T10:05:00Z".into()),
            ("start_time", 1_772_359_199_000_i64.into()),
        ],
    );
    let closed = threat(json!({"updatedAt": "2026-03-01T10:05:00Z", "incidentStatus": "resolved"}));
    assert_fields(
        &closed,
        &[("activity_name", "Close".into()), ("status", "Resolved".into()), ("type_uid", 200_403.into())],
    );
}

#[test]
fn a_threat_has_severity_confidence_verdict_and_disposition() {
    let event = threat(json!({"mitigationStatus": "not_mitigated", "analystVerdict": "undefined"}));
    assert_fields(
        &event,
        &[
            ("severity", "High".into()),
            ("confidence", "High".into()),
            ("verdict", "Unknown".into()),
            ("disposition", "Detected".into()),
            ("action", "Allowed".into()),
            ("is_alert", true.into()),
            (
                "malware",
                json!([{"name": "a.exe", "classification_ids": [18], "classifications": ["Trojan"],
                "severity_id": 4, "severity": "High",
                "files": [{"name": "a.exe", "type_id": 1, "type": "Regular File"}]}]),
            ),
            // Only a table that is one to one replaces the word.
            ("unmapped.threatInfo.mitigationStatus", "not_mitigated".into()),
            ("unmapped.threatInfo.confidenceLevel", Value::Null),
        ],
    );
    let event = threat(json!({"mitigationStatus": "marked_as_benign", "analystVerdict": "undefined"}));
    assert_fields(
        &event,
        &[("severity", "High".into()), ("verdict", "Benign".into()), ("disposition", "Exonerated".into())],
    );
    let event = threat(json!({"analystVerdict": "false_positive"}));
    assert_fields(&event, &[("is_alert", false.into()), ("verdict", "False Positive".into())]);
    assert_eq!(threat(json!({"classification": "Ransomware"}))["severity"], "Critical");
    assert_eq!(threat(json!({"classification": "Exploit"}))["malware"], Value::Null);
}

/// The source of a connection began it, if the record says its direction.
#[test]
fn a_connection_has_an_initiator() {
    let of_firewall = |direction: Value| {
        let data =
            json!({"reportedRemoteHost": "192.0.2.1", "reportedLocalHost": "10.0.0.1", "reportedDirection": direction});
        activity(5232, json!({"agentId": "8"}), data)
    };
    let shell =
        activity(3201, json!({"agentId": "8", "userId": "7"}), json!({"computerName": "c", "ipAddress": "192.0.2.7"}));
    for (event, initiator, source) in [
        (of_firewall(json!("inbound")), "Source Endpoint", "192.0.2.1"),
        (of_firewall(json!("outbound")), "Source Endpoint", "10.0.0.1"),
        (of_firewall(Value::Null), "Unknown", "10.0.0.1"),
        (shell, "Source Endpoint", "192.0.2.7"),
    ] {
        assert_fields(&event, &[("initiator", initiator.into()), ("src_endpoint.ip", source.into())]);
    }
}

/// A deprecated attribute has another place.
#[test]
fn an_application_has_its_maker_as_a_product() {
    let application = |number, data| activity(number, json!({"agentId": "8"}), data)["application"].clone();
    let product = json!({"vendor_name": "SentinelOne", "name": "SentinelOne Agent", "version": "23.4"});
    assert_eq!(
        application(43, json!({"newAgentVersion": "23.4"})),
        json!({"name": "SentinelOne Agent", "version": "23.4", "product": product})
    );
}

/// A record whose status, type or verdict is this word.
type Saying = fn(&str) -> Value;

/// 99 is the number for other words.
#[test]
fn a_word_that_a_number_is_called_has_this_number() {
    let meta = &validity::NEWEST.schema["meta"];
    let cases: [(Stream, &str, &str, Saying); 6] = [
        (
            Stream::Threats,
            "/classes/2004/status_id",
            "/status",
            |word| json!({"id": "1", "threatInfo": {"incidentStatus": word}}),
        ),
        (Stream::Vulnerabilities, "/classes/2002/status_id", "/status", |word| json!({"id": "1", "status": word})),
        (
            Stream::Activities,
            "/classes/7001/status_id",
            "/status",
            |word| json!({"id": "1", "activityType": 2011, "agentId": "2", "data": {"globalStatus": word}}),
        ),
        (Stream::Agents, "/objects/os/type_id", "/device/os/type", |word| json!({"id": "1", "osType": word})),
        (Stream::Agents, "/objects/device/type_id", "/device/type", |word| json!({"id": "1", "machineType": word})),
        (
            Stream::UnifiedAlerts,
            "/objects/analytic/type_id",
            "/finding_info/analytic/type",
            |word| json!({"id": "1", "analytics": {"uid": "5", "typeValue": word}}),
        ),
    ];
    for (stream, place, path, record) in cases {
        let captions = meta.pointer(&format!("{place}/enum")).unwrap().as_object().unwrap();
        for (id, caption) in captions.iter().filter(|(id, _)| !["0", "99"].contains(&id.as_str())) {
            let caption = caption.as_str().unwrap();
            for word in [caption.to_owned(), caption.to_uppercase(), caption.to_lowercase().replace(' ', "_")] {
                let event = ocsf(stream, &record(&word));
                let found = [event.pointer(path), event.pointer(&format!("{path}_id"))];
                assert_eq!(found, [Some(&json!(caption)), Some(&json!(id.parse::<u64>().unwrap()))], "{stream} {word}");
            }
        }
    }
}

#[test]
fn techniques_are_listed_once_with_their_tactic() {
    let technique = |name: &str| json!({"name": name, "link": format!("https://attack.mitre.org/{name}")});
    let record = json!({"id": "1", "indicators": [
        {"tactics": [{"name": "Execution", "techniques": [technique("T1059.001"), technique("T1059.001")]},
            {"name": "Impact", "techniques": []}]},
        {"tactics": [{"name": "Execution", "techniques": [technique("T1059.001"), {"name": "Own name"}]}]}
    ]});
    let event = ocsf(Stream::Threats, &record);
    let tactic = json!({"name": "Execution", "uid": "TA0002"});
    let expected = json!([
        {"tactic": tactic,
            "technique": {"uid": "T1059", "name": "Command and Scripting Interpreter"},
            "sub_technique": {"uid": "T1059.001", "name": "PowerShell", "src_url": "https://attack.mitre.org/T1059.001"}},
        {"tactic": {"name": "Impact", "uid": "TA0040"}},
        {"tactic": tactic, "technique": {"name": "Own name"}},
    ]);
    assert_eq!(event["attacks"], expected);
    assert_eq!(event["finding_info"]["attacks"], expected);
    assert_eq!(event["metadata"]["profiles"], json!(["incident", "security_control"]));
}

#[test]
fn an_agent_with_only_the_address_of_an_interface_is_a_device() {
    let agent =
        |interface: Value| ocsf(Stream::Agents, &json!({ "osType": "linux", "networkInterfaces": [interface] }));
    let event = agent(json!({ "inet": ["10.0.0.1"] }));
    assert_eq!((&event["class_uid"], &event["device"]["ip"]), (&json!(5001), &json!("10.0.0.1")));
    let event = agent(json!({ "name": "eth0" }));
    assert_eq!((&event["class_uid"], &event["device"]), (&json!(0), &Value::Null));
}

#[test]
fn an_interface_with_several_addresses_has_an_entry_for_each() {
    let record = json!({
        "id": "2", "computerName": "web-1", "updatedAt": "2026-03-01T10:00:00Z", "infected": true, "externalIp": "203.0.113.9",
        "osType": "linux", "osArch": "64 bit", "osName": "Ubuntu", "lastLoggedInUserName": "jane", "licenseKey": "secret",
        "networkInterfaces": [
            {"id": "3", "name": "eth0", "physical": "00:00:5e:00:53:00", "inet": ["10.0.0.1"], "inet6": ["FE80::1"]},
            {"id": "4", "name": "eth1", "physical": "00:00:5e:00:53:01"}
        ]
    });
    let event = ocsf(Stream::Agents, &record);
    let device = &event["device"];
    assert_eq!(device["ip"], "10.0.0.1");
    assert_eq!(device["mac"], "00:00:5e:00:53:00");
    let addresses: Vec<_> =
        device["network_interfaces"].as_array().unwrap().iter().map(|one| one["ip"].clone()).collect();
    assert_eq!(addresses, [json!("10.0.0.1"), json!("fe80::1"), Value::Null]);
    assert_fields(
        &event,
        &[
            ("class_uid", 5001.into()),
            ("activity_name", "Collect".into()),
            ("severity", "Medium".into()),
            ("device.os", json!({"name": "Ubuntu", "type_id": 200, "type": "Linux", "cpu_bits": 64})),
            ("device.owner.name", "jane".into()),
            ("device.risk_level", "High".into()),
            // An address in another spelling also stays as received.
            ("unmapped.networkInterfaces", record["networkInterfaces"].clone()),
            ("unmapped.externalIp", "203.0.113.9".into()),
            ("unmapped.osArch", Value::Null),
            ("unmapped.licenseKey", Value::Null),
            ("metadata.profiles", Value::Null),
        ],
    );
    let observables = event["observables"].as_array().unwrap();
    assert!(observables.iter().any(|one| one["name"] == "unmapped.externalIp" && one["value"] == "203.0.113.9"));
    assert_eq!(ocsf(Stream::Agents, &json!({"networkStatus": "connected"}))["class_uid"], 0);
}

#[test]
fn a_vulnerability_has_one_identifier() {
    let finding = |id: Value| {
        json!({"id": "9", "cveId": id, "severity": "HIGH", "applicationName": "7-Zip", "applicationVersion": "22",
        "nvdBaseScore": "7.0", "nvdCvssVersion": "3.1", "exploitCodeMaturity": "Functional", "remediationLevel": "Not Defined",
        "endpointId": "2", "status": "Detected", "detectionDate": "2026-03-01T10:00:00Z", "lastScanDate": "2026-03-05T10:00:00Z"})
    };
    let event = ocsf(Stream::Vulnerabilities, &finding(json!("CVE-2025-0411")));
    let vulnerability = &event["vulnerabilities"][0];
    assert_eq!(vulnerability["cve"]["uid"], "CVE-2025-0411");
    assert_eq!(vulnerability["cve"]["cvss"][0]["base_score"], json!(7.0));
    assert_eq!(
        vulnerability["cve"]["cvss"][0]["metrics"],
        json!([{"name": "Exploit Code Maturity", "value": "Functional"}])
    );
    assert_eq!(vulnerability["is_exploit_available"], true);
    assert_eq!(vulnerability["is_fix_available"], Value::Null);
    assert_fields(&event, &[("activity_name", "Update".into()), ("status", "New".into()), ("device.uid", "2".into())]);
    for (id, expected) in [(json!("GHSA-1"), "GHSA-1"), (Value::Null, "9")] {
        let event = ocsf(Stream::Vulnerabilities, &finding(id));
        assert_eq!(event["vulnerabilities"][0]["advisory"]["uid"], expected);
        // Without a CVE there is no score, so it stays.
        assert_eq!(event["unmapped"]["nvdBaseScore"], "7.0");
    }
}

/// A site has no place in an organization without an account.
#[test]
fn a_vulnerability_has_the_scope_of_its_request() {
    let event = |level| {
        let mut mapper = mapper_to(Schema::Ocsf, Stream::Vulnerabilities, false);
        mapper.set_scope(Some(std::sync::Arc::new(Scope { level, id: "5".into(), name: Some("Acme".into()) })));
        let mut out = Vec::new();
        mapper.map(br#"{"id":"9","endpointId":"2"}"#, &mut out).unwrap();
        let event = read_event(&out);
        assert_eq!(validity::faults(&event), Vec::<String>::new(), "{event:#}");
        event
    };
    let of_account = event(Level::Account);
    assert_fields(
        &of_account,
        &[("device.org", json!({"uid": "5", "name": "Acme"})), ("metadata.tenant_uid", "5".into())],
    );
    let of_site = event(Level::Site);
    assert_fields(
        &of_site,
        &[
            ("unmapped.scope", json!({"level": "site", "id": "5", "name": "Acme"})),
            ("metadata.tenant_uid", Value::Null),
        ],
    );
}

#[test]
fn an_alert_has_its_process_as_the_actor_and_what_it_acted_on_as_evidence() {
    let record = json!({
        "alertInfo": {"alertId": "1", "eventType": "REGVALUEMODIFIED", "createdAt": "2026-03-01T10:00:00Z", "dvEventId": "e",
            "registryKeyPath": "HKLM\\Software\\x\\y", "registryValue": "1", "srcIp": "10.0.0.1", "srcPort": "40000",
            "dstIp": "192.0.2.1", "dstPort": "443", "netEventDirection": "OUTGOING", "dnsRequest": "example.com"},
        "ruleInfo": {"id": "r", "name": "Rule", "severity": "Low", "treatAsThreat": "Suspicious"},
        "sourceProcessInfo": {"name": "p.exe", "pid": "7", "user": "ACME\\jane", "integrityLevel": "system", "filePath": "C:\\p.exe"},
        "sourceParentProcessInfo": {"name": "no number"},
        "targetProcessInfo": {"tgtProcUid": "T", "tgtFilePath": "C:\\f.txt"},
        "agentRealtimeInfo": {"id": "2"}
    });
    let event = ocsf(Stream::Alerts, &record);
    assert_fields(
        &event,
        &[
            ("severity", "Low".into()),
            ("confidence", "Medium".into()),
            ("disposition", "Alert".into()),
            ("actor.process.pid", 7.into()),
            ("actor.process.integrity", "System".into()),
            ("actor.process.user", json!({"name": "jane", "domain": "ACME", "type_id": 0, "type": "Unknown"})),
            // A process needs a number or an id.
            ("actor.process.parent_process", Value::Null),
            ("unmapped.sourceParentProcessInfo.name", "no number".into()),
            ("finding_info.related_events", json!([{"uid": "e", "type": "REGVALUEMODIFIED"}])),
            ("metadata.extensions", json!([{"name": "win", "uid": "2", "version": "1.9.0"}])),
        ],
    );
    let evidences = event["evidences"].as_array().unwrap();
    let kinds: Vec<_> = evidences.iter().map(|one| one.as_object().unwrap().keys().next().unwrap().as_str()).collect();
    assert_eq!(kinds, ["process", "process", "file", "connection_info", "query", "reg_value"]);
    assert_eq!(evidences[0]["process"], json!({"name": "p.exe", "pid": 7}));
    assert_eq!(evidences[5]["reg_value"], json!({"name": "y", "path": "HKLM\\Software\\x", "reg_string_data": "1"}));
    assert_eq!(at(&evidences[3], "connection_info.direction"), "Outbound");
}

/// A detection in the activity log says the same as its alert.
#[test]
fn a_hit_of_a_rule_is_a_finding_like_its_alert() {
    let event = activity(
        3608,
        json!({"agentId": "2"}),
        json!({"rulename": "Rule", "ruleid": "r", "alertid": "1", "severity": "E_LOW", "sourceprocessname": "p.exe",
            "sourceprocesspid": "7", "sourceprocessusername": "ACME\\jane"}),
    );
    assert_fields(
        &event,
        &[
            ("class_uid", 2004.into()),
            ("finding_info.uid", "1".into()),
            ("finding_info.analytic.uid", "r".into()),
            ("severity", "Low".into()),
            ("actor.process.user.name", "jane".into()),
            ("device.uid", "2".into()),
        ],
    );
    assert_eq!(activity(3608, json!({}), json!({"rulename": "Rule"}))["class_uid"], 0);
}
