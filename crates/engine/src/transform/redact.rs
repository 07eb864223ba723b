//! Redacts values of an event and of the record in it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use s1_forwarder_mapping::{OVERFLOW, REDACTED, Schema, UNEXPECTED};
use s1_forwarder_record::repair;
use s1_forwarder_settings::Secret;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::redaction::{Redaction, With};
use super::schema_paths::{IDENTITIES, ORIGINALS};
use super::tree::Tree;
use super::words::Words;

/// Shortest key of hashes: with a shorter one, values could be guessed.
const MIN_KEY: usize = 16;

/// Key of hashes in `tests:` of a pipeline file, so that tests need no secret.
const KEY_OF_TESTS: &str = "the key of tests in pipeline files";

/// Source of the keys of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedactionKeys {
    /// The settings.
    Configured,
    /// A constant: hashes are as long and as equal as with the configured ones.
    OfTests,
}

/// The redactions of a pipeline, with their keys.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    path: String,
    action: Action,
    everywhere: bool,
    /// Whether some event had the path.
    matched: AtomicBool,
}

#[derive(Debug)]
enum Action {
    Remove,
    Replace,
    Hash(SecretString),
}

impl Redactor {
    /// Compiles the redactions, and reads their keys.
    ///
    /// # Errors
    /// If an entry cannot be used, with its index and the reason.
    pub fn new(redactions: &[Redaction], keys: RedactionKeys) -> Result<Self, (usize, String)> {
        let rule = |redaction: &Redaction| {
            check(redaction)?;
            let action = match (redaction.with, &redaction.key) {
                (With::Remove, _) => Action::Remove,
                (With::Replace, _) => Action::Replace,
                (With::Hash, key) => {
                    let key = key.as_ref().ok_or("`with: hash` needs a `key`")?;
                    Action::Hash(match keys {
                        RedactionKeys::Configured => read_key(key)?,
                        RedactionKeys::OfTests => KEY_OF_TESTS.into(),
                    })
                }
            };
            let path = redaction.path.clone();
            let everywhere = redaction.everywhere;
            Ok::<_, String>(Rule { path, action, everywhere, matched: AtomicBool::new(false) })
        };
        let rules =
            redactions.iter().enumerate().map(|(index, redaction)| rule(redaction).map_err(|problem| (index, problem)));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the paths that no event has had so far.
    pub fn unmatched(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter(|rule| !rule.matched.load(Ordering::Relaxed)).map(|rule| rule.path.as_str())
    }

    /// Returns the replacements at the paths of an event that was redacted before, and of its record.
    pub fn replacements<T: Tree>(&self, event: &mut T, schema: Schema) -> HashSet<String> {
        let mut found = HashSet::new();
        let mut records = originals(event);
        texts(event, schema, &mut open_text);
        let trees = records.iter_mut().flatten().map(|record| (record, None));
        for (tree, schema) in trees.chain([(event, Some(schema))]) {
            for rule in &self.rules {
                at_all(tree, &rule.path, schema, &mut |parent: &mut T, key: &str| {
                    leaves(parent.member(key), &mut |text| {
                        if text == REDACTED || is_hash(text) {
                            found.insert(text.to_owned());
                        }
                        None
                    });
                });
            }
        }
        found
    }

    /// Redacts an event, and the record that it keeps as a text. Texts that are `known` as replacements stay.
    pub fn event<T: Tree>(&self, event: &mut T, schema: Schema, known: &HashSet<String>) {
        if self.is_empty() {
            return;
        }
        let mut records = originals(event);
        texts(event, schema, &mut open_text);
        let mut words = Words::default();
        self.find_words(event, Some(schema), known, &mut words);
        records.iter_mut().flatten().for_each(|record| self.find_words(record, None, known, &mut words));
        words.index();
        if !words.is_empty() {
            keep_identities(event, |event| words.replace_in(event));
            records.iter_mut().flatten().for_each(|record| words.replace_in(record));
        }
        // Nothing has changed the places since the records were read.
        let mut records = records.into_iter();
        for path in ORIGINALS {
            at(event, path, &mut |parent: &mut T, key: &str| {
                let Some(original) = parent.member(key) else { return };
                *original = T::of_text(match records.next().flatten() {
                    Some(mut record) => {
                        self.tree(&mut record, None, known, &words);
                        rename_in_record(&mut record, &words);
                        record.to_json()
                    }
                    // It is not known which part of a text is at a path.
                    None => REDACTED.to_owned(),
                });
            });
        }
        self.tree(event, Some(schema), known, &words);
        // This is last: it changes names, and paths consist of names.
        texts(event, schema, &mut |parent: &mut T, key: &str| {
            if let Some(text) = parent.member(key).filter(|text| text.is_object()) {
                if !words.is_empty() {
                    words.rename_in(text);
                }
                *text = T::of_text(text.to_json());
            }
        });
        match vendor_member(schema) {
            Some(vendor) => event.member(vendor).into_iter().for_each(|vendor| rename_in_record(vendor, &words)),
            None => rename_in_record(event, &words),
        }
    }

    /// Redacts an event or a record. `schema` is the event's schema, and `None` for a record.
    fn tree<T: Tree>(&self, tree: &mut T, schema: Option<Schema>, known: &HashSet<String>, words: &Words) {
        // Two paths may lead to one place.
        let mut replacements = HashSet::new();
        for rule in &self.rules {
            at_all(tree, &rule.path, schema, &mut |parent: &mut T, key: &str| {
                rule.matched.store(true, Ordering::Relaxed);
                if matches!(rule.action, Action::Remove) {
                    return parent.remove_member(key);
                }
                leaves(parent.member(key), &mut |text| {
                    // A value that was replaced everywhere has been replaced here too.
                    if words.has_replacement(text) || replacements.contains(text) || known.contains(text) {
                        return None;
                    }
                    let replacement = rule.action.replacement(text);
                    replacements.insert(replacement.clone());
                    Some(replacement)
                });
            });
        }
    }

    /// Adds the values that the rules with `everywhere` find in an event or a record; see [`Self::tree`].
    fn find_words<T: Tree>(&self, tree: &mut T, schema: Option<Schema>, known: &HashSet<String>, words: &mut Words) {
        for rule in self.rules.iter().filter(|rule| rule.everywhere) {
            at_all(tree, &rule.path, schema, &mut |parent: &mut T, key: &str| {
                leaves(parent.member(key), &mut |text| {
                    if !known.contains(text) {
                        names_in(text).for_each(|name| words.add(name, &rule.action.replacement(name)));
                    }
                    None
                });
            });
        }
    }
}

/// Returns a text, and the names in it: a user may also be named without the domain.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let without_domain = text.rsplit_once('\\').map(|(_, name)| name);
    let without_host = without_domain.unwrap_or(text).split_once('@').map(|(name, _)| name);
    [Some(text), without_domain, without_host].into_iter().flatten()
}

/// Returns the member of an event whose keys come from the record, and not only from the schema.
fn vendor_member(schema: Schema) -> Option<&'static str> {
    match schema {
        Schema::Ecs => Some("sentinel_one"),
        Schema::Ocsf => Some("unmapped"),
        Schema::Raw => None,
    }
}

/// Replaces words in the names that a record may have made of a value. The console gives the names at the top: they
/// stay, even if a user has such a name.
fn rename_in_record<T: Tree>(record: &mut T, words: &Words) {
    if !words.is_empty() {
        record.for_each_member(&mut |member| words.rename_in(member));
    }
}

impl Action {
    fn replacement(&self, text: &str) -> String {
        match self {
            Self::Remove | Self::Replace => REDACTED.to_owned(),
            Self::Hash(key) => hash(key, text),
        }
    }
}

fn read_key(key: &Secret) -> Result<SecretString, String> {
    let key = key.read_document().map_err(|error| error.to_string())?;
    if key.expose_secret().len() < MIN_KEY {
        return Err(format!("the key has fewer than {MIN_KEY} bytes"));
    }
    Ok(key)
}

/// Returns the records that an event keeps as texts; `None` for a text that is not a record.
fn originals<T: Tree>(event: &mut T) -> Vec<Option<T>> {
    let mut records = Vec::new();
    for path in ORIGINALS {
        at(event, path, &mut |parent: &mut T, key: &str| {
            let text = parent.member(key).map(|original| original.to_text()).unwrap_or_default();
            // The search reads the record as it was mapped: repaired if necessary.
            let record = T::parse(&text).or_else(|| T::parse(&repair(text.as_bytes())?));
            records.push(record.filter(T::is_object));
        });
    }
    records
}

/// Calls `change`, and then restores the identity of the event.
fn keep_identities<T: Tree>(event: &mut T, change: impl FnOnce(&mut T)) {
    let mut identities = Vec::new();
    for path in IDENTITIES {
        at(event, path, &mut |parent: &mut T, key: &str| {
            identities.extend(parent.member(key).map(|identity| (path, identity.to_text())));
        });
    }
    change(event);
    for (path, identity) in identities {
        at(event, path, &mut |parent: &mut T, key: &str| {
            if let Some(value) = parent.member(key) {
                *value = T::of_text(identity.clone());
            }
        });
    }
}

/// Checks a redaction without reading its key.
///
/// # Errors
/// If this is not a redaction, with the reason.
pub(super) fn check(redaction: &Redaction) -> Result<(), String> {
    let Redaction { path, with, key, everywhere } = redaction;
    check_path(path)?;
    match (with, key) {
        (With::Remove, _) if *everywhere => {
            Err("`everywhere` needs `with: hash` or `with: replace`: a text cannot lose a word".to_owned())
        }
        (With::Hash, Some(Secret::Literal(key))) if key.len() < MIN_KEY => {
            Err(format!("the key has fewer than {MIN_KEY} bytes"))
        }
        (With::Hash, None) => Err("`with: hash` needs a `key`".to_owned()),
        (With::Remove | With::Replace, Some(_)) => Err("a `key` is for `with: hash`".to_owned()),
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.starts_with('$') {
        let plain = from_json_path(path).ok_or_else(|| format!("`{path}` is not a path, such as `user.name`"))?;
        check_path(&plain)?;
        return Err(format!("a path has no `$` at its beginning: write `{plain}`"));
    }
    if let Some(path) = path.strip_prefix('.') {
        return Err(format!("a path has no dot at its beginning: write `{path}`"));
    }
    if path.split('.').any(str::is_empty) || path.contains(['*', '[', ']']) {
        return Err(format!("`{path}` is not a path, such as `user.name`; a path passes through lists by itself"));
    }
    if let Some(index) = path.split('.').find(|key| key.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("`{path}` has an index: leave out `{index}`, a path passes through lists by itself"));
    }
    if path == "@timestamp" {
        return Err("destinations need the time of an event: it cannot be redacted".to_owned());
    }
    if IDENTITIES.iter().any(|identity| path == *identity || identity.starts_with(&format!("{path}."))) {
        return Err(format!("`{path}` has the identity of an event, which never changes"));
    }
    Ok(())
}

/// Returns `user.name` for `$.user.name` and `$['user'][*].name`. A path passes through lists by itself, and a path to
/// an object leads to all its members. Returns `None` if no path says the same, as for `$..name`.
fn from_json_path(path: &str) -> Option<String> {
    let path = path.trim_start_matches('$');
    let steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']').trim_matches(['\'', '"']));
    let is_name = |step: &&str| !step.bytes().all(|byte| byte.is_ascii_digit()) && *step != "*";
    let names: Vec<_> = steps.filter(is_name).collect();
    let is_plain = !path.contains("..") && !path.contains("[?");
    (is_plain && !names.is_empty()).then(|| names.join("."))
}

/// Returns the entries that contradict an earlier entry for the same path, each with its problem.
pub(super) fn contradictions(redactions: &[Redaction]) -> impl Iterator<Item = (usize, String)> {
    let mut firsts: HashMap<&str, usize> = HashMap::new();
    redactions.iter().enumerate().filter_map(move |(index, redaction)| {
        let first = *firsts.entry(&redaction.path).or_insert(index);
        let differs = redactions.get(first).is_some_and(|first| first != redaction);
        differs.then(|| (index, format!("redact[{first}] has `{}` too: keep one of the two", redaction.path)))
    })
}

/// Visits the places that [`at`] visits. In an event, it also visits the record's values under the record's own names,
/// and the places where OCSF lists the value once more.
fn at_all<T: Tree>(tree: &mut T, path: &str, schema: Option<Schema>, visit: &mut dyn FnMut(&mut T, &str)) {
    let mut is_visited = false;
    if schema == Some(Schema::Ocsf) {
        visit_observables(tree, path, visit);
        if let Some(record) = tree.member("unmapped") {
            let inner = path.strip_prefix("unmapped.");
            at_copies(record, inner.unwrap_or(path), visit);
            at_overflow_of(record, inner.unwrap_or(path), visit);
            is_visited = inner.is_some();
        }
    } else if schema == Some(Schema::Ecs)
        && let Some(own) = tree.member("sentinel_one")
    {
        let own_path = path.strip_prefix("sentinel_one.");
        // The identity is next to the record.
        for stream in own.keys(&|_| true) {
            let Some(record) = own.member(&stream).filter(|record| record.is_object()) else { continue };
            let inner = own_path.and_then(|path| path.strip_prefix(stream.as_str())?.strip_prefix('.'));
            at_copies(record, inner.unwrap_or(path), visit);
            if let Some(values) = record.member(UNEXPECTED).filter(|values| values.is_object()) {
                at_copies(values, inner.unwrap_or(path), visit);
            }
            at_overflow_of(record, inner.unwrap_or(path), visit);
            is_visited |= inner.is_some();
        }
    }
    if !is_visited {
        at(tree, path, visit);
    }
}

/// Visits the places that [`at_copies`] visits, in the values beyond the bounds of a record.
fn at_overflow_of<T: Tree>(record: &mut T, path: &str, visit: &mut dyn FnMut(&mut T, &str)) {
    if let Some(values) = record.member(OVERFLOW).filter(|values| values.is_object()) {
        at_overflow(values, path, visit);
    }
}

/// Visits the places that [`at_copies`] visits. A text there may be an object or a list that had too many levels: the
/// redactor cannot follow a path in it.
fn at_overflow<T: Tree>(tree: &mut T, path: &str, visit: &mut dyn FnMut(&mut T, &str)) {
    if let Some(elements) = tree.elements() {
        elements.iter_mut().for_each(|element| at_overflow(element, path, visit));
        return;
    }
    for (dot, _) in path.match_indices('.') {
        for key in tree.keys(&|key| is_copy_of(key, &path[..dot])) {
            let Some(inner) = tree.member(&key) else { continue };
            if has_json_text(inner) {
                visit(tree, &key);
            } else {
                at_overflow(inner, &path[dot + 1..], visit);
            }
        }
    }
    for key in tree.keys(&|key| is_copy_of(key, path)) {
        visit(tree, &key);
    }
}

/// Returns whether `tree` is the text of an object or a list, or a list with such a text.
fn has_json_text<T: Tree>(tree: &mut T) -> bool {
    let is_json_text = tree.is_text() && tree.to_text().starts_with(['{', '[']);
    is_json_text || tree.elements().is_some_and(|elements| elements.iter_mut().any(has_json_text))
}

/// Calls `visit` with each text of an event that is JSON with values that are not in their places.
fn texts<T: Tree>(event: &mut T, schema: Schema, visit: &mut dyn FnMut(&mut T, &str)) {
    let Some(own) = vendor_member(schema).and_then(|name| event.member(name)) else { return };
    if schema == Schema::Ecs {
        own.for_each_member(&mut |record| [UNEXPECTED, OVERFLOW].into_iter().for_each(|name| visit(record, name)));
    } else {
        visit(own, OVERFLOW);
    }
}

/// Turns a text that [`texts`] visits into an object, so that each rule finds its path in it.
fn open_text<T: Tree>(parent: &mut T, key: &str) {
    let Some(member) = parent.member(key).filter(|member| member.is_text()) else { return };
    let text = member.to_text();
    // A text that begins otherwise is a program's.
    if text.starts_with('{') {
        *member = T::parse(&text).filter(T::is_object).unwrap_or_else(|| T::of_text(REDACTED.to_owned()));
    }
}

fn visit_observables<T: Tree>(event: &mut T, path: &str, visit: &mut dyn FnMut(&mut T, &str)) {
    let observables = event.member("observables").and_then(T::elements);
    for observable in observables.into_iter().flatten() {
        let name = observable.member("name").map(|name| name.to_text().replace("[]", "")).unwrap_or_default();
        let inner = name.strip_prefix(path).or(name.strip_prefix("unmapped.").and_then(|name| name.strip_prefix(path)));
        if inner.is_some_and(|inner| inner.is_empty() || inner.starts_with('.')) && observable.member("value").is_some()
        {
            visit(observable, "value");
        }
    }
}

/// Visits the places that [`at`] visits, in a part of a record that the mapping has copied. There `fullName` may be
/// `full_name`, a key that the record has twice is `data` and `data_2`, and `flattened` is a part of its parent.
fn at_copies<T: Tree>(tree: &mut T, path: &str, visit: &mut dyn FnMut(&mut T, &str)) {
    if let Some(elements) = tree.elements() {
        elements.iter_mut().for_each(|element| at_copies(element, path, visit));
        return;
    }
    if let Some(flattened) = tree.member("flattened") {
        at_copies(flattened, path, visit);
    }
    for (dot, _) in path.match_indices('.') {
        for key in tree.keys(&|key| is_copy_of(key, &path[..dot])) {
            if let Some(inner) = tree.member(&key) {
                at_copies(inner, &path[dot + 1..], visit);
            }
        }
    }
    for key in tree.keys(&|key| is_copy_of(key, path)) {
        visit(tree, &key);
    }
}

/// Returns whether the mapping may have made `key` from the record's `name`.
fn is_copy_of(key: &str, name: &str) -> bool {
    let numbered = key.rsplit_once('_').filter(|(_, number)| number.parse::<u32>().is_ok_and(|number| number > 1));
    is_same_name(key, name) || numbered.is_some_and(|(key, _)| is_same_name(key, name))
}

/// Returns whether two names are equal except for case and `_`.
fn is_same_name(one: &str, other: &str) -> bool {
    let folded = |byte: u8| (byte != b'_').then(|| byte.to_ascii_lowercase());
    one.bytes().filter_map(folded).eq(other.bytes().filter_map(folded))
}

/// Calls `visit` with each object that has the last key of `path`, and with this key. Passes through lists. A key may
/// have dots itself.
fn at<T: Tree>(tree: &mut T, path: &str, visit: &mut dyn FnMut(&mut T, &str)) {
    if let Some(elements) = tree.elements() {
        elements.iter_mut().for_each(|element| at(element, path, visit));
        return;
    }
    for (dot, _) in path.match_indices('.') {
        if let Some(inner) = tree.member(&path[..dot]) {
            at(inner, &path[dot + 1..], visit);
        }
    }
    if tree.member(path).is_some() {
        visit(tree, path);
    }
}

/// Replaces each text, number and truth value at or below `tree` that `replace` has a text for.
fn leaves<T: Tree>(tree: Option<&mut T>, replace: &mut dyn FnMut(&str) -> Option<String>) {
    let Some(tree) = tree else { return };
    if let Some(elements) = tree.elements() {
        elements.iter_mut().for_each(|element| leaves(Some(element), replace));
    } else if tree.is_object() {
        tree.for_each_member(&mut |member| leaves(Some(member), replace));
    } else if !tree.is_null()
        && let Some(text) = replace(&tree.to_text())
    {
        *tree = T::of_text(text);
    }
}

/// Returns whether [`hash`] may have written the text.
fn is_hash(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns 32 hex digits, the same for equal texts under one key.
fn hash(key: &SecretString, text: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) else {
        // HMAC takes keys of any length.
        return REDACTED.to_owned();
    };
    mac.update(text.as_bytes());
    hex::encode(&mac.finalize().into_bytes()[..16])
}
