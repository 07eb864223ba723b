//! Any JSON object is a record: it can be mapped, and its event keeps every leaf.

use std::collections::BTreeSet;

use proptest::prelude::*;
use s1_forwarder_mapping::Schema;
use s1_forwarder_mapping::coverage::Coverage;
use s1_forwarder_record::Stream;
use serde_json::{Map, Value, json};

use super::support::{DistinctKeys, faults, map, mapper, mapper_to, read_event, verbatim_mapper};

/// Keys of real records, so that odd values meet fields that expect other values, and unknown keys.
fn key() -> impl Strategy<Value = String> {
    let known = "id threatInfo agentDetectionInfo agentRealtimeInfo indicators mitigationStatus containerInfo kubernetesInfo \
        ecsInfo threatId createdAt updatedAt identifiedAt filePath fileSize sha1 md5 fileExtension isValidCertificate \
        fileVerificationType publisherName confidenceLevel classification engines detectionEngines agentIpV4 externalIp \
        cloudProviders AWS cloudLocation agentComputerName networkInterfaces inet physical agentDomain processUser tactics \
        techniques name link description labels image pod cluster activityType data hash osFamily userId agentId username \
        byUser email role newValue attr ipAddress computerName version port reportedLocalHost reportedDirection processId \
        alertInfo ruleInfo sourceProcessInfo targetProcessInfo alertId eventType srcIp srcPort dnsResponse loginIsSuccessful \
        pid pidStarttime fileHashMd5 user tiIndicatorType tiIndicatorValue severity osArch infected licenseKey tags site \
        registrationToken creator file_path threat_info system sourceprocesspid sourceprocessstarttime srcip dveventtype \
        detectionSource product vendor analytics assets primary agentUuid category detectionTime targetUser attacker ip host cloud \
        cloudProvider providerDetails kubernetes realTime scope account process file cmdLine attackSurfaces observables type value \
        attacks tactic technique uid cveId baseScore nvdBaseScore cvssVersion riskScore endpointName status application \
        applicationName applicationVersion daysDetected detectionDate lastScanDate firstSeenAt lastSeenAt original_severity reason \
        rulename alertid sourceprocessname sourceprocessusername tgtprocname physical originatorProcess fileDisplayName confidenceLevel \
        globalStatus newStatus exclusionType recoveryEmail fullName userScope source deviceName tgtProcName tgtProcCmdLine \
        loginsUserName srcMachineIp externalId storylineId analystVerdict typeValue cmdLine detectionType accountName scopeLevel";
    let known: Vec<&str> = known.split_whitespace().collect();
    prop_oneof![8 => prop::sample::select(known).prop_map(str::to_owned), 1 => "[a-zA-Z_.é\"\\\\]{0,6}"]
}

fn scalar() -> impl Strategy<Value = Value> {
    let typical = [
        "",
        "N/A",
        "unknown",
        "10.0.0.1",
        "10.0.0.1, ::1,300.1.1.1",
        "fe80::1%eth0",
        "2022-04-06T08:45:54.519988Z",
        "2022-04-06T08:45:54+02:00",
        "not a date",
        "CORP\\jane",
        "\\",
        "user@example.com",
        "true",
        "False",
        "70000",
        "007",
        "27",
        "3608",
        "5125",
        "5232",
        "malicious",
        "Exploit",
        "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
        "AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D",
        "T1059.001",
        "k=v",
        "registry:5000/a:1",
        "us-east-1a",
        "LOGIN",
        "FILECREATION",
        "inbound",
        "sha1",
        "not_mitigated",
        "64 bit",
        ".EXE",
        "NotSigned",
        "SignedVerified",
        "C:\\a\\b.exe",
        "\"C:\\a b\\c.exe\" -x",
        "Lateral Movement 192.0.2.3 ACME\\jane (interactive session)",
        "Effective: root, Real: jane, Login: ",
        "NT AUTHORITY\\SYSTEM",
        "PROCESSCREATION",
        "WINLOGONATTEMPT",
        "static",
        "FALSE_POSITIVE_BENIGN",
        "STAR",
    ];
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        1 => prop::sample::select(vec![27, 67, 3608, 3784, 3016, 5125, 5126, 5232, 26, 138, 23, 0, 65_536]).prop_map(Value::from),
        1 => any::<i32>().prop_map(|quarters| json!(f64::from(quarters) / 4.0)),
        6 => prop::sample::select(typical.to_vec()).prop_map(Value::from),
        2 => "\\PC{0,12}".prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
    ]
}

fn object() -> impl Strategy<Value = Value> {
    let tree = scalar().prop_recursive(5, 96, 12, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            3 => prop::collection::vec((key(), inner), 0..12)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    });
    prop::collection::vec((key(), tree), 0..12)
        .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>()))
}

/// Returns a configuration with 1,000 records, or the number in `PROPTEST_CASES`.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(1_000, |cases| cases.parse().unwrap());
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_object_maps_and_keeps_every_leaf(
        record in object(),
        stream in prop::sample::select(Stream::ALL.to_vec()),
        schema in prop::sample::select(vec![Schema::Ecs, Schema::Ocsf]),
    ) {
        let text = record.to_string();
        let mut out = Vec::new();
        let mapped = verbatim_mapper(schema, stream).map(text.as_bytes(), &mut out);
        prop_assert!(mapped.is_ok(), "{mapped:?}");
        prop_assert!(!out.contains(&b'\n'));
        let event: Value = serde_json::from_slice(&out).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let distinct = serde_json::from_slice::<DistinctKeys>(&out);
        prop_assert!(distinct.is_ok(), "{distinct:?}\n{}", String::from_utf8_lossy(&out));
        let original = if schema == Schema::Ocsf { &event["raw_data"] } else { &event["event"]["original"] };
        prop_assert_eq!(original, &Value::from(text));
        let faults = faults(schema, &event);
        prop_assert!(faults.is_empty(), "{faults:#?}\n{event:#}");
        let mut coverage = Coverage::default();
        coverage.add(schema, stream, &record, &event);
        prop_assert!(coverage.lost.is_empty(), "{:?}\n{event:#}", coverage.lost);
    }

    /// Whatever the bytes are, there is one event on one line; an error event holds them.
    #[test]
    fn any_bytes_become_one_event(bytes in prop::collection::vec(any::<u8>(), 0..40), as_object in any::<bool>()) {
        let record = if as_object { [b"{\"a\":\"", &bytes[..], b"\"}"].concat() } else { bytes };
        for stream in Stream::ALL {
            let mut out = Vec::new();
            let mapped = mapper_to(Schema::Ocsf, stream, true).map(&record, &mut out);
            prop_assert!(!out.contains(&b'\n'));
            let event: Value = serde_json::from_slice(&out).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new());
            if mapped.is_err() && !record.is_empty() {
                prop_assert_eq!(&event["raw_data"], &Value::from(String::from_utf8_lossy(&record)));
            }
            let mut out = Vec::new();
            let mapped = mapper(stream, true).map(&record, &mut out);
            prop_assert!(!out.contains(&b'\n'));
            let event: Value = serde_json::from_slice(&out).map_err(|error| TestCaseError::fail(error.to_string()))?;
            if let Err(error) = mapped {
                prop_assert_eq!(&event["event"]["kind"], "pipeline_error");
                prop_assert_eq!(&event["error"]["message"], &Value::from(error.to_string()));
                let held = event["event"]["original"].as_str().unwrap_or_default().to_owned();
                prop_assert_eq!(held, String::from_utf8_lossy(&record).into_owned());
            }
        }
    }
}

#[test]
fn repeated_keys_keep_all_their_values() {
    let record = r#"{"id":"1","id":"2","new":"3","new":"4","data":{"username":"a","username":"b","x":"c","x":"d"}}"#;
    let mut out = Vec::new();
    mapper(Stream::Activities, false).map(record.as_bytes(), &mut out).unwrap();
    let event: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(event["event"]["id"], "1");
    let own = &event["sentinel_one"]["activity"];
    assert_eq!((&own["id"], &own["new"], &own["new_2"]), (&json!("2"), &json!("3"), &json!("4")));
    assert_eq!(event["user"]["name"], "a");
    assert_eq!(own["data"]["flattened"], json!({"username": "b", "x": "c", "x_2": "d"}));
}

#[test]
fn an_id_that_is_no_text_does_not_repeat_the_name_of_the_id() {
    for (id, kept) in [(json!(["x"]), json!(["x"])), (json!({"a": 1}), Value::Null), (json!("N/A"), json!("N/A"))] {
        let event = map(Stream::Threats, &json!({"id": id, "threatInfo": {"threatId": "5"}}));
        let own = &event["sentinel_one"]["threat"];
        assert_eq!((&event["event"]["id"], &own["id"], &own["original_id"]), (&json!("5"), &json!("5"), &kept));
    }
    let event = map(Stream::Threats, &json!({"id": "N/A", "originalId": "1", "threatInfo": {"threatId": "none"}}));
    let own = &event["sentinel_one"]["threat"];
    assert_eq!((&own["id"], &own["original_id"], &own["original_id_2"]), (&Value::Null, &json!("N/A"), &json!("1")));
    assert_eq!(own["threat_info"]["threat_id"], "none");
}

/// An unknown key never gets a name that an object of the vendor namespace has in some events.
#[test]
fn an_unknown_key_takes_no_name_of_the_vendor_object() {
    let of_threats =
        json!({"severity": 1, "name": 2, "detection": 3, "notes": 4, "timelineCount": 5, "enrichmentError": 6});
    let cases = [
        (Stream::Threats, of_threats),
        (Stream::Activities, json!({"severity": 1, "type": 2, "agent": 3, "site": 4})),
        (Stream::Alerts, json!({"severity": 1, "id": 2, "agent": 3, "site": 4})),
        (Stream::Agents, json!({"severity": 1, "agent": 2, "site": 3})),
        (Stream::Groups, json!({"severity": 1, "site": 2})),
        (Stream::UnifiedAlerts, json!({"originalSeverity": 1, "site": 2})),
        (Stream::Vulnerabilities, json!({"originalSeverity": 1, "site": 2})),
    ];
    assert_eq!(cases.iter().map(|(stream, _)| *stream).collect::<BTreeSet<_>>(), Stream::ALL.into());
    for (stream, unknown) in cases {
        let own = &map(stream, &unknown)["sentinel_one"][stream.singular()];
        let taken: Vec<&String> = own.as_object().unwrap().keys().filter(|name| name.ends_with("_2")).collect();
        assert_eq!(taken.len(), unknown.as_object().unwrap().len(), "{stream}: {own:#}");
    }
}

#[test]
fn what_is_too_deep_is_in_a_text() {
    for depth in [100, 120, 121, 1_000_000] {
        let record = format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        let mut out = Vec::new();
        let mapped = mapper(Stream::Groups, false).map(record.as_bytes(), &mut out);
        let overflow = read_event(&out)["sentinel_one"]["group"]["overflow"].clone();
        let rest = format!("{}1{}", "[".repeat(depth.saturating_sub(120)), "]".repeat(depth.saturating_sub(120)));
        // A part that is itself too deep is a text in the text.
        let rest = if depth > 1_000 { format!("\"{rest}\"") } else { rest };
        let cut = (depth > 120).then(|| format!("{{\"a\":{rest}}}"));
        assert_eq!((mapped.unwrap().overflowed, overflow), (depth > 120, json!(cut)), "{depth}");
    }
}

/// Engines in a form that the console's documentation does not have.
#[test]
fn engines_of_another_form_are_kept() {
    for engines in [json!(false), json!("SentinelOne Cloud"), json!({ "key": "a" }), json!([["a"]]), json!([7, null])] {
        for key in ["engines", "detectionEngines"] {
            let record = json!({ "threatInfo": { (key): engines } });
            let mut out = Vec::new();
            mapper_to(Schema::Ocsf, Stream::Threats, false).map(record.to_string().as_bytes(), &mut out).unwrap();
            let event: Value = serde_json::from_slice(&out).unwrap();
            let mut coverage = Coverage::default();
            coverage.add(Schema::Ocsf, Stream::Threats, &record, &event);
            assert!(coverage.lost.is_empty(), "{key} {engines}: {:?}\n{event:#}", coverage.lost);
        }
    }
}
