//! The facts of an activity or a threat that its notification needs.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use s1_forwarder_record::{Kind, Stream, Timestamp, Value};

use super::origin::{Dialect, Origin};
use super::types;

/// The objects of a record whose members are notified: `data` of an activity, and three of a threat.
const BLOCKS: [&str; 4] = ["data", "threatInfo", "agentRealtimeInfo", "agentDetectionInfo"];

/// The members of a record and of its [`BLOCKS`]. Of equal keys the first counts.
#[derive(Debug)]
struct Members<'a> {
    record: HashMap<Cow<'a, str>, Value<'a>>,
    blocks: [HashMap<Cow<'a, str>, Value<'a>>; BLOCKS.len()],
}

impl<'a> Members<'a> {
    fn of(record: Value<'a>) -> Self {
        let mut members = HashMap::new();
        for (key, value) in record.entries() {
            members.entry(key).or_insert(value);
        }
        let blocks = BLOCKS.map(|block| {
            let mut inner = HashMap::new();
            for (key, value) in members.get(block).copied().unwrap_or_default().entries() {
                inner.entry(key).or_insert(value);
            }
            inner
        });
        Self { record: members, blocks }
    }

    /// Returns the value at `key`, or at `block.key`.
    fn get(&self, path: &str) -> Value<'a> {
        let found = match path.split_once('.') {
            None => self.record.get(path),
            Some((name, key)) => {
                let block = BLOCKS.iter().zip(&self.blocks).find(|(block, _)| **block == name);
                block.and_then(|(_, members)| members.get(key))
            }
        };
        found.copied().unwrap_or_default()
    }
}

/// An activity or a threat as its notification's type, host, user, …
#[derive(Debug)]
pub(in crate::syslog) struct Facts<'a> {
    members: Members<'a>,
    /// Constant members of the threat that the activity is about; `None` if no threat was fetched.
    threat: Option<Members<'a>>,
    /// The activity type. A threat has the type that its state stands for.
    pub activity_type: i64,
    is_threat: bool,
    /// The endpoint's name.
    pub host: Option<Cow<'a, str>>,
    /// Time of the activity, or of the threat's detection, mitigation or resolution.
    pub time: Option<Timestamp>,
    pub origin: &'a Origin<'a>,
}

impl<'a> Facts<'a> {
    /// Reads the facts of a record; `None` for an activity without a type.
    pub fn of(record: Value<'a>, origin: &'a Origin<'a>) -> Option<Self> {
        let is_threat = origin.stream == Stream::Threats;
        let members = Members::of(record);
        let fetched = members.get("_enrichment").get("threat");
        let threat = if is_threat || fetched.is_empty() { None } else { Some(Members::of(fetched)) };
        let mut facts = Self { members, threat, activity_type: 0, is_threat, host: None, time: None, origin };
        facts.activity_type = if is_threat { facts.type_of_threat() } else { number(&facts.text("activityType")?)? };
        facts.host = facts.first(&[
            "data.computerName",
            "agentRealtimeInfo.agentComputerName",
            "data.origagentname",
            "data.agentName",
        ]);
        facts.time = if is_threat { facts.time_of_threat() } else { facts.time_at(&["createdAt"]) };
        Some(facts)
    }

    /// Returns the text of a scalar of the record itself; `None` if it is missing, empty or the word `null`.
    fn text(&self, path: &str) -> Option<Cow<'a, str>> {
        text_of(self.members.get(path))
    }

    /// Returns the values at these paths of the record, then those at the same paths of its threat.
    fn values<'p>(&self, paths: &'p [&str]) -> impl Iterator<Item = Value<'a>> + use<'_, 'a, 'p> {
        let sources = [Some(&self.members), self.threat.as_ref()];
        sources.into_iter().flatten().flat_map(|members| paths.iter().map(|path| members.get(path)))
    }

    /// Returns the text of the first path that has one, in the record or else in its threat.
    pub fn first(&self, paths: &[&str]) -> Option<Cow<'a, str>> {
        self.values(paths).find_map(text_of)
    }

    /// Returns the text of the first path that has one. Objects and lists are JSON.
    pub fn first_or_json(&self, paths: &[&str]) -> Option<Cow<'a, str>> {
        paths.iter().find_map(|path| {
            let value = self.members.get(path);
            match value.kind() {
                Kind::Object | Kind::Array if !value.is_empty() => Some(Cow::Borrowed(value.raw())),
                _ => self.text(path),
            }
        })
    }

    fn is(&self, path: &str, word: &str) -> bool {
        self.members.get(path).escaped().is_some_and(|text| text.is(word))
    }

    pub fn time_at(&self, paths: &[&str]) -> Option<Timestamp> {
        self.values(paths).find_map(|value| Timestamp::parse_of_record(&text_of(value)?).ok())
    }

    fn type_of_threat(&self) -> i64 {
        if self.is("threatInfo.incidentStatus", "resolved") {
            types::RESOLVED
        } else if self.is("threatInfo.mitigatedPreemptively", "true") {
            types::BLOCKED
        } else if ["mitigated", "blocked"].iter().any(|status| self.is("threatInfo.mitigationStatus", status)) {
            types::MITIGATED
        } else if self.is("threatInfo.confidenceLevel", "malicious") {
            types::NEW_THREAT
        } else {
            types::NEW_SUSPICIOUS
        }
    }

    fn time_of_threat(&self) -> Option<Timestamp> {
        let changed = [types::MITIGATED, types::RESOLVED].contains(&self.activity_type);
        let detected = ["threatInfo.identifiedAt", "threatInfo.createdAt"];
        let of_change = if changed { self.time_at(&["threatInfo.updatedAt"]) } else { None };
        of_change.or_else(|| self.time_at(&detected))
    }

    /// Returns whether the activity or the threat is about an endpoint.
    pub fn has_endpoint(&self) -> bool {
        self.is_threat || self.host.is_some() || self.text("agentId").is_some()
    }

    /// Returns whether the line has the form of a line about a threat.
    pub fn is_about_malware(&self) -> bool {
        self.is_threat || types::is_detection(self.activity_type) || self.text("data.threatClassification").is_some()
    }

    /// Returns the endpoint's operating system, such as `Windows 11 Pro`.
    pub fn os(&self) -> Option<Cow<'a, str>> {
        let name = self.first(&[
            "agentRealtimeInfo.agentOsName",
            "agentDetectionInfo.agentOsName",
            "data.origagentosname",
            "data.osName",
        ]);
        name.or_else(|| match self.os_type()?.to_lowercase().as_str() {
            "windows" => Some(Cow::Borrowed("Windows")),
            "linux" => Some(Cow::Borrowed("Linux")),
            "macos" | "osx" => Some(Cow::Borrowed("OS X")),
            _ => None,
        })
    }

    pub fn os_type(&self) -> Option<Cow<'a, str>> {
        self.first(&[
            "agentRealtimeInfo.agentOsType",
            "data.osType",
            "data.origagentosfamily",
            "osFamily",
            "data.osFamily",
        ])
    }

    /// Returns the user who acted.
    pub fn actor(&self) -> Option<Cow<'a, str>> {
        let named = self.first(&["data.byUser", "data.username", "data.userName", "threatInfo.initiatingUsername"]);
        named.or_else(|| if types::is_about_a_user(self.activity_type) { self.text("description") } else { None })
    }

    /// Returns the user who was acted upon.
    pub fn target(&self) -> Option<Cow<'a, str>> {
        self.text("data.byUser")?;
        self.first(&["data.username", "data.userName"])
    }

    pub fn email(&self) -> Option<Cow<'a, str>> {
        self.first(&["data.email", "data.userEmail"])
    }

    pub fn role(&self) -> Option<Cow<'a, str>> {
        self.text("data.role")
    }

    /// Returns the severity from 1 to 10. The console itself writes 1 for everything, and readers derive theirs from
    /// it.
    pub fn severity(&self) -> u8 {
        match self.activity_type {
            19 | 4108 => 10,
            2006..=2010 => 8,
            18 | 20 if self.confidence().is_some_and(|level| level.eq_ignore_ascii_case("malicious")) => 8,
            18 | 20 | 4003 | 4109 => 5,
            // The severity is a word such as `E_HIGH`.
            types::STAR_ALERT => {
                let severity = self.text("data.severity").unwrap_or_default().to_lowercase();
                match severity.trim_start_matches("e_") {
                    "info" => 1,
                    "low" => 3,
                    "high" => 8,
                    "critical" => 10,
                    _ => 5,
                }
            }
            _ => 1,
        }
    }

    /// Returns the scope of the notification, as far as the record names it.
    pub fn scope(&self) -> Cow<'a, str> {
        Cow::Borrowed(match (self.site_id(), self.account_id()) {
            (Some(_), _) => "SITE",
            (None, Some(_)) => "ACCOUNT",
            (None, None) => "GLOBAL",
        })
    }

    pub fn site_id(&self) -> Option<Cow<'a, str>> {
        self.first(&["siteId", "agentDetectionInfo.siteId"])
    }

    pub fn account_id(&self) -> Option<Cow<'a, str>> {
        self.first(&["accountId", "agentDetectionInfo.accountId"])
    }

    pub fn confidence(&self) -> Option<Cow<'a, str>> {
        self.first(&["data.newConfidenceLevel", "data.confidenceLevel", "threatInfo.confidenceLevel"])
    }

    /// Returns the threat's mitigation at the moment of the notification.
    pub fn mitigation_status(&self) -> Option<Cow<'a, str>> {
        let known = match self.activity_type {
            19 | 4003 | 4108 | 4109 => Some("not_mitigated"),
            18 | 20 => Some("mitigated"),
            _ if self.is_threat => None,
            2006..=2010 => Some("not_mitigated"),
            2001..=2005
                if self.text("data.globalStatus").is_none_or(|status| status.eq_ignore_ascii_case("success")) =>
            {
                Some("mitigated")
            }
            4008 => {
                let status = self.text("data.newStatus")?;
                return Some(Cow::Owned(status.to_lowercase().replace(' ', "_"))).filter(|status| is_word(status));
            }
            _ => None,
        };
        let of_threat = || if self.is_threat { self.text("threatInfo.mitigationStatus") } else { None };
        known.map(Cow::Borrowed).or_else(of_threat)
    }

    /// Returns whether the threat was stopped before it ran; `None` if that is not known.
    pub fn is_preemptive(&self) -> Option<bool> {
        if types::is_detection(self.activity_type) {
            return Some(self.activity_type == types::BLOCKED);
        }
        let text = self.text("threatInfo.mitigatedPreemptively").filter(|_| self.is_threat)?;
        Some(text.eq_ignore_ascii_case("true"))
    }

    /// Returns label and number of the mitigation status.
    pub fn status_label(&self) -> Option<(&'static str, &'static str)> {
        let status = self.mitigation_status()?;
        let is_suspicious = self.confidence().is_some_and(|level| level.eq_ignore_ascii_case("suspicious"));
        match &*status {
            _ if self.is_preemptive() == Some(true) => Some(("blocked", "2")),
            "not_mitigated" if is_suspicious => Some(("suspicious", "3")),
            "not_mitigated" => Some(("active", "1")),
            "mitigated" => Some(("mitigated", "0")),
            "blocked" => Some(("blocked", "2")),
            "pending" => Some(("pending", "4")),
            "marked_as_benign" => Some(("suspicious_resolved", "5")),
            _ => None,
        }
    }

    /// Returns the first text of this many hex digits, in lower case.
    pub fn hash(&self, paths: &[&str], digits: usize) -> Option<Cow<'a, str>> {
        let is_hash = |text: &Cow<'_, str>| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = self.values(paths).find_map(|value| text_of(value).filter(is_hash))?;
        Some(Cow::Owned(hash.to_ascii_lowercase()))
    }

    pub fn of_endpoint(&self, paths: &[&str]) -> Option<Cow<'a, str>> {
        if self.has_endpoint() { self.first(paths) } else { None }
    }

    pub fn of_threat(&self, paths: &[&str]) -> Option<Cow<'a, str>> {
        if self.is_threat { self.first(paths) } else { None }
    }

    pub fn agent_uuid(&self) -> Option<Cow<'a, str>> {
        let agent = ["agentRealtimeInfo.agentUuid", "agentDetectionInfo.agentUuid", "data.origagentuuid"];
        self.first(&agent).or_else(|| self.of_endpoint(&["data.uuid"]))
    }

    pub fn domain(&self) -> Option<Cow<'a, str>> {
        self.first(&["agentDetectionInfo.agentDomain", "agentRealtimeInfo.agentDomain"])
    }

    pub fn threat_id(&self) -> Option<Cow<'a, str>> {
        let named = self.first(&["threatInfo.threatId", "threatId"]);
        named.or_else(|| if self.is_threat { self.text("id") } else { None })
    }

    pub fn activity_id(&self) -> Option<Cow<'a, str>> {
        if self.is_threat { None } else { self.text("id") }
    }

    fn interfaces(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        self.members.get("agentRealtimeInfo.networkInterfaces").elements()
    }

    /// Returns the endpoint's addresses in the order that readers want: the first of IPv4, then those of IPv6, then the
    /// other ones of IPv4.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut texts: Vec<Cow<'_, str>> = Vec::new();
        for interface in self.interfaces() {
            for family in ["inet", "inet6"] {
                texts.extend(interface.get(family).elements().filter_map(Value::text));
            }
        }
        if texts.is_empty() {
            let lists = ["agentDetectionInfo.agentIpV4", "agentDetectionInfo.agentIpV6", "data.agentipv4"];
            let of_members = |members: &Members<'a>| lists.map(|path| text_of(members.get(path)));
            texts.extend(of_members(&self.members).into_iter().flatten());
            if let (true, Some(threat)) = (texts.is_empty(), &self.threat) {
                texts.extend(of_members(threat).into_iter().flatten());
            }
            if texts.is_empty() && self.activity_type == types::FIREWALL {
                texts.extend(self.text("data.localHost"));
            }
        }
        let parts = texts.iter().flat_map(|text| text.split([',', ' ']));
        let addresses = parts.filter_map(|part| part.split('%').next()?.parse::<IpAddr>().ok());
        let (four, six): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv4);
        let (first, others) = four.split_at(four.len().min(1));
        [first, &six, others].concat()
    }

    /// Returns the hardware addresses of the endpoint, in lower case with colons.
    pub fn macs(&self) -> Vec<String> {
        let mut macs = Vec::new();
        for interface in self.interfaces() {
            let mac = interface.get("physical").text().unwrap_or_default().replace('-', ":").to_lowercase();
            if mac.len() == 17 && mac.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
                macs.push(mac);
            }
        }
        macs
    }

    pub fn interface_name(&self) -> Option<Cow<'a, str>> {
        self.interfaces().find_map(|interface| interface.get("name").text())
    }

    /// Returns the keys of the engines that detected the threat, separated by commas.
    pub fn engines(&self) -> Option<Cow<'a, str>> {
        let name = |engine: Value<'a>| engine.get("key").text().or_else(|| engine.get("title").text());
        let engines = self.values(&["threatInfo.detectionEngines"]).flat_map(Value::elements);
        let engines: Vec<_> = engines.filter_map(name).collect();
        if engines.is_empty() { None } else { Some(Cow::Owned(engines.join(","))) }
    }

    /// Returns the numbers of the threat's indicators, in ascending order.
    pub fn indicators(&self) -> BTreeSet<u64> {
        let indicators = self.values(&["indicators"]).flat_map(Value::elements);
        let ids = indicators.flat_map(|indicator| indicator.get("ids").elements());
        ids.filter_map(|id| id.text()?.parse().ok()).collect()
    }

    /// Returns the category of the notification, which is constant in CEF:0.
    pub fn category(&self) -> Cow<'a, str> {
        Cow::Borrowed(match self.origin.dialect {
            Dialect::Cef => "SystemEvent",
            Dialect::Cef2 => types::category(self.activity_type),
        })
    }
}

/// Returns the text of a scalar; `None` if it is missing, empty or the word `null`.
fn text_of(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.text().filter(|text| text != "null" && !text.trim().is_empty())
}

/// Parses a number without a plus sign and leading zeros: a type is compared by its digits.
fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

/// Returns whether a text may be a status, such as `marked_as_benign`.
fn is_word(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
