//! The activity log: `/activities`. The keys of `data` differ by type; keys with the same meaning in every type make
//! the parts. A type has only a few of the many parts, so each part is selected on demand. Hits of custom rules are in
//! `rule_hit`.

mod alert_keys;
mod arguments;
mod class;
mod connection;
mod entity;
mod level;
mod users;

pub use arguments::Arguments;
pub use class::{
    ActivityClass, DEVICE_APPROVED, DEVICE_EVENTS, LoginAction, REMOTE_SHELL_RIGHT, REPORTED_OUTCOMES, RULE_HITS,
    SERVICE_USERS, SWITCHES, Subject, UserAction,
};
pub use connection::Connection;
pub use entity::{Entity, EntityKind};
pub use level::{SCOPE_LEVELS, ScopeLevel};
pub use users::{Actor, User, Users};

use s1_forwarder_record::activity::{Activity, ActivityData};
use s1_forwarder_record::{Escaped, Value};

use super::other;
use crate::common::activity_types;
use crate::common::image::{Image, NamedFile};
use crate::common::missing::{boolean, first_scalar, is_set};
use crate::common::remote_origin::RemoteOrigin;
use crate::common::severity::Severity;
use crate::common::threat::unless_zero;
use crate::common::word::Word;
use crate::parts::{Acting, Clues, Endpoint, Os, Owner, Rule};
use alert_keys::{AlertKeys, UNIFIED_ALERTS};

/// The values that every activity of the log has.
#[derive(Debug, Clone, Copy)]
pub struct LogEntry<'a> {
    pub id: Value<'a>,
    pub activity_type: Value<'a>,
    /// The type, if it is a number.
    pub number: Option<u32>,
    pub created: Value<'a>,
    pub updated: Value<'a>,
    pub message: Value<'a>,
    pub account_id: Value<'a>,
    pub agent_id: Value<'a>,
    pub threat_id: Value<'a>,
    /// Usually an object, whose members depend on the type.
    pub data: Value<'a>,
}

impl<'a> LogEntry<'a> {
    pub fn of(activity: &Activity<'a>) -> Self {
        Self {
            id: activity.id,
            activity_type: activity.activity_type,
            number: activity.activity_type.escaped().and_then(|text| text.raw().parse().ok()),
            created: activity.created_at,
            updated: activity.updated_at,
            message: activity.primary_description,
            account_id: activity.account_id,
            agent_id: activity.agent_id,
            threat_id: activity.threat_id,
            data: activity.data,
        }
    }

    /// Returns whether the table of activity types lacks the type.
    pub fn is_unknown(&self) -> bool {
        self.number.and_then(activity_types::find).is_none()
    }
}

/// An activity that is not a hit of a rule.
#[derive(Clone, Copy)]
pub struct ActivityParts<'r, 'a> {
    pub entry: LogEntry<'a>,
    activity: &'r Activity<'a>,
    data: &'r ActivityData<'a>,
}

/// The values of an activity about a threat or an alert.
#[derive(Debug, Clone, Copy)]
pub struct ReportedThreat<'a> {
    pub classification: Value<'a>,
    pub classification_source: Value<'a>,
    /// The confidence before a change, or without a change.
    pub confidence: Value<'a>,
    pub new_confidence: Value<'a>,
    /// The outcome of the threat.
    pub state: Value<'a>,
    /// The status that an analyst set, as a word (`in_progress`) or as its title (`In progress`).
    pub status: Value<'a>,
    pub verdict: Value<'a>,
    /// The severity that an analyst gave to an alert, also a word for an unknown severity.
    pub severity: Value<'a>,
}

const AGENT_UPDATED: u32 = 43;
/// The agent was decommissioned or uninstalled.
const AGENT_GONE: [u32; 3] = [47, 51, 54];
const NOTE_DELETED: u32 = 4022;

/// The status of an incident, a mobile incident or a unified alert changed.
const STATUS_CHANGES: [u32; 3] = [2028, 6054, 16001];

/// An action on a unified alert ran.
const ALERT_ACTION: u32 = 16005;

/// Keys of a note or a ticket that a user adds to a threat or an alert.
const WRITTEN: [&str; 3] = ["noteText", "noteDetails", "newTicketId"];

/// Returns whether a user decided or wrote something about a threat or an alert that was detected before.
pub fn is_decision(data: &ActivityData<'_>) -> bool {
    let is_decided = [
        data.new_analyst_verdict,
        data.new_analyst_verdict_title,
        data.new_incident_status,
        data.new_incident_status_title,
        data.new_confidence_level,
    ]
    .into_iter()
    .any(is_set);
    is_decided || WRITTEN.into_iter().any(|key| is_set(other(&data.other, key)))
}

impl ReportedThreat<'_> {
    /// Returns the new severity of an alert, else the severity of the confidence; `None` if the activity has neither.
    pub fn severity(&self) -> Option<Severity> {
        if !self.severity.is_empty() {
            return Severity::of_value(self.severity);
        }
        Severity::of_confidence(first_scalar([self.new_confidence, self.confidence]), self.classification)
    }
}

/// The file that was detected, fetched, blocked or excluded.
#[derive(Debug, Clone, Copy)]
pub struct ReportedFile<'a> {
    /// The path of the file; without a path, the name that the console shows.
    pub image: Option<Image<'a>>,
    /// The process whose name is in the field for the file's name.
    pub process: Option<Image<'a>>,
    pub path: Value<'a>,
    pub display_name: Value<'a>,
    pub hashes: [Value<'a>; 2],
    /// Hashes of a command line, and not of a file.
    pub hashes_of_command_line: [Value<'a>; 2],
    /// The other host that a threat is from, if it is in the field for the name.
    pub origin: Option<RemoteOrigin<'a>>,
}

impl<'a> ReportedFile<'a> {
    /// Returns the name as the console shows it.
    pub fn shown_name(&self) -> Option<Escaped<'a>> {
        if self.origin.is_some() { None } else { self.display_name.escaped() }
    }

    /// Returns whether there is only the name of a process, and no file.
    pub fn is_missing(&self) -> bool {
        self.image.is_some_and(|image| image.has_no_file(self.path, self.hashes))
    }

    /// Returns whether the file itself is malicious. The file of a process with a malicious command line is not.
    pub fn is_malicious(&self) -> bool {
        self.process.is_none() && self.image.is_none_or(|image| image.addition.is_none())
    }

    /// Returns whether there is a file with a path or a name.
    pub fn is_named(&self) -> bool {
        self.image.is_some() && !self.is_missing()
    }
}

/// An entry of a list of exclusions or of a blocklist.
#[derive(Debug, Clone, Copy)]
pub struct Exclusion<'a> {
    pub value: Value<'a>,
    pub kind: Value<'a>,
    /// The platform that an entry is for, and the platform of the activity.
    pub platforms: [Value<'a>; 2],
}

/// A process in a firewall activity.
#[derive(Debug, Clone, Copy)]
pub struct ReportedProcess<'a> {
    pub executable: Value<'a>,
    pub name: Value<'a>,
    pub pid: Value<'a>,
}

/// A device of device control.
#[derive(Debug, Clone, Copy)]
pub struct Peripheral<'a> {
    pub name: Value<'a>,
    /// The kind of the device, as the console spells it.
    pub class: Value<'a>,
    pub interface: Value<'a>,
    pub ids: [Value<'a>; 2],
    pub serial_number: Value<'a>,
    pub manufacturer: Value<'a>,
    pub vendor_id: Value<'a>,
    pub product_id: Value<'a>,
    pub event_time: Value<'a>,
}

impl<'a> Peripheral<'a> {
    /// Returns the value that names the device: its name, else its class, else its interface.
    pub fn label(&self) -> Value<'a> {
        first_scalar([self.name, self.class, self.interface])
    }
}

/// An attribute of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserAttribute {
    Email,
    FullName,
    Name,
    Role,
}

/// An attribute that was changed, and its new value.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub attribute: Value<'a>,
    /// If this is an object, the attribute is a whole user.
    pub value: Value<'a>,
}

impl<'a> Change<'a> {
    /// Returns the value of each attribute, for a user that was changed as a whole.
    pub fn of_user(&self) -> [(UserAttribute, Option<Escaped<'a>>); 4] {
        let first = |keys: [&str; 2]| keys.into_iter().find_map(|key| self.value.get(key).escaped());
        [
            (UserAttribute::Email, first(["email", "mail"])),
            (UserAttribute::FullName, first(["fullName", "full_name"])),
            (UserAttribute::Name, first(["username", "userName"])),
            (UserAttribute::Role, first(["role", "roleName"])),
        ]
    }
}

impl<'r, 'a> ActivityParts<'r, 'a> {
    pub fn of(activity: &'r Activity<'a>, data: &'r ActivityData<'a>) -> Self {
        let mut parts = Self { entry: LogEntry::of(activity), activity, data };
        if !is_set(activity.threat_id) {
            parts.entry.threat_id = parts.other("threatId");
        }
        parts
    }

    /// Returns whether an agent acted, and not a user of the console.
    pub fn is_by_agent(&self) -> bool {
        self.activity.user_id.is_empty() && !self.activity.agent_id.is_empty()
    }

    /// Returns the name of the endpoint.
    pub fn computer_name(&self) -> Value<'a> {
        self.data.computer_name
    }

    /// Returns whether the activity names an endpoint.
    pub fn is_about_endpoint(&self) -> bool {
        is_set(self.entry.agent_id) || is_set(self.computer_name())
    }

    /// Returns the endpoint. `ipAddress` is its address if an agent acted, else the user's address.
    pub fn endpoint(&self) -> Endpoint<'a> {
        let Self { activity, data, .. } = self;
        let none = Value::default();
        let os_types = [activity.os_family, data.os_family, data.os_type];
        let is_update = self.entry.number == Some(AGENT_UPDATED);
        let new_version = if is_update { self.package_version() } else { none };
        let own_address = if self.is_by_agent() { data.ip_address } else { none };
        Endpoint {
            agent_id: activity.agent_id,
            agent_uuids: [data.uuid, none],
            agent_versions: [new_version, none],
            is_managed: !self.entry.number.is_some_and(|number| AGENT_GONE.contains(&number)),
            names: [data.computer_name, none],
            os: Os { types: os_types, family: first_scalar(os_types), ..Os::default() },
            addresses: [data.agentipv4, data.ip_addresses, own_address, none],
            external: data.external_ip,
            owner: self.owner(),
            ..Endpoint::default()
        }
    }

    /// Returns the owner of the endpoint. Many activities have names only in `data`, where they stay: they may belong
    /// to another object.
    fn owner(&self) -> Owner<'a> {
        let Self { activity, data, .. } = self;
        let none = Value::default();
        Owner {
            account_ids: [activity.account_id, none],
            account_names: [activity.account_name, data.account_name.unmarked(), none],
            site_ids: [activity.site_id, none],
            site_names: [activity.site_name, data.site_name.unmarked()],
            group_ids: [activity.group_id, none],
            group_names: [activity.group_name, data.group_name.unmarked(), none],
        }
    }

    /// Returns the account, the site and the group that the activity is about, by its level.
    pub fn owner_of_level(&self) -> Owner<'a> {
        let Self { activity, data, .. } = self;
        let level = ScopeLevel::of(data.scope_level);
        let none = Value::default();
        Owner {
            account_names: [activity.account_name, data.account_name, none],
            site_names: [activity.site_name, level.site(data.site_name)],
            group_names: [activity.group_name, level.group(data.group_name), none],
            ..self.owner()
        }
    }

    /// Returns the address of the actor.
    pub fn address(&self) -> Value<'a> {
        self.data.ip_address
    }

    /// Returns the details that the description leaves out.
    pub fn details(&self) -> Value<'a> {
        self.activity.secondary_description
    }

    pub fn comments(&self) -> Value<'a> {
        self.activity.comments
    }

    /// Returns the reason in a record. Consoles write the reason of a failed login in either of two keys.
    pub fn reason(&self, has_failed: bool) -> Value<'a> {
        let message = self.entry.message.escaped();
        let is_reason = |value: &Value<'a>| is_set(*value) && value.escaped() != message && boolean(*value).is_none();
        let comments = if has_failed { self.comments() } else { Value::default() };
        [self.data.reason, comments].into_iter().find(is_reason).unwrap_or_default()
    }

    /// Returns the status word of a message to the console, such as a report.
    pub fn global_status(&self) -> Value<'a> {
        self.data.global_status
    }

    pub fn alert_id(&self) -> Value<'a> {
        if self.is_about_unified_alert() {
            return alert_keys::ALERT_ID.find(self.entry.data);
        }
        // This is the key of a hit.
        let of_hit = self.other("alertid");
        if is_set(of_hit) && is_decision(self.data) {
            return first_scalar([self.data.alert_id, of_hit]);
        }
        self.data.alert_id
    }

    fn is_about_unified_alert(&self) -> bool {
        self.entry.number.is_some_and(|number| UNIFIED_ALERTS.contains(&number))
    }

    /// Returns a value of an activity about a unified alert.
    fn of_alert(&self, keys: &AlertKeys) -> Value<'a> {
        if self.is_about_unified_alert() { keys.find(self.entry.data) } else { Value::default() }
    }

    pub fn threat(&self) -> ReportedThreat<'a> {
        let data = self.data;
        // In other types, this key has the outcome of the threat.
        let is_incident = self.entry.number.is_some_and(|number| STATUS_CHANGES.contains(&number));
        let incident_status = if is_incident { data.new_status } else { Value::default() };
        // The status of an action is not a status of the alert.
        let has_status = self.entry.number != Some(ALERT_ACTION);
        let changed_status = if has_status { self.of_alert(&alert_keys::NEW_STATUS) } else { Value::default() };
        ReportedThreat {
            classification: data.threat_classification,
            classification_source: data.threat_classification_source,
            confidence: data.confidence_level,
            new_confidence: data.new_confidence_level,
            state: data.new_status,
            status: first_scalar([
                data.new_incident_status,
                data.new_incident_status_title,
                incident_status,
                changed_status,
            ]),
            verdict: first_scalar([
                data.new_analyst_verdict,
                data.new_analyst_verdict_title,
                self.of_alert(&alert_keys::NEW_VERDICT),
            ]),
            severity: if self.is_about_unified_alert() {
                alert_keys::NEW_SEVERITY.find_word(self.entry.data)
            } else {
                Value::default()
            },
        }
    }

    /// Returns the id and the address of the user that an alert was assigned to.
    pub fn assignee(&self) -> [Value<'a>; 2] {
        [&alert_keys::NEW_ASSIGNEE_ID, &alert_keys::NEW_ASSIGNEE_EMAIL].map(|keys| self.of_alert(keys))
    }

    /// Returns the address of the user that an alert was assigned to before.
    pub fn former_assignee(&self) -> Value<'a> {
        self.of_alert(&alert_keys::OLD_ASSIGNEE_EMAIL)
    }

    /// Returns the note that a user wrote.
    pub fn note(&self) -> Value<'a> {
        let is_deleted = self.entry.number == Some(NOTE_DELETED);
        let of_threat = if is_deleted { Value::default() } else { self.other("noteDetails") };
        first_scalar([self.activity.comments, self.of_alert(&alert_keys::NOTE), of_threat])
    }

    /// Returns the ticket that a user added to a threat.
    pub fn ticket(&self) -> Value<'a> {
        self.other("newTicketId")
    }

    pub fn file(&self) -> ReportedFile<'a> {
        let data = self.data;
        // The address at which the console offers a file is not a path on the endpoint.
        let is_offered = data.file_path.escaped().is_some() && data.file_path.escaped() == data.download_url.escaped();
        let path = if is_offered { Value::default() } else { data.file_path };
        let file = NamedFile::of(path, data.file_display_name);
        let [hashes, hashes_of_command_line] = file.hashes([self.activity.hash, data.file_content_hash]);
        ReportedFile {
            image: file.image,
            process: file.process,
            path: file.path,
            display_name: data.file_display_name,
            hashes,
            hashes_of_command_line,
            origin: RemoteOrigin::of(data.file_display_name),
        }
    }

    /// Returns the malicious process, which has these arguments. Without arguments, the file is not a process.
    pub fn acting<'s>(&self, file: &ReportedFile<'s>, arguments: &'s Arguments<'_>) -> Acting<'s>
    where
        'a: 's,
    {
        Acting::of(&Clues {
            image: file.image,
            process: file.process,
            is_missing: file.is_missing(),
            os_type: self.activity.os_family,
            arguments: arguments.value(),
            ..Clues::default()
        })
    }

    pub fn download_url(&self) -> Value<'a> {
        self.data.download_url
    }

    pub fn exclusion(&self) -> Exclusion<'a> {
        let Self { activity, data, .. } = self;
        Exclusion { value: data.value, kind: data.exclusion_type, platforms: [data.os_family, activity.os_family] }
    }

    /// Returns the process of a firewall activity. A rule for any process has `any` in its place.
    pub fn process(&self) -> ReportedProcess<'a> {
        let data = self.data;
        let [executable, name] = [data.application, data.process_name]
            .map(|value| if Word::is(value, "any") { Value::default() } else { value });
        ReportedProcess { executable, name, pid: unless_zero(data.process_id) }
    }

    /// Returns the arguments of a malicious process.
    pub fn arguments(&self) -> Arguments<'a> {
        Arguments::of(self.data.escaped_malicious_process_arguments)
    }

    /// Returns the rule that acted or was changed.
    pub fn rule(&self) -> Rule<'a> {
        let data = self.data;
        Rule { id: data.rule_id, name: data.rule_name, description: data.rule_description, ..Rule::default() }
    }

    pub fn connection(&self) -> Connection<'a> {
        Connection::of(self.data)
    }

    /// Returns whether a device was connected; false if it was disconnected.
    pub fn is_connected(&self) -> Option<bool> {
        DEVICE_EVENTS.of(self.data.event_type)
    }

    pub fn peripheral(&self) -> Peripheral<'a> {
        let data = self.data;
        Peripheral {
            name: data.device_name,
            class: self.other("deviceClass"),
            interface: self.other("interface"),
            ids: [data.u_id, data.uid],
            serial_number: data.serial,
            manufacturer: data.manufacturer_name,
            vendor_id: data.vendor_id,
            product_id: data.product_id,
            event_time: data.event_time,
        }
    }

    /// Returns the version of the package that an activity is about.
    pub fn package_version(&self) -> Value<'a> {
        first_scalar([self.data.new_agent_version, self.activity.agent_updated_version, self.data.version])
    }

    /// Returns the name of an app of the marketplace.
    pub fn app_name(&self) -> Value<'a> {
        self.other("appName")
    }

    pub fn change(&self) -> Change<'a> {
        Change { attribute: self.data.attr, value: self.data.new_value }
    }

    /// Returns the value of a key of `data` that has no field in the record type.
    fn other(&self, key: &str) -> Value<'a> {
        other(&self.data.other, key)
    }
}
