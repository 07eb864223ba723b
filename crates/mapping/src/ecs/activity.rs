//! Maps `/activities` to ECS. The number of the type says what happened; the keys of `data` say what it is about.

use s1_forwarder_record::activity::{Activity, ActivityData};
use s1_forwarder_record::block::read_inside;
use s1_forwarder_record::{Kind, Value};

use super::activity_event::{self, Tail};
use super::common_fields::CommonFields;
use super::event::Event;
use super::vendor::JoinKeys;
use super::{activity_data as part, activity_user, organization, rule_hit};
use crate::common::activity_class::{self, Class, Subject};
use crate::common::incident_change::IncidentChange;
use crate::common::remote_origin::RemoteOrigin;
use crate::streams::activity::{endpoint, is_by_agent, package_version};
use crate::streams::rule_hit::is_hit;

const MANAGEMENT_UPDATED: u32 = 26;

/// Returns true if the type is not in the table.
pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, activity: &Activity<'_>) -> bool {
    let number = activity_class::number(activity);
    let data = match activity.data.kind() {
        Kind::Object => read_inside::<Activity<'_>, ActivityData<'_>>(activity.data.raw()).unwrap_or_default(),
        _ => ActivityData::default(),
    };
    if is_hit(number, &data) {
        rule_hit::map(event, common, activity);
        return activity_class::is_unknown(number);
    }
    let class = activity_class::classify(number, activity, &data);
    let is_console = number == Some(MANAGEMENT_UPDATED);
    let version = if class.is("package") { package_version(activity, &data) } else { Value::default() };
    event.used.mark(version);
    let endpoint = endpoint(activity, &data);
    let origin = RemoteOrigin::of(data.file_display_name);

    activity_event::head(event, common, activity, if is_console { Value::default() } else { version });
    event_object(event, common, activity, &data, &class);
    activity_user::write(event, activity, &data, &class, origin);
    match (class.subject, origin) {
        (Subject::Firewall, _) => part::connection(event, &data),
        (_, Some(origin)) => origin.write_source(event),
        // The address is that of the endpoint to which the device was connected.
        (Subject::Device, None) => part::source(event, &data),
        (_, None) if !is_by_agent(activity) => part::source(event, &data),
        _ => {}
    }
    if class.subject == Subject::Device {
        part::device(event, &data);
    }
    part::rule(event, &data);
    part::process(event, &data, class.subject == Subject::Firewall);
    let platform = part::host(event, &endpoint);
    part::package(event, &class, version);
    part::file(event, activity, &data, &class, platform);
    let url = event.open("url");
    event.text("original", data.download_url);
    event.close(url);
    let owner = endpoint.owner.within(data.scope_level);
    organization::write(event, &owner);
    let keys = JoinKeys {
        agent_uuid: endpoint.agent_uuids[0],
        threat_id: activity.threat_id,
        alert_id: data.alert_id,
        confidence: data.confidence_level,
        classification: [data.threat_classification, data.threat_classification_source],
        ..JoinKeys::default()
    };
    let tail = Tail { owner: &owner, severity: class.severity, keys, is_system: class.is_system };
    activity_event::tail(event, common, activity, &tail, &data);
    class.is_unknown
}

fn event_object<'a>(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    activity: &Activity<'a>,
    data: &ActivityData<'a>,
    class: &Class,
) {
    let open = event.open("event");
    event.json.word("kind", class.kind);
    event.words("category", class.categories());
    event.words("type", class.types());
    match class.number {
        Some(number) if class.action.is_empty() => event.json.text("action", &format!("activity-{number}")),
        _ => event.json.word("action", class.action),
    }
    if !class.outcome.is_empty() {
        event.json.word("outcome", class.outcome);
    }
    reason(event, activity, data, class);
    if class.subject == Subject::Device {
        event.date("start", data.event_time);
    }
    activity_event::fields(event, common, activity, class.severity);
    event.close(open);
}

/// Why something failed, or what an analyst decided. The values stay in the record.
fn reason<'a>(event: &mut Event<'_>, activity: &Activity<'a>, data: &ActivityData<'a>, class: &Class) {
    let change = IncidentChange::of(data);
    let status = change.status.escaped();
    let verdict = change.verdict.escaped();
    if status.or(verdict).is_some() {
        return event.sentence("reason", &[("", status), ("; ", verdict)]);
    }
    event.optional("reason", activity_class::reason(activity, data, class.outcome == "failure").escaped());
}
