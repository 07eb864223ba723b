//! What is decided about threats and alerts in all schemas: times, how they were detected, sizes and extensions.

use s1_forwarder_record::{Escaped, Timestamp, Value};

use super::date::{self, Date};
use super::words::Words;

pub fn timestamp(value: Value<'_>) -> Option<Timestamp> {
    match date::read(value.escaped()?.raw()) {
        Date::At(time) => Some(time),
        Date::Missing | Date::Invalid => None,
    }
}

/// Whether a threat or an alert was created and updated within a minute.
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

/// The size of a file or the number of a process. The console has 0 where it knows none.
pub fn unless_zero(value: Value<'_>) -> Value<'_> {
    if value.escaped().is_some_and(|text| text.is("0")) { Value::default() } else { value }
}

/// The extension of a file's name, without the dot.
pub fn extension(name: Escaped<'_>) -> Option<Escaped<'_>> {
    let (stem, extension) = name.raw().rsplit_once('.')?;
    let is_extension =
        (1..=10).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_extension && !stem.is_empty()).then_some(Escaped::plain(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_short_words() {
        let extension = |name| extension(Escaped::plain(name)).map(Escaped::raw);
        assert_eq!(extension("a.tar.gz"), Some("gz"));
        assert_eq!(extension("A.EXE"), Some("EXE"));
        for name in ["a", ".bashrc", "a.", "a.b c", "lib.so.cache-123456"] {
            assert_eq!(extension(name), None, "{name}");
        }
    }
}
