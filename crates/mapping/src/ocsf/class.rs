//! The classes of OCSF 1.8.0 that events have, with the names of their activities and states.

/// A class.
#[derive(Debug)]
pub(super) struct Class {
    pub uid: u32,
    pub name: &'static str,
    pub category: &'static str,
    /// Names of the activities from 1 on.
    activities: &'static [&'static str],
    /// Names of `status_id` from 0 on.
    pub statuses: &'static [&'static str],
    /// Without the profile `host`, only some classes have a device or an actor.
    pub has_device: bool,
    pub has_actor: bool,
}

/// An activity that OCSF does not name.
pub(super) const OTHER: u8 = 99;

/// The activities of findings.
pub(super) const CREATE: u8 = 1;
pub(super) const UPDATE: u8 = 2;
pub(super) const CLOSE: u8 = 3;

const OUTCOMES: &[&str] = &["Unknown", "Success", "Failure"];
const FINDING: &[&str] = &["Create", "Update", "Close"];
const FINDING_STATUSES: &[&str] = &["Unknown", "New", "In Progress", "Suppressed", "Resolved", "Archived", "Deleted"];
const REMEDIATION: &[&str] = &["Isolate", "Evict", "Restore", "Harden", "Detect"];
const REMEDIATION_STATUSES: &[&str] =
    &["Unknown", "Success", "Failure", "Does Not Exist", "Partial", "Unsupported", "Error"];

pub(super) static BASE_EVENT: Class = Class {
    uid: 0,
    name: "Base Event",
    category: "Uncategorized",
    activities: &[],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: false,
};

pub(super) static PERIPHERAL_ACTIVITY: Class = Class {
    uid: 1010,
    name: "Peripheral Activity",
    category: "System Activity",
    activities: &["Connect", "Disconnect", "Enable", "Disable", "Eject"],
    statuses: OUTCOMES,
    has_device: true,
    has_actor: true,
};

pub(super) static VULNERABILITY_FINDING: Class = Class {
    uid: 2002,
    name: "Vulnerability Finding",
    category: "Findings",
    activities: FINDING,
    statuses: FINDING_STATUSES,
    has_device: true,
    has_actor: false,
};

pub(super) static DETECTION_FINDING: Class = Class {
    uid: 2004,
    name: "Detection Finding",
    category: "Findings",
    activities: FINDING,
    statuses: FINDING_STATUSES,
    has_device: true,
    has_actor: false,
};

pub(super) static ACCOUNT_CHANGE: Class = Class {
    uid: 3001,
    name: "Account Change",
    category: "Identity & Access Management",
    activities: &[
        "Create",
        "Enable",
        "Password Change",
        "Password Reset",
        "Disable",
        "Delete",
        "Attach Policy",
        "Detach Policy",
        "Lock",
        "MFA Factor Enable",
        "MFA Factor Disable",
        "Unlock",
    ],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: true,
};

pub(super) static AUTHENTICATION: Class = Class {
    uid: 3002,
    name: "Authentication",
    category: "Identity & Access Management",
    activities: &[
        "Logon",
        "Logoff",
        "Authentication Ticket",
        "Service Ticket Request",
        "Service Ticket Renew",
        "Preauth",
        "Account Switch",
    ],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: true,
};

pub(super) static ENTITY_MANAGEMENT: Class = Class {
    uid: 3004,
    name: "Entity Management",
    category: "Identity & Access Management",
    activities: &[
        "Create",
        "Read",
        "Update",
        "Delete",
        "Move",
        "Enroll",
        "Unenroll",
        "Enable",
        "Disable",
        "Activate",
        "Deactivate",
        "Suspend",
        "Resume",
    ],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: true,
};

pub(super) static USER_ACCESS: Class = Class {
    uid: 3005,
    name: "User Access Management",
    category: "Identity & Access Management",
    activities: &["Assign Privileges", "Revoke Privileges"],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: true,
};

pub(super) static NETWORK_ACTIVITY: Class = Class {
    uid: 4001,
    name: "Network Activity",
    category: "Network Activity",
    activities: &["Open", "Close", "Reset", "Fail", "Refuse", "Traffic", "Listen"],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: false,
};

pub(super) static DEVICE_INVENTORY_INFO: Class = Class {
    uid: 5001,
    name: "Device Inventory Info",
    category: "Discovery",
    activities: &["Log", "Collect"],
    statuses: OUTCOMES,
    has_device: true,
    has_actor: true,
};

pub(super) static APPLICATION_LIFECYCLE: Class = Class {
    uid: 6002,
    name: "Application Lifecycle",
    category: "Application Activity",
    activities: &["Install", "Remove", "Start", "Stop", "Restart", "Enable", "Disable", "Update"],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: false,
};

pub(super) static SCAN_ACTIVITY: Class = Class {
    uid: 6007,
    name: "Scan Activity",
    category: "Application Activity",
    activities: &[
        "Started",
        "Completed",
        "Cancelled",
        "Duration Violation",
        "Pause Violation",
        "Error",
        "Paused",
        "Resumed",
        "Restarted",
        "Delayed",
    ],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: false,
};

pub(super) static REMEDIATION_ACTIVITY: Class = Class {
    uid: 7001,
    name: "Remediation Activity",
    category: "Remediation",
    activities: REMEDIATION,
    statuses: REMEDIATION_STATUSES,
    has_device: false,
    has_actor: false,
};

pub(super) static FILE_REMEDIATION_ACTIVITY: Class = Class {
    uid: 7002,
    name: "File Remediation Activity",
    category: "Remediation",
    activities: REMEDIATION,
    statuses: REMEDIATION_STATUSES,
    has_device: false,
    has_actor: false,
};

static CLASSES: [&Class; 14] = [
    &BASE_EVENT,
    &PERIPHERAL_ACTIVITY,
    &VULNERABILITY_FINDING,
    &DETECTION_FINDING,
    &ACCOUNT_CHANGE,
    &AUTHENTICATION,
    &ENTITY_MANAGEMENT,
    &USER_ACCESS,
    &NETWORK_ACTIVITY,
    &DEVICE_INVENTORY_INFO,
    &APPLICATION_LIFECYCLE,
    &SCAN_ACTIVITY,
    &REMEDIATION_ACTIVITY,
    &FILE_REMEDIATION_ACTIVITY,
];

impl Class {
    /// The class with this number, else the base event.
    pub fn of(uid: u32) -> &'static Self {
        CLASSES.into_iter().find(|class| class.uid == uid).unwrap_or(&BASE_EVENT)
    }

    pub fn is(&self, other: &Self) -> bool {
        self.uid == other.uid
    }

    /// The name of an activity; `None` for [`OTHER`].
    pub fn activity(&self, id: u8) -> Option<&'static str> {
        self.activities.get(usize::from(id).checked_sub(1)?).copied()
    }

    /// Class and activity, as an event has them in `type_uid` and `type_name`.
    pub fn type_of(&self, activity: u8) -> (u64, String) {
        let uid = u64::from(self.uid) * 100 + u64::from(activity);
        (uid, format!("{}: {}", self.name, self.activity(activity).unwrap_or("Other")))
    }
}
