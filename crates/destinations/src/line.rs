//! Writes one event as one line, for `http`, `file`, `stdout`, `sumo` and `panther`.

use std::io::Write;

use s1_forwarder_engine::sink::Event;

use super::SinkContext;

/// Writes the event alone, or in an envelope with its origin.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The text between the identity and the record in an envelope; `None` for no envelope.
    envelope: Option<Vec<u8>>,
}

impl Line {
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { envelope: None }
    }

    /// Creates the format of a lane's lines. An envelope is `{id, pipeline, stream, labels, record}`, with `error` if
    /// the record could not be mapped.
    pub(crate) fn new(envelope: bool, context: &SinkContext) -> Self {
        let origin = || {
            let labels = serde_json::json!(context.labels);
            format!(
                r#"","pipeline":{},"stream":"{}","labels":{labels}"#,
                serde_json::json!(context.lane.pipeline),
                context.lane.stream
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
