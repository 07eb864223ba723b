use s1_forwarder_record::Value;

use crate::words::Words;

/// The family of an operating system, in ECS's words.
pub const OS_TYPES: Words<&str> = Words {
    field: "host.os.type",
    rows: &[
        ("windows", "windows"),
        ("windows_legacy", "windows"),
        ("macos", "macos"),
        ("linux", "linux"),
        ("ios", "ios"),
        ("android", "android"),
        ("unix", "unix"),
        ("aix", "unix"),
        ("hp_ux", "unix"),
        ("solaris", "unix"),
    ],
};

pub fn os_type(value: Value<'_>) -> Option<&'static str> {
    OS_TYPES.of(value)
}
