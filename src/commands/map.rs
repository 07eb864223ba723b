//! `map`: maps records on stdin to events on stdout, without network; lines in constant memory.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::note;
use super::output::{Table, is_closed_pipe, json_lines, note_lines};
use super::unmapped::Unmapped;
use crate::console::ConsoleUrl;
use crate::pipeline;
use crate::record::{RecordSplitter, Stream, repair};
use crate::transform::coverage::Coverage;
use crate::transform::{Origin, RedactionKeys, Schema, TransformSettings, Transformer, unknown_leaves};

/// Maximum of records that are reported one by one if they cannot be mapped.
const FAULTS_SHOWN: u64 = 20;

/// Map records on stdin to events on stdout
///
/// The input is NDJSON (one record a line), a JSON array of records, or pages of the console's API. Arrays and pages
/// may have several lines, and are read as a whole. `jq -c .` writes records of several lines as NDJSON. Events are
/// NDJSON. A record that cannot be mapped becomes an error event and is reported on stderr with its line and byte.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// ecs, ocsf or raw [default: the pipeline's schema, else ecs]
    #[arg(long, value_name = "SCHEMA", value_parser = schema)]
    pub schema: Option<Schema>,
    #[arg(long, value_name = "NAME", help = stream_help())]
    pub stream: Stream,
    /// Use the console host and everything in `transform` of this pipeline file: what it drops is not printed
    #[arg(long, value_name = "FILE")]
    pub pipeline: Option<PathBuf>,
    /// Use the schema and the program of this sink of the pipeline file
    #[arg(long, value_name = "NAME", requires = "pipeline")]
    pub sink: Option<String>,
    /// Host of the console, for observer.hostname and links
    #[arg(long, value_name = "HOST", value_parser = ConsoleUrl::parse)]
    pub console_host: Option<ConsoleUrl>,
    /// Print on stderr how many fields of the records were mapped, and how, and what no mapping knows: activity types
    /// and fields, with how often they are there and the id of a record
    #[arg(long)]
    pub report: bool,
}

fn schema(name: &str) -> Result<Schema, String> {
    match name {
        "ecs" => Ok(Schema::Ecs),
        "ocsf" => Ok(Schema::Ocsf),
        "raw" => Ok(Schema::Raw),
        _ => Err("the schemas are ecs, ocsf and raw".to_owned()),
    }
}

fn stream_help() -> String {
    format!("Stream of the records: {}", Stream::ALL.map(Stream::name).join(", "))
}

/// Maps all of stdin.
///
/// # Errors
/// If stdin or stdout fail, or a place of the input is neither a record nor an array or page of records.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some((transformer, schema)) = transformer(args)? else { return Ok(ExitCode::from(2)) };
    let input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let output = json_lines();
    let report = args.report.then(Report::default);
    let mut run = Run::new(transformer, schema, output, report);
    match run.map(args.stream, input) {
        // The reader has closed the pipe.
        Err(error) if is_closed_pipe(&error) => return Ok(ExitCode::SUCCESS),
        result => result?,
    }
    if let Some(report) = &run.report {
        note_lines(table(args.stream, run.records, &report.coverage));
        note_lines(format!("\n{}", report.unmapped.text(args.stream)));
    }
    if run.dropped > 0 {
        note(format!("{} of {} records are dropped by the pipeline", run.dropped, run.records));
    }
    if run.withheld > 0 {
        note(format!("{} of {} records are not printed, since a program failed on them", run.withheld, run.records));
    } else if run.failed > 0 {
        note(format!(
            "{} of {} events are as they were mapped, since a program failed on them",
            run.failed, run.records
        ));
    }
    if run.records > run.dropped + run.withheld {
        warn_of_unmatched(&run.transformer);
    }
    if run.repaired > 0 {
        note(format!("{} of {} records were not valid JSON and were repaired", run.repaired, run.records));
    }
    if run.overflowed > 0 {
        note(format!(
            "{} of {} records have more values than fit; the rest is in `overflow`",
            run.overflowed, run.records
        ));
    }
    if run.without_zone > 0 {
        note(format!("{} of {} records have a time without a zone, read as UTC", run.without_zone, run.records));
    }
    if run.faults > 0 {
        note(format!("{} of {} records could not be mapped and became error events", run.faults, run.records));
    }
    Ok(ExitCode::SUCCESS)
}

/// Warns of paths that redact nothing, such as a path with a typing mistake.
pub(super) fn warn_of_unmatched(transformer: &Transformer) {
    for path in transformer.unmatched_redactions() {
        note(format!("redact: no event had `{path}`"));
    }
}

/// Returns the transformer for the flags and the pipeline file. `None` if the file is invalid; its problems have been
/// printed.
fn transformer(args: &Args) -> anyhow::Result<Option<(Transformer, Schema)>> {
    let given = args.console_host.as_ref().map(|url| url.host().to_owned());
    let Some(path) = &args.pipeline else {
        let origin = Origin {
            pipeline: "map".to_owned(),
            console_host: given.unwrap_or_else(|| "console.example.com".to_owned()),
            stream: args.stream,
        };
        let schema = args.schema.unwrap_or_default();
        return Ok(Some((Transformer::new(&TransformSettings::default(), schema, origin), schema)));
    };
    let loaded = pipeline::load(std::slice::from_ref(path), &pipeline::FileOptions::default());
    for problem in &loaded.problems {
        note(problem);
    }
    let Some(pipeline) = loaded.pipelines.first() else { return Ok(None) };
    let origin = Origin {
        pipeline: pipeline.name.clone(),
        console_host: given.unwrap_or_else(|| pipeline.console.url.host().to_owned()),
        stream: args.stream,
    };
    pipeline
        .transformer(origin, args.sink.as_deref(), args.schema, RedactionKeys::Configured)
        .map(Some)
        .with_context(|| path.display().to_string())
}

/// The data that `--report` prints.
#[derive(Debug, Default)]
struct Report {
    coverage: Coverage,
    unmapped: Unmapped,
}

struct Run<W> {
    transformer: Transformer,
    schema: Schema,
    output: W,
    report: Option<Report>,
    records: u64,
    faults: u64,
    /// Records that `drop` and `remap` dropped.
    dropped: u64,
    /// Events that a program failed on.
    failed: u64,
    /// Failed events that are not forwarded.
    withheld: u64,
    /// Records that were not JSON.
    repaired: u64,
    /// Records that exceed a bound.
    overflowed: u64,
    /// Records with a time that names no zone.
    without_zone: u64,
}

impl<W: Write> Run<W> {
    fn new(transformer: Transformer, schema: Schema, output: W, report: Option<Report>) -> Self {
        Self {
            transformer,
            schema,
            output,
            report,
            records: 0,
            faults: 0,
            dropped: 0,
            failed: 0,
            withheld: 0,
            repaired: 0,
            overflowed: 0,
            without_zone: 0,
        }
    }

    fn map(&mut self, stream: Stream, input: impl BufRead) -> anyhow::Result<()> {
        let mut splitter = RecordSplitter::new(input, stream);
        let mut event = Vec::new();
        // The events of records that were read before the error are written.
        let error = loop {
            let record = match splitter.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            self.records += 1;
            if self.records == 1
                && let Some(other) = likelier(stream, record.bytes)
            {
                note(format!(
                    "line {}: this record has fields of {other}, and not of {stream}: is --stream {other} meant?",
                    record.line
                ));
            }
            event.clear();
            let show = |problem: &str| note(format!("line {}, byte {}: {problem}", record.line, record.offset));
            match self.transformer.map(record.bytes, &mut event) {
                Err(error) => {
                    self.faults += 1;
                    match self.faults {
                        ..=FAULTS_SHOWN => show(&error.to_string()),
                        _ if self.faults == FAULTS_SHOWN + 1 => {
                            note("more records that cannot be mapped are not shown")
                        }
                        _ => {}
                    }
                }
                Ok(transformed) if transformed.dropped.is_some() => {
                    self.dropped += 1;
                    continue;
                }
                Ok(transformed) => {
                    self.repaired += u64::from(transformed.mapped.repaired);
                    self.overflowed += u64::from(transformed.mapped.overflowed);
                    self.without_zone += u64::from(transformed.mapped.without_zone);
                    if let Some(reason) = &transformed.remap_error {
                        self.failed += 1;
                        if self.failed <= FAULTS_SHOWN {
                            show(&format!("{reason}; {}", transformed.on_error.consequence()));
                        }
                    }
                    if transformed.withheld().is_some() {
                        self.withheld += 1;
                        continue;
                    }
                    if let Some(report) = &mut self.report {
                        let repaired = if transformed.mapped.repaired { repair(record.bytes) } else { None };
                        let mapped_record = repaired.as_deref().map_or(record.bytes, str::as_bytes);
                        let read = |bytes| serde_json::from_slice(bytes).context("the event cannot be read back");
                        report.unmapped.add(stream, mapped_record);
                        report.coverage.add(self.schema, stream, &read(mapped_record)?, &read(&event)?);
                    }
                }
            }
            event.push(b'\n');
            self.output.write_all(&event)?;
        };
        self.output.flush()?;
        error.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Returns another stream whose mapping knows far more of the record's fields.
fn likelier(stream: Stream, record: &[u8]) -> Option<Stream> {
    let unknown = |stream| {
        let mut leaves = 0_usize;
        unknown_leaves(stream, record, &mut |_| leaves += 1);
        leaves
    };
    let other = Stream::ALL.into_iter().min_by_key(|stream| unknown(*stream))?;
    (unknown(other) * 2 < unknown(stream)).then_some(other)
}

fn table(stream: Stream, records: u64, coverage: &Coverage) -> Table {
    let head = ["stream", "records", "fields", "mapped", "to sentinel_one.* or unmapped", "excluded", "lost"];
    let mut table = Table::new(&head);
    let lost = coverage.lost.len() as u64;
    let counts = [records, coverage.leaves, coverage.mapped, coverage.vendor, coverage.dropped, lost];
    table.add_row(std::iter::once(stream.to_string()).chain(counts.map(|count| count.to_string())));
    table.align_right(1, head.len() - 1);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(schema: Schema, stream: Stream, input: impl AsRef<[u8]>) -> (String, u64, Option<String>, Coverage) {
        let origin = Origin { pipeline: "p".to_owned(), console_host: "h".to_owned(), stream };
        let settings = TransformSettings { keep_original: Some(false), ..TransformSettings::default() };
        let transformer = Transformer::new(&settings, schema, origin);
        let report = (schema == Schema::Ecs).then(Report::default);
        let mut run = Run::new(transformer, schema, Vec::new(), report);
        let error = run.map(stream, input.as_ref()).err().map(|error| error.to_string());
        (String::from_utf8(run.output).unwrap(), run.faults, error, run.report.unwrap_or_default().coverage)
    }

    #[test]
    fn lines_lists_and_pages_give_the_same_events() {
        let records =
            [r#"{"id":"1","createdAt":"2026-01-01T00:00:00Z"}"#, r#"{"id":"2","createdAt":"2026-01-01T00:00:00Z"}"#];
        let lines = run(Schema::Ecs, Stream::Activities, records.join("\n"));
        assert_eq!((lines.0.lines().count(), lines.1), (2, 0));
        assert_eq!((lines.3.leaves, lines.3.lost.len()), (4, 0));
        assert!(lines.0.ends_with("}\n"));
        let list = format!("[{}]", records.join(", "));
        let page = format!("{{\"pagination\":{{}},\n\"data\":{list},\"errors\":null}}");
        assert_eq!(run(Schema::Ecs, Stream::Activities, &list).0, lines.0);
        assert_eq!(run(Schema::Ecs, Stream::Activities, &page).0, lines.0);
        assert_eq!(run(Schema::Raw, Stream::Activities, &page).0, records.join("\n") + "\n");
    }

    #[test]
    fn a_record_that_cannot_be_mapped_comes_out_as_an_error_event() {
        let (output, faults, error, _) =
            run(Schema::Ecs, Stream::Threats, "{\"id\":\"1\"}\nnonsense\n\"text\"\n{\"id\":\"2\n{\"id\":\"3\"}");
        assert_eq!((output.lines().count(), faults, error), (5, 3, None));
        assert_eq!(output.matches("pipeline_error").count(), 3);
        assert!(output.contains(r#""original":"\"text\"""#));
    }

    #[test]
    fn a_malformed_array_is_located_and_earlier_events_are_written() {
        let (output, faults, error, _) =
            run(Schema::Ecs, Stream::Threats, "{\"id\":\"1\"}\n[{\"id\":\"2\"},\n{\"id\":");
        assert_eq!((output.lines().count(), faults), (1, 0));
        assert!(error.unwrap().starts_with("line 3, byte 30: "));
        let (output, _, error, _) = run(Schema::Ecs, Stream::Threats, "{\"id\":\"1\"}\n{\n\"id\":\"2\"\n}");
        assert!(output.lines().count() == 1 && error.unwrap().contains("`jq -c .`"));
    }

    #[test]
    fn a_record_that_is_not_valid_json_is_repaired_and_mapped() {
        for damage in [&br"\ud83d"[..], br"\ude00", b"\xff", b"\xed\xa0\xbd", b"\t", br#"","size":NaN,"x":""#] {
            let start = br#"[{"id":"1000000000000000001","threatInfo":{"confidenceLevel":"malicious",
                "classification":"Ransomware","createdAt":"2026-11-26T20:00:00Z","threatName":"evil"#;
            let input = [&start[..], damage, br#".exe"}}]"#].concat();
            let (output, faults, error, coverage) = run(Schema::Ecs, Stream::Threats, &input);
            assert_eq!((faults, error, coverage.lost.len()), (0, None, 0));
            let event: serde_json::Value = serde_json::from_str(&output).unwrap();
            let shown =
                [&event["event"]["kind"], &event["event"]["severity"], &event["event"]["id"], &event["@timestamp"]];
            let shown = serde_json::json!(shown);
            assert_eq!(shown, serde_json::json!(["alert", 99, "1000000000000000001", "2026-11-26T20:00:00Z"]));
        }
    }

    #[test]
    fn an_unknown_schema_is_refused() {
        assert_eq!(schema("ecs"), Ok(Schema::Ecs));
        assert_eq!(schema("ocsf"), Ok(Schema::Ocsf));
        assert!(schema("cef").is_err());
    }
}
