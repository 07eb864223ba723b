//! The beginning of an event.

use s1_forwarder_record::{Escaped, Value};

use super::class::{Class, OTHER};
use super::event::Event;
use crate::common::word::Word;

impl Event<'_> {
    /// Opens the event and writes its class, its activity and its type. `other` is the name of an activity that OCSF
    /// does not have.
    pub fn begin(&mut self, class: Class, activity: u8, other: &str) {
        let json = &mut self.json;
        let mut buffer = itoa::Buffer::new();
        let definition = class.definition();
        let name = class.activity(activity);
        let activity = if name.is_some() { activity } else { OTHER };
        json.raw(b"{");
        json.number("activity_id", buffer.format(activity));
        match name {
            Some(name) => json.word("activity_name", name),
            None => json.text("activity_name", other),
        }
        json.number("category_uid", buffer.format(class.uid() / 1000));
        json.word("category_name", definition.category);
        json.number("class_uid", buffer.format(class.uid()));
        json.word("class_name", definition.name);
        json.number("type_uid", buffer.format(u64::from(class.uid()) * 100 + u64::from(activity)));
        json.name("type_name");
        for part in ["\"", definition.name, ": ", name.unwrap_or("Other"), "\""] {
            json.raw(part.as_bytes());
        }
        self.class = class;
    }

    /// Writes `status_id` and `status`.
    pub fn status(&mut self, id: u16) {
        let caption = self.class.definition().statuses.get(usize::from(id));
        self.choice("status", if caption.is_some() { id } else { 0 }, caption.unwrap_or(&"Unknown"));
    }

    /// Writes a status that no table has: the class's status of this name, else Other with the word. Returns false for
    /// a placeholder.
    pub fn other_status(&mut self, value: Value<'_>) -> bool {
        let word = Word::of_value(value);
        let mut known = (0..).zip(self.class.definition().statuses).skip(1);
        match known.find(|(_, caption)| Word::of(Escaped::plain(caption)).as_str() == word.as_str()) {
            Some((id, _)) => {
                self.status(id);
                self.mark(value);
                true
            }
            None => self.other_value("status", value),
        }
    }
}
