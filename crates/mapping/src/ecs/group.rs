//! Maps `/groups` to ECS. Groups contain endpoints, so the category is `configuration` and not `iam`.

use s1_forwarder_record::Value;
use s1_forwarder_record::group::Group;

use super::common_fields::CommonFields;
use super::event::Event;
use super::vendor::{self, JoinKeys};
use super::{organization, user};
use crate::common::account::display_name;
use crate::common::remaining::write_remaining;
use crate::common::severity::Severity;
use crate::copy::KeyCase;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, group: &Group<'_>) {
    let severity = Severity::Informational;
    event.head(common, [group.updated_at, group.created_at], []);
    let open = event.open("event");
    event.json.word("kind", "state");
    event.words("category", ["configuration"]);
    event.words("type", ["info"]);
    event.json.word("action", "group-inventory");
    event.severity(severity);
    event.optional("id", group.id.escaped());
    event.date("created", group.created_at);
    event.provenance(common);
    event.close(open);
    organization::group(event, [group.id], [group.name]);
    let open = event.open("user");
    event.optional("full_name", display_name(group.creator));
    user::name_and_domain(event, group.creator);
    event.keyword("id", group.creator_id);
    event.close(open);
    event.tail();

    let keys = JoinKeys { site: [group.site_id, Value::default()], ..JoinKeys::default() };
    let vendor = vendor::open(event, common, &keys);
    let object = event.json.open("group");
    event.json.word("severity", severity.word());
    organization::agent_and_site(event, Value::default(), [group.site_id], [Value::default()]);
    write_remaining(&mut event.json, event.used, group, KeyCase::Snake, &["severity", "site"]);
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}
