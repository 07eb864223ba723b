//! Counts the records of a closed window.

use s1_forwarder_telemetry::Meter;

use super::requests::Request;
use super::responses::read_page;
use super::{PullSettings, Window};
use crate::console::{Client, ConsoleError};

impl PullSettings {
    /// Returns the number of records that the console counts in `window`, without records that the program drops itself
    /// (`exclude_types`). Consoles were seen to cap counts above ten thousand.
    ///
    /// # Errors
    /// If the console fails or refuses: see [`ConsoleError`]. A count that cannot be read is a transient failure.
    pub async fn count(&self, client: &Client, window: Window, meter: Option<&Meter>) -> Result<u64, ConsoleError> {
        let all = self.count_asked(client, window, meter).await?;
        match self.excluded() {
            Some(excluded) if all > 0 => Ok(all.saturating_sub(excluded.count_asked(client, window, meter).await?)),
            _ => Ok(all),
        }
    }

    /// Returns the sum of the console's counts, one for each request that the window needs.
    async fn count_asked(&self, client: &Client, window: Window, meter: Option<&Meter>) -> Result<u64, ConsoleError> {
        let mut sum = 0;
        for request in self.protocol().count_window(self, window) {
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
