//! Splunk and a Log Analytics workspace that are written to and read back, and each answer of theirs that is no proof.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use s1_forwarder::record::Timestamp;
use serde_json::{Value, json};

use super::azure_logs::{Azure, RULE, TENANT};
use super::double::{Contract, Received, Refusal, Reply};
use super::splunk_hec::Hec;

/// Operations of the tests on Splunk or on a workspace.
pub trait LookupDouble: Contract + Default {
    type Trap: Debug + Copy;
    const TRAPS: &'static [Self::Trap];
    /// Number of events of four that a question misses after [`Self::moves`].
    const MISSED: u64;

    /// The settings of the sink, with access of its own for reading.
    fn sink(url: &str) -> Value;
    /// Returns the identities in the target, once for each copy.
    fn identities(&self) -> Vec<String>;
    fn remove(&mut self, identities: &BTreeSet<String>);
    /// Stores one more copy of these events.
    fn double(&mut self, identities: &BTreeSet<String>);
    /// Makes the question for the lane's events miss these. In turn, an event moves to another place that the settings
    /// name, has another pipeline, or has its identity in upper case or with hyphens.
    fn moves(&mut self, identities: &BTreeSet<String>);
    /// Gives these events another text as their identity. `None` removes it.
    fn rename(&mut self, identities: &BTreeSet<String>, text: Option<&str>);
    /// Stores an event of another lane that has no identity.
    fn store_unnamed_of_another_lane(&mut self);
    fn set_trap(&mut self, trap: Option<Self::Trap>);
    /// Answers only the counts of events without an identity in this way.
    fn set_trap_of_counts(&mut self, trap: Option<Self::Trap>);
    /// The first `busy` questions are answered with "later".
    fn set_busy(&mut self, busy: u32);
}

/// The texts between two marks, of which the second may be the end.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after).map_or(rest, |(found, _)| found))
}

/// Another spelling of an identity: in upper case, or with hyphens.
fn respelled(identity: &str, has_hyphens: bool) -> String {
    if has_hyphens {
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &identity[part]);
        parts.join("-")
    } else {
        identity.to_ascii_uppercase()
    }
}

/// Whether a question can find this text: 32 hex digits, in any case, without or with the hyphens of a UUID.
fn is_identity(text: &str) -> bool {
    let digits = text.replace('-', "");
    let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex && (text.len() == 32 || respelled(&digits, true) == text)
}

/// The regular expression by which queries tell identities from other texts.
const AN_IDENTITY: &str = "(?i)^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$";

/// The quoted identities of a list.
fn quoted(list: &str) -> BTreeSet<String> {
    list.split(',').map(|text| text.trim_matches('"').to_owned()).collect()
}

/// An answer of Splunk that is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplunkTrap {
    /// A peer is down.
    Warns,
    Fails,
    /// The search had run for too long.
    Finalized,
    /// The stream ends before the last row.
    NoLastRow,
    /// The stream ends within a row.
    BreaksOff,
    /// The search never ends.
    OnlyPreview,
    ForeignRow,
    NoCount,
    Unauthorized,
    BadSearch,
    LoginPage,
    /// The token may delete events.
    MayDelete,
}

/// A collector and a search head.
#[derive(Default)]
pub struct Splunk {
    hec: Hec,
    events: Vec<Value>,
    trap: Option<SplunkTrap>,
    trap_of_counts: Option<SplunkTrap>,
    busy: u32,
    /// Whether Splunk is older than 9.0.1.
    pub is_old: bool,
}

const SEARCHER: &str = "Bearer s34rcher";

impl Contract for Splunk {
    fn admit(&mut self, asked: &Received) -> Result<(), Reply> {
        self.hec.admit(asked)
    }

    fn delivers(&self, asked: &Received) -> bool {
        asked.path.starts_with("/services/collector")
    }

    fn undecodable(&self, refusal: Refusal) -> Reply {
        self.hec.undecodable(refusal)
    }

    fn finished(&mut self) {
        self.hec.finished();
    }

    fn answer(&mut self, asked: &Received) -> Reply {
        let is_new = asked.path == "/services/search/v2/jobs/export";
        match asked.path.as_str() {
            "/services/authentication/current-context" => {
                assert!(asked.header("authorization") == SEARCHER && asked.query.contains("output_mode=json"));
                let more = if self.trap == Some(SplunkTrap::MayDelete) { "delete_by_keyword" } else { "list_inputs" };
                let content = json!({ "capabilities": ["search", more] });
                Reply::new(200, json!({ "entry": [{ "content": content }] }).to_string())
            }
            "/services/search/v2/jobs/export" | "/services/search/jobs/export" if !(is_new && self.is_old) => {
                let form: BTreeMap<String, String> = url::form_urlencoded::parse(&asked.bytes).into_owned().collect();
                let search = &form["search"];
                let is_count = search.ends_with(" NOT event_id=*") || search.ends_with(" | stats sum(n) as count");
                let trap = self.trap;
                self.trap = trap.or(self.trap_of_counts.filter(|_| is_count));
                let reply = self.search(asked, &form);
                self.trap = trap;
                reply
            }
            _ => {
                let reply = self.hec.answer(asked);
                self.events.extend(reply.accepted.iter().cloned());
                reply
            }
        }
    }
}

fn id_of(event: &Value) -> &str {
    event["fields"]["event_id"].as_str().unwrap_or_default()
}

impl Splunk {
    fn search(&mut self, asked: &Received, form: &BTreeMap<String, String>) -> Reply {
        if asked.header("authorization") != SEARCHER || self.trap == Some(SplunkTrap::Unauthorized) {
            return Reply::new(401, r#"{"messages":[{"type":"WARN","text":"call not properly authenticated"}]}"#);
        }
        if self.busy > 0 {
            self.busy -= 1;
            let text = "The maximum number of concurrent historical searches has been reached";
            return Reply::new(503, json!({ "messages": [{ "type": "FATAL", "text": text }] }).to_string());
        }
        let search = form["search"].as_str();
        assert!(form["output_mode"] == "json" && form["preview"] == "false", "{form:?}");
        assert!(search.starts_with("| tstats include_reduced_buckets=t count "), "{search}");
        let is_of_lane = search.contains(r#" pipeline="acme" stream=activities "#);
        let is_without = search.ends_with(" NOT event_id=*");
        let (search, rest) =
            search.split_once(" | eval ").map_or((search, None), |(search, rest)| (search, Some(rest)));
        let counts_changed = format!(r#"n=if(match(event_id, "{AN_IDENTITY}"), 0, count) | stats sum(n) as count"#);
        assert!(
            rest.is_none_or(|rest| rest == counts_changed && search.ends_with(" by event_id")),
            "{search} {rest:?}"
        );
        assert!(is_without || !search.contains('*') && search.contains(" by event_id"), "{search}");
        assert!(is_of_lane || search.contains("event_id IN ("), "{search}");
        let indexes: BTreeSet<&str> = between(search, "where (", ") ").unwrap().split(" OR ").collect();
        let ids = between(search, "event_id IN (", ")").map(quoted);
        let second = |name: &str| form[name].parse::<i64>().unwrap();
        let window = second("earliest_time")..second("latest_time");
        assert!(ids.as_ref().is_none_or(|ids| ids.len() <= 500 && window.start == 0), "{search}");
        let mut found: BTreeMap<(String, String), (u32, f64)> = BTreeMap::new();
        for event in &self.events {
            let fields = &event["fields"];
            let time = event["time"].as_f64().unwrap();
            let index = event["index"].as_str().unwrap();
            if indexes.contains(format!("index=\"{index}\"").as_str())
                // A count by a field has no event without it.
                && fields.get("event_id").is_none() == is_without
                // Values of indexed fields are found in upper and lower case.
                && ids.as_ref().is_none_or(|ids| ids.contains(id_of(event).to_ascii_lowercase().as_str()))
                && window.contains(&(time as i64))
                && (!is_of_lane || (fields["pipeline"] == "acme" && fields["stream"] == "activities"))
            {
                found.entry((id_of(event).to_owned(), index.to_owned())).or_insert((0, time)).0 += 1;
            }
        }
        let row = |((id, index), (count, time)): ((String, String), (u32, f64))| json!({ "event_id": id, "count": count.to_string(), "time": format!("{time:.6}"), "index": index });
        let mut rows: Vec<Value> = if is_without || rest.is_some() {
            let is_counted = |id: &String| is_without || !is_identity(id);
            let counts = found.iter().filter(|((id, _), _)| is_counted(id)).map(|(_, (count, _))| count);
            vec![json!({ "count": counts.sum::<u32>().to_string() })]
        } else {
            found.into_iter().map(row).collect()
        };
        match self.trap {
            Some(SplunkTrap::ForeignRow) => rows.push(row((("f".repeat(32), "s1".to_owned()), (1, 0.0)))),
            Some(SplunkTrap::NoCount) => rows.iter_mut().for_each(|row| row["count"] = json!("")),
            Some(SplunkTrap::BadSearch) => {
                let text = "Error in 'TsidxStats': WHERE clause is not an exact query";
                return Reply::new(400, json!({ "messages": [{ "type": "FATAL", "text": text }] }).to_string());
            }
            Some(SplunkTrap::LoginPage) => return Reply::new(200, "<html><body>log in</body></html>"),
            _ => {}
        }
        self.stream(&rows)
    }

    /// Returns the preview of a running search, and then its rows.
    fn stream(&self, rows: &[Value]) -> Reply {
        let is_running = self.trap == Some(SplunkTrap::OnlyPreview);
        let preview = json!({ "event_id": "e".repeat(32), "count": "7" });
        let mut lines = vec![json!({ "preview": true, "offset": 0, "result": preview })];
        let last = rows.len().saturating_sub(1);
        for (offset, row) in rows.iter().enumerate() {
            let mut line = json!({ "preview": is_running, "offset": offset, "result": row });
            if offset == last && self.trap != Some(SplunkTrap::NoLastRow) {
                line["lastrow"] = json!(true);
            }
            lines.push(line);
        }
        if rows.is_empty() && self.trap != Some(SplunkTrap::NoLastRow) {
            lines.push(json!({ "preview": is_running, "lastrow": true }));
        }
        let message = |kind: &str| json!({ "messages": [{ "type": kind, "text": "results may be incomplete" }] });
        match self.trap {
            Some(SplunkTrap::Warns) => lines.insert(1, message("WARN")),
            Some(SplunkTrap::Fails) => lines.push(message("FATAL")),
            Some(SplunkTrap::Finalized) => {
                let text = "Search auto-finalized after time limit (30 seconds) reached.";
                lines.insert(1, json!({ "messages": [{ "type": "INFO", "text": text }] }));
            }
            _ => lines.insert(1, message("INFO")),
        }
        let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if self.trap == Some(SplunkTrap::BreaksOff) {
            text.truncate(text.len() - 20);
        }
        Reply::new(200, text)
    }
}

impl LookupDouble for Splunk {
    type Trap = SplunkTrap;
    const TRAPS: &'static [SplunkTrap] = &[
        SplunkTrap::Warns,
        SplunkTrap::Fails,
        SplunkTrap::Finalized,
        SplunkTrap::NoLastRow,
        SplunkTrap::BreaksOff,
        SplunkTrap::OnlyPreview,
        SplunkTrap::ForeignRow,
        SplunkTrap::NoCount,
        SplunkTrap::Unauthorized,
        SplunkTrap::BadSearch,
        SplunkTrap::LoginPage,
        SplunkTrap::MayDelete,
    ];

    /// A search does not distinguish upper case.
    const MISSED: u64 = 3;

    fn sink(url: &str) -> Value {
        let verify = json!({ "url": url, "token": "s34rcher", "settle": "1ms", "elsewhere": ["other"] });
        json!({ "type": "splunk_hec", "url": url, "token": "t0ken", "index": "s1", "verify": verify })
    }

    fn identities(&self) -> Vec<String> {
        let in_target = self.events.iter().filter(|event| event["index"] == "s1");
        in_target.map(id_of).filter(|id| is_identity(id)).map(str::to_owned).collect()
    }

    fn remove(&mut self, identities: &BTreeSet<String>) {
        self.events.retain(|event| !identities.contains(id_of(event)));
    }

    fn double(&mut self, identities: &BTreeSet<String>) {
        let again: Vec<Value> = self.events.iter().filter(|event| identities.contains(id_of(event))).cloned().collect();
        self.events.extend(again);
    }

    fn moves(&mut self, identities: &BTreeSet<String>) {
        let moved = self.events.iter_mut().filter(|event| identities.contains(id_of(event)));
        for (number, event) in moved.enumerate() {
            match number % 4 {
                0 => event["index"] = json!("other"),
                1 => event["fields"]["pipeline"] = json!("prod-acme"),
                spelling => event["fields"]["event_id"] = respelled(id_of(event), spelling == 2).into(),
            }
        }
    }

    fn rename(&mut self, identities: &BTreeSet<String>, text: Option<&str>) {
        for event in self.events.iter_mut().filter(|event| identities.contains(id_of(event))) {
            let fields = event["fields"].as_object_mut().unwrap();
            match text {
                Some(text) => fields.insert("event_id".to_owned(), json!(text)),
                None => fields.remove("event_id"),
            };
        }
    }

    fn store_unnamed_of_another_lane(&mut self) {
        let mut event = self.events[0].clone();
        event["fields"] = json!({ "pipeline": "acme", "stream": "threats" });
        self.events.push(event);
    }

    fn set_trap(&mut self, trap: Option<SplunkTrap>) {
        self.trap = trap;
    }

    fn set_trap_of_counts(&mut self, trap: Option<SplunkTrap>) {
        self.trap_of_counts = trap;
    }

    fn set_busy(&mut self, busy: u32) {
        self.busy = busy;
    }
}

/// An answer of a workspace that is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzureTrap {
    /// An error next to tables, with the status 200.
    PartialError,
    /// The rule or the table has no such column.
    UnknownColumn,
    Forbidden,
    NoWorkspace,
    BreaksOff,
    NoResult,
    OtherColumns,
    ForeignRow,
    NoCount,
    LoginPage,
}

/// The Logs Ingestion API, and the query service of a workspace.
#[derive(Default)]
pub struct Sentinel {
    azure: Azure,
    /// Rows of the table `Other_CL`.
    other: Vec<Value>,
    trap: Option<AzureTrap>,
    trap_of_counts: Option<AzureTrap>,
    busy: u32,
}

const QUERIES: &str = "https://api.loganalytics.azure.com/.default";

impl Contract for Sentinel {
    fn delivers(&self, asked: &Received) -> bool {
        self.azure.delivers(asked)
    }

    fn answer(&mut self, asked: &Received) -> Reply {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(&asked.bytes).into_owned().collect();
        if asked.path.ends_with("/token") && form.get("scope").is_some_and(|scope| scope == QUERIES) {
            assert!(form["client_id"] == "reader" && form["client_secret"] == "r3ader", "{form:?}");
            assert_eq!(asked.path, format!("/{TENANT}/oauth2/v2.0/token"));
            return Reply::new(200, r#"{"token_type":"Bearer","expires_in":3599,"access_token":"of-reader"}"#);
        }
        match asked.path.as_str() {
            "/v1/workspaces/0000-1111/query" => {
                let query = asked.json().unwrap()["query"].as_str().unwrap().to_owned();
                let is_count = query.ends_with(" | summarize n = count()");
                let trap = self.trap;
                self.trap = trap.or(self.trap_of_counts.filter(|_| is_count));
                let reply = self.query(asked, &query);
                self.trap = trap;
                reply
            }
            _ => self.azure.answer(asked),
        }
    }
}

fn event_id_of(row: &Value) -> &str {
    row["EventId"].as_str().unwrap_or_default()
}

fn refused(status: u16, code: &str, inner: &str) -> Reply {
    let error = json!({ "code": code, "message": "because", "innererror": { "code": inner, "message": "of it" } });
    Reply::new(status, json!({ "error": error }).to_string())
}

impl Sentinel {
    fn query(&mut self, asked: &Received, query: &str) -> Reply {
        if asked.header("authorization") != "Bearer of-reader" || self.trap == Some(AzureTrap::Forbidden) {
            return refused(403, "InsufficientAccessError", "");
        }
        if self.busy > 0 {
            self.busy -= 1;
            return refused(429, "TooManyRequests", "").with("retry-after", "1");
        }
        let rows = match query.split_once(" | ").unwrap().0 {
            "S1Forwarder_CL" => &self.azure.rows,
            "Other_CL" => &self.other,
            table => panic!("no table {table}"),
        };
        if query.ends_with(" | summarize n = count()") {
            return self.count_unnamed(query, rows);
        }
        let is_of_lane = query.contains(r#"where Pipeline == "acme" and Stream == "activities" and "#);
        assert!(is_of_lane || query.contains("where EventId in~ ("), "{query}");
        assert!(query.contains("summarize n = count(), t = min(EventTime) by EventId | take "), "{query}");
        let any_case = between(query, "EventId in~ (", ")").map(quoted);
        let ids = between(query, "EventId in (", ")").map(quoted);
        let from = between(query, "EventTime >= datetime(", ")").map(|time| Timestamp::parse(time).unwrap());
        let to = between(query, "EventTime < datetime(", ")").map(|time| Timestamp::parse(time).unwrap());
        assert_eq!(
            [ids.is_some(), any_case.is_some(), from.is_some()].into_iter().filter(|is| *is).count(),
            1,
            "{query}"
        );
        let mut found: BTreeMap<&str, (u32, &str)> = BTreeMap::new();
        for row in rows {
            let [id, time] = ["EventId", "EventTime"].map(|column| row[column].as_str().unwrap_or_default());
            let at = Timestamp::parse(time).unwrap();
            if ids.as_ref().is_none_or(|ids| ids.contains(id))
                && any_case.as_ref().is_none_or(|ids| ids.contains(id.to_ascii_lowercase().as_str()))
                && (from.is_none_or(|from| from <= at) && to.is_none_or(|to| at < to))
                && (!is_of_lane || (row["Pipeline"] == "acme" && row["Stream"] == "activities"))
            {
                found.entry(id).or_insert((0, time)).0 += 1;
            }
        }
        let mut rows: Vec<Value> = found.iter().map(|(id, (count, time))| json!([id, count, time])).collect();
        rows.truncate(query.rsplit(' ').next().unwrap().parse().unwrap());
        self.result(json!([{ "name": "EventId" }, { "name": "n" }, { "name": "t" }]), rows)
    }

    /// Counts rows that no question by identity finds. An empty text is what a row without a value has.
    fn count_unnamed(&self, query: &str, rows: &[Value]) -> Reply {
        let condition = |name: &str, own: &str| format!(r#"(isempty({name}) or {name} == "{own}")"#);
        let own = [condition("Pipeline", "acme"), condition("Stream", "activities")].join(" and ");
        let other = r#"column_ifexists("Pipeline", "") == "acme" and column_ifexists("Stream", "") == "activities""#;
        let is_own = query.starts_with("S1Forwarder_CL ");
        let of_lane = if is_own { own.as_str() } else { other };
        let expected = format!(r#" | where {of_lane} | where not(EventId matches regex @"{AN_IDENTITY}") | "#);
        assert!(query.contains(&expected), "{query}");
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let is = |row: &Value, name: &str, value: &str| {
            let text = text(row, name);
            text == value || is_own && text.is_empty()
        };
        let of_lane = rows.iter().filter(|row| is(row, "Pipeline", "acme") && is(row, "Stream", "activities"));
        let count = of_lane.filter(|row| !is_identity(&text(row, "EventId"))).count();
        self.result(json!([{ "name": "n" }]), vec![json!([count])])
    }

    fn result(&self, mut columns: Value, mut rows: Vec<Value>) -> Reply {
        match self.trap {
            Some(AzureTrap::ForeignRow) => rows.push(json!(["f".repeat(32), 1, "2026-01-01T00:00:00Z"])),
            Some(AzureTrap::NoCount) => {
                let values = rows.iter_mut().filter_map(Value::as_array_mut).flatten();
                values.filter(|value| value.is_number()).for_each(|value| *value = Value::Null);
            }
            Some(AzureTrap::OtherColumns) => columns[0] = json!({ "name": "Column1" }),
            Some(AzureTrap::PartialError) => rows.truncate(rows.len() / 2),
            Some(AzureTrap::UnknownColumn) => return refused(400, "BadArgumentError", "SEM0100"),
            Some(AzureTrap::NoWorkspace) => return refused(404, "PathNotFoundError", ""),
            Some(AzureTrap::LoginPage) => return Reply::new(200, "<html><body>log in</body></html>"),
            _ => {}
        }
        let mut answer = json!({ "tables": [{ "name": "PrimaryResult", "columns": columns, "rows": rows }] });
        match self.trap {
            Some(AzureTrap::PartialError) => {
                answer["error"] = json!({ "code": "PartialError", "message": "the result was cut" });
            }
            Some(AzureTrap::NoResult) => answer["tables"] = json!([]),
            _ => {}
        }
        let mut text = answer.to_string();
        if self.trap == Some(AzureTrap::BreaksOff) {
            text.truncate(text.len() - 20);
        }
        Reply::new(200, text)
    }
}

impl LookupDouble for Sentinel {
    type Trap = AzureTrap;
    const TRAPS: &'static [AzureTrap] = &[
        AzureTrap::PartialError,
        AzureTrap::UnknownColumn,
        AzureTrap::Forbidden,
        AzureTrap::NoWorkspace,
        AzureTrap::BreaksOff,
        AzureTrap::NoResult,
        AzureTrap::OtherColumns,
        AzureTrap::ForeignRow,
        AzureTrap::NoCount,
        AzureTrap::LoginPage,
    ];

    const MISSED: u64 = 4;

    fn sink(url: &str) -> Value {
        let verify = json!({
            "workspace_id": "0000-1111", "client_id": "reader", "client_secret": "r3ader", "url": url,
            "settle": "1ms", "elsewhere": ["Other_CL"],
        });
        json!({
            "type": "azure_logs", "url": url, "authority": url, "dcr_immutable_id": RULE, "tenant_id": TENANT,
            "client_id": "app", "client_secret": "s3cret", "verify": verify,
        })
    }

    fn identities(&self) -> Vec<String> {
        self.azure.rows.iter().map(event_id_of).filter(|id| is_identity(id)).map(str::to_owned).collect()
    }

    fn remove(&mut self, identities: &BTreeSet<String>) {
        self.azure.rows.retain(|row| !identities.contains(event_id_of(row)));
    }

    fn double(&mut self, identities: &BTreeSet<String>) {
        let is_meant = |row: &&Value| identities.contains(event_id_of(row));
        let again: Vec<Value> = self.azure.rows.iter().filter(is_meant).cloned().collect();
        self.azure.rows.extend(again);
    }

    fn moves(&mut self, identities: &BTreeSet<String>) {
        let (moved, rest): (Vec<Value>, Vec<Value>) =
            self.azure.rows.drain(..).partition(|row| identities.contains(event_id_of(row)));
        self.azure.rows = rest;
        for (number, mut row) in moved.into_iter().enumerate() {
            match number % 4 {
                0 => {
                    self.other.push(row);
                    continue;
                }
                1 => row["Pipeline"] = json!("prod-acme"),
                spelling => row["EventId"] = respelled(row["EventId"].as_str().unwrap(), spelling == 2).into(),
            }
            self.azure.rows.push(row);
        }
    }

    fn rename(&mut self, identities: &BTreeSet<String>, text: Option<&str>) {
        for row in self.azure.rows.iter_mut().filter(|row| identities.contains(event_id_of(row))) {
            row["EventId"] = json!(text);
        }
    }

    fn store_unnamed_of_another_lane(&mut self) {
        let mut row = self.azure.rows[0].clone();
        row["EventId"] = Value::Null;
        row["Stream"] = json!("threats");
        self.azure.rows.push(row);
    }

    fn set_trap(&mut self, trap: Option<AzureTrap>) {
        self.trap = trap;
    }

    fn set_trap_of_counts(&mut self, trap: Option<AzureTrap>) {
        self.trap_of_counts = trap;
    }

    fn set_busy(&mut self, busy: u32) {
        self.busy = busy;
    }
}
