//! Maps records to OCSF 1.9.0. There is one file per stream, in the order of the tables of `docs/mapping-ocsf.md`, and
//! one file per shared part.

mod activity;
mod activity_class;
mod activity_end;
mod activity_parts;
mod agent;
mod alert;
mod attack;
mod class;
mod detection;
mod device;
mod engines;
mod enrichment;
mod entity;
mod event;
mod file;
mod finding;
mod group;
mod head;
mod main_address;
mod manual;
mod metadata;
mod mitigation;
mod observables;
mod rule_hit;
mod scope;
#[cfg(test)]
mod tables;
mod threat;
mod unified_alert;
mod unmapped;
mod user;
mod v1_3;
mod vulnerability;
mod workload;

use std::sync::Arc;

use s1_forwarder_record::{Escaped, Identity, Scope, Stream, Timestamp};

use self::attack::AttackBuffers;
use self::class::{Class, OTHER};
use self::event::{Event, Scratch, severity_id};
use self::finding::Verdict;
pub(super) use self::manual::word_tables;
use self::metadata::CommonFields;
use super::common::os::{ARCHITECTURES, BITS};
use super::common::severity::{SEVERITIES, Severity};
use super::common::word::Word;
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

/// The name with the version, for the Kafka header.
pub(super) const NAME: &str = "ocsf-1.9.0";
pub(super) use self::v1_3::NAME_1_3;
pub use self::v1_3::convert as to_1_3;

/// Maps the records of one lane into OCSF.
#[derive(Debug, Clone)]
pub(super) struct Ocsf {
    stream: Stream,
    console_host: String,
    keep_original: bool,
    /// The beginning of `metadata`: the same in every event.
    metadata: Vec<u8>,
    /// The scope of the next records, if they do not contain it.
    scope: Option<Arc<Scope>>,
    /// The keys that records are known to have.
    known: &'static Places,
    seen: Seen,
    scratch: Scratch,
    /// Reused for the next event.
    attack_buffers: AttackBuffers,
}

impl Ocsf {
    pub fn new(origin: &Origin, labels: &Labels, keep_original: bool) -> Self {
        Self {
            stream: origin.stream,
            console_host: origin.console_host.clone(),
            keep_original,
            metadata: metadata(origin, labels),
            scope: None,
            known: places(origin.stream, KeyCase::AsReceived),
            seen: Seen::default(),
            scratch: Scratch::default(),
            attack_buffers: AttackBuffers::default(),
        }
    }
}

impl SchemaMapper for Ocsf {
    fn set_labels(&mut self, origin: &Origin, labels: &Labels) {
        self.metadata = metadata(origin, labels);
    }

    fn set_scope(&mut self, scope: Option<Arc<Scope>>) {
        self.scope = scope;
    }

    fn map(
        &mut self,
        record: &Record<'_, '_>,
        _received: &[u8],
        identity: Identity,
        enrichment: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Written {
        let mut event = Event::new(out, &mut self.scratch);
        event.json.keys = Keys::new(self.known, record.overflow);
        let common = CommonFields {
            metadata: &self.metadata,
            console_host: &self.console_host,
            identity,
            original: self.keep_original.then_some((record.text, record.has_spaces)),
            scope: self.scope.as_deref(),
        };
        let mut unknown_activity = false;
        match &record.fields {
            Fields::Threat(threat) => {
                let enrichment = enrichment.and_then(Enrichment::read);
                threat::map(&mut event, &common, threat, enrichment.as_ref(), &mut self.attack_buffers);
            }
            Fields::Activity(activity, data) => unknown_activity = activity::map(&mut event, &common, activity, data),
            Fields::RuleHit(activity, hit) => unknown_activity = rule_hit::map(&mut event, &common, activity, hit),
            Fields::Agent(agent) => agent::map(&mut event, &common, agent),
            Fields::Alert(alert) => alert::map(&mut event, &common, alert),
            Fields::Group(group) => group::map(&mut event, &common, group),
            Fields::UnifiedAlert(alert) => unified_alert::map(&mut event, &common, alert, &mut self.attack_buffers),
            Fields::Vulnerability(finding) => vulnerability::map(&mut event, &common, finding),
        }
        Written::of(unknown_activity, &event.json.keys, &mut self.seen)
    }

    fn map_snapshot(&mut self, snapshot: CompleteSnapshot, identity: Identity, out: &mut Vec<u8>) {
        let time = snapshot.time.to_string();
        let records = snapshot.records.to_string();
        let message = format!("Snapshot of {time} is complete: {records} {}", self.stream.name());
        let mut event = begin_own_event(
            &mut self.scratch,
            "snapshot-complete",
            snapshot.time,
            Some(Severity::Informational),
            &message,
            out,
        );
        event.status(1);
        let metadata = event.open("metadata");
        metadata::begin(&mut event.json, &self.metadata, identity);
        event.close(metadata);
        let unmapped = event.open("unmapped");
        let object = event.open("snapshot");
        event.json.word("time", &time);
        event.json.number("records", &records);
        event.close(object);
        event.close(unmapped);
        event.json.raw(b"}");
    }

    fn map_error(&mut self, record: &[u8], known: &UnreadFacts, identity: Identity, reason: &str, out: &mut Vec<u8>) {
        let time = known.time.unwrap_or_else(Timestamp::now);
        let mut event = begin_own_event(&mut self.scratch, "mapping-failed", time, known.severity, reason, out);
        event.status(2);
        event.json.text("status_detail", reason);
        let metadata = event.open("metadata");
        metadata::begin(&mut event.json, &self.metadata, identity);
        if let Some(id) = &known.id {
            event.json.text("original_event_uid", id);
        }
        event.close(metadata);
        if !record.is_empty() {
            event.json.text("raw_data", &String::from_utf8_lossy(record));
        }
        event.json.raw(b"}");
    }
}

/// Returns OCSF's caption for a word of the console under this key of a record, for the coverage report.
pub(super) fn caption(key: &str, word: &str) -> Option<&'static str> {
    let word = Word::of(Escaped::plain(word));
    let word = word.as_str();
    let choice = match key {
        "confidenceLevel" => finding::CONFIDENCE.find(word),
        "incidentStatus" | "status" => finding::INCIDENT_STATUSES.find(word),
        "analystVerdict" => finding::VERDICTS.find(word).filter(|verdict| verdict.says(word)).map(Verdict::choice),
        "severity" => SEVERITIES.find(word).map(|severity| (severity_id(severity), severity.capitalised())),
        "os" => device::SYSTEMS.find(word),
        "osArch" => return BITS.find(word).or_else(|| ARCHITECTURES.find(word).map(device::cpu_bits)),
        _ => None,
    };
    choice.map(|(_, caption)| caption)
}

/// Begins an event that no record describes. Without `severity`, the severity is unknown.
fn begin_own_event<'o>(
    scratch: &'o mut Scratch,
    activity: &str,
    time: Timestamp,
    severity: Option<Severity>,
    message: &str,
    out: &'o mut Vec<u8>,
) -> Event<'o> {
    let mut event = Event::new(out, scratch);
    event.begin(Class::BaseEvent, OTHER, activity);
    event.timestamp("time", time);
    event.severity(severity);
    event.json.text("message", message);
    event
}

fn metadata(origin: &Origin, labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    let mut names = DistinctNames::default();
    let mut json = Json::new(&mut out, &mut names);
    let stream = origin.stream.name();
    json.word("version", "1.9.0");
    json.raw(br#","product":{"vendor_name":"SentinelOne","name":"Singularity","feature":{"name":""#);
    json.raw(stream.as_bytes());
    json.raw(br#""}}"#);
    json.word("log_name", stream);
    json.word("log_provider", "SentinelOne");
    json.text("log_source", &origin.console_host);
    let list = json.open_list("labels");
    let pipeline = ("pipeline", origin.pipeline.as_str());
    let own =
        labels.iter().map(|(name, label)| (name.as_str(), label.as_str())).filter(|(name, _)| *name != "pipeline");
    for (name, label) in std::iter::once(pipeline).chain(own) {
        let quoted = serde_json::Value::from(format!("{name}:{label}")).to_string();
        json.element(Escaped::plain(quoted.get(1..quoted.len() - 1).unwrap_or_default()));
    }
    json.close(list);
    out
}
