//! The owner of a record: `organization.*`, `group.*`, and `agent.id` and `site.*` in the vendor namespace.

use s1_forwarder_record::activity::Activity;
use s1_forwarder_record::{Level, Scope, Value};

use super::event::Event;
use crate::common::classification::Word;
use crate::common::placeholder::first_scalar;

/// Writes the first account id and the first account name.
pub(super) fn write<'a, const I: usize, const N: usize>(
    event: &mut Event<'_>,
    ids: [Value<'a>; I],
    names: [Value<'a>; N],
) {
    id_and_name(event, "organization", ids, names);
}

/// Writes the endpoint group.
pub(super) fn group<'a, const I: usize, const N: usize>(
    event: &mut Event<'_>,
    ids: [Value<'a>; I],
    names: [Value<'a>; N],
) {
    id_and_name(event, "group", ids, names);
}

fn id_and_name<'a, const I: usize, const N: usize>(
    event: &mut Event<'_>,
    object: &'static str,
    ids: [Value<'a>; I],
    names: [Value<'a>; N],
) {
    let open = event.open(object);
    first(event, "id", ids);
    first(event, "name", names);
    event.close(open);
}

fn first<const N: usize>(event: &mut Event<'_>, name: &str, values: [Value<'_>; N]) {
    for value in values {
        if event.keyword(name, value).is_some() {
            break;
        }
    }
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

/// The names in `data` of an activity, which many activities have only there.
pub(super) struct NamesInData<'a> {
    /// `scopeLevel`: an activity of an account is about no site, one of a site about no group.
    pub level: Value<'a>,
    pub account: [Value<'a>; 2],
    pub site: Value<'a>,
    pub group: [Value<'a>; 2],
}

/// Writes the account and the endpoint group of an activity, and returns the name of its site.
pub(super) fn write_of_activity<'a>(
    event: &mut Event<'_>,
    activity: &Activity<'a>,
    names: NamesInData<'a>,
) -> Value<'a> {
    let level = Word::of_value(names.level);
    let has_site = !matches!(level.as_str(), "global" | "tenant" | "account");
    let has_group = has_site && level.as_str() != "site";
    let [account, other_account] = names.account;
    write(event, [activity.account_id], [activity.account_name, account, other_account]);
    let id = [activity.group_id];
    let name = activity.group_name;
    if has_group {
        let [first, second] = names.group;
        group(event, id, [name, first, second]);
    } else {
        group(event, id, [name]);
    }
    first_scalar([activity.site_name, if has_site { names.site } else { Value::default() }])
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
