//! Removes tokens and proxy secrets from texts that a console or a proxy has returned.

use std::fmt::Display;
use std::sync::Arc;

use s1_forwarder_settings::KnownSecrets;
use secrecy::SecretString;

use super::ConsoleError;
use super::tokens::Tokens;

/// Removes a pipeline's tokens and proxy secrets from texts in which a console or a proxy may have repeated them.
#[derive(Debug, Clone, Default)]
pub struct SecretRedactor {
    tokens: Option<Arc<Tokens>>,
    proxy_secrets: Arc<KnownSecrets>,
}

impl SecretRedactor {
    /// Returns a redactor of proxy secrets and tokens, including tokens that are read later.
    pub(super) fn new(tokens: Arc<Tokens>, proxy_secrets: KnownSecrets) -> Self {
        Self { tokens: Some(tokens), proxy_secrets: proxy_secrets.into() }
    }

    /// Returns the beginning of a foreign text, without secrets: see [`KnownSecrets::excerpt`].
    pub fn excerpt(&self, text: &str) -> String {
        self.known().excerpt(text)
    }

    /// Returns a foreign text without secrets.
    pub fn scrub(&self, text: &str) -> String {
        self.known().scrub(text)
    }

    /// Returns the error for an answer that cannot be read. `error` may quote the answer.
    pub fn unreadable(&self, error: &impl Display) -> ConsoleError {
        ConsoleError::transient(error.to_string()).without(&self.known())
    }

    /// Returns the known secrets and `token`, which may have been replaced since it was sent.
    pub(super) fn known_with(&self, token: &SecretString) -> KnownSecrets {
        let mut known = self.known();
        known.push(token.clone());
        known
    }

    fn known(&self) -> KnownSecrets {
        let mut known = (*self.proxy_secrets).clone();
        known.extend(self.tokens.iter().flat_map(|tokens| tokens.known()));
        known
    }
}
