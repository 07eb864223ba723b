//! A generated record, and helpers to build its body.

use serde_json::Value;

use crate::kind::Kind;
use crate::random::Random;
use crate::time;

/// A record to insert, with values that its body does not contain.
#[derive(Debug, Clone)]
pub(crate) struct NewRecord {
    pub kind: Kind,
    pub body: Value,
    pub account: u64,
    pub site: u64,
    pub group: u64,
    pub hidden: bool,
    /// The time of the last change, if the body does not contain it.
    pub updated: Option<i64>,
}

impl NewRecord {
    pub(super) fn new(kind: Kind, body: Value, account: u64, group: u64) -> Self {
        Self { kind, body, account, site: 0, group, hidden: false, updated: None }
    }

    /// Writes a text of at least `bytes` bytes at this path.
    pub(super) fn with_long_text(mut self, path: &str, bytes: usize) -> Self {
        let argument = "--include \"C:\\\\Program Files\\\\Vendor\\\\module.dll\" ";
        *place(&mut self.body, path) = Value::from(argument.repeat(bytes / argument.len() + 1));
        self
    }
}

/// Writes the time of the last change into the body.
pub(crate) fn set_time(kind: Kind, record: &mut Value, at: i64) {
    let places = &kind.description().places;
    if let Some(path) = places.updated {
        *place(record, path) = Value::from(if places.in_millis { time::print_millis(at) } else { time::print(at) });
    }
}

/// Returns the value at a dotted path.
fn place<'a>(record: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(record, |value, key| &mut value[key])
}

/// Returns a text with this probability, else "" or null: consoles send both for missing values.
pub(super) fn text_empty_or_null(random: &mut Random, probability: f64, text: impl FnOnce() -> String) -> Value {
    if random.chance(probability) {
        Value::from(text())
    } else if random.chance(0.5) {
        Value::from("")
    } else {
        Value::Null
    }
}

/// Returns a text with this probability, else null.
pub(super) fn text_or_null(random: &mut Random, probability: f64, text: impl FnOnce() -> String) -> Value {
    if random.chance(probability) { Value::from(text()) } else { Value::Null }
}
