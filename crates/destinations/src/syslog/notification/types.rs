//! Types of activities, and the categories in which the console lists their notifications.

pub(super) const MITIGATED: i64 = 18;
pub(super) const NEW_THREAT: i64 = 19;
pub(super) const BLOCKED: i64 = 20;
pub(super) const RESOLVED: i64 = 21;
pub(super) const NEW_SUSPICIOUS: i64 = 4003;
pub(super) const STAR_ALERT: i64 = 3608;
pub(super) const FIREWALL: i64 = 5232;
/// A unified alert was created.
pub(super) const UNIFIED_ALERT: i64 = 16000;

/// Returns whether the activity is the detection of a threat.
pub(super) fn is_detection(activity_type: i64) -> bool {
    matches!(activity_type, 18 | 19 | 20 | 4003 | 4108 | 4109)
}

/// Returns whether a user of the console was added, changed or deleted, or got a role.
pub(super) fn is_about_a_user(activity_type: i64) -> bool {
    matches!(activity_type, 23 | 24 | 25 | 37)
}

/// Returns the category in which the console lists the notification, in capitals.
pub(super) fn category(activity_type: i64) -> &'static str {
    match activity_type {
        2 | 18..=20 | 4003 | 4108 | 4109 | 4112 => "MALWARE",
        21 | 28 | 29 | 34 | 2030 | 2036 | 2037 | 4001 | 4002 | 4008..=4011 | 4020..=4022 => "THREATMANAGEMENT",
        2001..=2029 | 2031..=2035 | 3300 => "MITIGATION",
        5120..=5129 => "DEVICECONTROL",
        5220..=5242 => "FIREWALLCONTROL",
        3200..=3205 | 3400 => "REMOTESHELL",
        3500..=3512 => "RANGER",
        3600..=3612 => "CUSTOMRULES",
        3001..=3021 => "WHITELISTBLACKLIST",
        5050..=5059 => "LOCATIONS",
        17 | 43 | 47..=49 | 51..=55 | 61..=66 | 71..=74 | 76 | 77 | 80 | 81 | 89..=93 | 95 => "OPERATIONS",
        117 | 118 | 120..=128 | 1001 | 1002 | 3614 | 3617 => "OPERATIONS",
        _ => "ADMINISTRATIVE",
    }
}
