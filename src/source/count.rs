//! Counts the records of a closed window.

use super::requests::Request;
use super::responses::read_page;
use super::{Pull, Window};
use crate::console::{Client, ConsoleError};
use crate::telemetry::Meter;

impl Pull {
    /// How many records the console counts in `window`, without those that the program drops itself (`exclude_types`).
    /// Consoles were seen to cap counts above ten thousand.
    ///
    /// # Errors
    /// See [`ConsoleError`]. A count that cannot be read is a transient failure.
    pub async fn count(&self, client: &Client, window: Window, meter: Option<&Meter>) -> Result<u64, ConsoleError> {
        let all = self.count_types(client, window, &self.types, meter).await?;
        let is_pulled = |kind: &u32| self.types.is_empty() || self.types.contains(kind);
        let excluded: Vec<u32> = self.exclude_types.iter().copied().filter(is_pulled).collect();
        if excluded.is_empty() || all == 0 {
            return Ok(all);
        }
        Ok(all.saturating_sub(self.count_types(client, window, &excluded, meter).await?))
    }

    /// How many records of these activity types the console counts; of all types when empty.
    async fn count_types(
        &self,
        client: &Client,
        window: Window,
        types: &[u32],
        meter: Option<&Meter>,
    ) -> Result<u64, ConsoleError> {
        let mut sum = 0;
        for request in self.protocol().count_window(self, window, types) {
            sum += self.ask(request, client, meter).await?;
        }
        Ok(sum)
    }

    async fn ask(&self, request: Request, client: &Client, meter: Option<&Meter>) -> Result<u64, ConsoleError> {
        let body = request.send(client, client.permit().await, meter).await?;
        let count = read_page(self.stream, &body, client.redactor())?.total_items;
        count.ok_or_else(|| ConsoleError::transient("the console's count cannot be read"))
    }
}
