use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::SecretString;
use tokio::sync::watch;
use tracing::warn;

use crate::settings::{Credential, SecretError, Secrets};

/// The token in use and, where two are given, the one that takes its place when it is refused.
#[derive(Debug)]
pub struct Tokens {
    given: Vec<Credential>,
    in_use: AtomicUsize,
    /// Counts every time that requests begin to carry another token.
    changes: watch::Sender<u64>,
}

impl Tokens {
    /// Begins with the first.
    pub fn new(secrets: &Secrets) -> Self {
        let given = secrets.iter().cloned().map(Credential::new).collect();
        Self { given, in_use: AtomicUsize::new(0), changes: watch::Sender::new(0) }
    }

    /// Where the token in use stands among those given.
    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// All places, the one in use first.
    pub fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let (in_use, given) = (self.in_use(), self.given.len());
        std::iter::once(in_use).chain((0..given).filter(move |place| *place != in_use))
    }

    /// The token at `place`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, place: usize) -> Result<SecretString, SecretError> {
        self.given[place].get()
    }

    /// Reads the token at `place` again, after it was refused.
    ///
    /// # Errors
    /// When it cannot be read; what was read before is kept.
    pub fn reload(&self, place: usize) -> Result<SecretString, SecretError> {
        if self.given[place].reload()? && place == self.in_use() {
            self.tell();
        }
        self.given[place].get()
    }

    /// The console takes the token at `place`, and not the one that was in use.
    pub fn switch_to(&self, place: usize, console: &str) {
        if self.in_use.swap(place, Ordering::Relaxed) != place {
            let token = if place == 0 { "first" } else { "second" };
            warn!(%console, in_use = token, "the API token in use was refused: the other one that is given is used from now on");
            self.tell();
        }
    }

    /// Sees every time that requests begin to carry another token.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Those that were read so far.
    pub fn known(&self) -> Vec<SecretString> {
        self.given.iter().filter_map(|token| token.get().ok()).collect()
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}
