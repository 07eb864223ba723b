//! Redacts secrets of the console in records. Their holder can enrol an agent, or remove it from a host.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use s1_forwarder_record::Stream;

use super::mapping::{Mapped, Written};
use super::secret_keys::is_secret;

/// Replaces the value of a secret.
pub const REDACTED: &str = "[redacted]";

/// Ends of the keys of secrets, in lower case. They are rare, so the search begins with them.
static ENDS: LazyLock<[Finder<'static>; 4]> =
    LazyLock::new(|| ["censekey", "cencekey", "istrationtoken", "ssphrase"].map(Finder::new));

/// A quote of JSON in a text of the record.
static INNER_QUOTE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\\""));

/// The beginning of the escape of an ASCII character.
static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r"\u00"));

/// Calls `map`, which writes an event, and keeps secrets out of the event. With `guards`, the event has the record.
/// Mapping checks each key without a field anyway, so records without secrets cost nothing. It does not check keys of
/// JSON in a text: with `redacts`, these are searched here.
pub(super) fn guarded(
    guards: bool,
    redacts: bool,
    stream: Stream,
    record: &[u8],
    out: &mut Vec<u8>,
    mut map: impl FnMut(&[u8], &mut Vec<u8>) -> Result<Written, String>,
) -> Result<Mapped, String> {
    if guards && stream.description().has_secrets || redacts && has_secret_in_text(record) {
        return Ok(map(&redact(record), out)?.mapped);
    }
    let start = out.len();
    let Written { mapped, has_secret } = map(record, out)?;
    if !guards || !has_secret {
        return Ok(mapped);
    }
    out.truncate(start);
    let again = map(&redact(record), out)?.mapped;
    // Leaves that were new to the mapper in the first pass are not new in the second.
    Ok(Mapped { drifted: mapped.drifted, ..again })
}

fn has_secret_in_text(record: &[u8]) -> bool {
    let Some(first) = memchr::memchr(b'\\', record) else { return false };
    let rest = &record[first..];
    if INNER_QUOTE.find(rest).is_none() && !has_ascii_escape(rest) {
        return false;
    }
    let Spelling { text, .. } = Spelling::of(rest);
    let is_quoted = |end: usize| text.get(end) == Some(&b'\\');
    ENDS.iter().any(|end| end.find_iter(&text).any(|at| is_quoted(at + end.needle().len())))
}

/// Returns the record with `[redacted]` in place of secrets, also in JSON that is the text of a value. Valid JSON stays
/// valid; other bytes are searched too.
pub(super) fn redact(record: &[u8]) -> Cow<'_, [u8]> {
    let spelling = Spelling::of(record);
    let text = &*spelling.text;
    let mut ends: Vec<usize> =
        ENDS.iter().flat_map(|end| end.find_iter(text).map(|at| at + end.needle().len())).collect();
    if ends.is_empty() {
        return Cow::Borrowed(record);
    }
    ends.sort_unstable();
    let mut out = Vec::with_capacity(record.len());
    let mut copied = 0;
    for end in ends {
        let Some(secret) = value_of_secret(text, end, copied) else { continue };
        out.extend_from_slice(&record[spelling.place(copied)..spelling.place(secret.from)]);
        out.extend_from_slice(secret.quote);
        out.extend_from_slice(REDACTED.as_bytes());
        out.extend_from_slice(secret.quote);
        copied = secret.to;
    }
    out.extend_from_slice(&record[spelling.place(copied)..]);
    Cow::Owned(out)
}

/// A record in lower case, with its ASCII characters as themselves: `\u0073` is `s`, also in JSON in a text, where it
/// is `\\u0073`.
struct Spelling<'r> {
    record: &'r [u8],
    text: Vec<u8>,
    /// Index of each byte in the record. Empty if each byte has the same index as in the record.
    places: Vec<usize>,
}

impl<'r> Spelling<'r> {
    fn of(record: &'r [u8]) -> Self {
        if !has_ascii_escape(record) {
            return Self { record, text: record.to_ascii_lowercase(), places: Vec::new() };
        }
        let mut text = Vec::with_capacity(record.len());
        let mut places = Vec::with_capacity(record.len());
        // Number of backslashes at the end of `text`.
        let mut backslashes = 0_usize;
        let mut at = 0;
        while let Some(&byte) = record.get(at) {
            let escaped = if backslashes > 0 { escaped_ascii(&record[at..]) } else { None };
            let Some(escaped) = escaped else {
                backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
                text.push(byte.to_ascii_lowercase());
                places.push(at);
                at += 1;
                continue;
            };
            // At the levels 1 to 4 of texts in texts, a backslash is written as 1, 2, 4 or 8 backslashes. Any others
            // precede the escape.
            let own = 1 << backslashes.trailing_zeros();
            text.truncate(text.len() - own);
            let place = places.get(text.len()).copied().unwrap_or(at);
            places.truncate(text.len());
            let (prefix, last) = match escaped {
                b'"' => (2 * own - 1, b'"'),
                b'\\' => (2 * own - 1, b'\\'),
                b'\n' => (own, b'n'),
                b'\r' => (own, b'r'),
                b'\t' => (own, b't'),
                other => (0, other.to_ascii_lowercase()),
            };
            text.extend(std::iter::repeat_n(b'\\', prefix));
            text.push(last);
            places.resize(text.len(), place);
            backslashes = if last == b'\\' { backslashes - own + prefix + 1 } else { 0 };
            at += "u0000".len();
        }
        Self { record, text, places }
    }

    /// Returns the index in the record of an index in the text. The end of the text is the end of the record.
    fn place(&self, at: usize) -> usize {
        if self.places.is_empty() { at } else { self.places.get(at).copied().unwrap_or(self.record.len()) }
    }
}

/// Returns whether the bytes may contain an ASCII character as an escape with digits.
fn has_ascii_escape(bytes: &[u8]) -> bool {
    ESCAPE.find_iter(bytes).any(|at| matches!(bytes.get(at + ESCAPE.needle().len()), Some(b'0'..=b'7')))
}

/// Returns the ASCII character of an escape. The bytes begin after the backslash, for example with `u0073`.
fn escaped_ascii(bytes: &[u8]) -> Option<u8> {
    let [b'u', b'0', b'0', high, low, ..] = bytes else { return None };
    let code = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
    u8::try_from(code).ok().filter(u8::is_ascii)
}

/// The place of a value in the record.
struct Secret<'r> {
    from: usize,
    to: usize,
    /// The spelling of a quote around the value. The deeper the JSON is in texts, the more backslashes it has.
    quote: &'r [u8],
}

/// Returns the value of a secret, if the text that ends at `end` is its key, and the value does not begin before
/// `copied`. `null` and `""` stay.
fn value_of_secret(record: &[u8], end: usize, copied: usize) -> Option<Secret<'_>> {
    let after = record.get(end..)?;
    let backslashes = after.iter().take_while(|byte| **byte == b'\\').count();
    // In a text, each backslash and each quote gets another backslash, so 0, 1, 3 or 7 backslashes precede the quote.
    if after.get(backslashes) != Some(&b'"') || !(backslashes + 1).is_power_of_two() {
        return None;
    }
    let quote = &after[..=backslashes];
    let open = memchr::memrchr(b'"', &record[..end])?;
    if backslashes_before(record, open) != backslashes || !is_secret(std::str::from_utf8(&record[open + 1..end]).ok()?)
    {
        return None;
    }
    let colon = end + quote.len() + skip_blanks(&record[end + quote.len()..], backslashes);
    if record.get(colon) != Some(&b':') {
        return None;
    }
    let from = colon + 1 + skip_blanks(&record[colon + 1..], backslashes);
    // Secrets may contain each other at any depth.
    if from < copied {
        return None;
    }
    let value = &record[from..];
    let is_text = value.starts_with(quote);
    if value.starts_with(b"null") || is_text && value[quote.len()..].starts_with(quote) {
        return None;
    }
    // A value without an end was truncated.
    let to = match (backslashes, is_text) {
        (0, _) => s1_forwarder_record::value_end(record, from),
        (_, true) => text_end(record, from + quote.len(), backslashes),
        (_, false) if value.starts_with(b"[") || value.starts_with(b"{") => container_end(record, from, backslashes),
        (_, false) => value.iter().position(|byte| b",]}\"\\".contains(byte)).map(|length| from + length),
    };
    let to = to.unwrap_or(record.len());
    (from < to).then_some(Secret { from, to, quote })
}

/// Returns the end of a text whose quotes have `backslashes` backslashes. A quote with more backslashes is within the
/// text, unless the additional ones are complete escaped backslashes. A truncated text ends with the text around it.
fn text_end(record: &[u8], from: usize, backslashes: usize) -> Option<usize> {
    let mut quotes = memchr::memchr_iter(b'"', &record[from..]).map(|at| from + at);
    quotes.find_map(|quote| {
        let found = backslashes_before(record, quote);
        if ends_text(found, backslashes) { Some(quote + 1) } else { outer_end(quote, found, backslashes) }
    })
}

/// Returns the end of an object or a list in a text whose quotes have `backslashes` backslashes.
fn container_end(record: &[u8], from: usize, backslashes: usize) -> Option<usize> {
    let mut depth = 0;
    let mut at = from;
    loop {
        match record.get(at)? {
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 1 => return Some(at + 1),
            b']' | b'}' => depth -= 1,
            b'"' => {
                let found = backslashes_before(record, at);
                if found == backslashes {
                    at = text_end(record, at + 1, backslashes)?;
                    continue;
                }
                if let Some(end) = outer_end(at, found, backslashes) {
                    return Some(end);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Returns whether a quote after `backslashes` backslashes ends a text whose quotes have `own` backslashes.
fn ends_text(backslashes: usize, own: usize) -> bool {
    backslashes % (2 * (own + 1)) == own
}

/// Returns the end of a text around an inner text whose quotes have `backslashes` backslashes, if the quote after
/// `found` backslashes ends it.
fn outer_end(quote: usize, found: usize, backslashes: usize) -> Option<usize> {
    let mut own = backslashes;
    while own > 0 {
        own = (own - 1) / 2;
        if ends_text(found, own) {
            return Some(quote - own);
        }
    }
    None
}

fn backslashes_before(record: &[u8], at: usize) -> usize {
    record[..at].iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Returns the length of the white space. In a text, its escapes count too.
fn skip_blanks(bytes: &[u8], backslashes: usize) -> usize {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let escapes = rest.iter().take_while(|byte| **byte == b'\\').count();
        match rest.get(escapes) {
            Some(byte) if escapes == 0 && byte.is_ascii_whitespace() => at += 1,
            Some(b'n' | b'r' | b't') if escapes > 0 && escapes == backslashes => at += escapes + 1,
            _ => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn redacted(record: &Value) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&redact(record.to_string().as_bytes()))
    }

    proptest! {
        /// JSON in a text may be broken, or truncated at any place.
        #[test]
        fn whatever_a_text_holds_the_rest_of_the_record_stays(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "\"licenseKey\":", "\"passphrase\": ", "\"", "\\", "\\\"", "[", "]", "{", "}", ",", "S", "\n", "null",
                ]),
                0..10,
            ),
            levels in 0..3,
        ) {
            let text = (0..levels).fold(parts.concat(), |text, _| json!({ "t": text, "u": 1 }).to_string());
            let record = json!({ "a": text, "id": "1", "z": { "last": "END", "number": 1 } });
            let redacted = redacted(&record);
            let redacted = redacted.as_ref().map_err(|error| TestCaseError::fail(format!("{record}: {error}")))?;
            prop_assert_eq!((&redacted["id"], &redacted["z"]), (&record["id"], &record["z"]), "{}", record);
        }
    }

    #[test]
    fn lists_and_objects_in_a_text_are_secrets_as_a_whole() {
        let text = r#"{"licenseKey":["S3CRET",{"x":"]"}],"passphrase":{"v":"S4"},"kept":1}"#;
        let expected = r#"{"licenseKey":"[redacted]","passphrase":"[redacted]","kept":1}"#;
        for levels in 0..3 {
            let deep = |text: &str| (0..levels).fold(text.to_owned(), |text, _| json!({ "t": text }).to_string());
            let shown = redacted(&json!({ "a": deep(text) })).unwrap();
            assert_eq!(shown, json!({ "a": deep(expected) }));
        }
    }

    /// JSON in a text, and its spellings by other serializers.
    #[test]
    fn escapes_and_upper_case_hide_no_secret() {
        for secret in [
            r#"{"licen\u0073eKey":"S3CRET","kept":1}"#,
            r#"{"\u006cicen\u0073e\u004Bey":["S3CRET"],"kept":1}"#,
            r#"{"LICENSEKEY":"S3CRET","kept":1}"#,
        ] {
            for levels in 0..4 {
                let plain = (0..levels).fold(secret.to_owned(), |text, _| json!({ "t": text }).to_string());
                let quoted = plain.replace("\\\"", r"\u0022");
                for record in [&plain, &quoted, &quoted.replace(':', r"\u003a").replace(r#""t"\u003a"#, "\"t\":")] {
                    let shown = String::from_utf8(redact(record.as_bytes()).into_owned()).unwrap();
                    assert!(!shown.contains("S3CRET") && shown.contains("kept"), "{record}: {shown}");
                    let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
                    assert_eq!(is_json(record), is_json(&shown), "{record}: {shown}");
                }
            }
        }
        // The backslashes of a path are not escapes.
        let path = json!({ "path": r"C:\u0041\x", "t": json!({ "passphrase": "x" }).to_string() });
        assert_eq!(redacted(&path).unwrap()["path"], path["path"]);
    }

    /// A record may have as many backslashes as fit in it.
    #[test]
    fn backslashes_cost_a_step_each() {
        let record = r"\u005c".repeat(1_000_000);
        assert_eq!(redact(record.as_bytes()), record.as_bytes());
    }

    #[test]
    fn a_text_that_was_cut_off_ends_with_the_one_around_it() {
        for (text, expected) in [
            (r#"n"licenseKey":""#, r#"n"licenseKey":"[redacted]""#),
            (r#"{"licenseKey":"abc"#, r#"{"licenseKey":"[redacted]""#),
            (r#"{"licenseKey":["a","b"#, r#"{"licenseKey":"[redacted]""#),
        ] {
            let record = json!({ "a": text, "z": "sh -c \"rm\"" });
            assert_eq!(redacted(&record).unwrap(), json!({ "a": expected, "z": record["z"] }));
        }
    }
}
