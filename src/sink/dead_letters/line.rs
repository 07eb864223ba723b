//! A dead letter as it is kept: one line of JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::DeadLetter;
use crate::record::{Identity, Stream, Timestamp};

const VERSION: u32 = 1;

/// A dead letter as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// When it was refused.
    pub time: Timestamp,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Stream of the record.
    pub stream: Stream,
    /// Name of the sink.
    pub sink: String,
    /// See [`Identity`].
    pub identity: Identity,
    /// The record's id at the console.
    pub record_id: String,
    /// The sink's status.
    pub status: String,
    /// The sink's reason.
    pub reason: String,
    /// The event's own time, where it has one.
    pub event_time: Option<Timestamp>,
    /// Why the record could not be mapped, where that is so.
    pub error: Option<String>,
    /// Only the beginning of the record is kept: it was too large to be pulled.
    pub cut: bool,
    /// The event as it was sent.
    pub event: Vec<u8>,
}

/// The form on disk. Of the three keys for the event one is there.
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    /// Byte for byte as it was sent.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    /// Where it is not one line of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_text: Option<Cow<'a, str>>,
    /// Where it is not text either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_base64: Option<Cow<'a, str>>,
}

impl Kept {
    /// As the line that it was kept as, without its line feed.
    pub fn to_json(&self) -> String {
        let mut line = Vec::new();
        write_line(&self.letter(), &mut line);
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }

    /// As a lane hands it over.
    pub fn letter(&self) -> DeadLetter<'_> {
        DeadLetter {
            time: self.time,
            pipeline: &self.pipeline,
            stream: self.stream,
            sink: &self.sink,
            identity: self.identity,
            record_id: &self.record_id,
            status: &self.status,
            reason: &self.reason,
            event_time: self.event_time,
            error: self.error.as_deref(),
            cut: self.cut,
            event: &self.event,
        }
    }
}

/// Appends the line of `letter`, with its line feed.
pub fn write_line(letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    let text = std::str::from_utf8(letter.event).ok();
    let one_line = text.filter(|text| !text.contains(['\n', '\r']));
    // RawValue strips blanks around the value, which then would not be the bytes that were sent.
    let event = one_line
        .and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
        .filter(|event| event.get().len() == letter.event.len());
    let event_text = text.filter(|_| event.is_none()).map(Cow::Borrowed);
    let event_base64 = text.is_none().then(|| Cow::Owned(BASE64_STANDARD.encode(letter.event)));
    let line = Line {
        v: VERSION,
        time: Cow::Owned(letter.time.to_string()),
        pipeline: Cow::Borrowed(letter.pipeline),
        stream: letter.stream,
        sink: Cow::Borrowed(letter.sink),
        identity: Cow::Owned(letter.identity.to_string()),
        record_id: Cow::Borrowed(letter.record_id),
        status: Cow::Borrowed(letter.status),
        reason: Cow::Borrowed(letter.reason),
        event_time: letter.event_time.map(|time| Cow::Owned(time.to_string())),
        error: letter.error.map(Cow::Borrowed),
        cut: letter.cut,
        event,
        event_text,
        event_base64,
    };
    // Texts into a Vec: neither can fail.
    let _ = serde_json::to_writer(&mut *out, &line);
    out.push(b'\n');
}

/// The letter of a line without its line feed.
pub fn parse_line(line: &[u8]) -> Result<Kept, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if line.v > VERSION {
        return Err(format!("version {} is of a newer release", line.v));
    }
    let event = match (line.event, line.event_text, line.event_base64) {
        (Some(event), _, _) => event.get().as_bytes().to_vec(),
        (_, Some(text), _) => text.into_owned().into_bytes(),
        (_, _, Some(encoded)) => BASE64_STANDARD.decode(encoded.as_bytes()).map_err(|error| error.to_string())?,
        _ => return Err("there is no event in it".to_owned()),
    };
    let time = |text: &str| Timestamp::parse(text).map_err(|error| error.to_string());
    Ok(Kept {
        time: time(&line.time)?,
        pipeline: line.pipeline.into_owned(),
        stream: line.stream,
        sink: line.sink.into_owned(),
        identity: line.identity.parse().map_err(|_| "its identity is not 32 hex digits".to_owned())?,
        record_id: line.record_id.into_owned(),
        status: line.status.into_owned(),
        reason: line.reason.into_owned(),
        event_time: line.event_time.as_deref().map(time).transpose()?,
        error: line.error.map(Cow::into_owned),
        cut: line.cut,
        event,
    })
}
