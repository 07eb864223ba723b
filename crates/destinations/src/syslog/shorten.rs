//! Makes events fit into messages of a limited length.

use std::borrow::Cow;
use std::fmt::Display;

use s1_forwarder_engine::transform::Schema;
use serde_json::{Map, Value};

use super::cef_fields::Cut;

/// The end of a text, or of a list, that was shortened.
pub(super) const MARK: &str = "…";

/// [`shorten_by`] leaves this many characters of a text.
const MIN_SHORTENED: usize = 16;

/// In `tags`, or in `metadata.labels`, of an event that was shortened.
const TAG: &str = "shortened";

/// A member of a raw record that was shortened, which has no tags.
const RAW_MEMBER: &str = "s1_forwarder_shortened";

/// The length of SHA-512 in hexadecimal digits.
pub(super) const MAX_EXACT: usize = 128;

const EXACT_PREFIXES: [&str; 2] = ["S-1-", "arn:"];

/// Longest text in characters and longest list, for each attempt.
const STEPS: [(usize, usize); 5] = [(1024, 64), (256, 16), (64, 8), (32, 4), (16, 2)];

/// Returns an event as JSON whose `size` is at most `room`, or its shortest form. First the event loses the copy of the
/// record, if it has one. Then its texts and lists are shortened step by step until it fits. A shortened text, or list
/// of texts, ends with `…`. Ids, hashes, addresses and times are not shortened. `None` if the event is no JSON object.
pub(super) fn json(event: &[u8], schema: Schema, room: usize, size: impl Fn(&str) -> usize) -> Option<String> {
    let mut event: Map<String, Value> = serde_json::from_slice(event).ok()?;
    let tags = match schema {
        Schema::Ecs => {
            if let Some(Value::Object(fields)) = event.get_mut("event") {
                fields.remove("original");
            }
            event.get_mut("tags")
        }
        Schema::Ocsf => {
            event.remove("raw_data");
            event.get_mut("metadata").and_then(|metadata| metadata.get_mut("labels"))
        }
        Schema::Raw => {
            event.insert(RAW_MEMBER.to_owned(), true.into());
            None
        }
    };
    if let Some(Value::Array(tags)) = tags {
        tags.insert(0, TAG.into());
    }
    let mut event = Value::Object(event);
    let mut text = serde_json::to_string(&event).ok()?;
    for (characters, elements) in STEPS {
        if size(&text) <= room {
            break;
        }
        shorten(&mut event, characters, elements);
        text = serde_json::to_string(&event).ok()?;
    }
    Some(text)
}

fn shorten(value: &mut Value, characters: usize, elements: usize) {
    match value {
        Value::String(string) if is_exact(string) => {}
        Value::String(string) => text(string, characters),
        Value::Array(list) => {
            if list.len() > elements {
                list.truncate(elements);
                // In a list of texts only: another type would break a destination's schema, and so would the mark of
                // an address. The event's tag says that something is missing.
                if let Some(Value::String(last)) = list.last_mut()
                    && !is_marked(last)
                    && !is_exact(last)
                {
                    last.push_str(MARK);
                }
            }
            list.iter_mut().for_each(|element| shorten(element, characters, elements));
        }
        Value::Object(map) => map.values_mut().for_each(|value| shorten(value, characters, elements)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns whether a text is an id, a hash, an address or a time: digits, also hexadecimal ones, and the characters
/// between them. Also a security identifier of Windows and a name of a resource in AWS. A part of such a text is worth
/// nothing.
fn is_exact(text: &str) -> bool {
    let is_digits = text.chars().all(|character| character.is_ascii_hexdigit() || "-:.,+TZ".contains(character));
    let is_name = EXACT_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) && !text.contains(char::is_whitespace);
    (is_digits || is_name) && text.len() <= MAX_EXACT
}

fn is_marked(text: &str) -> bool {
    text.ends_with(MARK)
}

/// Truncates a text to `characters` characters, its mark included.
pub(super) fn text(text: &mut String, characters: usize) {
    let Some((end, _)) = text.char_indices().nth(characters) else { return };
    let end = text[..end].char_indices().next_back().map_or(0, |(last, _)| last);
    text.truncate(end);
    text.push_str(MARK);
}

/// A key of a line with its value, which is not escaped.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'static str,
    pub(super) label: Option<&'static str>,
    pub(super) cut: Cut,
    pub(super) value: Cow<'a, str>,
}

/// Returns the line in at most `room` bytes. `shorten` is called with the excess of a longer line.
///
/// # Errors
/// If the line takes more than `room` bytes, with the fewest bytes that it takes.
pub(super) fn fit<T: Display>(mut line: T, room: usize, shorten: impl FnOnce(&mut T, usize)) -> Result<String, usize> {
    let whole = line.to_string();
    if whole.len() <= room {
        return Ok(whole);
    }
    shorten(&mut line, whole.len() - room);
    let shortened = line.to_string();
    if shortened.len() <= room { Ok(shortened) } else { Err(shortened.len()) }
}

/// Shortens the values of `which`, the last first. Returns how many of the `excess` bytes are left.
pub(super) fn shorten_entries(
    entries: &mut [Entry<'_>],
    which: Cut,
    mut excess: usize,
    escape: impl Fn(&str) -> String,
) -> usize {
    for Entry { cut, value, .. } in entries.iter_mut().rev() {
        if *cut == which && !is_exact(value) {
            excess -= shorten_by(value, excess, &escape);
        }
    }
    excess
}

/// Cuts a text so that it has `excess` escaped bytes less, where that leaves [`MIN_SHORTENED`] characters, and marks
/// its end. Returns how many of these bytes are gone.
pub(super) fn shorten_by(value: &mut Cow<'_, str>, excess: usize, escape: impl Fn(&str) -> String) -> usize {
    if excess == 0 {
        return 0;
    }
    let Some((least, _)) = value.char_indices().nth(MIN_SHORTENED) else { return 0 };
    let mut saved = 0;
    let mut end = value.len();
    for (index, character) in value.char_indices().rev() {
        if index < least || saved >= excess + MARK.len() {
            break;
        }
        saved += escape(character.encode_utf8(&mut [0; 4])).len();
        end = index;
    }
    if saved <= MARK.len() {
        return 0;
    }
    *value = Cow::Owned(format!("{}{MARK}", &value[..end]));
    excess.min(saved - MARK.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_shortened_step_by_step_and_marked() {
        let event = serde_json::json!({
            "event": { "original": "x".repeat(5000), "severity": 73 },
            "message": "é".repeat(2000),
            "related": { "hosts": vec!["host ".repeat(8); 100] },
            "tags": ["sentinel_one"],
        });
        let event = serde_json::to_vec(&event).unwrap();
        let at = |room| -> Value {
            let text = json(&event, Schema::Ecs, room, str::len).unwrap();
            assert!(text.len() <= room, "{} of {room}", text.len());
            serde_json::from_str(&text).unwrap()
        };
        let only_without_original = at(9_000);
        assert_eq!(only_without_original["event"], serde_json::json!({ "severity": 73 }));
        assert_eq!(only_without_original["message"].as_str().unwrap().chars().count(), 2000);
        assert_eq!(only_without_original["tags"], serde_json::json!(["shortened", "sentinel_one"]));

        let small = at(1_000);
        let message = small["message"].as_str().unwrap();
        assert!(message.ends_with('…') && message.chars().count() <= 256, "{message}");
        let hosts = small["related"]["hosts"].as_array().unwrap();
        assert!(hosts.len() <= 16 && hosts.last().unwrap().as_str().unwrap().ends_with('…'), "{hosts:?}");
        let least: Value = serde_json::from_str(&json(&event, Schema::Ecs, 0, str::len).unwrap()).unwrap();
        assert_eq!(least["message"], format!("{}…", "é".repeat(15)));
        let keys: Vec<_> = least.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["event", "message", "related", "tags"], "keys are never cut");
        assert_eq!(json(b"[1]", Schema::Raw, 100, str::len), None);
    }

    #[test]
    fn ids_hashes_addresses_and_times_stay_whole() {
        let exact = serde_json::json!({
            "@timestamp": "2026-03-01T10:20:30.123456Z",
            "id": "225494730938493804",
            "identity": "820198a81955184346e0e55ce8b06e03",
            "ip": "2001:db8:85a3:0:0:8a2e:370:7334",
            "resource": "arn:aws:ec2:eu-central-1:123456789012:instance/i-0abcd1234",
            "sha512": "0a".repeat(64),
            "sid": "S-1-5-21-3623811015-3361044348-30300820-1013",
            "techniques": "T1059.001,T1059.003,T1566",
            "uuid": "ff819e70-af13-381e-b537-eb0eb4d6045d",
        });
        let least = json(exact.to_string().as_bytes(), Schema::Raw, 0, str::len).unwrap();
        let mut least: Map<String, Value> = serde_json::from_str(&least).unwrap();
        assert_eq!(least.remove(RAW_MEMBER), Some(true.into()));
        assert_eq!(Value::Object(least), exact);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (whole, characters, cut) in [("äöü", 3, "äöü"), ("äöüx", 3, "äö…"), ("ab", 1, "…"), ("", 1, "")]
        {
            let mut string = whole.to_owned();
            text(&mut string, characters);
            assert_eq!(string, cut);
        }
    }
}
