//! Hits of detection rules in the activity log. They are mapped as the alert is, whatever the number of their type.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, RuleHit};
use s1_forwarder_record::block::read_inside;

use super::activity_end::finish;
use super::class::{BASE_EVENT, DETECTION_FINDING, OTHER};
use super::detection::{self, Extra, Finding, is_process};
use super::device::{Device, Place};
use super::event::{Event, Profile, time};
use super::finding::Action;
use super::metadata::{Common, Metadata};
use super::threat::resource;
use super::user::mark_process_user;
use super::workload;
use crate::common::os::Os;
use crate::common::placeholder::{first_scalar, is_set};
use crate::common::rule_hit::{detection as view, matched, severity};

const CREATE: u8 = 1;

pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, activity: &Activity<'_>) {
    let hit = read_inside::<Activity<'_>, RuleHit<'_>>(activity.data.raw()).unwrap_or_default();
    let severity = severity(&hit);
    let id = first_scalar([hit.alertid, activity.threat_id]);
    let is_finding = is_set(id);
    match is_finding {
        true => event.begin(&DETECTION_FINDING, CREATE, ""),
        false => event.begin(&BASE_EVENT, OTHER, "alert-raised"),
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
    event.severity(severity);
    event.text("message", activity.primary_description);
    if is_finding {
        finding(event, common, activity, &hit, id);
    }
    device(event, activity, &hit);
    if is_finding {
        let kind = matched(&hit).kind;
        let extra = Extra { storyline: hit.sourceprocessstoryline, ..Extra::default() };
        let is_actor = is_process(hit.sourceprocesspid, hit.sourceprocesskey);
        let has_parent = is_actor && is_process(hit.sourceparentprocesspid, hit.sourceparentprocesskey);
        detection::write(event, &view(&hit, activity, kind), &extra);
        if is_actor {
            mark_process_user(event, hit.sourceprocessusername);
        }
        if has_parent {
            mark_process_user(event, hit.sourceparentprocessusername);
        }
        for value in [hit.sourceprocessstoryline, hit.alertid, hit.dveventid] {
            if is_set(value) {
                event.used.mark(value);
            }
        }
    }
    event.tail(common, &metadata);
    finish(event, activity, &metadata, &hit);
}

fn finding<'a>(event: &mut Event<'_>, common: &Common<'_>, activity: &Activity<'a>, hit: &RuleHit<'a>, id: Value<'a>) {
    event.status(1, "");
    let created = if time(hit.detectedat).is_some() { hit.detectedat } else { activity.created_at };
    let finding = Finding {
        uid: id,
        rule: [hit.ruleid, hit.rulename, hit.ruledescription, hit.querytype],
        created,
        modified: Value::default(),
        matched: [hit.dveventid, hit.dveventtype],
    };
    finding.write(event, common);
    event.json.boolean("is_alert", true);
    event.disposition(19);
    event.action(Action::Observed);
    if time(hit.detectedat).is_some() {
        event.used.mark(hit.detectedat);
    }
}

fn device<'a>(event: &mut Event<'_>, activity: &Activity<'a>, hit: &RuleHit<'a>) {
    let none = Value::default();
    let device = Device {
        uid: if is_set(activity.agent_id) { activity.agent_id } else { hit.origagentid },
        uid_alt: [hit.origagentuuid, Value::default()],
        names: [hit.origagentname, hit.computer_name],
        kind: hit.origagentmachinetype,
        os: Os {
            kind: [hit.origagentosfamily, activity.os_family],
            name: hit.origagentosname,
            version: hit.origagentosrevision,
            ..Os::default()
        },
        addresses: [hit.agentipv4, none, none, none],
        external: hit.externalip,
        macs: hit.physical,
        agent_versions: [hit.origagentversion, Value::default()],
        is_managed: true,
        place: Place {
            account_id: [activity.account_id.kept(), Value::default()],
            account_name: [activity.account_name, hit.account_name.kept()],
            site_id: [activity.site_id, hit.origagentsiteid.kept()],
            site_name: [activity.site_name, hit.site_name.kept()],
            group_id: [activity.group_id, Value::default()],
            group_name: [activity.group_name, hit.group_name.kept()],
        },
        ..Device::default()
    };
    let id = device.uid;
    let name = first_scalar([device.names[0], device.names[1]]);
    let in_kubernetes = is_set(hit.k8spod) || is_set(hit.k8sclustername);
    device.write(event, |event| {
        let container = [hit.k8scontainerid, hit.k8scontainername, hit.k8scontainerimage];
        if workload::fields(event, container, hit.k8scontainerlabels, in_kubernetes) {
            event.using(Profile::Container);
        }
    });
    if event.class.is(&DETECTION_FINDING) {
        resource(event, id, name);
    }
}
