//! Agents: `/agents`.

use s1_forwarder_record::Value;
use s1_forwarder_record::agent::Agent;

use super::cloud::of_providers;
use crate::common::missing::{boolean, domain, trimmed};
use crate::common::os::architecture;
use crate::common::severity::Severity;
use crate::parts::{Endpoint, Interactive, Interfaces, Os, Owner, Sentence};

#[derive(Debug, Clone, Copy)]
pub struct AgentParts<'a> {
    pub created: Value<'a>,
    pub updated: Value<'a>,
    pub registered: Value<'a>,
    pub last_active: Value<'a>,
    pub booted: Value<'a>,
    /// Whether the agent is infected; `None` if the record does not say so.
    pub is_infected: Option<bool>,
    pub network_status: Value<'a>,
    pub endpoint: Endpoint<'a>,
    pub user: Interactive<'a>,
    pub hardware: Hardware<'a>,
}

#[derive(Debug, Clone, Copy)]
pub struct Hardware<'a> {
    pub model: Value<'a>,
    pub serial_number: Value<'a>,
    pub cpu: Value<'a>,
    pub cpu_count: Value<'a>,
    pub core_count: Value<'a>,
    pub memory: Value<'a>,
}

impl<'a> AgentParts<'a> {
    pub fn of(agent: &Agent<'a>) -> Self {
        Self {
            created: agent.created_at,
            updated: agent.updated_at,
            registered: agent.registered_at,
            last_active: agent.last_active_date,
            booted: agent.os_start_time,
            is_infected: boolean(agent.infected),
            network_status: agent.network_status,
            endpoint: endpoint(agent),
            user: Interactive {
                names: [agent.last_logged_in_user_name, agent.os_username],
                email: agent.active_directory.mail,
                principal_name: agent.active_directory.user_principal_name,
            },
            hardware: Hardware {
                model: agent.model_name,
                serial_number: agent.serial_number,
                cpu: agent.cpu_id,
                cpu_count: agent.cpu_count,
                core_count: agent.core_count,
                memory: agent.total_memory,
            },
        }
    }

    pub fn severity(&self) -> Severity {
        if self.is_infected == Some(true) { Severity::Medium } else { Severity::Informational }
    }

    pub fn message(&self) -> Sentence<'a, 3> {
        [
            ("", trimmed(self.endpoint.name())),
            (": agent ", trimmed(self.endpoint.agent_versions[0])),
            (", ", trimmed(self.network_status)),
        ]
    }
}

fn endpoint<'a>(agent: &Agent<'a>) -> Endpoint<'a> {
    let none = Value::default();
    let is_gone = [agent.is_decommissioned, agent.is_uninstalled].into_iter().any(|gone| boolean(gone) == Some(true));
    Endpoint {
        agent_id: agent.id,
        agent_uuids: [agent.uuid, none],
        agent_versions: [agent.agent_version, none],
        is_managed: !is_gone,
        names: [agent.computer_name, none],
        domains: [domain(agent.domain), none],
        machine_type: agent.machine_type,
        os: Os {
            names: [agent.os_name, none],
            versions: [agent.os_revision, none],
            types: [agent.os_type, none, none],
            family: agent.os_type,
            bits: agent.os_arch,
            ..Os::default()
        },
        architecture: architecture(agent.os_arch, [agent.cpu_id, agent.os_name, agent.os_revision]),
        interfaces: Interfaces { list: agent.network_interfaces },
        addresses: [agent.last_ip_to_mgmt, none, none, none],
        external: agent.external_ip,
        external_path: Some("externalIp"),
        cloud: of_providers(agent.cloud_providers),
        owner: Owner {
            account_ids: [agent.account_id, none],
            account_names: [agent.account_name, none, none],
            site_ids: [agent.site_id, none],
            site_names: [agent.site_name, none],
            group_ids: [agent.group_id, none],
            group_names: [agent.group_name, none, none],
        },
        ..Endpoint::default()
    }
}
