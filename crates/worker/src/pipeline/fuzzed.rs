//! The entrance of the fuzzing to the reader of pipeline files.

use std::path::Path;
use std::sync::Arc;

use super::document;
use super::problem::Problem;

/// Returns the problems of a text as a pipeline file, for the fuzzing.
pub fn fuzzed(text: &str) -> Vec<Problem> {
    let file: Arc<Path> = Path::new("acme.yaml").into();
    let mut problems = Vec::new();
    if let Some(root) = document::tree(text, &file, &mut problems) {
        document::check_defaults(&root.clone(), &mut Vec::new());
        document::pipeline(&root, &file, false, &mut problems);
    }
    problems
}
