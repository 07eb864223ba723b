//! Keeps what an OCSF event says of its pipeline, in a list that programs may change. Elsewhere it is read-only.

use vrl::path;
use vrl::value::Value;

const LABEL: &str = "pipeline:";

/// The labels with the name of the pipeline.
#[derive(Debug)]
pub struct Provenance(Vec<Value>);

impl Provenance {
    pub fn of(event: &Value) -> Self {
        let labels = event.get(path!("metadata", "labels")).and_then(Value::as_array).into_iter().flatten();
        Self(labels.filter(|label| is_pipeline(label)).cloned().collect())
    }

    /// Puts them back in the first place, instead of all others of that name.
    pub fn restore(self, event: &mut Value) {
        let labels = match event.remove(path!("metadata", "labels"), false) {
            Some(Value::Array(labels)) => labels,
            _ => Vec::new(),
        };
        let others = labels.into_iter().filter(|label| !is_pipeline(label));
        let labels: Vec<Value> = self.0.into_iter().chain(others).collect();
        event.insert(path!("metadata", "labels"), labels);
    }
}

/// Destinations may not care for blanks, or for upper and lower case.
fn is_pipeline(label: &Value) -> bool {
    label.to_str_lossy().is_some_and(|label| label.trim_start().to_lowercase().starts_with(LABEL))
}
