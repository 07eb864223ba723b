//! `registry.*`, from the path of a key or a value and the data of the value.

use super::event::{Event, is_placeholder};
use crate::record::{Escaped, Value};

/// The registry part of an alert. The path may be in either of two keys.
pub(super) struct Registry<'v, 'a> {
    pub key_path: &'v mut Value<'a>,
    pub path: &'v mut Value<'a>,
    /// The data that was written.
    pub data: &'v mut Value<'a>,
    pub old_data_type: Value<'a>,
}

impl<'a> Registry<'_, 'a> {
    /// The path of the key, unless the other path is longer by the name of a value.
    fn longest_path(&mut self) -> &mut Value<'a> {
        let is_within = match (set(self.key_path), set(self.path)) {
            (Some(key), Some(path)) => path.raw().strip_prefix(key.raw()).is_some_and(|rest| rest.starts_with(r"\\")),
            (key, _) => key.is_none(),
        };
        if is_within { self.path } else { self.key_path }
    }
}

fn set<'a>(value: &Value<'a>) -> Option<Escaped<'a>> {
    value.escaped().filter(|text| !is_placeholder(*text))
}

/// The path of a value ends in the value's name: of an event about a value, and of any event with data.
pub(super) fn write(event: &mut Event<'_>, event_type: Value<'_>, registry: &mut Registry<'_, '_>) {
    let received = set(registry.longest_path());
    let of_value = set(registry.data).is_some()
        || event_type.escaped().is_some_and(|text| text.raw().to_ascii_uppercase().contains("VALUE"));
    let open = event.open("registry");
    if let Some(text) = received
        && write_path(event, text, of_value)
    {
        registry.longest_path().take();
    }
    let data = event.open("data");
    if let Some(text) = set(registry.data) {
        if let Some(kind) = registry.old_data_type.escaped().and_then(data_type) {
            event.json.word("type", kind);
        }
        let list = event.json.open_list("strings");
        event.json.element(text);
        event.json.close(list);
        registry.data.take();
    }
    event.close(data);
    event.close(open);
}

/// Returns true if `registry.path` is the text as received.
fn write_path(event: &mut Event<'_>, text: Escaped<'_>, of_value: bool) -> bool {
    let (hive, rest) = hive(text).unzip();
    let (hive, rest) = (hive.map(Escaped::plain), rest.unwrap_or(text));
    let present = |text: Escaped<'_>| !text.raw().is_empty();
    event.optional("hive", hive);
    event.sentence("path", &[("", hive), (r"\\", Some(rest).filter(|rest| present(*rest)))]);
    let (key, value) = match rest.rsplit_backslash() {
        Some((key, value)) if of_value => (key, Some(value)),
        _ => (rest, None),
    };
    event.optional("key", Some(key).filter(|key| present(*key)));
    event.optional("value", value.filter(|value| present(*value)));
    hive.is_none_or(|hive| text == hive || (text.raw().starts_with(hive.raw()) && present(rest)))
}

/// Splits a path into the short name of its hive and the rest. The console and the kernel have names of their own for
/// hives: `MACHINE\SOFTWARE`, `\REGISTRY\MACHINE\SOFTWARE`.
fn hive(path: Escaped<'_>) -> Option<(&'static str, Escaped<'_>)> {
    let (mut first, mut rest) = path.split_backslash().unwrap_or((path, Escaped::plain("")));
    for prefix in ["", "registry"] {
        if first.is(prefix)
            && let Some(next) = rest.split_backslash()
        {
            (first, rest) = next;
        }
    }
    let names: [(&'static str, &[&str]); 5] = [
        ("HKLM", &["hklm", "machine", "hkey_local_machine"]),
        ("HKU", &["hku", "user", "users", "hkey_users"]),
        ("HKCU", &["hkcu", "hkey_current_user"]),
        ("HKCR", &["hkcr", "hkey_classes_root"]),
        ("HKCC", &["hkcc", "hkey_current_config"]),
    ];
    names.into_iter().find(|(_, words)| words.iter().any(|word| first.is(word))).map(|(hive, _)| (hive, rest))
}

/// The console writes types without their prefix.
fn data_type(text: Escaped<'_>) -> Option<&'static str> {
    let types = ["REG_SZ", "REG_EXPAND_SZ", "REG_MULTI_SZ", "REG_DWORD", "REG_QWORD", "REG_BINARY", "REG_NONE"];
    types.into_iter().find(|known| text.is(known) || known.strip_prefix("REG_").is_some_and(|short| text.is(short)))
}
