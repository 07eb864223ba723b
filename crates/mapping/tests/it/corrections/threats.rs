//! Threats.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::{Stream, Timestamp};
use serde_json::{Value, json};

use super::records::threat;
use crate::support::{assert_fields, at, check, faults, map_to, mapper_to, read_event};

#[test]
fn counters_say_what_became_of_a_threat() {
    let reports = |action: &str, status: &str, counters: Value| json!({"action": action, "status": status, "actionsCounters": counters});
    let partial = reports("quarantine", "partial", json!({"success": 3, "failed": 2, "total": 5}));
    let killed = reports("kill", "success", json!({"success": 1, "failed": 0, "total": 1}));
    let failed = reports("quarantine", "success", json!({"success": 0, "failed": 1, "total": 1}));
    check(
        "partly-quarantined",
        Stream::Threats,
        &threat(json!({}), json!({"mitigationStatus": [partial]})),
        &[("event.outcome", json!("success"))],
        &[("disposition", json!("Partially Corrected")), ("action", json!("Denied"))],
    );
    for (list, disposition) in [
        (json!([killed, failed]), "Partially Corrected"),
        (json!([failed]), "Uncorrected"),
        (json!([killed]), "Blocked"),
    ] {
        let record = threat(json!({}), json!({"mitigationStatus": list}));
        assert_fields(&map_to(Schema::Ocsf, Stream::Threats, &record), &[("disposition", json!(disposition))]);
    }
}

/// Older consoles have neither `failedActions` nor counters.
#[test]
fn failed_reports_are_failed_actions() {
    let failed = |counters: Value| json!({"action": "kill", "status": "failed", "actionsCounters": counters});
    let counted = json!({"success": 0, "failed": 1, "total": 1});
    let killed = json!({"action": "kill", "status": "success", "actionsCounters": null});
    for (failed_actions, reports, outcome, disposition) in [
        (Value::Null, json!([failed(Value::Null)]), "failure", "Uncorrected"),
        (json!(false), json!([failed(Value::Null)]), "failure", "Uncorrected"),
        (Value::Null, json!([failed(counted)]), "failure", "Uncorrected"),
        (json!(true), json!([]), "failure", "Uncorrected"),
        (Value::Null, json!([killed]), "unknown", "Blocked"),
        (Value::Null, json!([]), "unknown", "Detected"),
    ] {
        let record = threat(
            json!({"mitigationStatus": "not_mitigated", "failedActions": failed_actions}),
            json!({"mitigationStatus": reports}),
        );
        assert_fields(&map_to(Schema::Ecs, Stream::Threats, &record), &[("event.outcome", json!(outcome))]);
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_fields(&event, &[("disposition", json!(disposition))]);
    }
}

#[test]
fn the_name_of_a_threat_is_no_process() {
    check(
        "fileless-threat-with-a-name",
        Stream::Threats,
        &threat(
            json!({"isFileless": true, "threatName": "Meterpreter", "originatorProcess": "powershell.exe"}),
            json!({}),
        ),
        &[("process.name", json!("powershell.exe")), ("process.parent", Value::Null)],
        &[("evidences", json!([{"data": {"process": "powershell.exe", "originator_process": "powershell.exe"}}]))],
    );
    let bash = json!({"isFileless": true, "threatName": "bash", "originatorProcess": "bash"});
    let event = map_to(Schema::Ecs, Stream::Threats, &threat(bash, json!({})));
    assert_fields(&event, &[("process.name", json!("bash"))]);
}

#[test]
fn a_threat_without_a_file_is_a_process() {
    let info = json!({"threatName": "cmd.exe (interactive session)", "isFileless": true, "filePath": "", "fileSize": 0,
        "sha1": "", "fileVerificationType": "NotSigned", "mitigationStatus": "not_mitigated",
        "originatorProcess": "explorer.exe", "processUser": "ACME\\jane"});
    check(
        "fileless",
        Stream::Threats,
        &threat(info, json!({})),
        &[
            ("file", Value::Null),
            ("threat.indicator", json!({"confidence": "High"})),
            ("process.name", json!("cmd.exe")),
            ("process.parent.name", json!("explorer.exe")),
        ],
        &[
            (
                "malware",
                json!([{"name": "cmd.exe", "classification_ids": [99],
                "classifications": ["Malware"], "severity_id": 4, "severity": "High"}]),
            ),
            (
                "evidences",
                json!([{"user": {"name": "jane", "domain": "ACME", "type_id": 0, "type": "Unknown"},
                "data": {"process": "cmd.exe", "originator_process": "explorer.exe"}}]),
            ),
        ],
    );
    // A size of 0 was not measured.
    let unmeasured = threat(json!({"filePath": "/a/x.exe", "fileSize": 0}), json!({}));
    let event = map_to(Schema::Ecs, Stream::Threats, &unmeasured);
    assert_fields(&event, &[("file.size", Value::Null), ("sentinel_one.threat.threat_info.file_size", json!(0))]);
    let event = map_to(Schema::Ocsf, Stream::Threats, &unmeasured);
    assert_eq!(event.pointer("/evidences/0/file/size"), None);
}

/// Each Mac has `fe80::1`.
#[test]
fn a_link_local_address_represents_a_device_only_without_another() {
    for (external, expected) in [("203.0.113.1", "203.0.113.1"), ("", "fe80::1")] {
        let detected = json!({"agentIpV4": "127.0.0.1", "agentIpV6": "::1,fe80::1", "externalIp": external});
        let record = threat(json!({}), json!({"agentRealtimeInfo": {"agentId": "9"}, "agentDetectionInfo": detected}));
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.ip", json!(expected))]);
    }
}

/// The enum's own words, as the keys of engines.
#[test]
fn an_engine_whose_key_is_a_type_has_it() {
    let engines = json!([{"key": "behavioral"}]);
    let record = json!({"id": "1", "threatInfo": {"threatName": "a.exe", "detectionEngines": engines}});
    let event = map_to(Schema::Ocsf, Stream::Threats, &record);
    assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
    assert_fields(&event, &[("finding_info.analytic.type_id", json!(2))]);
}

#[test]
fn a_technique_has_the_id_of_its_link() {
    let technique = |name: &str, link: &str| json!({"name": name, "link": link});
    let techniques = json!([
        technique("PowerShell", "https://attack.mitre.org/techniques/T1059/001/"),
        technique("T1486 - Data Encrypted for Impact", ""),
        technique("Mimikatz", "https://attack.mitre.org/software/S0002/")
    ]);
    let indicators = json!([{"description": "d", "tactics": [{"name": "Execution", "techniques": techniques}]}]);
    check(
        "techniques-by-their-links",
        Stream::Threats,
        &threat(json!({}), json!({"indicators": indicators})),
        &[
            ("threat.technique.id", json!(["T1059", "T1486"])),
            (
                "threat.technique.name",
                json!(["Command and Scripting Interpreter", "Data Encrypted for Impact", "Mimikatz"]),
            ),
            ("threat.technique.subtechnique.id", json!(["T1059.001"])),
            ("threat.technique.subtechnique.name", json!(["PowerShell"])),
        ],
        &[],
    );
    let event = map_to(Schema::Ocsf, Stream::Threats, &threat(json!({}), json!({"indicators": indicators})));
    let ids: Vec<&Value> =
        event["attacks"].as_array().unwrap().iter().map(|attack| at(attack, "technique.uid")).collect();
    assert_eq!(ids, [&json!("T1059"), &json!("T1486"), &Value::Null]);
}

/// The arguments and the user of a malicious process never belong to the program that started it.
#[test]
fn the_malicious_process_is_not_its_originator() {
    let linux = json!({"detectionType": "dynamic", "fileExtensionType": "None", "fileExtension": null,
        "filePath": "/opt/agent/sensor12704", "threatName": "sensor12704", "originatorProcess": "systemd",
        "maliciousProcessArguments": " sensor", "processUser": "root", "sha1": "1".repeat(40)});
    let file = json!({"name": "sensor12704", "path": "/opt/agent/sensor12704", "type_id": 8, "type": "Executable File",
        "hashes": [{"algorithm_id": 2, "algorithm": "SHA-1", "encoding_id": 1, "encoding": "Hex",
            "value": "1".repeat(40)}]});
    check(
        "linux-process",
        Stream::Threats,
        &threat(linux, json!({"agentRealtimeInfo": {"agentOsType": "linux", "agentComputerName": "c"}})),
        &[
            (
                "process",
                json!({"name": "sensor12704", "executable": "/opt/agent/sensor12704", "command_line": "sensor",
                    "user": {"name": "root"}, "parent": {"name": "systemd"}}),
            ),
            ("event.category", json!(["malware", "process"])),
        ],
        &[(
            "evidences",
            json!([{"file": file, "user": {"name": "root", "type_id": 0, "type": "Unknown"},
                "data": {"process": "/opt/agent/sensor12704", "originator_process": "systemd",
                    "arguments": "sensor"}}]),
        )],
    );
    let process = |info: Value| at(&map_to(Schema::Ecs, Stream::Threats, &threat(info, json!({}))), "process").clone();
    let macos = json!({"detectionType": "dynamic", "filePath": "/usr/local/tool/bin/tool", "originatorProcess": "launchd",
        "processUser": "root", "detectionEngines": [{"key": "executables"}]});
    let expected = json!({"name": "tool", "executable": "/usr/local/tool/bin/tool", "user": {"name": "root"},
        "parent": {"name": "launchd"}});
    assert_eq!(process(macos), expected);
    let found = json!({"detectionType": "static", "filePath": "C:\\a.exe", "fileExtensionType": "Executable",
        "originatorProcess": "explorer.exe", "maliciousProcessArguments": "-x 1", "processUser": "ACME\\jane"});
    assert_eq!(process(found.clone()), json!({"name": "explorer.exe"}));
    let event = map_to(Schema::Ecs, Stream::Threats, &threat(found, json!({})));
    assert_fields(
        &event,
        &[
            ("user", json!({"name": "jane", "domain": "ACME"})),
            ("sentinel_one.threat.threat_info.malicious_process_arguments", json!("-x 1")),
            ("sentinel_one.threat.threat_info.process_user", json!("ACME\\jane")),
        ],
    );
    let script = json!({"detectionType": "dynamic", "filePath": "C:\\run.ps1", "originatorProcess": "parent.exe",
        "maliciousProcessArguments": "-a 1"});
    assert_eq!(process(script), json!({"parent": {"name": "parent.exe"}}));
}

#[test]
fn a_threat_has_the_first_engine_that_has_a_name() {
    let of = |engines: Value, titles: Value| threat(json!({"detectionEngines": engines, "engines": titles}), json!({}));
    let none = json!({"key": null, "title": null});
    for (engines, titles, name, ruleset) in [
        (
            json!([none, {"key": "pre_execution", "title": "On-Write Static AI"}]),
            json!([]),
            "On-Write Static AI",
            json!("pre_execution"),
        ),
        (json!([{"key": "a", "title": null}, {"key": "b", "title": "B"}]), json!([]), "B", json!("b")),
        (json!([none]), json!([null, "Reputation"]), "Reputation", Value::Null),
        (json!([none, {"key": "a", "title": null}]), json!(["Reputation"]), "Reputation", json!("a")),
    ] {
        let event = map_to(Schema::Ecs, Stream::Threats, &of(engines, titles));
        assert_fields(&event, &[("rule.name", json!(name)), ("rule.ruleset", ruleset)]);
    }
}

#[test]
fn a_new_threat_has_the_time_of_its_detection_or_creation() {
    let created = "2026-01-01T00:00:10.000Z";
    let (created_millis, identified_millis) = (1_767_225_610_000_i64, 1_767_225_600_000);
    for (identified, is_time) in [
        (json!("N/A"), false),
        (json!(null), false),
        (json!("soon"), false),
        (json!(identified_millis), true),
        (json!(identified_millis.to_string()), true),
    ] {
        let record = threat(
            json!({"identifiedAt": identified, "createdAt": created, "updatedAt": "2026-01-01T00:00:40.000Z"}),
            json!({}),
        );
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        let time = Timestamp::parse(at(&event, "@timestamp").as_str().unwrap()).unwrap();
        assert_eq!(time.millis(), if is_time { identified_millis } else { created_millis }, "{event:#}");
        // In OCSF, a new finding has the time of its creation, and the detection is its start.
        let start = if is_time { json!(identified_millis) } else { Value::Null };
        assert_fields(
            &map_to(Schema::Ocsf, Stream::Threats, &record),
            &[("time", json!(created_millis)), ("start_time", start)],
        );
    }
}

/// On systems other than Windows, the whole name of a file is the program. A shell that was started under another name
/// is the program too.
#[test]
fn a_program_of_unix_is_no_script_of_its_first_word() {
    for (path, line, executable) in [
        ("/Volumes/A B/A B", "/Volumes/A B/A B", "/Volumes/A B/A B"),
        ("/opt/My App/my app", "/opt/My App/my app --once", "/opt/My App/my app"),
        ("/bin/busybox", "sh -c \"busybox wget x\"", "/bin/busybox"),
        ("/usr/bin/bash", "/bin/rbash -c bash", "/usr/bin/bash"),
        ("/opt/My Tool/run me", "/bin/bash \"/opt/My Tool/run me\"", "/bin/bash"),
    ] {
        let info = json!({"detectionType": "dynamic", "filePath": path, "maliciousProcessArguments": line});
        let record = json!({"id": "1", "agentRealtimeInfo": {"agentOsType": "linux"}, "threatInfo": info});
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_eq!(event.pointer("/process/executable"), Some(&json!(executable)), "{line}: {event:#}");
    }
}

/// The image of a container may have the scheme of its runtime. An image without a tag is only a digest.
#[test]
fn the_image_of_a_container_may_be_a_digest() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let pullable = format!("docker-pullable://nginx@{digest}");
    for (image, expected, name) in [
        (digest.as_str(), json!({"hash": {"all": [digest]}}), Value::Null),
        (&pullable, json!({"name": "nginx", "hash": {"all": [digest]}}), json!("nginx")),
        (
            "docker://registry:5000/app:1",
            json!({"name": "registry:5000/app", "tag": ["1"]}),
            json!("registry:5000/app"),
        ),
        ("sha256:1", json!({"name": "sha256", "tag": ["1"]}), json!("sha256")),
    ] {
        let container = json!({"id": "containerd://abc", "name": "web", "image": image});
        let record = threat(json!({}), json!({"containerInfo": container, "agentRealtimeInfo": {"agentId": "9"}}));
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_fields(&event, &[("container", json!({"id": "abc", "name": "web", "image": expected}))]);
        assert_fields(
            at(&event, "sentinel_one.threat.container_info"),
            &[("id", json!("containerd://abc")), ("image", json!(image))],
        );
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let container = at(&event, "device.container");
        assert_fields(container, &[("uid", json!("abc")), ("image.uid", json!(image)), ("image.name", name)]);
    }
}

/// The console sent an action to the agent. Its result is unknown.
#[test]
fn an_action_that_was_only_sent_did_nothing_yet() {
    for (counters, status, disposition) in [
        (Value::Null, "not_mitigated", "Detected"),
        (json!({"success": 0, "pendingReboot": 0, "total": 0}), "not_mitigated", "Detected"),
        (Value::Null, "mitigated", "Corrected"),
    ] {
        let report = json!({"action": "quarantine", "status": "sent", "actionsCounters": counters});
        let record = threat(json!({"mitigationStatus": status}), json!({"mitigationStatus": [report]}));
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("disposition", json!(disposition)), ("remediation.desc", json!("quarantine: sent"))]);
    }
}

#[test]
fn the_file_of_a_hash_has_the_name_that_the_record_gives_it() {
    let sha1 = "1".repeat(40);
    let info = json!({"threatName": "powershell.exe (interactive session)", "isFileless": true, "sha1": sha1,
        "filePath": "", "detectionType": "dynamic"});
    let record = threat(info, json!({}));
    check(
        "session-with-hash",
        Stream::Threats,
        &record,
        &[("file.name", json!("powershell.exe")), ("file.hash.sha1", json!(sha1))],
        &[],
    );
    let event = map_to(Schema::Ocsf, Stream::Threats, &record);
    let file = &event["evidences"][0]["file"];
    assert_fields(file, &[("name", json!("powershell.exe"))]);
    assert_eq!(file.pointer("/hashes/0/value"), Some(&json!(sha1)), "{event:#}");
    // The name of a threat is the name of its file.
    let event = map_to(Schema::Ocsf, Stream::Threats, &threat(json!({"sha1": sha1}), json!({})));
    assert_eq!(event.pointer("/evidences/0/file/name"), Some(&json!("x.exe")), "{event:#}");
}

#[test]
fn the_file_of_a_threat_from_another_host_is_an_indicator() {
    let origin = "Lateral Movement 192.0.2.3 ACME\\bob (interactive session)";
    let info = json!({"originatorProcess": origin, "filePath": "C:\\x\\a.exe"});
    let event = map_to(Schema::Ecs, Stream::Threats, &threat(info, json!({})));
    assert_fields(&event, &[("threat.indicator.type", json!("file")), ("threat.indicator.file.name", json!("a.exe"))]);
    // Without a file, there is no indicator.
    let event = map_to(
        Schema::Ecs,
        Stream::Threats,
        &threat(json!({"originatorProcess": origin, "threatName": origin}), json!({})),
    );
    assert_fields(&event, &[("threat.indicator.type", Value::Null), ("threat.indicator.file", Value::Null)]);
}

#[test]
fn a_signature_is_trusted_or_not_if_the_record_says_so() {
    for (is_valid, expected) in [(Value::Null, "Unknown"), (json!(true), "Valid"), (json!(false), "Untrusted")] {
        let info = json!({"filePath": "C:\\a.exe", "fileVerificationType": "SignedVerified",
            "isValidCertificate": is_valid});
        let event = map_to(Schema::Ocsf, Stream::Threats, &threat(info, json!({})));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_eq!(event.pointer("/evidences/0/file/signatures/0/state"), Some(&json!(expected)), "{event:#}");
    }
    let info = json!({"filePath": "C:\\a.exe", "fileVerificationType": "NotSigned", "isValidCertificate": false});
    let event = map_to(Schema::Ocsf, Stream::Threats, &threat(info, json!({})));
    assert_eq!(event.pointer("/evidences/0/file/signatures"), None, "{event:#}");
}

#[test]
fn a_doubled_backslash_is_one() {
    let record = threat(json!({"processUser": "ACME\\\\jane"}), json!({}));
    assert_fields(
        &map_to(Schema::Ecs, Stream::Threats, &record),
        &[("user.name", json!("jane")), ("user.domain", json!("ACME")), ("related.user", json!(["jane"]))],
    );
    let event = map_to(Schema::Ocsf, Stream::Threats, &record);
    let user = json!({"name": "jane", "domain": "ACME", "type_id": 0, "type": "Unknown"});
    assert_fields(&event, &[("actor.user", user), ("unmapped.threatInfo.processUser", json!("ACME\\\\jane"))]);
    let origin = json!({"originatorProcess": "Lateral Movement 192.0.2.3 ACME\\\\bob (interactive session)"});
    let event = map_to(Schema::Ecs, Stream::Threats, &threat(origin, json!({})));
    assert_fields(&event, &[("user.name", json!("bob")), ("user.domain", json!("ACME"))]);
}

#[test]
fn another_program_of_the_same_name_is_another_process() {
    let processes = |os: &str, originator: &str, file: &str, arguments: &str| {
        let info = json!({"detectionType": "dynamic", "filePath": file, "originatorProcess": originator,
            "maliciousProcessArguments": arguments});
        let record = threat(info, json!({"agentRealtimeInfo": {"agentOsType": os}}));
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        let ocsf = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(faults(Schema::Ocsf, &ocsf), Vec::<String>::new(), "{ocsf:#}");
        let of = |process: &Value| {
            let named = process.get("executable").or_else(|| process.get("name"));
            named.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let acted = of(&event["process"]);
        assert_eq!(ocsf.pointer("/evidences/0/data/process"), Some(&json!(acted)), "{ocsf:#}");
        assert_eq!(ocsf.pointer("/evidences/0/data/originator_process"), Some(&json!(originator)), "{ocsf:#}");
        (acted, of(&event["process"]["parent"]))
    };
    let cmd = "C:\\Windows\\System32\\cmd.exe";
    for (os, originator, file, arguments, process, parent) in [
        ("linux", "/usr/bin/bash", "/tmp/a.sh", "/opt/x/bash /tmp/a.sh", "/opt/x/bash", "/usr/bin/bash"),
        (
            "macos",
            "Installer",
            "/Users/j/a.pkg",
            "/usr/sbin/installer -pkg /Users/j/a.pkg",
            "/usr/sbin/installer",
            "Installer",
        ),
        (
            "windows",
            "C:\\x\\cmd.exe",
            "C:\\x\\a.bat",
            "C:\\Windows\\System32\\cmd.exe /c C:\\x\\a.bat",
            cmd,
            "C:\\x\\cmd.exe",
        ),
        (
            "windows",
            "C:\\Windows\\SysWOW64\\cmd.exe",
            "C:\\x\\a.bat",
            "C:\\Windows\\System32\\cmd.exe /c C:\\x\\a.bat",
            cmd,
            "C:\\Windows\\SysWOW64\\cmd.exe",
        ),
        // The record has one path for the process, or the same path in another form.
        ("linux", "/usr/bin/bash", "/tmp/a.sh", "bash /tmp/a.sh", "/usr/bin/bash", ""),
        ("linux", "bash", "/tmp/a.sh", "/bin/bash /tmp/a.sh", "/bin/bash", ""),
        ("linux", "/bin/bash", "/tmp/a.sh", "/bin/bash /tmp/a.sh", "/bin/bash", ""),
        ("linux", "/usr/bin/python3.11", "/tmp/a.py", "python3 /tmp/a.py", "/usr/bin/python3.11", ""),
        (
            "windows",
            "cmd.exe",
            "C:\\x\\a.bat",
            "C:\\Windows\\System32\\CMD /c C:\\x\\a.bat",
            "C:\\Windows\\System32\\CMD",
            "",
        ),
        (
            "windows",
            "c:\\windows\\system32\\CMD.EXE",
            "C:\\x\\a.bat",
            "C:\\Windows\\System32\\cmd /c C:\\x\\a.bat",
            "C:\\Windows\\System32\\cmd",
            "",
        ),
        (
            "windows",
            "\\Device\\HarddiskVolume3\\Windows\\System32\\cmd.exe",
            "C:\\x\\a.bat",
            "C:\\Windows\\System32\\cmd.exe /c C:\\x\\a.bat",
            cmd,
            "",
        ),
        ("windows", cmd, "C:\\x\\a.bat", "cmd /c C:\\x\\a.bat", cmd, ""),
        (
            "windows",
            "\\\\?\\C:\\Windows\\System32\\cmd.exe",
            "C:\\x\\a.bat",
            "C:\\Windows\\System32\\cmd.exe /c C:\\x\\a.bat",
            cmd,
            "",
        ),
        (
            "windows",
            "C:/Windows/System32/cmd.exe",
            "C:\\x\\a.bat",
            "C:\\Windows\\System32\\cmd.exe /c C:\\x\\a.bat",
            cmd,
            "",
        ),
        ("linux", "/tmp/x/bash", "/tmp/a.sh", "./bash /tmp/a.sh", "/tmp/x/bash", ""),
        ("linux", "/opt/Bash", "/tmp/a.sh", "bash /tmp/a.sh", "bash", "/opt/Bash"),
    ] {
        let found = processes(os, originator, file, arguments);
        assert_eq!(found, (process.to_owned(), parent.to_owned()), "{originator} {arguments}");
    }
    // A session has the path of its program.
    let info =
        json!({"threatName": "bash (interactive session)", "isFileless": true, "originatorProcess": "/usr/bin/bash"});
    let event = map_to(Schema::Ecs, Stream::Threats, &threat(info, json!({})));
    assert_fields(
        &event,
        &[("process", json!({"name": "bash", "executable": "/usr/bin/bash"})), ("file", Value::Null)],
    );
}

#[test]
fn a_link_has_the_id_of_its_technique() {
    let host = "https://attack.mitre.org";
    for (link, technique, sub) in [
        ("/techniques/T1106/", "T1106", None),
        ("/techniques/T1106", "T1106", None),
        ("/techniques/T1055/012", "T1055", Some("T1055.012")),
        ("/techniques/T1055/012/", "T1055", Some("T1055.012")),
        ("/techniques/T1055.012", "T1055", Some("T1055.012")),
        ("/wiki/Technique/T1106", "T1106", None),
        ("/wiki/Technique/T1106/", "T1106", None),
        ("/wiki/technique/t1106", "T1106", None),
        ("/Techniques/T1106?v=1#top", "T1106", None),
        ("/techniques/T1055/012?v=1/013", "T1055", Some("T1055.012")),
        ("/techniques/T1055#012", "T1055", None),
        ("/techniques/T1055/#/012", "T1055", None),
        ("/versions/v9/techniques/T1055/012/", "T1055", Some("T1055.012")),
        ("/beta/techniques/enterprise/T1106/", "T1106", None),
        (" /techniques/T1106/ ", "T1106", None),
    ] {
        let link = format!("{host}{link}");
        for named in [json!({"name": "Some name", "link": link}), json!({"name": link})] {
            let indicators = json!([{"ids": [1], "category": "c", "description": "d",
                "tactics": [{"name": "Execution", "source": "MITRE", "techniques": [named]}]}]);
            let record = threat(json!({}), json!({"indicators": indicators}));
            let event = map_to(Schema::Ecs, Stream::Threats, &record);
            let subs = sub.map_or(Value::Null, |sub| json!([sub]));
            assert_fields(
                &event,
                &[("threat.technique.id", json!([technique])), ("threat.technique.subtechnique.id", subs)],
            );
            let event = map_to(Schema::Ocsf, Stream::Threats, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            let attack = &event["finding_info"]["attacks"][0];
            assert_eq!(attack["technique"]["uid"], technique, "{link}: {event:#}");
            assert_eq!(attack.pointer("/sub_technique/uid").and_then(Value::as_str), sub, "{link}: {event:#}");
        }
    }
    for link in ["", "/software/S0002/", "/wiki/Software/S0002", "/tactics/TA0002/", "/wiki/Technique/", "/T1106"] {
        let named = json!({"name": "Some name", "link": format!("{host}{link}")});
        let indicators = json!([{"tactics": [{"name": "Execution", "techniques": [named]}]}]);
        let event = map_to(Schema::Ecs, Stream::Threats, &threat(json!({}), json!({"indicators": indicators})));
        assert_fields(&event, &[("threat.technique.id", Value::Null)]);
    }
}

#[test]
fn what_is_partly_mitigated_is_not_allowed() {
    let report = |action: &str, status: &str, counters: Value| json!({"action": action, "status": status, "actionsCounters": counters});
    let killed = report("kill", "success", Value::Null);
    let [failed, pending] = ["failed", "pending"].map(|status| report("quarantine", status, Value::Null));
    let half = report("kill", "success", json!({"success": 1, "failed": 1, "total": 2}));
    let restored = report("unquarantine", "success", Value::Null);
    let partly = ("Partially Corrected", "Denied");
    for (mode, reports, (disposition, action)) in [
        ("protect", json!([killed, failed]), partly),
        ("protect", json!([failed, killed]), partly),
        ("protect", json!([half]), partly),
        ("protect", json!([report("quarantine", "partial", Value::Null)]), partly),
        ("protect", json!([killed, report("rollback", "failed", Value::Null), pending]), partly),
        ("detect", json!([killed, failed]), partly),
        ("protect", json!([failed]), ("Uncorrected", "Allowed")),
        ("protect", json!([pending]), ("Delayed", "Allowed")),
        ("protect", json!([restored, failed]), ("Restored", "Allowed")),
        ("detect", json!([failed]), ("Uncorrected", "Observed")),
    ] {
        for status in ["not_mitigated", "active"] {
            let record = threat(
                json!({"mitigationStatus": status}),
                json!({"mitigationStatus": reports, "agentRealtimeInfo": {"agentMitigationMode": mode}}),
            );
            let event = map_to(Schema::Ocsf, Stream::Threats, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("disposition", json!(disposition)), ("action", json!(action))]);
        }
    }
}

#[test]
fn an_account_of_the_machine_itself_came_from_another_host_too() {
    for (origin, address) in [
        (r"Lateral Movement DESKTOP-1 .\bob (interactive session)", None),
        (r"Lateral Movement 192.0.2.3 .\bob (network)", Some("192.0.2.3")),
    ] {
        let event = map_to(Schema::Ecs, Stream::Threats, &threat(json!({"originatorProcess": origin}), json!({})));
        assert_fields(
            &event,
            &[("source.ip", json!(address)), ("user.name", json!("bob")), ("process.parent.name", Value::Null)],
        );
    }
}

#[test]
fn a_file_is_an_argument_where_a_word_ends_in_any_way() {
    for (path, arguments, process) in [
        (r"C:\Users\jane\readme", r"rundll32.exe C:\Users\jane\readme,Start", "rundll32.exe"),
        (r"C:\Users\jane\a.exe", r"cmd.exe /c C:\Users\jane\a.exe&&del x", "cmd.exe"),
        (r"C:\Users\jane\a.exe", r"cmd.exe /c C:\Users\jane\a.exe>nul", "cmd.exe"),
        (r"C:\Users\jane\a,b.exe", r"cmd.exe /c C:\Users\jane\a,b.exe", "cmd.exe"),
        ("/tmp/a", "dd if=/dev/zero of=/tmp/a", "dd"),
        ("/tmp/a", "env LD_PRELOAD=/tmp/a /bin/ls", "env"),
        ("/tmp/a", "bash -c (/tmp/a;rm)", "bash"),
    ] {
        let detected = json!({"detectionType": "dynamic", "filePath": path, "maliciousProcessArguments": arguments});
        let event = map_to(Schema::Ecs, Stream::Threats, &threat(detected.clone(), json!({})));
        assert_fields(&event, &[("process.name", json!(process)), ("process.command_line", json!(arguments))]);
        let name = path.rsplit(['\\', '/']).next().unwrap();
        assert_fields(&event, &[("file.name", json!(name))]);
    }
}

/// Members of an object have no order.
#[test]
fn a_tactic_is_that_of_its_techniques_whichever_comes_first() {
    let [name, techniques] = [r#""name":"Execution""#, r#""techniques":[{"name":"T1059.001"},{"name":"T1106"}]"#];
    for tactic in [format!("{{{name},{techniques}}}"), format!("{{{techniques},{name}}}")] {
        let record = threat(json!({}), json!({"indicators": [{"tactics": ["TACTIC"]}]}));
        let record = record.to_string().replace("\"TACTIC\"", &tactic);
        let [ecs, ocsf] = [Schema::Ecs, Schema::Ocsf].map(|schema| {
            let mut out = Vec::new();
            mapper_to(schema, Stream::Threats, false).map(record.as_bytes(), &mut out).expect("maps");
            read_event(&out)
        });
        assert_fields(&ecs["threat"], &[("tactic.id", json!(["TA0002"])), ("technique.id", json!(["T1059", "T1106"]))]);
        for attacks in [&ocsf["attacks"], &ocsf["finding_info"]["attacks"]] {
            assert_eq!(attacks.as_array().map(Vec::len), Some(2), "{ocsf:#}");
            for attack in attacks.as_array().unwrap() {
                assert_fields(attack, &[("tactic", json!({"name": "Execution", "uid": "TA0002"}))]);
            }
        }
    }
}

#[test]
fn a_library_is_no_process_on_any_system() {
    for (system, path, extension) in [
        ("linux", "/usr/lib/evil.so", "SO"),
        ("linux", "/usr/lib/libx.so.1", ""),
        ("linux", "/lib/modules/rootkit.ko", "KO"),
        ("macos", "/Users/jane/evil.dylib", "DYLIB"),
    ] {
        let info = json!({"threatName": "evil", "filePath": path, "fileExtension": extension,
            "fileExtensionType": "Executable", "detectionType": "dynamic", "originatorProcess": "nginx",
            "maliciousProcessArguments": "nginx: worker process", "processUser": "root"});
        let record = threat(info, json!({"agentRealtimeInfo": {"agentOsType": system}}));
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_fields(&event, &[("file.path", json!(path)), ("process", json!({"parent": {"name": "nginx"}}))]);
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_fields(&event["evidences"][0], &[("data.process", Value::Null), ("file.path", json!(path))]);
    }
}

/// The program may lack `.exe`.
#[test]
fn a_program_that_fetches_a_file_is_the_process() {
    for (program, rest) in [
        ("certutil", "-urlcache -f http://x/a.exe F"),
        ("certutil.exe", "-urlcache -f http://x/a.exe F"),
        ("curl", "-o F http://x/a.exe"),
        ("bitsadmin", "/transfer j http://x/a.exe F"),
        ("wget", "-O F http://x/a.exe"),
        ("xcopy", "D:\\a.exe F"),
        ("esentutl", "/y D:\\a.exe /d F"),
        ("tar", "-xf F"),
        ("psexec64", "\\\\ws F"),
        ("attrib", "+h F"),
        ("pcalua", "-a F"),
        ("wmic", "process call create F"),
    ] {
        let line = format!("{program} {}", rest.replace('F', "C:\\Users\\jane\\a.exe"));
        let info = json!({"filePath": "\\Device\\HarddiskVolume3\\Users\\jane\\a.exe", "detectionType": "dynamic",
            "fileExtensionType": "Executable", "originatorProcess": "cmd.exe", "maliciousProcessArguments": line});
        let record = threat(info, json!({"agentRealtimeInfo": {"agentOsType": "windows"}}));
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        let process = json!({"name": program, "command_line": line, "parent": {"name": "cmd.exe"}});
        assert_fields(&event, &[("process", process), ("file.name", json!("a.exe"))]);
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(event.pointer("/evidences/0/data/process"), Some(&json!(program)), "{event:#}");
    }
}

/// Any white space may replace the blank. The JSON may have it without an escape.
#[test]
fn words_of_the_console_may_follow_any_blank() {
    for name in [
        "powershell.exe\u{a0}(CLI fa08)",
        "powershell.exe (CLI\u{a0}fa08)",
        "powershell.exe\u{a0}(interactive session)",
    ] {
        let record = threat(
            json!({"threatName": name, "isFileless": true, "maliciousProcessArguments": "-enc AAAA"}),
            json!({}),
        );
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_fields(&event, &[("process.name", json!("powershell.exe"))]);
    }
}

#[test]
fn a_successful_action_decides_whatever_the_status_says() {
    let of = |status: Value, reports: Value| {
        let record = threat(json!({"mitigationStatus": status}), json!({"mitigationStatus": reports}));
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        (event["disposition"].clone(), event["action"].clone())
    };
    let report = |action: &str, status: &str| json!({"action": action, "status": status, "mitigationEndedAt": "2026-01-01T00:00:00Z"});
    let quarantine = report("quarantine", "success");
    for status in [json!("pending"), json!("suspicious"), json!("suspicious_resolved"), Value::Null] {
        assert_eq!(of(status.clone(), json!([quarantine])), (json!("Quarantined"), json!("Denied")), "{status}");
        let with_failed = json!([quarantine, report("kill", "failed")]);
        assert_eq!(of(status.clone(), with_failed), (json!("Partially Corrected"), json!("Denied")), "{status}");
        let restored = json!([quarantine, report("un-quarantine", "success")]);
        assert_eq!(of(status.clone(), restored), (json!("Restored"), json!("Allowed")), "{status}");
        // An outcome that neither the status nor a report names is unknown.
        for reports in [json!([]), json!([report("quarantine", "failed")]), json!([report("quarantine", "pending")])] {
            assert_eq!(of(status.clone(), reports), (Value::Null, Value::Null), "{status}");
        }
    }
    for action in ["unquarantine", "un-quarantine", "un_quarantine"] {
        let restored = json!([report(action, "success")]);
        assert_eq!(of(json!("active"), restored), (json!("Restored"), json!("Allowed")), "{action}");
    }
}

#[test]
fn a_confidence_that_does_not_apply_is_unknown_in_any_spelling() {
    for word in ["n/a", "N/A", "n_a", "N_A"] {
        let record = threat(json!({"confidenceLevel": word}), json!({}));
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_fields(&event, &[("threat.indicator.confidence", json!("Not Specified"))]);
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_fields(&event, &[("confidence_id", json!(0)), ("confidence", json!("Unknown"))]);
    }
}

/// ATT&CK's table has only the names of techniques in use.
#[test]
fn a_retired_technique_has_the_consoles_name() {
    let of = |technique: Value| {
        let indicators = json!([{"description": "d", "tactics": [{"name": "Execution", "techniques": [technique]}]}]);
        let record = threat(json!({}), json!({"indicators": indicators}));
        [Schema::Ecs, Schema::Ocsf].map(|schema| map_to(schema, Stream::Threats, &record))
    };
    let [ecs, ocsf] = of(json!({"name": "PowerShell", "link": "https://attack.mitre.org/techniques/T1086/"}));
    assert_fields(&ecs, &[("threat.technique.id", json!(["T1086"])), ("threat.technique.name", json!(["PowerShell"]))]);
    let technique = &ocsf["finding_info"]["attacks"][0]["technique"];
    assert_fields(technique, &[("uid", json!("T1086")), ("name", json!("PowerShell"))]);
    // ATT&CK's own name comes first, and an id is not a name.
    let [ecs, _] = of(json!({"name": "Shell", "link": "https://attack.mitre.org/techniques/T1059/"}));
    assert_fields(&ecs, &[("threat.technique.name", json!(["Command and Scripting Interpreter"]))]);
    let [ecs, ocsf] = of(json!({"name": "T1086", "link": "https://attack.mitre.org/techniques/T1086/"}));
    assert_fields(&ecs, &[("threat.technique.name", json!(["T1086"]))]);
    assert_fields(&ocsf["finding_info"]["attacks"][0]["technique"], &[("name", Value::Null)]);
}
