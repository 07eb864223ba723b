//! MAC addresses that identify no machine.

/// Whether many machines have this MAC address: one of zeros, as a loopback interface has, and those that are the same
/// at each client of a VPN, or at each adapter of a kind.
pub fn is_of_many(text: &str) -> bool {
    let digits = text.bytes().filter_map(|byte| char::from(byte).to_digit(16));
    let number = digits.fold(0u64, |number, digit| number << 4 | u64::from(digit));
    matches!(
        number,
        0
        // What programs get that may not know the address (Android, iOS), and a broadcast.
        | 0x0200_0000_0000
        | 0xffff_ffff_ffff
        // GlobalProtect, and Pulse Secure.
        | 0x0250_4100_0001
        // Cisco AnyConnect, of either generation of its adapter: in many inventories.
        | 0x0005_9a3c_7800
        | 0x0005_9a3c_7a00
        // FortiClient: its virtual adapter, and that of its SSL VPN.
        | 0x0009_0ffe_0001
        | 0x0009_0faa_0001
        // Juniper Networks Virtual Adapter
        | 0x0205_857f_eb80
        // The loopback adapters of Npcap and Microsoft: `LOOP` in ASCII.
        | 0x0200_4c4f_4f50
        // VMnet1 and VMnet8 of VMware, and the host's adapters of VirtualBox, by their number.
        | 0x0050_56c0_0000..=0x0050_56c0_000f
        | 0x0a00_2700_0000..=0x0a00_2700_00ff
        // The interfaces of Calico, and those of the domains of Xen on their host.
        | 0xeeee_eeee_eeee
        | 0xfeff_ffff_ffff
        // Adapters of Windows for dial-in and VPNs, named in ASCII: `PPTP00`, `3PoE00`, ` ASYN`.
        | 0x5050_5450_3030
        | 0x3350_6f45_3030
        | 0x2041_5359_4eff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_many_machines_is_one_in_any_spelling() {
        for text in ["00:00:00:00:00:00", "02:50:41:00:00:01", "00-09-0F-AA-00-01", "0005.9a3c.7a00", "02004C4F4F50"] {
            assert!(is_of_many(text), "{text}");
        }
        for text in ["00:00:00:00:00:01", "02:50:41:00:00:02", "00:05:9a:3c:7b:00"] {
            assert!(!is_of_many(text), "{text}");
        }
    }
}
