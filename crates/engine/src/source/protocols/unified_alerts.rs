//! The GraphQL requests for unified alerts.

use std::time::Duration;

use s1_forwarder_record::{Stream, Timestamp};
use serde_json::{Map, Value, json};

use super::protocol::Protocol;
use crate::console::{AlertFields, Endpoint};
use crate::source::requests::{PageStart, RecordList, Request, SMALL_BYTES, Size};
use crate::source::{PullSettings, UnifiedAlertFilter, Window};

/// GraphQL requests for a connection of unified alerts. Its count is asked for by asking for one alert in brief.
#[derive(Debug)]
pub struct UnifiedAlertList;

impl UnifiedAlertList {
    /// Requests the next alert without the fields that can be long.
    pub fn brief(list: &RecordList<'_>, start: PageStart<'_>) -> Request {
        Request::unified_alerts(in_time(list, start), AlertFields::Brief, ONE)
    }
}

const ONE: Size = Size::Fixed { limit: Some(1), max_bytes: SMALL_BYTES };

impl Protocol for UnifiedAlertList {
    fn records(&self, list: &RecordList<'_>, start: PageStart<'_>, size: Size) -> Request {
        Request::unified_alerts(in_time(list, start), AlertFields::All, size)
    }

    fn count(&self, list: &RecordList<'_>) -> Request {
        Self::brief(list, PageStart::First)
    }

    fn count_between(&self, pull: &PullSettings, filter: &str, from: Timestamp, to: Timestamp) -> Request {
        // The console compares milliseconds and includes both ends.
        let last = to.minus(Duration::from_millis(1));
        Request::unified_alerts(variables(pull, (filter, "ASC"), Some(from), Some(last), None), AlertFields::Brief, ONE)
    }

    fn count_window(&self, pull: &PullSettings, window: Window) -> Vec<Request> {
        let filter = pull.within(window).list_order().time_filter;
        vec![self.count_between(pull, filter, window.from, window.to)]
    }

    fn probe(&self, stream: Stream, max_bytes: usize) -> Request {
        let order = (Endpoint::of(stream).order.sort_by, "ASC");
        let size = Size::Fixed { limit: Some(1), max_bytes };
        Request::unified_alerts(variables(&PullSettings::of(stream), order, None, None, None), AlertFields::Brief, size)
    }

    fn latest(&self, pull: &PullSettings, cursor: Option<&str>) -> Request {
        let size = Size::Page { max_limit: Endpoint::of(pull.stream).max_limit };
        Request::unified_alerts(
            variables(pull, (pull.list_order().sort_by, "DESC"), None, None, cursor),
            AlertFields::All,
            size,
        )
    }

    fn has_parts(&self) -> bool {
        true
    }
}

fn in_time(list: &RecordList<'_>, start: PageStart<'_>) -> Map<String, Value> {
    let cursor = if let PageStart::Cursor(cursor) = start { Some(cursor) } else { None };
    variables(list.pull, (list.pass.time_filter, "ASC"), Some(list.from), Some(list.to), cursor)
}

/// Returns the variables of a query for the alerts that `pull` selects, sorted and filtered by the time field `by`.
fn variables(
    pull: &PullSettings,
    (by, order): (&str, &str),
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    cursor: Option<&str>,
) -> Map<String, Value> {
    let mut filters = Vec::new();
    if from.is_some() || to.is_some() {
        // Times are in milliseconds, as alerts show them.
        let start = from.map(Timestamp::millis);
        let end = to.map(Timestamp::millis);
        let range = json!({ "start": start, "startInclusive": true, "end": end, "endInclusive": true });
        filters.push(json!({ "fieldId": by, "dateTimeRange": range }));
    }
    let own = pull.unified_alerts();
    if let Some(UnifiedAlertFilter { products, .. }) = own
        && !products.is_empty()
    {
        filters.push(json!({ "fieldId": "detectionProduct", "stringIn": { "values": products } }));
    }
    Map::from_iter([
        ("after".to_owned(), cursor.into()),
        ("filters".to_owned(), filters.into()),
        ("viewType".to_owned(), own.and_then(|own| own.view).unwrap_or("ALL").into()),
        ("sort".to_owned(), json!({ "by": by, "order": order })),
    ])
}
