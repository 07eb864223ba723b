//! One event a line on standard output.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use s1_forwarder_engine::sink::{Attempt, AttemptStatus, Batch, Limits, Outcome, ProbeResult, Sink};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_engine::weak_cache::WeakCache;
use s1_forwarder_failure::Failure;
use s1_forwarder_record::visible::visible_lines;
use s1_forwarder_settings::SettingKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::common_keys::Common;
use super::line::Line;
use super::sink_type::{Compression, SinkDefaults, SinkProperties, SinkType, without_envelope};
use super::{BuildError, DestinationHash, SinkContext};

/// The defaults of local sinks, which have no limits of their own.
pub(crate) const LOCAL_DEFAULTS: SinkDefaults = SinkDefaults {
    limits: Limits { events: 1_000, bytes: 5 << 20, copies: 2, ..Limits::NONE },
    batch_timeout: Duration::from_secs(1),
    concurrency: 1,
    concurrency_max: 1,
    compressions: &[Compression::None],
};

/// `type: stdout`: one event a line on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-kind" = SettingKind::WorkerOutput))]
pub struct StdoutSettings {
    /// Write `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub envelope: bool,
}

impl SinkProperties for StdoutSettings {
    fn defaults(&self) -> SinkDefaults {
        LOCAL_DEFAULTS
    }

    fn embeds_raw(&self) -> bool {
        self.envelope
    }

    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        without_envelope(schema, self.envelope)
    }

    /// Adds nothing, since the process has one standard output.
    fn describe_destination(&self, _context: &SinkContext, _key: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        Ok(())
    }
}

impl SinkType for StdoutSettings {
    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let limits = common.limits(&LOCAL_DEFAULTS);
        let line = Line::new(self.envelope, context);
        Ok(Arc::new(Stdout { limits, line, writers: writers_of(&context.lane.pipeline) }))
    }
}

#[derive(Debug)]
struct Stdout {
    limits: Limits,
    line: Line,
    writers: Writers,
}

impl Sink for Stdout {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        write_lines(&self.writers, &self.line, batch, |lines| {
            // The lock prevents that lines of several lanes mix.
            let mut stdout = io::stdout().lock();
            if stdout.is_terminal() {
                stdout.write_all(visible_lines(&String::from_utf8_lossy(lines)).as_bytes())?;
            } else {
                stdout.write_all(lines)?;
            }
            stdout.flush()
        })
        .map(|attempt| {
            if attempt.status != AttemptStatus::Closed {
                return attempt;
            }
            // A broken pipe never gets another reader.
            let reason = "no process reads standard output any more (broken pipe)".to_owned();
            Attempt { outcome: Outcome::misconfigured(reason), ..attempt }
        })
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        std::future::ready(ProbeResult::Verified("standard output".to_owned())).boxed()
    }
}

/// Threads that write at the same time. The runtime has 512 for all blocking calls: 192 for lookups, 128 for calls that
/// wait for files. A mount or a reader that hangs must leave some for checkpoints and dead letters.
const MAX_WRITERS: usize = 128;
static WRITERS: Semaphore = Semaphore::const_new(MAX_WRITERS);

/// Threads of one pipeline that write at the same time.
const MAX_WRITERS_OF_PIPELINE: usize = 8;

/// Turns of a pipeline's writers.
pub(crate) type Writers = Arc<Semaphore>;

/// Returns the turns of a pipeline's writers: all sinks of a pipeline may be on one mount that hangs.
pub(crate) fn writers_of(pipeline: &str) -> Writers {
    static OF_PIPELINES: LazyLock<WeakCache<String, Semaphore>> = LazyLock::new(WeakCache::default);
    OF_PIPELINES.get_or_insert_with(pipeline.to_owned(), || Arc::new(Semaphore::new(MAX_WRITERS_OF_PIPELINE)))
}

/// Frames the batch and calls `write` with it on a thread that may block, when `writers` have a turn.
pub(crate) async fn write_lines(
    writers: &Writers,
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
    // Never closed, so these always yield permits, which belong to the thread: a lane may give the attempt up.
    let permits = (writers.clone().acquire_owned().await.ok(), WRITERS.acquire().await.ok());
    let written = match tokio::task::spawn_blocking(move || (write(&lines), permits).0).await {
        Ok(written) => written,
        Err(_) => Err(io::Error::other("the writing task ended early")),
    };
    match written {
        Ok(()) => Attempt::new(Outcome::Delivered, bytes, "ok"),
        Err(error) => {
            let is_closed = error.kind() == io::ErrorKind::BrokenPipe;
            let status = if is_closed { AttemptStatus::Closed } else { "io".into() };
            Attempt::unsent(Outcome::Failed(Failure::of_io(&error, error.to_string())), status)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;
    use s1_forwarder_record::{Identity, Stream};

    #[tokio::test(flavor = "multi_thread")]
    async fn writers_that_hang_leave_threads_for_others() {
        let mut batch = Batch::new(Stream::Activities);
        batch.push_with("1", Identity::of("h", Stream::Activities, "1", ""), None, |_| None);
        let batch = Arc::new(batch);
        // Waits until the test and all writers that run have come.
        let hang = Arc::new(Barrier::new(MAX_WRITERS + 1));
        let of_pipelines: Vec<_> = (0..2 * MAX_WRITERS).map(|index| writers_of(&format!("p{}", index / 16))).collect();
        let mut writers = tokio::task::JoinSet::new();
        for own in of_pipelines {
            let batch = batch.clone();
            let hang = hang.clone();
            writers.spawn(async move {
                let write = move |_: &[u8]| (hang.wait(), Ok(())).1;
                write_lines(&own, &Line::plain(), &batch, write).await.outcome
            });
        }
        // With 32 pipelines of 16 writers each, each pipeline gets 8.
        while WRITERS.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let other = tokio::task::spawn_blocking(|| "a checkpoint");
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), other).await.unwrap().unwrap(), "a checkpoint");
        for _ in 0..2 {
            let hang = hang.clone();
            tokio::task::spawn_blocking(move || _ = hang.wait()).await.unwrap();
        }
        while let Some(outcome) = writers.join_next().await {
            assert_eq!(outcome.unwrap(), Outcome::Delivered);
        }
    }
}
