//! Maps the fields of an ECS event to keys of ArcSight's CEF dictionary (implementation standard, version 26). A row
//! names several fields where the first one that has a value counts.

use s1_forwarder_record::Stream;

/// One key of the extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub key: &'static str,
    /// The value of the key's `…Label`, for keys that users name.
    pub label: Option<&'static str>,
    pub form: Form,
    pub cut: Cut,
    /// Paths of the event, the preferred one first.
    pub paths: &'static [&'static str],
}

/// When a value is truncated so that its message fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Truncated before others: sentences, commands, paths.
    Early,
    /// Truncated after others: names and other words.
    Late,
    /// Never truncated: an id, a hash, an address, a time or a number is worth nothing in part.
    Never,
}

impl Field {
    /// Lets the value be truncated before others.
    const fn early(self) -> Self {
        Self { cut: Cut::Early, ..self }
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A text as it is; a list with commas.
    Text,
    /// The first address. An IPv6 address is written under a key of its own, with a label.
    Address { v6_key: &'static str, v6_label: &'static str },
    /// The first MAC address, with colons.
    Mac,
    /// Milliseconds since 1970.
    Time,
    /// 0 for inbound, 1 for outbound.
    Direction,
}

const fn text(key: &'static str, paths: &'static [&'static str]) -> Field {
    Field { key, label: None, form: Form::Text, cut: Cut::Late, paths }
}

/// Returns a field whose value is never cut.
const fn exact(key: &'static str, paths: &'static [&'static str]) -> Field {
    Field { cut: Cut::Never, ..text(key, paths) }
}

const fn labelled(key: &'static str, label: &'static str, paths: &'static [&'static str]) -> Field {
    Field { key, label: Some(label), form: Form::Text, cut: Cut::Late, paths }
}

const fn address(
    key: &'static str,
    v6_key: &'static str,
    v6_label: &'static str,
    paths: &'static [&'static str],
) -> Field {
    Field { key, label: None, form: Form::Address { v6_key, v6_label }, cut: Cut::Never, paths }
}

const fn time(key: &'static str, paths: &'static [&'static str]) -> Field {
    Field { key, label: None, form: Form::Time, cut: Cut::Never, paths }
}

/// Fields of all streams.
pub(super) const COMMON: &[Field] = &[
    time("rt", &["@timestamp"]),
    text("cat", &["event.category"]),
    exact("act", &["event.action"]),
    exact("outcome", &["event.outcome"]),
    text("reason", &["event.reason"]).early(),
    time("start", &["event.start"]),
    time("end", &["event.end"]),
    text("dvchost", &["host.name"]),
    address("dvc", "c6a1", "Device IPv6 Address", &["host.ip"]),
    Field { key: "dvcmac", label: None, form: Form::Mac, cut: Cut::Never, paths: &["host.mac"] },
    exact("deviceExternalId", &["host.id"]),
    text("deviceNtDomain", &["host.domain"]),
    address("src", "c6a2", "Source IPv6 Address", &["source.ip"]),
    exact("spt", &["source.port"]),
    text("shost", &["source.domain"]),
    text("suser", &["user.name"]),
    exact("suid", &["user.id"]),
    text("sntdom", &["user.domain"]),
    text("spriv", &["user.roles"]),
    text("sproc", &["process.executable", "process.name"]).early(),
    exact("spid", &["process.pid"]),
    address("dst", "c6a3", "Destination IPv6 Address", &["destination.ip"]),
    exact("dpt", &["destination.port"]),
    text("duser", &["user.target.name"]),
    exact("duid", &["user.target.id"]),
    text("dpriv", &["user.target.roles"]),
    text("destinationDnsDomain", &["dns.question.name"]),
    exact("proto", &["network.transport"]),
    Field {
        key: "deviceDirection",
        label: None,
        form: Form::Direction,
        cut: Cut::Never,
        paths: &["network.direction"],
    },
    text("fname", &["file.name"]),
    text("filePath", &["file.path"]).early(),
    exact(
        "fileHash",
        &["file.hash.sha256", "file.hash.sha1", "file.hash.md5", "process.hash.sha256", "process.hash.sha1"],
    ),
    exact("fsize", &["file.size"]),
    text("request", &["url.original"]).early(),
    labelled("flexString1", "Account", &["organization.name", "organization.id"]),
];

const THREATS: &[Field] = &[
    text("dhost", &["host.name"]),
    labelled("cs1", "Threat name", &["sentinel_one.threat.name"]),
    labelled("cs2", "Classification", &["sentinel_one.threat.threat_info.classification"]),
    labelled("cs3", "Mitigation status", &["sentinel_one.threat.threat_info.mitigation_status"]),
    labelled("cs4", "Site", &["sentinel_one.threat.site.name", "sentinel_one.threat.site.id"]),
    labelled("cs5", "Command line", &["process.command_line"]).early(),
    labelled("cs6", "ATT&CK techniques", &["threat.technique.subtechnique.id", "threat.technique.id"]),
    labelled("flexString2", "Analyst verdict", &["sentinel_one.threat.threat_info.analyst_verdict"]),
];

const ALERTS: &[Field] = &[
    text("dhost", &["host.name"]),
    labelled("cs1", "Rule", &["rule.name"]),
    labelled("cs2", "Event type", &["sentinel_one.alert.alert_info.event_type"]),
    labelled("cs3", "Incident status", &["sentinel_one.alert.alert_info.incident_status"]),
    labelled("cs4", "Site", &["sentinel_one.alert.site.name", "sentinel_one.alert.site.id"]),
    labelled("cs5", "Command line", &["process.command_line"]).early(),
    labelled("cs6", "Parent process", &["process.parent.executable", "process.parent.name"]).early(),
    labelled("flexString2", "Analyst verdict", &["sentinel_one.alert.alert_info.analyst_verdict"]),
];

const UNIFIED_ALERTS: &[Field] = &[
    text("dhost", &["host.name"]),
    labelled("cs1", "Alert name", &["sentinel_one.unified_alert.name"]),
    labelled("cs2", "Classification", &["sentinel_one.unified_alert.classification"]),
    labelled("cs3", "Status", &["sentinel_one.unified_alert.status"]),
    labelled("cs4", "Site", &["sentinel_one.unified_alert.site.name", "sentinel_one.unified_alert.site.id"]),
    labelled("cs5", "Command line", &["process.command_line"]).early(),
    labelled("cs6", "ATT&CK techniques", &["threat.technique.subtechnique.id", "threat.technique.id"]),
    labelled("flexString2", "Analyst verdict", &["sentinel_one.unified_alert.analyst_verdict"]),
];

const ACTIVITIES: &[Field] = &[
    labelled("cs1", "Activity type", &["event.code"]),
    labelled("cs2", "Comments", &["sentinel_one.activity.comments"]).early(),
    labelled("cs3", "Rule", &["rule.name"]),
    labelled("cs4", "Site", &["sentinel_one.activity.site.name", "sentinel_one.activity.site.id"]),
    labelled("cs5", "Command line", &["process.command_line"]).early(),
    labelled("cs6", "Group", &["group.name"]),
    labelled("flexString2", "Device", &["device.model.name"]),
];

const AGENTS: &[Field] = &[
    labelled("cs1", "Operating system", &["host.os.full", "host.os.name"]),
    labelled("cs2", "Agent version", &["observer.version"]),
    labelled("cs3", "Network status", &["sentinel_one.agent.network_status"]),
    labelled("cs4", "Site", &["sentinel_one.agent.site.name", "sentinel_one.agent.site.id"]),
    labelled("cs5", "Group", &["group.name"]),
    labelled("cs6", "Infected", &["sentinel_one.agent.infected"]),
    labelled("flexString2", "Operational state", &["sentinel_one.agent.operational_state"]),
];

/// Returns the fields of a stream in addition to [`COMMON`]; `None` if `msg` has the whole event as JSON instead.
pub(super) const fn of_stream(stream: Stream) -> Option<&'static [Field]> {
    match stream {
        Stream::Threats => Some(THREATS),
        Stream::Alerts => Some(ALERTS),
        Stream::UnifiedAlerts => Some(UNIFIED_ALERTS),
        Stream::Activities => Some(ACTIVITIES),
        Stream::Agents => Some(AGENTS),
        _ => None,
    }
}
