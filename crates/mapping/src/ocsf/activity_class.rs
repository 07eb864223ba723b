//! The OCSF class of an activity: by the table of activity types, or by the keys of `data` if the table lacks the type.

use s1_forwarder_record::Value;

use super::class::{CLOSE, CREATE, Class, OTHER, UPDATE};
use super::event::address;
use super::finding::{INCIDENT_STATUSES, RESOLVED, Verdict, disposition_of};
use crate::common::activity_types::{OcsfType, find};
use crate::common::address::Address;
use crate::common::classification::{EventOutcome, OUTCOMES};
use crate::common::missing::is_set;
use crate::common::severity::Severity;
use crate::streams::activity::{
    ActivityClass, ActivityParts, DEVICE_APPROVED, Entity, LoginAction, REMOTE_SHELL_RIGHT, ReportedThreat, Subject,
    UserAction, Users,
};

/// Returns `type_uid` and `type_name` for the number of an activity type; `None` if the number is not in the table.
pub(super) fn type_of(number: u32) -> Option<(u64, String)> {
    let row = find(number)?.ocsf;
    Some(Class::of(row.class).type_of(row.activity))
}

/// The class and the attributes that an activity has in OCSF.
#[derive(Debug)]
pub(super) struct Plan {
    pub class: Class,
    pub activity: u8,
    pub status: Option<u16>,
    pub disposition: Option<u16>,
    pub verdict: Option<Verdict>,
    /// `None` if the record does not name it. A finding has the severity of the detection, and a later activity does
    /// not change it.
    pub severity: Option<Severity>,
    is_firewall: bool,
}

impl Plan {
    pub fn of(class: &ActivityClass, parts: &ActivityParts<'_, '_>, users: &Users<'_>) -> Self {
        let row = match class.number.and_then(find) {
            Some(_) if class.is_role_grant => OcsfType {
                class: Class::UserManagement.uid(),
                activity: ASSIGN_ROLES,
                status: Some(1),
                disposition: None,
            },
            Some(row) => row.ocsf,
            None => unknown(class, parts),
        };
        let mut plan = Self {
            class: Class::of(row.class),
            activity: row.activity,
            status: row.status,
            disposition: row.disposition,
            verdict: None,
            severity: class.severity,
            is_firewall: class.subject == Subject::Firewall,
        };
        // The record adds to the attributes of its type.
        if plan.class == Class::DetectionFinding {
            plan.take_threat(class, &parts.threat());
        } else if matches!(plan.status, None | Some(0)) {
            plan.status = class.outcome.map(status_of).or(Some(0));
        }
        match class.switched {
            // For other switches, the entity is the updated site or policy, which has the setting.
            Some(is_on) if class.number == Some(RANGER_STATUS) => plan.activity = if is_on { ENABLE } else { DISABLE },
            Some(false) if class.number == Some(REMOTE_SHELL_RIGHT) => plan.activity = REMOVE_PRIVILEGES,
            None if class.number == Some(REMOTE_SHELL_RIGHT) => plan.activity = UPDATE,
            Some(false) if plan.class == Class::UserManagement && plan.activity == MFA_ENABLE => {
                plan.activity = MFA_DISABLE;
            }
            _ => {}
        }
        if class.number == Some(DEVICE_APPROVED) && parts.is_connected() == Some(false) {
            plan.activity = DISCONNECT;
        }
        // A class that cannot be filled is replaced by its fallback. The last fallback is the base event.
        while let Some(other) = plan.fallback(class, parts, users) {
            plan.change(other, class.severity);
        }
        plan
    }

    /// Copies the outcome of a threat, and the state and the verdict that an analyst set. The severity is the threat's,
    /// if the activity names it: the activity's own severity may be lower.
    fn take_threat(&mut self, class: &ActivityClass, threat: &ReportedThreat<'_>) {
        let says_severity = self.activity == CREATE || class.number == Some(MARKED_AS_THREAT);
        let of_type = class.severity.filter(|severity| says_severity && *severity >= Severity::Medium);
        self.severity = threat.severity().or(of_type);
        if self.disposition.is_none() {
            self.disposition = OUTCOMES.of(threat.state).map(disposition_of);
        }
        if let Some((status, _)) = INCIDENT_STATUSES.of(threat.status) {
            self.status = Some(status);
            if status == RESOLVED {
                self.activity = CLOSE;
            }
        }
        let of_type = (self.disposition == Some(EXONERATED)).then_some(Verdict::Benign);
        self.verdict = Verdict::of(threat.verdict).or(of_type);
    }

    /// Returns the class to use instead, if the record lacks values that this class requires.
    fn fallback(&self, class: &ActivityClass, parts: &ActivityParts<'_, '_>, users: &Users<'_>) -> Option<Class> {
        let entry = &parts.entry;
        let is_possible = match self.class {
            Class::Authentication => users.has_actor(),
            Class::UserManagement => users.managed().is_known(),
            Class::RoleManagement => Entity::of(parts, class, users).is_some_and(|entity| entity.is_role()),
            Class::EntityManagement => Entity::of(parts, class, users).is_some(),
            Class::FileRemediationActivity => is_set(entry.id) && parts.file().is_named(),
            Class::RemediationActivity => is_set(entry.id),
            Class::NetworkActivity => parts.is_about_endpoint() || self.has_peer(parts),
            Class::PeripheralActivity => parts.is_about_endpoint() && is_set(parts.peripheral().label()),
            Class::DetectionFinding => is_set(entry.threat_id) || is_set(parts.alert_id()),
            Class::ApplicationLifecycle
            | Class::BaseEvent
            | Class::DeviceInventoryInfo
            | Class::ScanActivity
            | Class::VulnerabilityFinding => true,
        };
        let other = match self.class {
            Class::UserManagement | Class::RoleManagement => Class::EntityManagement,
            Class::FileRemediationActivity => Class::RemediationActivity,
            _ => Class::BaseEvent,
        };
        (!is_possible).then_some(other)
    }

    /// Returns whether a connection has an endpoint in addition to the device.
    fn has_peer(&self, parts: &ActivityParts<'_, '_>) -> bool {
        if !self.is_firewall {
            return address(parts.address()).is_some();
        }
        // An unspecified address is not an endpoint.
        let is_host =
            |host: Value<'_>| address(host).is_some() || host.escaped().is_some_and(|text| Address::of(text).is_none());
        let connection = parts.connection();
        is_host(connection.local.host) || is_host(connection.remote.host)
    }

    /// Changes the class, and the numbers that depend on it. `severity` is the activity's own severity.
    fn change(&mut self, other: Class, severity: Option<Severity>) {
        // The classes have different numbers for their activities.
        if matches!(self.class, Class::UserManagement | Class::RoleManagement) {
            self.activity = match self.activity {
                CREATE | ADD_CREDENTIALS => CREATE,
                3 | REMOVE_CREDENTIALS => 4,
                4 => ENABLE,
                5 => DISABLE,
                OTHER => OTHER,
                _ => 3,
            };
        }
        if other == Class::BaseEvent {
            self.activity = OTHER;
            if self.class == Class::DetectionFinding {
                // This is the status of a finding, which the base event does not have.
                self.status = Some(0);
                self.severity = severity;
            }
            self.status = self.status.map(|status| if status > 2 { 0 } else { status });
        }
        self.class = other;
    }
}

const RANGER_STATUS: u32 = 3500;
/// A user marked a suspicious threat as malicious.
const MARKED_AS_THREAT: u32 = 4001;
pub(super) const EXONERATED: u16 = 10;

pub(super) const CONNECT: u8 = 1;
pub(super) const DISCONNECT: u8 = 2;
const ENABLE: u8 = 8;
const DISABLE: u8 = 9;
/// Activities of User Management.
const MFA_ENABLE: u8 = 12;
const MFA_DISABLE: u8 = 13;
const REMOVE_PRIVILEGES: u8 = 15;
const ASSIGN_ROLES: u8 = 16;
const ADD_CREDENTIALS: u8 = 18;
const REMOVE_CREDENTIALS: u8 = 19;

/// Returns the status of a class that is not a finding.
pub(super) fn status_of(outcome: EventOutcome) -> u16 {
    match outcome {
        EventOutcome::Unknown => 0,
        EventOutcome::Success => 1,
        EventOutcome::Failure => 2,
    }
}

/// Returns the OCSF type of an activity type that is not in the table, by the subject of the record.
fn unknown(class: &ActivityClass, parts: &ActivityParts<'_, '_>) -> OcsfType {
    match class.subject {
        Subject::Detection => OcsfType { status: Some(1), disposition: Some(15), ..row(Class::DetectionFinding, 1) },
        Subject::Threat => row(Class::DetectionFinding, 2),
        Subject::Firewall => row(Class::NetworkActivity, OTHER),
        Subject::Device => match parts.is_connected() {
            Some(true) => row(Class::PeripheralActivity, CONNECT),
            Some(false) => row(Class::PeripheralActivity, DISCONNECT),
            None => row(Class::PeripheralActivity, OTHER),
        },
        Subject::Login(LoginAction::Failed | LoginAction::LoggedIn) => row(Class::Authentication, 1),
        Subject::Login(LoginAction::LoggedOut) => row(Class::Authentication, 2),
        Subject::Login(LoginAction::Other) => row(Class::Authentication, OTHER),
        Subject::User(UserAction::Added) => row(Class::UserManagement, CREATE),
        Subject::User(UserAction::Deleted) => row(Class::UserManagement, 3),
        Subject::User(UserAction::Changed) => row(Class::UserManagement, UPDATE),
        Subject::Other => row(Class::BaseEvent, OTHER),
    }
}

fn row(class: Class, activity: u8) -> OcsfType {
    OcsfType { class: class.uid(), activity, status: None, disposition: None }
}

#[cfg(test)]
mod tests {
    use super::super::finding::DISPOSITIONS;
    use super::*;

    #[test]
    fn the_table_names_only_known_classes_and_activities() {
        for number in 0..10_000 {
            let Some(row) = find(number) else { continue };
            let class = Class::of(row.ocsf.class);
            assert_eq!(class.uid(), row.ocsf.class, "{number}");
            assert!(row.ocsf.activity == OTHER || class.activity(row.ocsf.activity).is_some(), "{number}");
            let statuses = class.definition().statuses.len();
            assert!(row.ocsf.status.is_none_or(|id| usize::from(id) < statuses || id == 99), "{number}");
            let has = |id| DISPOSITIONS.iter().any(|(known, _)| *known == id);
            assert!(row.ocsf.disposition.is_none_or(has), "{number}");
            assert!(type_of(number).is_some());
        }
        assert_eq!(type_of(19), Some((200_401, "Detection Finding: Create".to_owned())));
        assert_eq!(type_of(1234), None);
    }
}
