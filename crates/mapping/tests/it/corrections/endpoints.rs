//! Endpoints in several streams: addresses, interfaces, systems, types of machines.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::records::{activity, observed, of_activity, threat, with_assets};
use crate::support::{assert_fields, at, check, faults, map_to};

#[test]
fn a_device_has_the_address_that_the_console_names() {
    let interfaces = json!([
        {"id": "1", "name": "veth12ab", "physical": "42:b2:00:00:00:01", "inet": [], "inet6": ["fe80::40b2:1"]},
        {"id": "2", "name": "br-0123456789ab", "physical": "02:42:00:00:00:02", "inet": ["172.18.0.1"], "inet6": []},
        {"id": "3", "name": "docker0", "physical": "02:42:00:00:00:03", "inet": ["172.17.0.1"], "inet6": []},
        {"id": "4", "name": "eth0", "physical": "00:50:56:00:00:04", "inet": ["10.32.0.165"], "inet6": ["fe80::250:4"]}]);
    check(
        "threat-of-a-container-host",
        Stream::Threats,
        &threat(
            json!({}),
            json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
                "agentDetectionInfo": {"agentIpV4": "10.32.0.165,172.18.0.1,172.17.0.1"}}),
        ),
        &[("host.ip", json!(["10.32.0.165", "172.18.0.1", "172.17.0.1", "fe80::40b2:1", "fe80::250:4"]))],
        &[("device.ip", json!("10.32.0.165")), ("device.mac", json!("00:50:56:00:00:04"))],
    );
    let lo = json!({"id": "0", "name": "lo", "physical": "00:00:00:00:00:00", "inet": ["127.0.0.1"], "inet6": ["::1"]});
    let eth = |name: &str, mac: &str, inet: Value| json!({"id": "1", "name": name, "physical": mac, "inet": inet});
    let agent = |ip: &str, interfaces: Value| json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": ip, "networkInterfaces": interfaces, "externalIp": "203.0.113.9"});
    let [first, second] = ["00:50:56:00:00:01", "00:50:56:00:00:02"];
    let two = json!([lo, eth("eth0", first, json!(["10.21.10.88"])), eth("eth1", second, json!(["9.46.92.211"]))]);
    check(
        "agent-with-two-interfaces",
        Stream::Agents,
        &agent("9.46.92.211", two.clone()),
        &[
            ("host.ip", json!(["9.46.92.211", "10.21.10.88", "203.0.113.9"])),
            ("host.mac", json!(["00-50-56-00-00-01", "00-50-56-00-00-02"])),
        ],
        &[("device.ip", json!("9.46.92.211")), ("device.mac", json!(second))],
    );
    let docker = |name: &str| eth(name, "02:42:00:00:00:09", json!(["172.17.0.1"]));
    for (record, ip, mac) in [
        (agent("10.1.1.5", json!([lo])), json!("10.1.1.5"), Value::Null),
        (agent("", two.clone()), json!("10.21.10.88"), json!(first)),
        (agent("127.0.0.1", two), json!("10.21.10.88"), json!(first)),
        // No list has a VPN's address.
        (agent("10.8.0.2", json!([lo, eth("en0", first, json!(["10.1.1.5"]))])), json!("10.8.0.2"), json!(first)),
        (agent("", json!([docker("docker0"), eth("en0", first, json!(["fd00::5"]))])), json!("fd00::5"), json!(first)),
        (agent("", json!([docker("docker0")])), json!("203.0.113.9"), Value::Null),
        (agent("172.17.0.1", json!([docker("")])), json!("203.0.113.9"), Value::Null),
        (agent("172.17.0.1", json!([docker("Ethernet0")])), json!("172.17.0.1"), json!("02:42:00:00:00:09")),
        (agent("", json!([eth("eth0", first, json!(["169.254.1.1", "fd00::5"]))])), json!("fd00::5"), json!(first)),
        (agent("", json!([eth("br-ex", first, json!(["10.0.0.7"]))])), json!("10.0.0.7"), json!(first)),
        (
            agent(
                "",
                json!([
                    eth("vEthernet (WSL)", second, json!(["172.29.160.1"])),
                    eth("vEthernet (External)", first, json!(["10.0.0.7"]))
                ]),
            ),
            json!("10.0.0.7"),
            json!(first),
        ),
    ] {
        let event = map_to(Schema::Ocsf, Stream::Agents, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.ip", ip), ("device.mac", mac)]);
    }
}

/// Adapters of virtual machines and VPNs have the same addresses on many endpoints.
#[test]
fn a_virtual_network_represents_no_device() {
    let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
    let [real, virtual_box, tap] = ["98:fa:9b:5f:f2:bd", "0A:00:27:00:00:0B", "00:ff:79:00:00:01"];
    let ethernet = one("Ethernet", real, "10.4.4.69");
    let both = json!([ethernet, one("Ethernet 2", virtual_box, "192.168.56.1")]);
    let wifi = one("Wi-Fi", real, "192.168.2.69");
    for (named, interfaces, ip, mac) in [
        ("192.168.56.1,10.4.4.69", both, "10.4.4.69", json!(real)),
        ("172.20.9.1,10.4.4.69", json!([one("X", tap, "172.20.9.1"), ethernet]), "10.4.4.69", json!(real)),
        ("100.64.0.1,192.168.2.69", json!([one("Ethernet 3", tap, "100.64.0.1"), wifi]), "192.168.2.69", json!(real)),
        ("192.168.137.1,192.168.2.69", json!([wifi]), "192.168.2.69", json!(real)),
        (
            "",
            json!([{"inet": ["192.168.2.61"]}, {"inet": ["100.64.0.1"], "physical": tap}]),
            "192.168.2.61",
            json!(null),
        ),
        ("", json!([one("nomad", "32:a1:00:00:00:01", "172.26.64.1"), ethernet]), "10.4.4.69", json!(real)),
        ("", json!([{"name": "utun3", "inet": ["10.8.0.2"]}, ethernet]), "10.4.4.69", json!(real)),
        // It is unknown which interface has the address.
        ("10.9.9.9", json!([ethernet, one("Ethernet 2", "98:fa:9b:00:00:02", "10.4.4.70")]), "10.9.9.9", json!(null)),
        ("10.9.9.9", json!([ethernet, one("VLAN", &real.to_uppercase(), "10.4.5.69")]), "10.9.9.9", json!(real)),
        ("", json!([one("Ethernet 2", virtual_box, "192.168.56.1")]), "192.168.56.1", json!(null)),
    ] {
        let record = threat(
            json!({}),
            json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
                "agentDetectionInfo": {"agentIpV4": named}}),
        );
        let event = map_to(Schema::Ocsf, Stream::Threats, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.ip", json!(ip)), ("device.mac", mac)]);
    }
    for (macs, mac) in
        [(real.to_owned(), json!(real)), (format!("{real}, {tap}"), json!(real)), (tap.to_owned(), json!(null))]
    {
        let data = json!({"alertid": "5", "rulename": "r", "agentipv4": "10.4.4.69,100.64.0.1", "physical": macs});
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(3608, json!({"agentId": "9"}), data));
        assert_fields(&event, &[("device.ip", json!("10.4.4.69")), ("device.mac", mac)]);
    }
}

/// The interfaces of VPNs, tunnels and virtual machines of a host have the same addresses on many endpoints.
#[test]
fn a_tunnel_and_a_virtual_machine_represent_no_device() {
    let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
    let mac = "9c:fc:e8:11:22:33";
    for (name, other_mac, ip) in [
        ("CloudflareWARP", "", "172.16.0.2"),
        ("wg0", "00:00:00:00:00:00", "10.66.66.2"),
        ("utun3", "", "10.8.0.6"),
        ("ppp0", "", "10.9.0.6"),
        ("vEthernet (DockerNAT)", "00:15:5d:aa:bb:cd", "10.0.75.1"),
        ("vnic0", "00:1c:42:00:00:08", "10.211.55.2"),
        ("Parallels Shared", "00:1c:42:00:00:18", "10.211.55.2"),
        ("Ethernet 7", "00:1c:42:00:00:18", "10.211.55.2"),
        ("bridge102", "be:d0:74:50:d8:66", "192.168.2.1"),
        ("bridge109", "be:d0:74:50:d8:66", "192.168.2.1"),
        ("mpqemubr0", "52:54:00:aa:bb:cd", "10.1.2.1"),
        ("crc", "52:54:00:aa:bb:ce", "192.168.130.11"),
    ] {
        let interfaces = json!([one(name, other_mac, ip), one("Wi-Fi", mac, "192.168.129.2")]);
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": ip, "networkInterfaces": interfaces});
        let others = json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
            "agentDetectionInfo": {"agentIpV4": format!("{ip},192.168.129.2")}});
        for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), others))] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event["device"], &[("ip", json!("192.168.129.2")), ("mac", json!(mac))]);
        }
    }
    // Without interfaces, the tunnel is not recognised. A bridge of the host has the host's address.
    for (named, interfaces, expected) in [
        ("172.16.0.2,192.168.129.2", json!([]), "172.16.0.2"),
        ("10.8.0.6", json!([one("wwan0", "", "10.8.0.6")]), "10.8.0.6"),
        ("10.1.1.5", json!([one("bridge10", mac, "10.1.1.5"), one("eth0", mac, "10.1.1.6")]), "10.1.1.5"),
        ("10.1.1.5", json!([one("eth0", "00:1c:42:ab:cd:ef", "10.1.1.5"), one("eth1", mac, "10.1.1.6")]), "10.1.1.5"),
    ] {
        let record = threat(
            json!({}),
            json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
                "agentDetectionInfo": {"agentIpV4": named}}),
        );
        assert_fields(&map_to(Schema::Ocsf, Stream::Threats, &record), &[("device.ip", json!(expected))]);
    }
}

#[test]
fn every_stream_has_the_architecture_that_its_system_names() {
    let debian = "Debian GNU/Linux 12 (bookworm) 6.1.0-29-amd64";
    for (stream, record) in [
        (
            Stream::Threats,
            threat(
                json!({}),
                json!({"agentRealtimeInfo": {"agentId": "8", "agentOsName": "Linux", "agentOsRevision": debian}}),
            ),
        ),
        (
            Stream::Threats,
            threat(json!({}), json!({"agentDetectionInfo": {"agentOsName": "Linux", "agentOsRevision": debian}})),
        ),
        (
            Stream::Alerts,
            json!({"alertInfo": {"alertId": "1"}, "agentDetectionInfo": {"name": "c", "osName": "linux", "osRevision": debian}}),
        ),
        (
            Stream::UnifiedAlerts,
            json!({"id": "1", "detectionTime": {"asset": {"name": "c", "osType": "linux", "osName": "Linux", "osRevision": debian}}}),
        ),
        (
            Stream::Activities,
            activity(
                3608,
                json!({"agentId": "8"}),
                json!({"alertid": "1", "rulename": "r", "origagentosname": "Linux", "origagentosrevision": debian}),
            ),
        ),
    ] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("host.architecture", json!("x86_64"))]);
    }
}

#[test]
fn a_system_an_agent_or_a_machine_type_makes_a_host() {
    let alert = |mut asset: Value| {
        asset["name"] = json!("H");
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z", "assets": [asset]});
        [Schema::Ecs, Schema::Ocsf].map(|schema| {
            let event = map_to(schema, Stream::UnifiedAlerts, &record);
            assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
            event
        })
    };
    for (asset, types) in [
        (json!({"osType": "WINDOWS"}), [Value::Null, json!("Unknown")]),
        (json!({"agentVersion": "24.1"}), [Value::Null, json!("Unknown")]),
        (json!({"osType": "LINUX", "category": "Virtual Machine"}), [json!("virtual machine"), json!("Virtual")]),
        (json!({"category": "Endpoint"}), [json!("endpoint"), json!("Unknown")]),
        (json!({"category": "Desktop"}), [json!("desktop"), json!("Desktop")]),
        (json!({"category": "Server", "subcategory": "Other Server"}), [json!("server"), json!("Server")]),
        (json!({"subcategory": "Kubernetes Node"}), [json!("kubernetes node"), json!("Server")]),
        (
            json!({"category": "Identity", "subcategory": "Domain Controller"}),
            [json!("domain controller"), json!("Server")],
        ),
        (json!({"category": "Identity", "subcategory": "AD Computer"}), [json!("ad computer"), json!("Unknown")]),
    ] {
        let [ecs, ocsf] = alert(asset.clone());
        let of_host = [("host.name", json!("H")), ("host.type", types[0].clone())];
        assert_fields(&ecs, &of_host);
        assert_fields(&ocsf, &[("device.hostname", json!("H")), ("device.type", types[1].clone())]);
    }
    for asset in [
        json!({"category": "Storage", "subcategory": "S3 Bucket"}),
        json!({"category": "Identity", "subcategory": "User"}),
        json!({"category": "Identity", "subcategory": "User", "agentUuid": "u-1", "osType": "WINDOWS"}),
        json!({"subcategory": "Service Account", "agentUuid": "u-1", "osType": "WINDOWS"}),
        json!({"category": "User", "agentUuid": "u-1"}),
        json!({"osType": "UNKNOWN", "category": "Database", "subcategory": "SQL Server"}),
        json!({"category": "Function"}),
    ] {
        let [ecs, ocsf] = alert(asset.clone());
        assert_fields(&ecs, &[("host", Value::Null)]);
        assert_fields(&ocsf, &[("device", Value::Null)]);
    }
    // A node of Kubernetes has one type in all streams.
    let node = "Kubernetes Node";
    for (stream, record) in [
        (Stream::Threats, json!({"agentRealtimeInfo": {"agentComputerName": "H", "agentMachineType": node}})),
        (Stream::Agents, json!({"id": "1", "computerName": "H", "machineType": node})),
        (Stream::Alerts, json!({"agentRealtimeInfo": {"name": "H", "machineType": node}})),
        (
            Stream::Activities,
            json!({"activityType": 3608, "data": {"origagentname": "H", "origagentmachinetype": node}}),
        ),
        (Stream::UnifiedAlerts, json!({"id": "u", "assets": [{"name": "H", "subcategory": node}]})),
    ] {
        assert_fields(&map_to(Schema::Ecs, stream, &record), &[("host.type", json!("kubernetes node"))]);
        assert_fields(&map_to(Schema::Ocsf, stream, &record), &[("device.type", json!("Server"))]);
    }
}

#[test]
fn a_mac_address_of_all_clients_of_a_vpn_is_none_of_a_device() {
    let one = |mac: &str, ip: &str| json!({"name": "Ethernet 2", "physical": mac, "inet": [ip]});
    let real = "98:fa:9b:5f:f2:bd";
    for shared in [
        "00:09:0f:aa:00:01",
        "00:09:0f:fe:00:01",
        "00:05:9a:3c:7a:00",
        "00-05-9A-3C-78-00",
        "02:50:41:00:00:01",
        "02:05:85:7f:eb:80",
        "02:00:4c:4f:4f:50",
        "50:50:54:50:30:30",
        "20:41:53:59:4e:ff",
        "00:50:56:c0:00:01",
        "00:50:56:C0:00:08",
        "0a:00:27:00:00:00",
        "0A-00-27-00-00-0B",
        "ee:ee:ee:ee:ee:ee",
        "fe:ff:ff:ff:ff:ff",
        // The chip within a Mac, and Parallels on its host.
        "ac:de:48:00:11:22",
        "AC-DE-48-00-11-22",
        "00:1c:42:00:00:08",
        "00:1c:42:00:00:09",
    ] {
        for (named, interfaces, ip, mac) in [
            ("10.9.0.2", json!([one(shared, "10.9.0.2")]), "10.9.0.2", Value::Null),
            ("10.4.4.69", json!([one(shared, "10.9.0.2")]), "10.4.4.69", Value::Null),
            ("10.4.4.69", json!([one(shared, "10.9.0.2"), one(real, "10.4.4.70")]), "10.4.4.69", json!(real)),
            ("10.9.0.2", json!([one(shared, "10.9.0.2"), one(real, "10.4.4.70")]), "10.4.4.70", json!(real)),
        ] {
            let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": named,
                "networkInterfaces": interfaces});
            let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("device.ip", json!(ip)), ("device.mac", mac)]);
            assert!(!observed(&event).iter().any(|(_, value)| value == shared), "{event:#}");
            assert_eq!(event["device"]["network_interfaces"][0]["mac"], shared);
            let event = map_to(Schema::Ecs, Stream::Agents, &agent);
            let has_real = interfaces.as_array().unwrap().len() > 1;
            let macs = if has_real { json!(["98-FA-9B-5F-F2-BD"]) } else { Value::Null };
            assert_fields(&event, &[("host.mac", macs)]);
        }
        let data = json!({"alertid": "5", "rulename": "r", "agentipv4": "10.4.4.69", "physical": shared});
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity(3608, json!({"agentId": "9"}), data));
        assert_fields(&event, &[("device.ip", json!("10.4.4.69")), ("device.mac", Value::Null)]);
        let data = json!({"alertid": "5", "rulename": "r", "physical": format!("{shared},{real}")});
        let [ecs, ocsf] = of_activity(3608, json!({"agentId": "9"}), data);
        assert_fields(&ecs, &[("host.mac", json!(["98-FA-9B-5F-F2-BD"]))]);
        assert_fields(&ocsf, &[("device.mac", json!(real))]);
    }
}

#[test]
fn an_interface_of_pods_and_switches_within_a_host_represents_no_device() {
    let mac = "9c:fc:e8:11:22:33";
    for name in [
        "vxlan.calico",
        "tunl0",
        "cali12ab34cd56e",
        "ovn-k8s-mp0",
        "antrea-gw0",
        "incusbr0",
        "cilium_host",
        "cilium_vxlan",
        "flannel.1",
        "cni0",
        "cbr0",
        "kube-dummy-if",
        "nodelocaldns",
        "genev_sys_6081",
        "br-int",
        "vnet0",
        "nerdctl0",
        "docker_gwbridge",
        "vEthernet (HNS Internal NIC)",
        "vEthernet (nat)",
        "vEthernet (Internal Switch)",
        "Npcap Loopback Adapter",
        "Microsoft KM-TEST Loopback Adapter",
    ] {
        let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
        let interfaces = json!([one(name, "66:f0:12:34:56:78", "10.244.1.1"), one("eth0", mac, "192.168.129.2")]);
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": "10.244.1.1",
            "networkInterfaces": interfaces});
        let others = json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces},
            "agentDetectionInfo": {"agentIpV4": "10.244.1.1,192.168.129.2"}});
        for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), others))] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event["device"], &[("ip", json!("192.168.129.2")), ("mac", json!(mac))]);
        }
    }
}

/// The MAC address of a device is unknown if no interface has the device's IP address, unless only one MAC address can
/// be its own.
#[test]
fn an_adapter_of_a_virtual_network_lends_no_device_its_mac() {
    let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
    let real = "98:fa:9b:5f:f2:bd";
    let tap = one("Local Area Connection", "00:ff:79:9a:15:d3", "100.64.0.1");
    let virtual_box = one("Ethernet 3", "0a:00:27:00:00:10", "192.168.56.1");
    let tailscale = one("Ethernet 4", "aa:bb:cc:00:00:01", "100.101.102.103");
    for (named, interfaces, mac) in [
        ("192.168.2.69", json!([tap]), Value::Null),
        ("10.1.1.5", json!([virtual_box]), Value::Null),
        ("10.1.1.5", json!([one("", "02:42:00:00:00:09", "172.17.0.2")]), Value::Null),
        ("10.1.1.5", json!([tailscale]), Value::Null),
        ("10.1.1.5", json!([one("tap0", "aa:bb:cc:00:00:01", "10.8.0.2")]), Value::Null),
        ("10.1.1.5", json!([tap, tailscale, one("Ethernet", real, "10.1.1.6")]), json!(real)),
        ("100.64.0.1", json!([tap]), json!("00:ff:79:9a:15:d3")),
    ] {
        let agent = json!({"id": "3", "computerName": "h", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": named,
            "networkInterfaces": interfaces});
        let others = json!({"agentRealtimeInfo": {"agentId": "3", "networkInterfaces": interfaces},
            "agentDetectionInfo": {"agentIpV4": named}});
        for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), others))] {
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event, &[("device.ip", json!(named)), ("device.mac", mac.clone())]);
        }
    }
}

/// Checks `host.mac` of an agent with this MAC address on one interface and, if OCSF has one, `device.mac`.
#[track_caller]
fn check_mac(received: &str, ecs: Option<&str>, ocsf: Option<&str>) {
    let record = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "networkInterfaces": [
        {"id": "1", "name": "eth0", "physical": received, "inet": ["10.0.0.7"], "inet6": []}]});
    let expected = ecs.map_or(Value::Null, |mac| json!([mac]));
    assert_fields(&map_to(Schema::Ecs, Stream::Agents, &record), &[("host.mac", expected)]);
    let event = map_to(Schema::Ocsf, Stream::Agents, &record);
    assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
    assert_fields(&event, &[("device.mac", json!(ocsf))]);
    let observed = event["observables"].as_array().unwrap().iter().find(|one| one["type"] == "MAC Address");
    assert_eq!(observed.map(|one| &one["value"]).and_then(Value::as_str), ocsf, "{event:#}");
}

#[test]
fn a_mac_address_is_one_in_any_spelling() {
    let ecs = Some("00-50-56-9A-1B-2C");
    for (received, ocsf) in [
        ("00:50:56:9a:1b:2c", "00:50:56:9a:1b:2c"),
        ("00-50-56-9A-1B-2C", "00-50-56-9A-1B-2C"),
        ("0050569A1B2C", "00:50:56:9A:1B:2C"),
        ("0050569a1b2c", "00:50:56:9a:1b:2c"),
        ("0050.569a.1b2c", "00:50:56:9a:1b:2c"),
        ("0050-569A-1B2C", "00:50:56:9A:1B:2C"),
        ("005056-9A1B2C", "00:50:56:9A:1B:2C"),
        (" 00:50:56:9a:1b:2c ", "00:50:56:9a:1b:2c"),
    ] {
        check_mac(received, ecs, Some(ocsf));
    }
    check_mac("00:25:96:FF:FE:12:34:56", Some("00-25-96-FF-FE-12-34-56"), None);
    for received in [
        "00:00:00:00:00:00:00:00",
        "0000000000000000",
        "00-00-00-00-00-00-00-E0",
        "00:00:00:00:00:00:00:e0",
        "FF:FF:FF:FF:FF:FF:FF:FF",
        "000000000000",
        "ffffffffffff",
        "025041000001",
        "0050.569a.1b2c.3",
        "0050569A1B",
        "0050569A1B2G",
        "n/a",
        "",
    ] {
        check_mac(received, None, None);
    }
    // Each interface has its own spelling. The device has the spelling of the interface with its address.
    let interface = |mac: &str, ip: &str| json!({"name": "e", "physical": mac, "inet": [ip]});
    let record = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "networkInterfaces": [
        interface("024200000001", "172.17.0.1"), interface("0050569A1B2C", "10.0.0.7")]});
    let event = map_to(Schema::Ocsf, Stream::Agents, &record);
    let macs: Vec<_> =
        event["device"]["network_interfaces"].as_array().unwrap().iter().map(|one| one["mac"].clone()).collect();
    assert_eq!(macs, [json!("02:42:00:00:00:01"), json!("00:50:56:9A:1B:2C")], "{event:#}");
    assert_fields(&event, &[("device.mac", json!("00:50:56:9A:1B:2C"))]);
    // Addresses in another spelling stay in the record too.
    assert!(!at(&event, "unmapped.networkInterfaces").is_null(), "{event:#}");
    // The addresses of an activity are in one text.
    let data = json!({"physical": "0050569A1B2C", "computerName": "h"});
    let [ecs, ocsf] = of_activity(3608, json!({"agentId": "1"}), data);
    assert_fields(&ecs, &[("host.mac", json!(["00-50-56-9A-1B-2C"]))]);
    assert_fields(&ocsf, &[("device.mac", json!("00:50:56:9A:1B:2C"))]);
}

#[test]
fn a_domain_of_nothing_is_none() {
    for (name, user, domain) in [
        (r".\admin", Some("admin"), None),
        (r" . \ admin ", Some("admin"), None),
        (r"N/A\admin", Some("admin"), None),
        (r"-\admin", Some("admin"), None),
        (r"NULL\admin", Some("admin"), None),
        (r"unknown\admin", Some("admin"), None),
        (r"..\admin", Some("admin"), None),
        (r".\jane@acme.example", Some("jane"), Some("acme.example")),
        (r"N/A\N/A", None, None),
        (r".\-", None, None),
        (r"ACME\N/A", None, None),
        (r"ACME\admin", Some("admin"), Some("ACME")),
        (r"WORKGROUP\admin", Some("admin"), Some("WORKGROUP")),
        ("admin@.", Some("admin"), None),
        ("admin@n/a", Some("admin"), None),
        (r".\.\admin", Some("admin"), None),
        (r"?\admin", Some("admin"), None),
        (r"[]\admin", Some("admin"), None),
        (r"(null)\admin", Some("admin"), Some("(null)")),
        (r"a.\admin", Some("admin"), Some("a.")),
    ] {
        let agent = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "lastLoggedInUserName": name});
        let event = map_to(Schema::Ecs, Stream::Agents, &agent);
        assert_fields(&event, &[("user.name", json!(user)), ("user.domain", json!(domain))]);
        assert_fields(&event, &[("sentinel_one.agent.last_logged_in_user_name", json!(name))]);
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.owner.name", json!(user)), ("device.owner.domain", json!(domain))]);
        let record = threat(json!({"processUser": name}), json!({}));
        let event = map_to(Schema::Ecs, Stream::Threats, &record);
        assert_fields(&event, &[("user.name", json!(user)), ("user.domain", json!(domain))]);
    }
    for domain in [".", "-", "N/A", "..", " . ", "?", "none"] {
        let agent = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "h", "domain": domain});
        let event = map_to(Schema::Ecs, Stream::Agents, &agent);
        assert_fields(&event, &[("host.domain", Value::Null), ("related.hosts", json!(["h"]))]);
        assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("device.domain", Value::Null)]);
        let alert = json!({"alertInfo": {"alertId": "1", "createdAt": "2026-01-01T00:00:00Z",
            "loginsUserName": "admin", "loginAccountDomain": domain}});
        let event = map_to(Schema::Ecs, Stream::Alerts, &alert);
        assert_fields(&event, &[("user.name", json!("admin")), ("user.domain", Value::Null)]);
        let event = map_to(Schema::Ocsf, Stream::Alerts, &alert);
        let user = event["evidences"].as_array().unwrap().iter().find_map(|one| one.get("user")).unwrap();
        assert_eq!((&user["name"], user.get("domain")), (&json!("admin"), None), "{event:#}");
        let target = json!({"name": "admin", "domain": domain});
        let record = json!({"id": "u", "detectedAt": "2026-01-01T00:00:00Z",
            "detectionTime": {"targetUser": target}});
        let event = map_to(Schema::Ecs, Stream::UnifiedAlerts, &record);
        assert_fields(&event, &[("user.name", json!("admin")), ("user.domain", Value::Null)]);
    }
}

/// The table knew `laptop` and `desktop` as whole words only.
#[test]
fn a_machine_of_a_system_is_a_machine() {
    for (word, host, kind) in [
        ("Windows laptop", "windows laptop", "Laptop"),
        ("Mac Laptop", "mac laptop", "Laptop"),
        ("Linux-laptop", "linux-laptop", "Laptop"),
        ("Windows desktop", "windows desktop", "Desktop"),
        ("Chrome OS Workstation", "chrome os workstation", "Desktop"),
        ("Windows Server", "windows server", "Server"),
        ("Android tablet", "android tablet", "Tablet"),
        ("Android Phone", "android phone", "Mobile"),
        ("Smartphone", "smartphone", "Mobile"),
        ("iPhone", "iphone", "Mobile"),
        ("iPad", "ipad", "Tablet"),
        ("Android Mobile Device", "android mobile device", "Mobile"),
        ("Linux Virtual Machine", "linux virtual machine", "Virtual"),
        ("Windows VM", "windows vm", "Virtual"),
        // These are neither desktops nor mobiles.
        ("Azure Virtual Desktop", "azure virtual desktop", "Virtual"),
        ("Cloud Workstation", "cloud workstation", "Virtual"),
        ("VoIP Phone", "voip phone", "IOT"),
        ("Conference Phone", "conference phone", "IOT"),
    ] {
        for asset in [json!({"name": "W7", "subcategory": word}), json!({"name": "W7", "assetTypeClassifier": word})] {
            let [ecs, ocsf] = with_assets(json!([asset]), json!({}));
            assert_fields(&ecs, &[("host.name", json!("W7")), ("host.type", json!(host))]);
            assert_fields(&ocsf, &[("device.hostname", json!("W7")), ("device.type", json!(kind))]);
        }
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "machineType": word});
        assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("device.type", json!(kind))]);
    }
    // The word for the machine itself comes before the word for its category, as `laptop` does.
    let asset = |others: Value| {
        let mut asset = json!({"name": "W7", "assetTypeClassifier": "Windows laptop", "category": "Workstation"});
        for (key, value) in others.as_object().unwrap() {
            asset[key] = value.clone();
        }
        with_assets(json!([asset]), json!({}))
    };
    for (others, host) in [(json!({}), "windows laptop"), (json!({"subcategory": "Laptop"}), "laptop")] {
        let [ecs, ocsf] = asset(others);
        assert_fields(&ecs, &[("host.type", json!(host))]);
        assert_fields(&ocsf, &[("device.type_id", json!(3))]);
    }
    // Other words of the classifier say less than the category.
    let [ecs, ocsf] = asset(json!({"assetTypeClassifier": "Windows desktop", "category": "Server"}));
    assert_fields(&ecs, &[("host.type", json!("server"))]);
    assert_fields(&ocsf, &[("device.type", json!("Server"))]);
}

#[test]
fn an_address_of_each_installation_is_no_machines() {
    let own = "3c:ec:ef:11:22:33";
    for (name, shared) in [
        ("enxbe3af2b6059f", "be:3a:f2:b6:05:9f"),
        ("lxcbr0", "00:16:3e:00:00:00"),
        ("waydroid0", "00:16:3e:00:00:01"),
        ("crc", "52:54:00:fd:be:d0"),
        ("eth1", "52:54:00:12:34:56"),
    ] {
        let interfaces = json!([
            {"id": "1", "name": name, "physical": shared, "inet": ["169.254.3.1"]},
            {"id": "2", "name": "eno1", "physical": own, "inet": ["10.0.5.20"]},
        ]);
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": "10.0.5.20",
            "networkInterfaces": interfaces});
        let real_time = json!({"agentRealtimeInfo": {"agentId": "9", "networkInterfaces": interfaces}});
        for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), real_time))] {
            let event = map_to(Schema::Ecs, stream, &record);
            assert_fields(&event, &[("host.mac", json!(["3C-EC-EF-11-22-33"]))]);
            let event = map_to(Schema::Ocsf, stream, &record);
            assert_fields(&event, &[("device.ip", json!("10.0.5.20")), ("device.mac", json!(own))]);
            let macs = observed(&event).into_iter().filter(|(kind, _)| kind == "MAC Address");
            assert!(macs.map(|(_, mac)| mac).all(|mac| mac == own), "{name}: {event:#}");
        }
    }
}

#[test]
fn a_missing_domain_is_no_domain() {
    let agent =
        json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "W7", "domain": "MISSING DOMAIN"});
    let others = json!({"agentDetectionInfo": {"agentDomain": "MISSING DOMAIN"},
        "agentRealtimeInfo": {"agentId": "9", "agentComputerName": "W7"}});
    for (stream, record) in [(Stream::Agents, agent), (Stream::Threats, threat(json!({}), others))] {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_fields(&event, &[("host.domain", Value::Null), ("related.hosts", json!(["W7"]))]);
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_fields(&event, &[("device.domain", Value::Null)]);
    }
}
