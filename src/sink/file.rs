//! One event a line in a file.

use std::io::ErrorKind;
use std::path::{Component, Path};
use std::sync::Arc;

use cap_std::fs::OpenOptions;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::append::{Readers, append_lines};
use super::common::{Common, Defaults, SinkType};
use super::line::Line;
use super::stdout::{LOCAL_DEFAULTS, Writers, write_lines, writers_of};
use super::{Attempt, Batch, BuildError, DestinationKey, Limits, Probe, Sink, SinkContext};
use crate::settings::{FOR_A_SHELL, FilePath, SettingKind, is_for_a_shell};

/// `type: file`: one event a line, on the disk before the checkpoint moves. The file may be rotated by renaming it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// Path of the file; `{pipeline}`, `{stream}` and `{label.NAME}` are replaced. Directories are created.
    pub path: FilePath,
    /// Write `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub envelope: bool,
}

impl SinkType for FileSettings {
    fn defaults(&self) -> Defaults {
        LOCAL_DEFAULTS
    }

    fn embeds_raw(&self) -> bool {
        self.envelope
    }

    fn describe_destination(&self, context: &SinkContext, key: &mut DestinationKey<'_>) -> Result<(), BuildError> {
        let path = self.path.try_map(|template| context.fill("path", template))?;
        let path = std::path::absolute(path.path()).unwrap_or_else(|_| path.path().to_owned());
        key.text("path", &path.to_string_lossy());
        Ok(())
    }

    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let path = self.path.try_map(|template| context.fill("path", template))?;
        let above = |path: &Path| path.components().filter(|component| *component == Component::ParentDir).count();
        if above(path.path()) > above(self.path.path()) {
            return Err(BuildError::value("path", "a label may not be `..`, which leaves the directory"));
        }
        if is_for_a_shell(&self.path.to_string()) {
            return Err(BuildError::value("path", FOR_A_SHELL));
        }
        if path.path().file_name().is_none() {
            return Err(BuildError::value("path", format!("`{}` is not the path of a file", self.path)));
        }
        let limits = common.limits(&LOCAL_DEFAULTS);
        let line = Line::new(self.envelope, context);
        Ok(Arc::new(File { path, limits, line, writers: writers_of(&context.pipeline) }))
    }
}

#[derive(Debug)]
struct File {
    path: FilePath,
    limits: Limits,
    line: Line,
    writers: Writers,
}

impl Sink for File {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        let path = self.path.clone();
        let named = move |error: std::io::Error| std::io::Error::new(error.kind(), format!("{path}: {error}"));
        let path = self.path.clone();
        write_lines(&self.writers, &self.line, batch, move |lines| {
            append_lines(&path, lines, Readers::Umask).map_err(named)
        })
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        let path = self.path.clone();
        async move {
            match tokio::task::spawn_blocking(move || writable(&path)).await {
                Ok(probe) => probe,
                Err(_) => Probe::Failed("the probing task ended early".to_owned()),
            }
        }
        .boxed()
    }
}

/// Checks the file, or the nearest existing directory, without creating anything.
fn writable(path: &FilePath) -> Probe {
    let existing = path.path().ancestors().skip(1).find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let writable = match path.inode() {
        Ok(_) => path.open(OpenOptions::new().append(true)).map(drop),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Err(_) => std::fs::metadata(existing).and_then(|metadata| match metadata.permissions().readonly() {
            true => Err(std::io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        }),
    };
    match writable {
        Ok(()) => Probe::Verified(path.to_string()),
        Err(error) => Probe::Failed(format!("{path}: {error}")),
    }
}
