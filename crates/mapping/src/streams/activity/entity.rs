//! The object of an administrative activity, if it is not a user: a role, a policy, a site.

use s1_forwarder_record::Value;

use super::level::{SCOPE_LEVELS, ScopeLevel};
use super::{ActivityClass, ActivityParts, Users};
use crate::common::activity_types::Object;
use crate::common::category::Category;
use crate::common::missing::{first_scalar, is_set};
use crate::common::word::Word;
use crate::parts::Owner;

/// Categories of events on a device.
const DEVICE: [Category; 3] = [Category::Host, Category::File, Category::Process];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityKind {
    CloudAccount,
    Credential,
    Device,
    Exclusion,
    Group,
    Location,
    Organization,
    Package,
    Password,
    Policy,
    Role,
    Rule,
    Script,
    Tag,
    Token,
    User,
}

impl EntityKind {
    /// Returns the kind; `None` for an object that is not an entity, but a part of a device or of the console.
    fn of(object: Object) -> Option<Self> {
        match object {
            Object::CloudAccount => Some(Self::CloudAccount),
            Object::Credential => Some(Self::Credential),
            Object::Exclusion => Some(Self::Exclusion),
            Object::Group => Some(Self::Group),
            Object::Location => Some(Self::Location),
            Object::Organization | Object::Site => Some(Self::Organization),
            Object::Package => Some(Self::Package),
            Object::Password => Some(Self::Password),
            Object::Policy => Some(Self::Policy),
            Object::Role => Some(Self::Role),
            Object::Rule => Some(Self::Rule),
            Object::Script => Some(Self::Script),
            Object::Tag => Some(Self::Tag),
            Object::Token => Some(Self::Token),
            Object::User => Some(Self::User),
            Object::Agent
            | Object::CisScan
            | Object::Console
            | Object::FullDiskScan
            | Object::InventoryScan
            | Object::MarketplaceApp
            | Object::OnDemandScan => None,
        }
    }
}

/// An entity. Its name and id belong to no other object.
#[derive(Debug, Clone, Copy)]
pub struct Entity<'a> {
    pub kind: EntityKind,
    pub name: Value<'a>,
    pub id: Value<'a>,
    pub policy_id: Value<'a>,
    pub policy_name: Value<'a>,
    /// The account, the site and the group of the entity. Names in `data` come first.
    pub owner: Owner<'a>,
    /// The site or the account.
    pub place: Value<'a>,
    place_id: Value<'a>,
    /// Whether the entity belongs to a group, the narrowest owner, or is the group itself.
    pub is_of_group: bool,
}

impl<'a> Entity<'a> {
    /// Returns the entity; `None` if the record names neither the entity nor its owner.
    pub fn of(parts: &ActivityParts<'_, 'a>, class: &ActivityClass, users: &Users<'a>) -> Option<Self> {
        let data = parts.data;
        let owner = owner(parts);
        let (place, place_id) = place(parts, class, &owner);
        let is_of_group = match SCOPE_LEVELS.of(data.scope_level) {
            Some(level) => level == ScopeLevel::Group,
            None => !is_set(data.scope_name),
        };
        let group = first_scalar([first_scalar(owner.group_names), owner.group_ids[0]]);
        let entity = Self {
            kind: EntityKind::Device,
            name: data.computer_name,
            id: parts.entry.agent_id,
            policy_id: data.policy.get("id"),
            policy_name: data.policy_name,
            owner,
            place,
            place_id,
            is_of_group: is_of_group && is_set(group),
        };
        let kind = entity.kind_of(parts, class);
        let named =
            Self { kind, name: entity.name_of(kind, parts, users), id: entity.id_of(kind, parts, users), ..entity };
        if named.is_named() || kind == EntityKind::Policy && is_set(entity.policy_id) {
            return Some(named);
        }
        // An object without a name and an id belongs to the device that the record names, so the device is the entity.
        if entity.is_named() {
            return Some(entity);
        }
        let account = first_scalar([parts.entry.account_id, first_scalar(owner.account_names)]);
        let places = [place, first_scalar(owner.group_names), account];
        places.into_iter().any(is_set).then_some(named)
    }

    pub fn is_named(&self) -> bool {
        is_set(self.name) || is_set(self.id)
    }

    /// Returns whether the entity is a role with a name or an id.
    pub fn is_role(&self) -> bool {
        self.kind == EntityKind::Role && self.is_named()
    }

    pub fn has_policy(&self) -> bool {
        is_set(self.policy_name) || is_set(self.policy_id)
    }

    fn kind_of(&self, parts: &ActivityParts<'_, '_>, class: &ActivityClass) -> EntityKind {
        let is_device = parts.is_about_endpoint();
        match class.object.and_then(EntityKind::of) {
            Some(EntityKind::User) => EntityKind::User,
            _ if is_device && DEVICE.into_iter().any(|category| class.is(category)) => EntityKind::Device,
            Some(EntityKind::Group | EntityKind::Organization) | None if self.has_policy() => EntityKind::Policy,
            Some(kind) => kind,
            None if is_device => EntityKind::Device,
            None if self.is_of_group => EntityKind::Group,
            None => EntityKind::Organization,
        }
    }

    /// Returns the id of the policy, unless it is the id of the object that has the policy.
    fn own_policy_id(&self, parts: &ActivityParts<'_, '_>) -> Value<'a> {
        let owner = &self.owner;
        let others = [owner.account_ids[0], owner.site_ids[0], owner.group_ids[0], self.id, parts.activity.user_id];
        let is_of_another = others.into_iter().any(|id| id.escaped() == self.policy_id.escaped());
        if is_of_another { Value::default() } else { self.policy_id }
    }

    /// Returns the name of the object, from a key that names only objects of this kind.
    fn name_of(&self, kind: EntityKind, parts: &ActivityParts<'_, 'a>, users: &Users<'a>) -> Value<'a> {
        let data = parts.data;
        match kind {
            EntityKind::Device => data.computer_name,
            EntityKind::Group => first_scalar(self.owner.group_names),
            EntityKind::Organization => self.place,
            EntityKind::Policy => self.policy_name,
            EntityKind::User => users.changed().name,
            EntityKind::Rule => data.rule_name,
            EntityKind::Role => data.role_name,
            EntityKind::Tag => first_scalar(["tagName", "newTagName", "oldTagName"].map(|key| parts.other(key))),
            EntityKind::Location => parts.other("locationName"),
            EntityKind::Script => parts.other("scriptName"),
            EntityKind::Exclusion => first_scalar([data.value, data.file_content_hash, parts.activity.hash]),
            EntityKind::CloudAccount
            | EntityKind::Credential
            | EntityKind::Package
            | EntityKind::Password
            | EntityKind::Token => data.value,
        }
    }

    fn id_of(&self, kind: EntityKind, parts: &ActivityParts<'_, 'a>, users: &Users<'a>) -> Value<'a> {
        match kind {
            EntityKind::Device => parts.entry.agent_id,
            EntityKind::Group => self.owner.group_ids[0],
            EntityKind::Organization => self.place_id,
            EntityKind::Policy => self.own_policy_id(parts),
            EntityKind::User => users.target.id,
            EntityKind::Rule => parts.data.rule_id,
            EntityKind::Role => parts.other("roleId"),
            EntityKind::Tag => parts.other("tagId"),
            EntityKind::Location => parts.other("locationId"),
            EntityKind::Script => parts.other("scriptId"),
            _ => Value::default(),
        }
    }
}

/// Returns the name and the id of the site or the account. The scope of an activity about a site may be the site's
/// account, and then it does not name the site.
fn place<'a>(parts: &ActivityParts<'_, 'a>, class: &ActivityClass, owner: &Owner<'a>) -> (Value<'a>, Value<'a>) {
    let data = parts.data;
    let none = Value::default();
    let is_site = class.object == Some(Object::Site);
    let is_of_site = Word::is(data.scope_level, "site");
    let [site, account] = [first_scalar(owner.site_names), first_scalar(owner.account_names)];
    let [site_id, account_id] = [owner.site_ids[0], owner.account_ids[0]];
    if is_site {
        return (first_scalar([site, if is_of_site { data.scope_name } else { none }]), site_id);
    }
    if is_set(data.scope_name) {
        let is_of_account = Word::is(data.scope_level, "account");
        let id = if is_of_site {
            site_id
        } else if is_of_account {
            account_id
        } else {
            none
        };
        return (data.scope_name, id);
    }
    if is_set(site) { (site, site_id) } else { (account, account_id) }
}

fn owner<'a>(parts: &ActivityParts<'_, 'a>) -> Owner<'a> {
    let ActivityParts { activity, data, .. } = parts;
    let none = Value::default();
    Owner {
        account_names: [data.account_name, activity.account_name, none],
        site_names: [data.site_name, activity.site_name],
        group_names: [data.group_name, activity.group_name, none],
        ..parts.owner()
    }
}
