//! API tokens and what they can see.

use super::kind::Kind;

/// What a user, and therefore its token, can see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// The whole tenant.
    #[default]
    Global,
    /// These accounts.
    Accounts(Vec<u64>),
    /// These sites.
    Sites(Vec<u64>),
}

impl Scope {
    /// The word of `GET /user`.
    pub(super) const fn level(&self) -> &'static str {
        match self {
            Self::Global => "tenant",
            Self::Accounts(_) => "account",
            Self::Sites(_) => "site",
        }
    }
}

/// An API token. It has no Debug output: it holds the secret.
#[derive(Clone)]
pub struct Token {
    /// What stands behind `ApiToken` in the header.
    pub secret: String,
    /// The user it belongs to.
    pub user: u64,
    /// When it was generated, in microseconds since 1970.
    pub created: i64,
    /// From this moment on it is answered with 401.
    pub expires: i64,
    /// Revoked tokens are answered with 401 and are unknown to `api-token-details`.
    pub revoked: bool,
    /// What it can see.
    pub scope: Scope,
    /// Kinds of records that its role may not read: 403.
    pub forbidden: Vec<Kind>,
}

impl Token {
    /// A token that sees everything and does not expire.
    pub fn new(secret: &str) -> Self {
        Self {
            secret: secret.to_owned(),
            user: super::generate::FIRST_USER,
            created: 0,
            expires: i64::MAX,
            revoked: false,
            scope: Scope::Global,
            forbidden: Vec::new(),
        }
    }

    /// Limits it to a scope.
    #[must_use]
    pub fn scoped(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Lets it expire at a moment, in microseconds since 1970.
    #[must_use]
    pub fn expiring(mut self, expires: i64) -> Self {
        self.expires = expires;
        self
    }

    /// Takes a permission from it.
    #[must_use]
    pub fn without(mut self, kind: Kind) -> Self {
        self.forbidden.push(kind);
        self
    }
}

/// The token of an `Authorization` header; the scheme compares without case. Unified alerts take `Bearer` too.
pub(super) fn secret_of(header: &str, takes_bearer: bool) -> Option<&str> {
    let (scheme, secret) = header.trim().split_once(' ')?;
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    (is("ApiToken") || takes_bearer && is("Bearer")).then_some(secret.trim())
}
