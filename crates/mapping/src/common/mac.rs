//! MAC addresses in one spelling, so that equal addresses are equal texts.

use s1_forwarder_record::{Escaped, Value};

/// An address of 6 or 8 bytes in the form `00-25-96-FF-FE-12`. Zeros, as a loopback interface has, are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac {
    text: [u8; 23],
    length: usize,
}

impl Mac {
    pub fn of(text: Escaped<'_>) -> Option<Self> {
        let mut mac = Self { text: [b'-'; 23], length: 0 };
        let mut digits = 0;
        for byte in text.trim().raw().bytes().filter(|byte| !matches!(byte, b':' | b'-' | b'.')) {
            if !byte.is_ascii_hexdigit() || digits == 16 {
                return None;
            }
            mac.text[digits + digits / 2] = byte.to_ascii_uppercase();
            digits += 1;
        }
        mac.length = digits + digits / 2 - 1.min(digits);
        (matches!(digits, 12 | 16) && !is_zero(mac.as_str())).then_some(mac)
    }

    pub fn of_value(value: Value<'_>) -> Option<Self> {
        Self::of(value.escaped()?)
    }

    pub fn as_escaped(&self) -> Escaped<'_> {
        Escaped::plain(self.as_str())
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

/// Whether the text has no other digits than zeros.
pub fn is_zero(mac: &str) -> bool {
    mac.bytes().all(|byte| matches!(byte, b'0' | b':' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_has_one_spelling() {
        let mac = |text| Mac::of(Escaped::plain(text)).map(|mac| mac.as_str().to_owned());
        for text in ["00:00:5e:00:53:00", "00-00-5E-00-53-00", "0000.5e00.5300", "00005e005300"] {
            assert_eq!(mac(text).as_deref(), Some("00-00-5E-00-53-00"), "{text}");
        }
        assert_eq!(mac("00:25:96:FF:FE:12:34:56").as_deref(), Some("00-25-96-FF-FE-12-34-56"));
        for text in ["", "x", "00:00", "00:00:00:00:00:00", "zz:zz:zz:zz:zz:zz", "00:25:96:FF:FE:12:34:56:78"] {
            assert_eq!(mac(text), None);
        }
    }
}
