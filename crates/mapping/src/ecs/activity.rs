//! Maps `/activities` to ECS. The number of the type says what happened; the keys of `data` name the subject.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData};

use super::activity_event::{self, Tail};
use super::common_fields::CommonFields;
use super::event::Event;
use super::vendor::JoinKeys;
use super::{activity_data as part, activity_user, organization, remote_origin, user};
use crate::common::category::Category;
use crate::common::classification::EventOutcome;
use crate::common::missing::{first_scalar, text};
use crate::streams::activity::{ActivityClass, ActivityParts, Subject, Users};

const MANAGEMENT_UPDATED: u32 = 26;

/// Maps an activity. Returns whether its type is not in the table.
pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    activity: &Activity<'_>,
    data: &ActivityData<'_>,
) -> bool {
    let parts = ActivityParts::of(activity, data);
    let class = ActivityClass::of(&parts);
    let is_console = class.number == Some(MANAGEMENT_UPDATED);
    let version = if class.is(Category::Package) { parts.package_version() } else { Value::default() };
    event.mark(version);
    let endpoint = parts.endpoint();
    let file = parts.file();
    let threat = parts.threat();

    activity_event::head(event, common, &parts.entry, if is_console { Value::default() } else { version });
    event_object(event, common, &parts, &class);
    activity_user::write(event, &Users::of(&parts, &class), &class, &parts.change());
    let [_, email] = parts.assignee();
    user::related(event, email);
    user::related(event, parts.former_assignee());
    match (class.subject, file.origin) {
        (Subject::Firewall, _) => part::connection(event, &parts.connection()),
        (_, Some(origin)) => remote_origin::write(event, &origin),
        // The address belongs to the endpoint to which the device was connected.
        (Subject::Device, None) => part::source(event, parts.address()),
        (_, None) if !parts.is_by_agent() => part::source(event, parts.address()),
        _ => {}
    }
    if class.subject == Subject::Device {
        part::device(event, &parts.peripheral());
    }
    part::rule(event, &parts.rule());
    part::process(event, &parts, &file, class.subject == Subject::Firewall);
    let platform = part::host(event, &endpoint);
    part::package(event, &class, version);
    part::file(event, &file, &parts.exclusion(), &class, platform);
    let url = event.open("url");
    event.text("original", parts.download_url());
    event.close(url);
    let owner = parts.owner_of_level();
    organization::write(event, &owner);
    let keys = JoinKeys {
        agent_uuid: first_scalar(endpoint.agent_uuids),
        threat_id: parts.entry.threat_id,
        alert_id: parts.alert_id(),
        confidence: threat.confidence,
        classification: [threat.classification, threat.classification_source],
        ..JoinKeys::default()
    };
    let tail = Tail { owner: &owner, severity: class.severity, keys, is_system: class.is_system };
    activity_event::tail(event, common, activity, &tail, data);
    class.is_unknown
}

fn event_object(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    parts: &ActivityParts<'_, '_>,
    class: &ActivityClass,
) {
    let open = event.open("event");
    event.json.word("kind", if class.is_alert { "alert" } else { "event" });
    event.categories(class.categories());
    event.types(class.types());
    match class.number {
        Some(number) if class.action.is_empty() => event.json.text("action", &format!("activity-{number}")),
        _ => event.json.word("action", class.action),
    }
    if let Some(outcome) = class.outcome {
        event.outcome(outcome);
    }
    reason(event, parts, class);
    if class.subject == Subject::Device {
        event.date("start", parts.peripheral().event_time);
    }
    activity_event::fields(event, common, &parts.entry, class.severity);
    event.close(open);
}

/// Writes the reason of a failure, or an analyst's decision. The values stay in the record.
fn reason(event: &mut Event<'_>, parts: &ActivityParts<'_, '_>, class: &ActivityClass) {
    let threat = parts.threat();
    let status = text(threat.status);
    let verdict = text(threat.verdict);
    if status.or(verdict).is_some() {
        return event.sentence("reason", &[("", status), ("; ", verdict)]);
    }
    event.optional("reason", parts.reason(class.outcome == Some(EventOutcome::Failure)).escaped());
}
