//! Fault injection. The console's seed determines when faults happen.

use std::collections::HashMap;
use std::time::Duration;

use super::kind::Kind;
use super::random::Random;

/// The `Retry-After` header of a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// No header, as on real consoles.
    #[default]
    Absent,
    Seconds(u32),
    /// An HTTP date this number of seconds in the future.
    Date(u32),
}

/// A fault of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// 401 for a valid token.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 429 with HTML of the proxy.
    TooManyRequests(RetryAfter),
    /// 500 with a JSON body.
    InternalError,
    /// 501 with a JSON body.
    NotSupported,
    /// 502 with plain text.
    BadGateway,
    /// 503 with HTML.
    Unavailable,
    /// 504 with HTML.
    GatewayTimeout,
    /// 200 with `errors` and no data.
    ErrorsOnly,
    /// 200 with `errors` and all data except for one field (unified alerts only).
    ErrorsWithData,
    /// 200 with valid data and `errors: [{}]`, which clients must accept.
    HarmlessErrors,
    /// 200 with `data: null`.
    NullData,
    /// 200 with HTML.
    HtmlPage,
    /// The connection ends within the body.
    Truncated,
    /// Delay before the first byte.
    SlowAnswer(Duration),
    /// Time to send the body.
    SlowBody(Duration),
    /// The connection ends without an answer.
    Dropped,
    /// 400 for a valid cursor. Does not affect requests without a cursor.
    RefusedCursor,
    /// 404 for a valid cursor. Does not affect requests without a cursor.
    LostCursor,
    /// The page of a valid cursor is empty, or has only some of its records, and is the last one.
    EarlyEnd,
    /// The answer's `nextCursor` is the request's own cursor.
    RepeatedCursor,
    /// Fewer records than requested although more exist. The cursor continues after them.
    ShortPage,
    /// The `Date` header is wrong by this number of seconds.
    WrongDate(i64),
    /// An activity is created before the answer, with a creation time up to this long ago.
    LateArrival(Duration),
    /// A record changes after the answer.
    ChangedWhilePaged,
}

/// When a fault happens.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    pub fault: Fault,
    /// From 0 (never) to 1 (always).
    pub probability: f64,
    /// The affected kinds of records; all if empty.
    pub kinds: Vec<Kind>,
    /// Maximum number of times; `None` means no limit.
    pub max_times: Option<u32>,
}

/// The faults of a console.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Random faults. An answer has at most one fault that fails it.
    pub rules: Vec<FaultRule>,
    /// Maximum number of consecutive failures per token and endpoint, so that a client that retries succeeds.
    pub max_consecutive: u32,
    /// Requests per second and token; further requests are answered with 429.
    pub rate_limit: Option<u32>,
    /// Requests for these kinds are always answered with 403.
    pub forbidden: Vec<Kind>,
    /// Requests for these kinds are always answered with 404.
    pub missing: Vec<Kind>,
    /// Requests for the application findings of these sites always have the fault.
    pub sites: Vec<(u64, Fault)>,
}

impl Default for Faults {
    fn default() -> Self {
        let (rules, forbidden, missing, sites) = Default::default();
        Self { rules, max_consecutive: 3, rate_limit: None, forbidden, missing, sites }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown fault `{0}`; there are: {known}", known = Faults::PRESETS.join(", "))]
pub struct UnknownPreset(String);

impl Faults {
    /// The names for [`Self::preset`].
    pub const PRESETS: [&'static str; 14] = [
        "none",
        "unauthorized",
        "rate-limit",
        "server-errors",
        "bodies",
        "slow",
        "dropped",
        "cursors",
        "short-pages",
        "early-ends",
        "clock",
        "late",
        "changes",
        "all",
    ];

    /// Adds a fault for all kinds of records.
    #[must_use]
    pub fn with(mut self, fault: Fault, probability: f64) -> Self {
        self.rules.push(FaultRule { fault, probability, kinds: Vec::new(), max_times: None });
        self
    }

    /// Adds a fault for one kind of record.
    #[must_use]
    pub fn with_on(mut self, kind: Kind, fault: Fault, probability: f64) -> Self {
        self.rules.push(FaultRule { fault, probability, kinds: vec![kind], max_times: None });
        self
    }

    /// Adds a fault of the next `times` answers.
    #[must_use]
    pub fn next_times(mut self, times: u32, fault: Fault) -> Self {
        self.rules.push(FaultRule { fault, probability: 1.0, kinds: Vec::new(), max_times: Some(times) });
        self.max_consecutive = self.max_consecutive.max(times);
        self
    }

    /// Adds the faults of another set.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self.rate_limit = self.rate_limit.or(other.rate_limit);
        self.forbidden.extend(other.forbidden);
        self.missing.extend(other.missing);
        self.sites.extend(other.sites);
        self
    }

    /// Returns the faults of a preset of `emulate --faults`.
    ///
    /// # Errors
    /// If the name is unknown.
    pub fn preset(name: &str) -> Result<Self, UnknownPreset> {
        let none = Self::default();
        Ok(match name {
            "none" => none,
            "unauthorized" => none.with(Fault::Unauthorized, 0.02),
            "rate-limit" => none
                .with(Fault::TooManyRequests(RetryAfter::Absent), 0.03)
                .with(Fault::TooManyRequests(RetryAfter::Seconds(1)), 0.02)
                .with(Fault::TooManyRequests(RetryAfter::Date(2)), 0.02),
            "server-errors" => none
                .with(Fault::InternalError, 0.02)
                .with(Fault::BadGateway, 0.02)
                .with(Fault::Unavailable, 0.01)
                .with(Fault::GatewayTimeout, 0.02),
            "bodies" => none
                .with(Fault::ErrorsOnly, 0.02)
                .with(Fault::HarmlessErrors, 0.05)
                .with(Fault::HtmlPage, 0.02)
                .with(Fault::Truncated, 0.03),
            "slow" => none
                .with(Fault::SlowAnswer(Duration::from_millis(500)), 0.05)
                .with(Fault::SlowBody(Duration::from_secs(1)), 0.05),
            "dropped" => none.with(Fault::Dropped, 0.03),
            "cursors" => {
                none.with(Fault::RefusedCursor, 0.02).with(Fault::LostCursor, 0.02).with(Fault::RepeatedCursor, 0.02)
            }
            "short-pages" => none.with(Fault::ShortPage, 0.2),
            "early-ends" => none.with(Fault::EarlyEnd, 0.02),
            "clock" => none.with(Fault::WrongDate(3600), 0.2),
            "late" => none.with(Fault::LateArrival(Duration::from_mins(4)), 0.2),
            "changes" => none.with(Fault::ChangedWhilePaged, 0.3),
            // Without refused permissions and wrong clocks, which rightly stop a client for minutes. Also without lists
            // that end too early: a client cannot detect them if counts do not help.
            "all" => [
                "rate-limit",
                "server-errors",
                "bodies",
                "slow",
                "dropped",
                "cursors",
                "short-pages",
                "late",
                "changes",
            ]
            .into_iter()
            .try_fold(none, |all, name| Self::preset(name).map(|one| all.merge(one)))?,
            _ => return Err(UnknownPreset(name.to_owned())),
        })
    }
}

impl Fault {
    /// Returns whether the request fails.
    pub(super) const fn fails(self) -> bool {
        !matches!(
            self,
            Self::HarmlessErrors
                | Self::SlowAnswer(_)
                | Self::SlowBody(_)
                | Self::ShortPage
                | Self::EarlyEnd
                | Self::WrongDate(_)
                | Self::LateArrival(_)
                | Self::ChangedWhilePaged
        )
    }

    const fn needs_cursor(self) -> bool {
        matches!(self, Self::RefusedCursor | Self::LostCursor | Self::RepeatedCursor | Self::EarlyEnd)
    }
}

/// Selects the faults of each answer and counts them.
pub(super) struct FaultInjector {
    pub faults: Faults,
    /// How often each rule was applied.
    counts: Vec<u32>,
    /// Consecutive failures by token and path.
    consecutive: HashMap<(String, String), u32>,
    random: Random,
    /// The current second and its number of requests, by token.
    windows: HashMap<String, (i64, u32)>,
}

impl FaultInjector {
    pub fn new(seed: u64) -> Self {
        Self {
            faults: Faults::default(),
            counts: Vec::new(),
            consecutive: HashMap::new(),
            random: Random::new(seed, 0xfa),
            windows: HashMap::new(),
        }
    }

    pub fn set(&mut self, faults: Faults) {
        self.counts = vec![0; faults.rules.len()];
        self.consecutive.clear();
        self.faults = faults;
    }

    /// Counts a request. Returns false if it exceeds the rate limit.
    pub fn within_rate(&mut self, token: &str, now: i64) -> bool {
        let Some(limit) = self.faults.rate_limit else { return true };
        let second = now.div_euclid(super::time::SECOND);
        let window = self.windows.entry(token.to_owned()).or_insert((second, 0));
        if window.0 != second {
            *window = (second, 0);
        }
        window.1 += 1;
        window.1 <= limit
    }

    /// Returns the faults of this request: at most one that fails it, and any number of others.
    pub fn inject(&mut self, token: &str, path: &str, kind: Kind, with_cursor: bool) -> Vec<Fault> {
        let mut injected = Vec::new();
        let failures = self.consecutive.entry((token.to_owned(), path.to_owned())).or_default();
        let mut failed = false;
        for (rule, count) in self.faults.rules.iter().zip(&mut self.counts) {
            let possible = (rule.kinds.is_empty() || rule.kinds.contains(&kind))
                && rule.max_times.is_none_or(|max| *count < max)
                && (with_cursor || !rule.fault.needs_cursor());
            if !possible || !self.random.chance(rule.probability) {
                continue;
            }
            if rule.fault.fails() {
                if failed || *failures >= self.faults.max_consecutive {
                    continue;
                }
                failed = true;
            }
            *count += 1;
            injected.push(rule.fault);
        }
        *failures = if failed { *failures + 1 } else { 0 };
        injected
    }
}
