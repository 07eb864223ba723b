//! Threats and their changes.

use serde_json::{Value, json};

use super::content::{self, MALWARE};
use super::generator::{Generator, KnownThreat};
use super::organization::Endpoint;
use super::record::{NewRecord, text_empty_or_null, text_or_null};
use super::{agent, mitre};
use crate::kind::{Column, Description, Filter, IdColumn, Kind, Places, Special};
use crate::random::Random;
use crate::time::{self, HOUR, SECOND};

/// `/threats`
pub(crate) const THREATS: Description = Description {
    path: "/threats",
    max_limit: 1000,
    table: "ThreatView",
    sorts: &[
        ("createdAt", Column::Created),
        ("updatedAt", Column::Updated),
        ("mitigationStatus", Column::text("threatInfo.mitigationStatus")),
        ("fileDisplayName", Column::text("threatInfo.threatName")),
        ("agentVersion", Column::text("agentDetectionInfo.agentVersion")),
        ("agentMachineType", Column::text("agentRealtimeInfo.agentMachineType")),
        ("siteId", Column::text("agentDetectionInfo.siteId")),
        ("siteName", Column::text("agentDetectionInfo.siteName")),
        ("agentComputerName", Column::text("agentRealtimeInfo.agentComputerName")),
        ("filePath", Column::text("threatInfo.filePath")),
        ("contentHash", Column::text("threatInfo.sha1")),
        ("collectionId", Column::text("threatInfo.collectionId")),
        ("classification", Column::text("threatInfo.classification")),
    ],
    sort_keys: &[],
    sort_objects: &[],
    times: &[("createdAt", Column::Created), ("updatedAt", Column::Updated)],
    has_between: false,
    filters: &[
        ("ids", Filter::Ids(IdColumn::Record)),
        ("agentIds", Filter::Ids(IdColumn::Agent)),
        ("tenant", Filter::Tenant),
        ("countsFor", Filter::Ignored),
        ("incidentStatuses", Filter::AnyOf("threatInfo.incidentStatus")),
        ("incidentStatusesNin", Filter::NoneOf("threatInfo.incidentStatus")),
        ("analystVerdicts", Filter::AnyOf("threatInfo.analystVerdict")),
        ("analystVerdictsNin", Filter::NoneOf("threatInfo.analystVerdict")),
        ("mitigationStatuses", Filter::AnyOf("threatInfo.mitigationStatus")),
        ("mitigationStatusesNin", Filter::NoneOf("threatInfo.mitigationStatus")),
        ("confidenceLevels", Filter::AnyOf("threatInfo.confidenceLevel")),
        ("confidenceLevelsNin", Filter::NoneOf("threatInfo.confidenceLevel")),
        ("classifications", Filter::AnyOf("threatInfo.classification")),
        ("classificationsNin", Filter::NoneOf("threatInfo.classification")),
        ("detectionEngines", Filter::AnyOf("threatInfo.detectionEngines")),
        ("detectionEnginesNin", Filter::NoneOf("threatInfo.detectionEngines")),
        ("engines", Filter::AnyOf("threatInfo.engines")),
        ("noteExists", Filter::Ignored),
        ("resolved", Filter::Ignored),
        ("initiatedBy", Filter::AnyOf("threatInfo.initiatedBy")),
        ("initiatedByNin", Filter::NoneOf("threatInfo.initiatedBy")),
        ("contentHashes", Filter::AnyOf("threatInfo.sha1")),
        ("storylines", Filter::AnyOf("threatInfo.storyline")),
        ("collectionIds", Filter::AnyOf("threatInfo.collectionId")),
        ("osTypes", Filter::AnyOf("agentRealtimeInfo.agentOsType")),
        ("osTypesNin", Filter::NoneOf("agentRealtimeInfo.agentOsType")),
        ("agentIsActive", Filter::Is("agentRealtimeInfo.agentIsActive")),
        ("externalTicketExists", Filter::Is("threatInfo.externalTicketExists")),
        ("failedActions", Filter::Is("threatInfo.failedActions")),
        ("pendingActions", Filter::Is("threatInfo.pendingActions")),
        ("rebootRequired", Filter::Is("threatInfo.rebootRequired")),
        ("mitigatedPreemptively", Filter::Is("threatInfo.mitigatedPreemptively")),
        ("query", Filter::Like("threatInfo.threatName")),
    ],
    places: Places {
        created: "threatInfo.createdAt",
        updated: Some("threatInfo.updatedAt"),
        account: "agentDetectionInfo.accountId",
        site: "agentDetectionInfo.siteId",
        group: "agentDetectionInfo.groupId",
        agent: "agentRealtimeInfo.agentId",
        threat: "id",
        ..Places::USUAL
    },
    licensed: None,
    generate: Some(generate_at),
    change: Some(|generator, record, at| change(&mut generator.random, record, at)),
    oversized: Some(|generator, at, bytes| {
        generate_at(generator, at, at).with_long_text("threatInfo.maliciousProcessArguments", bytes)
    }),
    special: Special::NOTHING,
};

/// Returns a threat detected at `at`, in its state at `now`.
fn generate_at(generator: &mut Generator, at: i64, now: i64) -> NewRecord {
    let mut record = generate(generator, at);
    let mut changed = at + generator.random.within(SECOND..120 * SECOND);
    while changed < now && generator.random.chance(0.7) {
        generator.change(Kind::Threats, &mut record.body, changed);
        changed += generator.random.within(SECOND..8 * HOUR);
    }
    // Bulk changes give many threats the same time, here a whole second.
    let together = changed - changed.rem_euclid(HOUR) + HOUR;
    if together < now && generator.random.chance(0.2) {
        generator.change(Kind::Threats, &mut record.body, together);
    }
    record
}

pub(super) fn generate(generator: &mut Generator, at: i64) -> NewRecord {
    let number = generator.id(at);
    let id = number.to_string();
    let collection = generator.id(at).to_string();
    let Generator { org, random, older, threats, .. } = generator;
    let agent = content::agent_index(random, org);
    let endpoint = &org.agents[agent];
    let (account, site, group) = org.group(endpoint.group);
    let account_id = account.id.to_string();
    let site_id = site.id.to_string();
    let group_id = group.id.to_string();
    let (name, classification, confidence, extension_type) = *random.choose(MALWARE);
    let extension = name.rsplit_once('.').map_or_else(String::new, |(_, extension)| extension.to_uppercase());
    let dynamic = random.chance(0.4);
    let (key, title) = *random.choose(&[
        ("pre_execution", "On-Write Static AI"),
        ("sentinelone_cloud", "SentinelOne Cloud"),
        ("executables", "Behavioral AI"),
        ("user_blacklist", "User-Defined Blocklist"),
    ]);
    let signed = random.chance(0.2);
    let path = content::path(random, endpoint.os.kind, &endpoint.user, name);
    let mail = text_or_null(random, 0.5, || format!("{}@acme.example", endpoint.user));
    let identified = at - random.within(100_000..2 * SECOND);
    let (initiated, initiated_words) = *random.choose_weighted(&[
        (80, ("agent_policy", "Agent Policy")),
        (12, ("full_disk_scan", "Full Disk Scan")),
        (4, ("console_api", "Console API")),
        (4, ("star_active", "STAR Active Response")),
    ]);
    let by_user = initiated == "console_api";
    let user = random.choose(&org.users).clone();
    let scanned = at - random.within(HOUR..200 * HOUR);
    let threat_info = object! {
        "threatId": id.as_str(), "createdAt": time::print(at), "updatedAt": time::print(at),
        "identifiedAt": time::print(identified - identified.rem_euclid(1_000)), "threatName": name, "filePath": path,
        "fileSize": 1_000 + random.below(9_000_000), "fileExtension": extension, "fileExtensionType": extension_type,
        "sha1": random.hex(40), "sha256": text_or_null(random, 0.6, String::new), "md5": text_or_null(random, 0.4, String::new),
        "originatorProcess": *random.choose(&["explorer.exe", "outlook.exe", "chrome.exe", "bash", "launchd"]),
        "processUser": format!("{}\\{}", endpoint.domain, endpoint.user),
        "maliciousProcessArguments": text_or_null(random, 0.5, String::new), "publisherName": if signed { "Example Software Ltd" } else { "" },
        "certificateId": if signed { "Example Software Ltd" } else { "" }, "isValidCertificate": signed,
        "fileVerificationType": if signed { "SignedVerified" } else { "NotSigned" }, "isFileless": random.chance(0.05),
        "storyline": random.hex(16).to_uppercase(), "collectionId": collection, "classification": classification,
        "classificationSource": text_or_null(random, 0.95, || if dynamic { "Behavioral".into() } else { "Cloud".into() }),
        "confidenceLevel": confidence, "detectionType": text_or_null(random, 0.95, || if dynamic { "dynamic".into() } else { "static".into() }),
        "detectionEngines": json!([{ "key": key, "title": title }]), "engines": [title], "incidentStatus": "unresolved",
        "incidentStatusDescription": "Unresolved", "analystVerdict": "undefined", "analystVerdictDescription": "Undefined",
        "mitigationStatus": "not_mitigated", "mitigationStatusDescription": "Not mitigated",
        "mitigatedPreemptively": random.chance(0.2), "initiatedBy": initiated, "initiatedByDescription": initiated_words,
        "initiatingUserId": by_user.then(|| user.id.to_string()), "initiatingUsername": by_user.then(|| user.name.clone()),
        "cloudFilesHashVerdict": text_or_null(random, 0.8, || "black".into()), "browserType": text_or_null(random, 0.1, || "Chrome".into()),
        "externalTicketExists": false, "externalTicketId": Value::Null, "automaticallyResolved": false,
        "failedActions": false, "pendingActions": false, "rebootRequired": false,
        "reachedEventsLimit": random.chance(0.02), "rootProcessUpn": mail.clone(),
        "macroModules": if extension_type == "Document" { json!([{ "moduleName": "NewMacros.bas", "sha1": random.hex(40) }]) } else { json!([]) },
    };
    let detection = object! {
        "accountId": account_id.as_str(), "accountName": account.name.as_str(), "siteId": site_id.as_str(),
        "siteName": site.name.as_str(), "groupId": group_id.as_str(), "groupName": group.name.as_str(),
        "agentUuid": endpoint.uuid.as_str(), "agentVersion": endpoint.version, "agentDomain": endpoint.domain,
        "agentOsName": endpoint.os.name, "agentOsRevision": endpoint.os.revision,
        "agentIpV4": endpoint.addresses.join(","), "agentIpV6": endpoint.addresses_v6.join(","),
        "externalIp": endpoint.external.as_str(), "agentLastLoggedInUserName": text_empty_or_null(random, 0.8, || endpoint.user.clone()),
        "agentLastLoggedInUpn": mail.clone(), "agentLastLoggedInUserMail": mail, "agentMitigationMode": "protect",
        "agentDetectionState": text_or_null(random, 0.2, || "full_mode".into()),
        "agentRegisteredAt": time::print(endpoint.registered), "cloudProviders": agent::cloud(endpoint),
    };
    let realtime = object! {
        "accountId": account_id, "accountName": account.name.as_str(), "siteId": site_id, "siteName": site.name.as_str(),
        "groupId": group_id, "groupName": group.name.as_str(), "agentId": endpoint.id.to_string(),
        "agentUuid": endpoint.uuid.as_str(), "agentComputerName": endpoint.name.as_str(), "agentDomain": endpoint.domain,
        "agentMachineType": endpoint.machine, "agentOsName": endpoint.os.name, "agentOsRevision": endpoint.os.revision,
        "agentOsType": endpoint.os.kind, "agentVersion": endpoint.version, "agentIsActive": endpoint.active,
        "agentIsDecommissioned": endpoint.decommissioned,
        "agentDecommissionedAt": if endpoint.decommissioned { Value::from(true) } else { Value::Null },
        "agentInfected": true, "activeThreats": 1 + random.below(5), "agentNetworkStatus": "connected",
        "operationalState": "na", "agentMitigationMode": "protect", "rebootRequired": false, "scanStatus": "finished",
        "scanStartedAt": time::print(scanned), "scanFinishedAt": time::print(scanned + HOUR), "scanAbortedAt": Value::Null,
        "storageName": Value::Null, "storageType": Value::Null, "userActionsNeeded": json!([]),
        "networkInterfaces": interfaces(endpoint),
    };
    let mut body = object! {
        "id": id, "threatInfo": threat_info, "agentDetectionInfo": detection, "agentRealtimeInfo": realtime,
        "indicators": mitre::indicators(random), "mitigationStatus": json!([]), "containerInfo": container(random, endpoint),
        "kubernetesInfo": kubernetes(endpoint), "whiteningOptions": if signed { json!(["hash", "path", "certificate"]) } else { json!(["hash", "path"]) },
    };
    fill_hashes(random, &mut body["threatInfo"]);
    if body["threatInfo"]["isFileless"] == true {
        without_file(&mut body["threatInfo"]);
    }
    let info = &body["threatInfo"];
    let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
    threats.add(KnownThreat {
        id: number,
        agent,
        file: text("threatName"),
        path: text("filePath"),
        sha1: text("sha1"),
        classification,
        confidence,
    });
    if endpoint.id % MASKED == 0 {
        body["agentDetectionInfo"]["externalIp"] = json!("922.174.1.225");
    }
    if !*older {
        body["ecsInfo"] = ecs(random, endpoint);
    }
    if random.chance(0.01) {
        // The agent of an old threat no longer exists.
        body["agentRealtimeInfo"] = Value::Null;
    }
    NewRecord::new(Kind::Threats, body, account.id, group.id)
}

/// One endpoint in this number has a masked external address, which is not a valid IP address.
const MASKED: u64 = 37;

/// Removes the file. The console then uses the name of the process as the threat's name.
fn without_file(info: &mut Value) {
    let name = format!("{} (interactive session)", info["originatorProcess"].as_str().unwrap_or("cmd.exe"));
    for (key, value) in
        [("threatName", json!(name)), ("fileSize", json!(0)), ("fileVerificationType", json!("NotSigned"))]
    {
        info[key] = value;
    }
    for key in ["filePath", "fileExtension", "sha1", "sha256", "md5", "publisherName", "certificateId"] {
        info[key] = json!("");
    }
    info["isValidCertificate"] = json!(false);
}

/// Makes the next change of a threat: a mitigation is reported, or an analyst changes verdict or status.
fn change(random: &mut Random, record: &mut Value, at: i64) {
    let reports = record["mitigationStatus"].as_array().map_or(0, Vec::len);
    if reports < 2 && random.chance(0.7) {
        let action = if reports == 0 { "kill" } else { "quarantine" };
        let status = *random.choose_weighted(&[(85, "success"), (5, "failed"), (5, "pending"), (5, "pending-reboot")]);
        let report = mitigation(random, action, status, at);
        if let Some(reports) = record["mitigationStatus"].as_array_mut() {
            reports.push(report);
        }
        let info = &mut record["threatInfo"];
        if status == "success" {
            info["mitigationStatus"] = json!("mitigated");
            info["mitigationStatusDescription"] = json!("Mitigated");
        }
        info["failedActions"] = json!(status == "failed");
        info["pendingActions"] = json!(status.starts_with("pending"));
        info["rebootRequired"] = json!(status == "pending-reboot");
        return;
    }
    let info = &mut record["threatInfo"];
    let (field, value, words) = match info["analystVerdict"].as_str() {
        Some("undefined") => *random.choose(&[
            ("analystVerdict", "true_positive", "True positive"),
            ("analystVerdict", "false_positive", "False positive"),
            ("analystVerdict", "suspicious", "Suspicious"),
        ]),
        _ if info["incidentStatus"] == "unresolved" => ("incidentStatus", "in_progress", "In progress"),
        _ if info["incidentStatus"] == "in_progress" => ("incidentStatus", "resolved", "Resolved"),
        _ => ("incidentStatus", "unresolved", "Unresolved"),
    };
    info[field] = json!(value);
    info[format!("{field}Description")] = json!(words);
    if value == "false_positive" {
        info["mitigationStatus"] = json!("marked_as_benign");
        info["mitigationStatusDescription"] = json!("Marked as benign");
    }
    if value == "in_progress" && random.chance(0.3) {
        info["externalTicketExists"] = json!(true);
        info["externalTicketId"] = json!(format!("SEC-{}", 1000 + random.below(9000)));
    }
}

fn mitigation(random: &mut Random, action: &str, status: &str, at: i64) -> Value {
    let counted = action != "kill";
    let counters = json!({ "total": 1, "success": u8::from(status == "success"), "failed": u8::from(status == "failed"),
        "notFound": 0, "pendingReboot": u8::from(status == "pending-reboot") });
    json!({
        "action": action, "status": status, "lastUpdate": time::print(at), "mitigationStartedAt": time::print(at - SECOND),
        "mitigationEndedAt": time::print(at - 200_000), "agentSupportsReport": true, "groupNotFound": false,
        "latestReport": if counted { json!("/threats/mitigation-report/1234567890123456789") } else { Value::Null },
        "reportId": text_or_null(random, if counted { 1.0 } else { 0.2 }, || "1234567890123456789".into()),
        "actionsCounters": if counted { counters } else { Value::Null },
    })
}

/// Fills the hashes and arguments that are not null. Doing this last keeps the sequence of random numbers independent
/// of null values.
fn fill_hashes(random: &mut Random, info: &mut Value) {
    for (field, digits) in [("sha256", 64), ("md5", 32)] {
        if info[field].is_string() {
            info[field] = json!(random.hex(digits));
        }
    }
    if info["maliciousProcessArguments"].is_string() {
        info["maliciousProcessArguments"] = json!(content::arguments(random));
    }
}

fn interfaces(endpoint: &Endpoint) -> Value {
    let one = |(n, address): (usize, &String)| {
        json!({ "id": (endpoint.id + 1 + n as u64).to_string(), "name": format!("Ethernet{n}"), "physical": endpoint.mac,
            "inet": [address], "inet6": endpoint.addresses_v6 })
    };
    endpoint.addresses.iter().enumerate().map(one).collect()
}

fn container(random: &mut Random, endpoint: &Endpoint) -> Value {
    if !endpoint.kubernetes {
        return json!({ "id": null, "name": null, "image": null, "labels": null, "isContainerQuarantine": null });
    }
    json!({ "id": random.hex(64), "name": "web", "image": "registry.acme.example/web:1.14", "labels": ["app=web", "tier=front"],
        "isContainerQuarantine": false })
}

fn kubernetes(endpoint: &Endpoint) -> Value {
    if !endpoint.kubernetes {
        return json!({ "cluster": null, "node": null, "nodeLabels": null, "namespace": null, "namespaceLabels": null,
            "pod": null, "podLabels": null, "controllerName": null, "controllerKind": null, "controllerLabels": null,
            "isContainerQuarantine": null });
    }
    json!({ "cluster": "prod-eu", "node": endpoint.name, "nodeLabels": ["kubernetes.io/os=linux"], "namespace": "shop",
        "namespaceLabels": ["team=shop"], "pod": "web-7d4b9c6f5-x2x8q", "podLabels": ["app=web"], "controllerName": "web",
        "controllerKind": "Deployment", "controllerLabels": ["app=web"], "isContainerQuarantine": false })
}

fn ecs(random: &mut Random, endpoint: &Endpoint) -> Value {
    let is_set = endpoint.cloud && endpoint.os.kind == "linux" && random.chance(0.5);
    let text = |value: &str| if is_set { Value::from(value) } else { Value::Null };
    let arn = "arn:aws:ecs:eu-central-1:123456789012";
    object! {
        "clusterName": text("shop"), "serviceName": text("web"), "serviceArn": text(&format!("{arn}:service/shop/web")),
        "taskArn": text(&format!("{arn}:task/shop/0f9de17a6465404e8b1b2356dc13c2f8")),
        "taskDefinitionArn": text(&format!("{arn}:task-definition/web:42")), "taskDefinitionFamily": text("web"),
        "taskDefinitionRevision": text("42"), "taskAvailabilityZone": text("eu-central-1a"), "type": text("fargate"),
        "version": text("1.4.0"),
    }
}
