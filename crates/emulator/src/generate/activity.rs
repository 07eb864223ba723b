//! Activities: the log of the console. Each type has its own keys in `data`.

use serde_json::{Map, Value, json};

use super::content::{self, MALWARE, RULES};
use super::generator::{Generator, KnownThreat};
use super::organization::{Endpoint, Organization, User};
use super::record::{NewRecord, text_empty_or_null, text_or_null};
use crate::kind::{Column, Description, Filter, IdColumn, Kind, Places, Special};
use crate::random::Random;
use crate::time::{self, SECOND};

/// `/activities`
pub(crate) const ACTIVITIES: Description = Description {
    path: "/activities",
    max_limit: 1000,
    table: "Activity",
    sorts: &[("createdAt", Column::Created)],
    sort_keys: &["activityType"],
    sort_objects: &[],
    times: &[("createdAt", Column::Created)],
    has_between: true,
    filters: &[
        ("ids", Filter::Ids(IdColumn::Record)),
        ("agentIds", Filter::Ids(IdColumn::Agent)),
        ("threatIds", Filter::Ids(IdColumn::Threat)),
        ("activityTypes", Filter::Types),
        ("includeHidden", Filter::IncludeHidden),
        ("userIds", Filter::AnyOf("userId")),
        ("activityUuids", Filter::AnyOf("activityUuid")),
        ("userEmails", Filter::AnyOf("data.email")),
        ("ruleIds", Filter::AnyOf("data.ruleId")),
        ("alertIds", Filter::AnyOf("data.alertId")),
    ],
    places: Places::USUAL,
    licensed: None,
    generate: Some(|generator, at, _| generate(generator, at)),
    change: None,
    oversized: Some(|generator, at, bytes| {
        generate(generator, at).with_long_text("data.escapedMaliciousProcessArguments", bytes)
    }),
    special: Special::NOTHING,
};

/// The subject of an activity. Most activities are logins.
#[derive(Debug, Clone, Copy)]
enum Topic {
    Login(u32),
    Account(u32),
    Threat(u32),
    Mitigation(u32),
    Status(u32),
    Enrolled,
    Command(u32),
    Scan(u32),
    Moved(u32),
    Policy(u32),
    Exclusion(u32),
    Device(u32),
    Firewall,
    Rule(u32),
    Fetch(u32),
    Scope(u32),
    Tag(u32),
}

const TOPICS: &[(u32, Topic)] = &[
    (310, Topic::Login(27)),
    (60, Topic::Login(33)),
    (70, Topic::Login(133)),
    (12, Topic::Login(134)),
    (5, Topic::Login(139)),
    (3, Topic::Login(3629)),
    (4, Topic::Account(23)),
    (5, Topic::Account(24)),
    (2, Topic::Account(25)),
    (3, Topic::Account(37)),
    (2, Topic::Account(67)),
    (2, Topic::Account(107)),
    (4, Topic::Account(112)),
    (2, Topic::Account(140)),
    (2, Topic::Account(147)),
    (18, Topic::Threat(18)),
    (22, Topic::Threat(19)),
    (4, Topic::Threat(20)),
    (10, Topic::Threat(4003)),
    (2, Topic::Threat(4108)),
    (20, Topic::Mitigation(2001)),
    (4, Topic::Mitigation(2002)),
    (18, Topic::Mitigation(2004)),
    (3, Topic::Mitigation(2009)),
    (2, Topic::Mitigation(2022)),
    (14, Topic::Status(4008)),
    (8, Topic::Status(2028)),
    (2, Topic::Status(2029)),
    (8, Topic::Status(2030)),
    (3, Topic::Status(2036)),
    (12, Topic::Enrolled),
    (20, Topic::Command(43)),
    (12, Topic::Command(120)),
    (12, Topic::Command(121)),
    (12, Topic::Command(122)),
    (14, Topic::Command(123)),
    (12, Topic::Command(125)),
    (12, Topic::Command(128)),
    (40, Topic::Scan(90)),
    (12, Topic::Scan(91)),
    (38, Topic::Scan(92)),
    (4, Topic::Moved(47)),
    (2, Topic::Moved(51)),
    (2, Topic::Moved(54)),
    (3, Topic::Moved(61)),
    (3, Topic::Moved(62)),
    (4, Topic::Moved(95)),
    (3, Topic::Policy(56)),
    (4, Topic::Policy(68)),
    (3, Topic::Policy(69)),
    (3, Topic::Policy(76)),
    (3, Topic::Policy(84)),
    (2, Topic::Policy(150)),
    (4, Topic::Exclusion(3001)),
    (2, Topic::Exclusion(3006)),
    (2, Topic::Exclusion(3016)),
    (2, Topic::Exclusion(3021)),
    (22, Topic::Device(5125)),
    (36, Topic::Device(5126)),
    (38, Topic::Firewall),
    (2, Topic::Rule(3600)),
    (2, Topic::Rule(3601)),
    (30, Topic::Rule(3608)),
    (4, Topic::Fetch(81)),
    (3, Topic::Fetch(86)),
    (2, Topic::Scope(5008)),
    (2, Topic::Scope(5020)),
    (1, Topic::Scope(5040)),
    (4, Topic::Tag(3651)),
];

/// The parts of an activity that depend on its type.
struct Content {
    primary: String,
    secondary: Value,
    data: Map<String, Value>,
    /// Index of the endpoint.
    endpoint: Option<usize>,
    user: Option<usize>,
    hash: Option<String>,
    threat: bool,
    description: Value,
    comments: Value,
}

impl Content {
    fn new(primary: String) -> Self {
        Self {
            primary,
            secondary: Value::Null,
            data: Map::new(),
            endpoint: None,
            user: None,
            hash: None,
            threat: false,
            description: Value::Null,
            comments: Value::Null,
        }
    }

    fn with(mut self, data: Value) -> Self {
        if let Value::Object(data) = data {
            self.data.extend(data);
        }
        self
    }
}

fn generate(generator: &mut Generator, at: i64) -> NewRecord {
    let (id, other) = (generator.id(at), generator.id(at));
    let Generator { org, random, older, threats, alerts, .. } = generator;
    let threat = threats.choose(random);
    let alert = alerts.choose(random).copied().unwrap_or(other);
    let topic = *random.choose_weighted(TOPICS);
    let (kind, mut content) = of(topic, org, random, at, threat);
    let threat = threat.map_or(other, |threat| threat.id);
    let level = match content.endpoint {
        Some(_) => 3,
        None => *random.choose_weighted(&[(55, 1_usize), (25, 2), (15, 3), (5, 0)]),
    };
    let group_index = match content.endpoint {
        Some(index) => org.agents[index].group,
        None => random.below(org.groups.len() as u64) as usize,
    };
    let (account, site, group) = org.group(group_index);
    let at_level = |needed: usize, text: &str| if level >= needed { Value::from(text) } else { Value::Null };
    let (scope, name) =
        [("Global", ""), ("Account", &*account.name), ("Site", &*site.name), ("Group", &*group.name)][level];
    let path = ["Global", &account.name, &site.name, &group.name][..=level].join(" / ");
    let mut common = object! {
        "accountName": at_level(1, &account.name), "siteName": at_level(2, &site.name), "groupName": at_level(3, &group.name),
        "scopeLevel": scope, "scopeName": if level == 0 { Value::Null } else { Value::from(name) },
        "fullScopeDetails": format!("{scope} {name}").trim_end(), "fullScopeDetailsPath": path,
        "username": content.user.map(|index| org.users[index].name.clone()),
    };
    if kind == 3608 {
        content.data.insert("alertid".into(), json!(alert.to_string()));
    }
    if let Value::Object(common) = &mut common {
        // Keys of the type replace common keys.
        common.append(&mut content.data);
    }
    if *older && random.chance(0.01) {
        common = json!({});
    }
    let endpoint = content.endpoint.map(|index| &org.agents[index]);
    let mut body = object! {
        "id": id.to_string(), "activityType": kind, "createdAt": time::print(at),
        "updatedAt": time::print(at + random.within(-6_000..6_000)), "primaryDescription": content.primary,
        "secondaryDescription": content.secondary, "description": content.description, "comments": content.comments,
        "accountId": at_level(1, &account.id.to_string()), "accountName": at_level(1, &account.name),
        "siteId": at_level(2, &site.id.to_string()), "siteName": at_level(2, &site.name),
        "groupId": at_level(3, &group.id.to_string()), "groupName": at_level(3, &group.name),
        "agentId": endpoint.map(|endpoint| endpoint.id.to_string()),
        "agentUpdatedVersion": (kind == 43).then_some("24.1.5.277"), "osFamily": endpoint.map(|endpoint| endpoint.os.kind),
        "threatId": if content.threat { Value::from(threat.to_string()) } else if random.chance(0.1) { Value::from("") } else { Value::Null },
        "userId": content.user.map(|index| org.users[index].id.to_string()), "hash": content.hash, "data": common,
    };
    if !*older {
        body["activityUuid"] = Value::from(random.uuid());
    }
    let hidden = matches!(topic, Topic::Command(125)) && random.chance(0.3);
    let group = if level == 3 { group.id } else { 0 };
    NewRecord { hidden, ..NewRecord::new(Kind::Activities, body, account.id, group) }
}

/// Returns the type and the content of an activity. `known` is the threat that the activity is about, if any.
fn of(topic: Topic, org: &Organization, random: &mut Random, at: i64, known: Option<&KnownThreat>) -> (u32, Content) {
    let any = content::agent_index(random, org);
    let index = match (topic, known) {
        (Topic::Threat(_) | Topic::Mitigation(_) | Topic::Status(_), Some(threat)) => threat.agent,
        _ => any,
    };
    let user = random.below(org.users.len() as u64) as usize;
    let endpoint = &org.agents[index];
    let person = &org.users[user];
    let on_endpoint = |content: Content| Content { endpoint: Some(index), ..content };
    let by_user = |content: Content| Content { user: Some(user), ..content };
    match topic {
        Topic::Login(kind) => (kind, by_user(login(random, kind, person))),
        Topic::Account(kind) => (kind, by_user(account(random, kind, person, &org.users[0]))),
        Topic::Threat(kind) => (kind, on_endpoint(threat(random, kind, endpoint, known))),
        Topic::Mitigation(kind) => (kind, on_endpoint(mitigation(random, kind, endpoint, known))),
        Topic::Status(kind) => (kind, on_endpoint(by_user(status(random, kind, endpoint, person, known)))),
        Topic::Enrolled => (17, on_endpoint(enrolled(random, endpoint))),
        Topic::Command(kind) | Topic::Scan(kind) => (kind, on_endpoint(command(random, kind, endpoint, at))),
        Topic::Moved(kind) => (kind, on_endpoint(by_user(moved(random, endpoint, person)))),
        Topic::Policy(kind) => (kind, by_user(policy(random, person))),
        Topic::Exclusion(kind) => (kind, by_user(exclusion(random, kind, person))),
        Topic::Device(kind) => (kind, on_endpoint(device(random, kind, endpoint, at))),
        Topic::Firewall => (5232, on_endpoint(firewall(random, endpoint))),
        Topic::Rule(kind) => match kind {
            3608 => (kind, on_endpoint(hit(random, org, person, at, endpoint))),
            _ => (kind, by_user(rule(random, kind, person, at, endpoint))),
        },
        Topic::Fetch(kind) => (kind, on_endpoint(by_user(fetch(endpoint, person, at)))),
        Topic::Scope(kind) => (kind, by_user(scope(org, person))),
        Topic::Tag(kind) => (kind, by_user(tag(person))),
    }
}

fn login(random: &mut Random, kind: u32, user: &User) -> Content {
    let name = &user.name;
    let address = &user.address;
    let (primary, reason) = match kind {
        27 => {
            (format!("The management user {name} logged in to the management console with IP Address {address}."), None)
        }
        33 => (format!("The management user {name} logged out of the management console."), None),
        134 => (
            format!("An unknown user failed to log in to the management console from {address}."),
            Some("unknown user"),
        ),
        _ => (
            format!("The management user {name} failed to log in to the management console."),
            Some(*random.choose(&["invalid 2FA code", "wrong password", "account locked"])),
        ),
    };
    let dump = format!("<ManagementUser at 0x7f{} with id={}, email='{}'>", random.hex(10), user.id, user.email);
    Content {
        comments: reason.map_or(Value::Null, Value::from),
        description: text_or_null(random, 0.05, || dump),
        ..Content::new(primary).with(object! {
            "ipAddress": address.as_str(), "role": user.role, "userScope": user.scope, "source": "mgmt",
            "sourceType": *random.choose(&["UI", "API"]), "reason": reason,
        })
    }
}

fn account(random: &mut Random, kind: u32, user: &User, admin: &User) -> Content {
    let value = match kind {
        67 => json!(random.chance(0.5)),
        37 => json!({ "email": user.email, "twoFa": true }),
        _ => json!(user.email),
    };
    // These are about the user's own settings, or about a role.
    let is_own = matches!(kind, 107 | 112 | 147);
    let primary = match kind {
        37 => format!(
            "The management user {} added user {} to role {} in scope Account.",
            admin.name, user.name, user.role
        ),
        23 => format!("The management user {} added user {} as {}.", admin.name, user.name, user.role),
        24 => format!("The management user {} modified the user {}.", admin.name, user.name),
        25 => format!("The management user {} deleted the user {}.", admin.name, user.name),
        _ if is_own => format!("The management user {} changed a setting of its own.", user.name),
        _ => format!("The management user {} changed the user {}.", admin.name, user.name),
    };
    let description = match kind {
        23 => format!("<ManagementUser at 0x7f6e with id={}, email='{}', user_scope='account'>", admin.id, admin.email),
        _ => user.name.clone(),
    };
    Content {
        comments: if kind == 67 { json!("True") } else { Value::Null },
        description: json!(description),
        ..Content::new(primary).with(object! {
            "byUser": (!is_own).then(|| admin.name.clone()), "role": user.role, "roleName": user.role, "oldRole": "Viewer",
            "userScope": user.scope, "scopeLevelName": "Account", "newValue": value, "email": user.email.as_str(),
            "description": text_or_null(random, 0.3, || "Joined the SOC".into()), "oldDescription": "",
            "modifiedFields": "email, role", "recoveryEmail": user.email.as_str(), "globalTwoFaEnabled": true,
            "deactivationPeriodInDays": 90, "source": "mgmt",
        })
    }
}

/// Returns `known`, or the values of a threat that is in no list.
fn about_threat(random: &mut Random, endpoint: &Endpoint, known: Option<&KnownThreat>) -> KnownThreat {
    let (file, classification, confidence, _) = *random.choose(MALWARE);
    let path = content::path(random, endpoint.os.kind, &endpoint.user, file);
    let sha1 = random.hex(40);
    let other = KnownThreat { id: 0, agent: 0, file: file.to_owned(), path, sha1, classification, confidence };
    known.cloned().unwrap_or(other)
}

fn threat_content(random: &mut Random, endpoint: &Endpoint, threat: KnownThreat, primary: String) -> Content {
    let KnownThreat { file, path, sha1, classification, confidence, .. } = threat;
    let arguments = text_or_null(random, 0.3, || "-nop -w hidden -enc ZQBjAGgAbwA=".into());
    Content {
        secondary: if random.chance(0.5) { json!(path) } else { json!(sha1) },
        threat: true,
        ..Content::new(primary).with(object! {
            "computerName": endpoint.name.as_str(), "confidenceLevel": confidence, "fileContentHash": sha1.as_str(),
            "fileDisplayName": file, "filePath": path, "threatClassification": classification,
            "threatClassificationSource": *random.choose(&["Cloud", "Behavioral", "Static", "Engine"]),
            "escapedMaliciousProcessArguments": arguments, "username": Value::Null,
        })
    }
    .hashed(sha1)
}

impl Content {
    fn hashed(mut self, hash: String) -> Self {
        self.hash = Some(hash);
        self
    }
}

fn threat(random: &mut Random, kind: u32, endpoint: &Endpoint, known: Option<&KnownThreat>) -> Content {
    let confidence = if kind == 4003 { "suspicious" } else { "malicious" };
    let threat = KnownThreat { confidence, ..about_threat(random, endpoint, known) };
    let primary = format!("Threat with confidence level {confidence} detected: {}.", threat.file);
    threat_content(random, endpoint, threat, primary)
}

fn mitigation(random: &mut Random, kind: u32, endpoint: &Endpoint, known: Option<&KnownThreat>) -> Content {
    let threat = about_threat(random, endpoint, known);
    let KnownThreat { file, .. } = &threat;
    let agent = &endpoint.name;
    let has_failed = kind == 2009;
    let primary = match kind {
        2001 => format!("The agent {agent} successfully killed the threat: {file}."),
        2002 => format!("The agent {agent} successfully remediated the threat: {file}."),
        2004 => format!("The agent {agent} successfully quarantined the threat: {file}."),
        2009 => format!("The agent {agent} failed to quarantine the threat: {file}."),
        _ => format!("The agent {agent} successfully handled the threat: {file}."),
    };
    let content = threat_content(random, endpoint, threat, primary);
    content.with(object! {
        "globalStatus": text_or_null(random, 0.7, || (if has_failed { "failed" } else { "success" }).into()),
        "downloadUrl": text_or_null(random, 0.6, || "/threats/mitigation-report/1234567890123456789".into()),
    })
}

fn status(random: &mut Random, kind: u32, endpoint: &Endpoint, user: &User, known: Option<&KnownThreat>) -> Content {
    let threat = about_threat(random, endpoint, known);
    let KnownThreat { file, .. } = &threat;
    let User { name, .. } = user;
    let agent = &endpoint.name;
    let (primary, change) = match kind {
        4008 => (
            format!("Status of threat {file} on agent {agent} changed from Not mitigated to Mitigated."),
            json!({ "originalStatus": "not_mitigated", "newStatus": "mitigated" }),
        ),
        2028 => (
            format!("{name} changed the incident status of {file} from Unresolved to In progress."),
            json!({ "oldIncidentStatusTitle": "Unresolved", "newIncidentStatusTitle": "In progress" }),
        ),
        2029 => (
            format!("{name} set the external ticket of {file} to SEC-1024."),
            json!({ "oldTicketId": "", "newTicketId": "SEC-1024" }),
        ),
        2030 => (
            format!("{name} changed the analyst verdict of {file} from Undefined to True positive."),
            json!({ "oldAnalystVerdictTitle": "Undefined", "newAnalystVerdictTitle": "True positive" }),
        ),
        _ => (
            format!("Agent {agent} changed the Confidence Level of the threat from suspicious to malicious."),
            json!({ "oldConfidenceLevel": "suspicious", "newConfidenceLevel": "malicious" }),
        ),
    };
    let content = threat_content(random, endpoint, threat, primary);
    content.with(change).with(json!({ "username": name }))
}

fn enrolled(random: &mut Random, endpoint: &Endpoint) -> Content {
    Content::new(format!("{} subscribed and joined the group Default Group.", endpoint.name)).with(object! {
        "computerName": endpoint.name.as_str(), "group": "Default Group", "groupName": "Default Group",
        "optionalGroups": json!([]), "externalIp": text_or_null(random, 0.8, || endpoint.external.clone()),
        "uuid": endpoint.uuid.as_str(),
    })
}

fn command(random: &mut Random, kind: u32, endpoint: &Endpoint, at: i64) -> Content {
    let (name, word) = match kind {
        90 => ("Agent started a full disk scan", "started"),
        91 => ("Agent aborted a full disk scan", "aborted"),
        92 => ("Agent completed a full disk scan", "finished"),
        43 => ("Agent was updated", "success"),
        _ => ("A command was sent to the agent", "sent"),
    };
    Content::new(format!("{name}: {}.", endpoint.name)).with(object! {
        "computerName": endpoint.name.as_str(), "uuid": endpoint.uuid.as_str(), "externalIp": endpoint.external.as_str(),
        "ipAddress": endpoint.addresses[0].as_str(), "system": random.chance(0.8), "status": word,
        "createdAt": time::print(at - random.within(0..SECOND)),
    })
}

fn moved(random: &mut Random, endpoint: &Endpoint, user: &User) -> Content {
    let primary = format!("The management user {} acted on the agent {}.", user.name, endpoint.name);
    Content::new(primary).with(object! {
        "computerName": endpoint.name.as_str(), "groupName": "Default Group", "targetGroupName": "Servers",
        "externalId": text_empty_or_null(random, 0.2, || "asset-4711".into()),
    })
}

fn policy(random: &mut Random, user: &User) -> Content {
    let values = [json!(true), json!("protect"), json!({ "engines": { "preExecution": "on" } }), json!(false)];
    Content::new(format!("The management user {} changed the policy.", user.name)).with(object! {
        "policy": json!({ "id": "225494730938498001" }), "policyName": "Default policy", "newValue": random.choose(&values).clone(),
        "oldValue": random.choose(&values).clone(), "attr": *random.choose(&["antiTampering", "mitigationMode", "engines"]),
        "changedKeys": json!(["engines.preExecution", "autoMitigate"]), "policyEnabled": true,
    })
}

fn exclusion(random: &mut Random, kind: u32, user: &User) -> Content {
    let hash = random.hex(40);
    let name = &user.name;
    let primary = match kind {
        3001 => format!("The management user {name} added a Windows hash exclusion."),
        3006 => "Cloud added or modified windows blacklist hash.".to_owned(),
        3016 => format!("The management user {name} deleted the Windows path exclusion."),
        _ => format!("The management user {name} deleted the Windows hash exclusion."),
    };
    Content {
        secondary: json!(hash),
        description: text_empty_or_null(random, 0.5, || "whitelist".into()),
        ..Content::new(primary).with(object! {
            "fileContentHash": hash.as_str(), "osFamily": "windows", "value": hash.as_str(),
            "description": text_or_null(random, 0.6, || "whitelist".into()),
        })
    }
    .hashed(hash)
}

fn device(random: &mut Random, kind: u32, endpoint: &Endpoint, at: i64) -> Content {
    let (event, word) = if kind == 5125 {
        ("blocked", "blocked")
    } else {
        *random.choose(&[("connected", "connected to"), ("disconnected", "disconnected from")])
    };
    Content {
        secondary: json!(""),
        ..Content::new(format!("A USB device was {word} {}.", endpoint.name)).with(object! {
            "eventId": random.uuid(), "eventType": event, "eventTime": time::print(at - SECOND).replace('Z', "+00:00"),
            "deviceClass": "08h", "deviceName": "Cruzer Blade", "interface": "USB", "vendorId": "781", "productId": "5567",
            "version": "1.0", "lastLoggedInUserName": endpoint.user.as_str(), "ruleId": 1_234_567_u32 + random.below(5) as u32,
            "ruleName": text_or_null(random, 0.8, || "Block storage".into()), "ruleType": "productId",
            "computerName": endpoint.name.as_str(), "osType": endpoint.os.kind, "uuid": endpoint.uuid.as_str(),
        })
    }
}

fn firewall(random: &mut Random, endpoint: &Endpoint) -> Content {
    Content::new(format!("Firewall Control blocked a connection on {}.", endpoint.name)).with(object! {
        "ruleId": (1_411_000_000_000_000_000_u64 + random.below(9)).to_string(), "ruleName": "Block SMB out",
        "direction": *random.choose(&["outbound", "inbound"]), "protocol": *random.choose(&["TCP", "UDP"]),
        "localHost": endpoint.addresses[0].as_str(), "remoteHost": format!("192.0.2.{}", random.below(255)),
        "port": 445, "application": "C:\\Windows\\System32\\svchost.exe", "processName": "svchost.exe",
        "computerName": endpoint.name.as_str(),
    })
}

fn rule(random: &mut Random, kind: u32, user: &User, at: i64, endpoint: &Endpoint) -> Content {
    let index = random.below(RULES.len() as u64) as usize;
    let (name, severity, query) = RULES[index];
    let done = if kind == 3600 { "created" } else { "modified" };
    Content {
        secondary: json!(name),
        ..Content::new(format!("The management user {} {done} Custom Rule: {name}.", user.name)).with(object! {
            "ruleId": content::rule_id(index), "ruleName": name, "ruleDescription": "", "ruleSeverity": severity,
            "ruleQueryType": "events", "ruleQueryDetails": query, "ruleExpirationMode": "Permanent",
            "ruleCreationTime": at.div_euclid(1_000) - 86_400_000, "expiryDateStr": Value::Null, "expiryTime": Value::Null,
            "treatasthreat": "UNDEFINED", "networkquarantine": false, "status": "Active", "systemUser": 0,
            "userId": user.id, "userName": user.name.as_str(), "scopeId": "225494730938493804",
            "computerName": endpoint.name.as_str(),
        })
    }
}

/// Returns the content of an activity about a rule's hit. All its keys are in lower case.
fn hit(random: &mut Random, org: &Organization, owner: &User, at: i64, endpoint: &Endpoint) -> Content {
    let index = random.below(RULES.len() as u64) as usize;
    let (name, severity, query) = RULES[index];
    let process = "powershell.exe";
    let (account, site, group) = org.group(endpoint.group);
    let primary = format!(
        "Alert created for {process} from Custom Rule: {name} in Group {} in Site {} of Account {}, detected on {}.",
        group.name, site.name, account.name, endpoint.name
    );
    Content {
        secondary: json!(random.hex(40)),
        ..Content::new(primary).with(object! {
                "agentipv4": endpoint.addresses[0].as_str(), "datasourcename": "SentinelOne",
                "detectedat": at.div_euclid(1_000), "dnsrequest": "", "dnsresponse": "", "dstip": "192.0.2.77", "dstport": 443,
                "dveventtype": "TCPV4", "neteventdirection": "OUTGOING", "externalip": endpoint.external.as_str(),
                "origagentname": endpoint.name.as_str(), "origagentuuid": endpoint.uuid.as_str(),
                "origagentmachinetype": endpoint.machine, "origagentosfamily": endpoint.os.kind,
                "origagentosname": endpoint.os.name, "origagentosrevision": endpoint.os.revision,
                "origagentversion": endpoint.version, "querytype": "events", "querydetails": query,
                "ruledescription": "", "ruleid": content::rule_id(index), "rulename": name, "rulescopelevel": "E_ACCOUNT",
                "severity": format!("E_{}", severity.to_uppercase()), "sourceprocessname": process,
                "sourceprocesspid": 400 + random.below(30_000), "sourceprocesscommandline": content::arguments(random),
                "sourceprocessfilepath": format!("C:\\Windows\\System32\\{process}"),
                "sourceprocesssha1": random.hex(40), "sourceprocesskey": random.hex(16).to_uppercase(),
                "sourceprocessusername": endpoint.user.as_str(), "tiindicatorsource": "", "tiindicatortype": "",
                "tiindicatorvalue": "", "userid": owner.id,
        })
    }
}

fn fetch(endpoint: &Endpoint, user: &User, at: i64) -> Content {
    Content::new(format!("The management user {} fetched files from {}.", user.name, endpoint.name)).with(object! {
        "createdAt": time::print(at), "downloadUrl": "/agents/1234567890123456789/uploads/1234567890123456789",
        "filePath": "C:\\Windows\\Temp\\collected.zip", "filename": "collected.zip", "uploadedFilename": "collected.zip",
        "computerName": endpoint.name.as_str(),
    })
}

fn scope(org: &Organization, user: &User) -> Content {
    Content::new(format!("The management user {} changed a site.", user.name)).with(object! {
        // A number above 2^53: floating-point parsers lose its last digits.
        "accountId": org.accounts[0].id, "siteId": org.sites[1].id.to_string(), "oldSiteName": "Porto",
        "name": "Lisbon", "groupType": "static",
    })
}

fn tag(user: &User) -> Content {
    Content::new(format!("The management user {} changed tags.", user.name)).with(object! {
        "oldTagName": "owner", "newTagName": "team", "tagsAdded": json!(["finance"]), "tagsRemoved": json!([]),
        "rulesAdded": 1, "rulesRemoved": 0, "policyId": "225494730938498001", "featureName": "tags", "featureValue": true,
        "affectedDevices": 12,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::generate::threat;

    const NOW: i64 = 1_767_225_600_000_000;

    /// Readers join an activity with its threat, and read names in sentences.
    #[test]
    fn an_activity_says_what_its_threat_says() {
        let mut generator = Generator::new(1, 20, NOW, false);
        let threats: Vec<Value> = (0..50).map(|_| threat::generate(&mut generator, NOW).body).collect();
        let by_id: HashMap<&str, &Value> =
            threats.iter().map(|threat| (threat["id"].as_str().unwrap(), &threat["threatInfo"])).collect();
        let activities: Vec<Value> = (0..3_000).map(|_| super::generate(&mut generator, NOW).body).collect();
        let mut joined = 0;
        for activity in &activities {
            let data = &activity["data"];
            let threat = activity["threatId"].as_str().and_then(|id| by_id.get(id));
            let (Some(threat), Some(file)) = (threat, data["fileDisplayName"].as_str()) else { continue };
            joined += 1;
            assert_eq!(file, threat["threatName"], "{activity}");
            assert_eq!([&data["filePath"], &data["fileContentHash"]], [&threat["filePath"], &threat["sha1"]]);
            let kind = activity["activityType"].as_u64().unwrap();
            let sentence = activity["primaryDescription"].as_str().unwrap();
            assert!(sentence.contains(file) || kind == 2036, "{sentence}");
            if [4008, 2028, 2029, 2030].contains(&kind) {
                assert!(data["username"].is_string(), "{activity}");
            }
            assert!(kind != 2009 || sentence.contains("failed to quarantine"), "{sentence}");
        }
        assert!(joined > 200, "{joined}");
        let hits = activities.iter().filter(|activity| activity["activityType"] == 3608);
        let sentences: Vec<_> = hits.map(|hit| hit["primaryDescription"].as_str().unwrap()).collect();
        assert!(sentences.len() > 20);
        for sentence in sentences {
            let parts = [" from Custom Rule: ", " in Group ", " in Site ", " of Account ", ", detected on "];
            let places: Vec<_> = parts.iter().map(|part| sentence.find(part)).collect();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{sentence}");
        }
    }
}
