//! Values that several streams have, except endpoints, processes, files and users.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::records::{activity, observed, threat};
use crate::support::{assert_fields, at, check, faults, map_to};

#[test]
fn the_counters_decide_and_not_the_clocks() {
    let report = |action: &str, counters: Value, ended: &str| json!({"action": action, "actionsCounters": counters, "mitigationEndedAt": ended, "status": "success"});
    let nothing = json!({"failed": 0, "notFound": 1, "pendingReboot": 0, "success": 0, "total": 1});
    let one = json!({"failed": 0, "notFound": 0, "pendingReboot": 0, "success": 1, "total": 1});
    check(
        "nothing-found-to-quarantine",
        Stream::Threats,
        &threat(json!({}), json!({"mitigationStatus": [report("quarantine", nothing, "2026-01-01T00:00:02Z")]})),
        &[("event.outcome", json!("success"))],
        &[("disposition", json!("Corrected")), ("remediation.desc", json!("quarantine: not found"))],
    );
    let reports =
        json!([report("quarantine", one, "2026-01-01T00:00:01Z"), report("kill", Value::Null, "2026-01-01T00:00:02Z")]);
    check(
        "quarantined-and-killed",
        Stream::Threats,
        &threat(json!({}), json!({"mitigationStatus": reports})),
        &[("event.outcome", json!("success"))],
        &[("disposition", json!("Quarantined")), ("remediation.desc", json!("quarantine: success; kill: success"))],
    );
    let details = json!({"reports": [
        {"mitigationActionType": "QUARANTINE", "successCount": 1}, {"mitigationActionType": "KILL", "successCount": 1}]});
    let unified = json!({"id": "u", "result": "MITIGATED", "mitigationDetails": details});
    assert_fields(&map_to(Schema::Ocsf, Stream::UnifiedAlerts, &unified), &[("disposition", json!("Quarantined"))]);
    let details = json!({"reports": [{"mitigationActionType": "QUARANTINE", "successCount": 0}]});
    let unified = json!({"id": "u", "result": "MITIGATED", "mitigationDetails": details});
    assert_fields(&map_to(Schema::Ocsf, Stream::UnifiedAlerts, &unified), &[("disposition", json!("Corrected"))]);
}

#[test]
fn tactics_in_the_place_of_techniques_are_tactics() {
    let techniques = json!([{"link": "https://attack.mitre.org/techniques/TA0009/", "name": "TA0009"},
        {"link": "https://attack.mitre.org/techniques/T1202/", "name": "T1202"}, {"link": "", "name": "T7"}]);
    let tactics = json!([{"name": "Defense Evasion", "source": "MITRE", "techniques": techniques}]);
    let indicators = json!([{"category": "Evasion", "description": "d", "ids": [427], "tactics": tactics}]);
    check(
        "tactic-as-technique",
        Stream::Threats,
        &threat(json!({}), json!({"indicators": indicators})),
        &[
            ("threat.tactic.id", json!(["TA0005", "TA0009"])),
            ("threat.tactic.name", json!(["Defense Evasion", "Collection"])),
            ("threat.technique.id", json!(["T1202"])),
            ("threat.technique.name", json!(["Indirect Command Execution"])),
        ],
        &[(
            "attacks",
            json!([
                {"tactic": {"name": "Collection", "uid": "TA0009"}},
                {"tactic": {"name": "Defense Evasion", "uid": "TA0005"}, "technique": {
                    "uid": "T1202", "name": "Indirect Command Execution",
                    "src_url": "https://attack.mitre.org/techniques/T1202/"}}
            ]),
        )],
    );
    let attacks = json!([{"tactic": {"name": "Evasion", "uid": "TA0005"}, "technique": {"name": "x", "uid": "TA0009"}},
        {"tactic": {"name": "Execution", "uid": "TA0002"}, "technique": {"name": "T1202", "uid": "T7"}}]);
    let unified = json!({"id": "u", "indicators": [{"attacks": attacks}]});
    assert_fields(
        &map_to(Schema::Ecs, Stream::UnifiedAlerts, &unified),
        &[
            ("threat.tactic.id", json!(["TA0005", "TA0009", "TA0002"])),
            ("threat.technique.name", json!(["Indirect Command Execution"])),
        ],
    );
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &unified);
    let attacks: Vec<_> = at(&event, "attacks")
        .as_array()
        .unwrap()
        .iter()
        .map(|attack| (at(attack, "tactic.uid").clone(), at(attack, "technique.uid").clone()))
        .collect();
    let expected = [("TA0009", Value::Null), ("TA0005", Value::Null), ("TA0002", json!("T1202"))]
        .map(|(tactic, technique)| (json!(tactic), technique));
    assert_eq!(attacks, expected);
}

#[test]
fn a_verdict_does_not_lower_the_severity_and_is_dated() {
    let info = json!({"alertId": "9", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-06-01T00:00:00Z",
        "eventType": "PROCESSCREATION", "analystVerdict": "False positive"});
    let alert = json!({"alertInfo": info, "ruleInfo": {"name": "r", "severity": "Critical"},
        "agentRealtimeInfo": {"id": "11", "name": "cent7"},
        "sourceProcessInfo": {"name": "sendmail.postfix", "pid": "7", "uniqueId": "AB"},
        "targetProcessInfo": {"tgtProcName": "sh", "tgtProcPid": "8", "tgtProcUid": "CD"}});
    check(
        "alert-judged-later",
        Stream::Alerts,
        &alert,
        &[
            ("event.severity", json!(99)),
            ("@timestamp", json!("2026-06-01T00:00:00Z")),
            ("event.start", json!("2026-01-01T00:00:00Z")),
            ("message", json!("r on cent7: sh")),
            (
                "event.url",
                json!(
                    "https://console.example.com/incidents/unified-alerts?alertsTable.filters=externalId__FULLTEXT%3D9"
                ),
            ),
        ],
        &[
            ("severity_id", json!(5)),
            ("time", json!(1_780_272_000_000_i64)),
            ("is_alert", json!(false)),
            ("verdict_id", json!(1)),
            ("message", json!("r on cent7: sh")),
        ],
    );
    let event = map_to(Schema::Ocsf, Stream::Alerts, &alert);
    let processes: Vec<_> = [0, 1].map(|index| event["evidences"][index]["process"]["name"].clone()).into();
    assert_eq!(processes, [json!("sendmail.postfix"), json!("sh")]);
    for verdict in ["false_positive", "undefined"] {
        let threat = threat(json!({ "analystVerdict": verdict, "mitigationStatus": "marked_as_benign" }), json!({}));
        assert_fields(&map_to(Schema::Ecs, Stream::Threats, &threat), &[("event.severity", json!(73))]);
        let unified = json!({"id": "u", "severity": "HIGH", "analystVerdict": "FALSE_POSITIVE_BENIGN"});
        assert_fields(&map_to(Schema::Ocsf, Stream::UnifiedAlerts, &unified), &[("severity_id", json!(4))]);
    }
}

#[test]
fn files_and_hosts_have_the_same_fields_in_all_streams() {
    let threat =
        threat(json!({"filePath": "/a/x.EXE"}), json!({"agentRealtimeInfo": {"agentOsType": "windows_legacy"}}));
    let alert = json!({"targetProcessInfo": {"tgtFilePath": "C:\\a\\x.EXE"}, "agentDetectionInfo": {"osFamily": "windows_legacy"},
        "agentRealtimeInfo": {"name": "c"}});
    let unified = json!({"process": {"file": {"name": "x.EXE"}}, "assets": [{"name": "c", "category": "Server",
        "osType": "WINDOWS_LEGACY"}]});
    let activity = activity(
        19,
        json!({"threatId": "5", "agentId": "8", "osFamily": "windows_legacy"}),
        json!({"filePath": "C:\\a\\x.EXE", "fileDisplayName": "x.EXE"}),
    );
    for (stream, record) in [
        (Stream::Threats, threat),
        (Stream::Alerts, alert),
        (Stream::UnifiedAlerts, unified),
        (Stream::Activities, activity),
    ] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("file.extension", json!("exe")), ("host.os.family", json!("windows_legacy"))]);
    }
    let key = json!({"alertInfo": {"alertId": "9", "registryKeyPath": "MACHINE\\SOFTWARE\\Run\\x", "registryValue": "1",
        "eventType": "REGVALUEMODIFIED"}});
    let event = map_to(Schema::Ocsf, Stream::Alerts, &key);
    assert_eq!(event["evidences"][0]["reg_value"]["path"], json!("HKLM\\SOFTWARE\\Run"));
    assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new());
}

#[test]
fn values_are_at_the_paths_of_elastics_package() {
    let of_threat = threat(
        json!({"classificationSource": "Cloud"}),
        json!({"agentRealtimeInfo": {"siteId": "5", "siteName": "Site", "accountName": "Acme", "agentId": "11"}}),
    );
    let site = json!({"id": "5", "name": "Site"});
    let of_threats = [
        ("sentinel_one.site", site.clone()),
        ("sentinel_one.account", json!({"name": "Acme"})),
        ("sentinel_one.threat_classification", json!({"name": "Malware", "source": "Cloud"})),
        ("sentinel_one.threat.confidence_level", json!("malicious")),
        ("sentinel_one.threat.agent.id", json!("11")),
    ];
    assert_fields(&map_to(Schema::Ecs, Stream::Threats, &of_threat), &of_threats);
    let about_threat = activity(
        19,
        json!({"threatId": "5", "siteId": "5", "siteName": "Site", "accountName": "Acme"}),
        json!({"threatClassification": "Malware", "threatClassificationSource": "Cloud", "confidenceLevel": "malicious"}),
    );
    let event = map_to(Schema::Ecs, Stream::Activities, &about_threat);
    assert_fields(&event, &of_threats[..4]);
    assert_fields(&event, &[("sentinel_one.threat.id", json!("5"))]);
    let agent = json!({"id": "11", "siteId": "5", "siteName": "Site", "accountName": "Acme"});
    let event = map_to(Schema::Ecs, Stream::Agents, &agent);
    assert_fields(&event, &of_threats[..2]);
    assert_fields(&event, &[("sentinel_one.agent.agent.id", json!("11"))]);
    let scope = json!({"site": {"id": "5", "name": "Site"}, "account": {"name": "Acme"}});
    let unified = json!({"id": "u", "realTime": {"scope": scope}});
    assert_fields(&map_to(Schema::Ecs, Stream::UnifiedAlerts, &unified), &of_threats[..2]);
    let alert = json!({"agentRealtimeInfo": {"id": "11"}, "agentDetectionInfo": {"siteId": "5"}});
    let event = map_to(Schema::Ecs, Stream::Alerts, &alert);
    assert_fields(&event, &[("sentinel_one.alert.agent.id", json!("11")), ("sentinel_one.site", json!({"id": "5"}))]);
    let group = json!({"id": "7", "siteId": "5"});
    assert_fields(&map_to(Schema::Ecs, Stream::Groups, &group), &[("sentinel_one.site", json!({"id": "5"}))]);
}

#[test]
fn the_severity_of_a_threat_is_by_the_threat_alone() {
    let of = |info: Value, infected: bool| threat(info, json!({"agentRealtimeInfo": {"agentInfected": infected}}));
    let activity = |number, confidence: &str, classification: &str| {
        let data = json!({"confidenceLevel": confidence, "threatClassification": classification});
        activity(number, json!({"threatId": "1"}), data)
    };
    for (confidence, classification, ecs, ocsf) in [
        ("malicious", "Malware", json!(73), "High"),
        ("malicious", "Ransomware", json!(99), "Critical"),
        ("suspicious", "Malware", json!(47), "Medium"),
    ] {
        let info = json!({"confidenceLevel": confidence, "classification": classification,
            "mitigationStatus": "not_mitigated"});
        for (stream, record) in [
            (Stream::Threats, of(info.clone(), true)),
            (Stream::Threats, of(info.clone(), false)),
            (Stream::Activities, activity(19, confidence, classification)),
        ] {
            assert_fields(
                &map_to(Schema::Ecs, stream, &record),
                &[("event.severity", ecs.clone()), ("event.outcome", json!("unknown"))],
            );
            assert_fields(&map_to(Schema::Ocsf, stream, &record), &[("severity", json!(ocsf))]);
        }
    }
}

#[test]
fn an_unknown_word_is_neither_the_lowest_nor_the_newest() {
    let alert = |word: Value| json!({"alertInfo": {"alertId": "1"}, "ruleInfo": {"name": "r", "severity": word}});
    let hit = |word: Value| activity(3608, json!({}), json!({"alertid": "1", "rulename": "r", "severity": word}));
    let unified = |word: Value| json!({"id": "1", "name": "a", "severity": word, "classification": "Malware"});
    let finding = |word: Value| json!({"id": "1", "severity": word, "status": "Detected", "cveId": "CVE-2026-1"});
    for word in [json!("Very High"), json!(5), json!("Unknown"), json!(""), Value::Null] {
        let of_threat = threat(json!({"confidenceLevel": word}), json!({}));
        for (stream, record) in [
            (Stream::Alerts, alert(word.clone())),
            (Stream::Activities, hit(word.clone())),
            (Stream::UnifiedAlerts, unified(word.clone())),
            (Stream::Vulnerabilities, finding(word.clone())),
            (Stream::Threats, of_threat),
        ] {
            let ecs = map_to(Schema::Ecs, stream, &record);
            assert_eq!(faults(Schema::Ecs, &ecs), Vec::<String>::new(), "{ecs:#}");
            assert_fields(&ecs, &[("event.severity", Value::Null)]);
            assert!(word != "Very High" || ecs.to_string().to_lowercase().contains("very high"), "{ecs:#}");
            let ocsf = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &ocsf), Vec::<String>::new(), "{ocsf:#}");
            assert_fields(&ocsf, &[("severity", json!("Unknown")), ("severity_id", json!(0))]);
            assert!(word != "Very High" || ocsf.to_string().contains("Very High"), "{ocsf:#}");
            let malware = ocsf.pointer("/malware/0/severity");
            assert_eq!(malware, None, "{ocsf:#}");
        }
    }
    for (status, mitigation, expected, number, activity) in [
        ("Detected", "Not mitigated", "New", 1, "Update"),
        ("Detected", "", "New", 1, "Update"),
        ("Detected", "On hold", "Suppressed", 3, "Update"),
        ("Reopened", "", "New", 1, "Update"),
        ("Removed", "On hold", "Resolved", 4, "Close"),
        ("Resolved", "Not mitigated", "Resolved", 4, "Close"),
        ("Fixed", "", "Resolved", 4, "Close"),
        ("Ignored", "", "Suppressed", 3, "Update"),
        ("Deferred", "Not mitigated", "Deferred", 99, "Update"),
        ("", "To be patched", "In Progress", 2, "Update"),
        ("", "", "Unknown", 0, "Update"),
    ] {
        let record = json!({"id": "1", "status": status, "mitigationStatus": mitigation, "cveId": "CVE-2026-1"});
        let event = map_to(Schema::Ocsf, Stream::Vulnerabilities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let expected = [("status", json!(expected)), ("status_id", json!(number)), ("activity_name", json!(activity))];
        assert_fields(&event, &expected);
    }
}

/// A word that OCSF itself has gets OCSF's number.
#[test]
fn words_of_the_schema_have_their_numbers() {
    let finding = |status: Value, mitigation: Value| json!({"id": "1", "cveId": "CVE-2024-1", "status": status, "mitigationStatus": mitigation});
    for (status, mitigation, id) in [
        ("", "In progress", 2),
        ("ON_HOLD", "", 3),
        ("TO_BE_PATCHED", "", 2),
        ("Suppressed", "", 3),
        ("Archived", "", 5),
        ("Deleted", "", 6),
        ("Deferred", "", 99),
    ] {
        let event = map_to(Schema::Ocsf, Stream::Vulnerabilities, &finding(json!(status), json!(mitigation)));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("status_id", json!(id))]);
    }
    for (kind, system, [kind_id, system_id]) in [
        ("IOT", "iPadOS", [7, 302]),
        ("Browser", "Windows Mobile", [8, 101]),
        ("firewall", "chromeos", [9, 99]),
        ("toaster", "linux", [99, 200]),
    ] {
        let event = map_to(
            Schema::Ocsf,
            Stream::Agents,
            &json!({"id": "9", "machineType": kind, "osType": system, "osName": "x"}),
        );
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.type_id", json!(kind_id)), ("device.os.type_id", json!(system_id))]);
    }
    for (word, id, caption) in
        [("test", 6, "Test"), ("Insufficient Data", 7, "Insufficient Data"), ("not_sure", 99, "not_sure")]
    {
        let expected = [("verdict_id", json!(id)), ("verdict", json!(caption))];
        let of_threat = threat(json!({"analystVerdict": word}), json!({}));
        let of_activity = activity(2030, json!({"threatId": "5"}), json!({"newAnalystVerdict": word}));
        let of_alert = json!({"alertInfo": {"alertId": "1", "analystVerdict": word}});
        let unified = json!({"id": "1", "analystVerdict": word});
        for (stream, record) in [
            (Stream::Threats, of_threat),
            (Stream::Activities, of_activity),
            (Stream::Alerts, of_alert),
            (Stream::UnifiedAlerts, unified),
        ] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &expected);
        }
    }
}

/// The file stays as evidence.
#[test]
fn what_is_no_malware_is_in_no_list_of_malware() {
    let sha1 = "1".repeat(40);
    for (verdict, state) in [("false_positive", "not_mitigated"), ("undefined", "marked_as_benign")] {
        let info = json!({"analystVerdict": verdict, "mitigationStatus": state, "filePath": "C:\\x.exe", "sha1": sha1});
        let of_threat = threat(info, json!({}));
        let of_activity = activity(
            2030,
            json!({"threatId": "5"}),
            json!({"newAnalystVerdict": verdict, "newStatus": state, "threatClassification": "Malware",
                "filePath": "C:\\x.exe", "fileDisplayName": "x.exe", "fileContentHash": sha1}),
        );
        let unified = json!({"id": "1", "name": "x.exe", "classification": "MALWARE", "analystVerdict": verdict, "result": state,
            "process": {"file": {"name": "x.exe", "path": "C:\\x.exe", "sha1": sha1}}});
        for (stream, record) in
            [(Stream::Threats, of_threat), (Stream::Activities, of_activity), (Stream::UnifiedAlerts, unified)]
        {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("malware", json!(null))]);
            assert_fields(&event["evidences"][0]["file"], &[("path", json!("C:\\x.exe"))]);
            assert!(!event["observables"].to_string().contains("malware"), "{event:#}");
        }
    }
    // A killed process is blocked, whatever the state of the threat.
    let report =
        json!([{"action": "kill", "status": "success", "actionsCounters": {"success": 2, "failed": 0, "total": 2}}]);
    let record = threat(json!({"mitigationStatus": "not_mitigated"}), json!({"mitigationStatus": report}));
    let event = map_to(Schema::Ocsf, Stream::Threats, &record);
    assert_fields(&event, &[("disposition", json!("Blocked")), ("action", json!("Denied"))]);
    assert!(event["malware"].is_array(), "{event:#}");
}

#[test]
fn what_is_in_the_place_of_a_value_is_none() {
    let [sha1, sha256] = ["AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D", &"AB".repeat(32)];
    check(
        "threat-with-placeholders",
        Stream::Threats,
        &threat(
            json!({"filePath": "/opt/x", "fileSize": -1, "md5": "0".repeat(32), "sha1": sha1, "sha256": sha256}),
            json!({}),
        ),
        &[
            ("file.size", Value::Null),
            ("file.hash", json!({"sha1": sha1.to_lowercase(), "sha256": sha256.to_lowercase()})),
            ("related.hash", json!([sha1.to_lowercase(), sha256.to_lowercase()])),
            ("sentinel_one.threat.threat_info.file_size", json!(-1)),
            ("sentinel_one.threat.threat_info.md5", json!("0".repeat(32))),
            ("error", Value::Null),
        ],
        &[("unmapped.threatInfo.fileSize", json!(-1)), ("unmapped.threatInfo.md5", json!("0".repeat(32)))],
    );
    for pid in [json!(-1), json!("-1"), json!(-5), json!("N/A")] {
        let alert = json!({"alertInfo": {"alertId": "1"}, "ruleInfo": {"name": "r"},
            "sourceProcessInfo": {"name": "p", "pid": pid}});
        let fields = [("process.pid", Value::Null), ("error", Value::Null)];
        assert_fields(&map_to(Schema::Ecs, Stream::Alerts, &alert), &fields);
        assert_fields(&map_to(Schema::Ocsf, Stream::Alerts, &alert), &[("actor.process.pid", Value::Null)]);
        let finding =
            json!({"id": "1", "riskScore": pid, "baseScore": pid, "cvssVersion": "3.1", "cveId": "CVE-2026-1"});
        let fields =
            [("event.risk_score", Value::Null), ("vulnerability.score.base", Value::Null), ("error", Value::Null)];
        assert_fields(&map_to(Schema::Ecs, Stream::Vulnerabilities, &finding), &fields);
        let event = map_to(Schema::Ocsf, Stream::Vulnerabilities, &finding);
        assert_eq!(event.pointer("/vulnerabilities/0/cve/cvss"), None, "{event:#}");
    }
}

#[test]
fn an_observable_has_the_form_of_other_values() {
    let [upper, lower] = ["C", "c"].map(|digit| digit.repeat(40));
    let of_console = [
        ("FILE_HASH", upper.as_str()),
        ("FILE_HASH", "0000000000000000000000000000000000000000"),
        ("IP", "127.0.0.1"),
        ("IP", "0.0.0.0"),
        ("IP", "FE80:0:0:0:0:0:0:00A1"),
        ("IP", "::ffff:192.0.2.7"),
        ("IP", "192.0.2.7"),
        ("HOSTNAME", "192.0.2.7"),
        ("HOSTNAME", "db01"),
    ]
    .map(|(kind, value)| json!({"type": kind, "value": value}));
    let record =
        json!({"id": "1", "process": {"file": {"sha1": lower, "path": "C:\\a.exe"}}, "observables": of_console});
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
    assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
    let expected = [
        ("File Name", "a.exe"),
        ("File Path", "C:\\a.exe"),
        ("Hash", &lower),
        // Addresses and names are spelled as at their paths.
        ("IP Address", "FE80:0:0:0:0:0:0:00A1"),
        ("IP Address", "::ffff:192.0.2.7"),
        ("IP Address", "192.0.2.7"),
        ("Hostname", "db01"),
    ];
    assert_eq!(observed(&event), expected.map(|(kind, value)| (kind.to_owned(), value.to_owned())));
    // The indicator of a feed, in an alert and in the hit of its rule.
    for (kind, value, expected) in [
        ("SHA1", upper.as_str(), Some(("Hash", upper.as_str()))),
        ("IPV6", "::FFFF:192.0.2.7", Some(("IP Address", "::FFFF:192.0.2.7"))),
        ("IPV4", "127.0.0.1", None),
        ("DNS", "c2.example", Some(("Hostname", "c2.example"))),
    ] {
        let alert = json!({"alertInfo": {"alertId": "1", "tiIndicatorType": kind, "tiIndicatorValue": value}});
        let data = json!({"alertid": "1", "rulename": "r", "tiindicatortype": kind, "tiindicatorvalue": value});
        for (stream, record) in [(Stream::Alerts, alert), (Stream::Activities, activity(3608, json!({}), data))] {
            let event = map_to(Schema::Ocsf, stream, &record);
            let expected: Vec<_> = expected.iter().map(|(kind, value)| (kind.to_string(), value.to_string())).collect();
            assert_eq!(observed(&event), expected, "{kind}: {event:#}");
        }
    }
}

#[test]
fn the_hash_of_an_entry_is_one_in_lower_case_and_a_uuid_of_zeros_is_none() {
    let [upper, lower] = ["ABCDEF01", "abcdef01"].map(|digits| digits.repeat(5));
    let data = json!({"fileContentHash": upper, "osFamily": "windows", "username": "jane"});
    let record = activity(3002, json!({"userId": "7", "hash": upper}), data);
    let event = map_to(Schema::Ecs, Stream::Activities, &record);
    assert_fields(&event, &[("file.hash.sha1", json!(lower)), ("related.hash", json!([lower]))]);
    let event = map_to(Schema::Ocsf, Stream::Activities, &record);
    assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
    assert_fields(&event, &[("entity.name", json!(lower))]);
    assert!(observed(&event).contains(&("Hash".to_owned(), lower)), "{event:#}");
    for uuid in ["00000000-0000-0000-0000-000000000000", "00000000000000000000000000000000"] {
        let record = threat(json!({}), json!({"agentRealtimeInfo": {"agentId": "9", "agentUuid": uuid}}));
        assert_fields(&map_to(Schema::Ecs, Stream::Threats, &record), &[("sentinel_one.agent", Value::Null)]);
        let record = json!({"id": "9", "uuid": uuid, "computerName": "h", "updatedAt": "2026-01-01T00:00:00Z"});
        // `sentinel_one.agent.uuid` joins streams.
        let event = map_to(Schema::Ecs, Stream::Agents, &record);
        assert_fields(&event["sentinel_one"]["agent"], &[("uuid", Value::Null), ("original_uuid", json!(uuid))]);
        let event = map_to(Schema::Ocsf, Stream::Agents, &record);
        assert!(!event["device"].to_string().contains(uuid), "{event:#}");
    }
}

#[test]
fn an_id_that_is_a_number_is_text() {
    for (stream, record, path) in [
        (Stream::Threats, json!({"id": 5, "threatInfo": {"threatId": 5}}), "sentinel_one.threat.id"),
        (Stream::Threats, json!({"id": 6, "threatInfo": {"threatId": 5}}), "sentinel_one.threat.threat_info.threat_id"),
        (Stream::Threats, json!({"threatInfo": {"threatId": 5}}), "sentinel_one.threat.id"),
        (Stream::Activities, json!({"id": 1, "activityType": 4020, "threatId": 5}), "sentinel_one.threat.id"),
        (Stream::Activities, json!({"id": 1, "activityType": 3608, "data": {"alertid": 5}}), "sentinel_one.alert.id"),
        (Stream::Alerts, json!({"alertInfo": {"alertId": 5}}), "sentinel_one.alert.id"),
        (Stream::Vulnerabilities, json!({"id": 5}), "sentinel_one.vulnerability.id"),
        (Stream::Agents, json!({"id": 5, "siteId": 5, "updatedAt": "2026-01-01T00:00:00Z"}), "host.id"),
        (Stream::Agents, json!({"id": 5, "siteId": 5, "updatedAt": "2026-01-01T00:00:00Z"}), "sentinel_one.site.id"),
    ] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[(path, json!("5"))]);
    }
}

#[test]
fn a_message_has_no_placeholder_in_it() {
    let time = json!("2026-01-01T00:00:00Z");
    let info = |fields: Value| json!({"id": "1", "threatInfo": fields});
    let alert = |rule: &str, name: &str| json!({"alertInfo": {"alertId": "1"}, "ruleInfo": {"name": rule}, "agentRealtimeInfo": {"name": name}});
    let unified =
        |name: &str, host: &str| json!({"id": "1", "name": name, "assets": [{"name": host, "osType": "LINUX"}]});
    for (stream, record, message) in [
        (Stream::Threats, info(json!({"classification": "Malware", "threatName": "N/A"})), json!("Malware")),
        (Stream::Threats, info(json!({"classification": "N/A", "threatName": "a.exe"})), json!("a.exe")),
        (
            Stream::Threats,
            info(json!({"classification": "Malware", "threatName": "a", "mitigationStatusDescription": "N/A"})),
            json!("Malware a"),
        ),
        (Stream::Alerts, alert("N/A", "h"), json!("h")),
        (Stream::Alerts, alert("N/A", "N/A"), Value::Null),
        (Stream::UnifiedAlerts, unified("N/A", "h"), json!("h")),
        (Stream::UnifiedAlerts, unified("x", "N/A"), json!("x")),
        (
            Stream::Vulnerabilities,
            json!({"id": "1", "cveId": "CVE-2025-1", "severity": "N/A", "status": "N/A"}),
            json!("CVE-2025-1"),
        ),
        (
            Stream::Vulnerabilities,
            json!({"id": "1", "cveId": "CVE-2025-1", "severity": "HIGH", "status": "Detected"}),
            json!("CVE-2025-1 (HIGH): Detected"),
        ),
        (
            Stream::Agents,
            json!({"id": "1", "updatedAt": time, "computerName": "h", "agentVersion": "N/A", "networkStatus": "N/A"}),
            json!("h"),
        ),
        (Stream::Groups, json!({"id": "1", "updatedAt": time, "name": "N/A"}), Value::Null),
    ] {
        for schema in [Schema::Ecs, Schema::Ocsf] {
            let event = map_to(schema, stream, &record);
            assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("message", message.clone())]);
        }
    }
    let decided = json!({"newIncidentStatus": "N/A", "newAnalystVerdict": "true_positive"});
    let event = map_to(Schema::Ecs, Stream::Activities, &activity(2028, json!({"threatId": "1"}), decided));
    assert_fields(&event, &[("event.reason", json!("true_positive"))]);
    let finding = json!({"id": "1", "cveId": "N/A", "applicationName": "a", "applicationVersion": "N/A"});
    let event = map_to(Schema::Ocsf, Stream::Vulnerabilities, &finding);
    assert_fields(&event, &[("finding_info.title", json!("a"))]);
}

#[test]
fn what_was_blocked_was_not_corrected() {
    let report = |action: &str| json!([{"action": action, "status": "success"}]);
    for (reports, expected) in [(json!([]), "Blocked"), (report("quarantine"), "Quarantined")] {
        let record = threat(json!({"mitigationStatus": "blocked"}), json!({"mitigationStatus": reports}));
        assert_fields(
            &map_to(Schema::Ecs, Stream::Threats, &record),
            &[("event.action", json!("threat-blocked")), ("event.outcome", json!("success"))],
        );
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_fields(&event, &[("disposition", json!(expected)), ("action", json!("Denied"))]);
    }
    let record = json!({"id": "1", "result": "BLOCKED"});
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
    assert_fields(&event, &[("disposition", json!("Blocked")), ("action", json!("Denied"))]);
}

#[test]
fn no_name_has_blanks_around_it() {
    for name in ["wmic.exe (CLI e94a) ", " wmic.exe (CLI e94a)", "wmic.exe (CLI e94a)  ", "wmic.exe  (CLI e94a)"] {
        let info = json!({"threatName": name, "confidenceLevel": "malicious", "sha1": "a".repeat(40)});
        let record = threat(info, json!({"agentRealtimeInfo": {"agentComputerName": "H"}}));
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(event["malware"][0]["name"], "wmic.exe", "{event:#}");
        assert_fields(
            &event,
            &[("finding_info.title", json!(name.trim())), ("message", json!(format!("Malware {} on H", name.trim())))],
        );
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_fields(&event, &[("message", json!(format!("Malware {} on H", name.trim())))]);
    }
    for name in ["cmd.exe (CLI 4CA1) ", " cmd.exe (interactive session) ", "cmd.exe (CLI 4CA1) (interactive session) "]
    {
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "name": name, "classification": "MALWARE",
            "process": {"file": {"name": name, "sha1": "a".repeat(40)}}});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_eq!(event["malware"][0]["name"], "cmd.exe", "{event:#}");
        assert_fields(&event, &[("finding_info.title", json!(name.trim())), ("message", json!(name.trim()))]);
        assert_fields(&map_to(Schema::Ecs, Stream::UnifiedAlerts, &record), &[("message", json!(name.trim()))]);
    }
}

#[test]
fn an_unknown_class_of_a_unified_alert_is_no_malware() {
    for (class, surface, categories, malware) in [
        ("CREDENTIAL_ABUSE", "IDENTITY", json!(["intrusion_detection", "iam"]), Value::Null),
        ("New Word", "ENDPOINT", json!(["intrusion_detection"]), Value::Null),
        ("HACKTOOL", "IDENTITY", json!(["intrusion_detection"]), Value::Null),
        ("REMOTE_SHELL", "ENDPOINT", json!(["malware"]), Value::Null),
        ("HACKTOOL", "ENDPOINT", json!(["malware"]), json!([99])),
        ("MALICIOUS_PDF", "EMAIL", json!(["malware"]), json!([99])),
        ("ADWARE", "ENDPOINT", json!(["malware"]), json!([1])),
        ("RANSOMWARE", "IDENTITY", json!(["malware"]), json!([10])),
    ] {
        let record = json!({"id": "1", "name": "n", "classification": class, "attackSurfaces": [surface]});
        assert_fields(
            &map_to(Schema::Ecs, Stream::UnifiedAlerts, &record),
            &[("event.category", categories), ("sentinel_one.unified_alert.classification", json!(class))],
        );
        let ocsf = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_eq!(faults(Schema::Ocsf, &ocsf), Vec::<String>::new());
        let kind = ocsf.pointer("/malware/0/classification_ids").cloned().unwrap_or_default();
        assert_eq!((kind, &ocsf["finding_info"]["types"]), (malware, &json!([class])), "{ocsf:#}");
    }
    // A threat is malware, whatever the word.
    let record = threat(json!({"classification": "New Word"}), json!({}));
    assert_fields(&map_to(Schema::Ecs, Stream::Threats, &record), &[("event.category", json!(["malware"]))]);
    let ocsf = map_to(Schema::Ocsf, Stream::Threats, &record);
    assert_eq!(ocsf["malware"][0]["classification_ids"], json!([99]));
    assert_eq!(ocsf["malware"][0]["classifications"], json!(["New Word"]));
}

#[test]
fn a_placeholder_names_no_action() {
    for word in ["N/A", "UNKNOWN", " none ", "-", ""] {
        let records = [
            (Stream::UnifiedAlerts, json!({"id": "1", "result": word}), json!("unified-alert-raised")),
            (Stream::Threats, threat(json!({"mitigationStatus": word}), json!({})), Value::Null),
            (Stream::Alerts, json!({"alertInfo": {"alertId": "1", "eventType": word}}), json!("alert-raised")),
            (Stream::Activities, activity(3608, json!({}), json!({"dveventtype": word})), json!("alert-raised")),
            (Stream::Vulnerabilities, json!({"id": "1", "status": word}), json!("vulnerability-detected")),
        ];
        for (stream, record, action) in records {
            let event = map_to(Schema::Ecs, stream, &record);
            assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("event.action", action)]);
        }
    }
}

/// No word of a table is that long, or has characters beyond ASCII.
#[test]
fn the_state_of_an_incident_may_be_a_long_word() {
    for word in ["Waiting for an answer of the operations team in Barcelona", "Ge\u{f6}ffnet"] {
        for (stream, record) in [
            (Stream::Threats, threat(json!({"incidentStatus": word}), json!({}))),
            (Stream::Alerts, json!({"alertInfo": {"alertId": "1", "incidentStatus": word}})),
            (Stream::UnifiedAlerts, json!({"id": "1", "status": word})),
        ] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("status_id", json!(99)), ("status", json!(word))]);
        }
    }
}

#[test]
fn blanks_around_a_hyphen_are_one_separator() {
    for (word, verdict, is_malware) in [
        ("True positive - Benign", "Benign", false),
        ("True positive - Benign but suspicious", "Suspicious", true),
        ("True  positive  benign", "Benign", false),
        ("False Positive - Benign", "False Positive", false),
        ("True positive - Malware", "True Positive", true),
    ] {
        let record = json!({"id": "u", "name": "x", "detectedAt": "2026-01-01T00:00:00Z", "classification": "MALWARE",
            "analystVerdict": word, "status": "In - Progress"});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("verdict", json!(verdict)), ("status", json!("In Progress"))]);
        assert_eq!(event.get("malware").is_some(), is_malware, "{word}: {event:#}");
        let info = json!({"analystVerdict": word, "mitigationStatus": "marked - as benign"});
        let event = map_to(Schema::Ocsf, Stream::Threats, &threat(info.clone(), json!({})));
        assert_fields(&event, &[("verdict", json!(verdict)), ("disposition", json!("Exonerated"))]);
        let event = map_to(Schema::Ecs, Stream::Threats, &threat(info, json!({})));
        assert_fields(&event, &[("event.action", json!("threat-marked-as-benign"))]);
    }
}

#[test]
fn labels_of_a_container_are_a_list_or_a_text() {
    let list = json!(["app=web", "tier:\"front,back\"", "odd"]);
    for labels in [list.clone(), json!("app=web, tier:\"front,back\",N/A,,odd")] {
        let container = json!({"name": "c", "labels": labels});
        let agent = json!({"agentId": "9", "agentComputerName": "H", "name": "H"});
        let hit = json!({"alertid": "1", "rulename": "r", "origagentname": "H", "k8scontainername": "c",
            "k8scontainerlabels": labels});
        let cloud = json!({"containerName": "c", "containerLabels": labels, "podName": "p", "podLabels": labels});
        let asset = json!({"primary": true, "asset": {}, "kubernetes": cloud});
        for (stream, record) in [
            (Stream::Threats, json!({"id": "1", "agentRealtimeInfo": agent, "containerInfo": container})),
            (
                Stream::Alerts,
                json!({"alertInfo": {"alertId": "1"}, "agentRealtimeInfo": agent, "containerInfo": container}),
            ),
            (Stream::Activities, activity(3608, json!({}), hit)),
            (
                Stream::UnifiedAlerts,
                json!({"id": "1", "assets": [{"name": "H", "agentUuid": "u"}], "detectionTime": {"assets": [asset]}}),
            ),
        ] {
            let event = map_to(Schema::Ecs, stream, &record);
            assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("container.labels", json!({"app": "web", "tier": "front,back"}))]);
            if stream == Stream::UnifiedAlerts {
                assert_fields(&event, &[("orchestrator.resource.label", list.clone())]);
            }
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("device.container.labels", list.clone())]);
        }
    }
}
