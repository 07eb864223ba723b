//! The class of 1.3.0 that an event gets, and the attributes that this class requires.

use s1_forwarder_record::{Kind, Value};

use super::kind::{Class, Rule};
use super::object::{Object, text};
use super::table::CLASSES;
use super::writer::Writer;
use crate::secrets::REDACTED;

/// An activity that OCSF does not name.
const OTHER: u32 = 99;

const BASE_EVENT: u32 = 0;
const PERIPHERAL_ACTIVITY: u32 = 1010;
const VULNERABILITY_FINDING: u32 = 2002;
const DETECTION_FINDING: u32 = 2004;
const ACCOUNT_CHANGE: u32 = 3001;
const ENTITY_MANAGEMENT: u32 = 3004;
const USER_ACCESS: u32 = 3005;
const USER_MANAGEMENT: u32 = 3007;
const ROLE_MANAGEMENT: u32 = 3008;
const NETWORK_ACTIVITY: u32 = 4001;
const APPLICATION_LIFECYCLE: u32 = 6002;

/// Pairs of activities: of User Management, and of Account Change in 1.3.0.
const USER_ACTIVITIES: &[(u32, u32)] =
    &[(0, 0), (1, 1), (3, 6), (4, 2), (5, 5), (6, 9), (8, 3), (9, 4), (10, 7), (11, 8), (12, 10), (13, 11)];

/// Pairs of activities: of Role Management, and of Entity Management in 1.3.0.
const ROLE_ACTIVITIES: &[(u32, u32)] = &[(0, 0), (1, 1), (2, 3), (3, 4)];

fn find(uid: u32) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.uid == uid)
}

fn base_event() -> &'static Class {
    // The table is sorted, so the base event comes first.
    &CLASSES[0]
}

/// Returns the usual class in 1.3.0 for a class of 1.9.0. Some activities get another class later. `None` for a class
/// that no mapping writes.
pub(super) fn of(uid: u32) -> Option<&'static Class> {
    let same = match uid {
        PERIPHERAL_ACTIVITY => BASE_EVENT,
        USER_MANAGEMENT => ACCOUNT_CHANGE,
        ROLE_MANAGEMENT => ENTITY_MANAGEMENT,
        _ => uid,
    };
    find(same)
}

fn other(activities: &[(u32, u32)], activity: u32) -> u32 {
    activities.iter().find(|(newer, _)| *newer == activity).map_or(OTHER, |(_, older)| *older)
}

/// Returns the class and the activity in 1.3.0 for a type of 1.9.0, if no attribute decides it.
fn of_type(uid: u32, activity: u32) -> (u32, u32) {
    match (uid, activity) {
        (PERIPHERAL_ACTIVITY, _) => (BASE_EVENT, OTHER),
        (USER_MANAGEMENT, 14 | 16) => (USER_ACCESS, 1),
        (USER_MANAGEMENT, 15 | 17) => (USER_ACCESS, 2),
        (USER_MANAGEMENT, 18) => (ENTITY_MANAGEMENT, 1),
        (USER_MANAGEMENT, 19) => (ENTITY_MANAGEMENT, 4),
        (USER_MANAGEMENT, _) => (ACCOUNT_CHANGE, other(USER_ACTIVITIES, activity)),
        (ROLE_MANAGEMENT, _) => (ENTITY_MANAGEMENT, other(ROLE_ACTIVITIES, activity)),
        _ => (uid, activity),
    }
}

/// Returns `type_uid` and `type_name` in 1.3.0; `None` for a class that no mapping writes.
pub(super) fn type_of(type_uid: u32) -> Option<(u32, String)> {
    let (uid, activity) = of_type(type_uid / 100, type_uid % 100);
    let class = find(uid)?;
    let (activity, name) = class.activity(activity).map_or((OTHER, "Other"), |name| (activity, name));
    Some((uid * 100 + activity, format!("{}: {name}", class.name)))
}

/// Makes an event a base event, which has no required attributes.
pub(super) fn to_base_event(event: &mut Object<'_>) -> &'static Class {
    let class = base_event();
    set_type(event, class, OTHER);
    class
}

/// Sets the class and the activity. An activity that the class does not have becomes [`OTHER`] with its own name.
fn set_type(event: &mut Object<'_>, class: &Class, activity: u32) {
    let name = class.activity(activity).filter(|_| activity != OTHER);
    let activity = if name.is_some() { activity } else { OTHER };
    if event.number("class_uid") == Some(class.uid) && event.number("activity_id") == Some(activity) {
        return;
    }
    event.set("activity_id", activity.to_string());
    event.set("category_uid", (class.uid / 1000).to_string());
    event.set("class_uid", class.uid.to_string());
    event.set("type_uid", (class.uid * 100 + activity).to_string());
    if let Some(name) = name {
        set_name(event, "activity_name", name);
    }
    set_name(event, "category_name", class.category);
    set_name(event, "class_name", class.name);
    set_name(event, "type_name", &format!("{}: {}", class.name, name.unwrap_or("Other")));
}

/// Changes a name, unless redaction has replaced it.
pub(super) fn set_name(event: &mut Object<'_>, attribute: &'static str, name: &str) {
    let is_hash = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text(event.get(attribute)).is_some_and(|text| text.raw() != REDACTED && !is_hash(text.raw())) {
        event.set_word(attribute, name);
    }
}

impl Writer<'_> {
    /// Gives an event its class in 1.3.0, with the attributes that this class requires.
    pub(super) fn classify(
        &mut self,
        class: &'static Class,
        (uid, activity): (u32, u32),
        event: &mut Object<'_>,
    ) -> &'static Class {
        let (mut older, mut older_activity) = of_type(uid, activity);
        match (uid, older) {
            (USER_MANAGEMENT, USER_ACCESS) if !self.set_privileges(event) => {
                (older, older_activity) = (ACCOUNT_CHANGE, OTHER);
            }
            (USER_MANAGEMENT, ENTITY_MANAGEMENT) if !self.set_token(event) => {
                (older, older_activity) = (ACCOUNT_CHANGE, OTHER);
            }
            (ROLE_MANAGEMENT, _) => self.set_role(event),
            (PERIPHERAL_ACTIVITY, _) if activity != OTHER => {
                let name = event.get("activity_name").text().unwrap_or_default().to_lowercase();
                if name.bytes().all(|byte| byte.is_ascii_lowercase()) && !name.is_empty() {
                    event.set_word("activity_name", &format!("peripheral-{name}"));
                }
            }
            _ => {}
        }
        let class = find(older).unwrap_or(class);
        set_type(event, class, older_activity);
        if class.uid == NETWORK_ACTIVITY
            && !event.has("dst_endpoint")
            && let Some(destination) = destination(event)
        {
            event.set("dst_endpoint", destination);
        }
        let has_action = class.kind.row("action_id").is_none_or(|row| !matches!(row.rule, Rule::Absent));
        if has_action && matches!(event.number("action_id"), Some(3 | 4)) {
            // 1.3.0 has no other number: if nothing was done, the activity was allowed.
            event.set_choice(["action_id", "action"], 1, "Allowed");
        }
        if [VULNERABILITY_FINDING, DETECTION_FINDING].contains(&class.uid) {
            self.set_comment(event);
        }
        // The source is the initiator. Findings have the page in `finding_info`.
        if class.uid == NETWORK_ACTIVITY {
            ["initiator_id", "initiator"].iter().for_each(|name| drop(event.take(name)));
        }
        if event.has("src_url") && event.get("src_url") == event.get("finding_info").get("src_url") {
            event.take("src_url");
        }
        if class.uid == APPLICATION_LIFECYCLE {
            self.set_app(event);
        }
        class
    }

    /// Makes privileges of the roles that a user was given or lost. Returns false if there are neither.
    fn set_privileges(&mut self, event: &mut Object<'_>) -> bool {
        if event.has("privileges") {
            return true;
        }
        let roles = event.get("iam_roles");
        let name = |role: Value<'_>| {
            let names = [role.get("name"), role.get("uid")];
            names.into_iter().find(|value| text(*value).is_some()).map(|name| name.raw().to_owned())
        };
        let names: Vec<_> = roles.elements().filter_map(name).collect();
        let is_all = roles.elements().all(|role| role.entries().count() == 1);
        if names.is_empty() {
            return false;
        }
        let privileges = format!("[{}]", names.join(","));
        for attribute in ["name", "uid"] {
            self.moved(&format!("iam_roles[].{attribute}"), "privileges[]", &privileges);
        }
        if is_all {
            event.take("iam_roles");
        }
        event.set("privileges", privileges);
        true
    }

    /// Makes the token an entity with the name of its user. Returns false if the user has no name.
    fn set_token(&mut self, event: &mut Object<'_>) -> bool {
        let user = event.get("user");
        let name = [user.get("name"), user.get("uid")].into_iter().find(|value| text(*value).is_some());
        let Some(name) = name else { return false };
        let entity = format!(r#"{{"type_id":99,"type":"Token","name":{}}}"#, name.raw());
        event.set("entity", entity);
        // Entity classes have no user.
        if let Some(user) = event.take("user") {
            self.keep("user", &user);
        }
        true
    }

    fn set_role(&mut self, event: &mut Object<'_>) {
        let Some(role) = event.take("iam_role") else { return };
        let mut role = Object::read(Value::new(&role));
        let mut entity = Object::default();
        entity.set("type_id", "99");
        entity.set_word("type", "Role");
        for name in ["name", "uid"] {
            if let Some(value) = role.take(name) {
                self.moved(&format!("iam_role.{name}"), &format!("entity.{name}"), &value);
                entity.set(name, value);
            }
        }
        self.keep_rest("iam_role", &role);
        event.set("entity", entity.json());
    }

    /// Joins the notes to one text, the comment.
    fn set_comment(&mut self, event: &mut Object<'_>) {
        let notes = event.get("notes");
        let texts: Vec<_> =
            notes.elements().filter_map(|note| text(note.get("comment"))).map(|text| text.raw().to_owned()).collect();
        let is_all = notes.elements().all(|note| note.entries().all(|(name, _)| name == "comment"));
        if texts.is_empty() || event.has("comment") {
            return;
        }
        event.set("comment", format!("\"{}\"", texts.join("\\n")));
        if is_all {
            event.take("notes");
        }
    }

    fn set_app(&mut self, event: &mut Object<'_>) {
        if event.has("app") {
            return;
        }
        let Some(application) = event.take("application") else { return };
        let mut rest = Object::read(Value::new(&application));
        let product = rest.take("product").unwrap_or_default();
        let mut app = Object::read(Value::new(&product));
        let mut is_said = true;
        for name in ["name", "version"] {
            if let Some(value) = rest.take(name) {
                is_said &= app.get(name).kind() == Kind::Absent || app.get(name).raw() == value;
                self.moved(&format!("application.{name}"), &format!("app.{name}"), &value);
                app.set(name, value);
            }
        }
        if !is_said {
            rest.set("product", product.clone());
        }
        self.keep_rest("application", &rest);
        event.set("app", app.json());
    }
}

/// Returns the device as the destination of a connection, which 1.3.0 requires. `None` if the device is the source.
fn destination(event: &Object<'_>) -> Option<String> {
    let (device, source) = (event.get("device"), event.get("src_endpoint"));
    let mut destination = Object::default();
    for name in ["hostname", "name", "ip", "uid"] {
        let value = device.get(name);
        if value.kind() == Kind::Absent {
            continue;
        }
        if value == source.get(name) {
            return None;
        }
        destination.set(name, value.raw());
    }
    if destination.members.is_empty() { None } else { Some(destination.json()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    /// Returns the activities of a class, by the words of their names.
    fn activities(schema: &str, class: u32) -> BTreeMap<Vec<String>, u32> {
        let schema: Value = serde_json::from_str(schema).unwrap();
        let names = &schema["meta"]["classes"][class.to_string()]["activity_id"]["enum"];
        let activity = |(id, name): (&String, &Value)| {
            let singular = |word: &str| word.replace("ies", "y").trim_end_matches('s').to_owned();
            let mut words: Vec<_> = name.as_str().unwrap().split(' ').map(singular).collect();
            words.sort();
            (words, id.parse().unwrap())
        };
        names.as_object().unwrap().iter().map(activity).filter(|(_, id)| *id != OTHER).collect()
    }

    /// An activity becomes the activity of the same name; without one, it becomes [`OTHER`].
    #[test]
    fn activities_have_their_names_in_both_versions() {
        let newer = include_str!("../../../tests/data/ocsf/1.9.0/schema.json");
        let older = include_str!("../../../tests/data/ocsf/1.3.0/schema.json");
        for (class, older_class, table) in
            [(USER_MANAGEMENT, ACCOUNT_CHANGE, USER_ACTIVITIES), (ROLE_MANAGEMENT, ENTITY_MANAGEMENT, ROLE_ACTIVITIES)]
        {
            let by_name = activities(older, older_class);
            let same: BTreeMap<u32, u32> = activities(newer, class)
                .into_iter()
                .filter_map(|(name, id)| Some((id, *by_name.get(&name)?)))
                .collect();
            assert_eq!(table.iter().copied().collect::<BTreeMap<_, _>>(), same, "{class}");
        }
    }
}
