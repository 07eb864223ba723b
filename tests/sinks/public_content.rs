//! What public content makes of what sinks with `content: integration` send from an emulated console: the fields that
//! its pipelines and parsers read, and the conditions of its rules. docs/integrations.md has the same rows.
//!
//! Sources: elastic/integrations, packages/sentinel_one (ingest pipelines of activity, group, unified_alert and
//! application_risk for ECS 9.3, of threat for package 2.0, of agent and alert for ECS 8.10 and 8.11 with what a
//! translation of the later one adds); elastic/detection-rules; the agent status of Kibana; SEKOIA-IO/intake-formats,
//! SentinelOne/sentinelone (parser and rules of 2026-02); SumoLogic/cloud-siem-content-catalog (mappings and rules);
//! splunk/SA-SentinelOneDevices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use s1_forwarder::record::{Stream, Timestamp};
use serde_json::{Value, json};

use super::integration_content::{Destination, elasticsearch, integration, sekoia};
use crate::support::batches::raw_records_of;
use crate::support::deliver::deliver;
use crate::support::double::{Double, Reply};
use crate::support::public_content::{has, promises, text, values};

/// Enough for types of activities that are rare.
fn count(stream: Stream) -> usize {
    if stream == Stream::Activities { 2_500 } else { 300 }
}

/// An item of some content: its name, the stream that it reads, its condition, and the paths that it shows. A bar
/// separates paths of which one is enough.
type Rule = (&'static str, Stream, fn(&Value) -> bool, &'static str);

/// The condition of each row holds for some records, and these have all that the item shows.
fn lights_up(rules: &[Rule], records: &BTreeMap<Stream, Vec<Value>>) {
    for (name, stream, condition, shown) in rules {
        let taken: Vec<&Value> = records[stream].iter().filter(|record| condition(record)).collect();
        assert!(!taken.is_empty(), "{name}: no record of {stream}");
        for paths in shown.split_whitespace() {
            let without = taken.iter().find(|record| !has(record, paths));
            assert!(without.is_none(), "{name}: {stream} without {paths}: {without:?}");
        }
    }
}

/// Names of what gives something, and of what gives nothing.
fn rows(rules: &[Rule], dark: &[&'static str]) -> Vec<(&'static str, bool)> {
    let lit: BTreeSet<&str> = rules.iter().map(|(name, ..)| *name).collect();
    lit.into_iter().map(|name| (name, true)).chain(dark.iter().map(|name| (*name, false))).collect()
}

fn is_type(record: &Value, activity_type: u32) -> bool {
    record["activityType"] == activity_type
}

// Elastic

/// What each ingest pipeline reads. After a colon stands what it converts a value to: a value that is none adds
/// `error.message` to the document.
const ELASTIC_READS: [(Stream, &str); 7] = [
    (
        Stream::Threats,
        "id threatInfo.createdAt:date threatInfo.updatedAt:date threatInfo.identifiedAt:date threatInfo.threatId \
         threatInfo.threatName threatInfo.classification threatInfo.classificationSource threatInfo.confidenceLevel \
         threatInfo.analystVerdict threatInfo.analystVerdictDescription threatInfo.automaticallyResolved:boolean \
         threatInfo.browserType threatInfo.certificateId threatInfo.cloudFilesHashVerdict threatInfo.collectionId \
         threatInfo.detectionEngines threatInfo.detectionType threatInfo.engines threatInfo.externalTicketId \
         threatInfo.externalTicketExists:boolean threatInfo.failedActions:boolean threatInfo.fileExtension \
         threatInfo.fileExtensionType threatInfo.filePath threatInfo.fileSize:long threatInfo.fileVerificationType \
         threatInfo.incidentStatus threatInfo.incidentStatusDescription threatInfo.initiatedBy \
         threatInfo.initiatedByDescription threatInfo.initiatingUserId threatInfo.initiatingUsername \
         threatInfo.isFileless:boolean threatInfo.isValidCertificate:boolean threatInfo.maliciousProcessArguments \
         threatInfo.md5 threatInfo.sha1 threatInfo.sha256 threatInfo.mitigatedPreemptively:boolean \
         threatInfo.mitigationStatus threatInfo.mitigationStatusDescription threatInfo.originatorProcess \
         threatInfo.pendingActions:boolean threatInfo.processUser threatInfo.publisherName \
         threatInfo.reachedEventsLimit:boolean threatInfo.rebootRequired:boolean threatInfo.storyline \
         agentDetectionInfo.accountId agentDetectionInfo.accountName agentDetectionInfo.agentDetectionState \
         agentDetectionInfo.agentDomain agentDetectionInfo.agentIpV4:ips agentDetectionInfo.agentIpV6:ips \
         agentDetectionInfo.agentLastLoggedInUpn agentDetectionInfo.agentLastLoggedInUserMail \
         agentDetectionInfo.agentLastLoggedInUserName agentDetectionInfo.agentMitigationMode \
         agentDetectionInfo.agentOsName agentDetectionInfo.agentOsRevision agentDetectionInfo.agentRegisteredAt:date \
         agentDetectionInfo.agentUuid agentDetectionInfo.agentVersion agentDetectionInfo.cloudProviders \
         agentDetectionInfo.externalIp:ip agentDetectionInfo.groupId agentDetectionInfo.groupName \
         agentDetectionInfo.siteId agentDetectionInfo.siteName agentRealtimeInfo.accountId \
         agentRealtimeInfo.accountName agentRealtimeInfo.activeThreats:long agentRealtimeInfo.agentComputerName \
         agentRealtimeInfo.agentDecommissionedAt:boolean agentRealtimeInfo.agentDomain agentRealtimeInfo.agentId \
         agentRealtimeInfo.agentInfected:boolean agentRealtimeInfo.agentIsActive:boolean \
         agentRealtimeInfo.agentIsDecommissioned:boolean agentRealtimeInfo.agentMachineType \
         agentRealtimeInfo.agentMitigationMode agentRealtimeInfo.agentNetworkStatus agentRealtimeInfo.agentOsName \
         agentRealtimeInfo.agentOsRevision agentRealtimeInfo.agentOsType agentRealtimeInfo.agentUuid \
         agentRealtimeInfo.agentVersion agentRealtimeInfo.groupId agentRealtimeInfo.groupName \
         agentRealtimeInfo.networkInterfaces.inet:ip agentRealtimeInfo.networkInterfaces.inet6:ip \
         agentRealtimeInfo.networkInterfaces.physical agentRealtimeInfo.operationalState \
         agentRealtimeInfo.rebootRequired:boolean agentRealtimeInfo.scanAbortedAt:date \
         agentRealtimeInfo.scanFinishedAt:date agentRealtimeInfo.scanStartedAt:date agentRealtimeInfo.scanStatus \
         agentRealtimeInfo.siteId agentRealtimeInfo.siteName agentRealtimeInfo.storageName \
         agentRealtimeInfo.storageType agentRealtimeInfo.userActionsNeeded containerInfo.id containerInfo.image \
         containerInfo.labels containerInfo.name description indicators.category indicators.categoryId indicators.ids \
         indicators.tactics.name indicators.tactics.source indicators.tactics.techniques.link \
         indicators.tactics.techniques.name kubernetesInfo.cluster kubernetesInfo.controllerKind \
         kubernetesInfo.controllerLabels kubernetesInfo.controllerName kubernetesInfo.namespace \
         kubernetesInfo.namespaceLabels kubernetesInfo.node kubernetesInfo.pod kubernetesInfo.podLabels \
         mitigationStatus.actionsCounters.failed:long mitigationStatus.actionsCounters.notFound:long \
         mitigationStatus.actionsCounters.pendingReboot:long mitigationStatus.actionsCounters.success:long \
         mitigationStatus.actionsCounters.total:long mitigationStatus.agentSupportsReport:boolean \
         mitigationStatus.groupNotFound:boolean mitigationStatus.lastUpdate:date mitigationStatus.latestReport \
         mitigationStatus.reportId mitigationStatus.mitigationEndedAt:date mitigationStatus.mitigationStartedAt:date \
         whiteningOptions",
    ),
    (
        Stream::Activities,
        "id createdAt:date updatedAt:date activityType:long description hash osFamily agentUpdatedVersion groupId \
         groupName accountId accountName userId agentId comments primaryDescription secondaryDescription siteId \
         siteName threatId data.accountId data.accountName data.fullScopeDetails data.fullScopeDetailsPath \
         data.groupName data.scopeLevel data.scopeName data.siteName data.username data.byUser data.role data.roleName \
         data.scopeLevelName data.userScope data.newValue data.externalIp:ip data.ipAddress:ip data.reason data.source \
         data.recoveryEmail data.computerName data.system:boolean data.uuid data.group data.optionalGroups \
         data.createdAt:date data.status data.fileContentHash data.osFamily data.confidenceLevel \
         data.escapedMaliciousProcessArguments data.fileDisplayName data.filePath data.threatClassification \
         data.threatClassificationSource data.globalStatus data.newStatus data.originalStatus data.downloadUrl \
         data.description data.policy data.policyName data.changedKeys data.newConfidenceLevel \
         data.oldConfidenceLevel data.attr data.ruledescription data.ruleid data.rulename data.severity",
    ),
    (
        Stream::Agents,
        "id uuid accountId accountName activeDirectory.computerDistinguishedName activeDirectory.computerMemberOf \
         activeDirectory.lastUserDistinguishedName activeDirectory.lastUserMemberOf \
         activeDirectory.userPrincipalName activeDirectory.mail activeThreats:long agentVersion \
         allowRemoteShell:boolean appsVulnerabilityStatus cloudProviders computerName consoleMigrationStatus \
         coreCount:long cpuCount:long cpuId createdAt:date detectionState domain encryptedApplications:boolean \
         externalId externalIp:ip firewallEnabled:boolean firstFullModeTime:date groupId groupIp groupName \
         groupUpdatedAt:date infected:boolean inRemoteShellSession:boolean installerType isActive:boolean \
         isDecommissioned:boolean isPendingUninstall:boolean isUninstalled:boolean isUpToDate:boolean \
         lastActiveDate:date lastIpToMgmt:ip lastLoggedInUserName licenseKey locationEnabled:boolean locations \
         locationType machineType missingPermissions mitigationMode mitigationModeSuspicious modelName \
         networkInterfaces.gatewayIp:ip networkInterfaces.gatewayMacAddress networkInterfaces.inet:ip \
         networkInterfaces.inet6:ip networkInterfaces.physical networkQuarantineEnabled:boolean networkStatus \
         operationalState operationalStateExpiration osArch osName osRevision osStartTime:date osType osUsername \
         policyUpdatedAt:date rangerStatus rangerVersion registeredAt:date remoteProfilingState \
         remoteProfilingStateExpiration scanAbortedAt:date scanFinishedAt:date scanStartedAt:date scanStatus siteId \
         siteName storageName storageType tags.sentinelone.assignedAt:date tags.sentinelone.assignedBy \
         tags.sentinelone.assignedById threatRebootRequired:boolean totalMemory:long updatedAt:date userActionsNeeded",
    ),
    (
        Stream::Alerts,
        "alertInfo.alertId alertInfo.createdAt:date alertInfo.updatedAt:date alertInfo.reportedAt:date \
         alertInfo.srcIp:ip alertInfo.srcPort:long alertInfo.dstIp:ip alertInfo.dstPort:long \
         alertInfo.srcMachineIp:ip alertInfo.incidentStatus alertInfo.analystVerdict alertInfo.dvEventId \
         alertInfo.eventType alertInfo.hitType alertInfo.source alertInfo.indicatorName alertInfo.indicatorCategory \
         alertInfo.indicatorDescription alertInfo.registryKeyPath alertInfo.registryPath alertInfo.registryValue \
         alertInfo.registryOldValue alertInfo.registryOldValueType alertInfo.loginType alertInfo.loginsUserName \
         alertInfo.loginIsSuccessful alertInfo.loginIsAdministratorEquivalent alertInfo.loginAccountSid \
         alertInfo.loginAccountDomain alertInfo.modulePath alertInfo.moduleSha1 alertInfo.dnsRequest \
         alertInfo.dnsResponse alertInfo.netEventDirection alertInfo.tiIndicatorType alertInfo.tiIndicatorValue \
         alertInfo.tiIndicatorSource alertInfo.tiIndicatorComparisonMethod ruleInfo.description ruleInfo.id \
         ruleInfo.name ruleInfo.scopeLevel ruleInfo.severity ruleInfo.treatAsThreat agentDetectionInfo.machineType \
         agentDetectionInfo.name agentDetectionInfo.osFamily agentDetectionInfo.osName agentDetectionInfo.osRevision \
         agentDetectionInfo.siteId agentDetectionInfo.uuid agentDetectionInfo.version agentRealtimeInfo.id \
         agentRealtimeInfo.infected:boolean agentRealtimeInfo.isActive:boolean \
         agentRealtimeInfo.isDecommissioned:boolean agentRealtimeInfo.machineType agentRealtimeInfo.name \
         agentRealtimeInfo.os containerInfo.id containerInfo.image containerInfo.labels containerInfo.name \
         kubernetesInfo.cluster kubernetesInfo.controllerKind kubernetesInfo.controllerLabels \
         kubernetesInfo.controllerName kubernetesInfo.namespace kubernetesInfo.namespaceLabels kubernetesInfo.node \
         kubernetesInfo.pod kubernetesInfo.podLabels sourceProcessInfo.commandline sourceProcessInfo.fileHashMd5 \
         sourceProcessInfo.fileHashSha1 sourceProcessInfo.fileHashSha256 sourceProcessInfo.filePath \
         sourceProcessInfo.fileSignerIdentity sourceProcessInfo.integrityLevel sourceProcessInfo.name \
         sourceProcessInfo.pid:long sourceProcessInfo.pidStarttime:date sourceProcessInfo.storyline \
         sourceProcessInfo.subsystem sourceProcessInfo.uniqueId sourceProcessInfo.user \
         sourceParentProcessInfo.commandline sourceParentProcessInfo.fileHashMd5 sourceParentProcessInfo.fileHashSha1 \
         sourceParentProcessInfo.fileHashSha256 sourceParentProcessInfo.filePath \
         sourceParentProcessInfo.fileSignerIdentity sourceParentProcessInfo.integrityLevel \
         sourceParentProcessInfo.name sourceParentProcessInfo.pid:long sourceParentProcessInfo.pidStarttime:date \
         sourceParentProcessInfo.storyline sourceParentProcessInfo.subsystem sourceParentProcessInfo.uniqueId \
         sourceParentProcessInfo.user targetProcessInfo.tgtFileCreatedAt:date targetProcessInfo.tgtFileModifiedAt:date \
         targetProcessInfo.tgtFileId targetProcessInfo.tgtFileIsSigned targetProcessInfo.tgtFilePath \
         targetProcessInfo.tgtFileOldPath targetProcessInfo.tgtFileHashSha1 targetProcessInfo.tgtFileHashSha256 \
         targetProcessInfo.tgtProcImagePath targetProcessInfo.tgtProcSignedStatus targetProcessInfo.tgtProcStorylineId \
         targetProcessInfo.tgtProcPid:long targetProcessInfo.tgtProcCmdLine targetProcessInfo.tgtProcName \
         targetProcessInfo.tgtProcIntegrityLevel targetProcessInfo.tgtProcUid \
         targetProcessInfo.tgtProcessStartTime:date osName ruleInfo.type",
    ),
    (
        Stream::Groups,
        "id createdAt:date updatedAt:date creator creatorId filterId filterName inherits:boolean isDefault:boolean \
         name rank:long registrationToken siteId totalAgents:long type",
    ),
    (
        Stream::UnifiedAlerts,
        "id externalId name classification severity result createdAt:date detectedAt:date updatedAt:date \
         firstSeenAt:date lastSeenAt:date noteExists:boolean realTime.scope.site.id realTime.scope.site.name \
         realTime.scope.account.id realTime.scope.account.name realTime.scope.group.id realTime.scope.group.name \
         assets.id assets.name assets.agentUuid assets.agentVersion assets.subcategory assets.lastLoggedInUser \
         assets.accessible:boolean assets.decommissioned:boolean assets.pendingReboot:boolean \
         detectionTime.assets.accessible:boolean detectionTime.assets.asset.consoleIpAddress:ip \
         detectionTime.assets.asset.ipV4:ip detectionTime.assets.asset.ipV6:ip detectionTime.assets.asset.osName \
         detectionTime.assets.asset.osRevision detectionTime.assets.asset.osType \
         detectionTime.assets.asset.lastLoggedInUser detectionTime.assets.asset.subscriptionTime:date \
         detectionTime.assets.cloud.accountId detectionTime.assets.cloud.cloudProvider \
         detectionTime.assets.cloud.instanceId detectionTime.assets.cloud.instanceSize \
         detectionTime.assets.cloud.location detectionTime.assets.cloud.providerDetails.accountId \
         detectionTime.assets.cloud.providerDetails.region detectionTime.assets.kubernetes.clusterName \
         detectionTime.assets.kubernetes.containerId detectionTime.assets.kubernetes.containerImageName \
         detectionTime.assets.kubernetes.containerName detectionTime.assets.kubernetes.controllerType \
         detectionTime.assets.kubernetes.namespaceName detectionTime.assets.kubernetes.podLabels \
         detectionTime.assets.kubernetes.podName detectionTime.attacker.host detectionTime.attacker.ip:ip \
         detectionTime.targetUser.domain detectionTime.targetUser.emailAddress detectionTime.targetUser.name \
         sloDetails.timeToResponseData.actionComplete:boolean sloDetails.timeToResponseData.actionDue:long \
         sloDetails.timeToResponseData.completion:long sloDetails.timeToResponseData.completionTime:date \
         sloDetails.timeToResponseData.target:long sloDetails.timeToResponseData.targetTime:date process.cmdLine \
         process.parentName process.file.md5 process.file.name process.file.path process.file.sha1 \
         process.file.sha256 assignee.email assignee.fullName assignee.userId exclusionHash",
    ),
    (
        Stream::Vulnerabilities,
        "id application applicationName applicationVendor applicationVersion baseScore:number cveId cvssVersion \
         daysDetected:long detectionDate:date endpointId endpointName endpointType exploitCodeMaturity \
         lastScanDate:date lastScanResult markType markedBy markedDate:date mitigationStatus \
         mitigationStatusChangeTime:date mitigationStatusChangedBy mitigationStatusReason nvdBaseScore:number \
         nvdCvssVersion osType publishedDate:date reason remediationLevel reportConfidence riskScore:number severity \
         status",
    ),
];

/// What pipelines read and no record has. The console does not fill it, as far as captures go, or has it no more:
/// `exclusionHash` is deprecated and not asked for.
const ELASTIC_ABSENT: [(Stream, &str); 6] = [
    (
        Stream::Threats,
        "agentRealtimeInfo.scanAbortedAt agentRealtimeInfo.storageName agentRealtimeInfo.storageType \
         agentRealtimeInfo.userActionsNeeded description",
    ),
    (Stream::Activities, "data.optionalGroups data.ruledescription"),
    (
        Stream::Agents,
        "licenseKey operationalStateExpiration remoteProfilingStateExpiration scanAbortedAt storageName storageType",
    ),
    (Stream::Alerts, "alertInfo.registryOldValue osName ruleInfo.type"),
    (Stream::UnifiedAlerts, "detectionTime.assets.asset.ipV6 exclusionHash"),
    (
        Stream::Vulnerabilities,
        "markType markedBy markedDate mitigationStatusChangeTime mitigationStatusChangedBy mitigationStatusReason reason",
    ),
];

/// What the package does not convert: an address that was masked, and several addresses in one text. It marks a unified
/// alert with such a text as `pipeline_error`, so that no rule takes it.
const ELASTIC_UNREADABLE: [(Stream, &str); 2] =
    [(Stream::Threats, "agentDetectionInfo.externalIp"), (Stream::UnifiedAlerts, "detectionTime.assets.asset.ipV4")];

fn converts(kind: &str, value: &Value) -> bool {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match kind {
        "date" => Timestamp::parse(&text).is_ok(),
        "boolean" => text.parse::<bool>().is_ok(),
        "long" => text.parse::<i64>().is_ok(),
        "number" => text.parse::<f64>().is_ok(),
        "ip" => text.parse::<IpAddr>().is_ok(),
        "ips" => text.split(',').all(|part| part.parse::<IpAddr>().is_ok()),
        _ => true,
    }
}

/// A condition of Elastic's rules on `event.kind`, which the pipelines set: of threats and unified alerts always
/// `alert`, of activities by the confidence.
fn is_alert(activity: &Value) -> bool {
    ["suspicious", "malicious"].contains(&text(activity, "data.confidenceLevel").to_lowercase().as_str())
}

fn is_parsed(alert: &Value) -> bool {
    values(alert, "detectionTime.assets.asset.ipV4").iter().all(|value| converts("ip", value))
}

fn has_severity(path: &str, record: &Value) -> bool {
    ["low", "medium", "high", "critical"].contains(&text(record, path).to_lowercase().as_str())
}

const ELASTIC: [Rule; 9] = [
    (
        "SentinelOne Threat External Alerts",
        Stream::Threats,
        |threat| ["suspicious", "malicious"].contains(&text(threat, "threatInfo.confidenceLevel").as_str()),
        "threatInfo.threatName",
    ),
    (
        "SentinelOne Alert External Alerts",
        Stream::Alerts,
        |alert| has_severity("ruleInfo.severity", alert),
        "ruleInfo.name",
    ),
    ("External Alerts", Stream::Threats, |_| true, "threatInfo.threatName threatInfo.confidenceLevel"),
    ("External Alerts", Stream::Activities, is_alert, "primaryDescription agentId data.fileDisplayName"),
    ("External Alerts", Stream::UnifiedAlerts, is_parsed, "name severity assets.name"),
    (
        "Multiple External EDR Alerts by Host",
        Stream::Alerts,
        |alert| has_severity("ruleInfo.severity", alert),
        "agentRealtimeInfo.id agentRealtimeInfo.name ruleInfo.name",
    ),
    (
        "Status of agents",
        Stream::Agents,
        |_| true,
        "uuid networkStatus lastActiveDate isActive isPendingUninstall isUninstalled",
    ),
    // The agent of an old threat may no longer exist.
    (
        "Response actions",
        Stream::Threats,
        |threat| threat["agentRealtimeInfo"].is_object(),
        "agentRealtimeInfo.agentId",
    ),
    ("Response actions", Stream::Alerts, |_| true, "agentRealtimeInfo.id"),
];

const ELASTIC_DARK: [&str; 1] = ["Rules for `logs-sentinel_one_cloud_funnel.*`"];

/// The records that Elastic's pipelines parse.
async fn documents(stream: Stream) -> Vec<Value> {
    let elastic = Double::start(Destination(elasticsearch)).await;
    let lane = integration(json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "k" }), stream);
    let sent = raw_records_of(stream, count(stream), &[]);
    assert_eq!(deliver(lane, &sent).await.delivered, sent.len() as u64);
    let requests = elastic.deliveries();
    let lines = requests.iter().filter(|request| request.path.ends_with("/_bulk")).flat_map(|one| one.body.lines());
    let documents = lines.skip(1).step_by(2).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let records = documents.map(|document| serde_json::from_str(document["message"].as_str().unwrap()).unwrap());
    let records: Vec<Value> = records.collect();
    assert_eq!(records.len(), sent.len());
    records
}

#[tokio::test]
async fn elastics_pipelines_read_what_the_console_has() {
    let mut records = BTreeMap::new();
    let mut absent = BTreeSet::new();
    let mut unreadable = BTreeSet::new();
    for (stream, read) in ELASTIC_READS {
        let documents = documents(stream).await;
        for field in read.split_whitespace() {
            let (path, kind) = field.split_once(':').unwrap_or((field, ""));
            let found: Vec<&Value> = documents.iter().flat_map(|record| values(record, path)).collect();
            if found.is_empty() {
                absent.insert((stream, path));
            }
            if !found.iter().all(|value| converts(kind, value)) {
                unreadable.insert((stream, path));
            }
        }
        records.insert(stream, documents);
    }
    let known = ELASTIC_ABSENT.iter().flat_map(|(stream, all)| all.split_whitespace().map(|path| (*stream, path)));
    assert_eq!(absent, known.collect());
    assert_eq!(unreadable, ELASTIC_UNREADABLE.into());
    lights_up(&ELASTIC, &records);

    // Three rules on a host, of which one is severe, are one alarm more.
    let mut hosts: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for alert in &records[&Stream::Alerts] {
        let rule = (text(alert, "ruleInfo.name"), text(alert, "ruleInfo.severity"));
        hosts.entry(text(alert, "agentRealtimeInfo.id")).or_default().insert(rule);
    }
    let is_severe = |rules: &BTreeSet<(String, String)>| rules.iter().any(|(_, severity)| severity == "High");
    assert!(hosts.values().any(|rules| rules.len() >= 3 && is_severe(rules)), "Multiple External EDR Alerts by Host");
    promises("### Rules of Elastic", &rows(&ELASTIC, &ELASTIC_DARK));
}

// Sekoia.io

/// Rules of the format *SentinelOne EDR*. Each shows its subject by `event.reason`, a file or a user.
const SEKOIA: [Rule; 14] = [
    ("SentinelOne EDR Agent Disabled", Stream::Activities, |record| is_type(record, 127), HOST),
    (
        "SentinelOne EDR Custom Rule Alert",
        Stream::Activities,
        |record| is_type(record, 3608),
        "primaryDescription data.computerName|data.origagentname data.rulename data.sourceprocesscommandline",
    ),
    ("SentinelOne EDR SSO User Added", Stream::Activities, |record| is_type(record, 1023), USER),
    ("SentinelOne EDR Threat Mitigation Report Kill Success", Stream::Activities, |record| is_type(record, 2001), FILE),
    (
        "SentinelOne EDR Threat Detected (Malicious)",
        Stream::Threats,
        |record| record["threatInfo"]["confidenceLevel"] == "malicious",
        THREAT,
    ),
    (
        "SentinelOne EDR Malicious Threat Detected And Mitigated Preemptively",
        Stream::Activities,
        |record| is_type(record, 20),
        FILE,
    ),
    ("SentinelOne EDR Malicious Threat Not Mitigated", Stream::Activities, |record| is_type(record, 19), FILE),
    (
        "SentinelOne EDR Threat Mitigation Report Remediate Success",
        Stream::Activities,
        |record| is_type(record, 2002),
        FILE,
    ),
    (
        "SentinelOne EDR Threat Mitigation Report Quarantine Failed",
        Stream::Activities,
        |record| is_type(record, 2009),
        FILE,
    ),
    (
        "SentinelOne EDR Threat Mitigation Report Quarantine Success",
        Stream::Activities,
        |record| is_type(record, 2004),
        FILE,
    ),
    (
        "SentinelOne EDR Threat Detected (Suspicious)",
        Stream::Threats,
        |record| record["threatInfo"]["confidenceLevel"] == "suspicious",
        THREAT,
    ),
    (
        "SentinelOne EDR Suspicious Threat Not Mitigated (Medium Confidence)",
        Stream::Activities,
        |record| is_type(record, 4003),
        FILE,
    ),
    (
        "SentinelOne EDR User Failed To Log In To The Management Console",
        Stream::Activities,
        |record| is_type(record, 133),
        USER,
    ),
    (
        "SentinelOne EDR User Logged In To The Management Console",
        Stream::Activities,
        |record| is_type(record, 27),
        USER,
    ),
];

const HOST: &str = "primaryDescription data.computerName|data.origagentname";
const FILE: &str = "primaryDescription data.computerName data.fileDisplayName";
const USER: &str = "primaryDescription data.userName|data.username";
const THREAT: &str = "threatInfo.threatName threatInfo.processUser agentDetectionInfo.agentUuid";

/// Activities of types that the emulator does not make, in the console's form.
fn rare() -> Vec<Value> {
    let of = |activity_type: u32, text: &str, data: Value| {
        json!({
            "id": (2_254_947_309_384_900_000_u64 + u64::from(activity_type)).to_string(), "activityType": activity_type,
            "primaryDescription": text, "secondaryDescription": null, "data": data,
            "createdAt": "2026-01-01T00:00:00.000000Z", "updatedAt": "2026-01-01T00:00:00.000000Z",
        })
    };
    vec![
        of(127, "The agent WS-1 was disabled.", json!({ "computerName": "WS-1" })),
        of(1023, "The SSO user Jane Doe was added.", json!({ "username": "Jane Doe" })),
    ]
}

#[tokio::test]
async fn sekoias_rules_get_what_they_compare_and_show() {
    let mut records = BTreeMap::new();
    for stream in [Stream::Threats, Stream::Activities] {
        let intake = Double::start(Destination(sekoia)).await;
        let lane = integration(json!({ "type": "sekoia", "url": intake.url(), "intake_key": "k" }), stream);
        let more = if stream == Stream::Activities { rare() } else { Vec::new() };
        let sent = raw_records_of(stream, count(stream), &more);
        assert_eq!(deliver(lane, &sent).await.delivered, sent.len() as u64);
        let requests = intake.deliveries();
        let events = requests.iter().flat_map(|one| one.json().unwrap().as_array().unwrap().clone());
        let parsed = events.map(|event| serde_json::from_str::<Value>(event["json"].as_str().unwrap()).unwrap());
        records.insert(stream, parsed.collect::<Vec<_>>());
    }
    lights_up(&SEKOIA, &records);
    // What the parser's expressions fail on: the whole event is then not parsed.
    for threat in &records[&Stream::Threats] {
        let detection = &threat["agentDetectionInfo"];
        assert!(["agentIpV4", "agentIpV6", "externalIp"].iter().all(|name| detection[*name].is_string()), "{threat}");
        assert!(threat["threatInfo"]["processUser"].is_string(), "{threat}");
    }
    assert!(records[&Stream::Activities].iter().all(|activity| activity["data"].is_object()));
    promises("## Sekoia.io", &rows(&SEKOIA, &[]));
}

// Sumo Logic

/// Mappings of Cloud SIEM, and its rules over the records that these make.
const SUMO: [Rule; 10] = [
    (
        "SentinelOne Logs - C2C activities",
        Stream::Activities,
        |record| is_type(record, 27),
        "primaryDescription data.username",
    ),
    (
        "SentinelOne Logs - C2C threats",
        Stream::Threats,
        |record| record["agentRealtimeInfo"].is_object(),
        "agentDetectionInfo.accountId threatInfo.mitigationStatus threatInfo.originatorProcess \
         agentRealtimeInfo.agentComputerName agentDetectionInfo.agentIpV4 agentDetectionInfo.externalIp \
         agentRealtimeInfo.agentOsName agentRealtimeInfo.agentId threatInfo.classification threatInfo.threatId \
         threatInfo.threatName threatInfo.updatedAt threatInfo.processUser",
    ),
    (
        "SentinelOne Logs - C2C agents",
        Stream::Agents,
        |_| true,
        "accountId computerName lastIpToMgmt externalIp osName",
    ),
    (
        "SentinelOne Logs - C2C alerts",
        Stream::Alerts,
        |_| true,
        "ruleInfo.name ruleInfo.id ruleInfo.severity agentDetectionInfo.name agentDetectionInfo.osFamily \
         sourceProcessInfo.name sourceProcessInfo.commandline sourceProcessInfo.fileHashMd5 \
         sourceProcessInfo.fileHashSha1 sourceProcessInfo.fileHashSha256 sourceProcessInfo.filePath \
         sourceProcessInfo.user sourceParentProcessInfo.commandline",
    ),
    (
        "Normalized Security Signal",
        Stream::Threats,
        |record| record["agentRealtimeInfo"].is_object(),
        "threatInfo.threatName threatInfo.mitigationStatus agentRealtimeInfo.agentComputerName",
    ),
    ("Normalized Security Signal", Stream::Alerts, |_| true, "ruleInfo.name ruleInfo.severity agentDetectionInfo.name"),
    ("Threat Intel - SHA1 Match", Stream::Threats, |record| has(record, "threatInfo.sha1"), "threatInfo.filePath"),
    ("Threat Intel - SHA1 Match", Stream::Alerts, |_| true, "sourceProcessInfo.fileHashSha1"),
    ("Threat Intel - SHA256 Match", Stream::Threats, |record| has(record, "threatInfo.sha256"), "threatInfo.filePath"),
    ("Threat Intel - SHA256 Match", Stream::Alerts, |_| true, "sourceProcessInfo.fileHashSha256"),
];

/// Keys that only some of a mapping's records have.
const SUMO_SOME: [(Stream, &str); 4] = [
    (Stream::Activities, "accountId osFamily threatId"),
    (
        Stream::Threats,
        "threatInfo.md5 threatInfo.sha1 threatInfo.sha256 threatInfo.filePath \
         agentDetectionInfo.agentLastLoggedInUserName",
    ),
    (Stream::Agents, "lastLoggedInUserName"),
    (Stream::Alerts, "ruleInfo.description"),
];

const SUMO_DARK: [&str; 1] = ["SentinelOne Logs - C2C users"];

#[tokio::test]
async fn cloud_siem_maps_the_keys_of_records_and_makes_signals_of_them() {
    let mut records = BTreeMap::new();
    for (stream, some) in SUMO_SOME {
        let source = Double::start(Destination(|_| Reply::new(200, ""))).await;
        let lane = integration(json!({ "type": "sumo", "url": format!("{}/receiver", source.url()) }), stream);
        let sent = raw_records_of(stream, count(stream), &[]);
        assert_eq!(deliver(lane, &sent).await.delivered, sent.len() as u64);
        let requests = source.deliveries();
        let lines = requests.iter().flat_map(|request| request.body.lines());
        let parsed: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        for key in some.split_whitespace() {
            assert!(parsed.iter().any(|record| has(record, key)), "{stream}: {key}");
        }
        records.insert(stream, parsed);
    }
    lights_up(&SUMO, &records);
    promises("## Sumo Logic", &rows(&SUMO, &SUMO_DARK));
}

// Splunk

/// The fields of agents that the search of SA-SentinelOneDevices makes assets of.
const ASSET: &str = "uuid modelName activeThreats agentVersion allowRemoteShell appsVulnerabilityStatus detectionState \
    encryptedApplications externalIp firewallEnabled infected isActive isDecommissioned isPendingUninstall \
    isUninstalled isUpToDate lastActiveDate lastLoggedInUserName locationEnabled locationType machineType \
    mitigationMode mitigationModeSuspicious operationalState osName osType rangerStatus rangerVersion \
    remoteProfilingState scanFinishedAt threatRebootRequired updatedAt computerName domain groupName siteName \
    accountName networkInterfaces.physical networkInterfaces.inet";

#[tokio::test]
async fn splunks_search_for_assets_finds_its_fields() {
    let hec = Double::start(Destination(|_| Reply::new(200, r#"{"text":"Success","code":0}"#))).await;
    let keys = json!({ "type": "splunk_hec", "url": hec.url(), "token": "t", "index": "sentinelone" });
    let sent = raw_records_of(Stream::Agents, count(Stream::Agents), &[]);
    assert_eq!(deliver(integration(keys, Stream::Agents), &sent).await.delivered, sent.len() as u64);
    let bodies: String = hec.deliveries().into_iter().map(|request| request.body).collect();
    let events =
        serde_json::Deserializer::from_str(&bodies).into_iter::<Value>().map(|object| object.unwrap()["event"].take());
    let agents: Vec<Value> = events.collect();
    for field in ASSET.split_whitespace() {
        assert!(agents.iter().any(|agent| has(agent, field)), "{field}");
    }
    assert_eq!(ASSET.split_whitespace().count(), 39);
    // The search splits a name of a model at its hyphen, and the times by their form.
    assert!(agents.iter().any(|agent| text(agent, "modelName").contains(" - ")));
    let form = regex::Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$").unwrap();
    assert!(agents.iter().all(|agent| form.is_match(&text(agent, "updatedAt"))));
}
