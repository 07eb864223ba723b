//! Which class of OCSF an activity has: by the table of activity types, else by what `data` holds.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData};

use super::activity_values::{actor_name, peripheral_name, target_name};
use super::class::{
    ACCOUNT_CHANGE, AUTHENTICATION, BASE_EVENT, Class, DETECTION_FINDING, ENTITY_MANAGEMENT, FILE_REMEDIATION_ACTIVITY,
    NETWORK_ACTIVITY, OTHER, PERIPHERAL_ACTIVITY, REMEDIATION_ACTIVITY, USER_ACCESS,
};
use super::entity::Entity;
use super::event::address;
use super::finding::Verdict;
use crate::common::account::Account;
use crate::common::activity_class::{self as common, Subject};
use crate::common::activity_types::{Ocsf, find};
use crate::common::activity_users::Users;
use crate::common::address::Address;
use crate::common::connection::Connection;
use crate::common::incident_change::IncidentChange;
use crate::common::placeholder::is_set;
use crate::common::remote_origin;
use crate::common::word::Word;

/// The type of an activity of this number, as `type_uid` and `type_name`; `None` if the number is not in the table.
pub(super) fn type_of(number: u32) -> Option<(u64, String)> {
    let row = find(number)?.ocsf;
    Some(Class::of(row.class).type_of(row.activity))
}

/// What an activity is in OCSF.
#[derive(Debug)]
pub(super) struct Plan {
    pub class: &'static Class,
    pub activity: u8,
    pub status: Option<u16>,
    pub disposition: Option<u16>,
    pub verdict: Option<Verdict>,
    is_firewall: bool,
}

impl Plan {
    pub fn of(class: &common::Class, activity: &Activity<'_>, data: &ActivityData<'_>) -> Self {
        let row = match class.number.and_then(find) {
            Some(_) if class.is_role_grant => {
                Ocsf { class: USER_ACCESS.uid, activity: ASSIGN_PRIVILEGES, status: Some(1), disposition: None }
            }
            Some(row) => row.ocsf,
            None => unknown(class, data),
        };
        let mut plan = Self {
            class: Class::of(row.class),
            activity: row.activity,
            status: row.status,
            disposition: row.disposition,
            verdict: None,
            is_firewall: class.subject == Subject::Firewall,
        };
        // What the record says in addition to its type.
        if !plan.class.is(&DETECTION_FINDING) && matches!(plan.status, None | Some(0)) {
            plan.status = match class.outcome {
                "success" => Some(1),
                "failure" => Some(2),
                _ => Some(0),
            };
        }
        if plan.class.is(&DETECTION_FINDING) && plan.disposition.is_none() {
            plan.disposition = match Word::of_value(data.new_status).as_str() {
                "mitigated" => Some(11),
                "not_mitigated" | "active" => Some(15),
                "marked_as_benign" => Some(10),
                _ => None,
            };
        }
        match class.switched {
            // Of other switches the entity is the site or policy that has the setting, which was updated.
            Some(is_on) if class.number == Some(RANGER_STATUS) => plan.activity = if is_on { ENABLE } else { DISABLE },
            Some(false) if plan.activity == MFA_ENABLE => plan.activity = MFA_DISABLE,
            _ => {}
        }
        if plan.class.is(&DETECTION_FINDING) {
            plan.take_change(&IncidentChange::of(data));
        }
        if class.number == Some(DEVICE_APPROVED) && Word::is(data.event_type, "disconnected") {
            plan.activity = 2;
        }
        // As long as a class cannot be filled, there is another one. The last one is the base event.
        while let Some(other) = plan.fallback(class, activity, data) {
            plan.change(other);
        }
        plan
    }

    /// The state and the verdict that an analyst gave to a threat.
    fn take_change(&mut self, change: &IncidentChange<'_>) {
        match change.status_word().as_str() {
            "unresolved" | "new" => self.status = Some(1),
            "in_progress" => self.status = Some(2),
            "resolved" => {
                self.status = Some(4);
                self.activity = CLOSE;
            }
            _ => {}
        }
        self.verdict = Verdict::of(change.verdict);
    }

    /// The class to use instead if the record has not what this one requires.
    fn fallback(
        &self,
        class: &common::Class,
        activity: &Activity<'_>,
        data: &ActivityData<'_>,
    ) -> Option<&'static Class> {
        let is_device = is_set(activity.agent_id) || is_set(data.computer_name);
        let (is_possible, other): (bool, &'static Class) = match () {
            () if self.class.is(&AUTHENTICATION) => (has_user(activity, data), &BASE_EVENT),
            () if self.class.is(&USER_ACCESS) => (target_name(data).is_some(), &ACCOUNT_CHANGE),
            () if self.class.is(&ACCOUNT_CHANGE) => (target_name(data).is_some(), &ENTITY_MANAGEMENT),
            () if self.class.is(&ENTITY_MANAGEMENT) => {
                let users = Users::of(activity, data, class);
                (Entity::of(class, activity, data, &users).is_some(), &BASE_EVENT)
            }
            () if self.class.is(&FILE_REMEDIATION_ACTIVITY) => {
                (is_set(activity.id) && has_file(data), &REMEDIATION_ACTIVITY)
            }
            () if self.class.is(&REMEDIATION_ACTIVITY) => (is_set(activity.id), &BASE_EVENT),
            () if self.class.is(&NETWORK_ACTIVITY) => (is_device || self.has_peer(data), &BASE_EVENT),
            () if self.class.is(&PERIPHERAL_ACTIVITY) => (is_device && peripheral_name(data).is_some(), &BASE_EVENT),
            () if self.class.is(&DETECTION_FINDING) => {
                (is_set(activity.threat_id) || is_set(data.alert_id), &BASE_EVENT)
            }
            () => return None,
        };
        (!is_possible).then_some(other)
    }

    /// Whether a connection has an endpoint besides the device.
    fn has_peer(&self, data: &ActivityData<'_>) -> bool {
        if !self.is_firewall {
            return address(data.ip_address).is_some();
        }
        // An address that means that there is none is no endpoint.
        let is_host =
            |host: Value<'_>| address(host).is_some() || host.escaped().is_some_and(|text| Address::of(text).is_none());
        let connection = Connection::of(data);
        is_host(connection.local.host) || is_host(connection.remote.host)
    }

    fn change(&mut self, other: &'static Class) {
        if self.class.is(&USER_ACCESS) {
            self.activity = OTHER;
        }
        if self.class.is(&ACCOUNT_CHANGE) {
            // The numbers of activities differ.
            self.activity = match self.activity {
                1 => 1,
                2 => 8,
                5 => 9,
                6 => 4,
                OTHER => OTHER,
                _ => 3,
            };
        }
        if other.is(&BASE_EVENT) {
            self.activity = OTHER;
            if self.class.is(&DETECTION_FINDING) {
                // Its states are those of a finding.
                self.status = Some(0);
            }
            self.status = self.status.map(|status| if status > 2 { 0 } else { status });
        }
        self.class = other;
    }
}

const DEVICE_APPROVED: u32 = 5126;
const RANGER_STATUS: u32 = 3500;

const CLOSE: u8 = 3;
const ENABLE: u8 = 8;
const DISABLE: u8 = 9;
const MFA_ENABLE: u8 = 10;
const MFA_DISABLE: u8 = 11;
const ASSIGN_PRIVILEGES: u8 = 1;

/// A type that is not in the table: by what the record is about.
fn unknown(class: &common::Class, data: &ActivityData<'_>) -> Ocsf {
    match class.subject {
        Subject::Detection => Ocsf { status: Some(1), disposition: Some(15), ..row(&DETECTION_FINDING, 1) },
        Subject::Threat => row(&DETECTION_FINDING, 2),
        Subject::Firewall => row(&NETWORK_ACTIVITY, OTHER),
        Subject::Device => match Word::of_value(data.event_type).as_str() {
            "connected" => row(&PERIPHERAL_ACTIVITY, 1),
            "disconnected" => row(&PERIPHERAL_ACTIVITY, 2),
            _ => row(&PERIPHERAL_ACTIVITY, OTHER),
        },
        Subject::Login if class.has_type("start") => row(&AUTHENTICATION, 1),
        Subject::Login if class.has_type("end") => row(&AUTHENTICATION, 2),
        Subject::Login => row(&AUTHENTICATION, OTHER),
        Subject::User if class.has_type("creation") => row(&ACCOUNT_CHANGE, 1),
        Subject::User if class.has_type("deletion") => row(&ACCOUNT_CHANGE, 6),
        Subject::User => row(&ACCOUNT_CHANGE, OTHER),
        Subject::Other => row(&BASE_EVENT, OTHER),
    }
}

fn row(class: &Class, activity: u8) -> Ocsf {
    Ocsf { class: class.uid, activity, status: None, disposition: None }
}

fn has_user(activity: &Activity<'_>, data: &ActivityData<'_>) -> bool {
    is_set(activity.user_id) || Account::of(actor_name(data)).is_some()
}

fn has_file(data: &ActivityData<'_>) -> bool {
    is_set(data.file_path)
        || remote_origin::name_of(data.file_display_name).is_some_and(|_| is_set(data.file_display_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_only_known_classes_and_activities() {
        for number in 0..10_000 {
            let Some(row) = find(number) else { continue };
            let class = Class::of(row.ocsf.class);
            assert_eq!(class.uid, row.ocsf.class, "{number}");
            assert!(row.ocsf.activity == OTHER || class.activity(row.ocsf.activity).is_some(), "{number}");
            assert!(type_of(number).is_some());
        }
        assert_eq!(type_of(19), Some((200_401, "Detection Finding: Create".to_owned())));
        assert_eq!(type_of(1234), None);
    }
}
