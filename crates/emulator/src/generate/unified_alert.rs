//! Unified alerts: the detections of all products in one list.

use serde_json::{Value, json};

use super::content::{self, MALWARE, RULES};
use super::generator::Generator;
use super::record::{NewRecord, set_time, text_empty_or_null, text_or_null};
use crate::kind::{Column, Description, Kind, Places, Special};
use crate::random::Random;
use crate::time::{self, HOUR, MINUTE, SECOND};
use crate::token::FIRST_USER;

/// `/unifiedalerts/graphql`
pub(crate) const UNIFIED_ALERTS: Description = Description {
    path: "/unifiedalerts/graphql",
    max_limit: 1000,
    table: "UnifiedAlert",
    sorts: &[("createdAt", Column::Created), ("updatedAt", Column::Updated)],
    sort_keys: &[],
    sort_objects: &[],
    times: &[],
    has_between: false,
    filters: &[],
    places: Places {
        created: "detectedAt",
        in_millis: true,
        undated: true,
        account: "realTime.scope.account.id",
        site: "realTime.scope.site.id",
        group: "realTime.scope.group.id",
        ..Places::USUAL
    },
    licensed: Some(|setup| setup.unified_alerts),
    generate: Some(generate),
    change: Some(|generator, record, _| change(&mut generator.random, record)),
    oversized: Some(|generator, at, bytes| generate(generator, at, at).with_long_text("process.cmdLine", bytes)),
    special: Special::NOTHING,
};

/// Returns a unified alert detected at `at`, in its state at `now`.
fn generate(generator: &mut Generator, at: i64, now: i64) -> NewRecord {
    let counter = generator.id(at);
    let external = generator.id(at);
    let Generator { org, random, older, .. } = generator;
    let endpoint = &org.agents[content::agent_index(random, org)];
    let (account, site, group) = org.group(endpoint.group);
    let millis = at.div_euclid(1_000);
    let id = format!(
        "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        millis >> 16,
        millis & 0xffff,
        random.below(0x1000),
        0x8000 | random.below(0x4000),
        counter & 0xffff_ffff_ffff
    );
    let (product, vendor, surface) = *random.choose_weighted(&[
        (50, ("EDR", "SentinelOne", "ENDPOINT")),
        (15, ("CWS", "SentinelOne", "ENDPOINT")),
        (20, ("STAR", "SentinelOne", "ENDPOINT")),
        (8, ("Identity", "SentinelOne", "IDENTITY")),
        (7, ("Mail Gateway", "Example Security", "EMAIL")),
    ]);
    let by_rule = product == "STAR";
    let engine = matches!(product, "EDR" | "CWS");
    let rule = random.below(RULES.len() as u64) as usize;
    let (file, class, confidence, _) = *random.choose(MALWARE);
    let class = match (engine, class) {
        (false, _) => "UNKNOWN".to_owned(),
        (true, "Malicious Office Document") => "MALICIOUS_OFFICE_DOC".to_owned(),
        (true, other) => other.to_uppercase(),
    };
    let name = if by_rule { RULES[rule].0.to_owned() } else { format!("{file} detected as Malware") };
    let path = content::path(random, endpoint.os.kind, &endpoint.user, file);
    let command = if random.chance(0.4) { path.clone() } else { content::arguments(random) };
    let os = match endpoint.os.kind {
        "windows" | "windows_legacy" => "WINDOWS",
        "macos" => "MACOS",
        _ => "LINUX",
    };
    let detection_scope = json!({ "accountId": account.id.to_string(), "accountName": account.name, "siteId": site.id.to_string(),
        "siteName": site.name, "groupId": group.id.to_string(), "groupName": group.name });
    let created = time::print_millis(at - random.within(0..75_000));
    let seen = time::print_millis(at - random.within(0..10 * SECOND));
    let mut body = object! {
        "id": id, "externalId": if engine { external.to_string() } else { random.uuid() }, "name": name,
        "description": text_empty_or_null(random, 0.8, || "Analysis detected a malicious file".into()),
        "severity": *random.choose_weighted(&[(10, "CRITICAL"), (25, "HIGH"), (40, "MEDIUM"), (15, "LOW"), (5, "INFO"), (5, "UNKNOWN")]),
        "status": "NEW", "analystVerdict": "UNDEFINED", "classification": class,
        "confidenceLevel": if engine { Value::from(confidence.to_uppercase()) } else { Value::Null },
        "result": if engine { Value::from("UNMITIGATED") } else { Value::Null },
        "detectedAt": time::print_millis(at), "createdAt": created,
        "updatedAt": text_or_null(random, 0.97, || time::print_millis(at)), "firstSeenAt": seen.clone(), "lastSeenAt": seen,
        "storylineId": text_or_null(random, 0.7, || "8093B37D120D4FBF".into()), "ticketId": Value::Null,
        "noteExists": random.chance(0.1), "dataSources": if engine { json!(["FILE", "PROCESS"]) } else { json!([]) },
        "attackSurfaces": [surface], "labels": json!([]), "detectionSource": json!({ "product": product, "vendor": vendor }),
        "analytics": if by_rule {
            json!({ "category": "Custom Rule", "name": null, "typeValue": "RULE", "uid": content::rule_id(rule) })
        } else {
            json!({ "category": "Reputation", "name": "Agent Policy", "typeValue": "STATIC", "uid": null })
        },
        "assignee": Value::Null,
        "assets": json!([{
            "id": random.hex(26), "name": endpoint.name, "agentUuid": text_or_null(random, 0.9, || endpoint.uuid.clone()),
            "agentVersion": endpoint.version, "category": if endpoint.machine == "server" { "Server" } else { "Workstation" },
            "subcategory": if endpoint.machine == "server" { "Other Server" } else { "Desktop" }, "assetTypeClassifier": null,
            "osType": os, "osVersion": format!("{} {}", endpoint.os.name, endpoint.os.revision),
            "connectivityToConsole": if endpoint.active { "ONLINE" } else { "OFFLINE" }, "decommissioned": endpoint.decommissioned,
            "accessible": true, "deleted": false, "primary": true, "lastLoggedInUser": endpoint.user, "pendingReboot": false,
            "policy": "PROTECT", "role": "TARGET", "status": "ACTIVE", "origin": "RESOURCES", "agentOperatingMode": null, "paths": [],
            "tags": [{ "key": "owner", "value": "finance", "keyValue": "owner:finance", "type": "USER" }],
        }]),
        "process": json!({
            "cmdLine": command, "parentName": "explorer.exe",
            "file": { "name": file, "path": path, "md5": random.hex(32), "sha1": random.hex(40), "sha256": random.hex(64),
                "certSubject": null },
        }),
        "realTime": json!({ "scope": { "account": { "id": account.id.to_string(), "name": account.name },
            "site": { "id": site.id.to_string(), "name": site.name }, "group": { "id": group.id.to_string(), "name": group.name } } }),
        "detectionTime": json!({
            "scope": detection_scope, "attacker": attacker(random), "targetUser": user(random, &endpoint.user, endpoint.domain),
            "assets": [{
                "accessible": true, "deleted": false, "primary": true, "origin": "RESOURCES", "scope": detection_scope,
                "asset": { "agentVersion": endpoint.version, "consoleIpAddress": endpoint.external, "domain": endpoint.domain,
                    "ipV4": endpoint.addresses.join(","), "ipV6": null, "ipV4Addresses": endpoint.addresses,
                    "ipV6Addresses": endpoint.addresses_v6, "lastLoggedInUser": endpoint.user, "osName": endpoint.os.name,
                    "osRevision": endpoint.os.revision, "osType": os, "policy": "PROTECT",
                    "subscriptionTime": time::print_millis(endpoint.registered) },
                "cloud": cloud(endpoint.cloud), "kubernetes": kubernetes(endpoint.kubernetes, &endpoint.name),
            }],
        }),
        "primaryIndicatorType": Value::Null, "incident": Value::Null, "attackPathExists": false,
        "exclusionHashes": json!({ "sha1": random.hex(40), "sha256": random.hex(64) }),
        "aiInvestigation": json!({ "status": "COMPLETED", "verdict": "UNKNOWN", "timestamp": time::print_millis(at),
            "purpleAiStatus": null, "autoTriggered": true }),
        "sloDetails": json!({ "timeToResponseData": slo(at), "timeToResolveData": Value::Null }),
        "mitigationDetails": json!({ "reports": [{ "mitigationActionType": "KILL", "successCount": 1, "initiatedBy": "SYSTEM" }] }),
    };
    if *older {
        // The single asset precedes the lists.
        body["asset"] = body["assets"][0].clone();
        body["detectionTime"]["asset"] = body["detectionTime"]["assets"][0]["asset"].clone();
    }
    let mut record = NewRecord::new(Kind::UnifiedAlerts, body, account.id, group.id);
    record.site = site.id;
    let mut changed = at + random.within(MINUTE..HOUR);
    while changed < now && random.chance(0.5) {
        change(random, &mut record.body);
        set_time(Kind::UnifiedAlerts, &mut record.body, changed);
        changed += random.within(SECOND..8 * HOUR);
    }
    // Bulk changes give many alerts the same time.
    let together = changed - changed.rem_euclid(HOUR) + HOUR;
    if together < now && random.chance(0.2) {
        record.body["status"] = json!("RESOLVED");
        set_time(Kind::UnifiedAlerts, &mut record.body, together);
    }
    record
}

/// An analyst works on the alert, or its file is mitigated.
fn change(random: &mut Random, record: &mut Value) {
    match *random.choose_weighted(&[(40, 0), (30, 1), (20, 2), (10, 3)]) {
        0 => record["status"] = json!(*random.choose(&["IN_PROGRESS", "RESOLVED"])),
        1 => record["analystVerdict"] = json!(*random.choose(&["TRUE_POSITIVE_MALWARE", "FALSE_POSITIVE_BENIGN"])),
        2 => record["result"] = json!("MITIGATED"),
        _ => {
            record["assignee"] = json!({ "userId": FIRST_USER.to_string(), "fullName": "Amira Haddad",
                "email": "user0@acme.example" });
        }
    }
}

fn attacker(random: &mut Random) -> Value {
    if random.chance(0.7) {
        return Value::Null;
    }
    json!({ "host": text_empty_or_null(random, 0.5, || "attacker.example".into()), "ip": "192.0.2.77" })
}

fn user(random: &mut Random, name: &str, domain: &str) -> Value {
    if random.chance(0.5) {
        return Value::Null;
    }
    json!({ "name": name, "domain": domain, "emailAddress": format!("{name}@acme.example"), "displayName": name.to_uppercase() })
}

fn cloud(is_set: bool) -> Value {
    if !is_set {
        return Value::Null;
    }
    json!({
        "accountId": "123456789012", "cloudProvider": "AWS", "image": "ami-0abcdef1234567890", "instanceId": "i-0123456789abcdef0",
        "instanceSize": "t3.large", "location": "eu-central-1a", "network": "vpc-0a1b2c3d",
        "tags": ["Endpoint does not have sufficient permissions to fetch labels"],
        "providerDetails": { "__typename": "DetectionAws", "accountId": "123456789012", "imageId": "ami-0abcdef1234567890",
            "instanceId": "i-0123456789abcdef0", "instanceType": "t3.large", "region": "eu-central-1", "role": "web",
            "securityGroups": ["sg-1"], "subnetIds": ["subnet-1"], "tags": ["env=prod"], "vpcId": "vpc-0a1b2c3d" },
    })
}

/// Returns the Kubernetes object, which has only empty values for hosts outside Kubernetes.
fn kubernetes(is_set: bool, node: &str) -> Value {
    let text = |value: &str| if is_set { Value::from(value) } else { Value::Null };
    let list = |value: &str| if is_set { json!([value]) } else { json!([]) };
    json!({
        "clusterName": text("prod-eu"), "nodeName": text(node), "nodeLabels": list("kubernetes.io/os=linux"),
        "namespaceName": text("shop"), "namespaceLabels": list("team=shop"), "controllerName": text("web"),
        "controllerType": text("Deployment"), "controllerLabels": list("app=web"), "podName": if is_set { "web-7d4b9c6f5-x2x8q" } else { "" },
        "podLabels": list("app=web"), "containerId": text("3f4e1c"), "containerName": text("web"),
        "containerImageName": text("registry.acme.example/web:1.14"), "containerLabels": list("app=web"),
    })
}

fn slo(at: i64) -> Value {
    json!({ "actionComplete": true, "actionDue": -5, "completion": 300, "completionTime": time::print_millis(at + 5 * MINUTE),
        "status": "MET", "target": 15, "targetTime": time::print_millis(at + 15 * MINUTE) })
}
