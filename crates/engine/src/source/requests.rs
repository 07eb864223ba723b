//! Requests for records. `protocols/` builds the requests of polls, counts, previews and probes.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use s1_forwarder_record::{Level, Stream, Timestamp};
use s1_forwarder_telemetry::Meter;
use serde_json::{Map, Value};

use super::findings::FindingsScan;
use super::parameters::{Parameter, Parameters, order};
use super::{Pass, PullSettings, ThreatInclude};
use crate::console::{AlertFields, Client, ConsoleError, Endpoint, RequestPermit, ScopeFilter};

/// Largest body of a count, or of one alert in brief.
pub(super) const SMALL_BYTES: usize = 64 * 1024;
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
    List { path: Cow<'static, str>, query: Parameters, scope: ScopeFilter },
    /// GraphQL; `variables` lack `first` and `scope`.
    Alerts { variables: Map<String, Value>, fields: AlertFields },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// The sender chooses, up to the most records that the console accepts in `limit`.
    Page { max_limit: usize },
    /// A small answer for which no memory needs to be reserved.
    Fixed { limit: Option<usize>, max_bytes: usize },
}

/// Beginning of a page in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageStart<'a> {
    /// At the first record.
    First,
    /// After the page that had this cursor.
    Cursor(&'a str),
    /// After this number of records.
    Skip(usize),
}

/// The records that a poll walks through: the records of one pass from `from` to `to`, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordList<'a> {
    pub pull: &'a PullSettings,
    pub pass: &'a Pass,
    pub findings: Option<&'a FindingsScan>,
    /// Time before which the lane owes nothing.
    pub since: Timestamp,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl RecordList<'_> {
    /// Requests a page of at most `most` records.
    pub fn page(&self, start: PageStart<'_>, most: usize) -> Request {
        let max_limit = Endpoint::of(self.pull.stream).max_limit.min(most);
        self.pull.protocol().records(self, start, Size::Page { max_limit })
    }

    /// Requests the record at `start`, as far as it fits into `max_bytes`.
    pub fn one(&self, start: PageStart<'_>, max_bytes: usize) -> Request {
        self.pull.protocol().records(self, start, Size::Fixed { limit: Some(1), max_bytes })
    }

    /// Requests the number of records in the list.
    pub fn count(&self) -> Request {
        self.pull.protocol().count(self)
    }

    /// Requests the number of records from `from` to before `to`.
    pub fn count_in(&self, from: Timestamp, to: Timestamp) -> Request {
        self.pull.protocol().count_between(self.pull, self.pass.time_filter, from, to)
    }
}

impl PageStart<'_> {
    /// Returns the parameter for a list that begins here; `None` at the beginning.
    pub fn parameter(self) -> Option<Parameter> {
        match self {
            Self::First => None,
            Self::Cursor(cursor) => Some(("cursor".into(), cursor.to_owned())),
            Self::Skip(records) => Some(("skip".into(), records.to_string())),
        }
    }
}

impl Request {
    fn new(content: Content, size: Size) -> Self {
        Self { content, size, pause: Duration::ZERO }
    }

    pub(super) fn list(path: impl Into<Cow<'static, str>>, query: Parameters, scope: ScopeFilter, size: Size) -> Self {
        Self::new(Content::List { path: path.into(), query, scope }, size)
    }

    pub(super) fn unified_alerts(variables: Map<String, Value>, fields: AlertFields, size: Size) -> Self {
        Self::new(Content::Alerts { variables, fields }, size)
    }

    /// Requests the records of a list that come last in the order of `sort_by`.
    pub(super) fn latest_of_list(pull: &PullSettings, sort_by: &str, cursor: Option<&str>, scope: ScopeFilter) -> Self {
        let endpoint = Endpoint::of(pull.stream);
        let mut query = order(sort_by, "desc");
        query.extend(cursor.and_then(|cursor| PageStart::Cursor(cursor).parameter()));
        query.extend(pull.parameters());
        Self::list(endpoint.path, query, scope, Size::Page { max_limit: endpoint.max_limit })
    }

    /// Requests a page of the accounts, sites or groups that the token may see, narrowed by `scope`.
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

    /// Requests the newest notes, or timeline items, of a threat.
    pub fn enrichment(threat: &str, include: ThreatInclude, max_bytes: usize) -> Self {
        let query = vec![("sortBy".into(), "createdAt".to_owned()), ("sortOrder".into(), "desc".to_owned())];
        let size = Size::Fixed { limit: Some(include.limit()), max_bytes };
        Self::list(format!("threats/{threat}/{}", include.name()), query, ScopeFilter::None, size)
    }

    /// Requests the threats with these ids.
    pub fn threats(ids: &[CompactString], max_bytes: usize) -> Self {
        let size = Size::Fixed { limit: Some(ids.len()), max_bytes };
        let path = Endpoint::of(Stream::Threats).path;
        Self::list(path, vec![("ids".into(), ids.join(","))], ScopeFilter::None, size)
    }

    pub(super) fn after(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Returns the time to wait before the request is sent.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Returns whether the answer is a page of records whose size the sender chooses.
    pub fn is_page(&self) -> bool {
        matches!(self.size, Size::Page { .. })
    }

    /// Limits the answer to `limit` records in `max_bytes`, if the answer is a page.
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
    /// If the console fails or refuses: see [`ConsoleError`].
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
            Content::Alerts { variables, fields } => {
                let mut variables = variables.clone();
                variables.insert("first".to_owned(), limit.unwrap_or(1).into());
                client.unified_alerts(permit, variables, *fields, max_bytes, meter).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts about a request, for tests that play the console.
    impl Request {
        /// Returns the value of a parameter of the query.
        pub(in crate::source) fn parameter(&self, name: &str) -> Option<&str> {
            let Content::List { query, .. } = &self.content else { return None };
            query.iter().find(|(asked, _)| asked == name).map(|(_, value)| value.as_str())
        }

        /// Returns the path, or the variables, with the maximum number of records and of bytes.
        pub(in crate::source) fn outline(&self) -> (String, usize, usize) {
            let (limit, max_bytes) = match self.size {
                Size::Page { max_limit } => (max_limit, usize::MAX),
                Size::Fixed { limit, max_bytes } => (limit.unwrap_or(0), max_bytes),
            };
            let asked = match &self.content {
                Content::List { path, .. } => path.to_string(),
                Content::Alerts { variables, fields } => {
                    format!("{} {}", *fields == AlertFields::Brief, Value::Object(variables.clone()))
                }
            };
            (asked, limit, max_bytes)
        }
    }
}
