//! The fields that events of all streams share.

use s1_forwarder_record::{Identity, Scope, Timestamp, Value};

use super::event::{Event, is_missing_word};
use crate::common::page;

/// Fields of an event that do not come from the record. Byte slices are prepared JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommonFields<'f> {
    pub head: &'f [u8],
    pub observer: &'f [u8],
    pub scope: Option<&'f Scope>,
    pub provenance: &'f [u8],
    pub console_host: &'f str,
    pub identity: Identity,
    /// The record, and whether it has white space between its tokens.
    pub original: Option<(&'f str, bool)>,
}

impl Event<'_> {
    /// Writes everything before the event's own objects. The first valid date of `times` becomes `@timestamp`, the
    /// first of `versions` the version of `observer`.
    pub fn head<const T: usize, const V: usize>(
        &mut self,
        common: &CommonFields<'_>,
        times: [Value<'_>; T],
        versions: [Value<'_>; V],
    ) {
        self.times(times);
        self.json.raw(b",");
        self.json.raw(common.head);
        self.json.raw(common.observer);
        for version in versions {
            if self.text("version", version).is_some() {
                break;
            }
        }
        self.json.raw(b"}");
    }

    /// Opens the event and writes `@timestamp`: the first valid date of `times`. ECS requires a time, so the time of
    /// mapping is used if there is none.
    pub fn times<const T: usize>(&mut self, times: [Value<'_>; T]) {
        self.json.raw(b"{");
        if !times.into_iter().any(|time| self.date("@timestamp", time)) {
            self.json.word("@timestamp", &Timestamp::now().to_string());
        }
    }

    /// Writes `event.url`: the page of a threat in the console.
    pub fn threat_url(&mut self, common: &CommonFields<'_>, id: Value<'_>) {
        if let Some(id) = id.escaped().filter(|id| !is_missing_word(*id)) {
            self.url(&page::threat(common.console_host, id));
        }
    }

    /// Writes the fields of `event` that name the source of the event, and `event.original`.
    pub fn provenance(&mut self, common: &CommonFields<'_>) {
        self.json.raw(b",");
        self.json.raw(common.provenance);
        if let Some((record, has_spaces)) = common.original {
            self.json.quoted_json("original", record, has_spaces);
        }
    }

    /// Writes everything after the event's own objects. The caller then writes the vendor namespace, which is last.
    pub fn tail(&mut self) {
        self.write_related_and_errors();
    }
}
