//! The owner of a record: `organization.*` and `group.*`.

use s1_forwarder_record::{Level, Scope};

use super::event::Event;
use crate::parts::Owner;

/// Writes the account as `organization`, and the endpoint group.
pub(super) fn write(event: &mut Event<'_>, owner: &Owner<'_>) {
    for (object, ids, names) in
        [("organization", owner.account_ids, owner.account_names), ("group", owner.group_ids, owner.group_names)]
    {
        let open = event.open(object);
        event.first("id", ids);
        event.first("name", names);
        event.close(open);
    }
}

/// Writes the requested scope: an account as `organization`, a group as `group`.
pub(super) fn write_scope(event: &mut Event<'_>, scope: Option<&Scope>) {
    match scope {
        Some(scope) if scope.level == Level::Account => write_object(event, "organization", scope),
        Some(scope) if scope.level == Level::Group => write_object(event, "group", scope),
        _ => {}
    }
}

fn write_object(event: &mut Event<'_>, name: &'static str, scope: &Scope) {
    let open = event.open(name);
    write_fields(event, scope);
    event.close(open);
}

/// Writes the fields of the open `site` if the record was requested by site.
pub(super) fn write_scope_site(event: &mut Event<'_>, scope: Option<&Scope>) {
    if let Some(scope) = scope.filter(|scope| scope.level == Level::Site) {
        write_fields(event, scope);
    }
}

fn write_fields(event: &mut Event<'_>, scope: &Scope) {
    event.json.text("id", &scope.id);
    if let Some(name) = &scope.name {
        event.json.text("name", name);
    }
}
