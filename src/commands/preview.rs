//! `preview`: prints the newest records of a stream as mapped events, without state and sinks.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::map::warn_of_unmatched;
use super::output::{is_closed_pipe, write_json, write_pretty};
use super::pretty::Pretty;
use super::{ArgumentError, OneFileArgs, RateArgs, note};
use crate::console::{self, Client, ConsoleError, Limiters};
use crate::destinations::{SharedSinkResources, SinkSettings};
use crate::pipeline::Pipeline;
use crate::record::{Clock, Facts, Stream};
use crate::settings::{FullJitter, Tls};
use crate::sink::{Batch, MaskedRequest, NoRequest, Sink};
use crate::source::{LatestRecords, PullSettings};
use crate::transform::{MapError, Origin, RedactionKeys, Schema, Transformer};

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

    /// Print the requests that the sink would send: method, URL, headers, and the body before compression
    ///
    /// Only the console is asked. Credentials are neither read nor printed: `***` stands for them.
    #[arg(long, requires = "sink")]
    as_sent: bool,

    /// Number of records per stream
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,

    #[command(flatten)]
    rate: RateArgs,
}

/// Runs `preview`.
///
/// # Errors
/// If the file is invalid, or the console does not respond.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pipeline = args.one.load().await?;
    let mut pulls: Vec<_> =
        pipeline.streams.pulls().into_iter().map(|pull| pull.with_scopes(&pipeline.console)).collect();
    if let Some(stream) = args.stream {
        pulls.retain(|pull| pull.stream == stream);
        if pulls.is_empty() {
            return Err(ArgumentError(format!("{} names no stream {stream}", args.one.file)).into());
        }
    }
    let mut settings = console::ConsoleSettings::clone(&pipeline.console);
    settings.requests_per_second = Some(args.rate.requests_per_second);
    let client = Arc::new(Client::connect(&settings, &Limiters::default(), Clock::System)?);
    if let (true, Some(name)) = (args.as_sent, args.sink.as_deref()) {
        let sink = pipeline.sink(name)?;
        pulls.retain(|pull| sink.accepts(pull.stream));
        if pulls.is_empty() {
            return Err(ArgumentError(format!("sink {name} accepts none of these streams")).into());
        }
    }
    for pull in pulls {
        let mut printer = EventPrinter::new(&pipeline, &args, &pull, &client)?;
        if let Err(error) = printer.print_latest(LatestRecords::new(client.clone(), pull, args.limit as usize)).await {
            return if is_closed_pipe(&error) { Ok(ExitCode::SUCCESS) } else { Err(error) };
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the events of one stream.
struct EventPrinter {
    stream: Stream,
    host: String,
    transformer: Transformer,
    schema: Schema,
    output: Output,
    printed: usize,
    /// Records that `drop` and `remap` dropped.
    dropped: usize,
    /// A program failed on them, and they are not forwarded.
    withheld: usize,
}

enum Output {
    /// One JSON object per line.
    Lines,
    Pretty(Pretty),
    /// Requests, as the sink would send them.
    Requests(RequestPrinter),
}

impl EventPrinter {
    fn new(pipeline: &Pipeline, args: &Args, pull: &PullSettings, client: &Client) -> anyhow::Result<Self> {
        let stream = pull.stream;
        let host = client.host().to_owned();
        let origin = Origin { pipeline: pipeline.name.clone(), console_host: host.clone(), stream };
        let (mut transformer, schema) =
            pipeline.transformer(origin, args.sink.as_deref(), None, RedactionKeys::Configured)?;
        transformer.set_scope(pull.scope.clone());
        let pretty = Pretty::for_output(io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
        let output = match (&args.sink, pretty) {
            (Some(sink), _) if args.as_sent => Output::Requests(RequestPrinter::new(pipeline, sink, stream)?),
            (_, Some(pretty)) => Output::Pretty(pretty),
            (_, None) => Output::Lines,
        };
        Ok(Self { stream, host, transformer, schema, output, printed: 0, dropped: 0, withheld: 0 })
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
                    if let Output::Requests(requests) = &mut self.output {
                        requests.print(!more).await?;
                    }
                    failed = 0;
                    if !more {
                        break;
                    }
                }
                Err(ConsoleError::Transient { retry_after, .. }) if failed + 1 < ATTEMPTS => {
                    failed += 1;
                    sleep(waits.wait_at_least(retry_after)).await;
                }
                Err(error) => anyhow::bail!("stream {}: {error}", self.stream),
            }
        }
        if self.printed > 0 {
            warn_of_unmatched(&self.transformer);
        }
        if self.withheld > 0 {
            note(format!(
                "stream {}: {} records are not printed, since a program failed on them",
                self.stream, self.withheld
            ));
        }
        if self.printed + self.dropped + self.withheld == 0 {
            note(format!("stream {}: the console has no records", self.stream));
        } else if self.dropped > 0 {
            note(format!("stream {}: the pipeline drops {} other records", self.stream, self.dropped));
        }
        Ok(())
    }

    fn print(&mut self, record: &[u8], facts: &Facts<'_>) -> io::Result<()> {
        let mut event = Vec::new();
        // A record that cannot be mapped is printed as the error event that a sink would receive.
        let error = match self.transformer.map(record, &mut event) {
            Ok(mapped) if mapped.dropped.is_some() => {
                self.dropped += 1;
                return Ok(());
            }
            Ok(mapped) => {
                if let Some(reason) = &mapped.remap_error {
                    let Self { stream, .. } = self;
                    let record_id = facts.record_id(record);
                    let consequence = mapped.on_error.consequence();
                    note(format!("stream {stream}, record {record_id}: {reason}; {consequence}"));
                }
                if mapped.withheld().is_some() {
                    self.withheld += 1;
                    return Ok(());
                }
                mapped.error_next_to_raw(self.schema)
            }
            Err(MapError(reason)) => Some(reason.into()),
        };
        self.printed += 1;
        match &mut self.output {
            Output::Requests(requests) => {
                let identity = facts.identity(&self.host, record);
                requests.batch.push_with(&facts.record_id(record), identity, facts.time, |out| {
                    out.extend_from_slice(&event);
                    error
                });
                if let Some(labels) = self.transformer.labels() {
                    requests.batch.label_last(labels.clone());
                }
                Ok(())
            }
            Output::Lines => {
                event.push(b'\n');
                write_json(&event)
            }
            Output::Pretty(pretty) => {
                let time = facts.time.map(|time| time.to_string()).unwrap_or_default();
                write_pretty(&pretty.event(&format!("{} {} {time}", self.stream, facts.record_id(record)), &event))
            }
        }
    }
}

/// Collects the events of one stream, and prints the requests that deliver them.
struct RequestPrinter {
    name: String,
    sink: Arc<dyn Sink>,
    batch: Batch,
}

impl RequestPrinter {
    fn new(pipeline: &Pipeline, name: &str, stream: Stream) -> anyhow::Result<Self> {
        let mut settings = SinkSettings::clone(pipeline.sink(name)?);
        // No request is made, so the secrets of connections are not read.
        settings.common.tls = Tls::default();
        settings.common.proxy = None;
        let shared = SharedSinkResources::default().with_masked_secrets();
        let context = pipeline.lane_context(&settings, stream, shared);
        Ok(Self { name: name.to_owned(), sink: settings.build(&context)?, batch: Batch::new(stream) })
    }

    /// Prints full requests; with `all`, also one for the rest.
    async fn print(&mut self, all: bool) -> anyhow::Result<()> {
        let mut events: Vec<usize> = (0..self.batch.len()).collect();
        while !events.is_empty() {
            let length = self.request_length(&events);
            if length == events.len() && !all {
                break;
            }
            let rest = events.split_off(length);
            let mut parts = vec![std::mem::replace(&mut events, rest)];
            while let Some(mut part) = parts.pop() {
                let batch = self.batch.select(part.clone());
                match self.sink.render_request(&batch).await {
                    Ok(request) => write_json(&text(request))?,
                    // A lane halves such a batch, too.
                    Err(NoRequest::TooLarge(_)) if part.len() > 1 => {
                        let half = part.split_off(part.len() / 2);
                        parts.extend([half, part]);
                    }
                    Err(NoRequest::TooLarge(reason)) => {
                        note(format!("sink {}: an event would be a dead letter: {reason}", self.name));
                    }
                    Err(NoRequest::Other(reason)) => anyhow::bail!("sink {}: {reason}", self.name),
                }
            }
        }
        self.batch = self.batch.select(events);
        Ok(())
    }

    /// Returns how many of these events the next request has.
    fn request_length(&self, events: &[usize]) -> usize {
        let limits = self.sink.limits();
        let mut bytes = 0_usize;
        let mut labels = None;
        for (length, event) in events.iter().filter_map(|index| self.batch.event(*index)).enumerate() {
            bytes = bytes.saturating_add(event.body.len() + limits.framing);
            let is_full = length >= limits.events || bytes > limits.bytes;
            let differs = self.sink.separates_labels() && *labels.get_or_insert(event.labels) != event.labels;
            if length > 0 && (is_full || differs) {
                return length;
            }
        }
        events.len()
    }
}

/// Returns the request as HTTP writes it, and an empty line.
fn text(request: MaskedRequest) -> Vec<u8> {
    let MaskedRequest { method, url, headers, body } = request;
    let mut text = format!("{method} {url}\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push('\n');
    match String::from_utf8(body) {
        Ok(body) => text.push_str(body.trim_end_matches('\n')),
        Err(error) => text.push_str(&format!("({} bytes that are no text)", error.as_bytes().len())),
    }
    text.push_str("\n\n");
    text.into_bytes()
}
