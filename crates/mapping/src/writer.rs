//! Writes values of a record into the fields of an event, in any schema. A value that a field has as received is marked
//! as used; the rest goes to the vendor namespace.

use s1_forwarder_record::block::Block;
use s1_forwarder_record::{Escaped, Value};

use crate::common::address::Address;
use crate::common::hash::hash;
use crate::common::missing::{is_missing_word, is_set};
use crate::common::remaining::{write_remaining, write_remaining_data};
use crate::copy::KeyCase;
use crate::json::Json;
use crate::used::Used;

#[derive(Debug)]
pub struct Writer<'o> {
    /// The output, for texts that are not values of the record, and for values that stay in the record.
    pub json: Json<'o>,
    /// Fields of the record that need not be repeated in the vendor namespace.
    used: &'o mut Used,
}

impl<'o> Writer<'o> {
    /// `used` is scratch space, to be reused for the next event.
    pub fn new(json: Json<'o>, used: &'o mut Used) -> Self {
        used.clear();
        Self { json, used }
    }

    /// Writes a text; numbers and booleans become text. A placeholder such as `N/A` stays in the record.
    #[inline]
    pub fn text<'a>(&mut self, name: &str, value: Value<'a>) -> Option<Escaped<'a>> {
        let text = self.optional(name, value.escaped())?;
        self.mark(value);
        Some(text)
    }

    /// Marks a value that the event has completely.
    #[inline]
    pub fn mark(&mut self, value: Value<'_>) {
        self.used.mark(value);
    }

    /// Marks values as [`Self::mark`] does, but placeholders stay in the record.
    pub fn mark_set<const N: usize>(&mut self, values: [Value<'_>; N]) {
        values.into_iter().filter(|value| is_set(*value)).for_each(|value| self.mark(value));
    }

    /// Marks a value whose type does not fit its field of the event.
    pub fn mark_mismatched(&mut self, value: Value<'_>) {
        self.used.mismatch(value);
    }

    /// Writes the first scalar that is not a placeholder.
    pub fn first<'a, const N: usize>(&mut self, name: &str, values: [Value<'a>; N]) -> Option<Escaped<'a>> {
        values.into_iter().find_map(|value| self.text(name, value))
    }

    /// Writes a text, unless it is missing or a placeholder. The value stays in the record.
    #[inline]
    pub fn optional<'a>(&mut self, name: &str, text: Option<Escaped<'a>>) -> Option<Escaped<'a>> {
        let text = text.filter(|text| !is_missing_word(*text))?;
        self.json.escaped(name, text);
        Some(text)
    }

    /// Writes a command line without the blanks before it, which agents for Linux send. A value with such blanks stays
    /// in the record.
    pub fn command_line<'a>(&mut self, name: &str, value: Value<'a>) -> Option<Escaped<'a>> {
        let text = value.escaped().map(|text| Escaped::plain(text.raw().trim_start()));
        let text = self.optional(name, text)?;
        self.mark_if(value, text.raw());
        Some(text)
    }

    /// Writes a sentence of the present parts. Each part except the first follows its separator.
    pub fn sentence(&mut self, name: &str, parts: &[(&str, Option<Escaped<'_>>)]) {
        self.json.sentence(name, parts);
    }

    /// Writes the number in a value. If its digits change (`007`), the value also stays in the record.
    pub fn number(&mut self, name: &str, value: Value<'_>, number: i64) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number);
        self.json.number(name, digits);
        self.mark_if(value, digits);
    }

    /// Writes the address in a value. If its spelling changes, the value also stays in the record.
    pub fn address_of(&mut self, name: &str, value: Value<'_>, address: &Address) {
        let text = address.as_escaped();
        self.json.escaped(name, text);
        self.mark_if(value, text.raw());
    }

    /// Marks a value whose text is exactly `written`.
    pub fn mark_if(&mut self, value: Value<'_>, written: &str) {
        if value.escaped().is_some_and(|text| text.raw() == written) {
            self.mark(value);
        }
    }

    /// Marks the values that are hashes, and returns the first hash of each kind, with its kind. The length of a value
    /// shows the kind. A different hash of the same kind stays in the record.
    pub fn take_hashes<'a, const N: usize>(
        &mut self,
        values: [Value<'a>; N],
    ) -> [Option<(&'static str, Escaped<'a>)>; N] {
        let mut hashes: [Option<(&'static str, Escaped<'a>)>; N] = [None; N];
        for (index, value) in values.into_iter().enumerate() {
            let Some((kind, text)) = value.escaped().and_then(hash) else { continue };
            match hashes.iter().flatten().find(|(known, _)| *known == kind) {
                None => hashes[index] = Some((kind, text)),
                Some((_, known)) if *known == text => {}
                Some(_) => continue,
            }
            self.mark(value);
        }
        hashes
    }

    /// Writes the values that are not used into the open object, which has the names `reserved` already.
    pub fn remaining<'a>(&mut self, block: &impl Block<'a>, key_case: KeyCase, reserved: &[&str]) {
        write_remaining(&mut self.json, self.used, block, key_case, reserved);
    }

    /// Writes the values of `data` of an activity that are not used, with the console's keys.
    pub fn remaining_data<'a>(&mut self, data: &impl Block<'a>) {
        write_remaining_data(&mut self.json, self.used, data);
    }
}
