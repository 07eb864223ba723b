//! Maps `/agents` to ECS: the state of an endpoint after a change.

use s1_forwarder_record::Value;
use s1_forwarder_record::agent::Agent;

use super::common_fields::CommonFields;
use super::event::{Event, is_set};
use super::vendor::{JoinKeys, VendorObject};
use super::{cloud, endpoint, organization, user};
use crate::common::account::Account;
use crate::parts::Interactive;
use crate::streams::agent::{AgentParts, Hardware};

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, agent: &Agent<'_>) {
    let parts = AgentParts::of(agent);
    event.head(common, [parts.updated, parts.created], parts.endpoint.agent_versions);
    event.sentence("message", &parts.message());
    event_object(event, common, &parts);
    user_object(event, &parts.user);
    let open = event.open("host");
    endpoint::write_fields(event, &parts.endpoint);
    event.close(open);
    organization::write(event, &parts.endpoint.owner);
    cloud::write(event, &parts.endpoint.cloud, false);
    device(event, &parts.hardware);
    event.tail();

    // The path of the UUID joins streams, so only a valid UUID is written there.
    let uuid = parts.endpoint.agent_uuids[0];
    let original = if is_set(uuid) { Value::default() } else { uuid };
    event.mark(original);
    let mut vendor = VendorObject::open(event, common, &JoinKeys::default(), &parts.endpoint.owner, "agent");
    vendor.severity(Some(parts.severity()));
    vendor.agent(parts.endpoint.agent_id);
    vendor.site(&parts.endpoint.owner);
    vendor.value("original_uuid", original);
    vendor.close(agent);
}

/// Writes `event`. `event.id` is the agent's id and the time of the change: with the id alone, all states would be one
/// event.
fn event_object(event: &mut Event<'_>, common: &CommonFields<'_>, parts: &AgentParts<'_>) {
    let open = event.open("event");
    event.json.word("kind", "state");
    event.words("category", ["host"]);
    event.words("type", ["info"]);
    event.json.word("action", "agent-inventory");
    event.severity(Some(parts.severity()));
    let id = parts.endpoint.agent_id;
    if is_set(id) {
        event.sentence("id", &[("", id.escaped()), (":", parts.updated.escaped())]);
    }
    event.date("created", parts.created);
    event.provenance(common);
    event.close(open);
}

fn user_object(event: &mut Event<'_>, user: &Interactive<'_>) {
    let open = event.open("user");
    let account = user::name_and_domain(event, user.name());
    user.names.into_iter().for_each(|name| user::related(event, name));
    if account.and_then(Account::email).is_some() {
        [user.email, user.principal_name].into_iter().for_each(|name| user::related(event, name));
    } else if user::email(event, user.address()) {
        user::related(event, user.principal_name);
    } else {
        user::email_of_principal(event, user.principal_name);
    }
    event.close(open);
}

fn device(event: &mut Event<'_>, hardware: &Hardware<'_>) {
    let device = event.open("device");
    event.text("serial_number", hardware.serial_number);
    let model = event.open("model");
    event.text("name", hardware.model);
    event.close(model);
    event.close(device);
}
