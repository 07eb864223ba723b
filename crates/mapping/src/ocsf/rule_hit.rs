//! Maps hits of custom rules in the activity log to OCSF as the alert is mapped, whatever the number of their type.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, RuleHit};

use super::activity_end::finish;
use super::class::{CREATE, Class, OTHER};
use super::detection;
use super::event::{Event, time};
use super::finding::Action;
use super::metadata::{CommonFields, Metadata};
use crate::common::missing::{first_scalar, is_set};
use crate::streams::rule_hit::HitParts;

/// Maps a hit. Returns whether its type is not in the table.
pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    activity: &Activity<'_>,
    hit: &RuleHit<'_>,
) -> bool {
    let parts = HitParts::of(activity, hit);
    let entry = &parts.entry;
    let detection = &parts.detection;
    let id = first_scalar([detection.alert_id, entry.threat_id]);
    let is_finding = is_set(id);
    if is_finding {
        event.begin(Class::DetectionFinding, CREATE, "");
    } else {
        event.begin(Class::BaseEvent, OTHER, "alert-raised");
    }
    let mut metadata = Metadata::of_entry(entry, id);
    metadata.time(event, [entry.created, entry.updated]);
    if is_finding {
        event.time("start_time", parts.detected.unmarked());
    }
    event.severity(detection.severity);
    event.text("message", entry.message);
    if is_finding {
        finding(event, common, &parts, id);
    }
    let has_container = detection::device(event, detection, &detection.endpoint);
    if is_finding {
        detection::write(event, detection, has_container);
        event.mark_set([detection.storyline, detection.alert_id, detection.event_id]);
    }
    if id == entry.threat_id {
        event.mark_set([id]);
    }
    event.tail(common, &metadata);
    finish(event, activity, hit);
    entry.is_unknown()
}

fn finding(event: &mut Event<'_>, common: &CommonFields<'_>, parts: &HitParts<'_>, id: Value<'_>) {
    event.status(1);
    let created = if time(parts.detected).is_some() { parts.detected } else { parts.entry.created };
    detection::finding_info(event, common, &parts.detection, id, [created, Value::default()]);
    event.json.boolean("is_alert", true);
    event.disposition(19);
    event.action(Action::Observed);
    event.mark_times([parts.detected]);
}
