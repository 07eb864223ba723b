//! Unified alerts.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::records::{observed, with_assets};
use crate::support::{assert_fields, at, check, faults, map_to};

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

/// The types of the console's own list that have a field in ECS or a type in OCSF.
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
fn a_mobile_device_is_one() {
    for kind in ["Mobile Device", "MOBILE", "ANDROID", "iOS"] {
        let asset =
            json!({"agentUuid": "u-1", "name": "phone-1", "category": "Device", "subcategory": kind, "primary": true});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &json!({"id": "1", "assets": [asset]}));
        assert_fields(&event, &[("device.type", json!("Mobile")), ("device.type_id", json!(5))]);
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
fn a_confidence_is_a_word_of_the_list_or_other() {
    for (word, id, name) in [("HIGH", 3, "High"), ("malicious", 3, "High"), ("test", 99, "test")] {
        let record = json!({"id": "1", "confidenceLevel": word, "detectedAt": "2026-01-01T00:00:00Z"});
        let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
        assert_fields(&event, &[("confidence_id", json!(id)), ("confidence", json!(name))]);
    }
}

/// Nothing ran and nothing was written: the device has the container, as in other streams.
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

/// No observable has the console's addition to a name. The text stays at its path.
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

/// The agent of an identity belongs to the machine that reported the identity.
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
    // A user who was there before is listed once.
    let record = json!({"id": "1", "assets": [asset("ACME\\jane", true)],
        "detectionTime": {"assets": [detected("ACME\\jane")]}});
    let event = map_to(Schema::Ocsf, Stream::UnifiedAlerts, &record);
    let users = observed(&event).into_iter().filter(|(kind, _)| kind == "User Name").map(|(_, name)| name);
    assert_eq!(users.collect::<Vec<_>>(), ["jane"], "{event:#}");
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
            // In another asset, it is not a user either.
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
    // Without a file, there is no signature.
    assert_eq!(alert("Not Signed", json!({})), (none.clone(), none.clone()));
    assert_eq!(alert("Not Signed", json!({"name": "cmd.exe (interactive session)"})), (none.clone(), none));
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
