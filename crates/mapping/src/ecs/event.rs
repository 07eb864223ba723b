//! Writes one event. Each method writes a value of the record into a field of a certain type, and marks the value as
//! used. Values that are not marked go to the vendor namespace.

use std::ops::{Deref, DerefMut};

use s1_forwarder_record::{Escaped, Kind, Value};

use super::related::Related;
use crate::common::address::Address;
use crate::common::date::{self, Date};
use crate::common::float::float;
use crate::common::hash::hash;
use crate::common::image::Image;
pub(super) use crate::common::missing::{boolean, is_missing_word, is_set};
use crate::common::severity::Severity;
use crate::common::text_set::TextSet;
use crate::common::threat::extension;
use crate::json::{Json, OpenContainer};
use crate::names::DistinctNames;
use crate::used::Used;
use crate::writer::Writer;

/// Buffers that are reused for the next event, so that mapping does not allocate.
#[derive(Debug, Clone, Default)]
pub(super) struct Scratch {
    pub related: Related,
    used: Used,
    errors: String,
    pub names: DistinctNames,
    path: Vec<&'static str>,
    sets: [TextSet; 2],
}

#[derive(Debug)]
pub(super) struct Event<'o> {
    writer: Writer<'o>,
    pub related: &'o mut Related,
    errors: &'o mut String,
    path: &'o mut Vec<&'static str>,
    sets: &'o mut [TextSet; 2],
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

/// An object of the event that is not closed yet.
#[must_use]
pub(super) struct Object(OpenContainer);

impl<'o> Event<'o> {
    pub fn new(out: &'o mut Vec<u8>, scratch: &'o mut Scratch) -> Self {
        scratch.related.clear();
        scratch.errors.clear();
        scratch.path.clear();
        Self {
            writer: Writer::new(Json::new(out, &mut scratch.names), &mut scratch.used),
            related: &mut scratch.related,
            errors: &mut scratch.errors,
            path: &mut scratch.path,
            sets: &mut scratch.sets,
        }
    }

    #[inline]
    pub fn open(&mut self, name: &'static str) -> Object {
        self.path.push(name);
        Object(self.json.open(name))
    }

    pub fn is_empty(&self, object: &Object) -> bool {
        self.json.is_empty(object.0)
    }

    #[inline]
    pub fn close(&mut self, object: Object) {
        self.path.pop();
        self.json.close(object.0);
    }

    /// Lends two empty sets; give them back with [`Self::return_sets`].
    pub fn take_sets(&mut self) -> [TextSet; 2] {
        let mut sets = std::mem::take(self.sets);
        sets.iter_mut().for_each(TextSet::clear);
        sets
    }

    pub fn return_sets(&mut self, sets: [TextSet; 2]) {
        *self.sets = sets;
    }

    /// Reports a value that does not fit the type of its field. The value stays in the record, as text, and
    /// `error.message` names the field.
    fn mismatch(&mut self, name: &str, value: Value<'_>, expected: &str) {
        self.mark_mismatched(value);
        self.add_error(name, expected);
    }

    pub fn add_error(&mut self, name: &str, expected: &str) {
        let mut path = self.path.join(".");
        if !path.is_empty() {
            path.push('.');
        }
        let error = format!("{path}{name}: not {expected}");
        if !self.errors.split("; ").any(|known| known == error) {
            if !self.errors.is_empty() {
                self.errors.push_str("; ");
            }
            self.errors.push_str(&error);
        }
    }

    /// Writes `error.message` if there were errors.
    fn write_errors(&mut self) {
        if !self.errors.is_empty() {
            let json = &mut self.writer.json;
            let error = json.open("error");
            json.text("message", self.errors);
            json.close(error);
        }
    }

    /// Writes `name` and `executable` of the open process. Marks `value` as used if it is the same text.
    pub fn image(&mut self, image: Option<Image<'_>>, value: Value<'_>) {
        let Some(image) = image else { return };
        self.optional("name", Some(image.name));
        if let Some(path) = image.path {
            self.json.escaped("executable", path);
        }
        self.mark_if(value, image.text().raw());
    }

    /// Writes `name` and `executable` of the open process, each from the other one if it is missing.
    pub fn name_and_executable(&mut self, name: Value<'_>, executable: Value<'_>) {
        let [named, path] = [Image::of(name), Image::at(executable)];
        let image = named.or(path).map(|image| Image { path: path.or(named).and_then(|image| image.path), ..image });
        self.image(image, executable);
        if let Some(image) = named {
            self.mark_if(name, image.name.raw());
        }
    }

    /// Writes a path without the console's addition.
    pub fn path<'a>(&mut self, name: &str, value: Value<'a>) -> Option<Image<'a>> {
        let image = Image::at(value)?;
        self.json.escaped(name, image.text());
        self.mark_if(value, image.text().raw());
        Some(image)
    }

    /// Writes `extension` of the open file object.
    pub fn extension(&mut self, path: Value<'_>) {
        if let Some(extension) = Image::at(path).and_then(|image| extension(image.name)) {
            self.json.lower_case("extension", extension);
        }
    }

    /// Writes the address of the console's page.
    pub fn url(&mut self, parts: &[&str]) {
        self.json.name("url");
        self.json.raw(b"\"");
        parts.iter().for_each(|part| self.json.raw(part.as_bytes()));
        self.json.raw(b"\"");
    }

    /// Writes a whole number, from a number or from text.
    pub fn long<'a>(&mut self, name: &str, value: Value<'a>) {
        let Some(text) = self.scalar(name, value, "a whole number").filter(|text| !is_missing_word(*text)) else {
            return;
        };
        match text.trim().raw().parse::<i64>() {
            // Counts, sizes and numbers of processes are not negative: a negative number means that there is none.
            Ok(..0) => {}
            Ok(number) => self.number(name, value, number),
            Err(_) => self.mismatch(name, value, "a whole number"),
        }
    }

    /// Writes a number with decimals, from a number or from text. If its digits change (`7`, `7.00`), the value also
    /// stays in the record.
    pub fn float(&mut self, name: &str, value: Value<'_>) {
        let Some(text) = self.scalar(name, value, "a number").filter(|text| !is_missing_word(*text)) else { return };
        match float(text) {
            // Scores are not negative either.
            Some(digits) if digits.starts_with('-') => {}
            Some(digits) => {
                self.json.number(name, &digits);
                self.mark_if(value, &digits);
            }
            None if is_missing_word(text) => {}
            None => self.mismatch(name, value, "a number"),
        }
    }

    /// Writes a port. The console has 0 if there is no port.
    pub fn port<'a>(&mut self, name: &str, value: Value<'a>) {
        let Some(text) = self.scalar(name, value, "a port").filter(|text| !is_missing_word(*text)) else { return };
        match text.trim().raw().parse::<u16>() {
            Ok(0) => {}
            Ok(number) => self.number(name, value, number.into()),
            Err(_) => self.mismatch(name, value, "a port"),
        }
    }

    /// Writes a boolean, from a boolean or from text.
    pub fn boolean<'a>(&mut self, name: &str, value: Value<'a>) {
        if value.is_empty() {
            return;
        }
        match boolean(value) {
            Some(boolean) => {
                self.json.boolean(name, boolean);
                self.mark_if(value, if boolean { "true" } else { "false" });
            }
            None => self.mismatch(name, value, "a boolean"),
        }
    }

    /// Writes a date, from ISO 8601 or from seconds or milliseconds since 1970. A UTC date keeps its digits; a date
    /// that has to be rewritten also stays in the record. A time up to the first day of 1970, and a time centuries
    /// ahead, mean that there is no date. Returns true if a date was written.
    #[inline]
    pub fn date<'a>(&mut self, name: &str, value: Value<'a>) -> bool {
        let Some(text) = self.scalar(name, value, "a date") else { return false };
        if is_missing_word(text) {
            return false;
        }
        let raw = text.raw();
        match date::read(raw) {
            Date::Missing => false,
            Date::At(_) if date::is_plain(raw) => {
                self.json.escaped(name, text);
                self.mark(value);
                true
            }
            Date::At(time) => {
                self.json.keys.without_zone |= date::is_without_zone(raw);
                self.json.word(name, &time.to_string());
                true
            }
            Date::Invalid => {
                self.mismatch(name, value, "a date");
                false
            }
        }
    }

    /// Writes one address.
    #[inline]
    pub fn ip<'a>(&mut self, name: &str, value: Value<'a>) {
        let Some(text) = self.scalar(name, value, "an IP address") else { return };
        if is_missing_word(text) {
            return;
        }
        match Address::of(text) {
            Some(address) if address.is_unspecified() => {}
            Some(address) => {
                self.address_of(name, value, &address);
                self.related.add_ip(&address);
            }
            None => self.mismatch(name, value, "an IP address"),
        }
    }

    /// Marks a value as used if it is exactly one address. A list of addresses already contains it.
    pub fn mark_address<'a>(&mut self, value: Value<'a>) {
        let is_same = |text| Address::of(text).is_some_and(|address| address.is_own() && address.as_escaped() == text);
        if value.escaped().is_some_and(is_same) {
            self.mark(value);
        }
    }

    /// Calls `visit` with each address of a list, or of a text with commas, and adds the address to `related.ip`. The
    /// value stays in the record.
    pub fn addresses(&mut self, name: &str, value: Value<'_>, mut visit: impl FnMut(Address)) {
        let mut visit_one = |event: &mut Self, value: Value<'_>| {
            let Some(text) = value.escaped() else { return !value.is_empty() };
            let mut is_invalid = false;
            for part in text.split(',').filter(|part| !is_missing_word(*part)) {
                match Address::of(part) {
                    Some(address) if !address.is_own() => {}
                    Some(address) => {
                        event.related.add_ip(&address);
                        visit(address);
                    }
                    None => is_invalid = true,
                }
            }
            is_invalid
        };
        let mut is_invalid = false;
        if value.kind() == Kind::Array {
            for element in value.elements() {
                is_invalid |= visit_one(self, element);
            }
        } else {
            is_invalid = visit_one(self, value);
        }
        if is_invalid {
            self.add_error(name, "an IP address");
        }
    }

    /// Writes `hash.*` of the open object and adds the hashes to `related.hash`. The length of a value shows its kind;
    /// values that are not hashes stay in the record.
    pub fn hashes<'a, const N: usize>(&mut self, values: [Value<'a>; N]) {
        let open = self.open("hash");
        for (kind, text) in self.take_hashes(values).into_iter().flatten() {
            self.json.lower_case(kind, text);
            self.related.hash.add_lower_case(text);
        }
        self.close(open);
    }

    /// Adds a hash without a field to `related.hash`.
    pub fn relate_hash(&mut self, value: Value<'_>) {
        if let Some((_, text)) = value.escaped().and_then(hash) {
            self.related.hash.add_lower_case(text);
        }
    }

    /// Writes `related` and `error.message`.
    pub fn write_related_and_errors(&mut self) {
        self.related.write(&mut self.writer.json);
        self.write_errors();
    }

    pub fn severity(&mut self, severity: Option<Severity>) {
        if let Some(severity) = severity {
            self.json.number("severity", severity_score(severity));
        }
    }

    pub fn words<'w>(&mut self, name: &str, words: impl IntoIterator<Item = &'w str>) {
        let list = self.json.open_list(name);
        for word in words {
            self.json.element(Escaped::plain(word));
        }
        self.json.close(list);
    }

    fn scalar<'a>(&mut self, name: &str, value: Value<'a>, expected: &str) -> Option<Escaped<'a>> {
        let text = value.escaped();
        if text.is_none() && !value.is_empty() {
            self.mismatch(name, value, expected);
        }
        text
    }
}

/// Returns the value of `event.severity`: the scale that Elastic Security uses for its rules.
pub(super) fn severity_score(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational | Severity::Low => "21",
        Severity::Medium => "47",
        Severity::High => "73",
        Severity::Critical => "99",
    }
}
