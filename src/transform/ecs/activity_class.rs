//! What an activity is: from the table by its number, else by what little is known of it.

use super::activity_types;
use super::classification::{Word, categories};
use super::event::boolean;
use super::severity::Severity;
use crate::record::activity::{Activity, ActivityData};

const USER_2FA_MODIFIED: u32 = 67;
const LOGIN_RELATED: u32 = 138;

/// Kind, category, type, action, outcome and severity of an activity.
#[derive(Debug)]
pub(super) struct Class {
    /// Its type, where that is a number.
    pub number: Option<u32>,
    pub kind: &'static str,
    categories: [&'static str; 3],
    types: &'static [&'static str],
    /// "" for a type that the table does not know.
    pub action: &'static str,
    /// "" where nothing is said of success.
    pub outcome: &'static str,
    pub severity: Severity,
    pub is_unknown: bool,
    /// No user acted, but the console itself.
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
        for (place, word) in self.categories.iter_mut().zip(words) {
            *place = word;
        }
    }
}

pub(super) fn of(number: Option<u32>, activity: &Activity<'_>, data: &ActivityData<'_>) -> Class {
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

/// What the number alone does not tell.
fn refine(class: &mut Class, number: Option<u32>, activity: &Activity<'_>, data: &ActivityData<'_>) {
    if class.is("malware") {
        let refined = categories(data.threat_classification);
        for category in refined {
            if !class.is(category)
                && let Some(place) = class.categories.iter_mut().find(|place| place.is_empty())
            {
                *place = category;
            }
        }
    }
    match Word::in_value(data.confidence_level).as_str() {
        "malicious" => class.severity = Severity::High,
        "suspicious" => class.severity = Severity::Medium,
        _ => {}
    }
    match number {
        // Switching the second factor off is worse than switching it on.
        Some(USER_2FA_MODIFIED) if boolean(data.new_value) == Some(false) => class.severity = Severity::Medium,
        Some(LOGIN_RELATED) => class.outcome = login_outcome(activity),
        _ => {}
    }
}

/// The exact name of this type is not known, so its description tells.
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

/// A type without a row: by its group, else by the threat it is about, the words of its description, else by whom it is about.
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
    let says = |words: &[&str]| words.iter().any(|word| description.contains(word));
    if says(&["failed to log in"]) {
        class.set_categories(&["authentication"]);
        class.types = &["start"];
        class.outcome = "failure";
    } else if says(&["logged in"]) {
        class.set_categories(&["authentication"]);
        class.types = &["start"];
        class.outcome = "success";
    } else if says(&["verification email"]) {
        class.set_categories(&["email"]);
    } else {
        let creation = says(&["created", "added", "recovery email"]);
        let deletion = says(&["deleted"]);
        let change = says(&["edited", "updated", "modified"]);
        let found = creation || deletion || change || says(&["enabled"]);
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
