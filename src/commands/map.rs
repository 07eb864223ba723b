//! `map`: records on stdin → events on stdout, without network and in constant memory.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};

use crate::console::ConsoleUrl;
use crate::pipeline;
use crate::record::{Split, Stream};
use crate::transform::coverage::Coverage;
use crate::transform::{Mapper, Origin, Schema, Settings};

/// How many faulty records are told one by one.
const FAULTS_SHOWN: u64 = 20;

/// Map records on stdin into events on stdout
///
/// The records may be NDJSON, a JSON array, or pages as the console sends them; the events are NDJSON. A record that
/// cannot be mapped becomes an error event and is told on stderr with its line and byte.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// ecs or raw; the pipeline's own without it, else ecs
    #[arg(long, value_name = "SCHEMA", value_parser = schema)]
    pub schema: Option<Schema>,
    /// What the records are: threats, activities, agents, alerts, groups, unified_alerts, vulnerabilities
    #[arg(long, value_name = "NAME")]
    pub stream: Stream,
    /// Map as this pipeline does: its schema, its labels, its console
    #[arg(long, value_name = "FILE")]
    pub pipeline: Option<PathBuf>,
    /// The console that the records come from, for observer.hostname and links
    #[arg(long, value_name = "HOST", value_parser = ConsoleUrl::parse)]
    pub console_host: Option<ConsoleUrl>,
    /// Tell on stderr where the leaves of the records went
    #[arg(long)]
    pub report: bool,
}

fn schema(name: &str) -> Result<Schema, String> {
    match name {
        "ecs" => Ok(Schema::Ecs),
        "raw" => Ok(Schema::Raw),
        "ocsf" => Err("OCSF is not in this build; it has ecs and raw".to_owned()),
        _ => Err("the schemas are ecs and raw".to_owned()),
    }
}

/// Maps stdin to its end.
///
/// # Errors
/// When stdin or stdout fail, or a list of records is broken.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(mapper) = mapper(args) else { return Ok(ExitCode::from(2)) };
    let input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let output = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut run = Run { mapper, output, coverage: args.report.then(Coverage::default), records: 0, faults: 0 };
    match run.map(args.stream, input) {
        // Whoever reads has seen enough.
        Err(error) if is_closed_pipe(&error) => return Ok(ExitCode::SUCCESS),
        result => result?,
    }
    if let Some(coverage) = &run.coverage {
        eprintln!("{}", table(args.stream, run.records, coverage));
    }
    if run.faults > 0 {
        eprintln!("{} of {} records could not be mapped and became error events", run.faults, run.records);
    }
    Ok(ExitCode::SUCCESS)
}

/// The mapper that the flags and the pipeline's file ask for; `None` when the file is invalid, which has then been told.
fn mapper(args: &Args) -> Option<Mapper> {
    let given = args.console_host.as_ref().map(|url| url.host().to_owned());
    let Some(path) = &args.pipeline else {
        let origin = Origin {
            pipeline: "map".to_owned(),
            console_host: given.unwrap_or_else(|| "console.example.com".to_owned()),
            stream: args.stream,
        };
        return Some(Mapper::new(&Settings::default(), args.schema.unwrap_or_default(), origin));
    };
    let loaded = pipeline::load(std::slice::from_ref(path), None);
    for problem in &loaded.problems {
        eprintln!("{problem}");
    }
    let pipeline = loaded.pipelines.first()?;
    let origin = Origin {
        pipeline: pipeline.name.clone(),
        console_host: given.unwrap_or_else(|| pipeline.console.url.host().to_owned()),
        stream: args.stream,
    };
    Some(Mapper::new(&pipeline.transform, args.schema.unwrap_or(pipeline.transform.schema), origin))
}

struct Run<W> {
    mapper: Mapper,
    output: W,
    coverage: Option<Coverage>,
    records: u64,
    faults: u64,
}

impl<W: Write> Run<W> {
    fn map(&mut self, stream: Stream, input: impl BufRead) -> anyhow::Result<()> {
        let mut split = Split::new(input);
        let mut event = Vec::new();
        // What came before a broken place is out before its error is told.
        let broken = loop {
            let piece = match split.next_piece() {
                Ok(Some(piece)) => piece,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            self.records += 1;
            event.clear();
            if let Err(error) = self.mapper.map(&piece.bytes, &mut event) {
                self.faults += 1;
                match self.faults {
                    ..=FAULTS_SHOWN => eprintln!("line {}, byte {}: {error}", piece.line, piece.offset),
                    _ if self.faults == FAULTS_SHOWN + 1 => {
                        eprintln!("more records that cannot be mapped are not shown")
                    }
                    _ => {}
                }
            } else if let Some(coverage) = &mut self.coverage {
                let read = |bytes| serde_json::from_slice(bytes).context("the event cannot be read back");
                coverage.add(stream, &read(&piece.bytes)?, &read(&event)?);
            }
            event.push(b'\n');
            self.output.write_all(&event)?;
        };
        self.output.flush()?;
        broken.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn table(stream: Stream, records: u64, coverage: &Coverage) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let head = ["stream", "records", "leaves", "to ECS", "to sentinel_one.*", "dropped on purpose", "lost"];
    table.set_header(head);
    let lost = coverage.lost.len() as u64;
    let counts = [records, coverage.leaves, coverage.ecs, coverage.vendor, coverage.dropped, lost];
    table.add_row(std::iter::once(stream.to_string()).chain(counts.map(|count| count.to_string())));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(schema: Schema, stream: Stream, input: &str) -> (String, u64, Option<String>, Coverage) {
        let origin = Origin { pipeline: "p".to_owned(), console_host: "h".to_owned(), stream };
        let settings = Settings { keep_original: Some(false), ..Settings::default() };
        let mapper = Mapper::new(&settings, schema, origin);
        let coverage = (schema == Schema::Ecs).then(Coverage::default);
        let mut run = Run { mapper, output: Vec::new(), coverage, records: 0, faults: 0 };
        let error = run.map(stream, input.as_bytes()).err().map(|error| error.to_string());
        (String::from_utf8(run.output).unwrap(), run.faults, error, run.coverage.unwrap_or_default())
    }

    #[test]
    fn lines_lists_and_pages_give_the_same_events() {
        let records =
            [r#"{"id":"1","createdAt":"2026-01-01T00:00:00Z"}"#, r#"{"id":"2","createdAt":"2026-01-01T00:00:00Z"}"#];
        let lines = run(Schema::Ecs, Stream::Activities, &records.join("\n"));
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
    fn a_broken_list_ends_with_its_place_and_keeps_what_came_before() {
        let (output, faults, error, _) = run(Schema::Ecs, Stream::Threats, "[{\"id\":\"1\"},\n{\"id\":");
        assert_eq!((output.lines().count(), faults), (1, 0));
        assert!(error.unwrap().contains("line 2, byte 13"));
    }

    #[test]
    fn schemas_are_named_and_missing_ones_are_told() {
        assert_eq!(schema("ecs"), Ok(Schema::Ecs));
        assert!(schema("ocsf").unwrap_err().contains("not in this build"));
        assert!(schema("cef").is_err());
    }
}
