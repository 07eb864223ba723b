//! Alerts of detection rules, and their hits in the activity log.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::records::{activity, of_activity};
use crate::support::{assert_fields, at, faults, map_to};

/// File times with all bits unset or set, and the end of the calendar.
#[test]
fn a_time_that_no_event_has_is_none() {
    for time in ["1601-01-01T00:00:00Z", "2185-07-21T23:34:33.709552Z", "9999-12-31T23:59:59Z"] {
        let record = json!({"id": "1", "alertInfo": {"alertId": "1", "createdAt": "2026-01-01T00:00:00Z"},
            "targetProcessInfo": {"tgtFilePath": "C:\\a.exe", "tgtFileCreatedAt": time, "tgtFileModifiedAt": time}});
        let event = map_to(Schema::Ecs, Stream::Alerts, &record);
        assert_fields(
            &event,
            &[("file.path", json!("C:\\a.exe")), ("file.created", json!(null)), ("file.mtime", json!(null))],
        );
        let event = map_to(Schema::Ocsf, Stream::Alerts, &record);
        let file = &event["evidences"][0]["file"];
        assert_fields(
            file,
            &[("path", json!("C:\\a.exe")), ("created_time", json!(null)), ("modified_time", json!(null))],
        );
    }
}

#[test]
fn an_alert_has_no_hash_of_a_command_line_and_no_process_zero() {
    let [of_line, other] = ["fa08".to_owned() + &"1".repeat(36), "2".repeat(40)];
    let shell = "C:\\W\\powershell.exe (CLI fa08)";
    let alert = json!({"alertInfo": {"alertId": "1", "createdAt": "2026-01-01T00:00:00Z"},
        "sourceProcessInfo": {"name": "powershell.exe (CLI fa08)", "pid": "12", "fileHashSha1": of_line},
        "sourceParentProcessInfo": {"name": "cmd.exe", "pid": "0", "fileHashSha1": other},
        "targetProcessInfo": {"tgtFilePath": shell, "tgtFileHashSha1": of_line, "tgtProcName": "x.exe", "tgtProcPid": "0"}});
    let hit = activity(
        3608,
        json!({"agentId": "9"}),
        json!({"alertid": "1", "rulename": "r",
            "sourceprocessname": "powershell.exe (CLI fa08)", "sourceprocesspid": "12", "sourceprocesssha1": of_line,
            "sourceparentprocessname": "cmd.exe", "sourceparentprocesspid": "0", "sourceparentprocesssha1": other,
            "tgtfilepath": shell, "tgtfilehashsha1": of_line, "tgtprocname": "x.exe", "tgtprocpid": "0"}),
    );
    for (stream, record) in [(Stream::Alerts, alert), (Stream::Activities, hit)] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(
            &event,
            &[
                ("file.path", json!("C:\\W\\powershell.exe")),
                ("file.hash", json!(null)),
                ("process.hash", json!(null)),
                ("process.pid", json!(12)),
                ("process.parent.hash.sha1", json!(other)),
                ("process.parent.pid", json!(null)),
                ("related.hash", json!([of_line, other])),
            ],
        );
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let parts = [&event["evidences"], &event["actor"]].map(Value::to_string);
        assert!(parts.iter().all(|part| !part.contains(&of_line) && !part.contains("\"pid\":0")), "{event:#}");
    }
}

/// All failed logins of Windows have the id of `Nobody`.
#[test]
fn nobody_is_no_user_who_logged_in() {
    let login = json!({"loginsUserName": "ARLENE", "loginAccountDomain": "-", "loginAccountSid": "S-1-0-0",
        "loginIsSuccessful": "False", "alertId": "1"});
    let hit = json!({"alertid": "1", "rulename": "r", "loginsusername": "ARLENE", "loginaccountdomain": "-",
        "loginaccountsid": "S-1-0-0"});
    for (stream, record) in
        [(Stream::Alerts, json!({"alertInfo": login})), (Stream::Activities, activity(3608, json!({}), hit))]
    {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("user", json!({"name": "ARLENE"}))]);
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let users = event["evidences"].as_array().unwrap().iter().filter_map(|evidence| evidence.get("user"));
        assert_eq!(
            users.collect::<Vec<_>>(),
            [&json!({"name": "ARLENE", "type_id": 0, "type": "Unknown"})],
            "{event:#}"
        );
    }
    // `S-1-5-18` would be the id of the account that requested the login.
    for (sid, expected) in [("S-1-5-21-1-2-3-1000", json!("S-1-5-21-1-2-3-1000")), ("s-1-0-0", Value::Null)] {
        let record = json!({"alertInfo": {"alertId": "1", "loginsUserName": "a", "loginAccountSid": sid}});
        assert_fields(&map_to(Schema::Ecs, Stream::Alerts, &record), &[("user.id", expected)]);
    }
}

#[test]
fn who_logged_in_as_an_administrator_is_one() {
    for (word, kind) in
        [(json!("true"), "Admin"), (json!(true), "Admin"), (json!("false"), "Unknown"), (json!(null), "Unknown")]
    {
        let info = json!({"alertId": "1", "eventType": "WINLOGONATTEMPT", "loginsUserName": "jane",
            "loginAccountSid": "S-1-5-21-1", "loginIsSuccessful": "true", "loginIsAdministratorEquivalent": word});
        let event =
            map_to(Schema::Ocsf, Stream::Alerts, &json!({"alertInfo": info, "ruleInfo": {"id": "1", "name": "r"}}));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new());
        let user = &event["evidences"][0]["user"];
        assert_eq!((&user["name"], &user["type"]), (&json!("jane"), &json!(kind)), "{event:#}");
        let hit = json!({"rulename": "r", "ruleid": "1", "alertid": "1", "dveventtype": "WINLOGONATTEMPT",
            "loginsusername": "jane", "loginisadministratorequivalent": word});
        let [_, event] = of_activity(3608, json!({}), hit);
        assert_eq!(event["evidences"][0]["user"]["type"], json!(kind), "{event:#}");
    }
    // SYSTEM is not an administrator.
    let info = json!({"alertId": "1", "eventType": "WINLOGONATTEMPT", "loginsUserName": "SYSTEM",
        "loginIsAdministratorEquivalent": "true"});
    let event = map_to(Schema::Ocsf, Stream::Alerts, &json!({"alertInfo": info}));
    assert_eq!(event["evidences"][0]["user"]["type"], json!("System"), "{event:#}");
}

/// Some keys of an alert have no field in the record type of a hit.
#[test]
fn a_hit_has_all_that_its_alert_has() {
    let alert = json!({"alertInfo": {"alertId": "5", "indicatorCategory": "Evasion"}, "ruleInfo": {"name": "r"},
        "sourceProcessInfo": {"name": "a.exe", "pid": "12", "integrityLevel": "medium"},
        "sourceParentProcessInfo": {"name": "b.exe", "pid": "11", "integrityLevel": "high"},
        "targetProcessInfo": {"tgtFileId": "5C4E2E3FE950B367", "tgtFilePath": "C:\\x\\a.txt"}});
    let hit = activity(
        3608,
        json!({"agentId": "9"}),
        json!({"alertid": "5", "rulename": "r", "indicatorcategory": "Evasion", "sourceprocessname": "a.exe",
            "sourceprocesspid": "12", "sourceprocessintegritylevel": "medium", "sourceparentprocessname": "b.exe",
            "sourceparentprocesspid": "11", "sourceparentprocessintegritylevel": "high",
            "tgtfileid": "5C4E2E3FE950B367", "tgtfilepath": "C:\\x\\a.txt"}),
    );
    for (stream, record) in [(Stream::Alerts, alert), (Stream::Activities, hit)] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("event.category", json!(["intrusion_detection", "malware"]))]);
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(
            &event["actor"]["process"],
            &[("integrity", json!("Medium")), ("parent_process.integrity", json!("High"))],
        );
        let mut files = event["evidences"].as_array().unwrap().iter().filter_map(|evidence| evidence.get("file"));
        assert!(files.any(|file| file["uid"] == "5C4E2E3FE950B367"), "{event:#}");
    }
}

/// The console has the name of the user who logged in, but the id and the domain of the account that requested the
/// login. For a login at the keyboard, that is Windows itself.
#[test]
fn an_id_of_another_account_is_none_of_who_logged_in() {
    let domain = "S-1-5-21-3622100493-2250088526-2058887289";
    let of_domain = |number: &str| format!("{domain}-{number}");
    let [jane, administrator, guest] = ["1000", "500", "501"].map(of_domain);
    for (name, sid, is_one) in [
        ("Crest", "S-1-5-18", false),
        ("DWM-5", "S-1-5-18", false),
        ("jane@acme.example", "S-1-5-19", false),
        ("jane", "s-1-5-20", false),
        ("jane", "S-1-5-7", false),
        ("Guest", jane.as_str(), false),
        ("Gast", &jane, false),
        ("Invité", &administrator, false),
        ("Administrator", &jane, false),
        ("DefaultAccount", &administrator, false),
        ("SYSTEM", &jane, false),
        ("NETWORK SERVICE", "S-1-5-18", false),
        ("SYSTEM", "S-1-5-18", true),
        ("Système", "S-1-5-18", true),
        ("NT AUTHORITY\\SYSTEM", "S-1-5-18", true),
        // The account of the machine.
        ("WS-7$", "S-1-5-18", true),
        ("WS-7$", "S-1-5-20", true),
        ("LOKALER DIENST", "S-1-5-19", true),
        ("SERVICE RÉSEAU", "S-1-5-20", true),
        ("ANONYMOUS LOGON", "S-1-5-7", true),
        ("DWM-5", "S-1-5-90-0-5", true),
        ("Crest", &jane, true),
        ("Guest", &guest, true),
        ("Administrateur", &administrator, true),
        // This account may be renamed.
        ("boss", &administrator, true),
    ] {
        let login = json!({"alertId": "1", "eventType": "WINLOGONATTEMPT", "loginsUserName": name,
            "loginAccountSid": sid, "loginAccountDomain": "CLO007"});
        let hit = json!({"alertid": "1", "rulename": "r", "loginsusername": name, "loginaccountsid": sid,
            "loginaccountdomain": "CLO007"});
        for (stream, record, rest) in [
            (Stream::Alerts, json!({"alertInfo": login}), "alertInfo"),
            (Stream::Activities, activity(3608, json!({}), hit), "data"),
        ] {
            let [id, of_login] = if is_one { [json!(sid), json!("CLO007")] } else { [Value::Null, Value::Null] };
            let event = map_to(Schema::Ecs, stream, &record);
            assert_eq!(at(&event, "user.id"), &id, "{name} {sid}: {event:#}");
            if is_one || !name.contains(['@', '\\']) {
                assert_eq!(at(&event, "user.domain"), &of_login, "{name} {sid}: {event:#}");
            }
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            let users: Vec<_> =
                event["evidences"].as_array().unwrap().iter().filter_map(|evidence| evidence.get("user")).collect();
            assert_eq!(users.len(), 1, "{event:#}");
            assert_eq!(users[0].get("uid"), Some(&id).filter(|id| !id.is_null()), "{name} {sid}: {event:#}");
            // Nothing is lost.
            let rest = event["unmapped"][rest].to_string();
            assert_eq!(rest.contains(sid) && rest.contains("CLO007"), !is_one, "{name} {sid}: {event:#}");
        }
    }
}
