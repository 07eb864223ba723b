//! Writing one event: each method puts a value of the record into a field of a certain type. A value that found its
//! place is taken from the record; what stays there goes to the vendor namespace in the end.

use std::net::IpAddr;

use super::mitre::Techniques;
use super::related::{Related, Set};
use super::severity::Severity;
use crate::record::{Escaped, Kind, Timestamp, Value};
use crate::transform::copy::Sibling;
use crate::transform::json::{Json, Open};

/// What is kept from event to event, so that mapping does not allocate.
#[derive(Debug, Clone, Default)]
pub(super) struct Scratch {
    pub related: Related,
    pub faults: String,
    pub siblings: Vec<Sibling>,
    path: Vec<&'static str>,
    lists: [Set; 2],
    pub techniques: Techniques,
}

/// The event that is being written.
#[derive(Debug)]
pub(super) struct Event<'o> {
    pub json: Json<'o>,
    pub related: &'o mut Related,
    faults: &'o mut String,
    path: &'o mut Vec<&'static str>,
    lists: &'o mut [Set; 2],
    pub techniques: &'o mut Techniques,
}

/// An object of the event that is being written.
#[must_use]
pub(super) struct Object(Open);

impl<'o> Event<'o> {
    pub fn new(out: &'o mut Vec<u8>, scratch: &'o mut Scratch) -> Self {
        scratch.related.clear();
        scratch.faults.clear();
        scratch.path.clear();
        Self {
            json: Json::new(out, &mut scratch.siblings),
            related: &mut scratch.related,
            faults: &mut scratch.faults,
            path: &mut scratch.path,
            lists: &mut scratch.lists,
            techniques: &mut scratch.techniques,
        }
    }

    #[inline]
    pub fn open(&mut self, name: &'static str) -> Object {
        self.path.push(name);
        Object(self.json.open(name))
    }

    #[inline]
    pub fn close(&mut self, object: Object) {
        self.path.pop();
        self.json.close(object.0);
    }

    /// Two empty lists of texts, which are to be given back.
    pub fn take_lists(&mut self) -> [Set; 2] {
        let mut lists = std::mem::take(self.lists);
        lists.iter_mut().for_each(Set::clear);
        lists
    }

    pub fn give_back_lists(&mut self, lists: [Set; 2]) {
        *self.lists = lists;
    }

    /// A value that does not fit stays in the record, as text, and `error.message` says so.
    fn unfit(&mut self, name: &str, value: &mut Value<'_>, expected: &str) {
        value.mark_unfit();
        self.fault(name, expected);
    }

    pub fn fault(&mut self, name: &str, expected: &str) {
        let mut path = self.path.join(".");
        if !path.is_empty() {
            path.push('.');
        }
        let fault = format!("{path}{name}: not {expected}");
        if !self.faults.split("; ").any(|known| known == fault) {
            if !self.faults.is_empty() {
                self.faults.push_str("; ");
            }
            self.faults.push_str(&fault);
        }
    }

    /// `error.message`, when there is something to say.
    pub fn close_faults(&mut self) {
        if !self.faults.is_empty() {
            let error = self.json.open("error");
            self.json.text("message", self.faults);
            self.json.close(error);
        }
    }

    /// Text as it is; digits and booleans as text.
    #[inline]
    pub fn keyword<'a>(&mut self, name: &str, value: &mut Value<'a>) -> Option<Escaped<'a>> {
        let text = value.escaped()?;
        value.take();
        self.json.escaped(name, text);
        Some(text)
    }

    /// A whole number, from a number or its digits in text.
    pub fn long(&mut self, name: &str, value: &mut Value<'_>) {
        let Some(text) = self.scalar(name, value, "a whole number") else { return };
        match text.trim().raw().parse::<i64>() {
            Ok(number) => self.whole_number(name, value, text, number),
            Err(_) => self.unfit(name, value, "a whole number"),
        }
    }

    /// Written otherwise than it came (`007`), it stays in the record as well.
    fn whole_number(&mut self, name: &str, value: &mut Value<'_>, text: Escaped<'_>, number: i64) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number);
        self.json.number(name, digits);
        if digits == text.raw() {
            value.take();
        }
    }

    pub fn port(&mut self, name: &str, value: &mut Value<'_>) {
        let Some(text) = self.scalar(name, value, "a port") else { return };
        match text.trim().raw().parse::<u16>() {
            Ok(number) => self.whole_number(name, value, text, number.into()),
            Err(_) => self.unfit(name, value, "a port"),
        }
    }

    /// `true` or `false`, from a boolean or its word in text.
    pub fn boolean(&mut self, name: &str, value: &mut Value<'_>) {
        if value.is_empty() {
            return;
        }
        match boolean(*value) {
            Some(truth) => {
                self.json.boolean(name, truth);
                if value.escaped().is_some_and(|text| text.raw() == if truth { "true" } else { "false" }) {
                    value.take();
                }
            }
            None => self.unfit(name, value, "a boolean"),
        }
    }

    /// An ISO 8601 date in UTC with the digits that the source gave, or a moment in seconds or milliseconds since 1970.
    /// A date that had to be rewritten stays in the record. True when a date was written.
    #[inline]
    pub fn date(&mut self, name: &str, value: &mut Value<'_>) -> bool {
        let Some(text) = self.scalar(name, value, "a date") else { return false };
        if says_nothing(text) {
            return false;
        }
        let raw = text.raw();
        let time = match raw.parse::<i64>() {
            Ok(moment) if (1_000_000_000..100_000_000_000).contains(&moment) => {
                Ok(Timestamp::from_micros(moment * 1_000_000))
            }
            Ok(moment) if (100_000_000_000..100_000_000_000_000).contains(&moment) => {
                Ok(Timestamp::from_micros(moment * 1_000))
            }
            // Where nothing happened yet, some records carry a zero.
            Ok(0) => return false,
            _ => Timestamp::parse(raw),
        };
        match time {
            Ok(_) if raw.ends_with('Z') && raw.as_bytes().get(10) == Some(&b'T') => {
                self.json.escaped(name, text);
                value.take();
                true
            }
            Ok(time) => {
                self.json.word(name, &time.to_string());
                true
            }
            Err(_) => {
                self.unfit(name, value, "a date");
                false
            }
        }
    }

    /// One address.
    #[inline]
    pub fn ip<'a>(&mut self, name: &str, value: &mut Value<'a>) {
        let Some(text) = self.scalar(name, value, "an IP address") else { return };
        if says_nothing(text) {
            return;
        }
        match address(text) {
            Some(address) => {
                self.json.escaped(name, address);
                self.related.ip.add(address);
                if address == text {
                    value.take();
                }
            }
            None => self.unfit(name, value, "an IP address"),
        }
    }

    /// Takes a value that is one address and nothing else: it is whole in a list of addresses.
    pub fn take_address(value: &mut Value<'_>) {
        if value.escaped().is_some_and(|text| address(text) == Some(text)) {
            value.take();
        }
    }

    /// The addresses of a list, or of a text in which they are separated by commas; all of them go to `related.ip` too.
    /// The value stays in the record.
    pub fn addresses<'a>(&mut self, name: &str, value: Value<'a>, mut take: impl FnMut(Escaped<'a>)) {
        let mut one = |event: &mut Self, value: Value<'a>| {
            let Some(text) = value.escaped() else { return !value.is_empty() };
            let mut bad = false;
            for part in text.split(',').filter(|part| !says_nothing(*part)) {
                match address(part) {
                    Some(address) => {
                        event.related.ip.add(address);
                        take(address);
                    }
                    None => bad = true,
                }
            }
            bad
        };
        let mut bad = false;
        if value.kind() == Kind::Array {
            for element in value.elements() {
                bad |= one(self, element);
            }
        } else {
            bad = one(self, value);
        }
        if bad {
            self.fault(name, "an IP address");
        }
    }

    /// `hash.*` of the object that is open, each value by its length; anything else stays in the record. What is written
    /// goes to `related.hash` too.
    pub fn hashes<'a, const N: usize>(&mut self, values: [&mut Value<'a>; N]) {
        let open = self.open("hash");
        let mut seen = [""; N];
        for (index, value) in values.into_iter().enumerate() {
            let Some((kind, text)) = value.escaped().and_then(hash) else { continue };
            if seen.contains(&kind) {
                continue;
            }
            seen[index] = kind;
            self.json.escaped(kind, text);
            self.related.hash.add_lower_case(text);
            value.take();
        }
        self.close(open);
    }

    /// Text that stays in the record, where there is any.
    #[inline]
    pub fn optional<'a>(&mut self, name: &str, text: Option<Escaped<'a>>) -> Option<Escaped<'a>> {
        if let Some(text) = text {
            self.json.escaped(name, text);
        }
        text
    }

    /// `event.reason`: the descriptions of the indicators that have been read.
    pub fn reasons(&mut self) {
        let mut descriptions = self.techniques.descriptions.iter();
        let Some(first) = descriptions.next() else { return };
        self.json.name("reason");
        self.json.raw(b"\"");
        self.json.raw(first.raw().as_bytes());
        for text in descriptions {
            self.json.raw(b"; ");
            self.json.raw(text.raw().as_bytes());
        }
        self.json.raw(b"\"");
    }

    /// Severity on the one scale of all streams.
    pub fn severity(&mut self, severity: Severity) {
        self.json.number("severity", severity.score());
    }

    /// A sentence of the parts that are there, each with what comes before it unless it is the first.
    pub fn sentence(&mut self, name: &str, parts: &[(&str, Option<Escaped<'_>>)]) {
        let mut first = true;
        for (before, part) in parts {
            let Some(part) = part else { continue };
            if first {
                self.json.name(name);
                self.json.raw(b"\"");
            } else {
                self.json.raw(before.as_bytes());
            }
            self.json.raw(part.raw().as_bytes());
            first = false;
        }
        if !first {
            self.json.raw(b"\"");
        }
    }

    /// A list of words.
    pub fn words(&mut self, name: &str, words: impl IntoIterator<Item = &'static str>) {
        let list = self.json.open_list(name);
        for word in words {
            self.json.element(Escaped::plain(word));
        }
        self.json.close(list);
    }

    fn scalar<'a>(&mut self, name: &str, value: &mut Value<'a>, expected: &str) -> Option<Escaped<'a>> {
        let text = value.escaped();
        if text.is_none() && !value.is_empty() {
            self.unfit(name, value, expected);
        }
        text
    }
}

/// `true` and `false`, also as text.
pub(super) fn boolean(value: Value<'_>) -> Option<bool> {
    let text = value.escaped()?;
    if text.is("true") {
        Some(true)
    } else if text.is("false") {
        Some(false)
    } else {
        None
    }
}

/// What the console writes where it knows no address, hash, user or date.
pub(super) fn says_nothing(text: Escaped<'_>) -> bool {
    ["n/a", "unknown"].into_iter().any(|word| text.is(word)) || text.raw().trim().is_empty()
}

/// A valid address; the zone of `fe80::1%eth0` is cut.
pub(super) fn address(text: Escaped<'_>) -> Option<Escaped<'_>> {
    let text = text.trim().raw();
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    text.parse::<IpAddr>().is_ok().then_some(Escaped::plain(text))
}

/// Which hash it is, by its length.
fn hash(text: Escaped<'_>) -> Option<(&'static str, Escaped<'_>)> {
    let kind = match text.raw().len() {
        32 => "md5",
        40 => "sha1",
        64 => "sha256",
        _ => return None,
    };
    text.raw().bytes().all(|byte| byte.is_ascii_hexdigit()).then_some((kind, text))
}
