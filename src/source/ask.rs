//! What a poll asks the console, and how it reads the answer: each kind of list in its own words.

use bytes::Bytes;

use super::poll::Poll;
use crate::console::{AlertsQuery, Client, ConsoleError, Turn};
use crate::record::{self, Stream, parse_connection, parse_page};

/// A page of a list without errors in it.
pub(super) fn read_list<'a>(client: &Client, body: &'a [u8]) -> Result<record::Page<'a>, ConsoleError> {
    let page = parse_page(body).map_err(|error| ConsoleError::transient(error.to_string()))?;
    let Some(error) = page.errors.first() else { return Ok(page) };
    let error = client.scrubbed(&error.to_string());
    Err(ConsoleError::transient(format!("the console answered 200 with an error: {error}")))
}

/// A body of a count.
const COUNT_BYTES: usize = 64 * 1024;
/// How often a page of unified alerts with an error beside its data is asked for again before it is taken as it is.
const PARTIAL_TRIES: usize = 3;

impl Poll {
    /// One request for the next page of the walk.
    pub(super) async fn ask(&self, turn: Turn, limit: usize, max_bytes: usize) -> Result<Bytes, ConsoleError> {
        let (skip, limit) = match &self.walk.skip {
            Some(skip) => skip.asks(limit),
            None => (0, limit),
        };
        self.ask_from(turn, skip, limit, max_bytes).await
    }

    /// The record at a place of the list.
    pub(super) async fn ask_at(&self, place: usize, max_bytes: usize) -> Result<Bytes, ConsoleError> {
        self.ask_from(self.client.turn().await, place, 1, max_bytes).await
    }

    async fn ask_from(&self, turn: Turn, skip: usize, limit: usize, max_bytes: usize) -> Result<Bytes, ConsoleError> {
        let limit = limit.clamp(1, self.endpoint.max_limit);
        if self.pull.stream == Stream::UnifiedAlerts {
            return self.ask_alerts(turn, limit, max_bytes, false).await;
        }
        let (skip, limit) = (skip.to_string(), limit.to_string());
        let mut query = vec![
            ("limit", limit.as_str()),
            ("sortBy", self.pass().sort_by),
            ("sortOrder", "asc"),
            ("skipCount", "true"),
        ];
        if self.walk.skip.is_some() {
            query.push(("skip", &skip));
        } else if let Some(cursor) = &self.walk.cursor {
            query.push(("cursor", cursor));
        }
        self.request(turn, query, max_bytes).await
    }

    /// One request for how many records there are in the list that is walked.
    pub(super) async fn ask_count(&self, turn: Turn) -> Result<Bytes, ConsoleError> {
        if self.pull.stream == Stream::UnifiedAlerts {
            return self.ask_alerts(turn, 1, COUNT_BYTES, true).await;
        }
        self.request(turn, vec![("countOnly", "true")], COUNT_BYTES).await
    }

    /// The next unified alert alone, with little more of it than its id and times.
    pub(super) async fn ask_briefly(&self) -> Result<Bytes, ConsoleError> {
        match self.ask_alerts(self.client.turn().await, 1, COUNT_BYTES, true).await {
            Err(ConsoleError::TooLarge(_)) => Err(ConsoleError::transient(
                "a record is too large for --memory-budget, and the console shows no less of it when asked for less",
            )),
            answer => answer,
        }
    }

    async fn ask_alerts(&self, turn: Turn, first: usize, max_bytes: usize, brief: bool) -> Result<Bytes, ConsoleError> {
        let query = AlertsQuery {
            brief,
            first,
            after: self.walk.cursor.as_deref(),
            by: self.pass().time_filter,
            from: Some(self.walk.from),
            to: Some(self.round.start),
            products: &self.pull.products,
            view: self.pull.view,
            newest_first: false,
        };
        self.client.unified_alerts(turn, &query, max_bytes, Some(&self.meter)).await
    }

    /// The poll's window and filters, and `query` before them.
    async fn request(&self, turn: Turn, mut query: Vec<(&str, &str)>, max_bytes: usize) -> Result<Bytes, ConsoleError> {
        if let Some(chain) = &self.chain {
            let narrowed = chain.query(self.position.since(), self.walk.from, self.round.start);
            query.extend(narrowed.iter().map(|(name, value)| (*name, value.as_str())));
            return self.client.findings(turn, &query, max_bytes, Some(&self.meter)).await;
        }
        let filter = self.pass().time_filter;
        let (from_name, to_name) = (format!("{filter}__gte"), format!("{filter}__lte"));
        let (from, to) = (self.walk.from.to_string(), self.round.start.to_string());
        let filters = self.pull.filters(&self.pull.types);
        query.extend([(from_name.as_str(), from.as_str()), (to_name.as_str(), to.as_str())]);
        query.extend(filters.iter().map(|(name, value)| (*name, value.as_str())));
        self.client.list(turn, self.endpoint.path, &query, max_bytes, Some(&self.meter)).await
    }

    /// A page without errors in it.
    pub(super) fn read<'a>(&mut self, body: &'a [u8]) -> Result<record::Page<'a>, ConsoleError> {
        if self.pull.stream == Stream::UnifiedAlerts {
            return self.read_alerts(body);
        }
        read_list(&self.client, body)
    }

    /// An error beside data is that of one field of one alert. It may pass; when it does not, the page is worth more than
    /// the field.
    fn read_alerts<'a>(&mut self, body: &'a [u8]) -> Result<record::Page<'a>, ConsoleError> {
        let connection =
            parse_connection(body, "alerts").map_err(|error| ConsoleError::transient(error.to_string()))?;
        if let Some(error) = connection.errors.first() {
            self.partial_answers += 1;
            let error = self.client.scrubbed(error);
            if self.partial_answers <= PARTIAL_TRIES {
                return Err(ConsoleError::transient(format!("the console answered 200 with an error: {error}")));
            }
            let lane = &self.meter.lane;
            tracing::warn!(pipeline = %lane.pipeline, stream = %lane.stream, sink = %lane.sink, %error, "a page is taken without a field that the console cannot tell");
        }
        self.partial_answers = 0;
        if connection.nothing > 0 {
            let lane = &self.meter.lane;
            tracing::debug!(pipeline = %lane.pipeline, stream = %lane.stream, alerts = connection.nothing, "the console showed alerts that are null");
        }
        let mut page = connection.page;
        if connection.lost {
            // A next page without a cursor: as good as one that leads back here.
            page.next_cursor = Some(self.walk.cursor.clone().unwrap_or_default().into());
            self.walk.seen.insert(super::poll::hash(page.next_cursor.as_deref().unwrap_or_default()));
        }
        Ok(page)
    }
}
