//! Types of machines.

use s1_forwarder_record::Value;

use super::word::Word;
use super::words::{Choice, Words};

/// The end of a word decides: a virtual machine scale set is not a virtual machine. A Kubernetes node is a server,
/// whether it is virtual or not. Of two rows with the same end, the longer row comes first: a virtual desktop is not a
/// desktop.
pub const MACHINES: Words<Choice> = Words {
    field: "device.type",
    rows: &[
        ("endpoint", (0, "Unknown")),
        ("*computer", (0, "Unknown")),
        ("*computer_account", (0, "Unknown")),
        ("point_of_sale*", (0, "Unknown")),
        ("pos_terminal", (0, "Unknown")),
        ("entra_id_device", (0, "Unknown")),
        ("entra_device", (0, "Unknown")),
        ("azure_ad_device", (0, "Unknown")),
        ("wireless_access_point", (0, "Unknown")),
        ("wifi_access_point", (0, "Unknown")),
        ("wi_fi_access_point", (0, "Unknown")),
        ("server", (1, "Server")),
        ("*_server", (1, "Server")),
        ("*hypervisor", (1, "Server")),
        ("*esxi_host", (1, "Server")),
        ("domain_controller", (1, "Server")),
        ("kubernetes_node", (1, "Server")),
        ("*virtual_desktop", (6, "Virtual")),
        ("*cloud_desktop", (6, "Virtual")),
        ("*cloud_workstation", (6, "Virtual")),
        ("desktop", (2, "Desktop")),
        ("*_desktop", (2, "Desktop")),
        ("workstation", (2, "Desktop")),
        ("*_workstation", (2, "Desktop")),
        ("thin_client", (2, "Desktop")),
        ("laptop", (3, "Laptop")),
        ("*_laptop", (3, "Laptop")),
        ("tablet", (4, "Tablet")),
        ("*_tablet", (4, "Tablet")),
        ("ipad", (4, "Tablet")),
        ("*ip_phone", (7, "IOT")),
        ("*conference_phone", (7, "IOT")),
        ("*desk_phone", (7, "IOT")),
        ("mobile", (5, "Mobile")),
        ("mobile_device", (5, "Mobile")),
        ("*_mobile_device", (5, "Mobile")),
        ("*_phone", (5, "Mobile")),
        ("smartphone", (5, "Mobile")),
        ("iphone", (5, "Mobile")),
        ("android", (5, "Mobile")),
        ("ios", (5, "Mobile")),
        ("kubernetes_pod", (6, "Virtual")),
        ("ecs_task", (6, "Virtual")),
        ("virtual", (6, "Virtual")),
        ("*virtual_machine", (6, "Virtual")),
        ("*_vm", (6, "Virtual")),
        ("*compute_instance", (6, "Virtual")),
        ("*ec2_instance", (6, "Virtual")),
        ("*lightsail_instance", (6, "Virtual")),
        ("*vm_instance", (6, "Virtual")),
        ("*fargate_task", (6, "Virtual")),
        ("vdi", (6, "Virtual")),
        ("*cloud_pc", (6, "Virtual")),
        ("*session_host", (6, "Virtual")),
        ("aws_workspace", (6, "Virtual")),
        ("amazon_workspace", (6, "Virtual")),
        ("iot", (7, "IOT")),
        ("*printer", (7, "IOT")),
        ("*camera", (7, "IOT")),
        ("plc", (7, "IOT")),
        ("nas", (7, "IOT")),
        ("network_attached_storage", (7, "IOT")),
        ("browser", (8, "Browser")),
        ("firewall", (9, "Firewall")),
        ("switch", (10, "Switch")),
        ("network_switch", (10, "Switch")),
        ("hub", (11, "Hub")),
        ("router", (12, "Router")),
        ("network_router", (12, "Router")),
        ("ids", (13, "IDS")),
        ("ips", (14, "IPS")),
        ("load_balancer", (15, "Load Balancer")),
    ],
};

/// Ends of the names of databases: `MySQL`, `MariaDB`, `Azure Cosmos`.
const DATABASES: [&str; 5] = ["sql", "postgres", "db", "cosmos", "redis"];

/// Words for a group of machines.
const GROUPS: [&str; 5] = ["set", "group", "cluster", "pool", "fleet"];

fn machine(value: Value<'_>) -> Option<Choice> {
    let word = Word::of_value(value);
    MACHINES.find(word.as_str()).filter(|_| !is_database(word))
}

/// Returns whether a word is a database that a cloud calls a server: `Azure MySQL Flexible Server`. A `DB Server` is a
/// machine.
fn is_database(word: Word) -> bool {
    let mut parts = word.as_str().split(|letter: char| !letter.is_ascii_alphanumeric());
    let is_product = |part: &str| part != "db" && DATABASES.iter().any(|end| part.ends_with(end));
    word.ends_in(&["server"]) && parts.any(is_product)
}

/// Returns whether a word is the type of a machine.
pub fn is_machine(value: Value<'_>) -> bool {
    machine(value).is_some()
}

/// Returns whether a word is a set, a group or a cluster.
pub fn is_group(value: Value<'_>) -> bool {
    Word::of_value(value).ends_in(&GROUPS)
}

/// Returns the word for a Kubernetes node, else the first word that is a type of machine. A word for a machine of
/// unknown type comes last. `Laptop` comes before `workstation`, because a laptop is a workstation too.
pub fn machine_type<const N: usize>(words: [Value<'_>; N]) -> Value<'_> {
    let is_node = |word: Value<'_>| Word::is(word, "kubernetes_node");
    let is_type = |word: Value<'_>| machine(word).is_some_and(|(id, _)| id != 0);
    let first = |is: &dyn Fn(Value<'_>) -> bool| words.into_iter().find(|word| is(*word));
    let kind = first(&is_node).or_else(|| first(&is_type)).or_else(|| first(&is_machine)).unwrap_or_default();
    if !Word::of_value(kind).ends_in(&["workstation"]) {
        return kind;
    }
    let is_laptop = |word: Value<'_>| machine(word) == Some((3, "Laptop"));
    first(&is_laptop).unwrap_or(kind)
}
