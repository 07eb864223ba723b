use std::time::Duration;

use super::ask::read_list;
use super::chain::Chain;
use super::{Findings, Pull, Since};
use crate::console::{AlertsQuery, Client, ConsoleError, Endpoint};
use crate::record::{Stream, Timestamp, parse_connection};
use crate::telemetry::Meter;

/// A body of a count.
const COUNT_BYTES: usize = 64 * 1024;

/// A closed window [from, to) that is pulled once, beside what a lane polls.
///
/// The console compares times at about 10 ms, so it is asked for a little more than the window, and what lies outside is
/// left out by the record's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Lower end, included.
    pub from: Timestamp,
    /// Upper end, not included.
    pub to: Timestamp,
    /// Which of a record's times says whether it lies in the window.
    pub by: By,
}

/// By which of a record's times it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The time that the stream is ordered by: what a lane would have seen change in the window.
    Order,
    /// When the record was made: whatever happens to it later, it stays in its window.
    Creation,
}

impl Window {
    /// Whether a record of this time lies in it. One without a time is where the console showed it.
    pub fn holds(&self, time: Option<Timestamp>) -> bool {
        time.is_none_or(|time| self.from <= time && time < self.to)
    }
}

impl Pull {
    /// The same records, but those of `window` alone and once. Nothing comes late into a window that is closed, so there
    /// is no overlap, and a position keeps few keys however much lies in it.
    pub fn within(&self, window: Window) -> Self {
        self.part(window, window)
    }

    /// The same where `window` is a part of one that is pulled as a whole. Where records are named by the snapshot that they
    /// belong to, they are named by the last one before the end of the whole: alike, however often and in whatever parts.
    pub fn part(&self, window: Window, whole: Window) -> Self {
        let named_by = self.snapshot.then(|| whole.to.aligned_to(self.interval));
        let since = Since::At(window.from);
        Self { window: Some(window), named_by, since, overlap: Duration::ZERO, ..self.clone() }
    }

    /// How many records the console counts in `window`, those that the pull leaves out itself (`exclude_types`) not among
    /// them: one request, or two. Counts above ten thousand have been seen capped.
    ///
    /// # Errors
    /// See [`ConsoleError`]; a console that cannot count is a failure that may pass.
    pub async fn count(&self, client: &Client, window: Window, meter: &Meter) -> Result<u64, ConsoleError> {
        let all = self.count_types(client, window, &self.types, meter).await?;
        let excluded: Vec<u32> = self
            .exclude_types
            .iter()
            .copied()
            .filter(|kind| self.types.is_empty() || self.types.contains(kind))
            .collect();
        if excluded.is_empty() || all == 0 {
            return Ok(all);
        }
        Ok(all.saturating_sub(self.count_types(client, window, &excluded, meter).await?))
    }

    async fn count_types(
        &self,
        client: &Client,
        window: Window,
        types: &[u32],
        meter: &Meter,
    ) -> Result<u64, ConsoleError> {
        if self.stream == Stream::UnifiedAlerts {
            return self.count_alerts(client, window, meter).await;
        }
        if let Some(findings) = &self.findings {
            return count_findings(client, findings, window, meter).await;
        }
        let endpoint = self.within(window).endpoint();
        let (from_name, to_name) = (format!("{}__gte", endpoint.time_filter), format!("{}__lt", endpoint.time_filter));
        let (from, to, filters) = (window.from.to_string(), window.to.to_string(), self.filters(types));
        let mut query = vec![
            ("countOnly", "true"),
            ("sortBy", endpoint.sort_by),
            (from_name.as_str(), from.as_str()),
            (&to_name, &to),
        ];
        query.extend(filters.iter().map(|(name, value)| (*name, value.as_str())));
        let body = client.list(client.turn().await, endpoint.path, &query, COUNT_BYTES, Some(meter)).await?;
        counted(client, &body)
    }

    async fn count_alerts(&self, client: &Client, window: Window, meter: &Meter) -> Result<u64, ConsoleError> {
        let query = AlertsQuery {
            brief: true,
            first: 1,
            by: self.within(window).endpoint().time_filter,
            from: Some(window.from),
            // Times are told in milliseconds, and both ends are included.
            to: Some(window.to.minus(Duration::from_millis(1))),
            products: &self.products,
            view: self.view,
            ..AlertsQuery::default()
        };
        let body = client.unified_alerts(client.turn().await, &query, COUNT_BYTES, Some(meter)).await?;
        let connection =
            parse_connection(&body, "alerts").map_err(|error| ConsoleError::transient(error.to_string()))?;
        connection.page.total_items.ok_or_else(|| ConsoleError::transient("the console's count cannot be read"))
    }

    /// Findings have no time of their last change, and alerts that were never updated have none either: what lies in a window
    /// is what was detected in it. Snapshots are read by the time of creation.
    fn is_windowed_by_creation(&self) -> bool {
        self.snapshot || matches!(self.stream, Stream::UnifiedAlerts | Stream::Vulnerabilities)
    }

    /// How the console is asked for these records.
    pub(super) fn endpoint(&self) -> Endpoint {
        match self.window {
            Some(_) if self.is_windowed_by_creation() => Endpoint::by_creation(self.stream),
            Some(Window { by: By::Creation, .. }) => Endpoint::by_creation(self.stream),
            _ => Endpoint::of(self.stream),
        }
    }

    /// By which of a record's times the console is asked for these records.
    pub(super) fn by(&self) -> By {
        match self.window {
            Some(_) if self.is_windowed_by_creation() => By::Creation,
            // Groups can be asked for by their last change alone.
            Some(Window { by: By::Creation, .. }) if self.stream != Stream::Groups => By::Creation,
            _ => By::Order,
        }
    }
}

/// Scope by scope, as they are read.
async fn count_findings(
    client: &Client,
    findings: &Findings,
    window: Window,
    meter: &Meter,
) -> Result<u64, ConsoleError> {
    let mut chain = Chain::detected(findings.clone());
    let mut sum = 0;
    loop {
        let narrowed = chain.query(Timestamp::default(), window.from, window.to);
        let mut query = vec![("countOnly", "true")];
        query.extend(narrowed.iter().map(|(name, value)| (*name, value.as_str())));
        let body = client.findings(client.turn().await, &query, COUNT_BYTES, Some(meter)).await?;
        sum += counted(client, &body)?;
        if !chain.advance() {
            return Ok(sum);
        }
    }
}

fn counted(client: &Client, body: &[u8]) -> Result<u64, ConsoleError> {
    let page = read_list(client, body)?;
    page.total_items.ok_or_else(|| ConsoleError::transient("the console's count cannot be read"))
}
