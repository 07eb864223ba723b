//! Reads other YAML files of the operator by the rules of pipeline files.

use std::path::Path;
use std::sync::Arc;

use s1_forwarder_settings::{not_text, read_file};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::read::read;
use super::yaml::{self, MAX_BYTES};

/// Reads another YAML file of the operator, with the limits and the error messages of pipeline files. The second value
/// are the bytes of the file.
///
/// # Errors
/// If the file has problems, with all of them.
pub fn read_settings<T: DeserializeOwned>(path: &Path) -> Result<(T, Vec<u8>), Vec<Problem>> {
    let file: Arc<Path> = path.into();
    let failed = |message: String| vec![Problem::file(&file, message)];
    let bytes = read_file(path, MAX_BYTES).map_err(|error| failed(error.to_string()))?;
    if let Some(problem) = not_text(&bytes) {
        return Err(failed(problem));
    }
    let (root, mut problems) = yaml::parse(&String::from_utf8_lossy(&bytes), &file);
    let settings = match &root {
        Some(root) => read(root, "", &mut problems),
        None if problems.is_empty() => return Err(failed("the file is empty".to_owned())),
        None => None,
    };
    match settings {
        Some(settings) if !problems.iter().any(Problem::is_error) => Ok((settings, bytes)),
        _ => Err(problems),
    }
}
