use crate::record::{Escaped, Value};

/// Whether the text is one that the console writes in place of a missing value.
pub(super) fn is_placeholder(text: Escaped<'_>) -> bool {
    let is_word = match text.raw().len() {
        2 => text.is("-1"),
        3 => text.is("n/a"),
        4 => text.is("none") || text.is("null"),
        7 => text.is("unknown"),
        13 if text.is("not available") => true,
        // Also the end of `\\Unknown device\Unknown file`.
        length @ 12.. => text.raw().as_bytes()[length - 12..].eq_ignore_ascii_case(b"unknown file"),
        _ => false,
    };
    is_word || text.raw().bytes().all(|byte| byte.is_ascii_whitespace())
}

/// Whether the value is a text that says something.
pub(super) fn is_set(value: Value<'_>) -> bool {
    value.escaped().is_some_and(|text| !is_placeholder(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_recognised_in_any_case() {
        let is = |text| is_placeholder(Escaped::plain(text));
        for text in
            ["", " ", "-1", "N/A", "None", "NULL", "unknown", "Not available", r"\\Unknown device\\Unknown file"]
        {
            assert!(is(text), "{text}");
        }
        for text in ["0", "-10", "n/b", "nine", "unknowns", "known file", "not_available", "é/a"] {
            assert!(!is(text), "{text}");
        }
    }
}
