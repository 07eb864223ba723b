//! Users: `DOMAIN\name`, principal names and e-mail addresses.

use super::event::{Event, is_placeholder};
use crate::record::{Escaped, Value};

/// Writes `name` and, for `DOMAIN\name`, `domain` of the open user object. Returns false if there is no name. A text
/// that was split stays in the record.
pub(super) fn name_and_domain(event: &mut Event<'_>, value: &mut Value<'_>) -> bool {
    let Some(text) = value.escaped().filter(|text| !is_placeholder(*text)) else { return false };
    let (domain, name) = split(text);
    event.json.escaped("name", name);
    event.related.user.add(name);
    match domain {
        Some(domain) => event.json.escaped("domain", domain),
        None => drop(value.take()),
    }
    true
}

/// Writes the user of the open process object. ECS has no domain there, so the whole text stays in the record.
pub(super) fn process_user(event: &mut Event<'_>, value: Value<'_>) {
    let Some(text) = value.escaped().filter(|text| !is_placeholder(*text)) else { return };
    let name = split(text).1;
    let open = event.open("user");
    event.json.escaped("name", name);
    event.close(open);
    event.related.user.add(name);
}

/// Writes `email` of the open user object. Returns false if there is none.
pub(super) fn email(event: &mut Event<'_>, value: &mut Value<'_>) -> bool {
    if value.escaped().is_none_or(is_placeholder) {
        return false;
    }
    if let Some(email) = event.keyword("email", value) {
        event.related.user.add(email);
    }
    true
}

/// Adds a user name without a field to `related.user`.
pub(super) fn related(event: &mut Event<'_>, value: Value<'_>) {
    if let Some(text) = value.escaped().filter(|text| !is_placeholder(*text)) {
        event.related.user.add(split(text).1);
    }
}

/// Splits `DOMAIN\name`. A text with an empty part is a name.
pub(super) fn split(text: Escaped<'_>) -> (Option<Escaped<'_>>, Escaped<'_>) {
    match text.split_backslash() {
        Some((domain, name)) if !domain.raw().is_empty() && !name.raw().is_empty() => (Some(domain), name),
        _ => (None, text),
    }
}
