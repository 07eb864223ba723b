use crate::sink::Outcome;

/// There is no token.
#[derive(Debug, Clone)]
pub(crate) struct TokenError {
    pub(crate) outcome: Outcome,
}

impl TokenError {
    /// A secret of the settings cannot be read.
    pub(crate) fn unreadable(reason: &dyn std::error::Error) -> Self {
        Self { outcome: Outcome::SecretUnreadable(reason.to_string()) }
    }

    /// The credentials are missing, unusable or refused.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Unauthorized(reason.into()) }
    }

    /// Adds what the operator can do.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        let add = |reason: String| format!("{reason}; {hint}");
        Self {
            outcome: match self.outcome {
                Outcome::RetryLater { reason, after } => Outcome::RetryLater { reason: add(reason), after },
                Outcome::Unauthorized(reason) => Outcome::Unauthorized(add(reason)),
                Outcome::Misconfigured(reason) => Outcome::Misconfigured(add(reason)),
                other => other,
            },
        }
    }
}
