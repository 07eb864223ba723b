use s1_forwarder_record::Value;

use super::words::Words;

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

/// The architecture of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    X86,
    X86_64,
    Arm64,
}

/// A 64-bit system may be one of ARM.
pub const ARCHITECTURES: Words<Architecture> = Words {
    field: "host.architecture",
    rows: &[
        ("64_bit", Architecture::X86_64),
        ("x86_64", Architecture::X86_64),
        ("amd64", Architecture::X86_64),
        ("arm64", Architecture::Arm64),
        ("aarch64", Architecture::Arm64),
        ("32_bit", Architecture::X86),
        ("x86", Architecture::X86),
    ],
};
