//! Writes the acting user (`user`) and the user that was changed (`user.target`).

use super::activity_class::Class;
use super::event::{Event, is_placeholder};
use super::user;
use crate::record::activity::{Activity, ActivityData};
use crate::record::{Escaped, Kind, Value};

/// Writes `user.*`. If `byUser` is set, it is the acting user and `username` is the target.
pub(super) fn write(event: &mut Event<'_>, activity: &mut Activity<'_>, data: &mut ActivityData<'_>, class: &Class) {
    let is_iam = class.is("iam");
    let by_user = data.by_user.escaped().is_some_and(|text| !is_placeholder(text));
    let open = event.open("user");
    event.keyword("id", &mut activity.user_id);
    let mut has_email = false;
    if by_user {
        has_email = name(event, &mut data.by_user);
    } else {
        for value in [&mut data.username, &mut data.user_name, &mut data.last_logged_in_user_name] {
            if value.escaped().is_some_and(|text| !is_placeholder(text)) {
                has_email = name(event, value);
                break;
            }
        }
    }
    if let Some(full_name) = data.full_name.escaped() {
        event.related.user.add(full_name);
        event.keyword("full_name", &mut data.full_name);
    }
    if !is_iam && !has_email && !user::email(event, &mut data.email) {
        user::email(event, &mut data.recovery_email);
    }
    if is_iam || by_user {
        target(event, data, is_iam, by_user);
    }
    if is_iam && class.has_type("change") {
        changes(event, data);
    }
    event.close(open);
}

/// `user.target.*`
fn target(event: &mut Event<'_>, data: &mut ActivityData<'_>, is_iam: bool, by_user: bool) {
    let open = event.open("target");
    if is_iam {
        event.keyword("id", &mut data.user_id);
    }
    let mut has_email = false;
    if by_user {
        for value in [&mut data.username, &mut data.user_name] {
            if value.escaped().is_some_and(|text| !is_placeholder(text)) {
                has_email = name(event, value);
                break;
            }
        }
    }
    if is_iam {
        if !has_email && !user::email(event, &mut data.email) {
            user::email(event, &mut data.recovery_email);
        }
        let list = event.json.open_list("roles");
        let mut first = None;
        for role in [&mut data.role, &mut data.role_name] {
            let Some(text) = role.escaped() else { continue };
            if first.replace(text) != Some(text) {
                event.json.element(text);
            }
            role.take();
        }
        event.json.close(list);
    }
    event.close(open);
}

/// Writes `user.changes.*` if the new value is data of the user.
fn changes(event: &mut Event<'_>, data: &ActivityData<'_>) {
    let open = event.open("changes");
    if data.new_value.kind() == Kind::Object {
        for (field, keys) in
            [("email", ["email", "mail"]), ("full_name", ["fullName", "full_name"]), ("name", ["username", "userName"])]
        {
            let value = keys.into_iter().find_map(|key| data.new_value.get(key).escaped());
            event.optional(field, value);
        }
        let list = event.json.open_list("roles");
        if let Some(role) = ["role", "roleName"].into_iter().find_map(|key| data.new_value.get(key).escaped()) {
            event.json.element(role);
        }
        event.json.close(list);
    } else if data.new_value.kind() == Kind::String {
        let new = data.new_value.escaped();
        let attribute = data.attr.text().unwrap_or_default().to_lowercase().replace(['_', ' ', '-'], "");
        match attribute.as_str() {
            "email" | "mail" | "recoveryemail" => drop(event.optional("email", new)),
            "fullname" => drop(event.optional("full_name", new)),
            "username" | "name" => drop(event.optional("name", new)),
            "role" | "rolename" => {
                let list = event.json.open_list("roles");
                if let Some(role) = new {
                    event.json.element(role);
                }
                event.json.close(list);
            }
            _ => drop(event.optional("email", new.filter(|text| is_email(*text)))),
        }
    }
    event.close(open);
}

/// Writes the name of the open user object. For an e-mail address it writes the local part and `email`, and returns
/// true.
fn name(event: &mut Event<'_>, value: &mut Value<'_>) -> bool {
    let Some(text) = value.escaped() else { return false };
    match text.raw().split_once('@') {
        Some((local, _)) if is_email(text) => {
            event.json.escaped("name", Escaped::plain(local));
            event.json.escaped("email", text);
            event.related.user.add(Escaped::plain(local));
            event.related.user.add(text);
            value.take();
            true
        }
        _ => {
            user::name_and_domain(event, value);
            false
        }
    }
}

fn is_email(text: Escaped<'_>) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.contains(['@', ' ', '\\', '"']);
    text.raw().split_once('@').is_some_and(|(local, domain)| is_part(local) && is_part(domain))
}
