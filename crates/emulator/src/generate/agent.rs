//! Agents: the state of endpoints at their last check-in.

use serde_json::{Value, json};

use super::generator::Generator;
use super::organization::Endpoint;
use super::record::{NewRecord, text_empty_or_null, text_or_null};
use crate::kind::{Column, Description, Filter, IdColumn, Kind, Places, Special};
use crate::random::Random;
use crate::time::{self, DAY, HOUR, MINUTE, SECOND};

/// `/agents`
pub(crate) const AGENTS: Description = Description {
    path: "/agents",
    max_limit: 1000,
    table: "AgentView",
    sorts: &[
        ("createdAt", Column::Created),
        ("updatedAt", Column::Updated),
        ("registeredAt", Column::time("registeredAt")),
        ("lastActiveDate", Column::time("lastActiveDate")),
        ("decommissionedAt", Column::time("decommissionedAt")),
        ("lastSuccessfulScanDate", Column::time("lastSuccessfulScanDate")),
        ("fullDiskScanLastUpdatedAt", Column::time("fullDiskScanLastUpdatedAt")),
    ],
    sort_keys: &[
        "computerName",
        "groupId",
        "osType",
        "osName",
        "uuid",
        "scanStatus",
        "isDecommissioned",
        "isUninstalled",
        "isActive",
        "isPendingUninstall",
        "activeThreats",
        "isUpToDate",
        "agentVersion",
        "osArch",
        "machineType",
        "networkStatus",
        "domain",
        "mitigationMode",
        "mitigationModeSuspicious",
        "encryptedApplications",
        "totalMemory",
        "cpuCount",
        "coreCount",
        "externalIp",
        "lastLoggedInUserName",
        "groupName",
        "siteId",
        "siteName",
        "infected",
        "threatRebootRequired",
        "consoleMigrationStatus",
        "appsVulnerabilityStatus",
        "accountName",
        "externalId",
        "installerType",
        "rangerVersion",
        "operationalState",
        "remoteProfilingState",
        "networkQuarantineEnabled",
        "firewallEnabled",
        "locationEnabled",
        "serialNumber",
        "cpuId",
    ],
    sort_objects: &[],
    times: &[
        ("createdAt", Column::Created),
        ("updatedAt", Column::Updated),
        ("registeredAt", Column::time("registeredAt")),
        ("lastActiveDate", Column::time("lastActiveDate")),
        ("decommissionedAt", Column::time("decommissionedAt")),
        ("lastSuccessfulScanDate", Column::time("lastSuccessfulScanDate")),
        ("fullDiskScanLastUpdatedAt", Column::time("fullDiskScanLastUpdatedAt")),
    ],
    has_between: true,
    filters: &[
        ("ids", Filter::Ids(IdColumn::Record)),
        ("uuid", Filter::AnyOf("uuid")),
        ("uuids", Filter::AnyOf("uuid")),
        ("isActive", Filter::Is("isActive")),
        ("isDecommissioned", Filter::Decommissioned),
        ("isUninstalled", Filter::AnyOf("isUninstalled")),
        ("isPendingUninstall", Filter::Is("isPendingUninstall")),
        ("infected", Filter::Is("infected")),
        ("osTypes", Filter::AnyOf("osType")),
        ("osTypesNin", Filter::NoneOf("osType")),
        ("machineTypes", Filter::AnyOf("machineType")),
        ("machineTypesNin", Filter::NoneOf("machineType")),
        ("networkStatuses", Filter::AnyOf("networkStatus")),
        ("networkStatusesNin", Filter::NoneOf("networkStatus")),
        ("agentVersions", Filter::AnyOf("agentVersion")),
        ("agentVersionsNin", Filter::NoneOf("agentVersion")),
        ("computerName", Filter::AnyOf("computerName")),
        ("computerName__like", Filter::Like("computerName")),
        ("computerName__contains", Filter::Like("computerName")),
        ("query", Filter::Like("computerName")),
    ],
    places: Places { agent: "id", ..Places::USUAL },
    licensed: None,
    generate: None,
    change: Some(|generator, record, at| check_in(&mut generator.random, record, at)),
    oversized: Some(with_many_interfaces),
    special: Special {
        renew: Some(|generator, body| {
            body["uuid"] = Value::from(generator.random.uuid());
            body["computerName"] = Value::from(format!("WS-{:05}", 50_000 + generator.made % 50_000));
            body["isDecommissioned"] = Value::from(false);
        }),
        ..Special::NOTHING
    },
};

pub(super) fn generate(generator: &mut Generator, index: usize, now: i64) -> NewRecord {
    let Generator { org, random, older, .. } = generator;
    let endpoint = &org.agents[index];
    let (account, site, group) = org.group(endpoint.group);
    let user = &org.users[0];
    let seen = if endpoint.active { now - random.within(0..DAY) } else { now - random.within(2 * DAY..60 * DAY) };
    let seen = seen.max(endpoint.registered + HOUR);
    let scanned = seen - random.within(HOUR..20 * DAY);
    let directory = endpoint.domain != "WORKGROUP";
    let infected = random.chance(0.05);
    let boot = seen - random.within(0..20 * DAY);
    let external = endpoint.external.rsplit_once('.').map_or("", |(network, _)| network);
    let quarantined = random.chance(0.01);
    let registered = time::print(endpoint.registered);
    let mut body = object! {
        "id": endpoint.id.to_string(), "uuid": endpoint.uuid.as_str(), "computerName": endpoint.name.as_str(), "domain": endpoint.domain,
        "accountId": account.id.to_string(), "accountName": account.name.as_str(), "siteId": site.id.to_string(),
        "siteName": site.name.as_str(), "groupId": group.id.to_string(), "groupName": group.name.as_str(),
        "groupIp": format!("{external}.x"), "externalIp": endpoint.external.as_str(), "lastIpToMgmt": endpoint.addresses[0].as_str(),
        "osType": endpoint.os.kind, "osName": endpoint.os.name, "osRevision": endpoint.os.revision,
        "osArch": if endpoint.os.kind == "macos" { "ARM64" } else { "64 bit" },
        "osStartTime": time::print(boot - boot.rem_euclid(SECOND)),
        "osUsername": text_or_null(random, 0.3, || endpoint.user.clone()), "machineType": endpoint.machine,
        "modelName": "Acme computers - 15x4k", "cpuId": "Acme chips inc. Pro5555 @ 3.33GHz", "cpuCount": 1,
        "coreCount": 4 + 4 * random.below(4), "totalMemory": 8192 << random.below(3), "agentVersion": endpoint.version,
        "isUpToDate": endpoint.version.starts_with("24."), "isActive": endpoint.active && !endpoint.decommissioned,
        "isDecommissioned": endpoint.decommissioned, "isUninstalled": endpoint.decommissioned && random.chance(0.3),
        "isPendingUninstall": false, "infected": infected, "activeThreats": if infected { 1 + random.below(4) } else { 0 },
        "threatRebootRequired": infected && random.chance(0.2),
        "networkStatus": if quarantined { "disconnected" } else { "connected" }, "networkQuarantineEnabled": quarantined,
        "firewallEnabled": true, "encryptedApplications": random.chance(0.7), "mitigationMode": "protect",
        "mitigationModeSuspicious": "detect", "detectionState": text_or_null(random, 0.2, || "full_mode".into()),
        "operationalState": "na", "operationalStateExpiration": Value::Null, "consoleMigrationStatus": "N/A",
        "appsVulnerabilityStatus": *random.choose(&["patch_required", "up_to_date", "not_applicable"]),
        "scanStatus": "finished", "scanStartedAt": time::print(scanned), "scanFinishedAt": time::print(scanned + HOUR),
        "scanAbortedAt": Value::Null, "firstFullModeTime": text_or_null(random, 0.2, || registered.clone()),
        "remoteProfilingState": "disabled", "remoteProfilingStateExpiration": Value::Null,
        "rangerStatus": *random.choose(&["NotApplicable", "Enabled", "Disabled"]),
        "rangerVersion": text_or_null(random, 0.6, || "24.1.0.12".into()), "allowRemoteShell": endpoint.os.kind != "linux",
        "inRemoteShellSession": false, "installerType": endpoint.os.installer, "licenseKey": "",
        "externalId": text_empty_or_null(random, 0.1, || "asset-4711".into()),
        "lastLoggedInUserName": text_empty_or_null(random, 0.8, || endpoint.user.clone()), "createdAt": registered.as_str(),
        "updatedAt": time::print((seen + random.within(0..MINUTE)).min(now)), "registeredAt": registered,
        "lastActiveDate": time::print(seen), "locationEnabled": true, "locationType": "fallback",
        "locations": locations(random), "cloudProviders": cloud(endpoint),
        "tags": object! { "sentinelone": tags(random, user.id, &user.name, seen) },
        "activeDirectory": active_directory(endpoint, directory), "networkInterfaces": interfaces(random, endpoint),
        "userActionsNeeded": *random.choose_weighted(&[(90, &[][..]), (5, &["reboot_needed"][..]), (5, &["upgrade_needed"][..])]),
        "missingPermissions": if endpoint.os.kind == "macos" { json!(["user_action_needed_fda"]) } else { json!([]) },
        "storageName": Value::Null, "storageType": Value::Null, "showAlertIcon": infected,
        "serialNumber": text_empty_or_null(random, 0.8, || format!("SN{:08}", index)),
        "proxyStates": if random.chance(0.3) { Value::Null } else { json!({ "console": false, "deepVisibility": random.chance(0.1) }) },
        "containerizedWorkloadCounts": if endpoint.kubernetes { json!({ "containers": 12, "pods": 4 }) } else { Value::Null },
        "fullDiskScanLastUpdatedAt": time::print(scanned + HOUR), "lastSuccessfulScanDate": time::print(scanned + HOUR),
        "groupUpdatedAt": text_or_null(random, 0.4, || time::print(seen - 5 * DAY)),
        "policyUpdatedAt": text_or_null(random, 0.4, || time::print(seen - 6 * DAY)),
    };
    if random.chance(0.2) {
        // A policy change updates many agents at the same time.
        body["updatedAt"] = json!(time::print(now - now.rem_euclid(HOUR) - HOUR * random.within(1..4) + 123_456));
    }
    if *older && let Some(keys) = body.as_object_mut() {
        for newer in ["serialNumber", "proxyStates", "containerizedWorkloadCounts", "showAlertIcon", "tags"] {
            keys.remove(newer);
        }
    }
    NewRecord::new(Kind::Agents, body, account.id, group.id)
}

/// Returns an agent whose list of interfaces fills about `bytes` bytes.
fn with_many_interfaces(generator: &mut Generator, at: i64, bytes: usize) -> NewRecord {
    let index = generator.random.below(generator.org.agents.len() as u64) as usize;
    let mut record = generate(generator, index, at);
    record.body["id"] = Value::from(generator.id(at).to_string());
    let interfaces: Vec<Value> = (0..bytes / 150 + 1).map(|_| interface(generator, at)).collect();
    record.body["networkInterfaces"] = Value::from(interfaces);
    record
}

/// Changes an agent as a check-in does: always the times, and sometimes other keys.
fn check_in(random: &mut Random, record: &mut Value, at: i64) {
    record["lastActiveDate"] = json!(time::print(at));
    record["isActive"] = json!(true);
    // Changes with every scan.
    if random.chance(0.2) {
        record["fullDiskScanLastUpdatedAt"] = json!(time::print(at));
    }
    if random.chance(0.02) {
        record["infected"] = json!(record["infected"] != true);
    }
    if random.chance(0.005) {
        record["isDecommissioned"] = json!(true);
        record["isActive"] = json!(false);
    }
    if random.chance(0.05) {
        record["externalIp"] = json!(format!("203.0.113.{}", 1 + random.below(40)));
    }
    if random.chance(0.05) {
        record["lastLoggedInUserName"] = json!(random.choose(&["amira", "jonas", "kavya", ""]));
    }
    if random.chance(0.02) {
        record["agentVersion"] = json!("24.1.5.277");
        record["isUpToDate"] = json!(true);
    }
}

/// Returns a network interface, for agents with thousands of them.
fn interface(generator: &mut Generator, at: i64) -> Value {
    let id = generator.id(at);
    json!({
        "id": id.to_string(), "name": format!("veth{id:x}"), "physical": "00:00:5e:00:53:01",
        "inet": ["10.244.0.17"], "inet6": [], "gatewayIp": Value::Null, "gatewayMacAddress": Value::Null,
    })
}

fn interfaces(random: &mut Random, endpoint: &Endpoint) -> Value {
    let gateway = text_or_null(random, 0.7, || "10.0.0.1".into());
    let gateway_mac = text_or_null(random, 0.7, || "00:00:5e:00:53:fe".into());
    endpoint
        .addresses
        .iter()
        .enumerate()
        .map(|(n, address)| {
            json!({
                "id": (endpoint.id + 1 + n as u64).to_string(), "name": format!("Ethernet{n}"), "physical": endpoint.mac,
                "inet": [address], "inet6": endpoint.addresses_v6, "gatewayIp": gateway, "gatewayMacAddress": gateway_mac,
            })
        })
        .collect()
}

pub(super) fn cloud(endpoint: &Endpoint) -> Value {
    if !endpoint.cloud {
        return json!({});
    }
    json!({ "AWS": {
        "cloudAccount": "123456789012", "cloudImage": "ami-0abcdef1234567890", "cloudInstanceId": "i-0123456789abcdef0",
        "cloudInstanceSize": "t3.large", "cloudLocation": "eu-central-1a", "cloudNetwork": "vpc-0a1b2c3d",
        "cloudTags": ["env=prod"],
    } })
}

fn locations(random: &mut Random) -> Value {
    if random.chance(0.3) {
        return Value::Null;
    }
    json!([{ "id": "225494730938496001", "name": "Fallback", "scope": "global" }])
}

fn tags(random: &mut Random, user: u64, name: &str, at: i64) -> Value {
    if random.chance(0.6) {
        return json!([]);
    }
    json!([{
        "id": "225494730938497001", "key": "owner", "value": "finance", "assignedAt": time::print(at - 30 * DAY),
        "assignedBy": name, "assignedById": user.to_string(),
    }])
}

fn active_directory(endpoint: &Endpoint, joined: bool) -> Value {
    let user = &endpoint.user;
    if !joined {
        return json!({
            "computerDistinguishedName": Value::Null, "computerMemberOf": [], "lastUserDistinguishedName": Value::Null,
            "lastUserMemberOf": [], "mail": Value::Null, "userPrincipalName": Value::Null,
        });
    }
    json!({
        "computerDistinguishedName": format!("CN={},CN=Computers,DC=acme,DC=example", endpoint.name),
        "computerMemberOf": ["CN=Computers,DC=acme,DC=example"],
        "lastUserDistinguishedName": format!("CN={user},CN=Users,DC=acme,DC=example"),
        "lastUserMemberOf": ["CN=Users,DC=acme,DC=example", "CN=Staff,CN=Users,DC=acme,DC=example"],
        "mail": format!("{user}@acme.example"), "userPrincipalName": format!("{user}@acme.example"),
    })
}
