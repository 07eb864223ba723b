//! Writes the scope of the request, in events of records that do not name their owner.

use s1_forwarder_record::{Level, Scope};

use super::event::Event;

/// Writes an account as the `org` of the open device.
pub(super) fn org(event: &mut Event<'_>, scope: Option<&Scope>) {
    let Some(scope) = scope.filter(|scope| scope.level == Level::Account) else { return };
    let org = event.open("org");
    event.json.text("uid", &scope.id);
    if let Some(name) = &scope.name {
        event.json.text("name", name);
    }
    event.close(org);
}

/// Writes a site or a group as `scope` of the open `unmapped`. An organization needs its own id or name, so `org` has
/// no place for them.
pub(super) fn below_account(event: &mut Event<'_>, scope: Option<&Scope>) {
    let Some(scope) = scope.filter(|scope| scope.level != Level::Account) else { return };
    let open = event.json.open("scope");
    event.json.word("level", if scope.level == Level::Site { "site" } else { "group" });
    event.json.text("id", &scope.id);
    if let Some(name) = &scope.name {
        event.json.text("name", name);
    }
    event.json.close(open);
}
