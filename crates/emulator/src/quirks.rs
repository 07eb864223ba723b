//! Differences between consoles that are not errors.

/// How the last page of a list is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastPage {
    /// `nextCursor: null`.
    #[default]
    Null,
    /// No `nextCursor` at all.
    Absent,
    /// `nextCursor: ""`.
    Empty,
    /// `nextCursor: "null"`.
    NullText,
    /// A cursor to an extra, empty page.
    ExtraPage,
}

/// The answer to ids in `accountIds`, `siteIds` and `groupIds` that the token cannot see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfScope {
    /// An empty page.
    #[default]
    Empty,
    /// 403.
    Forbidden,
}

/// The handling of unknown parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownParameters {
    #[default]
    Ignored,
    /// 400.
    Refused,
}

/// The answers to `countOnly`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counts {
    #[default]
    Exact,
    /// Wrong by this number, but not below zero.
    Off(i64),
    /// 400.
    Refused,
}

/// How this console differs from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quirks {
    pub last_page: LastPage,
    pub out_of_scope: OutOfScope,
    pub unknown_parameters: UnknownParameters,
    /// Whether time filters are rounded down to 10 ms: `__gt` returns the boundary again, and `__lte` misses the last
    /// records.
    pub times_rounded_to_10_ms: bool,
    /// How the console answers `countOnly`.
    pub counts: Counts,
    /// The maximum of `totalItems`.
    pub max_total: Option<u64>,
    /// Whether pages after the first have a total of 0. Otherwise each page has the total.
    pub total_on_first_page_only: bool,
    /// Whether `POST /users/api-token-details` answers 400 for an unknown token, and not 401.
    pub unknown_token_is_400: bool,
    /// Whether the list of a page without records is null.
    pub empty_is_null: bool,
    /// Whether requests for records by their ids return only one of them.
    pub one_by_ids: bool,
    /// Whether every successful answer has `errors: null`. Otherwise the key is left out.
    pub errors_null: bool,
    /// Whether answers are compressed for clients that accept gzip.
    pub gzip: bool,
    /// Fields of unified alerts that this release does not have, each as `Type.field`. A query with one of them fails.
    pub missing_alert_fields: Vec<String>,
    /// Fields by which this release cannot filter unified alerts. A query with one of them fails.
    pub missing_alert_filters: Vec<String>,
    /// Whether tokens of sites get an empty list of accounts, and not 403.
    pub accounts_empty_for_sites: bool,
    /// Whether pages of unified alerts end with a null edge and an edge with a null node.
    pub null_edges: bool,
    /// Sites without a licence for application findings.
    pub unlicensed_sites: Vec<u64>,
    /// Whether tokens with several scopes must name one in requests for application findings.
    pub risks_require_one_scope: bool,
    /// Requests for larger pages of application findings time out.
    pub risks_timeout_above: Option<usize>,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            last_page: LastPage::default(),
            out_of_scope: OutOfScope::default(),
            unknown_parameters: UnknownParameters::default(),
            times_rounded_to_10_ms: false,
            counts: Counts::default(),
            max_total: None,
            total_on_first_page_only: true,
            unknown_token_is_400: true,
            empty_is_null: false,
            one_by_ids: false,
            errors_null: false,
            gzip: true,
            missing_alert_fields: Vec::new(),
            missing_alert_filters: Vec::new(),
            accounts_empty_for_sites: false,
            null_edges: false,
            unlicensed_sites: Vec::new(),
            risks_require_one_scope: false,
            risks_timeout_above: None,
        }
    }
}

impl Quirks {
    /// Returns the bound of a time filter as the console compares it.
    pub(super) fn rounded_time(&self, micros: i64) -> i64 {
        if self.times_rounded_to_10_ms { micros - micros.rem_euclid(10_000) } else { micros }
    }
}
