use std::borrow::Cow;
use std::fmt::Write;

/// Characters of a foreign text that are shown to the operator.
const CHARACTERS: usize = 200;

/// Escapes what would control a terminal or change the order of its text: words of others must not.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A control character, or one of those of Unicode that are invisible and change the direction of what follows.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a foreign text on one line: control characters and line breaks become blanks.
pub fn excerpt(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || is_control(c)).filter(|word| !word.is_empty());
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        // A character has up to four bytes.
        if line.len() >= 4 * CHARACTERS {
            break;
        }
    }
    line.chars().take(CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_controls_a_terminal_is_escaped() {
        assert_eq!(
            visible("\x1b]0;title\x07\u{9b}2J \u{202e}é\u{200b}\r\n"),
            "\\u001b]0;title\\u0007\\u009b2J \\u202eé\\u200b\\u000d\\u000a"
        );
        assert!(matches!(visible("äöü 漢字"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt(" a\r\n\x1b[31m  b\tc "), "a [31m b c");
        assert_eq!(excerpt(&"ä ".repeat(1_000)).chars().count(), CHARACTERS);
        assert_eq!(excerpt(""), "");
        assert_eq!(excerpt("a\u{202e}b\u{2066}c"), "a b c");
    }
}
