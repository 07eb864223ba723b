//! The stored form of a dead letter: one line of JSON. Its last member is a checksum of all that is before it.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use s1_forwarder_engine::dead_letters::DeadLetter;
use s1_forwarder_engine::transform::Labels;
use s1_forwarder_record::{Identity, LaneId, Stream, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Version of the stored form. Lines of version 1 have no checksum.
const VERSION: u32 = 2;

/// Text between the checked bytes and the eight hex digits of their checksum.
const CHECKSUM: &[u8] = br#","crc32":""#;
const END: &[u8] = br#""}"#;

/// An owned [`DeadLetter`] with the same fields, read from a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDeadLetter {
    pub time: Timestamp,
    pub lane: LaneId,
    pub identity: Identity,
    pub record_id: String,
    pub status: String,
    pub reason: String,
    pub event_time: Option<Timestamp>,
    pub error: Option<String>,
    pub labels: Option<Arc<Labels>>,
    pub truncated: bool,
    pub event: Vec<u8>,
}

/// One of `event`, `event_text` and `event_base64` is present.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    v: u32,
    time: Cow<'a, str>,
    pipeline: Cow<'a, str>,
    stream: Stream,
    sink: Cow<'a, str>,
    identity: Cow<'a, str>,
    record_id: Cow<'a, str>,
    status: Cow<'a, str>,
    reason: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_time: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Cow<'a, Labels>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// The bytes that were sent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    /// The event, if it is text that is not one line of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_text: Option<Cow<'a, str>>,
    /// The event, if it has bytes that are not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_base64: Option<Cow<'a, str>>,
    /// Checksum. It is not written with the other members, since it is made of them.
    #[serde(default, skip_serializing)]
    crc32: Option<Cow<'a, str>>,
}

impl StoredDeadLetter {
    /// Returns the stored line, without its line feed.
    pub fn to_json(&self) -> String {
        let mut line = Vec::new();
        write_line(&self.as_dead_letter(), &mut line);
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }

    pub fn as_dead_letter(&self) -> DeadLetter<'_> {
        DeadLetter {
            time: self.time,
            lane: &self.lane,
            identity: self.identity,
            record_id: &self.record_id,
            status: &self.status,
            reason: &self.reason,
            event_time: self.event_time,
            error: self.error.as_deref(),
            labels: self.labels.as_deref(),
            truncated: self.truncated,
            event: &self.event,
        }
    }
}

/// Appends the line of `dead_letter`, with its line feed.
pub fn write_line(dead_letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    let text = std::str::from_utf8(dead_letter.event).ok();
    let one_line = text.filter(|text| !text.contains(['\n', '\r']));
    // `RawValue` strips blanks around the value. Such an event is stored as text.
    let event = one_line
        .and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
        .filter(|event| event.get().len() == dead_letter.event.len());
    let event_text = if event.is_none() { text.map(Cow::Borrowed) } else { None };
    let event_base64 = text.is_none().then(|| Cow::Owned(BASE64_STANDARD.encode(dead_letter.event)));
    let line = Line {
        v: VERSION,
        time: Cow::Owned(dead_letter.time.to_string()),
        pipeline: Cow::Borrowed(&dead_letter.lane.pipeline),
        stream: dead_letter.lane.stream,
        sink: Cow::Borrowed(&dead_letter.lane.sink),
        identity: Cow::Owned(dead_letter.identity.to_string()),
        record_id: Cow::Borrowed(dead_letter.record_id),
        status: Cow::Borrowed(dead_letter.status),
        reason: Cow::Borrowed(dead_letter.reason),
        event_time: dead_letter.event_time.map(|time| Cow::Owned(time.to_string())),
        error: dead_letter.error.map(Cow::Borrowed),
        labels: dead_letter.labels.map(Cow::Borrowed),
        truncated: dead_letter.truncated,
        event,
        event_text,
        event_base64,
        crc32: None,
    };
    let start = out.len();
    // Writing strings into a Vec cannot fail.
    let _ = serde_json::to_writer(&mut *out, &line);
    // The checksum is of the line without the closing brace.
    out.pop();
    let checksum = checksum(&out[start..]);
    out.extend_from_slice(CHECKSUM);
    out.extend_from_slice(checksum.as_bytes());
    out.extend_from_slice(END);
    out.push(b'\n');
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

/// Returns whether the checksum at the end of a line matches the bytes before it.
pub fn is_intact(line: &[u8]) -> bool {
    let Some((checked, digits)) =
        line.strip_suffix(END).and_then(|line| line.split_at_checked(line.len().saturating_sub(8)))
    else {
        return false;
    };
    checked.strip_suffix(CHECKSUM).is_some_and(|checked| checksum(checked).as_bytes() == digits)
}

/// Parses a line, which is given without its line feed.
///
/// # Errors
/// If the line is damaged, or a newer release wrote it. The text says which.
pub fn parse_line(line: &[u8]) -> Result<StoredDeadLetter, String> {
    let text = line;
    let line: Line<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if line.v > VERSION {
        return Err(format!("version {} is of a newer release", line.v));
    }
    if (line.v > 1 || line.crc32.is_some()) && !is_intact(text) {
        return Err("its checksum is wrong: it was altered, or is damaged".to_owned());
    }
    let event = match (line.event, line.event_text, line.event_base64) {
        (Some(event), _, _) => event.get().as_bytes().to_vec(),
        (_, Some(text), _) => text.into_owned().into_bytes(),
        (_, _, Some(encoded)) => BASE64_STANDARD.decode(encoded.as_bytes()).map_err(|error| error.to_string())?,
        _ => return Err("it has no event".to_owned()),
    };
    let time = |text: &str| Timestamp::parse(text).map_err(|error| error.to_string());
    Ok(StoredDeadLetter {
        time: time(&line.time)?,
        lane: LaneId::new(line.pipeline, line.stream, line.sink),
        identity: line.identity.parse().map_err(|_| "its identity is not 32 hex digits".to_owned())?,
        record_id: line.record_id.into_owned(),
        status: line.status.into_owned(),
        reason: line.reason.into_owned(),
        event_time: line.event_time.as_deref().map(time).transpose()?,
        error: line.error.map(Cow::into_owned),
        labels: line.labels.map(|labels| Arc::new(labels.into_owned())),
        truncated: line.truncated,
        event,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::dead_letters::files;

    fn lane() -> LaneId {
        LaneId::new("acme", Stream::Threats, "siem")
    }

    #[test]
    fn a_line_with_any_flipped_bit_is_refused() {
        let lane = lane();
        let dead_letter = DeadLetter::sample(&lane, br#"{"user":"bob","action":"logged-in"}"#);
        let mut line = Vec::new();
        write_line(&dead_letter, &mut line);
        line.pop();
        assert!(parse_line(&line).is_ok());
        for bit in 0..line.len() * 8 {
            line[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_line(&line).is_err(), "{}", String::from_utf8_lossy(&line));
            line[bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn golden(version: u32) -> PathBuf {
        let name = format!("dead-letters-{version}.jsonl");
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/layouts/stores").join(name)
    }

    /// Returns dead letters with something in each member of a line, and with each of the three forms of an event.
    fn samples<'a>(lane: &'a LaneId, labels: &'a Labels) -> [DeadLetter<'a>; 3] {
        let text = DeadLetter::sample(lane, b"a line\nand one more");
        let bytes = DeadLetter { truncated: true, ..DeadLetter::sample(lane, b"\xff\x00") };
        let json = DeadLetter {
            event_time: Some(Timestamp::from_micros(1_790_000_000_000_000)),
            error: Some("remap: at line 3"),
            labels: Some(labels),
            ..DeadLetter::sample(lane, br#"{"a":1}"#)
        };
        [json, text, bytes]
    }

    /// A later release reads what this one writes. `UPDATE_GOLDEN=1` writes the file of a new version.
    #[test]
    fn golden_lines_of_each_version_are_read_and_the_newest_are_written() {
        let lane = lane();
        let labels = Labels::from([("tenant".into(), "acme".into())]);
        let mut written = Vec::new();
        samples(&lane, &labels).iter().for_each(|sample| write_line(sample, &mut written));
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !golden(VERSION).exists() {
            fs::write(golden(VERSION), &written).unwrap();
        }
        assert!(fs::read(golden(VERSION)).unwrap() == written, "another form needs another version");
        for version in 1..=VERSION {
            let stored = files::read(&golden(version)).unwrap().map(|line| line.unwrap().1);
            let stored: Vec<StoredDeadLetter> = stored.collect();
            let read: Vec<_> = stored.iter().map(|line| format!("{:?}", line.as_dead_letter())).collect();
            assert_eq!(read, samples(&lane, &labels).map(|sample| format!("{sample:?}")), "version {version}");
        }
    }

    #[test]
    fn an_altered_line_is_refused_and_one_of_an_older_build_is_read() {
        let older = concat!(
            r#"{"v":1,"time":"2026-01-31T00:00:00.000000Z","pipeline":"acme","stream":"threats","sink":"siem","#,
            r#""identity":"00000000000000000000000000000001","record_id":"1","status":"400","reason":"no","#,
            r#""event":{"a":1}}"#,
        );
        let stored = parse_line(older.as_bytes()).unwrap();
        assert_eq!(stored.event, br#"{"a":1}"#);
        let line = stored.to_json();
        assert_eq!(parse_line(line.as_bytes()).as_ref(), Ok(&stored));
        for (from, to) in [
            (r#"{"a":1}"#, r#"{"a":2}"#),
            ("acme", "acne"),
            (r#""v":2"#, r#""v":1"#),
            (r#","crc32":"#, r#","crc33":"#),
            (r#","crc32":"#, r#", "crc32":"#),
        ] {
            let altered = line.replacen(from, to, 1);
            assert_ne!(altered, line);
            assert!(parse_line(altered.as_bytes()).unwrap_err().contains("checksum is wrong"), "{altered}");
        }
        let newer = line.replacen(r#""v":2"#, r#""v":3"#, 1);
        assert!(parse_line(newer.as_bytes()).unwrap_err().contains("newer release"));
    }
}
