use s1_forwarder_record::Value;

use super::classification::Word;

/// The family of an operating system, in ECS's words.
pub fn os_type(value: Value<'_>) -> Option<&'static str> {
    match Word::of_value(value).as_str() {
        "windows" | "windows_legacy" => Some("windows"),
        "macos" => Some("macos"),
        "linux" => Some("linux"),
        "ios" => Some("ios"),
        "android" => Some("android"),
        "unix" | "aix" | "hp_ux" | "solaris" => Some("unix"),
        _ => None,
    }
}
