//! Hits of custom rules in the activity log. They are mapped as the alert is, whatever the number of their type.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, RuleHit};
use s1_forwarder_record::block::read_inside;

use super::activity_end::finish;
use super::class::{BASE_EVENT, CREATE, DETECTION_FINDING, OTHER};
use super::detection;
use super::event::{Event, time};
use super::finding::Action;
use super::metadata::{Common, Metadata};
use crate::common::placeholder::{first_scalar, is_set};
use crate::parts::{Endpoint, Owner};
use crate::streams::rule_hit::HitParts;

pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, activity: &Activity<'_>) {
    let hit = read_inside::<Activity<'_>, RuleHit<'_>>(activity.data.raw()).unwrap_or_default();
    let parts = HitParts::of(activity, &hit);
    let detection = &parts.detection;
    let id = first_scalar([detection.alert_id, activity.threat_id]);
    let is_finding = is_set(id);
    if is_finding {
        event.begin(&DETECTION_FINDING, CREATE, "");
    } else {
        event.begin(&BASE_EVENT, OTHER, "alert-raised");
    }
    let mut metadata = Metadata {
        record_id: activity.id,
        logged: activity.created_at,
        modified: activity.updated_at,
        correlation: first_scalar([activity.threat_id, id]),
        event_code: activity.activity_type,
        tenant: activity.account_id,
        ..Metadata::default()
    };
    metadata.time(event, [activity.created_at, activity.updated_at]);
    event.severity(detection.severity);
    event.text("message", activity.primary_description);
    if is_finding {
        finding(event, common, &parts, id, activity.created_at);
    }
    detection::device(event, detection, &endpoint(&parts));
    if is_finding {
        detection::write(event, detection);
        for value in [detection.storyline, detection.alert_id, detection.event_id] {
            if is_set(value) {
                event.used.mark(value);
            }
        }
    }
    event.tail(common, &metadata);
    finish(event, activity, &metadata, &hit);
}

fn finding(event: &mut Event<'_>, common: &Common<'_>, parts: &HitParts<'_>, id: Value<'_>, logged: Value<'_>) {
    event.status(1, "");
    let has_time = time(parts.detected).is_some();
    let created = if has_time { parts.detected } else { logged };
    detection::finding_info(event, common, &parts.detection, id, [created, Value::default()]);
    event.json.boolean("is_alert", true);
    event.disposition(19);
    event.action(Action::Observed);
    if has_time {
        event.used.mark(parts.detected);
    }
}

/// The endpoint of the hit. What `data` says of its owner stays there.
fn endpoint<'a>(parts: &HitParts<'a>) -> Endpoint<'a> {
    let endpoint = parts.detection.endpoint;
    let [site_id, _] = endpoint.owner.site_ids;
    let owner = Owner { site_ids: [site_id, parts.site_of_agent], ..endpoint.owner }.with_others_kept();
    Endpoint { owner, ..endpoint }
}
