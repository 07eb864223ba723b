//! MAC addresses, in any spelling.

use s1_forwarder_record::Escaped;

/// A MAC address of 6 or 8 bytes, with or without colons, hyphens or dots.
#[derive(Debug, Clone, Copy)]
pub struct Mac {
    /// The hexadecimal digits, as received.
    digits: [u8; 16],
    length: usize,
    number: u64,
    /// The separator of bytes: the received one if it separates single bytes, else a colon.
    separator: u8,
}

/// The text of a MAC address.
#[derive(Debug)]
pub struct MacText {
    bytes: [u8; 23],
    length: usize,
}

impl MacText {
    pub fn as_escaped(&self) -> Escaped<'_> {
        Escaped::plain(std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default())
    }
}

/// Beginnings of MAC addresses that programs give to the interfaces of their virtual networks, each with its length in
/// bits: VirtualBox, Docker, TAP adapters of VPNs, AnyConnect and GlobalProtect.
const VIRTUAL: [(u64, u32); 5] = [(0x0a_0027, 24), (0x0242, 16), (0x00ff, 16), (0x0005_9a3c, 32), (0x02_5041, 24)];

impl PartialEq for Mac {
    fn eq(&self, other: &Self) -> bool {
        (self.length, self.number) == (other.length, other.number)
    }
}

impl Mac {
    pub fn of(text: Escaped<'_>) -> Option<Self> {
        let mut mac = Self { digits: [0; 16], length: 0, number: 0, separator: b':' };
        for byte in text.trim().raw().bytes() {
            match char::from(byte).to_digit(16) {
                Some(digit) => {
                    *mac.digits.get_mut(mac.length)? = byte;
                    mac.length += 1;
                    mac.number = mac.number << 4 | u64::from(digit);
                }
                None if byte == b'-' && mac.length == 2 => mac.separator = byte,
                None if matches!(byte, b':' | b'-' | b'.') => {}
                None => return None,
            }
        }
        matches!(mac.length, 12 | 16).then_some(mac)
    }

    /// Returns the address in capitals with hyphens: `00-25-96-FF-FE-12`.
    pub fn with_hyphens(&self) -> MacText {
        self.spelled(b'-', |digit| digit.to_ascii_uppercase())
    }

    /// Returns the address with hyphens or colons as received, else with colons. `None` for a MAC address of 8 bytes.
    pub fn of_6_bytes(&self) -> Option<MacText> {
        (self.length == 12).then(|| self.spelled(self.separator, |digit| digit))
    }

    fn spelled(&self, separator: u8, spell: impl Fn(u8) -> u8) -> MacText {
        let mut text = MacText { bytes: [separator; 23], length: self.length + self.length / 2 - 1 };
        for (at, digit) in self.digits[..self.length].iter().enumerate() {
            text.bytes[at + at / 2] = spell(*digit);
        }
        text
    }

    /// Returns whether this is the MAC address of a loopback interface.
    pub fn is_zero(&self) -> bool {
        self.number == 0
    }

    /// Returns whether a program gave this address to an interface of its virtual network.
    pub fn is_virtual(&self) -> bool {
        self.is_of_many()
            || self.length == 12 && VIRTUAL.iter().any(|(known, bits)| self.number >> (48 - bits) == *known)
    }

    /// Returns whether many machines have this MAC address. Some addresses are not assigned; others are the same at
    /// each installation of a program, or at each adapter of a kind.
    pub fn is_of_many(&self) -> bool {
        // One byte that is repeated: zeros, a broadcast, and the interfaces of Calico and of Azure's network for pods.
        let ones = if self.length == 12 { 0x0101_0101_0101 } else { 0x0101_0101_0101_0101 };
        if self.number.is_multiple_of(ones) {
            return true;
        }
        matches!(
            self.number,
            // Android and iOS return this address to programs that may not read the real one.
            0x0200_0000_0000
            // The tunnels of Windows for IPv6: Teredo, ISATAP. They have 8 bytes.
            | 0xe0
            // GlobalProtect, and Pulse Secure.
            | 0x0250_4100_0001
            // Cisco AnyConnect, both generations of its adapter: in many inventories.
            | 0x0005_9a3c_7800
            | 0x0005_9a3c_7a00
            // FortiClient: its virtual adapter, and the adapter of its SSL VPN.
            | 0x0009_0ffe_0001
            | 0x0009_0faa_0001
            // Juniper Networks Virtual Adapter
            | 0x0205_857f_eb80
            // The loopback adapters of Npcap and Microsoft: `LOOP` in ASCII.
            | 0x0200_4c4f_4f50
            // VMnet1 and VMnet8 of VMware, and the host's adapters of VirtualBox and Parallels, by their number.
            | 0x0050_56c0_0000..=0x0050_56c0_000f
            | 0x0a00_2700_0000..=0x0a00_2700_00ff
            | 0x001c_4200_0000..=0x001c_4200_00ff
            // The T2 chip within a Mac, which is an interface of the Mac.
            | 0xacde_4800_1122
            // The interfaces of Xen domains on their host.
            | 0xfeff_ffff_ffff
            // The host's end of the network to the BMC of a server (Supermicro and others with firmware of AMI).
            | 0xbe3a_f2b6_059f
            // The bridges of LXC, Waydroid and OpenShift Local.
            | 0x0016_3e00_0000..=0x0016_3e00_0001
            | 0x5254_00fd_bed0
            // A guest of QEMU that was started without a MAC address.
            | 0x5254_0012_3456
            // Adapters of Windows for dial-in and VPNs, named in ASCII: `PPTP00`, `3PoE00`, ` ASYN`.
            | 0x5050_5450_3030
            | 0x3350_6f45_3030
            | 0x2041_5359_4eff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(text: &str) -> Option<Mac> {
        Mac::of(Escaped::plain(text))
    }

    #[test]
    fn an_address_has_one_form_with_hyphens_and_its_own_of_6_bytes() {
        let with_hyphens = |text| mac(text).map(|mac| mac.with_hyphens().as_escaped().raw().to_owned());
        let of_6_bytes = |text| mac(text)?.of_6_bytes().map(|text| text.as_escaped().raw().to_owned());
        for (text, own) in [
            ("00:00:5e:00:53:00", "00:00:5e:00:53:00"),
            ("00-00-5E-00-53-00", "00-00-5E-00-53-00"),
            ("0000.5e00.5300", "00:00:5e:00:53:00"),
            ("0000-5E00-5300", "00:00:5E:00:53:00"),
            ("00005e005300", "00:00:5e:00:53:00"),
            (" 00005E005300 ", "00:00:5E:00:53:00"),
        ] {
            assert_eq!(with_hyphens(text).as_deref(), Some("00-00-5E-00-53-00"), "{text}");
            assert_eq!(of_6_bytes(text).as_deref(), Some(own), "{text}");
        }
        let long = "00:25:96:FF:FE:12:34:56";
        assert_eq!((with_hyphens(long).as_deref(), of_6_bytes(long)), (Some("00-25-96-FF-FE-12-34-56"), None));
        for text in ["", "x", "00:00", "zz:zz:zz:zz:zz:zz", "00:25:96:FF:FE:12:34:56:78", "0050569A1B2", "n/a"] {
            assert!(mac(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_address_of_many_machines_is_one_in_any_spelling() {
        for text in [
            "00:00:00:00:00:00",
            "00:00:00:00:00:00:00:00",
            "00-00-00-00-00-00-00-E0",
            "02:50:41:00:00:01",
            "00-09-0F-AA-00-01",
            "0005.9a3c.7a00",
            "02004C4F4F50",
            "001C.4200.0009",
            "acde48001122",
            "BE-3A-F2-B6-05-9F",
            "00:16:3e:00:00:01",
            "ffffffffffffffff",
            "aa:aa:aa:aa:aa:aa",
            "EE-EE-EE-EE-EE-EE-EE-EE",
        ] {
            assert!(mac(text).unwrap().is_of_many(), "{text}");
        }
        for text in [
            "00:00:00:00:00:01",
            "02:50:41:00:00:02",
            "00:05:9a:3c:7b:00",
            "00:16:3e:00:00:02",
            "52:54:00:12:34:57",
            "aa:aa:aa:aa:aa:ab",
            "00:25:96:FF:FE:12:34:56",
        ] {
            assert!(!mac(text).unwrap().is_of_many(), "{text}");
        }
        for text in ["0242ac110002", "0a:00:27:00:01:02", "00-FF-12-34-56-78"] {
            assert!(mac(text).unwrap().is_virtual() && !mac(text).unwrap().is_of_many(), "{text}");
        }
        assert!(!mac("02:42:ac:11:00:02:00:00").unwrap().is_virtual());
    }
}
