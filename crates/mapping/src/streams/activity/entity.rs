//! What an activity of the administration is about, if not a user: a role, a policy, a site.

use s1_forwarder_record::Value;

use super::{ActivityClass, ActivityParts, Users};
use crate::common::activity_types::Object;
use crate::common::placeholder::{first_scalar, is_set};
use crate::parts::Owner;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityKind {
    Device,
    Group,
    Organization,
    Policy,
    /// Any other, in words.
    Other(&'static str),
}

/// Kinds by the object of an activity's type. What is about a device is not looked up here.
const KINDS: [(Object, EntityKind); 14] = [
    (Object::Exclusion, EntityKind::Other("Exclusion or block list entry")),
    (Object::Role, EntityKind::Other("Role")),
    (Object::Tag, EntityKind::Other("Tag")),
    (Object::Rule, EntityKind::Other("Rule")),
    (Object::Location, EntityKind::Other("Location")),
    (Object::Script, EntityKind::Other("Script")),
    (Object::Package, EntityKind::Other("Package")),
    (Object::Token, EntityKind::Other("Token")),
    (Object::Credential, EntityKind::Other("Credential")),
    (Object::Password, EntityKind::Other("Password")),
    (Object::CloudAccount, EntityKind::Other("Cloud account")),
    (Object::Policy, EntityKind::Policy),
    (Object::Group, EntityKind::Group),
    (Object::Organization, EntityKind::Organization),
];

/// An entity, with the name and the id of nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Entity<'a> {
    pub kind: EntityKind,
    pub name: Value<'a>,
    pub id: Value<'a>,
    pub policy_id: Value<'a>,
    pub policy_name: Value<'a>,
    /// Where it is. Names in `data` come first.
    pub owner: Owner<'a>,
    /// The site or the account.
    pub place: Value<'a>,
}

impl<'a> Entity<'a> {
    /// `None` if the record names neither it nor where it is.
    pub fn of(parts: &ActivityParts<'_, 'a>, class: &ActivityClass, users: &Users<'a>) -> Option<Self> {
        let data = parts.data;
        let owner = owner(parts);
        let place = first_scalar([data.scope_name, first_scalar(owner.site_names), first_scalar(owner.account_names)]);
        let entity = Self {
            kind: EntityKind::Device,
            name: data.computer_name,
            id: parts.entry.agent_id,
            policy_id: data.policy.get("id"),
            policy_name: data.policy_name,
            owner,
            place,
        };
        let kind = entity.kind_of(parts, class);
        let named =
            Self { kind, name: entity.name_of(kind, parts, users), id: entity.id_of(kind, parts, users), ..entity };
        if named.is_named() || kind == EntityKind::Policy && is_set(entity.policy_id) {
            return Some(named);
        }
        // What a device has, and what has no name, is of the device.
        if entity.is_named() {
            return Some(entity);
        }
        let places = [place, first_scalar(owner.group_names), parts.entry.account_id];
        places.into_iter().any(is_set).then_some(named)
    }

    pub fn is_named(&self) -> bool {
        is_set(self.name) || is_set(self.id)
    }

    pub fn has_policy(&self) -> bool {
        is_set(self.policy_name) || is_set(self.policy_id)
    }

    fn kind_of(&self, parts: &ActivityParts<'_, '_>, class: &ActivityClass) -> EntityKind {
        let is_device = parts.is_about_endpoint();
        let known = KINDS.into_iter().find(|(object, _)| Some(*object) == class.object).map(|(_, kind)| kind);
        match known {
            _ if class.object == Some(Object::User) => EntityKind::Other("User"),
            _ if is_device && ["host", "file", "process"].into_iter().any(|word| class.is(word)) => EntityKind::Device,
            Some(kind @ (EntityKind::Other(_) | EntityKind::Policy)) => kind,
            _ if self.has_policy() => EntityKind::Policy,
            Some(kind) => kind,
            None if is_device => EntityKind::Device,
            None if !is_set(self.place) && is_set(first_scalar(self.owner.group_names)) => EntityKind::Group,
            None => EntityKind::Organization,
        }
    }

    /// The name that the record gives to what is of this kind, and to nothing else.
    fn name_of(&self, kind: EntityKind, parts: &ActivityParts<'_, 'a>, users: &Users<'a>) -> Value<'a> {
        let data = parts.data;
        match kind {
            EntityKind::Device => data.computer_name,
            EntityKind::Group => first_scalar(self.owner.group_names),
            EntityKind::Organization => self.place,
            EntityKind::Policy => self.policy_name,
            EntityKind::Other("User") => users.target_name(),
            EntityKind::Other("Rule") => data.rule_name,
            EntityKind::Other("Role") => data.role_name,
            EntityKind::Other("Tag") => {
                first_scalar(["tagName", "newTagName", "oldTagName"].map(|key| parts.other(key)))
            }
            EntityKind::Other("Location") => parts.other("locationName"),
            EntityKind::Other("Script") => parts.other("scriptName"),
            EntityKind::Other("Exclusion or block list entry") => {
                first_scalar([data.value, data.file_content_hash, parts.activity.hash])
            }
            EntityKind::Other(_) => data.value,
        }
    }

    fn id_of(&self, kind: EntityKind, parts: &ActivityParts<'_, 'a>, users: &Users<'a>) -> Value<'a> {
        match kind {
            EntityKind::Device => parts.entry.agent_id,
            EntityKind::Other("User") => users.target_id,
            EntityKind::Other("Rule") => parts.data.rule_id,
            EntityKind::Other("Role") => parts.other("roleId"),
            EntityKind::Other("Tag") => parts.other("tagId"),
            EntityKind::Other("Location") => parts.other("locationId"),
            EntityKind::Other("Script") => parts.other("scriptId"),
            _ => Value::default(),
        }
    }
}

fn owner<'a>(parts: &ActivityParts<'_, 'a>) -> Owner<'a> {
    let mut owner = parts.owner();
    owner.account_names[..2].reverse();
    owner.site_names.reverse();
    owner.group_names[..2].reverse();
    owner
}
