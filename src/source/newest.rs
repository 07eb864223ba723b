use std::sync::Arc;

use bytes::Bytes;

use super::Pull;
use super::ask::read_list;
use crate::console::{AlertsQuery, Client, ConsoleError};
use crate::record::{Facts, Stream, facts, parse_connection};

/// The newest records of a stream, the newest first: for looking at, without a position.
#[derive(Debug)]
pub struct Newest {
    client: Arc<Client>,
    pull: Pull,
    cursor: Option<String>,
    left: usize,
}

/// Asked for at least, where some of them may be left out.
const SPARE: usize = 200;

impl Newest {
    /// At most `limit` records.
    pub fn new(client: Arc<Client>, pull: Pull, limit: usize) -> Self {
        Self { client, pull, cursor: None, left: limit }
    }

    /// One request for more of them, its answer at most `max_bytes` long: hands each record and its facts to `show`. False
    /// when there are no more, or none are wanted.
    ///
    /// # Errors
    /// See [`ConsoleError`]. The same call may be made again.
    pub async fn next(
        &mut self,
        max_bytes: usize,
        mut show: impl FnMut(&[u8], &Facts<'_>),
    ) -> Result<bool, ConsoleError> {
        let excluding = !self.pull.exclude_types.is_empty();
        let limit = if excluding { self.left.max(SPARE) } else { self.left }.clamp(1, self.pull.endpoint().max_limit);
        let body = self.ask(limit, max_bytes).await?;
        let page = match self.pull.stream {
            Stream::UnifiedAlerts => {
                let connection = parse_connection(&body, "alerts");
                connection.map_err(|error| ConsoleError::transient(error.to_string()))?.page
            }
            _ => read_list(&self.client, &body)?,
        };
        for record in &page.records {
            let facts = facts(self.pull.stream, record);
            let excluded = facts.activity_type.is_some_and(|kind| self.pull.exclude_types.binary_search(&kind).is_ok());
            if self.left > 0 && !excluded {
                self.left -= 1;
                show(record, &facts);
            }
        }
        let next = page.next_cursor.as_deref().map(str::to_owned);
        // A cursor that comes again leads nowhere.
        let more = self.left > 0 && !page.records.is_empty() && next.is_some() && next != self.cursor;
        self.cursor = next;
        Ok(more)
    }

    async fn ask(&self, limit: usize, max_bytes: usize) -> Result<Bytes, ConsoleError> {
        let (endpoint, turn) = (self.pull.endpoint(), self.client.turn().await);
        if self.pull.stream == Stream::UnifiedAlerts {
            let query = AlertsQuery {
                first: limit,
                after: self.cursor.as_deref(),
                by: endpoint.sort_by,
                products: &self.pull.products,
                view: self.pull.view,
                newest_first: true,
                ..AlertsQuery::default()
            };
            return self.client.unified_alerts(turn, &query, max_bytes, None).await;
        }
        let (limit, filters) = (limit.to_string(), self.pull.filters(&self.pull.types));
        let is_of_findings = self.pull.stream == Stream::Vulnerabilities;
        // Findings are pulled by their ids, which are no times.
        let sort_by = if is_of_findings { "detectionDate" } else { endpoint.sort_by };
        let mut query =
            vec![("limit", limit.as_str()), ("sortBy", sort_by), ("sortOrder", "desc"), ("skipCount", "true")];
        if let Some(cursor) = &self.cursor {
            query.push(("cursor", cursor));
        }
        query.extend(filters.iter().map(|(name, value)| (*name, value.as_str())));
        if is_of_findings {
            return self.client.some_findings(turn, &query, max_bytes, None).await;
        }
        self.client.list(turn, endpoint.path, &query, max_bytes, None).await
    }
}
