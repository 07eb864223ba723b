//! The keys of `data` decide the subject of an activity, whatever the number of its type.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::schema;
use super::support::{assert_fields, map, map_to};

/// Returns the event of an activity of an unknown type, with `fields` and `data`.
fn unknown(fields: Value, data: Value) -> Value {
    let mut record = fields;
    record["activityType"] = json!(99_999);
    record["data"] = data;
    let event = map(Stream::Activities, &record);
    assert_eq!(schema::faults(&event), Vec::<String>::new());
    assert_fields(&event, &[("event.action", json!("activity-99999"))]);
    event
}

fn class(kind: &str, categories: Value, types: Value, outcome: Value) -> [(&'static str, Value); 4] {
    [("event.kind", json!(kind)), ("event.category", categories), ("event.type", types), ("event.outcome", outcome)]
}

#[test]
fn a_hit_of_a_rule_is_an_alert_whatever_its_number() {
    let data = json!({"rulename": "Platform rule", "alertid": "5", "sourceprocessname": "firefox-bin", "origagentname": "web-1",
        "dveventtype": "FILEMODIFICATION", "severity": "E_HIGH", "detectedat": 1_772_360_429_000_i64,
        "physical": "70:b5:e8:92:72:0a", "sourceprocessfilesingeridentity": "ACME", "k8scontainername": "app"});
    for number in [3608, 3784, 99_999] {
        let event = map(Stream::Activities, &json!({"activityType": number, "userId": "3", "data": data}));
        assert_fields(
            &event,
            &class("alert", json!(["intrusion_detection", "file"]), json!(["info", "change"]), Value::Null),
        );
        assert_fields(
            &event,
            &[
                ("event.severity", json!(73)),
                ("event.action", json!("alert-filemodification")),
                ("event.start", json!("2026-03-01T10:20:29.000000Z")),
                ("rule", json!({"name": "Platform rule", "ruleset": "STAR"})),
                ("process.name", json!("firefox-bin")),
                ("process.code_signature.subject_name", json!("ACME")),
                ("host", json!({"name": "web-1", "hostname": "web-1", "mac": ["70-B5-E8-92-72-0A"]})),
                ("container.name", json!("app")),
                ("user", Value::Null),
                ("sentinel_one.alert.id", json!("5")),
            ],
        );
    }
}

#[test]
fn a_new_threat_is_an_alert_and_what_became_of_it_is_not() {
    let threat = json!({"threatId": "7", "agentId": "1", "primaryDescription": "Threat with confidence level malicious detected: a"});
    let detected = unknown(threat.clone(), json!({"confidenceLevel": "malicious", "threatClassification": "Exploit"}));
    assert_fields(&detected, &class("alert", json!(["malware", "intrusion_detection"]), json!(["info"]), Value::Null));
    assert_fields(&detected, &[("event.severity", json!(73))]);
    let killed = unknown(threat, json!({"globalStatus": "success", "threatClassification": "Trojan"}));
    assert_fields(&killed, &class("event", json!(["malware"]), json!(["info"]), json!("success")));
}

#[test]
fn keys_show_users_logins_connections_and_devices() {
    let says = |text: &str| json!({"primaryDescription": text, "userId": "3"});
    let pair = json!({"byUser": "alice", "username": "eve"});
    let deleted = unknown(says("The management user alice deleted the user eve."), pair.clone());
    assert_fields(&deleted, &class("event", json!(["iam"]), json!(["user", "deletion"]), Value::Null));
    assert_fields(&deleted, &[("user.target.name", json!("eve"))]);
    let changed = unknown(says("Alice did something to eve."), pair);
    assert_fields(&changed, &class("event", json!(["iam"]), json!(["user", "info"]), Value::Null));
    let login = unknown(says("Eve came in."), json!({"username": "eve", "source": "sso", "ipAddress": "192.0.2.7"}));
    assert_fields(&login, &class("event", json!(["authentication"]), json!(["info"]), Value::Null));
    assert_fields(&login, &[("source.ip", json!("192.0.2.7"))]);
    let failed = unknown(says("The management user eve failed to log in."), json!({"username": "eve"}));
    assert_fields(&failed, &class("event", json!(["authentication"]), json!(["start"]), json!("failure")));
    let blocked = unknown(
        json!({"agentId": "1"}),
        json!({"reportedRemoteHost": "192.0.2.7", "reportedLocalHost": "10.0.0.1", "reportedDirection": "inbound"}),
    );
    assert_fields(&blocked, &class("event", json!(["network"]), json!(["info"]), Value::Null));
    assert_fields(&blocked, &[("source.ip", json!("192.0.2.7")), ("network.direction", json!("ingress"))]);
    let device =
        unknown(json!({"agentId": "1"}), json!({"vendorId": "0951", "deviceName": "Stick", "eventType": "connected"}));
    assert_fields(&device, &class("event", json!(["host"]), json!(["info", "start"]), Value::Null));
    assert_fields(&device, &[("device.model.name", json!("Stick"))]);
}

#[test]
fn words_of_an_unknown_type_decide_nothing_but_a_failure() {
    let says = |text: &str| unknown(json!({"primaryDescription": text, "userId": "3"}), json!({"username": "jane"}));
    let info = |outcome: Value| class("event", json!(["configuration"]), json!(["info"]), outcome);
    assert_fields(&says("Alert created for firefox-bin."), &info(Value::Null));
    assert_fields(&says("Jane deleted and updated things."), &info(Value::Null));
    assert_fields(&says("Jane Failed to disable the agent."), &info(json!("failure")));
    let of_agent = unknown(json!({"agentId": "1", "primaryDescription": "Remote script executed"}), Value::Null);
    assert_fields(&of_agent, &class("event", json!(["host"]), json!(["info"]), Value::Null));
}

#[test]
fn a_report_of_an_unknown_type_says_whether_it_succeeded() {
    for (status, outcome, id) in
        [("success", json!("success"), 1), ("Failed", json!("failure"), 2), ("sent", Value::Null, 0)]
    {
        let record = json!({"activityType": 99_999, "agentId": "1", "data": {"globalStatus": status}});
        assert_fields(&map(Stream::Activities, &record), &[("event.outcome", outcome)]);
        assert_fields(&map_to(Schema::Ocsf, Stream::Activities, &record), &[("status_id", json!(id))]);
    }
}

#[test]
fn names_of_account_site_and_group_come_from_data_when_they_are_only_there() {
    let names = |level: &str| {
        let record = json!({"activityType": 47, "accountId": "1", "siteId": "2", "groupId": "3", "data":
            {"accountName": "CORP", "siteName": "Paris", "groupName": "Laptops", "scopeLevel": level}});
        map(Stream::Activities, &record)
    };
    let corp = ("organization", json!({"id": "1", "name": "CORP"}));
    let paris = ("sentinel_one.activity.site", json!({"id": "2", "name": "Paris"}));
    assert_fields(&names("Group"), &[corp.clone(), paris.clone(), ("group", json!({"id": "3", "name": "Laptops"}))]);
    assert_fields(&names("Site"), &[corp.clone(), paris, ("group", json!({"id": "3"}))]);
    assert_fields(
        &names("Account"),
        &[corp, ("sentinel_one.activity.site", json!({"id": "2"})), ("group", json!({"id": "3"}))],
    );
    let hit =
        json!({"activityType": 3608, "data": {"accountName": "CORP", "siteName": "Paris", "groupName": "Laptops"}});
    assert_fields(
        &map(Stream::Activities, &hit),
        &[
            ("organization.name", json!("CORP")),
            ("group.name", json!("Laptops")),
            ("sentinel_one.activity.site.name", json!("Paris")),
        ],
    );
}

#[test]
fn an_exclusion_is_about_a_file_and_not_about_a_host() {
    let exclusion = |kind: Value, value: &str| {
        let data = json!({"osFamily": "windows", "exclusionType": kind, "value": value});
        map(Stream::Activities, &json!({"activityType": 3016, "osFamily": "windows", "data": data}))
    };
    let path = "C:\\Windows\\system32\\diskshadow.exe";
    assert_fields(
        &exclusion(json!("path"), path),
        &[
            ("host", Value::Null),
            ("file", json!({"path": path, "extension": "exe", "name": "diskshadow.exe"})),
            ("sentinel_one.activity.os_family", json!("windows")),
        ],
    );
    let sha1 = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    let expected = [("file", json!({"hash": {"sha1": sha1}})), ("related.hash", json!([sha1]))];
    assert_fields(&exclusion(json!("white_hash"), sha1), &expected);
    assert_fields(&exclusion(Value::Null, sha1), &expected);
    let signer = json!({"code_signature": {"subject_name": "ACME"}});
    assert_fields(&exclusion(json!("certificate"), "ACME"), &[("file", signer)]);
    assert_fields(&exclusion(json!("browser"), "firefox"), &[("file", Value::Null)]);
}

#[test]
fn the_reason_is_why_and_not_what_happened() {
    let event = |number: u32, fields: Value, data: Value| {
        let mut record = fields;
        record["activityType"] = json!(number);
        record["data"] = data;
        record["primaryDescription"] = json!("What happened.");
        map(Stream::Activities, &record)
    };
    let plain = event(27, json!({}), json!({"username": "jane"}));
    assert_fields(&plain, &[("message", json!("What happened.")), ("event.reason", Value::Null)]);
    let failed = event(133, json!({"comments": "invalid 2FA code"}), json!({}));
    assert_fields(&failed, &[("event.reason", json!("invalid 2FA code"))]);
    let both = event(133, json!({"comments": "x"}), json!({"reason": "bad password"}));
    assert_fields(&both, &[("event.reason", json!("bad password"))]);
}

#[test]
fn connecting_a_device_is_not_disconnecting_it() {
    let event = |number: u32, what: &str| {
        let data = json!({"eventType": what, "eventTime": "2022-03-29T17:17:40.622+00:00", "manufacturerName": "Kingston",
            "vendorId": "1E7D", "productId": "AAA", "uid": "AA"});
        map(Stream::Activities, &json!({"activityType": number, "agentId": "1", "data": data}))
    };
    assert_fields(
        &event(5126, "connected"),
        &[
            ("event.type", json!(["access", "start"])),
            ("event.start", json!("2022-03-29T17:17:40.622000Z")),
            (
                "device",
                json!({"id": "AA", "manufacturer": "Kingston", "vendor": {"id": "1E7D"}, "product": {"id": "AAA"}}),
            ),
        ],
    );
    assert_fields(&event(5126, "disconnected"), &[("event.type", json!(["access", "end"]))]);
    assert_fields(&event(5125, "connected"), &[("event.type", json!(["access"]))]);
}

#[test]
fn the_name_of_a_rule_or_of_a_group_says_nothing_about_a_login() {
    let says = |text: &str, data: Value| unknown(json!({"primaryDescription": text, "userId": "3"}), data);
    let info = class("event", json!(["configuration"]), json!(["info"]), Value::Null);
    let quoted = "The management user Jane created the custom rule \"Admin failed to log in\".";
    assert_fields(&says(quoted, json!({})), &info);
    let named = "The management user Jane created the rule Admin failed to log in.";
    assert_fields(&says(named, json!({"ruleName": "Admin failed to log in"})), &info);
    assert_fields(&says(named, json!({"groupName": "Admin failed to log in"})), &info);
    let of_another = says("Jane failed to log in.", json!({}));
    assert_fields(&of_another, &class("event", json!(["configuration"]), json!(["info"]), json!("failure")));
}

#[test]
fn an_address_of_a_console_user_is_a_login_only_with_words_of_one() {
    let event = |text: &str| {
        let data = json!({"username": "jane", "source": "mgmt", "ipAddress": "192.0.2.7"});
        unknown(json!({"primaryDescription": text, "userId": "3"}), data)
    };
    let login = |kind: &str, outcome: Value| class("event", json!(["authentication"]), json!([kind]), outcome);
    let out = event("The management user Jane logged out of the management console.");
    assert_fields(&out, &login("end", json!("success")));
    assert_fields(&event("Jane logged in with SSO."), &login("start", json!("success")));
    assert_fields(&event("Jane failed to log in."), &login("start", json!("failure")));
    assert_fields(&event("API token generated for Jane."), &login("info", Value::Null));
}

#[test]
fn placeholders_and_vendors_of_integrations_show_no_threat_and_no_device() {
    let info = class("event", json!(["configuration"]), json!(["info"]), Value::Null);
    let vendor = unknown(json!({"userId": "3"}), json!({"productId": "7", "vendorId": "Okta"}));
    assert_fields(&vendor, &info);
    assert_fields(&vendor, &[("device", Value::Null)]);
    let threat = unknown(json!({"userId": "3", "threatId": "N/A"}), json!({"threatClassification": "N/A"}));
    assert_fields(&threat, &info);
    assert_fields(&threat, &[("event.url", Value::Null)]);
    let unified = map(Stream::UnifiedAlerts, &json!({"id": "N/A", "selfLink": null}));
    assert_fields(&unified, &[("event.url", Value::Null)]);
    let device = unknown(json!({"agentId": "1"}), json!({"vendorId": "0951"}));
    assert_fields(&device, &[("device.vendor.id", json!("0951"))]);
}

#[test]
fn an_exclusion_is_one_without_platform_and_type_in_data() {
    let path = "C:\\Windows\\system32\\diskshadow.exe";
    let file = json!({"path": path, "extension": "exe", "name": "diskshadow.exe"});
    let event = |fields: Value, number: u32| {
        let mut record = fields;
        record["activityType"] = json!(number);
        record["data"] = json!({"value": path});
        map(Stream::Activities, &record)
    };
    assert_fields(&event(json!({"osFamily": "windows"}), 3016), &[("file", file.clone()), ("host", Value::Null)]);
    assert_fields(&event(json!({}), 3016), &[("file", file)]);
    assert_fields(&event(json!({}), 99_999), &[("file", Value::Null)]);
}

#[test]
fn an_answer_and_the_message_are_no_reason() {
    let event = |comments: &str, data: Value| {
        let record =
            json!({"activityType": 133, "primaryDescription": "Login failed.", "comments": comments, "data": data});
        map(Stream::Activities, &record)
    };
    for comments in ["True", "Login failed.", "N/A"] {
        assert_fields(&event(comments, json!({})), &[("event.reason", Value::Null)]);
    }
    let reason = [("event.reason", json!("bad password"))];
    assert_fields(&event("bad password", json!({"reason": "Login failed."})), &reason);
}
