//! Redacts whole events, in the bytes of a batch.

use std::collections::HashSet;

use s1_forwarder_mapping::{REDACTED, Schema};

use super::redact::Redactor;
use super::tree::{Json, Tree};

/// Redacts events of one schema.
#[derive(Debug)]
pub(super) struct EventRedactor {
    pub schema: Schema,
    pub redactor: Redactor,
}

/// Parses an event; `None` if the bytes are not a JSON object.
pub(super) fn parse(event: &[u8]) -> Option<Json> {
    std::str::from_utf8(event).ok().and_then(Json::parse).filter(Json::is_object)
}

impl EventRedactor {
    /// Redacts the event that begins at `start`. `known` are the event's texts that are replacements already.
    pub fn redact(&self, out: &mut Vec<u8>, start: usize, known: &HashSet<String>) {
        if !self.redactor.is_empty() {
            let event = parse(&out[start..]);
            self.finish(out, start, event, known);
        }
    }

    /// Replaces the bytes from `start` on by `event`, redacted. `event` is `None` if the bytes are not an event.
    pub fn finish<T: Tree>(&self, out: &mut Vec<u8>, start: usize, event: Option<T>, known: &HashSet<String>) {
        out.truncate(start);
        match event {
            Some(mut event) => {
                self.redactor.event(&mut event, self.schema, known);
                event.write(out);
            }
            // It is not known which part of the bytes is at a path.
            None => out.extend_from_slice(format!("\"{REDACTED}\"").as_bytes()),
        }
    }
}
