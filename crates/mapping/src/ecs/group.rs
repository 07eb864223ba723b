//! Maps `/groups` to ECS. Groups contain endpoints, so the category is `configuration` and not `iam`.

use s1_forwarder_record::group::Group;

use super::common_fields::CommonFields;
use super::event::Event;
use super::vendor::{JoinKeys, VendorObject};
use super::{organization, user};
use crate::common::account::display_name;
use crate::common::severity::Severity;
use crate::streams::group::GroupParts;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, group: &Group<'_>) {
    let parts = GroupParts::of(group);
    let severity = Some(Severity::Informational);
    event.head(common, [parts.updated, parts.created], []);
    let open = event.open("event");
    event.json.word("kind", "state");
    event.words("category", ["configuration"]);
    event.words("type", ["info"]);
    event.json.word("action", "group-inventory");
    event.severity(severity);
    event.optional("id", parts.id().escaped());
    event.date("created", parts.created);
    event.provenance(common);
    event.close(open);
    organization::write(event, &parts.owner);
    let open = event.open("user");
    if let Some(name) = event.optional("full_name", display_name(parts.creator)) {
        event.related.user.insert(name);
    }
    user::name_and_email(event, parts.creator);
    event.text("id", parts.creator_id);
    event.close(open);
    event.tail();

    let mut vendor = VendorObject::open(event, common, &JoinKeys::default(), &parts.owner, "group");
    vendor.severity(severity);
    vendor.site(&parts.owner);
    vendor.close(group);
}
