//! `detectionEngines` of threats: a list of objects with `key` and `title`, or of keys.

use s1_forwarder_record::{Kind, Value};

use crate::common::missing::{first_scalar, is_set};
use crate::parts::{Engine, Engines};

impl<'a> Engines<'a> {
    /// Returns the engines in the list. It lacks engines that have only a title.
    pub fn detected(self) -> impl Iterator<Item = Engine<'a>> {
        self.list.elements().map(|element| Engine {
            key: first_scalar([element.get("key"), element]),
            title: element.get("title"),
            element,
        })
    }

    pub fn each(self) -> impl Iterator<Item = Engine<'a>> {
        let titles = if self.list.elements().next().is_some() { Value::default() } else { self.titles };
        self.detected().chain(titles.elements().map(|title| Engine { title, ..Engine::default() }))
    }
}

impl<'a> Engine<'a> {
    pub fn name(&self) -> Value<'a> {
        first_scalar([self.title, self.key])
    }

    /// Returns whether the list has only the key and the title of the engine.
    pub fn is_complete(&self) -> bool {
        let is_read = |key: &str, value| matches!(key, "key" | "title") && is_set(value);
        let mut entries = self.element.entries();
        is_set(self.element) || self.element.kind() == Kind::Object && entries.all(|(key, value)| is_read(&key, value))
    }
}
