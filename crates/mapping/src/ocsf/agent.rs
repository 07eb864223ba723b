//! Maps `/agents` to Device Inventory Info: the state of an endpoint after a change.

use s1_forwarder_record::Escaped;
use s1_forwarder_record::agent::Agent;

use super::class::{Class, OTHER};
use super::device::{self, bits};
use super::event::{Event, integer};
use super::metadata::{CommonFields, Metadata};
use super::{unmapped, workload};
use crate::common::os::Architecture;
use crate::common::threat::unless_zero;
use crate::common::words::Choice;
use crate::parts::Endpoint;
use crate::streams::agent::{AgentParts, Hardware};

const COLLECT: u8 = 2;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, agent: &Agent<'_>) {
    let parts = AgentParts::of(agent);
    let endpoint = &parts.endpoint;
    // The class requires a device.
    let is_device = device::is_device(endpoint);
    if is_device {
        event.begin(Class::DeviceInventoryInfo, COLLECT, "");
    } else {
        event.begin(Class::BaseEvent, OTHER, "agent-inventory");
    }
    let mut metadata = Metadata {
        record_id: endpoint.agent_id,
        logged: parts.updated,
        modified: parts.updated,
        tenant: endpoint.owner.account_ids[0],
        ..Metadata::default()
    };
    metadata.time(event, [parts.updated, parts.created]);
    event.severity(Some(parts.severity()));
    event.sentence("message", &parts.message());
    event.status(1);
    if is_device {
        device::write(event, endpoint, |event| device_fields(event, &parts));
        mark_mapped(event, endpoint);
        workload::cloud(event, &endpoint.cloud);
    }
    device::observe_external(event, endpoint);
    event.tail(common, &metadata);
    unmapped::write(event, agent, &[], |_| {});
}

/// Writes the values of a device that only an inventory has.
fn device_fields(event: &mut Event<'_>, parts: &AgentParts<'_>) {
    for (name, value) in [
        ("created_time", parts.created),
        ("first_seen_time", parts.registered),
        ("last_seen_time", parts.last_active),
        ("modified_time", parts.updated),
        ("boot_time", parts.booted),
    ] {
        event.time(name, value);
    }
    event.text("model", parts.hardware.model);
    match parts.is_infected {
        Some(true) => event.choice("risk_level", 3, "High"),
        Some(false) => event.choice("risk_level", 0, "Info"),
        None => {}
    }
    hardware(event, &parts.hardware, &parts.endpoint);
    device::owner(event, &parts.endpoint, &parts.user);
}

fn hardware(event: &mut Event<'_>, hardware: &Hardware<'_>, endpoint: &Endpoint<'_>) {
    let open = event.open("hw_info");
    event.text("serial_number", hardware.serial_number);
    event.integer("cpu_count", unless_zero(hardware.cpu_count));
    event.integer("cores", unless_zero(hardware.core_count));
    event.integer("ram_size", unless_zero(hardware.memory));
    processor(event, hardware, endpoint);
    event.close(open);
}

/// Writes the one processor that the console names. Its cores are known only if there are no other processors.
fn processor(event: &mut Event<'_>, hardware: &Hardware<'_>, endpoint: &Endpoint<'_>) {
    let list = event.open_list("cpu_info_list");
    let element = event.open_element();
    let model = event.text("model", hardware.cpu);
    if let Some(vendor) = model.and_then(vendor_of) {
        event.json.word("vendor_name", vendor);
    }
    if integer(hardware.cpu_count) == Some(1) {
        event.integer("cores", hardware.core_count.unmarked());
    }
    if let Some(bits) = bits(endpoint.os.bits) {
        event.json.number("cpu_bits", bits);
    }
    if let Some((id, caption)) = endpoint.architecture.map(cpu_architecture) {
        event.choice("cpu_architecture", id, caption);
    }
    event.close(element);
    event.close(list);
}

/// Returns the vendor of a processor. A word of the processor's name ends in it: `11th Gen Intel(R)`, `AuthenticAMD`.
fn vendor_of(model: Escaped<'_>) -> Option<&'static str> {
    let ends = |word: &str, vendor: &str| {
        let start = word.len().saturating_sub(vendor.len());
        word.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(vendor))
    };
    let mut words = model.raw().split(|letter: char| !letter.is_ascii_alphanumeric());
    words.find_map(|word| ["Intel", "AMD", "Apple", "VIA"].into_iter().find(|vendor| ends(word, vendor)))
}

pub(super) fn cpu_architecture(architecture: Architecture) -> Choice {
    match architecture {
        Architecture::X86 | Architecture::X86_64 => (1, "x86"),
        Architecture::Arm | Architecture::Arm64 => (2, "ARM"),
    }
}

/// Marks the values that the device has completely.
fn mark_mapped(event: &mut Event<'_>, endpoint: &Endpoint<'_>) {
    let received = endpoint.os.bits;
    if bits(received).is_some_and(|bits| received.text().is_some_and(|text| text.starts_with(bits))) {
        event.mark(received);
    }
    device::mark_interfaces(event, endpoint.interfaces);
}
