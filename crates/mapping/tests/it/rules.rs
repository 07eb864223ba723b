//! The rows of `docs/mapping-ecs.md`, by records that the fixtures do not have.

use std::sync::Arc;

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::{Level, Scope, Stream, Timestamp};
use serde_json::{Value, json};

use super::support::{assert_fields, at, map, map_to, mapper_to};

fn threat(info: Value) -> Value {
    map(Stream::Threats, &json!({"id": "1", "threatInfo": info}))
}

#[test]
fn the_family_of_an_operating_system_is_in_lower_case_in_every_stream() {
    for (stream, record) in [
        (Stream::Agents, json!({"id": "1", "osType": "Windows"})),
        (Stream::Threats, json!({"id": "1", "agentRealtimeInfo": {"agentOsType": "Windows"}})),
        (Stream::Alerts, json!({"agentDetectionInfo": {"name": "a", "osFamily": "Windows"}})),
        (Stream::Vulnerabilities, json!({"id": "1", "osType": "Windows"})),
        (
            Stream::UnifiedAlerts,
            json!({"id": "1", "assets": [{"agentUuid": "u", "osType": "Windows", "category": "Server"}]}),
        ),
        (Stream::Activities, json!({"activityType": 1, "agentId": "1", "osFamily": "Windows"})),
        (
            Stream::Activities,
            json!({"activityType": 3608, "data": {"sourceprocessname": "a", "origagentosfamily": "Windows"}}),
        ),
    ] {
        let event = map(stream, &record);
        assert_eq!(at(&event, "host.os.family"), &json!("windows"), "{stream}");
        assert!(event["sentinel_one"].to_string().contains(r#""Windows""#), "{stream} loses the word as received");
    }
}

#[test]
fn a_threat_is_dated_by_its_detection_until_it_changes() {
    let dated = |created: &str, updated: &str| {
        let event =
            threat(json!({"createdAt": created, "updatedAt": updated, "identifiedAt": "2026-01-01T00:00:00.1Z"}));
        at(&event, "@timestamp").as_str().unwrap().to_owned()
    };
    assert_eq!(dated("2026-01-01T00:00:10Z", "2026-01-01T00:01:10Z"), "2026-01-01T00:00:00.1Z");
    assert_eq!(dated("2026-01-01T00:00:10Z", "2026-01-01T00:01:10.000001Z"), "2026-01-01T00:01:10.000001Z");
}

/// A date that a receiver may not read is rewritten, and also stays in the record as received.
#[test]
fn a_date_in_another_form_is_written_as_the_console_writes_dates() {
    for (received, written) in [
        ("2026-01-01T02:00:00+01:00", "2026-01-01T01:00:00.000000Z"),
        ("2026-11-28T10:00:00.123456", "2026-11-28T10:00:00.123456Z"),
        ("2026-11-28 10:00:00", "2026-11-28T10:00:00.000000Z"),
        ("2026-11-28T10:00:00,5Z", "2026-11-28T10:00:00.500000Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z"),
        ("2016-12-31T23:59:60.123Z", "2016-12-31T23:59:59.123000Z"),
    ] {
        let event = threat(json!({"updatedAt": received}));
        assert_fields(
            &event,
            &[
                ("@timestamp", json!(written)),
                ("sentinel_one.threat.threat_info.updated_at", json!(received)),
                ("error", Value::Null),
            ],
        );
        let activity = json!({"id": "7", "activityType": 27, "createdAt": received});
        let fields = [("@timestamp", json!(written)), ("error", Value::Null)];
        assert_fields(&map(Stream::Activities, &activity), &fields);
        let millis = Timestamp::parse(written).unwrap().millis();
        assert_eq!(map_to(Schema::Ocsf, Stream::Activities, &activity)["time"], json!(millis), "{received}");
    }
}

#[test]
fn severity_and_outcome_of_a_threat() {
    let severity = |info: Value| at(&threat(info), "event.severity").clone();
    assert_eq!(severity(json!({"confidenceLevel": "malicious"})), 73);
    assert_eq!(severity(json!({"confidenceLevel": "MALICIOUS", "classification": "ransomware"})), 99);
    assert_eq!(severity(json!({"confidenceLevel": "suspicious", "classification": "Ransomware"})), 47);
    assert_eq!(severity(json!({"confidenceLevel": "informational"})), 21);
    assert_eq!(severity(json!({"confidenceLevel": "n/a"})), Value::Null);
    assert_eq!(severity(json!({"confidenceLevel": "malicious", "analystVerdict": "false_positive"})), 73);
    let outcome = |info: Value| at(&threat(info), "event.outcome").as_str().unwrap().to_owned();
    assert_eq!(outcome(json!({"mitigationStatus": "mitigated"})), "success");
    assert_eq!(outcome(json!({"mitigationStatus": "marked_as_benign"})), "success");
    assert_eq!(outcome(json!({"mitigationStatus": "not_mitigated", "failedActions": true})), "failure");
    assert_eq!(outcome(json!({"mitigationStatus": "not_mitigated", "failedActions": false})), "unknown");
    assert_eq!(outcome(json!({"mitigationStatus": "something new"})), "unknown");
}

#[test]
fn each_class_of_threat_has_a_category() {
    let categories = |class: Value| at(&threat(json!({"classification": class})), "event.category").clone();
    for class in ["Malware", "worm", "PUP", "Hack tool", "Malicious Office Document", "new class"] {
        assert_eq!(categories(json!(class)), json!(["malware"]), "{class}");
    }
    assert_eq!(categories(Value::Null), json!(["malware"]));
    for class in ["Benign", "Manual"] {
        assert_eq!(categories(json!(class)), json!(["intrusion_detection"]), "{class}");
    }
    for class in ["Exploit", "Lateral Movement", "NETWORK", "lateral-movement"] {
        assert_eq!(categories(json!(class)), json!(["malware", "intrusion_detection"]), "{class}");
    }
    let with_process = threat(json!({"isFileless": true, "processUser": "jane"}));
    assert_fields(
        &with_process,
        &[("event.category", json!(["malware", "process"])), ("threat.indicator.type", Value::Null)],
    );
}

#[test]
fn the_file_of_a_threat() {
    let event = threat(json!({
        "filePath": "C:\\Users\\jane\\a \"b\".EXE", "fileExtension": ".EXE", "fileSize": "1234", "threatName": "a.EXE",
        "sha1": "AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D", "md5": "5d41402abc4b2a76b9719d911017c592", "sha256": "N/A",
        "fileVerificationType": "SignedVerified", "isValidCertificate": "true", "publisherName": "ACME", "confidenceLevel": "suspicious",
    }));
    let expected = [
        ("path", json!("C:\\Users\\jane\\a \"b\".EXE")),
        ("name", json!("a \"b\".EXE")),
        ("extension", json!("exe")),
        ("size", json!(1234)),
        (
            "hash",
            json!({"sha1": "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d", "md5": "5d41402abc4b2a76b9719d911017c592"}),
        ),
    ];
    for (field, value) in expected {
        for object in ["file", "threat.indicator.file"] {
            assert_eq!(at(&event, &format!("{object}.{field}")), &value, "{object}.{field}");
        }
    }
    assert_fields(
        &event,
        &[
            ("file.code_signature", json!({"exists": true, "valid": true, "subject_name": "ACME"})),
            ("threat.indicator.confidence", json!("Medium")),
            ("related.hash", json!(["5d41402abc4b2a76b9719d911017c592", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"])),
            ("error", Value::Null),
        ],
    );
    let unsigned = threat(json!({"filePath": "/a", "fileVerificationType": "NotSigned", "isValidCertificate": false}));
    assert_eq!(at(&unsigned, "file.code_signature"), &json!({"exists": false}));
}

#[test]
fn the_process_of_a_threat() {
    let info = |kind: &str| {
        json!({"detectionType": kind, "fileExtensionType": "Executable", "filePath": "/opt/bad", "originatorProcess": "bash",
            "maliciousProcessArguments": "bad -x", "processUser": "ACME\\jane"})
    };
    assert_fields(
        &threat(info("dynamic")),
        &[
            (
                "process",
                json!({"name": "bad", "executable": "/opt/bad", "parent": {"name": "bash"}, "command_line": "bad -x",
                    "user": {"name": "jane"}}),
            ),
            ("user", json!({"name": "jane", "domain": "ACME"})),
            ("sentinel_one.threat.threat_info.process_user", json!("ACME\\jane")),
        ],
    );
    assert_fields(&threat(info("static")), &[("process.name", json!("bash")), ("process.executable", Value::Null)]);
}

#[test]
fn tactics_and_techniques() {
    let event = map(
        Stream::Threats,
        &json!({"indicators": [
            {"category": "Evasion", "description": "one", "ids": [43], "tactics": [
                {"name": "Defense-Evasion", "source": "MITRE", "techniques": [
                    {"name": "T1027", "link": "https://a.example/"}, {"name": "T1059.001", "link": "https://b.example/"},
                    {"name": "T1027", "link": "https://other.example/"}]},
                {"name": "defense impairment", "techniques": null}]},
            {"description": "one", "tactics": [{"name": "Brand New", "techniques": [{"name": "Named", "link": ""}]}]},
            {"description": "two", "tactics": "text"}, "odd"]}),
    );
    assert_fields(
        &event,
        &[
            ("threat.framework", json!("MITRE ATT&CK")),
            ("threat.tactic.name", json!(["Defense Evasion", "Defense Impairment", "Brand New"])),
            ("threat.tactic.id", json!(["TA0005", "TA0112"])),
            ("threat.technique.id", json!(["T1027", "T1059"])),
            (
                "threat.technique.name",
                json!(["Obfuscated Files or Information", "Command and Scripting Interpreter", "Named"]),
            ),
            (
                "threat.technique.reference",
                json!(["https://attack.mitre.org/techniques/T1027/", "https://attack.mitre.org/techniques/T1059/"]),
            ),
            ("threat.technique.subtechnique.id", json!(["T1059.001"])),
            ("event.reason", json!("one; two")),
        ],
    );
}

#[test]
fn the_endpoint_of_a_threat() {
    let event = map(
        Stream::Threats,
        &json!({
            "agentDetectionInfo": {"agentIpV4": "10.0.0.1,10.0.0.2, 300.1.1.1", "agentIpV6": "", "externalIp": "203.0.113.9",
                "agentLastLoggedInUserName": "ACME\\jane", "agentLastLoggedInUserMail": "jane@acme.example",
                "agentLastLoggedInUpn": "jane@acme.local", "accountId": 225494730938493804_i64, "siteId": "5", "siteName": "Site",
                "cloudProviders": {"AWS": {"cloudInstanceId": "i-1", "cloudAccount": "42", "cloudLocation": "us-east-1a",
                    "cloudInstanceSize": "t3", "cloudImage": "ami"}}},
            "agentRealtimeInfo": {"agentComputerName": "web-1", "agentDomain": "ACME", "agentOsType": "windows_legacy",
                "agentOsName": "Windows 7", "agentOsRevision": "7601", "agentMachineType": "kubernetes node", "agentId": "9",
                "networkInterfaces": [{"inet": ["10.0.0.1"], "inet6": ["fe80::1%eth0"], "physical": "00:00:5e:00:53:00"},
                    {"physical": "00-00-5E-00-53-00", "inet": "10.0.0.3"}]},
            "containerInfo": {"image": "registry:5000/app:v1", "id": "abc", "labels": ["app.name=shop", "odd"]},
            "kubernetesInfo": {"pod": "app-1", "controllerKind": "Deployment", "controllerName": "app", "isContainerQuarantine": false}
        }),
    );
    assert_fields(
        &event,
        &[
            ("host.name", json!("web-1")),
            ("host.hostname", json!("web-1")),
            ("host.id", json!("9")),
            ("host.domain", json!("ACME")),
            ("host.type", json!("kubernetes node")),
            (
                "host.os",
                json!({"type": "windows", "family": "windows_legacy", "name": "Windows 7", "version": "7601", "full": "Windows 7 7601"}),
            ),
            ("host.ip", json!(["10.0.0.1", "10.0.0.2", "fe80::1", "10.0.0.3", "203.0.113.9"])),
            ("host.mac", json!(["00-00-5E-00-53-00"])),
            ("related.ip", json!(["10.0.0.1", "10.0.0.2", "fe80::1", "10.0.0.3", "203.0.113.9"])),
            ("related.hosts", json!(["web-1", "ACME"])),
            ("related.user", json!(["jane", "jane@acme.example", "jane@acme.local"])),
            ("user", json!({"name": "jane", "domain": "ACME", "email": "jane@acme.example"})),
            ("organization.id", json!("225494730938493804")),
            (
                "cloud",
                json!({"provider": "aws", "instance": {"id": "i-1"}, "account": {"id": "42"}, "machine": {"type": "t3"},
                    "region": "us-east-1", "availability_zone": "us-east-1a"}),
            ),
            (
                "container",
                json!({"id": "abc", "image": {"name": "registry:5000/app", "tag": ["v1"]}, "labels": {"app_name": "shop"}}),
            ),
            (
                "orchestrator",
                json!({"type": "kubernetes", "resource": {"name": "app-1", "type": "pod", "parent": {"type": "Deployment"}}}),
            ),
            ("error.message", json!("host.ip: not an IP address")),
            ("sentinel_one.threat.agent_detection_info.agent_ip_v4", json!("10.0.0.1,10.0.0.2, 300.1.1.1")),
            ("sentinel_one.threat.agent_detection_info.external_ip", json!("203.0.113.9")),
            ("sentinel_one.threat.site", json!({"id": "5", "name": "Site"})),
            ("sentinel_one.threat.agent.id", json!("9")),
        ],
    );
    let ecs = map(
        Stream::Threats,
        &json!({"ecsInfo": {"clusterName": "c", "serviceName": "s", "taskArn": "arn", "type": "t"}}),
    );
    assert_fields(
        &ecs,
        &[
            ("orchestrator", json!({"type": "ecs", "cluster": {"name": "c"}, "resource": {"name": "s"}})),
            ("cloud.provider", json!("aws")),
            ("sentinel_one.threat.ecs_info", json!({"task_arn": "arn", "type": "t"})),
        ],
    );
}

#[test]
fn values_of_other_types_never_fail_a_record() {
    let event = map(
        Stream::Alerts,
        &json!({"alertInfo": {"alertId": 7, "srcPort": 70000, "dstPort": "http", "srcIp": "x", "dstIp": "N/A", "createdAt": "soon",
                "isEdr": true},
            "sourceProcessInfo": {"pid": "abc", "name": true, "pidStarttime": {"a": 1}, "fileHashMd5": "xyz", "user": ["a"]},
            "ruleInfo": "text", "newBlock": {"aB": {"cD": [1, null]}}}),
    );
    assert_fields(
        &event,
        &[
            ("event.id", json!("7")),
            ("source", Value::Null),
            ("destination", Value::Null),
            ("process", json!({"name": "true"})),
            ("sentinel_one.alert.alert_info.src_port", json!("70000")),
            ("sentinel_one.alert.alert_info.dst_port", json!("http")),
            ("sentinel_one.alert.alert_info.dst_ip", json!("N/A")),
            ("sentinel_one.alert.source_process_info.user", json!(["a"])),
            (
                "sentinel_one.alert.unexpected",
                json!(
                    r#"{"new_block":{"a_b":{"c_d":[1]}},"rule_info":"text","source_process_info":{"pid_starttime":{"a":1}}}"#
                ),
            ),
            (
                "error.message",
                json!(
                    "@timestamp: not a date; event.start: not a date; event.created: not a date; source.ip: not an IP address; source.port: not a port; \
                     destination.port: not a port; process.pid: not a whole number; process.start: not a date"
                ),
            ),
        ],
    );
}

#[test]
fn the_fields_of_an_alert() {
    let event = map(
        Stream::Alerts,
        &json!({
            "alertInfo": {"alertId": "3", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-02T00:00:00Z", "eventType": "LOGIN",
                "loginIsSuccessful": "true", "loginsUserName": "ACME\\jane", "loginAccountDomain": "ACME", "loginAccountSid": "S-1-5",
                "srcMachineIp": "192.0.2.1", "netEventDirection": "INCOMING", "dnsResponse": "192.0.2.9; x.example",
                "registryKeyPath": "HKLM\\a", "registryValue": "v", "modulePath": "c:\\m.dll",
                "moduleSha1": "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d", "tiIndicatorType": "IPV4", "tiIndicatorValue": "192.0.2.8",
                "tiIndicatorSource": "feed"},
            "ruleInfo": {"id": "5", "name": "logins", "severity": "Critical", "queryType": "events", "s1ql": "q", "queryLang": "2.0"},
            "agentDetectionInfo": {"accountId": "4", "siteId": "6", "osFamily": "linux", "osName": "Ubuntu", "osRevision": "22",
                "version": "23.1", "name": "old", "uuid": "u"},
            "agentRealtimeInfo": {"id": "9", "name": "web-1", "machineType": "server"},
            "targetProcessInfo": {"tgtFilePath": "c:\\t\\x.txt", "tgtFileIsSigned": "unsigned", "tgtFileCreatedAt": "2026-01-01T00:00:00Z",
                "tgtProcName": "t.exe", "tgtFileOldPath": "c:\\o"},
            "containerInfo": {"labels": "a=b"}
        }),
    );
    assert_fields(
        &event,
        &[
            ("@timestamp", json!("2026-01-02T00:00:00Z")),
            ("event.created", json!("2026-01-01T00:00:00Z")),
            ("event.kind", json!("alert")),
            ("event.action", json!("alert-login")),
            ("event.outcome", json!("success")),
            ("event.severity", json!(99)),
            ("message", json!("logins on web-1")),
            ("rule", json!({"id": "5", "name": "logins", "category": "events", "ruleset": "STAR"})),
            ("source.ip", json!("192.0.2.1")),
            ("host.ip", Value::Null),
            ("network.direction", json!("ingress")),
            (
                "dns",
                json!({"answers": [{"type": "A", "data": "192.0.2.9"}, {"data": "x.example"}], "resolved_ip": ["192.0.2.9"]}),
            ),
            ("user", json!({"name": "jane", "domain": "ACME", "id": "S-1-5"})),
            ("registry", json!({"hive": "HKLM", "path": "HKLM\\a", "key": "a", "data": {"strings": ["v"]}})),
            ("dll.hash.sha1", json!("aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d")),
            ("threat.indicator", json!({"type": "ipv4-addr", "ip": "192.0.2.8", "provider": "feed"})),
            ("file.name", json!("x.txt")),
            ("file.code_signature.exists", json!(false)),
            ("host.name", json!("web-1")),
            ("host.id", json!("9")),
            ("organization.id", json!("4")),
            ("observer.version", json!("23.1")),
            ("container", json!({"labels": {"a": "b"}})),
            ("sentinel_one.alert.severity", json!("critical")),
            ("sentinel_one.alert.rule_info.s1ql", json!("q")),
            ("sentinel_one.alert.target_process_info.tgt_proc_name", json!("t.exe")),
            ("sentinel_one.alert.container_info.labels", json!("a=b")),
        ],
    );
}

#[test]
fn the_fields_of_an_agent() {
    let record = json!({"id": "9", "uuid": "u", "computerName": "web-1", "domain": "WORKGROUP", "updatedAt": "2026-01-02T00:00:00.5Z",
        "createdAt": "2026-01-01T00:00:00Z", "osArch": "64 bit", "cpuId": "ARM Cortex", "osName": "Linux", "osType": "linux",
        "infected": true, "licenseKey": "secret", "lastLoggedInUserName": "", "osUsername": "root", "serialNumber": "SN", "modelName": "M",
        "groupIp": "81.2.69.x", "lastIpToMgmt": "10.0.0.1", "externalIp": "203.0.113.9",
        "networkInterfaces": [{"gatewayIp": "10.0.0.254", "inet": [], "physical": "n/a"}],
        "activeDirectory": {"userPrincipalName": "root@acme.example", "mail": null, "computerMemberOf": "CN=x"},
        "tags": {"sentinelone": [{"key": "k", "value": "v"}]}, "totalMemory": 4096});
    let event = map(Stream::Agents, &record);
    assert_fields(
        &event,
        &[
            ("event.id", json!("9:2026-01-02T00:00:00.5Z")),
            ("event.kind", json!("state")),
            ("event.action", json!("agent-inventory")),
            ("event.outcome", Value::Null),
            ("event.severity", json!(47)),
            ("event.created", json!("2026-01-01T00:00:00Z")),
            ("host.architecture", json!("arm64")),
            ("host.ip", json!(["10.0.0.1", "203.0.113.9"])),
            ("host.mac", Value::Null),
            ("related.ip", json!(["10.0.0.1", "10.0.0.254", "203.0.113.9"])),
            ("related.hosts", json!(["web-1"])),
            ("user", json!({"name": "root", "domain": "acme.example", "email": "root@acme.example"})),
            ("device", json!({"serial_number": "SN", "model": {"name": "M"}})),
            ("sentinel_one.agent.group_ip", json!("81.2.69.x")),
            ("sentinel_one.agent.active_directory.computer_member_of", json!("CN=x")),
            ("sentinel_one.agent.total_memory", json!(4096)),
            ("sentinel_one.agent.tags.sentinelone", json!([{"key": "k", "value": "v"}])),
            ("sentinel_one.agent.infected", json!(true)),
            ("sentinel_one.agent.license_key", Value::Null),
        ],
    );
    assert!(!event.to_string().contains("secret"));
}

#[test]
fn the_fields_of_a_group() {
    let record = json!({"id": "1", "name": "g", "type": "static", "updatedAt": "2026-01-02T00:00:00Z", "createdAt": "2026-01-01T00:00:00Z",
        "creator": "Jane Doe", "creatorId": "7", "siteId": "5", "registrationToken": "secret", "totalAgents": 0, "isDefault": false});
    let event = map(Stream::Groups, &record);
    assert_fields(
        &event,
        &[
            ("@timestamp", json!("2026-01-02T00:00:00Z")),
            ("event.kind", json!("state")),
            ("event.category", json!(["configuration"])),
            ("event.type", json!(["info"])),
            ("event.id", json!("1")),
            ("group", json!({"id": "1", "name": "g"})),
            ("user", json!({"name": "Jane Doe", "full_name": "Jane Doe", "id": "7"})),
            ("related.user", json!(["Jane Doe"])),
            (
                "sentinel_one.group",
                json!({"severity": "informational", "site": {"id": "5"}, "site_id": "5", "type": "static", "total_agents": 0,
                    "is_default": false}),
            ),
        ],
    );
    assert!(!event.to_string().contains("secret"));
}

#[test]
fn what_all_events_have() {
    let event = map(Stream::Threats, &json!({"id": "225494730938493804"}));
    assert_fields(
        &event,
        &[
            ("ecs.version", json!("9.4.0")),
            ("labels", json!({"pipeline": "acme-eu", "customer": "acme"})),
            ("tags", json!(["sentinel_one", "sentinel_one-threat", "forwarded"])),
            (
                "observer",
                json!({"vendor": "SentinelOne", "product": "Singularity", "type": "edr", "hostname": "console.example.com"}),
            ),
            ("event.module", json!("sentinel_one")),
            ("event.dataset", json!("sentinel_one.threat")),
            ("event.provider", json!("SentinelOne")),
            ("event.timezone", json!("UTC")),
            ("event.url", json!("https://console.example.com/incidents/threats/225494730938493804/overview")),
        ],
    );
}

/// The record as received, except white space between tokens. Its numbers are not parsed.
#[test]
fn the_original_is_the_record() {
    let record = "{ \"b\" : 1.50e+3 ,\n\t\"a\":[ 12345678901234567890, \"x \\\" \\\\ y\\u00e9\" ] }";
    let mut out = Vec::new();
    super::support::mapper(Stream::Groups, true).map(record.as_bytes(), &mut out).unwrap();
    let event: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(event["event"]["original"], "{\"b\":1.50e+3,\"a\":[12345678901234567890,\"x \\\" \\\\ y\\u00e9\"]}");
}

fn unified_alert() -> Value {
    json!({
        "id": "019d114e-e4f4-7ad6-82c3-9829b6d0a801", "externalId": "2440104020909548527", "name": "avm.exe detected as Malware",
        "severity": "CRITICAL", "status": "NEW", "classification": "MALWARE", "result": "UNMITIGATED",
        "detectedAt": "2026-03-21T16:51:06.684Z", "createdAt": "2026-03-21T16:51:06.759Z", "updatedAt": "2026-03-21T16:51:06.700Z",
        "firstSeenAt": "2026-03-21T16:51:06.684Z", "lastSeenAt": "2026-03-21T16:51:05Z", "attackSurfaces": ["ENDPOINT"],
        "detectionSource": { "product": "EDR", "vendor": "SentinelOne" },
        "assets": [{ "id": "a", "name": "OTHER", "category": "Server" }, { "id": "b", "name": "WS-1", "primary": true,
            "category": "Workstation", "subcategory": "Desktop", "agentUuid": "u-1", "agentVersion": "24.1", "osType": "HP_UX" }],
        "detectionTime": { "assets": [{ "primary": true, "asset": { "osName": "HP-UX", "ipV4": "10.0.0.1,10.0.0.2",
            "consoleIpAddress": "203.0.113.1" }, "kubernetes": { "podName": "", "nodeLabels": [] } }] },
        "process": { "cmdLine": "C:\\x\\AVM.EXE -q", "file": { "name": "avm.exe", "sha1": "A".repeat(40) } },
    })
}

#[test]
fn a_unified_alert_is_dated_named_and_placed() {
    let record = unified_alert();
    let event = map(Stream::UnifiedAlerts, &record);
    assert_fields(
        &event,
        &[
            ("@timestamp", json!("2026-03-21T16:51:06.684Z")),
            ("event.kind", json!("alert")),
            ("event.category", json!(["malware"])),
            ("event.action", json!("unified-alert-unmitigated")),
            ("event.outcome", json!("unknown")),
            ("event.severity", json!(99)),
            ("event.provider", json!("SentinelOne")),
            ("event.start", json!("2026-03-21T16:51:06.684Z")),
            ("event.end", Value::Null),
            (
                "event.url",
                json!(
                    "https://console.example.com/incidents/unified-alerts?alertId=019d114e-e4f4-7ad6-82c3-9829b6d0a801"
                ),
            ),
            ("message", json!("avm.exe detected as Malware on WS-1")),
            ("observer.type", json!("edr")),
            ("observer.version", json!("24.1")),
            ("host.name", json!("WS-1")),
            ("host.type", json!("desktop")),
            ("host.os.type", json!("unix")),
            ("host.os.name", json!("HP-UX")),
            ("host.ip", json!(["10.0.0.1", "10.0.0.2", "203.0.113.1"])),
            ("host.id", Value::Null),
            ("orchestrator", Value::Null),
            ("process.name", json!("avm.exe")),
            ("process.hash.sha1", json!("a".repeat(40))),
            ("related.hash", json!(["a".repeat(40)])),
            ("related.hosts", json!(["WS-1", "OTHER"])),
            ("sentinel_one.threat.id", json!("2440104020909548527")),
            ("sentinel_one.unified_alert.severity", json!("critical")),
            ("sentinel_one.agent.uuid", json!("u-1")),
            ("sentinel_one.unified_alert.last_seen_at", json!("2026-03-21T16:51:05Z")),
        ],
    );
    let mut changed = record.clone();
    changed["updatedAt"] = json!("2026-03-21T17:00:00.000Z");
    assert_fields(&map(Stream::UnifiedAlerts, &changed), &[("@timestamp", json!("2026-03-21T17:00:00.000Z"))]);
    let mut foreign = record;
    foreign["detectionSource"] = json!({ "product": "Mail Gateway", "vendor": "Example Security" });
    foreign["classification"] = json!("UNKNOWN");
    foreign["attackSurfaces"] = json!(["EMAIL"]);
    foreign["rawData"] = json!({ "ruleId": "r-1" });
    foreign["analytics"] = json!({ "category": "Custom Rule", "name": null, "uid": "1412136126226508571" });
    assert_fields(
        &map(Stream::UnifiedAlerts, &foreign),
        &[
            ("observer.vendor", json!("Example Security")),
            ("observer.type", Value::Null),
            ("observer.version", Value::Null),
            ("event.provider", json!("Example Security")),
            ("event.category", json!(["intrusion_detection", "email"])),
            ("sentinel_one.threat", Value::Null),
            ("sentinel_one.unified_alert.raw_data.rule_id", json!("r-1")),
            ("rule.name", json!("avm.exe detected as Malware")),
            ("rule.id", json!("1412136126226508571")),
            ("rule.ruleset", json!("Mail Gateway")),
        ],
    );
}

#[test]
fn classes_of_unified_alerts_have_their_categories() {
    for (class, surface, expected) in [
        ("LINUX_MALWARE", "ENDPOINT", json!(["malware"])),
        ("MALICIOUS_PDF", "EMAIL", json!(["malware"])),
        ("BENIGN", "ENDPOINT", json!(["intrusion_detection"])),
        ("MANUAL", "ENDPOINT", json!(["intrusion_detection"])),
        ("HACKTOOL", "ENDPOINT", json!(["malware"])),
        ("HACKTOOL", "NETWORK", json!(["intrusion_detection"])),
        ("MANUAL", "NETWORK", json!(["intrusion_detection"])),
        ("EXPLOIT", "ENDPOINT", json!(["malware", "intrusion_detection"])),
        ("NETWORK", "NETWORK", json!(["malware", "intrusion_detection", "network"])),
        ("ENUMERATION", "ENDPOINT", json!(["intrusion_detection"])),
        ("PHISHING", "EMAIL", json!(["email", "intrusion_detection"])),
        ("UNKNOWN", "IDENTITY", json!(["intrusion_detection", "iam"])),
        ("NEW_WORD", "ENDPOINT", json!(["intrusion_detection"])),
    ] {
        let event = map(Stream::UnifiedAlerts, &json!({ "classification": class, "attackSurfaces": [surface] }));
        assert_fields(&event, &[("event.category", expected), ("event.type", json!(["info"]))]);
    }
}

#[test]
fn a_finding_is_a_state_of_its_endpoint() {
    let record = json!({
        "id": "2228104980801805822", "application": "7-Zip 22.01", "applicationName": "7-Zip", "applicationVersion": "22.01",
        "baseScore": "7.00", "cvssVersion": "3.1", "nvdBaseScore": "", "nvdCvssVersion": "", "riskScore": "5.8",
        "cveId": "CVE-2025-0411", "daysDetected": 59, "detectionDate": "2025-06-02T04:46:51.710569Z", "endpointId": "2162",
        "endpointName": "DESKTOP-1", "endpointType": "desktop", "osType": "windows_legacy", "lastScanDate": "2025-07-29T19:25:47Z",
        "markedBy": "Amira", "reason": "xyz", "severity": "HIGH", "status": "Removed", "remediationLevel": "Not Defined",
    });
    let event = map(Stream::Vulnerabilities, &record);
    let hash = s1_forwarder_record::vulnerability::content_version(record.to_string().as_bytes());
    assert_fields(
        &event,
        &[
            ("@timestamp", json!("2025-07-29T19:25:47Z")),
            ("event.kind", json!("state")),
            ("event.category", json!(["vulnerability"])),
            ("event.action", json!("vulnerability-removed")),
            ("event.outcome", Value::Null),
            ("event.id", json!(format!("2228104980801805822:{hash}"))),
            ("event.severity", json!(73)),
            ("event.risk_score", json!(5.8)),
            ("event.reason", json!("xyz")),
            ("event.created", json!("2025-06-02T04:46:51.710569Z")),
            ("message", json!("CVE-2025-0411 (HIGH) in 7-Zip 22.01 on DESKTOP-1: Removed")),
            ("vulnerability.id", json!("CVE-2025-0411")),
            ("vulnerability.enumeration", json!("CVE")),
            ("vulnerability.reference", json!("https://nvd.nist.gov/vuln/detail/CVE-2025-0411")),
            ("vulnerability.severity", json!("High")),
            ("vulnerability.score.base", json!(7.0)),
            ("vulnerability.score.version", json!("3.1")),
            ("vulnerability.classification", json!("CVSS")),
            ("package.name", json!("7-Zip")),
            ("host.name", json!("DESKTOP-1")),
            ("host.id", json!("2162")),
            ("host.os.type", json!("windows")),
            ("related.user", json!(["Amira"])),
            ("sentinel_one.vulnerability.severity", json!("high")),
            ("sentinel_one.vulnerability.id", json!("2228104980801805822")),
            ("sentinel_one.vulnerability.days_detected", json!(59)),
            ("sentinel_one.vulnerability.remediation_level", Value::Null),
            ("sentinel_one.vulnerability.application", Value::Null),
        ],
    );
    let mut both = record.clone();
    both["nvdBaseScore"] = json!("8.1");
    both["nvdCvssVersion"] = json!("4.0");
    let event = map(Stream::Vulnerabilities, &both);
    assert_fields(&event, &[("vulnerability.score.base", json!(8.1)), ("vulnerability.score.version", json!("4.0"))]);
    let bare =
        map(Stream::Vulnerabilities, &json!({ "id": "1", "cveId": "XYZ-1", "baseScore": "0.00", "severity": "LOW" }));
    assert_fields(
        &bare,
        &[
            ("message", json!("XYZ-1 (LOW)")),
            ("vulnerability.score", Value::Null),
            ("vulnerability.enumeration", Value::Null),
        ],
    );
}

#[test]
fn a_number_with_decimals_is_written_or_named() {
    for (score, written, error) in [
        (json!("87.5"), json!(87.5), Value::Null),
        (json!(87), json!(87.0), Value::Null),
        (json!("N/A"), Value::Null, Value::Null),
        (json!("high"), Value::Null, json!("event.risk_score: not a number")),
        (json!("inf"), Value::Null, json!("event.risk_score: not a number")),
    ] {
        let event =
            map(Stream::Vulnerabilities, &json!({ "riskScore": score, "detectionDate": "2026-01-01T00:00:00Z" }));
        let kept = ("sentinel_one.vulnerability.risk_score", score);
        assert_fields(&event, &[("event.risk_score", written), ("error.message", error), kept]);
    }
}

/// Records of some streams do not name their owner. Their events have the scope of the request.
#[test]
fn the_scope_of_a_request_is_in_events_of_each_schema_or_of_none() {
    let examples: Value = serde_json::from_str(include_str!("../data/examples.json")).unwrap();
    let mut with_scope = 0;
    for stream in Stream::ALL {
        let record = examples[stream.name()].to_string();
        let tells = |(schema, level)| {
            let mut mapper = mapper_to(schema, stream, false);
            let scope = Scope { level, id: "5".into(), name: Some("asked for".into()) };
            mapper.set_scope(Some(Arc::new(scope)));
            let mut out = Vec::new();
            mapper.map(record.as_bytes(), &mut out).unwrap();
            String::from_utf8(out).unwrap().contains("asked for")
        };
        let schemas = [Schema::Ecs, Schema::Ocsf].into_iter();
        let cases = schemas.flat_map(|schema| [Level::Account, Level::Site, Level::Group].map(|level| (schema, level)));
        let (yes, no): (Vec<_>, Vec<_>) = cases.partition(|case| tells(*case));
        assert!(yes.is_empty() || no.is_empty(), "{stream}: in {yes:?}, and not in {no:?}");
        assert!(no.is_empty() || !stream.description().owners.is_empty(), "{stream}: nothing says whose a record is");
        with_scope += usize::from(no.is_empty());
    }
    assert!(with_scope > 0);
}
