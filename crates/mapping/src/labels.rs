//! Labels whose values come from the record: the account, the site or the group that it belongs to.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use s1_forwarder_record::{Level, Scope, Stream, Value};

use crate::placeholders::{TextPart, text_parts};
use crate::streams::unread::{OwnerField, owner};

/// The labels of an event, by name.
pub type Labels = BTreeMap<String, String>;

/// The value of a label for a record that does not name the field.
pub const UNKNOWN: &str = "unknown";
/// The value of labels from the console when a lane has too many different ones.
pub const OTHER: &str = "other";
/// Most different sets of labels of a lane, until the process ends. Each may be a topic or an index: a console must
/// not make any number of them.
const MAX_SETS: usize = 1_000;
/// Longest value of a field, in bytes.
const MAX_VALUE: usize = 64;

/// Makes the labels of each record of one lane.
#[derive(Debug)]
pub struct Labeler {
    stream: Stream,
    fixed: Labels,
    templates: Vec<(String, Template)>,
    sets: Mutex<HashMap<Vec<String>, Arc<Labels>>>,
}

/// A label's value with fields of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Level, OwnerField),
}

/// Names of the labels that have fields of the console in them.
pub fn from_console(labels: &Labels) -> impl Iterator<Item = &String> {
    labels
        .iter()
        .filter(|(_, value)| Template::parse(value).is_ok_and(|template| template.is_some()))
        .map(|(name, _)| name)
}

/// # Errors
/// Why a label cannot have this value.
pub fn check(value: &str) -> Result<(), String> {
    Template::parse(value).map(|_| ())
}

impl Part {
    fn of_field(field: &str) -> Result<Self, String> {
        let level = |word| match word {
            "account" => Some(Level::Account),
            "site" => Some(Level::Site),
            "group" => Some(Level::Group),
            _ => None,
        };
        let found = field.split_once('.').and_then(|(word, kind)| match kind {
            "id" => Some(Self::Field(level(word)?, OwnerField::Id)),
            "name" => Some(Self::Field(level(word)?, OwnerField::Name)),
            _ => None,
        });
        found.ok_or_else(|| {
            format!(
                "`{{{field}}}` is not a field; use {{account.name}}, {{account.id}}, or the same of `site` or `group`"
            )
        })
    }
}

impl Template {
    /// `None` for a value without fields.
    fn parse(text: &str) -> Result<Option<Self>, String> {
        let parts = text_parts(text).map(|part| match part.map_err(|error| error.to_string())? {
            TextPart::Plain(text) => Ok(Part::Text(text.to_owned())),
            TextPart::Placeholder(field) => Part::of_field(field),
        });
        let parts: Vec<Part> = parts.collect::<Result<_, String>>()?;
        let has_fields = parts.iter().any(|part| matches!(part, Part::Field(..)));
        Ok(has_fields.then_some(Self(parts)))
    }

    fn fill(&self, owner: &Owned<'_>) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => Cow::Borrowed(text.as_str()),
            Part::Field(level, field) => owner.text(*level, *field),
        });
        parts.collect()
    }
}

impl Labeler {
    /// `None` if no label has a field of the console.
    pub fn new(labels: &Labels, stream: Stream) -> Option<Self> {
        let mut fixed = Labels::new();
        let mut templates = Vec::new();
        for (name, value) in labels {
            match Template::parse(value) {
                Ok(Some(template)) => templates.push((name.clone(), template)),
                _ => _ = fixed.insert(name.clone(), value.clone()),
            }
        }
        (!templates.is_empty()).then(|| Self { stream, fixed, templates, sets: Mutex::default() })
    }

    /// The labels of a record. `scope` is what the record was requested by, if it does not name its owner itself.
    pub fn label(&self, record: &[u8], scope: Option<&Scope>) -> Arc<Labels> {
        let text = String::from_utf8_lossy(record);
        let owner = Owned { stream: self.stream, record: Value::new(text.trim()), scope };
        let values: Vec<_> = self.templates.iter().map(|(_, template)| template.fill(&owner)).collect();
        let mut sets = self.sets.lock();
        if let Some(labels) = sets.get(&values) {
            return labels.clone();
        }
        if sets.len() < MAX_SETS {
            let labels = Arc::new(self.with(&values));
            sets.insert(values, labels.clone());
            return labels;
        }
        let others = vec![OTHER.to_owned(); self.templates.len()];
        let others_are_new = !sets.contains_key(&others);
        if others_are_new {
            tracing::warn!(
                maximum = MAX_SETS,
                "too many different labels from the console: the next ones become `other`"
            );
        }
        sets.entry(others).or_insert_with_key(|others| Arc::new(self.with(others))).clone()
    }

    fn with(&self, values: &[String]) -> Labels {
        let mut labels = self.fixed.clone();
        labels.extend(self.templates.iter().zip(values).map(|((name, _), value)| (name.clone(), value.clone())));
        labels
    }
}

/// A record whose owner is looked up.
struct Owned<'a> {
    stream: Stream,
    record: Value<'a>,
    scope: Option<&'a Scope>,
}

impl<'a> Owned<'a> {
    /// One line of at most [`MAX_VALUE`] bytes; [`UNKNOWN`] if the record does not say.
    fn text(&self, level: Level, field: OwnerField) -> Cow<'a, str> {
        let text = self.find(level, field).unwrap_or_default();
        let mut text = text.trim().replace(char::is_control, " ");
        text.truncate(text.floor_char_boundary(MAX_VALUE));
        if text.is_empty() { Cow::Borrowed(UNKNOWN) } else { Cow::Owned(text) }
    }

    fn find(&self, level: Level, field: OwnerField) -> Option<Cow<'a, str>> {
        owner(self.stream, self.record, level, field).or_else(|| {
            let scope = self.scope.filter(|scope| scope.level == level)?;
            match field {
                OwnerField::Id => Some(Cow::Borrowed(scope.id.as_str())),
                OwnerField::Name => scope.name.as_deref().map(Cow::Borrowed),
            }
        })
    }
}
