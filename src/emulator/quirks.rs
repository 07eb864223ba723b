//! Ways of answering in which consoles differ from each other. None of them is an error.

/// How the end of a list is told.
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
    /// A cursor, behind which there is an empty page.
    OneMore,
}

/// What happens to ids in `accountIds`, `siteIds`, `groupIds` that the token cannot see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfScope {
    /// An empty page.
    #[default]
    Empty,
    /// 403.
    Forbidden,
}

/// What happens to parameters that an endpoint does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownParameters {
    /// Nothing.
    #[default]
    Ignored,
    /// 400.
    Refused,
}

/// How this console differs from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quirks {
    /// How the end of a list is told.
    pub last_page: LastPage,
    /// What happens to scope ids that the token cannot see.
    pub out_of_scope: OutOfScope,
    /// What happens to unknown parameters.
    pub unknown_parameters: UnknownParameters,
    /// Time filters drop everything below 10 ms, so that `__gt` returns the boundary again and `__lte` stops short.
    pub compares_at_10_ms: bool,
    /// `totalItems` is never larger than this.
    pub total_cap: Option<u64>,
    /// The limit of skip-less totals: pages after the first say 0; false repeats the total on each.
    pub total_on_first_page_only: bool,
    /// An unknown token in `POST /users/api-token-details` is 400; false: 401.
    pub unknown_token_is_400: bool,
    /// `errors: null` in every good answer; false leaves the key out.
    pub errors_null: bool,
    /// gzip for those who ask for it.
    pub gzip: bool,
    /// Fields that this release's unified alerts do not have, each as `Type.field`: a query that names one fails.
    pub unified_alerts_lack: Vec<String>,
    /// Pages of unified alerts end with an edge that is null and one whose node is.
    pub null_edges: bool,
    /// Sites without the licence for application findings.
    pub unlicensed_sites: Vec<u64>,
    /// Application findings are refused to tokens of several scopes that name none.
    pub risks_want_one_scope: bool,
    /// Application findings time out on pages of more records than this.
    pub risks_time_out_above: Option<usize>,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            last_page: LastPage::default(),
            out_of_scope: OutOfScope::default(),
            unknown_parameters: UnknownParameters::default(),
            compares_at_10_ms: false,
            total_cap: None,
            total_on_first_page_only: true,
            unknown_token_is_400: true,
            errors_null: false,
            gzip: true,
            unified_alerts_lack: Vec::new(),
            null_edges: false,
            unlicensed_sites: Vec::new(),
            risks_want_one_scope: false,
            risks_time_out_above: None,
        }
    }
}

impl Quirks {
    /// A bound as the console compares it.
    pub(super) fn compared(&self, micros: i64) -> i64 {
        if self.compares_at_10_ms { micros - micros.rem_euclid(10_000) } else { micros }
    }
}
