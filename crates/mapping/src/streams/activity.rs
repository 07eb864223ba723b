//! The activity log: `/activities`. The keys of `data` differ by type; those that mean the same in every type make the
//! parts. Hits of custom rules are in `rule_hit`.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData};

use crate::common::placeholder::first_scalar;
use crate::parts::{Endpoint, Os, Owner};

/// Whether an agent acted and no user of the console.
pub fn is_by_agent(activity: &Activity<'_>) -> bool {
    activity.user_id.is_empty() && !activity.agent_id.is_empty()
}

/// The endpoint. `ipAddress` is its address if an agent acted, else that of the user.
pub fn endpoint<'a>(activity: &Activity<'a>, data: &ActivityData<'a>) -> Endpoint<'a> {
    let none = Value::default();
    let os_types = [activity.os_family, data.os_family, data.os_type];
    let own_address = if is_by_agent(activity) { data.ip_address } else { none };
    Endpoint {
        agent_id: activity.agent_id,
        agent_uuids: [data.uuid, none],
        is_managed: true,
        names: [data.computer_name, none],
        os: Os { types: os_types, family: first_scalar(os_types), ..Os::default() },
        addresses: [data.agentipv4, data.ip_addresses, own_address, none],
        external: data.external_ip,
        owner: owner(activity, data),
        ..Endpoint::default()
    }
}

/// Many activities have names only in `data`.
pub fn owner<'a>(activity: &Activity<'a>, data: &ActivityData<'a>) -> Owner<'a> {
    let none = Value::default();
    Owner {
        account_ids: [activity.account_id, none],
        account_names: [activity.account_name, data.account_name, none],
        site_ids: [activity.site_id, none],
        site_names: [activity.site_name, data.site_name],
        group_ids: [activity.group_id, none],
        group_names: [activity.group_name, data.group_name, none],
    }
}

/// The version of the package that an activity is about.
pub fn package_version<'a>(activity: &Activity<'a>, data: &ActivityData<'a>) -> Value<'a> {
    first_scalar([data.new_agent_version, activity.agent_updated_version, data.version])
}
