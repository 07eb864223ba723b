//! Users in several streams: names, addresses, domains, roles.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::records::{activity, observed, threat};
use crate::support::{assert_fields, at, check, faults, map_to, mapper_to, read_event};

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
        // No user has this name.
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
    // The roles of an analyst, an assignee and a user who marked a threat are unknown.
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
        // A principal name is not an address there.
        let email = at(&record, "activeDirectory.mail").clone();
        assert_fields(&event, &[("device.owner.name", json!(name)), ("device.owner.email_addr", email)]);
    }
    let named = json!({"id": "9", "lastLoggedInUserName": "bob", "activeDirectory": {"userPrincipalName": "jane@acme.example"}});
    assert_fields(&map_to(Schema::Ecs, Stream::Agents, &named), &[("user.name", json!("bob"))]);
    let record = threat(json!({}), json!({"agentDetectionInfo": {"agentLastLoggedInUpn": "jane@acme.example"}}));
    let user = [("user.name", json!("jane")), ("user.email", json!("jane@acme.example"))];
    assert_fields(&map_to(Schema::Ecs, Stream::Threats, &record), &user);
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

#[test]
fn a_name_with_an_address_is_both_for_every_user() {
    let [both, name, address] = ["Jane Doe (jane@acme.example)", "Jane Doe", "jane@acme.example"];
    let all = json!(["jane", address, name]);
    // The user who made a detection in the console.
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
    // The user who made a group.
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
    // The user that an alert is assigned to.
    let record = json!({"id": "u", "assignee": {"userId": "7", "fullName": both}});
    assert_fields(&map_to(Schema::Ecs, Stream::UnifiedAlerts, &record), &[("related.user", all.clone())]);
    // The author of a note.
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

/// Linux and Windows write a hyphen in place of a name.
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

/// No record says whether a user of an endpoint is an administrator there.
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
    // A text that is not an address is ignored in the field for addresses too.
    record["activeDirectory"]["mail"] = json!("n/a (jane)");
    check_owner(Stream::Agents, &record, Value::Null, json!(upn));
    assert_fields(&map_to(Schema::Ecs, Stream::Agents, &record), &[("user.email", json!(upn))]);
    let asset = json!({"name": "h", "osType": "WINDOWS", "lastLoggedInUser": upn});
    let record = json!({"id": "1", "detectedAt": "2026-01-01T00:00:00Z", "assets": [asset]});
    check_owner(Stream::UnifiedAlerts, &record, Value::Null, Value::Null);
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
    // A process may run as a managed service account: `$` does not distinguish it from a computer.
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
