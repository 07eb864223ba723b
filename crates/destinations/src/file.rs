//! One event a line in a file.

use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::Arc;

use cap_std::fs::{OpenOptions, OpenOptionsExt};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustix::fs::{Access, AtFlags, CWD, OFlags};
use s1_forwarder_engine::sink::append::{Readers, append_lines, lock_of};
use s1_forwarder_engine::sink::{Attempt, Batch, Limits, ProbeResult, Sink};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_settings::{FilePath, SHELL_PATH_ADVICE, SettingKind, is_shell_path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common_keys::Common;
use super::line::Line;
use super::sink_type::{SinkDefaults, SinkProperties, SinkType, without_envelope};
use super::stdout::{LOCAL_DEFAULTS, Writers, write_lines, writers_of};
use super::{BuildError, DestinationHash, SinkContext};

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

impl SinkProperties for FileSettings {
    fn defaults(&self) -> SinkDefaults {
        LOCAL_DEFAULTS
    }

    fn embeds_raw(&self) -> bool {
        self.envelope
    }

    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        without_envelope(schema, self.envelope)
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        let path = self.path.try_map(|template| context.fill("path", template))?;
        let path = std::path::absolute(path.path()).unwrap_or_else(|_| path.path().to_owned());
        hash.text("path", &path.to_string_lossy());
        Ok(())
    }
}

impl SinkType for FileSettings {
    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let path = self.path.try_map(|template| context.fill("path", template))?;
        let above = |path: &Path| path.components().filter(|component| *component == Component::ParentDir).count();
        if above(path.path()) > above(self.path.path()) {
            return Err(BuildError::value("path", "a label may not be `..`, which leaves the directory"));
        }
        if is_shell_path(&self.path.to_string()) {
            return Err(BuildError::value("path", SHELL_PATH_ADVICE));
        }
        if path.path().file_name().is_none() {
            return Err(BuildError::value("path", format!("`{}` is not the path of a file", self.path)));
        }
        let limits = common.limits(&LOCAL_DEFAULTS);
        let line = Line::new(self.envelope, context);
        Ok(Arc::new(File { path, limits, line, writers: writers_of(&context.lane.pipeline) }))
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

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        let path = self.path.clone();
        async move {
            match tokio::task::spawn_blocking(move || writable(&path)).await {
                Ok(probe) => probe,
                Err(_) => ProbeResult::Failed("the probing task ended early".to_owned()),
            }
        }
        .boxed()
    }
}

/// Checks the file and its lock, or the nearest existing directory, without creating anything.
fn writable(path: &FilePath) -> ProbeResult {
    let result = can_append(path).and_then(|is_file| {
        let lock = lock_of(path);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("its lock {lock}: {error}"));
        if is_file { can_append(&lock).map(drop).map_err(named) } else { Ok(()) }
    });
    match result {
        Ok(()) => ProbeResult::Verified(path.to_string()),
        Err(error) => ProbeResult::Failed(format!("{path}: {error}")),
    }
}

/// Returns whether a lane may append to a file at the path, or create one. A device at the path has no lock, so the
/// result is false.
fn can_append(path: &FilePath) -> io::Result<bool> {
    // Opening a pipe would wait for a reader.
    let options = || {
        let mut options = OpenOptions::new();
        options.append(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        options
    };
    match path.inode() {
        Ok(_) => Ok(path.open(&options())?.metadata()?.is_file()),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Err(_) => {
            let existing = path.path().ancestors().skip(1).find(|ancestor| ancestor.exists());
            let directory = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
            rustix::fs::accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?;
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn failure(path: &Path) -> Option<String> {
        match writable(&path.to_owned().into()) {
            ProbeResult::Failed(reason) => Some(reason),
            _ => None,
        }
    }

    /// A lane makes the lock next to the file that a link leads to.
    #[test]
    fn a_probe_finds_what_a_lane_could_not_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        assert_eq!(failure(&path), None);
        assert_eq!(failure(&directory.path().join("new/below/events")), None);
        fs::write(&path, "").unwrap();
        assert_eq!(failure(&path), None);
        assert!(!directory.path().join(".events.lock").exists());
        assert_eq!(failure(Path::new("/dev/null")), None, "there is no lock next to a device");

        // No user may create a file in `/proc`, not even root.
        let link = directory.path().join("link");
        symlink("/proc/self/comm", &link).unwrap();
        let reason = failure(&link).unwrap_or_default();
        assert!(reason.contains("its lock /proc/"), "{reason}");

        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        assert!(failure(&pipe).is_some(), "nobody reads it, and opening it does not wait for that");

        if !rustix::process::geteuid().is_root() {
            fs::set_permissions(directory.path(), Permissions::from_mode(0o500)).unwrap();
            assert!(failure(&path).unwrap_or_default().contains("its lock"));
            fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
        }
    }
}
