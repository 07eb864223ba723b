//! What can go wrong, and how often. Everything is decided by the console's seed.

use std::collections::HashMap;
use std::time::Duration;

use super::kind::Kind;
use super::random::Random;

/// What a 429 says about waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// Nothing, as seen on live consoles.
    #[default]
    Absent,
    /// A number of seconds.
    Seconds(u32),
    /// An HTTP date so many seconds ahead.
    Date(u32),
}

/// One thing that goes wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mishap {
    /// 401, though the token is good.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 429, the proxy's HTML.
    TooManyRequests(RetryAfter),
    /// 500 with a JSON body.
    InternalError,
    /// 501 with a JSON body.
    NotSupported,
    /// 502, `Bad Gateway` as plain text.
    BadGateway,
    /// 503, HTML.
    Unavailable,
    /// 504, HTML.
    GatewayTimeout,
    /// 200 with `errors` and no data.
    ErrorsInside,
    /// 200 with `errors` beside all the data, which is whole save for one field (unified alerts only).
    ErrorsBesideData,
    /// Good data beside `errors: [{}]`: to be taken as good.
    HarmlessErrors,
    /// 200 with `data: null`.
    NullData,
    /// 200 with a page of HTML.
    HtmlPage,
    /// The connection ends within the body.
    Truncated,
    /// The first byte takes this long.
    SlowAnswer(Duration),
    /// The body takes this long.
    SlowBody(Duration),
    /// The connection ends without an answer.
    Dropped,
    /// 400 for a good cursor; requests without cursor pass.
    RefusedCursor,
    /// The answer's `nextCursor` is the request's own cursor.
    RepeatedCursor,
    /// Fewer records than there are and were asked for; the cursor goes on behind them.
    ShortPage,
    /// The `Date` header is off by so many seconds, as from one node with a wrong clock.
    WrongDate(i64),
    /// Before the page is answered, an activity appears that is up to this much older than now.
    LateArrival(Duration),
    /// After the page is answered, one of its records changes.
    ChangedWhilePaged,
}

/// A mishap with its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What happens.
    pub mishap: Mishap,
    /// How often: 0 never, 1 always.
    pub chance: f64,
    /// On which kinds of records; empty means all.
    pub kinds: Vec<Kind>,
    /// How often at most since it was set; None is without limit.
    pub at_most: Option<u32>,
}

/// The faults of a console: switched at start, and at any time later.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// What happens by chance. At most one mishap that fails an answer happens to it.
    pub faults: Vec<Fault>,
    /// So many failed answers in a row at most, per token and endpoint, so that a client that tries again gets through.
    pub at_most_in_a_row: u32,
    /// Requests a second and token; more are answered with 429.
    pub rate_limit: Option<u32>,
    /// Kinds that nobody may read: 403, always.
    pub forbidden: Vec<Kind>,
    /// Kinds that this console does not have: 404, always.
    pub missing: Vec<Kind>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { faults: Vec::new(), at_most_in_a_row: 3, rate_limit: None, forbidden: Vec::new(), missing: Vec::new() }
    }
}

/// No preset has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown fault `{0}`; there are: {known}", known = Faults::PRESETS.join(", "))]
pub struct UnknownPreset(String);

impl Faults {
    /// The names that `preset` knows.
    pub const PRESETS: [&'static str; 13] = [
        "none",
        "unauthorized",
        "rate-limit",
        "server-errors",
        "bodies",
        "slow",
        "dropped",
        "cursors",
        "short-pages",
        "clock",
        "late",
        "changes",
        "all",
    ];

    /// Adds a fault on every kind of record.
    #[must_use]
    pub fn with(mut self, mishap: Mishap, chance: f64) -> Self {
        self.faults.push(Fault { mishap, chance, kinds: Vec::new(), at_most: None });
        self
    }

    /// Adds a fault on one kind of record.
    #[must_use]
    pub fn with_on(mut self, kind: Kind, mishap: Mishap, chance: f64) -> Self {
        self.faults.push(Fault { mishap, chance, kinds: vec![kind], at_most: None });
        self
    }

    /// Adds a fault that happens to the next `times` answers and then no more.
    #[must_use]
    pub fn next_times(mut self, times: u32, mishap: Mishap) -> Self {
        self.faults.push(Fault { mishap, chance: 1.0, kinds: Vec::new(), at_most: Some(times) });
        self.at_most_in_a_row = self.at_most_in_a_row.max(times);
        self
    }

    /// Adds what another set holds.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.faults.extend(other.faults);
        self.rate_limit = self.rate_limit.or(other.rate_limit);
        self.forbidden.extend(other.forbidden);
        self.missing.extend(other.missing);
        self
    }

    /// A named set, as `emulate --faults` takes it.
    ///
    /// # Errors
    /// When there is none of the name.
    pub fn preset(name: &str) -> Result<Self, UnknownPreset> {
        let none = Self::default();
        Ok(match name {
            "none" => none,
            "unauthorized" => none.with(Mishap::Unauthorized, 0.02),
            "rate-limit" => none
                .with(Mishap::TooManyRequests(RetryAfter::Absent), 0.03)
                .with(Mishap::TooManyRequests(RetryAfter::Seconds(1)), 0.02)
                .with(Mishap::TooManyRequests(RetryAfter::Date(2)), 0.02),
            "server-errors" => none
                .with(Mishap::InternalError, 0.02)
                .with(Mishap::BadGateway, 0.02)
                .with(Mishap::Unavailable, 0.01)
                .with(Mishap::GatewayTimeout, 0.02),
            "bodies" => none
                .with(Mishap::ErrorsInside, 0.02)
                .with(Mishap::HarmlessErrors, 0.05)
                .with(Mishap::HtmlPage, 0.02)
                .with(Mishap::Truncated, 0.03),
            "slow" => none
                .with(Mishap::SlowAnswer(Duration::from_millis(500)), 0.05)
                .with(Mishap::SlowBody(Duration::from_secs(1)), 0.05),
            "dropped" => none.with(Mishap::Dropped, 0.03),
            "cursors" => none.with(Mishap::RefusedCursor, 0.02).with(Mishap::RepeatedCursor, 0.02),
            "short-pages" => none.with(Mishap::ShortPage, 0.2),
            "clock" => none.with(Mishap::WrongDate(3600), 0.2),
            "late" => none.with(Mishap::LateArrival(Duration::from_secs(240)), 0.2),
            "changes" => none.with(Mishap::ChangedWhilePaged, 0.3),
            // Failing permissions and wrong clocks are left out: they stop a client for minutes, which is right.
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
            .try_fold(none, |all, name| Self::preset(name).map(|one| all.and(one)))?,
            _ => return Err(UnknownPreset(name.to_owned())),
        })
    }
}

impl Mishap {
    /// The client does not get what it asked for.
    pub(super) const fn fails(self) -> bool {
        !matches!(
            self,
            Self::HarmlessErrors
                | Self::SlowAnswer(_)
                | Self::SlowBody(_)
                | Self::ShortPage
                | Self::WrongDate(_)
                | Self::LateArrival(_)
                | Self::ChangedWhilePaged
        )
    }

    const fn needs_cursor(self) -> bool {
        matches!(self, Self::RefusedCursor | Self::RepeatedCursor)
    }
}

/// The faults at work: what has happened already.
pub(super) struct Trouble {
    pub faults: Faults,
    happened: Vec<u32>,
    in_a_row: HashMap<(String, String), u32>,
    random: Random,
    windows: HashMap<String, (i64, u32)>,
}

impl Trouble {
    pub fn new(seed: u64) -> Self {
        Self {
            faults: Faults::default(),
            happened: Vec::new(),
            in_a_row: HashMap::new(),
            random: Random::new(seed, 0xfa),
            windows: HashMap::new(),
        }
    }

    pub fn set(&mut self, faults: Faults) {
        self.happened = vec![0; faults.faults.len()];
        self.in_a_row.clear();
        self.faults = faults;
    }

    /// Counts a request against the rate limit; false when it is one too many in its second.
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

    /// What happens to this request: at most one mishap that fails it, and any number of the others.
    pub fn strike(&mut self, token: &str, path: &str, kind: Kind, with_cursor: bool) -> Vec<Mishap> {
        let mut struck = Vec::new();
        let row = self.in_a_row.entry((token.to_owned(), path.to_owned())).or_default();
        let mut failed = false;
        for (fault, happened) in self.faults.faults.iter().zip(&mut self.happened) {
            let possible = (fault.kinds.is_empty() || fault.kinds.contains(&kind))
                && fault.at_most.is_none_or(|most| *happened < most)
                && (with_cursor || !fault.mishap.needs_cursor());
            if !possible || !self.random.chance(fault.chance) {
                continue;
            }
            if fault.mishap.fails() {
                if failed || *row >= self.faults.at_most_in_a_row {
                    continue;
                }
                failed = true;
            }
            *happened += 1;
            struck.push(fault.mishap);
        }
        *row = if failed { *row + 1 } else { 0 };
        struck
    }
}
