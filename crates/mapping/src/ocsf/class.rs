//! The classes of OCSF 1.9.0 that events have, with the names of their activities and states.

/// A class, with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    BaseEvent = 0,
    PeripheralActivity = 1010,
    VulnerabilityFinding = 2002,
    DetectionFinding = 2004,
    Authentication = 3002,
    EntityManagement = 3004,
    UserManagement = 3007,
    RoleManagement = 3008,
    NetworkActivity = 4001,
    DeviceInventoryInfo = 5001,
    ApplicationLifecycle = 6002,
    ScanActivity = 6007,
    RemediationActivity = 7001,
    FileRemediationActivity = 7002,
}

/// OCSF's definition of a class.
#[derive(Debug)]
pub(super) struct Definition {
    pub name: &'static str,
    pub category: &'static str,
    /// Names of the activities from 1 on.
    pub activities: &'static [&'static str],
    /// Names of `status_id` from 0 on.
    pub statuses: &'static [&'static str],
    /// Whether the class has a device without the profile `host`. `has_actor` says the same of an actor.
    pub has_device: bool,
    pub has_actor: bool,
}

/// An activity that OCSF does not name.
pub(super) const OTHER: u8 = 99;

/// The activities of findings. User and role management have the first two as well.
pub(super) const CREATE: u8 = 1;
pub(super) const UPDATE: u8 = 2;
pub(super) const CLOSE: u8 = 3;

const OUTCOMES: &[&str] = &["Unknown", "Success", "Failure"];
const FINDING: &[&str] = &["Create", "Update", "Close"];
const FINDING_STATUSES: &[&str] = &["Unknown", "New", "In Progress", "Suppressed", "Resolved", "Archived", "Deleted"];
const REMEDIATION: &[&str] = &["Isolate", "Evict", "Restore", "Harden", "Detect", "Deceive"];
const REMEDIATION_STATUSES: &[&str] =
    &["Unknown", "Success", "Failure", "Does Not Exist", "Partial", "Unsupported", "Error"];

static BASE_EVENT: Definition = Definition {
    name: "Base Event",
    category: "Uncategorized",
    activities: &[],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: false,
};

static PERIPHERAL_ACTIVITY: Definition = Definition {
    name: "Peripheral Activity",
    category: "System Activity",
    activities: &["Connect", "Disconnect", "Enable", "Disable", "Eject"],
    statuses: OUTCOMES,
    has_device: true,
    has_actor: true,
};

static VULNERABILITY_FINDING: Definition = Definition {
    name: "Vulnerability Finding",
    category: "Findings",
    activities: FINDING,
    statuses: FINDING_STATUSES,
    has_device: true,
    has_actor: false,
};

static DETECTION_FINDING: Definition = Definition {
    name: "Detection Finding",
    category: "Findings",
    activities: FINDING,
    statuses: FINDING_STATUSES,
    has_device: true,
    has_actor: false,
};

static AUTHENTICATION: Definition = Definition {
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

static ENTITY_MANAGEMENT: Definition = Definition {
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

static USER_MANAGEMENT: Definition = Definition {
    name: "User Management",
    category: "Identity & Access Management",
    activities: &[
        "Create",
        "Update",
        "Delete",
        "Enable",
        "Disable",
        "Lock",
        "Unlock",
        "Password Change",
        "Password Reset",
        "Attach Policies",
        "Detach Policies",
        "Enable MFA Factors",
        "Disable MFA Factors",
        "Assign Privileges",
        "Remove Privileges",
        "Assign Roles",
        "Remove Roles",
        "Add Programmatic Credentials",
        "Remove Programmatic Credentials",
    ],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: true,
};

static ROLE_MANAGEMENT: Definition = Definition {
    name: "Role Management",
    category: "Identity & Access Management",
    activities: &[
        "Create",
        "Update",
        "Delete",
        "Assign Privileges",
        "Remove Privileges",
        "Assign Resources",
        "Remove Resources",
        "Attach Policies",
        "Detach Policies",
        "Add Programmatic Credentials",
        "Remove Programmatic Credentials",
    ],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: true,
};

static NETWORK_ACTIVITY: Definition = Definition {
    name: "Network Activity",
    category: "Network Activity",
    activities: &["Open", "Close", "Reset", "Fail", "Refuse", "Traffic", "Listen"],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: false,
};

static DEVICE_INVENTORY_INFO: Definition = Definition {
    name: "Device Inventory Info",
    category: "Discovery",
    activities: &["Log", "Collect"],
    statuses: OUTCOMES,
    has_device: true,
    has_actor: true,
};

static APPLICATION_LIFECYCLE: Definition = Definition {
    name: "Application Lifecycle",
    category: "Application Activity",
    activities: &["Install", "Remove", "Start", "Stop", "Restart", "Enable", "Disable", "Update"],
    statuses: OUTCOMES,
    has_device: false,
    has_actor: false,
};

static SCAN_ACTIVITY: Definition = Definition {
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

static REMEDIATION_ACTIVITY: Definition = Definition {
    name: "Remediation Activity",
    category: "Remediation",
    activities: REMEDIATION,
    statuses: REMEDIATION_STATUSES,
    has_device: false,
    has_actor: false,
};

static FILE_REMEDIATION_ACTIVITY: Definition = Definition {
    name: "File Remediation Activity",
    category: "Remediation",
    activities: REMEDIATION,
    statuses: REMEDIATION_STATUSES,
    has_device: false,
    has_actor: false,
};

impl Class {
    pub const ALL: [Self; 14] = [
        Self::BaseEvent,
        Self::PeripheralActivity,
        Self::VulnerabilityFinding,
        Self::DetectionFinding,
        Self::Authentication,
        Self::EntityManagement,
        Self::UserManagement,
        Self::RoleManagement,
        Self::NetworkActivity,
        Self::DeviceInventoryInfo,
        Self::ApplicationLifecycle,
        Self::ScanActivity,
        Self::RemediationActivity,
        Self::FileRemediationActivity,
    ];

    /// Returns the class with this number, else the base event.
    pub fn of(uid: u32) -> Self {
        Self::ALL.into_iter().find(|class| class.uid() == uid).unwrap_or(Self::BaseEvent)
    }

    pub fn uid(self) -> u32 {
        self as u32
    }

    pub fn definition(self) -> &'static Definition {
        match self {
            Self::BaseEvent => &BASE_EVENT,
            Self::PeripheralActivity => &PERIPHERAL_ACTIVITY,
            Self::VulnerabilityFinding => &VULNERABILITY_FINDING,
            Self::DetectionFinding => &DETECTION_FINDING,
            Self::Authentication => &AUTHENTICATION,
            Self::EntityManagement => &ENTITY_MANAGEMENT,
            Self::UserManagement => &USER_MANAGEMENT,
            Self::RoleManagement => &ROLE_MANAGEMENT,
            Self::NetworkActivity => &NETWORK_ACTIVITY,
            Self::DeviceInventoryInfo => &DEVICE_INVENTORY_INFO,
            Self::ApplicationLifecycle => &APPLICATION_LIFECYCLE,
            Self::ScanActivity => &SCAN_ACTIVITY,
            Self::RemediationActivity => &REMEDIATION_ACTIVITY,
            Self::FileRemediationActivity => &FILE_REMEDIATION_ACTIVITY,
        }
    }

    /// Returns the name of an activity; `None` for [`OTHER`].
    pub fn activity(self, id: u8) -> Option<&'static str> {
        self.definition().activities.get(usize::from(id).checked_sub(1)?).copied()
    }

    /// Returns `type_uid` and `type_name` of an event with this class and activity.
    pub fn type_of(self, activity: u8) -> (u64, String) {
        let uid = u64::from(self.uid()) * 100 + u64::from(activity);
        (uid, format!("{}: {}", self.definition().name, self.activity(activity).unwrap_or("Other")))
    }
}
