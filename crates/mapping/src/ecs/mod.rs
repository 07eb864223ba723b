//! Maps records to the Elastic Common Schema 9.4.0. There is one file per stream, in the order of the tables of
//! `docs/mapping-ecs.md`, and one per part that several streams share.

mod activity;
mod activity_data;
mod activity_event;
mod activity_user;
mod agent;
mod alert;
mod attack;
mod cloud;
mod common_fields;
mod detection;
mod dns;
mod endpoint;
mod enrichment;
mod event;
mod group;
mod matched;
mod network;
mod organization;
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
use self::event::{Event, Scratch};
use super::json::Json;
use super::mapping::{CompleteSnapshot, Origin, SchemaMapper, Written};
use crate::common::attack::{TACTICS, print_tactic};
use crate::common::classification::{CATEGORIES, EventOutcome, OUTCOMES, event_outcome};
use crate::common::dns::RECORD_TYPES;
use crate::common::event_kind::{EVENT_KINDS, EventKind, OPERATIONS};
use crate::common::machine::MACHINES;
use crate::common::matched::{EVENT_IP_VERSIONS, EVENT_TRANSPORTS};
use crate::common::os::{ARCHITECTURES, BITS, MAKES, Make, OS_TYPES};
use crate::common::registry::{DATA_TYPES, HIVES};
use crate::common::severity::{BY_CONFIDENCE, SEVERITIES, print_confidence};
use crate::common::threat::{DETECTION_TYPES, DetectionType};
use crate::common::words::PrintedWords;
use crate::copy::KeyCase;
use crate::drift::places;
use crate::keys::{Keys, Places, Seen};
use crate::labels::Labels;
use crate::names::DistinctNames;
use crate::parts::{DIRECTIONS, INDICATORS, VERIFICATIONS};
use crate::record::{Fields, Record};
use crate::streams::activity::{DEVICE_EVENTS, REPORTED_OUTCOMES, SCOPE_LEVELS, SWITCHES, ScopeLevel};
use crate::streams::enrichment::Enrichment;
use crate::streams::threat::{ENDED, Ended};
use crate::streams::unified_alert::{OBSERVABLES, ON_ENDPOINTS, PRODUCTS, Product, SURFACES};
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
            json.number("severity", severity.score());
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

/// Returns the tables of the console's words and their meanings, for the manual.
pub(super) fn word_tables() -> Vec<PrintedWords> {
    let words = [
        &OS_TYPES,
        &threat::CONFIDENCE,
        &network::TRANSPORTS,
        &EVENT_TRANSPORTS,
        &EVENT_IP_VERSIONS,
        &RECORD_TYPES,
        &HIVES,
        &DATA_TYPES,
        &activity_user::ATTRIBUTES,
    ];
    let mut tables: Vec<PrintedWords> = words.map(|words| words.print(|word| (*word).to_owned())).into();
    let architecture = ARCHITECTURES.print(|architecture| endpoint::architecture(*architecture).to_owned());
    tables.insert(1, architecture);
    let make = MAKES.print(|make| {
        match make {
            Make::X86 => "x86_64 (64 bit), x86 (32 bit)",
            Make::Arm => "arm64 (64 bit, or without a width), arm (32 bit)",
            Make::Arm64 => "arm64",
            Make::ArmBoard => "arm64 (64 bit), arm (32 bit)",
        }
        .to_owned()
            + ", in the name of the processor or the system"
    });
    tables.insert(2, make);
    tables.insert(3, BITS.print(|_| "by the make of the processor".to_owned()).named("host.architecture"));
    tables.push(DIRECTIONS.print(|direction| network::ecs_direction(*direction).to_owned()));
    tables.push(SEVERITIES.print(|severity| severity.score().to_owned()));
    tables.push(BY_CONFIDENCE.print(|severity| print_confidence(*severity, |severity| severity.score().to_owned())));
    tables.push(
        SWITCHES.print(|is_on| if *is_on { "21 (switched on)" } else { "by the type (switched off)" }.to_owned()),
    );
    tables.push(OUTCOMES.print(|outcome| match event_outcome(Some(*outcome), false) {
        EventOutcome::Unknown => "unknown, failure if an action failed".to_owned(),
        outcome => outcome.word().to_owned(),
    }));
    let ended = ENDED.print(|ended| match ended {
        Ended::Failed | Ended::Partial => "failure (report of a threat that is not mitigated)".to_owned(),
        Ended::Success | Ended::Pending => "by the other reports (of a threat that is not mitigated)".to_owned(),
    });
    tables.push(ended.named("event.outcome"));
    tables.push(REPORTED_OUTCOMES.print(|outcome| format!("{} (activity of an unknown type)", outcome.word())));
    tables.push(CATEGORIES.print(|categories| categories.join(", ")));
    tables.push(
        ON_ENDPOINTS.print(|()| "intrusion_detection (unified alert, unless an endpoint is attacked)".to_owned()),
    );
    tables.push(SURFACES.print(|category| match *category {
        "network" => "network (attacked surface, if no classification but `network` is known)".to_owned(),
        category => format!("{category} (attacked surface, if no classification is known)"),
    }));
    tables.push(DETECTION_TYPES.print(|kind| match kind {
        DetectionType::Static => "file (of an engine of the agent, if there is one)".to_owned(),
        DetectionType::Dynamic => "process (of an engine of the agent, if there is one)".to_owned(),
    }));
    tables.push(EVENT_KINDS.print(EventKind::print));
    tables.push(
        OPERATIONS.print(|operation| format!("{operation} (in place of another type of a file, a registry or a task)")),
    );
    tables.push(
        DEVICE_EVENTS.print(|is_connected| if *is_connected { "start (device)" } else { "end (device)" }.to_owned()),
    );
    tables.push(INDICATORS.print(|kind| detection::indicator_type(*kind).to_owned()));
    tables.push(detection::SIGNATURES.print(bool::to_string));
    tables.push(VERIFICATIONS.print(|signature| signature.exists().to_string()));
    tables.push(TACTICS.print(print_tactic));
    tables.push(OBSERVABLES.print(|kind| unified_alert::related_field(*kind).to_owned()));
    tables.push(PRODUCTS.print(|product| match product {
        Product::Engine => "`threat.id`".to_owned(),
        Product::CustomRule => "`alert.id`".to_owned(),
    }));
    let machines = MACHINES.print(|_| "the asset of a unified alert".to_owned()).named("host");
    tables.push(machines);
    tables.push(activity_data::EXCLUSIONS.print(activity_data::Excluded::field));
    tables.push(SCOPE_LEVELS.print(|level| print_scope_level(*level).to_owned()));
    tables
}

fn print_scope_level(level: ScopeLevel) -> &'static str {
    match level {
        ScopeLevel::Account => "no name in `data`; that of a site is left out, too",
        ScopeLevel::Site => "no name in `data`",
        ScopeLevel::Group => "`data.groupName`",
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

/// Unified alerts contain their provider, which may be another vendor.
fn provenance(stream: Stream) -> Vec<u8> {
    let provider = if stream == Stream::UnifiedAlerts { "" } else { r#""provider":"SentinelOne","# };
    let dataset = stream.singular();
    format!(r#""module":"sentinel_one","dataset":"sentinel_one.{dataset}",{provider}"timezone":"UTC""#).into_bytes()
}
