//! Maps `/cloud-detection/alerts` to ECS.

use s1_forwarder_record::Value;
use s1_forwarder_record::alert::Alert;

use super::common_fields::CommonFields;
use super::detection;
use super::event::Event;
use super::organization;
use super::vendor::{self, JoinKeys};
use crate::common::alert::{detection, matched, severity, subject, times};
use crate::common::matched::Matched;
use crate::common::placeholder::first_scalar;
use crate::common::remaining::write_remaining;
use crate::common::severity::Severity;
use crate::common::threat::{ALERT_PAGE, alert_page_id};
use crate::copy::KeyCase;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, alert: &Alert<'_>) {
    let info = &alert.alert_info;
    let severity = severity(alert);
    let agent_id = alert.agent_realtime_info.id;
    let alert_id = info.alert_id;
    let keys = JoinKeys {
        agent_uuid: first_scalar([alert.agent_realtime_info.uuid, alert.agent_detection_info.uuid]),
        storyline: alert.source_process_info.storyline,
        site: [alert.agent_detection_info.site_id, Value::default()],
        ..JoinKeys::default()
    };
    let matched = matched(info, &alert.target_process_info);
    event.head(common, times(info), [alert.agent_detection_info.version]);
    let name = first_scalar([alert.agent_realtime_info.name, alert.agent_detection_info.name]);
    event.sentence(
        "message",
        &[("", alert.rule_info.name.escaped()), (" on ", name.escaped()), (": ", subject(alert, matched.kind))],
    );
    event_object(event, common, alert, matched, severity);
    detection::write(event, &detection(alert, matched.kind));
    organization::write(event, [alert.agent_detection_info.account_id], []);
    event.tail();

    let vendor = vendor::open(event, common, &keys);
    let object = event.json.open("alert");
    event.json.word("severity", severity.word());
    event.optional("id", alert_id.escaped());
    organization::agent_and_site(event, agent_id, [alert.agent_detection_info.site_id], [Value::default()]);
    write_remaining(&mut event.json, event.used, alert, KeyCase::Snake, &["severity", "id", "agent", "site"]);
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}

fn event_object(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    alert: &Alert<'_>,
    matched: Matched<'_>,
    severity: Severity,
) {
    let info = &alert.alert_info;
    let open = event.open("event");
    matched.classify(event);
    event.severity(severity);
    event.keyword("id", info.alert_id);
    if let Some(id) = alert_page_id(info.alert_id) {
        event.url(&[common.console_host, ALERT_PAGE, id.raw()]);
    }
    event.date("start", info.created_at);
    event.date("created", info.created_at);
    event.provenance(common);
    event.close(open);
}
