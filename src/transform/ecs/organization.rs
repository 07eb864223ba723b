//! The owner of a record: `organization.*`, `group.*`, and `agent.id` and `site.*` in the vendor namespace.

use super::endpoint::first_scalar;
use super::event::Event;
use crate::record::{Level, Scope, Value};

/// Writes the first account id and the first account name.
pub(super) fn write<'a, const N: usize>(event: &mut Event<'_>, ids: [&mut Value<'a>; N], names: [&mut Value<'a>; N]) {
    id_and_name(event, "organization", ids, names);
}

/// Writes the endpoint group.
pub(super) fn group<'a, const N: usize>(event: &mut Event<'_>, ids: [&mut Value<'a>; N], names: [&mut Value<'a>; N]) {
    id_and_name(event, "group", ids, names);
}

fn id_and_name<'a, const N: usize>(
    event: &mut Event<'_>,
    object: &'static str,
    ids: [&mut Value<'a>; N],
    names: [&mut Value<'a>; N],
) {
    let open = event.open(object);
    for (name, values) in [("id", ids), ("name", names)] {
        for value in values {
            if event.keyword(name, value).is_some() {
                break;
            }
        }
    }
    event.close(open);
}

/// Writes agent and site under names that all streams share in the vendor namespace, in addition to their own paths.
pub(super) fn agent_and_site<const N: usize>(
    event: &mut Event<'_>,
    agent_id: Value<'_>,
    site_ids: [Value<'_>; N],
    site_names: [Value<'_>; N],
) {
    let open = event.open("agent");
    event.optional("id", agent_id.escaped());
    event.close(open);
    let open = event.open("site");
    event.optional("id", first_scalar(site_ids).escaped());
    event.optional("name", first_scalar(site_names).escaped());
    event.close(open);
}

/// Writes the requested scope: an account as `organization`, a group as `group`.
pub(super) fn write_scope(event: &mut Event<'_>, scope: Option<&Scope>) {
    match scope {
        Some(scope) if scope.level == Level::Account => named(event, "organization", scope),
        Some(scope) if scope.level == Level::Group => named(event, "group", scope),
        _ => {}
    }
}

/// Writes `site` of the open vendor object if the record was requested by site.
pub(super) fn write_scope_site(event: &mut Event<'_>, scope: Option<&Scope>) {
    if let Some(scope) = scope.filter(|scope| scope.level == Level::Site) {
        named(event, "site", scope);
    }
}

fn named(event: &mut Event<'_>, object: &'static str, scope: &Scope) {
    let open = event.open(object);
    event.json.text("id", &scope.id);
    if let Some(name) = &scope.name {
        event.json.text("name", name);
    }
    event.close(open);
}
