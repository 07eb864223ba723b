//! The class of an alert or of a hit: kind, categories, types, action and outcome.

use super::event::{Event, boolean};
use crate::common::event_kind::EventKind;
use crate::common::matched::Matched;
use crate::common::missing::trimmed;

/// Writes `kind`, `category`, `type`, `action` and `outcome` of the open event object.
pub(super) fn write(event: &mut Event<'_>, matched: &Matched<'_>) {
    let (categories, types) = matched.kind.map(class).unwrap_or_default();
    // ECS: what started is `process.*`.
    let is_start = matched.has_target || matched.kind != Some(EventKind::ProcessCreation);
    let types = types.into_iter().filter(|word| !matches!(*word, "" | "info") && (is_start || *word != "start"));
    event.json.word("kind", "alert");
    let categories = categories.into_iter().filter(|word| !word.is_empty());
    event.words("category", ["intrusion_detection"].into_iter().chain(categories));
    event.words("type", ["info"].into_iter().chain(types));
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

/// Categories and types in addition to `intrusion_detection` and `info`; "" for none.
fn class(kind: EventKind) -> ([&'static str; 2], [&'static str; 2]) {
    let one = |category, kind| ([category, ""], [kind, ""]);
    match kind {
        EventKind::ProcessCreation => one("process", "start"),
        EventKind::Process(kind) => one("process", kind),
        EventKind::File(kind) => one("file", kind),
        EventKind::Registry(kind) => one("registry", kind),
        EventKind::Task(kind) => one("configuration", kind),
        EventKind::Connection => one("network", "connection"),
        EventKind::Web => (["network", "web"], ["protocol", "access"]),
        EventKind::Dns => one("network", "protocol"),
        EventKind::Login => one("authentication", "start"),
        EventKind::Logout => one("authentication", "end"),
        EventKind::Module => one("library", "start"),
        EventKind::Driver => one("driver", "start"),
        EventKind::Indicator => one("malware", "info"),
    }
}

/// Prints types and categories, for the manual.
pub(super) fn print_class(kind: EventKind) -> String {
    let (categories, types) = class(kind);
    let list = |words: [&str; 2]| words.join(", ").trim_end_matches(", ").to_owned();
    format!("{} ({})", list(types), list(categories))
}
