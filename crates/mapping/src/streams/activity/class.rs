//! Classifies activities: by the table of activity types, or by the keys of `data` if the table lacks the type.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData};

use super::{ActivityParts, is_decision};
use crate::common::account::is_administrator;
use crate::common::activity_types::{self, Object};
use crate::common::category::{Category, EventType};
use crate::common::classification::{EventOutcome, OUTCOMES, Outcome, categories};
use crate::common::missing::{boolean, is_set};
use crate::common::remote_origin::RemoteOrigin;
use crate::common::severity::Severity;
use crate::common::word::Word;
use crate::common::words::Words;

/// A user changed their own profile, or gave a role to another user.
const USER_MODIFIED: u32 = 37;
/// A user got or lost the right to the remote shell. Both have the same severity.
pub const REMOTE_SHELL_RIGHT: u32 = 88;
const LOGIN_RELATED: u32 = 138;
/// A service user was created, changed or deleted.
pub const SERVICE_USERS: [u32; 3] = [140, 141, 142];
/// Hits of custom rules and of platform rules.
pub const RULE_HITS: [u32; 2] = [3608, 3784];
const DEVICE_BLOCKED: u32 = 5125;
pub const DEVICE_APPROVED: u32 = 5126;
const FIREWALL_BLOCKED: u32 = 5232;

/// The subject of an activity. Logins and users are distinguished only for types that are not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A threat that was just detected.
    Detection,
    /// A later activity about a threat or an alert.
    Threat,
    Firewall,
    Device,
    Login(LoginAction),
    User(UserAction),
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAction {
    Failed,
    LoggedIn,
    LoggedOut,
    /// Another action of a user, which also comes with an address.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserAction {
    Added,
    Deleted,
    Changed,
}

/// The class of an activity.
#[derive(Debug)]
pub struct ActivityClass {
    /// The activity type, if it is a number.
    pub number: Option<u32>,
    pub subject: Subject,
    /// Whether the activity reports a detection.
    pub is_alert: bool,
    categories: [Option<Category>; 3],
    types: [Option<EventType>; 3],
    /// "" for a type that is in no table.
    pub action: &'static str,
    /// `None` if the activity has no outcome.
    pub outcome: Option<EventOutcome>,
    /// `None` if the record has its own word, which is unknown.
    pub severity: Option<Severity>,
    /// The kind of object that the activity is about; `None` if only the record names it.
    pub object: Option<Object>,
    /// Whether the activity switches something on or off.
    pub switched: Option<bool>,
    pub is_unknown: bool,
    /// Whether the console itself acted, and not a user.
    pub is_system: bool,
    /// Whether a detection rule matched, so that names of users belong to the rule's owner.
    pub is_rule_alert: bool,
    /// Whether a user gave a role to another user.
    pub is_role_grant: bool,
}

impl ActivityClass {
    pub fn categories(&self) -> impl Iterator<Item = Category> {
        self.categories.into_iter().flatten()
    }

    pub fn types(&self) -> impl Iterator<Item = EventType> {
        self.types.into_iter().flatten()
    }

    pub fn is(&self, category: Category) -> bool {
        self.categories.contains(&Some(category))
    }

    pub fn has_type(&self, event_type: EventType) -> bool {
        self.types.contains(&Some(event_type))
    }

    fn set(&mut self, categories: &[Category], types: &[EventType]) {
        self.categories = [None; 3];
        self.types = [None; 3];
        categories.iter().for_each(|category| add(&mut self.categories, *category));
        types.iter().for_each(|event_type| add(&mut self.types, *event_type));
    }
}

/// Adds a value, unless the list already has it or is full.
fn add<T: Copy + PartialEq>(known: &mut [Option<T>; 3], added: T) {
    if !known.contains(&Some(added))
        && let Some(free) = known.iter_mut().find(|free| free.is_none())
    {
        *free = Some(added);
    }
}

impl ActivityClass {
    pub fn of(parts: &ActivityParts<'_, '_>) -> Self {
        let number = parts.entry.number;
        let ActivityParts { activity, data, .. } = parts;
        let row = number.and_then(activity_types::find);
        let mut class = Self {
            number,
            subject: Subject::of(parts, row.is_some()),
            is_alert: false,
            categories: [None; 3],
            types: [None; 3],
            action: if number.is_none() { "activity" } else { "" },
            outcome: None,
            severity: Some(Severity::Informational),
            object: None,
            switched: None,
            is_unknown: false,
            is_system: boolean(data.system) == Some(true) && activity.user_id.is_empty(),
            is_rule_alert: number.is_some_and(|number| RULE_HITS.contains(&number)),
            is_role_grant: number == Some(USER_MODIFIED) && is_set(data.by_user) && is_set(data.role_name),
        };
        if let Some(row) = row {
            class.is_alert = row.is_alert;
            class.set(&row.categories, &row.types);
            class.action = row.action;
            class.outcome = row.outcome;
            class.severity = Some(row.severity);
            class.object = row.object;
            if let Some(off) = row.off_severity {
                class.switched = SWITCHES.of(data.new_value);
                class.severity = Some(match class.switched {
                    Some(true) => Severity::Low,
                    Some(false) => off,
                    None => row.severity,
                });
            } else if number == Some(REMOTE_SHELL_RIGHT) {
                class.switched = SWITCHES.of(data.new_value);
            }
        } else {
            class.is_unknown = true;
            class.action = number.and_then(activity_types::unpublished_action).unwrap_or(class.action);
            by_subject(&mut class, parts);
        }
        refine(&mut class, parts);
        class
    }
}

impl Subject {
    fn of(parts: &ActivityParts<'_, '_>, is_known: bool) -> Self {
        let ActivityParts { entry, activity, data } = parts;
        let any = |values: &[Value<'_>]| values.iter().any(|value| is_set(*value));
        match entry.number {
            Some(FIREWALL_BLOCKED) => return Self::Firewall,
            Some(DEVICE_BLOCKED | DEVICE_APPROVED) => return Self::Device,
            _ => {}
        }
        let remote = [data.reported_remote_host, data.reported_local_host, data.remote_host, data.local_host];
        if any(&[entry.threat_id]) || any(&[data.threat_classification]) {
            let is_report = any(&[data.global_status, data.new_status]) || is_decision(data);
            // Agents detect, and users act on detections.
            let is_by_user = any(&[activity.user_id, data.by_user, data.username, data.user_name]);
            let is_detection = any(&[entry.threat_id]) && any(&[data.confidence_level]) && !is_report && !is_by_user;
            return if is_detection { Self::Detection } else { Self::Threat };
        }
        if any(&remote) {
            return Self::Firewall;
        }
        // Integrations have vendors and products too, but no agent.
        let of_console = !any(&[activity.agent_id]);
        let is_device = !of_console && any(&[data.vendor_id, data.product_id, data.manufacturer_name]);
        if is_device || any(&[data.device_name]) {
            return Self::Device;
        }
        if is_known {
            return Self::Other;
        }
        if is_set(parts.alert_id()) && is_decision(data) {
            return Self::Threat;
        }
        let has_address = any(&[data.ip_address]);
        let statement = Statement::of(activity, data);
        let is_login = (has_address || statement.is_about_console_user()) && statement.is_login();
        if is_login || of_console && has_address && any(&[data.source]) {
            return Self::Login(statement.login());
        }
        let is_pair = any(&[data.by_user]) && any(&[data.username, data.user_name]);
        let has_role = any(&[data.user_scope]) && any(&[data.role, data.role_name]);
        if of_console && (is_pair || has_role || any(&[data.recovery_email])) {
            return Self::User(statement.change_of_user());
        }
        Self::Other
    }
}

/// The statement of a description, without its names. A name can contain anything: a rule may be called "Admin failed
/// to log in".
#[derive(Clone, Copy)]
struct Statement<'a> {
    /// The text before the first quote. Names follow the quote.
    text: &'a str,
    /// Names that are also written without quotes.
    names: [&'a str; 2],
}

impl<'a> Statement<'a> {
    fn of(activity: &Activity<'a>, data: &ActivityData<'a>) -> Self {
        let raw = |value: Value<'a>| value.escaped().map_or("", |text| text.raw());
        let text = raw(activity.primary_description);
        Self {
            text: text.split_once('"').map_or(text, |(text, _)| text),
            names: [data.rule_name, data.group_name].map(raw),
        }
    }

    /// Returns whether the statement contains `words`, which are in lower case, outside its names.
    fn says(self, words: &str) -> bool {
        contains(self.text, words) && !self.names.iter().any(|name| contains(name, words.trim()))
    }

    fn is_about_console_user(self) -> bool {
        let beginning = "The management user ";
        self.text.get(..beginning.len()).is_some_and(|text| text.eq_ignore_ascii_case(beginning))
    }

    /// Returns whether the statement is certainly about a login or a logout.
    fn is_login(self) -> bool {
        let words =
            ["failed to log in", " logged in to the management console", " logged out of the management console"];
        words.into_iter().any(|words| self.says(words))
    }

    fn login(self) -> LoginAction {
        if self.says("failed to log in") {
            LoginAction::Failed
        } else if self.says(" logged in") {
            LoginAction::LoggedIn
        } else if self.says(" logged out") {
            LoginAction::LoggedOut
        } else {
            LoginAction::Other
        }
    }

    fn change_of_user(self) -> UserAction {
        if self.says("deleted the user") {
            UserAction::Deleted
        } else if self.says("added the user") || self.says("added user") {
            UserAction::Added
        } else {
            UserAction::Changed
        }
    }
}

/// Returns whether the text contains `words`, which are in lower case, ignoring case.
fn contains(text: &str, words: &str) -> bool {
    text.as_bytes().windows(words.len()).any(|part| part.eq_ignore_ascii_case(words.as_bytes()))
}

/// Classifies a type that is not in the table, by the keys of `data`. The description decides only if it is certain.
fn by_subject(class: &mut ActivityClass, parts: &ActivityParts<'_, '_>) {
    let ActivityParts { entry, activity, data } = parts;
    match class.subject {
        Subject::Detection => {
            class.is_alert = true;
            class.set(&[Category::Malware], &[EventType::Info]);
        }
        Subject::Threat if is_set(entry.threat_id) || is_set(data.threat_classification) => {
            class.set(&[Category::Malware], &[EventType::Info]);
        }
        Subject::Threat => class.set(&[Category::Intrusion], &[EventType::Info]),
        Subject::Firewall => class.set(&[Category::Network], &[EventType::Info]),
        Subject::Device => class.set(&[Category::Host], &[EventType::Info]),
        Subject::Login(LoginAction::Failed | LoginAction::LoggedIn) => {
            class.set(&[Category::Authentication], &[EventType::Start])
        }
        Subject::Login(LoginAction::LoggedOut) => class.set(&[Category::Authentication], &[EventType::End]),
        Subject::Login(LoginAction::Other) => class.set(&[Category::Authentication], &[EventType::Info]),
        Subject::User(UserAction::Deleted) => class.set(&[Category::Iam], &[EventType::User, EventType::Deletion]),
        Subject::User(UserAction::Added) => class.set(&[Category::Iam], &[EventType::User, EventType::Creation]),
        Subject::User(UserAction::Changed) => class.set(&[Category::Iam], &[EventType::User, EventType::Info]),
        Subject::Other => by_endpoint(class, activity, data),
    }
    let has_failed = Statement::of(activity, data).says("failed to ");
    let stated = if has_failed { Some(EventOutcome::Failure) } else { None };
    let of_login = match class.subject {
        Subject::Login(LoginAction::Failed) => Some(EventOutcome::Failure),
        Subject::Login(LoginAction::LoggedIn | LoginAction::LoggedOut) => Some(EventOutcome::Success),
        _ => None,
    };
    class.outcome = REPORTED_OUTCOMES.of(data.global_status).or(stated).or(of_login);
}

/// Words of `globalStatus`, for a type that is not in the table.
pub const REPORTED_OUTCOMES: Words<EventOutcome> =
    Words { field: "event.outcome", rows: &[("success", EventOutcome::Success), ("failed", EventOutcome::Failure)] };

/// Sets categories and types by whether the activity is about an endpoint.
fn by_endpoint(class: &mut ActivityClass, activity: &Activity<'_>, data: &ActivityData<'_>) {
    if activity.agent_id.is_empty() && data.computer_name.is_empty() {
        class.set(&[Category::Configuration], &[EventType::Info]);
    } else {
        class.set(&[Category::Host], &[EventType::Info]);
    }
}

/// New values of switches.
pub const SWITCHES: Words<bool> = Words {
    field: "event.severity",
    rows: &[
        ("true", true),
        ("on", true),
        ("enabled", true),
        ("enable", true),
        ("1", true),
        ("false", false),
        ("off", false),
        ("disabled", false),
        ("disable", false),
        ("0", false),
    ],
};

/// Words for a device that was connected (true) or disconnected (false).
pub const DEVICE_EVENTS: Words<bool> =
    Words { field: "event.type", rows: &[("connected", true), ("disconnected", false)] };

/// Adds the attributes that depend on the record and not only on its type.
fn refine(class: &mut ActivityClass, parts: &ActivityParts<'_, '_>) {
    let ActivityParts { activity, data, .. } = parts;
    // The type of the activity is malicious.
    let is_malicious = class.is(Category::Malware) && class.severity == Some(Severity::High);
    let is_remote = class.is(Category::Malware) && RemoteOrigin::of(data.file_display_name).is_some();
    if class.is(Category::Malware) && data.threat_classification.escaped().is_some() {
        let others = class.categories;
        class.categories = [None; 3];
        let kept = others.iter().flatten().filter(|category| **category != Category::Malware);
        categories(data.threat_classification)
            .iter()
            .chain(kept)
            .for_each(|category| add(&mut class.categories, *category));
    }
    if is_remote {
        add(&mut class.categories, Category::Intrusion);
    }
    let threat = parts.threat();
    if let Some(severity) = threat.severity() {
        class.severity = Some(severity);
    } else if !threat.severity.is_empty() {
        class.severity = None;
    } else if is_malicious && Word::is(data.threat_classification, "ransomware") {
        class.severity = Some(Severity::Critical);
    }
    match OUTCOMES.of(data.new_status) {
        // The threat is active again.
        Some(Outcome::Active) => {
            class.outcome = Some(EventOutcome::Unknown);
            class.severity = class.severity.max(Some(Severity::Medium));
        }
        Some(Outcome::Mitigated | Outcome::Blocked | Outcome::Benign) => class.outcome = Some(EventOutcome::Success),
        None => {}
    }
    if class.subject == Subject::Device && class.number != Some(DEVICE_BLOCKED) && class.is(Category::Host) {
        match parts.is_connected() {
            Some(true) => add(&mut class.types, EventType::Start),
            Some(false) => add(&mut class.types, EventType::End),
            None => {}
        }
    }
    if class.is_role_grant {
        class.action = "user-role-added";
        class.severity = Some(Severity::Medium);
    }
    // An administrator has all rights.
    if class.is(Category::Iam)
        && class.has_type(EventType::Creation)
        && [data.role, data.role_name].into_iter().any(is_administrator)
    {
        class.severity = class.severity.max(Some(Severity::Medium));
    }
    match class.number {
        Some(LOGIN_RELATED) => class.outcome = Some(login_outcome(activity)),
        // Connected and disconnected devices have the same type.
        Some(DEVICE_APPROVED) => match parts.is_connected() {
            Some(true) => class.action = "device-connected",
            Some(false) => class.action = "device-disconnected",
            None => {}
        },
        _ => {}
    }
}

/// Returns the outcome of a login. The vendor does not document this type, so its description is used.
fn login_outcome(activity: &Activity<'_>) -> EventOutcome {
    let says = |words| activity.primary_description.escaped().is_some_and(|text| contains(text.raw(), words));
    if says("fail") {
        EventOutcome::Failure
    } else if says("success") || says("logged in") || says("logged out") {
        EventOutcome::Success
    } else {
        EventOutcome::Unknown
    }
}
