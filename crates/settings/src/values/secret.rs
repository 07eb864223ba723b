//! A secret in settings, and how it is read from a file, a variable or a Kubernetes Secret.

use std::borrow::Cow;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::kind::SettingKind;
use super::secret_object::SecretObject;
use crate::files::file_path::FilePath;

/// The source of a secret: `{ file: PATH }`, `{ env: NAME }`, or the text itself; in a `Pipeline` resource a key of a
/// Secret. `Debug` and `Serialize` never show a literal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Secret {
    /// A file. It is read again when the other side answers 401 or 403.
    File(FilePath),
    /// An environment variable.
    Env(String),
    /// The text, in the pipeline file itself. It works and causes a warning.
    Literal(String),
    /// A key of a Secret in Kubernetes. It is read again as a file is.
    Object(Box<SecretObject>),
}

/// A secret could not be read. No variant contains its text.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("cannot read the Secret {object}: {reason}")]
    Object { object: SecretObject, reason: String },
    #[error("the environment variable {0}, which should hold a secret, is not set")]
    NotSet(String),
    #[error("the secret from {0} is empty")]
    Empty(String),
    /// The text is not a token or password but something else, such as a log file.
    #[error("the secret from {place} is larger than {max} bytes")]
    TooLarge { place: String, max: usize },
    #[error("the secret from {0} is not UTF-8 text: save it as UTF-8")]
    NotText(String),
    #[error("the secret from {0} holds a line break or another control character, which no HTTP header can carry")]
    ControlCharacter(String),
    /// See [`check_token`]. The reason does not show the text.
    #[error("the token from {place} {reason}")]
    NotAToken { place: String, reason: String },
}

/// Words that people copy together with a token. The forwarder adds the scheme that a header needs.
const SCHEMES: [&str; 8] = ["ApiToken", "Bearer", "Token", "ApiKey", "Splunk", "Basic", "Authorization:", "export"];

/// Checks that a text can be a token: an API token, or a key that identifies the forwarder to a destination.
///
/// # Errors
/// If the text has something around or instead of the token. The text of the error is the reason, and what to do.
pub fn check_token(text: &str) -> Result<(), String> {
    let text = text.trim();
    let is_quote = |char: char| matches!(char, '"' | '\'' | '`' | '“' | '”' | '„' | '‘' | '’' | '‚' | '«' | '»');
    let first_word = text.split_whitespace().next().unwrap_or_default();
    let scheme = SCHEMES.iter().find(|scheme| scheme.eq_ignore_ascii_case(first_word) && first_word.len() < text.len());
    let placeholder = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let stands_in = |open: &str, close: &str| text.starts_with(open) && text.ends_with(close);
    let is_template = placeholder.is_some() || stands_in("{{", "}}") || stands_in("%", "%") || stands_in("<", ">");
    // The text after `=` may be the padding of base 64.
    let assigned = text.split_once('=').filter(|(_, value)| !value.trim_matches('=').is_empty());
    let is_assigned = assigned.is_some_and(|(name, _)| is_variable(&name.to_ascii_uppercase()));
    if text.starts_with(is_quote) || text.ends_with(is_quote) {
        Err("is in quotes: remove them".to_owned())
    } else if let Some(scheme) = scheme {
        Err(format!("begins with \"{scheme} \": remove it"))
    } else if let Some(name) = placeholder.filter(|name| is_variable(name)) {
        Err(format!("is ${{{name}}}, which is not expanded: write {{ env: {name} }} in the pipeline file"))
    } else if is_template || text.strip_prefix('$').is_some_and(is_variable) {
        // A text without braces may be a token, so it is not shown.
        Err("is ${…}, $…, {{…}}, %…% or <…>, which is not expanded: write { env: NAME } in the pipeline file"
            .to_owned())
    } else if is_assigned {
        Err("begins with a name and `=`: remove them".to_owned())
    } else if stands_in("{", "}") || text.contains("://") {
        Err("is a URL or a JSON object: write the token alone".to_owned())
    } else if text.contains(is_blank) {
        Err("has a blank inside, which may be invisible: copy it again".to_owned())
    } else {
        Ok(())
    }
}

/// Returns whether a character is white space of any kind, or has no width.
fn is_blank(char: char) -> bool {
    char.is_whitespace() || matches!(char, '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Returns whether a text can be the name of a variable, which is no secret. Tokens are longer, and have lower case
/// characters.
fn is_variable(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=40).contains(&name.len()) && name.bytes().all(is_of_name)
}

/// Most bytes of a secret: more than any token or password has.
const MAX_BYTES: usize = 64 * 1024;
/// Most bytes of a document: more than the certificates of all authorities of a system have.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

impl Secret {
    /// Identifies the secret without revealing it: `file:/run/secrets/token`, `env:TOKEN`, or `literal:` and a short
    /// hash. Equal references mean equal secrets. Rate limiters, for example, are shared by reference.
    pub fn reference(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", absolute(path.path()).display()),
            Self::Env(name) => format!("env:{name}"),
            Self::Literal(text) => {
                let digest = Sha256::digest(text.trim().as_bytes());
                format!("literal:{}", hex::encode(&digest[..6]))
            }
            Self::Object(object) => format!("secret:{object}"),
        }
    }

    /// Reads the secret, without leading and trailing blanks and line breaks.
    ///
    /// # Errors
    /// If it cannot be read, is empty, or cannot be part of an HTTP header.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let secret = self.read_text(MAX_BYTES)?;
        if secret.expose_secret().chars().any(char::is_control) {
            return Err(SecretError::ControlCharacter(self.place()));
        }
        Ok(secret)
    }

    /// Reads a secret that is a token.
    ///
    /// # Errors
    /// As [`Self::read`] and [`check_token`].
    pub fn read_token(&self) -> Result<SecretString, SecretError> {
        let secret = self.read()?;
        check_token(secret.expose_secret()).map_err(|reason| SecretError::NotAToken { place: self.place(), reason })?;
        Ok(secret)
    }

    /// Reads a secret that may have several lines, such as a key in JSON.
    ///
    /// # Errors
    /// If it cannot be read or is empty.
    pub fn read_document(&self) -> Result<SecretString, SecretError> {
        self.read_text(MAX_DOCUMENT_BYTES)
    }

    fn read_text(&self, max: usize) -> Result<SecretString, SecretError> {
        let too_large = || SecretError::TooLarge { place: self.place(), max };
        let raw = match self {
            Self::File(path) => {
                let bytes = path.read(max).map_err(|source| match source.kind() {
                    ErrorKind::FileTooLarge => too_large(),
                    _ => SecretError::Unreadable { path: path.path().to_owned(), source },
                })?;
                String::from_utf8(bytes).map_err(|_| SecretError::NotText(self.place()))?
            }
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(std::env::VarError::NotPresent) => return Err(SecretError::NotSet(name.clone())),
                Err(std::env::VarError::NotUnicode(_)) => return Err(SecretError::NotText(self.place())),
            },
            Self::Literal(text) => text.clone(),
            Self::Object(object) => {
                let read = object.read();
                let bytes = read.map_err(|reason| SecretError::Object { object: (**object).clone(), reason })?;
                String::from_utf8(bytes).map_err(|_| SecretError::NotText(self.place()))?
            }
        };
        if raw.len() > max {
            return Err(too_large());
        }
        // Editors on Windows write a byte order mark.
        let text = raw.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(SecretError::Empty(self.place()));
        }
        Ok(SecretString::from(text))
    }

    fn place(&self) -> String {
        match self {
            Self::File(path) => format!("the file {path}"),
            Self::Env(name) => format!("the environment variable {name}"),
            Self::Literal(_) => "the pipeline file".to_owned(),
            Self::Object(object) => format!("the Secret {object}"),
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Env(name) => formatter.debug_tuple("Env").field(name).finish(),
            Self::Literal(_) => formatter.write_str("Literal(***)"),
            Self::Object(object) => formatter.debug_tuple("Object").field(object).finish(),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = match self {
            Self::Literal(_) => return serializer.serialize_str("***"),
            _ => serializer.serialize_map(Some(1))?,
        };
        match self {
            Self::File(path) => map.serialize_entry("file", path)?,
            Self::Env(name) => map.serialize_entry("env", name)?,
            Self::Object(object) => map.serialize_entry(SECRET_REF, &object.to_string())?,
            Self::Literal(_) => {}
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By this name the parser of pipeline files knows that the value must not be shown.
        deserializer.deserialize_newtype_struct(Self::TYPE_NAME, SecretVisitor)
    }
}

/// The key of a reference to a Secret. Its value is `NAMESPACE/NAME/KEY`, which the worker makes of the `{ name, key }`
/// of a resource, and refuses in files.
pub const SECRET_REF: &str = "secretRef";

impl Secret {
    /// The name in `deserialize_newtype_struct`.
    pub const TYPE_NAME: &'static str = "Secret";
}

/// Handles every kind of value, since serde's own messages would show it.
pub(crate) struct SecretVisitor;

impl SecretVisitor {
    fn refuse<T, E: de::Error>(self, found: &str) -> Result<T, E> {
        Err(E::custom(format!("expected {{ file: PATH }}, {{ env: NAME }} or a text, found {found}")))
    }
}

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("{ file: PATH }, { env: NAME } or a text")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        if text.trim().is_empty() {
            return self.refuse("an empty text");
        }
        Ok(Secret::Literal(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        self.refuse("true or false")
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        self.refuse("a number (put it in quotes)")
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        self.refuse("a number (put it in quotes)")
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        self.refuse("a number (put it in quotes)")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Secret, E> {
        self.refuse("nothing")
    }

    fn visit_none<E: de::Error>(self) -> Result<Secret, E> {
        self.refuse("nothing")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        self.refuse("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let mut found = None;
        // Keys are not quoted either: in `{ s3cret: }` the key is the secret.
        while let Some(key) = map.next_key::<String>()? {
            let secret = match key.as_str() {
                "file" => Secret::File(FilePath::of_setting(map.next_value::<Name>()?.0)),
                "env" => Secret::Env(match map.next_value::<Name>()?.0 {
                    name if name.starts_with('$') => {
                        return Err(de::Error::custom("write the name of the variable without `$` and braces"));
                    }
                    name => name,
                }),
                SECRET_REF => Secret::Object(Box::new(map.next_value::<Name>()?.0.parse().map_err(de::Error::custom)?)),
                _ => return self.refuse("another key"),
            };
            if found.replace(secret).is_some() {
                return self.refuse("more than one key");
            }
        }
        found.map_or_else(|| self.refuse("nothing in the braces"), Ok)
    }
}

/// The path or variable name of a secret: a text that is not empty.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<serde_json::Value>::deserialize(deserializer)? {
            Some(serde_json::Value::String(text)) if !text.trim().is_empty() => Ok(Self(text)),
            _ => Err(de::Error::custom("expected the path of a file or the name of an environment variable")),
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let source = |key: &str, kind: SettingKind| {
            serde_json::json!({
                "type": "object",
                "properties": { key: { "type": "string", "minLength": 1, "x-kind": kind } },
                "required": [key],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "title": "secret",
            "description": "A secret: { file: PATH }, { env: NAME }, or the text itself (works, but warns).",
            "oneOf": [
                source("file", SettingKind::SecretFile),
                source("env", SettingKind::Variable),
                { "type": "string", "minLength": 1, "x-kind": SettingKind::Text },
            ],
        })
    }
}

/// A secret in use: read once, cached, and read again when the other side refuses it.
pub struct Credential {
    secret: Secret,
    form: Form,
    cached: Mutex<Option<SecretString>>,
}

/// Form of a secret's text.
#[derive(Clone, Copy)]
enum Form {
    /// Any text in one line, such as a password.
    Line,
    Token,
    Document,
}

impl Credential {
    /// Returns the credential of a secret, which is not read yet.
    pub fn new(secret: Secret) -> Self {
        Self { secret, form: Form::Line, cached: Mutex::new(None) }
    }

    /// Returns the credential of a token; see [`Secret::read_token`].
    pub fn token(secret: Secret) -> Self {
        Self { form: Form::Token, ..Self::new(secret) }
    }

    /// Returns the credential of a secret that may have several lines; see [`Secret::read_document`].
    pub fn document(secret: Secret) -> Self {
        Self { form: Form::Document, ..Self::new(secret) }
    }

    /// See [`Secret::reference`].
    pub fn reference(&self) -> String {
        self.secret.reference()
    }

    /// Returns the cached secret, which is read at the first call.
    ///
    /// # Errors
    /// As [`Secret::read`]. The next call tries again.
    pub fn get(&self) -> Result<SecretString, SecretError> {
        if let Some(secret) = self.cached.lock().as_ref() {
            return Ok(secret.clone());
        }
        // The cache is not locked while the secret is read: the file system may not answer.
        let secret = self.read()?;
        *self.cached.lock() = Some(secret.clone());
        Ok(secret)
    }

    /// Reads the secret again. True if it changed.
    ///
    /// # Errors
    /// As [`Secret::read`]. The cached secret remains: a file that is being replaced may be missing for a moment.
    pub fn reload(&self) -> Result<bool, SecretError> {
        let secret = self.read()?;
        let mut cached = self.cached.lock();
        let changed = cached.as_ref().is_none_or(|cached| cached.expose_secret() != secret.expose_secret());
        *cached = Some(secret);
        Ok(changed)
    }

    /// Returns the secret as its source has it now, if that is not the cached one. A secret that was never read has not
    /// changed.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub fn changed(&self) -> Result<Option<SecretString>, SecretError> {
        let Some(cached) = self.cached.lock().clone() else { return Ok(None) };
        let secret = self.read()?;
        Ok((cached.expose_secret() != secret.expose_secret()).then_some(secret))
    }

    /// Caches another secret than the source had.
    pub fn replace(&self, secret: SecretString) {
        *self.cached.lock() = Some(secret);
    }

    fn read(&self) -> Result<SecretString, SecretError> {
        match self.form {
            Form::Line => self.secret.read(),
            Form::Token => self.secret.read_token(),
            Form::Document => self.secret.read_document(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credential").field("secret", &self.secret).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-8d1f2c";

    fn from_file(contents: &[u8]) -> Result<SecretString, SecretError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, contents).unwrap();
        Secret::File(path.into()).read()
    }

    #[test]
    fn blanks_line_breaks_and_a_byte_order_mark_are_stripped() {
        for contents in ["abc", "abc\n", "  abc\r\n\r\n", "\u{feff}abc\n"] {
            assert_eq!(from_file(contents.as_bytes()).unwrap().expose_secret(), "abc", "{contents:?}");
        }
    }

    #[test]
    fn only_documents_have_several_lines() {
        let secret = Secret::Literal("{\n}\n".to_owned());
        assert_eq!(Credential::document(secret.clone()).get().unwrap().expose_secret(), "{\n}");
        assert!(matches!(Credential::new(secret).get(), Err(SecretError::ControlCharacter(_))));
    }

    #[test]
    fn errors_name_the_place_and_never_the_text() {
        let long = format!("{CANARY}{}", "x".repeat(MAX_BYTES));
        for (contents, part) in [
            (b" \n".to_vec(), "is empty"),
            (format!("{CANARY}\nsecond line").into_bytes(), "control character"),
            ([CANARY.as_bytes(), &[0xff]].concat(), "not UTF-8"),
            (long.into_bytes(), "larger than 65536 bytes"),
        ] {
            let error = from_file(&contents).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(error.to_string().contains(part) && text.contains("token") && !text.contains(CANARY), "{text}");
        }
        let missing = Secret::File("/nonexistent/token".into()).read().unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/token"), "{missing}");
        let unset = Secret::Env("S1_TEST_NOT_SET".into()).read().unwrap_err().to_string();
        assert!(unset.contains("S1_TEST_NOT_SET"), "{unset}");
    }

    #[test]
    fn what_stands_around_or_instead_of_a_token_is_named() {
        for (contents, reason) in [
            (format!("ApiToken {CANARY}"), "begins with \"ApiToken \": remove it"),
            (format!("bearer  {CANARY}\r\n"), "begins with \"Bearer \": remove it"),
            (format!("Authorization: ApiToken {CANARY}"), "begins with \"Authorization: \": remove it"),
            (format!("\"{CANARY}\"\n"), "is in quotes: remove them"),
            (format!("'{CANARY}'"), "is in quotes: remove them"),
            (format!("{CANARY}'"), "is in quotes: remove them"),
            ("${ACME_TOKEN}".to_owned(), "is ${ACME_TOKEN}, which is not expanded: write { env: ACME_TOKEN }"),
            // The text may be a token: it is not shown.
            ("$ACME_TOKEN".to_owned(), "is ${…}, $…, {{…}}, %…% or <…>, which is not expanded"),
            (format!("${{{CANARY}}}"), "not expanded: write { env: NAME }"),
            (format!("{{{{ {CANARY} }}}}"), "not expanded: write { env: NAME }"),
            (format!("%{CANARY}%"), "not expanded: write { env: NAME }"),
            (format!("<{CANARY}>"), "not expanded: write { env: NAME }"),
            (format!("“{CANARY}”"), "is in quotes: remove them"),
            (format!("token={CANARY}"), "begins with a name and `=`"),
            (format!("S1_TOKEN={CANARY}"), "begins with a name and `=`"),
            (format!("export S1_TOKEN={CANARY}"), "begins with \"export \": remove it"),
            (format!("{{\"token\":\"{CANARY}\"}}"), "is a URL or a JSON object: write the token alone"),
            (format!("https://console.example/{CANARY}"), "is a URL or a JSON object"),
            (format!("emulator {CANARY}"), "has a blank inside"),
            (format!("{CANARY}\u{a0}x"), "has a blank inside"),
            (format!("{CANARY}\u{2003}x"), "has a blank inside"),
            (format!("{CANARY}\u{2028}x"), "has a blank inside"),
            (format!("{CANARY}\u{3000}x"), "has a blank inside"),
            (format!("{CANARY}\u{200b}x"), "has a blank inside"),
            (format!("{CANARY}\u{feff}x"), "has a blank inside"),
        ] {
            let secret = Secret::Literal(contents.clone());
            let error = Credential::token(secret.clone()).get().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(reason) && !text.contains(CANARY), "{contents:?}: {text}");
            assert!(secret.read().is_ok(), "a password may be so");
        }
        for contents in ["abc", "  abc\r\n\r\n", "\u{feff}abc\n"] {
            let token = Secret::Literal(contents.to_owned()).read_token().unwrap();
            assert_eq!(token.expose_secret(), "abc", "{contents:?}");
        }
        // These are tokens: a JSON web token, a key in base 64, and a word that is a scheme, for example.
        for token in [
            "eyJhbGciOiJ.eyJzdWIi.c2lnbmF0dXJl_-",
            "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWk=",
            "a+b/c~d==",
            "token",
            "a$b",
            "$aB3${x",
        ] {
            assert_eq!(check_token(token), Ok(()), "{token}");
        }
    }

    #[test]
    fn nothing_prints_a_literal() {
        let secret = Secret::Literal(CANARY.into());
        let credential = Credential::new(secret.clone());
        assert_eq!(credential.get().unwrap().expose_secret(), CANARY);
        let printed = format!(
            "{secret:?} {:#?} {credential:?} {} {:?}",
            secret,
            serde_json::to_string(&secret).unwrap(),
            secret.reference()
        );
        assert!(!printed.contains(CANARY), "{printed}");
        for wrong in [
            format!("[\"{CANARY}\"]"),
            format!("{{\"{CANARY}\": 1}}"),
            format!("{{\"value\": \"{CANARY}\"}}"),
            format!("{{\"file\": [\"{CANARY}\"]}}"),
            "8141592653589793".to_owned(),
            "8.141592653589793".to_owned(),
            "{\"env\": 8141592653589793}".to_owned(),
        ] {
            let error = serde_json::from_str::<Secret>(&wrong).unwrap_err().to_string();
            assert!(!error.contains(CANARY) && !error.contains("1415926"), "{error}");
        }
    }

    #[test]
    fn reload_reads_a_rotated_file_and_survives_a_missing_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let credential = Credential::new(Secret::File(path.clone().into()));
        assert_eq!(credential.get().unwrap().expose_secret(), "one");
        assert!(!credential.reload().unwrap());
        std::fs::write(&path, "two").unwrap();
        assert_eq!(credential.get().unwrap().expose_secret(), "one");
        assert!(credential.reload().unwrap());
        assert_eq!(credential.get().unwrap().expose_secret(), "two");
        std::fs::remove_file(&path).unwrap();
        assert!(credential.reload().is_err());
        assert_eq!(credential.get().unwrap().expose_secret(), "two");
    }

    #[test]
    fn references_distinguish_secrets_without_revealing_them() {
        assert_eq!(Secret::Env("A".into()).reference(), "env:A");
        assert_eq!(Secret::File("/a/b".into()).reference(), "file:/a/b");
        let literal = Secret::Literal(CANARY.into()).reference();
        assert_eq!(literal, Secret::Literal(CANARY.into()).reference());
        assert_ne!(literal, Secret::Literal("other".into()).reference());
    }
}
