//! Reads settings from a tree, and finds all problems.
//!
//! The settings types define what they accept, with serde. This deserializer adds the places of errors. It reports
//! unknown keys and continues. A refused value is marked, and the tree is read again without it. This repeats until no
//! value is refused. So the reported problems always agree with what the program accepts.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use s1_forwarder_settings::{Secret, Secrets};
use serde::Deserialize;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::forms::may_be_list;
use super::problem::{LITERAL_SECRET, MAX_PROBLEMS, Place, Problem, Severity};
use super::yaml::{Entry, Node, Value, join};

/// Reads `node`, the value of `key`, as a `T`. `None` if it has an error.
pub(super) fn read<'de, T: Deserialize<'de>>(node: &'de Node, key: &str, problems: &mut Vec<Problem>) -> Option<T> {
    read_with(node, key, &[], Vec::new, problems, |reader| T::deserialize(reader))
}

/// Reads as [`read`] does, with a given function. `also_known` are keys that are valid but read elsewhere. `required`
/// are the keys that must not be missing: serde reports only the first of them.
pub(super) fn read_with<'de, T>(
    node: &'de Node,
    key: &str,
    also_known: &[&str],
    required: impl FnOnce() -> Vec<String>,
    problems: &mut Vec<Problem>,
    mut deserialize: impl FnMut(Reader<'de, '_>) -> Result<T, Error>,
) -> Option<T> {
    let found = RefCell::new(Vec::new());
    let value = loop {
        let reader = Reader { node, key, also_known, found: &found };
        match reader.attempt(&mut deserialize) {
            Ok(value) => break Some(value),
            // The value was reported and marked. It is skipped in the next attempt.
            Err(_) if node.refused.get() || found.borrow().len() >= MAX_PROBLEMS => break None,
            Err(_) => {}
        }
    };
    if value.is_none() {
        let reader = Reader { node, key, also_known, found: &found };
        required().iter().filter(|required| !reader.has(required)).for_each(|required| reader.report_missing(required));
    }
    let mut found = found.into_inner();
    let failed = found.iter().any(Problem::is_error);
    problems.append(&mut found);
    if failed { None } else { value }
}

/// Returns the keys that a struct accepts, from its derived implementation.
pub(super) fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    struct Ask<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("only structs have keys"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut keys: &'static [&'static str] = &[];
    let _ = T::deserialize(Ask(&mut keys));
    keys
}

/// A longer word is no misspelt key. The time to compare two words grows with both lengths.
const MAX_MISSPELT: usize = 64;

/// Returns the known word that was probably intended.
pub fn likely<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_MISSPELT {
        return None;
    }
    // Keys have underscores; names of pipelines and sinks may have hyphens.
    let lower = word.to_lowercase();
    let as_key = lower.replace('-', "_");
    let known: Vec<&str> = known.into_iter().collect();
    // `splunk` for `splunk_hec`.
    let begins = |candidate: &str| candidate.starts_with(&lower) || candidate.starts_with(&as_key);
    let mut longer = known.iter().filter(|candidate| lower.len() > 3 && begins(candidate));
    if let (Some(candidate), None) = (longer.next(), longer.next()) {
        return Some(candidate);
    }
    let distance = |candidate: &str| {
        let [one, other] = [&lower, &as_key].map(|word| strsim::damerau_levenshtein(word, candidate));
        one.min(other)
    };
    let scored = known.into_iter().map(|candidate| (distance(candidate), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    // Few miss the first letter and another one: `events` does not mean `agents`.
    let begins_alike = distance < 2 || candidate.chars().next() == lower.chars().next();
    let close = distance <= 2.max(candidate.len() / 3) && distance < candidate.len() && begins_alike;
    close.then_some(candidate)
}

/// Returns the hint for an unknown name: the known name that is probably meant, or a list of known names.
pub fn instead<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 10;
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(candidate) = likely(name, known.iter().copied()) {
        return format!("did you mean `{candidate}`?");
    }
    let more = known.len().saturating_sub(SHOWN);
    match known.get(..SHOWN).unwrap_or(&known) {
        [] => "there are none yet".to_owned(),
        shown if more > 0 => format!("known: {} and {more} more", shown.join(", ")),
        shown => format!("known: {}", shown.join(", ")),
    }
}

fn did_you_mean(key: &str) -> String {
    format!("unknown key; did you mean `{key}`?")
}

pub(super) fn not_one_of(word: &str, known: &[&str]) -> String {
    match likely(word, known.iter().copied()) {
        Some(candidate) => not_this_but(word, known, candidate),
        None => format!("`{word}` is not one of {}", known.join(", ")),
    }
}

pub(super) fn not_this_but(word: &str, known: &[&str], candidate: &str) -> String {
    format!("`{word}` is not one of {}; did you mean `{candidate}`?", known.join(", "))
}

/// Keys of `console` that name what is pulled.
const SCOPES: [&str; 3] = ["accounts", "sites", "groups"];

pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    match likely(key, known.iter().copied()) {
        // Sinks of other types have it.
        _ if key == "content" && known.contains(&"batch") => {
            "unknown key: this type of sink has no SentinelOne integration of its own; leave it out".to_owned()
        }
        // The scope of a file is a part of its console.
        _ if SCOPES.contains(&key) && known.contains(&"console") => {
            format!("unknown key here; it is one of `console`: write `console: {{ {key}: … }}`")
        }
        Some(candidate) => did_you_mean(candidate),
        None if known.is_empty() => "unknown key; there are none here".to_owned(),
        None => format!("unknown key; the keys here are {}", known.join(", ")),
    }
}

/// Why a value was refused.
#[derive(Debug, Default)]
pub(super) struct Error {
    message: String,
    /// The message with the value. It is used if the value cannot be a secret.
    shown: Option<String>,
    missing: Option<&'static str>,
    /// An unknown key that a type reported itself.
    unknown: Option<String>,
    /// Whether the error was reported for an inner value.
    reported: bool,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), ..Self::default() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (kind, value) = match found {
            Unexpected::Bool(value) => ("true or false", Some(value.to_string())),
            Unexpected::Unsigned(number) => ("a number", Some(number.to_string())),
            Unexpected::Signed(number) => ("a number", Some(number.to_string())),
            Unexpected::Float(number) => ("a number", Some(number.to_string())),
            Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => ("a text", None),
            Unexpected::Unit | Unexpected::Option => ("nothing", None),
            Unexpected::Seq => ("a list", None),
            Unexpected::Map | Unexpected::StructVariant => ("a mapping", None),
            _ => ("something else", None),
        };
        let wanted = in_words(&expected.to_string());
        let hint = match found {
            Unexpected::Str(text) if wanted == "true or false" => boolean_of_yaml_1_1(text),
            Unexpected::Str(_) if wanted == "a list" => r#" (write it in brackets, each part in quotes: ["A", "B"])"#,
            _ if wanted == "a text" && value.is_some() => " (put it in quotes)",
            _ => "",
        };
        let message = |found: &str| format!("expected {wanted}, found {found}{hint}");
        let shown = value.filter(|value| value.len() <= MAX_SHOWN).map(|value| message(&value));
        Self { message: message(kind), shown, ..Self::default() }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let message = format!("not one of {}", expected.join(", "));
        Self { message, shown: Some(not_one_of(variant, expected)), ..Self::default() }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self { message: unknown_key(field, expected), unknown: Some(field.to_owned()), ..Self::default() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::default() }
    }
}

/// Returns the hint for a word that was a boolean in YAML 1.1. Empty for other words.
fn boolean_of_yaml_1_1(text: &str) -> &'static str {
    match text.to_lowercase().as_str() {
        "yes" | "on" | "y" => " (in YAML 1.2 this word is a text: write true)",
        "no" | "off" | "n" => " (in YAML 1.2 this word is a text: write false)",
        _ => "",
    }
}

/// Returns serde's name of a type in words for users.
fn in_words(expected: &str) -> String {
    match expected {
        "a string" | "string" | "a borrowed string" | "path string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ if expected.starts_with("a nonzero ") => "a whole number above 0",
        "a map" => "a mapping (`key: value`)",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => {
            "a mapping (`key: value`)"
        }
        _ => expected,
    }
    .to_owned()
}

/// Maximum length of a number in a message. A longer number may be a secret in the wrong place.
const MAX_SHOWN: usize = 9;

/// The value of a key with one of these words must not be shown.
const SECRETIVE: [&str; 7] = ["token", "secret", "password", "credential", "auth", "header", "options"];

fn is_secretive(key: &str) -> bool {
    let key = key.to_lowercase();
    !key.ends_with(".type") && (SECRETIVE.iter().any(|word| key.contains(word)) || key.ends_with("key"))
}

#[derive(Clone, Copy)]
pub(super) struct Reader<'de, 'a> {
    node: &'de Node,
    key: &'a str,
    also_known: &'a [&'a str],
    found: &'a RefCell<Vec<Problem>>,
}

impl<'de> Reader<'de, '_> {
    fn report(&self, place: &Place, key: &str, severity: Severity, message: impl Into<Cow<'static, str>>) {
        self.push(Problem::at(place, key, severity, message));
    }

    fn push(&self, problem: Problem) {
        let mut found = self.found.borrow_mut();
        let alike = found.iter().filter(|other| other.severity == problem.severity).count();
        // Another attempt finds the same problem again.
        if alike < MAX_PROBLEMS && !found.contains(&problem) {
            found.push(problem);
        }
    }

    /// Runs `read` on this node, and reports its error unless an inner value did.
    fn attempt<T>(self, read: impl FnOnce(Self) -> Result<T, Error>) -> Result<T, Error> {
        read(self).map_err(|error| {
            if !error.reported {
                self.refuse(error);
            }
            Error { reported: true, ..Error::default() }
        })
    }

    fn refuse(&self, error: Error) {
        let entry = error.unknown.as_ref().and_then(|key| self.node.entries().iter().find(|entry| entry.key == *key));
        if let Some(entry) = entry {
            entry.node.refused.set(true);
            self.report(&entry.place, &join(self.key, &entry.key), Severity::Error, error.message);
            return;
        }
        self.node.refused.set(true);
        if let Some(key) = error.missing {
            self.report_missing(key);
            return;
        }
        let shown = if is_secretive(self.key) { None } else { error.shown };
        let message = shown.unwrap_or(error.message);
        self.report(&self.node.place, self.key, Severity::Error, message);
    }

    /// Returns whether the value is a header or librdkafka option that is not secret, as most are. Only one with the
    /// name of a secret gets a warning.
    fn is_plain_value(&self) -> bool {
        match self.key.rsplit_once(".headers.").or_else(|| self.key.rsplit_once(".options.")) {
            Some((_, name)) => !is_secretive(name),
            None => false,
        }
    }

    fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some_and(|node| !matches!(node.value, Value::Null))
    }

    /// Does nothing if `key` was refused or misspelt, which is reported already.
    fn report_missing(&self, key: &str) {
        let misspelt = did_you_mean(key);
        let is_reported = self.node.get(key).is_some_and(|node| node.refused.get())
            || self.found.borrow().iter().any(|problem| {
                problem.message == misspelt
                    && self.node.entries().iter().any(|entry| join(self.key, &entry.key) == problem.key)
            });
        if !is_reported {
            let place = self.node.get(key).map_or(&self.node.place, |empty| &empty.place);
            self.push(Problem::missing_key(place, self.key, key));
        }
    }

    fn entries<V: Visitor<'de>>(self, fields: Option<&'static [&'static str]>, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Map(entries) => {
                visitor.visit_map(Entries { reader: self, entries: entries.iter(), fields, current: None })
            }
            Value::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(number) => visitor.visit_u64(*number),
            Value::Negative(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(_) if !may_be_list(self.key) => Err(match (&visitor as &dyn Expected).to_string().as_str() {
                // The words for a value that serde reads again as one of several types.
                "any value" => de::Error::custom("expected one value or a mapping, found a list"),
                _ => de::Error::invalid_type(Unexpected::Seq, &visitor),
            }),
            Value::List(elements) => visitor.visit_seq(Elements { reader: self, elements, next: 0 }),
            Value::Map(_) => self.entries(None, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.entries(Some(fields), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        let secret = [Secret::TYPE_NAME, Secrets::TYPE_NAME].contains(&name);
        let literal = secret && self.node.text().is_some_and(|text| !text.trim().is_empty());
        if literal && !self.is_plain_value() {
            self.report(&self.node.place, self.key, Severity::Warning, LITERAL_SECRET);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Text(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(de::value::MapAccessDeserializer::new(Entries {
                    reader: self,
                    entries: entries.iter(),
                    fields: None,
                    current: None,
                }))
            }
            _ => Err(de::Error::custom(format!("expected one of {}, found {}", variants.join(", "), self.node.kind()))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// Warns of secrets below `node` by their keys alone. serde reads internally tagged types as a whole, so that the types
/// of their values are not seen.
pub(super) fn warn_of_literals(node: &Node, key: &str, problems: &mut Vec<Problem>) {
    for entry in node.entries() {
        let inner = join(key, &entry.key);
        let named = ["password", "secret", "token"].iter().any(|word| entry.key.ends_with(word))
            || (key.ends_with(".headers") && is_secretive(&entry.key));
        if named && entry.node.text().is_some() {
            let warning = Problem::at(&entry.node.place, &inner, Severity::Warning, LITERAL_SECRET);
            if !problems.contains(&warning) {
                problems.push(warning);
            }
        }
        warn_of_literals(&entry.node, &inner, problems);
    }
}

/// The entries of a mapping that were not refused.
struct Entries<'de, 'a> {
    reader: Reader<'de, 'a>,
    entries: std::slice::Iter<'de, Entry>,
    /// The keys of a struct. Other keys are errors, and a key without a value has its default.
    fields: Option<&'static [&'static str]>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        for entry in self.entries.by_ref().filter(|entry| !entry.node.refused.get()) {
            if let Some(fields) = self.fields {
                if !fields.contains(&entry.key.as_str()) {
                    let key = join(self.reader.key, &entry.key);
                    let known = [fields, self.reader.also_known].concat();
                    self.reader.report(&entry.place, &key, Severity::Error, unknown_key(&entry.key, &known));
                    continue;
                }
                if matches!(entry.node.value, Value::Null) {
                    continue;
                }
            }
            self.current = Some(entry);
            return seed.deserialize(de::value::BorrowedStrDeserializer::new(&entry.key)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some(entry) = self.current.take() else { return Err(de::Error::custom("a value without a key")) };
        let key = join(self.reader.key, &entry.key);
        Reader { node: &entry.node, key: &key, also_known: &[], found: self.reader.found }
            .attempt(|reader| seed.deserialize(reader))
    }
}

/// The elements of a list that were not refused.
struct Elements<'de, 'a> {
    reader: Reader<'de, 'a>,
    elements: &'de [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        while let Some(node) = self.elements.get(self.next) {
            let key = format!("{}[{}]", self.reader.key, self.next);
            self.next += 1;
            if !node.refused.get() {
                let reader = Reader { node, key: &key, also_known: &[], found: self.reader.found };
                return reader.attempt(|reader| seed.deserialize(reader)).map(Some);
            }
        }
        Ok(None)
    }
}
