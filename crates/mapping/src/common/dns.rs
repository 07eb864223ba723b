//! The answers of a DNS response, which the console writes as one text.

use s1_forwarder_record::Escaped;

use super::address::Address;
use super::missing::is_missing_word;
use super::words::Words;

/// Words that stand for the answer in a response without one.
const NO_DATA: [&str; 5] = ["-", "NODATA", "NXDOMAIN", "REFUSED", "SERVFAIL"];

/// One of the answers in a response.
pub struct Answer<'a> {
    pub kind: Option<&'static str>,
    pub data: Data<'a>,
}

pub enum Data<'a> {
    Address(Address),
    Text(Escaped<'a>),
}

impl<'a> Answer<'a> {
    /// Reads `type: 5 www.example.com`, or data without its type.
    pub fn of(text: Escaped<'a>) -> Option<Self> {
        let (kind, data) = match text.raw().split_at_checked(5) {
            Some((prefix, typed)) if prefix.eq_ignore_ascii_case("type:") => {
                let (number, data) = typed.trim_start().split_once(' ')?;
                (RECORD_TYPES.find(number), Escaped::plain(data.trim()))
            }
            _ => (None, text),
        };
        if is_missing_word(data) || NO_DATA.iter().any(|word| data.is(word)) {
            return None;
        }
        Some(match Address::of(data) {
            Some(address) => {
                Self { kind: Some(if address.is_v6() { "AAAA" } else { "A" }), data: Data::Address(address) }
            }
            None => Self { kind, data: Data::Text(data) },
        })
    }

    pub fn data(&self) -> Escaped<'_> {
        match &self.data {
            Data::Address(address) => address.as_escaped(),
            Data::Text(text) => *text,
        }
    }

    /// Returns whether the data is the name of a host.
    pub fn is_host(&self) -> bool {
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        match self.kind {
            Some(kind) => OF_HOSTS.contains(&kind),
            None => is_name(self.data().raw()),
        }
    }
}

/// Names of record types, by their numbers at IANA.
pub const RECORD_TYPES: Words<&str> = Words {
    field: "dns.answers[].type",
    rows: &[
        ("1", "A"),
        ("2", "NS"),
        ("5", "CNAME"),
        ("6", "SOA"),
        ("12", "PTR"),
        ("15", "MX"),
        ("16", "TXT"),
        ("28", "AAAA"),
        ("33", "SRV"),
        ("64", "SVCB"),
        ("65", "HTTPS"),
    ],
};

/// Types whose data is the name of a host.
const OF_HOSTS: [&str; 3] = ["CNAME", "NS", "PTR"];
