//! A problem in a pipeline file, with its place, as it is printed.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use s1_forwarder_record::visible::visible;
use serde::Serialize;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    /// A merged tree has nodes of the pipeline file and of the defaults file.
    pub file: Arc<Path>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// The pipeline runs, but the user should check it.
    Warning,
}

/// A problem in a pipeline file. It is printed as `FILE:LINE:COLUMN: KEY: MESSAGE`, so that editors and terminals can
/// open the place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file that has to be edited.
    pub file: PathBuf,
    /// From 1; 0 if the problem is in the file as a whole.
    pub line: u32,
    /// From 1, in characters; 0 if the problem is in the file as a whole.
    pub column: u32,
    /// Such as `streams.threats.interval` or `sinks[0].topic`; empty at the top level.
    pub key: String,
    /// The problem and its solution.
    pub message: Cow<'static, str>,
    pub severity: Severity,
}

/// Maximum number of problems that are reported of one part of a file: a file may have one for each byte.
pub(super) const MAX_PROBLEMS: usize = 100;

const MISSING: &str = "missing key ";
/// Message of the warning about a secret in the file.
pub(super) const LITERAL_SECRET: &str = "the secret is in the file itself, and readable by everybody who can read the file; \
                                         { file: PATH } or { env: NAME } keeps it elsewhere";

impl Problem {
    pub(super) fn at(place: &Place, key: &str, severity: Severity, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            file: place.file.to_path_buf(),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            message: message.into(),
            severity,
        }
    }

    /// Returns an error in the file as a whole.
    pub(super) fn file(file: &Path, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
            severity: Severity::Error,
        }
    }

    /// Returns the problem of a missing required key.
    pub(super) fn missing_key(place: &Place, key: &str, missing: &str) -> Self {
        Self::at(place, key, Severity::Error, format!("{MISSING}`{missing}`"))
    }

    /// Removes line and column.
    pub(super) fn unplace(&mut self) {
        self.line = 0;
        self.column = 0;
    }

    /// Returns whether [`Self::missing_key`] made the problem.
    pub(super) fn is_about_missing_key(&self) -> bool {
        self.message.starts_with(MISSING)
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Characters of a key and of a message that are shown.
const MAX_KEY: usize = 200;
const MAX_MESSAGE: usize = 4_000;

fn beginning(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", visible(&self.file.display().to_string()))?;
        if self.line > 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        formatter.write_str(": ")?;
        if self.severity == Severity::Warning {
            formatter.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", visible(beginning(&self.key, MAX_KEY)))?;
        }
        // Compilers of programs have messages of several lines. Without the indentation, the words of a file could look
        // like a line of the program's own.
        let mut lines = beginning(&self.message, MAX_MESSAGE).split('\n');
        formatter.write_str(&visible(lines.next().unwrap_or_default()))?;
        lines.try_for_each(|line| write!(formatter, "\n  {}", visible(line)))
    }
}

/// Files of one name that an error lists.
const MAX_LISTED: usize = 3;

/// Returns the first few paths as a text. Thousands of files may have one name, and each of them names the others.
pub(super) fn listed<'a>(mut paths: impl Iterator<Item = &'a Path>) -> String {
    let named: Vec<String> = paths.by_ref().take(MAX_LISTED).map(|path| path.display().to_string()).collect();
    let more = if paths.next().is_some() { ", and others" } else { "" };
    format!("{}{more}", named.join(", "))
}
