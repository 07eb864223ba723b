//! Hits of detection rules in the activity log. They are mapped as the alert is, whatever the number of their type.

use s1_forwarder_record::activity::{Activity, RuleHit};
use s1_forwarder_record::{Reader, Value};

use super::activity_end::finish;
use super::class::{BASE_EVENT, DETECTION_FINDING, OTHER};
use super::detection::{self, Extra, Finding, is_process};
use super::device::{Device, Place};
use super::event::{Event, Profile, time};
use super::finding::Action;
use super::metadata::{Common, Metadata};
use super::threat::resource;
use super::user::take_process_user;
use super::workload::{self, Cloud};
use crate::common::os::Os;
use crate::common::placeholder::{first_scalar, is_set};
use crate::common::rule_hit::{detection as view, matched, severity};

const CREATE: u8 = 1;

pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, activity: &mut Activity<'_>) {
    let mut hit = RuleHit::read(&mut Reader::new(activity.data.raw())).unwrap_or_default();
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
    event.text("message", &mut activity.primary_description);
    if is_finding {
        finding(event, common, activity, &mut hit, id);
    }
    device(event, activity, &mut hit);
    if is_finding {
        let kind = matched(&hit).kind;
        let mut extra = Extra { storyline: hit.sourceprocessstoryline, ..Extra::default() };
        let is_actor = is_process(hit.sourceprocesspid, hit.sourceprocesskey);
        let has_parent = is_actor && is_process(hit.sourceparentprocesspid, hit.sourceparentprocesskey);
        detection::write(event, &mut view(&mut hit, activity, kind), &mut extra);
        if is_actor {
            take_process_user(&mut hit.sourceprocessusername);
        }
        if has_parent {
            take_process_user(&mut hit.sourceparentprocessusername);
        }
        for value in [&mut hit.sourceprocessstoryline, &mut hit.alertid, &mut hit.dveventid] {
            if is_set(*value) {
                value.take();
            }
        }
    }
    event.tail(common, &metadata);
    finish(event, activity, &metadata, &hit);
}

fn finding<'a>(
    event: &mut Event<'_>,
    common: &Common<'_>,
    activity: &Activity<'a>,
    hit: &mut RuleHit<'a>,
    id: Value<'a>,
) {
    event.status(1, "");
    let created = if time(hit.detectedat).is_some() { hit.detectedat } else { activity.created_at };
    let finding = Finding {
        uid: id.escaped(),
        rule: [&mut hit.ruleid, &mut hit.rulename, &mut hit.ruledescription, &mut hit.querytype],
        created,
        modified: Value::default(),
        matched: [hit.dveventid, hit.dveventtype],
    };
    finding.write(event, common);
    event.json.boolean("is_alert", true);
    event.disposition(19);
    event.action(Action::Observed);
    if time(hit.detectedat).is_some() {
        hit.detectedat.take();
    }
}

fn device<'a>(event: &mut Event<'_>, activity: &mut Activity<'a>, hit: &mut RuleHit<'a>) {
    let none = Value::default();
    let mut device = Device {
        uid: if is_set(activity.agent_id) { &mut activity.agent_id } else { &mut hit.origagentid },
        uid_alt: [&mut hit.origagentuuid, &mut Value::default()],
        names: [&mut hit.origagentname, &mut hit.computer_name],
        domains: [&mut Value::default(), &mut Value::default()],
        kind: &mut hit.origagentmachinetype,
        os: Os {
            kind: [hit.origagentosfamily, activity.os_family],
            family: none,
            name: &mut hit.origagentosname,
            version: &mut hit.origagentosrevision,
        },
        os_arch: none,
        interfaces: none,
        addresses: [hit.agentipv4, none, none, none],
        external: hit.externalip,
        macs: hit.physical,
        agent_versions: [&mut hit.origagentversion, &mut Value::default()],
        is_managed: true,
        place: Place {
            account_id: [&mut { activity.account_id }, &mut Value::default()],
            account_name: [&mut activity.account_name, &mut { hit.account_name }],
            site_id: [&mut activity.site_id, &mut { hit.origagentsiteid }],
            site_name: [&mut activity.site_name, &mut { hit.site_name }],
            group_id: [&mut activity.group_id, &mut Value::default()],
            group_name: [&mut activity.group_name, &mut { hit.group_name }],
        },
        cloud: Cloud::default(),
    };
    let (id, name) = (*device.uid, first_scalar([*device.names[0], *device.names[1]]));
    let in_kubernetes = is_set(hit.k8spod) || is_set(hit.k8sclustername);
    device.write(event, |event| {
        let container = [&mut hit.k8scontainerid, &mut hit.k8scontainername, &mut hit.k8scontainerimage];
        if workload::fields(event, container, hit.k8scontainerlabels, in_kubernetes) {
            event.using(Profile::Container);
        }
    });
    if event.class.is(&DETECTION_FINDING) {
        resource(event, id, name);
    }
}
