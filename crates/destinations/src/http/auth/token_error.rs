//! The error of a request for an access token, with the answer to whether another attempt may help.

use s1_forwarder_engine::sink::Outcome;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::{Misconfigured, Transient, Unauthorized};

/// There is no token.
#[derive(Debug, Clone)]
pub(crate) struct TokenError {
    pub(crate) outcome: Outcome,
}

impl TokenError {
    /// Creates the error for a secret of the settings that cannot be read.
    pub(crate) fn unreadable(reason: &dyn std::error::Error) -> Self {
        Self { outcome: Outcome::Failed(Failure::secret_unreadable(reason.to_string())) }
    }

    /// Creates the error for credentials that are missing, unusable or refused.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::unauthorized(reason) }
    }

    /// Adds what the operator can do.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        let add = |reason: String| format!("{reason}; {hint}");
        Self {
            outcome: match self.outcome {
                Outcome::Failed(failure @ Failure { kind: Transient | Unauthorized | Misconfigured, .. }) => {
                    Outcome::Failed(failure.map_reason(add))
                }
                other => other,
            },
        }
    }
}
