//! Maps `/activities`. The number of the type says what happened; the keys of `data` say what it is about.

use s1_forwarder_record::activity::{Activity, ActivityData};
use s1_forwarder_record::block::read_inside;
use s1_forwarder_record::{Escaped, Kind, Value};

use super::activity_class::Plan;
use super::activity_end::finish;
use super::activity_parts::{CONSOLE, app, connection, peripheral, scan};
use super::activity_values::{actor_name, other, target_name};
use super::class::{
    ACCOUNT_CHANGE, APPLICATION_LIFECYCLE, AUTHENTICATION, DETECTION_FINDING, ENTITY_MANAGEMENT,
    FILE_REMEDIATION_ACTIVITY, NETWORK_ACTIVITY, PERIPHERAL_ACTIVITY, REMEDIATION_ACTIVITY, SCAN_ACTIVITY, USER_ACCESS,
};
use super::device;
use super::entity::Entity;
use super::event::{Event, Profile, is_email_value};
use super::file::{File, FileType};
use super::finding::{Action, Malware};
use super::metadata::{Common, Metadata};
use super::observables::ObservableType;
use super::rule_hit;
use super::user::{UserType, mark_account};
use crate::common::account::{Account, display_name, is_administrator};
use crate::common::activity_class::{Class, SERVICE_USERS, classify, is_unknown, number, reason};
use crate::common::activity_users::Users;
use crate::common::placeholder::{first_scalar, is_placeholder, is_set};
use crate::common::remote_origin;
use crate::parts::Endpoint;
use crate::streams::activity::{endpoint, is_by_agent};
use crate::streams::rule_hit::is_hit;

/// Returns true if the type is not in the table.
pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, activity: &Activity<'_>) -> bool {
    let number = number(activity);
    let data = match activity.data.kind() {
        Kind::Object => read_inside::<Activity<'_>, ActivityData<'_>>(activity.data.raw()).unwrap_or_default(),
        _ => ActivityData::default(),
    };
    if is_hit(number, &data) {
        rule_hit::map(event, common, activity);
        return is_unknown(number);
    }
    let class = classify(number, activity, &data);
    let plan = Plan::of(&class, activity, &data);
    let name = match number {
        Some(number) if class.action.is_empty() => format!("activity-{number}"),
        _ => class.action.to_owned(),
    };
    event.begin(plan.class, plan.activity, &name);
    let mut metadata = Metadata {
        record_id: activity.id,
        logged: activity.created_at,
        modified: activity.updated_at,
        correlation: first_scalar([activity.threat_id, data.alert_id]),
        event_code: activity.activity_type,
        tenant: activity.account_id,
        ..Metadata::default()
    };
    metadata.time(event, [activity.created_at, activity.updated_at]);
    event.severity(class.severity);
    event.text("message", activity.primary_description);
    states(event, &plan, activity, &data);
    let user = ConsoleUser::of(activity, &data, &class);
    actor(event, &data, &user);
    if [&AUTHENTICATION, &ACCOUNT_CHANGE, &USER_ACCESS, &ENTITY_MANAGEMENT]
        .into_iter()
        .any(|known| known.is(plan.class))
        && !is_by_agent(activity)
    {
        source(event, &data);
    }
    device(event, activity, &data);
    body(event, common, &plan, &class, activity, &data, &user);
    disposition(event, &plan);
    event.tail(common, &metadata);
    finish(event, activity, &metadata, &data);
    class.is_unknown
}

/// Status, the reason of a failure, and comments.
fn states(event: &mut Event<'_>, plan: &Plan, activity: &Activity<'_>, data: &ActivityData<'_>) {
    let status = plan.status.unwrap_or(0);
    if status == 99 {
        match data.global_status.escaped().filter(|text| !is_placeholder(*text)) {
            Some(word) => event.status(99, &word.decode()),
            None => event.status(99, "Sent"),
        }
    } else {
        event.status(status, "");
    }
    // The states of findings are no failures.
    if status == 2
        && !plan.class.is(&DETECTION_FINDING)
        && event.text("status_detail", reason(activity, data, true)).is_none()
    {
        event.text("status_detail", activity.secondary_description);
    }
    if plan.class.is(&ENTITY_MANAGEMENT) || plan.class.is(&DETECTION_FINDING) {
        event.text("comment", activity.comments);
    }
}

/// Who acted.
struct ConsoleUser<'a> {
    account: Option<Account<'a>>,
    is_set: bool,
    kind: UserType,
    users: Users<'a>,
}

impl<'a> ConsoleUser<'a> {
    fn of(activity: &Activity<'a>, data: &ActivityData<'a>, class: &Class) -> Self {
        // The names in a hit are those of the rule's owner.
        let account = if class.is_rule_alert { None } else { Account::of(actor_name(data)) };
        let users = Users::of(activity, data, class);
        let is_set = is_set(activity.user_id) || account.is_some();
        // If another user was changed, or a role, the role is not that of the user who acted.
        let role = if users.is_other { Value::default() } else { data.role };
        Self { account, is_set, kind: user_type(role), users }
    }

    /// Writes the user with the values that `data` has of it.
    fn write(&self, event: &mut Event<'_>, name: &str, data: &ActivityData<'_>) {
        let open = event.open(name);
        let Users { by_user, actor_id, described, .. } = self.users;
        event.optional("uid", actor_id.escaped().or(described.id));
        match self.account {
            Some(account) => event.account(account, self.kind),
            None => event.user_type(self.kind),
        }
        let given = if by_user { Value::default() } else { event.used.left(data.full_name) };
        if event.optional("full_name", given.escaped()).is_none() {
            event.optional("full_name", display_name(actor_name(data)));
        }
        // An e-mail address is a name as well.
        let email = [actor_name(data), if by_user { Value::default() } else { data.email }]
            .into_iter()
            .find(|value| is_email_value(*value));
        if !event.email("email_addr", email.unwrap_or_default().kept())
            && let Some(email) = described.email
        {
            event.json.escaped("email_addr", email);
            event.observe(ObservableType::EmailAddress, "email_addr", email);
        }
        event.close(open);
    }
}

/// The kind of a console user. Most activities do not name the role of the user who acted.
fn user_type(role: Value<'_>) -> UserType {
    if !is_set(role) || is_administrator(role) { UserType::Admin } else { UserType::User }
}

fn actor(event: &mut Event<'_>, data: &ActivityData<'_>, user: &ConsoleUser<'_>) {
    let origin = remote_origin::RemoteOrigin::of(data.file_display_name).and_then(|origin| origin.user);
    let logged_in = Account::of(data.last_logged_in_user_name);
    let open = event.open_actor();
    if user.is_set {
        user.write(event, "user", data);
        if is_set(user.users.actor_id) {
            event.used.mark(user.users.actor_id);
        }
        if !user.users.by_user && is_set(data.full_name) {
            event.used.mark(data.full_name);
        }
    } else if let Some(account) = origin.or(logged_in) {
        event.user("user", account, UserType::User);
        if origin.is_none() {
            mark_account(event, data.last_logged_in_user_name);
        }
    } else {
        event.json.word("app_name", "SentinelOne");
    }
    event.close(open);
}

/// The address of a console user.
fn source(event: &mut Event<'_>, data: &ActivityData<'_>) {
    let endpoint = event.open("src_endpoint");
    event.ip("ip", data.ip_address);
    event.close(endpoint);
}

/// What `data` says of the owner of the endpoint stays there.
fn device(event: &mut Event<'_>, activity: &Activity<'_>, data: &ActivityData<'_>) {
    if !is_set(activity.agent_id) && !is_set(data.computer_name) {
        return;
    }
    let endpoint = endpoint(activity, data);
    let owner = endpoint.owner.with_others_kept();
    device::write(event, &Endpoint { owner, ..endpoint }, |_| {});
}

/// Writes the attributes of the class.
fn body<'a>(
    event: &mut Event<'_>,
    common: &Common<'_>,
    plan: &Plan,
    class: &Class,
    activity: &Activity<'a>,
    data: &ActivityData<'a>,
    user: &ConsoleUser<'_>,
) {
    match () {
        () if plan.class.is(&AUTHENTICATION) => {
            user.write(event, "user", data);
            let service = event.open("service");
            event.json.word("name", CONSOLE);
            event.close(service);
        }
        () if plan.class.is(&ACCOUNT_CHANGE) => target(event, class, data, user),
        () if plan.class.is(&USER_ACCESS) => {
            target(event, class, data, user);
            event.list_of("privileges", data.role_name.escaped());
        }
        () if plan.class.is(&ENTITY_MANAGEMENT) => {
            if let Some(entity) = Entity::of(class, activity, data, &user.users) {
                entity.write(event, activity, data);
            }
        }
        () if plan.class.is(&APPLICATION_LIFECYCLE) => app(event, class, activity, data),
        () if plan.class.is(&SCAN_ACTIVITY) => scan(event, class, user.is_set),
        () if plan.class.is(&NETWORK_ACTIVITY) => connection(event, class, activity, data),
        () if plan.class.is(&PERIPHERAL_ACTIVITY) => peripheral(event, data),
        () if plan.class.is(&DETECTION_FINDING) => finding(event, common, plan, class, activity, data),
        () if plan.class.is(&FILE_REMEDIATION_ACTIVITY) || plan.class.is(&REMEDIATION_ACTIVITY) => {
            event.optional("command_uid", activity.id.escaped());
            if plan.class.is(&FILE_REMEDIATION_ACTIVITY) {
                file(event, "file", activity, data);
            }
        }
        () => {}
    }
    if is_set(activity.agent_id) {
        event.used.mark(activity.agent_id);
    }
    if is_set(data.computer_name) {
        event.used.mark(data.computer_name);
    }
    if user.account.is_some() && user.users.by_user {
        mark_account(event, data.by_user);
    }
    // It is the user who acted, or the one who was changed.
    if plan.class.is(&ACCOUNT_CHANGE) || plan.class.is(&USER_ACCESS) || (user.account.is_some() && !user.users.by_user)
    {
        let name = if is_set(data.username) { data.username } else { data.user_name };
        mark_account(event, name);
    }
}

/// The user that was changed.
fn target(event: &mut Event<'_>, class: &Class, data: &ActivityData<'_>, user: &ConsoleUser<'_>) {
    let Some(account) = target_name(data) else { return };
    let open = event.open("user");
    if event.optional("uid", user.users.target_id.escaped()).is_some() {
        event.used.mark(user.users.target_id);
    }
    let is_service = class.number.is_some_and(|number| SERVICE_USERS.contains(&number));
    event.account(account, if is_service { UserType::Service } else { UserType::Unknown });
    if user.users.by_user {
        event.optional("full_name", data.full_name.escaped());
    }
    let mut emails = [data.email, data.username, data.recovery_email].into_iter();
    let email = emails.find(|value| is_email_value(*value));
    event.email("email_addr", email.unwrap_or_default().kept());
    event.close(open);
}

fn file<'a>(event: &mut Event<'_>, name: &str, activity: &Activity<'a>, data: &ActivityData<'a>) -> bool {
    let display = remote_origin::name_of(data.file_display_name);
    let repeated = activity.hash;
    let object = File {
        name: display,
        path: data.file_path,
        hashes: [activity.hash, data.file_content_hash],
        kind: FileType::Unknown,
    };
    let written = object.name();
    let is_written = object.write(event, name, |_| {});
    if written.is_some() && written == display {
        event.used.mark(data.file_display_name);
    }
    if is_written && event.used.left(activity.hash).is_empty() && data.file_content_hash == repeated {
        event.used.mark(data.file_content_hash);
    }
    is_written
}

/// What an activity says of a threat or an alert.
fn finding<'a>(
    event: &mut Event<'_>,
    common: &Common<'_>,
    plan: &Plan,
    class: &Class,
    activity: &Activity<'a>,
    data: &ActivityData<'a>,
) {
    let threat = activity.threat_id;
    let id = first_scalar([activity.threat_id, data.alert_id]);
    let title = remote_origin::name_of(data.file_display_name);
    let open = event.open("finding_info");
    event.optional("uid", id.escaped());
    if event.optional("title", title).is_none() {
        event.sentence("title", &[("", Some(Escaped::plain("SentinelOne threat "))), ("", id.escaped())]);
    }
    for (name, value) in
        [("types", data.threat_classification.kept()), ("data_sources", data.threat_classification_source)]
    {
        event.list_of(name, value.escaped());
        if is_set(value) {
            event.used.mark(value);
        }
    }
    if is_set(threat) {
        event.threat_url(common, threat.escaped());
    }
    event.close(open);
    if is_set(threat) {
        event.using(Profile::Incident);
        event.threat_url(common, threat.escaped());
    }
    event.ticket(other(data, "newTicketId"));
    event.json.boolean("is_alert", plan.activity == 1);
    if let Some(verdict) = plan.verdict {
        event.verdict(verdict);
    }
    // The words stay in the record: they may be those of before and after.
    event.confidence(first_scalar([data.new_confidence_level, data.confidence_level]).kept());
    let malware = Malware {
        name: title,
        uid: first_scalar([activity.hash, data.file_content_hash])
            .escaped()
            .filter(|text| crate::common::hash::hash(*text).is_some()),
        classification: data.threat_classification,
        provider: None,
        severity: class.severity,
    };
    malware.write(event, |_| {});
    if is_set(data.threat_classification) {
        event.used.mark(data.threat_classification);
    }
    let list = event.open_list("evidences");
    let element = event.open_element();
    file(event, "file", activity, data);
    event.close(element);
    event.close(list);
    if is_set(data.alert_id) && data.alert_id == id {
        event.used.mark(data.alert_id);
    }
}

fn disposition(event: &mut Event<'_>, plan: &Plan) {
    let Some(disposition) = plan.disposition else { return };
    event.disposition(disposition);
    match disposition {
        1 => event.action(Action::Allowed),
        2 if plan.class.is(&NETWORK_ACTIVITY) || plan.class.is(&PERIPHERAL_ACTIVITY) => event.action(Action::Denied),
        _ => {}
    }
}
