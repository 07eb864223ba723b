//! The class of an alert or of a hit: kind, categories, types, action and outcome.

use super::category::{print_categories, type_word};
use super::event::{Event, boolean};
use crate::common::category::{Category, EventType};
use crate::common::event_kind::EventKind;
use crate::common::matched::Matched;
use crate::common::missing::trimmed;

/// Writes `kind`, `category`, `type`, `action` and `outcome` of the open event object.
pub(super) fn write(event: &mut Event<'_>, matched: &Matched<'_>) {
    let (categories, types) = matched.kind.map(class).unwrap_or_default();
    // In ECS, `process.*` is the started process.
    let is_start = matched.has_target || matched.kind != Some(EventKind::ProcessCreation);
    let types = types.into_iter().flatten().filter(|event_type| match event_type {
        EventType::Info => false,
        EventType::Start => is_start,
        _ => true,
    });
    event.json.word("kind", "alert");
    event.categories([Category::Intrusion].into_iter().chain(categories.iter().copied()));
    event.types([EventType::Info].into_iter().chain(types));
    match trimmed(matched.event_type) {
        Some(event_type) => event.json.text("action", &format!("alert-{}", event_type.decode().to_lowercase())),
        None => event.json.word("action", "alert-raised"),
    }
    if matches!(matched.kind, Some(EventKind::Login | EventKind::Logout))
        && let Some(success) = boolean(matched.is_successful)
    {
        event.json.word("outcome", if success { "success" } else { "failure" });
    }
}

/// Returns the categories and types in addition to an intrusion and [`EventType::Info`].
fn class(kind: EventKind) -> (&'static [Category], [Option<EventType>; 2]) {
    let one = |event_type| [Some(event_type), None];
    match kind {
        EventKind::ProcessCreation => (&[Category::Process], one(EventType::Start)),
        EventKind::Process(operation) => (&[Category::Process], one(operation)),
        EventKind::File(operation) => (&[Category::File], one(operation)),
        EventKind::Registry(operation) => (&[Category::Registry], one(operation)),
        EventKind::Task(operation) => (&[Category::Configuration], one(operation)),
        EventKind::Connection => (&[Category::Network], one(EventType::Connection)),
        EventKind::Web => (&[Category::Network, Category::Web], [Some(EventType::Protocol), Some(EventType::Access)]),
        EventKind::Dns => (&[Category::Network], one(EventType::Protocol)),
        EventKind::Login => (&[Category::Authentication], one(EventType::Start)),
        EventKind::Logout => (&[Category::Authentication], one(EventType::End)),
        EventKind::Module => (&[Category::Library], one(EventType::Start)),
        EventKind::Driver => (&[Category::Driver], one(EventType::Start)),
        EventKind::Indicator => (&[Category::Malware], one(EventType::Info)),
    }
}

/// Prints types and categories, for the manual.
pub(super) fn print_class(kind: EventKind) -> String {
    let (categories, types) = class(kind);
    let types: Vec<&str> = types.into_iter().flatten().map(type_word).collect();
    format!("{} ({})", types.join(", "), print_categories(categories))
}
