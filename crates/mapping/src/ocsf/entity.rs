//! `entity`: what an activity of Entity Management is about.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData};

use super::activity_values::{other, target_name};
use super::event::Event;
use crate::common::activity_class::Class;
use crate::common::activity_users::Users;
use crate::common::placeholder::{first_scalar, is_set};
use crate::used::Used;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Device,
    Group,
    Organization,
    Policy,
    /// What OCSF does not list, in words.
    Other(&'static str),
}

impl Kind {
    fn of(class: &Class, activity: &Activity<'_>, data: &ActivityData<'_>) -> Self {
        let is_device = is_set(activity.agent_id) || is_set(data.computer_name);
        let is_about_device = is_device && ["host", "file", "process"].into_iter().any(|word| class.is(word));
        match class.object {
            "user" => Self::Other("User"),
            _ if is_about_device => Self::Device,
            "exclusion" => Self::Other("Exclusion or block list entry"),
            "role" => Self::Other("Role"),
            "tag" => Self::Other("Tag"),
            "rule" => Self::Other("Rule"),
            "location" => Self::Other("Location"),
            "script" => Self::Other("Script"),
            "package" => Self::Other("Package"),
            "token" => Self::Other("Token"),
            "credential" => Self::Other("Credential"),
            "password" => Self::Other("Password"),
            "cloud account" => Self::Other("Cloud account"),
            "policy" => Self::Policy,
            _ if is_set(data.policy_name) || is_set(data.policy.get("id")) => Self::Policy,
            "group" => Self::Group,
            "organization" => Self::Organization,
            _ if is_device => Self::Device,
            _ => Self::Organization,
        }
    }

    /// The id of what is no device, group, organization or policy.
    fn id<'a>(self, data: &ActivityData<'a>, users: &Users<'a>) -> Value<'a> {
        match self {
            Self::Other("User") => users.target_id,
            Self::Other("Rule") => data.rule_id,
            Self::Other("Role") => other(data, "roleId"),
            Self::Other("Tag") => other(data, "tagId"),
            Self::Other("Location") => other(data, "locationId"),
            Self::Other("Script") => other(data, "scriptId"),
            _ => Value::default(),
        }
    }
}

/// Whether the record names something that can be the entity.
pub(super) fn is_named(object: &str, activity: &Activity<'_>, data: &ActivityData<'_>) -> bool {
    object == "user" && target_name(data).is_some() || name(activity, data, &Place::of(activity)).escaped().is_some()
}

/// The account, the site and the group of an activity.
struct Place<'a> {
    account_name: Value<'a>,
    site_id: Value<'a>,
    site_name: Value<'a>,
    group_id: Value<'a>,
    group_name: Value<'a>,
}

impl<'a> Place<'a> {
    fn of(activity: &Activity<'a>) -> Self {
        Self {
            account_name: activity.account_name,
            site_id: activity.site_id,
            site_name: activity.site_name,
            group_id: activity.group_id,
            group_name: activity.group_name,
        }
    }

    /// Without what the device has.
    fn left(self, used: &Used) -> Self {
        Self {
            account_name: used.left(self.account_name),
            site_id: used.left(self.site_id),
            site_name: used.left(self.site_name),
            group_id: used.left(self.group_id),
            group_name: used.left(self.group_name),
        }
    }
}

/// The most specific name.
fn name<'a>(activity: &Activity<'a>, data: &ActivityData<'a>, place: &Place<'a>) -> Value<'a> {
    let own = first_scalar([
        data.rule_name,
        data.role_name,
        data.policy_name,
        data.policy.get("id"),
        other(data, "tagName"),
        other(data, "locationName"),
        other(data, "scriptName"),
        data.value,
    ]);
    let scope = first_scalar([
        data.scope_name,
        data.group_name,
        place.group_name,
        data.site_name,
        place.site_name,
        data.account_name,
        place.account_name,
    ]);
    first_scalar([own, data.file_content_hash, activity.hash, scope, data.computer_name, activity.agent_id])
}

/// Writes the entity. Its values stay in the record, which says more of it.
pub(super) fn write(
    event: &mut Event<'_>,
    class: &Class,
    activity: &Activity<'_>,
    data: &ActivityData<'_>,
    users: &Users<'_>,
) {
    let kind = Kind::of(class, activity, data);
    let place = Place::of(activity).left(event.used);
    let fallback = name(activity, data, &place).escaped();
    let open = event.open("entity");
    match kind {
        Kind::Device => {
            event.choice("type", 1, "Device");
            let computer = data.computer_name.escaped();
            event.optional("name", computer);
            event.optional("uid", activity.agent_id.escaped());
        }
        Kind::Group => {
            event.choice("type", 3, "Group");
            event.optional("name", first_scalar([data.group_name, place.group_name]).escaped().or(fallback));
            let group = event.open("group");
            event.optional("uid", place.group_id.escaped());
            event.optional("name", first_scalar([data.group_name, place.group_name]).escaped());
            event.close(group);
        }
        Kind::Organization => {
            event.choice("type", 4, "Organization");
            let site = first_scalar([data.site_name, place.site_name]);
            let account = first_scalar([data.account_name, place.account_name]);
            event.optional("name", first_scalar([data.scope_name, site, account]).escaped().or(fallback));
            if is_set(activity.account_id) || is_set(account) {
                let org = event.open("org");
                event.optional("uid", activity.account_id.escaped());
                event.optional("name", account.escaped());
                event.optional("ou_uid", place.site_id.escaped());
                event.optional("ou_name", site.escaped());
                event.close(org);
            }
        }
        Kind::Policy => {
            event.choice("type", 5, "Policy");
            let id = data.policy.get("id");
            event.optional("name", first_scalar([data.policy_name]).escaped().or(fallback));
            let policy = event.open("policy");
            event.optional("uid", id.escaped());
            event.optional("name", data.policy_name.escaped());
            event.close(policy);
        }
        Kind::Other(word) => {
            event.json.number("type_id", "99");
            event.json.word("type", word);
            let user = target_name(data).map(|account| account.text).filter(|_| word == "User");
            let known = match word {
                "Role" => first_scalar([data.role_name]).escaped(),
                "Exclusion or block list entry" => {
                    first_scalar([data.value, data.file_content_hash, activity.hash]).escaped()
                }
                _ => user,
            };
            event.optional("name", known.or(fallback));
            event.optional("uid", kind.id(data, users).escaped());
        }
    }
    event.close(open);
}
