//! Decisions about threats and alerts that are the same in all schemas: times, the way of detection, sizes and
//! extensions.

use s1_forwarder_record::{Escaped, Timestamp, Value};

use super::date::{self, Date};
use super::words::Words;

pub fn timestamp(value: Value<'_>) -> Option<Timestamp> {
    match date::read(value.escaped()?.raw()) {
        Date::At(time) => Some(time),
        Date::Missing | Date::Invalid => None,
    }
}

/// Returns whether a threat or an alert was last updated within a minute of its creation, or never.
pub fn is_new(created: Value<'_>, updated: Value<'_>) -> bool {
    match (timestamp(created), timestamp(updated)) {
        (Some(created), Some(updated)) => created.since(updated).max(updated.since(created)).as_secs_f64() <= 60.0,
        (_, updated) => updated.is_none(),
    }
}

/// How something was detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectionType {
    /// A file was found without being run.
    Static,
    Dynamic,
}

pub const DETECTION_TYPES: Words<DetectionType> =
    Words { field: "event.category", rows: &[("static", DetectionType::Static), ("dynamic", DetectionType::Dynamic)] };

/// Returns the value, unless it is 0. The console writes 0 for an unknown file size, process number or number of
/// processors.
pub fn unless_zero(value: Value<'_>) -> Value<'_> {
    if value.escaped().is_some_and(|text| text.is("0")) { Value::default() } else { value }
}

/// Returns the extension of a file's name, without the dot.
pub fn extension(name: Escaped<'_>) -> Option<Escaped<'_>> {
    suffix(name).filter(|suffix| !is_version(*suffix))
}

/// Returns the extension of a file's name, or the last part of its version.
pub fn suffix(name: Escaped<'_>) -> Option<Escaped<'_>> {
    let (stem, suffix) = name.raw().rsplit_once('.')?;
    let is_suffix = (1..=10).contains(&suffix.len()) && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_suffix && !stem.is_empty()).then_some(Escaped::plain(suffix))
}

/// Returns whether the text after the last dot is part of a version and not an extension: `python3.11`.
pub fn is_version(suffix: Escaped<'_>) -> bool {
    suffix.raw().bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_short_words() {
        let extension = |name| extension(Escaped::plain(name)).map(Escaped::raw);
        assert_eq!(extension("a.tar.gz"), Some("gz"));
        assert_eq!(extension("A.EXE"), Some("EXE"));
        assert_eq!(extension("a.7z"), Some("7z"));
        for name in ["a", ".bashrc", "a.", "a.b c", "lib.so.cache-123456", "python3.11", "19.152.0801.0008"] {
            assert_eq!(extension(name), None, "{name}");
        }
        assert_eq!(suffix(Escaped::plain("python3.11")).map(Escaped::raw), Some("11"));
    }
}
