//! One event a line on standard output.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{Common, Compression, Defaults, SinkType};
use super::line::Line;
use super::{Attempt, Batch, BuildError, Limits, Outcome, Probe, Sink, SinkContext};

/// The defaults of local sinks, which have no limits of their own.
pub(crate) const LOCAL_DEFAULTS: Defaults = Defaults {
    limits: Limits { events: 1_000, bytes: 5 << 20, copies: 2, ..Limits::NONE },
    flush: Duration::from_secs(1),
    concurrency: 1,
    concurrency_max: 1,
    compressions: &[Compression::None],
};

/// `type: stdout`: one event a line on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutSettings {
    /// Write `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    pub envelope: bool,
}

impl SinkType for StdoutSettings {
    fn defaults(&self) -> Defaults {
        LOCAL_DEFAULTS
    }

    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        Ok(Arc::new(Stdout { limits: common.limits(&LOCAL_DEFAULTS), line: Line::new(self.envelope, context) }))
    }
}

#[derive(Debug)]
struct Stdout {
    limits: Limits,
    line: Line,
}

impl Sink for Stdout {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        write_lines(&self.line, batch, |lines| {
            // The lock prevents that lines of several lanes mix.
            let mut stdout = io::stdout().lock();
            stdout.write_all(lines)?;
            stdout.flush()
        })
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        std::future::ready(Probe::Verified("standard output".to_owned())).boxed()
    }
}

/// Frames the batch and calls `write` with it on a thread that may block.
pub(crate) async fn write_lines(
    line: &Line,
    batch: &Batch,
    write: impl FnOnce(&[u8]) -> io::Result<()> + Send + 'static,
) -> Attempt {
    let mut lines = Vec::with_capacity(batch.body_bytes() + batch.len());
    for event in batch.events() {
        line.write(event, &mut lines);
        lines.push(b'\n');
    }
    let bytes = lines.len() as u64;
    let written = match tokio::task::spawn_blocking(move || write(&lines)).await {
        Ok(written) => written,
        Err(_) => Err(io::Error::other("the writing task ended early")),
    };
    match written {
        Ok(()) => Attempt { outcome: Outcome::Delivered, bytes, status: "ok".to_owned() },
        Err(error) => Attempt { outcome: io_outcome(&error), bytes: 0, status: "io".to_owned() },
    }
}

/// A path that cannot be written is misconfigured. Other errors, such as a full disk, may be temporary.
fn io_outcome(error: &io::Error) -> Outcome {
    use io::ErrorKind::{IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem => {
            Outcome::Misconfigured(error.to_string())
        }
        _ => Outcome::RetryLater { reason: error.to_string(), after: None },
    }
}
