//! The registry of an alert: which of two paths names the key, and the parts of a path.

use s1_forwarder_record::{Escaped, Value};

use super::placeholder::is_placeholder;
use crate::parts::Registry;

impl<'a> Registry<'a> {
    /// The path of the key, unless the other path is longer by the name of a value.
    pub fn longest_path(&self) -> Value<'a> {
        let is_within = match (set(self.key_path), set(self.path)) {
            (Some(key), Some(path)) => path.raw().strip_prefix(key.raw()).is_some_and(|rest| rest.starts_with(r"\\")),
            (key, _) => key.is_none(),
        };
        if is_within { self.path } else { self.key_path }
    }
}

pub fn set(value: Value<'_>) -> Option<Escaped<'_>> {
    value.escaped().filter(|text| !is_placeholder(*text))
}

/// Hives, and the console's and the kernel's names for them.
const HIVES: [(&str, &[&str]); 5] = [
    ("HKLM", &["hklm", "machine", "hkey_local_machine"]),
    ("HKU", &["hku", "user", "users", "hkey_users"]),
    ("HKCU", &["hkcu", "hkey_current_user"]),
    ("HKCR", &["hkcr", "hkey_classes_root"]),
    ("HKCC", &["hkcc", "hkey_current_config"]),
];

const DATA_TYPES: [&str; 7] =
    ["REG_SZ", "REG_EXPAND_SZ", "REG_MULTI_SZ", "REG_DWORD", "REG_QWORD", "REG_BINARY", "REG_NONE"];

/// Splits a path into the short name of its hive and the rest. The console and the kernel have names of their own for
/// hives: `MACHINE\SOFTWARE`, `\REGISTRY\MACHINE\SOFTWARE`.
pub fn hive(path: Escaped<'_>) -> Option<(&'static str, Escaped<'_>)> {
    let (mut first, mut rest) = path.split_backslash().unwrap_or((path, Escaped::plain("")));
    for prefix in ["", "registry"] {
        if first.is(prefix)
            && let Some(next) = rest.split_backslash()
        {
            (first, rest) = next;
        }
    }
    HIVES.into_iter().find(|(_, words)| words.iter().any(|word| first.is(word))).map(|(hive, _)| (hive, rest))
}

/// The console writes types without their prefix.
pub fn data_type(text: Escaped<'_>) -> Option<&'static str> {
    DATA_TYPES
        .into_iter()
        .find(|known| text.is(known) || known.strip_prefix("REG_").is_some_and(|short| text.is(short)))
}
