//! A whole event for each kind of activity that has its own fields.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::schema;
use super::support::{faults, map, map_to};

/// Returns an activity with the fields that all activities have; `fields` replaces some of them.
fn activity(number: u32, fields: Value, data: Value) -> Value {
    let mut record = json!({
        "accountId": "225494730938493800", "accountName": "Acme", "activityType": number, "activityUuid": null,
        "agentId": null, "agentUpdatedVersion": null, "comments": null, "createdAt": "2026-03-01T10:20:30.123456Z",
        "data": data, "description": null, "groupId": null, "groupName": null, "hash": null, "id": "1100000000000000001",
        "osFamily": null, "primaryDescription": "What happened.", "secondaryDescription": "", "siteId": null,
        "siteName": null, "threatId": null, "updatedAt": "2026-03-01T10:20:30.120000Z", "userId": null
    });
    for (key, value) in fields.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

fn of_agent() -> Value {
    json!({"agentId": "1200000000000000002", "siteId": "225494730938493801", "siteName": "Site", "groupId": "225494730938493802",
        "groupName": "Default Group"})
}

fn of_user() -> Value {
    json!({"userId": "1300000000000000003"})
}

#[test]
fn each_kind_with_fields_of_its_own() {
    let cases = [
        (
            "login",
            activity(
                27,
                of_user(),
                json!({"username": "jane@acme.example", "fullName": "Jane Doe", "ipAddress": "198.51.100.7", "role": "Admin",
                    "source": "sso", "scopeLevel": "Account", "scopeName": "Acme", "siteName": null}),
            ),
        ),
        (
            "failed-login",
            activity(
                133,
                json!({"userId": "1300000000000000003", "comments": "invalid 2FA code"}),
                json!({"username": "jane", "ipAddress": "198.51.100.7", "reason": "Invalid credentials"}),
            ),
        ),
        ("login-of-unknown-name", activity(138, json!({"primaryDescription": "Jane failed to log in."}), json!({}))),
        (
            "user-added",
            activity(
                23,
                of_user(),
                json!({"byUser": "ACME\\jane", "username": "john@acme.example", "userId": "1300000000000000009", "role": "Viewer",
                    "roleName": "SOC", "email": "ignored@acme.example"}),
            ),
        ),
        (
            "user-changed",
            activity(
                24,
                of_user(),
                json!({"byUser": "jane", "username": "john", "newValue": "new@acme.example", "attr": "email", "oldValue": "old"}),
            ),
        ),
        (
            "user-changed-by-object",
            activity(
                24,
                of_user(),
                json!({"username": "jane", "newValue": {"fullName": "Jane D.", "role": "Admin", "x": 1}}),
            ),
        ),
        (
            "second-factor-off",
            activity(67, of_user(), json!({"byUser": "jane", "username": "john", "newValue": false})),
        ),
        (
            "new-threat",
            activity(
                19,
                json!({"agentId": "1200000000000000002", "threatId": "1400000000000000004"}),
                json!({"computerName": "web-1", "confidenceLevel": "suspicious", "threatClassification": "Exploit",
                    "threatClassificationSource": "Cloud", "filePath": "\\Device\\HarddiskVolume2\\a\\b.exe",
                    "fileContentHash": "02699626F388ED830012E5B787640E71C56D42D8", "username": null,
                    "escapedMaliciousProcessArguments": "b.exe -x \"y\""}),
            ),
        ),
        (
            "mitigation-report",
            activity(
                2004,
                json!({"agentId": "1200000000000000002", "threatId": "1400000000000000004", "hash": "02699626f388ed830012e5b787640e71c56d42d8"}),
                json!({"computerName": "web-1", "fileContentHash": "02699626f388ed830012e5b787640e71c56d42d8", "fileDisplayName": "b.exe",
                    "filePath": "/opt/b.exe", "globalStatus": "success", "downloadUrl": "/threats/mitigation-report"}),
            ),
        ),
        (
            "agent-updated",
            activity(
                43,
                json!({"agentId": "1200000000000000002", "agentUpdatedVersion": "23.1.2", "osFamily": "windows_legacy"}),
                json!({"computerName": "web-1", "newAgentVersion": "23.4.5", "osFamily": "windows_legacy"}),
            ),
        ),
        ("console-updated", activity(26, json!({}), json!({"version": "W#42"}))),
        (
            "command-of-the-system",
            activity(
                71,
                of_agent(),
                json!({"computerName": "web-1", "externalIp": "203.0.113.9", "ipAddress": "10.1.2.3", "system": true, "uuid": "ff81"}),
            ),
        ),
        (
            "device-blocked",
            activity(
                5125,
                of_agent(),
                json!({"computerName": "web-1", "deviceName": "Flash Disk", "vendorId": "0951", "productId": "1666", "serial": "E0D5",
                    "uId": "0951:1666:E0D5", "deviceClass": "08h", "interface": "USB", "eventType": "connected", "osType": "windows",
                    "lastLoggedInUserName": "ACME\\jane", "ruleId": 77, "ruleName": "no sticks", "version": "1.0",
                    "eventTime": "2026-03-01T10:20:29.5Z"}),
            ),
        ),
        (
            "firewall-inbound",
            activity(
                5232,
                of_agent(),
                json!({"reportedLocalHost": "10.0.0.1", "reportedLocalPort": "445", "reportedRemoteHost": "192.0.2.7",
                    "reportedRemotePort": 50000, "reportedProtocol": "TCP", "reportedDirection": "inbound", "processId": "4",
                    "application": "C:\\Windows\\System32\\svchost.exe", "processName": "svchost.exe", "ruleId": "1", "ruleName": "block smb"}),
            ),
        ),
        (
            "firewall-outbound",
            activity(
                5232,
                of_agent(),
                json!({"localHost": "web-1", "remoteHost": "192.0.2.7", "port": 99999, "protocol": "udp", "direction": "outbound",
                    "application": "/usr/bin/curl"}),
            ),
        ),
        (
            "rule-hit",
            activity(
                3608,
                of_agent(),
                json!({"accountname": "Acme", "agentipv4": "10.1.2.3", "alertid": "1500000000000000005", "detectedat": 1_772_360_429_000_i64,
                    "dnsrequest": "evil.example", "dnsresponse": "198.51.100.1;alias.example", "dstip": "198.51.100.1", "dstport": 53,
                    "dveventtype": "DNS", "externalip": "203.0.113.9", "k8sclustername": "prod", "k8scontainerid": "abc",
                    "k8scontainerimage": "registry:5000/app:v1", "k8scontainerlabels": "a=b", "k8spod": "app-1", "k8snamespace": "shop",
                    "loginsusername": "", "neteventdirection": "OUTGOING", "origagentmachinetype": "server", "origagentname": "web-1",
                    "origagentosfamily": "linux", "origagentosname": "Ubuntu", "origagentosrevision": "22.04",
                    "origagentsiteid": "225494730938493801", "origagentuuid": "ff81", "origagentversion": "23.4.5",
                    "ruledescription": "Bad names", "ruleid": "1600000000000000006", "rulename": "dns rule", "severity": "E_HIGH",
                    "sourceprocessname": "curl", "sourceprocesspid": 4321, "sourceprocesscommandline": "curl evil.example",
                    "sourceprocessfilepath": "/usr/bin/curl", "sourceprocessmd5": "5d41402abc4b2a76b9719d911017c592",
                    "sourceprocesskey": "AB12", "sourceprocessstarttime": 1_772_360_428_123_i64, "sourceprocessusername": "ACME\\jane",
                    "sourceparentprocessname": "bash", "sourceparentprocesspid": "99999999999999999999", "tgtfileissigned": "",
                    "tiindicatortype": "DNS", "tiindicatorvalue": "evil.example", "tiindicatorsource": "feed"}),
            ),
        ),
        (
            "block-list",
            activity(
                3006,
                json!({"hash": "6a264eda96e766b41bc14a3c9e9", "osFamily": "macos"}),
                json!({"fileContentHash": "6a264eda96e766b41bc14a3c9e9", "osFamily": "macos", "description": "cloud", "username": "unknown"}),
            ),
        ),
        (
            "policy",
            activity(
                116,
                of_user(),
                json!({"username": "jane", "newValue": {"a": [true, null]}, "policy": {"id": "1"}, "policyName": "p", "changedKeys": ["x"],
                    "accountId": 225494730938493800_i64}),
            ),
        ),
        ("of-a-known-number", activity(2017, of_agent(), json!({"computerName": "web-1"}))),
        ("of-unknown-type", activity(99_999, of_user(), json!({"username": "jane"}))),
        (
            "of-unknown-type-with-uncertain-words",
            activity(
                99_999,
                json!({"primaryDescription": "Jane created and modified a thing."}),
                json!({"username": "jane"}),
            ),
        ),
        ("of-unknown-type-about-an-agent", activity(99_999, of_agent(), Value::Null)),
        ("with-odd-data", activity(27, of_user(), json!("text"))),
        ("without-type", json!({"id": 7, "createdAt": "2026-03-01T12:20:30+02:00", "activityType": "many"})),
    ];
    for (name, record) in cases {
        let event = map(Stream::Activities, &record);
        assert_eq!(schema::faults(&event), Vec::<String>::new(), "{name}");
        insta::assert_snapshot!(name, format!("{event:#}"));
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{name}: {event:#}");
        insta::assert_snapshot!(format!("ocsf-{name}"), format!("{event:#}"));
    }
}

#[test]
fn unknown_types_are_reported() {
    use super::support::mapper;
    let mut mapper = mapper(Stream::Activities, false);
    let mut unknown = |record: &str| mapper.map(record.as_bytes(), &mut Vec::new()).unwrap().unknown_activity;
    assert!(!unknown(r#"{"activityType":27}"#) && !unknown(r#"{"activityType":"3608","data":{}}"#));
    assert!(unknown(r#"{"activityType":99999}"#) && unknown(r#"{"activityType":2017}"#) && unknown("{}"));
}
