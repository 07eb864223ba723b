//! `event.category`.

use super::event::Event;
use crate::common::category::Category;

impl Event<'_> {
    /// Writes `category` of the open event object.
    pub fn categories(&mut self, categories: impl IntoIterator<Item = Category>) {
        self.words("category", categories.into_iter().map(category_word));
    }
}

/// The word of `event.category`. ECS uses `threat` for indicator feeds, not for detections on a host.
pub(super) fn category_word(category: Category) -> &'static str {
    match category {
        Category::Authentication => "authentication",
        Category::Configuration => "configuration",
        Category::Email => "email",
        Category::File => "file",
        Category::Host => "host",
        Category::Iam => "iam",
        Category::Intrusion => "intrusion_detection",
        Category::Malware => "malware",
        Category::Network => "network",
        Category::Package => "package",
        Category::Process => "process",
        Category::Session => "session",
    }
}

/// Prints categories, for the manual.
pub(super) fn print_categories(categories: &[Category]) -> String {
    categories.iter().map(|category| category_word(*category)).collect::<Vec<_>>().join(", ")
}
