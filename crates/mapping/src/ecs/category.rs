//! `event.category` and `event.type`.

use super::event::Event;
use crate::common::category::{Category, EventType};

impl Event<'_> {
    /// Writes `category` of the open event object.
    pub fn categories(&mut self, categories: impl IntoIterator<Item = Category>) {
        self.words("category", categories.into_iter().map(category_word));
    }

    /// Writes `type` of the open event object.
    pub fn types(&mut self, types: impl IntoIterator<Item = EventType>) {
        self.words("type", types.into_iter().map(type_word));
    }
}

/// Returns the word of `event.category`. ECS uses `threat` for indicator feeds, not for detections on a host.
pub(super) fn category_word(category: Category) -> &'static str {
    match category {
        Category::Authentication => "authentication",
        Category::Configuration => "configuration",
        Category::Driver => "driver",
        Category::Email => "email",
        Category::File => "file",
        Category::Host => "host",
        Category::Iam => "iam",
        Category::Intrusion => "intrusion_detection",
        Category::Library => "library",
        Category::Malware => "malware",
        Category::Network => "network",
        Category::Package => "package",
        Category::Process => "process",
        Category::Registry => "registry",
        Category::Session => "session",
        Category::Web => "web",
    }
}

/// Returns the word of `event.type`.
pub(super) fn type_word(event_type: EventType) -> &'static str {
    match event_type {
        EventType::Access => "access",
        EventType::Admin => "admin",
        EventType::Change => "change",
        EventType::Connection => "connection",
        EventType::Creation => "creation",
        EventType::Deletion => "deletion",
        EventType::Denied => "denied",
        EventType::End => "end",
        EventType::Info => "info",
        EventType::Installation => "installation",
        EventType::Protocol => "protocol",
        EventType::Start => "start",
        EventType::User => "user",
    }
}

/// Prints categories, for the manual.
pub(super) fn print_categories(categories: &[Category]) -> String {
    categories.iter().map(|category| category_word(*category)).collect::<Vec<_>>().join(", ")
}
