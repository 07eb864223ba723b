//! Reports pipeline files on the status page and in metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use s1_forwarder_telemetry::{FileStatus, PipelineState};
use tracing::warn;

use super::Supervisor;
use crate::pipeline::{self, Changes, Files, Problem};
use crate::renames::advice_of_lost;

impl Supervisor {
    /// `others` are the problems of what is no pipeline file. A directory that cannot be read changes no file, and
    /// makes the files as a whole invalid.
    pub(super) fn publish_reload(&mut self, changes: &Changes, others: &BTreeMap<PathBuf, Vec<Problem>>) {
        let has_changed = !changes.affected.is_empty();
        if has_changed {
            self.has_invalid_files = self.files.as_ref().is_some_and(Files::has_invalid_files);
        }
        let is_valid = !self.has_invalid_files && !others.values().flatten().any(Problem::is_error);
        self.shared.telemetry.process().set_reloaded(is_valid, has_changed.then(|| self.shared.options.clock.now()));
    }

    /// Updates the status page and the metric `pipelines` for these files only: with thousands of files, an update of
    /// all for each change would be slow.
    pub(super) fn publish_file_status(&self, paths: &BTreeSet<PathBuf>) {
        let telemetry = &self.shared.telemetry;
        let Some(files) = &self.files else { return };
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
            let state = match running {
                Some(pipeline) if !pipeline.enabled => PipelineState::Paused,
                Some(pipeline) if self.pipelines.contains_key(&pipeline.name) => PipelineState::Running,
                Some(_) => PipelineState::Elsewhere,
                None => PipelineState::NotStarted,
            };
            let shard =
                self.cluster.as_ref().zip(running).map(|(cluster, pipeline)| cluster.shard_of(&pipeline.console));
            let pipeline = running.or(report.pipeline.as_ref());
            let pipeline = pipeline.map_or_else(|| pipeline::stem(path), |pipeline| pipeline.name.clone());
            let problem = (!errors.is_empty()).then(|| errors.join("\n"));
            let generation = report.generation;
            telemetry.set_file(path, FileStatus { pipeline, state, shard, problem, warnings, generation });
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
