//! Section 6 of the contract: what the generator makes.

use std::collections::{BTreeMap, BTreeSet};

use s1_forwarder::emulator::{Console, Kind, Setup};
use serde_json::Value;

use super::client::NOW;

/// The paths of the vendor's specification and of public records; see the first line of the file.
const FIELDS: &str = include_str!("../data/fields.csv");

fn all(console: &Console, kind: Kind) -> Vec<Value> {
    let record = |id| serde_json::from_slice(&console.record(kind, id).unwrap()).unwrap();
    console.ids(kind).into_iter().map(record).collect()
}

fn mixed() -> Console {
    Console::new(&Setup { activities: 6_000, threats: 1_500, agents: 400, alerts: 500, ..Setup::new(NOW) })
}

/// Every path below a value with the JSON types that stand there.
fn paths(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    found.entry(path.to_owned()).or_default().insert(name);
    match value {
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{path}[]"), found)),
        Value::Object(keys) => {
            for (key, value) in keys {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                paths(value, &below, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_of_the_contract_is_made_with_its_type() {
    let console = mixed();
    for (name, kind) in [
        ("activities", Kind::Activities),
        ("threats", Kind::Threats),
        ("agents", Kind::Agents),
        ("alerts", Kind::Alerts),
    ] {
        let mut found = BTreeMap::new();
        all(&console, kind).iter().for_each(|record| paths(record, "", &mut found));
        let fields = FIELDS.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(','));
        let mut wrong = Vec::new();
        for (path, kind) in fields.filter_map(|line| line.split_once(',')) {
            let types = found.get(path).cloned().unwrap_or_default();
            let wanted = match kind.split([':', '<']).next().unwrap_or_default() {
                "" => None,
                kind => Some(kind),
            };
            if types.is_empty() || wanted.is_some_and(|wanted| !types.contains(wanted) && !is_null_so_far(name, path)) {
                wrong.push(format!("{path}: wanted {kind}, got {types:?}"));
            }
        }
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
    }
}

/// Fields that public records have never shown filled.
fn is_null_so_far(record: &str, path: &str) -> bool {
    matches!(
        (record, path),
        ("agents", "storageName" | "storageType" | "operationalStateExpiration" | "remoteProfilingStateExpiration")
            | ("agents", "scanAbortedAt")
            | ("threats", "agentRealtimeInfo.storageName" | "agentRealtimeInfo.storageType")
            | ("threats", "agentRealtimeInfo.scanAbortedAt")
    )
}

#[test]
fn sizes_and_the_mix_are_those_of_a_real_console() {
    let console = mixed();
    for (kind, from, to) in
        [(Kind::Activities, 800, 1_400), (Kind::Threats, 4_000, 5_500), (Kind::Agents, 2_400, 3_300)]
    {
        let records = all(&console, kind);
        let mean = records.iter().map(|record| record.to_string().len()).sum::<usize>() / records.len();
        assert!((from..to).contains(&mean), "{kind:?}: {mean} bytes");
    }
    let mut types: BTreeMap<u64, usize> = BTreeMap::new();
    let activities = all(&console, Kind::Activities);
    activities.iter().for_each(|one| *types.entry(one["activityType"].as_u64().unwrap()).or_default() += 1);
    assert!(types.len() > 60, "{} types", types.len());
    assert_eq!(types.iter().max_by_key(|(_, count)| **count).unwrap().0, &27, "most is people logging in");
    for seen in [133, 90, 91, 92, 18, 19, 4003, 2001, 2029, 5125, 5232, 3608] {
        assert!(types.contains_key(&seen), "{seen}");
    }
}

/// The traps that connectors fell into.
#[test]
fn the_traps_of_the_contract_are_there() {
    let console = mixed();
    let activities = all(&console, Kind::Activities);
    let some = |records: &[Value], there: &dyn Fn(&Value) -> bool| records.iter().any(there);
    assert!(some(&activities, &|one| one["data"]["accountId"].is_u64()), "a number where others have text");
    for kind in [Value::is_boolean, Value::is_string, Value::is_object] {
        assert!(some(&activities, &|one| kind(&one["data"]["newValue"])), "newValue is of several types");
    }
    assert!(some(&activities, &|one| one["threatId"] == "") && some(&activities, &|one| one["threatId"].is_null()));
    assert!(some(&activities, &|one| one["updatedAt"].as_str() < one["createdAt"].as_str()));
    let agents = all(&console, Kind::Agents);
    let mac = |one: &Value| one["networkInterfaces"][0]["physical"].as_str().unwrap_or_default().to_owned();
    assert!(some(&agents, &|one| mac(one).contains(':')) && some(&agents, &|one| mac(one).contains('-')));
    assert!(some(&agents, &|one| one["proxyStates"].is_null()));
    assert!(agents.iter().all(|one| !one["osStartTime"].as_str().unwrap().contains('.')), "whole seconds");
    let threats = all(&console, Kind::Threats);
    assert!(threats.iter().all(|one| one.get("createdAt").is_none() && one.get("updatedAt").is_none()));
    let address = |one: &Value| one["agentDetectionInfo"]["agentIpV4"].as_str().unwrap_or_default().to_owned();
    assert!(some(&threats, &|one| address(one).contains(',')));
    assert!(some(&threats, &|one| one["agentDetectionInfo"]["agentIpV6"] == ""));
    assert!(some(&threats, &|one| one["agentRealtimeInfo"].is_null()));
    let alerts = all(&console, Kind::Alerts);
    assert!(alerts.iter().all(|one| one.get("id").is_none() && one["alertInfo"]["alertId"].is_string()));
    assert!(some(&alerts, &|one| one["alertInfo"]["dstPort"].is_string()));
    assert!(some(&alerts, &|one| one["containerInfo"]["labels"].is_string()));
    for (kind, records) in [(Kind::Activities, activities), (Kind::Threats, threats)] {
        for one in records {
            assert!((17..=19).contains(&one["id"].as_str().unwrap().len()), "{kind:?} {}", one["id"]);
        }
        let mut versions = console.visible_versions(kind, &Default::default());
        versions.sort_by_key(|version| version.created);
        let rising = versions.windows(2).filter(|pair| pair[0].id < pair[1].id).count();
        assert!(rising * 10 > versions.len() * 8, "ids rise roughly with time");
        assert!(rising < versions.len() - 1 || kind == Kind::Threats, "but not strictly");
    }
}

#[test]
fn many_records_share_the_moment_of_their_last_change() {
    let console = mixed();
    for kind in [Kind::Activities, Kind::Threats, Kind::Agents] {
        let mut moments: BTreeMap<i64, usize> = BTreeMap::new();
        for version in console.visible_versions(kind, &Default::default()) {
            let moment = if kind == Kind::Activities { version.created } else { version.updated };
            *moments.entry(moment).or_default() += 1;
            assert!(version.updated <= NOW + 6_000, "{kind:?} changed in the future");
        }
        assert!(moments.values().filter(|tied| **tied > 8).count() > 2, "{kind:?}: {:?}", moments.values().max());
    }
}

#[test]
fn older_consoles_know_fewer_keys() {
    let setup = Setup { activities: 500, threats: 20, agents: 20, alerts: 20, older: true, ..Setup::new(NOW) };
    let console = Console::new(&setup);
    assert!(all(&console, Kind::Activities).iter().all(|one| one.get("activityUuid").is_none()));
    assert!(
        all(&console, Kind::Activities).iter().any(|one| one["data"].as_object().is_some_and(|data| data.is_empty()))
    );
    assert!(all(&console, Kind::Threats).iter().all(|one| one.get("ecsInfo").is_none()));
    assert!(all(&console, Kind::Agents).iter().all(|one| one.get("proxyStates").is_none()));
    assert!(all(&console, Kind::Alerts).iter().all(|one| one["ruleInfo"].get("s1ql").is_none()));
}

#[test]
fn records_from_outside_are_taken_as_they_are() {
    let console = Console::new(&Setup::new(NOW));
    let body = br#"{"id":"1234567898765432112","activityType":"27","createdAt":"2026-01-01T00:00:00.5Z","siteId":"225494730938493916","x":1.50}"#;
    let id = console.insert(Kind::Activities, body).unwrap();
    assert_eq!((id, console.record(Kind::Activities, id).unwrap()), (1_234_567_898_765_432_112, body.to_vec()));
    assert!(console.insert(Kind::Threats, body).is_err(), "a threat's times are nested");
    assert!(console.insert(Kind::Activities, b"[]").is_err());
    assert!(console.remove(Kind::Activities, id) && !console.remove(Kind::Activities, id));
    assert_eq!(console.count(Kind::Activities), 0);
}
