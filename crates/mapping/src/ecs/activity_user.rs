//! Writes the acting user (`user`) and the user that was changed (`user.target`).

use s1_forwarder_record::{Escaped, Kind, Value};

use super::event::{Event, is_missing_word};
use super::user;
use crate::common::account::principal;
use crate::common::category::{Category, EventType};
use crate::common::missing::is_set;
use crate::common::words::Words;
use crate::streams::activity::{ActivityClass, Actor, Change, User, UserAttribute, Users};

/// Writes `user.*`.
pub(super) fn write(event: &mut Event<'_>, users: &Users<'_>, class: &ActivityClass, change: &Change<'_>) {
    let open = event.open("user");
    match users.actor() {
        Actor::Console(user) | Actor::LoggedIn(user) | Actor::Unknown(user) => attributes(event, &user),
        Actor::Remote(account) => user::write_account(event, account),
    }
    if let Some(account) = users.remote {
        user::relate_account(event, account);
    }
    user::related(event, users.logged_in);
    user::related(event, users.recovery_email);
    let target = event.open("target");
    attributes(event, &users.target);
    event.close(target);
    if class.is(Category::Iam) && class.has_type(EventType::Change) {
        changes(event, change);
    }
    event.close(open);
}

/// Writes the attributes of the open user object.
fn attributes(event: &mut Event<'_>, user: &User<'_>) {
    event.optional("id", user.id_text());
    event.mark_set([user.id]);
    let is_address = user::name_and_email(event, user.name);
    if let Some(text) = event.optional("full_name", user.full_name()) {
        event.related.user.insert(text);
    }
    event.mark_set([user.full_name]);
    if !is_set(user.name)
        && let Some(account) = user.account()
    {
        user::write_account(event, account);
    }
    if !is_address && let Some(text) = event.optional("email", user.email_text()) {
        event.related.user.insert(text);
        event.mark(user.email);
    }
    roles(event, [user.role, user.role_name]);
}

/// Writes the different roles of the open user object.
fn roles<const N: usize>(event: &mut Event<'_>, roles: [Value<'_>; N]) {
    let list = event.json.open_list("roles");
    let mut first = None;
    for role in roles {
        let Some(text) = role.escaped().filter(|text| !is_missing_word(*text)) else { continue };
        if first.replace(text) != Some(text) {
            event.json.element(text);
        }
        event.mark(role);
    }
    event.json.close(list);
}

/// Attributes of a user, without separators.
pub(super) const ATTRIBUTES: Words<UserAttribute> = Words {
    field: "user.changes",
    rows: &[
        ("email", UserAttribute::Email),
        ("mail", UserAttribute::Email),
        ("recoveryemail", UserAttribute::Email),
        ("fullname", UserAttribute::FullName),
        ("username", UserAttribute::Name),
        ("name", UserAttribute::Name),
        ("role", UserAttribute::Role),
        ("rolename", UserAttribute::Role),
    ],
};

/// Returns the field of an attribute below `user.changes`.
pub(super) fn field(attribute: UserAttribute) -> &'static str {
    match attribute {
        UserAttribute::Email => "email",
        UserAttribute::FullName => "full_name",
        UserAttribute::Name => "name",
        UserAttribute::Role => "roles",
    }
}

/// Writes `user.changes.*` if the new value is data of the user.
fn changes(event: &mut Event<'_>, change: &Change<'_>) {
    let open = event.open("changes");
    if change.value.kind() == Kind::Object {
        change.of_user().into_iter().for_each(|(attribute, text)| changed(event, attribute, text));
    } else if change.value.kind() == Kind::String {
        let text = change.value.escaped();
        let word = change.attribute.text().unwrap_or_default().to_lowercase().replace(['_', ' ', '-'], "");
        match ATTRIBUTES.find(&word) {
            Some(attribute) => changed(event, attribute, text),
            None => changed(event, UserAttribute::Email, text.filter(|text| principal(*text).is_some())),
        }
    }
    event.close(open);
}

fn changed(event: &mut Event<'_>, attribute: UserAttribute, text: Option<Escaped<'_>>) {
    if attribute != UserAttribute::Role {
        event.optional(field(attribute), text);
        return;
    }
    let list = event.json.open_list(field(attribute));
    if let Some(role) = text {
        event.json.element(role);
    }
    event.json.close(list);
}
