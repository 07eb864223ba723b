//! The class of an alert or of a hit: kind, categories, types, action and outcome.

use super::event::{Event, boolean};
use super::event_kind::EventKind;
use crate::record::Value;

/// The event that a detection rule matched, as its record tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matched<'a> {
    event_type: Value<'a>,
    pub kind: Option<EventKind>,
    /// The started process is known.
    is_start: bool,
    is_successful: Value<'a>,
}

impl<'a> Matched<'a> {
    /// `login` are values that only logins have: with one of them, the event is a login whatever its type is called.
    pub fn new<const N: usize>(event_type: Value<'a>, login: [Value<'a>; N], target: [Value<'a>; 3]) -> Self {
        let is_set = |value: &Value<'_>| value.escaped().is_some();
        let kind = match EventKind::of(event_type) {
            Some(EventKind::Logout) => Some(EventKind::Logout),
            _ if login.iter().any(is_set) => Some(EventKind::Login),
            kind => kind,
        };
        let is_successful = login.first().copied().unwrap_or_default();
        Self { event_type, kind, is_start: target.iter().any(is_set), is_successful }
    }

    /// Writes `kind`, `category`, `type`, `action` and `outcome` of the open event object.
    pub fn classify(self, event: &mut Event<'_>) {
        let (categories, types) = self.kind.map(EventKind::class).unwrap_or_default();
        let is_start = self.is_start || self.kind != Some(EventKind::ProcessCreation);
        let types = types.into_iter().filter(|word| !matches!(*word, "" | "info") && (is_start || *word != "start"));
        event.json.word("kind", "alert");
        let categories = categories.into_iter().filter(|word| !word.is_empty());
        event.words("category", ["intrusion_detection"].into_iter().chain(categories));
        event.words("type", ["info"].into_iter().chain(types));
        match self.event_type.escaped() {
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
