//! Prints JSON for people.

use std::ffi::OsStr;

use crate::visible::visible;

const KEY: &str = "\x1b[34m";
const STRING: &str = "\x1b[32m";
const OTHER: &str = "\x1b[33m";
const TITLE: &str = "\x1b[1m";
const END: &str = "\x1b[0m";

/// Formats JSON for people: indented, keys in their original order, and optionally coloured.
#[derive(Debug, Clone, Copy)]
pub struct Pretty {
    pub coloured: bool,
}

impl Pretty {
    /// Returns the printer. `None` if the output is not a terminal: a program that reads it needs one event per line.
    /// `no_color` is the value of `NO_COLOR`.
    pub fn for_output(is_terminal: bool, no_color: Option<&OsStr>) -> Option<Self> {
        is_terminal.then(|| Self { coloured: no_color.is_none_or(OsStr::is_empty) })
    }

    /// Returns a line with the title, followed by the event.
    pub fn event(self, title: &str, event: &[u8]) -> String {
        let mut out = String::new();
        self.put(&mut out, TITLE, &visible(title));
        out.push('\n');
        self.json(&String::from_utf8_lossy(event), &mut out);
        out.push_str("\n\n");
        out
    }

    fn json(self, text: &str, out: &mut String) {
        let mut depth = 0;
        let mut rest = text.trim();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => string_length(rest),
                '{' | '}' | '[' | ']' | ',' | ':' => 1,
                _ => rest.find(|c: char| "{}[],:\"".contains(c) || c.is_whitespace()).unwrap_or(rest.len()),
            };
            let (token, after) = rest.split_at(length.max(first.len_utf8()).min(rest.len()));
            let after = after.trim_start();
            match first {
                '{' | '[' => {
                    out.push(first);
                    if after.starts_with(['}', ']']) {
                        out.extend(after.chars().next());
                        rest = after.get(1..).unwrap_or_default().trim_start();
                        continue;
                    }
                    depth += 1;
                    new_line(depth, out);
                }
                '}' | ']' => {
                    depth = depth.saturating_sub(1);
                    new_line(depth, out);
                    out.push(first);
                }
                ',' => {
                    out.push(',');
                    new_line(depth, out);
                }
                ':' => out.push_str(": "),
                '"' if after.starts_with(':') => self.put(out, KEY, &visible(token)),
                '"' => self.put(out, STRING, &visible(token)),
                _ => self.put(out, OTHER, &visible(token)),
            }
            rest = after;
        }
    }

    fn put(self, out: &mut String, colour: &str, text: &str) {
        if self.coloured {
            out.extend([colour, text, END]);
        } else {
            out.push_str(text);
        }
    }
}

/// Returns the length of the string at the start of `text`, including both quotation marks.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn new_line(depth: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Pretty = Pretty { coloured: false };

    #[test]
    fn a_terminal_has_colours_unless_no_color_is_set() {
        let coloured = |no_color: Option<&str>| Pretty::for_output(true, no_color.map(OsStr::new)).unwrap().coloured;
        assert!(coloured(None) && coloured(Some("")), "an empty value is none");
        assert!(!coloured(Some("1")) && !coloured(Some("0")), "any value counts");
        assert!(Pretty::for_output(false, None).is_none());
        let event = Pretty::for_output(true, Some(OsStr::new("1"))).unwrap().event("title", b"{\"k\":1}");
        assert!(!event.contains('\x1b'), "{event:?}");
    }

    #[test]
    fn json_is_indented_in_its_own_order() {
        let event = br#"{"b":1,"a":{"x":[],"y":[true,"t\"}, {"]},"c":{}}"#;
        let expected = "title\n{\n  \"b\": 1,\n  \"a\": {\n    \"x\": [],\n    \"y\": [\n      true,\n      \"t\\\"}, {\"\n    ]\n  },\n  \
                      \"c\": {}\n}\n\n";
        assert_eq!(PLAIN.event("title", event), expected);
        let spaced = br#" { "b" : 1 , "a":{"x": [ ],"y":[true,"t\"}, {"]},"c":{ } } "#;
        assert_eq!(PLAIN.event("title", spaced), expected);
    }

    #[test]
    fn colours_are_added_and_those_of_the_record_are_escaped() {
        let text = Pretty { coloured: true }.event("t", b"{\"k\":\"\x1b[31mred\xc2\x9b\",\"n\":null}");
        assert!(text.contains("\x1b[34m\"k\"\x1b[0m: \x1b[32m\"\\u001b[31mred\\u009b\"\x1b[0m"), "{text:?}");
        assert!(text.contains("\x1b[33mnull\x1b[0m"), "{text:?}");
    }

    #[test]
    fn text_that_is_not_json_is_printed() {
        for text in ["", "{", "\"open", "}}]]", "\u{1b}[2J", "{\"a\":", "\\", "é\"é"] {
            let shown = PLAIN.event("", text.as_bytes());
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
        }
    }
}
