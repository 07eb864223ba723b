//! Maps `/activities`. The number of the type says what happened; the keys of `data` name the subject.

use s1_forwarder_record::activity::{Activity, ActivityData};
use s1_forwarder_record::{Escaped, Value};

use super::activity_class::{EXONERATED, Plan};
use super::activity_end::finish;
use super::activity_parts::{CONSOLE, application, connection, peripheral, scan};
use super::class::{CREATE, Class};
use super::event::{Event, Profile, integer};
use super::file::{File, FileType};
use super::finding::{Action, Malware, Verdict};
use super::metadata::{CommonFields, Metadata};
use super::observables::ObservableType;
use super::user::{UserType, mark_account};
use super::{detection, device, entity};
use crate::common::account::is_administrator;
use crate::common::hash::hash;
use crate::common::image::Image;
use crate::common::missing::{first_scalar, is_set};
use crate::streams::activity::{
    ActivityClass, ActivityParts, Actor, Entity, REMOTE_SHELL_RIGHT, ReportedFile, ReportedProcess, SERVICE_USERS,
    Subject, User, Users,
};

/// Maps an activity. Returns whether its type is not in the table.
pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    activity: &Activity<'_>,
    data: &ActivityData<'_>,
) -> bool {
    let parts = ActivityParts::of(activity, data);
    let class = ActivityClass::of(&parts);
    let users = Users::of(&parts, &class);
    let plan = Plan::of(&class, &parts, &users);
    let entry = &parts.entry;
    let name = match entry.number {
        Some(number) if class.action.is_empty() => format!("activity-{number}"),
        _ => class.action.to_owned(),
    };
    event.begin(plan.class, plan.activity, &name);
    let mut metadata = Metadata::of_entry(entry, first_scalar([entry.threat_id, parts.alert_id()]));
    metadata.time(event, [entry.created, entry.updated]);
    event.severity(plan.severity);
    event.text("message", entry.message);
    states(event, &plan, &parts);
    actor(event, &class, &parts, &users);
    if has_source(plan.class) && !parts.is_by_agent() {
        source(event, parts.address());
    }
    device(event, &parts);
    body(event, common, &plan, &class, &parts, &users);
    disposition(event, &plan);
    event.tail(common, &metadata);
    event.mark_set([entry.threat_id]);
    finish(event, activity, data);
    class.is_unknown
}

/// Writes the status, the reason of a failure, and comments.
fn states(event: &mut Event<'_>, plan: &Plan, parts: &ActivityParts<'_, '_>) {
    if plan.class == Class::DetectionFinding && plan.status.is_none() {
        // A later activity leaves the status of the finding unchanged, unless it names another status.
        event.other_status(parts.threat().status.unmarked());
        note(event, parts);
        return;
    }
    let status = plan.status.unwrap_or(0);
    if status == 99 {
        if !event.other_status(parts.global_status().unmarked()) {
            event.other("status", Escaped::plain("Sent"));
        }
    } else {
        event.status(status);
    }
    // The states of findings are not failures.
    if status == 2 && plan.class != Class::DetectionFinding {
        event.first("status_detail", [parts.reason(true), parts.details()]);
    }
    match plan.class {
        Class::EntityManagement => _ = event.text("comment", parts.comments()),
        Class::DetectionFinding => note(event, parts),
        _ => {}
    }
}

/// Writes the note of a user about a finding.
fn note(event: &mut Event<'_>, parts: &ActivityParts<'_, '_>) {
    let list = event.open_list("notes");
    let element = event.open_element();
    if event.text("comment", parts.note()).is_some() {
        event.time("created_time", parts.entry.created.unmarked());
    }
    event.close(element);
    event.close(list);
}

/// Returns the type of a user, by the role. Only users of the console have a role.
fn type_of(user: &User<'_>) -> UserType {
    let roles = [user.role, user.role_name];
    if roles.into_iter().any(is_administrator) {
        UserType::Admin
    } else if roles.into_iter().any(is_set) {
        UserType::User
    } else {
        UserType::Unknown
    }
}

/// Writes the record's values about a user who acted into the open user object.
fn acting_user(event: &mut Event<'_>, user: &User<'_>) {
    event.optional("uid", user.id_text());
    let kind = type_of(user);
    match user.account() {
        Some(account) => event.account(account, kind),
        None => event.user_type(kind),
    }
    names(event, user);
}

/// Writes the full name and the address. The values stay in the record.
fn names(event: &mut Event<'_>, user: &User<'_>) {
    event.optional("full_name", user.full_name());
    if let Some(email) = user.email_text() {
        event.json.escaped("email_addr", email);
        event.observe(ObservableType::EmailAddress, "email_addr", email);
    }
}

fn actor(event: &mut Event<'_>, class: &ActivityClass, parts: &ActivityParts<'_, '_>, users: &Users<'_>) {
    let open = event.open_actor();
    if class.subject == Subject::Firewall {
        process(event, &parts.process());
    }
    match users.actor() {
        Actor::Console(user) | Actor::LoggedIn(user) => {
            let object = event.open("user");
            acting_user(event, &user);
            event.close(object);
            event.mark_set([user.id, user.full_name]);
            mark_account(event, user.name);
        }
        Actor::Remote(account) => event.user("user", account),
        Actor::Unknown(_) => {
            let application = event.open("application");
            event.json.word("name", "SentinelOne");
            event.close(application);
        }
    }
    event.close(open);
}

/// Writes the process of a connection. Without a number, OCSF has no process.
fn process(event: &mut Event<'_>, process: &ReportedProcess<'_>) {
    if integer(process.pid).is_none() {
        return;
    }
    let open = event.open("process");
    detection::process_name(event, process.name, process.executable);
    event.integer("pid", process.pid);
    let name = process.name.escaped();
    let file = File { name, path: process.executable, hashes: [], kind: FileType::Executable };
    file.write(event, "file", |_| {});
    event.close(open);
}

/// Returns whether a class has the address of a console user as `src_endpoint`. In a connection, `src_endpoint` is one
/// of the two ends.
fn has_source(class: Class) -> bool {
    match class {
        Class::Authentication | Class::EntityManagement | Class::RoleManagement | Class::UserManagement => true,
        Class::ApplicationLifecycle
        | Class::BaseEvent
        | Class::DetectionFinding
        | Class::DeviceInventoryInfo
        | Class::FileRemediationActivity
        | Class::NetworkActivity
        | Class::PeripheralActivity
        | Class::RemediationActivity
        | Class::ScanActivity
        | Class::VulnerabilityFinding => false,
    }
}

/// Writes the address of a console user.
fn source(event: &mut Event<'_>, address: Value<'_>) {
    let endpoint = event.open("src_endpoint");
    event.ip("ip", address);
    event.close(endpoint);
}

fn device(event: &mut Event<'_>, parts: &ActivityParts<'_, '_>) {
    if parts.is_about_endpoint() {
        device::write(event, &parts.endpoint(), |_| {});
    }
}

/// Writes the attributes of the class.
fn body(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    plan: &Plan,
    class: &ActivityClass,
    parts: &ActivityParts<'_, '_>,
    users: &Users<'_>,
) {
    match plan.class {
        Class::Authentication => authentication(event, users),
        Class::UserManagement => {
            target(event, class, users);
            event.list_of("privileges", class.number.and_then(privilege).map(Escaped::plain));
            if class.is_role_grant {
                role(event, users.target.role_name);
            }
        }
        Class::RoleManagement => {
            if let Some(entity) = Entity::of(parts, class, users) {
                entity::write_role(event, &entity);
            }
        }
        Class::EntityManagement => {
            if let Some(entity) = Entity::of(parts, class, users) {
                entity::write(event, &entity);
            }
        }
        Class::ApplicationLifecycle => application(event, class, parts),
        Class::ScanActivity => scan(event, class, users.has_actor()),
        Class::NetworkActivity => connection(event, class, parts),
        Class::PeripheralActivity => peripheral(event, &parts.peripheral()),
        Class::DetectionFinding => finding(event, common, plan, parts),
        Class::FileRemediationActivity => {
            event.optional("command_uid", parts.entry.id.escaped());
            file(event, &parts.file(), FileType::Unknown);
        }
        Class::RemediationActivity => {
            event.optional("command_uid", parts.entry.id.escaped());
        }
        Class::BaseEvent | Class::DeviceInventoryInfo | Class::VulnerabilityFinding => {}
    }
    event.mark_set([parts.entry.agent_id, parts.computer_name()]);
}

/// Writes the user who logged in to the console, or out of it.
fn authentication(event: &mut Event<'_>, users: &Users<'_>) {
    if let Actor::Console(user) = users.actor() {
        let object = event.open("user");
        // The actor has the full name.
        acting_user(event, &user.without_full_name());
        event.close(object);
    }
    let service = event.open("service");
    event.json.word("name", CONSOLE);
    event.close(service);
}

/// Writes the user that was changed.
fn target(event: &mut Event<'_>, class: &ActivityClass, users: &Users<'_>) {
    let user = users.managed();
    let is_service = class.number.is_some_and(|number| SERVICE_USERS.contains(&number));
    let kind = if is_service { UserType::Service } else { type_of(&user) };
    let open = event.open("user");
    event.optional("uid", user.id_text());
    event.mark_set([user.id]);
    match user.account() {
        Some(account) => event.account(account, kind),
        None => event.user_type(kind),
    }
    names(event, &user);
    event.close(open);
    mark_account(event, users.target.name);
}

/// Returns the privilege that activities of this type are about.
fn privilege(number: u32) -> Option<&'static str> {
    match number {
        REMOTE_SHELL_RIGHT => Some("Remote Shell"),
        110 | 111 => Some("API token generation"),
        _ => None,
    }
}

/// Writes the role that a user was given. The value stays in the record.
fn role(event: &mut Event<'_>, name: Value<'_>) {
    let list = event.open_list("iam_roles");
    let element = event.open_element();
    if let Some(name) = event.optional("name", name.escaped()) {
        event.observe(ObservableType::RoleName, "name", name);
    }
    event.close(element);
    event.close(list);
}

fn file(event: &mut Event<'_>, file: &ReportedFile<'_>, kind: FileType) {
    if file.is_missing() {
        return;
    }
    let name = file.image.map(Image::text);
    let object = File { name, path: file.path, hashes: file.hashes, kind };
    let written = object.write(event, "file", |_| {});
    if written.is_some() && written == file.shown_name() {
        event.mark(file.display_name);
    }
}

/// Writes the values of an activity about a threat or an alert.
fn finding(event: &mut Event<'_>, common: &CommonFields<'_>, plan: &Plan, parts: &ActivityParts<'_, '_>) {
    let threat_id = parts.entry.threat_id;
    let id = first_scalar([threat_id, parts.alert_id()]);
    let reported = parts.file();
    let threat = parts.threat();
    let open = event.open("finding_info");
    event.optional("uid", id.escaped());
    if event.optional("title", reported.shown_name().map(Escaped::trim)).is_none() {
        let kind = if is_set(threat_id) { "SentinelOne threat " } else { "SentinelOne alert " };
        event.sentence("title", &[("", Some(Escaped::plain(kind))), ("", id.escaped())]);
    }
    event.list_of("types", threat.classification.escaped());
    event.list_of("data_sources", threat.classification_source.escaped());
    event.mark_set([threat.classification, threat.classification_source]);
    if is_set(threat_id) {
        event.threat_url(common, threat_id.escaped());
    }
    event.close(open);
    if is_set(threat_id) {
        event.using(Profile::Incident);
        event.threat_url(common, threat_id.escaped());
    }
    let [id_of_assignee, email] = parts.assignee();
    event.assignee(id_of_assignee, Value::default(), email);
    event.ticket(parts.ticket());
    if plan.activity == CREATE {
        event.json.boolean("is_alert", true);
    }
    match plan.verdict {
        Some(verdict) => event.verdict(verdict),
        None => event.other_verdict(threat.verdict.unmarked()),
    }
    // The words stay in the record: they may be the old and the new word.
    event.confidence(first_scalar([threat.new_confidence, threat.confidence]).unmarked());
    let malware = Malware {
        name: reported.shown_name(),
        uid: first_scalar(reported.hashes).escaped().filter(|text| reported.is_malicious() && hash(*text).is_some()),
        classification: threat.classification,
        provider: None,
        severity: plan.severity,
    };
    if plan.disposition != Some(EXONERATED) && !plan.verdict.is_some_and(Verdict::is_harmless) {
        malware.write(event, |_| {});
    }
    let list = event.open_list("evidences");
    let element = event.open_element();
    let arguments = parts.arguments();
    let acting = parts.acting(&reported, &arguments);
    file(event, &reported, if acting.is_file { FileType::Executable } else { FileType::Unknown });
    let data = event.open("data");
    event.optional("process", acting.process.map(Image::text));
    event.command_line("arguments", arguments.value());
    event.close(data);
    event.close(element);
    event.close(list);
    if parts.alert_id() == id {
        event.mark_set([parts.alert_id()]);
    }
}

fn disposition(event: &mut Event<'_>, plan: &Plan) {
    let Some(disposition) = plan.disposition else { return };
    event.disposition(disposition);
    match disposition {
        1 => event.action(Action::Allowed),
        2 if matches!(plan.class, Class::NetworkActivity | Class::PeripheralActivity) => event.action(Action::Denied),
        _ => {}
    }
}
