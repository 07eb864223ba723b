//! How words of others are shown: on a terminal, in a log, on a page.

use std::borrow::Cow;
use std::fmt::Write;

/// Characters of a foreign text that are shown to the operator.
const CHARACTERS: usize = 200;

/// Escapes characters that would control a terminal or change the order of its text: foreign texts must not. The
/// escapes are JSON's, so that JSON stays valid.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Escapes as [`visible`] does, for a text of several lines, which may have tabs.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && is_hidden(c))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Returns whether a character is a control character, or one of Unicode that is invisible, separates lines, or changes
/// the direction of text.
fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns the beginning of a foreign text on one line. Line breaks, and characters that are not [`visible`], become
/// blanks.
pub fn excerpt(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || is_hidden(c)).filter(|word| !word.is_empty());
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
            visible("\x1b]0;title\x07\u{9b}2J \u{202e}é\u{200b}\u{7f}\u{2028}\u{e0041}\r\n"),
            "\\u001b]0;title\\u0007\\u009b2J \\u202eé\\u200b\\u007f\\u2028\\udb40\\udc41\\u000d\\u000a"
        );
        assert_eq!(visible_lines("a\u{202e}\nb\r\n"), "a\\u202e\nb\\u000d\n");
        assert!(matches!(visible("äöü 漢字 👍"), Cow::Borrowed(_)));
    }

    /// On a terminal, JSON is written with the escapes.
    #[test]
    fn escaped_json_has_the_same_meaning() {
        let all: String = ('\0'..='\u{fffd}').chain('\u{e0000}'..='\u{e0080}').collect();
        let json = serde_json::to_string(&all).unwrap();
        let shown = visible(&json);
        assert!(!shown.contains(is_hidden) && shown.len() > json.len());
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), all);
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt(" a\r\n\x1b[31m  b\tc "), "a [31m b c");
        assert_eq!(excerpt(&"ä ".repeat(1_000)).chars().count(), CHARACTERS);
        assert_eq!(excerpt(""), "");
        assert_eq!(excerpt("a\u{202e}b\u{2066}c\u{feff}d\u{e0041}e\u{2028}f"), "a b c d e f");
    }
}
