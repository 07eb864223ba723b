//! Maps `/cloud-detection/alerts` to Detection Finding.

use s1_forwarder_record::alert::Alert;

use super::class::Class;
use super::event::Event;
use super::finding::{Action, Verdict, activity};
use super::metadata::{CommonFields, Metadata};
use super::{detection, unmapped};
use crate::common::missing::first_scalar;
use crate::streams::alert::AlertParts;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, alert: &Alert<'_>) {
    let parts = AlertParts::of(alert);
    let detection = &parts.detection;
    let [account_id, _] = detection.endpoint.owner.account_ids;
    event.begin(Class::DetectionFinding, activity(parts.is_new(), parts.status), "");
    let mut metadata = Metadata {
        record_id: detection.alert_id,
        logged: first_scalar([parts.reported, parts.created]),
        modified: parts.updated,
        correlation: first_scalar([detection.alert_id, detection.storyline]),
        event_code: detection.matched.event_type,
        tenant: account_id,
        ..Metadata::default()
    };
    metadata.time(event, parts.times());
    event.severity(detection.severity);
    event.sentence("message", &parts.message());
    detection::finding_info(event, common, detection, detection.alert_id, [parts.created, parts.updated]);
    states(event, &parts);
    let has_container = detection::device(event, detection, &detection.endpoint);
    detection::write(event, detection, has_container);
    mark_repeated(event, &parts);
    event.tail(common, &metadata);
    unmapped::write(event, alert, &[], |_| {});
}

fn states(event: &mut Event<'_>, parts: &AlertParts<'_>) {
    let verdict = Verdict::of(parts.verdict);
    event.json.boolean("is_alert", verdict != Some(Verdict::FalsePositive));
    event.incident_status(parts.status);
    match verdict {
        Some(verdict) => {
            event.verdict(verdict);
            verdict.mark(event, parts.verdict);
        }
        None => event.other_verdict(parts.verdict),
    }
    // The word stays in the record: it also says how the console treats the alert.
    event.confidence(parts.treat_as_threat.unmarked());
    event.disposition(19);
    event.action(Action::Observed);
}

/// Marks the values that the event has in more than one place.
fn mark_repeated(event: &mut Event<'_>, parts: &AlertParts<'_>) {
    let detection = &parts.detection;
    let [account_id, _] = detection.endpoint.owner.account_ids;
    let event_type = detection.matched.event_type;
    event.mark_set([detection.alert_id, event_type, detection.event_id, detection.storyline, account_id]);
    event.mark_times([parts.created, parts.updated, parts.reported]);
}
