//! A JSON object of an event, whose members are changed before they are written.

use std::borrow::Cow;

use s1_forwarder_record::{Escaped, Kind, Value};
use smallvec::SmallVec;

use crate::json::escape;

/// Members in their order. Names are decoded, and owned if decoding changed them. Values are JSON.
#[derive(Debug, Clone, Default)]
pub(super) struct Object<'a> {
    pub members: SmallVec<[Member<'a>; 16]>,
}

#[derive(Debug, Clone)]
pub(super) struct Member<'a> {
    pub name: Cow<'a, str>,
    pub value: Cow<'a, str>,
    /// Whether 1.3.0 has the member, and it was written.
    pub is_written: bool,
}

impl<'a> Object<'a> {
    /// Reads the members of a value. The object is empty if the value is not an object.
    pub fn read(value: Value<'a>) -> Self {
        let member = |(name, value): (Cow<'a, str>, Value<'a>)| Member {
            name,
            value: Cow::Borrowed(value.raw()),
            is_written: false,
        };
        Self { members: value.entries().map(member).collect() }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// Returns whether 1.3.0 has the member, and it was written.
    pub fn is_written(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name && member.is_written)
    }

    pub fn into_owned<'o>(self) -> Object<'o> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        let member = |Member { name, value, is_written }| Member { name: owned(name), value: owned(value), is_written };
        Object { members: self.members.into_iter().map(member).collect() }
    }

    /// Returns the value of a member; an absent value if there is no such member.
    pub fn get(&self, name: &str) -> Value<'_> {
        let member = self.members.iter().find(|member| member.name == name);
        member.map_or_else(Value::default, |member| Value::new(&member.value))
    }

    pub fn number(&self, name: &str) -> Option<u32> {
        self.get(name).raw().parse().ok()
    }

    pub fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.position(name).map(|index| self.members.remove(index).value)
    }

    /// Adds a member, or changes its value.
    pub fn set(&mut self, name: &'static str, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        match self.members.iter_mut().find(|member| member.name == name) {
            Some(member) => member.value = value,
            None => self.members.push(Member { name: Cow::Borrowed(name), value, is_written: false }),
        }
    }

    /// Adds or changes a member whose text needs no escapes.
    pub fn set_word(&mut self, name: &'static str, word: &str) {
        self.set(name, format!("\"{word}\""));
    }

    /// Sets `NAME_id` and `NAME`.
    pub fn set_choice(&mut self, [id, name]: [&'static str; 2], number: u32, caption: &str) {
        self.set(id, number.to_string());
        self.set_word(name, caption);
    }

    /// Gives a member another name, unless that name exists. Returns whether it did.
    pub fn rename(&mut self, name: &str, to: &'static str) -> bool {
        let index = if self.has(to) { None } else { self.position(name) };
        index.and_then(|index| self.members.get_mut(index)).map(|member| member.name = Cow::Borrowed(to)).is_some()
    }

    /// Returns the members as a JSON object.
    pub fn json(&self) -> String {
        let members = self.members.iter().map(|member| format!("\"{}\":{}", escape(&member.name), member.value));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

/// Returns the text of a JSON string; `None` for other values.
pub(super) fn text(value: Value<'_>) -> Option<Escaped<'_>> {
    if value.kind() == Kind::String { value.escaped() } else { None }
}
