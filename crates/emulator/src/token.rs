//! API tokens and their scopes.

use super::kind::Kind;

/// The id of the first user. Tokens belong to it unless another user is set.
pub const FIRST_USER: u64 = 225_494_730_938_490_001;

/// The part of the tenant that a token can read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    #[default]
    Global,
    Accounts(Vec<u64>),
    Sites(Vec<u64>),
}

impl Scope {
    /// Returns the level of the scope, as in `GET /user`.
    pub(super) const fn level(&self) -> &'static str {
        match self {
            Self::Global => "tenant",
            Self::Accounts(_) => "account",
            Self::Sites(_) => "site",
        }
    }

    /// Returns whether the scope contains a record of this kind, account and site.
    pub(super) fn covers(&self, kind: Kind, account: u64, site: u64) -> bool {
        match self {
            Self::Global => true,
            // Which users a role can see is not modelled.
            _ if kind.description().special.of_tenant => true,
            Self::Accounts(accounts) => accounts.contains(&account),
            Self::Sites(sites) => sites.contains(&site),
        }
    }
}

/// An API token. It has no `Debug`, which would print the secret.
#[derive(Clone)]
pub struct Token {
    /// The value after `ApiToken` in the header.
    pub secret: String,
    /// The id of its user.
    pub user: u64,
    /// In microseconds since 1970.
    pub created: i64,
    /// From this time on requests are answered with 401; in microseconds since 1970.
    pub expires: i64,
    /// Whether requests with this token are answered with 401, and `api-token-details` does not know it.
    pub revoked: bool,
    pub scope: Scope,
    /// Requests for these kinds of records are answered with 403.
    pub forbidden: Vec<Kind>,
}

impl Token {
    /// Returns a token with global scope that does not expire.
    pub fn new(secret: &str) -> Self {
        Self {
            secret: secret.to_owned(),
            user: FIRST_USER,
            created: 0,
            expires: i64::MAX,
            revoked: false,
            scope: Scope::Global,
            forbidden: Vec::new(),
        }
    }

    #[must_use]
    pub fn scoped(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the expiry time, in microseconds since 1970.
    #[must_use]
    pub fn expiring(mut self, expires: i64) -> Self {
        self.expires = expires;
        self
    }

    /// Removes the permission to read `kind`.
    #[must_use]
    pub fn without(mut self, kind: Kind) -> Self {
        self.forbidden.push(kind);
        self
    }
}

/// Returns the token of an `Authorization` header. The scheme is not case-sensitive. Unified alerts also accept
/// `Bearer`.
pub(super) fn secret_of(header: &str, accepts_bearer: bool) -> Option<&str> {
    let (scheme, secret) = header.trim().split_once(' ')?;
    let is_scheme = |name: &str| scheme.eq_ignore_ascii_case(name);
    (is_scheme("ApiToken") || accepts_bearer && is_scheme("Bearer")).then_some(secret.trim())
}
