use std::collections::BTreeMap;

/// The labels of an event, by name.
pub type Labels = BTreeMap<String, String>;
