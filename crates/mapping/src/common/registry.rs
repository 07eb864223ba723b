//! The registry of an alert: the parts of a path, and the types of data.

use s1_forwarder_record::Escaped;

use super::word::Word;
use super::words::Words;

/// Short names of hives, for the names that the console and the kernel use.
pub const HIVES: Words<&str> = Words {
    field: "registry.hive",
    rows: &[
        ("hklm", "HKLM"),
        ("machine", "HKLM"),
        ("hkey_local_machine", "HKLM"),
        ("hku", "HKU"),
        ("user", "HKU"),
        ("users", "HKU"),
        ("hkey_users", "HKU"),
        ("hkcu", "HKCU"),
        ("hkey_current_user", "HKCU"),
        ("hkcr", "HKCR"),
        ("hkey_classes_root", "HKCR"),
        ("hkcc", "HKCC"),
        ("hkey_current_config", "HKCC"),
    ],
};

/// The console writes most types without their prefix.
pub const DATA_TYPES: Words<&str> = Words {
    field: "registry.data.type",
    rows: &[
        ("reg_sz", "REG_SZ"),
        ("sz", "REG_SZ"),
        ("reg_expand_sz", "REG_EXPAND_SZ"),
        ("expand_sz", "REG_EXPAND_SZ"),
        ("reg_multi_sz", "REG_MULTI_SZ"),
        ("multi_sz", "REG_MULTI_SZ"),
        ("reg_dword", "REG_DWORD"),
        ("dword", "REG_DWORD"),
        ("reg_qword", "REG_QWORD"),
        ("qword", "REG_QWORD"),
        ("reg_binary", "REG_BINARY"),
        ("binary", "REG_BINARY"),
        ("reg_none", "REG_NONE"),
        ("none", "REG_NONE"),
    ],
};

/// Splits a path into the short name of its hive and the rest. The console and the kernel have different names for
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
    HIVES.find(Word::of(first).as_str()).map(|hive| (hive, rest))
}
