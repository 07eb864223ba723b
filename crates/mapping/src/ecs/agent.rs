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

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, agent: &Agent<'_>) {
    let severity = if boolean(agent.infected) == Some(true) { Severity::Medium } else { Severity::Informational };
    event.head(common, [agent.updated_at, agent.created_at], [agent.agent_version]);
    event.sentence(
        "message",
        &[
            ("", agent.computer_name.escaped()),
            (": agent ", agent.agent_version.escaped()),
            (", ", agent.network_status.escaped()),
        ],
    );
    event_object(event, common, agent, severity);
    user_object(event, agent);
    host(event, agent);
    organization::write(event, [agent.account_id], [agent.account_name]);
    organization::group(event, [agent.group_id], [agent.group_name]);
    cloud::write(event, agent.cloud_providers, false);
    let device = event.open("device");
    event.keyword("serial_number", agent.serial_number);
    let model = event.open("model");
    event.keyword("name", agent.model_name);
    event.close(model);
    event.close(device);
    event.tail();

    let keys =
        JoinKeys { site: [agent.site_id, agent.site_name], account_name: agent.account_name, ..JoinKeys::default() };
    let vendor = vendor::open(event, common, &keys);
    let object = event.json.open("agent");
    event.json.word("severity", severity.word());
    organization::agent_and_site(event, agent.id, [agent.site_id], [agent.site_name]);
    write_remaining(&mut event.json, event.used, agent, KeyCase::Snake, &["severity", "agent", "site"]);
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}

/// `event.id` is the agent's id and the time of the change: with the id alone, all states would be one event.
fn event_object(event: &mut Event<'_>, common: &CommonFields<'_>, agent: &Agent<'_>, severity: Severity) {
    let open = event.open("event");
    event.json.word("kind", "state");
    event.words("category", ["host"]);
    event.words("type", ["info"]);
    event.json.word("action", "agent-inventory");
    event.severity(severity);
    if is_set(agent.id) {
        event.sentence("id", &[("", agent.id.escaped()), (":", agent.updated_at.escaped())]);
    }
    event.date("created", agent.created_at);
    event.provenance(common);
    event.close(open);
}

fn user_object(event: &mut Event<'_>, agent: &Agent<'_>) {
    let open = event.open("user");
    if user::name_and_domain(event, agent.last_logged_in_user_name) {
        user::related(event, agent.os_username);
    } else {
        user::name_and_domain(event, agent.os_username);
    }
    let directory = &agent.active_directory;
    if user::email(event, directory.mail) {
        user::related(event, directory.user_principal_name);
    } else {
        user::email(event, directory.user_principal_name);
    }
    event.close(open);
}

fn host(event: &mut Event<'_>, agent: &Agent<'_>) {
    let open = event.open("host");
    endpoint::names(event, [agent.computer_name]);
    event.keyword("id", agent.id);
    endpoint::domain(event, [agent.domain]);
    event.keyword("type", agent.machine_type);
    if let Some(architecture) = architecture(agent) {
        event.json.word("architecture", architecture);
    }
    let os = Os {
        kind: [agent.os_type, Value::default()],
        name: agent.os_name,
        version: agent.os_revision,
        family: agent.os_type,
    };
    endpoint::os(event, &os);
    endpoint::addresses(event, agent.network_interfaces, &[agent.last_ip_to_mgmt, agent.external_ip]);
    event.close(open);
}
