//! Families of operating systems and architectures of processors, in the words of the schemas.

use s1_forwarder_record::{Escaped, Value};

use super::word::Word;
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
    /// An ARM processor of 32 bits.
    Arm,
    Arm64,
}

/// Words that name an architecture.
pub const ARCHITECTURES: Words<Architecture> = Words {
    field: "host.architecture",
    rows: &[
        ("x86_64", Architecture::X86_64),
        ("x64", Architecture::X86_64),
        ("amd64", Architecture::X86_64),
        ("arm64*", Architecture::Arm64),
        ("aarch64", Architecture::Arm64),
        ("armv6*", Architecture::Arm),
        ("armv7*", Architecture::Arm),
        ("armhf", Architecture::Arm),
        ("x86", Architecture::X86),
        ("i386", Architecture::X86),
        ("i686", Architecture::X86),
    ],
};

/// Words that only say how wide a processor's registers are: each make has both.
pub const BITS: Words<&str> = Words { field: "device.os.cpu_bits", rows: &[("64_bit", "64"), ("32_bit", "32")] };

/// The make of a processor. Each make has one architecture per register width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    X86,
    /// 64 bit, unless the record has 32 bit.
    Arm,
    /// All products have 64 bit.
    Arm64,
    /// Boards with these processors have systems of either width.
    ArmBoard,
}

/// Words in the names of processors and systems.
pub const MAKES: Words<Make> = Words {
    field: "host.architecture",
    rows: &[
        ("intel", Make::X86),
        ("genuineintel", Make::X86),
        ("amd", Make::X86),
        ("authenticamd", Make::X86),
        ("xeon", Make::X86),
        ("pentium*", Make::X86),
        ("celeron*", Make::X86),
        ("atom", Make::X86),
        ("nehalem*", Make::X86),
        ("westmere*", Make::X86),
        ("epyc", Make::X86),
        ("opteron*", Make::X86),
        ("athlon", Make::X86),
        ("ryzen", Make::X86),
        ("hygon*", Make::X86),
        ("zhaoxin", Make::X86),
        ("centaurhauls", Make::X86),
        ("via", Make::X86),
        ("arm", Make::Arm),
        ("armv8*", Make::Arm),
        ("armv9*", Make::Arm),
        ("apple", Make::Arm),
        ("virtualapple", Make::Arm),
        ("snapdragon", Make::Arm),
        ("qualcomm", Make::Arm),
        ("sq1", Make::Arm),
        ("sq2", Make::Arm),
        ("sq3", Make::Arm),
        ("cortex", Make::Arm),
        ("neoverse", Make::Arm64),
        ("ampere*", Make::Arm64),
        ("altra", Make::Arm64),
        ("graviton*", Make::Arm64),
        ("thunderx*", Make::Arm64),
        ("kunpeng*", Make::Arm64),
        ("phytium", Make::Arm64),
        ("ft", Make::Arm64),
        ("grace", Make::Arm64),
        ("axion", Make::Arm64),
        ("cobalt", Make::Arm64),
        ("carmel", Make::Arm64),
        ("gh200", Make::Arm64),
        ("gb200", Make::Arm64),
        ("gb300", Make::Arm64),
        ("gb10", Make::Arm64),
        ("bcm27*", Make::ArmBoard),
        ("bcm28*", Make::ArmBoard),
    ],
};

/// Returns the architecture of `word`. Otherwise, reads it from the names of the processor and the system: they have an
/// architecture, or the processor's make. "64 bit" alone says nothing about the make.
pub fn architecture<'a, const N: usize>(word: Value<'a>, names: [Value<'a>; N]) -> Option<Architecture> {
    ARCHITECTURES.of(word).or_else(|| {
        let (make, width) = names.into_iter().find_map(make_and_width)?;
        match (make, BITS.of(word).or(width)) {
            (Make::X86, Some("64")) => Some(Architecture::X86_64),
            (Make::X86, Some(_)) => Some(Architecture::X86),
            (Make::Arm64, _) | (Make::Arm, Some("64") | None) | (Make::ArmBoard, Some("64")) => {
                Some(Architecture::Arm64)
            }
            (Make::Arm | Make::ArmBoard, Some(_)) => Some(Architecture::Arm),
            (Make::X86 | Make::ArmBoard, None) => None,
        }
    })
}

/// Returns the [`architecture`] from the names of systems, for a record without a word for it. A system's name has no
/// make of a processor, and most names have no architecture.
pub fn architecture_of_system<const N: usize>(names: [Value<'_>; N]) -> Option<Architecture> {
    let has_one = |name: &Value<'_>| {
        name.escaped().is_some_and(|text| ["64", "86", "arm"].into_iter().any(|part| text.raw().contains(part)))
    };
    names.into_iter().filter(has_one).find_map(|name| architecture(Value::default(), [name]))
}

/// Returns the make in a name, and the bits if it has an architecture: `5.10.0-29-amd64`, `ARMv7 Processor rev 4`.
fn make_and_width(name: Value<'_>) -> Option<(Make, Option<&'static str>)> {
    let text = name.escaped()?;
    let is_separator = |character: char| !character.is_alphanumeric() && character != '_';
    text.raw().split(is_separator).map(|word| Word::of(Escaped::plain(word))).find_map(|word| {
        let make = || MAKES.find(word.as_str()).map(|make| (make, None));
        match ARCHITECTURES.find(word.as_str()) {
            Some(Architecture::X86) => Some((Make::X86, Some("32"))),
            Some(Architecture::X86_64) => Some((Make::X86, Some("64"))),
            Some(Architecture::Arm) => Some((Make::Arm, Some("32"))),
            Some(Architecture::Arm64) => Some((Make::Arm, Some("64"))),
            None => make(),
        }
    })
}
