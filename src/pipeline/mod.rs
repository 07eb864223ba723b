//! The customer's file: composes the rooms' own settings; loading, errors with place, watching.

mod check;
mod contents;
mod document;
mod files;
mod problem;
mod read;
mod sources;
mod watch;
mod yaml;

use std::path::PathBuf;

use crate::{console, sink, source, transform};

pub use files::{Broken, Changes, FileReport, Files, Loaded, load};
pub use problem::{Problem, Severity};
pub use watch::{Scan, Watch};

/// One customer's file, valid and with its defaults file merged in.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// `name`, else the file's stem.
    pub name: String,
    /// The file it came from; relative `{ file }` secrets were resolved against its directory.
    pub path: PathBuf,
    /// False pauses it and keeps its checkpoints.
    pub enabled: bool,
    /// `console:`.
    pub console: console::Settings,
    /// `streams:`.
    pub streams: source::Settings,
    /// `transform:`.
    pub transform: transform::Settings,
    /// `sinks:`, names unique.
    pub sinks: Vec<sink::Settings>,
}

/// The text does not name a pipeline or a sink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: lower-case letters, digits, and inside also `.`, `_`, `-`, at most 63")]
pub struct NameError(String);

/// The rule for names of pipelines and sinks, which stand in state, metrics and topics.
struct Name;

impl Name {
    fn check(name: &str) -> Result<(), NameError> {
        let end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inside = |byte: u8| end(byte) || matches!(byte, b'.' | b'_' | b'-');
        let bytes = name.as_bytes();
        let ends = bytes.first().copied().is_some_and(end) && bytes.last().copied().is_some_and(end);
        if ends && bytes.len() <= 63 && bytes.iter().copied().all(inside) {
            Ok(())
        } else {
            Err(NameError(name.to_owned()))
        }
    }
}
