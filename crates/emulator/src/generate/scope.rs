//! Accounts, sites, groups and users.

use serde_json::{Value, json};

use super::organization::Organization;
use super::record::{NewRecord, text_empty_or_null};
use crate::kind::{Column, Description, Filter, IdColumn, Kind, Places, Special};
use crate::random::Random;
use crate::time::{self, DAY};

/// `/accounts`
pub(crate) const ACCOUNTS: Description = Description {
    path: "/accounts",
    max_limit: 1000,
    table: "AccountView",
    sorts: &[
        ("createdAt", Column::Created),
        ("updatedAt", Column::Updated),
        ("expiration", Column::time("expiration")),
    ],
    sort_keys: &[
        "name",
        "totalLicenses",
        "accountType",
        "state",
        "activeLicenses",
        "activeAgents",
        "numberOfSites",
        "usageType",
        "billingMode",
    ],
    sort_objects: &[],
    times: &[],
    has_between: false,
    filters: &[
        ("ids", Filter::Ids(IdColumn::Record)),
        ("states", Filter::AnyOf("state")),
        ("name", Filter::AnyOf("name")),
        ("createdAt", Filter::AnyOf("createdAt")),
        ("updatedAt", Filter::AnyOf("updatedAt")),
        ("query", Filter::Like("name")),
    ],
    places: Places { account: "id", ..Places::USUAL },
    licensed: None,
    generate: None,
    change: None,
    oversized: None,
    special: Special { above_sites: true, ..Special::NOTHING },
};

/// `/sites`
pub(crate) const SITES: Description = Description {
    path: "/sites",
    max_limit: 1000,
    table: "SiteView",
    sorts: &[
        ("createdAt", Column::Created),
        ("updatedAt", Column::Updated),
        ("expiration", Column::time("expiration")),
    ],
    sort_keys: &[
        "name",
        "totalLicenses",
        "siteType",
        "state",
        "suite",
        "activeLicenses",
        "accountName",
        "sku",
        "description",
    ],
    sort_objects: &[],
    times: &[],
    has_between: false,
    filters: &[
        ("accountId", Filter::Ids(IdColumn::Account)),
        ("state", Filter::AnyOf("state")),
        ("states", Filter::AnyOf("state")),
        ("name", Filter::AnyOf("name")),
        ("createdAt", Filter::AnyOf("createdAt")),
        ("updatedAt", Filter::AnyOf("updatedAt")),
        ("query", Filter::Like("name")),
    ],
    places: Places { site: "id", ..Places::USUAL },
    licensed: None,
    generate: None,
    change: None,
    oversized: None,
    special: Special {
        around: (r#"{"sites":["#, r#"],"allSites":{"activeLicenses":0,"totalLicenses":0}}"#),
        ..Special::NOTHING
    },
};

/// `/groups`
pub(crate) const GROUPS: Description = Description {
    path: "/groups",
    max_limit: 300,
    table: "Group",
    sorts: &[("createdAt", Column::Created), ("updatedAt", Column::Updated)],
    sort_keys: &["name", "type", "rank", "siteId", "description"],
    sort_objects: &[],
    times: &[("updatedAt", Column::Updated)],
    has_between: false,
    filters: &[
        ("id", Filter::Ids(IdColumn::Record)),
        ("type", Filter::AnyOf("type")),
        ("types", Filter::AnyOf("type")),
        ("name", Filter::AnyOf("name")),
        ("isDefault", Filter::Is("isDefault")),
        ("query", Filter::Like("name")),
    ],
    places: Places { group: "id", ..Places::USUAL },
    licensed: None,
    generate: None,
    change: Some(|generator, record, _| change_group(&mut generator.random, record)),
    oversized: None,
    special: Special::NOTHING,
};

/// `/users`
pub(crate) const USERS: Description = Description {
    path: "/users",
    max_limit: 1000,
    table: "UserView",
    sorts: &[
        ("createdAt", Column::Created),
        ("firstLogin", Column::time("firstLogin")),
        ("lastLogin", Column::time("lastLogin")),
        ("dateJoined", Column::time("dateJoined")),
        ("apiTokenCreatedAt", Column::time("apiToken.createdAt")),
        ("apiTokenExpiresAt", Column::time("apiToken.expiresAt")),
    ],
    sort_keys: &["fullName", "source", "email", "emailVerified", "twoFaEnabled", "twoFaStatus"],
    sort_objects: &[],
    times: &[
        ("createdAt", Column::Created),
        ("lastActivation", Column::time("lastActivation")),
        ("apiTokenExpiresAt", Column::time("apiToken.expiresAt")),
    ],
    has_between: true,
    filters: &[
        ("ids", Filter::Ids(IdColumn::Record)),
        ("email", Filter::AnyOf("email")),
        ("source", Filter::AnyOf("source")),
        ("roleIds", Filter::Ignored),
        ("hasValidApiToken", Filter::Ignored),
        ("query", Filter::Like("fullName")),
    ],
    places: Places::USUAL,
    licensed: None,
    generate: None,
    change: None,
    oversized: None,
    special: Special { of_tenant: true, ..Special::NOTHING },
};

pub(super) fn all(org: &Organization, random: &mut Random) -> Vec<NewRecord> {
    let mut records = Vec::new();
    for (index, account) in org.accounts.iter().enumerate() {
        let sites = org.sites.iter().filter(|site| site.parent == index).count();
        let agents = org.agents.iter().filter(|agent| org.group(agent.group).0.id == account.id).count();
        records.push(record(Kind::Accounts, account.id, 0, object! {
            "id": account.id.to_string(), "name": account.name.as_str(), "accountType": "Paid", "state": "active",
            "isDefault": index == 0, "createdAt": time::print(org.since), "updatedAt": time::print(org.since + DAY),
            "expiration": Value::Null, "unlimitedExpiration": true, "numberOfSites": sites, "activeAgents": agents,
            "totalLicenses": agents * 2, "usageType": "customer", "billingMode": "subscription", "externalId": "",
            "salesforceId": Value::Null, "creator": "System", "creatorId": org.users[0].id.to_string(),
            "licenses": licenses(agents), "skus": json!([{ "type": "Complete", "totalLicenses": agents * 2,
            "agentsInSku": agents, "unlimited": false }]),
            "totalComplete": agents * 2, "totalControl": 0, "totalCore": 0, "unlimitedComplete": false,
            "unlimitedControl": false, "unlimitedCore": false, "agentsInCompleteSku": agents, "agentsInControlSku": 0,
            "agentsInCoreSku": 0, "completeSites": sites, "controlSites": 0, "coreSites": 0,
        }));
    }
    for (index, site) in org.sites.iter().enumerate() {
        let account = &org.accounts[site.parent];
        let agents = org.agents.iter().filter(|agent| org.groups[agent.group].parent == index).count();
        records.push(record(Kind::Sites, account.id, 0, object! {
            "id": site.id.to_string(), "name": site.name.as_str(), "accountId": account.id.to_string(),
            "accountName": account.name.as_str(), "siteType": "Paid", "state": if index == 4 { "expired" } else { "active" },
            "isDefault": site.name == "Default site", "createdAt": time::print(org.since + DAY),
            "updatedAt": time::print(org.since + 2 * DAY), "expiration": Value::Null, "unlimitedExpiration": true,
            "activeLicenses": agents, "totalLicenses": agents * 2, "unlimitedLicenses": false, "sku": "Complete",
            "suite": "Complete", "creator": org.users[0].name.as_str(), "creatorId": org.users[0].id.to_string(),
            "externalId": text_empty_or_null(random, 0.2, || "crm-1".into()), "description": text_empty_or_null(random, 0.5, || "Office".into()),
            "healthStatus": true, "registrationToken": "not-a-real-registration-token", "licenses": licenses(agents),
        }));
    }
    for (index, group) in org.groups.iter().enumerate() {
        let (account, site, _) = org.group(index);
        let agents = org.agents.iter().filter(|agent| agent.group == index).count();
        let dynamic = index % 3 == 2;
        records.push(record(Kind::Groups, account.id, group.id, object! {
            "id": group.id.to_string(), "name": group.name.as_str(), "type": if dynamic { "dynamic" } else { "static" },
            "siteId": site.id.to_string(), "isDefault": index % 3 == 0, "inherits": index % 2 == 0,
            "rank": if dynamic { Value::from(1) } else { Value::Null }, "totalAgents": agents,
            "filterId": if dynamic { Value::from((group.id + 5_000).to_string()) } else { Value::Null },
            "filterName": if dynamic { Value::from("All laptops") } else { Value::Null },
            "creator": org.users[0].name.as_str(), "creatorId": org.users[0].id.to_string(),
            "createdAt": time::print(org.since + 2 * DAY),
            "updatedAt": time::print(org.since + 3 * DAY + random.within(0..300 * DAY)),
            "description": text_empty_or_null(random, 0.3, || "Machines that transmission".into()),
            "registrationToken": "not-a-real-registration-token",
        }));
    }
    for user in &org.users {
        records.push(record(Kind::Users, 0, 0, object! {
            "id": user.id.to_string(), "email": user.email.as_str(), "fullName": user.name.as_str(), "source": "mgmt",
            "scope": if user.scope == "global" { "tenant" } else { user.scope }, "lowestRole": user.role,
            "scopeRoles": json!([{ "id": org.accounts[0].id.to_string(), "name": org.accounts[0].name.as_str(),
                "accountName": org.accounts[0].name.as_str(), "roleId": "225494730938495555", "roleName": user.role,
                "roles": [user.role] }]),
            "siteRoles": json!([]), "tenantRoles": json!([]), "twoFaStatus": "configured", "twoFaEnabled": true,
            "primaryTwoFaMethod": "application", "twoFaEnabledReadOnly": false, "emailVerified": true,
            "emailReadOnly": false, "fullNameReadOnly": false, "groupsReadOnly": false, "isSystem": false,
            "allowRemoteShell": false, "canGenerateApiToken": true, "agreedEula": true, "agreementUrl": Value::Null,
            "createdAt": time::print(org.since), "dateJoined": time::print(org.since),
            "firstLogin": time::print(org.since + DAY), "lastLogin": time::print(org.since + 700 * DAY),
            "apiToken": object! { "createdAt": time::print(org.since + 690 * DAY), "expiresAt": time::print(org.since + 780 * DAY) },
        }));
    }
    records
}

/// An administrator edits a group, or endpoints join it.
fn change_group(random: &mut Random, record: &mut Value) {
    if random.chance(0.7) {
        record["totalAgents"] = json!(record["totalAgents"].as_u64().unwrap_or(0) + 1 + random.below(3));
    } else {
        record["description"] = json!(random.choose(&["Machines that transmission", "Kept in the office", ""]));
    }
}

fn licenses(agents: usize) -> Value {
    json!({
        "bundles": [{ "name": "complete", "displayName": "Complete", "majorVersion": 1, "minorVersion": 31,
            "totalSurfaces": agents * 2, "surfaces": [{ "name": "Total Agents", "count": agents * 2 }] }],
        "modules": [{ "name": "star", "displayName": "STAR", "majorVersion": 1 }],
        "settings": [{ "groupName": "dv_retention", "setting": "14 Days", "settingGroup": "dv_retention",
            "displayName": "14 Days", "settingGroupDisplayName": "Deep Visibility Data Retention" }],
    })
}

fn record(kind: Kind, account: u64, group: u64, body: Value) -> NewRecord {
    NewRecord::new(kind, body, account, group)
}
