use std::io::{IsTerminal, stderr};
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines to read.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `--log-level` is not a filter.
    #[error(
        "`{level}` is no log level: write error, warn, info, debug or trace, or parts such as info,s1_forwarder=debug"
    )]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in the process logs already.
    #[error("logging is set up already")]
    Twice,
}

/// A line for each request to the API server that fails; whoever asked tells of it, once.
const TOLD_OTHERWISE: &str = "kube_client::client::builder=off";

/// Sends the process's logs to standard error, times in UTC. Without a `format`: text on a terminal, JSON elsewhere.
///
/// # Errors
/// When `level` is not a filter, or logging was set up before.
pub fn init_logs(format: Option<LogFormat>, level: &str) -> Result<(), LogError> {
    let filter = EnvFilter::builder().parse(format!("{TOLD_OTHERWISE},{level}"));
    let filter = filter.map_err(|source| LogError::Level { level: level.to_owned(), source })?;
    let terminal = stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false);
    let set = match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => builder.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    set.map_err(|_| LogError::Twice)
}

/// Keeps one thing that fails again and again from filling the log: its first failure is told, and after that at most
/// one in a period, with the number of those that were not.
#[derive(Debug)]
pub struct Repeats {
    period: Duration,
    told: Option<Instant>,
    untold: u64,
    failures: u64,
}

impl Repeats {
    /// Tells at most one failure in `period`.
    pub const fn new(period: Duration) -> Self {
        Self { period, told: None, untold: 0, failures: 0 }
    }

    /// It failed. `Some` when that deserves a line: the number of failures since the last line that got none.
    pub fn failed(&mut self, now: Instant) -> Option<u64> {
        self.failures += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < self.period) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// It works. `Some` when it had failed: how often in a row.
    pub fn recovered(&mut self) -> Option<u64> {
        let failures = std::mem::take(&mut self.failures);
        self.told = None;
        self.untold = 0;
        (failures > 0).then_some(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn repeated_failures_are_told_once_in_a_period_and_counted() {
        let mut repeats = Repeats::new(Duration::from_secs(60));
        assert_eq!(repeats.failed(Instant::now()), Some(0));
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(10)).await;
            assert_eq!(repeats.failed(Instant::now()), None);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(repeats.failed(Instant::now()), Some(3));
        assert_eq!(repeats.recovered(), Some(5));
        assert_eq!(repeats.recovered(), None);
        assert_eq!(repeats.failed(Instant::now()), Some(0));
    }

    #[test]
    fn a_wrong_level_is_named() {
        let error = init_logs(None, "info,s1_forwarder=loud").unwrap_err();
        assert!(error.to_string().contains("s1_forwarder=loud"), "{error}");
    }
}
