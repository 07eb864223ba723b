//! What the bodies of several destinations have in common.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::sink::{Event, SinkContext};

/// The bytes around and between the events of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framing<'a> {
    pub(crate) open: &'a [u8],
    pub(crate) separator: &'a [u8],
    pub(crate) close: &'a [u8],
}

impl Framing<'static> {
    pub(crate) const NONE: Self = Self { open: b"", separator: b"", close: b"" };
    pub(crate) const JSON_ARRAY: Self = Self { open: b"[", separator: b",", close: b"]" };
}

/// Appends `text` as a JSON string.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends the event's bytes as a JSON string. Invalid UTF-8 becomes U+FFFD.
pub(super) fn write_body_as_string(event: Event<'_>, out: &mut Vec<u8>) {
    write_string(&String::from_utf8_lossy(event.body), out);
}

/// `transform.labels` as further members of a JSON object: `,"label.NAME":"VALUE"` for each.
pub(super) fn label_members(context: &SinkContext) -> String {
    let members = context.labels.iter();
    members.map(|(name, value)| format!(",{}:{}", json!(format!("label.{name}")), json!(value))).collect()
}

/// `text` as one segment of a URL's path.
pub(super) fn path_segment(text: &str) -> String {
    const UNCHANGED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');
    utf8_percent_encode(text, UNCHANGED).to_string()
}
