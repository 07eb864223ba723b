//! Makes JSON of a record that the grammar refuses, where its meaning is clear.

use std::borrow::Cow;

use super::json::{JsonError, Reader};
use super::scan::string_stop;

/// Replaces the escape of an unpaired surrogate.
const REPLACEMENT: &str = "\u{fffd}";

/// Converts the record to a JSON object, or returns `None` if that is impossible. Bytes that are not UTF-8 and unpaired
/// surrogates become U+FFFD. Control characters and backslashes in strings are escaped where JSON requires it. `NaN`
/// and infinities become `null`.
///
/// Only a record that [`Reader`] refuses is to be repaired. Strings end where the scanner of pages says, so that a
/// repaired record has the same keys and values.
pub fn repair(record: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(record);
    let mut repaired = String::with_capacity(text.len() + 16);
    let mut rest = &*text;
    while let Some(byte) = rest.bytes().next() {
        let length = match byte {
            b'"' => repair_string(rest, &mut repaired)?,
            b'N' | b'I' | b'-' => repair_number(rest, &mut repaired),
            _ => {
                let end = rest.find(['"', 'N', 'I', '-']).unwrap_or(rest.len());
                repaired.push_str(&rest[..end]);
                end
            }
        };
        rest = &rest[length..];
    }
    read_object(&repaired).is_ok().then_some(repaired)
}

/// Checks the whole grammar.
///
/// # Errors
/// If this is not one JSON object.
pub fn read_object(text: &str) -> Result<(), JsonError> {
    let mut reader = Reader::new(text);
    if reader.peek() != Some(b'{') {
        return Err(reader.syntax_error());
    }
    reader.value()?;
    reader.end()
}

/// Repairs a word that begins with a letter that no JSON token begins with, or with a minus. Returns its length.
fn repair_number(text: &str, out: &mut String) -> usize {
    for word in ["NaN", "Infinity", "-NaN", "-Infinity"] {
        let goes_on = |rest: &str| rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if text.strip_prefix(word).is_some_and(|rest| !goes_on(rest)) {
            out.push_str("null");
            return word.len();
        }
    }
    out.push_str(&text[..1]);
    1
}

/// Repairs the string that `text` begins with, and returns its length as received; `None` if it has no end.
fn repair_string(text: &str, out: &mut String) -> Option<usize> {
    let bytes = text.as_bytes();
    out.push('"');
    let mut at = 1;
    loop {
        let stop = string_stop(bytes, at);
        out.push_str(&text[at..stop]);
        at = stop;
        match bytes.get(at)? {
            b'"' => {
                out.push('"');
                return Some(at + 1);
            }
            b'\\' => {
                let (escape, length) = repair_escape(&text[at..]);
                out.push_str(&escape);
                at += length;
            }
            control => {
                out.push_str(&format!("\\u{control:04x}"));
                at += 1;
            }
        }
    }
}

/// Returns a valid form of the escape that `text` begins with, and the length of the escape as received.
fn repair_escape(text: &str) -> (Cow<'_, str>, usize) {
    match text.as_bytes().get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => (Cow::Borrowed(&text[..2]), 2),
        Some(b'u') => match (unit(text), text.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (Cow::Borrowed(&text[..12]), 12),
            (Some(0xd800..=0xdfff), _) => (Cow::Borrowed(REPLACEMENT), 6),
            (Some(_), _) => (Cow::Borrowed(&text[..6]), 6),
            (None, _) => (Cow::Borrowed(r"\\"), 1),
        },
        // A backslash that escapes nothing stands for itself.
        _ => (Cow::Borrowed(r"\\"), 1),
    }
}

/// Parses the UTF-16 unit that `text` begins with, escaped as `\uXXXX`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(r"\u")?.get(..4)?;
    // `from_str_radix` also takes a sign.
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) { u16::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn repaired(record: &[u8]) -> String {
        repair(record).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(record)))
    }

    #[test]
    fn each_kind_of_damage_is_repaired_in_values_and_keys() {
        for (damaged, expected) in [
            (&br"a\ud83d.exe"[..], "a\u{fffd}.exe"),
            (br"a\ude00", "a\u{fffd}"),
            (br"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (br"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (br"\ud83d\u0041", "\u{fffd}A"),
            (br"\ud83d\n", "\u{fffd}\n"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"\xed\xa0\xbd\xed\xb8\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            (b"a\nb\tc\0d\x1f", "a\nb\tc\0d\x1f"),
            (br"C:\x \u12 \u+123", r"C:\x \u12 \u+123"),
            (b"\\\n", "\\\n"),
            ("NaN é \u{2028} -Infinity".as_bytes(), "NaN é \u{2028} -Infinity"),
        ] {
            let value = repaired(&[&b"{\"k\": \""[..], damaged, b"\", \"n\": 1}"].concat());
            assert_eq!(serde_json::from_str::<Value>(&value).unwrap(), serde_json::json!({"k": expected, "n": 1}));
            let key = repaired(&[&b"{\""[..], damaged, b"\":[-1.5e3]}"].concat());
            assert_eq!(serde_json::from_str::<Value>(&key).unwrap(), serde_json::json!({expected: [-1.5e3]}));
        }
        let numbers = repaired(br#"{"a":NaN,"b":[Infinity, -Infinity ,-NaN,-1],"c":{"d":NaN}}"#);
        assert_eq!(numbers, r#"{"a":null,"b":[null, null ,null,-1],"c":{"d":null}}"#);
    }

    #[test]
    fn what_is_no_object_is_not_repaired() {
        for record in [
            "",
            "nonsense",
            "[NaN]",
            "\"text\"",
            "{\"a\":\"b",
            "{\"a\":1",
            "{\"a\":1}}",
            "{\"a\":NaNs}",
            "{\"a\":inf}",
            "{NaN:1}",
        ] {
            assert_eq!(repair(record.as_bytes()), None, "{record}");
        }
        assert_eq!(repair(b"{\"a\":\xff}"), None);
    }

    proptest! {
        #[test]
        fn a_valid_record_stays_as_it_is(keys in prop::collection::btree_map(any::<String>(), any::<Option<String>>(), 0..5)) {
            let record = serde_json::to_string(&keys).unwrap();
            prop_assert_eq!(repair(record.as_bytes()), Some(record));
        }

        /// Whatever is in a string, its object keeps its keys.
        #[test]
        fn any_bytes_in_a_string_are_repaired(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(br"\\\uuudDcC89ab0-".to_vec())].prop_filter("it ends the string", |byte| *byte != b'"'),
                0..40,
            ),
        ) {
            let record = [&b"{\"a\":\""[..], bytes.as_slice(), b" \",\"id\":\"7\"}"].concat();
            let repaired = repaired(&record);
            let value: Value = serde_json::from_str(&repaired).unwrap();
            prop_assert_eq!(&value["id"], "7");
            prop_assert_eq!(value.as_object().unwrap().len(), 2);
        }
    }
}
