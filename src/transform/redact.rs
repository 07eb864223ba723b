//! Redacts values of an event and of the record in it.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::redaction::{Redaction, With};
use super::schema_paths::{IDENTITIES, ORIGINALS};
use super::tree::Tree;

/// Replaces a redacted value.
pub(super) const REDACTED: &str = "[redacted]";
/// Shortest key of hashes: with a shorter one, values could be guessed.
const MIN_KEY: usize = 16;

/// The redactions of a pipeline, with their keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Redactor {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    path: String,
    action: Action,
}

#[derive(Debug, Clone)]
enum Action {
    Remove,
    Replace,
    Hash(SecretString),
}

impl Redactor {
    /// # Errors
    /// Which entry cannot be used, and why.
    pub fn new(redactions: &[Redaction]) -> Result<Self, (usize, String)> {
        let rule = |redaction: &Redaction| {
            check(redaction)?;
            let action = match (redaction.with, &redaction.key) {
                (With::Remove, _) => Action::Remove,
                (With::Replace, _) => Action::Replace,
                (With::Hash, key) => {
                    let key = key.as_ref().ok_or("`with: hash` needs a `key`")?;
                    let key = key.read_document().map_err(|error| error.to_string())?;
                    if key.expose_secret().len() < MIN_KEY {
                        return Err(format!("the key has fewer than {MIN_KEY} bytes"));
                    }
                    Action::Hash(key)
                }
            };
            Ok::<_, String>(Rule { path: redaction.path.clone(), action })
        };
        let rules =
            redactions.iter().enumerate().map(|(index, redaction)| rule(redaction).map_err(|problem| (index, problem)));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Redacts an event, and the record that it keeps as a text.
    pub fn event<T: Tree>(&self, event: &mut T) {
        self.tree(event);
        for path in ORIGINALS {
            at(event, path, &mut |parent: &mut T, key: &str| {
                let Some(original) = parent.member(key) else { return };
                let text = original.to_text();
                *original = T::of_text(match T::parse(&text) {
                    Some(mut record) if record.is_object() => {
                        self.tree(&mut record);
                        record.to_json().and_then(|json| String::from_utf8(json).ok()).unwrap_or_default()
                    }
                    // Nobody knows which part of a text is at a path.
                    _ => REDACTED.to_owned(),
                });
            });
        }
    }

    fn tree<T: Tree>(&self, tree: &mut T) {
        for rule in &self.rules {
            at(tree, &rule.path, &mut |parent: &mut T, key: &str| match &rule.action {
                Action::Remove => parent.remove_member(key),
                Action::Replace => leaves(parent.member(key), &mut |_| REDACTED.to_owned()),
                Action::Hash(secret) => leaves(parent.member(key), &mut |text| hash(secret, text)),
            });
        }
    }
}

/// # Errors
/// Why this is not a redaction.
pub(super) fn check(redaction: &Redaction) -> Result<(), String> {
    let Redaction { path, with, key } = redaction;
    if path.split('.').any(str::is_empty) {
        return Err(format!("`{path}` is not a path, such as `user.name`"));
    }
    if IDENTITIES.iter().any(|identity| path == identity || identity.starts_with(&format!("{path}."))) {
        return Err(format!("`{path}` has the identity of an event, which never changes"));
    }
    match (with, key) {
        (With::Hash, None) => Err("`with: hash` needs a `key`".to_owned()),
        (With::Remove | With::Replace, Some(_)) => Err("a `key` is for `with: hash`".to_owned()),
        _ => Ok(()),
    }
}

/// Calls `visit` with each object that has the last key of `path`, and this key. Lists are passed through. A key may
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

/// Replaces each text, number and truth value at or below `tree`.
fn leaves<T: Tree>(tree: Option<&mut T>, replace: &mut dyn FnMut(&str) -> String) {
    let Some(tree) = tree else { return };
    if let Some(elements) = tree.elements() {
        elements.iter_mut().for_each(|element| leaves(Some(element), replace));
    } else if tree.is_object() {
        tree.for_each_member(&mut |member| leaves(Some(member), replace));
    } else if !tree.is_null() {
        *tree = T::of_text(replace(&tree.to_text()));
    }
}

/// 32 hex digits, the same for equal texts under one key.
fn hash(key: &SecretString, text: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) else {
        // HMAC takes keys of any length.
        return REDACTED.to_owned();
    };
    mac.update(text.as_bytes());
    hex::encode(&mac.finalize().into_bytes()[..16])
}
