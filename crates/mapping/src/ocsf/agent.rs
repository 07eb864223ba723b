//! Maps `/agents` to Device Inventory Info: the state of an endpoint after a change.

use s1_forwarder_record::Value;
use s1_forwarder_record::agent::Agent;

use super::class::{BASE_EVENT, DEVICE_INVENTORY_INFO, OTHER};
use super::device::{Device, Place, are_interfaces_mapped, bits};
use super::event::{Event, address};
use super::metadata::{Common, Metadata};
use super::observables::Kind;
use super::unmapped;
use super::user::{UserType, mark_account};
use super::workload::Cloud;
use crate::common::account::Account;
use crate::common::agent::architecture;
use crate::common::os::Os;
use crate::common::placeholder::{boolean, is_set};
use crate::common::severity::Severity;

const COLLECT: u8 = 2;

pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, agent: &Agent<'_>) {
    let is_infected = boolean(agent.infected) == Some(true);
    // The class requires a device, and a device one of these.
    let is_device = is_set(agent.id)
        || is_set(agent.computer_name)
        || [agent.last_ip_to_mgmt, agent.external_ip].into_iter().any(|value| address(value).is_some());
    if is_device {
        event.begin(&DEVICE_INVENTORY_INFO, COLLECT, "");
    } else {
        event.begin(&BASE_EVENT, OTHER, "agent-inventory");
    }
    let mut metadata = Metadata {
        record_id: agent.id,
        logged: agent.updated_at,
        modified: agent.updated_at,
        tenant: agent.account_id,
        ..Metadata::default()
    };
    metadata.time(event, [agent.updated_at, agent.created_at]);
    event.severity(if is_infected { Severity::Medium } else { Severity::Informational });
    event.sentence(
        "message",
        &[
            ("", agent.computer_name.escaped()),
            (": agent ", agent.agent_version.escaped()),
            (", ", agent.network_status.escaped()),
        ],
    );
    event.status(1, "");
    if is_device {
        device(event, agent, is_infected);
        Cloud::of(agent.cloud_providers).write(event);
    }
    if let Some(external) = address(agent.external_ip)
        && agent.external_ip.escaped() == Some(external.as_escaped())
    {
        event.observe_unmapped(Kind::IpAddress, "externalIp", external.as_escaped());
    }
    event.tail(common, &metadata);
    unmapped::write(event, agent, &[], |_| {});
}

fn device(event: &mut Event<'_>, agent: &Agent<'_>, is_infected: bool) {
    let is_gone = [agent.is_decommissioned, agent.is_uninstalled].into_iter().any(|gone| boolean(gone) == Some(true));
    let architecture = architecture(agent);
    let arch = agent.os_arch;
    let device = Device {
        uid: agent.id,
        uid_alt: [agent.uuid, Value::default()],
        names: [agent.computer_name, Value::default()],
        domains: [agent.domain, Value::default()],
        kind: agent.machine_type,
        os: Os {
            kind: [agent.os_type, Value::default()],
            name: agent.os_name,
            version: agent.os_revision,
            ..Os::default()
        },
        os_arch: arch,
        interfaces: agent.network_interfaces,
        addresses: [agent.last_ip_to_mgmt, Value::default(), Value::default(), Value::default()],
        external: agent.external_ip,
        agent_versions: [agent.agent_version, Value::default()],
        is_managed: !is_gone,
        place: Place {
            account_id: [agent.account_id, Value::default()],
            account_name: [agent.account_name, Value::default()],
            site_id: [agent.site_id, Value::default()],
            site_name: [agent.site_name, Value::default()],
            group_id: [agent.group_id, Value::default()],
            group_name: [agent.group_name, Value::default()],
        },
        cloud: Cloud::of(agent.cloud_providers),
        ..Device::default()
    };
    device.write(event, |event| {
        for (name, value) in [
            ("created_time", agent.created_at),
            ("first_seen_time", agent.registered_at),
            ("last_seen_time", agent.last_active_date),
            ("modified_time", agent.updated_at),
            ("boot_time", agent.os_start_time),
        ] {
            event.time(name, value);
        }
        event.text("model", agent.model_name);
        let (id, caption) = if is_infected { (3, "High") } else { (0, "Info") };
        event.choice("risk_level", id, caption);
        let open = event.open("hw_info");
        event.text("serial_number", agent.serial_number);
        event.text("cpu_type", agent.cpu_id);
        event.integer("cpu_count", agent.cpu_count);
        event.integer("cpu_cores", agent.core_count);
        event.integer("ram_size", agent.total_memory);
        if let Some(bits) = bits(arch) {
            event.json.number("cpu_bits", bits);
        }
        match architecture {
            Some("arm64") => event.choice("cpu_architecture", 2, "ARM"),
            Some(_) => event.choice("cpu_architecture", 1, "x86"),
            None => {}
        }
        event.close(open);
        let names = [agent.last_logged_in_user_name, agent.os_username];
        if let Some(name) = names.into_iter().find(|name| Account::of(*name).is_some())
            && let Some(account) = Account::of(name)
        {
            let open = event.open("owner");
            event.account(account, UserType::User);
            event.email("email_addr", agent.active_directory.mail);
            event.text("uid_alt", agent.active_directory.user_principal_name);
            event.close(open);
            mark_account(event, name);
        }
    });
    if bits(agent.os_arch).is_some_and(|bits| agent.os_arch.text().is_some_and(|text| text.starts_with(bits))) {
        event.used.mark(agent.os_arch);
    }
    if are_interfaces_mapped(agent.network_interfaces) {
        event.used.mark(agent.network_interfaces);
    }
}
