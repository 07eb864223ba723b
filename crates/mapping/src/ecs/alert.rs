//! Maps `/cloud-detection/alerts` to ECS.

use s1_forwarder_record::alert::Alert;

use super::common_fields::CommonFields;
use super::event::Event;
use super::vendor::{JoinKeys, VendorObject};
use super::{detection, matched, organization};
use crate::common::missing::first_scalar;
use crate::common::page;
use crate::streams::alert::AlertParts;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, alert: &Alert<'_>) {
    let parts = AlertParts::of(alert);
    let endpoint = &parts.detection.endpoint;
    event.head(common, parts.times(), endpoint.agent_versions);
    event.sentence("message", &parts.message());
    event_object(event, common, &parts);
    detection::write(event, &parts.detection);
    organization::write(event, &endpoint.owner);
    event.tail();

    let keys = JoinKeys {
        agent_uuid: first_scalar(endpoint.agent_uuids),
        storyline: parts.detection.storyline,
        ..JoinKeys::default()
    };
    let mut vendor = VendorObject::open(event, common, &keys, &endpoint.owner, "alert");
    vendor.severity(parts.detection.severity);
    vendor.optional("id", parts.detection.alert_id);
    vendor.agent(endpoint.agent_id);
    vendor.site(&endpoint.owner);
    vendor.close(alert);
}

fn event_object(event: &mut Event<'_>, common: &CommonFields<'_>, parts: &AlertParts<'_>) {
    let open = event.open("event");
    matched::write(event, &parts.detection.matched);
    event.severity(parts.detection.severity);
    event.text("id", parts.detection.alert_id);
    if let Some(page) = page::alert(common.console_host, parts.detection.alert_id) {
        event.url(&page);
    }
    event.date("start", parts.created);
    event.date("created", parts.created);
    event.provenance(common);
    event.close(open);
}
