use regex::Regex;
use s1_forwarder_record::Stream;
use serde_json::{Value as Json, json};

use super::*;

const CONSOLE: &str = "usea1-acme.sentinelone.net";

fn origin(dialect: Dialect, stream: Stream) -> Origin<'static> {
    Origin { dialect, stream, console: CONSOLE, build: Some("S-26.1.4#22") }
}

fn line_of(record: &Json, dialect: Dialect, stream: Stream) -> String {
    line_in(record, &origin(dialect, stream), usize::MAX).unwrap()
}

fn line_in(record: &Json, origin: &Origin<'_>, room: usize) -> Result<String, usize> {
    Notification::of(Value::new(&record.to_string()), origin).expect("a type or an id").line(room)
}

fn cef(record: &Json) -> String {
    line_of(record, Dialect::Cef, Stream::Activities)
}

fn cef2(record: &Json) -> String {
    line_of(record, Dialect::Cef2, Stream::Activities)
}

fn with(mut record: Json, more: Json) -> Json {
    let Json::Object(more) = more else { panic!("no object") };
    record.as_object_mut().unwrap().extend(more);
    record
}

fn activity(activity_type: i64, more: Json, data: Json) -> Json {
    let record = json!({
        "id": "2541463874708701677",
        "activityType": activity_type,
        "createdAt": "2026-03-01T10:20:30.123456Z",
        "accountId": "225494730938493804",
        "accountName": "Acme Corporation",
        "siteId": "225494730938493917",
        "siteName": "Toronto",
        "primaryDescription": "What happened.",
        "data": data,
    });
    with(record, more)
}

fn detection() -> Json {
    let about = json!({
        "agentId": "1000000000031841492",
        "groupId": null,
        "groupName": "Laptops",
        "threatId": "2541617494523641945",
    });
    let data = json!({
        "computerName": "WS-00047",
        "confidenceLevel": "malicious",
        "fileContentHash": "3395856CE81f2b7382dee72602f798b642f14140",
        "fileDisplayName": "invoice.exe",
        "filePath": r"\Device\HarddiskVolume3\Users\grace\Downloads\invoice.exe",
        "osName": "Windows 11 Pro",
        "osType": "windows",
        "threatClassification": "Trojan",
        "threatClassificationSource": "Cloud",
        "username": null,
        "agentipv4": "10.14.52.159, fe80::1%eth0, 10.0.0.9, 300.1.1.1",
    });
    activity(19, about, data)
}

#[test]
fn a_detection_is_the_line_that_the_console_sends() {
    assert_eq!(
        cef(&detection()),
        "CEF:0|SentinelOne|Mgmt|Windows 11 Pro|19|New active threat - machine WS-00047|10|\
         rt=2026-03-01 10:20:30.123456 fileHash=3395856ce81f2b7382dee72602f798b642f14140 \
         filePath=\\\\Device\\\\HarddiskVolume3\\\\Users\\\\grace\\\\Downloads\\\\invoice.exe osName=Windows 11 Pro \
         cat=SystemEvent activityID=2541463874708701677 activityType=19 siteId=225494730938493917 siteName=Toronto \
         accountId=225494730938493804 accountName=Acme Corporation notificationScope=SITE fileName=invoice.exe \
         sourceHostName=WS-00047 sourceOsType=windows sourceAgentId=1000000000031841492 sourceGroupName=Laptops \
         sourceAddress=10.14.52.159 sourceIpAddresses=['10.14.52.159', 'fe80::1', '10.0.0.9'] \
         threatID=2541617494523641945 threatClassification=Trojan threatConfidenceLevel=malicious \
         threatMitigationStatus=not_mitigated"
    );
    assert_eq!(
        cef2(&detection()),
        "CEF:2|SentinelOne|Mgmt|Windows 11 Pro|rt=2026-03-01 10:20:30.123456|\
         fileHash=3395856ce81f2b7382dee72602f798b642f14140|\
         filePath=\\Device\\HarddiskVolume3\\Users\\grace\\Downloads\\invoice.exe|fileName=invoice.exe|\
         deviceHostFqdn=usea1-acme.sentinelone.net|deviceHostName=usea1-acme.sentinelone.net|notificationScope=SITE|\
         siteId=225494730938493917|siteName=Toronto|accountId=225494730938493804|accountName=Acme Corporation|\
         vendor=SentinelOne|eventID=19|eventDesc=New active threat - machine WS-00047|eventSeverity=10|\
         originatorName=WS-00047|sourceOsType=windows|sourceHostName=WS-00047|sourceAgentId=1000000000031841492|\
         sourceGroupName=Laptops|sourceAddress=10.14.52.159|\
         sourceIpAddresses=['10.14.52.159', 'fe80::1', '10.0.0.9']|threatClassification=Trojan|\
         threatClassificationSource=Cloud|threatMitigationStatus=not_mitigated|threatConfidenceLevel=malicious|\
         threatMitigatedPreemptively=False|threatMitigationStatusLabel=active|threatMitigationStatusID=1|\
         threatID=2541617494523641945|cat=MALWARE|activityID=2541463874708701677|activityType=19"
    );
}

#[test]
fn what_is_about_no_endpoint_has_the_consoles_build_or_no_slot() {
    let data = json!({ "username": "Hiro Tanaka", "ipAddress": "198.51.100.17" });
    let login = activity(27, json!({ "siteId": null, "siteName": null }), data);
    assert_eq!(
        cef(&login),
        "CEF:0|SentinelOne|Mgmt|S-26.1.4#22|27|SentinelOne - New Console Login Activity - Hiro Tanaka|1|\
         suser=Hiro Tanaka ip=198.51.100.17 cat=SystemEvent rt=#arcsightDate(Sun, 01 Mar 2026, 10:20:30 UTC) \
         activityID=2541463874708701677 activityType=27 accountId=225494730938493804 accountName=Acme Corporation \
         notificationScope=ACCOUNT"
    );
    let without_build = Origin { build: None, ..origin(Dialect::Cef, Stream::Activities) };
    let line = line_in(&login, &without_build, usize::MAX).unwrap();
    assert!(line.starts_with("CEF:0|SentinelOne|Mgmt|usea1-acme.sentinelone.net|27|"), "{line}");
    let line = cef2(&login);
    assert!(line.starts_with("CEF:2|SentinelOne|Mgmt|vendor=SentinelOne|suser=Hiro Tanaka|ip="), "{line}");
    assert!(line.contains("|originatorName=usea1-acme.sentinelone.net|originatorVersion=S-26.1.4#22|"), "{line}");
}

/// Readers compare these names. Other types have the console's own sentence as their name.
#[test]
fn names_are_those_that_readers_compare_with() {
    let user = json!({ "byUser": "Amira Haddad", "username": "Femi Adeyemi", "email": "femi@globex.example" });
    let host = json!({ "computerName": "WS-1" });
    for (activity_type, data, name) in [
        (4003, &host, "New Suspicious threat detected - machine WS-1"),
        (20, &host, "New blocked threat - machine WS-1"),
        (18, &json!({}), "New mitigated threat"),
        (21, &host, "Threat marked as resolved"),
        (23, &user, "Administrative information - New user 'Femi Adeyemi (femi@globex.example)' added"),
        (23, &json!({ "username": "a" }), "Administrative information - New user added"),
        (24, &user, "Administrative information - User Modified"),
        (25, &user, "Administrative information - User 'Femi Adeyemi (femi@globex.example)' Deleted"),
        (33, &json!({ "username": "Jo" }), "SentinelOne - New Console Logout Activity - Jo"),
        (133, &json!({ "userName": "Jo" }), "SentinelOne - Failed Console Login Activity - Jo"),
        (120, &host, "Agent enabled - Machine WS-1"),
        (128, &host, "Agent disabled - Machine WS-1"),
        (2006, &host, "Kill failed"),
        (2009, &host, "Quarantine failed"),
        (2030, &host, "Analyst verdict changed"),
        (4008, &host, "Threat status changed"),
        (37, &user, "What happened."),
        (5125, &host, "What happened."),
        (99_999, &host, "What happened."),
    ] {
        let record = activity(activity_type, json!({}), data.clone());
        let of_header = format!("|{activity_type}|{name}|");
        assert!(cef(&record).contains(&of_header), "{of_header}: {}", cef(&record));
        let of_key = format!("|eventDesc={name}|");
        assert!(cef2(&record).contains(&of_key), "{of_key}: {}", cef2(&record));
    }
    let with_role = with(user, json!({ "role": "Admin" }));
    let line = cef(&activity(37, json!({}), with_role));
    assert!(
        line.contains("|Amira Haddad assigned role \"Admin\" to user Femi Adeyemi (femi@globex.example)|"),
        "{line}"
    );
    let nameless = activity(77, json!({ "primaryDescription": "" }), Json::Null);
    assert!(cef(&nameless).contains("|77|Activity 77|1|"), "{}", cef(&nameless));
}

#[test]
fn severity_and_status_are_those_of_the_moment() {
    for (activity_type, data, severity, status) in [
        (19, json!({}), 10, Some("not_mitigated")),
        (18, json!({ "confidenceLevel": "malicious" }), 8, Some("mitigated")),
        (20, json!({ "confidenceLevel": "suspicious" }), 5, Some("mitigated")),
        (4003, json!({}), 5, Some("not_mitigated")),
        (2001, json!({ "globalStatus": "success" }), 1, Some("mitigated")),
        (2001, json!({ "globalStatus": "failed" }), 1, None),
        (2008, json!({}), 8, Some("not_mitigated")),
        (4008, json!({ "newStatus": "Marked as benign" }), 1, Some("marked_as_benign")),
        (3608, json!({ "severity": "Critical" }), 10, None),
        (3608, json!({ "severity": "E_LOW" }), 3, None),
        (3608, json!({ "severity": "E_INFO" }), 1, None),
        (3608, json!({}), 5, None),
        (27, json!({ "threatMitigationStatus": "mitigated" }), 1, None),
    ] {
        let line = cef2(&activity(activity_type, json!({}), data.clone()));
        assert!(line.contains(&format!("|eventSeverity={severity}|")), "{activity_type} {data}: {line}");
        let expected = status.map(|status| format!("threatMitigationStatus={status}"));
        let found = line.split('|').find(|part| part.starts_with("threatMitigationStatus="));
        assert_eq!(found, expected.as_deref(), "{activity_type} {data}: {line}");
    }
}

#[test]
fn a_threat_is_a_line_of_its_state() {
    let threat = |info: Json| {
        let known = json!({
            "threatId": "1", "threatName": "a.exe", "sha1": "A".repeat(40), "md5": "b".repeat(31), "storyline": "S",
            "identifiedAt": "2026-03-01T10:00:00Z", "updatedAt": "2026-03-01T11:00:00.5Z", "detectionType": "static",
            "detectionEngines": [{ "key": "reputation" }, { "title": "On-Write" }],
        });
        json!({
            "id": "1",
            "threatInfo": with(known, info),
            "agentRealtimeInfo": {
                "agentComputerName": "H", "agentOsName": "Ubuntu", "agentOsType": "linux", "agentUuid": "u-1",
                "activeThreats": 3,
                "networkInterfaces": [
                    { "name": "eth0", "physical": "AA-BB-CC-00-11-22", "inet": ["10.0.0.1", "10.0.0.2"],
                      "inet6": ["fe80::1"] },
                    { "physical": "no address", "inet": null },
                ],
            },
            "agentDetectionInfo": { "siteId": "5", "siteName": "S", "agentDomain": "corp.example" },
            "indicators": [{ "ids": [293, 88] }, { "ids": [88] }],
        })
    };
    for (info, activity_type, time) in [
        (json!({ "confidenceLevel": "malicious", "mitigationStatus": "not_mitigated" }), 19, "10:00:00.000000"),
        (json!({ "confidenceLevel": "suspicious" }), 4003, "10:00:00.000000"),
        (json!({ "mitigationStatus": "mitigated" }), 18, "11:00:00.500000"),
        (json!({ "mitigationStatus": "mitigated", "mitigatedPreemptively": true }), 20, "10:00:00.000000"),
        (json!({ "mitigationStatus": "mitigated", "incidentStatus": "resolved" }), 21, "11:00:00.500000"),
    ] {
        let line = line_of(&threat(info.clone()), Dialect::Cef2, Stream::Threats);
        assert!(line.ends_with(&format!("|activityType={activity_type}")), "{info}: {line}");
        assert!(line.contains(&format!("|rt=2026-03-01 {time}|")), "{info}: {line}");
        assert!(!line.contains("activityID="), "{line}");
    }
    let line = line_of(&threat(json!({ "confidenceLevel": "malicious" })), Dialect::Cef2, Stream::Threats);
    for part in [
        "|Ubuntu|rt=",
        &format!("|fileHash={}|", "a".repeat(40)),
        "|sourceFqdn=H.corp.example|sourceThreatCount=3|",
        "|sourceAddress=10.0.0.1|sourceNetInterfaceName=eth0|sourceMacAddress=aa:bb:cc:00:11:22|",
        "|sourceIpAddresses=['10.0.0.1', 'fe80::1', '10.0.0.2']|sourceMacAddresses=['aa:bb:cc:00:11:22']|",
        "|threatDetectingEngine=reputation,On-Write|threatClassifier=static|",
        "|threatIndicatorsList=[88, 293]",
        "|notificationScope=SITE|siteId=5|siteName=S|",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("fileHashMd5="), "31 digits are no MD5: {line}");
}

const CEF_HEADER: &str = r"^CEF:0(\|([^|\\]|\\.)*){6}\|";

/// Returns the keys of a line, as its readers split them.
fn parts(line: &str, dialect: Dialect) -> Vec<(String, String)> {
    match dialect {
        Dialect::Cef => {
            let pattern = Regex::new(r"(?:^| )([A-Za-z0-9]+)=").unwrap();
            let header = Regex::new(CEF_HEADER).unwrap();
            let extension = &line[header.find(line).unwrap().end()..];
            // An escaped `=` begins no value.
            let begins: Vec<_> = pattern.captures_iter(extension).map(|found| found.get(1).unwrap()).collect();
            begins.iter().map(|key| (key.as_str().to_owned(), extension[key.end() + 1..].to_owned())).collect()
        }
        Dialect::Cef2 => {
            let parts = line.split('|').skip(3).filter_map(|part| part.split_once('='));
            parts.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        }
    }
}

/// Values are an attacker's. None sets a key, a type, or begins a line.
#[test]
fn no_value_forges_a_key_a_type_or_a_line() {
    let header = Regex::new(CEF_HEADER).unwrap();
    let marker = Regex::new(r"CEF:\s*\d").unwrap();
    let leaves = |record: &mut Json, value: &str| {
        for (key, leaf) in record.as_object_mut().unwrap() {
            if key == "data" {
                for (_, leaf) in leaf.as_object_mut().unwrap() {
                    *leaf = json!(value);
                }
            } else if !["activityType", "createdAt"].contains(&key.as_str()) {
                *leaf = json!(value);
            }
        }
    };
    for hostile in [
        "a|threatMitigationStatus=mitigated|activityType=4020",
        "activityType=18",
        "threatMitigationStatus=mitigated",
        "a activityType=18",
        "CEF:0|SentinelOne|Mgmt|x|18|forged|1|activityType=18",
        "CEF: 2|a",
        "CEF:\u{a0}0|a",
        "CEF:\u{661}|a",
        "CEF:\u{0}\u{2028}2|a",
        "=",
        "\\",
        "\\|activityType=18",
        "a\ractivityType=18",
        "a\n<14>2026-03-01 10:20:30,123 sentinel - CEF:0|SentinelOne|Mgmt|x|18|forged|1|activityType=18",
        "a\u{0}b\u{85}c\u{2028}d\u{2029}e",
    ] {
        for activity_type in [19, 23, 27, 2030, 4008, 3608, 5125, 5232, 99_999] {
            let mut record = activity(activity_type, json!({ "agentId": "1", "groupName": "g", "threatId": "2" }), {
                let keys = "computerName osName osType byUser username email fileContentHash fileDisplayName filePath \
                            oldValue newValue noteText confidenceLevel threatClassification newStatus ruleName role \
                            deviceName processName agentipv4 uuid escapedMaliciousProcessArguments ipAddress";
                keys.split_whitespace()
                    .map(|key| (key.to_owned(), json!("x")))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            });
            leaves(&mut record, hostile);
            for dialect in [Dialect::Cef, Dialect::Cef2] {
                let line = line_of(&record, dialect, Stream::Activities);
                let types: Vec<_> =
                    parts(&line, dialect).into_iter().filter(|(key, _)| key == "activityType").collect();
                let is_own = |value: &str| value.split([' ', '|']).next() == Some(&activity_type.to_string());
                assert!(types.len() == 1 && is_own(&types[0].1), "{hostile:?} {dialect:?}: {types:?} in {line}");
                // Some readers look for a key anywhere.
                let header = match dialect {
                    Dialect::Cef => header.find(&line).unwrap().as_str(),
                    Dialect::Cef2 => line.split('|').nth(3).unwrap(),
                };
                assert!(!header.contains('='), "{hostile:?} {dialect:?}: {header}");
                let statuses = parts(&line, dialect).into_iter().filter(|(key, _)| key == "threatMitigationStatus");
                assert!(statuses.count() <= 1, "{hostile:?} {dialect:?}: {line}");
                assert!(!line.contains(|character: char| character.is_control()), "{hostile:?}: {line:?}");
                assert!(!line.contains(['\u{2028}', '\u{2029}']), "{hostile:?}: {line:?}");
                assert_eq!(marker.find_iter(&line).count(), 1, "{hostile:?}: {line}");
            }
        }
    }
}

/// The conditions of public readers, over many types: how they recognise a line, a name, a type and a time.
#[test]
fn each_type_meets_the_conditions_of_its_readers() {
    let empty_value = Regex::new(r"=( |\||$)").unwrap();
    let cef0 = [
        // A part after the product, two parts before the name.
        r"^CEF:0\|SentinelOne\|Mgmt\|[^|]+\|-?\d+\|[^|]+\|\d+\|",
        r" activityType=\d+( |$)",
        r" notificationScope=(SITE|ACCOUNT|GLOBAL)( |$)",
        r"(^| |\|)rt=(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}|#arcsightDate\([A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4}, \d\d:\d\d:\d\d UTC\)) ",
        r"( |\|)cat=SystemEvent ",
    ];
    let cef2 = [
        r"^CEF:2\|SentinelOne\|Mgmt\|",
        r"\|activityType=\d+$",
        r"\|eventID=\d+\|eventDesc=[^|]+\|eventSeverity=\d+\|",
        r"\|rt=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\|",
        r"\|cat=[A-Z]+\|",
    ];
    let types: Vec<i64> =
        (1..200).chain(1_000..1_010).chain(2_000..2_040).chain(3_000..4_200).chain(5_000..5_300).collect();
    for (dialect, expressions) in [(Dialect::Cef, cef0), (Dialect::Cef2, cef2)] {
        let expressions = expressions.map(|expression| Regex::new(expression).unwrap());
        for activity_type in types.iter().copied() {
            for data in [json!({}), json!({ "computerName": "H", "username": "u", "filePath": "/a" })] {
                let line = line_of(&activity(activity_type, json!({}), data), dialect, Stream::Activities);
                for expression in &expressions {
                    assert!(expression.is_match(&line), "{expression}: {line}");
                }
                assert!(!line.contains("None") && !empty_value.is_match(&line), "{line}");
            }
        }
    }
}

/// `activities.include: [threat]` has put the threat into the record.
#[test]
fn a_fetched_threat_adds_keys_and_replaces_none() {
    let threat = json!({
        "threatInfo": {
            "sha1": "a".repeat(40), "sha256": "b".repeat(64), "storyline": "S1", "detectionType": "static",
            "detectionEngines": [{ "key": "reputation", "title": "Reputation" }, { "key": "pre_execution" }],
            "processUser": "ACME\\grace", "identifiedAt": "2026-03-01T10:20:29.000001Z",
        },
        "agentDetectionInfo": {
            "agentUuid": "u-1", "agentVersion": "24.1.2", "agentOsName": "Windows 10", "agentIpV4": "10.14.52.159",
            "agentIpV6": "fe80::1", "agentLastLoggedInUserName": "grace",
        },
        "indicators": [{ "ids": [293, 88] }],
    });
    let with_threat = |record: Json| with(record, json!({ "_enrichment": { "threat": threat } }));
    let verdict = || activity(2030, json!({ "agentId": "1" }), json!({ "osName": "Windows 11" }));
    let record = with_threat(verdict());
    let line = cef2(&record);
    for wanted in [
        "|Windows 11|",
        "|threatDetectingEngine=reputation,pre_execution|threatClassifier=static|",
        "|threatStoryline=S1|threatDetectionTime=2026-03-01 10:20:29.000001|threatIndicatorsList=[88, 293]|",
        "|threatProcessUser=ACME\\grace|",
        "|sourceIpAddresses=['10.14.52.159', 'fe80::1']|",
        "|originatorVersion=24.1.2|",
        "|sourceUserName=grace|",
    ] {
        assert!(line.contains(wanted), "{wanted}: {line}");
    }
    let without = parts(&cef2(&verdict()), Dialect::Cef2);
    let with = parts(&line, Dialect::Cef2);
    for entry in &without {
        assert!(with.contains(entry), "{entry:?} is the activity's own: {line}");
    }
    assert!(with.len() > without.len() + 10 && !line.contains("threatMitigationStatus"), "{line}");
    // Exabeam's parser of CEF:2 recognises a line by these three.
    let detection = cef2(&with_threat(detection()));
    for key in ["|threatClassification=", "|threatDetectingEngine=", "|threatClassifier="] {
        assert!(detection.contains(key), "{key}: {detection}");
    }
}

#[test]
fn a_long_line_keeps_what_is_exact() {
    let long = "word ".repeat(4_000);
    let mut record = detection();
    for key in ["filePath", "escapedMaliciousProcessArguments", "newValue", "fileDisplayName", "computerName"] {
        record["data"][key] = json!(long);
    }
    for dialect in [Dialect::Cef, Dialect::Cef2] {
        let origin = origin(dialect, Stream::Activities);
        let line = line_in(&record, &origin, 8_192).unwrap();
        assert!(line.len() <= 8_192 && line.len() > 8_000, "{}", line.len());
        for exact in [
            "fileHash=3395856ce81f2b7382dee72602f798b642f14140",
            "activityID=2541463874708701677",
            "activityType=19",
            "rt=2026-03-01 10:20:30.123456",
            "…",
        ] {
            assert!(line.contains(exact), "{exact}: {line}");
        }
        let shortest = line_in(&record, &origin, 100);
        assert!(matches!(shortest, Err(least) if least < 2_000), "{shortest:?}");
    }
}

/// A value that is too long for an id is shortened like a text, and a status must be a word.
#[test]
fn one_long_value_is_shortened() {
    let mut record = detection();
    record["data"]["uuid"] = json!("u".repeat(20_000));
    let status = activity(4008, json!({}), json!({ "newStatus": "s".repeat(9_000) }));
    for record in [record, status] {
        for dialect in [Dialect::Cef, Dialect::Cef2] {
            let line = line_in(&record, &origin(dialect, Stream::Activities), 8_192).unwrap();
            assert!(line.len() <= 8_192 && !line.contains("threatMitigationStatus=s"), "{line}");
        }
    }
}

#[test]
fn what_is_no_value_has_no_key() {
    let data = json!({ "computerName": "\u{0}\u{0}", "ipAddress": "None", "profileUuids": ["1800"] });
    let record = activity(5125, json!({ "createdAt": "9999-12-31T23:59:59.999999Z" }), data);
    let line = cef2(&record);
    for key in ["sourceHostName=", "ip=", "rt="] {
        assert!(!line.contains(&format!("|{key}")), "{key} in {line}");
    }
    assert!(line.contains(r#"|endpointDeviceControlBluetoothProfileUuids=["1800"]|"#), "{line}");
    let words = json!({ "confidenceLevel": "Suspicious" });
    assert!(cef2(&activity(4003, json!({}), words)).contains("|threatMitigationStatusLabel=suspicious|"));
}

#[test]
fn a_record_without_a_type_has_no_line() {
    for record in [
        json!({ "id": "1" }),
        json!([1]),
        json!({ "activityType": "x" }),
        json!({ "activityType": null }),
        json!({ "activityType": "019" }),
    ] {
        let record = record.to_string();
        let origin = origin(Dialect::Cef, Stream::Activities);
        assert!(Notification::of(Value::new(&record), &origin).is_none(), "{record}");
    }
}

fn unified_alert() -> Json {
    json!({
        "id": "019d114e-e4f4-7ad6-82c3-9829b6d0a801",
        "name": "avm.exe detected as Malware",
        "description": "An attempt to exploit the kernel.",
        "severity": "CRITICAL",
        "status": "NEW",
        "analystVerdict": "UNDEFINED",
        "classification": "MALWARE",
        "confidenceLevel": "MALICIOUS",
        "detectedAt": "2026-03-21T16:51:06.684Z",
        "firstSeenAt": "2026-03-21T16:51:06.684Z",
        "updatedAt": "2026-03-21T16:51:18.468Z",
        "storylineId": "21932D9A857726BC",
        "result": "UNMITIGATED",
        "analytics": { "category": "Reputation" },
        "detectionSource": { "product": "EDR", "vendor": "SentinelOne" },
        "assets": [
            { "name": "other", "primary": false },
            { "name": "w19sns", "primary": true, "category": "Server", "agentUuid": "10c5fa27",
              "lastLoggedInUser": "None" },
        ],
        "process": {
            "parentName": "explorer.exe",
            "file": {
                "name": "avm.exe", "path": r"C:\Temp\avm.exe", "sha1": "3395856ce81f2b7382dee72602f798b642f14140",
                "sha256": null,
            },
        },
        "detectionTime": { "scope": { "accountName": "As it was", "siteId": "7", "groupName": "Servers" } },
        "realTime": { "scope": { "account": { "id": "5", "name": "Acme" }, "site": null } },
    })
}

fn alert_line(record: &Json, room: usize) -> Result<String, usize> {
    line_in(record, &origin(Dialect::Cef2, Stream::UnifiedAlerts), room)
}

/// The endpoint is the primary asset, and the scope is the current one.
#[test]
fn a_unified_alert_has_the_type_and_the_keys_that_the_console_has_for_it() {
    assert_eq!(
        alert_line(&unified_alert(), usize::MAX).unwrap(),
        "CEF:2|SentinelOne|Mgmt|16000|alertId=019d114e-e4f4-7ad6-82c3-9829b6d0a801|\
         alertName=avm.exe detected as Malware|description=An attempt to exploit the kernel.|severity=CRITICAL|\
         detectionEngine=Reputation|product=EDR|vendor=SentinelOne|detectedAt=2026-03-21T16:51:06.684Z|\
         firstSeenAt=2026-03-21T16:51:06.684Z|classification=MALWARE|confidenceLevel=MALICIOUS|status=NEW|\
         analystVerdict=UNDEFINED|mitigationStatus=UNMITIGATED|assetName=w19sns|assetCategory=Server|\
         sourceAgentUuid=10c5fa27|fileProcessName=avm.exe|filePath=C:\\Temp\\avm.exe|\
         fileHash=3395856ce81f2b7382dee72602f798b642f14140|originatingProcessName=explorer.exe|\
         storylineId=21932D9A857726BC|accountId=5|accountName=Acme|siteId=7|groupName=Servers"
    );
    let mut one = unified_alert();
    one["assets"].as_array_mut().unwrap().pop();
    assert!(alert_line(&one, usize::MAX).unwrap().contains("|assetName=other|"));
    let record = unified_alert().to_string();
    let origin = origin(Dialect::Cef2, Stream::UnifiedAlerts);
    let time = Notification::of(Value::new(&record), &origin).unwrap().time();
    assert_eq!(time, Timestamp::parse("2026-03-21T16:51:06.684Z").ok());
    for record in [json!({ "id": null, "name": "n" }), json!([]), json!({ "id": "" })] {
        assert!(Notification::of(Value::new(&record.to_string()), &origin).is_none(), "{record}");
    }
}

#[test]
fn a_unified_alert_forges_no_key_and_keeps_its_id_when_it_is_shortened() {
    let mut record = unified_alert();
    record["name"] = json!("x|severity=LOW|CEF:2|SentinelOne|Mgmt|4020|\nactivityType=4020");
    record["description"] = json!("d".repeat(9_000));
    record["process"]["file"]["path"] = json!("p".repeat(9_000));
    let line = alert_line(&record, 2_000).unwrap();
    assert!(line.len() <= 2_000 && !line.contains('\n'), "{line}");
    let parts: Vec<&str> = line.split('|').collect();
    let named = |key: &str| parts.iter().filter(|part| part.starts_with(&format!("{key}="))).count();
    assert_eq!([named("severity"), named("activityType"), named("alertId")], [1, 0, 1], "{line}");
    assert_eq!(line.matches("CEF:").count(), 1, "{line}");
    assert!(line.contains("|alertId=019d114e-e4f4-7ad6-82c3-9829b6d0a801|"), "{line}");
    assert!(matches!(alert_line(&record, 100), Err(least) if least < 2_000));
}
