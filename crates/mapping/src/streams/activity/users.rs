//! Who acted in an activity, and which user was changed.

use s1_forwarder_record::{Escaped, Value};

use super::{ActivityClass, ActivityParts};
use crate::common::account::{Account, is_email, principal};
use crate::common::activity_types::Object;
use crate::common::placeholder::{first_scalar, is_set};

/// The users of an activity.
#[derive(Debug, Clone, Copy, Default)]
pub struct Users<'a> {
    /// `userId`, whosever it is.
    pub id: Value<'a>,
    /// The user who acted, if `names` are those of another user or, where both are one, of the same.
    by_user: Value<'a>,
    pub names: [Value<'a>; 2],
    full_name: Value<'a>,
    pub email: Value<'a>,
    pub recovery_email: Value<'a>,
    pub role: Value<'a>,
    pub role_name: Value<'a>,
    /// Who was logged in to the endpoint.
    pub logged_in: Value<'a>,
    pub has_by_user: bool,
    /// The role in the record is not that of the user who acted.
    is_other: bool,
    /// The record says which user was changed.
    pub has_target: bool,
    /// The name of the console user who acted. The names in a hit are those of the rule's owner.
    pub actor_name: Value<'a>,
    /// `userId`, unless it is the id of the user who was changed.
    pub actor_id: Value<'a>,
    /// Id and address of the actor where only `description` has them.
    pub described: Described<'a>,
    /// The id of the user who was changed.
    pub target_id: Value<'a>,
}

impl<'a> Users<'a> {
    /// If a user changed another one, `userId` is the id of the one who was changed: a user who was added has an id
    /// that is as old as the activity, and all changes of one user have one id, however many users made them. What is
    /// no user, such as a role or a token without an owner, has no id of a user.
    pub fn of(parts: &ActivityParts<'_, 'a>, class: &ActivityClass) -> Self {
        let users = Self::given(parts, class);
        let by_user = users.has_by_user;
        let is_role = class.object == Some(Object::Role);
        let is_named = users.target_names().into_iter().any(is_set);
        let is_about_user = class.object == Some(Object::User) || is_named && !is_role;
        if !(by_user && class.is("iam") && is_about_user) {
            return Self { is_other: by_user && (is_role || is_named && !users.is_one_user()), ..users };
        }
        let described = Described::of(parts.activity.description);
        // The description may be that of the user who was changed.
        let is_of_target = described.id == users.id.escaped();
        // Two ids are two users, whatever their names.
        let has_two_ids = described.id.is_some() && is_set(users.id) && !is_of_target;
        if !has_two_ids && users.is_one_user() {
            return Self { has_target: true, ..users };
        }
        Self {
            is_other: true,
            has_target: true,
            actor_id: Value::default(),
            described: if is_of_target { Described::default() } else { described },
            target_id: first_scalar([users.id, users.target_id]),
            ..users
        }
    }

    /// What the record says, with `userId` as the id of the user who acted.
    fn given(parts: &ActivityParts<'_, 'a>, class: &ActivityClass) -> Self {
        let ActivityParts { activity, data, .. } = parts;
        let own_names = if class.is_rule_alert { [Value::default(); 2] } else { [data.username, data.user_name] };
        let [username, user_name] = own_names;
        Self {
            id: activity.user_id,
            by_user: data.by_user,
            names: [data.username, data.user_name],
            full_name: data.full_name,
            email: data.email,
            recovery_email: data.recovery_email,
            role: data.role,
            role_name: data.role_name,
            logged_in: data.last_logged_in_user_name,
            has_by_user: is_set(data.by_user),
            is_other: false,
            has_target: is_set(data.user_id),
            actor_name: first_scalar([data.by_user, username, user_name]),
            actor_id: activity.user_id,
            described: Described::default(),
            target_id: data.user_id,
        }
    }

    /// The account of the console user who acted.
    pub fn actor(&self) -> Option<Account<'a>> {
        Account::of(self.actor_name)
    }

    pub fn actor_full_name(&self) -> Value<'a> {
        if self.has_by_user { Value::default() } else { self.full_name }
    }

    /// A name can be an address as well.
    pub fn actor_email(&self) -> Option<Escaped<'a>> {
        let email = if self.has_by_user { Value::default() } else { self.email };
        first_email([self.actor_name, email]).or(self.described.email)
    }

    /// Absent if the record has that of another user, or of a role, or none: most activities do not name the role of
    /// the user who acted.
    pub fn actor_role(&self) -> Value<'a> {
        if self.is_other { Value::default() } else { self.role }
    }

    /// The name of the user that was changed.
    pub fn target_name(&self) -> Value<'a> {
        let [username, user_name] = self.names;
        first_scalar([username, user_name, self.email, self.recovery_email, self.target_full_name()])
    }

    /// If another user acted, the full name is that of the one who was changed.
    pub fn target_full_name(&self) -> Value<'a> {
        if self.has_by_user { self.full_name } else { Value::default() }
    }

    pub fn target_email(&self) -> Option<Escaped<'a>> {
        let [username, _] = self.names;
        first_email([self.email, username, self.recovery_email])
    }

    fn target_names(&self) -> [Value<'a>; 3] {
        let [username, user_name] = self.names;
        [username, user_name, self.full_name]
    }

    /// Whether `by_user` names the user who was changed.
    fn is_one_user(&self) -> bool {
        let Some(actor) = Account::of(self.by_user) else { return false };
        self.target_names().into_iter().filter_map(Account::of).any(|target| actor.may_be(target))
    }
}

fn first_email<'a, const N: usize>(values: [Value<'a>; N]) -> Option<Escaped<'a>> {
    values.into_iter().filter_map(Value::escaped).find(|text| is_email(*text))
}

/// The user of a description such as `<ManagementUser at 0x7f6e with id=17, email='jane@acme.example'>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Described<'a> {
    pub id: Option<Escaped<'a>>,
    pub email: Option<Escaped<'a>>,
}

impl<'a> Described<'a> {
    fn of(description: Value<'a>) -> Self {
        let Some(text) = description.escaped().and_then(|text| text.raw().strip_prefix("<ManagementUser ")) else {
            return Self::default();
        };
        let id = text.split_once("with id=").map(|(_, rest)| {
            let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
            &rest[..end]
        });
        let email = text.split_once("email='").and_then(|(_, rest)| rest.split_once('\'')).map(|(email, _)| email);
        Self {
            id: id.filter(|id| !id.is_empty()).map(Escaped::plain),
            email: email.map(Escaped::plain).filter(|email| principal(*email).is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_names_a_user() {
        let described = |text: &str| {
            let raw = format!("\"{text}\"");
            let Described { id, email } = Described::of(Value::new(&raw));
            [id, email].map(|text| text.map(|text| text.raw().to_owned()))
        };
        let expected = |id: Option<&str>, email: Option<&str>| [id, email].map(|text| text.map(str::to_owned));
        assert_eq!(
            described("<ManagementUser at 0x7f with id=17, email='jane@acme.example', user_scope='account'>"),
            expected(Some("17"), Some("jane@acme.example"))
        );
        assert_eq!(described("<ManagementUser with id=17>"), expected(Some("17"), None));
        assert_eq!(described("<ManagementUser with id=, email='jane'>"), expected(None, None));
        assert_eq!(described("Joined with id=17, email='jane@acme.example'"), expected(None, None));
    }
}
