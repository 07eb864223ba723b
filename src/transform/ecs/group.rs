//! `/groups` → ECS: endpoint groups hold machines, so they are configuration and not identity management.

use super::event::Event;
use super::severity::Severity;
use super::vendor::write_rest;
use super::{Frame, organization, user};
use crate::record::Value;
use crate::record::group::Group;
use crate::transform::json::Names;

pub(super) fn map(event: &mut Event<'_>, frame: &Frame<'_>, group: &mut Group<'_>) {
    let severity = Severity::Informational;
    event.head(frame, [&mut group.updated_at, &mut { group.created_at }], [&mut Value::default()]);
    let open = event.open("event");
    event.json.word("kind", "state");
    event.words("category", ["configuration"]);
    event.words("type", ["info"]);
    event.json.word("action", "group-inventory");
    event.severity(severity);
    event.optional("id", group.id.escaped());
    event.date("created", &mut group.created_at);
    event.provenance(frame);
    event.close(open);
    organization::group(event, [&mut group.id], [&mut group.name]);
    let open = event.open("user");
    user::name_and_domain(event, &mut group.creator);
    event.keyword("id", &mut group.creator_id);
    event.close(open);
    event.tail();

    let vendor = event.json.open("sentinel_one");
    let own = event.json.open("group");
    event.json.word("severity", severity.word());
    organization::agent_and_site(event, Value::default(), [group.site_id], [Value::default()]);
    write_rest(&mut event.json, group, Names::Snake, &["severity", "site"]);
    event.json.close(own);
    event.json.close(vendor);
    event.json.raw(b"}");
}
