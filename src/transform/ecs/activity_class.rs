//! Classifies activities: by the table of activity types, else by other values of the record.

use super::activity_types;
use super::classification::{Word, categories};
use super::event::boolean;
use super::severity::Severity;
use crate::record::activity::{Activity, ActivityData};

const USER_2FA_MODIFIED: u32 = 67;
const LOGIN_RELATED: u32 = 138;

/// The values of `event.*` that classify an activity.
#[derive(Debug)]
pub(super) struct Class {
    /// The activity type, if it is a number.
    pub number: Option<u32>,
    pub kind: &'static str,
    categories: [&'static str; 3],
    types: &'static [&'static str],
    /// "" for a type that is not in the table.
    pub action: &'static str,
    /// "" if the activity has no outcome.
    pub outcome: &'static str,
    pub severity: Severity,
    pub is_unknown: bool,
    /// The console itself acted, not a user.
    pub is_system: bool,
}

impl Class {
    pub fn categories(&self) -> impl Iterator<Item = &'static str> {
        self.categories.into_iter().filter(|category| !category.is_empty())
    }

    pub fn types(&self) -> impl Iterator<Item = &'static str> {
        self.types.iter().copied()
    }

    pub fn is(&self, category: &str) -> bool {
        self.categories.contains(&category)
    }

    pub fn has_type(&self, word: &str) -> bool {
        self.types.contains(&word)
    }

    fn set_categories(&mut self, words: &[&'static str]) {
        for (category, word) in self.categories.iter_mut().zip(words) {
            *category = word;
        }
    }
}

pub(super) fn classify(number: Option<u32>, activity: &Activity<'_>, data: &ActivityData<'_>) -> Class {
    let mut class = Class {
        number,
        kind: "event",
        categories: [""; 3],
        types: &["info"],
        action: if number.is_none() { "activity" } else { "" },
        outcome: "",
        severity: Severity::Informational,
        is_unknown: false,
        is_system: boolean(data.system) == Some(true) && activity.user_id.is_empty(),
    };
    if let Some(row) = number.and_then(activity_types::find) {
        class.kind = row.kind;
        class.set_categories(&row.categories);
        class.types = &row.types;
        class.action = row.action;
        class.outcome = row.outcome;
        class.severity = row.severity;
    } else {
        class.is_unknown = true;
        guess(&mut class, number, activity, data);
    }
    refine(&mut class, number, activity, data);
    class
}

/// Adds what depends on the record and not only on its type.
fn refine(class: &mut Class, number: Option<u32>, activity: &Activity<'_>, data: &ActivityData<'_>) {
    if class.is("malware") {
        let refined = categories(data.threat_classification);
        for category in refined {
            if !class.is(category)
                && let Some(free) = class.categories.iter_mut().find(|category| category.is_empty())
            {
                *free = category;
            }
        }
    }
    match Word::of_value(data.confidence_level).as_str() {
        "malicious" => class.severity = Severity::High,
        "suspicious" => class.severity = Severity::Medium,
        _ => {}
    }
    match number {
        // Disabling two-factor authentication is more severe than enabling it.
        Some(USER_2FA_MODIFIED) if boolean(data.new_value) == Some(false) => class.severity = Severity::Medium,
        Some(LOGIN_RELATED) => class.outcome = login_outcome(activity),
        _ => {}
    }
}

/// The vendor does not document this type, so its description is used.
fn login_outcome(activity: &Activity<'_>) -> &'static str {
    let description = activity.primary_description.text().unwrap_or_default().to_lowercase();
    if description.contains("fail") {
        "failure"
    } else if description.contains("success") || description.contains("logged in") || description.contains("logged out")
    {
        "success"
    } else {
        "unknown"
    }
}

/// Classifies a type that is not in the table: by its group, by the classification of its threat, by its description,
/// or by whether it has a user or an agent.
fn guess(class: &mut Class, number: Option<u32>, activity: &Activity<'_>, data: &ActivityData<'_>) {
    if let Some(group) = number.and_then(activity_types::group_default) {
        class.set_categories(&group.categories);
        class.types = &group.types;
        return;
    }
    if data.threat_classification.escaped().is_some() {
        class.set_categories(&["malware"]);
        return;
    }
    let description = activity.primary_description.text().unwrap_or_default().to_lowercase();
    let contains_any = |words: &[&str]| words.iter().any(|word| description.contains(word));
    if contains_any(&["failed to log in"]) {
        class.set_categories(&["authentication"]);
        class.types = &["start"];
        class.outcome = "failure";
    } else if contains_any(&["logged in"]) {
        class.set_categories(&["authentication"]);
        class.types = &["start"];
        class.outcome = "success";
    } else if contains_any(&["verification email"]) {
        class.set_categories(&["email"]);
    } else {
        let creation = contains_any(&["created", "added", "recovery email"]);
        let deletion = contains_any(&["deleted"]);
        let change = contains_any(&["edited", "updated", "modified"]);
        let found = creation || deletion || change || contains_any(&["enabled"]);
        let of_user = !activity.user_id.is_empty() && activity.agent_id.is_empty();
        class.set_categories(&[if found || of_user { "configuration" } else { "host" }]);
        class.types = match (creation, deletion, change) {
            (true, true, true) => &["creation", "deletion", "change"],
            (true, true, false) => &["creation", "deletion"],
            (true, false, true) => &["creation", "change"],
            (true, false, false) => &["creation"],
            (false, true, true) => &["deletion", "change"],
            (false, true, false) => &["deletion"],
            (false, false, true) => &["change"],
            (false, false, false) => &["info"],
        };
    }
}
