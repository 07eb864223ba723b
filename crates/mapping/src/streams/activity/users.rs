//! The users of an activity: who acted, and who was changed.

use s1_forwarder_record::{Escaped, Value};

use super::alert_keys::{ACTOR_ID, ACTOR_NAME};
use super::{ActivityClass, ActivityParts};
use crate::common::account::{Account, display_name, is_email, name_and_address, principal};
use crate::common::activity_types::Object;
use crate::common::category::Category;
use crate::common::missing::{first_scalar, is_set};
use crate::common::remote_origin::RemoteOrigin;

/// Types of changes that users make to their own account (profile, tokens, second factor, password), unless the record
/// names another user.
const OWN_ACTS: [u32; 8] = [37, 112, 113, 114, 145, 147, 3710, 3711];

/// The values of an activity about a user.
#[derive(Debug, Clone, Copy, Default)]
pub struct User<'a> {
    pub id: Value<'a>,
    pub name: Value<'a>,
    pub full_name: Value<'a>,
    /// The first address in the record that is certain to be this user's.
    pub email: Value<'a>,
    pub role: Value<'a>,
    pub role_name: Value<'a>,
    described: Described<'a>,
}

impl<'a> User<'a> {
    /// Returns whether the user has an id or a name.
    pub fn is_known(&self) -> bool {
        self.id_text().is_some() || self.account().is_some()
    }

    /// Returns `id`, else the id in `description`.
    pub fn id_text(&self) -> Option<Escaped<'a>> {
        if is_set(self.id) { self.id.escaped() } else { self.described.id }
    }

    /// Returns the address after the name, else `email`, else the address in `description`.
    pub fn email_text(&self) -> Option<Escaped<'a>> {
        let after_name = self.name.escaped().and_then(name_and_address).map(|(_, address)| address);
        after_name.or(self.email.escaped()).or(self.described.email)
    }

    /// Returns the account in the name, else the account in the address in `description`.
    pub fn account(&self) -> Option<Account<'a>> {
        Account::of_console(self.name).or_else(|| Account::of_text(self.described.email?).map(Account::without_domain))
    }

    /// Returns the full name in the record, else the name if it is the name of a person.
    pub fn full_name(&self) -> Option<Escaped<'a>> {
        if is_set(self.full_name) { self.full_name.escaped() } else { display_name(self.name) }
    }

    pub fn without_full_name(self) -> Self {
        Self { full_name: Value::default(), ..self }
    }
}

/// The actor of an activity.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    Console(User<'a>),
    /// The user who came from another host.
    Remote(Account<'a>),
    /// The user who is logged in to the endpoint.
    LoggedIn(User<'a>),
    /// A user of the console without an id and a name, or no user.
    Unknown(User<'a>),
}

/// The users of an activity.
#[derive(Debug, Clone, Copy)]
pub struct Users<'a> {
    actor: User<'a>,
    /// The user who was changed, with only the certain values. If `byUser` is empty, the names in the record belong to
    /// the actor, and this user has no name. ECS needs no name.
    pub target: User<'a>,
    /// The name and the addresses in the record, of either user.
    name: Value<'a>,
    email: Value<'a>,
    pub recovery_email: Value<'a>,
    /// The user who came from another host.
    pub remote: Option<Account<'a>>,
    /// The user who is logged in to the endpoint.
    pub logged_in: Value<'a>,
    /// Whether the actor changed the actor's own account.
    is_own: bool,
}

impl<'a> Users<'a> {
    pub fn of(parts: &ActivityParts<'_, 'a>, class: &ActivityClass) -> Self {
        let ActivityParts { activity, data, .. } = parts;
        let known = Distinction::of(parts, class);
        let of_alert = |keys| if known.by_user { Value::default() } else { parts.of_alert(keys) };
        let name = first_scalar([data.username, data.user_name, of_alert(&ACTOR_NAME)]);
        let id = if is_set(activity.user_id) { activity.user_id } else { of_alert(&ACTOR_ID) };
        let actor_name = if known.has_own_name() { name } else { data.by_user };
        let own_email = value_if(known.has_own_name() && !known.is_iam, data.email);
        let actor = User {
            id: value_if(!known.has_id_of_target, id),
            name: actor_name,
            full_name: value_if(known.has_own_name(), data.full_name),
            email: first_email([actor_name, own_email]),
            role: value_if(known.has_own_role(), data.role),
            role_name: Value::default(),
            described: known.described,
        };
        let target_id = first_scalar([value_if(known.has_id_of_target, activity.user_id), data.user_id]);
        let target = User {
            id: value_if(known.is_iam, target_id),
            name: value_if(known.by_user, name),
            full_name: value_if(known.by_user, data.full_name),
            email: Value::default(),
            role: value_if(known.has_role_of_target(), data.role),
            role_name: value_if(known.has_role_of_target(), data.role_name),
            described: known.described_target,
        };
        let users = Self {
            actor,
            target,
            name,
            email: data.email,
            recovery_email: data.recovery_email,
            remote: RemoteOrigin::of(data.file_display_name).and_then(|origin| origin.user),
            logged_in: data.last_logged_in_user_name,
            is_own: known.is_iam
                && (known.is_one_user
                    || !known.has_target && class.number.is_some_and(|number| OWN_ACTS.contains(&number))),
        };
        let email = value_if(known.is_iam || known.by_user, users.email_of(target.name));
        Self { target: User { email, ..target }, ..users }
    }

    /// Returns the actor. A user of the console comes first. The user who came from another host comes before the user
    /// who is logged in to the attacked host: they are different users.
    pub fn actor(&self) -> Actor<'a> {
        if self.has_actor() {
            Actor::Console(self.actor)
        } else if let Some(account) = self.remote {
            Actor::Remote(account)
        } else if Account::of(self.logged_in).is_some() {
            Actor::LoggedIn(User { name: self.logged_in, email: first_email([self.logged_in]), ..User::default() })
        } else {
            Actor::Unknown(self.actor)
        }
    }

    /// Returns whether a user of the console acted.
    pub fn has_actor(&self) -> bool {
        self.actor.is_known()
    }

    /// Returns [`Self::target`] for OCSF, which requires a name. If the record has no other name, it is the actor's
    /// name, with the actor's role.
    pub fn changed(&self) -> User<'a> {
        let name = first_scalar([self.name, self.email, self.recovery_email, self.target.full_name]);
        let is_actor = is_set(name) && name.escaped() == self.actor.name.escaped();
        let role = first_scalar([self.target.role, value_if(is_actor, self.actor.role)]);
        User { name, email: self.email_of(name), role, ..self.target }
    }

    /// Returns the user that OCSF's User Management is about: the changed user, or the actor who changed their own
    /// account.
    pub fn managed(&self) -> User<'a> {
        if self.is_own && self.has_actor() {
            User { email: self.email_of(self.actor.name), ..self.actor }
        } else {
            self.changed()
        }
    }

    /// Returns the address of a changed user with this name, which may itself be the address.
    fn email_of(&self, name: Value<'a>) -> Value<'a> {
        first_email([name, self.email, self.recovery_email])
    }
}

/// The facts that distinguish the users of a record.
struct Distinction<'a> {
    is_iam: bool,
    is_role: bool,
    by_user: bool,
    is_rule_alert: bool,
    /// Whether there is a name that is not `byUser`.
    is_named: bool,
    /// Whether the record names the user who was changed.
    has_target: bool,
    /// Whether the actor is the user who was changed.
    is_one_user: bool,
    /// Whether the record's id belongs to another user than the actor.
    has_id_of_target: bool,
    /// The description of the user who acted, from a text.
    described: Described<'a>,
    /// The description of the user who was changed, from a text.
    described_target: Described<'a>,
}

impl<'a> Distinction<'a> {
    /// Reads the facts. If a user changed another user, `userId` is the id of the changed user. Two observations show
    /// this. An added user has an id that is as old as the activity. All changes of one user have the same id, however
    /// many users made them. An object that is not a user, such as a role or a token without an owner, has no user's
    /// id.
    fn of(parts: &ActivityParts<'_, 'a>, class: &ActivityClass) -> Self {
        let ActivityParts { activity, data, .. } = parts;
        let names = [data.username, data.user_name, data.full_name];
        let is_named = names.into_iter().any(is_set);
        let is_iam = class.is(Category::Iam);
        let is_role = class.object == Some(Object::Role);
        let by_user = is_set(data.by_user);
        let is_change = by_user && is_iam && (class.object == Some(Object::User) || is_named && !is_role);
        let described = Described::of(activity.description);
        let has_one_id = described.id.is_some() && described.id == activity.user_id.escaped();
        // Two ids are two users, whatever their names.
        let has_two_ids = described.id.is_some() && is_set(activity.user_id) && !has_one_id;
        let is_one_user = if by_user {
            !has_two_ids && may_be_one_of(data.by_user, names)
        } else {
            is_set(data.user_id) && data.user_id.escaped() == activity.user_id.escaped()
        };
        let has_id_of_target = is_change && !is_one_user;
        // Outside `iam`, the description is about the only user, unless names or ids say otherwise.
        let names_of_actor = if by_user { [data.by_user; 3] } else { names };
        let is_of_actor = has_one_id || !is_iam && !has_two_ids && !described.is_another(names_of_actor);
        let none = Described::default();
        let [described, described_target] = match has_id_of_target {
            true if has_one_id => [none, described],
            false if !is_of_actor => [none, none],
            _ => [described, none],
        };
        let is_nameless = described == none && !is_iam && !by_user && !is_named && !class.is_rule_alert;
        let described = if is_nameless { Described::of_sentence(parts.entry.message) } else { described };
        Self {
            is_iam,
            is_role,
            by_user,
            is_rule_alert: class.is_rule_alert,
            is_named,
            has_target: is_change || is_iam && is_set(data.user_id),
            is_one_user,
            has_id_of_target,
            described,
            described_target,
        }
    }

    /// Returns whether the names belong to the actor, and not to the changed user or to the owner of a rule.
    fn has_own_name(&self) -> bool {
        !self.by_user && !self.is_rule_alert
    }

    /// Returns whether the role is the actor's role. Most activities do not name it.
    fn has_own_role(&self) -> bool {
        // This is the role of a rule's owner, or the role that was changed.
        if self.is_rule_alert || self.by_user && self.is_role {
            return false;
        }
        let names_another = self.has_target || self.by_user && self.is_named;
        self.is_one_user || !names_another
    }

    fn has_role_of_target(&self) -> bool {
        self.has_target && !self.is_role
    }
}

fn value_if(condition: bool, value: Value<'_>) -> Value<'_> {
    if condition { value } else { Value::default() }
}

fn first_email<'a, const N: usize>(values: [Value<'a>; N]) -> Value<'a> {
    values.into_iter().find(|value| value.escaped().is_some_and(is_email)).unwrap_or_default()
}

/// Returns whether the user may be one of `names`.
fn may_be_one_of<'a, const N: usize>(user: Value<'a>, names: [Value<'a>; N]) -> bool {
    let Some(user) = Account::of(user) else { return false };
    names.into_iter().filter_map(Account::of).any(|name| user.may_be(name))
}

/// Beginnings of sentences about a user of the console.
const SUBJECTS: [&str; 2] = ["The management user ", "User "];

/// The user of a description such as `<ManagementUser at 0x7f6e with id=17, email='jane@acme.example'>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Described<'a> {
    id: Option<Escaped<'a>>,
    email: Option<Escaped<'a>>,
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

    /// Reads the address of the user at the beginning of a sentence. This user did what the sentence says.
    fn of_sentence(message: Value<'a>) -> Self {
        let text = message.escaped().map_or("", Escaped::raw);
        let rest = SUBJECTS.into_iter().find_map(|subject| text.strip_prefix(subject)).unwrap_or_default();
        let word = rest.split(' ').next().unwrap_or_default();
        Self {
            id: None,
            email: Some(Escaped::plain(word.trim_end_matches([',', '.', ':']))).filter(|word| is_email(*word)),
        }
    }

    /// Returns whether the first address in these names belongs to another user.
    fn is_another(&self, names: [Value<'a>; 3]) -> bool {
        self.email.is_some_and(|email| {
            let other = first_email(names).escaped();
            other.is_some_and(|other| !email.raw().eq_ignore_ascii_case(other.raw()))
        })
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
