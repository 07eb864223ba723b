//! Addresses, names of hosts, registry paths, containers, techniques and files, in the form that ECS wants.

use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::support::{assert_fields, at, map};

fn alert(info: Value) -> Value {
    map(Stream::Alerts, &json!({"alertInfo": info}))
}

fn activity(number: u32, fields: Value, data: Value) -> Value {
    let mut record = json!({"activityType": number, "createdAt": "2026-03-01T10:20:30Z", "data": data});
    for (key, value) in fields.as_object().unwrap() {
        record[key] = value.clone();
    }
    map(Stream::Activities, &record)
}

#[test]
fn an_address_is_written_once_in_one_spelling() {
    let event = map(
        Stream::Agents,
        &json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "externalIp": "::ffff:203.0.113.9",
            "networkInterfaces": [{"inet6": ["fe80::0001", "FE80::1", "FE80:0:0:0:0:0:0:1%eth0", "::1"],
                "inet": ["127.0.0.1", "203.0.113.9", "0.0.0.0"]}]}),
    );
    assert_fields(
        &event,
        &[
            ("host.ip", json!(["203.0.113.9", "fe80::1"])),
            ("related.ip", json!(["203.0.113.9", "fe80::1"])),
            ("sentinel_one.agent.external_ip", json!("::ffff:203.0.113.9")),
        ],
    );
    let event = alert(json!({"srcIp": "2001:DB8::0:1", "dstIp": "10.0.0.1"}));
    assert_fields(
        &event,
        &[
            ("source.ip", json!("2001:db8::1")),
            ("related.ip", json!(["2001:db8::1", "10.0.0.1"])),
            ("sentinel_one.alert.alert_info.src_ip", json!("2001:DB8::0:1")),
            ("sentinel_one.alert.alert_info.dst_ip", Value::Null),
        ],
    );
}

#[test]
fn answers_of_a_dns_query_are_parsed() {
    let response =
        "type:  5 edge.example.net;b.example.net;::ffff:198.51.100.7;2001:DB8::1;type: 16 v=spf1 -all;type: 99 x;";
    let event = alert(json!({"eventType": "DNS", "dnsRequest": "www.example.com", "dnsResponse": response}));
    assert_fields(
        &event,
        &[
            ("dns.question.name", json!("www.example.com")),
            (
                "dns.answers",
                json!([
                    {"type": "CNAME", "data": "edge.example.net"},
                    {"data": "b.example.net"},
                    {"type": "A", "data": "198.51.100.7"},
                    {"type": "AAAA", "data": "2001:db8::1"},
                    {"type": "TXT", "data": "v=spf1 -all"},
                    {"data": "x"},
                ]),
            ),
            ("dns.resolved_ip", json!(["198.51.100.7", "2001:db8::1"])),
            ("network", json!({"protocol": "dns"})),
            ("related.ip", json!(["198.51.100.7", "2001:db8::1"])),
            ("sentinel_one.alert.alert_info.dns_response", json!(response)),
        ],
    );
    let hosts = at(&event, "related.hosts");
    assert_eq!(hosts, &json!(["www.example.com", "edge.example.net", "b.example.net", "x"]));
    let event = alert(json!({"dnsResponse": "type: 1 192.0.2.77;"}));
    assert_fields(
        &event,
        &[("dns", json!({"answers": [{"type": "A", "data": "192.0.2.77"}], "resolved_ip": ["192.0.2.77"]}))],
    );
}

#[test]
fn registry_paths_have_hive_key_and_value() {
    let registry = |event_type: &str, path: &str, data: &str| {
        let info = json!({"eventType": event_type, "registryKeyPath": path, "registryValue": data,
            "registryOldValueType": "SZ"});
        at(&alert(info), "registry").clone()
    };
    assert_eq!(
        registry("REGVALUEMODIFIED", "MACHINE\\SOFTWARE\\Run\\Evil", "C:\\evil.exe"),
        json!({"hive": "HKLM", "key": "SOFTWARE\\Run", "path": "HKLM\\SOFTWARE\\Run\\Evil", "value": "Evil",
            "data": {"type": "REG_SZ", "strings": ["C:\\evil.exe"]}})
    );
    assert_eq!(
        registry("REGKEYCREATE", "\\REGISTRY\\USER\\S-1-5-21\\Software", ""),
        json!({"hive": "HKU", "key": "S-1-5-21\\Software", "path": "HKU\\S-1-5-21\\Software"})
    );
    assert_eq!(
        registry("REGVALUEDELETE", "HKEY_LOCAL_MACHINE\\SOFTWARE\\Classes\\text/html", ""),
        json!({"hive": "HKLM", "key": "SOFTWARE\\Classes", "path": "HKLM\\SOFTWARE\\Classes\\text/html",
            "value": "text/html"})
    );
    assert_eq!(
        registry("REGKEYDELETE", "somewhere\\else", ""),
        json!({"key": "somewhere\\else", "path": "somewhere\\else"})
    );
    let event = alert(json!({"eventType": "REGKEYDELETE", "registryPath": "HKCU\\a\\b"}));
    assert_fields(
        &event,
        &[
            ("registry", json!({"hive": "HKCU", "key": "a\\b", "path": "HKCU\\a\\b"})),
            ("sentinel_one.alert.alert_info.registry_path", Value::Null),
        ],
    );
    for path in ["HKLM \\X", "hklm\\X", "MACHINE\\X", "\\REGISTRY\\MACHINE\\X"] {
        let event = alert(json!({"eventType": "REGKEYDELETE", "registryPath": path}));
        assert_fields(
            &event,
            &[
                ("registry", json!({"hive": "HKLM", "key": "X", "path": "HKLM\\X"})),
                ("sentinel_one.alert.alert_info.registry_path", json!(path)),
            ],
        );
    }
}

#[test]
fn the_event_type_tells_the_transport() {
    let network = |event_type: &str| at(&alert(json!({"eventType": event_type})), "network").clone();
    assert_eq!(network("TCPV4"), json!({"transport": "tcp", "type": "ipv4"}));
    assert_eq!(network("TCPV6LISTEN"), json!({"transport": "tcp", "type": "ipv6"}));
    assert_eq!(network("FILECREATION"), Value::Null);
    let firewall =
        |protocol: Value| at(&activity(5232, json!({}), json!({"reportedProtocol": protocol})), "network").clone();
    assert_eq!(firewall(json!("17")), json!({"iana_number": "17", "transport": "udp"}));
    assert_eq!(firewall(json!(254)), json!({"iana_number": "254"}));
    assert_eq!(firewall(json!("TCP")), json!({"transport": "tcp"}));
}

#[test]
fn images_of_containers_have_name_tag_and_digest() {
    let image = "harbor.example/infra/heimdall:latest@sha256:6c94";
    let container = json!({"image": image, "labels": ["io.app:\"shop:web\"", "tier=front", "odd"]});
    let event = map(Stream::Threats, &json!({"id": "1", "containerInfo": container}));
    assert_fields(
        &event,
        &[
            (
                "container",
                json!({"image": {"name": "harbor.example/infra/heimdall", "tag": ["latest"],
                    "hash": {"all": ["sha256:6c94"]}}, "labels": {"io_app": "shop:web", "tier": "front"}}),
            ),
            ("sentinel_one.threat.container_info.image", json!(image)),
        ],
    );
    let alert = map(Stream::Alerts, &json!({"containerInfo": {"labels": "app=web,tier:\"front\""}}));
    assert_fields(&alert, &[("container.labels", json!({"app": "web", "tier": "front"}))]);
}

#[test]
fn a_technique_and_its_sub_technique_have_names_and_pages_of_their_own() {
    let technique = |name: &str| json!({"name": name, "link": "https://attack.mitre.org/"});
    let names = ["T1059.001", "T1027", "T1071", "T1590.002", "T1071.004", "T9999"];
    let tactics = json!([{"name": "defense-evasion", "techniques": names.map(technique)}]);
    let event = map(Stream::Threats, &json!({"id": "1", "indicators": [{"tactics": tactics}]}));
    let page = |id: &str| format!("https://attack.mitre.org/techniques/{id}/");
    assert_fields(
        &event,
        &[
            (
                "threat.tactic",
                json!({"id": ["TA0005"], "name": ["Defense Evasion"],
                    "reference": ["https://attack.mitre.org/tactics/TA0005/"]}),
            ),
            ("threat.technique.id", json!(["T1059", "T1027", "T1071", "T1590", "T9999"])),
            (
                "threat.technique.name",
                json!([
                    "Command and Scripting Interpreter",
                    "Obfuscated Files or Information",
                    "Application Layer Protocol",
                    "Gather Victim Network Information",
                    "T9999",
                ]),
            ),
            ("threat.technique.reference", json!(["T1059", "T1027", "T1071", "T1590", "T9999"].map(page))),
            ("threat.technique.subtechnique.id", json!(["T1059.001", "T1590.002", "T1071.004"])),
            ("threat.technique.subtechnique.name", json!(["PowerShell", "DNS", "Application Layer Protocol: DNS"])),
            ("threat.technique.subtechnique.reference", json!(["T1059/001", "T1590/002", "T1071/004"].map(page))),
        ],
    );
}

#[test]
fn techniques_of_a_unified_alert_have_the_same_form() {
    let attack = json!({"tactic": {"name": "EXECUTION", "uid": "TA0002"},
        "technique": {"name": "PowerShell", "uid": "T1059.001", "sourceUrl": "https://attack.mitre.org/"}});
    let later =
        json!({"tactic": {"name": "New Tactic", "uid": "TA9999"}, "technique": {"name": "New", "uid": "T9999"}});
    let event = map(Stream::UnifiedAlerts, &json!({"id": "1", "indicators": [{"attacks": [attack, later]}]}));
    assert_fields(
        &event,
        &[
            ("threat.tactic.id", json!(["TA0002", "TA9999"])),
            ("threat.tactic.name", json!(["Execution", "New Tactic"])),
            ("threat.technique.id", json!(["T1059", "T9999"])),
            ("threat.technique.name", json!(["Command and Scripting Interpreter", "New"])),
            ("threat.technique.subtechnique.name", json!(["PowerShell"])),
        ],
    );
}

#[test]
fn an_indicator_that_is_a_domain_has_the_field_of_domains() {
    let event = alert(json!({"tiIndicatorType": "DNS", "tiIndicatorValue": "c2.example", "tiIndicatorSource": "feed"}));
    assert_fields(
        &event,
        &[
            (
                "threat.indicator",
                json!({"type": "domain-name", "url": {"domain": "c2.example"}, "name": "c2.example", "provider": "feed"}),
            ),
            ("related.hosts", json!(["c2.example"])),
        ],
    );
}

#[test]
fn the_object_of_an_exclusion_is_a_file() {
    let sha1 = "02699626f388ed830012e5b787640e71c56d42d8";
    for (number, kind, value, file) in [
        (3008, "path", "/opt/app/*", json!({"path": "/opt/app/*", "name": "*"})),
        (3013, "certificate", "ACME CORP", json!({"code_signature": {"subject_name": "ACME CORP"}})),
        (3014, "file_type", "*.PS1", json!({"extension": "ps1"})),
        (3014, "file_type", "*", Value::Null),
        (3021, "white_hash", sha1, json!({"hash": {"sha1": sha1}})),
        (27, "path", "C:\\x.exe", Value::Null),
    ] {
        let event = activity(number, json!({}), json!({"exclusionType": kind, "osFamily": "windows", "value": value}));
        assert_fields(&event, &[("file", file)]);
    }
}

#[test]
fn a_hash_with_a_verdict_of_the_cloud_is_an_entry_of_the_block_list() {
    let sha1 = "02699626f388ed830012e5b787640e71c56d42d8";
    let event = activity(2, json!({"hash": sha1}), json!({"osFamily": "windows"}));
    assert_fields(
        &event,
        &[
            ("event.kind", json!("event")),
            ("event.category", json!(["configuration"])),
            ("file", json!({"hash": {"sha1": sha1}})),
            ("host", Value::Null),
        ],
    );
}

#[test]
fn devices_that_come_and_go_are_told_apart() {
    let device = |event_type: &str| activity(5126, json!({}), json!({"eventType": event_type, "deviceName": "Flash"}));
    assert_fields(
        &device("connected"),
        &[("event.action", json!("device-connected")), ("event.type", json!(["access", "start"]))],
    );
    assert_fields(
        &device("disconnected"),
        &[("event.action", json!("device-disconnected")), ("event.type", json!(["access", "end"]))],
    );
    assert_fields(&device("other"), &[("event.action", json!("device-control-approved-event"))]);
}

#[test]
fn an_activity_names_its_package_host_and_threat() {
    let event = activity(51, json!({"agentId": "1"}), json!({"computerName": "web-1"}));
    assert_fields(
        &event,
        &[
            ("package", json!({"name": "SentinelOne Agent"})),
            ("host.hostname", json!("web-1")),
            ("event.url", Value::Null),
        ],
    );
    let app = activity(3633, json!({}), json!({"version": "1.2"}));
    assert_fields(&app, &[("package", json!({"version": "1.2"}))]);
    let threat = activity(2001, json!({"threatId": "14"}), json!({}));
    assert_fields(&threat, &[("event.url", json!("https://console.example.com/incidents/threats/14/overview"))]);
}

#[test]
fn every_type_that_the_console_knows_has_an_action() {
    let known = include_str!("../../../emulator/src/activity_types.csv").lines().skip(1);
    let numbers: Vec<u32> = known.map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.len(), 513);
    for number in numbers {
        let event = activity(number, json!({}), json!({}));
        let action = at(&event, "event.action").as_str().unwrap();
        assert!(action != format!("activity-{number}"), "{number}: {action}");
    }
}
