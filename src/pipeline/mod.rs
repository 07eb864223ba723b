//! The customer's file: composes the rooms' own settings; loading, errors with place, watching.

mod check;
mod contents;
mod document;
mod files;
#[cfg(feature = "kubernetes")]
mod labelled;
mod location;
mod objects;
mod open;
mod problem;
mod read;
mod sources;
mod watch;
mod yaml;

use std::path::PathBuf;
use std::sync::Arc;

use crate::{console, sink, source, transform};

pub use files::{Broken, Changes, FileReport, Files, Loaded, load};
pub use location::{Labelled, Location, LocationError};
pub use objects::stem;
pub use open::{open, read};
pub use problem::{Problem, Severity};
pub use watch::{Scan, Watch};

/// One customer's file, valid and with its defaults file merged in. Its lanes share the settings that they are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// `name`, else the file's stem.
    pub name: String,
    /// The file it came from; relative `{ file }` secrets were resolved against its directory.
    pub path: PathBuf,
    /// False pauses it and keeps its checkpoints.
    pub enabled: bool,
    /// `console:`.
    pub console: Arc<console::Settings>,
    /// `streams:`.
    pub streams: Box<source::Settings>,
    /// `transform:`.
    pub transform: Arc<transform::Settings>,
    /// `sinks:`, names unique.
    pub sinks: Box<[Arc<sink::Settings>]>,
}

impl Pipeline {
    /// What a sink is built with to be looked at, not run: as the first of its lanes has it. None where no stream goes to it.
    pub fn sink_context(&self, sink: &sink::Settings, shared: sink::Shared) -> Option<sink::Context> {
        let pull = self.streams.pulls().into_iter().find(|pull| sink.takes(pull.stream))?;
        Some(sink::Context {
            pipeline: self.name.clone(),
            stream: pull.stream,
            sink: sink.name().to_owned(),
            shard: 0,
            console_host: self.console.url.host().to_owned(),
            labels: self.transform.labels.clone(),
            schema: sink.common.schema.unwrap_or(self.transform.schema),
            schema_name: "",
            shared,
        })
    }
}
