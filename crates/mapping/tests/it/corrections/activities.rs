//! Activities, except hits of detection rules.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::records::{activity, of_activity};
use crate::support::{assert_fields, at, check, faults, map_to, mapper_to};

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
    // Without a description, the actor's id is unknown.
    for number in [24, 25, 140, 141, 142, 146, 1024] {
        let record = activity(number, json!({"userId": "7"}), json!({"byUser": "Admin A", "username": "User B"}));
        assert_fields(
            &map_to(Schema::Ecs, Stream::Activities, &record),
            &[("user.id", Value::Null), ("user.name", json!("Admin A")), ("user.target.id", json!("7"))],
        );
        let event = map_to(Schema::Ocsf, Stream::Activities, &record);
        assert_fields(&event, &[("actor.user.uid", Value::Null), ("user.uid", json!("7"))]);
    }
    // A description of the changed user says nothing about the actor.
    let of_target = activity(
        23,
        json!({"userId": "7", "description": "<ManagementUser with id=7, email='b@acme.example'>"}),
        json!({"byUser": "Admin A", "username": "User B"}),
    );
    let event = map_to(Schema::Ecs, Stream::Activities, &of_target);
    assert_fields(&event, &[("user.id", Value::Null), ("user.email", Value::Null), ("user.target.id", json!("7"))]);
    // If both are the same user, both have the id.
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
    // An object without its own name belongs to the account or the site.
    for (number, kind) in [(3610, "Password"), (7200, "Cloud account"), (69, "Policy"), (5220, "Rule")] {
        let event = entity(number, json!({"siteName": "Berlin"}), json!({}));
        let expected =
            [("entity.type", json!(kind)), ("entity.name", Value::Null), ("entity.org.name", json!("Berlin"))];
        assert_fields(&event, &expected);
    }
    // Without an account and a site, it is not an entity; with an endpoint, the endpoint is the entity.
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
    // A version that was not installed is not the agent's version.
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

/// OCSF has no status for a cancelled scan: `Cancelled` is the activity.
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
            // The entity is the site, which was not switched off.
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
    // A unified alert has the keys of an incident.
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

/// A device without a name has the name of its class, else the name of its interface.
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
        // The actor, and the changed user.
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
    // In any other name, the text in brackets is part of the name. A user in both forms is one user.
    let event = map_to(Schema::Ecs, Stream::Activities, &activity(27, json!({}), json!({"username": "Jane (SOC)"})));
    assert_fields(&event, &[("user", json!({"name": "Jane (SOC)", "full_name": "Jane (SOC)"}))]);
    let own = json!({"byUser": "Jane Doe (jane@acme.example)", "username": address, "newValue": true});
    let event = map_to(Schema::Ecs, Stream::Activities, &activity(67, json!({"userId": "7"}), own));
    assert_fields(&event, &[("user.id", json!("7")), ("user.name", json!("jane"))]);
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
    // The site is the subject of a site's activity, whatever group the record names.
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

/// Without `byUser`, the name in a record is the actor's name, so the user that the record is about has the same role.
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
    // Arguments of an unknown process are evidence too, and not a file.
    let data = json!({"fileDisplayName": "a.ps1", "filePath": "C:\\x\\a.ps1", "newAnalystVerdict": "true_positive",
        "escapedMaliciousProcessArguments": "-q"});
    let event = map_to(Schema::Ocsf, Stream::Activities, &activity(2030, json!({"threatId": "5"}), data));
    let evidence = &event["evidences"][0];
    assert_fields(evidence, &[("data", json!({"arguments": "-q"})), ("file.type", json!("Unknown"))]);
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
        // An empty value, and a value that is not a text, is neither.
        for value in [json!(null), json!(""), json!(["HIGH"]), json!({"a": "b"}), json!("N/A")] {
            // A word in place of the new severity means that the severity is unknown, and not that there is none.
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
    // A user who acted for another user.
    let data = json!({"alertId": "A", "byUser": "Boss", "user": {"id": "3", "enriched_name": "x@y.example"}});
    let [event, finding] = of_activity(16004, json!({}), data);
    assert_fields(&event, &[("user", json!({"name": "Boss"}))]);
    assert_fields(&finding, &[("actor.user.name", json!("Boss")), ("actor.user.uid", Value::Null)]);
    // The result of the action is not a status of the alert.
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
        // The id of a threat comes first, and decides the title.
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

/// Checks the users of an activity: the id, name and address of the actor, and the address of the changed user.
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
    // Outside `iam`, there is one user.
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
        // Only the id shows which of the two users acted.
        check_users(
            number,
            fields("7", "8"),
            data.clone(),
            [json!("7"), json!("Jane Doe"), none.clone()],
            none.clone(),
        );
    }
    // Without a name, the address has the name.
    for number in [27, 5020] {
        check_users(number, fields("7", ""), json!({}), [json!("7"), json!("jane"), jane()], none.clone());
        let [ecs, _] = of_activity(number, fields("", ""), json!({}));
        assert_fields(&ecs, &[("user", json!({"name": "jane", "email": "jane@acme.example"}))]);
        // The name is another user's address.
        let eve = [none.clone(), json!("eve"), json!("eve@acme.example")];
        check_users(number, fields("", "8"), json!({"username": "eve@acme.example"}), eve, none.clone());
    }
    // The description is about the new user, or about the user who added it.
    let added = json!({"byUser": "Admin A", "username": "Jane Doe", "role": "Viewer"});
    check_users(23, fields("7", "7"), added.clone(), [none.clone(), json!("Admin A"), none.clone()], jane());
    check_users(23, fields("7", "8"), added, [json!("8"), json!("Admin A"), jane()], none.clone());
    // Only the id shows which of the two users it is.
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
    // Without a word, the severity is the severity of the type.
    let [ecs, _] = of_activity(16003, json!({}), json!({"alertId": "9"}));
    assert_fields(&ecs, &[("event.severity", json!(21))]);
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

/// The console also has words in place of a severity.
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
    // An empty value is not a word, and another form may have one.
    for (data, score) in [
        (json!({"alertId": "9", "newSeverity": ""}), 21),
        (json!({"alertId": "9", "newSeverity": null}), 21),
        (json!({"alertId": "9", "newSeverity": "N/A", "payload": {"newSeverity": "HIGH"}}), 73),
    ] {
        assert_fields(&of_activity(16003, json!({}), data)[0], &[("event.severity", json!(score))]);
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
    // In other activities, the key names no user.
    let [ecs, _] = of_activity(43, json!({}), json!({"oldAssigneeEmail": "eve@acme.example"}));
    assert_fields(&ecs, &[("related", Value::Null)]);
}
