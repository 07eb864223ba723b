//! Runs the `tests` of a pipeline file.

use super::report::{Check, Finding, TEST};
use crate::pipeline::{Case, Pipeline};

pub(super) fn run(pipeline: &Pipeline) -> Vec<Finding> {
    let finding = |case: &Case| {
        let subject = format!("{TEST}{}", case.name);
        match case.run(pipeline) {
            Ok(()) => Finding::new(&subject, Check::Verified, ""),
            Err(difference) => Finding::new(&subject, Check::Failed, difference),
        }
    };
    pipeline.tests.iter().map(finding).collect()
}
