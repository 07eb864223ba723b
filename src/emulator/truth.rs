//! What a forwarder's output is compared with.

use super::kind::Kind;
use super::token::Scope;

/// One version of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The record's id.
    pub id: u64,
    /// When it was created, in microseconds since 1970.
    pub created: i64,
    /// When it was changed last, in microseconds since 1970.
    pub updated: i64,
}

/// A request that the console has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When, in microseconds since 1970.
    pub at: i64,
    /// The path, without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// The status answered.
    pub status: u16,
}

impl Scope {
    /// Whether a record of this kind, account and site is within the scope.
    pub(super) fn covers(&self, kind: Kind, account: u64, site: u64) -> bool {
        match self {
            Self::Global => true,
            // Users are people of the tenant; whom a role may see among them is not modelled.
            _ if kind == Kind::Users => true,
            Self::Accounts(accounts) => accounts.contains(&account),
            Self::Sites(sites) => sites.contains(&site),
        }
    }
}
