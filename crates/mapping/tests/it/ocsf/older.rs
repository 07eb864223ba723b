//! Events in OCSF 1.3.0. `validity.rs` checks that every valid event of 1.9.0 becomes a valid event of 1.3.0 that has
//! lost no text.

use proptest::prelude::*;
use s1_forwarder_mapping::{OcsfVersion, Schema, schema_name, to_ocsf_1_3};
use serde_json::{Value, json};

use super::validity::older;
use crate::support::{DistinctKeys, assert_fields};

/// Returns an event of a class with these attributes. It lacks some attributes that its class requires.
fn event(class: u32, activity: u32, attributes: Value) -> Value {
    let mut event = json!({
        "class_uid": class, "activity_id": activity, "activity_name": "Its Name", "severity_id": 4,
        "type_uid": class * 100 + activity,
        "metadata": { "version": "1.9.0", "uid": "7", "product": { "name": "Singularity", "vendor_name": "SentinelOne" } },
    });
    event.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    event
}

fn finding(attributes: Value) -> Value {
    let mut finding = event(2004, 1, json!({ "finding_info": { "uid": "f", "title": "t" } }));
    finding.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    older(&finding)
}

#[test]
fn the_schema_has_a_name_with_its_version() {
    assert_eq!(schema_name(Schema::Ocsf, OcsfVersion::V1_3), "ocsf-1.3.0");
    assert_eq!(serde_json::to_value([OcsfVersion::V1_9, OcsfVersion::V1_3]).unwrap(), json!(["1.9.0", "1.3.0"]));
}

#[test]
fn classes_and_activities_become_the_nearest() {
    let user = json!({ "user": { "name": "jane", "uid": "7" } });
    let with = |name: &str, value: Value| {
        let mut attributes = user.clone();
        attributes[name] = value;
        attributes
    };
    let role = json!({ "iam_role": { "name": "Admin", "uid": "8" } });
    let peripheral = json!({ "peripheral_device": { "name": "Stick" }, "device": { "uid": "1" } });
    for (class, activity, attributes, older_class, older_activity, name) in [
        (3007, 1, user.clone(), 3001, 1, "Create"),
        (3007, 2, user.clone(), 3001, 99, "Its Name"),
        (3007, 3, user.clone(), 3001, 6, "Delete"),
        (3007, 4, user.clone(), 3001, 2, "Enable"),
        (3007, 5, user.clone(), 3001, 5, "Disable"),
        (3007, 6, user.clone(), 3001, 9, "Lock"),
        (3007, 7, user.clone(), 3001, 99, "Its Name"),
        (3007, 8, user.clone(), 3001, 3, "Password Change"),
        (3007, 9, user.clone(), 3001, 4, "Password Reset"),
        (3007, 10, user.clone(), 3001, 7, "Attach Policy"),
        (3007, 11, user.clone(), 3001, 8, "Detach Policy"),
        (3007, 12, user.clone(), 3001, 10, "MFA Factor Enable"),
        (3007, 13, user.clone(), 3001, 11, "MFA Factor Disable"),
        (3007, 14, with("privileges", json!(["a"])), 3005, 1, "Assign Privileges"),
        (3007, 15, with("privileges", json!(["a"])), 3005, 2, "Revoke Privileges"),
        (3007, 16, with("iam_roles", json!([{ "name": "a" }])), 3005, 1, "Assign Privileges"),
        (3007, 16, user.clone(), 3001, 99, "Its Name"),
        (3007, 17, with("iam_roles", json!([{ "uid": "a" }])), 3005, 2, "Revoke Privileges"),
        (3007, 18, user.clone(), 3004, 1, "Create"),
        (3007, 19, user.clone(), 3004, 4, "Delete"),
        (3007, 99, user, 3001, 99, "Its Name"),
        (3008, 1, role.clone(), 3004, 1, "Create"),
        (3008, 2, role.clone(), 3004, 3, "Update"),
        (3008, 3, role, 3004, 4, "Delete"),
        (1010, 1, json!({ "activity_name": "Connect" }), 0, 99, "peripheral-connect"),
        (1010, 99, peripheral, 0, 99, "Its Name"),
        (4001, 1, json!({ "dst_endpoint": { "ip": "192.0.2.1" } }), 4001, 1, "Its Name"),
        (4001, 1, json!({ "src_endpoint": { "ip": "192.0.2.1" } }), 0, 99, "Its Name"),
        (7001, 5, json!({ "command_uid": "1" }), 7001, 99, "Its Name"),
        (2002, 2, json!({ "vulnerabilities": [{ "advisory": { "title": "x" } }] }), 0, 99, "Its Name"),
    ] {
        let older = older(&event(class, activity, attributes));
        let found = (&older["class_uid"], &older["activity_id"], &older["activity_name"]);
        let wanted = (&json!(older_class), &json!(older_activity), &json!(name));
        assert_eq!(found, wanted, "{class} {activity}: {older:#}");
        assert_eq!(older["type_uid"], older_class * 100 + older_activity);
        assert_eq!(older["metadata"]["uid"], "7");
    }
}

#[test]
fn users_and_roles_are_entities_and_privileges() {
    let roles = json!([{ "name": "Admin", "uid": "8" }, { "uid": "9" }]);
    let granted = older(&event(
        3007,
        16,
        json!({ "user": { "name": "jane", "type_id": 4, "type": "Service" }, "iam_roles": roles }),
    ));
    assert_fields(
        &granted,
        &[
            ("privileges", json!(["Admin", "9"])),
            ("unmapped.ocsf_1_9.iam_roles", roles),
            ("user", json!({ "name": "jane", "type_id": 99, "type": "Service" })),
        ],
    );
    let token = older(&event(3007, 18, json!({ "user": { "uid": "7", "email_addr": "a@b.example" } })));
    assert_fields(
        &token,
        &[
            ("entity", json!({ "type_id": 99, "type": "Token", "name": "7" })),
            ("unmapped.ocsf_1_9.user.email_addr", "a@b.example".into()),
        ],
    );
    let role = older(&event(3008, 1, json!({ "iam_role": { "name": "Admin", "uid": "8", "desc": "x" } })));
    assert_fields(
        &role,
        &[
            ("entity", json!({ "type_id": 99, "type": "Role", "name": "Admin", "uid": "8" })),
            ("unmapped.ocsf_1_9", json!({ "iam_role": { "desc": "x" } })),
        ],
    );
}

/// One case for each rule about attributes: the values of 1.9.0, and the values of 1.3.0.
#[test]
fn attributes_are_where_1_3_has_them() {
    let path = json!({ "path": "C:\\a\\p.exe", "pid": 1 });
    let file = json!({ "name": "p.exe", "path": "C:\\a\\p.exe", "type_id": 1, "type": "Regular File" });
    for (name, value, expected, kept) in [
        (
            "actor",
            json!({ "application": { "name": "a", "uid": "b", "version": "1" } }),
            json!({ "app_name": "a", "app_uid": "b" }),
            json!({ "application": { "version": "1" } }),
        ),
        (
            "device",
            json!({ "uid": "1", "model": "m", "hw_info": { "cores": 4, "cpu_info_list": [{ "model": "x", "cpu_bits": 64, "cpu_architecture": "y" }] } }),
            json!({ "uid": "1", "hw_info": { "cpu_cores": 4, "cpu_type": "x", "cpu_bits": 64 } }),
            json!({ "model": "m", "hw_info": { "cpu_info_list": [{ "cpu_architecture": "y" }] } }),
        ),
        (
            "evidences",
            json!([{ "process": path }, { "process": { "cpid": "only" } }]),
            json!([{ "process": { "pid": 1, "file": file } }]),
            json!([{ "process": { "cpid": "only" } }]),
        ),
        (
            "malware",
            json!([{ "name": "m", "severity_id": 4, "severity": "High", "files": [{ "name": "f", "path": "/f" }] }]),
            json!([{ "name": "m", "path": "/f" }]),
            json!([{ "name": "m", "files": [{ "name": "f" }] }]),
        ),
        (
            "finding_info",
            json!({ "uid": "f", "related_events": [
                { "uid": "1", "type": "PROCESS" }, { "uid": "2", "type_uid": 300_716, "type_name": "User Management: x", "title": "t" }] }),
            json!({ "uid": "f", "title": "f", "related_events": [{ "uid": "1", "type_name": "PROCESS" },
                { "uid": "2", "type_uid": 300_501, "type_name": "User Access Management: Assign Privileges" }] }),
            json!({ "related_events": [{ "uid": "2", "title": "t" }] }),
        ),
        (
            "vulnerabilities",
            json!([{ "advisory": { "uid": "GHSA-1", "title": "x" } }]),
            json!([{ "cve": { "uid": "GHSA-1" } }]),
            json!([{ "advisory": { "title": "x" } }]),
        ),
        ("notes", json!([{ "comment": "one" }, { "comment": "\"two\"" }]), Value::Null, Value::Null),
        ("verdict_id", json!(4), Value::Null, json!(4)),
        ("status_id", json!(5), json!(99), Value::Null),
        ("action_id", json!(3), json!(1), Value::Null),
    ] {
        let older = finding(json!({ name: value }));
        assert_fields(&older, &[(name, expected), (&format!("unmapped.ocsf_1_9.{name}"), kept)]);
    }
    let commented = finding(json!({ "notes": [{ "comment": "one" }, { "comment": "\"two\"", "uid": "7" }] }));
    assert_fields(
        &commented,
        &[
            ("comment", "one\n\"two\"".into()),
            ("unmapped.ocsf_1_9.notes", json!([{ "comment": "one" }, { "comment": "\"two\"", "uid": "7" }])),
        ],
    );
    let file = json!({ "name": "f", "type_id": 8, "type": "Executable File", "signatures": [{ "state_id": 6, "state": "Untrusted" }] });
    let signed = finding(json!({ "evidences": [{ "file": file }] }));
    let expected = json!({ "name": "f", "type_id": 1, "type": "Regular File", "signature": { "state_id": 99, "state": "Untrusted" } });
    assert_eq!(signed["evidences"][0]["file"], expected, "{signed:#}");
    let application =
        json!({ "name": "a", "version": "2", "product": { "name": "a", "vendor_name": "v" }, "uid": "u" });
    let installed = older(&event(6002, 1, json!({ "application": application })));
    assert_fields(
        &installed,
        &[
            ("app", json!({ "name": "a", "vendor_name": "v", "version": "2" })),
            ("unmapped.ocsf_1_9.application", json!({ "uid": "u" })),
        ],
    );
    let metadata = json!({ "version": "1.9.0", "uid": "7", "log_provider": "SentinelOne", "loggers": [{ "name": "SentinelOne", "logged_time": 5 }],
        "log_source": "h", "profiles": ["incident"], "extensions": [{ "name": "win", "uid": "2", "version": "1.9.0" }] });
    let event = finding(json!({ "metadata": metadata, "device": { "uid": "1" }, "disposition_id": 1 }));
    let expected = json!({ "version": "1.3.0", "uid": "7", "log_provider": "SentinelOne", "logged_time": 5, "profiles": ["host", "security_control"],
        "extensions": [{ "name": "win", "uid": "2", "version": "1.3.0" }] });
    assert_fields(
        &event,
        &[
            ("metadata", expected),
            ("action_id", 0.into()),
            ("unmapped.ocsf_1_9.metadata", json!({ "log_source": "h" })),
        ],
    );
}

/// A logger that only names the vendor of the product is left out. Any other logger is kept without its time.
#[test]
fn what_the_logger_says_twice_is_left_out() {
    let metadata = |product: Value, logger: Value| {
        let own = json!({ "name": "Singularity", "vendor_name": "SentinelOne", "feature": { "name": "alerts" } });
        let loggers = json!([{ "name": "SentinelOne", "product": product, "logged_time": 5 }, logger]);
        let metadata = json!({ "version": "1.9.0", "uid": "7", "log_provider": "SentinelOne", "product": own, "loggers": loggers });
        finding(json!({ "metadata": metadata }))["metadata"].clone()
    };
    let other = json!({ "name": "relay", "logged_time": 6 });
    let product = json!({ "name": "Singularity", "vendor_name": "SentinelOne" });
    let said = metadata(product.clone(), other.clone());
    assert_fields(&said, &[("logged_time", 5.into()), ("uid", "7".into()), ("loggers", json!([other]))]);
    let unlike = json!({ "name": "Other", "vendor_name": "SentinelOne" });
    let kept = json!({ "name": "SentinelOne", "product": unlike });
    assert_fields(&metadata(unlike, other.clone()), &[("logged_time", 5.into()), ("loggers", json!([kept, other]))]);
}

#[test]
fn the_destination_is_the_device_unless_it_is_the_source() {
    let connection = |source: &str| {
        older(&event(
            4001,
            1,
            json!({
                "device": { "hostname": "web", "ip": "10.0.0.1", "type_id": 1 }, "src_endpoint": { "ip": source },
                "initiator_id": 1, "initiator": "Source Endpoint"
            }),
        ))
    };
    let inbound = connection("192.0.2.1");
    assert_eq!(inbound["dst_endpoint"], json!({ "hostname": "web", "ip": "10.0.0.1" }), "{inbound:#}");
    assert!(inbound.get("initiator").is_none() && inbound.get("unmapped").is_none(), "{inbound:#}");
    assert_eq!(connection("10.0.0.1")["class_uid"], 0);
}

#[test]
fn observables_have_the_paths_of_1_3() {
    let observable =
        |name: &str, kind: u32, value: &str| json!({ "name": name, "type_id": kind, "type": "T", "value": value });
    let older = finding(json!({
        "actor": { "process": { "path": "/bin/sh", "pid": 1 } },
        "assignee": { "name": "jane" },
        "observables": [
            observable("actor.process.path", 45, "/bin/sh"), observable("assignee.name", 4, "jane"),
            observable("finding_info.uid", 10, "f"),
        ],
    }));
    let expected = json!([
        observable("actor.process.file.path", 99, "/bin/sh"),
        observable("unmapped.ocsf_1_9.assignee.name", 4, "jane"),
        observable("finding_info.uid", 10, "f"),
    ]);
    assert_eq!(older["observables"], expected, "{older:#}");
}

/// Some elements of a list may stay where they are.
#[test]
fn an_observable_is_where_its_own_value_is() {
    let observable = |name: &str, value: &str| json!({ "name": name, "type_id": 3, "type": "T", "value": value });
    let path = "device.network_interfaces[].mac";
    let older = finding(json!({
        "device": { "uid": "1", "network_interfaces": [{ "uid": "a" }, { "uid": "b", "mac": "m" }] },
        "evidences": [{ "process": { "cpid": "only" } }],
        "observables": [observable(path, "m"), observable(path, "elsewhere"), observable("evidences[].process.cpid", "only")],
    }));
    assert_fields(
        &older,
        &[
            ("device.network_interfaces", json!([{ "uid": "b", "mac": "m", "type_id": 0, "type": "Unknown" }])),
            ("unmapped.ocsf_1_9.device.network_interfaces", json!([{ "uid": "a" }])),
            (
                "observables",
                json!([observable(path, "m"), observable("unmapped.ocsf_1_9.evidences[].process.cpid", "only")]),
            ),
        ],
    );
}

/// An object that 1.3.0 refuses is kept as a whole, and needs no profile.
#[test]
fn an_object_without_what_1_3_demands_is_kept() {
    let process = json!({ "cpid": "only", "container": { "uid": "c" } });
    let older = finding(json!({ "actor": { "process": process, "user": { "name": "jane" } } }));
    let expected =
        [("actor", json!({ "user": { "name": "jane" } })), ("unmapped.ocsf_1_9.actor", json!({ "process": process }))];
    assert_fields(&older, &expected);
    assert_eq!(older["metadata"]["profiles"], json!(["host"]));
    let evidence = json!([{ "container": { "uid": "c" } }]);
    let older = finding(json!({ "evidences": evidence }));
    assert_fields(
        &older,
        &[("evidences", Value::Null), ("unmapped.ocsf_1_9.evidences", evidence), ("metadata.profiles", Value::Null)],
    );
    let vulnerability = json!([{ "title": "x", "first_seen_time_dt": "2026-01-01T00:00:00Z" }]);
    let older = finding(json!({ "vulnerabilities": vulnerability }));
    let kept = ("unmapped.ocsf_1_9.vulnerabilities", vulnerability);
    assert_fields(&older, &[kept, ("metadata.profiles", Value::Null)]);
}

#[test]
fn names_that_are_redacted_stay_so() {
    for name in ["[redacted]", "0123456789abcdef0123456789abcdef"] {
        let user = json!({ "user": { "name": "jane" }, "type_name": name, "class_name": name });
        assert_fields(
            &older(&event(3007, 1, user)),
            &[("class_uid", 3001.into()), ("type_name", name.into()), ("class_name", name.into())],
        );
    }
}

#[test]
fn what_the_event_says_already_is_not_said_again() {
    let url = "https://console.example/1";
    let info = json!({ "uid": "f", "title": "t", "src_url": url });
    let same = finding(json!({ "finding_info": info, "src_url": url }));
    assert_fields(&same, &[("finding_info.src_url", url.into()), ("src_url", Value::Null), ("unmapped", Value::Null)]);
    let other = finding(json!({ "finding_info": info, "src_url": "https://other.example" }));
    assert_eq!(other["unmapped"]["ocsf_1_9"]["src_url"], "https://other.example", "{other:#}");
    let metadata = json!({ "version": "1.9.0", "uid": "7", "product": { "name": "p" }, "logged_time": 4,
        "loggers": [{ "name": "n", "logged_time": 5 }] });
    assert_fields(
        &finding(json!({ "metadata": metadata }))["metadata"],
        &[
            ("logged_time", 4.into()),
            ("loggers", json!([{ "name": "n", "logged_time": 5 }])),
            ("product.vendor_name", "Unknown".into()),
        ],
    );
}

#[test]
fn what_is_in_unmapped_stays_there() {
    let unmapped = json!({ "ocsf_1_9": "the record's", "x": { "is_alert": true } });
    let older = finding(json!({ "is_alert": false, "unmapped": unmapped }));
    let expected = json!({ "ocsf_1_9": "the record's", "ocsf_1_9_": { "is_alert": false }, "x": { "is_alert": true } });
    assert_eq!(older["unmapped"], expected);
    let text = finding(json!({ "unmapped": "a program's" }));
    assert_eq!(text["unmapped"], json!({ "ocsf_1_9": { "unmapped": "a program's" } }));
    assert_eq!(finding(json!({ "unmapped": { "x": 1 } }))["unmapped"], json!({ "x": 1 }));
}

#[test]
fn what_is_no_event_of_the_mapping_stays_as_it_is() {
    for text in [
        "\"[redacted]\"",
        "not JSON",
        "[1]",
        "{}",
        r#"{"class_uid":6003,"activity_id":1,"metadata":{"version":"1.9.0"}}"#,
    ] {
        let mut out = format!("before{text}").into_bytes();
        to_ocsf_1_3(&mut out, "before".len());
        assert_eq!(String::from_utf8(out).unwrap(), format!("before{text}"));
    }
}

/// A value that a transform may have made.
fn any_value() -> impl Strategy<Value = Value> {
    let names = [
        "actor",
        "application",
        "device",
        "evidences",
        "file",
        "files",
        "hw_info",
        "iam_role",
        "iam_roles",
        "loggers",
        "malware",
        "metadata",
        "name",
        "notes",
        "observables",
        "path",
        "process",
        "signatures",
        "type",
        "type_id",
        "uid",
        "unmapped",
        "user",
        "vulnerabilities",
        "odd \" name",
    ];
    let leaf = prop_oneof![any::<u16>().prop_map(Value::from), "[a-z\"\\\\.\\[\\]]{0,8}".prop_map(Value::from)];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(names.to_vec()), inner, 0..6)
                .prop_map(|entries| entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_event_of_a_program_stays_json(
        class in prop::sample::select(vec![0, 1010, 2002, 2004, 3004, 3007, 3008, 4001, 6002]),
        activity in 0_u32..20,
        attributes in prop::collection::btree_map(prop::sample::select(vec![
            "actor", "application", "device", "evidences", "iam_role", "iam_roles", "malware", "notes", "observables", "unmapped",
            "user", "vulnerabilities", "metadata", "privileges", "finding_info",
        ]), any_value(), 0..8),
    ) {
        let attributes: Value = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut bytes = event(class, activity, attributes).to_string().into_bytes();
        to_ocsf_1_3(&mut bytes, 0);
        let read = serde_json::from_slice::<DistinctKeys>(&bytes);
        prop_assert!(read.is_ok(), "{read:?} {}", String::from_utf8_lossy(&bytes));
    }
}
