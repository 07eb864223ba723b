//! The class of an alert or of a hit: kind, categories, types, action and outcome.

use super::event::{Event, boolean, is_placeholder, is_set};
use super::event_kind::EventKind;
use crate::record::Value;

/// The event that a detection rule matched, as its record tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matched<'a> {
    event_type: Value<'a>,
    pub kind: Option<EventKind>,
    /// The record names the process that was acted on.
    has_target: bool,
    is_successful: Value<'a>,
}

impl<'a> Matched<'a> {
    /// `login` are values that only logins have, first whether it was successful. With one of them, the event is a
    /// login whatever its type is called.
    pub fn new(event_type: Value<'a>, login: [Value<'a>; 4], target: [Value<'a>; 3]) -> Self {
        let kind = match EventKind::of(event_type) {
            Some(EventKind::Logout) => Some(EventKind::Logout),
            _ if login.into_iter().any(is_set) => Some(EventKind::Login),
            kind => kind,
        };
        Self { event_type, kind, has_target: target.into_iter().any(is_set), is_successful: login[0] }
    }

    /// Writes `kind`, `category`, `type`, `action` and `outcome` of the open event object.
    pub fn classify(self, event: &mut Event<'_>) {
        let (categories, types) = self.kind.map(EventKind::class).unwrap_or_default();
        // ECS: what started is `process.*`.
        let is_start = self.has_target || self.kind != Some(EventKind::ProcessCreation);
        let types = types.into_iter().filter(|word| !matches!(*word, "" | "info") && (is_start || *word != "start"));
        event.json.word("kind", "alert");
        let categories = categories.into_iter().filter(|word| !word.is_empty());
        event.words("category", ["intrusion_detection"].into_iter().chain(categories));
        event.words("type", ["info"].into_iter().chain(types));
        match self.event_type.escaped().filter(|text| !is_placeholder(*text)) {
            Some(event_type) => event.json.text("action", &format!("alert-{}", event_type.decode().to_lowercase())),
            None => event.json.word("action", "alert-raised"),
        }
        if matches!(self.kind, Some(EventKind::Login | EventKind::Logout))
            && let Some(success) = boolean(self.is_successful)
        {
            event.json.word("outcome", if success { "success" } else { "failure" });
        }
    }
}
