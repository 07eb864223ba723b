//! The engines that detected a threat.

use std::collections::HashSet;

use s1_forwarder_record::{Escaped, Kind, Value};

use super::event::Event;
use super::unified_alert::ANALYTICS;
use crate::common::missing::{is_missing_word, is_set};
use crate::common::words::{Choice, Words};
use crate::parts::{Engine, Engines};

impl<'a> Engines<'a> {
    /// Returns the name of the first engine that has one.
    pub(super) fn first(self) -> Option<Escaped<'a>> {
        self.each().find_map(|engine| engine.name().escaped())
    }

    /// Writes the classification and all engines as `desc`.
    pub(super) fn describe(self, event: &mut Event<'_>, classification: Option<Escaped<'_>>) {
        let Some(classification) = classification.filter(|text| !is_missing_word(*text)) else { return };
        let mut separator = " detected by ";
        let json = &mut event.json;
        json.name("desc");
        json.raw(b"\"");
        json.raw(classification.raw().as_bytes());
        for name in self.each().filter_map(|engine| engine.name().escaped()) {
            json.raw(separator.as_bytes());
            json.raw(name.raw().as_bytes());
            separator = ", ";
        }
        json.raw(b"\"");
    }

    /// Writes the first engine as `analytic`, and the other engines as `related_analytics`.
    pub(super) fn write(self, event: &mut Event<'_>, category: Value<'_>) {
        let mut engines = self.each().filter(|engine| is_set(engine.name()));
        let Some(first) = engines.next() else { return };
        let open = event.open("analytic");
        analytic(event, &first, category);
        event.agent_sensor();
        event.close(open);
        let list = event.open_list("related_analytics");
        for engine in engines {
            let element = event.open_element();
            analytic(event, &engine, category);
            event.close(element);
        }
        event.close(list);
    }

    /// Marks the lists if the analytics have all their values.
    pub(super) fn mark(self, event: &mut Event<'_>) {
        if !self.detected().all(|engine| engine.is_complete()) {
            return;
        }
        let has_keys = self.detected().next().is_some();
        let titles: HashSet<_> = self.each().map(|engine| engine.title.raw()).collect();
        let is_title = |title: Value<'_>| titles.contains(title.raw());
        if self.titles.kind() == Kind::Array && self.titles.elements().all(|title| is_set(title) && is_title(title)) {
            event.mark(self.titles);
        }
        if has_keys {
            event.mark(self.list);
        }
    }
}

fn analytic(event: &mut Event<'_>, engine: &Engine<'_>, category: Value<'_>) {
    event.optional("uid", engine.key.escaped());
    let name = engine.name().escaped();
    event.optional("name", name);
    if let Some((id, caption)) = ENGINES.of(engine.key).or_else(|| ANALYTICS.of(engine.name())) {
        event.choice("type", id, caption);
    } else {
        event.json.number("type_id", "99");
        event.optional("type", name);
    }
    event.optional("category", category.escaped());
}

pub(super) const ENGINES: Words<Choice> = Words {
    field: "finding_info.analytic.type",
    rows: &[
        ("pre_execution", (4, "Learning (ML/DL)")),
        ("pre_execution_suspicious", (4, "Learning (ML/DL)")),
        ("on_write", (4, "Learning (ML/DL)")),
        ("reputation", (5, "Fingerprinting")),
        ("sentinelone_cloud", (5, "Fingerprinting")),
        ("user_blacklist", (5, "Fingerprinting")),
        ("executables", (2, "Behavioral")),
        ("data_files", (2, "Behavioral")),
        ("penetration", (2, "Behavioral")),
        ("exploits", (2, "Behavioral")),
        ("lateral_movement", (2, "Behavioral")),
        ("application_control", (2, "Behavioral")),
        ("remote_shell", (2, "Behavioral")),
    ],
};
