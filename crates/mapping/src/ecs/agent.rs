//! Maps `/agents` to ECS: the state of an endpoint after a change.

use s1_forwarder_record::Value;
use s1_forwarder_record::agent::Agent;

use super::common_fields::CommonFields;
use super::endpoint;
use super::event::{Event, boolean, is_set};
use super::vendor::{self, JoinKeys};
use super::{cloud, organization, user};
use crate::common::agent::architecture;
use crate::common::os::Os;
use crate::common::remaining::write_remaining;
use crate::common::severity::Severity;
use crate::copy::KeyCase;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, agent: &mut Agent<'_>) {
    let severity = if boolean(agent.infected) == Some(true) { Severity::Medium } else { Severity::Informational };
    // `event.id` contains the date, which `head` takes.
    let (updated, mut version) = (agent.updated_at, agent.agent_version);
    event.head(common, [&mut agent.updated_at, &mut { agent.created_at }], [&mut version]);
    event.sentence(
        "message",
        &[
            ("", agent.computer_name.escaped()),
            (": agent ", agent.agent_version.escaped()),
            (", ", agent.network_status.escaped()),
        ],
    );
    agent.agent_version = version;
    event_object(event, common, agent, updated, severity);
    user_object(event, agent);
    host(event, agent);
    organization::write(event, [&mut agent.account_id], [&mut agent.account_name]);
    organization::group(event, [&mut agent.group_id], [&mut agent.group_name]);
    cloud::write(event, agent.cloud_providers, false);
    let device = event.open("device");
    event.keyword("serial_number", &mut agent.serial_number);
    let model = event.open("model");
    event.keyword("name", &mut agent.model_name);
    event.close(model);
    event.close(device);
    event.tail();

    let vendor = vendor::open(event, common, &JoinKeys::default());
    let object = event.json.open("agent");
    event.json.word("severity", severity.word());
    organization::agent_and_site(event, Value::default(), [agent.site_id], [agent.site_name]);
    write_remaining(&mut event.json, agent, KeyCase::Snake, &["severity", "site"]);
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}

/// `event.id` is the agent's id and the time of the change: with the id alone, all states would be one event.
fn event_object(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    agent: &mut Agent<'_>,
    updated: Value<'_>,
    severity: Severity,
) {
    let open = event.open("event");
    event.json.word("kind", "state");
    event.words("category", ["host"]);
    event.words("type", ["info"]);
    event.json.word("action", "agent-inventory");
    event.severity(severity);
    if is_set(agent.id) {
        event.sentence("id", &[("", agent.id.escaped()), (":", updated.escaped())]);
    }
    event.date("created", &mut agent.created_at);
    event.provenance(common);
    event.close(open);
}

fn user_object(event: &mut Event<'_>, agent: &mut Agent<'_>) {
    let open = event.open("user");
    if user::name_and_domain(event, &mut agent.last_logged_in_user_name) {
        user::related(event, agent.os_username);
    } else {
        user::name_and_domain(event, &mut agent.os_username);
    }
    let directory = &mut agent.active_directory;
    if user::email(event, &mut directory.mail) {
        user::related(event, directory.user_principal_name);
    } else {
        user::email(event, &mut directory.user_principal_name);
    }
    event.close(open);
}

fn host(event: &mut Event<'_>, agent: &mut Agent<'_>) {
    let open = event.open("host");
    endpoint::names(event, [&mut agent.computer_name]);
    event.keyword("id", &mut agent.id);
    endpoint::domain(event, [&mut agent.domain]);
    event.keyword("type", &mut agent.machine_type);
    if let Some(architecture) = architecture(agent) {
        event.json.word("architecture", architecture);
    }
    let mut os = Os {
        kind: [agent.os_type, Value::default()],
        family: Value::default(),
        name: &mut agent.os_name,
        version: &mut agent.os_revision,
    };
    endpoint::os(event, &mut os);
    endpoint::addresses(event, agent.network_interfaces, &[agent.last_ip_to_mgmt, agent.external_ip]);
    event.close(open);
}
