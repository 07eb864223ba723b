//! The API tokens of a console, and which of them is in use.

use std::sync::atomic::{AtomicUsize, Ordering};

use s1_forwarder_settings::{Credential, SecretError, Secrets};
use secrecy::SecretString;
use tokio::sync::watch;
use tracing::warn;

/// The API tokens of a console. If the one in use is refused, the other one is used.
#[derive(Debug)]
pub struct Tokens {
    credentials: Vec<Credential>,
    in_use: AtomicUsize,
    /// Counts the changes of the token that requests use.
    changes: watch::Sender<u64>,
}

impl Tokens {
    pub fn new(secrets: &Secrets) -> Self {
        let credentials = secrets.iter().cloned().map(Credential::token).collect();
        Self { credentials, in_use: AtomicUsize::new(0), changes: watch::Sender::default() }
    }

    /// Returns the index of the token in use.
    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Returns the indexes of all tokens, the one in use first.
    pub fn indexes(&self) -> impl Iterator<Item = usize> + use<> {
        let in_use = self.in_use();
        let count = self.credentials.len();
        std::iter::once(in_use).chain((0..count).filter(move |index| *index != in_use))
    }

    /// Returns the token at `index`.
    ///
    /// # Errors
    /// If the token cannot be read.
    pub fn get(&self, index: usize) -> Result<SecretString, SecretError> {
        self.credentials[index].get()
    }

    /// Reads the token at `index` again from its source. Returns it if requests use another one.
    ///
    /// # Errors
    /// If the token cannot be read.
    pub fn changed(&self, index: usize) -> Result<Option<SecretString>, SecretError> {
        self.credentials[index].changed()
    }

    /// Makes requests use this token at `index` from now on.
    pub fn replace(&self, index: usize, token: SecretString) {
        self.credentials[index].replace(token);
        if index == self.in_use() {
            self.count_change();
        }
    }

    /// Switches to the token at `index`, which the console accepted after it had refused the one in use.
    pub fn switch_to(&self, index: usize, console: &str) {
        if self.in_use.swap(index, Ordering::Relaxed) != index {
            let token = if index == 0 { "first" } else { "second" };
            warn!(%console, in_use = token, "the API token in use was refused; using the other one");
            self.count_change();
        }
    }

    /// Returns how often requests began to use another token.
    pub fn changes(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Waits until [`Self::changes`] is no longer `changes`.
    pub async fn changed_since(&self, changes: u64) {
        // The sender is in `self`: the channel is not closed.
        let _ = self.changes.subscribe().wait_for(|now| *now != changes).await;
    }

    fn count_change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Returns the tokens that were read so far.
    pub fn known(&self) -> Vec<SecretString> {
        self.credentials.iter().filter_map(|token| token.get().ok()).collect()
    }
}
