//! Counts the records of a closed window.

use super::findings::FindingsScan;
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
        if let Some(findings) = &self.findings {
            let mut scan = FindingsScan::detected(findings.clone());
            let mut sum = self.ask(Request::count_findings(&scan, window), client, meter).await?;
            while scan.advance() {
                sum += self.ask(Request::count_findings(&scan, window), client, meter).await?;
            }
            return Ok(sum);
        }
        let all = self.ask(Request::count_in_window(self, window, &self.types), client, meter).await?;
        let is_pulled = |kind: &u32| self.types.is_empty() || self.types.contains(kind);
        let excluded: Vec<u32> = self.exclude_types.iter().copied().filter(is_pulled).collect();
        if excluded.is_empty() || all == 0 {
            return Ok(all);
        }
        Ok(all.saturating_sub(self.ask(Request::count_in_window(self, window, &excluded), client, meter).await?))
    }

    async fn ask(&self, request: Request, client: &Client, meter: Option<&Meter>) -> Result<u64, ConsoleError> {
        let body = request.send(client, client.permit().await, meter).await?;
        let count = read_page(self.stream, &body, client.redactor())?.total_items;
        count.ok_or_else(|| ConsoleError::transient("the console's count cannot be read"))
    }
}
