//! Runs the `tests` of a pipeline file.

use std::time::Duration;

use tokio::time::Instant;

use super::report::{Check, Finding, TEST};
use crate::pipeline::{Case, Pipeline};

/// Longest time that all tests of a file may take together. A file of many tests takes a second; programs that run as
/// long as they may take ten times that.
pub(super) const MAX_TIME: Duration = Duration::from_secs(15);

/// Runs the tests until they have taken `longest`. The tests that are left have failed.
pub(super) fn run(pipeline: &Pipeline, longest: Duration) -> Vec<Finding> {
    let started_at = Instant::now();
    let finding = |case: &Case| {
        let subject = format!("{TEST}{}", case.name);
        if started_at.elapsed() >= longest {
            let reason = format!(
                "not run: the tests before it took the {} s that all tests of a file have; make the programs faster, or \
                 divide the tests among files",
                longest.as_secs()
            );
            return Finding::new(&subject, Check::Failed, reason);
        }
        match pipeline.run_test(case) {
            Ok(()) => Finding::new(&subject, Check::Verified, ""),
            Err(difference) => Finding::new(&subject, Check::Failed, difference),
        }
    };
    pipeline.tests.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_left_when_the_time_is_over_have_failed() {
        let file = "console: { url: https://usea1-acme.sentinelone.net, token: t }\nstreams: { activities: {} }\n\
                    sinks: [{ type: stdout }]\n\
                    tests: [{ name: one, stream: activities, record: { id: '1' }, absent: [nobody] }]\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme.yaml");
        std::fs::write(&path, file).unwrap();
        let loaded = crate::pipeline::load(&[path], &crate::pipeline::FileOptions::default());
        let result = |longest| run(&loaded.pipelines[0], longest)[0].clone();
        assert_eq!(result(MAX_TIME).check, Check::Verified);
        let left = result(Duration::ZERO);
        assert!(left.check == Check::Failed && left.detail.contains("not run"), "{left:?}");
    }
}
