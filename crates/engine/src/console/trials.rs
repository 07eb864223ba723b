//! Verdicts of a console about new tokens, before requests use them.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Longest time for which a verdict is remembered.
pub(super) const MAX_WAIT: Duration = Duration::from_hours(1);

/// Verdict of a console about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenVerdict {
    Accepted,
    Refused,
    /// The console accepts the token, but its user has another scope than the user of the former one.
    OtherScope(OtherScope),
    /// The console's answer does not say whether it accepts the token.
    Unknown,
}

/// Two scopes of users, for people. The new one may be the reason why it is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherScope {
    pub new: String,
    pub former: String,
}

/// The verdicts about the tokens of one source. A token is tried once for all clients that share it.
#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<Vec<Trial>>);

#[derive(Debug)]
struct Trial {
    digest: [u8; 32],
    at: Instant,
    verdict: TokenVerdict,
}

impl Trials {
    /// Returns the known verdict about the token if it is younger than `max_age`, or else the verdict of `ask`. Other
    /// callers wait meanwhile.
    pub async fn verdict(
        &self,
        token: &SecretString,
        max_age: Duration,
        ask: impl Future<Output = TokenVerdict>,
    ) -> TokenVerdict {
        let digest: [u8; 32] = Sha256::digest(token.expose_secret().as_bytes()).into();
        let mut trials = self.0.lock().await;
        let is_known = |trial: &&Trial| trial.digest == digest && trial.at.elapsed() < max_age;
        if let Some(known) = trials.iter().find(is_known) {
            return known.verdict.clone();
        }
        let verdict = ask.await;
        trials.retain(|trial| trial.digest != digest && trial.at.elapsed() < MAX_WAIT);
        if verdict != TokenVerdict::Unknown {
            trials.push(Trial { digest, at: Instant::now(), verdict: verdict.clone() });
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_verdict_is_asked_for_once_for_each_token_until_it_is_too_old() {
        let trials = Trials::default();
        let token = SecretString::from("one");
        let first = trials.verdict(&token, MAX_WAIT, ready(TokenVerdict::Unknown)).await;
        let second = trials.verdict(&token, MAX_WAIT, ready(TokenVerdict::Refused)).await;
        assert_eq!((first, second), (TokenVerdict::Unknown, TokenVerdict::Refused));
        let accept = || ready(TokenVerdict::Accepted);
        assert_eq!(trials.verdict(&token, MAX_WAIT, accept()).await, TokenVerdict::Refused);
        assert_eq!(trials.verdict(&SecretString::from("two"), MAX_WAIT, accept()).await, TokenVerdict::Accepted);
        tokio::time::advance(MAX_WAIT / 2).await;
        assert_eq!(trials.verdict(&token, MAX_WAIT, accept()).await, TokenVerdict::Refused);
        assert_eq!(trials.verdict(&token, MAX_WAIT / 2, accept()).await, TokenVerdict::Accepted);
    }
}
