//! Builds every request for records: those of polls, counts, previews, probes and enrichments.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::findings::FindingsScan;
use super::{Include, Pass, Pull, Window};
use crate::console::{Client, ConsoleError, Endpoint, RequestPermit, ScopeFilter};
use crate::record::{Level, Stream, Timestamp};
use crate::telemetry::Meter;

/// Largest body of a count, or of one alert in brief.
const SMALL_BYTES: usize = 64 * 1024;
/// Largest page of accounts, sites or groups.
const SCOPES_BYTES: usize = 16 * 1024 * 1024;

/// The console's answer to one request.
pub type Answer = Result<Bytes, ConsoleError>;

/// A request to a console, complete but for token, scope and, for pages of records, size.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    content: Content,
    size: Size,
    pause: Duration,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    /// A GET; `query` lacks `limit`.
    List { path: Cow<'static, str>, query: Vec<(Cow<'static, str>, String)>, scope: ScopeFilter },
    /// GraphQL; `variables` lack `first` and `scope`.
    Alerts { variables: Map<String, Value>, brief: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// The sender chooses, up to the most records that the console accepts in `limit`.
    Page { max_limit: usize },
    /// A small answer for which no memory needs to be reserved.
    Fixed { limit: Option<usize>, max_bytes: usize },
}

/// Where in its list a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// At the first record.
    First,
    /// After the page that had this cursor.
    Cursor(&'a str),
    /// After so many records.
    Skip(usize),
}

/// The records that a poll walks through: those of one pass from `from` to `to`, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordList<'a> {
    pub pull: &'a Pull,
    pub pass: &'a Pass,
    pub findings: Option<&'a FindingsScan>,
    /// The lane owes nothing before this time.
    pub since: Timestamp,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl RecordList<'_> {
    /// A page of at most `most` records.
    pub fn page(&self, place: Place<'_>, most: usize) -> Request {
        let max_limit = Endpoint::of(self.pull.stream).max_limit.min(most);
        self.records(place, Size::Page { max_limit })
    }

    /// The record at `place`, as far as it fits into `max_bytes`.
    pub fn one(&self, place: Place<'_>, max_bytes: usize) -> Request {
        self.records(place, Size::Fixed { limit: Some(1), max_bytes })
    }

    /// The next unified alert without the fields that can be long.
    pub fn brief_alert(&self, place: Place<'_>) -> Request {
        self.alerts(place, true, Size::Fixed { limit: Some(1), max_bytes: SMALL_BYTES })
    }

    /// The number of records in the list.
    pub fn count(&self) -> Request {
        let size = Size::Fixed { limit: None, max_bytes: SMALL_BYTES };
        match self.pull.stream {
            Stream::UnifiedAlerts => self.brief_alert(Place::First),
            _ => self.list(vec![("countOnly".into(), "true".to_owned())], size),
        }
    }

    /// The number of records from `from` to before `to`.
    pub fn count_in(&self, from: Timestamp, to: Timestamp) -> Request {
        Request::count_between(self.pull, self.pass.time_filter, None, (from, to), &self.pull.types)
    }

    fn records(&self, place: Place<'_>, size: Size) -> Request {
        if self.pull.stream == Stream::UnifiedAlerts {
            return self.alerts(place, false, size);
        }
        let mut query = order(self.pass.sort_by, "asc");
        match place {
            Place::First => {}
            Place::Cursor(cursor) => query.push(("cursor".into(), cursor.to_owned())),
            Place::Skip(records) => query.push(("skip".into(), records.to_string())),
        }
        self.list(query, size)
    }

    fn alerts(&self, place: Place<'_>, brief: bool, size: Size) -> Request {
        let cursor = if let Place::Cursor(cursor) = place { Some(cursor) } else { None };
        let by = self.pass.time_filter;
        let variables = alert_variables(self.pull, (by, "ASC"), Some(self.from), Some(self.to), cursor);
        Request::new(Content::Alerts { variables, brief }, size)
    }

    fn list(&self, mut query: Vec<(Cow<'static, str>, String)>, size: Size) -> Request {
        if let Some(scan) = self.findings {
            query.extend(named(scan.query(self.since, self.from, self.to)));
            return Request::list(Endpoint::of(Stream::Vulnerabilities).path, query, ScopeFilter::None, size);
        }
        let filter = self.pass.time_filter;
        query.push((format!("{filter}__gte").into(), self.from.to_string()));
        query.push((format!("{filter}__lte").into(), self.to.to_string()));
        query.extend(named(self.pull.filters(&self.pull.types)));
        Request::list(Endpoint::of(self.pull.stream).path, query, ScopeFilter::Pipeline, size)
    }
}

impl Request {
    fn new(content: Content, size: Size) -> Self {
        Self { content, size, pause: Duration::ZERO }
    }

    fn list(
        path: impl Into<Cow<'static, str>>,
        query: Vec<(Cow<'static, str>, String)>,
        scope: ScopeFilter,
        size: Size,
    ) -> Self {
        Self::new(Content::List { path: path.into(), query, scope }, size)
    }

    /// One record of a stream, or none: whether the token may read it, and the console's time.
    pub fn probe(stream: Stream, max_bytes: usize) -> Self {
        let endpoint = Endpoint::of(stream);
        let size = Size::Fixed { limit: Some(1), max_bytes };
        match stream {
            Stream::UnifiedAlerts => {
                let variables = alert_variables(&Pull::of(stream), (endpoint.sort_by, "ASC"), None, None, None);
                Self::new(Content::Alerts { variables, brief: true }, size)
            }
            Stream::Vulnerabilities => {
                let query = vec![("skipCount".into(), "true".to_owned())];
                Self::list(endpoint.path, query, ScopeFilter::First, size)
            }
            _ => Self::list(endpoint.path, Vec::new(), ScopeFilter::Pipeline, size),
        }
    }

    /// The newest records that `pull` selects, without a position.
    pub(super) fn latest(pull: &Pull, cursor: Option<&str>) -> Self {
        let endpoint = pull.endpoint();
        let size = Size::Page { max_limit: endpoint.max_limit };
        if pull.stream == Stream::UnifiedAlerts {
            let variables = alert_variables(pull, (endpoint.sort_by, "DESC"), None, None, cursor);
            return Self::new(Content::Alerts { variables, brief: false }, size);
        }
        let is_of_findings = pull.stream == Stream::Vulnerabilities;
        // Polls sort findings by id, which says nothing of their age.
        let mut query = order(if is_of_findings { "detectionDate" } else { endpoint.sort_by }, "desc");
        query.extend(cursor.map(|cursor| ("cursor".into(), cursor.to_owned())));
        query.extend(named(pull.filters(&pull.types)));
        let scope = if is_of_findings { ScopeFilter::First } else { ScopeFilter::Pipeline };
        Self::list(endpoint.path, query, scope, size)
    }

    /// The number of records in `window` of these activity types; all types when empty. Not for findings.
    pub(super) fn count_in_window(pull: &Pull, window: Window, types: &[u32]) -> Self {
        let endpoint = pull.within(window).endpoint();
        Self::count_between(pull, endpoint.time_filter, Some(endpoint.sort_by), (window.from, window.to), types)
    }

    /// The number of records from `from` on and before `to`, by the time that `filter` names.
    fn count_between(
        pull: &Pull,
        filter: &str,
        sort_by: Option<&str>,
        (from, to): (Timestamp, Timestamp),
        types: &[u32],
    ) -> Self {
        let size = |limit| Size::Fixed { limit, max_bytes: SMALL_BYTES };
        if pull.stream == Stream::UnifiedAlerts {
            // The console compares milliseconds and includes both ends.
            let last = to.minus(Duration::from_millis(1));
            let variables = alert_variables(pull, (filter, "ASC"), Some(from), Some(last), None);
            return Self::new(Content::Alerts { variables, brief: true }, size(Some(1)));
        }
        let mut query = vec![("countOnly".into(), "true".to_owned())];
        query.extend(sort_by.map(|sort_by| ("sortBy".into(), sort_by.to_owned())));
        query.push((format!("{filter}__gte").into(), from.to_string()));
        query.push((format!("{filter}__lt").into(), to.to_string()));
        query.extend(named(pull.filters(types)));
        Self::list(Endpoint::of(pull.stream).path, query, ScopeFilter::Pipeline, size(None))
    }

    /// The number of findings that were detected in `window`, in the scope at which `scan` is.
    pub(super) fn count_findings(scan: &FindingsScan, window: Window) -> Self {
        let mut query = vec![("countOnly".into(), "true".to_owned())];
        query.extend(named(scan.query(Timestamp::default(), window.from, window.to)));
        let size = Size::Fixed { limit: None, max_bytes: SMALL_BYTES };
        Self::list(Endpoint::of(Stream::Vulnerabilities).path, query, ScopeFilter::None, size)
    }

    /// A page of the accounts, sites or groups that the token may see, narrowed by `scope`.
    pub(super) fn scopes(level: Level, cursor: Option<&str>, scope: ScopeFilter) -> Self {
        let (path, limit) = match level {
            Level::Account => ("accounts", 1000),
            Level::Site => ("sites", 1000),
            Level::Group => ("groups", Endpoint::of(Stream::Groups).max_limit),
        };
        let mut query = vec![("sortBy".into(), "id".to_owned()), ("sortOrder".into(), "asc".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor".into(), cursor.to_owned())));
        let size = Size::Fixed { limit: Some(limit), max_bytes: SCOPES_BYTES };
        Self::list(path, query, scope, size)
    }

    /// The newest notes, or timeline items, of a threat.
    pub fn enrichment(threat: &str, include: Include, max_bytes: usize) -> Self {
        let query = vec![("sortBy".into(), "createdAt".to_owned()), ("sortOrder".into(), "desc".to_owned())];
        let size = Size::Fixed { limit: Some(include.limit()), max_bytes };
        Self::list(format!("threats/{threat}/{}", include.name()), query, ScopeFilter::None, size)
    }

    pub(super) fn after(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// How long to wait before the request is sent.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Whether the answer is a page of records whose size the sender chooses.
    pub fn is_page(&self) -> bool {
        matches!(self.size, Size::Page { .. })
    }

    /// The same with at most `limit` records in at most `max_bytes`, where the answer is a page.
    #[must_use]
    pub fn with_size(self, limit: usize, max_bytes: usize) -> Self {
        match self.size {
            Size::Page { max_limit } => {
                Self { size: Size::Fixed { limit: Some(limit.clamp(1, max_limit)), max_bytes }, ..self }
            }
            Size::Fixed { .. } => self,
        }
    }

    /// Sends the request once. A page must have a size.
    ///
    /// # Errors
    /// See [`ConsoleError`].
    pub async fn send(&self, client: &Client, permit: RequestPermit, meter: Option<&Meter>) -> Answer {
        let (limit, max_bytes) = match self.size {
            Size::Page { max_limit } => (Some(max_limit), 0),
            Size::Fixed { limit, max_bytes } => (limit, max_bytes),
        };
        match &self.content {
            Content::List { path, query, scope } => {
                let limit = limit.map(|limit| limit.to_string());
                let limit = limit.iter().map(|limit| ("limit", limit.as_str()));
                let query: Vec<_> =
                    limit.chain(query.iter().map(|(name, value)| (name.as_ref(), value.as_str()))).collect();
                client.list(permit, path, &query, *scope, max_bytes, meter).await
            }
            Content::Alerts { variables, brief } => {
                let mut variables = variables.clone();
                variables.insert("first".to_owned(), limit.unwrap_or(1).into());
                client.unified_alerts(permit, variables, *brief, max_bytes, meter).await
            }
        }
    }
}

fn order(sort_by: &str, direction: &str) -> Vec<(Cow<'static, str>, String)> {
    let pairs = [("sortBy", sort_by), ("sortOrder", direction), ("skipCount", "true")];
    pairs.into_iter().map(|(name, value)| (name.into(), value.to_owned())).collect()
}

fn named(pairs: Vec<(&'static str, String)>) -> impl Iterator<Item = (Cow<'static, str>, String)> {
    pairs.into_iter().map(|(name, value)| (name.into(), value))
}

/// GraphQL variables for the alerts that `pull` selects, sorted and filtered by one of their times.
fn alert_variables(
    pull: &Pull,
    (by, order): (&str, &str),
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    cursor: Option<&str>,
) -> Map<String, Value> {
    let mut filters = Vec::new();
    if from.is_some() || to.is_some() {
        // In milliseconds, as alerts show their times.
        let start = from.map(Timestamp::millis);
        let end = to.map(Timestamp::millis);
        let range = json!({ "start": start, "startInclusive": true, "end": end, "endInclusive": true });
        filters.push(json!({ "fieldId": by, "dateTimeRange": range }));
    }
    if !pull.products.is_empty() {
        filters.push(json!({ "fieldId": "detectionProduct", "stringIn": { "values": pull.products } }));
    }
    Map::from_iter([
        ("after".to_owned(), cursor.into()),
        ("filters".to_owned(), filters.into()),
        ("viewType".to_owned(), pull.view.unwrap_or("ALL").into()),
        ("sort".to_owned(), json!({ "by": by, "order": order })),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For tests that play the console.
    impl Request {
        /// A parameter of the query.
        pub(in crate::source) fn parameter(&self, name: &str) -> Option<&str> {
            let Content::List { query, .. } = &self.content else { return None };
            query.iter().find(|(asked, _)| asked == name).map(|(_, value)| value.as_str())
        }

        /// Path and variables, the most records and the most bytes, likewise.
        pub(in crate::source) fn outline(&self) -> (String, usize, usize) {
            let (limit, max_bytes) = match self.size {
                Size::Page { max_limit } => (max_limit, usize::MAX),
                Size::Fixed { limit, max_bytes } => (limit.unwrap_or(0), max_bytes),
            };
            let asked = match &self.content {
                Content::List { path, .. } => path.to_string(),
                Content::Alerts { variables, brief } => format!("{brief} {}", Value::Object(variables.clone())),
            };
            (asked, limit, max_bytes)
        }
    }
}
