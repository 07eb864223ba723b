//! Maps `/activities` to ECS, by the activity type and not by the text of the description.

use super::activity_class::{self, Class};
use super::common::CommonFields;
use super::event::Event;
use super::severity::Severity;
use super::vendor::write_remaining;
use super::{activity_data as part, activity_user, detection, organization, rule_hit};
use crate::record::activity::{Activity, ActivityData, RuleHit};
use crate::record::block::Block;
use crate::record::{Kind, Reader, Value};
use crate::transform::copy::KeyCase;

/// Names of the vendor object that do not come from keys of the record.
const RESERVED: &[&str] = &["severity", "type", "agent", "site", "data"];

const MANAGEMENT_UPDATED: u32 = 26;
const RULE_HIT: u32 = 3608;
const DEVICE_BLOCKED: u32 = 5125;
const DEVICE_APPROVED: u32 = 5126;
const FIREWALL_BLOCKED: u32 = 5232;

/// Returns true if the type is not in the table.
pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, activity: &mut Activity<'_>) -> bool {
    let number = activity.activity_type.escaped().and_then(|text| text.raw().parse().ok());
    let agent_id = activity.agent_id;
    if number == Some(RULE_HIT) && activity.data.kind() == Kind::Object {
        let mut hit = RuleHit::read(&mut Reader::new(activity.data.raw())).unwrap_or_default();
        let mut class = activity_class::classify(number, activity, &ActivityData::default());
        class.severity = hit.severity.escaped().and_then(Severity::of_word).unwrap_or(class.severity);
        head(event, common, activity, hit.origagentversion.take());
        event_object(event, common, activity, Value::default(), &class);
        detection::write(event, &mut rule_hit::detection(&mut hit, activity));
        tail(event, activity, agent_id, &class, &hit);
        return false;
    }
    let mut data = match activity.data.kind() {
        Kind::Object => ActivityData::read(&mut Reader::new(activity.data.raw())).unwrap_or_default(),
        _ => ActivityData::default(),
    };
    let class = activity_class::classify(number, activity, &data);
    let is_console = number == Some(MANAGEMENT_UPDATED);
    let version = if class.is("package") { part::version(activity, &mut data) } else { Value::default() };

    let of_agent = activity.user_id.is_empty() && !activity.agent_id.is_empty();
    head(event, common, activity, if is_console { Value::default() } else { version });
    event_object(event, common, activity, data.reason, &class);
    activity_user::write(event, activity, &mut data, &class);
    match number {
        Some(FIREWALL_BLOCKED) => {
            part::connection(event, &mut data);
            part::rule(event, &mut data);
            part::process(event, &mut data, true);
        }
        Some(DEVICE_BLOCKED | DEVICE_APPROVED) => {
            part::device(event, &mut data);
            part::rule(event, &mut data);
            part::process(event, &mut data, false);
        }
        _ => part::process(event, &mut data, false),
    }
    part::host(event, activity, &mut data, of_agent);
    part::package(event, version, is_console);
    part::file(event, activity, &mut data);
    let url = event.open("url");
    event.keyword("original", &mut data.download_url);
    event.close(url);
    tail(event, activity, agent_id, &class, &data);
    class.is_unknown
}

fn head(event: &mut Event<'_>, common: &CommonFields<'_>, activity: &Activity<'_>, mut version: Value<'_>) {
    // Uses copies: `event.created` takes the dates.
    event.head(common, [&mut { activity.created_at }, &mut { activity.updated_at }], [&mut version]);
    event.optional("message", activity.primary_description.escaped());
}

fn event_object(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    activity: &mut Activity<'_>,
    reason: Value<'_>,
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
    event.severity(class.severity);
    event.optional("code", activity.activity_type.escaped());
    event.keyword("id", &mut activity.id);
    event.date("created", &mut activity.created_at);
    let description = activity.primary_description.take();
    let reason = if class.outcome == "failure" && reason.escaped().is_some() { reason } else { description };
    if event.optional("reason", reason.escaped()).is_none() {
        activity.primary_description = description;
    }
    event.provenance(common);
    event.close(open);
}

/// Writes the fields that follow in all activities, and the vendor namespace.
fn tail<'a>(
    event: &mut Event<'_>,
    activity: &mut Activity<'a>,
    agent_id: Value<'a>,
    class: &Class,
    data: &impl Block<'a>,
) {
    organization::write(event, [&mut activity.account_id], [&mut activity.account_name]);
    organization::group(event, [&mut activity.group_id], [&mut activity.group_name]);
    event.tail();
    let vendor = event.json.open("sentinel_one");
    let object = event.json.open("activity");
    event.json.word("severity", class.severity.word());
    if let Some(number) = class.number {
        event.json.number("type", itoa::Buffer::new().format(number));
        activity.activity_type.take();
    }
    organization::agent_and_site(event, agent_id, [activity.site_id], [activity.site_name]);
    let open = event.json.open("data");
    if class.is_system {
        event.json.boolean("system", true);
    }
    let flattened = event.json.open("flattened");
    match activity.data.kind() {
        Kind::Object => write_remaining(&mut event.json, data, KeyCase::AsReceived, &[]),
        // An ECS flattened field must be an object.
        _ => drop(event.json.value("value", activity.data, KeyCase::AsReceived)),
    }
    event.json.close(flattened);
    event.json.close(open);
    activity.data.take();
    write_remaining(&mut event.json, activity, KeyCase::Snake, RESERVED);
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}
