//! Agents, groups and vulnerabilities.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::records::observed;
use crate::support::{assert_fields, at, check, faults, map_to};

#[test]
fn a_cloud_of_which_nothing_is_said_is_none() {
    let agent = json!({"id": "9", "cloudProviders": {
        "AWS": {"cloudAccount": null, "cloudInstanceId": "", "cloudSecurityGroups": []},
        "Azure": {"cloudAccount": "a-1", "cloudInstanceId": "vm-1"}}});
    assert_fields(
        &map_to(Schema::Ecs, Stream::Agents, &agent),
        &[("cloud.provider", json!("azure")), ("cloud.account.id", json!("a-1"))],
    );
    assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("cloud.provider", json!("Azure"))]);
}

#[test]
fn the_make_of_a_processor_is_no_matter_of_its_width() {
    check(
        "agent-on-apple-silicon",
        Stream::Agents,
        &json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "mac", "osType": "macos", "osArch": "64 bit", "cpuId": "Apple M1 Pro"}),
        &[("host.architecture", json!("arm64"))],
        &[
            ("device.os.cpu_bits", json!(64)),
            (
                "device.hw_info",
                json!({"cpu_info_list": [{"model": "Apple M1 Pro", "vendor_name": "Apple", "cpu_bits": 64,
                    "cpu_architecture_id": 2, "cpu_architecture": "ARM"}]}),
            ),
        ],
    );
    for (bits, cpu, os, ecs, ocsf) in [
        ("64 bit", "Apple M3", "", "arm64", "ARM"),
        ("64 bit", "VirtualApple @ 2.50GHz", "", "arm64", "ARM"),
        ("64 bit", "Snapdragon(R) X Elite - X1E80100 - Qualcomm(R) Oryon(TM) CPU", "", "arm64", "ARM"),
        ("64 bit", "Neoverse-N1", "", "arm64", "ARM"),
        ("64 bit", "ARM Cortex-A72", "", "arm64", "ARM"),
        ("64 bit", "Cortex-A72", "", "arm64", "ARM"),
        ("64 bit", "", "Linux arm64", "arm64", "ARM"),
        ("64 bit", "Intel(R) Core(TM) i7-8665U CPU @ 1.90GHz", "", "x86_64", "x86"),
        ("64 bit", "AMD EPYC 7R13 Processor", "", "x86_64", "x86"),
        ("32 bit", "Intel(R) Pentium(R) CPU", "", "x86", "x86"),
        ("ARM64", "", "", "arm64", "ARM"),
        ("x86_64", "", "", "x86_64", "x86"),
        ("64 bit", "Charm CPU", "", "", ""),
        ("64 bit", "Armored Core Processor", "", "", ""),
        ("64 bit", "ARMv8 Processor rev 3 (v8l)", "", "arm64", "ARM"),
        ("64 bit", "QEMU Virtual CPU version 2.5+", "", "", ""),
        ("32 bit", "ARM", "", "arm", "ARM"),
        ("32 bit", "ARMv7 Processor rev 4 (v7l)", "", "arm", "ARM"),
        ("", "ARMv7 Processor rev 4 (v7l)", "", "arm", "ARM"),
        ("64 bit", "Pentium Dual-Core CPU E5700", "", "x86_64", "x86"),
        ("64 bit", "Celeron N4020", "", "x86_64", "x86"),
        ("64 bit", "Westmere E56xx/L56xx/X56xx (Nehalem-C)", "", "x86_64", "x86"),
        ("64 bit", "Hygon C86 7185 32-core Processor", "", "x86_64", "x86"),
        ("64 bit", "ZHAOXIN KaiXian KX-6640MA", "", "x86_64", "x86"),
        ("64 bit", "VIA Nano processor U2250 (1.6GHz Capable)", "", "x86_64", "x86"),
        ("32 bit", "VIA C7-M Processor 1600MHz", "", "x86", "x86"),
        ("32 bit", "AMD64 Family 25", "", "x86", "x86"),
        ("64 bit", "", "Amazon Linux 2 4.14.355-276.amzn2.x86_64", "x86_64", "x86"),
        ("", "", "Debian 12 6.1.0-29-amd64", "x86_64", "x86"),
        ("64 bit", "", "CentOS 8 4.18.0-553.el8.aarch64", "arm64", "ARM"),
        ("64 bit", "", "Ubuntu 20.04.3 LTS 5.4.0-91-generic", "", ""),
    ] {
        let (name, revision) = os.split_once(' ').unwrap_or((os, ""));
        let record = json!({"id": "9", "osArch": bits, "cpuId": cpu, "osName": name, "osRevision": revision});
        let value = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        assert_fields(&map_to(Schema::Ecs, Stream::Agents, &record), &[("host.architecture", value(ecs))]);
        let event = map_to(Schema::Ocsf, Stream::Agents, &record);
        let architecture = event.pointer("/device/hw_info/cpu_info_list/0/cpu_architecture");
        assert_eq!(architecture.unwrap_or(&Value::Null), &value(ocsf), "{event:#}");
    }
    // The cores of a processor are known if there are no other processors.
    for (count, cores) in [(1, json!(8)), (2, Value::Null)] {
        let record = json!({"id": "9", "cpuId": "AMD EPYC 7R13", "cpuCount": count, "coreCount": 8});
        let hardware = &map_to(Schema::Ocsf, Stream::Agents, &record)["device"]["hw_info"];
        assert_eq!((&hardware["cpu_count"], &hardware["cores"]), (&json!(count), &json!(8)));
        let processor = &hardware["cpu_info_list"][0];
        assert_eq!((&processor["vendor_name"], &processor["cores"]), (&json!("AMD"), &cores));
    }
}

#[test]
fn a_vulnerability_of_which_something_was_done_is_not_new() {
    for (mitigation, id, word) in [
        ("Risk Accepted", 99, "Risk Accepted"),
        ("accepted_risk", 99, "accepted_risk"),
        ("Mitigated", 99, "Mitigated"),
        ("Ignored", 3, "Suppressed"),
        ("Resolved", 4, "Resolved"),
        ("On hold", 3, "Suppressed"),
        ("To be patched", 2, "In Progress"),
        ("Not mitigated", 1, "New"),
        ("", 1, "New"),
    ] {
        let record = json!({"id": "1", "cveId": "CVE-2026-0001", "status": "Detected", "mitigationStatus": mitigation});
        let event = map_to(Schema::Ocsf, Stream::Vulnerabilities, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{mitigation}: {event:#}");
        let activity = if id == 4 { "Close" } else { "Update" };
        assert_fields(&event, &[("status_id", json!(id)), ("status", json!(word)), ("activity_name", json!(activity))]);
    }
}

/// A tunnel of OpenVPN or ZeroTier has a MAC address as other adapters do.
#[test]
fn a_tunnel_with_a_mac_address_represents_no_device() {
    for name in ["tap0", "ztabcdef12", "TAP-Windows Adapter V9", "ZeroTier One [8056c2e21c000001]"] {
        let one = |name: &str, mac: &str, ip: &str| json!({"name": name, "physical": mac, "inet": [ip]});
        let interfaces =
            json!([one(name, "aa:bb:cc:00:00:01", "10.147.17.5"), one("eth0", "98:fa:9b:5f:f2:bd", "10.1.1.5")]);
        let agent = json!({"id": "3", "updatedAt": "2026-01-01T00:00:00Z", "networkInterfaces": interfaces});
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_fields(&event, &[("device.ip", json!("10.1.1.5")), ("device.mac", json!("98:fa:9b:5f:f2:bd"))]);
    }
}

#[test]
fn an_agent_of_which_nothing_is_said_has_no_risk_level() {
    for (infected, expected) in [
        (json!(true), json!("High")),
        (json!(false), json!("Info")),
        (json!("perhaps"), Value::Null),
        (Value::Null, Value::Null),
    ] {
        let record = json!({"id": "1", "computerName": "h", "infected": infected});
        let event = map_to(Schema::Ocsf, Stream::Agents, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("device.risk_level", expected)]);
    }
}

#[test]
fn a_processor_of_only_64_bits_needs_no_width() {
    let agent = |cpu: Value, word: Value| {
        let record = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "h", "cpuId": cpu,
            "osArch": word, "osName": "Linux", "osRevision": "5.10"});
        let ocsf = map_to(Schema::Ocsf, Stream::Agents, &record);
        assert_eq!(faults(Schema::Ocsf, &ocsf), Vec::<String>::new(), "{ocsf:#}");
        let make = ocsf.pointer("/device/hw_info/cpu_info_list/0/cpu_architecture").cloned().unwrap_or_default();
        (at(&map_to(Schema::Ecs, Stream::Agents, &record), "host.architecture").clone(), make)
    };
    for cpu in [
        "Google Axion Processor",
        "Microsoft Cobalt 100",
        "NVIDIA Carmel",
        "NVIDIA Grace",
        "NVIDIA Grace CPU Superchip",
        "Grace A02",
        "NVIDIA GH200 480GB",
        "GB200",
        "Neoverse-V2",
        "ARM Neoverse V2",
        "AmpereOne",
        "Ampere(R) Altra(R) Processor",
        "Kunpeng-920",
        "HUAWEI Kunpeng 920 5250",
        "Phytium FT-2000+/64",
        "Phytium,FT-2000+/64",
        "FT-2000+/64",
        "AWS Graviton3",
        "Cavium ThunderX2(R) CPU CN9980 v2.2",
    ] {
        for word in [json!("64 bit"), Value::Null, json!(""), json!("unknown")] {
            assert_eq!(agent(json!(cpu), word.clone()), (json!("arm64"), json!("ARM")), "{cpu} {word}");
        }
    }
    for cpu in ["BCM2711", "Broadcom BCM2837B0", "BCM2712", "BCM2835", "BCM2710A1", "bcm2836"] {
        assert_eq!(agent(json!(cpu), json!("64 bit")), (json!("arm64"), json!("ARM")), "{cpu}");
        assert_eq!(agent(json!(cpu), json!("32 bit")), (json!("arm"), json!("ARM")), "{cpu}");
        assert_eq!(agent(json!(cpu), json!("aarch64")), (json!("arm64"), json!("ARM")), "{cpu}");
        // The processor may have either system.
        assert_eq!(agent(json!(cpu), Value::Null), (Value::Null, Value::Null), "{cpu}");
    }
    for cpu in [
        json!("Loongson-3A5000"),
        json!("Loongson-3A4000 (Loongson-3B4000) @ 1800MHz"),
        json!("Loongson-3C5000L-LL"),
        json!("ICT Loongson-2F"),
        json!("Common KVM processor"),
        json!("Broadcom BCM5719"),
        json!("Gracemont"),
        json!(""),
        json!([]),
    ] {
        for word in [json!("64 bit"), Value::Null, json!("loongarch64")] {
            assert_eq!(agent(cpu.clone(), word), (Value::Null, Value::Null), "{cpu}");
        }
    }
    // A make that the name has first.
    assert_eq!(agent(json!("Intel(R) Xeon(R) FT-1"), json!("64 bit")).0, json!("x86_64"));
}

#[test]
fn the_action_of_a_vulnerability_is_one_word() {
    for (status, action) in [
        (json!("Detected"), "vulnerability-detected"),
        (json!("Pending Patch"), "vulnerability-pending-patch"),
        (json!(" To be  patched "), "vulnerability-to-be-patched"),
        (json!("NOT_FIXED"), "vulnerability-not-fixed"),
        (json!("In-Progress"), "vulnerability-in-progress"),
        (json!("Gelöst von Hand"), "vulnerability-gelöst-von-hand"),
        (json!("a\tb\u{a0}c"), "vulnerability-a-b-c"),
        (json!(" - "), "vulnerability-detected"),
        (json!("detected - "), "vulnerability-detected"),
        (json!("Won't fix (risk accepted)"), "vulnerability-won't-fix-(risk-accepted)"),
        (json!("a \"b\" c"), "vulnerability-a-\"b\"-c"),
        (json!(7), "vulnerability-7"),
        (json!(["Detected"]), "vulnerability-detected"),
        (json!("n/a"), "vulnerability-detected"),
        (json!(""), "vulnerability-detected"),
        (Value::Null, "vulnerability-detected"),
    ] {
        let record = json!({"id": "1", "detectionDate": "2026-01-01T00:00:00Z", "status": status});
        let event = map_to(Schema::Ecs, Stream::Vulnerabilities, &record);
        assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{event:#}");
        assert_fields(&event, &[("event.action", json!(action))]);
    }
}

#[test]
fn a_principal_name_without_a_domain_is_no_address_either() {
    for name in ["jane", r"ACME\jane", "string"] {
        let directory = json!({"userPrincipalName": name});
        let agent = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "lastLoggedInUserName": "jane",
            "activeDirectory": directory});
        let event = map_to(Schema::Ecs, Stream::Agents, &agent);
        assert_fields(&event, &[("user.email", Value::Null), ("user.name", json!("jane"))]);
    }
}

#[test]
fn the_maker_of_a_processor_is_named_anywhere() {
    for (model, vendor) in [
        ("11th Gen Intel(R) Core(TM) i5-1145G7 @ 2.60GHz", Some("Intel")),
        ("Genuine Intel(R) CPU", Some("Intel")),
        ("GenuineIntel", Some("Intel")),
        ("AuthenticAMD", Some("AMD")),
        ("Dual-Core AMD Opteron(tm) Processor 2212", Some("AMD")),
        ("VirtualApple @ 2.50GHz", Some("Apple")),
        ("Apple M2", Some("Apple")),
        ("VIA Eden X4 C4250@1.2+GHz", Some("VIA")),
        ("ARM Cortex-A72", None),
    ] {
        let agent = json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "computerName": "h", "cpuId": model});
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_eq!(
            event.pointer("/device/hw_info/cpu_info_list/0/vendor_name"),
            vendor.map(|v| json!(v)).as_ref(),
            "{model}"
        );
    }
}

/// The directory has the user who logged in last. The user of the system may be another user.
#[test]
fn the_address_of_a_directory_is_that_of_its_user() {
    let agent = |last: &str, directory: Value| {
        let record = json!({"id": "9", "computerName": "web-1", "osUsername": "root", "lastLoggedInUserName": last,
            "activeDirectory": directory});
        let [ecs, ocsf] = [Schema::Ecs, Schema::Ocsf].map(|schema| map_to(schema, Stream::Agents, &record));
        assert_eq!(faults(Schema::Ocsf, &ocsf), Vec::<String>::new(), "{ocsf:#}");
        [ecs, ocsf]
    };
    let address = "jane@acme.example";
    for directory in [json!({"mail": address, "userPrincipalName": address}), json!({"mail": address})] {
        let [ecs, ocsf] = agent("", directory);
        assert_fields(&ecs, &[("user.name", json!("jane")), ("user.email", json!(address))]);
        assert!(ecs["related"]["user"].as_array().unwrap().contains(&json!("root")), "{ecs:#}");
        assert_fields(&ocsf, &[("device.owner.name", json!("jane")), ("device.owner.email_addr", json!(address))]);
    }
    let [ecs, ocsf] = agent("", json!({"userPrincipalName": "foo"}));
    assert_fields(&ecs, &[("user.name", json!("foo"))]);
    assert_fields(&ocsf, &[("device.owner.name", json!("foo")), ("device.owner.uid_alt", json!("foo"))]);
    let [ecs, ocsf] = agent("bob", json!({"mail": "bob@acme.example"}));
    assert_fields(&ecs, &[("user.name", json!("bob")), ("user.email", json!("bob@acme.example"))]);
    assert_fields(&ocsf, &[("device.owner.name", json!("bob"))]);
    // Without a user of a directory, it is the user of the system.
    let [ecs, ocsf] = agent("", json!({}));
    assert_fields(&ecs, &[("user.name", json!("root"))]);
    assert_fields(&ocsf, &[("device.owner.name", json!("root"))]);
}

/// A repeated byte is not an address of a manufacturer: Azure's network for pods gives such an address to each
/// interface on a host.
#[test]
fn an_interface_of_pods_of_a_cloud_represents_no_device() {
    let one = |name: &str, mac: &str, inet: Value| {
        json!({"name": name, "physical": mac, "inet": inet,
        "inet6": ["fe80::a8aa:aaff:feaa:aaaa"]})
    };
    let real = "00:0d:3a:11:22:33";
    for (name, mac) in [
        ("azv1234567", "aa:aa:aa:aa:aa:aa"),
        ("azv1234567", "aa:bb:cc:00:00:01"),
        ("Ethernet 9", "AA-AA-AA-AA-AA-AA"),
        ("x", "cc:cc:cc:cc:cc:cc"),
        ("eni7e1f0a9b2c3", "de:ad:be:00:00:01"),
        ("gke52af12b3c4d", "de:ad:be:00:00:01"),
        ("qbr1234abcd-12", "de:ad:be:00:00:01"),
        ("fwbr100i0", "de:ad:be:00:00:01"),
    ] {
        for named in ["203.0.113.9", "10.224.0.4"] {
            let interfaces = json!([one(name, mac, json!([])), one("eth0", real, json!(["10.224.0.4"]))]);
            let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "osType": "linux",
                "lastIpToMgmt": named, "networkInterfaces": interfaces});
            let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
            assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{event:#}");
            assert_fields(&event["device"], &[("ip", json!(named)), ("mac", json!(real))]);
            let is_shared = mac.ends_with("aa") || mac.ends_with("AA") || mac.ends_with("cc");
            assert_eq!(observed(&event).iter().any(|(_, value)| value == mac), !is_shared, "{event:#}");
            let event = map_to(Schema::Ecs, Stream::Agents, &agent);
            let macs = event["host"]["mac"].as_array().unwrap().len();
            assert_eq!(macs, if is_shared { 1 } else { 2 }, "{event:#}");
        }
    }
}

/// Interfaces between the machines of one manufacturer, which have MAC addresses but no address of a network.
#[test]
fn an_interface_without_an_address_lends_no_device_its_mac() {
    let one =
        |name: &str, mac: &str, ip: Value| json!({"name": name, "physical": mac, "inet": ip, "inet6": ["fe80::1"]});
    let real = "a4:83:e7:11:22:33";
    for name in ["llw0", "awdl0", "ap1", "anpi0", "anpi1", "bridge0", "p2p0", "en5", "Wi-Fi", ""] {
        for named in ["203.0.113.9", "10.8.0.2", "192.168.1.5"] {
            let peer = one(name, "a6:83:e7:11:22:33", json!([]));
            let own = one("en0", real, json!(["192.168.1.5"]));
            for interfaces in [json!([peer, own]), json!([own, peer])] {
                let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": named,
                    "networkInterfaces": interfaces});
                let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
                assert_fields(&event["device"], &[("ip", json!(named)), ("mac", json!(real))]);
            }
        }
    }
    // Such an interface does not count either if a Mac has no other.
    for (name, mac) in [("llw0", Value::Null), ("awdl0", Value::Null), ("en5", json!("a6:83:e7:11:22:33"))] {
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": "10.8.0.2",
            "networkInterfaces": [one(name, "a6:83:e7:11:22:33", json!([]))]});
        assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("device.mac", mac)]);
    }
    // With two interfaces that have addresses, the right one is unknown.
    let two = [one("en0", real, json!(["192.168.1.5"])), one("en1", "a4:83:e7:11:22:34", json!(["192.168.1.6"]))];
    let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "lastIpToMgmt": "203.0.113.9",
        "networkInterfaces": two});
    assert_fields(&map_to(Schema::Ocsf, Stream::Agents, &agent), &[("device.mac", Value::Null)]);
    // Tunnels of OpenShift, and of ZeroTier on a Mac, have MAC addresses.
    for name in ["tun0", "feth1234"] {
        let agent = json!({"id": "9", "updatedAt": "2026-01-01T00:00:00Z", "networkInterfaces":
            [one(name, "aa:bb:cc:00:00:01", json!(["10.128.0.1"])), one("eth0", real, json!(["192.168.1.5"]))]});
        let event = map_to(Schema::Ocsf, Stream::Agents, &agent);
        assert_fields(&event["device"], &[("ip", json!("192.168.1.5")), ("mac", json!(real))]);
    }
}
