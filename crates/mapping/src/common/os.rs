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

/// Architectures in ECS's words. A 64-bit system may be one of ARM.
pub const ARCHITECTURES: Words<&str> = Words {
    field: "host.architecture",
    rows: &[
        ("64_bit", "x86_64"),
        ("x86_64", "x86_64"),
        ("amd64", "x86_64"),
        ("arm64", "arm64"),
        ("aarch64", "arm64"),
        ("32_bit", "x86"),
        ("x86", "x86"),
    ],
};
