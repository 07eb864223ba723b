//! One event, one line: what `http`, `file` and `stdout` write.

use std::io::Write;

use super::{Context, Event};

/// How an event becomes a line: as it is, or in an envelope that says where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// What an envelope holds between the identity and the record.
    envelope: Option<Vec<u8>>,
}

impl Line {
    /// Plain lines.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { envelope: None }
    }

    /// Plain lines, or `{id, pipeline, stream, labels, record}`.
    pub(crate) fn new(envelope: bool, context: &Context) -> Self {
        let origin = || {
            let labels = serde_json::json!(context.labels);
            format!(
                r#"","pipeline":{},"stream":"{}","labels":{labels}"#,
                serde_json::json!(context.pipeline),
                context.stream
            )
        };
        Self { envelope: envelope.then(|| origin().into_bytes()) }
    }

    /// Appends the event without a line break.
    pub(crate) fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let Some(origin) = &self.envelope else {
            out.extend_from_slice(event.body);
            return;
        };
        // Writing into a Vec cannot fail.
        let _ = write!(out, r#"{{"id":"{}"#, event.identity);
        out.extend_from_slice(origin);
        if let Some(error) = event.error {
            let _ = write!(out, r#","error":{}"#, serde_json::json!(error));
        }
        out.extend_from_slice(br#","record":"#);
        out.extend_from_slice(event.body);
        out.push(b'}');
    }
}
