//! The engines that detected a threat.

use s1_forwarder_record::{Escaped, Kind, Value};

use super::event::Event;
use crate::common::classification::Word;
use crate::common::placeholder::{first_scalar, is_placeholder};
use crate::parts::Engines;

impl<'a> Engines<'a> {
    /// The name of the first engine.
    pub(super) fn first(self) -> Option<Escaped<'a>> {
        self.each().find_map(|(key, title)| first_scalar([title, key]).escaped())
    }

    /// Writes `desc`: the classification and all engines.
    pub(super) fn describe(self, event: &mut Event<'_>, classification: Option<Escaped<'_>>) {
        let Some(classification) = classification.filter(|text| !is_placeholder(*text)) else { return };
        let mut separator = " detected by ";
        let json = &mut event.json;
        json.name("desc");
        json.raw(b"\"");
        json.raw(classification.raw().as_bytes());
        for name in self.each().filter_map(|(key, title)| first_scalar([title, key]).escaped()) {
            json.raw(separator.as_bytes());
            json.raw(name.raw().as_bytes());
            separator = ", ";
        }
        json.raw(b"\"");
    }

    /// Writes `analytic`, the first engine, and `related_analytics`, the others.
    pub(super) fn write(self, event: &mut Event<'_>, category: Value<'_>) {
        let is_named = |(key, title): &(Value<'_>, Value<'_>)| first_scalar([*key, *title]).escaped().is_some();
        let mut engines = self.each().filter(is_named);
        let Some(first) = engines.next() else { return };
        let open = event.open("analytic");
        analytic(event, first, category);
        event.close(open);
        let list = event.open_list("related_analytics");
        for engine in engines {
            let element = event.open_element();
            analytic(event, engine, category);
            event.close(element);
        }
        event.close(list);
    }

    /// Marks the lists if the analytics have all of them.
    pub(super) fn mark(self, event: &mut Event<'_>) {
        let is_mapped = |value: Value<'_>| value.escaped().is_some_and(|text| !is_placeholder(text));
        let mut is_complete = true;
        for engine in self.detected.elements() {
            let mut entries = engine.entries();
            let mut has_mapped = || entries.all(|(key, value)| matches!(&*key, "key" | "title") && is_mapped(value));
            is_complete &= is_mapped(engine) || engine.kind() == Kind::Object && has_mapped();
        }
        if !is_complete {
            return;
        }
        let has_keys = self.detected.elements().next().is_some();
        let is_title = |title: Value<'_>| self.each().any(|(_, known)| known.raw() == title.raw());
        if self.titles.kind() == Kind::Array && self.titles.elements().all(|title| is_mapped(title) && is_title(title))
        {
            event.used.mark(self.titles);
        }
        if has_keys {
            event.used.mark(self.detected);
        }
    }
}

fn analytic(event: &mut Event<'_>, (key, title): (Value<'_>, Value<'_>), category: Value<'_>) {
    event.optional("uid", key.escaped());
    let name = first_scalar([title, key]).escaped();
    event.optional("name", name);
    let (id, caption) = match Word::of_value(key).as_str() {
        "pre_execution" | "pre_execution_suspicious" | "on_write" => (4, "Learning (ML/DL)"),
        "reputation" | "sentinelone_cloud" | "user_blacklist" => (5, "Fingerprinting"),
        "executables"
        | "data_files"
        | "penetration"
        | "exploits"
        | "lateral_movement"
        | "application_control"
        | "remote_shell" => (2, "Behavioral"),
        _ => {
            event.json.number("type_id", "99");
            event.optional("type", name);
            event.optional("category", category.escaped());
            return;
        }
    };
    event.choice("type", id, caption);
    event.optional("category", category.escaped());
}
