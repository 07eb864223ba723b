//! Labels whose values come from the record: the account, the site or the group that the record belongs to.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use s1_forwarder_record::{Level, Scope, Stream, Value};

use crate::fnv::fnv1a;
use crate::streams::unread::{OwnerField, owner};
use crate::template::{TextPart, text_parts};

/// The labels of an event, by name.
pub type Labels = BTreeMap<String, String>;

/// The value of a label for a record that does not name the field.
pub const UNKNOWN: &str = "unknown";
/// The value of labels from the console if a lane has too many different labels.
pub const OTHER: &str = "other";
/// Maximum number of different sets of labels of a lane, until the process ends. Each set may be a topic or an index,
/// and a console must not create an unlimited number of these.
const MAX_SETS: usize = 1_000;
/// Maximum bytes of the sets that a lane keeps. A pipeline file may have any number of labels.
const MAX_BYTES: usize = 1 << 20;
/// A set may be replaced if the lane has labelled this number of records without using it. If sets were replaced
/// sooner, sets that do not fit together would be made again for each record.
const IDLE_RECORDS: u64 = 10_000;
/// If there was no space for a set, no set is made for this number of records.
const FULL_RECORDS: u64 = 1_000;
/// Longest value of a field, in bytes.
const MAX_VALUE: usize = 64;
/// Longest label with fields of the console, in bytes.
pub const MAX_LABEL: usize = 1 << 10;

/// Makes the labels of each record of one lane.
#[derive(Debug)]
pub struct Labeler {
    stream: Stream,
    fixed: Labels,
    templates: Vec<(String, Template)>,
    /// The fields of a record's owner that the templates name.
    fields: Vec<(Level, OwnerField)>,
    sets: Mutex<Sets>,
}

/// The sets that a lane has made.
#[derive(Debug, Default)]
struct Sets {
    /// All sets that were ever made, since each may be a topic. The key is the texts that were filled in. `None` if the
    /// set was replaced.
    known: HashMap<Box<str>, Option<Set>>,
    others: Option<Arc<Labels>>,
    bytes: usize,
    records: u64,
    /// No set is made before the record with this number.
    full_until: u64,
}

/// The labels of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    pub labels: Arc<Labels>,
    /// Whether the lane has reached its maximum of different labels. These labels have [`OTHER`] in place of the
    /// console's texts.
    pub is_other: bool,
}

#[derive(Debug)]
struct Set {
    labels: Arc<Labels>,
    bytes: usize,
    /// The number of the last record with this set.
    used: u64,
}

/// A label's value with fields of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Level, OwnerField),
}

/// Returns the names of the labels that contain fields of the console.
pub fn from_console(labels: &Labels) -> impl Iterator<Item = &String> {
    labels
        .iter()
        .filter(|(_, value)| Template::parse(value).is_ok_and(|template| template.is_some()))
        .map(|(name, _)| name)
}

/// Checks the value of a label.
///
/// # Errors
/// If a label cannot have this value, with the reason.
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
    /// Parses a label's value. Returns `None` for a value without fields.
    fn parse(text: &str) -> Result<Option<Self>, String> {
        let parts = text_parts(text).map(|part| match part.map_err(|error| error.to_string())? {
            TextPart::Plain(text) => Ok(Part::Text(text.to_owned())),
            TextPart::Placeholder(field) => Part::of_field(field),
        });
        let parts: Vec<Part> = parts.collect::<Result<_, String>>()?;
        let has_fields = parts.iter().any(|part| matches!(part, Part::Field(..)));
        Ok(has_fields.then_some(Self(parts)))
    }

    /// Returns the label. `value` returns the text of a field.
    fn fill<'a>(&'a self, value: impl Fn(Level, OwnerField) -> &'a str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Field(level, field) => value(*level, *field),
        });
        let label: String = parts.collect();
        if label.len() <= MAX_LABEL {
            return label;
        }
        // The hash keeps different labels different.
        let hash = format!("{:08x}", fnv1a(label.as_bytes()) as u32);
        let kept = label.floor_char_boundary(MAX_LABEL - hash.len());
        label[..kept].to_owned() + &hash
    }
}

impl Labeler {
    /// Returns a labeler; `None` if no label has a field of the console.
    pub fn new(labels: &Labels, stream: Stream) -> Option<Self> {
        let mut fixed = Labels::new();
        let mut templates = Vec::new();
        for (name, value) in labels {
            match Template::parse(value) {
                Ok(Some(template)) => templates.push((name.clone(), template)),
                _ => _ = fixed.insert(name.clone(), value.clone()),
            }
        }
        let mut fields = Vec::new();
        for part in templates.iter().flat_map(|(_, template): &(_, Template)| &template.0) {
            match part {
                Part::Field(level, field) if !fields.contains(&(*level, *field)) => fields.push((*level, *field)),
                _ => {}
            }
        }
        (!templates.is_empty()).then(|| Self { stream, fixed, templates, fields, sets: Mutex::default() })
    }

    /// Returns the labels of a record. `scope` is the scope of the record's request, for a record that does not name
    /// its owner.
    pub fn label(&self, record: &[u8], scope: Option<&Scope>) -> Labelled {
        let text = String::from_utf8_lossy(record);
        let owner = Owned { stream: self.stream, record: Value::new(text.trim()), scope };
        // No value has a line break.
        let values: Vec<_> = self.fields.iter().map(|(level, field)| owner.text(*level, *field)).collect();
        let key = values.join("\n");
        let mut sets = self.sets.lock();
        sets.records += 1;
        if let Some(labels) = sets.kept(&key) {
            return Labelled { labels, is_other: false };
        }
        let may_make = sets.known.len() < MAX_SETS || sets.known.contains_key(&*key);
        if may_make && sets.records >= sets.full_until {
            let labels = Arc::new(self.with(|field| values.get(field).map_or(UNKNOWN, |value| value)));
            if sets.keep(key.into(), &labels) {
                return Labelled { labels, is_other: false };
            }
        }
        let labels = sets.others.get_or_insert_with(|| Arc::new(self.with(|_| OTHER))).clone();
        Labelled { labels, is_other: true }
    }

    /// Returns the labels with these texts in place of [`Self::fields`].
    fn with<'a>(&'a self, value: impl Fn(usize) -> &'a str) -> Labels {
        let value = |level, field| {
            let index = self.fields.iter().position(|known| *known == (level, field));
            index.map_or(UNKNOWN, &value)
        };
        let mut labels = self.fixed.clone();
        labels.extend(self.templates.iter().map(|(name, template)| (name.clone(), template.fill(value))));
        labels
    }
}

impl Sets {
    /// Returns the labels under a key, and notes that they were used.
    fn kept(&mut self, key: &str) -> Option<Arc<Labels>> {
        let set = self.known.get_mut(key)?.as_mut()?;
        set.used = self.records;
        Some(set.labels.clone())
    }

    /// Keeps a set if there is space, or if idle sets can be replaced. Returns whether the set is kept.
    fn keep(&mut self, key: Box<str>, labels: &Arc<Labels>) -> bool {
        let bytes = bytes_of(labels);
        if self.bytes + bytes > MAX_BYTES {
            self.free(bytes);
        }
        // A set larger than the limit is kept if it is the only one.
        if self.bytes + bytes > MAX_BYTES && self.bytes > 0 {
            self.full_until = self.records + FULL_RECORDS;
            return false;
        }
        self.bytes += bytes;
        self.known.insert(key, Some(Set { labels: labels.clone(), bytes, used: self.records }));
        true
    }

    /// Removes idle sets until this number of bytes fits. The least recently used set is the first.
    fn free(&mut self, bytes: usize) {
        let is_idle = |set: &Set| self.records - set.used > IDLE_RECORDS;
        let sets = self.known.values_mut().filter(|set| set.as_ref().is_some_and(is_idle));
        let mut idle: Vec<_> = sets.collect();
        idle.sort_unstable_by_key(|set| set.as_ref().map(|set| set.used));
        for set in idle {
            if self.bytes + bytes <= MAX_BYTES {
                break;
            }
            self.bytes -= set.take().map_or(0, |set| set.bytes);
        }
    }
}

/// Estimates the bytes of labels in memory.
fn bytes_of(labels: &Labels) -> usize {
    const ENTRY: usize = 2 * size_of::<String>() + 32;
    labels.iter().map(|(name, value)| name.len() + value.len() + ENTRY).sum::<usize>() + 2 * MAX_VALUE
}

/// A record whose owner is looked up.
struct Owned<'a> {
    stream: Stream,
    record: Value<'a>,
    scope: Option<&'a Scope>,
}

impl<'a> Owned<'a> {
    /// Returns a field's value in one line of at most [`MAX_VALUE`] bytes; [`UNKNOWN`] if the record does not name it.
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
