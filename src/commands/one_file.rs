//! Commands about one pipeline file, some of them over a closed window of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::process::time;
use super::run::Signals;
use super::{DeliveryArgs, RateArgs, UsageError};
use crate::pipeline::{self, Pipeline};
use crate::record::Timestamp;
use crate::settings::Period;

/// How often a bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// The one file that a command is about.
#[derive(Debug, Args)]
pub struct OneFileArgs {
    /// The pipeline file
    pub file: PathBuf,

    /// A YAML file with the keys that all pipelines inherit
    #[arg(long, value_name = "FILE", env = "S1_FORWARDER_DEFAULTS")]
    pub defaults: Option<PathBuf>,
}

impl OneFileArgs {
    /// Reads it; its problems go to standard error.
    ///
    /// # Errors
    /// When it is invalid.
    pub fn load(&self) -> Result<Arc<Pipeline>, UsageError> {
        let loaded = pipeline::load(std::slice::from_ref(&self.file), self.defaults.as_deref());
        loaded.problems.iter().for_each(|problem| eprintln!("{problem}"));
        let invalid = || UsageError(format!("{} is not a valid pipeline file", self.file.display()));
        loaded.pipelines.into_iter().next().ok_or_else(invalid)
    }
}

/// A closed window of one file, looked at beside a running worker.
#[derive(Debug, Args)]
pub struct WindowArgs {
    #[command(flatten)]
    one: OneFileArgs,

    /// Beginning of the window, included: a time with its zone, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Timestamp,

    /// End of the window, not included
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Timestamp,

    /// Give up when there was no progress for so long
    #[arg(long, value_name = "PERIOD", default_value = "5m")]
    pub give_up_after: Period,

    #[command(flatten)]
    rate: RateArgs,

    /// How what is pulled is delivered.
    #[command(flatten)]
    pub delivery: DeliveryArgs,
}

impl WindowArgs {
    /// The pipeline, asking as fast as a command may.
    ///
    /// # Errors
    /// When the window is none, or the file is invalid.
    pub fn load(&self) -> Result<Arc<Pipeline>, UsageError> {
        if self.from >= self.to {
            return Err(UsageError(format!("--from {} must lie before --to {}", self.from, self.to)));
        }
        let mut pipeline = self.one.load()?;
        Arc::make_mut(&mut Arc::make_mut(&mut pipeline).console).requests_per_second =
            Some(self.rate.requests_per_second);
        Ok(pipeline)
    }
}

/// Waits for a long command while `show` draws how far it is. The first signal cancels `stop`; nothing comes of it after a
/// second one.
///
/// # Errors
/// When signals cannot be heard.
pub async fn attend<T>(
    running: impl Future<Output = T>,
    stop: &CancellationToken,
    mut show: impl FnMut(),
) -> anyhow::Result<Option<T>> {
    let mut signals = Signals::new()?;
    let mut tick = interval(DRAW_EVERY);
    tokio::pin!(running);
    loop {
        tokio::select! {
            end = &mut running => return Ok(Some(end)),
            () = signals.next() => {
                if stop.is_cancelled() {
                    return Ok(None);
                }
                stop.cancel();
            }
            _ = tick.tick() => show(),
        }
    }
}
