//! Flags of commands for one pipeline file, and for a closed time window.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::process::{FileOptionArgs, time};
use super::run::Signals;
use super::{ArgumentError, DeliveryArgs, RateArgs, TimeoutArgs, note};
use crate::pipeline::{self, Loaded, Location, Pipeline};
use crate::record::Timestamp;

/// Interval at which the progress is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub struct OneFileArgs {
    /// The pipeline file, or one of the places that `run --pipelines` reads, such as kubernetes-resources:NAMESPACE
    pub file: Location,

    /// The pipeline of this name, where there are several
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,

    #[command(flatten)]
    pub options: FileOptionArgs,
}

impl OneFileArgs {
    /// Reads the file and prints its problems on standard error.
    ///
    /// # Errors
    /// If the file is invalid, or the pipeline is not in it.
    pub async fn load(&self) -> Result<Arc<Pipeline>, ArgumentError> {
        let loaded = pipeline::read(std::slice::from_ref(&self.file), &self.options.get()).await;
        self.choose(loaded).map_err(ArgumentError)
    }

    fn choose(&self, mut loaded: Loaded) -> Result<Arc<Pipeline>, String> {
        let file = &self.file;
        let found = loaded.pipelines.len();
        let names: Vec<String> = loaded.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect();
        if let Some(name) = &self.pipeline {
            loaded.pipelines.retain(|pipeline| pipeline.name == *name);
            // The user did not ask for problems of other pipelines.
            if let [only] = loaded.pipelines.as_slice() {
                loaded.problems.retain(|problem| *problem.file == only.path);
            }
        }
        loaded.problems.iter().for_each(note);
        match (loaded.pipelines.pop(), loaded.pipelines.is_empty(), &self.pipeline) {
            (Some(only), true, _) => Ok(only),
            (Some(_), false, _) => Err(format!("{file} has {found} pipelines: choose one with --pipeline NAME")),
            (None, _, Some(name)) if found > 0 => {
                let instead = pipeline::instead(name, names.iter().map(String::as_str));
                Err(format!("{file} has no valid pipeline `{name}`; {instead}"))
            }
            (None, ..) => Err(format!("{file} is not a valid pipeline file")),
        }
    }
}

/// A closed time window of one pipeline. The command runs next to a worker.
#[derive(Debug, Args)]
pub struct WindowArgs {
    #[command(flatten)]
    one: OneFileArgs,

    /// Start of the window, inclusive: a time (2026-01-31T00:00:00Z), a day in UTC, a period before now (7d), or now
    ///
    /// A period and `now` are counted from the start of the command.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Timestamp,

    /// End of the window, exclusive, in the same forms
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Timestamp,

    #[command(flatten)]
    pub timeout: TimeoutArgs,

    #[command(flatten)]
    rate: RateArgs,

    #[command(flatten)]
    pub delivery: DeliveryArgs,
}

impl WindowArgs {
    /// Returns the pipeline, with the rate limit of `--requests-per-second`.
    ///
    /// # Errors
    /// If the window is empty, or the file is invalid.
    pub async fn load(&self) -> Result<Arc<Pipeline>, ArgumentError> {
        if self.from >= self.to {
            return Err(ArgumentError(format!("--from {} must be before --to {}", self.from, self.to)));
        }
        let mut pipeline = self.one.load().await?;
        Arc::make_mut(&mut Arc::make_mut(&mut pipeline).console).requests_per_second =
            Some(self.rate.requests_per_second);
        Ok(pipeline)
    }
}

/// Waits for a long command and calls `draw` regularly. The first signal cancels `stop`. After a second signal the
/// result is `None`.
///
/// # Errors
/// If signals cannot be received.
pub async fn run_with_progress<T>(
    command: impl Future<Output = T>,
    stop: &CancellationToken,
    mut draw: impl FnMut(),
) -> anyhow::Result<Option<T>> {
    let mut signals = Signals::new()?;
    let mut tick = interval(DRAW_EVERY);
    tokio::pin!(command);
    loop {
        tokio::select! {
            result = &mut command => return Ok(Some(result)),
            () = signals.next() => {
                if stop.is_cancelled() {
                    return Ok(None);
                }
                stop.cancel();
            }
            _ = tick.tick() => draw(),
        }
    }
}
