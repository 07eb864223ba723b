//! `entity`: the subject of an activity of Entity Management.

use s1_forwarder_record::Value;

use super::event::Event;
use super::observables::ObservableType;
use crate::common::hash::hash;
use crate::common::missing::{first_scalar, is_set};
use crate::common::words::Choice;
use crate::parts::Owner;
use crate::streams::activity::{Entity, EntityKind};

/// Writes the entity. Its values stay in the record, which has more of them.
pub(super) fn write(event: &mut Event<'_>, entity: &Entity<'_>) {
    let owner = &entity.owner;
    let has_account = is_set(first_scalar([owner.account_ids[0], first_scalar(owner.account_names)]));
    let open = event.open("entity");
    let (id, caption) = choice(entity.kind);
    event.choice("type", id, caption);
    let name = entity.name.escaped();
    match name.and_then(hash) {
        Some((_, text)) if entity.kind == EntityKind::Exclusion => {
            event.lower_case("name", ObservableType::Hash, text);
        }
        _ => _ = event.optional("name", name),
    }
    event.optional("uid", entity.id.escaped());
    match entity.kind {
        EntityKind::Group if is_set(first_scalar(owner.group_names)) || is_set(owner.group_ids[0]) => {
            write_group(event, owner);
        }
        EntityKind::Organization if entity.is_named() || has_account => write_org(event, owner, Value::default()),
        EntityKind::Policy if entity.has_policy() => {
            let policy = event.open("policy");
            event.optional("uid", entity.policy_id.escaped());
            event.optional("name", entity.policy_name.escaped());
            event.close(policy);
        }
        // An entity without a name and an id is described by its account, site or group.
        _ if entity.is_named() => {}
        _ if entity.is_of_group => write_group(event, owner),
        _ if is_set(entity.place) || has_account => write_org(event, owner, entity.place),
        _ => write_group(event, owner),
    }
    event.close(open);
}

/// Writes the role of an activity of Role Management. Its values stay in the record too.
pub(super) fn write_role(event: &mut Event<'_>, role: &Entity<'_>) {
    let open = event.open("iam_role");
    if let Some(name) = event.optional("name", role.name.escaped()) {
        event.observe(ObservableType::RoleName, "name", name);
    }
    if let Some(id) = event.optional("uid", role.id.escaped()) {
        event.observe(ObservableType::RoleId, "uid", id);
    }
    event.close(open);
}

/// Returns `type_id` and `type`.
pub(super) fn choice(kind: EntityKind) -> Choice {
    match kind {
        EntityKind::Device => (1, "Device"),
        EntityKind::User => (2, "User"),
        EntityKind::Group => (3, "Group"),
        EntityKind::Organization => (4, "Organization"),
        EntityKind::Policy => (5, "Policy"),
        EntityKind::CloudAccount => (99, "Cloud account"),
        EntityKind::Credential => (99, "Credential"),
        EntityKind::Exclusion => (99, "Exclusion or block list entry"),
        EntityKind::Location => (99, "Location"),
        EntityKind::Package => (99, "Package"),
        EntityKind::Password => (99, "Password"),
        EntityKind::Role => (99, "Role"),
        EntityKind::Rule => (99, "Rule"),
        EntityKind::Script => (99, "Script"),
        EntityKind::Tag => (99, "Tag"),
        EntityKind::Token => (99, "Token"),
    }
}

fn write_group(event: &mut Event<'_>, owner: &Owner<'_>) {
    let group = event.open("group");
    event.optional("uid", owner.group_ids[0].escaped());
    event.optional("name", first_scalar(owner.group_names).escaped());
    event.close(group);
}

/// Writes the account. Without an account, `place` is the name of the organization.
fn write_org(event: &mut Event<'_>, owner: &Owner<'_>, place: Value<'_>) {
    let account = first_scalar(owner.account_names);
    let has_account = is_set(owner.account_ids[0]) || is_set(account);
    if has_account || is_set(place) {
        let org = event.open("org");
        event.optional("uid", owner.account_ids[0].escaped());
        event.optional("name", if has_account { account } else { place }.escaped());
        event.optional("ou_uid", owner.site_ids[0].escaped());
        event.optional("ou_name", first_scalar(owner.site_names).escaped());
        event.close(org);
    }
}
