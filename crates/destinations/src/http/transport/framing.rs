//! Functions and types for the bodies of several destinations.

use s1_forwarder_engine::sink::Event;
use s1_forwarder_record::Reader;
use serde_json::json;

use crate::SinkContext;

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
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends the event's bytes as a JSON string. Invalid UTF-8 becomes U+FFFD.
pub(crate) fn write_body_as_string(event: Event<'_>, out: &mut Vec<u8>) {
    write_string(&String::from_utf8_lossy(event.body), out);
}

/// One object with members of the sink and members of an event. The event's own value counts, since a `remap` may have
/// set it. If a name occurs twice, some destinations refuse the document, and others accept either value.
#[derive(Debug)]
pub(crate) struct Merged<'a> {
    event: &'a [u8],
    out: &'a mut Vec<u8>,
    /// Whether the object has a member yet.
    is_begun: bool,
    /// Members of the event that get other names.
    renamed: Vec<&'a str>,
}

impl<'a> Merged<'a> {
    pub(crate) fn begin(event: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { event, out, is_begun: false, renamed: Vec::new() }
    }

    /// Writes a member with this name, unless the event has one. `name` needs no escapes.
    pub(crate) fn member(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if !has_member(self.event, name) {
            self.write(name, write);
        }
    }

    /// Writes a member that says where the event is from. If the event has one of this name, it becomes `own.NAME`.
    pub(crate) fn origin(&mut self, name: &'a str, write: impl FnOnce(&mut Vec<u8>)) {
        if has_member(self.event, name) {
            self.renamed.push(name);
        }
        self.write(name, write);
    }

    fn write(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_begun {
            self.out.push(b',');
        }
        self.is_begun = true;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        write(self.out);
    }

    /// Writes the event's members, and the end of the object.
    pub(crate) fn end(mut self) {
        if !self.renamed.is_empty() {
            return self.end_renamed();
        }
        let members = self.event.trim_ascii().strip_prefix(b"{").unwrap_or(self.event).trim_ascii_start();
        if self.is_begun && members != b"}" {
            self.out.push(b',');
        }
        self.out.extend_from_slice(members);
    }
}

impl Merged<'_> {
    fn end_renamed(&mut self) {
        // A member was found in the event, so the event is text.
        let event = std::str::from_utf8(self.event).unwrap_or_default();
        for (name, value) in members(event) {
            let own = if self.renamed.contains(&name) { "own." } else { "" };
            self.write(&format!("{own}{name}"), |out| out.extend_from_slice(value.as_bytes()));
        }
        self.out.push(b'}');
    }
}

/// Returns whether the object `event` has a member with this name. Names that the forwarder writes have no needless
/// escapes.
pub(crate) fn has_member(event: &[u8], name: &str) -> bool {
    // Nearly always the name occurs nowhere, and the event is not read.
    let occurs = memchr::memmem::find(event, name.as_bytes()).is_some();
    occurs && std::str::from_utf8(event).is_ok_and(|event| members(event).any(|(member, _)| member == name))
}

/// Returns the members of an object, each with its name and value.
fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut reader = Reader::new(object);
    let mut begins = reader.consume(b'{');
    std::iter::from_fn(move || {
        let is_next = std::mem::take(&mut begins) || reader.consume(b',');
        if !is_next {
            return None;
        }
        let (name, _) = reader.key().ok()?;
        let value = reader.value().ok()?;
        Some((name, value))
    })
}

/// Returns `transform.labels` as further members of a JSON object: `,"label.NAME":"VALUE"` for each.
pub(crate) fn label_members(context: &SinkContext) -> String {
    let members = context.labels.iter();
    members.map(|(name, value)| format!(",{}:{}", json!(format!("label.{name}")), json!(value))).collect()
}
