//! Whose record it is: `organization.*`, `group.*`, and the vendor namespace's `agent.id` and `site.*`.

use super::endpoint::first;
use super::event::Event;
use crate::record::{Level, Scope, Value};

/// The first account id and the first account name.
pub(super) fn write<'a, const N: usize>(event: &mut Event<'_>, ids: [&mut Value<'a>; N], names: [&mut Value<'a>; N]) {
    id_and_name(event, "organization", ids, names);
}

/// The endpoint group.
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

/// Agent and site have one place in the vendor namespace of all streams, beside the paths they have in the record.
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
    event.optional("id", first(site_ids).escaped());
    event.optional("name", first(site_names).escaped());
    event.close(open);
}

/// What the scope that a record was asked for by tells: an account is its organization, a group its group.
pub(super) fn of_scope(event: &mut Event<'_>, scope: Option<&Scope>) {
    match scope {
        Some(scope) if scope.level == Level::Account => named(event, "organization", scope),
        Some(scope) if scope.level == Level::Group => named(event, "group", scope),
        _ => {}
    }
}

/// `site` of the vendor object that is open, where a record was asked for by its site.
pub(super) fn site_of_scope(event: &mut Event<'_>, scope: Option<&Scope>) {
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
