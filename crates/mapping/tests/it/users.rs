//! The acting users: of the process, of the login, of the console.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::support::{assert_fields, map, map_to};

fn activity(number: u32, data: Value) -> Value {
    map(Stream::Activities, &json!({"activityType": number, "userId": "3", "data": data}))
}

#[test]
fn the_user_of_a_threat_is_the_one_of_the_process_and_not_the_one_who_is_logged_in() {
    let threat = |process_user: &str, logged_in: &str| {
        let info = json!({"threatInfo": {"processUser": process_user}, "agentDetectionInfo":
            {"agentLastLoggedInUserName": logged_in, "agentLastLoggedInUserMail": "alice@x.example"}});
        map(Stream::Threats, &info)
    };
    assert_fields(
        &threat("ACME\\bob", "alice"),
        &[
            ("user", json!({"name": "bob", "domain": "ACME"})),
            ("process", Value::Null),
            ("related.user", json!(["bob", "alice", "alice@x.example"])),
            ("sentinel_one.threat.agent_detection_info.agent_last_logged_in_user_name", json!("alice")),
            ("sentinel_one.threat.agent_detection_info.agent_last_logged_in_user_mail", json!("alice@x.example")),
        ],
    );
    let system = json!({"name": "SYSTEM", "domain": "NT AUTHORITY"});
    assert_fields(&threat("NT AUTHORITY\\SYSTEM", "ACME\\alice"), &[("user", system)]);
    let own = json!({"name": "alice", "domain": "ACME", "email": "alice@x.example"});
    assert_fields(&threat("ACME\\alice", "alice"), &[("user", own)]);
    assert_fields(&threat("", "alice"), &[("user", json!({"name": "alice", "email": "alice@x.example"}))]);
    let principal = json!({"name": "bob", "domain": "acme.example"});
    assert_fields(
        &threat("bob@acme.example", "alice"),
        &[("user", principal), ("related.user", json!(["bob", "bob@acme.example", "alice", "alice@x.example"]))],
    );
}

#[test]
fn the_user_of_an_alert_is_the_one_of_the_process_unless_someone_logged_in() {
    let alert =
        |info: Value, user: &str| map(Stream::Alerts, &json!({"alertInfo": info, "sourceProcessInfo": {"user": user}}));
    let expected = json!({"name": "bob", "domain": "ACME"});
    assert_fields(&alert(json!({}), "ACME\\bob"), &[("user", expected.clone())]);
    let login = alert(json!({"eventType": "LOGIN", "loginsUserName": "eve"}), "NT AUTHORITY\\SYSTEM");
    assert_fields(&login, &[("user", json!({"name": "eve"})), ("process.user", json!({"name": "SYSTEM"}))]);
    let hit = activity(3608, json!({"sourceprocessusername": "ACME\\bob", "userName": "sentinelone", "userId": 1}));
    assert_fields(&hit, &[("user", expected)]);
}

#[test]
fn a_linux_process_has_its_effective_and_its_real_user() {
    let sentence = "Effective: root, Real: jane, Login: john";
    let hit = activity(3608, json!({"sourceprocessusername": sentence}));
    let expected = [
        ("user", json!({"name": "root"})),
        ("process", json!({"user": {"name": "root"}, "real_user": {"name": "jane"}})),
        ("related.user", json!(["root", "jane", "john"])),
    ];
    assert_fields(&hit, &expected);
    let apart = json!({"sourceProcessInfo": {"effectiveUser": "root", "realUser": "jane", "loginUser": "john"}});
    assert_fields(&map(Stream::Alerts, &apart), &expected);
}

#[test]
fn the_user_of_a_unified_alert_is_the_attacked_one_else_the_one_of_the_process() {
    let alert = |target: Value, process: Value| {
        let alert = json!({"assets": [{"lastLoggedInUser": "bob"}], "process": process, "detectionTime": {"targetUser": target}});
        map(Stream::UnifiedAlerts, &alert)
    };
    let eve = json!({"name": "eve", "domain": "ACME"});
    let of_process = [("user", eve), ("related.user", json!(["eve", "bob"]))];
    assert_fields(&alert(Value::Null, json!({"username": "ACME\\eve"})), &of_process);
    assert_fields(&alert(Value::Null, json!({"username": "eve", "userDomain": "ACME"})), &of_process);
    assert_fields(&alert(json!({"name": "ann"}), json!({"username": "eve"})), &[("user", json!({"name": "ann"}))]);
    assert_fields(&alert(Value::Null, Value::Null), &[("user", json!({"name": "bob"}))]);
}

#[test]
fn the_owner_of_a_rule_is_not_the_one_who_triggered_it() {
    let event = activity(
        3608,
        json!({"ruleName": "r", "ruleId": "5", "userName": "owner", "userId": "9", "fullName": "Rule Owner"}),
    );
    assert_fields(
        &event,
        &[("event.kind", json!("alert")), ("user", json!({"id": "3"})), ("rule", json!({"id": "5", "name": "r"}))],
    );
    // A hit without its own keys names only the user who was logged in to the endpoint.
    for number in [3608, 3784] {
        let data = json!({"ruleName": "r", "userName": "owner", "lastLoggedInUserName": "alice"});
        let record = json!({"activityType": number, "agentId": "1", "data": data});
        assert_fields(&map(Stream::Activities, &record), &[("user", json!({"name": "alice"}))]);
        assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &record), &[("actor.user.name", json!("alice"))]);
    }
}

#[test]
fn a_recovery_address_and_a_full_name_are_those_of_the_changed_user() {
    let recovery =
        json!({"username": "jane", "recoveryEmail": "new@x.example", "role": "Admin", "userScope": "account"});
    let event = activity(9_999, recovery.clone());
    assert_fields(
        &event,
        &[
            ("event.category", json!(["iam"])),
            ("user.email", Value::Null),
            ("user.target.email", json!("new@x.example")),
        ],
    );
    let login = activity(133, recovery);
    assert_fields(&login, &[("user.email", Value::Null), ("related.user", json!(["jane", "new@x.example"]))]);
    let added = activity(23, json!({"byUser": "alice", "username": "bob", "fullName": "Bob B"}));
    assert_fields(
        &added,
        &[
            ("user.full_name", Value::Null),
            ("user.target.name", json!("bob")),
            ("user.target.full_name", json!("Bob B")),
        ],
    );
    let own = activity(37, json!({"username": "bob", "fullName": "Bob B"}));
    assert_fields(&own, &[("user.full_name", json!("Bob B"))]);
}

#[test]
fn the_name_of_a_person_is_also_the_full_name() {
    let login = activity(27, json!({"username": "John Doe", "role": "Admin"}));
    assert_fields(
        &login,
        &[("user", json!({"id": "3", "name": "John Doe", "full_name": "John Doe", "roles": ["Admin"]}))],
    );
    let deleted = activity(25, json!({"byUser": "Jean Dupont", "username": "Foo User"}));
    assert_fields(
        &deleted,
        &[
            ("user.full_name", json!("Jean Dupont")),
            ("user.target", json!({"id": "3", "name": "Foo User", "full_name": "Foo User"})),
        ],
    );
    let short = activity(27, json!({"username": "john"}));
    assert_fields(&short, &[("user", json!({"id": "3", "name": "john"}))]);
}

#[test]
fn the_user_who_came_from_another_host_is_not_the_one_who_is_logged_in() {
    let sentence = "Lateral Movement 192.0.2.3 example.com\\testuser (interactive session)";
    for number in [18, 4003] {
        let data = json!({"fileDisplayName": sentence, "lastLoggedInUserName": "alice"});
        let event = map(Stream::Activities, &json!({"activityType": number, "agentId": "1", "data": data}));
        assert_fields(
            &event,
            &[
                ("event.category", json!(["malware", "intrusion_detection"])),
                ("user", json!({"name": "testuser", "domain": "example.com"})),
                ("related.user", json!(["testuser", "alice"])),
                ("source.ip", json!("192.0.2.3")),
            ],
        );
    }
    let data = json!({"fileDisplayName": "a.exe", "lastLoggedInUserName": "alice"});
    let local = map(Stream::Activities, &json!({"activityType": 18, "agentId": "1", "data": data}));
    assert_fields(&local, &[("user.name", json!("alice")), ("event.category", json!(["malware"]))]);
}

/// Checks the users in each schema: the actor, and the changed user.
#[track_caller]
fn assert_users(number: u32, data: Value, ecs: &[(&str, Value)], ocsf: &[(&str, Value)]) {
    let record = json!({"activityType": number, "userId": "3", "data": data});
    assert_fields(&map(Stream::Activities, &record), ecs);
    assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &record), ocsf);
}

#[test]
fn every_schema_has_the_same_users() {
    // The user who acted in the console is neither the user who is logged in to the endpoint, nor the user who came
    // from another host.
    let sentence = "Lateral Movement 192.0.2.3 ACME\\bob (network)";
    assert_users(
        4003,
        json!({"fileDisplayName": sentence, "lastLoggedInUserName": "alice"}),
        &[("user", json!({"id": "3"})), ("related.user", json!(["bob", "alice"]))],
        &[("actor.user", json!({"uid": "3", "type": "Unknown", "type_id": 0}))],
    );
    // `byUser` has no address: the address in the record belongs to the changed user. An address in this user's name
    // comes first.
    let pair = |name: &str| json!({"byUser": "jane", "username": name, "email": "b@x.example", "recoveryEmail": "r@x.example"});
    for (name, email) in [("bob@x.example", "bob@x.example"), ("bob", "b@x.example")] {
        assert_users(
            23,
            pair(name),
            &[("user.email", Value::Null), ("user.target.name", json!("bob")), ("user.target.email", json!(email))],
            &[("actor.user.email_addr", Value::Null), ("user.name", json!("bob")), ("user.email_addr", json!(email))],
        );
        assert_users(
            54,
            pair(name),
            &[("user.email", Value::Null), ("user.target.name", json!("bob")), ("user.target.email", json!(email))],
            &[("actor.user.name", json!("jane")), ("actor.user.email_addr", Value::Null)],
        );
    }
    // Without `byUser`, the address in the administration of users belongs to the changed user.
    assert_users(
        37,
        json!({"username": "jane", "email": "j@x.example"}),
        &[("user.email", Value::Null), ("user.target.email", json!("j@x.example"))],
        &[("actor.user.email_addr", Value::Null), ("user.email_addr", json!("j@x.example"))],
    );
    assert_users(
        27,
        json!({"username": "jane", "email": "j@x.example"}),
        &[("user.email", json!("j@x.example"))],
        &[("actor.user.email_addr", json!("j@x.example"))],
    );
    assert_users(27, json!({"username": "jane", "email": "none given"}), &[("user.email", Value::Null)], &[]);
    assert_users(
        23,
        json!({"byUser": "Jane Doe", "username": "User B"}),
        &[("user.full_name", json!("Jane Doe")), ("user.target.full_name", json!("User B"))],
        &[("actor.user.full_name", json!("Jane Doe")), ("user.full_name", json!("User B"))],
    );
}

#[test]
fn a_role_is_that_of_the_changed_user_of_the_actor_or_of_both() {
    let viewer = json!(["Viewer"]);
    let changed = |id: &str| json!({"username": "jane", "userId": id, "role": "Viewer"});
    assert_users(
        24,
        changed("9"),
        &[("user.roles", Value::Null), ("user.target.roles", viewer.clone())],
        &[("actor.user.type", json!("Unknown"))],
    );
    for (number, data) in [(24, changed("3")), (67, json!({"byUser": "jane", "username": "jane", "role": "Viewer"}))] {
        assert_users(
            number,
            data,
            &[("user.roles", viewer.clone()), ("user.target.roles", viewer.clone())],
            &[("actor.user.type", json!("User"))],
        );
    }
    let only = [("user.roles", viewer.clone()), ("user.target", Value::Null)];
    assert_users(71, json!({"username": "jane", "role": "Viewer"}), &only, &[("actor.user.type", json!("User"))]);
    assert_users(
        27,
        json!({"byUser": "jane", "username": "bob", "role": "Viewer"}),
        &[("user.name", json!("jane")), ("user.roles", Value::Null)],
        &[("actor.user.type", json!("Unknown"))],
    );
}

#[test]
fn spaces_around_a_user_are_no_part_of_the_domain() {
    let event = activity(27, json!({"username": " ACME\\bob "}));
    assert_fields(&event, &[("user", json!({"id": "3", "name": "bob", "domain": "ACME"}))]);
    assert_fields(&activity(27, json!({"username": " bob "})), &[("user.name", json!("bob"))]);
}
