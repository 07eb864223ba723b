use std::sync::Arc;

use bytes::Bytes;

use super::Pull;
use super::poll::read;
use crate::console::{Client, ConsoleError};
use crate::record::{Facts, facts};

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
        let endpoint = self.pull.endpoint();
        let excluding = !self.pull.exclude_types.is_empty();
        let limit = if excluding { self.left.max(SPARE) } else { self.left }.clamp(1, endpoint.max_limit).to_string();
        let filters = self.pull.filters(&self.pull.types);
        let mut query =
            vec![("limit", limit.as_str()), ("sortBy", endpoint.sort_by), ("sortOrder", "desc"), ("skipCount", "true")];
        query.extend(filters.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(cursor) = &self.cursor {
            query.push(("cursor", cursor));
        }
        let turn = self.client.turn().await;
        let body: Bytes = self.client.list(turn, endpoint.path, &query, max_bytes, None).await?;
        let page = read(&self.client, &body)?;
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
}
