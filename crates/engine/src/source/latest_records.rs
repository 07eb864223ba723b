//! Reads the newest records of a stream without a position. The commands `preview` and `check` use it.

use std::sync::Arc;

use s1_forwarder_record::{Facts, facts};

use super::PullSettings;
use super::responses::read_page;
use crate::console::{Client, ConsoleError};

/// The newest records of a stream, newest first and without a position: for previews.
#[derive(Debug)]
pub struct LatestRecords {
    client: Arc<Client>,
    pull: PullSettings,
    cursor: Option<String>,
    left: usize,
}

/// Fewest records to ask for when some of them may be excluded.
const SPARE: usize = 200;

impl LatestRecords {
    /// Prepares to read at most `limit` records. Asks for nothing yet.
    pub fn new(client: Arc<Client>, pull: PullSettings, limit: usize) -> Self {
        Self { client, pull, cursor: None, left: limit }
    }

    /// Asks for one page of at most `max_bytes` and passes each record with its facts to `show`. Returns false after
    /// the last record, or once `limit` records were shown.
    ///
    /// # Errors
    /// If the console fails or refuses: see [`ConsoleError`]. The same call may be made again.
    pub async fn next(
        &mut self,
        max_bytes: usize,
        mut show: impl FnMut(&[u8], &Facts<'_>),
    ) -> Result<bool, ConsoleError> {
        let limit = if self.pull.excluded_types().is_empty() { self.left } else { self.left.max(SPARE) };
        let request = self.pull.protocol().latest(&self.pull, self.cursor.as_deref()).with_size(limit, max_bytes);
        let body = request.send(&self.client, self.client.permit().await, None).await?;
        let page = read_page(self.pull.stream, &body, self.client.redactor())?;
        for record in &page.records {
            let facts = facts(self.pull.stream, record);
            if self.left > 0 && !self.pull.excludes(&facts) {
                self.left -= 1;
                show(record, &facts);
            }
        }
        let next = page.next_cursor.as_deref().map(str::to_owned);
        // A repeated cursor leads nowhere.
        let more = self.left > 0 && !page.records.is_empty() && next.is_some() && next != self.cursor;
        self.cursor = next;
        Ok(more)
    }
}
