//! Users: `DOMAIN\name`, principal names and addresses.

use super::event::{Event, says_nothing};
use crate::record::{Escaped, Value};

/// `name` and, from `DOMAIN\name`, `domain` of the user object that is open. False when there is no name. A text that
/// was split stays in the record.
pub(super) fn name_and_domain(event: &mut Event<'_>, value: &mut Value<'_>) -> bool {
    let Some(text) = value.escaped().filter(|text| !says_nothing(*text)) else { return false };
    let (domain, name) = split(text);
    event.json.escaped("name", name);
    event.related.user.add(name);
    match domain {
        Some(domain) => event.json.escaped("domain", domain),
        None => drop(value.take()),
    }
    true
}

/// `process.user` and `process.parent.user` have no domain in ECS; the whole text stays in the record.
pub(super) fn process_user(event: &mut Event<'_>, value: Value<'_>) {
    let Some(text) = value.escaped().filter(|text| !says_nothing(*text)) else { return };
    let name = split(text).1;
    let open = event.open("user");
    event.json.escaped("name", name);
    event.close(open);
    event.related.user.add(name);
}

/// `email` of the user object that is open.
pub(super) fn email(event: &mut Event<'_>, value: &mut Value<'_>) -> bool {
    if value.escaped().is_none_or(says_nothing) {
        return false;
    }
    if let Some(email) = event.keyword("email", value) {
        event.related.user.add(email);
    }
    true
}

/// A name that has no field but is worth finding.
pub(super) fn related(event: &mut Event<'_>, value: Value<'_>) {
    if let Some(text) = value.escaped().filter(|text| !says_nothing(*text)) {
        event.related.user.add(split(text).1);
    }
}

/// `DOMAIN\name` in its parts; a text with nothing on one side is a name.
pub(super) fn split(text: Escaped<'_>) -> (Option<Escaped<'_>>, Escaped<'_>) {
    match text.split_backslash() {
        Some((domain, name)) if !domain.raw().is_empty() && !name.raw().is_empty() => (Some(domain), name),
        _ => (None, text),
    }
}
