//! Maps hits of custom rules in the activity log to ECS as the alert is mapped, whatever the number of their type.

use s1_forwarder_record::activity::{Activity, RuleHit};

use super::activity_event::{self, Tail};
use super::common_fields::CommonFields;
use super::event::Event;
use super::vendor::JoinKeys;
use super::{detection, matched, organization};
use crate::common::missing::first_scalar;
use crate::common::page;
use crate::streams::rule_hit::HitParts;

/// Maps a hit. Returns whether its type is not in the table.
pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    activity: &Activity<'_>,
    hit: &RuleHit<'_>,
) -> bool {
    let parts = HitParts::of(activity, hit);
    let HitParts { entry, detection, .. } = &parts;
    let [version, _] = detection.endpoint.agent_versions;
    activity_event::head(event, common, entry, version);
    let open = event.open("event");
    matched::write(event, &detection.matched);
    event.date("start", parts.detected);
    activity_event::fields(event, common, entry, detection.severity);
    if entry.threat_id.is_empty()
        && let Some(page) = page::alert(common.console_host, detection.alert_id)
    {
        event.url(&page);
    }
    event.close(open);
    detection::write(event, detection);
    organization::write(event, &parts.owner);
    let keys = JoinKeys {
        agent_uuid: first_scalar(detection.endpoint.agent_uuids),
        alert_id: detection.alert_id,
        threat_id: entry.threat_id,
        storyline: detection.storyline,
        ..JoinKeys::default()
    };
    let tail = Tail { owner: &parts.owner, severity: detection.severity, keys, is_system: false };
    activity_event::tail(event, common, activity, &tail, hit);
    entry.is_unknown()
}
