//! `metadata`, and the end of an event.

use s1_forwarder_record::{Escaped, Identity, Level, Scope, Timestamp, Value};

use super::event::Event;
use crate::common::page;
use crate::json::Json;
use crate::streams::activity::LogEntry;

/// Parts of an event that do not come from the record. Byte slices are prepared JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommonFields<'f> {
    /// `version` to `log_provider`, and `labels`.
    pub metadata: &'f [u8],
    pub console_host: &'f str,
    pub identity: Identity,
    /// The record, and whether it has white space between its tokens.
    pub original: Option<(&'f str, bool)>,
    pub scope: Option<&'f Scope>,
}

/// The console, which logged the record before this program received it.
const LOGGER: &[u8] = br#""name":"SentinelOne","product":{"vendor_name":"SentinelOne","name":"Singularity"}"#;

/// Values of the record that `metadata` has. Most of them have other attributes too.
#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    /// The console's id of the record.
    pub record_id: Value<'a>,
    /// The text of the event's time.
    pub original_time: Value<'a>,
    /// Time at which the console logged the record.
    pub logged: Value<'a>,
    pub modified: Value<'a>,
    /// The id that joins the events of several streams.
    pub correlation: Value<'a>,
    pub event_code: Value<'a>,
    pub tenant: Value<'a>,
}

impl<'a> Metadata<'a> {
    /// Returns the metadata of an activity. `correlation` is the id that joins the events of several streams.
    pub fn of_entry(entry: &LogEntry<'a>, correlation: Value<'a>) -> Self {
        Self {
            record_id: entry.id,
            logged: entry.created,
            modified: entry.updated,
            correlation,
            event_code: entry.activity_type,
            tenant: entry.account_id,
            ..Self::default()
        }
    }

    /// Writes the first valid time of `times` as `time`, and remembers its text. OCSF requires a time, so the time of
    /// mapping is used if there is none.
    pub fn time<const T: usize>(&mut self, event: &mut Event<'_>, times: [Value<'a>; T]) {
        match times.into_iter().find_map(|value| Some((value, event.read_time(value)?))) {
            Some((value, time)) => {
                event.timestamp("time", time);
                self.original_time = value;
            }
            None => event.timestamp("time", Timestamp::now()),
        }
    }

    pub fn write(&self, event: &mut Event<'_>, common: &CommonFields<'_>) {
        let tenant = match common.scope {
            Some(scope) if scope.level == Level::Account => Some(scope.id.as_str()),
            _ => None,
        };
        let open = event.open("metadata");
        begin(&mut event.json, common.metadata, common.identity);
        event.optional("original_event_uid", self.record_id.escaped());
        event.optional("original_time", self.original_time.escaped());
        if let Some(time) = event.read_time(self.logged) {
            let list = event.json.open_list("loggers");
            let element = event.json.open_element();
            event.json.raw(LOGGER);
            event.timestamp("logged_time", time);
            event.json.close(element);
            event.json.close(list);
        }
        if let Some(time) = event.read_time(self.modified) {
            event.timestamp("modified_time", time);
        }
        event.timestamp("processed_time", Timestamp::now());
        event.optional("correlation_uid", self.correlation.escaped());
        event.optional("event_code", self.event_code.escaped());
        if event.optional("tenant_uid", self.tenant.escaped()).is_none()
            && let Some(id) = tenant
        {
            event.json.text("tenant_uid", id);
        }
        let list = event.json.open_list("profiles");
        event.profiles().for_each(|profile| event.json.element(Escaped::plain(profile)));
        event.json.close(list);
        if event.uses_windows {
            event.json.name("extensions");
            event.json.raw(br#"[{"name":"win","uid":"2","version":"1.9.0"}]"#);
        }
        event.close(open);
    }
}

/// Writes the beginning of the open `metadata` object.
pub(super) fn begin(json: &mut Json<'_>, prepared: &[u8], identity: Identity) {
    json.raw(prepared);
    json.word("uid", std::str::from_utf8(&identity.hex()).unwrap_or_default());
}

impl Event<'_> {
    /// Writes everything after the event's own attributes, except `unmapped`, which is last.
    pub fn tail(&mut self, common: &CommonFields<'_>, metadata: &Metadata<'_>) {
        self.write_observables();
        metadata.write(self, common);
        if let Some((record, has_spaces)) = common.original {
            self.json.quoted_json("raw_data", record, has_spaces);
        }
    }

    /// Writes `src_url`, the page of a threat in the console.
    pub fn threat_url(&mut self, common: &CommonFields<'_>, id: Option<Escaped<'_>>) {
        if let Some(id) = id {
            self.url(&page::threat(common.console_host, id));
        }
    }

    pub fn url(&mut self, parts: &[&str]) {
        self.json.name("src_url");
        self.json.raw(b"\"");
        parts.iter().for_each(|part| self.json.raw(part.as_bytes()));
        self.json.raw(b"\"");
    }

    /// Writes the id of a finding, which OCSF requires. Without an id, writes the identity of the event.
    pub fn finding_uid(&mut self, common: &CommonFields<'_>, id: Option<Escaped<'_>>) {
        if self.optional("uid", id).is_none() {
            self.json.word("uid", std::str::from_utf8(&common.identity.hex()).unwrap_or_default());
        }
    }
}
