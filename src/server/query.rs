//! Filter, order and page of a list of lanes, from the query of a URL.

use std::cmp::Ordering;
use std::fmt::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::lanes::{
    LaneRow, PipelineRow, Urgency, has_remap_problem, needs_attention, shown_dead_letters, urgency, warnings,
};
use crate::record::Timestamp;
use crate::telemetry::{LaneState, LaneView, Silence, StateName};

/// Rows that a list has at most if it is asked for in pages, and the default of the status page.
pub(super) const MAX_ROWS: usize = 500;
pub(super) const DEFAULT_ROWS: usize = 100;

/// The states in the order of their urgency, the worst first.
pub(super) const STATES: [&str; LaneState::NAMES.len()] = LaneState::NAMES;

/// The parameters as a URL has them. A form sends empty texts for empty fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    pipeline: String,
    stream: String,
    sink: String,
    state: String,
    sort: String,
    order: String,
    page: String,
    limit: String,
    /// Seconds after which the browser reloads the page.
    refresh: String,
    /// `all` or `this`.
    workers: String,
    /// `all` or `none`.
    files: String,
}

/// The lanes that a request asks for, and how they are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LaneQuery {
    /// A part of the name, in lower case; so are the next two.
    pub pipeline: String,
    pub stream: String,
    pub sink: String,
    /// A state's name, `failing`, `up`, `silent` or `warned`; empty for all.
    pub state: String,
    pub sort: Option<Sort>,
    pub descending: Option<bool>,
    /// Number of the page, from 1.
    pub page: usize,
    pub limit: Option<usize>,
    pub refresh: Option<u16>,
    /// Whether the other workers are asked. `None` if the URL does not say so.
    pub all_workers: Option<bool>,
    pub without_files: bool,
}

/// The key by which a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    /// By urgency, as [`Facts::by_urgency`] says.
    State,
    Lag,
    Rate,
    LastSuccess,
    DeadLetters,
    TokenExpiry,
}

impl Sort {
    pub const ALL: [Self; 7] =
        [Self::State, Self::Name, Self::Lag, Self::Rate, Self::LastSuccess, Self::DeadLetters, Self::TokenExpiry];

    /// Returns the value of `sort`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Lag => "lag",
            Self::Rate => "rate",
            Self::LastSuccess => "last_success",
            Self::DeadLetters => "dead_letters",
            Self::TokenExpiry => "token_expires",
        }
    }

    /// Returns the key in words, for the form.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state, worst first",
            Self::Lag => "lag",
            Self::Rate => "events per second",
            Self::LastSuccess => "last success",
            Self::DeadLetters => "dead letters",
            Self::TokenExpiry => "token expiry",
        }
    }

    /// Returns whether a list begins with the largest, as most operators want. Of times, a list begins with the
    /// earliest.
    pub const fn is_descending(self) -> bool {
        matches!(self, Self::State | Self::Lag | Self::Rate | Self::DeadLetters)
    }
}

/// A parameter has a value that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: expected {expected}")]
pub(super) struct QueryError {
    key: &'static str,
    expected: String,
}

impl Parameters {
    /// Parses the parameters.
    ///
    /// # Errors
    /// If a value means nothing.
    pub fn parse(self) -> Result<LaneQuery, QueryError> {
        let error = |key, expected: &str| QueryError { key, expected: expected.to_owned() };
        let number = |key, text: &str, most: usize| match text.parse() {
            _ if text.is_empty() => Ok(None),
            Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => Err(error(key, &format!("a number from 1 to {most}"))),
        };
        let state = self.state.replace(' ', "_");
        if !(state.is_empty() || STATES.contains(&&*state) || matches!(&*state, "failing" | "up" | "silent" | "warned"))
        {
            return Err(error("state", &format!("failing, up, silent, warned or one of {}", STATES.join(", "))));
        }
        let sort = match &*self.sort {
            "" => None,
            name => {
                let names = || Sort::ALL.map(Sort::name).join(", ");
                let found = Sort::ALL.into_iter().find(|sort| sort.name() == name);
                Some(found.ok_or_else(|| error("sort", &format!("one of {}", names())))?)
            }
        };
        let either = |key, text: &str, yes: &str, no: &str| match text {
            "" => Ok(None),
            text if text == yes => Ok(Some(true)),
            text if text == no => Ok(Some(false)),
            _ => Err(error(key, &format!("{yes} or {no}"))),
        };
        Ok(LaneQuery {
            pipeline: self.pipeline.trim().to_lowercase(),
            stream: self.stream.trim().to_lowercase(),
            sink: self.sink.trim().to_lowercase(),
            state,
            sort,
            descending: either("order", &self.order, "desc", "asc")?,
            page: number("page", &self.page, usize::MAX)?.unwrap_or(1),
            limit: number("limit", &self.limit, MAX_WANTED)?,
            refresh: number("refresh", &self.refresh, 3600)?.and_then(|seconds| u16::try_from(seconds).ok()),
            all_workers: either("workers", &self.workers, "all", "this")?,
            without_files: either("files", &self.files, "none", "all")? == Some(true),
        })
    }
}

/// Number of the last row that a list over several workers can reach: each worker sends all rows up to it.
pub(super) const MAX_WANTED: usize = 10_000;

impl LaneQuery {
    /// Returns the query of a link to a list like this one. Values at their defaults are left out.
    pub fn link(&self) -> String {
        let mut link = "?".to_owned();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                let separator = if link.len() > 1 { "&" } else { "" };
                // Writing to a String cannot fail.
                let _ = write!(link, "{separator}{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
            }
        };
        let number = |number: usize| number.to_string();
        add("pipeline", &self.pipeline);
        add("stream", &self.stream);
        add("sink", &self.sink);
        add("state", &self.state);
        add("sort", self.sort.map(Sort::name).unwrap_or_default());
        add("order", self.descending.map(|descending| if descending { "desc" } else { "asc" }).unwrap_or_default());
        add("limit", &self.limit.map(number).unwrap_or_default());
        add("page", &if self.page > 1 { number(self.page) } else { String::new() });
        add("refresh", &self.refresh.map(|seconds| seconds.to_string()).unwrap_or_default());
        add("workers", self.all_workers.map(|all| if all { "all" } else { "this" }).unwrap_or_default());
        add("files", if self.without_files { "none" } else { "" });
        link
    }

    /// Returns the rows of the page, counted from 0.
    pub fn rows(&self) -> std::ops::Range<usize> {
        let Some(limit) = self.limit else { return 0..usize::MAX };
        let first = (self.page - 1).saturating_mul(limit);
        first..first.saturating_add(limit)
    }

    pub fn sort(&self) -> Sort {
        self.sort.unwrap_or(Sort::Name)
    }

    pub fn is_descending(&self) -> bool {
        self.descending.unwrap_or(self.sort().is_descending())
    }

    pub fn matches(&self, lane: &Facts<'_>) -> bool {
        let (pipeline, stream, sink) = lane.name;
        let contains = |name: &str, part: &str| part.is_empty() || name.to_lowercase().contains(part);
        let has_state = match &*self.state {
            "" => true,
            "failing" => needs_attention(lane.state_name()),
            "up" => lane.up,
            "silent" => lane.silent,
            "warned" => lane.warned,
            state => state == lane.state,
        };
        has_state && contains(pipeline, &self.pipeline) && contains(stream, &self.stream) && contains(sink, &self.sink)
    }

    /// Compares two lanes. Lanes that are equal in the key of the list are in the order of their names.
    pub fn order(&self, one: &Facts<'_>, other: &Facts<'_>) -> Ordering {
        let by = match self.sort() {
            Sort::Name => one.name.cmp(&other.name),
            Sort::State => one.by_urgency(other),
            Sort::Lag => one.lag.total_cmp(&other.lag),
            Sort::Rate => one.rate.total_cmp(&other.rate),
            Sort::LastSuccess => one.last_success.cmp(&other.last_success),
            Sort::DeadLetters => one.dead_letters.cmp(&other.dead_letters),
            Sort::TokenExpiry => one.token_expires.cmp(&other.token_expires),
        };
        let by = if self.is_descending() { by.reverse() } else { by };
        by.then_with(|| one.name.cmp(&other.name))
    }
}

/// The facts by which lanes are filtered and sorted.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub name: (&'a str, &'a str, &'a str),
    pub state: &'a str,
    pub up: bool,
    pub silent: bool,
    pub unpolled: bool,
    /// Whether the lane has warnings: see [`LaneRow::warnings`].
    pub warned: bool,
    /// Seconds; negative if unknown.
    pub lag: f64,
    /// Events delivered per second.
    pub rate: f64,
    pub dead_letters: u64,
    last_success: i64,
    /// The latest time if unknown, or if it never does.
    token_expires: i64,
}

impl<'a> Facts<'a> {
    pub fn of_view(view: &'a LaneView, now: Timestamp) -> Self {
        let metrics = &view.metrics;
        let StateName { name: state, is_up: up } = metrics.state_name();
        Self {
            name: (&metrics.id.pipeline, metrics.id.stream.name(), &metrics.id.sink),
            state,
            up,
            silent: metrics.silence().is_silent(),
            unpolled: metrics.silence() == Silence::Unpolled,
            warned: has_remap_problem(metrics) || !warnings(view).is_empty(),
            lag: metrics.lag(now).map_or(-1.0, |lag| lag.as_secs_f64()),
            rate: view.delivered_per_second,
            dead_letters: shown_dead_letters(metrics),
            last_success: metrics.last_success().map_or(i64::MIN, Timestamp::micros),
            token_expires: view.token.expires.filter(|time| !time.is_never()).map_or(i64::MAX, Timestamp::micros),
        }
    }

    pub fn of_lane(lane: &'a LaneRow) -> Self {
        Self {
            name: (&lane.pipeline, &lane.stream, &lane.sink),
            state: &lane.state,
            up: lane.up,
            silent: lane.silent == Some(true),
            unpolled: lane.unpolled,
            warned: !lane.warnings.is_empty(),
            lag: lane.lag_seconds.unwrap_or(-1.0),
            rate: lane.delivered_per_second,
            dead_letters: lane.shown_dead_letters(),
            last_success: micros(lane.last_success.as_deref(), i64::MIN),
            token_expires: micros(lane.token_expires.as_deref(), i64::MAX),
        }
    }

    pub fn of_pipeline(row: &'a PipelineRow) -> Self {
        Self {
            name: (&row.pipeline, "", ""),
            lag: row.lag_seconds.unwrap_or(-1.0),
            rate: row.delivered_per_second,
            dead_letters: row.dead_letters,
            last_success: micros(row.last_success.as_deref(), i64::MIN),
            ..Self::of_lane(&row.worst)
        }
    }

    /// Returns the facts by which a pipeline is sorted whose most urgent lane is `worst`.
    pub fn of_lanes<'b>(worst: &Self, lanes: impl Iterator<Item = &'b Self> + Clone) -> Self
    where
        'a: 'b,
    {
        Self {
            name: (worst.name.0, "", ""),
            state: worst.state,
            up: worst.up,
            silent: worst.silent,
            unpolled: worst.unpolled,
            warned: worst.warned,
            lag: lanes.clone().map(|lane| lane.lag).fold(-1.0, f64::max),
            rate: lanes.clone().map(|lane| lane.rate).sum(),
            dead_letters: lanes.clone().fold(0, |sum, lane| sum.saturating_add(lane.dead_letters)),
            last_success: lanes.map(|lane| lane.last_success).min().unwrap_or(i64::MIN),
            token_expires: worst.token_expires,
        }
    }

    pub fn last_success(&self) -> Option<Timestamp> {
        Some(self.last_success).filter(|micros| *micros != i64::MIN).map(Timestamp::from_micros)
    }

    /// Compares by urgency: the more urgent is the greater. Of equal ones, the one with the larger lag is the greater.
    pub fn by_urgency(&self, other: &Self) -> Ordering {
        self.urgency().cmp(&other.urgency()).then(self.lag.total_cmp(&other.lag))
    }

    fn urgency(&self) -> Urgency {
        urgency(self.state_name(), self.silent, self.warned)
    }

    fn state_name(&self) -> StateName<'_> {
        StateName { name: self.state, is_up: self.up }
    }
}

fn micros(time: Option<&str>, otherwise: i64) -> i64 {
    time.and_then(|text| Timestamp::parse(text).ok()).map_or(otherwise, Timestamp::micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(change: impl FnOnce(&mut Parameters)) -> Result<LaneQuery, QueryError> {
        let mut parameters = Parameters::default();
        change(&mut parameters);
        parameters.parse()
    }

    #[test]
    fn values_without_a_meaning_are_refused() {
        assert_eq!(query(|_| {}), Ok(LaneQuery { page: 1, ..LaneQuery::default() }));
        let refused = |change: fn(&mut Parameters)| query(change).unwrap_err().to_string();
        assert!(
            refused(|it| it.state = "broken".into())
                .starts_with("state: expected failing, up, silent, warned or one of stopped, ")
        );
        assert!(refused(|it| it.sort = "size".into()).starts_with("sort: expected one of state, name, "));
        assert_eq!(refused(|it| it.order = "up".into()), "order: expected desc or asc");
        assert_eq!(refused(|it| it.page = "0".into()), format!("page: expected a number from 1 to {}", usize::MAX));
        assert_eq!(refused(|it| it.limit = "10001".into()), "limit: expected a number from 1 to 10000");
        assert_eq!(refused(|it| it.workers = "some".into()), "workers: expected all or this");
    }

    #[test]
    fn a_link_asks_for_the_same() {
        let asked = query(|it| {
            it.pipeline = "a&b=<c>".into();
            it.state = "sink failing".into();
            it.sort = "lag".into();
            it.order = "asc".into();
            it.page = "3".into();
            it.limit = "20".into();
            it.workers = "this".into();
        })
        .unwrap();
        let link = asked.link();
        assert_eq!(
            link,
            "?pipeline=a%26b%3D%3Cc%3E&state=sink%5Ffailing&sort=lag&order=asc&limit=20&page=3&workers=this"
        );
        assert_eq!(asked.rows(), 40..60);
        let url = url::Url::parse(&format!("http://worker/{link}")).unwrap();
        let again = serde_json::to_value(url.query_pairs().collect::<std::collections::BTreeMap<_, _>>()).unwrap();
        assert_eq!(serde_json::from_value::<Parameters>(again).unwrap().parse().unwrap(), asked);
    }
}
