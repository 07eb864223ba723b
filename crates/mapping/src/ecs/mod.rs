//! Maps records to the Elastic Common Schema 9.4.0. There is one file per stream, in the order of the tables of
//! `docs/mapping-ecs.md`, and one file per shared part.

mod activity;
mod activity_data;
mod activity_event;
mod activity_user;
mod agent;
mod alert;
mod attack;
mod category;
mod cloud;
mod common_fields;
mod detection;
mod dns;
mod endpoint;
mod enrichment;
mod event;
mod group;
mod manual;
mod matched;
mod network;
mod organization;
mod outcome;
mod registry;
mod related;
mod remote_origin;
mod rule_hit;
mod threat;
mod unified_alert;
mod user;
mod vendor;
mod vulnerability;
mod workload;

use std::sync::Arc;

use s1_forwarder_record::vulnerability::content_version;
use s1_forwarder_record::{Identity, Scope, Stream, Timestamp, hostname};

use self::attack::AttackBuffers;
use self::common_fields::CommonFields;
use self::event::{Event, Scratch, severity_score};
pub(super) use self::manual::word_tables;
use super::json::Json;
use super::mapping::{CompleteSnapshot, Origin, SchemaMapper, Written};
use crate::copy::KeyCase;
use crate::drift::places;
use crate::keys::{Keys, Places, Seen};
use crate::labels::Labels;
use crate::names::DistinctNames;
use crate::record::{Fields, Record};
use crate::streams::enrichment::Enrichment;
use crate::streams::unread::UnreadFacts;
pub use vendor::UNEXPECTED;

/// The name with the version, for the Kafka header.
pub(super) const NAME: &str = "ecs-9.4.0";

/// Maps the records of one lane into ECS.
#[derive(Debug, Clone)]
pub(super) struct Ecs {
    stream: Stream,
    console_host: String,
    keep_original: bool,
    /// `ecs`, `labels` and `tags`: the same in every event.
    head: Vec<u8>,
    /// The beginning of `observer`.
    observer: Vec<u8>,
    /// The scope of the next records, if they do not contain it.
    scope: Option<Arc<Scope>>,
    /// `event.module` to `event.timezone`.
    provenance: Vec<u8>,
    /// The keys that records are known to have.
    known: &'static Places,
    seen: Seen,
    scratch: Scratch,
    /// Reused for the next event.
    attack_buffers: AttackBuffers,
}

impl Ecs {
    pub fn new(origin: &Origin, labels: &Labels, keep_original: bool) -> Self {
        Self {
            stream: origin.stream,
            console_host: origin.console_host.clone(),
            keep_original,
            head: head(origin, labels),
            observer: observer(origin),
            scope: None,
            provenance: provenance(origin.stream),
            known: places(origin.stream, KeyCase::Snake),
            seen: Seen::default(),
            scratch: Scratch::default(),
            attack_buffers: AttackBuffers::default(),
        }
    }
}

impl SchemaMapper for Ecs {
    fn set_labels(&mut self, origin: &Origin, labels: &Labels) {
        self.head = head(origin, labels);
    }

    fn set_scope(&mut self, scope: Option<Arc<Scope>>) {
        self.scope = scope;
    }

    fn map(
        &mut self,
        record: &Record<'_, '_>,
        received: &[u8],
        identity: Identity,
        enrichment: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Written {
        let mut event = Event::new(out, &mut self.scratch);
        event.json.keys = Keys::new(self.known, record.overflow);
        let common = CommonFields {
            head: &self.head,
            observer: &self.observer,
            scope: self.scope.as_deref(),
            provenance: &self.provenance,
            console_host: &self.console_host,
            identity,
            original: self.keep_original.then_some((record.text, record.has_spaces)),
        };
        let mut unknown_activity = false;
        match &record.fields {
            Fields::Threat(threat) => {
                threat::map(
                    &mut event,
                    &common,
                    threat,
                    enrichment.and_then(Enrichment::read),
                    &mut self.attack_buffers,
                );
            }
            Fields::Activity(activity, data) => unknown_activity = activity::map(&mut event, &common, activity, data),
            Fields::RuleHit(activity, hit) => unknown_activity = rule_hit::map(&mut event, &common, activity, hit),
            Fields::Agent(agent) => agent::map(&mut event, &common, agent),
            Fields::Alert(alert) => alert::map(&mut event, &common, alert),
            Fields::Group(group) => group::map(&mut event, &common, group),
            Fields::UnifiedAlert(alert) => unified_alert::map(&mut event, &common, alert, &mut self.attack_buffers),
            Fields::Vulnerability(finding) => {
                vulnerability::map(&mut event, &common, finding, &content_version(received));
            }
        }
        Written::of(unknown_activity, &event.json.keys, &mut self.seen)
    }

    fn map_snapshot(&mut self, snapshot: CompleteSnapshot, identity: Identity, out: &mut Vec<u8>) {
        let time = snapshot.time.to_string();
        let records = snapshot.records.to_string();
        let mut json = Json::new(out, &mut self.scratch.names);
        json.raw(b"{");
        json.word("@timestamp", &time);
        json.raw(b",");
        json.raw(&self.head);
        json.raw(&self.observer);
        json.raw(b"},\"event\":{\"kind\":\"state\",\"category\":[\"host\"],\"type\":[\"info\"],\"action\":\"snapshot-complete\",");
        json.raw(&self.provenance);
        json.raw(b"}");
        json.text("message", &format!("Snapshot of {time} is complete: {records} {}", self.stream.name()));
        let vendor = vendor::open_with_identity(&mut json, identity);
        let object = json.open("snapshot");
        json.word("time", &time);
        json.number("records", &records);
        json.close(object);
        json.close(vendor);
        json.raw(b"}");
    }

    fn map_error(&mut self, record: &[u8], known: &UnreadFacts, identity: Identity, reason: &str, out: &mut Vec<u8>) {
        let mut json = Json::new(out, &mut self.scratch.names);
        json.raw(b"{");
        json.word("@timestamp", &known.time.unwrap_or_else(Timestamp::now).to_string());
        json.raw(b",");
        json.raw(&self.head);
        json.raw(&self.observer);
        json.raw(b"},\"event\":{\"kind\":\"pipeline_error\",");
        json.raw(&self.provenance);
        if let Some(id) = &known.id {
            json.text("id", id);
        }
        if let Some(severity) = known.severity {
            json.number("severity", severity_score(severity));
        }
        json.text("original", &String::from_utf8_lossy(record));
        json.raw(b"}");
        let error = json.open("error");
        json.text("message", reason);
        json.close(error);
        let vendor = vendor::open_with_identity(&mut json, identity);
        json.close(vendor);
        json.raw(b"}");
    }
}

fn head(origin: &Origin, labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    let mut names = DistinctNames::default();
    let mut json = Json::new(&mut out, &mut names);
    json.raw(b"\"ecs\":{\"version\":\"9.4.0\"}");
    let open = json.open("labels");
    json.text("pipeline", &origin.pipeline);
    for (name, label) in labels.iter().filter(|(name, _)| *name != "pipeline") {
        json.text_named(name, label);
    }
    json.close(open);
    json.raw(b",\"tags\":[\"sentinel_one\",\"sentinel_one-");
    json.raw(origin.stream.singular().as_bytes());
    json.raw(b"\",\"forwarded\"]");
    out
}

fn observer(origin: &Origin) -> Vec<u8> {
    let mut out = Vec::new();
    let mut names = DistinctNames::default();
    let mut json = Json::new(&mut out, &mut names);
    json.raw(br#","observer":{"vendor":"SentinelOne","product":"Singularity","type":"edr""#);
    json.text("hostname", hostname(&origin.console_host));
    out
}

/// Returns `event.module` to `event.timezone`. Unified alerts contain their provider, which may be another vendor.
fn provenance(stream: Stream) -> Vec<u8> {
    let provider = if stream == Stream::UnifiedAlerts { "" } else { r#""provider":"SentinelOne","# };
    let dataset = stream.singular();
    format!(r#""module":"sentinel_one","dataset":"sentinel_one.{dataset}",{provider}"timezone":"UTC""#).into_bytes()
}
