//! Writes the acting user (`user`) and the user that was changed (`user.target`).

use s1_forwarder_record::{Escaped, Kind, Value};

use super::event::{Event, is_placeholder, is_set};
use super::user;
use crate::common::account::{display_name, principal};
use crate::common::activity_types::Object;
use crate::common::remote_origin::RemoteOrigin;
use crate::streams::activity::{ActivityClass, Change, Users};
use crate::words::Words;

/// Writes `user.*`. `origin` names the user of a threat that came from another host.
pub(super) fn write(
    event: &mut Event<'_>,
    users: &Users<'_>,
    class: &ActivityClass,
    origin: Option<RemoteOrigin<'_>>,
    change: &Change<'_>,
) {
    let is_iam = class.is("iam");
    let by_user = users.has_by_user;
    let open = event.open("user");
    let actor = actor(event, users, class, origin);
    if !is_iam {
        if !actor.has_email {
            user::email(event, users.email);
        }
        user::related(event, users.recovery_email);
    }
    // The role of a role is no user's.
    let is_role_change = by_user && class.object == Some(Object::Role);
    if class.is("authentication") || is_iam && !users.has_target && !is_role_change {
        roles(event, [users.role]);
    }
    if is_iam || by_user {
        target(event, class, users);
    }
    if is_iam && class.has_type("change") {
        changes(event, change);
    }
    event.close(open);
}

/// Writes who acted into the open user object.
fn actor<'a>(
    event: &mut Event<'_>,
    users: &Users<'a>,
    class: &ActivityClass,
    origin: Option<RemoteOrigin<'a>>,
) -> Named<'a> {
    if event.text("id", users.actor_id).is_none() {
        event.optional("id", users.described.id);
    }
    let mut actor = first_name(event, [users.actor_name]);
    match origin.and_then(|origin| origin.user) {
        // Who is logged in at the attacked host is not who came from the other host.
        Some(user) => {
            if !actor.is_set {
                user.write(event);
            }
            user::related(event, users.logged_in);
        }
        None if !actor.is_set && !users.has_by_user && !class.is_rule_alert => {
            actor = first_name(event, [users.logged_in]);
        }
        None => {}
    }
    full_name(event, users.actor_full_name(), actor);
    if !actor.has_email
        && let Some(email) = users.described.email
    {
        event.json.escaped("email", email);
        event.related.user.add(email);
    }
    actor
}

/// `user.target.*`. A role without a user who was changed is that of the actor.
fn target(event: &mut Event<'_>, class: &ActivityClass, users: &Users<'_>) {
    let is_iam = class.is("iam");
    let open = event.open("target");
    if is_iam {
        event.text("id", users.target_id);
    }
    let mut target = Named::default();
    if users.has_by_user {
        target = first_name(event, users.names);
        full_name(event, users.target_full_name(), target);
    }
    if is_iam {
        if !target.has_email && !user::email(event, users.email) {
            user::email(event, users.recovery_email);
        }
        if users.has_target && class.object != Some(Object::Role) {
            roles(event, [users.role, users.role_name]);
        }
    }
    event.close(open);
}

/// Writes `full_name` of the open user object: the given one, else a name that is one of a person.
fn full_name(event: &mut Event<'_>, given: Value<'_>, named: Named<'_>) {
    match event.text("full_name", given) {
        Some(text) => event.related.user.insert(text),
        None => drop(event.optional("full_name", named.display)),
    }
}

/// Writes the different roles of the open user object.
fn roles<const N: usize>(event: &mut Event<'_>, roles: [Value<'_>; N]) {
    let list = event.json.open_list("roles");
    let mut first = None;
    for role in roles {
        let Some(text) = role.escaped().filter(|text| !is_placeholder(*text)) else { continue };
        if first.replace(text) != Some(text) {
            event.json.element(text);
        }
        event.mark(role);
    }
    event.json.close(list);
}

/// Attributes of a user, without separators.
pub(super) const ATTRIBUTES: Words<&str> = Words {
    field: "user.changes",
    rows: &[
        ("email", "email"),
        ("mail", "email"),
        ("recoveryemail", "email"),
        ("fullname", "full_name"),
        ("username", "name"),
        ("name", "name"),
        ("role", "roles"),
        ("rolename", "roles"),
    ],
};

/// Writes `user.changes.*` if the new value is data of the user.
fn changes(event: &mut Event<'_>, change: &Change<'_>) {
    let open = event.open("changes");
    if change.value.kind() == Kind::Object {
        change.of_user().into_iter().for_each(|(field, text)| changed(event, field, text));
    } else if change.value.kind() == Kind::String {
        let text = change.value.escaped();
        let attribute = change.attribute.text().unwrap_or_default().to_lowercase().replace(['_', ' ', '-'], "");
        match ATTRIBUTES.find(&attribute) {
            Some(field) => changed(event, field, text),
            None => changed(event, "email", text.filter(|text| principal(*text).is_some())),
        }
    }
    event.close(open);
}

fn changed(event: &mut Event<'_>, field: &str, text: Option<Escaped<'_>>) {
    if field != "roles" {
        event.optional(field, text);
        return;
    }
    let list = event.json.open_list(field);
    text.into_iter().for_each(|role| event.json.element(role));
    event.json.close(list);
}

/// What was written of a user.
#[derive(Clone, Copy, Default)]
struct Named<'a> {
    is_set: bool,
    has_email: bool,
    display: Option<Escaped<'a>>,
}

fn first_name<'a, const N: usize>(event: &mut Event<'_>, values: [Value<'a>; N]) -> Named<'a> {
    values.into_iter().find(|value| is_set(*value)).map(|value| name(event, value)).unwrap_or_default()
}

/// Writes the name of the open user object. For an e-mail address it writes the local part and `email`.
fn name<'a>(event: &mut Event<'_>, value: Value<'a>) -> Named<'a> {
    let Some(text) = value.escaped() else { return Named::default() };
    let display = display_name(value);
    let Some((local, _)) = principal(text) else {
        return Named { is_set: user::name_and_domain(event, value), has_email: false, display };
    };
    event.json.escaped("name", local);
    event.json.escaped("email", text);
    event.related.user.add(local);
    event.related.user.add(text);
    event.mark(value);
    Named { is_set: true, has_email: true, display }
}
