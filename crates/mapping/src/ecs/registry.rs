//! Writes `registry.*`, from the path of a key or a value and the data of the value.

use s1_forwarder_record::Escaped;

use super::event::Event;
use crate::common::missing::text;
use crate::common::registry::{DATA_TYPES, hive};
use crate::parts::Detection;

/// Writes `registry`. The path of a value ends in the value's name.
pub(super) fn write(event: &mut Event<'_>, detection: &Detection<'_>) {
    let registry = &detection.registry;
    let received = text(registry.longest_path());
    let open = event.open("registry");
    if let Some(text) = received
        && write_path(event, text, detection.is_registry_value())
    {
        event.mark(registry.longest_path());
    }
    let data = event.open("data");
    if let Some(text) = text(registry.data) {
        if let Some(kind) = DATA_TYPES.of(registry.old_data_type) {
            event.json.word("type", kind);
        }
        let list = event.json.open_list("strings");
        event.json.element(text);
        event.json.close(list);
        event.mark(registry.data);
    }
    event.close(data);
    event.close(open);
}

/// Writes the path and its parts. Returns whether `registry.path` is the text as received.
fn write_path(event: &mut Event<'_>, text: Escaped<'_>, of_value: bool) -> bool {
    let (hive, rest) = hive(text).unzip();
    let hive = hive.map(Escaped::plain);
    let rest = rest.unwrap_or(text);
    let present = |text: Escaped<'_>| !text.raw().is_empty();
    event.optional("hive", hive);
    event.sentence("path", &[("", hive), (r"\\", Some(rest).filter(|rest| present(*rest)))]);
    let (key, value) = match rest.rsplit_backslash() {
        Some((key, value)) if of_value => (key, Some(value)),
        _ => (rest, None),
    };
    event.optional("key", Some(key).filter(|key| present(*key)));
    event.optional("value", value.filter(|value| present(*value)));
    let Some(hive) = hive else { return true };
    let end = text.raw().strip_prefix(hive.raw()).and_then(|end| end.strip_prefix(r"\\"));
    text == hive || (present(rest) && end == Some(rest.raw()))
}
