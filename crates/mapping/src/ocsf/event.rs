//! Writes one event. Each method writes a value of the record into an attribute of a certain type, and marks the value
//! as used. Values that are not marked go to `unmapped`.

use std::ops::{Deref, DerefMut};

use s1_forwarder_record::{Escaped, Timestamp, Value};

use super::class::Class;
use super::observables::{ObservableType, Observables};
use crate::common::account::{Account, is_email};
use crate::common::address::Address;
use crate::common::date::{self, Date};
use crate::common::hash::hash;
use crate::common::mac::Mac;
use crate::common::missing::{is_missing_word, trimmed};
use crate::common::severity::Severity;
use crate::json::{Json, OpenContainer};
use crate::names::DistinctNames;
use crate::used::Used;
use crate::writer::Writer;

/// Buffers that are reused for the next event, so that mapping does not allocate.
#[derive(Debug, Clone, Default)]
pub(super) struct Scratch {
    observables: Observables,
    used: Used,
    pub names: DistinctNames,
    path: String,
}

/// Attributes that an event has only with a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    Cloud,
    Container,
    Host,
    Incident,
    SecurityControl,
}

impl Profile {
    /// In the order of their names.
    const ALL: [(Self, &'static str); 5] = [
        (Self::Cloud, "cloud"),
        (Self::Container, "container"),
        (Self::Host, "host"),
        (Self::Incident, "incident"),
        (Self::SecurityControl, "security_control"),
    ];
}

#[derive(Debug)]
pub(super) struct Event<'o> {
    writer: Writer<'o>,
    pub class: Class,
    observables: &'o mut Observables,
    /// The path of the open object.
    path: &'o mut String,
    profiles: u8,
    /// Whether an attribute of the Windows extension is used.
    pub uses_windows: bool,
}

impl<'o> Deref for Event<'o> {
    type Target = Writer<'o>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.writer
    }
}

impl DerefMut for Event<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.writer
    }
}

/// An object or a list of the event that is not closed yet.
#[must_use]
pub(super) struct Object {
    open: OpenContainer,
    /// The length of the path outside.
    outside: usize,
}

impl<'o> Event<'o> {
    pub fn new(out: &'o mut Vec<u8>, scratch: &'o mut Scratch) -> Self {
        scratch.observables.clear();
        scratch.path.clear();
        Self {
            writer: Writer::new(Json::new(out, &mut scratch.names), &mut scratch.used),
            class: Class::BaseEvent,
            observables: &mut scratch.observables,
            path: &mut scratch.path,
            profiles: 0,
            uses_windows: false,
        }
    }

    #[inline]
    pub fn open(&mut self, name: &str) -> Object {
        let outside = enter(self.path, name);
        Object { open: self.json.open(name), outside }
    }

    pub fn open_list(&mut self, name: &str) -> Object {
        let outside = enter(self.path, name);
        self.path.push_str("[]");
        Object { open: self.json.open_list(name), outside }
    }

    /// Opens an object as an element of the open list.
    pub fn open_element(&mut self) -> Object {
        Object { open: self.json.open_element(), outside: self.path.len() }
    }

    #[inline]
    pub fn close(&mut self, object: Object) {
        self.path.truncate(object.outside);
        self.json.close(object.open);
    }

    /// Closes an object, or leaves it out if it is not `valid`.
    pub fn close_if(&mut self, object: Object, valid: bool) {
        self.path.truncate(object.outside);
        if valid { self.json.close(object.open) } else { self.json.discard(object.open) }
    }

    pub fn is_empty(&self, object: &Object) -> bool {
        self.json.is_empty(object.open)
    }

    pub fn using(&mut self, profile: Profile) {
        self.profiles |= 1 << profile as u8;
    }

    /// Returns the names of the profiles whose attributes were written.
    pub fn profiles(&self) -> impl Iterator<Item = &'static str> + use<> {
        let profiles = self.profiles;
        Profile::ALL.into_iter().filter(move |(profile, _)| profiles & (1 << *profile as u8) != 0).map(|(_, name)| name)
    }

    /// Adds an attribute of the open object to the observables.
    pub fn observe(&mut self, kind: ObservableType, attribute: &str, text: Escaped<'_>) {
        self.observables.add(kind, self.path, attribute, text);
    }

    /// Adds a value below `unmapped`.
    pub fn observe_unmapped(&mut self, kind: ObservableType, path: &str, text: Escaped<'_>) {
        self.observables.add(kind, "unmapped", path, text);
    }

    /// Adds a value, which is at its path as received, to the observables. It is left out if it is not of this type, or
    /// if the list already has it in the spelling of other attributes.
    pub fn observe_received(&mut self, kind: ObservableType, attribute: &str, value: Value<'_>) {
        let Some(text) = value.escaped().filter(|text| !is_missing_word(*text)) else { return };
        match kind {
            // The name of a host may be its address.
            ObservableType::IpAddress | ObservableType::Hostname => match Address::of(text) {
                Some(address) if address.is_own() => {
                    self.observe_spelling(ObservableType::IpAddress, attribute, text, address.as_escaped());
                }
                None if kind == ObservableType::Hostname => self.observe(kind, attribute, text),
                _ => {}
            },
            ObservableType::MacAddress => {
                match Mac::of(text).filter(|mac| !mac.is_of_many()).map(|mac| mac.of_6_bytes()) {
                    Some(Some(usual)) => self.observe_spelling(kind, attribute, text, usual.as_escaped()),
                    Some(None) => self.observe(kind, attribute, text),
                    None => {}
                }
            }
            ObservableType::Hash => {
                if let Some((_, text)) = hash(text) {
                    self.observe_spelling(kind, attribute, text, Escaped::plain(&text.raw().to_ascii_lowercase()));
                }
            }
            ObservableType::EmailAddress if !is_email(text) => {}
            ObservableType::UserName => {
                let account = Account::of_text(text);
                self.observe_spelling(kind, attribute, text, account.map_or(text, |account| account.name));
            }
            _ => self.observe(kind, attribute, text),
        }
    }

    fn observe_spelling(&mut self, kind: ObservableType, attribute: &str, text: Escaped<'_>, usual: Escaped<'_>) {
        if !self.observables.has(kind, usual) {
            self.observe(kind, attribute, text);
        }
    }

    pub fn write_observables(&mut self) {
        self.observables.write(&mut self.writer.json);
    }

    /// Writes `NAME_id` and `NAME`.
    #[inline]
    pub fn choice(&mut self, name: &str, id: u16, caption: &str) {
        self.json.choice(name, itoa::Buffer::new().format(id), caption);
    }

    /// Writes `NAME_id` and `NAME` of a value that OCSF does not list. `word` is the console's word.
    pub fn other(&mut self, name: &str, word: Escaped<'_>) {
        self.json.choice(name, "99", word.raw());
    }

    /// Writes a value that no table has, as [`Self::other`] does. Returns false for a placeholder.
    pub fn other_value(&mut self, name: &str, value: Value<'_>) -> bool {
        let Some(word) = value.escaped().filter(|word| !is_missing_word(*word)) else { return false };
        self.other(name, word);
        self.mark(value);
        true
    }

    pub fn severity(&mut self, severity: Option<Severity>) {
        match severity {
            Some(severity) => self.choice("severity", severity_id(severity), severity.capitalised()),
            None => self.choice("severity", 0, "Unknown"),
        }
    }

    /// Writes `title` without the blanks around it. A value with such blanks stays in the record.
    pub fn title<'a>(&mut self, value: Value<'a>) -> Option<Escaped<'a>> {
        let text = trimmed(value)?;
        self.json.escaped("title", text);
        self.mark_if(value, text.raw());
        Some(text)
    }

    /// Writes a text as [`Self::text`] does, and adds it to the observables.
    pub fn observed<'a>(&mut self, kind: ObservableType, name: &str, value: Value<'a>) -> Option<Escaped<'a>> {
        let text = self.text(name, value)?;
        self.observe(kind, name, text);
        Some(text)
    }

    /// Writes a time in milliseconds; finer digits are lost. Returns whether there was a time.
    pub fn time<'a>(&mut self, name: &str, value: Value<'a>) -> bool {
        let Some(time) = self.read_time(value) else { return false };
        self.timestamp(name, time);
        self.mark(value);
        true
    }

    /// Reads a time for an attribute, and notes whether it has no zone.
    pub fn read_time(&mut self, value: Value<'_>) -> Option<Timestamp> {
        let time = time(value)?;
        self.json.keys.without_zone |= value.escaped().is_some_and(|text| date::is_without_zone(text.raw()));
        Some(time)
    }

    /// Marks the values that are times.
    pub fn mark_times<const N: usize>(&mut self, values: [Value<'_>; N]) {
        values.into_iter().filter(|value| time(*value).is_some()).for_each(|value| self.mark(value));
    }

    pub fn timestamp(&mut self, name: &str, time: Timestamp) {
        self.json.number(name, itoa::Buffer::new().format(time.millis()));
    }

    /// Writes a whole number, from a number or from text. A value of another type stays in the record.
    pub fn integer<'a>(&mut self, name: &str, value: Value<'a>) {
        if let Some(number) = integer(value) {
            self.number(name, value, number);
        }
    }

    /// Writes a port. The console has 0 if there is no port.
    pub fn port<'a>(&mut self, name: &str, value: Value<'a>) {
        if integer(value).is_some_and(|port| (1..=65_535).contains(&port)) {
            self.integer(name, value);
        }
    }

    /// Writes an address. Returns false if the value is not one.
    pub fn ip<'a>(&mut self, name: &str, value: Value<'a>) -> bool {
        let Some(address) = address(value) else { return false };
        self.address_of(name, value, &address);
        self.observe_address(name, &address);
        true
    }

    pub fn address(&mut self, name: &str, address: &Address) {
        self.json.escaped(name, address.as_escaped());
        self.observe_address(name, address);
    }

    fn observe_address(&mut self, name: &str, address: &Address) {
        if address.is_own() {
            self.observe(ObservableType::IpAddress, name, address.as_escaped());
        }
    }

    /// Writes an e-mail address; other texts stay in the record. Returns whether it was one.
    pub fn email<'a>(&mut self, name: &str, value: Value<'a>) -> bool {
        value.escaped().is_some_and(is_email) && self.observed(ObservableType::EmailAddress, name, value).is_some()
    }

    /// Writes `hashes` of the open object. The length of a value shows its algorithm; values that are not hashes stay
    /// in the record.
    pub fn hashes<'a, const N: usize>(&mut self, values: [Value<'a>; N]) {
        let list = self.open_list("hashes");
        for (kind, text) in self.take_hashes(values).into_iter().flatten() {
            let (id, caption) = match kind {
                "md5" => (1, "MD5"),
                "sha1" => (2, "SHA-1"),
                _ => (3, "SHA-256"),
            };
            let element = self.open_element();
            self.choice("algorithm", id, caption);
            self.json.raw(br#","encoding_id":1,"encoding":"Hex""#);
            self.lower_case("value", ObservableType::Hash, text);
            self.close(element);
        }
        self.close(list);
    }

    /// Writes a text in lower case, as an observable.
    pub fn lower_case(&mut self, name: &str, kind: ObservableType, text: Escaped<'_>) {
        self.json.lower_case(name, text);
        self.observe_lower_case(kind, name, text);
    }

    fn observe_lower_case(&mut self, kind: ObservableType, name: &str, text: Escaped<'_>) {
        if text.raw().bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.observe(kind, name, Escaped::plain(&text.raw().to_ascii_lowercase()));
        } else {
            self.observe(kind, name, text);
        }
    }

    /// Writes a list with one text.
    pub fn list_of(&mut self, name: &str, text: Option<Escaped<'_>>) {
        let list = self.json.open_list(name);
        if let Some(text) = text.filter(|text| !is_missing_word(*text)) {
            self.json.element(text);
        }
        self.json.close(list);
    }
}

/// Adds a name to the path of an object. Returns the previous length of the path.
pub(super) fn enter(path: &mut String, name: &str) -> usize {
    let outside = path.len();
    if outside > 0 {
        path.push('.');
    }
    path.push_str(name);
    outside
}

pub(super) fn severity_id(severity: Severity) -> u16 {
    severity as u16 + 1
}

/// Reads a time; `None` if the value is not a valid one.
pub(super) fn time(value: Value<'_>) -> Option<Timestamp> {
    let text = value.escaped().filter(|text| !is_missing_word(*text))?;
    match date::read(text.raw()) {
        Date::At(time) => Some(time),
        Date::Missing | Date::Invalid => None,
    }
}

pub(super) fn integer(value: Value<'_>) -> Option<i64> {
    value.escaped()?.trim().raw().parse().ok().filter(|number| *number >= 0)
}

/// Reads an address as [`Address::of_value`] does.
pub(super) fn address(value: Value<'_>) -> Option<Address> {
    Address::of_value(value)
}
