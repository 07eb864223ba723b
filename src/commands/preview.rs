//! `preview`: the newest records of a stream, mapped; no state, no sink.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::pretty::Pretty;
use super::{OneFileArgs, RateArgs, UsageError};
use crate::console::{self, Client, ConsoleError, Limiters};
use crate::pipeline::Pipeline;
use crate::record::{Clock, Facts, Stream};
use crate::settings::FullJitter;
use crate::source::{Newest, Pull};
use crate::transform::{Mapper, Origin};

/// More than any page of a thousand records.
const PAGE_BYTES: usize = 64 << 20;
/// Attempts on a page before the console's failure is told.
const ATTEMPTS: u32 = 4;
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Show the newest records of a pipeline's streams as they would be delivered
///
/// Pulls the newest records and prints the mapped events, the newest first: coloured on a terminal (unless NO_COLOR is set),
/// elsewhere one JSON object a line. Nothing is delivered, and no state is read or written.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    one: OneFileArgs,

    /// The stream [default: each that the file names]
    #[arg(long, value_name = "NAME")]
    stream: Option<Stream>,

    /// Records of each stream
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,

    #[command(flatten)]
    rate: RateArgs,
}

/// Pulls and prints.
///
/// # Errors
/// When the file is invalid, or the console does not answer.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pipeline = args.one.load()?;
    let mut pulls = pipeline.streams.pulls();
    if let Some(stream) = args.stream {
        pulls.retain(|pull| pull.stream == stream);
        if pulls.is_empty() {
            return Err(UsageError(format!("{} names no stream {stream}", args.one.file.display())).into());
        }
    }
    let mut settings = console::Settings::clone(&pipeline.console);
    settings.requests_per_second = Some(args.rate.requests_per_second);
    let client = Arc::new(Client::connect(&settings, &Limiters::default(), Clock::System)?);
    for pull in pulls {
        let mut screen = Screen::new(&pipeline, &pull, &client);
        if let Err(error) = screen.show(Newest::new(client.clone(), pull, args.limit as usize)).await {
            return if is_closed_pipe(&error) { Ok(ExitCode::SUCCESS) } else { Err(error) };
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the events of one stream are printed.
struct Screen {
    stream: Stream,
    mapper: Mapper,
    /// None where it is read by a program.
    pretty: Option<Pretty>,
    shown: usize,
}

impl Screen {
    fn new(pipeline: &Pipeline, pull: &Pull, client: &Client) -> Self {
        let stream = pull.stream;
        let origin = Origin { pipeline: pipeline.name.clone(), console_host: client.host().to_owned(), stream };
        let mapper = Mapper::new(&pipeline.transform, pipeline.transform.schema, origin);
        let pretty = Pretty::wanted(io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
        Self { stream, mapper, pretty, shown: 0 }
    }

    async fn show(&mut self, mut newest: Newest) -> anyhow::Result<()> {
        let mut waits = FullJitter::new(WAITS.0, WAITS.1, fastrand::Rng::new());
        let mut failed = 0;
        loop {
            let mut printed = Ok(());
            let more = newest.next(PAGE_BYTES, |record, facts| {
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
                    sleep(after.unwrap_or_default().max(waits.wait())).await;
                }
                Err(error) => anyhow::bail!("stream {}: {error}", self.stream),
            }
        }
        if self.shown == 0 {
            eprintln!("stream {}: the console shows no records", self.stream);
        }
        Ok(())
    }

    fn print(&mut self, record: &[u8], facts: &Facts<'_>) -> io::Result<()> {
        self.shown += 1;
        let mut event = Vec::new();
        // What cannot be mapped is an error event, as it would be for a sink.
        let _ = self.mapper.map(record, &mut event);
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

/// Whoever reads has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
