//! Accounts, sites, groups and users.

use serde_json::{Value, json};

use super::world::World;
use super::{Draft, Random, perhaps};
use crate::emulator::kind::Kind;
use crate::emulator::time::{self, DAY};

pub(super) fn all(world: &World, random: &mut Random) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (place, account) in world.accounts.iter().enumerate() {
        let sites = world.sites.iter().filter(|site| site.parent == place).count();
        let agents = world.agents.iter().filter(|agent| world.group(agent.group).0.id == account.id).count();
        drafts.push(draft(Kind::Accounts, account.id, 0, object! {
            "id": account.id.to_string(), "name": account.name.as_str(), "accountType": "Paid", "state": "active",
            "isDefault": place == 0, "createdAt": time::print(world.since), "updatedAt": time::print(world.since + DAY),
            "expiration": Value::Null, "unlimitedExpiration": true, "numberOfSites": sites, "activeAgents": agents,
            "totalLicenses": agents * 2, "usageType": "customer", "billingMode": "subscription", "externalId": "",
            "salesforceId": Value::Null, "creator": "System", "creatorId": world.users[0].id.to_string(),
            "licenses": licenses(agents), "skus": json!([{ "type": "Complete", "totalLicenses": agents * 2,
            "agentsInSku": agents, "unlimited": false }]),
            "totalComplete": agents * 2, "totalControl": 0, "totalCore": 0, "unlimitedComplete": false,
            "unlimitedControl": false, "unlimitedCore": false, "agentsInCompleteSku": agents, "agentsInControlSku": 0,
            "agentsInCoreSku": 0, "completeSites": sites, "controlSites": 0, "coreSites": 0,
        }));
    }
    for (place, site) in world.sites.iter().enumerate() {
        let account = &world.accounts[site.parent];
        let agents = world.agents.iter().filter(|agent| world.groups[agent.group].parent == place).count();
        drafts.push(draft(Kind::Sites, account.id, 0, object! {
            "id": site.id.to_string(), "name": site.name.as_str(), "accountId": account.id.to_string(),
            "accountName": account.name.as_str(), "siteType": "Paid", "state": if place == 4 { "expired" } else { "active" },
            "isDefault": site.name == "Default site", "createdAt": time::print(world.since + DAY),
            "updatedAt": time::print(world.since + 2 * DAY), "expiration": Value::Null, "unlimitedExpiration": true,
            "activeLicenses": agents, "totalLicenses": agents * 2, "unlimitedLicenses": false, "sku": "Complete",
            "suite": "Complete", "creator": world.users[0].name.as_str(), "creatorId": world.users[0].id.to_string(),
            "externalId": perhaps(random, 0.2, || "crm-1".into()), "description": perhaps(random, 0.5, || "Office".into()),
            "healthStatus": true, "registrationToken": "not-a-real-registration-token", "licenses": licenses(agents),
        }));
    }
    for (place, group) in world.groups.iter().enumerate() {
        let (account, site, _) = world.group(place);
        let agents = world.agents.iter().filter(|agent| agent.group == place).count();
        let dynamic = place % 3 == 2;
        drafts.push(draft(Kind::Groups, account.id, group.id, object! {
            "id": group.id.to_string(), "name": group.name.as_str(), "type": if dynamic { "dynamic" } else { "static" },
            "siteId": site.id.to_string(), "isDefault": place % 3 == 0, "inherits": place % 2 == 0,
            "rank": if dynamic { Value::from(1) } else { Value::Null }, "totalAgents": agents,
            "filterId": if dynamic { Value::from((group.id + 5_000).to_string()) } else { Value::Null },
            "filterName": if dynamic { Value::from("All laptops") } else { Value::Null },
            "creator": world.users[0].name.as_str(), "creatorId": world.users[0].id.to_string(),
            "createdAt": time::print(world.since + 2 * DAY),
            "updatedAt": time::print(world.since + 3 * DAY + random.within(0..300 * DAY)),
            "description": perhaps(random, 0.3, || "Machines that travel".into()),
            "registrationToken": "not-a-real-registration-token",
        }));
    }
    for user in &world.users {
        drafts.push(draft(Kind::Users, 0, 0, object! {
            "id": user.id.to_string(), "email": user.email.as_str(), "fullName": user.name.as_str(), "source": "mgmt",
            "scope": if user.scope == "global" { "tenant" } else { user.scope }, "lowestRole": user.role,
            "scopeRoles": json!([{ "id": world.accounts[0].id.to_string(), "name": world.accounts[0].name.as_str(),
                "accountName": world.accounts[0].name.as_str(), "roleId": "225494730938495555", "roleName": user.role,
                "roles": [user.role] }]),
            "siteRoles": json!([]), "tenantRoles": json!([]), "twoFaStatus": "configured", "twoFaEnabled": true,
            "primaryTwoFaMethod": "application", "twoFaEnabledReadOnly": false, "emailVerified": true,
            "emailReadOnly": false, "fullNameReadOnly": false, "groupsReadOnly": false, "isSystem": false,
            "allowRemoteShell": false, "canGenerateApiToken": true, "agreedEula": true, "agreementUrl": Value::Null,
            "createdAt": time::print(world.since), "dateJoined": time::print(world.since),
            "firstLogin": time::print(world.since + DAY), "lastLogin": time::print(world.since + 700 * DAY),
            "apiToken": object! { "createdAt": time::print(world.since + 690 * DAY), "expiresAt": time::print(world.since + 780 * DAY) },
        }));
    }
    drafts
}

/// An administrator edits a group, or machines join it.
pub(super) fn change_group(random: &mut Random, record: &mut Value) {
    if random.chance(0.7) {
        record["totalAgents"] = json!(record["totalAgents"].as_u64().unwrap_or(0) + 1 + random.below(3));
    } else {
        record["description"] = json!(random.pick(&["Machines that travel", "Kept in the office", ""]));
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

fn draft(kind: Kind, account: u64, group: u64, body: Value) -> Draft {
    Draft::new(kind, body, account, group)
}
