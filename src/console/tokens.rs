use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use secrecy::SecretString;
use tracing::warn;

use crate::settings::{Credential, SecretError, Secrets};

/// The API tokens of a console. If the one in use is refused, the other one is used.
#[derive(Debug)]
pub struct Tokens {
    credentials: Vec<Credential>,
    in_use: AtomicUsize,
    /// Counts the changes of the token that requests use.
    changes: AtomicU64,
}

impl Tokens {
    pub fn new(secrets: &Secrets) -> Self {
        let credentials = secrets.iter().cloned().map(Credential::token).collect();
        Self { credentials, in_use: AtomicUsize::new(0), changes: AtomicU64::new(0) }
    }

    /// The index of the token in use.
    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// The indexes of all tokens, the one in use first.
    pub fn indexes(&self) -> impl Iterator<Item = usize> + use<> {
        let in_use = self.in_use();
        let count = self.credentials.len();
        std::iter::once(in_use).chain((0..count).filter(move |index| *index != in_use))
    }

    /// # Errors
    /// When the token cannot be read.
    pub fn get(&self, index: usize) -> Result<SecretString, SecretError> {
        self.credentials[index].get()
    }

    /// The token at `index` as its source has it now, if that is another one than requests use.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub fn changed(&self, index: usize) -> Result<Option<SecretString>, SecretError> {
        self.credentials[index].changed()
    }

    /// Requests use this token at `index` from now on.
    pub fn replace(&self, index: usize, token: SecretString) {
        self.credentials[index].replace(token);
        if index == self.in_use() {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Called when the console accepted the token at `index` after it had refused the one in use.
    pub fn switch_to(&self, index: usize, console: &str) {
        if self.in_use.swap(index, Ordering::Relaxed) != index {
            let token = if index == 0 { "first" } else { "second" };
            warn!(%console, in_use = token, "the API token in use was refused; using the other one");
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often requests began to use another token.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The tokens that were read so far.
    pub fn known(&self) -> Vec<SecretString> {
        self.credentials.iter().filter_map(|token| token.get().ok()).collect()
    }
}
