//! `preview`: prints the newest records of a stream as mapped events, without state and sinks.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::map::warn_of_unmatched;
use super::output::is_closed_pipe;
use super::pretty::Pretty;
use super::{OneFileArgs, RateArgs, UsageError, note};
use crate::console::{self, Client, ConsoleError, Limiters};
use crate::pipeline::Pipeline;
use crate::record::{Clock, Facts, Stream};
use crate::settings::FullJitter;
use crate::source::{LatestRecords, Pull};
use crate::transform::{Keys, Mapper, Origin};

/// Larger than any page of a thousand records.
const PAGE_BYTES: usize = 64 << 20;
/// Attempts per page before the command fails.
const ATTEMPTS: u32 = 4;
/// Upper bounds of the first wait and of every wait between attempts.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Print the newest records of a pipeline's streams as they would be delivered
///
/// Pulls the newest records and prints the mapped events, newest first: in colour on a terminal (unless NO_COLOR is
/// set), else one JSON object per line. Nothing is delivered, and no state is read or written.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    one: OneFileArgs,

    /// A stream of the pipeline file [default: all]
    #[arg(long, value_name = "NAME")]
    stream: Option<Stream>,

    /// Print what this sink gets, with its schema and its program [default: as `transform` says]
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Number of records per stream
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,

    #[command(flatten)]
    rate: RateArgs,
}

/// # Errors
/// If the file is invalid, or the console does not respond.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pipeline = args.one.load().await?;
    let mut pulls = pipeline.streams.pulls();
    if let Some(stream) = args.stream {
        pulls.retain(|pull| pull.stream == stream);
        if pulls.is_empty() {
            return Err(UsageError(format!("{} names no stream {stream}", args.one.file)).into());
        }
    }
    let mut settings = console::ConsoleSettings::clone(&pipeline.console);
    settings.requests_per_second = Some(args.rate.requests_per_second);
    let client = Arc::new(Client::connect(&settings, &Limiters::default(), Clock::System)?);
    for pull in pulls {
        let mut printer = EventPrinter::new(&pipeline, args.sink.as_deref(), &pull, &client)?;
        if let Err(error) = printer.print_latest(LatestRecords::new(client.clone(), pull, args.limit as usize)).await {
            return if is_closed_pipe(&error) { Ok(ExitCode::SUCCESS) } else { Err(error) };
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the events of one stream.
struct EventPrinter {
    stream: Stream,
    mapper: Mapper,
    /// `None` if standard output is not a terminal.
    pretty: Option<Pretty>,
    printed: usize,
    /// By `drop` and `remap`.
    dropped: usize,
}

impl EventPrinter {
    fn new(pipeline: &Pipeline, sink: Option<&str>, pull: &Pull, client: &Client) -> anyhow::Result<Self> {
        let stream = pull.stream;
        let origin = Origin { pipeline: pipeline.name.clone(), console_host: client.host().to_owned(), stream };
        let (mapper, _) = pipeline.mapper(origin, sink, None, Keys::Configured)?;
        let pretty = Pretty::for_output(io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
        Ok(Self { stream, mapper, pretty, printed: 0, dropped: 0 })
    }

    async fn print_latest(&mut self, mut latest: LatestRecords) -> anyhow::Result<()> {
        let mut waits = FullJitter::new(WAITS.0, WAITS.1, fastrand::Rng::new());
        let mut failed = 0;
        loop {
            let mut printed = Ok(());
            let more = latest.next(PAGE_BYTES, |record, facts| {
                if printed.is_ok() {
                    printed = self.print(record, facts);
                }
            });
            match more.await {
                Ok(more) => {
                    printed?;
                    failed = 0;
                    if !more {
                        break;
                    }
                }
                Err(ConsoleError::Transient { after, .. }) if failed + 1 < ATTEMPTS => {
                    failed += 1;
                    sleep(waits.wait_at_least(after)).await;
                }
                Err(error) => anyhow::bail!("stream {}: {error}", self.stream),
            }
        }
        if self.printed > 0 {
            warn_of_unmatched(&self.mapper);
        }
        if self.printed + self.dropped == 0 {
            note(format!("stream {}: the console has no records", self.stream));
        } else if self.dropped > 0 {
            note(format!("stream {}: the pipeline drops {} other records", self.stream, self.dropped));
        }
        Ok(())
    }

    fn print(&mut self, record: &[u8], facts: &Facts<'_>) -> io::Result<()> {
        let mut event = Vec::new();
        // A record that cannot be mapped is printed as the error event that a sink would receive.
        match self.mapper.map(record, &mut event) {
            Ok(mapped) if mapped.dropped.is_some() => {
                self.dropped += 1;
                return Ok(());
            }
            Ok(mapped) => {
                if let Some(reason) = mapped.remap_error {
                    note(format!("stream {}, record {}: {reason}", self.stream, facts.record_id(record)));
                }
            }
            Err(_) => {}
        }
        self.printed += 1;
        let mut out = io::stdout().lock();
        match &self.pretty {
            None => {
                event.push(b'\n');
                out.write_all(&event)?;
            }
            Some(pretty) => {
                let time = facts.time.map(|time| time.to_string()).unwrap_or_default();
                let text = pretty.event(&format!("{} {} {time}", self.stream, facts.record_id(record)), &event);
                out.write_all(text.as_bytes())?;
            }
        }
        out.flush()
    }
}
