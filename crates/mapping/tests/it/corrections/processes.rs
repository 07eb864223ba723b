//! Processes and files in several streams: images, command lines, hashes, signatures.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::records::{activity, observed, threat};
use crate::support::{assert_fields, at, check, faults, map_to};

#[test]
fn a_command_line_has_a_process_and_its_hash_is_no_files() {
    let sha1 = format!("fa08{}", "1".repeat(36));
    let path = "C:\\Windows\\System32\\powershell.exe";
    let info = json!({"threatName": "powershell.exe (CLI fa08)", "filePath": format!("{path} (CLI fa08)"), "sha1": sha1,
        "fileSize": 52, "fileVerificationType": "NotSigned", "publisherName": "x", "isFileless": false, "originatorProcess": null, "maliciousProcessArguments": "-Command \"x\""});
    check(
        "command-line-of-a-process",
        Stream::Threats,
        &threat(info.clone(), json!({})),
        &[
            ("event.category", json!(["malware", "process"])),
            ("process", json!({"name": "powershell.exe", "executable": path, "command_line": "-Command \"x\""})),
            ("file", json!({"name": "powershell.exe", "path": path, "extension": "exe"})),
            ("threat.indicator", json!({"confidence": "High"})),
            ("related.hash", json!([sha1])),
            ("sentinel_one.threat.threat_info.sha1", json!(sha1)),
        ],
        &[
            (
                "malware",
                json!([{"name": "powershell.exe", "classification_ids": [99], "classifications": ["Malware"],
                    "severity_id": 4, "severity": "High"}]),
            ),
            (
                "evidences",
                json!([{"file": {"name": "powershell.exe", "path": path, "type_id": 8, "type": "Executable File"},
                    "data": {"process": path, "arguments": "-Command \"x\""}}]),
            ),
        ],
    );
    for (originator, fileless) in [(json!("explorer.exe"), false), (json!("explorer.exe"), true), (json!(null), true)] {
        let mut other = info.clone();
        other["originatorProcess"] = originator.clone();
        other["isFileless"] = json!(fileless);
        let event = map_to(Schema::Ecs, Stream::Threats, &threat(other, json!({})));
        assert_fields(
            &event,
            &[
                ("process.name", json!("powershell.exe")),
                ("process.executable", json!(path)),
                ("process.parent.name", originator),
                ("file.hash", Value::Null),
            ],
        );
    }
    // A hash with another beginning is the hash of the file.
    let mut of_file = info;
    of_file["sha1"] = json!("2".repeat(40));
    let event = map_to(Schema::Ecs, Stream::Threats, &threat(of_file, json!({})));
    assert_fields(
        &event,
        &[
            ("file.hash.sha1", json!("2".repeat(40))),
            ("file.size", json!(52)),
            ("file.code_signature.exists", json!(false)),
        ],
    );
    // The activity about the threat, and its unified alert.
    let reported = json!({"fileDisplayName": "powershell.exe (CLI fa08)", "filePath": path, "fileContentHash": sha1});
    let event =
        map_to(Schema::Ecs, Stream::Activities, &activity(19, json!({"threatId": "5", "agentId": "8"}), reported));
    let process = json!({"name": "powershell.exe", "executable": path});
    assert_fields(&event, &[("process", process), ("file.hash", Value::Null), ("file.name", json!("powershell.exe"))]);
    let unified =
        json!({"id": "u", "process": {"file": {"name": "powershell.exe (CLI fa08)", "path": path, "sha1": sha1}}});
    let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &unified);
    assert_fields(
        &event,
        &[("process.executable", json!(path)), ("process.hash", Value::Null), ("file.hash", Value::Null)],
    );
}

#[test]
fn a_path_in_the_place_of_a_name_is_that_of_the_file() {
    let path = "C:\\Users\\jane\\a.exe";
    let of_threat = threat(json!({"threatName": path}), json!({}));
    let of_activity = activity(2030, json!({"threatId": "5"}), json!({"fileDisplayName": path}));
    let of_alert = json!({"id": "1", "process": {"file": {"name": path}}});
    for (stream, record) in
        [(Stream::Threats, of_threat), (Stream::Activities, of_activity), (Stream::UnifiedAlerts, of_alert)]
    {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("file.path", json!(path)), ("file.name", json!("a.exe"))]);
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_fields(&event["evidences"][0]["file"], &[("path", json!(path)), ("name", json!("a.exe"))]);
    }
}

#[test]
fn names_of_processes_have_no_words_of_the_console() {
    let unified = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "process": {"cmdLine": "a.exe", "parentName": "cmd.exe (interactive session)",
        "file": {"name": "a.exe", "path": "\\Device\\HarddiskVolume3\\a\\a.exe"}}});
    check(
        "interactive-parent",
        Stream::UnifiedAlerts,
        &unified,
        &[("process.parent", json!({"name": "cmd.exe"})), ("process.name", json!("a.exe"))],
        &[],
    );
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &unified);
    assert_eq!(event.pointer("/evidences/0/data/parent_name"), Some(&json!("cmd.exe")));
    let threat_of = |originator: &str, kind: &str| {
        let info = json!({"detectionType": kind, "filePath": "/a/x", "originatorProcess": originator});
        at(&map_to(Schema::Ecs, Stream::Threats, &threat(info, json!({}))), "process").clone()
    };
    assert_eq!(threat_of("cmd.exe (interactive session)", "static"), json!({"name": "cmd.exe"}));
    assert_eq!(threat_of("/bin/bash", "static"), json!({"name": "bash", "executable": "/bin/bash"}));
    let explorer = "C:\\Windows\\explorer.exe";
    let parent = json!({"name": "explorer.exe", "executable": explorer});
    assert_eq!(threat_of(explorer, "dynamic")["parent"], parent);
    assert_eq!(threat_of("cmd.exe (interactive session)", "dynamic")["parent"], json!({"name": "cmd.exe"}));
    let session = activity(
        19,
        json!({"threatId": "5", "agentId": "8"}),
        json!({"fileDisplayName": "cmd.exe (interactive session)"}),
    );
    let event = map_to(Schema::Ecs, Stream::Activities, &session);
    assert_fields(&event, &[("process", json!({"name": "cmd.exe"})), ("file", Value::Null)]);
    let event = map_to(Schema::Ocsf, Stream::Activities, &session);
    assert_fields(&event, &[("evidences", json!([{"data": {"process": "cmd.exe"}}]))]);
}

/// A library, a script or another program is not the image of the process that the name belongs to.
#[test]
fn a_decorated_name_makes_no_other_file_the_process() {
    let sha1 = format!("fa08{}", "1".repeat(36));
    for (name, path, kind) in [
        ("cmd.exe (interactive session)", "C:\\x\\a.dll", "static"),
        ("cmd.exe (interactive session)", "C:\\x\\b.exe", "dynamic"),
        ("cmd.exe (interactive session)", "/home/x/a.dll", "dynamic"),
        ("powershell.exe (CLI fa08)", "C:\\x\\run.ps1", "dynamic"),
    ] {
        let shell = name.split(' ').next().unwrap();
        let info = json!({"threatName": name, "filePath": path, "detectionType": kind, "sha1": sha1,
            "originatorProcess": "explorer.exe", "maliciousProcessArguments": "/c x", "processUser": "ACME\\jane"});
        let reported = json!({"fileDisplayName": name, "filePath": path, "fileContentHash": sha1,
            "escapedMaliciousProcessArguments": "/c x"});
        let alerted = json!({"cmdLine": format!("{shell} /c x"), "file": {"name": name, "path": path, "sha1": sha1}});
        for (stream, record) in [
            (Stream::Threats, threat(info, json!({}))),
            (Stream::Activities, activity(19, json!({"threatId": "5", "agentId": "8"}), reported)),
            (Stream::UnifiedAlerts, json!({"id": "u", "process": alerted})),
        ] {
            let event = map_to(Schema::Ecs, stream, &record);
            let is_of_line = name.contains("CLI");
            assert_fields(
                &event,
                &[
                    ("process.name", json!(shell)),
                    ("process.executable", Value::Null),
                    ("process.hash", Value::Null),
                    ("file.name", json!(path.rsplit(['\\', '/']).next())),
                    ("file.path", json!(path)),
                    ("file.hash.sha1", if is_of_line { Value::Null } else { json!(sha1) }),
                ],
            );
            let line = at(&event, "process.command_line").as_str().unwrap();
            assert!(line.ends_with("/c x"), "{event:#}");
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            let evidence = &event["evidences"][0];
            assert_fields(evidence, &[("data.process", json!(shell)), ("file.path", json!(path))]);
            assert!(evidence["file"]["type"] != "Executable File", "{event:#}");
        }
    }
}

#[test]
fn malware_has_no_words_of_the_console_in_its_name() {
    for (name, expected) in [
        ("powershell.exe (CLI fa08)", "powershell.exe"),
        ("cmd.exe (interactive session)", "cmd.exe"),
        ("setup.exe (1)", "setup.exe (1)"),
        ("cmd.exe (interactive session) detected as Malware", "cmd.exe detected as Malware"),
        ("powershell.exe (CLI fa08) detected as Malware (x)", "powershell.exe detected as Malware (x)"),
        ("cmd.exe  (interactive session)  detected as Malware", "cmd.exe detected as Malware"),
        ("powershell.exe\u{a0}(CLI fa08) detected as Malware", "powershell.exe detected as Malware"),
        // The console adds its words at the end of a name: this is the name of another file.
        ("notes (interactive session).txt", "notes (interactive session).txt"),
        ("notes (CLI fa08) copy.txt", "notes (CLI fa08) copy.txt"),
        ("a (CLI 12).exe", "a (CLI 12).exe"),
        ("a (CLI 12).exe (CLI fa08)", "a (CLI 12).exe"),
        ("a (CLI fa08) and b (CLI fa09)", "a (CLI fa08) and b"),
        ("setup.exe (1) in (CLI) found", "setup.exe (1) in (CLI) found"),
    ] {
        let data = json!({"fileDisplayName": name, "threatClassification": "Malware"});
        for (stream, record) in [
            (Stream::Threats, threat(json!({"threatName": name}), json!({}))),
            (Stream::Activities, activity(19, json!({"threatId": "1"}), data)),
            (Stream::UnifiedAlerts, json!({"id": "1", "name": name, "classification": "Malware"})),
        ] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(event.pointer("/malware/0/name"), Some(&json!(expected)), "{stream}: {event:#}");
            // It is the name of the file.
            if let Some(file) = event.pointer("/malware/0/files/0/name") {
                let is_title = expected.contains(" detected as ");
                assert!(is_title || *file == json!(expected), "{stream}: {event:#}");
            }
        }
    }
}

#[test]
fn the_program_of_a_session_is_no_malware() {
    let sha1 = "1".repeat(40);
    let [name, path] = ["cmd.exe (interactive session)", "C:\\Windows\\System32\\cmd.exe"];
    let info = json!({"threatName": name, "fileDisplayName": name, "sha1": sha1, "filePath": path, "detectionType": "dynamic"});
    let data = json!({"threatClassification": "Malware", "fileDisplayName": name, "filePath": path,
        "fileContentHash": sha1});
    let unified = json!({"id": "1", "name": name, "classification": "MALWARE",
        "process": {"file": {"name": name, "path": path, "sha1": sha1}}});
    for (stream, record) in [
        (Stream::Threats, threat(info, json!({}))),
        (Stream::Activities, activity(19, json!({"threatId": "5"}), data)),
        (Stream::UnifiedAlerts, unified),
    ] {
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event["malware"][0], &[("name", json!("cmd.exe")), ("uid", Value::Null)]);
        assert_eq!(event.pointer("/evidences/0/file/hashes/0/value"), Some(&json!(sha1)), "{event:#}");
    }
}

/// A bundle of macOS is a directory.
#[test]
fn a_bundle_is_no_process() {
    let os = json!({"agentRealtimeInfo": {"agentOsType": "macos"}});
    let info = json!({"filePath": "/Applications/My Tool.app", "threatName": "My Tool.app", "detectionType": "dynamic",
        "originatorProcess": "launchd", "processUser": "jane"});
    check(
        "bundle",
        Stream::Threats,
        &threat(info.clone(), os.clone()),
        &[
            ("file.path", json!("/Applications/My Tool.app")),
            ("process", json!({"parent": {"name": "launchd"}})),
            ("user.name", json!("jane")),
        ],
        &[],
    );
    let event = map_to(Schema::Ocsf, Stream::Threats, &threat(info, os.clone()));
    assert_eq!(event.pointer("/evidences/0/file/type"), Some(&json!("Regular File")), "{event:#}");
    assert_eq!(event.pointer("/evidences/0/data/process"), None, "{event:#}");
    // The program within the bundle is a process.
    let program = "/Applications/My Tool.app/Contents/MacOS/My Tool";
    let info = json!({"filePath": program, "detectionType": "dynamic"});
    let event = map_to(Schema::Ecs, Stream::Threats, &threat(info, os));
    assert_fields(&event, &[("process.executable", json!(program))]);
    let unified = |line: Value| {
        let file = json!({"name": "Tool.app", "path": "/Applications/Tool.app"});
        json!({"id": "1", "analytics": {"typeValue": "DYNAMIC"}, "process": {"cmdLine": line, "file": file}})
    };
    let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &unified(Value::Null));
    assert_fields(&event, &[("process", Value::Null), ("file.name", json!("Tool.app"))]);
    let event =
        map_to(Schema::Ecs, Stream::UnifiedAlerts, &unified(json!("/Applications/Tool.app/Contents/MacOS/Tool -x")));
    assert_fields(&event, &[("process.name", json!("Tool")), ("file.name", json!("Tool.app"))]);
}

#[test]
fn the_name_of_malware_is_no_path() {
    let [windows, unix] = ["C:\\x\\evil.exe", "/tmp/evil.exe"];
    for path in [windows, unix] {
        let data = json!({"threatClassification": "Malware", "fileDisplayName": path});
        let unified = json!({"id": "1", "classification": "MALWARE", "name": path});
        for (stream, record) in [
            (Stream::Threats, threat(json!({"threatName": path}), json!({}))),
            (Stream::Activities, activity(19, json!({"threatId": "5"}), data)),
            (Stream::UnifiedAlerts, unified),
        ] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event["malware"][0], &[("name", json!("evil.exe"))]);
        }
    }
}

#[test]
fn a_name_without_a_path_has_an_extension_in_all_streams() {
    for (name, expected) in
        [("a.EXE", json!("exe")), ("notes.txt", json!("txt")), ("bash", Value::Null), ("a.1", Value::Null)]
    {
        let data = json!({"threatClassification": "Malware", "fileDisplayName": name});
        for (stream, record) in [
            (Stream::Threats, threat(json!({"threatName": name}), json!({}))),
            (Stream::Threats, threat(json!({"threatName": "n", "fileDisplayName": name}), json!({}))),
            (Stream::Activities, activity(19, json!({"threatId": "5"}), data)),
            (Stream::UnifiedAlerts, json!({"id": "1", "process": {"file": {"name": name}}})),
        ] {
            let event = map_to(Schema::Ecs, stream, &record);
            assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("file.name", json!(name)), ("file.extension", expected.clone())]);
        }
    }
}

#[test]
fn a_version_is_no_extension_of_a_file() {
    let cases = [
        ("/usr/bin/python3.11", Value::Null),
        ("C:\\x\\19.152.0801.0008", Value::Null),
        ("/x/a.7z", json!("7z")),
        ("/x/a.mp3", json!("mp3")),
    ];
    for (path, expected) in cases {
        let name = path.rsplit(['/', '\\']).next().unwrap();
        let file = json!({"name": name, "path": path});
        let events = json!({"alertInfo": {"alertId": "1", "eventType": "FILECREATION"},
            "targetProcessInfo": {"tgtFilePath": path}});
        for (stream, record) in [
            (Stream::Threats, threat(json!({"filePath": path}), json!({}))),
            (Stream::Activities, activity(19, json!({"threatId": "5"}), json!({"filePath": path}))),
            (Stream::Alerts, events),
            (Stream::UnifiedAlerts, json!({"id": "1", "process": {"file": file}})),
        ] {
            let event = map_to(Schema::Ecs, stream, &record);
            assert_fields(&event, &[("file.path", json!(path)), ("file.extension", expected.clone())]);
        }
    }
    // The console takes its extensions from the names.
    let record = threat(json!({"filePath": "C:\\x\\19.152.0801.0008", "fileExtension": "0008"}), json!({}));
    let event = map_to(Schema::Ecs, Stream::Threats, &record);
    assert_fields(
        &event,
        &[
            ("file.extension", Value::Null),
            ("threat.indicator.file.extension", Value::Null),
            ("sentinel_one.threat.threat_info.file_extension", json!("0008")),
        ],
    );
    let event = map_to(Schema::Ocsf, Stream::Threats, &record);
    assert_eq!(event.pointer("/evidences/0/file/ext"), None, "{event:#}");
    assert_fields(&event, &[("unmapped.threatInfo.fileExtension", json!("0008"))]);
    // This does not decide whether the file ran.
    let info = json!({"filePath": "C:\\x\\19.152.0801.0008", "detectionType": "dynamic",
        "maliciousProcessArguments": "/q /c rmdir /s /q C:\\x\\19.152.0801.0008"});
    assert_fields(&map_to(Schema::Ecs, Stream::Threats, &threat(info, json!({}))), &[("process", Value::Null)]);
}

#[test]
fn the_hash_of_a_command_line_is_related_without_a_file() {
    let sha1 = format!("8a9e{}", "1".repeat(36));
    let name = "cmd.exe (CLI 8a9e)";
    let of_threat = |path: Value| threat(json!({"threatName": name, "filePath": path, "sha1": sha1}), json!({}));
    let of_activity = activity(
        4003,
        json!({"threatId": "1"}),
        json!({"threatClassification": "Malware", "fileDisplayName": name, "fileContentHash": sha1}),
    );
    for (stream, record) in [
        (Stream::Threats, of_threat(Value::Null)),
        (Stream::Threats, of_threat(json!(""))),
        (Stream::Threats, of_threat(json!("N/A"))),
        (Stream::Activities, of_activity),
        (Stream::UnifiedAlerts, json!({"id": "1", "process": {"file": {"name": name, "sha1": sha1}}})),
    ] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("related.hash", json!([sha1])), ("file", Value::Null)]);
    }
}

/// The hash is the hash of the program.
#[test]
fn a_session_with_a_hash_has_a_file_in_all_streams() {
    let sha1 = "d".repeat(40);
    let name = "sh (interactive session)";
    let unified = |line: Value| {
        json!({"id": "1", "name": name, "classification": "MALWARE",
            "process": {"cmdLine": line, "file": {"name": name, "sha1": sha1}}})
    };
    let of_activity = activity(
        4003,
        json!({"threatId": "1"}),
        json!({"threatClassification": "Malware", "fileDisplayName": name, "fileContentHash": sha1}),
    );
    for (stream, record) in [
        (Stream::Threats, threat(json!({"threatName": name, "sha1": sha1, "detectionType": "dynamic"}), json!({}))),
        (Stream::Activities, of_activity),
        (Stream::UnifiedAlerts, unified(Value::Null)),
        (Stream::UnifiedAlerts, unified(json!("sh -i"))),
    ] {
        let event = map_to(Schema::Ecs, stream, &record);
        let file = json!({"name": "sh", "hash": {"sha1": sha1}});
        assert_fields(&event, &[("file", file), ("related.hash", json!([sha1])), ("process.name", json!("sh"))]);
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let file = &event["evidences"][0]["file"];
        assert_eq!((&file["name"], &file["hashes"][0]["value"]), (&json!("sh"), &json!(sha1)), "{event:#}");
        assert_fields(&event["malware"][0], &[("name", json!("sh")), ("uid", Value::Null)]);
    }
    // Without a hash, there is no file.
    for (stream, record) in [
        (Stream::Activities, activity(4003, json!({"threatId": "1"}), json!({"fileDisplayName": name}))),
        (Stream::UnifiedAlerts, json!({"id": "1", "process": {"file": {"name": name}}})),
    ] {
        assert_fields(&map_to(Schema::Ecs, stream, &record), &[("file", Value::Null)]);
    }
}

#[test]
fn an_expired_signature_is_one() {
    for (word, valid, state) in [
        ("Expired", json!(false), "Expired"),
        ("SignedExpired", json!(false), "Expired"),
        ("Expired", Value::Null, "Expired"),
        ("Revoked", json!(false), "Revoked"),
        ("Certificate Revoked", json!(false), "Revoked"),
        ("SignedUntrusted", Value::Null, "Untrusted"),
        ("SignedVerified", json!(true), "Valid"),
        ("SignedVerified", json!(false), "Untrusted"),
        ("SignedVerified", Value::Null, "Unknown"),
    ] {
        let info = json!({"filePath": "C:\\m\\mimikatz.exe", "fileVerificationType": word, "isValidCertificate": valid,
            "publisherName": "JANE DOE"});
        let record = threat(info, json!({}));
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_fields(
            &event["file"]["code_signature"],
            &[("exists", json!(true)), ("valid", valid), ("subject_name", json!("JANE DOE"))],
        );
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_eq!(event.pointer("/evidences/0/file/signatures/0/state"), Some(&json!(state)), "{word}: {event:#}");
    }
    let file = json!({"name": "a.exe", "path": "C:\\x\\a.exe", "signatureVerification": "EXPIRED"});
    let record = json!({"id": "1", "process": {"file": file}});
    let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
    assert_fields(&event, &[("file.code_signature", json!({"exists": true}))]);
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
    assert_eq!(event.pointer("/evidences/0/file/signatures/0/state"), Some(&json!("Expired")), "{event:#}");
}

/// The directory of a bundle is the beginning of the path of its program.
#[test]
fn the_program_of_a_bundle_is_the_process_and_the_bundle_the_file() {
    let check = |stream, record: &Value, bundle: &str, program: Option<&str>, text: &str| {
        let event = map_to(Schema::Ecs, stream, record);
        assert_fields(&event, &[("file.path", json!(bundle)), ("process.executable", json!(program))]);
        let event = map_to(Schema::Ocsf, stream, record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let evidence = &event["evidences"][0];
        assert_eq!(
            evidence["data"].get("process"),
            program.map(|program| json!(program)).as_ref(),
            "{text}: {event:#}"
        );
        let kind = if stream == Stream::Activities { "Unknown" } else { "Regular File" };
        assert_eq!(evidence["file"]["type"], kind, "{text}: {event:#}");
    };
    for (bundle, line, program) in [
        ("/Applications/Evil.app", "P -x", "/Applications/Evil.app/Contents/MacOS/Evil"),
        ("/Applications/Evil.app", "\"P\" -x", "/Applications/Evil.app/Contents/MacOS/Evil"),
        ("/Applications/Evil.app", "P", "/Applications/Evil.app/Contents/MacOS/other"),
        ("/Applications/My Evil.app", "P -x", "/Applications/My Evil.app/Contents/MacOS/My Evil"),
        ("/Applications/My Evil.app", "\"P\" -x", "/Applications/My Evil.app/Contents/MacOS/My Evil"),
        ("/tmp/EVIL.APP", "P -x", "/tmp/EVIL.APP/Contents/MacOS/evil"),
        ("/Library/X/Evil.xpc", "P -x", "/Library/X/Evil.xpc/Contents/MacOS/Evil"),
        ("/Library/X/Evil.appex", "P", "/Library/X/Evil.appex/Contents/MacOS/Evil"),
        ("/Library/X/Evil.framework", "P -x", "/Library/X/Evil.framework/Versions/A/Evil"),
        ("/Library/X/Evil.bundle", "P -x", "/Library/X/Evil.bundle/Contents/MacOS/Evil"),
    ] {
        let line = line.replace('P', program);
        for extension_type in ["Unknown", "Executable"] {
            let info = json!({"filePath": bundle, "detectionType": "dynamic", "originatorProcess": "launchd",
                "maliciousProcessArguments": line, "fileExtensionType": extension_type});
            let record = threat(info, json!({"agentRealtimeInfo": {"agentOsType": "macos"}}));
            check(Stream::Threats, &record, bundle, Some(program), &line);
        }
        let data = json!({"filePath": bundle, "escapedMaliciousProcessArguments": line});
        let record = activity(4003, json!({"threatId": "9", "osFamily": "macos"}), data);
        check(Stream::Activities, &record, bundle, Some(program), &line);
        let name = bundle.rsplit('/').next().unwrap();
        let record = json!({"id": "1", "analytics": {"typeValue": "DYNAMIC"},
            "process": {"cmdLine": line, "file": {"name": name, "path": bundle}}});
        check(Stream::UnifiedAlerts, &record, bundle, Some(program), &line);
    }
    // The program is unknown.
    for (bundle, line) in [
        ("/Applications/Evil.app", ""),
        ("/Applications/Evil.APPEX", ""),
        ("/Applications/Evil.app", "-x 1"),
        ("/Applications/Evil.app", "/Applications/Evil.app"),
        ("/Applications/My Evil.app", "\"/Applications/My Evil.app\" -x"),
    ] {
        let info = json!({"filePath": bundle, "detectionType": "dynamic", "originatorProcess": "launchd",
            "maliciousProcessArguments": line, "fileExtensionType": "Executable"});
        let record = threat(info, json!({"agentRealtimeInfo": {"agentOsType": "macos"}}));
        check(Stream::Threats, &record, bundle, None, line);
        let name = bundle.rsplit('/').next().unwrap();
        let record = json!({"id": "1", "analytics": {"typeValue": "DYNAMIC"},
            "process": {"cmdLine": line, "file": {"name": name, "path": bundle}}});
        check(Stream::UnifiedAlerts, &record, bundle, None, line);
    }
    // Installers of Linux have such names, and are programs.
    let info = json!({"filePath": "/home/jane/VMware.bundle", "detectionType": "dynamic",
        "maliciousProcessArguments": "/home/jane/VMware.bundle --console"});
    let record = threat(info, json!({"agentRealtimeInfo": {"agentOsType": "linux"}}));
    let event = map_to(Schema::Ecs, Stream::Threats, &record);
    assert_fields(&event, &[("process.executable", json!("/home/jane/VMware.bundle"))]);
    let process = json!({"cmdLine": "/home/jane/VMware.bundle --console",
        "file": {"name": "VMware.bundle", "path": "/home/jane/VMware.bundle"}});
    let record = json!({"id": "1", "assets": [{"name": "h", "osType": "LINUX"}], "process": process});
    let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
    assert_fields(&event, &[("process.executable", json!("/home/jane/VMware.bundle"))]);
}

/// Agents for Linux send such a blank.
#[test]
fn a_command_line_has_no_blank_before_it() {
    let [line, expected] = [" /usr/sbin/sshd -D -R ", "/usr/sbin/sshd -D -R "];
    let process = json!({"commandline": line, "pid": "12", "name": "sshd"});
    let target = json!({"tgtProcCmdLine": line, "tgtProcPid": "13", "tgtProcName": "sshd"});
    let alert = json!({"alertInfo": {"alertId": "1"}, "sourceProcessInfo": process, "targetProcessInfo": target});
    let unified = json!({"id": "1", "process": {"cmdLine": line}});
    for (stream, record, path) in [
        (Stream::Alerts, alert, "/actor/process/cmd_line"),
        (Stream::UnifiedAlerts, unified, "/evidences/0/data/cmd_line"),
        (
            Stream::Threats,
            threat(json!({"maliciousProcessArguments": line, "filePath": "/usr/sbin/sshd"}), json!({})),
            "/evidences/0/data/arguments",
        ),
    ] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("process.command_line", json!(expected))]);
        // The text as received is in the record's own values.
        assert!(event["sentinel_one"].to_string().contains(line), "{event:#}");
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(event.pointer(path), Some(&json!(expected)), "{event:#}");
        assert!(event["unmapped"].to_string().contains(line), "{event:#}");
        let lines = observed(&event).into_iter().filter(|(kind, _)| kind == "Command Line");
        assert!(lines.map(|(_, line)| line).all(|line| line == expected), "{event:#}");
    }
}

#[test]
fn the_program_of_a_session_is_executable_without_a_path_too() {
    let sha1 = "0269962600000000000000000000000000000000";
    let name = "powershell.exe (interactive session)";
    let info = json!({"threatName": name, "isFileless": true, "sha1": sha1, "filePath": "", "fileExtension": ""});
    let data = json!({"threatClassification": "Malware", "fileDisplayName": name, "fileContentHash": sha1});
    let file = json!({"name": name, "sha1": sha1});
    for (stream, record) in [
        (Stream::Threats, threat(info, json!({}))),
        (Stream::UnifiedAlerts, json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "process": {"file": file}})),
        (Stream::Activities, activity(19, json!({"threatId": "5"}), data)),
    ] {
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(
            &event["evidences"][0],
            &[("file.name", json!("powershell.exe")), ("file.type", json!("Executable File"))],
        );
        let event = map_to(Schema::Ecs, stream, &record);
        assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("file.name", json!("powershell.exe")), ("file.extension", json!("exe"))]);
    }
    // A command line has no file.
    let data = json!({"fileDisplayName": "powershell.exe (CLI 0269)", "fileContentHash": sha1});
    let event = map_to(Schema::Ocsf, Stream::Activities, &activity(19, json!({"threatId": "5"}), data));
    assert_eq!(event.pointer("/evidences/0/file"), None, "{event:#}");
}
