//! The results of `check`, and how they are printed.

use std::fmt::Write;
use std::path::PathBuf;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::pipeline::{FileReport, Loaded, Pipeline, Problem};
use crate::record::LaneId;
use crate::visible::visible;

/// Beginning of the subject of a test of the file.
pub const TEST: &str = "test ";
/// Beginning of the subject of a test of a lane.
const LANE: &str = "lane ";

/// The output of `check --format json`:
///
/// ```json
/// {
///   "ok": false,
///   "offline": false,
///   "pipelines": [
///     {
///       "name": "acme", "file": "pipelines/acme.yaml", "valid": true, "enabled": true,
///       "streams": ["threats"], "sinks": [{ "name": "siem", "type": "http" }],
///       "findings": [
///         { "subject": "console", "check": "verified", "detail": "https://usea1-acme.sentinelone.net responds" },
///         { "subject": "token", "check": "verified", "detail": "valid until …", "warning": "it expires soon: …" },
///         { "subject": "sink siem", "check": "failed", "detail": "…" }
///       ]
///     }
///   ],
///   "problems": [
///     { "file": "pipelines/globex.yaml", "line": 3, "column": 5, "key": "console.toekn",
///       "message": "unknown key; did you mean `token`?", "severity": "error" }
///   ]
/// }
/// ```
///
/// `name`, `enabled`, `streams` and `sinks` are null if the file could not be read. `check` is `verified`, `reached`
/// (credentials not testable), `failed`, or `skipped` (an earlier test failed).
#[derive(Debug, Serialize)]
pub struct Report {
    ok: bool,
    offline: bool,
    /// One for each file, sorted by path.
    pub pipelines: Vec<PipelineReport>,
    /// Errors and warnings of all files, sorted by place.
    pub problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
pub struct PipelineReport {
    name: Option<String>,
    file: PathBuf,
    valid: bool,
    enabled: Option<bool>,
    streams: Option<Vec<&'static str>>,
    sinks: Option<Vec<SinkReport>>,
    pub findings: Vec<Finding>,
    /// Effective keys and values. `None` without `--settings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Vec<(String, String)>>,
}

#[derive(Debug, Serialize)]
struct SinkReport {
    name: String,
    #[serde(rename = "type")]
    type_name: &'static str,
}

/// The result of testing one connection, one permission, or one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `proxy`, `console`, `token`, `owner`, `scope`, `accounts`, `sites`, `groups`, `clock`, `stream NAME`, `rate
    /// limit`, `redact`, `sink NAME`, `test NAME`, `lane STREAM/SINK`.
    pub subject: String,
    pub check: Check,
    pub detail: String,
    /// Advice on a setting that works now but should be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Finding {
    pub fn new(subject: &str, check: Check, detail: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), check, detail: detail.into(), warning: None }
    }

    /// Returns the finding that `of` sends the same records to the same place.
    pub fn duplicate(lane: &LaneId, of: &LaneId) -> Self {
        let LaneId { stream, sink, .. } = lane;
        let warning = format!("duplicate of {of}: both send the same records to the same place");
        Self::new(&format!("{LANE}{stream}/{sink}"), Check::Verified, "").warn(warning)
    }

    /// Returns the finding that another sink, of a pipeline and a name, sends the same identities to the same place.
    pub fn other_version(sink: &str, (pipeline, other): &(String, String)) -> Self {
        let warning = format!(
            "sink {other} of {pipeline} writes to the same place in another `ocsf_version`: the place then has two forms \
             of events under one kind of id"
        );
        Self::new(&format!("sink {sink}"), Check::Verified, "").warn(warning)
    }

    /// Adds a warning.
    pub fn warn(self, warning: String) -> Self {
        Self { warning: Some(warning), ..self }
    }

    fn cells(&self) -> [Cell; 3] {
        let (words, color) = match (self.check, &self.warning) {
            (Check::Verified | Check::Reached, Some(_)) => ("warning", Some(Color::Yellow)),
            (Check::Verified, None) => ("verified", Some(Color::Green)),
            (Check::Reached, None) => ("reached, credentials not testable", Some(Color::Green)),
            (Check::Failed, _) => ("failed", Some(Color::Red)),
            (Check::Skipped, _) => ("skipped", None),
        };
        let detail = match &self.warning {
            Some(warning) if self.detail.is_empty() => warning.clone(),
            Some(warning) => format!("{}; {warning}", self.detail),
            None => self.detail.clone(),
        };
        [Cell::new(visible(&self.subject)), colored(words, color), Cell::new(shown(&detail))]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    Verified,
    /// The sink responds, but credentials cannot be tested without a delivery.
    Reached,
    Failed,
    /// The check was not made, because an earlier one failed.
    Skipped,
}

impl Report {
    /// Creates the report. `findings` are in the order of `loaded.pipelines`.
    pub fn new(loaded: &Loaded, findings: Vec<Vec<Finding>>, offline: bool, settings: bool) -> Self {
        let mut found: Vec<_> = loaded.pipelines.iter().zip(findings).collect();
        let pipelines = loaded.files.iter().map(|file| {
            let position = found.iter().position(|(pipeline, _)| pipeline.path == file.path);
            let findings = position.map(|position| found.swap_remove(position).1).unwrap_or_default();
            PipelineReport::new(file, findings, settings)
        });
        let mut report = Self { ok: false, offline, pipelines: pipelines.collect(), problems: loaded.problems.clone() };
        report.ok = !report.has_invalid_file() && !report.has_failure();
        report
    }

    /// Returns whether a file, or a location of files, has an error.
    pub fn has_invalid_file(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// Returns whether a connection or a test failed.
    pub fn has_failure(&self) -> bool {
        let mut findings = self.pipelines.iter().flat_map(|pipeline| &pipeline.findings);
        findings.any(|finding| finding.check == Check::Failed)
    }

    /// Returns the text for people: the problems, a row per file, a row per finding, and a summary line.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for problem in &self.problems {
            let _ = writeln!(out, "{problem}");
        }
        if !self.problems.is_empty() {
            out.push('\n');
        }
        let mut files = table(&["PIPELINE", "FILE", "STATUS", "STREAMS", "SINKS"]);
        for pipeline in &self.pipelines {
            files.add_row(pipeline.row());
        }
        if !self.pipelines.is_empty() {
            let _ = writeln!(out, "{files}\n");
        }
        let mut findings = table(&["PIPELINE", "SUBJECT", "RESULT", "DETAIL"]);
        for pipeline in &self.pipelines {
            let name = pipeline.name.as_deref().unwrap_or_default();
            for finding in &pipeline.findings {
                findings.add_row(std::iter::once(Cell::new(name)).chain(finding.cells()));
            }
        }
        if !findings.is_empty() {
            let _ = writeln!(out, "{findings}\n");
        }
        for pipeline in &self.pipelines {
            let Some(rows) = &pipeline.settings else { continue };
            let mut settings = table(&["PIPELINE", "KEY", "VALUE"]);
            let name = pipeline.name.as_deref().unwrap_or_default();
            rows.iter().for_each(|(key, value)| _ = settings.add_row([name, &visible(key), &shown(value)]));
            let _ = writeln!(out, "{settings}\n");
        }
        out.push_str(&self.summary());
        out
    }

    fn summary(&self) -> String {
        let invalid = self.pipelines.iter().filter(|pipeline| !pipeline.valid).count();
        let valid = self.pipelines.len() - invalid;
        let count = |tests: bool, failed: bool| {
            let findings = self.pipelines.iter().flat_map(|pipeline| &pipeline.findings);
            let findings = findings.filter(|finding| !finding.subject.starts_with(LANE));
            let counted = findings.filter(|finding| finding.subject.starts_with(TEST) == tests);
            counted.filter(|finding| !failed || finding.check == Check::Failed).count()
        };
        let files = match (valid, invalid) {
            (0, 0) => "no pipeline files found".to_owned(),
            (valid, 0) => format!("{valid} valid"),
            (valid, invalid) => format!("{valid} valid, {invalid} invalid"),
        };
        let files = match (count(true, false), count(true, true)) {
            (0, _) => files,
            (1, 0) => format!("{files}; 1 test passed"),
            (tests, 0) => format!("{files}; {tests} tests passed"),
            (tests, failed) => format!("{files}; {failed} of {tests} tests failed"),
        };
        let findings = self.pipelines.iter().flat_map(|pipeline| &pipeline.findings);
        let files = match findings.filter(|finding| finding.subject.starts_with(LANE)).count() {
            0 => files,
            1 => format!("{files}; 1 lane is a duplicate"),
            lanes => format!("{files}; {lanes} lanes are duplicates"),
        };
        match (self.offline, count(false, true)) {
            (true, _) => format!("{files}; connections not tested (--offline)"),
            (false, 0) if count(false, false) == 0 => files,
            (false, 0) => format!("{files}; all connections work"),
            (false, failed) => format!("{files}; {failed} of {} connection tests failed", count(false, false)),
        }
    }
}

/// Colours appear on terminals only, and not if `NO_COLOR` is set.
fn colored(text: &str, color: Option<Color>) -> Cell {
    let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match color {
        Some(color) if is_wanted => Cell::new(text).fg(color),
        _ => Cell::new(text),
    }
}

/// Words of files and consoles for a cell, which may have several lines.
fn shown(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    // Lines wrap at the width of a terminal. In a pipe they stay whole, for grep.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

impl PipelineReport {
    fn new(file: &FileReport, findings: Vec<Finding>, settings: bool) -> Self {
        let pipeline = file.pipeline.as_deref();
        Self {
            name: pipeline.map(|pipeline| pipeline.name.clone()),
            file: file.path.clone(),
            valid: pipeline.is_some() && !file.problems.iter().any(Problem::is_error),
            enabled: pipeline.map(|pipeline| pipeline.enabled),
            streams: pipeline.map(streams),
            sinks: pipeline.map(sinks),
            findings,
            settings: if settings { pipeline.map(Pipeline::effective) } else { None },
        }
    }

    fn row(&self) -> [Cell; 5] {
        let (status, color) = match (self.valid, self.enabled) {
            (false, _) => ("invalid", Color::Red),
            (true, Some(false)) => ("valid, paused", Color::Yellow),
            (true, _) => ("valid", Color::Green),
        };
        let sinks = self.sinks.iter().flatten().map(|sink| {
            if sink.name == sink.type_name { sink.name.clone() } else { format!("{} ({})", sink.name, sink.type_name) }
        });
        [
            Cell::new(self.name.as_deref().unwrap_or("-")),
            Cell::new(visible(&self.file.display().to_string())),
            colored(status, Some(color)),
            Cell::new(self.streams.as_deref().unwrap_or_default().join(", ")),
            Cell::new(sinks.collect::<Vec<_>>().join(", ")),
        ]
    }
}

fn streams(pipeline: &Pipeline) -> Vec<&'static str> {
    pipeline.pulls.iter().map(|pull| pull.stream.name()).collect()
}

fn sinks(pipeline: &Pipeline) -> Vec<SinkReport> {
    let sinks = pipeline.sinks.iter();
    sinks.map(|sink| SinkReport { name: sink.name().to_owned(), type_name: sink.type_settings.name() }).collect()
}
