//! `entity`: what an activity of Entity Management is about.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData};

use super::activity_values::{other, target};
use super::event::Event;
use crate::common::activity_class::Class;
use crate::common::activity_users::Users;
use crate::common::placeholder::{first_scalar, is_set};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntityType {
    Device,
    Group,
    Organization,
    Policy,
    /// What OCSF does not list, in words.
    Other(&'static str),
}

impl EntityType {
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
            _ if !is_set(site_or_account(activity, data)) && is_set(group_name(activity, data)) => Self::Group,
            _ => Self::Organization,
        }
    }

    /// The name that the record gives to what is of this kind, and to nothing else.
    fn name<'a>(self, activity: &Activity<'a>, data: &ActivityData<'a>) -> Value<'a> {
        match self {
            Self::Device => data.computer_name,
            Self::Group => group_name(activity, data),
            Self::Organization => site_or_account(activity, data),
            Self::Policy => data.policy_name,
            Self::Other(word) => match word {
                "User" => target(data),
                "Rule" => data.rule_name,
                "Role" => data.role_name,
                "Tag" => first_scalar(["tagName", "newTagName", "oldTagName"].map(|key| other(data, key))),
                "Location" => other(data, "locationName"),
                "Script" => other(data, "scriptName"),
                "Exclusion or block list entry" => first_scalar([data.value, data.file_content_hash, activity.hash]),
                _ => data.value,
            },
        }
    }

    fn id<'a>(self, activity: &Activity<'a>, data: &ActivityData<'a>, users: &Users<'a>) -> Value<'a> {
        match self {
            Self::Device => activity.agent_id,
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

fn group_name<'a>(activity: &Activity<'a>, data: &ActivityData<'a>) -> Value<'a> {
    first_scalar([data.group_name, activity.group_name])
}

fn site_name<'a>(activity: &Activity<'a>, data: &ActivityData<'a>) -> Value<'a> {
    first_scalar([data.site_name, activity.site_name])
}

fn account_name<'a>(activity: &Activity<'a>, data: &ActivityData<'a>) -> Value<'a> {
    first_scalar([data.account_name, activity.account_name])
}

fn site_or_account<'a>(activity: &Activity<'a>, data: &ActivityData<'a>) -> Value<'a> {
    first_scalar([data.scope_name, site_name(activity, data), account_name(activity, data)])
}

/// What an activity is about, with the name and the id of nothing else.
pub(super) struct Entity<'a> {
    kind: EntityType,
    name: Value<'a>,
    id: Value<'a>,
}

impl<'a> Entity<'a> {
    /// `None` if the record names neither it nor where it is.
    pub fn of(class: &Class, activity: &Activity<'a>, data: &ActivityData<'a>, users: &Users<'a>) -> Option<Self> {
        let entity = Self::of_kind(EntityType::of(class, activity, data), activity, data, users);
        let has_policy = entity.kind == EntityType::Policy && is_set(data.policy.get("id"));
        if entity.is_named() || has_policy {
            return Some(entity);
        }
        // What a device has, and what has no name, is of the device.
        let device = Self::of_kind(EntityType::Device, activity, data, users);
        if device.is_named() {
            return Some(device);
        }
        let places = [site_or_account(activity, data), group_name(activity, data), activity.account_id];
        places.into_iter().any(is_set).then_some(entity)
    }

    fn of_kind(kind: EntityType, activity: &Activity<'a>, data: &ActivityData<'a>, users: &Users<'a>) -> Self {
        Self { kind, name: kind.name(activity, data), id: kind.id(activity, data, users) }
    }

    fn is_named(&self) -> bool {
        is_set(self.name) || is_set(self.id)
    }

    /// Writes the entity. Its values stay in the record, which says more of it.
    pub fn write(&self, event: &mut Event<'_>, activity: &Activity<'_>, data: &ActivityData<'_>) {
        let open = event.open("entity");
        match self.kind {
            EntityType::Device => event.choice("type", 1, "Device"),
            EntityType::Group => event.choice("type", 3, "Group"),
            EntityType::Organization => event.choice("type", 4, "Organization"),
            EntityType::Policy => event.choice("type", 5, "Policy"),
            EntityType::Other(word) => {
                event.json.number("type_id", "99");
                event.json.word("type", word);
            }
        }
        event.optional("name", self.name.escaped());
        event.optional("uid", self.id.escaped());
        let group = group_name(activity, data);
        match self.kind {
            EntityType::Group if is_set(group) || is_set(activity.group_id) => write_group(event, activity, group),
            EntityType::Organization if self.is_named() || is_set(activity.account_id) => {
                write_org(event, activity, data, Value::default());
            }
            EntityType::Policy if is_set(data.policy_name) || is_set(data.policy.get("id")) => {
                let policy = event.open("policy");
                event.optional("uid", data.policy.get("id").escaped());
                event.optional("name", data.policy_name.escaped());
                event.close(policy);
            }
            // What has no name is of an account, a site or a group.
            _ if !self.is_named() => {
                let place = site_or_account(activity, data);
                if is_set(place) || is_set(activity.account_id) {
                    write_org(event, activity, data, place);
                } else {
                    write_group(event, activity, group);
                }
            }
            _ => {}
        }
        event.close(open);
    }
}

fn write_group(event: &mut Event<'_>, activity: &Activity<'_>, name: Value<'_>) {
    let group = event.open("group");
    event.optional("uid", activity.group_id.escaped());
    event.optional("name", name.escaped());
    event.close(group);
}

/// Writes the account, else what is named `place`.
fn write_org(event: &mut Event<'_>, activity: &Activity<'_>, data: &ActivityData<'_>, place: Value<'_>) {
    let account = account_name(activity, data);
    let has_account = is_set(activity.account_id) || is_set(account);
    if has_account || is_set(place) {
        let org = event.open("org");
        event.optional("uid", activity.account_id.escaped());
        event.optional("name", if has_account { account } else { place }.escaped());
        event.optional("ou_uid", activity.site_id.escaped());
        event.optional("ou_name", site_name(activity, data).escaped());
        event.close(org);
    }
}
