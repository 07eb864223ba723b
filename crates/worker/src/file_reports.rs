//! Reports pipeline files in the log, on the status page and in metrics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_telemetry::{FileStatus, PipelineState};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::renames::advice_of_lost;
use super::shared::Shared;
use crate::pipeline::{self, Changes, Files, Pipeline, Problem};

/// Files whose problems are logged after a scan. A wrong line in the defaults file makes all files invalid.
const MAX_LOGGED_FILES: usize = 100;

/// Interval of the warning that there is nothing to run.
const WARN_IDLE_EVERY: Duration = Duration::from_hours(1);

/// Reports pipeline files in the log, on the status page and in metrics.
pub struct FileReports {
    shared: Arc<Shared>,
    /// Time of the last warning that there is nothing to run.
    warned_idle: Option<Instant>,
    /// Whether the last scan that found changes found invalid files.
    has_invalid_files: bool,
}

impl FileReports {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, warned_idle: None, has_invalid_files: false }
    }

    /// Logs what a scan has found, and counts the scan. A directory that cannot be read changes no file, and makes the
    /// files as a whole invalid.
    pub fn changed(&mut self, files: &Files, changes: &Changes) {
        log_warnings(files, changes.started.iter().chain(&changes.changed));
        let sources = files.problems_of_other_paths();
        for invalid in changes.invalid.iter().take(MAX_LOGGED_FILES) {
            log_problems(&invalid.problems);
            let file = invalid.path.display();
            match &invalid.still_running {
                _ if sources.contains_key(&invalid.path) => {
                    error!(%file, "what runs continues as it is; a restart would start no pipeline that depends on this")
                }
                Some(name) => {
                    error!(pipeline = %name, %file, "the last good version keeps running; a restart would not start it")
                }
                None => error!(%file, "not started"),
            }
        }
        if let Some(more) = changes.invalid.len().checked_sub(MAX_LOGGED_FILES).filter(|more| *more > 0) {
            error!(more, "more files are invalid: `check` and the status page name them");
        }
        for path in changes.repaired.iter().take(MAX_LOGGED_FILES) {
            info!(file = %path.display(), "the file is valid again");
        }
        let has_changed = !changes.affected.is_empty();
        if has_changed {
            self.has_invalid_files = files.has_invalid_files();
        }
        let is_valid = !self.has_invalid_files && !sources.values().flatten().any(Problem::is_error);
        self.shared.telemetry.process().set_reloaded(is_valid, has_changed.then(|| self.shared.options.clock.now()));
        let text = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let sources = sources.into_iter().map(|(path, problems)| (path, text(problems))).collect();
        self.shared.telemetry.set_source_problems(sources);
    }

    /// Updates the status page and the metric `pipelines` for these files only. With thousands of files, an update of
    /// all for each change would be slow. `place` returns the state of a valid pipeline, and its shard.
    pub fn set_status(
        &self,
        files: &Files,
        paths: &BTreeSet<PathBuf>,
        place: impl Fn(&Pipeline) -> (PipelineState, Option<u32>),
    ) {
        let telemetry = &self.shared.telemetry;
        for path in paths {
            let Some(report) = files.report(path) else {
                match telemetry.file(path).and_then(|status| self.removed(path, status)) {
                    Some(status) => telemetry.set_file(path, status),
                    None => telemetry.remove_file(path),
                }
                continue;
            };
            let (errors, warnings): (Vec<_>, Vec<_>) = report.problems.iter().partition(|problem| problem.is_error());
            let errors: Vec<String> = errors.into_iter().map(ToString::to_string).collect();
            let warnings = warnings.into_iter().map(ToString::to_string).collect();
            let running = files.running_version(path);
            let (state, shard) = running.map_or((PipelineState::NotStarted, None), |pipeline| place(pipeline));
            let pipeline = running.or(report.pipeline.as_ref());
            let pipeline = pipeline.map_or_else(|| pipeline::stem(path), |pipeline| pipeline.name.clone());
            let problem = (!errors.is_empty()).then(|| errors.join("\n"));
            let generation = report.generation;
            telemetry.set_file(path, FileStatus { pipeline, state, shard, problem, warnings, generation });
        }
    }

    /// Warns if no pipeline is valid: a path with a typing mistake must not look like a worker without problems.
    pub fn warn_if_idle(&mut self) {
        if !self.shared.valid.is_empty() {
            self.warned_idle = None;
        } else if self.warned_idle.is_none_or(|warned| warned.elapsed() >= WARN_IDLE_EVERY) {
            self.warned_idle = Some(Instant::now());
            if self.has_invalid_files {
                return warn!("no pipeline file is valid, so nothing is pulled");
            }
            let shared = self.shared.clone();
            // The file system may not answer.
            spawn_blocking(move || {
                let defaults = shared.options.files.defaults.as_deref();
                let places = shared.options.pipelines.iter();
                let looked_in: Vec<String> = places.map(|location| location.explain_empty(defaults)).collect();
                let looked_in = looked_in.join("; ");
                warn!(looked_in, "there is no valid pipeline file, so nothing is pulled: see --pipelines");
            });
        }
    }

    /// Returns the status of a file that is gone, and logs it: its customer gets nothing, perhaps by mistake. `None` if
    /// the pipeline did not run, or if its lanes have no checkpoints. A deleted resource has no status either, since
    /// its deletion is deliberate. A status `Removed` stays.
    fn removed(&self, path: &Path, before: FileStatus) -> Option<FileStatus> {
        let ran =
            matches!(before.state, PipelineState::Running | PipelineState::Elsewhere) && !pipeline::is_resource(path);
        if !ran || !self.shared.renames.has_lost(&before.pipeline) {
            return Some(before).filter(|before| before.state == PipelineState::Removed);
        }
        let now = self.shared.options.clock.now();
        let advice = advice_of_lost(&before.pipeline, &self.shared.options.state_flags());
        let problem = format!("its file has been gone since {now:.0}; {advice}");
        warn!(pipeline = before.pipeline, "{problem}");
        Some(FileStatus::removed(before.pipeline, problem))
    }
}

/// Logs the warnings that `check` would give for these files. Beyond `MAX_LOGGED_FILES`, only their number is
/// logged.
fn log_warnings<'a>(files: &Files, pipelines: impl Iterator<Item = &'a Arc<Pipeline>>) {
    let mut left = MAX_LOGGED_FILES;
    let mut more = 0;
    for report in pipelines.filter_map(|pipeline| files.report(&pipeline.path)) {
        let warnings: Vec<Problem> = report.problems.iter().filter(|problem| !problem.is_error()).cloned().collect();
        match (warnings.is_empty(), left) {
            (true, _) => {}
            (false, 0) => more += 1,
            (false, _) => {
                left -= 1;
                log_problems(&warnings);
            }
        }
    }
    if more > 0 {
        warn!(more, "more files have warnings: `check` and the status page name them");
    }
}

fn log_problems(problems: &[Problem]) {
    for problem in problems {
        if problem.is_error() {
            error!(file = %problem.file.display(), "{problem}");
        } else {
            warn!(file = %problem.file.display(), "{problem}");
        }
    }
}
