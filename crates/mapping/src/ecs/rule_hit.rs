//! Hits of detection rules in the activity log: `data` has the values of an alert under keys in lower case. They are
//! mapped as the alert is, whatever the number of their type.

use s1_forwarder_record::activity::{Activity, RuleHit};
use s1_forwarder_record::block::read_inside;

use super::activity_event::{self, Tail};
use super::common_fields::CommonFields;
use super::detection;
use super::event::Event;
use super::organization::{self, NamesInData};
use super::vendor::JoinKeys;
use crate::common::placeholder::first_scalar;
use crate::common::rule_hit::{detection, matched, severity};
use crate::common::threat::{ALERT_PAGE, alert_page_id};

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, activity: &Activity<'_>) {
    let hit = read_inside::<Activity<'_>, RuleHit<'_>>(activity.data.raw()).unwrap_or_default();
    let severity = severity(&hit);
    let keys = JoinKeys {
        agent_uuid: hit.origagentuuid,
        alert_id: hit.alertid,
        threat_id: activity.threat_id,
        storyline: hit.sourceprocessstoryline,
        ..JoinKeys::default()
    };
    let agent_id = activity.agent_id;
    let matched = matched(&hit);
    activity_event::head(event, common, activity, hit.origagentversion);
    let open = event.open("event");
    matched.classify(event);
    event.date("start", hit.detectedat);
    activity_event::fields(event, common, activity, severity);
    if let Some(id) = alert_page_id(hit.alertid).filter(|_| activity.threat_id.is_empty()) {
        event.url(&[common.console_host, ALERT_PAGE, id.raw()]);
    }
    event.close(open);
    detection::write(event, &detection(&hit, activity, matched.kind));
    let names = NamesInData {
        level: hit.scope_level,
        account: [hit.account_name, hit.accountname],
        site: hit.site_name,
        group: [hit.group_name, hit.groupname],
    };
    let site_name = organization::write_of_activity(event, activity, names);
    let site = [activity.site_id, site_name];
    let account_name = first_scalar([activity.account_name, hit.account_name, hit.accountname]);
    let keys = JoinKeys { site, account_name, ..keys };
    activity_event::tail(
        event,
        common,
        activity,
        &Tail { agent_id, site_name, severity, keys, is_system: false },
        &hit,
    );
}
