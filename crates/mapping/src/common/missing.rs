//! Tells values from placeholders: texts that the console writes in place of a missing value.

use s1_forwarder_record::{Escaped, Value};

/// Returns whether the text is a placeholder, which the console writes in place of a missing value.
pub fn is_missing_word(text: Escaped<'_>) -> bool {
    let is_word = match text.raw().len() {
        // Windows and Linux write a hyphen for a missing user or value.
        1 => text.is("-"),
        2 => text.is("-1"),
        3 => text.is("n/a"),
        4 => text.is("none") || text.is("null"),
        7 => text.is("unknown"),
        // An id of only zeros means that there is no object.
        32 | 36 if text.raw().bytes().all(|byte| matches!(byte, b'0' | b'-')) => true,
        13 if text.is("not available") => true,
        // In the place of a domain.
        14 if text.is("missing domain") => true,
        // This also matches the end of `\\Unknown device\Unknown file`.
        length @ 12.. => text.raw().as_bytes()[length - 12..].eq_ignore_ascii_case(b"unknown file"),
        _ => false,
    };
    is_word || text.raw().bytes().all(|byte| byte.is_ascii_whitespace())
}

/// Returns whether the value is a scalar, and neither blank nor a placeholder.
pub fn is_set(value: Value<'_>) -> bool {
    text(value).is_some()
}

/// Returns the text of a scalar that is neither blank nor a placeholder.
pub fn text(value: Value<'_>) -> Option<Escaped<'_>> {
    value.escaped().filter(|text| !is_missing_word(*text))
}

/// Returns the text of a scalar without the blanks around it, unless it is blank or a placeholder.
pub fn trimmed(value: Value<'_>) -> Option<Escaped<'_>> {
    value.escaped().map(Escaped::trim).filter(|text| !is_missing_word(*text))
}

/// Returns whether the text names a domain. Windows writes `.` for the machine itself.
pub fn is_domain(text: Escaped<'_>) -> bool {
    let is_part_of_name = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    text.raw().bytes().any(is_part_of_name) && !is_missing_word(text.trim())
}

/// Returns the value if it names a domain, else an absent value.
pub fn domain(value: Value<'_>) -> Value<'_> {
    if value.escaped().is_some_and(is_domain) { value } else { Value::default() }
}

/// Returns the first scalar that is neither empty nor a placeholder, else an absent value.
pub fn first_scalar<'a, const N: usize>(values: [Value<'a>; N]) -> Value<'a> {
    values.into_iter().find(|value| is_set(*value)).unwrap_or_default()
}

/// Reads a boolean, from a boolean or from text.
pub fn boolean(value: Value<'_>) -> Option<bool> {
    let text = value.escaped()?;
    if text.is("true") {
        Some(true)
    } else if text.is("false") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_recognised_in_any_case() {
        let is_missing = |text| is_missing_word(Escaped::plain(text));
        for text in [
            "",
            " ",
            "-",
            "-1",
            "N/A",
            "None",
            "NULL",
            "unknown",
            "Not available",
            "MISSING DOMAIN",
            r"\\Unknown device\\Unknown file",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert!(is_missing(text), "{text}");
        }
        for text in ["0", "-10", "n/b", "nine", "unknowns", "known file", "not_available", "é/a"] {
            assert!(!is_missing(text), "{text}");
        }
    }
}
