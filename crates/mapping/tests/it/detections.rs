//! Detections: the matched event, the outcome of the threat, and its origin.

use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::schema;
use super::support::{assert_fields, at, map};

/// The categories and types of an alert in addition to `intrusion_detection` and `info`, and its outcome.
fn class(alert: &Value) -> (String, String, Value) {
    let event = map(Stream::Alerts, alert);
    assert_eq!(schema::faults(&event), Vec::<String>::new(), "{alert}");
    let words = |name| -> Vec<String> {
        at(&event, name).as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let categories = words("event.category");
    let types = words("event.type");
    assert_eq!((categories[0].as_str(), types[0].as_str()), ("intrusion_detection", "info"));
    (categories[1..].join(" "), types[1..].join(" "), at(&event, "event.outcome").clone())
}

/// The types that the console's API lists, and the types in alerts of public products.
#[test]
fn an_alert_is_of_the_kind_of_the_event_that_was_hit() {
    for (event_types, category, kind) in [
        ("PROCESSCREATION,Process Creation", "process", "start"),
        ("PROCESSEXIT,Process Exit,PROCESSTERMINATION", "process", "end"),
        ("PROCESSMODIFICATION,Process Modification", "process", "change"),
        ("REMOTETHREAD,Remote Thread Creation,Remote Process Termination", "process", "change"),
        ("OPENPROCESS,Open Remote Process Handle,CROSSPROCESS", "process", "access"),
        ("DUPLICATEPROCESS,Duplicate Process Handle,Duplicate Thread Handle,DUPLICATETHREAD", "process", "access"),
        ("SCRIPTS,COMMANDSCRIPT,Command Script", "process", "start"),
        ("PROCESSSOMETHING", "process", ""),
        ("FILECREATION,File Creation,Named Pipe Creation", "file", "creation"),
        ("FILEMODIFICATION,File Modification,FILERENAME,File Rename", "file", "change"),
        ("FILEDELETION,File Deletion", "file", "deletion"),
        ("FILESCAN,File Scan,Named Pipe Connection", "file", "access"),
        ("FILESOMETHING", "file", ""),
        ("TCPV4,TCPV6,TCPV4LISTEN,TCPV6LISTEN,IP Connect,IP Listen,Network Connection", "network", "connection"),
        ("dns,DNS Resolved,DNS Unresolved", "network", "protocol"),
        ("HTTP,URL,GET,POST,PUT,DELETE,HEAD,OPTIONS,CONNECT", "network web", "protocol access"),
        (
            "REGISTRYKEYCREATE,REGKEYCREATE,Registry Key Create,REGVALUECREATE,Registry Value Create",
            "registry",
            "creation",
        ),
        ("REGISTRYVALUEMODIFIED,REGVALUEMODIFIED,Registry Value Modified", "registry", "change"),
        ("REGKEYRENAME,REGKEYIMPORT,REGKEYSECURITYCHANGED,Registry Key Security Changed", "registry", "change"),
        ("REGKEYDELETE,REGVALUEDELETE,Registry Value Delete", "registry", "deletion"),
        ("REGKEYEXPORT,Registry Key Export,REGISTRYACTION", "registry", "access"),
        ("SCHEDTASKREGISTER,Task Register,SCHEDTASKCREATE", "configuration", "creation"),
        ("SCHEDTASKUPDATE,Scheduled Task Update", "configuration", "change"),
        ("SCHEDTASKDELETE,Task Delete", "configuration", "deletion"),
        ("SCHEDTASKSTART,SCHEDTASKTRIGGER,Task Trigger", "configuration", ""),
        ("MODULE,MODULELOAD,Module Load", "library", "start"),
        ("DRIVERLOAD,Driver Load", "driver", "start"),
        ("BEHAVIORALINDICATORS,Behavioral Indicators,MALICIOUSFILE,Pre Execution Detection", "malware", ""),
        ("LOGIN,LOGINS,WINLOGONATTEMPT", "authentication", "start"),
        ("LOGOUT,Logoff", "authentication", "end"),
        ("something else,Not Reported", "", ""),
    ] {
        for event_type in event_types.split(',') {
            let alert = json!({"alertInfo": {"eventType": event_type}, "targetProcessInfo": {"tgtProcName": "a.exe"}});
            assert_eq!(class(&alert), (category.to_owned(), kind.to_owned(), Value::Null), "{event_type}");
        }
    }
}

#[test]
fn a_login_is_one_whatever_its_type_is_called() {
    for event_type in ["LOGIN", "WINLOGONATTEMPT", "Anmeldung", ""] {
        let event = map(
            Stream::Alerts,
            &json!({"alertInfo": {"eventType": event_type, "loginsUserName": "bob", "loginIsSuccessful": "False",
                "srcMachineIp": "10.9.9.9", "srcIp": "10.0.0.1", "loginAccountDomain": "-"}}),
        );
        assert_fields(
            &event,
            &[
                ("event.category", json!(["intrusion_detection", "authentication"])),
                ("event.type", json!(["info", "start"])),
                ("event.outcome", json!("failure")),
                ("source.ip", json!("10.9.9.9")),
                ("host.ip", Value::Null),
                ("related.ip", json!(["10.9.9.9", "10.0.0.1"])),
                ("user", json!({"name": "bob"})),
            ],
        );
    }
    let hit = json!({"activityType": 3608, "data": {"dveventtype": "WINLOGONATTEMPT", "loginissuccessful": "False",
        "loginsusername": "bob", "srcmachineip": "10.9.9.9"}});
    let hit = map(Stream::Activities, &hit);
    assert_fields(
        &hit,
        &[("event.outcome", json!("failure")), ("source.ip", json!("10.9.9.9")), ("host.ip", Value::Null)],
    );
    let unknown = json!({"alertInfo": {"eventType": "DNS", "loginType": "unknown", "loginsUserName": "N/A"}});
    assert_eq!(class(&unknown), ("network".to_owned(), "protocol".to_owned(), Value::Null));
    let logout = json!({"alertInfo": {"eventType": "LOGOUT", "loginIsSuccessful": "true", "loginsUserName": "bob"}});
    assert_eq!(class(&logout), ("authentication".to_owned(), "end".to_owned(), json!("success")));
}

#[test]
fn the_machine_of_an_event_that_is_no_login_is_only_related() {
    let event = map(Stream::Alerts, &json!({"alertInfo": {"eventType": "TCPV4", "srcMachineIp": "10.9.9.9"}}));
    assert_fields(&event, &[("host", Value::Null), ("source", Value::Null), ("related.ip", json!(["10.9.9.9"]))]);
}

#[test]
fn a_started_process_is_the_process_and_its_creator_the_parent() {
    let sha1 = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    let mut alert = json!({
        "alertInfo": {"eventType": "PROCESSCREATION"},
        "sourceProcessInfo": {"name": "powershell.exe", "pid": "2", "user": "ACME\\jane"},
        "sourceParentProcessInfo": {"name": "explorer.exe", "pid": "1", "fileHashSha1": sha1},
        "targetProcessInfo": {"tgtProcName": "conhost.exe", "tgtProcPid": "3", "tgtProcUid": "u3",
            "tgtProcImagePath": "C:\\Windows\\conhost.exe", "tgtProcCmdLine": "conhost.exe 0xf",
            "tgtProcessStartTime": "2026-01-01T00:00:00Z"}
    });
    let process = json!({"name": "conhost.exe", "pid": 3, "entity_id": "u3", "executable": "C:\\Windows\\conhost.exe",
        "command_line": "conhost.exe 0xf", "start": "2026-01-01T00:00:00Z",
        "parent": {"name": "powershell.exe", "pid": 2, "user": {"name": "jane"}}});
    assert_fields(
        &map(Stream::Alerts, &alert),
        &[
            ("event.type", json!(["info", "start"])),
            ("process", process),
            ("user", json!({"name": "jane", "domain": "ACME"})),
            ("related.hash", json!([sha1])),
            ("sentinel_one.alert.source_parent_process_info.name", json!("explorer.exe")),
        ],
    );
    let hit = json!({"activityType": 3608, "data": {"dveventtype": "PROCESSCREATION", "sourceprocessname": "powershell.exe",
        "tgtprocname": "conhost.exe", "tgtprocpid": 3}});
    let names = json!({"name": "conhost.exe", "pid": 3, "parent": {"name": "powershell.exe"}});
    assert_fields(&map(Stream::Activities, &hit), &[("process", names), ("event.type", json!(["info", "start"]))]);
    // Without the started process, nothing in the event was started.
    alert["targetProcessInfo"] = Value::Null;
    assert_fields(
        &map(Stream::Alerts, &alert),
        &[
            ("event.category", json!(["intrusion_detection", "process"])),
            ("event.type", json!(["info"])),
            ("process.name", json!("powershell.exe")),
            ("process.parent.name", json!("explorer.exe")),
        ],
    );
}

#[test]
fn a_file_that_did_not_run_is_a_file_and_behaviour_is_a_process() {
    let categories = |kind: &str| {
        let info = json!({"classification": "Malware", "detectionType": kind, "filePath": "/opt/bad", "originatorProcess": "bash"});
        at(&map(Stream::Threats, &json!({"threatInfo": info})), "event.category").clone()
    };
    assert_eq!(categories("static"), json!(["malware", "file"]));
    assert_eq!(categories("dynamic"), json!(["malware", "process"]));
    let unified = |kind: &str, product: &str| {
        let alert = json!({"classification": "MALWARE", "analytics": {"typeValue": kind},
            "detectionSource": {"product": product, "vendor": "SentinelOne"},
            "process": {"cmdLine": "/opt/bad -x", "file": {"name": "bad"}}});
        at(&map(Stream::UnifiedAlerts, &alert), "event.category").clone()
    };
    assert_eq!(unified("STATIC", "EDR"), json!(["malware", "file"]));
    assert_eq!(unified("DYNAMIC", "EDR"), json!(["malware", "process"]));
    assert_eq!(unified("STATIC", "Mail"), json!(["malware"]));
}

#[test]
fn a_detection_has_one_severity_in_all_streams() {
    let of_threat = |info: Value| at(&map(Stream::Threats, &json!({"threatInfo": info})), "event.severity").clone();
    let of_unified = |alert: Value| at(&map(Stream::UnifiedAlerts, &alert), "event.severity").clone();
    let of_activity = |number: u32, data: Value| {
        let activity = json!({"activityType": number, "threatId": "1", "data": data});
        at(&map(Stream::Activities, &activity), "event.severity").clone()
    };
    let ransomware = json!({"confidenceLevel": "malicious", "classification": "Ransomware"});
    assert_eq!(of_threat(ransomware), 99);
    assert_eq!(of_activity(19, json!({"confidenceLevel": "malicious", "threatClassification": "Ransomware"})), 99);
    assert_eq!(of_activity(19, json!({"confidenceLevel": "malicious", "threatClassification": "Trojan"})), 73);
    assert_eq!(of_unified(json!({"severity": "CRITICAL", "classification": "RANSOMWARE"})), 99);
    for verdict in ["FALSE_POSITIVE_BENIGN", "FALSE_POSITIVE_USER_ERROR"] {
        assert_eq!(of_unified(json!({"severity": "CRITICAL", "analystVerdict": verdict})), 99);
    }
    assert_eq!(of_unified(json!({"severity": "HIGH", "analystVerdict": "TRUE_POSITIVE_MALWARE"})), 73);
    let judged =
        map(Stream::UnifiedAlerts, &json!({"severity": "CRITICAL", "analystVerdict": "FALSE_POSITIVE_BENIGN"}));
    assert_fields(
        &judged,
        &[
            ("sentinel_one.unified_alert.severity", json!("critical")),
            ("sentinel_one.unified_alert.original_severity", json!("CRITICAL")),
        ],
    );
}

#[test]
fn a_blocked_threat_is_a_success_and_one_that_is_active_again_is_not() {
    for word in ["blocked", "BLOCKED"] {
        let threat = map(Stream::Threats, &json!({"threatInfo": {"mitigationStatus": word}}));
        let unified = map(Stream::UnifiedAlerts, &json!({"result": word}));
        assert_fields(&threat, &[("event.outcome", json!("success"))]);
        assert_fields(&unified, &[("event.outcome", json!("success"))]);
    }
    let changed = |status: &str| {
        map(Stream::Activities, &json!({"activityType": 4008, "threatId": "1", "data": {"newStatus": status}}))
    };
    let expected = [("event.outcome", json!("unknown")), ("event.severity", json!(47))];
    assert_fields(&changed("Not mitigated"), &expected);
    assert_fields(&changed("Mitigated"), &[("event.outcome", json!("success")), ("event.severity", json!(21))]);
}

#[test]
fn a_threat_from_another_host_has_its_address_and_its_user() {
    let sentence = "Lateral Movement 192.0.2.3 example.com\\testuser (interactive session)";
    let threat = map(
        Stream::Threats,
        &json!({"threatInfo": {"classification": "Malware", "detectionType": "dynamic", "originatorProcess": sentence,
            "threatName": sentence}}),
    );
    let expected = [
        ("source.ip", json!("192.0.2.3")),
        ("related.ip", json!(["192.0.2.3"])),
        ("user", json!({"name": "testuser", "domain": "example.com"})),
        ("process", Value::Null),
        ("file", Value::Null),
    ];
    assert_fields(&threat, &expected);
    assert_fields(
        &threat,
        &[
            ("event.category", json!(["malware", "intrusion_detection"])),
            ("threat", Value::Null),
            ("sentinel_one.threat.threat_info.originator_process", json!(sentence)),
        ],
    );
    let activity = json!({"activityType": 18, "agentId": "1", "data": {"fileDisplayName": sentence, "threatClassification": "Lateral Movement"}});
    let activity = map(Stream::Activities, &activity);
    assert_fields(&activity, &expected);
    assert_fields(&activity, &[("event.category", json!(["malware", "intrusion_detection"]))]);
}

#[test]
fn the_process_of_a_unified_alert_is_taken_from_its_command_line() {
    let process = |line: &str| {
        let alert = json!({"process": {"cmdLine": line, "file": {"name": "Unknown file"}}});
        at(&map(Stream::UnifiedAlerts, &alert), "process").clone()
    };
    let curl = "/usr/bin/curl -O https://example.com/x";
    assert_eq!(process(curl), json!({"command_line": curl, "name": "curl", "executable": "/usr/bin/curl"}));
    let quoted = "\"C:\\Windows\\powershell.exe\" -c x";
    let expected =
        json!({"command_line": quoted, "name": "powershell.exe", "executable": "C:\\Windows\\powershell.exe"});
    assert_eq!(process(quoted), expected);
    assert_eq!(process("a.exe -x"), json!({"command_line": "a.exe -x", "name": "a.exe"}));
    assert_eq!(process("sshd: worker"), json!({"command_line": "sshd: worker"}));
}

#[test]
fn an_alert_and_its_hit_have_the_same_severity() {
    let severities = |severity: Value, verdict: &str| {
        let alert = json!({"ruleInfo": {"severity": severity}, "alertInfo": {"analystVerdict": verdict}});
        let hit = json!({"activityType": 3608, "data": {"severity": severity, "analystverdict": verdict}});
        [map(Stream::Alerts, &alert), map(Stream::Activities, &hit)]
    };
    for (severity, verdict, expected) in [
        (Value::Null, "Undefined", Value::Null),
        (json!("E_MEDIUM"), "Undefined", json!(47)),
        (json!("Critical"), "Undefined", json!(99)),
        (json!("Critical"), "false_positive", json!(99)),
    ] {
        for event in severities(severity, verdict) {
            assert_fields(&event, &[("event.severity", expected.clone())]);
        }
    }
}

#[test]
fn a_login_is_one_with_any_word_before_it() {
    for event_type in ["USERLOGIN", "FAILEDLOGIN", "User Logon"] {
        let hit = json!({"activityType": 3608, "data": {"dveventtype": event_type, "srcmachineip": "192.0.2.7"}});
        assert_fields(
            &map(Stream::Activities, &hit),
            &[("event.category", json!(["intrusion_detection", "authentication"])), ("source.ip", json!("192.0.2.7"))],
        );
    }
    let out = json!({"activityType": 3608, "data": {"dveventtype": "USERLOGOUT"}});
    assert_fields(&map(Stream::Activities, &out), &[("event.type", json!(["info", "end"]))]);
}

#[test]
fn an_event_type_without_a_value_is_no_action() {
    for event_type in ["N/A", "unknown", ""] {
        let alert = json!({"alertInfo": {"eventType": event_type}});
        assert_fields(&map(Stream::Alerts, &alert), &[("event.action", json!("alert-raised"))]);
    }
}
