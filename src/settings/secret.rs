use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Where a secret comes from: `{ file: PATH }`, `{ env: NAME }`, or the text itself. Its Debug and Serialize output never show a literal.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Secret {
    /// Read from a file, again when the other side answers 401 or 403.
    File(PathBuf),
    /// Read from an environment variable.
    Env(String),
    /// Written in the pipeline file itself; works and warns.
    Literal(String),
}

/// A secret that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {}

/// A secret in use: read once, kept, and read again when the other side refuses it.
#[derive(Debug)]
pub struct Credential {
    _secret: Secret,
}

impl Credential {
    /// Nothing is read yet.
    pub fn new(secret: Secret) -> Self {
        Self { _secret: secret }
    }

    /// The secret, blanks and line ends around it stripped; read on first use.
    pub fn get(&self) -> Result<SecretString, SecretError> {
        unimplemented!()
    }

    /// Reads it again; true when it changed.
    pub fn reload(&self) -> Result<bool, SecretError> {
        unimplemented!()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, _formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unimplemented!()
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        unimplemented!()
    }
}
