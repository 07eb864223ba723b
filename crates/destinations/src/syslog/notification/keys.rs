//! The keys of a notification, in the order of CEF:2.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use s1_forwarder_record::Timestamp;

use super::facts::Facts;
use super::names;
use super::origin::Dialect;
use crate::syslog::cef_fields::Cut;

/// One key, and the source of its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub name: &'static str,
    pub cut: Cut,
    pub from: From,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// The first path of the record that has a value.
    Paths(&'static [&'static str]),
    Made(for<'a> fn(&Facts<'a>) -> Option<Cow<'a, str>>),
}

impl Key {
    pub fn value<'a>(&self, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
        let value = match self.from {
            From::Paths(paths) => facts.first(paths),
            From::Made(make) => make(facts),
        };
        value.filter(|value| says_something(value))
    }

    /// Lets the key's value be truncated before other values.
    const fn early(self) -> Self {
        Self { cut: Cut::Early, ..self }
    }
}

/// Returns whether a value is neither blank nor `None`, which readers take for a missing value.
pub(super) fn says_something(value: &str) -> bool {
    let is_blank = value.chars().all(|character| character.is_whitespace() || character.is_control());
    !is_blank && value != "None"
}

/// Creates the key of an id, a hash, an address, a time or a number, which are never truncated.
const fn exact(name: &'static str, paths: &'static [&'static str]) -> Key {
    Key { name, cut: Cut::Never, from: From::Paths(paths) }
}

/// Creates the key of a name or another word.
const fn text(name: &'static str, paths: &'static [&'static str]) -> Key {
    Key { name, cut: Cut::Late, from: From::Paths(paths) }
}

const fn made(name: &'static str, cut: Cut, make: for<'a> fn(&Facts<'a>) -> Option<Cow<'a, str>>) -> Key {
    Key { name, cut, from: From::Made(make) }
}

/// The keys of all types.
pub(super) const KEYS: &[Key] = &[
    made("suser", Cut::Late, |facts| facts.actor()),
    made("duser", Cut::Late, |facts| facts.target()),
    made("userEmail", Cut::Late, |facts| facts.email()),
    exact("ip", &["data.ipAddress"]),
    made("rt", Cut::Never, |facts| received_at(facts)),
    made("fileHash", Cut::Never, |facts| facts.hash(&["data.fileContentHash", "threatInfo.sha1", "hash"], 40)),
    text("filePath", &["data.filePath", "threatInfo.filePath"]).early(),
    text("fileName", &["data.fileDisplayName", "threatInfo.threatName"]),
    made("oldValue", Cut::Early, |facts| {
        facts.first_or_json(&[
            "data.oldValue",
            "data.oldAnalystVerdictTitle",
            "data.originalStatus",
            "data.oldIncidentStatusTitle",
            "data.oldConfidenceLevel",
            "data.oldRole",
        ])
    }),
    made("newValue", Cut::Early, |facts| {
        facts.first_or_json(&[
            "data.newValue",
            "data.newAnalystVerdictTitle",
            "data.newStatus",
            "data.newIncidentStatusTitle",
            "data.newConfidenceLevel",
        ])
    }),
    text("noteText", &["data.noteText", "data.text"]).early(),
    made("deviceHostFqdn", Cut::Never, |facts| Some(Cow::Borrowed(facts.origin.console))),
    made("deviceHostName", Cut::Never, |facts| Some(Cow::Borrowed(facts.origin.console))),
    made("notificationScope", Cut::Never, |facts| Some(facts.scope())),
    made("siteId", Cut::Never, |facts| facts.site_id()),
    text("siteName", &["siteName", "agentDetectionInfo.siteName"]),
    made("accountId", Cut::Never, |facts| facts.account_id()),
    text("accountName", &["accountName", "agentDetectionInfo.accountName"]),
    made("vendor", Cut::Never, |_| Some(Cow::Borrowed("SentinelOne"))),
    made("eventID", Cut::Never, type_of),
    made("eventDesc", Cut::Early, |facts| Some(names::of(facts))),
    made("eventSeverity", Cut::Never, |facts| Some(Cow::Owned(facts.severity().to_string()))),
    made("originatorName", Cut::Late, |facts| Some(facts.host.clone().unwrap_or(Cow::Borrowed(facts.origin.console)))),
    made("originatorVersion", Cut::Late, |facts| {
        let agent = ["agentRealtimeInfo.agentVersion", "agentDetectionInfo.agentVersion", "data.origagentversion"];
        let console = || if facts.has_endpoint() { None } else { facts.origin.build.map(Cow::Borrowed) };
        facts.first(&agent).or_else(console)
    }),
    made("sourceAgentRegisterTimestamp", Cut::Never, |facts| {
        facts.time_at(&["agentDetectionInfo.agentRegisteredAt"]).and_then(plain)
    }),
    made("sourceNetworkState", Cut::Late, |facts| facts.of_threat(&["agentRealtimeInfo.agentNetworkStatus"])),
    text(
        "sourceOsRevision",
        &["agentRealtimeInfo.agentOsRevision", "agentDetectionInfo.agentOsRevision", "data.origagentosrevision"],
    ),
    made("sourceOsType", Cut::Late, |facts| facts.os_type()),
    made("sourceAgentUuid", Cut::Never, |facts| facts.agent_uuid()),
    made("sourceFqdn", Cut::Late, |facts| {
        let domain = facts.domain().filter(|domain| domain.contains('.'))?;
        Some(Cow::Owned(format!("{}.{domain}", facts.host.as_deref()?)))
    }),
    made("sourceThreatCount", Cut::Never, |facts| facts.of_threat(&["agentRealtimeInfo.activeThreats"])),
    exact("sourceMgmtPrecievedAddress", &["agentDetectionInfo.externalIp", "data.externalIp", "data.externalip"]),
    made("sourceDnsDomain", Cut::Late, |facts| facts.domain()),
    made("sourceHostName", Cut::Late, |facts| facts.host.clone()),
    text("sourceUserName", &["agentDetectionInfo.agentLastLoggedInUserName", "data.lastLoggedInUserName"]),
    exact("sourceAgentId", &["agentRealtimeInfo.agentId", "agentId"]),
    made("sourceGroupId", Cut::Never, |facts| {
        facts.of_endpoint(&["agentRealtimeInfo.groupId", "groupId", "agentDetectionInfo.groupId"])
    }),
    made("sourceGroupName", Cut::Late, |facts| {
        facts.of_endpoint(&["agentRealtimeInfo.groupName", "groupName", "data.groupName"])
    }),
    made("sourceAddress", Cut::Never, |facts| facts.addresses().first().map(|first| Cow::Owned(first.to_string()))),
    made("sourceNetInterfaceName", Cut::Late, |facts| facts.interface_name()),
    made("sourceMacAddress", Cut::Never, |facts| facts.macs().into_iter().next().map(Cow::Owned)),
    made("sourceIpAddresses", Cut::Never, |facts| quoted_list(facts.addresses())),
    made("sourceMacAddresses", Cut::Never, |facts| quoted_list(facts.macs())),
    text("threatClassification", &["data.threatClassification", "threatInfo.classification"]),
    text("threatClassificationSource", &["data.threatClassificationSource", "threatInfo.classificationSource"]),
    made("threatDetectingEngine", Cut::Late, |facts| facts.engines()),
    text("threatClassifier", &["threatInfo.detectionType"]),
    made("threatMitigationStatus", Cut::Never, |facts| facts.mitigation_status()),
    made("threatConfidenceLevel", Cut::Never, |facts| facts.confidence()),
    made("threatMitigatedPreemptively", Cut::Never, |facts| {
        let is_preemptive = facts.is_preemptive()?;
        Some(Cow::Borrowed(if is_preemptive { "True" } else { "False" }))
    }),
    made("threatMitigationStatusLabel", Cut::Never, |facts| Some(Cow::Borrowed(facts.status_label()?.0))),
    made("threatMitigationStatusID", Cut::Never, |facts| Some(Cow::Borrowed(facts.status_label()?.1))),
    text(
        "threatCommandLineArguments",
        &["data.escapedMaliciousProcessArguments", "threatInfo.maliciousProcessArguments"],
    )
    .early(),
    made("threatID", Cut::Never, |facts| facts.threat_id()),
    exact("threatStoryline", &["threatInfo.storyline"]),
    made("threatDetectionTime", Cut::Never, |facts| facts.time_at(&["threatInfo.identifiedAt"]).and_then(plain)),
    made("threatIndicatorsList", Cut::Never, |facts| {
        let ids: Vec<String> = facts.indicators().iter().map(u64::to_string).collect();
        if ids.is_empty() { None } else { Some(Cow::Owned(format!("[{}]", ids.join(", ")))) }
    }),
    text("threatProcessUser", &["threatInfo.processUser"]),
    made("fileHashSha256", Cut::Never, |facts| facts.hash(&["threatInfo.sha256"], 64)),
    made("fileHashMd5", Cut::Never, |facts| facts.hash(&["threatInfo.md5"], 32)),
];

/// The keys that some types of activities have besides.
pub(super) const OF_TYPES: &[(&[RangeInclusive<i64>], &[Key])] = &[
    (
        &[5120..=5129],
        &[
            text("endpointDeviceControlEventType", &["data.eventType"]),
            text("endpointDeviceControlClass", &["data.deviceClass"]),
            text("endpointDeviceControlVendor", &["data.vendorId"]),
            text("endpointDeviceControlProduct", &["data.productId"]),
            text("endpointDeviceControlSerial", &["data.uid"]),
            text("endpointDeviceControlDeviceName", &["data.deviceName"]),
            exact("endpointDeviceControlRuleId", &["data.ruleId"]),
            text("endpointDeviceControlInterface", &["data.interface"]),
            text("endpointDeviceControlBluetoothVersion", &["data.lmpVersion"]),
            text("endpointDeviceControlBluetoothMinorClass", &["data.minorClass"]),
            made("endpointDeviceControlBluetoothProfileUuids", Cut::Late, |facts| {
                facts.first_or_json(&["data.profileUuids"])
            }),
        ],
    ),
    (
        &[5232..=5232],
        &[
            exact("firewallNotificationRuleId", &["data.ruleId"]),
            text("firewallNotificationRuleName", &["data.ruleName"]),
            text("firewallNotificationRuleAction", &["data.action"]),
            text("firewallNotificationTrafficProtocol", &["data.protocol"]),
            exact("firewallNotificationTrafficLocalHost", &["data.localHost"]),
            exact("firewallNotificationTrafficLocalPort", &["data.localPort"]),
            exact("firewallNotificationTrafficRemoteHost", &["data.remoteHost"]),
            exact("firewallNotificationTrafficRemotePort", &["data.port"]),
            exact("firewallNotificationTrafficPID", &["data.processId"]),
            text("firewallNotificationTrafficProcessName", &["data.processName"]).early(),
            exact("firewallNotificationTrafficNumberOfEvents", &["data.numberOfEvents"]),
            exact("firewallNotificationTrafficDurationOfMeasurement", &["data.durationOfMeasurement"]),
        ],
    ),
    (
        &[3200..=3204, 3400..=3400],
        &[
            exact("remoteShellSessionId", &["data.sessionId"]),
            text("remoteShellEventReason", &["data.reason"]).early(),
            text("remoteShellEventDescription", &["data.description"]).early(),
        ],
    ),
    (
        &[3505..=3505],
        &[
            exact("totalNewDevices", &["data.totalNewDevices"]),
            exact("secured", &["data.secured"]),
            exact("unsecured", &["data.unsecured"]),
            exact("unsupported", &["data.unsupported"]),
            exact("unknown", &["data.unknown"]),
            exact("gatewayIp", &["data.gatewayIp"]),
            text("networkName", &["data.networkName"]),
        ],
    ),
    (
        &[3600..=3612],
        &[exact("ruleId", &["data.ruleId", "data.ruleid"]), text("ruleName", &["data.ruleName", "data.rulename"])],
    ),
];

/// The keys that CEF:0 alone has.
pub(super) const CEF_ONLY: &[Key] = &[
    made("duid", Cut::Never, |facts| facts.agent_uuid()),
    made("osName", Cut::Late, |facts| if facts.has_endpoint() { facts.os() } else { None }),
];

/// The keys at the end of CEF:2.
pub(super) const LAST: &[Key] = &[
    made("cat", Cut::Never, |facts| Some(facts.category())),
    made("activityID", Cut::Never, |facts| facts.activity_id()),
    made("activityType", Cut::Never, type_of),
];

fn type_of<'a>(facts: &Facts<'a>) -> Option<Cow<'a, str>> {
    Some(Cow::Owned(facts.activity_type.to_string()))
}

/// Returns the value of `rt`. CEF:0 has another form of the time in notifications that are not about a threat.
fn received_at(facts: &Facts<'_>) -> Option<Cow<'static, str>> {
    let time = facts.time?;
    if facts.origin.dialect == Dialect::Cef && !facts.is_about_malware() {
        return format(time, "#arcsightDate(%a, %d %b %Y, %H:%M:%S UTC)").map(Cow::Owned);
    }
    plain(time)
}

/// Formats a time as `2026-03-01 10:20:30.123456`, in UTC.
fn plain(time: Timestamp) -> Option<Cow<'static, str>> {
    format(time, "%Y-%m-%d %H:%M:%S.%6f").map(Cow::Owned)
}

/// Formats a time in UTC, with English names. `None` for a time that no calendar has.
pub(in crate::syslog) fn format(time: Timestamp, form: &str) -> Option<String> {
    Some(jiff::Timestamp::from_microsecond(time.micros()).ok()?.strftime(form).to_string())
}

/// Formats a list as Python prints one: `['10.0.0.1', 'fe80::1']`.
fn quoted_list<'a>(items: Vec<impl std::fmt::Display>) -> Option<Cow<'a, str>> {
    let quoted: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
    if quoted.is_empty() { None } else { Some(Cow::Owned(format!("[{}]", quoted.join(", ")))) }
}
