//! Reads the fields that order and identify a record. Polls use it before a record is mapped.

use std::borrow::Cow;
use std::ops::ControlFlow;

use sha2::{Digest, Sha256};

use super::value::Value;
use super::vulnerability::content_hash;
use super::{Fact, Identity, Key, Stream, Timestamp, Version, scan};

/// The fields that order and identify a record, read before the record is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    pub stream: Stream,
    /// The console's id of the record; "" when it has none.
    pub id: Cow<'a, str>,
    /// The time that the stream is ordered by.
    pub time: Option<Timestamp>,
    /// Differs between the versions of one record; "" in append-only streams. Usually `updatedAt` as received: see
    /// [`Version`].
    pub version: Cow<'a, str>,
    /// When the console created the record.
    pub created: Option<Timestamp>,
    pub activity_type: Option<u32>,
}

/// Reads the facts of one record in one partial pass, which ends when all of them are found. Missing values and values
/// of another type are left out. If a key is repeated, its first value counts, as it does in mapping.
pub fn facts(stream: Stream, record: &[u8]) -> Facts<'_> {
    let description = stream.description();
    let mut fields = RawFields::default();
    fields.read(record, description.keys);
    Facts {
        stream,
        id: [Fact::Id, Fact::OtherId]
            .into_iter()
            .map(|id| fields.text(id))
            .find(|id| !id.is_empty())
            .unwrap_or_default(),
        time: description.order.iter().find_map(|time| fields.time(*time)),
        version: match description.version {
            Version::Constant => Cow::Borrowed(""),
            Version::Values(lists) => fields.version(lists),
            Version::Content { without } => Cow::Owned(content_hash(record, without)),
        },
        created: fields.time(Fact::Created),
        activity_type: fields.text(Fact::ActivityType).parse().ok(),
    }
}

impl Facts<'_> {
    /// Returns the identity of this version of the record. `record` is the JSON that the facts were read from. A record
    /// without an id is identified by a hash of its content.
    pub fn identity(&self, host: &str, record: &[u8]) -> Identity {
        if self.id.is_empty() {
            return Identity::of(host, self.stream, &record_digest(record), "");
        }
        Identity::of(host, self.stream, &self.id, &self.version)
    }

    /// Returns the last part of a Kafka key: the console's id, or else a hash of the content.
    pub fn record_id(&self, record: &[u8]) -> Cow<'_, str> {
        if self.id.is_empty() { Cow::Owned(record_digest(record)) } else { Cow::Borrowed(&self.id) }
    }
}

/// Returns the SHA-256 of the record's bytes without line breaks, in hex.
fn record_digest(record: &[u8]) -> String {
    hex::encode(Sha256::digest(compact(record)))
}

/// Returns the record's bytes without any line breaks. The identity of a record without an id is made of them.
fn compact(record: &[u8]) -> Cow<'_, [u8]> {
    rewrite_breaks(record, |_, _| {})
}

/// Returns the record's bytes on one line, which `schema: raw` sends. A line break in a string, which is not JSON, is
/// escaped.
pub fn one_line(record: &[u8]) -> Cow<'_, [u8]> {
    rewrite_breaks(record, |bytes, line_break| {
        bytes.extend_from_slice(if line_break == b'\n' { br"\n" } else { br"\r" });
    })
}

/// Leaves out line breaks between tokens. `in_string` writes the replacement of a line break in a string.
fn rewrite_breaks(record: &[u8], in_string: impl Fn(&mut Vec<u8>, u8)) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\n', b'\r', record).is_none() {
        return Cow::Borrowed(record);
    }
    let mut bytes = Vec::with_capacity(record.len());
    let mut at = 0;
    while let Some(&byte) = record.get(at) {
        let is_string = byte == b'"';
        let end = if is_string { scan::string_end(record, at).unwrap_or(record.len()) } else { at + 1 };
        for &byte in &record[at..end] {
            match byte {
                b'\n' | b'\r' if is_string => in_string(&mut bytes, byte),
                b'\n' | b'\r' => {}
                byte => bytes.push(byte),
            }
        }
        at = end;
    }
    Cow::Owned(bytes)
}

/// The values of a record that are facts, by fact; "" for a fact that is missing.
#[derive(Default)]
struct RawFields<'a>([&'a [u8]; Fact::COUNT]);

impl<'a> RawFields<'a> {
    /// Reads the values of these keys, up to the last one of them.
    fn read(&mut self, object: &'a [u8], keys: &[Key]) {
        let all = (1_u32 << keys.len()) - 1;
        let mut found = 0_u32;
        for_each_entry(object, |name, value| {
            let Some(index) = keys.iter().position(|key| key.name().as_bytes() == name) else {
                return ControlFlow::Continue(());
            };
            if found & (1 << index) != 0 || value == b"null" || value == b"\"\"" {
                return ControlFlow::Continue(());
            }
            found |= 1 << index;
            match &keys[index] {
                Key::Value(_, fact) => self.0[*fact as usize] = value,
                Key::Object(_, keys) => self.read(value, keys),
            }
            go_on_if(found != all)
        });
    }

    fn text(&self, fact: Fact) -> Cow<'a, str> {
        read_text(self.0[fact as usize])
    }

    fn time(&self, fact: Fact) -> Option<Timestamp> {
        Timestamp::parse_of_record(&self.text(fact)).ok()
    }

    /// See [`Version::Values`].
    fn version(&self, lists: &[&[Fact]]) -> Cow<'a, str> {
        let is_there = |list: &&&[Fact]| list.first().is_some_and(|fact| !self.0[*fact as usize].is_empty());
        match lists.iter().find(is_there).or(lists.last()).copied().unwrap_or_default() {
            [fact] => self.text(*fact),
            facts => Cow::Owned(facts.iter().map(|fact| self.text(*fact)).collect::<Vec<_>>().join(" ")),
        }
    }
}

fn go_on_if(condition: bool) -> ControlFlow<()> {
    if condition { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Calls `visit` with each key and its value, until it breaks off. Works on bytes, not on text: a record that is not
/// valid UTF-8 still has an id and a time.
pub fn for_each_entry<'a>(object: &'a [u8], mut visit: impl FnMut(&'a [u8], &'a [u8]) -> ControlFlow<()>) {
    let mut at = scan::skip_space(object, 0);
    if object.get(at) != Some(&b'{') {
        return;
    }
    at += 1;
    loop {
        let key = scan::skip_space(object, at);
        if object.get(key) != Some(&b'"') {
            return;
        }
        let Some(key_end) = scan::string_end(object, key) else { return };
        let colon = scan::skip_space(object, key_end);
        if object.get(colon) != Some(&b':') {
            return;
        }
        let start = scan::skip_space(object, colon + 1);
        let Some(end) = scan::value_end(object, start) else { return };
        if visit(&object[key + 1..key_end - 1], &object[start..end]).is_break() {
            return;
        }
        at = scan::skip_space(object, end);
        if object.get(at) != Some(&b',') {
            return;
        }
        at += 1;
    }
}

/// Returns the first value under `name` in an object, or an empty slice.
pub fn member<'a>(object: &'a [u8], name: &str) -> &'a [u8] {
    let mut found: &[u8] = b"";
    for_each_entry(object, |key, value| {
        let is_it = key == name.as_bytes();
        if is_it {
            found = value;
        }
        go_on_if(!is_it)
    });
    found
}

fn read_text(value: &[u8]) -> Cow<'_, str> {
    Value::new(std::str::from_utf8(value).unwrap_or_default()).text().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_in_utc() {
        let record = br#"{"id":"7","createdAt":"2026-11-28T10:00:00.123456"}"#;
        let time = Timestamp::parse("2026-11-28T10:00:00.123456Z").ok();
        assert_eq!(facts(Stream::Activities, record).time, time);
    }

    #[test]
    fn each_stream_has_its_own_id_time_and_version_fields() {
        let time = |text: &str| Some(Timestamp::parse(text).unwrap());
        let cases = [
            (
                Stream::Threats,
                r#"{"agentRealtimeInfo":{"id":"no"},"threatInfo":{"createdAt":"2022-04-06T08:45:54.519988Z",
                    "threatId":"7","updatedAt":"2022-04-06T08:54:17.194122Z"},"id":"1234567890123456789"}"#,
                (
                    "1234567890123456789",
                    "2022-04-06T08:54:17.194122Z",
                    "2022-04-06T08:54:17.194122Z",
                    "2022-04-06T08:45:54.519988Z",
                ),
            ),
            (
                Stream::Threats,
                r#"{"id":"","threatInfo":{"threatId":"7","createdAt":"2022-04-06T08:45:54Z","updatedAt":"2022-04-06T08:54:17.19Z"}}"#,
                ("7", "2022-04-06T08:54:17.19Z", "2022-04-06T08:54:17.19Z", "2022-04-06T08:45:54Z"),
            ),
            (
                Stream::Agents,
                r#"{"updatedAt":"2022-04-07T08:31:47.481227Z","id":13491234512345,"createdAt":"2022-03-18T09:12:00.519500Z"}"#,
                (
                    "13491234512345",
                    "2022-04-07T08:31:47.481227Z",
                    "2022-04-07T08:31:47.481227Z",
                    "2022-03-18T09:12:00.519500Z",
                ),
            ),
            (
                Stream::Alerts,
                r#"{"alertInfo":{"alertId":"12","createdAt":"2018-02-27T04:49:26.257525Z","updatedAt":"2018-02-28T00:00:00Z",
                    "incidentStatus":"Unresolved","analystVerdict":null}}"#,
                (
                    "12",
                    "2018-02-27T04:49:26.257525Z",
                    "2018-02-28T00:00:00Z Unresolved ",
                    "2018-02-27T04:49:26.257525Z",
                ),
            ),
            (
                Stream::Activities,
                r#"{"activityType":27,"id":"5","id":"6","updatedAt":"2022-01-01T00:00:00Z","createdAt":"2022-04-05T16:01:56.928383Z"}"#,
                ("5", "2022-04-05T16:01:56.928383Z", "", "2022-04-05T16:01:56.928383Z"),
            ),
            (
                Stream::UnifiedAlerts,
                r#"{"createdAt":"2022-04-05T16:01:00Z","detectedAt":"2022-04-05T16:02:00Z","updatedAt":"2022-04-05T16:03:00Z","id":"u-1"}"#,
                ("u-1", "2022-04-05T16:03:00Z", "2022-04-05T16:03:00Z", "2022-04-05T16:02:00Z"),
            ),
            (
                Stream::UnifiedAlerts,
                r#"{"detectedAt":"2022-04-05T16:02:00Z","updatedAt":null,"id":"u-1","status":"NEW","analystVerdict":"UNDEFINED"}"#,
                ("u-1", "2022-04-05T16:02:00Z", "NEW UNDEFINED", "2022-04-05T16:02:00Z"),
            ),
            (
                Stream::Vulnerabilities,
                r#"{"id":"7","detectionDate":"2022-04-05T16:02:00Z","lastScanDate":"2022-05-05T16:02:00Z","daysDetected":30}"#,
                ("7", "2022-05-05T16:02:00Z", "9a746028006b2e3f", "2022-04-05T16:02:00Z"),
            ),
        ];
        for (stream, record, (id, at, version, created)) in cases {
            let facts = facts(stream, record.as_bytes());
            assert_eq!((facts.id.as_ref(), facts.version.as_ref()), (id, version), "{record}");
            assert_eq!((facts.time, facts.created), (time(at), time(created)), "{record}");
        }
    }

    /// The pass ends where nothing is missing, so anything may follow. Everything before that counts.
    #[test]
    fn facts_are_found_wherever_they_are() {
        let id = r#""id":"7""#;
        let block = r#""threatInfo":{"updatedAt":"2022-04-05T16:01:56Z"}"#;
        let other = r#""a":[1]"#;
        let second = r#""threatInfo":{"updatedAt":"2023-01-01T00:00:00Z"}"#;
        for entries in [[other, id, block, second], [block, other, second, id], [block, second, id, other]] {
            let record = format!("{{{}}}", entries.join(","));
            let facts = facts(Stream::Threats, record.as_bytes());
            assert_eq!((&*facts.id, &*facts.version), ("7", "2022-04-05T16:01:56Z"), "{record}");
        }
        let incomplete = facts(Stream::Threats, br#"{"threatInfo":null,"id":null,"id":"8","x":"#);
        assert_eq!((&*incomplete.id, incomplete.time), ("8", None));
    }

    #[test]
    fn the_activity_type_may_be_text() {
        for record in [r#"{"activityType":27}"#, r#"{"activityType":"27"}"#] {
            assert_eq!(facts(Stream::Activities, record.as_bytes()).activity_type, Some(27));
        }
        assert_eq!(facts(Stream::Activities, br#"{"activityType":"many"}"#).activity_type, None);
    }

    #[test]
    fn malformed_input_has_no_facts_and_does_not_panic() {
        for record in
            [&b""[..], b"7", b"[1]", b"{", b"{\"id\"", b"{\"id\":", b"{\"id\":}", b"{\"threatInfo\":7}", b"{\"id\":{}}"]
        {
            for stream in Stream::ALL {
                let facts = facts(stream, record);
                assert_eq!((facts.id.as_ref(), facts.time), ("", None), "{}", String::from_utf8_lossy(record));
            }
        }
        let broken = facts(Stream::Activities, b"{\"id\":\"1\",\"x\":\"\xff\",\"createdAt\":\"2022-04-05T16:01:56Z\"}");
        assert!(broken.id == "1" && broken.time.is_some());
    }

    #[test]
    fn line_breaks_between_tokens_do_not_change_the_identity() {
        let one = &b"{\"a\":\"x y\",\"b\":1}"[..];
        let two = &b"{\"a\":\"x y\",\r\n\"b\":1\n}"[..];
        let identity_of = |record| facts(Stream::Groups, record).identity("h", record);
        assert_eq!(identity_of(one), identity_of(two));
        assert_eq!(compact(two), one);
        assert_eq!(compact(one), one);
        assert_ne!(identity_of(one), identity_of(b"{\"a\":\"xy\",\"b\":1}"));
        assert_eq!(compact(b"{\"a\":\"x\ny"), &b"{\"a\":\"xy"[..]);
        assert_eq!(one_line(two), one);
        assert_eq!(one_line(b"{\r\n\"a\":\"x\r\ny"), &br#"{"a":"x\r\ny"#[..]);
        assert_eq!(facts(Stream::Groups, one).record_id(one).len(), 64);
    }
}
