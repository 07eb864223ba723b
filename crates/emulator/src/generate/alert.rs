//! STAR alerts: hits of custom rules. Ports, pids and booleans are strings.

use serde_json::{Value, json};

use super::content::{self, RULES};
use super::generator::Generator;
use super::record::{NewRecord, text_empty_or_null};
use crate::kind::{Column, Description, Filter, IdColumn, Kind, Places, Special};
use crate::random::Random;
use crate::time::{self, SECOND};

/// `/cloud-detection/alerts`
pub(crate) const ALERTS: Description = Description {
    path: "/cloud-detection/alerts",
    max_limit: 1000,
    table: "CloudAlertView",
    sorts: &[
        ("alertInfoAlertId", Column::Id),
        ("alertInfoCreatedAt", Column::Created),
        ("alertInfoReportedAt", Column::time("alertInfo.reportedAt")),
        ("machineType", Column::text("agentDetectionInfo.machineType")),
        ("osName", Column::text("agentDetectionInfo.osName")),
        ("incidentStatus", Column::text("alertInfo.incidentStatus")),
        ("analystVerdict", Column::text("alertInfo.analystVerdict")),
        ("severity", Column::text("ruleInfo.severity")),
    ],
    sort_keys: &[],
    sort_objects: &[
        "sourceParentProcessInfo",
        "sourceProcessInfo",
        "agentDetectionInfo",
        "kubernetesInfo",
        "containerInfo",
        "alertInfo",
        "ruleInfo",
    ],
    times: &[("createdAt", Column::Created), ("reportedAt", Column::time("alertInfo.reportedAt"))],
    has_between: false,
    filters: &[
        ("ids", Filter::Ids(IdColumn::Record)),
        ("tenant", Filter::Tenant),
        ("scopes", Filter::Ignored),
        ("disablePagination", Filter::Unpaged),
        ("incidentStatus", Filter::AnyOf("alertInfo.incidentStatus")),
        ("analystVerdict", Filter::AnyOf("alertInfo.analystVerdict")),
        ("severity", Filter::AnyOf("ruleInfo.severity")),
        ("machineType", Filter::AnyOf("agentDetectionInfo.machineType")),
        ("osType", Filter::AnyOf("agentDetectionInfo.osFamily")),
        ("query", Filter::Like("ruleInfo.name")),
    ],
    places: Places {
        id: "alertInfo.alertId",
        created: "alertInfo.createdAt",
        updated: Some("alertInfo.updatedAt"),
        account: "agentDetectionInfo.accountId",
        site: "agentDetectionInfo.siteId",
        group: "agentDetectionInfo.groupId",
        ..Places::USUAL
    },
    licensed: None,
    generate: Some(|generator, at, _| generate(generator, at)),
    change: Some(|generator, record, _| change(&mut generator.random, record)),
    oversized: Some(|generator, at, bytes| {
        generate(generator, at).with_long_text("sourceProcessInfo.commandline", bytes)
    }),
    special: Special::NOTHING,
};

fn generate(generator: &mut Generator, at: i64) -> NewRecord {
    let id = generator.id(at);
    generator.alerts.add(id);
    let id = id.to_string();
    let Generator { org, random, older, .. } = generator;
    let endpoint = &org.agents[content::agent_index(random, org)];
    let (account, site, group) = org.group(endpoint.group);
    let index = random.below(RULES.len() as u64) as usize;
    let (rule, severity, query) = RULES[index];
    let event = *random.choose_weighted(&[
        (40, "PROCESSCREATION"),
        (15, "TCPV4"),
        (15, "DNS"),
        (10, "REGVALUEMODIFIED"),
        (10, "LOGIN"),
        (10, "FILECREATION"),
    ]);
    let text = |is_set: bool, value: &str| if is_set { Value::from(value) } else { Value::Null };
    let network = event == "TCPV4";
    let dns = event == "DNS";
    let registry = event == "REGVALUEMODIFIED";
    let login = event == "LOGIN";
    let file = event == "FILECREATION";
    let indicator = random.chance(0.1);
    let intelligence = random.chance(0.05);
    let reported = at + random.within(20_000..200_000);
    let run = "MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Run\\Updater";
    let status = *random.choose_weighted(&[(60, "Unresolved"), (20, "UNRESOLVED"), (20, "unresolved")]);
    let mut alert_info = object! {
        "alertId": id, "createdAt": time::print(at), "reportedAt": time::print(reported), "updatedAt": time::print(reported),
        "dvEventId": format!("01H{}", random.hex(23).to_uppercase()), "eventType": event,
        "hitType": *random.choose_weighted(&[(80, "Events"), (15, "Processes"), (5, "AdvancedDetection")]), "source": "STAR",
        "incidentStatus": status, "analystVerdict": *random.choose(&["Undefined", "UNDEFINED"]), "isEdr": true,
        "srcIp": text(network || login, &endpoint.addresses[0]), "srcPort": text(network, "51234"),
        "dstIp": text(network, "192.0.2.77"), "dstPort": text(network, "443"), "netEventDirection": text(network, "OUTGOING"),
        "srcMachineIp": text(login, "10.0.0.17"), "dnsRequest": text(dns, "c2.dyn.example"),
        "dnsResponse": text(dns, "type: 1 192.0.2.77;"), "registryKeyPath": text(registry, run),
        "registryPath": text(registry, run), "registryValue": text(registry, "C:\\Users\\Public\\u.exe"),
        "registryOldValue": text(registry, ""), "registryOldValueType": text(registry, "SZ"),
        "modulePath": text(file, "C:\\Windows\\System32\\amsi.dll"), "moduleSha1": text(file, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"),
        "indicatorName": text(indicator, "SuspiciousScript"), "indicatorCategory": text(indicator, "Evasion"),
        "indicatorDescription": text(indicator, "A script hid its window"), "loginType": text(login, "NETWORK"),
        "loginIsSuccessful": text(login, "true"), "loginIsAdministratorEquivalent": text(login, "false"),
        "loginAccountDomain": text(login, endpoint.domain), "loginAccountSid": text(login, "S-1-5-21-1004336348-1177238915-682003330-512"),
        "loginsUserName": text(login, "svc_backup"), "tiIndicatorType": text(intelligence, "IPV4"),
        "tiIndicatorValue": text(intelligence, "192.0.2.77"), "tiIndicatorSource": text(intelligence, "Example feed"),
        "tiIndicatorComparisonMethod": text(intelligence, "EQUALS"),
    };
    let mut rule_info = object! {
        "id": content::rule_id(index), "name": rule, "description": text_empty_or_null(random, 0.7, || format!("Watches for: {rule}")),
        "severity": severity, "scopeLevel": *random.choose(&["account", "site"]),
        "treatAsThreat": *random.choose_weighted(&[(70, "UNDEFINED"), (20, "Suspicious"), (10, "Malicious")]), "queryType": "events",
        "queryLang": "1.0", "s1ql": query,
    };
    if *older {
        for (block, keys) in
            [(&mut alert_info, &["isEdr"][..]), (&mut rule_info, &["queryType", "queryLang", "s1ql"][..])]
        {
            let block = block.as_object_mut();
            block.into_iter().for_each(|block| keys.iter().for_each(|key| drop(block.remove(*key))));
        }
    }
    let body = object! {
        "alertInfo": alert_info, "ruleInfo": rule_info,
        "sourceProcessInfo": process(random, "powershell.exe", &endpoint.user, at),
        "sourceParentProcessInfo": process(random, "explorer.exe", &endpoint.user, at - 60 * SECOND),
        "targetProcessInfo": target(random, at, event == "PROCESSCREATION", file),
        "agentDetectionInfo": object! {
            "accountId": account.id.to_string(), "siteId": site.id.to_string(), "uuid": endpoint.uuid.as_str(),
            "name": endpoint.name.as_str(), "osName": endpoint.os.name, "osFamily": endpoint.os.kind,
            "osRevision": endpoint.os.revision, "machineType": endpoint.machine, "version": endpoint.version,
        },
        "agentRealtimeInfo": object! {
            "id": endpoint.id.to_string(), "infected": true, "isActive": endpoint.active,
            "isDecommissioned": endpoint.decommissioned, "machineType": endpoint.machine, "name": endpoint.name.as_str(),
            "os": endpoint.os.kind, "uuid": endpoint.uuid.as_str(),
        },
        "containerInfo": object! {
            "id": text(endpoint.kubernetes, "3f4e1c"), "name": text(endpoint.kubernetes, "web"),
            "image": text(endpoint.kubernetes, "registry.acme.example/web:1.14"),
            "labels": text(endpoint.kubernetes, "app=web,tier=front"),
        },
        "kubernetesInfo": object! {
            "cluster": text(endpoint.kubernetes, "prod-eu"), "node": text(endpoint.kubernetes, &endpoint.name),
            "namespace": text(endpoint.kubernetes, "shop"), "namespaceLabels": text(endpoint.kubernetes, "team=shop"),
            "pod": text(endpoint.kubernetes, "web-7d4b9c6f5-x2x8q"), "podLabels": text(endpoint.kubernetes, "app=web"),
            "controllerName": text(endpoint.kubernetes, "web"), "controllerKind": text(endpoint.kubernetes, "Deployment"),
            "controllerLabels": text(endpoint.kubernetes, "app=web"),
        },
    };
    NewRecord::new(Kind::Alerts, body, account.id, group.id)
}

/// An analyst changes the verdict or the status.
fn change(random: &mut Random, record: &mut Value) {
    let info = &mut record["alertInfo"];
    if random.chance(0.5) {
        info["analystVerdict"] = json!(random.choose(&["TRUE_POSITIVE", "False positive", "suspicious"]));
    } else {
        info["incidentStatus"] = json!(random.choose(&["IN_PROGRESS", "Resolved", "resolved"]));
    }
}

fn process(random: &mut Random, name: &str, user: &str, at: i64) -> Value {
    object! {
        "name": name, "commandline": content::arguments(random), "filePath": format!("C:\\Windows\\System32\\{name}"),
        "user": user, "pid": (400 + random.below(30_000)).to_string(), "pidStarttime": time::print(at - 5 * SECOND),
        "uniqueId": random.hex(16).to_uppercase(), "storyline": random.hex(16).to_uppercase(),
        "integrityLevel": *random.choose(&["unknown", "medium", "high", "system"]), "subsystem": "sys_win32",
        "fileHashMd5": random.hex(32), "fileHashSha1": random.hex(40), "fileHashSha256": random.hex(64),
        "fileSignerIdentity": text_empty_or_null(random, 0.6, || "MICROSOFT WINDOWS".into()),
    }
}

fn target(random: &mut Random, at: i64, process: bool, file: bool) -> Value {
    let text = |is_set: bool, value: String| if is_set { Value::from(value) } else { Value::Null };
    object! {
        "tgtProcName": text(process, "rundll32.exe".into()), "tgtProcCmdLine": text(process, content::arguments(random)),
        "tgtProcPid": text(process, (400 + random.below(30_000)).to_string()), "tgtProcUid": text(process, random.hex(16)),
        "tgtProcImagePath": text(process, "C:\\Windows\\System32\\rundll32.exe".into()),
        "tgtProcStorylineId": text(process, random.hex(16)), "tgtProcIntegrityLevel": if process { "high" } else { "unknown" },
        "tgtProcSignedStatus": text(process, "signed".into()), "tgtProcessStartTime": time::print(at),
        "tgtFilePath": text(file, "C:\\Users\\Public\\u.exe".into()), "tgtFileOldPath": text(file, "C:\\Users\\Public\\u.tmp".into()),
        "tgtFileId": text(file, random.hex(16)), "tgtFileHashSha1": text(file, random.hex(40)),
        "tgtFileHashSha256": text(file, random.hex(64)), "tgtFileIsSigned": if file { "unsigned" } else { "signed" },
        "tgtFileCreatedAt": time::print(at), "tgtFileModifiedAt": time::print(at),
    }
}
